use std::collections::BTreeMap;

use super::files::PASSING;
use super::*;
use crate::diff::unit_file::UnitFile;
use crate::guest::facts::{Account, Group, Listener, Password, Service};
use crate::model::{LoadState, Protocol, ServiceType};
use crate::switch::observation::{SwitchEnd, SwitchRun, UnitJob};
use crate::switch::record::{Owner, Process};

mod ownership;
mod passing;
mod stale;

const SWITCHED: MachinePhase = MachinePhase::Switched;

fn unit(name: &str) -> Unit {
    Unit { name: name.to_owned(), active_state: ActiveState::Active, ..Unit::default() }
}

fn service(name: &str, pid: u32, exec_start: &str) -> Unit {
    let service = Service { main_pid: pid, exec_start: exec_start.to_owned(), ..Service::default() };
    Unit { service: Some(service), ..unit(name) }
}

fn account(name: &str, id: u32) -> Account {
    Account { name: name.to_owned(), uid: id, gid: id, password: Password::Set, ..Account::default() }
}

fn group(gid: u32) -> Group {
    Group { gid, members: Vec::new() }
}

fn listener(port: u16, process: &str, address: &str) -> Listener {
    Listener { protocol: Protocol::Tcp, port, process: process.to_owned(), address: address.to_owned() }
}

/// A directory.
fn owner(uid: u32, permissions: u32) -> Owner {
    Owner { uid, gid: uid, mode: 0o040_000 | permissions }
}

fn file_of(owner: Owner) -> Owner {
    Owner { mode: 0o100_000 | owner.permissions(), ..owner }
}

fn process(started: u64, group: Option<&str>) -> Process {
    let group = group.map(|unit| (1001, format!("/user.slice/user-1001.slice/user@1001.service/app.slice/{unit}")));
    Process { started, executable: "/nix/store/old/bin/x".to_owned(), group }
}

fn healthy() -> Record {
    let mut record = Record::default();
    record.facts.units = vec![unit("sshd.service"), unit("user@1000.service")];
    record.facts.accounts = vec![account("root", 0), account("mail", 390), account("carol", 1001)];
    record.facts.groups = [("mail".to_owned(), group(390))].into();
    record.facts.listeners = vec![listener(22, "sshd", "0.0.0.0"), listener(25, "mailer", "127.0.0.1")];
    record.facts.network.links = vec!["ens3".to_owned()];
    record.facts.network.addresses = [("ens3".to_owned(), vec!["10.0.2.15/24".to_owned()])].into();
    record.facts.network.default_routes = vec!["10.0.2.2".to_owned()];
    record.facts.network.routes = vec!["198.51.100.0/24 by 10.0.2.2".to_owned()];
    record.facts.network.nameservers = vec!["10.0.2.3".to_owned()];
    record.state.owners = [
        ("/var/lib/mail".to_owned(), owner(390, 0o700)),
        ("/var/lib/mail/letters".to_owned(), file_of(owner(390, 0o600))),
        ("/run/wrappers/bin/sudo".to_owned(), Owner { uid: 0, gid: 0, mode: 0o104_511 }),
    ]
    .into();
    record.state.sysctl =
        [("vm.swappiness".to_owned(), "60".to_owned()), ("vm.dirty_ratio".to_owned(), "20".to_owned())].into();
    record.state.mounts = [("/data".to_owned(), "tmpfs (tmpfs)".to_owned())].into();
    record.state.entries = ["/etc/machine-id".to_owned()].into();
    record.state.firewall.told_by = ["nft".to_owned()].into();
    record.state.firewall.rules = ["table inet nixos-fw chain input: tcp dport 22 accept".to_owned()].into();
    record
}

/// What a rehearsal has recorded, and what there is to judge it by.
struct Case {
    records: Records,
    rehearsal: Rehearsal,
}

impl Case {
    /// A machine that is the same each time.
    fn new() -> Self {
        Self::of(healthy(), healthy(), healthy())
    }

