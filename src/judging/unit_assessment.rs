//! What an expected unit's state amounts to: one judge for the units of the system's manager and of a user's.
//!
//! It asks one question after the other ([`Judge::SYSTEM`], [`Judge::USER`]); the first that has an answer decides.

use super::conditions::{SkipReason, skip_reason};
use super::journal::Means as _;
use super::journal_patterns::Meaning;
use super::plan::BY_SETTINGS;
use super::unit::{
    self, dropped_from_cycle, ended_with_success, is_activating, is_active, is_auto_restart, is_called_for, is_failed,
    is_refused, manager_line,
};
use super::{Finding, JudgeContext, sandbox, text};
use crate::guest::facts::{Facts, JournalLine, Unit};
use crate::guest::user_units::UserManager;
use crate::model::{Excuse, Lack, LoadState, ServiceType, UnitResult, Witness};
use crate::nix::expectations::ExpectedUnit;

/// How long after a unit failed PID 1 says at most that another one was not started for that.
const LET_DOWN_US: u64 = 2_000_000;

/// What an expected unit's state amounts to.
#[derive(Debug, Clone)]
pub(crate) enum UnitAssessment {
    /// Active, or rightly not.
    AsExpected,
    /// Whatever it is, it is reported with the units that failed, or that are started again and again.
    ReportedElsewhere,
    /// Nothing that is up asks for it: its target was not reached.
    NotWanted,
    /// The sandbox, or the VM's fresh disk, explains it.
    Excluded(Excuse),
    /// Not started, since this unit, which it requires, failed.
    RequiredUnit(String),
    /// Not active as expected.
    NotActive(Finding),
    /// Was active, and is not any more.
    Stopped(Finding),
    /// Not active, which need not be wrong: it still starts, or ended with success where staying would be usual.
    Doubtful(Finding),
}

/// Whose manager runs a unit.
#[derive(Clone, Copy)]
pub(crate) enum UnitManager<'a> {
    /// PID 1.
    System,
    /// A user's. The context's facts ([`JudgeContext::of_user_manager`]) are this manager's.
    User { name: &'a str, manager: &'a UserManager },
}

/// What is expected of a unit.
#[derive(Clone, Copy)]
pub(crate) struct Expectation<'a> {
    /// What the configuration says of it, where it declares it.
    pub(crate) declared: Option<&'a ExpectedUnit>,
    /// Whether the configuration itself has it enabled and wanted.
    pub(crate) own: bool,
    /// Whether `nixbox.toml` demands that it be active.
    pub(crate) demanded: bool,
}

type Question<'a> = fn(&Judge<'a>, &Unit) -> Option<UnitAssessment>;

/// Judges an expected unit's state.
pub(crate) fn assess(
    cx: &JudgeContext<'_>,
    manager: UnitManager<'_>,
    name: &str,
    expected: Expectation<'_>,
) -> UnitAssessment {
    let judge = Judge { cx, facts: cx.now, manager, name, expected };
    let Some(unit) = cx.unit(name) else { return judge.unknown_unit() };
    let questions: &[Question<'_>] = if judge.is_user() { &Judge::USER } else { &Judge::SYSTEM };
    questions.iter().find_map(|question| question(&judge, unit)).unwrap_or(UnitAssessment::AsExpected)
}

struct Judge<'a> {
    cx: &'a JudgeContext<'a>,
    facts: &'a Facts,
    manager: UnitManager<'a>,
    name: &'a str,
    expected: Expectation<'a>,
}

impl<'a> Judge<'a> {
    /// The questions about a unit of the system's manager. A unit that nothing up asks for may be in any state: a
    /// distribution brings units for every case.
    const SYSTEM: [Question<'a>; 13] = [
        Self::is_up,
        Self::has_failed,
        // What PID 1 dropped, something asked for.
        Self::was_dropped,
        Self::is_unwanted,
        Self::is_not_loaded,
        Self::is_masked,
        Self::is_still_starting,
        Self::lacks_requirement,
        Self::was_skipped,
        Self::is_triggered,
        Self::has_ended,
        Self::has_failed_assertion,
        Self::was_never_started,
    ];

