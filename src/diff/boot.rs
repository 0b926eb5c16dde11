//! What is booted, and what the activation does.

use std::collections::BTreeSet;

use super::context::Context;
use super::model::{Area, Change, Grade, Kind};
use super::names::{name_of, nameless, split};
use super::security::counted;
use super::system::{Boot, SECRETS};
use crate::nix::STORE_DIR;

/// How a word begins in the names of the kernel's parameters that protect or stop to, or that decide what runs as root
/// and who is asked for a password (kernel-parameters.txt, kernel-command-line(7), stage 1 of NixOS). Without `no`.
const PROTECTING: [&str; 60] = [
    // Against what processors give away.
    "mitigations",
    "spec",
    "pti",
    "kpti",
    "mds",
    "l1tf",
    "l1d_flush",
    "tsx",
    "tsa",
    "mmio_stale",
    "srbds",
    "retbleed",
    "gather_data",
    "reg_file_data",
    "indirect_target",
    "vmscape",
    "smt",
    "ssbd",
    // What guards the kernel's memory.
    "kaslr",
    "slab",
    "slub",
    "page_poison",
    "page_alloc",
    "init_on_",
    "randomize_kstack",
    "hash_pointers",
    "smep",
    "smap",
    "cfi",
    "ibt",
    "usershstk",
    "vsyscall",
    "debugfs",
    "rodata",
    "hardened_usercopy",
    "ima_",
    "evm",
    "systemd.verity",
    "iommu",
    // Who may do what.
    "lockdown",
    "module.sig_enforce",
    "lsm",
    "apparmor",
    "selinux",
    "enforcing",
    "security",
    // Shells, and units that start or do not.
    "debug_shell",
    "crash_shell",
    "shell_on_fail",
    "debug1",
    "sulogin",
    "rescue",
    "emergency",
    "systemd.unit",
    "systemd.run",
    "systemd.wants",
    "systemd.mask",
    "systemd.setenv",
    "systemd.set_credential",
    "systemd.import_credentials",
];
/// The same by their whole names.
const PROTECTING_WHOLE: [&str; 7] = ["audit", "init", "rdinit", "single", "s", "1", "-b"];

/// How the installers of boot loaders say that whoever sits at the machine may edit a line of the menu.
const EDITOR: [&str; 4] = ["EDITOR = \"1\"", "editor_enabled: yes", "editor yes", "\"enableEditor\":true"];
/// What GRUB's installer says of who may.
const MENU_USERS: [&str; 3] = ["name=\"users\"", "superusers", "assword"];

/// Kernel, parameters, initrd, systemd, boot loader, specialisations.
pub(super) fn changes(context: &Context<'_>) -> Vec<Change> {
    let (old, new) = (&context.old.boot, &context.new.boot);
    let mut all = Vec::new();
    let parts = [
        ("kernel", &old.kernel, &new.kernel),
        ("kernel modules", &old.modules, &new.modules),
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
    all.extend(initrd(old, new));
    all.extend(secrets(context));
    all.extend(parameters(&old.parameters, &new.parameters));
    if nameless(&old.loader) != nameless(&new.loader) {
        let what = format!("installed by {} instead of {}", shown(&new.loader), shown(&old.loader));
        all.push(Change::new(Grade::Boot, Area::Boot, Kind::Changed, "boot loader", what));
    } else if old.loader != new.loader {
        let lines = context.behind(&old.loader, &new.loader).lines;
        if !lines.is_empty() {
            let opened = opened(&lines);
            let grade = if opened.is_some() { Grade::Security } else { Grade::Boot };
            let what: Vec<String> = opened.map(str::to_owned).into_iter().chain([counted(&lines)]).collect();
            all.push(Change::new(grade, Area::Boot, Kind::Changed, "boot loader", what.join("; ")).with_lines(lines));
        }
    }
    all.extend(specialisations(context));
    if context.old.version != context.new.version {
        let what = format!("{} → {}", shown(&context.old.version), shown(&context.new.version));
        all.push(Change::new(Grade::Info, Area::Boot, Kind::Changed, "NixOS", what));
    }
    all
}

/// What lets whoever sits at the machine edit what is booted, by the installer's lines that differ: systemd-boot's and
/// Limine's editor, the users of GRUB's menu.
fn opened(lines: &[String]) -> Option<&'static str> {
    let count = |sign: char, words: &[&str]| {
        let says = |line: &&String| line.starts_with(sign) && words.iter().any(|word| line.contains(word));
        lines.iter().filter(says).count()
    };
    let balance = |words: &[&str]| count('+', words).cmp(&count('-', words));
    if balance(&EDITOR).is_gt() {
        return Some("its editor is turned on");
    }
    balance(&MENU_USERS).is_lt().then_some("a user or a password of its menu is gone")
}

