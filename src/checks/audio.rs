//! `audio.*`: the servers, what they play into, what arrives at the card, the scheduling that was expected.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::json;

use super::{Finding, JudgeContext, Judgement, conclude, text, unit};
use crate::guest::facts::{JournalLine, Unit};
use crate::guest::sound::{ServerKind, SessionKind, Sink, Sound, Tone};
use crate::model::{ActiveState, CheckId, CheckResult, LoadState, Status};
use crate::nix::expectations::ExpectedAudio;
use crate::signal::CaptureAnalysis;
use crate::signal::tone::{Layout, Playback, TONE_S};

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
/// Beyond this a wrong pitch is told as a wrong speed.
const SPEED: f64 = 0.2;
/// The share of the sequence that may be missing. A guest that is emulated on a busy host loses some (of the 84 of [`PITCH`]
/// 0.17 s at most, 5 %): dropouts are a note, unless so much is gone that nobody would call it playing, and by gaps longer
/// than a host's hiccup.
const DROPPED: f64 = 0.3;
/// A gap that long is no hiccup, in seconds.
const GAP_S: f64 = 0.15;
/// A channel below this is silent, in dBFS: the tones are sent at -12, and a volume of 0.4 takes 24 dB at most.
const SILENT_DBFS: f64 = -80.0;
/// A program that was refused by a sound server, in the words of libpulse's users and of mpd.
static REFUSED: LazyLock<Regex> =
    LazyLock::new(|| text::pattern(r"(?i)(pulse|pipewire|pcm|audio|sound|4713).*connection refused"));
/// A terminal that is a serial line or a hypervisor's console: a machine with a screen has none where somebody logs in.
static SERIAL: LazyLock<Regex> = LazyLock::new(|| text::pattern(r"^(ttyS|ttyAMA|hvc)\d+$"));
/// Settings of PipeWire's clock, as its `context.properties` knows them (pipewire.conf(5)).
const CLOCK: &str = "default.clock.";

pub(super) fn judge(cx: &JudgeContext<'_>, out: &mut Judgement) {
    let Some(expected) = cx.plan.audio() else { return };
    let ids = [
        CheckId::AudioServer,
        CheckId::AudioSink,
        CheckId::AudioTone,
        CheckId::AudioMicrophone,
        CheckId::AudioRealtime,
    ];
    let all = |out: &mut Judgement, status, summary: &str| {
        out.results.extend(ids.map(|id| CheckResult::new(id, status, summary)));
    };
    let sound = match cx.sound {
        None => return all(out, Status::Unknown, "sound was not looked at"),
        Some(Err(why)) => {
            return all(out, Status::Unknown, &format!("sound could not be looked at: {}", text::clean(why)));
        }
        Some(Ok(sound)) => sound,
    };
    let ear = Ear { cx, expected, sound };
    let server = ear.server();
    let name = if expected.pipewire { "pipewire.service" } else { "pulseaudio.service" };
    let works = ear.sound.server.is_some() && ear.trouble(name).is_none();
    out.results.push(server);
    let sink = ear.sink(out, works);
    let plays = matches!(sink.status, Status::Pass | Status::Warn);
    out.results.push(sink);
    let tone = ear.tone(out, plays);
    out.results.push(tone.took(sound.tone.as_ref().map_or(0.0, |tone| tone.took)));
    let microphone = ear.microphone(out, works);
    out.results.push(microphone.took(sound.recording.as_ref().map_or(0.0, |recording| recording.took)));
    let realtime = ear.realtime(out);
    out.results.push(realtime);
}

/// What is judged.
struct Ear<'a> {
    cx: &'a JudgeContext<'a>,
    expected: &'a ExpectedAudio,
    sound: &'a Sound,
}

impl<'a> Ear<'a> {
    fn skip(&self, id: CheckId, why: &str) -> CheckResult {
        CheckResult::new(id, Status::Skip, format!("not tested: {why}"))
    }

    /// Why a fact is missing.
    fn gap(&self, id: CheckId, name: &str) -> Option<CheckResult> {
        let why = self.sound.gaps.get(name)?;
        Some(CheckResult::new(id, Status::Unknown, text::clean(&format!("could not read the guest's {name}: {why}"))))
    }

