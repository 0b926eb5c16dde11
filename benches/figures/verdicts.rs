//! How often the verdict is wrong, over the recorded facts of all guests, and what a comparison with a baseline costs.

use std::process::Stdio;

use nixbox::checks::difference::{Results, compare};
use nixbox::checks::verdict;
use nixbox::model::{Count, Exit};
use serde_json::Value;

use crate::harness::repository::Repository;

#[path = "../../tests/harness/recorded.rs"]
mod recorded;

/// Wrong verdicts.
#[derive(Default)]
pub(crate) struct Wrong {
    /// Broken guests that pass.
    pub(crate) passes: u32,
    /// Healthy guests that fail.
    pub(crate) alarms: u32,
}

/// Over all recorded guests: each by itself, and each held against a healthy one.
pub(crate) fn wrong() -> [Wrong; 2] {
    let fixtures: Vec<_> =
        recorded::all().into_iter().filter_map(|(name, fixture)| Some((name, fixture.ok()?))).collect();
    let minimal = fixtures.iter().find(|(name, _)| name == "minimal").expect("the facts of minimal");
    let before = recorded::judgement(&minimal.1);
    let mut wrong = [Wrong::default(), Wrong::default()];
    for (_, fixture) in &fixtures {
        let Some(expected) = fixture.expect.exit else { continue };
        let alone = recorded::judgement(fixture);
        let mut compared = alone.clone();
        let results = Results { checks: &before.results, not_tested: &before.not_tested };
        compare(&mut compared.results, &mut compared.not_tested, results, Count::New);
        for (wrong, judgement) in wrong.iter_mut().zip([alone, compared]) {
            let exit = verdict(&judgement.results).exit;
            wrong.passes += u32::from(expected != 0 && exit == Exit::Pass);
            wrong.alarms += u32::from(expected == 0 && !matches!(exit, Exit::Pass | Exit::Unknown));
        }
    }
    wrong
}

/// How many more machines are booted for two failures that are held against the same baseline.
pub(crate) fn extra_boots() -> f64 {
    let cache = tempfile::tempdir().expect("a temporary directory");
    let repository = Repository::with_cache("minimal", cache.path().to_owned());
    repository.choose("failed-unit");
    let booted = |_| {
        let mut command = super::nixbox();
        command.args(["try", ".#laptop", "--impure", "--fresh", "--quiet", "--format", "json"]);
        command.current_dir(repository.path()).stderr(Stdio::null());
        command.env("XDG_STATE_HOME", repository.state.path()).env("XDG_CACHE_HOME", &repository.cache);
        let output = command.output().expect("nixbox starts");
        let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
        assert_eq!(report["exit"], 1, "{report:#}");
        f64::from(u8::from(report["baseline"]["booted"] == true))
    };
    (0..2).map(booted).sum()
}
