//! How the recognised tones arrived: time, frequency, level, dropouts.

use std::ops::Range;

use super::analysis::{Dropout, Layout, MeasuredTone, Playback};
use super::matching::{MatchedSequence, MatchedTone};
use super::sequence::{Side, TestTone, ToneSequence};
use crate::signal::samples::{Samples, dbfs};
use crate::signal::spectrum::{SpectrumAnalyser, peak_bin};

/// A dropout is quieter than this part of the tone's amplitude. Even at a quarter of the speed no millisecond of the
/// lowest tone has less.
const DROPOUT_LEVEL: f64 = 0.3;
/// The shortest dropout, in blocks of the envelope (milliseconds).
const MIN_DROPOUT: usize = 4;
/// By how much the silence between tones may be longer than it should before it counts as a dropout, in seconds.
const MAX_EXTRA_GAP_S: f64 = 0.015;
/// How far the beginning or end of a tone may be from the middle of the spectrum that has it first or last, in blocks of
/// the envelope.
const MAX_EDGE: usize = 22;
/// A channel that is quieter than the other by more than this does not have the tone, in dB: what is there is
/// crosstalk.
const CROSSTALK_DB: f64 = 20.0;

/// Measures the tones of a sequence. `None` if there are none.
pub(super) fn measure_playback(
    samples: &Samples,
    sequence: &ToneSequence,
    matched: &MatchedSequence,
) -> Option<Playback> {
    let envelopes = Envelopes::of(samples);
    let mut meter = ToneMeter::default();
    let mut tones = vec![None; sequence.tones.len()];
    let mut dropouts = Vec::new();
    // In the order of time, with the index in the sequence.
    let mut measured = Vec::new();
    for it in &matched.tones {
        let (tone, within) = measure_tone(samples, &envelopes, &mut meter, sequence, it);
        dropouts.extend(within);
        tones[it.tone] = Some(tone);
        measured.push((it.tone, tone));
    }

    let mut ratios: Vec<f64> = measured.iter().map(|(_, tone)| tone.hertz / tone.expected_hertz).collect();
    ratios.sort_by(f64::total_cmp);
    let pitch_ratio = *ratios.get(ratios.len() / 2)?;
    let pitch_spread = (ratios.last()? - ratios.first()?) / pitch_ratio;

    dropouts.extend(measured.windows(2).filter_map(|pair| dropout_between(sequence, pair[0], pair[1], pitch_ratio)));
    dropouts.sort_by(|a, b| a.start_s.total_cmp(&b.start_s));

    let start_s = measured.first()?.1.start_s;
    let length_s = measured.iter().map(|(_, tone)| tone.start_s + tone.length_s).fold(start_s, f64::max) - start_s;
    let sent = || measured.iter().map(|(i, _)| &sequence.tones[*i]);
    let expected = sent().map(TestTone::end_s).fold(0.0, f64::max) - sent().map(|t| t.start_s).fold(f64::MAX, f64::min);
    let dropped: f64 = dropouts.iter().map(|dropout| dropout.length_s).sum();
    Some(Playback {
        complete: tones.iter().all(Option::is_some),
        in_order: matched.in_order,
        start_s,
        length_s,
        length_ratio: length_s / expected,
        length_ratio_without_dropouts: (length_s - dropped) / expected,
        pitch_ratio,
        pitch_spread,
        layout: layout(measured.iter().map(|(_, tone)| tone)),
        dropouts,
        tones,
    })
}

/// What the silence between two tones (with their indices) has too much of, if they are neighbours in the sequence.
fn dropout_between(
    sequence: &ToneSequence,
    (i, this): (usize, MeasuredTone),
    (j, next): (usize, MeasuredTone),
    speed: f64,
) -> Option<Dropout> {
    let sent = (sequence.tones[j].start_s - sequence.tones[i].end_s()) / speed;
    let start_s = this.start_s + this.length_s + sent;
    let length_s = next.start_s - start_s;
    (j == i + 1 && length_s > MAX_EXTRA_GAP_S).then_some(Dropout { start_s, length_s, tone: None })
}

