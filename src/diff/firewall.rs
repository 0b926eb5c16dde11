//! What a firewall lets in, read from the scripts and rule sets that NixOS makes
//! (`services/networking/firewall-{iptables,nftables}.nix`, `nftables.nix`) and from such lines of a user's own.

use std::collections::BTreeSet;
use std::fmt;

use super::names::readable;

/// An opening: ports of a protocol, for all interfaces or one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Opening {
    pub(crate) protocol: String,
    /// First and last port.
    pub(crate) ports: (u16, u16),
    pub(crate) interface: Option<String>,
}

impl Opening {
    /// Whether it lets in all that another one does.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let is_within = self.ports.0 <= other.ports.0 && other.ports.1 <= self.ports.1;
        let is_of_interface = self.interface.is_none() || self.interface == other.interface;
        self.protocol == other.protocol && is_within && is_of_interface
    }
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = self.ports;
        write!(f, "{first}")?;
        if first != last {
            write!(f, "-{last}")?;
        }
        write!(f, "/{}", self.protocol)?;
        self.interface.iter().try_for_each(|interface| write!(f, " on {interface}"))
    }
}

/// Options of iptables(8) that say where a rule stands, and which port of which interface it is about.
const PLAIN: [&str; 19] = [
    "-4",
    "-6",
    "-w",
    "--wait",
    "-A",
    "--append",
    "-I",
    "--insert",
    "-j",
    "--jump",
    "-i",
    "--in-interface",
    "-p",
    "--protocol",
    "-m",
    "--match",
    "--comment",
    "--dport",
    "--dports",
];
/// Its modules that ask for no more than that.
const PLAIN_MATCHES: [&str; 6] = ["tcp", "udp", "sctp", "dccp", "multiport", "comment"];

/// A firewall; without one everything is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Firewall {
    pub(crate) is_on: bool,
    /// Whether it is firewalld, whose zones say what is let in.
    pub(crate) is_firewalld: bool,
    pub(crate) open: BTreeSet<Opening>,
    /// Interfaces from which all is let in.
    pub(crate) trusted: BTreeSet<String>,
    /// All other lines, names instead of store paths.
    pub(crate) rules: Vec<String>,
}

impl Firewall {
    /// A firewall of the texts that it is started with.
    pub(crate) fn of<T: AsRef<str>>(texts: &[T]) -> Self {
        // Rules that refuse nothing are no firewall.
        let refuses = |text: &T| {
            let text = text.as_ref().to_lowercase();
            ["policy drop", "-j drop", "-j reject", "reject", " drop\n", " drop;", "nixos-fw-log-refuse"]
                .iter()
                .any(|word| text.contains(word))
        };
        let mut firewall = Self { is_on: texts.iter().any(refuses), ..Self::default() };
        for text in texts {
            let mut chain = String::new();
            for line in text.as_ref().lines().map(str::trim) {
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                if let Some(name) = line.strip_prefix("chain ") {
                    name.split_whitespace().next().unwrap_or_default().clone_into(&mut chain);
                }
                if !(firewall.iptables(line) || firewall.nftables(line, &chain)) {
                    firewall.rules.push(readable(line));
                }
            }
        }
        firewall
    }

    /// Whether it lets in all that an opening does.
    pub(crate) fn lets_in(&self, opening: &Opening) -> bool {
        let is_trusted = opening.interface.as_ref().is_some_and(|interface| self.trusted.contains(interface));
        is_trusted || self.open.iter().any(|own| own.covers(opening))
    }

    /// A line of iptables(8) that lets something in whoever sends it.
    fn iptables(&mut self, line: &str) -> bool {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = |names: &[&str]| {
            let at = words.iter().position(|word| names.contains(word))?;
            words.get(at + 1).copied()
        };
        let is_input = matches!(after(&["-A", "-I", "--append", "--insert"]), Some("nixos-fw" | "INPUT"));
        if !is_input || !matches!(after(&["-j", "--jump"]), Some("nixos-fw-accept" | "ACCEPT")) {
            return false;
        }
        // Whatever else is asked of a packet narrows the rule.
        let is_option = |word: &str| word == "!" || word.starts_with('-') && !PLAIN.contains(&word);
        let mut modules = words.windows(2).filter(|pair| matches!(pair[0], "-m" | "--match"));
        if words.iter().any(|word| is_option(word)) || modules.any(|pair| !PLAIN_MATCHES.contains(&pair[1])) {
            return false;
        }
        let interface = after(&["-i", "--in-interface"]).map(str::to_owned);
        let (Some(protocol), Some(ports)) = (after(&["-p", "--protocol"]), after(&["--dport", "--dports"])) else {
            let has_protocol = after(&["-p", "--protocol"]).is_some();
            return match interface.filter(|_| !has_protocol) {
                Some(interface) => {
                    self.trust(&interface);
                    true
                }
                None => false,
            };
        };
        let parsed: Vec<_> = ports.split(',').map(|range| port_range(range, ':')).collect();
        self.open_all(protocol, &parsed, interface.as_deref())
    }

