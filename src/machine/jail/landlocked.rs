//! The jail of landlock(7) and a subreaper; and the one of last resort, the subreaper alone.

use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::supervisor::{StepContext as _, StepResult, Supervision, failed, linux};
use super::{JailEvent, LaunchRequest};
use crate::machine::process;
use crate::model::JailKind;

/// The newest rules that are asked for; older kernels enforce what they know.
const RULES: ABI = ABI::V10;

/// The supervisor: everything that is started and loses its parent becomes its child.
pub(super) fn run(mut supervision: Supervision) -> StepResult<()> {
    let signals = linux::signals()?;
    nix::sys::prctl::set_child_subreaper(true).step("become the subreaper")?;
    let landlocked = supervision.request.kind == JailKind::Landlock;
    let Some(program) = linux::Program::new(&supervision.request)? else { return probe(&mut supervision, landlocked) };
    let supervisor = nix::unistd::getpid();
    let request = &supervision.request;
    let main = linux::start(request, &program, || {
        // The supervisor has one thread, so its death is the process's (prctl(2)). This reaches the program only.
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).step("die with the supervisor")?;
        if nix::unistd::getppid() != supervisor {
            return failed("die with the supervisor", "it has gone already");
        }
        if !landlocked {
            return Ok(());
        }
        restrict(request)?;
        // Root could load modules and set the clock, of which Landlock knows nothing.
        linux::drop_capabilities(0)
    })?;
    linux::attend(&mut supervision, &signals, main);
    kill_descendants();
    Ok(())
}

/// Restricts this process, to see whether it works.
fn probe(supervision: &mut Supervision, landlocked: bool) -> StepResult<()> {
    if landlocked {
        restrict(&supervision.request)?;
    }
    supervision.events.send(&JailEvent::Started);
    supervision.events.send(&JailEvent::Exited { code: Some(0), signal: None });
    Ok(())
}

/// Kills children until there are none: a process that loses its parent becomes our child, and is next.
fn kill_descendants() {
    loop {
        for child in children() {
            let _ = kill(child, Signal::SIGKILL);
        }
        match waitpid(None, None) {
            Err(nix::errno::Errno::EINTR) | Ok(_) => {}
            // ECHILD: none is left.
            Err(_) => return,
        }
        while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive) {}
    }
}

/// Our children, by their parent in `/proc`.
fn children() -> Vec<Pid> {
    let me = u64::from(std::process::id());
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| process::parent(*pid) == Some(me))
        .map(|pid| Pid::from_raw(pid.cast_signed()))
        .collect()
}

/// Forbids what the request does not allow.
fn restrict(request: &LaunchRequest) -> StepResult<()> {
    let read = AccessFs::from_read(RULES);
    let device: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev | AccessFs::Truncate;
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(RULES))
        .and_then(
            |ruleset| if request.host_network { Ok(ruleset) } else { ruleset.handle_access(AccessNet::ConnectTcp) },
        )
        .and_then(|ruleset| ruleset.scope(Scope::from_all(RULES)))
        .and_then(Ruleset::create);
    let mut ruleset = ruleset.step("make a Landlock ruleset")?;
    let mut allow = |path: &Path, access: BitFlags<AccessFs>| -> StepResult<()> {
        // What is not there needs no rule.
        let Ok(fd) = PathFd::new(path) else { return Ok(()) };
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(RULES) };
        (&mut ruleset).add_rule(PathBeneath::new(fd, access)).map(drop).step(format_args!("allow {}", path.display()))
    };
    for path in ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/ld.so.cache", "/proc"]
    {
        allow(Path::new(path), read)?;
    }
    for path in ["/etc/passwd", "/etc/group", "/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf"] {
        allow(Path::new(path), read)?;
    }
    for mount in &request.mounts {
        allow(&mount.source, read)?;
        allow(&mount.target, read)?;
    }
    for path in ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/ptmx"] {
        allow(Path::new(path), device)?;
    }
    allow(Path::new("/dev/pts"), device | AccessFs::ReadDir)?;
    for path in &request.devices {
        allow(path, device)?;
    }
    if let Some(run_dir) = &request.run_dir {
        allow(run_dir, AccessFs::from_all(RULES) & !(AccessFs::MakeBlock | AccessFs::MakeChar))?;
    }
    let status = ruleset.restrict_self().step("enforce Landlock")?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return failed("enforce Landlock", "this kernel does not");
    }
    Ok(())
}

/// Closes abstract Unix sockets and signals to the outside, where the kernel can (Linux 6.12); an addition to the
/// namespaces, so no failure.
pub(super) fn scope() {
    let scoped = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .scope(Scope::from_all(RULES))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self);
    drop(scoped);
}
