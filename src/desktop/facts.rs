//! What the desktop probe observed in the guest, as plain data: sessions, processes that have to do with the screen,
//! what programs wrote, and how the screen reacted. Gathered by [`super::drive`], judged by [`mod@super::judge`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::journal::first_line;
use crate::guest::facts::JournalLine;
use crate::guest::logind::Session;
use crate::guest::user_units::{PortalProbe, UserManager};
use crate::signal::PictureAnalysis;

/// What was observed of a desktop.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DesktopFacts {
    /// The login screen, where the configuration does not log in a user automatically.
    pub greeter: Option<DesktopState>,
    /// How the user was logged in.
    #[serde(rename = "way")]
    pub login: LoginMethod,
    /// The user whose session is probed.
    pub user: Option<String>,
    /// The session, when the wait for it ended.
    pub session: Option<DesktopState>,
    /// The user's systemd manager.
    pub manager: Option<UserManager>,
    /// The portal's answer, where a portal is expected.
    pub portal: Option<PortalProbe>,
    /// What logind, the display manager and the processes of the users concerned wrote, oldest first.
    pub journal: Vec<JournalLine>,
    /// The last lines of text on the virtual terminals, by number.
    pub terminals: BTreeMap<u32, Vec<String>>,
    /// The output of the session's command when it was run a second time, where the first had left no error.
    #[serde(rename = "said_again")]
    pub rerun_output: Vec<String>,
    /// The paths of the graphics cards, by each of their names: asked only where one could not be opened.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cards: Vec<String>,
    /// How the screen reacted to input.
    pub reactions: Vec<InputReaction>,
    /// A window that was opened.
    pub window: Option<TestWindow>,
    /// The paths of programs that lock the screen.
    pub lockers: Vec<String>,
    /// The PAM services that there are: the names in `/etc/pam.d`.
    pub pam_services: Vec<String>,
    /// What could not be gathered, and why.
    pub gaps: BTreeMap<String, String>,
}

impl DesktopFacts {
    /// The user who was logged in, by the configuration or by nixbox.
    pub fn logged_in(&self) -> Option<&str> {
        self.user.as_deref().filter(|_| !matches!(self.login, LoginMethod::NotLoggedIn(_)))
    }

    /// All lines of the journal and on the terminals, the newest last.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        let terminals = self.terminals.values().flatten().chain(&self.rerun_output).map(String::as_str);
        self.journal.iter().map(first_line).chain(terminals)
    }
}

/// How a user was logged in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoginMethod {
    /// By the configuration: automatic login.
    #[default]
    Autologin,
    /// By nixbox.
    LoggedIn {
        /// The session's file name without its ending.
        session: String,
        /// How, in words.
        how: String,
    },
    /// Not at all: why.
    #[serde(rename = "none")]
    NotLoggedIn(String),
}

/// Screen and sessions at the end of a wait.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DesktopState {
    /// Why the wait ended.
    pub end: WaitEnd,
    /// How long the wait was, in seconds.
    pub waited: f64,
    /// How long the screen had not changed by then, in seconds.
    pub still: f64,
    /// `CLOCK_MONOTONIC` in the guest, in µs.
    pub now_us: u64,
    /// The screen's picture; `None` where none could be taken.
    #[serde(rename = "look")]
    pub picture: Option<PictureAnalysis>,
    /// The active virtual terminal; 0 where there is none.
    pub vt: u32,
    /// logind's sessions.
    pub sessions: Vec<Session>,
    /// Processes that have to do with a screen, and all of normal users.
    pub processes: Vec<DesktopProcess>,
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaitEnd {
    /// What was waited for is there and the picture is steady.
    Steady,
    /// The guest is idle, and it is not there.
    Idle,
    /// Sessions end and begin again and again.
    Loop,
    /// The deadline passed while the guest was still busy.
    #[default]
    Deadline,
}

/// A process of a desktop.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DesktopProcess {
    /// Its process ID.
    pub pid: u32,
    /// Its parent's process ID.
    pub parent: u32,
    /// Its program, without NixOS's wrapping: `sway` for `.sway-wrapped`.
    pub name: String,
    /// `R`, `S`, `D`, `T`, `Z`, … (proc_pid_stat(5)).
    pub state: String,
    /// Its effective user ID.
    pub uid: u32,
    /// When it began, in µs of the guest's monotonic clock.
    pub since_us: u64,
    /// Its control group.
    pub cgroup: String,
    /// Its command line.
    pub command: String,
    /// It has a graphics card open.
    pub has_card: bool,
    /// It has an input device open.
    pub has_input: bool,
    /// Displays that it serves: `/run/user/1000/wayland-1`, `/tmp/.X11-unix/X0`.
    pub serves: Vec<String>,
    /// `DISPLAY`, `WAYLAND_DISPLAY`, `XAUTHORITY`, `XDG_CURRENT_DESKTOP` of its environment when it began.
    pub environment: Vec<String>,
}

