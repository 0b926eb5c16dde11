//! The report: one model for all formats. Fields are added, never renamed, without a new number in `schema`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Accel, Baseline, Change, CheckId, Exit, Found, JailKind, MachinePhase, NetworkPolicy, NotTested, REPORT_SCHEMA,
    SwitchReport, TransportKind, Weight,
};

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
    /// Present where this is the verdict of a former run on which nothing has changed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<Cached>,
    /// Seconds from the first steady picture of the desktop to the verdict, where a session was expected and came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub painted_to_verdict: Option<f64>,
    /// Each check with its verdict.
    pub checks: Vec<CheckResult>,
    /// What this was compared with, where something failed or was not testable and there was something to compare with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
    /// The switch that was rehearsed (`--switch`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch: Option<SwitchReport>,
    /// What a VM cannot show, or what the sandbox changed, with the evidence.
    pub not_tested: Vec<NotTested>,
    /// What of the outside the guest tried to reach, whether or not the network was on; empty where that is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<OutsideAttempt>,
    /// What the user should know (fallbacks, a dirty tree).
    pub notes: Vec<String>,
    /// Where the artifacts are, when they could be kept.
    pub artifacts: Option<PathBuf>,
    /// The command that applies exactly what was tested, after a pass.
    pub apply: Option<String>,
    /// When the run began, RFC 3339, UTC.
    pub started: String,
    /// How long the whole run took, in seconds.
    pub seconds: f64,
}

impl Report {
    /// A report on a target as the user named it, with nothing found out yet: the verdict is `unknown`.
    pub fn new(target: impl Into<String>, started: SystemTime) -> Self {
        Self {
            schema: REPORT_SCHEMA,
            nixbox: env!("CARGO_PKG_VERSION").to_owned(),
            verdict: Verdict::Unknown,
            stage: None,
            exit: Exit::Unknown.code(),
            cause: None,
            detail: None,
            hint: None,
            target: TargetInfo { name: target.into(), ..TargetInfo::default() },
            machine: None,
            phases: Vec::new(),
            cached: None,
            painted_to_verdict: None,
            checks: Vec::new(),
            baseline: None,
            switch: None,
            not_tested: Vec::new(),
            outside: Vec::new(),
            notes: Vec::new(),
            artifacts: None,
            apply: None,
            started: humantime::format_rfc3339_seconds(started).to_string(),
            seconds: 0.0,
        }
    }

    /// Takes over what the run's events reported, where it is not there yet.
    pub fn record(&mut self, recorded: Recorded) {
        if self.phases.is_empty() {
            self.phases = recorded.phases;
        }
        if self.checks.is_empty() {
            self.checks = recorded.checks;
        }
        for note in recorded.notes {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
    }

    /// Marks what failed in a former attempt and passed in this one. A check that has no part in a pass (a panic's) is
    /// listed for that. Does nothing where this is no pass.
    pub fn passed_after(&mut self, former: &Report) {
        if self.verdict != Verdict::Pass {
            return;
        }
        for failed in former.checks.iter().filter(|check| check.status == Status::Fail && check.allowed.is_none()) {
            let is_same = |check: &CheckResult| (check.id, check.phase) == (failed.id, failed.phase);
            let known = self.checks.iter_mut().find(|check| is_same(check));
            match known {
                Some(check) => check.flaky |= check.status != Status::Fail,
                None => {
                    let summary = format!("passed after it had failed: {}", failed.summary);
                    let mut check = CheckResult::new(failed.id, Status::Pass, summary);
                    (check.flaky, check.phase) = (true, failed.phase);
                    self.checks.push(check);
                }
            }
            self.notes.push(format!("failed before it passed: {}: {}", failed.label(), failed.summary));
        }
    }

    /// Whether something failed and then passed.
    pub fn is_flaky(&self) -> bool {
        self.checks.iter().any(|check| check.flaky)
    }
}

/// A verdict of a former run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cached {
    /// When that run began, RFC 3339, UTC.
    pub started: String,
    /// How long ago that was, in seconds.
    pub age: f64,
}

