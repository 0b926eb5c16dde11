//! The compositor and its picture.

use super::*;
use crate::model::Witness;

/// Of a driver that is of another build than what loads it.
const OTHER_BUILD: &str = "libEGL fatal: DRI driver not from this Mesa build ('24.0.3' vs '23.3.5')";

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
fn a_login_shell_that_starts_it_again_and_again() {
    // services.getty.autologinUser and `exec Hyprland`, without a display manager.
    let crash = "Process 801 (Hyprland) of user 1000 dumped core. (SIGABRT)";
    let of = |vt: u32, words: &[&str]| {
        let mut guest = guest();
        let expected = guest.expected();
        (expected.display_manager, expected.autologin_user, expected.command) = (None, None, None);
        guest.expectations.autologin_user = Some("alice".into());
        guest.seen.login = LoginMethod::LoggedIn { session: "hyprland".into(), how: "by test".into() };
        // One that was begun just now, behind the terminal that is shown.
        guest.state().sessions = vec![Session { active: false, ..session("9", "alice", 1000, "user") }];
        guest.state().vt = vt;
        guest.state().processes.clear();
        guest.state().end = WaitEnd::Loop;
        guest.seen.manager = None;
        for n in 0..3 {
            let began = format!("New session '{}' of user 'alice' with class 'user' and type 'tty'.", n + 1);
            guest.seen.journal.push(line("systemd-logind.service", 20_000_000 + n * 3_000_000, &began));
            let ended = format!("Removed session {}.", n + 1);
            guest.seen.journal.push(line("systemd-logind.service", 22_000_000 + n * 3_000_000, &ended));
        }
        let said = words.iter().map(|words| line("session-1.scope", 21_000_000, words));
        guest.seen.journal.extend(said);
        let service =
            Service { restarts: 5, restart: "always".into(), exit_kind: 1, kind: "idle".into(), ..Service::default() };
        guest.facts.units.push(Unit {
            active_state: "activating".into(),
            sub_state: "auto-restart".into(),
            service: Some(service),
            ..active("getty@tty1.service")
        });
        guest
    };
    let failed = |mut guest: DesktopCase| {
        let getty = guest.facts.units.last_mut().unwrap();
        (getty.active_state, getty.sub_state) = ("failed".into(), "failed".into());
        getty.result = "start-limit-hit".into();
        guest.failed_units()
    };
    let refused = ["CRIT ]: m_pAqBackend was null! ... CBackend::create() failed!", crash];
    let mut unseen = of(8, &refused);
    unseen.state().sessions.clear();
    for guest in [of(1, &refused), of(8, &refused), unseen] {
        let judged = guest.judged();
        assert!(judged.values().all(|(status, _)| *status == Status::Skip), "{judged:#?}");
        assert_eq!(guest.restart_loop(), Status::Pass);
        assert_eq!(failed(guest), Status::Pass);
    }
    // What crashes is told as that.
    let crashed = of(1, &[crash]);
    crashed.is("compositor", Status::Fail, "Hyprland crashed once (SIGABRT)");
    assert_eq!(crashed.restart_loop(), Status::Pass);
    // Nothing, or another user's login, on another terminal: a loop of its own.
    assert_ne!(of(1, &[]).restart_loop(), Status::Pass);
    assert_eq!(failed(of(1, &[])), Status::Fail);
    let mut other = of(8, &refused);
    other.expectations.autologin_user = Some("bob".into());
    other.state().sessions.clear();
    assert_ne!(other.restart_loop(), Status::Pass);
    assert_eq!(failed(other), Status::Fail);
}

