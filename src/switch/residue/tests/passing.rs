use super::*;

#[test]
fn what_has_a_number_is_another_one_each_time() {
    let entry = |path: &'static str| move |record: &mut Record| record.state.entries.insert(path.to_owned());
    let renumbered = || Case::new().before(entry("/run/greet-700.sock")).back(entry("/run/greet-812.sock"));
    renumbered().passes();
    renumbered().back(entry("/run/greet-9.sock")).warns(CheckId::ResidueFiles, "/run/greet-812.sock is still there");
}

#[test]
fn what_runs_when_it_is_asked_for_may_have_been_asked_for_the_first_time() {
    let asked = |bus_name: &str| {
        let text = format!("[Service]\nExecStart=x\n{bus_name}");
        let is_of_bus =
            move |units: &mut Units| units.system.files.insert("disks.service".to_owned(), UnitFile::parse(&text));
        let back = |record: &mut Record| {
            record.facts.units.push(unit("disks.service"));
            record.state.entries.insert("/run/disks".to_owned());
            record.state.owners.insert("/var/lib/disks".to_owned(), owner(0, 0o700))
        };
        Case::new().units(0, is_of_bus).back(back)
    };
    asked("BusName=org.example.Disks\n").passes();
    asked("").warns(CheckId::ResidueUnits, "disks.service is active after switching back");
    asked("").warns(CheckId::ResidueFiles, "/run/disks is still there");
    let by_socket = Unit { triggered_by: vec!["app.socket".to_owned()], ..unit("app.service") };
    Case::new().back(|record| record.facts.units.push(by_socket.clone())).passes();
}

#[test]
fn where_etc_is_an_overlay() {
    // Where `/etc` is an overlay, that of the boot is gone after the first switch, and each has another name.
    let etc = |metadata: &'static str| {
        move |record: &mut Record| {
            for (place, what) in [(metadata, "/dev/loop1 (erofs)"), ("/run/nixos-etc.Zp3hYw9kQd", "tmpfs (tmpfs)")] {
                record.state.mounts.insert(place.to_owned(), what.to_owned());
                record.state.entries.insert(place.to_owned());
            }
        }
    };
    let boots = etc("/run/nixos-etc-metadata");
    Case::new()
        .before(boots)
        .switched(etc("/run/nixos-etc-metadata.a1B2c3D4e5"))
        .back(etc("/run/nixos-etc-metadata.x"))
        .passes();
    let own = |record: &mut Record| record.state.entries.insert("/run/nixos-etc-backup".to_owned());
    Case::new().back(own).warns(CheckId::ResidueFiles, "/run/nixos-etc-backup is still there");
}

#[test]
fn a_password_that_is_another() {
    let passwords = [
        (Password::Set, Password::Locked, "the password of carol is gone"),
        (Password::Locked, Password::Set, "a password is set for carol after switching back"),
        (Password::Set, Password::Empty, "no password is asked of carol after switching back"),
    ];
    for (before, back, words) in passwords {
        let set = |password: Password| move |record: &mut Record| record.facts.accounts[2].password = password;
        Case::new().before(set(before)).back(set(back)).warns(CheckId::ResidueUsers, words);
    }
}
