//! Progress on stderr during a run: a live line on a terminal, plain lines elsewhere, nothing with `--quiet`.
//!
//! It only consumes [`Event`]s, and returns those that belong into the report ([`Recorded`]).

use std::io::{self, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::github;
use super::text::{Paint, TextLayout, cut};
use crate::event::Event;
use crate::model::timeouts::report::{PROGRESS_INTERVAL, STILL_INTERVAL};
use crate::model::{CheckResult, Phase, PhaseTime, Recorded, Status};
use crate::text::{escape_line, seconds};

/// Most notes kept and shown: what is noted may depend on a flake or a guest.
const NOTES: usize = 100;

/// How progress is displayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A line that is drawn again and again, for people at a terminal.
    Live,
    /// Whole lines only, for logs.
    Plain,
    /// Nothing at all.
    Silent,
}

impl Mode {
    /// Live on a terminal that can move its cursor, plain elsewhere, silent with `--quiet`.
    pub fn of_stderr(quiet: bool) -> Self {
        match (quiet, console::Term::stderr().is_term() && !console::is_dumb()) {
            (true, _) => Self::Silent,
            (false, true) => Self::Live,
            (false, false) => Self::Plain,
        }
    }
}

impl Recorded {
    /// True when it is new.
    fn take(&mut self, event: &Event) -> bool {
        match event {
            Event::Ended(phase, took) => self.phases.push(PhaseTime { phase: *phase, seconds: took.as_secs_f64() }),
            Event::Note(note) => {
                if self.notes.len() >= NOTES || self.notes.contains(note) {
                    return false;
                }
                self.notes.push(note.clone());
            }
            Event::Check(check) => self.checks.push(check.clone()),
            Event::Started(_) | Event::Doing(_) | Event::Progress { .. } => {}
        }
        true
    }
}

/// A display in a task of its own.
#[derive(Debug)]
pub struct ProgressDisplay {
    task: JoinHandle<Recorded>,
    stop: oneshot::Sender<()>,
}

impl ProgressDisplay {
    /// Displays events as they arrive. Must be called within a tokio runtime.
    pub fn start(events: mpsc::UnboundedReceiver<Event>, mode: Mode) -> Self {
        let (stop, stopped) = oneshot::channel();
        let renderer = match mode {
            Mode::Live => Renderer::Live(LiveLine::new(ProgressDrawTarget::stderr(), TextLayout::of_stderr())),
            Mode::Plain => Renderer::Plain(PlainLog::new(io::stderr(), Instant::now())),
            Mode::Silent => Renderer::Silent,
        };
        Self { task: tokio::spawn(consume(events, renderer, stopped)), stop }
    }

    /// Hands events to `show` and records them. Must be called within a tokio runtime.
    pub fn handing(events: mpsc::UnboundedReceiver<Event>, show: impl FnMut(&Event) + Send + 'static) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { task: tokio::spawn(consume(events, Renderer::Handing(Box::new(show)), stopped)), stop }
    }

    /// Displays what has been sent so far, clears the live line and returns what was recorded. What is sent later is
    /// lost, and a sender that is still held somewhere does not delay this.
    pub async fn finish(self) -> Recorded {
        // An error means that it has ended already, as all senders are gone.
        let _ended = self.stop.send(());
        self.task.await.unwrap_or_default()
    }
}

async fn consume(
    mut events: mpsc::UnboundedReceiver<Event>,
    mut renderer: Renderer,
    mut stopped: oneshot::Receiver<()>,
) -> Recorded {
    let mut recorded = Recorded::default();
    let mut show = |renderer: &mut Renderer, event: Event| {
        if recorded.take(&event) {
            renderer.event(&event, Instant::now());
        }
    };
    loop {
        let wake = renderer.wake();
        tokio::select! {
            // Events first: what was sent before the stop is shown.
            biased;
            event = events.recv() => match event {
                Some(event) => show(&mut renderer, event),
                None => break,
            },
            _ = &mut stopped => {
                // Bounded by what is queued now; a sender that goes on sending cannot keep us here.
                for _ in 0..events.len() {
                    match events.try_recv() {
                        Ok(event) => show(&mut renderer, event),
                        Err(_) => break,
                    }
                }
                break;
            }
            () = sleep_until(wake) => renderer.still(Instant::now()),
        }
    }
    renderer.end();
    recorded
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}

enum Renderer {
    Live(LiveLine),
    Plain(PlainLog<io::Stderr>),
    Silent,
    /// The caller displays it.
    Handing(Box<dyn FnMut(&Event) + Send>),
}

impl Renderer {
    fn event(&mut self, event: &Event, now: Instant) {
        match self {
            Renderer::Live(live) => live.event(event),
            Renderer::Plain(plain) => plain.event(event, now),
            Renderer::Silent => {}
            Renderer::Handing(show) => show(event),
        }
    }

