//! `boot.target` and `boot.emergency`: how far the machine came.

use std::sync::LazyLock;

use regex::Regex;

use super::boot_health;
use crate::guest::facts::{Facts, Job, JournalLine, Unit};
use crate::judging::boot_state::{BootState, default_target};
use crate::judging::journal::Means as _;
use crate::judging::journal_patterns::Meaning;
use crate::judging::sandbox::disks;
use crate::judging::unit::{self, dropped_from_cycle, is_activating, is_active, is_failed};
use crate::judging::{JudgeContext, Judgement, Plan, advice, contention, sandbox, text};
use crate::machine::RunDelay;
use crate::model::{CheckId, CheckResult, Excuse, JobState, ServiceType, Status};
use crate::traffic::Traffic;

/// How often a service was started again that is waited for no longer.
pub(crate) const LOOP_RESTARTS: u32 = 3;

pub(super) fn judge(cx: &JudgeContext<'_>, out: &mut Judgement) {
    come_up(cx.plan, (cx.now, cx.traffic), &cx.boot, &cx.context.delay, out);
    out.results.push(CheckResult::new(CheckId::BootPanic, Status::Pass, "no kernel panic"));
    out.results.push(CheckResult::new(CheckId::BootPoweroff, Status::Pass, "the guest stayed up"));
    boot_health::judge(cx, out);
}

/// What was read of a guest, and what it sent, where that is known.
type Seen<'a> = (&'a Facts, Option<&'a Traffic>);

/// `boot.target` and `boot.emergency`, for a guest whose facts could be gathered.
pub(super) fn come_up(plan: &Plan, seen: Seen<'_>, boot: &BootState, delay: &RunDelay, out: &mut Judgement) {
    let (facts, _) = seen;
    let target = default_target(facts).map_or("the default target", |unit| unit.name.as_str());
    let calm = || CheckResult::new(CheckId::BootEmergency, Status::Pass, "no emergency or rescue mode");
    match boot {
        BootState::Up => {
            let at = default_target(facts).map_or(facts.manager.finish_us, |unit| unit.active_enter_us);
            let at = if at > 0 { format!(" {} after the kernel's start", text::micros(at)) } else { String::new() };
            out.results.push(CheckResult::new(CheckId::BootTarget, Status::Pass, format!("{target} reached{at}")));
            out.results.push(calm());
        }
        BootState::Emergency(by) => {
            let why = "not reached: emergency mode (see boot.emergency)";
            out.results.push(CheckResult::new(CheckId::BootTarget, Status::Skip, why));
            out.results.push(emergency(plan, facts, by, delay));
        }
        BootState::Stuck => {
            out.results.push(stuck(plan, seen, target));
            out.results.push(calm());
        }
        BootState::NotReached => {
            out.results.push(not_reached(plan, facts, target));
            out.results.push(calm());
        }
        BootState::Unknown(why) => {
            for id in [CheckId::BootTarget, CheckId::BootEmergency] {
                let summary = text::clean(&text::could_not_read("units", why));
                out.results.push(CheckResult::new(id, Status::Unknown, summary));
            }
        }
    }
}

/// What emergency mode itself runs: it is never the reason for it.
static EMERGENCY_UNITS: LazyLock<Regex> =
    LazyLock::new(|| text::pattern(r"^(plymouth|emergency\.|rescue\.|systemd-ask-password)"));

/// The unit behind emergency mode: what `local-fs.target` and its like require, else the first that failed.
fn culprit(facts: &Facts) -> Option<&str> {
    for target in ["local-fs.target", "sysinit.target", "initrd-root-fs.target", "initrd-fs.target", "basic.target"] {
        if facts.unit(target).is_some_and(|unit| !is_active(unit)) {
            let root = unit::root_cause(facts, target);
            let explains = !root.ends_with(".target") && !EMERGENCY_UNITS.is_match(root);
            if root != target && explains {
                return Some(root);
            }
        }
    }
    let failed = facts.units.iter().filter(|unit| is_failed(unit) && !EMERGENCY_UNITS.is_match(&unit.name));
    failed
        .min_by_key(|unit| {
            let kind = if unit.name.ends_with(".mount") || unit.name.starts_with("systemd-fsck") { 0 } else { 1 };
            (kind, unit.state_change_us)
        })
        .map(|unit| unit.name.as_str())
        .or_else(|| facts.units.iter().find(|unit| unit::is_refused(unit)).map(|unit| unit.name.as_str()))
}

