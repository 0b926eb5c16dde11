//! The figures that nixbox is held to, on the guests `minimal` and `sway`, taken in one run. `scripts/bench` runs this.
//!
//! These machines are noisy: ratios are taken from pairs of runs made in turn, and each figure is a median. A desktop
//! takes minutes, and is booted once. What takes many boots is counted from a log (see `soak`).

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    reason = "a table is what this program is for, and what it cannot measure ends it"
)]

mod agents;
mod comparison;
mod fleet;
#[path = "../../tests/harness/mod.rs"]
mod harness;
mod soak;
mod switch;
mod verdicts;

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nixbox::event::Events;
use nixbox::guest::credentials::{Token, credentials};
use nixbox::guest::notify::{self, Notification};
use nixbox::guest::shell::Shell;
use nixbox::machine::{JailOptions, Machine, RunDir, Spec, accel};
use nixbox::model::{AccelChoice, GUEST_CID, HOST_CID, TransportKind, credential, port};
use nixbox::signal::{Picture, ToneSequence, picture, tone, wav};
use nixbox::transport::{Transport, VhostUser};
use serde_json::{Map, Value, json};

/// Pairs of (bare boot, `nixbox try`).
const RUNS: usize = 3;
/// Runs of what takes milliseconds.
const SHORT_RUNS: usize = 20;
/// What QEMU's `wav` audiodev writes by default, in Hz.
const CAPTURED_RATE: u32 = 44_100;
/// Longer than any boot here.
const PATIENCE: Duration = Duration::from_secs(300);

/// A figure, its goal, and whether it is in seconds, milliseconds, …
struct Figure {
    name: &'static str,
    goal: f64,
    /// Whether more is better.
    is_least: bool,
    values: Vec<f64>,
}

const USAGE: &str = "usage: scripts/bench [--json FILE] [--only PART] [--soak[=BOOTS]] [--broken[=BOOTS]]";

/// What can be measured by itself: all of it takes most of an hour.
const PARTS: [&str; 6] = ["boots", "agents", "fleet", "switch", "verdicts", "desktop"];

/// What was asked for. The inner number: how many boots at most.
#[derive(Default)]
struct Options {
    json: Option<PathBuf>,
    /// One of [`PARTS`].
    only: Option<String>,
    soak: Option<Option<usize>>,
    broken: Option<Option<usize>>,
}

fn options() -> Option<Options> {
    let mut options = Options::default();
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.parse().ok()?)),
            None => (argument.as_str(), None),
        };
        match (name, value) {
            ("--json", None) => options.json = Some(arguments.next()?.into()),
            ("--only", None) => {
                options.only = Some(arguments.next().filter(|part| PARTS.contains(&part.as_str()))?);
            }
            ("--soak", boots) => options.soak = Some(boots),
            ("--broken", boots) => options.broken = Some(boots),
            _ => return None,
        }
    }
    Some(options)
}