    fn of(before: Record, switched: Record, back: Record) -> Self {
        let taken = [before, switched, back].map(|record| Some(Ok(record)));
        let units = UnitFile::parse("[Service]\nUser=mail\nStateDirectory=mail\n");
        let mut set = Units::default();
        set.system.files.insert("mail.service".to_owned(), units);
        Self { records: Records { taken, units: [set.clone(), set] }, rehearsal: Rehearsal::default() }
    }

    fn at<T>(mut self, time: usize, change: impl FnOnce(&mut Record) -> T) -> Self {
        if let Some(Ok(record)) = &mut self.records.taken[time] {
            change(record);
        }
        self
    }

    fn before<T>(self, change: impl FnOnce(&mut Record) -> T) -> Self {
        self.at(0, change)
    }

    fn switched<T>(self, change: impl FnOnce(&mut Record) -> T) -> Self {
        self.at(1, change)
    }

    fn back<T>(self, change: impl FnOnce(&mut Record) -> T) -> Self {
        self.at(2, change)
    }

    /// The units of what is switched from, 0, and of the target, 1.
    fn units<T>(mut self, which: usize, change: impl FnOnce(&mut Units) -> T) -> Self {
        change(&mut self.records.units[which]);
        self
    }

    /// PID 1 did this to a unit.
    fn job(mut self, unit: &str, job: &str) -> Self {
        let mut run = SwitchRun::without(MachinePhase::Switched, "/nix/store/x", SwitchEnd::Exited(0));
        run.jobs = vec![UnitJob { unit: unit.to_owned(), job: job.to_owned(), result: "done".to_owned() }];
        self.rehearsal.runs.push(run);
        self
    }

    fn judged(&self) -> Vec<CheckResult> {
        judge(&self.records, &self.rehearsal, true)
    }

    /// All that is said by a check, in this phase.
    fn told(&self, id: CheckId, phase: MachinePhase) -> (Status, String) {
        let results = self.judged();
        let result = results.iter().find(|result| result.id == id && result.phase == Some(phase)).expect("judged");
        (result.status, format!("{}\n{}", result.summary, result.detail.join("\n")))
    }

    /// Asserts that a check warns of this, after switching back.
    #[track_caller]
    fn warns(&self, id: CheckId, words: &str) {
        let (status, said) = self.told(id, MachinePhase::Back);
        assert!(status == Status::Warn && said.contains(words), "{id}: {status:?} {said}");
    }

    #[track_caller]
    fn passes(&self) {
        let results = self.judged();
        let wrong: Vec<_> = results.iter().filter(|result| result.status != Status::Pass).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

#[test]
fn a_machine_as_before_has_no_residue() {
    let case = Case::new();
    case.passes();
    let results = case.judged();
    assert_eq!(results.len(), 11);
    assert!(results.iter().all(|result| result.phase.is_some()));
    let text = serde_json::to_string(&healthy()).unwrap();
    assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), healthy());
}

