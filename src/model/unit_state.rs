//! States of systemd's units and jobs (org.freedesktop.systemd1(5)). What a newer systemd adds is kept as `Other`; in
//! recorded facts each is the word that systemd uses.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An enum of systemd's words. One that was never read is `Other("")`.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
            /// A word that is not known here.
            Other(String),
        }

        impl $name {
            /// systemd's word.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Other(word) => word,
                }
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)+
                    _ => Self::Other(word.to_owned()),
                }
            }
        }

        impl From<String> for $name {
            fn from(word: String) -> Self {
                Self::from(word.as_str())
            }
        }

        impl From<$name> for String {
            fn from(state: $name) -> Self {
                state.as_str().to_owned()
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::Other(String::new())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words! {
    /// `LoadState`: whether systemd could read the unit's files.
    LoadState {
        /// Referred to, not read yet.
        Stub = "stub",
        /// Read.
        Loaded = "loaded",
        /// There is no such file.
        NotFound = "not-found",
        /// A setting that the unit cannot be without, or cannot be with, is wrong.
        BadSetting = "bad-setting",
        /// The file cannot be read.
        Error = "error",
        /// An alias of another unit.
        Merged = "merged",
        /// Linked to `/dev/null`: it cannot be started.
        Masked = "masked",
    }
}

words! {
    /// `ActiveState`.
    ActiveState {
        /// Up, whatever that is for its type.
        Active = "active",
        /// Up, and reading its configuration again.
        Reloading = "reloading",
        /// Up, and its extensions or credentials are taken anew (systemd 257).
        Refreshing = "refreshing",
        /// Down, and its last run did not fail.
        Inactive = "inactive",
        /// Down, and its last run failed.
        Failed = "failed",
        /// On its way up, or waiting to be started again.
        Activating = "activating",
        /// On its way down.
        Deactivating = "deactivating",
        /// Being cleaned up.
        Maintenance = "maintenance",
    }
}

words! {
    /// `SubState`, as far as it is judged: each type of unit has its own.
    SubState {
        /// Of a service: its main process runs.
        Running = "running",
        /// Of a service: active, its process has ended.
        Exited = "exited",
        /// Of an inactive unit.
        Dead = "dead",
        /// Of a failed unit.
        Failed = "failed",
        /// Of a service: it ended, and is started again when `RestartSec=` is over.
        AutoRestart = "auto-restart",
        /// The same, with its start job queued (systemd 254).
        AutoRestartQueued = "auto-restart-queued",
    }
}

words! {
    /// `UnitFileState` (systemctl(1), `is-enabled`).
    UnitFileState {
        /// By links in /etc.
        Enabled = "enabled",
        /// By links in /run.
        EnabledRuntime = "enabled-runtime",
        /// Linked from elsewhere.
        Linked = "linked",
        /// Linked from elsewhere, in /run.
        LinkedRuntime = "linked-runtime",
        /// Another name of a unit.
        Alias = "alias",
        /// Linked to `/dev/null`.
        Masked = "masked",
        /// Linked to `/dev/null` in /run.
        MaskedRuntime = "masked-runtime",
        /// It has no `[Install]` section.
        Static = "static",
        /// It has one, and nothing of it is done.
        Disabled = "disabled",
        /// It enables others.
        Indirect = "indirect",
        /// Made by a generator.
        Generated = "generated",
        /// Made by way of the bus.
        Transient = "transient",
        /// It cannot be read.
        Bad = "bad",
    }
}

words! {
    /// `Type` of a service (systemd.service(5)).
    ServiceType {
        /// Active when the process is forked.
        Simple = "simple",
        /// Active when the program is executed.
        Exec = "exec",
        /// Active when the first process ends.
        Forking = "forking",
        /// Meant to end.
        Oneshot = "oneshot",
        /// Active when it owns its name on the bus.
        Dbus = "dbus",
        /// Active when it says so.
        Notify = "notify",
        /// The same, and it says when it has reloaded (systemd 253).
        NotifyReload = "notify-reload",
        /// As `simple`, after all jobs are done.
        Idle = "idle",
    }
}

words! {
    /// `Result`: how the last run of a unit ended.
    UnitResult {
        /// Well, or it still runs.
        Success = "success",
        /// Its process ended with an exit code that is not 0.
        ExitCode = "exit-code",
        /// Its process was killed.
        Signal = "signal",
        /// Its process dumped core.
        CoreDump = "core-dump",
        /// A limit of time ran out.
        Timeout = "timeout",
        /// It did not say in time that it is alive.
        Watchdog = "watchdog",
        /// It did not say that it is ready as its type demands.
        Protocol = "protocol",
        /// It was started too often.
        StartLimitHit = "start-limit-hit",
        /// Of a socket: its service was started too often.
        ServiceStartLimitHit = "service-start-limit-hit",
        /// Of a path: its unit was started too often.
        UnitStartLimitHit = "unit-start-limit-hit",
        /// Of a socket or a path: it started what it starts too often.
        TriggerLimitHit = "trigger-limit-hit",
        /// Killed when memory ran out.
        OomKill = "oom-kill",
        /// systemd could not set it up.
        Resources = "resources",
        /// A unit that it needs did not start.
        Dependency = "dependency",
        /// `ExecCondition=` did not hold.
        ExecCondition = "exec-condition",
    }
}

words! {
    /// `State` of a job.
    JobState {
        /// Waits for other jobs.
        Waiting = "waiting",
        /// Is being done.
        Running = "running",
    }
}

impl ActiveState {
    /// Whether it is up.
    pub const fn is_up(&self) -> bool {
        matches!(self, Self::Active | Self::Reloading | Self::Refreshing)
    }
}

impl UnitResult {
    /// Whether nothing went wrong; kinds of units without a result have none that could.
    pub fn is_success(&self) -> bool {
        matches!(self.as_str(), "" | "success")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_keep_the_words_of_systemd() {
        for word in ["loaded", "not-found", "", "something-new"] {
            let state = LoadState::from(word);
            assert_eq!(serde_json::to_value(&state).unwrap(), word);
            assert_eq!(serde_json::from_value::<LoadState>(word.into()).unwrap(), state);
        }
        assert_eq!(LoadState::from("not-found"), LoadState::NotFound);
        assert_eq!(LoadState::from("something-new"), LoadState::Other("something-new".to_owned()));
        assert_eq!(format!("{:9}|", ActiveState::Failed), "failed   |");
        assert!(ActiveState::Reloading.is_up() && !ActiveState::default().is_up());
        assert!(UnitResult::default().is_success() && !UnitResult::Signal.is_success());
    }
}
