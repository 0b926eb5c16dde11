//! Addresses, names, the firewall.

use crate::checks::test_support::{Guest, NOW, active, by_manager, failed, guest, inactive, line, result, status};
use crate::guest::facts::{Listener, Service, Unit};
use crate::model::{Accel, CheckId, NetworkPolicy, Protocol, Status};
use crate::nix::expectations::{Expectations, ExpectedUnit};

#[test]
fn addresses_and_routes() {
    let cut = |guest: Guest| {
        guest.facts(|facts| {
            facts.network.addresses.clear();
            facts.network.default_routes.clear();
        })
    };
    cut(guest()).breaks(CheckId::NetworkAddress, "eth0 has no address; systemd-networkd.service is active");
    let judgement = cut(guest())
        .unit(active("dhcpcd.service"))
        .unit(inactive("systemd-networkd.service"))
        .facts(|facts| facts.network.links.push("virbr0".into()))
        .breaks(CheckId::NetworkAddress, "eth0 and virbr0 have no address; dhcpcd.service is active");
    let hint = result(&judgement, CheckId::NetworkAddress).hint.clone().unwrap_or_default();
    assert!(hint.starts_with("dhcpcd leaves virbr0 alone for its name"), "{hint}");
    let unrouted = |configuring: &[&str]| {
        let configuring: Vec<String> = configuring.iter().map(|name| (*name).to_owned()).collect();
        guest().facts(|facts| {
            facts.network.default_routes.clear();
            facts.network.configuring = configuring;
        })
    };
    unrouted(&[]).breaks(CheckId::NetworkRoute, "there is an address, but no default route");
    unrouted(&["eth0"]).breaks(CheckId::NetworkRoute, "no default route: systemd-networkd has not done with eth0");
    // networkd only warns, whatever else has an address.
    let words = "wg0: netdev could not be created: Operation not supported";
    let tunnel = || guest().journal(line("systemd-networkd.service", words));
    tunnel().breaks(CheckId::NetworkAddress, "the interface wg0 could not be made: Operation not supported");
    tunnel().facts(|facts| facts.network.links.push("wg0".into())).passes();
    // The real machine's card has another name than the sandbox's.
    let bound = || guest().expecting(|expectations| expectations.interfaces = vec!["enp0s31f6".into(), "wg0".into()]);
    cut(bound())
        .excludes("interface enp0s31f6: enp0s31f6 is a network interface of the real machine; the VM's is eth0");
    bound().excludes("interface enp0s31f6");
    cut(guest()).unit(inactive("systemd-networkd.service")).passes();
    cut(bound().unit(failed("network-addresses-enp0s31f6.service", 1))).excludes("network-addresses-enp0s31f6.service");
}

#[test]
fn names() {
    let resolves = |answer| {
        guest().context(|context| context.network = NetworkPolicy::User).facts(|facts| {
            facts.network.resolves = answer;
        })
    };
    assert_eq!(status(&resolves(Some(true)).passes(), CheckId::NetworkDns), Status::Pass);
    assert_eq!(status(&resolves(Some(false)).passes(), CheckId::NetworkDns), Status::Unknown);
    resolves(Some(false))
        .context(|context| context.host_resolves = Some(true))
        .breaks(CheckId::NetworkDns, "no name resolves");
    resolves(Some(false))
        .facts(|facts| facts.network.nameservers.clear())
        .breaks(CheckId::NetworkDns, "names no server");
    let no_server = || guest().facts(|facts| facts.network.nameservers.clear());
    no_server().breaks(CheckId::NetworkDns, "names no server");
    no_server()
        .unit(active("systemd-networkd.service"))
        .breaks(CheckId::NetworkDns, "hands those of DHCP to systemd-resolved.service, which is not there");
    let expected = |expectations: &mut Expectations| {
        let unit = ExpectedUnit { enable: true, ..ExpectedUnit::default() };
        expectations.units.insert("systemd-resolved.service".into(), unit);
    };
    no_server()
        .unit(inactive("systemd-resolved.service"))
        .expecting(expected)
        .breaks(CheckId::NetworkDns, "systemd-resolved.service, which would write it, is inactive");
    no_server().unit(active("systemd-resolved.service")).passes();
    no_server()
        .facts(|facts| {
            facts.listeners.push(Listener {
                protocol: Protocol::Udp,
                address: "127.0.0.1".into(),
                port: 53,
                ..Listener::default()
            });
        })
        .passes();
}

