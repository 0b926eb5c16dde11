//! The session in which sound is tested, opened and closed.
//!
//! Everything is asked as the user whose session it is: root's sound is no user's.

use std::time::Duration;

use tokio::time::Instant;

use super::facts::AudioSessionKind;
use crate::guest::facts::Account;
use crate::guest::logind::{Logind, Session, free_terminal};
use crate::guest::shell::{Output, Script};
use crate::guest::{Error, Guest};
use crate::model::SESSION_UNIT;
use crate::model::timeouts::audio::SESSION_INTERVAL;
use crate::text::{bounded, quoted};

/// Most bytes of what a script prints: a server's description, a recording.
const OUTPUT: usize = 8 << 20;

/// A session in which sound is tested. What was made for it has to be undone by [`AudioSession::close`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AudioSession {
    /// The user.
    pub(super) user: String,
    /// The user's number.
    pub(super) uid: u32,
    /// The user's primary group.
    pub(super) gid: u32,
    /// How it came to be.
    pub(super) kind: AudioSessionKind,
    /// As [`AudioFacts::off_seat`](super::facts::AudioFacts::off_seat).
    pub(super) off_seat: Option<String>,
}

impl AudioSession {
    /// A session of this user: the one at the seat, else one that is opened on a virtual terminal, else the user's
    /// manager alone.
    ///
    /// # Errors
    /// The guest could not be asked, or nothing of that could be had within `patience`.
    pub(super) async fn open(guest: &Guest, user: &Account, patience: Duration) -> Result<Self, Error> {
        let session = |kind| Self { user: user.name.clone(), uid: user.uid, gid: user.gid, kind, off_seat: None };
        let deadline = Instant::now() + patience;
        let mut logind = guest.logind(patience).await?;
        let sessions = logind.sessions().await?;
        if at_seat(&sessions, user.uid).is_some_and(|session| session.active) {
            // Should it not answer, nothing is excused by it.
            let main = logind.display(user.uid).await.unwrap_or_default();
            let main = sessions.into_iter().find(|session| session.id == main && !session.is_seated());
            return Ok(Self { off_seat: main.map(|session| session.tty), ..session(AudioSessionKind::Own) });
        }
        if root(guest, login_script(&user.name, free_terminal(&sessions)), patience).await?.exit == 0 {
            if activated(&mut logind, user.uid, deadline).await? {
                return Ok(session(AudioSessionKind::Made));
            }
            end_made(guest, patience).await;
        }
        let linger =
            format!("loginctl enable-linger {} && systemctl start user@{}.service", quoted(&user.name), user.uid);
        let output = root(guest, linger, patience).await?;
        if output.exit == 0 {
            return Ok(session(AudioSessionKind::Lingering));
        }
        let why = bounded(String::from_utf8_lossy(&output.stderr).trim(), 300);
        Err(Error::Deadline(format!("no session for {}: {why}", user.name)))
    }

    /// Undoes what [`AudioSession::open`] made. `lingers`: whether the user does so by the configuration.
    pub(super) async fn close(&self, guest: &Guest, lingers: bool, patience: Duration) {
        match self.kind {
            AudioSessionKind::Own => {}
            AudioSessionKind::Made => end_made(guest, patience).await,
            AudioSessionKind::Lingering if lingers => {}
            AudioSessionKind::Lingering => {
                // The machine is thrown away in any case.
                drop(root(guest, format!("loginctl disable-linger {}", quoted(&self.user)), patience).await);
            }
        }
    }

    /// Runs a script as the user.
    ///
    /// # Errors
    /// The guest could not be asked.
    pub(super) async fn run(&self, guest: &Guest, text: &str, deadline: Duration) -> Result<Output, Error> {
        self.run_with(guest, text, Vec::new(), deadline).await
    }

    /// Runs a script as the user, which reads `stdin`.
    ///
    /// # Errors
    /// The guest could not be asked.
    pub(super) async fn run_with(
        &self,
        guest: &Guest,
        text: &str,
        stdin: Vec<u8>,
        deadline: Duration,
    ) -> Result<Output, Error> {
        let mut script = Script::new(text);
        (script.user, script.stdin) = (Some(self.user.clone()), stdin);
        (script.deadline, script.limit) = (deadline, OUTPUT);
        guest.shell().run(script).await
    }
}

