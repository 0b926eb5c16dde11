//! Logins, users and groups.

use crate::checks::test_support::{guest, inactive, status};
use crate::guest::facts::{Account, Barrier, ClosedService, MissingModule, Password};
use crate::model::{CheckId, Status};
use crate::nix::expectations::ExpectedUser;

#[test]
fn a_module_of_pam_that_is_not_there() {
    let sudo = |control: &str| {
        let module =
            MissingModule { service: "sudo".into(), control: control.into(), module: "/nix/store/x/pam_u2f.so".into() };
        guest().facts(|facts| facts.pam_missing = vec![module])
    };
    let words = "the PAM service sudo lets nobody in: its module /nix/store/x/pam_u2f.so does not exist";
    for control in ["required", "requisite", "[success=1 default=die]"] {
        sudo(control).breaks(CheckId::UsersLogin, words);
    }
    for control in ["sufficient", "optional", "[success=1 default=ignore]"] {
        sudo(control).passes();
    }
}

#[test]
fn a_service_of_pam_that_refuses_everybody() {
    let closed = |service: &str, kind: &str| {
        guest().facts(|facts| {
            facts.pam_closed = vec![ClosedService { service: service.into(), kind: kind.into() }];
        })
    };
    let words =
        "the PAM service login lets nobody in: its auth rules come to pam_deny.so before any that could succeed";
    closed("login", "auth").breaks(CheckId::UsersLogin, words);
    closed("greetd", "account").breaks(CheckId::UsersLogin, "its account rules");
    for (service, kind) in [("sshd", "auth"), ("other", "auth"), ("login", "session")] {
        closed(service, kind).passes();
    }
}

#[test]
fn a_user_for_whom_pam_opens_no_session() {
    let refused = || {
        let line = "pam_access(su:account): access denied for user `alice' from `su'";
        guest().facts(move |facts| facts.accounts[1].refused = Some(line.into()))
    };
    let words = "PAM's service su opens no session for alice: pam_access(su:account): access denied";
    refused().breaks(CheckId::UsersLogin, words);
}

#[test]
fn nobody_can_log_in() {
    let locked = || {
        guest()
            .facts(|facts| facts.accounts.iter_mut().for_each(|account| account.password = Password::Locked))
            .expecting(|expectations| expectations.users.values_mut().for_each(|user| user.has_password = false))
    };
    locked().breaks(CheckId::UsersLogin, "nobody can log in: root and alice locked");
    locked()
        .expecting(|expectations| expectations.mutable_users = Some(true))
        .excludes("passwords are set on the real machine");
    // The disk is fresh: a password that was set and matches nothing is none on the real machine either.
    let no_hash = || {
        locked().expecting(|expectations| {
            expectations.mutable_users = Some(true);
            expectations.users.get_mut("alice").unwrap().has_password = true;
        })
    };
    no_hash().breaks(CheckId::UsersLogin, "the configuration sets a password for alice, which is not a valid hash");
    no_hash().facts(|facts| facts.accounts[0].password = Password::Set).passes();
    locked()
        .expecting(|expectations| expectations.allow_no_password_login = Some(true))
        .excludes("allowNoPasswordLogin");
    locked()
        .expecting(|expectations| {
            expectations.users.entry("alice".into()).or_default().password_file = Some("/run/secrets/alice".into());
        })
        .excludes("the password of alice is not in the configuration, but in /run/secrets/alice");
    locked().facts(|facts| facts.accounts[1].has_key = true).passes();
    locked().expecting(|expectations| expectations.autologin_user = Some("alice".into())).passes();
    locked()
        .facts(|facts| facts.accounts[1].has_key = true)
        .unit(inactive("sshd.service"))
        .expecting(|expectations| {
            expectations.units.clear();
        })
        .breaks(CheckId::UsersLogin, "nobody can log in");
}

#[test]
fn declared_users_are_there() {
    let alice = |change: fn(&mut Account)| guest().facts(|facts| change(&mut facts.accounts[1]));
    guest()
        .expecting(|expectations| {
            expectations.users.insert("bob".into(), ExpectedUser::default());
        })
        .breaks(CheckId::UsersDeclared, "declared user bob does not exist");
    guest()
        .expecting(|expectations| {
            expectations.groups.insert("media".into(), None);
        })
        .breaks(CheckId::UsersDeclared, "declared group media does not exist");
    alice(|account| account.home_owner = None)
        .breaks(CheckId::UsersDeclared, "home directory /home/alice of alice does not exist");
    let shut = |account: &mut Account| {
        account.barrier = Some(Barrier { directory: "/home/family".into(), mode: "700".into(), owner: Some(0) });
    };
    let words = "alice cannot enter the home directory /home/alice: /home/family above it is root's, with mode 700";
    alice(shut).breaks(CheckId::UsersDeclared, words);
    alice(|account| account.home_owner = Some(0))
        .breaks(CheckId::UsersDeclared, "home directory /home/alice of alice is owned by uid 0");
    alice(|account| {
        account.shell = "/run/current-system/sw/bin/zsh".into();
        account.shell_works = false;
        account.has_key = true;
    })
    .expect(
        &[(CheckId::UsersLogin, ""), (CheckId::UsersDeclared, "login shell /run/current-system/sw/bin/zsh of alice")],
        &[],
    );
    guest()
        .facts(|facts| facts.groups.get_mut("wheel").unwrap().members.clear())
        .breaks(CheckId::UsersDeclared, "user alice is not in its group wheel");
    // NixOS keeps a number that is there, and ignores groups that nothing declares.
    let judgement =
        guest().expecting(|expectations| expectations.users.get_mut("alice").unwrap().uid = Some(1234)).passes();
    assert_eq!(status(&judgement, CheckId::UsersDeclared), Status::Warn);
    guest()
        .expecting(|expectations| expectations.users.get_mut("alice").unwrap().extra_groups.push("docker".into()))
        .passes();
}
