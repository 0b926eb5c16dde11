//! The report's page as a browser shows it: nothing runs, nothing is fetched, light and dark, wide and narrow. Needs a
//! Chromium: `NIXBOX_CHROMIUM`, or `chromium` on PATH. `NIXBOX_PICTURES=DIR` keeps the page and the pictures, to be
//! looked at.
#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a skipped test says why on screen, and its helpers are the test"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use libtest_mimic::{Arguments, Failed, Trial};
use nixbox::checks::verdict;
use nixbox::failure::Failure;
use nixbox::model::{
    Accel, CheckId, CheckResult, Excuse, Exit, JailKind, Lack, MachineInfo, NetworkPolicy, NotTested, Phase, PhaseTime,
    Report, Status, TransportKind, Witness, artifact,
};
use nixbox::report::html;
use nixbox::signal::{Film, Picture};

fn not_tested(what: &str, why: &str) -> NotTested {
    NotTested::new(what, Excuse::new(Lack::Hardware, Witness::line(why), why))
}

/// A test's name and what is done in it with a browser.
type Test = (&'static str, fn(&Path));

fn main() {
    let arguments = Arguments::from_args();
    let chromium = chromium();
    let tests: [Test; 3] = [
        ("a page is shown in light and dark, wide and narrow", is_shown),
        ("nothing that a guest wrote runs", nothing_runs),
        ("nothing is fetched", nothing_is_fetched),
    ];
    let trials = tests.map(|(name, test)| {
        if chromium.is_none() && !arguments.list {
            eprintln!("skipped: {name}: no chromium on PATH, nor in NIXBOX_CHROMIUM");
        }
        let chromium = chromium.clone();
        Trial::test(name, move || {
            let chromium = chromium.unwrap_or_default();
            std::panic::catch_unwind(|| test(&chromium)).map_err(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                Failed::from(text.unwrap_or_else(|| "it panicked".to_owned()))
            })
        })
    });
    let trials = trials.map(|trial| trial.with_ignored_flag(chromium.is_none())).into_iter().collect();
    libtest_mimic::run(&arguments, trials).exit();
}

fn chromium() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("NIXBOX_CHROMIUM") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path).flat_map(|dir| names.map(|name| dir.join(name))).find(|file| file.is_file())
}

/// What a browser did with a page.
struct Seen {
    stdout: String,
    stderr: String,
}

