//! What a condition that did not hold means (systemd.unit(5), "Conditions and Asserts").

use crate::model::STORE_DIR;

/// Why a unit that is wanted was skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SkipReason {
    /// It has nothing to do: the condition is one of time (`!path`, first boot).
    ByDesign,
    /// This condition is about the machine: the real one may differ.
    MachineSpecific(String),
    /// This condition is about the configuration itself, which wants the unit and keeps it away.
    Contradiction(String),
}

/// Judges conditions that did not hold.
///
/// A condition asks about one of three things.
/// * The machine: virtualisation, hardware, kernel command line, power, firmware, security modules, paths under /dev,
///   /sys and /proc, mounts, secrets, and state that only a used disk has (/var, /home, /root, …). A VM with a fresh
///   disk says nothing about the real machine.
/// * Time: `!path`, first boot, needs-update. What is skipped is not needed.
/// * The configuration itself: paths under /etc, the store, /run/current-system and the like, users, groups, the
///   manager's environment. The VM has the same as the real machine, which would skip the unit too.
///
/// Of triggering conditions (`|`) one suffices to hold, so they count only if all are of the last kind.
pub(crate) fn skip_reason(conditions: &[String]) -> SkipReason {
    let (triggering, plain): (Vec<_>, Vec<_>) =
        conditions.iter().map(|written| condition(written)).partition(|(_, triggering)| *triggering);
    if conditions.is_empty() {
        return SkipReason::MachineSpecific("a condition".to_owned());
    }
    let is_contradiction = |(reason, _): &&(SkipReason, bool)| matches!(reason, SkipReason::Contradiction(_));
    let trigger = triggering.iter().find(|reason| !is_contradiction(reason)).or(triggering.first()).cloned();
    plain.into_iter().chain(trigger).fold(SkipReason::ByDesign, |worst, (reason, _)| worse(worst, reason))
}

fn worse(one: SkipReason, other: SkipReason) -> SkipReason {
    let weight = |reason: &SkipReason| match reason {
        SkipReason::ByDesign => 0,
        SkipReason::MachineSpecific(_) => 1,
        SkipReason::Contradiction(_) => 2,
    };
    if weight(&other) > weight(&one) { other } else { one }
}

/// What a condition means, and whether it is a triggering one.
fn condition(written: &str) -> (SkipReason, bool) {
    let (name, value) = written.split_once('=').unwrap_or((written, ""));
    let name = name.trim_start_matches("Condition").trim_start_matches("Assert");
    let triggering = value.starts_with('|');
    let value = value.trim_start_matches('|');
    let negated = value.starts_with('!');
    let path = value.trim_start_matches('!').trim();
    let reason = match name {
        "FirstBoot" | "NeedsUpdate" | "Version" => SkipReason::ByDesign,
        "User" | "Group" | "Environment" => SkipReason::Contradiction(written.to_owned()),
        "PathExists" | "PathExistsGlob" | "PathIsDirectory" | "PathIsSymbolicLink" | "PathIsSocket"
        | "DirectoryNotEmpty" | "FileNotEmpty" | "FileIsExecutable" => {
            if negated {
                SkipReason::ByDesign
            } else if is_configured_path(path) {
                SkipReason::Contradiction(written.to_owned())
            } else {
                SkipReason::MachineSpecific(written.to_owned())
            }
        }
        _ => SkipReason::MachineSpecific(written.to_owned()),
    };
    (reason, triggering)
}

/// Paths that the configuration itself makes, the same in the VM as on the real machine.
pub(crate) fn is_configured_path(path: &str) -> bool {
    const OURS: [&str; 10] = [
        "/etc",
        STORE_DIR,
        "/run/current-system",
        "/run/booted-system",
        "/run/wrappers",
        "/run/opengl-driver",
        "/bin",
        "/sbin",
        "/usr",
        "/lib",
    ];
    // Made on the first boot, or by hand: state, though it lies under /etc.
    const STATE: [&str; 7] = [
        "/etc/machine-id",
        // A person's own checkout, with what is in no repository.
        "/etc/nixos/",
        "/etc/adjtime",
        "/etc/krb5.keytab",
        "/etc/initrd-release",
        "/etc/ssh/ssh_host_",
        "/etc/secureboot",
    ];
    let below = |dir: &&str| path.strip_prefix(*dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    OURS.iter().any(below) && !STATE.iter().any(|state| path.starts_with(state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_conditions_mean() {
        let judge =
            |conditions: &[&str]| skip_reason(&conditions.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        let contradiction = |text: &str| SkipReason::Contradiction(text.to_owned());
        let machine = |text: &str| SkipReason::MachineSpecific(text.to_owned());
        for text in ["ConditionPathExists=/etc/app.conf", "ConditionUser=nobody", "ConditionFileNotEmpty=/nix/store/x"]
        {
            assert_eq!(judge(&[text]), contradiction(text));
        }
        for text in [
            "ConditionVirtualization=no",
            "ConditionVirtualization=!vm",
            "ConditionACPower=true",
            "ConditionKernelCommandLine=quiet",
            "ConditionSecurity=tpm2",
            "ConditionPathIsDirectory=/sys/class/bluetooth",
            "ConditionPathExists=/dev/kvm",
            "ConditionPathExists=/var/lib/app/state",
            "ConditionPathIsMountPoint=/etc/machine-id",
            "ConditionPathExists=/etc/krb5.keytab",
            "ConditionPathExists=/etcetera",
            "ConditionSomethingNew=1",
        ] {
            assert_eq!(judge(&[text]), machine(text));
        }
        assert_eq!(judge(&["ConditionPathExists=!/etc/done"]), SkipReason::ByDesign);
        assert_eq!(judge(&["ConditionFirstBoot=yes"]), SkipReason::ByDesign);
        // One that contradicts suffices, whatever else keeps it away.
        assert_eq!(judge(&["ConditionACPower=true", "ConditionUser=x"]), contradiction("ConditionUser=x"));
        // One of several triggering ones would do.
        assert_eq!(
            judge(&["ConditionPathExists=|/etc/a", "ConditionPathExists=|/var/a"]),
            machine("ConditionPathExists=|/var/a")
        );
        assert_eq!(judge(&["ConditionPathExists=|/etc/a"]), contradiction("ConditionPathExists=|/etc/a"));
        assert!(matches!(judge(&[]), SkipReason::MachineSpecific(_)));
    }
}
