//! What of the outside a failure shows.

use super::{hosts_of, names, shows_no_outside};
use crate::checks::test_support::{Guest, active, failed, guest, inactive, line, result};
use crate::guest::facts::Unit;
use crate::model::{CheckId, Grade, NetworkPolicy, Protocol, Witness};
use crate::traffic::{Call, Traffic};

const WAIT: &str = "systemd-networkd-wait-online.service";
const FAILED: CheckId = CheckId::ServicesFailedUnits;

fn asked(names: &[&str]) -> Traffic {
    Traffic { names: names.iter().map(|&name| name.to_owned()).collect(), is_whole: true, ..Traffic::default() }
}

/// A guest that was online before its application failed, saying this, and what it had sent.
fn app(words: &str, traffic: Traffic) -> Guest {
    let online = Unit { active_enter_us: 5_000_000, ..active(WAIT) };
    let mut guest = guest().expected(failed("app.service", 1)).unit(online).journal(line("app.service", words));
    guest.observations.traffic = Some(traffic);
    guest
}

/// The witness of the one thing that was not tested.
fn witness(guest: &Guest) -> Witness {
    let judgement = guest.excludes("app.service: needs the outside");
    judgement.not_tested[0].witness.clone()
}

#[test]
fn a_share_of_another_machine_is_outside_by_its_short_name() {
    let share = |words: &str| guest().expected(failed("mnt-nas.mount", 1)).journal(line("mnt-nas.mount", words));
    for words in [
        "mount error: could not resolve address for nas: Unknown error",
        "mount.nfs: Failed to resolve server nas: Name or service not known",
    ] {
        share(words).excludes("mnt-nas.mount: mounts a share of another machine");
    }
    share("mount error: could not resolve address for box: Unknown error").breaks(FAILED, "mnt-nas.mount");
    share("mount error(13): Permission denied").breaks(FAILED, "mnt-nas.mount");
}

#[test]
fn a_share_that_never_answers_is_known_by_its_address() {
    let share = Unit { mount_what: Some("192.168.1.5:/export".into()), ..failed("mnt-nas.mount", 0) };
    let call = Call { address: "192.168.1.5".parse().unwrap(), port: 2049, protocol: Protocol::Tcp };
    let mut silent = guest().expected(Unit { result: "timeout".into(), ..share.clone() });
    silent.observations.traffic = Some(Traffic { calls: vec![call], is_whole: true, ..Traffic::default() });
    let judgement = silent.excludes("mnt-nas.mount: needs the outside");
    assert_eq!(judgement.not_tested[0].witness, Witness::Packet { to: "192.168.1.5:2049".into() });
    guest()
        .expected(share)
        .journal(line("mnt-nas.mount", "mount.nfs: Connection timed out"))
        .excludes("mnt-nas.mount: needs the outside");
}

#[test]
fn a_name_without_a_dot_is_not_outside_whoever_says_it() {
    for words in [
        "curl: (6) Could not resolve host: databse",
        "ssh: Could not resolve hostname databse: Name or service not known",
        "dial tcp: lookup databse: no such host",
        "dial tcp: lookup databse on 10.0.2.3:53: server misbehaving",
        "Could not connect to Redis at databse:6379: Name or service not known",
        "psql: error: could not translate host name \"databse\" to address: Temporary failure in name resolution",
        "ERROR 2005 (HY000): Unknown MySQL server host 'databse' (-3): Name or service not known",
        "Error: getaddrinfo ENOTFOUND databse",
        "Error: getaddrinfo EAI_AGAIN databse databse:5432",
        "java.net.UnknownHostException: databse: Name or service not known",
        "wget: bad address 'databse:8080'",
        "nginx: [emerg] host not found in upstream \"databse\" in /etc/nginx/nginx.conf:12",
        "ping: databse: Name or service not known",
        "urllib3: Failed to resolve 'databse' ([Errno -3] Temporary failure in name resolution)",
        "HTTPConnectionPool(host='databse', port=80): Max retries exceeded (Temporary failure in name resolution)",
        "mount error: could not resolve address for databse: Unknown error",
        "Get \"http://databse:8080/\": dial tcp: lookup databse: no such host",
        "could not resolve box.localdomain",
        "lookup BOX.local: no such host",
    ] {
        assert!(!shows_no_outside(words, Some("box")), "{words}: {:?}", hosts_of(words));
        guest().expected(failed("app.service", 1)).journal(line("app.service", words)).breaks(FAILED, "app.service");
    }
    for words in [
        "curl: (6) Could not resolve host: updates.example.org.",
        "curl: (6) Couldn't resolve host name",
        "failed to lookup address information: Temporary failure in name resolution",
        "(node:1234) Temporary failure in name resolution",
        "failed to reach upstream: Temporary failure in name resolution",
        "could not find config: Temporary failure in name resolution",
        "Failed to update the list for 'main': Temporary failure in name resolution",
        "lookup error: Temporary failure in name resolution",
        "could not resolve boxes.example.org",
        "Could not resolve dependencies for project x: repo.example.org: Name or service not known",
        "connect to 192.168.1.5 port 80 failed: No route to host",
    ] {
        assert!(shows_no_outside(words, Some("box")), "{words}: {:?}", hosts_of(words));
    }
    // The last one is what it failed for.
    guest()
        .expected(failed("app.service", 1))
        .journal(line("app.service", "Could not resolve host: updates.example.org, going on"))
        .journal(line("app.service", "Could not resolve host: databse"))
        .breaks(FAILED, "databse");
    let says =
        guest().expected(failed("app.service", 1)).journal(line("app.service", "Could not resolve host: databse"));
    let judgement = says.breaks(FAILED, "databse");
    assert!(
        result(&judgement, FAILED).hint.as_deref().unwrap_or_default().starts_with("check the spelling of databse;")
    );
}

