//! What an agent meets: a payload goes in, its answer comes out. Real nix, real guests, a real git repository.
//!
//! Payloads are those of `tests/fixtures/hooks`, with the repository's own directory in the place of theirs.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's runner says why it skips, and its helpers are the test"
)]

mod harness;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use harness::repository::Repository;
use harness::{Story, cannot_run, processes_under};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const STORIES: &[Story] = &[
    ("claude-code: broken, mended, irrelevant, no host", || story("claude-code", "Stop", "PostToolUse")),
    ("codex: broken, mended, irrelevant, no host", || story("codex", "Stop", "PostToolUse")),
    ("gemini: broken, mended, irrelevant, no host", || story("gemini", "AfterAgent", "AfterTool")),
    ("cursor: broken, mended, irrelevant, no host", || story("cursor", "stop", "postToolUse")),
    ("copilot: broken, mended, irrelevant, no host", || story("copilot", "agentStop", "postToolUse")),
    ("opencode: broken, mended, irrelevant, no host", || story("opencode", "session.idle", "tool.execute.after")),
    ("generic: broken, mended, irrelevant, no host", || story("generic", "", "edit")),
    ("git: the index and the commits are tested, not the work tree", git_tests_the_index),
    ("the same failure blocks once, another one again", the_same_failure_blocks_once),
    ("a verdict answers again, until something changes", a_verdict_answers_again),
    ("a tree that did not change asks nix for nothing", nix_is_not_asked),
    ("a revision in the system is said once", a_revision_in_the_system),
    ("ten hooks at once cost one boot", ten_at_once),
    ("what is installed twice is said once", installed_twice),
    ("what was red before blocks nobody", red_before),
    ("a turn that changed nothing is not tested", nothing_changed),
    ("a newer edit takes an older one's place", a_newer_edit),
    ("a turn that is stopped ends the run", a_turn_is_stopped),
    ("the end of the agent ends the run", the_agent_ends),
    ("words of a guest's are no instructions", words_of_a_guest),
    ("a project that is no flake is left alone", no_flake),
    ("a machine that is edited from elsewhere is tested", edited_from_elsewhere),
    ("what is no payload blocks nothing", no_payload),
    ("a stdin that stays open holds up nobody", stdin_stays_open),
    ("what cannot be remembered is shown and blocks nobody", nothing_is_remembered),
];

fn main() -> std::process::ExitCode {
    // One machine at a time: what is known is shared by the stories.
    let code = harness::tell(&[(STORIES, cannot_run())], 1);
    // What is static is never dropped.
    drop(fs::remove_dir_all(SHARED.path()));
    code
}

/// The result cache that all stories share, so that the same guest boots once.
static SHARED: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::Builder::new().prefix("nb-").tempdir().expect("a temporary directory"));

impl Repository {
    /// With the verdicts of all stories.
    fn new(guest: &str) -> Self {
        Self::with_cache(guest, SHARED.path().join("cache"))
    }

