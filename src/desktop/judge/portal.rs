//! The desktop portal, and the X display for X11 programs: a part of `desktop.units`.

use std::sync::LazyLock;

use regex::Regex;

use super::view::DesktopView;
use crate::desktop::journal::{Meaning, first_line, reports_error, reports_trouble};
use crate::guest::facts::Facts;
use crate::guest::user_units::{PORTAL, PORTAL_SCREEN, PORTAL_UNIT, PortalProbe, UserManager};
use crate::judging::journal::Means as _;
use crate::judging::{Finding, text, unit};

/// A portal that takes longer with hardware virtualisation is worth a warning, in seconds: it waits 25 for each backend.
const SLOW: f64 = 10.0;
/// The backend that a portal starts: `org.freedesktop.impl.portal.desktop.wlr`.
static BACKEND: LazyLock<Regex> = LazyLock::new(|| text::pattern(r"org\.freedesktop\.impl\.portal\.desktop\.(\w+)"));

impl DesktopView<'_> {
    /// A portal that does not answer.
    pub(super) fn dead_portal(&self, manager: &UserManager, facts: &Facts) -> Option<Finding> {
        let portal = self.facts.portal.as_ref().filter(|portal| !portal.answered)?;
        let why = match (&portal.error, portal.known) {
            (_, false) => "nothing owns that name on the session bus, and no service can be activated for it",
            (Some(error), true) => error.as_str(),
            (None, true) => "no answer",
        };
        let why = match manager.unit(PORTAL_UNIT).map(|unit| (unit, unit.active_state.as_str())) {
            Some((unit, "failed")) => {
                let failed = format!("{PORTAL_UNIT} failed: {}", unit::describe_failure(facts, unit));
                // Once is enough where the error is that it failed.
                if why.contains(PORTAL_UNIT) { failed } else { format!("{}: {failed}", text::clean(why)) }
            }
            // A request starts it, and this may be the state before that.
            None | Some((_, "inactive")) => text::clean(why),
            Some((_, state)) => format!("{} ({PORTAL_UNIT} is {state})", text::clean(why)),
        };
        let summary = format!("{PORTAL} does not answer: {why}");
        Some(
            Finding::new("portal", summary)
                .detail(unit::tail(facts, PORTAL_UNIT, 6))
                .hint(
                    "each application waits for it for up to 25 s before it shows a window; journalctl --user -u \
                     xdg-desktop-portal in the guest (--keep) says why",
                )
                .time_limit(portal.known.then(|| self.view.since_boot())),
        )
    }

    fn answering_portal(&self) -> Option<&PortalProbe> {
        self.facts.portal.as_ref().filter(|portal| portal.answered)
    }

    /// A portal that answers once it has waited in vain for one of its backends: applications wait as long.
    pub(super) fn slow_portal(&self) -> Option<Finding> {
        let seconds = self.answering_portal()?.seconds;
        let mut lines = self.facts.journal.iter().filter(|line| line.unit == PORTAL_UNIT);
        let waited = lines.find(|line| Meaning::BackendTimeout.is_in(&line.message)).map(first_line);
        if waited.is_none() && (seconds <= SLOW || self.view.context.accelerator.is_emulated()) {
            return None;
        }
        let backend = waited.and_then(|line| self.backend_trouble(line)).map(|why| format!("; {why}"));
        let waited = waited.map(|line| format!(": {}", text::clean(line)));
        let (took, waited, backend) = (text::seconds(seconds), waited.unwrap_or_default(), backend.unwrap_or_default());
        let summary = format!("{PORTAL} answers only after {took}{waited}{backend}");
        let hint = "each application that asks it opens its first window that much later";
        Some(Finding::new("portal", summary).hint(hint))
    }

    /// Why the backend that the portal waited for, as this line of the portal's says, does not serve it: the first error
    /// that it wrote, what follows comes of it.
    fn backend_trouble(&self, line: &str) -> Option<String> {
        let name = BACKEND.captures(line)?.get(1)?.as_str();
        let unit = format!("{}-{name}.service", PORTAL_UNIT.strip_suffix(".service")?);
        let own = unit::own_lines(&self.facts.journal, &unit);
        if let Some(error) = own.into_iter().map(first_line).find(|line| reports_trouble(line)) {
            return Some(format!("{unit}: {}", text::clean(error)));
        }
        let unit = self.facts.manager.as_ref()?.unit(&unit)?;
        Some(format!("{} is {}", unit.name, unit.active_state))
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
        // The first of a chain says why: "[xwayland/sockets.c:100] /tmp/.X11-unix not owned by root or us".
        let is_about_it = |line: &&str| line.to_ascii_lowercase().contains("xwayland") && reports_error(line);
        let line = self.facts.lines().find(is_about_it);
        let line = line.map(|line| format!(": {}", text::clean(line))).unwrap_or_default();
        Some(Finding::new("xwayland", format!("programs.xwayland is enabled, but there is no X display{line}")))
    }
}
