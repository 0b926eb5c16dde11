//! What several results make together: the design's table of verdicts and exit codes.

use std::sync::LazyLock;

use regex::Regex;

use super::text;
use crate::model::{CheckId, CheckResult, Exit, Report, Stage, Status, Verdict};

/// A run's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Conclusion {
    /// The answer.
    pub verdict: Verdict,
    /// The stage that decided it; `None` for a pass.
    pub stage: Option<Stage>,
    /// The exit code.
    pub exit: Exit,
    /// The check that decided it.
    pub decided_by: Option<CheckId>,
    /// The cause in one line, when the verdict is not `pass`.
    pub cause: Option<String>,
    /// The lines that show it.
    pub detail: Vec<String>,
    /// What to do next.
    pub hint: Option<String>,
}

impl Conclusion {
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

/// The answer of all results together.
///
/// A failure that is not accepted makes the run fail: the one that lies earliest in a chain of causes is reported. Without
/// one, an expected check that could not be judged makes it unknown, and so does having tested nothing at all.
pub fn verdict(results: &[CheckResult]) -> Conclusion {
    let rank = |result: &&CheckResult| result.id.row().rank;
    let failed = results.iter().filter(|result| result.is_failure()).min_by_key(rank);
    if let Some(lead) = failed {
        let lead = rule_behind(lead, results).unwrap_or(lead);
        return decided_by(Verdict::Fail, lead.id.stage(), lead.id.exit(), lead);
    }
    let unknown = results.iter().filter(|result| result.is_undecided()).min_by_key(rank);
    if let Some(lead) = unknown {
        return decided_by(Verdict::Unknown, Stage::Check, Exit::Unknown, lead);
    }
    let nothing = |result: &CheckResult| matches!(result.status, Status::Skip | Status::Unknown);
    if results.iter().all(nothing) {
        return Conclusion {
            verdict: Verdict::Unknown,
            stage: Some(Stage::Check),
            exit: Exit::Unknown,
            decided_by: None,
            cause: Some("nothing was tested".to_owned()),
            detail: Vec::new(),
            hint: None,
        };
    }
    Conclusion {
        verdict: Verdict::Pass,
        stage: None,
        exit: Exit::Pass,
        decided_by: None,
        cause: None,
        detail: Vec::new(),
        hint: None,
    }
}

/// A user or a path that a rule of systemd-tmpfiles names: in quotes, or absolute.
static NAMED: LazyLock<Regex> = LazyLock::new(|| text::pattern(r#"['"]([^'"\s]{3,})['"]|(/[\w.@-]+(?:/[\w.@-]+)+)"#));

/// The failure of systemd-tmpfiles, where what leads misses just what the rule was to make. Alone it seldom matters to
/// anybody, which is why its rank is low.
fn rule_behind<'a>(lead: &CheckResult, results: &'a [CheckResult]) -> Option<&'a CheckResult> {
    let rule = results.iter().find(|result| result.id == CheckId::BootTmpfiles && result.is_failure())?;
    let told = format!("{}\n{}", lead.summary, lead.detail.join("\n"));
    let is_named = |name: &str| {
        let ends = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '-' | '_'));
        let mut found = told.match_indices(name);
        found.any(|(at, _)| ends(told[..at].chars().next_back()) && ends(told[at + name.len()..].chars().next()))
    };
    let mut names = NAMED.captures_iter(&rule.summary).filter_map(|found| found.get(1).or_else(|| found.get(2)));
    names.any(|name| !name.as_str().contains("/tmpfiles.d/") && is_named(name.as_str())).then_some(rule)
}

