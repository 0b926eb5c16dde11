//! `nixbox diff`, whole: two machines, built by nix and compared. Nothing boots.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test's helpers are the test")]

mod harness;

use std::path::Path;
use std::process::{Command, ExitCode, Output};

use harness::repository::Repository;
use harness::{Story, cannot_run, guest, guests, nix};
use serde_json::Value;

const STORIES: &[Story] = &[
    ("what is changed since HEAD, in all formats", since_head),
    ("two toplevels, and what a switch does", toplevels),
    ("a specialisation is compared as it is in its host", specialisation),
    ("a revision before the last", older),
    ("what is not there is a usage error, what does not evaluate a build failure", wrong),
];

fn main() -> ExitCode {
    harness::tell(&[(STORIES, cannot_run())], 1)
}

fn run_in(directory: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nixbox"));
    command.args(["diff", "--impure", "--quiet"]).args(words).current_dir(directory);
    command.output().expect("nixbox starts")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The comparison, whose exit code is the process's.
fn compared(directory: &Path, words: &[&str]) -> Value {
    let output = run_in(directory, &[words, &["--format", "json"]].concat());
    let value: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(value["exit"].as_i64(), output.status.code().map(i64::from));
    value
}

/// Its changes of a grade, `sign subject`.
fn changes(comparison: &Value, grade: &str) -> Vec<String> {
    let all = comparison["changes"].as_array().unwrap().iter().filter(|change| change["grade"] == grade);
    all.map(|change| format!("{} {}", change["kind"].as_str().unwrap(), change["subject"].as_str().unwrap())).collect()
}

fn repository(name: &str) -> Repository {
    Repository::with_cache(name, std::env::temp_dir())
}

const SECURITY: [&str; 8] = [
    "added 8080/tcp",
    "changed user alice",
    "added /etc/sudoers",
    "added backup.service",
    "changed web.service",
    "changed net.ipv4.ip_forward",
    "changed /etc/tmpfiles.d/00-nixos.conf",
    "added nosmt",
];

fn since_head() {
    let repository = repository("reviewed");
    let here = repository.path();
    let same = run_in(here, &[".#laptop"]);
    assert!(same.status.success() && text(&same).contains("nothing differs"), "{}", text(&same));
    assert!(text(&same).contains("nixbox diff HEAD~1"), "says what else to name: {}", text(&same));
    repository.choose("reviewed-changed");
    let comparison = compared(here, &[".#laptop"]);
    assert!(comparison["from"]["named"].as_str().unwrap().starts_with("HEAD ("), "{comparison:#}");
    assert_eq!(changes(&comparison, "security"), SECURITY);
    assert_eq!(changes(&comparison, "boot"), Vec::<String>::new());
    let units = &comparison["switch"]["units"];
    let list =
        |name: &str| units[name].as_array().unwrap().iter().map(|unit| unit.as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(list("stop"), ["firewall.service", "metrics.service", "systemd-sysctl.service", "web.service"]);
    assert_eq!(list("start"), ["firewall.service", "systemd-sysctl.service", "web.service"]);
    assert_eq!(list("started_by_targets"), ["backup.timer"]);
    assert_eq!(comparison["switch"]["command"], "switch");
    assert!(comparison["apply"].as_str().unwrap().starts_with("nixos-rebuild switch --flake"), "{comparison:#}");
    assert!(comparison["to"]["closure_bytes"].as_u64().unwrap() > 1 << 20);
    let human = text(&run_in(here, &[".#laptop"]));
    assert!(human.lines().count() <= 45, "fits a screen: {human}");
    assert!(human.contains("NoNewPrivileges: true → not set") && human.contains("NOPASSWD"), "{human}");
    let full = text(&run_in(here, &[".#laptop", "--full"]));
    assert!(full.contains("+d /var/lib/backup 0777 root root -"), "{full}");
    let markdown = text(&run_in(here, &[".#laptop", "--format", "markdown"]));
    assert!(markdown.starts_with("### `HEAD (") && markdown.contains("```diff"), "{markdown}");
    for (grade, code) in [("security", 1), ("info", 1)] {
        let output = run_in(here, &[".#laptop", "--fail-on", grade]);
        assert_eq!(output.status.code(), Some(code), "{grade}");
        assert_eq!(text(&output), human, "the same is said");
    }
}

fn toplevel(name: &str) -> String {
    let of = format!("{}#nixosConfigurations.{name}.config.system.build.toplevel", guests().display());
    nix(&["build", "--impure", "--no-link", "--print-out-paths", &of])
}

fn toplevels() {
    let (from, to) = (toplevel("reviewed"), toplevel("reviewed-changed"));
    let here = Path::new("/");
    let comparison = compared(here, &[&from, &to]);
    assert_eq!(changes(&comparison, "security"), SECURITY);
    assert_eq!((&comparison["from"]["toplevel"], &comparison["apply"]), (&from.as_str().into(), &Value::Null));
    // Back again, what was opened is closed.
    let back = compared(here, &[&to, &from]);
    assert_eq!(
        changes(&back, "security"),
        ["removed /etc/sudoers", "added metrics.service", "changed net.ipv4.ip_forward", "removed nosmt"]
    );
    assert!(changes(&back, "service").contains(&"removed 8080/tcp".to_owned()), "{back:#}");
    assert_eq!(compared(here, &[&from, &from])["same"], true);
    assert_eq!(run_in(here, &[&from, &from, "--fail-on", "info"]).status.code(), Some(0));
}

fn specialisation() {
    let comparison = compared(&guests(), &[&guest("specialised"), &guest("specialised@web")]);
    let units = &comparison["switch"]["units"];
    assert!(units["stop"].as_array().unwrap().contains(&"plain.service".into()), "{comparison:#}");
    let repository = repository("specialised");
    assert_eq!(compared(repository.path(), &[".#laptop@web"])["same"], true, "found in a commit, too");
}

fn older() {
    let repository = repository("reviewed");
    repository.choose("reviewed-changed");
    repository.git(&["commit", "--quiet", "--no-verify", "-am", "two"]);
    for words in [&["HEAD~1", ".#laptop"][..], &["HEAD~1"], &["HEAD~1", "HEAD"]] {
        let comparison = compared(repository.path(), words);
        assert_eq!(changes(&comparison, "security"), SECURITY, "{words:?}");
        assert!(comparison["from"]["named"].as_str().unwrap().starts_with("HEAD~1 ("), "{comparison:#}");
    }
}

fn wrong() {
    let repository = repository("reviewed");
    let here = repository.path();
    for (words, code, said) in [
        (&["no-such-revision", ".#laptop"][..], 2, "no-such-revision"),
        (&["4242", ".#laptop"], 2, "system-4242-link"),
        (&["HEAD", ".#desktop"], 3, "desktop"),
        (&["./nowhere", ".#laptop"], 2, "nowhere"),
    ] {
        let output = run_in(here, words);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {error}");
        assert!(error.contains(said) && output.stdout.is_empty(), "{words:?}: {error}");
    }
    let broken = run_in(&guests(), &["./#reviewed", "./#broken-eval"]);
    assert_eq!(broken.status.code(), Some(3), "{}", String::from_utf8_lossy(&broken.stderr));
    let schema = Command::new(env!("CARGO_BIN_EXE_nixbox")).args(["schema", "diff"]).output().unwrap();
    let schema: Value = serde_json::from_slice(&schema.stdout).unwrap();
    assert!(schema["properties"]["changes"].is_object(), "{schema:#}");
}
