//! What a guest has, as plain data: gathered by [`crate::guest`], judged by [`crate::checks`], kept as `facts.json`.
//!
//! Everything here comes from an untrusted guest: strings are bounded in length where they are gathered, and escaped
//! where they are shown. Times called `_us` are microseconds on the guest's `CLOCK_MONOTONIC` (org.freedesktop.systemd1(5)).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::unit_files::UnitFiles;
use crate::model::{ActiveState, JobState, LoadState, Protocol, ServiceType, SubState, UnitFileState, UnitResult};

/// One observation of a guest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// PID 1 and the boot.
    pub manager: Manager,
    /// Jobs that are queued or running: what the boot waits for.
    pub jobs: Vec<Job>,
    /// All loaded units, and the expected ones whether loaded or not. Ours (`nixbox-*`) are left out.
    pub units: Vec<Unit>,
    /// The journal's lines that judging needs: warnings and worse, all of the kernel's and PID 1's, bounded.
    pub journal: Vec<JournalLine>,
    /// `/proc/sys/kernel/tainted`, a bit mask (kernel's admin-guide/tainted-kernels).
    pub taint: Option<u64>,
    /// Sockets that listen.
    pub listeners: Vec<Listener>,
    /// The network as it is.
    pub network: Network,
    /// Accounts as in passwd and shadow.
    pub accounts: Vec<Account>,
    /// Group name to gid and members.
    pub groups: BTreeMap<String, Group>,
    /// Modules that PAM's services name and that are not there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pam_missing: Vec<MissingModule>,
    /// PAM's services that refuse everybody.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pam_closed: Vec<ClosedService>,
    /// Links in /etc that lead nowhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub etc_links: Vec<DanglingLink>,
    /// Answers to the HTTP requests that were asked for, by id.
    pub http: BTreeMap<String, HttpAnswer>,
    /// Outcomes of the scripts that were asked for, by id.
    pub scripts: BTreeMap<String, ScriptOutcome>,
    /// Outcomes of the timers' services that were run once, by timer.
    pub timers: BTreeMap<String, ScriptOutcome>,
    /// The configuration's own unit files, verified; `None` where that was not asked for.
    pub unit_files: Option<UnitFiles>,
    /// Paths that units in trouble name, and whether they are there. A path that is missing here was not asked about.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub paths: BTreeMap<String, PathFact>,
    /// Units all of whose last words are in the journal here; of others there are warnings and errors only.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub heard: BTreeSet<String>,
    /// What could not be gathered, and why. A check that needs it says `unknown`, never `pass`.
    pub gaps: BTreeMap<String, String>,
    /// `CLOCK_MONOTONIC` in the guest when this observation began.
    pub now_us: u64,
}

/// PID 1's own properties.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Manager {
    /// `Version`, such as `257.9`.
    pub version: String,
    /// `SystemState`: `starting`, `running`, `degraded`, `maintenance`, …
    pub state: String,
    /// The unit that `default.target` is.
    pub default_target: String,
    /// `UserspaceTimestampMonotonic`.
    pub userspace_us: u64,
    /// `FinishTimestampMonotonic`; 0 while the boot is going on.
    pub finish_us: u64,
}

/// A module that a service of PAM's names by its path and that is not there (pam.d(5)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MissingModule {
    /// The service: `sudo`.
    pub service: String,
    /// What its result means: `required`, `[success=1 default=ignore]`.
    pub control: String,
    /// Its path.
    pub module: String,
}

/// A service of PAM's whose rules of one type refuse everybody: they come to pam_deny.so, and nothing before it lets
/// anybody past.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClosedService {
    /// The service: `login`.
    pub service: String,
    /// The type of its rules: `auth`, `account` or `session`.
    pub kind: String,
}

/// A link that leads nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DanglingLink {
    /// Where it is.
    pub path: String,
    /// Where it would lead in the end.
    pub target: String,
}

/// A job in PID 1's queue.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Job {
    /// The unit that the job is for.
    pub unit: String,
    /// `start`, `stop`, …
    pub kind: String,
    /// `State`.
    pub state: JobState,
    /// How long it has been running, in seconds, when known.
    pub seconds: Option<u64>,
}

