//! What a desktop is made of in the guest, as plain data: processes that hold the screen, what was said, and what the
//! screen showed. Gathered by [`crate::run`] over the shell and D-Bus, judged by [`crate::checks`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::facts::JournalLine;
use super::logind::Session;
use super::user_units::{Asked, UserManager};
use super::{Error, Guest, journal};
use crate::signal::PictureAnalysis;
use crate::text::bounded;

/// Most processes that are kept.
const PROCESSES: usize = 400;
/// Most bytes that the guest's shell answers.
const ANSWER: usize = 8 << 20;
/// Most lines of the journal that are read.
const LINES: usize = 4000;
/// `USER_HZ`, in which `/proc/PID/stat` counts (proc_pid_stat(5)): 100 on all that NixOS runs on.
const TICK_US: u64 = 10_000;

/// What was seen of a desktop.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Desktop {
    /// The login screen, where nobody is logged in by the configuration.
    pub greeter: Option<Moment>,
    /// How the user came in.
    pub way: Way,
    /// The user whose session is looked at.
    pub user: Option<String>,
    /// The session, once it was there or nothing moved any more.
    pub session: Option<Moment>,
    /// The user's manager.
    pub manager: Option<UserManager>,
    /// The portal, where one is expected.
    pub portal: Option<Asked>,
    /// What logind, the display manager and the processes of the users concerned have said, oldest first.
    pub journal: Vec<JournalLine>,
    /// What the virtual terminals show, by number: their last lines of text.
    pub terminals: BTreeMap<u32, Vec<String>>,
    /// What the session's command said when it was started once more, where it had ended without a word.
    pub said_again: Vec<String>,
    /// What input changed on the screen.
    pub reactions: Vec<Reaction>,
    /// A window that was opened.
    pub window: Option<Window>,
    /// What could not be gathered, and why.
    pub gaps: BTreeMap<String, String>,
}

/// How a user came into a session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// The configuration logs somebody in.
    #[default]
    Autologin,
    /// nixbox logged in: who, and which session file.
    LoggedIn {
        /// The session's file name without its ending.
        session: String,
        /// How, in words.
        how: String,
    },
    /// Nobody: why.
    None(String),
}

/// The state of screen and sessions at a time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Moment {
    /// Why the wait for it ended.
    pub end: Ended,
    /// How long it was waited for, in seconds.
    pub waited: f64,
    /// How long the screen had looked as it did then, in seconds.
    pub still: f64,
    /// `CLOCK_MONOTONIC` in the guest.
    pub now_us: u64,
    /// What the screen shows; `None` where no picture could be taken.
    pub look: Option<PictureAnalysis>,
    /// The virtual terminal that is shown; 0 where there is none.
    pub vt: u32,
    /// logind's sessions.
    pub sessions: Vec<Session>,
    /// Processes that have to do with a screen, and all of people's.
    pub processes: Vec<Process>,
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// What was waited for is there and the picture steady.
    Steady,
    /// The machine does nothing any more, and it is not there.
    Idle,
    /// The same goes wrong again and again.
    Loop,
    /// The time was over while something still moved.
    #[default]
    Deadline,
}

/// A process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// Its program, without NixOS's wrapping: `sway` for `.sway-wrapped`.
    pub name: String,
    /// `R`, `S`, `D`, `T`, `Z`, … (proc_pid_stat(5)).
    pub state: String,
    /// Its effective user.
    pub uid: u32,
    /// When it began.
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

impl Process {
    /// A variable of its environment.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.iter().find_map(|text| text.strip_prefix(name)?.strip_prefix('='))
    }

    /// The name of the Wayland display that it serves: `wayland-1`.
    pub fn wayland(&self) -> Option<&str> {
        self.serves.iter().find_map(|path| path.rsplit('/').next().filter(|name| name.starts_with("wayland-")))
    }

    /// The X display that it serves: `:0`.
    pub fn x11(&self) -> Option<String> {
        self.serves.iter().find_map(|path| Some(format!(":{}", path.strip_prefix("/tmp/.X11-unix/X")?)))
    }
}

/// What input changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reaction {
    /// `pointer`, `key`.
    pub what: String,
    /// The share of the screen that changed, 0 to 1.
    pub share: f64,
    /// The width of what changed, in pixels.
    pub width: u32,
    /// How long until it changed, in seconds.
    pub seconds: f64,
}

