//! Disks of the real machine, by what the configuration says of them: a file system, a LUKS device, a pool, a place of
//! impermanence's that the VM variant leaves out.

use std::sync::LazyLock;

use regex::Regex;

use super::paths::{Presence, maker, meant, missed, presence};
use super::{LAST, last_lines, quoted};
use crate::guest::facts::{Facts, JournalLine, Unit};
use crate::guest::paths::paths_in;
use crate::judging::journal::Means as _;
use crate::judging::journal_patterns::Meaning;
use crate::judging::text::pattern;
use crate::judging::unit::unescape_path;
use crate::judging::{JudgeContext, Plan};
use crate::model::{Excuse, Lack, Witness};

/// A device that a file system can be on; a VM's own (`/dev/vda`) are left out.
static DISK: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?:/dev/(?:disk/by-[\w-]+/.+|sd[a-z]+\d*|nvme\d.*|mmcblk\d.*|md\d+|md/.+|mapper/.+|zvol/.+|bcache\d+)|(?:PART)?(?:UUID|LABEL)=.+)$",
    )
});

/// Whether a path is a disk's, or a part of one.
pub(super) fn is_disk(path: &str) -> bool {
    DISK.is_match(path)
}

/// `UUID=x` as udev's link, and anything else as it is.
fn as_path(what: &str) -> String {
    let label = what.split_once('=').filter(|_| !what.starts_with('/'));
    label.map_or_else(|| what.to_owned(), |(kind, name)| format!("/dev/disk/by-{}/{name}", kind.to_ascii_lowercase()))
}

/// Where the real machine has file systems that the VM variant leaves out.
fn left_out(plan: &Plan) -> impl Iterator<Item = &String> {
    let disks = &plan.expectations.disks;
    disks.real.keys().filter(|place| !disks.own.contains_key(*place))
}

/// Why what lies at this path is not there: the file system that it is on.
pub(super) fn lies_on(plan: &Plan, path: &str) -> Option<Excuse> {
    let disks = &plan.expectations.disks;
    let is_on = |place: &&String| place.len() > 1 && (path == *place || path.starts_with(&format!("{place}/")));
    // What the VM has of its own there is not on it.
    let own = disks.own.keys().filter(is_on).map(String::len).max().unwrap_or_default();
    if let Some(place) = left_out(plan).filter(is_on).filter(|place| place.len() > own).max_by_key(|place| place.len())
    {
        let option = format!("fileSystems.{place:?}");
        let why =
            format!("lies on {place}, a file system of the real machine ({option}) that the VM variant does not have");
        return Some(Excuse::new(Lack::Disk, Witness::option(option), format!("needs {path}, which {why}")));
    }
    let place = disks.persistence.iter().filter(is_on).max_by_key(|place| place.len())?;
    let option = format!("environment.persistence.{place:?}");
    let why = format!("needs {path}, which lies in {place}, where the real machine keeps its state ({option})");
    Some(Excuse::new(Lack::Disk, Witness::option(option), why))
}

/// Why a directory is not there that systemd was to go into, or to bind, before it started the unit.
pub(super) fn of_directories(cx: &JudgeContext<'_>, unit: &Unit) -> Option<Excuse> {
    let lines = cx.now.journal_of(&unit.name, LAST);
    let is_at_step = |line: &&JournalLine| Meaning::DirectoryNotSetUp.is_in(&line.message);
    let step = *lines.iter().rev().find(|line| is_at_step(line))?;
    let named = missed(&lines).into_iter().map(|(path, _)| path);
    // systemd does not say into which directory it could not go.
    let own = unit.service.as_ref().map(|service| service.directory.clone()).filter(|_| step.message.contains("CHDIR"));
    let is_missing = |path: &String| match presence(cx, path) {
        Presence::Missing(fact) => meant(path, fact).is_none() && maker(path, fact, true).is_none(),
        Presence::Here | Presence::Unknown => false,
    };
    named.chain(own).filter(is_missing).find_map(|path| lies_on(cx.plan, &path))
}

/// Why a unit is not on the file system that it asks for: only the real machine has one of such a type.
pub(super) fn of_type(cx: &JudgeContext<'_>, unit: &Unit) -> Option<Excuse> {
    const KEPT: [&str; 4] = ["btrfs", "zfs", "xfs", "bcachefs"];
    let line =
        last_lines(cx, &unit.name).into_iter().rev().find(|line| Meaning::WrongFileSystem.is_in(&line.message))?;
    let named = KEPT.iter().find(|kind| line.message.to_ascii_lowercase().contains(**kind));
    let is_asked_for = |kind: &str| KEPT.contains(&kind) && named.is_none_or(|named| *named == kind);
    let kind = cx.plan.expectations.disks.types.iter().find(|kind| is_asked_for(kind))?;
    let option = format!("fileSystems.*.fsType = {kind:?}");
    let why = format!("asks for a {kind} file system, which the real machine has ({option}): \"{}\"", quoted(line));
    Some(Excuse::new(Lack::Disk, Witness::option(option), why))
}

/// Why there is no such mount unit: the VM variant leaves out the file system of the real machine.
pub(super) fn of_mount(plan: &Plan, unit: &str) -> Option<Excuse> {
    let is_mount = unit.ends_with(".mount") || unit.ends_with(".automount");
    let place = Some(unescape_path(unit)).filter(|_| is_mount)?;
    left_out(plan).any(|known| *known == place).then(|| {
        let option = format!("fileSystems.{place:?}");
        let why = format!("{place} is a file system of the real machine ({option}) that the VM variant does not have");
        Excuse::new(Lack::Disk, Witness::option(option), why)
    })
}

