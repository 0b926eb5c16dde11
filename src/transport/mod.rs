//! How a byte gets into the guest and back: one trait, [`Transport`], over vhost-user vsock (default), virtio-serial
//! (macOS, or where there is no vsock daemon) and the kernel's vsock (only when asked for).

mod bridge;
mod socket;
pub mod vhost_user;
pub mod virtio_serial;
#[cfg(target_os = "linux")]
pub mod vsock;

use std::io;

use futures_util::future::BoxFuture;
use tokio::net::UnixStream;

use crate::model::TransportKind;

pub use vhost_user::VhostUser;
pub use virtio_serial::VirtioSerial;
#[cfg(target_os = "linux")]
pub use vsock::Vsock;

/// A connection to a guest.
pub trait Transport: Send + Sync {
    /// Which one it is.
    fn kind(&self) -> TransportKind;

    /// Opens a stream to a service in the guest that listens on `port` (see [`crate::model::port`]).
    ///
    /// # Errors
    /// `ConnectionRefused` or `ConnectionReset` while the guest does not listen yet: the caller tries again to its deadline.
    fn open(&self, port: u32) -> BoxFuture<'_, io::Result<UnixStream>>;

    /// Waits for the next stream that the guest opens to the host's [`crate::model::port::NOTIFY`].
    /// Where a guest cannot open streams (virtio-serial), it never resolves.
    fn accept_notify(&self) -> BoxFuture<'_, io::Result<UnixStream>>;
}
