//! How a sequence of tones arrived: what is wrong with it, and what is only worth a note.

use crate::audio::facts::TonePlayback;
use crate::model::{CheckResult, Status};
use crate::signal::CaptureAnalysis;
use crate::signal::tone::{Layout, Playback, TONE_S};
use crate::text::quote;

/// How far a pitch may be off. A misdeclared rate is off by 8 % at least (44.1 for 48 kHz). Of 84 plays and recordings of
/// sound that was not to be found fault with (TCG, two machines at once on two cores; 41 of them with both ways of the card
/// in use at once), 82 were within 0.0014 %, as QEMU counts samples and not time; the others were off by 0.65 and 0.13 %
/// where pieces of them were missing (spread 5.8 and 0.3 %), which no pitch is that all tones share.
const PITCH: f64 = 0.01;
/// How far the length of the tones may be off, where it is the same of all of them. Of the 84 of [`PITCH`], 73 took 99.9 to
/// 100.1 % of their time. Ten took 81 to 99 %, three of them without any silence: a guest that is late by more than the
/// card's ring skips what was in it. That shortens the tones where it happens, each otherwise (one was 65 % of its length);
/// what plays too fast shortens all alike.
const LENGTH: f64 = 0.02;
/// What makes all tones too fast or too slow by the same factor.
const RATE_WRONG: &str = "a sample rate is configured wrong (default.clock.rate or audio.rate of the sink; \
                          PulseAudio: default-sample-rate)";
/// Beyond this a wrong pitch is reported as a wrong speed.
const SPEED: f64 = 0.2;
/// The share of the sequence that may be missing. A guest that is emulated on a busy host loses some (of the 84 of [`PITCH`]
/// 0.17 s at most, 5 %): dropouts are a note, unless so much is gone that nobody would call it playing, and by gaps longer
/// than a host's hiccup.
const DROPPED: f64 = 0.3;
/// A gap that long is no hiccup, in seconds.
const GAP_S: f64 = 0.15;
/// A channel below this is silent, in dBFS: the tones are sent at -12, and a volume of 0.4 takes 24 dB at most.
const SILENT_DBFS: f64 = -80.0;
/// How many dropouts are named with their times.
const NAMED: usize = 5;

/// The playback in a line.
pub(super) fn arrived(how: &str, program: &str, analysis: Option<&CaptureAnalysis>) -> String {
    let Some((analysis, it)) = analysis.and_then(|analysis| Some((analysis, analysis.playback.as_ref()?))) else {
        return String::new();
    };
    format!(
        "{} tones {how} {program} in {:.2} s, pitch {:+.2} %, peak {:.0} dBFS",
        it.tones.iter().flatten().count(),
        it.length_s,
        (it.pitch_ratio - 1.0) * 100.0,
        loudest(analysis),
    )
}

/// Adds to a pass what is worth a note, and the measurements.
pub(super) fn attach(mut result: CheckResult, analysis: Option<&CaptureAnalysis>, first: Option<&str>) -> CheckResult {
    if result.status == Status::Pass {
        result.detail.extend(analysis.into_iter().flat_map(|analysis| notes(analysis, first)));
        result.evidence.insert("heard".to_owned(), serde_json::to_value(analysis).unwrap_or_default());
    }
    result
}

/// The louder channel's peak, in dBFS.
pub(super) fn loudest(analysis: &CaptureAnalysis) -> f64 {
    analysis.left.peak_dbfs.max(analysis.right.peak_dbfs)
}

/// Whether nobody could hear it.
pub(super) fn is_inaudible(analysis: &CaptureAnalysis) -> bool {
    analysis.silent || loudest(analysis) < SILENT_DBFS
}

/// What is worth a word where nothing is wrong.
fn notes(analysis: &CaptureAnalysis, first: Option<&str>) -> Vec<String> {
    let mut notes: Vec<String> =
        first.map(|what| format!("at the first attempt {what}; the second was fine")).into_iter().collect();
    if let Some(it) = &analysis.playback {
        if !it.dropouts.is_empty() {
            let times = it.dropouts.iter().take(NAMED).map(|dropout| format!("{:.2}", dropout.start_s));
            let (count, times) = (it.dropouts.len(), times.collect::<Vec<_>>().join(", "));
            notes.push(format!("{count} dropouts (at {times} s): host contention can cause them too"));
        }
        let lost = 1.0 - it.length_ratio_without_dropouts;
        if lost > LENGTH {
            notes.push(format!("{:.1} % of the sound was skipped: host contention can cause that too", lost * 100.0));
        }
    }
    let clipped = analysis.left.clipped_samples + analysis.right.clipped_samples;
    if clipped > 0 {
        notes.push(format!("{clipped} samples are clipped: something on the way amplifies"));
    }
    notes
}

