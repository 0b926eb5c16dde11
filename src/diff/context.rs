//! What every comparison is made of: both systems, and the files behind them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::lines::differences;
use super::model::{Area, Change, Grade, Kind, LINES};
use super::names::{is_package, name_of, nameless};
use super::scripts;
use super::store_files::{Files, Found, tree};
use super::system::System;

/// How deep the files behind files are compared: a unit's script, what it reads, what that includes.
const DEPTH: usize = 3;
/// Files of a directory that are compared behind one text.
const TREE: usize = 500;
/// Directories without a version in their names that are compared elsewhere, or are packages all the same.
const WHOLE: [&str; 7] =
    ["etc", "system-path", "home-path", "system-units", "user-units", "firmware", "user-environment"];
/// Pairs of files that are compared behind one text.
const PAIRS: usize = 64;

/// Both systems.
pub(crate) struct Context<'a> {
    pub(crate) old: &'a System,
    pub(crate) new: &'a System,
    pub(crate) files: &'a dyn Files,
    /// What differs by store paths only: told in one line.
    pub(crate) rebuilt: RefCell<BTreeSet<String>>,
}

/// How two texts differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TextDifference {
    /// Lines with their signs; those of files behind the text follow a line that names them.
    pub(crate) lines: Vec<String>,
}

impl Context<'_> {
    /// How two texts differ, in lines; none where they are the same but for store paths.
    pub(crate) fn text(&self, old: &str, new: &str) -> TextDifference {
        TextDifference { lines: shown_lines(old, new) }
    }

    /// How the files differ that two texts refer to under the same names: what a path that merely moved hides.
    pub(crate) fn behind(&self, old: &str, new: &str) -> TextDifference {
        let mut lines = Vec::new();
        let mut seen = BTreeSet::new();
        self.add_behind(old, new, DEPTH, &mut seen, &mut lines);
        TextDifference { lines }
    }

    fn add_behind(&self, old: &str, new: &str, depth: usize, seen: &mut BTreeSet<PathBuf>, lines: &mut Vec<String>) {
        let olds = scripts::paths(old);
        let mut used = BTreeSet::new();
        for path in scripts::paths(new) {
            let key = nameless(&path.to_string_lossy());
            if is_of_accounts(&key) {
                continue;
            }
            // The first of that name that has no partner yet.
            let partner =
                olds.iter().enumerate().find(|(at, old)| !used.contains(at) && nameless(&old.to_string_lossy()) == key);
            let Some((at, before)) = partner else { continue };
            used.insert(at);
            if *before == path || seen.len() >= PAIRS {
                continue;
            }
            let (before, after) = (self.files.find(before), self.files.find(&path));
            if before == after {
                continue;
            }
            match (before, after) {
                (Found::File(before), Found::File(after)) if seen.insert(after.clone()) => {
                    let name = shown_name(&path);
                    self.add_file(&name, &before, &after, depth, seen, lines);
                }
                (Found::Directory(before), Found::Directory(after)) if seen.insert(after.clone()) => {
                    self.add_directory(&path, &before, &after, lines);
                }
                _ => {}
            }
        }
    }

    fn add_file(
        &self,
        name: &str,
        before: &Path,
        after: &Path,
        depth: usize,
        seen: &mut BTreeSet<PathBuf>,
        lines: &mut Vec<String>,
    ) {
        let (Some(before), Some(after)) = (self.files.text(before), self.files.text(after)) else { return };
        let own = shown_lines(&before, &after);
        if !own.is_empty() {
            lines.push(format!("in {name}:"));
            lines.extend(own);
        }
        if depth > 1 {
            self.add_behind(&before, &after, depth - 1, seen, lines);
        }
    }

    /// A directory of configuration: one that is no package's, as its name without a version says.
    fn add_directory(&self, path: &Path, before: &Path, after: &Path, lines: &mut Vec<String>) {
        let text = path.to_string_lossy();
        let name = name_of(&text);
        if name.starts_with("nixos-system") {
            lines.push(format!("~ another system: {name}"));
            return;
        }
        if is_package(name) || WHOLE.contains(&name) {
            return;
        }
        let (old, new) = (tree(self.files, before, TREE), tree(self.files, after, TREE));
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for inner in names.into_iter().filter(|inner| !is_of_accounts(&format!("{name}/{inner}"))) {
            match (old.get(inner), new.get(inner)) {
                (Some(Found::File(before)), Some(Found::File(after))) if before != after => {
                    self.add_file(&format!("{name}/{inner}"), before, after, 1, &mut BTreeSet::new(), lines);
                }
                (None, Some(_)) => lines.push(format!("+{name}/{inner} (a new file)")),
                (Some(_), None) => lines.push(format!("-{name}/{inner} (a file)")),
                _ => {}
            }
            if lines.len() > LINES {
                return;
            }
        }
    }

    /// Notes that something differs by store paths only.
    pub(crate) fn rebuilt(&self, what: impl Into<String>) {
        self.rebuilt.borrow_mut().insert(what.into());
    }

    /// What was noted, as one change.
    pub(crate) fn rebuilt_change(&self) -> Option<Change> {
        let all = self.rebuilt.borrow();
        let names: Vec<&str> = all.iter().map(String::as_str).collect();
        (!names.is_empty()).then(|| {
            Change::new(
                Grade::Info,
                Area::Unit,
                Kind::Rebuilt,
                format!("{} rebuilt", names.len()),
                format!("the same but for store paths: {}", names.join(", ")),
            )
        })
    }
}

/// Lines that differ by more than store paths, without versions in those.
fn shown_lines(old: &str, new: &str) -> Vec<String> {
    let (old, new) = (nameless(old), nameless(new));
    if old == new {
        return Vec::new();
    }
    let Some(mut lines) = differences(&old, &new) else {
        return vec![format!("~ {} lines became {}", old.lines().count(), new.lines().count())];
    };
    // Empty lines tell nothing, unless they are all.
    if lines.iter().any(|line| line.len() > 1) {
        lines.retain(|line| line.len() > 1);
    }
    lines
}

/// A file of the store by what people call it: its name, or the store path's where it is that itself.
fn shown_name(path: &Path) -> String {
    let text = path.to_string_lossy();
    let name = name_of(&text);
    match path.file_name().map(|file| file.to_string_lossy()) {
        Some(file) if !file.ends_with(name) => file.into_owned(),
        _ => name.to_owned(),
    }
}

/// Files that hold hashes of passwords by their names, and are never shown. PAM's services are programs' names: `passwd`
/// is one.
pub(crate) fn is_of_accounts(name: &str) -> bool {
    let (directory, file) = name.rsplit_once('/').unwrap_or(("", name));
    let is_of_pam = directory.rsplit('/').next() == Some("pam.d");
    let is_known = matches!(file, "passwd" | "passwd-" | "shadow" | "shadow-" | "gshadow" | "gshadow-" | "group");
    !is_of_pam && (is_known || ["users-groups.json", "userborn.json"].iter().any(|end| file.ends_with(end)))
}
