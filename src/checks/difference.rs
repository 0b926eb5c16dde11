//! What a change broke: the results of a run held against those of the configuration before the change.

use std::sync::LazyLock;

use regex::Regex;

use crate::judging::text::pattern;
use crate::model::{Change, CheckResult, Count, Found, NotTested, Status};

/// What of a line changes from run to run: process ids, times, hashes of the store, addresses, counters.
static VOLATILE: LazyLock<Regex> = LazyLock::new(|| pattern(r"[0-9a-z]{32}-|0x[0-9a-fA-F]+|[0-9]+([.:][0-9]+)*"));
/// Most of what was mended that is listed.
const MENDED: usize = 50;

/// The results that are compared.
#[derive(Debug, Clone, Copy)]
pub struct Results<'a> {
    /// The checks'.
    pub checks: &'a [CheckResult],
    /// What was not tested.
    pub not_tested: &'a [NotTested],
}

/// Whether two lines tell the same cause.
pub(crate) fn is_same_cause(one: &str, other: &str) -> bool {
    one == other || VOLATILE.replace_all(one, "#") == VOLATILE.replace_all(other, "#")
}

/// What a check found wrong: its findings, or its one line.
fn findings(check: &CheckResult) -> Vec<Found> {
    if !check.findings.is_empty() {
        return check.findings.clone();
    }
    vec![Found { item: check.id.to_string(), summary: check.summary.clone(), ..Found::default() }]
}

fn is_red(check: &CheckResult) -> bool {
    matches!(check.status, Status::Fail | Status::Warn)
}

/// How a finding of a check compares with the baseline's.
fn change_of(check: &CheckResult, found: &Found, before: &[CheckResult]) -> Change {
    let was_red = |other: &&CheckResult| match check.status {
        Status::Warn => is_red(other),
        _ => other.status == Status::Fail,
    };
    let of_item = |other: &CheckResult| findings(other).into_iter().filter(|known| known.item == found.item);
    let mut known = before.iter().filter(|other| other.id == check.id).filter(was_red).flat_map(of_item).peekable();
    if known.peek().is_some() {
        let is_same = known.any(|known| is_same_cause(&known.summary, &found.summary));
        return if is_same { Change::Same } else { Change::OtherCause };
    }
    // A unit that kept ending and now fails is another check's, and was red before all the same.
    let mut elsewhere =
        before.iter().filter(|other| other.id.kind() == check.id.kind()).filter(was_red).flat_map(of_item);
    if elsewhere.next().is_some() { Change::OtherCause } else { Change::New }
}

/// Says of each finding, and of all that was not tested, how it compares with the baseline. Returns what the baseline
/// had and this has not: `services.failed-units: foo.service`.
pub fn compare(
    checks: &mut [CheckResult],
    not_tested: &mut [NotTested],
    before: Results<'_>,
    count: Count,
) -> Vec<String> {
    for check in checks.iter_mut().filter(|check| is_red(check)) {
        let changes: Vec<Change> = findings(check).iter().map(|found| change_of(check, found, before.checks)).collect();
        for (found, change) in check.findings.iter_mut().zip(&changes) {
            found.change = Some(*change);
        }
        check.change = changes.iter().copied().max();
        check.before = count == Count::New && check.status == Status::Fail && check.change != Some(Change::New);
        lead_with_new(check);
    }
    for entry in not_tested.iter_mut() {
        let is_known = before.not_tested.iter().any(|known| known.what == entry.what);
        entry.change = Some(if is_known { Change::Same } else { Change::New });
    }
    mended(checks, not_tested, before.checks)
}

/// What is new leads, where something else did.
fn lead_with_new(check: &mut CheckResult) {
    let is_led_by_old = check.findings.first().is_some_and(|found| found.change != Some(Change::New));
    if !is_led_by_old || check.change != Some(Change::New) {
        return;
    }
    check.findings.sort_by_key(|found| found.change != Some(Change::New));
    let findings = std::mem::take(&mut check.findings);
    crate::judging::finding::present(check, findings);
}

