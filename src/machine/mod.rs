//! QEMU: how it is started, contained, controlled and ended.
//!
//! * [`spec`]: the runner's arguments and environment, as a pure function
//! * [`jail`]: where the runner lives, and why nothing of it survives us
//! * [`qmp`]: QEMU's commands and events
//! * [`console`]: the output of the guest and of programs, bounded
//! * [`screen`]: the picture, the pointer and the keyboard
//! * [`accel`]: which accelerator works here
//! * [`sound_card`]: the sound card, and the backend that captures what it plays
//! * [`delay`]: how long the machine waits for this host's processors
//! * `packet_dump`: what the guest's network cards send
//! * `runner_script`: the runner's text, which says what QEMU it starts
//! * [`rundir`]: where a run's files lie
//! * [`window`]: the display and the sound of a demo
//!
//! A [`Machine`] listens before it starts anything, so that nothing has to be polled for: QEMU's connection *is* the
//! event. From then on everything that happens comes by [`Machine::next_event`].

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use qapi::qmp as commands;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::event::Events;
use crate::failure::{self, Failure};
use crate::model::timeouts::machine::{
    CONSOLE_LINE_INTERVAL, DISK_INTERVAL, QEMU_QUIT_LIMIT, QEMU_START_LIMIT, QMP_CLOSED_GRACE, QMP_COMMAND_LIMIT,
    VSOCK_DAEMON_GRACE, VSOCK_DAEMON_START_LIMIT,
};
use crate::model::{NetworkPolicy, STORE_DIR, TransportKind, artifact, run_file};

pub mod accel;
pub mod console;
pub mod delay;
pub(crate) mod identity;
pub mod jail;
mod packet_dump;
pub mod process;
pub mod qmp;
pub mod rundir;
mod runner_script;
pub mod screen;
pub mod sound_card;
pub mod spec;
pub mod window;

pub use delay::RunDelay;
pub use jail::JailOptions;
pub use packet_dump::PacketDump;
pub use process::{find_program, signal_name};
pub use qmp::ShutdownCause;
pub use rundir::RunDir;
pub use screen::Screen;
pub use sound_card::AudioCapture;
pub use spec::{Spec, Traits};

use console::OutputBuffer;
use jail::{BindMount, LaunchRequest};
use process::{JailedProcess, ProgramExit};
use qmp::{Qmp, QmpError, QmpEvent};

/// The program that serves vsock over Unix sockets.
pub const VSOCK_DAEMON: &str = "vhost-device-vsock";

/// How many of the console's first and of its last bytes are kept each.
const CONSOLE_KEPT: usize = 4 << 20;
/// The least free space on the run directory's file system, in bytes.
const FREE_FLOOR: u64 = 256 << 20;
/// Most files in a run directory.
const FILES_LIMIT: u64 = 100_000;
/// How many of the last lines of a program that has ended are reported.
const TAIL: usize = 20;

/// What happens to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineEvent {
    /// The machine stopped for good: powered off, rebooted or was shut down by QEMU. QEMU stays for the evidence.
    Shutdown {
        /// Why.
        cause: ShutdownCause,
        /// Whether the guest asked for it.
        by_guest: bool,
    },
    /// The guest's kernel panicked. QEMU stays for the evidence.
    Panicked,
    /// The guest is paused.
    Paused,
    /// The guest runs again.
    Resumed,
    /// QEMU could not read or write a disk of the guest's.
    IoError {
        /// Whether the host's disk was full.
        no_space: bool,
    },
    /// QEMU, or the runner, has ended; nothing of it is left.
    Exited {
        /// Its exit code, if it exited.
        code: Option<i32>,
        /// The signal that killed it, if one did.
        signal: Option<i32>,
        /// The last of its stdout and stderr: plain text, at most 20 lines.
        stderr_tail: Vec<String>,
    },
    /// The vsock daemon has ended: the transport to the guest is gone.
    VsockDaemonDied {
        /// The last of its output: plain text, at most 20 lines.
        tail: Vec<String>,
    },
    /// The run directory grew too large, or the disk is nearly full; the machine is being ended.
    DiskLimit {
        /// Which limit, with figures.
        why: String,
    },
    /// QEMU closed QMP and yet does not end.
    LinkLost,
    /// The newest line on the console. Of lines that follow each other within 100 ms only the last one is reported.
    ConsoleLine(String),
}

