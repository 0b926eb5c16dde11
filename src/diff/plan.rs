//! What a switch from one system to the other would do.

use std::collections::BTreeSet;
use std::path::Path;

use super::context::Context;
use super::model::{PackageChange, PackageChanges, SwitchPlan, UnitPlan};
use super::mounts::{Fstab, MountChanges, mount_changes};
use super::names::name_of;
use super::store_files::{Files, Found};
use super::switch_rules::{UnitChanges, propagate, unit_changes};
use super::system::{Boot, System};
use super::unit_set::{Activity, FileState, UnitSet};
use super::{boot, etc, names};

/// The whole of it.
pub(super) fn plan(
    context: &Context<'_>,
    packages: Option<&PackageChanges>,
    active: Option<&BTreeSet<String>>,
) -> SwitchPlan {
    let (old, new) = (context.old, context.new);
    let mounts = mount_changes(&fstab(context.files, old), &fstab(context.files, new));
    let mut units = unit_plan(&old.units, &new.units, &mounts, active);
    let add = |list: &mut Vec<String>, more: &BTreeSet<String>| {
        list.extend(more.iter().cloned());
        list.sort();
        list.dedup();
    };
    add(&mut units.stop, &mounts.stop);
    add(&mut units.restart, &mounts.restart);
    add(&mut units.reload, &mounts.reload);
    add(&mut units.skip, &mounts.skip);
    add(&mut units.started_by_targets, &mounts.start);
    let refused = refusals(old, new);
    let mut reboot = reboot_reasons(&old.boot, &new.boot, packages);
    reboot.extend(settings_of_boot(context));
    let cannot_take_effect = reboot.iter().any(|reason| reason.starts_with("init ") || reason.starts_with("nvidia"));
    let is_boot = !refused.is_empty() || cannot_take_effect;
    SwitchPlan {
        command: if is_boot { "boot" } else { "switch" }.to_owned(),
        units,
        user_units: unit_plan(&old.user_units, &new.user_units, &MountChanges::default(), None),
        swap_off: mounts.swap_off.into_iter().collect(),
        restarts_systemd: old.boot.systemd != new.boot.systemd
            || old.boot.manager_settings != new.boot.manager_settings,
        reboot,
        refused,
        checks: changed_checks(context),
    }
}

fn fstab(files: &dyn Files, system: &System) -> Fstab {
    Fstab::parse(&files.read(&system.top.join("etc/fstab")).unwrap_or_default())
}

/// What is done to units: to those that are active, where that is known, else to what the old targets want.
fn unit_plan(old: &UnitSet, new: &UnitSet, mounts: &MountChanges, active: Option<&BTreeSet<String>>) -> UnitPlan {
    let wanted = active.cloned().unwrap_or_else(|| old.wanted());
    let done = |active: &BTreeSet<String>| {
        let mut changes = unit_changes(old, new, active);
        changes.stop.extend(mounts.stop.iter().cloned());
        changes.restart.extend(mounts.restart.iter().cloned());
        propagate(changes, old, new, active)
    };
    let changes = done(&wanted);
    let on_demand: BTreeSet<String> = match active {
        Some(_) => BTreeSet::new(),
        None => old.on_demand().into_iter().chain(old.started_from_outside()).collect(),
    };
    // A socket that is active decides on a service that may be.
    let both: BTreeSet<String> = wanted.union(&on_demand).cloned().collect();
    let perhaps = done(&both);
    let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>();
    let shown = |set: &BTreeSet<String>| set.difference(&changes.targets).cloned().collect::<Vec<_>>();
    let fresh = new.wanted();
    let once = new.activities();
    let before = old.activities();
    let is_new = |unit: &&String| !before.contains_key(*unit);
    let mut started: Vec<String> =
        fresh.iter().filter(is_new).filter(|unit| !unit.ends_with(".target")).cloned().collect();
    // What does its work once and ends starts too, where it is new.
    let is_oneshot = |unit: &String| unit.ends_with(".service") && !fresh.contains(unit) && !on_demand.contains(unit);
    let reached = once.iter().filter(|(unit, activity)| **activity == Activity::Inactive && is_oneshot(unit));
    started.extend(reached.map(|(unit, _)| unit.clone()).filter(|unit| is_new(&unit)));
    started.sort();
    UnitPlan {
        stop: shown(&changes.stop),
        start: shown(&changes.start),
        restart: list(&changes.restart),
        reload: list(&changes.reload),
        skip: list(&changes.skip),
        started_by_targets: started,
        if_running: if_running(&changes, &perhaps, &on_demand, new),
    }
}

/// What is done besides to units that run only when something asked for them.
fn if_running(
    changes: &UnitChanges,
    perhaps: &UnitChanges,
    on_demand: &BTreeSet<String>,
    new: &UnitSet,
) -> Vec<String> {
    let mut all = BTreeSet::new();
    for unit in on_demand {
        let is_in = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.contains(unit) && !b.contains(unit);
        let (stops, starts) = (is_in(&perhaps.stop, &changes.stop), is_in(&perhaps.start, &changes.start));
        let word = match (stops, starts) {
            (true, true) => "restart",
            // Its socket is what is started again.
            (true, false) if new.state(unit) == FileState::Present => "stop until it is asked for:",
            (true, false) => "stop",
            _ if is_in(&perhaps.restart, &changes.restart) => "restart",
            _ if is_in(&perhaps.reload, &changes.reload) => "reload",
            _ if is_in(&perhaps.skip, &changes.skip) => "leave",
            _ => continue,
        };
        all.insert(format!("{word} {unit}"));
    }
    all.into_iter().collect()
}

