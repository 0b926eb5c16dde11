//! Who may do what: wrappers, the firewall, accounts.

use std::collections::BTreeSet;

use super::accounts::{Accounts, Group, Password, User};
use super::context::Context;
use super::firewall::{Firewall, Opening};
use super::model::{Area, Change, Detail, Grade, Kind};

/// Groups that let their members become root, or read what only root should (NixOS manual, "User Management").
const POWERFUL: [&str; 12] = [
    "wheel",
    "root",
    "sudo",
    "docker",
    "podman",
    "libvirtd",
    "lxd",
    "incus-admin",
    "disk",
    "shadow",
    "kmem",
    "systemd-journal",
];

/// Setuid and capability wrappers.
pub(super) fn wrappers(context: &Context<'_>) -> Vec<Change> {
    let (old, new) = (&context.old.wrappers, &context.new.wrappers);
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let change = |name: &String, kind, what: String| Change::new(Grade::Security, Area::Wrapper, kind, name, what);
    names
        .into_iter()
        .filter_map(|name| match (old.get(name), new.get(name)) {
            (None, Some(wrapper)) => Some(change(name, Kind::Added, format!("new wrapper: {}", wrapper.lends()))),
            (Some(wrapper), None) => Some(Change::new(
                Grade::Service,
                Area::Wrapper,
                Kind::Removed,
                name,
                format!("was {}", wrapper.lends()),
            )),
            (Some(before), Some(after)) if before != after => {
                let details = [
                    ("owner", Some(&before.owner), Some(&after.owner)),
                    ("mode", Some(&before.mode), Some(&after.mode)),
                    ("capabilities", before.capabilities.as_ref(), after.capabilities.as_ref()),
                ];
                let what = format!("{} → {}", before.lends(), after.lends());
                Some(change(name, Kind::Changed, what).with_details(fields(&details)))
            }
            _ => None,
        })
        .collect()
}

fn fields(all: &[(&str, Option<&String>, Option<&String>)]) -> Vec<Detail> {
    let differing = all.iter().filter(|(_, from, to)| from != to);
    differing
        .map(|(name, from, to)| Detail { name: (*name).to_owned(), from: from.cloned(), to: to.cloned() })
        .collect()
}

/// What the firewall lets in.
pub(super) fn firewall(context: &Context<'_>) -> Vec<Change> {
    let (old, new) = (&context.old.firewall, &context.new.firewall);
    let security =
        |kind, subject: String, what: &str| Change::new(Grade::Security, Area::Firewall, kind, subject, what);
    let mut all = Vec::new();
    match (old.is_on, new.is_on) {
        (true, false) => {
            all.push(security(
                Kind::Removed,
                "firewall".to_owned(),
                "turned off: every port that something listens on is open",
            ));
            return all;
        }
        (false, true) => {
            // All was open before: what it lets in is no opening.
            let what = format!("turned on; {}", lets_in(new));
            all.push(Change::new(Grade::Service, Area::Firewall, Kind::Added, "firewall", what));
            return all;
        }
        (true, true) if old.is_firewalld != new.is_firewalld => {
            let whose = if new.is_firewalld { "firewalld's now" } else { "NixOS's own now, no longer firewalld's" };
            let what = format!("{whose}; {}", lets_in(new));
            all.push(security(Kind::Changed, "firewall".to_owned(), &what));
            return all;
        }
        (false, false) => return all,
        (true, true) => {}
    }
    let opened = new.open.iter().filter(|opening| !old.lets_in(opening));
    all.extend(opened.map(|opening| security(Kind::Added, opening.to_string(), "open now")));
    let closed =
        |subject: String, what: &str| Change::new(Grade::Service, Area::Firewall, Kind::Removed, subject, what);
    let gone = old.open.iter().filter(|opening| !new.lets_in(opening));
    all.extend(gone.map(|opening| closed(opening.to_string(), &closing(opening, new))));
    let trusted = "trusted now: all that comes from it is let in";
    all.extend(new.trusted.difference(&old.trusted).map(|name| security(Kind::Added, name.clone(), trusted)));
    all.extend(old.trusted.difference(&new.trusted).map(|name| closed(name.clone(), "not trusted any more")));
    let lines = context.text(&old.rules.join("\n"), &new.rules.join("\n")).lines;
    if !lines.is_empty() {
        let what = format!("other rules: {}", counted(&lines));
        all.push(security(Kind::Changed, "firewall rules".to_owned(), &what).with_lines(lines));
    }
    all
}

