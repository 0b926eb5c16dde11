//! QEMU: how it is started, contained, talked to and ended.
//!
//! * [`spec`]: what the runner is given, as a pure function
//! * [`jail`]: where the runner lives, and why nothing of it survives us
//! * [`qmp`]: what QEMU says and is told
//! * [`console`]: what the guest writes, bounded
//! * [`screen`]: what it shows, and input
//! * [`accel`]: which accelerator works here, by proof
//! * [`sound`]: its sound card, and what is heard of it
//! * [`delay`]: how long it waits for this host's processors
//! * [`rundir`]: where a run's files lie
//! * [`window`]: what a person sees and hears of it in a demo
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
use crate::model::{NetworkPolicy, TransportKind, artifact, run_file};

pub mod accel;
pub mod console;
pub mod delay;
pub(crate) mod identity;
pub mod jail;
pub mod process;
pub mod qmp;
pub mod rundir;
pub mod screen;
pub mod sound;
pub mod spec;
pub mod window;

pub use delay::RunDelay;
pub use jail::JailOptions;
pub use process::find_program;
pub use rundir::RunDir;
pub use screen::Screen;
pub use spec::{Spec, Traits};

use console::Capture;
use jail::{Order, Show};
use process::{Ended, Process};
use qmp::{COMMAND_LIMIT, Qmp, QmpError, QmpEvent};

/// The program that serves vsock over Unix sockets.
pub const VSOCK_DAEMON: &str = "vhost-device-vsock";

/// What the console keeps of its first and of its last bytes each.
const CONSOLE_KEPT: usize = 4 << 20;
/// How long a runner may take until QEMU says its first word: some build a disk image first.
const START_LIMIT: Duration = Duration::from_secs(300);
/// How long the vsock daemon may take until it listens.
const DAEMON_LIMIT: Duration = Duration::from_secs(10);
/// How long QEMU may take to end when it is told to.
const QUIT_LIMIT: Duration = Duration::from_millis(700);
/// How often the disk is looked at.
const DISK_INTERVAL: Duration = Duration::from_millis(500);
/// What is left free on the run directory's file system, in bytes.
const FREE_FLOOR: u64 = 256 << 20;
/// Most files in a run directory.
const FILES_LIMIT: u64 = 100_000;
/// Least time between two lines of the console that are told.
const LINE_INTERVAL: Duration = Duration::from_millis(100);
/// How many lines of a dead program's words are told.
const TAIL: usize = 20;

/// What happens to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineEvent {
    /// The machine stopped for good: powered off, rebooted or was told to. QEMU stays for the evidence.
    Shutdown {
        /// `guest-shutdown`, `guest-reset`, `guest-panic`, … (QEMU's `ShutdownCause`).
        reason: String,
        /// Whether the guest asked for it.
        by_guest: bool,
    },
    /// The guest's kernel panicked. QEMU stays for the evidence.
    Panicked,
    /// The guest is paused.
    Paused,
    /// The guest goes on.
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
        /// What it said last on stdout and stderr: plain text, at most 20 lines.
        stderr_tail: Vec<String>,
    },
    /// The vsock daemon has ended: the way into the guest is gone.
    VsockDaemonDied {
        /// What it said last: plain text, at most 20 lines.
        tail: Vec<String>,
    },
    /// The run directory grew too large, or the disk is nearly full; the machine is being ended.
    DiskLimit {
        /// Which limit, with figures.
        why: String,
    },
    /// QEMU closed QMP and yet does not end.
    LinkLost,
    /// The newest line on the console. Lines that follow each other within 100 ms are told by their last one.
    ConsoleLine(String),
}

/// What [`Machine::stop`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Whether QEMU ended by itself when told to, or had ended before.
    pub orderly: bool,
    /// How it ended, if it told.
    pub ended: Option<Ended>,
}

/// What of the machine's sound gets here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ears {
    /// Why nothing that it plays is heard here, if so.
    pub unheard: Option<String>,
    /// Why it has nothing to hear, if so.
    pub no_microphone: Option<String>,
}

