//! Services that are started again.

use std::time::Duration;

use crate::checks::test_support::{Guest, NOW, active, by_manager, guest, line, result, status, waiting};
use crate::checks::{may_recover, settle_needed};
use crate::config::Settings;
use crate::guest::facts::{JournalLine, Service, Unit};
use crate::judging::{Selection, plan};
use crate::model::{Accel, CheckId, Status};

#[test]
fn restart_loops() {
    let looping = |restarts, sub: &str, exit_status, result: &str| Unit {
        active_state: if sub == "running" { "active" } else { "activating" }.into(),
        sub_state: sub.into(),
        active_enter_us: NOW + 4_500_000,
        result: result.into(),
        service: Some(Service {
            kind: "simple".into(),
            restart: "always".into(),
            restarts,
            exit_kind: 1,
            exit_status,
            ..Service::default()
        }),
        ..active("loop.service")
    };
    let grow = |exit_status, result: &'static str| {
        guest().expected(looping(3, "running", exit_status, result)).later(move |facts| {
            facts.units.retain(|unit| unit.name != "loop.service");
            facts.units.push(looping(8, "running", exit_status, result));
        })
    };
    grow(0, "success").breaks(
        CheckId::ServicesRestartLoop,
        "exits successfully and is restarted again and again (8 times, 5 of them in the last 5.0 s)",
    );
    grow(1, "exit-code").breaks(CheckId::ServicesRestartLoop, "fails and is restarted again and again");
    // How it ended the last time, PID 1 has said.
    let running = |restarts| {
        let unit = looping(restarts, "running", 0, "success");
        Unit { service: unit.service.map(|service| Service { exit_kind: 0, ..service }), ..unit }
    };
    for (ended, result, words) in [
        ("killed, status=6/ABRT", "watchdog", "its watchdog timed out"),
        ("exited, status=3/NOTIMPLEMENTED", "exit-code", "exit code 3"),
    ] {
        guest()
            .expected(running(3))
            .journal(by_manager("loop.service", &format!("loop.service: Main process exited, code={ended}")))
            .journal(by_manager("loop.service", &format!("loop.service: Failed with result '{result}'.")))
            .later(move |facts| {
                facts.units.retain(|unit| unit.name != "loop.service");
                facts.units.push(running(8));
            })
            .breaks(CheckId::ServicesRestartLoop, words);
    }
    // Read in a moment when it was up, and failed again before the journal was read: told once.
    let again = JournalLine {
        at_us: NOW + 4_700_000,
        ..by_manager("loop.service", "loop.service: Failed with result 'exit-code'.")
    };
    grow(1, "exit-code").journal(again).breaks(CheckId::ServicesRestartLoop, "fails and is restarted again");
    guest()
        .expected(looping(1, "auto-restart", 1, "exit-code"))
        .breaks(CheckId::ServicesRestartLoop, "fails and was restarted once: exit code 1");
    // A restart that helped, and a pause of somebody who uses Restart= as a timer.
    let mut settled = looping(2, "running", 0, "success");
    settled.active_enter_us = 20_000_000;
    guest().expected(settled).passes();
    let judgement = guest().expected(looping(0, "auto-restart", 0, "success")).passes();
    assert_eq!(status(&judgement, CheckId::ServicesRestartLoop), Status::Warn);
    guest()
        .expected(looping(4, "auto-restart", 1, "exit-code"))
        .journal(line("loop.service", "Error: getaddrinfo ENOTFOUND api.example.com"))
        .excludes("loop.service: needs the outside");
}

#[test]
fn what_fails_once_has_a_second_try() {
    let app = |restarts, active_state: &str, sub: &str, result: &str| Unit {
        active_state: active_state.into(),
        sub_state: sub.into(),
        result: result.into(),
        active_enter_us: if active_state == "active" { NOW - 4_000_000 } else { 0 },
        state_change_us: NOW - 1_000_000,
        condition_us: NOW - 1_000_000,
        service: Some(Service {
            kind: "notify".into(),
            restart: "on-failure".into(),
            restarts,
            restart_us: 5_000_000,
            exit_kind: 1,
            exit_status: i32::from(result != "success"),
            ..Service::default()
        }),
        ..active("app.service")
    };
    let waits = |restarts| app(restarts, "activating", "auto-restart", "exit-code");
    let starts = |restarts| app(restarts, "activating", "start", "success");
    let up = || app(1, "active", "running", "success");
    let settle = Duration::from_secs(3);
    let needed = |unit: Unit| {
        let guest = guest().expected(unit);
        let plan = plan(&guest.expectations, &Settings::default(), &Selection::default());
        let facts = &guest.observations.first;
        (settle_needed(&plan, facts, settle).map(|wait| wait.as_secs()), may_recover(facts, settle))
    };
    // As long as it waits, and the time to settle; then until it has settled.
    assert_eq!(needed(waits(0)), (Some(7), true));
    assert_eq!(needed(starts(1)), (Some(3), true));
    assert_eq!(needed(Unit { active_enter_us: NOW - 1_000_000, ..up() }), (Some(2), true));
    assert_eq!(needed(up()), (None, false));
    // It failed again, it is not worth the wait, or it did not fail.
    assert_eq!(needed(waits(1)), (Some(3), false));
    let long = Service { restart_us: 600_000_000, ..waits(0).service.unwrap() };
    assert_eq!(needed(Unit { service: Some(long), ..waits(0) }), (Some(3), false));
    assert_eq!(needed(app(0, "activating", "auto-restart", "success")), (Some(3), false));

    let then = |first: Unit, later: Unit| {
        guest().expected(first).later(|facts| {
            facts.units.retain(|unit| unit.name != "app.service");
            facts.units.push(later);
        })
    };
    let warned = |guest: Guest, words: &str| {
        let judgement = guest.passes();
        let reported = result(&judgement, CheckId::ServicesRestartLoop);
        assert!(reported.status == Status::Warn && reported.summary.contains(words), "{reported:#?}");
    };
    warned(then(waits(0), up()), "app.service was restarted once before it stayed up");
    warned(guest().expected(up()), "restarted once before it stayed up");
    warned(then(waits(0), starts(1)), "app.service was restarted once and is still starting");
    then(waits(0), waits(1)).breaks(CheckId::ServicesRestartLoop, "was restarted once in the last 5.0 s: exit code 1");
    then(waits(0), waits(0)).breaks(CheckId::ServicesRestartLoop, "fails and is about to be restarted: exit code 1");
    then(starts(1), starts(2)).breaks(CheckId::ServicesRestartLoop, "app.service fails and is restarted again");
    guest().expected(starts(2)).breaks(CheckId::ServicesRestartLoop, "restarted again and again (2 times)");
}