/// What a firewall lets in, in words.
fn lets_in(firewall: &Firewall) -> String {
    if firewall.is_firewalld {
        return "its zones say what it lets in".to_owned();
    }
    let mut all: Vec<String> = firewall.open.iter().map(ToString::to_string).collect();
    all.extend(firewall.trusted.iter().map(|name| format!("all from {name}")));
    format!("lets in {}", if all.is_empty() { "no port".to_owned() } else { all.join(", ") })
}

/// What became of an opening that is not let in as a whole any more.
fn closing(opening: &Opening, new: &Firewall) -> String {
    let left: Vec<String> = new.open.iter().filter(|other| opening.covers(other)).map(ToString::to_string).collect();
    if left.is_empty() { "closed now".to_owned() } else { format!("narrowed: only {} now", left.join(", ")) }
}

/// `+2 −1 lines`.
pub(super) fn counted(lines: &[String]) -> String {
    let count = |sign: char| lines.iter().filter(|line| line.starts_with(sign)).count();
    match (count('+'), count('-')) {
        (0, 0) => "its text differs".to_owned(),
        (1, 0) => "1 line added".to_owned(),
        (0, 1) => "1 line removed".to_owned(),
        (added, 0) => format!("{added} lines added"),
        (0, removed) => format!("{removed} lines removed"),
        (1, removed) => format!("1 line added, {removed} removed"),
        (added, removed) => format!("{added} lines added, {removed} removed"),
    }
}

/// What makes somebody be logged in without being asked: getty's and the display managers' words for it.
const LOGINS: [&str; 4] = ["autologin", "automaticlogin", "initial_session", "auto-login"];

/// Grades a change up that logs somebody in without a password.
pub(super) fn tell_of_logins(change: &mut Change) {
    let is_off = |text: &str| {
        let text = text.trim_end_matches(['"', '\'', ' ']);
        text.trim_start().starts_with('#')
            || ["=false", "=no", "=", "= false", "= no"].iter().any(|end| text.ends_with(end))
    };
    let says = |text: &str| {
        let text = text.to_lowercase();
        !is_off(&text) && LOGINS.iter().any(|word| text.contains(word))
    };
    let mut added = change.lines.iter().filter_map(|line| line.strip_prefix('+'));
    // What stayed is not what this change does.
    let mut values = change.details.iter().filter(|detail| !detail.from.as_deref().is_some_and(says));
    let is_pam = change.subject.contains("/pam.d/");
    if !is_pam && (added.any(says) || values.any(|detail| detail.to.as_deref().is_some_and(says))) {
        change.grade = Grade::Security;
        change.what = format!("logs somebody in without a password; {}", change.what);
    }
}

/// Users and groups.
pub(super) fn accounts(context: &Context<'_>) -> Vec<Change> {
    let (old, new) = (&context.old.accounts, &context.new.accounts);
    let mut all = Vec::new();
    let names: BTreeSet<&String> = old.users.keys().chain(new.users.keys()).collect();
    for name in names {
        match (old.users.get(name), new.users.get(name)) {
            (None, Some(user)) => all.push(new_user(name, user, new)),
            (Some(_), None) => {
                all.push(Change::new(Grade::Service, Area::Account, Kind::Removed, format!("user {name}"), "removed"))
            }
            (Some(before), Some(after)) => all.extend(changed_user(name, before, after, old, new)),
            (None, None) => {}
        }
    }
    all.extend(groups(old, new));
    if old.mutable != new.mutable
        && let (Some(_), Some(mutable)) = (old.mutable, new.mutable)
    {
        let what = if mutable {
            "passwords and users may be changed on the machine"
        } else {
            "what was changed on the machine is undone by each switch"
        };
        all.push(Change::new(Grade::Security, Area::Account, Kind::Changed, "users.mutableUsers", what));
    }
    all
}

