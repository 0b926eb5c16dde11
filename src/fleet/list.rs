//! The list of hosts in the format of a CI service, which then runs a job for each.

use serde::Serialize;
use serde_json::json;

use crate::cli::ListFormat;
use crate::nix::{Flake, ListedConfiguration, Target};
use crate::report::json::pretty;

/// Most jobs that GitLab allows in one `parallel:matrix`.
const GITLAB_JOBS: usize = 200;

/// A host, for programs.
#[derive(Debug, Serialize)]
struct ListedHost<'a> {
    name: String,
    host: &'a str,
    specialisation: Option<&'a str>,
    /// The argument for `nixbox try`.
    target: String,
    /// The attribute path in the flake.
    attribute: String,
    system: Option<&'a str>,
}

/// The list, with a line end. `typed` is the flake as the user named it.
pub(super) fn render(hosts: &[ListedConfiguration], flake: &Flake, typed: &str, format: ListFormat) -> String {
    let listed: Vec<ListedHost<'_>> = hosts.iter().map(|named| listed(named, flake, typed)).collect();
    match format {
        ListFormat::Human => listed.iter().map(|host| crate::text::escape_line(&host.name) + "\n").collect(),
        ListFormat::Json => pretty(&listed),
        // One line: it becomes an output of a step, which is `NAME=VALUE` on a line.
        ListFormat::Github => {
            let include: Vec<_> =
                listed.iter().map(|host| json!({ "host": host.name, "target": host.target })).collect();
            format!("{}\n", json!({ "include": include }))
        }
        ListFormat::Gitlab => gitlab(&listed),
    }
}

fn listed<'a>(named: &'a ListedConfiguration, flake: &Flake, typed: &str) -> ListedHost<'a> {
    let resolved = Target::of(flake, &named.name).resolved();
    let attribute = resolved.strip_prefix(&flake.shown()).and_then(|rest| rest.strip_prefix('#')).unwrap_or(&resolved);
    let name = named.name.to_string();
    ListedHost {
        target: format!("{typed}#{name}"),
        attribute: attribute.to_owned(),
        name,
        host: &named.name.host,
        specialisation: named.name.specialisation.as_deref(),
        system: named.system.as_deref(),
    }
}

/// A child pipeline: jobs that extend `.nixbox`, which the project defines. A JSON string is a YAML string.
fn gitlab(listed: &[ListedHost<'_>]) -> String {
    use std::fmt::Write as _;

    let mut out = String::new();
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    for (number, jobs) in listed.chunks(GITLAB_JOBS).enumerate() {
        let name = if number == 0 { "nixbox".to_owned() } else { format!("nixbox {}", number + 1) };
        // Writing to a string does not fail.
        let _ = writeln!(out, "{name}:\n  extends: .nixbox\n  parallel:\n    matrix:");
        for job in jobs {
            let _ = writeln!(out, "      - HOST: {}\n        TARGET: {}", quoted(&job.name), quoted(&job.target));
        }
    }
    if listed.is_empty() {
        // A pipeline without jobs is an error to GitLab.
        out.push_str("nixbox:\n  script: [\"echo no hosts\"]\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nix::ConfigurationName;

    fn hosts() -> Vec<ListedConfiguration> {
        let named = |host: &str, special: Option<&str>| ListedConfiguration {
            name: ConfigurationName { host: host.to_owned(), specialisation: special.map(str::to_owned) },
            system: Some("x86_64-linux".to_owned()),
        };
        vec![named("laptop", None), named("laptop", Some("7.1")), named("web.example", None)]
    }

    fn rendered(hosts: &[ListedConfiguration], format: ListFormat) -> String {
        render(hosts, &Flake::remote("github:a/b"), "github:a/b", format)
    }

    #[test]
    fn each_format() {
        for (name, format) in [
            ("human", ListFormat::Human),
            ("json", ListFormat::Json),
            ("github", ListFormat::Github),
            ("gitlab", ListFormat::Gitlab),
        ] {
            insta::assert_snapshot!(name, rendered(&hosts(), format));
        }
        // An output of a workflow's step is one line.
        assert_eq!(rendered(&hosts(), ListFormat::Github).lines().count(), 1);
        assert_eq!(rendered(&[], ListFormat::Github), "{\"include\":[]}\n");
    }

    #[test]
    fn gitlab_gets_no_pipeline_that_is_too_long_or_empty() {
        let many: Vec<ListedConfiguration> = (0..201).flat_map(|_| hosts()[..1].to_vec()).collect();
        let text = rendered(&many, ListFormat::Gitlab);
        assert!(text.contains("\nnixbox 2:\n  extends: .nixbox\n") && text.matches("HOST").count() == 201);
        assert!(rendered(&[], ListFormat::Gitlab).contains("script:"));
    }
}
