//! How a failed unit ended, in words.

use std::ops::RangeInclusive;

use regex::Captures;

use super::journal::Means as _;
use super::journal_patterns::Meaning;
use super::text;
use super::unit::{error_line, is_managers, last_word, manager_line, own_lines, without_name};
use crate::guest::facts::{Facts, JournalLine, Service, Unit};
use crate::model::{ServiceType, UnitResult};

/// The exit codes of systemd itself, before it starts the program (systemd.exec(5), "Process exit codes").
pub(super) const SET_UP: RangeInclusive<i32> = 200..=245;

/// How a failed unit ended, in words: `exit code 1, 2.0 s after it became active, restarted 3 times: bind() failed`.
pub(crate) fn describe_failure(facts: &Facts, unit: &Unit) -> String {
    let restarts = unit.service.as_ref().map_or(0, |service| service.restarts);
    let restarted = (restarts > 0).then(|| format!("restarted {}", text::times(restarts)));
    let how = how(facts, unit).unwrap_or_else(|| "failed".to_owned());
    let words: Vec<String> = [Some(how), lifetime(unit), restarted].into_iter().flatten().collect();
    let words = words.join(", ");
    match reason(facts, unit) {
        Some(reason) => format!("{words}: {reason}"),
        None if ended_in_silence(facts, unit) => format!("{words}, without a word in the journal"),
        None => words,
    }
}

/// Whether it ran, failed, and wrote nothing at all.
pub(super) fn ended_in_silence(facts: &Facts, unit: &Unit) -> bool {
    let is_exit = |service: &Service| service.exit_kind == 1 && !SET_UP.contains(&service.exit_status);
    unit.result == UnitResult::ExitCode
        && unit.service.as_ref().is_some_and(is_exit)
        && facts.heard.contains(&unit.name)
        && own_lines(&facts.journal, &unit.name).is_empty()
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
    // What systemd prepares for the program in its own process has no life.
    let is_program = !(service.exit_kind == 1 && SET_UP.contains(&service.exit_status));
    let is_told = is_program && service.kind != ServiceType::Oneshot && unit.active_enter_us > 0 && lived >= 500_000;
    is_told.then(|| format!("{} after it became active", text::micros(lived)))
}

/// The line that says why.
fn reason(facts: &Facts, unit: &Unit) -> Option<String> {
    let by_manager = |meaning| manager_line(facts, &unit.name, meaning).map(|line| line.message.clone());
    let is_waited_for = matches!(unit.result, UnitResult::Timeout | UnitResult::Protocol);
    let unheard = by_manager(Meaning::NotHeard).filter(|_| is_waited_for);
    // What systemd itself could not do, the unit has no words for.
    let not_set_up = || by_manager(Meaning::NotSetUp).filter(|_| unit.result == UnitResult::Resources);
    if let Some(parts) = socket_not_made(facts, unit) {
        return Some(format!("it cannot listen on {}: {}", &parts["address"], &parts["why"]));
    }
    let said = unheard.or_else(|| error_line(&facts.journal, &unit.name)).or_else(not_set_up)?;
    let said = without_name(said.trim(), &unit.name);
    if let Some(line) = by_kernel(facts, unit) {
        return Some(format!("{said} ({line})"));
    }
    Some(match unit.service.as_ref().map(|service| service.files.as_slice()) {
        Some(files @ [_, ..]) if Meaning::FileNotRead.is_in(said) => format!("{said} ({})", files.join(" or ")),
        _ => said.to_owned(),
    })
}

/// On which of its addresses PID 1 could not listen for a socket unit, and why: it asks a process of its own.
pub(super) fn socket_not_made<'a>(facts: &'a Facts, unit: &Unit) -> Option<Captures<'a>> {
    let lines = facts.journal.iter().rev().filter(|line| line.message.starts_with(&unit.name));
    let mut not_made = lines.filter_map(|line| Meaning::SocketNotMade.parts_of(&line.message));
    not_made.find(|parts| parts["unit"] == unit.name)
}

