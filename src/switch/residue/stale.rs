//! Processes that run on though what their unit executes has changed, or the unit is gone: `switch.stale`.

use std::collections::BTreeMap;

use super::{gap, is_active, is_by_design};
use crate::diff::Units;
use crate::guest::facts::Unit;
use crate::judging::{Finding, compared};
use crate::model::{CheckId, CheckResult, LoadState, Status};
use crate::switch::record::{Process, Record};

pub(super) fn judge(before: &Record, switched: &Record, from: &Units, target: &Units) -> CheckResult {
    let id = CheckId::SwitchStale;
    if let Err(why) = gap([before, switched], &["units"]) {
        return CheckResult::new(id, Status::Unknown, why);
    }
    let system = switched.facts.units.iter().filter_map(|unit| of_system(unit, before, switched));
    let users = of_users(before, switched, from, target);
    let findings = system.chain(users).collect();
    compared(id, Status::Warn, findings, || "every service runs what its unit says".to_owned())
}

/// A service of PID 1's.
fn of_system(unit: &Unit, before: &Record, switched: &Record) -> Option<Finding> {
    let known = before.facts.unit(&unit.name)?;
    let (now, was) = (unit.service.as_ref()?, known.service.as_ref()?);
    let is_counted = is_active(unit) && !is_by_design(&unit.name);
    let pid = now.main_pid;
    if !is_counted || pid == 0 || pid != was.main_pid || !is_same(pid, before, switched) {
        return None;
    }
    let is_gone = unit.load_state == LoadState::NotFound;
    (is_gone || now.exec_start != was.exec_start).then(|| {
        finding(&unit.name, &unit.name, is_gone, executable(switched, pid)).hint(format!(
            "systemctl {} {} after the switch, or reboot: {KEPT}",
            if is_gone { "stop" } else { "restart" },
            unit.name
        ))
    })
}

/// Why a unit is left as it is.
const KEPT: &str = "X-RestartIfChanged=, X-StopIfChanged= or X-StopOnRemoval= of the unit keep it";

/// The services of users' managers, by the control groups of their processes and by what the configurations say of them.
fn of_users(before: &Record, switched: &Record, from: &Units, target: &Units) -> Vec<Finding> {
    let was = first_processes(before);
    let mut findings = Vec::new();
    for (key @ (uid, unit), pid) in first_processes(switched) {
        let is_same_process = was.get(&key) == Some(&pid) && is_same(pid, before, switched);
        let (Some(old), true) = (from.user.unit(unit), is_same_process) else { continue };
        let new = target.user.unit(unit);
        let says = |unit: &crate::diff::unit_file::UnitFile| unit.values("Service", "ExecStart").to_vec();
        if new.as_ref().is_none_or(|new| says(new) != says(&old)) {
            let account = switched.facts.accounts.iter().find(|account| account.uid == uid);
            let user = account.map_or_else(|| uid.to_string(), |account| account.name.clone());
            let verb = if new.is_none() { "stop" } else { "restart" };
            findings.push(finding(unit, &format!("{unit} of {user}"), new.is_none(), executable(switched, pid)).hint(
                format!(
                    "systemctl --user -M {user}@ {verb} {unit} after the switch, or let {user} log in anew: {KEPT}"
                ),
            ));
        }
    }
    findings
}

fn finding(item: &str, name: &str, is_gone: bool, executable: &str) -> Finding {
    let summary = if is_gone {
        format!("{name} runs on after the switch, though the configuration has no such unit any more: {executable}")
    } else {
        format!("{name} still runs what it ran before the switch, though its ExecStart= has changed: {executable}")
    };
    Finding::new(item, summary)
}

/// The first process of each service of users' managers, by user and unit.
fn first_processes(record: &Record) -> BTreeMap<(u32, &str), u32> {
    let mut first: BTreeMap<(u32, &str), (u64, u32)> = BTreeMap::new();
    for (pid, process) in &record.state.processes {
        let Some((uid, group)) = &process.group else { continue };
        // What is not below the manager is a session's.
        let Some((_, below)) = group.split_once(".service/") else { continue };
        let Some(unit) = below.split('/').find(|part| part.ends_with(".service")) else { continue };
        let began = (process.started, *pid);
        first.entry((*uid, unit)).and_modify(|known| *known = began.min(*known)).or_insert(began);
    }
    first.into_iter().map(|(key, (_, pid))| (key, pid)).collect()
}

/// Whether a process is the same one, and not one that was given its number again.
fn is_same(pid: u32, before: &Record, switched: &Record) -> bool {
    let began = |record: &Record| record.state.processes.get(&pid).map(|process: &Process| process.started);
    match (began(before), began(switched)) {
        (Some(was), Some(is)) => was == is,
        // Only where its time could not be read.
        _ => true,
    }
}

fn executable(record: &Record, pid: u32) -> &str {
    let executable = record.state.processes.get(&pid).map_or("", |process| process.executable.as_str());
    if executable.is_empty() { "its executable is not known" } else { executable }
}
