//! The supervisor's side of the jail. One thread, no tokio, no guesses: every step that fails is told by name.

use crate::model::JailKind;
use std::fmt;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, FromRawFd as _, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::{Order, Status};

/// A step that failed, and the system's answer.
#[derive(Debug)]
pub(super) struct StepError {
    /// What was being done.
    pub(super) step: String,
    /// The system's answer.
    pub(super) error: String,
}

/// What the steps return.
pub(super) type Step<T> = Result<T, StepError>;

/// Names the step that a result belongs to.
pub(super) trait Named<T> {
    /// The error, with the step's name.
    fn step(self, name: impl fmt::Display) -> Step<T>;
}

impl<T, E: fmt::Display> Named<T> for Result<T, E> {
    fn step(self, name: impl fmt::Display) -> Step<T> {
        self.map_err(|error| StepError { step: name.to_string(), error: error.to_string() })
    }
}

/// A step that failed for a reason of our own.
pub(super) fn failed<T>(step: impl fmt::Display, error: impl fmt::Display) -> Step<T> {
    Err(StepError { step: step.to_string(), error: error.to_string() })
}

/// Where nixbox is told what happens.
#[derive(Debug)]
pub(super) struct Teller(File);

impl Teller {
    /// One line, in one write: the supervisor and PID 1 share the pipe.
    pub(super) fn tell(&mut self, status: &Status) {
        if let Ok(mut line) = serde_json::to_vec(status) {
            line.push(b'\n');
            // Nobody listening means that nixbox has gone, which the lifeline tells as well.
            drop(self.0.write_all(&line));
        }
    }
}

/// What the supervisor has in hand once it has begun.
pub(super) struct Hands {
    /// Readable at nixbox' end.
    pub(super) lifeline: File,
    /// The way to tell.
    pub(super) teller: Teller,
    /// What is wanted.
    pub(super) order: Order,
}

/// The supervisor. Returns the process's exit code.
pub(super) fn main() -> i32 {
    let (lifeline, teller) = match take_pipes() {
        Ok(pipes) => pipes,
        // There is nobody to tell.
        Err(_) => return 125,
    };
    let mut lifeline = lifeline;
    let mut teller = teller;
    let order = match read_order(&mut lifeline) {
        Ok(order) => order,
        Err(StepError { step, error }) => {
            teller.tell(&Status::Failed { step, error });
            return 125;
        }
    };
    let spare = teller.0.try_clone().map(Teller);
    let result = run(Hands { lifeline, teller, order });
    match (result, spare) {
        (Ok(()), _) => 0,
        (Err(StepError { step, error }), Ok(mut teller)) => {
            teller.tell(&Status::Failed { step, error });
            125
        }
        (Err(_), Err(_)) => 125,
    }
}

#[cfg(target_os = "linux")]
fn run(hands: Hands) -> Step<()> {
    match hands.order.kind {
        JailKind::Namespaces => super::namespaces::run(hands),
        JailKind::Landlock | JailKind::None => super::landlocked::run(hands),
    }
}

/// Without Linux there is a process group and the lifeline.
#[cfg(not(target_os = "linux"))]
fn run(hands: Hands) -> Step<()> {
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};

    let Hands { mut lifeline, mut teller, order } = hands;
    if order.kind != JailKind::None {
        return failed("build the jail", "this system has none");
    }
    let Some(path) = order.program else { return Ok(()) };
    let mut command = std::process::Command::new(&path);
    command.args(&order.arguments).env_clear().envs(order.environment).process_group(0);
    if let Some(run_dir) = &order.run_dir {
        command.current_dir(run_dir);
    }
    let mut child = command.spawn().step(format_args!("start {}", path.display()))?;
    teller.tell(&Status::Started);
    let group = nix::unistd::Pid::from_raw(child.id().cast_signed());
    std::thread::spawn(move || {
        drop(lifeline.read(&mut [0]));
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
    });
    let status = child.wait().step("wait for the program")?;
    let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
    teller.tell(&Status::Exited { code: status.code(), signal: status.signal() });
    Ok(())
}

/// Closes what was inherited, keeps stdin and stdout for us where no child gets them, and gives the program
/// `/dev/null` to read and our stderr to write.
fn take_pipes() -> Step<(File, Teller)> {
    close_inherited();
    let keep = |fd: std::os::fd::BorrowedFd<'_>| -> Step<File> {
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
    Ok((lifeline, Teller(status)))
}

