//! What an agent's hook costs, and what a verdict that is known costs.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness;

/// A git repository with a flake in it, and verdicts of its own.
pub(crate) struct Repository {
    directory: tempfile::TempDir,
}

impl Repository {
    fn new() -> Self {
        let repository = Self { directory: tempfile::Builder::new().prefix("nb-").tempdir().expect("a directory") };
        fs::create_dir(repository.root()).expect("a directory");
        repository
    }

    /// A flake that needs nothing but itself: its machine is the guest `minimal`.
    pub(crate) fn pure() -> Self {
        let repository = Self::new();
        harness::pure_flake(&repository.root(), "minimal", "\"\"");
        repository.commit();
        repository
    }

    /// A flake whose machine is this guest.
    fn of(guest: &str) -> Self {
        Self::weighing(guest, 0)
    }

    /// The same, with so many thousand additions to be evaluated before: the guest takes a tenth of a second, and a NixOS
    /// system ten or twenty.
    fn weighing(guest: &str, thousands: u32) -> Self {
        let repository = Self::new();
        let add = "builtins.foldl' (sum: _: builtins.foldl' (a: b: a + b) sum (builtins.genList (n: n) 1000)) 0";
        let flake = format!(
            "{{ outputs = _: {{ nixosConfigurations.laptop = builtins.seq ({add} (builtins.genList (n: n) {thousands})) \
             (builtins.getFlake \"path:{}\").nixosConfigurations.{guest}; }}; }}",
            harness::guests().display().to_string().replace(' ', "%20")
        );
        fs::write(repository.root().join("flake.nix"), flake).expect("a file");
        repository.commit();
        repository
    }

    fn commit(&self) {
        for words in [&["init", "--quiet"][..], &["add", "."], &["commit", "--quiet", "-m", "one"]] {
            let settings = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"];
            let status = Command::new("git").arg("-C").arg(self.root()).args(settings).args(words).status();
            assert!(status.expect("git").success(), "git {words:?}");
        }
    }

    fn root(&self) -> std::path::PathBuf {
        self.directory.path().join("flake")
    }

