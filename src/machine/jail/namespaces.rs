//! The jail of namespaces (namespaces(7), user_namespaces(7), pivot_root(2)).
//!
//! Two details decide whether it holds for root as well, whose id means the same inside and outside:
//! * the kernel lets uid 0 write `/proc/sys` without any capability, so all of `/proc` but the processes is read-only;
//! * a program that makes a user namespace of its own gains capabilities in it, but mounts that it inherited are
//!   locked: neither unmounted nor made writable (mount_namespaces(7)).

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, getegid, geteuid, pivot_root};

use super::supervisor::{StepContext as _, StepResult, Supervision, failed, linux};
use super::{JailEvent, LaunchRequest};

/// The supervisor with namespaces: it stays in the host's pid namespace, its child is PID 1 of the new one.
pub(super) fn run(mut supervision: Supervision) -> StepResult<()> {
    // Read before the host's view is left.
    let resolv_conf = if supervision.request.host_network { fs::read("/etc/resolv.conf").ok() } else { None };
    let signals = linux::signals()?;
    // Kernel memory first: an OOM killer takes the machine, not the user's session. Refusal is no harm.
    drop(fs::write("/proc/self/oom_score_adj", "300"));
    let user_namespace = enter(supervision.request.host_network)?;

    // SAFETY: this process has a single thread, so the child may do anything.
    match unsafe { nix::unistd::fork() }.step("fork PID 1 of the jail")? {
        ForkResult::Child => {
            let code = match init(&mut supervision, &signals, resolv_conf.as_deref(), user_namespace) {
                Ok(()) => 0,
                Err(error) => {
                    supervision.events.send(&JailEvent::Failed(error));
                    0
                }
            };
            // The kernel kills whatever is left in the pid namespace.
            // SAFETY: _exit(2) runs nothing of ours a second time.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => {
            loop {
                if linux::wait(&mut supervision.lifeline, &signals) == linux::Wake::End {
                    break;
                }
                match linux::reap(child) {
                    None => {}
                    // It reported the rest itself.
                    Some(JailEvent::Exited { code: Some(0), .. }) => return Ok(()),
                    // It was killed before it could report.
                    Some(event) => {
                        supervision.events.send(&event);
                        return Ok(());
                    }
                }
            }
            let _ = kill(child, Signal::SIGKILL);
            // Returns when everything in the namespace has gone.
            let _ = waitpid(child, None);
            Ok(())
        }
    }
}

/// Leaves the host's namespaces. Whether that includes the user namespace.
fn enter(host_network: bool) -> StepResult<bool> {
    let (uid, gid) = (geteuid(), getegid());
    let mut others =
        CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    if !host_network {
        others |= CloneFlags::CLONE_NEWNET;
    }
    if uid.is_root() {
        // Root's other groups would keep their meaning inside.
        let _ = nix::unistd::setgroups(&[]);
    }
    let user_namespace = match unshare(CloneFlags::CLONE_NEWUSER | others) {
        Ok(()) => {
            fs::write("/proc/self/setgroups", "deny").step("write setgroups of the user namespace")?;
            fs::write("/proc/self/uid_map", format!("{uid} {uid} 1")).step("write uid_map of the user namespace")?;
            fs::write("/proc/self/gid_map", format!("{gid} {gid} 1")).step("write gid_map of the user namespace")?;
            true
        }
        // Root may do without: its capabilities are dropped before the program starts, as always.
        Err(_) if uid.is_root() => {
            unshare(others).step("unshare the mount, pid and net namespaces")?;
            false
        }
        Err(error) => return failed("unshare a user namespace", error),
    };
    let _ = nix::unistd::sethostname("nixbox");
    if !host_network {
        loopback_up()?;
    }
    Ok(user_namespace)
}

/// A loopback of its own: without it a runner that forwards ports would not start.
fn loopback_up() -> StepResult<()> {
    let socket = std::net::UdpSocket::bind(("0.0.0.0", 0)).step("open a socket for the loopback")?;
    // SAFETY: an all-zero ifreq is valid: a name of NULs and an empty union.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS (netdevice(7)) reads an ifreq, which this is.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) };
    Errno::result(done).map(drop).step("bring the loopback up")
}

