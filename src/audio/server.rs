//! What differs between sound servers, and which there are. One more is one file and one line of the table below.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::facts::ServerState;
use super::judge::AudioJudge;
use super::programs::AudioProgram;
use super::{pipewire, pulseaudio};
use crate::checks::Finding;
use crate::nix::expectations::ExpectedAudio;

/// A sound server.
pub(crate) trait SoundServer: Sync {
    /// As users know it: `PipeWire`.
    fn name(&self) -> &'static str;

    /// Its process, as `/proc/PID/comm` names it, and the service that runs that.
    fn process(&self) -> &'static str;

    /// The service that has to run.
    fn service(&self) -> &'static str;

    /// All of its units: in a user's manager or, where the server is system-wide, in PID 1.
    fn units(&self) -> &'static [&'static str];

    /// All of its processes.
    fn processes(&self) -> &'static [&'static str];

    /// Whether the configuration expects it.
    fn is_expected(&self, expected: &ExpectedAudio) -> bool;

    /// Whether this unit is the user's manager's though the server is system-wide.
    fn is_always_per_user(&self, _unit: &str) -> bool {
        false
    }

    /// The service that makes sinks of cards, where that is not the server itself.
    fn session_manager(&self) -> Option<&'static str> {
        None
    }

    /// How it is asked what it has.
    fn query(&self) -> ServerQuery;

    /// What it answers, of the JSON documents that the query printed.
    fn read(&self, documents: &[Value]) -> ServerState;

    /// A script that starts what is started by the first client, as an application would.
    fn first_client(&self, _expected: &ExpectedAudio) -> Option<&'static str> {
        None
    }

    /// What plays a WAV file through it, the best first.
    fn players(&self) -> &'static [AudioProgram];

    /// What records a WAV file from it, the best first.
    fn recorders(&self) -> &'static [AudioProgram];

    /// Whether it leaves a new card as the driver made it: silent until it is turned up.
    fn keeps_card_state(&self) -> bool {
        false
    }

    /// Whether it has the card as the driver left it: it keeps that, and nothing sets the card's switches at boot.
    fn has_new_card(&self, expected: &ExpectedAudio) -> bool {
        self.keeps_card_state() && !expected.alsa_persistence
    }

    /// What is wrong with its units, judged.
    fn unit_findings(&self, judge: &AudioJudge<'_>) -> Vec<Finding>;

    /// Which declared settings are not in effect, judged.
    fn setting_findings(&self, _expected: &ExpectedAudio, _state: &ServerState) -> Vec<Finding> {
        Vec::new()
    }
}

/// How a server is asked what it has.
pub(crate) struct ServerQuery {
    /// The program that asks.
    pub(super) program: &'static str,
    /// A script that prints JSON documents, and ends with 127 where there is no such program.
    pub(super) script: &'static str,
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
    SoundServerKind::ALL.iter().flat_map(|kind| kind.server().units()).copied()
}

/// The processes of all sound servers.
pub(super) fn processes() -> impl Iterator<Item = &'static str> {
    SoundServerKind::ALL.iter().flat_map(|kind| kind.server().processes()).copied()
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
            let server = kind.server();
            assert!(server.units().contains(&server.service()) && server.processes().contains(&server.process()));
            assert_eq!(server.read(&[]).kind, *kind);
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
