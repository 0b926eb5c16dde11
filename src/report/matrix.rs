//! The report of a matrix: each host's whole report, and the verdict on all. Fields are added, never renamed, without a
//! new number in `schema`.

use std::path::PathBuf;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::format::Format;
use super::text::{Paint, TextLayout, count, cut, wrap};
use super::{case, human, json};
use crate::failure::Failure;
use crate::model::{Exit, MATRIX_SCHEMA, PhaseTime, Report, Stage, Verdict, artifact};
use crate::text::{escape_line, seconds};

/// What trying many configurations of a flake found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Matrix {
    /// The version of this shape.
    pub schema: u32,
    /// The version of nixbox.
    pub nixbox: String,
    /// The answer: fail where a host fails, else unknown where one is unknown, else pass.
    pub verdict: Verdict,
    /// The process's exit code.
    pub exit: u8,
    /// Why there is no verdict on any host, where that is so: the flake itself does not evaluate, an interruption.
    pub cause: Option<String>,
    /// More on that.
    pub detail: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
    /// The flake.
    pub flake: String,
    /// Which part of it this is, where it was split: `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<String>,
    /// How many of them ended how.
    pub totals: Totals,
    /// Most machines that ran at once.
    pub at_once: usize,
    /// How long evaluating and building all of them took, in seconds.
    pub phases: Vec<PhaseTime>,
    /// Each host and specialisation: by host, then by specialisation.
    pub hosts: Vec<HostReport>,
    /// What the user should know of all of them.
    pub notes: Vec<String>,
    /// Where the evidence lies, when it could be kept.
    pub artifacts: Option<PathBuf>,
    /// When it began, RFC 3339, UTC.
    pub started: String,
    /// How long the whole took, in seconds.
    pub seconds: f64,
}

/// How many hosts ended how. Each is counted once, but for the flaky ones, which have passed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    /// All that was tested passed.
    pub pass: usize,
    /// The configuration is broken.
    pub fail: usize,
    /// Could not tell.
    pub unknown: usize,
    /// Interrupted, or never begun: after an interruption, or after a failure with `--fail-fast`.
    pub not_run: usize,
    /// Passed after a failure.
    pub flaky: usize,
}

/// A host or a specialisation, and its report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostReport {
    /// `HOST` or `HOST@SPECIALISATION`.
    pub name: String,
    /// How often its machine was started; 0 where the verdict is cached, or where there was no machine.
    pub attempts: u32,
    /// Whether a check failed, and passed in another attempt.
    pub flaky: bool,
    /// Its report, as `nixbox try` would write it.
    pub report: Report,
}

/// The outcome of a host in a word, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum HostVerdict {
    Fail,
    Unknown,
    NotRun,
    Flaky,
    Pass,
}

impl HostReport {
    /// A host with its report.
    pub fn new(name: impl Into<String>, attempts: u32, report: Report) -> Self {
        Self { name: name.into(), attempts, flaky: report.is_flaky(), report }
    }

    fn verdict(&self) -> HostVerdict {
        match self.report.verdict {
            _ if self.report.exit == Exit::Interrupted.code() => HostVerdict::NotRun,
            Verdict::Fail => HostVerdict::Fail,
            Verdict::Unknown => HostVerdict::Unknown,
            Verdict::Pass if self.flaky => HostVerdict::Flaky,
            Verdict::Pass => HostVerdict::Pass,
        }
    }

    /// `fail 14 s: backup.service failed`, for a line while others still run.
    pub(crate) fn line(&self) -> (Paint, String) {
        let (paint, word) = self.verdict().word();
        let (took, cause) = (self.took(), self.cause());
        let took = if took.is_empty() { took } else { format!(" {took}") };
        let cause = if cause.is_empty() { cause } else { format!(": {cause}") };
        (paint, format!("{word}{took}{cause}"))
    }

    /// How long its machine took; empty where none was started.
    fn took(&self) -> String {
        match (&self.report.cached, self.attempts) {
            (Some(_), 0) => "cached".to_owned(),
            (None, 0) => String::new(),
            _ => seconds(self.report.seconds),
        }
    }

