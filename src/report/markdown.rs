//! The report as Markdown (GitHub's): a job's summary, a comment on a pull request.
//!
//! What others wrote stands in code spans, in fences longer than any run of backticks in it, or with every character
//! escaped that could mean something: it is text, and neither markup nor HTML nor a link.

use super::case::{self, Case, Suite, line};
use super::comparison::comparison;
use super::human::{describe_machine, describe_phases};
use super::text::count;
use crate::model::Report;
use crate::text::seconds;

/// Most bytes of a document: GitHub refuses a job's summary of more than 1 MiB.
const MOST: usize = 900 << 10;

/// The document, with a line end, of at most [`MOST`] bytes: what does not fit is omitted from the end, and counted.
pub(crate) fn render(reports: &[Report]) -> String {
    let mut out = format!("## {}\n\n", text(&case::headline(reports)));
    let rows: Vec<String> = reports.iter().map(row).collect();
    out.push_str("| machine | verdict | cause | checks | time |\n| --- | --- | --- | --- | ---: |\n");
    let omitted = |number: usize, noun: &str| format!("\n({} omitted: too long)\n", count(number, noun));
    let spare = MOST - 200;
    for (number, row) in rows.iter().enumerate() {
        if out.len() + row.len() > spare {
            out.push_str(&omitted(rows.len() - number, "machine"));
            return out;
        }
        out.push_str(row);
    }
    for (number, report) in reports.iter().enumerate() {
        let whole = section(report);
        if out.len() + whole.len() > spare {
            out.push_str(&omitted(reports.len() - number, "machine's section"));
            return out;
        }
        out.push_str(&whole);
    }
    out
}

fn row(report: &Report) -> String {
    let suite = Suite::of(report);
    let cause = case::cause(report).map(|cause| text(&cause)).unwrap_or_default();
    let (name, verdict) = (text(&suite.name), case::verdict_word(report.verdict));
    format!("| {name} | **{verdict}** | {cause} | {} | {} |\n", suite.counts(), seconds(suite.seconds))
}

fn section(report: &Report) -> String {
    let suite = Suite::of(report);
    let mut out = format!("\n### {}\n\n", text(&suite.name));
    if let Some(cause) = case::cause(report) {
        out.push_str(&format!("**{}**: {}\n\n", case::verdict_word(report.verdict), text(&cause)));
        if let Some(lead) = suite.lead(&cause) {
            evidence(&mut out, lead);
        }
    }
    if let Some(comparison) = comparison(report) {
        out.push_str(&format!("Against {}\n\n", text(&comparison)));
    }
    out.push_str(&format!("<details><summary>{}</summary>\n\n", count(suite.cases.len(), "check")));
    out.push_str("| check | verdict | result |\n| --- | --- | --- |\n");
    for case in suite.worst_first() {
        let word = if case.flaky { format!("{} (flaky)", case.status.word()) } else { case.status.word().to_owned() };
        let word = if case.status.prevents_pass() { format!("**{word}**") } else { word };
        out.push_str(&format!("| {} | {word} | {} |\n", cell(&case.id), text(&case.summary)));
    }
    out.push_str("\n</details>\n\n");
    if !suite.not_tested.is_empty() {
        out.push_str("Not tested:\n\n");
        for (what, why) in &suite.not_tested {
            out.push_str(&format!("- {}: {}\n", text(what), text(why)));
        }
        out.push('\n');
    }
    if let Some(outside) = case::outside(report) {
        out.push_str(&format!("The outside: {}\n\n", text(&outside)));
    }
    if !report.notes.is_empty() {
        out.push_str("Notes:\n\n");
        report.notes.iter().for_each(|note| out.push_str(&format!("- {}\n", text(&line(note)))));
        out.push('\n');
    }
    if let Some(machine) = &report.machine {
        out.push_str(&format!("Machine: {}\n\n", text(&line(&describe_machine(machine)))));
    }
    if !report.phases.is_empty() {
        out.push_str(&format!("Time: {}\n\n", describe_phases(report)));
    }
    if let Some(artifacts) = &report.artifacts {
        out.push_str(&format!("Artifacts: {}\n\n", code(&line(&artifacts.display().to_string()))));
    }
    if let Some(apply) = &report.apply {
        out.push_str(&format!("Apply exactly what was tested:\n\n{}\n", fence("sh", &[line(apply)])));
    }
    out
}

/// What shows the cause, and what to do.
fn evidence(out: &mut String, case: &Case) {
    if let Some(position) = &case.position {
        out.push_str(&format!("At {}\n\n", code(&position.to_string())));
    }
    if !case.detail.is_empty() {
        out.push_str(&fence("text", &case.excerpt()));
        out.push('\n');
    }
    if let Some(hint) = &case.hint {
        out.push_str(&format!("Hint: {}\n\n", text(hint)));
    }
}

/// One line of others' as text.
fn text(line: &str) -> String {
    let mut out = String::with_capacity(line.len() + 8);
    let mut before = ' ';
    // What begins a list at the beginning of a line: a dash, a number with a dot or a bracket behind.
    let mut begins = true;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        // HTML's three as references, since what reads Markdown and what reads the HTML in it are not the same.
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '-' | '.' | ')' if begins => {
                out.push('\\');
                out.push(c);
            }
            // `www.` alone makes a link.
            '.' if before.eq_ignore_ascii_case(&'w') => out.push_str("\\."),
            // Of no URL, nor of a smiley's name.
            ':' if chars.peek().is_none_or(|next| *next == ' ') => out.push(c),
            // A name that is mentioned, or a number that is a reference, is so by GitHub's own reading of the text.
            '@' => out.push_str("&#64;"),
            '#' => out.push_str("&#35;"),
            c if c.is_ascii_punctuation() && !".,;'\"-()/".contains(c) => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
        begins &= c.is_ascii_digit();
        before = c;
    }
    out
}