#[test]
fn a_local_resolver_that_does_not_run() {
    let at = |servers: &[&str]| {
        guest().facts(|facts| facts.network.nameservers = servers.iter().map(|&server| server.to_owned()).collect())
    };
    let here = || at(&["127.0.0.53", "::1"]);
    let is_skipped = |guest: &Guest| status(&guest.judge(), CheckId::NetworkDns) == Status::Skip;
    here().breaks(CheckId::NetworkDns, "resolv.conf names only 127.0.0.53 and ::1, and nothing is listening there");
    at(&["127.0.0.1", "10.0.2.3"]).passes();
    let listener = |protocol: Protocol, address: &str, port| Listener {
        protocol,
        address: address.into(),
        port,
        ..Listener::default()
    };
    here().facts(|facts| facts.listeners.push(listener(Protocol::Udp, "127.0.0.53", 53))).passes();
    here().facts(|facts| facts.listeners.push(listener(Protocol::Tcp, "0.0.0.0", 53))).passes();
    here()
        .facts(|facts| facts.listeners.push(listener(Protocol::Udp, "127.0.0.1", 5353)))
        .breaks(CheckId::NetworkDns, "");
    here().facts(|facts| facts.network.addresses.clear()).breaks(CheckId::NetworkAddress, "");
    // resolved is asked by way of the bus, too. Others listen, some not at once.
    here().unit(active("systemd-resolved.service")).passes();
    let since = |seconds: u64, kind: &str| Unit {
        active_enter_us: NOW - seconds * 1_000_000,
        service: Some(Service { kind: kind.into(), ..Service::default() }),
        ..active("blocky.service")
    };
    let kvm = |unit: Unit| here().unit(unit).context(|context| context.accelerator = Accel::Kvm);
    assert!(is_skipped(&kvm(since(10, "simple"))));
    kvm(since(10, "notify")).breaks(CheckId::NetworkDns, "nothing is listening there");
    kvm(since(40, "simple")).breaks(CheckId::NetworkDns, "nothing is listening there");
    kvm(since(40, "simple")).journal(line("blocky.service", "dial tcp: lookup a.org: no such host")).passes();
    assert!(is_skipped(&here().unit(Unit { active_state: "activating".into(), ..active("unbound.service") })));
    let broken = || here().expected(failed("dnsmasq.service", 1));
    broken().breaks(CheckId::ServicesFailedUnits, "dnsmasq.service");
    broken()
        .skipping(CheckId::ServicesFailedUnits)
        .expect(&[(CheckId::ServicesPromised, ""), (CheckId::NetworkDns, "")], &[]);
    here()
        .expected(failed("podman-hole.service", 1))
        .journal(line("podman-hole.service", "dial tcp: lookup docker.io: no such host"))
        .excludes("podman-hole.service");
}

#[test]
fn a_firewall_that_is_not_up() {
    let walled = |unit: Unit| guest().expected(unit).expecting(|expectations| expectations.firewall = Some(true));
    walled(failed("nftables.service", 1))
        .journal(line("nftables.service", "/nix/store/x-rules:3:1-4: Error: syntax error, unexpected string"))
        .breaks(
            CheckId::NetworkPorts,
            "every port is open: nftables.service failed: exit code 1: /nix/store/x-rules:3:1-4: Error: syntax error",
        );
    let judgement =
        walled(active("firewall.service")).expecting(|expectations| expectations.open_tcp = vec![22]).passes();
    assert!(result(&judgement, CheckId::NetworkPorts).summary.contains("open: 22/tcp"));
    walled(failed("firewall.service", 1))
        .skipping(CheckId::NetworkPorts)
        .breaks(CheckId::ServicesFailedUnits, "firewall.service");
    // It did its work, and somebody stopped it.
    let stopped = |name: &str| Unit {
        active_enter_us: 9_000_000,
        active_exit_us: 11_000_000,
        inactive_enter_us: 11_000_000,
        service: Some(Service { kind: "oneshot".into(), remain_after_exit: true, exit_kind: 1, ..Service::default() }),
        ..inactive(name)
    };
    walled(stopped("firewall.service"))
        .breaks(CheckId::NetworkPorts, "every port is open: firewall.service was stopped");
    walled(inactive("firewall.service")).breaks(CheckId::ServicesPromised, "firewall.service");
    let judgement = guest().expected(stopped("set-up.service")).passes();
    assert_eq!(status(&judgement, CheckId::ServicesSettled), Status::Warn);
    assert!(result(&judgement, CheckId::ServicesSettled).summary.contains("set-up.service was stopped, 2.0 s after"));
}

#[test]
fn a_firewall_that_could_not_be_reloaded_is_not_active() {
    let reloads = |words: &[&str]| {
        let guest = guest().expecting(|expected| expected.firewall = Some(true)).expected(active("firewall.service"));
        let rule =
            "iptables v1.8.10 (nf_tables):  RULE_APPEND failed (No such file or directory): rule in chain nixos-fw";
        let guest = guest.journal(line("firewall.service", rule));
        words.iter().fold(guest, |guest, words| guest.journal(by_manager("firewall.service", words)))
    };
    reloads(&["Reload failed for Firewall."])
        .breaks(CheckId::NetworkPorts, "every port is open: firewall.service could not be reloaded: iptables v1.8.10");
    reloads(&["Reload failed for Firewall.", "Reloaded Firewall."]).passes();
    reloads(&[]).passes();
}