    /// A server's unit: in the person's manager, or PID 1's where the server is for all.
    fn unit(&self, name: &str) -> Option<&'a Unit> {
        let of_pid_1 = self.expected.system_wide && !name.starts_with("pipewire-pulse");
        if of_pid_1 { self.cx.unit(name) } else { self.sound.unit(name) }
    }

    /// What it wrote last, then what its manager did: that alone would be all of a unit that is started again and again.
    fn words(&self, name: &str) -> Vec<String> {
        let own = unit::own_lines(self.journal(), name);
        let of_manager = |line: &&JournalLine| line.unit == name && !own.iter().any(|own| std::ptr::eq(*own, *line));
        let of_manager: Vec<_> = self.journal().iter().filter(of_manager).collect();
        let last = |lines: &[&JournalLine]| -> Vec<String> {
            lines[lines.len().saturating_sub(3)..].iter().map(|line| line.message.clone()).collect()
        };
        [last(&own), last(&of_manager)].concat()
    }

    /// The journal that speaks of the server's units.
    fn journal(&self) -> &'a [JournalLine] {
        if self.expected.system_wide { &self.cx.now.journal } else { &self.sound.journal }
    }

    /// What is wrong with a unit that has to serve, if anything.
    fn trouble(&self, name: &str) -> Option<Finding> {
        let socket = name.strip_suffix(".service").map(|stem| format!("{stem}.socket"));
        let listens = socket
            .as_deref()
            .and_then(|socket| self.unit(socket))
            .is_some_and(|unit| unit.active_state == ActiveState::Active);
        let what = match self.unit(name) {
            None => "is not there".to_owned(),
            Some(unit) if unit.load_state == LoadState::Masked => "is masked".to_owned(),
            Some(unit) if unit.load_state == LoadState::NotFound => "is not there".to_owned(),
            Some(unit) if unit.load_state != LoadState::Loaded => format!("could not be loaded ({})", unit.load_state),
            Some(unit) if unit.active_state == ActiveState::Failed => match unit::error_line(self.journal(), name) {
                Some(line) => format!("has failed ({}): {}", unit.result, line.trim()),
                None => format!("has failed ({})", unit.result),
            },
            Some(unit) if unit.active_state == ActiveState::Active || listens => return None,
            Some(unit) => {
                let mut what = format!("is not running ({}, {})", unit.active_state, unit.sub_state);
                if let Some(socket) = socket.as_deref().and_then(|socket| self.unit(socket)) {
                    let state = if socket.load_state == LoadState::Loaded {
                        socket.active_state.as_str()
                    } else {
                        socket.load_state.as_str()
                    };
                    what = format!("{what}, and {}, which would start it, is {state}", socket.name);
                }
                what
            }
        };
        let mut finding = Finding::new(name, format!("{name} of {} {what}", self.whose())).detail(self.words(name));
        if let Some(unit) = self.unit(name)
            && unit.fragment_path.starts_with("/home/")
        {
            finding = finding.detail([format!("its unit is {}", unit.fragment_path)]);
        }
        Some(finding.evidence("unit", name))
    }

    fn whose(&self) -> &str {
        if self.expected.system_wide { "the system" } else { &self.sound.person }
    }

    fn server(&self) -> CheckResult {
        let id = CheckId::AudioServer;
        if let Some(unknown) = self.gap(id, "units") {
            return unknown;
        }
        let (expected, sound) = (self.expected, self.sound);
        let mut fails = Vec::new();
        let runs = |name: &str| sound.processes.iter().any(|process| process.name == name && process.uid == sound.uid);
        if expected.pipewire {
            fails.extend(self.trouble("pipewire.service"));
            // It comes and goes with the server: where nobody could start that, it is not to blame.
            let started = self.unit("pipewire.service").is_some_and(|unit| unit.active_state == ActiveState::Active);
            if expected.wireplumber && started {
                fails.extend(self.trouble("wireplumber.service"));
            }
            if expected.pipewire_pulse {
                fails.extend(self.trouble("pipewire-pulse.service"));
                let listens =
                    |name: &str| sound.unit(name).is_some_and(|unit| unit.active_state == ActiveState::Active);
                if fails.is_empty() && !listens("pipewire-pulse.socket") && !listens("pipewire-pulse.service") {
                    fails.push(Finding::new(
                        "pipewire-pulse.socket",
                        "pipewire-pulse.socket is not active: PulseAudio's clients find nobody",
                    ));
                }
            }
            if expected.pulseaudio && runs("pulseaudio") && runs("pipewire") {
                fails.push(
                    Finding::new(
                        "pulseaudio.service",
                        format!(
                            "pulseaudio and pipewire both run for {}: each takes the card from the other",
                            sound.person
                        ),
                    )
                    .hint("enable one of services.pulseaudio and services.pipewire.audio"),
                );
            } else if !expected.pulseaudio
                && let Some(unit) = sound.unit("pulseaudio.service")
                && (unit.active_state == ActiveState::Failed || runs("pulseaudio"))
            {
                let what = if unit.active_state == ActiveState::Failed { "has failed" } else { "runs" };
                fails.push(
                    Finding::new(
                        "pulseaudio.service",
                        format!("pulseaudio.service {what}, where PipeWire is to serve PulseAudio's clients"),
                    )
                    .detail(self.words("pulseaudio.service")),
                );
            }
        } else {
            fails.extend(self.trouble("pulseaudio.service"));
        }
        if let Some(why) = &sound.silent {
            let name = if expected.pipewire { "pipewire.service" } else { "pulseaudio.service" };
            // Nobody there to be asked is no answer; a program that cannot ask is our lack.
            if why.contains("pw-dump") && why.contains("lacks") || why.contains("pactl") && why.contains("lacks") {
                return CheckResult::new(id, Status::Unknown, text::clean(why));
            }
            if fails.is_empty() {
                let denied = expected.system_wide && why.contains("denied");
                let what = if denied {
                    format!("{} may not speak to the system's pipewire", sound.person)
                } else {
                    format!("{name} runs and does not answer {}", sound.person)
                };
                let limit = (!denied).then(|| self.cx.since_boot());
                fails.push(Finding::new(name, what).detail([why.clone()]).detail(self.words(name)).time_limit(limit));
            }
        }
        conclude(self.cx, id, fails, Vec::new(), || {
            let name = if expected.pipewire { "PipeWire" } else { "PulseAudio" };
            format!("{name} answers {}{}", sound.person, self.session())
        })
    }

    /// How the session came to be, where that is worth a word.
    fn session(&self) -> &'static str {
        match self.sound.session {
            SessionKind::Own => "",
            SessionKind::Made => ", in a session made on a virtual terminal",
            SessionKind::Lingering => ", in a manager without a seat",
        }
    }

    fn sink(&self, out: &mut Judgement, works: bool) -> CheckResult {
        let id = CheckId::AudioSink;
        let sound = self.sound;
        if let Some(unknown) = self.gap(id, "card") {
            return unknown;
        }
        if !sound.card.driven {
            let why = if sound.card.present {
                "the guest's kernel has no driver for the sandbox's sound card"
            } else {
                "the sandbox has no sound card"
            };
            out.exclude(&CheckId::AudioSink, why);
            return self.skip(id, why);
        }
        let Some(server) = sound.server.as_ref().filter(|_| works) else { return self.skip(id, "no server answers") };
        let Some(sink) = sound.sink().filter(|sink| !sink.null) else { return self.no_sink(out, server) };
        let at =
            |what: &str| Finding::new(&sink.name, format!("{} {what}", sink.name)).evidence("sink", sink.name.as_str());
        let mut findings = Vec::new();
        if sink.muted {
            findings.push(at("is muted"));
        } else if sink.is_turned_down() {
            findings.push(at("is at volume 0"));
        }
        // A new card is silent until somebody turns it up, PulseAudio believes the card, and the sandbox's is new.
        let new = server.kind == ServerKind::Pulseaudio && !self.expected.alsa_persistence;
        let (fails, warns) = if new { (Vec::new(), findings) } else { (findings, Vec::new()) };
        let warns = warns.into_iter().map(|finding| {
            finding
                .detail(["a new card is muted; on this machine it was turned up long ago, or is as silent".to_owned()])
        });
        conclude(self.cx, id, fails, warns.collect(), || format!("{}{}", sink.name, volume(sink)))
    }

    fn no_sink(&self, out: &mut Judgement, server: &crate::guest::sound::Server) -> CheckResult {
        let id = CheckId::AudioSink;
        let sound = self.sound;
        let name = server.default_sink.as_deref().unwrap_or("none");
        let off = server.cards.iter().find(|(_, profile)| *profile == "off");
        let other = sound
            .processes
            .iter()
            .find(|process| process.has_card && process.uid != sound.uid && !self.expected.system_wide);
        if sound.session == SessionKind::Lingering && !sound.card.allowed {
            let why = format!(
                "nobody sits at the seat, and {} may open the card ({}) only there",
                sound.person, sound.card.owner
            );
            out.exclude(&CheckId::AudioSink, &why);
            return self.skip(id, &why);
        }
        let what = if !sound.card.allowed && !self.expected.system_wide {
            format!("{} may not open the devices in /dev/snd ({})", sound.person, sound.card.owner)
        } else if let Some(process) = other {
            let accounts = &self.cx.now.accounts;
            let who = accounts.iter().find(|account| account.uid == process.uid);
            let who = who.map_or_else(|| process.uid.to_string(), |account| account.name.clone());
            format!("{} of {who} has the card, so that {} has no sink", process.name, sound.person)
        } else if let Some((card, _)) = off {
            format!("{card} is off: its active profile is “off”, and there is no sink but {name}")
        } else if server.cards.is_empty()
            && server.kind == ServerKind::Pipewire
            && self.trouble("wireplumber.service").is_some()
        {
            "no sink: without a session manager (wireplumber.service) nobody makes one".to_owned()
        } else if name == "none" {
            "no sink at all".to_owned()
        } else {
            format!("the default sink {name} leads to no card: what is played into it is thrown away")
        };
        let finding = Finding::new(name, what).evidence("default-sink", name).evidence("cards", json!(server.cards));
        conclude(self.cx, id, vec![finding], Vec::new(), String::new)
    }

    fn tone(&self, out: &mut Judgement, plays: bool) -> CheckResult {
        let id = CheckId::AudioTone;
        if let Some(why) = &self.sound.unheard {
            out.exclude(&id, why);
            return self.skip(id, why);
        }
        if !plays {
            let why = "there is nothing to play into";
            if !self.sound.card.driven {
                out.exclude(&CheckId::AudioTone, "no card to hear it at");
            }
            return self.skip(id, why);
        }
        if let Some(unknown) = self.gap(id, "tone") {
            return unknown;
        }
        let Some(tone) = &self.sound.tone else { return self.skip(id, "it was not asked for") };
        let finding = |what: String| {
            let heard = serde_json::to_value(&tone.heard).unwrap_or_default();
            Finding::new("tone", what)
                .evidence("player", tone.player.as_str())
                .evidence("heard", heard)
                .time_limit(self.cx.since_boot())
        };
        if tone.hung || tone.exit != 0 {
            let how = if tone.hung { "did not end".to_owned() } else { format!("ended with {}", tone.exit) };
            let fail = finding(format!("{} {how}", tone.player)).detail([tone.said.clone()]);
            return conclude(self.cx, id, vec![fail], Vec::new(), String::new);
        }
        let mut fails: Vec<Finding> = wrong(tone, &self.sound.card.off).into_iter().map(finding).collect();
        fails.extend(self.refused());
        let mut result = conclude(self.cx, id, fails, Vec::new(), || arrived("by", &tone.player, tone.heard.as_ref()));
        if result.status == Status::Pass {
            let first = tone.first.as_deref();
            result.detail.extend(tone.heard.as_ref().into_iter().flat_map(|heard| notes(heard, first)));
            result.evidence.insert("heard".to_owned(), serde_json::to_value(&tone.heard).unwrap_or_default());
        }
        result
    }

    /// Programs that asked the server before it ran, and are not its clients to this moment: a server that its socket
    /// starts has no TCP port before.
    fn refused(&self) -> Vec<Finding> {
        let clients = self.sound.server.as_ref().map(|server| &server.clients);
        let silent = |line: &&JournalLine| {
            REFUSED.is_match(&line.message) && clients.is_none_or(|clients| !clients.contains(&line.pid))
        };
        let mut units: Vec<&JournalLine> = self.sound.refused.iter().filter(silent).collect();
        units.dedup_by(|line, before| line.unit == before.unit);
        let finding = |line: &JournalLine| {
            let what = format!("{} asked for the sound server before it ran, was refused, and stays silent", line.unit);
            Finding::new(&line.unit, what)
                .detail([line.message.clone()])
                .evidence("unit", line.unit.as_str())
                .hint("let it start after the server, or let it use the server's own socket, which starts the server")
        };
        units.into_iter().map(finding).collect()
    }

    fn microphone(&self, out: &mut Judgement, works: bool) -> CheckResult {
        let id = CheckId::AudioMicrophone;
        let sound = self.sound;
        if let Some(unknown) = self.gap(id, "card") {
            return unknown;
        }
        let why = if !sound.card.driven {
            Some("no card that could hear".to_owned())
        } else if let Some(why) = &sound.no_microphone {
            Some(format!("the sandbox has no microphone: {}", text::clean(why)))
        } else if !sound.card.records {
            Some("the card does not record".to_owned())
        } else if sound.session == SessionKind::Lingering && !sound.card.allowed {
            Some(format!("nobody sits at the seat, and {} may open the card only there", sound.person))
        } else {
            None
        };
        if let Some(why) = why {
            out.exclude(&id, &why);
            return self.skip(id, &why);
        }
        let Some(server) = sound.server.as_ref().filter(|_| works) else { return self.skip(id, "no server answers") };
        // Who has no sink for want of the card has no source for the same reason, and is told there.
        if sound.sink().is_none_or(|sink| sink.null) {
            return self.skip(id, "there is no sink either");
        }
        let Some(source) = sound.source().filter(|source| !source.null) else {
            let profiles: Vec<String> =
                server.cards.iter().map(|(card, profile)| format!("{card} has the profile {profile}")).collect();
            let fail = Finding::new("source", "the card records, and the server has no source of it").detail(profiles);
            return conclude(self.cx, id, vec![fail], Vec::new(), String::new);
        };
        let at = |what: &str| {
            Finding::new(&source.name, format!("{} {what}", source.name)).evidence("source", source.name.as_str())
        };
        let Some(recording) = &sound.recording else {
            if let Some(why) = sound.gaps.get("microphone") {
                // What the guest has not installed is not tested; what broke is not known.
                if why.contains("records a sound") {
                    let why = "nothing that records is installed";
                    out.exclude(&id, why);
                    return self.skip(id, why);
                }
                return CheckResult::new(id, Status::Unknown, text::clean(why));
            }
            // A microphone that is off is many a person's wish.
            let warns = if source.muted {
                vec![at("is muted")]
            } else if source.is_turned_down() {
                vec![at("is at volume 0")]
            } else {
                return self.skip(id, "it was not asked for");
            };
            return conclude(self.cx, id, Vec::new(), warns, String::new);
        };
        let finding = |what: String| {
            let heard = serde_json::to_value(&recording.heard).unwrap_or_default();
            at(&what)
                .detail(Some(recording.said.clone()).filter(|said| !said.is_empty()))
                .evidence("recorder", recording.recorder.as_str())
                .evidence("heard", heard)
                .time_limit(self.cx.since_boot())
        };
        let recorder = &recording.recorder;
        let wrong = match &recording.heard {
            None => vec![format!("gives nothing: {recorder} recorded {} bytes", recording.bytes)],
            Some(heard) => match &heard.playback {
                None if heard.silent || loudest(heard) < SILENT_DBFS => {
                    vec![format!("gives silence only, though the card is spoken to ({recorder})")]
                }
                None => vec![format!("gives sound ({:.0} dBFS), and none of the tones is in it", loudest(heard))],
                Some(it) => altered(heard, it).into_iter().map(|what| format!("gives sound, but {what}")).collect(),
            },
        };
        let fails = wrong.into_iter().map(finding).collect();
        let mut result =
            conclude(self.cx, id, fails, Vec::new(), || arrived("recorded by", recorder, recording.heard.as_ref()));
        if result.status == Status::Pass {
            let first = recording.first.as_deref();
            result.detail.extend(recording.heard.as_ref().into_iter().flat_map(|heard| notes(heard, first)));
            result.evidence.insert("heard".to_owned(), serde_json::to_value(&recording.heard).unwrap_or_default());
        }
        result
    }

    fn realtime(&self, out: &mut Judgement) -> CheckResult {
        let id = CheckId::AudioRealtime;
        let (expected, sound) = (self.expected, self.sound);
        if let Some(unknown) = self.gap(id, "processes") {
            return unknown;
        }
        let Some(server) = &sound.server else { return self.skip(id, "no server answers") };
        let mut fails = Vec::new();
        // What is declared under a name that nobody reads has no effect.
        for (name, value) in &expected.properties {
            let known = |short: &str| server.settings.contains_key(short);
            let short = name.strip_prefix("default.").unwrap_or(name);
            if name.starts_with("clock.") && known(short) {
                let effective = &server.settings[short];
                fails.push(
                    Finding::new(name, format!("{name} = {value} is declared and not read: {short} is {effective}"))
                        .hint(format!("PipeWire calls it {CLOCK}{}", short.trim_start_matches("clock."))),
                );
            }
        }
        if let (Some(declared), Some(effective)) =
            (expected.properties.get("default.clock.rate"), server.settings.get("clock.rate"))
            && declared != effective
        {
            fails.push(Finding::new(
                "default.clock.rate",
                format!("default.clock.rate = {declared} is declared, and {effective} in effect"),
            ));
        }
        let name = if expected.pipewire { "pipewire" } else { "pulseaudio" };
        let owner = |uid: u32| expected.system_wide || uid == sound.uid;
        let mut servers =
            sound.processes.iter().filter(|process| process.name == name && owner(process.uid)).peekable();
        if expected.rtkit && servers.peek().is_some() && !servers.any(|process| process.realtime) {
            let daemon = self.cx.unit("rtkit-daemon.service");
            let state = match daemon {
                None => "rtkit-daemon.service is not there".to_owned(),
                Some(unit) if unit.load_state != LoadState::Loaded => {
                    format!("rtkit-daemon.service is {}", unit.load_state)
                }
                Some(unit) => format!("rtkit-daemon.service is {}", unit.active_state),
            };
            if sound.session == SessionKind::Lingering {
                let why = "nobody sits at the seat, and rtkit serves who does";
                out.exclude(&CheckId::AudioRealtime, why);
                return self.skip(id, why);
            }
            if let Some(terminal) = sound.off_seat.as_deref().filter(|terminal| SERIAL.is_match(terminal)) {
                let why = format!(
                    "{} is logged in on the sandbox's serial console ({terminal}) too, and that was first: rtkit serves who \
                     sits at the seat",
                    sound.person
                );
                out.exclude(&CheckId::AudioRealtime, &why);
                return self.skip(id, &why);
            }
            fails.push(Finding::new(
                "rtkit-daemon.service",
                format!("{name} has no realtime thread, though rtkit is expected: {state}"),
            ));
        }
        if fails.is_empty() && !expected.rtkit {
            let why = "the configuration expects no realtime scheduling (security.rtkit.enable)";
            out.exclude(&CheckId::AudioRealtime, why);
            return self.skip(id, why);
        }
        conclude(self.cx, id, fails, Vec::new(), || {
            let rate = server.settings.get("clock.rate").map(|rate| format!(", {rate} Hz")).unwrap_or_default();
            let quantum = server.settings.get("clock.quantum").map(|it| format!(", quantum {it}")).unwrap_or_default();
            format!("{name} has a realtime thread{rate}{quantum}")
        })
    }
}

