//! Each rule breaks on facts made for it, and each trap passes.

use std::collections::BTreeMap;

use super::expected::{failed_display_manager, missing_user};
use super::facts::{
    DesktopFacts, DesktopProcess, DesktopState, InputDevice, InputReaction, LoginMethod, TestWindow, WaitEnd,
};
use super::journal::explains_missing_session;
use super::unit_restarts::restart_stage;
use crate::checks::{self, Context, Judgement, Observations, Selection};
use crate::config::Settings;
use crate::guest::facts::{Account, Facts, JournalLine, Manager, Service, Unit};
use crate::guest::logind::Session;
use crate::guest::user_units::{Asked, UserManager};
use crate::model::{Accel, CheckId, CheckKind, Status};
use crate::nix::expectations::{DesktopKind, Expectations, ExpectedDesktop, ExpectedUnit, ExpectedUser};
use crate::signal::{Picture, PictureAnalysis, picture};

const NOW: u64 = 60_000_000;

fn picture(paint: impl Fn(u32, u32) -> [u8; 3]) -> PictureAnalysis {
    let (width, height) = (320, 200);
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| paint(x, y)).collect();
    picture::analyse(&Picture::new(width, height, pixels).unwrap())
}

fn colourful() -> PictureAnalysis {
    picture(|x, y| [(x % 256) as u8, (y % 256) as u8, 90])
}

fn black() -> PictureAnalysis {
    picture(|_, _| [0, 0, 0])
}

fn session(id: &str, user: &str, uid: u32, class: &str) -> Session {
    Session {
        id: id.into(),
        uid,
        user: user.into(),
        class: class.into(),
        kind: "tty".into(),
        seat: "seat0".into(),
        vt: 1,
        state: "active".into(),
        active: true,
        since_us: 20_000_000,
        ..Session::default()
    }
}

fn sway() -> DesktopProcess {
    DesktopProcess {
        pid: 800,
        name: "sway".into(),
        state: "S".into(),
        uid: 1000,
        since_us: 21_000_000,
        has_card: true,
        has_input: true,
        serves: vec!["/run/user/1000/wayland-1".into(), "/tmp/.X11-unix/X0".into()],
        ..DesktopProcess::default()
    }
}

fn expected_unit(wanted_by: &str) -> ExpectedUnit {
    ExpectedUnit { enable: true, wanted_by: vec![wanted_by.into()], ..ExpectedUnit::default() }
}

fn active(name: &str) -> Unit {
    Unit {
        name: name.into(),
        load_state: "loaded".into(),
        active_state: "active".into(),
        active_enter_us: 25_000_000,
        result: "success".into(),
        ..Unit::default()
    }
}

fn line(unit: &str, at: u64, message: &str) -> JournalLine {
    JournalLine { unit: unit.into(), at_us: at, message: message.into(), priority: 6, ..JournalLine::default() }
}

/// A machine with sway, changed bit by bit.
struct Guest {
    expectations: Expectations,
    facts: Facts,
    seen: DesktopFacts,
}

fn guest() -> Guest {
    let expectations = Expectations {
        known: true,
        users: [("alice".to_owned(), ExpectedUser { normal: true, ..ExpectedUser::default() })].into(),
        desktop: Some(ExpectedDesktop {
            display_manager: Some("greetd".into()),
            autologin_user: Some("alice".into()),
            command: Some("/run/current-system/sw/bin/sway".into()),
            desktops: vec![DesktopKind { name: "sway".into(), kind: Some("wayland".into()) }],
            portal: true,
            xwayland: Some(true),
            ..ExpectedDesktop::default()
        }),
        user_units: [("bar.service".to_owned(), expected_unit("graphical-session.target"))].into(),
        ..Expectations::default()
    };
    let facts = Facts {
        now_us: NOW,
        manager: Manager { state: "running".into(), finish_us: 12_000_000, ..Manager::default() },
        units: vec![active("greetd.service"), active("multi-user.target")],
        accounts: vec![Account { name: "alice".into(), uid: 1000, gid: 100, shell_works: true, ..Account::default() }],
        ..Facts::default()
    };
    let seen = DesktopFacts {
        user: Some("alice".into()),
        session: Some(DesktopState {
            end: WaitEnd::Steady,
            waited: 20.0,
            still: 3.0,
            now_us: NOW,
            picture: Some(colourful()),
            vt: 1,
            sessions: vec![session("1", "alice", 1000, "user")],
            processes: vec![sway()],
        }),
        manager: Some(UserManager {
            uid: 1000,
            units: vec![active("graphical-session.target"), active("bar.service"), active("default.target")],
            environment: vec!["WAYLAND_DISPLAY=wayland-1".into()],
        }),
        portal: Some(Asked { known: true, answered: true, seconds: 1.0, ..Asked::default() }),
        journal: vec![line(
            "systemd-logind.service",
            20_000_000,
            "New session '1' of user 'alice' with class 'user' and type 'tty'.",
        )],
        reactions: vec![
            InputReaction { input: InputDevice::Pointer, share: 0.1, width: 20, seconds: 0.3 },
            InputReaction { input: InputDevice::Key, share: 0.001, width: 60, seconds: 0.3 },
        ],
        window: Some(TestWindow {
            program: "foot".into(),
            is_terminal: true,
            share: 0.9,
            appeared: true,
            seconds: 2.0,
            closed: true,
            ..TestWindow::default()
        }),
        ..DesktopFacts::default()
    };
    Guest { expectations, facts, seen }
}

