//! What a rehearsed switch means (pure).
//!
//! * `words`: what the switch program says, as data
//! * `outcome`: how it ended, there and back
//! * `activation`: snippets and tmpfiles rules that failed
//! * `announced`: what it did beside what `dry-activate` said
//! * `session`: what became of the user's session
//! * `idempotent`: what a second run did

mod activation;
pub(super) mod announced;
mod idempotent;
mod outcome;
mod session;
#[cfg(test)]
mod tests;
mod words;

use super::observation::{Rehearsal, SwitchRun};
use crate::model::{CheckId, CheckResult, MachinePhase, Status, SwitchRunInfo};

/// Most lines of a run's output that the report holds.
const OUTPUT: usize = 20;

/// The checks of the machine in each phase, already held against those before the switch: what was red then does not count
/// (`CheckResult::before`).
pub(crate) struct PhaseChecks<'a> {
    /// Before the switch.
    pub(crate) fresh: &'a [CheckResult],
    /// After it.
    pub(crate) switched: &'a [CheckResult],
    /// After the way back.
    pub(crate) back: &'a [CheckResult],
}

/// The results of the `switch.*` checks, each with its phase.
pub(crate) fn judge(rehearsal: &Rehearsal, checks: &PhaseChecks<'_>) -> Vec<CheckResult> {
    let there = rehearsal.run_to(MachinePhase::Switched);
    let back = rehearsal.run_to(MachinePhase::Back);
    let again = rehearsal.runs.iter().find(|run| run.is_second);
    let not_run = |id, why: &str| CheckResult::new(id, Status::Skip, why);
    let Some(there) = there else {
        return not_switched();
    };
    let mut results = vec![
        outcome::there(there, checks),
        activation::judge(there, again, checks),
        announced::judge(there),
        session::there(rehearsal, there),
        match again {
            Some(again) => idempotent::judge(again),
            None => not_run(CheckId::SwitchIdempotent, "not applicable: the first switch did not end with 0"),
        },
    ];
    for result in &mut results {
        result.phase = Some(MachinePhase::Switched);
    }
    let mut way_back = match back {
        Some(back) => outcome::back(back, checks),
        None if !there.was_made() => {
            not_run(CheckId::SwitchWayBack, "not applicable: the switch was not made, so there is no way back")
        }
        None => CheckResult::new(
            CheckId::SwitchWayBack,
            Status::Skip,
            "not tested: there was nothing left to switch back on the machine",
        ),
    };
    way_back.phase = Some(MachinePhase::Back);
    results.push(way_back);
    if let Some(mut session) = back.and_then(|back| session::back(rehearsal, back)) {
        session.phase = Some(MachinePhase::Back);
        results.push(session);
    }
    results
}

/// All of them, where nothing was tried.
fn not_switched() -> Vec<CheckResult> {
    let unknown = |(id, phase)| {
        let mut result = CheckResult::new(id, Status::Unknown, "the machine was not switched");
        result.phase = Some(phase);
        result
    };
    [
        (CheckId::SwitchOutcome, MachinePhase::Switched),
        (CheckId::SwitchActivation, MachinePhase::Switched),
        (CheckId::SwitchAnnounced, MachinePhase::Switched),
        (CheckId::SwitchSession, MachinePhase::Switched),
        (CheckId::SwitchIdempotent, MachinePhase::Switched),
        (CheckId::SwitchWayBack, MachinePhase::Back),
    ]
    .map(unknown)
    .to_vec()
}

/// What the report says of each run of the switch program.
pub(crate) fn run_infos(rehearsal: &Rehearsal) -> Vec<SwitchRunInfo> {
    rehearsal.runs.iter().map(run_info).collect()
}

fn run_info(run: &SwitchRun) -> SwitchRunInfo {
    let lines = run.output.iter().map(String::as_str);
    SwitchRunInfo {
        phase: run.phase,
        exit: run.exit(),
        seconds: run.seconds,
        announced: run.dry_output.as_ref().map(|lines| words::read(lines).actions),
        happened: announced::happened(run),
        output: crate::checks::text::clean_all(lines.rev().take(OUTPUT).collect::<Vec<_>>().into_iter().rev()),
    }
}
