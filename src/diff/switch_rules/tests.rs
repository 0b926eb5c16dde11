use super::*;

fn unit(text: &str) -> UnitFile {
    UnitFile::parse(text)
}

fn set(units: &[(&str, &str)]) -> UnitSet {
    let files = units.iter().map(|(name, text)| ((*name).to_owned(), unit(text))).collect();
    UnitSet { files, ..UnitSet::default() }
}

/// Changes between two sets, all units of the old active; `stop: a; start: a b`.
fn changes(old: &[(&str, &str)], new: &[(&str, &str)]) -> String {
    let (old, new) = (set(old), set(new));
    let active = old.files.keys().filter(|name| !name.contains("@.")).cloned().collect();
    told(&unit_changes(&old, &new, &active))
}

fn told(changes: &UnitChanges) -> String {
    let UnitChanges { stop, start, restart, reload, skip, targets } = changes;
    let start: BTreeSet<String> = start.difference(targets).cloned().collect();
    let lists = [("stop", stop), ("start", &start), ("restart", restart), ("reload", reload), ("skip", skip)];
    let all = lists.iter().filter(|(_, units)| !units.is_empty());
    all.map(|(name, units)| format!("{name}: {}", units.iter().map(String::as_str).collect::<Vec<_>>().join(" ")))
        .collect::<Vec<_>>()
        .join("; ")
}

const OLD: &str = "[Unit]\nDescription=a\n[Service]\nExecStart=old\n";

fn changed(more: &str) -> String {
    format!("[Unit]\nDescription=b\n[Service]\nExecStart=new\n{more}")
}

#[test]
fn a_changed_service_is_stopped_and_started() {
    assert_eq!(changes(&[("a.service", OLD)], &[("a.service", OLD)]), "");
    assert_eq!(changes(&[("a.service", OLD)], &[("a.service", &changed(""))]), "stop: a.service; start: a.service");
    let restarts = changed("X-StopIfChanged=false\n");
    assert_eq!(changes(&[("a.service", OLD)], &[("a.service", &restarts)]), "restart: a.service");
    let reloads = changed("X-ReloadIfChanged=true\n");
    assert_eq!(changes(&[("a.service", OLD)], &[("a.service", &reloads)]), "reload: a.service");
    let stays = changed("X-RestartIfChanged=false\n");
    assert_eq!(changes(&[("a.service", OLD)], &[("a.service", &stays)]), "skip: a.service");
    for key in ["RefuseManualStop=true", "X-OnlyManualStart=true"] {
        let refuses = changed(&format!("[Unit]\n{key}\n"));
        assert_eq!(changes(&[("a.service", OLD)], &[("a.service", &refuses)]), "skip: a.service", "{key}");
    }
}

#[test]
fn a_unit_that_is_gone_is_stopped() {
    assert_eq!(changes(&[("a.service", OLD)], &[]), "stop: a.service");
    let stays = format!("{OLD}[Unit]\nX-StopOnRemoval=false\n");
    assert_eq!(changes(&[("a.service", &stays)], &[]), "");
    let (old, mut new) = (set(&[("a.service", OLD)]), UnitSet::default());
    new.masked.insert("a.service".to_owned());
    let active = BTreeSet::from(["a.service".to_owned()]);
    assert_eq!(told(&unit_changes(&old, &new, &active)), "stop: a.service");
    // What does not run is not stopped, nor is what is new started but by its target.
    assert_eq!(told(&unit_changes(&old, &new, &BTreeSet::new())), "");
    assert_eq!(changes(&[], &[("a.service", OLD)]), "");
}

#[test]
fn sockets_are_started_instead_of_their_service() {
    let socket = "[Socket]\nListenStream=1\n";
    let old = [("a.service", OLD), ("a.socket", socket)];
    let both = "stop: a.service a.socket; start: a.socket";
    assert_eq!(changes(&old, &[("a.service", &changed("")), ("a.socket", socket)]), both);
    // The socket is gone: it is stopped, and the service is started by itself.
    assert_eq!(changes(&old, &[("a.service", &changed(""))]), "stop: a.service a.socket; start: a.service");
    // The socket is new: it starts the service.
    assert_eq!(changes(&[("a.service", OLD)], &[("a.service", &changed("")), ("a.socket", socket)]), "stop: a.service");
    let by_itself = changed("X-NotSocketActivated=true\n");
    assert_eq!(
        changes(&old, &[("a.service", &by_itself), ("a.socket", socket)]),
        "stop: a.service a.socket; start: a.service a.socket"
    );
    let named = changed("Sockets=x.socket y.socket\n");
    assert_eq!(
        changes(
            &[("a.service", OLD), ("x.socket", socket), ("y.socket", socket)],
            &[("a.service", &named), ("x.socket", socket), ("y.socket", socket)]
        ),
        "stop: a.service x.socket y.socket; start: x.socket y.socket"
    );
    // A socket itself is never restarted, and is stopped with its service only.
    let other = "[Socket]\nListenStream=2\n";
    assert_eq!(changes(&[("a.socket", socket)], &[("a.socket", other)]), "skip: a.socket");
    assert_eq!(changes(&old, &[("a.service", &changed("")), ("a.socket", other)]), both);
}

