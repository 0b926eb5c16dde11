//! Text for people: escaping, units, widths. Pure.

use std::fmt::Write as _;

/// How a text is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether to use colours. Nothing is told by colour alone.
    pub colour: bool,
    /// Columns to fit.
    pub width: usize,
}

impl Style {
    /// Without colours, for files and pipes. Wider than a terminal: what reads it has no screen to fit.
    pub const PLAIN: Self = Self { colour: false, width: 160 };

    /// For stdout as it is: colours on a terminal only, unless `NO_COLOR` (no-color.org) or a dumb one.
    pub fn of_stdout() -> Self {
        Self::of(&console::Term::stdout())
    }

    /// For stderr as it is.
    pub fn of_stderr() -> Self {
        Self::of(&console::Term::stderr())
    }

    fn of(terminal: &console::Term) -> Self {
        if !terminal.is_term() {
            return Self::PLAIN;
        }
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let columns = usize::from(terminal.size().1);
        Self { colour: !set("NO_COLOR") && !dumb, width: columns.clamp(40, 120) }
    }

    /// Draws `text` so, where colours are wanted.
    pub fn paint(self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Good => "1;32",
            Paint::Bad => "1;31",
            Paint::Doubt => "1;33",
            Paint::Strong => "1",
            Paint::Faint => "2",
        };
        if self.colour && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// What a piece of text is; always readable without the colour too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// A pass.
    Good,
    /// A failure.
    Bad,
    /// A warning, a verdict that could not be found.
    Doubt,
    /// What to read first.
    Strong,
    /// What can be left out in reading.
    Faint,
}

/// Makes text from a guest, a runner or a flake harmless on a terminal: control characters (C0 but tab, DEL, C1), and
/// the Unicode characters that reorder or hide text (UAX #9, Trojan Source), become visible escapes. Tabs become
/// spaces, line ends stay. Escaping twice changes nothing.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push('\n'),
            '\t' => out.push_str("    "),
            c if c.is_control() || deceives(c) => {
                // Writing into a String cannot fail.
                let _infallible = write!(out, "\\u{{{:x}}}", u32::from(c));
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

/// Reorders, hides or breaks a line of text.
fn deceives(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text in `columns` columns, with `…` where something is left out.
pub fn cut(text: &str, columns: usize) -> String {
    console::truncate_str(text, columns, "…").into_owned()
}

/// The text broken at spaces into lines of at most `columns`; at most `most` lines, the last one with `…` where
/// something is left out.
pub fn wrap(text: &str, columns: usize, most: usize) -> Vec<String> {
    let columns = columns.max(8);
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let width = console::measure_text_width(word);
        let line = lines.last().map_or(0, |line| console::measure_text_width(line));
        if line > 0 && line + 1 + width > columns {
            lines.push(String::new());
        }
        if let Some(last) = lines.last_mut() {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    let left_out = lines.len() > most;
    lines.truncate(most.max(1));
    if left_out && let Some(last) = lines.last_mut() {
        last.push_str(" …");
    }
    lines.iter().map(|line| cut(line, columns)).collect()
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

/// `1 check`, `2 checks`.
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
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
    fn times_in_sensible_units() {
        let cases = [
            (0.0, "0 ms"),
            (0.0352, "35 ms"),
            (0.4, "0.4 s"),
            (9.94, "9.9 s"),
            (9.96, "10 s"),
            (41.3, "41 s"),
            (119.6, "2 min 0 s"),
            (125.0, "2 min 5 s"),
            (3780.0, "1 h 3 min"),
            (f64::NAN, "?"),
        ];
        for (given, expected) in cases {
            assert_eq!(seconds(given), expected);
        }
    }

    #[test]
    fn lines_break_at_words() {
        assert_eq!(wrap("one two three four", 9, 9), ["one two", "three", "four"]);
        assert_eq!(wrap("one two three four", 9, 2), ["one two", "three …"]);
        assert_eq!(wrap("", 9, 2), [""]);
        assert_eq!(wrap(&"x".repeat(50), 10, 2), ["xxxxxxxxx…"]);
    }

    proptest! {
        #[test]
        fn escaping_twice_changes_nothing(text in any::<String>()) {
            let once = escape(&text);
            prop_assert_eq!(&escape(&once), &once);
            prop_assert!(once.chars().all(|c| c == '\n' || !c.is_control()));
        }

        #[test]
        fn wrapped_text_fits(text in any::<String>(), columns in 8usize..100, most in 1usize..5) {
            let lines = wrap(&escape(&text), columns, most);
            prop_assert!(lines.len() <= most);
            prop_assert!(lines.iter().all(|line| console::measure_text_width(line) <= columns));
        }
    }
}
