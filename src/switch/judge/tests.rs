//! What a switch says and does, in the words of switch-to-configuration-ng, and what is to be told of it.

use proptest::prelude::*;

use super::{Checked, PhaseChecks, is_excused, judge, run_infos};
use crate::guest::facts::JournalLine;
use crate::model::{CheckId, CheckResult, Excuse, Found, Lack, MachinePhase, NotTested, Status, Witness};
use crate::switch::observation::{
    ProcessSeen, Rehearsal, SessionSeen, Sessions, SwitchEnd, SwitchRun, UnitJob, UserJob,
};

const NONE: Checked<'static> = Checked { results: &[], not_tested: &[], allowed: &[] };
const NO_CHECKS: PhaseChecks<'static> = PhaseChecks { fresh: NONE, switched: NONE, back: NONE };

fn run(phase: MachinePhase, end: SwitchEnd, output: &[&str]) -> SwitchRun {
    let mut run = SwitchRun::without(phase, "/nix/store/x-nixos-system", end);
    run.output = output.iter().map(|line| (*line).to_owned()).collect();
    run
}

fn switched(end: SwitchEnd, output: &[&str]) -> SwitchRun {
    run(MachinePhase::Switched, end, output)
}

fn job(unit: &str, job: &str, result: &str) -> UnitJob {
    UnitJob { unit: unit.into(), job: job.into(), result: result.into() }
}

fn line(unit: &str, identifier: &str, priority: u8, message: &str) -> JournalLine {
    JournalLine {
        at_us: 1,
        priority,
        unit: unit.into(),
        identifier: identifier.into(),
        pid: 700,
        transport: "journal".into(),
        message: message.into(),
    }
}

fn one(runs: Vec<SwitchRun>, id: CheckId, phase: MachinePhase) -> CheckResult {
    let well = [CheckResult::new(CheckId::ServicesFailedUnits, Status::Pass, "no unit failed")];
    let well = Checked::new(&well, &[], &[]);
    let checks = PhaseChecks { fresh: well, switched: well, back: well };
    let rehearsal = Rehearsal { runs, ..Rehearsal::default() };
    let results = judge(&rehearsal, &checks);
    results.into_iter().find(|result| result.id == id && result.phase == Some(phase)).expect("judged")
}

fn outcome(run: SwitchRun) -> (Status, String) {
    let result = one(vec![run], CheckId::SwitchOutcome, MachinePhase::Switched);
    (result.status, result.summary)
}

const ACTIVATING: &str = "activating the configuration...";

