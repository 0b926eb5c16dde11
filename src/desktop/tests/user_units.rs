//! The units of users' systemd.

use super::*;

#[test]
fn units_of_the_user() {
    let mut failed = guest();
    let manager = failed.seen.manager.as_mut().unwrap();
    manager.units[1].active_state = "failed".into();
    manager.units[1].result = "exit-code".into();
    failed.seen.journal.push(line("bar.service", 30_000_000, "error: no such theme"));
    failed.fails("units", "bar.service of alice failed");

    let mut target = guest();
    let manager = target.seen.manager.as_mut().unwrap();
    manager.units[0].active_state = "inactive".into();
    manager.units[1].active_state = "inactive".into();
    target.fails("units", "graphical-session.target is not active while sway runs: bar.service");

    // Of an X session that nixbox began without what a display manager begins one by.
    target.seen.login = LoginMethod::LoggedIn { session: "x".into(), how: "by test".into() };
    target.expected().desktops[0].kind = None;
    target.expected().xwayland = None;
    target.state().processes = vec![
        DesktopProcess { serves: vec!["/tmp/.X11-unix/X0".into()], name: "Xorg".into(), ..sway() },
        DesktopProcess { serves: vec![], name: "sway-not".into(), environment: vec!["DISPLAY=:0".into()], ..sway() },
    ];
    target.is("units", Status::Pass, "");
    target.expected().session_wrapper = Some("/nix/store/x".into());
    target.is("units", Status::Fail, "graphical-session.target is not active");

    // Some display managers wrap Wayland sessions, too.
    let wayland = |display_manager: &str, wrapper: Option<&str>| {
        let mut guest = guest();
        let manager = guest.seen.manager.as_mut().unwrap();
        manager.units[0].active_state = "inactive".into();
        manager.units[1].active_state = "inactive".into();
        guest.seen.login = LoginMethod::LoggedIn { session: "sway".into(), how: "by test".into() };
        guest.expected().display_manager = Some(display_manager.into());
        guest.expected().session_wrapper = wrapper.map(str::to_owned);
        guest
    };
    wayland("ly", None).is("units", Status::Pass, "");
    for (display_manager, wrapper) in [("ly", Some("/nix/store/x")), ("gdm", None)] {
        wayland(display_manager, wrapper).is("units", Status::Fail, "graphical-session.target is not active");
    }

    let mut skipped = guest();
    let unit = &mut skipped.seen.manager.as_mut().unwrap().units[1];
    unit.active_state = "inactive".into();
    unit.condition_us = 24_000_000;
    unit.failed_conditions = vec!["ConditionEnvironment=WAYLAND_DISPLAY".into()];
    skipped.fails("units", "skipped: ConditionEnvironment=WAYLAND_DISPLAY was not met; it is wayland-1 now");

    let mut stale = guest();
    stale.seen.manager.as_mut().unwrap().units[0].active_enter_us = 10_000_000;
    stale.seen.journal.insert(
        0,
        line("systemd-logind.service", 8_000_000, "New session '0' of user 'alice' with class 'user' and type 'tty'."),
    );
    stale.seen.journal.insert(1, line("systemd-logind.service", 15_000_000, "Removed session 0."));
    stale.fails("units", "graphical-session.target stayed active");

    let mut portal = guest();
    portal.seen.portal =
        Some(PortalProbe { known: true, error: Some("no answer within 125 s".into()), ..PortalProbe::default() });
    portal.fails("units", "org.freedesktop.portal.Desktop does not answer: no answer within 125 s");

    // Its own failure is not told beside that.
    portal.seen.manager.as_mut().unwrap().units.push(Unit {
        active_state: "failed".into(),
        result: "exit-code".into(),
        ..active("xdg-desktop-portal.service")
    });
    portal.fails("units", "does not answer: no answer within 125 s: xdg-desktop-portal.service failed");
    assert!(!portal.judged()["units"].1.contains("xdg-desktop-portal.service of alice"));
    portal.seen.portal.as_mut().unwrap().error = Some("xdg-desktop-portal.service failed".into());
    portal.fails("units", "Desktop does not answer: xdg-desktop-portal.service failed: ");

    let mut slow = guest();
    slow.seen.portal = Some(PortalProbe { known: true, answered: true, seconds: 36.0, ..PortalProbe::default() });
    slow.is("units", Status::Pass, "the portal answers in 36 s");
    let waited = "Failed to create screenshot proxy: Error calling StartServiceByName for org.freedesktop.impl.portal.desktop.wlr: Timeout was reached";
    slow.seen.journal.push(line("xdg-desktop-portal.service", 50_000_000, waited));
    slow.is("units", Status::Warn, "answers only after 36 s: Failed to create screenshot proxy");
    let wlr = "xdg-desktop-portal-wlr.service";
    slow.seen.journal.push(line(
        wlr,
        49_000_000,
        "2026/11/28 22:01:24 [ERROR] - pipewire: couldn't connect to context",
    ));
    slow.seen.journal.push(line(
        wlr,
        49_000_001,
        "'impl->enter_count > 0' failed at ../spa/plugins/support/loop.c:592",
    ));
    slow.is("units", Status::Warn, "wlr: Timeout was reached; xdg-desktop-portal-wlr.service: 2026/11/28 22:01:24 [ERROR] - pipewire: couldn't connect");

    let lacks = |parts: &[&str]| {
        let mut guest = guest();
        guest.seen.portal.as_mut().unwrap().lacks =
            parts.iter().map(|part| format!("org.freedesktop.portal.{part}")).collect();
        guest.seen.manager.as_mut().unwrap().environment.push("XDG_CURRENT_DESKTOP=sway".into());
        guest
    };
    let words = "no backend serves org.freedesktop.portal.FileChooser (XDG_CURRENT_DESKTOP is sway)";
    lacks(&["FileChooser"]).is("units", Status::Warn, words);
    let mut screen = lacks(&["ScreenCast"]);
    screen.is("units", Status::Warn, "no backend serves org.freedesktop.portal.ScreenCast");
    // On X programs look for themselves.
    screen.state().processes[0].serves = vec!["/tmp/.X11-unix/X0".into()];
    screen.expected().xwayland = None;
    screen.is("units", Status::Pass, "");

    let mut absent = guest();
    absent.seen.manager.as_mut().unwrap().units.remove(1);
    absent.fails("units", "finds no such unit");
}

