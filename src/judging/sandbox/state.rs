//! State of the real machine: paths that a fresh disk lacks, and that nothing of the configuration makes.

use std::sync::LazyLock;

use regex::Regex;

use super::paths::{Presence, is_state, maker, meant, missed, presence, unnamed};
use super::{by_line, disks, last_lines, quoted, secrets};
use crate::guest::facts::{JournalLine, PathFact, Unit};
use crate::guest::unit_files::is_yes;
use crate::judging::JudgeContext;
use crate::judging::journal::Means as _;
use crate::judging::journal_patterns::Meaning;
use crate::judging::text::pattern;
use crate::model::{Excuse, Lack, STORE_DIR, Witness};

/// What a program makes by itself, so that it lacks the directory, not the file.
static OWN_FILE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\.(log|pid|lock|lck|sock|socket|tmp|journal)$"));
/// A database, which a program makes where its directory is.
static DATABASE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\.(db|db3|sqlite3?|mdb|rdb)$"));

/// Files without which systemd does not start it. It says not which of them it could not read.
pub(super) fn of_files(cx: &JudgeContext<'_>, unit: &Unit) -> Option<Excuse> {
    let lines = cx.now.journal_of(&unit.name, super::LAST);
    let line = *lines.iter().rev().find(|line| Meaning::FileNotRead.is_in(&line.message))?;
    let files = unit.service.iter().flat_map(|service| &service.files).filter(|file| !file.starts_with(STORE_DIR));
    let mut missing = files.filter_map(|file| match presence(cx, file) {
        Presence::Missing(fact) => Some((file, fact)),
        Presence::Here | Presence::Unknown => None,
    });
    let excuse =
        |file: &str, fact| of_path(cx, file, fact, line, true).or_else(|| secrets::of_missing(cx, file, fact, line));
    let first = missing.next().and_then(|(file, fact)| excuse(file, fact))?;
    missing.all(|(file, fact)| excuse(file, fact).is_some()).then_some(first)
}

/// A path that the unit itself misses.
pub(super) fn excuse(cx: &JudgeContext<'_>, unit: &Unit) -> Option<Excuse> {
    let lines = last_lines(cx, &unit.name);
    let named = missed(&lines).into_iter().filter(|(path, _)| !is_hidden(cx, unit, path)).find_map(|(path, line)| {
        let Presence::Missing(fact) = presence(cx, &path) else { return None };
        of_path(cx, &path, fact, line, Meaning::NamesSecret.is_in(&path))
    });
    named.or_else(|| {
        let (paths, line) = unnamed(cx, unit, &lines)?;
        let excuses = paths.iter().filter_map(|path| {
            let Presence::Missing(fact) = presence(cx, path) else { return None };
            of_path(cx, path, fact, line, false).map(|excuse| (path, excuse.lack()))
        });
        let (path, lack) = excuses.into_iter().next()?;
        Some(by_line(lack, format_args!("needs {path}, it seems, which only the real machine has"), line))
    })
}

/// Whether the unit would not see it on any machine.
pub(crate) fn is_hidden(cx: &JudgeContext<'_>, unit: &Unit, path: &str) -> bool {
    let is_home = ["/home/", "/root/", "/run/user/"].iter().any(|homes| path.starts_with(homes));
    is_home && cx.now.set_in_files(&unit.name, &["ProtectHome"]).last().is_some_and(|(_, value)| is_yes(value))
}

/// Why a missing path is the real machine's, if it is. `is_given`: a user puts it there, whatever makes the directory.
pub(super) fn of_path(
    cx: &JudgeContext<'_>,
    path: &str,
    fact: &PathFact,
    line: &JournalLine,
    is_given: bool,
) -> Option<Excuse> {
    if !is_state(path) || meant(path, fact).is_some() || maker(path, fact, is_given).is_some() {
        return None;
    }
    if let Some(excuse) = disks::lies_on(cx.plan, path) {
        return Some(excuse);
    }
    if makes_it(path, fact, &line.message) {
        return None;
    }
    let why = format!(
        "needs {path}, which is not on a fresh disk and which nothing in the configuration creates: \"{}\" \
         ([file.\"{path}\"] in nixbox.toml supplies it)",
        quoted(line)
    );
    Some(Excuse::new(Lack::State, Witness::Path { path: path.to_owned() }, why))
}

/// Whether the unit was about to make what is missing: it lacks a directory, which the configuration has to make.
fn makes_it(path: &str, fact: &PathFact, line: &str) -> bool {
    let has_directory = path.rsplit_once('/').is_some_and(|(directory, _)| directory == fact.parent);
    let enters = path.starts_with("/var/") && Meaning::EntersDirectory.is_in(line);
    writes(path, line) || enters || OWN_FILE.is_match(path) || DATABASE.is_match(path) && !has_directory
}

/// Whether what a line says of a path is that it could not be written: the last word before it that tells.
fn writes(path: &str, line: &str) -> bool {
    let (before, after) = line.split_once(path).unwrap_or((line, ""));
    let last = |found: Option<usize>| found.map_or(0, |at| at + 1);
    let makes = last(Meaning::MakesFile.last_in(before));
    let reads = last(Meaning::ReadsFile.last_in(before));
    makes > reads || Meaning::MakesFile.is_in(after)
}