fn volume(sink: &Sink) -> String {
    let loudest = sink.volumes.iter().copied().fold(0.0, f64::max);
    if loudest > 0.0 { format!(", gain {:.0} dB", 20.0 * loudest.log10()) } else { String::new() }
}

/// The playback in a line.
fn arrived(how: &str, program: &str, heard: Option<&CaptureAnalysis>) -> String {
    match heard.and_then(|heard| Some((heard, heard.playback.as_ref()?))) {
        Some((heard, it)) => format!(
            "{} tones {how} {program} in {:.2} s, pitch {:+.2} %, loudest {:.0} dBFS",
            it.tones.iter().flatten().count(),
            it.length_s,
            (it.pitch_ratio - 1.0) * 100.0,
            loudest(heard),
        ),
        None => String::new(),
    }
}

fn loudest(heard: &CaptureAnalysis) -> f64 {
    heard.left.peak_dbfs.max(heard.right.peak_dbfs)
}

/// What is worth a word where nothing is wrong.
fn notes(heard: &CaptureAnalysis, first: Option<&str>) -> Vec<String> {
    let mut notes: Vec<String> =
        first.map(|what| format!("the first time {what}, the second all was well")).into_iter().collect();
    if let Some(it) = &heard.playback
        && !it.dropouts.is_empty()
    {
        let times: Vec<String> = it.dropouts.iter().take(5).map(|dropout| format!("{:.2}", dropout.start_s)).collect();
        let count = it.dropouts.len();
        notes.push(format!("{count} dropouts (at {} s): a busy host makes them too", times.join(", ")));
    }
    let lost = heard.playback.as_ref().map_or(0.0, |it| 1.0 - it.length_ratio_without_dropouts);
    if lost > LENGTH {
        notes.push(format!("{:.1} % of the sound were skipped: a busy host makes that too", lost * 100.0));
    }
    let clipped = heard.left.clipped_samples + heard.right.clipped_samples;
    if clipped > 0 {
        notes.push(format!("{clipped} samples are clipped: something on the way amplifies"));
    }
    notes
}

