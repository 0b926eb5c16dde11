//! Analysis of the guest's sound and screen. Pure: bytes and numbers in, facts out; the verdict on them is made in
//! [`checks`](crate::checks).
//!
//! ```text
//! tone::ToneSequence ─► tone::render ─► wav::write ──► (played in the guest, captured by QEMU) ──► wav::read ─► tone::analyse ─► CaptureAnalysis
//!                                                                                                    └────────► spectrogram::draw ─► Picture
//! (a screendump) ─► Picture::from_png ─► picture::analyse ─► PictureAnalysis
//!                                   ├──► picture::diff ────► PictureDiff
//!                                   └──► Film::push ──────────► a GIF
//! ```
//!
//! Samples are `f64`, -1 to 1 of full scale; times are seconds from the beginning of the capture; levels are dBFS, where
//! 0 is a sine at full scale and -120 stands for silence. All input comes from a guest and may be hostile:
//! the readers are bounded and never panic.

mod film;
pub(crate) mod microphone;
pub mod picture;
mod samples;
pub(crate) mod spectrogram;
mod spectrum;
pub mod tone;
pub mod wav;

pub use film::{Film, FilmError};
pub use picture::{Picture, PictureAnalysis, PictureDiff, PictureError, Rect};
pub use samples::Samples;
pub use tone::{CaptureAnalysis, ToneSequence};