    /// A line of nft(8) in a chain of incoming packets that lets something in whoever sends it.
    fn nftables(&mut self, line: &str, chain: &str) -> bool {
        let Some(rule) = line.find(" accept").map(|at| &line[..at]).filter(|_| chain.to_lowercase().contains("input"))
        else {
            return false;
        };
        let (interface, rest) = match rule.strip_prefix("iifname ") {
            Some(rest) => {
                let Some((interface, rest)) = operand(rest) else { return false };
                (Some(interface), rest)
            }
            None => (None, rule.to_owned()),
        };
        let rest = rest.trim();
        if rest.is_empty() {
            let Some(interfaces) = interface else { return false };
            interfaces.iter().for_each(|interface| self.trust(interface));
            return true;
        }
        let Some((protocol, ports)) = rest.split_once(" dport ") else { return false };
        let Some((ports, "")) = operand(ports).as_ref().map(|(ports, rest)| (ports.clone(), rest.trim())) else {
            return false;
        };
        let parsed: Vec<_> = ports.iter().map(|range| port_range(range, '-')).collect();
        match interface {
            None => self.open_all(protocol, &parsed, None),
            Some(interfaces) => interfaces.iter().all(|interface| self.open_all(protocol, &parsed, Some(interface))),
        }
    }

    fn trust(&mut self, interface: &str) {
        if interface != "lo" {
            self.trusted.insert(interface.to_owned());
        }
    }

    fn open_all(&mut self, protocol: &str, ports: &[Option<(u16, u16)>], interface: Option<&str>) -> bool {
        if !matches!(protocol, "tcp" | "udp" | "sctp" | "dccp") || ports.iter().any(Option::is_none) {
            return false;
        }
        for ports in ports.iter().flatten() {
            let interface = interface.map(str::to_owned);
            self.open.insert(Opening { protocol: protocol.to_owned(), ports: *ports, interface });
        }
        true
    }
}

/// One word, or those in braces; and what follows.
fn operand(text: &str) -> Option<(Vec<String>, String)> {
    let text = text.trim_start();
    let unquoted = |word: &str| word.trim().trim_matches('"').to_owned();
    if let Some(rest) = text.strip_prefix('{') {
        let (inside, rest) = rest.split_once('}')?;
        let all = inside.split(',').map(unquoted).filter(|word| !word.is_empty()).collect();
        return Some((all, rest.to_owned()));
    }
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    Some((vec![unquoted(word)], rest.to_owned()))
}

fn port_range(text: &str, between: char) -> Option<(u16, u16)> {
    let (first, last) = text.trim().split_once(between).unwrap_or((text.trim(), text.trim()));
    Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(firewall: &Firewall) -> Vec<String> {
        firewall.open.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_iptables_lets_in() {
        let script = "#! /nix/store/x/bin/sh -e\n\
            ip46tables -A nixos-fw -i lo -j nixos-fw-accept\n\
            ip46tables -A nixos-fw -i virbr0 -j nixos-fw-accept\n\
            ip46tables -A nixos-fw -m conntrack --ctstate ESTABLISHED,RELATED -j nixos-fw-accept\n\
            ip46tables -A nixos-fw -p tcp --dport 22 -j nixos-fw-accept \n\
            ip46tables -A nixos-fw -p tcp --dport 8000:8010 -j nixos-fw-accept -i eth1\n\
            iptables -A nixos-fw -p tcp -s 10.0.0.0/8 --dport 5432 -j nixos-fw-accept\n\
            iptables -I INPUT -p udp -m multiport --dports 53,67 -j ACCEPT\n\
            iptables -w -A nixos-fw -p icmp --icmp-type echo-request -j nixos-fw-accept\n\
            iptables -A nixos-fw -p tcp --dport 5900 -m set --match-set friends src -j nixos-fw-accept\n\
            iptables -A nixos-fw -p tcp --dport 5901 -m mac --mac-source 02:00:00:00:00:01 -j nixos-fw-accept\n\
            iptables -A nixos-fw -m comment --comment \"web\" -p tcp --dport 80 -j nixos-fw-accept\n";
        let firewall = Firewall::of(&[script]);
        assert_eq!(open(&firewall), ["22/tcp", "80/tcp", "8000-8010/tcp on eth1", "53/udp", "67/udp"]);
        assert_eq!(firewall.trusted, BTreeSet::from(["virbr0".to_owned()]));
        assert_eq!(firewall.rules.len(), 5, "{:?}", firewall.rules);
    }

    #[test]
    fn what_nftables_lets_in() {
        let rules = "table inet nixos-fw {\n chain input {\n  type filter hook input priority filter; policy drop;\n\
            iifname { \"lo\", \"wg0\" } accept comment \"trusted interfaces\"\n }\n chain input-allow {\n\
            tcp dport { 22, 80-90 } accept\n iifname eth1 udp dport { 53 } accept\n  tcp dport 443 accept\n\
            ip saddr 10.0.0.0/8 tcp dport 5432 accept\n meta l4proto . th dport @temp-ports accept\n\
            icmp type echo-request accept comment \"allow ping\"\n }\n chain forward {\n tcp dport 9 accept\n}\n}\n";
        let firewall = Firewall::of(&[rules]);
        assert_eq!(open(&firewall), ["22/tcp", "80-90/tcp", "443/tcp", "53/udp on eth1"]);
        assert_eq!(firewall.trusted, BTreeSet::from(["wg0".to_owned()]));
        assert!(
            firewall.rules.iter().any(|rule| rule.contains("5432"))
                && firewall.rules.iter().any(|rule| rule.contains("dport 9"))
        );
    }
}
