//! What is asked of a guest, and what it answered.
//!
//! No agent: [`credentials`] make the guest open a socket to a script of ours. Over that, [`shell`] runs scripts and
//! [`bus`] speaks D-Bus; PID 1 tells by itself what happens, to [`notify`]. [`Guest::observe`] gathers [`facts`].
//! A user's session is known by [`logind`] and [`user_units`]; [`crate::desktop`] reads the rest of it.

mod accounts;
pub mod bus;
pub(crate) mod cpu_time;
pub mod credentials;
mod error;
mod etc_links;
pub mod facts;
mod frames;
mod greeting;
mod http;
pub(crate) mod journal;
mod log_files;
pub mod logind;
mod naming;
pub mod notify;
pub(crate) mod paths;
mod probe;
mod proc_net;
mod proxies;
mod relabel;
mod serve;
pub mod shell;
pub mod unit_files;
pub mod user_units;
pub mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use error::Error;
pub use http::{HttpRequest, own_port};
pub use probe::{Accepts, Attempts, Limits, ProbeRequest};

use crate::model::timeouts::guest::ALIVE_LIMIT;
use crate::model::{TransportKind, UNIT_PREFIX, port};
use crate::transport::Transport;
use bus::{Bus, Which};
use credentials::Token;
use shell::Shell;

/// A guest that can be asked. Cheap to clone.
#[derive(Clone)]
pub struct Guest {
    channel: Arc<dyn Transport>,
    token: Token,
    shell: Shell,
    manager: Arc<tokio::sync::Mutex<Option<Bus>>>,
    warmed: Arc<tokio::sync::OnceCell<()>>,
    /// Whether PID 1's bus and the system bus have been connected before.
    used: Arc<[AtomicBool; 2]>,
}

impl Guest {
    /// The guest behind this channel, which was given this token. Nothing is opened yet.
    pub fn new(channel: Arc<dyn Transport>, token: Token) -> Self {
        let shell = Shell::new(Arc::clone(&channel), token.clone());
        Self { channel, token, shell, manager: Arc::default(), warmed: Arc::default(), used: Arc::default() }
    }

    /// Its shell.
    pub fn shell(&self) -> &Shell {
        &self.shell
    }

    /// PID 1's bus, connected when it is not yet, or no longer; each call on a new connection may take `patience`.
    ///
    /// # Errors
    /// No answer within `patience`; no `systemd-stdio-bridge` in the guest; a bus that does not answer.
    pub async fn manager(&self, patience: Duration) -> Result<Bus, Error> {
        let mut manager = self.manager.lock().await;
        // PID 1 drops its connections when it executes itself anew, as a switch makes it do; over virtio-serial that
        // cannot be seen.
        if let Some(bus) = manager.as_ref()
            && bus.is_alive(patience.min(ALIVE_LIMIT)).await
        {
            return Ok(bus.clone());
        }
        // Drop the old connection first: the new one may need its port.
        *manager = None;
        let bus = self.bus(Which::Manager, patience).await?;
        Ok(manager.insert(bus).clone())
    }

    /// A new connection to a bus. Over virtio-serial there is one at a time of each: this waits for the other to be dropped.
    ///
    /// # Errors
    /// As [`Guest::manager`].
    pub async fn bus(&self, which: Which, patience: Duration) -> Result<Bus, Error> {
        if self.channel.kind() == TransportKind::VirtioSerial {
            let (used, number) = match which {
                Which::Manager => (&self.used[0], port::MANAGER_BUS),
                Which::System | Which::User(..) | Which::Session(..) => (&self.used[1], port::SYSTEM_BUS),
            };
            // The port's last bridge may wait for ever, for a bus or for the rest of what its user said; PID 1 starts
            // its service anew. The first time there is none.
            if used.swap(true, Ordering::Relaxed) {
                let end = format!(
                    "( while read -r A; do kill -9 \"$A\"; done </sys/fs/cgroup/{UNIT_PREFIX}port@{number}.0.service/cgroup.procs )"
                );
                self.shell.ask(&end, patience, 0).await?;
            }
        }
        let connected = Bus::connect(&*self.channel, &self.token, which, patience);
        // Leasing a port waits for its last user, without end should that hold on to it.
        let late = || Error::Deadline("the guest's bus does not answer".to_owned());
        tokio::time::timeout(patience, connected).await.map_err(|_| late())?
    }

    /// Waits until the guest answers and keeps ready what an observation needs: two sessions and PID 1's bus. Done
    /// only once: under TCG it costs a second of the guest's time, which a boot can spare better than an observation.
    ///
    /// # Errors
    /// The guest does not answer within `patience`: it has not come that far, or its systemd is too old (before 256 it
    /// takes no units from credentials).
    pub async fn warm(&self, patience: Duration) -> Result<(), Error> {
        let warm = self.warmed.get_or_try_init(async || {
            let (shell, bus) = tokio::join!(self.shell.warm(2, patience), self.manager(patience));
            shell.and(bus.map(drop))
        });
        let late = || Error::Deadline("the guest's shell does not answer".to_owned());
        tokio::time::timeout(patience, warm).await.map_err(|_| late())?.map(drop)
    }

    /// Whether PID 1 says within `patience` that its first transaction is done, over the connection that is there; `false`
    /// without one.
    pub async fn has_booted(&self, patience: Duration) -> bool {
        let asked = async {
            let bus = self.manager.lock().await.clone();
            match bus {
                Some(bus) => bus.has_booted().await.unwrap_or(false),
                None => false,
            }
        };
        tokio::time::timeout(patience, asked).await.unwrap_or(false)
    }

    /// The service that alone keeps the boot from its end by being started again and again, at least `restarts` times by
    /// now, over the connection that is there; `None` where the boot goes on.
    ///
    /// # Errors
    /// No connection yet, or no answer within `patience`.
    pub async fn boot_held_by(&self, restarts: u32, patience: Duration) -> Result<Option<String>, Error> {
        let late = || Error::Deadline("PID 1 does not tell what it waits for".to_owned());
        let asked = async {
            let bus = self.manager.lock().await.clone().ok_or_else(late)?;
            bus.boot_held_by(restarts).await
        };
        tokio::time::timeout(patience, asked).await.map_err(|_| late())?
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
