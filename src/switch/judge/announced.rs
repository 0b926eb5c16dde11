//! What the switch did beside what `dry-activate` had said: `switch.announced`.

use std::collections::BTreeSet;

use super::{units, words};
use crate::judging::text::{could_not_read, list};
use crate::model::{CheckId, CheckResult, Status, UNIT_PREFIX, UnitActions};
use crate::switch::observation::{SwitchEnd, SwitchRun, UnitJob};

/// What every switch starts again, and `dry-activate` never names: what hangs at sysinit-reactivation.target in nixpkgs, and
/// what that does by a bus.
const BY_DESIGN: [&str; 8] = [
    "systemd-tmpfiles-resetup.service",
    "suid-sgid-wrappers.service",
    "userborn.service",
    "systemd-sysusers.service",
    "linger-users.service",
    "nixos-activation.service",
    "systemd-hostnamed.service",
    "systemd-localed.service",
];
/// Kinds of units that nobody starts or stops by name.
const PASSING: [&str; 5] = [".scope", ".slice", ".device", ".target", ".swap"];

/// Whether a unit comes and goes with others, or at every switch.
pub(in crate::switch) fn is_by_design(unit: &str) -> bool {
    BY_DESIGN.contains(&unit)
        || PASSING.iter().any(|kind| unit.ends_with(kind))
        || unit.starts_with(UNIT_PREFIX)
        || unit.starts_with("user@")
        || unit.starts_with("user-runtime-dir@")
        || unit.starts_with("run-user-")
        || unit.starts_with("run-credentials-")
}

/// What PID 1 did to units, each once.
pub(super) fn happened(run: &SwitchRun) -> UnitActions {
    actions(run.jobs.iter())
}

/// The users' units that were restarted, each with whose it is. Those of a manager that ended meanwhile are left out: its
/// user logged out, and maybe in again.
pub(super) fn restarted_of_users(run: &SwitchRun) -> Vec<(u32, String)> {
    let ended = |uid: u32| {
        let manager = format!("user@{uid}.service");
        run.jobs.iter().any(|job| job.unit == manager && matches!(job.job.as_str(), "stop" | "restart"))
    };
    let uids: BTreeSet<u32> = run.user_jobs.iter().map(|of| of.uid).filter(|uid| !ended(*uid)).collect();
    let restarted = |uid: u32| actions(run.user_jobs.iter().filter(|of| of.uid == uid).map(|of| &of.job)).restarted;
    uids.into_iter().flat_map(|uid| restarted(uid).into_iter().map(move |unit| (uid, unit))).collect()
}

/// What came of jobs, for each unit once: what was stopped and then started was restarted.
fn actions<'a>(jobs: impl Iterator<Item = &'a UnitJob>) -> UnitActions {
    let mut actions = UnitActions::default();
    let take = |units: &mut Vec<String>, unit: &str| {
        let before = units.len();
        units.retain(|known| known != unit);
        units.len() < before
    };
    let add = |units: &mut Vec<String>, unit: &str| {
        if !units.iter().any(|known| known == unit) {
            units.push(unit.to_owned());
        }
    };
    let shown = jobs.filter(|job| !is_by_design(&job.unit) && job.result == "done");
    for job in shown {
        let unit = job.unit.as_str();
        match job.job.as_str() {
            "restart" | "try-restart" => {
                take(&mut actions.stopped, unit);
                take(&mut actions.started, unit);
                add(&mut actions.restarted, unit);
            }
            "stop" if !actions.restarted.iter().any(|known| known == unit) => {
                take(&mut actions.started, unit);
                add(&mut actions.stopped, unit);
            }
            "start" => {
                if take(&mut actions.stopped, unit) {
                    add(&mut actions.restarted, unit);
                } else if !actions.restarted.iter().any(|known| known == unit) {
                    add(&mut actions.started, unit);
                }
            }
            "reload" | "try-reload" => add(&mut actions.reloaded, unit),
            _ => {}
        }
    }
    actions
}

pub(super) fn judge(run: &SwitchRun) -> CheckResult {
    let id = CheckId::SwitchAnnounced;
    if !matches!(run.end, SwitchEnd::Exited(0 | 2 | 4)) {
        return CheckResult::new(id, Status::Skip, "not applicable: the switch was not made");
    }
    let Some(announced) = run.dry_output.as_ref().map(|lines| words::read(lines)) else {
        return CheckResult::new(id, Status::Skip, "not judged: dry-activate did not finish");
    };
    if let Some(why) = &run.unread {
        return CheckResult::new(id, Status::Skip, format!("not judged: {}", could_not_read("journal", why)));
    }
    let happened = happened(run);
    // What was to be stopped and is started again by its socket or a target is restarted; only who is touched counts.
    let is_named = |unit: &str| announced.actions.all().any(|known| known == unit);
    let touched = happened.stopped.iter().chain(&happened.restarted);
    let unnamed: Vec<&str> = touched.map(String::as_str).filter(|unit| !is_named(unit)).collect();
    if unnamed.is_empty() {
        return CheckResult::new(
            id,
            Status::Pass,
            "what dry-activate announced, and nothing else, was stopped or restarted",
        );
    }
    CheckResult::new(id, Status::Warn, format!("stopped or restarted though dry-activate did not say so: {}", list(&unnamed)))
        .hint("dry-activate does not list what is bound to another unit (PartOf=, BindsTo=, Requires=) or restarted by a snippet")
        .evidence("units", units(unnamed.iter().copied()))
}
