//! What the state of an expected unit amounts to.

use super::{Expectation, UnitAssessment, UnitManager, assess};
use crate::checks::test_support::{
    NOW, active, by_kernel, by_manager, expected_unit, failed, guest, inactive, line, skipped,
};
use crate::config::Settings;
use crate::guest::facts::{Facts, JournalLine, Service, Unit};
use crate::guest::user_units::UserManager;
use crate::judging::{Selection, plan};
use crate::model::{ActiveState, CheckId, LoadState, SubState, UnitResult};

#[test]
fn expected_units_that_are_not_there() {
    let absent = |unit: Unit| guest().expected(unit);
    guest()
        .expecting(|expectations| {
            expectations.units.insert("gone.service".into(), expected_unit("multi-user.target"));
        })
        .breaks(
            CheckId::ServicesPromised,
            "gone.service is expected by the configuration, and systemd finds no such unit",
        );
    absent(Unit { load_state: "not-found".into(), ..inactive("gone.service") })
        .breaks(CheckId::ServicesPromised, "finds no such unit");
    absent(Unit { load_state: "masked".into(), ..inactive("m.service") })
        .breaks(CheckId::ServicesPromised, "but masked in the guest");
    absent(Unit {
        load_state: "bad-setting".into(),
        load_error: Some("Unit bad.service has a bad unit file setting.".into()),
        ..inactive("bad.service")
    })
    .journal(by_manager(
        "bad.service",
        "/etc/systemd/system/bad.service:3: Neither a valid executable name nor an absolute path: true",
    ))
    .breaks(CheckId::ServicesPromised, "Neither a valid executable name");
    // The place leads, whatever else PID 1 says of it.
    absent(Unit {
        load_state: "bad-setting".into(),
        load_error: Some("Unit stamp.service has a bad unit file setting.".into()),
        ..inactive("stamp.service")
    })
    .journal(by_manager("", "/etc/systemd/system/stamp.service:5: Unknown key 'Usr' in section [Service], ignoring."))
    .journal(by_manager(
        "",
        "/etc/systemd/system/stamp.service:6: Failed to resolve unit specifiers in '+%Q': Invalid slot",
    ))
    .journal(by_manager(
        "stamp.service",
        "stamp.service: Unit configuration has fatal error, unit will not be started.",
    ))
    .breaks(
        CheckId::ServicesPromised,
        "refused to load stamp.service: /etc/systemd/system/stamp.service:6: Failed to resolve unit specifiers",
    );
    absent(Unit {
        load_state: "bad-setting".into(),
        load_error: Some("Unit twice.service has a bad unit file setting.".into()),
        ..inactive("twice.service")
    })
    .journal(by_manager(
        "twice.service",
        "twice.service: Service has more than one ExecStart= setting, which is only allowed for Type=oneshot services. Refusing.",
    ))
    .journal(by_manager(
        "",
        "twice.service: Cannot add dependency job, ignoring: Unit twice.service has a bad unit file setting.",
    ))
    .breaks(
        CheckId::ServicesPromised,
        "refused to load twice.service: Service has more than one ExecStart= setting, which is only allowed for Type=oneshot services",
    );
    absent(Unit { condition_us: 1, condition_result: true, ..inactive("gone.timer") })
        .journal(by_manager("gone.timer", "gone.timer: Refusing to start, unit gone.service to trigger not loaded."))
        .breaks(CheckId::ServicesPromised, "gone.timer was not started: unit gone.service to trigger not loaded");
    let night = || Unit { conflicts: vec!["day.service".into()], ..inactive("night.service") };
    absent(night())
        .unit(active("day.service"))
        .breaks(CheckId::ServicesPromised, "night.service was not started: it conflicts with day.service, which is up");
    absent(night()).breaks(CheckId::ServicesPromised, "was never started");
    // The same when nobody expected it but a target wants it.
    guest()
        .unit(Unit { load_state: "bad-setting".into(), ..inactive("bad.service") })
        .breaks(CheckId::ServicesPromised, "systemd refused to load bad.service");
    absent(inactive("lazy.service"))
        .breaks(CheckId::ServicesPromised, "lazy.service is expected by the configuration and was never started");
    absent(inactive("cycle.service"))
        .journal(by_manager(
            "",
            "multi-user.target: Job cycle.service/start deleted to break ordering cycle starting with a.target/start",
        ))
        .breaks(CheckId::ServicesPromised, "to break an ordering cycle");
    // The boot's own transaction is made before the journal runs: PID 1 writes to the kernel's log. It fails, expected or not.
    let early = |unit: &str| JournalLine {
        identifier: "systemd".into(),
        ..by_kernel(&format!("a.target: Job {unit}/start deleted to break ordering cycle starting with a.target/start"))
    };
    absent(inactive("cycle.service"))
        .journal(early("cycle.service"))
        .breaks(CheckId::ServicesPromised, "to break an ordering cycle");
    guest()
        .unit(inactive("upstream.service"))
        .journal(early("upstream.service"))
        .breaks(CheckId::ServicesPromised, "upstream.service was not started: systemd dropped it");
    // A socket's or target's wishes are not known where nothing is wrong with it. The cycle is named.
    let found = |words: &str| JournalLine { message: words.into(), ..early("") };
    guest()
        .unit(Unit { wanted_by: Vec::new(), ..inactive("app.socket") })
        .journal(found("a.target: Found ordering cycle on app.socket/start"))
        .journal(found("a.target: Found dependency on a.target/start"))
        .journal(early("app.socket"))
        .breaks(CheckId::ServicesPromised, "to break an ordering cycle (app.socket, a.target)");
    guest().unit(inactive("app.service")).journal(early("xapp.service")).passes();
    guest().unit(active("upstream.service")).journal(early("upstream.service")).passes();
    guest()
        .unit(inactive("upstream.service"))
        .journal(JournalLine { identifier: "kernel".into(), ..early("upstream.service") })
        .passes();
    absent(Unit { condition_us: 1, condition_result: true, ..inactive("asserts.service") })
        .journal(by_manager("asserts.service", "asserts.service: Starting requested but asserts failed."))
        .breaks(CheckId::ServicesPromised, "asserts failed");
    let asserts = |assertion: &str| {
        let unit = Unit { condition_us: 1, condition_result: true, ..inactive("asserts.service") };
        absent(Unit { failed_conditions: vec![assertion.into()], ..unit })
            .journal(by_manager("asserts.service", "asserts.service: Starting requested but asserts failed."))
    };
    asserts("AssertPathExists=/etc/app.conf").breaks(
        CheckId::ServicesPromised,
        "asserts.service was not started: AssertPathExists=/etc/app.conf was not met",
    );
    asserts("AssertPathExists=/var/lib/app/key").excludes("asserts.service: not started: AssertPathExists=");
    // What it needs came up at its second try: nothing starts this one again.
    absent(inactive("app.service"))
        .unit(Unit { active_enter_us: 20_000_000, ..active("db.service") })
        .journal(by_manager("db.service", "db.service: Failed with result 'exit-code'."))
        .journal(by_manager("app.service", "Dependency failed for app.service - Application."))
        .breaks(
            CheckId::ServicesPromised,
            "app.service was not started: it needs db.service, which failed at that moment",
        );
    absent(Unit { broken_requirements: vec!["db.service".into()], ..inactive("app.service") })
        .unit(Unit { load_state: "masked".into(), ..inactive("db.service") })
        .breaks(CheckId::ServicesPromised, "it needs db.service, which is masked");
    // What only an inactive target, or nobody, wants is not expected at boot. Neither is what is off.
    let unwanted = |target: &str| {
        guest().unit(Unit { wanted_by: vec![target.into()], ..inactive("bluetooth.service") }).expecting(
            |expectations| {
                expectations.units.insert("bluetooth.service".into(), expected_unit(target));
            },
        )
    };
    unwanted("bluetooth.target").passes();
    unwanted("multi-user.target").breaks(CheckId::ServicesPromised, "bluetooth.service");
    guest().unit(Unit { load_state: "not-found".into(), ..inactive("display-manager.service") }).passes();
}

