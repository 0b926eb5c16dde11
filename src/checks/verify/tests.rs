//! Units that systemd has something to say of.

use crate::checks::test_support::{Guest, active, expected_unit, failed, guest, inactive, result, status};
use crate::guest::facts::Unit;
use crate::guest::unit_files::UnitFiles;
use crate::model::{CheckId, Status};

const ID: CheckId = CheckId::ServicesVerify;

/// A guest with a unit of a timer's, of which systemd says this.
fn job(said: &[&str], lines: &[(&str, &str)]) -> Guest {
    guest().facts(|facts| {
        let mut files = UnitFiles::default();
        files.system.names = ["job.service", "job.timer"].map(str::to_owned).into();
        files.system.said = said.iter().map(|&line| line.to_owned()).collect();
        let lines = lines.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        files.system.lines.insert("job.service".to_owned(), lines);
        files.accounts_from = "files systemd".to_owned();
        facts.unit_files = Some(files);
    })
}

fn program(path: &str) -> String {
    format!("job.service: Command {path} is not executable: No such file or directory")
}

#[test]
fn jobs_that_a_boot_does_not_start() {
    let gone = program("/nix/store/abc-restic/bin/restik");
    job(&[&gone], &[]).breaks(ID, "job.service, which job.timer starts: its program /nix/store/abc-restic/bin/restik");
    job(&[&program("/usr/bin/restic")], &[]).breaks(ID, "/usr/bin/restic");
    job(&["/etc/systemd/system/job.service:3: Unknown key 'ExecStrat' in section [Service], ignoring."], &[])
        .breaks(ID, "systemd ignores ExecStrat= in [Service]");
    job(&["/etc/systemd/system/job.service:9: Unknown section 'Instal'. Ignoring."], &[]).breaks(ID, "[Instal]");
    let timer = [
        "/etc/systemd/system/job.timer:2: Failed to parse calendar specification, ignoring: fooly",
        "job.timer: Timer unit lacks value setting. Refusing.",
    ];
    job(&timer, &[]).breaks(ID, "job.timer: Failed to parse calendar specification, ignoring: fooly");
    let judgement = job(&[], &[("User", "alcie")]).breaks(ID, "User=alcie, but there is no such user");
    assert!(result(&judgement, ID).hint.as_ref().unwrap().ends_with("or did you mean alice?"));
    job(&[], &[("Group", "wheels")]).breaks(ID, "Group=wheels, but there is no such group");
    let missing = |path: &str| {
        let path = path.to_owned();
        job(&[], &[("EnvironmentFile", &path)])
            .facts(|facts| facts.unit_files.iter_mut().for_each(|files| files.missing.extend([path.clone()])))
    };
    missing("/etc/job.env").breaks(ID, "EnvironmentFile=/etc/job.env is not there");
    missing("/run/secrets/job").excludes("job.service: needs /run/secrets/job");
    missing("/var/lib/job/env").excludes("job.service: needs /var/lib/job/env");
}