/// What the kernel says of a mount that it refuses: mount(8) knows no more than that it does.
fn by_kernel<'a>(facts: &'a Facts, unit: &Unit) -> Option<&'a str> {
    const NEAR_US: u64 = 2_000_000;
    unit.mount_where.as_ref()?;
    let is_near =
        |line: &&JournalLine| line.transport == "kernel" && line.at_us.abs_diff(unit.state_change_us) < NEAR_US;
    let mut words = facts.journal.iter().rev().filter(is_near).map(|line| line.message.as_str());
    words.find(|line| Meaning::MountRefused.is_in(line))
}

/// The exit code of a command that PID 1 runs beside a unit's program, where it failed before the program ended: what PID 1
/// then ends did not fail by itself.
pub(crate) fn control_exit(facts: &Facts, unit: &Unit) -> Option<i32> {
    const TURNS: [Meaning; 3] = [Meaning::Started, Meaning::Restarts, Meaning::ReloadEnded];
    let mut first = None;
    for line in facts.journal.iter().rev().filter(|line| is_managers(line) && line.unit == unit.name) {
        if let Some(parts) = Meaning::ProcessExited.parts_of(&line.message) {
            first = Some(parts);
        } else if first.is_some() && TURNS.iter().any(|turn| turn.is_in(&line.message)) {
            break;
        }
    }
    let first = first.filter(|parts| &parts["which"] == "Control" && &parts["code"] == "exited")?;
    first["status"].parse().ok()
}

/// How a command beside its program ended a service. Where a program goes to the background, PID 1 starts it by one.
fn by_control(facts: &Facts, unit: &Unit, service: &Service) -> Option<String> {
    let status = control_exit(facts, unit).filter(|_| unit.result == UnitResult::ExitCode)?;
    if service.kind == ServiceType::Forking && service.exit_kind == 0 {
        return Some(exit_words(facts, unit, status, &service.exec_start));
    }
    let step = if service.exit_kind == 0 { "ExecStartPre=" } else { "ExecStartPost=" };
    Some(format!("its {step} failed with {}", exit_words(facts, unit, status, "one of its commands")))
}

/// What ran out of time, by what the type of a service makes PID 1 wait for.
fn timed_out(facts: &Facts, unit: &Unit, service: &Service) -> &'static str {
    let line = manager_line(facts, &unit.name, Meaning::StartTimedOut);
    let parts = line.and_then(|line| Meaning::StartTimedOut.parts_of(&line.message));
    let is_heard = manager_line(facts, &unit.name, Meaning::NotHeard).is_none();
    if manager_line(facts, &unit.name, Meaning::RuntimeLimitReached).is_some() {
        return "ran for longer than its RuntimeMaxSec= allows";
    }
    match (parts.as_ref().map(|parts| &parts["step"]), &service.kind) {
        (Some("start-pre"), _) => "its ExecStartPre= timed out",
        (Some("start-post"), _) => "its ExecStartPost= timed out",
        (Some("start"), ServiceType::Notify | ServiceType::NotifyReload) => {
            "timed out before it said that it is ready, as its Type=notify requires"
        }
        (Some("start"), ServiceType::Dbus) => "timed out before it had its name on the bus, as its Type=dbus requires",
        (Some("start"), ServiceType::Forking) if is_heard => {
            "timed out before it went to the background, as its Type=forking requires"
        }
        _ => "timed out",
    }
}

/// Why it failed; where it is up again, why it did the last time.
fn result_of(facts: &Facts, unit: &Unit) -> UnitResult {
    let failed = last_word(facts, unit, &[Meaning::FailedWithResult]).filter(|_| unit.result.is_success());
    let parts = failed.and_then(|line| Meaning::FailedWithResult.parts_of(&line.message));
    parts.map_or_else(|| unit.result.clone(), |parts| UnitResult::from(&parts["result"]))
}

