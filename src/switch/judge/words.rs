//! What the switch program says, as data. The words are those of switch-to-configuration-ng's `do_system_switch` and
//! `do_user_switch`, which its Perl predecessor said in the same way.

use std::fmt;

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
    /// Of these, those that could not be reloaded: they go on with what they had.
    pub(super) not_reloaded: Vec<String>,
    /// Of these, those for which PID 1 took no job: why, by their names.
    pub(super) not_queued: Vec<(String, String)>,
    /// Of these, the users' units.
    pub(super) users_failed: Vec<String>,
    /// Users whose units could not be switched.
    pub(super) users: Vec<String>,
    /// Snippets of the activation that failed: name, exit code, and the line before, if any.
    pub(super) snippets: Vec<FailedSnippet>,
    /// Files of /etc that could not be replaced: which, and what is said of each.
    pub(super) not_replaced: Vec<(String, String)>,
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

impl FailedSnippet {
    /// What was said before it, behind a colon; empty where that is nothing.
    pub(super) fn words(&self) -> String {
        self.said.as_ref().map_or_else(String::new, |said| format!(": {said}"))
    }
}

impl fmt::Display for FailedSnippet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "activation snippet '{}' failed ({}){}", self.name, self.code, self.words())
    }
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
/// What it says before it runs the activation.
const ACTIVATING: &str = "activating the configuration...";
/// What it may say after it, before it goes on to users and their units.
const AFTER_ACTIVATION: [&str; 2] = ["Failed to run activate script", "restarting systemd..."];
/// What it says after that each time, since NixOS 24.05.
const REACTIVATES: &str = "restarting sysinit-reactivation.target";
const FAILED: &str = "warning: the following units failed: ";
const USER_FAILED: &str = "warning: the following user units failed: ";
/// What stands before the changes that inhibit a switch (switchable-system.nix).
const INHIBITED: &str = "There are changes to critical components";
/// What a check says at its end when all is well.
const PASSED: [&str; 4] = ["done", "ok", "passed", "succeeded"];

/// Reads its lines.
pub(super) fn read(lines: &[String]) -> Words {
    let mut words = Words::default();
    let mut said: Option<&str> = None;
    // What may be a change that inhibits, until it is known whose words these are.
    let (mut changes, mut is_inhibited, mut is_users) = (Vec::new(), false, false);
    // What the activation calls speaks in the same words at times: of its jobs the switch program knows nothing.
    let is_marked = lines.iter().any(|line| line.trim().starts_with(REACTIVATES));
    let mut is_activating = false;
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
        } else if let Some(units) = line.strip_prefix(FAILED) {
            add(&mut words.failed, units);
        } else if let Some(units) = line.strip_prefix(USER_FAILED) {
            add(&mut words.failed, units);
            add(&mut words.users_failed, units);
        } else if let Some(job) = failed_job(line).filter(|_| !is_activating) {
            add(&mut words.failed, job.unit);
            if job.is_users || is_users {
                add(&mut words.users_failed, job.unit);
            }
            if job.verb == "reload" {
                add(&mut words.not_reloaded, job.unit);
            }
            if let Some(why) = job.why {
                words.not_queued.push((job.unit.to_owned(), why.to_owned()));
            }
        } else if line == ACTIVATING {
            is_activating = is_marked;
        } else if AFTER_ACTIVATION.contains(&line) {
            is_activating = false;
            words.is_activation_failed |= line == AFTER_ACTIVATION[0];
        } else if line.starts_with("reloading user units for ") {
            (is_users, is_activating) = (true, false);
        } else if line.starts_with(REACTIVATES) {
            (is_users, is_activating) = (false, false);
        } else if let Some(user) = user_activation(line) {
            add(&mut words.users, user);
            is_users = false;
        } else if line.starts_with(INHIBITED) {
            (changes, is_inhibited) = (Vec::new(), true);
        } else if let Some(check) = refusing_check(line) {
            is_inhibited &= check == "switchInhibitors";
            if check == "switchInhibitors" {
                words.inhibitors.append(&mut changes);
            }
        } else if let Some(snippet) = snippet(line, said) {
            words.snippets.push(snippet);
        } else if let Some(not_replaced) = not_replaced(line) {
            words.not_replaced.push(not_replaced);
        } else if line == "Pre-switch checks failed" {
            words.is_refused = true;
        } else if line == "Could not acquire lock" {
            words.is_locked = true;
        } else if line.split_once(" : ").is_some_and(|(_, change)| change.contains(" -> ")) {
            changes.push(line.to_owned());
        }
        said = Some(line);
    }
    if is_inhibited && words.is_refused {
        words.inhibitors.append(&mut changes);
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

/// A job that failed.
struct FailedJob<'a> {
    verb: &'a str,
    unit: &'a str,
    is_users: bool,
    /// Why PID 1 took none.
    why: Option<&'a str>,
}

