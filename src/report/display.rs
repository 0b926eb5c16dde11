//! Progress on stderr while a run goes on: a live line on a terminal, plain lines elsewhere, nothing where asked.
//!
//! It only consumes [`Event`]s, and hands back what of them belongs into the report ([`Recorded`]).

use std::io::{self, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::github;
use super::text::{Paint, Style, cut};
use crate::event::Event;
use crate::model::timeouts::report::{PROGRESS_INTERVAL, STILL_INTERVAL};
use crate::model::{CheckResult, Phase, PhaseTime, Recorded, Status};
use crate::text::{escape_line, seconds};

/// Most notes kept and shown: what is noted may depend on a flake or a guest.
const NOTES: usize = 100;

/// How progress is shown.
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
    /// Live on a terminal that can move its cursor, plain elsewhere, silent where asked.
    pub fn of_stderr(quiet: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        match (quiet, console::Term::stderr().is_term() && !dumb) {
            (true, _) => Self::Silent,
            (false, true) => Self::Live,
            (false, false) => Self::Plain,
        }
    }
}

impl Recorded {
    /// True when a display has something new to show.
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

/// A display at work.
#[derive(Debug)]
pub struct Display {
    task: JoinHandle<Recorded>,
    stop: oneshot::Sender<()>,
}

impl Display {
    /// Starts to show what arrives. Must be called within a tokio runtime.
    pub fn start(events: mpsc::UnboundedReceiver<Event>, mode: Mode) -> Self {
        let (stop, stopped) = oneshot::channel();
        let painter = match mode {
            Mode::Live => Painter::Live(Live::new(ProgressDrawTarget::stderr(), Style::of_stderr())),
            Mode::Plain => Painter::Plain(Plain::new(io::stderr(), Instant::now())),
            Mode::Silent => Painter::Silent,
        };
        Self { task: tokio::spawn(consume(events, painter, stopped)), stop }
    }

    /// Hands what arrives to `show` and records it. Must be called within a tokio runtime.
    pub fn handing(events: mpsc::UnboundedReceiver<Event>, show: impl FnMut(&Event) + Send + 'static) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { task: tokio::spawn(consume(events, Painter::Handing(Box::new(show)), stopped)), stop }
    }

    /// Shows what has been sent so far, clears the live line and hands back what was recorded. What is sent later is
    /// lost, and a sender that is still held somewhere does not hold this up.
    pub async fn finish(self) -> Recorded {
        // An error means that it has ended already, as all senders are gone.
        let _ended = self.stop.send(());
        self.task.await.unwrap_or_default()
    }
}

async fn consume(
    mut events: mpsc::UnboundedReceiver<Event>,
    mut painter: Painter,
    mut stopped: oneshot::Receiver<()>,
) -> Recorded {
    let mut recorded = Recorded::default();
    let mut show = |painter: &mut Painter, event: Event| {
        if recorded.take(&event) {
            painter.event(&event, Instant::now());
        }
    };
    loop {
        let wake = painter.wake();
        tokio::select! {
            // Events first: what was sent before the stop is shown.
            biased;
            event = events.recv() => match event {
                Some(event) => show(&mut painter, event),
                None => break,
            },
            _ = &mut stopped => {
                // Bounded by what is queued now; a sender that goes on sending cannot keep us here.
                for _ in 0..events.len() {
                    match events.try_recv() {
                        Ok(event) => show(&mut painter, event),
                        Err(_) => break,
                    }
                }
                break;
            }
            () = sleep_until(wake) => painter.still(Instant::now()),
        }
    }
    painter.end();
    recorded
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}

enum Painter {
    Live(Live),
    Plain(Plain<io::Stderr>),
    Silent,
    /// Somebody else shows it.
    Handing(Box<dyn FnMut(&Event) + Send>),
}

impl Painter {
    fn event(&mut self, event: &Event, now: Instant) {
        match self {
            Painter::Live(live) => live.event(event),
            Painter::Plain(plain) => plain.event(event, now),
            Painter::Silent => {}
            Painter::Handing(show) => show(event),
        }
    }

    fn wake(&self) -> Option<Instant> {
        match self {
            Painter::Plain(plain) => plain.wake(),
            Painter::Live(_) | Painter::Silent | Painter::Handing(_) => None,
        }
    }

    fn still(&mut self, now: Instant) {
        if let Painter::Plain(plain) = self {
            plain.still(now);
        }
    }

    fn end(&mut self) {
        if let Painter::Live(live) = self {
            live.bar.finish_and_clear();
        }
    }
}

/// What the current phase is at.
#[derive(Debug, Default)]
pub(super) struct Now {
    doing: Option<String>,
    progress: Option<(u64, u64, &'static str)>,
}

impl Now {
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
    Some((paint, format!("{word}: {}: {}", check.id, escape_line(&check.summary))))
}

/// Draws on a terminal: one line for each phase that ended, and a live one below.
#[derive(Debug)]
struct Live {
    bar: ProgressBar,
    style: Style,
    now: Now,
}

impl Live {
    fn new(target: ProgressDrawTarget, style: Style) -> Self {
        let bar = ProgressBar::with_draw_target(None, target);
        // The template is a constant of ours; were it wrong, indicatif's own spinner would do.
        if let Ok(template) = ProgressStyle::with_template("{spinner} {prefix:<9} {elapsed:>4} {wide_msg}") {
            bar.set_style(template);
        }
        Self { bar, style, now: Now::default() }
    }

