//! PID 1 calls itself `org.freedesktop.systemd1` in the `SENDER` of what it says on its private socket. Between peers
//! the field has no meaning, but zbus takes a unique name only and panics on any other (z-galaxy/zbus#1497). So what
//! the guest says passes through here, where each sender becomes a unique name of the same length.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Bytes of a message's fixed part, up to and with the length of the field array ("Message Format" in the D-Bus
/// specification).
const FIXED: usize = 16;
/// Most bytes of a field array that are taken; PID 1's have about 150.
const FIELDS: usize = 64 << 10;
/// Most bytes of a message's body, so that a guest cannot make us hold more. ListUnits has about 100 KiB.
const BODY: usize = 32 << 20;
/// The code of the `SENDER` field.
const SENDER: u8 = 7;

/// A stream with the same bytes in which every sender is a unique name. It ends when either side does, or when what
/// the guest says is not D-Bus.
///
/// # Errors
/// No socket pair.
pub(super) fn relabelled(stream: UnixStream) -> io::Result<UnixStream> {
    let (user, ours) = UnixStream::pair()?;
    tokio::spawn(async move {
        let (from_guest, mut to_guest) = stream.into_split();
        let (mut from_user, to_user) = ours.into_split();
        tokio::select! {
            _ = pass(from_guest, to_user) => {}
            _ = tokio::io::copy(&mut from_user, &mut to_guest) => {}
        }
    });
    Ok(user)
}

/// Passes the handshake's lines and then messages.
async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWriteExt + Unpin) -> io::Result<()> {
    let mut pending = Vec::new();
    let mut passed_lines = false;
    // Bytes of a body that are still to come.
    let mut body = 0;
    let mut buffer = vec![0; 32 << 10];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        pending.extend_from_slice(&buffer[..count]);
        let mut ready = 0;
        while ready < pending.len() {
            let rest = &mut pending[ready..];
            if body > 0 {
                let now = body.min(rest.len());
                body -= now;
                ready += now;
            } else if !passed_lines && !matches!(rest[0], b'l' | b'B') {
                // The server's lines begin with a capital: OK, ERROR, REJECTED, AGREE_UNIX_FD, DATA.
                match rest.iter().position(|byte| *byte == b'\n') {
                    Some(end) => ready += end + 1,
                    None if rest.len() > 4096 => return Err(garbled()),
                    None => break,
                }
            } else {
                passed_lines = true;
                let Some((header, length)) = lengths(rest)? else { break };
                if rest.len() < header {
                    break;
                }
                let big = rest[0] == b'B';
                relabel(&mut rest[FIXED..header], big).ok_or_else(garbled)?;
                ready += header;
                body = length;
            }
        }
        to.write_all(&pending[..ready]).await?;
        pending.drain(..ready);
    }
}

fn garbled() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a D-Bus message")
}

fn number(bytes: &[u8], big: bool) -> Option<usize> {
    let bytes: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
    let number = if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
    usize::try_from(number).ok()
}

/// A message's bytes of header (with padding) and body, once its fixed part is there.
fn lengths(message: &[u8]) -> io::Result<Option<(usize, usize)>> {
    if message.len() < FIXED {
        return Ok(None);
    }
    let big = match message[0] {
        b'l' => false,
        b'B' => true,
        _ => return Err(garbled()),
    };
    let body = number(&message[4..], big).filter(|length| *length <= BODY).ok_or_else(garbled)?;
    let fields = number(&message[12..], big).filter(|length| *length <= FIELDS).ok_or_else(garbled)?;
    Ok(Some(((FIXED + fields).next_multiple_of(8), body)))
}

/// Renames the sender in a field array, an `a(yv)` that begins at a multiple of 8. `None` when it is none.
fn relabel(fields: &mut [u8], big: bool) -> Option<()> {
    let mut at = 0;
    // What is left after the last field is padding.
    while at + 8 <= fields.len() {
        let (code, signature) = (fields[at], fields.get(at + 1..at + 4)?);
        if code == 0 && signature[0] == 0 {
            return Some(());
        }
        // Every field of a header has a type of one letter.
        if signature[0] != 1 || signature[2] != 0 {
            return None;
        }
        let kind = signature[1];
        let value = at + 4;
        at = match kind {
            b'u' => value + 4,
            b'g' => value + 1 + usize::from(*fields.get(value)?) + 1,
            b's' | b'o' => {
                let length = number(fields.get(value..)?, big)?;
                let text = fields.get_mut(value + 4..value.checked_add(4)?.checked_add(length)?)?;
                if code == SENDER && kind == b's' {
                    if length < 4 {
                        return None;
                    }
                    text.fill(b'0');
                    text[..3].copy_from_slice(b":1.");
                }
                value + 4 + length + 1
            }
            _ => return None,
        }
        .next_multiple_of(8);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zbus::Message;

    use super::*;

    fn from_pid_1(body: &[u8]) -> Vec<u8> {
        // A name as long as PID 1's, then PID 1's in its place.
        let unique = ":1.000000000000000000000";
        let message = Message::signal("/a", "b.c", "D").unwrap().sender(unique).unwrap().build(&body).unwrap();
        let bytes = message.data().to_vec();
        let at = bytes.windows(unique.len()).position(|window| window == unique.as_bytes()).unwrap();
        let mut bytes = bytes;
        bytes[at..at + unique.len()].copy_from_slice(b"org.freedesktop.systemd1");
        bytes
    }

    async fn passed(bytes: &[u8], size: usize) -> io::Result<Vec<u8>> {
        let (mut to, from) = tokio::io::duplex(size);
        let mut out = Vec::new();
        let feed = async move {
            for piece in bytes.chunks(size) {
                // The reader may have had enough.
                if to.write_all(piece).await.is_err() {
                    return;
                }
            }
        };
        let (result, ()) = tokio::join!(pass(from, &mut out), feed);
        result.map(|()| out)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn senders_become_unique_names_and_nothing_else_changes(body: Vec<u8>, size in 1..200_usize) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let one = from_pid_1(&body);
            let all = [b"OK 1234\r\nERROR\r\n".as_slice(), &one, &one].concat();
            let out = runtime.block_on(passed(&all, size)).unwrap();
            let expected = String::from_utf8_lossy(&all).replace("org.freedesktop.systemd1", ":1.000000000000000000000");
            prop_assert_eq!(String::from_utf8_lossy(&out), expected);
        }

        #[test]
        fn anything_else_ends_or_passes_but_never_panics(bytes: Vec<u8>, big: bool) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            drop(runtime.block_on(passed(&bytes, 64)));
            let message = [if big { b"B".as_slice() } else { b"l" }, &bytes].concat();
            drop(runtime.block_on(passed(&message, 64)));
            prop_assert!(relabel(&mut bytes.clone(), big).is_none_or(|()| true));
        }
    }
}