/// What failed before and does not any more.
fn mended(checks: &[CheckResult], not_tested: &[NotTested], before: &[CheckResult]) -> Vec<String> {
    let still = |item: &str| {
        checks.iter().filter(|check| is_red(check)).flat_map(findings).any(|found| found.item == item)
            || not_tested.iter().any(|entry| entry.what == item)
    };
    // What was not judged this time is not mended.
    let passes = |id| checks.iter().any(|check| check.id == id && check.status != Status::Unknown);
    let failed = before.iter().filter(|check| check.status == Status::Fail && passes(check.id));
    failed
        .flat_map(|check| findings(check).into_iter().map(move |found| (check.id, found.item)))
        .filter(|(_, item)| !still(item))
        .map(|(id, item)| if item == id.to_string() { item } else { format!("{id}: {item}") })
        .take(MENDED)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CheckId, Excuse, Lack, Verdict, Witness};

    fn failed(id: CheckId, items: &[(&str, &str)]) -> CheckResult {
        let mut check = CheckResult::new(id, Status::Fail, items[0].1);
        check.findings = items
            .iter()
            .map(|(item, summary)| Found { item: (*item).into(), summary: (*summary).into(), ..Found::default() })
            .collect();
        check
    }

    fn held_against(mut now: Vec<CheckResult>, before: &[CheckResult]) -> (Vec<CheckResult>, Vec<String>) {
        let mended = compare(&mut now, &mut [], Results { checks: before, not_tested: &[] }, Count::New);
        (now, mended)
    }

    const UNITS: CheckId = CheckId::ServicesFailedUnits;

    #[test]
    fn what_was_so_before_does_not_count() {
        let pid = |pid: u32| format!("a.service failed: exit code 1 [{pid}]");
        let (now, mended) =
            held_against(vec![failed(UNITS, &[("a.service", &pid(812))])], &[failed(UNITS, &[("a.service", &pid(9))])]);
        assert_eq!((now[0].change, now[0].is_failure()), (Some(Change::Same), false));
        assert!(mended.is_empty());
        assert_eq!(super::super::verdict(&now).verdict, Verdict::Pass);
    }

    #[test]
    fn what_is_new_leads_and_counts() {
        let before = [failed(UNITS, &[("a.service", "a failed")])];
        let (now, _) =
            held_against(vec![failed(UNITS, &[("a.service", "a failed"), ("b.service", "b failed")])], &before);
        assert!(now[0].is_failure());
        assert_eq!(now[0].summary, "b failed (and 1 more)");
        assert_eq!(now[0].findings[0].change, Some(Change::New));
        assert_eq!(now[0].findings[1].change, Some(Change::Same));
    }

    #[test]
    fn another_cause_is_told_and_does_not_count() {
        let before = [failed(CheckId::ServicesRestartLoop, &[("a.service", "a is restarted again and again")])];
        let (now, _) = held_against(vec![failed(UNITS, &[("a.service", "a failed: no such file")])], &before);
        assert_eq!((now[0].change, now[0].is_failure()), (Some(Change::OtherCause), false));
        let before = [failed(UNITS, &[("a.service", "a failed: no such user")])];
        let (now, _) = held_against(vec![failed(UNITS, &[("a.service", "a failed: no such file")])], &before);
        assert_eq!(now[0].change, Some(Change::OtherCause));
    }

    #[test]
    fn what_is_mended_is_listed() {
        let before = [failed(UNITS, &[("a.service", "a failed"), ("b.service", "b failed")])];
        let (_, mended) = held_against(vec![failed(UNITS, &[("a.service", "a failed")])], &before);
        assert_eq!(mended, ["services.failed-units: b.service"]);
        let (_, mended) = held_against(vec![CheckResult::new(UNITS, Status::Unknown, "?")], &before);
        assert!(mended.is_empty(), "{mended:?}");
    }

    #[test]
    fn all_counts_where_that_was_asked() {
        let mut now = vec![failed(UNITS, &[("a.service", "a failed")])];
        let before = now.clone();
        compare(&mut now, &mut [], Results { checks: &before, not_tested: &[] }, Count::All);
        assert_eq!((now[0].change, now[0].is_failure()), (Some(Change::Same), true));
    }

    #[test]
    fn an_excuse_that_is_new_shows() {
        let entry = |what: &str| NotTested::new(what, Excuse::new(Lack::Outside, Witness::line("x"), "x"));
        let mut now = vec![entry("a.service"), entry("b.service")];
        compare(&mut [], &mut now, Results { checks: &[], not_tested: &[entry("a.service")] }, Count::New);
        assert_eq!([now[0].change, now[1].change], [Some(Change::Same), Some(Change::New)]);
    }
}
