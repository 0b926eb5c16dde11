//! Everything that the desktop's judges look at.

use std::collections::BTreeSet;

use super::Assessment;
use crate::desktop::compositors::{self, Compositor, program_of};
use crate::desktop::display_managers::{self, wraps_wayland};
use crate::desktop::display_server::{display_server, drawing_process};
use crate::desktop::facts::{DesktopFacts, DesktopProcess, DesktopState, InputDevice, InputReaction};
use crate::desktop::history::{Crash, SessionRecord, crashes, session_records};
use crate::desktop::journal::{self, Meaning, explains_desktop, first_line, follows_from_error, names_missing};
use crate::desktop::session_end::{EndedSession, OuterEvent, terminal_of};
use crate::guest::facts::{Account, JournalLine};
use crate::guest::logind::Session;
use crate::judging::journal::Means as _;
use crate::judging::unit::is_active;
use crate::judging::{JudgeContext, last_failure, text};
use crate::model::{Excuse, Lack, Witness};
use crate::nix::expectations::ExpectedDesktop;

/// Most journal lines that show a cause.
const LINES: usize = 8;

/// A desktop under judgement.
pub(super) struct DesktopView<'a> {
    pub(super) view: &'a JudgeContext<'a>,
    pub(super) expected: &'a ExpectedDesktop,
    pub(super) facts: &'a DesktopFacts,
    /// The user's name; empty where nobody is logged in.
    pub(super) user: &'a str,
    pub(super) account: Option<&'a Account>,
    /// The session's state, where the user exists.
    pub(super) state: Option<&'a DesktopState>,
    /// The user's sessions on a seat.
    pub(super) own_sessions: Vec<&'a Session>,
    /// What serves the display, and what draws on it.
    pub(super) server: Option<&'a DesktopProcess>,
    pub(super) drawing: Option<(&'a DesktopProcess, Option<&'static Compositor>)>,
    pub(super) crashes: Vec<Crash>,
    pub(super) records: Vec<SessionRecord>,
    /// Why the session's compositor does not draw here.
    pub(super) refusal: Option<Refusal>,
}

/// Of what it is asked why it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    Greeter,
    Session,
}

/// Why what should draw does not: the VM lacks what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The line by which it says so.
    line: String,
    /// The path of the graphics card that it was told to take, where only that is not there.
    card: Option<String>,
}

impl Refusal {
    fn needs_gpu(line: &str) -> Self {
        Self { line: text::clean(line), card: None }
    }

    /// What it needs, and the line that says so: `a GPU: failed to initialize any GPU`.
    pub(super) fn needs(&self) -> String {
        format!("{}: {}", self.card.as_deref().unwrap_or("a GPU"), self.line)
    }

    /// Why this, `its compositor`, says nothing against the configuration.
    pub(super) fn excuse(&self, what: &str) -> Excuse {
        let Self { line, card } = self;
        let needs = card.as_deref().unwrap_or("a GPU");
        let why = format!("{what} needs {needs}, which the VM does not have: {line}");
        let witness = match card {
            Some(path) => Witness::Device { path: path.clone() },
            None => Witness::line(line.as_str()),
        };
        Excuse::new(Lack::Hardware, witness, why)
    }
}

/// Whether a path names a graphics card that may be on the real machine. `WLR_DRM_DEVICES` is a list, which is split at
/// the colons in a path below `by-path`, and a node to render with alone shows nothing.
fn names_card(path: &str) -> bool {
    path.strip_prefix("/dev/dri/").is_some_and(|name| match name.strip_prefix("by-path/") {
        Some(name) => name.ends_with("-card"),
        None => !name.is_empty() && !name.contains('/') && !name.starts_with("renderD"),
    })
}

/// Whether a line says that a graphics driver cannot be loaded, which no GPU would mend.
fn is_driver_fault(line: &str) -> bool {
    Meaning::DriverNotLoaded.is_in(line) || Meaning::NoDriver.is_in(line)
}

