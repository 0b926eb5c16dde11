//! Untrusted text (of a guest, a runner, nix, a flake) made fit to be kept and shown: bounded, without terminal
//! sequences, escaped, quoted for a shell, a unit's name. And times for people. Pure.
//!
//! What is kept is bounded and without sequences (`plain`, `clean_line`); what is shown goes through [`escape`]
//! besides, whatever was done to it before.

use std::fmt::Write as _;

/// Makes text from a guest, a runner or a flake harmless on a terminal: control characters (C0 but tab, DEL, C1), and
/// the Unicode characters that reorder or hide text (UAX #9, Trojan Source), become visible escapes. Tabs become
/// spaces, line ends stay. Escaping twice changes nothing.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push('\n'),
            '\t' => out.push_str("    "),
            c if is_unsafe(c) => {
                // Writing into a String cannot fail.
                let _infallible = write!(out, "{}", c.escape_unicode());
            }
            c => out.push(c),
        }
    }
    out
}

/// [`escape`], in one line.
pub fn escape_line(text: &str) -> String {
    escape(&text.replace("\r\n", "\n"))
        .split('\n')
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// One line of a guest's: without terminal sequences, unsafe characters escaped, at most `most` characters with `…` for
/// the rest.
pub(crate) fn clean_line(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most));
    let mut length = 0;
    for c in without_sequences(text.trim_end()) {
        let piece = match c {
            '\t' => "  ".to_owned(),
            '\r' => continue,
            c if is_unsafe(c) => c.escape_unicode().to_string(),
            c => c.to_string(),
        };
        length += piece.chars().count();
        if length >= most {
            out.push('…');
            return out;
        }
        out.push_str(&piece);
    }
    out
}

/// Text of many lines: without terminal sequences and unsafe characters (line ends and tabs stay), [`bounded`] by `most`
/// bytes.
pub(crate) fn plain(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most));
    for c in without_sequences(text).filter(|c| matches!(c, '\n' | '\t') || !is_unsafe(*c)) {
        out.push(c);
        if out.len() > most {
            break;
        }
    }
    bounded(&out, most)
}

/// The text, or as much of its beginning as fits into `most` bytes with `…` after it.
pub(crate) fn bounded(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

/// Whether a character can drive a terminal, or make a text read as another one than it is.
fn is_unsafe(c: char) -> bool {
    c.is_control() || is_deceptive(c)
}

/// Reorders, hides or breaks a line of text (Unicode's bidirectional controls, zero width ones, tags), or is no
/// character at all and as such forbidden in XML and YAML.
fn is_deceptive(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}'
        | '\u{e0000}'..='\u{e007f}')
}

/// The characters that belong to no terminal sequence. Other control characters are among them.
pub(crate) fn without_sequences(text: &str) -> impl Iterator<Item = char> {
    let mut sequences = Sequences::default();
    text.chars().filter(move |c| !sequences.takes(*c))
}

/// Separates terminal sequences (ECMA-48) from text, character by character. A sequence that is none after all, or never
/// ends, removes nothing beyond its line.
#[derive(Debug, Default)]
pub(crate) struct Sequences {
    state: Sequence,
}

/// Where in a sequence we are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Sequence {
    #[default]
    None,
    /// After ESC.
    Begun,
    /// In a control sequence: ends with a character from `@` to `~`.
    Control,
    /// In a string (title, hyperlink): ends with BEL or ESC `\`.
    Text,
    /// One more character belongs to it (a character set's name).
    One,
}

