//! Whether a service's sandbox became weaker (systemd.exec(5)).

use std::collections::BTreeSet;

use super::unit_file::UnitFile;

/// Settings that are on or off; on is safer.
const SWITCHES: [&str; 21] = [
    "NoNewPrivileges",
    "PrivateTmp",
    "PrivateDevices",
    "PrivateNetwork",
    "PrivateUsers",
    "PrivateMounts",
    "PrivateIPC",
    "PrivatePIDs",
    "ProtectKernelTunables",
    "ProtectKernelModules",
    "ProtectKernelLogs",
    "ProtectControlGroups",
    "ProtectClock",
    "ProtectHostname",
    "RestrictSUIDSGID",
    "RestrictRealtime",
    "MemoryDenyWriteExecute",
    "LockPersonality",
    "RemoveIPC",
    "DynamicUser",
    "MountAPIVFS",
];

/// Settings of several strengths, the weakest first.
const SCALES: [(&str, &[&str]); 5] = [
    ("ProtectSystem", &["no", "yes", "full", "strict"]),
    ("ProtectHome", &["no", "read-only", "tmpfs", "yes"]),
    ("ProtectProc", &["default", "ptraceable", "noaccess", "invisible"]),
    ("ProcSubset", &["all", "pid"]),
    ("DevicePolicy", &["auto", "closed", "strict"]),
];

/// Lists that give something: more is weaker.
const GIVING: [&str; 7] = [
    "AmbientCapabilities",
    "ReadWritePaths",
    "BindPaths",
    "DeviceAllow",
    "IPAddressAllow",
    "SupplementaryGroups",
    "SocketBindAllow",
];

/// Lists that, once set, let only what they name: without one all is let, and more in it is weaker.
const LIMITING: [&str; 5] = [
    "CapabilityBoundingSet",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "SystemCallArchitectures",
    "SystemCallFilter",
];

/// Lists that take something: less is weaker.
const TAKING: [&str; 5] = ["InaccessiblePaths", "ReadOnlyPaths", "IPAddressDeny", "NoExecPaths", "SocketBindDeny"];

/// In which respects a service may do more than before; each as `NoNewPrivileges: yes → not set`.
pub(crate) fn weaker(old: &UnitFile, new: &UnitFile) -> Vec<String> {
    let mut all = Vec::new();
    let last = |unit: &UnitFile, key: &str| unit.last("Service", key).map(str::to_owned);
    let mut tell = |key: &str, from: Option<String>, to: Option<String>| {
        let shown =
            |value: Option<String>| value.filter(|value| !value.is_empty()).unwrap_or_else(|| "not set".to_owned());
        all.push(format!("{key}: {} → {}", shown(from), shown(to)));
    };
    if !is_root(old) && is_root(new) {
        tell("User", last(old, "User").or_else(|| Some("dynamic".to_owned())), Some("root".to_owned()));
    }
    for key in SWITCHES {
        let is_on = |unit: &UnitFile| {
            last(unit, key).is_some_and(|value| !matches!(value.as_str(), "no" | "false" | "0" | "off"))
        };
        if is_on(old) && !is_on(new) && !(key == "DynamicUser" && last(new, "User").is_some()) {
            tell(key, last(old, key), last(new, key));
        }
    }
    for (key, scale) in SCALES {
        let strength = |unit: &UnitFile| {
            let value = match last(unit, key).as_deref() {
                None | Some("false" | "0" | "off") => scale[0].to_owned(),
                Some("true" | "1" | "on") => "yes".to_owned(),
                Some(value) => value.to_owned(),
            };
            scale.iter().position(|step| *step == value).unwrap_or_default()
        };
        if strength(new) < strength(old) {
            tell(key, last(old, key), last(new, key));
        }
    }
    let words = |unit: &UnitFile, key: &str| unit.words("Service", key).map(str::to_owned).collect::<BTreeSet<_>>();
    let joined = |words: &BTreeSet<String>| Some(words.iter().cloned().collect::<Vec<_>>().join(" "));
    for key in GIVING {
        let (before, after) = (words(old, key), words(new, key));
        if !after.is_subset(&before) {
            tell(key, joined(&before), joined(&after));
        }
    }
    for key in TAKING {
        let (before, after) = (words(old, key), words(new, key));
        if !before.is_subset(&after) {
            tell(key, joined(&before), joined(&after));
        }
    }
    for key in LIMITING {
        let (before, after) = (words(old, key), words(new, key));
        if allows_more(&before, &after) {
            tell(key, joined(&before), joined(&after));
        }
    }
    all
}

