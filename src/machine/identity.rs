//! A process that can be recognised later, after its pid may have been reused.

use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::process::start_time;

/// A process: its pid, and when it started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessIdentity {
    pid: u32,
    /// In clock ticks since boot; `None` where the system does not report it, and the pid alone has to do.
    started: Option<u64>,
}

impl ProcessIdentity {
    /// The process that has this pid now.
    pub(crate) fn of(pid: u32) -> Self {
        Self { pid, started: start_time(pid) }
    }

    /// This process.
    pub(crate) fn own() -> Self {
        Self::of(std::process::id())
    }

    /// Whether it has not ended.
    pub(crate) fn is_alive(&self) -> bool {
        match self.started {
            Some(started) => start_time(self.pid) == Some(started),
            None => self.pid().is_some_and(|pid| kill(pid, None).is_ok()),
        }
    }

    /// Its pid as one that may be signalled: never init's, and no group's.
    pub(crate) fn pid(&self) -> Option<Pid> {
        i32::try_from(self.pid).ok().filter(|pid| *pid > 1).map(Pid::from_raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_pid_is_another_process() {
        let own = ProcessIdentity::own();
        assert!(own.is_alive());
        assert!(!ProcessIdentity { started: Some(1), ..own }.is_alive());
        assert!(!ProcessIdentity::of(u32::MAX).is_alive());
        assert_eq!(ProcessIdentity::of(1).pid(), None);
    }
}
