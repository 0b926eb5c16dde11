//! The report as JUnit's XML: each machine a suite, each check a case. Valid by the schemas of Maven's Surefire
//! (each suite) and of Jenkins' xUnit plugin (the whole), which are the strictest there are.
//!
//! What was not tested is a skipped case of its own, since many readers show nothing else of a suite.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, TestCase, TestCaseStatus, TestRerun, TestSuite};

use super::case::{self, Case, CaseStatus, Suite, line};
use super::human::describe_machine;
use crate::model::Report;

/// The document, with a line end.
pub(crate) fn render(reports: &[Report]) -> String {
    let mut whole = quick_junit::Report::new("nixbox");
    whole.set_time(duration(reports.iter().map(|report| Suite::of(report).seconds).sum()));
    whole.add_test_suites(reports.iter().map(suite));
    let document = whole.to_string().unwrap_or_else(|_error| NOT_WRITTEN.to_owned());
    // The root's own count, before which only ours stand: Jenkins' schema knows it of suites alone, and the xUnit
    // plugin refuses a document with what it does not know.
    document.replacen(&format!(" skipped=\"{}\"", whole.skipped), "", 1)
}

/// Not to be expected: a String takes whatever is written to it. No pass, whatever happens.
const NOT_WRITTEN: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<testsuites name=\"nixbox\" tests=\"1\" failures=\"0\" errors=\"1\">
    <testsuite name=\"nixbox\" tests=\"1\" skipped=\"0\" errors=\"1\" failures=\"0\">
        <testcase name=\"report\" time=\"0\"><error type=\"report\" message=\"the report could not be written\"/></testcase>
    </testsuite>
</testsuites>
";

fn suite(report: &Report) -> TestSuite {
    let of = Suite::of(report);
    let mut suite = TestSuite::new(&of.name);
    suite.set_time(duration(of.seconds));
    suite.add_properties(properties(report));
    suite.add_test_cases(of.cases.iter().map(|case| test_case(case, &of.name)));
    let class = format!("{}.not-tested", of.name);
    suite.add_test_cases(of.not_tested.iter().map(|(what, why)| {
        let mut status = TestCaseStatus::skipped();
        status.set_message(why);
        let mut case = TestCase::new(what, status);
        case.set_classname(&class).set_time(Duration::ZERO);
        case
    }));
    suite
}

fn test_case(case: &Case, class: &str) -> TestCase {
    let text = text(case);
    let mut status = match case.status {
        CaseStatus::Fail => failed(NonSuccessKind::Failure, "fail", &text),
        CaseStatus::Unknown => failed(NonSuccessKind::Error, "could-not-tell", &text),
        CaseStatus::Skip | CaseStatus::UnknownAdvice => TestCaseStatus::skipped(),
        CaseStatus::Pass | CaseStatus::Warn | CaseStatus::Before | CaseStatus::Allowed => TestCaseStatus::success(),
    };
    match case.status {
        CaseStatus::UnknownAdvice => status.set_message(format!("could not tell: {}", case.summary)),
        _ => status.set_message(&case.summary),
    };
    if case.flaky
        && matches!(case.status, CaseStatus::Pass | CaseStatus::Warn | CaseStatus::Before | CaseStatus::Allowed)
    {
        let mut before = TestRerun::new(NonSuccessKind::Failure);
        before.set_type("flaky").set_message("failed, and then passed").set_stack_trace(&text);
        status.add_rerun(before);
    }
    let mut out = TestCase::new(&case.id, status);
    out.set_classname(class).set_time(duration(case.seconds));
    match case.status {
        CaseStatus::Warn => out.set_system_out(format!("warning: {text}")),
        // Its summary has the word.
        CaseStatus::Before | CaseStatus::Allowed => out.set_system_out(&text),
        _ => &mut out,
    };
    out
}

fn failed(kind: NonSuccessKind, word: &str, text: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(word).set_description(text);
    status
}

/// The summary, what shows it, and what to do.
fn text(case: &Case) -> String {
    let mut text = case.summary.clone();
    let position = case.position.as_ref().map(ToString::to_string);
    for line in position.iter().chain(&case.detail) {
        text.push('\n');
        text.push_str(line);
    }
    if let Some(hint) = &case.hint {
        text.push_str("\nhint: ");
        text.push_str(hint);
    }
    text
}

