//! Sound as a person at the machine has it: the session, the card, the servers, what they play into.
//!
//! Everything is asked as the person whose session it is; root's view of sound is nobody's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::facts::{Account, JournalLine, Unit};
use super::journal;
use super::shell::Script;
use super::{Error, Guest};
use crate::model::{ActiveState, SESSION_UNIT, SubState};
use crate::text::{bounded, quoted};

/// The units of sound servers, in a user's manager or, where a server is for all, in PID 1.
pub const UNITS: [&str; 7] = [
    "pipewire.service",
    "pipewire.socket",
    "wireplumber.service",
    "pipewire-pulse.service",
    "pipewire-pulse.socket",
    "pulseaudio.service",
    "pulseaudio.socket",
];
/// The virtual terminal of a session that is made for the test: display managers and gettys use the first seven.
const VT: u32 = 8;
/// How long one answer of a server may take on hardware virtualisation.
const ANSWER: Duration = Duration::from_secs(6);
/// How long a server that answers may take until it has a sink.
const SINK_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks while a sink is waited for.
const SINK_INTERVAL: Duration = Duration::from_millis(250);
/// Most bytes of a server's description.
const DUMP: usize = 8 << 20;
/// Most sinks, cards, processes that are told of.
const MOST: usize = 32;
/// Most journal lines.
const LINES: usize = 400;
/// The file of the sound that is played, in the person's runtime directory.
const TONE_FILE: &str = "nixbox-tone.wav";
/// The file that is recorded into.
const RECORDING_FILE: &str = "nixbox-recording.wav";
/// The rate at which is recorded, in frames a second.
const RECORDED_RATE: u32 = 48_000;

/// Sound, as far as it could be looked at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sound {
    /// Whose session.
    pub person: String,
    /// The person's number.
    pub uid: u32,
    /// How the session came to be.
    pub session: SessionKind,
    /// The terminal of the person's session that logind takes for the main one, where that is at no seat: who is logged
    /// in on the serial console too may have that one.
    pub off_seat: Option<String>,
    /// The card.
    pub card: Card,
    /// The units of sound servers in the person's manager.
    pub units: Vec<Unit>,
    /// Processes of sound servers.
    pub processes: Vec<ServerProcess>,
    /// What the server that was asked answers.
    pub server: Option<Server>,
    /// Why it does not answer.
    pub silent: Option<String>,
    /// What they wrote into the journal.
    pub journal: Vec<JournalLine>,
    /// What other programs of the person's were refused, in their own words.
    pub refused: Vec<JournalLine>,
    /// What came of playing.
    pub tone: Option<Tone>,
    /// What came of recording.
    pub recording: Option<Recording>,
    /// Why what is played is not heard at the host's side of the card, if so.
    pub unheard: Option<String>,
    /// Why nothing speaks into the card, if so.
    pub no_microphone: Option<String>,
    /// What could not be looked at, and why.
    pub gaps: BTreeMap<String, String>,
}

/// How a session came to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionKind {
    /// The person sits there already.
    Own,
    /// One was made on a virtual terminal by the configuration's own PAM rules, and ended afterwards.
    Made,
    /// Only the person's manager was started: nobody sits at the seat, so devices are given by groups alone.
    #[default]
    Lingering,
}

/// The card that the sandbox offers, and what the guest has of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Card {
    /// A PCI device of the class for sound is there.
    pub present: bool,
    /// The kernel drives it: there is a control device.
    pub driven: bool,
    /// The person may open it.
    pub allowed: bool,
    /// It records: there is a device for that.
    pub records: bool,
    /// Who owns it: `root:audio 660`.
    pub owner: String,
    /// The card's own switches that are off, as amixer(1) tells them: `Master`. Empty where it is not installed.
    pub off: Vec<String>,
}

/// A process of a sound server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerProcess {
    /// `pipewire`, `wireplumber`, `pipewire-pulse`, `pulseaudio`.
    pub name: String,
    /// Its number.
    pub pid: u32,
    /// Whose.
    pub uid: u32,
    /// Whether it has a thread with a realtime class (`SCHED_FIFO` or `SCHED_RR`, sched(7)).
    pub realtime: bool,
    /// Whether it has a device of the card's open.
    pub has_card: bool,
}

/// Which server answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerKind {
    /// PipeWire.
    #[default]
    Pipewire,
    /// PulseAudio proper.
    Pulseaudio,
}

