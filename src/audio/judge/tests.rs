//! Each rule breaks on facts made for it, and each trap passes. What is "heard" is really analysed.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::*;
use crate::audio::facts::{Recording, ServerProcess, ServerState, SoundCard, TonePlayback};
use crate::checks::Selection;
use crate::checks::{self, Context, Observations};
use crate::config::Settings;
use crate::guest::facts::{Account, Facts, Manager};
use crate::model::Accel;
use crate::nix::expectations::{Expectations, ExpectedUser};
use crate::signal::microphone::sequence as spoken;
use crate::signal::{CaptureAnalysis, Samples, ToneSequence, tone};

const RATE: u32 = 44_100;
const SINK: &str = "alsa_output.pci-0000_00_0b.0.analog-stereo";

fn unit(name: &str, state: &str) -> Unit {
    Unit { name: name.into(), load_state: "loaded".into(), active_state: state.into(), ..Unit::default() }
}

/// The sequence as it comes out of a card, each channel changed.
fn captured(
    sequence: &ToneSequence,
    left: impl Fn(&[f64]) -> Vec<f64>,
    right: impl Fn(&[f64]) -> Vec<f64>,
) -> CaptureAnalysis {
    let sent = tone::render(sequence, RATE);
    let pad = |values: Vec<f64>| [vec![0.0; 8000], values, vec![0.0; 8000]].concat();
    tone::analyse(&Samples::new(RATE, pad(left(sent.left())), pad(right(sent.right()))), sequence)
}

/// As they were sent: analysed once, as it takes a debug build a while.
static PLAYED: LazyLock<CaptureAnalysis> = LazyLock::new(|| captured(&ToneSequence::default(), same, same));
static SPOKEN: LazyLock<CaptureAnalysis> = LazyLock::new(|| captured(&spoken(), same, same));

fn same(values: &[f64]) -> Vec<f64> {
    values.to_vec()
}

fn quiet(values: &[f64]) -> Vec<f64> {
    vec![0.0; values.len()]
}

/// Played at this speed.
fn at_speed(speed: f64) -> impl Fn(&[f64]) -> Vec<f64> {
    move |values| {
        let frames = (values.len() as f64 / speed) as usize;
        let at = |i: usize| values.get(i).copied().unwrap_or(0.0);
        let part = |x: f64| at(x as usize) * (1.0 - x.fract()) + at(x as usize + 1) * x.fract();
        (0..frames).map(|i| part(i as f64 * speed)).collect()
    }
}

/// Silence of `gap` seconds put in every `every` seconds.
fn torn_by(gap: f64, every: f64) -> impl Fn(&[f64]) -> Vec<f64> {
    move |values| {
        let silence = vec![0.0; (gap * f64::from(RATE)) as usize];
        values.chunks((every * f64::from(RATE)) as usize).flat_map(|part| [part, &silence].concat()).collect()
    }
}

/// A machine with PipeWire, changed bit by bit.
struct Guest {
    expectations: Expectations,
    facts: Facts,
    sound: Result<AudioFacts, String>,
}

