//! What a machine has beside what its configuration says: recorded before a switch, after it and after switching back. Most is
//! among the facts that the checks rest on; the rest is read here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ruleset::{self, Ruleset};
use super::sessions::{group, stat};
use crate::diff::Units;
use crate::guest::facts::Facts;
use crate::guest::{Error, Guest};
use crate::model::STORE_DIR;
use crate::text::{bounded, quoted};

/// Most bytes that the guest's shell answers.
const ANSWER: usize = 8 << 20;
/// Most entries of each kind that are kept.
const MOST: usize = 5000;
/// Most bytes of a name.
const NAME: usize = 512;
/// How much longer than a lookup it may take: it starts two dozen programs.
const LOOKUPS: u32 = 3;
/// What is printed last.
const END: &str = "nixbox-end\n";

/// A record, or why there is none.
pub(crate) type Recorded = Result<Record, String>;

/// What was recorded of a machine that was switched.
#[derive(Default)]
pub(crate) struct Records {
    /// Before the switch, after it, and after switching back.
    pub(crate) taken: [Option<Recorded>; 3],
    /// The units of what was switched from, and of the target.
    pub(crate) units: [Units; 2],
}

/// A machine's state at one time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Units, listeners, network, accounts, groups.
    pub(crate) facts: Facts,
    /// What no check asks for.
    pub(crate) state: MachineState,
    /// How long that took to read, in seconds.
    #[serde(default)]
    pub(crate) seconds: f64,
}

/// What no check asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct MachineState {
    pub(crate) firewall: Ruleset,
    /// Users whose managers are started at boot.
    pub(crate) lingering: BTreeSet<String>,
    /// Entries of `/var/lib`, two levels, of `/home`, and NixOS's wrappers, by path.
    pub(crate) owners: BTreeMap<String, Owner>,
    /// Entries of `/etc` and `/run` themselves that are no links into the store, nor directories of `/etc` without a file.
    pub(crate) entries: BTreeSet<String>,
    /// What is mounted where.
    pub(crate) mounts: BTreeMap<String, String>,
    /// Where something is mounted as it is asked for.
    pub(crate) automounts: BTreeSet<String>,
    /// The kernel's modules.
    pub(crate) modules: BTreeSet<String>,
    /// Values below `/proc/sys`, of what either configuration sets.
    pub(crate) sysctl: BTreeMap<String, String>,
    pub(crate) processes: BTreeMap<u32, Process>,
}

/// Whose a file is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// As inode(7) has it: its kind and who may do what with it.
    pub(crate) mode: u32,
}

impl Owner {
    /// Who may do what with it.
    pub(crate) fn permissions(self) -> u32 {
        self.mode & 0o7777
    }

    /// Whether it is a directory.
    pub(crate) fn is_directory(self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} {:04o}", self.uid, self.gid, self.permissions())
    }
}

/// A process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Process {
    /// When it began, in clock ticks since the boot: a pid alone may have been given again.
    pub(crate) started: u64,
    /// Empty where it could not be read.
    pub(crate) executable: String,
    /// Its user and its control group, where it is a user's.
    pub(crate) group: Option<(u32, String)>,
}

/// What is asked, for what these toplevels have and set. One process a part: under TCG a fork costs more than the reading.
fn script(toplevels: [&str; 2]) -> String {
    let sysctl = toplevels.map(|toplevel| format!("{}/etc/sysctl.d/*.conf", quoted(toplevel))).join(" ");
    let programs = toplevels.map(|toplevel| format!(":{}/sw/bin", quoted(toplevel))).concat();
    let firewall = ruleset::SCRIPT;
    format!(
        "( cd / || exit 1\n\
         echo; echo nixbox-firewall; ( PATH=$PATH{programs}\n{firewall} )\n\
         echo; echo nixbox-owners; stat -c '%u %g %f %n' var/lib/* var/lib/*/* home/* run/wrappers/bin/* 2>/dev/null\n\
         echo nixbox-linger; ls -1 var/lib/systemd/linger 2>/dev/null\n\
         echo nixbox-entries; stat -c '%F %N' etc/* run/* 2>/dev/null\n\
         echo nixbox-filled; find etc -mindepth 2 ! -type d 2>/dev/null | cut -d/ -f1-2 | sort -u\n\
         echo nixbox-mounts; cat /proc/self/mounts\n\
         echo nixbox-modules; cat /proc/modules 2>/dev/null\n\
         echo nixbox-sysctl; cat {sysctl} 2>/dev/null | sed -n 's/^[- ]*\\([a-z][A-Za-z0-9_.\\/-]*\\) *=.*/\\1/p' | sed '/^[^.]*\\//!y|./|/.|' | sort -u | sed 's|^|/proc/sys/|' | xargs -r head -v -c 300 2>/dev/null\n\
         echo; echo nixbox-exe; stat -c %N proc/[0-9]*/exe 2>/dev/null\n\
         echo nixbox-stat; head -q -c 500 proc/[0-9]*/stat 2>/dev/null\n\
         echo; echo nixbox-cgroup; cd proc; grep -H user.slice [0-9]*/cgroup 2>/dev/null\n\
         echo; echo nixbox-end )"
    )
}

