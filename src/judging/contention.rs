//! What host contention explains: a time limit that ran out while the VM waited for a CPU says nothing about the
//! configuration, nor does what comes of it. A guest that hangs waits for nothing of the host's, so its limits count on a
//! busy host too. The same holds of an emulated processor that a unit kept busy.

use super::journal::Means as _;
use super::journal_patterns::Meaning;
use super::unit::{is_refused, own_lines};
use super::{JudgeContext, Judgement};
use crate::guest::facts::{Facts, Unit};
use crate::machine::RunDelay;
use crate::model::{CheckId, CheckKind, CheckResult, Status, UnitResult};

/// The share of a time limit from which on it says nothing. Of two machines at once on two cores (TCG, two virtual
/// processors each) one that boots waits a third to a half of the time, which a matrix is to carry; of ten at once each
/// waits 60 to 95 %.
const MOST: f64 = 0.6;
/// The share of a limit's time for which a unit has worked, from which on the limit says nothing under emulation.
const WORKED: f64 = 0.5;
/// The hint for a limit that ran out under emulation.
pub(crate) const EMULATED: &str = "a host with KVM can tell; or give it more time in the VM variant (TimeoutStartSec=)";
/// The hint for a host that is too busy.
pub(crate) const BUSY_HOST: &str = "run it again when this host has less to do, or run fewer VMs at once";
/// systemd's usual limit (`DefaultTimeoutStartSec=`, `DefaultDeviceTimeoutSec=`), where it is not known when it began.
const USUAL_LIMIT_US: u64 = 90_000_000;

/// Why a limit that ran out between these readings of the guest's clock says nothing, if so.
pub(crate) fn why(delay: &RunDelay, from_us: u64, to_us: u64) -> Option<String> {
    words(delay.share(from_us, to_us)?, "that time")
}

/// The same of the last so many seconds.
pub(crate) fn why_lately(delay: &RunDelay, seconds: f64) -> Option<String> {
    words(delay.share_of_last(seconds)?, "that time")
}

/// The note for a host that was too busy for the machine.
pub(crate) fn note(delay: &RunDelay) -> Option<String> {
    words(delay.share_of_last(f64::INFINITY)?, "the time")
}

fn words(share: f64, of: &str) -> Option<String> {
    let percent = share * 100.0;
    (share >= MOST).then(|| format!("host overloaded: the VM waited for a CPU {percent:.0} % of {of}"))
}

/// A failure that says nothing, for this reason: unknown.
pub(crate) fn inconclusive(failure: CheckResult, why: &str, hint: &str) -> CheckResult {
    let summary = format!("{}; {why}", failure.summary);
    CheckResult { status: Status::Unknown, summary, ..failure }.hint(hint)
}

/// When the time limit ran that ended this unit, in µs of the guest's clock; `None` where it ended for another reason.
pub(crate) fn limit(facts: &Facts, unit: &Unit) -> Option<(u64, u64)> {
    let by_manager = matches!(unit.result, UnitResult::Timeout | UnitResult::Watchdog);
    let by_itself =
        || own_lines(&facts.journal, &unit.name).last().is_some_and(|line| Meaning::RanOutOfTime.is_in(&line.message));
    (by_manager || by_itself()).then(|| {
        let to = if unit.state_change_us > 0 { unit.state_change_us } else { facts.now_us };
        let tried = Some(unit.condition_us).filter(|us| (1..to).contains(us));
        tried.map_or(usual(to), |from| (from, to))
    })
}

/// When systemd's usual limit ran, where it had run out by then.
pub(crate) fn usual(to_us: u64) -> (u64, u64) {
    (to_us.saturating_sub(USUAL_LIMIT_US), to_us)
}

/// Why the time limit that ended this unit says nothing of a machine that is not emulated: it worked all the time.
/// An emulated processor is five to ten times slower; who waits or hangs does not work.
pub(crate) fn was_emulated(cx: &JudgeContext<'_>, unit: &Unit) -> Option<String> {
    kept_busy(cx, unit, limit(cx.now, unit)?)
}

/// The same of a unit that has been running since its last start, in that time.
pub(crate) fn kept_busy(cx: &JudgeContext<'_>, unit: &Unit, (from, to): (u64, u64)) -> Option<String> {
    if !cx.context.accelerator.is_emulated() {
        return None;
    }
    let worked = unit.service.as_ref()?.cpu_us?;
    let share = worked as f64 / to.saturating_sub(from).max(1) as f64;
    (share >= WORKED).then(|| {
        format!(
            "it kept an emulated processor busy for {} of that time, which is several times slower than a real one",
            super::text::micros(worked)
        )
    })
}

/// Why a limit that ran out says nothing, and what to do about it: this host, else `emulated`.
pub(crate) fn late(
    delay: &RunDelay,
    (from_us, to_us): (u64, u64),
    emulated: impl FnOnce() -> Option<String>,
) -> Option<(String, &'static str)> {
    let busy_host = why(delay, from_us, to_us).map(|why| (why, BUSY_HOST));
    busy_host.or_else(|| Some((emulated()?, EMULATED)))
}

/// Once a unit ran out of time on an overloaded host, what else is missing may be missing because of it.
pub(crate) fn excuse_consequences(cx: &JudgeContext<'_>, out: &mut Judgement) {
    let ran_out = cx.failure_causes.keys().find_map(|name| {
        let unit = cx.unit(name)?;
        let (why, hint) = late(&cx.context.delay, limit(cx.now, unit)?, || was_emulated(cx, unit))?;
        Some((*name, why, hint))
    });
    let Some((unit, why, hint)) = ran_out else { return };
    let why = format!("this may be a consequence of {unit}, which timed out: {why}");
    let is_cause = |id: CheckId| id.kind() == CheckKind::Boot || id == CheckId::ServicesFailedUnits;
    // What systemd cannot read has waited for nothing.
    let refused: Vec<&str> =
        cx.now.units.iter().filter(|unit| is_refused(unit)).map(|unit| unit.name.as_str()).collect();
    let is_refusal = |result: &CheckResult| result.summary.split([' ', ':']).any(|word| refused.contains(&word));
    let excused = |result: CheckResult| match result.status {
        Status::Fail if !is_cause(result.id) && !is_refusal(&result) => inconclusive(result, &why, hint),
        _ => result,
    };
    out.results = std::mem::take(&mut out.results).into_iter().map(excused).collect();
}

#[cfg(test)]
mod tests;
