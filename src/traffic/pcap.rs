//! The classic pcap file, as QEMU's filter-dump writes it (draft-ietf-opsawg-pcap): a header, and for each packet
//! its time, two lengths, and its bytes.

/// How much of a packet is dumped, in bytes. The longest name in a query ends well before.
pub(crate) const KEPT: u32 = 512;

/// The file header's length, and that of a packet's.
const HEADER: usize = 24;
const RECORD: usize = 16;
/// The link type of Ethernet.
const ETHERNET: u32 = 1;
/// More than this in one record is no packet, whatever the file says.
const LONGEST: usize = 1 << 18;

/// The packets of a dump, as far as they are there: QEMU may be writing the last one. `None` where it is no dump of
/// Ethernet.
pub(super) fn packets(dump: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let magic: [u8; 4] = dump.get(..4)?.try_into().ok()?;
    // Microseconds or nanoseconds, in the byte order of who wrote it.
    let number: fn([u8; 4]) -> u32 = match u32::from_le_bytes(magic) {
        0xa1b2_c3d4 | 0xa1b2_3c4d => u32::from_le_bytes,
        0xd4c3_b2a1 | 0x4d3c_b2a1 => u32::from_be_bytes,
        _ => return None,
    };
    let at = move |place: usize| Some(number(dump.get(place..place + 4)?.try_into().ok()?));
    if at(20)? != ETHERNET {
        return None;
    }
    let mut next = HEADER;
    Some(std::iter::from_fn(move || {
        let length = usize::try_from(at(next + 8)?).ok().filter(|length| *length <= LONGEST)?;
        let begin = next + RECORD;
        let packet = dump.get(begin..begin + length)?;
        next = begin + length;
        Some(packet)
    }))
}
