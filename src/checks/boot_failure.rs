//! A guest that did not come up. It fails only with evidence from the guest itself: a panic, emergency mode, a
//! power-off, a job or a snippet that is stuck. A deadline alone proves nothing: the host may be slow.

mod emergency;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{boot, finish, skip_the_rest};
use crate::guest::facts::Facts;
use crate::judging::journal::Means as _;
use crate::judging::journal_patterns::Meaning;
use crate::judging::sandbox::disks;
use crate::judging::{BootState, Judgement, Plan, boot_state, contention, last_failure, sandbox, text};
use crate::machine::RunDelay;
use crate::model::{Accel, CheckId, CheckResult, Status};
use crate::traffic::Traffic;

/// How the run of a guest that did not come up ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootEnd {
    /// QEMU reported a panic (`GUEST_PANICKED`).
    Panicked,
    /// The guest powered itself off.
    PoweredOff,
    /// The guest reset itself (QEMU runs with `-no-reboot`).
    Reset,
    /// The time was up.
    Deadline,
    /// QEMU ended of itself, or was killed: how.
    QemuDied(String),
}

/// What is known of a guest that did not come up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BootFailure {
    /// How it ended.
    pub end: BootEnd,
    /// The console's last lines, as they came.
    pub console_tail: Vec<String>,
    /// PID 1's last `STATUS=`.
    pub status: Option<String>,
    /// The guest's facts, where it could still be asked.
    pub facts: Option<Facts>,
    /// How long the boot had been going on.
    pub seconds: f64,
    /// The longest time at a stretch in which it did nothing, in seconds, where that was observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_s: Option<f64>,
    /// How it was run.
    pub accelerator: Accel,
    /// How long the machine waited for this host's processors.
    #[serde(default)]
    pub delay: RunDelay,
    /// What the guest sent through its network cards; `None` where that is not known.
    #[serde(default)]
    pub traffic: Option<Traffic>,
}

/// Whether the console's last lines show that nothing more will come: the kernel has ended in a panic that QEMU does not
/// report (without a driver for pvpanic), or stage 1 waits at a prompt.
pub fn has_given_up(lines: &[String]) -> Option<BootEnd> {
    if lines.iter().any(|line| Meaning::PanicEnded.is_in(line)) {
        return Some(BootEnd::Panicked);
    }
    lines.iter().any(|line| Meaning::EmergencyPrompt.is_in(line)).then_some(BootEnd::Deadline)
}

/// The line of the console that shows a guest which has come up: its target, or a login prompt at the end.
pub fn has_come_up(lines: &[String]) -> Option<&str> {
    let prompt = lines.last().filter(|line| line.trim_end().ends_with("login:"));
    lines.iter().find(|line| Meaning::CameUp.is_in(line)).or(prompt).map(String::as_str)
}

/// The line by which the kernel shows that a processor stands still: it has done nothing at all from one of the kernel's
/// reports to the next, some twenty seconds later.
pub fn lost_processor(lines: &[String]) -> Option<&str> {
    let mut done = BTreeMap::new();
    let lost = lines.iter().find(|line| {
        let Some(found) = Meaning::ProcessorStalled.parts_of(line) else { return false };
        done.insert(found["cpu"].to_owned(), found["done"].to_owned()).as_deref() == Some(&found["done"])
    });
    lost.map(String::as_str)
}

/// Judges a guest that did not come up.
pub fn judge_boot_failure(plan: &Plan, evidence: &BootFailure) -> Judgement {
    let nothing = Facts::default();
    let facts = evidence.facts.as_ref().unwrap_or(&nothing);
    let outside = sandbox::attempts(&plan.expectations, facts, evidence.traffic.as_ref());
    let mut out = Judgement { outside, ..Judgement::default() };
    let lines: Vec<String> =
        evidence.console_tail.iter().map(|line| text::clean(line)).filter(|line| !line.trim().is_empty()).collect();
    let result = panic(&lines, evidence)
        .or_else(|| no_init(&lines, evidence))
        .or_else(|| from_facts(plan, evidence, &mut out))
        .or_else(|| emergency::judge(plan, &lines, evidence))
        .or_else(|| ended(&lines, evidence))
        .or_else(|| stuck(plan, &lines, evidence))
        .unwrap_or_else(|| cannot_tell(&lines, evidence));
    out.results.retain(|known| known.id != result.id);
    out.results.push(result);
    skip_the_rest(plan, &mut out, "not applicable: the guest did not come up");
    // What decided is reported even when another check was asked for: nothing else could be.
    let decided: Vec<CheckResult> =
        out.results.iter().filter(|result| matches!(result.status, Status::Fail | Status::Unknown)).cloned().collect();
    let mut out = finish(plan, out);
    for result in decided.into_iter().rev() {
        if !out.results.iter().any(|known| known.id == result.id) {
            out.results.insert(0, result);
        }
    }
    out
}

