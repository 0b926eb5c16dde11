//! The report for GitHub Actions: workflow commands on stdout, which become annotations of the run. The job's summary
//! is [`super::markdown`].
//!
//! A command is one line, and a guest's text in it is data of that command: it can begin no line of its own.

use super::case::{self, Case, CaseStatus, Suite};
use super::comparison::known_failures;
use super::text::count;
use crate::model::{Report, Verdict};
use crate::text::seconds;

/// Names a file that is shown as the job's summary, where GitHub runs us.
pub(super) const SUMMARY: &str = "GITHUB_STEP_SUMMARY";

/// GitHub shows no more annotations of a level than this for a step, and drops the rest without a word.
const MOST: usize = 10;
/// Most lines of a case's detail in an annotation.
const LINES: usize = 10;

/// An annotation's level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Error,
    Warning,
    Notice,
}

impl Level {
    fn command(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
        }
    }
}

/// A command that is to be written.
struct Annotation {
    level: Level,
    title: String,
    message: String,
    /// `file=…,line=…,col=…,`.
    position: String,
}

/// The commands, one a line; for each machine one at least.
pub(crate) fn render(reports: &[Report]) -> String {
    let all: Vec<Annotation> = reports.iter().flat_map(annotations).collect();
    let mut out = String::new();
    for level in [Level::Error, Level::Warning, Level::Notice] {
        let of: Vec<&Annotation> = all.iter().filter(|annotation| annotation.level == level).collect();
        let shown = if of.len() > MOST { MOST - 1 } else { of.len() };
        of[..shown].iter().for_each(|annotation| out.push_str(&annotation.line()));
        if shown < of.len() {
            let rest = of[shown..].iter().map(|annotation| annotation.title.as_str()).collect::<Vec<_>>();
            let title = format!("and {} more", rest.len());
            let rest = Annotation { level, title, message: rest.join("\n"), position: String::new() };
            out.push_str(&rest.line());
        }
    }
    out
}

impl Annotation {
    fn line(&self) -> String {
        let (command, title, message) = (self.level.command(), property(&self.title), data(&self.message));
        format!("::{command} {}title={title}::{message}\n", self.position)
    }
}

fn annotations(report: &Report) -> Vec<Annotation> {
    let suite = Suite::of(report);
    let mut all: Vec<Annotation> = suite.cases.iter().filter_map(|case| annotation(&suite.name, case)).collect();
    if report.verdict == Verdict::Pass {
        let passed = count(suite.count(|status| status == CaseStatus::Pass), "check");
        let mut message = format!("works: {passed} passed in {}", seconds(suite.seconds));
        if let Some(known) = known_failures(report) {
            message.push_str("; ");
            message.push_str(&known);
        }
        message.push_str(&case::untestable(report));
        all.push(Annotation { level: Level::Notice, title: suite.name, message, position: String::new() });
    }
    all
}

fn annotation(machine: &str, case: &Case) -> Option<Annotation> {
    let level = match case.status {
        CaseStatus::Fail => Level::Error,
        CaseStatus::Warn => Level::Warning,
        CaseStatus::Unknown | CaseStatus::UnknownAdvice | CaseStatus::Before | CaseStatus::Allowed => Level::Notice,
        CaseStatus::Pass if case.flaky => Level::Warning,
        CaseStatus::Pass | CaseStatus::Skip => return None,
    };
    let word = match case.status {
        CaseStatus::Unknown | CaseStatus::UnknownAdvice => "could not tell: ",
        CaseStatus::Pass => "flaky: ",
        _ => "",
    };
    let mut message = format!("{word}{}", case.summary);
    let mut put = |line: &str| {
        message.push('\n');
        message.push_str(line);
    };
    let omitted = case.detail.len().saturating_sub(LINES);
    // Of a log the end matters most, of an error the beginning; which it is depends on who wrote it.
    let from_nix = case.position.is_some() || case.id.starts_with("build");
    let shown = if from_nix { &case.detail[..case.detail.len() - omitted] } else { &case.detail[omitted..] };
    shown.iter().for_each(|line| put(line));
    if omitted > 0 {
        put(&format!("({} omitted)", count(omitted, "line")));
    }
    if let Some(hint) = &case.hint {
        put(&format!("hint: {hint}"));
    }
    let position =
        case.position.as_ref().map(|at| format!("file={},line={},col={},", property(&at.file), at.line, at.column));
    let title = format!("{machine}: {}", case.id);
    Some(Annotation { level, title, message, position: position.unwrap_or_default() })
}