fn main() {
    let Some(options) = options() else {
        eprintln!("{USAGE}");
        std::process::exit(2);
    };
    let mut log = soak::Log::open();
    if let Some(boots) = options.soak {
        log.soak(boots);
        log.plays();
    }
    if let Some(boots) = options.broken {
        log.broken(boots);
    }
    let guest = harness::guest("minimal");
    // Everything is built before anything is timed.
    let warm = try_(&guest, &[]);
    assert_eq!(warm.code, 0, "nixbox try {guest} does not pass: {:#}", warm.report);
    let runner = PathBuf::from(warm.report["target"]["runner"].as_str().expect("a runner"));
    let accelerator = warm.report["machine"]["accelerator"].as_str().expect("an accelerator").to_owned();

    let figure = |name, goal| Figure { name, goal, is_least: false, values: Vec::new() };
    let mut cold = figure("cold_over_floor", 1.15);
    let mut verdict = figure("ready_to_verdict_s", 6.0);
    let mut gone = figure("verdict_to_gone_s", 1.0);
    let mut noticed = figure("crash_noticed_s", 0.2);
    let mut shell = figure("shell_round_trip_ms", 5.0);
    let mut help = figure("help_ms", 10.0);
    let mut rss = figure("rss_mib", 40.0);
    let mut painted = figure("painted_to_verdict_s", 10.0);
    let mut tone = figure("tone_s", 8.0);
    let mut sound = figure("analyse_wav_ms", 20.0);
    let mut picture = figure("analyse_4k_ms", 60.0);
    let mut irrelevant = figure("hook_irrelevant_ms", 30.0);
    let mut evaluation = figure("hook_eval_over_nix", 1.1);
    let mut cached = figure("cached_ms", 30.0);
    let mut cached_over_cold = figure("cached_over_cold", 0.01);
    let mut diff = figure("diff_2000_ms", 2000.0);
    let mut diff_own = figure("diff_2000_own_ms", 200.0);
    let mut ten_at_once = figure("ten_at_once", 1.0);
    let mut proven = Figure { is_least: true, ..figure("agents_proven", 5.0) };
    let mut looped = figure("agents_looped", 0.0);
    let mut over_bound = figure("matrix_over_bound", 1.15);
    let mut matrix_rss = figure("matrix_rss_mib", 60.0);
    let mut html = figure("html_mib", 3.0);
    let mut sandbox = figure("sandbox_over_try", 1.2);
    let mut switch_over_try = figure("switch_over_try", 1.7);
    let mut record = figure("record_s", 1.5);
    let mut send = Figure { is_least: true, ..figure("send_mib_s", 1.0) };
    let mut false_alarms = figure("false_alarms", 0.0);
    let mut misses = figure("misses", 0.0);
    let mut facts_passes = figure("facts_false_passes", 0.0);
    let mut facts_alarms = figure("facts_false_alarms", 0.0);
    let mut compared_passes = figure("compared_false_passes", 0.0);
    let mut compared_alarms = figure("compared_false_alarms", 0.0);
    let mut extra_boots = figure("baseline_extra_boots", 1.0);

    let measures = |part: &str| options.only.as_deref().is_none_or(|only| only == part);
    for run in (1..=RUNS).filter(|_| measures("boots")) {
        let floor = bare_boot(&runner, &accelerator);
        let whole = try_(&guest, &[]);
        assert_eq!(whole.code, 0, "{:#}", whole.report);
        let phase = |name: &str| {
            let phases = whole.report["phases"].as_array().into_iter().flatten();
            phases.filter(|phase| phase["phase"] == name).filter_map(|phase| phase["seconds"].as_f64()).sum::<f64>()
        };
        let seconds = whole.report["seconds"].as_f64().expect("seconds");
        cold.values.push(whole.wall / floor);
        verdict.values.push(phase("check"));
        gone.values.push(whole.wall - (seconds - phase("stop")));
        rss.values.push(whole.peak_mib);
        eprintln!(
            "run {run}: bare {floor:.1} s, try {:.1} s (evaluate {:.1}, build {:.1}, boot {:.1}, check {:.1}, stop {:.1})",
            whole.wall,
            phase("evaluate"),
            phase("build"),
            phase("boot"),
            phase("check"),
            phase("stop"),
        );
        noticed.values.push(crash(&guest));
    }
    if measures("boots") {
        shell.values = shell_round_trips(&runner);
    }
    for _ in (0..SHORT_RUNS).filter(|_| measures("boots")) {
        let clock = Instant::now();
        let status = nixbox().arg("--help").stdout(Stdio::null()).status().expect("nixbox --help");
        assert!(status.success());
        help.values.push(clock.elapsed().as_secs_f64() * 1000.0);
    }

    if measures("agents") {
        irrelevant.values = agents::irrelevant(SHORT_RUNS);
        evaluation.values = agents::evaluation(SHORT_RUNS / 2);
        (cached.values, cached_over_cold.values) = agents::cached(SHORT_RUNS);
        ten_at_once.values = vec![agents::ten_at_once()];
        if let Some(real) = agents::real() {
            proven.values = vec![real.proven];
            looped.values = vec![real.looped];
        }
    }
    if measures("fleet") {
        (diff.values, diff_own.values) = comparison::times();
        let matrix = fleet::matrix();
        (over_bound.values, matrix_rss.values) = (vec![matrix.over_bound], vec![matrix.rss_mib]);
        html.values = vec![matrix.html_mib];
        sandbox.values = vec![fleet::sandbox()];
    }
    if measures("switch") {
        let switched = switch::figures();
        (switch_over_try.values, record.values) = (switched.over_try, switched.record_s);
        send.values.extend(switched.send_mib_s);
    }
    if measures("verdicts") {
        let [alone, compared] = verdicts::wrong();
        (facts_passes.values, facts_alarms.values) = (vec![alone.passes.into()], vec![alone.alarms.into()]);
        (compared_passes.values, compared_alarms.values) = (vec![compared.passes.into()], vec![compared.alarms.into()]);
        extra_boots.values = vec![verdicts::extra_boots()];
    }
    if measures("desktop") {
        let desktop = try_(&harness::guest("sway"), &[]);
        if desktop.code != 0 {
            // What was measured holds all the same; what was not stays open.
            eprintln!("sway does not pass: {}", desktop.report["cause"]);
        }
        painted.values.extend(desktop.report["painted_to_verdict"].as_f64());
        tone.values.extend(tone_seconds(&desktop.report));
        sound.values = analyse_wav();
        picture.values = analyse_4k();
    }
    false_alarms.values.extend(log.false_alarms());
    misses.values.extend(log.misses());

    let mut document = Map::new();
    println!("{:24} {:>10} {:>8}", "figure", "median", "goal");
    let agents = [irrelevant, evaluation, cached, cached_over_cold, ten_at_once, proven, looped];
    let fleet = [over_bound, matrix_rss, html, sandbox, diff, diff_own, switch_over_try, record, send];
    let boots = [cold, verdict, gone, noticed, shell, help, rss];
    let desktop = [painted, tone, sound, picture, false_alarms, misses];
    let verdicts = [facts_passes, facts_alarms, compared_passes, compared_alarms, extra_boots];
    let all = boots.into_iter().chain(agents).chain(fleet).chain(desktop).chain(verdicts);
    // Of one part, only what was measured.
    for figure in all.filter(|figure| options.only.is_none() || !figure.values.is_empty()) {
        let median = median(figure.values);
        let shown = median.map_or("-".to_owned(), |value| format!("{value:.3}"));
        let met = median.map_or("?", |value| {
            let is_met = if figure.is_least { value >= figure.goal } else { value <= figure.goal };
            if is_met { "" } else { "  missed" }
        });
        println!("{:24} {shown:>10} {:>8}{met}", figure.name, figure.goal);
        document.insert(figure.name.to_owned(), median.map_or(Value::Null, |value| json!(value)));
    }
    if let Some(path) = options.json {
        let text = serde_json::to_string_pretty(&document).expect("JSON");
        fs::write(&path, text + "\n").unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// How long the tones took, from their way into the session to the verdict on them.
fn tone_seconds(report: &Value) -> Option<f64> {
    let checks = report["checks"].as_array().into_iter().flatten();
    let tone = checks.filter(|check| check["id"] == "audio.tone" && check["status"] == "pass");
    tone.filter_map(|check| check["seconds"].as_f64()).next_back()
}

/// Milliseconds to make of 3 s of a capture what is in it.
fn analyse_wav() -> Vec<f64> {
    let sequence = ToneSequence::default();
    let bytes = wav::write(&tone::render(&sequence, CAPTURED_RATE).part(0.0, 3.0));
    timed(|| {
        let capture = wav::read(&bytes).expect("a capture");
        tone::analyse(&capture.samples, &sequence).playback.expect("the tones")
    })
}

/// Milliseconds to make of one picture of 3840×2160 what it shows and how it differs from the last, without the
/// decoding: of the slowest of a real desktop, noise and one colour.
fn analyse_4k() -> Vec<f64> {
    let (width, height) = (3840_u32, 2160_u32);
    let shot = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sway.png")).expect("docs/sway.png");
    let shot = Picture::from_png(&shot).expect("a picture");
    let paint = |colour: &dyn Fn(u32, u32) -> [u8; 3]| {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| colour(x, y)).collect();
        Picture::new(width, height, pixels).expect("a picture")
    };
    let desktop = paint(&|x, y| {
        let (x, y) = (x * shot.width() / width, y * shot.height() / height);
        shot.pixels()[(y * shot.width() + x) as usize]
    });
    let noise = paint(&|x, y| {
        let n = (x ^ y.rotate_left(16)).wrapping_mul(0x9e37_79b9);
        (n ^ (n >> 15)).wrapping_mul(0x85eb_ca6b).to_be_bytes()[..3].try_into().expect("three bytes")
    });
    let flat = paint(&|_, _| [40, 40, 40]);
    let pairs = [(&flat, &desktop), (&desktop, &noise), (&noise, &flat)];
    let times = pairs.map(|(before, after)| timed(|| (picture::analyse(after), picture::diff(before, after))));
    let slowest = times.into_iter().max_by(|a, b| median(a.clone()).partial_cmp(&median(b.clone())).expect("numbers"));
    slowest.expect("three pictures")
}

/// Milliseconds of each of some runs, as this thread's own time on a processor: the work is done by it alone and waits
/// for nothing, and the clock on the wall would tell of the machine's other guests.
fn timed<T>(work: impl Fn() -> T) -> Vec<f64> {
    let run = |_| {
        let before = own_time();
        std::hint::black_box(work());
        (own_time() - before) * 1000.0
    };
    (0..SHORT_RUNS).map(run).collect()
}

/// Seconds that this thread has run (the kernel's Documentation/scheduler/sched-stats.rst: the first number, in ns).
fn own_time() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux with schedstat");
    let first = text.split(' ').next().and_then(|number| number.parse::<u64>().ok());
    Duration::from_nanos(first.expect("nanoseconds")).as_secs_f64()
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len().checked_sub(1)? / 2).copied()
}