#[test]
fn what_is_resolved_need_not_be_a_host() {
    for words in [
        "httpd.c:1841 getaddrinfo failed: Servname not supported for ai_socktype",
        "> Warning:          Could not resolve keysym XF86LeftUp",
        "java.lang.IllegalArgumentException: Could not resolve placeholder 'app.url' in value \"${app.url}\"",
        "could not look up effective user ID 71: user does not exist",
    ] {
        assert!(!shows_no_outside(words, Some("box")), "{words}");
        app(words, asked(&["pool.ntp.org"])).breaks(FAILED, "app.service");
    }
}

#[test]
fn the_machine_itself_is_not_outside() {
    let says = |words: &str| guest().expected(failed("app.service", 1)).journal(line("app.service", words));
    says("connect to 10.0.2.15 port 5432 failed: No route to host").breaks(FAILED, "10.0.2.15");
    let lan = "connect to 192.168.1.5 port 5432 failed: No route to host";
    says(lan).excludes("app.service: needs the outside");
    says(lan)
        .expecting(|expected| expected.addresses = [("eth0".into(), vec!["192.168.1.5".into()])].into())
        .breaks(FAILED, "192.168.1.5");
    let full = "could not resolve host: box.example.org";
    says(full).excludes("app.service: needs the outside");
    says(full).expecting(|expected| expected.domain = Some("example.org".into())).breaks(FAILED, "box.example.org");
}

#[test]
fn what_was_asked_for_is_a_witness() {
    let words = "curl: (6) Could not resolve host: updates.example.org";
    let packet = |to: &str| Witness::Packet { to: to.to_owned() };
    assert_eq!(witness(&app(words, asked(&["updates.example.org"]))), packet("updates.example.org"));
    // One that names no host is explained by its other words, or by its script.
    let nameless = "Temporary failure in name resolution";
    let other =
        app("checking mirror.example.org", asked(&["mirror.example.org"])).journal(line("app.service", nameless));
    assert_eq!(witness(&other), packet("mirror.example.org"));
    let mut traffic = asked(&["mirror.example.org"]);
    assert_eq!(witness(&app(nameless, traffic.clone())).grade(), Grade::Likely);
    traffic.named_by.insert("mirror.example.org".into(), ["app.service".to_owned()].into());
    assert_eq!(witness(&app(nameless, traffic)), packet("mirror.example.org"));
    let call = Call { address: "1.2.3.4".parse().unwrap(), port: 443, protocol: Protocol::Tcp };
    let called = Traffic { calls: vec![call], is_whole: true, ..Traffic::default() };
    let timed_out = "Get \"https://a.example.org/\": dial tcp 1.2.3.4:443: i/o timeout";
    assert_eq!(witness(&app(timed_out, called)), packet("1.2.3.4:443"));
    let near = Traffic { neighbours: vec!["192.168.1.5".parse().unwrap()], is_whole: true, ..Traffic::default() };
    assert_eq!(witness(&app("connect to 192.168.1.5:80: No route to host", near)), packet("192.168.1.5"));
}

#[test]
fn an_error_about_what_was_tried_needs_no_known_words() {
    let call = Call { address: "192.168.1.20".parse().unwrap(), port: 631, protocol: Protocol::Tcp };
    let called = Traffic { calls: vec![call], is_whole: true, ..Traffic::default() };
    let words = r#"lpadmin: Unable to connect to "192.168.1.20:631": Operation now in progress"#;
    assert_eq!(witness(&app(words, called.clone())), Witness::Packet { to: "192.168.1.20:631".into() });
    app(words, asked(&[])).breaks(FAILED, "Unable to connect");
    app("config.yml:3: unknown option 'prot' of 192.168.1.20", called.clone()).breaks(FAILED, "unknown option");
    app("cannot load /etc/peers/192.168.1.20: bad magic", called).breaks(FAILED, "bad magic");
    // A script that says nothing.
    let mut quiet = guest().expected(failed("app.service", 6));
    let mut traffic = asked(&["ddns.example.org"]);
    quiet.observations.traffic = Some(traffic.clone());
    quiet.breaks(FAILED, "app.service");
    traffic.named_by.insert("ddns.example.org".into(), ["app.service".to_owned()].into());
    quiet.observations.traffic = Some(traffic);
    assert_eq!(witness(&quiet), Witness::Packet { to: "ddns.example.org".into() });
}

