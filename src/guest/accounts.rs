//! Accounts and groups: passwd(5), shadow(5), group(5). The guest's shell looks at each password field itself and says
//! in one letter what is in it, so that no hash leaves the guest. Directories on the way to a home that its owner cannot
//! enter. And pam.d(5), as far as its modules are not there, or it refuses everybody.

use std::collections::BTreeMap;

use super::facts::{Account, Barrier, ClosedService, Group, MissingModule, Password};
use crate::text::bounded;

/// Prints `a NAME PASSWORD UID GID HOME SHELL EXECUTABLE KEY` for each line of passwd, `s NAME PASSWORD` for each of
/// shadow, `h UID HOME` for each home that is there, `b NAME MODE OWNER DIRECTORY` for each directory above a user's home
/// that the user cannot enter, the outermost last, `u NAME LINE` for each of three users whom su(1) refuses a session, with
/// what a module of PAM's or else su said last, where none of logind's would come of asking, `m SERVICE CONTROL MODULE` for each PAM module that a service names by
/// its path and that is not there, `d SERVICE TYPE` where its rules of a type come to pam_deny.so and none before it may
/// end them or jump, with tabs between. PASSWORD: `e` nothing, `s` a hash, `l` what no
/// password matches, `x` see shadow. To be run in a subshell.
pub(super) const SCRIPT: &str = r#"
p() {
 case $1 in
  '') P=e;; x) P=x;; '!'*|'*'*) P=l;; '$'?*|_????????*) P=s;;
  *[!./0-9A-Za-z]*) P=l;; ?????????????) P=s;; *) P=l;;
 esac
}
set --
while IFS=: read -r A B C D E F J; do
 p "$B"; Y=0; K=0
 [ -f "${J:-/bin/sh}" ] && [ -x "${J:-/bin/sh}" ] && Y=1
 for X in "$F/.ssh/authorized_keys" "/etc/ssh/authorized_keys.d/$A"; do
  [ -r "$X" ] && while read -r V || [ "$V" ]; do
   case $V in ''|'#'*) ;; *) K=1; break;; esac
  done <"$X"
 done
 printf 'a\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$A" "$P" "$C" "$D" "$F" "${J:-/bin/sh}" "$Y" "$K"
 case " $* " in *" $F "*) ;; *) [ -d "$F" ] && set -- "$@" "$F";; esac
done </etc/passwd
[ -r /etc/shadow ] && while IFS=: read -r A B C; do
 p "$B"
 printf 's\t%s\t%s\n' "$A" "$P"
done </etc/shadow
command -v setpriv >/dev/null && while IFS=: read -r A B C D E F J; do
 case $C in ''|*[!0-9]*) continue;; esac
 [ "$C" -ge 1000 ] && [ "$C" -lt 60000 ] && [ -d "$F" ] || continue
 X=${F%/*}
 while [ "$X" ]; do
  Y=$(stat -L -c '%a	%u' -- "$X")
  case ${Y%	*} in
   *[02468])
    setpriv --reuid "$C" --regid "$D" --init-groups sh -c '[ -x "$0" ] || exit 9' "$X" </dev/null >/dev/null 2>&1
    [ $? = 9 ] && printf 'b\t%s\t%s\t%s\n' "$A" "$Y" "$X";;
  esac
  X=${X%/*}
 done
done </etc/passwd
N=0
[ -e /run/nologin ] || ! command -v su >/dev/null || case $(cat /etc/pam.d/su) in ''|*pam_systemd*|*include*) ;; *)
 while IFS=: read -r A B C D E F J; do
  case $C in ''|*[!0-9]*) continue;; esac
  [ "$C" -ge 1000 ] && [ "$C" -lt 60000 ] && [ -f "$J" ] && [ -x "$J" ] && [ "$N" -lt 3 ] || continue
  N=$((N + 1))
  X=$(timeout 4 su -c 'exit 42' "$A" </dev/null 2>&1)
  [ $? = 42 ] || case ${X##*
} in 'su: '*)
   V=$(journalctl -b -q --no-pager -o cat -t su -p err -n 1)
   case $V in pam_*) X=$V;; esac
   printf 'u\t%s\t%s\n' "$A" "${X##*
}";;
  esac
 done </etc/passwd;;
esac
for X in /etc/pam.d/*; do
 O=
 [ -r "$X" ] && while read -r A B C; do
  case $A in -*|@*) O="$O auth account session"; continue;; ''|'#'*|password) continue;; esac
  case $B in '['*) while :; do case $B in *]*) break;; esac; [ "$C" ] || break; V=${C%% *}; case $C in *' '*) C=${C#* };; *) C=;; esac; B="$B $V"; done;; esac
  V=${C%% *}
  case $V in /*) [ -e "$V" ] || printf 'm\t%s\t%s\t%s\n' "${X##*/}" "$B" "$V";; esac
  case $B:$V in
   required:*pam_deny.so|requisite:*pam_deny.so) case "$O " in *" $A "*) ;; *) printf 'd\t%s\t%s\n' "${X##*/}" "$A";; esac;;
   required:*|requisite:*|optional:*) ;;
   *) O="$O $A";;
  esac
 done <"$X"
