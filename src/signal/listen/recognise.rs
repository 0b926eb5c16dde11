//! Which stretches of tone are the tones of the sequence.

use super::track::Segment;
use crate::signal::tone::Sequence;

/// The slowest and the fastest playback that is recognised.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.24..=4.2;
/// By how much a tone may be off what the others say: the ratios of no two pairs of tones are nearer than 5 %.
const OFF: f64 = 0.015;
/// The part of its length that a tone must sound to be one: less is a whistle in the noise.
const PART: f64 = 0.2;
/// Longest silence in a tone, in seconds.
const LONGEST_DROPOUT_S: f64 = 5.0;
/// Most stretches that are looked at, the longest ones: an evil capture could have thousands.
const MOST: usize = 200;

/// Stretches that are one tone of the sequence, torn by dropouts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    /// Which tone of the sequence.
    pub(super) tone: usize,
    /// Its stretches, one or more, in the order of time.
    pub(super) pieces: Vec<Segment>,
}

impl Found {
    /// The middle of the first look, in seconds.
    pub(super) fn begin_s(&self) -> f64 {
        self.pieces.first().map_or(0.0, |piece| piece.from_s)
    }

    /// The middle of the last look, in seconds.
    pub(super) fn end_s(&self) -> f64 {
        self.pieces.last().map_or(0.0, |piece| piece.to_s)
    }

    /// How long it sounds, in seconds.
    fn sounds_s(&self) -> f64 {
        self.pieces.iter().map(Segment::length_s).sum()
    }
}

/// The tones that were recognised.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Recognised {
    /// One for each tone at most, in the order of time.
    pub(super) tones: Vec<Found>,
    /// That is the sequence's order, too.
    pub(super) in_order: bool,
}

/// Finds the speed at which most stretches are tones of the sequence, and which those are. `None` if fewer than two
/// tones are there.
pub(super) fn recognise(mut segments: Vec<Segment>, sequence: &Sequence) -> Option<Recognised> {
    if segments.len() > MOST {
        segments.sort_by(|a, b| b.length_s().total_cmp(&a.length_s()));
        segments.truncate(MOST);
        segments.sort_by(|a, b| a.from_s.total_cmp(&b.from_s));
    }
    let mut speeds: Vec<f64> = segments
        .iter()
        .flat_map(|segment| sequence.tones.iter().map(|tone| segment.hertz / tone.hertz))
        .filter(|speed| SPEEDS.contains(speed))
        .collect();
    // Of two speeds that explain as much, the one nearer to the right one.
    speeds.sort_by(|a, b| a.ln().abs().total_cmp(&b.ln().abs()));
    // Each speed many times over: every tone that is there votes for the right one.
    let mut tried: Vec<f64> = Vec::new();
    let mut best: Option<(Vec<Found>, (usize, usize))> = None;
    for speed in speeds {
        if tried.iter().any(|other| (speed / other - 1.0).abs() < OFF / 5.0) {
            continue;
        }
        tried.push(speed);
        let found = at_speed(&segments, sequence, speed);
        let sounds: f64 = found.iter().map(Found::sounds_s).sum();
        // In tenths of a second: less decides nothing.
        let score = (distinct(&found), (sounds * 10.0) as usize);
        if best.as_ref().is_none_or(|(_, other)| score > *other) {
            best = Some((found, score));
        }
    }
    best.filter(|(_, (distinct, _))| *distinct >= 2).map(|(found, _)| choose(found))
}

/// Number of different tones.
fn distinct(found: &[Found]) -> usize {
    let mut tones: Vec<usize> = found.iter().map(|found| found.tone).collect();
    tones.sort_unstable();
    tones.dedup();
    tones.len()
}

/// What the stretches are if the sequence was played at a speed.
fn at_speed(segments: &[Segment], sequence: &Sequence, speed: f64) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for segment in segments {
        let near = |hertz: f64| (segment.hertz / (hertz * speed) - 1.0).abs() < OFF;
        let Some(tone) = sequence.tones.iter().position(|tone| near(tone.hertz)) else { continue };
        match found.last_mut() {
            // Neighbours in the sequence differ, so the same again is the same still.
            Some(last) if last.tone == tone && segment.from_s - last.end_s() < LONGEST_DROPOUT_S => {
                last.pieces.push(*segment);
            }
            _ => found.push(Found { tone, pieces: vec![*segment] }),
        }
    }
    found.retain(|found| found.sounds_s() >= PART * sequence.tones[found.tone].length_s / speed);
    found
}

/// One of each tone: the longest run in the sequence's order, the shortest in time of several, and what is missing
/// there from elsewhere.
fn choose(found: Vec<Found>) -> Recognised {
    // For each, the best run that ends with it: length, beginning, the one before.
    let mut runs: Vec<(usize, f64, Option<usize>)> = Vec::new();
    for (i, this) in found.iter().enumerate() {
        let mut run = (1, this.begin_s(), None);
        for (j, other) in found[..i].iter().enumerate() {
            let (length, from, _) = runs[j];
            if other.tone < this.tone && (length + 1 > run.0 || (length + 1 == run.0 && from > run.1)) {
                run = (length + 1, from, Some(j));
            }
        }
        runs.push(run);
    }
    let span = |i: usize| found[i].end_s() - runs[i].1;
    let last = (0..runs.len()).max_by(|a, b| runs[*a].0.cmp(&runs[*b].0).then(span(*b).total_cmp(&span(*a))));
    let mut chosen: Vec<usize> = std::iter::successors(last, |i| runs[*i].2).collect();
    let in_order = chosen.len() == distinct(&found);
    if !in_order {
        for (i, this) in found.iter().enumerate() {
            if !chosen.iter().any(|j| found[*j].tone == this.tone) {
                chosen.push(i);
            }
        }
    }
    chosen.sort_unstable();
    let mut found: Vec<Option<Found>> = found.into_iter().map(Some).collect();
    Recognised { tones: chosen.into_iter().filter_map(|i| found[i].take()).collect(), in_order }
}
