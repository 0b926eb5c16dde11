//! `nixbox clean`: removes what killed runs left on disk, and only that.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};
use crate::machine::rundir;

/// A directory that was removed, or should have been.
#[derive(Debug)]
struct Cleaned {
    /// The run directory.
    path: PathBuf,
    /// What it took, in bytes.
    bytes: u64,
    /// Whether it was removed.
    result: io::Result<()>,
}

/// The most entries of a directory that are counted.
const COUNTED: u64 = 100_000;

/// Removes the abandoned run directories of this user: those whose process has ended (see [`rundir`]). Returns the text
/// for the user. With `dry_run` nothing is removed.
///
/// # Errors
/// Exit 5, when something could not be removed.
pub fn clean(dry_run: bool) -> Result<String> {
    let cleaned: Vec<_> = rundir::bases().iter().flat_map(|base| clean_in(base, dry_run)).collect();
    let mut text = String::new();
    for one in cleaned.iter().filter(|one| one.result.is_ok()) {
        let done = if dry_run { "would remove" } else { "removed" };
        let size = bytesize::ByteSize::b(one.bytes).display().iec();
        text.push_str(&format!("{done} {} ({size})\n", one.path.display()));
    }
    if cleaned.is_empty() {
        text.push_str("nothing to remove\n");
    }
    match cleaned.iter().find_map(|one| Some((&one.path, one.result.as_ref().err()?))) {
        None => Ok(text),
        Some((path, error)) => {
            Err(Failure::host(format!("{} cannot be removed", path.display())).why(format!("{error}\n{text}")))
        }
    }
}

/// The same below one directory.
fn clean_in(base: &Path, dry_run: bool) -> Vec<Cleaned> {
    // A directory that others can write to is not touched: they may have put something there.
    if rundir::check_base(base).is_err() {
        return Vec::new();
    }
    let Ok(entries) = fs::read_dir(base) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .filter(|path| rundir::is_abandoned(path))
        .map(|path| {
            let (bytes, _) = rundir::usage(&path, COUNTED);
            let result = if dry_run { Ok(()) } else { rundir::remove_tree(&path) };
            Cleaned { path, bytes, result }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::rundir::RunDir;
    use crate::model::run_file;

    #[test]
    fn only_abandoned_directories_are_removed() {
        let guard = tempfile::Builder::new().prefix("nb").tempdir_in("/tmp").unwrap();
        let base = guard.path().join("run");
        let alive = RunDir::create_in(std::slice::from_ref(&base)).unwrap();
        let dead = base.join("dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(run_file::OWNER), "4194305 1\n").unwrap();
        let reused = base.join("reused");
        fs::create_dir(&reused).unwrap();
        fs::write(reused.join(run_file::OWNER), format!("{} 1\n", std::process::id())).unwrap();
        let young = base.join("young");
        fs::create_dir(&young).unwrap();
        fs::write(base.join("file"), "").unwrap();

        let mut cleaned: Vec<_> = clean_in(&base, false).into_iter().map(|it| it.path).collect();
        cleaned.sort();
        assert_eq!(cleaned, [dead, reused]);
        assert!(alive.path().exists() && young.exists() && base.join("file").exists());
    }
}
