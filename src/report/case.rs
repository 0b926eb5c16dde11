//! A report as a suite of test cases, as readers of test results know it: one case a check, and where a run ended
//! before its checks, one for the stage at which it did. What a suite shows of a run that is no pass is never all good.
//!
//! All text here is fit to be shown: unsafe characters escaped, lines and their number bounded. The writers escape what
//! means something in their own format, and nothing else.

use std::fmt;
use std::sync::LazyLock;

use regex::Regex;

use super::text::{Paint, count};
use crate::model::{CheckKind, CheckResult, Exit, OutsideAttempt, Report, STORE_DIR, Stage, Status, Verdict};
use crate::text::{bounded, escape, escape_line};

/// Most bytes of a line.
const LINE: usize = 2000;
/// Most lines of a case's detail.
const LINES: usize = 120;
/// Most lines of it on a page that shows several cases.
const EXCERPT: usize = 40;

/// A run as a suite.
#[derive(Debug)]
pub(super) struct Suite {
    /// The target, as the user named it.
    pub(super) name: String,
    /// In the report's order; the stage's, if there is one, is the first.
    pub(super) cases: Vec<Case>,
    /// What was not tested, and why.
    pub(super) not_tested: Vec<(String, String)>,
    /// Seconds of the whole run.
    pub(super) seconds: f64,
}

/// A check, or the stage that ended a run.
#[derive(Debug)]
pub(super) struct Case {
    /// The check's id (`services.ports`), with the phase of a rehearsed switch (`services.ports [back]`); or the stage's
    /// name (`boot`), which has no dot.
    pub(super) id: String,
    /// Its outcome.
    pub(super) status: CaseStatus,
    /// One line.
    pub(super) summary: String,
    /// The lines that show it.
    pub(super) detail: Vec<String>,
    /// What to do next, one line.
    pub(super) hint: Option<String>,
    /// Seconds that were spent on it.
    pub(super) seconds: f64,
    /// Failed and then passed.
    pub(super) flaky: bool,
    /// Where in the user's files the cause is, as far as nix reported it.
    pub(super) position: Option<SourcePosition>,
}

/// The outcome of a case, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CaseStatus {
    /// Not as expected: the run fails.
    Fail,
    /// Could not be tested, and the run cannot pass without.
    Unknown,
    /// Failed before the change too, and does not count.
    Before,
    /// Failed, as `nixbox.toml` allows.
    Allowed,
    /// Worth attention, breaks nothing by itself.
    Warn,
    /// Could not be tested, and the verdict does not depend on it.
    UnknownAdvice,
    /// As expected.
    Pass,
    /// Not tested.
    Skip,
}

/// A position in a file of the user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourcePosition {
    /// The file, as nix named it.
    pub(super) file: String,
    /// The line, from 1.
    pub(super) line: u32,
    /// The column, from 1.
    pub(super) column: u32,
}

impl fmt::Display for SourcePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl From<Verdict> for CaseStatus {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Pass,
            Verdict::Fail => Self::Fail,
            Verdict::Unknown => Self::Unknown,
        }
    }
}

impl CaseStatus {
    /// For people.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Fail => "failed",
            Self::Unknown | Self::UnknownAdvice => "could not tell",
            Self::Before => "failed before",
            Self::Allowed => "allowed",
            Self::Warn => "warning",
            Self::Pass => "passed",
            Self::Skip => "skipped",
        }
    }

    /// Whether it keeps the run from passing.
    pub(super) fn prevents_pass(self) -> bool {
        matches!(self, Self::Fail | Self::Unknown)
    }

    fn of(check: &CheckResult) -> Self {
        match check.status {
            Status::Pass => Self::Pass,
            Status::Warn => Self::Warn,
            Status::Fail if check.is_failure() => Self::Fail,
            Status::Fail if check.before => Self::Before,
            Status::Fail => Self::Allowed,
            Status::Skip => Self::Skip,
            Status::Unknown if check.is_undecided() => Self::Unknown,
            Status::Unknown => Self::UnknownAdvice,
        }
    }
}

impl Suite {
    /// The suite that a report is.
    pub(super) fn of(report: &Report) -> Self {
        let mut cases = Vec::with_capacity(report.checks.len() + 1);
        cases.extend(stage_case(report));
        cases.extend(report.checks.iter().map(Case::of));
        let not_tested = report.not_tested.iter().map(|entry| (line(&entry.what), line(&entry.why)));
        Self { name: name(report), cases, not_tested: not_tested.collect(), seconds: finite(report.seconds) }
    }

