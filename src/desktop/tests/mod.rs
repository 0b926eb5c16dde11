//! Each rule breaks on facts made for it, and each trap passes.

mod compositor;
mod greeter;
mod session;
mod user_units;

use std::collections::BTreeMap;

use super::expected::{failed_display_manager, missing_user};
use super::facts::{
    DesktopFacts, DesktopProcess, DesktopState, InputDevice, InputReaction, LoginMethod, TestWindow, WaitEnd,
};
use super::journal::explains_missing_session;
use super::unit_restarts::restart_stage;
use crate::checks::{self, Observations};
use crate::config::Settings;
use crate::guest::facts::{Account, Facts, JournalLine, Manager, Service, Unit};
use crate::guest::logind::Session;
use crate::guest::user_units::{PortalProbe, UserManager};
use crate::judging::{self, Context, Judgement, Selection};
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
struct DesktopCase {
    expectations: Expectations,
    facts: Facts,
    seen: DesktopFacts,
}

fn guest() -> DesktopCase {
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
        portal: Some(PortalProbe { known: true, answered: true, seconds: 1.0, ..PortalProbe::default() }),
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
    DesktopCase { expectations, facts, seen }
}

impl DesktopCase {
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
        let plan = judging::plan(&self.expectations, &Settings::default(), &Selection::default());
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
        let plan = judging::plan(&self.expectations, &Settings::default(), &Selection::default());
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
