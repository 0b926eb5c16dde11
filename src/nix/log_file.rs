//! `nix.log`: what nix printed, bounded to the first and the last of it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes at the head of the file, and bytes of what came last.
const HEAD: u64 = 2 << 20;
const LATE: usize = 512 << 10;
const LEFT_OUT: &str = "… (left out)";

/// The head of it is written as it comes, the end of it when nix has ended.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    state: Mutex<LogState>,
}

#[derive(Debug)]
struct LogState {
    file: File,
    written: u64,
    late: VecDeque<String>,
    late_bytes: usize,
    left_out: bool,
}

impl LogFile {
    /// `None` where it cannot be written.
    pub(super) fn create(path: PathBuf) -> Option<Self> {
        let file = File::create(&path).ok()?;
        let state = LogState { file, written: 0, late: VecDeque::new(), late_bytes: 0, left_out: false };
        Some(Self { path, state: Mutex::new(state) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn line(&self, text: &str) {
        let mut state = self.state();
        if state.written < HEAD {
            // A full disk costs the log, not the run.
            drop(writeln!(state.file, "{text}"));
            state.written += text.len() as u64 + 1;
            return;
        }
        state.late_bytes += text.len();
        state.late.push_back(text.to_owned());
        while state.late_bytes > LATE
            && let Some(line) = state.late.pop_front()
        {
            state.late_bytes -= line.len();
            state.left_out = true;
        }
    }

    pub(super) fn finish(&self) {
        let mut state = self.state();
        if std::mem::take(&mut state.left_out) {
            drop(writeln!(state.file, "{LEFT_OUT}"));
        }
        for line in std::mem::take(&mut state.late) {
            drop(writeln!(state.file, "{line}"));
        }
        state.late_bytes = 0;
        drop(state.file.flush());
    }

    fn state(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_the_head_and_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("nix.log");
        let log = LogFile::create(path.clone()).unwrap();
        let line = "x".repeat(1023);
        for number in 0..4096 {
            log.line(&format!("{number} {line}"));
        }
        log.finish();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.len() < (HEAD as usize) + LATE + 4096, "{}", text.len());
        assert!(text.starts_with("0 x"));
        assert!(text.lines().last().unwrap().starts_with("4095 "));
        assert_eq!(text.matches(LEFT_OUT).count(), 1);
    }
}