    /// The cause, in one line; empty for a pass.
    fn cause(&self) -> String {
        let flaky = || {
            let ids = self.report.checks.iter().filter(|check| check.flaky).map(|check| check.label());
            format!("{} failed before", ids.collect::<Vec<_>>().join(", "))
        };
        match self.verdict() {
            HostVerdict::Pass => String::new(),
            HostVerdict::Flaky => escape_line(&flaky()),
            _ => case::cause(&self.report).unwrap_or_default(),
        }
    }
}

impl HostVerdict {
    fn word(self) -> (Paint, &'static str) {
        match self {
            HostVerdict::Fail => (Paint::Bad, "fail"),
            HostVerdict::Unknown => (Paint::Doubt, "could not tell"),
            HostVerdict::NotRun => (Paint::Doubt, "not run"),
            HostVerdict::Flaky => (Paint::Doubt, "flaky"),
            HostVerdict::Pass => (Paint::Good, "pass"),
        }
    }
}

impl Matrix {
    /// A matrix of a flake as the user named it, with nothing found out yet.
    pub fn new(flake: impl Into<String>, started: SystemTime) -> Self {
        Self {
            schema: MATRIX_SCHEMA,
            nixbox: env!("CARGO_PKG_VERSION").to_owned(),
            verdict: Verdict::Unknown,
            exit: Exit::Unknown.code(),
            cause: None,
            detail: None,
            hint: None,
            flake: flake.into(),
            shard: None,
            totals: Totals::default(),
            at_once: 0,
            phases: Vec::new(),
            hosts: Vec::new(),
            notes: Vec::new(),
            artifacts: None,
            started: humantime::format_rfc3339_seconds(started).to_string(),
            seconds: 0.0,
        }
    }

    /// Takes over a failure that ended it before there were hosts to report.
    pub fn ended_by(&mut self, failure: &Failure) {
        let mut report = Report::new("", SystemTime::UNIX_EPOCH);
        failure.decide(&mut report);
        (self.verdict, self.exit) = (report.verdict, report.exit);
        (self.cause, self.detail, self.hint) = (report.cause, report.detail, report.hint);
    }

    /// Counts, and makes one answer of all.
    ///
    /// A host that fails outweighs one that is unknown, which outweighs those that pass. Of several failures, the
    /// code of the earliest stage counts: 3 (evaluation, build) before 4 (boot) before 1 (checks). An interruption
    /// outweighs all. What is flaky passes, unless `fail_flaky`: then it is a check that failed.
    pub fn decide(&mut self, fail_flaky: bool) {
        let of = |verdict: HostVerdict| self.hosts.iter().filter(|host| host.verdict() == verdict).count();
        self.totals = Totals {
            pass: of(HostVerdict::Pass) + of(HostVerdict::Flaky),
            fail: of(HostVerdict::Fail),
            unknown: of(HostVerdict::Unknown),
            not_run: of(HostVerdict::NotRun),
            flaky: of(HostVerdict::Flaky),
        };
        if self.cause.is_some() {
            return;
        }
        let failing: Vec<u8> =
            self.hosts.iter().filter(|host| host.verdict() == HostVerdict::Fail).map(|host| host.report.exit).collect();
        let earliest =
            [Exit::Build, Exit::Boot, Exit::CheckFailed].into_iter().find(|exit| failing.contains(&exit.code()));
        (self.verdict, self.exit) = match earliest {
            Some(exit) => (Verdict::Fail, exit.code()),
            None if !failing.is_empty() => (Verdict::Fail, Exit::CheckFailed.code()),
            None if fail_flaky && self.totals.flaky > 0 => (Verdict::Fail, Exit::CheckFailed.code()),
            None if self.totals.unknown + self.totals.not_run > 0 => (Verdict::Unknown, Exit::Unknown.code()),
            None => (Verdict::Pass, Exit::Pass.code()),
        };
    }

    /// Marks it as interrupted, whatever was found out before.
    pub fn interrupted(&mut self) {
        self.exit = Exit::Interrupted.code();
        if self.verdict == Verdict::Pass {
            self.verdict = Verdict::Unknown;
        }
    }