/// Why PID 1 cannot load the target that it is to boot into, where it went to rescue mode for that.
fn not_loaded(facts: &Facts) -> Option<&str> {
    let own: Vec<&JournalLine> = facts.journal.iter().filter(|line| unit::is_managers(line)).collect();
    let at = own.iter().position(|line| Meaning::FallsBack.is_in(&line.message))?;
    own[..at].iter().rev().find(|line| line.priority <= 3).map(|line| line.message.as_str())
}

/// The word of the kernel's command line that has systemd go to rescue or emergency mode.
fn asked_for(facts: &Facts) -> Option<String> {
    let mut lines = facts.journal.iter().filter(|line| line.transport == "kernel");
    lines.find_map(|line| Some(Meaning::AsksForRescue.parts_of(&line.message)?["word"].to_owned()))
}

fn emergency(plan: &Plan, facts: &Facts, by: &str, delay: &RunDelay) -> CheckResult {
    let since = facts.unit(by).map_or(0, |unit| unit.active_enter_us);
    let since = if since > 0 { format!(", {} after the kernel's start", text::micros(since)) } else { String::new() };
    let mode = if by.starts_with("rescue") { "rescue mode" } else { "emergency mode" };
    let mut result = CheckResult::new(CheckId::BootEmergency, Status::Fail, "").evidence("mode", by.to_owned());
    let culprit = culprit(facts);
    let timed_out = facts.journal.iter().find(|line| Meaning::DeviceTimedOut.is_in(&line.message));
    let cause = match culprit {
        Some(name) => {
            result = result.evidence("unit", text::clean(name));
            let lines = unit::tail(facts, name, 8);
            result = result.detail(lines);
            match facts.unit(name) {
                _ if name.ends_with(".device") => {
                    let path = unit::unescape_path(name);
                    let needs = |unit: &&Unit| unit.broken_requirements.iter().any(|other| other == name);
                    let by = facts.units.iter().find(needs).map(|unit| format!(", which {} needs,", unit.name));
                    result = result.evidence("what", text::clean(&path));
                    format!("{path}{} did not appear", by.unwrap_or_default())
                }
                Some(unit) => {
                    if let (Some(place), Some(what)) = (&unit.mount_where, &unit.mount_what) {
                        result = result
                            .evidence("where", text::clean(place))
                            .evidence("what", text::clean(what))
                            .hint("if the machine can boot without this mount, give it the option nofail");
                    }
                    format!("{name}: {}", unit::describe_failure(facts, unit))
                }
                None => format!("{name} does not exist"),
            }
        }
        None => match (timed_out, asked_for(facts), not_loaded(facts)) {
            (Some(line), ..) => line.message.clone(),
            (None, Some(word), _) => {
                result =
                    result.hint("is it in boot.kernelParams? without it the machine boots into systemd.defaultUnit");
                format!("the kernel's command line asks for it: {word}")
            }
            (None, None, Some(why)) => {
                result = result.hint("the machine boots into what systemd.defaultUnit names");
                format!("systemd cannot boot into its target: {why}")
            }
            (None, None, None) => "the guest does not show why".to_owned(),
        },
    };
    result.summary = text::clean(&format!("{mode}{since}: {cause}"));
    let at = facts.unit(by).map_or(facts.now_us, |unit| unit.active_enter_us);
    let by_disk = culprit.and_then(|name| disks::unit_holds_up(plan, facts, name)).or_else(|| {
        let line = timed_out.filter(|_| culprit.is_none())?;
        disks::line_holds_up(plan, &line.message)
    });
    let limit = match culprit {
        Some(name) if name.ends_with(".device") => Some(contention::usual(at)),
        Some(name) => facts.unit(name).and_then(|unit| contention::limit(facts, unit)),
        None => timed_out.is_some().then(|| contention::usual(at)),
    };
    if let Some(why) = limit.and_then(|(from, to)| contention::why(delay, from, to)) {
        result = contention::inconclusive(result, &why, contention::BUSY_HOST);
    }
    if let Some(excuse) = by_disk {
        result = lacks_disk(plan, result, &excuse);
    }
    if result.detail.is_empty() {
        let lines =
            facts.journal.iter().filter(|line| line.priority <= 3 && !EMERGENCY_UNITS.is_match(&line.identifier));
        result = result.detail(lines.take(8).map(text::journal));
    }
    result
}