/// How its program ended the last time, as a [`Service`] has it: kind and status.
fn last_exit(facts: &Facts, unit: &Unit) -> Option<(i32, i32)> {
    let line = last_word(facts, unit, &[Meaning::ProcessExited])?;
    let parts = Meaning::ProcessExited.parts_of(&line.message).filter(|parts| &parts["which"] == "Main")?;
    let kind = match &parts["code"] {
        "exited" => 1,
        "killed" => 2,
        "dumped" => 3,
        _ => return None,
    };
    Some((kind, parts["status"].parse().ok()?))
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
    let result = &result_of(facts, unit);
    if let Some(service) = &unit.service {
        if let Some(how) = by_control(facts, unit, service) {
            return Some(how);
        }
        // A run that goes on has no end yet, and where it is known that one failed, it was the one before.
        let before = if service.exit_kind == 0 && unit.result != *result { last_exit(facts, unit) } else { None };
        let (exit_kind, exit_status) = before.unwrap_or((service.exit_kind, service.exit_status));
        let how = match (exit_kind, exit_status, result) {
            (_, _, UnitResult::Timeout) => Some(timed_out(facts, unit, service).to_owned()),
            (_, _, UnitResult::Watchdog) => Some("its watchdog timed out".to_owned()),
            (_, _, UnitResult::Protocol) => Some("did not report that it is ready, as its Type= requires".to_owned()),
            (_, _, UnitResult::Resources) => Some("systemd could not set it up".to_owned()),
            (_, _, UnitResult::OomKill) => Some("killed by the OOM killer".to_owned()),
            (1, status, _) if status != 0 => Some(exit_words(facts, unit, status, &service.exec_start)),
            (2, signal, _) => Some(format!("killed by {}", signal_name(signal))),
            (3, signal, _) => Some(format!("dumped core on {}", signal_name(signal))),
            (kind, 0, UnitResult::StartLimitHit) if kind <= 1 && !unit.triggered_by.is_empty() => {
                let by = text::list(&unit.triggered_by);
                Some(format!("it ends well, and {by} starts it again, too often in a short time"))
            }
            (_, _, UnitResult::StartLimitHit) => Some("started too often in a short time".to_owned()),
            _ => None,
        };
        if how.is_some() {
            return how;
        }
    }
    match result {
        result if result.is_success() => None,
        UnitResult::Dependency => Some("a unit that it needs did not start".to_owned()),
        UnitResult::ServiceStartLimitHit | UnitResult::UnitStartLimitHit | UnitResult::TriggerLimitHit => {
            Some("what it starts was started too often in a short time".to_owned())
        }
        result => Some(format!("result {result}")),
    }
}

/// An exit code in words; those from 200 on are systemd's own (systemd.exec(5), "Process exit codes").
fn exit_words(facts: &Facts, unit: &Unit, status: i32, exec: &str) -> String {
    let program = if exec.starts_with('/') { exec.split_whitespace().next().unwrap_or_default() } else { exec };
    let program = if program.is_empty() { "its program" } else { program };
    let set = |key: &str| {
        let keys = [key];
        let value = facts.set_in_files(&unit.name, &keys).last().map(|(_, value)| value);
        value.filter(|value| !value.is_empty()).map_or_else(String::new, |value| format!(" {value}"))
    };
    let meaning = match status {
        126 => "a command could not be executed",
        127 => "a command was not found",
        200 => {
            let directory = unit.service.as_ref().map_or("", |service| service.directory.as_str());
            return format!("exit code 200: its working directory {directory}").trim_end().to_owned()
                + " does not exist";
        }
        203 => return format!("exit code 203: {program} could not be executed"),
        205 => "its resource limits could not be set",
        208 | 209 | 222 => "its standard input or output could not be set up",
        210 => "its root directory could not be entered",
        214 => "its CPU scheduling could not be set",
        215 => "its CPU affinity could not be set",
        216 => return format!("exit code 216: its group{} does not exist", set("Group")),
        217 => return format!("exit code 217: its user{} does not exist", set("User")),
        218 => "its capabilities could not be set",
        219 => "its control group could not be set up",
        224 => "its PAM session could not be opened",
        225 => "its network namespace could not be set up",
        226 => "its mount namespace could not be set up",
        228 => "its system call filter could not be set",
        231 => "its AppArmor profile could not be set",
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
