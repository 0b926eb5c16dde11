//! `network.*`: an address, a route, names, and what the firewall lets through.

use std::sync::LazyLock;

use regex::Regex;

use super::unit::{self, FailureCause, is_active, is_failed, is_firewall, pattern};
use super::{Finding, Judgement, View, conclude, sandbox, text};
use crate::guest::facts::{Facts, Listener, Unit};
use crate::model::{CheckId, CheckResult, NetworkPolicy, Status};

/// Services that get or set addresses.
const MANAGERS: [&str; 4] =
    ["systemd-networkd.service", "NetworkManager.service", "dhcpcd.service", "networking.service"];

/// Whether there is no address or route yet, and somebody who is likely to get one. There may not even be a card yet: udev is
/// not waited for by everybody.
///
/// `no_router`: as in [`super::Context`].
pub fn lease_awaited(facts: &Facts, no_router: bool) -> bool {
    let has_address = facts.network.addresses.values().any(|list| !list.is_empty());
    let managed = MANAGERS.iter().any(|name| facts.unit(name).is_some_and(is_active));
    !facts.gaps.contains_key("network")
        && facts.manager.finish_us > 0
        && (!has_address || !no_router && facts.network.default_routes.is_empty())
        && managed
}

pub(super) fn judge(view: &View<'_>, out: &mut Judgement) {
    for (interface, why) in sandbox::missing_interfaces(view) {
        out.exclude(&format!("interface {interface}"), why);
    }
    let has_address = address(view, out);
    route(view, has_address, out);
    dns(view, out);
    ports(view, out);
}

/// Whether anything in the guest is there to set up the network.
fn is_managed(view: &View<'_>) -> bool {
    let ours = |name: &str| name.starts_with("network-addresses-") || name.starts_with("dhcpcd");
    MANAGERS
        .iter()
        .any(|name| view.plan.is_own(name) || view.unit(name).is_some_and(|unit| is_active(unit) || is_failed(unit)))
        || view.plan.expectations.units.keys().any(|name| ours(name))
}

fn address(view: &View<'_>, out: &mut Judgement) -> bool {
    let id = CheckId::NetworkAddress;
    if let Some(unknown) = view.unknown(id, &["network"]) {
        out.results.push(unknown);
        return false;
    }
    let network = &view.now.network;
    let found = network.addresses.iter().find(|(_, list)| !list.is_empty());
    if let Some((link, list)) = found {
        out.results.push(CheckResult::new(id, Status::Pass, format!("{} has {}", text::clean(link), text::list(list))));
        return true;
    }
    let skip = |why: String| CheckResult::new(id, Status::Skip, text::clean(&why));
    let bound = sandbox::missing_interfaces(view);
    let result = if network.links.is_empty() {
        skip("no network card in the guest".to_owned())
    } else if let Some((_, why)) = bound.first() {
        skip(format!("not tested: {why}"))
    } else if !is_managed(view) {
        skip("nothing in the guest sets up a network".to_owned())
    } else {
        let manager =
            MANAGERS.iter().find(|name| view.unit(name).is_some_and(|unit| is_active(unit) || is_failed(unit)));
        let state = manager
            .and_then(|name| view.unit(name))
            .map_or_else(String::new, |unit| format!("; {} is {}", unit.name, unit.active_state));
        let lines = manager.map(|name| unit::tail(view.now, name, 6)).unwrap_or_default();
        let finding = Finding::new("network", format!("{} has no address{state}", text::list(&network.links)));
        conclude(view, id, vec![finding.detail(lines)], Vec::new(), String::new)
    };
    out.results.push(result);
    false
}

fn route(view: &View<'_>, has_address: bool, out: &mut Judgement) {
    let id = CheckId::NetworkRoute;
    if let Some(unknown) = view.unknown(id, &["network"]) {
        out.results.push(unknown);
        return;
    }
    let routes = &view.now.network.default_routes;
    let result = match routes.first() {
        Some(route) => CheckResult::new(id, Status::Pass, text::clean(&format!("default route {route}"))),
        None if !has_address => CheckResult::new(id, Status::Skip, "no address, so no route"),
        None if view.context.no_router => {
            CheckResult::new(id, Status::Skip, "not tested: the sandbox lets nothing out, and so offers no router")
        }
        None => match sandbox::missing_interfaces(view).first() {
            Some((_, why)) => CheckResult::new(id, Status::Skip, text::clean(&format!("not tested: {why}"))),
            None => {
                let finding = Finding::new("route", "there is an address, but no default route")
                    .hint("the sandbox offers one by DHCP; a static set-up takes networking.defaultGateway");
                conclude(view, id, vec![finding], Vec::new(), String::new)
            }
        },
    };
    out.results.push(result);
}

