//! How far a machine came.

use crate::checks::test_support::{Guest, NOW, active, by_manager, failed, guest, inactive, line, result, status};
use crate::checks::verdict;
use crate::guest::facts::{Job, JournalLine, Service, Unit};
use crate::model::{CheckId, Exit, NetworkPolicy, Status};

#[test]
fn emergency_mode_names_the_mount_and_not_plymouth() {
    let guest = guest()
        .unit(inactive("multi-user.target"))
        .unit(active("emergency.target"))
        .unit(Unit { broken_requirements: vec!["var-lib-lxcfs.mount".into()], ..inactive("local-fs.target") })
        .unit(Unit {
            mount_where: Some("/var/lib/lxcfs".into()),
            mount_what: Some("/dev/nope".into()),
            ..failed("var-lib-lxcfs.mount", 0)
        })
        .unit(Unit { state_change_us: 1, ..failed("plymouth-quit.service", 203) });
    let judgement = guest.breaks(CheckId::BootEmergency, "/dev/nope could not be mounted on /var/lib/lxcfs");
    let emergency = result(&judgement, CheckId::BootEmergency);
    assert!(emergency.summary.contains("10 s after the kernel's start"), "{}", emergency.summary);
    assert_eq!(emergency.evidence["where"], "/var/lib/lxcfs");
    assert_eq!(status(&judgement, CheckId::ServicesFailedUnits), Status::Skip);
    assert_eq!(verdict(&judgement.results).exit, Exit::Boot);
}

#[test]
fn emergency_mode_names_the_device_that_did_not_appear() {
    let device = "dev-disk-by\\x2dlabel-persist.device";
    guest()
        .unit(inactive("multi-user.target"))
        .unit(active("emergency.target"))
        .unit(Unit { broken_requirements: vec!["persist.mount".into()], ..inactive("local-fs.target") })
        .unit(Unit { broken_requirements: vec![device.into()], ..inactive("persist.mount") })
        .unit(inactive(device))
        .breaks(CheckId::BootEmergency, "/dev/disk/by-label/persist, which persist.mount needs, did not appear");
}

fn rescued() -> Guest {
    guest().unit(inactive("multi-user.target")).unit(active("rescue.target"))
}

#[test]
fn rescue_mode_for_want_of_a_target() {
    let not_found = JournalLine { priority: 3, ..by_manager("", "Unit default.target not found.") };
    rescued()
        .journal(not_found)
        .journal(by_manager("", "Falling back to rescue.target."))
        .breaks(CheckId::BootEmergency, "systemd cannot boot into its target: Unit default.target not found.");
}

#[test]
fn rescue_mode_that_the_kernel_s_command_line_asks_for() {
    let words = "Command line: console=ttyS0 systemd.unit=rescue.target loglevel=4";
    rescued()
        .journal(JournalLine { transport: "kernel".into(), ..line("", words) })
        .breaks(CheckId::BootEmergency, "the kernel's command line asks for it: systemd.unit=rescue.target");
}

#[test]
fn a_stuck_job_and_a_target_that_is_not_reached() {
    let job = |unit: &str, state: &str, seconds| Job {
        unit: unit.into(),
        kind: "start".into(),
        state: state.into(),
        seconds,
    };
    let stuck = |cpu_us| {
        guest()
            .unit(inactive("multi-user.target"))
            .unit(Unit {
                active_state: "activating".into(),
                state_change_us: NOW - 40_000_000,
                service: Some(Service { kind: "oneshot".into(), cpu_us, ..Service::default() }),
                ..inactive("migrate.service")
            })
            .journal(line("migrate.service", "waiting for the moon"))
            .facts(|facts| {
                facts.jobs = vec![job("multi-user.target", "waiting", None), job("migrate.service", "running", None)];
            })
    };
    // What works may only need longer.
    let judgement = stuck(Some(35_000_000)).judge();
    assert_eq!(status(&judgement, CheckId::BootTarget), Status::Unknown);
    let told = &result(&judgement, CheckId::BootTarget).summary;
    assert!(told.contains("kept a CPU busy for 35 s of that time"), "{told}");
    let judgement = stuck(Some(1_000_000))
        .breaks(CheckId::BootTarget, "migrate.service has been running for 40 s; its last line: waiting for the moon");
    assert_eq!(result(&judgement, CheckId::BootTarget).evidence["job"], "migrate.service");
    assert_eq!(verdict(&judgement.results).exit, Exit::Boot);

    let dead = guest().unit(Unit { broken_requirements: vec!["db.service".into()], ..inactive("multi-user.target") });
    dead.unit(failed("db.service", 1))
        .breaks(CheckId::BootTarget, "multi-user.target is not reached: db.service: exit code 1");
}

#[test]
fn what_waits_for_the_outside_holds_up_the_boot() {
    let waits = || {
        guest()
            .unit(Unit { active_state: "inactive".into(), ..active("multi-user.target") })
            .unit(Unit { active_state: "activating".into(), ..active("wait.service") })
            .facts(|facts| {
                facts.jobs.push(Job {
                    unit: "wait.service".into(),
                    kind: "start".into(),
                    state: "running".into(),
                    seconds: Some(50),
                });
            })
    };
    let unreachable = || waits().journal(line("wait.service", "ping: connect: Network is unreachable"));
    let judgement = unreachable().judge();
    let reported = result(&judgement, CheckId::BootTarget);
    assert_eq!(reported.status, Status::Unknown, "{reported:#?}");
    assert!(reported.summary.contains("it may be waiting for the outside network"), "{}", reported.summary);
    let let_out = unreachable().context(|context| context.network = NetworkPolicy::User).judge();
    assert_eq!(status(&let_out, CheckId::BootTarget), Status::Fail);
    assert_eq!(status(&waits().judge(), CheckId::BootTarget), Status::Fail);
}

#[test]
fn what_loops_holds_up_a_boot() {
    let job = |unit: &str, state: &str| Job {
        unit: unit.into(),
        kind: "start".into(),
        state: state.into(),
        seconds: Some(2),
    };
    let loops = |restarts| Unit {
        active_state: "activating".into(),
        sub_state: "start".into(),
        service: Some(Service { kind: "oneshot".into(), restarts, ..Service::default() }),
        ..inactive("flapping.service")
    };
    let held = |restarts, runs: &str| {
        guest()
            .unit(inactive("multi-user.target"))
            .unit(loops(restarts))
            .journal(line("flapping.service", "error: no such configuration"))
            .journal(by_manager("flapping.service", "flapping.service: Failed with result 'exit-code'."))
            .facts(|facts| {
                facts.manager.finish_us = 0;
                facts.jobs = vec![job("flapping.service", "running"), job("multi-user.target", "waiting")];
                facts.jobs[0].unit = runs.to_owned();
            })
    };
    held(9, "flapping.service").breaks(
        CheckId::BootTarget,
        "multi-user.target is not reached: it waits for flapping.service, which fails and is restarted again and again",
    );
    held(9, "flapping.service").breaks(CheckId::BootTarget, "no such configuration");
    // It has only been tried once more, or something else holds up the boot.
    held(1, "flapping.service").breaks(CheckId::BootTarget, "the start job of flapping.service");
    held(9, "sshd.service").breaks(CheckId::BootTarget, "the start job of sshd.service");
}