impl Guest {
    fn expected(&mut self) -> &mut ExpectedDesktop {
        self.expectations.desktop.as_mut().unwrap()
    }

    fn state(&mut self) -> &mut DesktopState {
        self.seen.session.as_mut().unwrap()
    }

    /// At the login screen, with nobody logged in.
    fn at_greeter(mut self) -> Self {
        self.expected().autologin_user = None;
        self.expected().command = None;
        let mut state = self.seen.session.clone().unwrap();
        state.sessions = vec![session("c1", "greeter", 990, "greeter")];
        state.processes = vec![DesktopProcess { uid: 990, name: "cage".into(), ..sway() }];
        self.seen.greeter = Some(state);
        self.seen.login = LoginMethod::LoggedIn { session: "sway".into(), how: "by test".into() };
        self
    }

    fn greeter(&mut self) -> &mut DesktopState {
        self.seen.greeter.as_mut().unwrap()
    }

    fn judged(&self) -> BTreeMap<String, (Status, String)> {
        let plan = checks::plan(&self.expectations, &Settings::default(), &Selection::default());
        let observations =
            Observations { first: self.facts.clone(), desktop: Some(self.seen.clone()), ..Observations::default() };
        let context = Context { accelerator: Accel::Tcg, ..Context::default() };
        let results = checks::judge(&plan, &observations, &context).results;
        results
            .into_iter()
            .filter(|result| result.id.kind() == CheckKind::Desktop)
            .map(|result| (result.id.name()["desktop.".len()..].to_owned(), (result.status, result.summary)))
            .collect()
    }

    fn restart_loop(&self) -> Status {
        self.status(CheckId::ServicesRestartLoop)
    }

    fn failed_units(&self) -> Status {
        self.status(CheckId::ServicesFailedUnits)
    }

    fn status(&self, id: CheckId) -> Status {
        let plan = checks::plan(&self.expectations, &Settings::default(), &Selection::default());
        let observations =
            Observations { first: self.facts.clone(), desktop: Some(self.seen.clone()), ..Observations::default() };
        let context = Context { accelerator: Accel::Tcg, ..Context::default() };
        let results = checks::judge(&plan, &observations, &context).results;
        results.iter().find(|result| result.id == id).unwrap().status
    }

    /// This check, and only this one, fails, with these words.
    #[track_caller]
    fn fails(&self, id: &str, words: &str) {
        let judged = self.judged();
        let (status, summary) = &judged[id];
        assert_eq!(*status, Status::Fail, "{judged:#?}");
        assert!(summary.contains(words), "{summary:?} does not say {words:?}");
        let others: Vec<_> =
            judged.iter().filter(|(other, (status, _))| *other != id && *status == Status::Fail).collect();
        assert!(others.is_empty(), "{judged:#?}");
    }

    #[track_caller]
    fn is(&self, id: &str, status: Status, words: &str) {
        let judged = self.judged();
        assert_eq!(judged[id].0, status, "{judged:#?}");
        assert!(judged[id].1.contains(words), "{judged:#?}");
    }
}

