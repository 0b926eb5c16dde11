//! Reports of each kind, for the writers' tests.

use std::time::{Duration, SystemTime};

use crate::failure::Failure;
use crate::model::*;
use crate::model::{Accel, CheckId, JailKind, NetworkPolicy};

fn base() -> Report {
    let mut report = Report::new(".#laptop", SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_464_845));
    report.nixbox = "0.1.0".to_owned();
    report.target.resolved = "git+file:///home/u/nixos#nixosConfigurations.laptop".to_owned();
    report.seconds = 41.3;
    report
}

fn ran(mut report: Report) -> Report {
    report.machine = Some(MachineInfo {
        accelerator: Accel::Tcg,
        accelerator_reason: Some("/dev/kvm ran 1,000,000 iterations in over 100 ms".to_owned()),
        transport: TransportKind::VhostUser,
        jail: JailKind::Namespaces,
        memory_mib: 1024,
        cores: 2,
        network: NetworkPolicy::Off,
        systemd: Some("257.9".to_owned()),
        qemu: Some("10.0.2".to_owned()),
    });
    report.artifacts = Some("/home/u/nixos/.nixbox/2026-11-23T20-14-05-laptop-812".into());
    report
}

/// A switch that was rehearsed, and went well.
pub(crate) fn switched() -> Report {
    let mut report = pass();
    let actions = |restarted: &[&str], started: &[&str], stopped: &[&str]| {
        let own = |units: &[&str]| units.iter().map(|unit| (*unit).to_owned()).collect();
        UnitActions {
            restarted: own(restarted),
            started: own(started),
            stopped: own(stopped),
            ..UnitActions::default()
        }
    };
    let run = |phase, seconds, happened: UnitActions| SwitchRunInfo {
        phase,
        exit: Some(0),
        seconds,
        announced: Some(happened.clone()),
        happened,
        output: vec!["activating the configuration...".to_owned()],
    };
    report.switch = Some(SwitchReport {
        from: "HEAD (1a2b3c4)".to_owned(),
        resolved: "git+file:///home/u/nixos?rev=1a2b3c4#nixosConfigurations.laptop".to_owned(),
        revision: Some("1a2b3c4".to_owned()),
        runs: vec![
            run(MachinePhase::Switched, 12.1, actions(&["nginx.service", "sshd.service"], &["backup.timer"], &[])),
            run(MachinePhase::Back, 9.3, actions(&["nginx.service", "sshd.service"], &[], &["backup.timer"])),
        ],
        ..SwitchReport::default()
    });
    let mut checks = Vec::new();
    for phase in MachinePhase::ALL {
        checks.extend(report.checks.iter().cloned().map(|check| CheckResult { phase: Some(phase), ..check }));
    }
    let of_switch =
        |id, phase, status, summary: &str| CheckResult { phase: Some(phase), ..CheckResult::new(id, status, summary) };
    checks.push(of_switch(
        CheckId::SwitchOutcome,
        MachinePhase::Switched,
        Status::Pass,
        "switched in 12 s: 2 restarted, 1 started",
    ));
    checks.push(of_switch(
        CheckId::ResidueNetwork,
        MachinePhase::Back,
        Status::Warn,
        "the network device br-lab is still there after switching back; probably left by lab.service",
    ));
    report.checks = checks;
    report
}

