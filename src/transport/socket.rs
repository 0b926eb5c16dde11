//! Sockets in a directory that the runner may write to as well.

use std::io;
use std::path::Path;

use tokio::net::UnixStream;

/// Connects to a socket in the run directory, and to nothing that a symbolic link in its place names.
///
/// # Errors
/// As of connect(2); also when it is no socket.
pub(super) async fn connect(path: &Path) -> io::Result<UnixStream> {
    #[cfg(target_os = "linux")]
    {
        use std::fs::OpenOptions;
        use std::os::fd::AsRawFd as _;
        use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};

        let flags = nix::libc::O_PATH | nix::libc::O_NOFOLLOW;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        if !file.metadata()?.file_type().is_socket() {
            return Err(io::Error::other("it is no socket"));
        }
        UnixStream::connect(format!("/proc/self/fd/{}", file.as_raw_fd())).await
    }
    #[cfg(not(target_os = "linux"))]
    {
        UnixStream::connect(path).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_link_to_a_socket_is_not_connected_to() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let _listener = tokio::net::UnixListener::bind(file("real")).unwrap();
        std::os::unix::fs::symlink(file("real"), file("link")).unwrap();
        assert!(connect(&file("real")).await.is_ok());
        assert!(connect(&file("link")).await.is_err());
    }
}