fn properties(report: &Report) -> Vec<Property> {
    let mut all = vec![
        ("verdict", case::verdict_word(report.verdict).to_owned()),
        ("exit", report.exit.to_string()),
        ("nixbox", line(&report.nixbox)),
        ("started", line(&report.started)),
        ("target", line(&report.target.resolved)),
    ];
    all.extend(case::cause(report).map(|cause| ("cause", cause)));
    all.extend(report.machine.as_ref().map(|machine| ("machine", line(&describe_machine(machine)))));
    all.extend(report.artifacts.as_ref().map(|path| ("artifacts", line(&path.display().to_string()))));
    all.extend(report.apply.as_deref().map(|apply| ("apply", line(apply))));
    all.extend(report.notes.iter().map(|note| ("note", line(note))));
    all.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| Property::new(name, value)).collect()
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use quick_xml::Reader;
    use quick_xml::events::{BytesStart, Event};

    use super::*;
    use crate::model::Verdict;
    use crate::report::examples;

    /// An element of a document that was read.
    #[derive(Debug, Default)]
    struct Element {
        name: String,
        attributes: Vec<(String, String)>,
        children: Vec<Element>,
        text: String,
    }

    impl Element {
        fn of(start: &BytesStart<'_>) -> Self {
            let name = String::from_utf8(start.name().as_ref().to_vec()).unwrap();
            let attributes = start.attributes().map(|attribute| {
                let attribute = attribute.expect("well-formed attributes, each once");
                let raw = String::from_utf8(attribute.value.to_vec()).unwrap();
                assert!(!raw.contains('<'), "{raw}");
                let value = quick_xml::escape::unescape(&raw).expect("known entities").into_owned();
                (String::from_utf8(attribute.key.as_ref().to_vec()).unwrap(), value)
            });
            Self { attributes: attributes.collect(), name, ..Self::default() }
        }

        fn get(&self, name: &str) -> Option<&str> {
            self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
        }

        fn number(&self, name: &str) -> usize {
            self.get(name).expect(name).parse().expect(name)
        }

        fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
            self.children.iter().filter(move |child| child.name == name)
        }
    }

    /// Reads a document, which must be well-formed.
    fn read(document: &str) -> Element {
        // XML 1.0, production 2: what a document may hold at all.
        let allowed =
            |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
        assert!(document.chars().all(allowed), "a character that XML forbids");
        assert!(document.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>"));
        let mut reader = Reader::from_str(document);
        reader.config_mut().check_end_names = true;
        let mut open: Vec<Element> = vec![Element::default()];
        loop {
            match reader.read_event().expect("well-formed") {
                Event::Start(start) => open.push(Element::of(&start)),
                Event::Empty(start) => open.last_mut().unwrap().children.push(Element::of(&start)),
                Event::End(_) => {
                    let ended = open.pop().unwrap();
                    open.last_mut().unwrap().children.push(ended);
                }
                Event::Text(text) => open.last_mut().unwrap().text.push_str(&text.decode().unwrap()),
                Event::GeneralRef(entity) => {
                    let entity = format!("&{};", entity.decode().unwrap());
                    open.last_mut().unwrap().text.push_str(&quick_xml::escape::unescape(&entity).unwrap());
                }
                Event::Decl(_) => {}
                Event::Eof => break,
                other => panic!("neither comments, processing instructions nor doctypes: {other:?}"),
            }
        }
        assert_eq!(open.len(), 1, "an element is not closed");
        let mut roots = open.remove(0).children;
        assert_eq!(roots.len(), 1);
        roots.remove(0)
    }

    /// Which attributes an element may have (`!` in front: must), and which children, in this order, how many at most.
    type Rule = (&'static str, &'static [&'static str], &'static [(&'static str, usize)]);

    const MANY: usize = usize::MAX;

    /// What the schemas of Surefire 3.0 and of Jenkins' xUnit plugin (junit-10) both allow.
    const SCHEMA: &[Rule] = &[
        ("testsuites", &["name", "time", "tests", "failures", "errors"], &[("testsuite", MANY)]),
        (
            "testsuite",
            &["!name", "!tests", "!failures", "!errors", "!skipped", "time", "group"],
            &[("properties", MANY), ("testcase", MANY)],
        ),
        ("properties", &[], &[("property", MANY)]),
        ("property", &["!name", "!value"], &[]),
        (
            "testcase",
            &["!name", "!time", "classname", "group"],
            &[
                ("failure", MANY),
                ("rerunFailure", MANY),
                ("flakyFailure", MANY),
                ("skipped", 1),
                ("error", 1),
                ("rerunError", MANY),
                ("flakyError", MANY),
                ("system-out", 1),
                ("system-err", 1),
            ],
        ),
        ("failure", &["message", "!type"], &[]),
        ("error", &["message", "!type"], &[]),
        ("skipped", &["message"], &[]),
        ("flakyFailure", &["message", "!type"], &[("stackTrace", 1), ("system-out", 1), ("system-err", 1)]),
        ("stackTrace", &[], &[]),
        ("system-out", &[], &[]),
    ];

    /// Elements that hold text.
    const MIXED: &[&str] = &["failure", "error", "skipped", "stackTrace", "system-out"];

    fn fits(element: &Element) {
        let (name, attributes, children) =
            SCHEMA.iter().find(|rule| rule.0 == element.name).unwrap_or_else(|| panic!("<{}>", element.name));
        for attribute in *attributes {
            if let Some(required) = attribute.strip_prefix('!') {
                assert!(element.get(required).is_some(), "<{name}> has no {required}");
            }
        }
        for (key, value) in &element.attributes {
            assert!(attributes.iter().any(|known| known.trim_start_matches('!') == key), "<{name} {key}>");
            if key == "time" {
                let (whole, part) = value.split_once('.').unwrap_or((value, ""));
                let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
                assert!(digits(whole) && digits(part) && part.len() <= 3, "{value}");
            }
        }
        let places: Vec<usize> = element
            .children
            .iter()
            .map(|child| {
                children.iter().position(|(known, _)| *known == child.name).unwrap_or_else(|| {
                    panic!("<{}> in <{name}>", child.name);
                })
            })
            .collect();
        assert!(places.is_sorted(), "<{name}>'s children are out of order: {places:?}");
        for (known, most) in *children {
            assert!(element.all(known).count() <= *most, "too many <{known}> in <{name}>");
        }
        assert!(MIXED.contains(name) || element.text.trim().is_empty(), "text in <{name}>: {}", element.text);
        if *name == "flakyFailure" {
            assert_eq!(element.all("stackTrace").count(), 1);
        }
        if *name == "testsuite" {
            let cases: Vec<&Element> = element.all("testcase").collect();
            let with = |child: &str| cases.iter().filter(|case| case.all(child).count() > 0).count();
            assert_eq!(element.number("tests"), cases.len());
            assert_eq!(element.number("failures"), with("failure"));
            assert_eq!(element.number("errors"), with("error"));
            assert_eq!(element.number("skipped"), with("skipped"));
        }
        if *name == "testsuites" {
            for counted in ["tests", "failures", "errors"] {
                let sum: usize = element.all("testsuite").map(|suite| suite.number(counted)).sum();
                assert_eq!(element.number(counted), sum);
            }
        }
        element.children.iter().for_each(fits);
    }

    /// The document is valid, and no run that did not pass looks as if it had.
    pub(in super::super) fn check(reports: &[Report], document: &str) {
        let root = read(document);
        assert_eq!(root.name, "testsuites");
        fits(&root);
        let suites: Vec<&Element> = root.all("testsuite").collect();
        assert_eq!(suites.len(), reports.len());
        for (suite, report) in suites.iter().zip(reports) {
            let bad = suite.number("failures") + suite.number("errors");
            assert_eq!(bad == 0, report.verdict == Verdict::Pass, "{document}");
        }
    }

    fn case<'a>(root: &'a Element, name: &str) -> &'a Element {
        let cases = root.all("testsuite").flat_map(|suite| &suite.children);
        cases.filter(|case| case.name == "testcase").find(|case| case.get("name") == Some(name)).expect(name)
    }

    #[test]
    fn each_kind_of_report_is_valid() {
        for report in examples::all() {
            check(std::slice::from_ref(&report), &render(std::slice::from_ref(&report)));
        }
        check(&examples::all(), &render(&examples::all()));
        check(&[], &render(&[]));
        fits(&read(NOT_WRITTEN));
    }

    #[test]
    fn verdicts_become_what_readers_know() {
        let mut report = examples::pass();
        report.checks[2].flaky = true;
        let root = read(&render(&[report]));
        assert_eq!(case(&root, "boot.time").children[0].name, "system-out");
        assert!(case(&root, "boot.time").children[0].text.starts_with("warning: multi-user.target"));
        assert!(case(&root, "script.printing").children[0].text.starts_with("cups.service failed (allowed: "));
        assert_eq!(case(&root, "audio.tone").children[0].get("message"), Some("no sound server is expected"));
        assert_eq!(case(&root, "services.failed-units").children[0].name, "flakyFailure");
        let not_tested = case(&root, "fwupd.service");
        assert_eq!(
            (not_tested.get("classname"), not_tested.children[0].name.as_str()),
            (Some(".#laptop.not-tested"), "skipped")
        );

        let root = read(&render(&[examples::fail()]));
        let failure = &case(&root, "services.failed-units").children[0];
        assert_eq!(failure.get("message"), Some("nginx.service failed: exit code 1"));
        assert!(failure.text.contains("Address already in use") && failure.text.contains("hint: another unit"));

        let root = read(&render(&[examples::unknown()]));
        assert_eq!(case(&root, "host").children[0].name, "error");
        let root = read(&render(&[examples::boot_fail()]));
        assert_eq!(case(&root, "boot").children[0].name, "failure");
    }
}