#[test]
fn a_healthy_session_passes() {
    let judged = guest().judged();
    for id in ["session", "compositor", "units", "picture"] {
        assert_eq!(judged[id].0, Status::Pass, "{judged:#?}");
    }
    assert_eq!(judged["greeter"].0, Status::Skip);
    let judged = guest().at_greeter().judged();
    assert!(judged.values().all(|(status, _)| *status == Status::Pass), "{judged:#?}");
}

#[test]
fn nothing_is_planned_without_a_desktop() {
    let mut guest = guest();
    guest.expectations.desktop = None;
    assert!(guest.judged().is_empty());
}

#[test]
fn a_crash_is_told_once() {
    let mut guest = guest();
    guest.state().sessions.clear();
    guest.state().processes.clear();
    guest.state().end = WaitEnd::Loop;
    guest.seen.manager = None;
    for at in [21_000_000, 31_000_000] {
        guest.seen.journal.push(line("", at, "Process 801 (.sway-wrapped) of user 1000 dumped core. (SIGSEGV)"));
        let kernel = JournalLine {
            transport: "kernel".into(),
            ..line("", at - 100, "sway[801]: segfault at 0 ip 0 sp 0 error 4")
        };
        guest.facts.journal.push(kernel);
    }
    guest.fails("compositor", "sway crashed 2 times (SIGSEGV)");
    guest.is("session", Status::Skip, "desktop.compositor");

    // Nor by what fails because it is gone, nor by who starts it again and again.
    let service = Service { restarts: 5, ..Service::default() };
    guest.facts.units[0].service = Some(service);
    guest.facts.units[0].sub_state = "auto-restart".into();
    let failed = Unit { active_state: "failed".into(), result: "exit-code".into(), ..active("bar.service") };
    guest.seen.manager = Some(UserManager { uid: 1000, units: vec![failed], environment: vec![] });
    guest.fails("compositor", "sway crashed 2 times (SIGSEGV)");
    guest.is("units", Status::Skip, "desktop.compositor");
    assert_eq!(guest.restart_loop(), Status::Pass);
    guest.seen.journal.clear();
    guest.facts.journal.clear();
    assert_ne!(guest.restart_loop(), Status::Pass);
}

#[test]
fn a_refusal_of_software_rendering_is_not_tested() {
    for words in [
        "[wlr] [backend/backend.c:87] Software rendering detected, please use the WLR_RENDERER_ALLOW_SOFTWARE environment variable",
        "CRIT ]: m_pAqBackend was null! ... CBackend::create() failed!",
        "WARN niri::backend::tty: error adding device: software EGL renderers are skipped",
        "error: failed to create renderer",
        "failed to initialize EGL",
    ] {
        let mut guest = guest();
        guest.state().sessions.clear();
        guest.state().processes.clear();
        guest.seen.manager = None;
        guest.seen.journal.push(line("session-1.scope", 22_000_000, words));
        guest.seen.journal.push(line("", 22_000_001, "Process 801 (Hyprland) of user 1000 dumped core. (SIGABRT)"));
        let judged = guest.judged();
        assert!(judged.values().all(|(status, _)| *status == Status::Skip), "{words}: {judged:#?}");
    }
}

#[test]
fn who_stays_without_a_screen_refused_too() {
    let words = "WARN niri::backend::tty: error adding device: software EGL renderers are skipped";
    let bare = |unit: &str, words: &str| {
        let mut guest = guest();
        guest.state().picture = Some(black());
        guest.state().end = WaitEnd::Idle;
        guest.seen.reactions = vec![InputReaction { input: InputDevice::Pointer, ..InputReaction::default() }];
        guest.seen.window = Some(TestWindow { program: "foot".into(), seconds: 150.0, ..TestWindow::default() });
        guest.seen.journal.push(line(unit, 22_000_000, words));
        guest
    };
    for unit in ["session-1.scope", "niri.service"] {
        let niri = bare(unit, words);
        niri.is("picture", Status::Skip, "not tested: needs a GPU");
        niri.is("compositor", Status::Skip, "software EGL renderers are skipped");
        niri.is("session", Status::Pass, "");
        niri.is("units", Status::Pass, "");
    }
    // Words of another, those of one that tries on, and a picture.
    bare("app.service", words).fails("picture", "one flat colour (black)");
    bare("session-1.scope", "failed to initialize EGL").fails("picture", "one flat colour (black)");
    let mut shows = bare("session-1.scope", words);
    shows.state().picture = Some(colourful());
    shows.fails("picture", "no window of foot appears");
    let mut fell = bare("session-1.scope", words);
    fell.seen.journal.push(line("", 22_000_001, "Process 801 (sway) of user 1000 dumped core. (SIGSEGV)"));
    fell.fails("compositor", "SIGSEGV");
}