/// Opens a page, with scripts allowed.
fn open(chromium: &Path, page: &Path, flags: &[&str]) -> Seen {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(chromium)
        // Its sandbox needs what a container often has not; the page is our own.
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"])
        .args(["--disable-dev-shm-usage", "--enable-logging=stderr", "--timeout=20000"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(flags)
        .arg(format!("file://{}", page.display()))
        .stdin(Stdio::null())
        .output()
        .expect("chromium starts");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "chromium: {stderr}");
    Seen { stdout: String::from_utf8_lossy(&output.stdout).into_owned(), stderr }
}

fn write(directory: &Path, reports: &[Report]) -> PathBuf {
    let page = directory.join("report.html");
    fs::write(&page, html::render(reports)).unwrap();
    page
}

fn is_shown(chromium: &Path) {
    let directory = tempfile::tempdir().unwrap();
    let reports = reports(directory.path());
    let page = write(directory.path(), &reports);
    let kept = std::env::var_os("NIXBOX_PICTURES").map(PathBuf::from);
    if let Some(kept) = &kept {
        fs::create_dir_all(kept).unwrap();
        fs::copy(&page, kept.join("report.html")).unwrap();
    }
    let mut grounds = Vec::new();
    for (name, flags) in [
        ("light-wide", &["--window-size=1280,2400", "--blink-settings=preferredColorScheme=1"]),
        ("dark-wide", &["--window-size=1280,2400", "--blink-settings=preferredColorScheme=0"]),
        ("light-narrow", &["--window-size=400,3200", "--blink-settings=preferredColorScheme=1"]),
        ("dark-narrow", &["--window-size=400,3200", "--blink-settings=preferredColorScheme=0"]),
    ] {
        let picture = directory.path().join(format!("{name}.png"));
        let screenshot = format!("--screenshot={}", picture.display());
        open(chromium, &page, &[flags[0], flags[1], &screenshot]);
        let bytes = fs::read(&picture).expect("a picture was taken");
        if let Some(kept) = &kept {
            fs::write(kept.join(format!("{name}.png")), &bytes).unwrap();
        }
        let picture = Picture::from_png(&bytes).unwrap();
        let ground = picture.pixels()[0];
        let ink = picture.pixels().iter().filter(|pixel| **pixel != ground).count();
        assert!(ink * 20 > picture.pixels().len(), "{name}: hardly anything is shown");
        grounds.push(ground.iter().map(|part| u32::from(*part)).sum::<u32>());
    }
    assert!(grounds[0] > 600 && grounds[2] > 600, "light is light: {grounds:?}");
    assert!(grounds[1] < 150 && grounds[3] < 150, "dark is dark: {grounds:?}");
}

fn nothing_runs(chromium: &Path) {
    let directory = tempfile::tempdir().unwrap();
    let mut reports = reports(directory.path());
    let hostile = [
        "</title><script>document.title = 'gained'</script>",
        "</pre></td></table><img src=x onerror=\"document.title='gained'\">",
        "\" onfocus=\"document.title='gained'\" autofocus x=\"",
        "<svg onload=document.title='gained'><a href=\"javascript:alert(1)\">x</a>",
        "</style><style>*{display:none}</style><iframe srcdoc='<script>parent.document.title=1</script>'></iframe>",
    ];
    let report = &mut reports[1];
    for text in hostile {
        report.target.name.push_str(text);
        report.notes.push(text.to_owned());
        report.not_tested.push(not_tested(text, text));
        report
            .checks
            .push(CheckResult::new(CheckId::ServicesJournal, Status::Warn, text).detail([text.to_owned()]).hint(text));
        let journal = directory.path().join(artifact::JOURNAL);
        fs::write(journal, text).unwrap();
    }
    let page = write(directory.path(), &reports);
    let seen = open(chromium, &page, &["--dump-dom"]);
    // As the browser understood it: escaped text is text there.
    let dom = seen.stdout.to_lowercase();
    for never in ["<script", "<svg", "<iframe", "<img src=\"x\"", "<title>gained", "<a href=\"javascript"] {
        assert!(!dom.contains(never), "{never} in {}", seen.stdout);
    }
    assert_eq!(dom.matches("<style").count(), 1);
    assert!(dom.contains("&lt;script&gt;"));
}

fn nothing_is_fetched(chromium: &Path) {
    const ELSEWHERE: &str = "<img src=http://fetched.invalid/x><link rel=stylesheet href=http://fetched.invalid/y>";
    let directory = tempfile::tempdir().unwrap();
    let asked = |page: &Path| {
        let log = directory.path().join("net.json");
        let seen = open(chromium, page, &["--dump-dom", &format!("--log-net-log={}", log.display())]);
        (fs::read_to_string(&log).expect("a log of the network").contains("fetched.invalid"), seen)
    };
    // What such a page would do, so that the log is known to show it.
    let other = directory.path().join("other.html");
    fs::write(&other, ELSEWHERE).unwrap();
    assert!(asked(&other).0);
    let mut reports = reports(directory.path());
    reports[0].notes.push(ELSEWHERE.to_owned());
    let (fetches, seen) = asked(&write(directory.path(), &reports));
    assert!(!fetches, "the page asked for something");
    // A policy that is broken is told on the console.
    assert_eq!(seen.stderr.lines().find(|line| line.contains("CONSOLE")), None);
    assert!(seen.stdout.contains("<img "));
}

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_464_845 + second)
}

