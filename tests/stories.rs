//! What a user meets: exit codes, interrupts, killed processes, full disks, two runs at once. On real machines.

#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's runner says why it skips, and its helpers are the test"
)]

mod harness;

use std::fs;
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::ValueEnum as _;
use harness::{Nixbox, Running, Story, cannot_run, guest, processes_under, was_kept_waiting};
use nix::sys::signal::Signal;
use nixbox::report::format::Format;

/// Set by `scripts/test --all`: the long stories too.
const ALL: &str = "NIXBOX_TEST_ALL";

const WITHOUT_GUESTS: &[Story] = &[
    ("a flake that is not there is a usage error", a_flake_that_is_not_there),
    ("a size that is none is a usage error", a_size_that_is_none),
    ("a bad nixbox toml is a usage error with the line", a_bad_config),
    ("help names the exit codes", help_names_the_exit_codes),
    ("what is no verdict is a pass in no format", no_pass_in_any_format),
];

const WITH_GUESTS: &[Story] = &[
    ("a missing attribute is named with the nearest", a_missing_attribute),
    ("what a configuration says itself is not taken from a flag", promises_of_a_configuration),
    ("kvm that does not work is not the configuration's fault", kvm_that_does_not_work),
    ("json is one document and nothing else", json_is_one_document),
    ("a pass tells how to apply it and keeps the evidence", a_pass_keeps_the_evidence),
    ("a pass is one in every format", a_pass_in_every_format),
    ("virtio-serial finds out the same", virtio_serial),
    ("a demo is seen over vnc, ends when told to, keeps its disk", demo),
    ("ctrl-c ends it at once and leaves nothing", ctrl_c),
    ("a second ctrl-c ends it hard", ctrl_c_twice),
    ("sigterm ends it", sigterm),
    ("sigkill leaves no process, clean removes the rest", sigkill),
    ("qemu killed is noticed and is nobody's configuration", qemu_killed),
    ("the vsock daemon killed is no failure of the configuration", vsock_daemon_killed),
    ("a path with spaces works", a_path_with_spaces),
    ("two runs at once do not disturb each other", two_at_once),
    ("no terminal, no home, no runtime directory", no_home),
    ("a hostile runner and a hostile guest gain nothing", hostile),
    ("a disk without space is nobody's configuration", disk_without_space),
    ("a disk that fills up is nobody's configuration", disk_that_fills_up),
    ("a read-only artifacts directory is said, and nothing is lost", read_only_artifacts),
];

/// Long ones, for `scripts/test --all`.
const LONG: &[Story] = &[
    ("fifty sigkills at random moments leave nothing", fifty_sigkills),
    ("ten runs at once do not disturb each other", ten_at_once),
    ("a host with too much to do is nobody's configuration", busy_host),
];

fn main() -> std::process::ExitCode {
    let long = || std::env::var_os(ALL).is_none().then(|| "long, run by scripts/test --all".to_owned());
    harness::tell(&[(WITHOUT_GUESTS, None), (WITH_GUESTS, cannot_run()), (LONG, cannot_run().or_else(long))], 2)
}

fn a_flake_that_is_not_there() {
    let outcome = Nixbox::new(["try", "./nowhere#x"]).run();
    assert_eq!(outcome.code(), 2, "{}", outcome.stderr());
    assert!(outcome.stderr().contains("nowhere"), "{}", outcome.stderr());
}

/// The names of formats, each with what it has to say.
fn formats(says: impl Fn(Format) -> Option<&'static str>) -> Vec<(String, &'static str)> {
    let name = |format: &Format| format.to_possible_value().unwrap().get_name().to_owned();
    Format::value_variants().iter().filter_map(|format| Some((name(format), says(*format)?))).collect()
}

