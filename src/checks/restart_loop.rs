//! `services.restart-loop`: services that end and are started again.

use crate::desktop::{DesktopFacts, explains_restarts};
use crate::guest::facts::{Facts, Service, Unit};
use crate::judging::journal::Means as _;
use crate::judging::journal_patterns::Meaning;
use crate::judging::unit::{self, ended_cleanly, is_activating, is_active, is_auto_restart, is_failed};
use crate::judging::{Finding, JudgeContext, Judgement, advice, conclude, contention, sandbox, text};
use crate::model::{CheckId, ServiceType};

/// The longest `RestartSec=` that is waited for.
const RESTARTS_WITHIN_US: u64 = 30_000_000;
/// The shortest `RestartSec=` that is a pause between two turns of somebody's work. systemd's own is 100 ms.
const PAUSE_US: u64 = 1_000_000;

/// How long until it may show whether a service that failed only once gets up at its second try, in µs: one that the
/// database was not ready for does. `None`: it is not so, or it shows by now.
pub(super) fn second_try(facts: &Facts, unit: &Unit, settle_us: u64) -> Option<u64> {
    let service = unit.service.as_ref()?;
    let now_us = facts.now_us;
    let left = |of: u64, since: u64| of.saturating_sub(now_us.saturating_sub(since));
    match (service.restarts, is_auto_restart(unit)) {
        (0, true) if service.restart_us <= RESTARTS_WITHIN_US && !ended_cleanly(facts, unit) => {
            Some(left(service.restart_us, unit.state_change_us).saturating_add(settle_us))
        }
        (1, false) if is_activating(unit) => Some(settle_us),
        (1, false) if is_active(unit) => Some(left(settle_us, unit.active_enter_us)).filter(|us| *us > 0),
        _ => None,
    }
}

/// When a service that is being started again, and was never up, ran out of time at its start: the span of that try.
fn timed_out_at_start(cx: &JudgeContext<'_>, unit: &Unit) -> Option<(u64, u64)> {
    if unit.active_enter_us > 0 {
        return None;
    }
    // The latest first.
    let mut lines = cx.now.journal.iter().rev().filter(|line| line.pid == 1 && line.unit == unit.name);
    let to = lines.find(|line| Meaning::StartTimedOut.is_in(&line.message))?.at_us;
    let begun = lines.find(|line| Meaning::Starting.is_in(&line.message));
    Some(begun.map_or_else(|| contention::usual(to), |line| (line.at_us, to)))
}

/// Whether the last run that ended is one that was begun in the initrd: PID 1 of the initrd ends all processes when it
/// switches root, and that of the real root starts again what is to stay, before it starts anything else.
fn is_from_initrd(facts: &Facts, unit: &Unit) -> bool {
    let began_us = facts.manager.userspace_us;
    let tried = facts.units.iter().map(|other| other.condition_us).filter(|us| *us > began_us);
    is_active(unit)
        && began_us > 0
        && unit.active_exit_us > 0
        && tried.min().is_some_and(|us| unit.active_exit_us <= us)
}

/// An expected service that failed, and is up since something other than PID 1 started it again, which is not counted.
fn restarted_by_others(cx: &JudgeContext<'_>, unit: &Unit) -> Option<Finding> {
    let name = &unit.name;
    let failed = unit::manager_line(cx.now, name, Meaning::FailedWithResult).filter(|line| line.unit == *name)?;
    // Many end with a code of their own when they are told to: who restarted them had them stopped.
    let mut since =
        cx.now.journal.iter().filter(|line| line.pid == 1 && line.unit == *name && line.at_us > failed.at_us);
    if since.next().is_some_and(|line| Meaning::Stopped.is_in(&line.message)) {
        return None;
    }
    if !is_active(unit) || !cx.plan.units.contains(name) || failed.at_us <= cx.now.manager.userspace_us {
        return None;
    }
    let summary = format!("{name} failed, and is up only because something other than Restart= started it again");
    Some(Finding::new(name, summary).detail(unit::tail(cx.now, name, 4)))
}

pub(super) fn judge(cx: &JudgeContext<'_>, desktop: Option<&DesktopFacts>, out: &mut Judgement) {
    let mut fails = Vec::new();
    let mut warns = Vec::new();
    for unit in &cx.now.units {
        let Some(service) = &unit.service else { continue };
        let explained = explains_restarts(cx, desktop, &unit.name) || is_from_initrd(cx.now, unit);
        if is_failed(unit) || explained {
            continue;
        }
        let restarts = Restarts::of(cx, unit, service);
        if !restarts.is_loop() {
            warns.extend(restarts.warning().or_else(|| restarted_by_others(cx, unit)));
        } else if let Some(why) = sandbox::excuse(cx, unit).filter(|_| !restarts.clean) {
            out.exclude(&unit.name, why);
        } else {
            fails.push(restarts.finding());
        }
    }
    let id = CheckId::ServicesRestartLoop;
    out.results.push(conclude(cx, id, fails, warns, || "no service is in a restart loop".to_owned()));
}

