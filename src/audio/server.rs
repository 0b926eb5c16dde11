//! What differs between sound servers, and which there are. One more is one file, one line of the table below, and the
//! option by which it is expected (`nix/expectations.nix`): without that it is never tested.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::facts::ServerState;
use super::judge::AudioJudge;
use super::programs::AudioProgram;
use super::{pipewire, pulseaudio};
use crate::judging::Finding;
use crate::nix::expectations::ExpectedAudio;

/// A sound server: what can be said of it, and what has to be done differently.
pub(crate) trait SoundServer: Sync {
    /// What can be said of it.
    fn profile(&self) -> &'static ServerProfile;

    /// Whether the configuration expects it.
    fn is_expected(&self, expected: &ExpectedAudio) -> bool;

    /// What it answers, of the JSON documents that the query printed.
    fn read(&self, documents: &[Value]) -> ServerState;

    /// A script that starts what is started by the first client, as an application would.
    fn first_client(&self, _expected: &ExpectedAudio) -> Option<&'static str> {
        None
    }

    /// What is wrong with its units, judged.
    fn unit_findings(&self, judge: &AudioJudge<'_>) -> Vec<Finding>;

    /// Which declared settings are not in effect, judged.
    fn setting_findings(&self, _expected: &ExpectedAudio, _state: &ServerState) -> Vec<Finding> {
        Vec::new()
    }
}

/// What can be said of a sound server.
pub(crate) struct ServerProfile {
    /// As users know it: `PipeWire`.
    pub(super) name: &'static str,
    /// Its process, as `/proc/PID/comm` names it.
    pub(super) process: &'static str,
    /// All of its processes.
    pub(super) processes: &'static [&'static str],
    /// The service that has to run.
    pub(super) service: &'static str,
    /// The service that makes sinks of cards, where that is not the server itself.
    pub(super) session_manager: Option<&'static str>,
    /// All of its units: in a user's manager or, where the server is system-wide, in PID 1.
    pub(super) units: &'static [&'static str],
    /// Those that are the user's manager's even so.
    pub(super) per_user: &'static [&'static str],
    /// The program that asks it what it has, and a script that prints the answer as JSON documents, or ends with 127 where
    /// there is no such program.
    pub(super) query: (&'static str, &'static str),
    /// What plays a WAV file through it, the best first.
    pub(super) players: &'static [AudioProgram],
    /// What records a WAV file from it, the best first.
    pub(super) recorders: &'static [AudioProgram],
    /// Whether it leaves a new card as the driver made it: silent until it is turned up.
    pub(super) keeps_card_state: bool,
}

impl ServerProfile {
    /// Whether it has the card as the driver left it: it keeps that, and nothing sets the card's switches at boot.
    pub(super) fn has_new_card(&self, expected: &ExpectedAudio) -> bool {
        self.keeps_card_state && !expected.alsa_persistence
    }
}

/// Makes the enum of the servers and its table.
macro_rules! servers {
    ($($(#[$meta:meta])* $kind:ident => $server:expr,)*) => {
        /// Which sound server.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum SoundServerKind {
            $($(#[$meta])* $kind,)*
        }

        impl SoundServerKind {
            /// All of them; of several that a configuration expects, the first one is tested.
            pub(crate) const ALL: &[Self] = &[$(Self::$kind,)*];

            /// What is particular to it.
            pub(crate) fn server(self) -> &'static dyn SoundServer {
                match self {
                    $(Self::$kind => &$server,)*
                }
            }
        }
    };
}

servers! {
    /// PipeWire.
    #[default]
    Pipewire => pipewire::PipeWire,
    /// PulseAudio proper.
    Pulseaudio => pulseaudio::PulseAudio,
}

impl SoundServerKind {
    /// The server that the configuration expects.
    pub(crate) fn expected(expected: &ExpectedAudio) -> Self {
        let mut all = Self::ALL.iter().copied();
        all.find(|kind| kind.server().is_expected(expected)).unwrap_or_default()
    }
}

/// The units of all sound servers.
pub(crate) fn units() -> impl Iterator<Item = &'static str> {
    SoundServerKind::ALL.iter().flat_map(|kind| kind.server().profile().units).copied()
}

/// The processes of all sound servers.
pub(crate) fn processes() -> impl Iterator<Item = &'static str> {
    SoundServerKind::ALL.iter().flat_map(|kind| kind.server().profile().processes).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_unit_and_process_belongs_to_one_server() {
        for names in [units().collect::<Vec<_>>(), processes().collect()] {
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
        }
        for kind in SoundServerKind::ALL {
            let it = kind.server().profile();
            assert!(it.units.contains(&it.service) && it.processes.contains(&it.process));
            assert_eq!(kind.server().read(&[]).kind, *kind);
        }
    }

    #[test]
    fn the_expected_server_is_tested() {
        let pulseaudio = ExpectedAudio { pulseaudio: true, ..ExpectedAudio::default() };
        let both = ExpectedAudio { pipewire: true, ..pulseaudio.clone() };
        assert_eq!(SoundServerKind::expected(&pulseaudio), SoundServerKind::Pulseaudio);
        assert_eq!(SoundServerKind::expected(&both), SoundServerKind::Pipewire);
    }
}
