//! `network.*`: an address, a route, names, and what the firewall lets through.

use std::sync::LazyLock;

use regex::Regex;

use crate::guest::facts::{Facts, Listener, Unit};
use crate::judging::journal::Means as _;
use crate::judging::journal_patterns::Meaning;
use crate::judging::text::pattern;
use crate::judging::unit::{self, FailureCause, is_activating, is_active, is_failed, is_firewall};
use crate::judging::{Finding, JudgeContext, Judgement, conclude, sandbox, text};
use crate::model::{ActiveState, CheckId, CheckResult, LoadState, NetworkPolicy, Protocol, ServiceType, Status};

/// Services that get or set addresses.
pub(super) const MANAGERS: [&str; 4] =
    ["systemd-networkd.service", "NetworkManager.service", "dhcpcd.service", "networking.service"];

/// How names of interfaces begin that NixOS tells dhcpcd to deny (nixos/modules/services/networking/dhcpcd.nix), but for
/// those of tunnels and of `lo`, which nobody expects to get an address so.
const DHCPCD_DENIES: [&str; 6] = ["peth", "vif", "tap", "virbr", "vnet", "vboxnet"];

pub(super) fn judge(cx: &JudgeContext<'_>, out: &mut Judgement) {
    for (interface, why) in sandbox::missing_interfaces(cx) {
        out.exclude(&format!("interface {interface}"), why);
    }
    let has_address = address(cx, out);
    route(cx, has_address, out);
    dns(cx, out);
    ports(cx, out);
}

/// Whether anything in the guest is there to set up the network.
fn is_managed(cx: &JudgeContext<'_>) -> bool {
    let ours = |name: &str| name.starts_with("network-addresses-") || name.starts_with("dhcpcd");
    MANAGERS
        .iter()
        .any(|name| cx.plan.is_own(name) || cx.unit(name).is_some_and(|unit| is_active(unit) || is_failed(unit)))
        || cx.plan.expectations.units.keys().any(|name| ours(name))
}

fn address(cx: &JudgeContext<'_>, out: &mut Judgement) -> bool {
    let id = CheckId::NetworkAddress;
    if let Some(unknown) = cx.unknown(id, &["network"]) {
        out.results.push(unknown);
        return false;
    }
    let network = &cx.now.network;
    let found = network.addresses.iter().find(|(_, list)| !list.is_empty());
    let not_made = not_made(cx);
    if !not_made.is_empty() {
        out.results.push(conclude(cx, id, not_made, Vec::new(), String::new));
        return found.is_some();
    }
    if let Some((link, list)) = found {
        out.results.push(CheckResult::new(id, Status::Pass, format!("{} has {}", text::clean(link), text::list(list))));
        return true;
    }
    let skip = |why: String| CheckResult::new(id, Status::Skip, text::clean(&why));
    let bound = sandbox::missing_interfaces(cx);
    let result = if network.links.is_empty() {
        skip("not applicable: the guest has no network interface".to_owned())
    } else if let Some((_, why)) = bound.first() {
        skip(format!("not applicable: {why}"))
    } else if !is_managed(cx) {
        skip("not applicable: nothing in the guest sets up a network".to_owned())
    } else {
        let manager = MANAGERS.iter().find(|name| cx.unit(name).is_some_and(|unit| is_active(unit) || is_failed(unit)));
        let state = manager
            .and_then(|name| cx.unit(name))
            .map_or_else(String::new, |unit| format!("; {} is {}", unit.name, unit.active_state));
        let lines = manager.map(|name| unit::tail(cx.now, name, 6)).unwrap_or_default();
        let ignored = manager.and_then(|name| unit::ignored_setting(cx.now, name));
        let ignored = ignored.map_or_else(String::new, |line| format!(": {}", line.message));
        let have = if network.links.len() == 1 { "has" } else { "have" };
        let summary = format!("{} {have} no address{state}{ignored}", text::list(&network.links));
        let finding = Finding::new("network", summary).detail(lines);
        let is_by_dhcpcd = manager.is_some_and(|name| *name == "dhcpcd.service");
        let left_alone =
            network.links.iter().find(|link| is_by_dhcpcd && DHCPCD_DENIES.iter().any(|start| link.starts_with(start)));
        let finding = match left_alone {
            Some(link) => finding.hint(text::clean(&format!(
                "dhcpcd leaves {link} alone for its name: NixOS has it deny {} and the like; another name gets an address",
                DHCPCD_DENIES.join("*, ") + "*"
            ))),
            None => match manager.and_then(|name| cx.unit(name)).and_then(|unit| cx.not_restarted(unit)) {
                Some(hint) => finding.hint(hint),
                None => finding,
            },
        };
        conclude(cx, id, vec![finding], Vec::new(), String::new)
    };
    out.results.push(result);
    false
}

