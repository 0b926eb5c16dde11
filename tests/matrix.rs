//! Many hosts at once: what is said of each, of all together, and what is left of an interrupted run. On real machines.

#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test's runner says why it skips, and its helpers are the test"
)]

mod harness;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use harness::{Nixbox, Running, Story, cannot_run, complaints_of, expected, guests, processes_under};
use nix::sys::signal::Signal;
use serde_json::Value;

const WITHOUT_GUESTS: &[Story] = &[("what cannot be meant is a usage error", usage)];

const WITH_GUESTS: &[Story] = &[
    ("the names for ci services, without evaluating more", list),
    ("the first failure ends it before anything is started", fail_fast),
    ("twelve hosts, each told as it is by itself, and known again", twelve),
    ("a machine that dies touches no other", one_dies),
    ("ctrl-c leaves nothing and says what was done", ctrl_c),
    ("ctrl-c while it builds says what is known", ctrl_c_while_it_builds),
];

/// Hosts that end in every way: in all of these stages one fails, and one cannot be told.
const TWELVE: [&str; 12] = [
    "minimal",
    "server",
    "specialised@web",
    "failed-unit",
    "masked",
    "port-silent",
    "kernel-panic",
    "powers-off",
    "old-systemd",
    "eval-error",
    "failed-assertion",
    "build-fails",
];

fn main() -> std::process::ExitCode {
    // Each of them fills the host by itself.
    harness::tell(&[(WITHOUT_GUESTS, None), (WITH_GUESTS, cannot_run())], 1)
}

/// `nixbox matrix` of these hosts, with a cache of its own, artifacts in its home.
fn matrix(hosts: &[&str], cache: &Path) -> Nixbox {
    let mut call = Nixbox::new(["matrix"]).arg(guests()).args(["--impure", "--format", "json"]);
    for host in hosts {
        call = call.args(["--filter", host]);
    }
    let artifacts = call.home().join("artifacts");
    call.arg("--artifacts").arg(artifacts).env("XDG_CACHE_HOME", cache)
}

fn names(report: &Value) -> Vec<&str> {
    report["hosts"].as_array().unwrap().iter().map(|host| host["name"].as_str().unwrap()).collect()
}

fn usage() {
    for (line, word) in [
        (&["matrix", "./nowhere"][..], "nowhere"),
        (&["matrix", ".#laptop"], "--filter laptop"),
        (&["matrix", "--shard", "3/2"], "K/N"),
        (&["matrix", "--format", "gitlab"], "--list"),
    ] {
        let outcome = Nixbox::new(line.iter().copied()).run();
        assert_eq!(outcome.code(), 2, "{line:?}: {}", outcome.stderr());
        assert!(outcome.stderr().contains(word) && outcome.stdout().is_empty(), "{line:?}: {}", outcome.stderr());
    }
    // Who reads JSON waits for one document.
    let outcome = Nixbox::new(["matrix", "./nowhere", "--format", "json"]).run();
    let report = outcome.report();
    assert_eq!((outcome.code(), &report["exit"], &report["schema"]), (2, &2.into(), &1.into()), "{report:#}");
}

fn listed(arguments: &[&str]) -> String {
    let outcome =
        Nixbox::new(["matrix", "--list"]).args(["--impure"]).args(arguments.iter().copied()).arg(guests()).run();
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr());
    outcome.stdout()
}

fn list() {
    let all = listed(&[]);
    let all: Vec<&str> = all.lines().collect();
    for name in ["minimal", "specialised", "specialised@web", "specialised@7.1-beta", "eval-error"] {
        assert!(all.contains(&name), "{name} is not in {all:?}");
    }
    let shards: Vec<String> = (1..=3).map(|part| listed(&["--shard", &format!("{part}/3")])).collect();
    let mut together: Vec<&str> = shards.iter().flat_map(|shard| shard.lines()).collect();
    let mut sorted = all.clone();
    together.sort_unstable();
    sorted.sort_unstable();
    assert_eq!(together, sorted);

    let filter = ["--filter", "specialised*", "--filter", "min?mal"];
    let github = listed(&[&filter[..], &["--format", "github"]].concat());
    assert_eq!(github.lines().count(), 1, "{github}");
    let github: Value = serde_json::from_str(&github).unwrap();
    let hosts: Vec<_> = github["include"].as_array().unwrap().iter().map(|job| job["host"].as_str().unwrap()).collect();
    assert_eq!(hosts, ["minimal", "specialised", "specialised@7.1-beta", "specialised@web"]);
    let target = github["include"][3]["target"].as_str().unwrap();
    assert_eq!(target, format!("{}#specialised@web", guests().display()));
    let json: Value = serde_json::from_str(&listed(&[&filter[..], &["--format", "json"]].concat())).unwrap();
    assert_eq!(
        (&json[0]["attribute"], &json[3]["specialisation"]),
        (&"nixosConfigurations.minimal".into(), &"web".into())
    );
    assert!(listed(&[&filter[..], &["--format", "gitlab"]].concat()).contains("- HOST: \"specialised@7.1-beta\""));

    // A slip is one in each shard, too, and no empty list.
    for shard in ["1/1", "2/2"] {
        let call = Nixbox::new(["matrix", "--list", "--impure", "--filter", "minimel", "--shard", shard]);
        let outcome = call.arg(guests()).run();
        assert_eq!(outcome.code(), 2, "{}", outcome.stderr());
        assert!(outcome.stderr().contains("minimal"), "{}", outcome.stderr());
    }
}

