//! What to do about a unit that failed, where the evidence has it.

use super::journal::Means as _;
use super::journal_patterns::Meaning;
use super::unit::{error_line, is_active, manager_line, running};
use super::{JudgeContext, sandbox, text, unit_ending};
use crate::guest::facts::{Facts, JournalLine, Owner, Unit};
use crate::guest::paths::paths_in;
use crate::guest::unit_files::is_yes;
use crate::model::{STORE_DIR, UnitResult};

/// What makes a path read-only for a unit.
const SANDBOX: [&str; 9] = [
    "ProtectSystem",
    "ProtectHome",
    "ReadOnlyPaths",
    "DynamicUser",
    "BindReadOnlyPaths",
    "ProtectKernelTunables",
    "ProtectControlGroups",
    "RootDirectory",
    "TemporaryFileSystem",
];

/// How many of a unit's last lines are asked.
const LINES: usize = 50;

/// What to do about a failed unit that is not excused.
pub(crate) fn of(cx: &JudgeContext<'_>, unit: &Unit) -> Option<String> {
    bound_twice(cx.now, unit)
        .or_else(|| port_in_use(cx, unit))
        .or_else(|| sandbox::advice(cx, unit))
        .or_else(|| unheard(cx, unit))
        .or_else(|| elsewhere(cx.now, unit))
        .or_else(|| silent(cx, unit))
        .or_else(|| mounted_state(cx.now, unit))
        .or_else(|| {
            let line = error_line(&cx.now.journal, &unit.name).filter(|line| !Meaning::FollowsFromError.is_in(line))?;
            hidden_home(cx, unit, &line)
                .or_else(|| not_in_path(unit, &line))
                .or_else(|| read_only(cx, unit, &line))
                .or_else(|| denied(cx.now, unit, &line))
                .or_else(|| by_words(&line))
        })
        .or_else(|| no_shell(unit))
}

/// The same by the unit's own words alone.
pub(crate) fn by_own_words(facts: &Facts, unit: &Unit) -> Option<String> {
    by_words(&error_line(&facts.journal, &unit.name)?)
}

/// A program where other distributions have theirs.
fn elsewhere(facts: &Facts, unit: &Unit) -> Option<String> {
    let service = unit.service.as_ref().filter(|service| service.exit_kind == 1 && service.exit_status == 203)?;
    let program = service.exec_start.split_whitespace().next()?;
    if !program.contains('/') && facts.set_in_files(&unit.name, &["ExecSearchPath"]).next().is_none() {
        let program = text::clean(program);
        return Some(format!(
            "systemd looks in no PATH of yours: ExecStart= has to name the program's own path, ${{pkgs.NAME}}/bin/{program}"
        ));
    }
    ["/usr/", "/bin/", "/sbin/"].iter().any(|place| program.starts_with(place)).then(|| {
        let program = text::clean(program);
        format!("NixOS has no {program}: ExecStart= has to name the package's own, ${{lib.getExe pkgs.NAME}}")
    })
}

/// A directory of its state that systemd cannot move, since it is a mount, as persistent ones are.
fn mounted_state(facts: &Facts, unit: &Unit) -> Option<String> {
    let is_busy = |line: &&JournalLine| Meaning::DirectoryNotMoved.is_in(&line.message);
    let lines = facts.journal_of(&unit.name, LINES);
    let last = lines.iter().rev().position(is_busy)?;
    let moved = lines.iter().rev().skip(last).find_map(|line| Meaning::StateMoved.parts_of(&line.message))?;
    Some(text::clean(&format!(
        "{} is a mount, which systemd cannot move: with DynamicUser= the {} is {}, and that is what has to be mounted \
         (persisted)",
        &moved["from"], &moved["setting"], &moved["to"]
    )))
}

/// A script that ended without a word, as `set -e` has it, which NixOS's scripts begin with.
fn silent(cx: &JudgeContext<'_>, unit: &Unit) -> Option<String> {
    let exec = &unit.service.as_ref()?.exec_start;
    let is_script = exec.contains("-unit-script-") && unit_ending::ended_in_silence(cx.now, unit);
    is_script
        .then(|| "NixOS's scripts end at the first command that fails (set -e): `set -x` in it shows which".to_owned())
}