#[test]
fn each_end_of_a_switch() {
    use SwitchEnd::{Exited, Gone, Hung, Killed, Missing, NotStarted, Silent};
    let queued = |seconds| Hung { waiting_for: vec!["812 slow.service start running".into()], seconds };
    let table: Vec<(SwitchEnd, &[&str], Status, &str)> = vec![
        (Exited(0), &[ACTIVATING], Status::Pass, "no unit was touched"),
        (
            Exited(1),
            &["Checking switch inhibitors...", " done", "Pre-switch check 'zpool' failed", "Pre-switch checks failed"],
            Status::Fail,
            "the pre-switch check zpool refuses the switch: it gave no reason",
        ),
        (
            Exited(1),
            &["not enough room in /boot", "Pre-switch check 'boot' failed", "Pre-switch checks failed"],
            Status::Fail,
            "the pre-switch check boot refuses the switch: not enough room in /boot",
        ),
        (
            Exited(1),
            &[
                "Checking switch inhibitors...",
                "There are changes to critical components of the system:",
                "dbus-implementation : dbus -> broker",
                "Switching into this system is not recommended.",
                "Pre-switch check 'switchInhibitors' failed",
                "Pre-switch checks failed",
            ],
            Status::Fail,
            "the switch is inhibited: dbus-implementation : dbus -> broker changed",
        ),
        (
            Exited(1),
            &["route : eth0 -> wlan0", "Pre-switch check 'routes' failed", "Pre-switch checks failed"],
            Status::Fail,
            "the pre-switch check routes refuses the switch: route : eth0 -> wlan0",
        ),
        (Exited(1), &["Could not acquire lock"], Status::Unknown, "another switch was in progress"),
        (Exited(1), &[ACTIVATING, "Unable to list users with logind: timeout"], Status::Fail, "exited with 1: Unable"),
        (
            Exited(2),
            &[
                ACTIVATING,
                "no /srv/keys",
                "Activation script snippet 'keys' failed (1)",
                "Failed to run activate script",
            ],
            Status::Fail,
            "activation snippet 'keys' failed (1): no /srv/keys",
        ),
        // It died with the last error's number.
        (
            Exited(2),
            &[ACTIVATING, "Unable to list users with logind: x"],
            Status::Fail,
            "exited with 2: Unable to list",
        ),
        (Exited(100), &[], Status::Fail, "init is incompatible"),
        (Exited(101), &[], Status::Fail, "exited with 101: it printed nothing"),
        (Killed("KILL".into()), &[ACTIVATING], Status::Fail, "was killed (KILL)"),
        (Killed("oom-kill".into()), &[ACTIVATING], Status::Fail, "the machine ran out of memory while it switched"),
        (queued(9.0), &[ACTIVATING], Status::Fail, "the start job of slow.service does not end"),
        (
            Silent,
            &["stopping the following units: app.service, systemd-networkd.service"],
            Status::Fail,
            "no longer answers since it was switched after systemd-networkd.service was stopped",
        ),
        (
            Silent,
            &["stopping the following units: nixbox-shell.socket"],
            Status::Fail,
            "after nixbox-shell.socket was stopped",
        ),
        (Gone("the kernel panicked".into()), &[ACTIVATING], Status::Fail, "the kernel panicked"),
        (Missing("/nix/store/x".into()), &[], Status::Unknown, "nothing to switch to"),
        (
            NotStarted("the guest has no systemd-run".into()),
            &[],
            Status::Unknown,
            "could not be started in the machine",
        ),
    ];
    for (end, output, status, part) in table {
        let (told, summary) = outcome(switched(end.clone(), output));
        assert_eq!(told, status, "{end:?} {output:?}: {summary}");
        assert!(summary.contains(part), "{end:?} {output:?}: {summary}");
    }
}

#[test]
fn an_error_is_told_with_its_causes() {
    let told = |lines: &[&str]| outcome(switched(SwitchEnd::Exited(1), lines)).1;
    let reply = "Did not receive a reply. Possible causes include: the remote application did not send a reply";
    let indented = format!("    {reply}");
    let said = told(&[ACTIVATING, "Error: Failed to reset failed units", "Caused by:", indented.as_str()]);
    assert_eq!(said, format!("switch-to-configuration exited with 1: Failed to reset failed units: {reply}"));
    let chain = [
        ACTIVATING,
        "Error: Failed to load unit file app.service",
        "Caused by:",
        "    0: Failed to open it",
        "    1: No such file or directory (os error 2)",
    ];
    let words = "Failed to load unit file app.service: Failed to open it: No such file or directory (os error 2)";
    assert_eq!(told(&chain), format!("switch-to-configuration exited with 1: {words}"));
    // Alone, and before another word.
    assert_eq!(
        told(&["Error: Failed to open unit file"]),
        "switch-to-configuration exited with 1: Failed to open unit file"
    );
    let later = [&chain[..], &["warning: error(s) occurred while switching"]].concat();
    assert!(told(&later).ends_with("1: warning: error(s) occurred while switching"), "{}", told(&later));
    let of_user = [&chain[1..], &["warning: user activation for alice failed"]].concat();
    let (_, said) = outcome(switched(SwitchEnd::Exited(4), &of_user));
    assert_eq!(said, format!("the units of user alice could not be switched: {words}"));
}

#[test]
fn a_bus_that_was_stopped_is_the_cause() {
    let stopped = |jobs: &[UnitJob]| {
        let mut run = switched(SwitchEnd::Exited(4), &[ACTIVATING, "Failed to connect to bus"]);
        run.jobs = jobs.to_vec();
        outcome(run).1
    };
    let stop = [job("dbus.socket", "stop", "done"), job("dbus.service", "stop", "done")];
    assert!(stopped(&stop).starts_with("dbus.service was stopped by the switch and not started again"));
    let again = [stop.as_slice(), &[job("dbus.service", "start", "done")]].concat();
    assert!(!stopped(&again).contains("dbus"), "it is there again");
    assert!(!stopped(&[job("dbus.service", "restart", "done")]).contains("dbus"), "it was only restarted");
}

