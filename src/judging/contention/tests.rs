//! Time limits that ran out on a busy or emulated host.

use crate::checks::test_support::{Guest, active, failed, guest, inactive, line, result, status, timed_out, waiting};
use crate::checks::verdict;
use crate::guest::facts::{ScriptOutcome, Unit};
use crate::model::{Accel, CheckId, Exit, Status};

#[test]
fn a_limit_that_ran_out_says_nothing_on_a_busy_host() {
    let of = |before, since| guest().expected(timed_out("db.service")).context(waiting(before, since));
    let judgement = of(90, 80).passes();
    let reported = result(&judgement, CheckId::ServicesFailedUnits);
    assert_eq!(reported.status, Status::Unknown);
    let words = "db.service failed: timed out; host overloaded: the VM waited for a CPU 80 % of that time";
    assert_eq!(reported.summary, words);
    assert!(reported.hint.as_deref().is_some_and(|hint| hint.contains("less to do")));
    assert_eq!(reported.findings[0].item, "db.service");
    assert_eq!(verdict(&judgement.results).exit, Exit::Unknown);
    // A guest that hangs waits for nothing: what was before its limit began does not excuse it.
    of(90, 40).breaks(CheckId::ServicesFailedUnits, "db.service failed: timed out");
    guest().expected(timed_out("db.service")).breaks(CheckId::ServicesFailedUnits, "db.service failed: timed out");
}

#[test]
fn what_comes_of_it_is_not_known_either_and_what_does_not_is() {
    let late = || guest().expected(timed_out("db.service")).context(waiting(90, 90));
    let no_route = late().facts(|facts| facts.network.default_routes.clear());
    let judgement = no_route.passes();
    assert_eq!(status(&judgement, CheckId::NetworkRoute), Status::Unknown);
    assert!(
        result(&judgement, CheckId::NetworkRoute)
            .summary
            .contains("this may be a consequence of db.service, which timed out")
    );
    let other = late().expected(failed("web.service", 1));
    let judgement = other.breaks(CheckId::ServicesFailedUnits, "web.service failed: exit code 1");
    assert!(
        result(&judgement, CheckId::ServicesFailedUnits).detail.iter().any(|line| line.contains("db.service failed"))
    );
    // An accepted failure stays one.
    let accepted = late().toml("[allow]\n\"services.failed-units:db.service\" = \"known\"");
    assert_eq!(result(&accepted.judge(), CheckId::ServicesFailedUnits).allowed.as_deref(), Some("known"));
}

#[test]
fn limits_of_all_kinds_say_nothing_on_a_busy_host() {
    let busy = |guest: Guest| guest.context(waiting(90, 90));
    let own_words = guest()
        .expected(Unit { condition_us: 12_000_000, state_change_us: 50_000_000, ..failed("job.service", 1) })
        .journal(line("job.service", "Error: timeout exceeded waiting for the database"));
    let watchdog = Unit { result: "watchdog".into(), ..timed_out("dog.service") };
    let mut looping =
        Unit { active_state: "activating".into(), sub_state: "auto-restart".into(), ..timed_out("loop.service") };
    looping.service.as_mut().unwrap().restarts = 3;
    let starting = Unit {
        active_state: "activating".into(),
        sub_state: "start".into(),
        state_change_us: 1_000_000,
        active_enter_us: 0,
        ..timed_out("slow.service")
    };
    let late = ScriptOutcome { error: Some("did not end in time".into()), attempts: 1, ..ScriptOutcome::default() };
    let port = guest().facts(|facts| facts.listeners.clear());
    let script = guest().toml("[script.s]\nrun = \"true\"").facts(|facts| {
        facts.scripts.insert("s".into(), late.clone());
    });
    let timer = guest().toml("timers = [\"b.timer\"]").facts(|facts| {
        facts.timers.insert("b.timer".into(), late.clone());
    });
    let slow = guest().expected(starting).facts(|facts| facts.now_us = 900_000_000);
    for (guest, id) in [
        (own_words, CheckId::ServicesFailedUnits),
        (guest().expected(watchdog), CheckId::ServicesFailedUnits),
        (guest().expected(looping), CheckId::ServicesRestartLoop),
        (slow, CheckId::ServicesPromised),
        (port, CheckId::ServicesPorts),
        (script, CheckId::script("s")),
        (timer, CheckId::ServicesTimers),
    ] {
        let fails = guest.judge().results.iter().any(|result| result.id == id && result.is_failure());
        assert!(fails, "{id}: {:#?}", guest.judge());
        let judgement = busy(guest).passes();
        assert_eq!(status(&judgement, id), Status::Unknown, "{judgement:#?}");
    }
}

#[test]
fn a_device_that_is_late_on_a_busy_host_is_no_emergency_of_the_configurations() {
    let of = |percent| {
        guest()
            .unit(inactive("multi-user.target"))
            .unit(active("emergency.target"))
            .unit(Unit { broken_requirements: vec!["data.mount".into()], ..inactive("local-fs.target") })
            .unit(Unit { broken_requirements: vec!["dev-vdb.device".into()], ..inactive("data.mount") })
            .context(waiting(percent, percent))
    };
    assert_eq!(status(&of(90).judge(), CheckId::BootEmergency), Status::Unknown);
    assert_eq!(status(&of(30).judge(), CheckId::BootEmergency), Status::Fail);
}

#[test]
fn what_works_all_the_time_is_not_slow_but_emulated() {
    let worked = |seconds: u64, accelerator: Accel| {
        let mut unit = timed_out("setup.service");
        if let Some(service) = &mut unit.service {
            service.cpu_us = Some(seconds * 1_000_000);
        }
        guest().expected(unit).context(|context| context.accelerator = accelerator)
    };
    let judgement = worked(30, Accel::Tcg).passes();
    let reported = result(&judgement, CheckId::ServicesFailedUnits);
    assert_eq!(reported.status, Status::Unknown);
    assert!(reported.summary.contains("kept an emulated processor busy for 30 s of that time"), "{}", reported.summary);
    assert!(reported.hint.as_deref().is_some_and(|hint| hint.contains("KVM")));
    worked(10, Accel::Tcg).breaks(CheckId::ServicesFailedUnits, "timed out");
    worked(30, Accel::Kvm).breaks(CheckId::ServicesFailedUnits, "timed out");
}
