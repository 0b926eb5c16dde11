//! The wait for a login screen or a session: gathers what [`crate::desktop::wait`] decides by, and obeys.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::DesktopDriver;
use super::recorder::ScreenFrame;
use crate::desktop::display_managers::{greets_without_session, has_text_greeter};
use crate::desktop::display_server::display_server;
use crate::desktop::facts::DesktopState;
use crate::desktop::probe;
use crate::desktop::wait::{Decision, Goal, Observation, PictureKind, WaitRules, decide};
use crate::guest::facts::Account;
use crate::guest::logind::Logind;
use crate::idle::IdleDetector;
use crate::model::timeouts::desktop::{SESSION_LIMIT, SESSIONS_INTERVAL};
use crate::signal::{PictureAnalysis, picture};

type Gaps = BTreeMap<String, String>;

/// What is waited for.
#[derive(Clone, Copy)]
pub(super) enum WaitGoal<'a> {
    /// The login screen.
    Greeter,
    /// This user's session.
    Session(&'a Account),
}

/// logind, as long as it answers.
#[derive(Default)]
struct SessionFollower {
    logind: Option<Logind>,
    asked: Option<Instant>,
    /// All sessions on a seat so far.
    known: BTreeSet<String>,
}

impl SessionFollower {
    /// Waits until a session or the screen changes, and reads the sessions where they may have.
    async fn follow(
        &mut self,
        driver: &DesktopDriver<'_>,
        frames: &mut watch::Receiver<Option<ScreenFrame>>,
        state: &mut DesktopState,
        gaps: &mut Gaps,
    ) {
        let may_have_changed = match &mut self.logind {
            Some(logind) => tokio::select! {
                () = logind.changed(SESSIONS_INTERVAL) => true,
                _ = frames.changed() => false,
            },
            None => {
                match driver.guest.logind(driver.patience).await {
                    Ok(logind) => self.logind = Some(logind),
                    Err(error) => {
                        gaps.insert("logind".to_owned(), error.to_string());
                        let _paced = timeout(SESSIONS_INTERVAL, frames.changed()).await;
                    }
                }
                true
            }
        };
        let is_due = may_have_changed || self.asked.is_none_or(|at| at.elapsed() > SESSIONS_INTERVAL);
        let Some(logind) = self.logind.as_ref().filter(|_| is_due) else { return };
        self.asked = Some(Instant::now());
        match logind.sessions().await {
            Ok(sessions) => {
                let seated = sessions.iter().filter(|session| session.is_seated());
                self.known.extend(seated.map(|session| session.id.clone()));
                state.sessions = sessions;
                gaps.remove("logind");
            }
            Err(error) => {
                gaps.insert("logind".to_owned(), error.to_string());
                self.logind = None;
            }
        }
    }

    /// How many sessions have ended.
    fn ended(&self, state: &DesktopState) -> usize {
        let there: BTreeSet<&String> = state.sessions.iter().map(|session| &session.id).collect();
        self.known.iter().filter(|id| !there.contains(id)).count()
    }
}

/// When processes were read.
struct ProcessReadings {
    last: Option<Instant>,
    pause: Duration,
}

impl ProcessReadings {
    fn are_due(&self) -> bool {
        self.last.is_none_or(|at| at.elapsed() > self.pause)
    }
}

