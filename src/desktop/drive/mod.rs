//! Driving the desktop of a guest: its screen is recorded from the start, the login screen is waited for, a user is
//! logged in where the configuration does not do it, and the session is probed and used.
//!
//! Nothing here judges: [`super::wait`] decides when a wait ends, [`mod@super::judge`] what all that means.

mod input;
mod login;
mod recorder;
mod user_manager;
mod waiting;
mod window;

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, timeout};

pub(crate) use recorder::ScreenRecorder;
pub(crate) use user_manager::probe_lingering;

use super::display_managers;
use super::display_server::display_server;
use super::expected::{autologin_user, missing_user};
use super::facts::{DesktopFacts, DesktopState, LoginMethod, WaitEnd};
use super::{journal, probe};
use crate::artifacts::Artifacts;
use crate::event::Events;
use crate::guest::Guest;
use crate::guest::facts::{Account, Facts};
use crate::idle::IdleDetector;
use crate::judging::journal::Means as _;
use crate::machine::Screen;
use crate::model::artifact;
use crate::model::timeouts::desktop::{
    FAST_INTERVAL, PORTAL_LIMIT, QUIET, SESSION_LIMIT, SESSIONS_INTERVAL, SLOW_INTERVAL,
};
use crate::nix::expectations::{Expectations, ExpectedDesktop};
use waiting::WaitGoal;

/// What changes less than this share of the screen does not count as moving: a clock, a cursor that blinks.
const STILL_SHARE: f64 = 0.003;
/// Most terminals whose text is read.
const TERMINALS: usize = 4;

/// Drives a guest's desktop.
pub(crate) struct DesktopDriver<'a> {
    pub(crate) guest: &'a Guest,
    pub(crate) expectations: &'a Expectations,
    pub(crate) desktop: &'a ExpectedDesktop,
    /// The guest as it was after the boot.
    pub(crate) facts: &'a Facts,
    pub(crate) recorder: &'a ScreenRecorder,
    pub(crate) screen: Screen,
    /// How long the guest may take for one answer.
    pub(crate) patience: Duration,
    /// What deadlines are multiplied by.
    pub(crate) scale: f64,
    pub(crate) events: &'a Events,
    pub(crate) artifacts: Option<&'a Artifacts>,
    /// A user is at the machine (`demo`): nixbox logs in no user, does not move the pointer and types nothing.
    pub(crate) attended: bool,
}

