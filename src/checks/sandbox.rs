//! Which failures the sandbox explains, by evidence. A name alone excuses nothing, and neither does a crash.
//!
//! Each file is about one thing that a VM lacks: `hardware`, network `cards`, `secrets`, `state` and `disks` of the real
//! machine. `paths` holds what a unit says against what there is.

mod cards;
pub(super) mod disks;
mod hardware;
mod paths;
mod secrets;
mod state;

use std::sync::LazyLock;

use regex::Regex;

pub(super) use self::cards::{missing_interfaces, two_managers};
pub(super) use self::paths::advice;
pub(super) use self::secrets::{is_secret_snippet, misses_a_secret};
use super::journal_patterns::Meaning;
use super::text::pattern;
use super::unit::own_lines;
use super::{JudgeContext, Plan, text};
use crate::desktop;
use crate::guest::facts::{Facts, JournalLine, Unit};
use crate::model::{Excuse, Lack, NetworkPolicy, UnitResult, Witness};

/// How many of a unit's last own lines can be evidence: an early failure does not explain a later one.
const LAST: usize = 12;

/// Why the failure of this unit is the sandbox's, with the line that shows it.
pub(crate) fn excuse(cx: &JudgeContext<'_>, unit: &Unit) -> Option<Excuse> {
    let name = unit.name.as_str();
    let of_files =
        hardware::missing_device(cx, name).or_else(|| secrets::excuse(cx, unit)).or_else(|| state::of_files(cx, unit));
    if of_files.is_some() || is_beyond_excuse(unit) {
        return of_files;
    }
    cards::excuse(cx, unit)
        // What was observed comes before what was only said.
        .or_else(|| hardware::by_paths(cx, unit))
        .or_else(|| state::excuse(cx, unit))
        .or_else(|| outside(cx, unit))
        .or_else(|| hardware::by_words(cx, unit))
        .or_else(|| desktop::excuse(cx, name))
}

/// What is lacking where a condition about the machine does not hold: a path tells, anything else is about hardware.
pub(crate) fn lack_of(condition: &str) -> Lack {
    let path = condition.split_once('=').map_or("", |(_, value)| value).trim_start_matches(['|', '!']);
    if secrets::is_secret(path) {
        Lack::Secret
    } else if path.starts_with('/') && paths::is_state(path) {
        Lack::State
    } else {
        Lack::Hardware
    }
}

/// The same for the root of a chain, which need not be loaded (a device).
pub(crate) fn excuse_of_root(cx: &JudgeContext<'_>, name: &str) -> Option<Excuse> {
    match cx.unit(name) {
        Some(unit) => excuse(cx, unit),
        None => hardware::missing_device(cx, name),
    }
}

/// Crashes, and what systemd itself could not do for the unit, have nothing to do with the sandbox.
fn is_beyond_excuse(unit: &Unit) -> bool {
    if matches!(unit.result, UnitResult::CoreDump | UnitResult::OomKill | UnitResult::Watchdog) {
        return true;
    }
    unit.service.as_ref().is_some_and(|service| {
        service.exit_kind == 3 || (service.exit_kind == 1 && (200..=243).contains(&service.exit_status))
    })
}

fn last_lines<'a>(cx: &JudgeContext<'a>, unit: &str) -> Vec<&'a JournalLine> {
    let lines = own_lines(&cx.now.journal, unit);
    lines[lines.len().saturating_sub(LAST)..].to_vec()
}

/// The line that shows it, as far as it is quoted.
fn quoted(line: &JournalLine) -> String {
    let line: String = line.message.lines().next().unwrap_or_default().chars().take(200).collect();
    text::clean(&line)
}

/// What is lacking, in words, by a line that says so.
fn by_line(lack: Lack, words: impl std::fmt::Display, line: &JournalLine) -> Excuse {
    let line = quoted(line);
    Excuse::new(lack, Witness::line(line.as_str()), format!("{words}: \"{line}\""))
}

// --- the outside ---

/// NixOS's own, which set what the configuration declares of addresses and routes. Who writes `ip route` into a service of
/// their own may mean a gateway of the real network, beside an address that is leased there.
static SETS_NETWORK: LazyLock<Regex> = LazyLock::new(|| pattern(r"^network-(setup|addresses-)"));

/// Whether a line shows that something outside was not reached.
pub(super) fn shows_no_outside(line: &str, host_name: Option<&str>) -> bool {
    let not_reached = Meaning::HostNotReached.is_in(line)
        || (Meaning::ConnectionTimedOut.is_in(line) && Meaning::NamesRemoteHost.is_in(line));
    let itself = host_name.is_some_and(|name| name.len() > 2 && line.contains(&format!(" {name}")));
    let is_local = || Meaning::NamesLocalHost.is_in(&Meaning::NamesResolver.removed_from(line));
    not_reached && !itself && !is_local() && !Meaning::NotAboutHosts.is_in(line)
}

fn outside(cx: &JudgeContext<'_>, unit: &Unit) -> Option<Excuse> {
    if cx.context.network != NetworkPolicy::Off {
        return None;
    }
    let host = cx.plan.expectations.host_name.as_deref();
    let lines = last_lines(cx, &unit.name);
    // curl says "Connection timed out after 10001 ms" and leaves out to which host: its command line, or another line,
    // names it.
    let exec = unit.service.as_ref().map_or("", |service| service.exec_start.as_str());
    let remote = Meaning::NamesRemoteHost;
    let goes_out = remote.is_in(exec) || lines.iter().any(|line| remote.is_in(&line.message));
    let timed_out =
        |line: &str| goes_out && Meaning::ConnectionTimedOut.is_in(line) && !Meaning::NamesLocalHost.is_in(line);
    let declared = SETS_NETWORK.is_match(&unit.name);
    let is_routing = |line: &str| declared && Meaning::GatewayNotReached.is_in(line);
    let shows = |line: &str| (shows_no_outside(line, host) || timed_out(line)) && !is_routing(line);
    let line = lines.iter().rev().find(|line| shows(&line.message))?;
    Some(by_line(Lack::Outside, "needs the outside network, which --network off blocks", line))
}

/// Why a unit whose start does not end may only wait for the outside.
pub(super) fn waits_for_outside(plan: &Plan, facts: &Facts, unit: &str) -> Option<Excuse> {
    if plan.settings.machine.network.unwrap_or_default() != NetworkPolicy::Off {
        return None;
    }
    let why = "may be waiting for the outside network, which --network off blocks";
    // It waits until the clock is set by a server, and says nothing.
    if unit == "systemd-time-wait-sync.service" {
        let state = Witness::state(format!("{unit} waits until the clock is set from outside"));
        return Some(Excuse::new(Lack::Outside, state, why));
    }
    let lines = own_lines(&facts.journal, unit);
    let host = plan.expectations.host_name.as_deref();
    let line = lines.iter().rev().take(LAST).find(|line| shows_no_outside(&line.message, host))?;
    Some(by_line(Lack::Outside, why, line))
}

#[cfg(test)]
mod tests;