    /// How many cases have such an outcome.
    pub(super) fn count(&self, is_counted: impl Fn(CaseStatus) -> bool) -> usize {
        self.cases.iter().filter(|case| is_counted(case.status)).count()
    }

    /// The case that this cause is about.
    pub(super) fn lead(&self, cause: &str) -> Option<&Case> {
        self.cases.iter().filter(|case| case.status.prevents_pass()).find(|case| cause.contains(&case.summary))
    }

    /// The cases, those that failed first.
    pub(super) fn worst_first(&self) -> Vec<&Case> {
        let mut cases: Vec<&Case> = self.cases.iter().collect();
        cases.sort_by_key(|case| case.status);
        cases
    }

    /// `17 passed, 1 failed`.
    pub(super) fn counts(&self) -> String {
        use CaseStatus::{Allowed, Before, Fail, Pass, Skip, Unknown, UnknownAdvice, Warn};
        let all = [Pass, Fail, Unknown, UnknownAdvice, Warn, Before, Allowed, Skip];
        let counts = all.iter().filter_map(|status| match self.count(|of| of == *status) {
            0 => None,
            number if *status == Warn => Some(count(number, status.word())),
            number => Some(format!("{number} {}", status.word())),
        });
        counts.collect::<Vec<_>>().join(", ")
    }
}

impl Case {
    fn of(check: &CheckResult) -> Self {
        let status = CaseStatus::of(check);
        let summary = match &check.allowed {
            Some(why) if status == CaseStatus::Allowed => format!("{} (allowed: {why})", check.summary),
            _ => match check.change.filter(|_| status == CaseStatus::Before) {
                Some(change) => format!("{} ({change})", check.summary),
                None => check.summary.clone(),
            },
        };
        let detail = lines(check.detail.iter().flat_map(|line| line.lines()));
        // Elsewhere the lines are a guest's, which may name any file.
        let position = if check.id.kind() == CheckKind::Build { position(&detail) } else { None };
        Self {
            id: check.label(),
            status,
            summary: line(&summary),
            detail,
            hint: check.hint.as_deref().map(line),
            seconds: finite(check.seconds),
            flaky: check.flaky,
            position,
        }
    }

    /// The lines that show it, fewer of them: as [`lines`] chooses them.
    pub(super) fn excerpt(&self) -> Vec<String> {
        let (head, omitted, tail) = head_and_tail(&self.detail, EXCERPT);
        head.iter().cloned().chain(omitted).chain(tail.iter().cloned()).collect()
    }
}

/// The case of the stage at which a run ended, where no check shows that it did not pass.
fn stage_case(report: &Report) -> Option<Case> {
    let status = CaseStatus::from(report.verdict);
    if status == CaseStatus::Pass || lead(report).is_some_and(|check| CaseStatus::of(check) == status) {
        return None;
    }
    let detail = lines(report.detail.iter().flat_map(|detail| detail.lines()));
    let from_nix = matches!(report.stage, Some(Stage::Evaluate | Stage::Build));
    Some(Case {
        id: stage_id(report.stage).to_owned(),
        status,
        summary: cause(report).unwrap_or_default(),
        position: if from_nix { position(&detail) } else { None },
        detail,
        hint: report.hint.as_deref().map(line),
        seconds: finite(report.seconds),
        flaky: false,
    })
}

/// The check that the cause is about.
pub(super) fn lead(report: &Report) -> Option<&CheckResult> {
    let decides = |check: &&CheckResult| match report.verdict {
        Verdict::Fail => check.is_failure(),
        Verdict::Unknown => check.status == Status::Unknown,
        Verdict::Pass => false,
    };
    match &report.cause {
        // A cause that is no check's is about what came before the checks: all of them are then "also".
        Some(cause) => {
            let is_told = |check: &&CheckResult| cause.contains(check.summary.as_str());
            report.checks.iter().filter(decides).filter(is_told).min_by_key(|check| check.id.row().rank)
        }
        None => report.checks.iter().find(decides),
    }
}

/// The cause in one line, where the verdict is no pass.
pub(super) fn cause(report: &Report) -> Option<String> {
    if report.verdict == Verdict::Pass {
        return None;
    }
    let cause = report.cause.as_deref().or_else(|| lead(report).map(|check| check.summary.as_str()));
    Some(line(cause.unwrap_or("no cause is known")))
}

