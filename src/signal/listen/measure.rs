//! How the tones that were recognised arrived, measured in the samples.

use std::f64::consts::TAU;

use super::recognise::{Found, Recognised};
use super::{Dropout, HeardTone, Layout, Playback};
use crate::signal::fft::{Complex, Fft, Powers, Window, peak_bin};
use crate::signal::samples::{Samples, dbfs};
use crate::signal::tone::{Sequence, Side, Tone};

/// A dropout is quieter than this part of the tone's amplitude. Even at a quarter of the speed no millisecond of the
/// lowest tone has less.
const QUIET: f64 = 0.3;
/// The shortest dropout, in blocks of the envelope (milliseconds).
const SHORTEST_DROPOUT: usize = 4;
/// By how much the silence between tones may be longer than it should before it counts as a dropout, in seconds.
const LONGER_GAP_S: f64 = 0.015;
/// How far the beginning or end of a tone may be from the middle of the look that showed it, in blocks of the envelope.
const EDGE: usize = 22;
/// A channel that is quieter than the other by more than this does not have the tone, in dB: what is there is
/// crosstalk.
const CROSSTALK_DB: f64 = 20.0;

/// Measures everything. `None` if there is nothing to measure.
pub(super) fn playback(samples: &Samples, sequence: &Sequence, recognised: &Recognised) -> Option<Playback> {
    let envelopes = Envelopes::of(samples);
    let mut spectra = Spectra::default();
    let mut tones = vec![None; sequence.tones.len()];
    let mut dropouts = Vec::new();
    // In the order of time.
    let mut heard = Vec::new();
    for found in &recognised.tones {
        let (tone, torn) = measure(samples, &envelopes, &mut spectra, sequence, found);
        dropouts.extend(torn);
        tones[found.tone] = Some(tone);
        heard.push((found.tone, tone));
    }

    let mut ratios: Vec<f64> = heard.iter().map(|(_, tone)| tone.hertz / tone.expected_hertz).collect();
    ratios.sort_by(f64::total_cmp);
    let pitch_ratio = *ratios.get(ratios.len() / 2)?;
    let pitch_spread = (ratios.last()? - ratios.first()?) / pitch_ratio;

    for pair in heard.windows(2) {
        let [(i, this), (j, next)] = pair else { continue };
        if *j == i + 1 {
            let sent = (sequence.tones[*j].start_s - sequence.tones[*i].end_s()) / pitch_ratio;
            let end = this.start_s + this.length_s;
            let more = next.start_s - end - sent;
            if more > LONGER_GAP_S {
                dropouts.push(Dropout { start_s: end + sent, length_s: more, tone: None });
            }
        }
    }
    dropouts.sort_by(|a, b| a.start_s.total_cmp(&b.start_s));

    let start_s = heard.first()?.1.start_s;
    let length_s = heard.iter().map(|(_, tone)| tone.start_s + tone.length_s).fold(start_s, f64::max) - start_s;
    let sent = || heard.iter().map(|(i, _)| &sequence.tones[*i]);
    let expected = sent().map(Tone::end_s).fold(0.0, f64::max) - sent().map(|t| t.start_s).fold(f64::MAX, f64::min);
    let dropped: f64 = dropouts.iter().map(|dropout| dropout.length_s).sum();
    Some(Playback {
        complete: tones.iter().all(Option::is_some),
        in_order: recognised.in_order,
        start_s,
        length_s,
        length_ratio: length_s / expected,
        length_ratio_without_dropouts: (length_s - dropped) / expected,
        pitch_ratio,
        pitch_spread,
        layout: layout(heard.iter().map(|(_, tone)| tone)),
        dropouts,
        tones,
    })
}