/// It ended, and is to be started again.
fn restarting(name: &str, restarts: u32, code: i32) -> Unit {
    let service = Service { restarts, exit_kind: 1, exit_status: code, ..Service::default() };
    Unit {
        active_state: "activating".into(),
        sub_state: "auto-restart".into(),
        result: if code == 0 { "success" } else { "exit-code" }.into(),
        service: Some(service),
        ..active(name)
    }
}

#[test]
fn a_unit_that_is_started_again_and_again() {
    let of = |unit: Unit| {
        let mut guest = guest();
        guest.seen.manager.as_mut().unwrap().units[1] = unit;
        guest
    };
    let said = |mut guest: DesktopCase, unit: &str, words: &str| {
        guest.seen.journal.push(line(unit, 30_000_000, words));
        guest
    };
    said(of(restarting("bar.service", 2, 1)), "bar.service", "error: no such theme").fails(
        "units",
        "bar.service of alice fails and is restarted again and again (2 times): exit code 1: error: no such theme",
    );
    // Expected or not.
    let mut other = guest();
    other.seen.manager.as_mut().unwrap().units.push(restarting("dropbox.service", 2, 1));
    other.fails("units", "dropbox.service of alice fails and is restarted again and again");
    of(restarting("bar.service", 3, 0)).fails("units", "exits successfully and is restarted again and again (3 times)");
    // It may come up yet, and here it did.
    of(restarting("bar.service", 1, 1)).is("units", Status::Warn, "is about to be restarted: exit code 1");
    let service = Some(Service { restarts: 1, ..Service::default() });
    of(Unit { service, ..active("bar.service") }).is("units", Status::Pass, "");
    // It is seen while it comes up, between two of its ends.
    let comes_up = Unit { active_state: "active".into(), sub_state: "running".into(), ..restarting("x", 1, 1) };
    assert_eq!(restart_stage(&comes_up), Some((1, comes_up.active_enter_us)));
    assert_eq!((restart_stage(&restarting("x", 1, 1)), restart_stage(&active("x"))), (None, None));
    // What the VM lacks.
    let words = "cannot open /dev/input/event17: No such file or directory";
    said(of(restarting("bar.service", 4, 1)), "bar.service", words).is("units", Status::Pass, "");
}

