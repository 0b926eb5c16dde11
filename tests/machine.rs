//! Real QEMU in the jail, without a guest: the firmware is enough to see that a machine starts, talks and ends.
//!
//! Skipped, with the reason, where there is no QEMU on PATH. `NIXBOX_TEST_RUNNER=…/bin/run-NAME-vm` boots that as well.

#![expect(clippy::print_stderr, clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nixbox::event::Events;
use nixbox::machine::accel;
use nixbox::machine::{JailOptions, Machine, MachineEvent, RunDir, Spec, find_program};
use nixbox::model::{Accel, JailKind, TransportKind};

const LIMIT: Duration = Duration::from_secs(90);

fn launcher() -> PathBuf {
    std::env::var_os("NIXBOX_TEST_LAUNCHER").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_nixbox")), PathBuf::from)
}

/// A run directory, a runner that starts QEMU with nothing to boot, and a jail that shows both.
struct Bench {
    _guard: tempfile::TempDir,
    run_dir: RunDir,
    artifacts: PathBuf,
    runner: PathBuf,
    jail: JailOptions,
}

impl Bench {
    fn new() -> Option<Self> {
        let Some(qemu) = find_program("qemu-system-x86_64") else {
            eprintln!("skipped: no qemu-system-x86_64 on PATH");
            return None;
        };
        let guard = tempfile::Builder::new().prefix("nb").tempdir_in("/tmp").unwrap();
        let artifacts = guard.path().join("artifacts");
        std::fs::create_dir(&artifacts).unwrap();
        let runner = guard.path().join("run-empty-vm");
        let script = format!(
            "#!/bin/sh\necho runner says hello >&2\nexec '{}' -machine accel=kvm:tcg -cpu max -m 64 -smp 1 -nic none $QEMU_OPTS \"$@\"\n",
            qemu.display()
        );
        std::fs::write(&runner, script).unwrap();
        std::fs::set_permissions(&runner, std::fs::Permissions::from_mode(0o755)).unwrap();
        let jail = JailOptions {
            launcher: launcher(),
            // A QEMU that was unpacked somewhere needs what lies around it.
            read_only: qemu.ancestors().nth(2).map(Path::to_owned).into_iter().collect(),
            ..JailOptions::default()
        };
        let run_dir = RunDir::create_in(&[guard.path().join("run")]).unwrap();
        Some(Self { _guard: guard, run_dir, artifacts, runner, jail })
    }

    fn spec(&self) -> Spec {
        Spec { transport: TransportKind::VirtioSerial, memory_mib: 128, ..Spec::new(&self.runner, self.run_dir.path()) }
    }

    async fn start(&self, spec: Spec) -> nixbox::failure::Result<Machine> {
        Machine::start(spec, &self.jail, &Events::silent(), Some(&self.artifacts)).await
    }
}

/// Processes whose command line names this directory.
fn processes_of(dir: &Path) -> Vec<u32> {
    let needle = dir.to_str().unwrap().as_bytes().to_vec();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.windows(needle.len()).any(|window| window == needle)
        })
        .collect()
}

/// The one of them with this name.
fn process_of(dir: &Path, name: &str) -> nix::unistd::Pid {
    let named =
        |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.starts_with(name));
    nix::unistd::Pid::from_raw(processes_of(dir).into_iter().find(named).unwrap().cast_signed())
}

async fn next(machine: &mut Machine) -> MachineEvent {
    tokio::time::timeout(LIMIT, machine.next_event()).await.expect("nothing happened")
}

/// The next event that is no line of the console.
async fn next_of_note(machine: &mut Machine) -> MachineEvent {
    loop {
        match next(machine).await {
            MachineEvent::ConsoleLine(_) => {}
            event => return event,
        }
    }
}

