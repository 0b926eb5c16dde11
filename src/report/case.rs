//! A report as a suite of test cases, as readers of test results know it: one case a check, and where a run ended
//! before its checks, one for the stage at which it did. What a suite shows of a run that is no pass is never all good.
//!
//! All text here is fit to be shown: wild characters escaped, lines and their number bounded. The writers escape what
//! means something in their own format, and nothing else.

use std::fmt;
use std::sync::LazyLock;

use regex::Regex;

use super::text::count;
use crate::checks::{counts_as_failure, counts_as_unknown};
use crate::model::{CheckKind, CheckResult, Report, Stage, Status, Verdict};
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
    /// What was set aside, and why.
    pub(super) aside: Vec<(String, String)>,
    /// Seconds of the whole run.
    pub(super) seconds: f64,
}

/// A check, or the stage that ended a run.
#[derive(Debug)]
pub(super) struct Case {
    /// The check's id (`services.ports`), or the stage's name (`boot`), which has no dot.
    pub(super) id: String,
    /// How it came out.
    pub(super) kind: Kind,
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
    /// Where in the user's files the cause is, as far as nix said so.
    pub(super) place: Option<Place>,
}

/// How a case came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Not as expected: the run fails.
    Fail,
    /// Could not be looked at, and the run cannot pass without.
    Unknown,
    /// Failed, as `nixbox.toml` allows.
    Allowed,
    /// Worth a look, breaks nothing by itself.
    Warn,
    /// Could not be looked at, and the verdict does not hang on it.
    Unsure,
    /// As expected.
    Pass,
    /// Not looked at.
    Skip,
}

/// A place in a file of the user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The file, as nix named it.
    pub(super) file: String,
    /// The line, from 1.
    pub(super) line: u32,
    /// The column, from 1.
    pub(super) column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl From<Verdict> for Kind {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Pass,
            Verdict::Fail => Self::Fail,
            Verdict::Unknown => Self::Unknown,
        }
    }
}

impl Kind {
    /// For people.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Fail => "failed",
            Self::Unknown | Self::Unsure => "could not tell",
            Self::Allowed => "allowed",
            Self::Warn => "warning",
            Self::Pass => "passed",
            Self::Skip => "skipped",
        }
    }

    /// Whether it keeps the run from passing.
    pub(super) fn weighs(self) -> bool {
        matches!(self, Self::Fail | Self::Unknown)
    }

    fn of(check: &CheckResult) -> Self {
        match check.status {
            Status::Pass => Self::Pass,
            Status::Warn => Self::Warn,
            Status::Fail if counts_as_failure(check) => Self::Fail,
            Status::Fail => Self::Allowed,
            Status::Skip => Self::Skip,
            Status::Unknown if counts_as_unknown(check) => Self::Unknown,
            Status::Unknown => Self::Unsure,
        }
    }
}

impl Suite {
    /// The suite that a report is.
    pub(super) fn of(report: &Report) -> Self {
        let mut cases = Vec::with_capacity(report.checks.len() + 1);
        cases.extend(ended(report));
        cases.extend(report.checks.iter().map(Case::of));
        let aside = report.not_tested.iter().map(|aside| (line(&aside.what), line(&aside.why)));
        Self { name: name(report), cases, aside: aside.collect(), seconds: sane(report.seconds) }
    }

    /// How many cases came out so.
    pub(super) fn count(&self, wanted: impl Fn(Kind) -> bool) -> usize {
        self.cases.iter().filter(|case| wanted(case.kind)).count()
    }

    /// The case that this cause is about.
    pub(super) fn lead(&self, cause: &str) -> Option<&Case> {
        self.cases.iter().filter(|case| case.kind.weighs()).find(|case| cause.contains(&case.summary))
    }

    /// The cases, those that failed first.
    pub(super) fn worst_first(&self) -> Vec<&Case> {
        let mut cases: Vec<&Case> = self.cases.iter().collect();
        cases.sort_by_key(|case| case.kind);
        cases
    }