#[test]
fn what_failed_has_to_be_shown_to_be_up() {
    let four = |output: &[&str]| switched(SwitchEnd::Exited(4), output);
    let named = "warning: the following units failed: late.service";
    let jobs = |mut run: SwitchRun, jobs: &[UnitJob]| {
        run.jobs = jobs.to_vec();
        run
    };
    let active = |mut run: SwitchRun, unit: &str| {
        run.active = vec![unit.into()];
        run.user_active = run.active.clone();
        run
    };
    // Came up.
    let (status, said) = outcome(active(four(&[ACTIVATING, named]), "late.service"));
    assert_eq!(status, Status::Pass);
    assert!(said.contains("late.service failed at first and came up since"), "{said}");
    let started = [job("late.service", "start", "failed"), job("late.service", "start", "done")];
    assert_eq!(outcome(jobs(four(&[ACTIVATING, named]), &started)).0, Status::Pass);
    let users: &[&str] =
        &["warning: the following user units failed: bar.service", "warning: user activation for alice failed"];
    assert_eq!(outcome(active(four(users), "bar.service")).0, Status::Pass);
    // Did not.
    assert_eq!(outcome(four(&[ACTIVATING, named])).0, Status::Fail, "nothing shows it");
    let mut again = jobs(four(&[ACTIVATING, named]), &started);
    again.activating = vec!["late.service".into()];
    assert_eq!(outcome(again).0, Status::Fail, "to be tried again");
    let reload = active(four(&[ACTIVATING, "Failed to reload nginx.service"]), "nginx.service");
    assert_eq!(outcome(reload).0, Status::Fail, "it runs on with what it had");
    let busy = active(four(&[ACTIVATING, "Failed to restart data.mount"]), "data.mount");
    assert_eq!(outcome(busy).0, Status::Fail, "it could not even be unmounted");
    assert_eq!(outcome(jobs(four(users), &[job("bar.service", "start", "done")])).0, Status::Fail, "not PID 1's");
    let (status, said) = outcome(active(four(&["Failed to start a.service: Unit a.service is masked."]), "a.service"));
    assert_eq!(status, Status::Fail);
    assert!(
        said.contains("a.service failed: systemd did not accept a job for it: Unit a.service is masked."),
        "{said}"
    );
    // Whether there was a job is not known without a reply; that it is up is.
    let lost =
        ["Failed to start a.target: Did not receive a reply. Possible causes include: the reply timeout expired"];
    assert_eq!(outcome(active(four(&lost), "a.target")).0, Status::Pass);
    let (status, said) = outcome(four(&lost));
    assert_eq!(status, Status::Fail);
    assert!(
        said.starts_with("a.target failed: systemd did not answer in time when asked for a job for it: "),
        "{said}"
    );
    let alone = four(&[
        "reloading user units for alice...",
        "Error: No such file",
        "warning: user activation for alice failed",
    ]);
    let (status, said) = outcome(alone);
    assert_eq!((status, said.as_str()), (Status::Fail, "the units of user alice could not be switched: No such file"));
    // A failed activation is not hidden by units that came up.
    let both = active(four(&[ACTIVATING, "Failed to run activate script", named]), "late.service");
    assert_eq!(outcome(both).1, "the activation script failed");
}

