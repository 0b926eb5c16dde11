//! What a judge works with: the plan, what was observed, and what is known of the units that failed.

use std::collections::BTreeMap;

use super::boot::{self, BootState};
use super::unit::{self, FailureCause};
use super::{Context, Observations, Plan, text};
use crate::audio::AudioFacts;
use crate::desktop::DesktopFacts;
use crate::guest::facts::{Facts, Unit};
use crate::model::{CheckId, CheckResult, Status};
use crate::traffic::Traffic;

/// What a judge works with.
pub(crate) struct JudgeContext<'a> {
    pub(crate) plan: &'a Plan,
    /// The facts as soon as the boot was over.
    pub(crate) first: &'a Facts,
    /// The latest facts: what is judged.
    pub(crate) now: &'a Facts,
    pub(crate) console: &'a [String],
    pub(crate) desktop: Option<&'a DesktopFacts>,
    pub(crate) lingering: &'a [DesktopFacts],
    pub(crate) sound: Option<&'a Result<AudioFacts, String>>,
    /// What the guest sent through its network cards, where that is known.
    pub(crate) traffic: Option<&'a Traffic>,
    pub(crate) context: &'a Context,
    /// Why each unit in state `failed` is so.
    pub(crate) failure_causes: BTreeMap<&'a str, FailureCause>,
    pub(crate) boot: BootState,
}

impl<'a> JudgeContext<'a> {
    pub(super) fn new(plan: &'a Plan, observations: &'a Observations, context: &'a Context) -> Self {
        let now = observations.now();
        let mut cx = Self {
            plan,
            first: &observations.first,
            now,
            console: &observations.console,
            desktop: observations.desktop.as_ref(),
            lingering: &observations.lingering,
            sound: observations.sound.as_ref(),
            traffic: observations.traffic.as_ref(),
            context,
            failure_causes: BTreeMap::new(),
            boot: boot::state(now),
        };
        let failed = now.units.iter().filter(|unit| unit::is_failed(unit)).map(|unit| unit.name.as_str());
        cx.failure_causes = failed.map(|name| (name, unit::failure_cause(&cx, name))).collect();
        cx
    }

    /// The same for a user's manager, whose facts these are.
    pub(crate) fn of_user_manager<'b>(&'b self, facts: &'b Facts) -> JudgeContext<'b> {
        JudgeContext {
            first: facts,
            now: facts,
            console: &[],
            desktop: None,
            lingering: &[],
            failure_causes: BTreeMap::new(),
            boot: self.boot.clone(),
            ..*self
        }
    }

    /// Whether the boot came to its end, as far as is known.
    pub(super) fn booted(&self) -> bool {
        matches!(self.boot, BootState::Up | BootState::Unknown(_))
    }

    /// Why a fact, or any part of it (`http.ID`), could not be gathered.
    pub(crate) fn gap(&self, fact: &str) -> Option<&str> {
        let is_part = |name: &str| name.strip_prefix(fact).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.now.gaps.iter().find(|(name, _)| is_part(name)).map(|(_, why)| why.as_str())
    }

    /// The result when one of these facts is missing: never a pass.
    pub(crate) fn unknown(&self, id: CheckId, facts: &[&str]) -> Option<CheckResult> {
        let (fact, why) = facts.iter().find_map(|fact| Some((*fact, self.gap(fact)?)))?;
        Some(CheckResult::new(id, Status::Unknown, text::clean(&text::could_not_read(fact, why))))
    }

    /// The time since the boot's end, in µs of the guest's clock: the time limit of what the guest was asked to do.
    pub(crate) fn since_boot(&self) -> (u64, u64) {
        (self.now.manager.finish_us, u64::MAX)
    }

    pub(crate) fn is_planned(&self, id: CheckId) -> bool {
        self.plan.has(id)
    }

    /// Why `nixbox.toml` allows this item of this check to fail.
    pub(super) fn allowed(&self, id: CheckId, item: &str) -> Option<&'a str> {
        self.plan.settings.allow.get(&format!("{id}:{item}")).map(String::as_str)
    }

    pub(crate) fn unit(&self, name: &str) -> Option<&'a Unit> {
        self.now.unit(name)
    }

    pub(crate) fn is_active(&self, name: &str) -> bool {
        self.unit(name).is_some_and(unit::is_active)
    }
}
