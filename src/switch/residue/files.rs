//! Files, NixOS's wrappers, and mounts.

use std::collections::BTreeSet;

use super::Between;
use crate::diff::unit_file::UnitFile;
use crate::judging::Finding;
use crate::switch::record::{MachineState, Owner};

/// What comes and goes below `/etc` and `/run` by itself: of systemd, of NixOS, of nixbox, of those who are logged in.
pub(super) const PASSING: [&str; 32] = [
    "/etc/.clean",
    "/etc/.updated",
    "/etc/.pwd.lock",
    "/etc/group-",
    "/etc/gshadow-",
    "/etc/passwd-",
    "/etc/shadow-",
    "/etc/subgid-",
    "/etc/subuid-",
    "/etc/adjtime",
    "/etc/resolv.conf",
    "/run/agetty.reload",
    "/run/blkid",
    "/run/credentials",
    "/run/current-system",
    "/run/faillock",
    "/run/initctl",
    "/run/keys",
    "/run/lock",
    "/run/log",
    "/run/motd",
    "/run/mount",
    "/run/nixos",
    "/run/nologin",
    "/run/reboot-required",
    "/run/sudo",
    "/run/systemd",
    "/run/udev",
    "/run/user",
    "/run/utmp",
    "/run/wrappers",
    "/run/xtables.lock",
];
/// What is nixbox's own below `/run`.
const OURS: &str = "/run/nixbox";
/// What systemd and NixOS keep in `/var/lib` for themselves.
const KEPT: [&str; 3] = ["/var/lib/systemd", "/var/lib/nixos", "/var/lib/private"];
/// Where NixOS's wrappers are.
const WRAPPERS: &str = "/run/wrappers/bin/";
/// What is mounted for a time: for a user who is logged in, for a service, for a container.
const PASSING_MOUNTS: [&str; 8] = [
    "/run/user/",
    "/run/credentials/",
    "/run/netns/",
    "/run/docker/",
    "/run/containerd/",
    "/run/wrappers.",
    // The kernel's interfaces, which come with its modules.
    "/sys/",
    "/proc/",
];
/// Where NixOS mounts an `/etc` that is an overlay (`system.etc.overlay`): each switch to another one by a name made up
/// for it, behind a dot.
const ETC_MOUNTS: [&str; 2] = ["/run/nixos-etc", "/run/nixos-etc-metadata"];

