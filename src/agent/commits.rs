//! The trees that a hook tests beside the work tree: the index, what is pushed, and the one before a turn.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::targets::HookTarget;
use crate::failure::{Failure, Result};
use crate::model::CONFIG_FILE;
use crate::resolve;

/// A `nixbox try` that a hook starts.
#[derive(Debug)]
pub(super) struct HookRun {
    pub(super) target: HookTarget,
    /// Its `nixbox.toml`, where it is not the one beside the flake.
    pub(super) config: Option<tempfile::NamedTempFile>,
    /// The target that it is held against, where that is not for `try` to find; `off`: nothing.
    pub(super) baseline: Option<String>,
    /// The target before the change, for what `try` holds against nothing: what does not evaluate, build or boot.
    pub(super) before: Option<String>,
    /// Why there is nothing to hold it against, where that is for its reader to know.
    pub(super) incomparable: Option<String>,
}

/// git, in the directory where its hook was called: the paths in its environment variables are relative to that.
pub(super) struct Git {
    pub(super) directory: PathBuf,
}

impl Git {
    /// Runs `git WORDS` with the index that git gave its hook, and returns stdout without the last newline.
    pub(super) fn run(&self, words: &[&str]) -> Result<String> {
        let output = self.run_with(words, None, b"")?;
        Ok(String::from_utf8_lossy(&output).trim_end_matches('\n').to_owned())
    }

    fn run_with(&self, words: &[&str], index: Option<&Path>, input: &[u8]) -> Result<Vec<u8>> {
        let mut command = std::process::Command::new("git");
        command.args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false"]);
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "nixbox").env(format!("GIT_{role}_EMAIL"), "nixbox@localhost");
            command.env(format!("GIT_{role}_DATE"), "1970-01-01T00:00:00Z");
        }
        if let Some(index) = index {
            command.env("GIT_INDEX_FILE", index);
        }
        command.args(words).current_dir(&self.directory);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |error| Failure::host("git cannot be started").because(error);
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that reads nothing says by its exit code whether that was right.
            drop(stdin.write_all(input));
        }
        let output = child.wait_with_output().map_err(failed)?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            return Err(Failure::host(format!("git {} failed", words[0])).why(stderr));
        }
        Ok(output.stdout)
    }

    /// The index as a commit: the same for the same tree. Nothing refers to it, so git collects it some day.
    pub(super) fn index(&self) -> Result<String> {
        let tree = self.run(&["write-tree"])?;
        self.run(&["commit-tree", &tree, "-m", "what is about to be committed"])
    }

    /// The tree of the tracked files as they are in the work tree, which is what nix reads. No filter of the repository's
    /// settings is run: who may only edit files must not gain a command.
    ///
    /// # Errors
    /// git's, more changed files than are worth it, and what is no matter of these files alone: a submodule that has
    /// changed, and files that git takes for unchanged.
    pub(super) fn work_tree(&self) -> Result<String> {
        let listed = self.run_with(&["ls-files", "-v", "-z", "--", ":/"], None, b"")?;
        if listed.split(|byte| *byte == 0).filter_map(<[u8]>::first).any(|tag| crate::git::is_unchecked(*tag)) {
            return Err(Failure::host("git does not look for changes of some files"));
        }
        let top = resolve::git_root(&self.directory).unwrap_or_else(|| self.directory.clone());
        let mut entries = Vec::new();
        let without_filters = crate::git::without_filters(&self.directory);
        let mut words: Vec<&str> = without_filters.iter().flat_map(|setting| ["-c", setting]).collect();
        words.extend(["diff-files", "-z", "--no-renames"]);
        let changed = self.run_with(&words, None, b"")?;
        let mut words = changed.split(|byte| *byte == 0);
        // :MODE MODE OID OID STATUS\0PATH\0
        for count in 0.. {
            let (Some(status), Some(path)) = (words.next().filter(|status| !status.is_empty()), words.next()) else {
                break;
            };
            if count == MOST_CHANGED {
                return Err(Failure::host(format!("more than {MOST_CHANGED} files have changed")));
            }
            let mut parts = status.split(|byte| *byte == b' ');
            if parts.by_ref().take(2).any(|mode| mode.ends_with(SUBMODULE)) {
                return Err(Failure::host("a submodule has changed"));
            }
            let object = parts.next().unwrap_or_default();
            let entry = match crate::git::file_of_work_tree(&top.join(OsStr::from_bytes(path))) {
                Some((mode, content)) => {
                    let object = self.run_with(&["hash-object", "-w", "--no-filters", "--stdin"], None, &content)?;
                    format!("{mode} {}", String::from_utf8_lossy(&object).trim())
                }
                None => format!("0 {}", "0".repeat(object.len())),
            };
            entries.extend_from_slice(entry.as_bytes());
            entries.push(b'\t');
            entries.extend_from_slice(path);
            entries.push(0);
        }
        let index = self.run(&["rev-parse", "--git-path", "index"])?;
        let copy = tempfile::NamedTempFile::new().map_err(no_temporary_file)?;
        std::fs::copy(self.directory.join(index), copy.path()).map_err(no_temporary_file)?;
        if !entries.is_empty() {
            self.run_with(&["update-index", "-z", "--index-info"], Some(copy.path()), &entries)?;
        }
        let tree = self.run_with(&["write-tree"], Some(copy.path()), b"")?;
        Ok(String::from_utf8_lossy(&tree).trim().to_owned())
    }

    /// A tree as a commit: the same for the same tree.
    pub(super) fn snapshot(&self, tree: &str) -> Result<String> {
        self.run(&["commit-tree", tree, "-m", "the tree before the turn"])
    }

    pub(super) fn commit(&self, named: &str) -> Option<String> {
        self.run(&["rev-parse", "--verify", "--quiet", &format!("{named}^{{commit}}")]).ok()
    }

    pub(super) fn tree(&self, commit: &str) -> Option<String> {
        self.run(&["rev-parse", "--verify", "--quiet", &format!("{commit}^{{tree}}")]).ok()
    }
}

