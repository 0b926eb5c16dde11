//! Each fact that nixbox shares with the outside, defined once: exit codes, ports, credential names, file names,
//! schema versions.

use serde::{Deserialize, Serialize};

/// The exit code, the same everywhere. The numbers are an API (README, `--help`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Exit {
    /// All that was tested passed.
    Pass = 0,
    /// A check failed.
    CheckFailed = 1,
    /// Usage: flags, values, `nixbox.toml`, a flake or path that is not there, several targets and none chosen.
    Usage = 2,
    /// The target's attribute is missing, or evaluation or build failed.
    Build = 3,
    /// The guest did not come up, with evidence from the guest.
    Boot = 4,
    /// Could not tell: a problem of this host or QEMU, a full disk, a deadline without evidence, a guest with systemd older
    /// than 256, or (`--strict`) something a VM cannot show.
    Unknown = 5,
    /// Interrupted (128 + SIGINT).
    Interrupted = 130,
}

impl Exit {
    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// The table that `--help` and the README show.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    all that was tested passed
  1    a check failed
  2    usage: flags, values, nixbox.toml, a flake or path that is not there, several targets and
       none chosen
  3    the target's attribute is missing, evaluation or build failed
  4    the guest did not come up (panic, emergency mode, power-off, a job that is stuck)
  5    could not tell: a problem of this host or QEMU, a full disk, a guest with systemd older
       than 256, or (--strict) something a VM cannot show
  130  interrupted";

/// The version of the JSON report (`schema` in `report.json`).
pub const REPORT_SCHEMA: u32 = 2;
/// The version of the JSON report of a matrix (`schema` in `matrix.json`); the reports in it have their own.
pub const MATRIX_SCHEMA: u32 = 1;
/// The version of the JSON of `nixbox diff` (`schema` in it).
pub const DIFF_SCHEMA: u32 = 1;
/// The version of what is remembered from run to run; another one is as good as nothing.
pub const CACHE_SCHEMA: u32 = 1;

/// Ports on vsock (or the numbers of the virtio-serial ports). All above 1023, so that a rootless host may serve them.
pub mod port {
    /// A root shell per connection, in the guest.
    pub const SHELL: u32 = 7100;
    /// The system bus, one `systemd-stdio-bridge` per connection, in the guest.
    pub const SYSTEM_BUS: u32 = 7101;
    /// PID 1's private bus, which needs no bus daemon, in the guest.
    pub const MANAGER_BUS: u32 = 7102;
    /// PID 1's notify messages arrive here, on the host.
    pub const NOTIFY: u32 = 7103;
}

/// virtio-serial's ports: (number, how many of it), each a stream of its own.
pub const VIRTIO_PORTS: [(u32, u32); 3] = [(port::SHELL, 4), (port::SYSTEM_BUS, 1), (port::MANAGER_BUS, 1)];

/// One of [`VIRTIO_PORTS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VirtioPort {
    /// One of [`port`].
    pub number: u32,
    /// Which of those with this number, from 0.
    pub index: u32,
}

impl VirtioPort {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        VIRTIO_PORTS.into_iter().flat_map(|(number, count)| (0..count).map(move |index| Self { number, index }))
    }

    /// What it is called in the guest.
    pub fn guest_name(self) -> String {
        format!("nixbox.{}.{}", self.number, self.index)
    }

    /// The socket in the run directory that QEMU listens on for the host's side.
    pub fn run_file(self) -> String {
        format!("vp.{}.{}", self.number, self.index)
    }
}

/// The vsock CID of the host, as seen from the guest (vsock(7)).
pub const HOST_CID: u32 = 2;
/// The guest's CID. With vhost-user every VM has a daemon of its own, so one number serves all.
pub const GUEST_CID: u32 = 3;

/// systemd credentials (systemd.system-credentials(7)) that make an unmodified guest answer.
pub mod credential {
    /// What must be on the kernel's command line besides: a systemd in stage 1 that imports the credentials leaves the real
    /// system without, whose PID 1 finds them "set twice" (systemd 257; systemd#37391, nixpkgs#421388). Told not to
    /// (systemd-pid1(1)), it leaves them to the real one; without systemd there it is no word to anybody.
    pub(crate) const KERNEL_PARAMETER: &str = "rd.systemd.import_credentials=no";
    /// Also on the kernel's command line: what units say in stage 1 goes to the console too (journald.conf(5)), since the
    /// journal of stage 1 ends with it. Some hundred lines where systemd is there, no word to anybody else.
    pub(crate) const STAGE_1_JOURNAL: &str =
        "rd.systemd.journald.forward_to_console=1 rd.systemd.journald.max_level_console=info";
    /// `systemd.extra-unit.NAME` adds a unit.
    pub const EXTRA_UNIT: &str = "systemd.extra-unit.";
    /// `systemd.unit-dropin.UNIT~NAME` adds a drop-in.
    pub const UNIT_DROPIN: &str = "systemd.unit-dropin.";
    /// What our units run: `/run/credentials/@system/nixbox.sh`, readable by root only, since the run's token is in it.
    pub const SCRIPT: &str = "nixbox.sh";
    /// What places files: `/run/credentials/@system/nixbox.files.sh`.
    pub const FILES: &str = "nixbox.files.sh";
    /// PID 1's notify socket.
    pub const NOTIFY_SOCKET: &str = "vmm.notify_socket";
    /// Where systemd looks for credentials in SMBIOS type 11 strings.
    pub const SMBIOS_PREFIX: &str = "io.systemd.credential.binary:";
}

