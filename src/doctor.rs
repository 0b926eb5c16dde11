//! What this host can do for `nixbox try`, proven by doing it, with the fix for what it cannot.
//!
//! Gathering (commands, files) and judging are apart: [`judge`] is a pure function of what was [`Seen`].

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::cli::{DoctorArgs, DoctorFormat};
use crate::failure::{Failure, Result};
use crate::machine::accel;
use crate::machine::jail::{self};
use crate::model::{Exit, JailKind};
use crate::report::text::{Paint, TextLayout, wrap};
use crate::report::{json, output};
use crate::text::{command_line, escape, escape_line, seconds, without_sequences};

/// The oldest nix whose output nixbox reads.
const OLDEST_NIX: (u32, u32) = (2, 8);
/// Below this a VM's disk and the artifacts do not fit.
const LITTLE_DISK: u64 = 512 << 20;
/// Below this a bigger machine may not fit.
const SCANT_DISK: u64 = 4 << 30;
/// Below this QEMU with the least guest does not fit.
const LITTLE_MEMORY: u64 = 384 << 20;
/// Below this a guest of the NixOS default, 1 GiB, does not fit with QEMU around it.
const SCANT_MEMORY: u64 = 1536 << 20;
/// How long a question may take.
const ASK_LIMIT: Duration = Duration::from_secs(20);
/// How long the trivial build may take: a busy daemon has other builds first.
const BUILD_LIMIT: Duration = Duration::from_secs(120);
/// Most that is read of a command's output, in bytes.
const OUTPUT_LIMIT: u64 = 256 << 10;
/// Nothing is fetched or read from the flake registry; features are passed as `nixbox try` passes them.
const NIX: [&str; 3] = ["nix", "--extra-experimental-features", "nix-command flakes"];

/// What `nixbox doctor` found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Diagnosis {
    /// The version of this shape.
    pub schema: u32,
    /// The version of nixbox.
    pub nixbox: String,
    /// Operating system, kernel and processor.
    pub host: String,
    /// Whether `nixbox try` can work here.
    pub able: bool,
    /// The exit code: 0 or 5.
    pub exit: u8,
    /// Each thing that was looked at.
    pub findings: Vec<Finding>,
    /// What was run for it, with `--prove`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transcript: Vec<Ran>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// An id that does not change: `nix.version`, `accelerator.kvm`.
    pub id: String,
    /// What it means for `nixbox try`.
    pub state: State,
    /// What was seen, one line.
    pub seen: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// How long the proof took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub millis: Option<f64>,
}

/// What a finding means for `nixbox try`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Works.
    Ok,
    /// `try` works, but slower, with less protection or with less to see.
    Warn,
    /// `try` cannot work.
    Bad,
}

/// A command that was run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ran {
    /// The command line.
    pub command: String,
    /// Its exit code; `None` when it did not start, was killed or took too long.
    pub exit: Option<i32>,
    /// stdout, bounded.
    pub stdout: String,
    /// stderr, bounded.
    pub stderr: String,
    /// Why it has no exit code.
    pub error: Option<String>,
    /// Whether there is no such program.
    pub absent: bool,
    /// How long it took, in milliseconds.
    pub millis: f64,
}

impl Ran {
    fn succeeded(&self) -> bool {
        self.exit == Some(0)
    }

    /// The most telling line: an `error:` of nix's, else the last one.
    fn complaint(&self) -> String {
        let text = strip_colours(&format!("{}\n{}", self.stdout, self.stderr));
        let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
        let line = lines().find(|line| line.starts_with("error:")).or_else(|| lines().next_back());
        // nix quotes the end of a failed build's log below its error.
        let log = lines().rev().find_map(|line| line.strip_prefix("> "));
        let line = self.error.as_deref().or(line).unwrap_or("ended without a word").trim_end_matches(';');
        escape_line(&log.map_or_else(|| line.to_owned(), |log| format!("{line}: {log}")))
    }
}

/// What other rooms proved by doing it; the doctor only tells it.
#[derive(Debug, Clone, Default)]
pub struct Proofs {
    /// Each accelerator that this platform may have, except emulation, which works everywhere.
    pub accelerators: Vec<Proof>,
    /// Each kind of jail, the best first.
    pub jails: Vec<Proof>,
}

/// One proof.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Proof {
    /// `kvm`, `namespaces`, …
    pub name: String,
    /// Whether it works.
    pub usable: bool,
    /// Why not; or what is left unproven, or why not a better one.
    pub reason: Option<String>,
    /// What to do when it does not work.
    pub fix: Option<String>,
    /// How long the proof took, in milliseconds.
    pub millis: Option<f64>,
}