    /// The questions about a unit of a user's manager. Only what the configuration declares is asked about, so a text that
    /// systemd refuses is wrong before anything asks for the unit, and so is a condition that contradicts it.
    const USER: [Question<'a>; 11] = [
        Self::is_not_loaded,
        Self::is_up,
        Self::has_failed,
        Self::is_masked,
        Self::was_skipped,
        Self::is_unwanted,
        Self::is_still_starting,
        Self::is_triggered,
        Self::has_ended,
        Self::lacks_requirement,
        Self::was_never_started,
    ];

    fn is_user(&self) -> bool {
        matches!(self.manager, UnitManager::User { .. })
    }

    /// `bar.service of alice`.
    fn subject(&self) -> String {
        match self.manager {
            UnitManager::System => self.name.to_owned(),
            UnitManager::User { name, .. } => format!("{} of {name}", self.name),
        }
    }

    /// `bar.service of alice is expected by the configuration`.
    fn is_expected(&self) -> String {
        let by = if self.expected.demanded { BY_SETTINGS } else { "the configuration" };
        format!("{} is expected by {by}", self.subject())
    }

    fn finding(&self, summary: String) -> Finding {
        Finding::new(self.name, summary)
            .detail(unit::tail(self.facts, self.name, 6))
            .evidence("unit", text::clean(self.name))
    }

    fn not_active(&self, summary: String) -> Option<UnitAssessment> {
        Some(UnitAssessment::NotActive(self.finding(summary)))
    }

    fn is_called_for(&self, wanted_by: &[String]) -> bool {
        // A session target that has ended asks for nothing any more.
        let is_up = |name: &String| self.cx.unit(name).is_some_and(|unit| is_active(unit) || is_activating(unit));
        if self.is_user() { wanted_by.iter().any(is_up) } else { is_called_for(self.facts, wanted_by) }
    }

    fn unknown_unit(&self) -> UnitAssessment {
        let is_unwanted = |unit: &ExpectedUnit| !self.is_called_for(&unit.wanted_by);
        if !self.is_user() && !self.expected.demanded && self.expected.declared.is_some_and(is_unwanted) {
            return UnitAssessment::NotWanted;
        }
        let summary = format!("{}, and systemd finds no such unit", self.is_expected());
        let finding = Finding::new(self.name, summary).evidence("unit", text::clean(self.name));
        UnitAssessment::NotActive(finding)
    }

    fn is_up(&self, unit: &Unit) -> Option<UnitAssessment> {
        if !is_active(unit) {
            return None;
        }
        // What a user's unit does while the desktop is used is told with the desktop.
        Some(match unit::failed_since(self.facts, unit).filter(|_| !self.is_user()) {
            Some(_) if unit::comes_again(self.cx, unit) => UnitAssessment::ReportedElsewhere,
            Some(line) => UnitAssessment::Stopped(self.failed_after_all(unit, &line.message)),
            None => UnitAssessment::AsExpected,
        })
    }

    /// It was active when its state was read, and PID 1 has said since that it failed.
    fn failed_after_all(&self, unit: &Unit, word: &str) -> Finding {
        let parts = Meaning::FailedWithResult.parts_of(word);
        let result = parts.map_or_else(String::new, |parts| format!(" ({})", &parts["result"]));
        let said = unit::error_line(&self.facts.journal, self.name);
        let said = said.map_or_else(String::new, |said| format!(": {}", said.trim()));
        self.finding(format!("{} failed soon after it became active{result}{said}", self.name))
            .evidence("active_enter_us", unit.active_enter_us)
    }

    fn has_failed(&self, unit: &Unit) -> Option<UnitAssessment> {
        let fails_again = self.is_user() && unit::keeps_ending(unit);
        (is_failed(unit) || fails_again).then_some(UnitAssessment::ReportedElsewhere)
    }

    fn is_unwanted(&self, unit: &Unit) -> Option<UnitAssessment> {
        let declared = self.expected.declared.is_some_and(|declared| self.is_called_for(&declared.wanted_by));
        let wanted = self.expected.demanded || declared || self.is_called_for(&unit.wanted_by);
        (!wanted).then_some(UnitAssessment::NotWanted)
    }