/// Reads what no check asks for.
///
/// # Errors
/// The guest could not be asked within [`LOOKUPS`] times `patience`, or did not say all of it.
pub(crate) async fn machine_state(
    guest: &Guest,
    toplevels: [&str; 2],
    patience: Duration,
) -> Result<MachineState, Error> {
    let output = guest.shell().ask(&script(toplevels), patience * LOOKUPS, ANSWER).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    // What is missing would be taken for what is gone.
    if text.ends_with(END) { Ok(parse(&text)) } else { Err(Error::Garbled) }
}

/// Reads what [`script`] printed.
fn parse(text: &str) -> MachineState {
    let part = |name: &str| {
        let rest = text.split_once(&format!("\nnixbox-{name}\n")).map_or("", |(_, rest)| rest);
        if rest.starts_with("nixbox-") { "" } else { rest.split_once("\nnixbox-").map_or(rest, |(part, _)| part) }
    };
    let bound = |text: &str| bounded(text, NAME);
    let owner = |line: &str| {
        let mut words = line.splitn(4, ' ');
        let (uid, gid) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let mode = u32::from_str_radix(words.next()?, 16).ok()?;
        Some((format!("/{}", bound(words.next()?)), Owner { uid, gid, mode }))
    };
    let mount = |line: &str| {
        let mut words = line.split(' ');
        let (what, place, kind) = (words.next()?, words.next()?, words.next()?);
        Some((bound(place), bound(&format!("{what} ({kind})")), kind == "autofs"))
    };
    let (automounts, mounts): (Vec<_>, Vec<_>) =
        part("mounts").lines().filter_map(mount).take(MOST).partition(|(_, _, is_automount)| *is_automount);
    let value = |part: &str| {
        let (path, value) = part.split_once(" <==\n")?;
        let name = path.strip_prefix("/proc/sys/")?.replace(['.', '/'], ".");
        Some((bound(&name), bound(&value.split_whitespace().collect::<Vec<_>>().join(" "))))
    };
    let executable = |line: &str| {
        let (link, to) = line.split_once(" -> ")?;
        let pid = link.trim_matches('\'').strip_prefix("proc/")?.split('/').next()?.parse().ok()?;
        Some((pid, bound(to.trim_matches('\''))))
    };
    let mut processes: BTreeMap<u32, Process> = BTreeMap::new();
    for (pid, _, started) in part("stat").lines().filter_map(stat).take(MOST) {
        processes.insert(pid, Process { started, ..Process::default() });
    }
    for (pid, executable) in part("exe").lines().filter_map(executable) {
        processes.entry(pid).and_modify(|process| process.executable = executable);
    }
    for (pid, group) in part("cgroup").lines().filter_map(group) {
        processes.entry(pid).and_modify(|process| process.group = Some(group));
    }
    let filled: BTreeSet<&str> = part("filled").lines().collect();
    MachineState {
        firewall: Ruleset::parse(part("firewall")),
        owners: part("owners").lines().filter_map(owner).take(MOST).collect(),
        lingering: part("linger").lines().map(bound).take(MOST).collect(),
        entries: part("entries").lines().filter_map(|line| entry(line, &filled)).take(MOST).collect(),
        mounts: mounts.into_iter().map(|(place, what, _)| (place, what)).collect(),
        automounts: automounts.into_iter().map(|(place, ..)| place).collect(),
        modules: part("modules").lines().filter_map(|line| line.split(' ').next()).map(bound).take(MOST).collect(),
        sysctl: part("sysctl").split("==> ").filter_map(value).take(MOST).collect(),
        processes,
    }
}