fn machine() -> MachineInfo {
    MachineInfo {
        accelerator: Accel::Kvm,
        accelerator_reason: None,
        transport: TransportKind::VhostUser,
        jail: JailKind::Namespaces,
        memory_mib: 4096,
        cores: 2,
        network: NetworkPolicy::Off,
        systemd: Some("257.9".to_owned()),
        qemu: Some("10.0.2".to_owned()),
    }
}

fn phases(times: &[(Phase, f64)]) -> Vec<PhaseTime> {
    times.iter().map(|(phase, seconds)| PhaseTime { phase: *phase, seconds: *seconds }).collect()
}

/// A desktop that works, a server that does not, a configuration that does not evaluate, a host that cannot.
fn reports(directory: &Path) -> Vec<Report> {
    vec![desktop(directory), server(directory), unevaluated(), host()]
}

fn desktop(directory: &Path) -> Report {
    let evidence = directory.join("desktop");
    fs::create_dir_all(&evidence).unwrap();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let screen = fs::read(docs.join("sway.png")).unwrap();
    for name in [artifact::SCREEN, artifact::SESSION] {
        fs::write(evidence.join(name), &screen).unwrap();
    }
    fs::copy(docs.join("spectrogram.png"), evidence.join(artifact::SPECTROGRAM)).unwrap();
    let mut film = Film::default();
    let screen = Picture::from_png(&screen).unwrap();
    film.push(Duration::ZERO, &Picture::new(4, 3, vec![[0; 3]; 12]).unwrap());
    film.push(Duration::from_secs(3), &screen);
    fs::write(evidence.join(artifact::FILM), film.gif(Duration::from_secs(9)).unwrap().unwrap()).unwrap();
    fs::write(evidence.join(artifact::SOUND), b"RIFF\x24\0\0\0WAVEfmt ").unwrap();
    fs::write(evidence.join(artifact::CONSOLE), "[    0.000] Linux version 6.12\n".repeat(400)).unwrap();
    fs::write(evidence.join(artifact::JOURNAL), "[    1.234] systemd: Started sway.service.\n".repeat(9000)).unwrap();
    let mut report = Report::new(".#laptop@hyprland", at(0));
    report.target.resolved = "git+file:///home/u/nixos?rev=8eb4158#nixosConfigurations.laptop".to_owned();
    report.target.drv_path = Some("/nix/store/f7g9aw7hz5z1vn9gsicf1j3c0m1m6y5b-nixos-vm.drv".to_owned());
    report.machine = Some(machine());
    report.phases = phases(&[
        (Phase::Resolve, 0.05),
        (Phase::Evaluate, 2.1),
        (Phase::Build, 0.4),
        (Phase::Boot, 9.3),
        (Phase::Check, 14.0),
        (Phase::Stop, 0.2),
    ]);
    let mut allowed = CheckResult::new(CheckId::ServicesFailedUnits, Status::Fail, "cups.service failed: exit code 1");
    allowed.allowed = Some("no printer in a VM".to_owned());
    let mut flaky =
        CheckResult::new(CheckId::ServicesHttp, Status::Pass, "http://localhost:8080/health answered 200").took(2.2);
    flaky.flaky = true;
    report.checks = vec![
        CheckResult::new(CheckId::BootTarget, Status::Pass, "graphical.target reached"),
        CheckResult::new(CheckId::BootTime, Status::Warn, "graphical.target after 21.3 s, limit 20 s"),
        allowed,
        CheckResult::new(CheckId::ServicesPromised, Status::Pass, "all 31 expected units are as expected"),
        flaky,
        CheckResult::new(
            CheckId::NetworkDns,
            Status::Skip,
            "not applicable: the VM has no outside network (--network off)",
        ),
        CheckResult::new(CheckId::UsersLogin, Status::Pass, "can log in: alice (password) and root (password)"),
        CheckResult::new(
            CheckId::DesktopSession,
            Status::Pass,
            "alice has an active wayland session of sway on seat0, vt 1",
        )
        .took(9.3),
        CheckResult::new(
            CheckId::DesktopPicture,
            Status::Pass,
            "steady after 3.1 s, reacts to pointer, key and window",
        )
        .took(6.0),
        CheckResult::new(CheckId::AudioTone, Status::Pass, "six tones arrived: left and right, 0.2 Hz off at most")
            .took(5.1),
    ];
    report.not_tested = vec![
        not_tested("fwupd.service", "ConditionVirtualization=!vm"),
        not_tested("disks", "a VM has a disk of its own, not those of hardware-configuration.nix"),
    ];
    report.notes = vec!["the working tree is dirty: what is not committed was tested too".to_owned()];
    verdict(&report.checks).decide(&mut report);
    report.apply = Some("nixos-rebuild switch --flake 'git+file:///home/u/nixos?rev=8eb41587a1c0a1d5e0a26b1bd1b3fd8bcd1f2a34#laptop' --specialisation hyprland".to_owned());
    report.artifacts = Some(evidence);
    report.seconds = 26.1;
    report
}

