//! Each rule breaks on facts made for it, and each trap passes.

use proptest::prelude::*;

use super::*;
use crate::config::{Config, Settings};
use crate::guest::facts::{
    Account, Group, HttpAnswer, Job, JournalLine, Listener, Manager, Network, Password, ScriptOutcome, Service, Unit,
};
use crate::model::{Accel, CheckId, CheckKind, Exit, NetworkPolicy};
use crate::nix::expectations::{Expectations, ExpectedUnit, ExpectedUser, ServicePort};

/// A guest, changed bit by bit, and what is said of it.
struct Guest {
    expectations: Expectations,
    toml: String,
    skip: Vec<CheckId>,
    observations: Observations,
    context: Context,
}

const NOW: u64 = 60_000_000;

/// A unit that has been active for long.
fn active(name: &str) -> Unit {
    Unit {
        name: name.into(),
        load_state: "loaded".into(),
        active_state: "active".into(),
        sub_state: if name.ends_with(".service") { "running" } else { "active" }.into(),
        unit_file_state: "enabled".into(),
        active_enter_us: 10_000_000,
        state_change_us: 10_000_000,
        wanted_by: vec!["multi-user.target".into()],
        result: "success".into(),
        service: name.ends_with(".service").then(|| Service { kind: "simple".into(), ..Service::default() }),
        ..Unit::default()
    }
}

fn inactive(name: &str) -> Unit {
    Unit { active_state: "inactive".into(), sub_state: "dead".into(), active_enter_us: 0, ..active(name) }
}

fn failed(name: &str, code: i32) -> Unit {
    let mut unit = Unit {
        active_state: "failed".into(),
        sub_state: "failed".into(),
        result: "exit-code".into(),
        active_enter_us: 0,
        inactive_enter_us: 11_000_000,
        ..active(name)
    };
    if let Some(service) = &mut unit.service {
        (service.exit_kind, service.exit_status) = (1, code);
    }
    unit
}

fn line(unit: &str, message: &str) -> JournalLine {
    JournalLine {
        at_us: 11_000_000,
        priority: 6,
        unit: unit.into(),
        identifier: unit.trim_end_matches(".service").into(),
        pid: 321,
        transport: "stdout".into(),
        message: message.into(),
    }
}

fn by_manager(unit: &str, message: &str) -> JournalLine {
    JournalLine { identifier: "systemd".into(), pid: 1, transport: "journal".into(), ..line(unit, message) }
}

fn by_kernel(message: &str) -> JournalLine {
    JournalLine { identifier: "kernel".into(), pid: 0, transport: "kernel".into(), ..line("", message) }
}

fn skipped(name: &str, condition: &str) -> Unit {
    Unit {
        condition_us: 9_000_000,
        condition_result: false,
        failed_conditions: vec![condition.into()],
        ..inactive(name)
    }
}

fn promise(wanted_by: &str) -> ExpectedUnit {
    ExpectedUnit { enable: true, wanted_by: vec![wanted_by.into()], ..ExpectedUnit::default() }
}

/// A healthy machine.
fn guest() -> Guest {
    let facts = Facts {
        now_us: NOW,
        manager: Manager {
            version: "257.9".into(),
            state: "running".into(),
            default_target: "multi-user.target".into(),
            finish_us: 12_000_000,
            ..Manager::default()
        },
        units: vec![
            active("multi-user.target"),
            active("local-fs.target"),
            active("sysinit.target"),
            active("systemd-networkd.service"),
            active("sshd.service"),
        ],
        taint: Some(0),
        listeners: vec![Listener {
            protocol: "tcp".into(),
            address: "0.0.0.0".into(),
            port: 22,
            process: "sshd".into(),
        }],
        network: Network {
            links: vec!["eth0".into()],
            addresses: [("eth0".to_owned(), vec!["10.0.2.15/24".to_owned()])].into(),
            default_routes: vec!["10.0.2.2".into()],
            nameservers: vec!["10.0.2.3".into()],
            resolves: None,
        },
        accounts: vec![
            Account { name: "root".into(), shell: "/bin/sh".into(), shell_works: true, ..Account::default() },
            Account {
                name: "alice".into(),
                uid: 1000,
                gid: 100,
                home: "/home/alice".into(),
                shell: "/bin/sh".into(),
                shell_works: true,
                password: Password::Set,
                home_owner: Some(1000),
                ..Account::default()
            },
        ],
        groups: [
            ("users".to_owned(), Group { gid: 100, members: Vec::new() }),
            ("wheel".to_owned(), Group { gid: 1, members: vec!["alice".into()] }),
        ]
        .into(),
        ..Facts::default()
    };
    let expectations = Expectations {
        known: true,
        host_name: Some("box".into()),
        units: [("sshd.service".to_owned(), promise("multi-user.target"))].into(),
        firewall: Some(false),
        service_ports: vec![ServicePort { option: "services.openssh".into(), protocol: "tcp".into(), port: 22 }],
        mutable_users: Some(false),
        users: [(
            "alice".to_owned(),
            ExpectedUser {
                normal: true,
                uid: Some(1000),
                extra_groups: vec!["wheel".into()],
                home: Some("/home/alice".into()),
                create_home: true,
                has_password: true,
                ..ExpectedUser::default()
            },
        )]
        .into(),
        groups: [("users".to_owned(), Some(100)), ("wheel".to_owned(), None)].into(),
        ..Expectations::default()
    };
    Guest {
        expectations,
        toml: String::new(),
        skip: Vec::new(),
        observations: Observations { first: facts, ..Observations::default() },
        context: Context { accelerator: Accel::Tcg, ..Context::default() },
    }
}

impl Guest {
    fn facts(mut self, change: impl FnOnce(&mut Facts)) -> Self {
        change(&mut self.observations.first);
        self
    }

    /// A second look, `change`d from the first, 5 s later.
    fn later(mut self, change: impl FnOnce(&mut Facts)) -> Self {
        let mut facts = self.observations.first.clone();
        facts.now_us += 5_000_000;
        change(&mut facts);
        self.observations.later = Some(facts);
        self
    }

    fn expecting(mut self, change: impl FnOnce(&mut Expectations)) -> Self {
        change(&mut self.expectations);
        self
    }

    /// Replaces a unit, or adds it.
    fn unit(self, unit: Unit) -> Self {
        self.facts(|facts| {
            facts.units.retain(|known| known.name != unit.name);
            facts.units.push(unit);
        })
    }

    /// A unit that the configuration expects.
    fn expected(self, unit: Unit) -> Self {
        let name = unit.name.clone();
        self.unit(unit).expecting(|expectations| {
            expectations.units.insert(name, promise("multi-user.target"));
        })
    }

    fn journal(self, line: JournalLine) -> Self {
        self.facts(|facts| facts.journal.push(line))
    }

    fn toml(mut self, text: &str) -> Self {
        self.toml.push_str(text);
        self.toml.push('\n');
        self
    }

    fn console(mut self, text: &str) -> Self {
        self.observations.console.extend(text.lines().map(str::to_owned));
        self
    }

    fn context(mut self, change: impl FnOnce(&mut Context)) -> Self {
        change(&mut self.context);
        self
    }

    fn skipping(mut self, id: CheckId) -> Self {
        self.skip.push(id);
        self
    }

    fn judge(&self) -> Judgement {
        let mut settings: Settings = Config::parse(&self.toml, "nixbox.toml").unwrap().settings_for("box");
        settings.machine.network = Some(self.context.network);
        let scripts = settings.scripts.keys().map(String::as_str);
        let selection = Selection::new(&[], &[], scripts).unwrap().without(self.skip.iter().copied());
        judge(&plan(&self.expectations, &settings, &selection), &self.observations, &self.context)
    }

    #[track_caller]
    fn expect(&self, fails: &[(CheckId, &str)], aside: &[&str]) -> Judgement {
        let judgement = self.judge();
        let mut found: Vec<_> = judgement.results.iter().filter(|result| counts_as_failure(result)).collect();
        found.sort_by_key(|result| result.id.row().rank);
        let told: Vec<_> = found.iter().map(|result| (&result.id, &result.summary)).collect();
        assert_eq!(found.len(), fails.len(), "{told:#?}");
        for (result, (id, words)) in found.iter().zip(fails) {
            assert_eq!(result.id, *id, "{told:#?}");
            assert!(result.summary.contains(words), "{:?} in {:?}", words, result.summary);
        }
        for what in aside {
            let found =
                judgement.not_tested.iter().any(|entry| format!("{}: {}", entry.what, entry.why).contains(what));
            assert!(found, "{what:?} in {:#?}", judgement.not_tested);
        }
        if aside.is_empty() {
            assert!(judgement.not_tested.is_empty(), "{:#?}", judgement.not_tested);
        }
        judgement
    }

    /// One failure, with these words in its line.
    #[track_caller]
    fn breaks(&self, id: CheckId, words: &str) -> Judgement {
        self.expect(&[(id, words)], &[])
    }

    #[track_caller]
    fn passes(&self) -> Judgement {
        self.expect(&[], &[])
    }

    /// Passes, and this is set aside.
    #[track_caller]
    fn sets_aside(&self, words: &str) -> Judgement {
        self.expect(&[], &[words])
    }
}

fn result(judgement: &Judgement, id: CheckId) -> &CheckResult {
    judgement.results.iter().find(|result| result.id == id).unwrap()
}

fn status(judgement: &Judgement, id: CheckId) -> Status {
    result(judgement, id).status
}

#[test]
fn a_healthy_machine_passes_every_check() {
    let judgement = guest().passes();
    let expected: Vec<CheckId> = CheckId::BUILT_IN
        .iter()
        .copied()
        .filter(|id| !matches!(id.kind(), CheckKind::Build | CheckKind::Desktop | CheckKind::Audio))
        .filter(|id| !matches!(id, CheckId::ServicesHttp | CheckId::ServicesTimers))
        .collect();
    assert_eq!(judgement.results.iter().map(|result| result.id).collect::<Vec<_>>(), expected);
    let not_passed: Vec<_> = judgement.results.iter().filter(|result| result.status != Status::Pass).collect();
    assert!(not_passed.len() == 1 && not_passed[0].id == CheckId::NetworkDns, "{not_passed:#?}");
    assert_eq!(verdict(&judgement.results).exit, Exit::Pass);
}

