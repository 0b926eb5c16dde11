//! The report: one model for all formats. `schema: 1`; fields are added, never renamed, without a new number.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::channel::Transport;
use crate::event::Phase;

/// What a run found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// The version of this shape.
    pub schema: u32,
    /// The version of nixbox.
    pub nixbox: String,
    /// The answer.
    pub verdict: Verdict,
    /// The stage that decided it.
    pub stage: Option<Stage>,
    /// The process's exit code.
    pub exit: u8,
    /// The cause in one line, when the verdict is not `pass`.
    pub cause: Option<String>,
    /// More on the cause: nix's error, the console's last lines.
    pub detail: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
    /// What was tested.
    pub target: TargetInfo,
    /// How it was run.
    pub machine: Option<MachineInfo>,
    /// How long each phase took, in seconds, in order.
    pub phases: Vec<PhaseTime>,
    /// Each check with its verdict.
    pub checks: Vec<CheckResult>,
    /// What a VM cannot show, or what the sandbox changed, with the evidence.
    pub not_tested: Vec<NotTested>,
    /// What the user should know (fallbacks, a dirty tree).
    pub notes: Vec<String>,
    /// Where the evidence lies, when it could be kept.
    pub artifacts: Option<PathBuf>,
    /// The command that applies exactly what was tested, after a pass.
    pub apply: Option<String>,
    /// When the run began, RFC 3339, UTC.
    pub started: String,
    /// How long the whole run took, in seconds.
    pub seconds: f64,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All that was tested passed.
    Pass,
    /// The configuration is broken.
    Fail,
    /// Could not tell.
    Unknown,
}

/// The stage that decided a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// nix's evaluation.
    Evaluate,
    /// nix's build.
    Build,
    /// The guest's boot.
    Boot,
    /// The checks.
    Check,
    /// This host.
    Host,
}

/// What was tested.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TargetInfo {
    /// As the user named it.
    pub name: String,
    /// The resolved installable (`git+file:///…#nixosConfigurations.laptop`) or path.
    pub resolved: String,
    /// The runner's derivation, when there is one.
    pub drv_path: Option<String>,
    /// The runner.
    pub runner: Option<String>,
    /// The host's own toplevel that was built beside it.
    pub toplevel: Option<String>,
}

/// How it was run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MachineInfo {
    /// `kvm`, `hvf` or `tcg`.
    pub accelerator: String,
    /// Why not a faster one, when it is `tcg`.
    pub accelerator_reason: Option<String>,
    /// The way into the guest.
    pub transport: Transport,
    /// How the flake's code was contained: `namespaces`, `landlock`, `none`.
    pub jail: String,
    /// Guest memory in MiB.
    pub memory_mib: u64,
    /// Virtual CPUs.
    pub cores: u32,
    /// `off` or `user`.
    pub network: String,
    /// The guest's systemd, when it said so.
    pub systemd: Option<String>,
    /// QEMU's version, from QMP.
    pub qemu: Option<String>,
}

/// How long a phase took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseTime {
    /// Which.
    pub phase: Phase,
    /// Seconds.
    pub seconds: f64,
}

/// A check's verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// As promised.
    Pass,
    /// Worth a look, breaks nothing by itself.
    Warn,
    /// Not as promised.
    Fail,
    /// Not looked at, and why is in the summary.
    Skip,
    /// We broke, or could not look.
    Unknown,
}

/// A check and what it found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckResult {
    /// An id that never changes.
    pub id: String,
    /// The verdict.
    pub status: Status,
    /// One line: the cause when it failed, what was seen when it passed.
    pub summary: String,
    /// More: the journal's lines that show it. Text of the guest's, already escaped and bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detail: Vec<String>,
    /// Typed evidence: unit, port, exit code, …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub evidence: BTreeMap<String, serde_json::Value>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Seconds since the run began when it was known, or 0.
    #[serde(default)]
    pub seconds: f64,
    /// Failed and then passed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flaky: bool,
    /// Why a failure is allowed, from `nixbox.toml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
}

/// Something that was set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotTested {
    /// A unit, a path, a kind of hardware.
    pub what: String,
    /// Why, with the evidence.
    pub why: String,
}

impl CheckResult {
    /// A verdict with one line.
    pub fn new(id: impl Into<String>, status: Status, summary: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            status,
            summary: summary.into(),
            detail: Vec::new(),
            evidence: BTreeMap::new(),
            hint: None,
            seconds: 0.0,
            flaky: false,
            allowed: None,
        }
    }

    /// Adds lines that show it.
    #[must_use]
    pub fn detail(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.detail.extend(lines);
        self
    }

    /// Adds typed evidence.
    #[must_use]
    pub fn evidence(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.evidence.insert(name.to_owned(), value.into());
        self
    }

    /// Adds the advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
