use proptest::prelude::*;

use super::sequence::{GAP_S, LEVEL_DBFS, TONES};
use super::*;
use crate::signal::samples::{FLOOR_DBFS, Samples};

/// Low, as the tests are not optimised. The highest tone fits.
const RATE: u32 = 8000;

/// A capture of the sequence, to be impaired.
#[derive(Clone)]
struct Take {
    rate: u32,
    left: Vec<f64>,
    right: Vec<f64>,
}

impl Take {
    fn at(rate: u32) -> Self {
        let sound = render(&ToneSequence::default(), rate);
        Self { rate, left: sound.left().to_vec(), right: sound.right().to_vec() }
    }

    fn new() -> Self {
        Self::at(RATE)
    }

    fn each(mut self, change: impl Fn(f64) -> f64) -> Self {
        self.left.iter_mut().chain(&mut self.right).for_each(|value| *value = change(*value));
        self
    }

    fn gain(self, gain: f64) -> Self {
        self.each(|value| value * gain)
    }

    /// Silence of so many seconds put in at a time in seconds.
    fn silence(mut self, at: f64, seconds: f64) -> Self {
        let at = (at * f64::from(self.rate)) as usize;
        let zeros = vec![0.0; (seconds * f64::from(self.rate)) as usize];
        self.left.splice(at..at, zeros.iter().copied());
        self.right.splice(at..at, zeros);
        self
    }

    /// Half a second of silence around it.
    fn padded(self) -> Self {
        let end = self.left.len() as f64 / f64::from(self.rate);
        self.silence(end, 0.5).silence(0.0, 0.5)
    }

    /// White noise of an amplitude.
    fn noise(mut self, seed: u64, amplitude: f64) -> Self {
        let mut noise = noise(seed);
        self.left.iter_mut().chain(&mut self.right).for_each(|value| *value += amplitude * noise());
        self
    }

    /// Played at a rate as if it were another one.
    fn declared(mut self, rate: u32) -> Self {
        self.rate = rate;
        self
    }

    fn swapped(mut self) -> Self {
        std::mem::swap(&mut self.left, &mut self.right);
        self
    }

    fn analysis(self) -> CaptureAnalysis {
        analyse(&Samples::new(self.rate, self.left, self.right), &ToneSequence::default())
    }

    fn playback(self) -> Playback {
        self.analysis().playback.expect("the sequence is recognised")
    }
}

/// Numbers from -1 to 1 that are the same each time (xorshift).
fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// The whole sequence at the right time and pitch, in order and without dropouts.
#[track_caller]
fn assert_good(playback: &Playback, start_s: f64) {
    assert!(playback.complete && playback.in_order, "{playback:#?}");
    assert_eq!(playback.layout, Layout::AsSent);
    assert_eq!(playback.dropouts, []);
    assert!((playback.start_s - start_s).abs() < 0.006, "{}", playback.start_s);
    assert!((playback.length_ratio - 1.0).abs() < 0.004, "{}", playback.length_ratio);
    assert!((playback.pitch_ratio - 1.0).abs() < 0.0005, "{}", playback.pitch_ratio);
    assert!(playback.pitch_spread < 0.002, "{}", playback.pitch_spread);
}

#[test]
fn what_arrives_as_it_was_sent_is_measured_exactly() {
    for rate in [8000, 44_100, 48_000, 96_000] {
        let analysis = Take::at(rate).padded().analysis();
        let playback = analysis.playback.unwrap();
        assert_good(&playback, 0.5);
        assert!(
            (analysis.left.peak_dbfs - LEVEL_DBFS).abs() < 0.1 && (analysis.right.peak_dbfs - LEVEL_DBFS).abs() < 0.1
        );
        assert_eq!((analysis.silent, analysis.left.clipped_samples, analysis.noise_floor_dbfs), (false, 0, FLOOR_DBFS));
        for (i, (tone, (hertz, side))) in playback.tones.iter().zip(TONES).enumerate() {
            let tone = tone.unwrap();
            assert_eq!((tone.expected_hertz, tone.sent, tone.side), (hertz, side, side));
            assert!((tone.hertz - hertz).abs() < 0.2, "{rate}: {} for {hertz}", tone.hertz);
            assert!((tone.start_s - (0.5 + i as f64 * (TONE_S + GAP_S))).abs() < 0.003, "{}", tone.start_s);
            assert!((tone.length_s - TONE_S).abs() < 0.005, "{}", tone.length_s);
            assert!((tone.left_dbfs.max(tone.right_dbfs) - LEVEL_DBFS).abs() < 0.1, "{tone:?}");
            assert!(tone.purity > 0.99, "{}", tone.purity);
        }
    }
}

