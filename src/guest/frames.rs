//! What the guest's shell answers: one script's stdout, stderr and exit code, framed by a nonce of this request.
//!
//! ```text
//! ␞NONCE<  bytes of stdout  ␞NONCE|  bytes of stderr  ␞NONCE>EXIT CUT\n
//! ```
//!
//! ␞ is the byte 0x1e. Whatever comes before the first mark is from somebody else's request and is dropped.

/// The byte that begins a mark.
const MARK: u8 = 0x1e;

/// Bytes of which only the first `limit` are kept.
#[derive(Debug)]
struct BoundedStream {
    kept: Vec<u8>,
    limit: usize,
    cut: u64,
}

impl BoundedStream {
    fn new(limit: usize) -> Self {
        Self { kept: Vec::new(), limit, cut: 0 }
    }

    fn push(&mut self, bytes: &[u8]) {
        let room = self.limit.saturating_sub(self.kept.len()).min(bytes.len());
        self.kept.extend_from_slice(&bytes[..room]);
        self.cut += (bytes.len() - room) as u64;
    }
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The script's exit code.
    Exit(i32),
    /// The shell does not know our functions: it is a new one.
    Unknown,
    /// The last line is not one of ours.
    Garbled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FrameStage {
    Before,
    Out,
    Err,
    Line,
}

/// An answer as it arrives.
#[derive(Debug)]
pub(super) struct Frames {
    nonce: Vec<u8>,
    stage: FrameStage,
    pending: Vec<u8>,
    out: BoundedStream,
    err: BoundedStream,
}

impl Frames {
    /// An answer marked by `nonce`, of which at most `limit` bytes of each stream are kept.
    pub(super) fn new(nonce: &str, limit: usize) -> Self {
        Self {
            nonce: nonce.as_bytes().to_vec(),
            stage: FrameStage::Before,
            pending: Vec::new(),
            out: BoundedStream::new(limit),
            err: BoundedStream::new(limit),
        }
    }

    /// Whether the script has begun.
    pub(super) fn begun(&self) -> bool {
        self.stage != FrameStage::Before
    }

    /// stdout, stderr, and how many bytes were cut.
    pub(super) fn into_parts(self) -> (Vec<u8>, Vec<u8>, u64) {
        (self.out.kept, self.err.kept, self.out.cut + self.err.cut)
    }

