//! What several results make together: the design's table of verdicts and exit codes.

use super::catalog;
use crate::names::Exit;
use crate::report::{CheckResult, Report, Stage, Status, Verdict};

/// A run's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The answer.
    pub verdict: Verdict,
    /// The stage that decided it; `None` for a pass.
    pub stage: Option<Stage>,
    /// The exit code.
    pub exit: Exit,
    /// The id of the check that decided it.
    pub decided_by: Option<String>,
    /// The cause in one line, when the verdict is not `pass`.
    pub cause: Option<String>,
    /// The lines that show it.
    pub detail: Vec<String>,
    /// What to do next.
    pub hint: Option<String>,
}

impl Outcome {
    /// Makes it the answer of a report.
    pub fn decide(self, report: &mut Report) {
        report.verdict = self.verdict;
        report.stage = self.stage;
        report.exit = self.exit.code();
        report.cause = self.cause;
        report.detail = (!self.detail.is_empty()).then(|| self.detail.join("\n"));
        report.hint = self.hint;
    }
}

/// Whether a result makes the run fail: a failure that is not accepted.
pub fn counts_as_failure(result: &CheckResult) -> bool {
    result.status == Status::Fail && result.allowed.is_none()
}

/// Whether a result keeps the run from passing though nothing failed: a promised check that could not be looked at.
pub fn counts_as_unknown(result: &CheckResult) -> bool {
    result.status == Status::Unknown && catalog::find(&result.id).is_none_or(|check| check.promised)
}

/// The answer of all results together.
///
/// A failure that is not accepted makes the run fail: the one that lies earliest in a chain of causes is told. Without
/// one, a promised check that could not be looked at makes it unknown, and so does having tested nothing at all.
pub fn verdict(results: &[CheckResult]) -> Outcome {
    let rank = |result: &&CheckResult| catalog::find(&result.id).map_or(u8::MAX, |check| check.rank);
    let failed = results.iter().filter(|result| counts_as_failure(result)).min_by_key(rank);
    if let Some(lead) = failed {
        let (stage, exit) = stage_of(&lead.id);
        return told(Verdict::Fail, stage, exit, lead);
    }
    let unknown = results.iter().filter(|result| counts_as_unknown(result)).min_by_key(rank);
    if let Some(lead) = unknown {
        return told(Verdict::Unknown, Stage::Check, Exit::Unknown, lead);
    }
    let nothing = |result: &CheckResult| matches!(result.status, Status::Skip | Status::Unknown);
    if results.iter().all(nothing) {
        return Outcome {
            verdict: Verdict::Unknown,
            stage: Some(Stage::Check),
            exit: Exit::Unknown,
            decided_by: None,
            cause: Some("nothing was tested".to_owned()),
            detail: Vec::new(),
            hint: None,
        };
    }
    Outcome {
        verdict: Verdict::Pass,
        stage: None,
        exit: Exit::Pass,
        decided_by: None,
        cause: None,
        detail: Vec::new(),
        hint: None,
    }
}

fn told(verdict: Verdict, stage: Stage, exit: Exit, lead: &CheckResult) -> Outcome {
    Outcome {
        verdict,
        stage: Some(stage),
        exit,
        decided_by: Some(lead.id.clone()),
        cause: Some(lead.summary.clone()),
        detail: lead.detail.clone(),
        hint: lead.hint.clone(),
    }
}

/// The stage that a failure of this check belongs to, and its exit code.
fn stage_of(id: &str) -> (Stage, Exit) {
    match id {
        "build.eval" | "build.attribute" => (Stage::Evaluate, Exit::Build),
        id if id.starts_with("build.") => (Stage::Build, Exit::Build),
        "boot.target" | "boot.emergency" | "boot.panic" | "boot.poweroff" => (Stage::Boot, Exit::Boot),
        _ => (Stage::Check, Exit::CheckFailed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(results: &[(&str, Status)]) -> Outcome {
        verdict(&results.iter().map(|(id, status)| CheckResult::new(*id, *status, *id)).collect::<Vec<_>>())
    }

    type Row<'a> = (&'a [(&'a str, Status)], Verdict, Exit, Option<&'a str>);

    #[test]
    fn the_table() {
        use Status::{Fail, Pass, Skip, Unknown, Warn};
        let table: &[Row<'_>] = &[
            (&[("boot.target", Pass), ("services.journal", Warn)], Verdict::Pass, Exit::Pass, None),
            (
                &[("services.ports", Fail), ("services.failed-units", Fail)],
                Verdict::Fail,
                Exit::CheckFailed,
                Some("services.failed-units"),
            ),
            (&[("script.a", Fail), ("boot.target", Fail)], Verdict::Fail, Exit::Boot, Some("boot.target")),
            (&[("build.toplevel", Fail), ("boot.target", Pass)], Verdict::Fail, Exit::Build, Some("build.toplevel")),
            (
                &[("services.promised", Unknown), ("boot.target", Pass)],
                Verdict::Unknown,
                Exit::Unknown,
                Some("services.promised"),
            ),
            (&[("services.promised", Unknown), ("script.a", Fail)], Verdict::Fail, Exit::CheckFailed, Some("script.a")),
            (&[("boot.taint", Unknown), ("boot.target", Pass)], Verdict::Pass, Exit::Pass, None),
            (&[("boot.target", Skip)], Verdict::Unknown, Exit::Unknown, None),
            (&[], Verdict::Unknown, Exit::Unknown, None),
        ];
        for (results, verdict, exit, by) in table {
            let outcome = of(results);
            assert_eq!(
                (outcome.verdict, outcome.exit, outcome.decided_by.as_deref()),
                (*verdict, *exit, *by),
                "{results:?}"
            );
        }
    }

    #[test]
    fn an_accepted_failure_is_none() {
        let mut result = CheckResult::new("services.ports", Status::Fail, "x");
        result.allowed = Some("known".to_owned());
        assert_eq!(verdict(&[result]).verdict, Verdict::Pass);
    }

    fn decided(statuses: &[(Status, bool)]) -> (Verdict, u8) {
        let result = |(number, (status, allowed)): (usize, &(Status, bool))| {
            let mut check = CheckResult::new(format!("kind.{number}"), *status, "seen");
            check.allowed = allowed.then(|| "known".to_owned());
            check
        };
        let results: Vec<_> = statuses.iter().enumerate().map(result).collect();
        let mut report = Report::new("x", std::time::SystemTime::UNIX_EPOCH);
        verdict(&results).decide(&mut report);
        (report.verdict, report.exit)
    }

    #[test]
    fn a_run_is_judged_by_its_worst_check() {
        use Status::{Fail, Pass, Skip, Unknown, Warn};
        assert_eq!(decided(&[(Pass, false), (Warn, false), (Skip, false)]), (Verdict::Pass, 0));
        assert_eq!(decided(&[(Pass, false), (Unknown, false), (Fail, false)]), (Verdict::Fail, 1));
        assert_eq!(decided(&[(Pass, false), (Unknown, false), (Fail, true)]), (Verdict::Unknown, 5));
        assert_eq!(decided(&[(Pass, false), (Fail, true)]), (Verdict::Pass, 0));
        assert_eq!(decided(&[(Skip, false)]), (Verdict::Unknown, 5));
        assert_eq!(decided(&[]), (Verdict::Unknown, 5));
    }
}