    fn is_not_loaded(&self, unit: &Unit) -> Option<UnitAssessment> {
        if unit.load_state == LoadState::NotFound {
            return self.not_active(format!("{}, and systemd finds no such unit", self.is_expected()));
        }
        if !is_refused(unit) {
            return None;
        }
        let line = self.refusing_line().map(|line| line.message.clone());
        let why = match (&unit.load_error, line) {
            (_, Some(line)) if is_at_place(&line) => line,
            (_, Some(line)) if line.ends_with("Refusing.") => {
                unit::without_name(&line, self.name).trim_end_matches(" Refusing.").trim_end_matches('.').to_owned()
            }
            (Some(error), Some(line)) => format!("{error} ({line})"),
            (Some(error), None) => error.clone(),
            (None, Some(line)) => line,
            (None, None) => format!("load state {}", unit.load_state),
        };
        let finding = self.finding(format!("systemd refused to load {}: {why}", self.subject()));
        let hint = if why.contains("more than one ExecStart=") {
            "what a module sets is replaced by lib.mkForce, or by a list that begins with an empty text: [ \"\" \"…\" ]"
        } else {
            "a unit that is refused never shows as failed: systemd-analyze verify names the line"
        };
        Some(UnitAssessment::NotActive(finding.hint(hint)))
    }

    /// PID 1's line about why it refuses the unit: one that names the place, if it has such, or the one that it ends with.
    fn refusing_line(&self) -> Option<&JournalLine> {
        let lines =
            self.facts.journal.iter().filter(|line| unit::is_managers(line) && line.message.contains(self.name));
        let lines: Vec<_> = lines.filter(|line| Meaning::RefusedToLoad.is_in(&line.message)).rev().collect();
        let last = |is: &dyn Fn(&str) -> bool| lines.iter().find(|line| is(&line.message)).copied();
        last(&is_at_place)
            .or_else(|| last(&|words| words.ends_with("Refusing.")))
            .or_else(|| last(&|words| !Meaning::JobIgnored.is_in(words)))
            .or(lines.first().copied())
    }

    fn is_masked(&self, unit: &Unit) -> Option<UnitAssessment> {
        if unit.load_state != LoadState::Masked {
            return None;
        }
        let at = if unit.fragment_path.is_empty() { String::new() } else { format!(" ({})", unit.fragment_path) };
        self.not_active(format!("{}, but masked in the guest{at}", self.is_expected()))
    }

    fn is_still_starting(&self, unit: &Unit) -> Option<UnitAssessment> {
        if is_auto_restart(unit) && self.is_user() {
            let ending = unit::describe_failure(self.facts, unit);
            let summary = format!("{} exited and is about to be restarted: {ending}", self.subject());
            return Some(UnitAssessment::Doubtful(self.finding(summary)));
        }
        if !is_activating(unit) {
            return None;
        }
        if is_auto_restart(unit) {
            return Some(UnitAssessment::ReportedElsewhere);
        }
        // The boot is over, and it still starts: for a while that is fine.
        let since = self.facts.now_us.saturating_sub(unit.state_change_us) as f64 / 1e6;
        let most = 90.0 * self.cx.context.scale();
        if self.is_user() || unit.state_change_us == 0 || since < most {
            let summary = format!("{} is still starting, {} after it began", self.subject(), text::seconds(since));
            return Some(UnitAssessment::Doubtful(self.finding(summary)));
        }
        let finding = self.finding(format!("{} has been starting for {}", self.name, text::seconds(since)));
        Some(UnitAssessment::NotActive(finding.time_limit((unit.state_change_us, self.facts.now_us))))
    }

    fn was_dropped(&self, unit: &Unit) -> Option<UnitAssessment> {
        let (_, line) =
            dropped_from_cycle(self.facts).find(|(dropped, _)| unit.is_untried() && *dropped == self.name)?;
        let cycle = unit::cycle_of(self.facts, line).join(", ");
        let named = if cycle.is_empty() { cycle } else { format!(" ({cycle})") };
        let summary = format!("{} was not started: systemd dropped it to break an ordering cycle{named}", self.name);
        let hint = "take one After= or Before= out of the cycle";
        Some(UnitAssessment::NotActive(self.finding(summary).detail([text::journal(line)]).hint(hint)))
    }

