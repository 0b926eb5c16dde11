//! git in a repository that is not trusted: no command of its own settings is run.

use std::path::Path;
use std::process::{Command, Stdio};

/// git, started so that it only reads.
pub(crate) fn command(root: &Path) -> Command {
    let mut command = Command::new("git");
    command.args(["--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]);
    command.arg("-C").arg(root).stdin(Stdio::null()).stderr(Stdio::null());
    // In a git hook these are about another index than the work tree's.
    command.env_remove("GIT_INDEX_FILE").env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
    command
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

/// Whether tracked files may differ from the last commit: a file that was only touched counts.
pub(crate) fn may_differ(root: &Path) -> bool {
    compared(root, &["diff-index", "--name-only", "-z", "HEAD", "--"]).is_none_or(|files| !files.is_empty())
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
}