#[test]
fn a_compositor_that_is_a_unit_of_the_users_refuses_as_others_do() {
    let refused = |unit: &str| {
        let mut guest = guest();
        guest.state().sessions.clear();
        guest.state().processes.clear();
        guest.state().end = WaitEnd::Idle;
        guest.seen.manager = None;
        guest.seen.journal.push(line(unit, 22_000_000, "[wlr] Failed to create renderer"));
        guest
    };
    for unit in ["wayland-wm@sway.service", "wayland-wm@hyprland.desktop.service", "niri.service"] {
        let judged = refused(unit).judged();
        assert!(judged.values().all(|(status, _)| *status == Status::Skip), "{unit}: {judged:#?}");
    }
    refused("swaybg.service").fails("session", "there is no session of alice");
}

#[test]
fn a_login_screen_that_is_not_drawn_in_a_vm() {
    let words = "ERROR cosmic_comp::backend::kms: failed to initialize any GPU";
    let greeter = |words: &str| {
        let mut guest = guest().at_greeter();
        for n in 0..3 {
            let began = format!("New session 'c{n}' of user 'greeter' with class 'greeter' and type 'tty'.");
            guest.seen.journal.push(line("systemd-logind.service", 13_000_000 + n, &began));
            let ended = format!("Removed session c{n}.");
            guest.seen.journal.push(line("systemd-logind.service", 14_000_000 + n, &ended));
        }
        guest.seen.journal.push(line("session-c1.scope", 13_500_000, words));
        guest.greeter().sessions.clear();
        guest.greeter().end = WaitEnd::Loop;
        guest.facts.units[0].service = Some(Service { restarts: 5, ..Service::default() });
        guest.facts.units[0].sub_state = "auto-restart".into();
        guest
    };
    greeter(words).is("greeter", Status::Skip, "not tested: needs a GPU: ERROR cosmic_comp");
    assert_eq!(greeter(words).restart_loop(), Status::Pass);
    // Who says it and goes on to draw is judged by what is seen.
    let mut drawn = guest().at_greeter();
    drawn.seen.journal.push(line("session-c1.scope", 13_500_000, words));
    drawn.is("greeter", Status::Pass, "greetd.service shows a login screen");
    for other in ["error: greeter exited without creating a session", "failed to initialize EGL"] {
        greeter(other).is("greeter", Status::Fail, "exited 3 times without a login");
        assert_ne!(greeter(other).restart_loop(), Status::Pass);
    }

    // systemd gave up.
    let failed = |words: &str| {
        let mut guest = greeter(words);
        guest.facts.units[0].active_state = "failed".into();
        guest.facts.units[0].result = "start-limit-hit".into();
        guest.seen.greeter = None;
        guest.failed_units()
    };
    assert_eq!(failed(words), Status::Pass);
    assert_eq!(failed("error: greeter exited without creating a session"), Status::Fail);
}

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
    guest.fails("session", "the session of alice ended once");
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
        "greetd.service failed, and nobody is logged in: alice is to be logged in automatically",
    );
    missing.is("greeter", Status::Skip, "greetd.service failed");

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
fn compositors_that_do_not_draw() {
    let mut stopped = guest();
    stopped.state().processes[0].state = "T".into();
    stopped.state().end = WaitEnd::Idle;
    stopped.seen.window = None;
    stopped.seen.reactions.clear();
    stopped.is("compositor", Status::Fail, "sway is stopped");

    let mut hung = guest();
    hung.state().processes[0].serves.clear();
    hung.state().end = WaitEnd::Idle;
    hung.is("compositor", Status::Fail, "runs but serves no display");

    let mut black_screen = guest();
    black_screen.state().picture = Some(black());
    black_screen.state().end = WaitEnd::Idle;
    black_screen.seen.reactions.clear();
    black_screen.seen.window =
        Some(TestWindow { program: "foot".into(), is_terminal: true, seconds: 150.0, ..TestWindow::default() });
    black_screen.fails("picture", "one flat colour (black) while sway runs");

    // Nothing to show anything on: the program's words count, not how the compositor came to draw.
    let mut outputless = guest();
    outputless.state().picture = Some(black());
    outputless.state().end = WaitEnd::Idle;
    outputless.seen.reactions = vec![InputReaction { input: InputDevice::Pointer, ..InputReaction::default() }];
    outputless.seen.window = Some(TestWindow {
        program: "foot".into(),
        exit: Some(230),
        stderr: vec![" err: wayland.c:1707: no monitors available".into()],
        ..TestWindow::default()
    });
    outputless.seen.terminals.insert(1, vec!["[wlr] Could not initialize EGL".into()]);
    let crash = "Process 900 (swaynag) of user 1000 dumped core. (SIGSEGV)";
    outputless.seen.journal.push(line("", NOW + 1, crash));
    outputless.fails("picture", "does not react to the pointer; foot opens no window: exit code 230:  err: wayland.c");
    outputless.is("units", Status::Pass, "in order");
    outputless.seen.window = None;
    assert!(!outputless.judged()["picture"].1.contains("EGL"));

    // A desktop of one colour on which a window shows is plain, not broken.
    let mut plain = guest();
    plain.state().picture = Some(black());
    plain.is("picture", Status::Pass, "plain");

    let mut dead = guest();
    dead.seen.reactions = vec![
        InputReaction { input: InputDevice::Pointer, ..InputReaction::default() },
        InputReaction { input: InputDevice::Key, ..InputReaction::default() },
    ];
    dead.fails("picture", "does not react to pointer or key");
}

