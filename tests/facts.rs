//! The pure judging over facts of guests: each `tests/fixtures/facts/NAME.json` says what was expected and seen, and
//! what must be said of it.
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
//! `settings` holds what `nixbox.toml` would; `observations` or `boot_failure` is given. `fails` are all ids that fail, in any
//! order; each of `not_tested` is part of an entry (`WHAT: WHY`), and without any, nothing may be set aside; each of
//! `says` is part of a failure's summary or detail; `warns` are ids that at least warn.

#![expect(clippy::unwrap_used, reason = "what cannot be read fails the test")]

use std::collections::BTreeSet;
use std::path::Path;

use nixbox::checks::{
    BootFailure, Context, Observations, Selection, counts_as_failure, judge, judge_boot_failure, plan, verdict,
};
use nixbox::config::Config;
use nixbox::model::{CheckId, Status};
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

/// What is wrong with what is said of this fixture, if anything.
fn complaints(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let fixture: Fixture = match serde_json::from_str(&text) {
        Ok(fixture) => fixture,
        Err(error) => return vec![format!("no fixture: {error}")],
    };
    let config = Config::from_json(fixture.settings.unwrap_or_else(|| serde_json::json!({}))).unwrap();
    let host = fixture.host.or(fixture.expectations.host_name.clone()).unwrap_or_default();
    let mut settings = config.settings_for(&host);
    settings.machine.network = Some(fixture.context.network);
    let plan = plan(&fixture.expectations, &settings, &Selection::default());
    let judgement = match (&fixture.observations, &fixture.boot_failure) {
        (Some(observations), None) => judge(&plan, observations, &fixture.context),
        (None, Some(evidence)) => judge_boot_failure(&plan, evidence),
        _ => return vec!["give either observations or boot_failure".to_owned()],
    };

    let mut wrong = Vec::new();
    let expect = fixture.expect;
    let fails: Vec<_> = judgement.results.iter().filter(|result| counts_as_failure(result)).collect();
    let ids: BTreeSet<CheckId> = fails.iter().map(|result| result.id).collect();
    let expected: BTreeSet<CheckId> = expect.fails.into_iter().collect();
    if ids != expected {
        let told: Vec<_> = fails.iter().map(|result| format!("{}: {}", result.id, result.summary)).collect();
        wrong.push(format!("fails {ids:?}, expected {expected:?}: {told:#?}"));
    }
    let outcome = verdict(&judgement.results);
    if let Some(exit) = expect.exit
        && exit != outcome.exit.code()
    {
        wrong.push(format!("exit {}, expected {exit}: {:?}", outcome.exit.code(), outcome.cause));
    }
    let aside: Vec<String> =
        judgement.not_tested.iter().map(|entry| format!("{}: {}", entry.what, entry.why)).collect();
    for words in &expect.not_tested {
        if !aside.iter().any(|entry| entry.contains(words)) {
            wrong.push(format!("{words:?} is not set aside: {aside:#?}"));
        }
    }
    if expect.not_tested.is_empty() && !aside.is_empty() {
        wrong.push(format!("set aside: {aside:#?}"));
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

#[test]
fn every_fixture_is_judged_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/facts");
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no fixtures in {}", folder.display());
    let wrong: Vec<String> = paths
        .iter()
        .flat_map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            complaints(path).into_iter().map(move |complaint| format!("{name}: {complaint}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