done
[ $# = 0 ] || stat -L -c 'h	%u	%n' -- "$@"
"#;

/// Most accounts and groups that are kept.
const MOST: usize = 4096;

/// Most PAM modules that are kept.
const MOST_MODULES: usize = 256;

/// Reads the accounts of what [`SCRIPT`] printed.
pub(super) fn accounts(lines: &str) -> Vec<Account> {
    let mut accounts: Vec<Account> = Vec::new();
    let mut shadow: BTreeMap<&str, &str> = BTreeMap::new();
    let mut owners: BTreeMap<&str, u32> = BTreeMap::new();
    let mut own: BTreeMap<String, &str> = BTreeMap::new();
    let mut barriers: BTreeMap<&str, Barrier> = BTreeMap::new();
    let mut refused: BTreeMap<&str, String> = BTreeMap::new();
    for line in lines.lines() {
        let words: Vec<&str> = line.split('\t').collect();
        match words[..] {
            ["a", name, password, uid, gid, home, shell, executable, key] if accounts.len() < MOST => {
                let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse()) else { continue };
                let program = shell.rsplit('/').next().unwrap_or_default();
                own.insert(name.to_owned(), password);
                accounts.push(Account {
                    name: bounded(name, 256),
                    uid,
                    gid,
                    home: bounded(home, 1024),
                    shell: bounded(shell, 1024),
                    shell_works: executable == "1"
                        && !matches!(program, "nologin" | "false" | "true" | "sync" | "shutdown" | "halt"),
                    has_key: key == "1",
                    ..Account::default()
                });
            }
            ["s", name, password] => {
                shadow.insert(name, password);
            }
            ["h", uid, home] => {
                if let Ok(uid) = uid.parse() {
                    owners.insert(home, uid);
                }
            }
            ["b", name, mode, owner, directory] => {
                let barrier =
                    Barrier { directory: bounded(directory, 1024), mode: bounded(mode, 8), owner: owner.parse().ok() };
                barriers.insert(name, barrier);
            }
            ["u", name, line] => drop(refused.insert(name, bounded(line, 256))),
            _ => {}
        }
    }
    for account in &mut accounts {
        account.barrier = barriers.remove(account.name.as_str());
        account.refused = refused.remove(account.name.as_str());
        let field = match own.get(&account.name) {
            Some(&"x") => shadow.get(account.name.as_str()).copied().unwrap_or("l"),
            Some(field) => field,
            None => "l",
        };
        account.password = match field {
            "e" => Password::Empty,
            "s" => Password::Set,
            _ => Password::Locked,
        };
        account.home_owner = owners.get(account.home.as_str()).copied();
    }
    accounts
}

/// Reads the PAM modules that are not there, of what [`SCRIPT`] printed.
pub(super) fn missing_modules(lines: &str) -> Vec<MissingModule> {
    let modules = lines.lines().filter_map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
        ["m", service, control, module] => Some(MissingModule {
            service: bounded(service, 256),
            control: bounded(control, 256),
            module: bounded(module, 1024),
        }),
        _ => None,
    });
    modules.take(MOST_MODULES).collect()
}

/// Reads PAM's services that refuse everybody, of what [`SCRIPT`] printed.
pub(super) fn closed_services(lines: &str) -> Vec<ClosedService> {
    let services = lines.lines().filter_map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
        ["d", service, kind] => Some(ClosedService { service: bounded(service, 256), kind: bounded(kind, 16) }),
        _ => None,
    });
    services.take(MOST_MODULES).collect()
}

