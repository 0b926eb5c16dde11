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

#![expect(clippy::unwrap_used, reason = "what cannot be read fails the test")]

#[path = "harness/fixture.rs"]
mod fixture;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use nixbox::checks::{
    BootFailure, Context, Judgement, Observations, Selection, judge, judge_boot_failure, plan, verdict,
};
use nixbox::config::Config;
use nixbox::model::{CheckId, Status, Witness};
use nixbox::nix::expectations::Expectations;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    #[serde(default)]
    expectations: Expectations,
    #[serde(default)]
    settings: Option<serde_json::Value>,
    #[serde(default)]
    host: Option<String>,
    #[serde(default)]
    observations: Option<Observations>,
    #[serde(default)]
    boot_failure: Option<BootFailure>,
    #[serde(default)]
    context: Context,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    #[serde(default)]
    exit: Option<u8>,
    fails: Vec<CheckId>,
    #[serde(default)]
    not_tested: Vec<String>,
    #[serde(default)]
    says: Vec<String>,
    #[serde(default)]
    warns: Vec<CheckId>,
}

fn settings_of_guests() -> serde_json::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/nixbox.toml");
    let config: toml::Value = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    serde_json::to_value(config).unwrap()
}

fn judgement(fixture: &Fixture, recorded: bool) -> Judgement {
    let settings = match &fixture.settings {
        Some(settings) => settings.clone(),
        None if recorded => settings_of_guests(),
        None => serde_json::json!({}),
    };
    let config = Config::from_json(settings).unwrap();
    let host = fixture.host.clone().or(fixture.expectations.host_name.clone()).unwrap_or_default();
    let mut settings = config.settings_for(&host);
    settings.machine.network = Some(fixture.context.network);
    let plan = plan(&fixture.expectations, &settings, &Selection::default());
    match (&fixture.observations, &fixture.boot_failure) {
        (Some(observations), None) => judge(&plan, observations, &fixture.context),
        (None, Some(evidence)) => judge_boot_failure(&plan, evidence),
        _ => panic!("give either observations or boot_failure"),
    }
}

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
    let folder = fixture::folder();
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no fixtures in {}", folder.display());
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path("snapshots/facts");
    let mut wrong = Vec::new();
    for path in paths {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let Some(name) = file.strip_suffix(".json.gz").or(file.strip_suffix(".json")) else { continue };
        let fixture: Fixture = match fixture::read(&path).map(serde_json::from_value) {
            Ok(Ok(fixture)) => fixture,
            Ok(Err(error)) => {
                wrong.push(format!("{name}: no fixture: {error}"));
                continue;
            }
            Err(error) => {
                wrong.push(format!("{name}: no fixture: {error}"));
                continue;
            }
        };
        let judgement = judgement(&fixture, file.ends_with(".gz"));
        wrong.extend(complaints(&fixture.expect, &judgement).into_iter().map(|what| format!("{name}: {what}")));
        let compare = || settings.bind(|| insta::assert_snapshot!(name, text(&judgement)));
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(compare));
        if seen.is_err() {
            wrong.push(format!("{name}: the judgement differs from tests/snapshots/facts/{name}.snap, see above"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
