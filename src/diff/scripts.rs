//! The texts that a unit or a script refers to: what a path to a script hides.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::names::{store_paths, whole_path};
use super::store_files::{Files, Found};
use super::unit_file::UnitFile;

/// Files that one unit may lead to.
const MOST: usize = 64;
/// How far: a unit, its script, what that reads, what that includes.
const DEPTH: usize = 3;

/// The texts behind all that a service executes.
pub(super) fn of_unit(files: &dyn Files, unit: &UnitFile) -> Vec<Arc<str>> {
    let keys = unit.sections.get("Service").into_iter().flatten().filter(|(key, _)| key.starts_with("Exec"));
    let values: Vec<&str> = keys.flat_map(|(_, values)| values.iter().map(String::as_str)).collect();
    all(files, &values)
}

/// The texts behind what a service executes to start.
pub(super) fn of_start(files: &dyn Files, unit: &UnitFile) -> Vec<Arc<str>> {
    let values: Vec<&str> = unit.values("Service", "ExecStart").iter().map(String::as_str).collect();
    all(files, &values)
}

fn all(files: &dyn Files, values: &[&str]) -> Vec<Arc<str>> {
    let mut seen: BTreeSet<PathBuf> = BTreeSet::new();
    let mut texts: Vec<Arc<str>> = Vec::new();
    let mut pending: Vec<(PathBuf, usize)> =
        values.iter().flat_map(|value| paths(value)).map(|path| (path, 0)).collect();
    pending.reverse();
    while let Some((path, depth)) = pending.pop() {
        let Found::File(file) = files.find(&path) else { continue };
        if seen.len() >= MOST || !seen.insert(file.clone()) {
            continue;
        }
        let Some(text) = files.text(&file) else { continue };
        if depth < DEPTH {
            pending.extend(paths(&text).into_iter().map(|path| (path, depth + 1)));
        }
        texts.push(text);
    }
    texts
}

/// The files of the store that a text names.
pub(super) fn paths(text: &str) -> Vec<PathBuf> {
    store_paths(text).into_iter().map(|range| Path::new(whole_path(&text[range.start..])).to_owned()).collect()
}