    fn wake(&self) -> Option<Instant> {
        match self {
            Renderer::Plain(plain) => plain.wake(),
            Renderer::Live(_) | Renderer::Silent | Renderer::Handing(_) => None,
        }
    }

    fn still(&mut self, now: Instant) {
        if let Renderer::Plain(plain) = self {
            plain.still(now);
        }
    }

    fn end(&mut self) {
        if let Renderer::Live(live) = self {
            live.bar.finish_and_clear();
        }
    }
}

/// What the current phase is doing.
#[derive(Debug, Default)]
pub(super) struct PhaseProgress {
    doing: Option<String>,
    progress: Option<(u64, u64, &'static str)>,
}

impl PhaseProgress {
    pub(super) fn take(&mut self, event: &Event) {
        match event {
            Event::Started(_) | Event::Ended(..) => *self = Self::default(),
            Event::Doing(text) => self.doing = Some(cut(&escape_line(text), 200)),
            Event::Progress { done, expected, unit } => self.progress = Some((*done, *expected, unit)),
            Event::Note(_) | Event::Check(_) => {}
        }
    }

    /// `building foo-1.2 (3 of 10 built)`.
    pub(super) fn line(&self) -> String {
        let progress = match self.progress {
            Some((done, expected, unit)) if expected > 0 => format!("({done} of {expected} {unit})"),
            Some((done, _, unit)) if done > 0 => format!("({done} {unit})"),
            _ => String::new(),
        };
        match &self.doing {
            Some(doing) if progress.is_empty() => doing.clone(),
            Some(doing) => format!("{doing} {progress}"),
            None => progress,
        }
    }
}

/// A line for a check that is worth one while the run goes on.
fn check_line(check: &CheckResult) -> Option<(Paint, String)> {
    let (paint, word) = match check.status {
        Status::Fail if check.allowed.is_some() => (Paint::Doubt, "allowed"),
        Status::Fail => (Paint::Bad, "fail"),
        Status::Unknown => (Paint::Doubt, "could not tell"),
        Status::Warn => (Paint::Doubt, "warning"),
        Status::Pass | Status::Skip => return None,
    };
    Some((paint, format!("{word}: {}: {}", check.label(), escape_line(&check.summary))))
}

/// Draws on a terminal: one line for each phase that ended, and a live one below.
struct LiveLine {
    bar: ProgressBar,
    layout: TextLayout,
    progress: PhaseProgress,
}

impl LiveLine {
    fn new(target: ProgressDrawTarget, layout: TextLayout) -> Self {
        let bar = ProgressBar::with_draw_target(None, target);
        // The template is a constant of ours; were it wrong, indicatif's own spinner would do.
        if let Ok(template) = ProgressStyle::with_template("{spinner} {prefix:<9} {elapsed:>4} {wide_msg}") {
            bar.set_style(template);
        }
        Self { bar, layout, progress: PhaseProgress::default() }
    }

    fn event(&mut self, event: &Event) {
        self.progress.take(event);
        match event {
            Event::Started(phase) => {
                self.bar.set_prefix(phase.label());
                self.bar.set_message("");
                self.bar.reset_elapsed();
                self.bar.enable_steady_tick(PROGRESS_INTERVAL);
            }
            Event::Ended(phase, took) => self.bar.println(ended_line(*phase, *took, self.layout)),
            Event::Doing(_) | Event::Progress { .. } => self.bar.set_message(self.progress.line()),
            Event::Note(note) => self.print(Paint::Doubt, &format!("note: {}", escape_line(note))),
            Event::Check(check) => {
                if let Some((paint, line)) = check_line(check) {
                    self.print(paint, &line);
                }
            }
        }
    }

    fn print(&self, paint: Paint, line: &str) {
        self.bar.println(self.layout.paint(paint, &cut(line, self.layout.width.saturating_sub(1))));
    }
}

fn ended_line(phase: Phase, took: Duration, layout: TextLayout) -> String {
    layout.paint(Paint::Faint, &format!("  {:<11} {}", phase.label(), seconds(took.as_secs_f64())))
}

/// Whole lines on a stream, until nobody reads it any more.
pub(super) struct LogLines<W>(Option<W>);

impl<W: Write> LogLines<W> {
    pub(super) fn new(out: W) -> Self {
        Self(Some(out))
    }

    pub(super) fn write(&mut self, text: &str) {
        let Some(out) = &mut self.0 else { return };
        let mut line = format!("nixbox: {text}\n");
        if github::is_read_for_commands() {
            line = github::inert_for_people(&line);
        }
        // One write a line, so that lines of parallel runs do not mix.
        if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
            self.0 = None;
        }
    }
}

/// Writes a line when a phase begins and ends, for notes, for checks that did not pass, and every [`STILL_INTERVAL`] for what is
/// still going on.
struct PlainLog<W> {
    lines: LogLines<W>,
    progress: PhaseProgress,
    phase: Option<(Phase, Instant)>,
    last: Instant,
}

