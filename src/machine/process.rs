//! A jailed program with a task that attends to it: reports how it ended, buffers its output, kills all at the end.
//! And what the kernel says of a process.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::console::OutputBuffer;
use super::jail::{JailEvent, LaunchRequest, StepError, Supervisor};
use crate::model::timeouts::machine::{JAIL_END_LIMIT, OUTPUT_DRAIN_LIMIT};

/// A program's output is kept up to this many of its first and of its last bytes each.
const OUTPUT_KEPT: usize = 512 << 10;

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramExit {
    /// It was never started.
    NotStarted(StepError),
    /// It ran and ended; both are `None` when its supervisor was killed.
    Exited {
        /// Its exit code, if it exited.
        code: Option<i32>,
        /// The signal that killed it, if one did.
        signal: Option<i32>,
    },
}

impl ProgramExit {
    /// Nothing is known but that it is gone.
    const GONE: Self = Self::Exited { code: None, signal: None };
}

impl fmt::Display for ProgramExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(error) => error.fmt(f),
            Self::Exited { code: Some(code), .. } => write!(f, "it ended with exit code {code}"),
            Self::Exited { signal: Some(signal), .. } => write!(f, "it was killed by {}", signal_name(*signal)),
            Self::Exited { .. } => f.write_str("it was killed"),
        }
    }
}

/// `SIGKILL` for 9.
pub fn signal_name(signal: i32) -> String {
    nix::sys::signal::Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |it| it.as_str().to_owned())
}

/// A program in its jail. Dropping it kills all in the jail.
#[derive(Debug)]
pub(crate) struct JailedProcess {
    output: OutputBuffer,
    exit: watch::Receiver<Option<ProgramExit>>,
    // Dropped: end it.
    end: Option<oneshot::Sender<()>>,
    attendant: JoinHandle<()>,
}

impl JailedProcess {
    /// Starts it.
    ///
    /// # Errors
    /// When its supervisor cannot be started; later errors come by [`JailedProcess::exit`].
    pub(crate) async fn spawn(launcher: &Path, request: &LaunchRequest) -> io::Result<Self> {
        let mut supervisor = Supervisor::spawn(launcher, request).await?;
        let output = OutputBuffer::new(OUTPUT_KEPT, OUTPUT_KEPT);
        let stream = supervisor.take_output();
        let drain = tokio::spawn({
            let output = output.clone();
            async move {
                if let Some(stream) = stream {
                    output.drain(stream).await;
                }
            }
        });
        let (sender, exit) = watch::channel(None);
        let (end, mut end_asked) = oneshot::channel::<()>();
        let attendant = tokio::spawn(async move {
            let ended = loop {
                tokio::select! {
                    event = supervisor.next_event() => match event {
                        Some(JailEvent::Started) => {}
                        Some(JailEvent::Failed(error)) => break Some(ProgramExit::NotStarted(error)),
                        Some(JailEvent::Exited { code, signal }) => break Some(ProgramExit::Exited { code, signal }),
                        None => break Some(ProgramExit::GONE),
                    },
                    _ = &mut end_asked => break None,
                }
            };
            supervisor.close_lifeline();
            let mut drain = drain;
            drop(tokio::time::timeout(OUTPUT_DRAIN_LIMIT, &mut drain).await);
            if ended.is_some() {
                sender.send_replace(ended);
            }
            supervisor.end(JAIL_END_LIMIT).await;
            drain.abort();
        });
        Ok(Self { output, exit, end: Some(end), attendant })
    }

    /// Its stdout and stderr.
    pub(crate) fn output(&self) -> &OutputBuffer {
        &self.output
    }

    /// How it ended, once it has; never when it was ended by us.
    pub(crate) fn exit(&self) -> watch::Receiver<Option<ProgramExit>> {
        self.exit.clone()
    }

    /// Kills all in its jail and waits until it has gone.
    pub(crate) async fn end(mut self) {
        self.end.take();
        // It ends by itself within its limits; the runtime reports a panic of it.
        drop((&mut self.attendant).await);
    }
}

/// Waits until a program has ended.
pub(crate) async fn wait(mut exit: watch::Receiver<Option<ProgramExit>>) -> ProgramExit {
    let exit = exit.wait_for(Option::is_some).await.ok().map(|exit| exit.clone());
    match exit {
        Some(exit) => exit.unwrap_or(ProgramExit::GONE),
        // Ended by us: there is nothing to report.
        None => std::future::pending().await,
    }
}

/// When a process started, in clock ticks since boot; with the pid it names one process for good.
/// `None` when there is no such process, or the system does not say.
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
/// `/proc/PID/task/TID/schedstat`, in the kernel's scheduler/sched-stats). `None` where the system does not say.
pub(crate) fn run_delays(pid: u32) -> Option<BTreeMap<u32, Duration>> {
    let delay = |thread: std::fs::DirEntry| {
        let schedstat = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let nanoseconds = schedstat.split_whitespace().nth(1)?.parse().ok()?;
        Some((thread.file_name().to_str()?.parse().ok()?, Duration::from_nanos(nanoseconds)))
    };
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let delays: BTreeMap<_, _> = threads.flatten().filter_map(delay).collect();
    (!delays.is_empty()).then_some(delays)
}

/// `/proc/PID/stat` (proc_pid_stat(5)), from field 3 on: the name, field 2, may hold anything.
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
    // Which events they are does not matter.
    let mut events = [0; 4096];
    // The watch exists, so that a file created after this check is reported.
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
