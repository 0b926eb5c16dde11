//! What a rehearsed switch means (pure).
//!
//! * `words`: what the switch program says, as data
//! * `outcome`: how it ended, there and back
//! * `activation`: snippets, files of /etc and tmpfiles rules that failed
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
use crate::judging::text::{LINES, clean};
use crate::model::{CheckId, CheckResult, MachinePhase, NotTested, Status, SwitchRunInfo};
pub(crate) use outcome::is_excused;

/// Most units that the evidence names.
const UNITS: usize = 50;

/// The checks of the machine in each phase, already held against those before the switch: what was red then does not count
/// (`CheckResult::before`).
pub(crate) struct PhaseChecks<'a> {
    /// Before the switch.
    pub(crate) fresh: Checked<'a>,
    /// After it.
    pub(crate) switched: Checked<'a>,
    /// After switching back.
    pub(crate) back: Checked<'a>,
}

/// What the checks of the machine say in a phase.
#[derive(Clone, Copy)]
pub(crate) struct Checked<'a> {
    results: &'a [CheckResult],
    not_tested: &'a [NotTested],
    allowed: &'a [&'a str],
}

impl<'a> Checked<'a> {
    /// Their results, what they say cannot be tested in a VM, and the units that `nixbox.toml` allows to fail.
    pub(crate) fn new(results: &'a [CheckResult], not_tested: &'a [NotTested], allowed: &'a [&'a str]) -> Self {
        Self { results, not_tested, allowed }
    }
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
    let switched = [
        outcome::there(there, checks),
        activation::judge(there, again, checks),
        announced::judge(there),
        session::there(rehearsal, there, again),
        match again {
            Some(again) => idempotent::judge(again, rehearsal, checks.switched),
            None => not_run(CheckId::SwitchIdempotent, "not applicable: the first switch did not exit with 0"),
        },
    ];
    let way_back = match back {
        Some(back) => outcome::back(back, checks),
        None if !there.was_made() => not_run(
            CheckId::SwitchWayBack,
            "not applicable: the switch was not made, so there is nothing to switch back",
        ),
        None => not_run(CheckId::SwitchWayBack, "not tested: the machine could no longer be switched back"),
    };
    let session = back.and_then(|back| session::back(rehearsal, back));
    let switched = switched.into_iter().map(|result| result.in_phase(MachinePhase::Switched));
    let back = std::iter::once(way_back).chain(session).map(|result| result.in_phase(MachinePhase::Back));
    switched.chain(back).collect()
}

/// All of them, where nothing was tried.
fn not_switched() -> Vec<CheckResult> {
    let unknown = |(id, phase)| CheckResult::new(id, Status::Unknown, "the machine was not switched").in_phase(phase);
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

/// The last lines that a run wrote, fit to be shown.
fn tail(run: &SwitchRun) -> impl Iterator<Item = String> {
    run.output.iter().rev().take(LINES).rev().map(|line| clean(line))
}

/// The last thing that a run said.
fn last_word(run: &SwitchRun) -> String {
    if let Some((error, [])) = error_chain(&run.output) {
        return error;
    }
    run.output.last().map_or_else(|| "it printed nothing".to_owned(), |line| clean(line.trim()))
}

/// What stands before an error that ends the switch program, and before its causes, which are indented, and numbered where
/// they are several (`anyhow`'s `Debug`).
const ERROR: &str = "Error: ";
const CAUSED_BY: &str = "Caused by:";

/// The last such error with its causes, in one line, and what was written after it.
fn error_chain(lines: &[String]) -> Option<(String, &[String])> {
    let at = lines.iter().rposition(|line| line.trim_start().starts_with(ERROR))?;
    let error = lines[at].trim().strip_prefix(ERROR)?;
    let (causes, rest) = match &lines[at + 1..] {
        [line, after @ ..] if line.trim() == CAUSED_BY => {
            after.split_at(after.iter().take_while(|line| line.starts_with(' ')).count())
        }
        after => after.split_at(0),
    };
    let cause = |line: &String| {
        let line = line.trim();
        let numbered = line.split_once(": ").filter(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit()));
        numbered.map_or(line, |(_, cause)| cause).to_owned()
    };
    let chain: Vec<String> = std::iter::once(error.to_owned()).chain(causes.iter().map(cause)).collect();
    Some((clean(&chain.join(": ")), rest))
}

/// Units as evidence: not more than are read.
fn units<'a>(units: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    units.into_iter().take(UNITS).map(clean).collect()
}

/// What the report says of each run of the switch program.
pub(crate) fn run_infos(rehearsal: &Rehearsal) -> Vec<SwitchRunInfo> {
    rehearsal.runs.iter().map(run_info).collect()
}

fn run_info(run: &SwitchRun) -> SwitchRunInfo {
    SwitchRunInfo {
        phase: run.phase,
        exit: run.exit(),
        seconds: run.seconds,
        announced: run.dry_output.as_ref().map(|lines| words::read(lines).actions),
        happened: announced::happened(run),
        output: tail(run).collect(),
    }
}
