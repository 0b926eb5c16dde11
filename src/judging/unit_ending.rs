//! How a failed unit ended, in words.

use super::journal::Means as _;
use super::journal_patterns::Meaning;
use super::text;
use super::unit::{error_line, manager_line};
use crate::guest::facts::{Facts, Unit};
use crate::model::{ServiceType, UnitResult};

/// How a failed unit ended, in words: `exit code 1, 2.0 s after it became active, restarted 3 times: bind() failed`.
pub(crate) fn describe_failure(facts: &Facts, unit: &Unit) -> String {
    let restarts = unit.service.as_ref().map_or(0, |service| service.restarts);
    let restarted = (restarts > 0).then(|| format!("restarted {}", text::times(restarts)));
    let how = how(facts, unit).unwrap_or_else(|| "failed".to_owned());
    let words: Vec<String> = [Some(how), lifetime(unit), restarted].into_iter().flatten().collect();
    let words = words.join(", ");
    match reason(facts, unit) {
        Some(reason) => format!("{words}: {reason}"),
        None => words,
    }
}

/// The same where it is said already that it fails and is restarted; `None` where no more than that is known.
pub(crate) fn describe_ending(facts: &Facts, unit: &Unit) -> Option<String> {
    let words: Vec<String> = [how(facts, unit), lifetime(unit)].into_iter().flatten().collect();
    let words = (!words.is_empty()).then(|| words.join(", "));
    let parts: Vec<String> = [words, reason(facts, unit)].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(": "))
}

/// How long a service was up that ended.
fn lifetime(unit: &Unit) -> Option<String> {
    let service = unit.service.as_ref()?;
    let lived = unit.active_exit_us.saturating_sub(unit.active_enter_us);
    let is_told = service.kind != ServiceType::Oneshot && unit.active_enter_us > 0 && lived >= 500_000;
    is_told.then(|| format!("{} after it became active", text::micros(lived)))
}

/// The line that says why.
fn reason(facts: &Facts, unit: &Unit) -> Option<String> {
    // What systemd itself could not do, the unit has no words for.
    let by_manager = || manager_line(facts, &unit.name, Meaning::NotSetUp).map(|line| line.message.clone());
    let said = error_line(&facts.journal, &unit.name)
        .or_else(|| by_manager().filter(|_| unit.result == UnitResult::Resources))?;
    let said = said.trim();
    let said = said.strip_prefix(unit.name.as_str()).map_or(said, |rest| rest.trim_start_matches(": "));
    Some(match unit.service.as_ref().map(|service| service.files.as_slice()) {
        Some(files @ [_, ..]) if Meaning::FileNotRead.is_in(said) => format!("{said} ({})", files.join(" or ")),
        _ => said.to_owned(),
    })
}

/// The exit code of a command that PID 1 runs before or after a unit's program, where the program never ran.
pub(crate) fn control_exit(facts: &Facts, unit: &Unit) -> Option<i32> {
    unit.service.as_ref().filter(|service| service.exit_kind == 0)?;
    let line = manager_line(facts, &unit.name, Meaning::ProcessExited)?;
    Meaning::ProcessExited.parts_of(&line.message)?["status"].parse().ok()
}

/// How it ended; `None` where it is only known that it failed.
fn how(facts: &Facts, unit: &Unit) -> Option<String> {
    if unit.mount_where.is_some() || unit.name.ends_with(".mount") {
        let what = unit.mount_what.as_deref().unwrap_or("?");
        let place = unit.mount_where.as_deref().unwrap_or("?");
        return Some(format!("{what} could not be mounted on {place}"));
    }
    if unit.is_untried() {
        let how = if unit.name.ends_with(".device") { "did not appear" } else { "was never started" };
        return Some(how.to_owned());
    }
    if let Some(service) = &unit.service {
        let how = match (service.exit_kind, service.exit_status, &unit.result) {
            (_, _, UnitResult::Timeout) => Some("timed out".to_owned()),
            (_, _, UnitResult::Watchdog) => Some("its watchdog timed out".to_owned()),
            (_, _, UnitResult::Protocol) => Some("did not report that it is ready, as its Type= requires".to_owned()),
            (_, _, UnitResult::Resources) => Some("systemd could not set it up".to_owned()),
            (_, _, UnitResult::OomKill) => Some("killed by the OOM killer".to_owned()),
            (1, status, _) if status != 0 => Some(exit_words(facts, unit, status, &service.exec_start)),
            (2, signal, _) => Some(format!("killed by {}", signal_name(signal))),
            (3, signal, _) => Some(format!("dumped core on {}", signal_name(signal))),
            (_, _, UnitResult::StartLimitHit) => Some("started too often in a short time".to_owned()),
            _ => None,
        };
        if how.is_some() {
            return how;
        }
        if let (UnitResult::ExitCode, Some(status)) = (&unit.result, control_exit(facts, unit)) {
            return Some(exit_words(facts, unit, status, "a command beside its program"));
        }
    }
    match &unit.result {
        result if result.is_success() => None,
        UnitResult::Dependency => Some("a unit that it needs did not start".to_owned()),
        result => Some(format!("result {result}")),
    }
}

