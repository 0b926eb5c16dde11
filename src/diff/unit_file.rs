//! A systemd unit as its files say it: sections, keys, all values of each (systemd.syntax(7)).

use std::collections::BTreeMap;

/// How a key is shown that is set to nothing, which is not the same as one that is not set.
pub(crate) const EMPTY: &str = "(empty)";

/// The keys of one section.
pub(crate) type Section = BTreeMap<String, Vec<String>>;

/// A unit's main file and its drop-ins, one over the other. `[Install]` is left out: on NixOS the links decide.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UnitFile {
    pub(crate) sections: BTreeMap<String, Section>,
}

impl UnitFile {
    /// One file.
    pub(crate) fn parse(text: &str) -> Self {
        let mut unit = Self::default();
        unit.add(text);
        unit
    }

    /// Lays another file, a drop-in, over it: values are added, and an empty one removes those before it.
    pub(crate) fn add(&mut self, text: &str) {
        let mut section = String::new();
        for line in logical_lines(text) {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                name.clone_into(&mut section);
                if name != "Install" {
                    self.sections.entry(section.clone()).or_default();
                }
                continue;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| !section.is_empty() && section != "Install")
            else {
                continue;
            };
            let values = self.sections.entry(section.clone()).or_default().entry(key.trim().to_owned()).or_default();
            match value.trim() {
                "" => values.clear(),
                value => values.push(value.to_owned()),
            }
        }
    }

    /// All values of a key, none where it is set to nothing; `None` where it is not set.
    pub(crate) fn get(&self, section: &str, key: &str) -> Option<&[String]> {
        self.sections.get(section).and_then(|keys| keys.get(key)).map(Vec::as_slice)
    }

    /// All values of a key; none where it is not set.
    pub(crate) fn values(&self, section: &str, key: &str) -> &[String] {
        self.get(section, key).unwrap_or_default()
    }

    /// The last value of a key, which counts where there can be one only.
    pub(crate) fn last(&self, section: &str, key: &str) -> Option<&str> {
        self.values(section, key).last().map(String::as_str)
    }

    /// A boolean; what is none is false.
    pub(crate) fn bool(&self, section: &str, key: &str, default: bool) -> bool {
        self.last(section, key).map_or(default, |value| matches!(value, "1" | "yes" | "true" | "on"))
    }

    /// The words of all values of a key.
    pub(crate) fn words(&self, section: &str, key: &str) -> impl Iterator<Item = &str> {
        self.values(section, key).iter().flat_map(|value| value.split_whitespace())
    }
}

/// Lines, those that end with a backslash joined with the next.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        let (part, continues) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        match lines.last_mut().filter(|_| goes_on) {
            // A comment between them is none of it.
            Some(_) if line.trim_start().starts_with(['#', ';']) => continue,
            Some(last) => {
                last.push(' ');
                last.push_str(part.trim());
            }
            None => lines.push(part.to_owned()),
        }
        goes_on = continues;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_in_adds_and_an_empty_value_removes() {
        let mut unit = UnitFile::parse(
            "[Unit]\nDescription=a\n# no\n[Service]\nExecStart=x \\\n# between\n  y\nEnvironment=\"A=b\"\nEnvironment=C=d\n[Install]\nWantedBy=x\n",
        );
        assert_eq!(unit.values("Service", "ExecStart"), ["x  y"]);
        assert_eq!(unit.values("Service", "Environment").len(), 2);
        assert!(!unit.sections.contains_key("Install"));
        unit.add("[Service]\nExecStart=\nExecStart=z\nEnvironment=E=f\nType=oneshot\nRemainAfterExit=yes\n");
        assert_eq!(unit.values("Service", "ExecStart"), ["z"]);
        assert_eq!(unit.values("Service", "Environment").len(), 3);
        assert!(unit.bool("Service", "RemainAfterExit", false));
        assert!(unit.bool("Service", "X-RestartIfChanged", true));
        assert_eq!(unit.last("Service", "Type"), Some("oneshot"));
        unit.add("[Service]\nEnvironment=\n");
        assert_eq!(unit.get("Service", "Environment"), Some(&[][..]));
        assert_eq!(unit.get("Service", "User"), None);
    }

    #[test]
    fn what_is_no_unit_is_an_empty_one() {
        for text in ["", "\u{0}", "=\n", "[", "key=value", "[]\n=x", "\\", "a\\\n\\\n"] {
            assert!(UnitFile::parse(text).sections.values().all(|keys| keys.keys().all(String::is_empty)), "{text:?}");
        }
    }
}
