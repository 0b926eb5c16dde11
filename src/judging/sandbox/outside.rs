//! What a unit wanted of the outside, and whether it was really asked for: by what the guest's network card sent.
//!
//! A line says which host was not reached. Without a dot in its name, or if it is the machine itself, that is no host
//! outside, and the failure is the configuration's. Else what was sent decides: a name that was asked for is a witness;
//! one that was not, though all that was sent is known, was kept from the card by the configuration (a private network
//! namespace, a firewall, a resolver). Where that is not known, the line alone is a witness, a weaker one.

mod line;

use std::net::IpAddr;
use std::sync::LazyLock;

use regex::Regex;

use super::super::journal::Means as _;
use super::super::journal_patterns::Meaning;
use super::super::text::{self, pattern};
use super::super::unit::{is_active, own_lines};
use super::super::{JudgeContext, Plan};
use super::cards::is_wait_online;
use super::{LAST, by_line, last_lines, quoted};
use crate::guest::facts::{Facts, JournalLine, Unit};
use crate::model::{Excuse, Lack, NetworkPolicy, OutsideAttempt, Protocol, Witness};
use crate::nix::expectations::Expectations;
use crate::traffic::Traffic;
use line::{Reach, hosts_of, is_inside, names, reach};

pub(crate) use line::shows_no_outside;

/// NixOS's own, which set what the configuration declares of addresses and routes. Who writes `ip route` into a service of
/// their own may mean a gateway of the real network, beside an address that is leased there.
static SETS_NETWORK: LazyLock<Regex> = LazyLock::new(|| pattern(r"^network-(setup|addresses-)"));

/// Names below which the clock is asked for (services.timesyncd.servers of NixOS), and NTP's port.
const CLOCKS: &str = "ntp.org";
const NTP: u16 = 123;
/// DNS over TLS.
const DOT: u16 = 853;

/// What is known of the machine's own place in the network, and of what it sent.
struct Outside<'a> {
    expectations: &'a Expectations,
    facts: &'a Facts,
    traffic: Option<&'a Traffic>,
}

impl<'a> Outside<'a> {
    fn of(cx: &JudgeContext<'a>) -> Self {
        Self { expectations: &cx.plan.expectations, facts: cx.now, traffic: cx.traffic }
    }

