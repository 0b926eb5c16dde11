//! `users.*`: who can log in, and whether who was declared is there.

use super::unit::is_active;
use super::{Finding, Judgement, View, conclude, text};
use crate::guest::facts::{Account, Password};
use crate::model::{CheckId, CheckResult, Status};

pub(super) fn judge(view: &View<'_>, out: &mut Judgement) {
    for (id, judge) in [
        (CheckId::UsersLogin, login as fn(&View<'_>, &mut Judgement) -> CheckResult),
        (CheckId::UsersDeclared, declared),
    ] {
        let result = match view.unknown(id, &["accounts"]) {
            Some(unknown) => unknown,
            None if view.now.accounts.is_empty() => {
                CheckResult::new(id, Status::Unknown, "the guest's accounts were not read")
            }
            None => judge(view, out),
        };
        out.results.push(result);
    }
}

/// root, and people: those the configuration calls normal, or with a person's number (login.defs(5)).
fn is_interactive(view: &View<'_>, account: &Account) -> bool {
    let normal = view.plan.expectations.users.get(&account.name).is_some_and(|user| user.normal);
    (account.uid == 0 || normal || (1000..60000).contains(&account.uid)) && account.shell_works
}

fn way_in(view: &View<'_>, account: &Account) -> Option<&'static str> {
    let runs = |name: &str| view.unit(name).is_some_and(is_active);
    match account.password {
        Password::Set => Some("password"),
        Password::Empty => Some("empty password"),
        Password::Locked if account.has_key && (runs("sshd.service") || runs("sshd.socket") || runs("ssh.service")) => {
            Some("SSH key")
        }
        Password::Locked if view.plan.expectations.autologin_user.as_deref() == Some(account.name.as_str()) => {
            Some("autologin")
        }
        Password::Locked => None,
    }
}

fn login(view: &View<'_>, out: &mut Judgement) -> CheckResult {
    let id = CheckId::UsersLogin;
    let expectations = &view.plan.expectations;
    let people: Vec<&Account> = view.now.accounts.iter().filter(|account| is_interactive(view, account)).collect();
    let can: Vec<String> =
        people.iter().filter_map(|account| Some(format!("{} ({})", account.name, way_in(view, account)?))).collect();
    if !can.is_empty() {
        return CheckResult::new(id, Status::Pass, format!("can log in: {}", text::list(&can)));
    }
    let aside = |out: &mut Judgement, why: &str| {
        out.exclude("logging in", why);
        CheckResult::new(id, Status::Skip, text::clean(&format!("not tested: {why}")))
    };
    let runs = |name: &str| view.unit(name).is_some_and(is_active);
    if let Some(service) = ["sssd.service", "nslcd.service", "systemd-homed.service", "kanidm-unixd.service"]
        .into_iter()
        .find(|name| runs(name))
    {
        return aside(out, &format!("accounts come from elsewhere ({service})"));
    }
    if expectations.allow_no_password_login == Some(true) {
        return aside(out, "the configuration allows that nobody can log in (users.allowNoPasswordLogin)");
    }
    if let Some((name, file)) =
        expectations.users.iter().find_map(|(name, user)| Some((name, user.password_file.as_ref()?)))
    {
        return aside(out, &format!("the password of {name} lies outside the configuration, in {file}"));
    }
    // The disk is fresh: whoever has a password by the configuration has it here, if it is one.
    let no_hash = people.iter().find(|account| {
        expectations.users.get(&account.name).is_some_and(|user| user.has_password)
            && account.password == Password::Locked
    });
    if let Some(account) = no_hash {
        let name = text::clean(&account.name);
        let finding = Finding::new(
            "login",
            format!(
                "nobody can log in: the configuration sets a password for {name}, which is no hash that any matches"
            ),
        )
        .evidence("locked", vec![name])
        .hint("hashedPassword takes what mkpasswd prints; a password as it is goes into initialPassword");
        return conclude(view, id, vec![finding], Vec::new(), String::new);
    }
    if expectations.mutable_users != Some(false) {
        return aside(out, "passwords are set on the real machine (users.mutableUsers), not in the configuration");
    }
    let names: Vec<&str> = people.iter().map(|account| account.name.as_str()).collect();
    let who = if names.is_empty() {
        "no account has a shell that works".to_owned()
    } else {
        format!("{} locked, without a key that SSH would take", text::list(&names))
    };
    let finding = Finding::new("login", format!("nobody can log in: {who}, and users.mutableUsers is off"))
        .evidence("locked", names.iter().map(|name| text::clean(name)).collect::<Vec<_>>())
        .hint("give somebody hashedPassword, hashedPasswordFile or openssh.authorizedKeys.keys");
    conclude(view, id, vec![finding], Vec::new(), String::new)
}

fn declared(view: &View<'_>, _: &mut Judgement) -> CheckResult {
    let id = CheckId::UsersDeclared;
    let expectations = &view.plan.expectations;
    let mut fails = Vec::new();
    let mut warns = Vec::new();
    let groups_known = view.gap("groups").is_none() && !view.now.groups.is_empty();
    for (name, promise) in &expectations.users {
        let Some(account) = view.now.accounts.iter().find(|account| account.name == *name) else {
            fails.push(Finding::new(name, format!("user {name} is declared and not there")));
            continue;
        };
        if let Some(uid) = promise.uid
            && uid != account.uid
        {
            // NixOS keeps the number that a user already has, on purpose.
            warns.push(Finding::new(name, format!("user {name} has uid {}, declared is {uid}", account.uid)));
        }
        if promise.has_password
            && promise.password_file.is_none()
            && expectations.mutable_users == Some(false)
            && account.password == Password::Locked
        {
            fails.push(Finding::new(name, format!("user {name} has a declared password and is locked in the guest")));
        }
        if groups_known {
            for group in &promise.extra_groups {
                match view.now.groups.get(group) {
                    Some(found) if found.members.contains(name) || found.gid == account.gid => {}
                    Some(_) => fails.push(Finding::new(name, format!("user {name} is not in its group {group}"))),
                    // NixOS ignores groups that nothing declares.
                    None if !expectations.groups.contains_key(group) => warns.push(Finding::new(
                        name,
                        format!("user {name} is to be in group {group}, which nothing declares"),
                    )),
                    // Told below.
                    None => {}
                }
            }
        }
        let home = promise.home.as_deref().unwrap_or(&account.home);
        if promise.create_home && !home.starts_with("/var/empty") {
            match account.home_owner {
                Some(owner) if owner == account.uid => {}
                Some(owner) => {
                    fails.push(Finding::new(name, format!("the home of {name}, {home}, belongs to uid {owner}")));
                }
                None => fails.push(Finding::new(name, format!("the home of {name}, {home}, is not there"))),
            }
        }
        let refuses = |shell: &str| shell.is_empty() || shell.ends_with("nologin") || shell.ends_with("/false");
        if promise.normal && !account.shell_works && !refuses(&account.shell) {
            fails.push(
                Finding::new(name, format!("the shell of {name}, {}, is not there or does not run", account.shell))
                    .hint("a shell as a path needs its programs.NAME.enable; a package brings itself"),
            );
        }
    }
    if groups_known {
        for (name, gid) in &expectations.groups {
            match (view.now.groups.get(name), gid) {
                (None, _) => fails.push(Finding::new(name, format!("group {name} is declared and not there"))),
                (Some(found), Some(gid)) if found.gid != *gid => {
                    warns.push(Finding::new(name, format!("group {name} has gid {}, declared is {gid}", found.gid)));
                }
                _ => {}
            }
        }
    }
    if fails.is_empty()
        && !expectations.groups.is_empty()
        && let Some(unknown) = view.unknown(id, &["groups"])
    {
        return unknown;
    }
    let count = expectations.users.len();
    conclude(view, id, fails, warns, || {
        format!("{count} declared users and {} groups are there", expectations.groups.len())
    })
}