    /// It was not started for want of a unit that it requires.
    fn lacks_requirement(&self, unit: &Unit) -> Option<UnitAssessment> {
        let root = unit::root_cause(self.facts, self.name);
        let idle = !root.ends_with(".device") && self.cx.unit(root).is_some_and(Unit::is_untried);
        // A unit whose start nothing asked for did not start its requirements either.
        let asked = self.is_user() || self.has_active_target(unit) || self.expected.demanded;
        if root == self.name || !asked && idle {
            return None;
        }
        let is_reported = |unit: &Unit| is_failed(unit) || is_refused(unit) && !self.is_user();
        match sandbox::excuse_of_root(self.cx, root) {
            Some(why) if !self.expected.demanded => {
                Some(UnitAssessment::Excluded(why.through(format_args!("needs {root}"))))
            }
            _ if self.cx.unit(root).is_some_and(is_reported) => Some(UnitAssessment::RequiredUnit(root.to_owned())),
            _ => {
                let is_masked = self.cx.unit(root).is_some_and(|root| root.load_state == LoadState::Masked);
                let state = if is_masked {
                    "is masked (`enable = false`?)"
                } else if idle && !self.is_user() {
                    "was not started either"
                } else {
                    "is not there"
                };
                self.not_active(format!("{} was not started: it needs {root}, which {state}", self.subject()))
            }
        }
    }

    fn has_active_target(&self, unit: &Unit) -> bool {
        unit.wanted_by.iter().any(|target| self.cx.is_active(target))
    }

    fn was_skipped(&self, unit: &Unit) -> Option<UnitAssessment> {
        if unit.condition_us == 0 || unit.condition_result {
            let excluded = || {
                let condition = Witness::Condition { condition: "ExecCondition=".to_owned() };
                let why = "skipped by its own ExecCondition=";
                UnitAssessment::Excluded(Excuse::new(Lack::State, condition, why))
            };
            return (unit.result == UnitResult::ExecCondition && !self.is_user()).then(excluded);
        }
        let named = text::list(&unit.failed_conditions);
        if self.expected.demanded {
            return self.not_active(format!("{} but was skipped: {named} was not met", self.is_expected()));
        }
        if let UnitManager::User { manager, .. } = self.manager {
            if let Some(now) = variable_now(manager, &unit.failed_conditions) {
                let summary = format!("{} was skipped: {named} was not met{now}", self.subject());
                return Some(UnitAssessment::NotActive(self.finding(summary).evidence("condition", named)));
            }
            // What every user's manager has may be meant for some of them.
            let of_others = |text: &String| ["ConditionUser=", "ConditionGroup="].iter().any(|is| text.starts_with(is));
            if unit.failed_conditions.iter().any(of_others) {
                return Some(UnitAssessment::AsExpected);
            }
        }
        Some(match skip_reason(&unit.failed_conditions) {
            SkipReason::ByDesign => UnitAssessment::AsExpected,
            SkipReason::MachineSpecific(condition) => {
                let why = format!("skipped: {condition} was not met in the VM; the real machine may differ");
                UnitAssessment::Excluded(Excuse::new(
                    sandbox::lack_of(&condition),
                    Witness::Condition { condition },
                    why,
                ))
            }
            // Only the configuration's own units: a distribution's come with conditions for every case.
            SkipReason::Contradiction(condition) if self.expected.own => UnitAssessment::NotActive(
                self.finding(format!("{} but was skipped: {condition} was not met", self.is_expected()))
                    .evidence("condition", text::clean(&condition))
                    .hint("the VM is like the real machine in this respect: the unit would be skipped there too"),
            ),
            SkipReason::Contradiction(condition) => {
                let why = format!("skipped: {condition} was not met");
                UnitAssessment::Excluded(Excuse::new(Lack::Choice, Witness::Condition { condition }, why))
            }
        })
    }

