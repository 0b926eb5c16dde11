use proptest::prelude::*;

use super::made::{MadeStore, MadeSystem};
use super::*;

/// What differs between two made systems; `LINE` for each: `security + account user eve: new, …`.
fn told(store: &MadeStore, old: MadeSystem<'_>, new: MadeSystem<'_>) -> Comparison {
    let files = store.files();
    let (old, new) = (System::read(&files, &old.path()), System::read(&files, &new.path()));
    let mut comparison = compared(&files, &old, &new, None);
    comparison.finish();
    comparison
}

fn lines(comparison: &Comparison) -> Vec<String> {
    comparison
        .changes
        .iter()
        .map(|change| format!("{} {} {}: {}", change.grade.name(), change.kind.sign(), change.subject, change.what))
        .collect()
}

fn script(store: &MadeStore, name: &str, text: &str) -> String {
    let program = format!("{name}-start");
    let path =
        store.put(&format!("unit-script-{program}"), &[(&format!("bin/{program}"), &format!("#!/bin/sh\n{text}\n"))]);
    format!("{path}/bin/{program}")
}

#[test]
fn nothing_differs_but_hashes() {
    let store = MadeStore::new();
    let make = |nginx: &str| {
        let package = store.put(&format!("nginx-{nginx}"), &[("bin/nginx", "\u{0}")]);
        let config = store.file("nginx.conf", "listen 80;\n");
        let script = script(&store, "a", "true");
        MadeSystem::new(&store)
            .unit("nginx.service", &format!("[Service]\nExecStart={package}/bin/nginx -c {config}\nUser=nginx\n"))
            .unit("a.service", &format!("[Service]\nExecStart={script}\nX-Restart-Triggers={config}\n"))
            .etc("a.conf", &format!("file {config}\n"))
            .snippet("etc", &format!("perl {config}"))
    };
    let comparison = told(&store, make("1.26"), make("1.27"));
    assert_eq!(
        lines(&comparison),
        [
            "info = 4 rebuilt: the same but for store paths: /etc/a.conf, a.service, nginx.service (nginx 1.26 → 1.27), snippet etc"
        ]
    );
    // What is told in one line is restarted all the same.
    assert_eq!(comparison.switch.units.stop, ["a.service", "nginx.service"]);
    assert_eq!(comparison.switch.command, "switch");
}

#[test]
fn what_a_moved_path_hides() {
    let store = MadeStore::new();
    let make = |text: &str| {
        let inner = store.file("inner.sh", text);
        let script = script(&store, "a", &format!("exec {inner}"));
        MadeSystem::new(&store).unit("a.service", &format!("[Service]\nExecStart={script}\n"))
    };
    let comparison = told(&store, make("curl https://good\n"), make("curl https://evil\n"));
    assert_eq!(lines(&comparison), ["service ~ a.service: the text of inner.sh changed"]);
    assert_eq!(comparison.changes[0].lines, ["in inner.sh:", "-curl https://good", "+curl https://evil"]);
}