#[test]
fn what_never_reports_that_it_is_ready_is_started_again_and_again() {
    let mut unit = Unit {
        active_state: "activating".into(),
        sub_state: "start".into(),
        active_enter_us: 0,
        condition_us: 40_000_000,
        state_change_us: 40_000_000,
        ..active("app.service")
    };
    unit.service = Some(Service {
        kind: "notify".into(),
        restart: "on-failure".into(),
        restarts: 1,
        cpu_us: Some(1_000_000),
        ..Service::default()
    });
    let said = |at_us, words: &str| JournalLine { at_us, ..by_manager("app.service", words) };
    let late = |unit: &Unit| {
        guest()
            .expected(unit.clone())
            .journal(said(20_000_000, "Starting app.service - Application..."))
            .journal(said(39_000_000, "app.service: start operation timed out. Terminating."))
            .journal(said(40_000_000, "Starting app.service - Application..."))
    };
    late(&unit).breaks(CheckId::ServicesRestartLoop, "app.service timed out while starting, never came up");
    // The first try was over before the host calmed down, or not.
    assert_eq!(status(&late(&unit).context(waiting(90, 90)).passes(), CheckId::ServicesRestartLoop), Status::Unknown);
    late(&unit).journal(line("app.service", "could not resolve vpn.example.org")).excludes("app.service");
    // It was up in between.
    late(&Unit { active_enter_us: 30_000_000, ..unit.clone() }).passes();
    if let Some(service) = &mut unit.service {
        service.cpu_us = Some(15_000_000);
    }
    assert_eq!(status(&late(&unit).passes(), CheckId::ServicesRestartLoop), Status::Unknown);
    late(&unit).context(|context| context.accelerator = Accel::Kvm).breaks(CheckId::ServicesRestartLoop, "timed out");
}

#[test]
fn what_never_ran_did_not_end_well() {
    // Fails in ExecStartPre= each time: its result is reset while it waits for its next turn.
    let client = |exit_kind| Unit {
        active_state: "activating".into(),
        sub_state: "auto-restart-queued".into(),
        active_enter_us: 0,
        result: "success".into(),
        service: Some(Service {
            kind: "simple".into(),
            restart: "always".into(),
            restarts: 4,
            restart_us: 2_000_000,
            exit_kind,
            ..Service::default()
        }),
        ..active("client.service")
    };
    guest().expected(client(0)).breaks(CheckId::ServicesRestartLoop, "client.service fails and is restarted again");
    // Its main process once ran, and PID 1 knows better.
    guest()
        .expected(client(1))
        .journal(by_manager("client.service", "client.service: Failed with result 'exit-code'."))
        .journal(by_manager("client.service", "client.service: Scheduled restart job, restart counter is at 4."))
        .breaks(CheckId::ServicesRestartLoop, "client.service fails and is restarted again");
}

#[test]
fn a_poller_is_no_loop() {
    let poll = |kind: &str, restart_us| Unit {
        active_state: "activating".into(),
        sub_state: "auto-restart".into(),
        result: "success".into(),
        service: Some(Service {
            kind: kind.into(),
            restart: "always".into(),
            restarts: 6,
            restart_us,
            exit_kind: 1,
            ..Service::default()
        }),
        ..active("poll.service")
    };
    for kind in ["simple", "oneshot"] {
        let judgement = guest().expected(poll(kind, 2_000_000)).passes();
        assert_eq!(status(&judgement, CheckId::ServicesRestartLoop), Status::Warn);
    }
    guest().expected(poll("simple", 300_000)).breaks(CheckId::ServicesRestartLoop, "exits successfully");
    guest().expected(poll("notify", 2_000_000)).breaks(CheckId::ServicesRestartLoop, "exits successfully");
}

#[test]
fn what_switch_root_ended_was_not_restarted_for_a_fault() {
    let journald = |active_exit_us| Unit {
        active_exit_us,
        condition_us: 8_200_000,
        active_enter_us: 8_300_000,
        service: Some(Service { kind: "notify".into(), restarts: 1, ..Service::default() }),
        ..active("systemd-journald.service")
    };
    let of = |active_exit_us| {
        let guest = guest().facts(|facts| facts.manager.userspace_us = 8_000_000).unit(journald(active_exit_us));
        let judgement = guest.unit(Unit { condition_us: 8_500_000, ..active("later.service") }).passes();
        status(&judgement, CheckId::ServicesRestartLoop)
    };
    assert_eq!((of(8_100_000), of(8_400_000)), (Status::Pass, Status::Warn));
}
