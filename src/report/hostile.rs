//! What a guest, a flake or a runner may write, through every writer: each document stays valid and bounded, and no
//! failure looks like a pass.

use clap::ValueEnum as _;
use proptest::prelude::*;

use super::format::Format;
use super::text::TextLayout;
use super::{github, html, junit, markdown, tap};
use crate::model::{
    CheckId, CheckResult, Lack, MachineInfo, OutsideAttempt, Report, Stage, Status, Verdict, Witness, artifact,
};
use crate::report::examples;

/// Each breaks out of something where it is not escaped.
const TEXTS: &[&str] = &[
    "\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m",
    "\0\u{1}\u{8}\u{b}\u{c}\u{7f}\u{80}\u{85}\u{fffe}\u{ffff}\u{feff}",
    "</script><script>alert(1)</script><img src=x onerror=alert(1)>",
    "\" onmouseover=\"alert(1)\" x='y'",
    "]]> <!-- --> <![CDATA[ <?xml version=\"1.0\"?> <!DOCTYPE x [<!ENTITY y SYSTEM \"file:///etc/passwd\">]> &y; &#0; &amp;",
    "\u{202e}txt.exe\u{2066}\u{200b}\u{2028}\u{2029}",
    "...\n---\n- !!python/object:x\nkey: [a, *b, &c]\n\t'\"{}%@`",
    "ok 1 - fine\nnot ok 2\n1..0\nBail out! now\n# TODO x\n# SKIP y \\# \\\\",
    "::error title=x::y\n::set-env name=PATH::/tmp\r::stop-commands::abc\n##[error]x\n%0A::error::z %25",
    "```\n````` ~~~\n<details> | a | b |\n# heading\n[x](javascript:alert(1)) ![y](http://example.org/z) @you #1",
    "</details></section></main></body></html></testsuite></testcase>",
    "data:text/html;base64,AAAA javascript:alert(1) url(http://example.org)",
    "a\\nb \\u0000 \\x00 &lt; &#x3c;",
    "",
    "   \t  ",
    "# SKIP",
    "TODO",
    "1. a\n- b\n+ c\n===\n---",
];

/// A report with each text in each field.
fn report_of(texts: &[String], verdict: Verdict) -> Report {
    let mut report = match verdict {
        Verdict::Pass => examples::pass(),
        Verdict::Fail => examples::fail(),
        Verdict::Unknown => examples::unknown(),
    };
    let all = texts.join("\n");
    let first = texts.first().cloned().unwrap_or_default();
    report.target.name.clone_from(&first);
    for text in texts {
        report.target.resolved.push_str(text);
        for status in [Status::Pass, Status::Warn, Status::Fail, Status::Skip, Status::Unknown] {
            // A name of no check is expected, as a user's script is; on advice the verdict does not depend.
            let id = if verdict == Verdict::Pass { CheckId::NetworkDns } else { CheckId::script("user") };
            let mut check = CheckResult::new(id, status, text.clone()).detail(vec![text.clone(), all.clone()]);
            check.hint = Some(text.clone());
            check.flaky = true;
            check.seconds = f64::NAN;
            check.allowed = (status == Status::Fail && verdict != Verdict::Fail).then(|| text.clone());
            check.evidence.insert(text.clone(), serde_json::Value::from(text.clone()));
            if verdict != Verdict::Unknown || status != Status::Unknown {
                report.checks.push(check);
            }
        }
        report.not_tested.push(examples::not_tested(text, Lack::Hardware, Witness::line(text.as_str()), text));
        report.notes.push(text.clone());
        report.outside.push(OutsideAttempt { to: text.clone(), by: vec![text.clone()], is_clock: false });
    }
    if verdict != Verdict::Pass {
        report.cause = Some(first.clone());
        report.detail = Some(all);
        report.hint = Some(first.clone());
    }
    if let Some(machine) = &mut report.machine {
        // Without `..`, so that a new field is decided on here.
        let MachineInfo {
            accelerator: _,
            accelerator_reason,
            transport: _,
            jail: _,
            memory_mib: _,
            cores: _,
            network: _,
            systemd,
            qemu,
        } = machine;
        for text in [accelerator_reason, systemd, qemu] {
            *text = Some(first.clone());
        }
    }
    report.apply = report.apply.map(|_| format!("nixos-rebuild switch --flake '{first}'"));
    report.artifacts = Some(format!("/nowhere/{}", first.replace('\0', "")).into());
    report
}