/// What a server says of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Server {
    /// Which.
    pub kind: ServerKind,
    /// The default sink's name.
    pub default_sink: Option<String>,
    /// All sinks.
    pub sinks: Vec<Sink>,
    /// The default source's name.
    pub default_source: Option<String>,
    /// All sources but what listens to a sink.
    pub sources: Vec<Sink>,
    /// Cards by name, with the profile that is active.
    pub cards: BTreeMap<String, String>,
    /// PipeWire's settings in effect: `clock.rate`, `clock.quantum`, …
    pub settings: BTreeMap<String, String>,
    /// The process ids of its clients, as they tell them.
    pub clients: BTreeSet<u32>,
}

/// Something to play into, or to record from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sink {
    /// Its name.
    pub name: String,
    /// Whether it throws everything away: a null sink, the fallback when there is no card.
    pub null: bool,
    /// Muted.
    pub muted: bool,
    /// The volume of each channel, 0 to 1 of full.
    pub volumes: Vec<f64>,
}

/// What came of playing a sound.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tone {
    /// The program that played it.
    pub player: String,
    /// Its exit code.
    pub exit: i32,
    /// What it said.
    pub said: String,
    /// How long it took, in seconds; more than was asked for where it had to be killed.
    pub seconds: f64,
    /// How long all of it took, in seconds: from the sound's way into the guest to what was made of the capture.
    pub took: f64,
    /// Whether it did not end.
    pub hung: bool,
    /// Whether the sink was unmuted for it, and muted again.
    pub unmuted: bool,
    /// What came out of the card.
    pub heard: Option<crate::signal::CaptureAnalysis>,
    /// What was wrong the first time, where it was played twice.
    pub first: Option<String>,
}

/// What came of recording.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recording {
    /// The program that recorded.
    pub recorder: String,
    /// What it said.
    pub said: String,
    /// How much it recorded, in bytes of its file.
    pub bytes: u64,
    /// How long all of it took, in seconds: from the start of the recorder to what was made of its file.
    pub took: f64,
    /// Whether the source was unmuted for it, and muted again.
    pub unmuted: bool,
    /// What was in it.
    pub heard: Option<crate::signal::CaptureAnalysis>,
    /// What was wrong the first time, where it was recorded twice.
    pub first: Option<String>,
}

impl Sink {
    /// Whether it is known to be at volume 0.
    pub fn is_turned_down(&self) -> bool {
        !self.volumes.is_empty() && self.volumes.iter().all(|volume| *volume <= 0.0)
    }
}

impl Sound {
    /// The default source.
    pub fn source(&self) -> Option<&Sink> {
        let server = self.server.as_ref()?;
        let name = server.default_source.as_deref()?;
        server.sources.iter().find(|source| source.name == name)
    }

    /// The unit with this name.
    pub fn unit(&self, name: &str) -> Option<&Unit> {
        self.units.iter().find(|unit| unit.name == name)
    }

    /// The default sink.
    pub fn sink(&self) -> Option<&Sink> {
        let server = self.server.as_ref()?;
        let name = server.default_sink.as_deref()?;
        server.sinks.iter().find(|sink| sink.name == name)
    }
}

/// A session in which sound is looked at. What was made for it has to be undone by [`Guest::leave`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// Whose.
    pub person: String,
    /// The person's number.
    pub uid: u32,
    /// The person's primary group.
    pub gid: u32,
    /// How it came to be.
    pub kind: SessionKind,
    /// As [`Sound::off_seat`].
    pub off_seat: Option<String>,
}

