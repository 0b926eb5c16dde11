//! Stretches of sound that hold one tone.

use crate::signal::samples::Samples;
use crate::signal::spectrum::{SpectrumAnalyser, peak_bin};

/// From one spectrum to the next, in seconds.
const HOP_S: f64 = 0.01;
/// Below this the mains hum and a DC offset would pass for tones; in Hz.
const MIN_HERTZ: f64 = 100.0;
/// Above this no tone of the sequence is looked for, in Hz: the highest one four times as fast.
const MAX_HERTZ: f64 = 9000.0;
/// The least share of the power that a tone has: at -5 dB it is a fourth of what is there, while white noise has less
/// than a tenth in its highest peak.
const MIN_SHARE: f64 = 0.25;
/// The power of the quietest tone: -80 dBFS, which is a few steps of 16 bits.
const MIN_POWER: f64 = 1e-8;
/// By how much the frequency of a tone may differ from one spectrum to the next: the nearest two tones are 17 % apart.
const MAX_DRIFT: f64 = 0.03;
/// Spectra in a row that have to agree before they count as a tone.
const MIN_SPECTRA: usize = 3;

/// A stretch of one tone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ToneSegment {
    /// The middle of the first spectrum that has it, in seconds: within 20 ms of its beginning.
    pub(super) from_s: f64,
    /// The middle of the last spectrum that has it, in seconds.
    pub(super) to_s: f64,
    /// Its frequency in Hz, to about 1 %.
    pub(super) hertz: f64,
}

impl ToneSegment {
    /// How long it is, in seconds.
    pub(super) fn length_s(&self) -> f64 {
        self.to_s - self.from_s + HOP_S
    }
}

/// The stretches of a sound in which one tone dominates, in the order of time.
pub(super) fn tone_segments(samples: &Samples) -> Vec<ToneSegment> {
    let rate = f64::from(samples.rate());
    // 20 to 40 ms: long enough to tell the tones apart at half speed, short enough for the gaps at twice the speed.
    let length = ((rate * 0.02) as usize).max(4).next_power_of_two();
    let mut spectrum = SpectrumAnalyser::new(length, length);
    let hop = ((rate * HOP_S) as usize).max(1);
    let bin = rate / length as f64;
    let lowest = ((MIN_HERTZ / bin).ceil() as usize).max(3);
    let highest = ((MAX_HERTZ / bin) as usize).min(length / 2);

    let mut segments = SegmentBuilder::default();
    let mut at = 0;
    while at + length <= samples.frames() && lowest < highest {
        let (left, right) = (&samples.left()[at..at + length], &samples.right()[at..at + length]);
        let time = (at as f64 + length as f64 / 2.0) / rate;
        // Most of a capture is digital silence, and needs no spectrum.
        let tone = if left.iter().chain(right).any(|value| value.abs() > 1e-4) {
            dominant_tone(&spectrum.stereo_powers(left, right), lowest, highest)
        } else {
            None
        };
        segments.push(time, tone.map(|(k, power)| (k * bin, power)));
        at += hop;
    }
    segments.finish()
}

/// The bin (with its fraction) and the power of the tone that dominates a spectrum, if one does.
fn dominant_tone(powers: &[f64], lowest: usize, highest: usize) -> Option<(f64, f64)> {
    let band = powers.get(lowest..highest)?;
    let (at, power) = band.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?;
    let total: f64 = band.iter().sum();
    // A Hann window spreads a sine over two bins to either side.
    let lobe: f64 = band[at.saturating_sub(2)..band.len().min(at + 3)].iter().sum();
    (*power >= MIN_POWER && lobe >= MIN_SHARE * total).then(|| (peak_bin(powers, lowest + at), *power))
}

/// Joins spectra that agree to segments.
#[derive(Debug, Default)]
struct SegmentBuilder {
    done: Vec<ToneSegment>,
    /// The spectra that agree so far: time, frequency, power.
    current: Vec<(f64, f64, f64)>,
}

impl SegmentBuilder {
    /// Adds what the next spectrum has: frequency and power of a tone.
    fn push(&mut self, time: f64, tone: Option<(f64, f64)>) {
        let agrees = |(_, last, _): &(f64, f64, f64), (hertz, _): (f64, f64)| (hertz / last - 1.0).abs() < MAX_DRIFT;
        if !matches!((self.current.last(), tone), (Some(last), Some(tone)) if agrees(last, tone)) {
            self.close();
        }
        self.current.extend(tone.map(|(hertz, power)| (time, hertz, power)));
    }

    /// Ends the current segment.
    fn close(&mut self) {
        let current = std::mem::take(&mut self.current);
        if let [first, .., last] = &current[..]
            && current.len() >= MIN_SPECTRA
        {
            // Weighted by power: a spectrum at the edge of the tone has less of it, and a less exact frequency.
            let (sum, weight) = current
                .iter()
                .fold((0.0, 0.0), |(sum, weight), (_, hertz, power)| (sum + hertz * power, weight + power));
            self.done.push(ToneSegment { from_s: first.0, to_s: last.0, hertz: sum / weight });
        }
    }

    fn finish(mut self) -> Vec<ToneSegment> {
        self.close();
        self.done
    }
}