fn nixbox() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nixbox"));
    command.stdin(Stdio::null());
    command
}

/// How a whole `nixbox try` went.
struct Tried {
    code: i32,
    report: Value,
    /// Seconds from its start to its end.
    wall: f64,
    /// nixbox's own peak resident memory.
    peak_mib: f64,
}

fn start(guest: &str, arguments: &[&str]) -> (Child, tempfile::TempDir) {
    let home = tempfile::Builder::new().prefix("nb-").tempdir().expect("a temporary directory");
    let child = nixbox()
        .args(["try", guest, "--impure", "--baseline", "off", "--fresh", "--quiet", "--format", "json", "--artifacts"])
        .arg(home.path())
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("nixbox starts");
    (child, home)
}

fn try_(guest: &str, arguments: &[&str]) -> Tried {
    let clock = Instant::now();
    let (mut child, _home) = start(guest, arguments);
    let watch = peak_of(child.id());
    let mut text = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut text).expect("text");
    let code = child.wait().expect("its end").code().unwrap_or(-1);
    let wall = clock.elapsed().as_secs_f64();
    let report = serde_json::from_str(&text).unwrap_or(Value::Null);
    Tried { code, report, wall, peak_mib: watch.join().unwrap_or_default() }
}

/// Watches a process to its end: its peak resident memory, in MiB.
fn peak_of(pid: u32) -> std::thread::JoinHandle<f64> {
    let status = format!("/proc/{pid}/status");
    std::thread::spawn(move || {
        let mut peak = 0.0_f64;
        while let Ok(text) = fs::read_to_string(&status) {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let Some(kib) = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok()) else { break };
            peak = peak.max(kib / 1024.0);
            std::thread::sleep(Duration::from_millis(100));
        }
        peak
    })
}