/// What [`Machine::stop`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Whether QEMU ended by itself when asked to, or had ended before.
    pub orderly: bool,
    /// How it ended, where that is known.
    pub exit: Option<ProgramExit>,
}

/// A running machine. Everything it consists of dies with it.
#[derive(Debug)]
pub struct Machine {
    qmp: Arc<Qmp>,
    screen: Screen,
    qemu_version: String,
    command_line: Vec<String>,
    audio: AudioCapture,
    pid: Option<u32>,
    delay: delay::Recorder,
    packets: PacketDump,
    console: OutputBuffer,
    runner: JailedProcess,
    daemon: Option<JailedProcess>,
    run_dir: PathBuf,
    artifacts: Option<PathBuf>,
    events: mpsc::Receiver<MachineEvent>,
    lines: watch::Receiver<String>,
    next_line: Instant,
    // After the processes: ended last, and with us.
    _tasks: JoinSet<()>,
}

impl Machine {
    /// Starts a machine and waits until QMP answers. The guest boots from then on.
    ///
    /// `spec.traits` is read from the runner here. Logs go to `artifacts` when the machine is stopped.
    ///
    /// # Errors
    /// Exit 5 where this host, the runner or QEMU is at fault, with their output.
    pub async fn start(
        mut spec: Spec,
        jail: &JailOptions,
        events: &Events,
        artifacts: Option<&Path>,
    ) -> failure::Result<Self> {
        let (runner, script) = runner_script::locate(&spec.runner, &jail.store)?;
        spec.traits = runner_script::read_traits(&script, &jail.store)?;
        if spec.traits.own_memory_backend
            && let Some(memory) = spec.traits.memory_mib
        {
            spec.memory_mib = memory;
        }
        if spec.credential_bytes() > spec::CREDENTIALS_LIMIT {
            let (is, most) = (spec.credential_bytes(), spec::CREDENTIALS_LIMIT);
            return Err(Failure::host(format!(
                "the credentials for the guest take {is} bytes, at most {most} are safe"
            )));
        }
        check_space(&spec.run_dir)?;
        for directory in spec::directories(&spec) {
            std::fs::create_dir_all(&directory).map_err(|error| run_dir_failure(&spec.run_dir, error))?;
        }
        let audio = sound_card::connect(&mut spec, jail).await;
        let listen =
            |name: &str| UnixListener::bind(spec.run_file(name)).map_err(|error| run_dir_failure(&spec.run_dir, error));
        let qmp_listener = listen(run_file::QMP)?;
        let console_listener = listen(run_file::CONSOLE)?;

        events.doing("starting QEMU");
        let daemon = match spec.transport {
            TransportKind::VhostUser => Some(start_daemon(&spec, jail).await?),
            TransportKind::VirtioSerial | TransportKind::Vsock => None,
        };
        let request = runner_request(&spec, jail, &runner);
        let runner = JailedProcess::spawn(&jail.launcher, &request)
            .await
            .map_err(|error| Failure::host("could not start the jail").because(error))?;
        let stream = connected(&qmp_listener, &runner).await?;
        let pid = stream.peer_cred().ok().and_then(|peer| u32::try_from(peer.pid()?).ok());
        let (qmp, qmp_events) = match Qmp::negotiate(stream, QEMU_START_LIMIT).await {
            Ok(connection) => connection,
            Err(error) => return Err(unanswered(&runner, error).await),
        };
        let qemu_version = match qmp.execute(&commands::query_version {}, QMP_COMMAND_LIMIT).await {
            Ok(version) => format!("{}.{}.{}", version.qemu.major, version.qemu.minor, version.qemu.micro),
            Err(error) => return Err(Failure::host("QEMU does not report its version").because(error)),
        };
        let packets = PacketDump::start(&qmp, &spec.run_dir).await;

        let console = OutputBuffer::new(CONSOLE_KEPT, CONSOLE_KEPT);
        let (sender, events) = mpsc::channel(64);
        let mut tasks = JoinSet::new();
        tasks.spawn(drain_console(console_listener, console.clone()));
        tasks.spawn(forward_qmp(qmp_events, sender.clone()));
        tasks.spawn(forward_exit(runner.exit(), runner.output().clone(), sender.clone()));
        if let Some(daemon) = &daemon {
            tasks.spawn(forward_daemon(daemon.exit(), daemon.output().clone(), sender.clone()));
        }
        tasks.spawn(watch_disk(spec.run_dir.clone(), jail.disk_limit, sender));
        let delay = delay::Recorder::new();
        if let Some(pid) = pid {
            tasks.spawn(delay.clone().record(pid));
        }
        let qmp = Arc::new(qmp);
        tasks.spawn(packets.clone().watch(Arc::clone(&qmp)));
        Ok(Self {
            screen: Screen::new(Arc::clone(&qmp), spec.run_dir.clone()),
            qmp,
            qemu_version,
            command_line: pid.map(command_line).unwrap_or_default(),
            audio,
            pid,
            delay,
            packets,
            lines: console.last_line(),
            console,
            runner,
            daemon,
            run_dir: spec.run_dir,
            artifacts: artifacts.map(Path::to_owned),
            events,
            next_line: Instant::now(),
            _tasks: tasks,
        })
    }

