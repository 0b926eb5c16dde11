//! The questions of a DNS query (RFC 1035, section 4).

/// mDNS's port (RFC 6762).
pub(super) const MULTICAST: u16 = 5353;

/// The longest name, in bytes.
const LONGEST: usize = 255;
/// Record types that ask for an address, or for where a service is: A, AAAA, SRV, SVCB, HTTPS; NS only of the root.
const ASKS_FOR_HOST: [u16; 5] = [1, 28, 33, 64, 65];
const NS: u16 = 2;

/// The names whose address is asked for, in lower case without the last dot. What is no query asks for nothing.
pub(super) fn asked(message: &[u8], port: u16) -> Option<Vec<String>> {
    let header = message.get(..12)?;
    let is_query = header[2] & 0xf8 == 0;
    let questions = u16::from_be_bytes([header[4], header[5]]);
    let mut asked = Vec::new();
    let mut rest = &message[12..];
    // Resolvers ask one question at a time, mDNS a few.
    for _ in 0..if is_query { questions.min(16) } else { 0 } {
        let Some((name, kind, after)) = question(rest) else { break };
        rest = after;
        let is_of_multicast = port == MULTICAST;
        let asks = ASKS_FOR_HOST.contains(&kind) && !name.is_empty() && !name.ends_with(".arpa");
        if asks && (!is_of_multicast || kind != 33) {
            asked.push(name);
        } else if kind == NS && !is_of_multicast && name.is_empty() {
            asked.push(".".to_owned());
        }
    }
    Some(asked)
}

/// The first question's name and type, and what follows it.
fn question(bytes: &[u8]) -> Option<(String, u16, &[u8])> {
    let mut rest = bytes;
    let mut name = String::new();
    loop {
        let (length, after) = rest.split_first()?;
        let length = usize::from(*length);
        if length == 0 {
            rest = after;
            break;
        }
        // A pointer has the two highest bits, and no place in a question.
        if length > 63 || name.len() + length + 1 > LONGEST {
            return None;
        }
        let (label, after) = after.split_at_checked(length)?;
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(label.iter().map(|byte| shown(*byte)));
        rest = after;
    }
    let (kind, rest) = rest.split_at_checked(2)?;
    let (_class, rest) = rest.split_at_checked(2)?;
    Some((name, u16::from_be_bytes([kind[0], kind[1]]), rest))
}

/// What no host name has cannot be told apart, and is nothing to show.
fn shown(byte: u8) -> char {
    match byte {
        b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => byte as char,
        b'A'..=b'Z' => byte.to_ascii_lowercase() as char,
        _ => '?',
    }
}
