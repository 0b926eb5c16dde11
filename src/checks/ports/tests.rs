//! Ports on which nothing listens.

use crate::checks::test_support::{failed, guest, line};
use crate::guest::facts::Unit;
use crate::model::CheckId;

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
    // An open port need not be listened on.
    guest().expecting(|expectations| expectations.open_tcp = vec![443]).passes();
    // Its service failed: reported there.
    guest()
        .unit(failed("sshd.service", 255))
        .facts(|facts| facts.listeners.clear())
        .breaks(CheckId::ServicesFailedUnits, "sshd.service failed");
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
