//! Units that fail, that are expected, and that do not stay.

use crate::checks::test_support::{active, by_manager, failed, guest, inactive, line, result, status};
use crate::guest::facts::{JournalLine, Service, Unit};
use crate::model::{CheckId, Status};
use crate::nix::expectations::Expectations;

#[test]
fn what_runs_in_a_container_is_not_looked_at() {
    let judgement = guest()
        .unit(active("container@web.service"))
        .excludes("the units in container web: runs, but only the machine's own units are checked");
    assert!(!judgement.not_tested[0].is_open());
    guest().unit(inactive("container@web.service")).passes();
}

#[test]
fn a_failed_unit_says_how_and_why() {
    let nginx = guest()
        .expected(failed("nginx.service", 1))
        .journal(line(
            "nginx.service",
            "[emerg] bind() to [::]:80 failed (97: Address family not supported by protocol)",
        ))
        .journal(line("nginx.service", "bye"))
        .journal(by_manager("nginx.service", "nginx.service: Failed with result 'exit-code'."));
    let judgement =
        nginx.breaks(CheckId::ServicesFailedUnits, "nginx.service failed: exit code 1: [emerg] bind() to [::]:80");
    assert_eq!(result(&judgement, CheckId::ServicesFailedUnits).evidence["unit"], "nginx.service");
    guest()
        .expected(Unit { active_enter_us: 10_000_000, active_exit_us: 12_000_000, ..failed("dies.service", 3) })
        .breaks(CheckId::ServicesFailedUnits, "exit code 3, 2.0 s after it became active");
    guest().unit(failed("x.service", 203)).breaks(CheckId::ServicesFailedUnits, "could not be executed");
    let signal = |kind, status| {
        let mut unit = failed("x.service", 0);
        unit.service = Some(Service { exit_kind: kind, exit_status: status, ..Service::default() });
        Unit { result: "core-dump".into(), ..unit }
    };
    guest().unit(signal(3, 31)).breaks(CheckId::ServicesFailedUnits, "dumped core on SIGSYS");
}

#[test]
fn the_root_is_reported_and_its_consequences_under_it() {
    let needs = |name: &str, root: &str| Unit { broken_requirements: vec![root.into()], ..inactive(name) };
    let chain = guest()
        .expected(failed("db.service", 1))
        .expected(needs("app.service", "db.service"))
        .expected(needs("web.service", "app.service"))
        .expected(Unit { state_change_us: 1, ..failed("other.service", 2) });
    let judgement = chain.breaks(CheckId::ServicesFailedUnits, "db.service failed: exit code 1 (and 1 more)");
    let detail = &result(&judgement, CheckId::ServicesFailedUnits).detail;
    assert!(
        detail.iter().any(|line| line.contains("because of it, not started: app.service and web.service")),
        "{detail:?}"
    );
    chain.skipping(CheckId::ServicesFailedUnits).expect(&[(CheckId::ServicesPromised, "")], &[]);
    guest()
        .expected(needs("app.service", "gone.service"))
        .breaks(CheckId::ServicesPromised, "app.service was not started: it needs gone.service, which is not there");
    // A job that fails with what it needs leaves its unit as if nobody had asked for it.
    guest()
        .expected(failed("db.service", 1))
        .expected(needs("mid.service", "db.service"))
        .expected(needs("app.service", "mid.service"))
        .breaks(CheckId::ServicesFailedUnits, "db.service failed: exit code 1");
    guest().expected(needs("app.service", "idle.service")).unit(inactive("idle.service")).breaks(
        CheckId::ServicesPromised,
        "app.service was not started: it needs idle.service, which was not started either",
    );
    let nobody_asks = Unit { wanted_by: Vec::new(), ..needs("app.service", "idle.service") };
    guest()
        .expected(nobody_asks)
        .unit(inactive("idle.service"))
        .breaks(CheckId::ServicesPromised, "was never started: nothing in the guest wants it");
    for (device, why) in [
        ("dev-ttyUSB0.device", "/dev/ttyUSB0 is a device that the VM does not have"),
        ("sys-subsystem-net-devices-wlp2s0.device", "wlp2s0 is a network interface of the real machine"),
    ] {
        guest().expected(needs("app.service", device)).unit(inactive(device)).excludes(why);
    }
    guest()
        .expected(needs("app.service", "dev-mapper-x.device"))
        .unit(inactive("dev-mapper-x.device"))
        .breaks(CheckId::ServicesPromised, "it needs dev-mapper-x.device, which is not there");
    // Whoever needs what the sandbox keeps away is excluded with it.
    guest()
        .expected(failed("vpn.service", 1))
        .journal(line("vpn.service", "could not resolve vpn.example.org"))
        .expected(needs("app.service", "vpn.service"))
        .expect(&[], &["vpn.service: needs the outside", "app.service: needs vpn.service"]);
}

#[test]
fn without_a_configuration_the_guest_itself_is_expected() {
    let bare = || guest().expecting(|expectations| *expectations = Expectations::default());
    let judgement = bare().expect(&[], &[]);
    assert!(judgement.results.iter().all(|result| result.id != CheckId::UsersDeclared));
    bare().unit(inactive("lazy.service")).breaks(CheckId::ServicesPromised, "lazy.service");
    bare().unit(Unit { unit_file_state: "disabled".into(), ..inactive("lazy.service") }).passes();
    bare().unit(failed("x.service", 1)).breaks(CheckId::ServicesFailedUnits, "x.service");
}

#[test]
fn what_was_active_has_to_stay() {
    let gone = |kind: &str, restart: &str, exit_kind, exit_status| {
        let mut unit = Unit {
            active_enter_us: 10_000_000,
            active_exit_us: 12_000_000,
            inactive_enter_us: 12_000_000,
            ..inactive("daemon.service")
        };
        unit.service =
            Some(Service { kind: kind.into(), restart: restart.into(), exit_kind, exit_status, ..Service::default() });
        guest().expected(active("daemon.service")).later(|facts| {
            facts.units.retain(|known| known.name != unit.name);
            facts.units.push(unit);
        })
    };
    gone("notify", "no", 1, 0).breaks(CheckId::ServicesSettled, "ended with exit code 0, 2.0 s after it became active");
    gone("simple", "no", 2, 15).breaks(CheckId::ServicesSettled, "was ended by SIGTERM");
    let judgement = gone("simple", "no", 1, 0).passes();
    assert_eq!(status(&judgement, CheckId::ServicesSettled), Status::Warn);
    gone("simple", "no", 1, 0).toml("units = [\"daemon\"]").breaks(CheckId::ServicesSettled, "daemon.service");
    let judgement = gone("dbus", "no", 1, 0).passes();
    assert_eq!(status(&judgement, CheckId::ServicesSettled), Status::Warn);
}

#[test]
fn errors_in_the_journal_only_warn() {
    let error = JournalLine { priority: 3, ..line("app.service", "something is wrong") };
    let judgement = guest().journal(error).passes();
    assert_eq!(status(&judgement, CheckId::ServicesJournal), Status::Warn);
    assert!(result(&judgement, CheckId::ServicesJournal).summary.contains("app.service: something is wrong"));
    let stray =
        JournalLine { priority: 3, identifier: "plymouthd".into(), ..line("", "ply-device-manager: no renderer") };
    assert_eq!(status(&guest().journal(stray).passes(), CheckId::ServicesJournal), Status::Pass);
}