/// Everything that was seen, before judging.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// `nix --version`.
    pub nix: Ran,
    /// An evaluation with the features passed, as `nixbox try` does it.
    pub evaluates: Ran,
    /// The same without passing them.
    pub features: Ran,
    /// A build of a derivation that was never built before.
    pub builds: Ran,
    /// nix's `sandbox` setting by itself, or all settings as JSON.
    pub settings: Ran,
    /// `qemu-system-… --version`.
    pub qemu: Ran,
    /// `vhost-device-vsock --version`.
    pub vsock_daemon: Ran,
    /// Why `/dev/vhost-vsock` does not open; `None` when it does.
    pub kernel_vsock: Option<String>,
    /// Free bytes where the run's files go, by place.
    pub disks: Vec<(PathBuf, u64)>,
    /// Bytes of memory that are free for a guest.
    pub memory: Option<u64>,
    /// Whether stderr is a terminal and its columns.
    pub terminal: Option<usize>,
    /// What others proved.
    pub proofs: Proofs,
}

/// Looks at this host and prints what was found.
///
/// # Errors
/// This host's (exit 5), when stdout cannot be written to.
pub async fn run(arguments: &DoctorArgs) -> Result<u8> {
    let seen = look(prove().await).await;
    let mut diagnosis = diagnose(&seen, &host().await);
    if arguments.prove {
        diagnosis.transcript = transcript(seen);
        Redactor::of_this_user().redact(&mut diagnosis);
    }
    let text = match arguments.format {
        DoctorFormat::Json => json::pretty(&diagnosis),
        DoctorFormat::Human => render(&diagnosis, TextLayout::of_stdout()),
    };
    output::to_stdout(&text).map_err(|error| Failure::host("stdout cannot be written to").why(error))?;
    Ok(diagnosis.exit)
}

/// Proves what this host gives a machine. One after the other: they are timed.
async fn prove() -> Proofs {
    let launcher = jail::launcher();
    let accelerator = if cfg!(target_os = "macos") {
        ("hvf", accel::prove_hvf().await)
    } else {
        ("kvm", accel::prove_kvm(&launcher).await)
    };
    let (name, proof) = accelerator;
    let accelerators = vec![Proof {
        name: name.to_owned(),
        usable: proof.usable,
        reason: proof.reason,
        fix: proof.hint,
        millis: proof.millis,
    }];
    let began = Instant::now();
    let probe = jail::probe(&launcher).await;
    let jails = vec![Proof {
        name: probe.kind.name().to_owned(),
        usable: probe.kind != JailKind::None,
        reason: probe.reason,
        fix: (probe.kind == JailKind::None)
            .then(|| "allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1), or a kernel with Landlock".to_owned()),
        millis: Some(began.elapsed().as_secs_f64() * 1000.0),
    }];
    Proofs { accelerators, jails }
}

/// Asks this host.
async fn look(proofs: Proofs) -> Seen {
    // A derivation that no store holds yet; its output is a few bytes and goes with the next garbage collection.
    let nonce = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    // A builder that execs its last command was seen to be killed; `exit 0` ends it in the shell.
    let trivial = format!(
        "derivation {{ name = \"nixbox-doctor-{nonce}-{}\"; system = builtins.currentSystem; builder = \"/bin/sh\"; \
         args = [ \"-c\" \"echo ok > $out; exit 0\" ]; }}",
        std::process::id()
    );
    let [nix, extra, features] = NIX;
    let qemu = format!("qemu-system-{}", std::env::consts::ARCH);
    let (nix_version, evaluates, without, builds, settings, qemu, vsock_daemon) = tokio::join!(
        ask([nix, "--version"], ASK_LIMIT),
        ask([nix, extra, features, "eval", "--expr", "1 + 1"], ASK_LIMIT),
        ask([nix, "eval", "--expr", "1 + 1"], ASK_LIMIT),
        ask([nix, extra, features, "build", "--impure", "--no-link", "--json", "--expr", &trivial], BUILD_LIMIT),
        settings(),
        ask([&qemu, "--version"], ASK_LIMIT),
        ask(["vhost-device-vsock", "--version"], ASK_LIMIT),
    );
    Seen {
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
        memory: memory().await,
        terminal: {
            let terminal = console::Term::stderr();
            terminal.is_term().then(|| terminal.size().1.into())
        },
        proofs,
    }
}

/// nix's `sandbox` setting: alone where nix can say it alone, else among all as JSON (before `config show`).
async fn settings() -> Ran {
    let [nix, extra, features] = NIX;
    let new = ask([nix, extra, features, "config", "show", "sandbox"], ASK_LIMIT).await;
    if new.succeeded() || new.absent {
        return new;
    }
    ask([nix, extra, features, "show-config", "--json"], ASK_LIMIT).await
}