    /// `nixbox hook AGENT WORDS`, from this repository.
    fn command(&self, agent: &str, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nixbox"));
        command.args(["hook", agent]).args(words).args(["--impure"]);
        command.current_dir(self.path());
        command.env("XDG_STATE_HOME", self.state.path()).env("XDG_CACHE_HOME", &self.cache);
        command.env_remove("XDG_RUNTIME_DIR");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn hook(&self, agent: &str, words: &[&str], payload: &str) -> Answer {
        finish(agent, start(&mut self.command(agent, words), payload))
    }

    /// The payload of an agent's event, about a file of this repository.
    fn payload(&self, agent: &str, event: &str, file: &str) -> String {
        if agent == "generic" {
            return if event.is_empty() { String::new() } else { format!("{}\n", self.file(file).display()) };
        }
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hooks");
        let text = fs::read_to_string(fixtures.join(format!("{agent}-{event}.json"))).expect(event);
        text.replace("/home/ann/machines", self.path().to_str().unwrap()).replace("configuration.nix", file)
    }

    /// An agent's event about a file of this repository.
    fn event(&self, agent: &str, event: &str, file: &str) -> Answer {
        // Those whose payload does not say which event it is.
        let says = !["generic", "copilot"].contains(&agent) || event.is_empty();
        let words: &[&str] = if says { &[] } else { &[event] };
        self.hook(agent, words, &self.payload(agent, event, file))
    }

    /// How many machines were booted: each has left its evidence.
    fn boots(&self) -> usize {
        let runs = fs::read_dir(self.file(".nixbox")).into_iter().flatten().flatten();
        runs.filter(|run| run.file_type().is_ok_and(|kind| kind.is_dir()) && run.path().join("report.json").exists())
            .filter(|run| run.path().join("console.log").exists())
            .count()
    }
}

fn start(command: &mut Command, payload: &str) -> Child {
    let mut child = command.spawn().expect("nixbox starts");
    // One that does not read it is no fault.
    drop(child.stdin.take().unwrap().write_all(payload.as_bytes()));
    child
}

fn finish(agent: &str, child: Child) -> Answer {
    let pid = child.id();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    match receiver.recv_timeout(Duration::from_secs(600)) {
        Ok(output) => Answer { agent: agent.to_owned(), output: output.unwrap() },
        Err(_) => {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
            panic!("the hook of {agent} did not end");
        }
    }
}

/// What an agent was answered.
struct Answer {
    agent: String,
    output: Output,
}

impl Answer {
    fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    fn all(&self) -> String {
        format!("{:?} {}{}", self.output.status.code(), self.stdout(), String::from_utf8_lossy(&self.output.stderr))
    }

    fn json(&self) -> Value {
        if self.output.stdout.trim_ascii().is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.output.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.all()))
    }

    /// The cause, where it holds up the agent, or is sent as its next message.
    fn blocks(&self) -> Option<String> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        match self.agent.as_str() {
            "claude-code" | "codex" | "copilot" => {
                let json = self.json();
                // A Claude Code that knows feedback goes on with it, and calls it no error.
                let feedback = &json["hookSpecificOutput"];
                let feedback = (feedback["hookEventName"] == "Stop").then(|| text(&feedback["additionalContext"]));
                (json["decision"] == "block").then(|| text(&json["reason"]).unwrap()).or(feedback.flatten())
            }
            "gemini" => {
                let json = self.json();
                (json["decision"] == "deny").then(|| text(&json["reason"]).unwrap())
            }
            "cursor" => text(&self.json()["followup_message"]),
            "opencode" => text(&self.json()["prompt"]),
            "generic" => (self.output.status.code() == Some(1)).then(|| self.stdout()),
            "git" => (self.output.status.code() == Some(1))
                .then(|| String::from_utf8_lossy(&self.output.stderr).into_owned()),
            other => panic!("{other}"),
        }
    }

    /// The cause, where the agent is told of it at all.
    fn tells(&self) -> Option<String> {
        if self.agent == "generic" {
            return self.blocks();
        }
        let told = self.json().to_string();
        told.contains("nixbox: fail").then_some(told)
    }
}

/// What every agent's hook does, told by its own words.
fn story(agent: &str, end: &str, edit: &str) {
    let repository = Repository::new("minimal");

    // An edit that does not evaluate is told at once, with its place.
    fs::write(repository.file("configuration.nix"), "\"minimal\" + (\n").unwrap();
    let told = repository.event(agent, edit, "configuration.nix");
    let cause = told.tells().unwrap_or_else(|| panic!("not told: {}", told.all()));
    assert!(cause.contains("does not evaluate") && cause.contains("configuration.nix:"), "{cause}");
    // And blocks the end of the turn.
    let blocked = repository.event(agent, end, "configuration.nix");
    let cause = blocked.blocks().unwrap_or_else(|| panic!("not blocked: {}", blocked.all()));
    assert!(cause.contains("does not evaluate"), "{cause}");
    assert_eq!(repository.boots(), 0);

    // One that evaluates and does not work is found at the end of the turn.
    repository.choose("failed-unit");
    let told = repository.event(agent, edit, "configuration.nix");
    assert!(told.tells().is_none() && told.output.status.success(), "{}", told.all());
    let blocked = repository.event(agent, end, "configuration.nix");
    let cause = blocked.blocks().unwrap_or_else(|| panic!("not blocked: {}", blocked.all()));
    for word in ["services.failed-units: fail", "backup.service", "/etc/backup.key", "again: nixbox try"] {
        assert!(cause.contains(word), "{word}: {cause}");
    }
    assert!(cause.len() <= 4200, "{} bytes", cause.len());

    // Mended, it passes.
    repository.choose("minimal");
    let passed = repository.event(agent, end, "configuration.nix");
    assert!(passed.blocks().is_none() && passed.output.status.success(), "{}", passed.all());
    assert!(passed.all().contains("nixbox: pass"), "{}", passed.all());

    // A file that nix does not read costs nothing.
    fs::write(repository.file("notes.txt"), "not tracked").unwrap();
    let boots = repository.boots();
    let clock = Instant::now();
    let silent = repository.event(agent, edit, "notes.txt");
    let took = clock.elapsed();
    assert!(silent.tells().is_none() && silent.output.status.success(), "{}", silent.all());
    assert!(took < Duration::from_millis(500), "{took:?}");
    assert_eq!(repository.boots(), boots);

    // A host that cannot never blocks.
    repository.choose("failed-unit");
    let payload = repository.payload(agent, end, "configuration.nix");
    let words: &[&str] = if agent == "copilot" { &[end] } else { &[] };
    let mut command = repository.command(agent, words);
    command.env("PATH", "/nowhere");
    let cannot = finish(agent, start(&mut command, &payload));
    assert!(cannot.blocks().is_none(), "{}", cannot.all());
    assert!(cannot.all().contains("could not tell"), "{}", cannot.all());
}