    /// A socket, timer, path or name on the bus starts it.
    fn is_triggered(&self, unit: &Unit) -> Option<UnitAssessment> {
        let is_broken = |trigger: &&String| self.cx.unit(trigger).is_some_and(|it| is_failed(it) || is_refused(it));
        if !self.expected.demanded && unit.triggered_by.iter().any(|trigger| self.cx.is_active(trigger)) {
            return Some(UnitAssessment::AsExpected);
        }
        let broken = unit.triggered_by.iter().find(|trigger| !self.is_user() && is_broken(trigger))?;
        Some(UnitAssessment::RequiredUnit(broken.clone()))
    }

    /// It was active, or did its work.
    fn has_ended(&self, unit: &Unit) -> Option<UnitAssessment> {
        if self.is_user() {
            // A session's units end when it does.
            return (unit.inactive_enter_us > 0).then_some(UnitAssessment::AsExpected);
        }
        let is_oneshot = unit.service.as_ref().is_some_and(|service| service.kind == ServiceType::Oneshot);
        // One with RemainAfterExit= that has left `active` was stopped.
        let remains = unit.service.as_ref().is_some_and(|service| service.remain_after_exit) && unit.active_exit_us > 0;
        if is_oneshot && ended_with_success(unit) && !remains {
            return Some(UnitAssessment::AsExpected);
        }
        let was_active = unit.active_exit_us > 0 || (unit.inactive_enter_us > 0 && unit.active_enter_us > 0);
        was_active.then(|| self.ended(unit))
    }

    /// It was active, and ended with success.
    ///
    /// Which service has to stay? Types that report when they are ready (`notify`, `forking`) are daemons. A `simple`
    /// one that ends with 0 is often a script whose author left out `Type=oneshot`: a warning. `dbus` ones come back
    /// when they are called. Who was killed by a signal, though it counts as clean, did not mean to end. What
    /// `nixbox.toml` demands has to be there.
    fn ended(&self, unit: &Unit) -> UnitAssessment {
        let name = self.name;
        let lived = unit.active_exit_us.max(unit.inactive_enter_us).saturating_sub(unit.active_enter_us);
        let after = text::micros(lived);
        let Some(service) = &unit.service else {
            let summary = format!("{name} was active for {after} and no longer is");
            return if self.expected.demanded || !name.ends_with(".target") {
                let finding = Finding::new(name, summary).detail(unit::tail(self.facts, name, 6));
                UnitAssessment::Stopped(finding)
            } else {
                UnitAssessment::Doubtful(Finding::new(name, summary))
            };
        };
        let how = match service.exit_kind {
            _ if service.remain_after_exit => "was stopped".to_owned(),
            2 | 3 => format!("was ended by {}", unit::signal_name(service.exit_status)),
            _ => format!("ended with exit code {}", service.exit_status),
        };
        let summary = format!("{name} {how}, {after} after it became active, and is no longer running");
        let finding = self.finding(summary).evidence("active_s", lived as f64 / 1e6);
        let is_daemon = matches!(service.kind, ServiceType::Notify | ServiceType::NotifyReload | ServiceType::Forking)
            || service.restart == "always"
            || service.exit_kind >= 2
            || service.exit_status != 0;
        if self.expected.demanded || is_daemon {
            UnitAssessment::Stopped(finding)
        } else if service.remain_after_exit {
            let hint = "find what stops it: Conflicts=, BindsTo= or PartOf=, or a systemctl stop";
            UnitAssessment::Doubtful(finding.hint(hint))
        } else {
            let hint = "set Type=oneshot if it is meant to end; name it in `units` of nixbox.toml if it is not";
            UnitAssessment::Doubtful(finding.hint(hint))
        }
    }

