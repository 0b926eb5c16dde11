//! Units that fail, that are expected, and that do not stay.

use crate::checks::test_support::{active, by_kernel, by_manager, failed, guest, inactive, line, result, status};
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
    // What its console shows is told.
    let judgement = guest()
        .unit(active("container@web.service"))
        .journal(line(
            "container@web.service",
            "[\u{1b}[0;1;31mFAILED\u{1b}[0m] Failed to start nginx.service - Nginx.",
        ))
        .excludes("the units in container web");
    let failed = result(&judgement, CheckId::ServicesFailedUnits);
    assert_eq!(
        (failed.status, &*failed.summary),
        (Status::Warn, "in container@web.service, nginx.service - Nginx failed to start")
    );
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
fn of_several_failures_the_one_that_others_missed_leads() {
    let db = Unit { state_change_us: 30_000_000, ..failed("db.service", 1) };
    guest()
        .expected(Unit { state_change_us: 20_000_000, ..failed("app.service", 1) })
        .journal(line("app.service", "Error: connect ECONNREFUSED 127.0.0.1:5432"))
        .expected(db)
        .journal(line("db.service", "FATAL: unrecognized configuration parameter \"colour\""))
        .breaks(CheckId::ServicesFailedUnits, "db.service failed: exit code 1: FATAL: unrecognized");
}

#[test]
fn a_socket_fails_for_its_service() {
    let service = Unit {
        triggered_by: vec!["app.socket".into()],
        broken_requirements: vec!["app.socket".into()],
        ..failed("app.service", 1)
    };
    let socket = |result: &str| Unit { result: result.into(), ..failed("app.socket", 0) };
    let app = |words: &str| {
        let guest = guest().expected(service.clone()).expected(socket("service-start-limit-hit"));
        guest.journal(line("app.service", words))
    };
    app("no such key: colour")
        .breaks(CheckId::ServicesFailedUnits, "app.service failed: exit code 1: no such key: colour");
    app("could not resolve host: idp.example.org")
        .expect(&[], &["app.service: needs the outside", "app.socket: needs app.service"]);
    guest()
        .expected(socket("trigger-limit-hit"))
        .breaks(CheckId::ServicesFailedUnits, "app.socket failed: what it starts was started too often");
    // What PID 1 itself could not do; who holds the port.
    let words = "app.socket: Failed to create listening socket ([::]:22): Address already in use";
    let judgement = guest()
        .expected(socket("resources"))
        .journal(by_manager("app.socket", words))
        .breaks(CheckId::ServicesFailedUnits, "it cannot listen on [::]:22");
    let hint = result(&judgement, CheckId::ServicesFailedUnits).hint.clone();
    assert!(hint.is_some_and(|hint| hint.starts_with("sshd listens on port 22 already")));
    let words = "app.timer: Refusing to start, unit app.service to trigger not loaded.";
    guest()
        .expected(Unit { result: "resources".into(), ..failed("app.timer", 0) })
        .journal(by_manager("app.timer", words))
        .breaks(CheckId::ServicesFailedUnits, "Refusing to start, unit app.service to trigger not loaded");
}

#[test]
fn a_mount_that_the_kernel_refuses_says_why() {
    let mount = Unit {
        mount_what: Some("tmpfs".into()),
        mount_where: Some("/scratch".into()),
        state_change_us: 11_500_000,
        ..failed("scratch.mount", 32)
    };
    let kernel = |at_us, words: &str| JournalLine { at_us, ..by_kernel(words) };
    guest()
        .expected(mount)
        .journal(kernel(3_000_000, "ata1: SError: unknown"))
        .journal(kernel(11_400_000, "tmpfs: Unknown parameter 'sizee'"))
        .journal(line("scratch.mount", "mount: /scratch: wrong fs type, bad option, bad superblock on tmpfs."))
        .breaks(
            CheckId::ServicesFailedUnits,
            "tmpfs could not be mounted on /scratch: mount: /scratch: wrong fs type, bad option, bad superblock on tmpfs. \
             (tmpfs: Unknown parameter 'sizee')",
        );
}

