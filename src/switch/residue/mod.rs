//! What a switch and the way back have left (pure): `residue.*`, and what still runs as it was: `switch.stale`.
//!
//! * `units`: units and accounts
//! * `network`: listeners, devices, addresses, routes, the firewall
//! * `files`: files, wrappers, mounts
//! * `kernel`: modules and sysctl values
//! * `ownership`: files that are somebody else's, or that a service can no longer read
//! * `stale`: processes that their units no longer describe

mod files;
mod kernel;
mod network;
mod ownership;
mod stale;
#[cfg(test)]
mod tests;
mod units;

use std::collections::{BTreeMap, BTreeSet};

use super::judge::announced::is_by_design;
use super::observation::Rehearsal;
use super::record::{Record, Records};
use crate::diff::Units;
use crate::guest::facts::Unit;
use crate::judging::text::{could_not_read, list};
use crate::judging::{Finding, compared};
use crate::model::{ActiveState, CheckId, CheckResult, LoadState, MachinePhase, Status};

/// What differs, or why that cannot be told.
type Differences = Result<Vec<Finding>, String>;

/// The results of `residue.*` and `switch.stale`, each with its phase.
pub(crate) fn judge(records: &Records, rehearsal: &Rehearsal, was_switched: bool) -> Vec<CheckResult> {
    let [before, switched, back] = &records.taken;
    let (before, switched) = match (before, switched) {
        (Some(Ok(before)), Some(Ok(switched))) => (before, switched),
        (Some(Err(why)), _) | (_, Some(Err(why))) if was_switched => return all(Status::Unknown, &unread(why)),
        _ if was_switched => return all(Status::Unknown, &unread("it was not asked")),
        _ => return all(Status::Skip, "not tested: the machine was not switched"),
    };
    let [from, target] = &records.units;
    let judged =
        ownership::judge(&ownership::Times { before, after: switched, from, now: target, since: "since the switch" });
    let switched_results = [stale::judge(before, switched, from, target), judged];
    let switched_results = switched_results.map(|result| result.in_phase(MachinePhase::Switched));
    let back = match back {
        Some(Ok(back)) => back,
        Some(Err(why)) => {
            return switched_results.into_iter().chain(all_after(Status::Unknown, &unread(why))).collect();
        }
        None => {
            let why = "not tested: it was not switched back";
            return switched_results.into_iter().chain(all_after(Status::Skip, why)).collect();
        }
    };
    let between = Between {
        before,
        switched,
        back,
        from,
        by: only_in_between([before, switched, back], from),
        stopped: stopped(rehearsal),
        on_demand: from.system.on_demand(),
    };
    let judged =
        ownership::judge(&ownership::Times { before, after: back, from, now: from, since: "after switching back" });
    let of = |id, differences: Differences, none: &str| match differences {
        Ok(findings) => compared(id, Status::Warn, findings, || none.to_owned()),
        Err(why) => CheckResult::new(id, Status::Unknown, why),
    };
    let after = [
        judged,
        of(CheckId::ResidueUnits, between.units(), "the same units are active as before"),
        of(CheckId::ResidueSockets, between.sockets(), "the same ports are listened on as before"),
        of(CheckId::ResidueNetwork, between.network(), "network devices, addresses and routes are as before"),
        of(CheckId::ResidueFirewall, between.firewall(), "the firewall's rules are as before"),
        of(CheckId::ResidueUsers, between.users(), "accounts and groups are as before"),
        of(
            CheckId::ResidueFiles,
            Ok(between.files()),
            "what no configuration owns in /var/lib, /etc and /run is as before",
        ),
        of(CheckId::ResidueMounts, Ok(between.mounts()), "the same file systems are mounted as before"),
        of(CheckId::ResidueKernel, Ok(between.kernel()), "kernel modules and sysctl values are as before"),
    ];
    let after = after.into_iter().map(|result| result.in_phase(MachinePhase::Back));
    switched_results.into_iter().chain(after).collect()
}

/// What is judged of the machine after switching back.
const AFTER: [CheckId; 9] = [
    CheckId::ResidueOwnership,
    CheckId::ResidueUnits,
    CheckId::ResidueSockets,
    CheckId::ResidueNetwork,
    CheckId::ResidueFirewall,
    CheckId::ResidueUsers,
    CheckId::ResidueFiles,
    CheckId::ResidueMounts,
    CheckId::ResidueKernel,
];

