//! `users.*`: who can log in, and whether the declared users and groups exist.

use crate::desktop::{DesktopFacts, lockers};
use crate::guest::facts::{Account, Barrier, ClosedService, MissingModule, Password};
use crate::judging::unit::is_active;
use crate::judging::{Finding, JudgeContext, Judgement, conclude, text};
use crate::model::{CheckId, CheckResult, Excuse, Lack, Status, Witness};

const HASH_HINT: &str = "hashedPassword takes the output of mkpasswd; a plain-text password goes into initialPassword";

pub(super) fn judge(cx: &JudgeContext<'_>, desktop: Option<&DesktopFacts>, out: &mut Judgement) {
    for (id, judge) in [
        (
            CheckId::UsersLogin,
            login_and_unlock as fn(&JudgeContext<'_>, Option<&DesktopFacts>, &mut Judgement) -> CheckResult,
        ),
        (CheckId::UsersDeclared, declared),
    ] {
        let result = match cx.unknown(id, &["accounts"]) {
            Some(unknown) => unknown,
            None if cx.now.accounts.is_empty() => {
                CheckResult::new(id, Status::Unknown, "the guest's accounts were not read")
            }
            None => judge(cx, desktop, out),
        };
        out.results.push(result);
    }
}

/// root, and users: those that the configuration calls normal, or with a number for users (login.defs(5)).
fn is_interactive(cx: &JudgeContext<'_>, account: &Account) -> bool {
    let normal = cx.plan.expectations.users.get(&account.name).is_some_and(|user| user.normal);
    (account.uid == 0 || normal || (1000..60000).contains(&account.uid)) && account.shell_works
}

fn login_method(cx: &JudgeContext<'_>, account: &Account) -> Option<&'static str> {
    let runs = |name: &str| cx.unit(name).is_some_and(is_active);
    match account.password {
        Password::Set => Some("password"),
        Password::Empty => Some("empty password"),
        Password::Locked if account.has_key && (runs("sshd.service") || runs("sshd.socket") || runs("ssh.service")) => {
            Some("SSH key")
        }
        Password::Locked if cx.plan.expectations.autologin_user.as_deref() == Some(account.name.as_str()) => {
            Some("autologin")
        }
        Password::Locked => None,
    }
}

/// Logging in, and back in from a locked screen: a warning beside whatever logging in comes to.
fn login_and_unlock(cx: &JudgeContext<'_>, desktop: Option<&DesktopFacts>, out: &mut Judgement) -> CheckResult {
    let login = login(cx, out);
    let stuck = desktop.map(lockers::dead_ends).unwrap_or_default();
    let broken = broken_services(cx);
    match login.status {
        _ if !broken.is_empty() => conclude(cx, login.id, broken, stuck, String::new).detail([login.summary]),
        _ if stuck.is_empty() => login,
        Status::Pass | Status::Skip => conclude(cx, login.id, Vec::new(), stuck, String::new).detail([login.summary]),
        _ => login.detail(stuck.into_iter().map(|finding| finding.summary)),
    }
}

/// PAM's services by which somebody at the machine gets in.
const DOORS: [&str; 7] = ["login", "greetd", "sddm", "gdm-password", "lightdm", "ly", "lemurs"];

/// PAM's services that let nobody in, for a module that is not there or for the order of their rules: one finding each.
fn broken_services(cx: &JudgeContext<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for MissingModule { service, control, module } in &cx.now.pam_missing {
        let is_needed = matches!(control.as_str(), "required" | "requisite") || control.contains("default=");
        // What another result decides goes on without it.
        let is_ignored = control.contains("default=ignore") || control.contains("default=ok");
        if is_needed && !is_ignored && !found.iter().any(|finding| finding.item == *service) {
            let (service, module) = (text::clean(service), text::clean(module));
            let summary = format!("the PAM service {service} lets nobody in: its module {module} does not exist");
            let hint =
                format!("see security.pam.services.{service}: does the package that it names contain this module?");
            found.push(Finding::new(&service, summary).evidence("module", module).hint(hint));
        }
    }
    // Other services may be meant to: sshd, where only keys are to let anybody in.
    let is_for_login = |closed: &&ClosedService| DOORS.contains(&closed.service.as_str()) && closed.kind != "session";
    for ClosedService { service, kind } in cx.now.pam_closed.iter().filter(is_for_login) {
        if found.iter().any(|finding| finding.item == *service) {
            continue;
        }
        let summary = format!(
            "the PAM service {service} lets nobody in: its {kind} rules come to pam_deny.so before any that could succeed"
        );
        let hint = format!("see security.pam.services.{service}: the order of its rules, or its text");
        found.push(Finding::new(service, summary).hint(hint));
    }
    found.extend(cx.now.accounts.iter().filter_map(|account| refused(cx, account)));
    found
}

/// A user for whom PAM opens no session.
fn refused(cx: &JudgeContext<'_>, account: &Account) -> Option<Finding> {
    let line = account.refused.as_deref().filter(|_| is_interactive(cx, account))?;
    let summary = text::clean(&format!("PAM's service su opens no session for {}: {line}", account.name));
    Some(Finding::new(&account.name, summary))
}

fn login(cx: &JudgeContext<'_>, out: &mut Judgement) -> CheckResult {
    let id = CheckId::UsersLogin;
    let expectations = &cx.plan.expectations;
    let users: Vec<&Account> = cx.now.accounts.iter().filter(|account| is_interactive(cx, account)).collect();
    let can: Vec<String> =
        users.iter().filter_map(|account| Some(format!("{} ({})", account.name, login_method(cx, account)?))).collect();
    if !can.is_empty() {
        return CheckResult::new(id, Status::Pass, format!("can log in: {}", text::list(&can)));
    }
    let exclude = |out: &mut Judgement, lack: Lack, witness: Witness, why: &str| {
        out.exclude("logging in", Excuse::new(lack, witness, why));
        CheckResult::new(id, Status::Skip, text::clean(&format!("not applicable: {why}")))
    };
    let runs = |name: &str| cx.unit(name).is_some_and(is_active);
    if let Some(service) = ["sssd.service", "nslcd.service", "systemd-homed.service", "kanidm-unixd.service"]
        .into_iter()
        .find(|name| runs(name))
    {
        let witness = Witness::state(format!("{service} is active"));
        return exclude(out, Lack::Outside, witness, &format!("accounts come from elsewhere ({service})"));
    }
    if expectations.allow_no_password_login == Some(true) {
        let why = "the configuration permits a machine that nobody can log in to (users.allowNoPasswordLogin)";
        return exclude(out, Lack::Choice, Witness::option("users.allowNoPasswordLogin"), why);
    }
    if let Some((name, file)) =
        expectations.users.iter().find_map(|(name, user)| Some((name, user.password_file.as_ref()?)))
    {
        let why = format!("the password of {name} is not in the configuration, but in {file}");
        return exclude(out, Lack::Secret, Witness::Path { path: file.clone() }, &why);
    }
    // The disk is fresh: a user with a password in the configuration has it here, if it is a valid hash.
    let no_hash = users.iter().find(|account| {
        expectations.users.get(&account.name).is_some_and(|user| user.has_password)
            && account.password == Password::Locked
    });
    if let Some(account) = no_hash {
        let name = text::clean(&account.name);
        let finding = Finding::new(
            "login",
            format!("nobody can log in: the configuration sets a password for {name}, which is not a valid hash"),
        )
        .evidence("locked", vec![name])
        .hint(HASH_HINT);
        return conclude(cx, id, vec![finding], Vec::new(), String::new);
    }
    if expectations.mutable_users != Some(false) {
        let why = "passwords are set on the real machine (users.mutableUsers), not in the configuration";
        return exclude(out, Lack::State, Witness::option("users.mutableUsers"), why);
    }
    let names: Vec<&str> = users.iter().map(|account| account.name.as_str()).collect();
    let who = if names.is_empty() {
        "no account has a shell that works".to_owned()
    } else {
        format!("{} locked, without a key that SSH would accept", text::list(&names))
    };
    let finding = Finding::new("login", format!("nobody can log in: {who}, and users.mutableUsers is off"))
        .evidence("locked", names.iter().map(|name| text::clean(name)).collect::<Vec<_>>())
        .hint("give a user hashedPassword, hashedPasswordFile or openssh.authorizedKeys.keys");
    conclude(cx, id, vec![finding], Vec::new(), String::new)
}

fn declared(cx: &JudgeContext<'_>, _: Option<&DesktopFacts>, _: &mut Judgement) -> CheckResult {
    let id = CheckId::UsersDeclared;
    let expectations = &cx.plan.expectations;
    let mut fails = Vec::new();
    let mut warns = Vec::new();
    let groups_known = cx.gap("groups").is_none() && !cx.now.groups.is_empty();
    for (name, expected) in &expectations.users {
        let Some(account) = cx.now.accounts.iter().find(|account| account.name == *name) else {
            fails.push(Finding::new(name, format!("declared user {name} does not exist")));
            continue;
        };
        if let Some(uid) = expected.uid
            && uid != account.uid
        {
            // NixOS keeps the number that a user already has, on purpose.
            warns.push(Finding::new(name, format!("user {name} has uid {}, but {uid} is declared", account.uid)));
        }
        if expected.has_password
            && expected.password_file.is_none()
            && expectations.mutable_users == Some(false)
            && account.password == Password::Locked
        {
            let summary =
                format!("the password that the configuration sets for {name} is not a valid hash: it matches none");
            fails.push(Finding::new(name, summary).hint(HASH_HINT));
        }
        if groups_known {
            for group in &expected.extra_groups {
                match cx.now.groups.get(group) {
                    Some(found) if found.members.contains(name) || found.gid == account.gid => {}
                    Some(_) => fails.push(Finding::new(name, format!("user {name} is not in its group {group}"))),
                    // NixOS ignores groups that are not declared.
                    None if !expectations.groups.contains_key(group) => warns.push(Finding::new(
                        name,
                        format!("user {name} should be in group {group}, which is not declared"),
                    )),
                    // Reported below.
                    None => {}
                }
            }
        }
        let home = expected.home.as_deref().unwrap_or(&account.home);
        if expected.create_home && !home.starts_with("/var/empty") {
            match account.home_owner {
                Some(owner) if owner == account.uid => {}
                Some(owner) => {
                    fails.push(Finding::new(name, format!("home directory {home} of {name} is owned by uid {owner}")));
                }
                None => fails.push(Finding::new(name, format!("home directory {home} of {name} does not exist"))),
            }
        }
        if expected.normal
            && let Some(barrier) = &account.barrier
        {
            let Barrier { directory, mode, owner } = barrier;
            let owner = owner.map_or_else(|| "somebody else".to_owned(), |uid| owner_name(cx, uid));
            let summary = format!(
                "{name} cannot enter the home directory {}: {directory} above it is {owner}'s, with mode {mode}",
                account.home
            );
            let hint =
                format!("{name} needs to be let through {directory}: a rule of systemd.tmpfiles with mode 0755, say");
            fails.push(Finding::new(name, summary).evidence("directory", text::clean(directory)).hint(hint));
        }
        let is_nologin = |shell: &str| shell.is_empty() || shell.ends_with("nologin") || shell.ends_with("/false");
        if expected.normal && !account.shell_works && !is_nologin(&account.shell) {
            fails.push(
                Finding::new(name, format!("login shell {} of {name} does not exist or does not run", account.shell))
                    .hint("a shell given as a path needs its programs.NAME.enable; one given as a package does not"),
            );
        }
    }
    if groups_known {
        for (name, gid) in &expectations.groups {
            match (cx.now.groups.get(name), gid) {
                (None, _) => fails.push(Finding::new(name, format!("declared group {name} does not exist"))),
                (Some(found), Some(gid)) if found.gid != *gid => {
                    warns
                        .push(Finding::new(name, format!("group {name} has gid {}, but {gid} is declared", found.gid)));
                }
                _ => {}
            }
        }
    }
    if fails.is_empty()
        && !expectations.groups.is_empty()
        && let Some(unknown) = cx.unknown(id, &["groups"])
    {
        return unknown;
    }
    let count = expectations.users.len();
    conclude(cx, id, fails, warns, || {
        format!("all {count} declared users and {} groups exist", expectations.groups.len())
    })
}

/// The name of the account with this number.
fn owner_name(cx: &JudgeContext<'_>, uid: u32) -> String {
    let account = cx.now.accounts.iter().find(|account| account.uid == uid);
    account.map_or_else(|| format!("uid {uid}"), |account| account.name.clone())
}

#[cfg(test)]
mod tests;