/// What uid 0 keeps in a user namespace: `CHOWN`, `DAC_OVERRIDE`, `FOWNER`, `FSETID`, `SETGID`, `SETUID`, `SETPCAP`,
/// `MKNOD`, `SETFCAP`. virtiofsd as root does not start without. They mean nothing beyond files of ids that are mapped, which is
/// one id, and mounts stay read-only; `DAC_READ_SEARCH` would open files by handle, past all mounts.
const KEPT: u32 = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 27 | 1 << 31;

/// PID 1 of the jail.
fn init(
    supervision: &mut Supervision,
    signals: &nix::sys::signalfd::SignalFd,
    resolv_conf: Option<&[u8]>,
    user_namespace: bool,
) -> StepResult<()> {
    // The supervisor has one thread, so its death is the process's (prctl(2)).
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).step("die with the supervisor")?;
    nix::unistd::setsid().step("make a session")?;
    // SAFETY: keyctl(2) takes numbers; an anonymous session keyring replaces the user's.
    let _ = Errno::result(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0) });
    build_root(&supervision.request, resolv_conf)?;
    linux::drop_capabilities(if user_namespace && geteuid().is_root() { KEPT } else { 0 })?;
    // Same user, same namespace: without this the program could trace us and keep us from ending.
    nix::sys::prctl::set_dumpable(false).step("refuse to be traced")?;
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).step("die with the supervisor")?;

    let Some(program) = linux::Program::new(&supervision.request)? else {
        supervision.events.send(&JailEvent::Started);
        supervision.events.send(&JailEvent::Exited { code: Some(0), signal: None });
        return Ok(());
    };
    let request = &supervision.request;
    let main: Pid = linux::start(request, &program, || {
        if request.host_network {
            // The host's network namespace is also where abstract Unix sockets live: a session bus, X.
            super::landlocked::scope();
        }
        Ok(())
    })?;
    linux::attend(supervision, signals, main);
    Ok(())
}

/// Where the host's root is while the new one is being built.
const OLD: &str = "/.old";

/// System directories that hold programs and no secrets.
const SYSTEM: [&str; 9] =
    ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc/alternatives", "etc/ld.so.cache"];

/// Harmless device nodes.
const DEVICES: [&str; 6] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// Builds the file system that the jail sees and leaves the host's.
fn build_root(request: &LaunchRequest, resolv_conf: Option<&[u8]>) -> StepResult<()> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).step("make mounts private")?;
    // Any directory will do as the place of the new root: its contents are only covered until pivot_root.
    let base = ["/tmp", "/run", "/var", "/usr"].into_iter().find(|path| Path::new(path).is_dir()).unwrap_or("/");
    tmpfs(base, "mode=0755,size=4m,nr_inodes=4096", MsFlags::empty())?;
    let old = format!("{base}{OLD}");
    fs::create_dir(&old).step("make a directory for the old root")?;
    pivot_root(base, old.as_str()).step("pivot_root")?;
    nix::unistd::chdir("/").step("enter the new root")?;

    for name in SYSTEM {
        let target = Path::new("/").join(name);
        match fs::symlink_metadata(old_path(&target)) {
            Ok(data) if data.is_symlink() => {
                let text = fs::read_link(old_path(&target)).step(format_args!("read the link /{name}"))?;
                symlink(text, &target).step(format_args!("make the link /{name}"))?;
            }
            Ok(_) => bind_read_only(&target, &target)?,
            Err(_) => {}
        }
    }
    for mount in &request.mounts {
        bind_read_only(&mount.source, &mount.target)?;
    }
    if let Some(run_dir) = &request.run_dir {
        bind(run_dir, run_dir)?;
        restrict_mount(run_dir, NOSUID | NODEV)?;
    }
    make_proc()?;
    make_dev(request)?;
    make_etc(request, resolv_conf)?;
    for path in ["/tmp", "/var", "/run"] {
        fs::create_dir_all(path).step(format_args!("make {path}"))?;
    }
    // It may hold a part of the path of the run directory or of a bind mount: cover it only if it is empty.
    if fs::read_dir("/tmp").step("read /tmp")?.next().is_none() {
        tmpfs("/tmp", "mode=1777,size=64m,nr_inodes=4096", MsFlags::empty())?;
    }
    drop(symlink("/tmp", "/var/tmp"));

    umount2(OLD, MntFlags::MNT_DETACH).step("leave the host's file system")?;
    fs::remove_dir(OLD).step("remove the old root's directory")?;
    restrict_mount_only(Path::new("/"), RDONLY | NOSUID | NODEV)
}