/// A running machine. Everything it consists of dies with it.
#[derive(Debug)]
pub struct Machine {
    qmp: Arc<Qmp>,
    screen: Screen,
    qemu_version: String,
    command_line: Vec<String>,
    ears: Ears,
    pid: Option<u32>,
    delay: delay::Recorder,
    console: Capture,
    runner: Process,
    daemon: Option<Process>,
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
    /// Exit 5 where this host, the runner or QEMU is at fault, with what they said.
    pub async fn start(
        mut spec: Spec,
        jail: &JailOptions,
        events: &Events,
        artifacts: Option<&Path>,
    ) -> failure::Result<Self> {
        let (runner, script) = locate_runner(&spec.runner, &jail.store)?;
        spec.traits = read_traits(&script)?;
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
            std::fs::create_dir_all(&directory).map_err(|error| run_dir_failure(&spec.run_dir, &error))?;
        }
        let ears = ears(&mut spec, jail).await;
        let listen = |name: &str| {
            UnixListener::bind(spec.run_file(name)).map_err(|error| run_dir_failure(&spec.run_dir, &error))
        };
        let qmp_listener = listen(run_file::QMP)?;
        let console_listener = listen(run_file::CONSOLE)?;

        events.doing("starting QEMU");
        let daemon = match spec.transport {
            TransportKind::VhostUser => Some(start_daemon(&spec, jail).await?),
            TransportKind::VirtioSerial | TransportKind::Vsock => None,
        };
        let order = runner_order(&spec, jail, &runner);
        let runner = Process::spawn(&jail.launcher, &order)
            .await
            .map_err(|error| Failure::host("could not start the jail").why(error))?;
        let stream = connected(&qmp_listener, &runner).await?;
        let pid = stream.peer_cred().ok().and_then(|peer| u32::try_from(peer.pid()?).ok());
        let (qmp, qmp_events) = match Qmp::negotiate(stream, START_LIMIT).await {
            Ok(link) => link,
            Err(error) => return Err(unanswered(&runner, &error).await),
        };
        let qemu_version = match qmp.execute(&commands::query_version {}, COMMAND_LIMIT).await {
            Ok(version) => format!("{}.{}.{}", version.qemu.major, version.qemu.minor, version.qemu.micro),
            Err(error) => return Err(Failure::host("QEMU does not tell its version").why(error)),
        };