fn dns(view: &View<'_>, out: &mut Judgement) {
    let id = CheckId::NetworkDns;
    if let Some(unknown) = view.unknown(id, &["network"]) {
        out.results.push(unknown);
        return;
    }
    let servers = &view.now.network.nameservers;
    if is_without_resolver(view) {
        let finding =
            Finding::new("resolv.conf", "no name can resolve: /etc/resolv.conf names no server, and none runs here")
                .hint("the sandbox offers one by DHCP; a static set-up takes networking.nameservers");
        out.results.push(conclude(view, id, vec![finding], Vec::new(), String::new));
        return;
    }
    if let Some(result) = nobody_answers(view) {
        out.results.push(result);
        return;
    }
    let result = match view.now.network.resolves {
        Some(true) => CheckResult::new(id, Status::Pass, "a name of the outside resolves"),
        Some(false) if view.context.host_resolves == Some(true) => {
            let finding = Finding::new(
                "resolver",
                format!("no name resolves, though {} is asked and the host resolves names", text::list(servers)),
            );
            conclude(view, id, vec![finding], Vec::new(), String::new)
        }
        Some(false) => CheckResult::new(id, Status::Unknown, "no name resolves, which may be this host's network"),
        None if view.context.network == NetworkPolicy::Off => {
            CheckResult::new(id, Status::Skip, "not tried: --network off lets nothing out")
        }
        None => CheckResult::new(id, Status::Skip, "not tried"),
    };
    out.results.push(result);
}

/// Whether the machine has a way out but nobody to ask for names: no server named, none of its own (resolv.conf(5): then
/// the one on this host is asked), no systemd-resolved, which can be asked without resolv.conf.
fn is_without_resolver(view: &View<'_>) -> bool {
    let network = &view.now.network;
    let connected = !network.default_routes.is_empty() && network.addresses.values().any(|list| !list.is_empty());
    let own = view.now.listeners.iter().any(|listener| listener.port == 53);
    let resolved = view.unit("systemd-resolved.service").is_some_and(is_active);
    connected && network.nameservers.is_empty() && !own && !resolved && view.gap("listeners").is_none()
}

/// Services that answer to who asks this machine for names.
static RESOLVERS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)resolve[dr]|dns|unbound|bind\.service|named|kresd|recursor|adguard|blocky|stubby|pi-?hole|technitium")
});
/// How long a program that does not say when it is ready may take until it answers, with hardware virtualisation.
const ANSWERS_US: f64 = 30e6;

/// What is to be said where all servers that /etc/resolv.conf names are this machine, and nobody listens there.
fn nobody_answers(view: &View<'_>) -> Option<CheckResult> {
    let id = CheckId::NetworkDns;
    let network = &view.now.network;
    let is_here = |server: &String| is_own_address(server.split('%').next().unwrap_or_default());
    let listens = view.now.listeners.iter().any(|listener| listener.port == 53);
    let has_address = network.addresses.values().any(|list| !list.is_empty());
    // systemd-resolved is asked by other ways, too.
    let resolved = view.unit("systemd-resolved.service").is_some_and(is_active) || network.resolves == Some(true);
    let named = !network.nameservers.is_empty() && network.nameservers.iter().all(is_here);
    if !named
        || listens
        || resolved
        || !has_address
        || ["listeners", "units"].into_iter().any(|fact| view.gap(fact).is_some())
    {
        return None;
    }
    let skip = |why: String| Some(CheckResult::new(id, Status::Skip, text::clean(&why)));
    let servers = text::list(&network.nameservers);
    let is_resolver = |unit: &&Unit| unit.name.ends_with(".service") && RESOLVERS.is_match(&unit.name);
    for unit in view.now.units.iter().filter(is_resolver) {
        let name = unit.name.as_str();
        let age = view.now.now_us.saturating_sub(unit.active_enter_us) as f64;
        let tells = unit.service.as_ref().is_some_and(|it| !matches!(it.kind.as_str(), "simple" | "exec" | "idle"));
        match view.faults.get(name) {
            Some(FailureCause::Sandbox(why)) => return skip(format!("not tested: {name} {why}")),
            // Its failure is told already.
            Some(_) if view.wants(CheckId::ServicesFailedUnits) => {
                return skip(format!("not judged: {name}, who may answer at {servers}, failed"));
            }
            _ => {}
        }
        if unit.active_state == "activating" {
            return skip(format!("not judged: {name}, who may answer at {servers}, is still starting"));
        }
        if is_active(unit) && !tells && age < ANSWERS_US * view.context.scale() {
            return skip(format!("not judged: {name} became active only {} ago", text::seconds(age / 1e6)));
        }
        if is_active(unit)
            && let Some(why) = sandbox::waits_for_outside(view.plan, view.now, name)
        {
            return skip(format!("not tested: {name} {why}"));
        }
    }
    // Who it is need not show in the name.
    let set_aside = view.faults.iter().find(|(_, fault)| matches!(fault, FailureCause::Sandbox(_)));
    if let Some((name, _)) = set_aside
        && !view.now.units.iter().any(|unit| is_resolver(&unit) && is_active(unit))
    {
        return skip(format!("not judged: nobody listens at {servers}, which may come of {name}, which was set aside"));
    }
    let summary = format!("no name can resolve: /etc/resolv.conf names only {servers}, and nobody listens there");
    let finding = Finding::new("resolv.conf", summary)
        .hint("services.resolved.enable, or the resolver that is meant to listen on port 53 here")
        .ran_out(view.asking());
    Some(conclude(view, id, vec![finding], Vec::new(), String::new))
}