#[test]
fn a_configuration_with_a_slip_is_told() {
    for words in [
        "00:00:00.120 [ERROR] [sway/config.c:900] Error on line 3 'bindsymm x': Unknown/invalid command 'bindsymm'",
        "Config error in file /home/alice/.config/hypr/hyprland.conf at line 7: config option <decoration:drop_shadow> \
         does not exist.",
        "error loading config: error parsing",
    ] {
        let mut slip = guest();
        slip.seen.journal.push(line("session-1.scope", 21_000_000, words));
        let (status, summary) = slip.judged()["compositor"].clone();
        assert_eq!(status, Status::Warn, "{summary}");
        assert!(summary.contains("sway rejects part of its configuration"), "{summary}");
        let mut on_screen = guest();
        on_screen.seen.terminals.insert(1, vec![words.to_owned()]);
        assert_eq!(on_screen.judged()["compositor"].0, Status::Warn);
    }
    let mut other = guest();
    other.seen.journal.push(line("foot.service", 21_000_000, "config loaded with a warning on line 3"));
    assert_eq!(other.judged()["compositor"].0, Status::Pass);
}

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

    let mut skipped = guest();
    let unit = &mut skipped.seen.manager.as_mut().unwrap().units[1];
    unit.active_state = "inactive".into();
    unit.condition_us = 24_000_000;
    unit.failed_conditions = vec!["ConditionEnvironment=WAYLAND_DISPLAY".into()];
    skipped.fails("units", "skipped: ConditionEnvironment=WAYLAND_DISPLAY did not hold; it is wayland-1 now");

    let mut stale = guest();
    stale.seen.manager.as_mut().unwrap().units[0].active_enter_us = 10_000_000;
    stale.seen.journal.insert(
        0,
        line("systemd-logind.service", 8_000_000, "New session '0' of user 'alice' with class 'user' and type 'tty'."),
    );
    stale.seen.journal.insert(1, line("systemd-logind.service", 15_000_000, "Removed session 0."));
    stale.fails("units", "graphical-session.target stayed active");

    let mut portal = guest();
    portal.seen.portal = Some(Asked { known: true, error: Some("no answer within 125 s".into()), ..Asked::default() });
    portal.fails("units", "org.freedesktop.portal.Desktop does not answer: no answer within 125 s");

    // Its own failure is not told beside that.
    portal.seen.manager.as_mut().unwrap().units.push(Unit {
        active_state: "failed".into(),
        result: "exit-code".into(),
        ..active("xdg-desktop-portal.service")
    });
    portal.fails("units", "does not answer: no answer within 125 s: xdg-desktop-portal.service failed");
    assert!(!portal.judged()["units"].1.contains("xdg-desktop-portal.service of alice"));

    let mut slow = guest();
    slow.seen.portal = Some(Asked { known: true, answered: true, seconds: 36.0, ..Asked::default() });
    slow.is("units", Status::Pass, "the portal answers in 36 s");
    let waited = "Failed to create screenshot proxy: Error calling StartServiceByName for org.freedesktop.impl.portal.desktop.wlr: Timeout was reached";
    slow.seen.journal.push(line("xdg-desktop-portal.service", 50_000_000, waited));
    slow.is("units", Status::Warn, "answers only after 36 s: Failed to create screenshot proxy");

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
fn without_accounts_nobody_is_missed() {
    // A machine that stands still answers nothing.
    let mut silent = guest();
    silent.facts.accounts.clear();
    silent.facts.gaps.insert("accounts".into(), "no answer in time".into());
    silent.seen = DesktopFacts { login: LoginMethod::NotLoggedIn(missing_user("alice")), ..DesktopFacts::default() };
    let judged = silent.judged();
    assert!(judged.values().all(|(status, _)| *status == Status::Unknown), "{judged:#?}");
}