/// A command line that was meant for a shell.
fn no_shell(unit: &Unit) -> Option<String> {
    const MARKS: [&str; 8] = ["|", "||", "&&", ">", ">>", "<", "2>&1", "&"];
    let exec = &unit.service.as_ref().filter(|service| service.exit_kind != 0)?.exec_start;
    let has_shell = exec.split_whitespace().any(|word| word.starts_with('-') && word.ends_with('c'));
    let words: Vec<&str> = exec.split_whitespace().collect();
    let is_shells = |pair: &&[&str]| MARKS.contains(&pair[0]) && pair[1].starts_with('/');
    let mark = words.windows(2).find(is_shells).map(|pair| pair[0]).filter(|_| !has_shell)?;
    Some(format!(
        "no shell reads ExecStart=: the program was given {mark} as an argument; write it as systemd.services.NAME.script"
    ))
}

/// A command that a service of NixOS's finds only where its unit says so.
pub(crate) fn not_in_path(unit: &Unit, line: &str) -> Option<String> {
    let found = Meaning::CommandMissing.parts_of(line)?;
    let name = unit.name.strip_suffix(".service")?;
    let of_user = if unit.fragment_path.contains("/user/") { "user." } else { "" };
    Some(text::clean(&format!(
        "add the package that has {} to the unit's own PATH: systemd.{of_user}services.{name:?}.path = [ pkgs.NAME ];",
        &found["command"]
    )))
}

/// Why systemd did not take the unit's word that it is ready.
fn unheard(cx: &JudgeContext<'_>, unit: &Unit) -> Option<String> {
    let is_waited_for = matches!(unit.result, UnitResult::Timeout | UnitResult::Protocol);
    let line = manager_line(cx.now, &unit.name, Meaning::NotHeard).filter(|_| is_waited_for)?;
    let advice = if line.message.contains("PID file") {
        "PIDFile= has to name the file that the program writes; without it systemd looks for the main process itself"
    } else {
        "start the program by `exec`, so that it is the main process, or set NotifyAccess=all"
    };
    Some(advice.to_owned())
}

/// What lifts a limit of systemd's or the kernel's that a line speaks of.
fn by_words(line: &str) -> Option<String> {
    if let Some(found) = Meaning::PortIsPrivileged.parts_of(line)
        && found["port"].parse::<u16>().is_ok_and(|port| port < 1024)
    {
        return Some(
            "a port below 1024 takes AmbientCapabilities = \"CAP_NET_BIND_SERVICE\" of whoever is not root".into(),
        );
    }
    if let Some(found) = Meaning::BusNameMissing.parts_of(line) {
        return Some(by_bus_name(found.name("name").map(|name| name.as_str())));
    }
    if let Some(found) = Meaning::FileInTheWay.parts_of(line) {
        return Some(text::clean(&format!(
            "home-manager.backupFileExtension = \"backup\"; moves {} aside, and `force = true` of the file overwrites it",
            &found["path"]
        )));
    }
    if Meaning::BusNameTaken.is_in(line) {
        return Some(
            "another program of its kind runs already, and has the name on D-Bus: keep one of them".to_owned(),
        );
    }
    if Meaning::NetlinkMissing.is_in(line) {
        return Some("its RestrictAddressFamilies= leaves out AF_NETLINK, by which it asks for interfaces".to_owned());
    }
    if Meaning::SoundCardMissing.is_in(line) {
        let advice = "the sound card is for whoever sits at the screen, and for the group audio (extraGroups, SupplementaryGroups=)";
        return Some(advice.to_owned());
    }
    if Meaning::SetupScriptFailed.is_in(line) {
        let advice = "the last command of services.xserver.displayManager.setupCommands has to succeed: || true";
        return Some(advice.to_owned());
    }
    if Meaning::ProcessesLimited.is_in(line) {
        return Some("TasksMax= or LimitNPROC= of its unit limits how many processes it may have".to_owned());
    }
    if Meaning::FamilyMissing.is_in(line) {
        let advice =
            "IPv6 is off here (networking.enableIPv6, ipv6.disable=1), or RestrictAddressFamilies= leaves it out";
        return Some(advice.to_owned());
    }
    if Meaning::NotifyRefused.is_in(line) {
        return Some(
            "its RestrictAddressFamilies= leaves out AF_UNIX, by which it tells systemd that it is ready".to_owned(),
        );
    }
    if let Some(found) = Meaning::WrapperMissing.parts_of(line) {
        return Some(text::clean(&format!(
            "security.wrappers.{0} makes it, or the option that stands for it (security.{0}.enable, programs.{0}.enable)",
            &found["name"]
        )));
    }
    if Meaning::ModulesLocked.is_in(line) {
        let advice = "is loading closed by then (security.lockKernelModules), or for this unit (ProtectKernelModules=)? \
                      boot.kernelModules loads a module before";
        return Some(advice.to_owned());
    }
    if Meaning::InterpreterMissing.is_in(line) {
        let advice =
            "NixOS has no such interpreter: let its first line be #!/usr/bin/env NAME, or patch it (patchShebangs)";
        return Some(advice.to_owned());
    }
    None
}

