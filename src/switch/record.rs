//! What a machine has beside what its configuration says: recorded before a switch, after it and after the way back. Most is
//! among the facts that the checks rest on; the rest is read here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::guest::facts::Facts;
use crate::guest::{Error, Guest};
use crate::text::{bounded, quoted};

/// Most bytes that the guest's shell answers.
const ANSWER: usize = 8 << 20;
/// Most entries of each kind that are kept.
const MOST: usize = 5000;
/// Most bytes of a name.
const NAME: usize = 512;

/// A machine's state at one time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Units, listeners, network, accounts, groups.
    pub(crate) facts: Facts,
    /// What no check asks for.
    pub(crate) state: MachineState,
}

/// What no check asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct MachineState {
    /// The firewall's rules, as `nft list ruleset` and `iptables-save` print them, each below the names of its table and
    /// chain, without counters.
    pub(crate) rules: BTreeSet<String>,
    /// Users whose managers are started at boot.
    pub(crate) lingering: BTreeSet<String>,
    /// Entries of `/var/lib`, two levels: owner and group, by path.
    pub(crate) owners: BTreeMap<String, (u32, u32)>,
    /// Entries of `/etc` and `/run` themselves that are no links into the store.
    pub(crate) entries: BTreeSet<String>,
    /// What is mounted where.
    pub(crate) mounts: BTreeMap<String, String>,
    /// The kernel's modules.
    pub(crate) modules: BTreeSet<String>,
    /// Values below `/proc/sys`, of what either configuration sets.
    pub(crate) sysctl: BTreeMap<String, String>,
    /// The executable of each process.
    pub(crate) executables: BTreeMap<u32, String>,
}

/// What is asked, for what these toplevels set. One process a part: under TCG a fork costs more than the reading.
fn script(toplevels: [&str; 2]) -> String {
    let sysctl = toplevels.map(|toplevel| format!("{}/etc/sysctl.d/*.conf", quoted(toplevel))).join(" ");
    format!(
        "( cd / || exit 1\n\
         echo; echo nixbox-nft; command -v nft >/dev/null && nft list ruleset 2>/dev/null\n\
         for i in iptables-save ip6tables-save; do command -v $i >/dev/null && {{ echo \"# $i\"; $i 2>/dev/null; }}; done\n\
         echo nixbox-owners; stat -c '%u %g %n' var/lib/* var/lib/*/* 2>/dev/null\n\
         echo nixbox-linger; ls -1 var/lib/systemd/linger 2>/dev/null\n\
         echo nixbox-entries; stat -c '%F %N' etc/* run/* 2>/dev/null\n\
         echo nixbox-mounts; cat /proc/self/mounts\n\
         echo nixbox-modules; cat /proc/modules 2>/dev/null\n\
         echo nixbox-sysctl; cat {sysctl} 2>/dev/null | sed -n 's/^[- ]*\\([a-z][A-Za-z0-9_.\\/-]*\\) *=.*/\\1/p' | sed '/^[^.]*\\//!y|./|/.|' | sort -u | sed 's|^|/proc/sys/|' | xargs -r head -v -c 300 2>/dev/null\n\
         echo; echo nixbox-exe; stat -c %N proc/[0-9]*/exe 2>/dev/null\n\
         : )"
    )
}

/// Reads what no check asks for.
///
/// # Errors
/// The guest could not be asked within `patience`.
pub(crate) async fn machine_state(
    guest: &Guest,
    toplevels: [&str; 2],
    patience: Duration,
) -> Result<MachineState, Error> {
    let output = guest.shell().ask(&script(toplevels), patience, ANSWER).await?;
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

/// Reads what [`script`] printed.
fn parse(text: &str) -> MachineState {
    let part = |name: &str| {
        let rest = text.split_once(&format!("\nnixbox-{name}\n")).map_or("", |(_, rest)| rest);
        if rest.starts_with("nixbox-") { "" } else { rest.split_once("\nnixbox-").map_or(rest, |(part, _)| part) }
    };
    let bound = |text: &str| bounded(text, NAME);
    let owner = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let ids = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some((format!("/{}", bound(words.next()?)), ids))
    };
    let mount = |line: &str| {
        let mut words = line.split(' ');
        let (what, place, kind) = (words.next()?, words.next()?, words.next()?);
        Some((bound(place), bound(&format!("{what} ({kind})"))))
    };
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
    MachineState {
        rules: rules(part("nft")),
        owners: part("owners").lines().filter_map(owner).take(MOST).collect(),
        lingering: part("linger").lines().map(bound).take(MOST).collect(),
        entries: part("entries").lines().filter_map(entry).take(MOST).collect(),
        mounts: part("mounts").lines().filter_map(mount).take(MOST).collect(),
        modules: part("modules").lines().filter_map(|line| line.split(' ').next()).map(bound).take(MOST).collect(),
        sysctl: part("sysctl").split("==> ").filter_map(value).take(MOST).collect(),
        executables: part("exe").lines().filter_map(executable).take(MOST).collect(),
    }
}