// --- a busy host ---

/// A host that kept the machine waiting for so many per cent of the time, up to the boot's end and since.
fn waiting(before: u8, since: u8) -> impl FnOnce(&mut Context) {
    move |context| context.delay.slices = [vec![before; 2], vec![since; 20]].concat()
}

fn timed_out(name: &str) -> Unit {
    Unit { result: "timeout".into(), condition_us: 12_000_000, state_change_us: 50_000_000, ..failed(name, 0) }
}

#[test]
fn a_limit_that_ran_out_says_nothing_on_a_busy_host() {
    let of = |before, since| guest().expected(timed_out("db.service")).context(waiting(before, since));
    let judgement = of(90, 80).passes();
    let told = result(&judgement, CheckId::ServicesFailedUnits);
    assert_eq!(told.status, Status::Unknown);
    let words = "db.service failed: timed out; this host kept the machine waiting for a processor 80 % of that time";
    assert_eq!(told.summary, words);
    assert!(told.hint.as_deref().is_some_and(|hint| hint.contains("less to do")));
    assert_eq!(told.evidence["items"], serde_json::json!(["db.service"]));
    assert_eq!(verdict(&judgement.results).exit, Exit::Unknown);
    // A guest that hangs waits for nothing: what was before its limit began does not excuse it.
    of(90, 40).breaks(CheckId::ServicesFailedUnits, "db.service failed: timed out");
    guest().expected(timed_out("db.service")).breaks(CheckId::ServicesFailedUnits, "db.service failed: timed out");
}

#[test]
fn what_comes_of_it_is_not_known_either_and_what_does_not_is() {
    let late = || guest().expected(timed_out("db.service")).context(waiting(90, 90));
    let no_route = late().facts(|facts| facts.network.default_routes.clear());
    let judgement = no_route.passes();
    assert_eq!(status(&judgement, CheckId::NetworkRoute), Status::Unknown);
    assert!(
        result(&judgement, CheckId::NetworkRoute).summary.contains("it may come of db.service, which ran out of time")
    );
    let other = late().expected(failed("web.service", 1));
    let judgement = other.breaks(CheckId::ServicesFailedUnits, "web.service failed: exit code 1");
    assert!(
        result(&judgement, CheckId::ServicesFailedUnits).detail.iter().any(|line| line.contains("db.service failed"))
    );
    // An accepted failure stays one.
    let accepted = late().toml("[allow]\n\"services.failed-units:db.service\" = \"known\"");
    assert_eq!(result(&accepted.judge(), CheckId::ServicesFailedUnits).allowed.as_deref(), Some("known"));
}

#[test]
fn limits_of_all_kinds_say_nothing_on_a_busy_host() {
    let busy = |guest: Guest| guest.context(waiting(90, 90));
    let own_words = guest()
        .expected(Unit { condition_us: 12_000_000, state_change_us: 50_000_000, ..failed("job.service", 1) })
        .journal(line("job.service", "Error: timeout exceeded waiting for the database"));
    let watchdog = Unit { result: "watchdog".into(), ..timed_out("dog.service") };
    let mut looping =
        Unit { active_state: "activating".into(), sub_state: "auto-restart".into(), ..timed_out("loop.service") };
    looping.service.as_mut().unwrap().restarts = 3;
    let starting = Unit {
        active_state: "activating".into(),
        sub_state: "start".into(),
        state_change_us: 1_000_000,
        active_enter_us: 0,
        ..timed_out("slow.service")
    };
    let late = ScriptOutcome { error: Some("did not end in time".into()), attempts: 1, ..ScriptOutcome::default() };
    let port = guest().facts(|facts| facts.listeners.clear());
    let script = guest().toml("[script.s]\nrun = \"true\"").facts(|facts| {
        facts.scripts.insert("s".into(), late.clone());
    });
    let timer = guest().toml("[checks]\ntimers = [\"b.timer\"]").facts(|facts| {
        facts.timers.insert("b.timer".into(), late.clone());
    });
    let slow = guest().expected(starting).facts(|facts| facts.now_us = 900_000_000);
    for (guest, id) in [
        (own_words, CheckId::ServicesFailedUnits),
        (guest().expected(watchdog), CheckId::ServicesFailedUnits),
        (guest().expected(looping), CheckId::ServicesRestartLoop),
        (slow, CheckId::ServicesPromised),
        (port, CheckId::ServicesPorts),
        (script, CheckId::script("s")),
        (timer, CheckId::ServicesTimers),
    ] {
        let fails = guest.judge().results.iter().any(|result| result.id == id && counts_as_failure(result));
        assert!(fails, "{id}: {:#?}", guest.judge());
        let judgement = busy(guest).passes();
        assert_eq!(status(&judgement, id), Status::Unknown, "{judgement:#?}");
    }
}

#[test]
fn a_device_that_is_late_on_a_busy_host_is_no_emergency_of_the_configurations() {
    let of = |percent| {
        guest()
            .unit(inactive("multi-user.target"))
            .unit(active("emergency.target"))
            .unit(Unit { broken_requirements: vec!["data.mount".into()], ..inactive("local-fs.target") })
            .unit(Unit { broken_requirements: vec!["dev-vdb.device".into()], ..inactive("data.mount") })
            .context(waiting(percent, percent))
    };
    assert_eq!(status(&of(90).judge(), CheckId::BootEmergency), Status::Unknown);
    assert_eq!(status(&of(30).judge(), CheckId::BootEmergency), Status::Fail);
}

// --- boot ---

#[test]
fn emergency_mode_names_the_mount_and_not_plymouth() {
    let guest = guest()
        .unit(inactive("multi-user.target"))
        .unit(active("emergency.target"))
        .unit(Unit { broken_requirements: vec!["var-lib-lxcfs.mount".into()], ..inactive("local-fs.target") })
        .unit(Unit {
            mount_where: Some("/var/lib/lxcfs".into()),
            mount_what: Some("/dev/nope".into()),
            ..failed("var-lib-lxcfs.mount", 0)
        })
        .unit(Unit { state_change_us: 1, ..failed("plymouth-quit.service", 203) });
    let judgement = guest.breaks(CheckId::BootEmergency, "/dev/nope could not be mounted on /var/lib/lxcfs");
    let emergency = result(&judgement, CheckId::BootEmergency);
    assert!(emergency.summary.contains("10 s after the kernel's start"), "{}", emergency.summary);
    assert_eq!(emergency.evidence["where"], "/var/lib/lxcfs");
    assert_eq!(status(&judgement, CheckId::ServicesFailedUnits), Status::Skip);
    assert_eq!(verdict(&judgement.results).exit, Exit::Boot);
}

#[test]
fn emergency_mode_names_the_device_that_did_not_appear() {
    let device = "dev-disk-by\\x2dlabel-persist.device";
    guest()
        .unit(inactive("multi-user.target"))
        .unit(active("emergency.target"))
        .unit(Unit { broken_requirements: vec!["persist.mount".into()], ..inactive("local-fs.target") })
        .unit(Unit { broken_requirements: vec![device.into()], ..inactive("persist.mount") })
        .unit(inactive(device))
        .breaks(CheckId::BootEmergency, "/dev/disk/by-label/persist, which persist.mount needs, did not appear");
}

#[test]
fn a_stuck_job_and_a_target_that_is_not_reached() {
    let job = |unit: &str, state: &str, seconds| Job {
        unit: unit.into(),
        kind: "start".into(),
        state: state.into(),
        seconds,
    };
    let stuck = guest()
        .unit(inactive("multi-user.target"))
        .unit(Unit {
            active_state: "activating".into(),
            state_change_us: NOW - 40_000_000,
            service: Some(Service { kind: "oneshot".into(), ..Service::default() }),
            ..inactive("migrate.service")
        })
        .journal(line("migrate.service", "waiting for the moon"))
        .facts(|facts| {
            facts.jobs = vec![job("multi-user.target", "waiting", None), job("migrate.service", "running", None)]
        });
    let judgement = stuck
        .breaks(CheckId::BootTarget, "migrate.service has been running for 40 s; last words: waiting for the moon");
    assert_eq!(result(&judgement, CheckId::BootTarget).evidence["job"], "migrate.service");
    assert_eq!(verdict(&judgement.results).exit, Exit::Boot);

    let dead = guest().unit(Unit { broken_requirements: vec!["db.service".into()], ..inactive("multi-user.target") });
    dead.unit(failed("db.service", 1))
        .breaks(CheckId::BootTarget, "multi-user.target is not reached: db.service: exit code 1");
}

#[test]
fn killed_for_want_of_memory() {
    guest()
        .unit(Unit { result: "oom-kill".into(), ..failed("eater.service", 0) })
        .journal(by_kernel(
            "oom-kill:constraint=CONSTRAINT_NONE,task_memcg=/system.slice/eater.service,task=eater,pid=99,uid=0",
        ))
        .journal(by_kernel(
            "Out of memory: Killed process 99 (eater) total-vm:900000kB, anon-rss:512000kB, file-rss:0kB",
        ))
        .context(|context| context.memory_mib = Some(1024))
        .breaks(CheckId::BootOom, "eater of eater.service was killed for want of memory, which held 500 MiB");
    guest()
        .unit(Unit { result: "oom-kill".into(), ..failed("eater.service", 0) })
        .breaks(CheckId::BootOom, "eater.service");
    // Somebody who quotes the kernel is not the kernel.
    guest().journal(line("a.service", "Out of memory: Killed process 99 (x)")).passes();
    // Left out, it is a failed unit like another.
    guest()
        .unit(Unit { result: "oom-kill".into(), ..failed("eater.service", 0) })
        .skipping(CheckId::BootOom)
        .breaks(CheckId::ServicesFailedUnits, "killed for want of memory");
}

