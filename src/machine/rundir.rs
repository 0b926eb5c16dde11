//! The run directory: sockets, the disk, everything that a machine writes. One a run, mode 0700, removed at its end.
//!
//! Its path is short (a Unix socket's path holds 104 bytes on macOS, 108 on Linux) and has no commas, and it lies on a
//! disk rather than in memory, since a guest's disk is in it. A file in it says who owns it, and is locked by the
//! owner, so that [`crate::clean`] removes only what is not in use.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::process::start_time;
use crate::failure::{self, Failure};
use crate::model::run_file;
use crate::model::timeouts::machine::OWNER_GRACE;

/// Longest path of a run directory, in bytes: the longest socket name in it must still fit into 104.
const PATH_LIMIT: usize = 84;

/// A run directory; removed on drop.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    owner: Option<Flock<File>>,
}

impl RunDir {
    /// Creates one in the first place that will do.
    ///
    /// # Errors
    /// Exit 5, with what each place answered.
    pub fn create() -> failure::Result<Self> {
        Self::create_in(&bases())
    }

    /// Creates one in the first of these places that will do.
    ///
    /// # Errors
    /// Exit 5, with what each place answered.
    pub fn create_in(bases: &[PathBuf]) -> failure::Result<Self> {
        let mut answers = Vec::new();
        for base in bases {
            match Self::try_in(base) {
                Ok(dir) => return Ok(dir),
                Err(error) => answers.push(format!("{}: {error}", base.display())),
            }
        }
        Err(Failure::host("no run directory could be created")
            .why(answers.join("\n"))
            .hint("set XDG_STATE_HOME to a directory with a short path and some space"))
    }

    fn try_in(base: &Path) -> io::Result<Self> {
        if !fits(base) {
            return Err(io::Error::other("its path is too long or has unusual characters for sockets"));
        }
        make_base(base)?;
        let path = tempfile::Builder::new().prefix("").rand_bytes(6).tempdir_in(base)?.keep();
        let mut dir = Self { path, owner: None };
        fs::set_permissions(&dir.path, fs::Permissions::from_mode(0o700))?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.path.join(run_file::OWNER))?;
        let mut owner = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error)?;
        let pid = std::process::id();
        writeln!(owner, "{pid} {}", start_time(pid).unwrap_or(0))?;
        dir.owner = Some(owner);
        Ok(dir)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // An error is of no use to the caller; `nixbox clean` comes later.
        drop(remove_tree(&self.path));
    }
}

/// The places for run directories, the best one first. Also where [`crate::clean`] looks.
pub fn bases() -> Vec<PathBuf> {
    use etcetera::BaseStrategy as _;

    let mut bases = Vec::new();
    if let Ok(strategy) = etcetera::base_strategy::Xdg::new()
        && let Some(state) = strategy.state_dir()
        && state.is_absolute()
    {
        bases.push(state.join("nixbox/run"));
    }
    let name = format!("nixbox-{}", nix::unistd::geteuid());
    bases.push(Path::new("/var/tmp").join(&name));
    bases.push(Path::new("/tmp").join(&name));
    bases
}

/// Whether sockets below it have names that fit, and QEMU and the vsock daemon read them as one word.
fn fits(base: &Path) -> bool {
    let Some(text) = base.to_str() else { return false };
    text.len() + 7 <= PATH_LIMIT && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+@".contains(&byte))
}

/// Makes the directory that holds run directories; it must be ours alone.
fn make_base(base: &Path) -> io::Result<()> {
    if let Some(parent) = base.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(base) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    check_base(base)
}

/// In `/tmp` another user may have been first.
pub(crate) fn check_base(base: &Path) -> io::Result<()> {
    let data = fs::symlink_metadata(base)?;
    if !data.is_dir() || data.uid() != nix::unistd::geteuid().as_raw() || data.mode() & 0o022 != 0 {
        return Err(io::Error::other("it is not a directory of this user alone"));
    }
    Ok(())
}

/// Whether a run directory is no longer in use.
pub(crate) fn is_abandoned(dir: &Path) -> bool {
    let owner = dir.join(run_file::OWNER);
    let Ok(file) =
        OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK).open(&owner)
    else {
        // It is created an instant after the directory.
        let age = fs::symlink_metadata(dir).and_then(|data| data.modified()).map(|at| at.elapsed().unwrap_or_default());
        return age.is_ok_and(|age| age > OWNER_GRACE);
    };
    let words = fs::read_to_string(&owner).unwrap_or_default();
    // The lock is what counts; it goes with the process, however that ends.
    if Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err() {
        return false;
    }
    let mut words = words.split_whitespace();
    let pid = words.next().and_then(|pid| pid.parse().ok());
    let started = words.next().and_then(|time| time.parse::<u64>().ok());
    match (pid.and_then(start_time), started) {
        (Some(now), Some(then)) => now != then,
        _ => true,
    }
}

