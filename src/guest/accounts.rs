//! Accounts and groups: passwd(5), shadow(5), group(5). The guest's shell looks at each password field itself and says
//! in one letter what is in it, so that no hash leaves the guest. Directories on the way to a home that its owner cannot
//! enter. And pam.d(5), as far as its modules are not there.

use std::collections::BTreeMap;

use super::facts::{Account, Barrier, Group, MissingModule, Password};
use crate::text::bounded;

/// Prints `a NAME PASSWORD UID GID HOME SHELL EXECUTABLE KEY` for each line of passwd, `s NAME PASSWORD` for each of
/// shadow, `h UID HOME` for each home that is there, `b NAME MODE OWNER DIRECTORY` for each directory above a user's home
/// that the user cannot enter, the outermost last, `m SERVICE CONTROL MODULE` for each PAM module that a service names by
/// its path and that is not there, with tabs between. PASSWORD: `e` nothing, `s` a hash, `l` what no
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
 [ -x "${J:-/bin/sh}" ] && Y=1
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
for X in /etc/pam.d/*; do
 [ -r "$X" ] && while read -r A B C; do
  case $A in ''|'#'*|-*|password) continue;; esac
  case $B in '['*) while :; do case $B in *]*) break;; esac; [ "$C" ] || break; V=${C%% *}; case $C in *' '*) C=${C#* };; *) C=;; esac; B="$B $V"; done;; esac
  V=${C%% *}
  case $V in /*) [ -e "$V" ] || printf 'm\t%s\t%s\t%s\n' "${X##*/}" "$B" "$V";; esac
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
            _ => {}
        }
    }
    for account in &mut accounts {
        account.barrier = barriers.remove(account.name.as_str());
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