/// What is wrong with what was captured, the likeliest cause first. `off`: the card's own switches that are.
pub(super) fn wrong(tone: &TonePlayback, off: &[String]) -> Vec<String> {
    let Some(analysis) = &tone.analysis else {
        return vec![format!("{} played, but nothing came out of the card", tone.player)];
    };
    match &analysis.playback {
        Some(it) => altered(analysis, it),
        None => vec![no_tones(analysis, off)],
    }
}

/// What of the sequence arrived otherwise than it was sent.
pub(super) fn altered(analysis: &CaptureAnalysis, it: &Playback) -> Vec<String> {
    let mut wrong: Vec<String> = [pitch(it), channels(analysis, it.layout), torn(it)].into_iter().flatten().collect();
    if wrong.is_empty() && !it.complete {
        let lost = it.tones.iter().filter(|tone| tone.is_none()).count();
        wrong.push(format!("{lost} of {} tones did not arrive", it.tones.len()));
    }
    if wrong.is_empty() && !it.in_order {
        wrong.push("the tones arrived in the wrong order".to_owned());
    }
    let evenly = tone_ratio(it);
    if wrong.is_empty() && it.dropouts.is_empty() && (evenly - 1.0).abs() > LENGTH {
        wrong.push(format!("it took {:.1} % of the right time, at the right pitch", evenly * 100.0));
    }
    wrong
}

/// What is wrong with a sequence of which something arrived, if anything.
pub(in crate::audio) fn distortion(analysis: &CaptureAnalysis) -> Option<String> {
    altered(analysis, analysis.playback.as_ref()?).into_iter().next()
}

/// What is declared wrongly shifts all tones alike. Where pieces of them are missing each is off by chance: by +1.3, -1.3
/// and +1.7 % once, at a load of 9; that is said by what is missing, if much is.
fn pitch(it: &Playback) -> Option<String> {
    let (speed, off) = (it.pitch_ratio, (it.pitch_ratio - 1.0).abs());
    if off <= 2.0 * it.pitch_spread {
        None
    } else if off > SPEED {
        Some(format!("it plays at {speed:.2} times the right speed: {RATE_WRONG}"))
    } else if off > PITCH {
        let percent = (speed - 1.0) * 100.0;
        Some(format!("the pitch is off by {percent:+.1} %: {RATE_WRONG}"))
    } else {
        None
    }
}

fn channels(analysis: &CaptureAnalysis, layout: Layout) -> Option<String> {
    let silent = |level: f64| level < SILENT_DBFS;
    let what = match layout {
        Layout::LeftOnly if silent(analysis.right.peak_dbfs) => "the right channel is silent",
        Layout::RightOnly if silent(analysis.left.peak_dbfs) => "the left channel is silent",
        Layout::LeftOnly => "the right channel is nearly silent",
        Layout::RightOnly => "the left channel is nearly silent",
        Layout::Swapped => "left and right are swapped",
        Layout::AsSent | Layout::Mono | Layout::Unclear => return None,
    };
    Some(what.to_owned())
}

/// The length of the tones by what it should be, where it is the same of all: what plays too fast shortens all alike.
/// What a late guest skips scatters them (0.44, 0.89 and 0.91 of the microphone's three, once): then it is 1.
fn tone_ratio(it: &Playback) -> f64 {
    let ratios = || it.tones.iter().flatten().map(|tone| tone.length_s / TONE_S);
    let (least, most) = (ratios().fold(f64::INFINITY, f64::min), ratios().fold(0.0, f64::max));
    if most - least <= LENGTH { (least + most) / 2.0 } else { 1.0 }
}

/// Dropouts that no hiccup of the host's explains.
fn torn(it: &Playback) -> Option<String> {
    let lengths = || it.dropouts.iter().map(|dropout| dropout.length_s);
    let long: f64 = lengths().filter(|length| *length >= GAP_S).sum();
    (long > DROPPED * it.length_s && it.length_s > 0.0).then(|| {
        let (count, longest, share) = (it.dropouts.len(), lengths().fold(0.0, f64::max), long / it.length_s * 100.0);
        format!("{count} dropouts of up to {longest:.2} s make up {share:.0} % of the time")
    })
}

/// Why none of the tones was found.
fn no_tones(analysis: &CaptureAnalysis, off: &[String]) -> String {
    match off {
        _ if !is_inaudible(analysis) => {
            let loudest = loudest(analysis);
            format!("something came out of the card ({loudest:.0} dBFS), but none of the tones is in it")
        }
        [] => "only silence came out of the card".to_owned(),
        [one] => format!(
            "only silence came out of the card: its mixer control {one} is muted (amixer sset {} unmute)",
            quote(one)
        ),
        [first, ..] => format!(
            "only silence came out of the card: its mixer controls {} are muted (amixer sset {} unmute)",
            off.join(", "),
            quote(first)
        ),
    }
}
