//! What came out of the card: the file that QEMU writes at the host's side of it.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::model::timeouts::audio::{CAPTURE_INTERVAL, DRAIN_LIMIT, SILENCE};
use crate::signal::{CaptureAnalysis, Samples, ToneSequence, tone, wav};

/// Most of a capture that is read, in bytes: 40 s. A machine that plays without end is captured at its end.
const CAPTURE: u64 = 7 << 20;
/// The bytes before the first sample, and of a frame.
const HEADER: u64 = 44;
const FRAME: u64 = 4;
/// Bytes of a second of sound.
const SECOND: f64 = 44_100.0 * FRAME as f64;

/// How long the capture is, in bytes.
pub(super) fn length(capture: &Path) -> u64 {
    std::fs::metadata(capture).map_or(0, |data| data.len())
}

/// Waits until the sequence is out, or nothing more comes, and analyses what was captured since `before`; `None` when
/// nothing came out at all. The error: why it could not be read.
pub(super) async fn drained(
    capture: &Path,
    before: u64,
    sequence: &ToneSequence,
    scale: f64,
) -> Result<Option<(Samples, CaptureAnalysis)>, String> {
    let deadline = Instant::now() + DRAIN_LIMIT.mul_f64(scale);
    let mut last = (length(capture), Instant::now());
    loop {
        let now = length(capture);
        if now != last.0 {
            last = (now, Instant::now());
        }
        let observation = CaptureObservation {
            seconds: now.saturating_sub(before) as f64 / SECOND,
            sequence_s: sequence.length_s(),
            still: last.1.elapsed(),
            timed_out: Instant::now() >= deadline,
        };
        match decide(&observation) {
            CaptureStep::Finish => break,
            CaptureStep::Analyse => {
                let part = analyse(capture, before, sequence).await?;
                if part.is_some_and(|(_, analysis)| analysis.playback.is_some_and(|it| it.complete)) {
                    break;
                }
            }
            CaptureStep::Wait => {}
        }
        sleep(CAPTURE_INTERVAL).await;
    }
    analyse(capture, before, sequence).await
}

/// What is known of a capture that may go on.
struct CaptureObservation {
    /// How much was captured since the player was started, in seconds.
    seconds: f64,
    /// How long the sequence is, in seconds.
    sequence_s: f64,
    /// How long nothing has been captured.
    still: Duration,
    timed_out: bool,
}

/// What is done about it.
#[derive(Debug, PartialEq, Eq)]
enum CaptureStep {
    Wait,
    /// See whether the sequence is in it as a whole.
    Analyse,
    /// No more is to come.
    Finish,
}

fn decide(observation: &CaptureObservation) -> CaptureStep {
    if observation.timed_out || observation.still >= SILENCE {
        CaptureStep::Finish
    } else if observation.seconds > observation.sequence_s * 1.1 {
        // Enough for the whole sequence and a little more.
        CaptureStep::Analyse
    } else {
        CaptureStep::Wait
    }
}

/// What was captured since `before`, and what of the sequence is in it; `None` when nothing came out.
async fn analyse(
    capture: &Path,
    before: u64,
    sequence: &ToneSequence,
) -> Result<Option<(Samples, CaptureAnalysis)>, String> {
    let (path, sequence) = (capture.to_owned(), sequence.clone());
    let work = move || -> Result<Option<(Samples, CaptureAnalysis)>, String> {
        let end = length(&path);
        // A whole number of frames.
        let from = before.max(HEADER).max(end.saturating_sub(CAPTURE));
        let from = from - (from - HEADER) % FRAME;
        if end <= from {
            return Ok(None);
        }
        let unreadable = |error: &dyn std::fmt::Display| format!("the sound card's capture cannot be read: {error}");
        let bytes = read(&path, from).map_err(|error| unreadable(&error))?;
        let capture = wav::read(&bytes).map_err(|error| unreadable(&error))?;
        let analysis = tone::analyse(&capture.samples, &sequence);
        Ok(Some((capture.samples, analysis)))
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}

/// The header, and what follows this byte.
fn read(path: &Path, from: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut bytes = vec![0; HEADER as usize];
    file.read_exact(&mut bytes)?;
    file.seek(SeekFrom::Start(from))?;
    file.take(CAPTURE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_is_over_when_it_is_still_or_has_all() {
        let table = [
            (0.0, 0, false, CaptureStep::Wait),
            (3.0, 100, false, CaptureStep::Wait),
            (3.4, 100, false, CaptureStep::Analyse),
            (3.4, 700, false, CaptureStep::Finish),
            (0.0, 700, false, CaptureStep::Finish),
            (9.0, 0, true, CaptureStep::Finish),
        ];
        for (seconds, still_ms, timed_out, step) in table {
            let still = Duration::from_millis(still_ms);
            let observation = CaptureObservation { seconds, sequence_s: 3.0, still, timed_out };
            assert_eq!(decide(&observation), step, "{seconds} {still_ms} {timed_out}");
        }
    }
}