/// All of it at once, one report a verdict.
pub(super) fn reports() -> [Report; 3] {
    let all: Vec<String> = TEXTS.iter().map(|text| (*text).to_owned()).collect();
    VERDICTS.map(|verdict| report_of(&all, verdict))
}

/// A document of these reports is one of its format, and no failure looks like a pass.
pub(super) fn check(format: Format, reports: &[Report], document: &str) {
    match format {
        Format::Junit => junit::tests::check(reports, document),
        Format::Tap => tap::tests::check(reports, document),
        Format::Github => github::tests::check(reports, document),
        Format::Markdown => markdown::tests::check(reports, document),
        Format::Html => html::tests::check(reports, document),
        // What they show of hostile text is tested with them.
        Format::Human | Format::Json => {}
    }
}

/// Every writer, of these reports.
fn check_all(reports: &[Report]) {
    for format in Format::value_variants() {
        check(*format, reports, &format.render(reports, TextLayout::PLAIN));
    }
}

const VERDICTS: [Verdict; 3] = [Verdict::Pass, Verdict::Fail, Verdict::Unknown];

#[test]
fn every_writer_survives_every_text() {
    let all: Vec<String> = TEXTS.iter().map(|text| (*text).to_owned()).collect();
    for verdict in VERDICTS {
        check_all(&[report_of(&all, verdict)]);
        for text in &all {
            check_all(&[report_of(std::slice::from_ref(text), verdict)]);
        }
    }
    check_all(&reports());
}

#[test]
fn what_is_endless_is_bounded() {
    let mut report = report_of(&["x<&'\"\u{1b}".repeat(100_000)], Verdict::Fail);
    report.detail = Some("at /x:1:1\n".repeat(500_000));
    report.stage = Some(Stage::Build);
    for check in &mut report.checks {
        check.detail = vec!["<long line ".repeat(100_000); 3];
        check.detail.extend(vec!["line".to_owned(); 100_000]);
    }
    let reports = [report];
    check_all(&reports);
    for format in Format::value_variants().iter().filter(|format| !matches!(format, Format::Human | Format::Json)) {
        let text = format.render(&reports, TextLayout::PLAIN);
        assert!(text.len() < 1 << 20, "{format:?}: {}", text.len());
    }
}

#[test]
fn evidence_of_any_kind_leaves_the_page_whole() {
    let directory = tempfile::tempdir().unwrap();
    html::tests::evidence(directory.path(), 0);
    let hostile = TEXTS.join("\n").into_bytes();
    for name in [artifact::JOURNAL, artifact::NIX_LOG, artifact::QEMU_LOG] {
        std::fs::write(directory.path().join(name), [&hostile[..], b"\xff\xfe\xc3\x28"].concat()).unwrap();
    }
    std::fs::write(directory.path().join(artifact::GREETER), &hostile).unwrap();
    std::fs::write(directory.path().join(artifact::FILM), [b"GIF89a\"><script>", &hostile[..]].concat()).unwrap();
    let mut report = examples::fail();
    report.artifacts = Some(directory.path().to_owned());
    let reports = [report];
    let page = html::render(&reports);
    html::tests::check(&reports, &page);
    assert!(page.contains("&lt;/script&gt;&lt;script&gt;alert(1)"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_writer_survives_any_text(
        texts in prop::collection::vec(prop_oneof![any::<String>(), "[ -~\n\r\t]{0,60}", "[#\\\\:%`|<>&\"'\n.*\\[\\]()!@-]{0,40}"], 1..4),
        verdict in prop::sample::select(VERDICTS.to_vec()),
    ) {
        check_all(&[report_of(&texts, verdict)]);
        check_all(&[report_of(&texts, verdict), examples::pass()]);
    }
}
