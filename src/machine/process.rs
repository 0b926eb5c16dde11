//! A jailed program with a task that attends to it: tells how it ended, captures what it says, kills all at the end.
//! And what the system tells of a process.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::console::Capture;
use super::jail::{Jailed, Order, Status};
use crate::model::timeouts::machine::{JAIL_END_LIMIT, OUTPUT_DRAIN_LIMIT};

/// What a program says is kept up to this many of its first and of its last bytes each.
const OUTPUT_KEPT: usize = 512 << 10;

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
            drop(tokio::time::timeout(OUTPUT_DRAIN_LIMIT, &mut drain).await);
            if let Some(fate) = fate {
                tell.send_replace(Some(fate));
            }
            jailed.end(JAIL_END_LIMIT).await;
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

/// When a process started, in clock ticks since boot; with the pid it names one process for good.
/// `None` when there is no such process, or the system does not tell.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    statistic(&statistics(pid)?, 22)
}

/// The pid of a process's parent.
#[cfg(target_os = "linux")]
pub(crate) fn parent(pid: u32) -> Option<u64> {
    statistic(&statistics(pid)?, 4)
}

/// How much processor time a process and its threads have taken.
pub(crate) fn cpu_time(pid: u32) -> Option<Duration> {
    let statistics = statistics(pid)?;
    let ticks = statistic(&statistics, 14)? + statistic(&statistics, 15)?;
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    Some(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// How long each of a process's threads has waited for a processor since it began, by its id (`run_delay` of
/// `/proc/PID/task/TID/schedstat`, in the kernel's scheduler/sched-stats). `None` where the system does not tell.
pub(crate) fn run_delays(pid: u32) -> Option<BTreeMap<u32, Duration>> {
    let delay = |thread: std::fs::DirEntry| {
        let told = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let nanoseconds = told.split_whitespace().nth(1)?.parse().ok()?;
        Some((thread.file_name().to_str()?.parse().ok()?, Duration::from_nanos(nanoseconds)))
    };
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let delays: BTreeMap<_, _> = threads.flatten().filter_map(delay).collect();
    (!delays.is_empty()).then_some(delays)
}

/// What Linux tells of a process (proc_pid_stat(5)), from field 3 on: the name, field 2, may hold anything.
fn statistics(pid: u32) -> Option<String> {
    Some(std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?.rsplit_once(')')?.1.to_owned())
}

/// A field of those, counted as proc_pid_stat(5) counts.
fn statistic(statistics: &str, field: usize) -> Option<u64> {
    statistics.split_whitespace().nth(field - 3)?.parse().ok()
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
    #[test]
    fn a_process_has_a_start_and_takes_time() {
        let pid = std::process::id();
        assert!(start_time(pid).is_some_and(|ticks| ticks > 0));
        let (then, begun) = (cpu_time(pid).unwrap(), std::time::Instant::now());
        while begun.elapsed() < Duration::from_secs(10) && cpu_time(pid).unwrap() == then {}
        assert!(cpu_time(pid).unwrap() > then);
        assert!(run_delays(pid).unwrap().contains_key(&pid));
        assert_eq!((start_time(u32::MAX), cpu_time(u32::MAX), run_delays(u32::MAX)), (None, None, None));
        assert_eq!(statistic(" S 1 2 3", 4), Some(1));
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