#[test]
fn what_stays_is_told_with_who_left_it() {
    let docker = |record: &mut Record| record.facts.groups.insert("docker".to_owned(), group(131));
    let case =
        Case::new().before(docker).switched(|record| record.facts.units.push(unit("lab.service"))).back(|record| {
            let Record { facts, state, .. } = record;
            facts.network.links.extend(["br-lab".to_owned(), "veth1a2b".to_owned()]);
            facts.network.addresses.get_mut("ens3").unwrap().push("192.0.2.1/24".to_owned());
            facts.network.routes.push("192.0.2.0/24 by 10.0.2.9".to_owned());
            facts.network.routes.push("203.0.113.0/24 by br-lab".to_owned());
            facts.network.nameservers.push("192.0.2.53".to_owned());
            facts.listeners.push(listener(8080, "labd", "::"));
            facts.listeners.push(listener(40_000, "mailer", "::"));
            facts.units.push(unit("agent.service"));
            facts.accounts.push(account("lab", 400));
            facts.groups.insert("mail".to_owned(), group(391));
            facts.groups.insert("docker".to_owned(), Group { gid: 131, members: vec!["carol".to_owned()] });
            state.sysctl.insert("vm.swappiness".to_owned(), "7".to_owned());
            state.firewall.rules.insert("table ip nat-lab chain post: masquerade".to_owned());
            state.lingering.insert("carol".to_owned());
            state.mounts.insert("/srv".to_owned(), "tmpfs (tmpfs)".to_owned());
            state.entries.insert("/etc/lab.key".to_owned());
            state.owners.insert("/var/lib/lab".to_owned(), owner(400, 0o755));
            state.owners.insert("/var/lib/lab/data".to_owned(), owner(400, 0o755));
            state.owners.insert("/run/wrappers/bin/lab".to_owned(), owner(0, 0o4511));
        });
    let expected = [
        (
            CheckId::ResidueNetwork,
            "the network device br-lab is still there after switching back; probably left by lab.service",
        ),
        (CheckId::ResidueNetwork, "the address 192.0.2.1/24 is still on ens3"),
        (CheckId::ResidueNetwork, "the route 192.0.2.0/24 by 10.0.2.9 is still there"),
        (CheckId::ResidueNetwork, "the nameserver 192.0.2.53 is in /etc/resolv.conf after"),
        (CheckId::ResidueSockets, "labd still listens on 8080/tcp after switching back"),
        (CheckId::ResidueUnits, "agent.service is active after switching back, and was not before"),
        (CheckId::ResidueKernel, "vm.swappiness is 7 after switching back, and was 60 before"),
        (CheckId::ResidueFirewall, "in table ip nat-lab chain post: masquerade; probably left by lab.service"),
        (CheckId::ResidueFiles, "/var/lib/systemd/linger/carol is still there"),
        (CheckId::ResidueFiles, "/etc/lab.key is still there after switching back; probably left by lab.service"),
        (CheckId::ResidueFiles, "the wrapper /run/wrappers/bin/lab (0:0 4511) is still there"),
        (CheckId::ResidueMounts, "tmpfs (tmpfs) is still mounted at /srv"),
        (CheckId::ResidueUsers, "the account lab is still there"),
        (CheckId::ResidueUsers, "the group mail has the id 391 after switching back, and had 390 before"),
        (CheckId::ResidueUsers, "carol is still in the group docker after switching back"),
    ];
    for (id, words) in expected {
        case.warns(id, words);
    }
    let (_, said) = case.told(CheckId::ResidueNetwork, MachinePhase::Back);
    assert!(!said.contains("by br-lab") && !said.contains("veth"), "told with its device: {said}");
    let (_, said) = case.told(CheckId::ResidueFiles, MachinePhase::Back);
    assert!(!said.contains("/var/lib/lab/data"), "told with its directory: {said}");
}

#[test]
fn what_is_gone_is_told_too() {
    let case = Case::new().job("sshd.service", "stop").back(|record| {
        record.facts = crate::guest::facts::Facts { accounts: record.facts.accounts.clone(), ..Default::default() };
        record.facts.accounts.retain(|account| account.name != "carol");
        record.facts.network.links = vec!["ens3".to_owned()];
        record.state = crate::switch::record::MachineState {
            firewall: record.state.firewall.clone(),
            sysctl: record.state.sysctl.clone(),
            ..Default::default()
        };
        record.state.firewall.rules.clear();
    });
    let expected = [
        (
            CheckId::ResidueUnits,
            "sshd.service is no longer active after switching back: it was stopped, and nothing started it",
        ),
        (CheckId::ResidueSockets, "nothing listens on 25/tcp after switching back, where mailer did before"),
        (CheckId::ResidueNetwork, "the address 10.0.2.15/24 is gone from ens3"),
        (CheckId::ResidueNetwork, "the default route by 10.0.2.2 is gone"),
        (CheckId::ResidueNetwork, "the route 198.51.100.0/24 by 10.0.2.2 is gone"),
        (CheckId::ResidueNetwork, "the nameserver 10.0.2.3 is gone"),
        (
            CheckId::ResidueFirewall,
            "rules are gone from the firewall after switching back, in table inet nixos-fw chain input: tcp",
        ),
        (CheckId::ResidueUsers, "the account carol is gone"),
        (CheckId::ResidueUsers, "the group mail is gone"),
        (CheckId::ResidueFiles, "/var/lib/mail is gone after switching back"),
        (CheckId::ResidueFiles, "/etc/machine-id is gone"),
        (CheckId::ResidueFiles, "the wrapper /run/wrappers/bin/sudo is gone"),
        (CheckId::ResidueMounts, "tmpfs (tmpfs) is no longer mounted at /data"),
    ];
    // Of its own directory the service says what is in it.
    let case = case.units(0, |units| units.system.files.clear());
    for (id, words) in expected {
        case.warns(id, words);
    }
}

