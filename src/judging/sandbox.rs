//! Which failures the sandbox explains, by evidence. A name alone excuses nothing, and neither does a crash.
//!
//! Each file is about one thing that a VM lacks: `hardware`, network `cards`, `secrets`, `state` and `disks` of the real
//! machine, the `outside`. `paths` compares the paths that a unit names with those that exist.

mod cards;
pub(crate) mod disks;
mod hardware;
mod outside;
mod paths;
mod secrets;
mod state;

pub(crate) use self::cards::{missing_interfaces, two_managers};
pub(crate) use self::outside::hosts;
pub(crate) use self::outside::{attempts, shows_no_outside, waits_for_outside};
pub(crate) use self::secrets::{is_secret, is_secret_snippet, misses_a_secret};
pub(crate) use self::state::is_hidden;
use super::unit::own_lines;
use super::unit_ending::{SET_UP, control_exit};
use super::{JudgeContext, text};
use crate::guest::facts::{JournalLine, Unit};
use crate::model::{Excuse, Lack, LoadState, UnitResult, Witness};

/// How many of a unit's last own lines can be evidence: an early failure does not explain a later one.
const LAST: usize = 12;

/// Why the failure of this unit is the sandbox's, with the line that shows it.
pub(crate) fn excuse(cx: &JudgeContext<'_>, unit: &Unit) -> Option<Excuse> {
    let name = unit.name.as_str();
    let of_files = hardware::missing_device(cx, name)
        .or_else(|| hardware::of_processors(cx, unit))
        .or_else(|| secrets::excuse(cx, unit))
        .or_else(|| state::of_files(cx, unit));
    if of_files.is_some() {
        return of_files;
    }
    if is_beyond_excuse(cx, unit) {
        // systemd goes into directories before it starts the program.
        return disks::of_directories(cx, unit);
    }
    secrets::of_script(cx, unit)
        .or_else(|| cards::excuse(cx, unit))
        // What was observed comes before what was only said.
        .or_else(|| hardware::by_paths(cx, unit))
        .or_else(|| hardware::of_memory(cx, unit))
        .or_else(|| state::excuse(cx, unit))
        .or_else(|| disks::of_type(cx, unit))
        .or_else(|| outside::outside(cx, unit))
        .or_else(|| hardware::by_words(cx, unit))
        .or_else(|| cx.excuses.get(name).cloned())
}

/// What to do about a unit that is not excused, where it misses something: a path that is nearly right, a host.
pub(crate) fn advice(cx: &JudgeContext<'_>, unit: &Unit) -> Option<String> {
    paths::advice(cx, unit).or_else(|| outside::advice(cx, unit))
}

/// What is lacking where a condition about the machine does not hold: a path tells, anything else is about hardware.
pub(crate) fn lack_of(condition: &str) -> Lack {
    let path = condition.split_once('=').map_or("", |(_, value)| value).trim_start_matches(['|', '!']);
    if is_secret(path) {
        Lack::Secret
    } else if path.starts_with('/') && paths::is_state(path) {
        Lack::State
    } else {
        Lack::Hardware
    }
}

/// [`excuse`], for the root of a dependency chain, which need not be a loaded unit (a device).
pub(crate) fn excuse_of_root(cx: &JudgeContext<'_>, name: &str) -> Option<Excuse> {
    let is_loaded = |unit: &&Unit| unit.load_state != LoadState::NotFound;
    match cx.unit(name).filter(is_loaded) {
        Some(unit) => excuse(cx, unit),
        None => hardware::missing_device(cx, name).or_else(|| disks::of_mount(cx.plan, name)),
    }
}

/// Crashes, and what systemd itself could not do for the unit, have nothing to do with the sandbox.
fn is_beyond_excuse(cx: &JudgeContext<'_>, unit: &Unit) -> bool {
    // CLD_DUMPED (waitid(2)), or CLD_EXITED with a code of systemd's own.
    if matches!(unit.result, UnitResult::CoreDump | UnitResult::OomKill | UnitResult::Watchdog) {
        return true;
    }
    let is_systemds = |status: i32| SET_UP.contains(&status);
    unit.service
        .as_ref()
        .is_some_and(|service| service.exit_kind == 3 || (service.exit_kind == 1 && is_systemds(service.exit_status)))
        || control_exit(cx.now, unit).is_some_and(is_systemds)
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

#[cfg(test)]
mod tests;
