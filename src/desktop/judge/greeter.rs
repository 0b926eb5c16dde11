//! `desktop.greeter`: the login screen.

use super::view::{DesktopView, Subject};
use super::{Assessment, RESTARTS};
use crate::desktop::display_managers::{greets_without_session, has_text_greeter};
use crate::desktop::expected::autologin_user;
use crate::desktop::facts::{DesktopState, WaitEnd};
use crate::desktop::journal::Meaning;
use crate::guest::logind::Session;
use crate::judging::journal::Means as _;
use crate::judging::{Finding, text};

impl DesktopView<'_> {
    pub(super) fn greeter(&self) -> Assessment {
        if self.expected.display_manager.is_none() {
            return Assessment::Skip("no display manager is expected".to_owned());
        }
        if let Some(user) = autologin_user(&self.view.plan.expectations).filter(|_| self.account.is_some()) {
            let user = text::clean(user);
            return Assessment::Skip(format!("no login screen is expected: {user} is logged in automatically"));
        }
        // Where the user of an automatic login is missing, this is what is shown instead.
        let Some(state) = self.facts.greeter.as_ref().or(self.facts.session.as_ref()) else {
            return Assessment::Unknown("the login screen was not probed".to_owned());
        };
        if let Some(unknown) = self.unknown(&["logind", "processes"]) {
            return unknown;
        }
        let greeters: Vec<&Session> =
            state.sessions.iter().filter(|session| session.is_greeter() && session.is_seated()).collect();
        self.broken_greeter(state, &greeters).unwrap_or_else(|| self.greeter_picture(state, &greeters))
    }

    fn greeter_fails(&self, summary: String) -> Assessment {
        let finding = Finding::new("greeter", summary).detail(self.evidence());
        Assessment::fail(finding.evidence("unit", self.display_manager_unit()))
    }

    /// A login screen that is not drawn: not tested where it needs a GPU, or another one.
    fn greeter_not_drawn(&self, summary: &str) -> Assessment {
        match self.greeter_refusal() {
            Some(refusal) => Assessment::refused(&refusal),
            None => self.greeter_fails(format!("{summary}{}", self.why(Subject::Greeter))),
        }
    }

    /// What is wrong with it, whatever the picture shows.
    fn broken_greeter(&self, state: &DesktopState, greeters: &[&Session]) -> Option<Assessment> {
        let unit = self.display_manager_unit();
        // gnome-session-failed, of which the kernel keeps 15 bytes.
        if state.processes.iter().any(|process| process.name.starts_with("gnome-session-f")) {
            let why = self.why(Subject::Greeter);
            return Some(
                self.greeter_fails(format!("the login screen is GNOME's \"Oh no! Something has gone wrong\"{why}")),
            );
        }
        let is_over = |at: Option<u64>| at.is_some_and(|at| at <= state.now_us);
        let ended = self.records.iter().filter(|record| record.is_greeter() && is_over(record.ended_us)).count();
        if ended >= RESTARTS {
            return Some(
                self.greeter_not_drawn(&format!("the greeter of {unit} exited {ended} times without a login")),
            );
        }
        if greeters.is_empty() && !greets_without_session(self.expected) {
            if state.end == WaitEnd::Deadline {
                let waited = text::seconds(state.waited);
                return Some(Assessment::Unknown(format!(
                    "no login screen after {waited}, and the guest is still busy"
                )));
            }
            return Some(self.greeter_not_drawn(&format!("{unit} is active, but there is no login screen")));
        }
        // greetd, for one, may still hold a session whose program is gone.
        if let Some(stopped) = state.processes.iter().find(|process| process.has_card && process.is_stopped()) {
            let name = text::clean(&stopped.name);
            return Some(self.greeter_fails(format!("{name} of the login screen is stopped (SIGSTOP)")));
        }
        let hidden = greeters.first().filter(|_| greeters.iter().all(|session| !session.active))?;
        let what = state.picture.as_ref().filter(|picture| picture.is_console).map_or("", |_| ", a console,");
        let summary = format!("the login screen is on vt {}, but vt {}{what} is shown", hidden.vt, state.vt);
        Some(self.greeter_fails(summary))
    }

    /// A login screen on an X server, where Wayland is asked for.
    fn greeter_on_x(&self, state: &DesktopState, unit: &str) -> Option<Finding> {
        let server = state.processes.iter().find(|process| process.is_x_server())?;
        (self.expected.greeter_on_wayland == Some(true)).then(|| {
            let name = text::clean(&server.name);
            Finding::new("greeter", format!("{unit} shows its login screen on an X server ({name}), expected: Wayland"))
                .hint("other settings of the display manager, or files in /etc, have the last word")
        })
    }

    fn greeter_picture(&self, state: &DesktopState, greeters: &[&Session]) -> Assessment {
        let unit = self.display_manager_unit();
        let Some(picture) = &state.picture else {
            return Assessment::Unknown("no picture of the screen could be taken".to_owned());
        };
        let waited = text::seconds(state.waited);
        let is_graphical = state.processes.iter().any(|process| {
            let has_x11 = process.x11_display().is_some();
            let draws = process.has_card || has_x11 || process.wayland_display().is_some();
            draws && (greeters.iter().any(|greeter| greeter.uid == process.uid) || process.uid == 0 && has_x11)
        });
        if !is_graphical {
            let is_tty = greeters.iter().any(|greeter| greeter.kind == "tty");
            if has_text_greeter(self.expected) || is_tty && picture.is_console && !picture.is_flat {
                return Assessment::pass(format!("{unit} shows a text login on vt {}", state.vt));
            }
            if state.end == WaitEnd::Deadline {
                return Assessment::Unknown(format!("the login screen is still starting after {waited}"));
            }
            return self.greeter_not_drawn(&format!("{unit} has a greeter session, but nothing draws in it"));
        }
        if picture.is_console {
            let vt = state.vt;
            return self.greeter_not_drawn(&format!("a console on vt {vt} is shown instead of the login screen"));
        }
        if picture.is_flat {
            if state.end == WaitEnd::Deadline {
                return Assessment::Unknown(format!(
                    "the screen is one flat colour after {waited}, and the guest is still busy"
                ));
            }
            let colour = super::picture::colour(picture.dominant_colour);
            return self.greeter_not_drawn(&format!("the login screen is one flat colour ({colour})"));
        }
        let user = greeters.first().map_or(String::new(), |greeter| format!(", as {}", text::clean(&greeter.user)));
        let pass = format!("{unit} shows a login screen on vt {}{user}, {waited} after the boot", state.vt);
        let unthemed = self.lines_about(Subject::Greeter).find(|line| Meaning::ThemeFallback.is_in(line));
        let warn = unthemed.map(|line| {
            Finding::new("theme", format!("{unit} shows a login screen without its theme: {}", text::clean(line)))
                .hint("logging in works; the theme is not installed, or is for another version of Qt")
        });
        let warns = self.greeter_on_x(state, &unit).into_iter().chain(warn).collect();
        Assessment::Findings { fails: Vec::new(), warns, pass }
    }
}