#[test]
fn what_is_another_is_told() {
    Case::new()
        .back(|record| record.facts.listeners[1] = listener(25, "relay", "127.0.0.1"))
        .warns(CheckId::ResidueSockets, "relay listens on 25/tcp after switching back, where mailer did before");
    Case::new().back(|record| record.facts.listeners[1] = listener(25, "mailer", "::")).warns(
        CheckId::ResidueSockets,
        "mailer listens on 25/tcp at all addresses after switching back, and only at 127.0.0.1",
    );
    // PID 1 has the port until its service is asked for.
    Case::new().back(|record| record.facts.listeners[1] = listener(25, "systemd", "127.0.0.1")).passes();
    Case::new().back(|record| record.state.mounts.insert("/data".to_owned(), "none (ramfs)".to_owned())).warns(
        CheckId::ResidueMounts,
        "none (ramfs) is mounted at /data after switching back, and tmpfs (tmpfs) was before",
    );
    Case::new().back(|record| record.state.owners.insert("/var/lib/mail".to_owned(), owner(390, 0o750))).warns(
        CheckId::ResidueFiles,
        "/var/lib/mail has the owner and mode 390:390 0750 after switching back, and had 390:390 0700 before",
    );
    let wrapper = Owner { uid: 0, gid: 0, mode: 0o106_511 };
    Case::new().back(|record| record.state.owners.insert("/run/wrappers/bin/sudo".to_owned(), wrapper)).warns(
        CheckId::ResidueFiles,
        "the wrapper /run/wrappers/bin/sudo is 0:0 6511 after switching back, and was 0:0 4511",
    );
}

#[test]
fn what_comes_and_goes_by_itself_is_no_residue() {
    for path in PASSING.into_iter().chain(["/run/nixbox-switch", "/run/nixbox.1"]) {
        Case::new().back(|record| record.state.entries.insert(path.to_owned())).passes();
        Case::new().before(|record| record.state.entries.insert(path.to_owned())).passes();
    }
    let is_residue = Case::new().back(|record| record.state.entries.insert("/run/app".to_owned()));
    is_residue.warns(CheckId::ResidueFiles, "/run/app is still there");
    let fuse = "/sys/fs/fuse/connections";
    for place in ["/run/user/1000", "/run/credentials/a.service", "/var/lib/docker/overlay2/x/merged", fuse] {
        let mount = |record: &mut Record| record.state.mounts.insert(place.to_owned(), "tmpfs (tmpfs)".to_owned());
        Case::new().back(mount).passes();
        Case::new().before(mount).passes();
    }
    let automount = |record: &mut Record| record.state.automounts.insert("/boot".to_owned());
    let boot = |record: &mut Record| record.state.mounts.insert("/boot".to_owned(), "/dev/vda1 (vfat)".to_owned());
    Case::new().before(automount).before(boot).back(automount).passes();
    for kept in ["/var/lib/systemd/timers", "/var/lib/nixos/uid-map", "/var/lib/private", "/var/lib/mail/new"] {
        Case::new().back(|record| record.state.owners.insert(kept.to_owned(), owner(0, 0o755))).passes();
    }
    Case::new()
        .units(0, |units| {
            units.system.files.insert("app.service".to_owned(), UnitFile::parse("[Service]\nRuntimeDirectory=app\n"))
        })
        .back(|record| record.state.entries.insert("/run/app".to_owned()))
        .passes();
    // What one of its own services does with its files, while it is back already.
    let keep = |record: &mut Record| record.state.owners.insert("/var/lib/keep".to_owned(), owner(0, 0o755));
    let file = |record: &mut Record| record.state.owners.insert("/var/lib/keep/new".to_owned(), owner(0, 0o644));
    let kept = || Case::new().before(keep).switched(keep).back(keep);
    kept().back(file).passes();
    kept().before(file).switched(file).passes();
    kept().switched(file).back(file).warns(CheckId::ResidueFiles, "/var/lib/keep/new is still there");
    kept().before(file).warns(CheckId::ResidueFiles, "/var/lib/keep/new is gone");
    // A lease's address is another one, and its answers come to a port.
    Case::new()
        .back(|record| {
            record.facts.network.addresses.insert("ens3".to_owned(), vec!["10.0.2.16/24".to_owned()]);
            record.facts.network.default_routes = vec!["10.0.2.1".to_owned()];
            record.facts.listeners.push(Listener { protocol: Protocol::Udp, port: 68, ..Listener::default() });
        })
        .passes();
}

