//! What sound servers and their clients write, and what it means: one table, whose rows only say what is judged.

use std::sync::LazyLock;

use crate::guest::facts::JournalLine;
use crate::judging::journal::{Case, Means, Row, Table, rows};

/// What a line means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AudioJournalMeaning {
    /// A program could not reach the sound server.
    ClientRefused,
    /// The server does not let this user in.
    AccessDenied,
    /// Why a server ends; its later lines are consequences.
    StartFailure,
    /// A plugin that a filter is made of cannot be loaded: what fails then follows from it.
    PluginMissing,
    /// A part of its configuration is not read.
    ConfigurationIgnored,
    /// A card did not take what was asked of it: the server makes no sink of it.
    CardRefused,
    /// The server gets no realtime scheduling from rtkit.
    NoRealtime,
}

const ROWS: &[Row<AudioJournalMeaning>] = rows! { AudioJournalMeaning;
    // nix-community/home-manager#2529
    ClientRefused "mpd, and other clients of libpulse, libpipewire, ALSA, or of PulseAudio's TCP port": "output: Failed to open \"My Output\" (pulse); failed to connect: Connection refused"
        => "(?i)(pulse|pipewire|pcm|audio|sound|4713).*connection refused";
    AccessDenied "pw-dump" ("1.4.2"): "can't connect: Permission denied" => "denied";
    AccessDenied "pactl": "Connection failure: Access denied" => "denied";
    StartFailure "pipewire" ("1.4.2"): "pw.conf: 0x55d0c1ff2ac0: could not load mandatory module \"libpipewire-module-media-session\": No such file or directory"
        => "could not load mandatory module";
    StartFailure "pulseaudio" ("17.0"): "Daemon startup without any loaded modules, refusing to work."
        => "startup without any loaded modules";
    // nix-community/home-manager#9220, NixOS/nixpkgs#192662
    PluginMissing "pipewire (its filter graph)": "spa.filter-graph: failed to load plugin 'librnnoise_ladspa' in '/usr/lib64/ladspa:/usr/lib': No such file or directory"
        => r"failed to load plugin '|can't load (?:lv2|ladspa|sofa) |missing filter\.graph property";
    // Jovian-Experiments/Jovian-NixOS#329
    ConfigurationIgnored "wireplumber": "Old configuration file detected: /etc/wireplumber/main.lua.d/60-alsa.lua"
        => r"Old configuration file detected|configuration files are NOT supported";
    CardRefused "pipewire, wireplumber (their plugin alsa)": "spa.alsa: hw:0p: Rate doesn't match (requested 192000, got 96000)"
        => r"(?i)\b(?:rate|channels|format) does(?:n't| not) match";
    CardRefused "pipewire, wireplumber (their plugin alsa)": "spa.alsa: 'front:0': playback open failed: Device or resource busy"
        => r"(?i)\balsa.*(?:open failed|set_hw_params|Device or resource busy)";
    NoRealtime "pipewire, wireplumber, pipewire-pulse (their module rt, of rtkit-daemon)" ("1.4.2"): "mod.rt: RTKit error: org.freedesktop.systemd1.UnitMasked"
        => "RTKit error: ";
    // Where a portal answers, PipeWire asks for it there.
    NoRealtime "xdg-desktop-portal" ("1.20.3"): "Realtime error: Could not get pidns for pid 495: Could not fstatat ns/pid: Not a directory"
        => "^Realtime error: ";
};

static TABLE: LazyLock<Table<AudioJournalMeaning>> = LazyLock::new(|| Table::new(Case::Counts, ROWS));

impl Means for AudioJournalMeaning {
    fn table() -> &'static Table<Self> {
        &TABLE
    }
}

/// The last line of a unit that means this.
pub(super) fn last<'a>(journal: &'a [JournalLine], unit: &str, meaning: AudioJournalMeaning) -> Option<&'a str> {
    let own = |line: &&JournalLine| line.unit == unit && meaning.is_in(&line.message);
    journal.iter().rev().find(own).map(|line| line.message.as_str())
}

/// The first line, whoever wrote it, that means this: later ones follow from it.
pub(super) fn first(journal: &[JournalLine], meaning: AudioJournalMeaning) -> Option<&str> {
    journal.iter().map(|line| line.message.as_str()).find(|message| meaning.is_in(message))
}

/// Whether a line may speak of a refusal: what the journal is asked for, before it is judged.
pub(super) fn mentions_refusal(message: &str) -> bool {
    message.contains("refused")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judging::journal::{OtherMeanings, assert_examples};

    #[test]
    fn examples() {
        assert_examples::<AudioJournalMeaning>(OtherMeanings::Wrong);
        let mut refusals = ROWS.iter().filter(|row| row.meaning == AudioJournalMeaning::ClientRefused);
        assert!(refusals.all(|row| mentions_refusal(row.example)));
    }

    #[test]
    fn a_refusal_by_something_else_is_none_of_a_sound_server() {
        let refused = |text| AudioJournalMeaning::ClientRefused.is_in(text);
        assert!(!refused("database: connect to 127.0.0.1:5432: Connection refused"));
        assert!(refused("cannot connect to 127.0.0.1:4713: Connection refused"));
    }
}
