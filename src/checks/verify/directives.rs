//! The directives that a slip is held against: systemd.directives(7), by what it means that systemd ignores one.

/// Directives that say what a unit does, by section. Without one the unit does not do what it was told to.
const ACTIVE: &[(&str, &[&str])] = &[
    (
        "Unit",
        &[
            "After",
            "Before",
            "Wants",
            "Requires",
            "Requisite",
            "BindsTo",
            "PartOf",
            "Upholds",
            "Conflicts",
            "OnFailure",
            "OnSuccess",
            "RequiresMountsFor",
            "WantsMountsFor",
            "DefaultDependencies",
            "Description",
            "ConditionPathExists",
            "ConditionFileNotEmpty",
            "ConditionDirectoryNotEmpty",
            "ConditionUser",
            "ConditionACPower",
            "ConditionHost",
            "ConditionVirtualization",
            "ConditionFirstBoot",
            "FailureAction",
            "SuccessAction",
            "JobTimeoutSec",
            "StopWhenUnneeded",
            "RefuseManualStart",
        ],
    ),
    (
        "Service",
        &[
            "Type",
            "ExecStart",
            "ExecStartPre",
            "ExecStartPost",
            "ExecReload",
            "ExecStop",
            "ExecStopPost",
            "ExecCondition",
            "Restart",
            "RestartSec",
            "RestartPreventExitStatus",
            "RestartForceExitStatus",
            "SuccessExitStatus",
            "RemainAfterExit",
            "PIDFile",
            "BusName",
            "TimeoutStartSec",
            "TimeoutStopSec",
            "TimeoutSec",
            "RuntimeMaxSec",
            "WatchdogSec",
            "NotifyAccess",
            "Sockets",
            "User",
            "Group",
            "DynamicUser",
            "SupplementaryGroups",
            "WorkingDirectory",
            "RootDirectory",
            "Environment",
            "EnvironmentFile",
            "PassEnvironment",
            "UnsetEnvironment",
            "UMask",
            "StateDirectory",
            "StateDirectoryMode",
            "CacheDirectory",
            "CacheDirectoryMode",
            "LogsDirectory",
            "RuntimeDirectory",
            "RuntimeDirectoryMode",
            "RuntimeDirectoryPreserve",
            "ConfigurationDirectory",
            "ReadWritePaths",
            "BindPaths",
            "BindReadOnlyPaths",
            "LoadCredential",
            "LoadCredentialEncrypted",
            "SetCredential",
            "ImportCredential",
            "StandardInput",
            "StandardOutput",
            "StandardError",
            "TTYPath",
            "PAMName",
            "KillMode",
            "KillSignal",
            "AmbientCapabilities",
            "Slice",
            "Delegate",
            "ExecSearchPath",
            "GuessMainPID",
            "NonBlocking",
        ],
    ),
    ("Install", &["WantedBy", "RequiredBy", "UpheldBy", "Alias", "Also", "DefaultInstance"]),
    (
        "Timer",
        &[
            "OnCalendar",
            "OnBootSec",
            "OnStartupSec",
            "OnActiveSec",
            "OnUnitActiveSec",
            "OnUnitInactiveSec",
            "Persistent",
            "RandomizedDelaySec",
            "AccuracySec",
            "WakeSystem",
            "Unit",
        ],
    ),
    (
        "Socket",
        &[
            "ListenStream",
            "ListenDatagram",
            "ListenSequentialPacket",
            "ListenFIFO",
            "ListenNetlink",
            "ListenSpecial",
            "Accept",
            "SocketUser",
            "SocketGroup",
            "SocketMode",
            "DirectoryMode",
            "Service",
            "BindIPv6Only",
            "BindToDevice",
            "FreeBind",
            "MaxConnections",
            "FileDescriptorName",
            "RemoveOnStop",
        ],
    ),
    ("Path", &["PathExists", "PathExistsGlob", "PathChanged", "PathModified", "DirectoryNotEmpty", "MakeDirectory"]),
    ("Mount", &["What", "Where", "Options", "TimeoutSec"]),
    ("Automount", &["TimeoutIdleSec"]),
];