    /// The reports of all hosts, for the formats that know no matrix. Where there is no verdict on any host, one that says
    /// why: nothing at all would read as all well.
    pub fn reports(&self) -> Vec<Report> {
        if !self.hosts.is_empty() || self.verdict == Verdict::Pass {
            return self.hosts.iter().map(|host| host.report.clone()).collect();
        }
        let mut report = Report::new(self.flake.as_str(), SystemTime::now());
        report.started.clone_from(&self.started);
        (report.verdict, report.exit, report.seconds) = (self.verdict, self.exit, self.seconds);
        report.stage = match self.verdict {
            Verdict::Fail => Some(Stage::Evaluate),
            _ => (self.exit == Exit::Unknown.code()).then_some(Stage::Host),
        };
        report.cause.clone_from(&self.cause);
        report.detail.clone_from(&self.detail);
        report.hint.clone_from(&self.hint);
        vec![report]
    }
}

/// The matrix in a format. Formats that know no matrix are of all its reports.
pub(crate) fn render(matrix: &Matrix, format: Format, layout: TextLayout) -> String {
    match format {
        Format::Human => table(matrix, layout),
        Format::Json => json::pretty(matrix),
        format => format.render(&matrix.reports(), layout),
    }
}

/// The JSON schema of the matrix (`nixbox schema matrix`), with a line end.
pub fn schema() -> String {
    json::pretty(&schemars::schema_for!(Matrix))
}

/// Most notes in the table.
const NOTES: usize = 5;

/// The table: the verdict, one line per host with the worst first, notes and artifacts.
fn table(matrix: &Matrix, layout: TextLayout) -> String {
    let word = case::headline_word(matrix.verdict, matrix.exit);
    let mut lines = layout.headline(word, &headline(matrix), 4);
    if let Some(detail) = &matrix.detail {
        lines.extend(human::excerpt(detail, layout));
    }
    if !matrix.hosts.is_empty() {
        lines.push(String::new());
        lines.extend(rows(&matrix.hosts, layout));
    }
    let rest = footer(matrix, layout);
    if !rest.is_empty() {
        lines.push(String::new());
        lines.extend(rest);
    }
    lines.push(String::new());
    lines.join("\n")
}

/// One line per host, the worst first.
fn rows(hosts: &[HostReport], layout: TextLayout) -> Vec<String> {
    let mut hosts: Vec<&HostReport> = hosts.iter().collect();
    hosts.sort_by_key(|host| host.verdict());
    let widest = |of: &dyn Fn(&HostReport) -> usize| hosts.iter().map(|host| of(host)).max().unwrap_or(0);
    let name = widest(&|host| console::measure_text_width(&escape_line(&host.name))).clamp(4, 32);
    let verdict = widest(&|host| host.verdict().word().1.len());
    let time = widest(&|host| host.took().len());
    let cause = layout.width.saturating_sub(name + verdict + time + 6).max(20);
    let row = |host: &&HostReport| {
        let (paint, word) = host.verdict().word();
        let line = format!(
            "{}  {}  {:>time$}  {}",
            console::pad_str(&escape_line(&host.name), name, console::Alignment::Left, Some("…")),
            layout.paint(paint, &format!("{word:<verdict$}")),
            host.took(),
            cut(&host.cause(), cause),
        );
        line.trim_end().to_owned()
    };
    hosts.iter().map(row).collect()
}

/// Notes, artifacts, hint.
fn footer(matrix: &Matrix, layout: TextLayout) -> Vec<String> {
    let mut lines = Vec::new();
    for note in case::notes(&matrix.notes, NOTES, artifact::MATRIX) {
        lines.extend(wrap(&format!("note: {note}"), layout.width, 2));
    }
    if let Some(directory) = &matrix.artifacts {
        let directory = escape_line(&directory.display().to_string());
        lines.push(format!("see: {directory}: {}, one directory per host", artifact::MATRIX));
    }
    if let Some(hint) = &matrix.hint {
        lines.extend(wrap(&format!("hint: {}", escape_line(hint)), layout.width, 3));
    }
    lines
}

