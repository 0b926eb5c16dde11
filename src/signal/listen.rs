//! What of the tone sequence arrived, and how.

use serde::{Deserialize, Serialize};

use super::samples::{FLOOR_DBFS, Samples, dbfs};
use super::tone::{Sequence, Side};

mod measure;
mod recognise;
#[cfg(test)]
mod tests;
mod track;

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
    pub left: Transport,
    /// The right channel as a whole.
    pub right: Transport,
    /// What is there when no tone is: the RMS level of the quietest parts, in dBFS.
    pub noise_floor_dbfs: f64,
    /// The sequence, if two of its tones or more were recognised.
    pub playback: Option<Playback>,
}

/// One channel of a capture as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Transport {
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
    /// All that was heard was on the left: the right channel is silent. What was sent on the right is missing, or was
    /// mixed into the left: the tones tell.
    LeftOnly,
    /// All that was heard was on the right, likewise.
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
/// how torn it arrived. If it is there several times, the one that has most of it counts.
pub fn analyse(samples: &Samples, sequence: &Sequence) -> Heard {
    let (left_mean, right_mean) = (mean(samples.left()), mean(samples.right()));
    // A shifted mean would pass for sound wherever there is none.
    let without = |values: &[f64], mean: f64| values.iter().map(|value| value - mean).collect();
    let steady = Samples::new(samples.rate(), without(samples.left(), left_mean), without(samples.right(), right_mean));
    let still = |values: &[f64]| values.iter().all(|value| value.abs() <= STEP);
    let silent = still(steady.left()) && still(steady.right());
    let playback = if silent {
        None
    } else {
        recognise::recognise(track::segments(&steady), sequence)
            .and_then(|recognised| measure::playback(&steady, sequence, &recognised))
    };
    Heard {
        seconds: samples.seconds(),
        silent,
        left: channel(samples.left(), left_mean),
        right: channel(samples.right(), right_mean),
        noise_floor_dbfs: noise_floor(&steady),
        playback,
    }
}

/// One step of 16 bits, with room for rounding.
const STEP: f64 = 1.01 / 32768.0;
/// What counts as full scale: a step below it, as not every converter goes to the end.
const FULL: f64 = 0.9999;

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

fn channel(values: &[f64], mean: f64) -> Transport {
    let peak = values.iter().fold(0.0, |peak: f64, value| peak.max(value.abs()));
    let full = |value: f64| if value.abs() >= FULL { value.signum() as i32 } else { 0 };
    let clipped = |i: usize| {
        let this = full(values[i]);
        this != 0
            && (i.checked_sub(1).is_some_and(|i| full(values[i]) == this)
                || values.get(i + 1).is_some_and(|next| full(*next) == this))
    };
    let clipped_samples = if peak < FULL { 0 } else { (0..values.len()).filter(|i| clipped(*i)).count() };
    Transport { peak_dbfs: dbfs(peak), dc_offset: mean, clipped_samples }
}

/// The level that a tenth of the sound stays below, in dBFS: the gaps of the sequence are more than that.
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
