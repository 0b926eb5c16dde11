//! The machine's sound card as arguments of QEMU's: which card, and the backend that captures what the guest plays.
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

use tokio::time::{Instant, sleep};

use super::jail::{JailOptions, LaunchRequest};
use super::process::JailedProcess;
use super::spec::{Spec, environment};
use super::{mount_of, store_mount};
use crate::model::run_file;
use crate::model::timeouts::audio::{CARD_PROBE_INTERVAL, CARD_PROBE_LIMIT};
use crate::signal::microphone;
use crate::text::bounded;

/// The id of the backend.
const BACKEND: &str = "nixbox-sound";
/// The period of QEMU's sound timer and the length of its buffers, in microseconds: as much sound each time as time has
/// passed. Where the host is late the card is as late, and not the guest.
const STEP_US: u32 = 10_000;

/// A sound card of the runner's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunnerCard {
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

impl RunnerCard {
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

/// How the machine's sound card gets a backend that captures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CardSetup {
    /// It has no card: one is added.
    Added,
    /// It has cards, by id, whose backend is replaced.
    Replaced(Vec<String>),
    /// It has a card whose backend stays as it is; why.
    Untouched(String),
}

/// How a machine with these cards of the runner's gets its capture. Tried with QEMU 10: of what can follow a runner's
/// arguments, an `-audiodev` of the same id and `-global MODEL.audiodev` are ignored without a word, `-set audiodev.…` is
/// refused; `-set device.ID.audiodev` does it, for a device that has an id.
pub fn card_setup(cards: &[RunnerCard]) -> CardSetup {
    if let Some(card) = cards.iter().find(|card| card.id.is_none()) {
        return CardSetup::Untouched(format!(
            "the runner brings a sound card ({}) without an id, so that its output cannot be captured",
            bounded(&card.model, 40)
        ));
    }
    let named: Vec<String> = cards.iter().filter_map(|card| card.id.clone()).collect();
    if named.is_empty() { CardSetup::Added } else { CardSetup::Replaced(named) }
}

/// What of the machine's sound is connected to the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AudioCapture {
    /// Why what the guest plays is not captured, if so.
    pub no_capture: Option<String>,
    /// Why the guest's microphone gets no signal, if so.
    pub no_microphone: Option<String>,
}

/// Decides what of the machine's sound is captured, and takes the microphone away where it is not proven to work.
pub(super) async fn connect(spec: &mut Spec, jail: &JailOptions) -> AudioCapture {
    let neither = |why: String| AudioCapture { no_capture: Some(why.clone()), no_microphone: Some(why) };
    if !spec.sound {
        return neither("the sound card is not captured in this run".to_owned());
    }
    if let CardSetup::Untouched(why) = card_setup(&spec.traits.cards) {
        return neither(why);
    }
    if !spec.microphone {
        return AudioCapture { no_capture: None, no_microphone: Some("not requested".to_owned()) };
    }
    let proven = prove(spec, jail).await;
    spec.microphone = proven.is_ok();
    AudioCapture { no_capture: None, no_microphone: proven.err() }
}

/// The arguments of the card and its backend, as pairs of flag and value.
pub(super) fn arguments(spec: &Spec) -> Vec<(&'static str, OsString)> {
    if !spec.sound {
        return Vec::new();
    }
    let audiodev = ("-audiodev", backend(spec));
    match card_setup(&spec.traits.cards) {
        CardSetup::Added => {
            // Every kernel has this card's driver, those of virtual machines too.
            let codec = if spec.microphone { "hda-duplex" } else { "hda-output" };
            let codec = format!("{codec},audiodev={BACKEND}");
            vec![audiodev, ("-device", "ich9-intel-hda".into()), ("-device", codec.into())]
        }
        CardSetup::Replaced(cards) => {
            let replaced = cards.iter().map(|card| ("-set", format!("device.{card}.audiodev={BACKEND}").into()));
            [audiodev].into_iter().chain(replaced).collect()
        }
        CardSetup::Untouched(_) => Vec::new(),
    }
}

/// QEMU's backend: with an input where `microphone`.
fn backend(spec: &Spec) -> OsString {
    if spec.microphone {
        let mut backend = format!("alsa,id={BACKEND},timer-period={STEP_US}");
        for direction in ["in", "out"] {
            // The devices are always ready: to poll them would be to spin.
            let period = STEP_US / 2;
            backend.push_str(&format!(
                ",{direction}.dev=nixbox_{direction},{direction}.try-poll=off,{direction}.buffer-length={STEP_US},\
                 {direction}.period-length={period}"
            ));
        }
        return backend.into();
    }
    super::spec::option(&format!("wav,id={BACKEND},path="), spec.run_file(run_file::SOUND), "")
}

