//! The report of a matrix: each host's whole report, and what they make together. `schema: 1`; fields are added, never
//! renamed, without a new number.

use std::path::PathBuf;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::format::Format;
use super::text::{Paint, Style, count, cut, wrap};
use super::{human, json};
use crate::failure::Failure;
use crate::model::{CheckId, Exit, MATRIX_SCHEMA, PhaseTime, Report, Stage, Verdict, artifact};
use crate::text::{escape_line, seconds};

/// What trying many configurations of a flake found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Matrix {
    /// The version of this shape.
    pub schema: u32,
    /// The version of nixbox.
    pub nixbox: String,
    /// The answer: fail where a host fails, else unknown where one could not be told, else pass.
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
    pub hosts: Vec<Host>,
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

/// A host or a specialisation, and what was found out of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    /// `HOST` or `HOST@SPECIALISATION`.
    pub name: String,
    /// How often its machine was started for a verdict; 0 where it is that of a former run, or where there was no machine.
    pub attempts: u32,
    /// Whether a check failed, and passed in another attempt.
    pub flaky: bool,
    /// Its report, as `nixbox try` would write it.
    pub report: Report,
}

/// What one word is said of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Fail,
    Unknown,
    NotRun,
    Flaky,
    Pass,
}

impl Host {
    /// A host with its report.
    pub fn new(name: impl Into<String>, attempts: u32, report: Report) -> Self {
        Self { name: name.into(), attempts, flaky: report.is_flaky(), report }
    }

    fn fate(&self) -> Fate {
        match self.report.verdict {
            _ if self.report.exit == Exit::Interrupted.code() => Fate::NotRun,
            Verdict::Fail => Fate::Fail,
            Verdict::Unknown => Fate::Unknown,
            Verdict::Pass if self.flaky => Fate::Flaky,
            Verdict::Pass => Fate::Pass,
        }
    }

