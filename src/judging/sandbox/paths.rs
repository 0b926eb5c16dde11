//! What a unit says is missing, held against what there is in the guest.

use crate::guest::facts::{JournalLine, PathFact, Unit};
use crate::guest::paths::{paths_in, paths_of};
use crate::judging::conditions::is_configured_path;
use crate::judging::journal::Means as _;
use crate::judging::journal_patterns::Meaning;
use crate::judging::{JudgeContext, text};
use crate::text::nearest;

/// What is known of a path.
#[derive(Debug, Clone, Copy)]
pub(super) enum Presence<'a> {
    /// The guest was not asked, or did not answer.
    Unknown,
    Here,
    Missing(&'a PathFact),
}

pub(super) fn presence<'a>(cx: &JudgeContext<'a>, path: &str) -> Presence<'a> {
    match cx.now.paths.get(path) {
        None => Presence::Unknown,
        Some(fact) if fact.exists => Presence::Here,
        Some(fact) => Presence::Missing(fact),
    }
}

/// The paths that these lines of a unit say are missing, the last said first. A complaint about the configuration that
/// comes later is what the unit failed for.
pub(super) fn missed<'a>(lines: &[&'a JournalLine]) -> Vec<(String, &'a JournalLine)> {
    let is_fault = |line: &&JournalLine| Meaning::ConfigurationWrong.is_in(&line.message);
    let from = lines.iter().rposition(is_fault).map_or(0, |at| at + 1);
    ever_missed(&lines[from..])
}

/// The same, whatever was complained of later: what reads a file through a pipe then complains that it is empty.
pub(super) fn ever_missed<'a>(lines: &[&'a JournalLine]) -> Vec<(String, &'a JournalLine)> {
    let is_missed =
        |line: &&&JournalLine| Meaning::IsMissing.is_in(&line.message) && !Meaning::IsDenied.is_in(&line.message);
    let lines = lines.iter().rev().filter(is_missed);
    lines.flat_map(|line| paths_in(&line.message).into_iter().map(|path| (path, *line))).collect()
}

/// The missing paths that a unit's properties name, where it misses a file and says not which.
pub(super) fn unnamed<'a>(
    cx: &JudgeContext<'_>,
    unit: &Unit,
    lines: &[&'a JournalLine],
) -> Option<(Vec<String>, &'a JournalLine)> {
    let line = *lines.iter().rev().find(|line| Meaning::FileMissing.is_in(&line.message))?;
    let mut later = lines.iter().rev().take_while(|other| !std::ptr::eq(**other, line));
    if !paths_in(&line.message).is_empty() || later.any(|line| Meaning::ConfigurationWrong.is_in(&line.message)) {
        return None;
    }
    let missing = paths_of(unit).into_iter().filter(|path| matches!(presence(cx, path), Presence::Missing(_)));
    Some((missing.collect(), line))
}

/// How different two names may be to be taken for one that was mistyped.
fn is_near(one: &str, other: &str) -> bool {
    let letters = |name: &str| name.chars().filter(|c| !c.is_ascii_digit()).collect::<String>().to_ascii_lowercase();
    let most = if one.len() < 8 { 1 } else { 2 };
    // sda and sdb, disk1 and disk2 are two things.
    let is_other = letters(one) != letters(other) || one.eq_ignore_ascii_case(other);
    one.len() > 2 && is_other && strsim::osa_distance(one, other) <= most
}

/// The path that is there and was most likely meant.
pub(super) fn meant<'a>(path: &str, fact: &'a PathFact) -> Option<&'a str> {
    let part = |path: &'a str| path.strip_prefix(fact.parent.as_str())?.split('/').nth(1);
    let missing = path.strip_prefix(fact.parent.as_str())?.split('/').nth(1)?;
    let near: Vec<&str> =
        fact.beside.iter().filter_map(|beside| part(beside)).filter(|name| is_near(missing, name)).collect();
    let name = nearest(missing, near)?;
    fact.beside.iter().map(String::as_str).find(|beside| part(beside) == Some(name))
}

/// The line of the configuration that makes a path, or (`strictly` not) the directory that it lies in.
pub(super) fn maker<'a>(path: &str, fact: &'a PathFact, strictly: bool) -> Option<&'a str> {
    let makes = |line: &&'a String| match line.strip_prefix("tmpfiles:") {
        Some(rule) => {
            let mut words = rule.split_whitespace();
            let (kind, place) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let place = place.trim_matches(['"', '\'']).trim_end_matches('/');
            let is_made = place == path || place.starts_with(&format!("{path}/"));
            let is_made =
                is_made || path.starts_with(&format!("{place}/")) && (!strictly || kind.starts_with(['C', 'L']));
            // Some rules only change or remove what is there.
            is_made && kind.starts_with(['f', 'F', 'd', 'D', 'v', 'q', 'Q', 'C', 'L', 'p', 'w'])
        }
        None => is_written(line, path),
    };
    fact.made.iter().find(makes).map(String::as_str)
}

/// Whether a line of a script makes this path, rather than reads it.
fn is_written(line: &str, path: &str) -> bool {
    let code = line.split_once(':').map_or(line, |(_, code)| code).trim_start();
    let Some(at) = code.find(path).filter(|_| !code.starts_with('#')) else { return false };
    let after = &code[at + path.len()..];
    let is_whole = !after.starts_with(|c: char| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let before = code[..at].trim_end_matches(['"', '\'', '{', ' ']);
    // What is copied comes before where it is copied to.
    let is_last = after.trim_start_matches(['"', '\'', '}', ' ']).chars().next().is_none_or(|c| ";&|)#".contains(c));
    let makes = Meaning::MakesFile.last_in(before) > Meaning::ReadsFile.last_in(before);
    is_whole && (before.ends_with('>') || makes && (is_last || Meaning::CopiesFile.last_in(before).is_none()))
}

/// Where the real machine's disk keeps what no configuration makes.
pub(super) fn is_state(path: &str) -> bool {
    const NOT_KEPT: [&str; 6] = ["/dev", "/sys", "/proc", "/run", "/tmp", "/nix"];
    let below = |dir: &&str| path.strip_prefix(*dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let is_kept = !NOT_KEPT.iter().any(below) || path.starts_with("/nix/persist");
    is_kept && path.len() > 1 && !is_configured_path(path)
}

/// What is to be said to a missing path that excuses nothing: which one is there, or what should have made it.
pub(crate) fn advice(cx: &JudgeContext<'_>, unit: &Unit) -> Option<String> {
    let lines = cx.now.journal_of(&unit.name, super::LAST);
    let named = missed(&lines).into_iter().map(|(path, _)| path).chain(paths_of(unit));
    named.into_iter().find_map(|path| {
        let Presence::Missing(fact) = presence(cx, &path) else { return None };
        if let Some(meant) = meant(&path, fact) {
            return Some(format!("{path} is not there; {meant} is"));
        }
        if let Some(declared) = super::secrets::meant(cx, &path) {
            return Some(format!("{path} is not a secret of this configuration; {declared} is"));
        }
        let maker = maker(&path, fact, false)?;
        Some(format!("{path} is not there, though the configuration has: {}", text::clean(maker)))
    })
}
