use super::*;
use crate::guest::facts::{Account, Facts, Listener};
use crate::model::Protocol;
use crate::switch::record::MachineState;

fn unit(name: &str) -> Unit {
    Unit { name: name.to_owned(), active_state: ActiveState::Active, ..Unit::default() }
}

fn account(name: &str, uid: u32) -> Account {
    Account { name: name.to_owned(), uid, password: Password::Set, ..Account::default() }
}

fn healthy() -> Record {
    let mut record = Record::default();
    record.facts.units = vec![unit("sshd.service"), unit("user@1000.service")];
    record.facts.accounts = vec![account("root", 0), account("mail", 390)];
    record.facts.network.links = vec!["ens3".to_owned()];
    record.state.owners = [("/var/lib/mail".to_owned(), (390, 390))].into();
    record.state.sysctl = [("vm.swappiness".to_owned(), "60".to_owned())].into();
    record
}

fn judged(before: &Record, switched: &Record, back: &Record) -> Vec<CheckResult> {
    judge(&Records { before, switched, back: Some(back) })
}

fn told(results: &[CheckResult], id: CheckId) -> (Status, String) {
    let result = results.iter().find(|result| result.id == id).unwrap();
    (result.status, result.summary.clone())
}

#[test]
fn a_machine_as_before_has_no_residue() {
    let record = healthy();
    let results = judged(&record, &record, &record);
    assert_eq!(results.len(), 10);
    assert!(results.iter().all(|result| result.status == Status::Pass), "{results:#?}");
    assert!(results.iter().all(|result| result.phase.is_some()));
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
}

#[test]
fn what_stays_is_told_with_who_left_it() {
    let before = healthy();
    let (mut switched, mut back) = (healthy(), healthy());
    switched.facts.units.push(unit("lab.service"));
    back.facts.network.links.extend(["br-lab".to_owned(), "veth1a2b".to_owned()]);
    back.facts.listeners =
        vec![Listener { protocol: Protocol::Tcp, port: 8080, process: "labd".to_owned(), ..Listener::default() }];
    back.facts.units.push(unit("agent.service"));
    back.state.sysctl.insert("vm.swappiness".to_owned(), "7".to_owned());
    back.state.rules.insert("table ip nat-lab chain post: masquerade".to_owned());
    back.state.lingering.insert("carol".to_owned());
    back.state.mounts.insert("/data".to_owned(), "tmpfs (tmpfs)".to_owned());
    let results = judged(&before, &switched, &back);
    let expected = [
        (CheckId::ResidueNetwork, "the network device br-lab stays after the way back; likely left by lab.service"),
        (CheckId::ResidueSockets, "labd listens on 8080/tcp after the way back"),
        (CheckId::ResidueUnits, "agent.service is active after the way back, and was not before"),
        (CheckId::ResidueKernel, "vm.swappiness is 7 after the way back, and was 60 before"),
        (CheckId::ResidueFirewall, "in table ip nat-lab chain post: masquerade; likely left by lab.service"),
        (CheckId::ResidueFiles, "/var/lib/systemd/linger/carol stays"),
        (CheckId::ResidueMounts, "tmpfs (tmpfs) stays mounted at /data"),
    ];
    for (id, words) in expected {
        let (status, summary) = told(&results, id);
        assert!(status == Status::Warn && summary.contains(words), "{id}: {summary}");
    }
}

#[test]
fn data_of_another_user_is_a_failure() {
    let before = healthy();
    let mut reused = healthy();
    reused.facts.accounts = vec![account("root", 0), account("news", 390)];
    let (status, summary) = told(&judged(&before, &reused, &before), CheckId::ResidueOwnership);
    assert_eq!(status, Status::Fail);
    assert_eq!(summary, "/var/lib/mail belongs to news since the switch: its id 390 was mail's before");
    let mut moved = healthy();
    moved.facts.accounts = vec![account("root", 0), account("mail", 391)];
    let (status, summary) = told(&judged(&before, &moved, &before), CheckId::ResidueOwnership);
    assert_eq!(status, Status::Fail);
    assert!(
        summary.contains("mail has the id 391 since the switch, and /var/lib/mail is still owned by 390"),
        "{summary}"
    );
    // Who is gone leaves data of nobody's, which is no harm.
    let mut removed = healthy();
    removed.facts.accounts = vec![account("root", 0)];
    assert_eq!(told(&judged(&before, &removed, &before), CheckId::ResidueOwnership).0, Status::Pass);
}

#[test]
fn accounts_that_come_back_locked_are_told() {
    let before = healthy();
    let mut back = healthy();
    back.facts.accounts[1].password = Password::Locked;
    let (status, summary) = told(&judged(&before, &before, &back), CheckId::ResidueUsers);
    assert!(status == Status::Warn && summary.contains("the password of mail is gone"), "{summary}");
}

#[test]
fn without_a_record_nothing_passes() {
    let record = Record { facts: Facts::default(), state: MachineState::default() };
    let results = judge(&Records { before: &record, switched: &record, back: None });
    assert_eq!(results.iter().filter(|result| result.status == Status::Skip).count(), AFTER.len());
    assert!(unrecorded(false).iter().all(|result| result.status == Status::Skip && result.phase.is_some()));
    assert!(unrecorded(true).iter().all(|result| result.status == Status::Unknown));
    assert_eq!(unrecorded(true).len(), results.len());
}