#[test]
fn what_is_dangerous_comes_first() {
    let store = MadeStore::new();
    let users = |more: &str, members: &str| {
        let json = format!(
            r#"{{"mutableUsers":true,"users":[{{"name":"alice","uid":1000,"group":"users","home":"/home/alice","shell":"/run/current-system/sw/bin/bash","hashedPassword":"$6$secret"}}{more}],
            "groups":[{{"name":"wheel","gid":1,"members":[{members}]}}]}}"#
        );
        format!("perl update-users-groups.pl {}", store.file("users-groups.json", &json))
    };
    let wrappers = |more: &str| {
        let text = format!("chown root:root \"$wrapperDir/sudo\"\nchmod \"u+s,g-s,u+rx\" \"$wrapperDir/sudo\"\n{more}");
        format!("[Service]\nExecStart={}\n", script(&store, "suid-sgid-wrappers", &text))
    };
    let firewall = |ports: &str| {
        let text: String = ports
            .split(' ')
            .map(|port| format!("ip46tables -A nixos-fw -p tcp --dport {port} -j nixos-fw-accept\n"))
            .collect();
        let text = text + "ip46tables -A nixos-fw -j nixos-fw-log-refuse";
        format!(
            "[Service]\nType=oneshot\nRemainAfterExit=true\nExecStart=@{} firewall-start\nX-ReloadIfChanged=true\n",
            script(&store, "firewall", &text)
        )
    };
    let old = MadeSystem::new(&store)
        .snippet("users", &users("", ""))
        .unit("suid-sgid-wrappers.service", &wrappers(""))
        .unit("firewall.service", &firewall("22 443"))
        .unit("web.service", "[Service]\nExecStart=/bin/web\nUser=web\nNoNewPrivileges=true\n")
        .unit("old.service", "[Service]\nExecStart=/bin/old\n")
        .etc("sudoers", "root ALL=(ALL:ALL) SETENV: ALL\n")
        .etc("sysctl.d/60-nixos.conf", "kernel.kptr_restrict=1\nvm.swappiness=10\n")
        .etc("fstab", "/dev/a / ext4 defaults\n")
        .file("kernel-params", "quiet");
    let new = MadeSystem::new(&store)
        .snippet("users", &users(r#",{"name":"eve","uid":1001,"group":"users","home":"/home/eve","shell":"/bin/sh","hashedPassword":"$6$other"}"#, r#""alice""#))
        .snippet("extra", "echo pwned")
        .unit("suid-sgid-wrappers.service", &wrappers("setcap \"cap_setpcap,cap_net_raw+ep\" \"$wrapperDir/ping\"\nchmod u+rx \"$wrapperDir/ping\"\n"))
        .unit("firewall.service", &firewall("22 8080"))
        .unit("web.service", "[Service]\nExecStart=/bin/web\nUser=web\n")
        .unit("new.service", &format!("[Service]\nExecStart={}\n", script(&store, "new", "echo new")))
        .unit("s.socket", "[Socket]\nListenStream=0.0.0.0:7000\n")
        .unit("t.timer", "[Timer]\nOnCalendar=daily\n")
        .user_unit("u.service", "[Service]\nExecStart=/bin/u\n")
        .etc("sudoers", "root ALL=(ALL:ALL) SETENV: ALL\n%wheel ALL=(ALL:ALL) NOPASSWD: ALL\n")
        .etc("ssh/authorized_keys.d/alice", "ssh-ed25519 AAAA eve@evil\n")
        .etc("sysctl.d/60-nixos.conf", "kernel.kptr_restrict=0\nvm.swappiness=60\n")
        .etc("fstab", "/dev/a / ext4 defaults\n/dev/b /data ext4 nofail\n")
        .file("kernel-params", "quiet mitigations=off");
    let mut comparison = told(&store, old, new);
    (comparison.from.named, comparison.to.named) = ("old".into(), "new".into());
    let text = human::render(&comparison, false)
        + "\n=== full\n"
        + &human::render(&comparison, true)
        + "\n=== markdown\n"
        + &markdown::render(&comparison);
    assert!(!text.contains("$6$"), "no hash of a password: {text}");
    insta::assert_snapshot!(text);
    assert!(comparison.reaches(Grade::Security) && comparison.reaches(Grade::Info));
}

#[test]
fn when_a_boot_is_needed() {
    let store = MadeStore::new();
    let make = |kernel: &str, bus: &str| {
        let kernel = store.put(&format!("linux-{kernel}"), &[("bzImage", "k")]);
        MadeSystem::new(&store)
            .link("kernel", &format!("{kernel}/bzImage"))
            .file("switch-inhibitors", &format!(r#"{{"dbus-implementation":"{bus}"}}"#))
    };
    let kernel = told(&store, make("6.12.5", "dbus"), make("6.12.6", "dbus"));
    assert_eq!(
        (kernel.switch.command.as_str(), kernel.switch.reboot.as_slice()),
        ("switch", &["kernel 6.12.5 → 6.12.6".to_owned()][..])
    );
    let bus = told(&store, make("6.12.5", "dbus"), make("6.12.5", "broker"));
    assert_eq!(bus.switch.command, "boot");
    assert_eq!(bus.switch.refused, ["switch inhibitor dbus-implementation: dbus → broker"]);
    // One that only the new one has holds nothing up.
    let first = told(&store, MadeSystem::new(&store), make("6.12.5", "broker"));
    assert_eq!(first.switch.command, "switch");
    let init =
        told(&store, MadeSystem::new(&store), MadeSystem::new(&store).file("init-interface-version", "systemd 3"));
    assert_eq!(init.switch.command, "boot");
    let files = store.files();
    let (old, new) = (make("1", "dbus").path(), make("1", "broker").path());
    assert_eq!(plan::refused_by(&files, &old, &new).len(), 1);
    assert_eq!(plan::refused_by(&files, &old, &old), Vec::<String>::new());
}

#[test]
fn an_initrd_is_never_merely_rebuilt() {
    let store = MadeStore::new();
    let put = |version: &str| store.put(&format!("linux-{version}"), &[("bzImage", "k")]);
    let make = |kernel: &str, version: &str| {
        let initrd = store.put(&format!("initrd-linux-{version}"), &[("initrd", "\u{0}")]);
        MadeSystem::new(&store).link("kernel", &format!("{kernel}/bzImage")).link("initrd", &format!("{initrd}/initrd"))
    };
    let (kernel, again, next) = (put("6.12.5"), put("6.12.5"), put("6.12.6"));
    let own = told(&store, make(&kernel, "6.12.5"), make(&kernel, "6.12.5"));
    assert_eq!(
        lines(&own),
        ["security ~ initrd: its content differs, and was not read: it may hold SSH keys or emergency access"]
    );
    assert_eq!(own.switch.reboot, ["initrd differs"]);
    let rebuilt = told(&store, make(&kernel, "6.12.5"), make(&again, "6.12.5"));
    assert_eq!(
        lines(&rebuilt),
        ["boot ~ initrd: its content differs, and was not read", "boot = kernel: rebuilt (linux-6.12.5)"]
    );
    let moved = told(&store, make(&kernel, "6.12.5"), make(&next, "6.12.6"));
    assert_eq!(
        lines(&moved),
        ["boot ~ initrd: 6.12.5 → 6.12.6; its content was not read", "boot ~ kernel: 6.12.5 → 6.12.6"]
    );
}

#[test]
fn secrets_of_the_initrd() {
    let store = MadeStore::new();
    let make = |text: &str| {
        let tools = store.put("coreutils-9.5", &[("bin/cp", "\u{0}")]);
        MadeSystem::new(&store).file("append-initrd-secrets", &format!("export PATH={tools}/bin\n{text}"))
    };
    let key = "cp -a /etc/ssh/initrd_key \"$tmp/.initrd-secrets/etc/ssh/key\"\n";
    let comparison = told(&store, make(""), make(key));
    assert_eq!(lines(&comparison), ["security ~ append-initrd-secrets: 1 line added: it puts secrets into the initrd"]);
    assert_eq!(comparison.changes[0].lines, [format!("+{}", key.trim_end())]);
    let same = told(&store, make(key), make(key));
    assert_eq!(lines(&same), ["info = 1 rebuilt: the same but for store paths: append-initrd-secrets"]);
    let new = told(&store, MadeSystem::new(&store), make(key));
    assert_eq!((new.changes[0].grade, new.changes[0].kind), (Grade::Security, Kind::Added));
    let gone = told(&store, make(key), MadeSystem::new(&store));
    assert_eq!((gone.changes[0].grade, gone.changes[0].kind), (Grade::Boot, Kind::Removed));
}

#[test]
fn parameters_that_protect_or_open_a_shell() {
    let store = MadeStore::new();
    let make = |parameters: &str| MadeSystem::new(&store).file("kernel-params", parameters);
    let protecting = "mitigations=off nospectre_v2 spectre_v2=off spec_store_bypass_disable=on pti=on nopti mds=off \
        l1tf=full tsx=off tsx_async_abort=off retbleed=off nosmt nosmt=force nokaslr slab_nomerge slub_debug=FZP \
        page_poison=1 init_on_alloc=0 init-on-free=1 lockdown=integrity module.sig_enforce=1 apparmor=1 selinux=0 \
        enforcing=0 lsm=landlock security=apparmor audit=0 intel_iommu=on iommu.passthrough=1 nosmap no_hash_pointers \
        systemd.debug_shell systemd.debug-shell=1 rd.systemd.debug_shell boot.shell_on_fail boot.debug1devices rescue \
        emergency rd.emergency SYSTEMD_SULOGIN_FORCE=1 systemd.setenv=SYSTEMD_SULOGIN_FORCE=1 single 1 -b \
        systemd.unit=rescue.target rd.systemd.unit=emergency.target init=/bin/sh";
    let others = "quiet loglevel=4 root=fstab initcall_debug initrd=x i915.options=1 net.ifnames=0 nohibernate \
        noresume systemd.show_status=auto audit_backlog_limit=64 boot.panic_on_fail console=tty1 rw tsc=reliable";
    for (parameters, grade) in [(protecting, Grade::Security), (others, Grade::Boot)] {
        for parameter in parameters.split_whitespace() {
            for (old, new, kind) in [("", parameter, Kind::Added), (parameter, "", Kind::Removed)] {
                let comparison = told(&store, make(old), make(new));
                let [change] = &comparison.changes[..] else { panic!("{:?}", lines(&comparison)) };
                assert_eq!((change.grade, change.kind, change.subject.as_str()), (grade, kind, parameter));
            }
        }
    }
}

#[test]
fn no_hash_of_a_password_is_shown() {
    let store = MadeStore::new();
    let make =
        |hash: &str| MadeSystem::new(&store).etc("grub.cfg", &format!("password_pbkdf2 root {hash}\nrun $5$1\n"));
    let comparison = told(&store, make("none"), make("grub.pbkdf2.sha512.10000.ABCDEF0123456789"));
    assert_eq!(
        comparison.changes[0].lines,
        ["-password_pbkdf2 root none", "+password_pbkdf2 root (a password's hash)"]
    );
    let crypt = told(&store, make("x"), make("'$y$j9T$abcdefghijklmnopqrst$uvwxyz'"));
    assert_eq!(crypt.changes[0].lines[1], "+password_pbkdf2 root '(a password's hash)'");
}

#[test]
fn a_hostile_configuration_drives_no_terminal() {
    let store = MadeStore::new();
    let evil = "\u{1b}[2J\u{202e}```\n";
    let new = MadeSystem::new(&store)
        .unit("a.service", &format!("[Service]\nExecStart=x {evil}\nUser={evil}"))
        .etc("b", &evil.repeat(50_000))
        .etc("sudoers", evil)
        .snippet("s", evil)
        .file("kernel-params", evil);
    let comparison = told(&store, MadeSystem::new(&store), new);
    for text in [human::render(&comparison, true), markdown::render(&comparison)] {
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()) && !text.contains('\u{202e}'));
        assert!(text.len() < 100_000, "{}", text.len());
    }
    assert!(!markdown::render(&comparison).contains("\n```\n```"));
}

#[test]
fn what_is_written_is_what_is_read() {
    let store = MadeStore::new();
    let comparison =
        told(&store, MadeSystem::new(&store), MadeSystem::new(&store).unit("a.timer", "[Timer]\nOnBootSec=1\n"));
    let text = render(&comparison, DiffFormat::Json, false);
    assert_eq!(serde_json::from_str::<Comparison>(&text).unwrap(), comparison);
    assert!(schema().contains("\"SwitchPlan\""));
}

#[test]
fn a_version_that_is_no_store_path_is_a_difference() {
    let store = MadeStore::new();
    let make = |image: &str| MadeSystem::new(&store).etc("images", &format!("run registry/app-{image}\n"));
    let comparison = told(&store, make("1.2"), make("1.3"));
    assert_eq!(comparison.changes[0].lines, ["-run registry/app-1.2", "+run registry/app-1.3"]);
}

#[test]
fn a_socket_starts_its_service_again() {
    let store = MadeStore::new();
    let make = |level: &str| {
        MadeSystem::new(&store)
            .user_unit("s.socket", "[Socket]\nListenStream=%t/s\n")
            .user_unit("other.service", "[Service]\nExecStart=/bin/x\n")
            .unit("a.socket", "[Socket]\nListenStream=/run/a\n")
            .unwanted("a.service", &format!("[Service]\nExecStart=/bin/a --level {level}\n"))
    };
    let comparison = told(&store, make("1"), make("2"));
    assert_eq!(comparison.switch.units.if_running, ["stop until it is asked for: a.service"]);
    assert_eq!(lines(&comparison), ["service ~ a.service: ExecStart changed"]);
}

#[test]
fn a_directive_that_is_set_to_nothing() {
    let store = MadeStore::new();
    let make = |more: &str| MadeSystem::new(&store).unit("a.service", &format!("[Service]\nExecStart=/bin/a\n{more}"));
    let (none, some) = ("CapabilityBoundingSet=\n", "CapabilityBoundingSet=CAP_KILL\n");
    for (old, new, said) in [
        (none, "", "security ~ a.service: its sandbox is weaker: CapabilityBoundingSet: (empty) → not set"),
        (none, some, "security ~ a.service: its sandbox is weaker: CapabilityBoundingSet: (empty) → CAP_KILL"),
        ("", none, "service ~ a.service: CapabilityBoundingSet changed"),
        (some, none, "service ~ a.service: CapabilityBoundingSet changed"),
    ] {
        let comparison = told(&store, make(old), make(new));
        assert_eq!(lines(&comparison), [said]);
        let shown = |text: &str| text.trim_end().split_once('=').map(|(_, value)| value.to_owned());
        let shown = |text: &str| shown(text).map(|value| if value.is_empty() { "(empty)".to_owned() } else { value });
        let detail = &comparison.changes[0].details[0];
        assert_eq!((&detail.from, &detail.to), (&shown(old), &shown(new)), "{said}");
    }
}

#[test]
fn what_starts_a_unit_besides_the_boot() {
    let store = MadeStore::new();
    let plain = "[Service]\nExecStart=/bin/x\n";
    let make = || {
        MadeSystem::new(&store)
            .unit("a.service", "[Unit]\nOnFailure=note@%n.service\n[Service]\nExecStart=/bin/a\nUser=a\n")
            .unwanted("there.service", plain)
    };
    let more = || {
        make()
            .unwanted("by-device.service", plain)
            .unit_link("dev-x.device.wants/by-device.service", "../by-device.service")
            .unwanted("by-sleep.service", &format!("[Unit]\nRequires=deeper.service\n{plain}User=s\n"))
            .unit_link("sleep.target.wants/by-sleep.service", "../by-sleep.service")
            .unit_link("sleep.target.wants/there.service", "../there.service")
            .unwanted("deeper.service", plain)
            .unwanted("note@.service", plain)
            .unwanted("lone.service", plain)
            .unwanted("with-lone.service", plain)
            .unit_link("lone.service.wants/with-lone.service", "../with-lone.service")
            .user_unit_of("graphical-session.target", "u.service", plain)
    };
    let added = told(&store, make(), more());
    assert_eq!(
        lines(&added),
        [
            "security + by-device.service: new, runs as root, with dev-x.device",
            "security + deeper.service: new, runs as root, with by-sleep.service",
            "security + note@.service: new, runs as root, on failure of a.service",
            "security ~ there.service: is started with sleep.target now, runs as root",
            "service + by-sleep.service: new, runs as s, with sleep.target",
            "service + u.service: new, run by each user's manager, with graphical-session.target",
            "info + 2 units: nothing starts by itself: lone.service, with-lone.service",
        ]
    );
    // What it runs is told as of any other.
    assert_eq!(added.changes[0].details[0].name, "ExecStart");
    let removed = told(&store, more(), make());
    assert_eq!(
        lines(&removed)[..2],
        [
            "service - by-device.service: removed, ran with dev-x.device",
            "service - by-sleep.service: removed, ran with sleep.target"
        ]
    );
    assert_eq!(removed.counts.info, 1, "{:?}", lines(&removed));
}

#[test]
fn a_rule_that_lets_anybody_write() {
    let store = MadeStore::new();
    let make = |rules: &str| MadeSystem::new(&store).etc("tmpfiles.d/00-nixos.conf", rules);
    let old = "d /var/lib/a 0700 root root -\n";
    for (rule, grade) in [
        ("d /var/lib/b 0777 root root -\n", "security"),
        ("f /var/lib/b 4755 root root -\n", "security"),
        ("d /var/lib/b 1777 root root -\n", "service"),
        ("d /var/lib/b 0755 root root -\n", "service"),
        ("L+ /var/lib/b - - - - /x\n", "service"),
        // As systemd.tmpfiles.settings makes them.
        ("'d' '/srv' '0777' 'user' 'users' '-' \n", "security"),
        ("'d' '/srv/a b' '0777' 'user' 'users' '-' \n", "security"),
        ("\"f+\" \"/srv/b\" \"~4755\" - - -\n", "security"),
        ("d /srv/a\\'b 0777 - - -\n", "security"),
        ("'d' '/srv/a 0777' '0755' 'user' 'users' '-' \n", "service"),
        ("'d' '' '0755' 'user' 'users' '-' \n", "service"),
        ("'d' '/srv\n", "service"),
    ] {
        let comparison = told(&store, make(old), make(&format!("{old}{rule}")));
        assert_eq!(lines(&comparison), [format!("{grade} ~ /etc/tmpfiles.d/00-nixos.conf: 1 line added")], "{rule}");
        // Each of the settings' names is a file of its own.
        let file = told(&store, make(old), make(old).etc("tmpfiles.d/10-srv.conf", rule));
        assert_eq!(lines(&file), [format!("{grade} + /etc/tmpfiles.d/10-srv.conf: new")], "{rule}");
        let gone = told(&store, make(old).etc("tmpfiles.d/10-srv.conf", rule), make(old));
        assert_eq!(lines(&gone), ["service - /etc/tmpfiles.d/10-srv.conf: removed"], "{rule}");
        let linked = |files: &[(&str, &str)]| {
            let directory = store.put("tmpfiles.d", &[files, &[("a.conf", old)]].concat());
            MadeSystem::new(&store).etc_link("tmpfiles.d", &directory)
        };
        let inner = told(&store, linked(&[]), linked(&[("srv.conf", rule)]));
        assert_eq!(lines(&inner), [format!("{grade} + /etc/tmpfiles.d: file new: srv.conf")], "{rule}");
    }
}

#[test]
fn a_line_that_lends_a_device_or_loads_other_code() {
    let store = MadeStore::new();
    let (udev, environment) = ("udev/rules.d/99-local.rules", "set-environment");
    for (name, line, grade) in [
        (udev, "KERNEL==\"uinput\", MODE=\"0666\"", "security"),
        (udev, "ENV{ID_MODEL}==\"x\", MODE:=\"666\"", "security"),
        (udev, "KERNEL==\"uinput\", MODE=\"0660\", GROUP=\"input\"", "service"),
        (udev, "# MODE=\"0666\"", "service"),
        (environment, "export LD_PRELOAD=\"/srv/x.so\"", "security"),
        (environment, "export EDITOR=\"vi\"", "service"),
    ] {
        let make = |more: &str| MadeSystem::new(&store).etc(name, &format!("# local\n{more}"));
        let comparison = told(&store, make(""), make(&format!("{line}\n")));
        assert_eq!(lines(&comparison), [format!("{grade} ~ /etc/{name}: 1 line added")], "{line}");
        let gone = told(&store, make(&format!("{line}\n")), make(""));
        assert_eq!(lines(&gone), [format!("service ~ /etc/{name}: 1 line removed")], "{line}");
    }
}

#[test]
fn a_directory_that_moved_hides_nothing() {
    let store = MadeStore::new();
    let make = |alias: &str, version: &str| {
        let generation = store.put("home-manager-generation", &[("home-files/.bashrc", alias), ("activate", "true\n")]);
        let package = store.put(&format!("nginx-{version}"), &[("etc/x", version)]);
        let container = store.put("nixos-system-c-26.11", &[("init", version)]);
        MadeSystem::new(&store)
            .unit("home-manager-a.service", &format!("[Service]\nUser=a\nExecStart=/bin/setup {generation}\n"))
            .unit("n.service", &format!("[Service]\nExecStart={package}/bin/x --config {package}/etc\n"))
            .etc("nixos-containers/c.conf", &format!("SYSTEM_PATH={container}\n"))
    };
    let comparison = told(&store, make("alias ls=ls\n", "1.0"), make("alias ls=evil\n", "1.1"));
    let said = lines(&comparison);
    assert_eq!(
        said[0],
        "service ~ home-manager-a.service: the text of home-manager-generation/home-files/.bashrc changed"
    );
    assert_eq!(said[1], "service ~ /etc/nixos-containers/c.conf: a file that it names differs");
    assert_eq!(comparison.changes[1].lines, ["~ another system: nixos-system-c-26.11"]);
    assert_eq!(said[2..], ["info = 1 rebuilt: the same but for store paths: n.service (nginx 1.0 → 1.1)"]);
}

#[test]
fn who_is_logged_in_unasked() {
    let store = MadeStore::new();
    let make = |more: &str, custom: &str| {
        MadeSystem::new(&store)
            .unit("greetd.service", &format!("[Service]\nUser=g\nExecStart=/bin/agetty {more}\n"))
            .etc("gdm/custom.conf", custom)
    };
    let off = "[daemon]\nAutomaticLoginEnable=false\n";
    let comparison = told(&store, make("x", off), make("--autologin alice", "[daemon]\nAutomaticLoginEnable=true\n"));
    assert_eq!(comparison.counts.security, 2, "{:?}", lines(&comparison));
    let back = told(&store, make("--autologin alice y", "[daemon]\n"), make("--autologin alice x", off));
    assert_eq!(back.counts.security, 0, "{:?}", lines(&back));
}

#[test]
fn rules_that_refuse_nothing_are_no_firewall() {
    let store = MadeStore::new();
    let make = |policy: &str| {
        let rules = format!(
            "table inet x {{\nchain input {{\ntype filter hook input priority 0; policy {policy};\ntcp dport 22 accept\n}}\n}}\n"
        );
        let file = store.file("nftables-rules", &rules);
        MadeSystem::new(&store)
            .unit("nftables.service", &format!("[Service]\nType=oneshot\nRemainAfterExit=true\nExecStart={file}\n"))
    };
    let comparison = told(&store, make("drop"), make("accept"));
    assert!(lines(&comparison)[0].starts_with("security - firewall: turned off"), "{:?}", lines(&comparison));
    // Turned on, it opens nothing: all was open.
    let back = told(&store, make("accept"), make("drop"));
    assert_eq!(lines(&back)[0], "service + firewall: turned on; lets in 22/tcp");
    assert_eq!((back.counts.security, back.counts.service), (0, 1), "{:?}", lines(&back));
}

#[test]
fn files_of_passwords_are_the_systems_own() {
    let store = MadeStore::new();
    let make = |text: &str| {
        let pam = store.put("pam.d", &[("passwd", text)]);
        MadeSystem::new(&store)
            .etc("pam.d/passwd", &format!("auth required {text}\n"))
            .etc("mosquitto/passwd", &format!("eve:$6${text}\n"))
            .etc("shadow", &format!("root:$6${text}:1::::::\n"))
            .unit("a.service", &format!("[Service]\nUser=a\nExecStart=/bin/a {pam}\n"))
            .snippet("group", &format!("echo {text}"))
    };
    let comparison = told(&store, make("pam_unix.so"), make("pam_permit.so"));
    assert_eq!(
        lines(&comparison),
        [
            "security ~ /etc/pam.d/passwd: 1 line added, 1 removed",
            "security ~ snippet group: 1 line added, 1 removed",
            "service ~ a.service: the text of pam.d/passwd changed",
            "service ~ /etc/mosquitto/passwd: differs, and is not shown: it may hold passwords",
        ]
    );
    let new = told(&store, MadeSystem::new(&store), make("pam_unix.so"));
    for comparison in [comparison, new] {
        assert!(!human::render(&comparison, true).contains("$6$"), "no hash of a password");
    }
}

#[test]
fn what_runs_may_be_known() {
    let store = MadeStore::new();
    let make = |level: u8| {
        MadeSystem::new(&store)
            .unit("a.service", &format!("[Service]\nExecStart=/bin/a {level}\n"))
            .unwanted("b.service", &format!("[Service]\nExecStart=/bin/b {level}\n"))
            .path()
    };
    let (old, new) = (make(1), make(2));
    let plan = |active: Option<&[&str]>| {
        let active = active.map(|units| units.iter().map(|unit| (*unit).to_owned()).collect::<BTreeSet<_>>());
        switch_plan(store.store(), &old, &new, active.as_ref()).units.stop
    };
    assert_eq!(plan(None), ["a.service"]);
    assert_eq!(plan(Some(&["b.service"])), ["b.service"]);
    assert_eq!(plan(Some(&[])), Vec::<String>::new());
}

#[test]
fn links_in_circles_end() {
    let store = MadeStore::new();
    let circle = |_| {
        let path = store.put("circle", &[("x", "x")]);
        (0..12).for_each(|link| store.link(&path, &format!("l{link}"), "."));
        path
    };
    let make = |path: String| MadeSystem::new(&store).etc("a", &format!("{path}\n"));
    let (old, new) = (circle(1), circle(2));
    let clock = std::time::Instant::now();
    told(&store, make(old), make(new));
    assert!(clock.elapsed() < std::time::Duration::from_secs(20), "{:?}", clock.elapsed());
}

#[test]
fn directories_of_etc() {
    let store = MadeStore::new();
    let make = |version: &str, rule: &str, size: usize| {
        let zones =
            store.put(&format!("tzdata-{version}"), &[("share/zoneinfo/a", version), ("share/zoneinfo/b", version)]);
        let binary = "\u{0}".repeat(size);
        let rules = store.put("udev-rules", &[("50-a.rules", rule), ("hwdb", &binary), ("same", "same")]);
        let bus = store.put("dbus-1", &[("system.conf", rule)]);
        let mut made = MadeSystem::new(&store);
        for (name, target) in
            [("zoneinfo", format!("{zones}/share/zoneinfo")), ("udev/rules.d", rules), ("dbus-1", bus)]
        {
            made = made.etc_link(name, &target);
        }
        made
    };
    let comparison = told(&store, make("2026a", "a\n", 1), make("2026b", "b\n", 2));
    assert_eq!(
        lines(&comparison),
        [
            "service ~ /etc/dbus-1/system.conf and 1 more: 1 line added, 1 removed, as in /etc/udev/rules.d/50-a.rules",
            "service ~ /etc/udev/rules.d: no text, and of other sizes: /etc/udev/rules.d/hwdb",
            "info ~ /etc/zoneinfo: tzdata: 2026a → 2026b",
        ]
    );
    let same = told(&store, make("2026a", "a\n", 1), make("2026a", "a\n", 1));
    assert_eq!(lines(&same), ["info = 2 rebuilt: the same but for store paths: /etc/udev/rules.d/hwdb, /etc/zoneinfo"]);
}

#[test]
fn what_a_session_or_a_suspend_started_may_be_running() {
    let store = MadeStore::new();
    let make = |level: u8| {
        let text = |program: &str| format!("[Service]\nExecStart=/bin/{program} {level}\n");
        MadeSystem::new(&store)
            .unwanted("awake.service", &text("awake"))
            .unit_link("sleep.target.wants/awake.service", "../awake.service")
            .unwanted("lone.service", &text("lone"))
            .user_unit_of("graphical-session.target", "bar.service", &text("bar"))
            .user_unit_of("graphical-session.target", "once.service", &format!("{}Type=oneshot\n", text("once")))
    };
    let comparison = told(&store, make(1), make(2));
    assert_eq!(comparison.switch.units.if_running, ["restart awake.service"]);
    assert_eq!(comparison.switch.user_units.if_running, ["restart bar.service"]);
}

#[test]
fn what_needs_a_unit_is_in_the_plan() {
    let store = MadeStore::new();
    let make = |level: u8| {
        MadeSystem::new(&store)
            .unit("a.service", &format!("[Service]\nExecStart=/bin/a {level}\n"))
            .unit("b.service", "[Unit]\nBindsTo=a.service\n[Service]\nExecStart=/bin/b\n")
            .unit("c.service", "[Service]\nExecStart=/bin/c\n")
            .unit("d.service", "[Service]\nExecStart=/bin/d\n")
            .unit("e.service", "[Unit]\nRequiresMountsFor=/data\n[Service]\nExecStart=/bin/e\n")
            .unit_link("d.service.requires/a.service", "../a.service")
            .etc("fstab", &format!("/dev/{level} /data ext4 defaults\n"))
    };
    let units = told(&store, make(1), make(2)).switch.units;
    assert_eq!(units.stop, ["a.service", "b.service", "d.service"]);
    assert_eq!(units.start, ["a.service", "b.service", "d.service"]);
    assert_eq!(units.restart, ["data.mount", "e.service"]);
}

/// A system with such users and groups, in JSON.
fn with_accounts<'a>(store: &'a MadeStore, is_mutable: bool, users: &str, groups: &str) -> MadeSystem<'a> {
    let json = format!(r#"{{"mutableUsers":{is_mutable},"users":[{users}],"groups":[{groups}]}}"#);
    let file = store.file("users-groups.json", &json);
    MadeSystem::new(store).snippet("users", &format!("perl update-users-groups.pl {file}"))
}

