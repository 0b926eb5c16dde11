//! What is seen of a switch, as data.

use serde::{Deserialize, Serialize};

use crate::guest::facts::JournalLine;
use crate::model::MachinePhase;

/// Most lines of the switch program's output that are kept: a unit that fails brings ten of its own.
pub(crate) const OUTPUT_LINES: usize = 400;
/// How PID 1 says that the kernel ended some of it for want of memory (systemd.exec(5), `$SERVICE_RESULT`).
pub(crate) const OOM_KILL: &str = "oom-kill";
/// What it says before it first changes something.
const BEGINS: [&str; 3] =
    ["stopping the following units: ", "stopping swap device: ", "activating the configuration..."];

/// How a run of the switch program ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SwitchEnd {
    /// By itself, with this exit code.
    Exited(i32),
    /// By a signal, its name or number, not ours: the kernel's, another unit's.
    Killed(String),
    /// It did not end in its time, or while the guest did nothing: what it was waiting for, as far as that can be told (the
    /// command lines below it, the jobs in PID 1's queue), and after how many seconds it was given up.
    Hung { waiting_for: Vec<String>, seconds: f64 },
    /// The machine did not answer any more on the way that nixbox came in by, and not on a new one.
    Silent,
    /// The machine ended: powered off, panicked. In words.
    Gone(String),
    /// It could not even be started, for this reason: that says nothing of what is switched to.
    NotStarted(String),
    /// There is no switch program there: this path is not in the guest's store.
    Missing(String),
}

/// One run of `switch-to-configuration test`, with what was asked before and after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SwitchRun {
    /// What the machine is in afterwards: switched or back.
    pub(crate) phase: MachinePhase,
    /// Whether the machine was in that configuration already: the run that shows whether a second one changes nothing.
    pub(crate) is_second: bool,
    /// The toplevel that was switched to.
    pub(crate) toplevel: String,
    /// How it ended.
    pub(crate) end: SwitchEnd,
    /// When it began, by the guest's monotonic clock, in µs.
    pub(crate) began_us: u64,
    /// How long it took, in seconds.
    pub(crate) seconds: f64,
    /// What it wrote to stdout and stderr, the last lines, oldest first.
    pub(crate) output: Vec<String>,
    /// What `dry-activate` wrote before it; `None` where it was not run.
    pub(crate) dry_output: Option<Vec<String>>,
    /// What PID 1 did to units while it ran, by its journal, in order.
    pub(crate) jobs: Vec<UnitJob>,
    /// What the users' managers did to theirs.
    #[serde(default)]
    pub(crate) user_jobs: Vec<UserJob>,
    /// The journal while it ran: all that PID 1, the switch program, the activation and the units that failed said.
    pub(crate) journal: Vec<JournalLine>,
    /// The units in state `failed` after it, once the machine had come to rest.
    pub(crate) failed: Vec<String>,
    /// Those in state `active` then.
    #[serde(default)]
    pub(crate) active: Vec<String>,
    /// Those that were still to come up then, or to be tried again (`activating`).
    #[serde(default)]
    pub(crate) activating: Vec<String>,
    /// The users' units in state `active` then.
    #[serde(default)]
    pub(crate) user_active: Vec<String>,
    /// The snippet of the activation in which it hung, as far as that can be told.
    pub(crate) hung_in: Option<String>,
    /// Why the jobs and the journal are not known, or not all of them.
    #[serde(default)]
    pub(crate) unread: Option<String>,
}

impl SwitchRun {
    /// One that was not followed to its end: nothing more is known of it.
    pub(crate) fn without(phase: MachinePhase, toplevel: &str, end: SwitchEnd) -> Self {
        Self {
            phase,
            is_second: false,
            toplevel: toplevel.to_owned(),
            end,
            began_us: 0,
            seconds: 0.0,
            output: Vec::new(),
            dry_output: None,
            jobs: Vec::new(),
            user_jobs: Vec::new(),
            journal: Vec::new(),
            failed: Vec::new(),
            active: Vec::new(),
            activating: Vec::new(),
            user_active: Vec::new(),
            hung_in: None,
            unread: None,
        }
    }