/// The first of these lines that says that a compositor does not draw without a GPU.
fn refusal<'a>(mut lines: impl Iterator<Item = &'a str>) -> Option<Refusal> {
    lines.find(|line| Meaning::NeedsGpu.is_in(line)).map(Refusal::needs_gpu)
}

/// The same, unless one of these lines says that a driver cannot be loaded: a GPU would not mend that.
fn refusal_of_sound_driver<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Refusal> {
    let lines: Vec<&str> = lines.collect();
    let is_faulty = lines.iter().any(|line| is_driver_fault(line));
    refusal(lines.into_iter()).filter(|_| !is_faulty)
}

/// Whether the session itself wrote a line of the journal, or the compositor's unit where it is one of the user's.
fn is_of_session(line: &JournalLine) -> bool {
    let is_own = !line.unit.ends_with(".service") || compositors::process_of_unit(&line.unit).is_some();
    is_own && line.transport != "kernel" && !Meaning::CoreDump.is_in(first_line(line))
}

/// The last error of these lines, where it is only that a way to draw does not work.
fn last_renderer_failure<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Refusal> {
    let last = lines.filter(|line| journal::reports_error(line) || Meaning::RendererFailed.is_in(line)).last()?;
    Meaning::RendererFailed.is_in(last).then(|| Refusal::needs_gpu(last))
}

impl<'a> DesktopView<'a> {
    pub(super) fn new(view: &'a JudgeContext<'a>, expected: &'a ExpectedDesktop, facts: &'a DesktopFacts) -> Self {
        let user = facts.user.as_deref().unwrap_or_default();
        let account = view.now.accounts.iter().find(|account| account.name == user);
        let state = facts.session.as_ref().filter(|_| account.is_some());
        let own_sessions = state
            .into_iter()
            .flat_map(|state| &state.sessions)
            .filter(|session| session.is_seated() && account.is_some_and(|account| account.uid == session.uid))
            .collect();
        let processes = state.map_or(&[][..], |state| &state.processes);
        let uid = account.map_or(u32::MAX, |account| account.uid);
        let mut desktop = Self {
            view,
            expected,
            facts,
            user,
            account,
            state,
            own_sessions,
            server: display_server(processes, uid),
            drawing: drawing_process(processes, uid),
            crashes: crashes(facts.journal.iter().chain(&view.now.journal)),
            records: session_records(&facts.journal, &view.now.journal),
            refusal: None,
        };
        // A compositor that draws did not refuse to.
        desktop.refusal = if desktop.server.is_none() { desktop.refuses() } else { desktop.runs_without_a_screen() };
        desktop
    }

    /// Why the session's compositor does not draw here.
    fn refuses(&self) -> Option<Refusal> {
        if self.driver_fault().is_some() {
            return None;
        }
        if let Some(refusal) = refusal(self.facts.lines()).or_else(|| self.missing_card(self.own_lines())) {
            return Some(refusal);
        }
        // One that ran into a fault got past that.
        let faults = ["SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE"];
        let is_fault = |crash: &&Crash| crash.signal.as_deref().is_some_and(|signal| faults.contains(&signal));
        if self.compositor_crashes().iter().any(is_fault) {
            return None;
        }
        // So did one that has started what its configuration starts, whatever ended it then: not where the display
        // manager's wrapper starts that before it.
        let has_begun = |line: &JournalLine| {
            line.unit == crate::desktop::SESSION_TARGET && Meaning::TargetReached.is_in(&line.message)
        };
        if !wraps_wayland(self.expected) && self.facts.journal.iter().any(has_begun) {
            return None;
        }
        // And what somebody else ended says nothing of a GPU: it may well have been drawing.
        if self.last_ended().is_some_and(|session| session.cause(&self.outer_events(&session)).is_some()) {
            return None;
        }
        last_renderer_failure(self.session_lines()).or_else(|| {
            let own = self.terminals();
            let shown = self.facts.terminals.iter().filter(|(vt, _)| own.contains(vt)).map(|(_, lines)| lines);
            let mut outputs = shown.chain([&self.facts.rerun_output]);
            outputs.find_map(|lines| last_renderer_failure(lines.iter().map(String::as_str)))
        })
    }