    fn event(&mut self, event: &Event) {
        self.now.take(event);
        match event {
            Event::Started(phase) => {
                self.bar.set_prefix(phase.label());
                self.bar.set_message("");
                self.bar.reset_elapsed();
                self.bar.enable_steady_tick(PROGRESS_INTERVAL);
            }
            Event::Ended(phase, took) => self.bar.println(ended_line(*phase, *took, self.style)),
            Event::Doing(_) | Event::Progress { .. } => self.bar.set_message(self.now.line()),
            Event::Note(note) => self.print(Paint::Doubt, &format!("note: {}", escape_line(note))),
            Event::Check(check) => {
                if let Some((paint, line)) = check_line(check) {
                    self.print(paint, &line);
                }
            }
        }
    }

    fn print(&self, paint: Paint, line: &str) {
        self.bar.println(self.style.paint(paint, &cut(line, self.style.width.saturating_sub(1))));
    }
}

fn ended_line(phase: Phase, took: Duration, style: Style) -> String {
    style.paint(Paint::Faint, &format!("  {:<9} {}", phase.label(), seconds(took.as_secs_f64())))
}

/// Writes whole lines: when a phase begins and ends, notes, checks that did not pass, and every [`STILL_INTERVAL`] what is
/// still going on.
#[derive(Debug)]
struct Plain<W> {
    out: W,
    /// Set when nobody reads any more.
    gone: bool,
    now: Now,
    phase: Option<(Phase, Instant)>,
    last: Instant,
}

impl<W: Write> Plain<W> {
    fn new(out: W, now: Instant) -> Self {
        Self { out, gone: false, now: Now::default(), phase: None, last: now }
    }

    fn event(&mut self, event: &Event, now: Instant) {
        self.now.take(event);
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
            // Told every now and then, by `still`.
            Event::Doing(_) | Event::Progress { .. } => {}
        }
    }

    /// When `still` is due: only while a phase is going on.
    fn wake(&self) -> Option<Instant> {
        self.phase.filter(|_| !self.gone).map(|_| self.last + STILL_INTERVAL)
    }

    fn still(&mut self, now: Instant) {
        let Some((phase, since)) = self.phase else { return };
        let took = seconds(now.saturating_duration_since(since).as_secs_f64());
        let doing = self.now.line();
        let doing = if doing.is_empty() { String::new() } else { format!(": {doing}") };
        self.line(&format!("still at {} after {took}{doing}", phase.label()), now);
    }

    fn line(&mut self, text: &str, now: Instant) {
        self.last = now;
        if !self.gone {
            // One write a line, so that lines of parallel runs do not mix.
            let mut line = format!("nixbox: {text}\n");
            if github::is_read_for_commands() {
                line = github::inert_for_people(&line);
            }
            self.gone = self.out.write_all(line.as_bytes()).and_then(|()| self.out.flush()).is_err();
        }
    }
}

#[cfg(test)]
mod tests {
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
    fn plain_lines_tell_the_story_without_a_carriage_return() {
        let start = Instant::now();
        let mut plain = Plain::new(Vec::new(), start);
        for (second, event) in story() {
            let now = start + Duration::from_secs(second);
            while let Some(wake) = plain.wake().filter(|wake| *wake < now) {
                plain.still(wake);
            }
            plain.event(&event, now);
        }
        assert_eq!(plain.wake(), None, "between phases there is nothing to wait for");
        let expected = "\
nixbox: build …
nixbox: still at build after 10 s: building foo-1.2 (3 of 10 built)
nixbox: note: the tree is dirty
nixbox: still at build after 22 s: building bar\\u{1b}[2J (3 of 10 built)
nixbox: build took 30 s
nixbox: check …
nixbox: fail: services.failed-units: nginx.service\\u{d}\\u{1b}[A failed
nixbox: check took 0.4 s
";
        assert_eq!(String::from_utf8(plain.out).unwrap(), expected);
    }

    #[test]
    fn a_broken_pipe_ends_quietly() {
        struct Broken(u32);
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                self.0 += 1;
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut plain = Plain::new(Broken(0), Instant::now());
        for (_, event) in story() {
            plain.event(&event, Instant::now());
        }
        assert_eq!(plain.out.0, 1, "written to once, then left alone");
        assert_eq!(plain.wake(), None);
    }

    #[test]
    fn live_keeps_one_line_a_phase_and_clears_the_last() {
        let term = InMemoryTerm::new(20, 60);
        let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
        let mut live = Live::new(target, Style { colour: false, width: term.width().into() });
        for (_, event) in story() {
            live.event(&event);
        }
        live.bar.finish_and_clear();
        let expected = "\
note: the tree is dirty
  build     30 s
fail: services.failed-units: nginx.service\\u{d}\\u{1b}[A fa…
  check     0.4 s";
        assert_eq!(term.contents(), expected);
    }

    #[tokio::test]
    async fn what_was_sent_is_recorded_even_when_a_sender_lives_on() {
        let (events, receiver) = crate::event::Events::channel();
        let display = Display::start(receiver, Mode::Silent);
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