fn fail(id: CheckId, summary: String, lines: &[String]) -> CheckResult {
    let from = lines.len().saturating_sub(10);
    CheckResult::new(id, Status::Fail, text::clean(&summary)).detail(lines[from..].iter().cloned())
}

/// The lines around this one: a few before, some after.
fn around(lines: &[String], at: usize) -> &[String] {
    &lines[at.saturating_sub(6)..(at + 4).min(lines.len())]
}

fn after(evidence: &BootFailure) -> String {
    text::seconds(evidence.seconds)
}

fn panic(lines: &[String], evidence: &BootFailure) -> Option<CheckResult> {
    let found = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| !Meaning::PanicEnded.is_in(line))
        .find_map(|(at, line)| Some((at, Meaning::Panicked.parts_of(line)?["why"].trim().to_owned())));
    match found {
        Some((at, words)) => {
            let init = lines[..at].iter().rev().find(|line| Meaning::InitMissing.is_in(line));
            let lower = words.to_ascii_lowercase();
            let cause = if lower.contains("unable to mount root") {
                let root = lines[..at].iter().rev().find(|line| Meaning::RootMissing.is_in(line));
                let root = root.map_or_else(String::new, |line| format!(": {}", stamp_off(line)));
                format!("the root file system could not be mounted{root}")
            } else if lower.contains("no working init") || lower.contains("requested init") {
                match init {
                    Some(line) => format!("the init is missing or cannot be executed: {}", stamp_off(line)),
                    None => "the init is missing or cannot be executed".to_owned(),
                }
            } else if lower.contains("attempted to kill init") {
                match init.or_else(|| lines[..at].iter().rev().find(|line| Meaning::BootTrouble.is_in(line))) {
                    Some(line) if Meaning::InitMissing.is_in(line) => {
                        format!("the init is missing or cannot be executed: {}", stamp_off(line))
                    }
                    Some(line) => format!("init exited: {}", stamp_off(line)),
                    None => "init exited".to_owned(),
                }
            } else if lower.contains("out of memory") || lower.contains("deadlocked on memory") {
                "the kernel ran out of memory".to_owned()
            } else {
                String::new()
            };
            let summary = if cause.is_empty() {
                format!("kernel panic: {words}")
            } else {
                format!("kernel panic: {cause} ({words})")
            };
            Some(fail(CheckId::BootPanic, summary, around(lines, at)).evidence("panic", words))
        }
        None if evidence.end == BootEnd::Panicked => {
            let last = lines.last().map_or_else(String::new, |line| format!("; the console's last line: {line}"));
            Some(fail(CheckId::BootPanic, format!("kernel panic after {}{last}", after(evidence)), lines))
        }
        None => None,
    }
}

/// PID 1 that is missing or crashed, without a panic: stage 1 may offer a prompt instead, systemd freezes.
fn no_init(lines: &[String], evidence: &BootFailure) -> Option<CheckResult> {
    let at = lines.iter().position(|line| Meaning::InitMissing.is_in(line) || Meaning::InitCrashed.is_in(line))?;
    // Long before the end, it is some other program that could not be executed.
    let is_last = lines.len() - at <= 25;
    if !is_last || evidence.facts.as_ref().is_some_and(|facts| !facts.units.is_empty()) {
        return None;
    }
    let prompts = lines[at..].iter().any(|line| Meaning::EmergencyPrompt.is_in(line));
    let id = if prompts { CheckId::BootEmergency } else { CheckId::BootTarget };
    let gave_up = lines[..at].iter().rev().find_map(|line| Meaning::InitGaveUp.parts_of(line));
    let summary = match gave_up {
        Some(found) => format!("PID 1 gave up: {}", &found["why"]),
        None if Meaning::InitCrashed.is_in(&lines[at]) => format!("PID 1 crashed: {}", stamp_off(&lines[at])),
        None => format!("the init is missing or cannot be executed: {}", stamp_off(&lines[at])),
    };
    Some(fail(id, summary, around(lines, at)))
}

/// Without the kernel's time stamp.
fn stamp_off(line: &str) -> &str {
    text::of_kernel(line).unwrap_or(line.trim())
}

