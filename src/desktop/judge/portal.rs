//! The desktop portal, and the X display for X11 programs: a part of `desktop.units`.

use super::view::DesktopView;
use crate::checks::{Finding, text, unit};
use crate::desktop::journal::{Meaning, first_line, means, reports_error};
use crate::guest::facts::Facts;
use crate::guest::user_units::{PORTAL, PORTAL_SCREEN, PORTAL_UNIT, PortalProbe, UserManager};

impl DesktopView<'_> {
    /// A portal that does not answer.
    pub(super) fn dead_portal(&self, manager: &UserManager, facts: &Facts) -> Option<Finding> {
        let portal = self.facts.portal.as_ref().filter(|portal| !portal.answered)?;
        let state = manager.unit(PORTAL_UNIT).and_then(|unit| match unit.active_state.as_str() {
            "failed" => Some(format!(": {} failed: {}", unit.name, unit::describe_failure(facts, unit))),
            // A request starts it, and this may be the state before that.
            "inactive" => None,
            state => Some(format!(" ({} is {state})", unit.name)),
        });
        let why = match (&portal.error, portal.known) {
            (_, false) => "nothing owns that name on the session bus, and no service can be activated for it",
            (Some(error), true) => error.as_str(),
            (None, true) => "no answer",
        };
        let summary = format!("{PORTAL} does not answer: {}{}", text::clean(why), state.unwrap_or_default());
        Some(
            Finding::new("portal", summary)
                .detail(unit::tail(facts, PORTAL_UNIT, 6))
                .hint("each application waits for it for up to 25 s before it shows a window")
                .time_limit(portal.known.then(|| self.view.since_boot())),
        )
    }

    fn answering_portal(&self) -> Option<&PortalProbe> {
        self.facts.portal.as_ref().filter(|portal| portal.answered)
    }

    /// A portal that answers once it has waited in vain for one of its backends: applications wait as long.
    pub(super) fn slow_portal(&self) -> Option<Finding> {
        let took = text::seconds(self.answering_portal()?.seconds);
        let mut lines = self.facts.journal.iter().filter(|line| line.unit == PORTAL_UNIT);
        let line = lines.find(|line| means(Meaning::BackendTimeout, &line.message))?;
        let summary = format!("{PORTAL} answers only after {took}: {}", text::clean(first_line(line)));
        let hint = "each application that asks it opens its first window that much later";
        Some(Finding::new("portal", summary).hint(hint))
    }

    /// A portal that answers without a backend for what applications ask most. Which are needed is not expected; an X
    /// session shares its screen without one.
    pub(super) fn incomplete_portal(&self, manager: &UserManager) -> Option<Finding> {
        let is_needed = |part: &&str| !(self.is_without_wayland() && *part == PORTAL_SCREEN);
        let lacks: Vec<&str> = self.answering_portal()?.lacks.iter().map(String::as_str).filter(is_needed).collect();
        let desktop = text::clean(manager.variable("XDG_CURRENT_DESKTOP").unwrap_or("not set"));
        (!lacks.is_empty()).then(|| {
            let parts = text::list(&lacks);
            let summary = format!("{PORTAL} answers, but no backend serves {parts} (XDG_CURRENT_DESKTOP is {desktop})");
            Finding::new("portal", summary)
                .evidence("current_desktop", desktop)
                .hint("xdg.portal.extraPortals adds backends, xdg.portal.config chooses them for a desktop")
        })
    }

    /// `programs.xwayland` without an X display.
    pub(super) fn missing_xwayland(&self) -> Option<Finding> {
        let (server, state) = (self.server?, self.state?);
        if self.expected.xwayland != Some(true) || self.is_without_wayland() {
            return None;
        }
        if state.processes.iter().any(|process| process.x11_display().is_some() && process.uid == server.uid) {
            return None;
        }
        let line = self.all_lines().find(|line| line.contains("Xwayland") && reports_error(line));
        let line = line.map(|line| format!(": {}", text::clean(line))).unwrap_or_default();
        Some(Finding::new("xwayland", format!("programs.xwayland is enabled, but there is no X display{line}")))
    }
}
