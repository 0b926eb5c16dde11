//! The screen in the course of time, as a GIF that fits into a report.

use std::fmt;
use std::time::Duration;

use super::picture::Picture;

/// Largest width of a frame, in pixels.
pub const WIDTH: u32 = 320;
/// Largest height of a frame, in pixels.
pub const HEIGHT: u32 = 240;
/// Largest GIF, in bytes.
pub const MOST_BYTES: usize = 2 << 20;
/// Most frames that are kept: when there are more, every second one goes.
pub const MOST_FRAMES: usize = 120;

/// A film that is being made: scaled frames, at most [`MOST_FRAMES`] (about 28 MB).
#[derive(Debug, Default)]
pub struct Film {
    frames: Vec<Frame>,
}

/// A frame and when it was seen first.
#[derive(Debug)]
struct Frame {
    at: Duration,
    picture: Picture,
}

/// The GIF could not be written: what the encoder says.
#[derive(Debug)]
pub struct FilmError(String);

impl fmt::Display for FilmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the film cannot be written: {}", self.0)
    }
}

impl std::error::Error for FilmError {}

impl Film {
    /// Takes a picture of the screen, `elapsed` after the beginning; one that is like the last changes nothing. Times
    /// should not go back; one that does counts as the last time.
    pub fn push(&mut self, elapsed: Duration, picture: &Picture) {
        let _ = (elapsed, picture);
        unimplemented!()
    }

    /// Number of frames that are kept.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// No frame was taken.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The GIF, at most [`MOST_BYTES`], played once in real time; the last frame stays until `end` (after the
    /// beginning), two seconds at least. `None` without a frame.
    pub fn gif(&self, end: Duration) -> Result<Option<Vec<u8>>, FilmError> {
        let _ = end;
        unimplemented!()
    }
}
