use super::*;

fn stale(case: &Case) -> (Status, String) {
    case.told(CheckId::SwitchStale, SWITCHED)
}

#[test]
fn a_service_that_runs_what_its_unit_no_longer_says() {
    let with = |before: Unit, after: Unit| {
        let started = |record: &mut Record| record.state.processes.insert(7, process(100, None));
        Case::new()
            .before(|record| record.facts.units.push(before))
            .switched(|record| record.facts.units.push(after))
            .before(started)
            .switched(started)
    };
    let old = || service("app.service", 7, "/nix/store/old/bin/app");
    let new = || service("app.service", 7, "/nix/store/new/bin/app");
    assert_eq!(stale(&with(old(), old())).0, Status::Pass);
    let (status, said) = stale(&with(old(), new()));
    assert!(status == Status::Warn && said.contains("app.service still runs what it ran before the switch"), "{said}");
    assert!(said.contains("/nix/store/old/bin/x"), "{said}");
    assert_eq!(stale(&with(old(), service("app.service", 8, "/nix/store/new/bin/app"))).0, Status::Pass, "restarted");
    let reused = with(old(), new()).switched(|record| record.state.processes.insert(7, process(900, None)));
    assert_eq!(stale(&reused).0, Status::Pass, "its number was given again");
    let untimed = with(old(), new()).switched(|record| record.state.processes.clear());
    assert_eq!(stale(&untimed).0, Status::Warn, "its time is not known");
    let gone = Unit { load_state: LoadState::NotFound, ..service("app.service", 7, "") };
    let (status, said) = stale(&with(old(), gone));
    assert!(status == Status::Warn && said.contains("though the configuration no longer has such a unit"), "{said}");
    // Its environment is another one; so it is for whoever is restarted at the next boot only, or reloaded.
    let set = |name: &str, text: &str, which: usize, case: Case| {
        case.units(which, |units| units.system.files.insert(name.to_owned(), UnitFile::parse(text)))
    };
    let environment = |name: &str, more: &str| {
        let unit = service(name, 7, "x");
        let case = set(name, &format!("[Service]\nExecStart=x\n{more}"), 0, with(unit.clone(), unit));
        stale(&set(name, &format!("[Service]\nExecStart=x\nEnvironment=A=b\n{more}"), 1, case))
    };
    let (status, said) = environment("app.service", "");
    assert!(status == Status::Warn && said.contains("app.service runs on as it was before the switch"), "{said}");
    assert_eq!(environment("app.service", "X-ReloadIfChanged=true\n").0, Status::Pass);
    assert_eq!(environment("greetd.service", "").0, Status::Pass);
    let by_design = |exec_start| service("systemd-hostnamed.service", 7, exec_start);
    assert_eq!(stale(&with(by_design("a"), by_design("b"))).0, Status::Pass);
}

#[test]
fn a_users_service_that_nobody_is_logged_in_for() {
    let sync = |exec_start: &str| UnitFile::parse(&format!("[Service]\nExecStart={exec_start}\n"));
    let runs = |pid, started| {
        move |record: &mut Record| {
            record.state.processes.insert(pid, process(started, Some("sync.service")));
            // What it has started since.
            record.state.processes.insert(pid + 100, process(started + 50, Some("sync.service")));
        }
    };
    let with = |old: Option<&str>, new: Option<&str>| {
        let mut case = Case::new().before(runs(7, 100)).switched(runs(7, 100));
        for (units, exec_start) in case.records.units.iter_mut().zip([old, new]) {
            units.user.files.extend(exec_start.map(|exec_start| ("sync.service".to_owned(), sync(exec_start))));
        }
        case
    };
    assert_eq!(stale(&with(Some("a"), Some("a"))).0, Status::Pass);
    let (status, said) = stale(&with(Some("a"), Some("b")));
    assert!(status == Status::Warn && said.contains("sync.service of carol still runs what it ran before"), "{said}");
    let (status, said) = stale(&with(Some("a"), Some("a\nEnvironment=A=b")));
    assert!(status == Status::Warn && said.contains("sync.service of carol runs on as it was"), "{said}");
    let (status, said) = stale(&with(Some("a"), None));
    assert!(status == Status::Warn && said.contains("sync.service of carol runs on after the switch"), "{said}");
    assert_eq!(stale(&with(None, None)).0, Status::Pass, "a unit of the user's own");
    let restarted = with(Some("a"), Some("b")).switched(|record| {
        record.state.processes.clear();
        runs(9, 500)(record);
    });
    assert_eq!(stale(&restarted).0, Status::Pass);
    let ended = with(Some("a"), None).switched(|record| record.state.processes.clear());
    assert_eq!(stale(&ended).0, Status::Pass);
}