impl Sequences {
    /// Whether the next character belongs to a sequence.
    pub(crate) fn takes(&mut self, c: char) -> bool {
        let (state, taken) = match (self.state, c) {
            (_, '\n') => (Sequence::None, false),
            (_, '\u{1b}') => (Sequence::Begun, true),
            (Sequence::None, '\u{9b}') => (Sequence::Control, true),
            (Sequence::None, _) => (Sequence::None, false),
            (Sequence::Begun, '[') => (Sequence::Control, true),
            (Sequence::Begun, ']' | 'P' | '_' | '^' | 'X') => (Sequence::Text, true),
            (Sequence::Begun, '(' | ')' | '*' | '+' | '#' | '%' | ' ') => (Sequence::One, true),
            (Sequence::Begun | Sequence::One, _) => (Sequence::None, true),
            (Sequence::Control, ' '..='?') => (Sequence::Control, true),
            (Sequence::Control, '@'..='~') => (Sequence::None, true),
            (Sequence::Control, _) => (Sequence::None, false),
            (Sequence::Text, '\u{7}') => (Sequence::None, true),
            (Sequence::Text, _) => (Sequence::Text, true),
        };
        self.state = state;
        taken
    }
}

/// A word for a POSIX shell, to be read by people: bare where it can be.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+,@%#".contains(c);
    if !word.is_empty() && word.chars().all(plain) && !word.starts_with('#') { word.to_owned() } else { quoted(word) }
}

/// A single-quoted word for a POSIX shell, which may hold line ends.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Words as one command for a POSIX shell, to be read by people.
pub(crate) fn command_line<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> String {
    words.into_iter().map(|word| quote(word.as_ref())).collect::<Vec<_>>().join(" ")
}

/// A path as the name of its unit (systemd-escape(1), `--path`).
pub(crate) fn escape_path(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.is_empty() {
        return "-".to_owned();
    }
    let mut out = String::new();
    for (at, byte) in parts.join("/").bytes().enumerate() {
        match byte {
            b'/' => out.push('-'),
            b'.' if at > 0 => out.push('.'),
            b'_' | b':' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(char::from(byte)),
            other => out.push_str(&format!("\\x{other:02x}")),
        }
    }
    out
}

