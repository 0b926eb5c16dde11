//! What packets show, by bytes as a guest sent them, and what malformed ones do not.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

/// What the guest `host-misspelt` sent: DHCP, ARP for the name server, and two names for both families, each twice.
const RECORDED: &[u8] = include_bytes!("../../tests/fixtures/traffic/host-misspelt.pcap");

const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// A dump with these packets.
fn dump(packets: &[Vec<u8>]) -> Vec<u8> {
    let mut dump = RECORDED[..24].to_vec();
    for packet in packets {
        let length = (packet.len() as u32).to_le_bytes();
        dump.extend([[0; 4], [0; 4], length, length].concat());
        dump.extend(packet);
    }
    dump
}

fn read_one(packet: Vec<u8>) -> Traffic {
    read(&[dump(&[packet])], true)
}

fn ethernet(kind: u16, inside: &[u8]) -> Vec<u8> {
    [&[0; 12], &kind.to_be_bytes()[..], inside].concat()
}

fn v4(to: [u8; 4], protocol: u8, inside: &[u8]) -> Vec<u8> {
    let header = [0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0, 10, 0, 2, 15];
    ethernet(0x0800, &[&header, &to[..], inside].concat())
}

fn v6(to: Ipv6Addr, next: u8, inside: &[u8]) -> Vec<u8> {
    let header = [0x60, 0, 0, 0, 0, 0, next, 64];
    ethernet(0x86dd, &[&header, &[0; 16][..], &to.octets(), inside].concat())
}

fn tcp(port: u16, flags: u8) -> Vec<u8> {
    [&[0, 9], &port.to_be_bytes()[..], &[0; 8], &[0x50, flags, 0, 0, 0, 0, 0, 0]].concat()
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    [&[0, 9], &port.to_be_bytes()[..], &[0; 4], payload].concat()
}

