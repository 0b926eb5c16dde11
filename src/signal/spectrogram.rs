//! A sound as a picture: time from left to right, frequency from bottom to top, level as colour.

use super::picture::Picture;
use super::samples::Samples;

/// Size of the picture, in pixels.
pub const WIDTH: u32 = 800;
/// Size of the picture, in pixels: the left channel above the right one.
pub const HEIGHT: u32 = 402;
/// The frequency at the top of each channel, in Hz (or half the sound's rate, if that is less).
pub const TOP_HERTZ: f64 = 6000.0;
/// The level that is drawn black, in dBFS; 0 is white.
pub const BOTTOM_DBFS: f64 = -96.0;

/// Draws a sound. Its PNG has less than 200 KiB, whatever the sound is. Silence, and no sound at all, is black.
pub fn draw(samples: &Samples) -> Picture {
    let _ = samples;
    unimplemented!()
}
