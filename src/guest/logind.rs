//! Sessions and seats, as logind tells them (org.freedesktop.login1(5)).

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use zbus::message::Type;
use zbus::{MatchRule, MessageStream};

use super::bus::{Bus, Which, properties};
use super::proxies::{LogindProxy, SessionProxy, UserProxy};
use super::{Error, Guest};
use crate::model::timeouts::guest::LOGIND_CALL_LIMIT;
use crate::text::bounded;

/// Most sessions that are read.
const MOST: usize = 64;

/// A session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// `Id`, such as `c1` or `2`.
    pub id: String,
    /// The user's number.
    pub uid: u32,
    /// The user's name.
    pub user: String,
    /// `Class`: `user`, `greeter`, `manager`, `user-early`, `background`, `lock-screen`, …
    pub class: String,
    /// `Type`: `wayland`, `x11`, `tty`, `mir`, `unspecified`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `Desktop`, as the session's environment named it; often empty.
    pub desktop: String,
    /// `seat0`, or empty.
    pub seat: String,
    /// The virtual terminal, 0 for none.
    pub vt: u32,
    /// `TTY`: `tty1`, `ttyS0`, or empty.
    pub tty: String,
    /// `State`: `opening`, `online`, `active`, `closing`.
    pub state: String,
    /// Whether it is the one that its seat shows.
    pub active: bool,
    /// The process that registered it.
    pub leader: u32,
    /// The PAM service that made it: `greetd`, `gdm-autologin`, `login`, …
    pub service: String,
    /// Its scope unit, such as `session-2.scope`.
    pub scope: String,
    /// When it began.
    pub since_us: u64,
}

/// The first virtual terminal that is nobody's: display managers and gettys use seven.
pub const FIRST_VT: u32 = 8;

/// A virtual terminal that none of these sessions has.
pub fn free_terminal<'a>(sessions: impl IntoIterator<Item = &'a Session>) -> u32 {
    let vts: BTreeSet<u32> = sessions.into_iter().map(|session| session.vt).collect();
    (FIRST_VT..=12).find(|vt| !vts.contains(vt)).unwrap_or(FIRST_VT)
}

impl Session {
    /// Whether it is one that a seat shows: managers and logins over the network or a serial line are none.
    pub fn is_seated(&self) -> bool {
        !self.seat.is_empty() && !self.class.starts_with("manager")
    }

    /// A greeter's.
    pub fn is_greeter(&self) -> bool {
        self.class == "greeter"
    }
}

/// A connection to logind.
#[derive(Debug)]
pub struct Logind {
    bus: Bus,
    manager: LogindProxy<'static>,
    /// How often it told of a change.
    told: watch::Receiver<u64>,
    /// Keeps reading even without a listener: a stream that is not read holds up the answers of its connection.
    _reader: JoinSet<()>,
}

impl Guest {
    /// Connects to logind, and hears of its changes from then on.
    ///
    /// # Errors
    /// The system bus or logind does not answer within `patience`.
    pub async fn logind(&self, patience: Duration) -> Result<Logind, Error> {
        let bus = self.bus(Which::System, patience).await?.with_patience(patience.min(LOGIND_CALL_LIMIT));
        let manager = LogindProxy::new(&bus.connection).await?;
        let rule = MatchRule::builder().msg_type(Type::Signal).sender(manager.inner().destination())?.build();
        let signals = MessageStream::for_match_rule(rule, &bus.connection, None);
        let mut signals = bus.within("AddMatch", signals).await?;
        let (tell, told) = watch::channel(0);
        let mut reader = JoinSet::new();
        reader.spawn(async move {
            while let Some(Ok(_)) = signals.next().await {
                tell.send_modify(|times| *times += 1);
            }
        });
        Ok(Logind { bus, manager, told, _reader: reader })
    }
}

impl Logind {
    /// Waits until logind tells of a change, at most `limit`. Cancelling it loses nothing.
    pub async fn changed(&mut self, limit: Duration) {
        if let Ok(Err(_)) = timeout(limit, self.told.changed()).await {
            // Its connection is gone, which the next question tells.
            sleep(limit).await;
        }
    }

    /// All sessions, those that end while they are read left out.
    ///
    /// # Errors
    /// logind does not answer.
    pub async fn sessions(&self) -> Result<Vec<Session>, Error> {
        let lines = self.bus.within("ListSessions", self.manager.list_sessions()).await?;
        let read = lines.into_iter().take(MOST).map(|(id, uid, user, seat, path)| async move {
            let session: SessionProxy<'_> = self.bus.proxy(path).await?;
            let read = properties!(self.bus, session => Session {
                class, kind, desktop, vt, tty, state, active, leader, service, scope, since_us
            });
            let read = read.await?;
            Ok::<_, Error>((!read.class.is_empty()).then(|| Session {
                id: bounded(&id, 64),
                uid,
                user: bounded(&user, 64),
                seat: bounded(&seat, 64),
                ..read
            }))
        });
        Ok(futures_util::future::try_join_all(read).await?.into_iter().flatten().collect())
    }

    /// The id of the session that stands for a user (`Display`), if any: what asks about the user instead of a session,
    /// as polkit does for what a user's manager runs, is answered for that one.
    ///
    /// # Errors
    /// logind does not answer, or the user is not logged in.
    pub async fn display(&self, uid: u32) -> Result<String, Error> {
        let user = self.bus.within("GetUser", self.manager.get_user(uid)).await?;
        let user: UserProxy<'_> = self.bus.proxy(user).await?;
        let (id, _) = self.bus.within("Get", user.display()).await?;
        Ok(bounded(&id, 64))
    }

    /// Has the seat show this session, as a person does with Ctrl-Alt-F1.
    ///
    /// # Errors
    /// logind refuses, or does not answer.
    pub async fn activate(&self, session: &str) -> Result<(), Error> {
        self.bus.within("ActivateSession", self.manager.activate_session(session)).await
    }
}
