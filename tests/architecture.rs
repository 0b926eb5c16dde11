//! How the rooms of `src` stand on one another: none imports one that stands on it.

#![expect(clippy::unwrap_used, reason = "a test: what cannot be read fails it")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

static TEST_MODULE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"#\[cfg\(test\)\]\s*(?:pub(?:\(\w+\))? )?mod (\w+)\s*(;|\{)").unwrap());
/// A path from the crate's root, whole or as the first of several.
static IMPORT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\bcrate::(?:\{([^;]*)\};|(\w+))").unwrap());
/// A name at the beginning of one of several paths.
static FIRST: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?:^|,)\s*(\w+)").unwrap());

/// What a file imports, its comments and its tests left out; and the modules of it that are tests.
fn read(path: &Path) -> (BTreeSet<String>, Vec<PathBuf>) {
    let text = std::fs::read_to_string(path).unwrap();
    let own = path.with_extension("");
    let directory = if own.ends_with("mod") || own.ends_with("lib") { path.parent().unwrap().to_owned() } else { own };
    let tests = TEST_MODULE.captures_iter(&text).map(|found| directory.join(&found[1])).collect();
    let inline = TEST_MODULE.captures_iter(&text).find(|found| &found[2] == "{");
    let code = inline.map_or(text.as_str(), |found| &text[..found.get(0).unwrap().start()]);
    let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut imports = BTreeSet::new();
    for found in IMPORT.captures_iter(&code) {
        match (found.get(1), found.get(2)) {
            (Some(several), _) => imports.extend(FIRST.captures_iter(several.as_str()).map(|one| one[1].to_owned())),
            (None, one) => imports.extend(one.map(|one| one.as_str().to_owned())),
        }
    }
    (imports, tests)
}

fn files(directory: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, all);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            all.push(path);
        }
    }
}

#[test]
fn no_room_imports_one_that_stands_on_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&source, &mut all);
    let read: Vec<_> = all.into_iter().map(|path| (read(&path), path)).collect();
    let tests: Vec<&PathBuf> = read.iter().flat_map(|((_, tests), _)| tests).collect();
    let mut left: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for ((imports, _), path) in &read {
        let name = path.with_extension("");
        let room = name.strip_prefix(&source).unwrap().iter().next().unwrap().to_string_lossy().into_owned();
        if room == "lib" || room == "main" || tests.iter().any(|test| name.starts_with(test)) {
            continue;
        }
        left.entry(room.clone()).or_default().extend(imports.iter().filter(|other| **other != room).cloned());
    }
    assert!(left.len() > 20 && left["run"].contains("checks") && left["checks"].contains("judging"), "{left:#?}");
    // Rooms that import none of those that are left, or that none of them imports, are in no circle.
    loop {
        let imported: BTreeSet<String> = left.values().flatten().cloned().collect();
        let is_in_circle = |room: &String, imports: &BTreeSet<String>| {
            imported.contains(room) && imports.iter().any(|other| left.contains_key(other))
        };
        let kept: BTreeMap<_, _> = left.clone().into_iter().filter(|(room, of)| is_in_circle(room, of)).collect();
        if kept.len() == left.len() {
            break;
        }
        left = kept;
    }
    assert!(left.is_empty(), "these rooms import one another in a circle: {left:#?}");
}