#[test]
fn what_cannot_work_in_a_vm_is_no_failure_of_the_switch() {
    let four = |failed: &str| {
        let named = format!("warning: the following units failed: {failed}");
        switched(SwitchEnd::Exited(4), &[ACTIVATING, named.as_str()])
    };
    let vpn = NotTested::new(
        "vpn.service",
        Excuse::new(Lack::Outside, Witness::line("no address"), "needs the outside network: no address"),
    );
    let results = |failed: &[&str], allowed: Option<&str>| {
        let status = if failed.is_empty() { Status::Pass } else { Status::Fail };
        let mut result = CheckResult::new(CheckId::ServicesFailedUnits, status, "units");
        let found = |unit: &&str| Found { item: (*unit).into(), summary: format!("{unit} failed"), ..Found::default() };
        result.findings = failed.iter().map(found).collect();
        result.allowed = allowed.map(str::to_owned);
        [result]
    };
    let told = |run: SwitchRun, after: Checked<'_>| {
        let is_excused = is_excused(&run, after);
        let mut again = run.clone();
        again.is_second = true;
        let rehearsal = Rehearsal { runs: vec![run, again], ..Rehearsal::default() };
        let results = judge(&rehearsal, &PhaseChecks { switched: after, ..NO_CHECKS });
        let of = |id: CheckId| results.iter().find(|result| result.id == id).expect("judged");
        let (outcome, again) = (of(CheckId::SwitchOutcome).clone(), of(CheckId::SwitchIdempotent).status);
        assert_eq!(again == Status::Pass, is_excused, "{outcome:?}");
        (outcome.status, outcome.summary, outcome.detail)
    };
    // Alone, and with one that may fail, by itself or beside another.
    let (well, not_tested) = (results(&[], None), [vpn]);
    let (status, said, why) = told(four("vpn.service"), Checked::new(&well, &not_tested, &[]));
    assert_eq!(
        (status, said.as_str()),
        (Status::Pass, "switched in 0 ms, except for vpn.service, which cannot work in this VM")
    );
    assert_eq!(why, ["vpn.service: needs the outside network: no address"]);
    let may = results(&["ddclient.service"], Some("no account"));
    let (status, said, _) = told(four("ddclient.service, vpn.service"), Checked::new(&may, &not_tested, &[]));
    assert_eq!(status, Status::Pass);
    let both =
        "except for vpn.service, which cannot work in this VM, and ddclient.service, which may fail (nixbox.toml)";
    assert!(said.ends_with(both), "{said}");
    let other = results(&["app.service"], None);
    let partly = Checked::new(&other, &not_tested, &["ddclient.service"]);
    assert_eq!(told(four("ddclient.service"), partly).0, Status::Pass);
    // Another one failed besides: that is told, and nothing else.
    let (status, said, _) = told(four("app.service, ddclient.service, vpn.service"), partly);
    assert_eq!((status, said.as_str()), (Status::Fail, "app.service failed"));
    // Nobody says that it cannot work.
    assert_eq!(told(four("vpn.service"), Checked::new(&well, &[], &[])).0, Status::Fail);
    // A user's unit of that name is another one, and an activation that failed is no unit's.
    let users = ["warning: the following user units failed: vpn.service", "warning: user activation for alice failed"];
    let after = Checked::new(&well, &not_tested, &[]);
    assert_eq!(told(switched(SwitchEnd::Exited(4), &users), after).0, Status::Fail);
    let mut activation = four("vpn.service");
    activation.output.insert(1, "Failed to run activate script".into());
    assert_eq!(told(activation, after).0, Status::Fail);
}

#[test]
fn the_cause_is_named_before_what_depends_on_it() {
    let mut run = switched(
        SwitchEnd::Exited(4),
        &[ACTIVATING, "Failed to start app.service", "Failed to start web.service", "Failed to start zdb.service"],
    );
    run.jobs = vec![
        job("zdb.service", "start", "failed"),
        job("web.service", "start", "dependency"),
        job("app.service", "start", "dependency"),
    ];
    run.journal = vec![line("zdb.service", "zdb", 6, "the data are of version 2")];
    let (status, said) = outcome(run);
    assert_eq!(status, Status::Fail);
    assert_eq!(said, "zdb.service failed: the data are of version 2 (and 2 more)");
}

