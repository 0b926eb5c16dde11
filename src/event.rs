//! The one event stream. Stages emit, displays and reports only consume.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::model::{CheckResult, Phase};

/// What a stage tells while it works.
#[derive(Debug, Clone)]
pub enum Event {
    /// A stage began.
    Started(Phase),
    /// A stage ended, well or badly.
    Ended(Phase, Duration),
    /// One line on what is going on right now; replaces the last one (`building foo-1.2`, `waiting for x.service`).
    Doing(String),
    /// Counted progress of the current stage: done, expected.
    Progress {
        /// How many are done.
        done: u64,
        /// How many there will be, as known now.
        expected: u64,
        /// What is counted: `built`, `MiB fetched`.
        unit: &'static str,
    },
    /// Something the user should know and can act on (a fallback, a dirty tree).
    Note(String),
    /// A check has its verdict.
    Check(CheckResult),
}

/// The sending side. Cheap to clone; a send never blocks and never fails (a display that went away is no error).
#[derive(Debug, Clone)]
pub struct Events(Option<mpsc::UnboundedSender<Event>>);

impl Events {
    /// A stream and its receiving end.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(Some(sender)), receiver)
    }

    /// A stream without a reader.
    pub fn silent() -> Self {
        Self(None)
    }

    /// Sends an event to the display.
    pub fn send(&self, event: Event) {
        if let Some(sender) = &self.0 {
            // Without a receiver it is dropped: a display may have ended before the run.
            drop(sender.send(event));
        }
    }

    /// What is going on right now.
    pub fn doing(&self, text: impl Into<String>) {
        self.send(Event::Doing(text.into()));
    }

    /// Something the user should know.
    pub fn note(&self, text: impl Into<String>) {
        self.send(Event::Note(text.into()));
    }
}