#[test]
fn what_needs_a_unit_goes_with_it() {
    let of = |old: &[(&str, &str)], new: &[(&str, &str)]| {
        let (old, new) = (set(old), set(new));
        let active = old.files.keys().cloned().collect();
        told(&propagate(unit_changes(&old, &new, &active), &old, &new, &active))
    };
    let wants = |units: &str| format!("[Unit]\nWants={units}\n");
    let (both, one) = (wants("a.service b.service c.service"), wants("a.service"));
    for key in ["Requires", "Requisite", "BindsTo", "PartOf", "StopPropagatedFrom"] {
        let part = |more: &str| format!("[Unit]\n{key}=a.service\n[Service]\nExecStart=b\n{more}");
        let (b, of_b) = (part(""), format!("[Unit]\n{key}=x.target b.service\n"));
        let old = [("a.service", OLD), ("b.service", &b), ("c.service", &of_b), ("basic.target", &both)];
        let new = |a: &str, b: &str, target: &str| {
            of(&old, &[("a.service", a), ("b.service", b), ("c.service", &of_b), ("basic.target", target)])
        };
        let all = "stop: a.service b.service c.service; start: a.service b.service c.service";
        assert_eq!(new(OLD, &b, &both), "", "{key}");
        assert_eq!(new(&changed(""), &b, &both), all, "{key}");
        // Nothing wants the others any more.
        let unwanted = "stop: a.service b.service c.service; start: a.service";
        assert_eq!(new(&changed(""), &b, &one), unwanted, "{key}");
        let restarts = changed("X-StopIfChanged=false\n");
        assert_eq!(new(&restarts, &b, &both), "restart: a.service b.service c.service", "{key}");
        // Their own words count where they are not stopped.
        for left in ["X-RestartIfChanged=false\n", "X-ReloadIfChanged=true\n"] {
            assert_eq!(new(&changed(""), &part(left), &both), all, "{key} {left}");
        }
        let gone = of(&old, &[("b.service", &b), ("c.service", &of_b), ("basic.target", &both)]);
        assert_eq!(gone, "stop: a.service b.service c.service; start: b.service c.service", "{key}");
    }
    let wanting = [("a.service", OLD), ("b.service", &*one)];
    assert_eq!(of(&wanting, &[("a.service", &changed("")), ("b.service", &one)]), "stop: a.service; start: a.service");
}

#[test]
fn what_needs_a_unit_by_its_directory_or_a_mount_goes_with_it() {
    let service = |more: &str| unit(&format!("[Service]\nExecStart=x\n{more}"));
    let mut units = set(&[("a.service", OLD)]);
    units.requires.insert("b.service".to_owned(), BTreeSet::from(["a.service".to_owned()]));
    for (name, more) in [
        ("b.service", ""),
        ("named.service", "[Unit]\nRequiresMountsFor=/srv/data/x\n"),
        ("works.service", "WorkingDirectory=/srv/data\n"),
        ("keeps.service", "StateDirectory=keeps\n"),
        ("other.service", "WorkingDirectory=-/srv/data\n"),
    ] {
        units.files.insert(name.to_owned(), service(more));
    }
    let active = units.files.keys().cloned().collect();
    for (stopped, expected) in [
        ("a.service", "a.service b.service"),
        ("srv.mount", "named.service srv.mount works.service"),
        ("srv-data.mount", "named.service srv-data.mount works.service"),
        ("var-lib.mount", "keeps.service var-lib.mount"),
    ] {
        let changes = UnitChanges { stop: BTreeSet::from([stopped.to_owned()]), ..UnitChanges::default() };
        assert_eq!(told(&propagate(changes, &units, &units, &active)), format!("stop: {expected}"));
    }
}