/// Measures one tone; its dropouts.
fn measure(
    samples: &Samples,
    envelopes: &Envelopes,
    spectra: &mut Spectra,
    sequence: &Sequence,
    found: &Found,
) -> (HeardTone, Vec<Dropout>) {
    let sent = sequence.tones[found.tone];
    let (envelope, level) = envelopes.louder(found);
    let speed = found.pieces.first().map_or(1.0, |piece| piece.hertz / sent.hertz);
    // The edges are where it is half as loud, in the middle of its fades.
    let half_fade = sequence.fade_s / speed / 2.0;
    let loud = |block: usize| envelope.get(block..block + 3).is_some_and(|it| it.iter().all(|it| *it > level / 2.0));
    let (from, to) = (envelopes.block(found.begin_s()), envelopes.block(found.end_s()));
    let edge = EDGE + (half_fade * 1000.0) as usize;
    let begin = (from.saturating_sub(edge)..=from + edge).find(|block| loud(*block)).unwrap_or(from);
    let end = (to.saturating_sub(edge)..=to + edge).rev().find(|block| loud(*block)).map_or(to, |block| block + 3);
    let end = end.max(begin + 1);

    let mut dropouts = Vec::new();
    let mut sounding = Vec::new();
    let mut since = begin;
    let mut at = begin;
    while at < end {
        let quiet = (at..end).take_while(|block| envelope.get(*block).is_none_or(|it| *it < QUIET * level)).count();
        if quiet >= SHORTEST_DROPOUT && at + quiet < end {
            let (start_s, stop_s) = (envelopes.seconds(at), envelopes.seconds(at + quiet));
            dropouts.push(Dropout { start_s, length_s: stop_s - start_s, tone: Some(found.tone) });
            sounding.push(since..at);
            since = at + quiet;
        }
        at += quiet.max(1);
    }
    sounding.push(since..end);

    let longest = sounding.into_iter().max_by_key(ExactSizeIterator::len).unwrap_or(begin..end);
    // Away from the edges, where a dropout or a fade bends what is measured.
    let inset = (longest.len() / 4).min((sequence.fade_s / speed * 1000.0) as usize);
    let frame = |block: usize| ((envelopes.seconds(block) * f64::from(samples.rate())) as usize).min(samples.frames());
    let stretch = frame(longest.start + inset)..frame(longest.end - inset);
    let rough = found.pieces.iter().max_by(|a, b| a.length_s().total_cmp(&b.length_s())).map_or(0.0, |it| it.hertz);
    let (hertz, left, right, purity) =
        spectra.measure(samples, stretch, rough).unwrap_or((rough, envelopes.left[begin], envelopes.right[begin], 0.0));

    let (left_dbfs, right_dbfs) = (dbfs(left), dbfs(right));
    let side = match left_dbfs - right_dbfs {
        more if more > CROSSTALK_DB => Side::Left,
        more if more < -CROSSTALK_DB => Side::Right,
        _ => Side::Both,
    };
    let start_s = (envelopes.seconds(begin) - half_fade).max(0.0);
    let length_s = (envelopes.seconds(end) + half_fade).min(samples.seconds()) - start_s;
    let tone = HeardTone {
        expected_hertz: sent.hertz,
        hertz,
        sent: sent.side,
        side,
        left_dbfs,
        right_dbfs,
        start_s,
        length_s,
        purity,
    };
    (tone, dropouts)
}

/// The highest amplitude of each millisecond.
struct Envelopes {
    left: Vec<f64>,
    right: Vec<f64>,
    rate: f64,
    /// Frames of a block.
    frames: usize,
}

impl Envelopes {
    fn of(samples: &Samples) -> Self {
        let frames = (samples.rate() as usize / 1000).max(1);
        let peaks = |values: &[f64]| {
            values.chunks(frames).map(|block| block.iter().fold(0.0, |peak: f64, it| peak.max(it.abs()))).collect()
        };
        Self { left: peaks(samples.left()), right: peaks(samples.right()), rate: f64::from(samples.rate()), frames }
    }

    /// The block at a time in seconds.
    fn block(&self, seconds: f64) -> usize {
        ((seconds * self.rate) as usize / self.frames).min(self.left.len().saturating_sub(1))
    }

    /// When a block begins, in seconds.
    fn seconds(&self, block: usize) -> f64 {
        (block * self.frames) as f64 / self.rate
    }

    /// The channel that has more of a tone, and its amplitude there.
    fn louder(&self, found: &Found) -> (&[f64], f64) {
        let level = |envelope: &[f64]| {
            let mut blocks: Vec<f64> = found
                .pieces
                .iter()
                .flat_map(|piece| &envelope[self.block(piece.from_s)..=self.block(piece.to_s)])
                .copied()
                .collect();
            let upper = blocks.len() * 3 / 4;
            // Not the median: where a tone is torn to bits, half of the blocks may be silent.
            if blocks.is_empty() { 0.0 } else { *blocks.select_nth_unstable_by(upper, f64::total_cmp).1 }
        };
        let (left, right) = (level(&self.left), level(&self.right));
        if left >= right { (&self.left, left) } else { (&self.right, right) }
    }
}

