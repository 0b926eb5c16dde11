//! Text from a guest: bounded, and never trusted to be UTF-8.

/// The text, or as much of its beginning as fits into `most` bytes with `…` after it.
pub(crate) fn bounded(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

/// A single-quoted word for a POSIX shell, all on one line: a line's end becomes `$N`, which our script sets.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''").replace('\n', "'\"$N\"'"))
}

/// A single-quoted word for a POSIX shell, which may hold line ends.
pub(crate) fn quote_plain(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_fall_between_characters() {
        assert_eq!(bounded("abc", 3), "abc");
        assert_eq!(bounded("aäb", 2), "a…");
        assert_eq!(bounded("äöü", 0), "…");
    }

    #[test]
    fn quoted_words_are_one_line() {
        assert_eq!(quote("it's\n$HOME"), "'it'\\''s'\"$N\"'$HOME'");
    }
}