/// A window that was opened in the session.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Window {
    /// The program.
    pub program: String,
    /// Whether it shows what is typed.
    pub is_terminal: bool,
    /// The largest share of the screen that changed, 0 to 1.
    pub share: f64,
    /// Whether it was seen.
    pub seen: bool,
    /// How long until it was seen, or not waited for any longer, in seconds.
    pub seconds: f64,
    /// How the program ended, when it did by itself; 128 + signal when killed.
    pub exit: Option<i32>,
    /// What it said on stderr, its last lines.
    pub said: Vec<String>,
    /// Whether the screen changed back when it was closed.
    pub closed: bool,
}

/// Without NixOS's wrapping: `.sway-wrapped` is `sway`; the kernel keeps 15 bytes of a name.
fn unwrapped(name: &str) -> String {
    let Some(inner) = name.strip_prefix('.') else { return name.to_owned() };
    let end = (1..="-wrapped".len()).rev().find(|length| inner.ends_with(&"-wrapped"[..*length]));
    inner[..inner.len() - end.unwrap_or(0)].trim_end_matches('_').to_owned()
}

/// What is asked of `/proc`. One process a part: under TCG a fork costs more than reading all of it.
fn script() -> String {
    "( cd /proc || exit 1\n\
     cat /sys/class/tty/tty0/active 2>/dev/null || echo\n\
     echo nixbox-uptime; cat uptime\n\
     echo nixbox-status; head -v -c 500 [0-9]*/status 2>/dev/null\n\
     echo; echo nixbox-stat; head -q -c 500 [0-9]*/stat 2>/dev/null\n\
     echo nixbox-cgroup; head -v -c 500 [0-9]*/cgroup 2>/dev/null\n\
     echo; echo nixbox-command; head -v -c 300 [0-9]*/cmdline 2>/dev/null | tr '\\0' ' '\n\
     echo; echo nixbox-environ; grep -a -z -H -E '^(DISPLAY|WAYLAND_DISPLAY|XAUTHORITY|XDG_CURRENT_DESKTOP)=' [0-9]*/environ 2>/dev/null | tr '\\0' '\\n'\n\
     echo nixbox-links; stat -c %N [0-9]*/fd/* 2>/dev/null | grep -E 'socket:|/dev/dri/card|/dev/input/event'\n\
     echo nixbox-unix; grep -E '/wayland-[0-9]+$|/tmp/.X11-unix/X[0-9]+$' net/unix\n\
     : )"
        .to_owned()
}

/// The number that a path below `/proc` begins with.
fn pid_of(path: &str) -> Option<u32> {
    path.split('/').next()?.parse().ok()
}

/// The parts that `head -v` printed, by process.
fn by_process(text: &str) -> impl Iterator<Item = (u32, &str)> {
    text.split("==> ").filter_map(|part| {
        let (path, rest) = part.split_once(" <==\n")?;
        Some((pid_of(path)?, rest))
    })
}