/// Removes a directory with all in it, also what a runner made unreadable. Never follows a symbolic link.
///
/// # Errors
/// When something cannot be removed.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => {}
    }
    // Directories copied from the store are read-only, and a hostile runner takes all rights away.
    let mut open = vec![path.to_owned()];
    while let Some(dir) = open.pop() {
        drop(fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)));
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        open.extend(
            entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|it| it.path()),
        );
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Opens a regular file of the run directory for reading. The runner may write there too: a symbolic link or a pipe in
/// the file's place would have nixbox read a file of the user's, or wait forever.
///
/// # Errors
/// When it does not exist or is no regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
}

/// What a directory takes on disk, in bytes, and how many entries it has; stops counting at `most_entries`.
pub(crate) fn usage(path: &Path, most_entries: u64) -> (u64, u64) {
    let (mut bytes, mut entries) = (0, 0);
    let mut open = vec![path.to_owned()];
    while let Some(dir) = open.pop() {
        let Ok(listing) = fs::read_dir(&dir) else { continue };
        for entry in listing.flatten() {
            entries += 1;
            if entries >= most_entries {
                return (bytes, entries);
            }
            let Ok(data) = entry.metadata() else { continue };
            bytes += data.blocks() * 512;
            if data.is_dir() {
                open.push(entry.path());
            }
        }
    }
    (bytes, entries)
}

/// Free space for this user on the file system of a path, in bytes.
pub(crate) fn free_space(path: &Path) -> io::Result<u64> {
    let data = nix::sys::statvfs::statvfs(path)?;
    Ok(data.blocks_available() as u64 * data.fragment_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::Builder::new().prefix("nb").tempdir_in("/tmp").unwrap();
        let base = dir.path().join("run");
        (dir, base)
    }

    #[test]
    fn it_is_private_and_removed_on_drop() {
        let (_guard, base) = base();
        let dir = RunDir::create_in(std::slice::from_ref(&base)).unwrap();
        let path = dir.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert!(!is_abandoned(&path), "its owner lives");
        fs::create_dir(path.join("x")).unwrap();
        fs::write(path.join("x/y"), "z").unwrap();
        fs::set_permissions(path.join("x"), fs::Permissions::from_mode(0o0)).unwrap();
        drop(dir);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_too_long_or_unusual_is_skipped() {
        let (_guard, base) = base();
        let long = base.join("a".repeat(90));
        let comma = base.join("a,b");
        let dir = RunDir::create_in(&[long.clone(), comma.clone(), base.clone()]).unwrap();
        assert!(dir.path().starts_with(&base));
        let failure = RunDir::create_in(&[long, comma]).unwrap_err();
        assert_eq!(failure.exit, crate::model::Exit::Unknown);
        assert_eq!(failure.why.unwrap().lines().count(), 2);
    }

    #[test]
    fn a_base_that_others_may_write_is_refused() {
        let (_guard, base) = base();
        fs::create_dir(&base).unwrap();
        fs::set_permissions(&base, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(RunDir::create_in(&[base]).is_err());
    }

    #[test]
    fn links_and_pipes_are_not_read() {
        let (_guard, base) = base();
        let dir = RunDir::create_in(&[base]).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.file("shot")).unwrap();
        nix::unistd::mkfifo(&dir.file("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(open_regular(&dir.file("shot")).is_err());
        assert!(open_regular(&dir.file("pipe")).is_err());
        assert!(open_regular(&dir.file(run_file::OWNER)).is_ok());
    }

    #[test]
    fn usage_counts_blocks_and_stops() {
        let (_guard, base) = base();
        let dir = RunDir::create_in(&[base]).unwrap();
        fs::write(dir.file("a"), vec![1; 100_000]).unwrap();
        let (bytes, entries) = usage(dir.path(), 100);
        assert!(bytes >= 100_000 && entries == 2, "{bytes} {entries}");
        assert_eq!(usage(dir.path(), 1).1, 1);
    }
}
