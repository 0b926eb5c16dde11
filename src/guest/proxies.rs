//! The D-Bus interfaces of systemd and logind, as far as we use them (org.freedesktop.systemd1(5),
//! org.freedesktop.login1(5)). A property goes by the name of the fact that it becomes, where there is one.
//!
//! A property is a line, which rustfmt would break.
//!
//! Made by [`super::bus::Bus::proxy`], which caches no properties: a cache asks for all of them.

use zbus::zvariant::OwnedObjectPath;
use zbus::{Result, proxy};

/// Name, description, load state, active state, sub-state, followed unit, object, job's number, kind and object.
pub(super) type ListedUnit =
    (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);
/// Number, unit, kind, state, the job's object, the unit's.
pub(super) type ListedJob = (u32, String, String, String, OwnedObjectPath, OwnedObjectPath);
/// Number, user's number and name, seat, object.
pub(super) type ListedSession = (String, u32, String, String, OwnedObjectPath);
/// Type, whether it is a triggering one, whether it is negated, parameter; 1 held, -1 did not, 0 was not looked at.
pub(super) type Condition = (String, bool, bool, String, i32);
/// Path, arguments, whether it may fail; when it ran and how it ended.
pub(super) type Command = (String, Vec<String>, bool, u64, u64, u64, u64, u32, i32, i32);

/// PID 1, or a user's manager.
#[rustfmt::skip]
#[proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
pub(super) trait Systemd {
    fn list_units(&self) -> Result<Vec<ListedUnit>>;
    fn list_jobs(&self) -> Result<Vec<ListedJob>>;
    fn load_unit(&self, name: &str) -> Result<OwnedObjectPath>;
    fn start_unit(&self, name: &str, mode: &str) -> Result<OwnedObjectPath>;
    fn subscribe(&self) -> Result<()>;
    #[zbus(signal)] fn job_removed(&self, id: u32, job: OwnedObjectPath, unit: String, result: String) -> Result<()>;
    /// Its times are not read.
    #[zbus(signal)] fn startup_finished(&self) -> Result<()>;
    #[zbus(property)] fn environment(&self) -> Result<Vec<String>>;
    #[zbus(property)] fn version(&self) -> Result<String>;
    #[zbus(property, name = "SystemState")] fn state(&self) -> Result<String>;
    #[zbus(property, name = "UserspaceTimestampMonotonic")] fn userspace_us(&self) -> Result<u64>;
    #[zbus(property, name = "FinishTimestampMonotonic")] fn finish_us(&self) -> Result<u64>;
}

#[rustfmt::skip]
#[proxy(interface = "org.freedesktop.systemd1.Unit", default_service = "org.freedesktop.systemd1")]
pub(super) trait Unit {
    #[zbus(property, name = "Id")] fn name(&self) -> Result<String>;
    #[zbus(property)] fn description(&self) -> Result<String>;
    #[zbus(property)] fn load_state(&self) -> Result<String>;
    /// An error's name and its message.
    #[zbus(property)] fn load_error(&self) -> Result<(String, String)>;
    #[zbus(property)] fn active_state(&self) -> Result<String>;
    #[zbus(property)] fn sub_state(&self) -> Result<String>;
    #[zbus(property)] fn unit_file_state(&self) -> Result<String>;
    #[zbus(property)] fn fragment_path(&self) -> Result<String>;
    #[zbus(property, name = "ActiveEnterTimestampMonotonic")] fn active_enter_us(&self) -> Result<u64>;
    #[zbus(property, name = "ActiveExitTimestampMonotonic")] fn active_exit_us(&self) -> Result<u64>;
    #[zbus(property, name = "InactiveEnterTimestampMonotonic")] fn inactive_enter_us(&self) -> Result<u64>;
    #[zbus(property, name = "InactiveExitTimestampMonotonic")] fn inactive_exit_us(&self) -> Result<u64>;
    #[zbus(property, name = "StateChangeTimestampMonotonic")] fn state_change_us(&self) -> Result<u64>;
    #[zbus(property)] fn condition_result(&self) -> Result<bool>;
    #[zbus(property, name = "ConditionTimestampMonotonic")] fn condition_us(&self) -> Result<u64>;
    #[zbus(property)] fn conditions(&self) -> Result<Vec<Condition>>;
    #[zbus(property)] fn asserts(&self) -> Result<Vec<Condition>>;
    #[zbus(property)] fn triggers(&self) -> Result<Vec<String>>;
    #[zbus(property)] fn triggered_by(&self) -> Result<Vec<String>>;
    #[zbus(property)] fn wanted_by(&self) -> Result<Vec<String>>;
    #[zbus(property)] fn required_by(&self) -> Result<Vec<String>>;
    #[zbus(property)] fn requires(&self) -> Result<Vec<String>>;
    #[zbus(property)] fn requisite(&self) -> Result<Vec<String>>;
    #[zbus(property)] fn binds_to(&self) -> Result<Vec<String>>;
    #[zbus(property)] fn conflicts(&self) -> Result<Vec<String>>;
    #[zbus(property)] fn conflicted_by(&self) -> Result<Vec<String>>;
}