/// The same runner, with nothing but a listener for `READY=1`: seconds until that arrives.
fn bare_boot(runner: &Path, accelerator: &str) -> f64 {
    let directory = tempfile::Builder::new().prefix("nb-").tempdir().expect("a temporary directory");
    let file = |name: &str| directory.path().join(name);
    let listener = UnixListener::bind(file(&format!("vs_{}", port::NOTIFY))).expect("a socket");
    let clock = Instant::now();
    let mut daemon = Command::new("vhost-device-vsock")
        .arg("--vm")
        .arg(format!(
            "guest-cid={GUEST_CID},socket={},uds-path={},tx-buffer-size=32768",
            file("vh").display(),
            file("vs").display()
        ))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("vhost-device-vsock is on PATH");
    while !file("vh").exists() {
        assert!(clock.elapsed() < PATIENCE, "the vsock daemon does not listen");
        std::thread::sleep(Duration::from_millis(1));
    }
    let notify = base64::engine::general_purpose::STANDARD.encode(format!("vsock-stream:{HOST_CID}:{}", port::NOTIFY));
    let mut qemu = Command::new(runner)
        .args(["-display", "none", "-serial", "none", "-machine"])
        .arg(format!("accel={accelerator},memory-backend=mem"))
        .args(["-cpu", if accelerator == "tcg" { "max,-la57" } else { "max" }, "-smp", "2"])
        .args(["-m", "1024M", "-object", "memory-backend-memfd,id=mem,size=1024M,share=on"])
        .args(["-chardev", &format!("socket,id=vs,path={}", file("vh").display())])
        .args(["-device", "vhost-user-vsock-pci,chardev=vs", "-smbios"])
        .arg(format!("type=11,value={}{}={notify}", credential::SMBIOS_PREFIX, credential::NOTIFY_SOCKET))
        .env("NIX_DISK_IMAGE", file("disk.qcow2"))
        .env("TMPDIR", directory.path())
        .env("USE_TMPDIR", "1")
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the runner starts");
    // One message a connection; the daemon forwards no half-close, so one read is all (see guest::notify).
    let ready = loop {
        let (mut stream, _) = listener.accept().expect("a message");
        let mut message = [0; 4096];
        stream.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
        let length = stream.read(&mut message).unwrap_or(0);
        if message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
            break clock.elapsed().as_secs_f64();
        }
        assert!(clock.elapsed() < PATIENCE, "no READY=1");
    };
    for child in [&mut qemu, &mut daemon] {
        child.kill().expect("it is ours to kill");
        child.wait().expect("its end");
    }
    ready
}

