//! Whether a service's sandbox became weaker (systemd.exec(5)).

use std::collections::{BTreeMap, BTreeSet};

use super::unit_file::{EMPTY, UnitFile};

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

/// The limiting list that lets nothing where it is set to nothing; any other is as good as not set then.
const CAPABILITIES: &str = "CapabilityBoundingSet";

/// Lists that, once set, let only what they name: without one all is let, and more in it is weaker.
const LIMITING: [&str; 5] =
    [CAPABILITIES, "RestrictAddressFamilies", "RestrictNamespaces", "SystemCallArchitectures", "SystemCallFilter"];

/// Lists that take something: less is weaker.
const TAKING: [&str; 5] = ["InaccessiblePaths", "ReadOnlyPaths", "IPAddressDeny", "NoExecPaths", "SocketBindDeny"];

/// What may stand before a program in a service's command (systemd.service(5)).
const PREFIXES: &str = "@-:+!|";

/// A service's commands beside the main one.
const EXECUTED: [&str; 5] = ["ExecStartPre", "ExecStartPost", "ExecReload", "ExecStop", "ExecStopPost"];

/// In which respects a service may do more than before; each as `NoNewPrivileges: yes → not set`.
pub(crate) fn weaker(old: &UnitFile, new: &UnitFile) -> Vec<String> {
    let mut all = Vec::new();
    let last = |unit: &UnitFile, key: &str| unit.last("Service", key).map(str::to_owned);
    let mut tell = |key: &str, from: Option<String>, to: Option<String>| {
        let shown =
            |value: Option<String>| value.filter(|value| !value.is_empty()).unwrap_or_else(|| "not set".to_owned());
        all.push(format!("{key}: {} → {}", shown(from), shown(to)));
    };
    if !is_root(old) {
        let were_roots = elevated(old);
        let roots = if is_root(new) { BTreeMap::from([("User", 1)]) } else { elevated(new) };
        let commands =
            |count: usize| Some(format!("{count} {} as root", if count == 1 { "command" } else { "commands" }));
        for (key, count) in roots {
            match were_roots.get(key) {
                None => tell(key, last(old, "User").or_else(|| Some("dynamic".to_owned())), Some("root".to_owned())),
                Some(before) if *before < count => tell(key, commands(*before), commands(count)),
                Some(_) => {}
            }
        }
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
    let listed = |unit: &UnitFile, key: &str| {
        let values = unit.get("Service", key)?;
        Some(if values.is_empty() { EMPTY.to_owned() } else { values.join(" ") })
    };
    for key in LIMITING {
        if !Limit::of(new, key).is_within(&Limit::of(old, key)) {
            tell(key, listed(old, key), listed(new, key));
        }
    }
    all
}

/// What a limiting list lets a service use.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Limit {
    /// All: there is no limit.
    All,
    /// These only.
    Only(Names),
    /// All but these.
    AllBut(Names),
}

/// What the values of a list name together, and what a later one took out of it. A group of system calls holds others:
/// what is taken out need not be among what is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Names {
    named: BTreeSet<String>,
    less: BTreeSet<String>,
}

impl Limit {
    /// What a unit's list says.
    fn of(unit: &UnitFile, key: &str) -> Self {
        let Some(mut values) = unit.get("Service", key) else { return Self::All };
        if key == CAPABILITIES {
            if values.is_empty() {
                return Self::Only(Names::default());
            }
            // All of them again, whatever was said before.
            values = values.rsplit(|value| value == "~").next().unwrap_or_default();
        }
        values.iter().fold(Self::All, |limit, value| limit.with(value))
    }

    /// One more value. The first one says whether what is named is let or denied, others add to that or take out of it.
    fn with(self, value: &str) -> Self {
        // Capabilities are named in any case.
        let value = value.to_lowercase();
        match value.as_str() {
            // Namespaces are restricted or not, and there may be no address family at all.
            "yes" | "true" | "on" | "y" | "t" | "1" | "none" => return Self::Only(Names::default()),
            "no" | "false" | "off" | "n" | "f" | "0" => return Self::All,
            _ => {}
        }
        let (is_denied, words) = value.strip_prefix('~').map_or((false, value.as_str()), |words| (true, words));
        // What a denied system call returns follows its name.
        let words: Vec<&str> = words.split_whitespace().filter_map(|word| word.split(':').next()).collect();
        let mut limit = match self {
            Self::All if words.is_empty() => Self::All,
            Self::All if is_denied => Self::AllBut(Names::default()),
            Self::All => Self::Only(Names::default()),
            limit => limit,
        };
        let adds = is_denied == matches!(limit, Self::AllBut(_));
        if let Self::Only(names) | Self::AllBut(names) = &mut limit {
            words.into_iter().for_each(|word| names.say(word, adds));
        }
        limit
    }

