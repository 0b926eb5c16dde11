//! One frame of Ethernet: what it shows of where its sender wants to go. Whatever is cut off or malformed shows nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Call, dns};
use crate::model::Protocol;

/// What a frame shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sent {
    /// Names whose address was asked for.
    Asked(Vec<String>),
    /// A connection was begun, or a datagram sent.
    Called(Call),
    /// The card of an address was asked for.
    Neighbour(IpAddr),
    /// An echo was asked for.
    Pinged(IpAddr),
}

/// Bytes that are read from the front. Nothing is read beyond their end.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn v4(&mut self) -> Option<Ipv4Addr> {
        let bytes: [u8; 4] = self.take(4)?.try_into().ok()?;
        Some(bytes.into())
    }

    fn v6(&mut self) -> Option<Ipv6Addr> {
        let bytes: [u8; 16] = self.take(16)?.try_into().ok()?;
        Some(bytes.into())
    }
}

/// EtherTypes (IEEE 802).
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const VLAN: u16 = 0x8100;
const IPV6: u16 = 0x86dd;
const VLAN_OF_PROVIDER: u16 = 0x88a8;

/// Protocols in IP (IANA's assigned internet protocol numbers).
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP_V6: u8 = 58;

/// What a frame shows.
pub(super) fn sent(frame: &[u8]) -> Option<Sent> {
    let mut bytes = Bytes(frame);
    bytes.take(12)?;
    let mut kind = bytes.u16()?;
    for _ in 0..2 {
        if kind == VLAN || kind == VLAN_OF_PROVIDER {
            bytes.take(2)?;
            kind = bytes.u16()?;
        }
    }
    match kind {
        ARP => arp(bytes),
        IPV4 => ipv4(bytes),
        IPV6 => ipv6(bytes),
        _ => None,
    }
}

/// A request (RFC 826). One without a sender's address, or for it, is a card's who looks whether its own is free.
fn arp(mut bytes: Bytes<'_>) -> Option<Sent> {
    let is_request = bytes.take(8)? == [0, 1, 8, 0, 6, 4, 0, 1];
    bytes.take(6)?;
    let sender = bytes.v4()?;
    bytes.take(6)?;
    let target = bytes.v4()?;
    (is_request && !sender.is_unspecified() && sender != target).then_some(Sent::Neighbour(target.into()))
}

fn ipv4(mut bytes: Bytes<'_>) -> Option<Sent> {
    let first = bytes.u8()?;
    let options = usize::from(first & 15).checked_sub(5)? * 4;
    bytes.take(5)?;
    // Only a packet's first fragment has the header of what is in it.
    let is_first = bytes.u16()? & 0x1fff == 0;
    bytes.take(1)?;
    let protocol = bytes.u8()?;
    bytes.take(6)?;
    let to = bytes.v4()?;
    bytes.take(options)?;
    (first >> 4 == 4 && is_first).then(|| inside(protocol, to.into(), bytes)).flatten()
}

fn ipv6(mut bytes: Bytes<'_>) -> Option<Sent> {
    let is_v6 = bytes.u8()? >> 4 == 6;
    bytes.take(5)?;
    let mut protocol = bytes.u8()?;
    bytes.take(17)?;
    let to = bytes.v6()?;
    // Headers in between (RFC 8200): hop-by-hop, routing, destination options; fragment.
    for _ in 0..8 {
        match protocol {
            0 | 43 | 60 => {
                protocol = bytes.u8()?;
                let more = usize::from(bytes.u8()?);
                bytes.take(6 + more * 8)?;
            }
            44 => {
                protocol = bytes.u8()?;
                bytes.take(1)?;
                let is_first = bytes.u16()? & 0xfff8 == 0;
                bytes.take(4)?;
                if !is_first {
                    return None;
                }
            }
            _ => break,
        }
    }
    is_v6.then(|| inside(protocol, to.into(), bytes)).flatten()
}

/// What is in a packet to this address.
fn inside(protocol: u8, to: IpAddr, mut bytes: Bytes<'_>) -> Option<Sent> {
    match protocol {
        TCP => {
            bytes.take(2)?;
            let port = bytes.u16()?;
            bytes.take(9)?;
            // SYN, and not ACK.
            let begins = bytes.u8()? & 0x12 == 0x02;
            (begins && is_somebody(to)).then_some(Sent::Called(Call { address: to, port, protocol: Protocol::Tcp }))
        }
        UDP => {
            bytes.take(2)?;
            let port = bytes.u16()?;
            bytes.take(4)?;
            udp(to, port, bytes.0)
        }
        ICMP => (bytes.u8()? == 8 && is_somebody(to)).then_some(Sent::Pinged(to)),
        ICMP_V6 => match bytes.u8()? {
            128 if is_somebody(to) => Some(Sent::Pinged(to)),
            135 => {
                bytes.take(7)?;
                let target = bytes.v6()?;
                is_somebody(target.into()).then_some(Sent::Neighbour(target.into()))
            }
            _ => None,
        },
        _ => None,
    }
}

fn udp(to: IpAddr, port: u16, payload: &[u8]) -> Option<Sent> {
    match port {
        53 | dns::MULTICAST => {
            let asked = dns::asked(payload, port)?;
            (!asked.is_empty()).then_some(Sent::Asked(asked))
        }
        // DHCP, for both families: asked of the link itself.
        67 | 68 | 546 | 547 => None,
        _ if is_somebody(to) => Some(Sent::Called(Call { address: to, port, protocol: Protocol::Udp })),
        _ => None,
    }
}

/// Whether this is the address of one machine, beyond the link's own business.
fn is_somebody(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(link_local || address.is_multicast() || address.is_unspecified() || address.is_loopback())
}
