//! Where the artifacts of a run are kept: one directory a run, bounded in size, the last few kept.
//!
//! A root (`--artifacts DIR`, else `.nixbox` beside the flake, else the state directory) holds one directory a run,
//! `2026-11-23T20-14-05-laptop-812`, and `latest`, a link to the last one that ended. While a run goes on it holds a
//! lock on a file in its directory; the kernel gives that up however the run ends, so a run that was killed is distinguished
//! from one that is going on, across containers too.
//!
//! The root may lie in a repository that others write to: links in it are never followed or written through,
//! and only directories that are ours, by name and by the lock file in them, are ever removed.
//!
//! Nothing here ends a run: what cannot be kept becomes a note. Only a DIR that the user named and that cannot be
//! used at all is refused.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tempfile::{NamedTempFile, TempDir};

use crate::failure::{Failure, Result};
use crate::model::timeouts::report::ABANDONED_AFTER;
use crate::model::{ARTIFACTS_DIR, ARTIFACTS_KEPT, ARTIFACTS_LIMIT, Report, artifact};

/// Marks a directory as ours; locked while its run goes on.
const LOCK: &str = ".nixbox-run";
/// The link to the last run that ended.
const LATEST: &str = "latest";
/// Directories that are being made, not yet under their own name.
const NEW: &str = ".new-";
/// Kept free for the report itself, in bytes; less where there is little room.
const REPORT_RESERVE: u64 = 2 << 20;
/// Most bytes of all machines of a run together: as much as of ten runs.
const MACHINES_LIMIT: u64 = 10 * ARTIFACTS_LIMIT;

/// The directory of one run, or of one of the machines of a run.
#[derive(Debug)]
pub struct Artifacts {
    directory: PathBuf,
    /// Most bytes that are left in it.
    limit: u64,
    /// `None` for a machine's, which lies in that of its run.
    run: Option<RunRoot>,
}

/// What a run's own directory has besides.
#[derive(Debug)]
struct RunRoot {
    /// Where it lies, beside those of other runs.
    root: PathBuf,
    /// Locked as long as this lives.
    _lock: File,
}

/// A directory for a run, when one could be made, and what the user should know about it.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// The directory; `None` when nothing can be kept anywhere.
    pub(crate) artifacts: Option<Artifacts>,
    /// What did not work, each in one line.
    pub(crate) notes: Vec<String>,
}

impl Artifacts {
    /// Makes the directory of a run of `target` (any text; only its harmless characters are used).
    ///
    /// `named` is the user's own choice, `flake` the local directory of the flake under test, if it is one, `state` the
    /// state directory ([`crate::paths::state_directory`]).
    ///
    /// # Errors
    /// Usage (exit 2), when the directory that the user named cannot be made or written to for another reason than a
    /// full disk.
    pub(crate) fn open(
        named: Option<&Path>,
        flake: Option<&Path>,
        state: Option<&Path>,
        target: &str,
        started: SystemTime,
    ) -> Result<Opened> {
        let mut opened = Opened::default();
        if let Some(named) = named {
            match Self::make(named, target, started) {
                Ok(made) => opened.artifacts = Some(made),
                Err(error) if is_full(&error) => opened.notes.push(format!("no artifacts are kept: {error}")),
                Err(error) => {
                    return Err(Failure::usage(format!("--artifacts {}: {error}", named.display()))
                        .hint("name a directory that can be written to, or leave --artifacts out"));
                }
            }
            return Ok(opened);
        }
        // A directory that is no git checkout is copied into the store whole when it is evaluated: evidence in it
        // would change the flake's hash with each run.
        let beside = flake.filter(|flake| in_git(flake)).map(|flake| flake.join(ARTIFACTS_DIR));
        let mut why = Vec::new();
        for root in beside.into_iter().chain(state.map(|state| state.join("runs"))) {
            match Self::make(&root, target, started) {
                Ok(made) => {
                    opened.artifacts = Some(made);
                    return Ok(opened);
                }
                Err(error) => why.push(format!("{}: {error}", root.display())),
            }
        }
        if why.is_empty() {
            why.push("there is no state directory".to_owned());
        }
        opened.notes.push(format!("no artifacts are kept: {}", why.join("; ")));
        Ok(opened)
    }

