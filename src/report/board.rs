//! Progress on stderr while many hosts are tried: a live line for each that runs on a terminal, elsewhere a line when one
//! begins and one when it ends, nothing where asked.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::display::{Mode, Now};
use super::text::{Paint, Style, cut};
use crate::event::Event;
use crate::model::timeouts::report::BOARD_INTERVAL;
use crate::text::escape_line;

/// Columns of a name on a line.
const NAME: usize = 24;

/// The board. Cheap to clone: each host writes on its own line.
#[derive(Debug, Clone)]
pub struct Board(Arc<Mutex<Drawn>>);

#[derive(Debug)]
struct Drawn {
    target: Target,
    all: usize,
    ended: usize,
    running: BTreeMap<String, Line>,
}

#[derive(Debug)]
enum Target {
    Live { bars: MultiProgress, total: ProgressBar, style: Style },
    Plain(PlainOut),
    Silent,
}

/// What plain lines are written to; `None` when nobody reads any more.
struct PlainOut(Option<Box<dyn Write + Send>>);

impl std::fmt::Debug for PlainOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PlainOut")
    }
}

#[derive(Debug, Default)]
struct Line {
    bar: Option<ProgressBar>,
    now: Now,
}

impl Board {
    /// A board for this many hosts.
    pub fn new(mode: Mode, all: usize) -> Self {
        Self::on(
            match mode {
                Mode::Live => live(ProgressDrawTarget::stderr(), Style::of_stderr()),
                Mode::Plain => Target::Plain(PlainOut(Some(Box::new(io::stderr())))),
                Mode::Silent => Target::Silent,
            },
            all,
        )
    }

    fn on(target: Target, all: usize) -> Self {
        let board = Self(Arc::new(Mutex::new(Drawn { target, all, ended: 0, running: BTreeMap::new() })));
        board.drawn().total();
        board
    }

    fn drawn(&self) -> std::sync::MutexGuard<'_, Drawn> {
        // A panic while drawing costs a line, not the run.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A host's machine is being started; `attempt` counts from 1.
    pub fn begins(&self, name: &str, attempt: usize) {
        let mut drawn = self.drawn();
        let again = if attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
        if let Some(Line { bar: Some(bar), .. }) = drawn.running.remove(name) {
            bar.finish_and_clear();
        }
        let line = drawn.bar(name);
        drawn.running.insert(name.to_owned(), Line { bar: line, now: Now::default() });
        drawn.plain(&format!("{} …{again}", escape_line(name)));
    }

    /// What a host tells while it runs.
    pub fn event(&self, name: &str, event: &Event) {
        let mut drawn = self.drawn();
        let Some(line) = drawn.running.get_mut(name) else { return };
        line.now.take(event);
        let Some(bar) = &line.bar else { return };
        match event {
            Event::Started(phase) => bar.set_message(phase.label()),
            Event::Doing(_) | Event::Progress { .. } => bar.set_message(line.now.line()),
            // They are in its report; a line each for many hosts is none that anybody reads.
            Event::Note(_) | Event::Check(_) | Event::Ended(..) => {}
        }
    }

    /// A host has ended, with this to say of it.
    pub fn ends(&self, name: &str, paint: Paint, told: &str) {
        let mut drawn = self.drawn();
        drawn.ended += 1;
        if let Some(Line { bar: Some(bar), .. }) = drawn.running.remove(name) {
            bar.finish_and_clear();
        }
        let count = format!("{}/{}", drawn.ended, drawn.all);
        drawn.plain(&format!("{} {count}: {told}", escape_line(name)));
        if let Target::Live { bars, style, .. } = &drawn.target {
            let line = cut(&format!("  {}  {told}", padded(name)), style.width.saturating_sub(1));
            // Where the terminal went away there is nobody to tell.
            drop(bars.println(style.paint(paint, &line)));
        }
        drawn.total();
    }