impl Guest {
    /// A session of this person: the one at the seat, else one that is made on a virtual terminal, else the person's
    /// manager alone.
    ///
    /// # Errors
    /// The guest could not be asked, or nothing of that could be had within `patience`.
    pub async fn sit_down(&self, person: &Account, patience: Duration) -> Result<Seat, Error> {
        let seat = |kind| Seat { person: person.name.clone(), uid: person.uid, gid: person.gid, kind, off_seat: None };
        let deadline = Instant::now() + patience;
        let mut logind = self.logind(patience).await?;
        let seated = |sessions: &[super::logind::Session]| {
            let mut all = sessions.iter();
            all.find(|session| session.uid == person.uid && session.is_seated() && session.class == "user").cloned()
        };
        let sessions = logind.sessions().await?;
        if seated(&sessions).is_some_and(|session| session.active) {
            // Should it not be told, nothing is excused by it.
            let main = logind.display(person.uid).await.unwrap_or_default();
            let main = sessions.into_iter().find(|session| session.id == main && !session.is_seated());
            return Ok(Seat { off_seat: main.map(|session| session.tty), ..seat(SessionKind::Own) });
        }
        // What the person would have after a login at a console: PAM opens the session, logind gives the devices. No
        // password is asked for, as root starts it.
        let name = quoted(&person.name);
        let run = format!(
            "[ -e /dev/tty{VT} ] && systemd-run --quiet --collect --unit={SESSION_UNIT} -p User={name} -p PAMName=login \
             -p TTYPath=/dev/tty{VT} -p StandardInput=tty-fail -p StandardOutput=journal -p StandardError=journal \
             -p TTYReset=yes -p TTYVTDisallocate=yes -p WorkingDirectory=~ --setenv=XDG_SESSION_CLASS=user \
             \"$(command -v sleep)\" infinity"
        );
        let mut script = Script::new(run);
        script.deadline = patience;
        if self.shell().run(script).await?.exit == 0 {
            while Instant::now() < deadline {
                match seated(&logind.sessions().await?) {
                    Some(session) if session.active => return Ok(seat(SessionKind::Made)),
                    Some(session) => logind.activate(&session.id).await?,
                    None => {}
                }
                logind.changed(Duration::from_millis(300)).await;
            }
            self.stop_session(patience).await;
        }
        let mut linger =
            Script::new(format!("loginctl enable-linger {name} && systemctl start user@{}.service", person.uid));
        linger.deadline = patience;
        let output = self.shell().run(linger).await?;
        if output.exit == 0 {
            return Ok(seat(SessionKind::Lingering));
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Error::Deadline(format!("no session for {}: {}", person.name, bounded(said.trim(), 300))))
    }

    /// Undoes what [`Guest::sit_down`] made.
    pub async fn leave(&self, seat: &Seat, lingered: bool, patience: Duration) {
        match seat.kind {
            SessionKind::Own => {}
            SessionKind::Made => self.stop_session(patience).await,
            // Who lingers by the configuration goes on lingering.
            SessionKind::Lingering if lingered => {}
            SessionKind::Lingering => {
                let mut script = Script::new(format!("loginctl disable-linger {}", quoted(&seat.person)));
                script.deadline = patience;
                // The machine is thrown away in any case.
                drop(self.shell().run(script).await);
            }
        }
    }

    async fn stop_session(&self, patience: Duration) {
        let mut script = Script::new(format!("systemctl stop {SESSION_UNIT}.service"));
        script.deadline = patience;
        drop(self.shell().run(script).await);
    }

    /// Looks at sound in this session. `kind`: the server that is to be asked. `scale`: how much slower than hardware
    /// virtualisation the guest is.
    pub async fn sound(&self, seat: &Seat, kind: ServerKind, through_pulse: bool, scale: f64) -> Sound {
        let answer = ANSWER.mul_f64(scale);
        let mut sound = Sound {
            person: seat.person.clone(),
            uid: seat.uid,
            session: seat.kind,
            off_seat: seat.off_seat.clone(),
            ..Sound::default()
        };
        match self.card(seat, answer).await {
            Ok(card) => sound.card = card,
            Err(error) => drop(sound.gaps.insert("card".to_owned(), error.to_string())),
        }
        self.session_started(seat, answer).await;
        let deadline = Instant::now() + SINK_LIMIT.mul_f64(scale);
        loop {
            match self.server(seat, kind, answer).await {
                Ok(server) => {
                    sound.server = Some(server);
                    sound.silent = None;
                }
                Err(error) => {
                    sound.server = None;
                    sound.silent = Some(error.to_string());
                }
            }
            // Its socket may start it, and a session manager makes the sinks when it has seen the cards.
            let settled = sound.sink().is_some_and(|sink| !sink.null);
            if settled || Instant::now() >= deadline || (!sound.card.driven && sound.server.is_some()) {
                break;
            }
            sleep(SINK_INTERVAL).await;
        }
        if through_pulse {
            // As an application would: its socket starts the service, if there is one.
            let text = "if command -v pactl >/dev/null; then exec pactl info; else exec systemctl --user start pipewire-pulse.service; fi";
            drop(self.as_person(seat, text, answer).await);
        }
        let wanted: BTreeSet<String> = UNITS.map(str::to_owned).into();
        let lines = journal::desktop_command(&[], &[seat.uid], LINES);
        let (manager, processes, journal) = tokio::join!(
            self.user_manager((seat.uid, seat.gid), &wanted, answer),
            self.sound_processes(answer),
            self.shell().ask(&lines, answer, DUMP),
        );
        match manager {
            Ok(manager) => {
                sound.units = manager.units.into_iter().filter(|unit| wanted.contains(&unit.name)).collect();
            }
            Err(error) => drop(sound.gaps.insert("units".to_owned(), error.to_string())),
        }
        match processes {
            Ok(processes) => sound.processes = processes,
            Err(error) => drop(sound.gaps.insert("processes".to_owned(), error.to_string())),
        }
        match journal {
            Ok(output) => {
                let all = journal::parse(&String::from_utf8_lossy(&output.stdout));
                let (journal, others): (Vec<_>, Vec<_>) =
                    all.into_iter().partition(|line| UNITS.contains(&line.unit.as_str()));
                sound.journal = journal;
                let refused = |line: &JournalLine| !line.unit.is_empty() && line.message.contains("refused");
                sound.refused = others.into_iter().filter(refused).take(MOST).collect();
            }
            Err(error) => drop(sound.gaps.insert("journal".to_owned(), error.to_string())),
        }
        sound
    }