        let console = Capture::new(CONSOLE_KEPT, CONSOLE_KEPT);
        let (sender, events) = mpsc::channel(64);
        let mut tasks = JoinSet::new();
        tasks.spawn(drain_console(console_listener, console.clone()));
        tasks.spawn(forward_qmp(qmp_events, sender.clone()));
        tasks.spawn(forward_exit(runner.ended(), runner.output().clone(), sender.clone()));
        if let Some(daemon) = &daemon {
            tasks.spawn(forward_daemon(daemon.ended(), daemon.output().clone(), sender.clone()));
        }
        tasks.spawn(watch_disk(spec.run_dir.clone(), jail.disk_limit, sender));
        let delay = delay::Recorder::new();
        if let Some(pid) = pid {
            tasks.spawn(delay.clone().record(pid));
        }
        let qmp = Arc::new(qmp);
        Ok(Self {
            screen: Screen::new(Arc::clone(&qmp), spec.run_dir.clone()),
            qmp,
            qemu_version,
            command_line: pid.map(command_line).unwrap_or_default(),
            ears,
            pid,
            delay,
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
                // All tasks have ended: everything was told.
                None => std::future::pending().await,
            },
            changed = async {
                tokio::time::sleep_until(self.next_line).await;
                self.lines.changed().await
            } => {
                if changed.is_err() {
                    return std::future::pending().await;
                }
                self.next_line = Instant::now() + LINE_INTERVAL;
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

    /// How much processor time QEMU has taken so far, or waited for; `None` where the system does not tell. A guest that
    /// does nothing wants next to none, under emulation too.
    pub fn wanted_time(&self) -> Option<Duration> {
        let pid = self.pid?;
        let waited = process::run_delays(pid).unwrap_or_default();
        Some(process::cpu_time(pid)? + waited.values().sum::<Duration>())
    }

    /// How long QEMU waits for this host's processors; it says nothing where the system does not tell.
    pub fn delay(&self) -> &delay::Recorder {
        &self.delay
    }

    /// What the runner's own arguments open to the guest beyond the store (see [`spec::openings`]).
    pub fn openings(&self) -> Vec<String> {
        spec::openings(&self.command_line, &self.run_dir)
    }

    /// Where QEMU writes what comes out of the sound card; there is no such file before the first sound.
    pub fn sound_file(&self) -> PathBuf {
        self.run_dir.join(run_file::SOUND)
    }

    /// What of its sound gets here.
    pub fn ears(&self) -> &Ears {
        &self.ears
    }

    /// The serial console.
    pub fn console(&self) -> &Capture {
        &self.console
    }

    /// QEMU's run state: `running`, `paused`, `guest-panicked`, `shutdown`, …
    ///
    /// # Errors
    /// When QEMU does not answer.
    pub async fn status(&self) -> Result<String, QmpError> {
        use qapi::Enum as _;
        Ok(self.qmp.execute(&commands::query_status {}, COMMAND_LIMIT).await?.status.name().to_owned())
    }

    /// Guest memory in MiB, as QEMU says.
    ///
    /// # Errors
    /// When QEMU does not answer.
    pub async fn memory_mib(&self) -> Result<u64, QmpError> {
        let memory = self.qmp.execute(&commands::query_memory_size_summary {}, COMMAND_LIMIT).await?;
        Ok(memory.base_memory >> 20)
    }

    /// The screen, and the hands before it.
    pub fn screen(&self) -> &Screen {
        &self.screen
    }

    /// Writes the screen to a PNG file.
    ///
    /// # Errors
    /// When there is no screen, or QEMU does not write one.
    pub async fn screenshot(&self, to: &Path) -> Result<(), QmpError> {
        self.screen.save(to).await
    }

    /// Ends the machine: an orderly quit, then SIGKILL of all that is left; returns when it has gone, within about a
    /// second. Writes the logs.
    pub async fn stop(self) -> Stopped {
        let ended = self.runner.ended();
        let before = ended.borrow().clone();
        let mut orderly = before.is_some();
        if !orderly {
            let quit = async {
                // QEMU may be gone before its answer is.
                drop(self.qmp.execute(&commands::quit {}, QUIT_LIMIT).await);
                process::wait(ended.clone()).await
            };
            orderly = tokio::time::timeout(QUIT_LIMIT, quit).await.is_ok();
        }
        let ended = ended.borrow().clone();
        self.write_logs();
        let daemon = async {
            if let Some(daemon) = self.daemon {
                daemon.end().await;
            }
        };
        tokio::join!(self.runner.end(), daemon);
        Stopped { orderly, ended }
    }

    /// Writes `console.log` and `qemu.log` as they are now.
    fn write_logs(&self) {
        let Some(artifacts) = &self.artifacts else { return };
        // A full disk is told elsewhere; the machine ends all the same.
        drop(self.console.write(&artifacts.join(artifact::CONSOLE)));
        drop(self.runner.output().write(&artifacts.join(artifact::QEMU_LOG)));
    }
}

/// Where stores are for those who use them.
const STORE: &str = "/nix/store";

/// The script behind links: its name in the jail, and where it is on the host.
///
/// In a relocated store links name `/nix/store`, which is elsewhere on the host, so they are followed one by one.
fn locate_runner(runner: &Path, store: &Path) -> failure::Result<(PathBuf, PathBuf)> {
    let missing =
        |error: std::io::Error| Failure::host(format!("the runner {} is not there", runner.display())).why(error);
    let store = if store == Path::new(STORE) { store.to_owned() } else { store.canonicalize().map_err(missing)? };
    let on_host = |path: &Path| match path.strip_prefix(STORE) {
        Ok(rest) => store.join(rest),
        Err(_) => path.to_owned(),
    };
    let mut todo: Vec<OsString> = std::path::absolute(runner)
        .map_err(missing)?
        .components()
        .rev()
        .map(|component| component.as_os_str().to_owned())
        .collect();
    let mut at = PathBuf::new();
    let mut links = 0;
    while let Some(component) = todo.pop() {
        if component == ".." {
            at.pop();
            continue;
        }
        at.push(&component);
        let there = on_host(&at);
        if !at.starts_with(STORE) && Path::new(STORE).starts_with(&at) {
            // On the way into the store: it need not be there on the host.
            continue;
        }
        if !std::fs::symlink_metadata(&there).map_err(missing)?.is_symlink() || at == Path::new(STORE) {
            continue;
        }
        links += 1;
        if links > 40 {
            return Err(missing(std::io::Error::other("too many levels of symbolic links")));
        }
        at.pop();
        let target = std::fs::read_link(&there).map_err(missing)?;
        todo.extend(target.components().rev().map(|component| component.as_os_str().to_owned()));
    }
    let script = on_host(&at);
    Ok((at, script))
}

/// Most of a runner's script that is read, in bytes.
const SCRIPT_LIMIT: u64 = 1 << 20;

fn read_traits(runner: &Path) -> failure::Result<Traits> {
    use std::io::Read as _;

    let mut text = Vec::new();
    std::fs::File::open(runner)
        .and_then(|file| file.take(SCRIPT_LIMIT).read_to_end(&mut text))
        .map_err(|error| Failure::host(format!("the runner {} cannot be read", runner.display())).why(error))?;
    Ok(Traits::scan(&String::from_utf8_lossy(&text)))
}

fn run_dir_failure(run_dir: &Path, error: &std::io::Error) -> Failure {
    Failure::host(format!("the run directory {} cannot be used", run_dir.display())).why(error)
}

fn check_space(run_dir: &Path) -> failure::Result<()> {
    let free = rundir::free_space(run_dir).map_err(|error| run_dir_failure(run_dir, &error))?;
    if free >= FREE_FLOOR {
        return Ok(());
    }
    let show = |bytes| bytesize::ByteSize::b(bytes).display().iec();
    Err(Failure::host(format!("the disk is full: {} has {} free", run_dir.display(), show(free)))
        .why(format!("a guest's disk needs space; nixbox leaves {} free in any case", show(FREE_FLOOR)))
        .hint("free some space, or set XDG_STATE_HOME to a directory on another disk"))
}

fn store(jail: &JailOptions) -> Option<Show> {
    let source = jail.store.canonicalize().ok()?;
    Some(Show { source, target: PathBuf::from(STORE) })
}

/// What is shown at its own place. What the system's directories hold is there already.
fn shown(path: &Path) -> Option<Show> {
    let source = path.canonicalize().ok()?;
    let known = ["/usr", "/bin", "/sbin", "/lib", "/lib64", STORE].iter().any(|dir| source.starts_with(dir));
    (!known).then(|| Show { source, target: path.to_owned() })
}

/// Decides what of the machine's sound gets here, and takes the microphone away where it is not proven to work.
async fn ears(spec: &mut Spec, jail: &JailOptions) -> Ears {
    let deaf = |why: String| Ears { unheard: Some(why.clone()), no_microphone: Some(why) };
    if !spec.sound {
        return deaf("what it plays is not led here".to_owned());
    }
    if let sound::Hearing::Unheard(why) = sound::hearing(&spec.traits.cards) {
        return deaf(why);
    }
    if !spec.microphone {
        return Ears { unheard: None, no_microphone: Some("it is not asked for".to_owned()) };
    }
    let proven = sound::prove(spec, jail).await;
    spec.microphone = proven.is_ok();
    Ears { unheard: None, no_microphone: proven.err() }
}

/// What the runner gets.
fn runner_order(spec: &Spec, jail: &JailOptions, runner: &Path) -> Order {
    let mut devices: Vec<PathBuf> = spec.accel.device().into_iter().map(PathBuf::from).collect();
    if spec.transport == TransportKind::Vsock {
        devices.push(PathBuf::from("/dev/vhost-vsock"));
    }
    devices.extend(spec.nodes.iter().cloned());
    let memory = spec.memory_mib << 20;
    Order {
        kind: jail.kind,
        program: Some(runner.to_owned()),
        arguments: spec::arguments(spec),
        environment: spec::environment(spec),
        run_dir: Some(spec.run_dir.clone()),
        show: store(jail)
            .into_iter()
            .chain(shown(runner))
            .chain(jail.read_only.iter().filter_map(|path| shown(path)))
            .collect(),
        devices,
        host_network: spec.network == NetworkPolicy::User,
        // Memory that is shared is a file to the kernel.
        file_limit: jail.disk_limit.max(memory) + (64 << 20),
        shm_limit: memory + (64 << 20),
    }
}

/// Starts the vsock daemon and waits until it listens. Its vhost socket is never connected to: it takes one front end.
async fn start_daemon(spec: &Spec, jail: &JailOptions) -> failure::Result<Process> {
    let Some(program) = find_program(VSOCK_DAEMON) else {
        return Err(Failure::host(format!("{VSOCK_DAEMON} is not on PATH"))
            .hint("install it (nixpkgs: vhost-device-vsock), or use the virtio-serial transport"));
    };
    // A larger write than its buffer is dropped whole, and without telling.
    let mut vm = OsString::from(format!("guest-cid={},tx-buffer-size=32768,socket=", spec.cid));
    vm.push(spec.run_file(run_file::VHOST));
    vm.push(",uds-path=");
    vm.push(spec.run_file(run_file::VSOCK));
    let order = Order {
        kind: jail.kind,
        arguments: vec!["--vm".into(), vm],
        environment: vec![("PATH".into(), "/usr/bin:/bin".into()), ("RUST_BACKTRACE".into(), "0".into())],
        run_dir: Some(spec.run_dir.clone()),
        show: store(jail).into_iter().chain(shown(&program)).collect(),
        program: Some(program),
        devices: Vec::new(),
        host_network: false,
        // It writes no files; the guest's memory, which it maps, is one.
        file_limit: (spec.memory_mib << 20) + (64 << 20),
        shm_limit: 1 << 20,
    };
    let failed = |why: String| Failure::host(format!("{VSOCK_DAEMON} did not start")).why(why);
    let daemon = Process::spawn(&jail.launcher, &order).await.map_err(|error| failed(error.to_string()))?;
    tokio::select! {
        fate = process::wait(daemon.ended()) => {
            Err(failed(with_tail(&tell(&fate), &daemon.output().tail(TAIL))))
        }
        there = tokio::time::timeout(DAEMON_LIMIT, process::appears(&spec.run_dir, run_file::VHOST)) => match there {
            Ok(Ok(())) => Ok(daemon),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(with_tail("it does not listen", &daemon.output().tail(TAIL)))),
        }
    }
}

/// QEMU's connection, or why there will be none.
async fn connected(listener: &UnixListener, runner: &Process) -> failure::Result<UnixStream> {
    tokio::select! {
        accepted = listener.accept() => {
            accepted.map(|(stream, _)| stream).map_err(|error| Failure::host("could not accept QEMU's connection").why(error))
        }
        fate = process::wait(runner.ended()) => Err(ended_early(&runner.output().tail(TAIL), &fate)),
        () = tokio::time::sleep(START_LIMIT) => {
            let limit = humantime::format_duration(START_LIMIT);
            Err(Failure::host(format!("QEMU did not come up within {limit}"))
                .why(with_tail("the runner still runs", &runner.output().tail(TAIL))))
        }
    }
}

/// Why there was no QMP: QEMU connects first and refuses its other arguments afterwards.
async fn unanswered(runner: &Process, error: &QmpError) -> Failure {
    let fate = tokio::time::timeout(QUIT_LIMIT, process::wait(runner.ended())).await;
    let tail = runner.output().tail(TAIL);
    match fate {
        Ok(fate) => ended_early(&tail, &fate),
        Err(_) => Failure::host("QEMU does not answer").why(with_tail(&error.to_string(), &tail)),
    }
}

fn ended_early(tail: &[String], fate: &Ended) -> Failure {
    let why = with_tail(&tell(fate), tail);
    match fate {
        Ended::Failed { .. } => Failure::host("could not jail the runner").why(why),
        Ended::Exited { .. } => Failure::host("the runner ended before QEMU was up")
            .why(why)
            .hint("run it by hand to see whether it works without nixbox"),
    }
}

/// How a program ended, in words.
fn tell(fate: &Ended) -> String {
    match fate {
        Ended::Failed { step, error } => format!("{step}: {error}"),
        Ended::Exited { code: Some(code), .. } => format!("it ended with exit code {code}"),
        Ended::Exited { signal: Some(signal), .. } => format!("it was killed by {}", signal_name(*signal)),
        Ended::Exited { .. } => "it was killed".to_owned(),
    }
}

/// `SIGKILL` for 9.
pub fn signal_name(signal: i32) -> String {
    nix::sys::signal::Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |it| it.as_str().to_owned())
}

