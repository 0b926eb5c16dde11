use super::*;

#[test]
fn data_of_another_user_are_a_failure() {
    let accounts = |accounts: Vec<Account>| move |record: &mut Record| record.facts.accounts = accounts;
    let reused = || accounts(vec![account("root", 0), account("news", 390)]);
    let (status, said) = Case::new().switched(reused()).told(CheckId::ResidueOwnership, SWITCHED);
    assert_eq!(status, Status::Fail);
    assert!(
        said.starts_with("/var/lib/mail belongs to news since the switch: its id 390 was mail's before\n"),
        "{said}"
    );
    let moved = || accounts(vec![account("root", 0), account("mail", 391)]);
    let (status, said) = Case::new().switched(moved()).told(CheckId::ResidueOwnership, SWITCHED);
    assert!(
        status == Status::Fail
            && said.contains("mail has the id 391 since the switch, and /var/lib/mail is still owned by 390"),
        "{said}"
    );
    // A home is somebody's data too.
    let home = |record: &mut Record| record.state.owners.insert("/home/carol".to_owned(), owner(1001, 0o700));
    let dave = accounts(vec![account("root", 0), account("mail", 390), account("dave", 1001)]);
    let (status, said) =
        Case::new().before(home).switched(home).switched(dave).told(CheckId::ResidueOwnership, SWITCHED);
    assert!(status == Status::Fail && said.contains("/home/carol belongs to dave since the switch"), "{said}");
    // By a group's id as well, where the group may do something.
    for (permissions, expected) in [(0o770, Status::Fail), (0o700, Status::Pass)] {
        let own = |record: &mut Record| record.state.owners.insert("/var/lib/mail".to_owned(), owner(390, permissions));
        let groups = |record: &mut Record| record.facts.groups = [("backup".to_owned(), group(390))].into();
        let case = Case::new().before(own).switched(own).switched(groups);
        let (status, said) = case.told(CheckId::ResidueOwnership, SWITCHED);
        assert_eq!(status, expected, "{said}");
        let words = "the group backup may use /var/lib/mail since the switch: its id 390 was the group mail's before";
        assert_eq!(said.contains(words), expected == Status::Fail, "{said}");
    }
    // So it is where it stays so after switching back.
    let case = Case::new().back(reused());
    assert_eq!(case.told(CheckId::ResidueOwnership, SWITCHED).0, Status::Pass);
    let (status, said) = case.told(CheckId::ResidueOwnership, MachinePhase::Back);
    assert!(status == Status::Fail && said.contains("/var/lib/mail belongs to news after switching back"), "{said}");
    // Who is gone leaves data of nobody's, which is no harm.
    let removed = Case::new().switched(accounts(vec![account("root", 0)]));
    assert_eq!(removed.told(CheckId::ResidueOwnership, SWITCHED).0, Status::Pass);
}

#[test]
fn data_that_a_service_can_no_longer_read_are_a_failure() {
    let other = Owner { uid: 0, gid: 0, mode: 0o040_700 };
    let own = |owner: Owner| move |record: &mut Record| record.state.owners.insert("/var/lib/mail".to_owned(), owner);
    for (time, words) in [(1, "since the switch"), (2, "after switching back")] {
        let case = Case::new().at(time, own(other));
        let phase = if time == 1 { SWITCHED } else { MachinePhase::Back };
        let (status, said) = case.told(CheckId::ResidueOwnership, phase);
        let expected = format!(
            "mail.service (User=mail) cannot read /var/lib/mail {words}: it is of 0, group 0, mode 0700, and was of mail \
             (390), group mail (390), mode 0700 before\n"
        );
        assert_eq!((status, said.replace("of root (0)", "of 0")), (Status::Fail, expected));
    }
    let judged = |case: Case| case.told(CheckId::ResidueOwnership, SWITCHED);
    // A file may be handed on by root.
    let of_root = file_of(Owner { uid: 0, gid: 0, mode: 0o600 });
    assert_eq!(
        judged(Case::new().switched(|record| record.state.owners.insert("/var/lib/mail/letters".to_owned(), of_root)))
            .0,
        Status::Pass
    );
    // A directory takes both to be read.
    assert_eq!(judged(Case::new().switched(own(owner(390, 0o600)))).0, Status::Fail);
    assert_eq!(judged(Case::new().switched(own(Owner { mode: 0o040_750, ..other }))).0, Status::Fail);
    // By its group, by everybody's right; or the service runs as somebody else, who may.
    let by_group = Owner { uid: 0, gid: 390, mode: 0o040_750 };
    assert_eq!(judged(Case::new().switched(own(by_group))).0, Status::Pass);
    assert_eq!(judged(Case::new().switched(own(Owner { mode: 0o040_755, ..other }))).0, Status::Pass);
    let of_root = UnitFile::parse("[Service]\nStateDirectory=mail\n");
    let as_root = Case::new()
        .switched(own(other))
        .units(1, |units| units.system.files.insert("mail.service".to_owned(), of_root));
    assert_eq!(judged(as_root).0, Status::Pass);
    let capable = UnitFile::parse("[Service]\nUser=mail\nAmbientCapabilities=CAP_CHOWN CAP_DAC_READ_SEARCH\n");
    let capable = Case::new()
        .switched(own(other))
        .units(1, |units| units.system.files.insert("mail.service".to_owned(), capable));
    assert_eq!(judged(capable).0, Status::Pass);
    // What it owned counts, though its unit names no directory.
    let nameless = || UnitFile::parse("[Service]\nUser=mail\n");
    let nameless = Case::new()
        .units(0, |units| units.system.files.insert("mail.service".to_owned(), nameless()))
        .units(1, |units| units.system.files.insert("mail.service".to_owned(), nameless()));
    assert_eq!(judged(nameless.switched(own(other))).0, Status::Fail);
    // Another user now, and the data are not theirs.
    let as_news = UnitFile::parse("[Service]\nUser=news\nStateDirectory=mail\n");
    let case = Case::new()
        .switched(|record| record.facts.accounts.push(account("news", 391)))
        .units(1, |units| units.system.files.insert("mail.service".to_owned(), as_news));
    let (status, said) = judged(case);
    assert!(status == Status::Fail && said.contains("mail.service (User=news) cannot read /var/lib/mail"), "{said}");
    // Users that are made for their service have other ids each time.
    let dynamic = Owner { uid: 62_000, gid: 62_000, mode: 0o040_700 };
    assert_eq!(judged(Case::new().switched(own(dynamic))).0, Status::Pass);
}
