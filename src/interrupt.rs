//! Ctrl-C and its relatives, as something to wait for: the first asks for an orderly stop, the second for a hard one.
//!
//! What may take long and can simply be dropped is wrapped in [`Interrupt::guard`].

use std::future::pending;
use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::failure::{Failure, Result};

/// The receiving end of interruptions. Cheap to clone; whatever must stop waits on it.
#[derive(Debug, Clone)]
pub struct Interrupt(watch::Receiver<u8>);

/// The other end: interrupts.
#[derive(Debug)]
pub struct Trigger(watch::Sender<u8>);

impl Trigger {
    /// Interrupts once more.
    pub fn pull(&self) {
        self.0.send_modify(|times| *times = times.saturating_add(1));
    }
}

impl Interrupt {
    /// A pair, for interruptions that are no signals.
    pub fn channel() -> (Trigger, Self) {
        let (sender, receiver) = watch::channel(0);
        (Trigger(sender), Self(receiver))
    }

    /// Listens for SIGINT, SIGTERM and SIGHUP, each of which counts, as does the end of `also`. Must be called within a
    /// tokio runtime.
    ///
    /// # Errors
    /// When the kernel does not let the handlers be set.
    pub fn on_signals(also: impl Future<Output = ()> + Send + 'static) -> io::Result<Self> {
        let (trigger, interrupt) = Self::channel();
        let mut kinds = [
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            // A terminal that was closed. Under nohup(1) the parent has it ignored, which setting a handler undoes; that is
            // harmless, as there is no terminal to send it then.
            signal(SignalKind::hangup())?,
        ];
        tokio::spawn(async move {
            let [int, term, hup] = &mut kinds;
            let mut also = std::pin::pin!(also);
            let mut over = false;
            loop {
                tokio::select! {
                    _ = int.recv() => {}
                    _ = term.recv() => {}
                    _ = hup.recv() => {}
                    () = &mut also, if !over => over = true,
                }
                trigger.pull();
            }
        });
        Ok(interrupt)
    }

    /// Ends at the first interruption: stop in good order. At once if it was before.
    pub async fn orderly(&self) {
        self.times(1).await;
    }

    /// Ends at the second interruption: stop now.
    pub async fn hard(&self) {
        self.times(2).await;
    }

    /// What `work` comes to, or at the first interruption the failure that says so: then `work` is dropped, which ends what
    /// it has started.
    ///
    /// # Errors
    /// Those of `work`; exit 130 when interrupted.
    pub async fn guard<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            done = work => done,
            () = self.orderly() => Err(Failure::interrupted()),
        }
    }

    async fn times(&self, wanted: u8) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|times| *times >= wanted).await.is_err() {
            // The trigger is gone: there will be no interruption.
            pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn the_first_is_orderly_the_second_hard() {
        let (trigger, interrupt) = Interrupt::channel();
        assert!(interrupt.orderly().now_or_never().is_none() && *interrupt.0.borrow() == 0);
        trigger.pull();
        let late = interrupt.clone();
        assert!(late.orderly().now_or_never().is_some() && *late.0.borrow() > 0);
        assert!(late.hard().now_or_never().is_none());
        trigger.pull();
        assert!(late.hard().now_or_never().is_some());
    }

    #[tokio::test]
    async fn guarded_work_ends_with_the_interruption() {
        let (trigger, interrupt) = Interrupt::channel();
        assert_eq!(interrupt.guard(async { Ok(1) }).await, Ok(1));
        let endless = interrupt.guard(pending::<Result<()>>());
        trigger.pull();
        assert_eq!(endless.await, Err(Failure::interrupted()));
    }

    #[tokio::test]
    async fn without_a_trigger_it_never_ends() {
        let (trigger, interrupt) = Interrupt::channel();
        drop(trigger);
        assert!(interrupt.orderly().now_or_never().is_none());
    }
}
