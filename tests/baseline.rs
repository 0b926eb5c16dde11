//! What a change broke, and what was broken before it: real machines, held against those of another commit.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test's helpers are the test")]

mod harness;

use std::fs;
use std::process::ExitCode;
use std::sync::LazyLock;

use harness::repository::Repository;
use harness::{Story, cannot_run};
use serde_json::Value;

const STORIES: &[Story] = &[
    ("what was red before does not fail a change", red_before),
    ("what is new fails, and leads", new_failure),
    ("a clean tree counts all, and says what was so before", clean_tree),
    ("a baseline that does not evaluate is told, and all counts", unusable_baseline),
    ("a change of no consequence is none", no_change),
    ("what is mended is listed", mended),
    ("an agent is not held up by what was red before", agent),
    ("a baseline that is not there is a usage error", wrong_baseline),
    ("current is the revision that the running system names (a fake nixos-version)", current),
];

fn main() -> ExitCode {
    // One machine at a time: what is known is shared by the stories.
    let code = harness::tell(&[(STORIES, cannot_run())], 1);
    drop(fs::remove_dir_all(SHARED.path()));
    code
}

/// The result cache that all stories share, so that each machine boots once.
static SHARED: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::Builder::new().prefix("nb-").tempdir().expect("a temporary directory"));

const UNITS: &str = "services.failed-units";

fn at(guest: &str) -> Repository {
    Repository::with_cache(guest, SHARED.path().join("cache"))
}

fn check<'a>(report: &'a Value, id: &str) -> &'a Value {
    report["checks"].as_array().unwrap().iter().find(|check| check["id"] == id).unwrap_or(&Value::Null)
}

fn red_before() {
    let repository = at("failed-unit");
    repository.choose("failed-unit-as-before");
    let first = repository.report(&[]);
    assert_eq!((&first["verdict"], &first["exit"]), (&"pass".into(), &0.into()), "{first:#}");
    let units = check(&first, UNITS);
    assert_eq!((&units["status"], &units["change"], &units["before"]), (&"fail".into(), &"same".into(), &true.into()));
    assert_eq!(units["findings"][0]["item"], "backup.service");
    assert_eq!((&first["baseline"]["count"], &first["baseline"]["booted"]), (&"new".into(), &true.into()));
    assert!(first["apply"].as_str().is_some_and(|apply| apply.contains("nixos-rebuild")), "{first:#}");
    // The second failure on the same baseline boots one machine, not two.
    let again = repository.report(&["--fresh"]);
    assert_eq!((&again["exit"], &again["baseline"]["booted"]), (&0.into(), &false.into()), "{again:#}");
    // The headline of the pass names it.
    let text = String::from_utf8(repository.run(&[]).stdout).unwrap();
    let head = text.lines().take(2).collect::<Vec<_>>().join(" ");
    assert!(head.starts_with("pass: ") && head.contains("1 failure that HEAD ("), "{text}");
    assert!(head.contains("backup.service"), "{text}");
    // Who asks for all gets all, and who wants no comparison gets none.
    let all = repository.report(&["--count", "all"]);
    assert_eq!((&all["exit"], &check(&all, UNITS)["change"]), (&1.into(), &"same".into()), "{all:#}");
    let alone = repository.report(&["--baseline", "off"]);
    assert_eq!((&alone["exit"], &alone["baseline"]), (&1.into(), &Value::Null), "{alone:#}");
}

fn new_failure() {
    let repository = at("failed-unit");
    repository.choose("failed-unit-and-new");
    let report = repository.report(&[]);
    assert_eq!((&report["verdict"], &report["exit"]), (&"fail".into(), &1.into()), "{report:#}");
    assert!(report["cause"].as_str().unwrap().contains("sync.service failed"), "{report:#}");
    let findings = &check(&report, UNITS)["findings"];
    assert_eq!((&findings[0]["item"], &findings[0]["change"]), (&"sync.service".into(), &"new".into()));
    assert_eq!((&findings[1]["item"], &findings[1]["change"]), (&"backup.service".into(), &"same".into()));
    let text = String::from_utf8(repository.run(&[]).stdout).unwrap();
    assert!(text.contains("new: sync.service; as before: backup.service"), "{text}");
}

