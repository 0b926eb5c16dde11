//! What a tree evaluated to: as long as the tree is unchanged, its verdict is found without running nix.
//!
//! It also detects systems that contain the flake's revision or its time, so that each commit makes another one: there the
//! same files evaluate to another derivation.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Entries, FileIdentity, Tree};
use crate::nix::{Evaluated, Nix};

/// A stored evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CachedEvaluation {
    /// The target, in full: resolving it does not run nix.
    pub resolved: String,
    /// What it evaluated to.
    pub evaluated: Evaluated,
    /// The command that applies exactly this, once a run has passed.
    pub apply: Option<String>,
}

/// The evaluations of one flake and target, with the same flags and the same nix.
#[derive(Debug, Clone)]
pub struct EvaluationCache {
    entries: Entries,
    root: PathBuf,
    flake: PathBuf,
    key: String,
}

/// The last evaluation of a content, whatever its commit.
#[derive(Debug, Serialize, Deserialize)]
struct LastEvaluation {
    state: String,
    drv_path: String,
}

impl EvaluationCache {
    /// Those of `typed` (as the user named it) in the flake at `flake` in the git checkout at `root`. `None` where the
    /// result does not depend on files alone: an impure evaluation, or an input that is overridden.
    pub fn new(cache: &Path, root: &Path, flake: &Path, typed: &str, vm_only: bool, nix: &Nix) -> Option<Self> {
        let flags = &nix.flags;
        let is_pure = !flags.impure && flags.option_value("pure-eval").is_none_or(|value| value == "true");
        if !is_pure || flags.refresh || !flags.override_input.is_empty() || !flags.include.is_empty() {
            return None;
        }
        let program = crate::machine::find_program("nix").as_deref().and_then(FileIdentity::of)?;
        let key = serde_json::json!({
            "nixbox": FileIdentity::own()?,
            "nix": program,
            "flake": flake,
            "typed": typed,
            "vm_only": vm_only,
            "flags": flags.words(nix.here()),
            "store": nix.store_url(),
            "system": nix.system(),
        });
        let entries = Entries::new(cache, "evaluations");
        Some(Self { entries, root: root.to_owned(), flake: flake.to_owned(), key: key.to_string() })
    }

    /// The tree as it is now.
    pub fn tree(&self) -> Option<Tree> {
        Tree::of(&self.root, &self.flake)
    }

    fn state_key(&self, tree: &Tree) -> String {
        format!("state {} {}", tree.state, self.key)
    }

    fn content_key(&self, tree: &Tree) -> String {
        format!("content {} {}", tree.content, self.key)
    }

    /// What this tree evaluated to.
    pub fn get(&self, tree: &Tree) -> Option<CachedEvaluation> {
        self.entries.get(&self.state_key(tree))
    }

    /// Replaces the evaluation of this tree.
    ///
    /// # Errors
    /// The file system's.
    pub fn replace(&self, tree: &Tree, cached: &CachedEvaluation) -> io::Result<()> {
        self.entries.put(&self.state_key(tree), cached)
    }

    /// Stores what a tree evaluated to. Returns whether the same files gave another derivation under another commit, the
    /// first time that this happens.
    ///
    /// # Errors
    /// The file system's.
    pub fn put(&self, tree: &Tree, cached: &CachedEvaluation) -> io::Result<bool> {
        let Some(runner) = &cached.evaluated.runner else { return Ok(false) };
        // A tree that was edited meanwhile is not the one that was evaluated.
        if self.tree().as_ref() != Some(tree) {
            return Ok(false);
        }
        self.replace(tree, cached)?;
        let content = self.content_key(tree);
        let last: Option<LastEvaluation> = self.entries.get(&content);
        let differs = last.as_ref().is_some_and(|last| last.state != tree.state && last.drv_path != runner.drv_path);
        // Reported once for a target, not again with each commit.
        let reported_key = format!("reported {}", self.key);
        let is_reported = self.entries.get(&reported_key).unwrap_or(false);
        let now = LastEvaluation { state: tree.state.clone(), drv_path: runner.drv_path.clone() };
        self.entries.put(&content, now)?;
        if differs && !is_reported {
            self.entries.put(&reported_key, true)?;
        }
        Ok(differs && !is_reported)
    }
}