    /// Whether anything of the machine was changed: a switch that was refused, or locked out, has touched nothing.
    pub(crate) fn was_made(&self) -> bool {
        match self.end {
            SwitchEnd::Exited(0 | 2 | 4) | SwitchEnd::Silent | SwitchEnd::Gone(_) => true,
            SwitchEnd::Exited(100) | SwitchEnd::NotStarted(_) | SwitchEnd::Missing(_) => false,
            SwitchEnd::Exited(_) | SwitchEnd::Killed(_) | SwitchEnd::Hung { .. } => self.has_begun(),
        }
    }

    /// Whether it says that it began to stop units, or to activate; what it said first may be lost.
    fn has_begun(&self) -> bool {
        let is_begin = |line: &String| BEGINS.iter().any(|begin| line.trim_start().starts_with(begin));
        self.output.len() >= OUTPUT_LINES || self.output.iter().any(is_begin)
    }

    /// Its exit code, where it ended by itself.
    pub(crate) fn exit(&self) -> Option<i32> {
        match self.end {
            SwitchEnd::Exited(code) => Some(code),
            _ => None,
        }
    }
}

/// A job of PID 1's that ended, by its journal (systemd.journal-fields(7): JOB_TYPE, JOB_RESULT).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnitJob {
    /// The unit.
    pub(crate) unit: String,
    /// `start`, `stop`, `restart`, `reload`, … as systemd names it.
    pub(crate) job: String,
    /// `done`, `failed`, `timeout`, `dependency`, …
    pub(crate) result: String,
}

/// The same of a user's manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserJob {
    /// Whose manager's.
    pub(crate) uid: u32,
    pub(crate) job: UnitJob,
}

/// What is seen of the users' sessions at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sessions {
    /// Those of users at a seat or with a display (logind's class `user`).
    pub(crate) sessions: Vec<SessionSeen>,
    /// The processes of these users, in and out of the sessions.
    pub(crate) processes: Vec<ProcessSeen>,
}

/// A user's session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionSeen {
    /// logind's id.
    pub(crate) id: String,
    /// Whose.
    pub(crate) user: String,
    pub(crate) uid: u32,
    /// `wayland`, `x11`, `tty`.
    pub(crate) kind: String,
    /// `active`, `online`, `closing`.
    pub(crate) state: String,
    /// The process that it began with.
    pub(crate) leader: u32,
}

/// A process of a user's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessSeen {
    pub(crate) pid: u32,
    /// When it began, in clock ticks since the boot: a pid alone may have been given again.
    pub(crate) started: u64,
    pub(crate) uid: u32,
    /// Its name, as the kernel has it (`/proc/PID/comm`), without NixOS's wrapping.
    pub(crate) name: String,
    /// The control group: `/user.slice/user-1000.slice/session-2.scope`.
    pub(crate) cgroup: String,
}

/// All that a rehearsal has seen, but for the checks of the machine and the records.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rehearsal {
    /// The runs of the switch program, in order: to the target, once more, back.
    pub(crate) runs: Vec<SwitchRun>,
    /// The sessions before the switch.
    pub(crate) sessions_before: Option<Sessions>,
    /// After the switch to the target.
    pub(crate) sessions_switched: Option<Sessions>,
    /// After the switch back.
    pub(crate) sessions_back: Option<Sessions>,
    /// Whether a sound was heard at the card before the switch (`audio.tone` passed); `None` where none was played.
    pub(crate) sound_before: Option<bool>,
    /// Whether one was heard after it.
    pub(crate) sound_switched: Option<bool>,
    /// Whether the target, and what is switched from, are to have no sound at all.
    #[serde(default)]
    pub(crate) without_sound: [bool; 2],
}

impl ProcessSeen {
    /// Whether it is the same process.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.pid == other.pid && self.started == other.started
    }
}

impl Rehearsal {
    /// `tray.service of alice`: a user's unit, with the name of the user where somebody of theirs had a session.
    pub(crate) fn unit_of(&self, uid: u32, unit: &str) -> String {
        let seen = [&self.sessions_before, &self.sessions_switched, &self.sessions_back];
        let mut sessions = seen.into_iter().flatten().flat_map(|seen| &seen.sessions);
        match sessions.find(|session| session.uid == uid) {
            Some(session) => format!("{unit} of {}", session.user),
            None => format!("{unit} of user {uid}"),
        }
    }

    /// The first run into a phase.
    pub(crate) fn run_to(&self, phase: MachinePhase) -> Option<&SwitchRun> {
        self.runs.iter().find(|run| run.phase == phase && !run.is_second)
    }
}