#[test]
fn a_command_beside_the_program_that_fails_is_told_as_such() {
    let of = |kind: &str, exit_kind, exit_status, result: &str, lines: &[&str]| {
        let mut unit = Unit { result: result.into(), ..failed("app.service", 0) };
        unit.service = Some(Service { kind: kind.into(), exit_kind, exit_status, ..Service::default() });
        let guest = guest().expected(unit);
        let guest = lines.iter().fold(guest, |guest, words| guest.journal(by_manager("app.service", words)));
        guest.journal(line("app.service", "psql: no such role"))
    };
    let begun = "Starting app.service - Application...";
    let control = "app.service: Control process exited, code=exited, status=1/FAILURE";
    let ended = "app.service: Main process exited, code=killed, status=15/TERM";
    let fails = |guest: crate::checks::test_support::Guest, words: &str| {
        guest.breaks(CheckId::ServicesFailedUnits, words);
    };
    // What PID 1 ended for it did not fail.
    fails(
        of("notify", 2, 15, "exit-code", &[begun, control, ended]),
        "app.service failed: its ExecStartPost= failed with exit code 1: psql: no such role",
    );
    fails(of("simple", 0, 0, "exit-code", &[begun, control]), "its ExecStartPre= failed with exit code 1: psql");
    fails(of("forking", 0, 0, "exit-code", &[begun, control]), "app.service failed: exit code 1: psql");
    // Its ExecStopPost= after it, or a command of a start before.
    let main = "app.service: Main process exited, code=exited, status=3/NOTIMPLEMENTED";
    fails(of("simple", 1, 3, "exit-code", &[begun, main, control]), "app.service failed: exit code 3: psql");
    fails(of("simple", 1, 3, "exit-code", &[begun, control, begun, main]), "app.service failed: exit code 3: psql");
    let late = |kind: &str, words: &[&str]| of(kind, 2, 15, "timeout", words);
    let start = "app.service: start operation timed out. Terminating.";
    fails(late("notify", &[start]), "timed out before it said that it is ready, as its Type=notify requires: psql");
    fails(late("forking", &[start]), "timed out before it went to the background");
    fails(late("oneshot", &[start]), "app.service failed: timed out: psql");
    fails(late("simple", &["app.service: start-post operation timed out. Stopping."]), "its ExecStartPost= timed out");
    let unheard = "app.service: Got notification message from PID 312, but reception only permitted for main PID 310";
    fails(late("notify", &[unheard, start]), "requires: Got notification message from PID 312");
    let file = "app.service: Can't open PID file /run/app.pid (yet?) after start: No such file or directory";
    fails(late("forking", &[file, start]), "app.service failed: timed out: Can't open PID file /run/app.pid");
    let runtime = "app.service: Service reached runtime time limit. Stopping.";
    fails(late("simple", &[runtime]), "app.service failed: ran for longer than its RuntimeMaxSec= allows");
    let mut begun_again = failed("app.service", 0);
    begun_again.triggered_by = vec!["app.path".into()];
    begun_again.result = "start-limit-hit".into();
    begun_again.service.get_or_insert_default().exit_kind = 1;
    guest().expected(begun_again).breaks(
        CheckId::ServicesFailedUnits,
        "app.service failed: it ends well, and app.path starts it again, too often in a short time",
    );
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
    for words in [
        "/etc/systemd/network/10-lan.network:7: Unknown key 'Adress' in section [Network], ignoring.",
        "Couldn't write '1' to 'net/ipv4/ip_foward', ignoring: No such file or directory",
    ] {
        let ignored = JournalLine { priority: 4, ..line("systemd-networkd.service", words) };
        let judgement = guest().journal(ignored).passes();
        assert!(result(&judgement, CheckId::ServicesJournal).summary.ends_with(words), "{judgement:?}");
    }
    for words in [
        "Couldn't write '2' to 'net/ipv6/conf/enp3s0/accept_ra', ignoring: No such file or directory",
        "/etc/udev/rules.d/60-openocd.rules:10 Unknown group 'plugdev', ignoring.",
    ] {
        let of_others = JournalLine { priority: 3, ..line("systemd-udevd.service", words) };
        assert_eq!(status(&guest().journal(of_others).passes(), CheckId::ServicesJournal), Status::Pass, "{words}");
    }
    let stray =
        JournalLine { priority: 3, identifier: "plymouthd".into(), ..line("", "ply-device-manager: no renderer") };
    assert_eq!(status(&guest().journal(stray).passes(), CheckId::ServicesJournal), Status::Pass);
}
