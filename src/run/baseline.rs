//! What a run found wrong, held against the configuration before the change: from the result cache where it is there, else
//! tried once, under the same machine, flags and `nixbox.toml`.

use std::path::Path;
use std::time::Instant;

use super::prepare::{Prepared, Step};
use super::request::Request;
use super::{Run, phase};
use crate::checks::{self, difference};
use crate::cli::TryArgs;
use crate::event::Events;
use crate::failure::Result;
use crate::interrupt::Interrupt;
use crate::model::{Baseline, CONFIG_FILE, Change, Count, Grade, NotTested, Phase, Recorded, Report, Stage, Verdict};
use crate::resolve::{BaselineChoice, BaselineTarget};

/// What became of the attempt to get the baseline's results.
enum BaselineResults {
    /// They are here. Whether a machine was booted for them.
    Report(Box<Report>, bool),
    /// It is the same machine: there is no change to judge.
    Identical,
    /// What was excused is the same in both, unit for unit.
    Untouched,
    /// There is nothing to compare with, for this reason.
    Nothing(String),
}

/// Whether a check failed that the change could have broken.
fn has_failed(report: &Report) -> bool {
    report.stage == Some(Stage::Check) && report.checks.iter().any(|check| check.is_failure())
}

/// Whether it was excused by words alone.
fn is_doubtful(entry: &NotTested) -> bool {
    entry.lack.is_of_vm() && entry.grade == Grade::Likely
}

/// The units that were excused so.
fn doubtful(report: &Report) -> Vec<&str> {
    report.not_tested.iter().filter(|entry| is_doubtful(entry)).map(|entry| entry.what.as_str()).collect()
}

/// Whether a run that ended so is to be held against a baseline. Who only asks what a clean tree is like gets no second
/// boot for an excuse.
fn is_needed(report: &Report, target: &BaselineTarget) -> bool {
    let came_to_an_end = report.verdict != Verdict::Unknown || report.stage == Some(Stage::Check);
    has_failed(report) || came_to_an_end && target.is_of_change && !doubtful(report).is_empty()
}

/// What is compared with what, and how.
pub(super) struct Comparison<'a> {
    pub(super) baseline: &'a BaselineTarget,
    /// Those of the run that is compared.
    pub(super) arguments: &'a TryArgs,
    /// Whose `nixbox.toml` holds for both.
    pub(super) directory: Option<&'a Path>,
    pub(super) events: &'a Events,
    pub(super) interrupt: &'a Interrupt,
}

impl Comparison<'_> {
    /// Holds a report against the baseline, where that is needed.
    ///
    /// # Errors
    /// Interrupted (130). What is wrong with the baseline is in the report.
    pub(super) async fn apply(&self, report: &mut Report) -> Result<()> {
        if !is_needed(report, self.baseline) {
            return Ok(());
        }
        self.events.doing(format!("comparing with {}", self.baseline.shown));
        let found = phase(self.events, Phase::Baseline, self.results(report)).await?;
        self.judge(report, found);
        Ok(())
    }

    /// Somebody asked what the change broke, not what the tree is like.
    fn is_asked(&self) -> bool {
        self.arguments.for_agent.is_some() || self.arguments.baseline.is_asked()
    }

    /// What the verdict counts, where nobody said.
    fn count(&self) -> Count {
        let is_of_change = self.baseline.is_of_change || self.arguments.for_agent.is_some();
        self.arguments.baseline.count.unwrap_or(if is_of_change { Count::New } else { Count::All })
    }

    async fn results(&self, report: &Report) -> Result<BaselineResults> {
        let request = request_of(self.arguments, self.baseline, self.directory);
        let mut run = Run::new(Request::verdict(&request), Events::silent(), self.interrupt.clone());
        let step = match self.interrupt.guard(Box::pin(run.prepare())).await {
            Ok(step) => step,
            Err(failure) if failure.is_interruption() => return Err(failure),
            Err(failure) => {
                let mut ended = run.report;
                failure.decide(&mut ended);
                return Ok(usable(ended, false));
            }
        };
        let tested = match &step {
            Step::Known(known) => &known.target,
            Step::Ready(_) => &run.report.target,
        };
        if tested.runner.is_some()
            && (&tested.runner, &tested.toplevel) == (&report.target.runner, &report.target.toplevel)
        {
            discard(run);
            return Ok(BaselineResults::Identical);
        }
        match &step {
            Step::Known(known) => {
                let known = (**known).clone();
                discard(run);
                return Ok(usable(known, false));
            }
            Step::Ready(prepared) => {
                if !has_failed(report) && doubtful(report).iter().all(|unit| is_same_unit(unit, report, prepared)) {
                    discard(run);
                    return Ok(BaselineResults::Untouched);
                }
            }
        }
        self.events.doing(format!("booting {} to compare", self.baseline.shown));
        let clock = Instant::now();
        match Box::pin(run.conclude(step)).await {
            Err(failure) if failure.is_interruption() => Err(failure),
            done => Ok(usable(run.outcome(done, clock).finish(Recorded::default()), true)),
        }
    }

    /// The report in the light of the baseline.
    fn judge(&self, report: &mut Report, found: BaselineResults) {
        let mut baseline = Baseline {
            name: self.baseline.shown.clone(),
            resolved: self.baseline.typed.clone(),
            revision: self.baseline.revision.clone(),
            unusable: None,
            booted: false,
            artifacts: None,
            count: self.count(),
            mended: Vec::new(),
        };
        let (checks, not_tested) = match found {
            BaselineResults::Nothing(why) => {
                report.notes.push(format!("nothing to compare with: {}: {why}", baseline.name));
                (baseline.count, baseline.unusable) = (Count::All, Some(why));
                report.baseline = Some(baseline);
                return;
            }
            BaselineResults::Identical if !self.is_asked() => {
                // A file that was only touched is no change.
                baseline.count = Count::All;
                (report.checks.clone(), report.not_tested.clone())
            }
            BaselineResults::Untouched => {
                // Only what was held against the other system is known to be as it was.
                for entry in report.not_tested.iter_mut().filter(|entry| is_doubtful(entry)) {
                    entry.change = Some(Change::Same);
                }
                report.baseline = Some(baseline);
                return;
            }
            BaselineResults::Identical => (report.checks.clone(), report.not_tested.clone()),
            BaselineResults::Report(before, booted) => {
                (baseline.booted, baseline.artifacts) = (booted, before.artifacts);
                (before.checks, before.not_tested)
            }
        };
        let before = difference::Results { checks: &checks, not_tested: &not_tested };
        baseline.mended = difference::compare(&mut report.checks, &mut report.not_tested, before, baseline.count);
        report.baseline = Some(baseline);
        checks::verdict(&report.checks).decide(report);
    }
}