    /// What happens next. Cancelling it loses nothing.
    pub async fn next_event(&mut self) -> MachineEvent {
        tokio::select! {
            biased;
            event = self.events.recv() => match event {
                Some(event) => event,
                // All tasks have ended: everything was reported.
                None => std::future::pending().await,
            },
            changed = async {
                tokio::time::sleep_until(self.next_line).await;
                self.lines.changed().await
            } => {
                if changed.is_err() {
                    return std::future::pending().await;
                }
                self.next_line = Instant::now() + CONSOLE_LINE_INTERVAL;
                MachineEvent::ConsoleLine(self.lines.borrow_and_update().clone())
            }
        }
    }

    /// QEMU's version, such as `10.0.2`.
    pub fn qemu_version(&self) -> &str {
        &self.qemu_version
    }

    /// The command line that QEMU was started with, as the kernel shows it; empty where it does not.
    pub fn command_line(&self) -> &[String] {
        &self.command_line
    }

    /// How much processor time QEMU has taken so far, or waited for; `None` where the system does not say. A guest that
    /// does nothing wants next to none, under emulation too.
    pub fn wanted_time(&self) -> Option<Duration> {
        let pid = self.pid?;
        let waited = process::run_delays(pid).unwrap_or_default();
        Some(process::cpu_time(pid)? + waited.values().sum::<Duration>())
    }

    /// How long QEMU waits for this host's processors; it is empty where the system does not say.
    pub fn delay(&self) -> &delay::Recorder {
        &self.delay
    }

    /// What the guest's network cards send.
    pub fn packets(&self) -> &PacketDump {
        &self.packets
    }

    /// What the runner's own arguments open to the guest beyond the store (see [`spec::openings`]).
    pub fn openings(&self) -> Vec<String> {
        spec::openings(&self.command_line, &self.run_dir)
    }

    /// Where QEMU writes what comes out of the sound card; there is no such file before the first sound.
    pub fn sound_file(&self) -> PathBuf {
        self.run_dir.join(run_file::SOUND)
    }

    /// What of its sound is captured.
    pub fn audio(&self) -> &AudioCapture {
        &self.audio
    }

    /// The serial console.
    pub fn console(&self) -> &OutputBuffer {
        &self.console
    }

    /// QEMU's run state: `running`, `paused`, `guest-panicked`, `shutdown`, …
    ///
    /// # Errors
    /// When QEMU does not answer.
    pub async fn status(&self) -> Result<String, QmpError> {
        use qapi::Enum as _;
        Ok(self.qmp.execute(&commands::query_status {}, QMP_COMMAND_LIMIT).await?.status.name().to_owned())
    }

    /// Guest memory in MiB, as QEMU says.
    ///
    /// # Errors
    /// When QEMU does not answer.
    pub async fn memory_mib(&self) -> Result<u64, QmpError> {
        let memory = self.qmp.execute(&commands::query_memory_size_summary {}, QMP_COMMAND_LIMIT).await?;
        Ok(memory.base_memory >> 20)
    }

    /// The screen, the pointer and the keyboard.
    pub fn screen(&self) -> &Screen {
        &self.screen
    }

