//! `desktop.units`: the units of the user's systemd, the session target, the portal.

use std::collections::BTreeMap;

use super::Assessment;
use super::view::DesktopView;
use crate::desktop::SESSION_TARGET;
use crate::desktop::display_managers::wraps_wayland;
use crate::desktop::facts::LoginMethod;
use crate::desktop::journal::{first_line, lacks_display};
use crate::guest::facts::{Facts, JournalLine, Manager, Unit};
use crate::guest::user_units::{PORTAL_UNIT, UserManager};
use crate::judging::journal::Means as _;
use crate::judging::journal_patterns::Meaning;
use crate::judging::unit::{self, exited_with_success, is_active, is_failed, keeps_ending};
use crate::judging::unit_assessment::{Expectation, UnitAssessment, UnitManager, assess};
use crate::judging::{Finding, JudgeContext, Judgement, advice, sandbox, text};
use crate::model::{Excuse, Lack, Witness};

/// A target that became active so much earlier than the session, in µs, is an earlier session's.
const STALE_US: u64 = 500_000;

impl DesktopView<'_> {
    pub(super) fn units(&self, out: &mut Judgement) -> Assessment {
        let Some(manager) = &self.facts.manager else {
            return match (self.gap(&["user-units"]), self.own_sessions.is_empty()) {
                (Some(gap), false) => Assessment::Unknown(gap),
                _ => Assessment::Skip("there is no session".to_owned()),
            };
        };
        // Judged as the machine's own units are, over the user's.
        let facts = Facts {
            units: manager.units.clone(),
            journal: self.facts.journal.iter().cloned().map(as_of_pid_1).collect(),
            now_us: self.view.now.now_us,
            manager: Manager { default_target: "default.target".to_owned(), ..Manager::default() },
            ..Facts::default()
        };
        let of_user = self.view.of_user_manager(&facts);
        let dead_portal = self.dead_portal(manager, &facts);
        let (mut fails, mut warns) = self.failed_units(&of_user, manager, dead_portal.is_some(), out);
        let mut good = 0;
        let mut waiting: Vec<&str> = Vec::new();
        let expected = self.view.plan.expectations.units_of_user(self.user);
        for (name, expected) in expected.iter().filter(|(name, _)| !self.is_of_sound(name)) {
            let demands = Expectation { declared: Some(expected), own: true, demanded: false };
            let of_session = expected.wanted_by.iter().any(|target| target.contains("-session"));
            match assess(&of_user, UnitManager::User { name: self.user, manager }, name, demands) {
                UnitAssessment::NotWanted if of_session => waiting.push(name),
                UnitAssessment::AsExpected | UnitAssessment::NotWanted => good += 1,
                UnitAssessment::ReportedElsewhere | UnitAssessment::RequiredUnit(_) => {}
                UnitAssessment::Excluded(why) => out.exclude(name, why),
                UnitAssessment::NotActive(finding) | UnitAssessment::Stopped(finding) => fails.push(finding),
                UnitAssessment::Doubtful(finding) => warns.push(finding),
            }
        }
        let has_target = manager.unit(SESSION_TARGET).is_some_and(is_active);
        if !has_target && !waiting.is_empty() {
            self.target_not_active(&text::list(&waiting), &mut fails, out);
        }
        if let Some(stale) = self.stale_target(manager) {
            fails.insert(0, stale);
        }
        fails.extend(dead_portal);
        warns.extend(self.other_crashes());
        warns.extend(self.slow_portal());
        let later = self.failed_later(&of_user, manager, &warns);
        warns.extend(later);
        warns.extend(self.without_programs(&facts));
        warns.extend(self.incomplete_portal(manager));
        warns.extend(self.missing_xwayland());
        Assessment::Findings { fails, warns, pass: self.units_line(good, has_target) }
    }

    fn units_line(&self, good: usize, has_target: bool) -> String {
        let portal = match &self.facts.portal {
            Some(portal) if portal.answered => format!(", the portal answers in {}", text::seconds(portal.seconds)),
            _ => String::new(),
        };
        let target = match (self.state, has_target) {
            (None, _) => String::new(),
            (_, true) => format!(", {SESSION_TARGET} is active"),
            (_, false) => format!(", nothing needs {SESSION_TARGET}"),
        };
        let units = if good == 1 { "1 expected unit is".to_owned() } else { format!("{good} expected units are") };
        format!("no unit of {} failed, {units} in order{target}{portal}", self.user)
    }

    /// Units that failed or keep ending, whether they are expected or not; and those that failed before the switch.
    fn failed_units(
        &self,
        of_user: &JudgeContext<'_>,
        manager: &UserManager,
        is_portal_dead: bool,
        out: &mut Judgement,
    ) -> (Vec<Finding>, Vec<Finding>) {
        let facts = of_user.now;
        let (mut fails, mut warns) = (Vec::new(), Vec::new());
        let is_earlier = |unit: &Unit| {
            is_failed(unit) && of_user.context.switched_us.is_some_and(|us| (1..us).contains(&unit.state_change_us))
        };
        for failed in manager.units.iter().filter(|unit| is_failed(unit) || keeps_ending(unit)) {
            let name = failed.name.as_str();
            // The dead portal's finding has its unit.
            if name == PORTAL_UNIT && is_portal_dead || self.is_of_sound(name) {
                continue;
            }
            if let Some(why) = sandbox::excuse(of_user, failed) {
                out.exclude(name, why);
                continue;
            }
            if is_earlier(failed) {
                let summary = format!("{name} of {} had failed before the switch", self.user);
                warns.push(Finding::new(name, summary).evidence("unit", text::clean(name)));
                continue;
            }
            let how = match (is_failed(failed), exited_with_success(failed)) {
                (true, _) => format!("failed: {}", unit::describe_failure(facts, failed)),
                (false, is_success) => {
                    let times = text::times(failed.service.as_ref().map_or(0, |service| service.restarts));
                    let how = if is_success { "exits successfully" } else { "fails" };
                    let ending = unit::describe_ending(facts, failed).filter(|_| !is_success);
                    let ending = ending.map_or_else(String::new, |ending| format!(": {ending}"));
                    format!("{how} and is restarted again and again ({times}){ending}")
                }
            };
            let finding = Finding::new(name, format!("{name} of {} {how}", self.user));
            let finding = finding.detail(unit::tail(facts, name, 8)).evidence("unit", text::clean(name));
            let hint = display_hint(facts, manager, name).or_else(|| advice::of(of_user, failed));
            fails.push(match hint {
                Some(hint) => finding.hint(hint),
                None => finding,
            });
        }
        (fails, warns)
    }

    /// Services that failed after the user's systemd was read, while the session was used: nixbox may be why, and what
    /// failed before is told already, as is what one of `told` names.
    fn failed_later(&self, of_user: &JudgeContext<'_>, manager: &UserManager, told: &[Finding]) -> Vec<Finding> {
        let Some(state) = self.state else { return Vec::new() };
        let ends = [Meaning::FailedWithResult, Meaning::Deactivated, Meaning::Started];
        let is_later = |line: &&JournalLine| line.at_us > state.now_us && line.identifier == "systemd";
        let mut last: BTreeMap<&str, &JournalLine> = BTreeMap::new();
        // Not PID 1's, who speaks of other units.
        for line in self.facts.journal.iter().filter(|line| line.pid != 1).filter(is_later) {
            if ends.iter().any(|meaning| meaning.is_in(&line.message)) {
                last.insert(&line.unit, line);
            }
        }
        let is_told = |name: &str| {
            let unit = manager.unit(name);
            unit.is_some_and(|unit| is_failed(unit) || keeps_ending(unit) || sandbox::excuse(of_user, unit).is_some())
                || told.iter().any(|finding| finding.item == name || finding.summary.contains(name))
        };
        let failed = last.into_iter().filter(|(_, line)| Meaning::FailedWithResult.is_in(&line.message));
        let names = failed.map(|(name, _)| name).filter(|name| name.ends_with(".service") && !is_told(name));
        let finding = |name: &str| {
            let why = unit::error_line(&of_user.now.journal, name).map(|line| format!(": {}", line.trim()));
            let why = why.unwrap_or_default();
            let summary = format!("{name} of {} failed while the desktop was used{why}", self.user);
            Finding::new(name, summary).detail(unit::tail(of_user.now, name, 6)).evidence("unit", text::clean(name))
        };
        names.map(finding).collect()
    }

    /// Services that run on without a program that they start: a unit's PATH has little, and not the user's own.
    fn without_programs(&self, facts: &Facts) -> Vec<Finding> {
        let running = facts.units.iter().filter(|unit| is_active(unit) && unit.name.ends_with(".service"));
        let finding = |unit: &Unit| {
            let lines = unit::own_lines(&facts.journal, &unit.name);
            let line = lines.into_iter().map(first_line).find(|line| Meaning::CommandMissing.is_in(line))?;
            let summary = format!("{} of {} does not find a program that it starts: {line}", unit.name, self.user);
            let finding = Finding::new(&unit.name, text::clean(&summary)).evidence("unit", text::clean(&unit.name));
            Some(match advice::not_in_path(unit, line) {
                Some(hint) => finding.hint(hint),
                None => finding,
            })
        };
        running.filter_map(finding).collect()
    }

    /// The session target is not active, and these units wait for it.
    fn target_not_active(&self, waiting: &str, fails: &mut Vec<Finding>, out: &mut Judgement) {
        if self.lacks_session_wrapper() {
            let why = "the session is started by the display manager's wrapper, which is not known here";
            let witness = Witness::state(format!("{SESSION_TARGET} is not active"));
            let why = format!("{why}: {waiting} were not started");
            out.exclude(SESSION_TARGET, Excuse::new(Lack::Choice, witness, why));
        } else if self.server.is_some() {
            let name = self.drawing_name();
            let summary = format!("{SESSION_TARGET} is not active while {name} runs: {waiting} were not started");
            let hint = "enable the compositor's NixOS module (programs.NAME.enable), or wayland.windowManager.NAME.systemd.enable in home-manager: they start it";
            fails.insert(0, Finding::new(SESSION_TARGET, summary).hint(hint));
        }
    }

    /// Whether this is a unit of a lingering user that the checks of sound judge.
    fn is_of_sound(&self, unit: &str) -> bool {
        self.state.is_none() && self.view.plan.audio().is_some() && crate::audio::units().any(|name| name == unit)
    }

    /// Whether nixbox started a session by its own command alone that the display manager starts by its wrapper: each
    /// does so with X sessions, some with all.
    fn lacks_session_wrapper(&self) -> bool {
        let is_wrapped = self.is_without_wayland() || wraps_wayland(self.expected);
        self.server.is_some()
            && is_wrapped
            && matches!(self.facts.login, LoginMethod::LoggedIn { .. })
            && self.expected.session_wrapper.is_none()
    }

    /// Crashes of anything but the compositor, until the session was probed: later ones may be of what that opened.
    fn other_crashes(&self) -> Vec<Finding> {
        let compositors = self.compositor_crashes();
        let until = self.state.map_or(0, |state| state.now_us);
        let others = self.crashes.iter().filter(|crash| !compositors.contains(crash) && crash.at_us <= until);
        others
            .map(|crash| {
                Finding::new(&crash.program, format!("{} crashed ({})", text::clean(&crash.program), crash.how()))
            })
            .collect()
    }

    /// A session target that was active before the session began: what belongs to it was not started for this one.
    fn stale_target(&self, manager: &UserManager) -> Option<Finding> {
        let session = self.own_sessions.iter().max_by_key(|session| session.since_us)?;
        let is_session_target = |name: &str| {
            name == SESSION_TARGET || name.ends_with("-session.target") && !name.contains("wayland-session")
        };
        let is_stale = |unit: &&Unit| unit.active_enter_us > 0 && unit.active_enter_us + STALE_US < session.since_us;
        let stale = manager
            .units
            .iter()
            .filter(|unit| is_session_target(&unit.name) && is_active(unit))
            .filter(is_stale)
            .min_by_key(|unit| unit.active_enter_us)?;
        if self.ended_sessions().is_empty() {
            return None;
        }
        let summary = format!(
            "{} stayed active when an earlier session of {} ended: starting it again did nothing, and its units still belong to the earlier session",
            stale.name, self.user
        );
        Some(
            Finding::new(&stale.name, summary)
                .evidence("active_since_s", stale.active_enter_us as f64 / 1e6)
                .evidence("session_since_s", session.since_us as f64 / 1e6)
                .hint(format!("run systemctl --user stop {} when the compositor exits", stale.name)),
        )
    }
}