/// Interfaces of the configuration's own (tunnels, bridges) that systemd-networkd could not make, which it only warns of.
fn not_made(cx: &JudgeContext<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for line in cx.now.journal.iter().filter(|line| line.unit == "systemd-networkd.service" && line.pid != 1) {
        let Some(parts) = Meaning::InterfaceNotMade.parts_of(&line.message) else { continue };
        let (name, why) = (&parts["name"], &parts["why"]);
        let is_here = cx.now.network.links.iter().any(|link| link == name);
        if !is_here && !found.iter().any(|finding| finding.item == name) {
            let summary = format!("the interface {name} could not be made: {why}");
            found.push(Finding::new(name, summary).detail([text::journal(line)]));
        }
    }
    found
}

fn route(cx: &JudgeContext<'_>, has_address: bool, out: &mut Judgement) {
    let id = CheckId::NetworkRoute;
    if let Some(unknown) = cx.unknown(id, &["network"]) {
        out.results.push(unknown);
        return;
    }
    let routes = &cx.now.network.default_routes;
    let result = match routes.first() {
        Some(route) => CheckResult::new(id, Status::Pass, text::clean(&format!("default route {route}"))),
        None if !has_address => CheckResult::new(id, Status::Skip, "not applicable: there is no address"),
        None if cx.context.no_router => CheckResult::new(
            id,
            Status::Skip,
            "not applicable: without network namespaces the VM gets no default gateway (--network off)",
        ),
        None => match sandbox::missing_interfaces(cx).first() {
            Some((_, why)) => CheckResult::new(id, Status::Skip, text::clean(&format!("not applicable: {why}"))),
            None => {
                let not_set = cx.now.journal.iter().rev().find(|line| Meaning::RouteNotSet.is_in(&line.message));
                // networkd waits for ever, and in silence, for a gateway that no address reaches.
                let unfinished = cx.now.network.configuring.first();
                let why = match (not_set, unfinished) {
                    (Some(line), _) => format!(": {}", line.message),
                    (None, Some(link)) => format!(": systemd-networkd has not done with {link}"),
                    (None, None) => String::new(),
                };
                let hint = if why.is_empty() {
                    "the VM's network offers one by DHCP; a static setup needs networking.defaultGateway"
                } else {
                    "a gateway has to lie in the network of one of the interface's addresses"
                };
                let finding =
                    Finding::new("route", format!("there is an address, but no default route{why}")).hint(hint);
                conclude(cx, id, vec![finding], Vec::new(), String::new)
            }
        },
    };
    out.results.push(result);
}

