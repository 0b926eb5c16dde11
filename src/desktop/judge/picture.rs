//! `desktop.picture`: the screen shows a steady picture that reacts to input.

use super::Assessment;
use super::view::{DesktopView, Subject};
use crate::desktop::facts::{DesktopState, InputDevice, LoginMethod, TestWindow, WaitEnd};
use crate::desktop::journal::{lacks_display, reports_error};
use crate::desktop::lockers;
use crate::judging::{Finding, text};
use crate::signal::PictureAnalysis;

/// A first window that takes longer, with hardware virtualisation, is worth a warning, in seconds: D-Bus waits 25.
const SLOW_WINDOW: f64 = 10.0;
/// What changes by typing is at least as wide, in pixels: a cursor that blinks is narrower.
const TYPED_WIDTH: u32 = 24;

impl DesktopView<'_> {
    pub(super) fn picture(&self) -> Assessment {
        let no_session = || Assessment::Skip("there is no session".to_owned());
        let Some(state) = self.state.filter(|_| !matches!(self.facts.login, LoginMethod::NotLoggedIn(_))) else {
            return no_session();
        };
        let Some(picture) = &state.picture else {
            return Assessment::Unknown("no picture of the screen could be taken".to_owned());
        };
        if self.drawing.is_none() || self.own_sessions.is_empty() {
            return no_session();
        }
        if let Some(locker) = self.locker() {
            return Assessment::Skip(format!("not tested: {locker} locks the screen"));
        }
        if let Some(assessment) = self.broken_picture(state, picture) {
            return assessment;
        }
        match self.window_warnings() {
            Ok(warns) => Assessment::Findings { fails: Vec::new(), warns, pass: self.picture_line(state, picture) },
            Err(summary) => self.picture_fails(picture, summary),
        }
    }

    /// The program that locks the screen, where no window shows for it.
    pub(super) fn locker(&self) -> Option<&'static str> {
        let state = self.state.filter(|_| self.open_window().is_none())?;
        lockers::locking(&state.processes, self.uid())
    }

    fn picture_fails(&self, picture: &PictureAnalysis, summary: String) -> Assessment {
        Assessment::fail(
            Finding::new("screen", summary)
                .detail(self.evidence())
                .evidence("colours", picture.distinct_colours)
                .evidence("dominant_share", picture.dominant_share),
        )
    }

    /// A window that appeared.
    fn open_window(&self) -> Option<&TestWindow> {
        self.facts.window.as_ref().filter(|window| window.appeared)
    }

    /// A window that did not appear, though its program runs.
    fn missing_window(&self) -> Option<&TestWindow> {
        self.facts.window.as_ref().filter(|window| !window.appeared && window.exit.is_none())
    }

    /// A window that did not appear, since its program failed.
    fn failed_window(&self) -> Option<&TestWindow> {
        let failed = |window: &&TestWindow| !window.appeared && window.exit.is_some_and(|code| code != 0);
        self.facts.window.as_ref().filter(failed)
    }

    fn shows_typing(&self) -> bool {
        self.reaction(InputDevice::Key).is_some_and(|reaction| reaction.width >= TYPED_WIDTH)
    }

    /// What is wrong with the picture itself.
    fn broken_picture(&self, state: &DesktopState, picture: &PictureAnalysis) -> Option<Assessment> {
        let name = self.drawing_name();
        let fail = |summary: String| Some(self.picture_fails(picture, summary));
        let reacts = self.reacts_to_pointer();
        let is_bare = (picture.is_console || picture.is_flat) && self.open_window().is_none();
        if is_bare && state.end == WaitEnd::Deadline {
            let what = if picture.is_console { "a console is shown" } else { "the screen is one flat colour" };
            let waited = text::seconds(state.waited);
            return Some(Assessment::Unknown(format!("{what} after {waited}, and the guest is still busy")));
        }
        if is_bare && picture.is_console {
            let vt = self.own_sessions.first().map_or(0, |session| session.vt);
            return fail(format!("a console is shown on vt {} while {name} runs on vt {vt}", state.vt));
        }
        if !is_bare {
            let window = self.missing_window().filter(|_| !reacts)?;
            return fail(format!(
                "the picture does not react to the pointer, and no window of {} appears within {}",
                window.program,
                text::seconds(window.seconds)
            ));
        }
        let colour = colour(picture.dominant_colour);
        if let Some(window) = self.missing_window() {
            let why = self.why(Subject::Session);
            let program = &window.program;
            return fail(format!(
                "one flat colour ({colour}) while {name} runs, and no window of {program} appears either{why}"
            ));
        }
        let paints = self.drawing.and_then(|(_, known)| known).is_some_and(|known| known.paints);
        let failed = self.failed_window();
        if reacts || !paints && failed.is_none() {
            return None;
        }
        let why = failed.map_or_else(|| self.why(Subject::Session), |window| format!("; {}", opens_none(window)));
        fail(format!("one flat colour ({colour}) while {name} runs, which does not react to the pointer{why}"))
    }

    /// What the window and the input show.
    ///
    /// # Errors
    /// The failure, where the picture does not react at all.
    fn window_warnings(&self) -> Result<Vec<Finding>, String> {
        let reacts = self.reacts_to_pointer();
        let mut warns = Vec::new();
        if let Some(window) = self.failed_window() {
            if !reacts && window.stderr.iter().any(|line| lacks_display(line)) {
                return Err(opens_none(window));
            }
            warns.push(Finding::new(&window.program, opens_none(window)));
        }
        if let Some(window) = self.missing_window() {
            let (program, limit) = (&window.program, text::seconds(window.seconds));
            warns.push(Finding::new(program, format!("no window of {program} appeared within {limit}")));
        }
        if let Some(window) = self.open_window() {
            let program = &window.program;
            if window.is_terminal && !self.shows_typing() && self.reaction(InputDevice::Key).is_some() {
                let typed = format!("text typed into {program} does not appear");
                if !reacts {
                    return Err(format!("the picture does not react to pointer or key: {typed}"));
                }
                warns.push(Finding::new("key", typed));
            }
            if window.seconds > SLOW_WINDOW * self.view.context.scale() {
                let took = text::seconds(window.seconds);
                warns.push(Finding::new(program, format!("the first window ({program}) took {took} to appear")));
            }
        }
        if self.facts.window.is_none() && self.reaction(InputDevice::Pointer).is_some() && !reacts {
            let summary =
                "moving the pointer changed nothing, and no program is installed whose window could be opened";
            warns.push(Finding::new("pointer", summary));
        }
        Ok(warns)
    }

    fn picture_line(&self, state: &DesktopState, picture: &PictureAnalysis) -> String {
        let mut parts = vec![format!("{} by {}, {} colours", picture.width, picture.height, picture.distinct_colours)];
        if picture.is_flat {
            parts.push("plain background".to_owned());
        }
        match state.end {
            WaitEnd::Steady => parts.push(format!("steady after {}", text::seconds(state.waited))),
            // Still, and of one colour.
            WaitEnd::Idle => {}
            WaitEnd::Loop | WaitEnd::Deadline => parts.push("never quite still".to_owned()),
        }
        if self.reacts_to_pointer() {
            parts.push("shows the pointer".to_owned());
        }
        if let Some(window) = self.open_window() {
            let typing = if self.shows_typing() { " and shows what is typed" } else { "" };
            let seconds = text::seconds(window.seconds);
            parts.push(format!("a window of {} opens in {seconds}{typing}", window.program));
        }
        parts.join(", ")
    }
}

/// Why a program opened no window.
fn opens_none(window: &TestWindow) -> String {
    let line = window.stderr.iter().rev().find(|line| reports_error(line)).or(window.stderr.last());
    let line = line.map(|line| format!(": {}", text::clean(line))).unwrap_or_default();
    format!("{} opens no window: exit code {}{line}", window.program, window.exit.unwrap_or_default())
}

/// `black`, or `#rrggbb`.
pub(super) fn colour([red, green, blue]: [u8; 3]) -> String {
    if red.max(green).max(blue) < 16 { "black".to_owned() } else { format!("#{red:02x}{green:02x}{blue:02x}") }
}
