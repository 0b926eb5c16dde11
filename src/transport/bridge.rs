//! Bytes carried between a Unix socket pair and something else, so that every transport hands out the same type.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The side that ended first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClosedSide {
    /// The first.
    One,
    /// The second.
    Other,
}

/// Carries bytes both ways until either side ends or fails. Neither is shut down: both sides stay the caller's, and half-closed streams are not forwarded (they end both directions on vhost-user vsock, too).
pub(super) async fn carry<A, B>(one: &mut A, other: &mut B) -> ClosedSide
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (one_read, one_write) = tokio::io::split(one);
    let (other_read, other_write) = tokio::io::split(other);
    tokio::select! {
        by_reader = pump(one_read, other_write) => if by_reader { ClosedSide::One } else { ClosedSide::Other },
        by_reader = pump(other_read, one_write) => if by_reader { ClosedSide::Other } else { ClosedSide::One },
    }
}

/// One direction. An error ends it like an end of file: the reader at the far end sees the same. True when it was the
/// side that is read.
async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> bool {
    let mut buffer = vec![0; 32 << 10];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return true,
            Ok(count) => {
                if to.write_all(&buffer[..count]).await.is_err() || to.flush().await.is_err() {
                    return false;
                }
            }
        }
    }
}
