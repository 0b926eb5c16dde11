//! The working tree that a flake is read from, of which nix reads a copy in its store.

use std::path::{Path, PathBuf};

use super::patterns::{DEFINED_IN, MISSING_FILE, NO_FLAKE_IN, NOT_TRACKED, SOURCE, VARIANT, find};
use crate::text::quote;

/// The working tree that a flake is read from, so that places in its copy in the store can be named by their origin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceTree {
    /// The root of the tree that nix copies: the git work tree's, or the flake's directory.
    pub root: Option<PathBuf>,
    /// The flake's directory, at or below the root.
    pub directory: Option<PathBuf>,
    /// Whether git decides what nix sees.
    pub is_git: bool,
}

impl SourceTree {
    /// Names places in the store's copy of the tree by their place in the tree.
    ///
    /// A store path is a copy of this tree when both hold the same `flake.nix`, or when that file is what is missing:
    /// inputs are `…-source` too.
    pub fn map(&self, text: &str) -> String {
        let (Some(root), Some(pattern)) = (&self.root, SOURCE.as_ref()) else { return text.to_owned() };
        let mut known: Vec<(String, bool)> = Vec::new();
        let replaced = pattern.replace_all(text, |found: &regex::Captures<'_>| {
            let prefix = found[0].to_owned();
            let ours = match known.iter().find(|(path, _)| *path == prefix) {
                Some((_, ours)) => *ours,
                None => {
                    let ours = self.is_copy(Path::new(&prefix), text);
                    known.push((prefix.clone(), ours));
                    ours
                }
            };
            if ours { root.to_string_lossy().into_owned() } else { prefix }
        });
        replaced.into_owned()
    }

    /// What is said of the user's options and files, by the names that they have in the tree.
    pub(in crate::nix) fn map_options(&self, text: &str) -> String {
        let text = self.map(&self.without_variant(text));
        super::headline::short(&text, self)
    }

    /// Options by the names that the user gave them: the VM's own are evaluated below `virtualisation.vmVariant`. Where a
    /// file that is named says that itself, it stays.
    pub(super) fn without_variant(&self, text: &str) -> String {
        let Some(pattern) = VARIANT.as_ref().filter(|pattern| pattern.is_match(text)) else { return text.to_owned() };
        let mapped = self.map(text);
        let mut files = mapped.lines().filter_map(|line| Some(find(&DEFINED_IN, line)?[1].to_owned()));
        let says = |file: String| std::fs::read_to_string(file).is_ok_and(|text| text.contains("vmVariant"));
        if files.any(says) { text.to_owned() } else { pattern.replace_all(text, "").into_owned() }
    }

    fn is_copy(&self, copy: &Path, text: &str) -> bool {
        let (Some(root), Some(directory)) = (&self.root, &self.directory) else { return false };
        let Ok(inside) = directory.strip_prefix(root) else { return false };
        let theirs = copy.join(inside).join("flake.nix");
        match std::fs::read(&theirs) {
            Ok(theirs) => std::fs::read(directory.join("flake.nix")).is_ok_and(|ours| ours == theirs),
            // The one whose own flake.nix is missed. (Inputs may have none, but nix does not miss it.)
            Err(_) => text.contains(&*theirs.to_string_lossy()) || self.is_known_by_its_files(copy, text),
        }
    }

    /// A copy that cannot be looked into (another store, or one that nix never wrote): all files of it that are named are
    /// in the tree. Every flake has a flake.nix, which says nothing.
    fn is_known_by_its_files(&self, copy: &Path, text: &str) -> bool {
        let Some(root) = self.root.as_ref().filter(|_| !copy.exists()) else { return false };
        let prefix = format!("{}/", copy.display());
        let ends = |c: char| c.is_whitespace() || "'`\"’,:;()".contains(c);
        let named = text.split(&prefix).skip(1).map(|rest| rest.split(ends).next().unwrap_or_default());
        let mut files = named.filter(|file| !file.is_empty() && *file != "flake.nix").peekable();
        files.peek().is_some() && files.all(|file| root.join(file).is_file())
    }

    /// A place in the tree by its name below the flake's directory; beside that directory as it is. `None` elsewhere.
    pub(super) fn relative<'p>(&self, place: &'p str) -> Option<&'p str> {
        let below = |directory: &Option<PathBuf>| {
            let directory = directory.as_ref()?.to_string_lossy().into_owned();
            place.strip_prefix(&directory)?.strip_prefix('/')
        };
        below(&self.directory).or_else(|| below(&self.root).map(|_| place))
    }

    /// What nix misses although it is in the working tree, and the advice for that.
    pub(super) fn untracked(&self, message: &str) -> Option<(String, String)> {
        let (true, Some(root)) = (self.is_git, &self.root) else { return None };
        let file = if let Some(found) = find(&NOT_TRACKED, message) {
            PathBuf::from(&found[1])
        } else if let Some(found) = find(&NO_FLAKE_IN, message) {
            // An input may lack one too, and is no tree of ours.
            found[1].contains(&*root.to_string_lossy()).then(|| PathBuf::from(&found[2]))?
        } else {
            let mapped = self.map(message);
            let found = find(&MISSING_FILE, &mapped)?;
            let path = found.iter().skip(1).flatten().next()?.as_str().to_owned();
            Path::new(&path).strip_prefix(root).ok()?.to_owned()
        };
        if !root.join(&file).exists() {
            return None;
        }
        let shown = file.display();
        let nested = file.ancestors().skip(1).any(|up| up != Path::new("") && root.join(up).join(".git").exists());
        Some(if nested {
            (
                format!("{shown} is in a git submodule, which nix leaves out"),
                "name the flake as `git+file://…?submodules=1`".to_owned(),
            )
        } else {
            let (word, root) = (quote(&file.to_string_lossy()), quote(&root.to_string_lossy()));
            (
                format!("{shown} is not tracked by git, so nix does not see it"),
                format!("git add {word} (in {root}): it exists there, but nix sees only what git tracks"),
            )
        })
    }
}
