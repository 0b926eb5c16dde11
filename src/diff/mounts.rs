//! What a switch does to file systems and swap (`parse_fstab` and its use in `switch-to-configuration-ng`).

use std::collections::{BTreeMap, BTreeSet};

use crate::text::escape_path;

/// A line of fstab(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileSystem {
    pub(crate) device: String,
    pub(crate) kind: String,
    pub(crate) options: String,
}

/// fstab: file systems by mount point, swap devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fstab {
    pub(crate) mounts: BTreeMap<String, FileSystem>,
    pub(crate) swaps: BTreeSet<String>,
}

/// What is done to the units of mounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MountChanges {
    /// Unmounted.
    pub(crate) stop: BTreeSet<String>,
    /// Mounted with the target that wants it.
    pub(crate) start: BTreeSet<String>,
    pub(crate) restart: BTreeSet<String>,
    /// Mounted again with other options.
    pub(crate) reload: BTreeSet<String>,
    /// `/` and `/nix`, which stay what they are.
    pub(crate) skip: BTreeSet<String>,
    /// Devices that are no swap any more.
    pub(crate) swap_off: BTreeSet<String>,
}

impl Fstab {
    /// fstab's text, by the switch's own rules: a line with a `#` anywhere is none.
    pub(crate) fn parse(text: &str) -> Self {
        let mut fstab = Self::default();
        for line in text.lines().filter(|line| !line.contains('#')) {
            let mut words = line.split_whitespace();
            let (Some(device), Some(point), Some(kind)) = (words.next(), words.next(), words.next()) else { continue };
            if kind == "swap" {
                fstab.swaps.insert(device.to_owned());
                continue;
            }
            let options = words.next().unwrap_or_default().to_owned();
            let mount = FileSystem { device: device.to_owned(), kind: kind.to_owned(), options };
            fstab.mounts.insert(point.to_owned(), mount);
        }
        fstab
    }
}

/// What a switch from one to the other does.
pub(crate) fn mount_changes(old: &Fstab, new: &Fstab) -> MountChanges {
    let mut changes = MountChanges::default();
    for (point, before) in &old.mounts {
        let unit = format!("{}.mount", escape_path(point));
        let Some(after) = new.mounts.get(point) else {
            let is_automount = before.options.contains("x-systemd.automount");
            changes.stop.insert(if is_automount { format!("{}.automount", escape_path(point)) } else { unit });
            continue;
        };
        let has_moved = before.kind != after.kind || before.device != after.device;
        match (has_moved, matches!(point.as_str(), "/" | "/nix"), before.options != after.options) {
            (true, false, _) => changes.restart.insert(unit),
            (true, true, false) => changes.skip.insert(unit),
            (_, _, true) => changes.reload.insert(unit),
            (false, _, false) => false,
        };
    }
    let added = new.mounts.iter().filter(|(point, _)| !old.mounts.contains_key(*point));
    let at_boot = added.filter(|(_, mount)| !mount.options.split(',').any(|option| option == "noauto"));
    changes.start = at_boot.map(|(point, _)| format!("{}.mount", escape_path(point))).collect();
    changes.swap_off = old.swaps.difference(&new.swaps).cloned().collect();
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_that_change() {
        let old = Fstab::parse(
            "# c\n/dev/a / ext4 x 0 1\n/dev/b /nix ext4 x\n/dev/c /home ext4 x\n/dev/d /srv/a-b ext4 x\n/dev/e /gone ext4 x\n\
             /dev/f /auto nfs x-systemd.automount\n/dev/s none swap x\n/dev/t none swap x\n/dev/same /same ext4 y\n",
        );
        let new = Fstab::parse(
            "/dev/z / ext4 x\n/dev/b /nix ext4 y\n/dev/z /home ext4 x\n/dev/d /srv/a-b ext4 y\n/dev/s none swap x\n\
             /dev/same /same ext4 y\n/dev/n /new ext4 x\n/dev/m /late ext4 noauto\n",
        );
        let changes = mount_changes(&old, &new);
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(changes.stop, set(&["gone.mount", "auto.automount"]));
        assert_eq!(changes.skip, set(&["-.mount"]));
        assert_eq!(changes.reload, set(&["nix.mount", "srv-a\\x2db.mount"]));
        assert_eq!(changes.restart, set(&["home.mount"]));
        assert_eq!(changes.start, set(&["new.mount"]));
        assert_eq!(changes.swap_off, set(&["/dev/t"]));
        assert_eq!(mount_changes(&old, &old), MountChanges::default());
    }
}
