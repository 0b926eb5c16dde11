//! Judging, pure: expectations and facts in, verdicts out. No I/O.
//!
//! ```text
//! Expectations, Settings, Selection ──► plan() ──► Plan ─┐
//! guest: the first look, one after the settle time ──┴► judge() ──► CheckResults, NotTested ──► verdict()
//! guest that did not come up: BootFailure ─────────────────► judge_boot_failure() ┘
//! ```
//!
//! Where does a rule live?
//! * what a unit's state means, why a unit failed, what the root of a chain is: `unit`
//! * what the sandbox explains, and which evidence that takes: `sandbox`
//! * what this host's load explains: `contention`
//! * a check's own judgement: the file named as its id begins, of `audio` in [`crate::audio`] (`http` and `timers`, which ask the guest to do
//!   something, are in `script`)
//! * a guest that did not come up: `boot_failure`
//! * what several verdicts make together: `verdict`
//!
//! Each cause is told once, under one id. A unit in state `failed` is always `services.failed-units`, however long it
//! was active before, but for these: killed for want of memory (`boot.oom`), systemd-tmpfiles (`boot.tmpfiles`), a
//! expected firewall (`network.ports`), a service that was started for `services.timers`. What did not start because
//! of another unit is listed under that one. A machine that did not come up is judged by `boot.*` alone.

mod boot;
mod boot_failure;
pub(crate) mod contention;
pub mod explain;
mod network;
pub mod plan;
pub(crate) mod sandbox;
mod script;
mod selection;
mod services;
pub(crate) mod text;
pub(crate) mod unit;
mod users;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use boot_failure::{BootFailure, End, has_given_up, judge_boot_failure, lost_processor};
pub use network::lease_awaited;
pub use plan::{ExpectedPort, Plan, plan};
pub use script::{is_answered, is_as_expected};
pub use selection::Selection;
pub use services::port_awaited;
pub use verdict::{Conclusion, counts_as_failure, counts_as_unknown, verdict};

use crate::audio::{self, AudioFacts};
use crate::desktop::{self, DesktopFacts};
use crate::guest::facts::{Facts, Unit};
use crate::machine::RunDelay;
use crate::model::{Accel, CheckId, CheckResult, NetworkPolicy, NotTested, Status};
use unit::FailureCause;

/// What was seen of a guest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observations {
    /// The first look, as soon as the boot was over.
    pub first: Facts,
    /// One after the settle time, when [`settle_needed`] asked for it.
    pub later: Option<Facts>,
    /// The serial console's lines: some things of stage 1 and 2 are told nowhere else.
    pub console: Vec<String>,
    /// The desktop, where one is expected.
    pub desktop: Option<DesktopFacts>,
    /// The managers of those who linger, where no desktop is expected, and what they said.
    pub lingering: Vec<DesktopFacts>,
    /// Sound, where it is expected; or why it could not be probed.
    pub sound: Option<Result<AudioFacts, String>>,
}

impl Observations {
    /// The guest as it is now.
    pub fn now(&self) -> &Facts {
        self.later.as_ref().unwrap_or(&self.first)
    }
}

/// How the guest was run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Context {
    /// Time limits scale with it.
    pub accelerator: Accel,
    /// What the guest's network reached.
    pub network: NetworkPolicy,
    /// Whether the sandbox's DHCP offers no router (QEMU's `restrict=on`).
    pub no_router: bool,
    /// The guest's memory in MiB, where known.
    pub memory_mib: Option<u64>,
    /// Whether the host itself could resolve a name; `None` when it was not tried.
    pub host_resolves: Option<bool>,
    /// How long the machine waited for this host's processors.
    pub delay: RunDelay,
}

impl Context {
    /// What a time limit meant for hardware virtualisation is multiplied by.
    pub fn scale(&self) -> f64 {
        self.accelerator.time_scale()
    }
}

/// Verdicts, and what was set aside with the evidence for it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Judgement {
    /// One result for each check that applies, in the order of their ids.
    pub results: Vec<CheckResult>,
    /// What the sandbox made, or cannot show.
    pub not_tested: Vec<NotTested>,
}

impl Judgement {
    pub(crate) fn exclude(&mut self, what: &(impl fmt::Display + ?Sized), why: impl Into<String>) {
        let entry = NotTested { what: text::clean(&what.to_string()), why: text::clean(&why.into()) };
        if !self.not_tested.iter().any(|known| known.what == entry.what) {
            self.not_tested.push(entry);
        }
    }
}

