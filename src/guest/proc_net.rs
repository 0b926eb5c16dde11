//! `/proc/net` (proc_pid_net(5)): listeners, addresses and routes, read without any tool in the guest.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use procfs_core::net::{TcpNetEntries, TcpState, UdpNetEntries, UdpState};
use procfs_core::{ExplicitSystemInfo, FromBufReadSI};

use super::facts::{Listener, Network};
use crate::model::Protocol;
use crate::text::bounded;

/// How many sockets, links, addresses and routes are kept at most, of each.
const MOST: usize = 512;

/// A listening socket and its inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) protocol: Protocol,
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) inode: u64,
}

/// The listening sockets of `/proc/net/{tcp,tcp6,udp,udp6}`: TCP that listens, UDP that is unconnected and has no peer.
pub(super) fn sockets(protocol: Protocol, table: &str) -> Vec<Socket> {
    // Guests are little-endian; the socket tables need none of the other values.
    let guest =
        ExplicitSystemInfo { boot_time_secs: 0, ticks_per_second: 100, page_size: 4096, is_little_endian: true };
    let lines = table.lines().skip(1).filter_map(|line| {
        // One line at a time, after an empty header: procfs-core gives nothing of a table with a malformed line.
        let line = format!("\n{line}");
        let (local, peer, listens, inode) = if protocol == Protocol::Tcp {
            let entry = TcpNetEntries::from_buf_read(line.as_bytes(), &guest).ok()?.0.pop()?;
            (entry.local_address, entry.remote_address, entry.state == TcpState::Listen, entry.inode)
        } else {
            let entry = UdpNetEntries::from_buf_read(line.as_bytes(), &guest).ok()?.0.pop()?;
            (entry.local_address, entry.remote_address, entry.state == UdpState::Close, entry.inode)
        };
        let socket = Socket { protocol, address: local.ip().to_canonical(), port: local.port(), inode };
        (listens && peer.port() == 0).then_some(socket)
    });
    lines.take(MOST).collect()
}

/// An address as `if_inet6` and `ipv6_route` print it: bytes in order.
fn address_of_bytes(hex: &str) -> Option<Ipv6Addr> {
    (hex.len() == 32).then(|| u128::from_str_radix(hex, 16).ok().map(Ipv6Addr::from)).flatten()
}

/// Sockets with the names of the processes that hold them. A port held by both families is one listener per address.
pub(super) fn listeners(sockets: &[Socket], holders: &BTreeMap<u64, String>) -> Vec<Listener> {
    let mut all: Vec<Listener> = sockets
        .iter()
        .map(|socket| Listener {
            protocol: socket.protocol,
            address: socket.address.to_string(),
            port: socket.port,
            process: holders.get(&socket.inode).cloned().unwrap_or_default(),
        })
        .collect();
    all.sort_by(|a, b| (&a.protocol, a.port, &a.address).cmp(&(&b.protocol, b.port, &b.address)));
    // Several processes may share one port (SO_REUSEPORT).
    all.dedup();
    all
}

/// Which process holds which socket: lines `'/proc/1/fd/5' -> 'socket:[123]'` of stat(1), and names by pid.
pub(super) fn holders(links: &str, names: &BTreeMap<u32, String>) -> BTreeMap<u64, String> {
    let pairs = links.lines().filter_map(|line| {
        let (path, target) = line.split_once(" -> ")?;
        let inode = target.trim_matches(['\'', '‘', '’']).strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()?;
        let pid: u32 = path.trim_matches(['\'', '‘', '’']).strip_prefix("/proc/")?.split('/').next()?.parse().ok()?;
        Some((inode, pid))
    });
    let mut holders = BTreeMap::new();
    for (inode, pid) in pairs {
        let Some(name) = names.get(&pid) else { continue };
        // PID 1 also holds the socket of a service that it activates: the service's name says more.
        let entry = holders.entry(inode).or_insert_with(|| name.clone());
        if entry == "systemd" {
            entry.clone_from(name);
        }
    }
    holders
}

