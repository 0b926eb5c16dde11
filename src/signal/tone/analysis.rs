//! What of the tone sequence is in a capture, and how it arrived.

use serde::{Deserialize, Serialize};

use super::sequence::{Side, ToneSequence};
use super::{matching, measurement, tracking};
use crate::signal::samples::{FLOOR_DBFS, Samples, dbfs};

/// What is in an audio capture: data, no verdict. Levels are dBFS (-120 or more), times are seconds from the
/// beginning of the capture, ratios are measured by expected: 1 is as it was sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CaptureAnalysis {
    /// How long the capture is, in seconds.
    pub seconds: f64,
    /// No sample of either channel is more than one step of 16 bits from the channel's mean.
    pub silent: bool,
    /// The left channel as a whole.
    pub left: ChannelLevels,
    /// The right channel as a whole.
    pub right: ChannelLevels,
    /// The RMS level between the tones (of the quietest parts), in dBFS.
    pub noise_floor_dbfs: f64,
    /// How the sequence arrived, if two of its tones or more were recognised.
    pub playback: Option<Playback>,
}

/// The levels of one channel, over the whole capture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ChannelLevels {
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
    /// The tones in the sequence's order; `None` was not recognised.
    pub tones: Vec<Option<MeasuredTone>>,
    /// All tones were recognised.
    pub complete: bool,
    /// The recognised tones came in the sequence's order.
    pub in_order: bool,
    /// When the first recognised tone begins, in seconds.
    pub start_s: f64,
    /// From there to the end of the last recognised tone, in seconds, dropouts included.
    pub length_s: f64,
    /// `length_s` by what it should be from the same first to the same last tone: 2 is half speed.
    pub length_ratio: f64,
    /// The same without the dropouts: a player with underruns stretches the playback only by those.
    pub length_ratio_without_dropouts: f64,
    /// Measured by expected frequency, median of the tones: 0.919 is 48 kHz played as 44.1 kHz.
    pub pitch_ratio: f64,
    /// The highest pitch ratio of a tone less the lowest, divided by the median: 0 is a steady clock.
    pub pitch_spread: f64,
    /// How the channels arrived.
    pub layout: Layout,
    /// Silence within the sequence that was not sent, in the order of time.
    pub dropouts: Vec<Dropout>,
}

/// One recognised tone, as it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MeasuredTone {
    /// The frequency that was sent, in Hz.
    pub expected_hertz: f64,
    /// The frequency that arrived, in Hz.
    pub hertz: f64,
    /// The channels it was sent in.
    pub sent: Side,
    /// The channels it arrived in.
    pub side: Side,
    /// Its level on the left, in dBFS.
    pub left_dbfs: f64,
    /// Its level on the right, in dBFS.
    pub right_dbfs: f64,
    /// When it begins, in seconds.
    pub start_s: f64,
    /// From its beginning to its end, in seconds, dropouts included.
    pub length_s: f64,
    /// The share of the power that is at its frequency while it lasts, 0 to 1: the rest is noise and distortion.
    pub purity: f64,
}

/// How the channels arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Left on the left, right on the right.
    AsSent,
    /// Left on the right, right on the left.
    Swapped,
    /// All tones arrived on the left only. Those that were sent on the right are missing, or were mixed into the left:
    /// [`Playback::tones`] says which.
    LeftOnly,
    /// All tones arrived on the right only, likewise.
    RightOnly,
    /// All tones arrived in both channels, those that were sent in one of them too.
    Mono,
    /// None of these: too few tones, or they differ.
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
    /// The tone that it interrupts, counted from 0; `None` if it lengthens the silence between two tones.
    pub tone: Option<usize>,
}

/// Finds the sequence in a capture: at any time, level and speed (a quarter to four times), and with dropouts. If it is
/// there several times, the most complete one counts.
pub fn analyse(samples: &Samples, sequence: &ToneSequence) -> CaptureAnalysis {
    let (left_mean, right_mean) = (mean(samples.left()), mean(samples.right()));
    // A DC offset would pass for sound in the gaps and before the sequence.
    let centred = |values: &[f64], mean: f64| values.iter().map(|value| value - mean).collect();
    let steady = Samples::new(samples.rate(), centred(samples.left(), left_mean), centred(samples.right(), right_mean));
    let still = |values: &[f64]| values.iter().all(|value| value.abs() <= STEP);
    let silent = still(steady.left()) && still(steady.right());
    let playback = if silent {
        None
    } else {
        matching::match_sequence(tracking::tone_segments(&steady), sequence)
            .and_then(|matched| measurement::measure_playback(&steady, sequence, &matched))
    };
    CaptureAnalysis {
        seconds: samples.seconds(),
        silent,
        left: levels(samples.left(), left_mean),
        right: levels(samples.right(), right_mean),
        noise_floor_dbfs: noise_floor(&steady),
        playback,
    }
}

/// One step of 16 bits, with room for rounding.
const STEP: f64 = 1.01 / 32768.0;
/// What counts as full scale: a little below it, as not every converter reaches it.
const FULL_SCALE: f64 = 0.9999;

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

fn levels(values: &[f64], mean: f64) -> ChannelLevels {
    let peak = values.iter().fold(0.0, |peak: f64, value| peak.max(value.abs()));
    let full = |value: f64| if value.abs() >= FULL_SCALE { value.signum() as i32 } else { 0 };
    let clipped = values.chunk_by(|a, b| full(*a) != 0 && full(*a) == full(*b)).filter(|run| run.len() > 1);
    ChannelLevels { peak_dbfs: dbfs(peak), dc_offset: mean, clipped_samples: clipped.map(<[f64]>::len).sum() }
}

/// The RMS level that a tenth of the sound stays below, in dBFS: the gaps of the sequence are more than a tenth.
fn noise_floor(samples: &Samples) -> f64 {
    let block = (samples.rate() as usize / 100).max(1);
    let power = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>() / block as f64;
    let mut powers: Vec<f64> = samples
        .left()
        .chunks_exact(block)
        .zip(samples.right().chunks_exact(block))
        .map(|(left, right)| (power(left) + power(right)) / 2.0)
        .collect();
    let tenth = powers.len() / 10;
    if powers.is_empty() { FLOOR_DBFS } else { dbfs(powers.select_nth_unstable_by(tenth, f64::total_cmp).1.sqrt()) }
}
