//! The session.

use super::*;

#[test]
fn what_a_session_says_when_started_again_counts() {
    // The login screen has wiped the terminal.
    let mut wiped = guest();
    wiped.state().sessions = vec![session("3", "greeter", 994, "greeter")];
    wiped.state().processes.clear();
    wiped.state().end = WaitEnd::Idle;
    wiped.seen.manager = None;
    wiped.seen.journal.push(line("systemd-logind.service", 22_000_000, "Removed session 1."));
    assert!(!explains_missing_session(&wiped.seen.journal));
    wiped.seen.terminals.insert(1, vec!["login:".into()]);
    let soft = "00:00:01.365 [wlr] [render/egl.c:319] Software rendering detected, please use the WLR_RENDERER_ALLOW_SOFTWARE environment variable to proceed";
    wiped.seen.rerun_output = vec![soft.into(), "00:00:01.400 [wlr] Could not initialize renderer".into()];
    let judged = wiped.judged();
    assert!(judged.values().all(|(status, _)| *status == Status::Skip), "{judged:#?}");
    wiped.seen.rerun_output = vec!["Unable to find a config file!".into()];
    wiped.fails("session", "Unable to find a config file!");
    wiped.seen.journal.push(line("greetd.service", 22_000_000, "error: no such program"));
    assert!(explains_missing_session(&wiped.seen.journal));
}

#[test]
fn what_an_abort_said_to_nobody_is_asked_again() {
    // command = "Hyprland &> /dev/null"
    let crash = "Process 801 (Hyprland) of user 1000 dumped core. (SIGABRT)";
    let mut silent = guest();
    silent.state().sessions = vec![session("3", "greeter", 994, "greeter")];
    silent.state().processes.clear();
    silent.state().end = WaitEnd::Idle;
    silent.seen.manager = None;
    silent.seen.journal.push(line("", 22_000_000, crash));
    silent.seen.journal.push(line("systemd-logind.service", 22_000_001, "Removed session 1."));
    assert!(!explains_missing_session(&silent.seen.journal));
    silent.fails("compositor", "Hyprland crashed once (SIGABRT)");
    // It crashes again, for nixbox.
    silent.facts.journal.push(line("", NOW + 1, crash));
    silent.seen.rerun_output = vec!["LOG ]: Welcome to Hyprland!".into()];
    silent.fails("compositor", "Hyprland crashed once (SIGABRT)");
    silent.seen.rerun_output.push("CRIT ]: m_pAqBackend was null! ... CBackend::create() failed!".into());
    let judged = silent.judged();
    assert!(judged.values().all(|(status, _)| *status == Status::Skip), "{judged:#?}");
}

#[test]
fn a_dump_that_nobody_takes_is_a_crash_and_managers_are_no_sessions() {
    let mut guest = guest();
    guest.state().sessions.clear();
    guest.state().processes.clear();
    guest.state().end = WaitEnd::Idle;
    guest.seen.manager = None;
    let kernel = "coredump: 343(sway): |/bin/false pipe failed";
    guest.facts.journal.push(JournalLine { transport: "kernel".into(), ..line("", 29_000_000, kernel) });
    guest.fails("compositor", "sway crashed once (core dumped)");
    // As systemd 257 writes of a manager's session.
    guest.facts.journal.clear();
    guest.seen.journal = vec![
        line("systemd-logind.service", 20_000_000, "New session 1 of user alice."),
        line("systemd-logind.service", 21_000_000, "New session 2 of user alice."),
        line("systemd-logind.service", 30_000_000, "Removed session 1."),
        line("systemd-logind.service", 41_000_000, "Removed session 2."),
    ];
    guest.facts.journal.push(line("session-1.scope", 20_000_000, "Started session-1.scope."));
    guest.fails("session", "the session of alice ended after");
}

