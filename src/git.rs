//! git in a repository that is not trusted: no command of its own settings is run.

use std::path::Path;
use std::process::{Command, Stdio};

/// What git tells the programs that it starts (hooks, `git rebase --exec`) of its repository and index. Whoever asks about a
/// directory must not be answered about those.
pub(crate) const OF_A_CALLER: [&str; 6] =
    ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"];

/// git, started so that it only reads.
pub(crate) fn command(root: &Path) -> Command {
    let mut command = Command::new("git");
    command.args(["--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]);
    command.arg("-C").arg(root).stdin(Stdio::null()).stderr(Stdio::null());
    for name in OF_A_CALLER {
        command.env_remove(name);
    }
    command
}

/// Whether a file with this tag of `git ls-files -v` is one whose changes git does not look for (assume-unchanged,
/// skip-worktree). nix reads it all the same.
pub(crate) fn is_unchecked(tag: u8) -> bool {
    tag.is_ascii_lowercase() || tag == b'S'
}

/// git's stdout; `None` where it fails, or where there is no git.
pub(crate) fn output(root: &Path, arguments: &[&str]) -> Option<Vec<u8>> {
    let output = command(root).args(arguments).output().ok()?;
    output.status.success().then_some(output.stdout)
}

/// The settings by which no filter of the repository's is a program: git runs them to compare a file whose time does not
/// tell whether it has changed.
pub(crate) fn without_filters(root: &Path) -> Vec<String> {
    let named = output(root, &["config", "--name-only", "--get-regexp", r"^filter\..*\.(clean|process|required)$"]);
    // None is an exit code of 1.
    String::from_utf8_lossy(&named.unwrap_or_default()).lines().map(|name| format!("{name}=")).collect()
}

/// The stdout of a git that compares files of the work tree; `None` where it fails.
pub(crate) fn compared(root: &Path, arguments: &[&str]) -> Option<Vec<u8>> {
    let settings = without_filters(root);
    let words: Vec<&str> =
        settings.iter().flat_map(|setting| ["-c", setting]).chain(arguments.iter().copied()).collect();
    output(root, &words)
}

/// The commit that a revision names, as 40 or 64 hexadecimal digits; `None` where there is no such commit.
pub(crate) fn commit(root: &Path, revision: &str) -> Option<String> {
    // What begins with a dash would be an option.
    let named = format!("{revision}^{{commit}}");
    let answer = output(root, &["rev-parse", "--verify", "--quiet", "--end-of-options", &named])?;
    let text = String::from_utf8_lossy(&answer).trim().to_owned();
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(text)
}

/// Whether the history ends before its first commit, as in a clone with a depth.
pub(crate) fn is_shallow(root: &Path) -> bool {
    output(root, &["rev-parse", "--is-shallow-repository"]).is_some_and(|answer| answer.starts_with(b"true"))
}

/// Whether a commit names a parent that is not here, as the last one of a shallow clone does.
pub(crate) fn lacks_parent(root: &Path, of: &str) -> bool {
    let text = output(root, &["cat-file", "commit", of]).unwrap_or_default();
    // An empty line ends the header.
    let mut header = text.split(|byte| *byte == b'\n').take_while(|line| !line.is_empty());
    header.any(|line| line.starts_with(b"parent ")) && commit(root, &format!("{of}^")).is_none()
}

/// Whether tracked files may differ from the last commit: a file that was only touched counts.
pub(crate) fn may_differ(root: &Path) -> bool {
    compared(root, &["diff-index", "--name-only", "-z", "HEAD", "--"]).is_none_or(|files| !files.is_empty())
}

/// A file's mode in git and its content; `None` where it is gone, or is nothing that git tracks.
pub(crate) fn file_of_work_tree(path: &Path) -> Option<(&'static str, Vec<u8>)> {
    use std::os::unix::ffi::OsStringExt as _;
    use std::os::unix::fs::PermissionsExt as _;
    let data = path.symlink_metadata().ok()?;
    if data.is_symlink() {
        return Some(("120000", std::fs::read_link(path).ok()?.into_os_string().into_vec()));
    }
    let mode = if data.permissions().mode() & 0o100 != 0 { "100755" } else { "100644" };
    data.is_file().then(|| Some((mode, std::fs::read(path).ok()?))).flatten()
}

/// A repository of two commits with these files, and a clone of it that ends before its last commit.
#[cfg(test)]
pub(crate) fn shallow_clone(place: &Path, files: &[&str]) -> (std::path::PathBuf, std::path::PathBuf) {
    let (origin, clone) = (place.join("origin"), place.join("clone"));
    for file in files {
        let file = origin.join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "").unwrap();
    }
    run(&origin, &["init", "--quiet"]);
    run(&origin, &["add", "."]);
    run(&origin, &["commit", "--quiet", "-m", "one"]);
    run(&origin, &["commit", "--quiet", "--allow-empty", "-m", "two"]);
    run(place, &["clone", "--quiet", "--depth", "1", &format!("file://{}", origin.display()), "clone"]);
    (origin, clone)
}

/// git for tests, with an author: it has to succeed.
#[cfg(test)]
pub(crate) fn run(root: &Path, arguments: &[&str]) {
    let settings = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"];
    let output = Command::new("git").arg("-C").arg(root).args(settings).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_program_of_the_repository_is_run() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        let write = |name: &str, text: &str| std::fs::write(root.join(name), text).unwrap();
        run(root, &["init", "-q"]);
        write("a.nix", "1");
        write(".gitattributes", "*.nix filter=own\n");
        run(root, &["add", "."]);
        run(root, &["commit", "-q", "-m", "one"]);
        run(root, &["config", "filter.own.clean", "touch ran; cat"]);
        write("a.nix", "2");
        assert!(may_differ(root));
        assert!(compared(root, &["diff-files", "-z", "--no-renames"]).is_some_and(|changed| !changed.is_empty()));
        assert!(!root.join("ran").exists());
    }

    #[test]
    fn where_a_shallow_clone_ends() {
        let place = tempfile::tempdir().unwrap();
        let (origin, clone) = shallow_clone(place.path(), &["a.nix"]);
        let head = commit(&origin, "HEAD").unwrap();
        assert!(is_shallow(&clone) && lacks_parent(&clone, &head));
        assert!(!is_shallow(&origin) && !lacks_parent(&origin, &head));
        // The first commit has none at all.
        assert!(!lacks_parent(&origin, &commit(&origin, "HEAD~1").unwrap()));
        run(&clone, &["commit", "--quiet", "--allow-empty", "-m", "three"]);
        assert!(!lacks_parent(&clone, &commit(&clone, "HEAD").unwrap()));
        assert!(!is_shallow(place.path()));
    }
}