/// Directives without which a unit does its work all the same: limits, protection, bookkeeping.
const PASSIVE: &[&str] = &[
    "Documentation",
    "StartLimitIntervalSec",
    "StartLimitInterval",
    "StartLimitBurst",
    "StartLimitAction",
    "ProtectSystem",
    "ProtectHome",
    "ProtectKernelTunables",
    "ProtectKernelModules",
    "ProtectKernelLogs",
    "ProtectControlGroups",
    "ProtectClock",
    "ProtectHostname",
    "ProtectProc",
    "ProcSubset",
    "PrivateTmp",
    "PrivateDevices",
    "PrivateNetwork",
    "PrivateUsers",
    "PrivateMounts",
    "PrivateIPC",
    "PrivatePIDs",
    "NoNewPrivileges",
    "RestrictNamespaces",
    "RestrictAddressFamilies",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "RestrictFileSystems",
    "RestrictNetworkInterfaces",
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "RemoveIPC",
    "CapabilityBoundingSet",
    "SystemCallFilter",
    "SystemCallArchitectures",
    "SystemCallErrorNumber",
    "SystemCallLog",
    "DevicePolicy",
    "DeviceAllow",
    "InaccessiblePaths",
    "ReadOnlyPaths",
    "NoExecPaths",
    "ExecPaths",
    "TemporaryFileSystem",
    "MemoryMax",
    "MemoryHigh",
    "MemoryMin",
    "MemoryLow",
    "MemorySwapMax",
    "TasksMax",
    "CPUQuota",
    "CPUWeight",
    "IOWeight",
    "IPAddressAllow",
    "IPAddressDeny",
    "LimitNOFILE",
    "LimitNPROC",
    "LimitCORE",
    "LimitMEMLOCK",
    "LimitAS",
    "LimitRTPRIO",
    "Nice",
    "IOSchedulingClass",
    "IOSchedulingPriority",
    "CPUSchedulingPolicy",
    "CPUSchedulingPriority",
    "OOMScoreAdjust",
    "OOMPolicy",
    "SyslogIdentifier",
    "SyslogFacility",
    "SyslogLevel",
    "LogRateLimitBurst",
    "LogRateLimitIntervalSec",
    "LogLevelMax",
    "UtmpIdentifier",
    "UtmpMode",
    "KeyringMode",
    "IgnoreSIGPIPE",
    "SendSIGKILL",
    "SendSIGHUP",
    "SecureBits",
    "Personality",
    "CPUAffinity",
];

const SECTIONS: [&str; 11] =
    ["Unit", "Service", "Install", "Timer", "Socket", "Path", "Mount", "Automount", "Swap", "Slice", "Scope"];

/// What it means that systemd ignores a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ignored {
    /// A slip in a directive that the unit does its work by: this one.
    Active(&'static str),
    /// A slip in one without which it works all the same.
    Passive(&'static str),
    /// It belongs into this section.
    Elsewhere(&'static str),
    /// No directive that is known here: perhaps of another systemd.
    Unknown,
}

pub(super) fn ignored(section: &str, key: &str) -> Ignored {
    if let Some((section, _)) = ACTIVE.iter().find(|(_, keys)| keys.contains(&key)) {
        return Ignored::Elsewhere(section);
    }
    if PASSIVE.contains(&key) {
        return Ignored::Elsewhere(if key.starts_with("StartLimit") || key == "Documentation" {
            "Unit"
        } else {
            "Service"
        });
    }
    let of_section = ACTIVE.iter().filter(|(name, _)| *name == section || *name == "Service" && section != "Unit");
    let active = of_section.flat_map(|(_, keys)| *keys).map(|key| (*key, true));
    let candidates = active.chain(PASSIVE.iter().map(|key| (*key, false)));
    let nearest =
        candidates.filter_map(|(known, active)| Some((slip(key, known)?, known, active))).min_by_key(|it| it.0);
    match nearest {
        Some((_, known, true)) => Ignored::Active(known),
        Some((_, known, false)) => Ignored::Passive(known),
        None => Ignored::Unknown,
    }
}

/// Whether the unit does its work by this directive.
pub(super) fn is_active(key: &str) -> bool {
    ACTIVE.iter().any(|(_, keys)| keys.contains(&key))
}

/// The section that is meant, if this is a slip.
pub(super) fn section_meant(section: &str) -> Option<&'static str> {
    SECTIONS.into_iter().filter_map(|known| Some((slip(section, known)?, known))).min_by_key(|it| it.0).map(|it| it.1)
}

/// How many letters were swapped, left out or put in, if that is so few that the other word was meant.
pub(super) fn slip(typed: &str, meant: &str) -> Option<usize> {
    if typed.eq_ignore_ascii_case(meant) {
        return Some(0);
    }
    let most = if meant.len() < 6 { 1 } else { 2 };
    let distance = strsim::osa_distance(&typed.to_ascii_lowercase(), &meant.to_ascii_lowercase());
    (distance <= most).then_some(distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_ignored_key_means() {
        let cases = [
            ("Service", "ExecStrat", Ignored::Active("ExecStart")),
            ("Service", "execStart", Ignored::Active("ExecStart")),
            ("Service", "EnvironmentFiles", Ignored::Active("EnvironmentFile")),
            ("Service", "Restrat", Ignored::Active("Restart")),
            ("Timer", "OnCalender", Ignored::Active("OnCalendar")),
            ("Socket", "ListenStrem", Ignored::Active("ListenStream")),
            ("Unit", "Afer", Ignored::Active("After")),
            ("Service", "RestrictNamespace", Ignored::Passive("RestrictNamespaces")),
            ("Service", "ProtectClocks", Ignored::Passive("ProtectClock")),
            ("Service", "StartLimitIntervalSec", Ignored::Elsewhere("Unit")),
            ("Service", "After", Ignored::Elsewhere("Unit")),
            ("Unit", "Restart", Ignored::Elsewhere("Service")),
            ("Service", "BrandNewThing", Ignored::Unknown),
            ("Service", "RestartMode", Ignored::Unknown),
        ];
        for (section, key, expected) in cases {
            assert_eq!(ignored(section, key), expected, "{key} in [{section}]");
        }
        assert_eq!((section_meant("Instal"), section_meant("service")), (Some("Install"), Some("Service")));
        assert_eq!((section_meant("Quadlet"), section_meant("Container")), (None, None));
    }
}
