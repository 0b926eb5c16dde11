//! Requests, timers and scripts.

use crate::checks::test_support::{active, failed, guest, inactive, line, result, status};
use crate::checks::verdict;
use crate::guest::facts::{HttpAnswer, Listener, ScriptOutcome, Service, Unit};
use crate::model::{CheckId, Exit, Status};

#[test]
fn requests_and_their_answers() {
    let answer = |status, body: &str, error: Option<&str>| HttpAnswer {
        status,
        body: body.into(),
        error: error.map(Into::into),
    };
    let ask = |toml: &str, answer: HttpAnswer| {
        guest().toml(&format!("[http.front]\nurl = \"http://localhost/\"\n{toml}")).facts(|facts| {
            facts.http.insert("front".into(), answer);
        })
    };
    ask("contains = \"hello\"", answer(200, "hello you", None)).passes();
    ask("", answer(302, "", None)).passes();
    ask("", answer(500, "oops", None))
        .breaks(CheckId::ServicesHttp, "front: GET http://localhost/: status 500, expected 200 to 399");
    // Who serves it, what that says, and that a switch has left it running.
    let nginx = || {
        let service =
            Service { exec_start: "/nix/store/x-nginx/bin/nginx -c /etc/nginx.conf".into(), ..Service::default() };
        let unit = Unit { active_enter_us: 5, service: Some(service), ..active("nginx.service") };
        let listener = Listener { port: 80, process: "nginx".into(), ..Listener::default() };
        let said = "open() \"/srv/www/index.html\" failed (13: Permission denied)";
        ask("", answer(403, "", None))
            .unit(unit)
            .journal(line("nginx.service", said))
            .facts(|facts| facts.listeners.push(listener))
    };
    let judgement = nginx().breaks(CheckId::ServicesHttp, "status 403, expected 200 to 399");
    let told = result(&judgement, CheckId::ServicesHttp);
    assert!(told.detail.iter().any(|line| line.contains("nginx.service: open() \"/srv/www/index.html\" failed")));
    assert_eq!(told.hint, None);
    let judgement = nginx().context(|context| context.switched_us = Some(10)).judge();
    let hint = result(&judgement, CheckId::ServicesHttp).hint.clone().unwrap_or_default();
    assert!(hint.starts_with("the switch did not restart nginx.service"), "{hint}");
    ask("status = 404", answer(200, "", None)).breaks(CheckId::ServicesHttp, "status 200, expected 404");
    ask("contains = \"hello\"", answer(200, "bye", None))
        .breaks(CheckId::ServicesHttp, "the body does not contain \"hello\": it is \"bye\"");
    ask("regex = \"^h\"", answer(200, "bye", None)).breaks(CheckId::ServicesHttp, "does not match");
    ask("", answer(0, "", Some("connection refused"))).breaks(CheckId::ServicesHttp, "no answer: connection refused");
    let judgement = guest().toml("[http.front]\nurl = \"http://localhost/\"").passes();
    assert_eq!(status(&judgement, CheckId::ServicesHttp), Status::Unknown);
    assert_eq!(verdict(&judgement.results).exit, Exit::Unknown);
}

#[test]
fn timers_run_once() {
    let run = |exit, unit: Unit| {
        guest().toml("timers = [\"logrotate\"]").unit(unit).unit(active("logrotate.timer")).facts(|facts| {
            facts
                .timers
                .insert("logrotate.timer".into(), ScriptOutcome { exit, attempts: 1, ..ScriptOutcome::default() });
        })
    };
    run(0, Unit { wanted_by: Vec::new(), ..inactive("logrotate.service") }).passes();
    let mut crash = failed("logrotate.service", 0);
    crash.result = "core-dump".into();
    crash.service = Some(Service { exit_kind: 3, exit_status: 31, ..Service::default() });
    run(1, crash).breaks(
        CheckId::ServicesTimers,
        "logrotate.service, run once for logrotate.timer, failed: dumped core on SIGSYS",
    );
    // It is probed before it is run.
    let ran = |exit, error: &str| {
        let stdout = "Starting logrotate.service - Rotate log files...\n\
                      /nix/store/x-unit/bin/logrotate-start: line 3:   273 Bad system call   chown\n\
                      logrotate.service: Main process exited, code=exited, status=159/n/a\n";
        run(0, Unit { wanted_by: Vec::new(), ..inactive("logrotate.service") }).facts(|facts| {
            let outcome = facts.timers.get_mut("logrotate.timer").unwrap();
            (outcome.exit, outcome.error, outcome.stdout) = (exit, Some(error.into()), stdout.into());
        })
    };
    ran(159, "logrotate.service failed: exit-code").breaks(
        CheckId::ServicesTimers,
        "logrotate.timer, failed: exit code 159: …/logrotate-start: line 3: 273 Bad system call chown",
    );
    ran(137, "logrotate.service failed: signal").breaks(CheckId::ServicesTimers, "failed: killed by SIGKILL: …/logro");
    ran(-1, "there is no logrotate.timer").breaks(CheckId::ServicesTimers, "for logrotate.timer: there is no logro");
    run(1, failed("logrotate.service", 1))
        .journal(line("logrotate.service", "curl: Could not resolve host: example.org"))
        .excludes("logrotate.service");
}

#[test]
fn scripts() {
    let run = |toml: &str, outcome: ScriptOutcome| {
        guest().toml(&format!("[script.hello]\nrun = \"echo hello\"\n{toml}")).facts(|facts| {
            facts.scripts.insert("hello".into(), outcome);
        })
    };
    let said = |exit, stdout: &str, stderr: &str| ScriptOutcome {
        exit,
        stdout: stdout.into(),
        stderr: stderr.into(),
        attempts: 1,
        ..ScriptOutcome::default()
    };
    run("equals = \"hello\"", said(0, "hello\n", "")).passes();
    run("exit = 3", said(3, "", "")).passes();
    run("", said(1, "", "it broke\n")).breaks(CheckId::script("hello"), "exit code 1, expected 0: it broke");
    run("equals = \"hello\"", said(0, "bye\n", ""))
        .breaks(CheckId::script("hello"), "stdout is \"bye\", expected \"hello\"");
    run("regex = \"^h.*o$\"", said(0, "bye\n", "")).breaks(CheckId::script("hello"), "does not match");
    let late = ScriptOutcome { error: Some("did not end by its deadline".into()), ..ScriptOutcome::default() };
    run("deadline = \"2s\"", late).breaks(CheckId::script("hello"), "did not end within 10 s");
    let lost = ScriptOutcome { error: Some("the connection was lost".into()), ..ScriptOutcome::default() };
    assert_eq!(status(&run("", lost).passes(), CheckId::script("hello")), Status::Unknown);
    let third = ScriptOutcome { attempts: 3, ..said(0, "", "") };
    assert!(result(&run("retries = 5", third).passes(), CheckId::script("hello")).flaky);
}
