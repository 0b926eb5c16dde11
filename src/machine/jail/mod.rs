//! The jail: a runner is code from the flake under test, and it and all it starts must gain nothing on the host and
//! leave nothing behind.
//!
//! nixbox starts itself again under the name [`ENTRY`]. That process, the supervisor, which has one thread, reads a
//! [`LaunchRequest`] from its stdin, builds the jail and starts the program in it. Its stdin stays open as the *lifeline*:
//! nobody but nixbox holds the other end, so when nixbox ends in whatever way, SIGKILL included, the supervisor reads the
//! end of the file and kills all. What happens in the jail is reported on its stdout, one [`JailEvent`] a line; the
//! program's stdout and stderr both go to its stderr.
//!
//! ```text
//! nixbox ──stdin: request, then lifeline──► supervisor ──► PID 1 of the jail ──► runner ──► QEMU, helpers
//!        ◄─stdout: events────────────────┘ (host's pids)  (reaps)
//! ```
//!
//! * [`JailKind::Namespaces`]: user, mount, pid, net, ipc and uts namespaces. The kernel kills whatever is in the pid
//!   namespace when its PID 1 ends.
//! * [`JailKind::Landlock`]: where namespaces are refused. The file system is restricted by landlock(7), and the
//!   supervisor is the subreaper (prctl(2)) of everything that is started, so that it finds and kills what is left.
//!   Weaker: connecting to Unix sockets by path is open on older kernels, and so is UDP.
//! * [`JailKind::None`]: the supervisor alone.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::bail;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use crate::model::timeouts::machine::{JAIL_END_LIMIT, JAIL_PROBE_LIMIT};
use crate::model::{JailKind, STORE_DIR};

#[cfg(target_os = "linux")]
mod landlocked;
#[cfg(target_os = "linux")]
mod namespaces;
mod supervisor;

/// The hidden first argument that turns nixbox into the supervisor of a jail.
pub const ENTRY: &str = "__jail";

/// How programs are jailed.
#[derive(Debug, Clone)]
pub struct JailOptions {
    /// Which jail, as [`probe`] found or as the user wants it.
    pub kind: JailKind,
    /// The nixbox executable.
    pub launcher: PathBuf,
    /// Where the store's files are (a store may be relocated: `ROOT/nix/store`); they appear at `/nix/store`.
    pub store: PathBuf,
    /// Further files and directories that are mounted, read-only, at their own place.
    pub read_only: Vec<PathBuf>,
    /// Most bytes that a run directory may take, and the largest file in it.
    pub disk_limit: u64,
}

impl Default for JailOptions {
    fn default() -> Self {
        Self {
            kind: JailKind::Namespaces,
            launcher: launcher(),
            store: PathBuf::from(STORE_DIR),
            read_only: Vec::new(),
            disk_limit: 2 << 30,
        }
    }
}

/// This executable, even when its file was replaced meanwhile.
pub fn launcher() -> PathBuf {
    if cfg!(target_os = "linux") {
        // In the child, between fork and exec, it still names nixbox.
        PathBuf::from("/proc/self/exe")
    } else {
        std::env::current_exe().unwrap_or_else(|_| PathBuf::from("nixbox"))
    }
}

/// A part of the host that is mounted in the jail, read-only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindMount {
    /// On the host, without symbolic links.
    pub source: PathBuf,
    /// In the jail.
    pub target: PathBuf,
}

/// What is to run in a jail, and what it may see.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LaunchRequest {
    /// Which jail.
    pub kind: JailKind,
    /// The program by absolute path; without one the jail is only built, to see whether it can be.
    pub program: Option<PathBuf>,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Where it starts, and the only place where it may write. Without one: `/`, nothing.
    pub run_dir: Option<PathBuf>,
    /// What it sees besides the system's programs.
    pub mounts: Vec<BindMount>,
    /// Device nodes beyond the harmless ones: `/dev/kvm`.
    pub devices: Vec<PathBuf>,
    /// Whether it has the host's network; otherwise a loopback of its own.
    pub host_network: bool,
    /// The largest file it may write, in bytes (RLIMIT_FSIZE of getrlimit(2)).
    pub file_limit: u64,
    /// The size of `/dev/shm`, in bytes.
    pub shm_limit: u64,
}

impl LaunchRequest {
    /// A jail in which nothing runs.
    pub fn empty(kind: JailKind) -> Self {
        Self {
            kind,
            program: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            run_dir: None,
            mounts: Vec::new(),
            devices: Vec::new(),
            host_network: false,
            file_limit: 1 << 20,
            shm_limit: 1 << 20,
        }
    }
}

/// A step of building a jail, or of starting the program in it, that failed. It is reported from process to process, so
/// that the error is a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{step}: {error}")]
pub struct StepError {
    /// What was being done.
    pub step: String,
    /// The system's answer.
    pub error: String,
}

/// What the supervisor reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JailEvent {
    /// The jail could not be built or the program not be started.
    Failed(StepError),
    /// The program runs.
    Started,
    /// The program ended; whatever else was in the jail is being killed.
    Exited {
        /// Its exit code, if it exited.
        code: Option<i32>,
        /// The signal that killed it, if one did.
        signal: Option<i32>,
    },
}