/// The tables that describe the network, as text; one that could not be read is empty.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tables<'a> {
    pub(super) dev: &'a str,
    pub(super) route: &'a str,
    pub(super) ipv6_route: &'a str,
    pub(super) if_inet6: &'a str,
    pub(super) fib_trie: &'a str,
    pub(super) resolv_conf: &'a str,
}

/// The network, without `resolves`.
pub(super) fn network(tables: Tables<'_>) -> Network {
    let mut network =
        Network { links: links(tables.dev), nameservers: nameservers(tables.resolv_conf), ..Network::default() };
    let routes = routes(tables.route);
    for route in &routes {
        if route.mask.is_unspecified() && route.destination.is_unspecified() {
            let gateway = (!route.gateway.is_unspecified()).then(|| route.gateway.to_string());
            network.default_routes.push(gateway.unwrap_or_else(|| route.link.clone()));
        }
    }
    network.default_routes.extend(ipv6_defaults(tables.ipv6_route));
    for address in local_addresses(tables.fib_trie) {
        // The trie names no link; the most specific route to the address does.
        let on = routes.iter().filter(|route| route.has(address) && !route.mask.is_unspecified());
        let (link, prefix) = match on.max_by_key(|route| u32::from(route.mask)) {
            Some(route) => (route.link.clone(), u32::from(route.mask).count_ones()),
            None if network.links.len() == 1 => (network.links[0].clone(), 32),
            None => continue,
        };
        network.addresses.entry(link).or_default().push(format!("{address}/{prefix}"));
    }
    for (link, address) in ipv6_addresses(tables.if_inet6) {
        network.addresses.entry(link).or_default().push(address);
    }
    let own = local_addresses(tables.fib_trie);
    let is_connected = |route: &Route| route.gateway.is_unspecified() && own.iter().any(|address| route.has(*address));
    let others = routes.iter().filter(|route| !route.mask.is_unspecified() && !is_connected(route));
    network.routes = others.map(Route::in_words).chain(ipv6_others(tables.ipv6_route)).collect();
    network.routes.sort();
    network.routes.dedup();
    network.default_routes.sort();
    network.default_routes.dedup();
    network
}

/// Links other than lo, by `/proc/net/dev`.
fn links(dev: &str) -> Vec<String> {
    let names = dev.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
    names.filter(|name| name != "lo").map(|name| bounded(&name, 64)).take(MOST).collect()
}

/// The flag of a route that leads nowhere (linux/route.h).
const RTF_REJECT: u32 = 0x0200;
/// The flag of a route that has a gateway.
const RTF_GATEWAY: u32 = 0x0002;

struct Route {
    link: String,
    destination: Ipv4Addr,
    gateway: Ipv4Addr,
    mask: Ipv4Addr,
    is_rejecting: bool,
}

impl Route {
    fn has(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & u32::from(self.mask) == u32::from(self.destination)
    }

    fn in_words(&self) -> String {
        let network = format!("{}/{}", self.destination, u32::from(self.mask).count_ones());
        match (self.is_rejecting, self.gateway.is_unspecified()) {
            (true, _) => format!("{network} to nowhere"),
            (false, true) => format!("{network} by {}", self.link),
            (false, false) => format!("{network} by {}", self.gateway),
        }
    }
}

/// `/proc/net/route`: Iface Destination Gateway Flags RefCnt Use Metric Mask … The kernel prints a metric above 2³¹ as
/// negative, and procfs-core drops such a route.
fn routes(table: &str) -> Vec<Route> {
    let address = |word: &str| u32::from_str_radix(word, 16).ok().map(|word| Ipv4Addr::from(word.swap_bytes()));
    let lines = table.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        Some(Route {
            link: bounded(words.first()?, 64),
            destination: address(words.get(1)?)?,
            gateway: address(words.get(2)?)?,
            mask: address(words.get(7)?)?,
            is_rejecting: u32::from_str_radix(words.get(3)?, 16).ok()? & RTF_REJECT != 0,
        })
    });
    lines.take(MOST).collect()
}

/// A line of `/proc/net/ipv6_route`: destination prefix source prefix next-hop metric refcount use flags link.
struct Route6 {
    destination: Ipv6Addr,
    prefix: u8,
    hop: Ipv6Addr,
    flags: u32,
    link: String,
}