#[test]
fn what_fails_quietly() {
    let text = "stage-2-init: setting up thing...\nstage-2-init: thing: no\nstage-2-init: Activation script snippet 'thing' failed (3)";
    guest()
        .console(text)
        .breaks(CheckId::BootActivation, "snippet \"thing\" failed with exit code 3: stage-2-init: thing: no");
    guest()
        .journal(by_kernel("stage-2-init: Activation script snippet 'thing' failed (1)"))
        .breaks(CheckId::BootActivation, "thing");
    guest()
        .console("cannot read ssh key '/etc/ssh/ssh_host_rsa_key'\nActivation script snippet 'setupSecrets' failed (1)")
        .sets_aside("secrets (setupSecrets): the sandbox has not the real machine's key");
    let tmpfiles = |priority, message: &str| JournalLine {
        identifier: "systemd-tmpfiles".into(),
        priority,
        ..line("systemd-tmpfiles-setup.service", message)
    };
    guest()
        .journal(tmpfiles(3, "/etc/tmpfiles.d/app.conf:1: Failed to resolve user 'nope': No such process"))
        .breaks(CheckId::BootTmpfiles, "Failed to resolve user 'nope'");
    guest()
        .journal(tmpfiles(4, "Detected unsafe path transition /var/a → /var/a/b during canonicalization"))
        .breaks(CheckId::BootTmpfiles, "unsafe path transition");
    guest().unit(failed("systemd-tmpfiles-setup.service", 1)).breaks(CheckId::BootTmpfiles, "exit code 1");
    guest().journal(tmpfiles(4, "Duplicate line for path \"/tmp/x\", ignoring.")).passes();
    guest()
        .journal(tmpfiles(3, "Failed to write file \"/sys/module/x/parameters/y\": No such file or directory"))
        .sets_aside("systemd-tmpfiles");
}

#[test]
fn taint_and_time_only_advise_unless_told_otherwise() {
    let judgement = guest().facts(|facts| facts.taint = Some((1 << 9) | (1 << 12))).passes();
    assert_eq!(status(&judgement, CheckId::BootTaint), Status::Warn);
    assert!(result(&judgement, CheckId::BootTaint).summary.contains("the kernel warned"));
    let judgement = guest().facts(|facts| facts.taint = Some(1 | (1 << 12))).passes();
    assert_eq!(status(&judgement, CheckId::BootTaint), Status::Pass);
    // 12 s under TCG: within 3 s scaled by 5, not within 2 s.
    guest().toml("[checks]\nboot-time = \"3s\"").passes();
    guest().toml("[checks]\nboot-time = \"2s\"").breaks(CheckId::BootTime, "the boot took 12 s");
    guest()
        .toml("[checks]\nboot-time = \"3s\"")
        .context(|context| context.accelerator = Accel::Kvm)
        .breaks(CheckId::BootTime, "the limit is 3.0 s");
}

#[test]
fn a_first_boot_is_no_failure() {
    guest()
        .journal(by_manager("", "Initializing machine ID from VM UUID."))
        .expected(skipped("systemd-machine-id-commit.service", "ConditionPathIsMountPoint=/etc/machine-id"))
        .sets_aside("systemd-machine-id-commit.service");
    guest().expected(skipped("first.service", "ConditionFirstBoot=yes")).passes();
    guest().journal(line("systemd-udev-settle.service", "systemd-udev-settle.service is deprecated.")).passes();
}

// --- services ---

#[test]
fn a_failed_unit_says_how_and_why() {
    let nginx = guest()
        .expected(failed("nginx.service", 1))
        .journal(line(
            "nginx.service",
            "[emerg] bind() to [::]:80 failed (97: Address family not supported by protocol)",
        ))
        .journal(line("nginx.service", "bye"))
        .journal(by_manager("nginx.service", "nginx.service: Failed with result 'exit-code'."));
    let judgement =
        nginx.breaks(CheckId::ServicesFailedUnits, "nginx.service failed: exit code 1: [emerg] bind() to [::]:80");
    assert_eq!(result(&judgement, CheckId::ServicesFailedUnits).evidence["unit"], "nginx.service");
    guest()
        .expected(Unit { active_enter_us: 10_000_000, active_exit_us: 12_000_000, ..failed("dies.service", 3) })
        .breaks(CheckId::ServicesFailedUnits, "exit code 3, 2.0 s after it became active");
    guest().unit(failed("x.service", 203)).breaks(CheckId::ServicesFailedUnits, "could not be executed");
    let signal = |kind, status| {
        let mut unit = failed("x.service", 0);
        unit.service = Some(Service { exit_kind: kind, exit_status: status, ..Service::default() });
        Unit { result: "core-dump".into(), ..unit }
    };
    guest().unit(signal(3, 31)).breaks(CheckId::ServicesFailedUnits, "dumped core on SIGSYS");
}

#[test]
fn the_root_is_told_and_its_consequences_under_it() {
    let needs = |name: &str, root: &str| Unit { broken_requirements: vec![root.into()], ..inactive(name) };
    let chain = guest()
        .expected(failed("db.service", 1))
        .expected(needs("app.service", "db.service"))
        .expected(needs("web.service", "app.service"))
        .expected(Unit { state_change_us: 1, ..failed("other.service", 2) });
    let judgement = chain.breaks(CheckId::ServicesFailedUnits, "db.service failed: exit code 1 (and 1 more)");
    let detail = &result(&judgement, CheckId::ServicesFailedUnits).detail;
    assert!(
        detail.iter().any(|line| line.contains("because of it, not started: app.service and web.service")),
        "{detail:?}"
    );
    chain.skipping(CheckId::ServicesFailedUnits).expect(&[(CheckId::ServicesPromised, "")], &[]);
    guest()
        .expected(needs("app.service", "gone.service"))
        .breaks(CheckId::ServicesPromised, "app.service was not started: it needs gone.service, which is not there");
    // A job that fails with what it needs leaves its unit as if nobody had asked for it.
    guest()
        .expected(failed("db.service", 1))
        .expected(needs("mid.service", "db.service"))
        .expected(needs("app.service", "mid.service"))
        .breaks(CheckId::ServicesFailedUnits, "db.service failed: exit code 1");
    guest().expected(needs("app.service", "idle.service")).unit(inactive("idle.service")).breaks(
        CheckId::ServicesPromised,
        "app.service was not started: it needs idle.service, which was not started either",
    );
    let nobody_asks = Unit { wanted_by: Vec::new(), ..needs("app.service", "idle.service") };
    guest()
        .expected(nobody_asks)
        .unit(inactive("idle.service"))
        .breaks(CheckId::ServicesPromised, "was never started: nothing in the guest asks for it");
    for (device, why) in [
        ("dev-ttyUSB0.device", "/dev/ttyUSB0 is a device that the sandbox has not"),
        ("sys-subsystem-net-devices-wlp2s0.device", "wlp2s0 is a card of the real machine"),
    ] {
        guest().expected(needs("app.service", device)).unit(inactive(device)).sets_aside(why);
    }
    guest()
        .expected(needs("app.service", "dev-mapper-x.device"))
        .unit(inactive("dev-mapper-x.device"))
        .breaks(CheckId::ServicesPromised, "it needs dev-mapper-x.device, which is not there");
    // Whoever needs what the sandbox keeps away is set aside with it.
    guest()
        .expected(failed("vpn.service", 1))
        .journal(line("vpn.service", "could not resolve vpn.example.org"))
        .expected(needs("app.service", "vpn.service"))
        .expect(&[], &["vpn.service: needs the outside", "app.service: needs vpn.service"]);
}

#[test]
fn the_outside_excuses_only_when_it_is_kept_away_and_shown() {
    let fwupd = || guest().unit(failed("fwupd-refresh.service", 1));
    let words = line("fwupd-refresh.service", "Failed to download metadata: Could not resolve host: cdn.fwupd.org");
    fwupd().journal(words.clone()).sets_aside("fwupd-refresh.service: needs the outside");
    fwupd()
        .journal(words.clone())
        .context(|context| context.network = NetworkPolicy::User)
        .breaks(CheckId::ServicesFailedUnits, "fwupd-refresh.service");
    fwupd().breaks(CheckId::ServicesFailedUnits, "fwupd-refresh.service");
    fwupd()
        .journal(line("fwupd-refresh.service", "fetching https://cdn.fwupd.org/firmware.xml.zst"))
        .journal(line("fwupd-refresh.service", "curl: (28) Connection timed out after 10001 milliseconds"))
        .sets_aside("Connection timed out");
    let mut crash = failed("fwupd-refresh.service", 1);
    crash.result = "core-dump".into();
    guest().unit(crash).journal(words).breaks(CheckId::ServicesFailedUnits, "");
    let vpn = Unit { result: "start-limit-hit".into(), ..failed("headscale.service", 1) };
    guest()
        .expected(vpn)
        .journal(line("headscale.service", "dial tcp: lookup idp.example.com: no such host"))
        .sets_aside("headscale.service");
}

#[test]
fn hardware_excuses_by_kind_and_words() {
    let thermald = || guest().expected(failed("thermald.service", 1));
    thermald().journal(line("thermald.service", "Unsupported cpu model or platform")).sets_aside("sensors and fans");
    thermald()
        .journal(line("thermald.service", "/etc/thermald.xml: cannot open"))
        .breaks(CheckId::ServicesFailedUnits, "thermald");
    thermald().breaks(CheckId::ServicesFailedUnits, "thermald");
    guest().expected(skipped("thermald.service", "ConditionVirtualization=no")).sets_aside("thermald.service");
    guest()
        .expected(failed("smartd.service", 17))
        .journal(line("smartd.service", "In the system's table of devices NO devices found to scan"))
        .sets_aside("disks with SMART");
    guest()
        .expected(failed("zigbee.service", 1))
        .journal(line("zigbee.service", "Error: cannot open /dev/ttyUSB0: No such file or directory"))
        .sets_aside("/dev/ttyUSB0");
    let writes = |words: &str| guest().expected(failed("charge.service", 1)).journal(line("charge.service", words));
    let knob = "/sys/class/power_supply/BAT0/charge_control_end_threshold";
    writes(&format!("{knob}: No such file or directory")).sets_aside("charge.service: needs a device");
    writes("/proc/acpi/bbswitch: No such file or directory").sets_aside("charge.service: needs a device");
    // One that is there is the configuration's business, and so is what is no hardware's.
    writes(&format!("cannot open {knob}: Permission denied")).breaks(CheckId::ServicesFailedUnits, "Permission denied");
    writes("/sys/kernel/mm/hugepages/x: No such file or directory").breaks(CheckId::ServicesFailedUnits, "hugepages");
    guest()
        .expected(failed("batsignal.service", 1))
        .journal(line("batsignal.service", "no batteries detected"))
        .sets_aside("batteries and power management");
    let modules = |words: &[&str]| {
        let guest = guest().unit(failed("systemd-modules-load.service", 1));
        words.iter().fold(guest, |guest, words| guest.journal(line("systemd-modules-load.service", words)))
    };
    let unsupported = "Failed to insert module 'kvm_intel': Operation not supported";
    modules(&["Inserted module 'loop'", unsupported]).sets_aside("systemd-modules-load.service: loads a module for");
    modules(&["Failed to insert module 'i915': No such device"]).sets_aside("'i915'");
    modules(&[unsupported, "Failed to find module 'nosuch'"]).breaks(CheckId::ServicesFailedUnits, "nosuch");
    modules(&["Failed to find module 'nosuch'"]).breaks(CheckId::ServicesFailedUnits, "nosuch");
    modules(&["Failed to insert module 'x': Key was rejected by service"]).breaks(CheckId::ServicesFailedUnits, "Key");
    let machine = |words: &str| guest().expected(failed("vm.service", 1)).journal(line("vm.service", words));
    machine("qemu-system-x86_64: Could not access KVM kernel module: No such file or directory")
        .sets_aside("vm.service");
    machine("Could not access KVM kernel module: Permission denied").breaks(CheckId::ServicesFailedUnits, "Permission");
    // The same words of a service that is not about hardware.
    guest()
        .expected(failed("app.service", 1))
        .journal(line("app.service", "no plugins found"))
        .breaks(CheckId::ServicesFailedUnits, "no plugins found");
}