/// Reads what [`script`] printed: the terminal that is shown, the time, processes.
fn read(text: &str) -> (u32, u64, Vec<Process>) {
    let cut = |text: &'_ str, mark: &str| -> (String, String) {
        let (before, after) = text.split_once(mark).unwrap_or((text, ""));
        (before.to_owned(), after.to_owned())
    };
    let (active, rest) = cut(text, "nixbox-uptime\n");
    let (uptime, rest) = cut(&rest, "nixbox-status\n");
    let (status, rest) = cut(&rest, "\nnixbox-stat\n");
    let (stat, rest) = cut(&rest, "nixbox-cgroup\n");
    let (cgroups, rest) = cut(&rest, "\nnixbox-command\n");
    let (commands, rest) = cut(&rest, "\nnixbox-environ\n");
    let (environ, rest) = cut(&rest, "nixbox-links\n");
    let (links, unix) = cut(&rest, "nixbox-unix\n");

    let mut all: BTreeMap<u32, Process> = BTreeMap::new();
    for (pid, text) in by_process(&status) {
        let field = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default().trim()
        };
        let uid = field("Uid").split_ascii_whitespace().nth(1).and_then(|uid| uid.parse().ok());
        all.insert(
            pid,
            Process {
                pid,
                name: unwrapped(&bounded(field("Name"), 64)),
                state: field("State").chars().take(1).collect(),
                parent: field("PPid").parse().unwrap_or(0),
                uid: uid.unwrap_or(u32::MAX),
                ..Process::default()
            },
        );
    }
    for line in stat.lines() {
        // The name may hold anything, a closing bracket too.
        let Some((head, tail)) = line.rsplit_once(')') else { continue };
        let pid = head.split(' ').next().and_then(|pid| pid.parse::<u32>().ok());
        let began = tail.split_ascii_whitespace().nth(19).and_then(|ticks| ticks.parse::<u64>().ok());
        if let (Some(process), Some(began)) = (pid.and_then(|pid| all.get_mut(&pid)), began) {
            process.since_us = began.saturating_mul(TICK_US);
        }
    }
    for (pid, text) in by_process(&cgroups) {
        if let Some(process) = all.get_mut(&pid) {
            process.cgroup = bounded(text.lines().next().unwrap_or_default().trim_start_matches("0::"), 256);
        }
    }
    for (pid, text) in by_process(&commands) {
        if let Some(process) = all.get_mut(&pid) {
            process.command = bounded(text.trim(), 300);
        }
    }
    for line in environ.lines() {
        let Some((path, variable)) = line.split_once(':') else { continue };
        if let Some(process) = pid_of(path).and_then(|pid| all.get_mut(&pid))
            && process.environment.len() < 8
        {
            process.environment.push(bounded(variable, 256));
        }
    }
    // inode -> path of displays that somebody listens on; 0x10000 is __SO_ACCEPTCON (include/linux/net.h).
    let listening: BTreeMap<&str, &str> = unix
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let [_, _, _, flags, _, _, inode, path] = fields[..] else { return None };
            (flags == "00010000").then_some((inode, path))
        })
        .collect();
    for line in links.lines() {
        let Some((path, to)) = line.split_once("' -> '") else { continue };
        let Some(process) = pid_of(path.trim_start_matches('\'')).and_then(|pid| all.get_mut(&pid)) else { continue };
        let to = to.trim_end_matches('\'');
        process.has_card |= to.starts_with("/dev/dri/card");
        process.has_input |= to.starts_with("/dev/input/event");
        let inode = to.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        if let Some(path) = inode.and_then(|inode| listening.get(inode))
            && !process.serves.iter().any(|known| known == path)
            && process.serves.len() < 8
        {
            process.serves.push(bounded(path, 128));
        }
    }
    let vt = active.trim().strip_prefix("tty").and_then(|number| number.parse().ok()).unwrap_or(0);
    let seconds: f64 = uptime.split_ascii_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    let matters = |process: &Process| {
        process.has_card
            || !process.serves.is_empty()
            || process.cgroup.contains("/user.slice/") && process.uid != 0
            || process.cgroup.contains("/session-")
            || (1000..60000).contains(&process.uid)
    };
    let processes = all.into_values().filter(matters).take(PROCESSES).collect();
    (vt, (seconds * 1e6) as u64, processes)
}

/// A virtual terminal's text from its `/dev/vcsa`: lines, columns, the cursor's place, then a character and its
/// attribute each (vcs(4)).
fn terminal(bytes: &[u8]) -> Vec<String> {
    let [_, columns, _, _, cells @ ..] = bytes else { return Vec::new() };
    if *columns == 0 {
        return Vec::new();
    }
    let text: Vec<u8> = cells.iter().step_by(2).copied().collect();
    let lines = text.chunks(usize::from(*columns)).map(|line| String::from_utf8_lossy(line).trim_end().to_owned());
    let lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(20)..].to_vec()
}

/// The first lines of `/proc/stat` and `/proc/uptime`: all but `idle` (and what guests of the guest's took, which is
/// counted twice) is work, waiting for a disk too (proc_stat(5)).
fn worked(text: &str) -> Option<(Duration, Duration)> {
    let mut lines = text.lines();
    let ticks: Vec<u64> = lines
        .next()?
        .strip_prefix("cpu ")?
        .split_ascii_whitespace()
        .map_while(|text| text.parse().ok())
        .take(8)
        .collect();
    let idle = *ticks.get(3)?;
    let busy = ticks.iter().sum::<u64>().saturating_sub(idle).saturating_mul(TICK_US);
    let up: f64 = lines.next()?.split_ascii_whitespace().next()?.parse().ok()?;
    Some((Duration::from_micros(busy), Duration::try_from_secs_f64(up).ok()?))
}

impl Guest {
    /// The terminal that is shown, the time in microseconds, and the processes that a desktop is made of.
    ///
    /// # Errors
    /// The guest could not be asked within `patience`.
    pub async fn desktop_processes(&self, patience: Duration) -> Result<(u32, u64, Vec<Process>), Error> {
        let output = self.shell().ask(&script(), patience, ANSWER).await?;
        Ok(read(&String::from_utf8_lossy(&output.stdout)))
    }

