//! `--boots 2`: the disk that a first boot has left, powered off in order, is booted once more and judged again. What is
//! good once only (a script that finds its own traces, a directory that is made but not kept) shows then.

use tokio::time::timeout;

use super::Run;
use super::attempt::{Attempt, RunningMachine};
use super::boot;
use super::check::Probed;
use super::prepare::Prepared;
use super::request::Purpose;
use crate::checks::{self, BootEnd};
use crate::failure::{Failure, Result};
use crate::guest::shell::Script;
use crate::judging::Judgement;
use crate::machine::RunDir;
use crate::model::timeouts::Timeouts;
use crate::model::timeouts::run::POWER_OFF_LIMIT;
use crate::model::{CheckResult, Status, TransportKind, Verdict, run_file};

/// Before what only the second boot shows.
const WHEN: &str = "on the second boot";

impl Run<'_> {
    /// Whether the disk of what was probed is to be booted again. What fails at first needs no second boot to fail.
    pub(super) fn boots_again(&self, probed: &Probed) -> bool {
        let is_wanted = self.request.arguments.boots >= 2 && matches!(self.request.purpose, Purpose::Verdict);
        is_wanted && !self.is_second_boot && checks::verdict(&probed.judgement.results).verdict == Verdict::Pass
    }

    /// Powers the machine off as its user would.
    ///
    /// # Errors
    /// Exit 5: it is still on after its time, so that its disk says nothing of a machine that was powered off.
    pub(super) async fn power_off(&self, prepared: &Prepared, running: &mut RunningMachine) -> Result<()> {
        self.events.doing("powering the machine off, for its second boot");
        let limit = Timeouts::of(prepared.accel).scaled(POWER_OFF_LIMIT);
        let RunningMachine { machine, guest, .. } = running;
        let off = async {
            let mut script = Script::new("exec systemctl --no-block poweroff");
            script.deadline = limit;
            drop(guest.shell().run(script).await);
            loop {
                match boot::end_by(machine.next_event().await) {
                    Some(Ok(BootEnd::PoweredOff)) => return Ok(()),
                    Some(Ok(_)) => return Err(Failure::host("the machine did not power off: it broke down")),
                    Some(Err(failure)) => return Err(failure),
                    None => {}
                }
            }
        };
        let in_time = async {
            timeout(limit, off).await.unwrap_or_else(|_elapsed| {
                let what =
                    format!("the machine did not power off within {} s, so it has no second boot", limit.as_secs());
                Err(Failure::host(what)
                    .hint("its console says what it waits for; --boots 1 judges the first boot alone"))
            })
        };
        self.interrupt.guard(in_time).await
    }

    /// Puts the disk of a machine that was powered off where the second boot finds it.
    pub(super) fn hand_over_disk(&mut self, run_dir: &RunDir) -> Result<()> {
        let (next, disk) = (RunDir::create()?, run_dir.file(run_file::DISK));
        if !disk.exists() {
            self.events.note("the machine has no disk of its own: a second boot would be like the first");
            return Ok(());
        }
        let (from, to) = (disk, next.file(run_file::DISK));
        let moved = std::fs::rename(&from, &to).or_else(|_other_disk| std::fs::copy(&from, &to).map(drop));
        moved.map_err(|error| Failure::host("the disk could not be kept for the second boot").because(error))?;
        self.second_boot = Some(next);
        Ok(())
    }

    /// What was probed at first, with what the second boot shows, where there is one.
    pub(super) async fn with_second_boot(
        &mut self,
        prepared: &Prepared,
        first: Probed,
        kind: TransportKind,
    ) -> Result<Probed> {
        let Some(run_dir) = self.second_boot.take() else { return Ok(first) };
        self.is_second_boot = true;
        self.events.note("booted the same disk once more");
        // On the heap: the stack could not hold several.
        match Box::pin(self.attempt(prepared, Some(&run_dir), kind)).await? {
            Attempt::Probed(second) => Ok(Probed { judgement: merged(first.judgement, second.judgement), ..first }),
            Attempt::Crashed(failure) | Attempt::Silent(_, failure) => Err(failure),
        }
    }
}

/// The first boot's results, with those of the second that are worse.
fn merged(mut first: Judgement, second: Judgement) -> Judgement {
    for result in second.results {
        let known = first.results.iter_mut().find(|known| known.id == result.id);
        let is_worse = known.as_ref().map_or(0, |known| badness(known)) < badness(&result);
        if !is_worse {
            continue;
        }
        let result = CheckResult { summary: format!("{WHEN}: {}", result.summary), ..result };
        match known {
            Some(known) => *known = result,
            None => first.results.push(result),
        }
    }
    for entry in second.not_tested {
        if !first.not_tested.iter().any(|known| known.what == entry.what) {
            first.not_tested.push(entry);
        }
    }
    first
}

/// How much a result speaks against the machine. What the second boot does not test, the first has.
fn badness(result: &CheckResult) -> u8 {
    match result.status {
        Status::Pass | Status::Skip => 0,
        Status::Warn => 1,
        Status::Fail if !result.is_failure() => 1,
        Status::Unknown => 2,
        Status::Fail => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CheckId;

    fn judgement(results: &[(CheckId, Status, &str)]) -> Judgement {
        let results = results.iter().map(|(id, status, summary)| CheckResult::new(*id, *status, *summary)).collect();
        Judgement { results, ..Judgement::default() }
    }

    fn told(second: &[(CheckId, Status, &str)]) -> Vec<(CheckId, Status, String)> {
        let first = judgement(&[
            (CheckId::ServicesFailedUnits, Status::Pass, "none"),
            (CheckId::UsersLogin, Status::Warn, "old warning"),
        ]);
        let merged = merged(first, judgement(second));
        merged.results.into_iter().map(|result| (result.id, result.status, result.summary)).collect()
    }

    #[test]
    fn what_is_worse_on_the_second_boot_counts() {
        let units = CheckId::ServicesFailedUnits;
        let results =
            told(&[(units, Status::Fail, "x.service failed"), (CheckId::UsersLogin, Status::Warn, "a warning")]);
        assert_eq!(results[0], (units, Status::Fail, "on the second boot: x.service failed".to_owned()));
        assert_eq!(results[1].2, "old warning");
        // What does not come up lists what the first boot did not have to.
        let results = told(&[(CheckId::BootPanic, Status::Fail, "panic"), (units, Status::Skip, "not judged")]);
        assert_eq!(results[0], (units, Status::Pass, "none".to_owned()));
        assert_eq!(results[2], (CheckId::BootPanic, Status::Fail, "on the second boot: panic".to_owned()));
        assert_eq!(told(&[(units, Status::Unknown, "busy")])[0].1, Status::Unknown);
        assert_eq!(told(&[(units, Status::Pass, "none at all")])[0].2, "none");
        assert_eq!(told(&[(CheckId::NetworkAddress, Status::Pass, "there")]).len(), 2);
    }
}