/// What is wrong with what was heard, the likeliest cause first.
fn wrong(tone: &Tone, off: &[String]) -> Vec<String> {
    let Some(heard) = &tone.heard else {
        return vec![format!("{} played, and nothing came out of the card", tone.player)];
    };
    match &heard.playback {
        Some(it) => altered(heard, it),
        None => vec![nothing(heard, off)],
    }
}

/// What of the sequence arrived otherwise than it was sent.
fn altered(heard: &CaptureAnalysis, it: &Playback) -> Vec<String> {
    let mut wrong = Vec::new();
    // What is declared wrongly shifts all tones alike. Where pieces of them are missing each is off by chance: by +1.3,
    // -1.3 and +1.7 % once, at a load of 9.
    let speed = it.pitch_ratio;
    let alike = (speed - 1.0).abs() > 2.0 * it.pitch_spread;
    if !alike {
        // Told by what is missing, if much is.
    } else if (speed - 1.0).abs() > SPEED {
        wrong.push(format!("it plays at {speed:.2} of its speed: the rate of the samples is misdeclared"));
    } else if (speed - 1.0).abs() > PITCH {
        let percent = (speed - 1.0) * 100.0;
        wrong.push(format!("the pitch is off by {percent:+.1} %: the rate of the samples is misdeclared"));
    }
    let silent = |level: f64| level < SILENT_DBFS;
    match it.layout {
        Layout::LeftOnly if silent(heard.right.peak_dbfs) => wrong.push("the right channel is silent".to_owned()),
        Layout::RightOnly if silent(heard.left.peak_dbfs) => wrong.push("the left channel is silent".to_owned()),
        Layout::LeftOnly => wrong.push("the right channel is nearly silent".to_owned()),
        Layout::RightOnly => wrong.push("the left channel is nearly silent".to_owned()),
        Layout::Swapped => wrong.push("left and right are swapped".to_owned()),
        Layout::AsSent | Layout::Mono | Layout::Unclear => {}
    }
    if let Some(dropped) = torn(it) {
        wrong.push(dropped);
    }
    if wrong.is_empty() && !it.complete {
        let lost = it.tones.iter().filter(|tone| tone.is_none()).count();
        wrong.push(format!("{lost} of {} tones did not arrive", it.tones.len()));
    }
    if wrong.is_empty() && !it.in_order {
        wrong.push("the tones arrived in another order".to_owned());
    }
    let evenly = tone_ratio(it);
    if wrong.is_empty() && it.dropouts.is_empty() && (evenly - 1.0).abs() > LENGTH {
        wrong.push(format!("it took {:.1} % of its time, at the right pitch", evenly * 100.0));
    }
    wrong
}