fn git_tests_the_index() {
    let repository = Repository::new("minimal");
    let commit = |repository: &Repository| repository.hook("git", &["pre-commit"], "");

    // The work tree is broken, the index is not.
    repository.choose("failed-unit");
    let passed = commit(&repository);
    assert!(passed.blocks().is_none(), "{}", passed.all());
    repository.git(&["add", "."]);
    let blocked = commit(&repository);
    let cause = blocked.blocks().unwrap_or_else(|| panic!("not blocked: {}", blocked.all()));
    assert!(cause.contains("backup.service"), "{cause}");
    // And the other way round.
    repository.choose("minimal");
    assert!(commit(&repository).blocks().is_some());
    assert_eq!(repository.git(&["status", "--porcelain"]), "MM configuration.nix");

    repository.git(&["commit", "--quiet", "--no-verify", "-m", "broken"]);
    let broken = repository.git(&["rev-parse", "HEAD"]);
    let good = repository.git(&["rev-parse", "HEAD^"]);
    let none = "0".repeat(40);
    let push = |object: &str| {
        repository.hook("git", &["pre-push"], &format!("refs/heads/main {object} refs/heads/main {none}\n"))
    };
    let blocked = push(&broken);
    assert!(blocked.blocks().is_some_and(|cause| cause.contains("backup.service")), "{}", blocked.all());
    let passed = push(&good);
    assert!(passed.blocks().is_none(), "{}", passed.all());
    let deleted = repository.hook("git", &["pre-push"], &format!("(delete) {none} refs/heads/old {good}\n"));
    assert!(deleted.output.status.success(), "{}", deleted.all());
}

fn the_same_failure_blocks_once() {
    let repository = Repository::new("failed-unit");
    assert!(repository.event("claude-code", "Stop", "").blocks().is_some());
    let again = repository.event("claude-code", "Stop-again", "");
    assert!(again.blocks().is_none() && again.all().contains("backup.service"), "{}", again.all());
    // Something else is broken now: the agent is not done.
    fs::write(repository.file("configuration.nix"), "{").unwrap();
    assert!(repository.event("claude-code", "Stop-again", "").blocks().is_some());
    assert!(repository.event("claude-code", "Stop-again", "").blocks().is_none());
}