#[test]
fn a_unit_that_waits_for_what_is_not_there() {
    let of = |root: Option<Unit>| {
        let mut guest = guest();
        let units = &mut guest.seen.manager.as_mut().unwrap().units;
        units[1] = Unit {
            active_state: "inactive".into(),
            active_enter_us: 0,
            broken_requirements: vec!["tray.target".into()],
            ..active("bar.service")
        };
        units.extend(root);
        guest
    };
    let tray = |load: &str, state: &str| Unit {
        load_state: load.into(),
        active_state: state.into(),
        result: "exit-code".into(),
        ..active("tray.target")
    };
    let words = "bar.service of alice was not started: it needs tray.target, which is not there";
    of(Some(tray("not-found", "inactive"))).fails("units", words);
    of(None).fails("units", words);
    // The one that failed is told, and what only needs it is not.
    let failed = of(Some(tray("loaded", "failed")));
    failed.fails("units", "tray.target of alice failed");
    assert!(!failed.judged()["units"].1.contains("bar.service"));
}

#[test]
fn units_of_who_lingers_without_a_desktop() {
    let feed = |state: &str| Unit {
        active_state: state.into(),
        result: if state == "failed" { "exit-code" } else { "success" }.into(),
        ..active("feed.service")
    };
    let judged = |linger: bool, seen: Vec<DesktopFacts>| {
        let mut expectations = guest().expectations;
        expectations.desktop = None;
        expectations.user_units.clear();
        expectations.users.get_mut("alice").unwrap().linger = linger;
        expectations.home_units =
            [("alice".to_owned(), [("feed.service".to_owned(), expected_unit("default.target"))].into())].into();
        let plan = judging::plan(&expectations, &Settings::default(), &Selection::default());
        let observations = Observations { first: guest().facts, lingering: seen, ..Observations::default() };
        checks::judge(&plan, &observations, &Context { accelerator: Accel::Tcg, ..Context::default() })
    };
    let seen = |unit: Unit| DesktopFacts {
        user: Some("alice".into()),
        login: LoginMethod::NotLoggedIn("no desktop is expected".into()),
        manager: Some(UserManager { uid: 1000, units: vec![active("default.target"), unit], environment: vec![] }),
        journal: vec![line("feed.service", 30_000_000, "error: no such playlist")],
        ..DesktopFacts::default()
    };
    let units = |judgement: &Judgement| {
        let mut of_desktop = judgement.results.iter().filter(|result| result.id.kind() == CheckKind::Desktop);
        let found = of_desktop.next().map(|result| (result.id, result.status, result.summary.clone()));
        assert!(of_desktop.next().is_none());
        found
    };
    let told = |unit: Unit| units(&judged(true, vec![seen(unit)])).unwrap();
    let id = || CheckId::DesktopUnits;
    let pass = "no unit of alice failed, 1 expected unit is in order";
    assert_eq!(told(feed("active")), (id(), Status::Pass, pass.to_owned()));
    let (_, status, summary) = told(feed("failed"));
    assert_eq!((status, summary.contains("feed.service of alice failed")), (Status::Fail, true), "{summary}");
    // Meant for somebody else.
    let skipped =
        Unit { condition_us: 24_000_000, failed_conditions: vec!["ConditionUser=bob".into()], ..feed("inactive") };
    assert_eq!(told(skipped).1, Status::Pass);
    let gaps = [("user-units".to_owned(), "no answer".to_owned())].into();
    let silent = DesktopFacts { manager: None, gaps, ..seen(feed("active")) };
    assert_eq!(units(&judged(true, vec![silent])).unwrap().1, Status::Unknown);

    // Who does not linger logs in first.
    let nobody = judged(false, Vec::new());
    assert_eq!(units(&nobody), None);
    assert!(nobody.not_tested.iter().any(|entry| entry.what == "the user units of alice"), "{:?}", nobody.not_tested);
}