    /// Writes the screen to a PNG file.
    ///
    /// # Errors
    /// When there is no screen, or QEMU does not write one.
    pub async fn screenshot(&self, to: &Path) -> anyhow::Result<()> {
        self.screen.save(to).await
    }

    /// Ends the machine: an orderly quit, then SIGKILL of all that is left; returns when it has gone, within about a
    /// second. Writes the logs.
    pub async fn stop(self) -> Stopped {
        let exit = self.runner.exit();
        let mut orderly = exit.borrow().is_some();
        if !orderly {
            let quit = async {
                // QEMU may be gone before its answer is.
                drop(self.qmp.execute(&commands::quit {}, QEMU_QUIT_LIMIT).await);
                process::wait(exit.clone()).await
            };
            orderly = tokio::time::timeout(QEMU_QUIT_LIMIT, quit).await.is_ok();
        }
        let exit = exit.borrow().clone();
        self.write_logs();
        let daemon = async {
            if let Some(daemon) = self.daemon {
                daemon.end().await;
            }
        };
        tokio::join!(self.runner.end(), daemon);
        Stopped { orderly, exit }
    }

    /// Writes `console.log` and `qemu.log` as they are now.
    fn write_logs(&self) {
        let Some(artifacts) = &self.artifacts else { return };
        // A full disk is reported elsewhere; the machine ends all the same.
        drop(self.console.write(&artifacts.join(artifact::CONSOLE)));
        drop(self.runner.output().write(&artifacts.join(artifact::QEMU_LOG)));
    }
}

fn run_dir_failure(run_dir: &Path, error: std::io::Error) -> Failure {
    Failure::host(format!("the run directory {} cannot be used", run_dir.display())).because(error)
}

fn check_space(run_dir: &Path) -> failure::Result<()> {
    let free = rundir::free_space(run_dir).map_err(|error| run_dir_failure(run_dir, error))?;
    if free >= FREE_FLOOR {
        return Ok(());
    }
    let show = |bytes| bytesize::ByteSize::b(bytes).display().iec();
    Err(Failure::host(format!("the disk is full: {} has {} free", run_dir.display(), show(free)))
        .why(format!("a guest's disk needs space; nixbox leaves {} free in any case", show(FREE_FLOOR)))
        .hint("free some space, or set XDG_STATE_HOME to a directory on another disk"))
}

fn store_mount(jail: &JailOptions) -> Option<BindMount> {
    let source = jail.store.canonicalize().ok()?;
    Some(BindMount { source, target: PathBuf::from(STORE_DIR) })
}

/// The bind mount of a path at its own place; `None` where the system's directories hold it, which are mounted already.
fn mount_of(path: &Path) -> Option<BindMount> {
    let source = path.canonicalize().ok()?;
    let known = ["/usr", "/bin", "/sbin", "/lib", "/lib64", STORE_DIR].iter().any(|dir| source.starts_with(dir));
    (!known).then(|| BindMount { source, target: path.to_owned() })
}

fn runner_request(spec: &Spec, jail: &JailOptions, runner: &Path) -> LaunchRequest {
    let mut devices: Vec<PathBuf> = spec.accel.device().into_iter().map(PathBuf::from).collect();
    if spec.transport == TransportKind::Vsock {
        devices.push(PathBuf::from("/dev/vhost-vsock"));
    }
    devices.extend(spec.nodes.iter().cloned());
    let memory = spec.memory_mib << 20;
    LaunchRequest {
        kind: jail.kind,
        program: Some(runner.to_owned()),
        arguments: spec::arguments(spec),
        environment: spec::environment(spec),
        run_dir: Some(spec.run_dir.clone()),
        mounts: store_mount(jail)
            .into_iter()
            .chain(mount_of(runner))
            .chain(jail.read_only.iter().filter_map(|path| mount_of(path)))
            .collect(),
        devices,
        host_network: spec.network == NetworkPolicy::User,
        // Memory that is shared is a file to the kernel.
        file_limit: jail.disk_limit.max(memory) + (64 << 20),
        shm_limit: memory + (64 << 20),
    }
}