/// More changed files are not made a tree of: each takes a call of git.
const MOST_CHANGED: usize = 200;
/// git's mode of a submodule.
const SUBMODULE: &[u8] = b"160000";

/// The target in a commit of its repository; `None` where it is in none.
pub(super) fn at_commit(target: &HookTarget, commit: &str) -> Option<String> {
    let flake = target.flake.as_ref()?;
    let root = flake.git_root.as_deref()?;
    let attribute = target.typed.split_once('#').map_or(String::new(), |(_, attribute)| format!("#{attribute}"));
    Some(format!("{}{attribute}", resolve::at_commit(flake, root, commit)))
}

/// Why a commit is held against nothing, where it follows one that is not in this clone. The first commit of all
/// follows none: that needs no word.
fn incomparable(root: &Path, commit: &str) -> Option<String> {
    crate::git::lacks_parent(root, commit).then(|| {
        format!(
            "nothing to compare with: the commit before {} is not in this shallow clone, so all that fails counts; \
             `git fetch --deepen=1` brings it",
            &commit[..commit.len().min(7)]
        )
    })
}

/// The targets in the work tree, held against the tree before the turn where that is known and no commit.
pub(super) fn in_work_tree(targets: &[HookTarget], before: Option<&str>, git: &Git) -> Vec<HookRun> {
    let head = git.commit("HEAD");
    let tree_of_head = head.as_deref().and_then(|head| git.tree(head));
    // No branch holds it, so it may be collected by now.
    let turn = before.filter(|commit| git.tree(commit).is_some_and(|tree| Some(tree) != tree_of_head));
    let run = |target: &HookTarget| {
        let at = |commit: &str| at_commit(target, commit);
        let root = target.flake.as_ref().and_then(|flake| flake.git_root.as_deref());
        // As `try` does: a tree without changes is held against the commit before.
        let last = || if root.is_some_and(crate::git::may_differ) { head.clone() } else { git.commit("HEAD~1") };
        let before = turn.map(str::to_owned).or_else(last);
        let incomparable = match (&before, root, &head) {
            (None, Some(root), Some(head)) => incomparable(root, head),
            _ => None,
        };
        HookRun {
            baseline: turn.and_then(at),
            before: before.as_deref().and_then(at),
            incomparable,
            config: None,
            target: target.clone(),
        }
    };
    targets.iter().map(run).collect()
}

