//! What `systemd-analyze verify` says, line by line. Pure.

use std::sync::LazyLock;

use regex::Regex;

use crate::guest::unit_files::{short, unit_of};
use crate::judging::text::pattern;

/// A line that says what is wrong with a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Words {
    /// A program that is not there, or cannot be executed.
    Program {
        /// As it stands in the unit.
        program: String,
        /// `No such file or directory`.
        why: String,
    },
    /// A key that systemd does not know in this section.
    Key {
        section: String,
        key: String,
    },
    Section(String),
    /// A value that systemd refuses and ignores, with its key where the words name it.
    Value {
        key: Option<String>,
    },
    /// systemd refuses the unit.
    Refused,
}

/// A line with the file or the unit that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// `a.service`, an instance's template.
    pub(super) unit: String,
    /// `a.service`, `a.service.d/overrides.conf`.
    pub(super) file: String,
    pub(super) words: Words,
    /// The line without the file's directories.
    pub(super) text: &'a str,
}

static OF_FILE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(/[^ ]+):(\d+): (.+)$"));
static OF_UNIT: LazyLock<Regex> = LazyLock::new(|| pattern(r"^([A-Za-z0-9:_.\\@-]+\.[a-z]+): (.+)$"));
static PROGRAM: LazyLock<Regex> = LazyLock::new(|| pattern(r"^Command (.+) is not executable: (.+)$"));
static KEY: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^Unknown key(?: name)? '([^']+)' in section [\['](?:\[)?([^\]']+)[\]']"));
static SECTION: LazyLock<Regex> = LazyLock::new(|| pattern(r"^Unknown section '([^']+)'"));
static VALUE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^Failed to parse ([A-Za-z]+)=.*, ignoring"));
/// Values whose words name no key: without them a timer or a socket does nothing.
static VALUE_OF: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^Failed to parse (calendar specification|timer value|address value|service type|service restart specifier).*, ignoring",
    )
});
static REFUSED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"Refusing\.$|^Unit configuration has fatal error|^Neither a valid executable name nor an absolute path")
});

/// What a line says; `None` of one that breaks nothing (deprecated settings, manual pages), or is not understood.
pub(super) fn read(line: &str) -> Option<Line<'_>> {
    if let Some(found) = OF_FILE.captures(line) {
        let file = name_of(&found[1]);
        let start = found.get(3)?.start();
        let words = of_text(&found[3])?;
        return Some(Line { unit: template_of(unit_of(&file)), file, words, text: &line[start..] });
    }
    let found = OF_UNIT.captures(line)?;
    let start = found.get(2)?.start();
    let unit = template_of(&found[1]);
    Some(Line { file: unit.clone(), unit, words: of_text(&found[2])?, text: &line[start..] })
}

fn of_text(text: &str) -> Option<Words> {
    let part = |regex: &Regex, index: usize| Some(regex.captures(text)?[index].to_owned());
    if let Some(found) = PROGRAM.captures(text) {
        return Some(Words::Program { program: found[1].to_owned(), why: found[2].to_owned() });
    }
    if let Some(found) = KEY.captures(text) {
        return Some(Words::Key { key: found[1].to_owned(), section: found[2].to_owned() });
    }
    if let Some(section) = part(&SECTION, 1) {
        return Some(Words::Section(section));
    }
    if let Some(key) = part(&VALUE, 1) {
        return Some(Words::Value { key: Some(key) });
    }
    if VALUE_OF.is_match(text) {
        return Some(Words::Value { key: None });
    }
    REFUSED.is_match(text).then_some(Words::Refused)
}

/// The name of a file; NixOS's store paths hold drop-ins without the directory `a.service.d`.
fn name_of(path: &str) -> String {
    let file = short(path);
    let in_store = path.split_once("-unit-").and_then(|(_, rest)| rest.split_once('/'));
    match in_store {
        Some((unit, last)) if last != unit && last.ends_with(".conf") && !file.contains('/') => {
            format!("{unit}.d/{last}")
        }
        _ => file.to_owned(),
    }
}

/// `a@.service` of the instance `a@i.service`.
fn template_of(unit: &str) -> String {
    match (unit.split_once('@'), unit.rsplit_once('.')) {
        (Some((name, _)), Some((_, kind))) => format!("{name}@.{kind}"),
        _ => unit.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_systemd_252_and_257() {
        let key = |section: &str, key: &str| Words::Key { section: section.into(), key: key.into() };
        let program =
            |program: &str| Words::Program { program: program.into(), why: "No such file or directory".into() };
        let value = |key: &str| Words::Value { key: Some(key.into()) };
        let cases = [
            (
                "/etc/systemd/system/a.service:4: Unknown key 'ExecStrat' in section [Service], ignoring.",
                "a.service",
                key("Service", "ExecStrat"),
            ),
            ("/x/a.service:4: Unknown key name 'Foo' in section 'Unit', ignoring.", "a.service", key("Unit", "Foo")),
            ("/x/a.service:10: Unknown section 'Instal'. Ignoring.", "a.service", Words::Section("Instal".into())),
            (
                "/x/a.service.d/o.conf:2: Failed to parse Type=foo, ignoring: Invalid argument",
                "a.service",
                value("Type"),
            ),
            (
                "/nix/store/abc-unit-a.service/overrides.conf:2: Failed to parse Type=foo, ignoring: Invalid argument",
                "a.service",
                value("Type"),
            ),
            (
                "/x/b.timer:2: Failed to parse calendar specification, ignoring: fooly",
                "b.timer",
                Words::Value { key: None },
            ),
            ("/x/b.timer:3: Failed to parse timer value, ignoring: abc", "b.timer", Words::Value { key: None }),
            (
                "/x/b.socket:2: Failed to parse address value in '1234567', ignoring: Numerical result out of range",
                "b.socket",
                Words::Value { key: None },
            ),
            ("b.timer: Timer unit lacks value setting. Refusing.", "b.timer", Words::Refused),
            ("c.service: Unit configuration has fatal error, unit will not be started.", "c.service", Words::Refused),
            (
                "t@i.service: Command /nix/store/x/bin/y is not executable: No such file or directory",
                "t@.service",
                program("/nix/store/x/bin/y"),
            ),
        ];
        for (line, unit, words) in cases {
            let read = read(line).unwrap();
            assert_eq!((read.unit.as_str(), read.words), (unit, words), "{line}");
        }
    }

    #[test]
    fn what_breaks_nothing() {
        let lines = [
            "/x/a.service:8: Unit uses KillMode=none. This is unsafe, as it disables systemd's process lifecycle management for the service.",
            "/x/a.service:9: Unit uses MemoryLimit=; please use MemoryMax= instead. Support for MemoryLimit= will be removed soon.",
            "/x/a.service:3: Standard output type syslog is obsolete, automatically updating to journal.",
            "/x/a.service:5: Failed to resolve unit specifiers in %q, ignoring: Invalid slot",
            "/x/a.socket:6: ListenStream= references a path below legacy directory /var/run/, updating /var/run/a → /run/a; please update the unit file accordingly.",
            "Unit b.timer has a bad unit file setting.",
            "a.service: Command 'man nosuch(1)' failed with code 16",
            "Failed to put bus name to hashmap: File exists",
            "Invalid memory limit 'lots', ignoring: Invalid argument",
            "",
        ];
        for line in lines {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