fn ipv6_routes(table: &str) -> impl Iterator<Item = Route6> {
    let lines = table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        Some(Route6 {
            destination: address_of_bytes(words.first()?)?,
            prefix: u8::from_str_radix(words.get(1)?, 16).ok()?,
            hop: address_of_bytes(words.get(4)?)?,
            flags: u32::from_str_radix(words.get(8)?, 16).ok()?,
            link: bounded(words.get(9)?, 64),
        })
    });
    lines.take(MOST)
}

/// IPv6's default routes. The kernel's own unreachable one (RTF_REJECT, on lo) does not count.
fn ipv6_defaults(table: &str) -> Vec<String> {
    let is_default = |route: &Route6| route.prefix == 0 && route.destination.is_unspecified();
    let leads = |route: &Route6| route.flags & RTF_REJECT == 0 && route.link != "lo";
    let defaults = ipv6_routes(table).filter(|route| is_default(route) && leads(route));
    defaults.map(|route| if route.hop.is_unspecified() { route.link } else { route.hop.to_string() }).collect()
}

/// IPv6's routes by a gateway that are no default ones. The others come with links and addresses.
fn ipv6_others(table: &str) -> Vec<String> {
    let others = ipv6_routes(table).filter(|route| route.prefix > 0 && route.flags & RTF_GATEWAY != 0);
    others.map(|route| format!("{}/{} by {}", route.destination, route.prefix, route.hop)).collect()
}

/// The guest's own IPv4 addresses: leaves of `/proc/net/fib_trie` that are `/32 host LOCAL`.
fn local_addresses(trie: &str) -> Vec<Ipv4Addr> {
    let mut leaf = None;
    let mut all = Vec::new();
    for line in trie.lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
        } else if line.starts_with("/32 host LOCAL")
            && let Some(address) = leaf
            && !address.is_loopback()
            && !all.contains(&address)
            && all.len() < MOST
        {
            // Main and local table both list it.
            all.push(address);
        }
    }
    all
}

/// `/proc/net/if_inet6`: address index prefix scope flags link; those of global scope (00).
fn ipv6_addresses(table: &str) -> Vec<(String, String)> {
    let lines = table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let address = address_of_bytes(words.first()?)?;
        let prefix = u8::from_str_radix(words.get(2)?, 16).ok()?;
        (*words.get(3)? == "00").then(|| Some((bounded(words.get(5)?, 64), format!("{address}/{prefix}"))))?
    });
    lines.take(MOST).collect()
}

