//! What the virtual hosts of nginx answer.

use crate::checks::test_support::{Guest, guest, line, result};
use crate::guest::facts::HttpAnswer;
use crate::model::{CheckId, Status};
use crate::nix::expectations::Site;

/// A machine whose one site answers so, and what nginx said then.
fn answering(status: u16, said: &str) -> Guest {
    let site = Site { host: "example.org".into(), port: 80, tls: false };
    let url = site.url();
    let guest = guest().expecting(|expectations| expectations.sites.push(site));
    let guest = guest.facts(|facts| drop(facts.http.insert(url, HttpAnswer { status, ..HttpAnswer::default() })));
    if said.is_empty() {
        return guest;
    }
    let words = format!(
        "2026/12/01 05:19:02 [error] 353#353: *1 {said}, client: 127.0.0.1, server: example.org, \
         request: \"GET / HTTP/1.1\", upstream: \"http://unix:/run/app/app.sock:/\", host: \"example.org\""
    );
    guest.journal(line("nginx.service", &words))
}

#[test]
fn what_nginx_may_not_open_fails() {
    let socket = "connect() to unix:/run/app/app.sock failed (13: Permission denied) while connecting to upstream";
    let words = format!("http://example.org/ answers 502: {socket}");
    answering(502, socket).breaks(CheckId::ServicesSites, &words);
    let file = "\"/home/me/web/index.html\" is forbidden (13: Permission denied)";
    answering(403, file).breaks(CheckId::ServicesSites, "http://example.org/ answers 403: \"/home/me/web");
}

#[test]
fn what_is_not_there_is_a_warning() {
    for said in ["", "connect() failed (111: Connection refused) while connecting to upstream"] {
        let judgement = answering(502, said).passes();
        let told = result(&judgement, CheckId::ServicesSites);
        assert_eq!(told.status, Status::Warn);
        assert!(
            told.summary.starts_with("http://example.org/ answers 502") && told.summary.ends_with(said),
            "{told:?}"
        );
    }
}

#[test]
fn what_is_answered_otherwise_is_well() {
    for (status, said) in [
        (200, ""),
        (301, ""),
        (401, ""),
        (404, "open() \"/srv/web/x\" failed (2: No such file or directory)"),
        (403, "directory index of \"/srv/web/\" is forbidden"),
    ] {
        let judgement = answering(status, said).passes();
        assert_eq!(result(&judgement, CheckId::ServicesSites).status, Status::Pass, "{status}");
    }
    let judgement = answering(0, "").passes();
    assert_eq!(result(&judgement, CheckId::ServicesSites).status, Status::Skip);
}

#[test]
fn addresses() {
    let url = |port, tls| Site { host: "example.org".into(), port, tls }.url();
    assert_eq!(url(80, false), "http://example.org/");
    assert_eq!(url(8080, false), "http://example.org:8080/");
    assert_eq!(url(443, true), "https://example.org/");
}