#[test]
fn silence_has_no_playback() {
    for seconds in [0, 1, 100, 8000, 80_000] {
        let analysis = Take { rate: RATE, left: vec![0.25; seconds], right: vec![0.0; seconds] }.analysis();
        assert!(analysis.silent && analysis.playback.is_none());
        assert_eq!(analysis.right, ChannelLevels { peak_dbfs: FLOOR_DBFS, dc_offset: 0.0, clipped_samples: 0 });
    }
}

#[test]
fn one_tone_is_no_sequence() {
    let mut take = Take::new();
    take.left.truncate((TONE_S * f64::from(RATE)) as usize);
    let analysis = take.padded().analysis();
    assert!(!analysis.silent && analysis.playback.is_none());
}

#[test]
fn swapped_channels_are_reported() {
    assert_eq!(Take::new().swapped().playback().layout, Layout::Swapped);
}

#[test]
fn a_missing_channel_is_reported() {
    let left = Take { right: vec![0.0; Take::new().left.len()], ..Take::new() };
    let playback = left.clone().playback();
    assert_eq!(playback.layout, Layout::LeftOnly);
    let there: Vec<bool> = playback.tones.iter().map(Option::is_some).collect();
    assert_eq!(there, TONES.map(|(_, side)| side != Side::Right));
    assert!(playback.in_order && !playback.complete);
    assert!((playback.length_ratio - 1.0).abs() < 0.01);
    assert_eq!(left.swapped().playback().layout, Layout::RightOnly);
}

#[test]
fn a_mix_to_mono_is_reported() {
    let take = Take::new();
    let mix: Vec<f64> = take.left.iter().zip(&take.right).map(|(l, r)| (l + r) / 2.0).collect();
    let playback = Take { left: mix.clone(), right: mix.clone(), ..take }.playback();
    assert_eq!(playback.layout, Layout::Mono);
    assert!(playback.complete);
    let left = Take { rate: RATE, right: vec![0.0; mix.len()], left: mix };
    assert_eq!(left.playback().layout, Layout::LeftOnly);
}

#[test]
fn a_wrong_rate_shows_in_pitch_and_length() {
    for (sent, declared) in [(48_000, 44_100), (44_100, 48_000), (16_000, 8000), (8000, 16_000), (16_000, 4800)] {
        let playback = Take::at(sent).padded().declared(declared).playback();
        let ratio = f64::from(declared) / f64::from(sent);
        assert!(playback.in_order, "{playback:#?}");
        assert!((playback.pitch_ratio / ratio - 1.0).abs() < 0.001, "{} for {ratio}", playback.pitch_ratio);
        assert!((playback.length_ratio * ratio - 1.0).abs() < 0.01, "{} for {ratio}", playback.length_ratio);
        assert_eq!(playback.dropouts, [], "{ratio}");
        assert_eq!(playback.layout, Layout::AsSent);
    }
}

#[test]
fn another_order_is_reported() {
    let mut sequence = ToneSequence::default();
    let (second, third) = (sequence.tones[1], sequence.tones[2]);
    sequence.tones[1] = TestTone { start_s: second.start_s, ..third };
    sequence.tones[2] = TestTone { start_s: third.start_s, ..second };
    let analysis = analyse(&render(&sequence, RATE), &ToneSequence::default());
    let playback = analysis.playback.unwrap();
    assert!(playback.complete && !playback.in_order);
}