#[test]
fn waiting_for_the_network_in_vain() {
    let wait = |name: &str| guest().unit(Unit { result: "timeout".into(), ..failed(name, 1) });
    wait("NetworkManager-wait-online.service")
        .sets_aside("gave up waiting though the network works: eth0 has 10.0.2.15/24");
    wait("systemd-networkd-wait-online.service").sets_aside("the network works");
    wait("systemd-networkd-wait-online.service")
        .unit(active("NetworkManager.service"))
        .breaks(CheckId::ServicesFailedUnits, "systemd-networkd and NetworkManager are both on");
    wait("systemd-networkd-wait-online.service")
        .facts(|facts| facts.network.default_routes.clear())
        .expect(&[(CheckId::ServicesFailedUnits, "wait-online"), (CheckId::NetworkRoute, "no default route")], &[]);
}

#[test]
fn secrets_that_only_the_real_machine_has() {
    guest()
        .expected(failed("sops-install-secrets.service", 1))
        .journal(line("sops-install-secrets.service", "cannot read keyfile '/etc/ssh/ssh_host_ed25519_key'"))
        .sets_aside("sops-install-secrets.service: the sandbox has not the real machine's key");
    guest()
        .expected(failed("app.service", 1))
        .journal(line("app.service", "cat: /run/secrets/app: No such file or directory"))
        .sets_aside("app.service: needs a secret");
    guest()
        .expected(failed("wg-quick-wg0.service", 1))
        .journal(line("wg-quick-wg0.service", "fopen: `/root/wireguard-keys/private': No such file or directory"))
        .sets_aside("wg-quick-wg0.service: needs a secret");
}

#[test]
fn files_that_systemd_could_not_read_and_does_not_name() {
    let words = "app.service: Failed to load environment files: No such file or directory";
    let app = |files: &[&str]| {
        let mut unit = Unit { result: "resources".into(), ..failed("app.service", 0) };
        if let Some(service) = &mut unit.service {
            service.files = files.iter().map(|&file| file.to_owned()).collect();
            service.exit_kind = 0;
        }
        guest()
            .expected(unit)
            .journal(by_manager("app.service", words))
            .journal(by_manager("app.service", "app.service: Failed with result 'resources'."))
    };
    app(&["/run/secrets/app.env"]).sets_aside("app.service: needs /run/secrets/app.env, a secret");
    app(&["/nix/store/x-app/env", "/var/lib/secrets/app"]).sets_aside("needs /var/lib/secrets/app");
    // It could be either that is missing, and one is the configuration's own.
    app(&["/run/agenix/app", "/etc/app.env"]).breaks(
        CheckId::ServicesFailedUnits,
        "app.service failed: systemd could not set it up: Failed to load environment files: No such file or directory \
         (/run/agenix/app or /etc/app.env)",
    );
    app(&["/run/app/env"]).breaks(CheckId::ServicesFailedUnits, "(/run/app/env)");
    app(&[]).breaks(CheckId::ServicesFailedUnits, "Failed to load environment files");

    let sealed = |words: &str| {
        let failed = failed("mail.service", 243);
        guest()
            .expected(failed)
            .journal(line("mail.service", words))
            .journal(line("mail.service", "mail.service: Failed to set up credentials: Protocol error"))
    };
    for words in [
        "Failed to determine local credential key: No such file or directory",
        "Decryption failed (incorrect key?): error:00000000:lib(0)::reason(0)",
        "Failed to unseal secret using TPM2: State not recoverable",
    ] {
        sealed(words).sets_aside("mail.service: needs a credential that only the real machine can decrypt");
    }
    sealed("Embedded credential name 'a' does not match filename 'b', refusing.")
        .breaks(CheckId::ServicesFailedUnits, "");

    let mut credentials = failed("mail.service", 243);
    if let Some(service) = &mut credentials.service {
        service.files = vec!["/run/agenix/mail".into()];
    }
    guest()
        .expected(credentials)
        .journal(line("mail.service", "mail.service: Failed to set up credentials: No such file or directory"))
        .sets_aside("mail.service: needs /run/agenix/mail");
}

#[test]
fn disks_and_cards_of_the_real_machine() {
    guest()
        .expected(failed("zfs-import-tank.service", 1))
        .journal(line("zfs-import-tank.service", "cannot import 'tank': no such pool available"))
        .sets_aside("zfs-import-tank.service: is about disks of the real machine");
    guest()
        .expected(failed("backup-disk.service", 32))
        .journal(line("backup-disk.service", "mount: /backup: can't find UUID=5f1c-22aa."))
        .sets_aside("backup-disk.service: needs a device");
    let device = "dev-disk-by\\x2duuid-5f1c.device";
    let needs = Unit { broken_requirements: vec![device.into()], ..failed("data.mount", 0) };
    guest().expected(needs).sets_aside("/dev/disk/by-uuid/5f1c is a device that the sandbox has not");
    // The firewall names a card in its own rules only.
    let firewall = || {
        guest()
            .expected(failed("nftables.service", 1))
            .expecting(|expectations| expectations.firewall = Some(true))
            .journal(line("nftables.service", "/etc/nftables.conf:12:15-20: Error: Interface does not exist"))
    };
    let judgement = firewall()
        .journal(line("nftables.service", "    iif \"enp3s0\" accept"))
        .sets_aside("enp3s0 is a card of the real machine; the sandbox's is eth0");
    assert_eq!(status(&judgement, CheckId::NetworkPorts), Status::Skip);
    firewall()
        .journal(line("nftables.service", "    iif \"br-lan\" accept"))
        .breaks(CheckId::NetworkPorts, "the expected firewall is not up");
    firewall().journal(line("nftables.service", "    iif \"eth0\" accept")).breaks(CheckId::NetworkPorts, "");
    // A gateway to which no link leads is the configuration's, unless its card is not here.
    let gateway = |words: &str| {
        guest().expected(failed("network-setup.service", 2)).journal(line("network-setup.service", words))
    };
    for words in ["RTNETLINK answers: Network is unreachable", "Error: Nexthop has invalid gateway."] {
        gateway(words).breaks(CheckId::ServicesFailedUnits, words);
        gateway(words)
            .expecting(|expectations| expectations.interfaces = vec!["enp0s31f6".into()])
            .sets_aside("network-setup.service: enp0s31f6 is a card of the real machine");
    }
    // Somebody's own route may lead by a gateway of the real network.
    guest()
        .expected(failed("lab-route.service", 2))
        .journal(line("lab-route.service", "RTNETLINK answers: Network is unreachable"))
        .sets_aside("lab-route.service: needs the outside");
}

#[test]
fn a_port_is_waited_for_as_long_as_somebody_may_come() {
    let awaited = |sshd: Unit, port: u16, toml: &str| {
        let settings = Config::parse(toml, "nixbox.toml").unwrap().settings_for("box");
        let guest = guest().unit(sshd).facts(|facts| facts.listeners[0].port = port);
        let facts = &guest.observations.first;
        port_awaited(&plan(&guest.expectations, &settings, &Selection::default()), &facts.listeners, &facts.units)
    };
    assert!(!awaited(active("sshd.service"), 22, ""));
    assert!(awaited(active("sshd.service"), 23, ""));
    let starts =
        |sub: &str| Unit { active_state: "activating".into(), sub_state: sub.into(), ..active("sshd.service") };
    assert!(awaited(starts("start"), 23, ""));
    for gone in [starts("auto-restart"), failed("sshd.service", 1), inactive("sshd.service")] {
        assert!(!awaited(gone, 23, ""));
    }
    // Whose it is may not be known.
    assert!(awaited(active("sshd.service"), 22, "ports = [80]"));
    assert!(awaited(active("sshd.service"), 22, "[http.front]\nurl = \"http://localhost:80/\""));
    assert!(!awaited(active("sshd.service"), 22, "[http.front]\nurl = \"http://example.org/\""));
}

#[test]
fn a_port_of_what_is_set_aside_and_started_again() {
    let sshd =
        Unit { active_state: "activating".into(), sub_state: "auto-restart".into(), ..failed("sshd.service", 1) };
    let silent = |words: &str| {
        guest().expected(sshd.clone()).journal(line("sshd.service", words)).facts(|facts| facts.listeners.clear())
    };
    silent("cannot read /run/secrets/host-key: No such file or directory").sets_aside("port 22/tcp");
    let waits = || guest().facts(|facts| facts.listeners.clear());
    waits().journal(line("sshd.service", "ping: connect: Network is unreachable")).sets_aside("port 22/tcp");
    waits().breaks(CheckId::ServicesPorts, "nobody listens on 22/tcp");
    silent("cannot read /etc/ssh/host-key").expect(
        &[(CheckId::ServicesRestartLoop, "sshd.service"), (CheckId::ServicesPorts, "nobody listens on 22/tcp")],
        &[],
    );
}

