//! The machine's sound card: which one, and what is on the host's side of it.
//!
//! Out of the card into a file; into the card from a file. QEMU's `wav` backend does the first only, and a card has one
//! backend for both ways: so both are done by its `alsa` backend, whose devices are ALSA's `file` plugin over `null`
//! (alsa-lib's doc/pcm_plugins), where the runner's QEMU has it and it was seen to open them.
//!
//! `null` has no clock: it takes and gives as much as is asked for. QEMU's HDA tells from its buffer's filling whether
//! it is too slow (`hda_timer_sync_adjust` in hw/audio/hda-codec.c), so that a card over `null` runs ever faster than it
//! should, by 4 ms in 10, which an emulated guest cannot follow. The pace therefore comes from `STEP_US`: QEMU's mixer
//! hands on no more than its buffer holds each time that its timer fires.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::jail::{JailOptions, LaunchRequest};
use super::process::JailedProcess;
use super::spec::{Spec, environment};
use super::{mount_of, store_mount};
use crate::model::run_file;
use crate::signal::{CaptureAnalysis, Samples, ToneSequence, tone};

/// The period of QEMU's sound timer and the length of its buffers, in microseconds: as much sound each time as time has
/// passed. Where the host is late the card is as late, and not the guest.
const STEP_US: u32 = 10_000;
/// How long QEMU may take to open the devices: it does nothing else then.
const PROOF_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks whether it has.
const PROOF_INTERVAL: Duration = Duration::from_millis(20);
/// The microphone's samples: frames a second, as QEMU runs its backends unless told otherwise.
const RATE: u32 = 44_100;
/// How long the microphone speaks, in seconds of what the guest records; then it is silent and delivers nothing.
const SPOKEN_S: f64 = 60.0;
/// The silence before each time that the microphone says its sequence, in seconds.
const PAUSE_S: f64 = 0.5;
/// How many of the tones the microphone says: enough to tell left from right, soon said.
const SPOKEN_TONES: usize = 3;

/// A sound card of the runner's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnCard {
    /// QEMU's name for the device: `hda-duplex`.
    pub model: String,
    /// Its `id`, by which more arguments can change it.
    pub id: Option<String>,
}

/// QEMU's devices that are sound cards, or the codec that stands for one.
const CARDS: [&str; 11] = [
    "hda-output",
    "hda-duplex",
    "hda-micro",
    "AC97",
    "ES1370",
    "virtio-sound-pci",
    "virtio-sound-device",
    "usb-audio",
    "sb16",
    "cs4231a",
    "gus",
];

impl OwnCard {
    /// From a flag of QEMU's and its value, if they make a sound card. `-audio` does with a `model` only.
    pub(super) fn scan(flag: &str, value: &str) -> Option<Self> {
        let field = |key: &str| value.split(',').find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
        let model = match flag {
            "-device" | "--device" => value.split(',').next().filter(|model| CARDS.contains(model))?,
            "-audio" | "--audio" => field("model")?,
            "-soundhw" => value,
            _ => return None,
        };
        // A variable of the script's is no name.
        let id = field("id").filter(|id| flag.ends_with("device") && !id.contains(['$', '"', '{']));
        Some(Self { model: model.to_owned(), id: id.map(str::to_owned) })
    }
}

/// Whether the machine can be heard, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hearing {
    /// It gets a card of ours.
    Ours,
    /// It has cards, whose backend is replaced by ours.
    Replaced(Vec<String>),
    /// It has a card whose backend stays as it is; why.
    Unheard(String),
}

/// How a machine with these cards can be heard. Tried with QEMU 10: of what can follow a runner's arguments, an
/// `-audiodev` of the same id and `-global MODEL.audiodev` are ignored without a word, `-set audiodev.…` is refused;
/// `-set device.ID.audiodev` does it, for a device that has an id.
pub fn hearing(cards: &[OwnCard]) -> Hearing {
    if let Some(card) = cards.iter().find(|card| card.id.is_none()) {
        return Hearing::Unheard(format!(
            "the runner brings a sound card ({}) without an id, so that it cannot be led here",
            crate::text::bounded(&card.model, 40)
        ));
    }
    let named: Vec<String> = cards.iter().filter_map(|card| card.id.clone()).collect();
    if named.is_empty() { Hearing::Ours } else { Hearing::Replaced(named) }
}