#[test]
fn of_two_playbacks_the_complete_one_counts() {
    let mut take = Take::new();
    // The second half, half a second of silence, the whole.
    let half = take.left.len() / 2;
    let again = |values: &[f64]| [&values[half..], &[0.0; 4000], values].concat();
    take = Take { left: again(&take.left), right: again(&take.right), rate: RATE };
    assert_good(&take.playback(), (half as f64 + 4000.0) / f64::from(RATE));
}

#[test]
fn clipping_is_counted() {
    let analysis = Take::new().gain(8.0).each(|value| value.clamp(-1.0, 1.0)).analysis();
    assert!(analysis.left.clipped_samples > 1000 && analysis.right.clipped_samples > 1000);
    let playback = analysis.playback.unwrap();
    assert!(playback.complete && playback.in_order);
    assert!(playback.tones.iter().flatten().all(|tone| tone.purity < 0.98));
    assert_eq!(Take::new().gain(3.9).analysis().left.clipped_samples, 0);
}

#[test]
fn a_dc_offset_is_reported_and_disturbs_nothing() {
    let analysis = Take::new().padded().each(|value| value + 0.2).analysis();
    assert!((analysis.left.dc_offset - 0.2).abs() < 0.001);
    assert_good(&analysis.playback.unwrap(), 0.5);
}

#[test]
fn a_beginning_or_an_end_that_is_missing_leaves_the_rest() {
    let whole = Take::new();
    let cut = (1.2 * f64::from(RATE)) as usize;
    let end = Take { left: whole.left[cut..].to_vec(), right: whole.right[cut..].to_vec(), ..whole.clone() }.playback();
    assert_eq!(end.tones.iter().map(Option::is_some).collect::<Vec<_>>(), [false, false, true, true, true, true]);
    assert!((end.length_ratio - (3.02 - 1.2) / (3.02 - 1.04)).abs() < 0.01, "{}", end.length_ratio);
    let begin = Take { left: whole.left[..cut].to_vec(), right: whole.right[..cut].to_vec(), ..whole }.playback();
    assert_eq!(begin.tones.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, true, false, false, false]);
}

#[test]
fn a_gap_that_is_too_long_is_a_dropout_of_no_tone() {
    let playback = Take::new().silence(2.0 * (TONE_S + GAP_S) - 0.05, 0.2).playback();
    let [dropout] = playback.dropouts[..] else { panic!("{playback:#?}") };
    assert_eq!(dropout.tone, None);
    assert!((dropout.length_s - 0.2).abs() < 0.01 && (dropout.start_s - 1.04).abs() < 0.01, "{dropout:?}");
    assert!((playback.length_ratio - 3.22 / 3.02).abs() < 0.01);
    assert!((playback.length_ratio_without_dropouts - 1.0).abs() < 0.01);
}

