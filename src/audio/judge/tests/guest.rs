//! A healthy machine as facts, changed bit by bit. What is "captured" is really analysed.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::audio::facts::{Recording, ServerProcess, ServerState, SoundCard, TonePlayback};
use crate::audio::judge::*;
use crate::checks::{self, Observations};
use crate::config::Settings;
use crate::guest::facts::{Account, Facts, Manager};
use crate::judging::{Context, Judgement, Selection, plan};
use crate::machine::RunDelay;
use crate::model::Accel;
use crate::nix::expectations::{Expectations, ExpectedUser};
use crate::signal::{CaptureAnalysis, Samples, ToneSequence, microphone, tone};

pub(super) const RATE: u32 = 44_100;
pub(super) const SINK: &str = "alsa_output.pci-0000_00_0b.0.analog-stereo";

pub(super) fn unit(name: &str, state: &str) -> Unit {
    Unit { name: name.into(), load_state: "loaded".into(), active_state: state.into(), ..Unit::default() }
}

/// The sequence as it comes out of a card, each channel changed.
pub(super) fn captured(
    sequence: &ToneSequence,
    left: impl Fn(&[f64]) -> Vec<f64>,
    right: impl Fn(&[f64]) -> Vec<f64>,
) -> CaptureAnalysis {
    let sent = tone::render(sequence, RATE);
    let pad = |values: Vec<f64>| [vec![0.0; 8000], values, vec![0.0; 8000]].concat();
    tone::analyse(&Samples::new(RATE, pad(left(sent.left())), pad(right(sent.right()))), sequence)
}

/// As they were sent: analysed once, as it takes a debug build a while.
pub(super) static PLAYED: LazyLock<CaptureAnalysis> = LazyLock::new(|| captured(&ToneSequence::default(), same, same));
pub(super) static RECORDED: LazyLock<CaptureAnalysis> = LazyLock::new(|| captured(&microphone::sequence(), same, same));

pub(super) fn same(values: &[f64]) -> Vec<f64> {
    values.to_vec()
}

pub(super) fn quiet(values: &[f64]) -> Vec<f64> {
    vec![0.0; values.len()]
}

/// Played at this speed.
pub(super) fn at_speed(speed: f64) -> impl Fn(&[f64]) -> Vec<f64> {
    move |values| {
        let frames = (values.len() as f64 / speed) as usize;
        let at = |i: usize| values.get(i).copied().unwrap_or(0.0);
        let part = |x: f64| at(x as usize) * (1.0 - x.fract()) + at(x as usize + 1) * x.fract();
        (0..frames).map(|i| part(i as f64 * speed)).collect()
    }
}

/// Silence of `gap` seconds put in every `every` seconds.
pub(super) fn torn_by(gap: f64, every: f64) -> impl Fn(&[f64]) -> Vec<f64> {
    move |values| {
        let silence = vec![0.0; (gap * f64::from(RATE)) as usize];
        values.chunks((every * f64::from(RATE)) as usize).flat_map(|part| [part, &silence].concat()).collect()
    }
}

/// A machine with PipeWire, changed bit by bit.
pub(super) struct TestGuest {
    pub(super) expectations: Expectations,
    pub(super) facts: Facts,
    pub(super) sound: Result<AudioFacts, String>,
    pub(super) delay: RunDelay,
}

pub(super) fn guest() -> TestGuest {
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
            analysis: Some(RECORDED.clone()),
            ..Recording::default()
        }),
        ..AudioFacts::default()
    };
    TestGuest { expectations, facts, sound: Ok(sound), delay: RunDelay::default() }
}

/// The same with PulseAudio.
pub(super) fn pulse(persistence: bool) -> TestGuest {
    let mut guest = guest();
    guest.expectations.audio =
        Some(ExpectedAudio { pulseaudio: true, alsa_persistence: persistence, ..ExpectedAudio::default() });
    let sound = guest.sound();
    sound.units = ["service", "socket"].map(|kind| unit(&format!("pulseaudio.{kind}"), "active")).into();
    sound.processes = vec![ServerProcess { name: "pulseaudio".into(), pid: 7, uid: 1000, ..ServerProcess::default() }];
    sound.server.as_mut().unwrap().kind = SoundServerKind::Pulseaudio;
    guest
}