    fn nixbox(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nixbox"));
        command.args(words).current_dir(self.root());
        command.env("XDG_STATE_HOME", self.directory.path().join("state"));
        command.env("XDG_CACHE_HOME", self.directory.path().join("cache"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }

    /// Seconds, and the report.
    pub(crate) fn try_(&self, words: &[&str]) -> (f64, Value) {
        let clock = Instant::now();
        let output = self.nixbox(&[&["try", "--format", "json"], words].concat()).output().expect("nixbox");
        let seconds = clock.elapsed().as_secs_f64();
        (seconds, serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
    }

    fn hook(&self, words: &[&str], payload: &Value) -> Child {
        let mut child = self.nixbox(&[&["hook", "claude-code"], words].concat()).spawn().expect("nixbox");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(payload.to_string().as_bytes()).expect("its payload");
        child
    }

    fn edit(&self, file: &str) -> Value {
        json!({
            "hook_event_name": "PostToolUse", "cwd": self.root(), "tool_name": "Edit",
            "tool_input": { "file_path": self.root().join(file) },
        })
    }

    /// Milliseconds of a hook after an edit of a file.
    fn edit_hook(&self, words: &[&str], file: &str) -> f64 {
        let clock = Instant::now();
        let output = self.hook(words, &self.edit(file)).wait_with_output().expect("its end");
        assert!(output.status.success() && output.stdout.trim_ascii().is_empty(), "{output:?}");
        clock.elapsed().as_secs_f64() * 1000.0
    }
}

/// Milliseconds of a hook after an edit that no flake reads.
pub(crate) fn irrelevant(runs: usize) -> Vec<f64> {
    let repository = Repository::pure();
    fs::write(repository.root().join("notes"), "").expect("a file");
    (0..runs).map(|_| repository.edit_hook(&[], "notes")).collect()
}

/// Thousands of additions: some four seconds of nix.
const WEIGHT: u32 = 40_000;

/// The hook after an edit by the bare evaluation of the same: the runner's and the host's own derivation.
pub(crate) fn evaluation(runs: usize) -> Vec<f64> {
    let repository = Repository::weighing("minimal", WEIGHT);
    let system = |path: &str| format!("m.config.system.build.{path}.drvPath");
    let apply = format!("m: [ {} {} ]", system("vm"), system("toplevel"));
    let installable = format!("{}#nixosConfigurations.laptop", repository.root().display());
    let bare = || {
        let clock = Instant::now();
        harness::nix(&["eval", "--impure", "--json", &installable, "--apply", &apply]);
        clock.elapsed().as_secs_f64() * 1000.0
    };
    let hook = || repository.edit_hook(&["--impure", "--target", ".#laptop"], "flake.nix");
    // What nix keeps of its own is there for both.
    bare();
    hook();
    (0..runs).map(|_| hook() / bare()).collect()
}

/// A verdict that is known: milliseconds, and by the run that found it.
pub(crate) fn cached(runs: usize) -> (Vec<f64>, Vec<f64>) {
    let repository = Repository::pure();
    let (cold, report) = repository.try_(&[]);
    assert_eq!(report["verdict"], "pass", "{report:#}");
    let warm = |_| {
        let (seconds, report) = repository.try_(&[]);
        assert!(!report["cached"].is_null(), "{report:#}");
        seconds
    };
    let seconds: Vec<f64> = (0..runs).map(warm).collect();
    (seconds.iter().map(|seconds| seconds * 1000.0).collect(), seconds.iter().map(|seconds| seconds / cold).collect())
}

/// How many machines boot for ten hooks at once on the same tree.
pub(crate) fn ten_at_once() -> f64 {
    let repository = Repository::of("minimal");
    let payload = |session: i32| json!({ "hook_event_name": "Stop", "cwd": repository.root(), "session_id": session.to_string() });
    let words = ["--impure", "--target", ".#laptop"];
    let hooks: Vec<Child> = (0..10).map(|session| repository.hook(&words, &payload(session))).collect();
    for hook in hooks {
        let output = hook.wait_with_output().expect("its end");
        assert!(String::from_utf8_lossy(&output.stdout).contains("nixbox: pass"), "{output:?}");
    }
    let runs = fs::read_dir(repository.root().join(".nixbox")).expect("evidence").flatten();
    runs.filter(|run| is_boot(&run.path())).count() as f64
}

fn is_boot(run: &Path) -> bool {
    fs::symlink_metadata(run).is_ok_and(|data| data.is_dir()) && run.join("console.log").exists()
}

/// What tests/agents found.
pub(crate) struct RealAgents {
    /// Those whose every story passed.
    pub(crate) proven: f64,
    /// Those that went round in circles in one.
    pub(crate) looped: f64,
}

/// Runs the stories of the real agents; `None` where they are not there.
pub(crate) fn real() -> Option<RealAgents> {
    std::env::var_os("NIXBOX_TEST_AGENTS")?;
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--locked", "--quiet", "--test", "agents"]).env("NIXBOX_TEST_ALL", "1").stdin(Stdio::null());
    let output = cargo.output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let results: Vec<(&str, bool)> = said.lines().filter_map(result).collect();
    let mut agents: Vec<&str> = results.iter().map(|(agent, _)| *agent).collect();
    agents.dedup();
    let proven = agents.iter().filter(|agent| results.iter().all(|(name, passed)| name != *agent || *passed)).count();
    let stories = said.split("\n---- ").filter(|part| part.contains("round in circles"));
    let mut looped: Vec<&str> = stories.filter_map(|story| story.split(':').next()).collect();
    looped.dedup();
    (!results.is_empty()).then_some(RealAgents { proven: proven as f64, looped: looped.len() as f64 })
}

/// The agent of a line `test AGENT: STORY ... RESULT`, and whether the story passed; what was skipped says nothing.
fn result(line: &str) -> Option<(&str, bool)> {
    let (agent, rest) = line.strip_prefix("test ")?.split_once(": ")?;
    let passed = rest.trim_end().ends_with("... ok");
    (passed || rest.trim_end().ends_with("FAILED")).then_some((agent, passed))
}