fn from_facts(plan: &Plan, evidence: &BootFailure, out: &mut Judgement) -> Option<CheckResult> {
    let facts = evidence.facts.as_ref()?;
    let seen = (facts, evidence.traffic.as_ref());
    let state = boot_state::state(facts);
    match &state {
        BootState::Emergency(_) => {
            boot::come_up(plan, seen, &state, &evidence.delay, out);
            out.results.iter().find(|result| result.id == CheckId::BootEmergency).cloned()
        }
        // After a deadline the boot will not end either when its last jobs never do.
        BootState::Stuck | BootState::Up if evidence.end == BootEnd::Deadline => {
            let (_, seconds) = boot::awaited(facts)?;
            is_long(seconds?, evidence).then(|| boot::stuck(plan, seen, &target_name(facts)))
        }
        BootState::NotReached if evidence.end == BootEnd::Deadline => {
            boot::come_up(plan, seen, &state, &evidence.delay, out);
            out.results.iter().find(|result| result.id == CheckId::BootTarget).cloned()
        }
        _ => None,
    }
}

fn target_name(facts: &Facts) -> String {
    let name = facts.manager.default_target.as_str();
    if name.is_empty() { "the default target".to_owned() } else { name.to_owned() }
}

/// Whether waiting so long is what kept the boot from ending, rather than a slow host: a quarter of all the time, and
/// at least 10 s, in which this host let the machine run.
fn is_long(seconds: f64, evidence: &BootFailure) -> bool {
    seconds >= 10.0 && seconds >= evidence.seconds / 4.0 && contention::why_lately(&evidence.delay, seconds).is_none()
}

const ADD_MODULE: &str = "add it to boot.initrd.availableKernelModules, or use a kernel that has it";

/// The first line that says that the driver of this device, or of some disk where it is named otherwise, is missing.
fn missing_module<'a>(lines: &'a [String], waited: &str) -> Option<&'a str> {
    const DRIVERS: [(&str, &[&str]); 5] = [
        ("/dev/vd", &["virtio_blk", "virtio_pci", "virtio-blk", "virtio-pci"]),
        ("/dev/sd", &["sd_mod", "ahci", "ata_piix", "virtio_scsi", "usb_storage", "uas"]),
        ("/dev/nvme", &["nvme"]),
        ("/dev/mmcblk", &["mmc_block", "sdhci"]),
        ("/dev/mapper/", &["dm_", "dm-"]),
    ];
    let is_waited_for = Meaning::BootTimeLimit.is_in(waited) || waited.to_ascii_lowercase().contains("mount");
    let names = DRIVERS.iter().find(|(device, _)| waited.contains(device)).map(|(_, names)| *names);
    let disks = || DRIVERS.iter().flat_map(|(_, names)| names.iter());
    let drives = |line: &str| match names {
        Some(names) => names.iter().any(|name| line.contains(name)),
        None => disks().any(|name| line.contains(name)),
    };
    let is_missing = |line: &&String| {
        Meaning::ModuleNotLoaded.is_in(stamp_off(line)) && !Meaning::ModuleWithoutHardware.is_in(stamp_off(line))
    };
    lines.iter().filter(|_| is_waited_for).filter(is_missing).map(String::as_str).find(|line| drives(line))
}

fn ended(lines: &[String], evidence: &BootFailure) -> Option<CheckResult> {
    let id = CheckId::BootPoweroff;
    let last = lines.iter().rev().find(|line| !Meaning::BootNoise.is_in(line));
    let last_line = last.map_or_else(String::new, |line| format!("; the console's last line: {}", stamp_off(line)));
    match &evidence.end {
        BootEnd::PoweredOff => {
            Some(fail(id, format!("the guest powered itself off after {}{last_line}", after(evidence)), lines))
        }
        // A reset before the first word is as likely QEMU's or the accelerator's doing.
        BootEnd::Reset if lines.is_empty() => None,
        BootEnd::Reset => Some(fail(id, format!("the guest reset itself after {}{last_line}", after(evidence)), lines)),
        _ => None,
    }
}