/// A unit, typed over D-Bus.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Unit {
    /// `Id`, such as `nginx.service`.
    pub name: String,
    /// `Description`.
    pub description: String,
    /// `LoadState`.
    pub load_state: LoadState,
    /// `LoadError`'s message, where there is one.
    pub load_error: Option<String>,
    /// `ActiveState`.
    pub active_state: ActiveState,
    /// `SubState`.
    pub sub_state: SubState,
    /// `UnitFileState`.
    pub unit_file_state: UnitFileState,
    /// `FragmentPath`.
    pub fragment_path: String,
    /// `ActiveEnterTimestampMonotonic`.
    pub active_enter_us: u64,
    /// `ActiveExitTimestampMonotonic`.
    pub active_exit_us: u64,
    /// `InactiveEnterTimestampMonotonic`.
    pub inactive_enter_us: u64,
    /// `StateChangeTimestampMonotonic`.
    pub state_change_us: u64,
    /// `ConditionResult`; only meaningful when `condition_us` is not 0.
    pub condition_result: bool,
    /// `ConditionTimestampMonotonic`; 0: the conditions were never checked: its start was never tried.
    pub condition_us: u64,
    /// Conditions that did not hold, as written: `ConditionPathExists=!/foo`.
    pub failed_conditions: Vec<String>,
    /// `TriggeredBy`: sockets, timers, paths.
    pub triggered_by: Vec<String>,
    /// `WantedBy` and `RequiredBy` together.
    pub wanted_by: Vec<String>,
    /// Units of `Requires=`, `Requisite=`, `BindsTo=` that are not there or failed; where this one was never
    /// tried, also those that were never tried: a job that fails with what it needs leaves no other trace.
    pub broken_requirements: Vec<String>,
    /// `Conflicts` and `ConflictedBy`, of a unit that is asked for and not active.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<String>,
    /// What only services have.
    pub service: Option<Service>,
    /// `Where` of a mount.
    pub mount_where: Option<String>,
    /// `What` of a mount.
    pub mount_what: Option<String>,
    /// `Result` of a unit that has one.
    pub result: UnitResult,
}

/// What only services have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    /// `Type`.
    pub kind: ServiceType,
    /// `RemainAfterExit`.
    pub remain_after_exit: bool,
    /// `Restart`: `no`, `always`, `on-failure`, …
    pub restart: String,
    /// `NRestarts`.
    pub restarts: u32,
    /// `MainPID`, 0 when there is none.
    pub main_pid: u32,
    /// `ExecMainCode`: 0 none, 1 exited, 2 killed, 3 dumped (CLD_… of sigaction(2)).
    pub exit_kind: i32,
    /// `ExecMainStatus`: an exit code or a signal, by `exit_kind`.
    pub exit_status: i32,
    /// The first `ExecStart`'s command line.
    pub exec_start: String,
    /// Files without which systemd does not start it: `EnvironmentFiles`, those with a dash left out, `LoadCredential`,
    /// `LoadCredentialEncrypted`. Asked only of services that are not up.
    pub files: Vec<String>,
    /// Paths of `DeviceAllow`. Asked only of services that are not up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// `WorkingDirectory`, where it has to be there; empty without one. Asked only of services that are not up.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub directory: String,
    /// Paths outside of the store that its start script names, where NixOS made that of `script`. Asked only of services
    /// in trouble.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub script_paths: Vec<String>,
    /// `RestartUSec`: how long it waits before it is started again.
    pub restart_us: u64,
    /// `CPUUsageNSec`, in µs; `None` where it was not counted. Asked only of services that are not up.
    pub cpu_us: Option<u64>,
}

/// Whether a path is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PathFact {
    /// It is there; of a pattern: something matches it.
    pub exists: bool,
    /// The deepest directory above it that is there; empty for the root.
    pub parent: String,
    /// Paths that are there, and differ from it in its first missing part only.
    pub beside: Vec<String>,
    /// Lines of the configuration that name it: `tmpfiles:` and a rule about it or its directory, or a script and its line.
    pub made: Vec<String>,
    /// Whose it is, or else the deepest directory above it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Whose the outermost directory on the way to it is that not everybody may enter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<Owner>,
}

/// Whose a file or directory is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Owner {
    /// Its path.
    pub path: String,
    /// The user, by name; `UNKNOWN` where its number has none.
    pub user: String,
    /// The group, by name.
    pub group: String,
    /// The permissions, in octal: `750`.
    pub mode: String,
}

/// The transport of a line that stands in a file of a service's own, and not in the journal.
pub(crate) const FROM_FILE: &str = "file";

/// A journal line.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JournalLine {
    /// `__MONOTONIC_TIMESTAMP`.
    pub at_us: u64,
    /// syslog's priority, 0 (emergency) to 7 (debug).
    pub priority: u8,
    /// `_SYSTEMD_UNIT`, or `UNIT` where PID 1 speaks of a unit; empty when neither.
    pub unit: String,
    /// `SYSLOG_IDENTIFIER`.
    pub identifier: String,
    /// `_PID`.
    pub pid: u32,
    /// `_TRANSPORT`: `kernel`, `journal`, `stdout`, `syslog`, …
    pub transport: String,
    /// `MESSAGE`, bounded.
    pub message: String,
}

/// A socket that listens, from `/proc/net`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Listener {
    /// For IPv4 and IPv6 alike.
    pub protocol: Protocol,
    /// The local address.
    pub address: String,
    /// The local port.
    pub port: u16,
    /// The process that holds it, where it could be found.
    pub process: String,
}

