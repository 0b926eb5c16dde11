//! Judging, pure: expectations and facts in, verdicts out. No I/O.
//!
//! ```text
//! Expectations, Settings, Selection ──► plan() ──► Plan ────────┐
//! guest that came up: Observations (one, or a second later) ──┴► judge() ──► CheckResults, NotTested ──► verdict()
//! guest that did not: BootFailure ──────────────────► judge_boot_failure() ──┘
//! ```
//!
//! Where does a rule live? (A new check begins with a row in [`crate::model::check`].)
//! * why a unit failed, and what the root of a chain is: `unit`; how it ended, in words: `unit_ending`
//! * what an expected unit's state amounts to, the system's or a user's: `unit_assessment`, with `conditions`
//! * what programs say in the journal, and what it means: `journal_patterns`
//! * what to do about a unit that failed: `advice`
//! * what the sandbox explains, and which evidence that takes: `sandbox`; what the outside has to do with it, by what was
//!   sent: `sandbox::outside`
//! * what host contention explains: `contention`
//! * a check's own judgement: the file named as its id begins, or as it ends (`restart_loop`, `ports`); `boot_health` is
//!   the rest of `boot.*`; `http` and `timers`, which the guest is asked to run, are in `script`
//! * how findings become one result: `finding`
//! * how long a guest is waited for before it is judged: `waiting`
//! * a guest that did not come up: `boot_failure`
//! * what several verdicts make together: `verdict`; what a change has to do with it: `difference`
//!
//! Each cause is reported once, under one id. A unit in state `failed` is always `services.failed-units`, however long
//! it was active before, but for these: killed by the OOM killer (`boot.oom`), systemd-tmpfiles (`boot.tmpfiles`), an
//! expected firewall (`network.ports`), a service that was started for `services.timers`. What did not start because
//! of another unit is listed under that one. A machine that did not come up is judged by `boot.*` alone.

mod advice;
mod boot;
mod boot_failure;
mod boot_health;
mod conditions;
pub(crate) mod contention;
mod context;
pub mod difference;
pub mod explain;
mod finding;
pub(crate) mod journal_patterns;
mod network;
pub mod plan;
mod ports;
mod restart_loop;
pub(crate) mod sandbox;
mod script;
mod selection;
mod services;
#[cfg(test)]
mod test_support;
pub(crate) mod text;
pub(crate) mod unit;
pub(crate) mod unit_assessment;
mod unit_ending;
mod users;
mod verdict;
mod verify;
mod waiting;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub(crate) use boot::LOOP_RESTARTS;
pub use boot_failure::{BootEnd, BootFailure, has_come_up, has_given_up, judge_boot_failure, lost_processor};
pub(crate) use context::JudgeContext;
pub(crate) use finding::{Finding, compared, conclude};
pub use plan::{ExpectedPort, Plan, plan};
pub(crate) use sandbox::hosts as hosts_outside;
pub use script::{is_answered, is_as_expected};
pub use selection::Selection;
pub use verdict::{Conclusion, be_strict, untestable, untestable_count, untestable_names, verdict};
pub use waiting::{is_outdated, lease_awaited, lease_needed, may_recover, port_awaited, settle_needed};

use crate::audio::{self, AudioFacts};
use crate::config::ResidueWeight;
use crate::desktop::{self, DesktopFacts};
use crate::guest::facts::Facts;
use crate::machine::RunDelay;
use crate::model::{Accel, CheckId, CheckKind, CheckResult, Excuse, NetworkPolicy, NotTested, OutsideAttempt, Status};
use crate::traffic::Traffic;

/// What was observed of a guest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observations {
    /// As soon as the boot was over.
    pub first: Facts,
    /// After the settle time, when [`settle_needed`] asked for it.
    pub later: Option<Facts>,
    /// The serial console's lines: some things of stage 1 and 2 are nowhere else.
    pub console: Vec<String>,
    /// The desktop, where one is expected.
    pub desktop: Option<DesktopFacts>,
    /// The managers of users who linger, where no desktop is expected, and their journals.
    pub lingering: Vec<DesktopFacts>,
    /// Sound, where it is expected; or why it could not be observed.
    pub sound: Option<Result<AudioFacts, String>>,
    /// What the guest sent through its network cards up to the last look at it; `None` where that is not known.
    pub traffic: Option<Traffic>,
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
    /// How long the VM waited for the host's CPUs.
    pub delay: RunDelay,
}