#[test]
fn who_waits_for_the_outside_holds_up_the_boot() {
    let waits = || {
        guest()
            .unit(Unit { active_state: "inactive".into(), ..active("multi-user.target") })
            .unit(Unit { active_state: "activating".into(), ..active("wait.service") })
            .facts(|facts| {
                facts.jobs.push(Job {
                    unit: "wait.service".into(),
                    kind: "start".into(),
                    state: "running".into(),
                    seconds: Some(50),
                });
            })
    };
    let unreachable = || waits().journal(line("wait.service", "ping: connect: Network is unreachable"));
    let judgement = unreachable().judge();
    let told = result(&judgement, CheckId::BootTarget);
    assert_eq!(told.status, Status::Unknown, "{told:#?}");
    assert!(told.summary.contains("it may wait for the outside"), "{}", told.summary);
    let let_out = unreachable().context(|context| context.network = NetworkPolicy::User).judge();
    assert_eq!(status(&let_out, CheckId::BootTarget), Status::Fail);
    assert_eq!(status(&waits().judge(), CheckId::BootTarget), Status::Fail);
}

#[test]
fn who_works_all_the_time_is_not_slow_but_emulated() {
    let worked = |seconds: u64, accelerator: Accel| {
        let mut unit = timed_out("setup.service");
        if let Some(service) = &mut unit.service {
            service.cpu_us = Some(seconds * 1_000_000);
        }
        guest().expected(unit).context(|context| context.accelerator = accelerator)
    };
    let judgement = worked(30, Accel::Tcg).passes();
    let told = result(&judgement, CheckId::ServicesFailedUnits);
    assert_eq!(told.status, Status::Unknown);
    assert!(told.summary.contains("kept an emulated processor busy for 30 s of that time"), "{}", told.summary);
    assert!(told.hint.as_deref().is_some_and(|hint| hint.contains("KVM")));
    worked(10, Accel::Tcg).breaks(CheckId::ServicesFailedUnits, "timed out");
    worked(30, Accel::Kvm).breaks(CheckId::ServicesFailedUnits, "timed out");
}

#[test]
fn promised_units_that_are_not_there() {
    let absent = |unit: Unit| guest().expected(unit);
    guest()
        .expecting(|expectations| {
            expectations.units.insert("gone.service".into(), promise("multi-user.target"));
        })
        .breaks(
            CheckId::ServicesPromised,
            "gone.service is expected by the configuration, and the guest's systemd does not know it",
        );
    absent(Unit { load_state: "not-found".into(), ..inactive("gone.service") })
        .breaks(CheckId::ServicesPromised, "finds no such unit");
    absent(Unit { load_state: "masked".into(), ..inactive("m.service") })
        .breaks(CheckId::ServicesPromised, "masked in the guest");
    absent(Unit {
        load_state: "bad-setting".into(),
        load_error: Some("Unit bad.service has a bad unit file setting.".into()),
        ..inactive("bad.service")
    })
    .journal(by_manager(
        "bad.service",
        "/etc/systemd/system/bad.service:3: Neither a valid executable name nor an absolute path: true",
    ))
    .breaks(CheckId::ServicesPromised, "Neither a valid executable name");
    // The same when nobody expected it but a target wants it.
    guest()
        .unit(Unit { load_state: "bad-setting".into(), ..inactive("bad.service") })
        .breaks(CheckId::ServicesPromised, "systemd refused to load bad.service");
    absent(inactive("lazy.service"))
        .breaks(CheckId::ServicesPromised, "lazy.service is expected by the configuration and was never started");
    absent(inactive("cycle.service"))
        .journal(by_manager(
            "",
            "multi-user.target: Job cycle.service/start deleted to break ordering cycle starting with a.target/start",
        ))
        .breaks(CheckId::ServicesPromised, "to break an ordering cycle");
    // The boot's own transaction is made before the journal runs: PID 1 tells the kernel. It fails whoever expected it.
    let early = |unit: &str| JournalLine {
        identifier: "systemd".into(),
        ..by_kernel(&format!("a.target: Job {unit}/start deleted to break ordering cycle starting with a.target/start"))
    };
    absent(inactive("cycle.service"))
        .journal(early("cycle.service"))
        .breaks(CheckId::ServicesPromised, "to break an ordering cycle");
    guest()
        .unit(inactive("upstream.service"))
        .journal(early("upstream.service"))
        .breaks(CheckId::ServicesPromised, "upstream.service was not started: systemd dropped it");
    guest().unit(inactive("app.service")).journal(early("xapp.service")).passes();
    guest().unit(active("upstream.service")).journal(early("upstream.service")).passes();
    guest()
        .unit(inactive("upstream.service"))
        .journal(JournalLine { identifier: "kernel".into(), ..early("upstream.service") })
        .passes();
    absent(Unit { condition_us: 1, condition_result: true, ..inactive("asserts.service") })
        .journal(by_manager("asserts.service", "asserts.service: Starting requested but asserts failed."))
        .breaks(CheckId::ServicesPromised, "asserts failed");
    // What only an inactive target, or nobody, wants is not expected at boot. Neither is what is off.
    let unwanted = |target: &str| {
        guest().unit(Unit { wanted_by: vec![target.into()], ..inactive("bluetooth.service") }).expecting(
            |expectations| {
                expectations.units.insert("bluetooth.service".into(), promise(target));
            },
        )
    };
    unwanted("bluetooth.target").passes();
    unwanted("multi-user.target").breaks(CheckId::ServicesPromised, "bluetooth.service");
    guest().unit(Unit { load_state: "not-found".into(), ..inactive("display-manager.service") }).passes();
}

#[test]
fn rightly_inactive() {
    let socket = Unit { triggered_by: vec!["app.socket".into()], ..inactive("app.service") };
    guest().expected(socket.clone()).expected(active("app.socket")).passes();
    guest().expected(socket).expected(failed("app.socket", 0)).breaks(CheckId::ServicesFailedUnits, "app.socket");
    let ran = |kind: &str| {
        let mut unit = Unit { inactive_enter_us: 9_000_000, ..inactive("once.service") };
        unit.service = Some(Service { kind: kind.into(), exit_kind: 1, ..Service::default() });
        unit
    };
    guest().expected(ran("oneshot")).passes();
    guest().expected(ran("oneshot")).toml("units = [\"once\"]").passes();
    let mut stays = active("set-up.service");
    stays.sub_state = "exited".into();
    guest().expected(stays).passes();
    let by_timer =
        Unit { triggered_by: vec!["backup.timer".into()], wanted_by: Vec::new(), ..inactive("backup.service") };
    guest().unit(by_timer).expected(active("backup.timer")).passes();
    guest().expected(skipped("done.service", "ConditionPathExists=!/var/lib/done")).passes();
}

#[test]
fn wrong_conditions_and_right_ones() {
    let skip = |condition: &str| guest().expected(skipped("app.service", condition));
    skip("ConditionPathExists=/etc/no-such.conf")
        .breaks(CheckId::ServicesPromised, "was skipped: ConditionPathExists=/etc/no-such.conf does not hold");
    skip("ConditionUser=nobody").breaks(CheckId::ServicesPromised, "ConditionUser=nobody");
    for condition in
        ["ConditionVirtualization=no", "ConditionPathExists=/dev/kvm", "ConditionPathExists=/var/lib/app/data"]
    {
        skip(condition).sets_aside(condition);
    }
    skip("ConditionVirtualization=no")
        .toml("units = [\"app\"]")
        .breaks(CheckId::ServicesPromised, "expected by nixbox.toml and was skipped");
    // A distribution's unit, which the configuration does not name.
    guest().unit(skipped("upstream.service", "ConditionPathExists=/etc/nope")).passes();
}

#[test]
fn expected_units_have_to_be_active() {
    guest().toml("units = [\"sshd\"]").passes();
    guest().toml("units = [\"nope\"]").breaks(CheckId::ServicesPromised, "nope.service is expected by nixbox.toml");
    let socket = Unit { triggered_by: vec!["app.socket".into()], ..inactive("app.service") };
    guest()
        .unit(socket)
        .unit(active("app.socket"))
        .toml("units = [\"app\"]")
        .breaks(CheckId::ServicesPromised, "app.service");
}

#[test]
fn without_a_configuration_the_guest_itself_promises() {
    let bare = || guest().expecting(|expectations| *expectations = Expectations::default());
    let judgement = bare().expect(&[], &[]);
    assert!(judgement.results.iter().all(|result| result.id != CheckId::UsersDeclared));
    bare().unit(inactive("lazy.service")).breaks(CheckId::ServicesPromised, "lazy.service");
    bare().unit(Unit { unit_file_state: "disabled".into(), ..inactive("lazy.service") }).passes();
    bare().unit(failed("x.service", 1)).breaks(CheckId::ServicesFailedUnits, "x.service");
}

#[test]
fn what_was_active_has_to_stay() {
    let gone = |kind: &str, restart: &str, exit_kind, exit_status| {
        let mut unit = Unit {
            active_enter_us: 10_000_000,
            active_exit_us: 12_000_000,
            inactive_enter_us: 12_000_000,
            ..inactive("daemon.service")
        };
        unit.service =
            Some(Service { kind: kind.into(), restart: restart.into(), exit_kind, exit_status, ..Service::default() });
        guest().expected(active("daemon.service")).later(|facts| {
            facts.units.retain(|known| known.name != unit.name);
            facts.units.push(unit);
        })
    };
    gone("notify", "no", 1, 0).breaks(CheckId::ServicesSettled, "ended with exit code 0 2.0 s after it became active");
    gone("simple", "no", 2, 15).breaks(CheckId::ServicesSettled, "was ended by SIGTERM");
    let judgement = gone("simple", "no", 1, 0).passes();
    assert_eq!(status(&judgement, CheckId::ServicesSettled), Status::Warn);
    gone("simple", "no", 1, 0).toml("units = [\"daemon\"]").breaks(CheckId::ServicesSettled, "daemon.service");
    let judgement = gone("dbus", "no", 1, 0).passes();
    assert_eq!(status(&judgement, CheckId::ServicesSettled), Status::Warn);
}

