//! The real agents, pinned, against a model server of ours: what the model reads after an edit, what holds it up at a
//! turn's end, and that nothing else ever does. They come from their registry (scripts/lib.sh), once.
//!
//! Only with `scripts/test --all`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test's runner says why it skips, and its helpers are the test"
)]

#[path = "agents/drivers.rs"]
mod drivers;
mod harness;
#[path = "agents/server.rs"]
mod server;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use drivers::{DRIVERS, Driver, PROMPT, Place};
use harness::processes_under;
use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::json;
use server::{LOOP, Server, Step};

/// Where scripts/lib.sh has put the agents.
const AGENTS: &str = "NIXBOX_TEST_AGENTS";

/// How long an agent may take: a hook's run may boot a machine.
const LIMIT: Duration = Duration::from_secs(240);

/// How long a server does nothing when it has nothing more to do.
const QUIET: Duration = Duration::from_secs(3);

/// A story's name, and what happens in it.
type Story = (&'static str, fn(&'static Driver));

const STORIES: [Story; 9] = [
    ("told of a bad edit, beside the edit's result", told),
    ("blocked with the cause, mended, let go", blocked_and_mended),
    ("the same cause blocks once", blocked_once),
    ("red before: not blocked", red_before),
    ("without nixbox, nix, or with another nixbox: never blocked", never_blocked),
    ("interrupted while a machine boots: nothing is left", interrupted),
    ("killed while a machine boots: nothing is left", killed),
    ("Esc while a machine boots: nothing is left", escaped),
    ("a terminal that is closed while a machine boots: nothing is left", closed),
];

fn main() -> std::process::ExitCode {
    let mut arguments = Arguments::from_args();
    let skipped = cannot_run();
    let mut trials = Vec::new();
    for driver in &DRIVERS {
        for (name, story) in STORIES {
            let name = format!("{}: {name}", driver.name);
            let is_escape = name.contains(": Esc ");
            let skip = skipped.clone().or_else(|| driver.no_escape.filter(|_| is_escape).map(str::to_owned));
            if let Some(reason) = skip.as_ref().filter(|_| !arguments.list) {
                eprintln!("skipped: {name}: {reason}");
            }
            let told = move || {
                std::panic::catch_unwind(|| story(driver)).map_err(|panic| {
                    let text = panic.downcast_ref::<String>().cloned();
                    Failed::from(
                        text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.into())).unwrap_or_default(),
                    )
                })
            };
            trials.push(Trial::test(name, told).with_ignored_flag(skip.is_some()));
        }
    }
    arguments.test_threads.get_or_insert(1);
    let code = libtest_mimic::run(&arguments, trials).exit_code();
    drop(fs::remove_dir_all(SHARED.path()));
    code
}

fn cannot_run() -> Option<String> {
    if std::env::var_os("NIXBOX_TEST_ALL").is_none() {
        return Some("the real agents are for scripts/test --all".to_owned());
    }
    if std::env::var_os(AGENTS).is_none() {
        return Some(format!("{AGENTS} is not set: the agents could not be installed, see above"));
    }
    harness::cannot_run()
}

/// The result cache that all stories share, so that the same machine boots once.
static SHARED: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::Builder::new().prefix("nb-").tempdir().expect("a temporary directory"));