#[test]
fn a_service_that_runs_without_a_program_that_it_starts_is_a_warning() {
    let words = "sh: line 1: swaylock: command not found";
    let mut guest = guest();
    guest.seen.journal.push(line("bar.service", NOW, words));
    guest.is(
        "units",
        Status::Warn,
        "bar.service of alice does not find a program that it starts: sh: line 1: swaylock",
    );
    // Another's, and one that does not run.
    guest.seen.journal = vec![line("gone.service", NOW, words)];
    guest.is("units", Status::Pass, "");
}

/// As a user's systemd writes about a unit.
fn of_manager(unit: &str, at: u64, message: &str) -> JournalLine {
    JournalLine { pid: 700, identifier: "systemd".into(), ..line(unit, at, message) }
}

#[test]
fn a_unit_that_fails_while_the_desktop_is_used_is_a_warning() {
    let failed = "share.service: Failed with result 'exit-code'.";
    let of = |at: u64, lines: &[&str]| {
        let mut guest = guest();
        guest.seen.journal.push(line("share.service", at, "error: couldn't connect to PipeWire"));
        let lines = lines.iter().zip(1..).map(|(words, n)| of_manager("share.service", at + n, words));
        guest.seen.journal.extend(lines);
        guest
    };
    let words = "share.service of alice failed while the desktop was used: error: couldn't connect to PipeWire";
    of(NOW + 1, &[failed]).is("units", Status::Warn, words);
    // It was started once more; it is an expected unit that was active when it was read; another's units are not the user's.
    of(NOW + 1, &[failed, "Started share.service - Share."]).is("units", Status::Pass, "");
    let mut expected = guest();
    let bar = "bar.service: Failed with result 'signal'.";
    expected.seen.journal.push(of_manager("bar.service", NOW + 1, bar));
    expected.is("units", Status::Warn, "bar.service of alice failed while the desktop was used");
    let mut system = guest();
    system.seen.journal.push(JournalLine { pid: 1, ..of_manager("greetd.service", NOW + 1, failed) });
    system.is("units", Status::Pass, "");
    // What had failed before is told by its state.
    of(NOW - 1, &[failed]).is("units", Status::Pass, "");
    let mut known = of(NOW + 1, &[failed]);
    known.seen.manager.as_mut().unwrap().units.push(Unit {
        active_state: "failed".into(),
        result: "exit-code".into(),
        ..active("share.service")
    });
    known.fails("units", "share.service of alice failed: ");
    assert!(!known.judged()["units"].1.contains("more)"));
}

#[test]
fn a_unit_that_finds_no_display_is_told_who_hands_it_over() {
    let hint = |environment: &[&str]| {
        let mut guest = guest();
        guest.seen.journal.push(line("portal-gtk.service", 30_000_000, "cannot open display: "));
        let manager = guest.seen.manager.as_mut().unwrap();
        manager.environment = environment.iter().map(|text| (*text).to_owned()).collect();
        manager.units.push(Unit {
            active_state: "failed".into(),
            result: "exit-code".into(),
            ..active("portal-gtk.service")
        });
        guest.fails("units", "portal-gtk.service of alice failed: result exit-code: cannot open display:");
        let plan = judging::plan(&guest.expectations, &Settings::default(), &Selection::default());
        let observations = Observations { first: guest.facts, desktop: Some(guest.seen), ..Observations::default() };
        let results = checks::judge(&plan, &observations, &Context::default()).results;
        results.into_iter().find(|result| result.id == CheckId::DesktopUnits).and_then(|result| result.hint).unwrap()
    };
    assert!(hint(&[]).starts_with("the user's systemd has neither WAYLAND_DISPLAY nor DISPLAY"));
    assert!(hint(&["WAYLAND_DISPLAY=wayland-1"]).starts_with("WAYLAND_DISPLAY is there by now"));
}