/// Switch inhibitors that both have and that differ (`system/activation/switchable-system.nix`).
pub(super) fn refusals(old: &System, new: &System) -> Vec<String> {
    let differing = old.inhibitors.iter().filter_map(|(name, before)| {
        let after = new.inhibitors.get(name).filter(|after| *after != before)?;
        Some(format!("switch inhibitor {name}: {before} → {after}"))
    });
    differing.collect()
}

/// Checks that a switch makes first, and that are new or differ.
fn changed_checks(context: &Context<'_>) -> Vec<String> {
    let (old, new) = (&context.old.checks, &context.new.checks);
    let differs =
        |name: &&String| old.get(*name).is_none_or(|before| names::nameless(before) != names::nameless(&new[*name]));
    new.keys()
        .filter(differs)
        .map(|name| format!("{name} ({})", if old.contains_key(name) { "changed" } else { "new" }))
        .collect()
}

/// What takes a reboot to be in force.
fn reboot_reasons(old: &Boot, new: &Boot, packages: Option<&PackageChanges>) -> Vec<String> {
    let mut reasons = Vec::new();
    if old.init_interface != new.init_interface {
        reasons.push(format!(
            "init of another form: {} → {}; a switch cannot take effect",
            old.init_interface, new.init_interface
        ));
    }
    if let Some(nvidia) = packages.and_then(nvidia) {
        let versions = super::packages::told(nvidia);
        reasons.push(format!("nvidia: {versions}: the loaded module is not of its programs and libraries until then"));
    }
    let kernel = [("kernel", &old.kernel, &new.kernel), ("kernel modules", &old.modules, &new.modules)];
    let moved: Vec<String> = kernel
        .into_iter()
        .filter(|(_, before, after)| before != after)
        .map(|(name, before, after)| format!("{name} {}", boot::moved(before, after)))
        .collect();
    reasons.extend(moved.into_iter().take(1));
    if old.parameters != new.parameters {
        let same = |parameters: &[String]| {
            parameters.iter().map(|parameter| names::nameless(parameter)).collect::<BTreeSet<_>>()
        };
        if same(&old.parameters) != same(&new.parameters) {
            reasons.push("kernel parameters differ".to_owned());
        }
    }
    if old.initrd != new.initrd {
        // Nobody opened it: of the same name it may be any other.
        let is_named_so = name_of(&old.initrd) == name_of(&new.initrd);
        let how = if is_named_so { "differs".to_owned() } else { boot::moved(&old.initrd, &new.initrd) };
        reasons.push(format!("initrd {how}"));
    }
    // PID 1 executes itself again; what it started, and the libraries of the session, do not.
    if old.systemd != new.systemd && name_of(&old.systemd) != name_of(&new.systemd) {
        reasons.push(format!("systemd {}", boot::moved(&old.systemd, &new.systemd)));
    }
    reasons
}

/// What is read when the machine, a device or a module starts only.
fn settings_of_boot(context: &Context<'_>) -> Vec<String> {
    let udev = |name: &str| {
        name.starts_with("udev/rules.d") || name.starts_with("systemd/network/") && name.ends_with(".link")
    };
    let modules = |name: &str| name.starts_with("modprobe.d");
    let mut reasons: Vec<String> = host_name(context).into_iter().collect();
    if etc::differs(context, udev) {
        reasons.push("udev rules and .link files: for devices that appear later".to_owned());
    }
    if etc::differs(context, modules) {
        reasons.push("module options: when the module is loaded again".to_owned());
    }
    reasons
}

/// The host's name, which PID 1 reads when it starts, unless the activation sets it.
fn host_name(context: &Context<'_>) -> Option<String> {
    let name = |system: &System| match &system.etc.get("hostname")?.leads_to {
        Found::File(path) => context.files.text(path).map(|text| text.trim().to_owned()),
        Found::Directory(_) | Found::Elsewhere(_) | Found::Missing => None,
    };
    let (old, new) = (name(context.old)?, name(context.new)?);
    let sets = |line: &str| {
        let program = line.split_whitespace().next().and_then(|word| word.rsplit('/').next()).unwrap_or_default();
        matches!(program, "hostname" | "hostnamectl") || line.contains("kernel/hostname")
    };
    let is_set = context.new.snippets.values().any(|text| text.lines().any(sets));
    (old != new && !is_set).then(|| format!("the host name stays {old}"))
}

/// NVIDIA's driver, whose module and libraries must be of one version.
fn nvidia(packages: &PackageChanges) -> Option<&PackageChange> {
    let mut moved = packages.up.iter().chain(&packages.down);
    moved.find(|change| matches!(change.name.as_str(), "nvidia-x11" | "nvidia-open" | "nvidia-kernel"))
}

/// Why the system at `current` would refuse to switch to another; none where nothing known refuses it. Quick: two small
/// files of each are read.
pub(super) fn refused_by(files: &dyn Files, current: &Path, new: &Path) -> Vec<String> {
    let text =
        |top: &Path, name: &str| files.read(&top.join(name)).map(|text| text.trim().to_owned()).unwrap_or_default();
    let read = |top: &Path| System {
        inhibitors: super::system::inhibitors(&text(top, "switch-inhibitors")),
        ..System::default()
    };
    let mut reasons = refusals(&read(current), &read(new));
    let (before, after) = (text(current, "init-interface-version"), text(new, "init-interface-version"));
    if before != after && !before.is_empty() && !after.is_empty() {
        reasons.push(format!("init of another form: {before} → {after}"));
    }
    reasons
}