fn with_tail(what: &str, tail: &[String]) -> String {
    if tail.is_empty() { what.to_owned() } else { format!("{what}, after saying\n{}", tail.join("\n")) }
}

async fn drain_console(listener: UnixListener, console: Capture) {
    // A QEMU that connects again is served again.
    while let Ok((stream, _)) = listener.accept().await {
        console.drain(stream).await;
    }
}

async fn forward_qmp(mut events: mpsc::Receiver<QmpEvent>, to: mpsc::Sender<MachineEvent>) {
    while let Some(event) = events.recv().await {
        let event = match event {
            QmpEvent::Shutdown { reason, by_guest } => MachineEvent::Shutdown { reason, by_guest },
            QmpEvent::Panicked => MachineEvent::Panicked,
            QmpEvent::Stop => MachineEvent::Paused,
            QmpEvent::Resume => MachineEvent::Resumed,
            QmpEvent::IoError { no_space } => MachineEvent::IoError { no_space },
            QmpEvent::Closed => {
                // Most often QEMU is ending, and that tells more.
                tokio::time::sleep(Duration::from_millis(500)).await;
                MachineEvent::LinkLost
            }
        };
        if to.send(event).await.is_err() {
            return;
        }
    }
}

async fn forward_exit(ended: watch::Receiver<Option<Ended>>, output: Capture, to: mpsc::Sender<MachineEvent>) {
    let (code, signal) = match process::wait(ended).await {
        Ended::Exited { code, signal } => (code, signal),
        Ended::Failed { .. } => (None, None),
    };
    drop(to.send(MachineEvent::Exited { code, signal, stderr_tail: output.tail(TAIL) }).await);
}

