//! How a report is drawn: colours, widths, numbers of things.

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

/// `1 check`, `2 checks`.
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::escape;

    #[test]
    fn lines_break_at_words() {
        assert_eq!(wrap("one two three four", 9, 9), ["one two", "three", "four"]);
        assert_eq!(wrap("one two three four", 9, 2), ["one two", "three …"]);
        assert_eq!(wrap("", 9, 2), [""]);
        assert_eq!(wrap(&"x".repeat(50), 10, 2), ["xxxxxxxxx…"]);
    }

    proptest! {
        #[test]
        fn wrapped_text_fits(text in any::<String>(), columns in 8usize..100, most in 1usize..5) {
            let lines = wrap(&escape(&text), columns, most);
            prop_assert!(lines.len() <= most);
            prop_assert!(lines.iter().all(|line| console::measure_text_width(line) <= columns));
        }
    }
}