/// `12 hosts: 2 failed, 1 unknown, 9 passed, in 3 min`.
fn headline(matrix: &Matrix) -> String {
    if let Some(cause) = &matrix.cause {
        return escape_line(cause);
    }
    let Totals { pass, fail, unknown, not_run, flaky } = matrix.totals;
    let all = count(matrix.hosts.len(), "host");
    let mut parts = Vec::new();
    for (number, what) in [(fail, "failed"), (unknown, "unknown"), (not_run, "not run"), (pass, "passed")] {
        if number > 0 {
            parts.push(if number == matrix.hosts.len() { what.to_owned() } else { format!("{number} {what}") });
        }
    }
    if flaky > 0 {
        parts.push(format!("{flaky} flaky (passed on retry)"));
    }
    let shard = matrix.shard.as_ref().map(|shard| format!(" in shard {shard}")).unwrap_or_default();
    if parts.is_empty() {
        return format!("no hosts{shard}");
    }
    format!("{all}{shard}: {}, in {}", parts.join(", "), seconds(matrix.seconds))
}

/// Matrices of each kind, for the writers' tests.
#[cfg(test)]
pub(crate) mod examples {
    use std::time::Duration;

    use super::*;
    use crate::report::examples;

    /// One of each: a pass, a flaky one, a cached one, failures at each stage, one that is unknown.
    pub(crate) fn mixed() -> Matrix {
        let mut matrix = Matrix::new("/home/u/nixos", SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_464_845));
        let mut flaky = examples::pass();
        flaky.passed_after(&examples::fail());
        let mut cached = examples::pass();
        cached.cached = Some(crate::model::Cached { started: cached.started.clone(), age: 60.0 });
        for (name, attempts, report) in [
            ("web", 1, examples::fail()),
            ("laptop", 1, examples::pass()),
            ("laptop@gaming", 2, flaky),
            ("nas", 0, cached),
            ("old", 1, examples::unknown()),
            ("stuck", 1, examples::boot_fail()),
            ("broken", 0, examples::build_fail()),
        ] {
            matrix.hosts.push(HostReport::new(name, attempts, report));
        }
        (matrix.at_once, matrix.seconds) = (2, 183.0);
        matrix.decide(false);
        matrix
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CheckId;
    use crate::report::examples as reports;

    fn of(reports: &[Report], fail_flaky: bool) -> (Verdict, u8) {
        let mut matrix = Matrix::new(".", SystemTime::UNIX_EPOCH);
        matrix.hosts =
            reports.iter().enumerate().map(|(at, report)| HostReport::new(at.to_string(), 1, report.clone())).collect();
        matrix.decide(fail_flaky);
        (matrix.verdict, matrix.exit)
    }

    fn interrupted() -> Report {
        let mut report = Report::new("x", SystemTime::UNIX_EPOCH);
        Failure::interrupted().decide(&mut report);
        report
    }

    #[test]
    fn the_worst_decides() {
        let (pass, fail, unknown) = (reports::pass(), reports::fail(), reports::unknown());
        let (boot, build) = (reports::boot_fail(), reports::build_fail());
        assert_eq!(of(&[], false), (Verdict::Pass, 0));
        assert_eq!(of(&[pass.clone(), pass.clone()], false), (Verdict::Pass, 0));
        assert_eq!(of(&[pass.clone(), unknown.clone(), pass.clone()], false), (Verdict::Unknown, 5));
        assert_eq!(of(&[unknown.clone(), fail.clone(), pass.clone()], false), (Verdict::Fail, 1));
        assert_eq!(of(&[fail.clone(), boot.clone()], false), (Verdict::Fail, 4));
        assert_eq!(of(&[boot, build, fail], false), (Verdict::Fail, 3));
        assert_eq!(of(&[pass, interrupted()], false), (Verdict::Unknown, 5));
    }

    #[test]
    fn what_is_flaky_passes_unless_fail_flaky() {
        let mut flaky = reports::pass();
        flaky.passed_after(&reports::fail());
        let all = [reports::pass(), flaky];
        assert_eq!(of(&all, false), (Verdict::Pass, 0));
        assert_eq!(of(&all, true), (Verdict::Fail, 1));
    }

    #[test]
    fn an_interruption_outweighs_all() {
        let mut matrix = examples::mixed();
        matrix.interrupted();
        assert_eq!((matrix.verdict, matrix.exit), (Verdict::Fail, 130));
        let mut matrix = Matrix::new(".", SystemTime::UNIX_EPOCH);
        matrix.ended_by(&Failure::usage("no such flake"));
        matrix.decide(false);
        assert_eq!((matrix.verdict, matrix.exit), (Verdict::Unknown, 2));
        assert!(render(&matrix, Format::Human, TextLayout::PLAIN).starts_with("error: no such flake\n"));
    }

