//! The report for GitHub Actions: workflow commands on stdout, which become annotations of the run. The job's summary
//! is [`super::markdown`].
//!
//! A command is one line, and whatever is a guest's in it is data of that command: it can begin no line of its own.

use super::case::{Case, Kind, Suite};
use super::text::count;
use crate::model::{Report, Verdict};
use crate::text::seconds;

/// Names a file that is shown as the job's summary, where GitHub runs us.
pub const SUMMARY: &str = "GITHUB_STEP_SUMMARY";

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
    place: String,
}

/// The commands, one a line; for each machine one at least.
pub fn render(reports: &[Report]) -> String {
    let all: Vec<Annotation> = reports.iter().flat_map(annotations).collect();
    let mut out = String::new();
    for level in [Level::Error, Level::Warning, Level::Notice] {
        let of: Vec<&Annotation> = all.iter().filter(|annotation| annotation.level == level).collect();
        let shown = if of.len() > MOST { MOST - 1 } else { of.len() };
        of[..shown].iter().for_each(|annotation| out.push_str(&annotation.line()));
        if shown < of.len() {
            let rest = of[shown..].iter().map(|annotation| annotation.title.as_str()).collect::<Vec<_>>();
            let title = format!("and {} more", rest.len());
            let rest = Annotation { level, title, message: rest.join("\n"), place: String::new() };
            out.push_str(&rest.line());
        }
    }
    out
}

impl Annotation {
    fn line(&self) -> String {
        let (command, title, message) = (self.level.command(), property(&self.title), data(&self.message));
        format!("::{command} {}title={title}::{message}\n", self.place)
    }
}

fn annotations(report: &Report) -> Vec<Annotation> {
    let suite = Suite::of(report);
    let mut all: Vec<Annotation> = suite.cases.iter().filter_map(|case| annotation(&suite.name, case)).collect();
    if report.verdict == Verdict::Pass {
        let passed = count(suite.count(|kind| kind == Kind::Pass), "check");
        let message = format!("works: {passed} passed in {}", seconds(suite.seconds));
        all.push(Annotation { level: Level::Notice, title: suite.name, message, place: String::new() });
    }
    all
}

fn annotation(machine: &str, case: &Case) -> Option<Annotation> {
    let level = match case.kind {
        Kind::Fail => Level::Error,
        Kind::Warn => Level::Warning,
        Kind::Unknown | Kind::Unsure | Kind::Allowed => Level::Notice,
        Kind::Pass if case.flaky => Level::Warning,
        Kind::Pass | Kind::Skip => return None,
    };
    let word = match case.kind {
        Kind::Unknown | Kind::Unsure => "could not tell: ",
        Kind::Pass => "flaky: ",
        _ => "",
    };
    let mut message = format!("{word}{}", case.summary);
    let mut put = |line: &str| {
        message.push('\n');
        message.push_str(line);
    };
    let left_out = case.detail.len().saturating_sub(LINES);
    // Of a log the end tells most, of an error the beginning; which it is shows in who wrote it.
    let from_nix = case.place.is_some() || case.id.starts_with("build");
    let shown = if from_nix { &case.detail[..case.detail.len() - left_out] } else { &case.detail[left_out..] };
    shown.iter().for_each(|line| put(line));
    if left_out > 0 {
        put(&format!("({} left out here)", count(left_out, "line")));
    }
    if let Some(hint) = &case.hint {
        put(&format!("hint: {hint}"));
    }
    let place = case
        .place
        .as_ref()
        .map(|place| format!("file={},line={},col={},", property(&place.file), place.line, place.column));
    let title = format!("{machine}: {}", case.id);
    Some(Annotation { level, title, message, place: place.unwrap_or_default() })
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
pub fn inert(text: &str, colon: &str, hash: &str) -> String {
    let lines = text.split_inclusive('\n').map(|line| {
        let line = line.replace("##[", &format!("{hash}#["));
        let at = line.len() - line.trim_start().len();
        if line[at..].starts_with("::") { format!("{}{colon}{}", &line[..at], &line[at + 1..]) } else { line }
    });
    lines.collect()
}

/// The same of a text for people.
pub fn inert_for_people(text: &str) -> String {
    inert(text, ": ", "# ")
}

/// Whether what we print is read for commands.
pub fn is_read_for_commands() -> bool {
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
    fn a_failure_is_an_error_with_what_shows_it() {
        let expected = "\
::error title=.#laptop%3A services.failed-units::nginx.service failed: exit code 1%0A\
nginx[812]: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)%0A\
nginx[812]: \\u{1b}[31mred\\u{1b}[0m%0A\
systemd[1]: nginx.service: Failed with result 'exit-code'.%0A\
hint: another unit listens on tcp 80: httpd.service
::error title=.#laptop%3A services.ports::nobody listens on tcp 80
";
        assert_eq!(render(&[examples::fail()]), expected);
        assert_eq!(
            render(&[examples::pass()]),
            "\
::warning title=.#laptop%3A boot.time::21.3 s to multi-user.target, 20 s wished
::notice title=.#laptop%3A script.printing::cups.service failed (allowed: no printer here)
::notice title=.#laptop::works: 4 checks passed in 41 s
"
        );
    }

    #[test]
    fn a_place_that_nix_named_is_annotated() {
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