fn clean_tree() {
    let repository = at("failed-unit");
    repository.choose("failed-unit-as-before");
    repository.git(&["commit", "--quiet", "--no-verify", "-am", "two"]);
    let clean = repository.report(&[]);
    assert_eq!((&clean["exit"], &clean["baseline"]["count"]), (&1.into(), &"all".into()), "{clean:#}");
    assert_eq!(check(&clean, UNITS)["change"], "same");
    let asked = repository.report(&["--baseline", "HEAD~1"]);
    assert_eq!((&asked["exit"], &asked["baseline"]["count"]), (&0.into(), &"new".into()), "{asked:#}");
    // So it is of many machines: what each is like, or, by the same host of another commit, what the change broke.
    let matrix = |words: &[&str]| {
        let output = repository.nixbox(&[&["matrix", "--quiet", "--format", "json"], words].concat()).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), report["hosts"][0]["report"].clone())
    };
    let (code, report) = matrix(&[]);
    assert_eq!((code, &report["baseline"]), (Some(1), &Value::Null), "{report:#}");
    for words in [&["--baseline", "HEAD~1"][..], &["--count", "new"]] {
        let (code, report) = matrix(words);
        assert_eq!((code, &report["baseline"]["count"]), (Some(0), &"new".into()), "{words:?}: {report:#}");
        assert_eq!(report["baseline"]["booted"], false, "{words:?}: {report:#}");
    }
}

fn unusable_baseline() {
    let repository = at("{");
    repository.choose("failed-unit");
    fs::write(repository.file("flake.nix"), fs::read_to_string(repository.file("flake.nix")).unwrap() + "\n").unwrap();
    repository.git(&["add", "."]);
    fs::write(repository.file("configuration.nix"), "\"failed-unit\" + (\n").unwrap();
    repository.git(&["commit", "--quiet", "--no-verify", "-am", "broken"]);
    repository.choose("failed-unit");
    let report = repository.report(&[]);
    assert_eq!((&report["exit"], &report["baseline"]["count"]), (&1.into(), &"all".into()), "{report:#}");
    let why = report["baseline"]["unusable"].as_str().unwrap();
    assert!(why.starts_with("it does not evaluate: "), "{why}");
    assert!(report["notes"].to_string().contains("nothing to compare with"), "{report:#}");
}

fn no_change() {
    let repository = at("failed-unit");
    fs::write(repository.file("configuration.nix"), "# a comment\n\"failed-unit\"\n").unwrap();
    let report = repository.report(&[]);
    assert_eq!((&report["exit"], &report["baseline"]["count"]), (&1.into(), &"all".into()), "{report:#}");
    assert_eq!(report["baseline"]["booted"], false);
}

fn mended() {
    let repository = at("failed-unit-and-new");
    repository.choose("failed-unit");
    let report = repository.report(&[]);
    assert_eq!(report["exit"], 0, "{report:#}");
    assert_eq!(report["baseline"]["mended"], serde_json::json!(["services.failed-units: sync.service"]));
}

fn agent() {
    let repository = at("failed-unit");
    let hook = || {
        let output = repository.nixbox(&["hook", "generic"]).stdin(std::process::Stdio::null()).output().unwrap();
        let told = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&told).into_owned())
    };
    repository.choose("failed-unit-as-before");
    let (code, told) = hook();
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("1 failure that HEAD (") && told.contains("backup.service"), "{told}");
    repository.choose("failed-unit-and-new");
    let (code, told) = hook();
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("new: sync.service"), "{told}");
}

fn wrong_baseline() {
    let repository = at("minimal");
    let output = repository.run(&["--baseline", "no-such-branch"]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("there is no revision \"no-such-branch\""), "{told}");
}

fn current() {
    let repository = at("failed-unit");
    let head = repository.git(&["rev-parse", "HEAD"]);
    repository.choose("failed-unit-as-before");
    repository.git(&["commit", "--quiet", "--no-verify", "-am", "two"]);
    let bin = tempfile::tempdir().unwrap();
    let path = std::env::join_paths(
        std::iter::once(bin.path().to_owned()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    )
    .unwrap();
    let asked = |version: &str| {
        let fake = bin.path().join("nixos-version");
        fs::write(&fake, format!("#!/bin/sh\necho '{version}'\n")).unwrap();
        fs::set_permissions(&fake, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let words = ["try", ".#laptop", "--quiet", "--baseline", "current", "--format", "json"];
        repository.nixbox(&words).env("PATH", &path).output().unwrap()
    };
    let output = asked(&format!("{{\"configurationRevision\":\"{head}\"}}"));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    assert_eq!((&report["baseline"]["revision"], &report["baseline"]["count"]), (&head.into(), &"new".into()));
    let output = asked("{}");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stdout).contains("names no configurationRevision"));
}