impl Cached {
    /// A run that began then (RFC 3339), seen from now.
    pub fn of(started: &str) -> Self {
        let then = humantime::parse_rfc3339(started).ok();
        let age = then.and_then(|then| SystemTime::now().duration_since(then).ok()).unwrap_or_default();
        Self { started: started.to_owned(), age: age.as_secs_f64() }
    }
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

impl Stage {
    /// The exit code of a run that ends with a failure in this stage.
    pub const fn exit(self) -> Exit {
        match self {
            Self::Evaluate | Self::Build => Exit::Build,
            Self::Boot => Exit::Boot,
            Self::Check => Exit::CheckFailed,
            Self::Host => Exit::Unknown,
        }
    }
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
    /// What executed the guest's instructions.
    pub accelerator: Accel,
    /// Why not a faster one, or what of its speed is unproven, where there is something to say.
    pub accelerator_reason: Option<String>,
    /// The transport into the guest.
    pub transport: TransportKind,
    /// How the flake's code was contained.
    pub jail: JailKind,
    /// Guest memory in MiB.
    pub memory_mib: u64,
    /// Virtual CPUs.
    pub cores: u32,
    /// What the guest's network reached.
    pub network: NetworkPolicy,
    /// The version of the guest's systemd, when it is known.
    pub systemd: Option<String>,
    /// QEMU's version, from QMP.
    pub qemu: Option<String>,
}

/// A stage of a run, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// What the user named becomes a target.
    Resolve,
    /// nix evaluates.
    Evaluate,
    /// nix builds.
    Build,
    /// From the runner's start to PID 1's `READY=1`.
    Boot,
    /// The guest is probed, units settle, the checks judge.
    Check,
    /// The configuration before the change is tried too, to compare.
    Baseline,
    /// The machine switches to the target.
    Switch,
    /// It switches back.
    SwitchBack,
    /// Screen, journal, quit.
    Stop,
}

impl Phase {
    /// One word for people.
    pub const fn label(self) -> &'static str {
        match self {
            Phase::Resolve => "resolve",
            Phase::Evaluate => "evaluate",
            Phase::Build => "build",
            Phase::Boot => "boot",
            Phase::Check => "check",
            Phase::Baseline => "baseline",
            Phase::Switch => "switch",
            Phase::SwitchBack => "switch back",
            Phase::Stop => "stop",
        }
    }
}

/// Something outside of the machine that it tried to reach, seen at its network card.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutsideAttempt {
    /// A name that it asked for, or an address, with the port where there is one: `updates.example.org`, `1.1.1.1:443`,
    /// `192.0.2.1:51820/udp`.
    pub to: String,
    /// The units that did, as far as their words or command lines tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<String>,
    /// Whether it is a server of the time, which nearly every machine asks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_clock: bool,
}

/// What of the events belongs into the report.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recorded {
    /// How long each phase took, in the order in which they ended.
    pub phases: Vec<PhaseTime>,
    /// What the user should know, each once.
    pub notes: Vec<String>,
    /// The checks, in the order in which they were known.
    pub checks: Vec<CheckResult>,
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
    /// As expected.
    Pass,
    /// Worth attention, breaks nothing by itself.
    Warn,
    /// Not as expected.
    Fail,
    /// Not tested; the summary says why.
    Skip,
    /// Could not be tested.
    Unknown,
}

/// A check and what it found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckResult {
    /// Which check.
    pub id: CheckId,
    /// When in a rehearsed switch; `None` where the machine was only booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<MachinePhase>,
    /// The verdict.
    pub status: Status,
    /// One line: the cause when it failed, the observation when it passed.
    pub summary: String,
    /// More: the journal's lines that show it. Text of the guest's, already escaped and bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detail: Vec<String>,
    /// Each thing that was found wrong, where the check looks at several: units, ports, users, ….
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Found>,
    /// How it compares with the baseline's result, where there is one and this is no pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// Failed before the change too, and so does not count (see the baseline's `count`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub before: bool,
    /// Typed evidence: unit, port, exit code, …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub evidence: BTreeMap<String, serde_json::Value>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Seconds that were spent on this check alone: a sound that was played, a session that was waited for, a script.
    /// 0 for what is judged from observations that all checks share.
    #[serde(default)]
    pub seconds: f64,
    /// Failed and then passed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flaky: bool,
    /// Why a failure is allowed, from `nixbox.toml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
}

impl CheckResult {
    /// A verdict with one line.
    pub fn new(id: CheckId, status: Status, summary: impl Into<String>) -> Self {
        Self {
            id,
            phase: None,
            status,
            summary: summary.into(),
            detail: Vec::new(),
            findings: Vec::new(),
            change: None,
            before: false,
            evidence: BTreeMap::new(),
            hint: None,
            seconds: 0.0,
            flaky: false,
            allowed: None,
        }
    }

    /// Its id, with the phase of a rehearsed switch: `services.failed-units [switched]`. Unique in a report.
    pub fn label(&self) -> String {
        match self.phase {
            Some(phase) => format!("{} [{phase}]", self.id),
            None => self.id.to_string(),
        }
    }

    /// Says in which phase of a rehearsed switch it was seen.
    #[must_use]
    pub fn in_phase(mut self, phase: MachinePhase) -> Self {
        self.phase = Some(phase);
        self
    }

    /// Whether it makes the run fail: a failure that is not allowed, and that was not there before the change.
    pub fn is_failure(&self) -> bool {
        self.status == Status::Fail && self.allowed.is_none() && !self.before
    }

    /// Whether it keeps the run from passing though nothing failed: an expected check that could not be judged.
    pub fn is_undecided(&self) -> bool {
        self.status == Status::Unknown && self.id.row().weight == Weight::Expected
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

    /// Says how long it took.
    #[must_use]
    pub fn took(mut self, seconds: f64) -> Self {
        self.seconds = seconds;
        self
    }
}
