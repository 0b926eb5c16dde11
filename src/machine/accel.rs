//! Which accelerator works here, found by using it. That `/dev/kvm` is there says nothing: in some VMs and containers
//! it opens, creates machines and even runs code, a thousand times too slowly. So a child of ours runs a million turns
//! of a loop in ring 0 and is killed when it has not come back within a tenth of a second; a working KVM needs a few
//! milliseconds.

use std::path::Path;
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::failure::{self, Failure};
use crate::model::timeouts::machine::{KVM_RUN_LIMIT, KVM_SETUP_LIMIT};
use crate::model::{Accel, AccelChoice};

/// The hidden first argument that turns nixbox into the probe.
pub const ENTRY: &str = "__probe-kvm";

/// What a probe of this host found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProbeResult {
    /// Whether a machine can use it.
    pub usable: bool,
    /// Why not; or what is left unproven, or why not a better one.
    pub reason: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// How long it took, in milliseconds, when it came to an end.
    pub millis: Option<f64>,
}

impl ProbeResult {
    fn usable() -> Self {
        Self { usable: true, ..Self::default() }
    }

    fn unusable(reason: impl Into<String>, hint: Option<&str>) -> Self {
        Self { reason: Some(reason.into()), hint: hint.map(str::to_owned), ..Self::default() }
    }
}

/// Chooses the accelerator, with the reason where it is not the fastest.
///
/// # Errors
/// Exit 5 with what to do, when the choice is one that does not work.
pub async fn choose(choice: AccelChoice, launcher: &Path) -> failure::Result<(Accel, Option<String>)> {
    let Some(accel) = choice.named().or_else(Accel::native) else {
        return Ok((Accel::default(), Some("this system has no hardware virtualisation that nixbox knows".into())));
    };
    if accel.is_emulated() {
        return Ok((accel, Some("asked for".into())));
    }
    let probe = probe(accel, launcher).await;
    if probe.usable {
        return Ok((accel, probe.reason));
    }
    let name = accel.name();
    let reason = probe.reason.unwrap_or_else(|| "it does not work".into());
    if choice == AccelChoice::Auto {
        return Ok((Accel::default(), Some(format!("{name}: {reason}"))));
    }
    let hint = probe.hint.unwrap_or_else(|| "leave out --accel, or use --accel tcg".into());
    Err(Failure::host(format!("--accel {name} does not work on this host")).why(reason).hint(hint))
}

/// Probes one by using it.
pub async fn probe(accel: Accel, launcher: &Path) -> ProbeResult {
    match accel {
        Accel::Kvm => probe_kvm(launcher).await,
        Accel::Hvf => probe_hvf().await,
        Accel::Tcg => ProbeResult::usable(),
    }
}

/// What the probe's process reports, one line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ProbeMessage {
    /// The loop is about to begin.
    Ready,
    /// The loop ended, after this many milliseconds.
    Done(f64),
    /// A VM can be made, but this architecture has no loop to run.
    Unproven,
    /// It did not come so far.
    Failed { step: String, error: String, errno: i32 },
}

async fn probe_kvm(launcher: &Path) -> ProbeResult {
    if cfg!(not(target_os = "linux")) {
        return ProbeResult::unusable("only Linux has KVM", None);
    }
    let child = Command::new(launcher)
        .arg(ENTRY)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return ProbeResult::unusable(format!("the probe could not be started: {error}"), None),
    };
    let result = match child.stdout.take() {
        Some(stdout) => listen(BufReader::new(stdout)).await,
        None => ProbeResult::unusable("the probe has no pipe", None),
    };
    // One that is stuck in the kernel may take its time to die: do not wait for it.
    drop(child.start_kill());
    drop(tokio::time::timeout(KVM_RUN_LIMIT, child.wait()).await);
    result
}

