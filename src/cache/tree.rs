//! A fingerprint of a flake's files, by git, without reading those that did not change.
//!
//! nix evaluates the files that git tracks, as they are in the work tree. Two trees with the same fingerprint evaluate to
//! the same, as long as the evaluation is pure and all inputs are locked.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::digest;
use crate::git;

/// A local git checkout, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The content of the tracked files.
    pub content: String,
    /// The same with what `self.rev` and its like depend on: the commit, and whether the tree is as committed.
    pub state: String,
}

impl Tree {
    /// Fingerprints the checkout below `root`, in which the flake is at `flake`. `None` where the evaluation depends on
    /// more than these files: submodules, files that git takes for unchanged, inputs that are not locked or are directories
    /// of this host; or where there is no git.
    pub fn of(root: &Path, flake: &Path) -> Option<Self> {
        if root.join(".gitmodules").exists() || !is_locked(flake) {
            return None;
        }
        let mut files: BTreeMap<Vec<u8>, String> = BTreeMap::new();
        // TAG MODE OID STAGE\tPATH
        let listed = git::output(root, &["ls-files", "--stage", "-v", "-z"])?;
        for line in listed.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
            if git::is_unchecked(line[0]) {
                return None;
            }
            let tab = line.iter().position(|byte| *byte == b'\t')?;
            files.insert(line[tab + 1..].to_vec(), String::from_utf8_lossy(line.get(2..tab)?).into_owned());
        }
        let mut clean = true;
        // :MODE MODE OID OID STATUS\0PATH\0
        let changed = git::compared(root, &["diff-files", "-z", "--no-renames"])?;
        let mut words = changed.split(|byte| *byte == 0);
        while let (Some(status), Some(path)) = (words.next(), words.next()) {
            if status.is_empty() {
                break;
            }
            match worktree_entry(&root.join(std::ffi::OsStr::from_bytes(path))) {
                Some(entry) => {
                    clean &= files.get(path).is_some_and(|known| known.starts_with(&entry));
                    files.insert(path.to_vec(), entry);
                }
                None => {
                    clean = false;
                    files.remove(path);
                }
            }
        }
        let mut text = Vec::new();
        for (path, entry) in &files {
            text.extend_from_slice(path);
            text.push(0);
            // The stage is not part of a file's content.
            text.extend_from_slice(entry.split(' ').take(2).collect::<Vec<_>>().join(" ").as_bytes());
            text.push(b'\n');
        }
        let content = digest(&text);
        // An unborn branch has no commit, which is a state too.
        let head = git::output(root, &["rev-parse", "--verify", "--quiet", "HEAD"]).unwrap_or_default();
        let staged = git::output(root, &["diff-index", "--cached", "--quiet", "HEAD"]).is_none();
        let state = format!("{content} {} {}", String::from_utf8_lossy(&head).trim(), clean && !staged);
        Some(Self { content, state: digest(state.as_bytes()) })
    }
}

/// Whether nix would read this file of a flake at `flake`: tracked by git, or there at all where there is no git.
pub fn is_read(file: &Path, root: Option<&Path>, flake: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    // A removed file usually still has a directory.
    let name = file.file_name().unwrap_or_default();
    let file = file.parent().map_or_else(|| file.to_owned(), |parent| real(parent).join(name));
    match root {
        None => file.starts_with(real(flake)),
        Some(root) => {
            let root = real(root);
            let Ok(inside) = file.strip_prefix(&root) else { return false };
            let pathspec = PathBuf::from(":(literal,top)").into_os_string();
            let pathspec = [pathspec.as_bytes(), inside.as_os_str().as_bytes()].concat();
            let mut command = git::command(&root);
            command.args(["ls-files", "--error-unmatch", "-z", "--"]).arg(std::ffi::OsStr::from_bytes(&pathspec));
            // Where git fails, nix may still read it.
            !matches!(command.output().map(|output| output.status.code()), Ok(Some(1)))
        }
    }
}

/// A file of the work tree as an entry of the index: mode, and a hash of its raw content.
fn worktree_entry(path: &Path) -> Option<String> {
    git::file_of_work_tree(path).map(|(mode, content)| format!("{mode} sha256:{}", digest(&content)))
}