fn query(labels: &[&str], kind: u16) -> Vec<u8> {
    let mut message = vec![1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in labels {
        message.push(label.len() as u8);
        message.extend(label.bytes());
    }
    message.extend([&[0], &kind.to_be_bytes()[..], &[0, 1]].concat());
    message
}

const SYN: u8 = 2;

#[test]
fn a_guest_that_was_recorded() {
    let traffic = read(&[RECORDED.to_vec()], true);
    let expected = Traffic {
        names: vec!["databse".into(), "updates.example.org".into()],
        neighbours: vec![Ipv4Addr::new(10, 0, 2, 3).into()],
        is_whole: true,
        ..Traffic::default()
    };
    assert_eq!(traffic, expected);
    // While QEMU writes the last packet, the rest is there.
    let cut = read(&[RECORDED[..RECORDED.len() - 3].to_vec()], true);
    assert_eq!(cut.names, expected.names);
}

#[test]
fn connections_and_datagrams() {
    let call = |packet: Vec<u8>| read_one(packet).calls.first().map(|call| (call.address.to_string(), call.port));
    let one = [1, 1, 1, 1];
    assert_eq!(call(v4(one, 6, &tcp(443, SYN))), Some(("1.1.1.1".into(), 443)));
    assert_eq!(call(v4(one, 6, &tcp(443, 0x12))), None, "an answer");
    assert_eq!(call(v4(one, 6, &tcp(443, 0x10))), None, "data");
    assert_eq!(call(v6(V6, 6, &tcp(22, SYN))), Some(("2001:db8::1".into(), 22)));
    assert_eq!(read_one(v4(one, 17, &udp(51820, b"x"))).calls[0].protocol, Protocol::Udp);
    for port in [67, 546] {
        assert_eq!(call(v4(one, 17, &udp(port, b"x"))), None);
    }
    for to in [[255; 4], [224, 0, 0, 251], [169, 254, 1, 1], [0; 4]] {
        assert_eq!(call(v4(to, 17, &udp(1900, b"x"))), None, "{to:?} is nobody");
    }
    let tagged = v4(one, 6, &tcp(443, SYN));
    let tagged = [&tagged[..12], &[0x81, 0, 0, 7], &tagged[12..]].concat();
    assert_eq!(call(tagged), Some(("1.1.1.1".into(), 443)));
    // A hop-by-hop header, and a fragment that is not the first.
    assert_eq!(call(v6(V6, 0, &[&[6, 0, 0, 0, 0, 0, 0, 0], &tcp(22, SYN)[..]].concat())).map(|call| call.1), Some(22));
    assert_eq!(call(v6(V6, 44, &[&[6, 0, 0, 8, 0, 0, 0, 0], &tcp(22, SYN)[..]].concat())), None);
    let mut fragment = v4(one, 6, &tcp(443, SYN));
    fragment[14 + 7] = 9;
    assert_eq!(call(fragment), None);
}

#[test]
fn names_that_are_asked_for() {
    let names = |port: u16, message: &[u8]| read_one(v4([10, 0, 2, 3], 17, &udp(port, message))).names;
    let host = ["Updates", "Example", "org"];
    assert_eq!(names(53, &query(&host, 1)), ["updates.example.org"]);
    assert_eq!(names(53, &query(&host, 28)), ["updates.example.org"]);
    assert_eq!(names(53, &query(&[], 2)), ["."], "a resolver of its own asks the root");
    assert_eq!(names(53, &query(&["a b\x1b[1m"], 1)), ["a?b??1m"]);
    assert_eq!(names(5353, &query(&["nas", "local"], 1)), ["nas.local"]);
    let nothing: [(u16, Vec<u8>); 5] = [
        (53, query(&host, 16)),
        (53, query(&["15", "2", "0", "10", "in-addr", "arpa"], 12)),
        (5353, query(&["_services", "_dns-sd", "_udp", "local"], 12)),
        (5355, query(&["wpad"], 1)),
        (53, query(&["x"; 200], 1)),
    ];
    for (port, message) in nothing {
        assert_eq!(names(port, &message), [""; 0], "{port}");
    }
    let mut answer = query(&host, 1);
    answer[2] |= 0x80;
    assert_eq!(names(53, &answer), [""; 0]);
    assert_eq!(names(53, &[&query(&host, 1)[..12], &[0xc0, 12, 0, 1, 0, 1]].concat()), [""; 0], "a pointer");
}

#[test]
fn neighbours_and_pings() {
    let arp = |sender: [u8; 4], target: [u8; 4]| {
        let header = [0, 1, 8, 0, 6, 4, 0, 1];
        ethernet(0x0806, &[&header, &[0; 6][..], &sender, &[0; 6], &target].concat())
    };
    let lan = [192, 168, 1, 5];
    assert_eq!(read_one(arp([192, 168, 1, 9], lan)).neighbours, [IpAddr::from(lan)]);
    assert_eq!(read_one(arp([0; 4], lan)).neighbours, [] as [IpAddr; 0], "whether it is free");
    assert_eq!(read_one(arp(lan, lan)).neighbours, [] as [IpAddr; 0], "that it has it");
    let solicit = |target: Ipv6Addr| v6(V6, 58, &[&[135, 0, 0, 0, 0, 0, 0, 0], &target.octets()[..]].concat());
    assert_eq!(read_one(solicit(V6)).neighbours, [IpAddr::from(V6)]);
    assert_eq!(read_one(solicit("fe80::2".parse().unwrap())).neighbours, [] as [IpAddr; 0]);
    assert_eq!(read_one(v4([9; 4], 1, &[8, 0])).pings, [IpAddr::from([9; 4])]);
    assert_eq!(read_one(v4([9; 4], 1, &[0, 0])).pings, [] as [IpAddr; 0]);
    let router = v6("ff02::2".parse().unwrap(), 58, &[133, 0, 0, 0]);
    assert_eq!(read_one(router), Traffic { is_whole: true, ..Traffic::default() });
}

#[test]
fn a_flood_is_bounded_and_no_longer_whole() {
    let packet = |number: usize| v4([1, 1, (number >> 8) as u8, number as u8], 6, &tcp(443, SYN));
    let packets: Vec<Vec<u8>> = (0..MOST + 1).map(packet).collect();
    let all_but_one = read(&[dump(&packets[1..])], true);
    assert!(all_but_one.is_whole && all_but_one.calls.len() == MOST);
    let flood = read(&[dump(&packets), dump(&packets)], true);
    assert!(!flood.is_whole && flood.calls.len() == MOST);
}

#[test]
fn other_dumps() {
    let mut big = vec![0xa1, 0xb2, 0xc3, 0xd4, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1];
    let packet = v4([1; 4], 6, &tcp(443, SYN));
    let length = (packet.len() as u32).to_be_bytes();
    big.extend([[0; 4], [0; 4], length, length].concat());
    big.extend(packet);
    assert_eq!(read(&[big.clone()], true).calls.len(), 1);
    big[23] = 101;
    for no_dump in [big, Vec::new(), b"\xd4\xc3\xb2\xa1".to_vec(), vec![0; 100]] {
        assert!(!read(&[no_dump], true).is_whole);
    }
}

proptest! {
    #[test]
    fn whatever_is_sent_is_read(
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
        tail in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        read(&[[dump(&packets), tail].concat()], true);
    }

    #[test]
    fn what_is_malformed_within_is_read(
        kind in prop::sample::select(vec![0x0800u16, 0x0806, 0x86dd, 0x8100]),
        protocol in prop::sample::select(vec![1u8, 6, 17, 44, 58, 0]),
        port in prop::sample::select(vec![53u16, 5353, 80]),
        bytes in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        read_one(ethernet(kind, &bytes));
        read_one(v4([1; 4], protocol, &bytes));
        read_one(v6(V6, protocol, &bytes));
        let traffic = read_one(v4([1; 4], 17, &udp(port, &bytes)));
        prop_assert!(traffic.names.iter().all(|name| name.len() <= 255 && name.chars().all(|c| c.is_ascii_graphic())));
    }

    #[test]
    fn a_recorded_dump_with_a_byte_changed_is_read(at in 0usize..1518, byte in any::<u8>()) {
        let mut bytes = RECORDED.to_vec();
        bytes[at] = byte;
        read(&[bytes], true);
    }
}
