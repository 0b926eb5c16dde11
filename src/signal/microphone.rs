//! What the host plays into the machine's microphone, and what of it is in a recording.
//!
//! The test sequence's first tones again and again, with a pause before each time, from a file that QEMU's card reads.

use super::Samples;
use super::tone::{self, CaptureAnalysis, ToneSequence};

/// Frames a second, as QEMU runs its backends unless told otherwise.
const RATE: u32 = 44_100;
/// How long it plays, in seconds of what the guest records; then it is silent and delivers nothing.
const LENGTH_S: f64 = 60.0;
/// The silence before each repetition, in seconds.
const PAUSE_S: f64 = 0.5;
/// How many of the tones are played: enough to tell left from right, soon over.
const TONES: usize = 3;

/// The tones of one repetition.
pub(crate) fn sequence() -> ToneSequence {
    let mut sequence = ToneSequence::default();
    sequence.tones.truncate(TONES);
    sequence
}

/// How much has to be recorded until the sequence is in it once as a whole, wherever the recording begins, in seconds.
pub(crate) fn recording_s() -> f64 {
    2.0 * (sequence().length_s() + PAUSE_S)
}

/// All that is played: frames of 2 x 16 bits, little-endian, without a header.
pub(crate) fn samples() -> Vec<u8> {
    let sequence = sequence();
    let tones: Samples = tone::render(&sequence, RATE);
    let mut once = vec![0; (PAUSE_S * f64::from(RATE)) as usize * 4];
    // A float that does not fit saturates.
    let bytes = |value: &f64| ((value * 32767.0).round() as i16).to_le_bytes();
    once.extend(tones.left().iter().zip(tones.right()).flat_map(|(left, right)| [bytes(left), bytes(right)]).flatten());
    once.repeat((LENGTH_S / (PAUSE_S + sequence.length_s())) as usize)
}

/// What of the sequence is in a recording: of its repetitions the one that came best. The recording cuts off one that
/// would pass for too fast, a late guest skips a part of one; what is wrong with the input spoils all.
pub(crate) fn analyse(recording: &Samples) -> CaptureAnalysis {
    let sequence = sequence();
    let whole = tone::analyse(recording, &sequence);
    let Some(it) = &whole.playback else { return whole };
    let before = recording.part(0.0, it.start_s - PAUSE_S / 2.0);
    let after = recording.part(it.start_s + it.length_s + PAUSE_S / 2.0, recording.seconds());
    let off = |analysis: &CaptureAnalysis| {
        let complete = analysis.playback.as_ref().filter(|it| it.complete);
        complete.map_or(f64::INFINITY, |it| (it.length_ratio - 1.0).abs())
    };
    let others = [before, after].map(|part| tone::analyse(&part, &sequence));
    others.into_iter().fold(whole, |best, other| if off(&other) < off(&best) { other } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repetition_is_found_wherever_the_recording_begins() {
        let bytes = samples();
        assert!(bytes.len() < 11 << 20 && bytes.len() as f64 / 4.0 / f64::from(RATE) > LENGTH_S - 3.0);
        let value = |pair: &[u8]| f64::from(i16::from_le_bytes([pair[0], pair[1]])) / 32768.0;
        let frames = (recording_s() * f64::from(RATE)) as usize * 4;
        for offset in [0.0, 0.2, 0.45, 0.6, 0.9, 1.2, 1.5, 1.9] {
            let from = (offset * f64::from(RATE)) as usize * 4;
            let part = &bytes[from..from + frames];
            let left = part.chunks_exact(4).map(value).collect();
            let right = part.chunks_exact(4).map(|frame| value(&frame[2..])).collect();
            let playback = analyse(&Samples::new(RATE, left, right)).playback.unwrap();
            assert!(playback.complete && playback.in_order, "{offset}: {playback:?}");
            assert!((playback.length_ratio - 1.0).abs() < 0.01, "{offset}: {playback:?}");
        }
    }
}