/// A path that its unit hides from it.
fn hidden_home(cx: &JudgeContext<'_>, unit: &Unit, line: &str) -> Option<String> {
    if ![Meaning::IsMissing, Meaning::IsDenied].iter().any(|meaning| meaning.is_in(line)) {
        return None;
    }
    let path = paths_in(line).into_iter().find(|path| sandbox::is_hidden(cx, unit, path))?;
    Some(format!("its ProtectHome= hides {} from it: \"read-only\" shows it", text::clean(&path)))
}

/// Whose a path is that a service which is not root's may not read, write or enter.
fn denied(facts: &Facts, unit: &Unit, line: &str) -> Option<String> {
    if !Meaning::PermissionDenied.is_in(line) {
        return None;
    }
    let is_dynamic = facts.set_in_files(&unit.name, &["DynamicUser"]).next_back().is_some_and(|(_, set)| is_yes(set));
    let named = facts.set_in_files(&unit.name, &["User"]).next_back().map(|(_, user)| user);
    let user = match named {
        Some(user) => Some(user).filter(|user| !matches!(*user, "" | "root" | "0"))?,
        None => is_dynamic.then_some("a user that DynamicUser= makes up")?,
    };
    let fact = paths_in(line).into_iter().find_map(|path| facts.paths.get(&path))?;
    let is_others = |owner: &&Owner| owner.user != user;
    let others = fact.closed.as_ref().filter(is_others).or_else(|| fact.owner.as_ref().filter(is_others))?;
    let Owner { path, user: owner, group, mode } = others;
    let way = if path.starts_with("/dev/") {
        format!("SupplementaryGroups=, or extraGroups of its user, lets it into {group}")
    } else if path.starts_with("/home/") || path.starts_with("/root") {
        "its files are better off in a place of its own, StateDirectory= or LoadCredential=".to_owned()
    } else {
        "a rule of systemd.tmpfiles sets the owner, StateDirectory= makes a directory that is its own".to_owned()
    };
    let whose = format!("{path} is {owner}'s, of group {group}, with mode {mode}");
    Some(text::clean(&format!("{whose}, and {} runs as {user}: {way}", unit.name)))
}

/// Why nothing can be written.
fn read_only(cx: &JudgeContext<'_>, unit: &Unit, line: &str) -> Option<String> {
    if !Meaning::IsReadOnly.is_in(line) {
        return None;
    }
    let path = paths_in(line).into_iter().next();
    // Of systemd's own units the files are not read.
    let is_own = cx.now.unit_files.as_ref().is_some_and(|files| files.system.names.contains(&unit.name));
    let is_contained = !is_own || cx.now.set_in_files(&unit.name, &SANDBOX).next().is_some();
    Some(match path {
        None if line.contains(STORE_DIR) => "nothing can be written to the store".to_owned(),
        Some(path) if path.starts_with("/etc/") => {
            format!("{} is made by the configuration, and cannot be written to", text::clean(&path))
        }
        Some(path) if !is_contained => {
            format!("nothing of its unit makes {} read-only: is its file system mounted so?", text::clean(&path))
        }
        Some(path) => format!(
            "{} is read-only by its ProtectSystem=, ProtectHome= or ReadOnlyPaths=: StateDirectory= or ReadWritePaths= opens it",
            text::clean(&path)
        ),
        None => "what it writes to is read-only by its ProtectSystem=, ProtectHome= or ReadOnlyPaths=".to_owned(),
    })
}