    /// Waits until what the session starts has started: it may still set volumes.
    async fn session_started(&self, seat: &Seat, patience: Duration) {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            let manager = self.user_manager((seat.uid, seat.gid), &BTreeSet::new(), patience).await;
            let starts =
                |unit: &Unit| unit.active_state == ActiveState::Activating && unit.sub_state != SubState::AutoRestart;
            if manager.is_ok_and(|manager| !manager.units.is_empty() && !manager.units.iter().any(starts)) {
                return;
            }
            sleep(SINK_INTERVAL).await;
        }
    }

    async fn as_person(&self, seat: &Seat, text: &str, deadline: Duration) -> Result<super::shell::Output, Error> {
        let mut script = Script::new(text);
        script.user = Some(seat.person.clone());
        script.deadline = deadline;
        script.limit = DUMP;
        self.shell().run(script).await
    }

    /// The card: udev is let finish first, since drivers are loaded while the boot is called done.
    async fn card(&self, seat: &Seat, patience: Duration) -> Result<Card, Error> {
        let settle = format!(
            "udevadm settle --timeout={} 2>/dev/null; grep -qs '^0x04' /sys/bus/pci/devices/*/class && echo present; \
             for C in /dev/snd/controlC*; do [ -e \"$C\" ] && echo driven && stat -c 'owner %U:%G %a' \"$C\"; break; done; \
             for C in /dev/snd/pcmC*c; do [ -e \"$C\" ] && echo records; break; done; \
             command -v amixer >/dev/null && amixer -c 0 sget Master 2>/dev/null | grep -q '\\[off\\]' && echo 'off Master'; :",
            patience.as_secs()
        );
        let mut script = Script::new(settle);
        script.deadline = patience * 2;
        let output = self.shell().run(script).await?;
        let mut card = Card::default();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            match line.split_once(' ') {
                None if line == "present" => card.present = true,
                None if line == "driven" => card.driven = true,
                None if line == "records" => card.records = true,
                Some(("owner", owner)) => card.owner = bounded(owner, 80),
                Some(("off", name)) => card.off.push(bounded(name, 40)),
                _ => {}
            }
        }
        if card.driven {
            let text = "for C in /dev/snd/controlC*; do exec 9<>\"$C\" && exit 0; exit 1; done";
            card.allowed = self.as_person(seat, text, patience).await?.exit == 0;
        }
        Ok(card)
    }

    /// Whether the card's main switch is off now; `None` where nothing there can tell.
    pub async fn master_is_off(&self, patience: Duration) -> Option<bool> {
        let mut script = Script::new("command -v amixer >/dev/null || exit 9; amixer -c 0 sget Master");
        script.deadline = patience;
        let output = self.shell().run(script).await.ok()?;
        (output.exit == 0).then(|| String::from_utf8_lossy(&output.stdout).contains("[off]"))
    }

    /// What the server says of itself now.
    ///
    /// # Errors
    /// It does not answer in time, or the guest has nothing to ask it with.
    pub async fn server(&self, seat: &Seat, kind: ServerKind, answer: Duration) -> Result<Server, Error> {
        let text = match kind {
            // Its own listing is large: a pipe, never a file.
            ServerKind::Pipewire => "command -v pw-dump >/dev/null || exit 127; pw-dump --no-colors",
            ServerKind::Pulseaudio => {
                "command -v pactl >/dev/null || exit 127; for A in info 'list sinks' 'list cards' 'list sources' 'list clients'; do pactl -f json $A || exit; echo; done"
            }
        };
        let output = self.as_person(seat, text, answer).await?;
        if output.timed_out {
            return Err(Error::Deadline(format!("no answer within {:.0} s", answer.as_secs_f64())));
        }
        if output.exit != 0 {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = bounded(said.trim(), 300);
            return Err(if output.exit == 127 {
                Error::Lacks(if kind == ServerKind::Pipewire { "pw-dump" } else { "pactl" }.to_owned())
            } else {
                Error::Deadline(said)
            });
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let documents: Vec<Value> =
            serde_json::Deserializer::from_str(&text).into_iter().map_while(std::result::Result::ok).collect();
        Ok(match kind {
            ServerKind::Pipewire => pipewire(&documents),
            ServerKind::Pulseaudio => pulseaudio(&documents),
        })
    }

    async fn sound_processes(&self, patience: Duration) -> Result<Vec<ServerProcess>, Error> {
        // Of each server: its number and owner, the classes of its threads (field 41 of proc_pid_stat(5)), its card.
        let text = "( for P in /proc/[0-9]*; do read -r C <\"$P/comm\" || continue\n\
             case $C in pipewire|wireplumber|pipewire-pulse|pulseaudio) ;; *) continue ;; esac\n\
             U=; while read -r A B D; do [ \"$A\" = Uid: ] && U=$B; done <\"$P/status\"\n\
             R=; for T in \"$P\"/task/*/stat; do read -r L <\"$T\" && set -- ${L##*) } && R=\"$R ${39}\"; done\n\
             H=; for F in \"$P\"/fd/*; do case $(readlink \"$F\") in /dev/snd/pcm*) H=card ;; esac; done\n\
             echo \"$C ${P#/proc/} $U ${H:-none}$R\"\n\
             done; : ) 2>/dev/null";
        let output = self.shell().ask(text, patience, 64 << 10).await?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().take(MOST).filter_map(process).collect())
    }

    /// Puts the sound into the session and plays it with what the guest has.
    ///
    /// # Errors
    /// The guest could not be asked, or has nothing that plays.
    pub async fn play(
        &self,
        seat: &Seat,
        kind: ServerKind,
        wav: &[u8],
        unmute: bool,
        deadline: Duration,
    ) -> Result<Tone, Error> {
        let mut upload = Script::new(format!("cat > \"$XDG_RUNTIME_DIR/{TONE_FILE}\""));
        upload.user = Some(seat.person.clone());
        upload.stdin = wav.to_vec();
        upload.deadline = deadline;
        let output = self.shell().run(upload).await?;
        if output.exit != 0 {
            return Err(Error::Deadline(format!(
                "the sound could not be put into the guest: {}",
                bounded(&String::from_utf8_lossy(&output.stderr), 200)
            )));
        }
        let players = match kind {
            ServerKind::Pipewire => "pw-play pw-cat paplay aplay",
            ServerKind::Pulseaudio => "paplay pacat aplay",
        };
        let (before, after) = if unmute {
            (
                "M=$(pactl get-sink-volume @DEFAULT_SINK@ | grep -o '[0-9]*%' | head -n 1); pactl set-sink-mute @DEFAULT_SINK@ 0; pactl set-sink-volume @DEFAULT_SINK@ 70%;",
                "pactl set-sink-mute @DEFAULT_SINK@ 1; [ -n \"$M\" ] && pactl set-sink-volume @DEFAULT_SINK@ \"$M\";",
            )
        } else {
            ("", "")
        };
        let text = format!(
            "F=$XDG_RUNTIME_DIR/{TONE_FILE}\n{before}\nfor P in {players}; do\n command -v \"$P\" >/dev/null || continue\n echo \"$P\"\n\
             case $P in pw-cat) pw-cat -p \"$F\" ;; pacat) pacat --file-format=wav \"$F\" ;; *) \"$P\" \"$F\" ;; esac\n E=$?\n\
             {after}\n rm -f \"$F\"\n exit $E\ndone\nexit 127"
        );
        let clock = Instant::now();
        let output = self.as_person(seat, &text, deadline).await?;
        if output.exit == 127 && output.stdout.is_empty() {
            return Err(Error::Lacks("program that plays a sound (pw-play, paplay, aplay)".to_owned()));
        }
        let player = String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned();
        Ok(Tone {
            player: bounded(&player, 40),
            exit: output.exit,
            said: bounded(String::from_utf8_lossy(&output.stderr).trim(), 400),
            seconds: clock.elapsed().as_secs_f64(),
            took: 0.0,
            hung: output.timed_out,
            unmuted: unmute,
            heard: None,
            first: None,
        })
    }

    /// Records with what the guest has until there are `seconds` of sound, and brings it here: a WAV file, or less.
    ///
    /// # Errors
    /// The guest could not be asked, or has nothing that records.
    pub async fn record(
        &self,
        seat: &Seat,
        kind: ServerKind,
        seconds: f64,
        unmute: bool,
        deadline: Duration,
    ) -> Result<(Recording, Vec<u8>), Error> {
        let recorders = match kind {
            ServerKind::Pipewire => "pw-record pw-cat parecord arecord",
            ServerKind::Pulseaudio => "parecord parec arecord",
        };
        let (before, after) = if unmute {
            (
                "M=$(pactl get-source-volume @DEFAULT_SOURCE@ | grep -o '[0-9]*%' | head -n 1); pactl set-source-mute @DEFAULT_SOURCE@ 0; pactl set-source-volume @DEFAULT_SOURCE@ 70%;",
                "pactl set-source-mute @DEFAULT_SOURCE@ 1; [ -n \"$M\" ] && pactl set-source-volume @DEFAULT_SOURCE@ \"$M\";",
            )
        } else {
            ("", "")
        };
        // 16 bits, two channels. A recorder that is told to end writes what it has; one that is not ends with the shell.
        let (bytes, rate) = ((seconds * f64::from(RECORDED_RATE) * 4.0) as u64, RECORDED_RATE);
        let most = deadline.as_secs_f64() * 10.0;
        let text = format!(
            "F=$XDG_RUNTIME_DIR/{RECORDING_FILE}\nrm -f \"$F\"\n{before}\nfor P in {recorders}; do\n command -v \"$P\" >/dev/null || continue\n \
             echo \"$P\" >&2\n case $P in\n \
             pw-record) pw-record --rate {rate} --channels 2 --format s16 \"$F\" & ;;\n \
             pw-cat) pw-cat -r --rate {rate} --channels 2 --format s16 \"$F\" & ;;\n \
             arecord) arecord -q -f S16_LE -c 2 -r {rate} \"$F\" & ;;\n \
             *) \"$P\" --file-format=wav --rate={rate} --channels=2 --format=s16le \"$F\" & ;;\n esac\n R=$! N=0\n \
             while [ $N -lt {most:.0} ] && kill -0 $R 2>/dev/null; do\n  S=$(stat -c %s \"$F\" 2>/dev/null)\n  \
             [ \"${{S:-0}}\" -ge {bytes} ] && break\n  sleep 0.1\n  N=$((N + 1))\n done\n kill $R 2>/dev/null\n wait $R 2>/dev/null\n \
             {after}\n cat \"$F\" 2>/dev/null\n rm -f \"$F\"\n exit 0\ndone\nexit 127"
        );
        let mut script = Script::new(text);
        script.user = Some(seat.person.clone());
        script.deadline = deadline * 2;
        script.limit = DUMP;
        let output = self.shell().run(script).await?;
        if output.exit == 127 && output.stdout.is_empty() {
            return Err(Error::Lacks("program that records a sound (pw-record, parecord, arecord)".to_owned()));
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let (recorder, said) = said.split_once('\n').unwrap_or((&said, ""));
        let recording = Recording {
            recorder: bounded(recorder, 40),
            said: bounded(said.trim(), 400),
            bytes: output.stdout.len() as u64,
            took: 0.0,
            unmuted: unmute,
            heard: None,
            first: None,
        };
        Ok((recording, output.stdout))
    }
}