/// `Failed to start app.service`, with why or without.
fn failed_job(line: &str) -> Option<FailedJob<'_>> {
    let (verb, rest) = line.strip_prefix("Failed to ")?.split_once(' ')?;
    let is_job = ["start", "stop", "restart", "reload"].contains(&verb);
    let unit = rest.strip_prefix("user unit ");
    let is_users = unit.is_some();
    let rest = unit.unwrap_or(rest);
    let (unit, why) = match rest.split_once(": ") {
        Some((unit, why)) => (unit, Some(why)),
        None => (rest, None),
    };
    let unit = unit.split(' ').next()?;
    (is_job && unit.contains('.')).then_some(FailedJob { verb, unit, is_users, why })
}

/// The file in `could not create symlink /etc/hosts at …/setup-etc.pl line 131.`, and what is said before the place.
fn not_replaced(line: &str) -> Option<(String, String)> {
    let (said, _) = line.split_once(" at ").unwrap_or((line, ""));
    let path =
        ["could not create symlink ", "could not create target "].iter().find_map(|words| said.strip_prefix(words));
    path.filter(|path| path.starts_with("/etc/")).map(|path| (path.to_owned(), said.to_owned()))
}

/// `warning: user activation for alice failed`.
fn user_activation(line: &str) -> Option<&str> {
    line.strip_prefix("warning: user activation for ")?.strip_suffix(" failed")
}

/// The name in `Pre-switch check 'disk' failed`.
pub(super) fn refusing_check(line: &str) -> Option<&str> {
    let (name, rest) = line.trim().strip_prefix("Pre-switch check '")?.split_once('\'')?;
    rest.trim_start().starts_with("failed").then_some(name)
}

/// Whether a check says in this line that it is content.
pub(super) fn is_passed_check(line: &str) -> bool {
    let line = line.trim();
    let last = line.rsplit([' ', '.']).find(|word| !word.is_empty()).unwrap_or_default();
    line.starts_with("Not checking ") || PASSED.contains(&last.to_lowercase().as_str())
}

/// `Activation script snippet 'users' failed (1)`, as NixOS's activation-script.nix has it.
fn snippet(line: &str, said: Option<&str>) -> Option<FailedSnippet> {
    let (name, rest) = line.strip_prefix("Activation script snippet '")?.split_once("' failed (")?;
    let said = said.filter(|said| *said != ACTIVATING && !said.is_empty());
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
    fn jobs_of_the_activation_are_its_own() {
        let lines = [
            ACTIVATING,
            "Failed to stop old.service: Unit old.service not loaded.",
            "reloading user units for alice...",
            "Failed to start tray.service",
            "restarting sysinit-reactivation.target",
            "Failed to start app.service: Unit app.service is masked.",
        ];
        let words = read(&lines.map(str::to_owned));
        assert_eq!(words.failed, ["tray.service", "app.service"]);
        assert_eq!((words.users_failed.len(), words.not_queued.len()), (1, 1));
        // An older one says nothing between the activation and the jobs.
        let old = read(
            &[ACTIVATING, "restarting the following units: a.service", "Failed to restart a.service"]
                .map(str::to_owned),
        );
        assert_eq!(old.failed, ["a.service"]);
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
        let refused = read(
            &[
                "There are changes to critical components of the system:",
                "dbus-implementation : dbus -> broker",
                "Pre-switch checks failed",
            ]
            .map(str::to_owned),
        );
        assert!(refused.is_refused);
        assert_eq!(refused.inhibitors, ["dbus-implementation : dbus -> broker"]);
    }
}
