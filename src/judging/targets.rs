//! The targets that systemd itself brings.

/// Targets that systemd brings to every system manager (systemd.special(7)), as NixOS links them.
pub(crate) const SYSTEM: [&str; 37] = [
    "basic",
    "bluetooth",
    "cryptsetup",
    "default",
    "emergency",
    "exit",
    "final",
    "first-boot-complete",
    "getty",
    "graphical",
    "halt",
    "hibernate",
    "hybrid-sleep",
    "initrd",
    "kexec",
    "local-fs",
    "local-fs-pre",
    "machines",
    "multi-user",
    "network",
    "network-online",
    "network-pre",
    "nss-lookup",
    "nss-user-lookup",
    "paths",
    "poweroff",
    "reboot",
    "remote-fs",
    "rescue",
    "shutdown",
    "sleep",
    "sockets",
    "suspend",
    "swap",
    "sysinit",
    "time-sync",
    "timers",
];

/// A target's name without its ending.
pub(crate) fn stem(target: &str) -> Option<&str> {
    target.strip_suffix(".target")
}

/// Whether the guest is to be asked whether it has this target: what systemd itself brings is there.
pub(crate) fn is_to_be_asked(target: &str) -> bool {
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || ":_.-".contains(c));
    stem(target).is_some_and(|name| !name.is_empty() && is_name(name) && !SYSTEM.contains(&name))
}