/// Runs a command to its end, or to the limit.
async fn ask<const N: usize>(command: [&str; N], limit: Duration) -> Ran {
    let began = Instant::now();
    let mut ran = Ran { command: command_line(command), ..Ran::default() };
    let [program, arguments @ ..] = &command[..] else { return ran };
    let child = Command::new(program)
        .args(arguments)
        // nix finds no flake.nix, and no file of the user's, here.
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

/// The beginning of a stream, whose rest is read and dropped so that nobody blocks on it.
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
    let places = [Some(std::env::temp_dir()), state, Some(PathBuf::from("/nix/store"))];
    let mut disks: Vec<(PathBuf, u64)> = Vec::new();
    let mut devices = Vec::new();
    for place in places.into_iter().flatten() {
        // What is not there yet will be made on the file system of what is.
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

/// Bytes of memory that a guest may take: what is available, at most what this control group may still have.
pub(crate) async fn memory() -> Option<u64> {
    if cfg!(target_os = "linux") {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let available = available_memory(&read("/proc/meminfo")?)?;
        // cgroup v2, as it appears in a container; on a plain host the root group has no such files.
        let limit = read("/sys/fs/cgroup/memory.max").and_then(|text| text.trim().parse::<u64>().ok());
        let used = read("/sys/fs/cgroup/memory.current").and_then(|text| text.trim().parse::<u64>().ok());
        let left = limit.zip(used).map(|(limit, used)| limit.saturating_sub(used));
        return Some(left.map_or(available, |left| left.min(available)));
    }
    // What the machine has; macOS makes room by itself.
    ask(["sysctl", "-n", "hw.memsize"], ASK_LIMIT).await.stdout.trim().parse().ok()
}

/// `MemAvailable` of proc_meminfo(5), in bytes.
fn available_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Operating system, kernel, processor.
async fn host() -> String {
    let kernel = ask(["uname", "-srm"], ASK_LIMIT).await.stdout;
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

/// The whole diagnosis of what was seen.
fn diagnose(seen: &Seen, host: &str) -> Diagnosis {
    let findings = judge(seen);
    let able = findings.iter().all(|finding| finding.state != State::Bad);
    Diagnosis {
        schema: 1,
        nixbox: env!("CARGO_PKG_VERSION").to_owned(),
        host: host.to_owned(),
        able,
        exit: if able { Exit::Pass } else { Exit::Unknown }.code(),
        findings,
        transcript: Vec::new(),
    }
}

/// What each thing that was seen means for `nixbox try`. Pure.
pub fn judge(seen: &Seen) -> Vec<Finding> {
    let mut findings = Vec::new();
    judge_nix(seen, &mut findings);
    let mut add = |finding| findings.push(finding);
    add(match version_of(&seen.qemu.stdout) {
        Some(version) if seen.qemu.succeeded() => ok("qemu", format!("{version} (a NixOS VM brings its own)")),
        _ => ok("qemu", "not on PATH, and not needed: a NixOS VM brings its own"),
    });
    for proof in &seen.proofs.accelerators {
        add(proven("accelerator", proof));
    }
    let fast = seen.proofs.accelerators.iter().any(|proof| proof.usable);
    let slow = "emulation, works everywhere";
    add(ok(
        "accelerator.tcg",
        if fast { slow.to_owned() } else { format!("{slow}; a boot takes about ten times as long") },
    ));
    // The first that works is taken; a worse one that does not work is nobody's concern then.
    for proof in &seen.proofs.jails {
        add(proven("jail", proof));
        if proof.usable {
            break;
        }
    }
    if !seen.proofs.jails.is_empty() && !seen.proofs.jails.iter().any(|proof| proof.usable) {
        add(warn(
            "jail",
            "none works: what a flake brings runs on this host as you do",
            "use a host that allows one of them",
        ));
    }
    let daemon = &seen.vsock_daemon;
    let has_daemon = daemon.succeeded() && cfg!(target_os = "linux");
    if has_daemon {
        let version = version_of(&daemon.stdout).unwrap_or("of an unknown version");
        add(ok("transport.vhost-user", format!("vhost-device-vsock {version}")));
    } else if cfg!(target_os = "linux") {
        let fix = "have vhost-device-vsock on PATH (nixpkgs, Debian, or cargo install vhost-device-vsock)";
        add(warn("transport.vhost-user", format!("{}; virtio-serial is taken instead", daemon.complaint()), fix));
    }
    add(ok("transport.virtio-serial", "needs nothing of the host"));
    if cfg!(target_os = "linux") {
        let seen = match &seen.kernel_vsock {
            None => "/dev/vhost-vsock opens (used only with --transport vsock)".to_owned(),
            Some(error) => format!("/dev/vhost-vsock: {error} (used only with --transport vsock)"),
        };
        add(ok("transport.vsock", seen));
    }
    for (place, free) in &seen.disks {
        let place = place.display();
        let text = format!("{} free at {place}", ByteSize(*free).display().iec());
        let fix = format!("make room at {place}");
        add(match *free {
            free if free < LITTLE_DISK => bad("disk", text, fix),
            free if free < SCANT_DISK => warn("disk", text, fix),
            _ => ok("disk", text),
        });
    }
    add(match seen.memory {
        Some(free) => {
            let text = format!("{} free for a guest", ByteSize(free).display().iec());
            match free {
                free if free < LITTLE_MEMORY => bad("memory", text, "end something that takes memory"),
                free if free < SCANT_MEMORY => warn("memory", text, "end something that takes memory, or use --memory"),
                _ => ok("memory", text),
            }
        }
        None => warn("memory", "not known how much is free", "see that a guest of 1 GiB fits"),
    });
    add(match seen.terminal {
        Some(columns) => ok("terminal", format!("{columns} columns: live progress")),
        None => ok("terminal", "stderr is none: progress in plain lines"),
    });
    findings
}

fn judge_nix(seen: &Seen, findings: &mut Vec<Finding>) {
    let mut add = |finding| findings.push(finding);
    if !seen.nix.succeeded() {
        let fix = "install nix (nixos.org/download), and have it on PATH";
        add(bad("nix.version", seen.nix.complaint(), fix));
        return;
    }
    let version = version_of(&seen.nix.stdout);
    add(match version.and_then(major_minor) {
        Some(number) if number < OLDEST_NIX => {
            let fix = format!("take nix {}.{} or later", OLDEST_NIX.0, OLDEST_NIX.1);
            bad("nix.version", format!("{}: too old", version.unwrap_or_default()), fix)
        }
        Some(_) => ok("nix.version", version.unwrap_or_default()),
        None => warn(
            "nix.version",
            format!("of an unknown form: {}", escape_line(&seen.nix.stdout)),
            "see that it is 2.8 or later",
        ),
    });
    add(if seen.evaluates.succeeded() && seen.evaluates.stdout.trim() == "2" {
        ok("nix.evaluate", "1 + 1 is 2").took(&seen.evaluates)
    } else {
        bad("nix.evaluate", seen.evaluates.complaint(), "run the command that --prove shows, and follow its error")
            .took(&seen.evaluates)
    });
    add(if seen.builds.succeeded() {
        ok("nix.build", "a new derivation was built").took(&seen.builds)
    } else {
        judge_build(&seen.builds).took(&seen.builds)
    });
    add(if seen.features.succeeded() {
        ok("nix.features", "nix-command and flakes are on")
    } else {
        // Only the lack of them; a nix that does not evaluate at all was told above.
        ok("nix.features", "nix-command or flakes are off in nix.conf; nixbox passes both itself")
    });
    match sandbox(&seen.settings.stdout) {
        Some(setting) if setting == "false" && cfg!(target_os = "linux") => {
            add(warn(
                "nix.sandbox",
                "off: builds of a flake see this host and its network",
                "set sandbox = true in nix.conf",
            ));
        }
        Some(setting) => add(ok("nix.sandbox", setting)),
        None => add(warn("nix.sandbox", "not known: nix did not show its settings", "see sandbox in nix.conf")),
    }
}

fn judge_build(builds: &Ran) -> Finding {
    let complaint = builds.complaint();
    let text = strip_colours(&format!("{} {}", builds.stderr, builds.error.as_deref().unwrap_or_default()));
    let has = |needle: &str| text.contains(needle);
    if has("/bin/sh") && has("No such file") {
        // It got as far as the builder, in a sandbox made for it: that is what was to be proven.
        return ok(
            "nix.build",
            "a new derivation was started; the sandbox has no /bin/sh, which NixOS's builds do not need",
        );
    }
    let fix = if has("cannot connect to socket") || has("Connection refused") {
        "start the nix daemon: systemctl start nix-daemon.socket"
    } else if has("Operation not permitted") || has("namespace") {
        "this host refuses nix its sandbox: allow user namespaces, or set sandbox = false in nix.conf"
    } else if has("No space left") {
        "make room for /nix/store: nix-collect-garbage"
    } else if has("Permission denied") || has("permission denied") {
        "become a user whom nix allows to build (allowed-users in nix.conf)"
    } else {
        "run the command that --prove shows, and follow its error"
    };
    bad("nix.build", complaint, fix)
}

fn proven(kind: &str, proof: &Proof) -> Finding {
    let id = format!("{kind}.{}", proof.name);
    let reason = proof.reason.as_deref().map(escape_line);
    let finding = if proof.usable {
        ok(&id, reason.map_or_else(|| "works".to_owned(), |reason| format!("works ({reason})")))
    } else {
        let fix = proof.fix.clone().unwrap_or_else(|| "use a host that has it; try works without".to_owned());
        warn(&id, reason.unwrap_or_else(|| "does not work".to_owned()), fix)
    };
    Finding { millis: proof.millis, ..finding }
}

fn ok(id: &str, seen: impl Into<String>) -> Finding {
    Finding { id: id.to_owned(), state: State::Ok, seen: seen.into(), fix: None, millis: None }
}

fn warn(id: &str, seen: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { state: State::Warn, fix: Some(fix.into()), ..ok(id, seen) }
}

fn bad(id: &str, seen: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { state: State::Bad, fix: Some(fix.into()), ..ok(id, seen) }
}

impl Finding {
    fn took(mut self, ran: &Ran) -> Self {
        self.millis = Some(ran.millis);
        self
    }
}

/// The first word that begins with a digit: `2.26.3` of `nix (Nix) 2.26.3`, `10.0.2` of `QEMU emulator version 10.0.2 (Debian …)`.
fn version_of(text: &str) -> Option<&str> {
    text.lines().next()?.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
}

fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The value of `sandbox`, by itself or in nix's settings as JSON: `true`, `false`, `relaxed`.
fn sandbox(settings: &str) -> Option<String> {
    let alone = settings.trim();
    if ["true", "false", "relaxed"].contains(&alone) {
        return Some(alone.to_owned());
    }
    let settings: serde_json::Value = serde_json::from_str(settings).ok()?;
    match settings.get("sandbox")?.get("value")? {
        serde_json::Value::Bool(value) => Some(value.to_string()),
        // The number of an enum: smEnabled, smRelaxed, smDisabled (nix's globals.hh).
        serde_json::Value::Number(number) => match number.as_u64()? {
            0 => Some("true".to_owned()),
            1 => Some("relaxed".to_owned()),
            2 => Some("false".to_owned()),
            _ => None,
        },
        serde_json::Value::String(value) => Some(escape_line(value)),
        _ => None,
    }
}

/// nix writes its errors with colours even when nobody sees them.
fn strip_colours(text: &str) -> String {
    without_sequences(text).collect()
}

/// What was run, for `--prove`.
fn transcript(seen: Seen) -> Vec<Ran> {
    let mut settings = seen.settings;
    // Whatever it holds: all settings have the user's access tokens among them.
    settings.stdout = match sandbox(&settings.stdout) {
        Some(value) if settings.stdout.trim() == value => format!("{value}\n"),
        Some(value) => format!("[sandbox: {value}]\n"),
        None => format!("[{} bytes, not shown]\n", settings.stdout.len()),
    };
    vec![seen.nix, seen.evaluates, seen.features, seen.builds, settings, seen.qemu, seen.vsock_daemon]
}

/// Takes out of a text who ran it and where.
#[derive(Debug, Default)]
struct Redactor {
    /// Path prefixes and their replacements, the longest first.
    homes: Vec<(String, &'static str)>,
    /// Whole words and their replacements.
    words: Vec<(String, &'static str)>,
}

impl Redactor {
    fn of_this_user() -> Self {
        let text = |value: &OsStr| value.to_str().map(str::to_owned);
        let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
        let home = std::env::var_os("HOME").as_deref().and_then(text);
        let home_of_account = user.as_ref().and_then(|user| text(user.dir.as_os_str()));
        let name = user.map(|user| user.name);
        let names = [name, std::env::var("USER").ok(), std::env::var("LOGNAME").ok(), std::env::var("SUDO_USER").ok()];
        let host = nix::unistd::gethostname().ok().as_deref().and_then(text);
        Self::new([home, home_of_account].into_iter().flatten(), names.into_iter().flatten(), host)
    }

    fn new(
        homes: impl IntoIterator<Item = String>,
        users: impl IntoIterator<Item = String>,
        host: Option<String>,
    ) -> Self {
        // Names that tell nothing about anybody, and stand in texts for something else.
        const OF_NOBODY: [&str; 9] =
            ["root", "nix", "nixos", "user", "runner", "ubuntu", "debian", "localhost", "nobody"];
        let telling = |name: &String| name.len() > 1 && !OF_NOBODY.contains(&name.as_str());
        let mut homes: Vec<_> = homes
            .into_iter()
            .filter(|home| home.len() > 1 && Path::new(home).is_absolute())
            .map(|home| (home, "~"))
            .collect();
        homes.sort_by_key(|(home, _)| std::cmp::Reverse(home.len()));
        let users = users.into_iter().filter(telling).map(|user| (user, "USER"));
        let words = users.chain(host.into_iter().filter(telling).map(|host| (host, "HOST"))).collect();
        Self { homes, words }
    }

    fn text(&self, text: &mut String) {
        for (home, with) in &self.homes {
            *text = replace_word(text, home, with);
        }
        for (word, with) in &self.words {
            *text = replace_word(text, word, with);
        }
    }

    fn redact(&self, diagnosis: &mut Diagnosis) {
        self.text(&mut diagnosis.host);
        for finding in &mut diagnosis.findings {
            self.text(&mut finding.seen);
            finding.fix.iter_mut().for_each(|fix| self.text(fix));
        }
        for ran in &mut diagnosis.transcript {
            for text in [&mut ran.command, &mut ran.stdout, &mut ran.stderr].into_iter().chain(&mut ran.error) {
                *text = strip_colours(text);
                self.text(text);
            }
        }
    }
}

/// Replaces where neither a letter, a digit nor `_` follows or, for a name that begins with one, precedes.
fn replace_word(text: &str, word: &str, with: &str) -> String {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let begins_inside = part(word.chars().next());
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (at, found) in text.match_indices(word) {
        let before = text[..at].chars().next_back();
        let after = text[at + found.len()..].chars().next();
        let inside = part(after) || (begins_inside && part(before));
        if !inside {
            out.push_str(&text[done..at]);
            out.push_str(with);
            done = at + found.len();
        }
    }
    out.push_str(&text[done..]);
    out
}

/// For people; with a transcript, to paste.
fn render(diagnosis: &Diagnosis, style: TextLayout) -> String {
    let mut lines = vec![format!("nixbox {} on {}", diagnosis.nixbox, diagnosis.host), String::new()];
    let wide = diagnosis.findings.iter().map(|finding| finding.id.len()).max().unwrap_or(0);
    for finding in &diagnosis.findings {
        let (paint, word) = match finding.state {
            State::Ok => (Paint::Good, "ok"),
            State::Warn => (Paint::Doubt, "warning"),
            State::Bad => (Paint::Bad, "fail"),
        };
        let took = finding.millis.map(|millis| format!(" ({})", seconds(millis / 1000.0))).unwrap_or_default();
        let indent = 8 + wide + 2;
        let columns = style.width.saturating_sub(indent).max(20);
        for (place, line) in wrap(&format!("{}{took}", finding.seen), columns, 6).into_iter().enumerate() {
            let (word, id) = if place == 0 { (word, finding.id.as_str()) } else { ("", "") };
            lines.push(format!("{}{id:<wide$}  {line}", style.paint(paint, &format!("{word:<8}"))));
        }
        for (place, line) in finding.fix.iter().flat_map(|fix| wrap(fix, columns - 5, 6)).enumerate() {
            lines.push(format!("{:indent$}{}{line}", "", if place == 0 { "fix: " } else { "     " }));
        }
    }
    lines.push(String::new());
    lines.push(match diagnosis.able {
        true => style.paint(Paint::Good, "nixbox try can work here"),
        false => style.paint(Paint::Bad, "nixbox try cannot work here until what failed is fixed"),
    });
    if !diagnosis.transcript.is_empty() {
        lines.extend([String::new(), "transcript:".to_owned()]);
    }
    for ran in &diagnosis.transcript {
        lines.push(format!("$ {}", escape_line(&ran.command)));
        let output = escape(&format!("{}\n{}", ran.stdout, ran.stderr));
        lines.extend(output.lines().filter(|line| !line.trim().is_empty()).take(60).map(|line| format!("  {line}")));
        let end = match (&ran.error, ran.exit) {
            (Some(error), _) => escape_line(error),
            (None, Some(code)) => format!("exit {code}"),
            (None, None) => "no exit code".to_owned(),
        };
        lines.push(format!("  [{end}, {}]", seconds(ran.millis / 1000.0)));
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(stdout: &str) -> Ran {
        Ran { command: "x".to_owned(), exit: Some(0), stdout: stdout.to_owned(), millis: 35.0, ..Ran::default() }
    }

    fn broke(stderr: &str) -> Ran {
        Ran { exit: Some(1), stderr: stderr.to_owned(), ..said("") }
    }

    fn absent(program: &str) -> Ran {
        Ran { exit: None, absent: true, error: Some(format!("{program} is not on PATH")), ..said("") }
    }

    fn good() -> Seen {
        Seen {
            nix: said("nix (Nix) 2.26.3\n"),
            evaluates: said("2\n"),
            features: broke("error: experimental Nix feature 'nix-command' is disabled"),
            builds: said("[{}]"),
            settings: said(r#"{"sandbox":{"value":true}}"#),
            qemu: absent("qemu-system-x86_64"),
            vsock_daemon: said("vhost-device-vsock 0.3.0\n"),
            kernel_vsock: Some("No such file or directory (os error 2)".to_owned()),
            disks: vec![("/tmp".into(), 90 << 30)],
            memory: Some(8 << 30),
            terminal: Some(80),
            proofs: Proofs {
                accelerators: vec![Proof {
                    name: "kvm".to_owned(),
                    usable: false,
                    reason: Some("1,000,000 iterations did not end within 100 ms".to_owned()),
                    fix: Some("use a host with hardware virtualisation".to_owned()),
                    millis: Some(100.2),
                }],
                jails: vec![Proof {
                    name: "namespaces".to_owned(),
                    usable: true,
                    reason: None,
                    fix: None,
                    millis: Some(3.0),
                }],
            },
        }
    }

    fn finding(seen: &Seen, id: &str) -> Finding {
        judge(seen).into_iter().find(|finding| finding.id == id).unwrap_or_else(|| panic!("no {id}"))
    }

    #[test]
    fn a_slow_host_is_able() {
        let diagnosis = diagnose(&good(), "Debian, Linux 6.18, 2 CPUs");
        assert!(diagnosis.able, "{diagnosis:#?}");
        assert_eq!(diagnosis.exit, 0);
        let states: Vec<_> =
            diagnosis.findings.iter().filter(|finding| finding.state != State::Ok).map(|finding| &finding.id).collect();
        assert_eq!(states, ["accelerator.kvm"]);
        if cfg!(target_os = "linux") {
            let text = render(&diagnosis, TextLayout { colour: false, width: 80 });
            let expected = "\
nixbox 0.1.0 on Debian, Linux 6.18, 2 CPUs

ok      nix.version              2.26.3
ok      nix.evaluate             1 + 1 is 2 (35 ms)
ok      nix.build                a new derivation was built (35 ms)
ok      nix.features             nix-command or flakes are off in nix.conf;
                                 nixbox passes both itself
ok      nix.sandbox              true
ok      qemu                     not on PATH, and not needed: a NixOS VM brings
                                 its own
warning accelerator.kvm          1,000,000 iterations did not end within 100 ms
                                 (0.1 s)
                                 fix: use a host with hardware virtualisation
ok      accelerator.tcg          emulation, works everywhere; a boot takes about
                                 ten times as long
ok      jail.namespaces          works (3 ms)
ok      transport.vhost-user     vhost-device-vsock 0.3.0
ok      transport.virtio-serial  needs nothing of the host
ok      transport.vsock          /dev/vhost-vsock: No such file or directory (os
                                 error 2) (used only with --transport vsock)
ok      disk                     90.0 GiB free at /tmp
ok      memory                   8.0 GiB free for a guest
ok      terminal                 80 columns: live progress

nixbox try can work here
";
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn without_nix_nothing_works_and_it_is_said_once() {
        let all = absent("nix");
        let seen = Seen { nix: all.clone(), evaluates: all.clone(), features: all.clone(), builds: all, ..good() };
        let diagnosis = diagnose(&seen, "");
        assert_eq!((diagnosis.able, diagnosis.exit), (false, 5));
        let nix: Vec<_> = diagnosis.findings.iter().filter(|finding| finding.id.starts_with("nix")).collect();
        assert_eq!(nix.len(), 1);
        assert!(nix[0].seen.contains("not on PATH") && nix[0].fix.as_ref().unwrap().contains("install nix"));
    }

    #[test]
    fn every_finding_that_is_not_well_has_a_fix() {
        let seen = Seen {
            nix: said("nix (Nix) 2.3.16"),
            evaluates: broke("error: boom"),
            builds: broke("error: boom"),
            settings: broke(""),
            vsock_daemon: absent("vhost-device-vsock"),
            proofs: Proofs { accelerators: vec![Proof::default()], jails: vec![Proof::default()] },
            disks: vec![("/a".into(), 1), ("/b".into(), 1 << 30)],
            memory: Some(1),
            ..good()
        };
        for finding in judge(&seen) {
            assert_eq!(finding.fix.is_some(), finding.state != State::Ok, "{finding:?}");
        }
        assert_eq!(finding(&seen, "nix.version").state, State::Bad);
        assert_eq!(finding(&seen, "memory").state, State::Bad);
    }

    #[test]
    fn a_build_that_is_refused_has_its_own_fix() {
        let fix = |stderr: &str| finding(&Seen { builds: broke(stderr), ..good() }, "nix.build");
        let daemon = fix("\x1b[31;1merror:\x1b[0m cannot connect to socket at '/nix/var/nix/daemon-socket/socket'");
        assert!(daemon.fix.unwrap().contains("nix-daemon"));
        assert!(daemon.seen.starts_with("error: cannot connect"), "{}", daemon.seen);
        assert!(
            fix("error: unable to start build process: Operation not permitted").fix.unwrap().contains("namespaces")
        );
        let shell = fix("error: executing '/bin/sh': No such file or directory");
        assert_eq!(shell.state, State::Ok, "NixOS's builds bring their own shell");
    }

    #[test]
    fn versions_of_every_form() {
        assert_eq!(version_of("nix (Nix) 2.34.0pre"), Some("2.34.0pre"));
        assert_eq!(version_of("nix (Lix, like Nix) 2.91.1"), Some("2.91.1"));
        assert_eq!(version_of("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)"), Some("10.0.2"));
        assert_eq!(version_of(""), None);
        assert_eq!(major_minor("2.8"), Some((2, 8)));
        assert_eq!(major_minor("3"), None);
        assert!(major_minor("2.34.0pre20260101_abc").unwrap() > OLDEST_NIX);
    }

    #[test]
    fn settings_in_every_form() {
        for (json, expected) in [
            (r#"{"sandbox":{"value":true}}"#, Some("true")),
            (r#"{"sandbox":{"value":2}}"#, Some("false")),
            (r#"{"sandbox":{"value":"relaxed"}}"#, Some("relaxed")),
            ("false\n", Some("false")),
            ("{}", None),
            ("", None),
        ] {
            assert_eq!(sandbox(json).as_deref(), expected, "{json}");
        }
        assert_eq!(available_memory("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
    }

    #[test]
    fn a_transcript_names_nobody() {
        let redactor = Redactor::new(
            ["/home/ada".to_owned(), "/".to_owned()],
            ["ada".to_owned(), "root".to_owned()],
            Some("analytical-engine".to_owned()),
        );
        let mut diagnosis = diagnose(&good(), "Linux analytical-engine 6.18");
        diagnosis.transcript = vec![Ran {
            stderr: "\x1b[1m/home/ada/.config/nix: ada@analytical-engine (ada's), /home/adam, adapter, root, Canada\n"
                .to_owned(),
            error: Some("/home/ada: denied".to_owned()),
            ..said("/home/ada\n")
        }];
        redactor.redact(&mut diagnosis);
        assert_eq!(diagnosis.host, "Linux HOST 6.18");
        let ran = &diagnosis.transcript[0];
        assert_eq!(ran.stdout, "~\n");
        assert_eq!(ran.stderr, "~/.config/nix: USER@HOST (USER's), /home/adam, adapter, root, Canada\n");
        assert_eq!(ran.error.as_deref(), Some("~: denied"));
    }

    #[test]
    fn json_is_read_back() {
        let mut diagnosis = diagnose(&good(), "here");
        diagnosis.transcript = transcript(good());
        assert_eq!(serde_json::from_str::<Diagnosis>(&json::pretty(&diagnosis)).unwrap(), diagnosis);
        let settings = diagnosis.transcript.iter().find(|ran| ran.stdout.contains("sandbox")).unwrap();
        assert_eq!(settings.stdout, "[sandbox: true]\n");
    }

    #[test]
    fn no_token_is_in_a_transcript() {
        for cut in [0, 1, 40] {
            let all = r#"{"access-tokens":{"value":{"github.com":"SECRET"}},"sandbox":{"value":true}}"#;
            let seen = Seen { settings: said(&all[..all.len() - cut]), ..good() };
            let mut diagnosis = diagnose(&seen, "here");
            diagnosis.transcript = transcript(seen);
            assert!(!json::pretty(&diagnosis).contains("SECRET"));
        }
    }

    #[tokio::test]
    async fn commands_are_bounded_in_time_and_output() {
        let ran = ask(["sh", "-c", "yes | head -c 1000000; echo 'oh no' >&2; exit 3"], ASK_LIMIT).await;
        assert_eq!((ran.exit, ran.stdout.len() as u64), (Some(3), OUTPUT_LIMIT));
        assert_eq!(ran.complaint(), "oh no");
        let ran = ask(["sleep", "60"], Duration::from_millis(50)).await;
        assert_eq!(ran.error.as_deref(), Some("no answer within 50 ms"));
        let ran = ask(["nixbox-no-such-program"], ASK_LIMIT).await;
        assert!(ran.absent && ran.complaint().contains("is not on PATH"));
    }
}