fn dns(cx: &JudgeContext<'_>, out: &mut Judgement) {
    let id = CheckId::NetworkDns;
    if let Some(unknown) = cx.unknown(id, &["network"]) {
        out.results.push(unknown);
        return;
    }
    let servers = &cx.now.network.nameservers;
    if is_without_resolver(cx) {
        let (why, hint) = without_resolver(cx);
        let summary = format!("no name can be resolved: {why}");
        let finding = Finding::new("resolv.conf", summary).hint(hint);
        out.results.push(conclude(cx, id, vec![finding], Vec::new(), String::new));
        return;
    }
    if let Some(result) = no_local_resolver(cx) {
        out.results.push(result);
        return;
    }
    let result = match cx.now.network.resolves {
        Some(true) => CheckResult::new(id, Status::Pass, "names resolve"),
        Some(false) if cx.context.host_resolves == Some(true) => {
            let finding = Finding::new(
                "resolver",
                format!("no name resolves via {}, though this host resolves names", text::list(servers)),
            );
            conclude(cx, id, vec![finding], Vec::new(), String::new)
        }
        Some(false) => {
            CheckResult::new(id, Status::Unknown, "no name resolves, which may be due to this host's network")
        }
        None if cx.context.network == NetworkPolicy::Off => {
            CheckResult::new(id, Status::Skip, "not applicable: the VM has no outside network (--network off)")
        }
        None => CheckResult::new(id, Status::Skip, "not tried"),
    };
    out.results.push(result);
}

/// Whether the machine has a route but no resolver: no server named, none of its own (resolv.conf(5): then
/// the one on this host is asked), no systemd-resolved, which can be asked without resolv.conf.
fn is_without_resolver(cx: &JudgeContext<'_>) -> bool {
    let network = &cx.now.network;
    let connected = !network.default_routes.is_empty() && network.addresses.values().any(|list| !list.is_empty());
    let own = cx.now.listeners.iter().any(|listener| listener.port == 53);
    let resolved = cx.unit("systemd-resolved.service").is_some_and(is_active);
    connected && network.nameservers.is_empty() && !own && !resolved && cx.gap("listeners").is_none()
}

/// Why no server is named, and what to change. systemd-networkd learns them by DHCP and hands them to systemd-resolved
/// alone: without that nobody writes resolv.conf.
fn without_resolver(cx: &JudgeContext<'_>) -> (String, &'static str) {
    const RESOLVED: &str = "systemd-resolved.service";
    const NO_SERVER: &str = "/etc/resolv.conf names no server";
    let expected = cx.plan.expectations.units.get(RESOLVED).is_some_and(|unit| unit.enable);
    let state = cx.unit(RESOLVED).filter(|unit| unit.load_state != LoadState::NotFound);
    match state {
        None if cx.gap("units").is_some() => {}
        None if cx.is_active("systemd-networkd.service") => {
            return (
                format!("{NO_SERVER}, since systemd-networkd hands those of DHCP to {RESOLVED}, which is not there"),
                "services.resolved.enable = true, or servers in networking.nameservers",
            );
        }
        Some(unit) if expected && !is_failed(unit) => {
            return (
                format!("{NO_SERVER}, and {RESOLVED}, which would write it, is {}", unit.active_state),
                "`systemctl status systemd-resolved` in the guest says why (--keep)",
            );
        }
        _ => {}
    }
    (
        format!("{NO_SERVER}, and none runs in the guest"),
        "the VM's network offers one by DHCP; a static setup needs networking.nameservers",
    )
}

/// Units that serve DNS on this machine.
static RESOLVERS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)resolve[dr]|dns|unbound|bind\.service|named|kresd|recursor|adguard|blocky|stubby|pi-?hole|technitium")
});
/// How long a program that does not report when it is ready may take until it answers, with hardware virtualisation.
const ANSWERS_US: f64 = 30e6;