/// Turns this process into the supervisor of a jail, or into a probe, if that is what it was started for. To be called
/// first thing in `main`, before there is any thread: a namespace is entered by single-threaded processes only.
pub fn maybe_enter() {
    let mut arguments = std::env::args_os().skip(1);
    let Some(first) = arguments.next() else { return };
    if first == ENTRY {
        std::process::exit(supervisor::main());
    }
    if first == super::accel::ENTRY {
        std::process::exit(super::accel::entry());
    }
}

/// A supervisor, with the program in its jail.
#[derive(Debug)]
pub struct Supervisor {
    child: Child,
    lifeline: Option<ChildStdin>,
    events: BufReader<ChildStdout>,
    output: Option<ChildStderr>,
}

/// Longest line that a supervisor writes, in bytes. It is ours, but a bound costs nothing.
const EVENT_LINE_LIMIT: u64 = 64 << 10;

impl Supervisor {
    /// Starts the supervisor and gives it the request. What becomes of the program comes by [`Supervisor::next_event`].
    ///
    /// # Errors
    /// When the supervisor itself cannot be started.
    pub async fn spawn(launcher: &Path, request: &LaunchRequest) -> io::Result<Self> {
        let mut child = Command::new(launcher)
            .arg(ENTRY)
            // Shown in a list of processes.
            .args(&request.run_dir)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C on the terminal is for nixbox, which then ends the machine in order.
            .process_group(0)
            .spawn()?;
        let missing = || io::Error::other("a pipe to the supervisor is missing");
        let mut lifeline = child.stdin.take().ok_or_else(missing)?;
        let events = child.stdout.take().ok_or_else(missing)?;
        let output = child.stderr.take().ok_or_else(missing)?;
        let request = serde_json::to_vec(request).map_err(io::Error::other)?;
        lifeline.write_all(&u32::try_from(request.len()).map_err(io::Error::other)?.to_be_bytes()).await?;
        lifeline.write_all(&request).await?;
        lifeline.flush().await?;
        Ok(Self { child, lifeline: Some(lifeline), events: BufReader::new(events), output: Some(output) })
    }

    /// The program's stdout and stderr, once.
    pub fn take_output(&mut self) -> Option<ChildStderr> {
        self.output.take()
    }

    /// The next event; `None` when the supervisor has ended. Cancelling it may lose a part of a line, so it belongs into a
    /// task of its own.
    pub async fn next_event(&mut self) -> Option<JailEvent> {
        loop {
            let mut line = Vec::new();
            let read = (&mut self.events).take(EVENT_LINE_LIMIT).read_until(b'\n', &mut line).await.ok()?;
            if read == 0 {
                return None;
            }
            if let Ok(event) = serde_json::from_slice(&line) {
                return Some(event);
            }
        }
    }

    /// Closes the lifeline: everything in the jail is killed.
    pub fn close_lifeline(&mut self) {
        self.lifeline = None;
    }

    /// Kills everything in the jail and waits until it has gone.
    pub async fn end(&mut self, limit: Duration) {
        self.close_lifeline();
        if tokio::time::timeout(limit, self.child.wait()).await.is_err() {
            // The supervisor hangs: the kernel then kills what is in its namespace, by PDEATHSIG of PID 1.
            drop(self.child.kill().await);
        }
    }
}

/// Waits until every process that nixbox has started is gone, but no longer than `limit`. Each supervisor ends only when
/// all that was in its jail has ended.
pub async fn children_end(limit: Duration) {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::wait::{Id, WaitPidFlag, waitid};

        let deadline = tokio::time::Instant::now() + limit;
        // Only asks: tokio reaps them, in its own time. Without children there is nothing to wait for (ECHILD).
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while waitid(Id::All, flags).is_ok() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(crate::model::timeouts::machine::CHILDREN_INTERVAL).await;
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _no_jails = limit;
}

/// What kind of jail this host allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JailProbe {
    /// The best one that works.
    pub kind: JailKind,
    /// Why not a better one.
    pub reason: Option<String>,
}

/// Builds an empty jail of each kind until one works.
pub async fn probe(launcher: &Path) -> JailProbe {
    let mut reasons = Vec::new();
    for kind in [JailKind::Namespaces, JailKind::Landlock] {
        match build_empty(launcher, kind).await {
            Ok(()) => return JailProbe { kind, reason: (!reasons.is_empty()).then(|| reasons.join("; ")) },
            Err(error) => reasons.push(format!("{}: {error:#}", kind.name())),
        }
    }
    JailProbe { kind: JailKind::None, reason: Some(reasons.join("; ")) }
}

async fn build_empty(launcher: &Path, kind: JailKind) -> anyhow::Result<()> {
    if cfg!(not(target_os = "linux")) {
        bail!("only Linux has it");
    }
    let mut supervisor = Supervisor::spawn(launcher, &LaunchRequest::empty(kind)).await?;
    let built = async {
        while let Some(event) = supervisor.next_event().await {
            match event {
                JailEvent::Failed(error) => return Err(error.into()),
                JailEvent::Started => {}
                JailEvent::Exited { code: Some(0), .. } => return Ok(()),
                JailEvent::Exited { code, signal } => bail!("ended with {code:?}, signal {signal:?}"),
            }
        }
        bail!("the supervisor ended without an answer")
    };
    let result = tokio::time::timeout(JAIL_PROBE_LIMIT, built).await;
    supervisor.end(JAIL_END_LIMIT).await;
    result.unwrap_or_else(|_| bail!("no answer from the supervisor"))
}