#[test]
fn restart_loops() {
    let looping = |restarts, sub: &str, exit_status, result: &str| Unit {
        active_state: if sub == "running" { "active" } else { "activating" }.into(),
        sub_state: sub.into(),
        active_enter_us: NOW + 4_500_000,
        result: result.into(),
        service: Some(Service {
            kind: "simple".into(),
            restart: "always".into(),
            restarts,
            exit_kind: 1,
            exit_status,
            ..Service::default()
        }),
        ..active("loop.service")
    };
    let grow = |exit_status, result: &'static str| {
        guest().expected(looping(3, "running", exit_status, result)).later(move |facts| {
            facts.units.retain(|unit| unit.name != "loop.service");
            facts.units.push(looping(8, "running", exit_status, result));
        })
    };
    grow(0, "success").breaks(
        CheckId::ServicesRestartLoop,
        "ends with success and is started again: restarted 8 times, 5 of them in the last 5.0 s",
    );
    grow(1, "exit-code").breaks(CheckId::ServicesRestartLoop, "fails and is started again");
    guest()
        .expected(looping(1, "auto-restart", 1, "exit-code"))
        .breaks(CheckId::ServicesRestartLoop, "fails and is started again (exit code 1");
    // A restart that helped, and a pause of somebody who uses Restart= as a timer.
    let mut settled = looping(2, "running", 0, "success");
    settled.active_enter_us = 20_000_000;
    guest().expected(settled).passes();
    let judgement = guest().expected(looping(0, "auto-restart", 0, "success")).passes();
    assert_eq!(status(&judgement, CheckId::ServicesRestartLoop), Status::Warn);
    guest()
        .expected(looping(4, "auto-restart", 1, "exit-code"))
        .journal(line("loop.service", "Error: getaddrinfo ENOTFOUND api.example.com"))
        .sets_aside("loop.service: needs the outside");
}

#[test]
fn who_fails_once_has_a_second_try() {
    let app = |restarts, active_state: &str, sub: &str, result: &str| Unit {
        active_state: active_state.into(),
        sub_state: sub.into(),
        result: result.into(),
        active_enter_us: if active_state == "active" { NOW - 4_000_000 } else { 0 },
        state_change_us: NOW - 1_000_000,
        condition_us: NOW - 1_000_000,
        service: Some(Service {
            kind: "notify".into(),
            restart: "on-failure".into(),
            restarts,
            restart_us: 5_000_000,
            exit_kind: i32::from(result != "success"),
            exit_status: i32::from(result != "success"),
            ..Service::default()
        }),
        ..active("app.service")
    };
    let waits = |restarts| app(restarts, "activating", "auto-restart", "exit-code");
    let starts = |restarts| app(restarts, "activating", "start", "success");
    let up = || app(1, "active", "running", "success");
    let settle = Duration::from_secs(3);
    let needed = |unit: Unit| {
        let guest = guest().expected(unit);
        let plan = plan(&guest.expectations, &Settings::default(), &Selection::default());
        let facts = &guest.observations.first;
        (settle_needed(&plan, facts, settle).map(|wait| wait.as_secs()), may_recover(facts, settle))
    };
    // As long as it waits, and the time to settle; then until it has settled.
    assert_eq!(needed(waits(0)), (Some(7), true));
    assert_eq!(needed(starts(1)), (Some(3), true));
    assert_eq!(needed(Unit { active_enter_us: NOW - 1_000_000, ..up() }), (Some(2), true));
    assert_eq!(needed(up()), (None, false));
    // It failed again, it is not worth the wait, or it did not fail.
    assert_eq!(needed(waits(1)), (Some(3), false));
    let long = Service { restart_us: 600_000_000, ..waits(0).service.unwrap() };
    assert_eq!(needed(Unit { service: Some(long), ..waits(0) }), (Some(3), false));
    assert_eq!(needed(app(0, "activating", "auto-restart", "success")), (Some(3), false));

    let then = |first: Unit, later: Unit| {
        guest().expected(first).later(|facts| {
            facts.units.retain(|unit| unit.name != "app.service");
            facts.units.push(later);
        })
    };
    let warned = |guest: Guest, words: &str| {
        let judgement = guest.passes();
        let told = result(&judgement, CheckId::ServicesRestartLoop);
        assert!(told.status == Status::Warn && told.summary.contains(words), "{told:#?}");
    };
    warned(then(waits(0), up()), "app.service was restarted once before it stayed up");
    warned(guest().expected(up()), "restarted once before it stayed up");
    warned(then(waits(0), starts(1)), "app.service was restarted once and is still starting");
    then(waits(0), waits(1)).breaks(CheckId::ServicesRestartLoop, "fails and is started again (exit code 1");
    then(waits(0), waits(0)).breaks(CheckId::ServicesRestartLoop, "about to be restarted");
    then(starts(1), starts(2)).breaks(CheckId::ServicesRestartLoop, "app.service fails and is started again");
    guest().expected(starts(2)).breaks(CheckId::ServicesRestartLoop, "restarted 2 times");
}

#[test]
fn who_never_says_that_it_is_ready_is_started_again_and_again() {
    let mut unit = Unit {
        active_state: "activating".into(),
        sub_state: "start".into(),
        active_enter_us: 0,
        condition_us: 40_000_000,
        state_change_us: 40_000_000,
        ..active("app.service")
    };
    unit.service = Some(Service {
        kind: "notify".into(),
        restart: "on-failure".into(),
        restarts: 1,
        cpu_us: Some(1_000_000),
        ..Service::default()
    });
    let said = |at_us, words: &str| JournalLine { at_us, ..by_manager("app.service", words) };
    let late = |unit: &Unit| {
        guest()
            .expected(unit.clone())
            .journal(said(20_000_000, "Starting app.service - Application..."))
            .journal(said(39_000_000, "app.service: start operation timed out. Terminating."))
            .journal(said(40_000_000, "Starting app.service - Application..."))
    };
    late(&unit).breaks(CheckId::ServicesRestartLoop, "app.service timed out while it started, was never up");
    // The first try was over before the host calmed down, or not.
    assert_eq!(status(&late(&unit).context(waiting(90, 90)).passes(), CheckId::ServicesRestartLoop), Status::Unknown);
    late(&unit).journal(line("app.service", "could not resolve vpn.example.org")).sets_aside("app.service");
    // It was up in between.
    late(&Unit { active_enter_us: 30_000_000, ..unit.clone() }).passes();
    if let Some(service) = &mut unit.service {
        service.cpu_us = Some(15_000_000);
    }
    assert_eq!(status(&late(&unit).passes(), CheckId::ServicesRestartLoop), Status::Unknown);
    late(&unit).context(|context| context.accelerator = Accel::Kvm).breaks(CheckId::ServicesRestartLoop, "timed out");
}

#[test]
fn ports_that_nobody_listens_on() {
    guest().toml("ports = [22]").passes();
    guest().toml("ports = [80]").breaks(CheckId::ServicesPorts, "nobody listens on 80/tcp, which nixbox.toml expects");
    guest().toml("ports = [\"22/udp\"]").breaks(CheckId::ServicesPorts, "22/udp");
    guest()
        .facts(|facts| facts.listeners.clear())
        .breaks(CheckId::ServicesPorts, "which services.openssh expects; sshd.service is active");
    // Permission is no promise.
    guest().expecting(|expectations| expectations.open_tcp = vec![443]).passes();
    // Its service failed: told there.
    guest()
        .unit(failed("sshd.service", 255))
        .facts(|facts| facts.listeners.clear())
        .breaks(CheckId::ServicesFailedUnits, "sshd.service failed");
}

#[test]
fn requests_and_their_answers() {
    let answer = |status, body: &str, error: Option<&str>| HttpAnswer {
        status,
        body: body.into(),
        error: error.map(Into::into),
    };
    let ask = |toml: &str, answer: HttpAnswer| {
        guest().toml(&format!("[http.front]\nurl = \"http://localhost/\"\n{toml}")).facts(|facts| {
            facts.http.insert("front".into(), answer);
        })
    };
    ask("contains = \"hello\"", answer(200, "hello you", None)).passes();
    ask("", answer(302, "", None)).passes();
    ask("", answer(500, "oops", None))
        .breaks(CheckId::ServicesHttp, "front: GET http://localhost/: status 500, expected 200 to 399");
    ask("status = 404", answer(200, "", None)).breaks(CheckId::ServicesHttp, "status 200, expected 404");
    ask("contains = \"hello\"", answer(200, "bye", None))
        .breaks(CheckId::ServicesHttp, "the body does not contain \"hello\": it is \"bye\"");
    ask("regex = \"^h\"", answer(200, "bye", None)).breaks(CheckId::ServicesHttp, "does not match");
    ask("", answer(0, "", Some("connection refused"))).breaks(CheckId::ServicesHttp, "no answer: connection refused");
    let judgement = guest().toml("[http.front]\nurl = \"http://localhost/\"").passes();
    assert_eq!(status(&judgement, CheckId::ServicesHttp), Status::Unknown);
    assert_eq!(verdict(&judgement.results).exit, Exit::Unknown);
}

#[test]
fn timers_run_once() {
    let run = |exit, unit: Unit| {
        guest().toml("timers = [\"logrotate\"]").unit(unit).unit(active("logrotate.timer")).facts(|facts| {
            facts
                .timers
                .insert("logrotate.timer".into(), ScriptOutcome { exit, attempts: 1, ..ScriptOutcome::default() });
        })
    };
    run(0, Unit { wanted_by: Vec::new(), ..inactive("logrotate.service") }).passes();
    let mut crash = failed("logrotate.service", 0);
    crash.result = "core-dump".into();
    crash.service = Some(Service { exit_kind: 3, exit_status: 31, ..Service::default() });
    run(1, crash)
        .breaks(CheckId::ServicesTimers, "logrotate.service, run once for logrotate.timer: dumped core on SIGSYS");
    run(1, failed("logrotate.service", 1))
        .journal(line("logrotate.service", "curl: Could not resolve host: example.org"))
        .sets_aside("logrotate.service");
}