/// The servers of resolv.conf(5).
fn nameservers(text: &str) -> Vec<String> {
    let words = text.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    words
        .filter(|words| words.len() > 1 && words[0] == "nameserver")
        .map(|words| bounded(words[1], 64))
        .take(16)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0CEA 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1234 1 0000000000000000 100 0 0 10 0
   1: 0F02000A:0016 0202000A:D431 01 00000000:00000000 02:000A0C1C 00000000     0        0 777 2 0000000000000000 20 4 24 10 -1
";
    const TCP6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 55 1 0000000000000000 100 0 0 10 0
   1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 56 1 0000000000000000 100 0 0 10 0
";
    const ROUTE: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0202000A\t0003\t0\t0\t1024\t00000000\t0\t0\t0
eth0\t0002000A\t00000000\t0001\t0\t0\t1024\t00FFFFFF\t0\t0\t0
eth0\t0202000A\t00000000\t0005\t0\t0\t1024\tFFFFFFFF\t0\t0\t0
";
    const TRIE: &str = "Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.0.2.0/24 2 0 2
        |-- 10.0.2.0
           /24 link UNICAST
        |-- 10.0.2.15
           /32 host LOCAL
        |-- 10.0.2.255
           /32 link BROADCAST
     |-- 127.0.0.1
        /32 host LOCAL
Local:
        |-- 10.0.2.15
           /32 host LOCAL
";

    #[test]
    fn only_listening_sockets() {
        let sockets = [sockets(Protocol::Tcp, TCP), sockets(Protocol::Tcp, TCP6)].concat();
        let holders =
            holders("'/proc/9/fd/3' -> 'socket:[55]'\n'/proc/9/fd/0' -> '/dev/null'\n", &[(9, "sshd".into())].into());
        let found: Vec<_> = listeners(&sockets, &holders).into_iter().map(|l| (l.address, l.port, l.process)).collect();
        assert_eq!(
            found,
            [
                ("::".into(), 22, "sshd".into()),
                ("::1".into(), 80, String::new()),
                ("127.0.0.1".into(), 3306, String::new())
            ]
        );
    }

    #[test]
    fn a_malformed_line_loses_no_other() {
        let (head, lines) = TCP.split_once('\n').unwrap();
        let table = format!("{head}\n   0: 0100007F:zz\n{lines}   9: ");
        assert_eq!(sockets(Protocol::Tcp, &table), sockets(Protocol::Tcp, TCP));
    }

    #[test]
    fn the_service_is_named_and_not_the_pid_1_that_holds_its_socket_too() {
        let names = [(1, "systemd".to_owned()), (7, "sshd".to_owned())].into();
        for links in [
            "'/proc/1/fd/5' -> 'socket:[55]'\n'/proc/7/fd/3' -> 'socket:[55]'",
            "'/proc/7/fd/3' -> 'socket:[55]'\n'/proc/1/fd/5' -> 'socket:[55]'",
        ] {
            assert_eq!(holders(links, &names)[&55], "sshd");
        }
    }

    #[test]
    fn a_network_from_its_tables() {
        let network = network(Tables {
            dev: "Inter-|   Receive\n face |bytes\n    lo: 0 0\n  eth0: 1 2\n",
            route: ROUTE,
            ipv6_route: "fec00000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000400 00000001 00000000 00000001     eth0\n\
                         00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000002 00000400 00000001 00000000 00000003     eth0\n\
                         00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n",
            if_inet6: "00000000000000000000000000000001 01 80 10 80       lo\n\
                       fec0000000000000505400fffe123456 02 40 00 00     eth0\n\
                       fe80000000000000505400fffe123456 02 40 20 80     eth0\n",
            fib_trie: TRIE,
            resolv_conf: "# by hand\nnameserver 10.0.2.3\nsearch example\nnameserver fec0::3\n",
        });
        assert_eq!(network.links, ["eth0"]);
        assert_eq!(network.addresses["eth0"], ["10.0.2.15/24", "fec0::5054:ff:fe12:3456/64"]);
        assert_eq!(network.addresses.len(), 1);
        assert_eq!(network.default_routes, ["10.0.2.2", "fe80::2"]);
        assert_eq!(network.routes, ["10.0.2.2/32 by eth0"]);
        assert_eq!(network.nameservers, ["10.0.2.3", "fec0::3"]);
    }

    #[test]
    fn routes_that_come_with_no_address() {
        let route = format!(
            "{ROUTE}eth0\t000200C0\t0202000A\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
             *\t007100CB\t00000000\t0200\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        );
        let ipv6_route = "20010db8000000000000000000000000 20 00000000000000000000000000000000 00 fe800000000000000000000000000002 00000400 00000001 00000000 00000003     eth0\n";
        let told = network(Tables { route: &route, ipv6_route, fib_trie: TRIE, ..Tables::default() }).routes;
        let expected = [
            "10.0.2.2/32 by eth0",
            "192.0.2.0/24 by 10.0.2.2",
            "2001:db8::/32 by fe80::2",
            "203.0.113.0/24 to nowhere",
        ];
        assert_eq!(told, expected);
    }

    proptest! {
        #[test]
        fn anything_can_be_read(text in "(?s).{0,400}", words in "([0-9A-F:]{0,34}[ \t\n]){0,60}") {
            for table in [&text, &words] {
                drop(sockets(Protocol::Udp, table));
                drop(holders(table, &BTreeMap::new()));
                drop(network(Tables {
                    dev: table, route: table, ipv6_route: table, if_inet6: table, fib_trie: table, resolv_conf: table,
                }));
            }
        }
    }
}
