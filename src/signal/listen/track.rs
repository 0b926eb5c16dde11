//! Where a sound is one tone, and which.

use crate::signal::fft::{Fft, Powers, Window, peak_bin};
use crate::signal::samples::Samples;

/// From one look at the spectrum to the next, in seconds.
const HOP_S: f64 = 0.01;
/// Below this the mains hum and a shifted mean would pass for tones; in Hz.
const LOWEST_HERTZ: f64 = 100.0;
/// Above this no tone of the sequence is looked for, in Hz: the highest one four times as fast.
const HIGHEST_HERTZ: f64 = 9000.0;
/// The share of the power that a tone has at least: at -5 dB it is a fourth of what is there, while white noise has
/// less than a tenth in its highest peak.
const SHARE: f64 = 0.25;
/// The power of the quietest tone: -80 dBFS, which is a few steps of 16 bits.
const QUIETEST: f64 = 1e-8;
/// By how much a tone may waver from one look to the next: the nearest two tones are 17 % apart.
const WAVER: f64 = 0.03;
/// Observations that agree before they count as a tone.
const FEWEST: usize = 3;

/// A stretch of one tone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Segment {
    /// The middle of the first look in which it was, in seconds: within 20 ms of its beginning.
    pub(super) from_s: f64,
    /// The middle of the last look, in seconds.
    pub(super) to_s: f64,
    /// Its frequency in Hz, to about 1 %.
    pub(super) hertz: f64,
}

impl Segment {
    /// How long it is, in seconds.
    pub(super) fn length_s(&self) -> f64 {
        self.to_s - self.from_s + HOP_S
    }
}

/// The stretches of a sound in which there is one tone above all, in the order of time.
pub(super) fn segments(samples: &Samples) -> Vec<Segment> {
    let rate = f64::from(samples.rate());
    // 20 to 40 ms: long enough to tell the tones apart at half speed, short enough for the gaps at twice the speed.
    let fft = Fft::new((rate * 0.02) as usize);
    let window = Window::new(fft.size);
    let hop = ((rate * HOP_S) as usize).max(1);
    let bin = rate / fft.size as f64;
    let lowest = ((LOWEST_HERTZ / bin).ceil() as usize).max(3);
    let highest = ((HIGHEST_HERTZ / bin) as usize).min(fft.size / 2);

    let (mut powers, mut data) = (Powers::default(), Vec::new());
    let mut segments = Segments::default();
    let mut at = 0;
    while at + fft.size <= samples.frames() && lowest < highest {
        let (left, right) = (&samples.left()[at..at + fft.size], &samples.right()[at..at + fft.size]);
        let time = (at as f64 + fft.size as f64 / 2.0) / rate;
        // What is digital silence for the most part needs no look.
        if left.iter().chain(right).any(|value| value.abs() > 1e-4) {
            fft.powers(&window, left, right, &mut powers, &mut data);
            for (left, right) in powers.left.iter_mut().zip(&powers.right) {
                *left += right;
            }
            segments.take(time, tone(&powers.left, lowest, highest).map(|(k, power)| (k * bin, power)));
        } else {
            segments.take(time, None);
        }
        at += hop;
    }
    segments.finish()
}

/// The bin and the power of the one tone that a spectrum holds, if it does.
fn tone(powers: &[f64], lowest: usize, highest: usize) -> Option<(f64, f64)> {
    let band = powers.get(lowest..highest)?;
    let (at, power) = band.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?;
    let total: f64 = band.iter().sum();
    // A Hann window spreads a sine over two bins to either side.
    let lobe: f64 = band[at.saturating_sub(2)..band.len().min(at + 3)].iter().sum();
    (*power >= QUIETEST && lobe >= SHARE * total).then(|| (peak_bin(powers, lowest + at), *power))
}

/// Strings looks together.
#[derive(Debug, Default)]
struct Segments {
    done: Vec<Segment>,
    /// Observations that agree: time, frequency, power.
    current: Vec<(f64, f64, f64)>,
}

impl Segments {
    fn take(&mut self, time: f64, tone: Option<(f64, f64)>) {
        let agrees = |(_, last, _): &(f64, f64, f64), (hertz, _): (f64, f64)| (hertz / last - 1.0).abs() < WAVER;
        if !matches!((self.current.last(), tone), (Some(last), Some(tone)) if agrees(last, tone)) {
            self.end();
        }
        self.current.extend(tone.map(|(hertz, power)| (time, hertz, power)));
    }

    fn end(&mut self) {
        let current = std::mem::take(&mut self.current);
        if let [first, .., last] = &current[..]
            && current.len() >= FEWEST
        {
            // Observations that catch its edge only have less of a frequency, and less power.
            let (sum, weight) = current
                .iter()
                .fold((0.0, 0.0), |(sum, weight), (_, hertz, power)| (sum + hertz * power, weight + power));
            self.done.push(Segment { from_s: first.0, to_s: last.0, hertz: sum / weight });
        }
    }

    fn finish(mut self) -> Vec<Segment> {
        self.end();
        self.done
    }
}