    /// `17 passed, 1 failed`.
    pub(super) fn tally(&self) -> String {
        let told = [Kind::Pass, Kind::Fail, Kind::Unknown, Kind::Unsure, Kind::Warn, Kind::Allowed, Kind::Skip];
        let told = told.iter().filter_map(|kind| match self.count(|of| of == *kind) {
            0 => None,
            number => Some(match kind {
                Kind::Warn => count(number, kind.word()),
                _ => format!("{number} {}", kind.word()),
            }),
        });
        told.collect::<Vec<_>>().join(", ")
    }
}

impl Case {
    fn of(check: &CheckResult) -> Self {
        let kind = Kind::of(check);
        let summary = match &check.allowed {
            Some(why) if kind == Kind::Allowed => format!("{} (allowed: {why})", check.summary),
            _ => check.summary.clone(),
        };
        let detail = lines(check.detail.iter().flat_map(|line| line.lines()));
        // Elsewhere it is a guest that speaks, which may say what it likes.
        let place = if check.id.kind() == CheckKind::Build { place(&detail) } else { None };
        Self {
            id: check.id.to_string(),
            kind,
            summary: line(&summary),
            detail,
            hint: check.hint.as_deref().map(line),
            seconds: sane(check.seconds),
            flaky: check.flaky,
            place,
        }
    }

    /// The lines that show it, fewer of them: as [`lines`] chooses them.
    pub(super) fn excerpt(&self) -> Vec<String> {
        let (head, left_out, tail) = head_and_tail(&self.detail, EXCERPT);
        head.iter().cloned().chain(left_out).chain(tail.iter().cloned()).collect()
    }
}

/// The case of the stage at which a run ended, where no check tells that it did not pass.
fn ended(report: &Report) -> Option<Case> {
    let kind = Kind::from(report.verdict);
    if kind == Kind::Pass || lead(report).is_some_and(|check| Kind::of(check) == kind) {
        return None;
    }
    let detail = lines(report.detail.iter().flat_map(|detail| detail.lines()));
    let from_nix = matches!(report.stage, Some(Stage::Evaluate | Stage::Build));
    Some(Case {
        id: stage_id(report.stage).to_owned(),
        kind,
        summary: line(report.cause.as_deref().unwrap_or("no cause is known")),
        place: if from_nix { place(&detail) } else { None },
        detail,
        hint: report.hint.as_deref().map(line),
        seconds: sane(report.seconds),
        flaky: false,
    })
}

/// The check that the cause is about.
pub(super) fn lead(report: &Report) -> Option<&CheckResult> {
    let decides = |check: &&CheckResult| match report.verdict {
        Verdict::Fail => counts_as_failure(check),
        Verdict::Unknown => check.status == Status::Unknown,
        Verdict::Pass => false,
    };
    match &report.cause {
        // A cause that is no check's is about what came before the checks: all of them are then "also".
        Some(cause) => report.checks.iter().filter(decides).find(|check| cause.contains(check.summary.as_str())),
        None => report.checks.iter().find(decides),
    }
}

/// The cause in one line, where the verdict is no pass.
pub(super) fn cause(report: &Report) -> Option<String> {
    if report.verdict == Verdict::Pass {
        return None;
    }
    let told = report.cause.as_deref().or_else(|| lead(report).map(|check| check.summary.as_str()));
    Some(line(told.unwrap_or("no cause is known")))
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
        [] => "nothing was tried".to_owned(),
        [report] => format!("{}: {}", name(report), verdict_word(report.verdict)),
        _ if passed == reports.len() => format!("{machines}: all work"),
        _ => {
            let parts = [(failed, "failed"), (unknown, "could not be told"), (passed, "passed")];
            let parts = parts.iter().filter(|(number, _)| *number > 0).map(|(number, word)| format!("{number} {word}"));
            format!("{machines}: {}", parts.collect::<Vec<_>>().join(", "))
        }
    }
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
    let (head, left_out, tail) = head_and_tail(&all, LINES);
    let mut kept: Vec<String> = head.iter().map(|line| fit(line)).collect();
    kept.extend(left_out);
    kept.extend(tail.iter().map(|line| fit(line)));
    kept
}