/// The files that the backend reads, with what is in them.
fn files(spec: &Spec) -> Vec<(PathBuf, Vec<u8>)> {
    let (config, input) = (spec.run_file(run_file::ALSA), spec.run_file(run_file::MICROPHONE));
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
    text.extend(device("nixbox_in", &[("file", Path::new("/dev/null")), ("infile", &input)], "raw"));
    vec![(config, text), (input, microphone::samples())]
}

/// Starts the runner's QEMU in the jail, without a guest, with a card that opens its backend at once (AC97 does when
/// it is reset), both ways, for a machine that is to have a microphone. The error: why the backend is of no use.
async fn prove(spec: &Spec, jail: &JailOptions) -> Result<(), String> {
    let qemu = spec.traits.qemu.as_deref().ok_or("the runner's script does not name its QEMU")?;
    let capture = spec.run_file(run_file::SOUND);
    for (path, bytes) in files(spec) {
        std::fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let mut arguments: Vec<OsString> = ["-nodefaults", "-S", "-display", "none", "-audiodev"].map(Into::into).into();
    arguments.push(backend(spec));
    arguments.extend(["-device".into(), format!("AC97,audiodev={BACKEND}").into()]);
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
        // The input is opened before the output, whose file then is there.
        let deadline = Instant::now() + CARD_PROBE_LIMIT;
        while Instant::now() < deadline {
            if capture.exists() {
                return Ok(());
            }
            sleep(CARD_PROBE_INTERVAL).await;
        }
        Err("the runner's QEMU did not open it".to_owned())
    };
    let opened = tokio::select! {
        opened = opened => opened,
        _ = super::process::wait(process.exit()) => Err("the runner's QEMU has no alsa backend".to_owned()),
    };
    let output = process.output().tail(super::TAIL);
    process.end().await;
    drop(std::fs::remove_file(&capture));
    let refused = output.iter().find(|line| line.starts_with("alsa:") || line.contains("ALSA lib"));
    opened.and_then(|()| refused.map_or(Ok(()), |line| Err(bounded(line, 200))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(id: Option<&str>) -> RunnerCard {
        RunnerCard { model: "hda-duplex".into(), id: id.map(str::to_owned) }
    }

    #[test]
    fn a_card_is_seen_however_it_is_asked_for() {
        assert_eq!(RunnerCard::scan("-device", "hda-duplex,id=c0,audiodev=snd"), Some(card(Some("c0"))));
        assert_eq!(RunnerCard::scan("-device", "hda-duplex,audiodev=snd"), Some(card(None)));
        assert_eq!(RunnerCard::scan("-device", "hda-duplex,id=$NAME"), Some(card(None)));
        assert_eq!(RunnerCard::scan("-audio", "pa,model=hda").map(|card| card.id), Some(None));
        // A controller without a codec, or a backend without a card, makes no sound.
        for (flag, value) in
            [("-device", "ich9-intel-hda,id=h"), ("-audio", "pa"), ("-audiodev", "pa,id=a"), ("-m", "1")]
        {
            assert_eq!(RunnerCard::scan(flag, value), None, "{flag} {value}");
        }
    }

    #[test]
    fn a_card_of_the_runners_is_captured_where_it_has_a_name() {
        assert_eq!(card_setup(&[]), CardSetup::Added);
        assert_eq!(
            card_setup(&[card(Some("c0")), card(Some("c1"))]),
            CardSetup::Replaced(vec!["c0".into(), "c1".into()])
        );
        // With one of two that cannot be captured it is unknown which the guest plays into.
        assert!(
            matches!(card_setup(&[card(Some("c0")), card(None)]), CardSetup::Untouched(why) if why.contains("hda-duplex"))
        );
    }

    #[test]
    fn paths_are_quoted_for_alsa() {
        let spec = Spec::new("/r", "/run/a\"b\\c");
        let (path, text) = files(&spec).remove(0);
        assert_eq!(path, Path::new("/run/a\"b\\c/asound.conf"));
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains(r#"infile "/run/a\"b\\c/microphone""#), "{text}");
    }
}