#[test]
fn who_draws_another_way_did_not_refuse() {
    // sway tries OpenGL, says so, and goes on: what ends it later is what counts.
    let soft = "[wlr] [render/egl.c:319] Software rendering detected, please use the WLR_RENDERER_ALLOW_SOFTWARE environment variable";
    let mut crash = guest();
    crash.state().sessions.clear();
    crash.state().processes.clear();
    crash.seen.manager = None;
    crash.seen.terminals.insert(1, vec![soft.into()]);
    crash.seen.journal.push(line("", 22_000_001, "Process 801 (sway) of user 1000 dumped core. (SIGSEGV)"));
    crash.fails("compositor", "SIGSEGV");
    // By a dump that nobody takes, of which the signal is not told.
    let mut again = guest();
    again.state().sessions.clear();
    again.state().processes.clear();
    again.state().end = WaitEnd::Loop;
    again.seen.manager = None;
    again.seen.terminals.insert(1, vec![soft.into()]);
    let mut dump = line("", 22_000_001, "coredump: 343(sway): |/bin/false pipe failed");
    dump.transport = "kernel".into();
    again.seen.journal.push(dump);
    again.seen.journal.push(line("graphical-session.target", 22_000_002, "Reached target graphical-session.target"));
    again.fails("compositor", "sway crashed");
    let mut config = guest();
    config.state().sessions.clear();
    config.state().processes.clear();
    config.state().end = WaitEnd::Idle;
    config.seen.manager = None;
    config.seen.terminals.insert(1, vec![soft.into(), "Error on line 3: Unknown command 'outputt'".into()]);
    config.seen.journal.push(line("systemd-logind.service", 21_000_000, "Removed session 1."));
    config.fails("session", "Unknown command");
}

#[test]
fn sessions_that_are_not_as_promised() {
    let mut missing = guest();
    missing.facts.accounts.clear();
    missing.facts.accounts.push(Account { name: "root".into(), ..Account::default() });
    missing.seen.login =
        LoginMethod::NotLoggedIn("alice is to be logged in automatically, but there is no such user".into());
    missing.is("session", Status::Fail, "no such user");

    // greetd does not live without that user, and does not say so.
    let greetd = missing.facts.units.iter_mut().find(|unit| unit.name == "greetd.service").unwrap();
    greetd.active_state = "failed".into();
    greetd.result = "exit-code".into();
    missing.is(
        "session",
        Status::Fail,
        "greetd.service failed, and no user is logged in: alice is to be logged in automatically",
    );
    missing.is("greeter", Status::Skip, "greetd.service failed");

    // The greeter's PAM service tells logind nothing; nixbox comes in by another one.
    let mut unknown = guest();
    unknown.state().sessions.clear();
    unknown.state().processes.clear();
    unknown.state().end = WaitEnd::Idle;
    unknown.seen.manager = None;
    let opened = "pam_unix(greetd:session): session opened for user alice(uid=1000) by (uid=0)";
    unknown.seen.journal.insert(0, line("greetd.service", 10_000_000, opened));
    unknown
        .seen
        .journal
        .insert(1, line("greetd.service", 11_000_000, "pam_unix(greetd:session): session closed for user alice"));
    unknown.seen.journal.retain(|line| line.unit == "greetd.service");
    unknown.fails(
        "session",
        "systemd-logind was not told of the session of alice: the PAM service greetd lacks pam_systemd",
    );

    let mut short = guest();
    short.state().sessions.clear();
    short.state().processes.clear();
    short.state().end = WaitEnd::Idle;
    short.seen.manager = None;
    short.seen.journal.push(line("systemd-logind.service", 20_400_000, "Removed session 1."));
    short.seen.journal.push(line(
        "greetd.service",
        20_300_000,
        "error: cannot execute /nowhere/sway: No such file or directory",
    ));
    short.fails("session", "No such file");

    let mut x11 = guest();
    x11.state().processes = vec![
        DesktopProcess { serves: vec!["/tmp/.X11-unix/X0".into()], name: "Xorg".into(), uid: 0, ..sway() },
        DesktopProcess { serves: vec![], name: "sway-not".into(), environment: vec!["DISPLAY=:0".into()], ..sway() },
    ];
    x11.fails("session", "x11, expected: wayland");

    let mut other = guest();
    other.state().processes = vec![DesktopProcess { name: "weston".into(), ..sway() }];
    other.fails("session", "fell back to weston (wayland, by weston), expected: sway");

    // Another desktop on the other display system is told as what it is.
    let mut xfce = guest();
    xfce.state().processes = vec![
        DesktopProcess { serves: vec!["/tmp/.X11-unix/X0".into()], name: "Xorg".into(), ..sway() },
        DesktopProcess { serves: vec![], name: "xfwm4".into(), environment: vec!["DISPLAY=:0".into()], ..sway() },
    ];
    xfce.fails("session", "fell back to xfce (x11, by xfwm4), expected: sway");

    let mut hidden = guest();
    hidden.state().sessions[0].active = false;
    hidden.state().vt = 2;
    hidden.fails("session", "on vt 1, but vt 2 is shown");

    let mut slow = guest();
    slow.state().sessions.clear();
    slow.state().processes.clear();
    slow.state().end = WaitEnd::Deadline;
    slow.seen.manager = None;
    slow.is("session", Status::Unknown, "still busy");
}