    /// Takes the live lines away.
    pub fn clear(&self) {
        let drawn = self.drawn();
        if let Target::Live { bars, total, .. } = &drawn.target {
            total.finish_and_clear();
            drop(bars.clear());
        }
    }
}

fn padded(name: &str) -> String {
    console::pad_str(&escape_line(name), NAME, console::Alignment::Left, Some("…")).into_owned()
}

fn live(target: ProgressDrawTarget, style: Style) -> Target {
    let bars = MultiProgress::with_draw_target(target);
    let total = bars.add(ProgressBar::new_spinner());
    set_style(&total, "{prefix} {elapsed:>4} {wide_msg}");
    Target::Live { bars, total, style }
}

/// The template is a constant of ours; were it wrong, indicatif's own would do.
fn set_style(bar: &ProgressBar, template: &str) {
    if let Ok(template) = ProgressStyle::with_template(template) {
        bar.set_style(template);
    }
}

impl Drawn {
    fn bar(&self, name: &str) -> Option<ProgressBar> {
        let Target::Live { bars, total, .. } = &self.target else { return None };
        let bar = bars.insert_before(total, ProgressBar::new_spinner());
        set_style(&bar, "{spinner} {prefix} {elapsed:>4} {wide_msg}");
        bar.set_prefix(padded(name));
        bar.enable_steady_tick(BOARD_INTERVAL);
        Some(bar)
    }

    fn total(&self) {
        if let Target::Live { total, .. } = &self.target {
            total.set_prefix(format!("{} of {} hosts", self.ended, self.all));
            total.tick();
        }
    }

    fn plain(&mut self, text: &str) {
        let Target::Plain(PlainOut(out)) = &mut self.target else { return };
        // One write a line, so that lines of parallel runs do not mix.
        let line = format!("nixbox: {text}\n");
        if out.as_mut().is_some_and(|to| to.write_all(line.as_bytes()).and_then(|()| to.flush()).is_err()) {
            *out = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use indicatif::{InMemoryTerm, TermLike};

    use super::*;
    use crate::model::Phase;

    /// What was written, for the test and the board.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn story(board: &Board) {
        board.begins("web", 1);
        board.begins("laptop\u{1b}[2J", 1);
        board.event("web", &Event::Started(Phase::Boot));
        board.event("web", &Event::Doing("booting: reached basic.target".to_owned()));
        board.event("web", &Event::Note("a note".to_owned()));
        board.ends("laptop\u{1b}[2J", Paint::Good, "pass 12 s");
        board.begins("web", 2);
        board.ends("web", Paint::Bad, "fail 14 s: nginx.service failed");
        board.event("web", &Event::Doing("too late".to_owned()));
    }

    #[test]
    fn a_line_at_the_begin_and_one_at_the_end() {
        let kept = Kept::default();
        let board = Board::on(Target::Plain(PlainOut(Some(Box::new(kept.clone())))), 2);
        story(&board);
        board.clear();
        let expected = "\
nixbox: web …
nixbox: laptop\\u{1b}[2J …
nixbox: laptop\\u{1b}[2J 1/2: pass 12 s
nixbox: web …, attempt 2
nixbox: web 2/2: fail 14 s: nginx.service failed
";
        assert_eq!(String::from_utf8(kept.0.lock().unwrap().clone()).unwrap(), expected);
    }

    #[test]
    fn live_lines_go_and_leave_what_was_found_out() {
        let term = InMemoryTerm::new(20, 60);
        let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
        let board = Board::on(live(target, Style { colour: false, width: term.width().into() }), 2);
        story(&board);
        board.clear();
        let shown = term.contents();
        assert!(shown.contains("laptop\\u{1b}[2J") && shown.contains("pass 12 s"), "{shown}");
        assert!(shown.contains("web                       fail 14 s: nginx.service failed"), "{shown}");
        assert!(!shown.contains("reached basic.target") && !shown.contains("of 2 hosts"), "{shown}");
    }
}