/// The result where all servers that /etc/resolv.conf names are this machine, and nothing listens there.
fn no_local_resolver(cx: &JudgeContext<'_>) -> Option<CheckResult> {
    let id = CheckId::NetworkDns;
    let network = &cx.now.network;
    let is_here = |server: &String| is_own_address(server.split('%').next().unwrap_or_default());
    let listens = cx.now.listeners.iter().any(|listener| listener.port == 53);
    let has_address = network.addresses.values().any(|list| !list.is_empty());
    // systemd-resolved can be asked without a port, too.
    let resolved = cx.unit("systemd-resolved.service").is_some_and(is_active) || network.resolves == Some(true);
    let named = !network.nameservers.is_empty() && network.nameservers.iter().all(is_here);
    if !named
        || listens
        || resolved
        || !has_address
        || ["listeners", "units"].into_iter().any(|fact| cx.gap(fact).is_some())
    {
        return None;
    }
    let skip = |why: String| Some(CheckResult::new(id, Status::Skip, text::clean(&why)));
    let servers = text::list(&network.nameservers);
    let is_resolver = |unit: &&Unit| unit.name.ends_with(".service") && RESOLVERS.is_match(&unit.name);
    for unit in cx.now.units.iter().filter(is_resolver) {
        let name = unit.name.as_str();
        let age = cx.now.now_us.saturating_sub(unit.active_enter_us) as f64;
        let reports_ready = unit
            .service
            .as_ref()
            .is_some_and(|it| !matches!(it.kind, ServiceType::Simple | ServiceType::Exec | ServiceType::Idle));
        match cx.failure_causes.get(name) {
            Some(FailureCause::Sandbox(why)) => return skip(format!("not applicable: {name} {why}")),
            // Its failure is reported already.
            Some(_) if cx.is_planned(CheckId::ServicesFailedUnits) => {
                return skip(format!("not applicable: {name}, which may serve {servers}, failed"));
            }
            _ => {}
        }
        if is_activating(unit) {
            return skip(format!("not applicable: {name}, which may serve {servers}, is still starting"));
        }
        if is_active(unit) && !reports_ready && age < ANSWERS_US * cx.context.scale() {
            return skip(format!("not applicable: {name} became active only {} ago", text::seconds(age / 1e6)));
        }
        if is_active(unit)
            && let Some(why) = sandbox::waits_for_outside(cx.plan, cx.now, cx.traffic, name)
        {
            return skip(format!("not applicable: {name} {why}"));
        }
    }
    // Which one it is need not show in the name.
    let excluded = cx.failure_causes.iter().find(|(_, cause)| matches!(cause, FailureCause::Sandbox(_)));
    if let Some((name, _)) = excluded
        && !cx.now.units.iter().any(|unit| is_resolver(&unit) && is_active(unit))
    {
        return skip(format!(
            "not applicable: nothing is listening at {servers}, which may be due to {name}, which is excluded"
        ));
    }
    let summary =
        format!("no name can be resolved: /etc/resolv.conf names only {servers}, and nothing is listening there");
    let finding = Finding::new("resolv.conf", summary)
        .hint("services.resolved.enable, or the resolver that is meant to listen on port 53 here")
        .time_limit(cx.since_boot());
    Some(conclude(cx, id, vec![finding], Vec::new(), String::new))
}

/// Whether an address is this machine's own.
fn is_own_address(address: &str) -> bool {
    address.starts_with("127.") || address == "::1" || address == "[::1]" || address.starts_with("::ffff:127.")
}

fn is_loopback(listener: &Listener) -> bool {
    is_own_address(&listener.address)
}

fn is_within(ranges: &[(u16, u16)], port: u16) -> bool {
    ranges.iter().any(|(from, to)| (*from..=*to).contains(&port))
}

/// Whether it was up and is not any more, without having failed.
fn is_stopped(unit: &Unit) -> bool {
    unit.active_state == ActiveState::Inactive && unit.active_exit_us > 0
}

/// Whether the last that PID 1 tells of a unit's reloads is that one failed.
fn failed_to_reload(facts: &Facts, unit: &str) -> bool {
    let last = unit::manager_line(facts, unit, Meaning::ReloadEnded);
    last.and_then(|line| Meaning::ReloadEnded.parts_of(&line.message)?.name("failed")).is_some()
}

