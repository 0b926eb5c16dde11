//! One host: tested in a thread of its own, and again after a failure with `--retries`.

use std::path::PathBuf;
use std::sync::Arc;

use super::prepare::{HostJob, SharedInputs};
use crate::artifacts::Artifacts;
use crate::event::Events;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::model::timeouts::fleet::HOST_LIMIT;
use crate::model::{Exit, Report};
use crate::nix::Built;
use crate::report::board::Board;
use crate::report::display::ProgressDisplay;
use crate::report::matrix::HostReport;
use crate::run::{self, Given};

/// Whether another attempt could pass: a build that failed fails again.
pub(super) fn is_worth_a_retry(report: &Report) -> bool {
    [Exit::CheckFailed, Exit::Boot].map(Exit::code).contains(&report.exit)
}

/// Tests until another attempt makes no sense: at most `attempts` times, a cached verdict included. Returns how often it
/// tested, and the last report.
async fn with_retries(
    attempts: usize,
    former: Option<Report>,
    mut attempt: impl AsyncFnMut(&[Report]) -> Report,
) -> (u32, Report) {
    let mut failed: Vec<Report> = former.into_iter().collect();
    let mut started = 0;
    loop {
        started += 1;
        let report = attempt(&failed).await;
        if failed.len() + 1 >= attempts || !is_worth_a_retry(&report) {
            return (started, report);
        }
        failed.push(report);
    }
}

/// A host that is being tested, in a thread of its own.
pub(super) struct HostTask {
    pub(super) job: HostJob,
    pub(super) built: Built,
    pub(super) shared: Arc<SharedInputs>,
    /// The most attempts, a cached verdict included.
    pub(super) attempts: usize,
    /// The directory for the evidence of all machines.
    pub(super) evidence: Option<PathBuf>,
    pub(super) machines: usize,
    /// The virtual processors of its machine, unless the user sets them.
    pub(super) processors: u32,
    pub(super) board: Board,
    pub(super) interrupt: Interrupt,
}

impl HostTask {
    pub(super) async fn test(mut self) -> HostReport {
        let former = self.job.former.take();
        let (started, report) = with_retries(self.attempts, former, async |failed: &[Report]| {
            tokio::select! {
                report = self.attempt(failed) => report,
                // Dropping it ends what it started, by the backstops that need no time.
                () = self.interrupt.hard() => self.ended(&Failure::interrupted()),
            }
        })
        .await;
        HostReport::new(&self.job.run.name, started, report)
    }

    fn ended(&self, failure: &Failure) -> Report {
        run::ended(&self.job.run.arguments, &self.job.run.target, failure)
    }

    async fn attempt(&self, failed: &[Report]) -> Report {
        let Self { job, shared, .. } = self;
        self.board.begins(&job.run.name, failed.len() + 1);
        let (events, receiver) = Events::channel();
        let (board, name) = (self.board.clone(), job.run.name.clone());
        let display = ProgressDisplay::handing(receiver, move |event| board.event(&name, event));
        let kept =
            self.evidence.as_deref().map(|run| Artifacts::of_machine(run, &job.run.name, self.machines)).transpose();
        let artifacts = kept.unwrap_or_else(|error| {
            events.note(format!("no artifacts are kept: {error}"));
            None
        });
        let given = Given {
            target: job.run.target.clone(),
            nix: shared.nix.clone(),
            built: self.built.clone(),
            accel: job.accel,
            accel_reason: job.accel_reason.clone(),
            jail: shared.jail,
            processors: self.processors,
            reference: Some(shared.reference.clone()),
        };
        let mut arguments = job.run.arguments.clone();
        // The cache holds the verdict of the former attempt by now.
        arguments.checks.fresh |= !failed.is_empty();
        let limit = job.needs.boot_limit(job.accel) + HOST_LIMIT;
        // On the heap: it is large, and is moved into the time-out.
        let test = Box::pin(run::try_given(&arguments, given, artifacts, events, self.interrupt.clone()));
        let outcome = tokio::time::timeout(limit, test).await;
        let recorded = display.finish().await;
        match outcome {
            Ok(outcome) => outcome.after(failed).finish(recorded),
            Err(_) => {
                let took = crate::text::seconds(limit.as_secs_f64());
                let failure = Failure::host(format!("the test did not end within {took}, which is a bug in nixbox"));
                let mut report = self.ended(&failure);
                report.record(recorded);
                report
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Verdict;
    use crate::report::examples;

    /// The result of these reports, one per attempt.
    async fn after(attempts: usize, former: Option<Report>, reports: &[Report]) -> (u32, Report) {
        let mut next = reports.iter();
        with_retries(attempts, former, async |failed: &[Report]| {
            let mut report = next.next().expect("no more attempts than reports").clone();
            failed.iter().for_each(|former| report.passed_after(former));
            report
        })
        .await
    }

    #[tokio::test]
    async fn what_passes_when_tried_again_is_flaky() {
        let (pass, fail, build) = (examples::pass(), examples::fail(), examples::build_fail());
        let (started, report) = after(3, None, &[fail.clone(), fail.clone(), pass.clone()]).await;
        assert_eq!((started, report.verdict, report.is_flaky()), (3, Verdict::Pass, true));
        let (started, report) = after(2, None, &[fail.clone(), fail.clone()]).await;
        assert_eq!((started, report.verdict, report.is_flaky()), (2, Verdict::Fail, false));
        let (started, report) = after(3, None, std::slice::from_ref(&pass)).await;
        assert_eq!((started, report.is_flaky()), (1, false));
        // A cached verdict is the first attempt.
        let (started, report) = after(2, Some(fail.clone()), std::slice::from_ref(&pass)).await;
        assert_eq!((started, report.is_flaky()), (1, true));
        let (started, _) = after(1, None, std::slice::from_ref(&fail)).await;
        assert_eq!(started, 1);
        // Neither a build nor what this host cannot do gets better by another attempt.
        for other in [build, examples::unknown()] {
            assert_eq!(after(3, None, std::slice::from_ref(&other)).await, (1, other));
        }
    }

    #[test]
    fn only_what_a_machine_did_is_tried_again() {
        let worth: Vec<u8> =
            examples::all().iter().filter(|report| is_worth_a_retry(report)).map(|report| report.exit).collect();
        assert_eq!(worth, [1, 4]);
    }
}
