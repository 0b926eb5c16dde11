//! Who may do what: wrappers, the firewall, accounts.

use std::collections::BTreeSet;

use super::accounts::{Accounts, Password, User};
use super::context::Context;
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
            let mut lets_in: Vec<String> = new.open.iter().map(ToString::to_string).collect();
            lets_in.extend(new.trusted.iter().map(|name| format!("all from {name}")));
            let lets_in = if lets_in.is_empty() { "no port".to_owned() } else { lets_in.join(", ") };
            let what = format!("turned on; lets in {lets_in}");
            all.push(Change::new(Grade::Service, Area::Firewall, Kind::Added, "firewall", what));
            return all;
        }
        (false, false) => return all,
        (true, true) => {}
    }
    let opened = "open now";
    all.extend(new.open.difference(&old.open).map(|opening| security(Kind::Added, opening.to_string(), opened)));
    let closed =
        |subject: String, what: &str| Change::new(Grade::Service, Area::Firewall, Kind::Removed, subject, what);
    all.extend(old.open.difference(&new.open).map(|opening| closed(opening.to_string(), "closed now")));
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
    let groups = accounts.groups_of(name);
    let powerful: Vec<&str> = groups.iter().map(String::as_str).filter(|group| POWERFUL.contains(group)).collect();
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
    let uid = |user: &User| user.uid.map(|uid| uid.to_string());
    let (from, to) = (uid(before), uid(after));
    // A shell is a store path at times; which version of it is no matter of who may log in.
    let shell = |user: &User| super::names::nameless(&user.shell);
    let (shell_before, shell_after) = (shell(before), shell(after));
    let mut details = fields(&[
        ("uid", from.as_ref(), to.as_ref()),
        ("group", Some(&before.group), Some(&after.group)),
        ("home", Some(&before.home), Some(&after.home)),
        ("shell", Some(&shell_before), Some(&shell_after)),
    ]);
    let mut what: Vec<String> = details.iter().map(|detail| detail.name.clone()).collect();
    let mut grade =
        if shell_before != shell_after && after.has_shell() || from != to { Grade::Security } else { Grade::Service };
    if before.password != after.password {
        grade = Grade::Security;
        what.push(password(&before.password, &after.password).to_owned());
    }
    let (groups_before, groups_after) = (old.groups_of(name), new.groups_of(name));
    let joined: Vec<&String> = groups_after.difference(&groups_before).collect();
    let left: Vec<&String> = groups_before.difference(&groups_after).collect();
    if !joined.is_empty() {
        let is_powerful = joined.iter().any(|group| POWERFUL.contains(&group.as_str()));
        grade = if is_powerful { Grade::Security } else { grade };
        what.push(format!("joins {}", joined.iter().map(|group| group.as_str()).collect::<Vec<_>>().join(", ")));
    }
    if !left.is_empty() {
        what.push(format!("leaves {}", left.iter().map(|group| group.as_str()).collect::<Vec<_>>().join(", ")));
    }
    if what.is_empty() {
        return None;
    }
    if from != to
        && let (Some(from), Some(to)) = (&from, &to)
    {
        // What lies on the disk goes by number.
        details.push(Detail {
            name: "files of the old uid".to_owned(),
            from: Some(from.clone()),
            to: Some(format!("stay with {from}, not {to}")),
        });
    }
    Some(
        Change::new(grade, Area::Account, Kind::Changed, format!("user {name}"), what.join("; ")).with_details(details),
    )
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
    let mut all = Vec::new();
    for name in names {
        let subject = format!("group {name}");
        match (old.groups.get(name), new.groups.get(name)) {
            (None, Some(_)) => all.push(Change::new(Grade::Service, Area::Account, Kind::Added, subject, "new")),
            (Some(_), None) => all.push(Change::new(Grade::Service, Area::Account, Kind::Removed, subject, "removed")),
            (Some(before), Some(after)) if before.gid != after.gid => {
                let gid = |gid: Option<u64>| gid.map_or_else(|| "any".to_owned(), |gid| gid.to_string());
                let what = format!("gid {} → {}: files of the old one stay with it", gid(before.gid), gid(after.gid));
                all.push(Change::new(Grade::Security, Area::Account, Kind::Changed, subject, what));
            }
            _ => {}
        }
    }
    all
}