fn decided_by(verdict: Verdict, stage: Stage, exit: Exit, lead: &CheckResult) -> Conclusion {
    Conclusion {
        verdict,
        stage: Some(stage),
        exit,
        decided_by: Some(lead.id),
        cause: Some(lead.summary.clone()),
        detail: lead.detail.clone(),
        hint: lead.hint.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(results: &[(CheckId, Status)]) -> Conclusion {
        let result = |(id, status): &(CheckId, Status)| CheckResult::new(*id, *status, id.name());
        verdict(&results.iter().map(result).collect::<Vec<_>>())
    }

    type Row<'a> = (&'a [(CheckId, Status)], Verdict, Exit, Option<CheckId>);

    #[test]
    fn the_table() {
        use Status::{Fail, Pass, Skip, Unknown, Warn};
        let table: &[Row<'_>] = &[
            (&[(CheckId::BootTarget, Pass), (CheckId::ServicesJournal, Warn)], Verdict::Pass, Exit::Pass, None),
            (
                &[(CheckId::ServicesPorts, Fail), (CheckId::ServicesFailedUnits, Fail)],
                Verdict::Fail,
                Exit::CheckFailed,
                Some(CheckId::ServicesFailedUnits),
            ),
            (
                &[(CheckId::script("a"), Fail), (CheckId::BootTarget, Fail)],
                Verdict::Fail,
                Exit::Boot,
                Some(CheckId::BootTarget),
            ),
            (
                &[(CheckId::BuildToplevel, Fail), (CheckId::BootTarget, Pass)],
                Verdict::Fail,
                Exit::Build,
                Some(CheckId::BuildToplevel),
            ),
            (
                &[(CheckId::ServicesPromised, Unknown), (CheckId::BootTarget, Pass)],
                Verdict::Unknown,
                Exit::Unknown,
                Some(CheckId::ServicesPromised),
            ),
            (
                &[(CheckId::ServicesPromised, Unknown), (CheckId::script("a"), Fail)],
                Verdict::Fail,
                Exit::CheckFailed,
                Some(CheckId::script("a")),
            ),
            (&[(CheckId::BootTaint, Unknown), (CheckId::BootTarget, Pass)], Verdict::Pass, Exit::Pass, None),
            (&[(CheckId::BootTarget, Skip)], Verdict::Unknown, Exit::Unknown, None),
            (&[], Verdict::Unknown, Exit::Unknown, None),
        ];
        for (results, verdict, exit, by) in table {
            let conclusion = of(results);
            assert_eq!(
                (conclusion.verdict, conclusion.exit, conclusion.decided_by.as_ref()),
                (*verdict, *exit, by.as_ref()),
                "{results:?}"
            );
        }
    }

    #[test]
    fn a_rule_of_tmpfiles_leads_only_to_what_missed_it() {
        let led = |rule: &str, id: CheckId, other: &str| {
            let rule = CheckResult::new(CheckId::BootTmpfiles, Status::Fail, format!("systemd-tmpfiles: {rule}"));
            verdict(&[rule, CheckResult::new(id, Status::Fail, other)]).decided_by
        };
        let rule = "/etc/tmpfiles.d/00-nixos.conf:7: Failed to resolve user 'appuser': No such process";
        let network = CheckId::NetworkAddress;
        assert_eq!(led(rule, network, "no address but the loopback's"), Some(network));
        let units = CheckId::ServicesFailedUnits;
        assert_eq!(led(rule, units, "web.service failed: cannot bind"), Some(units));
        assert_eq!(led(rule, units, "web.service failed: /etc/tmpfiles.d/00-nixos.conf:7"), Some(units));
        assert_eq!(led(rule, units, "web.service failed: appuser2 is no user"), Some(units));
        let tmpfiles = CheckId::BootTmpfiles;
        assert_eq!(led(rule, units, "app.service failed: unknown user appuser"), Some(tmpfiles));
        let rule = "Detected unsafe path transition /srv → /srv/app during canonicalization of /srv/app/data.";
        assert_eq!(led(rule, units, "app.service failed: /srv/app/data: No such file"), Some(tmpfiles));
    }

    #[test]
    fn an_accepted_failure_is_none() {
        let mut result = CheckResult::new(CheckId::ServicesPorts, Status::Fail, "x");
        result.allowed = Some("known".to_owned());
        assert_eq!(verdict(&[result]).verdict, Verdict::Pass);
    }

    fn decided(statuses: &[(Status, bool)]) -> (Verdict, u8) {
        let result = |(number, (status, allowed)): (usize, &(Status, bool))| {
            let mut check = CheckResult::new(CheckId::script(&number.to_string()), *status, "seen");
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
