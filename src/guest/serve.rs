//! A guest's shell for the user: `--keep` offers it on a Unix socket.

use std::io;
use std::path::Path;

use tokio::io::copy_bidirectional;
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Guest, greeting};
use crate::model::port;
use crate::model::timeouts::guest::SERVED_SHELL_LIMIT;

impl Guest {
    /// Offers a root shell of the guest on this socket, one per connection, until what is answered is dropped.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn serve_shell(&self, socket: &Path) -> io::Result<JoinSet<()>> {
        let listener = UnixListener::bind(socket)?;
        let guest = self.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let guest = guest.clone();
                connections.spawn(async move {
                    let deadline = Instant::now() + SERVED_SHELL_LIMIT;
                    let greeted = greeting::greet(&*guest.channel, port::SHELL, &guest.token, deadline).await;
                    let Ok((mut shell, _)) = greeted else { return };
                    let become_shell = greeting::become_command(&mut shell, &guest.token, "sh", "-i 2>&1", deadline);
                    if matches!(become_shell.await, Ok(true)) {
                        // The client or the guest may end it; either is fine.
                        let _ended = copy_bidirectional(&mut client, &mut shell).await;
                    }
                });
            }
        });
        Ok(tasks)
    }
}