/// `NAME PID UID card|none CLASS…`.
fn process(line: &str) -> Option<ServerProcess> {
    let mut words = line.split(' ');
    let name = words.next()?.to_owned();
    let (pid, uid) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let has_card = words.next()? == "card";
    // SCHED_FIFO and SCHED_RR.
    let realtime = words.any(|class| class == "1" || class == "2");
    Some(ServerProcess { name, pid, uid, realtime, has_card })
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => bounded(text, 200),
        Value::Null => String::new(),
        other => bounded(&other.to_string(), 200),
    }
}

/// A process id, as a number or in words.
fn pid(value: &Value) -> Option<u32> {
    text(value).parse().ok()
}

/// `pw-dump`'s list of objects.
fn pipewire(documents: &[Value]) -> Server {
    let mut server = Server { kind: ServerKind::Pipewire, ..Server::default() };
    let routes = routes(documents);
    // Later documents tell changes of earlier ones; one is the rule.
    for object in documents.iter().filter_map(Value::as_array).flatten() {
        let kind = object["type"].as_str().unwrap_or_default();
        let properties = &object["info"]["props"];
        let param = |name: &str| &object["info"]["params"][name][0];
        if kind.ends_with(":Metadata") {
            let entries = object["metadata"].as_array().into_iter().flatten();
            match object["props"]["metadata.name"].as_str() {
                Some("default") => {
                    let entries: Vec<&Value> = entries.collect();
                    let named = |key: &str| {
                        let entry = entries.iter().find(|entry| entry["key"] == key);
                        entry.map(|entry| text(&entry["value"]["name"])).filter(|name| !name.is_empty())
                    };
                    (server.default_sink, server.default_source) =
                        (named("default.audio.sink"), named("default.audio.source"));
                }
                Some("settings") => {
                    let pairs = entries.take(MOST).map(|entry| (text(&entry["key"]), text(&entry["value"])));
                    server.settings.extend(pairs);
                }
                _ => {}
            }
        } else if kind.ends_with(":Node")
            && let Some(list) = match properties["media.class"].as_str() {
                Some("Audio/Sink") => Some(&mut server.sinks),
                Some("Audio/Source") => Some(&mut server.sources),
                _ => None,
            }
            && list.len() < MOST
        {
            let props = param("Props");
            let whole = props["volume"].as_f64().unwrap_or(1.0);
            let mut volumes: Vec<f64> = channel_volumes(props).map(|volume| volume * whole).collect();
            let mut muted = props["mute"].as_bool().unwrap_or(false);
            let place = (properties["device.id"].as_u64(), properties["card.profile.device"].as_u64());
            if let (Some(device), Some(port)) = place
                && let Some((off, loudness)) = routes.get(&(device, port))
            {
                muted |= off;
                if !loudness.is_empty() && loudness.iter().sum::<f64>() < volumes.iter().sum() {
                    volumes.clone_from(loudness);
                }
            }
            let name = text(&properties["node.name"]);
            list.push(Sink {
                null: properties["factory.name"] == "support.null-audio-sink" || name == "auto_null",
                muted,
                volumes,
                name,
            });
        } else if kind.ends_with(":Device") && properties["media.class"] == "Audio/Device" && server.cards.len() < MOST
        {
            server.cards.insert(text(&properties["device.name"]), text(&param("Profile")["name"]));
        } else if kind.ends_with(":Client") {
            server.clients.extend(pid(&properties["application.process.id"]));
        }
    }
    server
}

