//! What systemd itself says of the configuration's own unit files, those that a boot does not start included.
//!
//! Units that packages bring are left out: on NixOS `/etc/systemd/system/NAME` leads into `/nix/store/…-unit-NAME` where
//! the configuration wrote the unit, and into a package where it did not.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Error, Guest, Limits};
use crate::text::bounded;

/// Most lines that are kept of what systemd says, or of one kind of line of the files.
const LINES: usize = 500;
/// Most bytes of one line.
const LINE: usize = 400;
/// Most bytes of the answer.
const ANSWER: usize = 2 << 20;
/// Keys whose lines are read: who runs it, which files and units it needs, what says that it looks elsewhere for its
/// program, and where its sockets are.
const KEYS: &str = "User|Group|SupplementaryGroups|DynamicUser|SocketUser|SocketGroup|EnvironmentFile\
                    |LoadCredential|LoadCredentialEncrypted|RootDirectory|RootImage|ExecSearchPath\
                    |ProtectSystem|ProtectHome|ReadOnlyPaths|BindReadOnlyPaths|ProtectKernelTunables|ProtectControlGroups|TemporaryFileSystem\
                    |Condition[A-Za-z]*|Assert[A-Za-z]*|Unit|Service|ListenStream|ListenDatagram\
                    |After|Before|Wants|Requires|Requisite|BindsTo|PartOf|Upholds";

/// The configuration's own unit files, of the system's manager and of users'.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnitFiles {
    /// Of PID 1: `/etc/systemd/system`.
    pub system: OwnUnits,
    /// Of every user's manager: `/etc/systemd/user`, and home-manager's below `/home`.
    pub user: OwnUnits,
    /// Files that units need and that are not there.
    pub missing: BTreeSet<String>,
    /// `passwd:` of nsswitch.conf(5): where else accounts come from.
    pub accounts_from: String,
}

/// Unit files of one kind of manager.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OwnUnits {
    /// Files and drop-ins that the configuration wrote: `backup.service`, `backup.service.d/overrides.conf`.
    pub names: BTreeSet<String>,
    /// What `systemd-analyze verify` says.
    pub said: Vec<String>,
    /// Lines of theirs, by unit: (key, value), in order.
    pub lines: BTreeMap<String, Vec<(String, String)>>,
}