impl Between<'_> {
    pub(super) fn files(&self) -> Vec<Finding> {
        let (before, back) = (&self.before.state, &self.back.state);
        let stays = |path: &String| self.left(path, format!("{path} is still there after switching back"));
        let is_gone = |path: &String| self.gone(path, format!("{path} is gone after switching back"));
        let is_passing = |path: &str| PASSING.contains(&path) || path.starts_with(OURS) || is_of_etc(path);
        let only_in = |these: &BTreeSet<String>, those: &BTreeSet<String>| -> Vec<String> {
            let new = these.difference(those).filter(|path| !is_passing(path) && !self.is_kept_by_unit(path));
            new.filter(|path| !is_renumbered(path, these, those)).cloned().collect()
        };
        let (entries, gone) = (only_in(&back.entries, &before.entries), only_in(&before.entries, &back.entries));
        let linger = back.lingering.difference(&before.lingering).map(|user| {
            let path = format!("/var/lib/systemd/linger/{user}");
            let summary =
                format!("{path} is still there after switching back: the manager of {user} is started at each boot");
            self.left(&path, summary)
        });
        let not_lingering = before.lingering.difference(&back.lingering).map(|user| {
            let path = format!("/var/lib/systemd/linger/{user}");
            let summary =
                format!("{path} is gone after switching back: the manager of {user} is no longer started at boot");
            self.gone(&path, summary)
        });
        self.data(back, before)
            .map(stays)
            .chain(entries.iter().map(stays))
            .chain(linger)
            .chain(self.data(before, back).map(is_gone))
            .chain(gone.iter().map(is_gone))
            .chain(not_lingering)
            .chain(self.owners())
            .chain(self.wrappers())
            .collect()
    }

    /// Entries of `/var/lib` in one state that are not in the other. What is in a directory is told with it; what a service
    /// puts into a directory of its own is its affair, and so is what came or went in one that was there all the time while
    /// the machine was back already.
    fn data<'a>(&'a self, here: &'a MachineState, there: &'a MachineState) -> impl Iterator<Item = &'a String> {
        let is_new_here = std::ptr::eq(here, &self.back.state);
        let new = here.owners.keys().filter(|path| is_data(path) && !there.owners.contains_key(*path));
        new.filter(move |path| {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            parent == "/var/lib"
                || there.owners.contains_key(parent) && self.switched.state.owners.contains_key(*path) == is_new_here
        })
        .filter(|path| !self.is_kept_by_unit(path))
    }

    /// Whether a path is, or is in, a directory that a service of the configuration says is its own, or that bears the name
    /// of one that runs when it is asked for: it may have been asked for the first time.
    fn is_kept_by_unit(&self, path: &str) -> bool {
        let keys: &[&str] = match path.split('/').nth(1) {
            Some("var") => &["StateDirectory"],
            Some("run") => &["RuntimeDirectory"],
            _ => return false,
        };
        let base = if keys == ["StateDirectory"] { "/var/lib/" } else { "/run/" };
        let Some(name) = path.strip_prefix(base) else { return false };
        let first = name.split('/').next();
        if self.on_demand.iter().any(|unit| unit.strip_suffix(".service") == first) {
            return true;
        }
        self.from.system.files.values().any(|unit| {
            keys.iter().any(|key| directories(unit, key).any(|own| own == name || name.starts_with(&format!("{own}/"))))
        })
    }

    /// What is somebody else's than before, or has another mode: no failure by itself.
    fn owners(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = Vec::new();
        for (path, now) in self.back.state.owners.iter().filter(|(path, _)| is_data(path)) {
            let known = self.before.state.owners.get(path).filter(|known| *known != now && !is_dynamic(**known, *now));
            let Some(known) = known else { continue };
            if !findings.iter().any(|told| path.starts_with(&format!("{}/", told.item))) {
                findings.push(self.left(
                    path,
                    format!("{path} has the owner and mode {now} after switching back, and had {known} before"),
                ));
            }
        }
        findings
    }

    /// What runs with another's rights.
    fn wrappers(&self) -> Vec<Finding> {
        let of = |state: &'_ MachineState| -> Vec<(String, Owner)> {
            state
                .owners
                .iter()
                .filter_map(|(path, owner)| Some((path.strip_prefix(WRAPPERS)?.to_owned(), *owner)))
                .collect()
        };
        let (before, back) = (of(&self.before.state), of(&self.back.state));
        let find =
            |all: &[(String, Owner)], name: &str| all.iter().find(|(known, _)| known == name).map(|(_, owner)| *owner);
        let now = back.iter().filter_map(|(name, owner)| match find(&before, name) {
            None => Some(
                self.left(name, format!("the wrapper {WRAPPERS}{name} ({owner}) is still there after switching back")),
            ),
            Some(known) if known != *owner => Some(self.left(
                name,
                format!("the wrapper {WRAPPERS}{name} is {owner} after switching back, and was {known} before"),
            )),
            Some(_) => None,
        });
        let gone = before.iter().filter(|(name, _)| find(&back, name).is_none());
        let gone =
            gone.map(|(name, _)| self.gone(name, format!("the wrapper {WRAPPERS}{name} is gone after switching back")));
        now.chain(gone).collect()
    }

    pub(super) fn mounts(&self) -> Vec<Finding> {
        let (before, back) = (&self.before.state, &self.back.state);
        let is_passing = |place: &str| {
            PASSING_MOUNTS.iter().any(|passing| place.starts_with(passing))
                || place.contains("/overlay")
                || is_of_etc(place)
        };
        let on_demand = |place: &String| before.automounts.contains(place) || back.automounts.contains(place);
        let counts = |place: &String| !is_passing(place) && !on_demand(place);
        let now =
            back.mounts.iter().filter(|(place, _)| counts(place)).filter_map(|(place, what)| {
                match before.mounts.get(place) {
                    None => Some(self.left(place, format!("{what} is still mounted at {place} after switching back"))),
                    Some(known) if known != what => Some(self.left(
                        place,
                        format!("{what} is mounted at {place} after switching back, and {known} was before"),
                    )),
                    Some(_) => None,
                }
            });
        let gone = before.mounts.iter().filter(|(place, _)| counts(place) && !back.mounts.contains_key(*place));
        let gone = gone.map(|(place, what)| {
            self.gone(place, format!("{what} is no longer mounted at {place} after switching back"))
        });
        now.chain(gone).collect()
    }
}

/// Whether a path has a number in its name that is made anew each time, a process's for example: there are as many of its
/// kind in both.
fn is_renumbered(path: &str, these: &BTreeSet<String>, those: &BTreeSet<String>) -> bool {
    let kind =
        |path: &str| path.split(|c: char| c.is_ascii_digit()).filter(|part| !part.is_empty()).collect::<String>();
    let own = kind(path);
    let count = |all: &BTreeSet<String>| all.iter().filter(|other| kind(other) == own).count();
    own != path && count(these) <= count(those)
}

/// Whether a path is one of [`ETC_MOUNTS`].
fn is_of_etc(path: &str) -> bool {
    ETC_MOUNTS.iter().any(|name| path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// Whether a path is of the data of services and users.
fn is_data(path: &str) -> bool {
    path.starts_with("/var/lib/")
        && !KEPT.iter().any(|kept| path.strip_prefix(kept).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// The first number of systemd's dynamic users (systemd.exec(5), `DynamicUser=`).
const DYNAMIC: u32 = 61184;

/// Whether one of the owners is a user that exists while its service runs.
pub(super) fn is_dynamic(known: Owner, now: Owner) -> bool {
    [known.uid, now.uid, known.gid, now.gid].iter().any(|id| *id >= DYNAMIC)
}

/// The directories that a unit's key names (systemd.exec(5), `StateDirectory=`): `a`, `a:link`.
pub(super) fn directories<'a>(unit: &'a UnitFile, key: &'a str) -> impl Iterator<Item = &'a str> {
    unit.words("Service", key).map(|name| name.split(':').next().unwrap_or(name))
}
