//! What a unit's state means, why it failed, which unit is the root of a chain, and what it and PID 1 said.

pub(crate) use super::error_line::error_line;
use super::journal::Means as _;
use super::journal_patterns::Meaning;
pub(crate) use super::unit_ending::{describe_ending, describe_failure, signal_name};
use super::{JudgeContext, plan, sandbox, text};
use crate::guest::facts::{FROM_FILE, Facts, JournalLine, Unit};
use crate::model::timeouts::Timeouts;
use crate::model::{ActiveState, CheckId, Excuse, LoadState, UnitResult};

/// Why a unit is in state `failed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FailureCause {
    /// Its own doing.
    Own,
    /// The sandbox explains it, by this evidence.
    Sandbox(Excuse),
    /// It requires this unit, which is not up.
    RequiredUnit(String),
    /// Whatever it is, this check reports it.
    ReportedBy(CheckId),
}

pub(crate) fn is_active(unit: &Unit) -> bool {
    unit.active_state.is_up()
}

pub(crate) fn is_failed(unit: &Unit) -> bool {
    unit.active_state == ActiveState::Failed
}

pub(crate) fn is_activating(unit: &Unit) -> bool {
    unit.active_state == ActiveState::Activating
}

/// Whether it ended, and waits to be started again.
pub(crate) fn is_auto_restart(unit: &Unit) -> bool {
    unit.is_auto_restart()
}

/// Whether it was there and ended with success, or is a oneshot that did its work.
pub(crate) fn ended_with_success(unit: &Unit) -> bool {
    unit.active_state == ActiveState::Inactive && unit.inactive_enter_us > 0 && unit.result.is_success()
}

/// Whether the main process of a service ran and ended with success. Where it never ran, for a failed `ExecStartPre=`, the
/// result of a unit that is about to be started again says so for an instant only.
pub(crate) fn exited_with_success(unit: &Unit) -> bool {
    unit.result.is_success()
        && unit.service.as_ref().is_some_and(|service| service.exit_status == 0 && service.exit_kind == 1)
}

/// Whether the last run of a service ended well, by PID 1's own words, else by what its main process left.
pub(crate) fn ended_cleanly(facts: &Facts, unit: &Unit) -> bool {
    let endings = [Meaning::FailedWithResult, Meaning::Deactivated];
    match last_word(facts, unit, &endings) {
        Some(line) => unit.result.is_success() && Meaning::Deactivated.is_in(&line.message),
        // What is at its next try has not ended yet.
        None => exited_with_success(unit) && (is_auto_restart(unit) || !is_activating(unit)),
    }
}

/// PID 1's word that the unit failed, where it has not said since that it was started again. What is up in spite of it was
/// read before.
pub(crate) fn failed_since<'a>(facts: &'a Facts, unit: &Unit) -> Option<&'a JournalLine> {
    let line = last_word(facts, unit, &[Meaning::FailedWithResult, Meaning::Started])?;
    (line.at_us > unit.active_enter_us && Meaning::FailedWithResult.is_in(&line.message)).then_some(line)
}

/// PID 1's last line about a unit that means one of these. Its lines keep their order; the time of each is when the
/// journal got it, which may be later than the unit's own times.
pub(super) fn last_word<'a>(facts: &'a Facts, unit: &Unit, meanings: &[Meaning]) -> Option<&'a JournalLine> {
    let is_about =
        |line: &JournalLine| line.unit == unit.name || line.unit.is_empty() && names(&line.message, &unit.name);
    let mut lines = facts.journal.iter().rev().filter(|line| is_managers(line) && is_about(line));
    lines.find(|line| meanings.iter().any(|meaning| meaning.is_in(&line.message)))
}

/// A line about a unit without its name before it.
pub(super) fn without_name<'a>(line: &'a str, name: &str) -> &'a str {
    line.strip_prefix(name).map_or(line, |rest| rest.trim_start_matches(": "))
}

/// Whether a word of it is this name.
fn names(message: &str, name: &str) -> bool {
    message.split_whitespace().any(|word| word.trim_end_matches(':') == name)
}

/// Whether it ended and was started again so often that it will not stay: where `RestartSec=` is long, systemd never
/// gives up, and it never shows as failed. Who did so once or twice may yet come up.
pub(crate) fn keeps_ending(unit: &Unit) -> bool {
    let most = if exited_with_success(unit) { 3 } else { 2 };
    is_auto_restart(unit) && unit.service.as_ref().is_some_and(|service| service.restarts >= most)
}

/// How often a service was started again between the two observations.
pub(crate) fn restarts_since_first(cx: &JudgeContext<'_>, unit: &Unit) -> u32 {
    let restarts = |unit: &Unit| unit.service.as_ref().map_or(0, |service| service.restarts);
    restarts(unit).saturating_sub(cx.first.unit(&unit.name).map_or(0, restarts))
}