#[test]
fn rightly_inactive() {
    let socket = Unit { triggered_by: vec!["app.socket".into()], ..inactive("app.service") };
    guest().expected(socket.clone()).expected(active("app.socket")).passes();
    guest().expected(socket).expected(failed("app.socket", 0)).breaks(CheckId::ServicesFailedUnits, "app.socket");
    let ran = |kind: &str| {
        let mut unit = Unit { inactive_enter_us: 9_000_000, ..inactive("once.service") };
        unit.service = Some(Service { kind: kind.into(), exit_kind: 1, ..Service::default() });
        unit
    };
    guest().expected(ran("oneshot")).passes();
    guest().expected(ran("oneshot")).toml("units = [\"once\"]").passes();
    let mut stays = active("set-up.service");
    stays.sub_state = "exited".into();
    guest().expected(stays).passes();
    let by_timer =
        Unit { triggered_by: vec!["backup.timer".into()], wanted_by: Vec::new(), ..inactive("backup.service") };
    guest().unit(by_timer).expected(active("backup.timer")).passes();
    guest().expected(skipped("done.service", "ConditionPathExists=!/var/lib/done")).passes();
}

#[test]
fn wrong_conditions_and_right_ones() {
    let skip = |condition: &str| guest().expected(skipped("app.service", condition));
    skip("ConditionPathExists=/etc/no-such.conf")
        .breaks(CheckId::ServicesPromised, "was skipped: ConditionPathExists=/etc/no-such.conf was not met");
    skip("ConditionUser=nobody").breaks(CheckId::ServicesPromised, "ConditionUser=nobody");
    for condition in
        ["ConditionVirtualization=no", "ConditionPathExists=/dev/kvm", "ConditionPathExists=/var/lib/app/data"]
    {
        skip(condition).excludes(condition);
    }
    skip("ConditionVirtualization=no")
        .toml("units = [\"app\"]")
        .breaks(CheckId::ServicesPromised, "expected by nixbox.toml but was skipped");
    // A distribution's unit, which the configuration does not name.
    guest().unit(skipped("upstream.service", "ConditionPathExists=/etc/nope")).passes();
}

