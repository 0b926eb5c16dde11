//! What each observation means for `nixbox try`. Pure.

use bytesize::ByteSize;

use super::{CommandRun, FindingState, HostFinding, HostObservations, strip_colours};
use crate::machine::accel::ProbeResult;
use crate::model::{Accel, JailKind};
use crate::text::escape_line;

/// The oldest nix whose output nixbox reads.
pub(super) const OLDEST_NIX: (u32, u32) = (2, 8);
/// Below this a VM's disk and the artifacts do not fit.
const LITTLE_DISK: u64 = 512 << 20;
/// Below this a bigger machine may not fit.
const SCANT_DISK: u64 = 4 << 30;
/// Below this QEMU with the least guest does not fit.
const LITTLE_MEMORY: u64 = 384 << 20;
/// Below this a guest of the NixOS default, 1 GiB, does not fit with QEMU around it.
const SCANT_MEMORY: u64 = 1536 << 20;

/// The findings on these observations, in the order in which they are shown.
pub(super) fn judge(observed: &HostObservations) -> Vec<HostFinding> {
    let mut findings = Vec::new();
    judge_nix(observed, &mut findings);
    findings.push(match version_of(&observed.qemu.stdout) {
        Some(version) if observed.qemu.succeeded() => ok("qemu", format!("{version} (a NixOS VM brings its own)")),
        _ => ok("qemu", "not on PATH, and not needed: a NixOS VM brings its own"),
    });
    judge_accelerators(&observed.probes.accelerators, &mut findings);
    judge_jails(&observed.probes.jails, &mut findings);
    judge_transports(observed, &mut findings);
    findings.extend(observed.disks.iter().map(|(place, free)| judge_disk(&place.display().to_string(), *free)));
    findings.push(judge_memory(observed.memory));
    findings.push(match observed.terminal {
        Some(columns) => ok("terminal", format!("{columns} columns: live progress")),
        None => ok("terminal", "stderr is not a terminal: progress in plain lines"),
    });
    findings
}

fn judge_accelerators(probes: &[(Accel, ProbeResult)], findings: &mut Vec<HostFinding>) {
    findings.extend(probes.iter().map(|(accel, probe)| probed("accelerator", accel.name(), probe)));
    let emulation = "software emulation, always available";
    findings.push(match probes.iter().any(|(_, probe)| probe.usable) {
        true => ok("accelerator.tcg", emulation),
        false => ok("accelerator.tcg", format!("{emulation}; booting takes about ten times as long")),
    });
}

/// The first jail that works is used, so those after it do not matter.
fn judge_jails(probes: &[(JailKind, ProbeResult)], findings: &mut Vec<HostFinding>) {
    let usable = probes.iter().position(|(_, probe)| probe.usable);
    let tried = usable.map_or(probes, |at| &probes[..=at]);
    findings.extend(tried.iter().map(|(kind, probe)| probed("jail", kind.name(), probe)));
    if usable.is_none() && !probes.is_empty() {
        findings.push(warn(
            "jail",
            "no jail works: the flake's runner runs unconfined, with your permissions",
            "use a host with unprivileged user namespaces or Landlock",
        ));
    }
}

fn judge_transports(observed: &HostObservations, findings: &mut Vec<HostFinding>) {
    let mut add = |finding| findings.push(finding);
    let daemon = &observed.vsock_daemon;
    if cfg!(target_os = "linux") {
        add(if daemon.succeeded() {
            let version = version_of(&daemon.stdout).unwrap_or("of an unknown version");
            ok("transport.vhost-user", format!("vhost-device-vsock {version}"))
        } else {
            let fix = "install vhost-device-vsock on PATH (nixpkgs, Debian, or cargo install vhost-device-vsock)";
            warn("transport.vhost-user", format!("{}; virtio-serial is used instead", daemon.complaint()), fix)
        });
    }
    add(ok("transport.virtio-serial", "always available"));
    if cfg!(target_os = "linux") {
        let device =
            observed.kernel_vsock.as_deref().map_or("opens".to_owned(), |error| format!("does not open: {error}"));
        add(ok("transport.vsock", format!("/dev/vhost-vsock {device} (used only with --transport vsock)")));
    }
}

fn judge_disk(place: &str, free: u64) -> HostFinding {
    let text = format!("{} free at {place}", ByteSize(free).display().iec());
    let fix = format!("free some space at {place}");
    match free {
        free if free < LITTLE_DISK => bad("disk", text, fix),
        free if free < SCANT_DISK => warn("disk", text, fix),
        _ => ok("disk", text),
    }
}

fn judge_memory(free: Option<u64>) -> HostFinding {
    let Some(free) = free else {
        return warn("memory", "free memory is unknown", "make sure that a guest of 1 GiB fits");
    };
    let text = format!("{} free for a guest", ByteSize(free).display().iec());
    match free {
        free if free < LITTLE_MEMORY => bad("memory", text, "stop something that uses memory"),
        free if free < SCANT_MEMORY => warn("memory", text, "stop something that uses memory, or use --memory"),
        _ => ok("memory", text),
    }
}

