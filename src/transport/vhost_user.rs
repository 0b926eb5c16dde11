//! vsock served by `vhost-device-vsock`: the host's side is Unix sockets in the run directory.

use std::io;
use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::{Transport, TransportKind, socket};
use crate::model::{port, run_file};

/// The transport through the daemon's `vs` (host to guest) and `vs_7103` (guest to host).
#[derive(Debug)]
pub struct VhostUser {
    socket: PathBuf,
    notify: UnixListener,
}

impl VhostUser {
    /// Listens for the guest's notify messages. To be called before the machine starts; the daemon may start later.
    ///
    /// # Errors
    /// The notify socket cannot be bound (a path over about 104 bytes, or one that exists).
    pub fn new(run_dir: &Path) -> io::Result<Self> {
        let socket = run_dir.join(run_file::VSOCK);
        let mut listen = socket.clone().into_os_string();
        listen.push(format!("_{}", port::NOTIFY));
        Ok(Self { socket, notify: UnixListener::bind(PathBuf::from(listen))? })
    }
}

impl Transport for VhostUser {
    fn kind(&self) -> TransportKind {
        TransportKind::VhostUser
    }

    fn open(&self, port: u32) -> BoxFuture<'_, io::Result<UnixStream>> {
        Box::pin(async move {
            let mut stream = socket::connect(&self.socket).await?;
            stream.write_all(format!("CONNECT {port}\n").as_bytes()).await?;
            // Byte by byte: what follows the line belongs to the caller.
            let mut line = Vec::new();
            loop {
                let byte = stream.read_u8().await.map_err(|error| match error.kind() {
                    io::ErrorKind::UnexpectedEof => io::ErrorKind::ConnectionReset.into(),
                    _ => error,
                })?;
                if byte == b'\n' {
                    break;
                }
                line.push(byte);
                if line.len() > 64 {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the vsock daemon's answer has no end"));
                }
            }
            if line.starts_with(b"OK") { Ok(stream) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
        })
    }

    fn accept_notify(&self) -> BoxFuture<'_, io::Result<UnixStream>> {
        Box::pin(async move { Ok(self.notify.accept().await?.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn daemon(answer: &'static [u8]) -> (tempfile::TempDir, VhostUser) {
        let dir = tempfile::tempdir().unwrap();
        let transport = VhostUser::new(dir.path()).unwrap();
        let listener = UnixListener::bind(dir.path().join("vs")).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 13];
            stream.read_exact(&mut asked).await.unwrap();
            assert_eq!(&asked, b"CONNECT 7100\n");
            stream.write_all(answer).await.unwrap();
        });
        (dir, transport)
    }

    #[tokio::test]
    async fn after_ok_the_stream_is_raw() {
        let (_dir, transport) = daemon(b"OK 1024\nhello").await;
        let mut text = String::new();
        transport.open(7100).await.unwrap().read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello");
    }

    #[tokio::test]
    async fn a_guest_that_does_not_listen_yet_is_a_reset() {
        let (_dir, transport) = daemon(b"").await;
        assert_eq!(transport.open(7100).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn notify_arrives() {
        let dir = tempfile::tempdir().unwrap();
        let transport = VhostUser::new(dir.path()).unwrap();
        let mut guest = UnixStream::connect(dir.path().join("vs_7103")).await.unwrap();
        guest.write_all(b"READY=1").await.unwrap();
        let mut stream = transport.accept_notify().await.unwrap();
        let mut text = [0; 7];
        stream.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"READY=1");
    }
}