    /// How much its processors have worked so far, all together, and how long it has been up.
    ///
    /// Its own count, not the host's: who gets too little of a busy host's time seems idle from outside.
    ///
    /// # Errors
    /// The guest could not be asked within `patience`.
    pub async fn worked(&self, patience: Duration) -> Result<(Duration, Duration), Error> {
        let read = "read -r x </proc/stat; read -r y </proc/uptime; echo \"$x\"; echo \"$y\"";
        let output = self.shell().ask(read, patience, 1024).await?;
        worked(&String::from_utf8_lossy(&output.stdout)).ok_or(Error::Garbled)
    }

    /// The journal's lines that tell about a desktop: of logind, of these units, of these users' processes.
    ///
    /// # Errors
    /// The guest could not be asked within `patience`.
    pub async fn desktop_journal(
        &self,
        units: &[&str],
        uids: &BTreeSet<u32>,
        patience: Duration,
    ) -> Result<Vec<JournalLine>, Error> {
        let uids: Vec<u32> = uids.iter().copied().collect();
        let output = self.shell().ask(&journal::desktop_command(units, &uids, LINES), patience, ANSWER).await?;
        Ok(journal::parse(&String::from_utf8_lossy(&output.stdout)))
    }

    /// The text on a virtual terminal, its last lines: what is said there is in no journal.
    ///
    /// # Errors
    /// The guest could not be asked within `patience`.
    pub async fn terminal_text(&self, vt: u32, patience: Duration) -> Result<Vec<String>, Error> {
        let output = self.shell().ask(&format!("head -c 65536 /dev/vcsa{vt}"), patience, 1 << 17).await?;
        Ok(terminal(&output.stdout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping_is_taken_off() {
        for (name, inner) in [
            (".sway-wrapped", "sway"),
            (".Hyprland-wrapp", "Hyprland"),
            ("sway", "sway"),
            (".gnome-shell-wr", "gnome-shell"),
        ] {
            assert_eq!(unwrapped(name), inner);
        }
    }

    #[test]
    fn processes_are_read() {
        let text = "tty2\nnixbox-uptime\n61.50 3\nnixbox-status\n==> 1/status <==\nName:\tsystemd\nState:\tS (sleeping)\nPPid:\t0\nUid:\t0\t0\t0\t0\n\n\
            ==> 812/status <==\nName:\t.sway-wrapped\nState:\tT (stopped)\nPPid:\t800\nUid:\t1000\t1000\t1000\t1000\n\nnixbox-stat\n\
            1 (systemd) S 0 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 5 1\n812 (a) b) T 1 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 1234 1\n\
            nixbox-cgroup\n==> 812/cgroup <==\n0::/user.slice/user-1000.slice/session-1.scope\n\nnixbox-command\n==> 812/cmdline <==\nsway --debug \n\
            nixbox-environ\n812/environ:DISPLAY=:0\nnixbox-links\n'812/fd/3' -> '/dev/dri/card0'\n'812/fd/9' -> 'socket:[55]'\n\
            nixbox-unix\n0000: 00000002 00000000 00010000 0001 01 55 /run/user/1000/wayland-1\n";
        let (vt, now, processes) = read(text);
        assert_eq!((vt, now), (2, 61_500_000));
        let [sway] = &processes[..] else { panic!("{processes:?}") };
        assert_eq!((sway.name.as_str(), sway.state.as_str(), sway.uid, sway.since_us), ("sway", "T", 1000, 12_340_000));
        assert_eq!((sway.wayland(), sway.variable("DISPLAY"), sway.has_card), (Some("wayland-1"), Some(":0"), true));
        assert!(sway.cgroup.ends_with("session-1.scope") && sway.command.starts_with("sway"));
    }

    #[test]
    fn the_script_works_on_this_machine() {
        let output = std::process::Command::new("/bin/sh").args(["-c", &script()]).output().unwrap();
        let (_, now, _) = read(&String::from_utf8_lossy(&output.stdout));
        assert!(now > 0);
    }

    #[test]
    fn work_is_read() {
        let (busy, up) = worked("cpu  100 0 50 900 5 0 0 0 0 0\n12.50 20.00\n").unwrap();
        assert_eq!((busy.as_millis(), up.as_millis()), (1550, 12_500));
        assert_eq!(worked(""), None);
        assert_eq!(worked("cpu  1 2\n1 1"), None);
    }

    #[test]
    fn a_terminal_is_read() {
        let cells: Vec<u8> = "ab  cd  ".bytes().flat_map(|byte| [byte, 7]).collect();
        assert_eq!(terminal(&[vec![2, 4, 0, 0], cells].concat()), ["ab", "cd"]);
        assert!(terminal(&[]).is_empty() && terminal(&[1, 0, 0, 0, 65]).is_empty());
    }
}
