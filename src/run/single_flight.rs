//! One boot at a time for a flake and a target, however many hooks ask.
//!
//! The process that boots holds a lock on a file, and writes into it which process it is and for what. A process with the
//! same key waits, and then finds the verdict in the result cache; one with a newer key ends the older run and takes its
//! place. The kernel releases the lock when its process ends, so a stale file blocks nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use serde::{Deserialize, Serialize};

use crate::cache::digest;
use crate::machine::identity::ProcessIdentity;
use crate::paths::replace_file;

/// The right to boot; released when dropped.
#[derive(Debug)]
pub(super) struct SingleFlightLock {
    _lock: Flock<File>,
}

/// The result of asking for the lock.
#[derive(Debug)]
pub(super) enum Acquisition {
    /// It is ours. Another process may have had it before, so the verdict may be known by now.
    Acquired(SingleFlightLock),
    /// A process with a newer key wants it.
    Superseded,
}

/// A process that boots or wants to, and its run's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    #[serde(flatten)]
    process: ProcessIdentity,
    key: String,
}

impl Claim {
    fn own(key: &str) -> Self {
        Self { process: ProcessIdentity::own(), key: key.to_owned() }
    }

    /// Asks its process to end.
    fn end(&self) {
        if let Some(pid) = self.process.pid().filter(|_| self.process.is_alive()) {
            // It may have ended by itself.
            let _ = kill(pid, Signal::SIGTERM);
        }
    }
}

/// Acquires the lock on `subject` (a flake and a target) for the run with this key. Waits for the process that holds it.
///
/// # Errors
/// The file system's, or that of a host without file locks.
pub(super) async fn acquire(directory: &Path, subject: &str, key: &str) -> io::Result<Acquisition> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let files = LockFiles { path: directory.join(digest(subject.as_bytes())) };
    let own = Claim::own(key);
    // The last that writes here is the newest.
    files.write_newest(&own)?;
    let lock = match files.try_lock()? {
        Some(lock) => lock,
        None => {
            if let Some(holder) = files.holder().filter(|holder| holder.key != own.key) {
                holder.end();
            }
            // flock(2) blocks a thread of its own, which does not delay the end of the runtime.
            let waiting = files.clone();
            tokio::task::spawn_blocking(move || waiting.lock()).await.map_err(io::Error::other)??
        }
    };
    match files.newest() {
        Some(newest) if newest.key != own.key && newest.process.is_alive() => Ok(Acquisition::Superseded),
        _ => {
            write_holder(&lock, &own)?;
            Ok(Acquisition::Acquired(SingleFlightLock { _lock: lock }))
        }
    }
}

/// The files of one subject: `.lock`, with the claim of the process that holds it, and `.want`, with the newest claim.
#[derive(Debug, Clone)]
struct LockFiles {
    path: PathBuf,
}

impl LockFiles {
    fn open(&self) -> io::Result<File> {
        let path = self.path.with_extension("lock");
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
    }

    fn try_lock(&self) -> io::Result<Option<Flock<File>>> {
        match Flock::lock(self.open()?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(error.into()),
        }
    }

    fn lock(&self) -> io::Result<Flock<File>> {
        Flock::lock(self.open()?, FlockArg::LockExclusive).map_err(|(_, error)| error.into())
    }

    /// The claim of the process that has the lock, once it has written it.
    fn holder(&self) -> Option<Claim> {
        let mut text = Vec::new();
        self.open().ok()?.take(1 << 16).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn write_newest(&self, claim: &Claim) -> io::Result<()> {
        replace_file(&self.path.with_extension("want"), &serde_json::to_vec(claim)?)
    }

    fn newest(&self) -> Option<Claim> {
        serde_json::from_slice(&fs::read(self.path.with_extension("want")).ok()?).ok()
    }
}

fn write_holder(lock: &Flock<File>, claim: &Claim) -> io::Result<()> {
    let mut file: &File = lock;
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&serde_json::to_vec(claim)?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn acquired(acquisition: Acquisition) -> SingleFlightLock {
        match acquisition {
            Acquisition::Acquired(lock) => lock,
            Acquisition::Superseded => panic!("superseded"),
        }
    }

    #[tokio::test]
    async fn the_second_waits_for_the_first_with_the_same_key() {
        let directory = tempfile::tempdir().unwrap();
        let first = acquired(acquire(directory.path(), "flake#x", "key").await.unwrap());
        let second = acquire(directory.path(), "flake#x", "key");
        tokio::pin!(second);
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut second).await.is_err());
        // Another subject is another matter.
        let _other = acquired(acquire(directory.path(), "flake#y", "key").await.unwrap());
        drop(first);
        let _second = acquired(second.await.unwrap());
    }

    #[tokio::test]
    async fn a_waiter_is_superseded_by_a_newer_key() {
        let directory = tempfile::tempdir().unwrap();
        let files = LockFiles { path: directory.path().join(digest(b"s")) };
        let mut sleeper = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let first = acquired(acquire(directory.path(), "s", "one").await.unwrap());
        let waiting = tokio::spawn({
            let directory = directory.path().to_owned();
            async move { acquire(&directory, "s", "one").await }
        });
        while files.newest().is_none() {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        // Another process, which is alive, claims it for another key.
        let newer = Claim { process: ProcessIdentity::of(sleeper.id()), key: "two".to_owned() };
        files.write_newest(&newer).unwrap();
        drop(first);
        assert!(matches!(waiting.await.unwrap().unwrap(), Acquisition::Superseded));
        // Its claim ends with it.
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(!newer.process.is_alive());
    }

    #[tokio::test]
    async fn a_holder_with_an_older_key_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        let files = LockFiles { path: directory.path().join(digest(b"s")) };
        let mut sleeper = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let lock = files.try_lock().unwrap().unwrap();
        let owner = Claim { process: ProcessIdentity::of(sleeper.id()), key: "old".to_owned() };
        write_holder(&lock, &owner).unwrap();
        let entering = tokio::spawn({
            let directory = directory.path().to_owned();
            async move { acquire(&directory, "s", "new").await }
        });
        // It ends by SIGTERM, and with it goes its lock.
        let status = tokio::task::spawn_blocking(move || sleeper.wait().unwrap()).await.unwrap();
        assert!(!status.success());
        drop(lock);
        let _flight = acquired(entering.await.unwrap().unwrap());
    }

    #[tokio::test]
    async fn a_stale_file_blocks_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let files = LockFiles { path: directory.path().join(digest(b"s")) };
        fs::write(files.path.with_extension("lock"), r#"{"pid":1,"started":1,"key":"old"}"#).unwrap();
        fs::write(files.path.with_extension("want"), r#"{"pid":999999999,"started":1,"key":"older"}"#).unwrap();
        let _flight = acquired(acquire(directory.path(), "s", "new").await.unwrap());
        assert_eq!(files.holder(), Some(Claim::own("new")));
    }
}