impl<W: Write> PlainLog<W> {
    fn new(out: W, now: Instant) -> Self {
        Self { lines: LogLines::new(out), progress: PhaseProgress::default(), phase: None, last: now }
    }

    fn event(&mut self, event: &Event, now: Instant) {
        self.progress.take(event);
        match event {
            Event::Started(phase) => {
                self.phase = Some((*phase, now));
                self.line(&format!("{} …", phase.label()), now);
            }
            Event::Ended(phase, took) => {
                self.phase = None;
                self.line(&format!("{} took {}", phase.label(), seconds(took.as_secs_f64())), now);
            }
            Event::Note(note) => self.line(&format!("note: {}", escape_line(note)), now),
            Event::Check(check) => {
                if let Some((_, line)) = check_line(check) {
                    self.line(&line, now);
                }
            }
            // Reported every now and then, by `still`.
            Event::Doing(_) | Event::Progress { .. } => {}
        }
    }

    /// When `still` is due: only during a phase.
    fn wake(&self) -> Option<Instant> {
        self.phase.filter(|_| self.lines.0.is_some()).map(|_| self.last + STILL_INTERVAL)
    }

    fn still(&mut self, now: Instant) {
        let Some((phase, since)) = self.phase else { return };
        let took = seconds(now.saturating_duration_since(since).as_secs_f64());
        let doing = self.progress.line();
        let doing = if doing.is_empty() { String::new() } else { format!(": {doing}") };
        self.line(&format!("{}: still running after {took}{doing}", phase.label()), now);
    }

    fn line(&mut self, text: &str, now: Instant) {
        self.last = now;
        self.lines.write(text);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use indicatif::{InMemoryTerm, TermLike};

    use super::*;
    use crate::model::CheckId;

    fn story() -> Vec<(u64, Event)> {
        vec![
            (0, Event::Started(Phase::Build)),
            (1, Event::Doing("building foo-1.2".to_owned())),
            (2, Event::Progress { done: 3, expected: 10, unit: "built" }),
            (11, Event::Doing("building bar\x1b[2J\r\n".to_owned())),
            (12, Event::Note("the tree is dirty".to_owned())),
            (30, Event::Ended(Phase::Build, Duration::from_millis(30_400))),
            (31, Event::Started(Phase::Check)),
            (32, Event::Check(CheckResult::new(CheckId::BootTarget, Status::Pass, "reached"))),
            (
                33,
                Event::Check(CheckResult::new(
                    CheckId::ServicesFailedUnits,
                    Status::Fail,
                    "nginx.service\r\x1b[A failed",
                )),
            ),
            (34, Event::Ended(Phase::Check, Duration::from_millis(420))),
        ]
    }

    #[test]
    fn plain_lines_without_a_carriage_return() {
        let start = Instant::now();
        let mut plain = PlainLog::new(Vec::new(), start);
        for (second, event) in story() {
            let now = start + Duration::from_secs(second);
            while let Some(wake) = plain.wake().filter(|wake| *wake < now) {
                plain.still(wake);
            }
            plain.event(&event, now);
        }
        assert_eq!(plain.wake(), None, "between phases there is nothing to wait for");
        let text = String::from_utf8(plain.lines.0.unwrap()).unwrap();
        assert!(!text.contains('\r'));
        insta::assert_snapshot!("progress-plain", text);
    }

    #[test]
    fn a_broken_pipe_ends_quietly() {
        struct Broken<'a>(&'a Cell<u32>);
        impl Write for Broken<'_> {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                self.0.set(self.0.get() + 1);
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let writes = Cell::new(0);
        let mut plain = PlainLog::new(Broken(&writes), Instant::now());
        for (_, event) in story() {
            plain.event(&event, Instant::now());
        }
        assert_eq!(writes.get(), 1, "written to once, then left alone");
        assert_eq!(plain.wake(), None);
    }

    #[test]
    fn live_keeps_one_line_a_phase_and_clears_the_last() {
        let term = InMemoryTerm::new(20, 60);
        let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
        let mut live = LiveLine::new(target, TextLayout { colour: false, width: term.width().into() });
        for (_, event) in story() {
            live.event(&event);
        }
        live.bar.finish_and_clear();
        insta::assert_snapshot!("progress-live", term.contents());
    }

    #[tokio::test]
    async fn what_was_sent_is_recorded_even_when_a_sender_lives_on() {
        let (events, receiver) = crate::event::Events::channel();
        let display = ProgressDisplay::start(receiver, Mode::Silent);
        for (_, event) in story() {
            events.send(event);
        }
        events.note("the tree is dirty");
        let recorded = tokio::time::timeout(Duration::from_secs(5), display.finish()).await.unwrap();
        assert_eq!(recorded.phases.iter().map(|time| time.phase).collect::<Vec<_>>(), [Phase::Build, Phase::Check]);
        assert_eq!(recorded.notes, ["the tree is dirty"], "each note once");
        assert_eq!(recorded.checks.len(), 2);
        drop(events);
    }
}