fn shown(text: &str) -> String {
    let text = if text.starts_with(STORE_DIR) { name_of(text) } else { text };
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

/// The initrd. Nobody opens it, so it is never taken for the same; and where the kernel, its modules and systemd stayed,
/// it is the configuration that changed it.
fn initrd(old: &Boot, new: &Boot) -> Option<Change> {
    if old.initrd == new.initrd {
        return None;
    }
    let parts = [(&old.kernel, &new.kernel), (&old.modules, &new.modules), (&old.systemd, &new.systemd)];
    let mut what = if name_of(&old.initrd) == name_of(&new.initrd) {
        "its content differs, and was not read".to_owned()
    } else {
        format!("{}; its content was not read", moved(&old.initrd, &new.initrd))
    };
    let mut grade = Grade::Boot;
    if parts.iter().all(|(before, after)| before == after) {
        what.push_str(": it may hold SSH keys or emergency access");
        grade = Grade::Security;
    }
    Some(Change::new(grade, Area::Boot, Kind::Changed, "initrd", what))
}

/// The script that puts secrets into the initrd when the boot loader is installed. They are named in it, not held.
fn secrets(context: &Context<'_>) -> Option<Change> {
    let (old, new) = (&context.old.boot.secrets, &context.new.boot.secrets);
    let mut lines = context.text(old, new).lines;
    lines.extend(context.behind(old, new).lines);
    if lines.is_empty() {
        if old != new {
            context.rebuilt(SECRETS);
        }
        return None;
    }
    let (grade, kind) = match (old.is_empty(), new.is_empty()) {
        (true, _) => (Grade::Security, Kind::Added),
        (false, true) => (Grade::Boot, Kind::Removed),
        (false, false) => (Grade::Security, Kind::Changed),
    };
    let what = format!("{}: it puts secrets into the initrd", counted(&lines));
    Some(Change::new(grade, Area::Boot, kind, SECRETS, what).with_lines(lines))
}

/// Whether a parameter is of those that protect, or of those that open a shell.
fn protects(parameter: &str) -> bool {
    let key = parameter.split_once('=').map_or(parameter, |(key, _)| key).to_lowercase();
    // The kernel takes both signs for the same.
    let name = key.replace('-', "_");
    let mut words =
        name.char_indices().filter(|(at, _)| *at == 0 || name[..*at].ends_with(['.', '_'])).map(|(at, _)| &name[at..]);
    let is_of_family = |word: &str| {
        let word = word.strip_prefix("no").unwrap_or(word);
        PROTECTING.iter().any(|family| word.starts_with(family))
    };
    PROTECTING_WHOLE.contains(&key.as_str()) || words.any(is_of_family)
}

fn parameters(old: &[String], new: &[String]) -> Vec<Change> {
    let (before, after): (BTreeSet<&String>, BTreeSet<&String>) = (old.iter().collect(), new.iter().collect());
    let grade = |parameter: &str| if protects(parameter) { Grade::Security } else { Grade::Boot };
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
                if lines.is_empty() {
                    context.rebuilt(format!("snippet {name}"));
                } else {
                    all.push(change(Grade::Security, Kind::Changed, counted(&lines)).with_lines(lines));
                }
            }
            _ => {}
        }
    }
    all
}