#[test]
fn units_that_are_not_meant_to_stay_up() {
    let by_design = [
        "user@1001.service",
        "run-user-1001.mount",
        "systemd-tmpfiles-resetup.service",
        "session-2.scope",
        "dev-vda.device",
    ];
    for name in by_design {
        Case::new().back(|record| record.facts.units.push(unit(name))).passes();
        Case::new().job(name, "stop").before(|record| record.facts.units.push(unit(name))).passes();
    }
    let with = |unit: &Unit, job: &str| {
        Case::new().job(&unit.name, job).before(|record| record.facts.units.push(unit.clone()))
    };
    let app = service("app.service", 7, "app");
    with(&app, "stop").warns(CheckId::ResidueUnits, "app.service is no longer active");
    // What is meant to be up was late before the switch.
    let late = Unit {
        load_state: LoadState::Loaded,
        wanted_by: vec!["getty.target".to_owned()],
        ..unit("getty@ttyS0.service")
    };
    let case = |change: &dyn Fn(&mut Record)| {
        let comes = |record: &mut Record| record.facts.units.push(late.clone());
        Case::new().switched(comes).back(comes).back(change)
    };
    case(&|_| {}).passes();
    case(&|record| {
        record.facts.units.retain_mut(|unit| {
            unit.wanted_by.clear();
            true
        })
    })
    .warns(CheckId::ResidueUnits, "getty@ttyS0.service is active after switching back");
    case(&|record| {
        record.state.entries.insert("/run/app".to_owned());
    })
    .warns(CheckId::ResidueFiles, "/run/app is still there after switching back\n");
    // It ended by itself, was started again, or failed, which is another check's.
    with(&app, "reload").passes();
    with(&app, "stop").job("app.service", "start").passes();
    with(&app, "stop")
        .back(|record| record.facts.units.push(Unit { active_state: ActiveState::Failed, ..app.clone() }))
        .passes();
    // Somebody has to ask for it.
    let by_socket = Unit { triggered_by: vec!["app.socket".to_owned()], ..app.clone() };
    with(&by_socket, "stop").passes();
    let mut by_bus = app.clone();
    by_bus.service.as_mut().unwrap().kind = ServiceType::Dbus;
    with(&by_bus, "stop").passes();
    by_bus.wanted_by = vec!["multi-user.target".to_owned()];
    with(&by_bus, "stop").warns(CheckId::ResidueUnits, "app.service is no longer active");
}

#[test]
fn a_firewall_that_was_not_told_is_not_empty() {
    let untold = |record: &mut Record| {
        record.state.firewall = Default::default();
        record
            .state
            .firewall
            .untold
            .insert("nftables".to_owned(), "the machine has no program that lists them".to_owned());
    };
    let told = |case: Case| case.told(CheckId::ResidueFirewall, MachinePhase::Back);
    for case in [Case::new().before(untold).back(untold), Case::new().back(untold), Case::new().before(untold)] {
        let (status, said) = told(case);
        assert!(status == Status::Unknown && said.contains("nftables: the machine has no program"), "{said}");
    }
    // What is told counts, whatever else is not.
    let partly = |record: &mut Record| record.state.firewall.untold.insert("iptables".to_owned(), "x".to_owned());
    let case = Case::new().before(partly).back(partly);
    case.back(|record| record.state.firewall.rules.clear()).warns(CheckId::ResidueFirewall, "rules are gone");
    assert_eq!(told(Case::new().before(partly).back(partly)).0, Status::Unknown);
    // Without any there is nothing to tell.
    Case::new()
        .before(|record| record.state.firewall = Default::default())
        .back(|record| record.state.firewall = Default::default())
        .passes();
}