/// How long to wait until every expected service that runs has been active for the settle time, from its own
/// `ActiveEnterTimestamp`, so that a machine that came up long ago is judged at once. `None`: no need to wait. Where
/// there is no configuration that could promise, every service counts.
/// Also asks for a second look when a service is about to be restarted: after that, where it failed only once.
pub fn settle_needed(plan: &Plan, facts: &Facts, settle: Duration) -> Option<Duration> {
    let settle_us = u64::try_from(settle.as_micros()).unwrap_or(u64::MAX);
    let young = facts.units.iter().filter_map(|unit| {
        let service = unit.service.as_ref()?;
        if let Some(us) = services::second_try(unit, facts.now_us, settle_us) {
            return Some(us);
        }
        if unit.active_state == "activating" && (unit::is_auto_restart(unit) || service.restarts > 0) {
            return Some(settle_us.max(1));
        }
        let counts = !plan.expectations.known || plan.units.contains(&unit.name);
        let runs = counts && unit::is_active(unit) && unit.sub_state == "running" && unit.active_enter_us > 0;
        runs.then(|| settle_us.saturating_sub(facts.now_us.saturating_sub(unit.active_enter_us)))
    });
    young.max().filter(|us| *us > 0).map(Duration::from_micros)
}

/// Whether a service that failed only once may still get up: then it is looked at again, though the time is over that the
/// rest takes to settle. It fails once more, or has settled, or goes on for longer than is waited.
pub fn may_recover(facts: &Facts, settle: Duration) -> bool {
    let settle_us = u64::try_from(settle.as_micros()).unwrap_or(u64::MAX);
    facts.units.iter().any(|unit| services::second_try(unit, facts.now_us, settle_us).is_some())
}

/// How long a lease may still take to come though the guest has nothing to do, where a card has no address yet although
/// something is there that gets one: 10 s from the boot's end, or half the boot's length (a machine that took its time to
/// boot, on a busy host, takes its time for a lease). `None`: nothing to wait for.
///
/// `no_router`: as in [`Context`].
pub fn lease_needed(facts: &Facts, no_router: bool) -> Option<Duration> {
    let lease_us = (facts.manager.finish_us / 2).max(10_000_000);
    let left = lease_us.saturating_sub(facts.now_us.saturating_sub(facts.manager.finish_us));
    lease_awaited(facts, no_router).then_some(Duration::from_micros(left))
}

/// Judges a guest that could be looked into.
pub fn judge(plan: &Plan, observations: &Observations, context: &Context) -> Judgement {
    let view = View::new(plan, observations, context);
    let mut out = Judgement::default();
    boot::judge(&view, &mut out);
    if view.came_up() {
        services::judge(&view, &mut out);
        network::judge(&view, &mut out);
        users::judge(&view, &mut out);
        desktop::judge(&view, &mut out);
        audio::judge::judge(&view, &mut out);
        script::judge(&view, &mut out);
        contention::spare_consequences(&view, &mut out);
    } else {
        skip_the_rest(plan, &mut out, "the boot did not finish");
    }
    finish(plan, out)
}

/// A machine that did not come up has nothing else to show: its other failures are consequences.
fn skip_the_rest(plan: &Plan, out: &mut Judgement, why: &str) {
    for id in &plan.checks {
        if !out.results.iter().any(|result| result.id == *id) {
            out.results.push(CheckResult::new(*id, Status::Skip, why));
        }
    }
}

/// Leaves out what was not asked for, orders the rest as planned, and marks what is accepted as a whole.
fn finish(plan: &Plan, mut out: Judgement) -> Judgement {
    let mut results: BTreeMap<CheckId, CheckResult> = out.results.drain(..).map(|result| (result.id, result)).collect();
    out.results = plan.checks.iter().map(|id| results.remove(id).unwrap_or_else(|| unanswered(*id))).collect();
    for result in &mut out.results {
        if result.status == Status::Fail && result.allowed.is_none() {
            result.allowed = plan.settings.allow.get(result.id.name().as_ref()).cloned();
        }
        result.summary = text::clean(&result.summary);
        let more = result.detail.len().saturating_sub(text::LINES);
        if more > 0 {
            result.detail.truncate(text::LINES - 1);
            result.detail.push(format!("… and {} more lines", more + 1));
        }
        for line in &mut result.detail {
            *line = text::clean(line);
        }
    }
    out
}