fn new_user(name: &str, user: &User, accounts: &Accounts) -> Change {
    let (groups, all_groups) = (accounts.groups_of(name), accounts.all_groups_of(name));
    let powerful: Vec<&str> = all_groups.iter().map(String::as_str).filter(|group| POWERFUL.contains(group)).collect();
    let may_log_in = user.has_shell() && user.password.opens();
    let grade = if may_log_in || user.has_shell() || !powerful.is_empty() || user.uid == Some(0) {
        Grade::Security
    } else {
        Grade::Service
    };
    let mut what = match (may_log_in, user.has_shell()) {
        (true, _) => "new, may log in with a password".to_owned(),
        (false, true) => "new, with a shell".to_owned(),
        (false, false) => "new, without a login".to_owned(),
    };
    if user.password == Password::Empty {
        what.push_str(" that is empty");
    }
    if !powerful.is_empty() {
        what.push_str(&format!("; in {}", powerful.join(", ")));
    }
    let joined = groups.into_iter().collect::<Vec<_>>().join(", ");
    let details = [
        ("uid", user.uid.map(|uid| uid.to_string())),
        ("group", Some(user.group.clone())),
        ("groups", (!joined.is_empty()).then_some(joined)),
        ("home", Some(user.home.clone())),
        ("shell", Some(user.shell.clone())),
    ];
    let details = details.into_iter().filter(|(_, to)| to.is_some()).map(|(name, to)| Detail {
        name: name.to_owned(),
        from: None,
        to,
    });
    Change::new(grade, Area::Account, Kind::Added, format!("user {name}"), what).with_details(details.collect())
}

fn changed_user(name: &str, before: &User, after: &User, old: &Accounts, new: &Accounts) -> Option<Change> {
    // A shell is a store path at times; which version of it is no matter of who may log in.
    let shell = |user: &User| super::names::nameless(&user.shell);
    let (shell_before, shell_after) = (shell(before), shell(after));
    let mut details = fields(&[
        ("group", Some(&before.group), Some(&after.group)),
        ("home", Some(&before.home), Some(&after.home)),
        ("shell", Some(&shell_before), Some(&shell_after)),
    ]);
    details.extend(more(before, after));
    let mut is_security = shell_before != shell_after && after.has_shell() || details.iter().any(lets_more);
    let mut what: Vec<String> = details.iter().map(told).collect();
    if let Some(words) = declared_id("uid", "an account", before.uid, after.uid) {
        is_security = true;
        what.insert(0, words);
        let uid = |user: &User| user.uid.map(|uid| uid.to_string());
        details.insert(0, Detail { name: "uid".to_owned(), from: uid(before), to: uid(after) });
    }
    if before.password != after.password {
        let stays = stays(before, after, new);
        is_security |= stays.is_none();
        what.push(stays.unwrap_or_else(|| password(&before.password, &after.password).to_owned()));
    }
    let (groups_before, groups_after) = (old.groups_of(name), new.groups_of(name));
    let joined: Vec<&String> = groups_after.difference(&groups_before).collect();
    let left: Vec<&String> = groups_before.difference(&groups_after).collect();
    let listed = |groups: &[&String]| groups.iter().map(|group| group.as_str()).collect::<Vec<_>>().join(", ");
    if !joined.is_empty() {
        what.push(format!("joins {}", listed(&joined)));
    }
    if !left.is_empty() {
        what.push(format!("leaves {}", listed(&left)));
    }
    // By which way somebody is in such a group makes no difference.
    let (all_before, all_after) = (old.all_groups_of(name), new.all_groups_of(name));
    is_security |= all_after.difference(&all_before).any(|group| POWERFUL.contains(&group.as_str()));
    let grade = if is_security { Grade::Security } else { Grade::Service };
    let change = || Change::new(grade, Area::Account, Kind::Changed, format!("user {name}"), what.join("; "));
    (!what.is_empty()).then(|| change().with_details(details))
}

/// A part of a declaration that differs, in words.
fn told(detail: &Detail) -> String {
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
    format!("{} {} → {}", detail.name, shown(&detail.from), shown(&detail.to))
}

/// What else differs of what is declared. A key that only one of them knows is another version's of NixOS.
fn more(before: &User, after: &User) -> Vec<Detail> {
    let both = before.more.iter().filter_map(|(key, from)| Some((key, from, after.more.get(key)?)));
    let differing = both.filter(|(_, from, to)| from != to);
    differing.map(|(key, from, to)| Detail { name: key.clone(), from: from.clone(), to: to.clone() }).collect()
}

