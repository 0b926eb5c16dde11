//! Ports on which nothing listens.

use crate::checks::test_support::{active, failed, guest, inactive, line, result, status};
use crate::guest::facts::{Service, Unit};
use crate::model::{CheckId, Protocol, Status};
use crate::nix::expectations::InferredPort;

#[test]
fn ports_on_which_nothing_is_listening() {
    guest().toml("ports = [22]").passes();
    guest()
        .toml("ports = [80]")
        .breaks(CheckId::ServicesPorts, "nothing is listening on 80/tcp (expected by nixbox.toml)");
    guest().toml("ports = [\"22/udp\"]").breaks(CheckId::ServicesPorts, "22/udp");
    guest()
        .facts(|facts| facts.listeners.clear())
        .breaks(CheckId::ServicesPorts, "(expected by services.openssh); sshd.service is active");
    // An open port need not be listened on: a warning, and none where a desktop's programs may still come.
    let open = || guest().expecting(|expectations| expectations.open_tcp = vec![22, 443]);
    let judgement = open().passes();
    let said = result(&judgement, CheckId::ServicesPorts);
    let words =
        "nothing is listening on 443/tcp, which networking.firewall.allowedTCPPorts opens (the firewall itself is off)";
    assert_eq!((said.status, said.summary.as_str()), (Status::Warn, words));
    let alone = open().expecting(|expectations| expectations.service_ports.clear()).passes();
    assert_eq!(status(&alone, CheckId::ServicesPorts), Status::Warn);
    // Its service failed: reported there.
    guest()
        .unit(failed("sshd.service", 255))
        .facts(|facts| facts.listeners.clear())
        .breaks(CheckId::ServicesFailedUnits, "sshd.service failed");
}

#[test]
fn ports_that_options_seem_to_name() {
    let app = |port: u16, unit: Unit| {
        let inferred =
            InferredPort { option: "services.app".into(), protocol: Protocol::Tcp, port, unit: "app.service".into() };
        let guest =
            guest().expected(unit).expecting(|expectations| expectations.inferred_ports = vec![inferred]).passes();
        result(&guest, CheckId::ServicesPorts).clone()
    };
    let silent = app(8080, active("app.service"));
    assert_eq!(silent.status, Status::Warn);
    assert!(silent.summary.starts_with("nothing is listening on 8080, which services.app seems to name"));
    assert_eq!(app(22, active("app.service")).status, Status::Pass);
    // What does not run is reported as such, where it should.
    let ended = Unit {
        inactive_enter_us: 11_000_000,
        service: active("app.service").service.map(|service| Service { kind: "oneshot".into(), ..service }),
        ..inactive("app.service")
    };
    assert_eq!(app(8080, ended).status, Status::Pass);
}

#[test]
fn a_port_of_what_is_excluded_and_started_again() {
    let sshd =
        Unit { active_state: "activating".into(), sub_state: "auto-restart".into(), ..failed("sshd.service", 1) };
    let silent = |words: &str| {
        guest().expected(sshd.clone()).journal(line("sshd.service", words)).facts(|facts| facts.listeners.clear())
    };
    silent("cannot read /run/secrets/host-key: No such file or directory").excludes("port 22/tcp");
    let waits = || guest().facts(|facts| facts.listeners.clear());
    waits().journal(line("sshd.service", "ping: connect: Network is unreachable")).excludes("port 22/tcp");
    waits().breaks(CheckId::ServicesPorts, "nothing is listening on 22/tcp");
    silent("cannot read /etc/ssh/host-key").expect(
        &[(CheckId::ServicesRestartLoop, "sshd.service"), (CheckId::ServicesPorts, "nothing is listening on 22/tcp")],
        &[],
    );
}