/// A boot that a disk of the real machine holds up: whether that would come up is not known.
pub(super) fn lacks_disk(plan: &Plan, result: CheckResult, excuse: &Excuse) -> CheckResult {
    let summary = text::clean(&format!("{}; {excuse}", result.summary));
    CheckResult { status: Status::Unknown, summary, ..result }.hint(disks::hint(plan, excuse))
}

/// How long a job has been running, in seconds: as reported, else since its unit's last change.
fn running_for(facts: &Facts, job: &Job) -> Option<f64> {
    if let Some(seconds) = job.seconds {
        return Some(seconds as f64);
    }
    let since = facts.unit(&job.unit)?.state_change_us;
    (since > 0 && facts.now_us > since).then(|| (facts.now_us - since) as f64 / 1e6)
}

/// The job that the boot waits for: the start job that has been running longest, else one that merely waits.
pub(super) fn awaited(facts: &Facts) -> Option<(&Job, Option<f64>)> {
    let target = default_target(facts).map(|unit| unit.name.as_str());
    let running = facts.jobs.iter().filter(|job| job.state == JobState::Running);
    let longest = running
        .map(|job| (job, running_for(facts, job)))
        .max_by(|one, other| one.1.unwrap_or(0.0).total_cmp(&other.1.unwrap_or(0.0)));
    longest.or_else(|| {
        let waiting = facts.jobs.iter().find(|job| Some(job.unit.as_str()) != target);
        waiting.map(|job| (job, running_for(facts, job)))
    })
}

/// The service that holds up the boot by being started again and again: its new job is waited for as the first was. `None`
/// where another job runs.
fn looping(facts: &Facts) -> Option<&Unit> {
    let restarts = |unit: &Unit| unit.service.as_ref().map_or(0, |service| service.restarts);
    let loops = |unit: &&Unit| is_activating(unit) && restarts(unit) >= LOOP_RESTARTS;
    let mut running = facts.jobs.iter().filter(|job| job.state == JobState::Running);
    let only = running.all(|job| facts.unit(&job.unit).is_some_and(|unit| loops(&unit)));
    facts.units.iter().filter(loops).max_by_key(|unit| restarts(unit)).filter(|_| only)
}

fn held_by_loop(facts: &Facts, target: &str, unit: &Unit) -> CheckResult {
    let name = &unit.name;
    let how = if unit::ended_cleanly(facts, unit) { "exits successfully" } else { "fails" };
    let times = text::times(unit.service.as_ref().map_or(0, |service| service.restarts));
    let ending = unit::describe_ending(facts, unit).map_or_else(String::new, |ending| format!(": {ending}"));
    let summary = format!(
        "{target} is not reached: it waits for {name}, which {how} and is restarted again and again ({times}){ending}"
    );
    CheckResult::new(CheckId::BootTarget, Status::Fail, text::clean(&summary))
        .evidence("unit", text::clean(name))
        .evidence("restarts", unit.service.as_ref().map(|service| service.restarts))
        .detail(unit::tail(facts, name, 8))
        .hint(advice::by_own_words(facts, unit).unwrap_or_else(|| {
            "StartLimitBurst= and StartLimitIntervalSec= make systemd give up after some tries; a longer RestartSec= lets \
             other units start"
                .to_owned()
        }))
}