/// `channelVolumes` of some properties.
fn channel_volumes(props: &Value) -> impl Iterator<Item = f64> + '_ {
    props["channelVolumes"].as_array().into_iter().flatten().filter_map(Value::as_f64)
}

/// Whether the ways out of and into the cards are muted, and how loud they are, by device and profile device. A node that
/// was made after its way had been set does not know of it (measured, 1.4): it says full, and silence comes out.
fn routes(documents: &[Value]) -> BTreeMap<(u64, u64), (bool, Vec<f64>)> {
    let devices = documents.iter().filter_map(Value::as_array).flatten().take(MOST * MOST);
    let routes =
        devices.filter_map(|device| Some((device["id"].as_u64()?, device["info"]["params"]["Route"].as_array()?)));
    let routes = routes.flat_map(|(id, routes)| routes.iter().take(MOST).map(move |route| (id, route)));
    let read = |(id, route): (u64, &Value)| {
        let props = &route["props"];
        let muted = props["mute"].as_bool().unwrap_or(false);
        Some(((id, route["device"].as_u64()?), (muted, channel_volumes(props).collect())))
    };
    routes.filter_map(read).collect()
}

/// `pactl -f json`: info, sinks, cards, sources, clients.
fn pulseaudio(documents: &[Value]) -> Server {
    let list = |index: usize| documents.get(index).and_then(Value::as_array).into_iter().flatten().take(MOST);
    let default = |key: &str| documents.first().map(|info| text(&info[key])).filter(|name| !name.is_empty());
    let node = |node: &Value| Sink {
        name: text(&node["name"]),
        null: node["driver"] == "module-null-sink.c" || node["driver"] == "module-null-sink",
        muted: node["mute"].as_bool().unwrap_or(false),
        volumes: node["volume"]
            .as_object()
            .into_iter()
            .flat_map(|volumes| volumes.values())
            .filter_map(|volume| Some(volume["value"].as_f64()? / 65536.0))
            .collect(),
    };
    // What listens to a sink is called after it.
    let is_monitor = |source: &&Value| source["name"].as_str().is_some_and(|name| name.ends_with(".monitor"));
    Server {
        kind: ServerKind::Pulseaudio,
        default_sink: default("default_sink_name"),
        sinks: list(1).map(node).collect(),
        default_source: default("default_source_name"),
        sources: list(3).filter(|source| !is_monitor(source)).map(node).collect(),
        cards: list(2).map(|card| (text(&card["name"]), text(&card["active_profile"]))).collect(),
        settings: BTreeMap::new(),
        clients: list(4).filter_map(|client| pid(&client["properties"]["application.process.id"])).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipewire_dump_is_read() {
        let dump = serde_json::json!([
            {"type": "PipeWire:Interface:Metadata", "props": {"metadata.name": "default"},
             "metadata": [{"subject": 0, "key": "default.audio.sink", "value": {"name": "alsa_output.x"}}]},
            {"type": "PipeWire:Interface:Metadata", "props": {"metadata.name": "settings"},
             "metadata": [{"key": "clock.rate", "value": 48000}]},
            {"type": "PipeWire:Interface:Node", "info": {"props": {"media.class": "Audio/Sink", "node.name": "alsa_output.x"},
             "params": {"Props": [{"mute": true, "volume": 1.0, "channelVolumes": [0.064, 0.0]}]}}},
            {"type": "PipeWire:Interface:Device", "info": {"props": {"media.class": "Audio/Device", "device.name": "alsa_card.x"},
             "params": {"Profile": [{"name": "off"}]}}},
            {"type": "PipeWire:Interface:Node", "info": null}
        ]);
        let server = pipewire(&[dump]);
        assert_eq!(server.default_sink.as_deref(), Some("alsa_output.x"));
        assert_eq!(server.settings["clock.rate"], "48000");
        assert_eq!(server.cards["alsa_card.x"], "off");
        assert!(server.sinks[0].muted && !server.sinks[0].null);
        assert_eq!(server.sinks[0].volumes, [0.064, 0.0]);
        assert_eq!(pipewire(&[]), Server::default());
    }

    #[test]
    fn the_way_out_counts_where_the_node_does_not_know_of_it() {
        let sink = |route: Value| {
            let dump = serde_json::json!([
                {"id": 43, "type": "PipeWire:Interface:Device", "info": {"props": {"media.class": "Audio/Device"},
                 "params": {"Route": [{"index": 0, "direction": "Output", "device": 1, "props": route}]}}},
                {"id": 49, "type": "PipeWire:Interface:Node", "info": {
                 "props": {"media.class": "Audio/Sink", "node.name": "x", "device.id": 43, "card.profile.device": 1},
                 "params": {"Props": [{"mute": false, "volume": 1.0, "channelVolumes": [1.0, 1.0]}]}}}
            ]);
            let sink = pipewire(&[dump]).sinks.remove(0);
            (sink.muted, sink.volumes)
        };
        assert_eq!(sink(serde_json::json!({"mute": false, "channelVolumes": [0.0, 0.0]})), (false, vec![0.0, 0.0]));
        assert_eq!(sink(serde_json::json!({"mute": true, "channelVolumes": [1.0, 1.0]})), (true, vec![1.0, 1.0]));
        assert_eq!(sink(Value::Null), (false, vec![1.0, 1.0]));
    }

    #[test]
    fn what_pactl_tells_is_read() {
        let server = pulseaudio(&[
            serde_json::json!({"default_sink_name": "auto_null"}),
            serde_json::json!([{"name": "auto_null", "driver": "module-null-sink.c", "mute": false,
                "volume": {"front-left": {"value": 65536}, "front-right": {"value": 32768}}}]),
            serde_json::json!([]),
        ]);
        assert!(server.sinks[0].null);
        let mut volumes = server.sinks[0].volumes.clone();
        volumes.sort_by(f64::total_cmp);
        assert_eq!(volumes, [0.5, 1.0]);
        assert_eq!(pulseaudio(&[Value::Null]).default_sink, None);
    }

    #[test]
    fn processes_are_told_apart() {
        let told = process("pipewire 812 1000 card 0 2 0").unwrap();
        assert!(told.realtime && told.has_card && told.uid == 1000 && told.pid == 812);
        assert!(!process("pulseaudio 9 1001 none 0 0").unwrap().realtime);
        assert_eq!(process("pipewire x"), None);
    }
}