/// Every unit that nixbox adds to a guest starts with this, so that checks can leave them out.
pub const UNIT_PREFIX: &str = "nixbox-";

/// The session that is opened to test sound where no user has one at the seat.
pub const SESSION_UNIT: &str = "nixbox-sound";

/// The store's logical directory. Other ones exist, but nothing of nixpkgs' binary caches works with them.
pub const STORE_DIR: &str = "/nix/store";

/// The configuration beside a flake.
pub const CONFIG_FILE: &str = "nixbox.toml";
/// The artifacts' directory beside a flake.
pub const ARTIFACTS_DIR: &str = ".nixbox";

/// Files in an artifacts directory.
pub mod artifact {
    /// The report, whatever format went to stdout.
    pub const REPORT: &str = "report.json";
    /// The report of a matrix, in the directory in which those of its machines lie.
    pub const MATRIX: &str = "matrix.json";
    /// Everything that the guest wrote to its serial console, bounded.
    pub const CONSOLE: &str = "console.log";
    /// The guest's whole journal as text, bounded.
    pub const JOURNAL: &str = "journal.txt";
    /// The screen at the verdict.
    pub const SCREEN: &str = "screen.png";
    /// The login screen, before a user was logged in.
    pub const GREETER: &str = "greeter.png";
    /// The user's session, once its picture was steady.
    pub const SESSION: &str = "session.png";
    /// The way there: the screen from the machine's start on.
    pub const FILM: &str = "boot.gif";
    /// The output of nix.
    pub const NIX_LOG: &str = "nix.log";
    /// The output of the runner and of QEMU.
    pub const QEMU_LOG: &str = "qemu.log";
    /// What came out of the sound card while a sound was played.
    pub const SOUND: &str = "audio.wav";
    /// The same as a picture.
    pub const SPECTROGRAM: &str = "spectrogram.png";
    /// The facts that the checks judged.
    pub const FACTS: &str = "facts.json";
}

/// Names in a run directory (mode 0700, short path: a Unix socket's path holds about 104 bytes).
pub mod run_file {
    /// QEMU connects here for QMP; nixbox listens.
    pub const QMP: &str = "qmp";
    /// QEMU connects here with the serial console; nixbox listens.
    pub const CONSOLE: &str = "con";
    /// The vsock daemon's vhost-user socket, for QEMU.
    pub const VHOST: &str = "vh";
    /// The vsock daemon's socket for the host's side; `_PORT` is appended for connections from the guest.
    pub const VSOCK: &str = "vs";
    /// The guest's disk.
    pub const DISK: &str = "disk.qcow2";
    /// A root shell of the guest for the user, with `--keep`.
    pub const KEPT_SHELL: &str = "shell";
    /// What comes out of the sound card, as QEMU writes it.
    pub const SOUND: &str = "audio.wav";
    /// What the guest's microphone records: samples.
    pub const MICROPHONE: &str = "microphone";
    /// ALSA's configuration for QEMU.
    pub const ALSA: &str = "asound.conf";
    /// What the guest's network cards sent, as QEMU dumps it; a card's number is appended.
    pub const PACKETS: &str = "packets";
    /// QEMU's VNC server, in a demo without a window.
    pub const VNC: &str = "vnc";
    /// Who owns the run: `PID START_TIME` in clock ticks (proc_pid_stat(5)).
    pub const OWNER: &str = "owner";
}

/// Most of an artifacts directory's size, in bytes: 20 MiB.
pub const ARTIFACTS_LIMIT: u64 = 20 << 20;
/// How many runs' artifacts are kept.
pub const ARTIFACTS_KEPT: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of [`EXIT_CODES`], those of several lines in one.
    fn exit_codes() -> Vec<(u8, String)> {
        let mut rows: Vec<(u8, String)> = Vec::new();
        for line in EXIT_CODES.lines().skip(1) {
            match line.trim().split_once("  ") {
                Some((code, text)) => rows.push((code.parse().unwrap(), text.trim().to_owned())),
                None => rows.last_mut().unwrap().1.push_str(&format!(" {}", line.trim())),
            }
        }
        rows
    }

    #[test]
    fn the_readme_has_the_same_exit_codes() {
        let readme = include_str!("../../README.md");
        let table = readme.split("| code | meaning |").nth(1).unwrap();
        let row = |line: &str| {
            let (code, text) = line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | ")?;
            Some((code.parse::<u8>().ok()?, text.replace('`', "")))
        };
        assert_eq!(table.lines().skip(2).map_while(row).collect::<Vec<_>>(), exit_codes());
    }
}