#[test]
fn what_happened_to_its_terminal_ends_a_session() {
    let mut guest = guest();
    guest.state().sessions.clear();
    guest.state().processes.clear();
    guest.state().end = WaitEnd::Idle;
    guest.seen.manager = None;
    guest.seen.journal.push(line("systemd-logind.service", 40_000_000, "Removed session 1."));
    guest.seen.journal.push(line("session-1.scope", 39_900_000, "error: connection to seat lost"));
    guest.fails("session", "the session of alice ended after 20 s: error: connection to seat lost");
    let of_systemd = |unit: &str, at: u64, message: &str| JournalLine { pid: 1, ..line(unit, at, message) };
    guest.facts.journal.push(of_systemd(
        "getty@tty1.service",
        39_000_000,
        "Started getty@tty1.service - Getty on tty1.",
    ));
    guest.fails("session", "the session of alice ended after 20 s: getty@tty1.service took tty1");
    // At boot, it was gone before the session began.
    guest.facts.journal[0].at_us = 5_000_000;
    guest.fails("session", "the session of alice ended after 20 s: error: connection to seat lost");
    guest.facts.journal.push(of_systemd("greetd.service", 39_500_000, "Stopping greetd.service - greetd..."));
    guest.fails("session", "the session of alice ended after 20 s: systemd stopped greetd.service");
}

#[test]
fn desktops_that_another_compositor_draws() {
    let of = |desktop: &str, session: &str, programs: &[&str]| {
        let mut guest = guest();
        let expected = guest.expected();
        expected.desktops = vec![DesktopKind { name: desktop.into(), kind: None }];
        (expected.display_manager, expected.command) = (Some("lightdm".into()), None);
        expected.default_session = Some(session.into());
        let program = |name: &&str| DesktopProcess { name: (*name).into(), serves: vec![], has_card: false, ..sway() };
        let labwc = DesktopProcess { name: "labwc".into(), ..sway() };
        guest.state().processes = programs.iter().map(program).chain([labwc]).collect();
        guest
    };
    let wayland = "alice has an active wayland session of labwc";
    of("xfce", "xfce-wayland", &["xfce4-session"]).is("session", Status::Pass, wayland);
    of("budgie", "budgie-desktop", &["budgie-panel"]).is("session", Status::Pass, wayland);
    // It draws alone.
    of("xfce", "xfce-wayland", &["foot"]).fails("session", "fell back to labwc (wayland, by labwc), expected: xfce");
    of("sway", "sway", &["xfce4-session"]).fails("session", "fell back to labwc");
    // What the name says is expected.
    let on_x = |session: &str| {
        let mut guest = of("cinnamon", session, &[]);
        guest.state().processes = vec![
            DesktopProcess { serves: vec!["/tmp/.X11-unix/X0".into()], name: "Xorg".into(), ..sway() },
            DesktopProcess {
                serves: vec![],
                name: "cinnamon".into(),
                environment: vec!["DISPLAY=:0".into()],
                ..sway()
            },
        ];
        guest
    };
    on_x("cinnamon").is("session", Status::Pass, "x11 session of cinnamon");
    on_x("cinnamon-wayland").fails("session", "is x11, expected: wayland");
}

#[test]
fn without_accounts_nobody_is_missed() {
    // A machine that stands still answers nothing.
    let mut silent = guest();
    silent.facts.accounts.clear();
    silent.facts.gaps.insert("accounts".into(), "no answer in time".into());
    silent.seen = DesktopFacts { login: LoginMethod::NotLoggedIn(missing_user("alice")), ..DesktopFacts::default() };
    let judged = silent.judged();
    assert!(judged.values().all(|(status, _)| *status == Status::Unknown), "{judged:#?}");
}