/// A command's message.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property's value.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// A text of which nothing is a command in a job's log, whoever wrote it. Both forms count: `::command` at the beginning
/// of a line, and the old `##[command` anywhere. `colon` and `hash` stand for the first character of each, in whatever
/// way the text's own format has.
pub(crate) fn inert(text: &str, colon: &str, hash: &str) -> String {
    let lines = text.split_inclusive('\n').map(|line| {
        let line = line.replace("##[", &format!("{hash}#["));
        let at = line.len() - line.trim_start().len();
        if line[at..].starts_with("::") { format!("{}{colon}{}", &line[..at], &line[at + 1..]) } else { line }
    });
    lines.collect()
}

/// The same of a text for people.
pub(crate) fn inert_for_people(text: &str) -> String {
    inert(text, ": ", "# ")
}

/// Whether what we print is read for commands.
pub(crate) fn is_read_for_commands() -> bool {
    std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::CheckId;
    use crate::model::{CheckResult, Stage, Status};
    use crate::report::examples;

    /// Every line is one command of three, whose properties are three, and whose text is escaped.
    pub(in super::super) fn check(reports: &[Report], text: &str) {
        assert!(text.is_empty() == reports.is_empty() && (text.is_empty() || text.ends_with('\n')));
        for line in text.split_terminator('\n') {
            let command = line.strip_prefix("::").unwrap_or_else(|| panic!("no command: {line}"));
            let (head, message) = command.split_once("::").expect("a message");
            let (name, properties) = head.split_once(' ').expect("properties");
            assert!(["error", "warning", "notice"].contains(&name), "{line}");
            for property in properties.split(',') {
                let (key, value) = property.split_once('=').expect("a value");
                assert!(["title", "file", "line", "col"].contains(&key), "{line}");
                assert!(!value.contains(':'));
            }
            // As the runner counts lines, and as it reads escapes.
            assert!(!line.contains(['\r', '\u{85}', '\u{2028}', '\u{2029}', '\u{c}', '\u{b}', '\0']), "{line:?}");
            for escape in message.split('%').skip(1) {
                assert!(["25", "0D", "0A"].iter().any(|known| escape.starts_with(known)), "{line}");
            }
        }
        let failed = reports.iter().any(|report| report.verdict == Verdict::Fail);
        assert_eq!(text.lines().any(|line| line.starts_with("::error ")), failed, "{text}");
    }

    #[test]
    fn each_kind_of_report_has_its_commands() {
        for report in examples::all() {
            check(std::slice::from_ref(&report), &render(std::slice::from_ref(&report)));
        }
        check(&examples::all(), &render(&examples::all()));
        check(&[], &render(&[]));
    }

    #[test]
    fn a_position_that_nix_reported_is_annotated() {
        let mut report = examples::build_fail();
        report.stage = Some(Stage::Evaluate);
        report.detail = Some("error: undefined variable 'pkg'\nat /home/u/nixos/a, b.nix:12:3:".to_owned());
        // nix's own line ends with a colon; ours does not.
        assert!(!render(std::slice::from_ref(&report)).contains("file="));
        report.detail = Some("undefined variable 'pkg'\nat /home/u/nixos/a, b.nix:12:3".to_owned());
        let text = render(std::slice::from_ref(&report));
        assert!(
            text.starts_with("::error file=/home/u/nixos/a%2C b.nix,line=12,col=3,title=.#laptop%3A evaluate::"),
            "{text}"
        );
        check(&[report], &text);
    }

    #[test]
    fn of_too_many_the_rest_is_named() {
        let mut report = examples::fail();
        for number in 0..30 {
            report.checks.push(CheckResult::new(CheckId::script(&number.to_string()), Status::Fail, "x"));
        }
        let text = render(&[report]);
        assert_eq!(text.lines().count(), MOST);
        assert!(text.lines().last().unwrap().starts_with("::error title=and 23 more::.#laptop: script.7%0A"), "{text}");
    }

    #[test]
    fn text_for_people_commands_nothing() {
        assert_eq!(
            inert_for_people("a\n  ::stop-commands::x\n::error::y\nb ##[set-env name=PATH;]z ::c\n"),
            "a\n  : :stop-commands::x\n: :error::y\nb # #[set-env name=PATH;]z ::c\n"
        );
        assert_eq!(inert_for_people("fail: a\n\n"), "fail: a\n\n");
        assert_eq!(inert("<p>\n::a ##[b", "&#58;", "&#35;"), "<p>\n&#58;:a &#35;#[b");
    }
}