/// The targets in these commits, instead of in the work tree. A commit without the flake is left out. `is_unborn`: it is
/// not a commit yet, and follows HEAD.
pub(super) fn at_commits(
    targets: &[HookTarget],
    commits: &[String],
    git: &Git,
    is_unborn: bool,
) -> Result<Vec<HookRun>> {
    let mut runs = Vec::new();
    for target in targets {
        let local = target.flake.as_ref().and_then(|flake| Some((flake.dir.as_deref()?, flake.git_root.as_deref()?)));
        let Some((directory, root)) = local else {
            // Not in this repository: a commit here does not change it.
            continue;
        };
        let inside = directory.strip_prefix(root).unwrap_or(Path::new(""));
        for object in commits {
            // An annotated tag is pushed as itself; it may not name a commit.
            let Some(commit) = git.commit(object) else { continue };
            let file = |name: &str| format!("{commit}:{}", inside.join(name).display());
            if git.run(&["cat-file", "-e", &file("flake.nix")]).is_err() {
                continue;
            }
            let mut config = None;
            if let Ok(text) = git.run(&["show", &file(CONFIG_FILE)]) {
                let mut written = tempfile::Builder::new().suffix(".toml").tempfile().map_err(no_temporary_file)?;
                std::io::Write::write_all(&mut written, text.as_bytes()).map_err(no_temporary_file)?;
                config = Some(written);
            }
            // What is about to be committed has no parent yet.
            let parent = git.commit(&format!("{commit}^")).or_else(|| git.commit("HEAD").filter(|_| is_unborn));
            let incomparable = if parent.is_none() { incomparable(root, &commit) } else { None };
            let before = parent.as_deref().and_then(|parent| at_commit(target, parent));
            let Some(typed) = at_commit(target, &commit) else { continue };
            let target = HookTarget::of(typed, target.is_named, target.flake.clone());
            let baseline = Some(before.clone().unwrap_or_else(|| "off".to_owned()));
            runs.push(HookRun { target, config, baseline, before, incomparable });
        }
    }
    Ok(runs)
}