/// A switch in which a unit failed, and which could be taken back.
pub(crate) fn switch_failed() -> Report {
    let mut report = switched();
    let cause = "app.service failed: exit code 1: cat: /etc/app.key: No such file or directory";
    let mut failed = CheckResult::new(CheckId::ServicesFailedUnits, Status::Fail, cause);
    failed.findings = vec![Found { item: "app.service".to_owned(), summary: cause.to_owned(), ..Found::default() }];
    for phase in [MachinePhase::Switched, MachinePhase::Rebooted] {
        report.checks.retain(|check| (check.id, check.phase) != (CheckId::ServicesFailedUnits, Some(phase)));
        report.checks.push(CheckResult { phase: Some(phase), ..failed.clone() });
    }
    report.checks.retain(|check| check.id != CheckId::SwitchOutcome);
    report.checks.push(CheckResult {
        phase: Some(MachinePhase::Switched),
        ..CheckResult::new(CheckId::SwitchOutcome, Status::Fail, cause)
            .detail(["[   49.559] app-start: cat: /etc/app.key: No such file or directory".to_owned()])
            .evidence("exit", 4)
    });
    if let Some(run) = report.switch.as_mut().and_then(|switch| switch.runs.first_mut()) {
        run.exit = Some(4);
    }
    report.apply = None;
    crate::checks::verdict(&report.checks).decide(&mut report);
    report
}

/// Passed, with all that may stand beside.
pub(crate) fn pass() -> Report {
    let mut report = ran(base());
    let phases = [(Phase::Evaluate, 2.1), (Phase::Build, 0.4), (Phase::Boot, 21.3), (Phase::Check, 5.0)];
    report.phases = phases.map(|(phase, seconds)| PhaseTime { phase, seconds }).to_vec();
    report.phases.push(PhaseTime { phase: Phase::Stop, seconds: 0.09 });
    let mut allowed = CheckResult::new(CheckId::script("printing"), Status::Fail, "cups.service failed");
    allowed.allowed = Some("no printer here".to_owned());
    report.checks = vec![
        CheckResult::new(CheckId::BootTarget, Status::Pass, "multi-user.target reached").evidence("seconds", 21.3),
        CheckResult::new(CheckId::BootTime, Status::Warn, "multi-user.target after 21.3 s, limit 20 s"),
        CheckResult::new(CheckId::ServicesFailedUnits, Status::Pass, "no failed unit"),
        CheckResult::new(CheckId::ServicesPromised, Status::Pass, "all 31 expected units are as expected"),
        allowed,
        CheckResult::new(CheckId::UsersLogin, Status::Pass, "u can log in"),
        CheckResult::new(CheckId::AudioTone, Status::Skip, "no sound server is expected"),
    ];
    report.not_tested = vec![
        not_tested(
            "fwupd.service",
            Lack::Hardware,
            Witness::Condition { condition: "ConditionVirtualization=!vm".to_owned() },
            "ConditionVirtualization=!vm, as on no real machine",
        ),
        not_tested(
            "disks",
            Lack::Choice,
            Witness::option("fileSystems"),
            "a VM has a disk of its own, not those of hardware-configuration.nix",
        ),
    ];
    report.outside = vec![
        OutsideAttempt {
            to: "updates.example.org".to_owned(),
            by: vec!["updates.service".to_owned()],
            is_clock: false,
        },
        OutsideAttempt { to: "192.0.2.7:443".to_owned(), ..OutsideAttempt::default() },
        OutsideAttempt {
            to: "0.nixos.pool.ntp.org".to_owned(),
            by: vec!["systemd-timesyncd.service".to_owned()],
            is_clock: true,
        },
    ];
    report.notes = vec!["tcg instead of kvm: /dev/kvm ran 1,000,000 iterations in over 100 ms".to_owned()];
    crate::checks::verdict(&report.checks).decide(&mut report);
    report.apply = Some("nixos-rebuild switch --flake 'git+file:///home/u/nixos?rev=0123#laptop'".to_owned());
    report
}

pub(crate) fn not_tested(what: &str, lack: Lack, witness: Witness, why: &str) -> NotTested {
    NotTested::new(what, Excuse::new(lack, witness, why))
}

