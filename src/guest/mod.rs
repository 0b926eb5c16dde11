//! What is asked of a guest, and what it answered.
//!
//! No agent: [`credentials`] make the guest open a socket to a script of ours. Over that, [`shell`] runs scripts and
//! [`bus`] speaks D-Bus; PID 1 tells by itself what happens, to [`notify`]. [`Guest::look`] gathers [`facts`].

mod accounts;
pub mod bus;
pub mod credentials;
mod error;
pub mod facts;
mod frames;
mod greeting;
mod http;
mod journal;
mod look;
pub mod notify;
mod proc_net;
mod relabel;
pub mod shell;
mod text;

use std::sync::Arc;
use std::time::Duration;

pub use error::Error;
pub use http::Request;
pub use look::{Attempts, Good, Limits, Wanted};

use crate::channel::Channel;
use bus::{Bus, Which};
use credentials::Token;
use shell::Shell;

/// A guest that can be asked. Cheap to clone.
#[derive(Clone)]
pub struct Guest {
    channel: Arc<dyn Channel>,
    token: Token,
    shell: Shell,
    manager: Arc<tokio::sync::Mutex<Option<Bus>>>,
}

impl Guest {
    /// The guest behind this channel, which was given this token. Nothing is opened yet.
    pub fn new(channel: Arc<dyn Channel>, token: Token) -> Self {
        let shell = Shell::new(Arc::clone(&channel), token.clone());
        Self { channel, token, shell, manager: Arc::default() }
    }

    /// Its shell.
    pub fn shell(&self) -> &Shell {
        &self.shell
    }

    fn channel(&self) -> &Arc<dyn Channel> {
        &self.channel
    }

    fn token(&self) -> &Token {
        &self.token
    }

    /// PID 1's bus, connected when it is not yet, or no longer; each call on a new connection may take `patience`.
    ///
    /// # Errors
    /// As [`Bus::connect`].
    pub async fn manager(&self, patience: Duration) -> Result<Bus, Error> {
        let mut manager = self.manager.lock().await;
        if let Some(bus) = manager.as_ref().filter(|bus| !bus.is_closed()) {
            return Ok(bus.clone());
        }
        // First the old one goes, whose port the new one may need.
        *manager = None;
        let bus = Bus::connect(&*self.channel, &self.token, Which::Manager, patience).await?;
        Ok(manager.insert(bus).clone())
    }

    /// Waits until the guest answers and keeps ready what a look needs: two sessions and PID 1's bus. Under TCG this costs
    /// a second of the guest's time, which a boot can spare better than a look.
    ///
    /// # Errors
    /// The guest does not answer within `patience`: it has not come that far, or its systemd is too old (before 256 it
    /// takes no units from credentials).
    pub async fn warm(&self, patience: Duration) -> Result<(), Error> {
        let (shell, bus) = tokio::join!(self.shell.warm(2, patience), self.manager(patience));
        shell?;
        bus.map(drop)
    }

    /// Waits for the end of the boot as PID 1 tells it over D-Bus, for guests without notify messages (virtio-serial).
    /// Like `READY=1` it also comes when the boot ended in emergency mode.
    ///
    /// # Errors
    /// The guest could not be asked, or the connection ended.
    pub async fn wait_booted(&self, patience: Duration) -> Result<(), Error> {
        self.manager(patience).await?.booted().await
    }
}
