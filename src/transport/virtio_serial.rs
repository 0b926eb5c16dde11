//! virtio-serial: a fixed number of ports, each a Unix socket that QEMU listens on.
//!
//! A port has no connections: what one use left unread, the next one finds. So a port is leased to one user at a time,
//! QEMU's end stays connected all the time (a port without a host reads as end of file in the guest), and its user
//! first resynchronises, as [`crate::guest`] does with a nonce.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

use super::bridge::{self, ClosedSide};
use super::{Transport, TransportKind, socket};
use crate::model::VirtioPort;

/// The transport through `vp.PORT.N` in the run directory.
#[derive(Debug)]
pub struct VirtioSerial {
    ports: BTreeMap<u32, Arc<Pool>>,
}

/// The ports of one number.
#[derive(Debug)]
struct Pool {
    /// As many permits as there are ports.
    free: Arc<Semaphore>,
    /// The one that was given back last comes last: its service may have to restart.
    ports: Mutex<VecDeque<Port>>,
}

#[derive(Debug)]
struct Port {
    path: PathBuf,
    /// QEMU's socket, once connected and as long as it lives.
    stream: Option<UnixStream>,
}

impl Pool {
    fn new(ports: VecDeque<Port>) -> Self {
        Self { free: Arc::new(Semaphore::new(ports.len())), ports: Mutex::new(ports) }
    }

    fn put(&self, port: Port) {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).push_back(port);
    }

    fn take(&self) -> Option<Port> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl VirtioSerial {
    /// The ports of this run directory; nothing is connected yet.
    pub fn new(run_dir: &Path) -> Self {
        let mut ports: BTreeMap<u32, VecDeque<Port>> = BTreeMap::new();
        for port in VirtioPort::all() {
            let path = run_dir.join(port.run_file());
            ports.entry(port.number).or_default().push_back(Port { path, stream: None });
        }
        Self { ports: ports.into_iter().map(|(number, ports)| (number, Arc::new(Pool::new(ports)))).collect() }
    }

    /// Connects every port, as soon as QEMU listens (its QMP answers), so that the guest finds them connected.
    ///
    /// # Errors
    /// A socket that is not there, or that refuses.
    pub async fn connect(&self) -> io::Result<()> {
        for pool in self.ports.values() {
            let mut ports: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
            let mut result = Ok(());
            for port in ports.iter_mut().filter(|port| port.stream.is_none()) {
                match socket::connect(&port.path).await {
                    Ok(stream) => port.stream = Some(stream),
                    Err(error) => result = Err(error),
                }
            }
            ports.into_iter().for_each(|port| pool.put(port));
            result?;
        }
        Ok(())
    }
}

impl Transport for VirtioSerial {
    fn kind(&self) -> TransportKind {
        TransportKind::VirtioSerial
    }

    /// Leases a port, waiting for one to be free; the lease ends when the stream is dropped.
    fn open(&self, port: u32) -> BoxFuture<'_, io::Result<UnixStream>> {
        Box::pin(async move {
            let Some(pool) = self.ports.get(&port) else {
                return Err(io::ErrorKind::ConnectionRefused.into());
            };
            let permit = Arc::clone(&pool.free).acquire_owned().await.map_err(io::Error::other)?;
            let (user, mut ours) = UnixStream::pair()?;
            let Some(mut port) = pool.take() else {
                return Err(io::ErrorKind::ConnectionRefused.into());
            };
            let mut qemu = match port.stream.take() {
                Some(stream) => stream,
                None => match socket::connect(&port.path).await {
                    Ok(stream) => stream,
                    Err(error) => {
                        pool.put(port);
                        return Err(error);
                    }
                },
            };
            let pool = Arc::clone(pool);
            tokio::spawn(async move {
                // Only an end on QEMU's side makes its socket useless.
                let closed = bridge::carry(&mut ours, &mut qemu).await;
                pool.put(Port { stream: (closed == ClosedSide::One).then_some(qemu), ..port });
                drop(permit);
            });
            Ok(user)
        })
    }

    fn accept_notify(&self) -> BoxFuture<'_, io::Result<UnixStream>> {
        Box::pin(std::future::pending())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_port_has_one_user_at_a_time_and_stays_connected() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("vp.7101.0")).unwrap();
        let transport = VirtioSerial::new(dir.path());
        let mut first = transport.open(7101).await.unwrap();
        let (mut qemu, _) = listener.accept().await.unwrap();
        first.write_all(b"one").await.unwrap();
        let mut text = [0; 3];
        qemu.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"one");

        assert!(timeout(Duration::from_millis(50), transport.open(7101)).await.is_err(), "leased twice");
        drop(first);
        let mut second = timeout(Duration::from_secs(5), transport.open(7101)).await.unwrap().unwrap();
        qemu.write_all(b"two").await.unwrap();
        second.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"two");
        assert!(timeout(Duration::from_millis(50), listener.accept()).await.is_err(), "connected anew");
    }

    #[tokio::test]
    async fn a_port_that_is_not_there_yet_can_be_opened_later() {
        let dir = tempfile::tempdir().unwrap();
        let transport = VirtioSerial::new(dir.path());
        assert!(transport.connect().await.is_err());
        transport.open(7102).await.unwrap_err();
        let _listener = UnixListener::bind(dir.path().join("vp.7102.0")).unwrap();
        transport.open(7102).await.unwrap();
    }
}