fn fail_fast() {
    let cache = tempfile::tempdir().unwrap();
    let outcome = matrix(&["eval-error", "minimal"], cache.path()).arg("--fail-fast").run();
    let report = outcome.report();
    assert_eq!(outcome.code(), 3, "{report:#}");
    assert_eq!((&report["totals"]["fail"], &report["totals"]["not_run"]), (&1.into(), &1.into()), "{report:#}");
    assert_eq!(report["at_once"], 0);
    assert!(report["hosts"][1]["report"]["cause"].as_str().unwrap().contains("--fail-fast"), "{report:#}");
}

fn twelve() {
    let cache = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let running = matrix(&TWELVE, cache.path()).patient().spawn();
    let peak = peak_memory(running.pid());
    let outcome = running.wait();
    eprintln!("    {:.1} s", began.elapsed().as_secs_f64());
    let report = outcome.report();
    let expected = expected().unwrap();
    let mut sorted = TWELVE;
    sorted.sort_unstable();
    assert_eq!(names(&report), sorted);
    let mut wrong = Vec::new();
    let processors = nixbox::run::processors(report["at_once"].as_u64().unwrap() as usize);
    for host in report["hosts"].as_array().unwrap() {
        let name = host["name"].as_str().unwrap();
        let own = &host["report"];
        // What did not come as far as its machine has none.
        if let Some(cores) = own["machine"]["cores"].as_u64().filter(|&cores| cores > 0) {
            assert_eq!(cores, u64::from(processors), "{name} has not its share of the processors");
        }
        let complaints = complaints_of(&expected[name], own["exit"].as_i64().unwrap(), own);
        wrong.extend(complaints.into_iter().map(|complaint| format!("{name}: {complaint}")));
        let kept = own["artifacts"].as_str().map(Path::new);
        let wants = host["attempts"] == 1;
        assert_eq!(kept.is_some_and(|kept| kept.join("console.log").exists()), wants, "{name}: {kept:?}");
    }
    assert!(wrong.is_empty(), "{}\n{report:#}", wrong.join("\n"));
    // A failed build outweighs what failed to boot, and that what could not be told.
    assert_eq!((outcome.code(), &report["verdict"]), (3, &"fail".into()), "{}", report["totals"]);
    let totals = &report["totals"];
    assert_eq!((&totals["pass"], &totals["fail"], &totals["unknown"]), (&3.into(), &8.into(), &1.into()), "{totals}");
    let kept = Path::new(report["artifacts"].as_str().unwrap()).join("matrix.json");
    let kept: Value = serde_json::from_slice(&fs::read(kept).unwrap()).unwrap();
    assert_eq!(kept["hosts"], report["hosts"]);
    for line in ["nixbox: minimal …", "nixbox: failed-unit "] {
        assert!(outcome.stderr().contains(line), "{line:?} in {}", outcome.stderr());
    }
    let peak = peak.join().unwrap();
    eprintln!("    nixbox itself took {peak} KiB, {} machines at once", report["at_once"]);
    // A debug build's: in one run 35 MiB of it are pages of the binary (32 MiB before it could compare and switch), 7 MiB
    // its own memory (6.8 MiB before). 63.1 MiB in all with 650 patterns in its tables.
    assert!(peak < 68 << 10, "nixbox itself took {peak} KiB");

    // Nothing has changed: only what could not be told is asked again, and what is not built.
    let again = matrix(&TWELVE, cache.path()).run();
    let second = again.report();
    assert_eq!(again.code(), 3, "{second:#}");
    for host in second["hosts"].as_array().unwrap() {
        let own = &host["report"];
        let known = [0, 1, 4].contains(&own["exit"].as_i64().unwrap());
        assert_eq!(own["cached"].is_object(), known, "{}", host["name"]);
    }
    assert_eq!(second["at_once"], 1, "{second:#}");
}

/// The largest resident set that a process has while it lives, in KiB (proc_pid_status(5)).
fn peak_memory(pid: i32) -> std::thread::JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut peak = 0;
        while let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) {
            let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) else { break };
            peak = line.trim().trim_end_matches(" kB").parse().unwrap_or(peak);
            std::thread::sleep(Duration::from_millis(200));
        }
        peak
    })
}

