//! What a check found wrong, and the one result that it makes of all its findings.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{JudgeContext, contention, text};
use crate::model::{CheckId, CheckResult, Found, Status};

/// How many of the first finding's lines a result shows: the first is the likeliest cause.
const LINES_OF_FIRST: usize = 8;
/// The same of each other one.
const LINES_OF_OTHERS: usize = 2;
/// Most findings that a result lists.
const ITEMS: usize = 50;

/// One thing that a check found wrong.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    /// The unit, port, user, … that it is about.
    pub(crate) item: String,
    /// The cause, one line.
    pub(crate) summary: String,
    /// Lines that show it.
    pub(crate) detail: Vec<String>,
    pub(crate) evidence: Vec<(&'static str, Value)>,
    pub(crate) hint: Option<String>,
    /// The time limit that ran out, where that is all that is wrong: from when to when, in µs of the guest's clock.
    limit: Option<(u64, u64)>,
    /// Why that limit says nothing of a processor that is not emulated, where it is so.
    emulated: Option<String>,
}

impl Finding {
    pub(crate) fn new(item: impl Into<String>, summary: impl Into<String>) -> Self {
        Self {
            item: item.into(),
            summary: summary.into(),
            detail: Vec::new(),
            evidence: Vec::new(),
            hint: None,
            limit: None,
            emulated: None,
        }
    }

    pub(crate) fn detail(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.detail.extend(lines);
        self
    }

    pub(crate) fn evidence(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.evidence.push((name, value.into()));
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// It is a time limit that ran out: where this host kept the machine waiting meanwhile, it says nothing.
    pub(crate) fn time_limit(mut self, limit: impl Into<Option<(u64, u64)>>) -> Self {
        self.limit = limit.into();
        self
    }

    /// The time limit that ran out says nothing of a machine that is not emulated, where there is a reason.
    pub(crate) fn slow_by_emulation(mut self, why: Option<String>) -> Self {
        self.emulated = why;
        self
    }
}

/// Makes one result of what a check found: failures first, then what host contention explains, then warnings, else the
/// pass's line.
pub(crate) fn conclude(
    cx: &JudgeContext<'_>,
    id: CheckId,
    fails: Vec<Finding>,
    warns: Vec<Finding>,
    pass: impl FnOnce() -> String,
) -> CheckResult {
    // Why a finding says nothing. What is allowed to fail is so on any host.
    let late_by = |finding: &Finding| {
        let limit = finding.limit.filter(|_| cx.allowed(id, &finding.item).is_none())?;
        contention::late(&cx.context.delay, limit, || finding.emulated.clone())
    };
    let (late, fails): (Vec<_>, Vec<_>) = fails.into_iter().partition(|finding| late_by(finding).is_some());
    let reasons: Vec<Option<&str>> = fails.iter().map(|finding| cx.allowed(id, &finding.item)).collect();
    if !fails.is_empty() && late.is_empty() && reasons.iter().all(Option::is_some) {
        // Each of them is allowed: it stays a failure that says so.
        let unique: BTreeSet<&str> = reasons.into_iter().flatten().collect();
        let reason = unique.into_iter().collect::<Vec<_>>().join("; ");
        let mut result = merged(id, Status::Fail, fails);
        result.allowed = Some(reason);
        return result;
    }
    let allowed: Vec<String> = fails
        .iter()
        .zip(&reasons)
        .filter_map(|(finding, reason)| Some(format!("allowed to fail: {}: {}", finding.item, (*reason)?)))
        .collect();
    let fails: Vec<Finding> =
        fails.into_iter().zip(&reasons).filter(|(_, reason)| reason.is_none()).map(|(finding, _)| finding).collect();
    if !fails.is_empty() {
        let late = late.iter().filter_map(|finding| Some(format!("{}; {}", finding.summary, late_by(finding)?.0)));
        return merged(id, Status::Fail, fails).detail(allowed).detail(late);
    }
    if let Some((why, hint)) = late.first().and_then(late_by) {
        return contention::inconclusive(merged(id, Status::Fail, late), &why, hint).detail(allowed);
    }
    if !warns.is_empty() {
        return merged(id, Status::Warn, warns);
    }
    CheckResult::new(id, Status::Pass, pass())
}

/// The same of what was found by comparing: no time limit is in it, and what is allowed is so by its whole check.
pub(crate) fn compared(
    id: CheckId,
    status: Status,
    findings: Vec<Finding>,
    pass: impl FnOnce() -> String,
) -> CheckResult {
    if findings.is_empty() { CheckResult::new(id, Status::Pass, pass()) } else { merged(id, status, findings) }
}

/// One result of several findings, which says what the first says and how many others there are.
fn merged(id: CheckId, status: Status, findings: Vec<Finding>) -> CheckResult {
    let mut result = CheckResult::new(id, status, "");
    if let Some(first) = findings.first() {
        result.evidence.extend(first.evidence.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    }
    present(&mut result, findings.into_iter().map(Found::from).collect());
    result
}

impl From<Finding> for Found {
    fn from(finding: Finding) -> Self {
        let from = finding.detail.len().saturating_sub(LINES_OF_FIRST);
        Self {
            item: text::clean(&finding.item),
            summary: text::clean(&finding.summary),
            detail: finding.detail[from..].iter().map(|line| text::clean(line)).collect(),
            hint: finding.hint,
            change: None,
        }
    }
}

/// Shows findings in their order.
pub(crate) fn present(result: &mut CheckResult, mut findings: Vec<Found>) {
    let count = findings.len();
    result.detail.clear();
    for (index, found) in findings.iter().enumerate() {
        if index == 0 {
            result.summary = if count > 1 {
                // Room for the count: the summary is cut at a line's length.
                let lead: String = found.summary.chars().take(text::LINE - 20).collect();
                format!("{lead} (and {} more)", count - 1)
            } else {
                found.summary.clone()
            };
            result.hint.clone_from(&found.hint);
        } else {
            result.detail.push(found.summary.clone());
        }
        let lines = if index == 0 { LINES_OF_FIRST } else { LINES_OF_OTHERS };
        let from = found.detail.len().saturating_sub(lines);
        result.detail.extend(found.detail[from..].iter().map(|line| format!("  {line}")));
    }
    findings.truncate(ITEMS);
    result.findings = findings;
}