/// Names on the bus, and NixOS's option for each.
const BUS_SERVICES: [(&str, &str); 16] = [
    ("ca.desrt.dconf", "programs.dconf.enable"),
    ("org.a11y.Bus", "services.gnome.at-spi2-core.enable"),
    ("org.bluez", "hardware.bluetooth.enable"),
    ("org.freedesktop.Accounts", "services.accounts-daemon.enable"),
    ("org.freedesktop.Avahi", "services.avahi.enable"),
    ("org.freedesktop.ColorManager", "services.colord.enable"),
    ("org.freedesktop.GeoClue2", "services.geoclue2.enable"),
    ("org.freedesktop.ModemManager1", "networking.modemmanager.enable"),
    ("org.freedesktop.NetworkManager", "networking.networkmanager.enable"),
    ("org.freedesktop.PolicyKit1", "security.polkit.enable"),
    ("org.freedesktop.RealtimeKit1", "security.rtkit.enable"),
    ("org.freedesktop.UDisks2", "services.udisks2.enable"),
    ("org.freedesktop.UPower", "services.upower.enable"),
    ("org.freedesktop.portal.Desktop", "xdg.portal.enable"),
    ("org.freedesktop.secrets", "services.gnome.gnome-keyring.enable"),
    ("org.gtk.vfs.Daemon", "services.gvfs.enable"),
];

/// What provides a name on D-Bus that nothing provides here; not every program says which it asked for.
fn by_bus_name(name: Option<&str>) -> String {
    let Some(name) = name else {
        return "what it calls on D-Bus is not there: enable the module that provides it (programs.dconf for dconf)"
            .to_owned();
    };
    text::clean(&match BUS_SERVICES.iter().find(|(known, _)| *known == name) {
        Some((_, option)) => format!("nothing provides {name} on D-Bus: {option} = true;"),
        None => {
            format!("nothing provides {name} on D-Bus: enable its module, or add its package to services.dbus.packages")
        }
    })
}

/// A port that a socket unit asks for twice: an address of IPv6 that is all of them is all of IPv4's too.
fn bound_twice(facts: &Facts, unit: &Unit) -> Option<String> {
    let not_made =
        unit_ending::socket_not_made(facts, unit).filter(|parts| Meaning::AddressInUse.is_in(&parts["why"]))?;
    let port = |address: &str| address.rsplit(':').next().unwrap_or_default().to_owned();
    let refused = port(&not_made["address"]);
    let listens = facts.set_in_files(&unit.name, &["ListenStream", "ListenDatagram"]);
    let places: Vec<&str> = listens.map(|(_, value)| value).filter(|value| port(value) == refused).collect();
    (places.len() > 1).then(|| {
        text::clean(&format!(
            "its own addresses overlap ({}): [::] and a port alone mean all of IPv4's too, so leave one of them out",
            places.join(", ")
        ))
    })
}

