//! A healthy guest to break bit by bit, and what must be said of it: each rule breaks on facts made for it, each trap
//! passes.

use crate::checks::{Observations, judge};
use crate::config::{Config, Settings};
use crate::guest::facts::{Account, Facts, Group, JournalLine, Listener, Manager, Network, Password, Service, Unit};
use crate::guest::unit_files::UnitFiles;
use crate::judging::{Context, Judgement, Selection, plan};
use crate::model::{Accel, CheckId, CheckResult, Protocol, Status};
use crate::nix::expectations::{Expectations, ExpectedUnit, ExpectedUser, ServicePort};

/// A guest, changed bit by bit, and what is said of it.
pub(crate) struct Guest {
    pub(crate) expectations: Expectations,
    pub(crate) toml: String,
    pub(crate) skip: Vec<CheckId>,
    pub(crate) observations: Observations,
    pub(crate) context: Context,
}

pub(crate) const NOW: u64 = 60_000_000;

/// A unit that has been active for long.
pub(crate) fn active(name: &str) -> Unit {
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

pub(crate) fn inactive(name: &str) -> Unit {
    Unit { active_state: "inactive".into(), sub_state: "dead".into(), active_enter_us: 0, ..active(name) }
}

pub(crate) fn failed(name: &str, code: i32) -> Unit {
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

pub(crate) fn line(unit: &str, message: &str) -> JournalLine {
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

pub(crate) fn by_manager(unit: &str, message: &str) -> JournalLine {
    JournalLine { identifier: "systemd".into(), pid: 1, transport: "journal".into(), ..line(unit, message) }
}

pub(crate) fn by_kernel(message: &str) -> JournalLine {
    JournalLine { identifier: "kernel".into(), pid: 0, transport: "kernel".into(), ..line("", message) }
}

pub(crate) fn skipped(name: &str, condition: &str) -> Unit {
    Unit {
        condition_us: 9_000_000,
        condition_result: false,
        failed_conditions: vec![condition.into()],
        ..inactive(name)
    }
}

pub(crate) fn expected_unit(wanted_by: &str) -> ExpectedUnit {
    ExpectedUnit { enable: true, wanted_by: vec![wanted_by.into()], ..ExpectedUnit::default() }
}

/// A healthy machine.
pub(crate) fn guest() -> Guest {
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
            protocol: Protocol::Tcp,
            address: "0.0.0.0".into(),
            port: 22,
            process: "sshd".into(),
        }],
        network: Network {
            configuring: Vec::new(),
            links: vec!["eth0".into()],
            addresses: [("eth0".to_owned(), vec!["10.0.2.15/24".to_owned()])].into(),
            default_routes: vec!["10.0.2.2".into()],
            routes: Vec::new(),
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
        unit_files: Some(UnitFiles::default()),
        ..Facts::default()
    };
    let expectations = Expectations {
        known: true,
        host_name: Some("box".into()),
        units: [("sshd.service".to_owned(), expected_unit("multi-user.target"))].into(),
        firewall: Some(false),
        service_ports: vec![ServicePort { option: "services.openssh".into(), protocol: Protocol::Tcp, port: 22 }],
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
    pub(crate) fn facts(mut self, change: impl FnOnce(&mut Facts)) -> Self {
        change(&mut self.observations.first);
        self
    }

    /// A second observation, `change`d from the first, 5 s later.
    pub(crate) fn later(mut self, change: impl FnOnce(&mut Facts)) -> Self {
        let mut facts = self.observations.first.clone();
        facts.now_us += 5_000_000;
        change(&mut facts);
        self.observations.later = Some(facts);
        self
    }

    pub(crate) fn expecting(mut self, change: impl FnOnce(&mut Expectations)) -> Self {
        change(&mut self.expectations);
        self
    }

    /// Replaces a unit, or adds it.
    pub(crate) fn unit(self, unit: Unit) -> Self {
        self.facts(|facts| {
            facts.units.retain(|known| known.name != unit.name);
            facts.units.push(unit);
        })
    }

    /// A unit that the configuration expects.
    pub(crate) fn expected(self, unit: Unit) -> Self {
        let name = unit.name.clone();
        self.unit(unit).expecting(|expectations| {
            expectations.units.insert(name, expected_unit("multi-user.target"));
        })
    }

    pub(crate) fn journal(self, line: JournalLine) -> Self {
        self.facts(|facts| facts.journal.push(line))
    }

    pub(crate) fn toml(mut self, text: &str) -> Self {
        self.toml.push_str(text);
        self.toml.push('\n');
        self
    }

    pub(crate) fn console(mut self, text: &str) -> Self {
        self.observations.console.extend(text.lines().map(str::to_owned));
        self
    }

    pub(crate) fn context(mut self, change: impl FnOnce(&mut Context)) -> Self {
        change(&mut self.context);
        self
    }

    pub(crate) fn skipping(mut self, id: CheckId) -> Self {
        self.skip.push(id);
        self
    }

    pub(crate) fn judge(&self) -> Judgement {
        let mut settings: Settings = Config::parse(&self.toml, "nixbox.toml").unwrap().settings_for("box");
        settings.machine.network = Some(self.context.network);
        let scripts = settings.scripts.keys().map(String::as_str);
        let selection = Selection::new(&[], &[], scripts).unwrap().without(self.skip.iter().copied());
        judge(&plan(&self.expectations, &settings, &selection), &self.observations, &self.context)
    }

    #[track_caller]
    pub(crate) fn expect(&self, fails: &[(CheckId, &str)], excluded: &[&str]) -> Judgement {
        let judgement = self.judge();
        let mut found: Vec<_> = judgement.results.iter().filter(|result| result.is_failure()).collect();
        found.sort_by_key(|result| result.id.row().rank);
        let reported: Vec<_> = found.iter().map(|result| (&result.id, &result.summary)).collect();
        assert_eq!(found.len(), fails.len(), "{reported:#?}");
        for (result, (id, words)) in found.iter().zip(fails) {
            assert_eq!(result.id, *id, "{reported:#?}");
            assert!(result.summary.contains(words), "{:?} in {:?}", words, result.summary);
        }
        for what in excluded {
            let found =
                judgement.not_tested.iter().any(|entry| format!("{}: {}", entry.what, entry.why).contains(what));
            assert!(found, "{what:?} in {:#?}", judgement.not_tested);
        }
        if excluded.is_empty() {
            assert!(judgement.not_tested.is_empty(), "{:#?}", judgement.not_tested);
        }
        judgement
    }

    /// One failure, with these words in its line.
    #[track_caller]
    pub(crate) fn breaks(&self, id: CheckId, words: &str) -> Judgement {
        self.expect(&[(id, words)], &[])
    }

    #[track_caller]
    pub(crate) fn passes(&self) -> Judgement {
        self.expect(&[], &[])
    }

    /// Passes, and this is excluded.
    #[track_caller]
    pub(crate) fn excludes(&self, words: &str) -> Judgement {
        self.expect(&[], &[words])
    }
}

pub(crate) fn result(judgement: &Judgement, id: CheckId) -> &CheckResult {
    judgement.results.iter().find(|result| result.id == id).unwrap()
}

pub(crate) fn status(judgement: &Judgement, id: CheckId) -> Status {
    result(judgement, id).status
}

/// A host that kept the machine waiting for so many per cent of the time, up to the boot's end and since.
pub(crate) fn waiting(before: u8, since: u8) -> impl FnOnce(&mut Context) {
    move |context| context.delay.slices = [vec![before; 2], vec![since; 20]].concat()
}

pub(crate) fn timed_out(name: &str) -> Unit {
    Unit { result: "timeout".into(), condition_us: 12_000_000, state_change_us: 50_000_000, ..failed(name, 0) }
}