/// How often a service was restarted, and what is known of its last run.
struct Restarts<'a> {
    cx: &'a JudgeContext<'a>,
    unit: &'a Unit,
    count: u32,
    /// How many of them came between the two observations.
    new: u32,
    /// It waits to be started again.
    waits: bool,
    /// It is being started.
    tries: bool,
    /// The span of a start that timed out.
    late: Option<(u64, u64)>,
    /// Its last run ended with success.
    clean: bool,
}

impl<'a> Restarts<'a> {
    fn of(cx: &'a JudgeContext<'a>, unit: &'a Unit, service: &Service) -> Self {
        let waits = is_auto_restart(unit);
        let tries = is_activating(unit) && !waits;
        Self {
            cx,
            unit,
            count: service.restarts,
            new: unit::restarts_since_first(cx, unit),
            waits,
            tries,
            late: if tries && service.restarts > 0 { timed_out_at_start(cx, unit) } else { None },
            clean: ended_cleanly(cx.now, unit),
        }
    }

    /// A clean exit followed by one long pause is a service that uses Restart= as a timer; one that keeps
    /// coming is a loop. One restart may help.
    fn is_loop(&self) -> bool {
        if self.is_by_design() {
            return false;
        }
        let never_up = self.tries && self.unit.active_enter_us == 0;
        (self.waits && !self.clean)
            || unit::comes_again(self.cx, self.unit)
            || (self.count > 1 && never_up)
            || (self.waits && self.count >= 3)
            || self.late.is_some()
    }

    /// Whether it ends well each time and is meant to be started again, after a pause: a poller. Types that report when
    /// they are ready are of daemons.
    fn is_by_design(&self) -> bool {
        let Some(service) = &self.unit.service else { return false };
        let is_daemon =
            !matches!(service.kind, ServiceType::Simple | ServiceType::Exec | ServiceType::Oneshot | ServiceType::Idle);
        self.clean && !is_daemon && service.restart == "always" && service.restart_us >= PAUSE_US
    }

    fn warning(&self) -> Option<Finding> {
        let name = &self.unit.name;
        if self.count > 1 && self.is_by_design() {
            let times = text::times(self.count);
            let summary = format!("{name} exits successfully and is restarted, {times} so far");
            return Some(Finding::new(name, summary).hint("a timer runs a job again and again without Restart="));
        }
        if self.count > 0 && (self.tries || is_active(self.unit)) {
            let times = text::times(self.count);
            let and = if self.tries { "and is still starting" } else { "before it stayed up" };
            let finding = Finding::new(name, format!("{name} was restarted {times} {and}"));
            return Some(finding.detail(unit::tail(self.cx.now, name, 4)));
        }
        let ended = || Finding::new(name, format!("{name} exited successfully and will be restarted"));
        self.waits.then(ended)
    }

    /// How often it is restarted, in words.
    fn pace(&self) -> String {
        let span = self.cx.now.now_us.saturating_sub(self.cx.first.now_us);
        let lately = (self.new > 0 && span > 0).then(|| text::micros(span));
        match (self.count, lately) {
            (0, _) => "is about to be restarted".to_owned(),
            (1, None) => "was restarted once".to_owned(),
            (1, Some(span)) => format!("was restarted once in the last {span}"),
            (many, None) => format!("is restarted again and again ({many} times)"),
            (many, Some(span)) => {
                format!("is restarted again and again ({many} times, {} of them in the last {span})", self.new)
            }
        }
    }

    fn finding(&self) -> Finding {
        let (cx, unit, name) = (self.cx, self.unit, &self.unit.name);
        let how = if self.clean {
            "exits successfully"
        } else if self.late.is_some() {
            "timed out while starting, never came up,"
        } else {
            "fails"
        };
        // That it timed out is said already.
        let is_news = |ending: &String| self.late.is_none() || !ending.starts_with("timed out");
        let ending = unit::describe_ending(cx.now, unit).filter(|ending| !self.clean && is_news(ending));
        let ending = ending.map_or_else(String::new, |ending| format!(": {ending}"));
        // The last try is all that is known of how much it works.
        let emulated = self.late.and_then(|_| contention::kept_busy(cx, unit, (unit.condition_us, cx.now.now_us)));
        let finding = Finding::new(name, format!("{name} {how} and {}{ending}", self.pace()));
        let finding = match advice::of(cx, unit) {
            Some(advice) => finding.hint(advice),
            None => finding,
        };
        finding
            .detail(unit::tail(cx.now, name, 8))
            .evidence("unit", text::clean(name))
            .evidence("restarts", self.count)
            .evidence("clean_exit", self.clean)
            .time_limit(self.late.or_else(|| contention::limit(cx.now, unit)))
            .slow_by_emulation(emulated)
    }
}

#[cfg(test)]
mod tests;