/// Who holds the port that the unit could not bind.
fn port_in_use(cx: &JudgeContext<'_>, unit: &Unit) -> Option<String> {
    // Of a socket PID 1 says so.
    let mut lines = cx.now.journal.iter().rev().filter(|line| line.unit == unit.name);
    let line = lines.find_map(|line| Meaning::AddressInUse.parts_of(line.message.lines().next()?))?;
    let port: u16 = line.name("port").or(line.name("late"))?.as_str().parse().ok()?;
    let holder = cx.now.listeners.iter().find(|listener| listener.port == port && !listener.process.is_empty())?;
    let process = holder.process.as_str();
    // PID 1 holds the ports of all sockets, and nothing says which is whose.
    let sockets = || {
        let active = cx.now.units.iter().filter(|other| other.name.ends_with(".socket") && is_active(other));
        active.map(|other| other.name.clone()).filter(|name| cx.plan.is_own(name)).collect::<Vec<_>>()
    };
    if process == "systemd" {
        let named = Some(sockets()).filter(|names| (1..=3).contains(&names.len()));
        let named = named.map_or_else(String::new, |names| format!(" ({})", names.join(" or ")));
        return Some(text::clean(&format!(
            "a socket unit{named} listens on port {port} already: give one of them another port"
        )));
    }
    let by = running(cx.now, process).find(|other| other.name != unit.name);
    let by = by.map_or_else(String::new, |other| format!(" of {}", other.name));
    Some(text::clean(&format!("{process}{by} listens on port {port} already: give one of them another port")))
}

#[cfg(test)]
mod tests {
    use super::{by_words, elsewhere, no_shell, not_in_path};
    use crate::checks::test_support::{active, failed, guest, line, result};
    use crate::guest::facts::{Facts, Listener, Owner, PathFact, Service, Unit};
    use crate::model::{CheckId, Protocol};

    #[test]
    fn limits_that_lines_speak_of() {
        for (line, advice) in [
            ("[emerg] bind() to 0.0.0.0:80 failed (13: Permission denied)", Some("CAP_NET_BIND_SERVICE")),
            ("Error: listen tcp :443: bind: permission denied", Some("CAP_NET_BIND_SERVICE")),
            ("listen tcp :8080: bind: permission denied", None),
            ("[emerg] socket() [::]:80 failed (97: Address family not supported by protocol)", Some("enableIPv6")),
            (
                "error: GDBus.Error:x.ServiceUnknown: The name ca.desrt.dconf was not provided by any .service files",
                Some("programs.dconf.enable = true;"),
            ),
            ("app-start: line 3: /run/wrappers/bin/sudo: No such file or directory", Some("security.sudo.enable")),
            ("modprobe: ERROR: could not insert 'wireguard': Operation not permitted", Some("lockKernelModules")),
            ("cat: /srv/app: Permission denied", None),
        ] {
            let found = by_words(line);
            let is_right = match (&found, advice) {
                (Some(found), Some(advice)) => found.contains(advice),
                (found, advice) => found.is_none() && advice.is_none(),
            };
            assert!(is_right, "{line}: {found:?}");
        }
    }

    #[test]
    fn what_is_read_only() {
        let advice_on = |words: &str, key: Option<&str>| {
            let unit = failed("app.service", 1);
            let mut guest = guest().expected(unit).journal(line("app.service", words));
            let own = &mut guest.observations.first.unit_files.get_or_insert_default().system;
            own.names.insert("app.service".to_owned());
            own.lines.extend(key.map(|key| ("app.service".to_owned(), vec![(key.to_owned(), "strict".to_owned())])));
            let judgement = guest.judge();
            result(&judgement, CheckId::ServicesFailedUnits).hint.clone().unwrap_or_default()
        };
        for (words, advice) in [
            ("mkdir: cannot create directory '/srv/app': Read-only file system", "ReadWritePaths= opens it"),
            ("sed: couldn't open temporary file /etc/app/sedX: Read-only file system", "made by the configuration"),
            ("cannot write /nix/store/x-app/cache: Read-only file system", "written to the store"),
            ("Error: Read-only file system (os error 30)", "ProtectSystem="),
        ] {
            assert!(advice_on(words, Some("ProtectSystem")).contains(advice), "{words}");
        }
        let by_mount = advice_on("mkdir: cannot create directory '/srv/app': Read-only file system", None);
        assert!(by_mount.contains("is its file system mounted so?"), "{by_mount}");
    }

