//! The report as TAP, the Test Anything Protocol, version 14: a test point a check; of several machines each is a
//! subtest.
//!
//! A failure that is allowed is a `TODO`, which TAP knows as a failure that is expected. What was not tested is a `SKIP`.
//! An unknown verdict is `not ok`: a `TODO` where that of the run does not depend on it.

use super::case::{self, Case, CaseStatus, Suite, line};
use super::text::count;
use crate::model::{Report, Verdict};
use crate::text::seconds;

/// The document, with a line end.
pub(crate) fn render(reports: &[Report]) -> String {
    let mut out = "TAP version 14\n".to_owned();
    match reports {
        [] => out.push_str("1..0 # nothing was tested\n"),
        [report] => points(&mut out, "", report),
        several => {
            out.push_str(&format!("1..{}\n", several.len()));
            for (number, report) in (1..).zip(several) {
                let name = escaped(&case::name(report));
                out.push_str(&format!("# Subtest: {name}\n"));
                points(&mut out, "    ", report);
                let ok = if report.verdict == Verdict::Pass { "ok" } else { "not ok" };
                out.push_str(&format!("{ok} {number} - {name}\n"));
            }
        }
    }
    out
}

/// The plan and the test points of a machine.
fn points(out: &mut String, indent: &str, report: &Report) {
    let suite = Suite::of(report);
    out.push_str(&format!("{indent}1..{}\n", suite.cases.len() + suite.not_tested.len()));
    for (number, case) in (1..).zip(&suite.cases) {
        point(out, indent, number, case);
    }
    for (number, (what, why)) in (suite.cases.len() + 1..).zip(&suite.not_tested) {
        let (what, why) = (escaped(what), escaped(why));
        out.push_str(&format!("{indent}ok {number} - not tested: {what} # SKIP {why}\n"));
    }
    let verdict = match case::cause(report) {
        Some(cause) => format!("{}: {cause}", case::verdict_word(report.verdict)),
        None => {
            format!(
                "pass: {} in {}",
                count(suite.count(|status| status == CaseStatus::Pass), "check"),
                seconds(suite.seconds)
            )
        }
    };
    out.push_str(&format!("{indent}# {}\n", escaped(&verdict)));
    if let Some(apply) = &report.apply {
        out.push_str(&format!("{indent}# apply exactly what was tested: {}\n", escaped(&line(apply))));
    }
}

fn point(out: &mut String, indent: &str, number: usize, case: &Case) {
    let (id, summary) = (escaped(&case.id), escaped(&case.summary));
    let (ok, text) = match case.status {
        CaseStatus::Pass | CaseStatus::Warn => ("ok", format!("{id}: {summary}")),
        CaseStatus::Fail | CaseStatus::Unknown => ("not ok", format!("{id}: {summary}")),
        CaseStatus::Before | CaseStatus::Allowed => ("not ok", format!("{id} # TODO {summary}")),
        CaseStatus::UnknownAdvice => ("not ok", format!("{id} # TODO could not tell: {summary}")),
        CaseStatus::Skip => ("ok", format!("{id} # SKIP {summary}")),
    };
    out.push_str(&format!("{indent}{ok} {number} - {text}\n"));
    diagnosis(out, indent, case);
}

/// A YAML block, where there is more to report than fits into the line, in forms that the readers of less than YAML in
/// Perl's and other harnesses know too: JSON's strings, numbers, and a literal block for lines.
fn diagnosis(out: &mut String, indent: &str, case: &Case) {
    let severity = match case.status {
        CaseStatus::Fail => "fail",
        CaseStatus::Unknown | CaseStatus::UnknownAdvice => "unknown",
        CaseStatus::Before => "failed before",
        CaseStatus::Allowed => "allowed",
        CaseStatus::Warn => "warning",
        CaseStatus::Pass if case.flaky => "flaky",
        CaseStatus::Pass | CaseStatus::Skip => return,
    };
    let mut put = |text: &str| out.push_str(&format!("{indent}  {text}\n"));
    put("---");
    put(&format!("message: {}", quoted(&case.summary)));
    put(&format!("severity: {severity}"));
    if case.flaky {
        put("flaky: true");
    }
    if case.seconds > 0.0 {
        put(&format!("seconds: {:.3}", case.seconds));
    }
    if let Some(position) = &case.position {
        put("at:");
        put(&format!("  file: {}", quoted(&position.file)));
        put(&format!("  line: {}", position.line));
        put(&format!("  column: {}", position.column));
    }
    if let Some(hint) = &case.hint {
        put(&format!("hint: {}", quoted(hint)));
    }
    // An empty line would end the block for some, and how far the first is indented decides for all.
    let mut lines = case.detail.iter().filter(|line| !line.trim().is_empty());
    if let Some(first) = lines.next() {
        put("detail: |");
        put(&format!("  {}", first.trim_start()));
        lines.for_each(|line| put(&format!("  {line}")));
    }
    put("...");
}

/// `#` begins a directive, and `\` escapes it.
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('#', r"\#")
}

