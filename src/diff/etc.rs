//! Files of /etc.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use super::boot::moved;
use super::context::{Context, is_of_accounts};
use super::model::{Area, Change, Detail, Grade, Kind};
use super::mounts::Fstab;
use super::names::{is_package, name_of, nameless, readable, split};
use super::security::counted;
use super::store_files::{Found, tree};
use super::system::{EtcFile, PACKAGED_RULES};

/// Files of one directory that both have and that are compared one by one.
const MOST: usize = 2_000;

/// What is said of a file that cannot be compared by lines.
const NO_TEXT: &str = "no text, and of another size";
/// What is said of a file whose name is one of those that hold passwords, and that is not the system's own.
const NOT_SHOWN: &str = "differs, and is not shown: it may hold passwords";

/// Where rules on who may do what lie; a directory's name ends with a slash.
const RULES: [&str; 26] = [
    "sudoers",
    "sudoers.d/",
    "doas.conf",
    "polkit-1/",
    "pam.d/",
    "ssh/",
    "security/",
    "login.defs",
    "apparmor.d/",
    "audit/",
    "ssl/",
    "pki/",
    "krb5.conf",
    "securetty",
    // Who is trusted by nix's daemon is as good as root.
    "nix/nix.conf",
    "nix/nix.custom.conf",
    "nix/machines",
    "ld.so.preload",
    "ld-nix.so.preload",
    "crontab",
    "cron.d/",
    "exports",
    "hosts.allow",
    "hosts.deny",
    "firewalld/",
    PACKAGED_RULES,
];
/// What is in force after the next boot only, or decides what is mounted.
const BOOT: [&str; 6] = ["fstab", "crypttab", "modprobe.d/", "modules-load.d/", "initrd-release", "lvm/"];
/// What says which version of NixOS or of a package it is.
const LABELS: [&str; 7] = ["os-release", "lsb-release", "issue", "nixos-version", "NIXOS", "fonts/", "man_db.conf"];

/// Variables of ld.so(8) by which other code runs in every program, root's among them.
const LINKER: [&str; 3] = ["LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH"];

/// The parts of the names of kernel settings that protect (sysctl.d(5), the kernel's admin-guide/sysctl).
const PROTECTING: [&str; 25] = [
    "kernel.yama",
    "restrict",
    "unprivileged",
    "kernel.modules_disabled",
    "kernel.modprobe",
    "forward",
    "rp_filter",
    "fs.protected",
    "suid_dumpable",
    "core_pattern",
    "bpf",
    "randomize",
    "accept_",
    "redirects",
    "martians",
    "syncookies",
    "sysrq",
    "userns",
    "user_namespaces",
    "kexec",
    "perf_event_paranoid",
    "io_uring",
    "ftrace",
    "ldisc",
    "mmap_",
];

/// The changes of /etc, and of the rules that packages bring.
pub(super) fn changes(context: &Context<'_>) -> Vec<Change> {
    let (old, new) = (context.old, context.new);
    // The system's own are told of by who is in them.
    let is_told = |name: &str| name.contains('/') || !is_of_accounts(name);
    let mut all = between(context, &old.etc, &new.etc, is_told);
    all.extend(between(context, &old.packaged_rules, &new.packaged_rules, |_| true));
    together(all)
}

/// Whether files of /etc differ by more than store paths, those with such names.
pub(super) fn differs(context: &Context<'_>, is_meant: impl Fn(&str) -> bool) -> bool {
    let changes = between(context, &context.old.etc, &context.new.etc, is_meant);
    changes.iter().any(|change| change.grade != Grade::Info)
}

/// The changes of files, those with such names.
fn between(
    context: &Context<'_>,
    old: &BTreeMap<String, EtcFile>,
    new: &BTreeMap<String, EtcFile>,
    is_meant: impl Fn(&str) -> bool,
) -> Vec<Change> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let meant = names.into_iter().filter(|name| is_meant(name));
    meant.flat_map(|name| entry(context, name, old.get(name), new.get(name))).collect()
}

/// Files that differ in the same lines, as one change: an option of PAM's is in a dozen of them.
fn together(changes: Vec<Change>) -> Vec<Change> {
    let mut groups: Vec<Vec<Change>> = Vec::new();
    let mut known = HashMap::new();
    for change in changes {
        let alike = (change.grade, change.area, change.kind, change.lines.clone());
        match known.get(&alike).filter(|_| !change.lines.is_empty()) {
            Some(at) => {
                let group: &mut Vec<Change> = &mut groups[*at];
                group.push(change);
            }
            None => {
                known.insert(alike, groups.len());
                groups.push(vec![change]);
            }
        }
    }
    let one = |mut group: Vec<Change>| {
        let names: Vec<String> = group.iter().map(|change| change.subject.clone()).collect();
        let mut change = group.swap_remove(0);
        if let [first, rest @ ..] = &names[..]
            && !rest.is_empty()
        {
            change.subject = format!("{first} and {} more", rest.len());
            change.what = format!("{}, as in {}", change.what, rest.join(", "));
        }
        change
    };
    groups.into_iter().map(one).collect()
}

