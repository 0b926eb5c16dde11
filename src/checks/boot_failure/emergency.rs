//! Emergency mode of a guest that could not be asked, as its console shows it: which unit, and why.
//!
//! With systemd in stage 1 the console has PID 1's `[FAILED]` only; what the unit itself said is in a journal that ends
//! with stage 1. So that journal is forwarded to the console (`model::credential::STAGE_1_JOURNAL`), and read here.

use std::sync::LazyLock;

use regex::Regex;

use super::super::boot;
use super::{ADD_MODULE, BootFailure, after, fail, missing_module, stamp_off};
use crate::judging::journal::Means as _;
use crate::judging::journal_patterns::Meaning;
use crate::judging::sandbox::disks;
use crate::judging::{Plan, contention, last_failure, text};
use crate::model::{CheckId, CheckResult};

/// How many lines are shown, up to the prompt.
const SHOWN: usize = 10;
/// How many lines of others a unit's own words may be away from PID 1's about it: the journal writes on its own time.
const NEAR: usize = 15;
/// A guest that did nothing for so long (s) had done all it could about a device before the limit ran out.
const AT_REST: f64 = 10.0;

/// PID 1's line on a unit that failed, in either place: `what`.
static FAILED: LazyLock<Regex> = LazyLock::new(|| {
    text::pattern(r"(?:\[ *FAILED *\] |systemd\[1\]: )Failed to (?:start|mount|activate) (?P<what>.+?)\.?$")
});

pub(super) fn judge(plan: &Plan, lines: &[String], evidence: &BootFailure) -> Option<CheckResult> {
    let at = lines.iter().position(|line| Meaning::EmergencyPrompt.is_in(line))?;
    let is_script = lines[at].contains("stage 1");
    let stage = if is_script { "stage 1 of the boot failed" } else { "emergency mode" };
    let trouble = trouble(&lines[..at], is_script);
    let mut shown = lines[at.saturating_sub(SHOWN - 4)..(at + 4).min(lines.len())].to_vec();
    let cause = trouble.map_or(&lines[at], |at| &lines[at]);
    // systemd starts emergency mode in the same moment, and its journal comes after.
    let own = trouble.and_then(|trouble| own_words(lines, trouble));
    let why = match (FAILED.captures(cause), &own) {
        (Some(failed), Some((_, words))) => format!("{}: {words}", unit_name(&failed["what"])),
        (None, Some((_, words))) => format!("{}: {words}", stamp_off(cause)),
        (_, None) => stamp_off(cause).to_owned(),
    };
    // A device whose driver is missing is waited for in vain: that it did not come is not the reason.
    let module = missing_module(&lines[..at], cause).filter(|_| own.is_none());
    let why = module.map_or_else(|| why.clone(), |module| format!("{}; after that: {why}", stamp_off(module)));
    for line in own.iter().map(|(line, _)| *line).chain(trouble.map(|_| cause)) {
        if !shown.contains(line) {
            shown.insert(0, line.clone());
        }
    }
    let summary = format!("{stage}, within {}: {why}", after(evidence));
    let result = fail(CheckId::BootEmergency, summary, &[]).detail(shown);
    if module.is_some() {
        return Some(result.hint(ADD_MODULE));
    }
    let is_trouble = |line: &&String| Meaning::BootTrouble.is_in(line) && !Meaning::BootNoise.is_in(line);
    let of_disk = lines[..at].iter().filter(is_trouble).find_map(|line| disks::line_holds_up(plan, line));
    // What the unit itself says was wrong may be that disk.
    let by_own = || own.as_ref().and_then(|(_, words)| disks::line_holds_up(plan, words));
    if let Some(excuse) = if own.is_none() { of_disk } else { by_own() } {
        return Some(boot::lacks_disk(plan, result, &excuse));
    }
    let waited_for = trouble.is_some() && Meaning::BootTimeLimit.is_in(cause);
    let busy = contention::why_lately(&evidence.delay, evidence.seconds).map(|why| (why, contention::BUSY_HOST));
    let late = busy.or_else(|| Some((at_work(evidence, cause)?, contention::EMULATED)));
    Some(match late.filter(|_| waited_for && own.is_none()) {
        Some((why, hint)) => contention::inconclusive(result, &why, hint),
        None => result,
    })
}

/// Of `x.service - Description` the first part, of a description alone all.
fn unit_name(what: &str) -> &str {
    what.split_once(" - ").filter(|(name, _)| !name.contains(' ')).map_or(what, |(name, _)| name)
}

/// The line that is about the cause: of a script's failure the first, else the first on a mount, else the last.
fn trouble(before: &[String], is_script: bool) -> Option<usize> {
    let is_trouble = |line: &String| {
        Meaning::BootTrouble.is_in(line) && !Meaning::BootNoise.is_in(line) && !Meaning::EmergencyPrompt.is_in(line)
    };
    let is_status = |line: &String| FAILED.is_match(line) || Meaning::DeviceTimedOut.is_in(line);
    let first = |is: &dyn Fn(&String) -> bool| before.iter().position(is);
    // Of a chain the first is the cause: what comes later failed for want of it.
    first(&|line| is_status(line) && !Meaning::BootNoise.is_in(line))
        .or_else(|| Some(*last_failure(before)?.start()).filter(|_| is_script))
        .or_else(|| first(&|line| is_trouble(line) && line.to_ascii_lowercase().contains("mount")))
        .or_else(|| before.iter().rposition(is_trouble))
}

/// What the unit at fault said itself, as the journal forwards it, and the whole line.
fn own_words(lines: &[String], trouble: usize) -> Option<(&String, String)> {
    let words = |line: &'_ String| {
        let parts = Meaning::Forwarded.parts_of(line)?;
        let (program, words) = (&parts["program"], parts["words"].trim());
        let is_why = Meaning::SpeaksOfError.is_in(words) && !(program == "systemd" && Meaning::SaidByRote.is_in(words));
        is_why.then(|| words.to_owned())
    };
    if Meaning::DeviceTimedOut.is_in(&lines[trouble]) {
        let missing =
            |line: &&String| Meaning::ModuleMissing.is_in(line) && !Meaning::ModuleWithoutHardware.is_in(line);
        let line = lines[..trouble].iter().find(|line| missing(line) && words(line).is_some())?;
        return Some((line, words(line)?));
    }
    let is_failed = FAILED.is_match(&lines[trouble]);
    let before = lines[trouble.saturating_sub(NEAR)..trouble].iter().rev();
    let after = lines[(trouble + 1).min(lines.len())..].iter().take(NEAR);
    let mut near = before.chain(after).filter(|_| is_failed);
    near.find_map(|line| Some((line, words(line)?)))
}

/// Why a device that was waited for says nothing under emulation: the guest was at work until the limit ran out.
fn at_work(evidence: &BootFailure, cause: &str) -> Option<String> {
    let by_systemd = Meaning::DeviceTimedOut.is_in(cause) && !cause.contains("trying to mount anyway");
    let worked = evidence.idle_s.is_some_and(|idle| idle < AT_REST);
    (by_systemd && worked && evidence.accelerator.is_emulated()).then(|| {
        "the guest was at work all that time on an emulated processor, which is several times slower than a real one"
            .to_owned()
    })
}
