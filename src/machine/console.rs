//! Output without end, kept bounded: the guest's serial console, and what the runner and QEMU print.
//!
//! Everything is read as fast as it comes, so that a guest that floods its console is not slowed down, and most of a
//! flood is dropped, so that we do not grow: the first bytes and the last ones say what happened.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::watch;

use crate::text::Sequences;

/// Longest line that is kept whole, in bytes.
const LINE_LIMIT: usize = 4 << 10;
/// How many of the last lines are kept, cleaned.
const LINES_KEPT: usize = 400;

/// Bytes of which the head and the tail are kept.
#[derive(Debug)]
struct HeadAndTail {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    dropped: u64,
    head_limit: usize,
    tail_limit: usize,
}

impl HeadAndTail {
    /// Keeps at most this many of the first and of the last bytes.
    fn new(head_limit: usize, tail_limit: usize) -> Self {
        Self { head: Vec::new(), tail: VecDeque::new(), dropped: 0, head_limit, tail_limit }
    }

    /// Takes more.
    fn push(&mut self, bytes: &[u8]) {
        let room = self.head_limit - self.head.len();
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(first);
        let skipped = rest.len().saturating_sub(self.tail_limit);
        let rest = &rest[skipped..];
        let over = (self.tail.len() + rest.len()).saturating_sub(self.tail_limit);
        self.tail.drain(..over);
        self.tail.extend(rest);
        self.dropped += (skipped + over) as u64;
    }

    /// All that was kept, with a line in place of what was not.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.clone();
        if self.dropped > 0 {
            bytes.extend_from_slice(format!("\n[nixbox: {} bytes left out]\n", self.dropped).as_bytes());
        }
        let (first, second) = self.tail.as_slices();
        bytes.extend_from_slice(first);
        bytes.extend_from_slice(second);
        bytes
    }
}

/// Takes bytes of a terminal apart into lines of plain text: no escape sequences, no control characters, UTF-8.
#[derive(Debug, Default)]
struct Cleaner {
    line: Vec<u8>,
    sequences: Sequences,
    returned: bool,
}

impl Cleaner {
    /// Takes bytes, gives the lines that they complete.
    fn push(&mut self, bytes: &[u8], mut line: impl FnMut(String)) {
        for byte in bytes {
            // What begins, makes up and ends a sequence is ASCII; other bytes are parts of characters.
            let c = if byte.is_ascii() { char::from(*byte) } else { char::REPLACEMENT_CHARACTER };
            if self.sequences.takes(c) {
                continue;
            }
            match byte {
                b'\n' => line(self.finish()),
                // What follows a carriage return overwrites the line.
                b'\r' => self.returned = true,
                b'\t' => self.keep(b' '),
                0..=0x1f | 0x7f => {}
                byte => self.keep(*byte),
            }
        }
    }

    fn keep(&mut self, byte: u8) {
        if std::mem::take(&mut self.returned) {
            self.line.clear();
        }
        if self.line.len() < LINE_LIMIT {
            self.line.push(byte);
        }
    }

    fn finish(&mut self) -> String {
        self.returned = false;
        let line = std::mem::take(&mut self.line);
        String::from_utf8_lossy(&line).chars().filter(|c| !c.is_control()).collect::<String>().trim_end().to_owned()
    }

    /// What stands on the last line so far.
    fn rest(&self) -> String {
        String::from_utf8_lossy(&self.line).chars().filter(|c| !c.is_control()).collect()
    }
}

#[derive(Debug)]
struct BufferState {
    raw: HeadAndTail,
    cleaner: Cleaner,
    lines: VecDeque<String>,
}

/// The first and the last of an output. Cheap to clone: all clones are one.
#[derive(Debug, Clone)]
pub struct OutputBuffer {
    state: Arc<Mutex<BufferState>>,
    last: watch::Sender<String>,
}

impl OutputBuffer {
    /// Keeps at most this many of the first and of the last bytes.
    pub fn new(head_limit: usize, tail_limit: usize) -> Self {
        let state = BufferState {
            raw: HeadAndTail::new(head_limit, tail_limit),
            cleaner: Cleaner::default(),
            lines: VecDeque::with_capacity(LINES_KEPT),
        };
        Self { state: Arc::new(Mutex::new(state)), last: watch::Sender::new(String::new()) }
    }

