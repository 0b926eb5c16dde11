//! What a switch and the way back have left (pure): `residue.*`, and what still runs as it was: `switch.stale`.
//!
//! * `ownership`: files whose owner's number is another's now, or no longer theirs

mod ownership;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::judge::announced::is_by_design;
use super::record::Record;
use crate::guest::facts::{Password, Unit};
use crate::judging::text::list;
use crate::judging::{Finding, compared};
use crate::model::{ActiveState, CheckId, CheckResult, MachinePhase, Status};

/// The first of the ports that programs get without asking for one (`net.ipv4.ip_local_port_range`).
const EPHEMERAL: u16 = 32768;
/// What comes and goes below `/etc` and `/run` by itself: of systemd, of NixOS, of nixbox, of those who are logged in.
const PASSING: [&str; 22] = [
    "/etc/.clean",
    "/etc/.updated",
    "/etc/.pwd.lock",
    "/etc/group-",
    "/etc/gshadow-",
    "/etc/passwd-",
    "/etc/shadow-",
    "/etc/subgid-",
    "/etc/subuid-",
    "/etc/adjtime",
    "/etc/resolv.conf",
    "/run/nixos",
    "/run/current-system",
    "/run/agetty.reload",
    "/run/keys",
    "/run/log",
    "/run/systemd",
    "/run/udev",
    "/run/user",
    "/run/wrappers",
    "/run/initctl",
    "/run/motd",
];
/// What is nixbox's own below `/run`.
const OURS: &str = "/run/nixbox";

/// The records of a rehearsal.
pub(crate) struct Records<'a> {
    /// Before the switch.
    pub(crate) before: &'a Record,
    /// After it.
    pub(crate) switched: &'a Record,
    /// After the way back; `None` where there was none.
    pub(crate) back: Option<&'a Record>,
}

/// The results of `residue.*` and `switch.stale`, each with its phase.
pub(crate) fn judge(records: &Records<'_>) -> Vec<CheckResult> {
    let switched = [stale(records), ownership::judge(records)].map(|result| result.in_phase(MachinePhase::Switched));
    let mut results = switched.to_vec();
    let Some(back) = records.back else {
        results.extend(after_the_way_back(Status::Skip, "not tested: there was no way back, or no record of it"));
        return results;
    };
    let between = Between { before: records.before, back, by: only_in_between(records) };
    let of = |id, findings: Vec<Finding>, none: &str| {
        compared(id, Status::Warn, findings, || none.to_owned()).in_phase(MachinePhase::Back)
    };
    results.extend([
        of(CheckId::ResidueUnits, between.units(), "the same units are active as before"),
        of(CheckId::ResidueSockets, between.sockets(), "nothing listens that did not before"),
        of(CheckId::ResidueNetwork, between.network(), "network devices, addresses and routes are as before"),
        of(CheckId::ResidueFirewall, between.firewall(), "the firewall's rules are as before"),
        of(CheckId::ResidueUsers, between.users(), "accounts and groups are as before"),
        of(CheckId::ResidueFiles, between.files(), "nothing new is in /var/lib, /etc and /run"),
        of(CheckId::ResidueMounts, between.mounts(), "the same is mounted as before"),
        of(CheckId::ResidueKernel, between.kernel(), "kernel modules and sysctl values are as before"),
    ]);
    results
}

/// What is judged of the machine after the way back.
const AFTER: [CheckId; 8] = [
    CheckId::ResidueUnits,
    CheckId::ResidueSockets,
    CheckId::ResidueNetwork,
    CheckId::ResidueFirewall,
    CheckId::ResidueUsers,
    CheckId::ResidueFiles,
    CheckId::ResidueMounts,
    CheckId::ResidueKernel,
];

fn after_the_way_back(status: Status, why: &str) -> impl Iterator<Item = CheckResult> {
    AFTER.into_iter().map(move |id| CheckResult::new(id, status, why).in_phase(MachinePhase::Back))
}

/// The results where the machine was not switched, or was and could not be recorded.
pub(crate) fn unrecorded(was_switched: bool) -> Vec<CheckResult> {
    let (status, why) = if was_switched {
        (Status::Unknown, "the machine's state could not be read, so nothing tells what is left")
    } else {
        (Status::Skip, "not tested: the machine was not switched")
    };
    let switched = [CheckId::SwitchStale, CheckId::ResidueOwnership]
        .map(|id| CheckResult::new(id, status, why).in_phase(MachinePhase::Switched));
    switched.into_iter().chain(after_the_way_back(status, why)).collect()
}