/// Whether all inputs of the flake are fixed: it has none, or a lock file without directories.
fn is_locked(flake: &Path) -> bool {
    match std::fs::read_to_string(flake.join("flake.lock")) {
        Ok(lock) => {
            let lock: serde_json::Value = serde_json::from_str(&lock).unwrap_or_default();
            let nodes = lock["nodes"].as_object();
            nodes.is_some_and(|nodes| {
                nodes.values().all(|node| node["locked"]["type"] != "path" && node["original"]["type"] != "path")
            })
        }
        // Without a lock file, nix looks inputs up each time.
        Err(_) => {
            let text = std::fs::read_to_string(flake.join("flake.nix")).unwrap_or_default();
            !text.is_empty() && !text.contains("inputs")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::git::run;

    fn repository() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        run(directory.path(), &["init", "--quiet"]);
        fs::write(directory.path().join("flake.nix"), "{ outputs = _: { }; }").unwrap();
        fs::write(directory.path().join("a b.nix"), "1").unwrap();
        run(directory.path(), &["add", "."]);
        directory
    }

    #[test]
    fn what_changes_a_tree_and_what_does_not() {
        let repository = repository();
        let root = repository.path();
        let tree = || Tree::of(root, root).unwrap();
        let unborn = tree();
        run(root, &["commit", "--quiet", "-m", "one"]);
        let committed = tree();
        assert_eq!(committed.content, unborn.content);
        assert_ne!(committed.state, unborn.state);

        fs::write(root.join("untracked.nix"), "3").unwrap();
        assert_eq!(tree(), committed);

        fs::write(root.join("a b.nix"), "2").unwrap();
        let edited = tree();
        assert_ne!(edited.content, committed.content);
        fs::write(root.join("a b.nix"), "3").unwrap();
        assert_ne!(tree().content, edited.content);
        fs::write(root.join("a b.nix"), "2").unwrap();
        assert_eq!(tree(), edited);

        run(root, &["rm", "--quiet", "--cached", "a b.nix"]);
        let removed = tree();
        assert_ne!(removed.content, edited.content);
        assert_ne!(removed.content, committed.content);
    }

    #[test]
    fn a_mode_and_a_deletion_count() {
        let repository = repository();
        let root = repository.path();
        let before = Tree::of(root, root).unwrap();
        let file = root.join("a b.nix");
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let executable = Tree::of(root, root).unwrap();
        assert_ne!(executable.content, before.content);
        fs::remove_file(&file).unwrap();
        let gone = Tree::of(root, root).unwrap();
        assert!(gone.content != before.content && gone.content != executable.content);
    }

    #[test]
    fn files_that_git_does_not_check_leave_no_fingerprint() {
        let repository = repository();
        let root = repository.path();
        for (flag, back) in [("--assume-unchanged", "--no-assume-unchanged"), ("--skip-worktree", "--no-skip-worktree")]
        {
            run(root, &["update-index", flag, "a b.nix"]);
            assert!(Tree::of(root, root).is_none(), "{flag}");
            run(root, &["update-index", back, "a b.nix"]);
            assert!(Tree::of(root, root).is_some(), "{back}");
        }
    }

    #[test]
    fn inputs_that_are_not_locked_leave_no_fingerprint() {
        let repository = repository();
        let root = repository.path();
        assert!(Tree::of(root, root).is_some());
        fs::write(root.join("flake.nix"), "{ inputs.x.url = \"github:a/b\"; outputs = _: { }; }").unwrap();
        assert!(Tree::of(root, root).is_none());
        let lock = |kind: &str| format!(r#"{{"nodes":{{"x":{{"locked":{{"type":"{kind}"}}}},"root":{{}}}}}}"#);
        fs::write(root.join("flake.lock"), lock("github")).unwrap();
        assert!(Tree::of(root, root).is_some());
        fs::write(root.join("flake.lock"), lock("path")).unwrap();
        assert!(Tree::of(root, root).is_none());
        fs::write(root.join("flake.lock"), "not json").unwrap();
        assert!(Tree::of(root, root).is_none());
        assert!(Tree::of(Path::new("/"), Path::new("/")).is_none());
    }

    #[test]
    fn nix_reads_what_git_tracks() {
        let repository = repository();
        let root = repository.path();
        let read = |name: &str| is_read(&root.join(name), Some(root), root);
        assert!(read("flake.nix") && read("a b.nix"));
        fs::write(root.join("notes"), "").unwrap();
        assert!(!read("notes") && !read("nowhere.nix") && !read(".git/config"));
        assert!(!is_read(Path::new("/etc/hostname"), Some(root), root));
        // A file that was deleted is still in the index.
        fs::remove_file(root.join("a b.nix")).unwrap();
        assert!(read("a b.nix"));
        assert!(is_read(&root.join("notes"), None, root));
    }

    #[test]
    fn a_repository_s_own_commands_are_not_run() {
        let repository = repository();
        let root = repository.path();
        let witness = root.join("witness");
        run(root, &["config", "core.fsmonitor", &format!("touch '{}' #", witness.display())]);
        let _tree = Tree::of(root, root).unwrap();
        assert!(is_read(&root.join("flake.nix"), Some(root), root));
        assert!(!witness.exists());
    }
}