    /// `fail 14 s: backup.service failed`, for a line while others still run.
    pub fn line(&self) -> (Paint, String) {
        let (paint, word) = self.fate().shown();
        let (took, cause) = (self.took(), self.told());
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
    fn told(&self) -> String {
        let flaky = || {
            let ids = self.report.checks.iter().filter(|check| check.flaky).map(|check| check.id.name());
            format!("{} failed before", ids.collect::<Vec<_>>().join(", "))
        };
        match self.fate() {
            Fate::Pass => String::new(),
            Fate::Flaky => escape_line(&flaky()),
            _ => {
                let cause = escape_line(self.report.cause.as_deref().unwrap_or("no cause is known"));
                match self.error() {
                    Some(error) => format!("{cause}: {}", escape_line(error)),
                    None => cause,
                }
            }
        }
    }

    /// What nix says of a configuration that does not evaluate: the cause alone says no more than that.
    fn error(&self) -> Option<&str> {
        let of_evaluation =
            self.report.checks.iter().any(|check| [CheckId::BuildEval, CheckId::BuildToplevel].contains(&check.id));
        let first = self.report.detail.as_deref()?.lines().find(|line| !line.trim().is_empty())?;
        // A build's failure begins with the derivation, and its cause has that.
        (of_evaluation && !first.starts_with('/')).then_some(first)
    }
}

impl Fate {
    fn shown(self) -> (Paint, &'static str) {
        match self {
            Fate::Fail => (Paint::Bad, "fail"),
            Fate::Unknown => (Paint::Doubt, "could not tell"),
            Fate::NotRun => (Paint::Doubt, "not run"),
            Fate::Flaky => (Paint::Doubt, "flaky"),
            Fate::Pass => (Paint::Good, "pass"),
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

    /// Takes over a failure that ended it before there were hosts to tell of.
    pub fn ended_by(&mut self, failure: &Failure) {
        let mut report = Report::new("", SystemTime::UNIX_EPOCH);
        failure.decide(&mut report);
        (self.verdict, self.exit) = (report.verdict, report.exit);
        (self.cause, self.detail, self.hint) = (report.cause, report.detail, report.hint);
    }

    /// Counts, and makes one answer of all.
    ///
    /// A host that fails outweighs one that could not be told, which outweighs those that pass. Of several failures, the
    /// code of the earliest stage counts: 3 (evaluation, build) before 4 (boot) before 1 (checks). An interruption
    /// outweighs all. What is flaky passes, unless `fail_flaky`: then it is a check that failed.
    pub fn decide(&mut self, fail_flaky: bool) {
        let of = |fate: Fate| self.hosts.iter().filter(|host| host.fate() == fate).count();
        self.totals = Totals {
            pass: of(Fate::Pass) + of(Fate::Flaky),
            fail: of(Fate::Fail),
            unknown: of(Fate::Unknown),
            not_run: of(Fate::NotRun),
            flaky: of(Fate::Flaky),
        };
        if self.cause.is_some() {
            return;
        }
        let failing: Vec<u8> =
            self.hosts.iter().filter(|host| host.fate() == Fate::Fail).map(|host| host.report.exit).collect();
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

    /// Says that it was interrupted, whatever was found out before.
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

/// The matrix in a format, for somebody who reads it with `style`. Formats that know no matrix are of all its reports.
pub fn render(matrix: &Matrix, format: Format, style: Style) -> String {
    match format {
        Format::Human => table(matrix, style),
        Format::Json => json::pretty(matrix),
        format => format.render(&matrix.reports(), style),
    }
}

/// The JSON schema of the matrix (`nixbox schema matrix`), with a line end.
pub fn schema() -> String {
    json::pretty(&schemars::schema_for!(Matrix))
}

/// Most notes in the table.
const NOTES: usize = 5;

/// The table: what it comes to, a line a host with those first that need a look, and where to look.
fn table(matrix: &Matrix, style: Style) -> String {
    let mut lines = wrap(&headline(matrix), style.width, 4);
    if let Some(first) = lines.first_mut() {
        let (paint, word) = verdict(matrix);
        let rest = first.strip_prefix(word).unwrap_or_default().to_owned();
        *first = format!("{}{}", style.paint(paint, word), style.paint(Paint::Strong, &rest));
    }
    if let Some(detail) = &matrix.detail {
        lines.extend(human::excerpt(detail, style));
    }
    let mut hosts: Vec<&Host> = matrix.hosts.iter().collect();
    hosts.sort_by_key(|host| host.fate());
    if !hosts.is_empty() {
        lines.push(String::new());
    }
    let widest = |of: &dyn Fn(&Host) -> usize| hosts.iter().map(|host| of(host)).max().unwrap_or(0);
    let name = widest(&|host| console::measure_text_width(&escape_line(&host.name))).clamp(4, 32);
    let fate = widest(&|host| host.fate().shown().1.len());
    let time = widest(&|host| host.took().len());
    for host in hosts {
        let (paint, word) = host.fate().shown();
        let shown = cut(&escape_line(&host.name), name);
        let room = style.width.saturating_sub(name + fate + time + 6).max(20);
        let line = format!(
            "{}  {}  {:>time$}  {}",
            console::pad_str(&shown, name, console::Alignment::Left, None),
            style.paint(paint, &format!("{word:<fate$}")),
            host.took(),
            cut(&host.told(), room),
        );
        lines.push(line.trim_end().to_owned());
    }
    let mut tail = Vec::new();
    for (shown, note) in matrix.notes.iter().enumerate() {
        if shown + 1 == NOTES && matrix.notes.len() > NOTES {
            tail.push(format!("note: and {}", count(matrix.notes.len() - shown, "more note")));
            break;
        }
        tail.extend(wrap(&format!("note: {}", escape_line(note)), style.width, 2));
    }
    if let Some(directory) = &matrix.artifacts {
        tail.push(format!(
            "see: {}: {}, a directory a host",
            escape_line(&directory.display().to_string()),
            artifact::MATRIX
        ));
    }
    if let Some(hint) = &matrix.hint {
        tail.extend(wrap(&format!("hint: {}", escape_line(hint)), style.width, 3));
    }
    if !tail.is_empty() {
        lines.push(String::new());
        lines.append(&mut tail);
    }
    lines.push(String::new());
    lines.join("\n")
}

fn verdict(matrix: &Matrix) -> (Paint, &'static str) {
    match (matrix.verdict, matrix.exit) {
        (_, code) if code == Exit::Usage.code() => (Paint::Bad, "error"),
        (_, code) if code == Exit::Interrupted.code() => (Paint::Doubt, "interrupted"),
        (Verdict::Fail, _) => (Paint::Bad, "fail"),
        (Verdict::Unknown, _) => (Paint::Doubt, "could not tell"),
        (Verdict::Pass, _) => (Paint::Good, "pass"),
    }
}

/// `fail: 2 of 12 hosts fail, 1 could not be told, 9 pass, in 3 min`.
fn headline(matrix: &Matrix) -> String {
    let (_, word) = verdict(matrix);
    if let Some(cause) = &matrix.cause {
        return format!("{word}: {}", escape_line(cause));
    }
    let Totals { pass, fail, unknown, not_run, flaky } = matrix.totals;
    let all = count(matrix.hosts.len(), "host");
    let mut parts = Vec::new();
    for (number, what) in [(fail, "failed"), (unknown, "could not be told"), (not_run, "not run"), (pass, "passed")] {
        if number > 0 {
            parts.push(if number == matrix.hosts.len() { what.to_owned() } else { format!("{number} {what}") });
        }
    }
    if flaky > 0 {
        parts.push(format!("{flaky} of them only when tried again"));
    }
    let shard = matrix.shard.as_ref().map(|shard| format!(" in shard {shard}")).unwrap_or_default();
    if parts.is_empty() {
        return format!("{word}: no hosts{shard}");
    }
    format!("{word}: {all}{shard}: {}, in {}", parts.join(", "), seconds(matrix.seconds))
}

/// Matrices of each kind, for the writers' tests.
#[cfg(test)]
pub(crate) mod examples {
    use std::time::Duration;

    use super::*;
    use crate::report::examples;

    /// One of each: a pass, a flaky one, a cached one, failures at each stage, one that could not be told.
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
            matrix.hosts.push(Host::new(name, attempts, report));
        }
        (matrix.at_once, matrix.seconds) = (2, 183.0);
        matrix.decide(false);
        matrix
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CheckResult, Status};
    use crate::report::examples as reports;

    fn of(reports: &[Report], fail_flaky: bool) -> (Verdict, u8) {
        let mut matrix = Matrix::new(".", SystemTime::UNIX_EPOCH);
        matrix.hosts =
            reports.iter().enumerate().map(|(at, report)| Host::new(at.to_string(), 1, report.clone())).collect();
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
    fn what_is_flaky_passes_unless_told_otherwise() {
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
        assert!(render(&matrix, Format::Human, Style::PLAIN).starts_with("error: no such flake\n"));
    }

    #[test]
    fn the_table_leads_with_what_needs_a_look() {
        let matrix = examples::mixed();
        assert_eq!(matrix.totals, Totals { pass: 3, fail: 3, unknown: 1, not_run: 0, flaky: 1 });
        let table = render(&matrix, Format::Human, Style { colour: false, width: 100 });
        let order: Vec<&str> = table.lines().skip(2).filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(order[order.len() - 7..], ["web", "stuck", "broken", "old", "laptop@gaming", "laptop", "nas"]);
        assert!(table.starts_with("fail: 7 hosts: 3 failed, 1 could not be told, 3 passed, 1 of them only when tried"));
        assert!(table.lines().all(|line| console::measure_text_width(line) <= 100), "{table}");
        for part in
            ["broken         fail ", "building hello-1.0 failed: exit code 2", "services.failed-units, ", "cached"]
        {
            assert!(table.contains(part), "{part:?} in {table}");
        }
    }

    #[test]
    fn tables() {
        let layout = Style { colour: false, width: 100 };
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
    fn a_line_says_what_nix_said() {
        let mut report = Report::new("x", SystemTime::UNIX_EPOCH);
        Failure::check(CheckId::BuildEval, "web does not evaluate")
            .why("\nThe option `a' does not exist.\nat 3")
            .decide(&mut report);
        report.checks.push(CheckResult::new(CheckId::BuildEval, Status::Fail, "web does not evaluate"));
        let line = |host: Host| host.line().1;
        assert_eq!(line(Host::new("web", 0, report)), "fail: web does not evaluate: The option `a' does not exist.");
        let fail = line(Host::new("web", 1, reports::fail()));
        assert!(fail.starts_with("fail 41 s: nginx.service failed"), "{fail}");
        assert_eq!(line(Host::new("web", 0, reports::build_fail())), "fail: building hello-1.0 failed: exit code 2");
        assert_eq!(line(Host::new("web", 1, reports::pass())), "pass 41 s");
    }

    #[test]
    fn a_host_s_own_words_do_no_harm() {
        let mut matrix = Matrix::new(".", SystemTime::UNIX_EPOCH);
        let mut report = reports::fail();
        report.cause = Some("\u{1b}[2Jgone\nnext".to_owned());
        matrix.hosts = vec![Host::new("a\u{1b}[31m", 1, report)];
        matrix.decide(false);
        let table = render(&matrix, Format::Human, Style::PLAIN);
        assert!(!table.contains('\u{1b}') && !table.contains("\nnext"), "{table}");
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let matrix = examples::mixed();
        let text = render(&matrix, Format::Json, Style::PLAIN);
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
