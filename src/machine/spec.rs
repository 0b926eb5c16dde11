//! The runner's arguments and environment, as a pure function of a [`Spec`].
//!
//! The interface is that of nixpkgs' `nixos/modules/virtualisation/qemu-vm.nix`. `QEMU_OPTS` is word-split by the
//! script and arguments are not, and arguments come last, so all that can be an argument is one. What only the
//! environment can set (the disk image, additions to `-append` and to `-netdev user`) goes there.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::sound_card::{self, RunnerCard};
use crate::model::{
    Accel, Credential, GUEST_CID, NetworkPolicy, STORE_DIR, TransportKind, VirtioPort, credential, run_file,
};

/// What a runner's script says about the QEMU it starts. Read from its text, which is a guess where the script is
/// unusual; wrong guesses make QEMU refuse to start, which is reported with its output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traits {
    /// It brings a `memory-backend-*` object of its own (virtiofs needs one): then memory's size is the runner's.
    pub own_memory_backend: bool,
    /// It uses `-accel` (or `-enable-kvm`), which QEMU refuses to combine with `-machine accel=`.
    pub accel_option: bool,
    /// It asks for `-cpu max`, NixOS' default, which is slow under TCG because of 5-level page tables.
    pub cpu_max: bool,
    /// How many `-serial` options it has: ours comes after them.
    pub serials: usize,
    /// What its last `-m` says, in MiB.
    pub memory_mib: Option<u64>,
    /// The sound cards that it brings; a backend without a card does not count.
    pub cards: Vec<RunnerCard>,
    /// The QEMU that it starts, by absolute path.
    pub qemu: Option<PathBuf>,
}

impl Traits {
    /// Reads a runner's text.
    pub fn scan(text: &str) -> Self {
        let words: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .flat_map(str::split_whitespace)
            .map(|word| word.trim_matches(|c| matches!(c, '"' | '\'')))
            .collect();
        let mut traits = Self::default();
        for (index, word) in words.iter().enumerate() {
            let next = words.get(index + 1).copied().unwrap_or_default();
            traits.cards.extend(RunnerCard::scan(word, next));
            match *word {
                "-object" if next.starts_with("memory-backend-") => traits.own_memory_backend = true,
                "-accel" | "-enable-kvm" => traits.accel_option = true,
                "-cpu" => traits.cpu_max = next == "max",
                "-serial" => traits.serials += 1,
                "-m" => traits.memory_mib = memory_mib(next).or(traits.memory_mib),
                _ if is_qemu(word) && traits.qemu.is_none() => traits.qemu = Some(word.into()),
                _ => {}
            }
        }
        traits
    }
}

/// Whether this is the path of an emulator: `…/qemu-system-x86_64`, `…/qemu-kvm`.
fn is_qemu(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or_default();
    word.starts_with('/') && (name.starts_with("qemu-system-") || name == "qemu-kvm")
}

/// QEMU's `-m [size=]N[M|G]`, in MiB (a bare number is MiB; qemu(1)).
fn memory_mib(value: &str) -> Option<u64> {
    let value = value.split(',').next()?;
    let value = value.strip_prefix("size=").unwrap_or(value);
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    match &value[digits.len()..] {
        "" | "M" | "m" => Some(number),
        "G" | "g" => number.checked_mul(1024),
        _ => None,
    }
}

/// What `qemu-vm.nix` gives to a VM of which nobody says how much memory it is to have, in MiB.
pub const DEFAULT_MEMORY_MIB: u64 = 1024;

/// A machine to start.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The script `bin/run-NAME-vm`.
    pub runner: PathBuf,
    /// What the script says about itself.
    pub traits: Traits,
    /// The run directory: absolute, short, of mode 0700, without commas.
    pub run_dir: PathBuf,
    /// Guest memory in MiB; not applied where the runner brings its own memory backend.
    pub memory_mib: u64,
    /// Virtual CPUs, at least 1.
    pub cores: u32,
    /// How it is executed.
    pub accel: Accel,
    /// The transport to the guest.
    pub transport: TransportKind,
    /// The guest's CID, where the transport is one of the vsocks.
    pub cid: u32,
    /// What the network reaches.
    pub network: NetworkPolicy,
    /// Whether QEMU itself keeps the guest from the outside where the policy is off. Its DHCP then offers neither a
    /// router nor name servers (libslirp), so that no configuration gets a default route: leave it out where the jail
    /// has no network anyway.
    pub restrict: bool,
    /// Credentials, in total well under 64 KiB with their base64 (see [`Spec::credential_bytes`]).
    pub credentials: Vec<Credential>,
    /// Added to the kernel's command line.
    pub kernel_params: Vec<String>,
    /// Whether it has a sound card whose output goes into a file of the run directory: one of ours, or the runner's own
    /// where it can be redirected there (see [`super::sound_card::card_setup`]).
    pub sound: bool,
    /// Whether that card has a microphone, too: by way of ALSA, where that works.
    pub microphone: bool,
    /// Further arguments for QEMU (displays).
    pub extra: Vec<OsString>,
    /// Further variables of the runner's environment.
    pub variables: Vec<(OsString, OsString)>,
    /// Further device nodes that the jail has.
    pub nodes: Vec<PathBuf>,
}

