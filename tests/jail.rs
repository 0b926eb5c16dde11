//! The jail, seen from a hostile runner, and what is left when nixbox dies.

#![cfg(target_os = "linux")]
#![expect(clippy::print_stderr, clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nixbox::machine::jail::{self, BindMount, JailEvent, LaunchRequest, Supervisor};
use nixbox::model::JailKind;
use tokio::io::AsyncReadExt as _;

const LIMIT: Duration = Duration::from_secs(30);

fn launcher() -> PathBuf {
    std::env::var_os("NIXBOX_TEST_LAUNCHER").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_nixbox")), PathBuf::from)
}

/// A place for a run, with a store and a home beside it.
struct Place {
    guard: tempfile::TempDir,
    mark: String,
}

impl Place {
    fn new() -> Self {
        let guard = tempfile::Builder::new().prefix("nb").tempdir_in("/tmp").unwrap();
        for dir in ["run", "store", "home"] {
            std::fs::create_dir(guard.path().join(dir)).unwrap();
        }
        std::fs::write(guard.path().join("store/thing"), "as built").unwrap();
        std::fs::write(guard.path().join("home/secret"), "swordfish").unwrap();
        // A number of seconds that no other process sleeps.
        let mark = format!("86400.{}{}", std::process::id(), guard.path().metadata().map(inode).unwrap());
        Self { guard, mark }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.guard.path().join(name)
    }

    /// A script in a jail with this store.
    fn request(&self, kind: JailKind, script: &Path, arguments: &[&str]) -> LaunchRequest {
        LaunchRequest {
            program: Some(script.to_owned()),
            arguments: arguments.iter().map(Into::into).collect(),
            environment: vec![("PATH".into(), "/usr/bin:/bin:/usr/sbin:/sbin".into())],
            run_dir: Some(self.path("run")),
            mounts: vec![
                BindMount { source: script.canonicalize().unwrap(), target: script.to_owned() },
                BindMount { source: self.path("store"), target: "/nix/store".into() },
            ],
            file_limit: 8 << 20,
            ..LaunchRequest::empty(kind)
        }
    }

    fn script(&self, text: &str) -> PathBuf {
        let path = self.path("script");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// What still sleeps.
    fn survivors(&self) -> Vec<u32> {
        processes_with(&self.mark)
    }
}

fn inode(data: std::fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    data.ino() % 100_000
}

fn processes_with(needle: &str) -> Vec<u32> {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.windows(needle.len()).any(|window| window == needle.as_bytes())
        })
        .collect()
}

/// Runs a request to its end: what it printed, and how it ended.
async fn run(request: &LaunchRequest) -> (String, Option<JailEvent>) {
    let mut supervisor = Supervisor::spawn(&launcher(), request).await.unwrap();
    let mut output = supervisor.take_output().unwrap();
    let mut text = Vec::new();
    let mut ended = None;
    let until_ended = async {
        while let Some(event) = supervisor.next_event().await {
            if event != JailEvent::Started {
                ended = Some(event);
                break;
            }
        }
    };
    tokio::time::timeout(LIMIT, until_ended).await.expect("it does not end");
    supervisor.end(Duration::from_secs(3)).await;
    tokio::time::timeout(LIMIT, output.read_to_end(&mut text)).await.expect("its output does not end").unwrap();
    (String::from_utf8_lossy(&text).into_owned(), ended)
}

/// Something outside of every jail that must live on.
struct Outsider(Child);

impl Outsider {
    fn new() -> Self {
        let child = Command::new("sleep").arg0("NIXBOX_TEST_OUTSIDE").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        Self(child)
    }
}

impl Drop for Outsider {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

async fn hostile(kind: JailKind, but_for: &[&str]) {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut outsider = Outsider::new();
    let pid = outsider.0.id().to_string();
    let secret = place.path("home/secret");
    let fake = place.path("fake_hostile_runner");
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fakes/fake_hostile_runner"), &fake)
        .or_else(|_| std::fs::copy(std::env::var_os("NIXBOX_TEST_FAKE").unwrap(), &fake))
        .unwrap();

    let request = place.request(kind, &fake, &[secret.to_str().unwrap(), &port, &pid, &place.mark]);
    let (said, ended) = run(&request).await;
    eprintln!("{said}");
    assert_eq!(ended, Some(JailEvent::Exited { code: Some(0), signal: None }), "{said}");
    let gained: BTreeSet<&str> = said.lines().filter_map(|line| line.strip_prefix("GAINED ")).collect();
    let expected: BTreeSet<&str> = ["own-directory"].iter().chain(but_for).copied().collect();
    assert_eq!(gained, expected, "{said}");
    assert!(said.lines().filter(|line| line.starts_with("denied ")).count() >= 25, "{said}");

    // Whatever it printed, this is what counts.
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "swordfish");
    assert_eq!(std::fs::read_dir(place.path("home")).unwrap().count(), 1);
    assert_eq!(std::fs::read_to_string(place.path("store/thing")).unwrap(), "as built");
    assert_eq!(std::fs::read_dir(place.path("store")).unwrap().count(), 1);
    assert!(listener.accept().is_err(), "somebody connected");
    assert!(outsider.0.try_wait().unwrap().is_none(), "the process outside was killed");
    assert!(std::fs::metadata(place.path("run/big")).unwrap().len() <= 8 << 20);
    assert_eq!(place.survivors(), [0; 0]);
}

