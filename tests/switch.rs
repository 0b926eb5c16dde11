//! A switch that is rehearsed, where that is more than a pair of guests: from the last commit of a real repository, to what
//! is the same, to what cannot be, and killed on its way.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test's helpers are the test")]

mod harness;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ExitCode, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use harness::repository::Repository;
use harness::{Story, cannot_run, processes_under};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const STORIES: &[Story] = &[
    ("it is switched from the last commit, and the verdict is known the next time", last_commit),
    ("where nothing differs, nothing is booted", the_same),
    ("what cannot be is a usage error", usage),
    ("killed on its way, nothing is left", killed),
    ("QEMU ends while the switched machine is checked: what the switch said is kept", without_qemu),
];

fn main() -> ExitCode {
    let code = harness::tell(&[(STORIES, cannot_run())], 1);
    drop(fs::remove_dir_all(SHARED.path()));
    code
}

/// The cache that all stories share.
static SHARED: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::Builder::new().prefix("nb-").tempdir().expect("a temporary directory"));

fn at(guest: &str) -> Repository {
    Repository::with_cache(guest, SHARED.path().join("cache"))
}

/// The result of a check in a phase.
fn check<'a>(report: &'a Value, id: &str, phase: &str) -> &'a Value {
    let mut checks = report["checks"].as_array().unwrap().iter();
    checks.find(|check| check["id"] == id && check["phase"] == phase).unwrap_or(&Value::Null)
}

fn last_commit() {
    let repository = at("switch-base");
    repository.choose("switch-restart-fails");
    let first = repository.report(&["--switch", "--no-reboot"]);
    assert_eq!((&first["verdict"], &first["exit"]), (&"fail".into(), &1.into()), "{first:#}");
    assert!(first["switch"]["from"].as_str().is_some_and(|from| from.starts_with("HEAD (")), "{:#}", first["switch"]);
    assert!(first["cause"].as_str().is_some_and(|cause| cause.contains("/etc/app.key")), "{}", first["cause"]);
    let outcome = check(&first, "switch.outcome", "switched");
    assert_eq!((&outcome["status"], &outcome["evidence"]["exit"]), (&"fail".into(), &4.into()), "{outcome:#}");
    assert_eq!(check(&first, "switch.way-back", "back")["status"], "pass");
    assert_eq!(check(&first, "services.failed-units", "fresh")["status"], "pass");
    assert!(check(&first, "boot.target", "rebooted").is_null(), "--no-reboot");
    // The tree is as it was, and its commit too.
    assert_eq!(repository.git(&["status", "--porcelain"]), "M configuration.nix");
    let again = repository.report(&["--switch", "--no-reboot"]);
    assert!(!again["cached"].is_null() && again["exit"] == 1, "{again:#}");
    assert_eq!(check(&again, "switch.outcome", "switched")["summary"], outcome["summary"]);
    // A boot alone is another question, whose answer is not known.
    let shallow = repository.report(&["--baseline", "off"]);
    assert!(shallow["cached"].is_null() && shallow["switch"].is_null(), "{shallow:#}");
}

fn the_same() {
    let repository = at("switch-base");
    let report = repository.report(&["--switch"]);
    assert_eq!((&report["verdict"], &report["exit"]), (&"pass".into(), &0.into()), "{report:#}");
    assert_eq!(report["switch"]["identical"], true);
    let phases = report["phases"].as_array().unwrap().iter().filter(|phase| phase["phase"] == "boot").count();
    assert_eq!(phases, 0, "{report:#}");
    let text = String::from_utf8(repository.run(&["--switch"]).stdout).unwrap();
    assert!(text.contains("nothing differs"), "{text}");
}

fn usage() {
    let repository = at("switch-base");
    for words in [
        &["--switch=no-such-branch"][..],
        &["--switch", "--baseline", "HEAD"],
        &["--no-reboot"],
        &["--switch", "--keep"],
        &["--switch", "--boots", "2"],
        &["--switch=current"],
    ] {
        let output = repository.run(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Begins a rehearsal, and comes back when the program begins each of these phases, one after the other. The rest of its
/// progress is to be read by the caller.
fn until(repository: &Repository, phases: &[&str]) -> (Child, impl Iterator<Item = String>) {
    repository.choose("switch-clean");
    let mut child = repository
        .nixbox(&["try", ".#laptop", "--switch", "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut lines = lines.filter(|line| line.starts_with("nixbox: "));
    for phase in phases {
        let seen = lines.find(|line| line.contains(&format!("{phase} …")));
        assert!(seen.is_some(), "it ended before {phase}");
    }
    (child, lines)
}

fn without_qemu() {
    let repository = at("switch-base");
    let (child, lines) = until(&repository, &["switch", "check"]);
    let machines = processes_under(repository.state.path());
    let qemu = machines.iter().find(|process| process.contains("qemu-system")).expect("a machine that runs");
    let pid = qemu.split(':').next().and_then(|pid| pid.parse().ok()).expect("its number");
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let progress: Vec<String> = lines.collect();
    let output = child.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["verdict"]), (Some(5), &"unknown".into()), "{report:#}\n{progress:#?}");
    let unseen = check(&report, "boot.target", "switched");
    assert_eq!(unseen["status"], "unknown", "{report:#}");
    assert_eq!(report["switch"]["runs"].as_array().map(Vec::len), Some(1), "{report:#}");
    assert_eq!(check(&report, "services.failed-units", "fresh")["status"], "pass", "{report:#}");
    assert!(processes_under(repository.state.path()).is_empty());
}

fn killed() {
    let repository = at("switch-base");
    let (mut child, _) = until(&repository, &["switch"]);
    child.kill().unwrap();
    child.wait().unwrap();
    let patience = Instant::now() + Duration::from_secs(10);
    while !processes_under(repository.state.path()).is_empty() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(50));
    }
    let left = processes_under(repository.state.path());
    assert!(left.is_empty(), "processes survived: {left:?}");
}