fn entry(context: &Context<'_>, name: &str, old: Option<&EtcFile>, new: Option<&EtcFile>) -> Vec<Change> {
    match (old, new) {
        (Some(old), Some(new)) if old == new => Vec::new(),
        (Some(old), Some(new)) => {
            let mut all = found(context, name, &old.leads_to, &new.leads_to);
            if old.mode != new.mode {
                all.push(mode(name, old.mode.as_deref(), new.mode.as_deref()));
            }
            all
        }
        (None, Some(new)) => one(context, name, Kind::Added, new),
        (Some(old), None) => one(context, name, Kind::Removed, old),
        (None, None) => Vec::new(),
    }
}

fn mode(name: &str, old: Option<&str>, new: Option<&str>) -> Change {
    let shown = |mode: Option<&str>| Some(mode.unwrap_or("a link").to_owned());
    let detail = Detail { name: "mode and owner".to_owned(), from: shown(old), to: shown(new) };
    let what = format!("mode and owner {} → {}", old.unwrap_or("a link"), new.unwrap_or("a link"));
    Change::new(Grade::Security, area(name), Kind::Changed, path_of(name), what).with_details(vec![detail])
}

fn found(context: &Context<'_>, name: &str, old: &Found, new: &Found) -> Vec<Change> {
    match (old, new) {
        (Found::File(before), Found::File(after)) if before != after => file(context, name, before, after),
        (Found::Directory(before), Found::Directory(after)) if before != after => {
            directory(context, name, before, after)
        }
        (before, after) if before == after => Vec::new(),
        (before, after) => {
            let shown = |found: &Found| match found {
                Found::File(path) | Found::Directory(path) | Found::Elsewhere(path) => {
                    readable(&path.to_string_lossy())
                }
                Found::Missing => "nothing".to_owned(),
            };
            if nameless(&shown(before)) == nameless(&shown(after)) {
                return Vec::new();
            }
            let what = format!("leads to {} instead of {}", shown(after), shown(before));
            vec![Change::new(grade(name), area(name), Kind::Changed, path_of(name), what)]
        }
    }
}

fn file(context: &Context<'_>, name: &str, before: &Path, after: &Path) -> Vec<Change> {
    let (Some(old), Some(new)) = (context.files.text(before), context.files.text(after)) else {
        let sizes = [before, after].map(|path| context.files.size(path));
        if sizes[0] == sizes[1] {
            context.rebuilt(path_of(name));
            return Vec::new();
        }
        return vec![Change::new(grade(name), area(name), Kind::Changed, path_of(name), NO_TEXT)];
    };
    if old == new {
        return Vec::new();
    }
    if name == "fstab" {
        return mounts(&old, &new);
    }
    if name.starts_with("sysctl.d/") {
        return settings(&old, &new);
    }
    let mut lines = context.text(&old, &new).lines;
    let own = lines.len();
    lines.extend(context.behind(&old, &new).lines);
    if lines.is_empty() {
        context.rebuilt(path_of(name));
        return Vec::new();
    }
    if is_of_accounts(name) {
        return vec![Change::new(grade(name), area(name), Kind::Changed, path_of(name), NOT_SHOWN)];
    }
    let what = match name.strip_prefix("ssh/authorized_keys.d/") {
        Some(user) => format!("{} of {user}'s keys", counted(&lines)),
        None if own == 0 => "a file that it names differs".to_owned(),
        None => counted(&lines[..own]),
    };
    vec![Change::new(grade_of(name, &lines), area(name), Kind::Changed, path_of(name), what).with_lines(lines)]
}

/// The grade of a file's change: what its name says, and its signed lines.
fn grade_of(name: &str, lines: &[String]) -> Grade {
    let is_dangerous: fn(&str) -> bool = match name {
        _ if area(name) == Area::Tmpfiles => opens,
        _ if name.starts_with("udev/rules.d/") => lends_device,
        "set-environment" | "pam/environment" => |line| LINKER.iter().any(|variable| line.contains(variable)),
        _ => |_| false,
    };
    let mut new = lines.iter().filter(|line| line.starts_with('+'));
    if new.any(|line| is_dangerous(line)) { Grade::Security } else { grade(name) }
}