/// Closes all descriptors above stderr: they are nixbox' parent's, not ours.
fn close_inherited() {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: nothing in this process has opened a descriptor yet, so none is pulled from under anybody.
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

/// Longest order, in bytes: arguments hold 48 KiB of credentials, JSON spells bytes as numbers.
const ORDER_LIMIT: u32 = 16 << 20;

fn read_order(lifeline: &mut File) -> Step<Order> {
    let mut length = [0; 4];
    lifeline.read_exact(&mut length).step("read the order")?;
    let length = u32::from_be_bytes(length);
    if length > ORDER_LIMIT {
        return failed("read the order", "it is too long");
    }
    let mut order = vec![0; length as usize];
    lifeline.read_exact(&mut order).step("read the order")?;
    serde_json::from_slice(&order).step("read the order")
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

    use super::{File, Hands, Named as _, Order, Status, Step, StepError};

    /// The order as C wants it for exec, made before any fork.
    #[derive(Debug)]
    pub(in super::super) struct Program {
        path: CString,
        arguments: Vec<CString>,
        environment: Vec<CString>,
    }

    impl Program {
        pub(in super::super) fn new(order: &Order) -> Step<Option<Self>> {
            let Some(program) = &order.program else { return Ok(None) };
            let c = |text: &OsStr| CString::new(text.as_bytes()).step("a NUL byte in the program's arguments");
            let path = c(program.as_os_str())?;
            let mut arguments = vec![path.clone()];
            for argument in &order.arguments {
                arguments.push(c(argument)?);
            }
            let mut environment = Vec::new();
            for (name, value) in &order.environment {
                let mut pair = name.clone();
                pair.push("=");
                pair.push(value);
                environment.push(c(&pair)?);
            }
            Ok(Some(Self { path, arguments, environment }))
        }

        /// Becomes the program; returns only when that fails.
        pub(in super::super) fn exec(&self) -> Step<std::convert::Infallible> {
            let result = nix::unistd::execve(&self.path, &self.arguments, &self.environment);
            result.step(format_args!("start {}", self.path.to_string_lossy()))
        }
    }

    /// Signals arrive by descriptor from here on.
    pub(in super::super) fn signals() -> Step<SignalFd> {
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
        /// nixbox let go or has gone, or somebody wants us to end.
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

    /// Reaps all that ended; tells of `main` when it is among them.
    pub(in super::super) fn reap(main: Pid) -> Option<Status> {
        let mut found = None;
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == main => {
                    found = Some(Status::Exited { code: Some(code), signal: None });
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == main => {
                    found = Some(Status::Exited { code: None, signal: Some(signal as i32) });
                }
                Ok(WaitStatus::StillAlive) | Err(_) => return found,
                Ok(_) => {}
            }
        }
    }

    /// Starts the program as a child, after `prepare` in that child, and waits until exec has worked.
    pub(in super::super) fn start(order: &Order, program: &Program, prepare: impl FnOnce() -> Step<()>) -> Step<Pid> {
        // Closed by a successful exec; otherwise the child's words come out of it.
        let (mut news, words) = std::io::pipe().step("make a pipe")?;
        // SAFETY: this process has a single thread, so the child may do anything.
        match unsafe { nix::unistd::fork() }.step("fork")? {
            nix::unistd::ForkResult::Child => {
                drop(news);
                let result = become_program(order, program, prepare);
                if let Err(StepError { step, error }) = result {
                    let mut words = words;
                    drop(std::io::Write::write_all(&mut words, format!("{step}\0{error}").as_bytes()));
                }
                // SAFETY: _exit(2) runs nothing of ours a second time.
                unsafe { libc::_exit(125) }
            }
            nix::unistd::ForkResult::Parent { child } => {
                drop(words);
                let mut text = String::new();
                drop(std::io::Read::take(&mut news, 4096).read_to_string(&mut text));
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

    fn become_program(order: &Order, program: &Program, prepare: impl FnOnce() -> Step<()>) -> Step<()> {
        // A session of its own: no controlling terminal to type into.
        nix::unistd::setsid().step("make a session")?;
        prepare()?;
        limit(Resource::RLIMIT_FSIZE, order.file_limit)?;
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
        if let Some(run_dir) = &order.run_dir {
            nix::unistd::chdir(run_dir).step("enter the run directory")?;
        }
        program.exec().map(|never| match never {})
    }

    fn limit(resource: Resource, most: u64) -> Step<()> {
        let (_, hard) = getrlimit(resource).step("read a limit")?;
        let most = most.min(hard);
        setrlimit(resource, most, most).step("set a limit")
    }

    /// Tells that the program runs, and lives until it or nixbox ends. `finish` kills what is left.
    pub(in super::super) fn attend(hands: &mut Hands, signals: &SignalFd, main: Pid) {
        hands.teller.tell(&Status::Started);
        loop {
            if wait(&mut hands.lifeline, signals) == Wake::End {
                return;
            }
            if let Some(status) = reap(main) {
                hands.teller.tell(&status);
                return;
            }
        }
    }

    /// Gives up every capability but these (a bit each, below 32), for good (capabilities(7)).
    pub(in super::super) fn drop_capabilities(kept: u32) -> Step<()> {
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
