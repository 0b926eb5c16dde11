//! What several results make together: the design's table of verdicts and exit codes.

use std::sync::LazyLock;

use regex::Regex;

use crate::judging::text;
use crate::model::{CheckId, CheckResult, Exit, MachinePhase, NotTested, Report, Stage, Status, Verdict};

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
    // Of the same in several phases of a switch, the first is the cause; what the way back broke is not why one goes back.
    let is_back = |result: &CheckResult| result.phase == Some(MachinePhase::Back);
    let rank = |result: &&CheckResult| (is_back(result), result.id.row().rank, result.phase);
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

/// Most names that [`untestable`] lists.
const NAMES: usize = 4;

/// What only the real machine can show, by name: units without `.service`.
pub fn untestable_names(not_tested: &[NotTested]) -> Vec<&str> {
    let of_vm = not_tested.iter().filter(|entry| entry.is_open());
    of_vm.map(|entry| entry.what.strip_suffix(".service").unwrap_or(&entry.what)).collect()
}

/// The same in words: `2 units not testable in a VM: cloudflared, nvidia-persistenced`. What a guest says is in them as it
/// is.
pub fn untestable(not_tested: &[NotTested]) -> Option<String> {
    let names = untestable_names(not_tested);
    let counted = untestable_count(not_tested)?;
    let shown = names.iter().take(NAMES).copied().collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(NAMES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!("{counted}: {shown}{more}"))
}

/// How many they are: `2 units not testable in a VM`.
pub fn untestable_count(not_tested: &[NotTested]) -> Option<String> {
    let mut of_vm = not_tested.iter().filter(|entry| entry.is_open()).peekable();
    of_vm.peek()?;
    let is_unit = |entry: &NotTested| entry.what.rsplit_once('.').is_some_and(|(_, kind)| UNITS.contains(&kind));
    let (count, units) = of_vm.fold((0, 0), |(count, units), entry| (count + 1, units + usize::from(is_unit(entry))));
    let noun = match (count == units, count) {
        (true, 1) => " unit",
        (true, _) => " units",
        (false, _) => "",
    };
    Some(format!("{count}{noun} not testable in a VM"))
}

/// The kinds of units that fail.
const UNITS: [&str; 8] = ["service", "mount", "socket", "swap", "device", "path", "timer", "automount"];

/// `--strict`: a pass that left out what only the real machine can show is none.
pub fn be_strict(report: &mut Report) {
    let Some(what) = untestable(&report.not_tested).filter(|_| report.verdict == Verdict::Pass) else { return };
    report.verdict = Verdict::Unknown;
    report.stage = Some(Stage::Check);
    report.exit = Exit::Unknown.code();
    report.cause = Some(format!("{what} (--strict)"));
    let why = report.not_tested.iter().filter(|entry| entry.is_open());
    report.detail = Some(why.map(|entry| format!("{}: {}", entry.what, entry.why)).collect::<Vec<_>>().join("\n"));
    report.hint = Some("[file] and [secret] in nixbox.toml supply what only the real machine has".to_owned());
    report.apply = None;
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

/// The cause, with when it showed where a switch was rehearsed.
fn told(lead: &CheckResult) -> String {
    match lead.phase {
        Some(phase) if !lead.summary.contains("switch") => format!("{}: {}", phase.when(), lead.summary),
        _ => lead.summary.clone(),
    }
}

fn decided_by(verdict: Verdict, stage: Stage, exit: Exit, lead: &CheckResult) -> Conclusion {
    Conclusion {
        verdict,
        stage: Some(stage),
        exit,
        decided_by: Some(lead.id),
        cause: Some(told(lead)),
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
    fn what_no_vm_can_show() {
        use crate::model::{Excuse, Lack, Witness};
        let entry = |what: &str, lack| NotTested::new(what, Excuse::new(lack, Witness::state("x"), "why"));
        let mut report = Report::new("x", std::time::SystemTime::UNIX_EPOCH);
        report.verdict = Verdict::Pass;
        report.not_tested = vec![entry("a.service", Lack::Choice)];
        assert_eq!(untestable(&report.not_tested), None);
        be_strict(&mut report);
        assert_eq!(report.verdict, Verdict::Pass);
        report.not_tested.push(entry("cloudflared.service", Lack::State));
        assert_eq!(untestable(&report.not_tested).unwrap(), "1 unit not testable in a VM: cloudflared");
        report.not_tested.push(entry("nvidia-persistenced.service", Lack::Hardware));
        assert_eq!(
            untestable(&report.not_tested).unwrap(),
            "2 units not testable in a VM: cloudflared, nvidia-persistenced"
        );
        report.not_tested.extend(["enp3s0", "b.service", "c.mount"].map(|what| entry(what, Lack::Hardware)));
        assert!(untestable(&report.not_tested).unwrap().starts_with("5 not testable in a VM: cloudflared, "));
        be_strict(&mut report);
        assert_eq!((report.verdict, report.exit), (Verdict::Unknown, 5));
        assert!(report.cause.unwrap().contains("cloudflared"));
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