fn server(directory: &Path) -> Report {
    let mut report = Report::new(".#server", at(30));
    report.machine = Some(machine());
    report.phases = phases(&[(Phase::Evaluate, 1.4), (Phase::Build, 12.0), (Phase::Boot, 7.9), (Phase::Check, 4.0)]);
    let lines = [
        "[    9.075] systemd: Starting nginx.service - Nginx Web Server...",
        "[   11.482] nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)",
        "[   11.707] systemd: nginx.service: Failed with result 'exit-code'.",
    ];
    report.checks = vec![
        CheckResult::new(CheckId::BootTarget, Status::Pass, "multi-user.target reached"),
        CheckResult::new(
            CheckId::ServicesFailedUnits,
            Status::Fail,
            "nginx.service failed: exit code 1: bind() to 0.0.0.0:80 failed (98: Address already in use)",
        )
        .detail(lines.map(str::to_owned))
        .hint("another unit listens on 80/tcp: httpd.service"),
        CheckResult::new(CheckId::ServicesPorts, Status::Fail, "nothing is listening on 8080/tcp"),
        CheckResult::new(CheckId::script("database"), Status::Unknown, "no answer within 30 s").took(30.0),
        CheckResult::new(CheckId::UsersLogin, Status::Pass, "can log in: root (key)"),
    ];
    verdict(&report.checks).decide(&mut report);
    fs::write(directory.join(artifact::JOURNAL), lines.join("\n")).unwrap();
    report.artifacts = Some(directory.to_owned());
    report.seconds = 55.4;
    report
}

fn unevaluated() -> Report {
    let mut report = Report::new(".#workstation", at(90));
    let why = "undefined variable 'pkg'\nat /home/u/nixos/hosts/workstation.nix:12:31\n   11|   environment.systemPackages = [\n   12|     pkg.firefox\n     |     ^\n   13|   ];";
    Failure::check(CheckId::BuildEval, "workstation does not evaluate").why(why).decide(&mut report);
    let mut check = CheckResult::new(CheckId::BuildEval, Status::Fail, "workstation does not evaluate");
    check.detail = why.lines().map(str::to_owned).collect();
    report.checks = vec![check];
    report.phases = phases(&[(Phase::Resolve, 0.06), (Phase::Evaluate, 1.2)]);
    report.seconds = 1.3;
    report
}

fn host() -> Report {
    let mut report = Report::new(".#nas", at(95));
    let failure = Failure::new(Exit::Unknown, "--accel kvm: /dev/kvm does not open: Permission denied (os error 13)");
    failure.hint("add yourself to the group kvm, or leave --accel at auto").decide(&mut report);
    report.seconds = 0.035;
    report
}