#[test]
fn a_driver_of_another_build_is_no_want_of_a_gpu() {
    let glibc = "MESA-LOADER: failed to open dri: /nix/store/x-glibc-2.37/lib/libc.so.6: version `GLIBC_2.38' not found \
        (required by /run/opengl-driver/lib/gbm/dri_gbm.so) (search paths /run/opengl-driver/lib/gbm, suffix _gbm)";
    let absent =
        "MESA-LOADER: failed to open zink: /run/opengl-driver/lib/dri/zink_dri.so: cannot open shared object file";
    let aborted = |unit: &str, words: &str| {
        let mut guest = guest();
        guest.state().sessions.clear();
        guest.state().processes.clear();
        guest.state().end = WaitEnd::Idle;
        guest.seen.manager = None;
        let greeter = "New session 'c1' of user 'greeter' with class 'greeter' and type 'tty'.";
        guest.seen.journal.insert(0, line("systemd-logind.service", 10_000_000, greeter));
        guest.seen.journal.push(line(unit, 22_000_000, words));
        guest.seen.journal.push(line("session-1.scope", 22_000_001, "[wlr] Failed to create renderer"));
        guest.seen.journal.push(line("session-1.scope", 22_000_002, "CRIT ]: CBackend::create() failed!"));
        guest.seen.journal.push(line("", 22_000_003, "Process 801 (Hyprland) of user 1000 dumped core. (SIGABRT)"));
        guest
    };
    for words in [glibc, OTHER_BUILD] {
        aborted("session-1.scope", words).fails("compositor", &format!("Hyprland crashed once (SIGABRT): {words}"));
    }
    // Where it ends by itself, the session's check says so.
    let mut ended = aborted("session-1.scope", glibc);
    ended.seen.journal.pop();
    ended.seen.journal.push(line("systemd-logind.service", 22_000_004, "Removed session 1."));
    ended.fails("session", "the session of alice ended after 2.0 s: MESA-LOADER: failed to open dri");
    // Hardware's driver that is not there, an application's, and the login screen's.
    for (unit, words) in
        [("session-1.scope", absent), ("firefox.service", OTHER_BUILD), ("session-c1.scope", OTHER_BUILD)]
    {
        let judged = aborted(unit, words).judged();
        assert!(judged.values().all(|(status, _)| *status == Status::Skip), "{unit} {words}: {judged:#?}");
    }

    let mut draws = guest();
    draws.seen.journal.push(line("session-1.scope", 22_000_000, OTHER_BUILD));
    draws.is(
        "compositor",
        Status::Warn,
        "a graphics driver cannot be loaded while sway runs: libEGL fatal: DRI driver",
    );
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
    // A driver that no card mends.
    let mut broken = bare("niri.service", words);
    broken.seen.journal.push(line("niri.service", 21_999_999, OTHER_BUILD));
    broken.fails("picture", "one flat colour (black)");
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
fn a_card_that_only_the_real_machine_has() {
    let open =
        |path: &str| format!("[ERROR] [wlr] [backend/session/session.c:504] Unable to open {path} as DRM device");
    let of = |path: &str, cards: &[&str]| {
        let mut guest = guest();
        guest.state().sessions.clear();
        guest.state().processes.clear();
        guest.state().end = WaitEnd::Idle;
        guest.seen.manager = None;
        let none = "[ERROR] [wlr] [backend/backend.c:245] Found 0 GPUs, cannot create backend";
        let last = "[ERROR] [sway/server.c:270] Unable to create backend";
        guest.seen.terminals.insert(1, vec![open(path), none.into(), last.into()]);
        guest.seen.cards = cards.iter().map(|card| (*card).to_owned()).collect();
        guest
    };
    let here = ["/dev/dri/card0", "/dev/dri/renderD128", "/dev/dri/by-path/pci-0000:00:02.0-card"];
    for path in ["/dev/dri/card1", "/dev/dri/nvidia", "/dev/dri/by-path/platform-gpu-card"] {
        let guest = of(path, &here);
        let judged = guest.judged();
        assert!(judged.values().all(|(status, _)| *status == Status::Skip), "{judged:#?}");
        guest.is("compositor", Status::Skip, &format!("not tested: needs {path}: [ERROR]"));
        let plan = judging::plan(&guest.expectations, &Settings::default(), &Selection::default());
        let seen = Observations { first: guest.facts, desktop: Some(guest.seen), ..Observations::default() };
        let entries =
            checks::judge(&plan, &seen, &Context { accelerator: Accel::Tcg, ..Context::default() }).not_tested;
        assert!(entries.iter().any(|entry| entry.witness == Witness::Device { path: path.into() }), "{entries:?}");
    }
    // It is there, or no card is, and what is wrong on each machine: a path that was split, a node that shows nothing.
    for (path, cards) in
        [("/dev/dri/card0", &here[..]), ("/dev/dri/card0", &here[..0]), ("/dev/dri/card1", &here[1..2])]
    {
        of(path, cards).fails("session", "there is no session of alice: [ERROR]");
    }
    for path in ["/dev/dri/by-path/pci-0000", "00.0-card", "/dev/dri/renderD129"] {
        of(path, &here).fails("session", "there is no session of alice: [ERROR]");
    }
    // Another one was opened, and of two one is there.
    let mut another = of("/dev/dri/card1", &here);
    another.seen.terminals.insert(1, vec![open("/dev/dri/card1"), "Error on line 3: Unknown command 'x'".into()]);
    another.fails("session", "Error on line 3");
    let mut both = of("/dev/dri/card1", &here);
    both.seen.terminals.entry(1).or_default().insert(0, open("/dev/dri/card0"));
    both.fails("session", "there is no session of alice: [ERROR]");
}

#[test]
fn what_the_wrapper_started_says_nothing_of_the_compositor() {
    let of = |display_manager: &str| {
        let mut guest = guest();
        let expected = guest.expected();
        (expected.display_manager, expected.command) = (Some(display_manager.into()), None);
        guest.state().sessions.clear();
        guest.state().processes.clear();
        guest.state().end = WaitEnd::Idle;
        guest.seen.manager = None;
        guest.seen.journal.push(line(
            "graphical-session.target",
            21_000_000,
            "Reached target graphical-session.target",
        ));
        guest.seen.journal.push(line("session-1.scope", 22_000_000, "[wlr] Failed to create renderer"));
        guest
    };
    let judged = of("lightdm").judged();
    assert!(judged.values().all(|(status, _)| *status == Status::Skip), "{judged:#?}");
    of("gdm").fails("session", "there is no session of alice: [wlr] Failed to create renderer");
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
fn what_a_session_starts_in_vain_is_told() {
    let said = |unit: &str, words: &str| {
        let mut guest = guest();
        guest.seen.journal.push(line(unit, 21_000_000, words));
        guest
    };
    for words in [
        "sh: line 1: waybar: command not found",
        "/bin/sh: 1: waybar: not found",
        "WARN niri::utils::spawning: error spawning \"waybar\": Os { code: 2, kind: NotFound, message: \"No such file or directory\" }",
    ] {
        let summary = format!("the session starts a program that is not installed: {words}");
        said("session-1.scope", words).is("compositor", Status::Warn, &summary);
        // A unit's own script is the unit's affair.
        said("backup.service", words).is("compositor", Status::Pass, "");
    }
    let layout = "xkbcommon: ERROR: [XKB-338] Couldn't find file \"symbols/usx\" in include paths";
    said("session-1.scope", layout).is("compositor", Status::Warn, "sway rejects part of its configuration: xkbcommon");
}

#[test]
fn without_any_driver_a_gpu_is_no_help() {
    // hardware.graphics.enable = false;
    let words = "MESA-LOADER: failed to open dri: /run/opengl-driver/lib/gbm/dri_gbm.so: cannot open shared object file: \
        No such file or directory (search paths /run/opengl-driver/lib/gbm, suffix _gbm)";
    let mut draws = guest();
    draws.seen.journal.push(line("session-1.scope", 22_000_000, words));
    draws.is("compositor", Status::Warn, "a graphics driver cannot be loaded while sway runs: MESA-LOADER");
    let mut aborts = guest();
    aborts.state().sessions.clear();
    aborts.state().processes.clear();
    aborts.state().end = WaitEnd::Idle;
    aborts.seen.manager = None;
    aborts.seen.journal.push(line("session-1.scope", 22_000_000, words));
    aborts.seen.journal.push(line("session-1.scope", 22_000_001, "CRIT ]: CBackend::create() failed!"));
    aborts.seen.journal.push(line("", 22_000_002, "Process 801 (Hyprland) of user 1000 dumped core. (SIGABRT)"));
    aborts.fails("compositor", "Hyprland crashed once (SIGABRT): MESA-LOADER: failed to open dri");
}

#[test]
fn no_window_shows_while_the_screen_is_locked() {
    // exec swaylock, after an automatic login.
    let locked = |program: &str| {
        let mut guest = guest();
        guest.seen.reactions = vec![InputReaction { input: InputDevice::Pointer, ..InputReaction::default() }];
        guest.seen.window = Some(TestWindow { program: "foot".into(), seconds: 50.0, ..TestWindow::default() });
        let locker = DesktopProcess { pid: 900, name: program.into(), uid: 1000, ..DesktopProcess::default() };
        guest.state().processes.push(locker);
        guest
    };
    locked("swaylock").is("picture", Status::Skip, "not tested: swaylock locks the screen");
    let mut white = locked("swaylock");
    white.state().picture = Some(picture(|_, _| [255, 255, 255]));
    white.is("picture", Status::Skip, "swaylock");
    // It is there all the time, locked or not; another user's locks nothing.
    locked("xscreensaver").fails("picture", "no window of foot appears");
    let mut other = locked("swaylock");
    other.state().processes[1].uid = 1001;
    other.fails("picture", "no window of foot appears");
    let mut opened = locked("swaylock");
    opened.seen.window = Some(TestWindow { appeared: true, seconds: 2.0, ..opened.seen.window.clone().unwrap() });
    opened.is("picture", Status::Pass, "a window of foot opens");
}

#[test]
fn where_no_seatd_runs_is_no_reason() {
    let seatd =
        "[libseat] [libseat/backend/seatd.c:64] Could not connect to socket /run/seatd.sock: No such file or directory";
    let cause = "[ERROR] [sway/main.c:300] XDG_RUNTIME_DIR is not set in the environment: unable to start. Aborting.";
    let mut ended = guest();
    ended.state().sessions.clear();
    ended.state().processes.clear();
    ended.state().end = WaitEnd::Idle;
    ended.seen.manager = None;
    for (n, words) in [(0, seatd), (1, cause)] {
        ended.seen.journal.push(line("session-1.scope", 22_000_000 + n, words));
    }
    ended.seen.journal.push(line("systemd-logind.service", 22_100_000, "Removed session 1."));
    ended.fails("session", "XDG_RUNTIME_DIR is not set in the environment");
}