fn no_temporary_file(error: std::io::Error) -> Failure {
    Failure::host("a temporary file cannot be created").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git;
    use crate::nix::Flake;

    #[test]
    fn a_snapshot_is_what_nix_reads() {
        let place = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(place.path().join(name), text).unwrap();
        git::run(place.path(), &["init", "-q"]);
        write("a.nix", "1");
        git::run(place.path(), &["add", "."]);
        git::run(place.path(), &["commit", "-q", "-m", "one"]);
        let git = Git { directory: place.path().to_owned() };
        let committed = git.tree("HEAD").unwrap();
        assert_eq!(git.work_tree().unwrap(), committed);
        write("untracked", "x");
        assert_eq!(git.work_tree().unwrap(), committed);
        write("a.nix", "2");
        let snapshot = || git.snapshot(&git.work_tree().unwrap()).unwrap();
        let commit = snapshot();
        assert_eq!(git.run(&["show", &format!("{commit}:a.nix")]).unwrap(), "2");
        assert_eq!(snapshot(), commit, "the same for the same tree");
        // A program that the repository's settings name is not run.
        write(".gitattributes", "*.nix filter=own\n");
        git::run(place.path(), &["config", "filter.own.clean", "touch ran; cat"]);
        write("a.nix", "3");
        snapshot();
        assert!(!place.path().join("ran").exists());
        std::fs::remove_file(place.path().join("a.nix")).unwrap();
        let commit = snapshot();
        assert!(git.run(&["cat-file", "-e", &format!("{commit}:a.nix")]).is_err());
        // The index is as it was.
        assert_eq!(git.run(&["diff", "--cached", "--name-only"]).unwrap(), "");
    }

    #[test]
    fn a_tree_that_git_does_not_see_whole_is_none() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("own");
        std::fs::create_dir_all(root.join("below")).unwrap();
        std::fs::write(root.join("a.nix"), "1").unwrap();
        git::run(&root, &["init", "-q"]);
        git::run(&root, &["add", "."]);
        git::run(&root, &["commit", "-q", "-m", "one"]);
        let git = Git { directory: root.join("below") };
        let committed = git.work_tree().unwrap();
        std::fs::write(root.join("a.nix"), "2").unwrap();
        assert_ne!(git.work_tree().unwrap(), committed, "also from below the root");
        for (flag, back) in [("--assume-unchanged", "--no-assume-unchanged"), ("--skip-worktree", "--no-skip-worktree")]
        {
            git::run(&root, &["update-index", flag, "a.nix"]);
            assert!(git.work_tree().is_err(), "{flag}");
            git::run(&root, &["update-index", back, "a.nix"]);
        }
        let other = place.path().join("other");
        std::fs::create_dir(&other).unwrap();
        git::run(&other, &["init", "-q"]);
        git::run(&other, &["commit", "-q", "--allow-empty", "-m", "one"]);
        let (url, allowed) = (other.to_string_lossy(), "protocol.file.allow=always");
        git::run(&root, &["-c", allowed, "submodule", "--quiet", "add", &url, "sub"]);
        assert!(git.work_tree().is_ok());
        git::run(&root.join("sub"), &["commit", "-q", "--allow-empty", "-m", "two"]);
        assert!(git.work_tree().is_err());
    }

    #[test]
    fn a_turn_is_held_against_the_tree_before_it_as_long_as_that_is_there() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        std::fs::write(root.join("flake.nix"), "1").unwrap();
        git::run(root, &["init", "-q"]);
        git::run(root, &["add", "."]);
        git::run(root, &["commit", "-q", "-m", "one"]);
        let git = Git { directory: root.to_owned() };
        std::fs::write(root.join("flake.nix"), "2").unwrap();
        let before = git.snapshot(&git.work_tree().unwrap()).unwrap();
        let head = git.commit("HEAD").unwrap();
        let flake = Some(Flake::local(root, Some(root.to_owned())));
        let targets = [HookTarget::of(".#x".to_owned(), true, flake)];
        let run = |before: &str| in_work_tree(&targets, Some(before), &git).remove(0);
        assert!(run(&before).baseline.is_some_and(|baseline| baseline.contains(&before)));
        for gone in ["1234567890123456789012345678901234567890", head.as_str()] {
            let run = run(gone);
            assert_eq!(run.baseline, None);
            assert!(run.before.is_some_and(|before| before.contains(&head)));
        }
    }

    #[test]
    fn the_last_commit_of_a_shallow_clone_is_held_against_nothing_and_says_so() {
        let place = tempfile::tempdir().unwrap();
        let (origin, clone) = git::shallow_clone(place.path(), &["flake.nix"]);
        let runs = |root: &Path, commit: &str| {
            let flake = Some(Flake::local(root, Some(root.to_owned())));
            let targets = [HookTarget::of(".#x".to_owned(), true, flake)];
            let git = Git { directory: root.to_owned() };
            let pushed = at_commits(&targets, &[git.commit(commit).unwrap()], &git, false).unwrap().remove(0);
            (pushed, in_work_tree(&targets, None, &git).remove(0))
        };
        let head = git::commit(&clone, "HEAD").unwrap();
        let (pushed, here) = runs(&clone, "HEAD");
        let url = format!("git+file://{}?shallow=1&rev=", clone.display());
        assert_eq!(pushed.target.typed, format!("{url}{head}#x"));
        for run in [&pushed, &here] {
            assert_eq!(run.before, None);
            let said = run.incomparable.as_deref().unwrap();
            assert!(said.contains(&head[..7]) && said.contains("shallow clone"), "{said}");
        }
        assert_eq!(pushed.baseline.as_deref(), Some("off"));
        // What follows it is held against it.
        git::run(&clone, &["commit", "--quiet", "--allow-empty", "-m", "three"]);
        let (pushed, here) = runs(&clone, "HEAD");
        let before = format!("{url}{head}#x");
        assert_eq!(pushed.baseline.as_deref(), Some(before.as_str()));
        for run in [&pushed, &here] {
            assert_eq!((run.before.as_deref(), &run.incomparable), (Some(before.as_str()), &None));
        }
        // The first commit of all.
        let (first, _) = runs(&origin, "HEAD~1");
        assert_eq!((first.before, first.incomparable), (None, None));
    }
}