#[test]
fn what_was_never_asked_for_is_the_configurations() {
    let words = "curl: (6) Could not resolve host: updates.example.org";
    app(words, asked(&["other.example.org"])).breaks(FAILED, "updates.example.org");
    let judgement = app(words, asked(&[])).breaks(FAILED, "updates.example.org");
    let hint = result(&judgement, FAILED).hint.clone().unwrap_or_default();
    assert!(
        hint.starts_with("no request for updates.example.org left the VM") && hint.contains("PrivateNetwork="),
        "{hint}"
    );
    app("Temporary failure in name resolution", asked(&[])).breaks(FAILED, "name resolution");
    app("connect to 1.2.3.4:443: Network is unreachable", asked(&[])).breaks(FAILED, "1.2.3.4");
    // Another one was: the name in the line may be that of a manual.
    let manual = app("fetching mirror.example.org", asked(&["mirror.example.org"]));
    let manual = manual.journal(line("app.service", "see https://docs.example.org: could not resolve host"));
    assert_eq!(witness(&manual).grade(), Grade::Likely);
    // Where that cannot be known, the line is what there is.
    let likely = |guest: Guest| assert_eq!(witness(&guest).grade(), Grade::Likely);
    likely(app(words, Traffic { is_whole: false, ..asked(&[]) }));
    likely(app(words, asked(&[])).facts(|facts| facts.units.retain(|unit| unit.name != WAIT)));
    likely(app(words, asked(&[])).unit(Unit { active_enter_us: 11_500_000, ..active(WAIT) }));
    let no_route = app(words, asked(&[])).facts(|facts| facts.network.default_routes.clear());
    likely(no_route.context(|context| context.no_router = true));
    // It gave up, and network-online.target was reached all the same.
    likely(app(words, asked(&[])).unit(active("network-online.target")).unit(inactive(WAIT)));
    // A resolver of its own asks in its own way.
    likely(app(words, asked(&["."])));
    likely(app(words, asked(&[])).facts(|facts| facts.network.nameservers = vec!["127.0.0.1".into()]));
    // A name in /etc/hosts is not asked for; nor does a route that is missing say that it was.
    likely(app("Failed to connect to db.lan port 5432: No route to host", asked(&[])));
}

#[test]
fn what_was_tried_is_listed() {
    let mut traffic = asked(&["updates.example.org", "databse", "box", "0.nixos.pool.ntp.org", "."]);
    let call =
        |address: &str, port: u16, protocol: Protocol| Call { address: address.parse().unwrap(), port, protocol };
    traffic.calls = vec![
        call("10.0.2.2", 80, Protocol::Tcp),
        call("1.1.1.1", 443, Protocol::Tcp),
        call("1.1.1.1", 53, Protocol::Tcp),
        call("192.0.2.1", 51820, Protocol::Udp),
        call("2001:db8::1", 22, Protocol::Tcp),
    ];
    traffic.neighbours = vec!["10.0.2.3".parse().unwrap(), "192.168.1.5".parse().unwrap()];
    traffic.pings = vec!["1.1.1.1".parse().unwrap()];
    let guest = app("Could not resolve host: updates.example.org", traffic)
        .unit(active("systemd-timesyncd.service"))
        .context(|context| context.network = NetworkPolicy::User);
    let outside = guest.judge().outside;
    let listed: Vec<String> =
        outside.iter().map(|it| format!("{} {}", it.to, it.by.join(" ")).trim().to_owned()).collect();
    let expected = [
        "updates.example.org app.service",
        "0.nixos.pool.ntp.org systemd-timesyncd.service",
        "1.1.1.1:443",
        "192.0.2.1:51820/udp",
        "[2001:db8::1]:22",
        "192.168.1.5",
    ];
    assert_eq!(listed, expected);
    assert_eq!(outside.iter().filter(|it| it.is_clock).count(), 1);
}

#[test]
fn hosts_are_named_as_a_whole() {
    assert!(names("get https://a.example.org/x", "a.example.org") && names("no a.example.org.", "a.example.org"));
    assert!(!names("get https://a.example.org.evil.net/", "a.example.org"));
    assert!(!names("get https://aa.example.org/", "a.example.org") && !names("x.a.example.org", "a.example.org"));
    assert!(!names("11.1.1.1:4", "1.1.1.1") && !names("1.1.1.10", "1.1.1.1") && names("to 1.1.1.1:443", "1.1.1.1"));
}