#[test]
fn expected_units_have_to_be_active() {
    guest().toml("units = [\"sshd\"]").passes();
    guest().toml("units = [\"nope\"]").breaks(CheckId::ServicesPromised, "nope.service is expected by nixbox.toml");
    let socket = Unit { triggered_by: vec!["app.socket".into()], ..inactive("app.service") };
    guest()
        .unit(socket)
        .unit(active("app.socket"))
        .toml("units = [\"app\"]")
        .breaks(CheckId::ServicesPromised, "app.service");
}

#[test]
fn a_first_boot_is_no_failure() {
    guest()
        .journal(by_manager("", "Initializing machine ID from VM UUID."))
        .expected(skipped("systemd-machine-id-commit.service", "ConditionPathIsMountPoint=/etc/machine-id"))
        .excludes("systemd-machine-id-commit.service");
    guest().expected(skipped("first.service", "ConditionFirstBoot=yes")).passes();
    guest().journal(line("systemd-udev-settle.service", "systemd-udev-settle.service is deprecated.")).passes();
}

// --- a user's manager ---

/// What the state of alice's bar.service amounts to, which the configuration declares for `graphical-session.target`.
fn of_alice(bar: Unit, others: Vec<Unit>) -> UnitAssessment {
    let guest = guest();
    let plan = plan(&guest.expectations, &Settings::default(), &Selection::default());
    let facts = Facts { units: [vec![bar.clone()], others].concat(), now_us: NOW, ..Facts::default() };
    let manager =
        UserManager { uid: 1000, units: facts.units.clone(), environment: vec!["WAYLAND_DISPLAY=wayland-1".into()] };
    let system = guest.observations.judge_context(&plan, &guest.context);
    let declared = expected_unit("graphical-session.target");
    let expected = Expectation { declared: Some(&declared), own: true, demanded: false };
    let user = UnitManager::User { name: "alice", manager: &manager };
    assess(&system.of_user_manager(&facts), user, "bar.service", expected)
}

/// The words of a finding.
fn words(assessment: &UnitAssessment) -> String {
    match assessment {
        UnitAssessment::NotActive(finding) | UnitAssessment::Doubtful(finding) => finding.summary.clone(),
        UnitAssessment::Excluded(why) => why.to_string(),
        UnitAssessment::RequiredUnit(why) => why.clone(),
        _ => String::new(),
    }
}

#[test]
fn units_of_a_user() {
    let target = |state: &str| vec![Unit { active_state: state.into(), ..active("graphical-session.target") }];
    let of = |bar: Unit| of_alice(Unit { wanted_by: Vec::new(), ..bar }, target("active"));
    let bar = || inactive("bar.service");
    assert!(matches!(of(active("bar.service")), UnitAssessment::AsExpected));
    assert!(matches!(of(failed("bar.service", 1)), UnitAssessment::ReportedElsewhere));
    assert_eq!(words(&of(bar())), "bar.service of alice is expected by the configuration and was never started");
    // Its target was not reached; one that was, and is not any more, asks for nothing.
    let ended = vec![Unit { inactive_enter_us: 9_000_000, ..inactive("graphical-session.target") }];
    assert!(matches!(of_alice(bar(), ended), UnitAssessment::NotWanted));
    // What systemd refuses is wrong before anything asks for it.
    let absent = Unit { load_state: LoadState::NotFound, ..bar() };
    assert!(words(&of_alice(absent, target("inactive"))).ends_with("systemd finds no such unit"));
    let refused = Unit { load_state: LoadState::BadSetting, load_error: Some("bad".into()), ..bar() };
    assert_eq!(words(&of_alice(refused, target("inactive"))), "systemd refused to load bar.service of alice: bad");
    assert!(words(&of(Unit { load_state: LoadState::Masked, ..bar() })).contains("masked"));
    // A session's units end when it does.
    assert!(matches!(of(Unit { inactive_enter_us: 9_000_000, ..bar() }), UnitAssessment::AsExpected));
    let triggered = Unit { triggered_by: vec!["bar.socket".into()], ..bar() };
    let socket = [target("active"), vec![active("bar.socket")]].concat();
    assert!(matches!(of_alice(triggered, socket), UnitAssessment::AsExpected));
}

