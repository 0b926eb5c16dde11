//! Sessions and seats, as logind tells them (org.freedesktop.login1(5)).

use std::time::Duration;

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use zbus::message::Type;
use zbus::zvariant::{OwnedObjectPath, Value};

use super::bus::{Bus, Properties, Which, get, string};
use super::{Error, Guest};
use crate::text::bounded;

const LOGIND: &str = "org.freedesktop.login1";
const ROOT: &str = "/org/freedesktop/login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";
const SESSION: &str = "org.freedesktop.login1.Session";
const USER: &str = "org.freedesktop.login1.User";
/// How long logind may take for one answer; it takes milliseconds.
const CALL: Duration = Duration::from_secs(20);
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
    /// How often it told of a change.
    told: watch::Receiver<u64>,
    /// Reads on, whoever listens: a stream that is not read holds up the answers of its connection.
    _reader: JoinSet<()>,
}

impl Guest {
    /// Connects to logind, and hears of its changes from then on.
    ///
    /// # Errors
    /// The system bus or logind does not answer within `patience`.
    pub async fn logind(&self, patience: Duration) -> Result<Logind, Error> {
        let bus = self.bus(Which::System, patience).await?.to(LOGIND).with_patience(patience.min(CALL));
        let mut signals = bus.signals("type='signal',sender='org.freedesktop.login1'").await?;
        let (tell, told) = watch::channel(0);
        let mut reader = JoinSet::new();
        reader.spawn(async move {
            while let Some(Ok(message)) = signals.next().await {
                // Answers come by here too.
                if message.message_type() == Type::Signal {
                    tell.send_modify(|times| *times += 1);
                }
            }
        });
        Ok(Logind { bus, told, _reader: reader })
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
        type Line = (String, u32, String, String, OwnedObjectPath);
        let lines: Vec<Line> = self.bus.call(ROOT, MANAGER, "ListSessions", &()).await?;
        let read = lines.into_iter().take(MOST).map(|(id, uid, user, seat, path)| async move {
            let properties = self.bus.some(path.as_str(), SESSION, &PROPERTIES).await?;
            let read = session(&properties);
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
        let user: OwnedObjectPath = self.bus.call(ROOT, MANAGER, "GetUser", &(uid)).await?;
        let display = self.bus.property(user.as_str(), USER, "Display").await?;
        let (id, _): (String, OwnedObjectPath) = display.try_into().unwrap_or_default();
        Ok(bounded(&id, 64))
    }

    /// Has the seat show this session, as a person does with Ctrl-Alt-F1.
    ///
    /// # Errors
    /// logind refuses, or does not answer.
    pub async fn activate(&self, session: &str) -> Result<(), Error> {
        self.bus.call(ROOT, MANAGER, "ActivateSession", &(session)).await
    }
}

const PROPERTIES: [&str; 12] = [
    "VTNr",
    "TTY",
    "Type",
    "Class",
    "Desktop",
    "Active",
    "State",
    "Leader",
    "Service",
    "Scope",
    "TimestampMonotonic",
    "Name",
];

fn session(properties: &Properties) -> Session {
    let text = |name: &str| bounded(&string(properties, name), 128);
    let active = matches!(properties.get("Active").map(|value| &**value), Some(Value::Bool(true)));
    Session {
        class: text("Class"),
        kind: text("Type"),
        desktop: text("Desktop"),
        vt: get(properties, "VTNr"),
        tty: text("TTY"),
        state: text("State"),
        active,
        leader: get(properties, "Leader"),
        service: text("Service"),
        scope: text("Scope"),
        since_us: get(properties, "TimestampMonotonic"),
        ..Session::default()
    }
}