/// In double quotes. A string always has a form in JSON.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_else(|_error| "\"\"".to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{CheckId, CheckResult, Status};
    use crate::report::examples;

    /// A TAP stream's outcome, read as the specification has it: `true` when a harness takes it for a pass.
    fn stream(lines: &mut std::iter::Peekable<std::str::Lines<'_>>, indent: &str) -> bool {
        let mut own = || {
            let line = lines.peek()?;
            let line = line.strip_prefix(indent)?;
            // Deeper ones belong to a subtest; two spaces are a YAML block.
            lines.next();
            Some(line)
        };
        let plan = own().and_then(|line| line.strip_prefix("1..")).expect("a plan first");
        let planned: usize = plan.split(" # ").next().unwrap().parse().expect(plan);
        let (mut seen, mut good, mut subtest) = (0, true, None);
        while let Some(line) = lines.peek().and_then(|line| line.strip_prefix(indent)) {
            if line.starts_with("    ") {
                let (name, of): (String, bool) = {
                    let name = subtest.take().expect("a subtest has a name");
                    (name, stream(lines, &format!("{indent}    ")))
                };
                let point = lines.peek().and_then(|line| line.strip_prefix(indent)).expect("a point for the subtest");
                assert_eq!(point.starts_with("ok "), of, "{point}");
                assert!(point.ends_with(&format!(" - {name}")), "{point} is not {name}");
                continue;
            }
            lines.next();
            if let Some(name) = line.strip_prefix("# Subtest: ") {
                subtest = Some(name.to_owned());
            } else if line == "  ---" {
                yaml(lines, indent);
            } else if !line.starts_with('#') {
                let (ok, rest) = match line.strip_prefix("not ok ") {
                    Some(rest) => (false, rest),
                    None => (true, line.strip_prefix("ok ").unwrap_or_else(|| panic!("not TAP: {line}"))),
                };
                seen += 1;
                let (number, text) = rest.split_once(" - ").expect("a number and a description");
                assert_eq!(number.parse(), Ok(seen));
                assert!(!text.is_empty());
                let directive = directive(text);
                assert!(ok || directive != Some("SKIP"), "{line}");
                good &= ok || directive == Some("TODO");
            }
        }
        assert_eq!(seen, planned);
        good && planned > 0
    }

    /// The directive behind the first `#` that is not escaped.
    fn directive(text: &str) -> Option<&str> {
        let mut escaped = false;
        for (at, c) in text.char_indices() {
            match c {
                '\\' => escaped = !escaped,
                '#' if !escaped => {
                    let rest = text[at + 1..].trim_start();
                    assert!(text[..at].ends_with(' '));
                    return Some(rest.split(' ').next().unwrap());
                }
                _ => escaped = false,
            }
        }
        None
    }

    /// A YAML block of the few forms that are written here.
    fn yaml(lines: &mut std::iter::Peekable<std::str::Lines<'_>>, indent: &str) {
        let mut own = || lines.next().and_then(|line| line.strip_prefix(indent)?.strip_prefix("  ")).expect("it ends");
        let mut line = own();
        while line != "..." {
            let (key, value) = line.split_once(':').expect("a key");
            let key = key.strip_prefix("  ").unwrap_or(key);
            assert!(key.chars().all(|c| c.is_ascii_lowercase()), "{key}");
            if value == " |" {
                line = own();
                assert!(line.starts_with("  ") && !line[2..].starts_with(' '), "{line}");
                while line.starts_with("  ") {
                    assert!(!line.trim().is_empty());
                    line = own();
                }
                continue;
            }
            let value = value.trim_start();
            let plain = value.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.');
            assert!(plain || serde_json::from_str::<String>(value).is_ok(), "{line}");
            line = own();
        }
    }

    /// The document is TAP, and no run that did not pass looks as if it had.
    pub(in super::super) fn check(reports: &[Report], document: &str) {
        // YAML 1.2, production 1; a line end of any kind begins a new line.
        let allowed = |c: char| matches!(c, '\n' | '\u{20}'..='\u{7e}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
        assert!(document.chars().all(|c| allowed(c) && !matches!(c, '\u{2028}' | '\u{2029}')));
        let mut lines = document.lines().peekable();
        assert_eq!(lines.next(), Some("TAP version 14"));
        let good = stream(&mut lines, "");
        assert_eq!(lines.next(), None);
        let passed = !reports.is_empty() && reports.iter().all(|report| report.verdict == Verdict::Pass);
        assert_eq!(good, passed, "{document}");
    }

    #[test]
    fn each_kind_of_report_is_tap() {
        for report in examples::all() {
            check(std::slice::from_ref(&report), &render(std::slice::from_ref(&report)));
        }
        check(&examples::all(), &render(&examples::all()));
        check(&[], &render(&[]));
        check(&[examples::pass(), examples::pass()], &render(&[examples::pass(), examples::pass()]));
    }

    #[test]
    fn directives_say_what_does_not_count() {
        let mut report = examples::pass();
        report.checks.push(CheckResult::new(CheckId::NetworkDns, Status::Unknown, "# no name resolves"));
        let text = render(&[report, examples::unknown()]);
        for line in [
            "    not ok 5 - script.printing # TODO cups.service failed (allowed: no printer here)",
            "    ok 7 - audio.tone # SKIP no sound server is expected",
            "    not ok 8 - network.dns # TODO could not tell: \\# no name resolves",
            "ok 1 - .\\#laptop",
            "not ok 2 - .\\#laptop",
        ] {
            assert!(text.lines().any(|has| has == line), "{line}\n{text}");
        }
    }
}