#[tokio::test]
async fn a_machine_starts_shows_its_screen_and_ends() {
    let Some(bench) = Bench::new() else { return };
    let machine = bench.start(bench.spec()).await.unwrap();
    assert!(machine.qemu_version().split('.').count() == 3, "{}", machine.qemu_version());
    assert_eq!(machine.status().await.unwrap(), "running");
    assert_eq!(machine.memory_mib().await.unwrap(), 128);
    assert!(machine.command_line().iter().any(|word| word == "-sandbox"), "{:?}", machine.command_line());
    assert_eq!(machine.openings(), [""; 0]);
    let picture = bench.artifacts.join("screen.png");
    machine.screenshot(&picture).await.unwrap();
    assert!(std::fs::metadata(&picture).unwrap().len() > 100);
    for port in ["vp.7100.0", "vp.7100.3", "vp.7101.0", "vp.7102.0"] {
        tokio::net::UnixStream::connect(&bench.run_dir.file(port)).await.unwrap();
    }

    let begun = Instant::now();
    let stopped = machine.stop().await;
    assert!(stopped.orderly, "{stopped:?}");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(processes_of(bench.run_dir.path()), [0; 0]);
    let log = std::fs::read_to_string(bench.artifacts.join("qemu.log")).unwrap();
    assert!(log.contains("runner says hello"), "{log}");
}

