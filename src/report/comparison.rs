//! How a run compares with its baseline, in words.

use super::text::count;
use crate::model::{Change, CheckResult, NotTested, Report, Status};
use crate::text::escape_line;

/// Most items that are named.
const NAMED: usize = 3;

/// How an item is shown; `None` leaves it out.
type Show<'a> = &'a dyn Fn(&str) -> Option<String>;

fn escaped(item: &str) -> Option<String> {
    Some(escape_line(item))
}

/// The items that failed, each once, by how they compare.
fn failed(report: &Report, show: Show<'_>, is_meant: impl Fn(&CheckResult, Option<Change>) -> bool) -> Vec<String> {
    let mut items = Vec::new();
    for check in report.checks.iter().filter(|check| check.status == Status::Fail && check.allowed.is_none()) {
        let own = [(check.label(), check.change)];
        let found = check.findings.iter().map(|found| (found.item.clone(), found.change));
        let found: Vec<_> = if check.findings.is_empty() { own.to_vec() } else { found.collect() };
        for (item, change) in found {
            let item = show(&item).unwrap_or_else(|| check.label());
            if is_meant(check, change) && !items.contains(&item) {
                items.push(item);
            }
        }
    }
    items
}

fn named(items: &[String]) -> String {
    let rest = items.len().saturating_sub(NAMED);
    let shown = items[..items.len() - rest].join(", ");
    if rest > 0 { format!("{shown} and {rest} more") } else { shown }
}

/// What failed before too and does not count, for the headline of a pass: `1 failure that HEAD (1a2b3c4) has too: foo.service`.
pub(crate) fn known_failures(report: &Report) -> Option<String> {
    known_failures_as(report, &escaped)
}

/// The same, its items shown otherwise.
pub(crate) fn known_failures_as(report: &Report, show: Show<'_>) -> Option<String> {
    let baseline = report.baseline.as_ref()?;
    let items = failed(report, show, |check, _| check.before);
    let name = escape_line(&baseline.name);
    (!items.is_empty()).then(|| format!("{} that {name} has too: {}", count(items.len(), "failure"), named(&items)))
}

/// The comparison in one line: `HEAD (1a2b3c4): new: b.service; as before: a.service; fixed: c.service`.
pub(crate) fn comparison(report: &Report) -> Option<String> {
    comparison_as(report, &escaped)
}

/// The same, its items shown otherwise.
pub(crate) fn comparison_as(report: &Report, show: Show<'_>) -> Option<String> {
    let baseline = report.baseline.as_ref().filter(|baseline| baseline.unusable.is_none())?;
    let of = |wanted: Change| failed(report, show, |_, change| change == Some(wanted));
    let untested = |entry: &&NotTested| entry.change == Some(Change::New) && entry.lack.is_of_vm();
    let untested = report.not_tested.iter().filter(untested).filter_map(|entry| show(&entry.what));
    // `services.failed-units: foo.service`
    let mended = baseline.mended.iter().map(|entry| entry.split_once(": ").map_or(entry.as_str(), |(_, item)| item));
    let parts = [
        ("new", of(Change::New)),
        ("failed before for another cause", of(Change::OtherCause)),
        ("as before", of(Change::Same)),
        ("newly not testable in a VM", untested.collect()),
        ("fixed", mended.filter_map(show).collect()),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(_, items)| !items.is_empty())
        .map(|(word, items)| format!("{word}: {}", named(items)))
        .collect();
    let parts = if parts.is_empty() { "no difference".to_owned() } else { parts.join("; ") };
    Some(format!("{}: {parts}", escape_line(&baseline.name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::examples;

    #[test]
    fn lines() {
        let report = examples::compared();
        assert_eq!(
            known_failures(&report).as_deref(),
            Some("2 failures that HEAD (1a2b3c4) has too: nginx.service, 80/tcp"),
        );
        assert_eq!(
            comparison(&report).as_deref(),
            Some("HEAD (1a2b3c4): as before: nginx.service, 80/tcp; fixed: old.service"),
        );
        assert_eq!(comparison(&examples::fail()), None);
    }
}
