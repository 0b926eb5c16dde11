//! The report: one model for all formats. `schema: 1`; fields are added, never renamed, without a new number.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::display::Recorded;
use crate::channel::Transport;
use crate::event::Phase;
use crate::failure::Failure;
use crate::names::{Exit, REPORT_SCHEMA};

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
    /// Seconds from the moment when the screen first looked as a desktop's steady picture does to the verdict, where a
    /// session was waited for and came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub painted_to_verdict: Option<f64>,
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
            not_tested: Vec::new(),
            notes: Vec::new(),
            artifacts: None,
            apply: None,
            started: humantime::format_rfc3339_seconds(started).to_string(),
            seconds: 0.0,
        }
    }

    /// Takes over what the run told while it went on, where it is not there yet.
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
            let known = self.checks.iter_mut().find(|check| check.id == failed.id);
            match known {
                Some(check) => check.flaky |= check.status != Status::Fail,
                None => {
                    let summary = format!("passed after it had failed: {}", failed.summary);
                    let mut check = CheckResult::new(failed.id.clone(), Status::Pass, summary);
                    check.flaky = true;
                    self.checks.push(check);
                }
            }
            self.notes.push(format!("failed before it passed: {}: {}", failed.id, failed.summary));
        }
    }

    /// Whether something failed and then passed.
    pub fn is_flaky(&self) -> bool {
        self.checks.iter().any(|check| check.flaky)
    }

    /// Judges by a failure that ended the run.
    pub fn ended_by(&mut self, failure: &Failure) {
        let (verdict, stage) = match failure.exit {
            Exit::Build if failure.check.is_some_and(|id| id.starts_with("build.eval")) => {
                (Verdict::Fail, Some(Stage::Evaluate))
            }
            Exit::Build => (Verdict::Fail, Some(Stage::Build)),
            Exit::Boot => (Verdict::Fail, Some(Stage::Boot)),
            Exit::CheckFailed => (Verdict::Fail, Some(Stage::Check)),
            Exit::Pass | Exit::Unknown => (Verdict::Unknown, Some(Stage::Host)),
            Exit::Usage | Exit::Interrupted => (Verdict::Unknown, None),
        };
        // A failure is never a pass, whatever it says of itself.
        let exit = if failure.exit == Exit::Pass { Exit::Unknown } else { failure.exit };
        (self.verdict, self.stage, self.exit) = (verdict, stage, exit.code());
        self.cause = Some(failure.what.clone());
        self.detail = failure.why.clone();
        self.hint = failure.hint.clone();
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
    /// Seconds that were spent on this check alone: a sound that was played, a session that was waited for, a script.
    /// 0 for what is read off answers that all checks share.
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

    /// Says how long it took.
    #[must_use]
    pub fn took(mut self, seconds: f64) -> Self {
        self.seconds = seconds;
        self
    }
}

/// Reports of each kind, for the writers' tests.
#[cfg(test)]
pub(crate) mod examples {
    use std::time::Duration;

    use super::*;

