//! What a switch does to each unit, by NixOS's own rules: `switch-to-configuration-ng`
//! (nixpkgs, `pkgs/by-name/sw/switch-to-configuration-ng/src/main.rs`, as of 26.11pre), whose functions are named at
//! each rule. Pure: two sets of units and the names of those that run go in.
//!
//! Without a running machine it is not known what runs; [`UnitSet::wanted`] is what the old configuration alone says.

use std::collections::BTreeSet;

use super::unit_file::{Section, UnitFile};
use super::unit_set::{FileState, UnitSet, template_of};

/// What is done to which unit. A unit in both `stop` and `start` is stopped, and started after the activation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UnitChanges {
    pub(crate) stop: BTreeSet<String>,
    pub(crate) start: BTreeSet<String>,
    pub(crate) restart: BTreeSet<String>,
    pub(crate) reload: BTreeSet<String>,
    /// Changed, and left alone: the unit says so, or it is a socket, which goes on as it was made.
    pub(crate) skip: BTreeSet<String>,
    /// Targets that every switch starts again: never told of.
    pub(crate) targets: BTreeSet<String>,
}

/// What differs between two versions of a unit, for a switch (`compare_units`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// Nothing that a running unit would notice.
    Equal,
    NeedsReload,
    NeedsRestart,
}

/// Keys of `[Unit]` whose change restarts nothing (`unit_section_ignores`).
const IGNORED: [&str; 12] = [
    "Description",
    "Documentation",
    "OnFailure",
    "OnSuccess",
    "OnFailureJobMode",
    "IgnoreOnIsolate",
    "StopWhenUnneeded",
    "RefuseManualStart",
    "RefuseManualStop",
    "AllowIsolate",
    "CollectMode",
    "SourcePath",
];
const RELOAD_TRIGGERS: &str = "X-Reload-Triggers";

/// What a switch from one set to the other does to the units that are active (`collect_unit_changes`).
pub(crate) fn unit_changes(old: &UnitSet, new: &UnitSet, active: &BTreeSet<String>) -> UnitChanges {
    let mut changes = UnitChanges::default();
    for unit in active {
        let Some(current) = old.unit(unit) else { continue };
        if is_gone(old, new, unit) {
            if current.bool("Unit", "X-StopOnRemoval", true) {
                changes.stop.insert(unit.clone());
            }
            continue;
        }
        let Some(next) = new.unit(unit) else { continue };
        if unit.ends_with(".target") {
            target(unit, &next, &mut changes);
            continue;
        }
        match compare(&current, &next) {
            Comparison::NeedsRestart => {
                let is_instance = [old, new].iter().all(|set| set.state(unit) == FileState::Missing);
                let base = unit.split_once('@').filter(|_| is_instance).map_or(unit.as_str(), |(template, _)| template);
                modified(unit, base, &next, new, active, &mut changes);
            }
            Comparison::NeedsReload if !changes.restart.contains(unit) => {
                changes.reload.insert(unit.clone());
            }
            Comparison::NeedsReload | Comparison::Equal => {}
        }
    }
    // A unit that is restarted for another's sake is not reloaded besides.
    let restarted = |unit: &String| changes.restart.contains(unit) || changes.stop.contains(unit);
    changes.reload = changes.reload.iter().filter(|unit| !restarted(unit)).cloned().collect();
    // A socket may be stopped with its service.
    changes.skip.retain(|unit| !changes.stop.contains(unit));
    changes
}

/// What systemd does besides: what needs a unit, or is part of it, is stopped and restarted with it (systemd.unit(5)). What
/// was stopped so is started again with the targets that want it.
pub(crate) fn propagate(
    mut changes: UnitChanges,
    old: &UnitSet,
    new: &UnitSet,
    active: &BTreeSet<String>,
) -> UnitChanges {
    // Units are stopped by what was loaded before, and restarted by what is loaded then.
    let mut stopped = dependents(old, active, &changes.stop);
    stopped.retain(|unit| !changes.restart.contains(unit));
    changes.start.extend(stopped.intersection(&new.wanted()).cloned());
    changes.stop.extend(stopped);
    let restarted = dependents(new, active, &changes.restart);
    changes.restart.extend(restarted.into_iter().filter(|unit| !changes.stop.contains(unit)));
    let UnitChanges { stop, restart, reload, skip, .. } = &mut changes;
    for left in [reload, skip] {
        left.retain(|unit| !stop.contains(unit) && !restart.contains(unit));
    }
    changes
}

/// The active units that need one of these or are part of one, be it by way of others. Targets, which every switch starts
/// again, are left out.
fn dependents(set: &UnitSet, active: &BTreeSet<String>, of: &BTreeSet<String>) -> BTreeSet<String> {
    let needs: Vec<(&String, BTreeSet<String>)> = active.iter().map(|name| (name, set.needs(name))).collect();
    let mut all = of.clone();
    loop {
        let is_dependent =
            |(name, needs): &&(&String, BTreeSet<String>)| !all.contains(*name) && !needs.is_disjoint(&all);
        let more: Vec<String> = needs.iter().filter(is_dependent).map(|(name, _)| (*name).clone()).collect();
        if more.is_empty() {
            return all.difference(of).filter(|unit| !unit.ends_with(".target")).cloned().collect();
        }
        all.extend(more);
    }
}

/// Whether a unit is no more: its file, or what made an instance of a template's NixOS's own.
fn is_gone(old: &UnitSet, new: &UnitSet, unit: &str) -> bool {
    if old.state(unit) == FileState::Missing && new.state(unit) == FileState::Missing {
        if old.instance_drop_ins.contains_key(unit) && !new.instance_drop_ins.contains_key(unit) {
            return true;
        }
        return template_of(unit).is_none_or(|template| new.state(&template) != FileState::Present);
    }
    new.state(unit) != FileState::Present
}