#[test]
fn the_way_back() {
    let there = || switched(SwitchEnd::Exited(0), &[ACTIVATING]);
    let mut back = run(MachinePhase::Back, SwitchEnd::Exited(4), &[ACTIVATING, "Failed to start store.service"]);
    back.jobs = vec![job("store.service", "start", "failed")];
    let told = one(vec![there(), back], CheckId::SwitchWayBack, MachinePhase::Back);
    assert_eq!((told.status, told.summary.as_str()), (Status::Fail, "store.service failed"));
    let told = one(vec![there()], CheckId::SwitchWayBack, MachinePhase::Back);
    assert_eq!(told.status, Status::Skip);
    let refused = switched(SwitchEnd::Exited(1), &["Pre-switch check 'x' failed", "Pre-switch checks failed"]);
    let told = one(vec![refused], CheckId::SwitchWayBack, MachinePhase::Back);
    assert!(told.summary.contains("the switch was not made"), "{}", told.summary);
}

#[test]
fn nothing_was_switched() {
    let results = judge(&Rehearsal::default(), &NO_CHECKS);
    assert_eq!(results.len(), 6);
    assert!(results.iter().all(|result| result.status == Status::Unknown && result.phase.is_some()));
}

#[test]
fn what_could_not_be_read_is_nothing_that_did_not_happen() {
    let unread = |is_second| SwitchRun {
        is_second,
        dry_output: Some(Vec::new()),
        unread: Some("no answer in time".to_owned()),
        ..switched(SwitchEnd::Exited(0), &[ACTIVATING])
    };
    let table = [
        (CheckId::SwitchActivation, Status::Unknown),
        (CheckId::SwitchAnnounced, Status::Skip),
        (CheckId::SwitchIdempotent, Status::Unknown),
    ];
    for (id, status) in table {
        let told = one(vec![unread(false), unread(true)], id, MachinePhase::Switched);
        assert_eq!(told.status, status, "{id}");
        assert!(told.summary.ends_with("could not read the guest's journal: no answer in time"), "{}", told.summary);
    }
}

#[test]
fn what_was_made() {
    let made = |end: SwitchEnd, output: &[&str]| switched(end, output).was_made();
    assert!(made(SwitchEnd::Exited(4), &[]) && made(SwitchEnd::Silent, &[]));
    assert!(made(SwitchEnd::Exited(1), &["stopping the following units: a.service"]));
    assert!(made(SwitchEnd::Exited(101), &[ACTIVATING]));
    assert!(!made(SwitchEnd::Exited(1), &["Could not acquire lock"]) && !made(SwitchEnd::Exited(100), &[]));
    assert!(!made(SwitchEnd::Hung { waiting_for: Vec::new(), seconds: 1.0 }, &["asking the licence server..."]));
}

#[test]
fn the_activation() {
    let activation = |runs| {
        let told = one(runs, CheckId::SwitchActivation, MachinePhase::Switched);
        (told.status, told.summary)
    };
    let snippet =
        [ACTIVATING, "ln: failed to create '/run/x': File exists", "Activation script snippet 'link' failed (1)"];
    let well = || switched(SwitchEnd::Exited(0), &[ACTIVATING]);
    assert_eq!(activation(vec![well()]).0, Status::Pass);
    assert!(
        activation(vec![switched(SwitchEnd::Exited(0), &snippet)])
            .1
            .starts_with("activation snippet 'link' failed (1): ln")
    );
    let mut again = switched(SwitchEnd::Exited(0), &snippet);
    again.is_second = true;
    assert!(activation(vec![well(), again]).1.contains("cannot run twice"));
    let mut rule = well();
    rule.journal =
        vec![line("systemd-tmpfiles-resetup.service", "systemd-tmpfiles", 3, "Failed to resolve user 'photos'")];
    assert_eq!(
        activation(vec![rule]),
        (Status::Fail, "a tmpfiles rule failed: Failed to resolve user 'photos'".into())
    );
    for (kind, path, more) in [("symlink", "/etc/hosts", ""), ("target", "/etc/a b", " (and 1 more)")] {
        let line = format!("could not create {kind} {path} at /nix/store/x-setup-etc.pl line 131.");
        let other = "could not create symlink /etc/other at x line 1.";
        let lines = [ACTIVATING, "setting up /etc...", line.as_str(), other];
        let run = switched(SwitchEnd::Exited(0), if more.is_empty() { &lines[..3] } else { &lines });
        let said = format!("{path} is not what the configuration says: it could not be replaced{more}");
        assert_eq!(activation(vec![run]), (Status::Fail, said));
    }
    let refused = switched(SwitchEnd::Exited(1), &["Pre-switch checks failed"]);
    assert!(activation(vec![refused]).1.contains("refused before the activation"));
    let died =
        switched(SwitchEnd::Exited(1), &[ACTIVATING, snippet[1], snippet[2], "Unable to list users with logind: x"]);
    assert_eq!(activation(vec![died]).0, Status::Fail, "it was not refused");
}