fn stuck(plan: &Plan, lines: &[String], evidence: &BootFailure) -> Option<CheckResult> {
    if evidence.end != BootEnd::Deadline {
        return None;
    }
    let reports = evidence.status.iter().map(String::as_str).chain(lines.iter().rev().map(String::as_str));
    for line in reports {
        let Some(found) = Meaning::JobRuns.parts_of(line) else { continue };
        let (unit, kind, since, limit) = (&found["unit"], &found["kind"], &found["since"], &found["limit"]);
        let seconds = span(since)?;
        if !is_long(seconds, evidence) {
            return None;
        }
        let summary = format!(
            "the boot hangs: the {kind} job of {unit} has been running for {} (limit: {limit})",
            text::seconds(seconds)
        );
        let result = fail(CheckId::BootTarget, summary, lines);
        let result = result.evidence("job", text::clean(unit)).evidence("running_s", seconds);
        return Some(unless_disk(plan, unit, result));
    }
    if contention::why_lately(&evidence.delay, evidence.seconds / 4.0).is_some() {
        return None;
    }
    // Before PID 1 is systemd, the last line says what is being done, or what could not be.
    let last = lines.last()?;
    let rests = evidence.idle_s.is_none_or(|idle| idle >= evidence.seconds / 4.0);
    let is_before_systemd = evidence.status.is_none() && evidence.facts.is_none();
    let failure = last_failure(lines).filter(|failure| failure.end() + 1 == lines.len());
    if let Some(failure) = failure.filter(|_| rests && is_before_systemd && !Meaning::BootNoise.is_in(last)) {
        let cause = &lines[*failure.start()];
        let said = stamp_off(cause).trim_end_matches('.');
        let summary =
            format!("the boot does not go on: {said}; {} said nothing since, after {}", stage(cause), after(evidence));
        return Some(unless_disk(plan, cause, fail(CheckId::BootTarget, summary, lines)));
    }
    let step = Meaning::BootStep.words_of(last)?;
    let module = missing_module(lines, &format!("timed out: {last}")).map(stamp_off);
    let said = format!("{} said {:?} and nothing since, after {}", stage(last), step.as_str().trim(), after(evidence));
    let summary = match module {
        Some(module) => format!("the boot hangs: {module}; after that {said}"),
        None => format!("the boot hangs: {said}"),
    };
    let result = fail(CheckId::BootTarget, summary, lines).evidence("step", step.as_str());
    Some(if module.is_some() { result.hint(ADD_MODULE) } else { unless_disk(plan, last, result) })
}

/// The failure, or that it could not be told where this line is about a disk of the real machine's.
fn unless_disk(plan: &Plan, line: &str, failure: CheckResult) -> CheckResult {
    match disks::line_holds_up(plan, line) {
        Some(excuse) => boot::lacks_disk(plan, failure, &excuse),
        None => failure,
    }
}

fn stage(line: &str) -> &'static str {
    if line.contains("stage-1") {
        "stage 1"
    } else if line.contains("stage-2")
        || line.to_ascii_lowercase().contains("setting up")
        || line.contains("activation")
    {
        "stage 2 (the activation script)"
    } else {
        "the console"
    }
}

/// systemd's spelling of a span (systemd.time(7)): `1min 2s`, `95s`, `1h 3min`. In seconds.
fn span(text: &str) -> Option<f64> {
    let text = text.trim().replace("min", "m");
    humantime::parse_duration(&text).ok().map(|span| span.as_secs_f64())
}

fn cannot_tell(lines: &[String], evidence: &BootFailure) -> CheckResult {
    let said = last_failure(lines).filter(|_| evidence.end == BootEnd::Deadline);
    let said = said.map(|failure| stamp_off(&lines[*failure.start()]));
    let why = match &evidence.end {
        BootEnd::Deadline => {
            let why = said.map_or_else(
                || ", and nothing shows why".to_owned(),
                |line| format!("; the last error on its console: {line}"),
            );
            format!("the guest was not up after {}{why}", after(evidence))
        }
        BootEnd::QemuDied(how) => format!("QEMU ended after {}: {how}", after(evidence)),
        BootEnd::Reset => format!("the machine was reset after {} without any output of the guest", after(evidence)),
        BootEnd::Panicked | BootEnd::PoweredOff => format!("the guest ended after {}", after(evidence)),
    };
    let status = evidence.status.as_deref().filter(|status| !status.trim().is_empty());
    let status = status.map_or_else(String::new, |status| format!("; PID 1's last status: {status}"));
    let result = CheckResult::new(CheckId::BootTarget, Status::Unknown, text::clean(&format!("{why}{status}")))
        .detail(lines[lines.len().saturating_sub(10)..].iter().cloned());
    match (contention::why_lately(&evidence.delay, evidence.seconds), &evidence.end) {
        (Some(why), BootEnd::Deadline) => contention::inconclusive(result, &why, contention::BUSY_HOST),
        (None, BootEnd::Deadline) => result.hint("--timeout gives it longer; --keep leaves it running for inspection"),
        _ => result,
    }
}

#[cfg(test)]
mod tests;