    fn own_name(&self) -> Option<&'a str> {
        self.expectations.host_name.as_deref()
    }

    /// Whether the machine itself, or QEMU, has this address.
    fn owns(&self, address: IpAddr) -> bool {
        let network = &self.facts.network;
        let has = |text: &str| text.split('/').next().and_then(|text| text.parse().ok()) == Some(address);
        let of_qemu = match address {
            // slirp's own network: its gateway, its name server (QEMU's `-netdev user`).
            IpAddr::V4(v4) => v4.octets()[..3] == [10, 0, 2],
            IpAddr::V6(v6) => v6.segments()[0] == 0xfec0,
        };
        of_qemu
            || address.is_loopback()
            || address.is_unspecified()
            || network.addresses.values().flatten().any(|text| has(text))
            || self.expectations.addresses.values().flatten().any(|text| has(text))
    }

    /// Whether a host is none outside.
    fn is_inside(&self, host: &str) -> bool {
        match host.parse() {
            Ok(address) => self.owns(address),
            Err(_) => {
                let fqdn = |domain: &String| {
                    self.own_name().is_some_and(|own| host.eq_ignore_ascii_case(&format!("{own}.{domain}")))
                };
                is_inside(host, self.own_name()) || self.expectations.domain.as_ref().is_some_and(fqdn)
            }
        }
    }

    fn reach(&self, line: &str) -> Option<Reach> {
        reach(line, |host| self.is_inside(host), self.own_name())
    }

    /// The destinations outside that the guest really tried, and the name or address by which others speak of each.
    fn tried(&self) -> Vec<Tried> {
        let Some(traffic) = self.traffic else { return Vec::new() };
        let names = traffic.names.iter().filter(|name| name.contains('.') && name.len() > 1 && !self.is_inside(name));
        let names = names.map(|name| {
            let is_clock = name.strip_suffix(CLOCKS).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
            Tried { host: name.clone(), to: name.clone(), is_clock }
        });
        let gateways = &self.facts.network.default_routes;
        let is_outside =
            |address: &IpAddr| !self.owns(*address) && !gateways.iter().any(|gateway| *gateway == address.to_string());
        let calls = traffic.calls.iter().filter(|call| is_outside(&call.address)).filter(|call| call.port != 53);
        let calls = calls.map(|call| {
            let socket = std::net::SocketAddr::new(call.address, call.port);
            let to = if call.protocol == Protocol::Tcp { socket.to_string() } else { format!("{socket}/udp") };
            Tried { host: call.address.to_string(), to, is_clock: call.port == NTP && call.protocol == Protocol::Udp }
        });
        let mut tried: Vec<Tried> = names.chain(calls).collect();
        for address in traffic.pings.iter().chain(&traffic.neighbours).filter(|address| is_outside(address)) {
            let host = address.to_string();
            if !tried.iter().any(|known| known.host == host) {
                tried.push(Tried { to: host.clone(), host, is_clock: false });
            }
        }
        tried
    }

    /// The destination that one of these texts names.
    fn named_in<'t>(&self, texts: impl IntoIterator<Item = &'t str>) -> Option<String> {
        let tried = self.tried();
        texts.into_iter().find_map(|text| {
            let text = text.to_ascii_lowercase();
            tried.iter().find(|tried| names(&text, &tried.host)).map(|tried| tried.to.clone())
        })
    }

    /// Whether the guest was found to have a unit that speaks of a host.
    fn speaks_of(&self, unit: &str, host: &str) -> bool {
        self.traffic.and_then(|traffic| traffic.named_by.get(host)).is_some_and(|units| units.contains(unit))
    }

    /// Whether what was not sent by the time of this line was not even tried: all that was sent is known, and the guest
    /// was online, as only a unit that waited for that tells: network-online.target is reached where that one gave up, too.
    fn shows_all(&self, line: &JournalLine) -> bool {
        let has_waited = |unit: &&Unit| {
            is_wait_online(&unit.name) && is_active(unit) && (1..=line.at_us).contains(&unit.active_enter_us)
        };
        self.facts.units.iter().any(|unit| has_waited(&unit))
            && !self.facts.network.default_routes.is_empty()
            && self.traffic.is_some_and(|traffic| traffic.is_whole)
    }

    /// Whether names that are asked for are seen: by a resolver that asks others, in the clear, for the whole name.
    fn shows_names(&self) -> bool {
        let asks_others = |server: &String| match server.parse::<IpAddr>() {
            // systemd-resolved passes questions on.
            Ok(address) => !address.is_loopback() || matches!(server.as_str(), "127.0.0.53" | "127.0.0.54"),
            Err(_) => false,
        };
        let servers = &self.facts.network.nameservers;
        let hidden = |traffic: &Traffic| {
            traffic.names.iter().any(|name| name == ".") || traffic.calls.iter().any(|call| call.port == DOT)
        };
        !servers.is_empty() && servers.iter().all(asks_others) && self.traffic.is_some_and(|traffic| !hidden(traffic))
    }

    /// The witness of a line that says that something outside was not reached; `None` where what was sent shows that the
    /// outside was not asked.
    fn witness(&self, line: &JournalLine, others: &[&str]) -> Option<Witness> {
        let message = line.message.as_str();
        if let Some(to) = self.named_in([message]) {
            return Some(Witness::Packet { to });
        }
        let hosts: Vec<String> = hosts_of(message).into_iter().filter(|host| !self.is_inside(host)).collect();
        let spoken_of = || Some(self.tried().into_iter().find(|it| self.speaks_of(&line.unit, &it.host))?.to);
        let other = self.named_in(others.iter().copied()).or_else(spoken_of);
        if let (Some(to), true) = (&other, hosts.is_empty()) {
            return Some(Witness::Packet { to: to.clone() });
        }
        let is_name = |host: &String| host.parse::<IpAddr>().is_err();
        let is_route = Meaning::RouteMissing.is_in(message);
        let was_asked = if hosts.is_empty() {
            // It may be any of what was tried.
            !self.tried().is_empty() || !is_route && !self.shows_names()
        } else if hosts.iter().all(is_name) {
            // A name that is in /etc/hosts is not asked for, and resolves.
            is_route || !self.shows_names()
        } else {
            false
        };
        // What tried another host outside may have named that one, and this one for its address in a manual.
        let was_asked = was_asked || other.is_some();
        (was_asked || !self.shows_all(line)).then(|| Witness::line(quoted(line)))
    }
}

/// A destination that was tried.
struct Tried {
    /// Its name or address.
    host: String,
    /// The same with a port, where there is one.
    to: String,
    is_clock: bool,
}

