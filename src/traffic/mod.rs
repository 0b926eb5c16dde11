//! What a guest sent through its network cards, read from the packets that QEMU dumped: the names it asked for, the
//! addresses it called. Pure: bytes in, data out. The bytes are an untrusted guest's.
//!
//! * [`pcap`]: the file's records
//! * [`frame`]: Ethernet, ARP, IPv4, IPv6, and what is in them
//! * [`dns`]: the names in a query

mod dns;
mod frame;
mod pcap;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::Hash;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::Protocol;
use frame::Sent;

pub(crate) use pcap::KEPT as PACKET_KEPT;

/// Most names, calls, neighbours and pings that are kept, of each. A configuration has tens, a flood any number.
const MOST: usize = 256;

/// What a guest sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// Names whose address was asked for by DNS or mDNS, in lower case, in the order in which they were first asked for;
    /// `.` for the root itself, which only a resolver of its own asks.
    pub names: Vec<String>,
    /// TCP connections that were begun, and UDP packets, each destination once. Without DNS and DHCP.
    pub calls: Vec<Call>,
    /// Addresses of the same link whose card was asked for, by ARP or neighbour solicitation.
    pub neighbours: Vec<IpAddr>,
    /// Addresses that were pinged.
    pub pings: Vec<IpAddr>,
    /// Which units speak of a name or address of these, by their words in the journal or the script that starts them.
    pub named_by: BTreeMap<String, BTreeSet<String>>,
    /// Whether this is all that was sent: what is not in here was not sent.
    pub is_whole: bool,
}

/// A destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Call {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

/// Reads what was dumped of all cards. `is_whole`: whether the dumps hold all that was sent.
pub(crate) fn read(dumps: &[Vec<u8>], is_whole: bool) -> Traffic {
    let mut reader = Reader { is_whole, ..Reader::default() };
    for dump in dumps {
        match pcap::packets(dump) {
            Some(packets) => packets.filter_map(frame::sent).for_each(|sent| reader.add(sent)),
            None => reader.is_whole = false,
        }
    }
    Traffic {
        names: reader.names.list,
        calls: reader.calls.list,
        neighbours: reader.neighbours.list,
        pings: reader.pings.list,
        named_by: BTreeMap::new(),
        is_whole: reader.is_whole,
    }
}

#[derive(Default)]
struct Reader {
    names: Bounded<String>,
    calls: Bounded<Call>,
    neighbours: Bounded<IpAddr>,
    pings: Bounded<IpAddr>,
    is_whole: bool,
}

impl Reader {
    fn add(&mut self, sent: Sent) {
        let is_kept = match sent {
            Sent::Asked(names) => names.into_iter().all(|name| self.names.add(name)),
            Sent::Called(call) => self.calls.add(call),
            Sent::Neighbour(address) => self.neighbours.add(address),
            Sent::Pinged(address) => self.pings.add(address),
        };
        self.is_whole &= is_kept;
    }
}

/// Each thing once, at most [`MOST`], in order.
struct Bounded<T> {
    list: Vec<T>,
    known: HashSet<T>,
}

impl<T> Default for Bounded<T> {
    fn default() -> Self {
        Self { list: Vec::new(), known: HashSet::new() }
    }
}

impl<T: Clone + Eq + Hash> Bounded<T> {
    /// Whether it is in the list now.
    fn add(&mut self, item: T) -> bool {
        if self.known.contains(&item) {
            return true;
        }
        if self.list.len() == MOST {
            return false;
        }
        self.list.push(item.clone());
        self.known.insert(item)
    }
}

#[cfg(test)]
mod tests;