/// Whether a new line of udev(7) gives a device to anybody who writes to it.
fn lends_device(line: &str) -> bool {
    let mode = |text: &str| {
        let text = text.strip_prefix(":=").or_else(|| text.strip_prefix('='))?.trim_start_matches('"');
        let end = text.find(|c: char| !c.is_digit(8)).unwrap_or(text.len());
        u32::from_str_radix(&text[..end], 8).ok()
    };
    let is_comment = line.trim_start_matches('+').trim_start().starts_with('#');
    !is_comment && line.split("MODE").skip(1).filter_map(mode).any(|mode| mode & 0o002 != 0)
}

/// Whether a new line of tmpfiles.d(5) makes what anybody may write to, or a program that lends rights.
fn opens(line: &str) -> bool {
    let mode = line.strip_prefix('+').and_then(|line| words(line).into_iter().nth(2));
    let mode = mode.and_then(|mode| u32::from_str_radix(mode.trim_start_matches(['~', ':']), 8).ok());
    mode.is_some_and(|mode| mode & 0o6000 != 0 || mode & 0o1002 == 0o002)
}

/// The words of a line of tmpfiles.d(5), which may be in quotes: those of `systemd.tmpfiles.settings` are.
fn words(line: &str) -> Vec<String> {
    let mut all = Vec::new();
    let (mut word, mut is_word, mut quote) = (String::new(), false, None);
    let mut left = line.chars();
    while let Some(c) = left.next() {
        match quote {
            None if c.is_whitespace() => {
                all.extend(is_word.then(|| std::mem::take(&mut word)));
                is_word = false;
                continue;
            }
            None if matches!(c, '\'' | '"') => quote = Some(c),
            Some(end) if c == end => quote = None,
            _ if c == '\\' => word.extend(left.next()),
            _ => word.push(c),
        }
        is_word = true;
    }
    all.extend(is_word.then_some(word));
    all
}

/// All files of both directories, by their names in them. Of a package's its version is told instead.
fn directory(context: &Context<'_>, name: &str, before: &Path, after: &Path) -> Vec<Change> {
    let (from, to) = (before.to_string_lossy(), after.to_string_lossy());
    if is_package(name_of(&from)) && is_package(name_of(&to)) {
        if name_of(&from) == name_of(&to) {
            context.rebuilt(path_of(name));
            return Vec::new();
        }
        let what = format!("{}: {}", split(name_of(&to)).0, moved(&from, &to));
        return vec![Change::new(Grade::Info, area(name), Kind::Changed, path_of(name), what)];
    }
    let (old, new) = (tree(context.files, before, MOST), tree(context.files, after, MOST));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut all = Vec::new();
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    for inner in names.into_iter().take(MOST) {
        let whole = format!("{name}/{inner}");
        match (old.get(inner), new.get(inner)) {
            (Some(before), Some(after)) => all.extend(found(context, &whole, before, after)),
            (None, Some(_)) => added.push(inner.as_str()),
            (Some(_), None) => removed.push(inner.as_str()),
            (None, None) => {}
        }
    }
    let (opaque, mut all): (Vec<Change>, Vec<Change>) = all.into_iter().partition(|change| change.what == NO_TEXT);
    if !opaque.is_empty() {
        let names: Vec<&str> = opaque.iter().map(|change| change.subject.as_str()).collect();
        let what = format!("no text, and of other sizes: {}", names.join(", "));
        all.push(Change::new(grade(&format!("{name}/")), area(name), Kind::Changed, path_of(name), what));
    }
    for (kind, names, files, word) in [(Kind::Added, added, &new, "new"), (Kind::Removed, removed, &old, "gone")] {
        let of_one = |inner: &&str| {
            let lines = files.get(*inner).map(|file| signed(context, kind, file)).unwrap_or_default();
            grade_of(&format!("{name}/{inner}"), &lines)
        };
        // The most dangerous of them.
        if let Some(grade) = names.iter().map(of_one).min() {
            let what = format!("{} {word}: {}", if names.len() == 1 { "file" } else { "files" }, names.join(", "));
            all.push(Change::new(grade, area(&format!("{name}/")), kind, path_of(name), what));
        }
    }
    all
}

/// The lines of a file that only one has, with their sign.
fn signed(context: &Context<'_>, kind: Kind, file: &Found) -> Vec<String> {
    let text = match file {
        Found::File(path) => context.files.text(path),
        Found::Directory(_) | Found::Elsewhere(_) | Found::Missing => None,
    };
    let text = text.map(|text| readable(&text)).unwrap_or_default();
    text.lines().filter(|line| !line.trim().is_empty()).map(|line| format!("{}{line}", kind.sign())).collect()
}