/// SMBIOS tables above this size are truncated silently; nixbox stays well below (bytes).
pub const CREDENTIALS_LIMIT: usize = 48 << 10;

impl Spec {
    /// A machine with the defaults of `try`: 1 GiB, 1 core, TCG, no network.
    pub fn new(runner: impl Into<PathBuf>, run_dir: impl Into<PathBuf>) -> Self {
        Self {
            runner: runner.into(),
            traits: Traits::default(),
            run_dir: run_dir.into(),
            memory_mib: DEFAULT_MEMORY_MIB,
            cores: 1,
            accel: Accel::default(),
            transport: TransportKind::VhostUser,
            cid: GUEST_CID,
            network: NetworkPolicy::Off,
            restrict: true,
            credentials: Vec::new(),
            kernel_params: Vec::new(),
            sound: false,
            microphone: false,
            extra: Vec::new(),
            variables: Vec::new(),
            nodes: Vec::new(),
        }
    }

    /// A file of the run directory.
    pub fn run_file(&self, name: &str) -> PathBuf {
        self.run_dir.join(name)
    }

    /// What the credentials take in SMBIOS, in bytes.
    pub fn credential_bytes(&self) -> usize {
        self.credentials.iter().map(|credential| smbios_value(credential).len() + 1).sum()
    }
}

fn smbios_value(credential: &Credential) -> String {
    format!("{}{}={}", credential::SMBIOS_PREFIX, credential.name, BASE64.encode(&credential.value))
}

/// A value inside a QEMU option: commas are doubled (qemu(1)).
pub fn quote(value: impl AsRef<OsStr>) -> OsString {
    let mut quoted = Vec::new();
    for byte in value.as_ref().as_bytes() {
        quoted.push(*byte);
        if *byte == b',' {
            quoted.push(b',');
        }
    }
    OsString::from_vec(quoted)
}

/// `before` + the quoted value + `after`.
pub(super) fn option(before: &str, value: impl AsRef<OsStr>, after: &str) -> OsString {
    let mut option = OsString::from(before);
    option.push(quote(value));
    option.push(after);
    option
}

/// The runner's arguments. They follow the script's own, so that the last word is ours.
pub fn arguments(spec: &Spec) -> Vec<OsString> {
    let mut arguments = Vec::new();
    let mut add = |flag: &str, value: OsString| arguments.extend([OsString::from(flag), value]);

    // QMP first: whatever goes wrong later is reported there.
    add("-chardev", option("socket,id=nixbox-qmp,path=", spec.run_file(run_file::QMP), ",server=off"));
    add("-mon", "chardev=nixbox-qmp,mode=control".into());
    // `-nographic` would put QEMU's monitor on stdio, where it only makes noise.
    add("-monitor", "none".into());
    add("-chardev", option("socket,id=nixbox-con,path=", spec.run_file(run_file::CONSOLE), ",server=off"));
    add("-serial", "chardev:nixbox-con".into());
    add("-display", "none".into());
    // A guest that reboots, powers off or panics stays as it is, for the screen and the console.
    add("-action", "reboot=shutdown,shutdown=pause,panic=pause".into());
    add("-device", "pvpanic-pci".into());
    if cfg!(target_os = "linux") {
        add("-sandbox", "on,elevateprivileges=deny,spawn=deny,resourcecontrol=deny".into());
    }

    if !spec.traits.own_memory_backend {
        add("-m", format!("{}M", spec.memory_mib).into());
    }
    add("-smp", spec.cores.to_string().into());
    if spec.traits.accel_option {
        add("-accel", spec.accel.name().into());
    } else {
        add("-machine", format!("accel={}", spec.accel.name()).into());
    }
    if spec.accel.is_emulated() && spec.traits.cpu_max {
        // A third of the boot's time goes into walking the fifth level of page tables (measured with QEMU 10).
        add("-cpu", "max,-la57".into());
    }

    match spec.transport {
        TransportKind::VhostUser => {
            // The daemon maps the guest's memory, so it must be shared (QEMU's docs/interop/vhost-user.rst).
            if !spec.traits.own_memory_backend {
                let size = spec.memory_mib;
                add("-object", format!("memory-backend-memfd,id=nixbox-mem,size={size}M,share=on").into());
                add("-machine", "memory-backend=nixbox-mem".into());
            }
            add("-chardev", option("socket,id=nixbox-vsock,path=", spec.run_file(run_file::VHOST), ""));
            add("-device", "vhost-user-vsock-pci,chardev=nixbox-vsock".into());
        }
        TransportKind::Vsock => add("-device", format!("vhost-vsock-pci,guest-cid={}", spec.cid).into()),
        TransportKind::VirtioSerial => {
            add("-device", "virtio-serial-pci,id=nixbox-serial,max_ports=16".into());
            for port in VirtioPort::all() {
                let name = port.guest_name();
                let before = format!("socket,id={name},path=");
                add("-chardev", option(&before, spec.run_file(&port.run_file()), ",server=on,wait=off"));
                add("-device", format!("virtserialport,bus=nixbox-serial.0,chardev={name},name={name}").into());
            }
        }
    }
    for credential in &spec.credentials {
        add("-smbios", option("type=11,value=", smbios_value(credential), ""));
    }
    for (flag, value) in sound_card::arguments(spec) {
        add(flag, value);
    }
    arguments.extend(spec.extra.iter().cloned());
    arguments
}