#[tokio::test]
async fn the_hostile_runner_gains_nothing_in_namespaces() {
    let probe = jail::probe(&launcher()).await;
    if probe.kind != JailKind::Namespaces {
        eprintln!("skipped: {:?}", probe.reason);
        return;
    }
    // It may signal what is in the jail with it, which is itself.
    hostile(JailKind::Namespaces, &[]).await;
}

#[tokio::test]
async fn the_hostile_runner_gains_nothing_under_landlock() {
    let mut supervisor = Supervisor::spawn(&launcher(), &LaunchRequest::empty(JailKind::Landlock)).await.unwrap();
    if let Some(JailEvent::Failed(error)) = supervisor.next_event().await {
        eprintln!("skipped: {error}");
        return;
    }
    hostile(JailKind::Landlock, &["see-outside"]).await;
}

/// This very test, as somebody who is not root.
#[test]
fn a_plain_user_has_the_same_jail() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: the other tests run as a plain user already");
        return;
    }
    // Where everybody may look: a checkout may lie in root's home.
    let guard = tempfile::Builder::new().prefix("nb").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(guard.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let copy = |from: &Path, name: &str| {
        let to = guard.path().join(name);
        std::fs::copy(from, &to).unwrap();
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o755)).unwrap();
        to
    };
    let test = copy(&std::env::current_exe().unwrap(), "test");
    let nixbox = copy(&launcher(), "nixbox");
    let fake = copy(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fakes/fake_hostile_runner")), "fake");
    let output = Command::new(test)
        .args(["--nocapture", "--skip", "a_plain_user", "--test-threads", "2"])
        .env("NIXBOX_TEST_LAUNCHER", nixbox)
        .env("NIXBOX_TEST_FAKE", fake)
        .current_dir("/")
        .uid(12345)
        .gid(12345)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(said.contains("test the_hostile_runner_gains_nothing_in_namespaces"), "{said}");
    eprintln!("as a plain user:\n{said}");
}

#[tokio::test]
async fn how_a_program_ends_is_reported() {
    for kind in [JailKind::Namespaces, JailKind::Landlock, JailKind::None] {
        let place = Place::new();
        let exits = place.script("echo said; exit 3");
        let (said, ended) = run(&place.request(kind, &exits, &[])).await;
        assert_eq!(
            (said.as_str(), ended),
            ("said\n", Some(JailEvent::Exited { code: Some(3), signal: None })),
            "{kind:?}"
        );
        let dies = place.script("kill -SEGV $$");
        let (_, ended) = run(&place.request(kind, &dies, &[])).await;
        assert_eq!(ended, Some(JailEvent::Exited { code: None, signal: Some(11) }), "{kind:?}");
    }
}

#[tokio::test]
async fn a_program_that_cannot_start_is_reported_by_step() {
    for kind in [JailKind::Namespaces, JailKind::Landlock, JailKind::None] {
        let place = Place::new();
        let script = place.script("");
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o644)).unwrap();
        let (_, ended) = run(&place.request(kind, &script, &[])).await;
        let Some(JailEvent::Failed(error)) = ended else { panic!("{kind:?} {ended:?}") };
        assert!(error.step.starts_with("start ") && error.error.contains("EACCES"), "{error}");
    }
}