/// The same request, of another configuration: `directory` is where the `nixbox.toml` lies that holds for both.
pub(super) fn request_of(arguments: &TryArgs, of: &BaselineTarget, directory: Option<&Path>) -> TryArgs {
    let mut request = TryArgs { target: Some(of.typed.clone()), ..arguments.clone() };
    request.baseline.choice = Some(BaselineChoice::Off);
    request.files.artifacts = None;
    if request.files.config.is_none() {
        let beside = directory.map(|directory| directory.join(CONFIG_FILE));
        request.files.config = beside.filter(|file| file.is_file());
    }
    // The lock and the life are those of the run that asks; what was tried before is good enough.
    (request.for_agent, request.keep, request.checks.fresh) = (None, false, false);
    request
}

/// A run that booted nothing has nothing to keep.
fn discard(run: Run<'_>) {
    if let Some(artifacts) = run.artifacts {
        artifacts.discard();
    }
}

/// Whether a unit's text is the same in both systems.
fn is_same_unit(unit: &str, report: &Report, prepared: &Prepared) -> bool {
    let store = &prepared.built.store;
    let text = |toplevel: &Path| std::fs::read(store.physical(toplevel).join("etc/systemd/system").join(unit)).ok();
    let here = report.target.toplevel.as_deref().and_then(|toplevel| text(Path::new(toplevel)));
    here.is_some() && here == prepared.built.toplevel.as_deref().and_then(text)
}

/// Results that something can be compared with.
fn usable(report: Report, booted: bool) -> BaselineResults {
    let why = || report.cause.clone().unwrap_or_default();
    match report.stage {
        None | Some(Stage::Check) => BaselineResults::Report(Box::new(report), booted),
        Some(Stage::Evaluate) => BaselineResults::Nothing(format!("it does not evaluate: {}", why())),
        Some(Stage::Build) => BaselineResults::Nothing(format!("it does not build: {}", why())),
        Some(Stage::Boot) => BaselineResults::Nothing(format!("it does not boot: {}", why())),
        Some(Stage::Host) => BaselineResults::Nothing(why()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Excuse, Lack, Witness};

    #[test]
    fn what_was_not_compared_stays_open() {
        let (_, interrupt) = Interrupt::channel();
        let baseline = BaselineTarget {
            typed: ".#other".to_owned(),
            revision: None,
            shown: ".#other".to_owned(),
            is_of_change: true,
        };
        let (arguments, events) = (TryArgs::default(), Events::silent());
        let comparison = Comparison {
            baseline: &baseline,
            arguments: &arguments,
            directory: None,
            events: &events,
            interrupt: &interrupt,
        };
        let mut report = Report::new("x", std::time::SystemTime::UNIX_EPOCH);
        let entry = |what: &str, witness| NotTested::new(what, Excuse::new(Lack::State, witness, "x"));
        report.not_tested = vec![
            entry("said.service", Witness::line("no such device")),
            entry("new.service", Witness::Path { path: "/var/lib/new/key".to_owned() }),
        ];
        comparison.judge(&mut report, BaselineResults::Untouched);
        assert_eq!(report.not_tested.iter().map(NotTested::is_open).collect::<Vec<_>>(), [false, true]);
    }
}