fn no_pass_in_any_format() {
    let formats = formats(|format| match format {
        // They have stories of their own.
        Format::Human | Format::Json => None,
        Format::Junit => Some("<error message=\""),
        Format::Tap => Some("\nnot ok 1 - run: "),
        Format::Github => Some("::notice title=./nowhere#x%3A run::could not tell: "),
        Format::Markdown => Some("**could not tell**"),
        Format::Html => Some("could not tell"),
    });
    for (format, says) in &formats {
        let call = Nixbox::new(["try", "./nowhere#x", "--format", format.as_str()]);
        let summary = call.home().join("summary.md");
        let outcome = call.env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", &summary).run();
        assert_eq!(outcome.code(), 2, "{}", outcome.stderr());
        assert!(outcome.stdout().contains(says), "{format}: {}", outcome.stdout());
        let written = fs::read_to_string(&summary).unwrap_or_default();
        assert_eq!(written.contains("**could not tell**"), format == "github", "{format}: {written}");
    }
}

fn a_size_that_is_none() {
    let outcome = Nixbox::new(["try", "--memory", "banana"]).run();
    assert_eq!(outcome.code(), 2);
    assert!(outcome.stderr().contains("banana"), "{}", outcome.stderr());
}

fn a_bad_config() {
    let call = Nixbox::new(["try", "./nowhere#x"]);
    let config = call.home().join("nixbox.toml");
    fs::write(&config, "[checks]\nsettel = \"3s\"\n").unwrap();
    let outcome = call.arg("--config").arg(&config).run();
    assert_eq!(outcome.code(), 2);
    for word in ["settel", "settle", "2"] {
        assert!(outcome.stderr().contains(word), "{word} in {}", outcome.stderr());
    }
}

fn help_names_the_exit_codes() {
    let outcome = Nixbox::new(["--help"]).run();
    assert_eq!(outcome.code(), 0);
    assert!(outcome.stdout().contains("130  interrupted"), "{}", outcome.stdout());
}

fn a_missing_attribute() {
    let outcome = Nixbox::try_(guest("minimel")).run();
    let report = outcome.report();
    assert_eq!(outcome.code(), 3, "{report:#}");
    assert!(outcome.failed().contains("build.attribute"), "{report:#}");
    assert!(report.to_string().contains("minimal"), "{report:#}");
}

fn promises_of_a_configuration() {
    for flag in ["--name=x", "--expectations=/dev/null"] {
        let outcome = Nixbox::try_(guest("minimal")).arg(flag).run();
        assert_eq!(outcome.code(), 2, "{flag}: {}", outcome.stderr());
    }
    let call = Nixbox::try_(guest("minimal"));
    let expectations = call.home().join("expectations.json");
    fs::write(&expectations, r#"{"known":true}"#).unwrap();
    let outcome = call.arg("--expectations").arg(&expectations).run();
    assert_eq!(outcome.code(), 2, "{}", outcome.stderr());
    assert!(outcome.stderr().contains("are for a runner"), "{}", outcome.stderr());
}

/// Whether this host's KVM runs code at all, as `nixbox doctor` proves.
fn kvm_works() -> bool {
    let doctor: serde_json::Value = Nixbox::new(["doctor", "--format", "json"]).run().report();
    let findings = doctor["findings"].as_array().cloned().unwrap_or_default();
    findings.iter().any(|finding| finding["id"] == "accelerator.kvm" && finding["state"] == "ok")
}

fn kvm_that_does_not_work() {
    if kvm_works() {
        eprintln!("skipped: KVM works here, so that it does not cannot be seen");
        return;
    }
    let outcome = Nixbox::try_(guest("minimal")).args(["--accel", "kvm"]).run();
    let report = outcome.report();
    assert_eq!(outcome.code(), 5, "{report:#}");
    assert_eq!(report["verdict"], "unknown");
    assert_eq!(report["stage"], "host");
}

fn json_is_one_document() {
    let outcome = Nixbox::try_(guest("minimal")).run();
    let report = outcome.report();
    assert_eq!((outcome.code(), &report["verdict"]), (0, &"pass".into()), "{report:#}");
    assert_eq!(report["schema"], 2);
    assert!(outcome.stdout().trim_end().ends_with('}'));
}

fn a_pass_in_every_format() {
    let mut call = Nixbox::try_(guest("minimal"));
    let directory = call.home().to_owned();
    let formats = formats(|format| match format {
        Format::Human | Format::Json => None,
        Format::Junit => Some(" failures=\"0\" errors=\"0\""),
        Format::Tap => Some("\nok 1 - boot.target: "),
        Format::Github => Some("::notice title="),
        Format::Markdown => Some("| **pass** |"),
        Format::Html => Some("data:image/png;base64,"),
    });
    for (format, _) in &formats {
        call = call.arg("--report").arg(format!("{format}={}", directory.join(format).display()));
    }
    let outcome = call.run();
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr());
    for (format, says) in &formats {
        let text = fs::read_to_string(directory.join(format)).unwrap_or_else(|error| panic!("{format}: {error}"));
        assert!(text.contains(says), "{format}: {text}");
    }
}