async fn listen(stdout: BufReader<tokio::process::ChildStdout>) -> ProbeResult {
    let mut lines = stdout.lines();
    let mut limit = KVM_SETUP_LIMIT;
    loop {
        let message = match tokio::time::timeout(limit, lines.next_line()).await {
            Err(_) if limit == KVM_RUN_LIMIT => {
                return ProbeResult::unusable(
                    "/dev/kvm is there but runs code far too slowly (a million turns of a loop take more than 100 ms)",
                    Some("this host is itself a VM without nested virtualisation: enable that, or use --accel tcg"),
                );
            }
            Err(_) => return ProbeResult::unusable("/dev/kvm is there but creating a VM hangs", None),
            Ok(Ok(Some(line))) => serde_json::from_str(&line),
            Ok(_) => return ProbeResult::unusable("the probe ended without an answer", None),
        };
        match message {
            Ok(ProbeMessage::Ready) => limit = KVM_RUN_LIMIT,
            Ok(ProbeMessage::Done(millis)) => {
                return ProbeResult { millis: Some(millis), ..ProbeResult::usable() };
            }
            Ok(ProbeMessage::Unproven) => {
                let reason = Some("a VM can be created; its speed is unproven on this architecture".to_owned());
                return ProbeResult { reason, ..ProbeResult::usable() };
            }
            Ok(ProbeMessage::Failed { step, error, errno }) => return explain(&step, &error, errno),
            Err(_) => return ProbeResult::unusable("the probe's answer was not understood", None),
        }
    }
}

/// What a failed step means, with advice.
fn explain(step: &str, error: &str, errno: i32) -> ProbeResult {
    let reason = format!("{step}: {error}");
    let hint = match errno {
        nix::libc::EACCES | nix::libc::EPERM => {
            "add yourself to the group kvm (NixOS: users.users.NAME.extraGroups = [ \"kvm\" ]) and log in again"
        }
        nix::libc::ENOENT | nix::libc::ENODEV | nix::libc::ENXIO => {
            "load the module (modprobe kvm_intel or kvm_amd), enable virtualisation in the firmware, or pass /dev/kvm into the container"
        }
        nix::libc::EBUSY => "another hypervisor holds the processor: stop it",
        _ => "use --accel tcg",
    };
    ProbeResult::unusable(reason, Some(hint))
}

/// Hypervisor.framework, as far as the system says.
async fn probe_hvf() -> ProbeResult {
    if cfg!(not(target_os = "macos")) {
        return ProbeResult::unusable("only macOS has the Hypervisor framework", None);
    }
    // Apple's documentation: `kern.hv_support` is 1 where the framework can be used.
    let output = Command::new("/usr/sbin/sysctl").args(["-n", "kern.hv_support"]).output().await;
    match output {
        Ok(output) if output.stdout.trim_ascii() == b"1" => ProbeResult::usable(),
        Ok(_) => {
            ProbeResult::unusable("kern.hv_support is 0", Some("this Mac, or the VM that it is, has no virtualisation"))
        }
        Err(error) => ProbeResult::unusable(format!("sysctl kern.hv_support: {error}"), None),
    }
}

/// The probe's process. Returns its exit code.
pub(super) fn entry() -> i32 {
    let send = |message: &ProbeMessage| {
        if let Ok(mut line) = serde_json::to_vec(message) {
            line.push(b'\n');
            drop(std::io::Write::write_all(&mut std::io::stdout(), &line));
        }
    };
    #[cfg(target_os = "linux")]
    match kvm::run(|| send(&ProbeMessage::Ready)) {
        Ok(Some(millis)) => send(&ProbeMessage::Done(millis)),
        Ok(None) => send(&ProbeMessage::Unproven),
        Err((step, error)) => {
            send(&ProbeMessage::Failed { step: step.to_owned(), error: error.desc().to_owned(), errno: error as i32 });
        }
    }
    #[cfg(not(target_os = "linux"))]
    send(&ProbeMessage::Failed { step: "open /dev/kvm".into(), error: "only Linux has it".into(), errno: 0 });
    0
}

#[cfg(target_os = "linux")]
mod kvm {
    //! The kernel's Documentation/virt/kvm/api.rst, as far as one vCPU needs it.

    use std::fs::{File, OpenOptions};
    use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
    use std::os::unix::fs::OpenOptionsExt as _;

    use nix::errno::Errno;
    use nix::libc;