#[test]
fn a_rule_that_failed_before_is_known_by_its_cleaned_words() {
    let message = format!("Failed to \u{1b}[1mcreate {}", "x".repeat(500));
    let before = [CheckResult::new(CheckId::ServicesFailedUnits, Status::Warn, crate::judging::text::clean(&message))];
    let mut run = switched(SwitchEnd::Exited(0), &[ACTIVATING]);
    run.journal = vec![line("", "systemd-tmpfiles", 3, &message)];
    let rehearsal = Rehearsal { runs: vec![run], ..Rehearsal::default() };
    let results = judge(&rehearsal, &PhaseChecks { fresh: Checked::new(&before, &[], &[]), ..NO_CHECKS });
    assert_eq!(results[1].status, Status::Pass, "{}", results[1].summary);
    // So is a file of /etc.
    let said = "could not create symlink /etc/hosts";
    let before = [CheckResult::new(CheckId::BootActivation, Status::Warn, format!("{said} at x line 1."))];
    let run = switched(SwitchEnd::Exited(0), &[ACTIVATING, &format!("{said} at y line 2.")]);
    let rehearsal = Rehearsal { runs: vec![run], ..Rehearsal::default() };
    let results = judge(&rehearsal, &PhaseChecks { fresh: Checked::new(&before, &[], &[]), ..NO_CHECKS });
    assert_eq!(results[1].status, Status::Pass, "{}", results[1].summary);
}

#[test]
fn what_was_announced() {
    let told = |jobs: &[UnitJob], dry: Option<&str>| {
        let mut run = switched(SwitchEnd::Exited(0), &[ACTIVATING]);
        run.jobs = jobs.to_vec();
        run.dry_output = dry.map(|line| vec![line.to_owned()]);
        one(vec![run], CheckId::SwitchAnnounced, MachinePhase::Switched)
    };
    let restart = [job("app.service", "restart", "done")];
    assert_eq!(told(&restart, Some("would restart the following units: app.service")).status, Status::Pass);
    assert_eq!(told(&restart, Some("would activate the configuration...")).status, Status::Warn);
    assert_eq!(told(&restart, None).status, Status::Skip);
    let many: Vec<UnitJob> = (0..200).map(|number| job(&format!("a{number}.service"), "restart", "done")).collect();
    assert_eq!(told(&many, Some("would do nothing")).evidence["units"].as_array().map(Vec::len), Some(50));
}

#[test]
fn a_second_switch() {
    let told = |end: SwitchEnd, jobs: &[UnitJob]| {
        let mut again = switched(end, &[ACTIVATING]);
        (again.is_second, again.jobs) = (true, jobs.to_vec());
        one(vec![switched(SwitchEnd::Exited(0), &[]), again], CheckId::SwitchIdempotent, MachinePhase::Switched).status
    };
    assert_eq!(told(SwitchEnd::Exited(0), &[]), Status::Pass);
    assert_eq!(told(SwitchEnd::Exited(0), &[job("app.service", "restart", "done")]), Status::Warn);
    assert_eq!(told(SwitchEnd::Exited(2), &[]), Status::Fail);
    assert_eq!(told(SwitchEnd::Silent, &[]), Status::Fail);
}

fn process(pid: u32, uid: u32, name: &str) -> ProcessSeen {
    let cgroup = format!("/user.slice/user-{uid}.slice/user@{uid}.service/session.slice/{name}.service");
    ProcessSeen { pid, started: u64::from(pid), uid, name: name.into(), cgroup }
}