fn a_verdict_answers_again() {
    let cache = tempfile::tempdir().unwrap();
    let repository = Repository::with_cache("minimal", cache.path().to_owned());
    let run = |more: &[&str]| -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nixbox"));
        command.args(["try", ".#laptop", "--impure", "--format", "json"]).args(more).current_dir(repository.path());
        command.env("XDG_STATE_HOME", repository.state.path()).env("XDG_CACHE_HOME", cache.path());
        let output = command.output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("{error}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
        })
    };
    let cold = run(&[]);
    assert!(cold["verdict"] == "pass" && cold["cached"].is_null(), "{cold}");
    let warm = run(&[]);
    assert!(warm["verdict"] == "pass" && warm["cached"]["age"].is_number(), "{warm}");
    assert_eq!((repository.boots(), &warm["checks"]), (1, &cold["checks"]));
    assert_eq!(warm["artifacts"], cold["artifacts"]);
    // Another question is another verdict.
    assert!(run(&["--only", "boot"])["cached"].is_null());
    assert!(run(&["--fresh"])["cached"].is_null());
    // What is corrupt is replaced.
    for entry in fs::read_dir(cache.path().join("nixbox/verdicts")).unwrap() {
        fs::write(entry.unwrap().path(), "{").unwrap();
    }
    assert!(run(&[])["cached"].is_null());
    assert!(!run(&[])["cached"].is_null());
}

/// `nixbox try` on a pure flake of this repository's, with a nix that counts its calls.
struct Counted {
    repository: Repository,
    programs: tempfile::TempDir,
    _cache: tempfile::TempDir,
}