    #[test]
    fn files_of_somebody_else() {
        let owner = |path: &str, user: &str, mode: &str| {
            Some(Owner { path: path.into(), user: user.into(), group: "wheel".into(), mode: mode.into() })
        };
        let advice = |path: &str, set: &[(&str, &str)], fact: PathFact| {
            let words = format!("open {path}: Permission denied");
            let mut guest = guest().expected(failed("app.service", 1)).journal(line("app.service", &words));
            let facts = &mut guest.observations.first;
            facts.paths.insert(path.to_owned(), fact);
            let set = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            facts.unit_files.get_or_insert_default().system.lines.extend([("app.service".to_owned(), set)]);
            let judgement = guest.breaks(CheckId::ServicesFailedUnits, "Permission denied");
            result(&judgement, CheckId::ServicesFailedUnits).hint.clone().unwrap_or_default()
        };
        let key = || PathFact { exists: true, owner: owner("/srv/key", "root", "600"), ..PathFact::default() };
        let hint = advice("/srv/key", &[("User", "app")], key());
        assert!(
            hint.contains("/srv/key is root's, of group wheel, with mode 600, and app.service runs as app"),
            "{hint}"
        );
        assert!(advice("/srv/key", &[("DynamicUser", "yes")], key()).contains("a user that DynamicUser= makes up"));
        for own in [&[("User", "root")][..], &[]] {
            assert_eq!(advice("/srv/key", own, key()), "", "a service of root's");
        }
        assert_eq!(advice("/srv/key", &[("User", "root"), ("User", "app")], PathFact::default()), "");
        let at_home = PathFact { closed: owner("/home/alice", "alice", "700"), ..key() };
        let hint = advice("/home/alice/key", &[("User", "app")], at_home);
        assert!(hint.contains("/home/alice is alice's") && hint.contains("LoadCredential="), "{hint}");
        let device = PathFact { owner: owner("/dev/ttyUSB0", "root", "660"), ..key() };
        assert!(advice("/dev/ttyUSB0", &[("User", "app")], device).contains("lets it into wheel"));
    }

    #[test]
    fn a_home_that_its_unit_hides() {
        let missing = "cat: /home/alice/Music/index: No such file or directory";
        let with = |value: &str| {
            let mut guest = guest().expected(failed("music.service", 1)).journal(line("music.service", missing));
            let facts = &mut guest.observations.first;
            facts
                .paths
                .insert("/home/alice/Music/index".into(), PathFact { parent: "/home".into(), ..PathFact::default() });
            let lines = [("music.service".to_owned(), vec![("ProtectHome".to_owned(), value.to_owned())])];
            facts.unit_files.get_or_insert_default().system.lines.extend(lines);
            guest
        };
        let judgement = with("true").breaks(CheckId::ServicesFailedUnits, "/home/alice/Music/index");
        let hint = result(&judgement, CheckId::ServicesFailedUnits).hint.clone().unwrap_or_default();
        assert!(hint.contains("its ProtectHome= hides /home/alice/Music/index"), "{hint}");
        with("read-only").excludes("music.service: needs /home/alice/Music/index");
    }

    #[test]
    fn a_script_that_said_nothing() {
        let mut unit = failed("app.service", 1);
        unit.service.get_or_insert_default().exec_start = "/nix/store/x-unit-script-app-start/bin/app-start".into();
        let mut guest = guest().expected(unit);
        guest.breaks(CheckId::ServicesFailedUnits, "app.service failed: exit code 1");
        guest.observations.first.heard.insert("app.service".to_owned());
        let judgement = guest.breaks(CheckId::ServicesFailedUnits, "exit code 1, without a word in the journal");
        let hint = result(&judgement, CheckId::ServicesFailedUnits).hint.clone().unwrap_or_default();
        assert!(hint.contains("set -x"), "{hint}");
    }

    #[test]
    fn a_command_line_for_a_shell() {
        let advice = |exec_start: &str| {
            let mut unit = failed("app.service", 1);
            unit.service.get_or_insert_default().exec_start = exec_start.to_owned();
            no_shell(&unit)
        };
        assert!(advice("/bin/cat /etc/hosts | /bin/grep x").is_some_and(|advice| advice.contains("given | as")));
        assert!(advice("/bin/app > /var/log/app").is_some());
        assert_eq!(advice("/bin/sh -c cat /etc/hosts | grep x"), None);
        assert_eq!(advice("/bin/app --filter a|b"), None);
    }