/// What is wrong with what was heard of a sequence, if some of it was.
pub(crate) fn spoilt(heard: &CaptureAnalysis) -> Option<String> {
    altered(heard, heard.playback.as_ref()?).into_iter().next()
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
    let long: f64 = it.dropouts.iter().map(|dropout| dropout.length_s).filter(|length| *length >= GAP_S).sum();
    let longest = it.dropouts.iter().map(|dropout| dropout.length_s).fold(0.0, f64::max);
    (long > DROPPED * it.length_s && it.length_s > 0.0).then(|| {
        let (count, share) = (it.dropouts.len(), long / it.length_s * 100.0);
        format!("{count} dropouts of up to {longest:.2} s take {share:.0} % of the time")
    })
}

/// Why none of the tones was found.
fn nothing(heard: &CaptureAnalysis, off: &[String]) -> String {
    let loudest = heard.left.peak_dbfs.max(heard.right.peak_dbfs);
    if heard.silent || loudest < SILENT_DBFS {
        return match off {
            [] => "only silence came out of the card".to_owned(),
            names => format!("only silence came out of the card: its own switch {} is off", names.join(", ")),
        };
    }
    format!("something came out of the card ({loudest:.0} dBFS), and none of the tones is in it")
}

#[cfg(test)]
mod tests;