/// Whether an address is this machine's own.
fn is_own_address(address: &str) -> bool {
    address.starts_with("127.") || address == "::1" || address == "[::1]" || address.starts_with("::ffff:127.")
}

fn is_loopback(listener: &Listener) -> bool {
    is_own_address(&listener.address)
}

/// Whether it was up and is not any more, without having failed.
fn is_stopped(unit: &Unit) -> bool {
    unit.active_state == "inactive" && unit.active_exit_us > 0
}

fn ports(view: &View<'_>, out: &mut Judgement) {
    let id = CheckId::NetworkPorts;
    let expectations = &view.plan.expectations;
    if expectations.firewall == Some(true)
        && let Some(unknown) = view.unknown(id, &["units"])
    {
        out.results.push(unknown);
        return;
    }
    let mut fails = Vec::new();
    if expectations.firewall == Some(true) {
        for unit in view.now.units.iter().filter(|unit| is_firewall(&unit.name)) {
            let name = unit.name.as_str();
            let told =
                view.faults.get(name).is_some_and(|fault| matches!(fault, FailureCause::Told(CheckId::NetworkPorts)));
            if told {
                fails.push(
                    Finding::new(
                        name,
                        format!(
                            "the expected firewall is not up, every port is open: {name} failed: {}",
                            unit::ending(view.now, unit)
                        ),
                    )
                    .detail(unit::tail(view.now, name, 8))
                    .evidence("unit", text::clean(name)),
                );
            } else if view.plan.is_own(name) && is_stopped(unit) {
                fails.push(
                    Finding::new(
                        name,
                        format!("the expected firewall is not up, every port is open: {name} was stopped"),
                    )
                    .detail(unit::tail(view.now, name, 8))
                    .evidence("unit", text::clean(name))
                    .hint("look for who stops it: another unit's Conflicts=, or a systemctl stop"),
                );
            }
        }
    }
    let down = view.faults.iter().find(|(name, fault)| is_firewall(name) && matches!(fault, FailureCause::Sandbox(_)));
    if let (true, Some((name, _))) = (fails.is_empty() && expectations.firewall == Some(true), down) {
        let why = format!("{name} could not be started in the sandbox, and was set aside");
        out.results.push(CheckResult::new(id, Status::Skip, why));
        return;
    }
    if fails.is_empty()
        && let Some(unknown) = view.unknown(id, &["listeners"])
    {
        out.results.push(unknown);
        return;
    }
    let mut reachable: Vec<(u16, &str)> = view
        .now
        .listeners
        .iter()
        .filter(|listener| !is_loopback(listener))
        .map(|listener| (listener.port, if listener.protocol == "udp" { "udp" } else { "tcp" }))
        .collect();
    reachable.sort_unstable();
    reachable.dedup();
    let is_open = |(port, protocol): &(u16, &str)| match *protocol {
        "udp" => expectations.open_udp.contains(port),
        _ => expectations.open_tcp.contains(port),
    };
    let behind = |ports: &mut dyn Iterator<Item = &(u16, &str)>| {
        ports.map(|(port, protocol)| format!("{port}/{protocol}")).collect::<Vec<_>>()
    };
    let all = behind(&mut reachable.iter());
    let open = behind(&mut reachable.iter().filter(|port| is_open(port)));
    let result = conclude(view, id, fails, Vec::new(), || match (expectations.firewall, all.len()) {
        (_, 0) => "nothing listens towards the outside".to_owned(),
        (Some(true), many) => {
            let let_in =
                if open.is_empty() { "none of them open".to_owned() } else { format!("open: {}", text::list(&open)) };
            // Whether it was started at all, services.promised says.
            let walls = view.now.units.iter().any(|unit| is_firewall(&unit.name) && is_active(unit));
            let state = if walls { "the firewall is up" } else { "there is to be a firewall" };
            format!("{state}; {many} ports are listened on, {let_in}")
        }
        (Some(false), _) => format!("no firewall; listened on: {}", text::list(&all)),
        (None, _) => format!("listened on: {}", text::list(&all)),
    });
    out.results.push(result.evidence("listening", all));
}