/// Whether a list that lets only what it names, or all but what it names (`~`), lets more than before.
fn allows_more(before: &BTreeSet<String>, after: &BTreeSet<String>) -> bool {
    let is_off =
        |words: &BTreeSet<String>| words.is_empty() || words.iter().any(|word| matches!(word.as_str(), "no" | "false"));
    if is_off(before) || before == after {
        return false;
    }
    if is_off(after) {
        return true;
    }
    let denied =
        |words: &BTreeSet<String>| words.iter().filter(|word| word.starts_with('~')).cloned().collect::<BTreeSet<_>>();
    let allowed =
        |words: &BTreeSet<String>| words.iter().filter(|word| !word.starts_with('~')).cloned().collect::<BTreeSet<_>>();
    // After a `~` the words of the same value are denied too: then any change counts that takes one away.
    if !denied(before).is_empty() {
        return !before.is_subset(after);
    }
    !allowed(after).is_subset(&allowed(before))
}

/// Whether a service runs as root.
pub(crate) fn is_root(unit: &UnitFile) -> bool {
    let user = unit.last("Service", "User").unwrap_or("root");
    matches!(user, "root" | "0") && !unit.bool("Service", "DynamicUser", false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(old: &str, new: &str) -> Vec<String> {
        let unit = |text: &str| UnitFile::parse(&format!("[Service]\n{text}"));
        weaker(&unit(old), &unit(new))
    }

    #[test]
    fn what_is_weaker() {
        for (old, new, said) in [
            ("NoNewPrivileges=true", "", "NoNewPrivileges: true → not set"),
            ("NoNewPrivileges=true", "NoNewPrivileges=no", "NoNewPrivileges: true → no"),
            ("ProtectSystem=strict", "ProtectSystem=full", "ProtectSystem: strict → full"),
            ("ProtectHome=true", "ProtectHome=read-only", "ProtectHome: true → read-only"),
            ("User=a", "", "User: a → root"),
            ("DynamicUser=yes", "", "User: dynamic → root"),
            ("CapabilityBoundingSet=A", "", "CapabilityBoundingSet: A → not set"),
            ("CapabilityBoundingSet=A", "CapabilityBoundingSet=A B", "CapabilityBoundingSet: A → A B"),
            ("", "AmbientCapabilities=CAP_NET_ADMIN", "AmbientCapabilities: not set → CAP_NET_ADMIN"),
            ("SystemCallFilter=~@mount @swap", "SystemCallFilter=~@mount", "SystemCallFilter: @swap ~@mount → ~@mount"),
            ("InaccessiblePaths=/a", "", "InaccessiblePaths: /a → not set"),
        ] {
            let all = of(old, new);
            assert_eq!(all.first().map(String::as_str), Some(said), "{old} {new}");
        }
    }

    #[test]
    fn what_is_not() {
        for (old, new) in [
            ("", "NoNewPrivileges=true"),
            ("ProtectSystem=full", "ProtectSystem=strict"),
            ("", "User=a"),
            ("CapabilityBoundingSet=A B", "CapabilityBoundingSet=A"),
            ("", "CapabilityBoundingSet=A"),
            ("DynamicUser=yes", "User=a"),
            ("", "SystemCallFilter=~@mount"),
            ("ProtectHome=true", "ProtectHome=yes"),
        ] {
            assert_eq!(of(old, new), Vec::<String>::new(), "{old} {new}");
        }
    }
}