#[test]
fn what_the_kernel_keeps_is_told_together() {
    let case = Case::new().back(|record| {
        record.state.sysctl.insert("vm.swappiness".to_owned(), "7".to_owned());
        record.state.sysctl.insert("vm.dirty_ratio".to_owned(), "40".to_owned());
        record.state.modules.extend(["bridge", "llc", "stp", "veth"].map(str::to_owned));
    });
    case.warns(
        CheckId::ResidueKernel,
        "2 values below vm are different after switching back (dirty_ratio and swappiness)",
    );
    case.warns(CheckId::ResidueKernel, "vm.swappiness is 7, and was 60");
    case.warns(
        CheckId::ResidueKernel,
        "4 kernel modules are still loaded after switching back: bridge, llc and 2 more",
    );
    case.warns(CheckId::ResidueKernel, "bridge, llc, stp, veth");
    let results = case.judged();
    let kernel = results.iter().find(|result| result.id == CheckId::ResidueKernel).unwrap();
    assert_eq!(kernel.findings.len(), 2);
    Case::new()
        .back(|record| record.state.modules.insert("bridge".to_owned()))
        .warns(CheckId::ResidueKernel, "the kernel module bridge is still loaded");
    // What has been unloaded is loaded again when it is needed.
    Case::new().before(|record| record.state.modules.insert("bridge".to_owned())).passes();
}

#[test]
fn accounts_that_come_back_locked_are_told() {
    Case::new()
        .back(|record| record.facts.accounts[1].password = Password::Locked)
        .warns(CheckId::ResidueUsers, "the password of mail is gone");
}

#[test]
fn what_could_not_be_read_says_why() {
    let with = |taken: [Option<Result<Record, String>>; 3], was_switched| {
        judge(&Records { taken, ..Records::default() }, &Rehearsal::default(), was_switched)
    };
    let well = || Some(Ok(healthy()));
    let failed = || Some(Err("no answer in time".to_owned()));
    let statuses = |results: &[CheckResult]| -> BTreeMap<String, usize> {
        results.iter().fold(BTreeMap::new(), |mut counts, result| {
            assert!(result.phase.is_some());
            *counts.entry(format!("{:?}", result.status)).or_default() += 1;
            counts
        })
    };
    let no_way_back = with([well(), well(), None], true);
    assert_eq!(statuses(&no_way_back), [("Pass".to_owned(), 2), ("Skip".to_owned(), 9)].into());
    let unread_back = with([well(), well(), failed()], true);
    assert_eq!(statuses(&unread_back), [("Pass".to_owned(), 2), ("Unknown".to_owned(), 9)].into());
    assert!(unread_back[3].summary.contains("no answer in time"), "{}", unread_back[3].summary);
    for taken in [[failed(), well(), well()], [well(), failed(), well()]] {
        let results = with(taken, true);
        assert_eq!(statuses(&results), [("Unknown".to_owned(), 11)].into());
        assert!(results.iter().all(|result| result.summary.contains("no answer in time")));
    }
    assert_eq!(statuses(&with([well(), None, None], false)), [("Skip".to_owned(), 11)].into());
    // A part that the guest did not tell is not gone.
    let gaps = ["units", "listeners", "network", "accounts"];
    let gapped = Case::new().back(|record| {
        let gaps = gaps.map(|gap| (gap.to_owned(), "the guest did not tell".to_owned())).into();
        record.facts = crate::guest::facts::Facts { gaps, ..Default::default() };
    });
    for id in [CheckId::ResidueUnits, CheckId::ResidueSockets, CheckId::ResidueNetwork, CheckId::ResidueUsers] {
        let (status, said) = gapped.told(id, MachinePhase::Back);
        assert!(status == Status::Unknown && said.contains("the guest did not tell"), "{id}: {said}");
    }
}