#[test]
fn scripts() {
    let run = |toml: &str, outcome: ScriptOutcome| {
        guest().toml(&format!("[script.hello]\nrun = \"echo hello\"\n{toml}")).facts(|facts| {
            facts.scripts.insert("hello".into(), outcome);
        })
    };
    let said = |exit, stdout: &str, stderr: &str| ScriptOutcome {
        exit,
        stdout: stdout.into(),
        stderr: stderr.into(),
        attempts: 1,
        ..ScriptOutcome::default()
    };
    run("equals = \"hello\"", said(0, "hello\n", "")).passes();
    run("exit = 3", said(3, "", "")).passes();
    run("", said(1, "", "it broke\n")).breaks(CheckId::script("hello"), "exit code 1, expected 0: it broke");
    run("equals = \"hello\"", said(0, "bye\n", ""))
        .breaks(CheckId::script("hello"), "stdout is \"bye\", expected \"hello\"");
    run("regex = \"^h.*o$\"", said(0, "bye\n", "")).breaks(CheckId::script("hello"), "does not match");
    let late = ScriptOutcome { error: Some("did not end by its deadline".into()), ..ScriptOutcome::default() };
    run("deadline = \"2s\"", late).breaks(CheckId::script("hello"), "did not end within 10 s");
    let lost = ScriptOutcome { error: Some("the connection was lost".into()), ..ScriptOutcome::default() };
    assert_eq!(status(&run("", lost).passes(), CheckId::script("hello")), Status::Unknown);
    let third = ScriptOutcome { attempts: 3, ..said(0, "", "") };
    assert!(result(&run("retries = 5", third).passes(), CheckId::script("hello")).flaky);
}

#[test]
fn errors_in_the_journal_only_warn() {
    let error = JournalLine { priority: 3, ..line("app.service", "something is wrong") };
    let judgement = guest().journal(error).passes();
    assert_eq!(status(&judgement, CheckId::ServicesJournal), Status::Warn);
    assert!(result(&judgement, CheckId::ServicesJournal).summary.contains("app.service: something is wrong"));
    let stray =
        JournalLine { priority: 3, identifier: "plymouthd".into(), ..line("", "ply-device-manager: no renderer") };
    assert_eq!(status(&guest().journal(stray).passes(), CheckId::ServicesJournal), Status::Pass);
}

// --- network ---

#[test]
fn addresses_and_routes() {
    let cut = |guest: Guest| {
        guest.facts(|facts| {
            facts.network.addresses.clear();
            facts.network.default_routes.clear();
        })
    };
    cut(guest()).breaks(CheckId::NetworkAddress, "eth0 has no address; systemd-networkd.service is active");
    // The real machine's card has another name than the sandbox's.
    let bound = || guest().expecting(|expectations| expectations.interfaces = vec!["enp0s31f6".into(), "wg0".into()]);
    cut(bound()).sets_aside("interface enp0s31f6: enp0s31f6 is a card of the real machine; the sandbox's is eth0");
    bound().sets_aside("interface enp0s31f6");
    cut(guest()).unit(inactive("systemd-networkd.service")).passes();
    cut(bound().unit(failed("network-addresses-enp0s31f6.service", 1)))
        .sets_aside("network-addresses-enp0s31f6.service");
}

#[test]
fn names() {
    let resolves = |answer| {
        guest().context(|context| context.network = NetworkPolicy::User).facts(|facts| {
            facts.network.resolves = answer;
        })
    };
    assert_eq!(status(&resolves(Some(true)).passes(), CheckId::NetworkDns), Status::Pass);
    assert_eq!(status(&resolves(Some(false)).passes(), CheckId::NetworkDns), Status::Unknown);
    resolves(Some(false))
        .context(|context| context.host_resolves = Some(true))
        .breaks(CheckId::NetworkDns, "no name resolves");
    resolves(Some(false))
        .facts(|facts| facts.network.nameservers.clear())
        .breaks(CheckId::NetworkDns, "names no server");
    let nobody = || guest().facts(|facts| facts.network.nameservers.clear());
    nobody().breaks(CheckId::NetworkDns, "names no server");
    nobody().unit(active("systemd-resolved.service")).passes();
    nobody()
        .facts(|facts| {
            facts.listeners.push(Listener {
                protocol: "udp".into(),
                address: "127.0.0.1".into(),
                port: 53,
                ..Listener::default()
            });
        })
        .passes();
}

#[test]
fn a_resolver_of_its_own_that_nobody_is() {
    let at = |servers: &[&str]| {
        guest().facts(|facts| facts.network.nameservers = servers.iter().map(|&server| server.to_owned()).collect())
    };
    let here = || at(&["127.0.0.53", "::1"]);
    let is_skipped = |guest: &Guest| status(&guest.judge(), CheckId::NetworkDns) == Status::Skip;
    here().breaks(CheckId::NetworkDns, "resolv.conf names only 127.0.0.53 and ::1, and nobody listens there");
    at(&["127.0.0.1", "10.0.2.3"]).passes();
    let listener = |protocol: &str, address: &str, port| Listener {
        protocol: protocol.into(),
        address: address.into(),
        port,
        ..Listener::default()
    };
    here().facts(|facts| facts.listeners.push(listener("udp", "127.0.0.53", 53))).passes();
    here().facts(|facts| facts.listeners.push(listener("tcp", "0.0.0.0", 53))).passes();
    here().facts(|facts| facts.listeners.push(listener("udp", "127.0.0.1", 5353))).breaks(CheckId::NetworkDns, "");
    here().facts(|facts| facts.network.addresses.clear()).breaks(CheckId::NetworkAddress, "");
    // resolved is asked by way of the bus, too. Others listen, some not at once.
    here().unit(active("systemd-resolved.service")).passes();
    let since = |seconds: u64, kind: &str| Unit {
        active_enter_us: NOW - seconds * 1_000_000,
        service: Some(Service { kind: kind.into(), ..Service::default() }),
        ..active("blocky.service")
    };
    let kvm = |unit: Unit| here().unit(unit).context(|context| context.accelerator = Accel::Kvm);
    assert!(is_skipped(&kvm(since(10, "simple"))));
    kvm(since(10, "notify")).breaks(CheckId::NetworkDns, "nobody listens there");
    kvm(since(40, "simple")).breaks(CheckId::NetworkDns, "nobody listens there");
    kvm(since(40, "simple")).journal(line("blocky.service", "dial tcp: lookup a.org: no such host")).passes();
    assert!(is_skipped(&here().unit(Unit { active_state: "activating".into(), ..active("unbound.service") })));
    let broken = || here().expected(failed("dnsmasq.service", 1));
    broken().breaks(CheckId::ServicesFailedUnits, "dnsmasq.service");
    broken()
        .skipping(CheckId::ServicesFailedUnits)
        .expect(&[(CheckId::ServicesPromised, ""), (CheckId::NetworkDns, "")], &[]);
    here()
        .expected(failed("podman-hole.service", 1))
        .journal(line("podman-hole.service", "dial tcp: lookup docker.io: no such host"))
        .sets_aside("podman-hole.service");
}

#[test]
fn a_firewall_that_is_not_up() {
    let walled = |unit: Unit| guest().expected(unit).expecting(|expectations| expectations.firewall = Some(true));
    walled(failed("nftables.service", 1))
        .journal(line("nftables.service", "/nix/store/x-rules:3:1-4: Error: syntax error, unexpected string"))
        .breaks(
            CheckId::NetworkPorts,
            "every port is open: nftables.service failed: exit code 1: /nix/store/x-rules:3:1-4: Error: syntax error",
        );
    let judgement =
        walled(active("firewall.service")).expecting(|expectations| expectations.open_tcp = vec![22]).passes();
    assert!(result(&judgement, CheckId::NetworkPorts).summary.contains("open: 22/tcp"));
    walled(failed("firewall.service", 1))
        .skipping(CheckId::NetworkPorts)
        .breaks(CheckId::ServicesFailedUnits, "firewall.service");
    // It did its work, and somebody stopped it.
    let stopped = |name: &str| Unit {
        active_enter_us: 9_000_000,
        active_exit_us: 11_000_000,
        inactive_enter_us: 11_000_000,
        service: Some(Service { kind: "oneshot".into(), remain_after_exit: true, exit_kind: 1, ..Service::default() }),
        ..inactive(name)
    };
    walled(stopped("firewall.service"))
        .breaks(CheckId::NetworkPorts, "every port is open: firewall.service was stopped");
    walled(inactive("firewall.service")).breaks(CheckId::ServicesPromised, "firewall.service");
    let judgement = guest().expected(stopped("set-up.service")).passes();
    assert_eq!(status(&judgement, CheckId::ServicesSettled), Status::Warn);
    assert!(result(&judgement, CheckId::ServicesSettled).summary.contains("set-up.service was stopped 2.0 s after"));
}

