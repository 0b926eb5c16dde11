//! `lib.check`: the verdicts of real machines, found inside of nix's build sandbox by real builds.

#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's runner says why it skips, and its helpers are the test"
)]

mod harness;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::Instant;

use harness::{Story, cannot_run, expected};
use nixbox::nix::Store;
use serde_json::Value;

const STORIES: &[Story] = &[
    ("a machine that works passes in nix's sandbox", works),
    ("one that is broken has a report, and a check that fails with the cause", broken),
    ("what cannot be told is no report", cannot_tell),
    ("a builder without the feature does not try", no_builder),
];

fn main() -> std::process::ExitCode {
    let cannot = cannot_run().or_else(|| {
        let missing = find("vhost-device-vsock").is_none();
        missing.then(|| "vhost-device-vsock is not on PATH: run them through scripts/env".to_owned())
    });
    harness::tell(&[(STORIES, cannot)], 2)
}

/// A program on `PATH`.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}

/// The programs that come into the sandbox, by their names in one directory.
static BINARIES: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let nixbox = PathBuf::from(env!("CARGO_BIN_EXE_nixbox"));
    for (name, program) in [("nixbox", nixbox), ("vhost-device-vsock", find("vhost-device-vsock").unwrap())] {
        let to = directory.path().join(name);
        fs::copy(&program, &to).unwrap();
        // Each build of nixbox is another one in the store: without what only a debugger reads it is a tenth as large.
        drop(Command::new("strip").arg(&to).status());
    }
    directory
});

/// How a build ended.
struct Built {
    /// Its output, where there is one, by its place in the file system.
    out: Option<PathBuf>,
    /// What nix and the builders said.
    log: String,
}

impl Built {
    fn file(&self, name: &str) -> String {
        let out = self.out.as_ref().unwrap_or_else(|| panic!("no output: {}", self.log));
        fs::read_to_string(out.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn report(&self) -> Value {
        serde_json::from_str(&self.file("report.json")).expect("report.json is JSON")
    }
}

/// `nix COMMAND` on an attribute of tests/sandbox.
fn nix(command: &[&str], attribute: &str) -> Output {
    Command::new("nix")
        .args(["--extra-experimental-features", "nix-command"])
        .args(command)
        .args(["--impure", "--file"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sandbox"))
        .arg(attribute)
        .env("NIXBOX_TEST_BINARIES", BINARIES.path())
        .stdin(Stdio::null())
        .output()
        .expect("nix runs")
}

/// Builds an attribute, as a builder that has what it needs.
fn build(attribute: &str) -> Built {
    build_with("nixos-test", attribute)
}

/// Builds an attribute, as a builder with these features.
fn build_with(features: &str, attribute: &str) -> Built {
    let started = Instant::now();
    let features = ["--option", "system-features", features];
    let command = [&["build", "--no-link", "--print-out-paths", "--print-build-logs"][..], &features].concat();
    let output = nix(&command, attribute);
    eprintln!("    {attribute}: {:.1} s", started.elapsed().as_secs_f64());
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let out = output.status.success().then(|| {
        let out = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        let remote = std::env::var("NIX_REMOTE").ok().filter(|url| !url.is_empty());
        Store::holding(&out, remote.as_deref(), None).physical(&out)
    });
    Built { out, log }
}

/// The status of a check in a report.
fn status(report: &Value, id: &str) -> Option<String> {
    let check = report["checks"].as_array()?.iter().find(|check| check["id"] == id)?;
    check["status"].as_str().map(str::to_owned)
}

fn works() {
    let report = build("works.report");
    let told = report.report();
    assert_eq!((&told["verdict"], &told["exit"]), (&"pass".into(), &0.into()), "{told:#}");
    assert_eq!(told["target"]["name"], "minimal");
    assert_eq!(report.file("exit-code"), "0\n");
    assert!(report.file("report.txt").starts_with("pass: minimal works"), "{}", report.file("report.txt"));
    assert!(report.file("artifacts/latest/console.log").contains("Stage 2"));
    assert!(told["artifacts"].as_str().is_some_and(|path| path.starts_with("/nix/store/")), "{told:#}");
    // What the configuration expects is known, and nixbox.toml with the machine's name.
    assert_eq!(status(&told, "services.promised").as_deref(), Some("pass"), "{told:#}");
    assert_eq!(status(&told, "script.called").as_deref(), Some("pass"), "{told:#}");
    assert!(!told["notes"].to_string().contains("garbage"), "{told:#}");

    let check = build("works.check");
    assert!(check.out.is_some(), "{}", check.log);
    // Also of one that was built before.
    let log = String::from_utf8_lossy(&nix(&["log"], "works.check").stdout).into_owned();
    assert!(log.contains("pass: minimal works"), "{log}");
}

fn broken() {
    let wanted = &expected().unwrap()["failed-unit"];
    let cause = wanted["cause"].as_str().expect("one cause");
    let report = build("broken.report");
    let told = report.report();
    assert_eq!((&told["verdict"], &told["exit"]), (&"fail".into(), &wanted["exit"]), "{told:#}");
    assert_eq!(report.file("exit-code"), "1\n");
    // What Hydra shows as a failure.
    assert_eq!(report.file("nix-support/failed"), "1\n");
    assert!(report.file("report.txt").starts_with("fail: "), "{}", report.file("report.txt"));

    let check = build("broken.check");
    assert!(check.out.is_none(), "it succeeds");
    for words in ["fail: ", cause, "services.failed-units"] {
        assert!(check.log.contains(words), "{words:?} is not in {}", check.log);
    }
}

fn cannot_tell() {
    let report = build("cannot-tell.report");
    assert!(report.out.is_none(), "it succeeds");
    for words in ["could not tell: --accel kvm does not work", "/artifacts/", "no verdict (exit code 5)"] {
        assert!(report.log.contains(words), "{words:?} is not in {}", report.log);
    }
    let check = build("cannot-tell.check");
    assert!(check.out.is_none(), "it succeeds");
}

fn no_builder() {
    // One that no store ever has.
    let report = build_with("", "cannot-tell.report");
    assert!(report.out.is_none(), "it succeeds");
    if report.log.contains("you are not a trusted user") {
        eprintln!("skipped: this nix's daemon lets nobody but trusted users say what it has");
        return;
    }
    assert!(report.log.contains("{nixos-test}") && !report.log.contains("no verdict"), "{}", report.log);
}