async fn root(guest: &Guest, text: String, deadline: Duration) -> Result<Output, Error> {
    let mut script = Script::new(text);
    script.deadline = deadline;
    guest.shell().run(script).await
}

/// Starts what the user would have after a login at a console: PAM opens the session, logind gives the devices. No
/// password is asked for, as root starts it.
fn login_script(user: &str, vt: u32) -> String {
    format!(
        "[ -e /dev/tty{vt} ] && systemd-run --quiet --collect --unit={SESSION_UNIT} -p User={user} -p PAMName=login \
         -p TTYPath=/dev/tty{vt} -p StandardInput=tty-fail -p StandardOutput=journal -p StandardError=journal \
         -p TTYReset=yes -p TTYVTDisallocate=yes -p WorkingDirectory=~ --setenv=XDG_SESSION_CLASS=user \
         \"$(command -v sleep)\" infinity",
        user = quoted(user)
    )
}

async fn end_made(guest: &Guest, patience: Duration) {
    drop(root(guest, format!("systemctl stop {SESSION_UNIT}.service"), patience).await);
}

/// The user's own session at the seat.
fn at_seat(sessions: &[Session], uid: u32) -> Option<&Session> {
    let own = sessions.iter().filter(|session| session.uid == uid && session.is_seated() && session.class == "user");
    own.max_by_key(|session| session.active)
}

/// Waits until the seat shows the user's session.
async fn activated(logind: &mut Logind, uid: u32, deadline: Instant) -> Result<bool, Error> {
    loop {
        let sessions = logind.sessions().await?;
        let session = at_seat(&sessions, uid);
        let observation =
            SeatObservation { active: session.map(|session| session.active), timed_out: Instant::now() >= deadline };
        match decide(&observation) {
            SeatStep::Use => return Ok(true),
            SeatStep::GiveUp => return Ok(false),
            SeatStep::Wait => {}
            SeatStep::Activate => {
                if let Some(session) = session {
                    logind.activate(&session.id).await?;
                }
            }
        }
        logind.changed(SESSION_INTERVAL).await;
    }
}

/// What is known of a session that is being opened.
struct SeatObservation {
    /// Whether the seat shows it; `None`: logind does not have it yet.
    active: Option<bool>,
    timed_out: bool,
}

/// What is done about it.
#[derive(Debug, PartialEq, Eq)]
enum SeatStep {
    /// Test sound in it.
    Use,
    /// Have the seat show it.
    Activate,
    Wait,
    GiveUp,
}

fn decide(observation: &SeatObservation) -> SeatStep {
    match observation {
        SeatObservation { active: Some(true), .. } => SeatStep::Use,
        SeatObservation { timed_out: true, .. } => SeatStep::GiveUp,
        SeatObservation { active: Some(false), .. } => SeatStep::Activate,
        SeatObservation { active: None, .. } => SeatStep::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_taken_that_the_desktop_left() {
        let on = |vts: &[u32]| {
            let sessions: Vec<_> = vts.iter().map(|vt| Session { vt: *vt, ..Session::default() }).collect();
            free_terminal(&sessions)
        };
        assert_eq!((on(&[]), on(&[0, 1, 7]), on(&[1, 8])), (8, 8, 9));
        assert_eq!(on(&[8, 9, 10, 11, 12]), 8);
        assert!(login_script("alice", 9).contains("-p TTYPath=/dev/tty9 "));
    }

    #[test]
    fn a_session_is_used_when_the_seat_shows_it() {
        let table = [
            (None, false, SeatStep::Wait),
            (None, true, SeatStep::GiveUp),
            (Some(false), false, SeatStep::Activate),
            (Some(false), true, SeatStep::GiveUp),
            (Some(true), false, SeatStep::Use),
            (Some(true), true, SeatStep::Use),
        ];
        for (active, timed_out, step) in table {
            assert_eq!(decide(&SeatObservation { active, timed_out }), step, "{active:?} {timed_out}");
        }
    }
}