impl DesktopDriver<'_> {
    /// Probes the desktop; also returns since when the screen has shown the session's steady picture, where it did.
    /// Nothing fails: what could not be gathered is in [`DesktopFacts::gaps`].
    pub(crate) async fn probe(&self) -> (DesktopFacts, Option<Instant>) {
        let mut facts = DesktopFacts::default();
        if self.facts.gaps.contains_key("accounts") {
            return (facts, None);
        }
        match autologin_user(self.expectations) {
            Some(name) => self.await_autologin(name, &mut facts).await,
            None => self.log_in_after_greeter(&mut facts).await,
        }
        let painted = self.probe_session(&mut facts).await;
        self.read_journals(&mut facts).await;
        match probe::lockers(self.guest, self.patience).await {
            Ok((lockers, services)) => (facts.lockers, facts.pam_services) = (lockers, services),
            Err(error) => drop(facts.gaps.insert("lockers".to_owned(), error.to_string())),
        }
        if let Some(account) = self.ended_without_reason(&facts)
            && let Some(state) = &facts.session
        {
            facts.rerun_output = self.rerun_session(account, state).await;
        }
        self.read_cards(&mut facts).await;
        (facts, painted)
    }

    /// Only the journals, where there is no desktop to probe.
    pub(crate) async fn probe_journals(&self) -> DesktopFacts {
        let mut facts = DesktopFacts::default();
        self.read_journals(&mut facts).await;
        self.read_cards(&mut facts).await;
        facts
    }

    fn scaled(&self, time: Duration) -> Duration {
        time.mul_f64(self.scale)
    }

    fn account(&self, name: &str) -> Option<&Account> {
        self.facts.accounts.iter().find(|account| account.name == name)
    }

    async fn await_autologin(&self, name: &str, facts: &mut DesktopFacts) {
        facts.user = Some(name.to_owned());
        let goal = match self.account(name) {
            Some(account) => WaitGoal::Session(account),
            None => {
                facts.login = LoginMethod::NotLoggedIn(missing_user(name));
                // What is shown instead.
                WaitGoal::Greeter
            }
        };
        if let WaitGoal::Session(_) = goal {
            self.events.doing(format!("waiting for the session of {name}"));
        }
        facts.session = Some(self.wait(goal, &mut facts.gaps).await);
    }

    async fn log_in_after_greeter(&self, facts: &mut DesktopFacts) {
        let earlier = match self.user_to_log_in().filter(|_| !self.attended) {
            Some(account) => self.session_of_before(account).await,
            None => None,
        };
        if self.desktop.display_manager.is_some() {
            self.events.doing("waiting for the login screen");
            facts.greeter = Some(self.wait(WaitGoal::Greeter, &mut facts.gaps).await);
            self.keep_screen(artifact::GREETER);
        }
        let not_logged_in = |why: &str| LoginMethod::NotLoggedIn(why.to_owned());
        if self.attended {
            facts.login = not_logged_in("the user in front of it logs in");
            return;
        }
        // It takes the screen again and again, whatever else is shown there.
        if facts.greeter.as_ref().is_some_and(|state| state.end == WaitEnd::Loop) {
            facts.login = not_logged_in("the login screen keeps restarting");
            return;
        }
        if let Some(account) = self.starts_by_itself().await {
            facts.login = LoginMethod::Autologin;
            facts.user = Some(account.name.clone());
            self.events.doing(format!("waiting for the session of {}", account.name));
            facts.session = Some(self.wait(WaitGoal::Session(account), &mut facts.gaps).await);
            return;
        }
        let Some(account) = self.user_to_log_in() else {
            facts.login = not_logged_in("no user of the configuration could be logged in");
            return;
        };
        facts.user = Some(account.name.clone());
        self.events.doing(format!("logging in as {}", account.name));
        let login = match earlier {
            Some(session) => Ok(self.shown_again(account, session).await),
            None => self.log_in(account, facts.greeter.as_ref()).await,
        };
        match login {
            Err(why) => facts.login = LoginMethod::NotLoggedIn(why),
            Ok(login) => {
                facts.login = login;
                self.events.doing(format!("waiting for the session of {}", account.name));
                facts.session = Some(self.wait(WaitGoal::Session(account), &mut facts.gaps).await);
            }
        }
    }

    /// The user whom the configuration logs in on a console, where the login shell starts the desktop there: a second one
    /// would take the seat from it. Known as soon as there is a display, or the guest is idle.
    async fn starts_by_itself(&self) -> Option<&Account> {
        let is_meant = self.desktop.display_manager.is_none() && !self.attended;
        let account = self.account(self.expectations.autologin_user.as_deref().filter(|_| is_meant)?)?;
        self.events.doing(format!("waiting for what the login shell of {} starts", account.name));
        let deadline = Instant::now() + self.scaled(SESSION_LIMIT);
        let mut frames = self.recorder.frames();
        let mut idle = IdleDetector::probed();
        while Instant::now() < deadline {
            let idle_for = idle.observe(self.guest.cpu_time(self.patience).await.ok());
            let processes = probe::processes(self.guest, self.patience).await;
            if processes.is_ok_and(|read| display_server(&read.processes, account.uid).is_some()) {
                return Some(account);
            }
            if idle_for >= QUIET {
                return None;
            }
            // Our own question is not the guest's work.
            idle.skip(self.guest.cpu_time(self.patience).await.ok());
            let _paced = timeout(SESSIONS_INTERVAL, frames.changed()).await;
        }
        None
    }

    /// The user who is logged in where the configuration logs in nobody: the first normal one with a shell.
    fn user_to_log_in(&self) -> Option<&Account> {
        let is_normal = |account: &&Account| {
            self.expectations.users.get(&account.name).is_some_and(|user| user.normal) && account.shell_works
        };
        self.facts.accounts.iter().filter(is_normal).min_by_key(|account| account.uid)
    }

    /// Keeps the screen as it is.
    fn keep_screen(&self, name: &str) {
        if let (Some(artifacts), Some(frame)) = (self.artifacts, self.recorder.last())
            && let Err(error) = artifacts.keep(name, &frame.png)
        {
            self.events.note(format!("{name} was not kept: {error}"));
        }
    }

    /// Probes and uses the session; returns since when its picture has been steady.
    async fn probe_session(&self, facts: &mut DesktopFacts) -> Option<Instant> {
        let session = facts.session.clone()?;
        let is_steady = session.end == WaitEnd::Steady;
        let still = Duration::from_secs_f64(session.still);
        let painted = if is_steady { Instant::now().checked_sub(still) } else { None };
        self.keep_screen(artifact::SESSION);
        let account = facts.user.as_deref().and_then(|name| self.account(name));
        if let Some(account) = account {
            self.use_session(account, &session, facts).await;
            // A compositor that did not react may have died or been stopped by now.
            if facts.window.as_ref().is_some_and(|window| !window.appeared)
                && let Ok(read) = probe::processes(self.guest, self.patience).await
                && let Some(state) = &mut facts.session
            {
                state.processes = read.processes;
            }
        }
        painted
    }

    /// Everything that is asked of a session and done to it.
    async fn use_session(&self, account: &Account, session: &DesktopState, facts: &mut DesktopFacts) {
        self.events.doing(format!("probing the session of {}", account.name));
        let ids = (account.uid, account.gid);
        let server = display_server(&session.processes, account.uid).filter(|process| !process.is_stopped());
        let portal = async {
            // Portals need the display; without one the answer takes long.
            if !self.desktop.portal || server.is_none() {
                return None;
            }
            Some(self.guest.ask_portal(ids, self.patience, self.scaled(PORTAL_LIMIT)).await)
        };
        let input = async {
            match server {
                Some(server) if !self.attended => self.try_input(account, session, server).await,
                _ => (Vec::new(), None),
            }
        };
        // The portal takes longest: it is asked first, and the rest is done meanwhile.
        let manager = user_manager::read_expected(self.guest, self.expectations, account, self.patience);
        let (portal, (reactions, window), manager) = tokio::join!(portal, input, manager);
        (facts.reactions, facts.window) = (reactions, window);
        match manager {
            Ok(manager) => facts.manager = Some(manager.settled().await),
            Err(error) => drop(facts.gaps.insert("user-units".to_owned(), error.to_string())),
        }
        match portal {
            Some(Ok(portal)) => facts.portal = Some(portal),
            Some(Err(error)) => drop(facts.gaps.insert("session-bus".to_owned(), error.to_string())),
            None => {}
        }
    }

    /// The user of an automatic login whose session ended, where nothing that was read tells why: it may have gone to
    /// `/dev/null`.
    fn ended_without_reason(&self, facts: &DesktopFacts) -> Option<&Account> {
        let state = facts.session.as_ref().filter(|_| facts.login == LoginMethod::Autologin && !self.attended)?;
        let account = self.account(facts.user.as_deref()?)?;
        let has_session = state.sessions.iter().any(|session| session.is_seated() && session.uid == account.uid);
        let is_over = matches!(state.end, WaitEnd::Idle | WaitEnd::Loop) && !has_session;
        (is_over && !journal::explains_missing_session(&facts.journal)).then_some(account)
    }

    /// The graphics cards, where a compositor could not open one.
    async fn read_cards(&self, facts: &mut DesktopFacts) {
        if !facts.lines().any(|line| journal::Meaning::CardNotOpened.is_in(line)) {
            return;
        }
        match probe::cards(self.guest, self.patience).await {
            Ok(cards) => facts.cards = cards,
            Err(error) => drop(facts.gaps.insert("cards".to_owned(), error.to_string())),
        }
    }

    /// The journal, and the text on the terminals.
    async fn read_journals(&self, facts: &mut DesktopFacts) {
        let states: Vec<&DesktopState> = facts.greeter.iter().chain(&facts.session).collect();
        let seated = || states.iter().flat_map(|state| &state.sessions).filter(|session| session.is_seated());
        let mut uids: BTreeSet<u32> = seated().map(|session| session.uid).filter(|uid| *uid != 0).collect();
        uids.extend(facts.user.as_deref().and_then(|name| self.account(name)).map(|account| account.uid));
        uids.extend(display_managers::greeter_users().filter_map(|name| Some(self.account(name)?.uid)));
        let mut vts: BTreeSet<u32> = seated().map(|session| session.vt).collect();
        vts.extend(states.iter().map(|state| state.vt));
        if states.is_empty() {
            vts.insert(1);
        }
        match probe::journal(self.guest, &uids, self.patience).await {
            Ok(lines) => facts.journal = lines,
            Err(error) => drop(facts.gaps.insert("desktop-journal".to_owned(), error.to_string())),
        }
        for vt in vts.into_iter().filter(|vt| *vt > 0).take(TERMINALS) {
            if let Ok(lines) = probe::terminal_text(self.guest, vt, self.patience).await
                && !lines.is_empty()
            {
                facts.terminals.insert(vt, lines);
            }
        }
    }
}