    fn make(root: &Path, target: &str, started: SystemTime) -> io::Result<Self> {
        make_root(root)?;
        // Made under another name, marked and locked, and only then named: it is never there unlocked.
        let new = new_directory(root)?;
        let lock = OpenOptions::new().read(true).write(true).create_new(true).open(new.path().join(LOCK))?;
        // Where the file system knows no locks, the run is never taken for one that has ended, so never removed.
        let _where_possible = lock.try_lock();
        let name = format!("{}-{}-{}", time_stamp(started), harmless(target), std::process::id());
        // The same number in another pid namespace, in the same second.
        for number in 1..100 {
            let directory = root.join(if number == 1 { name.clone() } else { format!("{name}-{number}") });
            // rename(2) may replace an empty directory, but none of ours is empty.
            match fs::rename(new.path(), &directory) {
                Ok(()) => {
                    // It has another name now; there is nothing left to remove under this one.
                    let _moved = new.keep();
                    let run = Some(RunRoot { root: root.to_owned(), _lock: lock });
                    return Ok(Self { directory, limit: ARTIFACTS_LIMIT, run });
                }
                // Taken, though another run may have removed it since.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                Err(_) if fs::symlink_metadata(&directory).is_ok() => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from(io::ErrorKind::AlreadyExists))
    }

    /// Makes a directory for one of the `of` machines of a run, in the run's own. Of the machine's `name` only the harmless
    /// characters are used. All machines together are bounded, too.
    ///
    /// # Errors
    /// The file system's. Worth a note, no more.
    pub(crate) fn of_machine(run: &Path, name: &str, of: usize) -> io::Result<Self> {
        // Several of a name: another attempt, or names whose harmless characters are alike.
        for number in 1..1000 {
            let name = harmless(name);
            let directory = run.join(if number == 1 { name } else { format!("{name}-{number}") });
            match fs::create_dir(&directory) {
                Ok(()) => {
                    let limit = (MACHINES_LIMIT / of.max(1) as u64).min(ARTIFACTS_LIMIT);
                    return Ok(Self { directory, limit, run: None });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from(io::ErrorKind::AlreadyExists))
    }

    /// The run's directory.
    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }

    /// Where the artifact with this name lies (see [`artifact`]).
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Keeps `content` under `name`. What does not fit into the whole is cut when the run ends, but no more than the
    /// whole is written now.
    ///
    /// # Errors
    /// The file system's: a full or read-only disk. Worth a note, no more.
    pub(crate) fn keep(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let path = self.file(name);
        if content.len() as u64 <= ARTIFACTS_LIMIT {
            return write_atomically(&self.directory, &path, content);
        }
        let half = usize::try_from(ARTIFACTS_LIMIT / 2).unwrap_or(usize::MAX);
        let mut cut = content[..half].to_vec();
        cut.extend_from_slice(mark(content.len() as u64 - ARTIFACTS_LIMIT).as_bytes());
        cut.extend_from_slice(&content[content.len() - half..]);
        write_atomically(&self.directory, &path, &cut)
    }

    /// Removes the run's directory: nothing in it is worth keeping.
    pub(crate) fn discard(self) {
        // An error changes nothing; the next runs remove it as an old one.
        drop(fs::remove_dir_all(&self.directory));
    }

    /// Ends the run's directory: cuts what is too much, writes the report, points `latest` here and removes old runs.
    /// Sets the report's `artifacts`, and adds notes on what did not work (also on disk, where the report could be
    /// written).
    pub(crate) fn finish(self, report: &mut Report, render: impl FnOnce(&Report) -> String) {
        report.artifacts = Some(self.directory.clone());
        if let Err(error) = bound(&self.directory, self.limit.saturating_sub(REPORT_RESERVE.min(self.limit / 2))) {
            report.notes.push(format!("artifacts could not be cut to {} MiB: {error}", self.limit >> 20));
        }
        if let Err(error) = self.close(artifact::REPORT, &render(report)) {
            report.notes.push(format!("{} was not written: {error}", artifact::REPORT));
        }
    }

    /// Ends the directory with the document that says what is in it, and points `latest` here and removes old runs
    /// where it is a run's.
    ///
    /// # Errors
    /// The file system's, when the document could not be written.
    pub(crate) fn close(self, name: &str, document: &str) -> io::Result<()> {
        write_atomically(&self.directory, &self.file(name), document.as_bytes())?;
        if let Some(run) = &self.run {
            // A convenience: where links cannot be made, or something else has the name, the run is found by its own.
            let _convenience = point_latest(&run.root, &self.directory);
            // This one is still locked, and so not counted.
            prune(&run.root, ARTIFACTS_KEPT - 1);
        }
        Ok(())
    }
}

/// Whether the directory is in a git checkout, where nix copies only what is tracked.
fn in_git(directory: &Path) -> bool {
    let Ok(directory) = directory.canonicalize() else { return false };
    // A worktree's or a submodule's `.git` is a file.
    directory.ancestors().any(|ancestor| ancestor.join(".git").exists())
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Makes the root, with a `.gitignore` of its own, so that it never dirties a tree.
fn make_root(root: &Path) -> io::Result<()> {
    if let Some(parent) = root.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::create_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    let there = fs::symlink_metadata(root)?;
    // A link committed to a repository would let it choose where we write. One that the user named is theirs.
    if there.file_type().is_symlink() && root.ends_with(ARTIFACTS_DIR) {
        return Err(io::Error::other("is a link; nixbox writes through none"));
    }
    // `create_new` follows no link. When it is there already, it stays as it is.
    let ignore = OpenOptions::new().write(true).create_new(true).open(root.join(".gitignore"));
    match ignore {
        Ok(mut file) => file.write_all(b"*\n"),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// `2026-11-23T20-14-05`, UTC: sorts by time, has no colon.
fn time_stamp(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.trim_end_matches('Z').replace(':', "-")
}

/// The end of a target's name that can be part of a file name: `.#laptop` is `laptop`.
fn harmless(target: &str) -> String {
    let name = target.rsplit(['#', '/']).find(|part| !part.is_empty()).unwrap_or_default();
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "._".contains(c) { c } else { '-' }).take(40).collect();
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() { "here".to_owned() } else { name.to_owned() }
}

/// Whether a name is of the form of [`Artifacts`]' directories: a time, a target, a number.
fn is_ours_by_name(name: &str) -> bool {
    const FORM: &[u8] = b"0000-00-00T00-00-00-";
    let bytes = name.as_bytes();
    let begins = bytes.len() > FORM.len()
        && FORM.iter().zip(bytes).all(|(form, byte)| if *form == b'0' { byte.is_ascii_digit() } else { form == byte });
    let ends = name.rsplit('-').next().is_some_and(|end| !end.is_empty() && end.bytes().all(|b| b.is_ascii_digit()));
    begins && ends
}

/// With the modes that the umask leaves, as any build's output: what runs as root in a container is read by others
/// outside, and a guest holds none of this host's secrets.
fn new_directory(root: &Path) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix(NEW).permissions(Permissions::from_mode(0o777)).tempdir_in(root)
}

fn new_file(directory: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(".part-").permissions(Permissions::from_mode(0o666)).tempfile_in(directory)
}

/// Written whole or not at all. A link of that name is replaced, not followed.
fn write_atomically(directory: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = new_file(directory)?;
    file.write_all(content)?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

fn point_latest(root: &Path, directory: &Path) -> io::Result<()> {
    let Some(name) = directory.file_name() else { return Ok(()) };
    // In a directory of its own, so that the name is free; renamed over the old link in one step.
    let new = new_directory(root)?;
    let link = new.path().join(LATEST);
    symlink(name, &link)?;
    let latest = root.join(LATEST);
    if fs::symlink_metadata(&latest).is_ok_and(|there| !there.file_type().is_symlink()) {
        return Err(io::Error::from(io::ErrorKind::AlreadyExists));
    }
    fs::rename(&link, &latest)
}

/// Removes runs beyond the newest `kept`. Runs that are going on are neither counted nor touched. Whatever fails is
/// left to the next run.
fn prune(root: &Path, kept: usize) {
    let Ok(entries) = fs::read_dir(root) else { return };
    let mut ended = Vec::new();
    for entry in entries.flatten() {
        // The entry's own kind: a link to a directory is no directory here.
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(NEW) && is_abandoned(&entry.path()) {
            let _next_time = fs::remove_dir_all(entry.path());
        } else if is_ours_by_name(&name)
            && let Some(lock) = lock_of_ended(&entry.path())
        {
            // The lock is held until it is gone, so that no other run removes the same.
            ended.push((name, entry.path(), lock));
        }
    }
    ended.sort_by(|one, other| other.0.cmp(&one.0));
    for (_, path, _lock) in ended.iter().skip(kept) {
        let _next_time = fs::remove_dir_all(path);
    }
}

/// The lock of a run's directory that is ours and whose run has ended.
fn lock_of_ended(directory: &Path) -> Option<File> {
    // Neither through a link nor waiting on a FIFO.
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let path = directory.join(LOCK);
    let lock = OpenOptions::new().read(true).custom_flags(flags).open(&path).ok()?;
    lock.try_lock().ok()?;
    // Somebody else may have removed that run meanwhile, and a new one have its name.
    let (locked, there) = (lock.metadata().ok()?, fs::symlink_metadata(&path).ok()?);
    ((locked.dev(), locked.ino()) == (there.dev(), there.ino())).then_some(lock)
}

/// A directory that was being made when its maker was killed.
fn is_abandoned(directory: &Path) -> bool {
    let age = |metadata: fs::Metadata| metadata.modified().ok()?.elapsed().ok();
    fs::symlink_metadata(directory).ok().and_then(age).is_some_and(|age| age > ABANDONED_AFTER)
}

/// Cuts the files in a directory, largest first, until they are at most `limit` bytes together. Text keeps its head and
/// its tail; a picture or a sound, of which a half is worth nothing, goes.
fn bound(directory: &Path, limit: u64) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = fs::symlink_metadata(entry.path())?;
        if metadata.is_file() {
            files.push((metadata.len(), entry.path()));
        }
    }
    let cap = fair_cap(files.iter().map(|(size, _)| *size).collect(), limit);
    for (size, path) in files.into_iter().filter(|(size, _)| *size > cap) {
        let whole =
            path.extension().is_some_and(|kind| kind == "png" || kind == "gif" || kind == "wav" || kind == "json");
        if whole { fs::remove_file(&path)? } else { cut_middle(directory, &path, size, cap)? }
    }
    Ok(())
}

/// The size that each file may have, so that together they have at most `limit`: small files stay whole.
fn fair_cap(mut sizes: Vec<u64>, limit: u64) -> u64 {
    sizes.sort_unstable();
    let mut left = limit;
    let count = sizes.len();
    for (place, size) in sizes.into_iter().enumerate() {
        let share = left / (count - place) as u64;
        if size > share {
            return share;
        }
        left -= size;
    }
    u64::MAX
}

fn mark(omitted: u64) -> String {
    format!("\n[nixbox: {omitted} bytes omitted]\n")
}

/// Leaves `cap` bytes of a file of `size` bytes: head, mark, tail.
fn cut_middle(directory: &Path, path: &Path, size: u64, cap: u64) -> io::Result<()> {
    // Room for the mark, whatever number it holds.
    let half = cap.saturating_sub(80) / 2;
    let mut source = File::open(path)?;
    let mut cut = new_file(directory)?;
    io::copy(&mut (&mut source).take(half), &mut cut)?;
    cut.write_all(mark(size.saturating_sub(2 * half)).as_bytes())?;
    source.seek(SeekFrom::Start(size.saturating_sub(half)))?;
    io::copy(&mut source.take(half), &mut cut)?;
    cut.persist(path).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests;
