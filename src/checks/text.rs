//! What a guest wrote, made fit to be shown: it may hold anything.

use crate::guest::facts::JournalLine;

/// Most characters of a line that is shown.
pub const LINE: usize = 400;
/// Most lines of a guest's that one result shows.
pub const LINES: usize = 20;

/// One line of a guest's: without terminal sequences, control and direction characters escaped, at most [`LINE`]
/// characters.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(LINE));
    let mut length = 0;
    let mut chars = text.trim_end().chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' || c == '\u{9b}' {
            skip_sequence(c, &mut chars);
            continue;
        }
        let piece = match c {
            '\t' => "  ".to_owned(),
            '\r' => continue,
            c if c.is_control() || is_invisible(c) => c.escape_unicode().to_string(),
            c => c.to_string(),
        };
        length += piece.chars().count();
        if length > LINE - 1 {
            out.push('…');
            return out;
        }
        out.push_str(&piece);
    }
    out
}

/// Characters that change how what is around them is read (Unicode's bidirectional controls, zero width ones).
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Skips a control sequence (ECMA-48): `ESC [ … final`, `ESC ] … BEL|ST`, or `ESC` and one character.
fn skip_sequence(start: char, chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    let kind = if start == '\u{9b}' { Some('[') } else { chars.next() };
    match kind {
        Some('[') => {
            while let Some(c) = chars.peek().copied() {
                if !(' '..='~').contains(&c) {
                    break;
                }
                chars.next();
                if ('@'..='~').contains(&c) {
                    break;
                }
            }
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(c) = chars.next() {
                if c == '\u{7}' {
                    break;
                }
                if c == '\u{1b}' {
                    chars.next();
                    break;
                }
            }
        }
        _ => {}
    }
}

/// Many lines of a guest's, each cleaned, empty ones left out, the last [`LINES`] of them.
pub fn clean_all<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let lines: Vec<String> =
        lines.into_iter().flat_map(str::lines).map(clean).filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].to_vec()
}

/// A journal line as people know it: `[   12.345] sshd: message`.
pub fn journal(line: &JournalLine) -> String {
    let seconds = line.at_us as f64 / 1e6;
    let who = if line.identifier.is_empty() { line.unit.as_str() } else { line.identifier.as_str() };
    let message = line.message.lines().next().unwrap_or_default();
    if who.is_empty() {
        clean(&format!("[{seconds:9.3}] {message}"))
    } else {
        clean(&format!("[{seconds:9.3}] {who}: {message}"))
    }
}

/// Seconds for people: `0.4 s`, `12 s`, `3 min 20 s`.
pub fn seconds(seconds: f64) -> String {
    let seconds = if seconds.is_finite() { seconds.max(0.0) } else { 0.0 };
    if seconds < 9.95 {
        format!("{seconds:.1} s")
    } else if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else {
        format!("{} min {} s", (seconds / 60.0) as u64, seconds as u64 % 60)
    }
}

/// Microseconds for people.
pub fn micros(us: u64) -> String {
    seconds(us as f64 / 1e6)
}

/// `a`, `a and b`, `a, b and 3 more`.
pub fn list<S: AsRef<str>>(items: &[S]) -> String {
    match items {
        [] => String::new(),
        [one] => clean(one.as_ref()),
        [one, two] => clean(&format!("{} and {}", one.as_ref(), two.as_ref())),
        [one, two, three] => clean(&format!("{}, {} and {}", one.as_ref(), two.as_ref(), three.as_ref())),
        [one, two, rest @ ..] => clean(&format!("{}, {} and {} more", one.as_ref(), two.as_ref(), rest.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sequences_go_and_controls_are_escaped() {
        assert_eq!(clean("\u{1b}[0;1;31mred\u{1b}[0m\ttab\u{7}\r"), "red  tab\\u{7}");
        assert_eq!(clean("\u{1b}]0;title\u{7}x\u{1b}]8;;http://a\u{1b}\\y"), "xy");
        assert_eq!(clean("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(clean(&"x".repeat(1000)).chars().count(), LINE);
    }

    #[test]
    fn times_and_lists() {
        assert_eq!(seconds(2.04), "2.0 s");
        assert_eq!(seconds(31.0), "31 s");
        assert_eq!(seconds(200.0), "3 min 20 s");
        assert_eq!(seconds(f64::NAN), "0.0 s");
        assert_eq!(list(&["a", "b", "c", "d"]), "a, b and 2 more");
    }

    proptest! {
        #[test]
        fn nothing_wild_survives(text in any::<String>()) {
            let clean = clean(&text);
            prop_assert!(clean.chars().count() <= LINE);
            prop_assert!(!clean.chars().any(|c| c.is_control() || is_invisible(c)));
        }
    }
}