/// Starts the vsock daemon and waits until it listens. Its vhost socket is never connected to: it takes one front end.
async fn start_daemon(spec: &Spec, jail: &JailOptions) -> failure::Result<JailedProcess> {
    let Some(program) = find_program(VSOCK_DAEMON) else {
        return Err(Failure::host(format!("{VSOCK_DAEMON} is not on PATH"))
            .hint("install it (nixpkgs: vhost-device-vsock), or use the virtio-serial transport"));
    };
    // A larger write than its buffer is dropped whole, without an error.
    let mut vm = OsString::from(format!("guest-cid={},tx-buffer-size=32768,socket=", spec.cid));
    vm.push(spec.run_file(run_file::VHOST));
    vm.push(",uds-path=");
    vm.push(spec.run_file(run_file::VSOCK));
    let request = LaunchRequest {
        kind: jail.kind,
        arguments: vec!["--vm".into(), vm],
        environment: vec![("PATH".into(), "/usr/bin:/bin".into()), ("RUST_BACKTRACE".into(), "0".into())],
        run_dir: Some(spec.run_dir.clone()),
        mounts: store_mount(jail).into_iter().chain(mount_of(&program)).collect(),
        program: Some(program),
        devices: Vec::new(),
        host_network: false,
        // It writes no files; the guest's memory, which it maps, is one.
        file_limit: (spec.memory_mib << 20) + (64 << 20),
        shm_limit: 1 << 20,
    };
    let failed = || Failure::host(format!("{VSOCK_DAEMON} did not start"));
    let daemon = JailedProcess::spawn(&jail.launcher, &request).await.map_err(|error| failed().because(error))?;
    let listens = tokio::time::timeout(VSOCK_DAEMON_START_LIMIT, process::appears(&spec.run_dir, run_file::VHOST));
    tokio::select! {
        exit = process::wait(daemon.exit()) => Err(failed().why(with_tail(exit, &daemon.output().tail(TAIL)))),
        listens = listens => match listens {
            Ok(Ok(())) => Ok(daemon),
            Ok(Err(error)) => Err(failed().because(error)),
            Err(_) => Err(failed().why(with_tail("it does not listen", &daemon.output().tail(TAIL)))),
        }
    }
}

/// QEMU's connection, or why there will be none.
async fn connected(listener: &UnixListener, runner: &JailedProcess) -> failure::Result<UnixStream> {
    tokio::select! {
        accepted = listener.accept() => match accepted {
            Ok((stream, _)) => Ok(stream),
            Err(error) => Err(Failure::host("could not accept QEMU's connection").because(error)),
        },
        exit = process::wait(runner.exit()) => Err(ended_early(&runner.output().tail(TAIL), &exit)),
        () = tokio::time::sleep(QEMU_START_LIMIT) => {
            let limit = humantime::format_duration(QEMU_START_LIMIT);
            Err(Failure::host(format!("QEMU did not come up within {limit}"))
                .why(with_tail("the runner is still running", &runner.output().tail(TAIL))))
        }
    }
}

/// Why there was no QMP: QEMU connects first and refuses its other arguments afterwards.
async fn unanswered(runner: &JailedProcess, error: QmpError) -> Failure {
    let exit = tokio::time::timeout(QEMU_QUIT_LIMIT, process::wait(runner.exit())).await;
    let tail = runner.output().tail(TAIL);
    match exit {
        Ok(exit) => ended_early(&tail, &exit),
        Err(_) => {
            let error = anyhow::Error::new(error);
            let why = with_tail(format_args!("{error:#}"), &tail);
            Failure::host("QEMU does not answer").because(error).why(why)
        }
    }
}

fn ended_early(tail: &[String], exit: &ProgramExit) -> Failure {
    let why = with_tail(exit, tail);
    match exit {
        ProgramExit::NotStarted(error) => Failure::host("could not jail the runner").because(error.clone()).why(why),
        ProgramExit::Exited { .. } => Failure::host("the runner ended before QEMU was up")
            .why(why)
            .hint("run it by hand to see whether it works without nixbox"),
    }
}

fn with_tail(what: impl std::fmt::Display, tail: &[String]) -> String {
    if tail.is_empty() { what.to_string() } else { format!("{what}, after printing\n{}", tail.join("\n")) }
}

async fn drain_console(listener: UnixListener, console: OutputBuffer) {
    // A QEMU that connects again is served again.
    while let Ok((stream, _)) = listener.accept().await {
        console.drain(stream).await;
    }
}

