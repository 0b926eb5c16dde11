//! The login screen.

use super::*;

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

    // Of a driver that cannot be loaded, with a GPU or without.
    let mut broken = greeter(words);
    let driver = "libEGL fatal: DRI driver not from this Mesa build ('24.0.3' vs '23.3.5')";
    broken.seen.journal.push(line("session-c1.scope", 13_400_000, driver));
    broken.is("greeter", Status::Fail, "exited 3 times without a login: libEGL fatal: DRI driver not from this Mesa");
    assert_ne!(broken.restart_loop(), Status::Pass);
    broken.facts.units[0].active_state = "failed".into();
    broken.facts.units[0].result = "start-limit-hit".into();
    broken.seen.greeter = None;
    assert_eq!(broken.failed_units(), Status::Fail);
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
fn a_login_screen_on_another_display_server() {
    let on = |process: DesktopProcess, wayland: Option<bool>| {
        let mut guest = guest().at_greeter();
        guest.expected().greeter_on_wayland = wayland;
        guest.greeter().processes = vec![DesktopProcess { uid: 990, ..process }];
        guest
    };
    let x = || DesktopProcess { name: "X".into(), serves: vec!["/tmp/.X11-unix/X0".into()], ..sway() };
    on(x(), Some(true)).is("greeter", Status::Warn, "shows its login screen on an X server (X), expected: Wayland");
    for healthy in [on(x(), None), on(x(), Some(false)), on(sway(), Some(true))] {
        healthy.is("greeter", Status::Pass, "shows a login screen");
    }
    // Neither what serves X programs beside a Wayland display, nor what it starts for them.
    assert!(x().is_x_server() && !sway().is_x_server());
    assert!(!DesktopProcess { name: "Xwayland".into(), ..x() }.is_x_server());
}

#[test]
fn what_follows_from_an_error_is_no_cause() {
    // NixOS/nixpkgs#463561
    let follows = "GLib-GObject: g_object_set: assertion 'G_IS_OBJECT (object)' failed";
    let mut gdm = guest().at_greeter();
    gdm.greeter().sessions.clear();
    gdm.greeter().end = WaitEnd::Idle;
    gdm.seen.journal.push(line("display-manager.service", 19_000_001, follows));
    gdm.fails("greeter", "there is no login screen: GLib-GObject: g_object_set: assertion");
    let cause = "Gdm: GdmLaunchEnvironment: Failed to set owner of /var/empty: Operation not permitted";
    gdm.seen.journal.insert(1, line("display-manager.service", 19_000_000, cause));
    gdm.fails("greeter", "there is no login screen: Gdm: GdmLaunchEnvironment: Failed to set owner of /var/empty");
    // It names what is missing, though another error comes after it.
    gdm.seen.journal.push(line("display-manager.service", 19_000_002, "Gdm: error: the display has failed"));
    gdm.fails("greeter", "Failed to set owner of /var/empty: Operation not permitted");
}

#[test]
fn what_is_said_elsewhere_is_no_reason() {
    let said =
        |guest: &mut DesktopCase, unit: &str, at: u64, words: &str| guest.seen.journal.push(line(unit, at, words));
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
    thrown.fails("session", "ended after 0.4 s: niri-session: not found");
}

#[test]
fn a_display_manager_that_failed_is_told_as_a_unit() {
    let mut guest = guest().at_greeter();
    guest.facts.units[0].active_state = "failed".into();
    let judged = guest.judged();
    let told = |(status, why): &(Status, String)| *status == Status::Skip && why == "greetd.service failed";
    assert!(judged.values().all(told), "{judged:#?}");
    let plan = judging::plan(&guest.expectations, &Settings::default(), &Selection::default());
    assert_eq!(failed_display_manager(&plan, &guest.facts), Some("greetd.service"));
    guest.facts.units[0].active_state = "active".into();
    assert_eq!(failed_display_manager(&plan, &guest.facts), None);
}
