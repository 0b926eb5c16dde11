//! What programs write in the journal and on the console, and what that means: the rows of a table, and how a line is held
//! against them. Which meanings there are, whoever judges by them says.
//!
//! A new row: what it means, who says it, the version that said it here (where one did), a line as it was said, and the
//! pattern.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::OnceLock;

use regex::{Captures, Match, Regex};

use super::text::pattern;

/// What one program says.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(test), expect(dead_code, reason = "program, version and example are for readers and tests"))]
pub(crate) struct Row<M> {
    pub(crate) meaning: M,
    /// Who says it; `any` where the words are everybody's.
    pub(crate) program: &'static str,
    /// The version that said the example here.
    pub(crate) seen: Option<&'static str>,
    pub(crate) example: &'static str,
    pub(crate) pattern: &'static str,
}

/// Rows, one after the other: `Meaning "program" ("version"): "example" => r"pattern";`.
macro_rules! rows {
    (@seen) => { None };
    (@seen $version:literal) => { Some($version) };
    ($Meaning:ident; $($meaning:ident $program:literal $(($version:literal))?: $example:literal => $pattern:literal;)+) => {
        &[$($crate::judging::journal::Row {
            meaning: $Meaning::$meaning,
            program: $program,
            seen: $crate::judging::journal::rows!(@seen $($version)?),
            example: $example,
            pattern: $pattern,
        }),+]
    };
}
pub(crate) use rows;

/// Whether the case of letters counts in a table's patterns; one that says `(?i)` itself is of no case anyhow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    Counts,
    Ignored,
}

/// Rows by what they mean.
pub(crate) struct Table<M: 'static> {
    by_meaning: BTreeMap<M, RowsOfMeaning<M>>,
    case: Case,
}

/// The rows of one meaning. Patterns are compiled when they are first asked for.
struct RowsOfMeaning<M: 'static> {
    /// Each row with its own pattern, for its parts.
    own: Vec<(&'static Row<M>, OnceLock<Regex>)>,
    /// One pattern of all rows, without their names for parts: a pattern a row took several times the memory.
    any: OnceLock<Regex>,
}

impl<M: Copy + Ord> Table<M> {
    pub(crate) fn new(case: Case, rows: impl IntoIterator<Item = &'static Row<M>>) -> Self {
        let mut by_meaning: BTreeMap<M, RowsOfMeaning<M>> = BTreeMap::new();
        for row in rows {
            let none = || RowsOfMeaning { own: Vec::new(), any: OnceLock::new() };
            by_meaning.entry(row.meaning).or_insert_with(none).own.push((row, OnceLock::new()));
        }
        Self { by_meaning, case }
    }

    fn compiled(&self, text: &str) -> Regex {
        match self.case {
            Case::Counts => pattern(text),
            Case::Ignored => pattern(&format!("(?i){text}")),
        }
    }

    fn any(&self, meaning: M) -> Option<&Regex> {
        let of_meaning = self.by_meaning.get(&meaning)?;
        Some(of_meaning.any.get_or_init(|| {
            let rows: Vec<String> = of_meaning.own.iter().map(|(row, _)| format!("(?:{})", row.pattern)).collect();
            self.compiled(&pattern(r"\(\?P<\w+>").replace_all(&rows.join("|"), "(?:"))
        }))
    }

    fn own(&self, meaning: M) -> impl Iterator<Item = &Regex> {
        let rows = self.by_meaning.get(&meaning).into_iter().flat_map(|of_meaning| &of_meaning.own);
        rows.map(|(row, compiled)| compiled.get_or_init(|| self.compiled(row.pattern)))
    }
}

/// What a line may mean, by a table.
pub(crate) trait Means: Copy + Ord + Debug + 'static {
    /// The rows by which a line means something.
    fn table() -> &'static Table<Self>;

    /// Whether a line means this.
    fn is_in(self, line: &str) -> bool {
        Self::table().any(self).is_some_and(|pattern| pattern.is_match(line))
    }

    /// The parts of a line that means this.
    fn parts_of(self, line: &str) -> Option<Captures<'_>> {
        Self::table().own(self).find_map(|own| own.captures(line))
    }

    /// All that one part of a line that means this holds, by any row.
    fn all_of(self, line: &str, part: &str) -> Vec<String> {
        let all = Self::table().own(self).flat_map(|own| own.captures_iter(line));
        all.filter_map(|parts| Some(parts.name(part)?.as_str().to_owned())).collect()
    }

    /// The words of a line that mean this.
    fn words_of(self, line: &str) -> Option<Match<'_>> {
        Self::table().any(self)?.find(line)
    }

    /// Where the last words of a line begin that mean this.
    fn last_in(self, line: &str) -> Option<usize> {
        Self::table().any(self)?.find_iter(line).last().map(|found| found.start())
    }

    /// A line without the words that mean this.
    fn removed_from(self, line: &str) -> String {
        let removed = |pattern: &Regex| pattern.replace_all(line, "").into_owned();
        Self::table().any(self).map_or_else(|| line.to_owned(), removed)
    }
}

/// Whether an example of a table's may mean more than its row says.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OtherMeanings {
    Allowed,
    Wrong,
}

/// Each example matches its own row, and where others are wrong no row of another meaning.
#[cfg(test)]
#[track_caller]
pub(crate) fn assert_examples<M: Means>(others: OtherMeanings) {
    let table = M::table();
    for (row, _) in table.by_meaning.values().flat_map(|of_meaning| &of_meaning.own) {
        assert!(table.compiled(row.pattern).is_match(row.example), "{row:?}");
        assert!(row.meaning.is_in(row.example), "{row:?}");
        assert!(!row.program.is_empty() && row.seen.is_none_or(|version| !version.is_empty()), "{row:?}");
        for other in table.by_meaning.keys().filter(|other| **other != row.meaning) {
            assert!(others == OtherMeanings::Allowed || !other.is_in(row.example), "{row:?} is taken for {other:?}");
        }
    }
}