/// Nothing is known of the machine after switching back.
fn all_after(status: Status, why: &str) -> impl Iterator<Item = CheckResult> {
    AFTER.into_iter().map(move |id| CheckResult::new(id, status, why).in_phase(MachinePhase::Back))
}

/// Nothing is known of the machine.
fn all(status: Status, why: &str) -> Vec<CheckResult> {
    let switched = [CheckId::SwitchStale, CheckId::ResidueOwnership]
        .map(|id| CheckResult::new(id, status, why).in_phase(MachinePhase::Switched));
    switched.into_iter().chain(all_after(status, why)).collect()
}

fn unread(why: &str) -> String {
    could_not_read("state", why)
}

/// Why something is not known of one of the machine's times.
fn gap(records: [&Record; 2], names: &[&str]) -> Result<(), String> {
    let gaps = records.into_iter().flat_map(|record| &record.facts.gaps);
    match gaps.into_iter().find(|(name, _)| names.contains(&name.as_str())) {
        Some((name, why)) => Err(could_not_read(name, why)),
        None => Ok(()),
    }
}

/// The units that ran only while the machine was switched: what is left is most likely theirs.
fn only_in_between([before, switched, back]: [&Record; 3], from: &Units) -> Vec<String> {
    let before = active(before);
    let wanted = wanted(back, from);
    let units = active(switched).into_iter().filter(|unit| !before.contains(unit) && !wanted.contains(*unit));
    units.filter(|unit| !is_by_design(unit)).map(str::to_owned).collect()
}

/// The units that are meant to be up after switching back, though one may have come late before the switch.
fn wanted(back: &Record, from: &Units) -> BTreeSet<String> {
    let loaded = back.facts.units.iter().filter(|unit| unit.load_state == LoadState::Loaded);
    let wanted = loaded.filter(|unit| !unit.wanted_by.is_empty()).map(|unit| unit.name.clone());
    from.system.wanted().into_iter().chain(wanted).collect()
}

/// The units that PID 1 was asked to stop, and not to start since.
fn stopped(rehearsal: &Rehearsal) -> BTreeSet<&str> {
    let jobs = rehearsal.runs.iter().flat_map(|run| &run.jobs);
    let last: BTreeMap<&str, bool> = jobs
        .filter(|job| !job.job.contains("reload"))
        .map(|job| (job.unit.as_str(), job.job == "stop" || job.result != "done"))
        .collect();
    last.into_iter().filter(|(_, is_stopped)| *is_stopped).map(|(unit, _)| unit).collect()
}

fn is_active(unit: &Unit) -> bool {
    matches!(unit.active_state, ActiveState::Active | ActiveState::Reloading | ActiveState::Activating)
}

fn active(record: &Record) -> BTreeSet<&str> {
    record.facts.units.iter().filter(|unit| is_active(unit)).map(|unit| unit.name.as_str()).collect()
}

/// The machine before the switch and after switching back.
struct Between<'a> {
    before: &'a Record,
    switched: &'a Record,
    back: &'a Record,
    /// The units of the configuration that it runs again.
    from: &'a Units,
    /// The units that ran in between only.
    by: Vec<String>,
    stopped: BTreeSet<&'a str>,
    /// The units that run when something of the configuration asks for them.
    on_demand: BTreeSet<String>,
}

impl Between<'_> {
    /// Something that is left, with who most likely left it.
    fn left(&self, item: &str, summary: String) -> Finding {
        let by = match (self.named_after(item), self.by.as_slice()) {
            (Some(unit), _) => format!("; probably left by {unit}"),
            (None, []) => String::new(),
            (None, units) => format!("; probably left by {}, which ran only in the target", list(units)),
        };
        Finding::new(item, format!("{summary}{by}"))
    }

    /// Something that is gone, with who took it away, where a name tells.
    fn gone(&self, item: &str, summary: String) -> Finding {
        let by = self.named_after(item).map_or_else(String::new, |unit| format!("; probably removed by {unit}"));
        Finding::new(item, format!("{summary}{by}"))
    }

    /// The unit in between whose name this bears.
    fn named_after(&self, item: &str) -> Option<&String> {
        let words = || item.split(|c: char| !c.is_ascii_alphanumeric());
        let stem = |unit: &str| unit.split(['.', '@']).next().unwrap_or_default().to_owned();
        self.by.iter().find(|unit| words().any(|word| word.len() > 2 && word == stem(unit)))
    }
}