#[test]
fn a_unit_that_is_started_again_and_again() {
    let of = |unit: Unit| {
        let mut guest = guest();
        guest.seen.manager.as_mut().unwrap().units[1] = unit;
        guest
    };
    let said = |mut guest: Guest, unit: &str, words: &str| {
        guest.seen.journal.push(line(unit, 30_000_000, words));
        guest
    };
    said(of(restarting("bar.service", 2, 1)), "bar.service", "error: no such theme").fails(
        "units",
        "bar.service of alice keeps failing and is restarted: exit code 1, restarted 2 times: error: no such theme",
    );
    // Expected or not.
    let mut other = guest();
    other.seen.manager.as_mut().unwrap().units.push(restarting("dropbox.service", 2, 1));
    other.fails("units", "dropbox.service of alice keeps failing");
    of(restarting("bar.service", 3, 0)).fails("units", "exits with success and is restarted over and over");
    // It may come up yet, and here it did.
    of(restarting("bar.service", 1, 1)).is("units", Status::Warn, "is about to be restarted: exit code 1");
    let service = Some(Service { restarts: 1, ..Service::default() });
    of(Unit { service, ..active("bar.service") }).is("units", Status::Pass, "");
    // It is seen while it comes up, between two of its ends.
    let comes_up = Unit { active_state: "active".into(), sub_state: "running".into(), ..restarting("x", 1, 1) };
    assert_eq!(restart_stage(&comes_up), Some((1, comes_up.active_enter_us)));
    assert_eq!((restart_stage(&restarting("x", 1, 1)), restart_stage(&active("x"))), (None, None));
    // What the VM has not.
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
        let plan = checks::plan(&expectations, &Settings::default(), &Selection::default());
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
fn greeters() {
    let mut none = guest().at_greeter();
    none.greeter().sessions.clear();
    none.greeter().end = WaitEnd::Idle;
    none.seen.journal.push(line("greetd.service", 19_000_000, "Failed to execute child process gnome-session"));
    none.fails("greeter", "Failed to execute child process");

    let mut hidden = guest().at_greeter();
    hidden.greeter().sessions[0].active = false;
    hidden.greeter().vt = 2;
    hidden.fails("greeter", "the login screen is on vt 1, but vt 2 is shown");

    let mut sad = guest().at_greeter();
    sad.greeter().processes.push(DesktopProcess {
        name: "gnome-session-f".into(),
        uid: 990,
        ..DesktopProcess::default()
    });
    let bus = "org.freedesktop.systemd1";
    let said = format!("Error: The name {bus} was not provided by any .service files");
    sad.seen.journal.push(line("session-c1.scope", 19_000_000, &said));
    sad.seen.journal.push(line("dbus.service", 30_000_000, &format!("Successfully activated service '{bus}'")));
    sad.fails(
        "greeter",
        "Oh no! Something has gone wrong\": Error: The name org.freedesktop.systemd1 was not provided",
    );

    for words in [
        "The configured theme \"breeze\" doesn't exist, using the embedded theme instead",
        "Fallback to embedded theme",
        "The current theme cannot be loaded due to the errors below, please select another theme.",
    ] {
        let mut plain = guest().at_greeter();
        plain.seen.journal.push(line("session-c1.scope", 19_000_000, words));
        plain.is("greeter", Status::Warn, words);
        plain.greeter().picture = Some(black());
        plain.is("greeter", Status::Fail, "one flat colour (black)");
    }

    let mut again = guest().at_greeter();
    for n in 0..3 {
        let id = format!("c{}", n + 5);
        again.seen.journal.push(line(
            "systemd-logind.service",
            13_000_000 + n,
            &format!("New session '{id}' of user 'greeter' with class 'greeter' and type 'tty'."),
        ));
        again.seen.journal.push(line("systemd-logind.service", 14_000_000 + n, &format!("Removed session {id}.")));
    }
    again.seen.journal.push(line("greetd.service", 14_000_000, "error: greeter exited without creating a session"));
    again.fails("greeter", "exited 3 times without a login: error: greeter exited without creating a session");

    let mut flat = guest().at_greeter();
    flat.greeter().picture = Some(black());
    flat.greeter().end = WaitEnd::Idle;
    flat.fails("greeter", "one flat colour (black)");
}

#[test]
fn what_is_said_elsewhere_is_no_reason() {
    let said = |guest: &mut Guest, unit: &str, at: u64, words: &str| guest.seen.journal.push(line(unit, at, words));
    let began =
        |id: &str, user: &str| format!("New session '{id}' of user '{user}' with class '{}' and type 'x11'.", user);
    let mut none = guest().at_greeter();
    none.greeter().sessions.clear();
    none.greeter().end = WaitEnd::Idle;
    none.greeter().now_us = 30_000_000;
    said(&mut none, "display-manager.service", 19_000_000, "Failed to execute child process gnome-session");
    // The session that nixbox began afterwards.
    said(&mut none, "session-1.scope", 31_000_000, "Could not initialize EGL");
    said(&mut none, "display-manager.service", 31_000_000, "error: something else");
    none.seen.terminals.insert(8, vec!["error: of another terminal".into()]);
    none.fails("greeter", "Failed to execute child process");

    // On a terminal stands what a compositor without a graphics card always says.
    let mut bare = guest().at_greeter();
    bare.greeter().picture = Some(black());
    bare.greeter().end = WaitEnd::Idle;
    let shown = [
        "00:00:04.912 [wlr] [render/gles2/renderer.c:499] Could not initialize EGL",
        "sh: line 1: gtkgreet: command not found",
        "Fontconfig error: No writable cache directories",
        "Could not find config for output Virtual-1",
        "something failed after that",
        "00:00:16.797 [wlr] [backend/drm/atomic.c:79] connector Virtual-1: Atomic commit failed: Permission denied",
    ];
    bare.seen.terminals.insert(1, shown.map(str::to_owned).to_vec());
    bare.fails("greeter", "one flat colour (black): sh: line 1: gtkgreet: command not found");

    // The login screen that comes back after a session ended has troubles of its own, and LightDM asks who is there.
    let mut thrown = guest();
    thrown.state().sessions = vec![session("c1", "lightdm", 78, "greeter")];
    thrown.state().processes.clear();
    thrown.state().end = WaitEnd::Idle;
    thrown.seen.manager = None;
    said(&mut thrown, "", 20_300_000, "niri-session: not found");
    said(&mut thrown, "systemd-logind.service", 20_400_000, "Removed session 1.");
    said(&mut thrown, "systemd-logind.service", 22_000_000, &began("c1", "greeter"));
    said(&mut thrown, "session-c1.scope", 23_000_000, "greeter: Failed to open a sound");
    said(
        &mut thrown,
        "display-manager.service",
        24_000_000,
        "Error getting user list from org.freedesktop.Accounts: GDBus.Error:org.freedesktop.DBus.Error.ServiceUnknown",
    );
    thrown.fails("session", "ended once, the last time after 0.4 s: niri-session: not found");
}

#[test]
fn a_display_manager_that_failed_is_told_as_a_unit() {
    let mut guest = guest().at_greeter();
    guest.facts.units[0].active_state = "failed".into();
    let judged = guest.judged();
    let told = |(status, why): &(Status, String)| *status == Status::Skip && why == "greetd.service failed";
    assert!(judged.values().all(told), "{judged:#?}");
    let plan = checks::plan(&guest.expectations, &Settings::default(), &Selection::default());
    assert_eq!(failed_display_manager(&plan, &guest.facts), Some("greetd.service"));
    guest.facts.units[0].active_state = "active".into();
    assert_eq!(failed_display_manager(&plan, &guest.facts), None);
}
