//! What of the tone sequence arrived, and how.

use serde::{Deserialize, Serialize};

use super::samples::Samples;
use super::tone::{Sequence, Side};

/// What is in a captured sound: data, no verdict. Levels are dBFS (see [`super::FLOOR_DBFS`]), times are seconds from
/// the beginning of the capture, ratios are 1 where all is as it was sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Heard {
    /// How long the capture is, in seconds.
    pub seconds: f64,
    /// Nothing but silence: no sample of either channel is farther than one step of 16 bits from its mean.
    pub silent: bool,
    /// The left channel as a whole.
    pub left: Channel,
    /// The right channel as a whole.
    pub right: Channel,
    /// What is there when no tone is: the RMS level of the quietest parts, in dBFS.
    pub noise_floor_dbfs: f64,
    /// The sequence, if two of its tones or more were recognised.
    pub playback: Option<Playback>,
}

/// One channel of a capture as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Channel {
    /// The highest amplitude in dBFS.
    pub peak_dbfs: f64,
    /// Mean of the samples, -1 to 1 of full scale: 0 unless something shifts them.
    pub dc_offset: f64,
    /// Number of samples at full scale with a neighbour at full scale too.
    pub clipped_samples: usize,
}

/// How the sequence arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Playback {
    /// The tones of the sequence in the sequence's order; `None` was not heard.
    pub tones: Vec<Option<HeardTone>>,
    /// All tones were heard.
    pub complete: bool,
    /// The tones that were heard came in the sequence's order.
    pub in_order: bool,
    /// When the first tone that was heard begins, in seconds.
    pub start_s: f64,
    /// From there to the end of the last tone that was heard, in seconds, dropouts included.
    pub length_s: f64,
    /// `length_s` by what it should be from the same first to the same last tone: 2 is half speed.
    pub length_ratio: f64,
    /// The same without the dropouts: what a player that ran dry now and then would have taken otherwise.
    pub length_ratio_without_dropouts: f64,
    /// Measured by expected frequency, median of the tones: 0.919 is 48 kHz played as 44.1 kHz.
    pub pitch_ratio: f64,
    /// The highest pitch ratio of a tone less the lowest, by the median: 0 is a steady clock.
    pub pitch_spread: f64,
    /// What became of left and right.
    pub layout: Layout,
    /// Silence within the sequence that was not sent, in the order of time.
    pub dropouts: Vec<Dropout>,
}

/// One tone that was heard.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HeardTone {
    /// The frequency that was sent, in Hz.
    pub expected_hertz: f64,
    /// The frequency that arrived, in Hz.
    pub hertz: f64,
    /// The channel it was sent in.
    pub sent: Side,
    /// The channel it was heard in.
    pub side: Side,
    /// Its level on the left, in dBFS.
    pub left_dbfs: f64,
    /// Its level on the right, in dBFS.
    pub right_dbfs: f64,
    /// When it begins, in seconds.
    pub start_s: f64,
    /// From its beginning to its end, in seconds, dropouts included.
    pub length_s: f64,
    /// The part of the sound's power that is at its frequency while it lasts, 0 to 1: the rest is noise and distortion.
    pub purity: f64,
}

/// What became of left and right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Left on the left, right on the right.
    AsSent,
    /// Left on the right, right on the left.
    Swapped,
    /// All that was heard was on the left: the right channel is silent.
    LeftOnly,
    /// All that was heard was on the right: the left channel is silent.
    RightOnly,
    /// All that was heard was in both channels, what was sent in one of them too.
    Mono,
    /// None of these: too few tones, or each went another way.
    Unclear,
}

/// Silence that was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Dropout {
    /// When it begins, in seconds.
    pub start_s: f64,
    /// How long it lasts, in seconds.
    pub length_s: f64,
    /// The tone that it interrupts, counted from 0; `None` lengthens the silence between two tones.
    pub tone: Option<usize>,
}

/// Finds the sequence in a captured sound, whatever came before it, how loud, how fast (a quarter to four times) and
/// how torn it arrived.
pub fn analyse(samples: &Samples, sequence: &Sequence) -> Heard {
    let _ = (samples, sequence);
    unimplemented!()
}