/// The result of a planned check that no judge answered: a defect of nixbox, and never a pass.
fn unanswered(id: CheckId) -> CheckResult {
    CheckResult::new(id, Status::Unknown, format!("{id} was planned, but nothing judged it: a defect of nixbox"))
}

/// Everything that a judge looks at.
pub(crate) struct View<'a> {
    pub(crate) plan: &'a Plan,
    first: &'a Facts,
    pub(crate) now: &'a Facts,
    console: &'a [String],
    pub(crate) desktop: Option<&'a DesktopFacts>,
    pub(crate) lingering: &'a [DesktopFacts],
    pub(crate) sound: Option<&'a Result<AudioFacts, String>>,
    pub(crate) context: &'a Context,
    /// Why each unit in state `failed` is so.
    faults: BTreeMap<&'a str, FailureCause>,
    boot: boot::Boot,
}

impl<'a> View<'a> {
    fn new(plan: &'a Plan, observations: &'a Observations, context: &'a Context) -> Self {
        let now = observations.now();
        let mut view = Self {
            plan,
            first: &observations.first,
            now,
            console: &observations.console,
            desktop: observations.desktop.as_ref(),
            lingering: &observations.lingering,
            sound: observations.sound.as_ref(),
            context,
            faults: BTreeMap::new(),
            boot: boot::state(now),
        };
        let faults = now.units.iter().filter(|unit| unit::is_failed(unit)).map(|unit| unit.name.as_str());
        view.faults = faults.map(|name| (name, unit::fault(&view, name))).collect();
        view
    }

    /// The same over other facts: those of a user's manager.
    pub(crate) fn over<'b>(&self, facts: &'b Facts) -> View<'b>
    where
        'a: 'b,
    {
        View {
            plan: self.plan,
            first: facts,
            now: facts,
            console: &[],
            desktop: None,
            lingering: &[],
            sound: self.sound,
            context: self.context,
            faults: BTreeMap::new(),
            boot: self.boot.clone(),
        }
    }

    fn came_up(&self) -> bool {
        matches!(self.boot, boot::Boot::Up | boot::Boot::CannotTell(_))
    }

    /// Why a fact, or any part of it (`http.ID`), could not be gathered.
    fn gap(&self, fact: &str) -> Option<&str> {
        let is_part = |name: &str| name.strip_prefix(fact).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.now.gaps.iter().find(|(name, _)| is_part(name)).map(|(_, why)| why.as_str())
    }

    /// The result when one of these facts is missing: never a pass.
    pub(crate) fn unknown(&self, id: CheckId, facts: &[&str]) -> Option<CheckResult> {
        let (fact, why) = facts.iter().find_map(|fact| Some((*fact, self.gap(fact)?)))?;
        Some(CheckResult::new(id, Status::Unknown, text::clean(&format!("could not read the guest's {fact}: {why}"))))
    }

    /// The time since the boot's end, in which everything was asked: the limit of what was asked of the guest.
    pub(crate) fn asking(&self) -> (u64, u64) {
        (self.now.manager.finish_us, u64::MAX)
    }

    pub(crate) fn wants(&self, id: CheckId) -> bool {
        self.plan.has(id)
    }

    /// Why a failure of this item of this check is accepted.
    fn allowed(&self, id: CheckId, item: &str) -> Option<&'a str> {
        self.plan.settings.allow.get(&format!("{id}:{item}")).map(String::as_str)
    }

    pub(crate) fn unit(&self, name: &str) -> Option<&'a Unit> {
        self.now.unit(name)
    }
}

/// One thing that a check found wrong.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    /// The unit, port, user, … that it is about.
    item: String,
    /// The cause, one line.
    summary: String,
    /// Lines that show it.
    detail: Vec<String>,
    evidence: Vec<(&'static str, Value)>,
    hint: Option<String>,
    /// The limit of time that ran out, from when to when on the guest's clock in µs, where that is all that is wrong.
    limit: Option<(u64, u64)>,
    /// Why that limit says nothing of a processor that is not emulated, where it is so.
    emulated: Option<String>,
}