/// The runner's whole environment: nothing of nixbox' own is inherited.
pub fn environment(spec: &Spec) -> Vec<(OsString, OsString)> {
    let mut environment: Vec<(OsString, OsString)> = Vec::new();
    let mut set = |name: &str, value: OsString| environment.push((name.into(), value));
    // NixOS's script uses store paths; PATH is for other runners.
    set("PATH", "/usr/bin:/bin:/usr/sbin:/sbin".into());
    set("LANG", "C.UTF-8".into());
    set("HOME", spec.run_file(DIR_HOME).into());
    set("TMPDIR", spec.run_file(DIR_TMP).into());
    // Without it the script makes a directory below TMPDIR and never removes it.
    set("USE_TMPDIR", "1".into());
    set("SHARED_DIR", spec.run_file(DIR_SHARED).into());
    set("NIX_DISK_IMAGE", spec.run_file(run_file::DISK).into());
    set("NIX_EFI_VARS", spec.run_file("efi-vars.fd").into());
    set("NIX_SWTPM_DIR", spec.run_file(DIR_SWTPM).into());
    if spec.network == NetworkPolicy::Off && spec.restrict {
        // Appended to `-netdev user,id=user.0,`.
        set("QEMU_NET_OPTS", "restrict=on".into());
    }
    let mut params = vec![format!("console=ttyS{}", spec.traits.serials)];
    if !spec.credentials.is_empty() {
        params.extend([credential::KERNEL_PARAMETER, credential::STAGE_1_JOURNAL].map(str::to_owned));
    }
    params.extend(spec.kernel_params.iter().cloned());
    set("QEMU_KERNEL_PARAMS", params.join(" ").into());
    if spec.microphone {
        set("ALSA_CONFIG_PATH", spec.run_file(run_file::ALSA).into());
    }
    environment.extend(spec.variables.iter().cloned());
    environment
}

/// The runner's home, in the run directory.
const DIR_HOME: &str = "home";
/// The runner's TMPDIR.
const DIR_TMP: &str = "tmp";
/// What NixOS mounts at `/tmp/shared` in the guest.
const DIR_SHARED: &str = "shared";
/// The emulated TPM's state.
const DIR_SWTPM: &str = "swtpm";

/// The directories that must be there before the runner starts.
pub fn directories(spec: &Spec) -> Vec<PathBuf> {
    [DIR_HOME, DIR_TMP, DIR_SHARED, DIR_SWTPM].map(|name| spec.run_file(name)).to_vec()
}

