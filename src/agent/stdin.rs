//! A hook's stdin. Not every agent closes it, and some open it without ever writing: a hook that waits for its end holds up
//! the agent until its time-out.

use std::io::{self, ErrorKind, IsTerminal as _, Read};
use std::time::Duration;

use serde::de::IgnoredAny;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::model::timeouts::agent::STDIN_LIMIT;

/// The largest payload that is read, in bytes: an edit's holds the file's text, perhaps twice.
const LIMIT: usize = 64 << 20;

/// What is on stdin: up to its end, or to that of a JSON object, or until nothing more comes. Nothing where it is a terminal.
pub(super) async fn payload() -> io::Result<String> {
    if io::stdin().is_terminal() {
        return Ok(String::new());
    }
    let (sender, receiver) = unbounded_channel();
    // A thread of its own, which does not delay the end of the runtime.
    tokio::task::spawn_blocking(move || forward(io::stdin().lock(), &sender));
    collected(receiver, STDIN_LIMIT).await
}

fn forward(mut from: impl Read, to: &UnboundedSender<io::Result<Vec<u8>>>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let chunk = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => Ok(buffer[..count].to_vec()),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let is_last = chunk.is_err();
        if to.send(chunk).is_err() || is_last {
            return;
        }
    }
}

/// All that comes, as long as nothing is waited for longer than `limit`.
async fn collected(mut chunks: UnboundedReceiver<io::Result<Vec<u8>>>, limit: Duration) -> io::Result<String> {
    let mut bytes = Vec::new();
    while bytes.len() < LIMIT && !is_whole(&bytes) {
        match tokio::time::timeout(limit, chunks.recv()).await {
            Ok(Some(chunk)) => bytes.extend(chunk?),
            // What is not whole is told by whoever reads it.
            Ok(None) | Err(_) => break,
        }
    }
    bytes.truncate(LIMIT);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether this is a whole JSON object. Only what ends like one is looked through.
fn is_whole(bytes: &[u8]) -> bool {
    bytes.trim_ascii_end().ends_with(b"}") && serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Duration = Duration::from_secs(600);

    /// What is read of these chunks from a stdin that is closed after them, or stays open.
    async fn read(chunks: &[&str], is_closed: bool, limit: Duration) -> String {
        let (sender, receiver) = unbounded_channel();
        chunks.iter().for_each(|chunk| sender.send(Ok(chunk.as_bytes().to_vec())).unwrap());
        let held = (!is_closed).then_some(sender);
        let read = collected(receiver, limit).await;
        drop(held);
        read.unwrap()
    }

    #[tokio::test]
    async fn a_whole_payload_needs_no_end_of_stdin() {
        for chunks in [&["{\"a\": {}}"][..], &["{\"a\": {}", "}\n"], &["{\"a\": \"}", "\"}"]] {
            assert_eq!(read(chunks, false, NEVER).await, chunks.concat(), "{chunks:?}");
        }
    }

    #[tokio::test]
    async fn anything_else_is_read_to_the_end_or_until_nothing_more_comes() {
        for chunks in [&["{\"a\": {}"][..], &["a.nix\n", "b.nix"], &[]] {
            assert_eq!(read(chunks, true, NEVER).await, chunks.concat(), "{chunks:?}");
            assert_eq!(read(chunks, false, Duration::from_millis(10)).await, chunks.concat(), "{chunks:?}");
        }
    }

    #[tokio::test]
    async fn what_is_read_is_handed_on_to_its_end() {
        let (sender, receiver) = unbounded_channel();
        forward(&b"a.nix\n"[..], &sender);
        drop(sender);
        assert_eq!(collected(receiver, NEVER).await.unwrap(), "a.nix\n");
    }
}
