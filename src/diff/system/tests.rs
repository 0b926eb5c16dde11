use super::*;
use crate::diff::made::{MadeStore, MadeSystem};

#[test]
fn a_toplevel_in_nixos_form() {
    let store = MadeStore::new();
    let script = store.put(
        "unit-script-suid-sgid-wrappers-start",
        &[("bin/suid-sgid-wrappers-start", "cp x \"$wrapperDir/sudo\"\nchown root:root \"$wrapperDir/sudo\"\nchmod \"u+s,g-s,u+rx\" \"$wrapperDir/sudo\"\n")],
    );
    let start = store.put(
        "firewall-start",
        &[("bin/firewall-start", "ip46tables -A nixos-fw -p tcp --dport 22 -j nixos-fw-accept\nip46tables -A nixos-fw -j nixos-fw-log-refuse\n")],
    );
    let users = store.file("users-groups.json", r#"{"mutableUsers":false,"users":[{"name":"a","uid":1000,"group":"users","home":"/","shell":"/bin/sh"}],"groups":[]}"#);
    let checks = store.put(
        "pre-switch-checks",
        &[("bin/pre-switch-checks", "set -e\n# pre-switch check one\nset +e\nfalse\n# pre-switch check two\ntrue\n")],
    );
    let kernel = store.put("linux-6.12.5", &[("bzImage", "k")]);
    let made = MadeSystem::new(&store)
        .unit("suid-sgid-wrappers.service", &format!("[Service]\nExecStart={script}/bin/suid-sgid-wrappers-start\n"))
        .unit("firewall.service", &format!("[Service]\nExecStart=@{start}/bin/firewall-start firewall-start\n"))
        .unwanted("a.service", "[Service]\nExecStart=a\n")
        .unit_link("b.service", "a.service")
        .unit_link("m.service", "/dev/null")
        .etc("sudoers", "root ALL\n")
        .plain("sudoers.mode", "0440\n")
        .plain("sudoers.uid", "+0\n")
        .plain("sudoers.gid", "+0\n")
        .snippet("users", &format!("perl -w update-users-groups.pl {users}"))
        .snippet("etc", "echo etc")
        .file("kernel-params", "quiet  loglevel=4")
        .file("switch-inhibitors", r#"{"dbus-implementation":"broker"}"#)
        .starter(&format!(
            "export PRE_SWITCH_CHECK='{checks}/bin/pre-switch-checks'\nexport INSTALL_BOOTLOADER='/x/install-grub.sh'\n"
        ))
        .link("kernel", &format!("{kernel}/bzImage"));
    store.put("unused", &[]);
    let top = made.path();
    let system = System::read(&store.files(), &top);
    assert_eq!(system.wrappers["sudo"].lends(), "setuid root");
    assert!(system.firewall.is_on && system.firewall.open.len() == 1);
    assert_eq!(system.accounts.mutable, Some(false));
    assert_eq!(system.units.aliases["b.service"], "a.service");
    assert!(system.units.masked.contains("m.service"));
    assert_eq!(system.etc["sudoers"].mode.as_deref(), Some("0440 0:0"));
    assert!(!system.etc.contains_key("sudoers.mode") && system.etc.contains_key("hostname"));
    assert_eq!(system.snippets.keys().collect::<Vec<_>>(), ["etc", "users"]);
    assert_eq!(system.boot.parameters, ["quiet", "loglevel=4"]);
    assert!(system.boot.kernel.ends_with("linux-6.12.5/bzImage"), "{}", system.boot.kernel);
    assert_eq!(system.inhibitors["dbus-implementation"], "broker");
    assert_eq!(system.checks.keys().collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(system.boot.loader, "/x/install-grub.sh");
}

#[test]
fn a_toplevel_of_nothing_is_an_empty_one() {
    let store = MadeStore::new();
    let top = store.put("nothing", &[("x", "")]);
    let system = System::read(&store.files(), Path::new(&top));
    assert_eq!(System { top: PathBuf::new(), ..system }, System::default());
}
