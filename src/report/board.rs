//! Progress on stderr while many hosts are tested: on a terminal a live line for each that runs, elsewhere a line when one
//! begins and one when it ends, nothing with `--quiet`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::display::{LogLines, Mode, PhaseProgress};
use super::text::{Paint, TextLayout, cut};
use crate::event::Event;
use crate::model::timeouts::report::BOARD_INTERVAL;
use crate::text::escape_line;

/// Columns of a name on a line.
const NAME: usize = 24;

/// The board. Cheap to clone: each host writes on its own line.
#[derive(Clone)]
pub(crate) struct Board(Arc<Mutex<BoardState>>);

struct BoardState {
    output: BoardOutput,
    all: usize,
    ended: usize,
    running: BTreeMap<String, HostLine>,
}

enum BoardOutput {
    Live { bars: MultiProgress, total: ProgressBar, layout: TextLayout },
    Plain(LogLines<Box<dyn Write + Send>>),
    Silent,
}

#[derive(Default)]
struct HostLine {
    bar: Option<ProgressBar>,
    progress: PhaseProgress,
}

impl Board {
    /// A board for this many hosts.
    pub(crate) fn new(mode: Mode, all: usize) -> Self {
        Self::on(
            match mode {
                Mode::Live => live(ProgressDrawTarget::stderr(), TextLayout::of_stderr()),
                Mode::Plain => BoardOutput::Plain(LogLines::new(Box::new(io::stderr()))),
                Mode::Silent => BoardOutput::Silent,
            },
            all,
        )
    }

    fn on(output: BoardOutput, all: usize) -> Self {
        let board = Self(Arc::new(Mutex::new(BoardState { output, all, ended: 0, running: BTreeMap::new() })));
        board.state().total();
        board
    }

    fn state(&self) -> std::sync::MutexGuard<'_, BoardState> {
        // A panic while drawing costs a line, not the run.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A host's machine is being started; `attempt` counts from 1.
    pub(crate) fn begins(&self, name: &str, attempt: usize) {
        let mut state = self.state();
        let again = if attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
        if let Some(HostLine { bar: Some(bar), .. }) = state.running.remove(name) {
            bar.finish_and_clear();
        }
        let bar = state.bar(name);
        state.running.insert(name.to_owned(), HostLine { bar, progress: PhaseProgress::default() });
        state.plain(&format!("{} …{again}", escape_line(name)));
    }

    /// An event of a host that runs.
    pub(crate) fn event(&self, name: &str, event: &Event) {
        let mut state = self.state();
        let Some(line) = state.running.get_mut(name) else { return };
        line.progress.take(event);
        let Some(bar) = &line.bar else { return };
        match event {
            Event::Started(phase) => bar.set_message(phase.label()),
            Event::Doing(_) | Event::Progress { .. } => bar.set_message(line.progress.line()),
            // They are in its report; a line each for many hosts is none that anybody reads.
            Event::Note(_) | Event::Check(_) | Event::Ended(..) => {}
        }
    }

    /// A host has ended, with this outcome.
    pub(crate) fn ends(&self, name: &str, paint: Paint, outcome: &str) {
        let mut state = self.state();
        state.ended += 1;
        if let Some(HostLine { bar: Some(bar), .. }) = state.running.remove(name) {
            bar.finish_and_clear();
        }
        let count = format!("{}/{}", state.ended, state.all);
        state.plain(&format!("{} {count}: {outcome}", escape_line(name)));
        if let BoardOutput::Live { bars, layout, .. } = &state.output {
            let line = cut(&format!("  {}  {outcome}", padded(name)), layout.width.saturating_sub(1));
            // A terminal that went away is no error.
            drop(bars.println(layout.paint(paint, &line)));
        }
        state.total();
    }

    /// Takes the live lines away.
    pub(crate) fn clear(&self) {
        let state = self.state();
        if let BoardOutput::Live { bars, total, .. } = &state.output {
            total.finish_and_clear();
            drop(bars.clear());
        }
    }
}

fn padded(name: &str) -> String {
    console::pad_str(&escape_line(name), NAME, console::Alignment::Left, Some("…")).into_owned()
}

fn live(target: ProgressDrawTarget, layout: TextLayout) -> BoardOutput {
    let bars = MultiProgress::with_draw_target(target);
    let total = bars.add(ProgressBar::new_spinner());
    set_style(&total, "{prefix} {elapsed:>4} {wide_msg}");
    BoardOutput::Live { bars, total, layout }
}

/// The template is a constant of ours; were it wrong, indicatif's own would do.
fn set_style(bar: &ProgressBar, template: &str) {
    if let Ok(template) = ProgressStyle::with_template(template) {
        bar.set_style(template);
    }
}

impl BoardState {
    fn bar(&self, name: &str) -> Option<ProgressBar> {
        let BoardOutput::Live { bars, total, .. } = &self.output else { return None };
        let bar = bars.insert_before(total, ProgressBar::new_spinner());
        set_style(&bar, "{spinner} {prefix} {elapsed:>4} {wide_msg}");
        bar.set_prefix(padded(name));
        bar.enable_steady_tick(BOARD_INTERVAL);
        Some(bar)
    }

    fn total(&self) {
        if let BoardOutput::Live { total, .. } = &self.output {
            total.set_prefix(format!("{} of {} hosts", self.ended, self.all));
            total.tick();
        }
    }

    fn plain(&mut self, text: &str) {
        if let BoardOutput::Plain(lines) = &mut self.output {
            lines.write(text);
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
        let board = Board::on(BoardOutput::Plain(LogLines::new(Box::new(kept.clone()))), 2);
        story(&board);
        board.clear();
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        insta::assert_snapshot!("board-plain", text);
    }

    #[test]
    fn live_lines_go_and_leave_the_outcomes() {
        let term = InMemoryTerm::new(20, 60);
        let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
        let board = Board::on(live(target, TextLayout { colour: false, width: term.width().into() }), 2);
        story(&board);
        board.clear();
        insta::assert_snapshot!("board-live", term.contents());
    }
}