/// Alice's session with these processes of hers, and of others.
fn seen(processes: &[(u32, u32, &str)]) -> Sessions {
    let session = SessionSeen {
        id: "2".into(),
        user: "alice".into(),
        uid: 1000,
        kind: "wayland".into(),
        state: "active".into(),
        leader: 500,
    };
    let leader = [process(500, 1000, "greetd"), process(501, 1000, "sway")];
    let others = processes.iter().map(|(pid, uid, name)| process(*pid, *uid, name));
    Sessions { sessions: vec![session], processes: leader.into_iter().chain(others).collect() }
}

fn session(before: Sessions, after: Sessions, sound: (Option<bool>, Option<bool>)) -> (Status, String) {
    let rehearsal = Rehearsal {
        runs: vec![switched(SwitchEnd::Exited(0), &[])],
        sessions_before: Some(before),
        sessions_switched: Some(after),
        sessions_back: None,
        sound_before: sound.0,
        sound_switched: sound.1,
        without_sound: [false; 2],
    };
    let told =
        judge(&rehearsal, &NO_CHECKS).into_iter().find(|result| result.id == CheckId::SwitchSession).expect("judged");
    (told.status, told.summary)
}

#[test]
fn the_users_sound() {
    type Processes = &'static [(u32, u32, &'static str)];
    let all: Processes = &[(600, 1000, "pipewire"), (601, 1000, "pipewire-pulse"), (602, 1000, "wireplumber")];
    let table: &[(Processes, Processes, Status, &str)] = &[
        (all, all, Status::Pass, "survived, with its compositor and its sound"),
        (&[(600, 1000, "pipewire")], &[(700, 1000, "pipewire")], Status::Pass, "pipewire was restarted"),
        (&[(590, 1000, "pulseaudio")], all, Status::Pass, "pulseaudio was replaced by pipewire-pulse"),
        (&[(590, 1000, "pulseaudio")], &[(700, 1001, "pipewire")], Status::Fail, "no other sound server took over"),
        (
            all,
            &[(600, 1000, "pipewire"), (602, 1000, "wireplumber")],
            Status::Warn,
            "nothing answers programs that use PulseAudio",
        ),
        (all, &[], Status::Fail, "no other sound server took over"),
    ];
    for (before, after, status, part) in table {
        let (told, summary) = session(seen(before), seen(after), (None, None));
        assert!(told == *status && summary.contains(part), "{before:?} {after:?}: {told:?} {summary}");
    }
    let (status, said) = session(seen(all), seen(all), (Some(true), Some(false)));
    assert!(status == Status::Fail && said.starts_with("no sound comes out since the switch"), "{said}");
}

#[test]
fn a_users_services_are_followed() {
    let of = |uid: u32, unit: &str, kind: &str| UserJob { uid, job: job(unit, kind, "done") };
    let told = |first: &[UserJob], second: &[UserJob], jobs: &[UnitJob]| {
        let mut there = switched(SwitchEnd::Exited(0), &[ACTIVATING]);
        let mut again = there.clone();
        there.user_jobs = first.to_vec();
        (again.is_second, again.user_jobs, again.jobs) = (true, second.to_vec(), jobs.to_vec());
        let rehearsal = Rehearsal {
            runs: vec![there, again],
            sessions_before: Some(seen(&[])),
            sessions_switched: Some(seen(&[])),
            ..Rehearsal::default()
        };
        let results = judge(&rehearsal, &NO_CHECKS);
        let of = |id: CheckId| results.iter().find(|result| result.id == id).expect("judged").clone();
        (of(CheckId::SwitchSession), of(CheckId::SwitchIdempotent))
    };
    // It has changed, and is left alone the next time.
    let foot = [of(1000, "foot-server.service", "stop"), of(1000, "foot-server.service", "start")];
    let (session, again) = told(&foot, &[], &[]);
    assert_eq!((session.status, again.status), (Status::Pass, Status::Pass));
    assert_eq!(session.detail, ["foot-server.service of alice was restarted: what was open in it is closed"]);
    // Each time, whatever changes.
    let (session, again) = told(&foot, &foot, &[]);
    assert_eq!((session.status, again.status), (Status::Warn, Status::Warn));
    assert!(session.summary.contains("but each switch restarts foot-server.service of alice"), "{}", session.summary);
    let summary = "each switch stops or restarts foot-server.service of alice, though nothing changes";
    assert_eq!(again.summary, summary);
    assert!(again.hint.is_some_and(|hint| hint.contains("home-manager")));
    // Who has no session is told by number; what was open in a sound server has words of its own.
    let (session, again) = told(&[], &[of(1001, "tray.service", "restart")], &[]);
    assert!(session.detail.is_empty() && again.summary.contains("tray.service of user 1001"), "{again:?}");
    let sound = [of(1000, "pipewire.service", "restart")];
    let (session, again) = told(&sound, &sound, &[]);
    assert_eq!((session.status, again.status), (Status::Pass, Status::Warn));
    // What comes and goes by itself, only stops, or ends with its manager.
    for unit in ["default.target", "app.slice", "init.scope", "nixos-activation.service", "nixbox-tone.service"] {
        let jobs = [of(1000, unit, "restart")];
        let (session, again) = told(&jobs, &jobs, &[]);
        assert_eq!((session.status, again.status), (Status::Pass, Status::Pass), "{unit}");
        assert!(session.detail.is_empty(), "{unit}");
    }
    assert_eq!(told(&[], &foot[..1], &[]).1.status, Status::Pass);
    assert_eq!(told(&[], &foot, &[job("user@1000.service", "stop", "done")]).1.status, Status::Pass);
}

