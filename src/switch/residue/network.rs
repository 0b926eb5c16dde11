//! Listeners, network devices, addresses, routes, and the firewall.

use std::collections::{BTreeMap, BTreeSet};

use super::{Between, Differences, gap};
use crate::judging::Finding;
use crate::judging::text::list;
use crate::model::Protocol;
use crate::switch::record::Record;

/// The first of the ports that programs get without asking for one (`net.ipv4.ip_local_port_range`).
const EPHEMERAL: u16 = 32768;
/// Where a lease's answers come to, while one is asked for.
const LEASES: [(Protocol, u16); 2] = [(Protocol::Udp, 68), (Protocol::Udp, 546)];
/// Addresses that stand for all of the machine's.
const EVERYWHERE: [&str; 2] = ["0.0.0.0", "::"];

/// Who listens on a port, and at which addresses.
#[derive(Default)]
struct Port<'a> {
    processes: BTreeSet<&'a str>,
    addresses: BTreeSet<&'a str>,
}

impl Port<'_> {
    fn who(&self) -> String {
        let names: Vec<&str> = self.processes.iter().copied().filter(|name| !name.is_empty()).collect();
        if names.is_empty() { "something".to_owned() } else { list(&names) }
    }

    /// Whether it is known whose it is: PID 1 holds a port for a service that is not up yet.
    fn is_known(&self) -> bool {
        !self.processes.is_empty() && !self.processes.iter().any(|name| matches!(*name, "" | "systemd"))
    }

    fn is_everywhere(&self) -> bool {
        self.addresses.iter().any(|address| EVERYWHERE.contains(address))
    }
}

fn ports(record: &Record) -> BTreeMap<(Protocol, u16), Port<'_>> {
    let mut ports: BTreeMap<_, Port<'_>> = BTreeMap::new();
    for listener in &record.facts.listeners {
        let key = (listener.protocol, listener.port);
        if listener.port < EPHEMERAL && !LEASES.contains(&key) {
            let port = ports.entry(key).or_default();
            port.processes.insert(&listener.process);
            port.addresses.insert(&listener.address);
        }
    }
    ports
}