/// The last line of a unit that says that a host was not reached, and which: that is what it failed for.
fn last_reach<'a>(cx: &JudgeContext<'a>, unit: &Unit) -> Option<(&'a JournalLine, Reach)> {
    let here = Outside::of(cx);
    let lines = last_lines(cx, &unit.name);
    // curl says "Connection timed out after 10001 ms" and leaves out to which host: its command line, or another line,
    // names it.
    let remote = Meaning::NamesRemoteHost;
    let goes_out = remote.is_in(exec_of(unit)) || lines.iter().any(|line| remote.is_in(&line.message));
    let timed_out =
        |line: &str| goes_out && Meaning::ConnectionTimedOut.is_in(line) && !Meaning::NamesLocalHost.is_in(line);
    let declared = SETS_NETWORK.is_match(&unit.name);
    let is_routing = |line: &str| declared && Meaning::GatewayNotReached.is_in(line);
    // Whatever the words: an error of a connection to what was really tried.
    let names_tried = |line: &str| {
        Meaning::SpeaksOfError.is_in(line)
            && Meaning::SpeaksOfConnection.is_in(line)
            && !Meaning::ConfigurationWrong.is_in(line)
            && here.named_in([line]).is_some()
    };
    lines.iter().rev().find_map(|line| {
        let text = line.message.as_str();
        let is_outside = || timed_out(text) || names_tried(text);
        let reach = here.reach(text).or_else(|| is_outside().then_some(Reach::Outside));
        Some((*line, reach.filter(|_| !is_routing(text))?))
    })
}

/// What a unit does, in its own words: a command line, or what it mounts.
fn exec_of(unit: &Unit) -> &str {
    let mounted = unit.mount_what.as_deref().unwrap_or_default();
    unit.service.as_ref().map_or(mounted, |service| service.exec_start.as_str())
}

/// The witness of what a unit failed for.
fn witness_of(cx: &JudgeContext<'_>, unit: &Unit, line: &JournalLine) -> Option<Witness> {
    let lines = last_lines(cx, &unit.name);
    let others: Vec<&str> = lines.iter().rev().map(|line| line.message.as_str()).chain([exec_of(unit)]).collect();
    Outside::of(cx).witness(line, &others)
}

/// Why the failure of a unit is the outside's.
pub(super) fn outside(cx: &JudgeContext<'_>, unit: &Unit) -> Option<Excuse> {
    if cx.context.network != NetworkPolicy::Off {
        return None;
    }
    let Some((line, reach)) = last_reach(cx, unit) else { return in_silence(cx, unit) };
    if reach == Reach::Inside {
        return share_of_others(cx, unit, line);
    }
    let witness = witness_of(cx, unit, line)?;
    Some(excuse(witness, "needs the outside network, which --network off blocks", line))
}

/// A script that tried to reach a host which it alone names, and ended without a word of why: `curl -s`. Or a mount of a
/// share, which waits until PID 1 gives it up.
fn in_silence(cx: &JudgeContext<'_>, unit: &Unit) -> Option<Excuse> {
    let here = Outside::of(cx);
    let said = last_lines(cx, &unit.name);
    if said.iter().any(|line| line.pid != 1) {
        return None;
    }
    let exec = exec_of(unit).to_ascii_lowercase();
    let is_named = |tried: &Tried| here.speaks_of(&unit.name, &tried.host) || names(&exec, &tried.host);
    let Tried { to, .. } = here.tried().into_iter().find(is_named)?;
    let why =
        format!("needs the outside network, which --network off blocks: it tried {to}, and failed without a word");
    Some(Excuse::new(Lack::Outside, Witness::Packet { to }, why))
}

/// A mount of another machine's share by its short name, which only the resolver of its own network knows: no server
/// outside is asked for such a name, so the line is all there is.
fn share_of_others(cx: &JudgeContext<'_>, unit: &Unit, line: &JournalLine) -> Option<Excuse> {
    let is_short = |host: &String| !host.contains(['.', ':']) && !is_own_name(cx, host);
    let hosts = hosts_of(&line.message);
    let is_share = unit.name.ends_with(".mount") && !hosts.is_empty() && hosts.iter().all(is_short);
    is_share.then(|| by_line(Lack::Outside, "mounts a share of another machine, which --network off blocks", line))
}

fn is_own_name(cx: &JudgeContext<'_>, host: &str) -> bool {
    cx.plan.expectations.host_name.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(host))
}