#[tokio::test]
async fn over_vhost_user_too() {
    let Some(bench) = Bench::new() else { return };
    if find_program("vhost-device-vsock").is_none() {
        eprintln!("skipped: no vhost-device-vsock on PATH");
        return;
    }
    let spec = Spec { transport: TransportKind::VhostUser, ..bench.spec() };
    let mut machine = bench.start(spec.clone()).await.unwrap();
    assert_eq!(machine.status().await.unwrap(), "running");
    assert!(bench.run_dir.file("vs").exists());

    let daemon = process_of(bench.run_dir.path(), "vhost");
    nix::sys::signal::kill(daemon, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert!(matches!(next_of_note(&mut machine).await, MachineEvent::VsockDaemonDied { .. }));
    machine.stop().await;
    assert_eq!(processes_of(bench.run_dir.path()), [0; 0]);
}

#[tokio::test]
async fn a_killed_qemu_is_noticed_at_once() {
    let Some(bench) = Bench::new() else { return };
    let mut machine = bench.start(bench.spec()).await.unwrap();
    let qemu = process_of(bench.run_dir.path(), "qemu");
    let begun = Instant::now();
    nix::sys::signal::kill(qemu, nix::sys::signal::Signal::SIGKILL).unwrap();
    let MachineEvent::Exited { code, signal, stderr_tail } = next_of_note(&mut machine).await else { panic!() };
    let noticed = begun.elapsed();
    assert!(noticed < Duration::from_millis(200), "{noticed:?}");
    assert_eq!((code, signal), (None, Some(9)));
    assert_eq!(stderr_tail.first().map(String::as_str), Some("runner says hello"));
    assert!(machine.stop().await.orderly);
    assert_eq!(processes_of(bench.run_dir.path()), [0; 0]);
}

#[tokio::test]
async fn a_machine_that_is_dropped_is_gone() {
    let Some(bench) = Bench::new() else { return };
    let machine = bench.start(bench.spec()).await.unwrap();
    drop(machine);
    let begun = Instant::now();
    while !processes_of(bench.run_dir.path()).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(2), "something survives");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn arguments_that_qemu_refuses_are_reported_in_its_words() {
    let Some(bench) = Bench::new() else { return };
    let spec = Spec { extra: vec!["-device".into(), "no-such-device".into()], ..bench.spec() };
    let failure = bench.start(spec).await.unwrap_err();
    assert_eq!(failure.exit, nixbox::model::Exit::Unknown);
    let why = failure.why.unwrap();
    assert!(why.contains("exit code 1") && why.contains("no-such-device"), "{why}");
}

#[tokio::test]
async fn a_disk_that_fills_ends_the_machine() {
    let Some(mut bench) = Bench::new() else { return };
    bench.jail.disk_limit = 8 << 20;
    let mut machine = bench.start(bench.spec()).await.unwrap();
    std::fs::write(bench.run_dir.file("big"), vec![1; 9 << 20]).unwrap();
    let MachineEvent::DiskLimit { why } = next_of_note(&mut machine).await else { panic!() };
    assert!(why.contains("8.0 MiB"), "{why}");
    machine.stop().await;
}

#[tokio::test]
async fn in_every_jail() {
    for kind in [JailKind::Namespaces, JailKind::Landlock, JailKind::None] {
        let Some(mut bench) = Bench::new() else { return };
        bench.jail.kind = kind;
        let machine = bench.start(bench.spec()).await.unwrap();
        assert_eq!(machine.status().await.unwrap(), "running");
        let begun = Instant::now();
        assert!(machine.stop().await.orderly, "{kind:?}");
        assert!(begun.elapsed() < Duration::from_secs(1), "{kind:?} {:?}", begun.elapsed());
        assert_eq!(processes_of(bench.run_dir.path()), [0; 0], "{kind:?}");
    }
}

#[tokio::test]
async fn a_qemu_that_hangs_is_killed() {
    let Some(bench) = Bench::new() else { return };
    let machine = bench.start(bench.spec()).await.unwrap();
    let qemu = process_of(bench.run_dir.path(), "qemu");
    nix::sys::signal::kill(qemu, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let begun = Instant::now();
    assert!(!machine.stop().await.orderly);
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
    assert_eq!(processes_of(bench.run_dir.path()), [0; 0]);
}

#[tokio::test]
async fn a_runner_that_ends_at_once_is_reported_with_its_output() {
    let Some(bench) = Bench::new() else { return };
    std::fs::write(&bench.runner, "#!/bin/sh\necho no such luck >&2\nexit 7\n").unwrap();
    let failure = bench.start(bench.spec()).await.unwrap_err();
    let why = failure.why.unwrap();
    assert!(why.contains("exit code 7") && why.contains("no such luck"), "{why}");
}

/// On one host it works, on the next it does not: either way the answer comes at once and explains itself.
#[tokio::test]
async fn kvm_works_or_is_refused() {
    let begun = Instant::now();
    let probe = accel::probe(Accel::Kvm, &launcher()).await;
    eprintln!("{:?} {probe:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    match probe.millis {
        Some(millis) => assert!(probe.usable && millis < 100.0, "{probe:?}"),
        None => assert!(probe.reason.is_some(), "{probe:?}"),
    }
    if !Path::new("/dev/kvm").exists() {
        assert!(!probe.usable);
    }
}

/// A whole guest, where one is named.
#[tokio::test]
async fn a_guest_boots() {
    let Some(runner) = std::env::var_os("NIXBOX_TEST_RUNNER") else {
        eprintln!("skipped: NIXBOX_TEST_RUNNER names no runner");
        return;
    };
    let Some(bench) = Bench::new() else { return };
    let begun = Instant::now();
    let spec = Spec { memory_mib: 1024, cores: 2, accel: Accel::Tcg, runner: runner.into(), ..bench.spec() };
    let mut machine = bench.start(spec).await.unwrap();
    eprintln!("{:?} QMP", begun.elapsed());
    loop {
        match next(&mut machine).await {
            MachineEvent::ConsoleLine(line) => {
                eprintln!("{:?} {line}", begun.elapsed());
                if line.contains("Welcome to") {
                    break;
                }
            }
            event => panic!("{event:?}\n{}", machine.console().text()),
        }
    }
    eprintln!("{:?}", machine.openings());
    machine.screenshot(&bench.artifacts.join("screen.png")).await.unwrap();
    let stopping = Instant::now();
    let stopped = machine.stop().await;
    eprintln!("{stopped:?} {:?}", stopping.elapsed());
}