/// Whether others may do more in a home, or an account goes on for longer.
fn lets_more(detail: &Detail) -> bool {
    let (from, to) = (detail.from.as_deref(), detail.to.as_deref());
    let mode = |text: Option<&str>| text.and_then(|text| u32::from_str_radix(text, 8).ok()).unwrap_or_default();
    match detail.name.as_str() {
        "homeMode" => mode(to) & !mode(from) & 0o077 != 0,
        "expires" => from.is_some_and(|from| to.is_none_or(|to| to > from)),
        _ => false,
    }
}

/// What another declared id is to what is there and has one: nothing (update-users-groups.pl, userborn).
fn declared_id(kind: &str, whose: &str, from: Option<u64>, to: Option<u64>) -> Option<String> {
    match (from, to) {
        (Some(from), Some(to)) if from != to => {
            Some(format!("{kind} {from} → {to} is declared: {whose} that is there keeps {from}"))
        }
        (None, Some(to)) => Some(format!("{kind} {to} is declared: {whose} that is there keeps its own")),
        (Some(from), None) => Some(format!("no {kind} is declared any more: {whose} that is there keeps {from}")),
        (Some(_), Some(_)) | (None, None) => None,
    }
}

/// The words for another declared password that changes nothing for who is there; `None` where it does
/// (update-users-groups.pl, userborn).
fn stays(before: &User, after: &User, accounts: &Accounts) -> Option<String> {
    let is_mutable = accounts.mutable == Some(true);
    let is_kept = is_mutable || before.is_initial && after.is_initial;
    if !is_kept {
        return None;
    }
    let declared = match (&before.password, &after.password) {
        (Password::Undeclared, _) => "a password is declared",
        (_, Password::Undeclared) => "no password is declared any more",
        _ => "another password is declared",
    };
    let why = if is_mutable { "users.mutableUsers" } else { "an initial one is for a new account" };
    Some(format!("{declared}: the one on the machine stays ({why})"))
}

fn password(before: &Password, after: &Password) -> &'static str {
    match (before, after) {
        (_, Password::Empty) => "the password is empty now",
        (Password::Undeclared | Password::Locked, _) if after.opens() => "may log in with a password now",
        (_, Password::Locked) => "the password is locked now",
        (_, Password::Undeclared) => "no password is declared any more",
        (_, Password::File(_)) => "the password is in another file",
        _ => "another password",
    }
}

fn groups(old: &Accounts, new: &Accounts) -> Vec<Change> {
    let names: BTreeSet<&String> = old.groups.keys().chain(new.groups.keys()).collect();
    names.into_iter().filter_map(|name| group(name, old, new)).collect()
}

fn group(name: &str, old: &Accounts, new: &Accounts) -> Option<Change> {
    let (before, after) = (old.groups.get(name), new.groups.get(name));
    let (kind, mut what) = match (before, after) {
        (None, _) => (Kind::Added, vec!["new".to_owned()]),
        (_, None) => (Kind::Removed, vec!["removed".to_owned()]),
        (Some(before), Some(after)) => {
            (Kind::Changed, declared_id("gid", "a group", before.gid, after.gid).into_iter().collect())
        }
    };
    let is_id = kind == Kind::Changed && !what.is_empty();
    // Who is declared is told of by their own name.
    let members = |group: Option<&Group>| group.map(|group| group.members.clone()).unwrap_or_default();
    let joined: Vec<String> = members(after).difference(&members(before)).cloned().collect();
    let strangers: Vec<String> = joined.into_iter().filter(|member| !new.users.contains_key(member)).collect();
    match &strangers[..] {
        [] => {}
        [one] => what.push(format!("{one} joins, who is not declared here")),
        several => what.push(format!("{} join, who are not declared here", several.join(", "))),
    }
    let is_security = is_id || !strangers.is_empty() && POWERFUL.contains(&name);
    let grade = if is_security { Grade::Security } else { Grade::Service };
    let change = || Change::new(grade, Area::Account, kind, format!("group {name}"), what.join("; "));
    (!what.is_empty()).then(change)
}