#[test]
fn a_playback_with_dropouts_every_50_ms_is_still_recognised() {
    let mut take = Take::new();
    // From the end, so that earlier times stay what they are: 30 ms of silence every 50 ms.
    for i in (0..60).rev() {
        take = take.silence(f64::from(i) * 0.05 + 0.013, 0.03);
    }
    let playback = take.padded().playback();
    assert!(playback.complete && playback.in_order);
    assert!(playback.dropouts.len() > 45, "{}", playback.dropouts.len());
    assert!((playback.length_ratio - 1.58).abs() < 0.04, "{}", playback.length_ratio);
    assert!((playback.length_ratio_without_dropouts - 1.0).abs() < 0.04, "{}", playback.length_ratio_without_dropouts);
    assert!((playback.pitch_ratio - 1.0).abs() < 0.005);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_is_no_sequence(seed in any::<u64>(), level in -70.0..0.0f64, seconds in 0.0..4.0f64) {
        let frames = (seconds * f64::from(RATE)) as usize;
        let silence = Take { rate: RATE, left: vec![0.0; frames], right: vec![0.0; frames] };
        let analysis = silence.noise(seed, 10f64.powf(level / 20.0)).analysis();
        prop_assert!(analysis.playback.is_none());
        prop_assert!(analysis.silent == (frames == 0));
        // The RMS of even noise is 4.8 dB below its peak.
        prop_assert!(seconds < 1.0 || (analysis.noise_floor_dbfs - (level - 4.8)).abs() < 2.0);
    }

    #[test]
    fn it_is_found_wherever_it_begins_and_however_loud(offset in 0.0..2.0f64, level in -45.0..11.0f64) {
        let gain = 10f64.powf(level / 20.0);
        let playback = Take::new().gain(gain).silence(0.0, offset).playback();
        assert_good(&playback, offset);
        for tone in playback.tones.iter().flatten() {
            prop_assert!((tone.left_dbfs.max(tone.right_dbfs) - LEVEL_DBFS - level).abs() < 0.2);
        }
    }

    #[test]
    fn it_is_found_in_noise(seed in any::<u64>(), below in 3.0..60.0f64) {
        let playback = Take::new().padded().noise(seed, 10f64.powf((LEVEL_DBFS - below) / 20.0)).playback();
        prop_assert!(playback.complete && playback.in_order);
        prop_assert_eq!(playback.layout, Layout::AsSent);
        prop_assert!((playback.pitch_ratio - 1.0).abs() < 0.002);
        prop_assert!((playback.length_ratio - 1.0).abs() < 0.03, "{}", playback.length_ratio);
        prop_assert!(playback.dropouts.is_empty(), "{:?}", playback.dropouts);
    }

    #[test]
    fn it_is_found_at_any_rate(rate in 8000u32..32_000) {
        assert_good(&Take::at(rate).padded().playback(), 0.5);
    }

    #[test]
    fn it_is_found_at_any_speed(speed in 0.35..2.8f64) {
        let sent = 16_000u32;
        let playback = Take::at(sent).padded().declared((f64::from(sent) * speed) as u32).playback();
        prop_assert!(playback.complete && playback.in_order);
        prop_assert!((playback.pitch_ratio / speed - 1.0).abs() < 0.002, "{} for {speed}", playback.pitch_ratio);
        prop_assert!((playback.length_ratio * speed - 1.0).abs() < 0.02, "{} for {speed}", playback.length_ratio);
        prop_assert_eq!(playback.dropouts.len(), 0);
    }

    #[test]
    fn dropouts_are_found_where_they_are(tone in 0usize..6, at in 0.06..0.36f64, length in 0.006..0.8f64) {
        let start = tone as f64 * (TONE_S + GAP_S) + at;
        let playback = Take::new().silence(start, length).padded().playback();
        prop_assert!(playback.complete && playback.in_order);
        let [dropout] = playback.dropouts[..] else { panic!("{playback:#?}") };
        prop_assert_eq!(dropout.tone, Some(tone));
        prop_assert!((dropout.start_s - 0.5 - start).abs() < 0.0025, "{} for {}", dropout.start_s, start + 0.5);
        prop_assert!((dropout.length_s - length).abs() < 0.0025, "{} for {length}", dropout.length_s);
        prop_assert!((playback.length_ratio - (3.02 + length) / 3.02).abs() < 0.004);
        prop_assert!((playback.length_ratio_without_dropouts - 1.0).abs() < 0.004);
        prop_assert!((playback.pitch_ratio - 1.0).abs() < 0.001);
    }

    #[test]
    fn any_sound_is_analysed_without_a_panic(
        rate in 0u32..200_000,
        values in prop::collection::vec(prop_oneof![-2.0..2.0f64, Just(f64::NAN), Just(f64::INFINITY)], 0..6000),
    ) {
        let half = values.len() / 2;
        let analysis = analyse(&Samples::new(rate, values[half..].to_vec(), values[..half].to_vec()), &ToneSequence::default());
        prop_assert!(analysis.left.peak_dbfs >= FLOOR_DBFS);
    }
}