/// An entry that is no link into the store: `symbolic link 'etc/fstab' -> '/etc/static/fstab'` is one.
fn entry(line: &str) -> Option<String> {
    let (kind, name) = line.split_once(" '")?;
    let (path, target) = name.split_once('\'')?;
    let is_owned = kind.ends_with("link") && (target.contains("/etc/static") || target.contains("/nix/store/"));
    (!is_owned).then(|| format!("/{}", bounded(path, NAME)))
}

/// The rules of a firewall, each with where it stands, counters and handles left out.
fn rules(text: &str) -> BTreeSet<String> {
    let mut rules = BTreeSet::new();
    // nft's blocks, or the table that iptables-save is at.
    let mut at: Vec<String> = Vec::new();
    let mut saved: Option<(String, String)> = None;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(program) = line.strip_prefix("# ip") {
            if let Some(program) = program.split_whitespace().next().filter(|program| program.ends_with("tables-save"))
            {
                let family = if program.starts_with('6') { "ip6tables" } else { "iptables" };
                saved = Some((family.to_owned(), String::new()));
            }
            continue;
        }
        if let Some((family, table)) = &mut saved {
            match (line.strip_prefix('*'), line.starts_with("-A ")) {
                (Some(name), _) => name.clone_into(table),
                (None, true) => drop(rules.insert(bounded(&format!("{family} {table}: {line}"), NAME))),
                (None, false) => {}
            }
            continue;
        }
        if let Some(block) = line.strip_suffix('{') {
            at.push(block.trim().to_owned());
        } else if line == "}" {
            at.pop();
        } else if !at.is_empty() && !line.starts_with("comment ") {
            rules.insert(bounded(&format!("{}: {}", at.join(" "), without_counters(line)), NAME));
        }
        if rules.len() >= MOST {
            break;
        }
    }
    rules
}

/// A rule of nft's without what it has counted.
fn without_counters(line: &str) -> String {
    let mut words = line.split(' ').peekable();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == "counter" && words.peek() == Some(&"packets") {
            words.by_ref().take(4).for_each(drop);
            kept.push(word);
        } else {
            kept.push(word);
        }
    }
    kept.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_guest_printed() {
        let state = parse(concat!(
            "\nnixbox-nft\ntable ip nat-lab {\n\tchain post {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n",
            "\t\tip saddr 192.0.2.0/24 counter packets 12 bytes 800 masquerade\n\t}\n\tchain empty {\n\t}\n}\n",
            "# iptables-save\n*filter\n:INPUT ACCEPT [12:800]\n-A INPUT -i lo -j ACCEPT\nCOMMIT\n",
            "nixbox-owners\n390 390 var/lib/mail\n0 0 var/lib/with space\n",
            "nixbox-linger\ncarol\n",
            "nixbox-entries\nsymbolic link 'etc/fstab' -> '/etc/static/fstab'\nregular file 'etc/passwd'\ndirectory 'run/app'\n",
            "nixbox-mounts\ntmpfs /run tmpfs rw 0 0\nnixbox-modules\nbridge 1 0 - Live 0x0\n",
            "nixbox-sysctl\n==> /proc/sys/vm/swappiness <==\n60\n\n==> /proc/sys/net/ipv4/ping_group_range <==\n0\t2147483647\n",
            "\nnixbox-exe\n'proc/1/exe' -> '/nix/store/x-systemd/lib/systemd/systemd'\n",
        ));
        let rules: Vec<&str> = state.rules.iter().map(String::as_str).collect();
        assert_eq!(
            rules,
            [
                "iptables filter: -A INPUT -i lo -j ACCEPT",
                "table ip nat-lab chain post: ip saddr 192.0.2.0/24 counter masquerade",
                "table ip nat-lab chain post: type nat hook postrouting priority srcnat; policy accept;",
            ]
        );
        assert_eq!(state.owners["/var/lib/mail"], (390, 390));
        assert!(state.owners.contains_key("/var/lib/with space"));
        assert_eq!(state.entries.iter().collect::<Vec<_>>(), ["/etc/passwd", "/run/app"]);
        assert!(state.lingering.contains("carol"));
        assert_eq!(state.mounts["/run"], "tmpfs (tmpfs)");
        assert_eq!((state.modules.len(), state.sysctl["vm.swappiness"].as_str()), (1, "60"));
        assert_eq!(state.sysctl["net.ipv4.ping_group_range"], "0 2147483647");
        assert_eq!(state.executables[&1], "/nix/store/x-systemd/lib/systemd/systemd");
    }
}
