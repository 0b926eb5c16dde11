//! nix's own message: taken apart, and shown without what only nix's developers read.

use super::patterns::{AT, find};
use super::source_tree::SourceTree;

/// Lines of nix's own message that are shown.
const MESSAGE_LINES: usize = 40;
/// Options on the way to the error that are named.
const OPTIONS: usize = 3;

/// A message of nix taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ErrorParts {
    pub(super) message: Vec<String>,
    /// `FILE:LINE:COLUMN`.
    pub(super) position: Option<String>,
    snippet: Vec<String>,
    /// What nix was doing, outermost first, with the place.
    pub(super) traces: Vec<(String, Option<String>)>,
}

impl ErrorParts {
    /// Takes a message apart: `error: TEXT at PLACE: SNIPPET`, or (from 2.13) `error: … TRACES error: TEXT …`.
    pub(super) fn of(text: &str) -> Self {
        let mut parts = Self::default();
        let mut lines = text.lines().peekable();
        let first = lines.next().unwrap_or_default();
        let first = first.strip_prefix("error:").unwrap_or(first).trim();
        if first.is_empty() && lines.peek().is_some_and(|line| line.trim_start().starts_with('…')) {
            parts.take_traces(&mut lines);
        } else if !first.is_empty() {
            parts.message.push(first.to_owned());
        }
        parts.take_message(lines);
        while parts.message.last().is_some_and(|line| line.trim().is_empty()) {
            parts.message.pop();
        }
        parts
    }

    /// The traces in front, up to the `error:` behind them.
    fn take_traces<'t>(&mut self, lines: &mut impl Iterator<Item = &'t str>) {
        for line in lines {
            let line = line.trim();
            if let Some(rest) = line.strip_prefix("error:") {
                self.message.extend(Some(rest.trim()).filter(|rest| !rest.is_empty()).map(str::to_owned));
                return;
            }
            if let Some(doing) = line.strip_prefix('…') {
                self.traces.push((doing.trim().to_owned(), None));
            } else if let (Some(found), Some((_, place))) = (place(line), self.traces.last_mut()) {
                *place = Some(found);
            }
        }
    }

    fn take_message<'t>(&mut self, lines: impl Iterator<Item = &'t str>) {
        let mut in_snippet = false;
        for line in lines {
            let dedented = line.strip_prefix("       ").unwrap_or(line);
            if let Some(found) = place(line) {
                self.position = Some(found);
                in_snippet = true;
                continue;
            }
            // 2.8 puts the trace behind (with --show-trace), and an advice that we follow where it helps.
            if dedented.trim_start().starts_with("… ") || dedented.starts_with("(use '--show-trace'") {
                break;
            }
            if in_snippet {
                if is_snippet(dedented) {
                    self.snippet.push(dedented.trim_end().to_owned());
                    continue;
                }
                if dedented.trim().is_empty() {
                    continue;
                }
                in_snippet = false;
            }
            self.message.push(dedented.trim_end().to_owned());
        }
    }

    /// The places that led to the error, the innermost first.
    pub(super) fn places(&self) -> impl Iterator<Item = &str> {
        let traced = self.traces.iter().rev().filter_map(|(_, place)| place.as_deref());
        self.position.as_deref().into_iter().chain(traced)
    }

    /// Whether nix was doing something that it has these words for.
    pub(super) fn is_doing(&self, words: &str) -> bool {
        self.traces.iter().any(|(doing, _)| doing.contains(words))
    }

    /// For a user: the message, where it is, and the places of the user's own that led there.
    pub(super) fn readable(&self, source: &SourceTree) -> String {
        let mut lines = self.message.clone();
        if lines.len() > MESSAGE_LINES {
            lines.truncate(MESSAGE_LINES);
            lines.push("…".to_owned());
        }
        let is_users = |place: &str| source.relative(place).is_some();
        let is_anonymous = |place: &str| place.starts_with("«string»") || place.starts_with("(string)");
        let position = self.position.as_deref().filter(|place| !is_anonymous(place));
        if let Some(place) = position {
            lines.push(format!("at {place}"));
            lines.extend(self.snippet.iter().cloned());
        }
        if !position.is_some_and(is_users) {
            // The innermost place in the user's tree that led there.
            if let Some((doing, Some(place))) =
                self.traces.iter().rev().find(|(_, place)| place.as_deref().is_some_and(is_users))
            {
                lines.push(format!("from {place} ({doing})"));
            }
        }
        // Said by the module system, and what a user knows the thing by.
        let options =
            self.traces.iter().rev().map(|(doing, _)| doing.trim_end_matches(':')).filter(|doing| names_option(doing));
        lines.extend(options.take(OPTIONS).map(str::to_owned));
        lines.join("\n")
    }
}

fn names_option(doing: &str) -> bool {
    doing.contains("the option `") || doing.contains("definitions from")
}

/// `at FILE:LINE:COLUMN:`.
fn place(line: &str) -> Option<String> {
    find(&AT, line).map(|found| format!("{}:{}:{}", &found[1], &found[2], &found[3]))
}

/// `   12| text` or `     |   ^`.
fn is_snippet(line: &str) -> bool {
    line.split_once('|').is_some_and(|(number, _)| number.trim().chars().all(|c| c.is_ascii_digit()))
}

/// The message without its trace, for classifying: a trace quotes source text, which may hold any words.
pub(super) fn core(error: &str) -> String {
    ErrorParts::of(error).message.join("\n")
}

/// An error for a user, its places named by their origin.
pub(super) fn readable(error: &str, source: &SourceTree) -> String {
    ErrorParts::of(&source.map(error)).readable(source)
}
