//! Sound as a user at the machine has it, as data: the session, the card, the servers, what was played and recorded.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::server::SoundServerKind;
use crate::guest::facts::{JournalLine, Unit};
use crate::signal::CaptureAnalysis;

/// Sound, as far as it could be probed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AudioFacts {
    /// The user whose session it is.
    #[serde(rename = "person")]
    pub user: String,
    /// The user's number.
    pub uid: u32,
    /// How the session came to be.
    pub session: AudioSessionKind,
    /// The terminal of the user's session that logind takes for the main one, where that is at no seat: who is logged in
    /// on the serial console too may have that one.
    pub off_seat: Option<String>,
    /// The card.
    pub card: SoundCard,
    /// The units of sound servers in the user's manager.
    pub units: Vec<Unit>,
    /// Processes of sound servers.
    pub processes: Vec<ServerProcess>,
    /// What the server that was queried answers.
    pub server: Option<ServerState>,
    /// Why it does not answer.
    #[serde(rename = "silent")]
    pub no_answer: Option<String>,
    /// The socket to which PULSE_SERVER sends programs, where that is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_socket: Option<String>,
    /// The guest had nothing left to do, and there was no sink: none comes any more.
    pub rested: bool,
    /// What the servers wrote into the journal, and who refused them realtime scheduling.
    pub journal: Vec<JournalLine>,
    /// Journal lines of the user's other programs that speak of a refusal.
    pub refused: Vec<JournalLine>,
    /// What came of playing.
    pub tone: Option<TonePlayback>,
    /// What came of recording.
    pub recording: Option<Recording>,
    /// Why what is played is not captured at the host's side of the card, if so.
    #[serde(rename = "unheard")]
    pub no_capture: Option<String>,
    /// Why nothing is played into the card's input, if so.
    pub no_microphone: Option<String>,
    /// What could not be probed, and why: `card`, `units`, `processes`, `journal`, `tone`, `microphone`.
    pub gaps: BTreeMap<String, String>,
}

/// How a session came to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AudioSessionKind {
    /// The user's own, at the seat already.
    Own,
    /// One that was opened on a virtual terminal by the configuration's own PAM rules, and ended afterwards.
    Made,
    /// Only the user's manager was started: there is no session at the seat, so devices are given by groups alone.
    #[default]
    Lingering,
}

/// The card that the sandbox offers, and what the guest has of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SoundCard {
    /// A PCI device of the class for sound is there.
    pub present: bool,
    /// The kernel drives it: there is a control device.
    pub driven: bool,
    /// The user may open it.
    pub allowed: bool,
    /// It records: there is a device for that.
    pub records: bool,
    /// Who owns it: `root:audio 660`.
    pub owner: String,
    /// The card's own switches that are off, as amixer(1) names them: `Master`. Empty where it is not installed.
    pub off: Vec<String>,
}

/// A process of a sound server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerProcess {
    /// As `/proc/PID/comm` has it: `pipewire`, `wireplumber`, …
    pub name: String,
    /// Its number.
    pub pid: u32,
    /// Its user's number.
    pub uid: u32,
    /// Whether it has a thread with a realtime class (`SCHED_FIFO` or `SCHED_RR`, sched(7)).
    pub realtime: bool,
    /// Whether it has a device of the card's open.
    pub has_card: bool,
}

/// What a server says of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerState {
    /// Which server it is.
    pub kind: SoundServerKind,
    /// The default sink's name.
    pub default_sink: Option<String>,
    /// All sinks.
    pub sinks: Vec<AudioNode>,
    /// The default source's name.
    pub default_source: Option<String>,
    /// All sources but the monitors of sinks.
    pub sources: Vec<AudioNode>,
    /// Cards by name, with the profile that is active.
    pub cards: BTreeMap<String, String>,
    /// PipeWire's settings in effect: `clock.rate`, `clock.quantum`, …
    pub settings: BTreeMap<String, String>,
    /// The process ids of its clients, as they state them.
    pub clients: BTreeSet<u32>,
}

/// A sink or a source.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AudioNode {
    /// Its name.
    pub name: String,
    /// Whether it throws everything away: a null sink, the fallback when there is no card.
    pub null: bool,
    /// Muted.
    pub muted: bool,
    /// The volume of each channel, 0 to 1 of full.
    pub volumes: Vec<f64>,
}

/// What came of playing the tones.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TonePlayback {
    /// The program that played them.
    pub player: String,
    /// Its exit code.
    pub exit: i32,
    /// What it wrote to stderr.
    #[serde(rename = "said")]
    pub stderr: String,
    /// How long it took, in seconds; more than was asked for where it had to be killed.
    pub seconds: f64,
    /// How long all of it took, in seconds: from the file's way into the guest to the capture's analysis.
    pub took: f64,
    /// Whether it did not end.
    pub hung: bool,
    /// Whether the sink was unmuted for it, and muted again.
    pub unmuted: bool,
    /// What came out of the card.
    #[serde(rename = "heard")]
    pub analysis: Option<CaptureAnalysis>,
    /// What was wrong at the first attempt, where there were two.
    #[serde(rename = "first")]
    pub first_attempt: Option<String>,
}

/// What came of recording.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recording {
    /// The program that recorded.
    pub recorder: String,
    /// What it wrote to stderr.
    #[serde(rename = "said")]
    pub stderr: String,
    /// How much it recorded, in bytes of its file.
    pub bytes: u64,
    /// How long all of it took, in seconds: from the start of the recorder to the recording's analysis.
    pub took: f64,
    /// Whether the source was unmuted for it, and muted again.
    pub unmuted: bool,
    /// What is in it.
    #[serde(rename = "heard")]
    pub analysis: Option<CaptureAnalysis>,
    /// What was wrong at the first attempt, where there were two.
    #[serde(rename = "first")]
    pub first_attempt: Option<String>,
}

impl AudioNode {
    /// Whether it is known to be at volume 0.
    pub fn is_turned_down(&self) -> bool {
        !self.volumes.is_empty() && self.volumes.iter().all(|volume| *volume <= 0.0)
    }

    /// Whether nothing can be heard through it: muted, or at volume 0.
    pub fn is_quiet(&self) -> bool {
        self.muted || self.is_turned_down()
    }
}

impl AudioFacts {
    /// The default sink.
    pub fn sink(&self) -> Option<&AudioNode> {
        let server = self.server.as_ref()?;
        let name = server.default_sink.as_deref()?;
        server.sinks.iter().find(|sink| sink.name == name)
    }

    /// The default source.
    pub fn source(&self) -> Option<&AudioNode> {
        let server = self.server.as_ref()?;
        let name = server.default_source.as_deref()?;
        server.sources.iter().find(|source| source.name == name)
    }

    /// The unit of the user's manager with this name.
    pub fn unit(&self, name: &str) -> Option<&Unit> {
        self.units.iter().find(|unit| unit.name == name)
    }
}