fn guest() -> Guest {
    let expected = ExpectedAudio {
        pipewire: true,
        pipewire_pulse: true,
        wireplumber: true,
        rtkit: true,
        ..ExpectedAudio::default()
    };
    let expectations = Expectations {
        known: true,
        users: [("alice".to_owned(), ExpectedUser { normal: true, ..ExpectedUser::default() })].into(),
        audio: Some(expected),
        ..Expectations::default()
    };
    let account = |name: &str, uid| Account { name: name.into(), uid, ..Account::default() };
    let facts = Facts {
        accounts: vec![account("alice", 1000), account("bob", 1001)],
        now_us: 60_000_000,
        manager: Manager { state: "running".into(), finish_us: 12_000_000, ..Manager::default() },
        units: vec![unit("rtkit-daemon.service", "active"), unit("multi-user.target", "active")],
        ..Facts::default()
    };
    let node = |name: &str| AudioNode { name: name.into(), volumes: vec![0.064, 0.064], ..AudioNode::default() };
    let process =
        |name: &str, realtime, has_card| ServerProcess { name: name.into(), pid: 800, uid: 1000, realtime, has_card };
    let names = ["pipewire", "pipewire-pulse"];
    let mut units: Vec<Unit> = names
        .iter()
        .flat_map(|name| ["service", "socket"].map(|kind| unit(&format!("{name}.{kind}"), "active")))
        .collect();
    units.push(unit("wireplumber.service", "active"));
    let sound = AudioFacts {
        user: "alice".into(),
        uid: 1000,
        session: AudioSessionKind::Made,
        card: SoundCard { present: true, driven: true, allowed: true, records: true, ..SoundCard::default() },
        units,
        processes: vec![process("pipewire", true, true), process("wireplumber", true, false)],
        server: Some(ServerState {
            kind: SoundServerKind::Pipewire,
            default_sink: Some(SINK.into()),
            sinks: vec![node(SINK)],
            default_source: Some("alsa_input.x".into()),
            sources: vec![node("alsa_input.x")],
            cards: [("alsa_card.x".to_owned(), "output:analog-stereo+input:analog-stereo".to_owned())].into(),
            settings: [("clock.rate", "48000"), ("clock.quantum", "1024")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            clients: [800].into(),
        }),
        tone: Some(TonePlayback {
            player: "pw-play".into(),
            analysis: Some(PLAYED.clone()),
            ..TonePlayback::default()
        }),
        recording: Some(Recording {
            recorder: "pw-record".into(),
            bytes: 600_000,
            analysis: Some(SPOKEN.clone()),
            ..Recording::default()
        }),
        ..AudioFacts::default()
    };
    Guest { expectations, facts, sound: Ok(sound) }
}

/// The same with PulseAudio.
fn pulse(persistence: bool) -> Guest {
    let mut guest = guest();
    guest.expectations.audio =
        Some(ExpectedAudio { pulseaudio: true, alsa_persistence: persistence, ..ExpectedAudio::default() });
    let sound = guest.sound();
    sound.units = ["service", "socket"].map(|kind| unit(&format!("pulseaudio.{kind}"), "active")).into();
    sound.processes = vec![ServerProcess { name: "pulseaudio".into(), pid: 7, uid: 1000, ..ServerProcess::default() }];
    sound.server.as_mut().unwrap().kind = SoundServerKind::Pulseaudio;
    guest
}

impl Guest {
    fn sound(&mut self) -> &mut AudioFacts {
        self.sound.as_mut().unwrap()
    }

    fn expected(&mut self) -> &mut ExpectedAudio {
        self.expectations.audio.as_mut().unwrap()
    }

    fn unit(&mut self, name: &str) -> &mut Unit {
        self.sound().units.iter_mut().find(|unit| unit.name == name).unwrap()
    }

    fn server(&mut self) -> &mut ServerState {
        self.sound().server.as_mut().unwrap()
    }

    fn sink(&mut self) -> &mut AudioNode {
        &mut self.server().sinks[0]
    }

    /// Only this fallback is there.
    fn only(mut self, name: &str) -> Self {
        self.sound().tone = None;
        self.sound().recording = None;
        self.server().default_sink = Some(name.into());
        *self.sink() = AudioNode { name: name.into(), null: true, volumes: vec![1.0], ..AudioNode::default() };
        self.server().sources.clear();
        self
    }

    fn heard(mut self, left: impl Fn(&[f64]) -> Vec<f64>, right: impl Fn(&[f64]) -> Vec<f64>) -> Self {
        let heard = captured(&ToneSequence::default(), left, right);
        self.sound().tone.as_mut().unwrap().analysis = Some(heard);
        self
    }

    fn recorded(mut self, left: impl Fn(&[f64]) -> Vec<f64>, right: impl Fn(&[f64]) -> Vec<f64>) -> Self {
        let heard = captured(&spoken(), left, right);
        self.sound().recording.as_mut().unwrap().analysis = Some(heard);
        self
    }

    fn judgement(&self) -> checks::Judgement {
        let plan = checks::plan(&self.expectations, &Settings::default(), &Selection::default());
        let observations =
            Observations { first: self.facts.clone(), sound: Some(self.sound.clone()), ..Observations::default() };
        checks::judge(&plan, &observations, &Context { accelerator: Accel::Tcg, ..Context::default() })
    }

    fn judged(&self) -> BTreeMap<String, (Status, String)> {
        let told = |result: CheckResult| {
            let id = result.id.name().strip_prefix("audio.")?.to_owned();
            Some((id, (result.status, [vec![result.summary], result.detail].concat().join("\n"))))
        };
        self.judgement().results.into_iter().filter_map(told).collect()
    }

    /// These checks, and only these, fail; the first of them with these words.
    #[track_caller]
    fn fails(&self, ids: &[&str], words: &str) {
        let judged = self.judged();
        let failed: Vec<&str> =
            judged.iter().filter(|(_, (status, _))| *status == Status::Fail).map(|(id, _)| id.as_str()).collect();
        let mut wanted = ids.to_vec();
        wanted.sort_unstable();
        assert_eq!(failed, wanted, "{judged:#?}");
        assert!(judged[ids[0]].1.contains(words), "{judged:#?} does not say {words:?}");
    }

    #[track_caller]
    fn is(&self, id: &str, status: Status, words: &str) {
        let judged = self.judged();
        assert_eq!(judged[id].0, status, "{judged:#?}");
        assert!(judged[id].1.contains(words), "{judged:#?} does not say {words:?}");
    }

    /// Not tested, and said so.
    #[track_caller]
    fn is_excluded(&self, id: &str, words: &str) {
        self.is(id, Status::Skip, words);
        let aside = self.judgement().not_tested;
        assert!(aside.iter().any(|entry| entry.what == format!("audio.{id}")), "{aside:?}");
        assert!(self.judged().values().all(|(status, _)| *status != Status::Fail), "{:#?}", self.judged());
    }
}

#[test]
fn healthy_machines_pass() {
    for guest in [guest(), pulse(true)] {
        let judged = guest.judged();
        let is_well = |(id, (status, _)): (&String, &(Status, String))| {
            *status == Status::Pass || id == "realtime" && *status == Status::Skip
        };
        assert!(judged.len() == 5 && judged.iter().all(is_well), "{judged:#?}");
    }
}

#[test]
fn what_took_its_time_says_so() {
    let mut guest = guest();
    guest.sound().tone.as_mut().unwrap().took = 4.5;
    guest.sound().recording.as_mut().unwrap().took = 6.5;
    let results = guest.judgement().results;
    let seconds = |id: CheckId| results.iter().find(|result| result.id == id).map(|result| result.seconds);
    assert_eq!((seconds(CheckId::AudioTone), seconds(CheckId::AudioMicrophone)), (Some(4.5), Some(6.5)));
    assert_eq!(seconds(CheckId::AudioServer), Some(0.0));
}

#[test]
fn nothing_that_was_not_seen_passes() {
    let mut guest = guest();
    for name in ["units", "card", "processes"] {
        guest.sound().gaps.insert(name.into(), "no answer".into());
    }
    for id in ["server", "sink", "microphone", "realtime"] {
        guest.is(id, Status::Unknown, "no answer");
    }
    guest.sound = Err("nobody is there".into());
    assert!(guest.judged().values().all(|(status, _)| *status == Status::Unknown), "{:#?}", guest.judged());
}

#[test]
fn servers_that_do_not_serve_fail_with_their_unit() {
    let mut broken = guest();
    *broken.unit("pipewire.service") = Unit { result: "exit-code".into(), ..unit("pipewire.service", "failed") };
    broken.unit("pipewire.socket").active_state = "failed".into();
    broken.sound().server = None;
    let line = JournalLine {
        unit: "pipewire.service".into(),
        message: "can't load libpipewire-module-x".into(),
        ..JournalLine::default()
    };
    broken.sound().journal = vec![line];
    broken.fails(&["server"], "pipewire.service of alice has failed (exit-code)");
    broken.fails(&["server"], "libpipewire-module-x");

    let mut silent = guest();
    silent.sound().server = None;
    silent.sound().no_answer = Some("no answer within 6 s".into());
    silent.fails(&["server"], "runs and does not answer alice");

    let mut denied = guest();
    denied.expected().system_wide = true;
    denied.facts.units.push(unit("pipewire.service", "inactive"));
    denied.facts.units.push(unit("pipewire.socket", "active"));
    denied.facts.units.push(unit("wireplumber.service", "inactive"));
    denied.expected().pipewire_pulse = false;
    denied.sound().server = None;
    denied.sound().no_answer = Some("can't connect: Permission denied".into());
    denied.fails(&["server"], "alice may not connect to the system-wide pipewire");

    let mut home = guest();
    *home.unit("pipewire-pulse.service") =
        Unit { fragment_path: "/home/alice/.config/x".into(), ..unit("pipewire-pulse.service", "failed") };
    home.fails(&["server"], "/home/alice/.config/x");

    let mut dead = pulse(true);
    dead.sound().units.clear();
    dead.fails(&["server"], "pulseaudio.service of alice is not there");
}

#[test]
fn a_missing_tool_is_ours_and_not_the_servers() {
    let mut guest = guest();
    guest.sound().server = None;
    guest.sound().no_answer = Some("the guest has no pw-dump".into());
    guest.is("server", Status::Unknown, "pw-dump");
    guest.is("sink", Status::Skip, "");
}

#[test]
fn two_servers_are_told() {
    let mut both = guest();
    both.expected().pulseaudio = true;
    let second = ServerProcess { name: "pulseaudio".into(), pid: 9, uid: 1000, ..ServerProcess::default() };
    both.sound().processes.push(second.clone());
    both.fails(&["server"], "pulseaudio and pipewire both run for alice");
    // Somebody else's is no fight.
    both.sound().processes.pop();
    both.sound().processes.push(ServerProcess { uid: 1001, ..second });
    both.is("server", Status::Pass, "");
    let mut beside = guest();
    beside.sound().units.push(unit("pulseaudio.service", "failed"));
    beside.fails(&["server"], "pulseaudio.service has failed, where PipeWire is to serve");
}

#[test]
fn no_sink_has_a_cause() {
    let mut missing = guest().only("auto_null");
    missing.server().cards.clear();
    missing.unit("wireplumber.service").load_state = "masked".into();
    missing.unit("wireplumber.service").active_state = "inactive".into();
    missing.fails(&["server", "sink"], "wireplumber.service of alice is masked");
    missing.is("sink", Status::Fail, "without a session manager");

    let mut off = guest().only("auto_null");
    off.server().cards = [("alsa_card.x".to_owned(), "off".to_owned())].into();
    off.fails(&["sink"], "alsa_card.x is off");

    let mut denied = guest().only("auto_null");
    denied.sound().card.allowed = false;
    denied.fails(&["sink"], "alice may not open the devices in /dev/snd");

    let mut taken = guest().only("auto_null");
    let process = ServerProcess { name: "pipewire".into(), uid: 1001, has_card: true, ..ServerProcess::default() };
    taken.sound().processes.push(process);
    taken.fails(&["sink"], "pipewire of bob has the card");

    guest().only("speakers").fails(&["sink"], "the default sink speakers leads to no card");
}

#[test]
fn muted_is_told_apart_from_broken() {
    let mut muted = guest();
    muted.sink().muted = true;
    muted.fails(&["sink"], "is muted");
    let mut low = guest();
    low.sink().volumes = vec![0.0, 0.0];
    low.fails(&["sink"], "is at volume 0");
    // A new card, as PulseAudio finds it, is no fault.
    let mut new = pulse(false);
    new.sink().muted = true;
    new.is("sink", Status::Warn, "is muted");
    new.is("tone", Status::Pass, "");
    let mut kept = pulse(true);
    kept.sink().muted = true;
    kept.fails(&["sink"], "is muted");
}

#[test]
fn what_the_sandbox_lacks_is_excluded() {
    let mut undriven = guest().only("auto_null");
    undriven.sound().card.driven = false;
    undriven.is_excluded("sink", "no driver");
    undriven.is_excluded("tone", "");
    undriven.is_excluded("microphone", "");

    let mut unheard = guest();
    unheard.sound().tone = None;
    unheard.sound().recording = None;
    let why = "the runner brings a sound card (hda-duplex) without an id";
    (unheard.sound().no_capture, unheard.sound().no_microphone) = (Some(why.into()), Some(why.into()));
    unheard.is_excluded("tone", why);
    unheard.is_excluded("microphone", why);
    unheard.is("sink", Status::Pass, "");

    let mut lingering = guest().only("auto_null");
    lingering.sound().session = AudioSessionKind::Lingering;
    lingering.sound().card.allowed = false;
    lingering.sound().processes[0].realtime = false;
    lingering.is_excluded("sink", "has no session at the seat");
    lingering.is_excluded("microphone", "has no session at the seat");
    lingering.is_excluded("realtime", "has no session at the seat");
}

#[test]
fn tones_that_arrive_otherwise_are_told_how() {
    guest().heard(same, quiet).fails(&["tone"], "the right channel is silent");
    guest().heard(quiet, same).fails(&["tone"], "the left channel is silent");
    guest().heard(at_speed(0.919), at_speed(0.919)).fails(&["tone"], "the pitch is off by -8.1 %");
    guest().heard(at_speed(0.5), at_speed(0.5)).fails(&["tone"], "at 0.50 of its speed");
    guest().heard(quiet, quiet).fails(&["tone"], "only silence came out of the card");
    guest().heard(torn_by(0.4, 0.4), torn_by(0.4, 0.4)).fails(&["tone"], "dropouts");

    let swapped = tone::render(&ToneSequence::default(), RATE);
    let (left, right) = (swapped.left().to_vec(), swapped.right().to_vec());
    guest().heard(move |_| right.clone(), move |_| left.clone()).fails(&["tone"], "left and right are swapped");

    let mut off = guest().heard(quiet, quiet);
    off.sound().card.off = vec!["Master".into()];
    off.fails(&["tone"], "its own switch Master is off");
    let mut nothing = guest();
    nothing.sound().tone.as_mut().unwrap().analysis = None;
    nothing.fails(&["tone"], "nothing came out of the card");
    let mut hung = guest();
    hung.sound().tone.as_mut().unwrap().hung = true;
    hung.fails(&["tone"], "pw-play did not end");
}

#[test]
fn a_hosts_hiccups_are_a_note() {
    let hiccups = guest().heard(torn_by(0.03, 0.5), torn_by(0.03, 0.5));
    hiccups.is("tone", Status::Pass, "dropouts (at ");
    // Late by a ring of the card's: what was in it is skipped, in one place and without a silence.
    let skipped = |values: &[f64]| {
        let at = |seconds: f64| (seconds * f64::from(RATE)) as usize;
        [&values[..at(1.1)], &values[at(1.35)..]].concat()
    };
    guest().heard(skipped, skipped).is("tone", Status::Pass, "of the sound were skipped");
    // Pieces of each are gone: the pitches that are left differ by chance.
    let mut scattered = guest();
    let heard = scattered.sound().tone.as_mut().unwrap().analysis.as_mut().unwrap();
    let playback = heard.playback.as_mut().unwrap();
    (playback.pitch_ratio, playback.pitch_spread, playback.length_ratio_without_dropouts) = (1.0133, 0.03, 0.61);
    scattered.is("tone", Status::Pass, "39.0 % of the sound were skipped");
    scattered.sound().tone.as_mut().unwrap().first_attempt = Some("the right channel is silent".into());
    scattered.is("tone", Status::Pass, "at the first attempt the right channel is silent");
    // Every tone shorter at the right pitch is no hiccup.
    let mut short = ToneSequence::default();
    for (i, tone) in short.tones.iter_mut().enumerate() {
        (tone.start_s, tone.length_s) = (i as f64 * 0.47, 0.38);
    }
    let sent = tone::render(&short, RATE);
    let (left, right) = (sent.left().to_vec(), sent.right().to_vec());
    guest().heard(move |_| left.clone(), move |_| right.clone()).fails(&["tone"], "of its time, at the right pitch");
    // Quiet is how a person may have it: WirePlumber begins at 0.4.
    let soft = |values: &[f64]| values.iter().map(|value| value * 0.05).collect();
    guest().heard(soft, soft).is("tone", Status::Pass, "6 tones by pw-play");
    let loud = |values: &[f64]| values.iter().map(|value| (value * 8.0).clamp(-1.0, 1.0)).collect();
    guest().heard(loud, loud).is("tone", Status::Pass, "clipped");
}

#[test]
fn who_asked_too_early_and_stays_silent_is_named() {
    let refused = |pid, message: &str| JournalLine {
        unit: "mpd.service".into(),
        pid,
        message: message.into(),
        ..JournalLine::default()
    };
    let words = "output: Failed to open \"My Output\" (pulse); failed to connect: Connection refused";
    let mut early = pulse(true);
    early.sound().refused = vec![refused(900, words), refused(900, words)];
    early.fails(&["tone"], "mpd.service was refused, as the sound server did not run yet");
    // It has tried again since; or it was refused by somebody else.
    early.sound().server.as_mut().unwrap().clients = [900].into();
    early.is("tone", Status::Pass, "");
    early.sound().server.as_mut().unwrap().clients.clear();
    early.sound().refused = vec![refused(900, "database: connect to 127.0.0.1:5432: Connection refused")];
    early.is("tone", Status::Pass, "");
}

#[test]
fn a_microphone_is_heard_or_said_why_not() {
    guest().recorded(quiet, quiet).fails(&["microphone"], "gives only silence");
    guest().recorded(at_speed(0.5), at_speed(0.5)).fails(&["microphone"], "at 0.50 of its speed");
    guest().recorded(same, quiet).fails(&["microphone"], "the right channel is silent");
    // Each of its tones cut, by a guest that was late, each otherwise.
    let late = |values: &[f64]| {
        let at = |seconds: f64| (seconds * f64::from(RATE)) as usize;
        [&values[..at(0.1)], &values[at(0.3)..at(0.7)], &values[at(0.745)..at(1.2)], &values[at(1.236)..]].concat()
    };
    guest().recorded(late, late).is("microphone", Status::Pass, "of the sound were skipped");
    let mut nothing = guest();
    nothing.sound().recording.as_mut().unwrap().analysis = None;
    nothing.fails(&["microphone"], "pw-record recorded 600000 bytes");

    let mut sourceless = guest();
    sourceless.sound().recording = None;
    sourceless.server().sources.clear();
    sourceless.server().cards = [("alsa_card.x".to_owned(), "output:analog-stereo".to_owned())].into();
    sourceless.fails(&["microphone"], "alsa_card.x has the profile output:analog-stereo");

    // Off by somebody's wish.
    let mut muted = guest();
    muted.sound().recording = None;
    muted.server().sources[0].muted = true;
    muted.is("microphone", Status::Warn, "is muted");
    // Nothing to record with is not tested; trouble while it was recorded is not known.
    let mut lacking = guest();
    lacking.sound().recording = None;
    lacking.sound().gaps.insert("microphone".into(), "the guest has no program that records a sound (arecord)".into());
    lacking.is_excluded("microphone", "no program that records is installed");
    lacking.sound().gaps.insert("microphone".into(), "the shell was closed".into());
    lacking.is("microphone", Status::Unknown, "the shell was closed");
    // Who has no sink has one failure, not two.
    guest().only("auto_null").is("microphone", Status::Skip, "no sink either");
}

#[test]
fn scheduling_and_settings_are_compared_with_what_is_expected() {
    let mut slow = guest();
    slow.sound().processes[0].realtime = false;
    slow.facts.units[0].active_state = "inactive".into();
    slow.fails(&["realtime"], "rtkit-daemon.service is inactive");
    // Who was logged in on the sandbox's serial console first; any other terminal is the configuration's own.
    slow.sound().off_seat = Some("ttyS0".into());
    slow.is_excluded("realtime", "logged in on the sandbox's serial console (ttyS0) too");
    slow.sound().off_seat = Some("pts/0".into());
    slow.fails(&["realtime"], "rtkit-daemon.service is inactive");
    // A session manager's realtime thread is not the server's; another person's server is not this one.
    let other = ServerProcess { uid: 1001, ..guest().sound().processes[0].clone() };
    slow.sound().processes.push(other);
    slow.fails(&["realtime"], "pipewire has no realtime thread");
    slow.expected().rtkit = false;
    slow.is_excluded("realtime", "expects no realtime scheduling");

    let declared = |key: &str, value: &str| {
        let mut guest = guest();
        guest.expected().properties.insert(key.into(), value.into());
        guest
    };
    declared("clock.quantum", "2048").fails(&["realtime"], "clock.quantum = 2048 is declared and not read");
    declared("default.clock.rate", "96000").fails(&["realtime"], "96000 is declared, and 48000 in effect");
    // PipeWire itself raises it on a virtual machine.
    declared("default.clock.quantum", "256").is("realtime", Status::Pass, "quantum 1024");
}