/// The checks failed as they did before the change.
pub(crate) fn compared() -> Report {
    let mut report = fail();
    for (check, item) in report.checks[1..].iter_mut().zip(["nginx.service", "80/tcp"]) {
        check.findings = vec![Found { item: item.to_owned(), summary: check.summary.clone(), ..Found::default() }];
    }
    let mut before = report.checks.clone();
    before[1].findings.push(Found { item: "old.service".to_owned(), ..Found::default() });
    let before = crate::checks::difference::Results { checks: &before, not_tested: &[] };
    let mended = crate::checks::difference::compare(&mut report.checks, &mut [], before, Count::New);
    report.baseline = Some(Baseline {
        name: "HEAD (1a2b3c4)".to_owned(),
        resolved: "git+file:///home/u/nixos?rev=1a2b3c4#nixosConfigurations.laptop".to_owned(),
        revision: Some("1a2b3c4".to_owned()),
        unusable: None,
        booted: true,
        artifacts: None,
        count: Count::New,
        mended,
    });
    crate::checks::verdict(&report.checks).decide(&mut report);
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
        CheckResult::new(CheckId::BootTarget, Status::Pass, "multi-user.target reached"),
        CheckResult::new(CheckId::ServicesFailedUnits, Status::Fail, "nginx.service failed: exit code 1")
            .detail(lines.map(str::to_owned))
            .evidence("unit", "nginx.service")
            .hint("another unit listens on tcp 80: httpd.service"),
        CheckResult::new(CheckId::ServicesPorts, Status::Fail, "nothing is listening on 80/tcp").evidence("port", 80),
        CheckResult::new(CheckId::UsersLogin, Status::Pass, "u can log in"),
    ];
    report.not_tested =
        vec![not_tested("disks", Lack::Choice, Witness::option("fileSystems"), "a VM has a disk of its own")];
    crate::checks::verdict(&report.checks).decide(&mut report);
    report
}

/// This host cannot.
pub(crate) fn unknown() -> Report {
    let mut report = base();
    report.seconds = 0.035;
    Failure::host("--accel kvm: /dev/kvm does not open: Permission denied (os error 13)")
        .hint("add yourself to the group kvm, or leave --accel at auto")
        .decide(&mut report);
    report
}

/// The guest did not come up.
pub(crate) fn boot_fail() -> Report {
    let mut report = ran(base());
    report.machine = None;
    report.seconds = 120.2;
    report.checks = vec![CheckResult::new(CheckId::BootTarget, Status::Pass, "the kernel came up")];
    Failure::new(Exit::Boot, "boot hangs: stuck.service/start has been running for 1 min 31 s")
        .why("[  *** ] Job stuck.service/start running (1min 31s / no limit)\r\n")
        .hint("give stuck.service a TimeoutStartSec, or see why it does not end")
        .decide(&mut report);
    report
}

/// nix could not build it.
pub(crate) fn build_fail() -> Report {
    let mut report = base();
    report.seconds = 4.2;
    let log = (1..=32).map(|line| format!("log line {line}")).collect::<Vec<_>>().join("\n");
    let error = "error: builder for '/nix/store/x-hello-1.0.drv' failed with exit code 2";
    Failure::check(CheckId::BuildDerivation, "building hello-1.0 failed: exit code 2")
        .why(format!("{error}\n{log}"))
        .decide(&mut report);
    report
}

/// All of them.
pub(crate) fn all() -> Vec<Report> {
    vec![pass(), fail(), unknown(), boot_fail(), build_fail()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_before_it_passed_is_flaky() {
        let mut report = pass();
        let mut former = fail();
        former.checks.push(CheckResult::new(CheckId::BootPanic, Status::Fail, "Attempted to kill init"));
        let checks = report.checks.len();
        report.passed_after(&former);
        let flaky: Vec<_> = report.checks.iter().filter(|check| check.flaky).map(|check| check.id).collect();
        assert_eq!(flaky, [CheckId::ServicesFailedUnits, CheckId::ServicesPorts, CheckId::BootPanic]);
        assert_eq!(report.checks.len(), checks + 2, "what a pass does not mention is added");
        assert!(report.is_flaky() && !former.is_flaky());
        let mut failed = fail();
        failed.passed_after(&former);
        assert!(!failed.is_flaky());
    }
}
