//! What nix knows of store paths, in the forms that its versions write (`nix path-info --json`).

use std::collections::HashMap;

use serde::Deserialize;

use super::command::Nix;
use crate::model::STORE_DIR;

/// A valid path's size and what it needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathInfo {
    /// Bytes, as a nar.
    pub bytes: u64,
    /// Store paths.
    pub references: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    path: Option<String>,
    #[serde(default)]
    nar_size: u64,
    #[serde(default)]
    references: Vec<String>,
}

/// Since nix 2.33, `--json-format 2`.
#[derive(Debug, Deserialize)]
struct FormatTwo {
    info: HashMap<String, Option<Written>>,
}

impl Nix {
    /// All that these paths need, themselves included. The error is a text, since nothing hangs on it.
    pub(crate) async fn path_infos(&self, paths: &[String]) -> Result<HashMap<String, PathInfo>, String> {
        let mut first = None;
        // nix announces that it will want a format; older ones know none.
        for format in [&[][..], &["--json-format", "1"]] {
            let why = match self.path_info(paths, format).await {
                Ok(output) if output.status.success() => match parse(&output.stdout) {
                    Some(infos) => return Ok(infos),
                    None => "what nix path-info says is not understood".to_owned(),
                },
                Ok(output) => {
                    let error = output.log.errors.last().and_then(|error| error.lines().next());
                    error.map_or("nix path-info failed", |error| error.trim_start_matches("error:").trim()).to_owned()
                }
                Err(failure) => failure.what,
            };
            first.get_or_insert(why);
        }
        Err(first.unwrap_or_default())
    }
}

/// A list up to nix 2.18, an object since 2.19, one in another since 2.33.
fn parse(json: &[u8]) -> Option<HashMap<String, PathInfo>> {
    let whole = |path: String| if path.starts_with('/') { path } else { format!("{STORE_DIR}/{path}") };
    let info = |written: Written| PathInfo {
        bytes: written.nar_size,
        references: written.references.into_iter().map(whole).collect(),
    };
    if json.first() == Some(&b'[') {
        let all: Vec<Written> = serde_json::from_slice(json).ok()?;
        return Some(all.into_iter().filter_map(|mut one| Some((one.path.take()?, info(one)))).collect());
    }
    let all = match serde_json::from_slice::<FormatTwo>(json) {
        Ok(two) => two.info,
        Err(_) => serde_json::from_slice::<HashMap<String, Option<Written>>>(json).ok()?,
    };
    Some(all.into_iter().filter_map(|(path, one)| Some((whole(path), info(one?)))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_all_versions() {
        let a = "/nix/store/mgd5wlm1q81kn610c2fwih4vxd4z5wq3-nixos-vm";
        let expected = HashMap::from([(a.to_owned(), PathInfo { bytes: 120, references: vec![a.to_owned()] })]);
        for json in [
            format!(r#"[{{"path":"{a}","narHash":"sha256-x","narSize":120,"references":["{a}"],"closureSize":120}}]"#),
            format!(r#"{{"{a}":{{"ca":null,"narSize":120,"references":["{a}"],"version":1}},"/nix/store/invalid":null}}"#),
            r#"{"info":{"mgd5wlm1q81kn610c2fwih4vxd4z5wq3-nixos-vm":{"narSize":120,"references":["mgd5wlm1q81kn610c2fwih4vxd4z5wq3-nixos-vm"]}},"storeDir":"/nix/store","version":2}"#.to_owned(),
        ] {
            assert_eq!(parse(json.as_bytes()).unwrap(), expected, "{json}");
        }
        assert_eq!(parse(b"x"), None);
    }
}