/// All active targets are started again, so that what is new in them starts.
fn target(unit: &str, next: &UnitFile, changes: &mut UnitChanges) {
    let sleeps = matches!(unit, "suspend.target" | "hibernate.target" | "hybrid-sleep.target");
    let refuses = next.bool("Unit", "RefuseManualStart", false) || next.bool("Unit", "X-OnlyManualStart", false);
    if !sleeps && !refuses {
        changes.start.insert(unit.to_owned());
        changes.targets.insert(unit.to_owned());
    }
    if next.bool("Unit", "X-StopOnReconfiguration", false) {
        changes.stop.insert(unit.to_owned());
    }
}

/// A unit that differs and needs more than a reload (`handle_modified_unit`). `base` is its name, or its template's.
fn modified(
    unit: &str,
    base: &str,
    next: &UnitFile,
    new: &UnitSet,
    active: &BTreeSet<String>,
    changes: &mut UnitChanges,
) {
    if cannot_be_restarted(unit) {
        return;
    }
    if unit.ends_with(".socket") {
        changes.skip.insert(unit.to_owned());
        return;
    }
    if unit.ends_with(".mount") {
        // Neither can be unmounted under a running system.
        let kept = matches!(unit, "-.mount" | "nix.mount");
        if kept {
            changes.reload.insert(unit.to_owned())
        } else {
            changes.restart.insert(unit.to_owned())
        };
        return;
    }
    let has = |set: &BTreeSet<String>| set.contains(unit);
    if next.bool("Service", "X-ReloadIfChanged", false) && !has(&changes.restart) && !has(&changes.stop) {
        changes.reload.insert(unit.to_owned());
        return;
    }
    if !next.bool("Service", "X-RestartIfChanged", true)
        || next.bool("Unit", "RefuseManualStop", false)
        || next.bool("Unit", "X-OnlyManualStart", false)
    {
        changes.skip.insert(unit.to_owned());
        return;
    }
    changes.reload.remove(unit);
    if !next.bool("Service", "X-StopIfChanged", true) || !unit.ends_with(".service") {
        changes.restart.insert(unit.to_owned());
        return;
    }
    let is_socket_activated = sockets(base, next, new, active, changes);
    if !is_socket_activated || next.bool("Service", "X-NotSocketActivated", false) {
        changes.start.insert(unit.to_owned());
    }
    changes.stop.insert(unit.to_owned());
}

/// The sockets of a service are stopped with it, and started instead of it; whether there are any.
fn sockets(base: &str, next: &UnitFile, new: &UnitSet, active: &BTreeSet<String>, changes: &mut UnitChanges) -> bool {
    let mut sockets: Vec<String> = next.words("Service", "Sockets").map(str::to_owned).collect();
    if sockets.is_empty() {
        sockets.push(format!("{}.socket", base.strip_suffix(".service").unwrap_or(base)));
    }
    let mut is_activated = false;
    for socket in sockets {
        let stays = new.state(&socket) != FileState::Missing;
        if active.contains(&socket) {
            if stays {
                changes.start.insert(socket.clone());
            }
            changes.stop.insert(socket);
        }
        is_activated |= stays;
    }
    is_activated
}

/// Targets that others pull in; slices and paths, which take their properties from a daemon-reload
/// (`cannot_be_restarted_directly`).
fn cannot_be_restarted(unit: &str) -> bool {
    matches!(unit, "sysinit.target" | "basic.target" | "multi-user.target" | "graphical.target")
        || unit.ends_with(".path")
        || unit.ends_with(".slice")
}

/// What a change of a unit's text means to a switch (`compare_units`).
pub(crate) fn compare(old: &UnitFile, new: &UnitFile) -> Comparison {
    let empty = Section::new();
    let mut result = Comparison::Equal;
    let names: BTreeSet<&String> = old.sections.keys().chain(new.sections.keys()).collect();
    // One new section may be harmless, of several nothing is looked at.
    if new.sections.keys().filter(|name| !old.sections.contains_key(*name)).count() > 1 {
        return Comparison::NeedsRestart;
    }
    for name in names {
        let (before, after) = (old.sections.get(name), new.sections.get(name));
        let compared = match (before, after) {
            // A section of no key that matters is as good as none; others count even when they are empty.
            (None, Some(_)) | (Some(_), None) if name != "Unit" && name != "Service" => Comparison::NeedsRestart,
            (None, Some(keys)) | (Some(keys), None) if name == "Service" && keys.len() != 1 => Comparison::NeedsRestart,
            _ => section(name, before.unwrap_or(&empty), after.unwrap_or(&empty)),
        };
        match compared {
            Comparison::NeedsRestart => return Comparison::NeedsRestart,
            Comparison::NeedsReload => result = Comparison::NeedsReload,
            Comparison::Equal => {}
        }
    }
    result
}

/// One section of both.
fn section(name: &str, old: &Section, new: &Section) -> Comparison {
    let mut result = Comparison::Equal;
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys {
        let (before, after) = (old.get(key), new.get(key));
        if before == after {
            continue;
        }
        match (name, key.as_str()) {
            ("Unit", key) if IGNORED.contains(&key) => {}
            // What is gone triggers nothing any more.
            ("Unit", RELOAD_TRIGGERS) => {
                if after.is_some() {
                    result = Comparison::NeedsReload;
                }
            }
            // A running process does not notice, and without it there is no reloading.
            ("Service", "ExecReload") => {
                if after.is_some() {
                    result = Comparison::NeedsReload;
                }
            }
            ("Mount", "Options") if before.is_some() && after.is_some() => result = Comparison::NeedsReload,
            _ => return Comparison::NeedsRestart,
        }
    }
    result
}

#[cfg(test)]
mod tests;
