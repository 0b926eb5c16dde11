//! What sound servers and their clients write, and what it means: one table, whose rows only say what is judged.

use std::sync::LazyLock;

use regex::Regex;

use crate::guest::facts::JournalLine;
use crate::judging::text::pattern;

/// What a line means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AudioJournalMeaning {
    /// A program could not reach the sound server.
    ClientRefused,
    /// The server does not let this user in.
    AccessDenied,
    /// Why a server ends; its later lines are consequences.
    StartFailure,
    /// A card did not take what was asked of it: the server makes no sink of it.
    CardRefused,
    /// The server gets no realtime scheduling from rtkit.
    NoRealtime,
}

/// A kind of line.
struct AudioJournalRow {
    /// Who writes it.
    #[cfg_attr(not(test), expect(dead_code, reason = "says whose line it is"))]
    program: &'static str,
    /// The version that the example is of, where known.
    #[cfg_attr(not(test), expect(dead_code, reason = "says how old the example is"))]
    seen: Option<&'static str>,
    /// A line as it was found.
    #[cfg_attr(not(test), expect(dead_code, reason = "shows what the pattern is for, and is tested"))]
    example: &'static str,
    /// What all such lines have in common.
    pattern: &'static str,
    meaning: AudioJournalMeaning,
}

/// The table.
const ROWS: [AudioJournalRow; 8] = [
    AudioJournalRow {
        // nix-community/home-manager#2529
        program: "mpd, and other clients of libpulse, libpipewire, ALSA, or of PulseAudio's TCP port",
        seen: None,
        example: "output: Failed to open \"My Output\" (pulse); failed to connect: Connection refused",
        pattern: "(?i)(pulse|pipewire|pcm|audio|sound|4713).*connection refused",
        meaning: AudioJournalMeaning::ClientRefused,
    },
    AudioJournalRow {
        program: "pw-dump",
        seen: Some("1.4.2"),
        example: "can't connect: Permission denied",
        pattern: "denied",
        meaning: AudioJournalMeaning::AccessDenied,
    },
    AudioJournalRow {
        program: "pactl",
        seen: None,
        example: "Connection failure: Access denied",
        pattern: "denied",
        meaning: AudioJournalMeaning::AccessDenied,
    },
    AudioJournalRow {
        program: "pipewire",
        seen: Some("1.4.2"),
        example: "pw.conf: 0x55d0c1ff2ac0: could not load mandatory module \"libpipewire-module-media-session\": No such \
                  file or directory",
        pattern: "could not load mandatory module",
        meaning: AudioJournalMeaning::StartFailure,
    },
    AudioJournalRow {
        program: "pulseaudio",
        seen: Some("17.0"),
        example: "Daemon startup without any loaded modules, refusing to work.",
        pattern: "startup without any loaded modules",
        meaning: AudioJournalMeaning::StartFailure,
    },
    AudioJournalRow {
        program: "pipewire, wireplumber (their plugin alsa)",
        seen: None,
        example: "spa.alsa: hw:0p: Rate doesn't match (requested 192000, got 96000)",
        pattern: r"(?i)\b(?:rate|channels|format) does(?:n't| not) match",
        meaning: AudioJournalMeaning::CardRefused,
    },
    AudioJournalRow {
        program: "pipewire, wireplumber (their plugin alsa)",
        seen: None,
        example: "spa.alsa: 'front:0': playback open failed: Device or resource busy",
        pattern: r"(?i)\balsa.*(?:open failed|set_hw_params|Device or resource busy)",
        meaning: AudioJournalMeaning::CardRefused,
    },
    AudioJournalRow {
        program: "pipewire, wireplumber, pipewire-pulse (their module rt, of rtkit-daemon)",
        seen: Some("1.4.2"),
        example: "mod.rt: RTKit error: org.freedesktop.systemd1.UnitMasked",
        pattern: "RTKit error: ",
        meaning: AudioJournalMeaning::NoRealtime,
    },
];

static PATTERNS: LazyLock<Vec<Regex>> = LazyLock::new(|| ROWS.iter().map(|row| pattern(row.pattern)).collect());

/// Whether a text means this.
pub(super) fn means(text: &str, meaning: AudioJournalMeaning) -> bool {
    ROWS.iter().zip(PATTERNS.iter()).any(|(row, pattern)| row.meaning == meaning && pattern.is_match(text))
}

/// The last line of a unit that means this.
pub(super) fn last<'a>(journal: &'a [JournalLine], unit: &str, meaning: AudioJournalMeaning) -> Option<&'a str> {
    let own = |line: &&JournalLine| line.unit == unit && means(&line.message, meaning);
    journal.iter().rev().find(own).map(|line| line.message.as_str())
}

/// The first line, whoever wrote it, that means this: later ones follow from it.
pub(super) fn first(journal: &[JournalLine], meaning: AudioJournalMeaning) -> Option<&str> {
    journal.iter().map(|line| line.message.as_str()).find(|message| means(message, meaning))
}

/// Whether a line may speak of a refusal: what the journal is asked for, before it is judged.
pub(super) fn mentions_refusal(message: &str) -> bool {
    message.contains("refused")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_example_matches_its_row_and_no_other_meaning() {
        for row in &ROWS {
            assert!(!row.program.is_empty() && row.seen != Some(""));
            assert!(pattern(row.pattern).is_match(row.example), "{}: {}", row.program, row.example);
            let other =
                ROWS.iter().find(|other| other.meaning != row.meaning && pattern(other.pattern).is_match(row.example));
            assert!(other.is_none(), "{} means two things", row.example);
            assert!(row.meaning != AudioJournalMeaning::ClientRefused || mentions_refusal(row.example));
        }
    }

    #[test]
    fn a_refusal_by_something_else_is_none_of_a_sound_server() {
        let refused = |text| means(text, AudioJournalMeaning::ClientRefused);
        assert!(!refused("database: connect to 127.0.0.1:5432: Connection refused"));
        assert!(refused("cannot connect to 127.0.0.1:4713: Connection refused"));
    }
}