    fn lock(&self) -> MutexGuard<'_, BufferState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes more.
    pub fn push(&self, bytes: &[u8]) {
        let mut newest = None;
        let state = &mut *self.lock();
        state.raw.push(bytes);
        let lines = &mut state.lines;
        state.cleaner.push(bytes, |line| {
            if lines.len() == LINES_KEPT {
                lines.pop_front();
            }
            if !line.trim().is_empty() {
                newest = Some(line.clone());
            }
            lines.push_back(line);
        });
        if let Some(newest) = newest {
            self.last.send_replace(newest);
        }
    }

    /// The last lines, oldest first, at most `most` of them (and 400), empty ones left out.
    pub fn tail(&self, most: usize) -> Vec<String> {
        let state = self.lock();
        let rest = state.cleaner.rest();
        let mut lines: Vec<String> = state
            .lines
            .iter()
            .filter(|line| !line.is_empty())
            .cloned()
            .chain((!rest.is_empty()).then_some(rest))
            .collect();
        lines.drain(..lines.len().saturating_sub(most));
        lines
    }

    /// The newest line that is not blank, and a way to wait for the next one.
    pub fn last_line(&self) -> watch::Receiver<String> {
        self.last.subscribe()
    }

    /// All that was kept, as it came.
    pub fn bytes(&self) -> Vec<u8> {
        self.lock().raw.bytes()
    }

    /// All that was kept, as lines of plain text.
    pub fn text(&self) -> String {
        let (mut cleaner, mut text) = (Cleaner::default(), String::new());
        cleaner.push(&self.bytes(), |line| {
            text.push_str(&line);
            text.push('\n');
        });
        text.push_str(&cleaner.rest());
        text
    }

    /// Writes all that was kept, as it came.
    ///
    /// # Errors
    /// As of writing a file.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        std::fs::write(path, self.bytes())
    }

    /// Takes all that a stream gives, until its end.
    pub async fn drain(&self, mut stream: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(1..) = stream.read(&mut buffer).await.inspect(|read| self.push(&buffer[..*read])) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_and_tail_are_kept() {
        let mut bounded = HeadAndTail::new(4, 6);
        for chunk in ["ab", "cdef", "ghijklmnop", "q"] {
            bounded.push(chunk.as_bytes());
        }
        assert_eq!(String::from_utf8(bounded.bytes()).unwrap(), "abcd\n[nixbox: 7 bytes left out]\nlmnopq");
        let mut small = HeadAndTail::new(4, 6);
        small.push(b"abcdefg");
        assert_eq!(small.bytes(), b"abcdefg");
    }

    fn lines(text: &[u8]) -> Vec<String> {
        let (mut cleaner, mut lines) = (Cleaner::default(), Vec::new());
        cleaner.push(text, |line| lines.push(line));
        lines
    }

    #[test]
    fn lines_are_plain_text() {
        assert_eq!(
            lines(b"[  \x1b[0;32mOK\x1b[0m  ] Reached \x1b[0;1;39mx.target\x1b[0m.\r\n"),
            ["[  OK  ] Reached x.target."]
        );
        assert_eq!(lines(b"10%\r20%\rdone\r\n"), ["done"]);
        assert_eq!(lines(b"\x1b]0;title\x07a\x1b(Bb\x1b]8;;x\x1b\\c\n"), ["abc"]);
        assert_eq!(lines(b"never ends \x1b[1;2\nnext\n"), ["never ends", "next"]);
        assert_eq!(lines("gr\u{fc}n \u{9b}31m \u{0}\u{8}!\n".as_bytes()), ["gr\u{fc}n 31m !"]);
        assert_eq!(lines(b"\xff\xfe\n"), ["\u{fffd}\u{fffd}"]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let text = [vec![b'x'; 10 * LINE_LIMIT], b"\n".to_vec()].concat();
        assert_eq!(lines(&text)[0].len(), LINE_LIMIT);
    }

    #[test]
    fn a_flood_is_bounded() {
        let buffer = OutputBuffer::new(1000, 1000);
        for n in 0..100_000 {
            buffer.push(format!("line {n}\n").as_bytes());
        }
        assert_eq!(buffer.tail(2), ["line 99998", "line 99999"]);
        assert!(buffer.bytes().len() < 2100);
        assert_eq!(*buffer.last_line().borrow(), "line 99999");
        assert!(buffer.text().starts_with("line 0\n"));
        buffer.push(b"login: ");
        assert_eq!(buffer.tail(1), ["login: "]);
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_could_move_a_cursor_comes_through(bytes: Vec<u8>) {
            for line in lines(&bytes) {
                proptest::prop_assert!(!line.chars().any(char::is_control));
            }
        }
    }
}