    #[test]
    fn the_table_is_sorted_and_fits() {
        let matrix = examples::mixed();
        assert_eq!(matrix.totals, Totals { pass: 3, fail: 3, unknown: 1, not_run: 0, flaky: 1 });
        let table = render(&matrix, Format::Human, TextLayout { colour: false, width: 100 });
        let order: Vec<&str> = table.lines().skip(2).filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(order[order.len() - 7..], ["web", "stuck", "broken", "old", "laptop@gaming", "laptop", "nas"]);
        assert!(table.lines().all(|line| console::measure_text_width(line) <= 100), "{table}");
    }

    #[test]
    fn tables() {
        let layout = TextLayout { colour: false, width: 100 };
        let mut matrix = examples::mixed();
        insta::assert_snapshot!("matrix", render(&matrix, Format::Human, layout));
        matrix.shard = Some("2/3".to_owned());
        matrix.notes = (1..=7).map(|number| format!("note {number}")).collect();
        matrix.artifacts = Some("/home/u/nixos/.nixbox/2026-11-23T20-14-05-matrix-812".into());
        matrix.interrupted();
        insta::assert_snapshot!("matrix-interrupted", render(&matrix, Format::Human, layout));
        let mut matrix = Matrix::new(".", SystemTime::UNIX_EPOCH);
        matrix.ended_by(&Failure::usage("no such flake").why("line 1\nline 2").hint("name one that is there"));
        matrix.decide(false);
        insta::assert_snapshot!("matrix-error", render(&matrix, Format::Human, layout));
        let mut matrix = Matrix::new(".", SystemTime::UNIX_EPOCH);
        matrix.decide(false);
        insta::assert_snapshot!("matrix-empty", render(&matrix, Format::Human, layout));
        let mut matrix = examples::mixed();
        matrix.nixbox = "0.1.0".to_owned();
        matrix.hosts.retain(|host| host.name == "old");
        insta::assert_snapshot!("matrix-json", render(&matrix, Format::Json, layout));
        insta::assert_snapshot!("matrix-schema", schema());
    }

    #[test]
    fn a_line_says_the_cause() {
        let mut report = Report::new("x", SystemTime::UNIX_EPOCH);
        Failure::check(CheckId::BuildEval, "web: The option `a' does not exist")
            .why("\nThe option `a' does not exist.\nat 3")
            .decide(&mut report);
        let line = |host: HostReport| host.line().1;
        assert_eq!(line(HostReport::new("web", 0, report)), "fail: web: The option `a' does not exist");
        let fail = line(HostReport::new("web", 1, reports::fail()));
        assert!(fail.starts_with("fail 41 s: nginx.service failed"), "{fail}");
        assert_eq!(
            line(HostReport::new("web", 0, reports::build_fail())),
            "fail: building hello-1.0 failed: exit code 2"
        );
        assert_eq!(line(HostReport::new("web", 1, reports::pass())), "pass 41 s");
    }

    #[test]
    fn a_host_s_own_words_do_no_harm() {
        let mut matrix = Matrix::new(".", SystemTime::UNIX_EPOCH);
        let mut report = reports::fail();
        report.cause = Some("\u{1b}[2Jgone\nnext".to_owned());
        matrix.hosts = vec![HostReport::new("a\u{1b}[31m", 1, report)];
        matrix.decide(false);
        let table = render(&matrix, Format::Human, TextLayout::PLAIN);
        assert!(!table.contains('\u{1b}') && !table.contains("\nnext"), "{table}");
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let matrix = examples::mixed();
        let text = render(&matrix, Format::Json, TextLayout::PLAIN);
        assert_eq!(serde_json::from_str::<Matrix>(&text).unwrap(), matrix);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["schema"], MATRIX_SCHEMA);
        assert_eq!(value["hosts"][0]["report"]["schema"], crate::model::REPORT_SCHEMA);
        let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
        for required in schema["required"].as_array().unwrap() {
            assert!(value.get(required.as_str().unwrap()).is_some(), "{required}");
        }
        for written in value.as_object().unwrap().keys() {
            assert!(schema["properties"].get(written).is_some(), "{written}");
        }
    }
}