/// `struct mount_attr` of linux/mount.h.
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// `MOUNT_ATTR_RDONLY`.
const RDONLY: u64 = 1;
/// `MOUNT_ATTR_NOSUID`.
const NOSUID: u64 = 2;
/// `MOUNT_ATTR_NODEV`.
const NODEV: u64 = 4;
/// linux/fcntl.h
const AT_RECURSIVE: libc::c_int = 0x8000;
/// linux/keyctl.h
const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;

fn old_path(path: &Path) -> PathBuf {
    Path::new(OLD).join(path.strip_prefix("/").unwrap_or(path))
}

/// Mounts a part of the host, read-only.
fn bind_read_only(source: &Path, target: &Path) -> StepResult<()> {
    bind(source, target)?;
    restrict_mount(target, RDONLY | NOSUID | NODEV)
}

/// Mounts a part of the host at `target`, which is created where it does not exist.
fn bind(source: &Path, target: &Path) -> StepResult<()> {
    let from = old_path(source);
    let is_dir = fs::metadata(&from).step(format_args!("stat {}", source.display()))?.is_dir();
    if fs::symlink_metadata(target).is_err() {
        let made = if is_dir {
            fs::create_dir_all(target)
        } else {
            target.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::File::create(target).map(drop))
        };
        made.step(format_args!("make {}", target.display()))?;
    }
    let none: Option<&str> = None;
    mount(Some(&from), target, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
        .step(format_args!("mount {}", target.display()))
}

fn tmpfs(target: &str, options: &str, flags: MsFlags) -> StepResult<()> {
    mount(Some("tmpfs"), target, Some("tmpfs"), flags | MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options))
        .step(format_args!("mount a tmpfs on {target}"))
}

/// Sets attributes of a mount and all below it.
fn restrict_mount(target: &Path, attributes: u64) -> StepResult<()> {
    set_attributes(target, attributes, true).step(format_args!("restrict the mount {}", target.display()))
}

/// Sets attributes of one mount.
fn restrict_mount_only(target: &Path, attributes: u64) -> StepResult<()> {
    set_attributes(target, attributes, false).step(format_args!("restrict the mount {}", target.display()))
}

fn set_attributes(target: &Path, attributes: u64, recursive: bool) -> io::Result<()> {
    let path = CString::new(target.as_os_str().as_bytes())?;
    let attr = MountAttr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: mount_setattr(2) reads a path and a struct of the size given; both live until it returns.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    match Errno::result(done) {
        Ok(_) => Ok(()),
        Err(Errno::ENOSYS) => remount(target, attributes, recursive),
        Err(error) => Err(error.into()),
    }
}