/// How a firewall's unit came to let everything in, and what to do about it; `None` where it does not.
fn firewall_down(cx: &JudgeContext<'_>, unit: &Unit) -> Option<(String, Option<&'static str>)> {
    let name = unit.name.as_str();
    let is_reported = matches!(cx.failure_causes.get(name), Some(FailureCause::ReportedBy(CheckId::NetworkPorts)));
    if is_reported {
        return Some((format!("failed: {}", unit::describe_failure(cx.now, unit)), None));
    }
    if is_active(unit) && failed_to_reload(cx.now, name) {
        // NixOS's script takes its rules away then, and the unit stays as it was.
        let said = unit::error_line(&cx.now.journal, name).map_or_else(String::new, |line| format!(": {line}"));
        return Some((format!("could not be reloaded{said}"), None));
    }
    let hint = "find what stops it: another unit's Conflicts=, or a systemctl stop";
    (cx.plan.is_own(name) && is_stopped(unit)).then(|| ("was stopped".to_owned(), Some(hint)))
}

fn ports(cx: &JudgeContext<'_>, out: &mut Judgement) {
    let id = CheckId::NetworkPorts;
    let expectations = &cx.plan.expectations;
    if expectations.firewall == Some(true)
        && let Some(unknown) = cx.unknown(id, &["units"])
    {
        out.results.push(unknown);
        return;
    }
    let mut fails = Vec::new();
    if expectations.firewall == Some(true) {
        for unit in cx.now.units.iter().filter(|unit| is_firewall(&unit.name)) {
            let name = unit.name.as_str();
            if let Some((how, hint)) = firewall_down(cx, unit) {
                let summary = format!("the firewall is not active, every port is open: {name} {how}");
                let finding = Finding::new(name, summary).detail(unit::tail(cx.now, name, 8));
                let finding = finding.evidence("unit", text::clean(name));
                fails.push(if let Some(hint) = hint { finding.hint(hint) } else { finding });
            }
        }
    }
    let down =
        cx.failure_causes.iter().find(|(name, cause)| is_firewall(name) && matches!(cause, FailureCause::Sandbox(_)));
    if let (true, Some((name, _))) = (fails.is_empty() && expectations.firewall == Some(true), down) {
        let why = format!("not applicable: {name} is excluded (not testable in a VM)");
        out.results.push(CheckResult::new(id, Status::Skip, why));
        return;
    }
    if fails.is_empty()
        && let Some(unknown) = cx.unknown(id, &["listeners"])
    {
        out.results.push(unknown);
        return;
    }
    let mut reachable: Vec<(u16, Protocol)> = cx
        .now
        .listeners
        .iter()
        .filter(|listener| !is_loopback(listener))
        .map(|listener| (listener.port, listener.protocol))
        .collect();
    reachable.sort_unstable();
    reachable.dedup();
    let is_open = |(port, protocol): &(u16, Protocol)| match protocol {
        Protocol::Udp => expectations.open_udp.contains(port) || is_within(&expectations.open_udp_ranges, *port),
        Protocol::Tcp => expectations.open_tcp.contains(port) || is_within(&expectations.open_tcp_ranges, *port),
    };
    let named = |ports: &mut dyn Iterator<Item = &(u16, Protocol)>| {
        ports.map(|(port, protocol)| format!("{port}/{protocol}")).collect::<Vec<_>>()
    };
    let all = named(&mut reachable.iter());
    let open = named(&mut reachable.iter().filter(|port| is_open(port)));
    let result = conclude(cx, id, fails, Vec::new(), || match (expectations.firewall, all.len()) {
        (_, 0) => "nothing is listening beyond loopback".to_owned(),
        (Some(true), many) => {
            let let_in =
                if open.is_empty() { "none of them open".to_owned() } else { format!("open: {}", text::list(&open)) };
            // Whether it was started at all, services.promised reports.
            let active = cx.now.units.iter().any(|unit| is_firewall(&unit.name) && is_active(unit));
            let state = if active { "the firewall is active" } else { "a firewall is expected" };
            format!("{state}; listening on {many} ports, {let_in}")
        }
        (Some(false), _) => format!("no firewall; listening on {}", text::list(&all)),
        (None, _) => format!("listening on {}", text::list(&all)),
    });
    out.results.push(result.evidence("listening", all));
}

#[cfg(test)]
mod tests;