#[test]
fn what_is_no_reason_to_fail() {
    let warns = |guest: Guest| assert_eq!(status(&guest.passes(), ID), Status::Warn);
    let passes = |guest: Guest| assert_eq!(status(&guest.passes(), ID), Status::Pass);
    let key =
        |key: &str| format!("/etc/systemd/system/job.service:3: Unknown key '{key}' in section [Service], ignoring.");
    warns(job(&[&key("StartLimitIntervalSec")], &[]));
    warns(job(&[&key("RestrictNamespace")], &[]));
    warns(job(&[&key("NewInSystemd300")], &[]));
    warns(job(
        &["/etc/systemd/system/job.service:3: Failed to parse ProtectSystem=very, ignoring: Invalid argument"],
        &[],
    ));
    // A package's unit, or its drop-in.
    passes(job(
        &[
            "/nix/store/x-systemd/example/systemd/system/other.service:3: Unknown key 'ExecStrat' in section [Service], ignoring.",
        ],
        &[],
    ));
    passes(job(
        &["/etc/systemd/system/job.service.d/pkg.conf:3: Unknown key 'ExecStrat' in section [Service], ignoring."],
        &[],
    ));
    passes(job(&["other.service: Command /nix/store/x/bin/y is not executable: No such file or directory"], &[]));
    // Another root, a guard, numbers, specifiers, users that are made when it starts or come from elsewhere.
    passes(job(&[&program("/bin/app")], &[("RootDirectory", "/srv/app")]));
    passes(job(&[&program("/etc/hook")], &[("ConditionFileIsExecutable", "/etc/hook")]));
    passes(job(&[], &[("User", "65534"), ("Group", "%i")]));
    passes(job(&[], &[("DynamicUser", "true"), ("User", "jobber")]));
    passes(job(&[], &[("User", "ldap-user")]).facts(|facts| {
        facts.unit_files.iter_mut().for_each(|files| files.accounts_from = "files sss".to_owned());
    }));
    job(&[&program("/opt/app/bin/run")], &[]).excludes("job.service: runs /opt/app/bin/run");
    // It runs: what cannot be started is what it is reloaded or stopped by.
    warns(job(&[&program("/nix/store/x/bin/y")], &[]).unit(active("job.service")));
    // It failed, which is reported already.
    job(&[&program("/nix/store/x/bin/y")], &[("User", "nosuch")])
        .unit(failed("job.service", 203))
        .breaks(CheckId::ServicesFailedUnits, "job.service failed");
    // A unit that is there by another name only.
    let gone = |name: &str| Unit { load_state: "not-found".into(), wanted_by: Vec::new(), ..inactive(name) };
    let after = |name: &str| job(&[], &[("After", &format!("network.target {name}"))]).unit(gone(name));
    let judgement = after("sshdd.service").passes();
    assert_eq!(
        result(&judgement, ID).summary,
        "job.service, which job.timer starts: After=sshdd.service, but there is no such unit"
    );
    assert_eq!(result(&judgement, ID).hint.as_deref(), Some("did you mean sshd.service?"));
    warns(after("sshdd.service"));
    passes(after("postgresql.service"));
    passes(after("sshd.socket"));
    // Nobody starts it, and it is none: its settings are of another.
    let misspelt = guest().facts(|facts| {
        let mut files = UnitFiles::default();
        files.system.names = ["sshdd.service".to_owned()].into();
        files.system.said =
            vec!["sshdd.service: Service has no ExecStart=, ExecStop=, or SuccessAction=. Refusing.".into()];
        facts.unit_files = Some(files);
    });
    let judgement = misspelt.passes();
    assert_eq!(result(&judgement, ID).hint.as_deref(), Some("did you mean sshd.service?"));
    warns(misspelt);
    // Nobody starts it.
    let by_hand = job(&[&program("/nix/store/x/bin/y")], &[]).facts(|facts| {
        facts.unit_files.iter_mut().for_each(|files| files.system.names.retain(|name| name != "job.timer"));
    });
    warns(by_hand);
}

#[test]
fn what_could_not_be_looked_at() {
    let guest = || guest().facts(|facts| facts.unit_files = None);
    assert_eq!(status(&guest().passes(), ID), Status::Skip);
    let lacks = guest().facts(|facts| drop(facts.gaps.insert("unit-files".into(), "no systemd-analyze".into())));
    assert_eq!(status(&lacks.passes(), ID), Status::Unknown);
}

#[test]
fn targets_that_do_not_exist() {
    let gone = |target: &str| Unit { load_state: "not-found".into(), wanted_by: Vec::new(), ..inactive(target) };
    let wanted_by = |targets: &[&str]| {
        let targets: Vec<String> = targets.iter().map(|&name| name.to_owned()).collect();
        guest().unit(Unit { wanted_by: Vec::new(), ..inactive("web.service") }).expecting(|expectations| {
            let unit =
                crate::nix::expectations::ExpectedUnit { enable: true, wanted_by: targets, ..Default::default() };
            expectations.units.insert("web.service".into(), unit);
        })
    };
    let judgement = wanted_by(&["multiuser.target"])
        .unit(gone("multiuser.target"))
        .breaks(ID, "web.service is never started: it is wanted by multiuser.target, which does not exist");
    assert_eq!(result(&judgement, ID).hint.as_deref(), Some("did you mean multi-user.target?"));
    wanted_by(&["graphical-session.target"])
        .unit(gone("graphical-session.target"))
        .breaks(ID, "which only users' managers have");
    // One that no slip explains, one beside another, one that is there.
    let warns = |guest: Guest| assert_eq!(status(&guest.passes(), ID), Status::Warn);
    warns(wanted_by(&["zfs-volumes.target"]).unit(gone("zfs-volumes.target")));
    warns(wanted_by(&["multiuser.target", "sleep.target"]).unit(gone("multiuser.target")));
    wanted_by(&["multiuser.target"]).unit(inactive("multiuser.target")).passes();
    // Users' units: a slip only.
    let of_user = |target: &str| {
        let unit = expected_unit(target);
        guest().expecting(|expectations| drop(expectations.user_units.insert("bar.service".into(), unit)))
    };
    of_user("graphical-sesion.target").breaks(ID, "wanted by graphical-sesion.target");
    of_user("multi-user.target").breaks(ID, "wanted by multi-user.target, which users' managers do not have");
    of_user("niri-session.target").passes();
    of_user("i3-session.target").passes();
}
