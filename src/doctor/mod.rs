//! What this host can do for `nixbox try`, proven by doing it, with the fix for what it cannot.
//!
//! * this file: the diagnosis, and the order of things
//! * `inspect`: runs commands and reads files (the only part that touches the host)
//! * `judge`: from [`HostObservations`] to findings (pure)
//! * `redact`: takes the user's name, home and host name out of a transcript
//! * `render`: the text for a terminal

mod inspect;
mod judge;
mod redact;
mod render;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use self::redact::Redactor;
use crate::cli::{DoctorArgs, DoctorFormat};
use crate::failure::{Failure, Result};
use crate::machine::accel::ProbeResult;
use crate::model::{Accel, Exit, JailKind};
use crate::report::text::TextLayout;
use crate::report::{json, output};
use crate::text::{escape_line, without_sequences};

/// What `nixbox doctor` found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Diagnosis {
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
    /// One for each thing that was checked.
    pub findings: Vec<HostFinding>,
    /// The commands that were run, with `--prove`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transcript: Vec<CommandRun>,
}

/// What one probe found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct HostFinding {
    /// An id that does not change: `nix.version`, `accelerator.kvm`.
    pub id: String,
    /// What it means for `nixbox try`.
    pub state: FindingState,
    /// What was found, in one line.
    #[serde(rename = "seen")]
    pub observation: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// How long the probe took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub millis: Option<f64>,
}

/// What a finding means for `nixbox try`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FindingState {
    /// Works.
    Ok,
    /// `try` works, but slower, with less protection or with fewer checks.
    Warn,
    /// `try` cannot work.
    Bad,
}

/// A command that was run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct CommandRun {
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

/// What `machine` found by trying it.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostProbes {
    /// Each accelerator of this platform, except emulation, which works everywhere.
    pub accelerators: Vec<(Accel, ProbeResult)>,
    /// Each kind of jail, the best first.
    pub jails: Vec<(JailKind, ProbeResult)>,
}

/// Everything that was observed, before it is judged.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostObservations {
    /// `nix --version`.
    pub nix: CommandRun,
    /// An evaluation with the features passed, as `nixbox try` does it.
    pub evaluates: CommandRun,
    /// The same without passing them.
    pub features: CommandRun,
    /// A build of a derivation that was never built before.
    pub builds: CommandRun,
    /// nix's `sandbox` setting by itself, or all settings as JSON.
    pub settings: CommandRun,
    /// `qemu-system-… --version`.
    pub qemu: CommandRun,
    /// `vhost-device-vsock --version`.
    pub vsock_daemon: CommandRun,
    /// Why `/dev/vhost-vsock` does not open; `None` when it does.
    pub kernel_vsock: Option<String>,
    /// Free bytes where the run's files go, by place.
    pub disks: Vec<(PathBuf, u64)>,
    /// Bytes of memory that are free for a guest.
    pub memory: Option<u64>,
    /// Whether stderr is a terminal and its columns.
    pub terminal: Option<usize>,
    /// What was proven by running it.
    pub probes: HostProbes,
}

impl CommandRun {
    fn succeeded(&self) -> bool {
        self.exit == Some(0)
    }

    /// The line that says what went wrong: nix's first `error:`, else the last one.
    fn complaint(&self) -> String {
        let text = strip_colours(&format!("{}\n{}", self.stdout, self.stderr));
        let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
        let line = lines().find(|line| line.starts_with("error:")).or_else(|| lines().next_back());
        // nix quotes the end of a failed build's log below its error.
        let log = lines().rev().find_map(|line| line.strip_prefix("> "));
        let line = self.error.as_deref().or(line).unwrap_or("it printed nothing").trim_end_matches(';');
        escape_line(&log.map_or_else(|| line.to_owned(), |log| format!("{line}: {log}")))
    }
}

/// Probes this host and prints the findings.
///
/// # Errors
/// This host's (exit 5), when stdout cannot be written to.
pub async fn run(arguments: &DoctorArgs) -> Result<u8> {
    let observed = inspect::observe().await;
    let mut diagnosis = diagnose(&observed, &inspect::host().await);
    if arguments.prove {
        diagnosis.transcript = transcript(observed);
        Redactor::of_this_user().redact(&mut diagnosis);
    }
    let text = match arguments.format {
        DoctorFormat::Json => json::pretty(&diagnosis),
        DoctorFormat::Human => render::render(&diagnosis, TextLayout::of_stdout()),
    };
    output::to_stdout(&text).map_err(|error| Failure::host("stdout cannot be written to").because(error))?;
    Ok(diagnosis.exit)
}

/// The whole diagnosis.
fn diagnose(observed: &HostObservations, host: &str) -> Diagnosis {
    let findings = judge::judge(observed);
    let able = findings.iter().all(|finding| finding.state != FindingState::Bad);
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

/// The commands for `--prove`.
fn transcript(observed: HostObservations) -> Vec<CommandRun> {
    let mut settings = observed.settings;
    // Never the raw text: the user's access tokens are among the settings.
    settings.stdout = match judge::sandbox(&settings.stdout) {
        Some(value) if settings.stdout.trim() == value => format!("{value}\n"),
        Some(value) => format!("[sandbox: {value}]\n"),
        None => format!("[{} bytes, not shown]\n", settings.stdout.len()),
    };
    let HostObservations { nix, evaluates, features, builds, qemu, vsock_daemon, .. } = observed;
    vec![nix, evaluates, features, builds, settings, qemu, vsock_daemon]
}

/// nix colours its errors even when stderr is not a terminal.
fn strip_colours(text: &str) -> String {
    without_sequences(text).collect()
}

#[cfg(test)]
mod tests;