/// Reads group(5).
pub(super) fn groups(text: &str) -> BTreeMap<String, Group> {
    let lines = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split(':').collect();
        let members = words.get(3)?.split(',').filter(|name| !name.is_empty()).map(|name| bounded(name, 256));
        let group = Group { gid: words.get(2)?.parse().ok()?, members: members.take(MOST).collect() };
        Some((bounded(words.first()?, 256), group))
    });
    lines.take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    /// The script over files of ours instead of the machine's.
    fn look(passwd: &str, shadow: &str) -> Vec<Account> {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        std::fs::create_dir_all(dir.path().join("home/.ssh")).unwrap();
        std::fs::write(dir.path().join("home/.ssh/authorized_keys"), "# none\n\nssh-ed25519 AAAA me").unwrap();
        std::fs::write(path("passwd"), passwd.replace("HOME", &path("home"))).unwrap();
        std::fs::write(path("shadow"), shadow).unwrap();
        let script = SCRIPT.replace("/etc/passwd", &path("passwd")).replace("/etc/shadow", &path("shadow"));
        let output = Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.contains("HASH"), "{text}");
        accounts(&text)
    }

    #[test]
    fn homes_that_their_owners_cannot_enter() {
        // Only root can ask as somebody else.
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o755)).tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        for (name, mode) in
            [("shut", 0o700), ("shut/in", 0o700), ("shut/in/me", 0o755), ("open", 0o755), ("open/me", 0o700)]
        {
            std::fs::create_dir(at(name)).unwrap();
            std::fs::set_permissions(at(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        let passwd = format!(
            "a:x:1000:1000::{}:/bin/sh\nb:x:1001:1001::{}:/bin/sh\nc:x:999:999::{}:/bin/sh\n",
            at("shut/in/me"),
            at("open/me"),
            at("shut/in/me")
        );
        let barriers: Vec<Option<Barrier>> = look(&passwd, "").into_iter().map(|account| account.barrier).collect();
        let shut = Barrier { directory: at("shut"), mode: "700".into(), owner: Some(0) };
        assert_eq!(barriers, [Some(shut), None, None]);
    }

    #[test]
    fn modules_that_are_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().join("pam_here.so").display().to_string();
        std::fs::write(&here, "").unwrap();
        std::fs::create_dir(dir.path().join("pam.d")).unwrap();
        let text = format!(
            "# Account management.\naccount required /nix/store/x/pam_unix.so # unix (order 10900)\n\
             auth [success=1 default=ignore] /nix/store/x/pam_gone.so likeauth\nauth required {here}\n\
             auth required pam_deny.so\n-session optional /nix/store/x/pam_silent.so\n\
             password required /nix/store/x/pam_pwquality.so\nauth include login\n"
        );
        std::fs::write(dir.path().join("pam.d/sudo"), text).unwrap();
        let script = SCRIPT.replace("/etc/pam.d", &dir.path().join("pam.d").display().to_string());
        let output = Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
        let found = missing_modules(&String::from_utf8(output.stdout).unwrap());
        let told: Vec<_> = found.iter().map(|it| (&*it.service, &*it.control, &*it.module)).collect();
        assert_eq!(
            told,
            [
                ("sudo", "required", "/nix/store/x/pam_unix.so"),
                ("sudo", "[success=1 default=ignore]", "/nix/store/x/pam_gone.so"),
            ]
        );
    }

    #[test]
    fn services_that_refuse_everybody() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("pam.d")).unwrap();
        for (service, text) in [
            (
                "login",
                "account required pam_unix.so\nauth required pam_faillock.so\nauth required pam_deny.so # first\n\
                       auth sufficient pam_unix.so\n",
            ),
            ("usual", "auth sufficient pam_unix.so\nauth required pam_deny.so\n"),
            (
                "jumps",
                "auth [success=1 default=ignore] pam_unix.so\nauth requisite pam_deny.so\nauth required pam_permit.so\n",
            ),
            ("included", "auth include login\nauth required pam_deny.so\n"),
            ("debian", "@include common-auth\nauth required pam_deny.so\n"),
            ("silent", "-auth sufficient pam_gnome_keyring.so\nauth required pam_deny.so\n"),
            ("expired", "auth sufficient pam_unix.so\naccount requisite /nix/store/x/pam_deny.so\n"),
            ("passwords", "password required pam_deny.so\n"),
        ] {
            std::fs::write(dir.path().join("pam.d").join(service), text).unwrap();
        }
        let script = SCRIPT.replace("/etc/pam.d", &dir.path().join("pam.d").display().to_string());
        let output = Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
        let found = closed_services(&String::from_utf8(output.stdout).unwrap());
        let told: Vec<_> = found.iter().map(|it| (&*it.service, &*it.kind)).collect();
        assert_eq!(told, [("expired", "account"), ("login", "auth")]);
    }

    #[test]
    fn sessions_that_su_refuses() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            std::fs::set_permissions(dir.path().join(name), PermissionsExt::from_mode(0o755)).unwrap();
        };
        std::fs::create_dir(dir.path().join("pam.d")).unwrap();
        write(
            "passwd",
            "alice:x:1000:100::/:/bin/sh\nbob:x:1001:100::/:/bin/sh\ngit:x:1002:100::/:/bin/sh\nroot:x:0:0::/:/bin/sh\n",
        );
        let su = "#!/bin/sh\ncase $3 in alice) echo noise; echo 'su: cannot open session: Permission denied'; exit 1;;\n\
                  bob) exit 42;; git) echo 'unknown command' >&2; exit 128;; *) exit 9;; esac";
        write("su", su);
        let ask = |pam: &str| {
            write("pam.d/su", pam);
            let at = |name: &str| dir.path().join(name).display().to_string();
            let script = SCRIPT.replace("/etc/passwd", &at("passwd")).replace("/etc/pam.d", &at("pam.d"));
            let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
            let output = Command::new("/bin/sh").args(["-c", &script]).env("PATH", path).output().unwrap();
            accounts(&String::from_utf8(output.stdout).unwrap())
        };
        let refused: Vec<_> = ask("session required pam_limits.so\n").into_iter().map(|it| it.refused).collect();
        assert_eq!(refused, [Some("su: cannot open session: Permission denied".to_owned()), None, None, None]);
        // logind would begin a session, and the user's manager with it.
        let pam = "session required pam_limits.so\nsession optional /nix/store/x/pam_systemd.so\n";
        assert!(ask(pam).into_iter().all(|account| account.refused.is_none()));
    }

    #[test]
    fn passwords_are_told_by_state() {
        let accounts = look(
            "root:x:0:0:System administrator:/root:/bin/sh\n\
             set:x:1:1::/:/bin/sh\nold:x:2:1::/:/bin/sh\nempty:x:3:1::/:/bin/sh\nlocked:x:4:1::/:/bin/sh\n\
             was:x:5:1::/:/bin/sh\nstar:x:6:1::/:/bin/sh\nnone:x:7:1::/:/bin/sh\nplain:$6$HASH:8:1::/:/bin/sh\n\
             open::9:1::/:/bin/sh\n",
            "root:$y$HASH$x:1::::::\nset:$6$HASH:1::::::\nold:abHASHcdefghi:1::::::\nempty::1::::::\n\
             locked:!:1::::::\nwas:!$6$HASH:1::::::\nstar:*:1::::::\n",
        );
        let states: Vec<_> = accounts.iter().map(|account| (account.name.as_str(), account.password)).collect();
        assert_eq!(
            states,
            [
                ("root", Password::Set),
                ("set", Password::Set),
                ("old", Password::Set),
                ("empty", Password::Empty),
                ("locked", Password::Locked),
                ("was", Password::Locked),
                ("star", Password::Locked),
                ("none", Password::Locked),
                ("plain", Password::Set),
                ("open", Password::Empty),
            ]
        );
    }

    #[test]
    fn shells_homes_and_keys() {
        let accounts = look(
            "me:x:1000:100:A B:HOME:/bin/sh\nno:x:1001:100::/nowhere:/usr/sbin/nologin\nbad:x:1002:100::/nowhere:/nix/gone/fish\n\
             default:x:1003:100::HOME:\n",
            "",
        );
        let uid = nix::unistd::geteuid().as_raw();
        let seen: Vec<_> = accounts.iter().map(|a| (a.shell_works, a.has_key, a.home_owner)).collect();
        assert_eq!(
            seen,
            [(true, true, Some(uid)), (false, false, None), (false, false, None), (true, true, Some(uid))]
        );
    }

    #[test]
    fn groups_and_their_members() {
        let groups = groups("root:x:0:\nwheel:x:1:me,you\nodd\n");
        assert_eq!(groups["wheel"], Group { gid: 1, members: vec!["me".into(), "you".into()] });
        assert_eq!(groups.len(), 2);
    }
}
