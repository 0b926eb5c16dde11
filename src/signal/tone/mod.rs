//! The test tones: the sequence that is played, and the analysis of what arrived of it.
//!
//! The analysis has three steps: `tracking` finds the stretches of sound that hold one tone, `matching` which of
//! them are tones of the sequence and at what speed, `measurement` how each tone arrived.

mod analysis;
mod matching;
mod measurement;
mod sequence;
#[cfg(test)]
mod tests;
mod tracking;

pub use analysis::{CaptureAnalysis, ChannelLevels, Dropout, Layout, MeasuredTone, Playback, analyse};
pub(crate) use sequence::{RATE, TONE_S};
pub use sequence::{Side, TestTone, ToneSequence, render};