impl DesktopDriver<'_> {
    /// Waits for the goal, or for the certainty that it will not come.
    pub(super) async fn wait(&self, goal: WaitGoal<'_>, gaps: &mut Gaps) -> DesktopState {
        let begun = Instant::now();
        // Without a system bus no session is known, nor comes: one look is all that is worth its time.
        let limit = if self.facts.has_system_bus() { self.scaled(SESSION_LIMIT) } else { Duration::ZERO };
        let deadline = begun + limit;
        let rules = WaitRules::new(self.goal(goal), self.scale);
        let mut frames = self.recorder.frames();
        let mut idle = IdleDetector::probed();
        let mut state = DesktopState::default();
        let mut sessions = SessionFollower::default();
        let mut readings = ProcessReadings { last: None, pause: SESSIONS_INTERVAL };
        let mut had_session = false;
        loop {
            sessions.follow(self, &mut frames, &mut state, gaps).await;
            let idle_for = idle.observe(self.guest.cpu_time(self.patience).await.ok());
            let still_for = self.recorder.still_for();
            state.picture = self.recorder.last().map(|frame| picture::analyse(&frame.picture));
            let is_late = Instant::now() >= deadline;
            let mut seen = Observation {
                idle_for,
                still_for,
                is_late,
                had_session,
                ended_sessions: sessions.ended(&state),
                processes_are_due: readings.are_due(),
                has_processes: readings.last.is_some(),
                ..observe(goal, &state, gaps)
            };
            had_session |= seen.has_session;
            let mut decision = decide(&rules, &seen);
            if decision == Decision::ReadProcesses {
                readings.pause = readings.pause * 3 / 2;
                self.read_processes(&mut state, gaps).await;
                readings.last = Some(Instant::now());
                // Our own question is not the guest's work.
                idle.skip(self.guest.cpu_time(self.patience).await.ok());
                let now = observe(goal, &state, gaps);
                seen.has_display = now.has_display;
                seen.is_stopped = now.is_stopped;
                seen.is_complete = now.is_complete;
                (seen.has_processes, seen.processes_are_new) = (true, true);
                decision = decide(&rules, &seen);
            }
            if let Some(end) = decision.end() {
                state.end = end;
                state.waited = begun.elapsed().as_secs_f64();
                state.still = still_for.as_secs_f64();
                return state;
            }
        }
    }

    fn goal(&self, goal: WaitGoal<'_>) -> Goal {
        match goal {
            WaitGoal::Session(_) => Goal::Session,
            WaitGoal::Greeter => Goal::Greeter {
                is_text: has_text_greeter(self.desktop),
                without_session: greets_without_session(self.desktop),
            },
        }
    }

    async fn read_processes(&self, state: &mut DesktopState, gaps: &mut Gaps) {
        match probe::processes(self.guest, self.patience).await {
            Ok(read) => {
                (state.vt, state.now_us, state.processes) = (read.vt, read.now_us, read.processes);
                gaps.remove("processes");
            }
            Err(error) => drop(gaps.insert("processes".to_owned(), error.to_string())),
        }
    }
}

/// What sessions, processes and picture show; the rest is not known here.
fn observe(goal: WaitGoal<'_>, state: &DesktopState, gaps: &Gaps) -> Observation {
    let mut seated = state.sessions.iter().filter(|session| session.is_seated());
    let has_greeter = seated.clone().any(|session| session.is_greeter());
    let has_session = match goal {
        WaitGoal::Greeter => has_greeter,
        WaitGoal::Session(account) => seated.any(|session| session.uid == account.uid),
    };
    let has_display = match goal {
        WaitGoal::Greeter => false,
        WaitGoal::Session(account) => display_server(&state.processes, account.uid).is_some(),
    };
    Observation {
        has_session,
        had_session: false,
        has_greeter,
        ended_sessions: 0,
        is_complete: !gaps.contains_key("logind") && !gaps.contains_key("processes"),
        has_processes: false,
        processes_are_new: false,
        processes_are_due: false,
        has_display,
        is_stopped: state.processes.iter().any(|process| process.has_card && process.is_stopped()),
        picture: state.picture.as_ref().map(kind_of),
        still_for: Duration::ZERO,
        idle_for: Duration::ZERO,
        is_late: false,
    }
}

fn kind_of(picture: &PictureAnalysis) -> PictureKind {
    if picture.is_console {
        PictureKind::Console
    } else if picture.is_flat {
        PictureKind::Flat
    } else {
        PictureKind::Painted
    }
}