#[test]
fn what_another_declaration_does_to_an_account() {
    let store = MadeStore::new();
    let stays = "the one on the machine stays";
    for (is_mutable, old, new, said) in [
        (
            true,
            r#""uid":1000"#,
            r#""uid":1001"#,
            "security ~ user a: uid 1000 → 1001 is declared: an account that is there keeps 1000",
        ),
        (
            true,
            r#""uid":null"#,
            r#""uid":1001"#,
            "security ~ user a: uid 1001 is declared: an account that is there keeps its own",
        ),
        (
            true,
            r#""hashedPassword":"$6$a""#,
            r#""hashedPassword":"$6$b""#,
            &format!("service ~ user a: another password is declared: {stays} (users.mutableUsers)"),
        ),
        (
            true,
            r#""hashedPassword":"!""#,
            r#""hashedPassword":"""#,
            &format!("service ~ user a: another password is declared: {stays} (users.mutableUsers)"),
        ),
        (
            true,
            r#""hashedPassword":"$6$a""#,
            r#""hashedPassword":null"#,
            &format!("service ~ user a: no password is declared any more: {stays} (users.mutableUsers)"),
        ),
        (false, r#""hashedPassword":"$6$a""#, r#""hashedPassword":"$6$b""#, "security ~ user a: another password"),
        (false, r#""hashedPassword":"$6$a""#, r#""hashedPassword":"""#, "security ~ user a: the password is empty now"),
        (
            false,
            r#""initialPassword":"a""#,
            r#""initialPassword":"b""#,
            &format!("service ~ user a: another password is declared: {stays} (an initial one is for a new account)"),
        ),
        (false, r#""homeMode":"700""#, r#""homeMode":"755""#, "security ~ user a: homeMode 700 → 755"),
        (false, r#""homeMode":"755""#, r#""homeMode":"700""#, "service ~ user a: homeMode 755 → 700"),
        (false, r#""expires":"2026-01-01""#, r#""expires":null"#, "security ~ user a: expires 2026-01-01 → not set"),
        (
            false,
            r#""expires":"2026-01-01""#,
            r#""expires":"2025-12-31""#,
            "service ~ user a: expires 2026-01-01 → 2025-12-31",
        ),
        (false, r#""group":"users""#, r#""group":"docker""#, "security ~ user a: group users → docker"),
        (false, r#""group":"users""#, r#""group":"audio""#, "service ~ user a: group users → audio"),
        // A key of one version of NixOS only.
        (
            false,
            r#""group":"users""#,
            r#""group":"users","createHome":true"#,
            "info = 1 rebuilt: the same but for store paths: snippet users",
        ),
    ] {
        let make = |part: &str| {
            let user = format!(r#"{{"name":"a","home":"/home/a","shell":"/bin/sh",{part}}}"#);
            with_accounts(&store, is_mutable, &user, "")
        };
        let comparison = told(&store, make(old), make(new));
        assert_eq!(lines(&comparison)[0], said);
        assert!(!human::render(&comparison, true).contains("$6$"), "no hash of a password");
    }
}

#[test]
fn who_is_in_a_powerful_group() {
    let store = MadeStore::new();
    let group = |name: &str, gid: u8, members: &str| {
        with_accounts(&store, true, "", &format!(r#"{{"name":"{name}","gid":{gid},"members":[{members}]}}"#))
    };
    for (name, gid, said) in [
        ("docker", 1, "security ~ group docker: bob joins, who is not declared here"),
        ("audio", 1, "service ~ group audio: bob joins, who is not declared here"),
        (
            "audio",
            2,
            "security ~ group audio: gid 1 → 2 is declared: a group that is there keeps 1; bob joins, who is not declared here",
        ),
    ] {
        let comparison = told(&store, group(name, 1, ""), group(name, gid, r#""bob""#));
        assert_eq!(lines(&comparison)[0], said);
    }
    let user = r#"{"name":"b","group":"docker","home":"/","shell":"/bin/nologin"}"#;
    let new = told(&store, with_accounts(&store, true, "", ""), with_accounts(&store, true, user, ""));
    assert_eq!(lines(&new)[0], "security + user b: new, without a login; in docker");
}

#[test]
fn what_a_container_is_given() {
    let store = MadeStore::new();
    let make = |text: &str| {
        let script = script(&store, "a", text);
        MadeSystem::new(&store).unit("a.service", &format!("[Service]\nUser=a\nExecStart={script}\n"))
    };
    let changed = "service ~ a.service: the text of a-start changed";
    for (old, new, said) in [
        (
            "docker run -p 127.0.0.1:5432:5432 x",
            "docker run -p 5432:5432 x",
            "security ~ a.service: publishes 5432:5432, past the firewall",
        ),
        ("docker run -p 80:80 x", "docker run -p 80:80 --privileged x", "security ~ a.service: runs with --privileged"),
        ("docker run -p 80:80 x", "docker run -p 127.0.0.1:80:80 x", changed),
        ("true", "mkdir -p /a", changed),
        ("true", "ssh -p 22 h", changed),
    ] {
        assert_eq!(lines(&told(&store, make(old), make(new)))[0], said, "{new}");
    }
    let new = told(&store, MadeSystem::new(&store), make("docker run -p 80:80 --privileged x"));
    let said = "security + a.service: new, runs as a, publishes 80:80, past the firewall, runs with --privileged";
    assert_eq!(lines(&new)[0], said);
}

#[test]
fn a_command_that_root_runs() {
    let store = MadeStore::new();
    let service = "[Service]\nUser=a\nExecStart=/bin/a\nExecStartPre=-+/bin/b\n";
    let new = told(&store, MadeSystem::new(&store), MadeSystem::new(&store).unit("a.service", service));
    assert_eq!(lines(&new), ["security + a.service: new, runs as a, and ExecStartPre as root"]);
}

/// A system with these lines of iptables in its firewall.
fn with_firewall<'a>(store: &'a MadeStore, rule: &str) -> MadeSystem<'a> {
    let text =
        format!("ip46tables -A nixos-fw {rule} -j nixos-fw-accept\nip46tables -A nixos-fw -j nixos-fw-log-refuse");
    let script = script(store, "firewall", &text);
    let unit = format!("[Service]\nType=oneshot\nRemainAfterExit=true\nExecStart=@{script} firewall-start\n");
    MadeSystem::new(store).unit("firewall.service", &unit)
}

#[test]
fn what_was_let_in_is_no_opening() {
    let store = MadeStore::new();
    for (old, new, security, said) in [
        (
            "-p tcp --dport 22",
            "-p tcp --dport 22 -i tailscale0",
            0,
            "service - 22/tcp: narrowed: only 22/tcp on tailscale0 now",
        ),
        ("-p tcp --dport 8000:8010", "-p tcp --dport 8005", 0, "service - 8000-8010/tcp: narrowed: only 8005/tcp now"),
        ("-i wg0", "-p tcp --dport 22 -i wg0", 0, "service - wg0: not trusted any more"),
        ("-p tcp --dport 22 -i wg0", "-p tcp --dport 22", 1, "security + 22/tcp: open now"),
        ("-p tcp --dport 22", "-p udp --dport 22", 1, "security + 22/udp: open now"),
    ] {
        let comparison = told(&store, with_firewall(&store, old), with_firewall(&store, new));
        assert_eq!((comparison.counts.security, lines(&comparison)[0].as_str()), (security, said), "{old} {new}");
    }
}

#[test]
fn a_firewall_of_firewalld() {
    let store = MadeStore::new();
    let firewalld = || MadeSystem::new(&store).unit("firewalld.service", "[Service]\nExecStart=/bin/firewalld\n");
    let own = || with_firewall(&store, "-p tcp --dport 22");
    for (old, new, said) in [
        (own(), firewalld(), "security ~ firewall: firewalld's now; its zones say what it lets in"),
        (firewalld(), own(), "security ~ firewall: NixOS's own now, no longer firewalld's; lets in 22/tcp"),
        (MadeSystem::new(&store), firewalld(), "service + firewall: turned on; its zones say what it lets in"),
    ] {
        let comparison = told(&store, old, new);
        assert!(lines(&comparison).contains(&said.to_owned()), "{:?}", lines(&comparison));
    }
}

#[test]
fn rules_wherever_they_lie() {
    let store = MadeStore::new();
    let of_etc = |name: &str| MadeSystem::new(&store).etc(name, "x\n");
    for name in ["nix/nix.custom.conf", "nix/machines", "firewalld/zones/public.xml"] {
        let comparison = told(&store, MadeSystem::new(&store), of_etc(name));
        assert_eq!(lines(&comparison), [format!("security + /etc/{name}: new")]);
    }
    let profiles = store.put("apparmor.d", &[("bin.x", "x")]);
    let linked = told(&store, MadeSystem::new(&store), MadeSystem::new(&store).etc_link("apparmor.d", &profiles));
    assert_eq!(lines(&linked), ["security + /etc/apparmor.d: new"]);
    let packages = |files: &[(&str, &str)]| MadeSystem::new(&store).link("sw", &store.put("system-path", files));
    let rule = |text: &'static str| packages(&[("share/polkit-1/rules.d/50-x.rules", text)]);
    let path = "/run/current-system/sw/share/polkit-1/rules.d/50-x.rules";
    let new = told(&store, packages(&[("bin/x", "x")]), rule("yes\n"));
    assert_eq!(lines(&new), [format!("security + {path}: new")]);
    assert_eq!(new.changes[0].area, Area::Rule);
    let changed = told(&store, rule("no\n"), rule("no\nyes\n"));
    assert_eq!(lines(&changed), [format!("security ~ {path}: 1 line added")]);
}

#[test]
fn settings_of_the_kernel_that_protect() {
    let store = MadeStore::new();
    let make = |text: &str| MadeSystem::new(&store).etc("sysctl.d/60-nixos.conf", text);
    let protecting = "kernel.kexec_load_disabled kernel.perf_event_paranoid kernel.io_uring_disabled \
        user.max_user_namespaces kernel.core_pattern kernel.modprobe kernel.ftrace_enabled dev.tty.ldisc_autoload \
        vm.mmap_min_addr net.ipv4.conf.all.send_redirects net.ipv4.conf.all.log_martians net.ipv4.tcp_syncookies \
        net.ipv4.conf.all.accept_source_route net.ipv6.conf.all.accept_ra kernel.kptr_restrict";
    let others = "vm.swappiness vm.max_map_count fs.inotify.max_user_watches net.core.rmem_max kernel.printk";
    for (names, grade) in [(protecting, "security"), (others, "service")] {
        for name in names.split_whitespace() {
            let comparison = told(&store, make(""), make(&format!("{name}=1\n")));
            assert_eq!(lines(&comparison), [format!("{grade} + {name}: not set → 1")]);
        }
    }
}

#[test]
fn what_is_read_at_the_next_start_only() {
    let store = MadeStore::new();
    let make = |name: &str, snippet: &str| {
        MadeSystem::new(&store).plain("hostname", &format!("{name}\n")).snippet("name", snippet)
    };
    for (snippet, reboot) in [
        ("true", &["the host name stays old".to_owned()][..]),
        ("hostname \"$(</etc/hostname)\"", &[]),
        ("echo new >/proc/sys/kernel/hostname", &[]),
    ] {
        let switch = told(&store, make("old", snippet), make("new", snippet)).switch;
        assert_eq!((switch.reboot.as_slice(), switch.command.as_str()), (reboot, "switch"), "{snippet}");
    }
    let made = |text: &str| {
        let link = store.put("kmod-1.0", &[("bin/modprobe", "\u{0}")]);
        MadeSystem::new(&store)
            .etc("udev/rules.d/50-a.rules", text)
            .etc("modprobe.d/a.conf", text)
            .etc("modprobe.d/moved.conf", &format!("install x {link}/bin/modprobe\n"))
    };
    let (udev, modules) = (
        "udev rules and .link files: for devices that appear later",
        "module options: when the module is loaded again",
    );
    let switch = told(&store, made("a\n"), made("b\n")).switch;
    assert_eq!((switch.reboot, switch.command), (vec![udev.to_owned(), modules.to_owned()], "switch".to_owned()));
    assert_eq!(told(&store, made("a\n"), made("a\n")).switch.reboot, Vec::<String>::new());
}

#[test]
fn who_may_edit_what_is_booted() {
    let store = MadeStore::new();
    let make = |text: &str| {
        let loader = store.file("systemd-boot", text);
        MadeSystem::new(&store).starter(&format!("export INSTALL_BOOTLOADER='{loader}'\n"))
    };
    let (off, on) = ("EDITOR = \"\" == \"1\"\n", "EDITOR = \"1\" == \"1\"\n");
    for (old, new, said) in [
        (off, on, "security ~ boot loader: its editor is turned on; 1 line added, 1 removed"),
        (on, off, "boot ~ boot loader: 1 line added, 1 removed"),
        ("x", "x\neditor_enabled: yes\n", "security ~ boot loader: its editor is turned on; 1 line added"),
        (
            "x\n<attr name=\"hashedPassword\">\n",
            "x\n",
            "security ~ boot loader: a user or a password of its menu is gone; 1 line removed",
        ),
        ("timeout 1\n", "timeout 2\n", "boot ~ boot loader: 1 line added, 1 removed"),
    ] {
        assert_eq!(lines(&told(&store, make(old), make(new))), [said], "{old} {new}");
    }
}

proptest! {
    /// Whatever stands in a file, it is read to its end and nothing else happens.
    #[test]
    fn any_text_is_read(text in "(/nix/store/|[a-f0-9]{32}|-|\\PC|\n|=|\\[|\\]|\\{|\\}|accept|dport|chain input| ){0,60}") {
        names::readable(&text);
        names::nameless(&text);
        names::split(&text);
        for range in names::store_paths(&text) {
            names::whole_path(&text[range.start..]);
        }
        unit_file::UnitFile::parse(&text);
        firewall::Firewall::of(&[text.as_str()]);
        wrappers::wrappers(&text);
        containers::Grants::of(&[text.as_str()]);
        accounts::Accounts::from_files(&text, Some(&text), Some(&text));
        accounts::Accounts::from_json(&text);
        mounts::Fstab::parse(&text);
        lines::differences(&text, "");
    }
}