/// The guest's network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// Interfaces other than lo.
    pub links: Vec<String>,
    /// Addresses with prefix, of global scope, by interface.
    pub addresses: BTreeMap<String, Vec<String>>,
    /// Default routes: gateway or interface.
    pub default_routes: Vec<String>,
    /// Other routes of the main table, but for those to the networks that the addresses are in: `192.0.2.0/24 by 10.0.2.2`,
    /// `198.51.100.0/24 by wg0`, `203.0.113.0/24 to nowhere`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// Interfaces that systemd-networkd has not done with (networkctl(1): `configuring`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub configuring: Vec<String>,
    /// `nameserver` lines of /etc/resolv.conf.
    pub nameservers: Vec<String>,
    /// Whether a name could be resolved; `None` when it was not tried (`--network off`).
    pub resolves: Option<bool>,
}

/// A state of the password field in shadow(5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Password {
    /// A hash.
    Set,
    /// Nothing at all: anybody can log in.
    Empty,
    /// `!`, `*` or something that no password matches.
    #[default]
    Locked,
}

/// An account.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// Number.
    pub uid: u32,
    /// Primary group's number.
    pub gid: u32,
    /// Home directory.
    pub home: String,
    /// Shell.
    pub shell: String,
    /// Whether the shell is there and executable, and no nologin.
    pub shell_works: bool,
    /// The password field's state.
    pub password: Password,
    /// Whether an authorized_keys file (home or /etc/ssh/authorized_keys.d) has a key.
    pub has_key: bool,
    /// The owner's uid of the home directory; `None` when it is not there.
    pub home_owner: Option<u32>,
    /// The outermost directory above the home directory that the user cannot enter. Asked only of users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub barrier: Option<Barrier>,
    /// What PAM's module, or su(1), said when it refused the user a session. Asked of three users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// A directory that somebody cannot enter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Barrier {
    /// Its path.
    pub directory: String,
    /// Its mode, in octal digits: `700`.
    pub mode: String,
    /// Its owner's uid.
    pub owner: Option<u32>,
}

/// A group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Group {
    /// Number.
    pub gid: u32,
    /// Members other than by primary group.
    pub members: Vec<String>,
}

/// An HTTP answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpAnswer {
    /// Status code; 0 when there was no answer.
    pub status: u16,
    /// The body, bounded, lossily decoded.
    pub body: String,
    /// Why there was no answer.
    pub error: Option<String>,
}

/// How a script ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScriptOutcome {
    /// Exit code; 128 + signal when killed.
    pub exit: i32,
    /// stdout, bounded.
    pub stdout: String,
    /// stderr, bounded.
    pub stderr: String,
    /// Seconds it took, the last attempt.
    pub seconds: f64,
    /// Attempts made, at least 1.
    pub attempts: u32,
    /// Set when it could not be run or did not end in time.
    pub error: Option<String>,
}

impl Unit {
    /// Whether its start was never tried: PID 1 checks the conditions first.
    pub fn is_untried(&self) -> bool {
        self.load_state == LoadState::Loaded
            && self.active_state == ActiveState::Inactive
            && [self.condition_us, self.active_enter_us, self.inactive_enter_us] == [0; 3]
    }

    /// Whether it ended, and waits to be started again.
    pub fn is_auto_restart(&self) -> bool {
        matches!(self.sub_state, SubState::AutoRestart | SubState::AutoRestartQueued)
    }

    /// Whether it is on its way up, and not between two attempts.
    pub fn is_coming_up(&self) -> bool {
        self.active_state == ActiveState::Activating && !self.is_auto_restart()
    }
}

/// The units of the system's bus: without one of them nothing can ask logind, and most of a desktop stands still.
pub const SYSTEM_BUS: [&str; 3] = ["dbus.socket", "dbus.service", "dbus-broker.service"];

impl Facts {
    /// Whether there is a system bus, as far as is known.
    pub fn has_system_bus(&self) -> bool {
        let is_up = |name: &&str| self.unit(name).is_some_and(|unit| unit.active_state.is_up());
        self.units.is_empty() || self.gaps.contains_key("units") || SYSTEM_BUS.iter().any(is_up)
    }

    /// What these keys are set to in the files of one of the configuration's own units of PID 1's, in order.
    pub(crate) fn set_in_files<'a>(
        &'a self,
        unit: &'a str,
        keys: &'a [&str],
    ) -> impl DoubleEndedIterator<Item = (&'a str, &'a str)> {
        self.unit_files.iter().flat_map(move |files| files.system.values(unit, keys))
    }

    /// The unit with this name.
    pub fn unit(&self, name: &str) -> Option<&Unit> {
        self.units.iter().find(|unit| unit.name == name)
    }

    /// The last `most` journal lines of a unit, its own and PID 1's about it.
    pub fn journal_of<'a>(&'a self, unit: &'a str, most: usize) -> Vec<&'a JournalLine> {
        let lines: Vec<_> = self.journal.iter().filter(|line| line.unit == unit).collect();
        lines[lines.len().saturating_sub(most)..].to_vec()
    }
}