fn judge_nix(observed: &HostObservations, findings: &mut Vec<HostFinding>) {
    let mut add = |finding| findings.push(finding);
    if !observed.nix.succeeded() {
        let fix = "install nix (nixos.org/download) and put it on PATH";
        add(bad("nix.version", observed.nix.complaint(), fix));
        return;
    }
    let version = version_of(&observed.nix.stdout);
    add(match version.and_then(major_minor) {
        Some(number) if number < OLDEST_NIX => {
            let fix = format!("upgrade to nix {}.{} or later", OLDEST_NIX.0, OLDEST_NIX.1);
            bad("nix.version", format!("{} is too old", version.unwrap_or_default()), fix)
        }
        Some(_) => ok("nix.version", version.unwrap_or_default()),
        None => warn(
            "nix.version",
            format!("version not recognised: {}", escape_line(&observed.nix.stdout)),
            "make sure that it is 2.8 or later",
        ),
    });
    add(if observed.evaluates.succeeded() && observed.evaluates.stdout.trim() == "2" {
        ok("nix.evaluate", "1 + 1 evaluates to 2").took(&observed.evaluates)
    } else {
        bad("nix.evaluate", observed.evaluates.complaint(), "run the command that --prove shows, and follow its error")
            .took(&observed.evaluates)
    });
    add(if observed.builds.succeeded() {
        ok("nix.build", "a new derivation was built").took(&observed.builds)
    } else {
        judge_build(&observed.builds).took(&observed.builds)
    });
    add(if observed.features.succeeded() {
        ok("nix.features", "nix-command and flakes are on")
    } else {
        // A nix that does not evaluate at all is reported by `nix.evaluate`.
        ok("nix.features", "nix-command or flakes are off in nix.conf; nixbox passes both itself")
    });
    match sandbox(&observed.settings.stdout) {
        Some(setting) if setting == "false" && cfg!(target_os = "linux") => {
            add(warn(
                "nix.sandbox",
                "off: builds have access to this host and its network",
                "set sandbox = true in nix.conf",
            ));
        }
        Some(setting) => add(ok("nix.sandbox", setting)),
        None => add(warn("nix.sandbox", "unknown: nix did not show its settings", "check sandbox in nix.conf")),
    }
}

fn judge_build(builds: &CommandRun) -> HostFinding {
    let complaint = builds.complaint();
    let text = strip_colours(&format!("{} {}", builds.stderr, builds.error.as_deref().unwrap_or_default()));
    let has = |needle: &str| text.contains(needle);
    if has("/bin/sh") && has("No such file") {
        // The builder was started, in a sandbox made for it: that is what this probe is about.
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
        "free some space in /nix/store: nix-collect-garbage"
    } else if has("Permission denied") || has("permission denied") {
        "run as a user that nix allows to build (allowed-users in nix.conf)"
    } else {
        "run the command that --prove shows, and follow its error"
    };
    bad("nix.build", complaint, fix)
}

fn probed(kind: &str, name: &str, probe: &ProbeResult) -> HostFinding {
    let id = format!("{kind}.{name}");
    let reason = probe.reason.as_deref().map(escape_line);
    let finding = if probe.usable {
        ok(&id, reason.map_or_else(|| "works".to_owned(), |reason| format!("works ({reason})")))
    } else {
        let fix =
            probe.hint.clone().unwrap_or_else(|| "use a host that supports it; nixbox try works without it".to_owned());
        warn(&id, reason.unwrap_or_else(|| "does not work".to_owned()), fix)
    };
    HostFinding { millis: probe.millis, ..finding }
}

fn ok(id: &str, observation: impl Into<String>) -> HostFinding {
    HostFinding { id: id.to_owned(), state: FindingState::Ok, observation: observation.into(), fix: None, millis: None }
}

fn warn(id: &str, observation: impl Into<String>, fix: impl Into<String>) -> HostFinding {
    HostFinding { state: FindingState::Warn, fix: Some(fix.into()), ..ok(id, observation) }
}

fn bad(id: &str, observation: impl Into<String>, fix: impl Into<String>) -> HostFinding {
    HostFinding { state: FindingState::Bad, fix: Some(fix.into()), ..ok(id, observation) }
}

impl HostFinding {
    fn took(mut self, ran: &CommandRun) -> Self {
        self.millis = Some(ran.millis);
        self
    }
}

/// The first word that begins with a digit: `2.26.3` of `nix (Nix) 2.26.3`, `10.0.2` of `QEMU emulator version 10.0.2 (Debian …)`.
pub(super) fn version_of(text: &str) -> Option<&str> {
    text.lines().next()?.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
}

pub(super) fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The value of `sandbox`, by itself or in nix's settings as JSON: `true`, `false`, `relaxed`.
pub(super) fn sandbox(settings: &str) -> Option<String> {
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