/// Measures one tone, and its dropouts.
fn measure_tone(
    samples: &Samples,
    envelopes: &Envelopes,
    meter: &mut ToneMeter,
    sequence: &ToneSequence,
    matched: &MatchedTone,
) -> (MeasuredTone, Vec<Dropout>) {
    let sent = sequence.tones[matched.tone];
    let (envelope, level) = envelopes.louder(matched);
    let speed = matched.segments.first().map_or(1.0, |segment| segment.hertz / sent.hertz);
    // The edges are where it is half as loud, in the middle of its fades.
    let half_fade = sequence.fade_s / speed / 2.0;
    let loud = |block: usize| envelope.get(block..block + 3).is_some_and(|it| it.iter().all(|it| *it > level / 2.0));
    let (from, to) = (envelopes.block(matched.begin_s()), envelopes.block(matched.end_s()));
    let edge = MAX_EDGE + (half_fade * 1000.0) as usize;
    let begin = (from.saturating_sub(edge)..=from + edge).find(|block| loud(*block)).unwrap_or(from);
    let end = (to.saturating_sub(edge)..=to + edge).rev().find(|block| loud(*block)).map_or(to, |block| block + 3);
    let end = end.max(begin + 1);

    let silences = silences(envelope, begin..end, DROPOUT_LEVEL * level);
    let dropout = |silence: &Range<usize>| {
        let start_s = envelopes.seconds(silence.start);
        Dropout { start_s, length_s: envelopes.seconds(silence.end) - start_s, tone: Some(matched.tone) }
    };
    let dropouts = silences.iter().map(dropout).collect();
    let begins = std::iter::once(begin).chain(silences.iter().map(|silence| silence.end));
    let ends = silences.iter().map(|silence| silence.start).chain([end]);
    let sounding = begins.zip(ends).map(|(begin, end)| begin..end);
    let longest = sounding.max_by_key(ExactSizeIterator::len).unwrap_or(begin..end);
    // Away from the edges, where a dropout or a fade bends what is measured.
    let inset = (longest.len() / 4).min((sequence.fade_s / speed * 1000.0) as usize);
    let frame = |block: usize| ((envelopes.seconds(block) * f64::from(samples.rate())) as usize).min(samples.frames());
    let stretch = frame(longest.start + inset)..frame(longest.end - inset);
    let longest_segment = matched.segments.iter().max_by(|a, b| a.length_s().total_cmp(&b.length_s()));
    let rough = longest_segment.map_or(0.0, |segment| segment.hertz);
    let (hertz, left, right, purity) =
        meter.measure(samples, stretch, rough).unwrap_or((rough, envelopes.left[begin], envelopes.right[begin], 0.0));

    let (left_dbfs, right_dbfs) = (dbfs(left), dbfs(right));
    let side = match left_dbfs - right_dbfs {
        more if more > CROSSTALK_DB => Side::Left,
        more if more < -CROSSTALK_DB => Side::Right,
        _ => Side::Both,
    };
    let start_s = (envelopes.seconds(begin) - half_fade).max(0.0);
    let length_s = (envelopes.seconds(end) + half_fade).min(samples.seconds()) - start_s;
    let tone = MeasuredTone {
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

/// The stretches of blocks within a tone that are quieter than `level` for long enough to be dropouts.
fn silences(envelope: &[f64], tone: Range<usize>, level: f64) -> Vec<Range<usize>> {
    let mut silences = Vec::new();
    let mut at = tone.start;
    while at < tone.end {
        let quiet = (at..tone.end).take_while(|block| envelope.get(*block).is_none_or(|it| *it < level)).count();
        if quiet >= MIN_DROPOUT && at + quiet < tone.end {
            silences.push(at..at + quiet);
        }
        at += quiet.max(1);
    }
    silences
}

/// The highest amplitude of each millisecond (a block).
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
    fn louder(&self, matched: &MatchedTone) -> (&[f64], f64) {
        let level = |envelope: &[f64]| {
            let mut blocks: Vec<f64> = matched
                .segments
                .iter()
                .flat_map(|segment| &envelope[self.block(segment.from_s)..=self.block(segment.to_s)])
                .copied()
                .collect();
            let upper = blocks.len() * 3 / 4;
            // Not the median: with many dropouts, half of the blocks may be silent.
            if blocks.is_empty() { 0.0 } else { *blocks.select_nth_unstable_by(upper, f64::total_cmp).1 }
        };
        let (left, right) = (level(&self.left), level(&self.right));
        if left >= right { (&self.left, left) } else { (&self.right, right) }
    }
}

/// Measures tones exactly; keeps its analyser from one tone to the next, as most are of one length.
#[derive(Default)]
struct ToneMeter(Option<SpectrumAnalyser>);

impl ToneMeter {
    /// Frequency (Hz), amplitude on the left and on the right, and purity of the tone near `rough` Hz in a stretch of
    /// frames. `None` if the stretch is too short to measure them.
    fn measure(&mut self, samples: &Samples, stretch: Range<usize>, rough: f64) -> Option<(f64, f64, f64, f64)> {
        let rate = f64::from(samples.rate());
        // A sixth of a second is exact enough (0.1 Hz), and quick.
        let most = (samples.rate() as usize / 6).next_power_of_two();
        // The largest power of two that fits.
        let length = (stretch.len().checked_ilog2().map_or(0, |log| 1 << log)).min(most);
        if length < 64 || (length as f64) < 3.0 * rate / rough {
            return None;
        }
        let begin = stretch.start + (stretch.len() - length) / 2;
        let (left, right) = (samples.left().get(begin..begin + length)?, samples.right().get(begin..begin + length)?);
        // Twice as many bins as the stretch gives: the parabola fits better.
        let spectrum = match &mut self.0 {
            Some(spectrum) if spectrum.length() == length => spectrum,
            other => other.insert(SpectrumAnalyser::new(length, 2 * length)),
        };
        let powers = spectrum.stereo_powers(left, right);
        let bin = rate / (2 * length) as f64;
        // Within 3 % and what a short stretch blurs.
        let margin = 0.03 * rough / bin + 4.0;
        let band = ((rough / bin - margin).max(1.0) as usize)..((rough / bin + margin) as usize).min(powers.len());
        let peak = band.max_by(|a, b| powers[*a].total_cmp(&powers[*b]))?;
        let hertz = peak_bin(&powers, peak) * bin;

        let [left_peak, right_peak] = [left, right].map(|values| spectrum.amplitude(values, hertz / rate));
        let louder = if left_peak >= right_peak { left } else { right };
        let power = louder.iter().map(|value| value * value).sum::<f64>() / length as f64;
        let purity = (left_peak.max(right_peak).powi(2) / 2.0 / power.max(1e-30)).min(1.0);
        Some((hertz, left_peak, right_peak, purity))
    }
}

/// How the channels arrived, by the tones that did.
fn layout<'a>(tones: impl Iterator<Item = &'a MeasuredTone> + Clone) -> Layout {
    let all = |rule: fn(&MeasuredTone) -> bool| tones.clone().all(rule);
    if all(|tone| tone.side == Side::Left) {
        Layout::LeftOnly
    } else if all(|tone| tone.side == Side::Right) {
        Layout::RightOnly
    } else if all(|tone| tone.sent == Side::Both) {
        Layout::Unclear
    } else if all(|tone| tone.side == tone.sent) {
        Layout::AsSent
    } else if all(|tone| tone.side == tone.sent.swapped()) {
        Layout::Swapped
    } else if all(|tone| tone.side == Side::Both) {
        Layout::Mono
    } else {
        Layout::Unclear
    }
}
