//! Which tone segments are tones of the sequence, and at what speed it was played.

use super::sequence::ToneSequence;
use super::tracking::ToneSegment;

/// The slowest and the fastest playback that is recognised.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.24..=4.2;
/// By how much a tone may be off the speed of the others: the ratios of no two pairs of tones are nearer than 5 %.
const MAX_DEVIATION: f64 = 0.015;
/// The part of its length that a tone must sound to be one: less is a random peak of noise.
const MIN_PART: f64 = 0.2;
/// Longest dropout within a tone, in seconds.
const MAX_DROPOUT_S: f64 = 5.0;
/// Most segments that are considered, the longest ones: a hostile capture could have thousands.
const MAX_SEGMENTS: usize = 200;

/// Segments that are one tone of the sequence, with dropouts between them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MatchedTone {
    /// Which tone of the sequence.
    pub(super) tone: usize,
    /// Its segments, one or more, in the order of time.
    pub(super) segments: Vec<ToneSegment>,
}

impl MatchedTone {
    /// The middle of the first spectrum, in seconds.
    pub(super) fn begin_s(&self) -> f64 {
        self.segments.first().map_or(0.0, |segment| segment.from_s)
    }

    /// The middle of the last spectrum, in seconds.
    pub(super) fn end_s(&self) -> f64 {
        self.segments.last().map_or(0.0, |segment| segment.to_s)
    }

    /// How long it sounds, in seconds.
    fn sounds_s(&self) -> f64 {
        self.segments.iter().map(ToneSegment::length_s).sum()
    }
}

/// The tones of the sequence that are in a sound.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MatchedSequence {
    /// One for each tone at most, in the order of time.
    pub(super) tones: Vec<MatchedTone>,
    /// They are in the sequence's order, too.
    pub(super) in_order: bool,
}

/// Finds the speed at which most segments are tones of the sequence, and which those are. `None` if fewer than two tones
/// are there.
pub(super) fn match_sequence(mut segments: Vec<ToneSegment>, sequence: &ToneSequence) -> Option<MatchedSequence> {
    if segments.len() > MAX_SEGMENTS {
        segments.sort_by(|a, b| b.length_s().total_cmp(&a.length_s()));
        segments.truncate(MAX_SEGMENTS);
        segments.sort_by(|a, b| a.from_s.total_cmp(&b.from_s));
    }
    let mut speeds: Vec<f64> = segments
        .iter()
        .flat_map(|segment| sequence.tones.iter().map(|tone| segment.hertz / tone.hertz))
        .filter(|speed| SPEEDS.contains(speed))
        .collect();
    // Of two speeds that match as much, the first counts: the one nearer to 1.
    speeds.sort_by(|a, b| a.ln().abs().total_cmp(&b.ln().abs()));
    // The right speed is there once for each segment: of speeds that are nearly the same, one is tried.
    let mut tried: Vec<f64> = Vec::new();
    let mut best: Option<(Vec<MatchedTone>, (usize, usize))> = None;
    for speed in speeds {
        if tried.iter().any(|other| (speed / other - 1.0).abs() < MAX_DEVIATION / 5.0) {
            continue;
        }
        tried.push(speed);
        let matched = match_at_speed(&segments, sequence, speed);
        let sounds_s: f64 = matched.iter().map(MatchedTone::sounds_s).sum();
        // In tenths of a second: a smaller difference decides nothing.
        let score = (count_distinct(&matched), (sounds_s * 10.0) as usize);
        if best.as_ref().is_none_or(|(_, other)| score > *other) {
            best = Some((matched, score));
        }
    }
    best.filter(|(_, (distinct, _))| *distinct >= 2).map(|(matched, _)| one_of_each(matched))
}

/// Number of different tones.
fn count_distinct(matched: &[MatchedTone]) -> usize {
    let mut tones: Vec<usize> = matched.iter().map(|matched| matched.tone).collect();
    tones.sort_unstable();
    tones.dedup();
    tones.len()
}

/// The tones that the segments are if the sequence was played at a speed.
fn match_at_speed(segments: &[ToneSegment], sequence: &ToneSequence, speed: f64) -> Vec<MatchedTone> {
    let mut matched: Vec<MatchedTone> = Vec::new();
    for segment in segments {
        let near = |hertz: f64| (segment.hertz / (hertz * speed) - 1.0).abs() < MAX_DEVIATION;
        let Some(tone) = sequence.tones.iter().position(|tone| near(tone.hertz)) else { continue };
        match matched.last_mut() {
            // No tone follows itself in the sequence: the same frequency again is the same tone after a dropout.
            Some(last) if last.tone == tone && segment.from_s - last.end_s() < MAX_DROPOUT_S => {
                last.segments.push(*segment);
            }
            _ => matched.push(MatchedTone { tone, segments: vec![*segment] }),
        }
    }
    matched.retain(|it| it.sounds_s() >= MIN_PART * sequence.tones[it.tone].length_s / speed);
    matched
}

/// Picks one of each tone, as the sequence may be there several times: the longest run in the sequence's order (of
/// several, the shortest in time), and the tones that are missing in it from elsewhere.
fn one_of_each(matched: Vec<MatchedTone>) -> MatchedSequence {
    // For each, the best run that ends with it: length, beginning in seconds, index of the one before.
    let mut runs: Vec<(usize, f64, Option<usize>)> = Vec::new();
    for (i, this) in matched.iter().enumerate() {
        let mut run = (1, this.begin_s(), None);
        for (j, other) in matched[..i].iter().enumerate() {
            let (length, from, _) = runs[j];
            if other.tone < this.tone && (length + 1 > run.0 || (length + 1 == run.0 && from > run.1)) {
                run = (length + 1, from, Some(j));
            }
        }
        runs.push(run);
    }
    let span = |i: usize| matched[i].end_s() - runs[i].1;
    let last = (0..runs.len()).max_by(|a, b| runs[*a].0.cmp(&runs[*b].0).then(span(*b).total_cmp(&span(*a))));
    let mut chosen: Vec<usize> = std::iter::successors(last, |i| runs[*i].2).collect();
    let in_order = chosen.len() == count_distinct(&matched);
    if !in_order {
        for (i, this) in matched.iter().enumerate() {
            if !chosen.iter().any(|j| matched[*j].tone == this.tone) {
                chosen.push(i);
            }
        }
    }
    let tones = matched.into_iter().enumerate().filter(|(i, _)| chosen.contains(i)).map(|(_, tone)| tone).collect();
    MatchedSequence { tones, in_order }
}
