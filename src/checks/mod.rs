//! Judging, pure: expectations and facts in, verdicts out. No I/O.
//!
//! ```text
//! Expectations, Settings, Selection ──► plan() ──► Plan ────────┐
//! guest that came up: Observations (one, or a second later) ──┴► judge() ──► CheckResults, NotTested ──► verdict()
//! guest that did not: BootFailure ──────────────────► judge_boot_failure() ──┘
//! ```
//!
//! Where does a rule live? (A new check begins with a row in [`crate::model::check`].)
//! * what several checks or features share, the sandbox's excuses among it: [`crate::judging`]
//! * a check's own judgement: the file named as its id begins, or as it ends (`restart_loop`, `ports`); `boot_health` is
//!   the rest of `boot.*`; `http` and `timers`, which the guest is asked to run, are in `script`; `desktop.*` and `audio.*`
//!   are judged by [`crate::desktop`] and [`crate::audio`]
//! * how long a guest is waited for before it is judged: `waiting`
//! * a guest that did not come up: `boot_failure`
//! * what several verdicts make together: `verdict`; what a change has to do with it: `difference`
//!
//! Each cause is reported once, under one id. A unit in state `failed` is always `services.failed-units`, however long
//! it was active before, but for these: killed by the OOM killer (`boot.oom`), systemd-tmpfiles (`boot.tmpfiles`), an
//! expected firewall (`network.ports`), a service that was started for `services.timers`. What did not start because
//! of another unit is listed under that one. A machine that did not come up is judged by `boot.*` alone.

mod boot;
mod boot_failure;
mod boot_health;
pub mod difference;
pub mod explain;
mod network;
mod ports;
mod restart_loop;
mod script;
mod services;
mod sites;
#[cfg(test)]
pub(crate) mod test_support;
mod users;
mod verdict;
mod verify;
mod waiting;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(crate) use boot::LOOP_RESTARTS;
pub use boot_failure::{BootEnd, BootFailure, has_come_up, has_given_up, judge_boot_failure, lost_processor};
pub use script::{is_answered, is_as_expected};
pub use sites::NGINX;
pub use verdict::{Conclusion, be_strict, untestable, untestable_count, untestable_names, verdict};
pub use waiting::{is_outdated, lease_awaited, lease_needed, may_recover, port_awaited, settle_needed};

use crate::audio::{self, AudioFacts};
use crate::config::ResidueWeight;
use crate::desktop::{self, DesktopFacts};
use crate::guest::facts::Facts;
use crate::guest::user_units::UserManager;
use crate::judging::{Context, JudgeContext, Judgement, MachineSeen, Plan, contention, sandbox, text};
use crate::model::{CheckId, CheckKind, CheckResult, Status};
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

    /// The managers of users that were looked at.
    fn user_managers(&self) -> impl Iterator<Item = &UserManager> + Clone {
        self.desktop.iter().chain(&self.lingering).filter_map(|facts| facts.manager.as_ref())
    }

    pub(crate) fn judge_context<'a>(&'a self, plan: &'a Plan, context: &'a Context) -> JudgeContext<'a> {
        let seen =
            MachineSeen { first: &self.first, now: self.now(), console: &self.console, traffic: self.traffic.as_ref() };
        JudgeContext::new(plan, seen, context, |cx| desktop::excuses(cx, self.desktop.as_ref()))
    }
}

/// Judges a guest whose facts could be gathered.
pub fn judge(plan: &Plan, observations: &Observations, context: &Context) -> Judgement {
    let cx = observations.judge_context(plan, context);
    let desktop = observations.desktop.as_ref();
    let mut out =
        Judgement { outside: sandbox::attempts(&plan.expectations, cx.now, cx.traffic), ..Judgement::default() };
    boot::judge(&cx, &mut out);
    if cx.booted() {
        services::judge(&cx, observations, &mut out);
        network::judge(&cx, &mut out);
        users::judge(&cx, desktop, &mut out);
        desktop::judge(&cx, desktop, &observations.lingering, &mut out);
        audio::judge::judge(&cx, observations.sound.as_ref(), &mut out);
        script::judge(&cx, &mut out);
        sites::judge(&cx, &mut out);
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