#[test]
fn what_cannot_be_restarted_is_left() {
    for name in ["a.path", "a.slice"] {
        assert_eq!(changes(&[(name, "[X]\na=1\n")], &[(name, "[X]\na=2\n")]), "", "{name}");
    }
    let (old, new) = ("[Mount]\nWhat=a\nOptions=x\n", "[Mount]\nWhat=b\nOptions=x\n");
    assert_eq!(changes(&[("srv.mount", old)], &[("srv.mount", new)]), "restart: srv.mount");
    assert_eq!(changes(&[("nix.mount", old)], &[("nix.mount", new)]), "reload: nix.mount");
    assert_eq!(changes(&[("srv.mount", old)], &[("srv.mount", "[Mount]\nWhat=a\nOptions=y\n")]), "reload: srv.mount");
    assert_eq!(
        changes(&[("a.timer", "[Timer]\nOnCalendar=a\n")], &[("a.timer", "[Timer]\nOnCalendar=b\n")]),
        "restart: a.timer"
    );
}

#[test]
fn targets_are_started_and_not_told_of() {
    let all = |text: &str| {
        let (old, new) = (set(&[("x.target", "[Unit]\n")]), set(&[("x.target", text)]));
        unit_changes(&old, &new, &BTreeSet::from(["x.target".to_owned()]))
    };
    let plain = all("[Unit]\nWants=a\n");
    assert!(plain.start.contains("x.target") && plain.targets.contains("x.target") && plain.stop.is_empty());
    let manual = all("[Unit]\nX-OnlyManualStart=true\n");
    assert_eq!(manual, UnitChanges::default());
    let stops = all("[Unit]\nX-StopOnReconfiguration=true\n");
    assert!(stops.stop.contains("x.target") && stops.start.contains("x.target"));
}

#[test]
fn instances_have_their_templates_files() {
    let (old, new) = ([("g@.service", OLD)], changed(""));
    let (mut old, mut new) = (set(&old), set(&[("g@.service", &new)]));
    let active = BTreeSet::from(["g@a.service".to_owned()]);
    assert_eq!(told(&unit_changes(&old, &new, &active)), "stop: g@a.service; start: g@a.service");
    assert_eq!(told(&unit_changes(&old, &UnitSet::default(), &active)), "stop: g@a.service");
    // An instance that a drop-in made is gone with it; one that was started by hand runs on.
    new = old.clone();
    old.instance_drop_ins.insert("g@a.service".to_owned(), unit("[Service]\nNice=1\n"));
    assert_eq!(told(&unit_changes(&old, &new, &active)), "stop: g@a.service");
    assert_eq!(told(&unit_changes(&new, &old, &active)), "stop: g@a.service; start: g@a.service");
}

#[test]
fn which_differences_count() {
    use Comparison::{Equal, NeedsReload, NeedsRestart};
    let of = |old: &str, new: &str| compare(&unit(old), &unit(new));
    for key in IGNORED {
        assert_eq!(of("[Unit]\n", &format!("[Unit]\n{key}=x\n")), Equal, "{key}");
        assert_eq!(of(&format!("[Unit]\n{key}=x\n"), "[Service]\nA=1\n[Unit]\n"), NeedsRestart, "{key}");
        assert_eq!(of(&format!("[Unit]\n{key}=x\n"), ""), Equal, "{key}");
    }
    assert_eq!(of("[Unit]\nX-Reload-Triggers=a\n", "[Unit]\nX-Reload-Triggers=b\n"), NeedsReload);
    assert_eq!(of("", "[Unit]\nX-Reload-Triggers=b\n"), NeedsReload);
    assert_eq!(of("[Unit]\nX-Restart-Triggers=a\n", "[Unit]\nX-Restart-Triggers=b\n"), NeedsRestart);
    assert_eq!(of("[Service]\nA=1\nExecReload=x\n", "[Service]\nA=1\nExecReload=y\n"), NeedsReload);
    assert_eq!(of("[Service]\nA=1\nExecReload=x\n", "[Service]\nA=1\n"), Equal);
    assert_eq!(of("[Service]\nA=1\n", "[Service]\nA=1\nExecReload=x\n"), NeedsReload);
    assert_eq!(of("[Unit]\n", "[Unit]\n[Service]\nExecReload=x\n"), NeedsReload);
    assert_eq!(of("[Unit]\n[Service]\nExecReload=x\n", "[Unit]\n"), Equal);
    assert_eq!(of("[Unit]\n", "[Unit]\n[Timer]\n"), NeedsRestart);
    assert_eq!(of("[Mount]\nOptions=a\n", "[Mount]\nOptions=b\n"), NeedsReload);
    assert_eq!(of("[Mount]\nWhat=a\n", "[Mount]\nWhat=a\nOptions=b\n"), NeedsRestart);
    assert_eq!(of("[Unit]\nAfter=a\n", "[Unit]\nAfter=b\n"), NeedsRestart);
    assert_eq!(
        of("[Unit]\nX-Reload-Triggers=a\n[Service]\nA=1\n", "[Unit]\nX-Reload-Triggers=b\n[Service]\nA=2\n"),
        NeedsRestart
    );
}