impl Context {
    /// What a time limit meant for hardware virtualisation is multiplied by.
    pub fn scale(&self) -> f64 {
        self.accelerator.time_scale()
    }
}

/// Results, and what is excluded with the evidence for it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Judgement {
    /// One result for each check that applies, in the order of their ids.
    pub results: Vec<CheckResult>,
    /// What failed because of the sandbox, or cannot be tested in it.
    pub not_tested: Vec<NotTested>,
    /// What of the outside the guest tried to reach.
    pub outside: Vec<OutsideAttempt>,
}

impl Judgement {
    /// Lists what was not tested, once.
    pub(crate) fn exclude(&mut self, what: &(impl fmt::Display + ?Sized), excuse: Excuse) {
        let entry = NotTested::new(text::clean(&what.to_string()), excuse.cleaned(text::clean));
        if !self.not_tested.iter().any(|known| known.what == entry.what) {
            self.not_tested.push(entry);
        }
    }
}

/// Judges a guest whose facts could be gathered.
pub fn judge(plan: &Plan, observations: &Observations, context: &Context) -> Judgement {
    let cx = JudgeContext::new(plan, observations, context);
    let mut out =
        Judgement { outside: sandbox::attempts(&plan.expectations, cx.now, cx.traffic), ..Judgement::default() };
    boot::judge(&cx, &mut out);
    if cx.booted() {
        services::judge(&cx, &mut out);
        network::judge(&cx, &mut out);
        users::judge(&cx, &mut out);
        desktop::judge(&cx, &mut out);
        audio::judge::judge(&cx, &mut out);
        script::judge(&cx, &mut out);
        contention::excuse_consequences(&cx, &mut out);
    } else {
        skip_the_rest(plan, &mut out, "not applicable: the boot did not finish");
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

/// Leaves out what was not planned, orders the rest as planned, and marks the checks that are allowed to fail.
fn finish(plan: &Plan, mut out: Judgement) -> Judgement {
    let mut results: BTreeMap<CheckId, CheckResult> = out.results.drain(..).map(|result| (result.id, result)).collect();
    out.results = plan.checks.iter().map(|id| results.remove(id).unwrap_or_else(|| unanswered(*id))).collect();
    for result in &mut out.results {
        make_presentable(plan, result);
    }
    out
}

/// Marks a failure that is allowed, and makes the guest's text fit to be shown.
fn make_presentable(plan: &Plan, result: &mut CheckResult) {
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

/// What a rehearsal judged, without what was not asked for.
pub(crate) fn of_rehearsal(plan: &Plan, mut results: Vec<CheckResult>) -> Vec<CheckResult> {
    results.retain(|result| plan.selection.has(result.id));
    let is_left = |result: &&mut CheckResult| result.id.kind() == CheckKind::Residue && result.status == Status::Warn;
    if plan.settings.residue == ResidueWeight::Fail {
        results.iter_mut().filter(is_left).for_each(|result| result.status = Status::Fail);
    }
    for result in &mut results {
        make_presentable(plan, result);
        // Names of units and snippets, which the guest says, are in these too.
        result.hint = result.hint.take().map(|hint| text::clean_all(hint.lines()).join("\n"));
        result.evidence.values_mut().for_each(clean_value);
    }
    results
}

/// Makes the texts of evidence fit to be shown.
fn clean_value(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(said) => *said = text::clean(said),
        serde_json::Value::Array(values) => values.iter_mut().for_each(clean_value),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(clean_value),
        _ => {}
    }
}

/// The result of a planned check that no judge answered: a defect of nixbox, and never a pass.
fn unanswered(id: CheckId) -> CheckResult {
    CheckResult::new(id, Status::Unknown, format!("{id} was planned, but nothing judged it: a defect of nixbox"))
}

#[cfg(test)]
mod tests;
