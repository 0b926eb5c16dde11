//! The host kernel's vsock (`/dev/vhost-vsock`), used only when asked for.

use std::io;

use futures_util::future::BoxFuture;
use tokio::net::UnixStream;
use tokio_vsock::{VMADDR_CID_ANY, VsockAddr, VsockListener, VsockStream};

use super::{Transport, TransportKind, bridge};
use crate::model::port;

/// The transport to the guest with a CID of its own.
#[derive(Debug)]
pub struct Vsock {
    cid: u32,
    notify: VsockListener,
}

impl Vsock {
    /// Listens for the notify messages of the guest that has this CID (3 and up, unique on the host).
    ///
    /// # Errors
    /// There is no vsock, or another run has the port: the kernel has one port space for all guests.
    pub fn new(cid: u32) -> io::Result<Self> {
        Ok(Self { cid, notify: VsockListener::bind(VsockAddr::new(VMADDR_CID_ANY, port::NOTIFY))? })
    }
}

/// One end of a Unix socket pair that carries the stream's bytes.
fn bridged(mut stream: VsockStream) -> io::Result<UnixStream> {
    let (user, mut ours) = UnixStream::pair()?;
    tokio::spawn(async move {
        bridge::carry(&mut ours, &mut stream).await;
    });
    Ok(user)
}

impl Transport for Vsock {
    fn kind(&self) -> TransportKind {
        TransportKind::Vsock
    }

    fn open(&self, port: u32) -> BoxFuture<'_, io::Result<UnixStream>> {
        Box::pin(async move { bridged(VsockStream::connect(VsockAddr::new(self.cid, port)).await?) })
    }

    fn accept_notify(&self) -> BoxFuture<'_, io::Result<UnixStream>> {
        Box::pin(async move {
            loop {
                let (stream, from) = self.notify.accept().await?;
                // Every process of the host, and every other guest, may connect: only ours is accepted.
                if from.cid() == self.cid {
                    return bridged(stream);
                }
            }
        })
    }
}