impl Counted {
    fn new(more: &str) -> Self {
        let cache = tempfile::tempdir().unwrap();
        let repository = Repository::with_cache("minimal", cache.path().to_owned());
        harness::pure_flake(repository.path(), "minimal", more);
        repository.git(&["add", "."]);
        repository.git(&["commit", "--quiet", "-m", "a pure flake"]);
        let programs = tempfile::tempdir().unwrap();
        for program in ["nix", "nix-store"] {
            let real = std::env::split_paths(&std::env::var_os("PATH").unwrap())
                .map(|directory| directory.join(program))
                .find(|path| path.exists())
                .expect("nix");
            let log = programs.path().join("calls");
            let script = format!("#!/bin/sh\necho x >> '{}'\nexec '{}' \"$@\"\n", log.display(), real.display());
            let path = programs.path().join(program);
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        Self { repository, programs, _cache: cache }
    }

    /// The report, and how often nix was called.
    fn run(&self) -> (Value, usize) {
        let log = self.programs.path().join("calls");
        drop(fs::remove_file(&log));
        let path = format!("{}:{}", self.programs.path().display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_nixbox"));
        command.args(["try", "--format", "json"]).current_dir(self.repository.path()).env("PATH", path);
        command.env("XDG_STATE_HOME", self.repository.state.path()).env("XDG_CACHE_HOME", &self.repository.cache);
        let output = command.output().unwrap();
        let report = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        (report, fs::read_to_string(&log).unwrap_or_default().lines().count())
    }
}

fn nix_is_not_asked() {
    let counted = Counted::new("\"\"");
    let (cold, calls) = counted.run();
    assert!(cold["verdict"] == "pass" && cold["cached"].is_null() && calls > 0, "{cold}");
    let (warm, calls) = counted.run();
    assert!(warm["verdict"] == "pass" && !warm["cached"].is_null(), "{warm}");
    assert_eq!(calls, 0);
    // A file that nix does not read changes nothing; one that it reads is looked at, and changes no verdict.
    fs::write(counted.repository.file("notes"), "").unwrap();
    assert_eq!(counted.run().1, 0);
    fs::write(counted.repository.file("configuration.nix"), "\"other\"\n").unwrap();
    let (edited, calls) = counted.run();
    assert!(!edited["cached"].is_null() && calls > 0, "{edited}");
    assert_eq!(counted.repository.boots(), 1);
}

fn a_revision_in_the_system() {
    let counted = Counted::new("self.rev or \"dirty\"");
    let said = |report: &Value| report["notes"].to_string().contains("another system with each commit");
    let (first, _) = counted.run();
    assert!(!said(&first), "{first}");
    counted.repository.git(&["commit", "--quiet", "--allow-empty", "-m", "nothing"]);
    let (second, _) = counted.run();
    assert!(said(&second) && second["cached"].is_null(), "{second}");
    counted.repository.git(&["commit", "--quiet", "--allow-empty", "-m", "nothing again"]);
    assert!(!said(&counted.run().0));
}

fn ten_at_once() {
    let cache = tempfile::tempdir().unwrap();
    let repository = Repository::with_cache("failed-unit", cache.path().to_owned());
    let payload = repository.payload("claude-code", "Stop", "");
    // Ten sessions: two hooks of one session's event are one.
    let session = |number: i32| payload.replace("5f0c2a51", &format!("5f0c2a5{number}"));
    let hooks: Vec<Child> =
        (0..10).map(|number| start(&mut repository.command("claude-code", &[]), &session(number))).collect();
    for hook in hooks {
        let answer = finish("claude-code", hook);
        assert!(answer.blocks().is_some(), "{}", answer.all());
    }
    assert_eq!(repository.boots(), 1);
}

fn installed_twice() {
    let repository = Repository::new("minimal");
    fs::write(repository.file("configuration.nix"), "{").unwrap();
    for (event, file) in [("PostToolUse", "configuration.nix"), ("Stop", "")] {
        let payload = repository.payload("claude-code", event, file);
        let both = [(); 2].map(|()| start(&mut repository.command("claude-code", &[]), &payload));
        let said: Vec<Value> = both.map(|hook| finish("claude-code", hook).json()).into();
        assert_eq!(said.iter().filter(|answer| !answer.is_null()).count(), 1, "{event}: {said:?}");
    }
}

/// A user's prompt, for which an agent calls too.
fn prompt(repository: &Repository) {
    let payload = repository.payload("claude-code", "Stop", "").replace("\"Stop\"", "\"UserPromptSubmit\"");
    let answer = repository.hook("claude-code", &[], &payload);
    assert!(answer.output.status.success() && answer.output.stdout.is_empty(), "{}", answer.all());
}

fn red_before() {
    // It did not evaluate before the change either.
    let repository = Repository::new("minimal");
    let commit = |text: &str| {
        fs::write(repository.file("configuration.nix"), text).unwrap();
        repository.git(&["commit", "--quiet", "--no-verify", "-am", "x"]);
    };
    commit("{");
    fs::write(repository.file("configuration.nix"), "\"minimal\" + (").unwrap();
    let told = repository.event("claude-code", "Stop", "");
    assert!(told.blocks().is_none() && told.all().contains("as before this change"), "{}", told.all());
    // Before this turn it did, whatever the last commit is like.
    repository.choose("minimal");
    prompt(&repository);
    fs::write(repository.file("configuration.nix"), "\"minimal\" + (").unwrap();
    assert!(repository.event("claude-code", "Stop", "").blocks().is_some());
    // The user goes on in the broken tree: that is where the next turn began.
    repository.event("claude-code", "Stop", "");
    prompt(&repository);
    fs::write(repository.file("configuration.nix"), "\"minimal\" + ((").unwrap();
    let told = repository.event("claude-code", "Stop", "");
    assert!(told.blocks().is_none() && told.all().contains("as before this change"), "{}", told.all());
    // A unit that failed before is one line.
    commit("\"failed-unit\"");
    fs::write(repository.file("configuration.nix"), "\"failed-unit\" # touched\n").unwrap();
    let told = repository.event("codex", "Stop", "");
    assert!(told.blocks().is_none() && told.all().contains("backup.service"), "{}", told.all());
}

fn nothing_changed() {
    let repository = Repository::new("failed-unit");
    prompt(&repository);
    let silent = repository.event("claude-code", "Stop", "");
    assert!(silent.json().is_null(), "{}", silent.all());
    // Whatever changed the file: no tool of the agent's has to be seen.
    fs::write(repository.file("configuration.nix"), "{").unwrap();
    assert!(repository.event("claude-code", "Stop", "").blocks().is_some());
    // An agent that does not say when a turn begins: the next one begins where the last has ended.
    let stop = || repository.event("cursor", "stop", "");
    assert!(stop().blocks().is_some());
    let again = stop();
    assert!(again.blocks().is_none() && again.all().contains("does not evaluate"), "{}", again.all());
    let silent = stop();
    assert!(silent.blocks().is_none() && !silent.all().contains("does not evaluate"), "{}", silent.all());
}

/// Waits until a machine boots for this repository.
fn booting(repository: &Repository) {
    let clock = Instant::now();
    while processes_under(repository.state.path()).iter().all(|process| !process.contains("qemu-system")) {
        assert!(clock.elapsed() < Duration::from_secs(120), "it does not boot");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn nothing_is_left(repository: &Repository) {
    let clock = Instant::now();
    while !processes_under(repository.state.path()).is_empty() {
        assert!(clock.elapsed() < Duration::from_secs(30), "{:?}", processes_under(repository.state.path()));
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn a_turn_is_stopped() {
    // The agent goes on, but nobody reads the answer any more; or the hook is killed; or the session's file says so.
    for way in ["unread", "killed", "aborted"] {
        let cache = tempfile::tempdir().unwrap();
        let repository = Repository::with_cache("minimal", cache.path().to_owned());
        let transcript = repository.state.path().join("rollout.jsonl");
        fs::write(&transcript, "").unwrap();
        let payload = serde_json::json!({
            "hook_event_name": "Stop", "session_id": way, "cwd": repository.path(), "transcript_path": transcript,
        });
        let mut hook = start(&mut repository.command("codex", &[]), &payload.to_string());
        booting(&repository);
        match way {
            "unread" => drop(hook.stdout.take()),
            "killed" => hook.kill().unwrap(),
            _ => fs::write(&transcript, "{\"payload\":{\"type\":\"turn_aborted\"}}\n").unwrap(),
        }
        hook.wait().unwrap();
        nothing_is_left(&repository);
    }
}

fn a_newer_edit() {
    let cache = tempfile::tempdir().unwrap();
    let repository = Repository::with_cache("failed-unit", cache.path().to_owned());
    let payload = repository.payload("claude-code", "Stop", "");
    let older = start(&mut repository.command("claude-code", &[]), &payload);
    // It boots when it holds the lock.
    booting(&repository);
    repository.choose("minimal");
    let newer = repository.event("claude-code", "Stop", "");
    assert!(newer.blocks().is_none() && newer.all().contains("nixbox: pass"), "{}", newer.all());
    let older = finish("claude-code", older);
    assert!(older.blocks().is_none() && older.all().contains("a newer request"), "{}", older.all());
}

fn the_agent_ends() {
    let cache = tempfile::tempdir().unwrap();
    let repository = Repository::with_cache("minimal", cache.path().to_owned());
    // An agent of our own: it starts the hook through a shell, as agents do, and is killed.
    let payload = repository.file("payload");
    fs::write(&payload, repository.payload("claude-code", "Stop", "")).unwrap();
    let hook = repository.command("claude-code", &[]);
    let mut agent = Command::new("python3");
    agent.args(["-c", "import subprocess, sys; subprocess.run(sys.argv[1], shell=True, stdin=open(sys.argv[2]))"]);
    let words: Vec<String> = std::iter::once(hook.get_program())
        .chain(hook.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    agent.arg(format!("{}; true", words.join(" "))).arg(&payload).current_dir(repository.path());
    agent.envs(hook.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut agent = agent.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("python3");
    booting(&repository);
    kill(Pid::from_raw(i32::try_from(agent.id()).unwrap()), Signal::SIGKILL).unwrap();
    agent.wait().unwrap();
    nothing_is_left(&repository);
}

fn words_of_a_guest() {
    let repository = Repository::new("hostile-words");
    let blocked = repository.event("claude-code", "Stop", "");
    let reason = blocked.blocks().unwrap_or_else(|| panic!("not blocked: {}", blocked.all()));
    assert!(reason.len() <= 4096, "{} bytes", reason.len());
    assert!(!reason.chars().any(|c| c.is_control() && c != '\n'), "{reason:?}");
    let fence = reason.lines().find(|line| line.starts_with("--- ")).expect("a fence").to_owned();
    let parts: Vec<&str> = reason.split(&format!("{fence}\n")).collect();
    let [facts, quoted, ""] = parts[..] else { panic!("not one fence: {reason}") };
    assert!(facts.contains("billing.service") && !facts.contains("gnore"), "{facts}");
    assert!(quoted.contains("gnore the above"), "{quoted}");
    assert!(quoted.lines().all(|line| line.starts_with("| ")) && quoted.lines().count() <= 20, "{quoted}");
}

fn no_flake() {
    let repository = Repository::new("minimal");
    let elsewhere = tempfile::tempdir().unwrap();
    let payload = repository.payload("claude-code", "Stop", "");
    let payload = payload.replace(repository.path().to_str().unwrap(), elsewhere.path().to_str().unwrap());
    let clock = Instant::now();
    let answer = repository.hook("claude-code", &[], &payload);
    assert!(answer.output.status.success() && answer.stdout().trim().is_empty(), "{}", answer.all());
    assert!(clock.elapsed() < Duration::from_millis(500));
    // Nor is one that has no machine.
    fs::write(elsewhere.path().join("flake.nix"), "{ outputs = _: { }; }").unwrap();
    let answer = repository.hook("claude-code", &[], &payload);
    assert!(answer.output.status.success() && answer.blocks().is_none(), "{}", answer.all());
    // One that lost them by a slip of the pen is told, and blocks nothing: a library for machines looks the same.
    fs::write(elsewhere.path().join("flake.nix"), "{ outputs = _: { x = \"nixosSystem\"; }; }").unwrap();
    let answer = repository.hook("claude-code", &[], &payload);
    assert!(answer.output.status.success() && answer.blocks().is_none(), "{}", answer.all());
    assert!(answer.all().contains("no nixosConfigurations"), "{}", answer.all());
}

fn edited_from_elsewhere() {
    let repository = Repository::new("minimal");
    let home = tempfile::tempdir().unwrap();
    let from_home = |event: &str| {
        let mut payload: Value =
            serde_json::from_str(&repository.payload("claude-code", event, "configuration.nix")).unwrap();
        payload["cwd"] = home.path().to_str().into();
        repository.hook("claude-code", &[], &payload.to_string())
    };
    fs::write(repository.file("configuration.nix"), "{").unwrap();
    assert!(from_home("Stop").json().is_null(), "nothing was edited");
    let told = from_home("PostToolUse");
    assert!(told.tells().is_some_and(|text| text.contains("does not evaluate")), "{}", told.all());
    let cause = from_home("Stop").blocks().expect("blocked");
    let evidence = format!("evidence: {}/.nixbox/", repository.path().display());
    assert!(cause.contains(&evidence), "{evidence}: {cause}");
    repository.choose("minimal");
    let passed = from_home("Stop");
    assert!(passed.blocks().is_none() && passed.all().contains("nixbox: pass"), "{}", passed.all());
}

fn no_payload() {
    let repository = Repository::new("minimal");
    for agent in ["claude-code", "codex", "gemini", "cursor", "copilot", "opencode"] {
        for payload in ["", "{", "[]", "null", "\0\u{1}", r#"{"hook_event_name":"Stop","cwd":"/nowhere at all"}"#] {
            let answer = repository.hook(agent, &[], payload);
            assert!(answer.blocks().is_none(), "{agent} {payload:?}: {}", answer.all());
            // The last one is a payload, of some.
            if !payload.contains("cwd") {
                assert!(answer.all().contains("could not tell"), "{agent} {payload:?}: {}", answer.all());
            }
        }
    }
}

fn stdin_stays_open() {
    let repository = Repository::new("minimal");
    fs::write(repository.file("configuration.nix"), "{").unwrap();
    for (agent, event) in [("claude-code", "Stop"), ("codex", "Stop"), ("generic", "")] {
        let mut hook = repository.command(agent, &[]).spawn().unwrap();
        let mut stdin = hook.stdin.take().unwrap();
        stdin.write_all(repository.payload(agent, event, "").as_bytes()).unwrap();
        let answer = finish(agent, hook);
        drop(stdin);
        assert!(answer.blocks().is_some(), "{agent}: {}", answer.all());
    }
    // One that waits ends when it is told to.
    let mut hook = repository.command("codex", &[]).spawn().unwrap();
    let stdin = hook.stdin.take();
    std::thread::sleep(Duration::from_millis(300));
    let clock = Instant::now();
    kill(Pid::from_raw(i32::try_from(hook.id()).unwrap()), Signal::SIGTERM).unwrap();
    let answer = finish("codex", hook);
    drop(stdin);
    assert!(answer.blocks().is_none() && clock.elapsed() < Duration::from_secs(3), "{}", answer.all());
}

fn nothing_is_remembered() {
    let repository = Repository::new("minimal");
    fs::write(repository.file("configuration.nix"), "{").unwrap();
    let payload = repository.payload("gemini", "AfterAgent", "");
    // Not even root may write there.
    let mut command = repository.command("gemini", &[]);
    let shown = finish("gemini", start(command.env("XDG_STATE_HOME", "/proc/self"), &payload));
    assert!(shown.blocks().is_none() && shown.all().contains("does not evaluate"), "{}", shown.all());
}
