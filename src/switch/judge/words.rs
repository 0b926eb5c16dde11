//! What the switch program says, as data. The words are those of switch-to-configuration-ng's `do_system_switch` and
//! `do_user_switch`, which its Perl predecessor said in the same way.

use crate::model::UnitActions;

/// What it said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// What it did to units, or would do.
    pub(super) actions: UnitActions,
    /// Changed units that it leaves running.
    pub(super) not_restarted: Vec<String>,
    /// Units that had failed at its end, and those whose job failed.
    pub(super) failed: Vec<String>,
    /// Snippets of the activation that failed: name, exit code, and the line before, if any.
    pub(super) snippets: Vec<FailedSnippet>,
    /// Pre-switch checks refused, as it says.
    pub(super) is_refused: bool,
    /// Inhibitors did: what changed, `NAME : OLD -> NEW`.
    pub(super) inhibitors: Vec<String>,
    /// Another switch holds the lock.
    pub(super) is_locked: bool,
    /// The activation script failed as a whole.
    pub(super) is_activation_failed: bool,
}

/// A snippet of the activation that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FailedSnippet {
    /// `users`, `etc`, ….
    pub(super) name: String,
    /// Its exit code, as it is written.
    pub(super) code: String,
    /// What was said before it.
    pub(super) said: Option<String>,
}

/// What introduces a list of units, and whether `WOULD` may stand before it is in the words themselves.
const STOPPED: [&str; 3] =
    ["stopping the following units: ", "would stop the following units: ", "stopping the following user units: "];
const STARTED: [&str; 4] = [
    "starting the following units: ",
    "would start the following units: ",
    "the following new units were started: ",
    "starting the following user units: ",
];
const RESTARTED: [&str; 3] = [
    "restarting the following units: ",
    "would restart the following units: ",
    "restarting the following user units: ",
];
const RELOADED: [&str; 3] =
    ["reloading the following units: ", "would reload the following units: ", "reloading the following user units: "];
const NOT_RESTARTED: [&str; 3] = [
    "NOT restarting the following changed units: ",
    "would NOT stop the following changed units: ",
    "NOT restarting the following user units: ",
];
const FAILED: [&str; 2] = ["warning: the following units failed: ", "warning: the following user units failed: "];

/// Reads its lines.
pub(super) fn read(lines: &[String]) -> Words {
    let mut words = Words::default();
    let mut said: Option<&str> = None;
    for line in lines.iter().map(|line| line.trim()) {
        let after = |starts: &[&str]| starts.iter().find_map(|start| line.strip_prefix(start));
        if let Some(units) = after(&STOPPED) {
            add(&mut words.actions.stopped, units);
        } else if let Some(units) = after(&STARTED) {
            add(&mut words.actions.started, units);
        } else if let Some(units) = after(&RESTARTED) {
            add(&mut words.actions.restarted, units);
        } else if let Some(units) = after(&RELOADED) {
            add(&mut words.actions.reloaded, units);
        } else if let Some(units) = after(&NOT_RESTARTED) {
            add(&mut words.not_restarted, units);
        } else if let Some(units) = after(&FAILED) {
            add(&mut words.failed, units);
        } else if let Some(unit) = failed_job(line) {
            add(&mut words.failed, unit);
        } else if let Some(snippet) = snippet(line, said) {
            words.snippets.push(snippet);
        } else if line == "Pre-switch checks failed" {
            words.is_refused = true;
        } else if line == "Could not acquire lock" {
            words.is_locked = true;
        } else if line == "Failed to run activate script" {
            words.is_activation_failed = true;
        } else if line.split_once(" : ").is_some_and(|(_, change)| change.contains(" -> ")) {
            words.inhibitors.push(line.to_owned());
        }
        said = Some(line);
    }
    words
}

/// Adds the units of a list, each once.
fn add(units: &mut Vec<String>, list: &str) {
    for unit in list.split([',', ' ']).map(str::trim).filter(|unit| !unit.is_empty()) {
        if !units.iter().any(|known| known == unit) {
            units.push(unit.to_owned());
        }
    }
}

/// `Failed to start app.service`, with why or without.
fn failed_job(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("Failed to ")?;
    let (verb, rest) = rest.split_once(' ')?;
    let rest = rest.strip_prefix("user unit ").unwrap_or(rest);
    let unit = rest.split([':', ' ']).next()?;
    let is_job = ["start", "stop", "restart", "reload"].contains(&verb);
    (is_job && unit.contains('.')).then_some(unit)
}

/// `Activation script snippet 'users' failed (1)`, as NixOS's activation-script.nix has it.
fn snippet(line: &str, said: Option<&str>) -> Option<FailedSnippet> {
    let (name, rest) = line.strip_prefix("Activation script snippet '")?.split_once("' failed (")?;
    let said = said.filter(|said| *said != "activating the configuration..." && !said.is_empty());
    Some(FailedSnippet {
        name: name.to_owned(),
        code: rest.trim_end_matches(')').to_owned(),
        said: said.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_units() {
        let lines: Vec<String> = [
            "stopping the following units: app.service, worker.service",
            "NOT restarting the following changed units: display-manager.service",
            "activating the configuration...",
            "install: cannot stat '/srv/keys/host': No such file or directory",
            "Activation script snippet 'copy-keys' failed (1)",
            "Failed to run activate script",
            "restarting sysinit-reactivation.target",
            "starting the following units: app.service",
            "Failed to start app.service",
            "the following new units were started: metrics.service",
            "warning: the following units failed: app.service",
        ]
        .map(str::to_owned)
        .to_vec();
        let words = read(&lines);
        assert_eq!(words.actions.stopped, ["app.service", "worker.service"]);
        assert_eq!(words.actions.started, ["app.service", "metrics.service"]);
        assert_eq!((words.not_restarted.len(), words.failed.as_slice()), (1, &["app.service".to_owned()][..]));
        assert!(words.is_activation_failed && !words.is_refused);
        assert_eq!(words.snippets[0].name, "copy-keys");
        assert_eq!(
            words.snippets[0].said.as_deref(),
            Some("install: cannot stat '/srv/keys/host': No such file or directory")
        );
    }

    #[test]
    fn what_would_be_done() {
        let lines = [
            "would stop the following units: a.service",
            "would restart systemd",
            "would restart the following units: b.service",
        ];
        let words = read(&lines.map(str::to_owned));
        assert_eq!(
            (words.actions.stopped.len(), words.actions.restarted.as_slice()),
            (1, &["b.service".to_owned()][..])
        );
        let refused = read(&["dbus-implementation : dbus -> broker", "Pre-switch checks failed"].map(str::to_owned));
        assert!(refused.is_refused);
        assert_eq!(refused.inhibitors, ["dbus-implementation : dbus -> broker"]);
    }
}
