//! One host, tried in a thread of its own, again where it failed and that was asked for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::prepare::{Job, Shared};
use crate::event::Events;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::model::{Exit, Report};
use crate::nix::Built;
use crate::report::artifacts::Artifacts;
use crate::report::board::Board;
use crate::report::display::ProgressDisplay;
use crate::report::matrix::HostReport;
use crate::run::{self, Given};

/// How long a host may take beyond its boot's limit until it is given up: what is asked of a guest has limits of its own,
/// so that this is for what we did not think of.
const HOST_LIMIT: Duration = Duration::from_secs(3600);

/// Whether a machine could pass where it failed: a build that failed fails again.
pub(super) fn is_worth_a_retry(report: &Report) -> bool {
    [Exit::CheckFailed, Exit::Boot].map(Exit::code).contains(&report.exit)
}

/// Tries until it is of no use to try again: at most this often, a verdict of a former run included. Answers with how
/// often it tried, and the last report.
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

/// A host that is being tried, in a thread of its own.
pub(super) struct Trying {
    pub(super) job: Job,
    pub(super) built: Built,
    pub(super) shared: Arc<Shared>,
    /// How often at most, a verdict of a former run included.
    pub(super) attempts: usize,
    /// Where the evidence of all machines goes.
    pub(super) evidence: Option<PathBuf>,
    pub(super) machines: usize,
    /// The virtual processors of its machine, where nobody wants more of them.
    pub(super) processors: u32,
    pub(super) board: Board,
    pub(super) interrupt: Interrupt,
}

impl Trying {
    pub(super) async fn tried(mut self) -> HostReport {
        let former = self.job.former.take();
        let (started, report) = with_retries(self.attempts, former, async |failed: &[Report]| {
            tokio::select! {
                report = self.attempt(failed) => report,
                // Dropping it ends what it started, by the backstops that need no time.
                () = self.interrupt.hard() => run::ended(&self.job.arguments, &self.job.target, &Failure::interrupted()),
            }
        })
        .await;
        HostReport::new(&self.job.name, started, report)
    }

    async fn attempt(&self, failed: &[Report]) -> Report {
        let Self { job, shared, .. } = self;
        self.board.begins(&job.name, failed.len() + 1);
        let (events, receiver) = Events::channel();
        let (board, name) = (self.board.clone(), job.name.clone());
        let display = ProgressDisplay::handing(receiver, move |event| board.event(&name, event));
        let kept = self.evidence.as_deref().map(|run| Artifacts::of_machine(run, &job.name, self.machines)).transpose();
        let artifacts = kept.unwrap_or_else(|error| {
            events.note(format!("no artifacts are kept: {error}"));
            None
        });
        let given = Given {
            target: job.target.clone(),
            nix: shared.nix.clone(),
            built: self.built.clone(),
            accel: job.accel,
            accel_reason: job.accel_reason.clone(),
            jail: shared.jail,
            processors: self.processors,
            reference: Some(shared.reference.clone()),
        };
        let mut arguments = job.arguments.clone();
        // What a former attempt found out is remembered, and is not what is asked for.
        arguments.checks.fresh |= !failed.is_empty();
        let limit = job.needs.boot_limit(job.accel) + HOST_LIMIT;
        // On the heap: it is large, and is moved into what waits for it.
        let tried = Box::pin(run::try_given(&arguments, given, artifacts, events, self.interrupt.clone()));
        let outcome = tokio::time::timeout(limit, tried).await;
        let recorded = display.finish().await;
        match outcome {
            Ok(outcome) => outcome.after(failed).finish(recorded),
            Err(_) => {
                let took = crate::text::seconds(limit.as_secs_f64());
                let failure = Failure::host(format!("it came to no end within {took}, which is a bug of ours"));
                let mut report = run::ended(&job.arguments, &job.target, &failure);
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

    /// What comes of these reports, one an attempt.
    async fn tried(attempts: usize, former: Option<Report>, reports: &[Report]) -> (u32, Report) {
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
        let (started, report) = tried(3, None, &[fail.clone(), fail.clone(), pass.clone()]).await;
        assert_eq!((started, report.verdict, report.is_flaky()), (3, Verdict::Pass, true));
        let (started, report) = tried(2, None, &[fail.clone(), fail.clone()]).await;
        assert_eq!((started, report.verdict, report.is_flaky()), (2, Verdict::Fail, false));
        let (started, report) = tried(3, None, std::slice::from_ref(&pass)).await;
        assert_eq!((started, report.is_flaky()), (1, false));
        // A verdict of a former run is the first attempt.
        let (started, report) = tried(2, Some(fail.clone()), std::slice::from_ref(&pass)).await;
        assert_eq!((started, report.is_flaky()), (1, true));
        let (started, _) = tried(1, None, std::slice::from_ref(&fail)).await;
        assert_eq!(started, 1);
        // Building again makes nothing better, nor does what this host cannot do.
        for other in [build, examples::unknown()] {
            assert_eq!(tried(3, None, std::slice::from_ref(&other)).await, (1, other));
        }
    }

    #[test]
    fn only_what_a_machine_did_is_tried_again() {
        let worth: Vec<u8> =
            examples::all().iter().filter(|report| is_worth_a_retry(report)).map(|report| report.exit).collect();
        assert_eq!(worth, [1, 4]);
    }
}