pub(super) fn stuck(plan: &Plan, seen: Seen<'_>, target: &str) -> CheckResult {
    let facts = seen.0;
    if let Some(unit) = looping(facts) {
        return unless_outside(plan, seen, &unit.name, held_by_loop(facts, target, unit));
    }
    let Some((job, seconds)) = awaited(facts) else {
        return CheckResult::new(CheckId::BootTarget, Status::Fail, format!("{target} is not reached"));
    };
    let since = seconds.map_or_else(String::new, |seconds| format!(" for {}", text::seconds(seconds)));
    let doing = if job.state == JobState::Running { "has been running" } else { "is waiting" };
    let mut summary = format!("{target} is not reached: the {} job of {} {doing}{since}", job.kind, job.unit);
    if let Some(line) = unit::error_line(&facts.journal, &job.unit) {
        summary = format!("{summary}; its last line: {}", line.trim());
    }
    let mut result = CheckResult::new(CheckId::BootTarget, Status::Fail, text::clean(&summary))
        .evidence("job", text::clean(&job.unit))
        .detail(unit::tail(facts, &job.unit, 8));
    if let Some(seconds) = seconds {
        result = result.evidence("running_s", seconds);
    }
    if let Some(unit) = facts.unit(&job.unit) {
        if unit.service.as_ref().is_some_and(|service| service.kind == ServiceType::Oneshot) {
            result = result.hint("a oneshot holds up the boot until it ends; TimeoutStartSec= would bound it");
        } else if job.unit.ends_with(".device") {
            result.detail.push(format!("waits for {}", text::clean(&unit::unescape_path(&job.unit))));
        }
    }
    let behind: Vec<&str> =
        facts.jobs.iter().filter(|other| other.state == JobState::Waiting).map(|job| job.unit.as_str()).collect();
    if !behind.is_empty() {
        result.detail.push(format!("waiting for it: {}", text::list(&behind)));
    }
    if let Some(excuse) = disks::unit_holds_up(plan, facts, &job.unit) {
        return lacks_disk(plan, result, &excuse);
    }
    if let Some(worked) = facts.unit(&job.unit).zip(seconds).and_then(|(unit, seconds)| at_work(unit, seconds)) {
        let worked = text::micros(worked);
        let why = format!("it kept a CPU busy for {worked} of that time, and may just need longer");
        return contention::inconclusive(result, &why, "--timeout gives the boot longer");
    }
    unless_outside(plan, seen, &job.unit, result)
}

/// For how long a unit whose job has been running for so many seconds has worked, in µs, where that was most of the
/// time: a first boot may compute (Diffie-Hellman parameters, a database's migration) what later ones find. Who waits or
/// hangs does not work.
fn at_work(unit: &Unit, seconds: f64) -> Option<u64> {
    let service = unit.service.as_ref().filter(|service| service.kind == ServiceType::Oneshot)?;
    let worked = service.cpu_us?;
    (worked as f64 >= seconds * 1e6 / 2.0).then_some(worked)
}

/// The failure of a boot that this unit holds up: unknown, where it misses what `--network off` keeps away.
fn unless_outside(plan: &Plan, (facts, traffic): Seen<'_>, unit: &str, result: CheckResult) -> CheckResult {
    match sandbox::waits_for_outside(plan, facts, traffic, unit) {
        // What comes after it did not start: whether the machine would come up is not known.
        Some(why) => {
            CheckResult { status: Status::Unknown, summary: format!("{}; it {why}", result.summary), ..result }.hint(
                "--network user gives the machine network access; TimeoutStartSec= bounds how long a boot waits for it",
            )
        }
        None => result,
    }
}

fn not_reached(plan: &Plan, facts: &Facts, target: &str) -> CheckResult {
    let root = unit::root_cause(facts, target);
    let summary = if root == target {
        match dropped_from_cycle(facts).find(|(unit, line)| *unit == target || line.message.contains(target)) {
            Some((_, line)) => format!("{target} is not reached: {}", line.message),
            None => format!("{target} is not reached, and nothing is being started any more"),
        }
    } else {
        let why =
            facts.unit(root).map_or_else(|| "does not exist".to_owned(), |unit| unit::describe_failure(facts, unit));
        format!("{target} is not reached: {root}: {why}")
    };
    let result = CheckResult::new(CheckId::BootTarget, Status::Fail, text::clean(&summary))
        .evidence("unit", text::clean(root))
        .detail(unit::tail(facts, root, 8));
    match disks::unit_holds_up(plan, facts, root) {
        Some(excuse) => lacks_disk(plan, result, &excuse),
        None => result,
    }
}

#[cfg(test)]
mod tests;