    fn base() -> Report {
        let mut report = Report::new(".#laptop", SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_464_845));
        report.target.resolved = "git+file:///home/u/nixos#nixosConfigurations.laptop".to_owned();
        report.seconds = 41.3;
        report
    }

    fn ran(mut report: Report) -> Report {
        report.machine = Some(MachineInfo {
            accelerator: "tcg".to_owned(),
            accelerator_reason: Some("/dev/kvm ran 1,000,000 iterations in over 100 ms".to_owned()),
            transport: Transport::VhostUser,
            jail: "namespaces".to_owned(),
            memory_mib: 1024,
            cores: 2,
            network: "off".to_owned(),
            systemd: Some("257.9".to_owned()),
            qemu: Some("10.0.2".to_owned()),
        });
        report.artifacts = Some("/home/u/nixos/.nixbox/2026-11-23T20-14-05-laptop-812".into());
        report
    }

    /// Passed, with all that may stand beside.
    pub(crate) fn pass() -> Report {
        let mut report = ran(base());
        let phases = [(Phase::Evaluate, 2.1), (Phase::Build, 0.4), (Phase::Boot, 21.3), (Phase::Look, 5.0)];
        report.phases = phases.map(|(phase, seconds)| PhaseTime { phase, seconds }).to_vec();
        report.phases.push(PhaseTime { phase: Phase::Stop, seconds: 0.09 });
        let mut allowed = CheckResult::new("services.printing", Status::Fail, "cups.service failed");
        allowed.allowed = Some("no printer here".to_owned());
        report.checks = vec![
            CheckResult::new("boot.target", Status::Pass, "multi-user.target reached").evidence("seconds", 21.3),
            CheckResult::new("boot.time", Status::Warn, "21.3 s to multi-user.target, 20 s wished"),
            CheckResult::new("services.failed-units", Status::Pass, "no failed unit"),
            CheckResult::new("services.promised", Status::Pass, "all 31 promised units are as promised"),
            allowed,
            CheckResult::new("users.login", Status::Pass, "u can log in"),
            CheckResult::new("audio.tone", Status::Skip, "no sound server is promised"),
        ];
        report.not_tested = vec![
            NotTested {
                what: "fwupd.service".to_owned(),
                why: "ConditionVirtualization=!vm, as on no real machine".to_owned(),
            },
            NotTested {
                what: "disks".to_owned(),
                why: "a VM has a disk of its own, not those of hardware-configuration.nix".to_owned(),
            },
        ];
        report.notes = vec!["tcg instead of kvm: /dev/kvm ran 1,000,000 iterations in over 100 ms".to_owned()];
        crate::checks::verdict(&report.checks).decide(&mut report);
        report.apply = Some("nixos-rebuild switch --flake 'git+file:///home/u/nixos?rev=0123#laptop'".to_owned());
        report
    }

    /// A check failed.
    pub(crate) fn fail() -> Report {
        let mut report = ran(base());
        let lines = [
            "nginx[812]: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)",
            "nginx[812]: \u{1b}[31mred\u{1b}[0m",
            "systemd[1]: nginx.service: Failed with result 'exit-code'.",
        ];
        report.checks = vec![
            CheckResult::new("boot.target", Status::Pass, "multi-user.target reached"),
            CheckResult::new("services.failed-units", Status::Fail, "nginx.service failed: exit code 1")
                .detail(lines.map(str::to_owned))
                .evidence("unit", "nginx.service")
                .hint("another unit listens on tcp 80: httpd.service"),
            CheckResult::new("services.ports", Status::Fail, "nobody listens on tcp 80").evidence("port", 80),
            CheckResult::new("users.login", Status::Pass, "u can log in"),
        ];
        report.not_tested = vec![NotTested { what: "disks".to_owned(), why: "a VM has a disk of its own".to_owned() }];
        crate::checks::verdict(&report.checks).decide(&mut report);
        report
    }

    /// This host cannot.
    pub(crate) fn unknown() -> Report {
        let mut report = base();
        report.seconds = 0.035;
        report.ended_by(
            &Failure::host("--accel kvm: /dev/kvm does not open: Permission denied (os error 13)")
                .hint("add yourself to the group kvm, or leave --accel at auto"),
        );
        report
    }

    /// The guest did not come up.
    pub(crate) fn boot_fail() -> Report {
        let mut report = ran(base());
        report.machine = None;
        report.seconds = 120.2;
        report.checks = vec![CheckResult::new("boot.kernel", Status::Pass, "the kernel came up")];
        report.ended_by(
            &Failure::new(Exit::Boot, "boot hangs: stuck.service/start has been running for 1 min 31 s")
                .why("[  *** ] Job stuck.service/start running (1min 31s / no limit)\r\n")
                .hint("give stuck.service a TimeoutStartSec, or see why it does not end"),
        );
        report
    }

    /// nix could not build it.
    pub(crate) fn build_fail() -> Report {
        let mut report = base();
        report.seconds = 4.2;
        let log = (1..=32).map(|line| format!("log line {line}")).collect::<Vec<_>>().join("\n");
        let error = "error: builder for '/nix/store/x-hello-1.0.drv' failed with exit code 2";
        report.ended_by(
            &Failure::build("build.derivation", "building hello-1.0 failed: exit code 2")
                .why(format!("{error}\n{log}")),
        );
        report
    }

    /// All of them.
    pub(crate) fn all() -> Vec<Report> {
        vec![pass(), fail(), unknown(), boot_fail(), build_fail()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_before_it_passed_is_flaky() {
        let mut report = examples::pass();
        let mut former = examples::fail();
        former.checks.push(CheckResult::new("boot.panic", Status::Fail, "Attempted to kill init"));
        let checks = report.checks.len();
        report.passed_after(&former);
        let flaky: Vec<_> = report.checks.iter().filter(|check| check.flaky).map(|check| check.id.as_str()).collect();
        assert_eq!(flaky, ["services.failed-units", "services.ports", "boot.panic"]);
        assert_eq!(report.checks.len(), checks + 2, "what a pass does not mention is added");
        assert!(report.is_flaky() && !former.is_flaky());
        let mut failed = examples::fail();
        failed.passed_after(&former);
        assert!(!failed.is_flaky());
    }

    #[test]
    fn a_failure_s_exit_code_says_the_verdict_and_the_stage() {
        let of = |failure: Failure| {
            let mut report = Report::new("x", SystemTime::UNIX_EPOCH);
            report.ended_by(&failure);
            (report.verdict, report.stage, report.exit)
        };
        assert_eq!(of(Failure::build("build.eval", "x")), (Verdict::Fail, Some(Stage::Evaluate), 3));
        assert_eq!(of(Failure::build("build.derivation", "x")), (Verdict::Fail, Some(Stage::Build), 3));
        assert_eq!(of(Failure::new(Exit::Boot, "x")), (Verdict::Fail, Some(Stage::Boot), 4));
        assert_eq!(of(Failure::host("x")), (Verdict::Unknown, Some(Stage::Host), 5));
        assert_eq!(of(Failure::new(Exit::Pass, "x")), (Verdict::Unknown, Some(Stage::Host), 5));
        assert_eq!(of(Failure::usage("x")), (Verdict::Unknown, None, 2));
        assert_eq!(of(Failure::interrupted()), (Verdict::Unknown, None, 130));
    }
}