// --- users ---

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
        .sets_aside("passwords are set on the real machine");
    // The disk is fresh: a password that was set and matches nothing is none on the real machine either.
    let no_hash = || {
        locked().expecting(|expectations| {
            expectations.mutable_users = Some(true);
            expectations.users.get_mut("alice").unwrap().has_password = true;
        })
    };
    no_hash().breaks(CheckId::UsersLogin, "the configuration sets a password for alice, which is no hash");
    no_hash().facts(|facts| facts.accounts[0].password = Password::Set).passes();
    locked()
        .expecting(|expectations| expectations.allow_no_password_login = Some(true))
        .sets_aside("allowNoPasswordLogin");
    locked()
        .expecting(|expectations| {
            expectations.users.entry("alice".into()).or_default().password_file = Some("/run/secrets/alice".into());
        })
        .sets_aside("the password of alice lies outside the configuration, in /run/secrets/alice");
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
        .breaks(CheckId::UsersDeclared, "user bob is declared and not there");
    guest()
        .expecting(|expectations| {
            expectations.groups.insert("media".into(), None);
        })
        .breaks(CheckId::UsersDeclared, "group media is declared and not there");
    alice(|account| account.home_owner = None).breaks(CheckId::UsersDeclared, "/home/alice, is not there");
    alice(|account| account.home_owner = Some(0)).breaks(CheckId::UsersDeclared, "belongs to uid 0");
    alice(|account| {
        account.shell = "/run/current-system/sw/bin/zsh".into();
        account.shell_works = false;
        account.has_key = true;
    })
    .expect(
        &[(CheckId::UsersLogin, ""), (CheckId::UsersDeclared, "the shell of alice, /run/current-system/sw/bin/zsh")],
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

// --- all of them ---

#[test]
fn what_could_not_be_read_never_passes() {
    let needs = [
        (
            "units",
            vec![
                CheckId::BootTarget,
                CheckId::BootEmergency,
                CheckId::ServicesFailedUnits,
                CheckId::ServicesPromised,
                CheckId::ServicesSettled,
                CheckId::ServicesRestartLoop,
            ],
        ),
        ("journal", vec![CheckId::BootOom, CheckId::BootActivation, CheckId::BootTmpfiles, CheckId::ServicesJournal]),
        ("listeners", vec![CheckId::ServicesPorts, CheckId::NetworkPorts]),
        ("network", vec![CheckId::NetworkAddress, CheckId::NetworkRoute, CheckId::NetworkDns]),
        ("accounts", vec![CheckId::UsersLogin, CheckId::UsersDeclared]),
        ("groups", vec![CheckId::UsersDeclared]),
        ("taint", vec![CheckId::BootTaint]),
    ];
    for (gap, ids) in needs {
        let judgement = guest()
            .facts(|facts| {
                facts.gaps.insert(gap.into(), "the shell broke".into());
                match gap {
                    "units" => facts.units.clear(),
                    "listeners" => facts.listeners.clear(),
                    "groups" => facts.groups.clear(),
                    "taint" => facts.taint = None,
                    _ => {}
                }
            })
            .judge();
        for id in ids {
            assert_eq!(status(&judgement, id), Status::Unknown, "{gap} {id}");
        }
        let outcome = verdict(&judgement.results);
        assert_eq!(outcome.exit, if gap == "taint" { Exit::Pass } else { Exit::Unknown }, "{gap} {outcome:?}");
    }
    // A failed unit without a journal: nobody knows whose fault it is.
    let judgement = guest()
        .unit(failed("x.service", 1))
        .facts(|facts| {
            facts.gaps.insert("journal".into(), "the shell broke".into());
        })
        .judge();
    assert_eq!(status(&judgement, CheckId::ServicesFailedUnits), Status::Unknown);
    assert!(result(&judgement, CheckId::ServicesFailedUnits).summary.contains("x.service failed"));
}

#[test]
fn accepted_failures_show_their_reason() {
    let two = || guest().unit(failed("a.service", 1)).unit(failed("b.service", 1));
    let whole = two().toml("[allow]\n\"services.failed-units\" = \"known\"").passes();
    assert_eq!(result(&whole, CheckId::ServicesFailedUnits).allowed.as_deref(), Some("known"));
    assert_eq!(status(&whole, CheckId::ServicesFailedUnits), Status::Fail);
    assert_eq!(verdict(&whole.results).exit, Exit::Pass);
    let one = two().toml("[allow]\n\"services.failed-units:a.service\" = \"known\"");
    let judgement = one.breaks(CheckId::ServicesFailedUnits, "b.service failed: exit code 1");
    let detail = &result(&judgement, CheckId::ServicesFailedUnits).detail;
    assert!(detail.contains(&"accepted: a.service: known".to_owned()), "{detail:?}");
    two()
        .toml("[allow]\n\"services.failed-units:a.service\" = \"x\"\n\"services.failed-units:b.service\" = \"y\"")
        .passes();
}

#[test]
fn what_the_guest_writes_is_harmless() {
    let wild = "\u{1b}[2J\u{202e}".repeat(200) + &"x".repeat(2000);
    let judgement = guest()
        .unit(Unit { name: format!("{wild}.service"), ..failed("x.service", 1) })
        .facts(|facts| {
            for _ in 0..50 {
                facts.journal.push(JournalLine { priority: 3, ..line(&format!("{wild}.service"), &wild) });
            }
        })
        .judge();
    assert_harmless(&judgement);
}

fn assert_harmless(judgement: &Judgement) {
    let fine = |text: &str| text.chars().count() <= text::LINE && !text.chars().any(char::is_control);
    for result in &judgement.results {
        assert!(fine(&result.summary), "{}", result.summary);
        assert!(result.detail.len() <= text::LINES);
        assert!(result.detail.iter().all(|line| fine(line)));
    }
    assert!(judgement.not_tested.iter().all(|entry| fine(&entry.what) && fine(&entry.why)));
}

#[test]
fn settling_counts_from_each_units_own_start() {
    let settle = Duration::from_secs(3);
    let needed = |guest: Guest| {
        let mut plan = plan(&guest.expectations, &Settings::default(), &Selection::default());
        plan.expectations.known = true;
        plan.units = ["young.service", "once.service"].map(str::to_owned).to_vec();
        settle_needed(&plan, &guest.observations.first, settle)
    };
    assert_eq!(needed(guest()), None);
    let young = Unit { active_enter_us: NOW - 1_000_000, ..active("young.service") };
    assert_eq!(needed(guest().unit(young.clone())), Some(Duration::from_secs(2)));
    let not_promised = Unit { name: "getty@tty1.service".into(), ..young };
    assert_eq!(needed(guest().unit(not_promised.clone())), None);
    let nothing_promises = plan(&Expectations::default(), &Settings::default(), &Selection::default());
    let facts = guest().unit(not_promised).observations.first;
    assert_eq!(settle_needed(&nothing_promises, &facts, settle), Some(Duration::from_secs(2)));
    let exited = Unit { active_enter_us: NOW - 1_000_000, sub_state: "exited".into(), ..active("once.service") };
    assert_eq!(needed(guest().unit(exited)), None);
    let waits = Unit { active_state: "activating".into(), sub_state: "auto-restart".into(), ..active("loop.service") };
    assert_eq!(needed(guest().unit(waits)), Some(settle));
    let no_lease = guest().facts(|facts| {
        facts.network.addresses.clear();
        facts.manager.finish_us = NOW - 4_000_000;
    });
    // Half of the 56 s that the boot took, less the 4 s that are over.
    assert_eq!(lease_needed(&no_lease.observations.first, false), Some(Duration::from_secs(24)));
    assert_eq!(needed(no_lease), None);
    assert_eq!(lease_needed(&guest().observations.first, false), None);
    // A look that took longer than that: nothing is left, but nobody has waited for it yet.
    let no_route = guest().facts(|facts| {
        facts.network.default_routes.clear();
        facts.manager.finish_us = NOW - 40_000_000;
    });
    assert_eq!(lease_needed(&no_route.observations.first, false), Some(Duration::ZERO));
    // A sandbox that offers no router.
    assert_eq!(lease_needed(&no_route.observations.first, true), None);
}

// --- anything at all ---

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(vec![
            "a.service", "b.service", "c.mount", "multi-user.target", "emergency.target", "local-fs.target",
            "active", "inactive", "failed", "activating", "loaded", "masked", "not-found", "bad-setting",
            "auto-restart", "running", "dead", "success", "exit-code", "oom-kill", "dev-sda.device", "logrotate.timer",
            "nftables.service", "systemd-tmpfiles-setup.service", "NetworkManager-wait-online.service", "",
        ]).prop_map(str::to_owned),
        1 => ".{0,12}",
    ]
}

fn words() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(word(), 0..3)
}

fn unit() -> impl Strategy<Value = Unit> {
    let service = prop::option::of((word(), any::<u32>(), -1..5i32, any::<i32>(), word()).prop_map(
        |(kind, restarts, exit_kind, exit_status, exec_start)| Service {
            kind,
            restarts,
            exit_kind,
            exit_status,
            exec_start,
            ..Service::default()
        },
    ));
    let times = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<bool>());
    let lists = (words(), words(), words(), words());
    ((word(), word(), word(), word(), word()), times, lists, service).prop_map(
        |((name, load_state, active_state, sub_state, result), times, lists, service)| Unit {
            name,
            load_state,
            active_state,
            sub_state,
            result,
            active_enter_us: times.0,
            active_exit_us: times.1,
            inactive_enter_us: times.2,
            state_change_us: times.3,
            condition_us: times.4,
            condition_result: times.5,
            failed_conditions: lists.0,
            triggered_by: lists.1,
            wanted_by: lists.2,
            broken_requirements: lists.3,
            service,
            ..Unit::default()
        },
    )
}

fn facts() -> impl Strategy<Value = Facts> {
    let journal =
        (word(), ".{0,60}", any::<u8>(), word(), 0..3u32).prop_map(|(unit, message, priority, identifier, pid)| {
            JournalLine { unit, message, priority, identifier, pid, ..JournalLine::default() }
        });
    let job = (word(), word(), prop::option::of(any::<u64>())).prop_map(|(unit, state, seconds)| Job {
        unit,
        state,
        seconds,
        kind: "start".into(),
    });
    let gaps = prop::collection::btree_map(
        prop::sample::select(vec!["units", "journal", "network", "accounts", "listeners"]).prop_map(str::to_owned),
        word(),
        0..2,
    );
    (
        prop::collection::vec(unit(), 0..8),
        prop::collection::vec(journal, 0..8),
        prop::collection::vec(job, 0..3),
        (any::<u64>(), any::<u64>(), prop::option::of(any::<u64>())),
        gaps,
        word(),
    )
        .prop_map(|(units, journal, jobs, (now_us, finish_us, taint), gaps, default_target)| Facts {
            units,
            journal,
            jobs,
            now_us,
            taint,
            gaps,
            manager: Manager { default_target, finish_us, ..Manager::default() },
            ..Facts::default()
        })
}

proptest! {
    #[test]
    fn judging_never_panics(first in facts(), later in prop::option::of(facts()), console in words(), known in any::<bool>()) {
        let mut guest = guest().toml("timers = [\"logrotate\"]\nunits = [\"a\"]\n[checks]\nboot-time = \"1s\"");
        guest.expectations.known = known;
        guest.expectations.firewall = Some(known);
        guest.observations = Observations { first: first.clone(), later, console: console.clone(), desktop: None, lingering: Vec::new(), sound: None };
        let judgement = guest.judge();
        assert_harmless(&judgement);
        let _outcome = verdict(&judgement.results);
        let plan = plan(&guest.expectations, &Settings::default(), &Selection::default());
        let _wait = settle_needed(&plan, &first, Duration::MAX);
        let evidence = BootFailure {
            end: if known { End::Deadline } else { End::Reset },
            console_tail: console,
            status: None,
            facts: Some(first),
            seconds: 60.0,
            accelerator: Accel::Tcg,
            delay: RunDelay::default(),
        };
        assert_harmless(&judge_boot_failure(&plan, &evidence));
    }
}