/// What to change where a unit did not reach a host, and the outside has nothing to do with that.
pub(crate) fn advice(cx: &JudgeContext<'_>, unit: &Unit) -> Option<String> {
    let (line, reach) = last_reach(cx, unit)?;
    let hosts = hosts_of(&line.message);
    match reach {
        Reach::Inside => {
            let host = hosts.iter().find(|host| !host.contains(['.', ':']))?;
            (!is_own_name(cx, host)).then(|| {
                let host = text::clean(host);
                format!("check the spelling of {host}; a name without a dot resolves only if it is in networking.hosts")
            })
        }
        Reach::Outside if cx.context.network == NetworkPolicy::Off && witness_of(cx, unit, line).is_none() => {
            let what = hosts.first().map_or_else(String::new, |host| format!(" for {}", text::clean(host)));
            Some(format!(
                "no request{what} left the VM, though its network was up: the configuration blocks it (PrivateNetwork=, \
                 IPAddressDeny=, RestrictAddressFamilies=, a firewall, a resolver)"
            ))
        }
        Reach::Outside => None,
    }
}

/// The line, and what else shows it.
fn excuse(witness: Witness, words: &str, line: &JournalLine) -> Excuse {
    match witness {
        Witness::Packet { to } => {
            let line = quoted(line);
            let asked = if line.to_ascii_lowercase().contains(to.as_str()) {
                String::new()
            } else {
                format!(" (it tried {to})")
            };
            Excuse::new(Lack::Outside, Witness::Packet { to }, format!("{words}: \"{line}\"{asked}"))
        }
        _ => by_line(Lack::Outside, words, line),
    }
}

/// Why a unit whose start does not end may only wait for the outside.
pub(crate) fn waits_for_outside(plan: &Plan, facts: &Facts, traffic: Option<&Traffic>, unit: &str) -> Option<Excuse> {
    if plan.settings.machine.network.unwrap_or_default() != NetworkPolicy::Off {
        return None;
    }
    let why = "may be waiting for the outside network, which --network off blocks";
    // It waits until the clock is set by a server, and says nothing.
    if unit == "systemd-time-wait-sync.service" {
        let state = Witness::state(format!("{unit} waits until the clock is set from outside"));
        return Some(Excuse::new(Lack::Outside, state, why));
    }
    let here = Outside { expectations: &plan.expectations, facts, traffic };
    let lines = own_lines(&facts.journal, unit);
    let last = lines.iter().rev().take(LAST);
    let (line, reached) = last.clone().find_map(|line| Some((*line, here.reach(&line.message)?)))?;
    if reached == Reach::Inside {
        return None;
    }
    let others: Vec<&str> = last.map(|line| line.message.as_str()).collect();
    Some(excuse(here.witness(line, &others)?, why, line))
}

/// The names and addresses outside that the guest tried to reach.
pub(crate) fn hosts(expectations: &Expectations, facts: &Facts, traffic: &Traffic) -> Vec<String> {
    let here = Outside { expectations, facts, traffic: Some(traffic) };
    let mut hosts: Vec<String> = here.tried().into_iter().map(|tried| tried.host).collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

/// What of the outside the guest tried to reach, and which of its units did, as far as their words or command lines tell.
pub(crate) fn attempts(expectations: &Expectations, facts: &Facts, traffic: Option<&Traffic>) -> Vec<OutsideAttempt> {
    let here = Outside { expectations, facts, traffic };
    let is_service = |unit: &&Unit| unit.service.is_some();
    let clocks = ["systemd-timesyncd.service", "chronyd.service", "ntpd.service", "openntpd.service"];
    let attempt = |tried: Tried| {
        let speaks = |unit: &&Unit| {
            let exec = unit.service.as_ref().map_or("", |service| service.exec_start.as_str());
            let mut lines = facts.journal.iter().filter(|line| line.unit == unit.name && line.pid != 1);
            here.speaks_of(&unit.name, &tried.host)
                || names(&exec.to_ascii_lowercase(), &tried.host)
                || lines.any(|line| names(&line.message.to_ascii_lowercase(), &tried.host))
                || tried.is_clock && clocks.contains(&unit.name.as_str()) && is_active(unit)
        };
        let by: Vec<String> =
            facts.units.iter().filter(is_service).filter(speaks).map(|unit| unit.name.clone()).collect();
        OutsideAttempt { to: tried.to, by, is_clock: tried.is_clock }
    };
    here.tried().into_iter().map(attempt).collect()
}

#[cfg(test)]
mod tests;
