//! Setuid and capability wrappers, as the script that makes them says (`security/wrappers/default.nix`).

use std::collections::BTreeMap;

/// A program in `/run/wrappers/bin`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wrapper {
    /// `user:group`.
    pub(crate) owner: String,
    /// What chmod(1) is told.
    pub(crate) mode: String,
    /// Capabilities, where it has some.
    pub(crate) capabilities: Option<String>,
}

impl Wrapper {
    /// What it lends: `setuid root`, `cap_net_raw+ep`.
    pub(crate) fn lends(&self) -> String {
        let (user, group) = self.owner.split_once(':').unwrap_or((&self.owner, ""));
        let numeric = u32::from_str_radix(&self.mode, 8).unwrap_or_default();
        let mut all = Vec::new();
        if self.mode.contains("u+s") || numeric & 0o4000 != 0 {
            all.push(format!("setuid {user}"));
        }
        if self.mode.contains("g+s") || numeric & 0o2000 != 0 {
            all.push(format!("setgid {group}"));
        }
        all.extend(self.capabilities.clone());
        if all.is_empty() { format!("{} of {}", self.mode, self.owner) } else { all.join(", ") }
    }
}

/// The wrappers that a script makes, by name.
pub(crate) fn wrappers(script: &str) -> BTreeMap<String, Wrapper> {
    let mut all: BTreeMap<String, Wrapper> = BTreeMap::new();
    for line in script.lines() {
        let words: Vec<&str> = line.split_whitespace().map(|word| word.trim_matches('"')).collect();
        let Some((what, before)) = words.split_last() else { continue };
        let of_directory = ["$wrapperDir/", "/run/wrappers/bin/"].iter().find_map(|start| what.strip_prefix(start));
        let Some(name) = of_directory.filter(|name| !name.is_empty() && !name.contains('/')) else { continue };
        let Some((command, arguments)) = before.split_first() else { continue };
        let program = command.rsplit('/').next().unwrap_or(command);
        let value = arguments.iter().find(|word| !word.starts_with('-')).copied().unwrap_or_default();
        let wrapper = || Wrapper { owner: "root:root".to_owned(), ..Wrapper::default() };
        match program {
            "cp" | "install" => {
                all.entry(name.to_owned()).or_insert_with(wrapper);
            }
            "chown" => value.clone_into(&mut all.entry(name.to_owned()).or_insert_with(wrapper).owner),
            "chmod" if value != "0000" => {
                value.clone_into(&mut all.entry(name.to_owned()).or_insert_with(wrapper).mode)
            }
            "setcap" => {
                // Which the wrapper itself needs to hand on the others.
                let lent = value.strip_prefix("cap_setpcap,").unwrap_or(value).to_owned();
                all.entry(name.to_owned()).or_insert_with(wrapper).capabilities = Some(lent);
            }
            _ => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_makes() {
        let script = "wrapperDir=$(mktemp --directory)\nchmod a+rx \"$wrapperDir\"\n\
            cp /nix/store/x-security-wrapper/bin/security-wrapper \"$wrapperDir/sudo\"\n\
            # Prevent races\nchmod 0000 \"$wrapperDir/sudo\"\nchown root:root \"$wrapperDir/sudo\"\n\
            chmod \"u+s,g-s,u+rx,g+x,o+x\" \"$wrapperDir/sudo\"\n\
            cp /nix/store/y/bin/security-wrapper \"$wrapperDir/ping\"\nchmod 0000 \"$wrapperDir/ping\"\n\
            chown root:net \"$wrapperDir/ping\"\n/nix/store/z-libcap/bin/setcap \"cap_setpcap,cap_net_raw+ep\" \"$wrapperDir/ping\"\n\
            chmod u+rx,g+x,o+x \"$wrapperDir/ping\"\nchmod 4750 /run/wrappers/bin/old\n";
        let all = wrappers(script);
        let lent: Vec<_> = all.iter().map(|(name, wrapper)| format!("{name}: {}", wrapper.lends())).collect();
        assert_eq!(lent, ["old: setuid root", "ping: cap_net_raw+ep", "sudo: setuid root"]);
        assert_eq!(all["ping"].owner, "root:net");
        assert!(wrappers("").is_empty());
    }
}