impl Finding {
    pub(crate) fn new(item: impl Into<String>, summary: impl Into<String>) -> Self {
        Self {
            item: item.into(),
            summary: summary.into(),
            detail: Vec::new(),
            evidence: Vec::new(),
            hint: None,
            limit: None,
            emulated: None,
        }
    }

    pub(crate) fn detail(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.detail.extend(lines);
        self
    }

    pub(crate) fn evidence(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.evidence.push((name, value.into()));
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// It is a limit of time that ran out: where this host kept the machine waiting meanwhile, it says nothing.
    pub(crate) fn ran_out(mut self, limit: impl Into<Option<(u64, u64)>>) -> Self {
        self.limit = limit.into();
        self
    }

    /// The limit that ran out says nothing of a machine that is not emulated, where there is a reason.
    fn emulated(mut self, why: Option<String>) -> Self {
        self.emulated = why;
        self
    }
}

/// Makes one result of what a check found: failures first, then what this host's load explains, then warnings, else the
/// pass's line.
pub(crate) fn conclude(
    view: &View<'_>,
    id: CheckId,
    fails: Vec<Finding>,
    warns: Vec<Finding>,
    pass: impl FnOnce() -> String,
) -> CheckResult {
    // Why a finding says nothing. What is accepted is so whatever the host does.
    let late_by = |finding: &Finding| {
        let limit = finding.limit.filter(|_| view.allowed(id, &finding.item).is_none())?;
        contention::late(&view.context.delay, limit, || finding.emulated.clone())
    };
    let (late, fails): (Vec<_>, Vec<_>) = fails.into_iter().partition(|finding| late_by(finding).is_some());
    let reasons: Vec<Option<&str>> = fails.iter().map(|finding| view.allowed(id, &finding.item)).collect();
    if !fails.is_empty() && late.is_empty() && reasons.iter().all(Option::is_some) {
        // Each of them is accepted: it stays a failure that says so.
        let unique: BTreeSet<&str> = reasons.into_iter().flatten().collect();
        let reason = unique.into_iter().collect::<Vec<_>>().join("; ");
        let mut result = told(id, Status::Fail, fails);
        result.allowed = Some(reason);
        return result;
    }
    let accepted: Vec<String> = fails
        .iter()
        .zip(&reasons)
        .filter_map(|(finding, reason)| Some(format!("accepted: {}: {}", finding.item, (*reason)?)))
        .collect();
    let fails: Vec<Finding> =
        fails.into_iter().zip(&reasons).filter(|(_, reason)| reason.is_none()).map(|(finding, _)| finding).collect();
    if !fails.is_empty() {
        let late = late.iter().filter_map(|finding| Some(format!("{}; {}", finding.summary, late_by(finding)?.0)));
        return told(id, Status::Fail, fails).detail(accepted).detail(late);
    }
    if let Some((why, hint)) = late.first().and_then(late_by) {
        return contention::spared(told(id, Status::Fail, late), &why, hint).detail(accepted);
    }
    if !warns.is_empty() {
        return told(id, Status::Warn, warns);
    }
    CheckResult::new(id, Status::Pass, pass())
}

fn told(id: CheckId, status: Status, findings: Vec<Finding>) -> CheckResult {
    let count = findings.len();
    let mut result = CheckResult::new(id, status, "");
    for (index, finding) in findings.into_iter().enumerate() {
        if index == 0 {
            result.summary = if count > 1 {
                // Room for the count: the summary is cut at a line's length.
                let lead: String = finding.summary.chars().take(text::LINE - 20).collect();
                format!("{lead} (and {} more)", count - 1)
            } else {
                finding.summary
            };
            result.hint = finding.hint;
            result.evidence.extend(finding.evidence.into_iter().map(|(name, value)| (name.to_owned(), value)));
        } else {
            result.detail.push(finding.summary);
        }
        // Of the later ones only the last lines: the first is the likeliest cause.
        let lines = if index == 0 { 8 } else { 2 };
        let from = finding.detail.len().saturating_sub(lines);
        result.detail.extend(finding.detail.into_iter().skip(from).map(|line| format!("  {line}")));
        let items = result.evidence.entry("items".to_owned()).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(items) = items
            && items.len() < 50
        {
            items.push(Value::from(text::clean(&finding.item)));
        }
    }
    result
}

#[cfg(test)]
mod tests;
