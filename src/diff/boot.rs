//! What is booted, and what the activation does.

use std::collections::BTreeSet;

use super::context::{Context, is_of_accounts};
use super::model::{Area, Change, Grade, Kind};
use super::names::{name_of, nameless, split};
use super::security::counted;

/// Parameters of the kernel's that protect, or stop to.
const PROTECTING: [&str; 16] = [
    "mitigations",
    "lsm",
    "lockdown",
    "apparmor",
    "selinux",
    "security",
    "audit",
    "nokaslr",
    "init_on_alloc",
    "init_on_free",
    "module.sig_enforce",
    "slab_nomerge",
    "iommu",
    "nosmep",
    "nosmap",
    "init",
];

/// Kernel, parameters, initrd, systemd, boot loader, specialisations.
pub(super) fn changes(context: &Context<'_>) -> Vec<Change> {
    let (old, new) = (&context.old.boot, &context.new.boot);
    let mut all = Vec::new();
    let parts = [
        ("kernel", &old.kernel, &new.kernel),
        ("kernel modules", &old.modules, &new.modules),
        ("initrd", &old.initrd, &new.initrd),
        ("systemd", &old.systemd, &new.systemd),
    ];
    for (name, before, after) in parts {
        if before == after {
            continue;
        }
        let same_name = name_of(before) == name_of(after);
        let kind = if same_name { Kind::Rebuilt } else { Kind::Changed };
        all.push(Change::new(Grade::Boot, Area::Boot, kind, name, moved(before, after)));
    }
    all.extend(parameters(&old.parameters, &new.parameters));
    if nameless(&old.loader) != nameless(&new.loader) {
        let what = format!("installed by {} instead of {}", shown(&new.loader), shown(&old.loader));
        all.push(Change::new(Grade::Boot, Area::Boot, Kind::Changed, "boot loader", what));
    } else if old.loader != new.loader {
        let lines = context.behind(&old.loader, &new.loader).lines;
        if !lines.is_empty() {
            all.push(
                Change::new(Grade::Boot, Area::Boot, Kind::Changed, "boot loader", counted(&lines)).with_lines(lines),
            );
        }
    }
    all.extend(specialisations(context));
    if context.old.version != context.new.version {
        let what = format!("{} → {}", shown(&context.old.version), shown(&context.new.version));
        all.push(Change::new(Grade::Info, Area::Boot, Kind::Changed, "NixOS", what));
    }
    all
}

fn shown(text: &str) -> String {
    let text = if text.starts_with("/nix/store/") { name_of(text) } else { text };
    if text.is_empty() { "none".to_owned() } else { text.to_owned() }
}

/// `6.12.5 → 6.12.6`, or `rebuilt (linux-6.12.5)`.
pub(super) fn moved(before: &str, after: &str) -> String {
    let (old, new) = (name_of(before), name_of(after));
    if old == new {
        return format!("rebuilt ({})", shown(after));
    }
    match (split(old), split(new)) {
        ((a, Some(from)), (b, Some(to))) if a == b && from != to => format!("{from} → {to}"),
        _ => format!("{} → {}", shown(before), shown(after)),
    }
}

fn parameters(old: &[String], new: &[String]) -> Vec<Change> {
    let (before, after): (BTreeSet<&String>, BTreeSet<&String>) = (old.iter().collect(), new.iter().collect());
    let key = |parameter: &str| parameter.split_once('=').map_or(parameter, |(key, _)| key).to_owned();
    let grade = |parameter: &str| {
        let key = key(parameter);
        let protects = PROTECTING.contains(&key.as_str()) || key.contains("iommu");
        if protects { Grade::Security } else { Grade::Boot }
    };
    // Where a store path moved within one, nothing did.
    let moved =
        |parameter: &str, others: &BTreeSet<&String>| others.iter().any(|other| nameless(other) == nameless(parameter));
    let mut all = Vec::new();
    for parameter in after.difference(&before).filter(|parameter| !moved(parameter, &before)) {
        all.push(Change::new(
            grade(parameter),
            Area::KernelParameter,
            Kind::Added,
            parameter.as_str(),
            "new kernel parameter",
        ));
    }
    for parameter in before.difference(&after).filter(|parameter| !moved(parameter, &after)) {
        all.push(Change::new(
            grade(parameter),
            Area::KernelParameter,
            Kind::Removed,
            parameter.as_str(),
            "kernel parameter removed",
        ));
    }
    all
}

fn specialisations(context: &Context<'_>) -> Vec<Change> {
    let (old, new) = (&context.old.specialisations, &context.new.specialisations);
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let change = |kind, name: &String, what: &str| {
        Change::new(Grade::Boot, Area::Boot, kind, format!("specialisation {name}"), what)
    };
    let compared = |name| match (old.get(name), new.get(name)) {
        (None, Some(_)) => Some(change(Kind::Added, name, "new")),
        (Some(_), None) => Some(change(Kind::Removed, name, "removed")),
        (Some(before), Some(after)) if before != after => {
            Some(change(Kind::Changed, name, "differs too: name it to see how (NAME@SPECIALISATION)"))
        }
        _ => None,
    };
    names.into_iter().filter_map(compared).collect()
}

/// Snippets of the activation script.
pub(super) fn activation(context: &Context<'_>) -> Vec<Change> {
    let (old, new) = (&context.old.snippets, &context.new.snippets);
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut all = Vec::new();
    for name in names {
        let signed = |sign: char, text: &str| {
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            lines.map(|line| format!("{sign}{}", super::names::readable(line))).collect::<Vec<_>>()
        };
        let change =
            |grade, kind, what: String| Change::new(grade, Area::Activation, kind, format!("snippet {name}"), what);
        match (old.get(name), new.get(name)) {
            (None, Some(text)) => {
                let what = "new, run as root at each switch and boot".to_owned();
                all.push(change(Grade::Security, Kind::Added, what).with_lines(signed('+', text)));
            }
            (Some(_), None) => all.push(change(Grade::Service, Kind::Removed, "removed".to_owned())),
            (Some(before), Some(after)) if before != after => {
                let mut lines = context.text(before, after).lines;
                lines.extend(context.behind(before, after).lines);
                // Users are told of by name; their file holds hashes.
                if lines.is_empty() || is_of_accounts(name) {
                    context.rebuilt(format!("snippet {name}"));
                } else {
                    all.push(change(Grade::Service, Kind::Changed, counted(&lines)).with_lines(lines));
                }
            }
            _ => {}
        }
    }
    all
}