/// What begins a headline: the verdict, or why there is none, with its colour.
pub(super) fn headline_word(verdict: Verdict, exit: u8) -> (Paint, &'static str) {
    match (verdict, exit) {
        (_, code) if code == Exit::Usage.code() => (Paint::Bad, "error"),
        (_, code) if code == Exit::Interrupted.code() => (Paint::Doubt, "interrupted"),
        (Verdict::Fail, _) => (Paint::Bad, verdict_word(verdict)),
        (Verdict::Unknown, _) => (Paint::Doubt, verdict_word(verdict)),
        (Verdict::Pass, _) => (Paint::Good, verdict_word(verdict)),
    }
}

/// The notes, a line each, in at most `most` lines: the last says how many more are in `file`.
pub(super) fn notes(notes: &[String], most: usize, file: &str) -> Vec<String> {
    let shown = if notes.len() > most { most.saturating_sub(1) } else { notes.len() };
    let mut lines: Vec<String> = notes[..shown].iter().map(|note| escape_line(note)).collect();
    if shown < notes.len() {
        lines.push(format!("and {} in {file}", count(notes.len() - shown, "more note")));
    }
    lines
}

/// Most destinations of the outside that are named.
const OUTSIDE: usize = 8;

/// What of the outside the guest tried to reach, in one line; `None` where that is nothing, or the time alone.
pub(super) fn outside(report: &Report) -> Option<String> {
    let tried: Vec<&OutsideAttempt> = report.outside.iter().filter(|attempt| !attempt.is_clock).collect();
    let in_words = |attempt: &&OutsideAttempt| match attempt.by.as_slice() {
        [] => line(&attempt.to),
        by => format!("{} (by {})", line(&attempt.to), line(&by.join(", "))),
    };
    let mut words: Vec<String> = tried.iter().take(OUTSIDE).map(in_words).collect();
    if tried.len() > OUTSIDE {
        words.push(format!("and {} more", tried.len() - OUTSIDE));
    }
    (!words.is_empty()).then(|| format!("tried to reach {}", words.join(", ")))
}

/// The verdict in a word or three.
pub(super) fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Unknown => "could not tell",
    }
}

/// What several runs come to, in one line.
pub(super) fn headline(reports: &[Report]) -> String {
    let of = |verdict| reports.iter().filter(|report| report.verdict == verdict).count();
    let (passed, failed, unknown) = (of(Verdict::Pass), of(Verdict::Fail), of(Verdict::Unknown));
    let machines = count(reports.len(), "machine");
    match reports {
        [] => "nothing was tested".to_owned(),
        [report] if report.verdict == Verdict::Pass => {
            format!("{}: {}{}", name(report), verdict_word(report.verdict), untestable(report))
        }
        [report] => format!("{}: {}", name(report), verdict_word(report.verdict)),
        _ if passed == reports.len() => format!("{machines}: all passed"),
        _ => {
            let parts = [(failed, "failed"), (unknown, "unknown"), (passed, "passed")];
            let parts = parts.iter().filter(|(number, _)| *number > 0).map(|(number, word)| format!("{number} {word}"));
            format!("{machines}: {}", parts.collect::<Vec<_>>().join(", "))
        }
    }
}

/// What no VM can show, as the end of a pass's headline; empty where there is nothing.
pub(super) fn untestable(report: &Report) -> String {
    crate::checks::untestable(&report.not_tested).map_or_else(String::new, |words| format!("; {}", line(&words)))
}

/// What was tested, as the user named it.
pub(super) fn name(report: &Report) -> String {
    let name = line(&report.target.name);
    if name.is_empty() { "nixbox".to_owned() } else { name }
}

/// Text of others in one line, fit to be shown and of bounded length.
pub(super) fn line(text: &str) -> String {
    // Escaping makes a text up to ten times as long.
    bounded(&escape_line(&bounded(text, LINE)), LINE)
}

/// Lines of others, fit to be shown; of too many the first and the last: an error's text begins with what is wrong, a
/// log ends with it.
pub(super) fn lines<'a>(text: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let all: Vec<&str> = text.into_iter().collect();
    let fit = |line: &str| bounded(escape(&bounded(line, LINE)).trim_end(), LINE);
    let (head, omitted, tail) = head_and_tail(&all, LINES);
    let mut kept: Vec<String> = head.iter().map(|line| fit(line)).collect();
    kept.extend(omitted);
    kept.extend(tail.iter().map(|line| fit(line)));
    kept
}

/// Those at the beginning and at the end that are shown, and the line that stands for those between.
pub(super) fn head_and_tail<T>(all: &[T], most: usize) -> (&[T], Option<String>, &[T]) {
    if all.len() <= most {
        return (all, None, &[]);
    }
    let head = most / 3;
    let tail = most - head - 1;
    let omitted = format!("… {} omitted", count(all.len() - head - tail, "line"));
    (&all[..head], Some(omitted), &all[all.len() - tail..])
}