async fn forward_daemon(ended: watch::Receiver<Option<Ended>>, output: Capture, to: mpsc::Sender<MachineEvent>) {
    process::wait(ended).await;
    // The daemon ends when QEMU hangs up, too; then QEMU's end is the story, and it comes first.
    tokio::time::sleep(DAEMON_GRACE).await;
    drop(to.send(MachineEvent::VsockDaemonDied { tail: output.tail(TAIL) }).await);
}

/// How long the daemon's end waits for QEMU's to be told first.
const DAEMON_GRACE: Duration = Duration::from_millis(50);

/// Tells once when a limit is passed.
async fn watch_disk(run_dir: PathBuf, limit: u64, to: mpsc::Sender<MachineEvent>) {
    let mut ticks = tokio::time::interval(DISK_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let dir = run_dir.clone();
        let looked = tokio::task::spawn_blocking(move || over_limit(&dir, limit)).await;
        if let Ok(Some(why)) = looked {
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
    fn limits_of_the_disk_are_told_with_figures() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), vec![1; 3 << 20]).unwrap();
        assert_eq!(over_limit(dir.path(), 1 << 30), None);
        let why = over_limit(dir.path(), 2 << 20).unwrap();
        assert!(why.contains("more than 2.0 MiB"), "{why}");
    }

    #[test]
    fn ends_are_told_in_words() {
        assert_eq!(tell(&Ended::Exited { code: Some(3), signal: None }), "it ended with exit code 3");
        assert_eq!(tell(&Ended::Exited { code: None, signal: Some(9) }), "it was killed by SIGKILL");
        assert_eq!(with_tail("a", &[]), "a");
    }

    #[test]
    fn a_runner_is_found_behind_the_links_of_a_relocated_store() {
        let root = tempfile::tempdir().unwrap();
        let store = root.path().join("nix/store");
        std::fs::create_dir_all(store.join("b-script/bin")).unwrap();
        std::fs::create_dir_all(store.join("a-vm")).unwrap();
        std::fs::write(store.join("b-script/bin/run"), "-m 7").unwrap();
        std::os::unix::fs::symlink("/nix/store/b-script/bin", store.join("a-vm/bin")).unwrap();
        std::os::unix::fs::symlink("run", store.join("b-script/bin/run-x-vm")).unwrap();
        let result = root.path().join("result");
        std::os::unix::fs::symlink("/nix/store/a-vm", &result).unwrap();
        for runner in [Path::new("/nix/store/a-vm/bin/run-x-vm"), &result.join("bin/run-x-vm")] {
            let (runner, script) = locate_runner(runner, &store).unwrap();
            assert_eq!(runner, Path::new("/nix/store/b-script/bin/run"));
            assert_eq!(script, store.canonicalize().unwrap().join("b-script/bin/run"));
            assert_eq!(read_traits(&script).unwrap().memory_mib, Some(7));
        }
        std::os::unix::fs::symlink("loop", root.path().join("loop")).unwrap();
        assert!(locate_runner(&root.path().join("loop"), &store).is_err());
        assert!(locate_runner(Path::new("/nix/store/c/bin/run"), &store).is_err());
    }

    #[tokio::test]
    async fn a_runner_that_is_not_there_is_told_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let spec = Spec::new("/nonexistent/run-x-vm", dir.path());
        let failure = Machine::start(spec, &JailOptions::default(), &Events::silent(), None).await.unwrap_err();
        assert_eq!(failure.exit, crate::model::Exit::Unknown);
    }
}