/// What stands for nixbox on an agent's PATH.
enum Program {
    Ours,
    None,
    Script(&'static str),
}

/// A project with a flake, an agent with a home of its own, and a model with a script.
struct Scene {
    driver: &'static Driver,
    _directory: tempfile::TempDir,
    place: Place,
    bin: PathBuf,
    server: Server,
    has_nix: bool,
}

const GOOD: &str = "\"good\"\n";
const BAD: &str = "(\"good\"\n";

impl Scene {
    /// A project whose machine works, with the hooks installed; `steps` gets the path of the file to edit.
    fn new(driver: &'static Driver, steps: impl FnOnce(&Path) -> Vec<Step>) -> Self {
        let directory = tempfile::Builder::new().prefix("nb-").tempdir().unwrap();
        let [home, project, bin] = ["home", "project", "bin"].map(|name| directory.path().join(name));
        for path in [&home, &project, &bin] {
            fs::create_dir(path).unwrap();
        }
        harness::pure_flake(&project, "minimal", "(import ./machine.nix)");
        fs::write(project.join("machine.nix"), GOOD).unwrap();
        let server = Server::start(driver.tool, steps(&project.join("machine.nix")));
        let agents = PathBuf::from(std::env::var_os(AGENTS).expect("the agents"));
        let place = Place { home, project, agents, port: server.port };
        let scene = Self { driver, _directory: directory, place, bin, server, has_nix: true };
        scene.git(&["init", "--quiet"]);
        scene.git(&["add", "."]);
        scene.git(&["commit", "--quiet", "-m", "one"]);
        scene.put(&Program::Ours);
        (driver.set_up)(&scene.place);
        let installed = scene.command(Command::new("nixbox")).args(["hook", "install", driver.name]).output().unwrap();
        assert!(installed.status.success(), "{installed:?}");
        scene
    }

    fn file(&self) -> PathBuf {
        self.place.project.join("machine.nix")
    }

    fn git(&self, words: &[&str]) {
        let settings = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"];
        let output =
            Command::new("git").arg("-C").arg(&self.place.project).args(settings).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
    }