/// QEMU's backend: with a way in where `microphone`.
pub(super) fn backend(spec: &Spec) -> OsString {
    if spec.microphone {
        let mut backend = format!("alsa,id=nixbox-sound,timer-period={STEP_US}");
        for way in ["in", "out"] {
            // The devices are always ready: to poll them would be to spin.
            let period = STEP_US / 2;
            backend.push_str(&format!(
                ",{way}.dev=nixbox_{way},{way}.try-poll=off,{way}.buffer-length={STEP_US},{way}.period-length={period}"
            ));
        }
        return backend.into();
    }
    super::spec::option("wav,id=nixbox-sound,path=", spec.run_file(run_file::SOUND), "")
}

/// What the microphone says, again and again.
pub fn spoken() -> ToneSequence {
    let mut sequence = ToneSequence::default();
    sequence.tones.truncate(SPOKEN_TONES);
    sequence
}

/// How much has to be recorded until the sequence is in it once as a whole, wherever the recording begins, in seconds.
pub fn recording_s() -> f64 {
    2.0 * (spoken().length_s() + PAUSE_S)
}

/// What of the microphone's sequence is in a recording: of its repetitions the one that came best. The recording cuts
/// off one that would pass for too fast, a late guest skips a part of one; what is wrong with the way in spoils all.
pub fn hear_spoken(recording: &Samples) -> CaptureAnalysis {
    let sequence = spoken();
    let heard = tone::analyse(recording, &sequence);
    let Some(it) = &heard.playback else { return heard };
    let before = recording.part(0.0, it.start_s - PAUSE_S / 2.0);
    let after = recording.part(it.start_s + it.length_s + PAUSE_S / 2.0, recording.seconds());
    let off = |heard: &CaptureAnalysis| {
        let whole = heard.playback.as_ref().filter(|it| it.complete);
        whole.map_or(f64::INFINITY, |it| (it.length_ratio - 1.0).abs())
    };
    let others = [before, after].map(|part| tone::analyse(&part, &sequence));
    others.into_iter().fold(heard, |best, other| if off(&other) < off(&best) { other } else { best })
}

/// The files that the backend reads, with what is in them.
pub(super) fn files(spec: &Spec) -> Vec<(PathBuf, Vec<u8>)> {
    let (config, voice) = (spec.run_file(run_file::ALSA), spec.run_file(run_file::VOICE));
    let device = |name: &str, files: &[(&str, &Path)], format: &str| {
        let mut text = format!("pcm.{name} {{ type file slave.pcm {{ type null }} format \"{format}\"").into_bytes();
        for (key, path) in files {
            text.extend_from_slice(format!(" {key} \"").as_bytes());
            for byte in path.as_os_str().as_bytes() {
                if matches!(byte, b'"' | b'\\') {
                    text.push(b'\\');
                }
                text.push(*byte);
            }
            text.push(b'"');
        }
        text.extend_from_slice(b" }\n");
        text
    };
    let out = spec.run_file(run_file::SOUND);
    let mut text = device("nixbox_out", &[("file", &out)], "wav");
    text.extend(device("nixbox_in", &[("file", Path::new("/dev/null")), ("infile", &voice)], "raw"));
    vec![(config, text), (voice, voice_samples())]
}

/// The sequence with its pause, until [`SPOKEN_S`]: frames of 2 x 16 bits, as the plugin reads them.
fn voice_samples() -> Vec<u8> {
    let sequence = spoken();
    let said: Samples = tone::render(&sequence, RATE);
    let mut once = vec![0; (PAUSE_S * f64::from(RATE)) as usize * 4];
    // A float that does not fit saturates.
    let bytes = |value: &f64| ((value * 32767.0).round() as i16).to_le_bytes();
    once.extend(said.left().iter().zip(said.right()).flat_map(|(left, right)| [bytes(left), bytes(right)]).flatten());
    once.repeat((SPOKEN_S / (PAUSE_S + sequence.length_s())) as usize)
}

