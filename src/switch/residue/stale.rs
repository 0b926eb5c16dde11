//! Processes that run on as they were though their unit has changed or is gone: `switch.stale`.

use std::collections::BTreeMap;

use super::{gap, is_active, is_by_design};
use crate::diff::Units;
use crate::diff::switch_rules::{Comparison, compare};
use crate::diff::unit_file::UnitFile;
use crate::guest::facts::Unit;
use crate::judging::{Finding, compared};
use crate::model::{CheckId, CheckResult, LoadState, Status};
use crate::switch::record::{Process, Record};

/// Services whose restart ends sessions: NixOS leaves them until the next boot, and only another program is worth a word.
const OF_SESSIONS: [&str; 5] =
    ["display-manager.service", "greetd.service", "systemd-logind.service", "dbus.service", "dbus-broker.service"];
/// Why a unit is left as it is.
const KEPT: &str = "X-RestartIfChanged=, X-StopIfChanged= or X-StopOnRemoval= of the unit keep it";

/// What became of the unit of a process that runs on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// It executes something else.
    Program,
    /// It is run in another way.
    Setting,
    /// There is none any more.
    Gone,
}

/// What a switch would have to restart a service for.
fn change(old: &UnitFile, new: Option<&UnitFile>) -> Option<Change> {
    let Some(new) = new else { return Some(Change::Gone) };
    let executed = |unit: &UnitFile| unit.values("Service", "ExecStart").to_vec();
    let is_reloaded = new.bool("Service", "X-ReloadIfChanged", false);
    match compare(old, new) {
        _ if executed(old) != executed(new) => Some(Change::Program),
        Comparison::NeedsRestart if !is_reloaded => Some(Change::Setting),
        _ => None,
    }
}

pub(super) fn judge(before: &Record, switched: &Record, from: &Units, target: &Units) -> CheckResult {
    let id = CheckId::SwitchStale;
    if let Err(why) = gap([before, switched], &["units"]) {
        return CheckResult::new(id, Status::Unknown, why);
    }
    let system = switched.facts.units.iter().filter_map(|unit| of_system(unit, before, switched, from, target));
    let users = of_users(before, switched, from, target);
    let findings = system.chain(users).collect();
    compared(id, Status::Warn, findings, || "every service runs what its unit says".to_owned())
}

/// A service of PID 1's.
fn of_system(unit: &Unit, before: &Record, switched: &Record, from: &Units, target: &Units) -> Option<Finding> {
    let known = before.facts.unit(&unit.name)?;
    let (now, was) = (unit.service.as_ref()?, known.service.as_ref()?);
    let is_counted = is_active(unit) && !is_by_design(&unit.name);
    let pid = now.main_pid;
    if !is_counted || pid == 0 || pid != was.main_pid || !is_same(pid, before, switched) {
        return None;
    }
    let of_files = || change(&from.system.unit(&unit.name)?, Some(&target.system.unit(&unit.name)?));
    let change = match () {
        () if unit.load_state == LoadState::NotFound => Change::Gone,
        () if now.exec_start != was.exec_start => Change::Program,
        () => of_files().filter(|_| !OF_SESSIONS.contains(&unit.name.as_str()))?,
    };
    let verb = if change == Change::Gone { "stop" } else { "restart" };
    let hint = format!("systemctl {verb} {} after the switch, or reboot: {KEPT}", unit.name);
    Some(finding(&unit.name, &unit.name, change, executable(switched, pid)).hint(hint))
}

/// The services of users' managers, by the control groups of their processes and by what the configurations say of them.
fn of_users(before: &Record, switched: &Record, from: &Units, target: &Units) -> Vec<Finding> {
    let was = first_processes(before);
    let mut findings = Vec::new();
    for (key @ (uid, unit), pid) in first_processes(switched) {
        let is_same_process = was.get(&key) == Some(&pid) && is_same(pid, before, switched);
        let (Some(old), true) = (from.user.unit(unit), is_same_process) else { continue };
        let new = target.user.unit(unit);
        let Some(change) = change(&old, new.as_ref()) else { continue };
        let account = switched.facts.accounts.iter().find(|account| account.uid == uid);
        let user = account.map_or_else(|| uid.to_string(), |account| account.name.clone());
        let verb = if change == Change::Gone { "stop" } else { "restart" };
        let hint =
            format!("systemctl --user -M {user}@ {verb} {unit} after the switch, or let {user} log in anew: {KEPT}");
        findings.push(finding(unit, &format!("{unit} of {user}"), change, executable(switched, pid)).hint(hint));
    }
    findings
}

fn finding(item: &str, name: &str, change: Change, executable: &str) -> Finding {
    let why = match change {
        Change::Program => "still runs what it ran before the switch, though its ExecStart= has changed",
        Change::Setting => "runs on as it was before the switch, though its unit has changed",
        Change::Gone => "runs on after the switch, though the configuration no longer has such a unit",
    };
    Finding::new(item, format!("{name} {why}: {executable}"))
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