impl Between<'_> {
    pub(super) fn sockets(&self) -> Differences {
        gap([self.before, self.back], &["listeners"])?;
        let (before, back) = (ports(self.before), ports(self.back));
        let name = |(protocol, port): &(Protocol, u16)| format!("{port}/{protocol}");
        let mut findings = Vec::new();
        for (key, now) in &back {
            let (port, who) = (name(key), now.who());
            let Some(known) = before.get(key) else {
                findings.push(self.left(&port, format!("{who} still listens on {port} after switching back")));
                continue;
            };
            if known.is_known() && now.is_known() && known.processes.is_disjoint(&now.processes) {
                findings.push(self.left(
                    &port,
                    format!("{who} listens on {port} after switching back, where {} did before", known.who()),
                ));
            } else if now.is_everywhere() && !known.is_everywhere() {
                let addresses: Vec<&str> = known.addresses.iter().copied().collect();
                findings.push(self.left(
                    &port,
                    format!(
                        "{who} listens on {port} at all addresses after switching back, and only at {} before",
                        list(&addresses)
                    ),
                ));
            }
        }
        let gone = before.iter().filter(|(key, _)| !back.contains_key(*key));
        findings.extend(gone.map(|(key, known)| {
            let port = name(key);
            self.gone(
                &port,
                format!("nothing listens on {port} after switching back, where {} did before", known.who()),
            )
        }));
        Ok(findings)
    }

    pub(super) fn network(&self) -> Differences {
        gap([self.before, self.back], &["network"])?;
        let (before, back) = (&self.before.facts.network, &self.back.facts.network);
        // A container's end of a pair has another name each time.
        let named = |link: &&String| !link.starts_with("veth");
        let mut findings = Vec::new();
        for link in back.links.iter().filter(named).filter(|link| !before.links.contains(link)) {
            findings.push(self.left(link, format!("the network device {link} is still there after switching back")));
        }
        for link in before.links.iter().filter(named).filter(|link| !back.links.contains(link)) {
            findings.push(self.gone(link, format!("the network device {link} is gone after switching back")));
        }
        for link in back.links.iter().filter(|link| before.links.contains(link)) {
            self.add_addresses(link, &mut findings);
        }
        // Those of a device that is new or gone are told by it.
        let is_by_device = |route: &str| {
            let by = route.rsplit(' ').next().unwrap_or_default().to_owned();
            before.links.contains(&by) != back.links.contains(&by)
        };
        // A lease may bring another gateway.
        let (now, known) = (&back.default_routes, &before.default_routes);
        if now.len() > known.len() {
            let new = without(now, known).into_iter();
            findings.extend(
                new.map(|by| self.left(by, format!("a default route by {by} is still there after switching back"))),
            );
        }
        if now.len() < known.len() {
            let lost = without(known, now).into_iter();
            findings.extend(
                lost.map(|by| self.gone(by, format!("the default route by {by} is gone after switching back"))),
            );
        }
        let new = without(&back.routes, &before.routes).into_iter().filter(|route| !is_by_device(route));
        findings.extend(
            new.map(|route| self.left(route, format!("the route {route} is still there after switching back"))),
        );
        let lost = without(&before.routes, &back.routes).into_iter().filter(|route| !is_by_device(route));
        findings.extend(lost.map(|route| self.gone(route, format!("the route {route} is gone after switching back"))));
        for server in without(&back.nameservers, &before.nameservers) {
            findings.push(self.left(
                server,
                format!("the nameserver {server} is in /etc/resolv.conf after switching back, and was not before"),
            ));
        }
        for server in without(&before.nameservers, &back.nameservers) {
            findings.push(
                self.gone(
                    server,
                    format!("the nameserver {server} is gone from /etc/resolv.conf after switching back"),
                ),
            );
        }
        Ok(findings)
    }

    /// A lease may bring another address; one that is added beside it, or lacks, is told.
    fn add_addresses(&self, link: &str, findings: &mut Vec<Finding>) {
        let none = Vec::new();
        let known = self.before.facts.network.addresses.get(link).unwrap_or(&none);
        let now = self.back.facts.network.addresses.get(link).unwrap_or(&none);
        if now.len() > known.len() {
            let new = without(now, known).into_iter();
            findings.extend(new.map(|address| {
                self.left(address, format!("the address {address} is still on {link} after switching back"))
            }));
        }
        if now.len() < known.len() {
            let lost = without(known, now).into_iter();
            findings.extend(lost.map(|address| {
                self.gone(address, format!("the address {address} is gone from {link} after switching back"))
            }));
        }
    }

    pub(super) fn firewall(&self) -> Differences {
        let (before, back) = (&self.before.state.firewall, &self.back.state.firewall);
        let untold = before.untold.iter().chain(&back.untold).next();
        let why = untold.map(|(what, why)| format!("the firewall's rules could not be read: {what}: {why}"));
        // What a program did not tell this time is not gone.
        if let Some(why) = why.as_ref().filter(|_| before.told_by != back.told_by) {
            return Err(why.clone());
        }
        let words = [
            (&back.rules, &before.rules, true, "rules are still in the firewall after switching back, in"),
            (&before.rules, &back.rules, false, "rules are gone from the firewall after switching back, in"),
        ];
        let mut findings = Vec::new();
        for (these, those, is_left, words) in words {
            let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for rule in these.difference(those) {
                let (place, rule) = rule.split_once(": ").unwrap_or(("", rule));
                places.entry(place).or_default().push(rule);
            }
            findings.extend(places.into_iter().map(|(place, rules)| {
                let summary = format!("{words} {place}: {}", rules.join("; "));
                if is_left { self.left(place, summary) } else { self.gone(place, summary) }
            }));
        }
        match why {
            Some(why) if findings.is_empty() => Err(why),
            _ => Ok(findings),
        }
    }
}

/// What is in one list and not in the other.
pub(super) fn without<'a>(these: &'a [String], those: &[String]) -> Vec<&'a String> {
    these.iter().filter(|one| !those.contains(one)).collect()
}