/// Why a device is not there: the real machine's configuration has it, and the VM variant does not ask for one of its own.
pub(crate) fn of_device(plan: &Plan, path: &str) -> Option<Excuse> {
    let disks = &plan.expectations.disks;
    let path = as_path(path);
    let on = |systems: &std::collections::BTreeMap<String, String>| {
        systems.iter().find(|(_, what)| as_path(what) == path).map(|(place, _)| place.clone())
    };
    let mapped = path.strip_prefix("/dev/mapper/").unwrap_or_default();
    let option = if let Some(place) = on(&disks.real) {
        format!("fileSystems.{place:?}")
    } else if disks.luks.iter().any(|name| name == mapped) {
        format!("boot.initrd.luks.devices.{mapped:?}")
    } else {
        return None;
    };
    let why = format!("{path} is a disk of the real machine ({option}) that the VM does not have");
    Some(Excuse::new(Lack::Disk, Witness::option(option), why))
}

/// The same for what holds up a boot, which need not be declared: that a disk with such a name is not there shows
/// nothing, unless the VM variant itself asks for it.
pub(crate) fn holds_up(plan: &Plan, path: &str) -> Option<Excuse> {
    if !plan.expectations.known {
        return None;
    }
    if let Some(excuse) = of_device(plan, path) {
        return Some(excuse);
    }
    // Below where stage 1 mounts the root.
    if let Some(path) = ["/mnt-root", "/sysroot"].iter().find_map(|root| path.strip_prefix(root)) {
        return lies_on(plan, path);
    }
    let path = as_path(path);
    let is_own = plan.expectations.disks.own.values().any(|what| as_path(what) == path);
    // Every VM has a root: without any, they could not be read.
    let is_known = !plan.expectations.disks.own.is_empty();
    (is_disk(&path) && is_known && !is_own).then(|| {
        let why = format!("{path} is a disk that the VM does not have, and the real machine may have");
        Excuse::new(Lack::Disk, Witness::Device { path }, why)
    })
}

/// The same for a unit: a device, what is mounted from one, what unlocks or imports one.
pub(crate) fn unit_holds_up(plan: &Plan, facts: &Facts, name: &str) -> Option<Excuse> {
    if let Some(pool) = name.strip_prefix("zfs-import-").and_then(|rest| rest.strip_suffix(".service")) {
        let is_declared = plan.expectations.disks.pools.iter().any(|known| known == pool);
        return is_declared.then(|| {
            let option = format!("boot.zfs.extraPools = [ {pool:?} ]");
            let why = format!("the pool {pool} is on disks of the real machine");
            Excuse::new(Lack::Disk, Witness::option(option), why)
        });
    }
    if let Some(path) = name.ends_with(".device").then(|| unescape_path(name)) {
        return holds_up(plan, &path);
    }
    let unit = facts.unit(name)?;
    let devices =
        unit.broken_requirements.iter().filter(|name| name.ends_with(".device")).map(|name| unescape_path(name));
    let is_missing = |path: &String| facts.paths.get(path).is_none_or(|fact| !fact.exists);
    let what = unit.mount_what.clone().filter(|what| facts.paths.get(&as_path(what)).is_some_and(|fact| !fact.exists));
    devices.chain(what).filter(is_missing).find_map(|path| holds_up(plan, &path))
}

/// The same for a line, or the name of a job, that names a device by its path or its unit.
pub(crate) fn line_holds_up(plan: &Plan, line: &str) -> Option<Excuse> {
    let units = line.split_whitespace().filter_map(|word| word.find(".device").map(|end| &word[..end + 7]));
    units.map(unescape_path).chain(paths_in(line)).find_map(|path| holds_up(plan, &path))
}

/// What to write so that the VM comes up without its disk.
pub(crate) fn hint(plan: &Plan, excuse: &Excuse) -> String {
    let disks = &plan.expectations.disks;
    let without = match excuse.witness() {
        Witness::Option { option } if option.starts_with("boot.initrd.luks") => {
            Some("boot.initrd.luks.devices = lib.mkForce { };".to_owned())
        }
        Witness::Option { option } if option.starts_with("boot.zfs") => {
            Some("boot.zfs.extraPools = lib.mkForce [ ];".to_owned())
        }
        Witness::Option { option } if option.starts_with("environment.persistence") => {
            Some("environment.persistence = lib.mkForce { };".to_owned())
        }
        Witness::Option { option } => option.strip_prefix("fileSystems.").map(|place| {
            format!("virtualisation.fileSystems.{place} = {{ device = \"tmpfs\"; fsType = \"tmpfs\"; }};")
        }),
        _ => None,
    };
    let advice = match without {
        Some(lines) => format!("virtualisation.vmVariant.{lines} lets the VM do without it"),
        None => "virtualisation.vmVariant.virtualisation.emptyDiskImages = [ 1024 ]; gives it an empty disk, /dev/vdb"
            .to_owned(),
    };
    let disko = if disks.with_disko { "; or boot with these disks, as disko makes them: --disks" } else { "" };
    format!("{advice}{disko}")
}