/// Seconds in a unit that fits: `35 ms`, `0.4 s`, `41 s`, `2 min 5 s`, `1 h 3 min`.
pub fn seconds(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "?".to_owned();
    }
    let whole = seconds.round() as u64;
    match seconds {
        s if s < 0.0995 => format!("{:.0} ms", s * 1000.0),
        s if s < 9.95 => format!("{s:.1} s"),
        _ if whole < 120 => format!("{whole} s"),
        _ if whole < 3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// The nearest of `known` to what was typed, if it is near enough to be meant.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(typed, name), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// Names for a user, those nearest to what was typed first, not too many.
pub(crate) fn listed(typed: &str, names: &[String]) -> String {
    const MOST: usize = 12;
    let mut sorted: Vec<(f64, &String)> = names.iter().map(|name| (strsim::jaro_winkler(typed, name), name)).collect();
    if !typed.is_empty() {
        sorted.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    }
    let mut words: Vec<&str> = sorted.iter().take(MOST).map(|(_, name)| name.as_str()).collect();
    let rest = format!("and {} more", names.len().saturating_sub(MOST));
    if names.len() > MOST {
        words.push(&rest);
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_guest_cannot_drive_the_terminal() {
        assert_eq!(escape("\x1b[2Jhello\x07\r\n\u{9b}31m"), "\\u{1b}[2Jhello\\u{7}\\u{d}\n\\u{9b}31m");
        assert_eq!(escape("abc\u{202e}def\u{200b}"), "abc\\u{202e}def\\u{200b}");
        assert_eq!(escape("a\tb – ü 漢 \\x41"), "a    b – ü 漢 \\x41");
        assert_eq!(escape_line("a\r\n b\n\n"), "a b");
    }

    #[test]
    fn sequences_go_and_controls_are_escaped() {
        let clean = |text: &str| clean_line(text, 400);
        assert_eq!(clean("\u{1b}[0;1;31mred\u{1b}[0m\ttab\u{7}\r"), "red  tab\\u{7}");
        assert_eq!(clean("\u{1b}]0;title\u{7}x\u{1b}]8;;http://a\u{1b}\\y"), "xy");
        assert_eq!(clean("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(clean("\u{9b}31mred \u{1b}(Bset"), "red set");
        assert_eq!(clean(&"x".repeat(1000)).chars().count(), 400);
    }

    #[test]
    fn sequences_are_removed_from_text_of_many_lines() {
        assert_eq!(
            plain("\u{1b}[31;1merror:\u{1b}[0m a\u{1b}]0;title\u{7}b\u{1b}]8;;x\u{1b}\\c\rd\u{8}", 99),
            "error: abcd"
        );
        assert_eq!(plain("aaaa", 2), "aa…");
        assert_eq!(plain("aa", 2), "aa");
        assert_eq!(plain("a\n\tb", 99), "a\n\tb");
    }

    #[test]
    fn an_unfinished_sequence_removes_no_line() {
        let without = |text: &str| without_sequences(text).collect::<String>();
        assert_eq!(without("a\u{1b}[1;2\nb\u{1b}]0;title\nc\u{1b}\nd"), "a\nb\nc\nd");
        assert_eq!(without("a\u{1b}[1ü"), "aü");
        assert_eq!(without("a\u{1b}\u{1b}[1mb"), "ab");
    }

    #[test]
    fn bounds_fall_between_characters() {
        assert_eq!(bounded("abc", 3), "abc");
        assert_eq!(bounded("aäb", 2), "a…");
        assert_eq!(bounded("äöü", 0), "…");
    }

    #[test]
    fn words_for_a_shell() {
        assert_eq!(quote("a/b#c"), "a/b#c");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("$(x)"), "'$(x)'");
        assert_eq!(quote("#x"), "'#x'");
        assert_eq!(quoted("x"), "'x'");
        assert_eq!(command_line(["nix", "eval", "a b"]), "nix eval 'a b'");
    }

    #[test]
    fn paths_as_systemd_names_units() {
        for (path, name) in [
            ("/", "-"),
            ("/mnt/my-disk/", r"mnt-my\x2ddisk"),
            ("/.hidden/a b", r"\x2ehidden-a\x20b"),
            ("/.a/b.c", r"\x2ea-b.c"),
            ("/./a/./b", "a-b"),
        ] {
            assert_eq!(escape_path(path), name);
        }
    }

    #[test]
    fn times_in_sensible_units() {
        let cases = [
            (0.0, "0 ms"),
            (0.0352, "35 ms"),
            (0.4, "0.4 s"),
            (2.04, "2.0 s"),
            (9.94, "9.9 s"),
            (9.96, "10 s"),
            (31.0, "31 s"),
            (41.3, "41 s"),
            (119.6, "2 min 0 s"),
            (125.0, "2 min 5 s"),
            (200.0, "3 min 20 s"),
            (3780.0, "1 h 3 min"),
            (f64::NAN, "?"),
        ];
        for (given, expected) in cases {
            assert_eq!(seconds(given), expected);
        }
    }

    proptest! {
        #[test]
        fn escaping_twice_changes_nothing(text in any::<String>()) {
            let once = escape(&text);
            prop_assert_eq!(&escape(&once), &once);
            prop_assert!(once.chars().all(|c| c == '\n' || !is_unsafe(c)));
        }

        #[test]
        fn nothing_unsafe_survives(text in any::<String>(), most in 1usize..500) {
            let clean = clean_line(&text, most);
            prop_assert!(clean.chars().count() <= most);
            prop_assert!(!clean.chars().any(is_unsafe));
            let plain = plain(&text, most);
            prop_assert!(plain.len() <= most + '…'.len_utf8());
            prop_assert!(plain.chars().all(|c| matches!(c, '\n' | '\t') || !is_unsafe(c)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn a_quoted_word_is_one_word(word in "[ -~\n]*") {
            let Ok(out) = std::process::Command::new("sh").args(["-c", &format!("printf %s {}", quote(&word))]).output()
            else { return Ok(()) };
            prop_assert_eq!(String::from_utf8_lossy(&out.stdout), word);
        }
    }
}