    /// The error: the step that failed, and the kernel's answer.
    type KvmResult<T> = Result<T, (&'static str, Errno)>;

    const fn io(number: u64) -> libc::c_ulong {
        (0xAE << 8 | number) as libc::c_ulong
    }

    fn ioctl(fd: RawFd, step: &'static str, request: libc::c_ulong, argument: u64) -> KvmResult<i32> {
        // SAFETY: requests without a struct take a number or nothing.
        Errno::result(unsafe { libc::ioctl(fd, request as _, argument) }).map_err(|error| (step, error))
    }

    fn open() -> KvmResult<File> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_CLOEXEC).open("/dev/kvm");
        file.map_err(|error| ("open /dev/kvm", Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))))
    }

    fn owned(fd: i32) -> OwnedFd {
        // SAFETY: the ioctl that created it has just returned this descriptor.
        unsafe { OwnedFd::from_raw_fd(fd) }
    }

    fn create_vm(kvm: &File) -> KvmResult<OwnedFd> {
        let version = ioctl(kvm.as_raw_fd(), "ask KVM for its version", io(0x00), 0)?;
        if version != 12 {
            return Err(("ask KVM for its version", Errno::ENOTSUP));
        }
        ioctl(kvm.as_raw_fd(), "create a VM", io(0x01), 0).map(owned)
    }

    /// Elsewhere a VM is created and not run.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn run(_ready: impl FnOnce()) -> KvmResult<Option<f64>> {
        create_vm(&open()?).map(|_| None)
    }

    #[cfg(target_arch = "x86_64")]
    pub(super) use x86_64::run;

    #[cfg(target_arch = "x86_64")]
    mod x86_64 {
        use std::num::NonZeroUsize;
        use std::os::fd::AsRawFd as _;
        use std::time::Instant;

        use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous};

        use super::{Errno, KvmResult, create_vm, io, ioctl, libc, open, owned};

        /// `struct kvm_userspace_memory_region`
        #[repr(C)]
        struct Region {
            slot: u32,
            flags: u32,
            guest_address: u64,
            size: u64,
            host_address: u64,
        }

        /// `struct kvm_regs`
        #[repr(C)]
        #[derive(Default)]
        struct Regs {
            general: [u64; 16],
            rip: u64,
            rflags: u64,
        }

        /// `struct kvm_segment`
        #[repr(C)]
        #[derive(Default, Clone, Copy)]
        struct Segment {
            base: u64,
            limit: u32,
            selector: u16,
            kind: u8,
            present: u8,
            dpl: u8,
            db: u8,
            s: u8,
            l: u8,
            g: u8,
            avl: u8,
            unusable: u8,
            padding: u8,
        }

        /// `struct kvm_sregs`
        #[repr(C)]
        #[derive(Default)]
        struct Sregs {
            cs: Segment,
            /// ds, es, fs, gs, ss
            data: [Segment; 5],
            tr: Segment,
            ldt: Segment,
            tables: [u64; 4],
            cr0: u64,
            cr2: u64,
            cr3: u64,
            cr4: u64,
            cr8: u64,
            efer: u64,
            apic_base: u64,
            interrupts: [u64; 4],
        }

        const fn with_size(direction: u64, number: u64, size: usize) -> libc::c_ulong {
            (direction << 30 | (size as u64) << 16 | 0xAE << 8 | number) as libc::c_ulong
        }

        const SET_USER_MEMORY_REGION: libc::c_ulong = with_size(1, 0x46, size_of::<Region>());
        const SET_REGS: libc::c_ulong = with_size(1, 0x82, size_of::<Regs>());
        const GET_SREGS: libc::c_ulong = with_size(2, 0x83, size_of::<Sregs>());
        const SET_SREGS: libc::c_ulong = with_size(1, 0x84, size_of::<Sregs>());
        const CREATE_VCPU: libc::c_ulong = io(0x41);
        const GET_VCPU_MMAP_SIZE: libc::c_ulong = io(0x04);
        const SET_TSS_ADDR: libc::c_ulong = io(0x47);
        const RUN: libc::c_ulong = io(0x80);
        /// `KVM_EXIT_HLT`
        const EXIT_HLT: u32 = 5;

        const MEMORY: usize = 2 << 20;
        const CODE_AT: usize = 0x4000;
        /// mov ecx, 1000000; 1: dec ecx; jnz 1b; hlt
        const CODE: [u8; 10] = [0xb9, 0x40, 0x42, 0x0f, 0x00, 0xff, 0xc9, 0x75, 0xfc, 0xf4];

        /// One vCPU in long mode, ring 0, a million turns. Milliseconds.
        pub(in super::super) fn run(ready: impl FnOnce()) -> KvmResult<Option<f64>> {
            let kvm = open()?;
            let vm = create_vm(&kvm)?;
            // Intel's processors want three pages below 4 GiB; others have no use for it.
            let _ = ioctl(vm.as_raw_fd(), "set the TSS address", SET_TSS_ADDR, 0xfffb_d000);

            let size = NonZeroUsize::new(MEMORY).ok_or(("allocate memory", Errno::EINVAL))?;
            // SAFETY: a new anonymous mapping aliases nothing.
            let memory = unsafe {
                mmap_anonymous(None, size, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE)
            }
            .map_err(|error| ("allocate memory", error))?;
            // SAFETY: the mapping is MEMORY bytes long, zeroed, and nobody else has it until the vCPU runs.
            let bytes = unsafe { std::slice::from_raw_parts_mut(memory.as_ptr().cast::<u8>(), MEMORY) };
            // Page tables: one 2 MiB page at 0, present and writable.
            for (at, entry) in [(0x1000, 0x2003_u64), (0x2000, 0x3003), (0x3000, 0x83)] {
                bytes[at..at + 8].copy_from_slice(&entry.to_le_bytes());
            }
            bytes[CODE_AT..CODE_AT + CODE.len()].copy_from_slice(&CODE);

            let region = Region {
                slot: 0,
                flags: 0,
                guest_address: 0,
                size: MEMORY as u64,
                host_address: memory.as_ptr() as u64,
            };
            // The kernel reads the struct before the call returns; a reference's address is a number to it.
            ioctl(vm.as_raw_fd(), "give the VM memory", SET_USER_MEMORY_REGION, &raw const region as u64)?;

            let cpu = ioctl(vm.as_raw_fd(), "create a vCPU", CREATE_VCPU, 0).map(owned)?;
            let mut sregs = Sregs::default();
            ioctl(cpu.as_raw_fd(), "read the vCPU's state", GET_SREGS, &raw mut sregs as u64)?;
            let flat = Segment { limit: u32::MAX, present: 1, s: 1, g: 1, ..Segment::default() };
            sregs.cs = Segment { selector: 8, kind: 11, l: 1, ..flat };
            sregs.data = [Segment { selector: 16, kind: 3, db: 1, ..flat }; 5];
            sregs.cr3 = 0x1000;
            sregs.cr4 = 0x20;
            sregs.cr0 = 0x8005_0033;
            sregs.efer = 0x500;
            ioctl(cpu.as_raw_fd(), "enter long mode", SET_SREGS, &raw const sregs as u64)?;
            let regs = Regs { rip: CODE_AT as u64, rflags: 2, ..Regs::default() };
            ioctl(cpu.as_raw_fd(), "set the vCPU's registers", SET_REGS, &raw const regs as u64)?;

            let shared = ioctl(kvm.as_raw_fd(), "ask for the size of kvm_run", GET_VCPU_MMAP_SIZE, 0)?;
            let size = usize::try_from(shared).ok().filter(|size| *size >= 16).and_then(NonZeroUsize::new);
            let size = size.ok_or(("ask for the size of kvm_run", Errno::EINVAL))?;
            // SAFETY: a new mapping of the vCPU's own pages.
            let shared = unsafe {
                mmap(None, size, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, &cpu, 0)
            }
            .map_err(|error| ("map kvm_run", error))?;

            ready();
            let begun = Instant::now();
            ioctl(cpu.as_raw_fd(), "run the vCPU", RUN, 0)?;
            let millis = begun.elapsed().as_secs_f64() * 1000.0;
            // SAFETY: `exit_reason` is the u32 at byte 8 of kvm_run, which is at least 16 bytes long.
            let reason = unsafe { shared.as_ptr().cast::<u8>().add(8).cast::<u32>().read_volatile() };
            if reason == EXIT_HLT { Ok(Some(millis)) } else { Err(("run a loop on the vCPU", Errno::EIO)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_fits_the_error() {
        assert!(explain("open /dev/kvm", "", nix::libc::EACCES).hint.unwrap().contains("group kvm"));
        assert!(explain("open /dev/kvm", "", nix::libc::ENOENT).hint.unwrap().contains("modprobe"));
    }

    #[tokio::test]
    async fn tcg_needs_no_probe() {
        let (accel, reason) = choose(AccelChoice::Tcg, Path::new("/nonexistent")).await.unwrap();
        assert_eq!((accel, reason.as_deref()), (Accel::Tcg, Some("asked for")));
    }

    #[tokio::test]
    async fn auto_falls_back_with_a_reason_and_an_explicit_choice_fails_with_advice() {
        // Without a launcher nothing can be probed.
        let launcher = Path::new("/nonexistent/nixbox");
        let (accel, reason) = choose(AccelChoice::Auto, launcher).await.unwrap();
        assert_eq!(accel, Accel::Tcg);
        assert!(!reason.unwrap().is_empty());
        let failure = choose(AccelChoice::Kvm, launcher).await.unwrap_err();
        assert_eq!(failure.exit, crate::model::Exit::Unknown);
        assert!(failure.hint.is_some());
    }
}