/// Waits until so many machines run; their QEMUs' pids. The jails' own processes name QEMU too, as an argument.
fn until_machines_run(running: &Running, count: usize) -> Vec<i32> {
    let deadline = Instant::now() + Duration::from_secs(240);
    loop {
        let pids =
            processes_under(running.home()).into_iter().filter_map(|process| process.split(':').next()?.parse().ok());
        let is_qemu = |pid: &i32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("qemu-system"))
        };
        let machines: Vec<i32> = pids.filter(is_qemu).collect();
        if machines.len() >= count {
            return machines;
        }
        assert!(Instant::now() < deadline, "{count} machines do not run: {:?}", processes_under(running.home()));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether this host carries two machines at once; says so if not.
fn carries_two() -> bool {
    let two = std::thread::available_parallelism().is_ok_and(|cores| cores.get() >= 2);
    if !two {
        eprintln!("skipped: one processor carries one machine");
    }
    two
}

fn one_dies() {
    if !carries_two() {
        return;
    }
    let cache = tempfile::tempdir().unwrap();
    let running = matrix(&["minimal", "stage1-systemd"], cache.path()).args(["--max", "2"]).spawn();
    let machines = until_machines_run(&running, 2);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(machines[0]), Signal::SIGKILL).unwrap();
    let outcome = running.wait();
    let report = outcome.report();
    // Could not tell is not hidden by the other's pass.
    assert_eq!((outcome.code(), &report["verdict"]), (5, &"unknown".into()), "{report:#}");
    let totals = &report["totals"];
    assert_eq!((&totals["pass"], &totals["unknown"], &totals["fail"]), (&1.into(), &1.into(), &0.into()), "{report:#}");
}

/// The pids of what runs with these words on its command line.
fn running_with(words: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let has = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(words)
    };
    pids.filter(has).collect()
}

fn ctrl_c_while_it_builds() {
    let directory = tempfile::tempdir().unwrap();
    harness::busybox_into(directory.path());
    // The words are in nobody else's command line.
    let words = format!("nixbox-test-{}", std::process::id());
    let flake = format!(
        r#"{{
  outputs = _: {{
    nixosConfigurations.bad = throw "this one does not evaluate";
    nixosConfigurations.slow.config.system.build = rec {{
      vm = derivation {{
        name = "slow-vm";
        system = "x86_64-linux";
        builder = "${{./bin}}/busybox";
        args = [ "sh" "-c" "${{./bin}}/busybox sleep 600; : {words}" ];
      }};
      toplevel = vm;
    }};
  }};
}}
"#
    );
    fs::write(directory.path().join("flake.nix"), flake).unwrap();
    let call = Nixbox::new(["matrix"]).arg(directory.path()).args(["--format", "json"]);
    let artifacts = call.home().join("artifacts");
    let running = call.arg("--artifacts").arg(artifacts).spawn();
    let deadline = Instant::now() + Duration::from_secs(60);
    while running_with(&words).is_empty() {
        assert!(Instant::now() < deadline, "it is not built");
        std::thread::sleep(Duration::from_millis(50));
    }
    running.signal(Signal::SIGINT);
    let outcome = running.wait();
    let report = outcome.report();
    assert_eq!((outcome.code(), names(&report)), (130, vec!["bad", "slow"]), "{report:#}");
    let of = |host: usize| &report["hosts"][host]["report"];
    assert_eq!((&of(0)["exit"], &of(1)["exit"]), (&3.into(), &130.into()), "{report:#}");
    assert_eq!(of(0)["cause"], "bad: this one does not evaluate", "{report:#}");
    // nix ends its builder a moment after it was told to.
    let deadline = Instant::now() + Duration::from_secs(5);
    while !running_with(&words).is_empty() {
        assert!(Instant::now() < deadline, "it is still built");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn ctrl_c() {
    if !carries_two() {
        return;
    }
    let cache = tempfile::tempdir().unwrap();
    let running =
        matrix(&["minimal", "server", "stage1-systemd", "eval-error"], cache.path()).args(["--max", "2"]).spawn();
    let _two = until_machines_run(&running, 2);
    let asked = Instant::now();
    running.signal(Signal::SIGINT);
    // Which proves that no process is left.
    let outcome = running.wait();
    assert!(asked.elapsed() < Duration::from_secs(5), "took {:?}", asked.elapsed());
    let report = outcome.report();
    assert_eq!((outcome.code(), &report["exit"]), (130, &130.into()), "{report:#}");
    assert_eq!(names(&report).len(), 4);
    assert_eq!((&report["totals"]["fail"], &report["totals"]["not_run"]), (&1.into(), &3.into()), "{report:#}");
    let left: Vec<_> =
        fs::read_dir(outcome.call.home().join("state/nixbox/run")).into_iter().flatten().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}
