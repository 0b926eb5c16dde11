//! `desktop.compositor`: the compositor runs, serves a display, and was not restarted.

use super::view::{DesktopView, Subject};
use super::{Assessment, RESTARTS};
use crate::desktop::compositors;
use crate::desktop::facts::{DesktopProcess, DesktopState, LoginMethod, WaitEnd};
use crate::desktop::history::Crash;
use crate::desktop::journal::{Meaning, first_line};
use crate::judging::journal::Means as _;
use crate::judging::{Finding, text};

const DRIVER_HINT: &str = "the compositor comes from another nixpkgs than the graphics drivers: inputs.NAME.inputs.nixpkgs.follows = \"nixpkgs\";";
const NO_DRIVER_HINT: &str = "no graphics driver is installed: hardware.graphics.enable = true;";

/// What to do about a driver that cannot be loaded, as this line says.
fn driver_hint(line: &str) -> &'static str {
    if Meaning::NoDriver.is_in(line) { NO_DRIVER_HINT } else { DRIVER_HINT }
}

impl DesktopView<'_> {
    pub(super) fn compositor(&self) -> Assessment {
        let Some(state) = self.state.filter(|_| !matches!(self.facts.login, LoginMethod::NotLoggedIn(_))) else {
            return Assessment::Skip("no user was logged in".to_owned());
        };
        if let Some(unknown) = self.unknown(&["processes"]) {
            return unknown;
        }
        if let (Some(refusal), None) = (&self.refusal, self.server) {
            return Assessment::refused(refusal);
        }
        let crashes = self.compositor_crashes();
        if let Some(last) = crashes.last() {
            return self.crashed(last, &crashes);
        }
        let is_compositor = |process: &&DesktopProcess| {
            process.uid == self.uid() && (process.has_card || compositors::of_program(&process.name).is_some())
        };
        if let Some(stopped) = state.processes.iter().filter(is_compositor).find(|process| process.is_stopped()) {
            let summary = format!("{} is stopped (SIGSTOP): the picture is frozen", text::clean(&stopped.name));
            return self.compositor_fails(&stopped.name, summary);
        }
        match self.server {
            Some(server) => self.drawing_compositor(state, server),
            None => self.no_display(state, state.processes.iter().find(is_compositor)),
        }
    }

    fn compositor_fails(&self, item: &str, summary: String) -> Assessment {
        Assessment::fail(Finding::new(item, summary).detail(self.evidence()))
    }

    fn crashed(&self, last: &Crash, crashes: &[&Crash]) -> Assessment {
        let count = crashes.iter().filter(|crash| crash.program == last.program).count();
        let is_back = self.server.is_some_and(|server| server.since_us > last.at_us);
        let after = if is_back { ", and was restarted" } else { "" };
        let times = text::times(count as u32);
        let driver = self.driver_fault().filter(|_| self.server.is_none());
        let why = driver.as_ref().map(|line| format!(": {line}")).unwrap_or_default();
        let summary = format!("{} crashed {times} ({}){after}{why}", text::clean(&last.program), last.how());
        let finding = Finding::new(&last.program, summary)
            .detail(std::iter::once(text::clean(&last.line)).chain(self.evidence()))
            .evidence("signal", last.how())
            .evidence("times", count);
        Assessment::fail(match driver {
            Some(line) => finding.hint(driver_hint(&line)),
            None => finding,
        })
    }

    /// There is no display: `process` may be what should serve it.
    fn no_display(&self, state: &DesktopState, process: Option<&DesktopProcess>) -> Assessment {
        let user = text::clean(self.user);
        let why = || self.why(Subject::Session);
        if self.own_sessions.is_empty() {
            let ended = self.ended_sessions().len();
            if ended < RESTARTS {
                // The session's check reports why.
                return Assessment::Skip("there is no session".to_owned());
            }
            let summary = format!("the session of {user} ended {ended} times: what it starts keeps exiting{}", why());
            return self.compositor_fails("compositor", summary);
        }
        let waited = text::seconds(state.waited);
        let is_busy = state.end == WaitEnd::Deadline;
        match process {
            Some(process) if is_busy => {
                Assessment::Unknown(format!("{} is still starting after {waited}", text::clean(&process.name)))
            }
            Some(process) => {
                let name = text::clean(&process.name);
                let summary = format!("{name} runs but serves no display, {waited} after the boot{}", why());
                let finding = Finding::new(&process.name, summary).detail(self.evidence());
                let driver = self.graphics_driver().map(text::clean);
                // A fault of this card's driver is none of another card's: the run is repeated with one (run/other_card).
                Assessment::fail(match driver {
                    Some(driver) => finding.evidence("drm_driver", driver),
                    None => finding,
                })
            }
            None if is_busy => {
                Assessment::Unknown(format!("nothing draws in the session of {user} yet, and the guest is still busy"))
            }
            None => self.compositor_fails(
                "compositor",
                format!("no compositor or X server was found in the session of {user}{}", why()),
            ),
        }
    }

    fn drawing_compositor(&self, state: &DesktopState, server: &DesktopProcess) -> Assessment {
        let name = self.drawing_name();
        let ended = self.ended_sessions().len();
        if ended >= RESTARTS {
            let (user, why) = (text::clean(self.user), self.why(Subject::Session));
            let summary = format!("{name} runs, after {ended} earlier sessions of {user} ended{why}");
            return self.compositor_fails(&server.name, summary);
        }
        if let Some(refusal) = &self.refusal {
            return Assessment::refused(refusal);
        }
        let lived = text::micros(state.now_us.saturating_sub(server.since_us));
        let display = server.wayland_display().map(str::to_owned).or_else(|| server.x11_display());
        let display = text::clean(&display.unwrap_or_default());
        let earlier = match ended {
            0 => String::new(),
            count => format!("; an earlier session ended {}", text::times(count as u32)),
        };
        let pass = format!("{name} has been drawing on {display} for {lived}{earlier}");
        let driver = self.driver_fault().map(|line| {
            Finding::new("driver", format!("a graphics driver cannot be loaded while {name} runs: {line}"))
                .hint(driver_hint(&line))
        });
        let configuration = self.own_line(Meaning::ConfigurationError).map(|line| {
            Finding::new(&server.name, format!("{name} rejects part of its configuration: {}", line.trim()))
        });
        let program = self.own_line(Meaning::ProgramMissing).map(|line| {
            Finding::new("program", format!("the session starts a program that is not installed: {}", line.trim()))
                .hint("name it by its path in the store, or install it for the user who starts it")
        });
        let warns = driver.into_iter().chain(configuration).chain(program).collect();
        Assessment::Findings { fails: Vec::new(), warns, pass }
    }

    /// The kernel's driver of the graphics card.
    fn graphics_driver(&self) -> Option<&str> {
        let kernel = self.view.now.journal.iter().filter(|line| line.transport == "kernel");
        let mut initialized = kernel.filter_map(|line| first_line(line).strip_prefix("[drm] Initialized "));
        initialized.next_back()?.split_ascii_whitespace().next()
    }

    /// The first line that means this of the session's own, in the journal or on its terminal.
    fn own_line(&self, meaning: Meaning) -> Option<String> {
        self.own_lines().find(|line| meaning.is_in(line)).map(text::clean)
    }
}