async fn forward_qmp(mut events: mpsc::Receiver<QmpEvent>, to: mpsc::Sender<MachineEvent>) {
    while let Some(event) = events.recv().await {
        let event = match event {
            QmpEvent::Shutdown { cause, by_guest } => MachineEvent::Shutdown { cause, by_guest },
            QmpEvent::Panicked => MachineEvent::Panicked,
            QmpEvent::Stop => MachineEvent::Paused,
            QmpEvent::Resume => MachineEvent::Resumed,
            QmpEvent::IoError { no_space } => MachineEvent::IoError { no_space },
            QmpEvent::Closed => {
                tokio::time::sleep(QMP_CLOSED_GRACE).await;
                MachineEvent::LinkLost
            }
        };
        if to.send(event).await.is_err() {
            return;
        }
    }
}

async fn forward_exit(
    exit: watch::Receiver<Option<ProgramExit>>,
    output: OutputBuffer,
    to: mpsc::Sender<MachineEvent>,
) {
    let (code, signal) = match process::wait(exit).await {
        ProgramExit::Exited { code, signal } => (code, signal),
        ProgramExit::NotStarted(_) => (None, None),
    };
    drop(to.send(MachineEvent::Exited { code, signal, stderr_tail: output.tail(TAIL) }).await);
}

async fn forward_daemon(
    exit: watch::Receiver<Option<ProgramExit>>,
    output: OutputBuffer,
    to: mpsc::Sender<MachineEvent>,
) {
    process::wait(exit).await;
    tokio::time::sleep(VSOCK_DAEMON_GRACE).await;
    drop(to.send(MachineEvent::VsockDaemonDied { tail: output.tail(TAIL) }).await);
}

/// Reports once when a limit is passed.
async fn watch_disk(run_dir: PathBuf, limit: u64, to: mpsc::Sender<MachineEvent>) {
    let mut ticks = tokio::time::interval(DISK_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let dir = run_dir.clone();
        let passed = tokio::task::spawn_blocking(move || over_limit(&dir, limit)).await;
        if let Ok(Some(why)) = passed {
            drop(to.send(MachineEvent::DiskLimit { why }).await);
            return;
        }
    }
}

/// Which limit of the disk is passed.
fn over_limit(run_dir: &Path, limit: u64) -> Option<String> {
    let show = |bytes| bytesize::ByteSize::b(bytes).display().iec();
    let (bytes, files) = rundir::usage(run_dir, FILES_LIMIT);
    if bytes > limit {
        return Some(format!("the machine's files take {}, more than {}", show(bytes), show(limit)));
    }
    if files >= FILES_LIMIT {
        return Some(format!("the machine made more than {FILES_LIMIT} files"));
    }
    let free = rundir::free_space(run_dir).ok()?;
    (free < FREE_FLOOR).then(|| format!("the host's disk is nearly full: {} left", show(free)))
}

/// A process's command line, bounded (proc_pid_cmdline(5)).
fn command_line(pid: u32) -> Vec<String> {
    let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { return Vec::new() };
    line.split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .take(1000)
        .map(|word| String::from_utf8_lossy(&word[..word.len().min(4096)]).into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_the_disk_are_reported_with_figures() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), vec![1; 3 << 20]).unwrap();
        assert_eq!(over_limit(dir.path(), 1 << 30), None);
        let why = over_limit(dir.path(), 2 << 20).unwrap();
        assert!(why.contains("more than 2.0 MiB"), "{why}");
    }

    #[test]
    fn exits_are_described() {
        let described = |code, signal| with_tail(ProgramExit::Exited { code, signal }, &[]);
        assert_eq!(described(Some(3), None), "it ended with exit code 3");
        assert_eq!(described(None, Some(9)), "it was killed by SIGKILL");
        assert_eq!(with_tail("a", &["b".to_owned()]), "a, after printing\nb");
    }

    #[tokio::test]
    async fn a_runner_that_does_not_exist_is_reported_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let spec = Spec::new("/nonexistent/run-x-vm", dir.path());
        let failure = Machine::start(spec, &JailOptions::default(), &Events::silent(), None).await.unwrap_err();
        assert_eq!(failure.exit, crate::model::Exit::Unknown);
    }
}