impl DesktopProcess {
    /// A variable of its environment.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.iter().find_map(|text| text.strip_prefix(name)?.strip_prefix('='))
    }

    /// The name of the Wayland display that it serves: `wayland-1`.
    pub fn wayland_display(&self) -> Option<&str> {
        self.serves.iter().find_map(|path| path.rsplit('/').next().filter(|name| name.starts_with("wayland-")))
    }

    /// The X display that it serves: `:0`.
    pub fn x11_display(&self) -> Option<String> {
        self.serves.iter().find_map(|path| Some(format!(":{}", path.strip_prefix("/tmp/.X11-unix/X")?)))
    }

    /// Whether it is an X server of its own: a Wayland compositor keeps one for X programs, or its sockets.
    pub fn is_x_server(&self) -> bool {
        self.x11_display().is_some() && self.wayland_display().is_none() && self.name != "Xwayland"
    }

    /// Whether it was stopped (SIGSTOP).
    pub fn is_stopped(&self) -> bool {
        self.state == "T"
    }
}

/// An input device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InputDevice {
    /// The pointer, which was moved.
    #[default]
    Pointer,
    /// The keyboard, on which letters were typed.
    Key,
}

/// How the screen reacted to input.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InputReaction {
    /// What was used.
    #[serde(rename = "what")]
    pub input: InputDevice,
    /// The share of the screen that changed, 0 to 1.
    pub share: f64,
    /// The width of what changed, in pixels.
    pub width: u32,
    /// How long until it changed, in seconds.
    pub seconds: f64,
}

/// A window that was opened in the session as a test.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TestWindow {
    /// The program.
    pub program: String,
    /// Whether it shows what is typed.
    pub is_terminal: bool,
    /// The largest share of the screen that changed, 0 to 1.
    pub share: f64,
    /// Whether it appeared on the screen.
    #[serde(rename = "seen")]
    pub appeared: bool,
    /// How long until it appeared, or until the wait for it ended, in seconds.
    pub seconds: f64,
    /// The program's exit code, when it ended by itself; 128 + signal when killed.
    pub exit: Option<i32>,
    /// The last lines of its stderr.
    #[serde(rename = "said")]
    pub stderr: Vec<String>,
    /// Whether the screen changed back when it was closed.
    pub closed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded facts of guests have these keys.
    #[test]
    fn keys_stay() {
        let login = LoginMethod::LoggedIn { session: "sway".into(), how: "x".into() };
        let text = r#"{"way":{"logged-in":{"session":"sway","how":"x"}},"said_again":["a"],
            "session":{"end":"loop","look":null,"processes":[{"name":"sway","since_us":1}]},
            "reactions":[{"what":"key","share":0.5}],"window":{"seen":true,"said":["b"]}}"#;
        let facts: DesktopFacts = serde_json::from_str(text).unwrap();
        assert_eq!((&facts.login, facts.rerun_output.len()), (&login, 1));
        assert_eq!(facts.session.as_ref().map(|state| state.end), Some(WaitEnd::Loop));
        assert_eq!(facts.reactions[0].input, InputDevice::Key);
        assert!(facts.window.as_ref().is_some_and(|window| window.appeared && window.stderr == ["b"]));
        let again: DesktopFacts = serde_json::from_value(serde_json::to_value(&facts).unwrap()).unwrap();
        assert_eq!(again, facts);
        for (text, login) in
            [(r#""autologin""#, LoginMethod::Autologin), (r#"{"none":"x"}"#, LoginMethod::NotLoggedIn("x".into()))]
        {
            assert_eq!(serde_json::from_str::<LoginMethod>(text).unwrap(), login);
        }
    }

    #[test]
    fn who_could_not_be_logged_in_was_not() {
        let of =
            |user: Option<&str>, login| DesktopFacts { user: user.map(str::to_owned), login, ..Default::default() };
        assert_eq!(of(Some("alice"), LoginMethod::Autologin).logged_in(), Some("alice"));
        assert_eq!(of(Some("alice"), LoginMethod::NotLoggedIn("no session".into())).logged_in(), None);
        assert_eq!(of(None, LoginMethod::Autologin).logged_in(), None);
    }
}
