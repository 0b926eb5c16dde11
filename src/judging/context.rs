//! What a judge works with: the plan, what was observed, and what is known of the units that failed; and what it makes
//! of it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::boot_state::{self, BootState};
use super::plan::Plan;
use super::text;
use super::unit::{self, FailureCause};
use crate::guest::facts::{Facts, Unit};
use crate::machine::RunDelay;
use crate::model::{Accel, CheckId, CheckResult, Excuse, NetworkPolicy, NotTested, OutsideAttempt, Status};
use crate::traffic::Traffic;

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
    /// When the machine began to be switched, in µs of its own clock: what failed earlier is not the switch's doing.
    pub switched_us: Option<u64>,
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

/// What was seen of the machine itself; what was seen of a feature, its own judge is given.
#[derive(Clone, Copy)]
pub(crate) struct MachineSeen<'a> {
    /// The facts as soon as the boot was over.
    pub(crate) first: &'a Facts,
    /// The latest facts: what is judged.
    pub(crate) now: &'a Facts,
    pub(crate) console: &'a [String],
    /// What the guest sent through its network cards, where that is known.
    pub(crate) traffic: Option<&'a Traffic>,
}

/// What a judge works with.
pub(crate) struct JudgeContext<'a> {
    pub(crate) plan: &'a Plan,
    /// The facts as soon as the boot was over.
    pub(crate) first: &'a Facts,
    /// The latest facts: what is judged.
    pub(crate) now: &'a Facts,
    pub(crate) console: &'a [String],
    /// What the guest sent through its network cards, where that is known.
    pub(crate) traffic: Option<&'a Traffic>,
    pub(crate) context: &'a Context,
    /// What features know to excuse units of theirs that failed.
    pub(crate) excuses: BTreeMap<&'static str, Excuse>,
    /// Why each unit in state `failed` is so.
    pub(crate) failure_causes: BTreeMap<&'a str, FailureCause>,
    pub(crate) boot: BootState,
}

impl<'a> JudgeContext<'a> {
    /// `excuses` says what features know to excuse, by unit; it is asked before it is known why units failed.
    pub(crate) fn new(
        plan: &'a Plan,
        seen: MachineSeen<'a>,
        context: &'a Context,
        excuses: impl FnOnce(&Self) -> BTreeMap<&'static str, Excuse>,
    ) -> Self {
        let MachineSeen { first, now, console, traffic } = seen;
        let mut cx = Self {
            plan,
            first,
            now,
            console,
            traffic,
            context,
            excuses: BTreeMap::new(),
            failure_causes: BTreeMap::new(),
            boot: boot_state::state(now),
        };
        cx.excuses = excuses(&cx);
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
            excuses: BTreeMap::new(),
            failure_causes: BTreeMap::new(),
            boot: self.boot.clone(),
            ..*self
        }
    }

    /// What to do about a service that runs on as it was before the machine was switched; `None` for any other.
    pub(crate) fn not_restarted(&self, unit: &Unit) -> Option<String> {
        let switched_us = self.context.switched_us?;
        (unit::is_active(unit) && (1..switched_us).contains(&unit.active_enter_us)).then(|| {
            let name = text::clean(&unit.name);
            let stem = name.strip_suffix(".service").unwrap_or(&name);
            format!(
                "the switch did not restart {name}, which runs with what it read before: name its files in \
                 systemd.services.{stem}.restartTriggers, or restart it"
            )
        })
    }

    /// Whether the boot came to its end, as far as is known.
    pub(crate) fn booted(&self) -> bool {
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
    pub(crate) fn allowed(&self, id: CheckId, item: &str) -> Option<&'a str> {
        self.plan.settings.allowed(id, item)
    }

    pub(crate) fn unit(&self, name: &str) -> Option<&'a Unit> {
        self.now.unit(name)
    }

    pub(crate) fn is_active(&self, name: &str) -> bool {
        self.unit(name).is_some_and(unit::is_active)
    }
}