/// Whether it was started again more than once, lately too, and has not stayed up since for as long as is watched: in
/// a restart loop, though it may be read in a moment when it is active.
pub(crate) fn comes_again(cx: &JudgeContext<'_>, unit: &Unit) -> bool {
    let settle = Timeouts::of(cx.context.accelerator).settle(cx.plan.settings.settle);
    let settle_us = u64::try_from(settle.as_micros()).unwrap_or(u64::MAX);
    let is_young = !is_active(unit) || cx.now.now_us.saturating_sub(unit.active_enter_us) < settle_us;
    let often = unit.service.as_ref().is_some_and(|service| service.restarts > 1);
    often && is_young && restarts_since_first(cx, unit) > 0
}

/// systemd refused to load it, for something in its text.
pub(crate) fn is_refused(unit: &Unit) -> bool {
    matches!(unit.load_state, LoadState::BadSetting | LoadState::Error)
}

/// Whether something that is up asked for the unit to be started: a target that was not reached starts nothing
/// (`bluetooth.target`, `sleep.target`), nor does a device that is not there.
pub(crate) fn is_called_for<'a>(facts: &Facts, wanted_by: impl IntoIterator<Item = &'a String>) -> bool {
    wanted_by.into_iter().any(|name| {
        let name = if name == "default.target" && !facts.manager.default_target.is_empty() {
            &facts.manager.default_target
        } else {
            name
        };
        facts.unit(name).is_some_and(|unit| is_active(unit) || is_activating(unit) || ended_with_success(unit))
    })
}

/// The failed service that a socket or path started until it was told to stop, and failed for that itself.
fn overrun_by<'a>(facts: &'a Facts, unit: &Unit) -> Option<&'a str> {
    let is_overrun = matches!(
        unit.result,
        UnitResult::ServiceStartLimitHit | UnitResult::UnitStartLimitHit | UnitResult::TriggerLimitHit
    );
    let mut failed = facts.units.iter().filter(|other| is_overrun && is_failed(unit) && is_failed(other));
    failed.find(|other| other.triggered_by.contains(&unit.name)).map(|other| other.name.as_str())
}

/// Follows broken requirements to the first cause: a unit that failed by itself, or one that is not there.
pub(crate) fn root_cause<'a>(facts: &'a Facts, name: &'a str) -> &'a str {
    let mut visited = vec![name];
    let mut here = name;
    loop {
        let Some(unit) = facts.unit(here) else { return here };
        let next = unit
            .broken_requirements
            .iter()
            .map(String::as_str)
            .chain(overrun_by(facts, unit))
            .filter(|next| !visited.contains(next))
            // A service may require its socket, which failed for what the service did.
            .filter(|next| facts.unit(next).and_then(|it| overrun_by(facts, it)) != Some(here))
            // A failed one explains more than one that is merely not there.
            .min_by_key(|next| match facts.unit(next) {
                Some(unit) if is_failed(unit) => 0,
                Some(unit) if !unit.broken_requirements.is_empty() => 1,
                Some(_) => 2,
                None => 3,
            });
        match next {
            Some(next) => {
                visited.push(next);
                here = next;
            }
            None => return here,
        }
    }
}

/// Why this unit, which is in state `failed`, is so.
pub(crate) fn failure_cause(cx: &JudgeContext<'_>, name: &str) -> FailureCause {
    let Some(unit) = cx.unit(name) else { return FailureCause::Own };
    let root = root_cause(cx.now, name);
    if root != name {
        return match sandbox::excuse_of_root(cx, root) {
            Some(why) => FailureCause::Sandbox(why.through(format_args!("needs {root}"))),
            None => FailureCause::RequiredUnit(root.to_owned()),
        };
    }
    let reported = |applies: bool, id: CheckId| applies && cx.is_planned(id);
    if reported(unit.result == UnitResult::OomKill, CheckId::BootOom) {
        return FailureCause::ReportedBy(CheckId::BootOom);
    }
    if reported(is_tmpfiles(name), CheckId::BootTmpfiles) {
        return FailureCause::ReportedBy(CheckId::BootTmpfiles);
    }
    if let Some(why) = sandbox::excuse(cx, unit) {
        return FailureCause::Sandbox(why);
    }
    if reported(is_firewall(name) && cx.plan.expectations.firewall == Some(true), CheckId::NetworkPorts) {
        return FailureCause::ReportedBy(CheckId::NetworkPorts);
    }
    let is_timed = |timer: &String| unit.triggered_by.contains(timer) || plan::service_of(timer) == name;
    if reported(cx.plan.timers.iter().any(is_timed), CheckId::ServicesTimers) {
        return FailureCause::ReportedBy(CheckId::ServicesTimers);
    }
    FailureCause::Own
}

pub(crate) fn is_tmpfiles(name: &str) -> bool {
    name.starts_with("systemd-tmpfiles-")
}

/// The services that NixOS's firewall modules make, and other distributions' names for them.
pub(crate) fn is_firewall(name: &str) -> bool {
    matches!(
        name,
        "firewall.service" | "nftables.service" | "iptables.service" | "ip6tables.service" | "firewalld.service"
    )
}