    fn put(&self, program: &Program) {
        let path = self.bin.join("nixbox");
        drop(fs::remove_file(&path));
        match program {
            Program::Ours => symlink(env!("CARGO_BIN_EXE_nixbox"), &path).unwrap(),
            Program::None => {}
            Program::Script(text) => {
                fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
    }

    /// A command with a clean environment.
    fn command(&self, mut command: Command) -> Command {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let has_nix = |directory: &PathBuf| directory.join("nix").exists();
        let others = std::env::split_paths(&path).filter(|directory| self.has_nix || !has_nix(directory));
        let path = std::env::join_paths(std::iter::once(self.bin.clone()).chain(others)).unwrap();
        let own: Vec<_> =
            command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
        command.env_clear().env("PATH", path).env("HOME", &self.place.home).env("TERM", "xterm").env("LANG", "C.UTF-8");
        command.env("XDG_CACHE_HOME", SHARED.path().join("cache")).env("XDG_STATE_HOME", self.place.home.join("state"));
        // Node's cache, Codex's and opencode's files: they are left where they lie, and go with the suite's directory.
        let temporary = SHARED.path().join("tmp");
        fs::create_dir_all(&temporary).unwrap();
        command.env("TMPDIR", temporary);
        for name in ["NIX_CONF_DIR", "NIX_REMOTE"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(own.into_iter().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(&self.place.project).stdin(Stdio::null());
        command
    }

    /// Starts the agent, in a process group of its own.
    fn start(&self) -> Running<'_> {
        let output = fs::File::create(self.place.home.join("output")).unwrap();
        let mut command = self.command((self.driver.start)(&self.place, PROMPT));
        command.stdout(output.try_clone().unwrap()).stderr(output).process_group(0);
        let running = Running { child: Some(command.spawn().expect(self.driver.program)), scene: self };
        if self.driver.serves {
            self.ask();
        }
        running
    }

    /// Starts the agent on a terminal of its own: what is written into its stdin are keys.
    fn start_on_a_terminal(&self) -> Running<'_> {
        let output = fs::File::create(self.place.home.join("output")).unwrap();
        let agent = self.command((self.driver.on_a_terminal)(&self.place, PROMPT));
        let words = std::iter::once(agent.get_program()).chain(agent.get_args());
        let words: Vec<String> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
        let mut script = Command::new("script");
        script.args(["-qefc", &format!("stty rows 50 cols 150; exec {}", words.join(" ")), "/dev/null"]);
        script.env_clear().envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
        script.current_dir(&self.place.project).stdin(Stdio::piped());
        script.stdout(output.try_clone().unwrap()).stderr(output).process_group(0);
        Running { child: Some(script.spawn().expect("script")), scene: self }
    }

    /// Asks a server of opencode's, or Kilo's, in a new session.
    fn ask(&self) {
        let clock = Instant::now();
        let port = loop {
            let said = self.said();
            let port = said
                .split("http://127.0.0.1:")
                .nth(1)
                .and_then(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u16>().ok());
            match port {
                Some(port) => break port,
                None => assert!(clock.elapsed() < Duration::from_secs(60), "no server\n{said}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let session = server::post(port, "/session", &json!({}));
        let id = session["id"].as_str().unwrap_or_else(|| panic!("no session: {session}\n{}", self.said())).to_owned();
        // It answers at the turn's end.
        let parts = json!({ "parts": [{ "type": "text", "text": PROMPT }] });
        std::thread::spawn(move || server::post(port, &format!("/session/{id}/message"), &parts));
    }

    /// Runs the agent to its end, and proves that nothing is left.
    fn run(&self) -> String {
        let mut running = self.start();
        running.wait();
        drop(running);
        let said = self.said();
        assert!(self.server.extra() < LOOP, "goes round in circles: {} requests\n{said}", self.server.read().len());
        said
    }

    fn boots(&self) -> bool {
        processes_under(&self.place.home).iter().any(|process| process.contains("qemu-system"))
    }

    fn wait_for_a_boot(&self) {
        let clock = Instant::now();
        while !self.boots() {
            assert!(clock.elapsed() < LIMIT / 2, "it boots nothing\n{}", self.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The words on its terminal, without what moves them about.
    fn screen(&self) -> String {
        let said = self.said();
        let mut words = String::new();
        let mut rest = said.chars();
        while let Some(c) = rest.next() {
            if c == '\u{1b}' {
                rest.by_ref().skip(1).find(char::is_ascii_alphabetic);
                words.push(' ');
            } else if !('\u{2800}'..='\u{28ff}').contains(&c) {
                words.push(c);
            }
        }
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        words.chars().rev().take(3000).collect::<Vec<_>>().into_iter().rev().collect()
    }

    /// What runs for us: hooks, runs, nix, machines.
    fn ours(&self) -> Vec<String> {
        let is_ours = |process: &String| {
            ["bin/nixbox", "debug/nixbox", "release/nixbox", "hook ", "qemu", "nix "]
                .iter()
                .any(|name| process.contains(name))
        };
        processes_under(&self.place.home).into_iter().filter(is_ours).collect()
    }

    /// What was on its screen, and which requests came.
    fn said(&self) -> String {
        let output = fs::read(self.place.home.join("output")).unwrap_or_default();
        format!("{}\n{}", String::from_utf8_lossy(&output), self.server.log())
    }

    /// The model's last request that contains these words.
    #[track_caller]
    fn read(&self, words: &[&str]) -> usize {
        let read = self.server.read();
        let found = read.iter().position(|body| words.iter().all(|word| body.contains(word)));
        found.unwrap_or_else(|| {
            panic!(
                "the model has not read {words:?} in {} requests\n{}\n{}",
                read.len(),
                self.said(),
                read.last().map_or("", |last| &last[last.len().saturating_sub(6000)..])
            )
        })
    }

    #[track_caller]
    fn never_read(&self, word: &str) {
        assert!(
            self.server.read().iter().all(|body| !body.contains(word)),
            "the model has read {word}\n{}",
            self.said()
        );
    }
}

/// An agent that is running. It does not survive a test that panics.
struct Running<'a> {
    child: Option<Child>,
    scene: &'a Scene,
}

impl Running<'_> {
    fn wait(&mut self) {
        let clock = Instant::now();
        let child = self.child.as_mut().expect("a process");
        let mut quiet = (0, Instant::now());
        while child.try_wait().unwrap().is_none() {
            let asked = self.scene.server.read().len();
            // The agents themselves may lie below a directory of that name.
            let is_nixbox =
                |line: &String| line.split_whitespace().any(|word| word == "nixbox" || word.ends_with("/nixbox"));
            if asked != quiet.0 || processes_under(&self.scene.place.home).iter().any(is_nixbox) {
                quiet = (asked, Instant::now());
            }
            // A server has come to the end when nothing happens any more.
            if self.scene.driver.serves && asked > 0 && quiet.1.elapsed() > QUIET {
                return;
            }
            let loops = self.scene.server.extra() >= LOOP;
            assert!(!loops, "goes round in circles\n{}", self.scene.said());
            assert!(clock.elapsed() < LIMIT, "it does not end\n{}", self.scene.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits on a terminal, where what is asked at the start is answered with the first choice.
    fn wait_for_a_boot(&mut self) {
        let clock = Instant::now();
        while !self.scene.boots() {
            assert!(clock.elapsed() < LIMIT / 2, "it boots nothing\n{}", self.scene.screen());
            std::thread::sleep(Duration::from_secs(2));
            if self.scene.server.read().is_empty() {
                self.keys(self.scene.driver.answer);
            }
        }
    }

    fn keys(&mut self, keys: &str) {
        // It may have ended by itself.
        drop(self.child.as_mut().and_then(|child| child.stdin.as_mut()).map(|stdin| stdin.write_all(keys.as_bytes())));
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().map_or(0, Child::id);
        // It may have ended by itself.
        let _ = killpg(Pid::from_raw(i32::try_from(pid).unwrap()), signal);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
        let clock = Instant::now();
        while !self.scene.ours().is_empty() && clock.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(50));
        }
        let left = self.scene.ours();
        end_the_rest(&self.scene.place.home);
        if !std::thread::panicking() {
            assert!(left.is_empty(), "processes survived: {left:?}");
        }
    }
}

/// Servers that agents have left in the background, which are theirs and not ours.
fn end_the_rest(home: &Path) {
    for process in processes_under(home) {
        if let Some(pid) = process.split(':').next().and_then(|pid| pid.parse().ok()) {
            // It may have ended by itself.
            let _ = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

fn with_end(mut steps: Vec<Step>, more: impl IntoIterator<Item = Step>) -> Vec<Step> {
    steps.extend(more);
    steps
}

fn told(driver: &'static Driver) {
    let scene =
        Scene::new(driver, |file| with_end((driver.edit)(file, GOOD, BAD), [Step::Say("Done."), Step::Say("No.")]));
    scene.run();
    assert_eq!(fs::read_to_string(scene.file()).unwrap(), BAD, "{}", scene.said());
    // In the request after the edit, and the edit's own result with it.
    scene.read(&["does not evaluate", "machine.nix", driver.edited]);
}

fn blocked_and_mended(driver: &'static Driver) {
    let scene = Scene::new(driver, |file| {
        let mended = with_end(vec![Step::Say("Done.")], (driver.edit)(file, BAD, GOOD));
        with_end(with_end((driver.edit)(file, GOOD, BAD), mended), [Step::Say("Mended.")])
    });
    scene.run();
    assert_eq!(fs::read_to_string(scene.file()).unwrap(), GOOD, "{}", scene.said());
    let held_up = scene.server.read();
    let after_the_end = (driver.edit)(Path::new("x"), "", "").len() + 1;
    assert!(held_up[after_the_end].matches("does not evaluate").count() >= 2, "{}", scene.said());
    assert!(scene.server.is_done() && scene.server.extra() == 0, "{}", scene.said());
}

fn blocked_once(driver: &'static Driver) {
    // A tool between, after which Gemini CLI says that it was not blocked.
    let scene = Scene::new(driver, |file| {
        let more = [Step::Say("Done."), (driver.look)(file), Step::Say("I leave it."), Step::Say("Really.")];
        with_end((driver.edit)(file, GOOD, BAD), more)
    });
    scene.run();
    let asked = scene.server.read().len();
    let wanted = (driver.edit)(Path::new("x"), "", "").len() + 3;
    assert_eq!(asked, wanted, "{}", scene.said());
}

fn red_before(driver: &'static Driver) {
    let scene = Scene::new(driver, |file| with_end((driver.edit)(file, BAD, "((\"good\"\n"), [Step::Say("Done.")]));
    fs::write(scene.file(), BAD).unwrap();
    scene.git(&["commit", "--quiet", "-am", "broken before"]);
    scene.run();
    assert_eq!(scene.server.extra(), 0, "{}", scene.said());
}

fn never_blocked(driver: &'static Driver) {
    let others = [
        Program::None,
        Program::Script("echo 'error: unrecognized subcommand' >&2; exit 2"),
        Program::Script("echo 'could not tell' >&2; exit 5"),
        Program::Script("kill -9 $$"),
        Program::Ours,
    ];
    for program in others {
        let mut scene = Scene::new(driver, |file| with_end((driver.edit)(file, GOOD, BAD), [Step::Say("Done.")]));
        scene.put(&program);
        // Ours cannot tell without nix.
        scene.has_nix = !matches!(program, Program::Ours);
        scene.run();
        assert_eq!(fs::read_to_string(scene.file()).unwrap(), BAD, "{}", scene.said());
        assert_eq!(scene.server.extra(), 0, "{}", scene.said());
        scene.never_read("does not evaluate");
    }
}

/// A machine that no other story has tried: it boots.
fn unknown(file: &Path) -> String {
    format!("\"{}\"\n", file.display())
}

fn interrupted(driver: &'static Driver) {
    stopped(driver, Signal::SIGINT);
}

fn killed(driver: &'static Driver) {
    stopped(driver, Signal::SIGKILL);
}

/// Whoever stops an agent while a machine boots for it has no machine left.
fn stopped(driver: &'static Driver, signal: Signal) {
    // One that is not known yet boots at the turn's end.
    let scene = Scene::new(driver, |file| with_end((driver.edit)(file, GOOD, &unknown(file)), [Step::Say("Done.")]));
    let running = scene.start();
    scene.wait_for_a_boot();
    running.signal(signal);
}

/// A user who stops the turn: the agent goes on, the machine does not.
fn escaped(driver: &'static Driver) {
    let scene = Scene::new(driver, |file| with_end((driver.edit)(file, GOOD, &unknown(file)), [Step::Say("Done.")]));
    let mut running = scene.start_on_a_terminal();
    running.wait_for_a_boot();
    let clock = Instant::now();
    while !scene.ours().is_empty() {
        running.keys("\u{1b}");
        assert!(clock.elapsed() < Duration::from_secs(30), "{:?}\n{}", scene.ours(), scene.screen());
        std::thread::sleep(Duration::from_secs(1));
    }
    assert!(running.child.as_mut().unwrap().try_wait().unwrap().is_none(), "it does not go on\n{}", scene.screen());
}

fn closed(driver: &'static Driver) {
    let scene = Scene::new(driver, |file| with_end((driver.edit)(file, GOOD, &unknown(file)), [Step::Say("Done.")]));
    let mut running = scene.start_on_a_terminal();
    running.wait_for_a_boot();
    // `script` holds the terminal, which goes with it; what else the agent has started is its own.
    running.signal(Signal::SIGKILL);
    let clock = Instant::now();
    while !scene.ours().is_empty() {
        assert!(clock.elapsed() < Duration::from_secs(30), "{:?}\n{}", scene.ours(), scene.screen());
        std::thread::sleep(Duration::from_millis(50));
    }
}
