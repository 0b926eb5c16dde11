//! The sound that is played in the guest: a sequence of test tones that can be recognised from a few of them.
//!
//! No two tones have the same frequency, none is a harmonic of another or of the mains (50, 60 Hz), and no two pairs
//! of them have the same ratio: so a few of them are enough to say which they are, at whatever speed they were played.
//! Some are on the left only, some on the right only: this shows channels that were swapped, lost or mixed.

use std::f64::consts::{PI, TAU};

use crate::signal::samples::{Samples, amplitude};

/// The default rate of the rendered sequence, in frames a second: what PipeWire and PulseAudio run at by default or
/// convert from without loss.
pub(crate) const RATE: u32 = 48_000;
/// The level of the tones, in dBFS: loud enough to stay well above 16 bits' noise
/// after WirePlumber's default volume (0.40, about -24 dB), and far from clipping if something amplifies.
pub(super) const LEVEL_DBFS: f64 = -12.0;
/// How long a tone lasts with its fades, in seconds.
pub(crate) const TONE_S: f64 = 0.42;
/// The silence between two tones, in seconds.
pub(super) const GAP_S: f64 = 0.1;
/// The fade at both ends of a tone (raised cosine), in seconds: without it a tone begins with a click, which has every
/// frequency.
const FADE_S: f64 = 0.01;
/// The tones of the sequence in their order: frequency in Hz (all prime, 5 Hz or more from the mains' multiples) and
/// channels.
pub(super) const TONES: [(f64, Side); 6] = [
    (641.0, Side::Both),
    (1361.0, Side::Left),
    (443.0, Side::Right),
    (1823.0, Side::Both),
    (811.0, Side::Right),
    (2137.0, Side::Left),
];

/// The channels that a tone is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// In the left channel only.
    Left,
    /// In the right channel only.
    Right,
    /// In both channels.
    Both,
}

impl Side {
    /// Where it is once the channels are swapped.
    pub(super) fn swapped(self) -> Self {
        match self {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
            Side::Both => Side::Both,
        }
    }
}

/// One tone of a sequence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TestTone {
    /// Frequency in Hz.
    pub hertz: f64,
    /// The channels it is in.
    pub side: Side,
    /// When it begins, in seconds from the beginning of the sequence.
    pub start_s: f64,
    /// How long it lasts with its fades, in seconds.
    pub length_s: f64,
}

impl TestTone {
    /// When it ends, in seconds from the beginning of the sequence.
    pub(super) fn end_s(&self) -> f64 {
        self.start_s + self.length_s
    }
}

/// Test tones one after the other with silence between them.
#[derive(Debug, Clone, PartialEq)]
pub struct ToneSequence {
    /// The tones in their order.
    pub tones: Vec<TestTone>,
    /// Their level in dBFS.
    pub level_dbfs: f64,
    /// The fade at both ends of each tone, in seconds.
    pub fade_s: f64,
}

impl Default for ToneSequence {
    /// The sequence that nixbox plays: six tones, each on its channels, at -12 dBFS.
    fn default() -> Self {
        let tones = TONES.iter().enumerate().map(|(i, (hertz, side))| TestTone {
            hertz: *hertz,
            side: *side,
            start_s: i as f64 * (TONE_S + GAP_S),
            length_s: TONE_S,
        });
        Self { tones: tones.collect(), level_dbfs: LEVEL_DBFS, fade_s: FADE_S }
    }
}

impl ToneSequence {
    /// From the beginning of the first tone to the end of the last, in seconds.
    pub fn length_s(&self) -> f64 {
        self.tones.iter().map(TestTone::end_s).fold(0.0, f64::max)
    }
}

/// The sequence as sound at a rate in frames a second, with nothing before or after it. A tone at half the rate or above
/// is left silent.
pub fn render(sequence: &ToneSequence, rate: u32) -> Samples {
    let per_second = f64::from(rate.max(1));
    let frames = (sequence.length_s() * per_second).ceil() as usize;
    let (mut left, mut right) = (vec![0.0; frames], vec![0.0; frames]);
    let peak = amplitude(sequence.level_dbfs);
    for tone in sequence.tones.iter().filter(|tone| tone.hertz < per_second / 2.0) {
        let begin = (tone.start_s * per_second).round() as usize;
        let length = (tone.length_s * per_second).round() as usize;
        for (i, at) in (begin..frames.min(begin + length)).enumerate() {
            let from_edge = i.min(length - 1 - i) as f64 / per_second;
            let fade =
                if from_edge < sequence.fade_s { 0.5 - 0.5 * (PI * from_edge / sequence.fade_s).cos() } else { 1.0 };
            let value = peak * fade * (TAU * tone.hertz * i as f64 / per_second).sin();
            if tone.side != Side::Right {
                left[at] += value;
            }
            if tone.side != Side::Left {
                right[at] += value;
            }
        }
    }
    Samples::new(rate, left, right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_two_tones_identify_themselves_at_any_speed() {
        let mut ratios = Vec::new();
        for (i, (a, _)) in TONES.iter().enumerate() {
            for (b, _) in &TONES[i + 1..] {
                let ratio = a.max(*b) / a.min(*b);
                assert!((ratio - ratio.round()).abs() > 0.04, "{a} and {b} are harmonics");
                ratios.push(a / b);
                ratios.push(b / a);
            }
            for mains in [50.0, 60.0] {
                assert!((a / mains - (a / mains).round()).abs() * mains >= 5.0, "{a} is near a multiple of {mains}");
            }
            assert!((2..40).all(|n| a % f64::from(n) != 0.0), "{a} is not prime");
        }
        ratios.sort_by(f64::total_cmp);
        for pair in ratios.windows(2) {
            assert!(pair[1] / pair[0] > 1.05, "two pairs have the ratio {}", pair[0]);
        }
    }

    #[test]
    fn each_tone_is_where_it_should_be_with_silence_between() {
        let sequence = ToneSequence::default();
        let sound = render(&sequence, RATE);
        assert!((sequence.length_s() - 3.02).abs() < 1e-9);
        assert!((sound.seconds() - 3.02).abs() < 1e-4);
        let peak = |samples: &[f64]| samples.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
        for tone in &sequence.tones {
            let part = sound.part(tone.start_s, tone.end_s());
            let expected = amplitude(LEVEL_DBFS);
            let (left, right) = (peak(part.left()), peak(part.right()));
            assert!(if tone.side == Side::Right { left == 0.0 } else { (left / expected - 1.0).abs() < 0.01 });
            assert!(if tone.side == Side::Left { right == 0.0 } else { (right / expected - 1.0).abs() < 0.01 });
            let gap = sound.part(tone.end_s() + 0.001, tone.end_s() + GAP_S - 0.001);
            assert_eq!(peak(gap.left()).max(peak(gap.right())), 0.0);
        }
    }

    #[test]
    fn a_rate_that_cannot_carry_a_tone_leaves_it_out() {
        let sound = render(&ToneSequence::default(), 2000);
        assert!(sound.part(0.0, TONE_S).left().iter().any(|value| *value != 0.0));
        let (second, third) = (TONE_S + GAP_S, 2.0 * (TONE_S + GAP_S));
        assert!(sound.part(second, third - 0.01).left().iter().all(|value| *value == 0.0));
        assert_eq!(render(&ToneSequence::default(), 0).rate(), 1);
    }
}
