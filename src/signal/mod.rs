//! What a sound or a picture holds, as data. Pure: bytes and numbers in, facts out; whether they are good or bad is
//! said in [`checks`](crate::checks).
//!
//! ```text
//! tone::Sequence ─► tone::render ─► wav::write ──► (played in the guest, captured by QEMU) ──► wav::read ─► listen::analyse ─► Heard
//!                                                                                                    └───► spectrogram::draw ─► Picture
//! (a screendump) ─► Picture::from_png ─► look::describe ─► Look
//!                                   ├──► look::change ───► Change
//!                                   └──► film::Film ─────► a GIF
//! ```
//!
//! Sound is kept as `f64`, -1 to 1 of full scale; times are seconds from the beginning of what is looked at; levels are
//! dBFS, where 0 is the largest sine that fits, and [`FLOOR_DBFS`] stands for silence. Everything that comes from a
//! guest is hostile until read: the readers are bounded and never panic.

mod fft;
pub mod film;
pub mod listen;
pub mod look;
pub mod picture;
pub mod samples;
pub mod spectrogram;
pub mod tone;
pub mod wav;

pub use film::Film;
pub use listen::{Heard, analyse};
pub use look::{Change, Look, Rect};
pub use picture::Picture;
pub use samples::{FLOOR_DBFS, Samples};
pub use tone::Sequence;