#[test]
fn the_session_is_judged_on_the_way_back_too() {
    let mut none = seen(&[]);
    none.sessions.clear();
    assert!(session(seen(&[]), none.clone(), (None, None)).1.contains("the session of alice was ended by the switch"));
    let mut back = run(MachinePhase::Back, SwitchEnd::Exited(0), &[ACTIVATING]);
    let owners = ["greetd.service", "getty@tty1.service", "user@1000.service", "user@1001.service"];
    for owner in owners {
        back.jobs = vec![job(owner, "restart", "done")];
        let rehearsal = Rehearsal {
            runs: vec![switched(SwitchEnd::Exited(0), &[]), back.clone()],
            sessions_before: Some(seen(&[])),
            sessions_switched: Some(seen(&[])),
            sessions_back: Some(none.clone()),
            ..Rehearsal::default()
        };
        let results = judge(&rehearsal, &NO_CHECKS);
        let told: Vec<_> = results.iter().filter(|result| result.id == CheckId::SwitchSession).collect();
        assert_eq!((told[0].status, told[0].phase), (Status::Pass, Some(MachinePhase::Switched)));
        assert_eq!((told[1].status, told[1].phase), (Status::Fail, Some(MachinePhase::Back)));
        let by = if owner.ends_with("1001.service") { String::new() } else { format!(": {owner} was restarted") };
        assert_eq!(told[1].summary, format!("the session of alice was ended by switching back{by}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No words of a guest's make a judge panic.
    #[test]
    fn any_words_are_judged(
        code in prop_oneof![Just(0), Just(1), Just(2), Just(4), Just(100)],
        texts in prop::collection::vec(
            prop_oneof![
                ".*",
                "(Failed to (start|reload)|warning: user activation for|Pre-switch check '|Activation script snippet '|could not create symlink /etc/).{0,20}",
                "(There are changes to critical components|Pre-switch checks failed|activating the configuration...| : -> |done)",
            ],
            0..12,
        ),
    ) {
        let mut first = switched(SwitchEnd::Exited(code), &[]);
        first.output = texts.clone();
        first.dry_output = Some(texts.clone());
        first.failed = texts.clone();
        first.jobs = texts.iter().map(|text| job(text, "start", "failed")).collect();
        first.journal = texts.iter().map(|text| line(text, "systemd-tmpfiles", 3, text)).collect();
        let mut silent = first.clone();
        (silent.phase, silent.end) = (MachinePhase::Back, SwitchEnd::Silent);
        let rehearsal = Rehearsal { runs: vec![first, silent], ..Rehearsal::default() };
        prop_assert!(judge(&rehearsal, &NO_CHECKS).len() >= 6);
        prop_assert_eq!(run_infos(&rehearsal).len(), 2);
    }
}