/// The lines at the beginning and at the end that are shown, and what stands for those between.
fn head_and_tail<T>(all: &[T], most: usize) -> (&[T], Option<String>, &[T]) {
    if all.len() <= most {
        return (all, None, &[]);
    }
    let head = most / 3;
    let tail = most - head - 1;
    let left_out = format!("… {} lines left out here", all.len() - head - tail);
    (&all[..head], Some(left_out), &all[all.len() - tail..])
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

/// A number of seconds that can be written as one.
pub(super) fn sane(seconds: f64) -> f64 {
    if seconds.is_finite() { seconds.clamp(0.0, 1e9) } else { 0.0 }
}

/// The first place in nix's words (`at FILE:LINE:COLUMN`, `from FILE:LINE:COLUMN (…)`) that is not in the store: what
/// is there is nobody's to edit.
fn place(lines: &[String]) -> Option<Place> {
    static PLACE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"^(?:at|from) (/.+?):(\d{1,9}):(\d{1,9})(?: \(|$)").ok());
    let pattern = PLACE.as_ref()?;
    lines.iter().filter_map(|line| pattern.captures(line)).find_map(|found| {
        let (line, column) = (found[2].parse().ok()?, found[3].parse().ok()?);
        (!found[1].contains("/nix/store/")).then(|| Place { file: found[1].to_owned(), line, column })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::CheckId;
    use crate::report::examples;

    #[test]
    fn what_did_not_pass_never_looks_as_if_it_did() {
        for report in examples::all() {
            let suite = Suite::of(&report);
            assert_eq!(suite.count(Kind::weighs) == 0, report.verdict == Verdict::Pass, "{suite:#?}");
        }
    }

    #[test]
    fn a_run_that_ended_early_has_a_case_for_its_stage() {
        let first = |report: &Report| {
            let case = Suite::of(report).cases.remove(0);
            (case.id, case.kind, case.summary)
        };
        let (id, kind, summary) = first(&examples::boot_fail());
        assert_eq!((id.as_str(), kind), ("boot", Kind::Fail));
        assert!(summary.starts_with("boot hangs"), "{summary}");
        assert_eq!(first(&examples::unknown()).0, "host");
        assert_eq!(first(&examples::build_fail()).0, "build");
        // Told by its check, and not twice.
        assert_eq!(first(&examples::fail()).0, "boot.target");
    }

    #[test]
    fn a_check_that_only_advises_leaves_a_pass_a_pass() {
        let mut report = examples::pass();
        report.checks.push(CheckResult::new(CheckId::NetworkDns, Status::Unknown, "no name resolves"));
        crate::checks::verdict(&report.checks).decide(&mut report);
        let suite = Suite::of(&report);
        assert_eq!((report.verdict, suite.count(|kind| kind == Kind::Unsure)), (Verdict::Pass, 1));
        assert_eq!(suite.count(Kind::weighs), 0);
    }

    #[test]
    fn places_are_the_users_own() {
        let of = |text: &str| place(&lines(text.lines())).map(|place| (place.file, place.line, place.column));
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
        assert!(Suite::of(&report).cases.iter().all(|case| case.place.is_none()), "a guest names no files of ours");
    }

    proptest! {
        #[test]
        fn text_is_bounded_and_tame(text in any::<String>(), times in 1usize..400) {
            let long = text.repeat(times);
            let one = line(&long);
            prop_assert!(one.len() <= LINE + 3 && !one.contains('\n'));
            let many = lines(long.lines());
            prop_assert!(many.len() <= LINES);
            prop_assert!(many.iter().all(|line| line.len() <= LINE + 3 && !line.chars().any(char::is_control)));
        }
    }
}