fn stage_id(stage: Option<Stage>) -> &'static str {
    match stage {
        Some(Stage::Evaluate) => "evaluate",
        Some(Stage::Build) => "build",
        Some(Stage::Boot) => "boot",
        Some(Stage::Check) => "check",
        Some(Stage::Host) => "host",
        None => "run",
    }
}

/// A number of seconds that every format can write.
pub(super) fn finite(seconds: f64) -> f64 {
    if seconds.is_finite() { seconds.clamp(0.0, 1e9) } else { 0.0 }
}

/// The first position in nix's messages (`at FILE:LINE:COLUMN`, `from FILE:LINE:COLUMN (…)`) outside the store, in which
/// nobody edits a file.
fn position(lines: &[String]) -> Option<SourcePosition> {
    static POSITION: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"^(?:at|from) (/.+?):(\d{1,9}):(\d{1,9})(?: \(|$)").ok());
    let pattern = POSITION.as_ref()?;
    lines.iter().filter_map(|line| pattern.captures(line)).find_map(|found| {
        let (line, column) = (found[2].parse().ok()?, found[3].parse().ok()?);
        (!found[1].contains(STORE_DIR)).then(|| SourcePosition { file: found[1].to_owned(), line, column })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::CheckId;
    use crate::report::examples;

    #[test]
    fn no_failure_looks_like_a_pass() {
        for report in examples::all() {
            let suite = Suite::of(&report);
            assert_eq!(suite.count(CaseStatus::prevents_pass) == 0, report.verdict == Verdict::Pass, "{suite:#?}");
        }
    }

    #[test]
    fn a_run_that_ended_early_has_a_case_for_its_stage() {
        let first = |report: &Report| {
            let case = Suite::of(report).cases.remove(0);
            (case.id, case.status, case.summary)
        };
        let (id, status, summary) = first(&examples::boot_fail());
        assert_eq!((id.as_str(), status), ("boot", CaseStatus::Fail));
        assert!(summary.starts_with("boot hangs"), "{summary}");
        assert_eq!(first(&examples::unknown()).0, "host");
        assert_eq!(first(&examples::build_fail()).0, "build");
        // Reported by its check, and not twice.
        assert_eq!(first(&examples::fail()).0, "boot.target");
    }

    #[test]
    fn a_check_that_only_advises_leaves_a_pass_a_pass() {
        let mut report = examples::pass();
        report.checks.push(CheckResult::new(CheckId::NetworkDns, Status::Unknown, "no name resolves"));
        crate::checks::verdict(&report.checks).decide(&mut report);
        let suite = Suite::of(&report);
        assert_eq!((report.verdict, suite.count(|status| status == CaseStatus::UnknownAdvice)), (Verdict::Pass, 1));
        assert_eq!(suite.count(CaseStatus::prevents_pass), 0);
    }

    #[test]
    fn positions_are_in_the_users_own_files() {
        let of = |text: &str| position(&lines(text.lines())).map(|at| (at.file, at.line, at.column));
        assert_eq!(
            of("error\nat /nix/store/0-source/lib/modules.nix:1:2\nfrom /home/u/my dots/a.nix:12:3 (while calling x)"),
            Some(("/home/u/my dots/a.nix".to_owned(), 12, 3))
        );
        assert_eq!(of("at /home/u/a.nix:7:1"), Some(("/home/u/a.nix".to_owned(), 7, 1)));
        for none in ["> at /etc/passwd:1:1", "at «string»:1:1", "at /x:1", "at /x:1:99999999999", "look at /x:1:1"] {
            assert_eq!(of(none), None, "{none}");
        }
        let mut report = examples::fail();
        report.checks[1].detail = vec!["at /etc/passwd:1:1".to_owned()];
        assert!(Suite::of(&report).cases.iter().all(|case| case.position.is_none()), "a guest names no files of ours");
    }

    proptest! {
        #[test]
        fn text_is_bounded_and_harmless(text in any::<String>(), times in 1usize..400) {
            let long = text.repeat(times);
            let one = line(&long);
            prop_assert!(one.len() <= LINE + 3 && !one.contains('\n'));
            let many = lines(long.lines());
            prop_assert!(many.len() <= LINES);
            prop_assert!(many.iter().all(|line| line.len() <= LINE + 3 && !line.chars().any(char::is_control)));
        }
    }
}