    #[test]
    fn programs_that_are_not_where_they_are_looked_for() {
        let unit = |exec_start: &str| {
            let mut unit = failed("app.service", 203);
            unit.service.get_or_insert_default().exec_start = exec_start.to_owned();
            unit
        };
        let of = |exec_start: &str| elsewhere(&Facts::default(), &unit(exec_start)).unwrap_or_default();
        assert!(of("/usr/bin/sh -c true").starts_with("NixOS has no /usr/bin/sh: ExecStart= has to name"));
        assert_eq!(of("/nix/store/x-app/bin/app"), "");
        for line in [
            "app-start: line 3: git: command not found",
            "sh: line 1: git: not found",
            "error: exec: \"git\": executable file not found in $PATH",
            "env: ‘git’: No such file or directory",
            "Error: spawn git ENOENT",
            "FileNotFoundError: [Errno 2] No such file or directory: 'git'",
        ] {
            let advice = not_in_path(&unit(""), line).unwrap_or_default();
            assert!(
                advice.contains("has git to the unit's own PATH: systemd.services.\"app\".path"),
                "{line}: {advice}"
            );
        }
        for line in ["FileNotFoundError: [Errno 2] No such file or directory: '/etc/app'", "page not found"] {
            assert_eq!(not_in_path(&unit(""), line), None);
        }
    }

    #[test]
    fn what_is_missed_on_the_bus_is_named_and_what_is_in_the_way() {
        let hint = |line: &str| by_words(line).unwrap_or_default();
        let error = "error: GDBus.Error:org.freedesktop.DBus.Error.ServiceUnknown: The name";
        let dconf = "nothing provides ca.desrt.dconf on D-Bus: programs.dconf.enable = true;";
        assert_eq!(hint(&format!("{error} ca.desrt.dconf was not provided by any .service files")), dconf);
        assert!(hint(&format!("{error} is not activatable")).contains("programs.dconf"));
        let other = hint(&format!("{error} org.example.Thing was not provided by any .service files"));
        assert!(
            other.starts_with("nothing provides org.example.Thing on D-Bus")
                && other.contains("services.dbus.packages")
        );
        assert!(hint("Unit dbus-org.bluez.service not found.").contains("hardware.bluetooth.enable"));
        let file = "Existing file '/home/alice/.bashrc' would be clobbered";
        assert!(hint(file).contains("backupFileExtension") && hint(file).contains("/home/alice/.bashrc"));
        assert_eq!(by_words("error: no such theme"), None);
    }

    #[test]
    fn who_holds_a_port_is_named() {
        let hint = |process: &str, words: &str| {
            let (address, process) = ("0.0.0.0".to_owned(), process.to_owned());
            let holder = Listener { protocol: Protocol::Tcp, address, port: 80, process };
            let runs = |name: &str, program: &str| {
                let exec_start = format!("/nix/store/x/bin/{program} run");
                Unit { service: Some(Service { exec_start, ..Service::default() }), ..active(name) }
            };
            let judged = guest()
                .expected(failed("nginx.service", 1))
                .expected(active("web.socket"))
                .expected(runs("caddy.service", "caddy"))
                .unit(runs("tmpfiles.service", "systemd-tmpfiles"))
                .facts(|facts| facts.listeners = vec![holder])
                .journal(line("nginx.service", words))
                .judge();
            let result = judged.results.iter().find(|result| result.id == CheckId::ServicesFailedUnits).unwrap();
            result.hint.clone().unwrap_or_default()
        };
        let nginx = "[emerg] 258#258: bind() to 0.0.0.0:80 failed (98: Address already in use)";
        for words in [
            nginx,
            "Error: listen tcp :80: bind: address already in use",
            "OSError: [Errno 98] error while attempting to bind on address ('0.0.0.0', 80): address already in use",
            "Error: listen EADDRINUSE: address already in use :::80",
        ] {
            let said = hint("caddy", words);
            assert!(said.starts_with("caddy of caddy.service listens on port 80 already"), "{words}: {said}");
        }
        // PID 1 is not whoever begins with its name.
        let said = hint("systemd", nginx);
        assert!(said.starts_with("a socket unit (web.socket) listens on port 80 already"), "{said}");
    }
}