/// What the unit itself wrote to the journal, without its manager's words about it.
pub(crate) fn own_lines<'a>(journal: &'a [JournalLine], unit: &str) -> Vec<&'a JournalLine> {
    lines_of(journal, unit).filter(|line| line.transport != FROM_FILE).collect()
}

/// What it wrote to files of its own.
pub(crate) fn file_lines<'a>(journal: &'a [JournalLine], unit: &str) -> Vec<&'a JournalLine> {
    lines_of(journal, unit).filter(|line| line.transport == FROM_FILE).collect()
}

fn lines_of<'a>(journal: &'a [JournalLine], unit: &str) -> impl Iterator<Item = &'a JournalLine> {
    let own = journal.iter().filter(move |line| line.unit == unit && line.pid != 1 && line.identifier != "systemd");
    own.filter(|line| !line.message.trim().is_empty())
}

/// The unit's last lines, PID 1's about it among them, fit to be shown.
pub(crate) fn tail(facts: &Facts, unit: &str, most: usize) -> Vec<String> {
    facts.journal_of(unit, most).into_iter().map(text::journal).collect()
}

/// Active units whose program is called so, as the kernel names a process.
pub(crate) fn running<'a>(facts: &'a Facts, process: &'a str) -> impl Iterator<Item = &'a Unit> {
    facts.units.iter().filter(|unit| is_active(unit)).filter(move |unit| {
        let exec = unit.service.as_ref().map_or("", |service| service.exec_start.as_str());
        let program = exec.split_whitespace().next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        // The kernel cuts a process's name at 15 bytes.
        program == process || process.len() >= 15 && program.starts_with(process)
    })
}

/// Whether PID 1 wrote it. Until the journal runs, PID 1 writes to the kernel's log, which keeps no pid. Root could
/// write there under the same name; a configuration has no reason to.
pub(crate) fn is_managers(line: &JournalLine) -> bool {
    line.pid == 1 || (line.transport == "kernel" && line.identifier == "systemd")
}

/// PID 1's last line about the unit that means this.
pub(crate) fn manager_line<'a>(facts: &'a Facts, unit: &str, meaning: Meaning) -> Option<&'a JournalLine> {
    facts.journal.iter().rev().find(|line| {
        is_managers(line) && (line.unit == unit || line.message.contains(unit)) && meaning.is_in(&line.message)
    })
}

/// The first line of a network manager's about a setting of a network that has no effect.
pub(crate) fn ignored_setting<'a>(facts: &'a Facts, unit: &str) -> Option<&'a JournalLine> {
    let is_of_network = |line: &JournalLine| {
        let file = Meaning::SettingIgnored.parts_of(&line.message).and_then(|parts| parts.name("file"));
        file.is_some_and(|file| file.as_str().ends_with(".network"))
    };
    facts.journal.iter().find(|line| line.unit == unit && is_of_network(line))
}

/// The units of the ordering cycle that PID 1 broke, as it names them before its line about the job that it dropped.
pub(crate) fn cycle_of(facts: &Facts, dropped: &JournalLine) -> Vec<String> {
    let lines: Vec<&JournalLine> = facts.journal.iter().filter(|line| is_managers(line)).collect();
    let end = lines.iter().position(|line| std::ptr::eq(*line, dropped)).unwrap_or_default();
    let is_apart = |line: &&JournalLine| !Meaning::InCycle.is_in(&line.message);
    let begin = lines[..end].iter().rposition(is_apart).map_or(0, |at| at + 1);
    let mut names: Vec<String> = Vec::new();
    for name in lines[begin..end].iter().flat_map(|line| Meaning::InCycle.all_of(&line.message, "unit")) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The units whose jobs PID 1 dropped to break an ordering cycle, with its line about each.
pub(crate) fn dropped_from_cycle(facts: &Facts) -> impl Iterator<Item = (&str, &JournalLine)> {
    facts.journal.iter().filter(|line| is_managers(line)).filter_map(|line| {
        let unit = Meaning::DroppedFromCycle.parts_of(&line.message)?.get(1)?;
        Some((unit.as_str(), line))
    })
}

/// Undoes systemd-escape(1) for a path: `dev-disk-by\x2duuid-1` is `/dev/disk/by-uuid/1`.
pub(crate) fn unescape_path(name: &str) -> String {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let mut bytes = vec![b'/'];
    let mut rest = stem.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let code = (byte == b'\\' && tail.first() == Some(&b'x'))
            .then(|| tail.get(1..3).and_then(|hex| std::str::from_utf8(hex).ok()))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = &tail[3..];
            }
            None => {
                bytes.push(if byte == b'-' { b'/' } else { byte });
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_devices() {
        assert_eq!(unescape_path("dev-disk-by\\x2duuid-1.device"), "/dev/disk/by-uuid/1");
        assert_eq!(unescape_path("a\\x"), "/a\\x");
    }
}
