//! Secrets that only the real machine has, or can decrypt: those that the configuration declares, by their options, and
//! what lies where secrets lie.

use std::sync::LazyLock;

use regex::Regex;

use super::paths::{Presence, ever_missed, presence};
use super::{LAST, by_line, quoted, state};
use crate::guest::facts::{JournalLine, PathFact, Unit};
use crate::guest::paths::paths_in;
use crate::judging::JudgeContext;
use crate::judging::journal::Means as _;
use crate::judging::journal_patterns::Meaning;
use crate::judging::text::pattern;
use crate::model::{Excuse, Lack, STORE_DIR, Witness};
use crate::nix::expectations::ExpectedSecret;
use crate::text::nearest;

static SECRET_UNIT: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(sops-install-secrets|sops-nix|agenix|ragenix)"));
static SECRET_SNIPPET: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)^(setupSecrets|agenix|ragenix|sops)"));
/// Where secret managers place what they decrypt.
const PLACES: [&str; 4] = ["/run/secrets/", "/run/secrets.d/", "/run/agenix/", "/run/keys/"];

/// Whether a snippet of the activation script sets up secrets that take the real machine's key.
pub(crate) fn is_secret_snippet(name: &str) -> bool {
    SECRET_SNIPPET.is_match(name)
}

/// Whether a line misses a secret.
pub(crate) fn misses_a_secret(line: &str) -> bool {
    is_secret(line) && Meaning::IsMissing.is_in(line)
}

/// Whether a secret's path is in this.
pub(crate) fn is_secret(text: &str) -> bool {
    Meaning::NamesSecret.is_in(text)
}

/// The secret that the configuration declares at this path, by its name.
fn declared<'a>(cx: &JudgeContext<'a>, path: &str) -> Option<(&'a String, &'a ExpectedSecret)> {
    cx.plan.expectations.secrets.iter().find(|(_, secret)| secret.path == path)
}

/// The declared secrets of the directory that a path lies in, which is none of them: it is one that nothing places.
fn others<'a>(cx: &JudgeContext<'a>, path: &str) -> Vec<&'a str> {
    let Some(place) = PLACES.iter().find(|place| path.starts_with(**place)) else { return Vec::new() };
    if declared(cx, path).is_some() {
        return Vec::new();
    }
    let paths = cx.plan.expectations.secrets.values().map(|secret| secret.path.as_str());
    paths.filter(|path| path.starts_with(*place)).collect()
}

/// The declared secret that was most likely meant by a path that is none.
pub(super) fn meant<'a>(cx: &JudgeContext<'a>, path: &str) -> Option<&'a str> {
    nearest(path, others(cx, path))
}

pub(super) fn excuse(cx: &JudgeContext<'_>, unit: &Unit) -> Option<Excuse> {
    let lines = cx.now.journal_of(&unit.name, LAST);
    if SECRET_UNIT.is_match(&unit.name) {
        let own = || lines.iter().rev().filter(|line| line.pid != 1);
        // An owner that does not exist, whatever key there is.
        if own().any(|line| Meaning::AccountMissing.is_in(&line.message)) {
            return None;
        }
        let line = own().find(|line| Meaning::KeyMissing.is_in(&line.message))?;
        return Some(by_line(Lack::Secret, "the VM does not have the real machine's decryption key", line));
    }
    let named = ever_missed(&lines).into_iter().find_map(|(path, line)| of_path(cx, &path, line));
    if named.is_some() {
        return named;
    }
    if let Some(line) = lines.iter().rev().find(|line| Meaning::CredentialNotDecrypted.is_in(&line.message)) {
        return Some(by_line(Lack::Secret, "needs a credential that only the real machine can decrypt", line));
    }
    let line = lines.iter().rev().find(|line| Meaning::FileNotRead.is_in(&line.message))?;
    of_files(cx, unit, line)
}

/// A secret that the unit's start script names and that is not there, where the program says only that a file is not:
/// wg(8) says no more than "fopen: No such file or directory".
pub(super) fn of_script(cx: &JudgeContext<'_>, unit: &Unit) -> Option<Excuse> {
    let lines = cx.now.journal_of(&unit.name, LAST);
    let own = lines.iter().rev().copied().filter(|line| line.pid != 1);
    let mut own = own.take_while(|line| !Meaning::ConfigurationWrong.is_in(&line.message));
    let line = own.find(|line| Meaning::FileMissing.is_in(&line.message))?;
    if !paths_in(&line.message).is_empty() {
        return None;
    }
    let named = unit.service.iter().flat_map(|service| &service.script_paths);
    named.filter(|path| matches!(presence(cx, path), Presence::Missing(_))).find_map(|path| of_path(cx, path, line))
}

/// A path that a line misses.
fn of_path(cx: &JudgeContext<'_>, path: &str, line: &JournalLine) -> Option<Excuse> {
    if let Presence::Here = presence(cx, path) {
        return None;
    }
    if let Some(excuse) = of_declared(cx, path, line) {
        return Some(excuse);
    }
    if !is_secret(path) || !others(cx, path).is_empty() {
        return None;
    }
    match presence(cx, path) {
        Presence::Missing(fact) => of_missing(cx, path, fact, line),
        _ => Some(by_line(Lack::Secret, "needs a secret that only the real machine has", line)),
    }
}

fn of_declared(cx: &JudgeContext<'_>, path: &str, line: &JournalLine) -> Option<Excuse> {
    let (name, secret) = declared(cx, path)?;
    let why = format!(
        "needs {path}, the secret {}.{name:?}, which only the real machine can decrypt: \"{}\" \
         ([secret.{name:?}] in nixbox.toml supplies a stand-in)",
        secret.option,
        quoted(line)
    );
    Some(Excuse::new(Lack::Secret, Witness::Path { path: path.to_owned() }, why))
}

/// What lies where secrets lie, is not there, and is no mistyped name of something that is.
pub(super) fn of_missing(cx: &JudgeContext<'_>, path: &str, fact: &PathFact, line: &JournalLine) -> Option<Excuse> {
    let is_placed = PLACES.iter().any(|place| path.starts_with(place)) && others(cx, path).is_empty();
    if !is_placed && state::of_path(cx, path, fact, line, true).is_none() {
        return None;
    }
    let why = format!("needs a secret that only the real machine has, {path}: \"{}\"", quoted(line));
    Some(Excuse::new(Lack::Secret, Witness::Path { path: path.to_owned() }, why))
}

/// Files without which systemd does not start it. Where the guest tells which are missing, those count; else all have to
/// be secrets. What lies in the store is there.
fn of_files(cx: &JudgeContext<'_>, unit: &Unit, line: &JournalLine) -> Option<Excuse> {
    let files = unit.service.iter().flat_map(|service| &service.files).filter(|file| !file.starts_with(STORE_DIR));
    let missing = files.filter(|file| !matches!(presence(cx, file), Presence::Here));
    let is_one = |file: &str| {
        let is_there_none = match presence(cx, file) {
            Presence::Missing(fact) => of_missing(cx, file, fact, line).is_some(),
            Presence::Here | Presence::Unknown => true,
        };
        declared(cx, file).is_some() || is_secret(file) && others(cx, file).is_empty() && is_there_none
    };
    let missing: Vec<&String> = missing.collect();
    let first = *missing.first().filter(|_| missing.iter().all(|file| is_one(file)))?;
    of_declared(cx, first, line).or_else(|| {
        let why = format!("needs {first}, a secret that only the real machine has: \"{}\"", quoted(line));
        Some(Excuse::new(Lack::Secret, Witness::Path { path: first.clone() }, why))
    })
}