    /// The journal's lines of the session itself, and of the compositor's unit where it is one of the user's.
    fn session_lines(&self) -> impl Iterator<Item = &'a str> {
        self.facts.journal.iter().filter(|line| is_of_session(line)).map(first_line)
    }

    /// The same and what is on the terminals, without what is the login screen's.
    pub(super) fn own_lines(&self) -> impl Iterator<Item = &'a str> {
        let journal = self.journal_about(Subject::Session).filter(|line| is_of_session(line)).map(first_line);
        let terminals = self.facts.terminals.iter().filter(|(vt, _)| !self.is_greeters(**vt));
        let shown = terminals.flat_map(|(_, lines)| lines).chain(&self.facts.rerun_output).map(String::as_str);
        journal.chain(shown)
    }

    /// The line by which a graphics driver of the session says that it cannot be loaded. It could not with a GPU either.
    pub(super) fn driver_fault(&self) -> Option<String> {
        self.own_lines().find(|line| is_driver_fault(line)).map(text::clean)
    }

    /// Why what wrote these lines does not draw, where the guest has none of the cards that it was told to take, and
    /// another one: without any card, something else is wrong.
    fn missing_card<'b>(&self, lines: impl Iterator<Item = &'b str>) -> Option<Refusal> {
        let has_another = self.facts.cards.iter().any(|path| path.starts_with("/dev/dri/card"));
        let lines: Vec<&str> = if has_another { lines.collect() } else { Vec::new() };
        let paths =
            || lines.iter().filter_map(|line| Some((line, Meaning::CardNotOpened.parts_of(line)?.get(1)?.as_str())));
        let is_missing = |path: &str| names_card(path) && !self.facts.cards.iter().any(|card| card == path);
        let is_last = lines.iter().any(|line| Meaning::NoCardOpened.is_in(line));
        let (line, path) = paths().next().filter(|_| is_last && paths().all(|(_, path)| is_missing(path)))?;
        Some(Refusal { line: text::clean(line), card: Some(path.to_owned()) })
    }

    /// As [`Self::refuses`], of a compositor that stays and serves its display without a screen to show it on (niri).
    fn runs_without_a_screen(&self) -> Option<Refusal> {
        let picture = self.state?.picture.as_ref()?;
        let is_bare = picture.is_console || picture.is_flat;
        let has_window = self.facts.window.as_ref().is_some_and(|window| window.appeared);
        if !is_bare || has_window || self.reacts_to_pointer() {
            return None;
        }
        self.session_refusal()
    }

    /// Why what a display manager starts does not draw here.
    pub(super) fn session_refusal(&self) -> Option<Refusal> {
        let lines = || self.session_lines().chain(self.terminal_lines(Subject::Session));
        refusal_of_sound_driver(lines()).or_else(|| self.missing_card(lines()))
    }

    /// The same of what should draw the login screen.
    pub(super) fn greeter_refusal(&self) -> Option<Refusal> {
        self.facts.greeter.as_ref()?;
        let lines = || self.lines_about(Subject::Greeter);
        refusal_of_sound_driver(lines()).or_else(|| self.missing_card(lines()))
    }

    /// The lines about it, in the journal and on the terminals.
    pub(super) fn lines_about(&self, subject: Subject) -> impl Iterator<Item = &'a str> {
        let journal = self.journal_about(subject).filter(|line| line.transport != "kernel");
        journal.map(first_line).chain(self.terminal_lines(subject))
    }

    /// The journal's lines without those about something else: the user's session has nothing to do with the login
    /// screen, nor the other way round; nor has what comes after it.
    fn journal_about(&self, subject: Subject) -> impl Iterator<Item = &'a JournalLine> {
        let until = match (subject, &self.facts.greeter) {
            (Subject::Greeter, Some(state)) if state.now_us > 0 => state.now_us,
            _ => u64::MAX,
        };
        let is_of_other = move |unit: &str| {
            let record = self.records.iter().find(|record| record.scope == unit);
            record.is_some_and(|record| record.is_greeter() != (subject == Subject::Greeter))
        };
        let is_greeters_log =
            move |line: &JournalLine| subject == Subject::Session && line.identifier.ends_with("-greeter.log");
        let journal = self.facts.journal.iter();
        journal.filter(move |line| line.at_us <= until && !is_of_other(&line.unit) && !is_greeters_log(line))
    }

    /// The lines on the terminals that may be about it.
    fn terminal_lines(&self, subject: Subject) -> impl Iterator<Item = &'a str> {
        let terminals = self.facts.terminals.iter();
        let terminals = terminals.filter(move |(vt, _)| subject == Subject::Session || self.is_greeters(**vt));
        terminals.flat_map(|(_, lines)| lines).map(String::as_str)
    }

    /// Whether the login screen was on this terminal, or the one that was shown then.
    fn is_greeters(&self, vt: u32) -> bool {
        let greeter = self.facts.greeter.as_ref();
        greeter.is_some_and(|state| state.vt == vt || state.sessions.iter().any(|session| session.vt == vt))
    }

    pub(super) fn reaction(&self, input: InputDevice) -> Option<&'a InputReaction> {
        self.facts.reactions.iter().find(|reaction| reaction.input == input)
    }

    /// Whether the screen changed when the pointer was moved.
    pub(super) fn reacts_to_pointer(&self) -> bool {
        let mut reactions = self.facts.reactions.iter();
        reactions.any(|reaction| reaction.input == InputDevice::Pointer && reaction.share > 0.0)
    }

    /// `: LINE` with the line that tells why something is not there, or nothing: the display manager's and the users', not
    /// the kernel's, or one on a terminal. The last line counts, and before it one that names what is missing; what only
    /// follows from an error counts where there is nothing else.
    pub(super) fn why(&self, subject: Subject) -> String {
        let journal = self.journal_about(subject).filter(|line| explains_desktop(line)).map(first_line);
        let rerun = (subject == Subject::Session).then_some(&self.facts.rerun_output).into_iter().flatten();
        let terminals = self.terminal_lines(subject).chain(rerun.map(String::as_str));
        // A compositor that draws has found another way.
        let draws = subject == Subject::Greeter || self.server.is_some();
        let counts = |line: &&str| !(draws && Meaning::RendererFailed.is_in(line));
        let shown = terminals.filter(|line| journal::reports_trouble(line));
        let lines: Vec<&str> = shown.chain(journal).filter(counts).collect();
        let causes: Vec<&str> = lines.iter().copied().filter(|line| !follows_from_error(line)).collect();
        let lines = if causes.is_empty() { lines } else { causes };
        let missing = lines.iter().rev().find(|line| names_missing(line)).copied();
        // What was started once more ended with its own words, the innermost first.
        let own = if subject == Subject::Session { self.facts.rerun_output.as_slice() } else { &[] };
        let innermost = last_failure(own).map_or(&[][..], |failure| &own[failure]);
        let innermost = innermost.iter().map(String::as_str).find(|line| lines.contains(line));
        missing
            .or(innermost)
            .or(lines.last().copied())
            .map(|line| format!(": {}", text::clean(line)))
            .unwrap_or_default()
    }

    /// The last lines of the journal that show a cause.
    pub(super) fn evidence(&self) -> Vec<String> {
        let shows =
            |line: &&JournalLine| journal::reports_error(&line.message) || line.unit == "systemd-logind.service";
        let mut lines: Vec<String> =
            self.facts.journal.iter().rev().filter(shows).take(LINES).map(text::journal).collect();
        lines.reverse();
        lines
    }

    /// Why one of these facts could not be gathered.
    pub(super) fn gap(&self, names: &[&str]) -> Option<String> {
        let (name, why) = names.iter().find_map(|name| Some((name, self.facts.gaps.get(*name)?)))?;
        Some(text::could_not_read(name, why))
    }

    /// Unknown where one of these facts could not be gathered.
    pub(super) fn unknown(&self, names: &[&str]) -> Option<Assessment> {
        self.gap(names).map(Assessment::Unknown)
    }

    /// Crashes of the compositor, the X server, or what greetd starts.
    pub(super) fn compositor_crashes(&self) -> Vec<&Crash> {
        let command = self.expected.command.as_deref().map(program_of).unwrap_or_default();
        // The kernel keeps 15 bytes of a name.
        let command: String = command.chars().take(15).collect();
        let is_compositors = |crash: &&Crash| {
            compositors::of_program(&crash.program).is_some()
                || matches!(crash.program.as_str(), "Xorg" | "X")
                || !command.is_empty() && crash.program == command
        };
        // What was started once more crashed for nixbox.
        let was_rerun = !self.facts.rerun_output.is_empty();
        let until = self.state.map(|state| state.now_us).filter(|now_us| was_rerun && *now_us > 0).unwrap_or(u64::MAX);
        self.crashes.iter().filter(is_compositors).filter(|crash| crash.at_us <= until).collect()
    }

    /// The user's sessions that have ended.
    pub(super) fn ended_sessions(&self) -> Vec<&SessionRecord> {
        self.records.iter().filter(|record| record.user == self.user && record.ended_us.is_some()).collect()
    }

    /// The last of them.
    pub(super) fn last_ended(&self) -> Option<EndedSession<'_>> {
        let record = self.ended_sessions().pop()?;
        Some(EndedSession { record, uid: self.uid(), vts: self.terminals() })
    }

    /// What happened to a session from outside of it.
    pub(super) fn outer_events(&self, session: &EndedSession<'_>) -> Vec<OuterEvent<'a>> {
        session.events(self.facts.journal.iter().chain(&self.view.now.journal))
    }

    /// The virtual terminals that the user's session, or the login screen before it, was on.
    pub(super) fn terminals(&self) -> BTreeSet<u32> {
        let states = || self.facts.greeter.iter().chain(self.state);
        let seated = states().flat_map(|state| &state.sessions).filter(|session| session.is_seated());
        let shown = states().map(|state| state.vt);
        seated.map(|session| session.vt).chain(shown).filter(|vt| *vt > 0).collect()
    }

    /// Whether the user's sessions begin and end with this getty's unit: it is on a terminal of theirs, or logs the user
    /// in by itself.
    pub(super) fn is_users_getty(&self, unit: &str) -> bool {
        let by_itself = self.view.plan.expectations.autologin_user.as_deref() == Some(self.user);
        let logs_in = by_itself && self.expected.display_manager.is_none();
        let is_theirs = terminal_of(unit).is_some_and(|vt| logs_in || self.terminals().contains(&vt));
        is_theirs && self.ended_sessions().len() > 1
    }

    /// The name of what draws the session.
    pub(super) fn drawing_name(&self) -> String {
        self.drawing.map_or_else(|| "nothing".to_owned(), |(process, _)| text::clean(&process.name))
    }

    pub(super) fn uid(&self) -> u32 {
        self.account.map_or(u32::MAX, |account| account.uid)
    }

    /// Whether the session's display is X11, or none is there.
    pub(super) fn is_without_wayland(&self) -> bool {
        self.server.is_none_or(|server| server.wayland_display().is_none())
    }

    pub(super) fn display_manager_unit(&self) -> String {
        let active = display_managers::units().find(|name| self.view.unit(name).is_some_and(is_active));
        active.map_or_else(|| self.expected.display_manager.clone().unwrap_or_default(), str::to_owned)
    }
}
