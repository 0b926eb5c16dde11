//! One boot at a time for a flake and a target, however many hooks ask.
//!
//! A file is locked by who boots, and says in it who that is and for what. Who asks for the same waits, and finds the
//! verdict where verdicts are remembered; who asks for something newer ends the older run and takes its place. The lock
//! goes with its process, however that ends, so a stale file stops nobody.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::cache::digest;
use crate::machine::process::start_time;

/// The right to boot; given back when dropped.
#[derive(Debug)]
pub(super) struct FlightLock {
    _lock: Flock<File>,
}

/// What came of asking for it.
#[derive(Debug)]
pub(super) enum Entered {
    /// It is ours. Somebody may have had it before: the verdict may be known by now.
    Ours(FlightLock),
    /// Somebody asked for something newer meanwhile.
    Superseded,
}

/// Who boots, or wants to, and what for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Asker {
    pid: u32,
    started: Option<u64>,
    key: String,
}

impl Asker {
    fn me(key: &str) -> Self {
        let pid = std::process::id();
        Self { pid, started: start_time(pid), key: key.to_owned() }
    }

    fn is_alive(&self) -> bool {
        match self.started {
            Some(started) => start_time(self.pid) == Some(started),
            None => self.pid().is_some_and(|pid| kill(pid, None).is_ok()),
        }
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.pid).ok().filter(|pid| *pid > 1).map(Pid::from_raw)
    }

    /// Asks it to end.
    fn end(&self) {
        if let Some(pid) = self.pid().filter(|_| self.is_alive()) {
            // Gone in this moment is as good.
            let _ = kill(pid, Signal::SIGTERM);
        }
    }
}

/// Asks for the right to boot `subject` (a flake and a target), for the run with this key. Waits for whoever has it.
///
/// # Errors
/// The file system's, or that of a host without file locks.
pub(super) async fn enter(directory: &Path, subject: &str, key: &str) -> io::Result<Entered> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let place = Place { path: directory.join(digest(subject.as_bytes())) };
    let me = Asker::me(key);
    // The last who writes here is the newest.
    place.want(&me)?;
    let lock = match place.try_lock()? {
        Some(lock) => lock,
        None => {
            if let Some(owner) = place.owner().filter(|owner| owner.key != me.key) {
                owner.end();
            }
            // flock(2) waits in a thread of its own, which a runtime that ends leaves behind.
            let waiting = place.clone();
            tokio::task::spawn_blocking(move || waiting.lock()).await.map_err(io::Error::other)??
        }
    };
    match place.wanted() {
        Some(newest) if newest != me && newest.key != me.key && newest.is_alive() => Ok(Entered::Superseded),
        _ => {
            place.own(&lock, &me)?;
            Ok(Entered::Ours(FlightLock { _lock: lock }))
        }
    }
}

/// The files of one subject.
#[derive(Debug, Clone)]
struct Place {
    path: PathBuf,
}

impl Place {
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

    /// Who has the lock, as far as it has said so.
    fn owner(&self) -> Option<Asker> {
        let mut text = Vec::new();
        self.open().ok()?.take(1 << 16).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn own(&self, lock: &Flock<File>, me: &Asker) -> io::Result<()> {
        let mut file: &File = lock;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(&serde_json::to_vec(me)?)
    }

    fn want(&self, me: &Asker) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(&serde_json::to_vec(me)?)?;
        file.persist(self.path.with_extension("want")).map_err(|error| error.error)?;
        Ok(())
    }

    fn wanted(&self) -> Option<Asker> {
        serde_json::from_slice(&fs::read(self.path.with_extension("want")).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ours(entered: Entered) -> FlightLock {
        match entered {
            Entered::Ours(flight) => flight,
            Entered::Superseded => panic!("superseded"),
        }
    }

    #[tokio::test]
    async fn the_second_waits_for_the_first_with_the_same_key() {
        let directory = tempfile::tempdir().unwrap();
        let first = ours(enter(directory.path(), "flake#x", "key").await.unwrap());
        let second = enter(directory.path(), "flake#x", "key");
        tokio::pin!(second);
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut second).await.is_err());
        // Another subject is another matter.
        let _other = ours(enter(directory.path(), "flake#y", "key").await.unwrap());
        drop(first);
        let _second = ours(second.await.unwrap());
    }

    #[tokio::test]
    async fn an_older_waiter_gives_way_to_a_newer_key() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place { path: directory.path().join(digest(b"s")) };
        let mut sleeper = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let first = ours(enter(directory.path(), "s", "one").await.unwrap());
        let waiting = tokio::spawn({
            let directory = directory.path().to_owned();
            async move { enter(&directory, "s", "one").await }
        });
        while place.wanted().is_none() {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        // Somebody else, who lives, asks for another one.
        let newer = Asker { pid: sleeper.id(), started: start_time(sleeper.id()), key: "two".to_owned() };
        place.want(&newer).unwrap();
        drop(first);
        assert!(matches!(waiting.await.unwrap().unwrap(), Entered::Superseded));
        // Its wish goes with it.
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(!newer.is_alive());
    }

    #[tokio::test]
    async fn an_owner_with_an_older_key_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place { path: directory.path().join(digest(b"s")) };
        let mut sleeper = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let lock = place.try_lock().unwrap().unwrap();
        let owner = Asker { pid: sleeper.id(), started: start_time(sleeper.id()), key: "old".to_owned() };
        place.own(&lock, &owner).unwrap();
        let entering = tokio::spawn({
            let directory = directory.path().to_owned();
            async move { enter(&directory, "s", "new").await }
        });
        // It ends by SIGTERM, and with it goes its lock.
        let status = tokio::task::spawn_blocking(move || sleeper.wait().unwrap()).await.unwrap();
        assert!(!status.success());
        drop(lock);
        let _flight = ours(entering.await.unwrap().unwrap());
    }

    #[tokio::test]
    async fn a_stale_file_stops_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place { path: directory.path().join(digest(b"s")) };
        fs::write(place.path.with_extension("lock"), r#"{"pid":1,"started":1,"key":"old"}"#).unwrap();
        fs::write(place.path.with_extension("want"), r#"{"pid":999999999,"started":1,"key":"older"}"#).unwrap();
        let _flight = ours(enter(directory.path(), "s", "new").await.unwrap());
        assert_eq!(place.owner(), Some(Asker::me("new")));
    }
}