    fn has_failed_assertion(&self, unit: &Unit) -> Option<UnitAssessment> {
        let line = manager_line(self.facts, self.name, Meaning::AssertionFailed)?;
        let named = &unit.failed_conditions;
        match skip_reason(named) {
            SkipReason::MachineSpecific(condition) if !named.is_empty() && !self.expected.demanded => {
                let why = format!("not started: {condition} was not met in the VM; the real machine may differ");
                let lack = sandbox::lack_of(&condition);
                Some(UnitAssessment::Excluded(Excuse::new(lack, Witness::Condition { condition }, why)))
            }
            _ if named.is_empty() => self.not_active(format!("{} was not started: {}", self.name, line.message)),
            _ => self.not_active(format!("{} was not started: {} was not met", self.name, text::list(named))),
        }
    }

    /// A unit that it requires failed when it was to be started, and is up by now: nothing tries again.
    fn was_let_down(&self) -> Option<UnitAssessment> {
        let lines = &self.facts.journal;
        let is_it = |line: &JournalLine| line.unit == self.name && Meaning::DependencyFailed.is_in(&line.message);
        let at = lines.iter().rposition(|line| line.pid == 1 && is_it(line))?;
        let is_late = |line: &&JournalLine| line.at_us + LET_DOWN_US >= lines[at].at_us;
        let is_failure = |line: &&JournalLine| line.pid == 1 && Meaning::FailedWithResult.is_in(&line.message);
        let root = lines[..at].iter().rev().take_while(is_late).find(is_failure).map(|line| line.unit.as_str())?;
        let now = if self.cx.is_active(root) { ", and is up only since" } else { "" };
        let summary = format!("{} was not started: it needs {root}, which failed at that moment{now}", self.name);
        let hint =
            format!("systemd does not try again: wants instead of requires, or what makes {root} come up at once");
        Some(UnitAssessment::NotActive(self.finding(summary).hint(hint)))
    }

    fn was_never_started(&self, unit: &Unit) -> Option<UnitAssessment> {
        if ended_with_success(unit) {
            return Some(UnitAssessment::AsExpected);
        }
        if let Some(let_down) = self.was_let_down().filter(|_| !self.is_user()) {
            return Some(let_down);
        }
        if let Some(refused) = manager_line(self.facts, self.name, Meaning::RefusedToStart) {
            let parts = Meaning::RefusedToStart.parts_of(&refused.message)?;
            return self.not_active(format!("{} was not started: {}", self.name, text::clean(&parts["why"])));
        }
        if let Some(other) = unit.conflicts.iter().find(|other| self.cx.is_active(other)).filter(|_| !self.is_user()) {
            let summary = format!("{} was not started: it conflicts with {other}, which is up", self.name);
            let hint = "only one of two units that have Conflicts= between them can be wanted";
            return Some(UnitAssessment::NotActive(self.finding(summary).hint(hint)));
        }
        let why = if self.is_user() {
            "was never started"
        } else if unit.condition_us > 0 {
            "was started, but never became active"
        } else if self.has_active_target(unit) || self.expected.demanded {
            "was never started"
        } else {
            "was never started: nothing in the guest wants it"
        };
        self.not_active(format!("{} and {why}", self.is_expected()))
    }
}

/// Whether a line names a place in a unit's file that makes systemd refuse it: `/etc/systemd/system/app.service:6: …`.
fn is_at_place(line: &str) -> bool {
    let number = line.split_once(": ").and_then(|(place, _)| place.rsplit_once(':')).map(|(_, number)| number);
    // A timer that has no other is refused for the one that is ignored.
    let is_meant = !line.contains("ignoring") || line.contains(".timer:") && Meaning::RefusedToLoad.is_in(line);
    line.starts_with('/') && number.is_some_and(|number| number.parse::<u32>().is_ok()) && is_meant
}

/// What has become of the variable that a user's unit was skipped for want of.
fn variable_now(manager: &UserManager, conditions: &[String]) -> Option<String> {
    let condition = conditions.iter().find_map(|condition| condition.strip_prefix("ConditionEnvironment="))?;
    let variable = condition.trim_start_matches('|');
    if variable.starts_with('!') {
        return None;
    }
    Some(match manager.variable(variable.split('=').next().unwrap_or(variable)) {
        Some(value) => format!("; it is {} now, and was imported too late", text::clean(value)),
        None => "; it is not set in the user's systemd".to_owned(),
    })
}

#[cfg(test)]
mod tests;
