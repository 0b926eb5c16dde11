//! The supervisor's side of the jail. One thread, no tokio, no guesses: every step that fails is reported by name.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, FromRawFd as _, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::{JailEvent, LaunchRequest, StepError};
use crate::model::JailKind;

/// What a step returns.
pub(super) type StepResult<T> = Result<T, StepError>;

/// Names the step that a result belongs to.
pub(super) trait StepContext<T> {
    /// The error, with the step's name.
    fn step(self, name: impl fmt::Display) -> StepResult<T>;
}

impl<T, E: fmt::Display> StepContext<T> for Result<T, E> {
    fn step(self, name: impl fmt::Display) -> StepResult<T> {
        self.map_err(|error| StepError { step: name.to_string(), error: error.to_string() })
    }
}

/// A step that failed for a reason of our own.
pub(super) fn failed<T>(step: impl fmt::Display, error: impl fmt::Display) -> StepResult<T> {
    Err(StepError { step: step.to_string(), error: error.to_string() })
}

/// The pipe on which nixbox receives events.
#[derive(Debug)]
pub(super) struct EventPipe(File);

impl EventPipe {
    /// One line, in one write: the supervisor and PID 1 share the pipe.
    pub(super) fn send(&mut self, event: &JailEvent) {
        if let Ok(mut line) = serde_json::to_vec(event) {
            line.push(b'\n');
            // A broken pipe means that nixbox has gone, which the lifeline shows as well.
            drop(self.0.write_all(&line));
        }
    }
}

/// What the supervisor works with.
pub(super) struct Supervision {
    /// Readable once nixbox has closed it, or has ended.
    pub(super) lifeline: File,
    pub(super) events: EventPipe,
    pub(super) request: LaunchRequest,
}

/// The supervisor. Returns the process's exit code.
pub(super) fn main() -> i32 {
    // Without pipes there is nobody to report to.
    let Ok((mut lifeline, mut events)) = take_pipes() else { return 125 };
    let request = match read_request(&mut lifeline) {
        Ok(request) => request,
        Err(error) => {
            events.send(&JailEvent::Failed(error));
            return 125;
        }
    };
    let spare = events.0.try_clone().map(EventPipe);
    let Err(error) = run(Supervision { lifeline, events, request }) else { return 0 };
    if let Ok(mut events) = spare {
        events.send(&JailEvent::Failed(error));
    }
    125
}

#[cfg(target_os = "linux")]
fn run(supervision: Supervision) -> StepResult<()> {
    match supervision.request.kind {
        JailKind::Namespaces => super::namespaces::run(supervision),
        JailKind::Landlock | JailKind::None => super::landlocked::run(supervision),
    }
}

/// Without Linux there is a process group and the lifeline.
#[cfg(not(target_os = "linux"))]
fn run(supervision: Supervision) -> StepResult<()> {
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};

    let Supervision { mut lifeline, mut events, request } = supervision;
    if request.kind != JailKind::None {
        return failed("build the jail", "this system has none");
    }
    let Some(path) = request.program else { return Ok(()) };
    let mut command = std::process::Command::new(&path);
    command.args(&request.arguments).env_clear().envs(request.environment).process_group(0);
    if let Some(run_dir) = &request.run_dir {
        command.current_dir(run_dir);
    }
    let mut child = command.spawn().step(format_args!("start {}", path.display()))?;
    events.send(&JailEvent::Started);
    let group = nix::unistd::Pid::from_raw(child.id().cast_signed());
    std::thread::spawn(move || {
        drop(lifeline.read(&mut [0]));
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
    });
    let status = child.wait().step("wait for the program")?;
    let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
    events.send(&JailEvent::Exited { code: status.code(), signal: status.signal() });
    Ok(())
}

/// Closes what was inherited, keeps stdin and stdout for us where no child gets them, and gives the program
/// `/dev/null` to read and our stderr to write.
fn take_pipes() -> StepResult<(File, EventPipe)> {
    close_inherited();
    let keep = |fd: std::os::fd::BorrowedFd<'_>| -> StepResult<File> {
        let raw = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(10)).step("keep a pipe")?;
        // SAFETY: fcntl(2) has just made this descriptor, so nobody else owns it.
        Ok(File::from(unsafe { OwnedFd::from_raw_fd(raw) }))
    };
    let lifeline = keep(std::io::stdin().as_fd())?;
    let status = keep(std::io::stdout().as_fd())?;
    let null = nix::fcntl::open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty())
        .step("open /dev/null")?;
    nix::unistd::dup2_stdin(&null).step("give stdin")?;
    nix::unistd::dup2_stdout(std::io::stderr()).step("give stdout")?;
    Ok((lifeline, EventPipe(status)))
}

