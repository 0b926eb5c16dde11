//! The facts of guests that lie in `tests/fixtures/facts`, and how they are judged.

#![allow(dead_code, clippy::unwrap_used, reason = "each binary uses its own part; what cannot be read fails the test")]

#[path = "fixture.rs"]
mod fixture;

use std::path::Path;

use nixbox::checks::{BootFailure, Observations, judge, judge_boot_failure};
use nixbox::config::Config;
use nixbox::judging::{Context, Judgement, Selection, plan};
use nixbox::model::CheckId;
use nixbox::nix::expectations::Expectations;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fixture {
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
    pub(crate) context: Context,
    pub(crate) expect: Expect,
    /// Not handmade.
    #[serde(skip)]
    is_recorded: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expect {
    #[serde(default)]
    pub(crate) exit: Option<u8>,
    pub(crate) fails: Vec<CheckId>,
    #[serde(default)]
    pub(crate) not_tested: Vec<String>,
    #[serde(default)]
    pub(crate) says: Vec<String>,
    #[serde(default)]
    pub(crate) warns: Vec<CheckId>,
}

fn settings_of_guests() -> serde_json::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/nixbox.toml");
    let config: toml::Value = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    serde_json::to_value(config).unwrap()
}

/// How it is judged.
pub(crate) fn judgement(fixture: &Fixture) -> Judgement {
    let settings = match &fixture.settings {
        Some(settings) => settings.clone(),
        None if fixture.is_recorded => settings_of_guests(),
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

/// All of them by name, in order; or why one cannot be read.
pub(crate) fn all() -> Vec<(String, Result<Fixture, String>)> {
    let folder = fixture::folder();
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no fixtures in {}", folder.display());
    let named = paths.into_iter().filter_map(|path| {
        let file = path.file_name()?.to_string_lossy().into_owned();
        let name = file.strip_suffix(".json.gz").or(file.strip_suffix(".json"))?.to_owned();
        let value = fixture::read(&path).map_err(|error| error.to_string());
        let fixture =
            value.and_then(|value| serde_json::from_value::<Fixture>(value).map_err(|error| error.to_string()));
        Some((name, fixture.map(|fixture| Fixture { is_recorded: file.ends_with(".gz"), ..fixture })))
    });
    named.collect()
}