/// Kills QEMU in the middle of a boot: seconds until nixbox has said so and ended.
fn crash(guest: &str) -> f64 {
    let (mut child, _home) = start(guest, &[]);
    let clock = Instant::now();
    let qemu = loop {
        if let Some(pid) = find_qemu(child.id()) {
            break pid;
        }
        assert!(clock.elapsed() < PATIENCE, "QEMU did not start");
        std::thread::sleep(Duration::from_millis(20));
    };
    std::thread::sleep(Duration::from_secs(2));
    let clock = Instant::now();
    kill(Pid::from_raw(qemu), Signal::SIGKILL).expect("QEMU is ours to kill");
    let code = child.wait().expect("its end").code();
    assert_eq!(code, Some(5), "a crash of QEMU is nobody's configuration");
    clock.elapsed().as_secs_f64()
}

/// Milliseconds that `true` takes in an open shell of an idle guest.
fn shell_round_trips(runner: &Path) -> Vec<f64> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let run_dir = RunDir::create().expect("a run directory");
        let token = Token::random().expect("random numbers");
        let channel: Arc<dyn Transport> = Arc::new(VhostUser::new(run_dir.path()).expect("a channel"));
        let (mut notifications, listener) = notify::listen(Arc::clone(&channel));
        let (accel, _) = accel::choose(AccelChoice::Auto, Path::new(env!("CARGO_BIN_EXE_nixbox"))).await.expect("one");
        let spec = Spec {
            cores: 2,
            accel,
            transport: TransportKind::VhostUser,
            credentials: credentials(TransportKind::VhostUser, &token),
            ..Spec::new(runner, run_dir.path())
        };
        let jail = JailOptions { launcher: env!("CARGO_BIN_EXE_nixbox").into(), ..JailOptions::default() };
        let machine = Machine::start(spec, &jail, &Events::silent(), None).await.expect("a machine");
        while notifications.recv().await.expect("PID 1's word") != Notification::Ready {}
        let shell = Shell::new(channel, token);
        shell.warm(1, PATIENCE).await.expect("a shell");
        let mut values = Vec::new();
        for _ in 0..50 {
            let clock = Instant::now();
            shell.ask("true", PATIENCE, 1024).await.expect("an answer");
            values.push(clock.elapsed().as_secs_f64() * 1000.0);
        }
        machine.stop().await;
        listener.abort();
        values
    })
}

/// QEMU among the descendants of a nixbox.
fn find_qemu(nixbox: u32) -> Option<i32> {
    let mut parents = std::collections::BTreeMap::new();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((head, tail)) = stat.rsplit_once(')') else { continue };
        let parent: Option<i32> = tail.split_whitespace().nth(1).and_then(|parent| parent.parse().ok());
        parents.insert(pid, parent.unwrap_or(0));
        if head.contains("(qemu-system") {
            found.push(pid);
        }
    }
    found.into_iter().find(|pid| {
        let mut pid = *pid;
        while let Some(parent) = parents.get(&pid) {
            if u32::try_from(pid) == Ok(nixbox) {
                return true;
            }
            pid = *parent;
        }
        false
    })
}
