//! PID 1's notify messages (systemd(1), "vmm.notify_socket"; sd_notify(3)): what happens in the boot, as it happens.

use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::model::timeouts::guest::NOTIFY_LIMIT;
use crate::text::bounded;
use crate::transport::Transport;

/// One assignment of a notify message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notification {
    /// `X_SYSTEMD_UNIT_ACTIVE=`: a target was reached.
    Active(String),
    /// `X_SYSTEMD_UNIT_INACTIVE=`: a target was left.
    Inactive(String),
    /// `READY=1`: PID 1's first transaction is done.
    Ready,
    /// `STATUS=`: the job that PID 1 waits for and since when, or `Startup finished in …`.
    Status(String),
    /// `X_SYSTEMD_SHUTDOWN=`: `poweroff`, `reboot`, `halt`, …
    Shutdown(String),
    /// `EXIT_STATUS=`.
    ExitStatus(String),
    /// Anything else.
    Other,
}

/// Most of a message that is read, in bytes.
const MESSAGE: usize = 4096;

/// Reads a message: one assignment a line.
pub fn parse(message: &[u8]) -> Vec<Notification> {
    let message = String::from_utf8_lossy(message);
    let assignments = message.lines().filter_map(|line| line.split_once('='));
    assignments
        .map(|(name, value)| {
            let value = bounded(value, 512);
            match name {
                "X_SYSTEMD_UNIT_ACTIVE" => Notification::Active(value),
                "X_SYSTEMD_UNIT_INACTIVE" => Notification::Inactive(value),
                "READY" if value == "1" => Notification::Ready,
                "STATUS" => Notification::Status(value),
                "X_SYSTEMD_SHUTDOWN" => Notification::Shutdown(value),
                "EXIT_STATUS" => Notification::ExitStatus(value),
                _ => Notification::Other,
            }
        })
        .collect()
}

/// Passes on what PID 1 says until the transport ends.
///
/// PID 1 blocks until its connection is accepted, so this goes on whatever a message says, and even without a receiver:
/// drop the task only with the machine. To be called before the machine starts.
pub fn listen(channel: Arc<dyn Transport>) -> (mpsc::UnboundedReceiver<Notification>, tokio::task::JoinHandle<()>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        while let Ok(stream) = channel.accept_notify().await {
            // One connection after the other keeps the order; NOTIFY_LIMIT bounds what a silent one costs.
            for notification in parse(&message(stream).await) {
                drop(sender.send(notification));
            }
        }
    });
    (receiver, task)
}

/// The message of a connection. Never waits for EOF: the transport forwards no half-close, and PID 1 waits for our close.
async fn message(mut stream: UnixStream) -> Vec<u8> {
    let mut buffer = vec![0; MESSAGE];
    let count = match timeout(NOTIFY_LIMIT, stream.read(&mut buffer)).await {
        Ok(Ok(count)) => count,
        Ok(Err(_)) | Err(_) => 0,
    };
    // A message over one packet may come in pieces; take what is here already.
    let more = stream.try_read(&mut buffer[count..]).unwrap_or(0);
    buffer.truncate(count + more);
    buffer
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::transport::VhostUser;

    #[test]
    fn real_messages() {
        assert_eq!(parse(b"X_SYSTEMD_UNIT_ACTIVE=sysinit.target\n"), [Notification::Active("sysinit.target".into())]);
        assert_eq!(
            parse(b"READY=1\nSTATUS=Startup finished in 1.5s (kernel) + 7s (userspace) = 8.5s.\n"),
            [
                Notification::Ready,
                Notification::Status("Startup finished in 1.5s (kernel) + 7s (userspace) = 8.5s.".into())
            ]
        );
        assert_eq!(parse(b"X_SYSTEMD_SHUTDOWN=poweroff"), [Notification::Shutdown("poweroff".into())]);
        assert_eq!(parse(b"EXIT_STATUS=0\n"), [Notification::ExitStatus("0".into())]);
        assert_eq!(parse(b"READY=0\nMACHINE_ID=x\nnothing"), [Notification::Other, Notification::Other]);
    }

    #[tokio::test]
    async fn a_silent_or_open_connection_stops_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (mut receiver, task) = listen(Arc::new(VhostUser::new(dir.path()).unwrap()));
        let path = dir.path().join("vs_7103");
        drop(UnixStream::connect(&path).await.unwrap());
        let mut stays = UnixStream::connect(&path).await.unwrap();
        stays.write_all(b"X_SYSTEMD_UNIT_ACTIVE=basic.target").await.unwrap();
        assert_eq!(receiver.recv().await, Some(Notification::Active("basic.target".into())));
        // Ours is closed although theirs is not.
        assert_eq!(stays.read(&mut [0; 8]).await.unwrap(), 0);
        let mut next = UnixStream::connect(&path).await.unwrap();
        next.write_all(b"READY=1").await.unwrap();
        assert_eq!(receiver.recv().await, Some(Notification::Ready));
        task.abort();
    }

    proptest! {
        #[test]
        fn anything_can_be_parsed(message: Vec<u8>) {
            for notification in parse(&message) {
                if let Notification::Status(text) = notification {
                    prop_assert!(text.len() <= 512 + '…'.len_utf8());
                }
            }
        }
    }
}