/// A user's systemd is to that user's units what PID 1 is to the system's.
fn as_of_pid_1(line: JournalLine) -> JournalLine {
    if line.identifier == "systemd" { JournalLine { pid: 1, ..line } } else { line }
}

/// What to do about a unit that found no display.
fn display_hint(facts: &Facts, manager: &UserManager, name: &str) -> Option<String> {
    let is_without = |line: &str| lacks_display(line) && !line.to_ascii_lowercase().contains("broken pipe");
    let lacks = unit::own_lines(&facts.journal, name).into_iter().any(|line| is_without(first_line(line)));
    let mut variables = ["WAYLAND_DISPLAY", "DISPLAY"].into_iter();
    let display = variables.find(|variable| manager.variable(variable).is_some());
    // Qt says which of its plug-ins it was.
    let asks_for_x = unit::own_lines(&facts.journal, name).into_iter().any(|line| line.message.contains("qt.qpa.xcb"));
    lacks.then(|| match display {
        Some(_) if asks_for_x && manager.variable("DISPLAY").is_none() => {
            "it asks for an X server (QT_QPA_PLATFORM=xcb), and there is none: leave that out, or enable XWayland".to_owned()
        }
        Some(variable) => format!(
            "{variable} is there by now: a unit that needs it is wanted by {SESSION_TARGET}, and has After={SESSION_TARGET}"
        ),
        None => "the user's systemd has neither WAYLAND_DISPLAY nor DISPLAY: the compositor hands them over when it has \
                 started (dbus-update-activation-environment --systemd WAYLAND_DISPLAY DISPLAY XDG_CURRENT_DESKTOP)"
            .to_owned(),
    })
}