    /// Whether another one lets all that this one lets.
    fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::All) => true,
            (_, Self::AllBut(denied)) if denied.named.is_empty() => true,
            (Self::Only(these), _) if these.named.is_empty() => true,
            (Self::Only(these), Self::Only(those)) => these.is_within(those),
            (Self::Only(these), Self::AllBut(denied)) => these.named.is_disjoint(&denied.named),
            (Self::AllBut(these), Self::AllBut(those)) => those.is_within(these),
            (Self::All | Self::AllBut(_), _) => false,
        }
    }
}

impl Names {
    fn say(&mut self, name: &str, adds: bool) {
        if adds {
            self.less.remove(name);
            self.named.insert(name.to_owned());
            return;
        }
        self.named.remove(name);
        if name.starts_with('@') || self.named.iter().any(|other| other.starts_with('@')) {
            self.less.insert(name.to_owned());
        }
    }

    /// Whether another one names all of these, and takes out no more.
    fn is_within(&self, other: &Self) -> bool {
        self.named.is_subset(&other.named) && other.less.is_subset(&self.less)
    }
}

/// Whether a service runs as root.
pub(crate) fn is_root(unit: &UnitFile) -> bool {
    let user = unit.last("Service", "User").unwrap_or("root");
    matches!(user, "root" | "0") && !unit.bool("Service", "DynamicUser", false)
}

/// The keys of a service's commands that root runs whatever `User=` says.
pub(crate) fn as_root(unit: &UnitFile) -> Vec<&str> {
    elevated(unit).into_keys().collect()
}