/// What a QEMU command line opens to the guest beyond the store: directories that are shared and ports that are
/// forwarded. More arguments cannot take them away, so the report says them.
pub fn openings<S: AsRef<str>>(command_line: &[S], run_dir: &Path) -> Vec<String> {
    let mut openings = Vec::new();
    for pair in command_line.windows(2) {
        let (flag, value) = (pair[0].as_ref(), pair[1].as_ref());
        match flag {
            "-virtfs" | "-fsdev" | "--virtfs" | "--fsdev" => {
                let Some(path) = field(value, "path") else { continue };
                let at = Path::new(&path);
                if at != Path::new(STORE_DIR) && !at.starts_with(run_dir) {
                    openings.push(format!("shares {path} of the host (as far as it is mounted in the jail)"));
                }
            }
            "-netdev" | "-nic" | "-net" => {
                for (key, word) in
                    [("hostfwd", "forwards a port of the host"), ("guestfwd", "forwards out of the guest")]
                {
                    openings.extend(fields(value, key).map(|value| format!("{word}: {value}")));
                }
            }
            _ => {}
        }
    }
    openings
}

/// The values of a key in a QEMU option, doubled commas undone.
fn fields<'a>(option: &'a str, key: &'a str) -> impl Iterator<Item = String> + 'a {
    let escaped = option.replace(",,", "\0");
    let values: Vec<String> = escaped
        .split(',')
        .filter_map(|field| field.strip_prefix(key)?.strip_prefix('='))
        .map(|value| value.replace('\0', ","))
        .collect();
    values.into_iter()
}

fn field(option: &str, key: &str) -> Option<String> {
    fields(option, key).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec::new("/nix/store/x-vm/bin/run-x-vm", "/run/user/1/nixbox/a")
    }

    fn strings(arguments: Vec<OsString>) -> Vec<String> {
        arguments.into_iter().map(|argument| argument.into_string().unwrap()).collect()
    }

    fn values(spec: &Spec, flag: &str) -> Vec<String> {
        let arguments = strings(arguments(spec));
        arguments.windows(2).filter(|pair| pair[0] == flag).map(|pair| pair[1].clone()).collect()
    }

    fn env(spec: &Spec, name: &str) -> Option<String> {
        environment(spec).into_iter().find(|(key, _)| key == name).map(|(_, value)| value.into_string().unwrap())
    }

    #[test]
    fn the_default_machine_is_tcg_over_vhost_user() {
        let spec = spec();
        assert_eq!(values(&spec, "-machine"), ["accel=tcg", "memory-backend=nixbox-mem"]);
        assert_eq!(values(&spec, "-object"), ["memory-backend-memfd,id=nixbox-mem,size=1024M,share=on"]);
        assert_eq!(values(&spec, "-m"), ["1024M"]);
        assert!(values(&spec, "-device").contains(&"vhost-user-vsock-pci,chardev=nixbox-vsock".to_owned()));
        assert_eq!(values(&spec, "-accel"), [""; 0]);
    }

    #[test]
    fn a_runner_with_its_own_memory_keeps_it() {
        let spec = Spec { traits: Traits { own_memory_backend: true, ..Traits::default() }, ..spec() };
        assert_eq!(values(&spec, "-machine"), ["accel=tcg"]);
        assert!(values(&spec, "-m").is_empty());
        assert!(values(&spec, "-object").is_empty());
    }

    #[test]
    fn a_runner_that_uses_accel_gets_accel() {
        let spec = Spec { traits: Traits { accel_option: true, ..Traits::default() }, accel: Accel::Kvm, ..spec() };
        assert_eq!(values(&spec, "-accel"), ["kvm"]);
        assert_eq!(values(&spec, "-machine"), ["memory-backend=nixbox-mem"]);
    }

    #[test]
    fn the_cpu_is_only_changed_from_the_default_and_under_tcg() {
        let traits = Traits { cpu_max: true, ..Traits::default() };
        assert_eq!(values(&Spec { traits: traits.clone(), ..spec() }, "-cpu"), ["max,-la57"]);
        assert!(values(&Spec { traits, accel: Accel::Kvm, ..spec() }, "-cpu").is_empty());
        assert!(values(&spec(), "-cpu").is_empty());
    }

    #[test]
    fn commas_are_doubled() {
        let spec = Spec { run_dir: "/a,b".into(), ..spec() };
        assert!(values(&spec, "-chardev").contains(&"socket,id=nixbox-qmp,path=/a,,b/qmp,server=off".to_owned()));
        assert_eq!(env(&spec, "NIX_DISK_IMAGE").unwrap(), "/a,b/disk.qcow2");
    }

    #[test]
    fn credentials_are_smbios_strings() {
        let credentials =
            vec![Credential { name: "systemd.extra-unit.x.service".into(), value: b"[Service]\n".to_vec() }];
        let spec = Spec { credentials, ..spec() };
        let expected = "type=11,value=io.systemd.credential.binary:systemd.extra-unit.x.service=W1NlcnZpY2VdCg==";
        assert_eq!(values(&spec, "-smbios"), [expected]);
        assert_eq!(spec.credential_bytes(), expected.len() - "type=11,value=".len() + 1);
    }

    #[test]
    fn virtio_serial_has_a_port_for_each_purpose() {
        let spec = Spec { transport: TransportKind::VirtioSerial, ..spec() };
        let devices = values(&spec, "-device");
        for name in ["nixbox.7100.0", "nixbox.7100.3", "nixbox.7101.0", "nixbox.7102.0"] {
            assert!(devices.iter().any(|device| device.ends_with(&format!(",name={name}"))), "{name} in {devices:?}");
        }
        let chardevs = values(&spec, "-chardev");
        assert!(chardevs.iter().any(|it| it.contains("/vp.7101.0,server=on,wait=off")), "{chardevs:?}");
        assert!(values(&spec, "-object").is_empty(), "memory is not shared for nothing");
    }

    #[test]
    fn the_network_is_closed_unless_asked_for() {
        assert_eq!(env(&spec(), "QEMU_NET_OPTS").unwrap(), "restrict=on");
        assert_eq!(env(&Spec { network: NetworkPolicy::User, ..spec() }, "QEMU_NET_OPTS"), None);
    }

    #[test]
    fn our_console_comes_after_the_runners() {
        let mut spec = Spec { kernel_params: vec!["a=b".into()], ..spec() };
        assert_eq!(env(&spec, "QEMU_KERNEL_PARAMS").unwrap(), "console=ttyS0 a=b");
        spec.traits.serials = 1;
        assert_eq!(env(&spec, "QEMU_KERNEL_PARAMS").unwrap(), "console=ttyS1 a=b");
    }

    /// What `nixos-25.05`'s qemu-vm.nix writes.
    const RUNNER: &str = r#"#! /nix/store/x-bash/bin/bash
