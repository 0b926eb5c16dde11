//! What many machines at once cost, and one in nix's build sandbox.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::{harness, peak_of, try_};

/// Healthy and broken ones, each of which is told within seconds.
const GUESTS: [&str; 12] = [
    "minimal",
    "server",
    "failed-unit",
    "dies-later",
    "restart-loop",
    "port-silent",
    "http-wrong",
    "kernel-panic",
    "powers-off",
    "nobody-can-log-in",
    "trap-condition",
    "timer-breaks",
];

/// What a matrix took.
pub(crate) struct Matrix {
    /// By what it has to take: the longest of them, or all by themselves shared among as many as run at once.
    pub(crate) over_bound: f64,
    /// nixbox's own peak resident memory, in MiB.
    pub(crate) rss_mib: f64,
    /// The page of all of them, in MiB.
    pub(crate) html_mib: f64,
}

/// Twelve guests, each by itself and all in one matrix.
pub(crate) fn matrix() -> Matrix {
    let single: Vec<f64> = GUESTS.iter().map(|name| try_(&harness::guest(name), &[]).wall).collect();
    let home = tempfile::Builder::new().prefix("nb-").tempdir().expect("a temporary directory");
    let page = home.path().join("page.html");
    let mut command = Command::new(env!("CARGO_BIN_EXE_nixbox"));
    command.arg("matrix").arg(harness::guests());
    command.args(["--impure", "--fresh", "--quiet", "--format", "json", "--artifacts"]).arg(home.path().join("runs"));
    command.arg("--report").arg(format!("html={}", page.display()));
    for name in GUESTS {
        command.args(["--filter", name]);
    }
    command.env("XDG_STATE_HOME", home.path().join("state")).env("XDG_CACHE_HOME", home.path().join("cache"));
    let clock = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("nixbox");
    let peak = peak_of(child.id());
    let output = child.wait_with_output().expect("its end");
    let wall = clock.elapsed().as_secs_f64();
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(report["hosts"].as_array().map(Vec::len), Some(GUESTS.len()), "{report:#}");
    let at_once = report["at_once"].as_f64().expect("how many at once").max(1.0);
    let longest = single.iter().copied().fold(0.0, f64::max);
    let bound = longest.max(single.iter().sum::<f64>() / at_once);
    eprintln!("matrix: {wall:.1} s, {at_once} at once; by themselves {:.1} s", single.iter().sum::<f64>());
    Matrix {
        over_bound: wall / bound,
        rss_mib: peak.join().unwrap_or_default(),
        html_mib: fs::metadata(&page).expect("the page").len() as f64 / f64::from(1 << 20),
    }
}

/// The guest `minimal` in nix's build sandbox, by a run outside of it.
pub(crate) fn sandbox() -> f64 {
    let programs = tempfile::tempdir().expect("a temporary directory");
    let daemon = nixbox::machine::find_program("vhost-device-vsock").expect("vhost-device-vsock");
    for (name, program) in [("nixbox", PathBuf::from(env!("CARGO_BIN_EXE_nixbox"))), ("vhost-device-vsock", daemon)] {
        fs::copy(program, programs.path().join(name)).expect("a copy");
    }
    let build = |more: &[&str]| {
        let clock = Instant::now();
        let output = Command::new("nix")
            .args(["--extra-experimental-features", "nix-command", "build", "--no-link", "--impure"])
            .args(["--option", "system-features", "nixos-test"])
            .args(more)
            .arg("--file")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sandbox"))
            .arg("works.report")
            .env("NIXBOX_TEST_BINARIES", programs.path())
            .stdin(Stdio::null())
            .output()
            .expect("nix");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // A verdict has times in it, so that no two are the same: nix says so when it builds one again.
        assert!(output.status.success() || said.contains("may not be deterministic"), "{said}");
        clock.elapsed().as_secs_f64()
    };
    build(&[]);
    let within = build(&["--rebuild"]);
    within / try_(&harness::guest("minimal"), &[]).wall
}
