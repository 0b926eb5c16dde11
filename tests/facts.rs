//! The pure judging over facts of guests: each fixture in `tests/fixtures/facts` says what was expected and observed.
//! `NAME.json.gz` was recorded from the guest of that name (`scripts/test --record [FILTER]` records them again),
//! `handmade-NAME.json` stands for what no guest can show:
//!
//! ```json
//! {
//!   "expectations": {}, "settings": {}, "host": "web",
//!   "observations": { "first": {}, "later": null, "console": [] },
//!   "boot_failure": { "end": "deadline", "console_tail": [], "status": null, "facts": null, "seconds": 60.0, "accelerator": "tcg" },
//!   "context": { "accelerator": "tcg", "network": "off" },
//!   "expect": { "exit": 1, "fails": ["services.failed-units"], "not_tested": ["fwupd"], "says": ["exit code 1"], "warns": [] }
//! }
//! ```
//!
//! `settings` holds what `nixbox.toml` would (a recorded guest's is `tests/guests/nixbox.toml`); `observations` or
//! `boot_failure` is given. `fails` are all ids that fail, in any order; each of `not_tested` is part of an entry
//! (`WHAT: WHY`), and without any, nothing may be excluded; each of `says` is part of a failure's summary or detail;
//! `warns` are ids that at least warn. The whole judgement of each is a snapshot besides, to be read in a diff.

#[path = "harness/recorded.rs"]
mod recorded;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use nixbox::checks::difference::{Results, compare};
use nixbox::checks::verdict;
use nixbox::judging::Judgement;
use nixbox::model::{Change, CheckId, Count, Exit, Status, Verdict, Witness};
use recorded::{Expect, judgement};

/// What is wrong with the judgement, if anything.
fn complaints(expect: &Expect, judgement: &Judgement) -> Vec<String> {
    let mut wrong = Vec::new();
    let fails: Vec<_> = judgement.results.iter().filter(|result| result.is_failure()).collect();
    let ids: BTreeSet<CheckId> = fails.iter().map(|result| result.id).collect();
    let expected: BTreeSet<CheckId> = expect.fails.iter().copied().collect();
    if ids != expected {
        let summaries: Vec<_> = fails.iter().map(|result| format!("{}: {}", result.id, result.summary)).collect();
        wrong.push(format!("fails {ids:?}, expected {expected:?}: {summaries:#?}"));
    }
    let conclusion = verdict(&judgement.results);
    if let Some(exit) = expect.exit
        && exit != conclusion.exit.code()
    {
        wrong.push(format!("exit {}, expected {exit}: {:?}", conclusion.exit.code(), conclusion.cause));
    }
    let excluded: Vec<String> =
        judgement.not_tested.iter().map(|entry| format!("{}: {}", entry.what, entry.why)).collect();
    for words in &expect.not_tested {
        if !excluded.iter().any(|entry| entry.contains(words)) {
            wrong.push(format!("{words:?} is not excluded: {excluded:#?}"));
        }
    }
    if expect.not_tested.is_empty() && !excluded.is_empty() {
        wrong.push(format!("excluded: {excluded:#?}"));
    }
    let said: Vec<&str> = fails
        .iter()
        .flat_map(|result| std::iter::once(result.summary.as_str()).chain(result.detail.iter().map(String::as_str)))
        .collect();
    for words in &expect.says {
        if !said.iter().any(|line| line.contains(words)) {
            wrong.push(format!("{words:?} is not said: {said:#?}"));
        }
    }
    for id in &expect.warns {
        if !judgement.results.iter().any(|result| result.id == *id && result.status == Status::Warn) {
            wrong.push(format!("{id} does not warn"));
        }
    }
    wrong
}

/// The judgement as a text to be read.
fn text(judgement: &Judgement) -> String {
    let conclusion = verdict(&judgement.results);
    let mut text = format!("{:?}, exit {}\n", conclusion.verdict, conclusion.exit.code());
    if let Some(cause) = &conclusion.cause {
        let _infallible = writeln!(text, "cause: {cause}");
    }
    if let Some(hint) = &conclusion.hint {
        let _infallible = writeln!(text, "hint: {hint}");
    }
    for result in &judgement.results {
        let accepted = result.allowed.as_ref().map(|why| format!(" (allowed: {why})")).unwrap_or_default();
        let status = format!("{:?}", result.status).to_lowercase();
        let _infallible = writeln!(text, "{status:8}{}: {}{accepted}", result.id, result.summary);
        if matches!(result.status, Status::Fail | Status::Unknown | Status::Warn) {
            for line in &result.detail {
                let _infallible = writeln!(text, "            {line}");
            }
        }
    }
    for entry in &judgement.not_tested {
        let sent = match &entry.witness {
            Witness::Packet { to } => format!(" (sent to {to})"),
            _ => String::new(),
        };
        let _infallible = writeln!(text, "excluded {}: {}{sent}", entry.what, entry.why);
    }
    for attempt in &judgement.outside {
        let _infallible = writeln!(text, "outside {} by {:?}", attempt.to, attempt.by);
    }
    text
}

#[test]
fn every_fixture_is_judged_as_it_says() {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path("snapshots/facts");
    let mut wrong = Vec::new();
    for (name, fixture) in recorded::all() {
        let fixture = match fixture {
            Ok(fixture) => fixture,
            Err(error) => {
                wrong.push(format!("{name}: no fixture: {error}"));
                continue;
            }
        };
        let judgement = judgement(&fixture);
        wrong.extend(complaints(&fixture.expect, &judgement).into_iter().map(|what| format!("{name}: {what}")));
        let compare = || settings.bind(|| insta::assert_snapshot!(name.as_str(), text(&judgement)));
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(compare));
        if seen.is_err() {
            wrong.push(format!("{name}: the judgement differs from tests/snapshots/facts/{name}.snap, see above"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is red in a guest is new where nothing was red before, and is as before where the same was.
#[test]
fn every_fixture_against_a_baseline() {
    let fixtures: Vec<_> =
        recorded::all().into_iter().filter_map(|(name, fixture)| Some((name, fixture.ok()?))).collect();
    let minimal = fixtures.iter().find(|(name, _)| name == "minimal").map(|(_, fixture)| judgement(fixture)).unwrap();
    for (name, fixture) in &fixtures {
        let alone = judgement(fixture);
        let exit = verdict(&alone.results).exit;
        if exit == Exit::Boot {
            continue;
        }
        let against = |before: &Judgement| {
            let mut now = alone.clone();
            let before = Results { checks: &before.results, not_tested: &before.not_tested };
            let mended = compare(&mut now.results, &mut now.not_tested, before, Count::New);
            (now, mended)
        };
        let (new, _) = against(&minimal);
        assert_eq!(verdict(&new.results).exit, exit, "{name} against minimal");
        let (same, mended) = against(&alone);
        assert_ne!(verdict(&same.results).verdict, Verdict::Fail, "{name} against itself: {:#?}", same.results);
        assert!(mended.is_empty(), "{name}: {mended:?}");
        let changes = same.results.iter().filter_map(|check| check.change);
        assert!(changes.into_iter().all(|change| change == Change::Same), "{name} against itself");
    }
}