impl TestGuest {
    pub(super) fn sound(&mut self) -> &mut AudioFacts {
        self.sound.as_mut().unwrap()
    }

    pub(super) fn expected(&mut self) -> &mut ExpectedAudio {
        self.expectations.audio.as_mut().unwrap()
    }

    /// On a host that kept the machine waiting for this share of the time, in per cent.
    pub(super) fn kept_waiting(mut self, percent: u8) -> Self {
        self.delay = RunDelay { start_us: -1_000_000, slices: vec![percent; 60] };
        self
    }

    pub(super) fn unit(&mut self, name: &str) -> &mut Unit {
        self.sound().units.iter_mut().find(|unit| unit.name == name).unwrap()
    }

    pub(super) fn server(&mut self) -> &mut ServerState {
        self.sound().server.as_mut().unwrap()
    }

    pub(super) fn sink(&mut self) -> &mut AudioNode {
        &mut self.server().sinks[0]
    }

    /// Only this fallback is there.
    pub(super) fn only(mut self, name: &str) -> Self {
        self.sound().tone = None;
        self.sound().recording = None;
        self.server().default_sink = Some(name.into());
        *self.sink() = AudioNode { name: name.into(), null: true, volumes: vec![1.0], ..AudioNode::default() };
        self.server().sources.clear();
        self
    }

    pub(super) fn playing(mut self, left: impl Fn(&[f64]) -> Vec<f64>, right: impl Fn(&[f64]) -> Vec<f64>) -> Self {
        let analysis = captured(&ToneSequence::default(), left, right);
        self.sound().tone.as_mut().unwrap().analysis = Some(analysis);
        self
    }

    pub(super) fn recorded(mut self, left: impl Fn(&[f64]) -> Vec<f64>, right: impl Fn(&[f64]) -> Vec<f64>) -> Self {
        let analysis = captured(&microphone::sequence(), left, right);
        self.sound().recording.as_mut().unwrap().analysis = Some(analysis);
        self
    }

    pub(super) fn judgement(&self) -> Judgement {
        let plan = plan(&self.expectations, &Settings::default(), &Selection::default());
        let observations =
            Observations { first: self.facts.clone(), sound: Some(self.sound.clone()), ..Observations::default() };
        let context = Context { accelerator: Accel::Tcg, delay: self.delay.clone(), ..Context::default() };
        checks::judge(&plan, &observations, &context)
    }

    pub(super) fn judged(&self) -> BTreeMap<String, (Status, String)> {
        let told = |result: CheckResult| {
            let id = result.id.name().strip_prefix("audio.")?.to_owned();
            Some((id, (result.status, [vec![result.summary], result.detail].concat().join("\n"))))
        };
        self.judgement().results.into_iter().filter_map(told).collect()
    }

    /// These checks, and only these, fail; the first of them with these words.
    #[track_caller]
    pub(super) fn fails(&self, ids: &[&str], words: &str) {
        let judged = self.judged();
        let failed: Vec<&str> =
            judged.iter().filter(|(_, (status, _))| *status == Status::Fail).map(|(id, _)| id.as_str()).collect();
        let mut wanted = ids.to_vec();
        wanted.sort_unstable();
        assert_eq!(failed, wanted, "{judged:#?}");
        assert!(judged[ids[0]].1.contains(words), "{judged:#?} does not say {words:?}");
    }

    #[track_caller]
    pub(super) fn is(&self, id: &str, status: Status, words: &str) {
        let judged = self.judged();
        assert_eq!(judged[id].0, status, "{judged:#?}");
        assert!(judged[id].1.contains(words), "{judged:#?} does not say {words:?}");
    }

    /// Not tested, and said so.
    #[track_caller]
    pub(super) fn is_excluded(&self, id: &str, words: &str) {
        self.is(id, Status::Skip, words);
        let aside = self.judgement().not_tested;
        assert!(aside.iter().any(|entry| entry.what == format!("audio.{id}")), "{aside:?}");
        assert!(self.judged().values().all(|(status, _)| *status != Status::Fail), "{:#?}", self.judged());
    }
}