/// How many commands of which keys root runs whatever `User=` says: with `+`, `!` or `!!` before the program, or all but the
/// main one (`PermissionsStartOnly=`).
fn elevated(unit: &UnitFile) -> BTreeMap<&str, usize> {
    let is_start_only = unit.bool("Service", "PermissionsStartOnly", false);
    let is_elevated =
        |command: &String| command.chars().take_while(|c| PREFIXES.contains(*c)).any(|c| "+!".contains(c));
    let keys = unit.sections.get("Service").into_iter().flatten().filter(|(key, _)| key.starts_with("Exec"));
    let counted = keys.map(|(key, commands)| {
        let is_all = is_start_only && EXECUTED.contains(&key.as_str());
        (key.as_str(), commands.iter().filter(|command| is_all || is_elevated(command)).count())
    });
    counted.filter(|(_, count)| *count > 0).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(old: &str, new: &str) -> Vec<String> {
        let unit = |text: &str| UnitFile::parse(&format!("[Service]\n{text}"));
        weaker(&unit(old), &unit(new))
    }

    /// A key's values as lines of a unit.
    fn lines(key: &str, values: &[String]) -> String {
        values.iter().map(|value| format!("{key}={value}\n")).collect()
    }

    /// Whether values let a name, one by one (systemd.exec(5)).
    fn lets(values: &[String], name: &str) -> bool {
        let merged = values.iter().fold(None, |so_far: Option<bool>, value| {
            let (is_denied, names) = value.strip_prefix('~').map_or((false, value.as_str()), |names| (true, names));
            let is_named = names.split(' ').any(|other| other == name);
            Some(match (so_far, is_denied) {
                (None, _) => is_named != is_denied,
                (Some(is_let), false) => is_let || is_named,
                (Some(is_let), true) => is_let && !is_named,
            })
        });
        merged.unwrap_or(true)
    }

    /// Values that name some of three names.
    fn values() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec("~?[abc]( [abc]){0,2}", 0..4)
    }

    proptest! {
        /// A list is weaker where it lets a name that it did not let; one is in no list.
        #[test]
        fn lists_are_compared_as_what_they_let(old in values(), new in values()) {
            let lets_more = ["a", "b", "c", "d"].iter().any(|name| lets(&new, name) && !lets(&old, name));
            for key in [CAPABILITIES, "RestrictNamespaces", "SystemCallFilter"] {
                prop_assert_eq!(!of(&lines(key, &old), &lines(key, &new)).is_empty(), lets_more);
            }
        }
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
            ("User=a\nExecStartPre=/x", "User=a\nExecStartPre=-+/x", "ExecStartPre: a → root"),
            ("User=a\nExecStart=/x", "User=a\nExecStart=!!/x", "ExecStart: a → root"),
            (
                "User=a\nExecStartPre=+/x",
                "User=a\nExecStartPre=+/x\nExecStartPre=/y\nExecStartPre=!/z",
                "ExecStartPre: 1 command as root → 2 commands as root",
            ),
            ("DynamicUser=yes", "DynamicUser=yes\nExecStopPost=@!/x x", "ExecStopPost: dynamic → root"),
            ("User=a\nExecStop=/x", "User=a\nExecStop=/x\nPermissionsStartOnly=true", "ExecStop: a → root"),
            ("CapabilityBoundingSet=A", "", "CapabilityBoundingSet: A → not set"),
            ("CapabilityBoundingSet=A", "CapabilityBoundingSet=A B", "CapabilityBoundingSet: A → A B"),
            ("", "AmbientCapabilities=CAP_NET_ADMIN", "AmbientCapabilities: not set → CAP_NET_ADMIN"),
            ("SystemCallFilter=~@mount @swap", "SystemCallFilter=~@mount", "SystemCallFilter: ~@mount @swap → ~@mount"),
            ("CapabilityBoundingSet=", "", "CapabilityBoundingSet: (empty) → not set"),
            ("CapabilityBoundingSet=", "CapabilityBoundingSet=A", "CapabilityBoundingSet: (empty) → A"),
            ("CapabilityBoundingSet=", "CapabilityBoundingSet=~", "CapabilityBoundingSet: (empty) → ~"),
            (
                "CapabilityBoundingSet=A",
                "CapabilityBoundingSet=A\nCapabilityBoundingSet=~",
                "CapabilityBoundingSet: A → A ~",
            ),
            ("CapabilityBoundingSet=A", "CapabilityBoundingSet=~B", "CapabilityBoundingSet: A → ~B"),
            ("CapabilityBoundingSet=~A", "CapabilityBoundingSet=~B", "CapabilityBoundingSet: ~A → ~B"),
            ("RestrictNamespaces=true", "RestrictNamespaces=~user", "RestrictNamespaces: true → ~user"),
            ("RestrictNamespaces=true", "RestrictNamespaces=user", "RestrictNamespaces: true → user"),
            ("RestrictNamespaces=user", "RestrictNamespaces=no", "RestrictNamespaces: user → no"),
            ("RestrictNamespaces=yes", "RestrictNamespaces=", "RestrictNamespaces: yes → (empty)"),
            ("RestrictAddressFamilies=none", "RestrictAddressFamilies=AF_X", "RestrictAddressFamilies: none → AF_X"),
            ("RestrictAddressFamilies=AF_X", "RestrictAddressFamilies=~AF_Y", "RestrictAddressFamilies: AF_X → ~AF_Y"),
            ("SystemCallFilter=@a\nSystemCallFilter=~@b", "SystemCallFilter=@a", "SystemCallFilter: @a ~@b → @a"),
            ("SystemCallFilter=~@a", "SystemCallFilter=~@a\nSystemCallFilter=b", "SystemCallFilter: ~@a → ~@a b"),
            ("SystemCallFilter=~@mount", "SystemCallFilter=@mount", "SystemCallFilter: ~@mount → @mount"),
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
            ("User=a\nExecStartPre=+/x", "User=a\nExecStartPre=!/y"),
            ("User=a\nExecStartPre=/x", "User=a\nExecStartPre=-@/x +y!"),
            ("User=a\nExecStart=/x", "User=a\nExecStart=/x\nPermissionsStartOnly=true"),
            ("ExecStartPre=/x", "ExecStartPre=+/x"),
            ("User=a\nExecStartPre=+/x\nExecStartPre=+/y", "User=a\nExecStartPre=/z\nExecStartPre=+/x"),
            ("ExecStartPre=/x", "User=a\nExecStartPre=+/x"),
            ("CapabilityBoundingSet=A B", "CapabilityBoundingSet=A"),
            ("", "CapabilityBoundingSet=A"),
            ("DynamicUser=yes", "User=a"),
            ("", "SystemCallFilter=~@mount"),
            ("ProtectHome=true", "ProtectHome=yes"),
            ("", "CapabilityBoundingSet="),
            ("CapabilityBoundingSet=A", "CapabilityBoundingSet="),
            ("CapabilityBoundingSet=~A", "CapabilityBoundingSet=B"),
            ("CapabilityBoundingSet=CAP_A", "CapabilityBoundingSet=cap_a"),
            ("CapabilityBoundingSet=~", ""),
            ("RestrictNamespaces=user", "RestrictNamespaces=yes"),
            ("RestrictNamespaces=~user", "RestrictNamespaces=~user net"),
            ("RestrictNamespaces=no", ""),
            ("RestrictAddressFamilies=AF_X", "RestrictAddressFamilies=none"),
            ("SystemCallFilter=", ""),
            ("SystemCallFilter=@a", "SystemCallFilter=@a\nSystemCallFilter=~@b:EPERM"),
            ("SystemCallFilter=~@a", "SystemCallFilter=~@a:EPERM @b"),
            ("SystemCallFilter=~@a", "SystemCallFilter=@b"),
        ] {
            assert_eq!(of(old, new), Vec::<String>::new(), "{old} {new}");
        }
    }
}