/// An entry that is no link into the store: `symbolic link 'etc/fstab' -> '/etc/static/fstab'` is one. NixOS leaves the
/// directories of links that it removes, so one below `/etc` counts only where there is a file in it (if that is known).
fn entry(line: &str, filled: &BTreeSet<&str>) -> Option<String> {
    let (kind, name) = line.split_once(" '")?;
    let (path, target) = name.split_once('\'')?;
    let is_owned = kind.ends_with("link") && (target.contains("/etc/static") || target.contains(STORE_DIR));
    let is_hollow = kind == "directory" && path.starts_with("etc/") && !filled.is_empty() && !filled.contains(path);
    (!is_owned && !is_hollow).then(|| format!("/{}", bounded(path, NAME)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_guest_printed() {
        let state = parse(concat!(
            "\nnixbox-firewall\n#> nft -s list ruleset\ntable ip nat-lab {\n\tchain post {\n",
            "\t\ttype nat hook postrouting priority srcnat; policy accept;\n\t\tmasquerade\n\t}\n}\n#< 0\n",
            "\nnixbox-owners\n390 391 41c0 var/lib/mail\n0 0 81a4 var/lib/with space\n0 0 8d49 run/wrappers/bin/sudo\n",
            "nixbox-linger\ncarol\n",
            "nixbox-entries\nsymbolic link 'etc/fstab' -> '/etc/static/fstab'\nregular file 'etc/passwd'\ndirectory 'run/app'\n\
             directory 'etc/alsa'\ndirectory 'etc/ssh'\nnixbox-filled\netc/ssh\n",
            "nixbox-mounts\ntmpfs /run tmpfs rw 0 0\nsystemd-1 /boot autofs rw 0 0\n/dev/vda1 /boot vfat rw 0 0\n",
            "nixbox-modules\nbridge 1 0 - Live 0x0\n",
            "nixbox-sysctl\n==> /proc/sys/vm/swappiness <==\n60\n\n==> /proc/sys/net/ipv4/ping_group_range <==\n0\t2147483647\n",
            "\nnixbox-exe\n'proc/1/exe' -> '/nix/store/x-systemd/lib/systemd/systemd'\n",
            "nixbox-stat\n1 (systemd) S 0 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 7 1 1\n",
            "700 (sleep) S 1 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 900 1 1\n",
            "\nnixbox-cgroup\n700/cgroup:0::/user.slice/user-1001.slice/user@1001.service/app.slice/sync.service\n",
        ));
        let rules: Vec<&str> = state.firewall.rules.iter().map(String::as_str).collect();
        assert_eq!(rules, ["table ip nat-lab chain post: masquerade"]);
        let owner = state.owners["/var/lib/mail"];
        assert_eq!((owner.to_string().as_str(), owner.is_directory()), ("390:391 0700", true));
        assert!(!state.owners["/var/lib/with space"].is_directory());
        assert_eq!(state.owners["/run/wrappers/bin/sudo"].permissions(), 0o6511);
        assert_eq!(state.entries.iter().collect::<Vec<_>>(), ["/etc/passwd", "/etc/ssh", "/run/app"]);
        assert!(state.lingering.contains("carol"));
        assert_eq!(
            (state.mounts["/run"].as_str(), state.mounts["/boot"].as_str()),
            ("tmpfs (tmpfs)", "/dev/vda1 (vfat)")
        );
        assert!(state.automounts.contains("/boot"));
        assert_eq!((state.modules.len(), state.sysctl["vm.swappiness"].as_str()), (1, "60"));
        assert_eq!(state.sysctl["net.ipv4.ping_group_range"], "0 2147483647");
        assert_eq!(state.processes[&1].executable, "/nix/store/x-systemd/lib/systemd/systemd");
        assert_eq!((state.processes[&1].started, state.processes[&1].group.as_ref()), (7, None));
        let (uid, group) = state.processes[&700].group.clone().unwrap();
        assert!(uid == 1001 && group.ends_with("/sync.service"), "{group}");
    }

    #[test]
    fn the_script_works_on_this_machine() {
        let text = script(["/nix/store/a", "/nix/store/b"]);
        let output = std::process::Command::new("/bin/sh").args(["-c", &text]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.ends_with(END), "{text}");
        let state = parse(&text);
        assert!(state.processes.len() > 1 && !state.mounts.is_empty(), "{state:?}");
        assert!(state.processes.values().any(|process| process.started > 0 && !process.executable.is_empty()));
        let places = ["/var/lib/", "/home/", "/run/"];
        assert!(state.owners.keys().all(|path| places.iter().any(|place| path.starts_with(place))));
    }
}