#[test]
fn conditions_of_a_users_units() {
    let of = |condition: &str| of_alice(skipped("bar.service", condition), Vec::new());
    let wayland = of("ConditionEnvironment=WAYLAND_DISPLAY");
    assert!(words(&wayland).contains("was not met; it is wayland-1 now, and was imported too late"), "{wayland:?}");
    assert!(words(&of("ConditionEnvironment=DISPLAY")).contains("it is not set in the user's systemd"));
    assert!(matches!(of("ConditionUser=root"), UnitAssessment::AsExpected));
    assert!(matches!(of("ConditionPathExists=/dev/kvm"), UnitAssessment::Excluded(_)));
    assert!(words(&of("ConditionPathExists=/etc/bar.conf")).contains("ConditionPathExists=/etc/bar.conf was not met"));
}

#[test]
fn units_of_a_user_that_end_and_wait() {
    let of = |bar: Unit, other: Option<Unit>| {
        let target = active("graphical-session.target");
        of_alice(bar, std::iter::once(target).chain(other).collect())
    };
    let restarting = |restarts, code| {
        let service = Service { restarts, exit_kind: 1, exit_status: code, ..Service::default() };
        let result = if code == 0 { UnitResult::Success } else { UnitResult::ExitCode };
        Unit {
            active_state: ActiveState::Activating,
            sub_state: SubState::AutoRestart,
            result,
            service: Some(service),
            ..inactive("bar.service")
        }
    };
    assert!(matches!(of(restarting(2, 1), None), UnitAssessment::ReportedElsewhere));
    assert!(matches!(of(restarting(3, 0), None), UnitAssessment::ReportedElsewhere));
    assert!(words(&of(restarting(1, 1), None)).contains("is about to be restarted: exit code 1"));
    let starts = Unit { active_state: ActiveState::Activating, ..inactive("bar.service") };
    assert!(matches!(of(starts, None), UnitAssessment::Doubtful(_)));

    let needs = Unit { broken_requirements: vec!["tray.target".into()], ..inactive("bar.service") };
    let absent = "bar.service of alice was not started: it needs tray.target, which is not there";
    let not_found = Unit { load_state: LoadState::NotFound, ..inactive("tray.target") };
    assert_eq!(words(&of(needs.clone(), None)), absent);
    assert_eq!(words(&of(needs.clone(), Some(not_found))), absent);
    let broken = of(needs, Some(failed("tray.target", 0)));
    assert!(matches!(broken, UnitAssessment::RequiredUnit(root) if root == "tray.target"));
}

#[test]
fn what_was_read_as_active_and_failed_since_does_not_pass() {
    let nginx = || Unit { active_enter_us: 20_000_000, ..active("nginx.service") };
    let said = |at_us, message: &str| JournalLine { at_us, ..by_manager("nginx.service", message) };
    let fails = || said(23_000_000, "nginx.service: Failed with result 'exit-code'.");
    let own = || line("nginx.service", "bind() to 0.0.0.0:80 failed (98: Address already in use)");
    let words = "nginx.service failed soon after it became active (exit-code): bind() to 0.0.0.0:80 failed";
    guest().expected(nginx()).journal(own()).journal(fails()).breaks(CheckId::ServicesSettled, words);
    // Whatever asked for it.
    guest().unit(nginx()).journal(own()).journal(fails()).breaks(CheckId::ServicesSettled, words);
    // It came back by itself and holds, though the journal got the line late.
    guest()
        .expected(nginx())
        .journal(fails())
        .journal(said(23_000_000, "nginx.service: Scheduled restart job, restart counter is at 1."))
        .journal(said(23_000_000, "Started nginx.service - Nginx Web Server."))
        .passes();
    guest().expected(nginx()).journal(said(19_000_000, "nginx.service: Failed with result 'exit-code'.")).passes();
}