/// A file that only one has.
fn one(context: &Context<'_>, name: &str, kind: Kind, file: &EtcFile) -> Vec<Change> {
    let lines = if is_of_accounts(name) { Vec::new() } else { signed(context, kind, &file.leads_to) };
    if name.starts_with("sysctl.d/") {
        let text: String = lines.iter().filter_map(|line| line.get(1..)).map(|line| format!("{line}\n")).collect();
        return if kind == Kind::Added { settings("", &text) } else { settings(&text, "") };
    }
    let what = match (kind, name.strip_prefix("ssh/authorized_keys.d/")) {
        (Kind::Added, Some(user)) => format!("new: {user} may log in with {}", keys(&lines)),
        (Kind::Added, None) => "new".to_owned(),
        _ => "removed".to_owned(),
    };
    let mut change = Change::new(grade_of(name, &lines), area(name), kind, path_of(name), what).with_lines(lines);
    if let Some(mode) = &file.mode {
        change.details.push(Detail { name: "mode and owner".to_owned(), from: None, to: Some(mode.clone()) });
    }
    vec![change]
}

/// `2 keys`, of signed lines.
fn keys(lines: &[String]) -> String {
    match lines.iter().filter(|line| !line.starts_with("+#")).count() {
        1 => "1 key".to_owned(),
        count => format!("{count} keys"),
    }
}

/// Kernel settings by name (sysctl.d(5)).
fn settings(old: &str, new: &str) -> Vec<Change> {
    let parse = |text: &str| -> BTreeMap<String, String> {
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
        lines
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
            .collect()
    };
    let (old, new) = (parse(old), parse(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differing = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    differing
        .map(|name| {
            let (from, to) = (old.get(name), new.get(name));
            let kind = match (from, to) {
                (None, _) => Kind::Added,
                (_, None) => Kind::Removed,
                _ => Kind::Changed,
            };
            let shown = |value: Option<&String>| value.map_or("not set", String::as_str).to_owned();
            let grade =
                if PROTECTING.iter().any(|part| name.contains(part)) { Grade::Security } else { Grade::Service };
            let detail = Detail { name: name.clone(), from: from.cloned(), to: to.cloned() };
            let mut what = format!("{} → {}", shown(from), shown(to));
            if to.is_none() {
                what.push_str(" (a running kernel keeps it until it is rebooted)");
            }
            Change::new(grade, Area::Sysctl, kind, name, what).with_details(vec![detail])
        })
        .collect()
}

/// File systems and swap, by mount point.
fn mounts(old: &str, new: &str) -> Vec<Change> {
    let (old, new) = (Fstab::parse(old), Fstab::parse(new));
    let mut all = Vec::new();
    let change = |kind, subject: &str, what: String| Change::new(Grade::Boot, Area::Mount, kind, subject, what);
    let points: BTreeSet<&String> = old.mounts.keys().chain(new.mounts.keys()).collect();
    for point in points {
        let shown = |mount: &super::mounts::FileSystem| format!("{} ({}, {})", mount.device, mount.kind, mount.options);
        all.extend(match (old.mounts.get(point), new.mounts.get(point)) {
            (None, Some(mount)) => Some(change(Kind::Added, point, format!("new: {}", shown(mount)))),
            (Some(mount), None) => Some(change(Kind::Removed, point, format!("was {}", shown(mount)))),
            (Some(before), Some(after)) if before != after => {
                Some(change(Kind::Changed, point, format!("{} → {}", shown(before), shown(after))))
            }
            _ => None,
        });
    }
    all.extend(new.swaps.difference(&old.swaps).map(|device| change(Kind::Added, device, "new swap".to_owned())));
    all.extend(
        old.swaps.difference(&new.swaps).map(|device| change(Kind::Removed, device, "no swap any more".to_owned())),
    );
    all
}

fn path_of(name: &str) -> String {
    if name.starts_with('/') { name.to_owned() } else { format!("/etc/{name}") }
}

/// Whether a file is in a list, where a directory stands for all in it and, as a link, for itself.
fn is_in(name: &str, list: &[&str]) -> bool {
    let is_of = |entry: &&str| match entry.strip_suffix('/') {
        Some(directory) => name == directory || name.starts_with(entry),
        None => name == *entry,
    };
    list.iter().any(is_of)
}

fn grade(name: &str) -> Grade {
    if is_in(name, &RULES) {
        Grade::Security
    } else if is_in(name, &BOOT) {
        Grade::Boot
    } else if is_in(name, &LABELS) {
        Grade::Info
    } else {
        Grade::Service
    }
}

fn area(name: &str) -> Area {
    if name.starts_with("ssh/authorized_keys.d/") {
        Area::Account
    } else if is_in(name, &RULES) {
        Area::Rule
    } else if name.starts_with("tmpfiles.d/") {
        Area::Tmpfiles
    } else if is_in(name, &["fstab", "crypttab"]) {
        Area::Mount
    } else {
        Area::Etc
    }
}