/// What units of a kind have besides; the interface is the kind's.
#[rustfmt::skip]
#[proxy(interface = "org.freedesktop.systemd1.Service", default_service = "org.freedesktop.systemd1")]
pub(super) trait Kind {
    #[zbus(property)] fn result(&self) -> Result<String>;
    // A mount's.
    #[zbus(property, name = "Where")] fn mount_where(&self) -> Result<String>;
    #[zbus(property, name = "What")] fn mount_what(&self) -> Result<String>;
    // A service's.
    #[zbus(property, name = "Type")] fn kind(&self) -> Result<String>;
    #[zbus(property)] fn remain_after_exit(&self) -> Result<bool>;
    #[zbus(property)] fn restart(&self) -> Result<String>;
    #[zbus(property, name = "NRestarts")] fn restarts(&self) -> Result<u32>;
    #[zbus(property, name = "MainPID")] fn main_pid(&self) -> Result<u32>;
    #[zbus(property, name = "ExecMainCode")] fn exit_kind(&self) -> Result<i32>;
    #[zbus(property, name = "ExecMainStatus")] fn exit_status(&self) -> Result<i32>;
    #[zbus(property)] fn exec_start(&self) -> Result<Vec<Command>>;
    /// Paths, and whether they may be missing.
    #[zbus(property)] fn environment_files(&self) -> Result<Vec<(String, bool)>>;
    /// Names, and paths or names in PID 1's own store.
    #[zbus(property)] fn load_credential(&self) -> Result<Vec<(String, String)>>;
    #[zbus(property)] fn load_credential_encrypted(&self) -> Result<Vec<(String, String)>>;
    /// Paths or groups of devices, and what is allowed.
    #[zbus(property)] fn device_allow(&self) -> Result<Vec<(String, String)>>;
    /// Absolute, `~`, or behind a `!` where it may be missing.
    #[zbus(property)] fn working_directory(&self) -> Result<String>;
    #[zbus(property, name = "RestartUSec")] fn restart_us(&self) -> Result<u64>;
    #[zbus(property, name = "CPUUsageNSec")] fn cpu_ns(&self) -> Result<u64>;
}

#[proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
pub(super) trait Logind {
    fn list_sessions(&self) -> Result<Vec<ListedSession>>;
    fn get_user(&self, uid: u32) -> Result<OwnedObjectPath>;
    fn activate_session(&self, id: &str) -> Result<()>;
}

#[proxy(interface = "org.freedesktop.login1.User", default_service = "org.freedesktop.login1")]
pub(super) trait User {
    /// A session's number and object.
    #[zbus(property)]
    fn display(&self) -> Result<(String, OwnedObjectPath)>;
}

#[rustfmt::skip]
#[proxy(interface = "org.freedesktop.login1.Session", default_service = "org.freedesktop.login1")]
pub(super) trait Session {
    #[zbus(property)] fn class(&self) -> Result<String>;
    #[zbus(property, name = "Type")] fn kind(&self) -> Result<String>;
    #[zbus(property)] fn desktop(&self) -> Result<String>;
    #[zbus(property, name = "VTNr")] fn vt(&self) -> Result<u32>;
    #[zbus(property, name = "TTY")] fn tty(&self) -> Result<String>;
    #[zbus(property)] fn state(&self) -> Result<String>;
    #[zbus(property)] fn active(&self) -> Result<bool>;
    #[zbus(property)] fn leader(&self) -> Result<u32>;
    #[zbus(property)] fn service(&self) -> Result<String>;
    #[zbus(property)] fn scope(&self) -> Result<String>;
    #[zbus(property, name = "TimestampMonotonic")] fn since_us(&self) -> Result<u64>;
}