fn a_pass_keeps_the_evidence() {
    let outcome = Nixbox::try_(guest("minimal")).run();
    let report = outcome.report();
    let artifacts = report["artifacts"].as_str().expect("an artifacts directory");
    let artifacts = Path::new(artifacts);
    for (name, holds) in [
        ("report.json", "\"schema\""),
        ("console.log", "Stage 2"),
        ("journal.txt", "systemd"),
        ("facts.json", "units"),
        ("nix.log", ""),
        ("qemu.log", ""),
    ] {
        let text = fs::read(artifacts.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(String::from_utf8_lossy(&text).contains(holds), "{name} holds {holds:?}");
    }
    let screen = fs::read(artifacts.join("screen.png")).expect("screen.png");
    assert_eq!(&screen[..8], b"\x89PNG\r\n\x1a\n");
    assert!(report["apply"].as_str().is_some_and(|apply| apply.contains("nixos-rebuild switch")), "{report:#}");
}

fn virtio_serial() {
    let outcome = Nixbox::try_(guest("minimal")).args(["--transport", "virtio-serial"]).run();
    let report = outcome.report();
    assert_eq!(outcome.code(), 0, "{report:#}\n{}", outcome.stderr());
    assert_eq!(report["machine"]["transport"], "virtio-serial");
}

/// A demo as somebody without a screen has it: a viewer connects, the verdict is told, Ctrl-C ends it, the next one
/// goes on with the disk.
fn demo() {
    let disks = tempfile::tempdir().expect("a directory");
    let disk = disks.path().join("my demo.qcow2");
    for round in ["a new disk", "the kept disk"] {
        let mut call = Nixbox::new(["demo"]).arg(guest("graphical")).args(["--impure", "--network", "off"]);
        let artifacts = call.home().join("artifacts");
        call = call.args(["--display", "vnc", "--save"]).arg(&disk).arg("--artifacts").arg(&artifacts);
        let running = call.env("DISPLAY", "").env("WAYLAND_DISPLAY", "").spawn();
        let mut viewer = until("VNC answers", || {
            let runs = running.home().join("state/nixbox/run");
            let run = fs::read_dir(runs).ok()?.flatten().next()?;
            UnixStream::connect(run.path().join("vnc")).ok()
        });
        let mut greeting = [0; 12];
        viewer.read_exact(&mut greeting).expect("QEMU greets a viewer");
        assert!(greeting.starts_with(b"RFB 003."), "{greeting:?}");
        until("the machine is judged", || {
            let kept =
                |run: &fs::DirEntry| ["journal.txt", "screen.png"].iter().all(|name| run.path().join(name).exists());
            fs::read_dir(&artifacts).ok()?.flatten().find(kept).map(drop)
        });
        // The last of the evidence is there: what follows takes no time, and the login is told before the end.
        std::thread::sleep(Duration::from_millis(500));
        running.signal(Signal::SIGINT);
        let outcome = running.wait();
        assert_eq!(outcome.code(), 0, "{round}: {}\n{}", outcome.stdout(), outcome.stderr());
        assert!(outcome.stdout().starts_with("pass: graphical works"), "{}", outcome.stdout());
        let told = outcome.stderr();
        for line in
            ["vncviewer", "it works: ", "log in as root; the password in this VM is nixbox", "the disk is kept in"]
        {
            assert!(told.contains(line), "{round}: {line:?} is not told: {told}");
        }
        assert_eq!(fs::read(&disk).expect("the disk was kept")[..4], *b"QFI\xfb");
    }
}

/// Waits until there is something.
fn until<T>(what: &str, mut there: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(240);
    loop {
        if let Some(it) = there() {
            return it;
        }
        assert!(Instant::now() < deadline, "{what}: not within 240 s");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The processes of a run by a word of their command line.
fn pids_of(running: &Running, word: &str) -> Vec<i32> {
    processes_under(running.home())
        .iter()
        .filter(|process| process.contains(word))
        .filter_map(|process| process.split(':').next()?.parse().ok())
        .collect()
}

/// Waits until QEMU itself runs (the jail's own processes name it too, as an argument).
fn until_qemu_runs(running: &Running) -> i32 {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        for pid in pids_of(running, "qemu") {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if name.starts_with("qemu-system") {
                return pid;
            }
        }
        assert!(Instant::now() < deadline, "QEMU did not start: {:?}", processes_under(running.home()));
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn nothing_left(home: &Path, within: Duration) {
    let deadline = Instant::now() + within;
    loop {
        let left = processes_under(home);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "still there after {within:?}: {left:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn run_directories(home: &Path) -> Vec<std::path::PathBuf> {
    let run = home.join("state/nixbox/run");
    fs::read_dir(run).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn interrupted_by(signals: &[Signal], code: i32) {
    let running = Nixbox::try_(guest("minimal")).spawn();
    until_qemu_runs(&running);
    let asked = Instant::now();
    for signal in signals {
        running.signal(*signal);
        std::thread::sleep(Duration::from_millis(20));
    }
    let outcome = running.wait();
    assert!(asked.elapsed() < Duration::from_secs(5), "took {:?}", asked.elapsed());
    assert_eq!(outcome.code(), code, "{}", outcome.stderr());
    let left = run_directories(outcome.call.home());
    assert!(left.is_empty(), "{left:?}");
}

fn ctrl_c() {
    interrupted_by(&[Signal::SIGINT], 130);
}

fn ctrl_c_twice() {
    interrupted_by(&[Signal::SIGINT, Signal::SIGINT], 130);
}

fn sigterm() {
    interrupted_by(&[Signal::SIGTERM], 130);
}

fn sigkill() {
    let running = Nixbox::try_(guest("minimal")).spawn();
    until_qemu_runs(&running);
    running.signal(Signal::SIGKILL);
    nothing_left(running.home(), Duration::from_secs(3));
    let left = run_directories(running.home());
    assert_eq!(left.len(), 1, "{left:?}");
    let outcome = running.wait();
    let state = outcome.call.home().join("state");
    let clean = Nixbox::new(["clean"]).env("XDG_STATE_HOME", &state).run();
    assert_eq!(clean.code(), 0, "{}", clean.stderr());
    assert!(!left[0].exists(), "{left:?} is still there: {}", clean.stdout());
}

fn qemu_killed() {
    let running = Nixbox::try_(guest("minimal")).spawn();
    until_qemu_runs(&running);
    std::thread::sleep(Duration::from_secs(2));
    // Asked again: the first may have been one that only told its version, or one that was started again since.
    let qemu = until_qemu_runs(&running);
    let killed = Instant::now();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(qemu), Signal::SIGKILL).unwrap();
    let outcome = running.wait();
    assert!(killed.elapsed() < Duration::from_secs(3), "noticed after {:?}", killed.elapsed());
    let report = outcome.report();
    assert_eq!(outcome.code(), 5, "{report:#}");
    assert_eq!(report["verdict"], "unknown");
}

fn vsock_daemon_killed() {
    let running = Nixbox::try_(guest("minimal")).spawn();
    until_qemu_runs(&running);
    for pid in pids_of(&running, "vhost-device-vsock") {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if name.starts_with("vhost-device") {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        }
    }
    let outcome = running.wait();
    assert_eq!(outcome.code(), 5, "{:#}", outcome.report());
}

fn a_path_with_spaces() {
    let call = Nixbox::new(["try"]);
    let flake = call.home().join("a flake, with spaces");
    let copied = std::process::Command::new("cp").arg("-r").arg(harness::guests()).arg(&flake).status().unwrap();
    assert!(copied.success());
    let mut target = flake.into_os_string();
    target.push("#minimal");
    let outcome = call.arg(target).args(["--impure", "--format", "json"]).run();
    assert_eq!(outcome.code(), 0, "{}\n{}", outcome.stdout(), outcome.stderr());
}

fn two_at_once() {
    let first = Nixbox::try_(guest("minimal")).spawn();
    let second = Nixbox::try_(guest("minimal")).spawn();
    let outcomes = [first.wait(), second.wait()];
    for outcome in outcomes {
        assert_eq!(outcome.code(), 0, "{:#}", outcome.report());
    }
}

fn no_home() {
    let call = Nixbox::try_(guest("minimal"));
    let home = call.home().join("empty home");
    fs::create_dir(&home).unwrap();
    let outcome = call.env("HOME", &home).env("TERM", "dumb").run();
    assert_eq!(outcome.code(), 0, "{:#}", outcome.report());
}

/// A guest tried with a state directory of this many MiB.
fn in_little_space(name: &str, mib: u32) -> harness::Outcome {
    // nix cannot build in the user namespace that the disk takes: its builders drop their groups.
    harness::build(name);
    let call = Nixbox::try_(guest(name));
    let state = call.home().join("state");
    fs::create_dir(&state).unwrap();
    call.on_a_disk_of(mib, &state).run()
}

fn disk_without_space() {
    let outcome = in_little_space("minimal", 100);
    let report = outcome.report();
    assert_eq!(outcome.code(), 5, "{report:#}");
    assert!(report["cause"].as_str().is_some_and(|cause| cause.contains("disk is full")), "{report:#}");
}

fn disk_that_fills_up() {
    // More than what has to stay free, and less than what the guest writes besides.
    let outcome = in_little_space("fills-disk", 320);
    let report = outcome.report();
    assert_eq!(outcome.code(), 5, "{report:#}");
    assert!(report["cause"].as_str().is_some_and(|cause| cause.contains("disk")), "{report:#}");
}

fn read_only_artifacts() {
    let outcome = Nixbox::new(["try"]).arg(guest("minimal")).args(["--impure", "--artifacts", "/proc/nixbox"]).run();
    assert_eq!(outcome.code(), 2, "{}", outcome.stderr());
    assert!(outcome.stdout().contains("/proc/nixbox") || outcome.stderr().contains("/proc/nixbox"));
}

fn fifty_sigkills() {
    // Reproducible: the moments are spread over a boot by a stride that is coprime to their number.
    for round in 0..50_u64 {
        let running = Nixbox::try_(guest("minimal")).spawn();
        std::thread::sleep(Duration::from_millis((round * 37 % 50) * 300 + round * 7));
        running.signal(Signal::SIGKILL);
        nothing_left(running.home(), Duration::from_secs(3));
        let outcome = running.wait();
        let state = outcome.call.home().join("state");
        let clean = Nixbox::new(["clean"]).env("XDG_STATE_HOME", &state).run();
        assert_eq!(clean.code(), 0, "{}", clean.stderr());
        let left = run_directories(outcome.call.home());
        assert!(left.is_empty(), "round {round}: {left:?}");
    }
}

fn ten_at_once() {
    let running: Vec<_> =
        (0..10).map(|_| Nixbox::try_(guest("minimal")).args(["--timeout", "15m"]).patient().spawn()).collect();
    let mut passed = 0;
    for run in running {
        let outcome = run.wait();
        // Ten emulated machines are more than many a host carries. What comes of that is no failure of the guest's.
        if was_kept_waiting(&outcome) {
            eprintln!("could not tell: {}", outcome.report()["cause"]);
            continue;
        }
        assert_eq!(outcome.code(), 0, "{:#}", outcome.report());
        passed += 1;
    }
    assert!(passed >= 5, "{passed} of 10 passed");
}

/// Programs that compute without end, each in a session of its own: a kernel that groups by session gives each as much
/// as it gives a machine.
struct Hogs(Vec<std::process::Child>);

impl Hogs {
    fn new(count: usize) -> Self {
        let hog = || std::process::Command::new("setsid").args(["sh", "-c", "while :; do :; done"]).spawn().unwrap();
        Self((0..count).map(|_| hog()).collect())
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for hog in &mut self.0 {
            hog.kill().unwrap();
            hog.wait().unwrap();
        }
    }
}

fn busy_host() {
    let cores = std::thread::available_parallelism().map_or(1, Into::into);
    let hogs = Hogs::new(cores * 3);
    let run = |name| Nixbox::try_(guest(name)).args(["--timeout", "15m"]).patient().spawn();
    let (late, hung) = (run("trap-limited"), run("times-out-late"));
    let (late, hung) = (late.wait(), hung.wait());
    drop(hogs);
    assert!(was_kept_waiting(&late), "{:#}", late.report());
    assert!(late.report()["cause"].as_str().unwrap().starts_with("index.service failed: timed out; "));
    assert!(late.stderr().contains("host overloaded: the VM waited for a CPU"), "{}", late.stderr());
    // What waits in vain does so on any host.
    assert_eq!(hung.code(), 1, "{:#}", hung.report());
    assert!(hung.report()["cause"].as_str().unwrap().starts_with("wait-for-lock.service failed: timed out"));
}

/// The port and the process name that the hostile ones look for.
const CANARY_PORT: u16 = 18765;
const CANARY: &str = "nixbox-canary";

/// Something to reach and something to kill, on this host.
struct Canary {
    listener: std::net::TcpListener,
    process: std::process::Child,
    _directory: tempfile::TempDir,
}

impl Canary {
    fn new() -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", CANARY_PORT)).expect("the canary's port is free");
        listener.set_nonblocking(true).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join(CANARY);
        fs::copy("/bin/sleep", &program).unwrap();
        let process = std::process::Command::new(program).arg("600").spawn().unwrap();
        Self { listener, process, _directory: directory }
    }

    fn stays_untouched(mut self) {
        assert!(self.listener.accept().is_err(), "somebody came out to loopback");
        assert!(self.process.try_wait().unwrap().is_none(), "somebody killed a process outside");
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// What `who` says of its attempts in an artifact: each refused.
fn all_refused(report: &serde_json::Value, artifact: &str, who: &str, attempts: usize) {
    let directory = Path::new(report["artifacts"].as_str().expect("artifacts"));
    let text = fs::read_to_string(directory.join(artifact)).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| line.contains(who) && line.contains(": ")).collect();
    assert!(lines.iter().all(|line| !line.contains("it worked")), "{lines:#?}");
    let refused = lines.iter().filter(|line| line.contains("refused")).count();
    assert!(refused >= attempts, "{refused} of {attempts} attempts refused: {lines:#?}");
}

fn hostile() {
    let canary = Canary::new();
    let runner = Nixbox::try_(guest("hostile-runner")).run();
    let report = runner.report();
    assert_eq!(runner.code(), 5, "{report:#}");
    all_refused(&report, "qemu.log", "hostile-runner:", 5);

    let guest = Nixbox::try_(guest("hostile-guest")).run();
    let report = guest.report();
    assert_eq!(guest.code(), 0, "{report:#}");
    all_refused(&report, "journal.txt", "hostile-guest", 3);
    canary.stays_untouched();
}
