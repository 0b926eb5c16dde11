//! A jailed program with a task that attends to it: tells how it ended, captures what it says, kills all at the end.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::console::Capture;
use super::jail::{Jailed, Order, Status};

/// What a program says is kept up to this many of its first and of its last bytes each.
const OUTPUT_KEPT: usize = 512 << 10;
/// How long what a dead program said last may take to arrive.
const DRAIN_LIMIT: Duration = Duration::from_millis(100);
/// How long a jail may take to be empty once its lifeline is gone.
const END_LIMIT: Duration = Duration::from_secs(2);

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It never began.
    Failed {
        /// What was being done.
        step: String,
        /// The system's answer.
        error: String,
    },
    /// It ran and ended; both are `None` when its supervisor was killed.
    Exited {
        /// Its exit code, if it exited.
        code: Option<i32>,
        /// The signal that killed it, if one did.
        signal: Option<i32>,
    },
}

/// A program in its jail. Dropping it kills all in the jail.
#[derive(Debug)]
pub(crate) struct Process {
    output: Capture,
    ended: watch::Receiver<Option<Ended>>,
    // Dropped or sent: end it.
    end: Option<oneshot::Sender<()>>,
    attendant: JoinHandle<()>,
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// When its supervisor cannot be started; all later trouble is told by [`Process::ended`].
    pub(crate) async fn spawn(launcher: &Path, order: &Order) -> io::Result<Self> {
        let mut jailed = Jailed::spawn(launcher, order).await?;
        let output = Capture::new(OUTPUT_KEPT, OUTPUT_KEPT);
        let stream = jailed.take_output();
        let drain = tokio::spawn({
            let output = output.clone();
            async move {
                if let Some(stream) = stream {
                    output.drain(stream).await;
                }
            }
        });
        let (tell, ended) = watch::channel(None);
        let (end, mut asked) = oneshot::channel::<()>();
        let attendant = tokio::spawn(async move {
            let fate = loop {
                tokio::select! {
                    status = jailed.status() => match status {
                        Some(Status::Started) => {}
                        Some(Status::Failed { step, error }) => break Some(Ended::Failed { step, error }),
                        Some(Status::Exited { code, signal }) => break Some(Ended::Exited { code, signal }),
                        None => break Some(Ended::Exited { code: None, signal: None }),
                    },
                    _ = &mut asked => break None,
                }
            };
            jailed.release();
            let mut drain = drain;
            drop(tokio::time::timeout(DRAIN_LIMIT, &mut drain).await);
            if let Some(fate) = fate {
                tell.send_replace(Some(fate));
            }
            jailed.end(END_LIMIT).await;
            drain.abort();
        });
        Ok(Self { output, ended, end: Some(end), attendant })
    }

    /// What it says on stdout and stderr.
    pub(crate) fn output(&self) -> &Capture {
        &self.output
    }

    /// How it ended, once it has; never when it was ended by us.
    pub(crate) fn ended(&self) -> watch::Receiver<Option<Ended>> {
        self.ended.clone()
    }

    /// Kills all in its jail and waits until it has gone.
    pub(crate) async fn end(mut self) {
        self.end.take();
        // It ends by itself within its limits; a panic of it is told by the runtime.
        drop((&mut self.attendant).await);
    }
}

/// Waits until a program has ended.
pub(crate) async fn wait(mut ended: watch::Receiver<Option<Ended>>) -> Ended {
    let gone = Ended::Exited { code: None, signal: None };
    let told = ended.wait_for(Option::is_some).await.ok().map(|fate| fate.clone());
    match told {
        Some(fate) => fate.unwrap_or(gone),
        // Ended by us: there is nothing to tell.
        None => std::future::pending().await,
    }
}

/// The first executable of this name on PATH, without symbolic links.
pub fn find_program(name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;

    std::env::split_paths(&std::env::var_os("PATH")?)
        .filter(|dir| dir.is_absolute())
        .filter_map(|dir| dir.join(name).canonicalize().ok())
        .find(|path| path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0))
}

/// Waits until a file is in a directory.
#[cfg(target_os = "linux")]
pub(crate) async fn appears(dir: &Path, name: &str) -> io::Result<()> {
    use std::os::fd::OwnedFd;

    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    inotify.add_watch(dir, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO)?;
    // SAFETY: the AsyncFd owns the descriptor and nothing takes it out or replaces it.
    let inotify = unsafe { AsyncFd::register_with_interest(OwnedFd::from(inotify), Interest::READABLE) }?;
    // What happened is of no interest, only that something did.
    let mut events = [0; 4096];
    // The watch is there, so whatever comes after this look is told.
    while !dir.join(name).exists() {
        let mut ready = inotify.readable().await?;
        while let Ok(1..) = nix::unistd::read(inotify.get_ref(), &mut events) {}
        ready.clear_ready();
    }
    Ok(())
}

/// Waits until a file is in a directory.
#[cfg(not(target_os = "linux"))]
pub(crate) async fn appears(_dir: &Path, _name: &str) -> io::Result<()> {
    Err(io::Error::other("only Linux has vhost-user"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_on_the_path() {
        assert!(find_program("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(find_program("no-such-program-of-nixbox"), None);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_file_that_comes_later_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let (seen, ()) = tokio::join!(appears(&path, "b"), async {
            std::fs::write(path.join("a"), "").unwrap();
            tokio::task::yield_now().await;
            std::fs::write(path.join("b"), "").unwrap();
        });
        seen.unwrap();
        appears(&path, "a").await.unwrap();
    }
}