#[tokio::test]
async fn closing_the_lifeline_kills_what_ignores_every_signal() {
    for kind in [JailKind::Namespaces, JailKind::Landlock, JailKind::None] {
        let place = Place::new();
        let script =
            place.script("trap '' TERM INT HUP QUIT\n(setsid sleep $1 &)\necho up\nwhile :; do sleep $1; done");
        let mut supervisor =
            Supervisor::spawn(&launcher(), &place.request(kind, &script, &[&place.mark])).await.unwrap();
        let mut output = supervisor.take_output().unwrap();
        output.read_u8().await.unwrap();
        while place.survivors().len() < 3 {
            tokio::task::yield_now().await;
        }
        let begun = Instant::now();
        supervisor.end(Duration::from_secs(3)).await;
        eprintln!("{kind:?}: gone after {:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert_eq!(place.survivors(), [0; 0], "{kind:?}");
    }
}

/// The part of nixbox in the next test: starts a jail and waits to be killed.
#[tokio::test]
#[ignore = "it is started by sigkill_leaves_nothing"]
async fn as_nixbox() {
    let Some(request) = std::env::var_os("NIXBOX_TEST_REQUEST") else { return };
    let request: LaunchRequest = serde_json::from_slice(&std::fs::read(request).unwrap()).unwrap();
    let mut supervisor = Supervisor::spawn(&launcher(), &request).await.unwrap();
    while supervisor.next_event().await.is_some() {}
}

#[test]
fn sigkill_leaves_nothing() {
    for kind in [JailKind::Namespaces, JailKind::Landlock, JailKind::None] {
        let place = Place::new();
        let script = place.script("trap '' TERM INT HUP\n(setsid sleep $1 &)\nsetsid sleep $1 &\nexec sleep $1");
        let request = place.path("request.json");
        std::fs::write(&request, serde_json::to_vec(&place.request(kind, &script, &[&place.mark])).unwrap()).unwrap();
        let mut nixbox = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "as_nixbox", "--ignored"])
            .env("NIXBOX_TEST_REQUEST", &request)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while place.survivors().len() < 3 {
            assert!(begun.elapsed() < LIMIT, "{kind:?}: it does not start");
            std::thread::yield_now();
        }
        let supervisors = children_of(nixbox.id());
        assert_eq!(supervisors.len(), 1);
        nixbox.kill().unwrap();
        nixbox.wait().unwrap();
        let begun = Instant::now();
        while !place.survivors().is_empty() || supervisors.iter().any(|pid| alive(*pid)) {
            assert!(begun.elapsed() < Duration::from_secs(3), "{kind:?}: something survives");
            std::thread::yield_now();
        }
        eprintln!("{kind:?}: gone {:?} after SIGKILL", begun.elapsed());
    }
}

/// Also while the jail is being built.
#[test]
fn sigkill_at_any_moment_leaves_nothing() {
    for kind in [JailKind::Namespaces, JailKind::Landlock] {
        for moment in 0..25 {
            let place = Place::new();
            let script = place.script("(setsid sleep $1 &)\nexec sleep $1");
            let request = place.path("request.json");
            std::fs::write(&request, serde_json::to_vec(&place.request(kind, &script, &[&place.mark])).unwrap())
                .unwrap();
            let mut nixbox = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "as_nixbox", "--ignored"])
                .env("NIXBOX_TEST_REQUEST", &request)
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            // Spread over the time that all of it takes.
            std::thread::sleep(Duration::from_millis(2 * moment));
            nixbox.kill().unwrap();
            nixbox.wait().unwrap();
            // Supervisors are named after the run directory.
            let run = place.path("run");
            let left = || [place.survivors(), processes_with(run.to_str().unwrap())].concat();
            let begun = Instant::now();
            while !left().is_empty() {
                assert!(begun.elapsed() < Duration::from_secs(3), "{kind:?}, {moment}: something survives");
                std::thread::yield_now();
            }
        }
    }
}

/// When the supervisor is killed as well, the kernel still ends the namespace.
#[test]
fn sigkill_of_the_supervisor_leaves_nothing_either() {
    let place = Place::new();
    let script = place.script("(setsid sleep $1 &)\nexec sleep $1");
    let request = place.path("request.json");
    std::fs::write(
        &request,
        serde_json::to_vec(&place.request(JailKind::Namespaces, &script, &[&place.mark])).unwrap(),
    )
    .unwrap();
    let mut nixbox = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "as_nixbox", "--ignored"])
        .env("NIXBOX_TEST_REQUEST", &request)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while place.survivors().len() < 2 {
        assert!(begun.elapsed() < LIMIT, "it does not start");
        std::thread::yield_now();
    }
    for pid in children_of(nixbox.id()) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), nix::sys::signal::Signal::SIGKILL)
            .unwrap();
    }
    let begun = Instant::now();
    while !place.survivors().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(3), "something survives");
        std::thread::yield_now();
    }
    nixbox.wait().unwrap();
}

fn children_of(parent: u32) -> Vec<u32> {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok()) == Some(parent)
        })
        .collect()
}

/// Whether a process is there and no zombie.
fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}
