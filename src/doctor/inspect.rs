//! Asks this host: commands with a deadline, files, devices. Judges nothing.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::{CommandRun, HostObservations, HostProbes};
use crate::host;
use crate::machine::accel::{self, ProbeResult};
use crate::machine::jail;
use crate::model::timeouts::doctor::{BUILD_LIMIT, COMMAND_LIMIT};
use crate::model::{Accel, JailKind, STORE_DIR};
use crate::text::{command_line, escape_line, seconds};

/// Most that is read of a command's output, in bytes.
pub(super) const OUTPUT_LIMIT: u64 = 256 << 10;
/// Nothing is fetched or read from the flake registry; features are passed as `nixbox try` passes them.
const NIX: [&str; 3] = ["nix", "--extra-experimental-features", "nix-command flakes"];

/// Runs the accelerator and the jail. One after the other, since they are timed.
async fn try_out() -> HostProbes {
    let launcher = jail::launcher();
    let mut accelerators = Vec::new();
    if let Some(native) = Accel::native() {
        accelerators.push((native, accel::probe(native, &launcher).await));
    }
    let began = Instant::now();
    let probe = jail::probe(&launcher).await;
    let result = ProbeResult {
        usable: probe.kind != JailKind::None,
        reason: probe.reason,
        hint: (probe.kind == JailKind::None)
            .then(|| "allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1), or a kernel with Landlock".to_owned()),
        millis: Some(began.elapsed().as_secs_f64() * 1000.0),
    };
    HostProbes { accelerators, jails: vec![(probe.kind, result)] }
}

/// Everything about this host that is judged.
pub(super) async fn observe() -> HostObservations {
    let probes = try_out().await;
    // A derivation that no store holds yet; its output is a few bytes and goes with the next garbage collection.
    let nonce = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    // Measured: a builder that execs its last command may be killed; `exit 0` ends it in the shell.
    let trivial = format!(
        "derivation {{ name = \"nixbox-doctor-{nonce}-{}\"; system = builtins.currentSystem; builder = \"/bin/sh\"; \
         args = [ \"-c\" \"echo ok > $out; exit 0\" ]; }}",
        std::process::id()
    );
    let [nix, extra, features] = NIX;
    let qemu = format!("qemu-system-{}", std::env::consts::ARCH);
    let (nix_version, evaluates, without, builds, settings, qemu, vsock_daemon) = tokio::join!(
        ask([nix, "--version"], COMMAND_LIMIT),
        ask([nix, extra, features, "eval", "--expr", "1 + 1"], COMMAND_LIMIT),
        ask([nix, "eval", "--expr", "1 + 1"], COMMAND_LIMIT),
        ask([nix, extra, features, "build", "--impure", "--no-link", "--json", "--expr", &trivial], BUILD_LIMIT),
        settings(),
        ask([&qemu, "--version"], COMMAND_LIMIT),
        ask(["vhost-device-vsock", "--version"], COMMAND_LIMIT),
    );
    HostObservations {
        nix: nix_version,
        evaluates,
        features: without,
        builds,
        settings,
        qemu,
        vsock_daemon,
        kernel_vsock: std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/vhost-vsock")
            .err()
            .map(|error| error.to_string()),
        disks: disks(),
        memory: host::memory().await,
        terminal: {
            let terminal = console::Term::stderr();
            terminal.is_term().then(|| terminal.size().1.into())
        },
        probes,
    }
}

/// nix's `sandbox` setting: by itself, or among all as JSON where nix is older than `config show`.
async fn settings() -> CommandRun {
    let [nix, extra, features] = NIX;
    let new = ask([nix, extra, features, "config", "show", "sandbox"], COMMAND_LIMIT).await;
    if new.succeeded() || new.absent {
        return new;
    }
    ask([nix, extra, features, "show-config", "--json"], COMMAND_LIMIT).await
}

/// Runs a command to its end, or to the limit.
pub(super) async fn ask<const N: usize>(command: [&str; N], limit: Duration) -> CommandRun {
    let began = Instant::now();
    let mut ran = CommandRun { command: command_line(command), ..CommandRun::default() };
    let [program, arguments @ ..] = &command[..] else { return ran };
    let child = Command::new(program)
        .args(arguments)
        // No flake.nix and no file of the user's is here.
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    match child {
        Err(error) => {
            ran.absent = error.kind() == std::io::ErrorKind::NotFound;
            ran.error = Some(if ran.absent { format!("{program} is not on PATH") } else { error.to_string() });
        }
        Ok(mut child) => {
            let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
            let all = async { tokio::join!(read(stdout), read(stderr), child.wait()) };
            match tokio::time::timeout(limit, all).await {
                Ok((stdout, stderr, status)) => {
                    (ran.stdout, ran.stderr) = (stdout, stderr);
                    match status {
                        Ok(status) => {
                            ran.exit = status.code();
                            ran.error = ran.exit.is_none().then(|| status.to_string());
                        }
                        Err(error) => ran.error = Some(error.to_string()),
                    }
                }
                Err(_) => ran.error = Some(format!("no answer within {}", seconds(limit.as_secs_f64()))),
            }
        }
    }
    ran.millis = began.elapsed().as_secs_f64() * 1000.0;
    ran
}

/// The beginning of a stream. The rest is read and dropped, so that the writer does not block.
async fn read(stream: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut kept = Vec::new();
    // What was read up to an error counts.
    let _kept_so_far = (&mut stream).take(OUTPUT_LIMIT).read_to_end(&mut kept).await;
    let _dropped = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&kept).into_owned()
}

/// Free bytes, for this user, where the VM's disk, the artifacts and the builds go.
fn disks() -> Vec<(PathBuf, u64)> {
    let state = crate::paths::state_directory();
    let places = [Some(std::env::temp_dir()), state, Some(PathBuf::from(STORE_DIR))];
    let mut disks: Vec<(PathBuf, u64)> = Vec::new();
    let mut devices = Vec::new();
    for place in places.into_iter().flatten() {
        // A directory that does not exist yet is created on the file system of its nearest existing parent.
        let Some(place) = place.ancestors().find(|place| place.exists()) else { continue };
        let Ok(device) = std::fs::metadata(place).map(|metadata| metadata.dev()) else { continue };
        if devices.contains(&device) {
            continue;
        }
        if let Ok(status) = nix::sys::statvfs::statvfs(place) {
            devices.push(device);
            #[expect(clippy::useless_conversion, reason = "the counts have other widths on macOS")]
            let free = u64::from(status.blocks_available()).saturating_mul(u64::from(status.fragment_size()));
            disks.push((place.to_owned(), free));
        }
    }
    disks
}

/// Operating system, kernel, processor.
pub(super) async fn host() -> String {
    let kernel = ask(["uname", "-srm"], COMMAND_LIMIT).await.stdout;
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or(std::env::consts::OS, |name| name.trim_matches(['"', '\'']));
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':')).map(|(_, name)| name);
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let parts = [system, kernel.trim(), model.unwrap_or("").trim()];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    escape_line(&format!("{}, {count} CPUs", parts.join(", ")))
}
