//! The domain's own words for end-to-end tests: `Nixbox::try_(guest("failed-unit")).run()`, and proof that nothing is left.
//!
//! These tests run the real binary, real nix, real QEMU and real guests. Without the guests' packages (see
//! `scripts/env`) they are skipped, and say so.

#![allow(
    dead_code,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "each test binary uses its own part of the harness, and says what it waits for"
)]

pub(crate) mod repository;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

/// The environment variable by which `scripts/env` tells where the guests' packages lie.
const PACKAGES: &str = "NIXBOX_TEST_PACKAGES";

/// Why end-to-end tests cannot run here, if they cannot.
pub(crate) fn cannot_run() -> Option<String> {
    if std::env::var_os(PACKAGES).is_none() {
        return Some(format!("{PACKAGES} is not set: run them through scripts/test, or scripts/env cargo test"));
    }
    None
}

/// A story's name and what happens in it.
pub(crate) type Story = (&'static str, fn());

/// Tells stories as tests, so many at once unless the command line says otherwise; answers with the process's exit code.
/// Each group is told, or skipped for a reason that is said.
pub(crate) fn tell(groups: &[(&[Story], Option<String>)], at_once: usize) -> ExitCode {
    let mut arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for (stories, skipped) in groups {
        for &(name, story) in *stories {
            if let Some(reason) = skipped.as_ref().filter(|_| !arguments.list) {
                eprintln!("skipped: {name}: {reason}");
            }
            let told = move || {
                std::panic::catch_unwind(story).map_err(|panic| {
                    let text = panic.downcast_ref::<String>().cloned();
                    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
                    Failed::from(text.unwrap_or_else(|| "panicked".to_owned()))
                })
            };
            trials.push(Trial::test(name, told).with_ignored_flag(skipped.is_some()));
        }
    }
    arguments.test_threads.get_or_insert(at_once);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The guests' flake.
pub(crate) fn guests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests")
}

/// The installable of a guest.
pub(crate) fn guest(name: &str) -> String {
    format!("{}#{name}", guests().display())
}

/// Runs `nix WORDS` and answers with what it says.
pub(crate) fn nix(words: &[&str]) -> String {
    let output = Command::new("nix")
        .args(["--extra-experimental-features", "nix-command flakes"])
        .args(words)
        .stdin(Stdio::null())
        .output()
        .expect("nix starts");
    assert!(output.status.success(), "nix {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Has nix build what `nixbox try` builds of a guest, and answers with its runner's path.
pub(crate) fn build(name: &str) -> String {
    let of = |part: &str| format!("{}#nixosConfigurations.{name}.config.system.build.{part}", guests().display());
    nix(&["build", "--impure", "--no-link", &of("toplevel")]);
    nix(&["build", "--impure", "--no-link", "--print-out-paths", &of("vm")])
}

/// Writes a flake that needs no `--impure` into a directory: its package `vm` is a wrapper of a guest's runner, built by
/// a program in the flake itself. `more` is put into the wrapper: an expression that is a string.
pub(crate) fn pure_flake(directory: &Path, name: &str, more: &str) {
    let runner = build(name);
    busybox_into(directory);
    let flake = format!(
        r##"{{
  outputs = {{ self }}: {{
    packages.x86_64-linux.vm = derivation {{
      name = "wrapped-vm";
      system = "x86_64-linux";
      builder = "${{./bin}}/busybox";
      more = {more};
      args = [ "sh" "-ec" ''
        b=${{./bin}}/busybox
        $b mkdir -p $out/bin
        echo '#!/bin/sh' > $out/bin/run-wrapped-vm
        echo "# $more" >> $out/bin/run-wrapped-vm
        echo 'exec {runner}/bin/run-{name}-vm "$@"' >> $out/bin/run-wrapped-vm
        $b chmod 755 $out/bin/run-wrapped-vm
        exit 0
      '' ];
    }};
  }};
}}
"##
    );
    fs::write(directory.join("flake.nix"), flake).expect("a file");
}

/// Puts `bin/busybox` into a flake's directory, to build with.
pub(crate) fn busybox_into(directory: &Path) {
    let packages = std::env::var(PACKAGES).expect("scripts/env");
    let packages: Value = serde_json::from_str(&fs::read_to_string(packages).unwrap()).unwrap();
    let busybox = Path::new(packages["tools"].as_str().expect("the tools")).join("busybox");
    // By its own name, since it does what its name says.
    fs::create_dir(directory.join("bin")).expect("a directory");
    fs::copy(store_file(&busybox), directory.join("bin/busybox")).expect("busybox");
}

/// Where a file of the store is, which may be a store in somebody's home.
fn store_file(path: &Path) -> PathBuf {
    let root =
        std::env::var("NIX_REMOTE").ok().and_then(|url| url.split_once("root=").map(|(_, root)| root.to_owned()));
    match root {
        Some(root) if !path.exists() => Path::new(&root).join(path.strip_prefix("/").expect("an absolute path")),
        _ => path.to_owned(),
    }
}

/// What `tests/guests#expected` says of all guests.
pub(crate) fn expected() -> Result<serde_json::Map<String, Value>, String> {
    let output = Command::new("nix")
        .args(["--extra-experimental-features", "nix-command flakes", "eval", "--json", "--impure"])
        .arg(format!("{}#expected", guests().display()))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run nix: {error}"))?;
    if !output.status.success() {
        return Err(format!("tests/guests#expected: {}", String::from_utf8_lossy(&output.stderr)));
    }
    match serde_json::from_slice(&output.stdout) {
        Ok(Value::Object(map)) => Ok(map),
        other => Err(format!("tests/guests#expected is no attribute set: {other:?}")),
    }
}

/// Whether a run could not tell because this host had too much else to do: no answer, to be asked for again.
pub(crate) fn was_kept_waiting(outcome: &Outcome) -> bool {
    let cause = outcome.report()["cause"].as_str().unwrap_or_default().to_owned();
    outcome.code() == 5 && cause.contains("host overloaded")
}

/// What is wrong with what was said of a guest, by its entry in [`expected`].
pub(crate) fn complaints(wanted: &Value, outcome: &Outcome) -> Vec<String> {
    complaints_of(wanted, outcome.code().into(), &outcome.report())
}

/// The same of a report, and the exit code that it came with.
pub(crate) fn complaints_of(wanted: &Value, exit: i64, report: &Value) -> Vec<String> {
    let ids = |name: &str| -> BTreeSet<String> {
        wanted[name].as_array().into_iter().flatten().filter_map(|id| id.as_str().map(str::to_owned)).collect()
    };
    let fails = ids("fails");
    let mut wrong = Vec::new();
    if Some(exit) != wanted["exit"].as_i64() {
        wrong.push(format!("exit {exit} instead of {}, cause {}", wanted["exit"], report["cause"]));
    }
    // What was so before the switch is not what fails.
    let mut counted = report.clone();
    if let Some(checks) = counted["checks"].as_array_mut() {
        checks.retain(|check| check["before"] != true);
    }
    let failed = with_status(&counted, "fail");
    if failed != fails {
        wrong.push(format!("failed checks {failed:?} instead of {fails:?}"));
    }
    let warned = with_status(report, "warn");
    if !ids("warns").is_subset(&warned) {
        wrong.push(format!("warnings {warned:?} instead of {:?}", ids("warns")));
    }
    for cause in one_or_several(&wanted["cause"]) {
        let told = format!("{} {}", report["cause"], report["detail"]);
        let told_by_checks = report["checks"].to_string();
        if !told.contains(cause) && !told_by_checks.contains(cause) {
            wrong.push(format!("the cause {cause:?} is not named"));
        }
    }
    for set_aside in wanted["notTested"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !report["not_tested"].to_string().contains(set_aside) {
            wrong.push(format!("{set_aside:?} is not listed under not_tested"));
        }
    }
    wrong.extend(complaints_of_switch(wanted, report));
    wrong
}

/// One word or several, as an entry of [`expected`] has them.
fn one_or_several(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .map_or_else(|| std::slice::from_ref(value), Vec::as_slice)
        .iter()
        .filter_map(Value::as_str)
        .collect()
}

/// The same of a rehearsed switch: in which phase what fails does, and what is listed as left behind.
fn complaints_of_switch(wanted: &Value, report: &Value) -> Vec<String> {
    let checks = || report["checks"].as_array().into_iter().flatten();
    let mut wrong = Vec::new();
    if let Some(phase) = wanted["phase"].as_str() {
        let phases: BTreeSet<_> =
            checks().filter(|check| check["status"] == "fail").filter_map(|check| check["phase"].as_str()).collect();
        if !phases.contains(phase) {
            wrong.push(format!("what fails does in {phases:?} instead of {phase:?}"));
        }
    }
    // Where nothing is to be warned of, nothing is left behind.
    let is_quiet = wanted["exit"] == 0 && wanted["warns"].as_array().is_none_or(Vec::is_empty);
    if is_quiet && wanted["switchFrom"].is_string() {
        let is_of_residue =
            |check: &&Value| check["id"].as_str().is_some_and(|id| id.starts_with("residue.") || id == "switch.stale");
        let told = checks().filter(|check| check["status"] == "warn").filter(is_of_residue);
        wrong.extend(told.map(|check| format!("{} warns: {} {}", check["id"], check["summary"], check["detail"])));
    }
    for left in one_or_several(&wanted["residue"]) {
        let is_told = checks()
            .filter(|check| check["id"].as_str().is_some_and(|id| id.starts_with("residue.")))
            .any(|check| check["status"] != "pass" && check.to_string().contains(left));
        if !is_told {
            wrong.push(format!("{left:?} is not listed as left behind"));
        }
    }
    wrong
}

/// One call of nixbox, with an empty home, and a state and a cache directory of its own.
pub(crate) struct Nixbox {
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    home: tempfile::TempDir,
    deadline: Duration,
    /// MiB, and where a file system of that size is mounted for it alone.
    disk: Option<(u32, PathBuf)>,
}

impl Nixbox {
    /// `nixbox ARGS`.
    pub(crate) fn new<A: Into<OsString>>(args: impl IntoIterator<Item = A>) -> Self {
        let home = tempfile::Builder::new().prefix("nb-").tempdir().expect("a temporary home");
        Self {
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            home,
            // Longer than the longest boot limit, so that what nixbox says of a hang is seen.
            deadline: Duration::from_secs(900),
            disk: None,
        }
    }

    /// `nixbox try TARGET --impure --baseline off --format json`, artifacts in the call's own home.
    pub(crate) fn try_(target: impl Into<OsString>) -> Self {
        let mut call = Self::new(["try"]);
        call.args.push(target.into());
        let artifacts = call.home.path().join("artifacts");
        // The guests lie in this project's own repository: what its last commit was like is not what is asked.
        call.args.extend(["--impure", "--baseline", "off", "--format", "json", "--artifacts"].map(OsString::from));
        call.args.push(artifacts.into());
        call
    }

    /// `nixbox try TARGET --switch=FROM`, otherwise as [`Nixbox::try_`].
    pub(crate) fn switch(target: impl Into<OsString>, from: &str) -> Self {
        Self::try_(target).arg(format!("--switch={from}")).patient()
    }

    pub(crate) fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    pub(crate) fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub(crate) fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Waits longer than usual: many machines share this one.
    pub(crate) fn patient(mut self) -> Self {
        self.deadline = Duration::from_secs(1800);
        self
    }

    /// Gives it a disk of its own, a tmpfs in a mount namespace that goes with it.
    pub(crate) fn on_a_disk_of(mut self, mib: u32, at: &Path) -> Self {
        self.disk = Some((mib, at.to_owned()));
        self
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    fn command(&self) -> Command {
        let nixbox = env!("CARGO_BIN_EXE_nixbox");
        let mut command = match &self.disk {
            None => Command::new(nixbox),
            Some((mib, at)) => {
                let mut command = Command::new("unshare");
                let mount = format!("mount -t tmpfs -o size={mib}m tmpfs \"$1\" && shift && exec \"$@\"");
                command.args(["-Urm", "sh", "-c", &mount, "sh"]).arg(at).arg(nixbox);
                command
            }
        };
        command
            .args(&self.args)
            .env("XDG_STATE_HOME", self.home.path().join("state"))
            // A verdict of another call's would answer otherwise.
            .env("XDG_CACHE_HOME", self.home.path().join("cache"))
            .env_remove("XDG_RUNTIME_DIR")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Starts it, for tests that interrupt.
    pub(crate) fn spawn(self) -> Running {
        let child = self.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("nixbox starts");
        Running { child: Guard(Some(child)), call: self }
    }

    /// Runs it to its end. Fails when it hangs, or leaves anything behind.
    pub(crate) fn run(self) -> Outcome {
        let started = Instant::now();
        let running = self.spawn();
        let outcome = running.wait();
        eprintln!("    {:.1} s", started.elapsed().as_secs_f64());
        outcome
    }
}

/// A nixbox that is running.
pub(crate) struct Running {
    child: Guard,
    call: Nixbox,
}

/// A process that does not survive a test that panics.
struct Guard(Option<Child>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Running {
    pub(crate) fn pid(&self) -> i32 {
        self.child.0.as_ref().and_then(|child| i32::try_from(child.id()).ok()).expect("a pid")
    }

    pub(crate) fn home(&self) -> &Path {
        self.call.home()
    }

    /// Sends a signal to nixbox alone.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal)
            .expect("nixbox is there to be signalled");
    }

    /// Waits for its end and proves that nothing is left.
    pub(crate) fn wait(self) -> Outcome {
        let Self { mut child, call } = self;
        let child = child.0.take().expect("a process");
        let pid = child.id();
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(child.wait_with_output()));
        let output = match receiver.recv_timeout(call.deadline) {
            Ok(output) => output.expect("nixbox can be waited for"),
            Err(_) => {
                let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
                panic!("nixbox {:?} did not end within {:?}", call.args, call.deadline);
            }
        };
        let left = processes_under(call.home.path());
        assert!(left.is_empty(), "processes survived: {left:?}");
        Outcome { output, call }
    }
}

/// How a call ended.
pub(crate) struct Outcome {
    pub(crate) output: Output,
    pub(crate) call: Nixbox,
}

impl Outcome {
    pub(crate) fn code(&self) -> i32 {
        self.output.status.code().unwrap_or(-1)
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// stdout as one JSON document.
    pub(crate) fn report(&self) -> Value {
        serde_json::from_slice(&self.output.stdout).unwrap_or_else(|error| {
            panic!("stdout is not one JSON document: {error}\nstdout: {}\nstderr: {}", self.stdout(), self.stderr())
        })
    }

    /// The ids of the checks that failed.
    pub(crate) fn failed(&self) -> BTreeSet<String> {
        self.with_status("fail")
    }

    /// The ids of the checks with this status, but for those whose failure is accepted.
    pub(crate) fn with_status(&self, status: &str) -> BTreeSet<String> {
        with_status(&self.report(), status)
    }
}

/// The ids of a report's checks with this status, but for those whose failure is accepted.
fn with_status(report: &Value, status: &str) -> BTreeSet<String> {
    report["checks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|check| check["status"] == status && check["allowed"].is_null())
        .filter_map(|check| check["id"].as_str().map(str::to_owned))
        .collect()
}

/// Processes that have `directory` in their command line, environment or root: whatever a call has started works below
/// the call's own home.
pub(crate) fn processes_under(directory: &Path) -> Vec<String> {
    let needle = directory.as_os_str().as_encoded_bytes();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if pid == std::process::id() {
            continue;
        }
        let cmdline = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
        let has = |bytes: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        if has(&cmdline) || has(&environ) {
            found.push(format!("{pid}: {}", String::from_utf8_lossy(&cmdline).replace('\0', " ")));
        }
    }
    found
}