/// An exit code in words; those from 200 on are systemd's own (systemd.exec(5), "Process exit codes").
fn exit_words(facts: &Facts, unit: &Unit, status: i32, exec: &str) -> String {
    let program = if exec.starts_with('/') { exec.split_whitespace().next().unwrap_or_default() } else { exec };
    let program = if program.is_empty() { "its program" } else { program };
    let lines = facts.unit_files.as_ref().and_then(|files| files.system.lines.get(&unit.name));
    let set = |key: &str| {
        let line = lines?.iter().rev().find(|(known, _)| known == key)?;
        Some(format!(" {}", line.1)).filter(|value| value.len() > 1)
    };
    let set = |key: &str| set(key).unwrap_or_default();
    let meaning = match status {
        126 => "a command could not be executed",
        127 => "a command was not found",
        200 => {
            let directory = unit.service.as_ref().map_or("", |service| service.directory.as_str());
            return format!("exit code 200: its working directory {directory}").trim_end().to_owned()
                + " does not exist";
        }
        203 => return format!("exit code 203: {program} could not be executed"),
        216 => return format!("exit code 216: its group{} does not exist", set("Group")),
        217 => return format!("exit code 217: its user{} does not exist", set("User")),
        218 => "its capabilities could not be set",
        226 => "its mount namespace could not be set up",
        228 => "its system call filter could not be set",
        233 => "its runtime directory could not be created",
        238 => "its state directory could not be created",
        239 => "its cache directory could not be created",
        240 => "its logs directory could not be created",
        241 => "its configuration directory could not be created",
        243 => "its credentials could not be set up",
        129..=192 => return format!("exit code {status} ({})", signal_name(status - 128)),
        _ => return format!("exit code {status}"),
    };
    format!("exit code {status}: {meaning}")
}

/// A signal's name (signal(7), x86 and arm).
pub(crate) fn signal_name(signal: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    match usize::try_from(signal - 1).ok().and_then(|index| NAMES.get(index)) {
        Some(&"SYS") => "SIGSYS (a system call that its filter forbids)".to_owned(),
        Some(name) => format!("SIG{name}"),
        None => format!("signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_signals_and_exit_codes() {
        assert_eq!(signal_name(11), "SIGSEGV");
        assert_eq!(signal_name(0), "signal 0");
        let mut facts = Facts::default();
        let mut unit = Unit { name: "tunnel.service".into(), ..Unit::default() };
        let words = |facts: &Facts, unit: &Unit, status| exit_words(facts, unit, status, "/nix/store/x/bin/y --z");
        assert_eq!(words(&facts, &unit, 203), "exit code 203: /nix/store/x/bin/y could not be executed");
        assert!(words(&facts, &unit, 159).contains("SIGSYS"));
        assert_eq!(words(&facts, &unit, 217), "exit code 217: its user does not exist");
        assert_eq!(words(&facts, &unit, 200), "exit code 200: its working directory does not exist");
        let lines = [("tunnel.service".to_owned(), vec![("User".to_owned(), "plex-tunnel".to_owned())])];
        facts.unit_files.get_or_insert_default().system.lines.extend(lines);
        unit.service.get_or_insert_default().directory = "/srv/tunnel".into();
        assert_eq!(words(&facts, &unit, 217), "exit code 217: its user plex-tunnel does not exist");
        assert_eq!(words(&facts, &unit, 200), "exit code 200: its working directory /srv/tunnel does not exist");
    }
}