/// Starts the runner's QEMU in the jail, without a guest, with a card that opens its backend at once (AC97 does when
/// it is reset), both ways, for a machine that is to have a microphone. The error: why the backend is of no use.
pub(super) async fn prove(spec: &Spec, jail: &JailOptions) -> Result<(), String> {
    let qemu = spec.traits.qemu.as_deref().ok_or("the runner's script does not tell its QEMU")?;
    let capture = spec.run_file(run_file::SOUND);
    for (path, bytes) in files(spec) {
        std::fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let mut arguments: Vec<OsString> = ["-nodefaults", "-S", "-display", "none", "-audiodev"].map(Into::into).into();
    arguments.push(backend(spec));
    arguments.extend(["-device", "AC97,audiodev=nixbox-sound"].map(Into::into));
    if cfg!(target_os = "linux") {
        arguments.extend(["-sandbox", "on,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"].map(Into::into));
    }
    if cfg!(not(target_arch = "x86_64")) {
        arguments.extend(["-machine", "virt"].map(Into::into));
    }
    let request = LaunchRequest {
        program: Some(qemu.to_owned()),
        arguments,
        environment: environment(spec),
        run_dir: Some(spec.run_dir.clone()),
        mounts: store_mount(jail).into_iter().chain(mount_of(qemu)).collect(),
        file_limit: 64 << 20,
        shm_limit: 256 << 20,
        ..LaunchRequest::empty(jail.kind)
    };
    let process = JailedProcess::spawn(&jail.launcher, &request).await.map_err(|error| error.to_string())?;
    let opened = async {
        // The way in is opened before the way out, whose file then is there.
        let deadline = Instant::now() + PROOF_LIMIT;
        while Instant::now() < deadline {
            if capture.exists() {
                return Ok(());
            }
            sleep(PROOF_INTERVAL).await;
        }
        Err("the runner's QEMU did not open it".to_owned())
    };
    let opened = tokio::select! {
        opened = opened => opened,
        _ = super::process::wait(process.exit()) => Err("the runner's QEMU has no alsa backend".to_owned()),
    };
    let words = process.output().tail(super::TAIL);
    process.end().await;
    drop(std::fs::remove_file(&capture));
    let refused = words.iter().find(|line| line.starts_with("alsa:") || line.contains("ALSA lib"));
    opened.and_then(|()| refused.map_or(Ok(()), |line| Err(crate::text::bounded(line, 200))))
}

#[cfg(test)]
mod tests {
    use super::*;
    fn card(id: Option<&str>) -> OwnCard {
        OwnCard { model: "hda-duplex".into(), id: id.map(str::to_owned) }
    }

    #[test]
    fn a_card_is_seen_however_it_is_asked_for() {
        assert_eq!(OwnCard::scan("-device", "hda-duplex,id=c0,audiodev=snd"), Some(card(Some("c0"))));
        assert_eq!(OwnCard::scan("-device", "hda-duplex,audiodev=snd"), Some(card(None)));
        assert_eq!(OwnCard::scan("-device", "hda-duplex,id=$NAME"), Some(card(None)));
        assert_eq!(OwnCard::scan("-audio", "pa,model=hda").map(|card| card.id), Some(None));
        // A controller without a codec, or a backend without a card, makes no sound.
        for (flag, value) in
            [("-device", "ich9-intel-hda,id=h"), ("-audio", "pa"), ("-audiodev", "pa,id=a"), ("-m", "1")]
        {
            assert_eq!(OwnCard::scan(flag, value), None, "{flag} {value}");
        }
    }

    #[test]
    fn a_card_of_the_runners_is_heard_where_it_has_a_name() {
        assert_eq!(hearing(&[]), Hearing::Ours);
        assert_eq!(hearing(&[card(Some("c0")), card(Some("c1"))]), Hearing::Replaced(vec!["c0".into(), "c1".into()]));
        // With one of two that cannot be heard nobody knows which the guest plays into.
        assert!(
            matches!(hearing(&[card(Some("c0")), card(None)]), Hearing::Unheard(why) if why.contains("hda-duplex"))
        );
    }

    #[test]
    fn what_the_microphone_says_is_found_wherever_the_recording_begins() {
        let bytes = voice_samples();
        assert!(bytes.len() < 11 << 20 && bytes.len() as f64 / 4.0 / f64::from(RATE) > SPOKEN_S - 3.0);
        let value = |pair: &[u8]| f64::from(i16::from_le_bytes([pair[0], pair[1]])) / 32768.0;
        let frames = (recording_s() * f64::from(RATE)) as usize * 4;
        for offset in [0.0, 0.2, 0.45, 0.6, 0.9, 1.2, 1.5, 1.9] {
            let from = (offset * f64::from(RATE)) as usize * 4;
            let part = &bytes[from..from + frames];
            let left = part.chunks_exact(4).map(value).collect();
            let right = part.chunks_exact(4).map(|frame| value(&frame[2..])).collect();
            let playback = hear_spoken(&Samples::new(RATE, left, right)).playback.unwrap();
            assert!(playback.complete && playback.in_order, "{offset}: {playback:?}");
            assert!((playback.length_ratio - 1.0).abs() < 0.01, "{offset}: {playback:?}");
        }
    }

    #[test]
    fn paths_are_quoted_for_alsa() {
        let spec = Spec::new("/r", "/run/a\"b\\c");
        let (path, text) = files(&spec).remove(0);
        assert_eq!(path, Path::new("/run/a\"b\\c/asound.conf"));
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains(r#"infile "/run/a\"b\\c/voice""#), "{text}");
    }
}