/// Half a second under TCG for a server's 60 units: one call for all.
fn script() -> String {
    format!(
        r#"( LC_ALL=C; export LC_ALL; XDG_RUNTIME_DIR=/run; export XDG_RUNTIME_DIR
command -v systemd-analyze >/dev/null && command -v find >/dev/null || echo nixbox-lacks
for S in system user; do
set --
M=; [ $S = user ] && M=--user
echo "nixbox-own $S"
T=$(find /etc/systemd/$S/ -maxdepth 2 ! -type d -printf '%H%P %l\n' 2>/dev/null
[ $S = user ] && find /home/*/.config/systemd/user/ -maxdepth 2 ! -type d -printf '%H%P %l\n' 2>/dev/null)
while read -r F L; do
case $F in *.wants/*|*.requires/*|*.upholds/*) continue ;; esac
case $L in ''|/nix/store/*-unit-*|/nix/store/*-home-manager-files/*) ;; *) continue ;; esac
echo "$F"
case $F in
*.d/*) F=${{F%.d/*}}; [ -e "$F" ] || continue; case " $* " in *" $F "*) continue ;; esac ;;
*.service|*.socket|*.timer|*.path|*.target|*.mount|*.automount|*.swap|*.slice) ;;
*) continue ;;
esac
set -- "$@" "$F"
done <<NIXBOX_END
$T
NIXBOX_END
echo "nixbox-lines $S"
T=$(grep -HsE '^({KEYS})=.' "$@" /etc/systemd/$S/*.d/*.conf /dev/null | cut -c 1-{LINE})
printf '%s\n' "$T"
echo "nixbox-missing $S"
while IFS= read -r F; do
case $F in
*:EnvironmentFile=/*) F=${{F#*:EnvironmentFile=}} ;;
*:LoadCredential*=*:/*) F=/${{F##*:/}} ;;
*) continue ;;
esac
case $F in *[*?%]*) ;; *) [ -e "$F" ] || echo "$F" ;; esac
done <<NIXBOX_END
$T
NIXBOX_END
echo "nixbox-said $S"
[ $# = 0 ] || systemd-analyze verify $M --man=no --recursive-errors=no "$@" 2>&1 | cut -c 1-{LINE}
done
echo nixbox-accounts all
grep -s '^passwd:' /etc/nsswitch.conf
: )"#
    )
}

impl OwnUnits {
    /// What these keys are set to in a unit's files, in order: the last counts, as a rule.
    pub(crate) fn values<'a>(
        &'a self,
        unit: &str,
        keys: &'a [&str],
    ) -> impl DoubleEndedIterator<Item = (&'a str, &'a str)> {
        let lines = self.lines.get(unit).into_iter().flatten();
        lines.filter(|(key, _)| keys.contains(&key.as_str())).map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// Whether systemd takes a value for yes (systemd.syntax(7)).
pub(crate) fn is_yes(value: &str) -> bool {
    ["1", "yes", "y", "true", "t", "on"].contains(&value)
}

impl Guest {
    /// Has the guest's systemd verify the configuration's own unit files.
    ///
    /// # Errors
    /// The guest could not be asked, or has no `systemd-analyze`.
    pub async fn unit_files(&self, limits: &Limits) -> Result<UnitFiles, Error> {
        let output = self.shell().ask(&script(), limits.patience, ANSWER).await?;
        let text = String::from_utf8_lossy(&output.stdout);
        if text.starts_with("nixbox-lacks\n") {
            return Err(Error::Lacks("systemd-analyze".to_owned()));
        }
        Ok(read(&text))
    }
}

/// Reads what the script printed.
fn read(text: &str) -> UnitFiles {
    let mut all = UnitFiles::default();
    let mut part = ("", "");
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(begun) = line.strip_prefix("nixbox-").and_then(|rest| rest.split_once(' ')) {
            part = begun;
            continue;
        }
        let units = if part.1 == "user" { &mut all.user } else { &mut all.system };
        match part.0 {
            "own" if units.names.len() < LINES => drop(units.names.insert(bounded(short(line), LINE))),
            "lines" => add_line(units, line),
            "missing" if all.missing.len() < LINES => drop(all.missing.insert(bounded(line, LINE))),
            "said" if units.said.len() < LINES => units.said.push(bounded(line, LINE)),
            "accounts" => all.accounts_from = bounded(line.trim_start_matches("passwd:").trim(), LINE),
            _ => {}
        }
    }
    all
}

/// A file's name below the directory of units: `a.service`, `a.service.d/b.conf`.
pub(crate) fn short(path: &str) -> &str {
    let mut parts = path.rmatch_indices('/');
    let last = parts.next().map_or(0, |(at, _)| at + 1);
    let before = parts.next().map_or(0, |(at, _)| at + 1);
    if path[before..last].ends_with(".d/") { &path[before..] } else { &path[last..] }
}

/// The unit that a file belongs to.
pub(crate) fn unit_of(name: &str) -> &str {
    name.split_once(".d/").map_or(name, |(unit, _)| unit)
}

fn add_line(units: &mut OwnUnits, line: &str) {
    let Some((path, (key, value))) = line.split_once(':').and_then(|(path, rest)| Some((path, rest.split_once('=')?)))
    else {
        return;
    };
    let name = short(path);
    // A package's own drop-in says nothing of the configuration.
    if !units.names.contains(name) || units.lines.len() >= LINES {
        return;
    }
    let lines = units.lines.entry(unit_of(name).to_owned()).or_default();
    if lines.len() < LINES {
        lines.push((key.to_owned(), bounded(value.trim(), LINE)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_script_prints_is_read() {
        let all = read(
            "nixbox-own system\n/etc/systemd/system/a.service\n/etc/systemd/system/b.service.d/overrides.conf\n\
             nixbox-lines system\n/etc/systemd/system/a.service:User=bob\n/etc/systemd/system/c.service.d/x.conf:User=eve\n\
             /etc/systemd/system/b.service.d/overrides.conf:EnvironmentFile=/etc/b.env\nnixbox-missing system\n/etc/b.env\n\
             nixbox-said system\na.service: Command /x is not executable: No such file or directory\n\
             nixbox-own user\n/home/al/.config/systemd/user/u.service\nnixbox-accounts all\npasswd:    files systemd\n",
        );
        assert_eq!(all.system.names.iter().collect::<Vec<_>>(), ["a.service", "b.service.d/overrides.conf"]);
        assert_eq!(all.system.lines["a.service"], [("User".to_owned(), "bob".to_owned())]);
        assert!(all.system.lines.contains_key("b.service") && !all.system.lines.contains_key("c.service"));
        assert!(all.missing.contains("/etc/b.env") && all.system.said.len() == 1);
        assert!(all.user.names.contains("u.service"));
        assert_eq!(all.accounts_from, "files systemd");
    }

    /// Whatever this machine has, the shell understands the script.
    #[test]
    fn the_script_is_valid() {
        let output = std::process::Command::new("/bin/sh").args(["-n", "-c", &script()]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