# -enable-kvm is not used
exec /nix/store/x-qemu/bin/qemu-kvm -machine accel=kvm:tcg -cpu max \
    -name laptop \
    -m 1024 \
    -smp 1 \
    -device virtio-rng-pci \
    -net nic,netdev=user.0,model=virtio -netdev user,id=user.0,"$QEMU_NET_OPTS" \
    -virtfs local,path=/nix/store,security_model=none,mount_tag=nix-store \
    $QEMU_OPTS \
    "$@"
"#;

    #[test]
    fn a_nixos_runner_is_read() {
        let traits = Traits::scan(RUNNER);
        let qemu = Some(PathBuf::from("/nix/store/x-qemu/bin/qemu-kvm"));
        let usual = Traits { cpu_max: true, memory_mib: Some(1024), qemu: qemu.clone(), ..Traits::default() };
        assert_eq!(traits, usual);
        let cards = |options: &str| Traits::scan(&RUNNER.replace("$QEMU_OPTS", options)).cards;
        assert_eq!(cards("-audiodev pa,id=a"), []);
        assert_eq!(cards("-audiodev pa,id=a -device intel-hda -device hda-duplex,audiodev=a").len(), 1);
        let own = "-object memory-backend-memfd,id=mem,size=2G,share=on -m size=2G -accel kvm -serial stdio -cpu host";
        let traits = Traits::scan(&RUNNER.replace("$QEMU_OPTS", own));
        assert_eq!(
            traits,
            Traits {
                own_memory_backend: true,
                accel_option: true,
                cpu_max: false,
                serials: 1,
                memory_mib: Some(2048),
                cards: Vec::new(),
                qemu
            }
        );
    }

    #[test]
    fn what_the_command_line_opens_is_listed() {
        let line = [
            "qemu",
            "-virtfs",
            "local,path=/nix/store,security_model=none",
            "-virtfs",
            "local,path=/r/shared,mount_tag=shared",
            "-virtfs",
            "local,path=/home/me,,too,mount_tag=x",
            "-netdev",
            "user,id=user.0,hostfwd=tcp::2222-:22,guestfwd=tcp:10.0.2.9:80-cmd:nc x 1",
        ];
        let openings = openings(&line, Path::new("/r"));
        assert_eq!(openings.len(), 3, "{openings:?}");
        assert!(openings[0].contains("/home/me,too"));
        assert!(openings[1].contains("tcp::2222-:22"));
        assert!(openings[2].contains("cmd:nc"));
    }
}
