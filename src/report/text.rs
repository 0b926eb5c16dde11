//! How a report is drawn: colours, widths, numbers of things.

/// How a text is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TextLayout {
    /// Whether to use colours. No information is in colour alone.
    pub(crate) colour: bool,
    /// Columns to fit.
    pub(crate) width: usize,
}

impl TextLayout {
    /// Without colours, for files and pipes. Wider than a terminal: what reads it has no screen to fit.
    pub(crate) const PLAIN: Self = Self { colour: false, width: 160 };

    /// For stdout as it is: colours on a terminal only, unless `NO_COLOR` (no-color.org) or a dumb one.
    pub(crate) fn of_stdout() -> Self {
        Self::of(&console::Term::stdout())
    }

    /// For stderr as it is.
    pub(crate) fn of_stderr() -> Self {
        Self::of(&console::Term::stderr())
    }

    fn of(terminal: &console::Term) -> Self {
        if !terminal.is_term() {
            return Self::PLAIN;
        }
        // console takes an empty NO_COLOR for one that is set; no-color.org does not.
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let columns = usize::from(terminal.size().1);
        Self { colour: !no_colour && !console::is_dumb(), width: columns.clamp(40, 120) }
    }

    /// Draws `text` so, where colours are wanted.
    pub(crate) fn paint(self, paint: Paint, text: &str) -> String {
        let style = console::Style::new().force_styling(self.colour);
        let style = match paint {
            Paint::Good => style.green().bold(),
            Paint::Bad => style.red().bold(),
            Paint::Doubt => style.yellow().bold(),
            Paint::Strong => style.bold(),
            Paint::Faint => style.dim(),
        };
        style.apply_to(text).to_string()
    }

    /// `word: text` in at most `most` lines, the word in its colour.
    pub(super) fn headline(self, (paint, word): (Paint, &str), text: &str, most: usize) -> Vec<String> {
        let lines = wrap(&format!("{word}: {text}"), self.width, most);
        let painted = lines.iter().enumerate().map(|(number, line)| match line.strip_prefix(word) {
            Some(rest) if number == 0 => format!("{}{}", self.paint(paint, word), self.paint(Paint::Strong, rest)),
            _ => self.paint(Paint::Strong, line),
        });
        painted.collect()
    }
}

/// What a piece of text is; always readable without the colour too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
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
pub(crate) fn cut(text: &str, columns: usize) -> String {
    console::truncate_str(text, columns, "…").into_owned()
}

/// The text broken at spaces into lines of at most `columns`; at most `most` lines, the last one with `…` where
/// something is left out.
pub(crate) fn wrap(text: &str, columns: usize, most: usize) -> Vec<String> {
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
pub(crate) fn count(number: usize, noun: &str) -> String {
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
