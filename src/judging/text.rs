//! What a guest wrote, made fit to be shown (it may hold anything), and figures in words.

use regex::{Regex, RegexBuilder};

use crate::guest::facts::JournalLine;
use crate::text::clean_line;
pub(crate) use crate::text::seconds;

/// Most characters of a line that is shown.
pub(crate) const LINE: usize = 400;
/// Most lines of a guest's that one result shows.
pub(crate) const LINES: usize = 20;

/// One line of a guest's, made fit to be shown, of at most [`LINE`] characters.
pub(crate) fn clean(text: &str) -> String {
    clean_line(text, LINE)
}

/// Why a check could not be judged: something of the guest's could not be read.
pub(crate) fn could_not_read(what: &str, why: &str) -> String {
    format!("could not read the guest's {what}: {why}")
}

/// Many lines of a guest's, each cleaned, empty ones left out, the last [`LINES`] of them.
pub(crate) fn clean_all<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let lines: Vec<String> =
        lines.into_iter().flat_map(str::lines).map(clean).filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].to_vec()
}

/// What a pattern may take for its cache, in bytes. A smaller one is a slower search, no other.
const PATTERN_CACHE: usize = 32 << 10;

/// With `\d` and `\w` as the few characters that are meant: Unicode's are hundreds of ranges, in memory for each time that
/// they are written.
fn in_ascii(pattern: &str) -> String {
    let mut written = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        let escaped = if character == '\\' { characters.next() } else { None };
        match escaped {
            Some('d') => written.push_str("[0-9]"),
            Some('w') => written.push_str("[0-9A-Za-z_]"),
            Some('W') => written.push_str("[^0-9A-Za-z_]"),
            escaped => {
                written.push(character);
                written.extend(escaped);
            }
        }
    }
    written
}

/// A constant pattern; digits and letters are ASCII's.
#[expect(clippy::expect_used, reason = "constant patterns; a test compiles each")]
pub(crate) fn pattern(pattern: &str) -> Regex {
    let pattern = in_ascii(pattern);
    // Each thread keeps a cache for each pattern, by default of up to 2 MiB: with that, a matrix of twelve hosts took 5 MiB
    // more (66 MiB instead of 61).
    RegexBuilder::new(&pattern).dfa_size_limit(PATTERN_CACHE).build().expect("a constant pattern")
}

/// What the kernel says in a line of the console: without the time that it begins with.
pub(crate) fn of_kernel(line: &str) -> Option<&str> {
    let (stamp, rest) = line.trim_start().strip_prefix('[')?.split_once(']')?;
    stamp.trim().parse::<f64>().is_ok().then(|| rest.trim())
}

/// A journal line as people know it: `[   12.345] sshd: message`.
pub(crate) fn journal(line: &JournalLine) -> String {
    let seconds = line.at_us as f64 / 1e6;
    let who = if line.identifier.is_empty() { line.unit.as_str() } else { line.identifier.as_str() };
    let message = line.message.lines().next().unwrap_or_default();
    if who.is_empty() {
        clean(&format!("[{seconds:9.3}] {message}"))
    } else {
        clean(&format!("[{seconds:9.3}] {who}: {message}"))
    }
}

/// Microseconds for people.
pub(crate) fn micros(us: u64) -> String {
    seconds(us as f64 / 1e6)
}

/// `once`, `3 times`.
pub(crate) fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// `a`, `a and b`, `a, b and 3 more`.
pub(crate) fn list<S: AsRef<str>>(items: &[S]) -> String {
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

    #[test]
    fn digits_and_letters_are_ascii() {
        assert_eq!(in_ascii(r"^\d+[\w.-]\\d\s$"), r"^[0-9]+[[0-9A-Za-z_].-]\\d\s$");
        assert!(pattern(r"^[\w.-]+$").is_match("a_b-9.c") && !pattern(r"\d").is_match("٣"));
    }

    #[test]
    fn lists() {
        assert_eq!(list(&["a", "b", "c", "d"]), "a, b and 2 more");
    }
}