    /// Takes in more bytes; tells when the answer has ended. What comes after the end is dropped.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Option<End> {
        self.pending.extend_from_slice(bytes);
        loop {
            if self.stage == FrameStage::Line {
                let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') else {
                    return (self.pending.len() > 64).then_some(End::Garbled);
                };
                return Some(self.last_line(end));
            }
            let (before, found) = self.find();
            let length = self.nonce.len() + 2;
            match self.stage {
                FrameStage::Before | FrameStage::Line => {}
                FrameStage::Out => self.out.push(&self.pending[..before]),
                FrameStage::Err => self.err.push(&self.pending[..before]),
            }
            let Some(next) = found else {
                self.pending.drain(..before);
                return None;
            };
            self.pending.drain(..before + length);
            match (self.stage, next) {
                (FrameStage::Before, b'<') => self.stage = FrameStage::Out,
                (FrameStage::Before, b'!') => return Some(End::Unknown),
                (FrameStage::Out, b'|') => self.stage = FrameStage::Err,
                (FrameStage::Err, b'>') => self.stage = FrameStage::Line,
                _ => return Some(End::Garbled),
            }
        }
    }

    /// How many pending bytes are certainly no mark of ours, and the kind of the mark that follows them.
    fn find(&self) -> (usize, Option<u8>) {
        let mut from = 0;
        while let Some(at) = self.pending[from..].iter().position(|byte| *byte == MARK) {
            let at = from + at;
            let after = &self.pending[at + 1..];
            let common = after.len().min(self.nonce.len());
            if after[..common] == self.nonce[..common] {
                return (at, after.get(self.nonce.len()).copied());
            }
            from = at + 1;
        }
        (self.pending.len(), None)
    }

    /// `EXIT CUT`.
    fn last_line(&mut self, end: usize) -> End {
        let line = String::from_utf8_lossy(&self.pending[..end]).into_owned();
        let mut words = line.split_ascii_whitespace();
        let exit = words.next().and_then(|word| word.parse().ok());
        let cut: Option<u64> = words.next().and_then(|word| word.parse().ok());
        match (exit, cut) {
            (Some(exit), Some(cut)) => {
                self.err.cut = self.err.cut.saturating_add(cut);
                End::Exit(exit)
            }
            _ => End::Garbled,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONCE: &str = "0123456789abcdef0123456789abcdef";

    fn answer(before: &[u8], out: &[u8], err: &[u8], line: &str) -> Vec<u8> {
        let mark = |kind: &str| format!("\x1e{NONCE}{kind}").into_bytes();
        [before, &mark("<"), out, &mark("|"), err, &mark(">"), line.as_bytes()].concat()
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces(
            before in proptest::collection::vec(any::<u8>(), 0..80),
            out in proptest::collection::vec(prop_oneof![Just(0x1e), Just(b'0'), any::<u8>()], 0..300),
            err: Vec<u8>,
            exit in 0..256_i32,
            size in 1..70_usize,
        ) {
            let mut frames = Frames::new(NONCE, 1000);
            let all = answer(&before, &out, &err, &format!("{exit} 0\n"));
            let ends: Vec<_> = all.chunks(size).filter_map(|piece| frames.push(piece)).collect();
            prop_assert_eq!(ends, [End::Exit(exit)]);
            prop_assert_eq!(frames.into_parts(), (out, err, 0));
        }

        #[test]
        fn what_is_cut_is_counted(out: Vec<u8>, err: Vec<u8>, limit in 0..50_usize, size in 1..70_usize) {
            let mut frames = Frames::new(NONCE, limit);
            let end = answer(b"", &out, &err, "7 5\n").chunks(size).find_map(|piece| frames.push(piece));
            prop_assert_eq!(end, Some(End::Exit(7)));
            let (kept_out, kept_err, cut) = frames.into_parts();
            prop_assert_eq!(&kept_out[..], &out[..limit.min(out.len())]);
            prop_assert_eq!(&kept_err[..], &err[..limit.min(err.len())]);
            prop_assert_eq!(cut as usize, 5 + out.len() - kept_out.len() + err.len() - kept_err.len());
        }

        #[test]
        fn noise_never_ends_an_answer(noise: Vec<u8>) {
            let mut frames = Frames::new(NONCE, 10);
            prop_assert_eq!(frames.push(&noise), None);
            prop_assert!(!frames.begun());
        }
    }

    #[test]
    fn another_requests_answer_is_dropped() {
        let stale = String::from_utf8(answer(b"", b"stale", b"", "0 0\n")).unwrap().replace("0123", "ffff");
        let mut frames = Frames::new(NONCE, 100);
        assert_eq!(frames.push(stale.as_bytes()), None);
        assert_eq!(frames.push(&answer(b"", b"mine", b"", "3 0\n")), Some(End::Exit(3)));
        assert_eq!(frames.into_parts().0, b"mine");
    }

    #[test]
    fn a_new_shell_and_a_lying_one_are_told() {
        assert_eq!(Frames::new(NONCE, 9).push(format!("\x1e{NONCE}!\n").as_bytes()), Some(End::Unknown));
        assert_eq!(Frames::new(NONCE, 9).push(&answer(b"", b"", b"", "zero 0\n")), Some(End::Garbled));
        assert_eq!(Frames::new(NONCE, 9).push(&answer(b"", b"", b"", &"9".repeat(80))), Some(End::Garbled));
        assert_eq!(Frames::new(NONCE, 9).push(format!("\x1e{NONCE}>0 0\n").as_bytes()), Some(End::Garbled));
    }
}