/// The same before Linux 5.12: mount by mount, keeping the flags that are locked.
fn remount(target: &Path, attributes: u64, recursive: bool) -> io::Result<()> {
    let mut targets = vec![target.to_owned()];
    if recursive {
        let table = fs::read_to_string("/proc/self/mountinfo")
            .or_else(|_| fs::read_to_string(format!("{OLD}/proc/self/mountinfo")))?;
        // Field 5 is the mount point, relative to this root (proc_pid_mountinfo(5)).
        targets.extend(
            table
                .lines()
                .filter_map(|line| line.split(' ').nth(4))
                .map(|path| PathBuf::from(path.replace("\\040", " ")))
                .filter(|path| path.starts_with(target) && path != target),
        );
    }
    for target in targets {
        let held = nix::sys::statvfs::statvfs(&target)?.flags().bits();
        let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
        for (bit, flag) in [
            (libc::ST_RDONLY, MsFlags::MS_RDONLY),
            (libc::ST_NOSUID, MsFlags::MS_NOSUID),
            (libc::ST_NODEV, MsFlags::MS_NODEV),
            (libc::ST_NOEXEC, MsFlags::MS_NOEXEC),
            (libc::ST_NOATIME, MsFlags::MS_NOATIME),
            (libc::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
            (libc::ST_RELATIME, MsFlags::MS_RELATIME),
        ] {
            if held & bit != 0 {
                flags |= flag;
            }
        }
        for (bit, flag) in [(RDONLY, MsFlags::MS_RDONLY), (NOSUID, MsFlags::MS_NOSUID), (NODEV, MsFlags::MS_NODEV)] {
            if attributes & bit != 0 {
                flags |= flag;
            }
        }
        let none: Option<&str> = None;
        mount(none, &target, none, flags, none)?;
    }
    Ok(())
}

/// A `/proc` of the jail's processes; everything in it that is not a process is read-only.
fn make_proc() -> StepResult<()> {
    fs::create_dir_all("/proc").step("make /proc")?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let none: Option<&str> = None;
    mount(Some("proc"), "/proc", Some("proc"), flags, none).step("mount /proc")?;
    for entry in fs::read_dir("/proc").step("read /proc")? {
        let entry = entry.step("read /proc")?;
        let name = entry.file_name();
        let is_process = name.as_bytes().iter().all(u8::is_ascii_digit);
        if is_process || entry.file_type().step("read /proc")?.is_symlink() {
            continue;
        }
        let path = entry.path();
        mount(Some(&path), &path, none, MsFlags::MS_BIND, none).step(format_args!("cover {}", path.display()))?;
        restrict_mount_only(&path, RDONLY)?;
    }
    Ok(())
}

fn make_dev(request: &LaunchRequest) -> StepResult<()> {
    fs::create_dir_all("/dev").step("make /dev")?;
    tmpfs("/dev", "mode=0755,size=1m,nr_inodes=256", MsFlags::MS_NOEXEC)?;
    for device in DEVICES.iter().map(Path::new).chain(request.devices.iter().map(PathBuf::as_path)) {
        match fs::metadata(old_path(device)) {
            Ok(data) if data.file_type().is_char_device() => bind(device, device)?,
            Ok(_) => return failed(format_args!("show {}", device.display()), "it is no device"),
            Err(error) => return failed(format_args!("show {}", device.display()), error),
        }
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlink(target, Path::new("/dev").join(name)).step(format_args!("make /dev/{name}"))?;
    }
    for name in ["/dev/shm", "/dev/pts"] {
        fs::create_dir(name).step(format_args!("make {name}"))?;
    }
    tmpfs("/dev/shm", &format!("mode=1777,size={}", request.shm_limit), MsFlags::MS_NOEXEC)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("devpts"), "/dev/pts", Some("devpts"), flags, Some("newinstance,ptmxmode=0666,mode=0620"))
        .step("mount /dev/pts")?;
    restrict_mount_only(Path::new("/dev"), RDONLY)
}

fn make_etc(request: &LaunchRequest, resolv_conf: Option<&[u8]>) -> StepResult<()> {
    let (uid, gid) = (geteuid(), getegid());
    let home = request.run_dir.as_deref().unwrap_or(Path::new("/")).display();
    let mut passwd = format!("nixbox:x:{uid}:{gid}::{home}:/bin/sh\n");
    let mut group = format!("nixbox:x:{gid}:\n");
    if !uid.is_root() {
        passwd.push_str("root:x:0:0::/:/bin/sh\n");
        group.push_str("root:x:0:\n");
    }
    passwd.push_str("nobody:x:65534:65534::/:/bin/false\n");
    group.push_str("nogroup:x:65534:\n");
    fs::create_dir_all("/etc").step("make /etc")?;
    let hosts = "127.0.0.1 localhost\n::1 localhost\n";
    let files = [("passwd", passwd.as_bytes()), ("group", group.as_bytes()), ("hosts", hosts.as_bytes())];
    for (name, text) in files.into_iter().chain(resolv_conf.map(|text| ("resolv.conf", text))) {
        let path = Path::new("/etc").join(name);
        fs::write(&path, text).step(format_args!("write /etc/{name}"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).step(format_args!("protect /etc/{name}"))?;
    }
    Ok(())
}