/// Measures frequencies; keeps what it needs for it from one tone to the next.
#[derive(Default)]
struct Spectra {
    tools: Option<(Fft, Window)>,
    powers: Powers,
    data: Vec<Complex>,
}

impl Spectra {
    /// Frequency (Hz), amplitude on the left and on the right, and purity of the tone near `rough` Hz in a stretch of
    /// frames. `None` if the stretch is too short to tell.
    fn measure(
        &mut self,
        samples: &Samples,
        stretch: std::ops::Range<usize>,
        rough: f64,
    ) -> Option<(f64, f64, f64, f64)> {
        let rate = f64::from(samples.rate());
        // A sixth of a second is exact enough (0.1 Hz), and quick.
        let most = (samples.rate() as usize / 6).next_power_of_two();
        let length =
            if stretch.len().is_power_of_two() { stretch.len() } else { stretch.len().next_power_of_two() / 2 };
        let length = length.min(most);
        if length < 64 || (length as f64) < 3.0 * rate / rough {
            return None;
        }
        let begin = stretch.start + (stretch.len() - length) / 2;
        let (left, right) = (samples.left().get(begin..begin + length)?, samples.right().get(begin..begin + length)?);
        if self.tools.as_ref().is_none_or(|(_, window)| window.weights.len() != length) {
            // Twice as many bins as the stretch gives: the parabola fits better.
            self.tools = Some((Fft::new(2 * length), Window::new(length)));
        }
        let (fft, window) = self.tools.as_ref()?;
        fft.powers(window, left, right, &mut self.powers, &mut self.data);
        let sum: Vec<f64> = self.powers.left.iter().zip(&self.powers.right).map(|(l, r)| l + r).collect();
        let bin = rate / fft.size as f64;
        // Within 3 % and what a short stretch blurs.
        let margin = 0.03 * rough / bin + 4.0;
        let band = ((rough / bin - margin).max(1.0) as usize)..((rough / bin + margin) as usize).min(sum.len());
        let peak = band.max_by(|a, b| sum[*a].total_cmp(&sum[*b]))?;
        let hertz = peak_bin(&sum, peak) * bin;

        let (left_peak, right_peak) = amplitudes(window, left, right, hertz / rate);
        let louder = if left_peak >= right_peak { left } else { right };
        let power = louder.iter().map(|value| value * value).sum::<f64>() / length as f64;
        let purity = (left_peak.max(right_peak).powi(2) / 2.0 / power.max(1e-30)).min(1.0);
        Some((hertz, left_peak, right_peak, purity))
    }
}

/// The amplitudes of the sine of a frequency (in turns a frame) in two channels.
fn amplitudes(window: &Window, left: &[f64], right: &[f64], frequency: f64) -> (f64, f64) {
    let (im, re) = (-TAU * frequency).sin_cos();
    let step = Complex { re, im };
    let mut phase = Complex { re: 1.0, im: 0.0 };
    let (mut a, mut b) = (Complex::default(), Complex::default());
    let mut sum = 0.0;
    for (weight, (left, right)) in window.weights.iter().zip(left.iter().zip(right)) {
        let turned = Complex { re: phase.re * weight, im: phase.im * weight };
        a = a + Complex { re: turned.re * left, im: turned.im * left };
        b = b + Complex { re: turned.re * right, im: turned.im * right };
        sum += weight;
        phase = phase * step;
    }
    (2.0 * a.power().sqrt() / sum, 2.0 * b.power().sqrt() / sum)
}

/// What became of left and right, by the tones that were heard.
fn layout<'a>(tones: impl Iterator<Item = &'a HeardTone> + Clone) -> Layout {
    let all = |rule: fn(&HeardTone) -> bool| tones.clone().all(rule);
    let sided = tones.clone().any(|tone| tone.sent != Side::Both);
    if all(|tone| tone.side == Side::Left) {
        Layout::LeftOnly
    } else if all(|tone| tone.side == Side::Right) {
        Layout::RightOnly
    } else if !sided {
        Layout::Unclear
    } else if all(|tone| tone.side == tone.sent) {
        Layout::AsSent
    } else if all(|tone| tone.side == tone.sent.other()) {
        Layout::Swapped
    } else if all(|tone| tone.side == Side::Both) {
        Layout::Mono
    } else {
        Layout::Unclear
    }
}
