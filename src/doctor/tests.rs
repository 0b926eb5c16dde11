use std::time::Duration;

use super::*;
use crate::model::timeouts::doctor::COMMAND_LIMIT;

fn said(stdout: &str) -> CommandRun {
    CommandRun {
        command: "x".to_owned(),
        exit: Some(0),
        stdout: stdout.to_owned(),
        millis: 35.0,
        ..CommandRun::default()
    }
}

fn broke(stderr: &str) -> CommandRun {
    CommandRun { exit: Some(1), stderr: stderr.to_owned(), ..said("") }
}

fn absent(program: &str) -> CommandRun {
    CommandRun { exit: None, absent: true, error: Some(format!("{program} is not on PATH")), ..said("") }
}

fn good() -> HostObservations {
    HostObservations {
        nix: said("nix (Nix) 2.26.3\n"),
        evaluates: said("2\n"),
        features: broke("error: experimental Nix feature 'nix-command' is disabled"),
        builds: said("[{}]"),
        settings: said(r#"{"sandbox":{"value":true}}"#),
        qemu: absent("qemu-system-x86_64"),
        vsock_daemon: said("vhost-device-vsock 0.3.0\n"),
        kernel_vsock: Some("No such file or directory (os error 2)".to_owned()),
        disks: vec![("/tmp".into(), 90 << 30)],
        memory: Some(8 << 30),
        terminal: Some(80),
        probes: HostProbes {
            accelerators: vec![(
                Accel::Kvm,
                ProbeResult {
                    usable: false,
                    reason: Some("1,000,000 iterations did not end within 100 ms".to_owned()),
                    hint: Some("use a host with hardware virtualisation".to_owned()),
                    millis: Some(100.2),
                },
            )],
            jails: vec![(
                JailKind::Namespaces,
                ProbeResult { usable: true, millis: Some(3.0), ..ProbeResult::default() },
            )],
        },
    }
}

/// A host on which hardly anything works.
fn bad() -> HostObservations {
    HostObservations {
        nix: said("nix (Nix) 2.3.16"),
        evaluates: broke("error: boom"),
        builds: broke("error: boom"),
        settings: broke(""),
        vsock_daemon: absent("vhost-device-vsock"),
        probes: HostProbes {
            accelerators: vec![(Accel::Kvm, ProbeResult::default())],
            jails: vec![(JailKind::Landlock, ProbeResult::default())],
        },
        disks: vec![("/a".into(), 1), ("/b".into(), 1 << 30)],
        memory: Some(1),
        ..good()
    }
}

fn finding(observed: &HostObservations, id: &str) -> HostFinding {
    judge::judge(observed).into_iter().find(|finding| finding.id == id).unwrap_or_else(|| panic!("no {id}"))
}

#[test]
fn a_slow_host_is_able() {
    let diagnosis = diagnose(&good(), "Debian, Linux 6.18, 2 CPUs");
    assert!(diagnosis.able, "{diagnosis:#?}");
    assert_eq!(diagnosis.exit, 0);
    let states: Vec<_> = diagnosis
        .findings
        .iter()
        .filter(|finding| finding.state != FindingState::Ok)
        .map(|finding| &finding.id)
        .collect();
    assert_eq!(states, ["accelerator.kvm"]);
}

/// Other findings on another system.
#[cfg(target_os = "linux")]
#[test]
fn the_diagnosis_for_a_terminal_and_in_json() {
    let diagnosed = |observed: &HostObservations| Diagnosis {
        nixbox: "VERSION".to_owned(),
        ..diagnose(observed, "Debian, Linux 6.18, 2 CPUs")
    };
    let style = TextLayout { colour: false, width: 80 };
    insta::assert_snapshot!("human_able", render::render(&diagnosed(&good()), style));
    let diagnosis = Diagnosis { transcript: transcript(bad()), ..diagnosed(&bad()) };
    insta::assert_snapshot!("human_not_able_prove", render::render(&diagnosis, style));
    insta::assert_snapshot!("json_not_able_prove", json::pretty(&diagnosis));
}

#[test]
fn without_nix_there_is_one_finding_about_it() {
    let all = absent("nix");
    let observed =
        HostObservations { nix: all.clone(), evaluates: all.clone(), features: all.clone(), builds: all, ..good() };
    let diagnosis = diagnose(&observed, "");
    assert_eq!((diagnosis.able, diagnosis.exit), (false, 5));
    let nix: Vec<_> = diagnosis.findings.iter().filter(|finding| finding.id.starts_with("nix")).collect();
    assert_eq!(nix.len(), 1);
    assert!(nix[0].observation.contains("not on PATH") && nix[0].fix.as_ref().unwrap().contains("install nix"));
}

#[test]
fn every_finding_that_is_not_ok_has_a_fix() {
    let observed = bad();
    for finding in judge::judge(&observed) {
        assert_eq!(finding.fix.is_some(), finding.state != FindingState::Ok, "{finding:?}");
    }
    assert_eq!(finding(&observed, "nix.version").state, FindingState::Bad);
    assert_eq!(finding(&observed, "memory").state, FindingState::Bad);
}

#[test]
fn a_build_that_is_refused_has_its_own_fix() {
    let fix = |stderr: &str| finding(&HostObservations { builds: broke(stderr), ..good() }, "nix.build");
    let daemon = fix("\x1b[31;1merror:\x1b[0m cannot connect to socket at '/nix/var/nix/daemon-socket/socket'");
    assert!(daemon.fix.unwrap().contains("nix-daemon"));
    assert!(daemon.observation.starts_with("error: cannot connect"), "{}", daemon.observation);
    assert!(fix("error: unable to start build process: Operation not permitted").fix.unwrap().contains("namespaces"));
    let shell = fix("error: executing '/bin/sh': No such file or directory");
    assert_eq!(shell.state, FindingState::Ok, "NixOS's builds bring their own shell");
}

#[test]
fn versions_of_every_form() {
    assert_eq!(judge::version_of("nix (Nix) 2.34.0pre"), Some("2.34.0pre"));
    assert_eq!(judge::version_of("nix (Lix, like Nix) 2.91.1"), Some("2.91.1"));
    assert_eq!(judge::version_of("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)"), Some("10.0.2"));
    assert_eq!(judge::version_of(""), None);
    assert_eq!(judge::major_minor("2.8"), Some((2, 8)));
    assert_eq!(judge::major_minor("3"), None);
    assert!(judge::major_minor("2.34.0pre20260101_abc").unwrap() > judge::OLDEST_NIX);
}

#[test]
fn settings_in_every_form() {
    for (json, expected) in [
        (r#"{"sandbox":{"value":true}}"#, Some("true")),
        (r#"{"sandbox":{"value":2}}"#, Some("false")),
        (r#"{"sandbox":{"value":"relaxed"}}"#, Some("relaxed")),
        ("false\n", Some("false")),
        ("{}", None),
        ("", None),
    ] {
        assert_eq!(judge::sandbox(json).as_deref(), expected, "{json}");
    }
}

#[test]
fn a_transcript_does_not_identify_the_user() {
    let redactor = Redactor::new(
        ["/home/ada".to_owned(), "/".to_owned()],
        ["ada".to_owned(), "root".to_owned()],
        Some("analytical-engine".to_owned()),
    );
    let mut diagnosis = diagnose(&good(), "Linux analytical-engine 6.18");
    diagnosis.transcript = vec![CommandRun {
        stderr: "\x1b[1m/home/ada/.config/nix: ada@analytical-engine (ada's), /home/adam, adapter, root, Canada\n"
            .to_owned(),
        error: Some("/home/ada: denied".to_owned()),
        ..said("/home/ada\n")
    }];
    redactor.redact(&mut diagnosis);
    assert_eq!(diagnosis.host, "Linux HOST 6.18");
    let ran = &diagnosis.transcript[0];
    assert_eq!(ran.stdout, "~\n");
    assert_eq!(ran.stderr, "~/.config/nix: USER@HOST (USER's), /home/adam, adapter, root, Canada\n");
    assert_eq!(ran.error.as_deref(), Some("~: denied"));
}

#[test]
fn json_is_read_back() {
    let mut diagnosis = diagnose(&good(), "here");
    diagnosis.transcript = transcript(good());
    assert_eq!(serde_json::from_str::<Diagnosis>(&json::pretty(&diagnosis)).unwrap(), diagnosis);
    let settings = diagnosis.transcript.iter().find(|ran| ran.stdout.contains("sandbox")).unwrap();
    assert_eq!(settings.stdout, "[sandbox: true]\n");
}

#[test]
fn no_token_is_in_a_transcript() {
    for cut in [0, 1, 40] {
        let all = r#"{"access-tokens":{"value":{"github.com":"SECRET"}},"sandbox":{"value":true}}"#;
        let observed = HostObservations { settings: said(&all[..all.len() - cut]), ..good() };
        let mut diagnosis = diagnose(&observed, "here");
        diagnosis.transcript = transcript(observed);
        assert!(!json::pretty(&diagnosis).contains("SECRET"));
    }
}

#[tokio::test]
async fn commands_are_bounded_in_time_and_output() {
    let ran = inspect::ask(["sh", "-c", "yes | head -c 1000000; echo 'oh no' >&2; exit 3"], COMMAND_LIMIT).await;
    assert_eq!((ran.exit, ran.stdout.len() as u64), (Some(3), inspect::OUTPUT_LIMIT));
    assert_eq!(ran.complaint(), "oh no");
    let ran = inspect::ask(["sleep", "60"], Duration::from_millis(50)).await;
    assert_eq!(ran.error.as_deref(), Some("no answer within 50 ms"));
    let ran = inspect::ask(["nixbox-no-such-program"], COMMAND_LIMIT).await;
    assert!(ran.absent && ran.complaint().contains("is not on PATH"));
}