/// Closes all descriptors above stderr: they belong to the parent of nixbox.
fn close_inherited() {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: nothing in this process has opened a descriptor yet, so none that is in use is closed.
        let done = unsafe { nix::libc::syscall(nix::libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
        if done == 0 {
            return;
        }
    }
    for fd in 3..1024 {
        // SAFETY: as above; closing a number that is not open is an error without consequence.
        unsafe { nix::libc::close(fd) };
    }
}

/// Longest request, in bytes: arguments hold 48 KiB of credentials, JSON spells bytes as numbers.
const REQUEST_LIMIT: u32 = 16 << 20;

fn read_request(lifeline: &mut File) -> StepResult<LaunchRequest> {
    let mut length = [0; 4];
    lifeline.read_exact(&mut length).step("read the request")?;
    let length = u32::from_be_bytes(length);
    if length > REQUEST_LIMIT {
        return failed("read the request", "it is too long");
    }
    let mut request = vec![0; length as usize];
    lifeline.read_exact(&mut request).step("read the request")?;
    serde_json::from_slice(&request).step("read the request")
}

#[cfg(target_os = "linux")]
pub(super) mod linux {
    //! What both kinds of supervisors on Linux need.

    use std::ffi::{CString, OsStr};
    use std::io::Read as _;
    use std::os::fd::AsFd as _;
    use std::os::unix::ffi::OsStrExt as _;

    use nix::errno::Errno;
    use nix::libc;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};
    use nix::sys::signalfd::{SfdFlags, SignalFd};
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    use nix::unistd::Pid;

    use super::{File, JailEvent, LaunchRequest, StepContext as _, StepError, StepResult, Supervision};

    /// The program as C wants it for exec, made before any fork.
    #[derive(Debug)]
    pub(in super::super) struct Program {
        path: CString,
        arguments: Vec<CString>,
        environment: Vec<CString>,
    }

    impl Program {
        pub(in super::super) fn new(request: &LaunchRequest) -> StepResult<Option<Self>> {
            let Some(program) = &request.program else { return Ok(None) };
            let c = |text: &OsStr| CString::new(text.as_bytes()).step("a NUL byte in the program's arguments");
            let path = c(program.as_os_str())?;
            let mut arguments = vec![path.clone()];
            for argument in &request.arguments {
                arguments.push(c(argument)?);
            }
            let mut environment = Vec::new();
            for (name, value) in &request.environment {
                let mut pair = name.clone();
                pair.push("=");
                pair.push(value);
                environment.push(c(&pair)?);
            }
            Ok(Some(Self { path, arguments, environment }))
        }

        /// Becomes the program; returns only when that fails.
        pub(in super::super) fn exec(&self) -> StepResult<std::convert::Infallible> {
            let result = nix::unistd::execve(&self.path, &self.arguments, &self.environment);
            result.step(format_args!("start {}", self.path.to_string_lossy()))
        }
    }

    /// Signals arrive by descriptor from here on.
    pub(in super::super) fn signals() -> StepResult<SignalFd> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
            set.add(signal);
        }
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).step("block signals")?;
        SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).step("receive signals")
    }

    /// Why a supervisor woke.
    #[derive(Debug, PartialEq, Eq)]
    pub(in super::super) enum Wake {
        /// The lifeline is closed, or a signal asks us to end.
        End,
        /// A child changed its state.
        Child,
    }

    /// Sleeps until something happens. `lifeline` of `None`: signals only.
    pub(in super::super) fn wait(lifeline: &mut File, signals: &SignalFd) -> Wake {
        loop {
            let mut fds =
                [PollFd::new(lifeline.as_fd(), PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                Err(_) => return Wake::End,
                Ok(_) => {}
            }
            let [life, signal] = fds.map(|fd| fd.revents().is_some_and(|events| !events.is_empty()));
            if life && !matches!(lifeline.read(&mut [0; 64]), Ok(1..)) {
                return Wake::End;
            }
            if signal {
                match signals.read_signal() {
                    Ok(Some(info)) if info.ssi_signo == libc::SIGCHLD as u32 => return Wake::Child,
                    Ok(Some(_)) => return Wake::End,
                    Ok(None) | Err(_) => {}
                }
            }
        }
    }

    /// Reaps all that ended; the event of `main` when it is among them.
    pub(in super::super) fn reap(main: Pid) -> Option<JailEvent> {
        let mut found = None;
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == main => {
                    found = Some(JailEvent::Exited { code: Some(code), signal: None });
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == main => {
                    found = Some(JailEvent::Exited { code: None, signal: Some(signal as i32) });
                }
                Ok(WaitStatus::StillAlive) | Err(_) => return found,
                Ok(_) => {}
            }
        }
    }

    /// Starts the program as a child, after `prepare` in that child, and waits until exec has worked.
    pub(in super::super) fn start(
        request: &LaunchRequest,
        program: &Program,
        prepare: impl FnOnce() -> StepResult<()>,
    ) -> StepResult<Pid> {
        // Closed by a successful exec; otherwise the child's error comes out of it.
        let (mut failure, mut sender) = std::io::pipe().step("make a pipe")?;
        // SAFETY: this process has a single thread, so the child may do anything.
        match unsafe { nix::unistd::fork() }.step("fork")? {
            nix::unistd::ForkResult::Child => {
                drop(failure);
                if let Err(StepError { step, error }) = become_program(request, program, prepare) {
                    drop(std::io::Write::write_all(&mut sender, format!("{step}\0{error}").as_bytes()));
                }
                // SAFETY: _exit(2) runs nothing of ours a second time.
                unsafe { libc::_exit(125) }
            }
            nix::unistd::ForkResult::Parent { child } => {
                drop(sender);
                let mut text = String::new();
                drop(std::io::Read::take(&mut failure, 4096).read_to_string(&mut text));
                match text.split_once('\0') {
                    None => Ok(child),
                    Some((step, error)) => {
                        let _ = waitpid(child, None);
                        Err(StepError { step: step.to_owned(), error: error.to_owned() })
                    }
                }
            }
        }
    }

    fn become_program(
        request: &LaunchRequest,
        program: &Program,
        prepare: impl FnOnce() -> StepResult<()>,
    ) -> StepResult<()> {
        // A session of its own: no controlling terminal to type into.
        nix::unistd::setsid().step("make a session")?;
        prepare()?;
        limit(Resource::RLIMIT_FSIZE, request.file_limit)?;
        limit(Resource::RLIMIT_CORE, 0)?;
        if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
            // A 9p or virtiofs server holds a descriptor for each file that the guest has open.
            setrlimit(Resource::RLIMIT_NOFILE, hard.min(1 << 20), hard).step("raise the number of open files")?;
        }
        nix::sys::prctl::set_no_new_privs().step("give up privileges")?;
        for signal in Signal::iterator() {
            // Writing past the largest file is an error to the program then, not its death.
            let action = if signal == Signal::SIGXFSZ { SigHandler::SigIgn } else { SigHandler::SigDfl };
            // SAFETY: default and ignore run no code of ours. SIGKILL and SIGSTOP refuse, as they must.
            let _ = unsafe { nix::sys::signal::signal(signal, action) };
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).step("unblock signals")?;
        if let Some(run_dir) = &request.run_dir {
            nix::unistd::chdir(run_dir).step("enter the run directory")?;
        }
        program.exec().map(|never| match never {})
    }

    fn limit(resource: Resource, most: u64) -> StepResult<()> {
        let (_, hard) = getrlimit(resource).step("read a limit")?;
        let most = most.min(hard);
        setrlimit(resource, most, most).step("set a limit")
    }

    /// Reports that the program runs, and returns when it or nixbox has ended. The caller kills what is left.
    pub(in super::super) fn attend(supervision: &mut Supervision, signals: &SignalFd, main: Pid) {
        supervision.events.send(&JailEvent::Started);
        loop {
            if wait(&mut supervision.lifeline, signals) == Wake::End {
                return;
            }
            if let Some(event) = reap(main) {
                supervision.events.send(&event);
                return;
            }
        }
    }

    /// Gives up every capability but these (a bit each, below 32), for good (capabilities(7)).
    pub(in super::super) fn drop_capabilities(kept: u32) -> StepResult<()> {
        for capability in 0..64_u32 {
            if capability < 32 && kept & (1 << capability) != 0 {
                continue;
            }
            // SAFETY: prctl(2) takes numbers. EINVAL says that the kernel knows no capability of this number.
            match Errno::result(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) }) {
                Ok(_) => {}
                // A plain user may not, and needs not: no_new_privs keeps exec from giving any.
                Err(Errno::EINVAL | Errno::EPERM) => break,
                Err(error) => return super::failed("drop a capability from the bounding set", error),
            }
        }
        // SAFETY: as above. Kernels before 4.3 have no ambient set.
        unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
        // capset(2): version 3, this thread, and two words each of effective, permitted and inheritable.
        let header: [u32; 2] = [0x2008_0522, 0];
        let sets = [kept, kept, 0, 0, 0, 0];
        // SAFETY: capset(2) reads a header of two words and, at version 3, two structs of three words.
        let done = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
        Errno::result(done).map(drop).step("drop capabilities")
    }
}