/// The units that ran only while the machine was switched: what is left is most likely theirs.
fn only_in_between(records: &Records<'_>) -> Vec<String> {
    let before = active(records.before);
    let units = active(records.switched);
    units.into_iter().filter(|unit| !before.contains(unit) && !is_by_design(unit)).map(str::to_owned).collect()
}

fn is_active(unit: &Unit) -> bool {
    matches!(unit.active_state, ActiveState::Active | ActiveState::Reloading | ActiveState::Activating)
}

fn active(record: &Record) -> BTreeSet<&str> {
    record.facts.units.iter().filter(|unit| is_active(unit)).map(|unit| unit.name.as_str()).collect()
}

/// The machine before the switch and after the way back.
struct Between<'a> {
    before: &'a Record,
    back: &'a Record,
    /// The units that ran in between only.
    by: Vec<String>,
}

impl Between<'_> {
    /// Something that is left, with who most likely left it.
    fn left(&self, item: &str, summary: String) -> Finding {
        // Who bears the name of what is left comes first.
        let words = || item.split(|c: char| !c.is_ascii_alphanumeric());
        let stem = |unit: &str| unit.split(['.', '@']).next().unwrap_or_default().to_owned();
        let named = self.by.iter().find(|unit| words().any(|word| word.len() > 2 && word == stem(unit)));
        let by = match (named, self.by.as_slice()) {
            (Some(unit), _) => format!("; likely left by {unit}"),
            (None, []) => String::new(),
            (None, units) => format!("; likely left by {}, which ran in the target only", list(units)),
        };
        Finding::new(item, format!("{summary}{by}"))
    }

    fn units(&self) -> Vec<Finding> {
        let before = active(self.before);
        let is_left =
            |unit: &&Unit| is_active(unit) && !before.contains(unit.name.as_str()) && !is_by_design(&unit.name);
        let left = self.back.facts.units.iter().filter(is_left).filter(|unit| !unit.name.ends_with(".mount"));
        left.map(|unit| {
            let from = if unit.fragment_path.contains("/transient/") { ", made at run time," } else { "" };
            self.left(&unit.name, format!("{}{from} is active after the way back, and was not before", unit.name))
        })
        .collect()
    }

    fn sockets(&self) -> Vec<Finding> {
        let key = |listener: &crate::guest::facts::Listener| (listener.protocol, listener.port);
        let before: BTreeSet<_> = self.before.facts.listeners.iter().map(key).collect();
        let mut seen = BTreeSet::new();
        let left = self.back.facts.listeners.iter().filter(|listener| {
            listener.port < EPHEMERAL && !before.contains(&key(listener)) && seen.insert(key(listener))
        });
        left.map(|listener| {
            let port = format!("{}/{}", listener.port, listener.protocol);
            let who = if listener.process.is_empty() { "something" } else { listener.process.as_str() };
            self.left(&port, format!("{who} listens on {port} after the way back"))
        })
        .collect()
    }

    fn network(&self) -> Vec<Finding> {
        let (before, back) = (&self.before.facts.network, &self.back.facts.network);
        // A container's end of a pair has another name each time.
        let links = back.links.iter().filter(|link| !before.links.contains(link) && !link.starts_with("veth"));
        let mut left: Vec<Finding> =
            links.map(|link| self.left(link, format!("the network device {link} stays after the way back"))).collect();
        for (link, addresses) in back.addresses.iter().filter(|(link, _)| before.links.contains(link)) {
            let known = before.addresses.get(link);
            let new = addresses.iter().filter(|address| known.is_none_or(|known| !known.contains(address)));
            // A lease may bring another address; one that is added beside it stays.
            let more = addresses.len() > known.map_or(0, Vec::len);
            left.extend(
                new.filter(|_| more && known.is_some())
                    .map(|address| self.left(address, format!("the address {address} stays on {link}"))),
            );
        }
        let routes = back.default_routes.iter().filter(|route| !before.default_routes.contains(route));
        let is_more = back.default_routes.len() > before.default_routes.len();
        left.extend(
            routes.filter(|_| is_more).map(|route| self.left(route, format!("a default route by {route} stays"))),
        );
        left
    }

    fn firewall(&self) -> Vec<Finding> {
        let new = self.back.state.rules.difference(&self.before.state.rules);
        let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for rule in new {
            let (place, rule) = rule.split_once(": ").unwrap_or(("", rule));
            places.entry(place).or_default().push(rule);
        }
        places
            .into_iter()
            .map(|(place, rules)| {
                let summary =
                    format!("rules stay in the firewall after the way back, in {place}: {}", rules.join("; "));
                self.left(place, summary)
            })
            .collect()
    }

    fn users(&self) -> Vec<Finding> {
        let mut left = Vec::new();
        for account in &self.back.facts.accounts {
            let known = self.before.facts.accounts.iter().find(|known| known.name == account.name);
            match known {
                None => left
                    .push(self.left(&account.name, format!("the account {} stays after the way back", account.name))),
                Some(known) if known.uid != account.uid => left.push(self.left(
                    &account.name,
                    format!(
                        "{} has the id {} after the way back, and had {} before",
                        account.name, account.uid, known.uid
                    ),
                )),
                Some(known) if known.password == Password::Set && account.password != Password::Set => {
                    left.push(self.left(
                        &account.name,
                        format!("the password of {} is gone after the way back: the account is locked", account.name),
                    ))
                }
                Some(_) => {}
            }
        }
        let groups = self.back.facts.groups.iter().filter(|(name, _)| !self.before.facts.groups.contains_key(*name));
        left.extend(groups.map(|(name, _)| self.left(name, format!("the group {name} stays after the way back"))));
        left
    }

    fn files(&self) -> Vec<Finding> {
        let (before, back) = (&self.before.state, &self.back.state);
        let owned = back.owners.keys().filter(|path| !before.owners.contains_key(*path));
        // What is in a directory that is left is left with it.
        let owned = owned.filter(|path| {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            parent == "/var/lib" || before.owners.contains_key(parent)
        });
        let is_passing = |path: &str| PASSING.contains(&path) || path.starts_with(OURS);
        let other = back.entries.difference(&before.entries).filter(|path| !is_passing(path));
        let linger = back.lingering.difference(&before.lingering).map(|user| {
            let path = format!("/var/lib/systemd/linger/{user}");
            let summary = format!("{path} stays after the way back: the manager of {user} is started at each boot");
            self.left(&path, summary)
        });
        owned
            .filter(|path| !path.starts_with("/var/lib/systemd/") && !path.starts_with("/var/lib/nixos/"))
            .chain(other)
            .map(|path| self.left(path, format!("{path} stays after the way back")))
            .chain(linger)
            .collect()
    }

    fn mounts(&self) -> Vec<Finding> {
        let new = self.back.state.mounts.iter().filter(|(place, _)| !self.before.state.mounts.contains_key(*place));
        let new = new.filter(|(place, _)| !place.starts_with("/run/user/") && !place.starts_with("/run/credentials/"));
        new.map(|(place, what)| self.left(place, format!("{what} stays mounted at {place}"))).collect()
    }

    fn kernel(&self) -> Vec<Finding> {
        let (before, back) = (&self.before.state, &self.back.state);
        let values = back.sysctl.iter().filter_map(|(name, value)| {
            let known = before.sysctl.get(name).filter(|known| *known != value)?;
            Some(self.left(
                name,
                format!("{name} is {value} after the way back, and was {known} before: nothing sets it back"),
            ))
        });
        let modules = back.modules.difference(&before.modules);
        values
            .chain(modules.map(|module| self.left(module, format!("the kernel module {module} stays loaded"))))
            .collect()
    }
}

/// Services that run on though what they are to execute has changed.
fn stale(records: &Records<'_>) -> CheckResult {
    let mut findings = Vec::new();
    for unit in records.switched.facts.units.iter().filter(|unit| is_active(unit)) {
        let known = records.before.facts.units.iter().find(|known| known.name == unit.name);
        let (Some(now), Some(before)) = (&unit.service, known.and_then(|known| known.service.as_ref())) else {
            continue;
        };
        let is_same_process = now.main_pid != 0 && now.main_pid == before.main_pid;
        if is_same_process && now.exec_start != before.exec_start && !is_by_design(&unit.name) {
            let summary = format!(
                "{} still runs what it ran before the switch, though its ExecStart= has changed: {}",
                unit.name,
                records
                    .switched
                    .state
                    .executables
                    .get(&now.main_pid)
                    .map_or("its executable is not known", String::as_str)
            );
            let hint = format!(
                "systemctl restart {0} after the switch, or reboot: X-RestartIfChanged=, X-StopIfChanged= or a user's own unit keep it",
                unit.name
            );
            findings.push(Finding::new(&unit.name, summary).hint(hint));
        }
    }
    compared(CheckId::SwitchStale, Status::Warn, findings, || "every service runs what its unit says".to_owned())
}