/// One line of others' in a code span.
pub(crate) fn code(line: &str) -> String {
    let ticks = "`".repeat(longest_run(line, '`') + 1);
    let at_ends = |c| line.starts_with(c) || line.ends_with(c);
    match line {
        "" => String::new(),
        // A space on both sides is taken off again, and keeps a backtick at an end from the ones around it.
        _ if at_ends('`') || at_ends(' ') => format!("{ticks} {line} {ticks}"),
        _ => format!("{ticks}{line}{ticks}"),
    }
}

/// [`code`] in a table, where a bar ends the cell, in a code span too.
fn cell(line: &str) -> String {
    code(line).replace('|', "\\|")
}

/// Lines of others' in a block that they cannot end.
pub(crate) fn fence(language: &str, lines: &[String]) -> String {
    let most = lines.iter().map(|line| longest_run(line, '`')).max().unwrap_or(0);
    let ticks = "`".repeat((most + 1).max(3));
    format!("{ticks}{language}\n{}\n{ticks}\n", lines.join("\n"))
}

/// How many of the character stand in a row at most.
fn longest_run(text: &str, of: char) -> usize {
    let mut longest = 0;
    let mut run = 0;
    for c in text.chars() {
        run = if c == of { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::report::examples;

    /// Nothing of others' is markup: outside of fences and code spans, only our own tags, tables and headings.
    pub(in super::super) fn check(reports: &[Report], document: &str) {
        assert!(document.len() <= MOST, "{}", document.len());
        let mut fence: Option<String> = None;
        let mut headings = 0;
        for line in document.lines() {
            if let Some(end) = &fence {
                if line == end {
                    fence = None;
                } else {
                    // No run of backticks that could be an end.
                    assert!(longest_run(line, '`') < end.len(), "{line}");
                }
                continue;
            }
            if line.starts_with("```") {
                fence = Some("`".repeat(longest_run(line, '`')));
                continue;
            }
            if line.starts_with('|') {
                let cells = without_escapes(&without_code(line)).matches('|').count();
                assert!([4, 6].contains(&cells), "a cell broke out: {line}");
            }
            headings += usize::from(line.starts_with('#'));
            let outside = without_escapes(&without_code(line));
            for tag in outside.split('<').skip(1) {
                assert!(
                    ["details>", "summary>", "/summary>", "/details>"].iter().any(|ours| tag.starts_with(ours)),
                    "{line}"
                );
            }
            assert!(!outside.contains("](") && !outside.contains('@') && !outside.contains("://"), "{line}");
        }
        assert_eq!(fence, None);
        assert!(headings <= reports.len() + 1);
    }

    /// A line without what a backslash makes text.
    fn without_escapes(line: &str) -> String {
        let mut chars = line.chars();
        let mut out = String::new();
        while let Some(c) = chars.next() {
            if c != '\\' {
                out.push(c);
            } else if chars.next().is_none() {
                break;
            }
        }
        out
    }

    /// A line without its code spans.
    fn without_code(line: &str) -> String {
        let mut out = String::new();
        let mut rest = line;
        while let Some(at) = rest.find('`') {
            if rest[..at].ends_with('\\') {
                out.push_str(&rest[..=at]);
                rest = &rest[at + 1..];
                continue;
            }
            let ticks = rest[at..].chars().take_while(|c| *c == '`').count();
            let inside = &rest[at + ticks..];
            let mut end = 0;
            loop {
                let found = end + inside[end..].find('`').expect("a code span ends");
                let run = inside[found..].chars().take_while(|c| *c == '`').count();
                end = found + run;
                if run == ticks {
                    break;
                }
            }
            out.push_str(&rest[..at]);
            rest = &inside[end..];
        }
        out + rest
    }

    #[test]
    fn each_kind_of_report_is_markdown() {
        for report in examples::all() {
            check(std::slice::from_ref(&report), &render(std::slice::from_ref(&report)));
        }
        check(&examples::all(), &render(&examples::all()));
        check(&[], &render(&[]));
    }

    #[test]
    fn text_of_others_is_no_markup() {
        assert_eq!(text("a|b <script> [x](http://y) *z*"), "a\\|b &lt;script&gt; \\[x\\](http\\://y) \\*z\\*");
        assert_eq!(text("www.x @you #1"), "www\\.x &#64;you &#35;1");
        assert_eq!((text("- a"), text("12. a"), text("2.1 s")), ("\\- a".into(), "12\\. a".into(), "2\\.1 s".into()));
        assert_eq!((code("a``b`|"), code("`"), code("a")), ("```a``b`|```".into(), "`` ` ``".into(), "`a`".into()));
        assert_eq!((cell("a|b"), code("")), ("`a\\|b`".into(), String::new()));
        assert_eq!(fence("text", &["````".to_owned()]), "`````text\n````\n`````\n");
    }

    #[test]
    fn too_many_machines_are_omitted_and_counted() {
        let mut report = examples::fail();
        report.checks[1].detail = vec!["x".repeat(2000); 120];
        let reports = vec![report; 30];
        let document = render(&reports);
        check(&reports, &document);
        assert!(document.len() <= MOST);
        let many = vec![examples::pass(); 20_000];
        let document = render(&many);
        check(&many, &document);
        assert!(document.trim_end().ends_with("omitted: too long)"));
    }
}
