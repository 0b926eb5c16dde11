//! Sound, whole: what is expected, observed, played, recorded, waited for, judged.
//!
//! ```text
//! probe ──► session ──► observe ──► play, record ──► AudioFacts ──► judge ──► CheckResults
//! (a user's session) (card, server) (capture, microphone)          (pure)
//! ```
//!
//! Where does a change go?
//! * another sound server: a file beside [`pipewire`] and [`pulseaudio`], a line of the table in [`server`], and the
//!   option that enables it in [`crate::nix::expectations`] and its `expectations.nix`
//! * a program that plays or records: `programs`
//! * what a server or a client of its writes, and what that means: `journal`
//! * what the kernel has of the card and of the servers' processes: `card`
//! * the session in which sound is tested: `session`; what it has of sound: `observe`
//! * how tones get into the guest and what came out of its card: `play`, `capture`; how it records: `record`
//! * in which order, and what is done twice: `probe`
//! * whether it is good or bad: [`judge`] (pure: no I/O), a file a check
//!
//! QEMU's card and backends are in [`crate::machine::sound_card`], the signals and their analysis in [`crate::signal`].
//! What is waited for is decided by a pure `decide` beside the loop.

mod capture;
mod card;
pub(crate) mod facts;
mod journal;
pub(crate) mod judge;
mod observe;
mod pipewire;
mod play;
mod probe;
mod programs;
mod pulseaudio;
mod record;
mod server;
mod session;

use serde_json::Value;

pub use facts::AudioFacts;
pub(crate) use probe::AudioProbe;
pub(crate) use server::{processes, units};

use crate::text::bounded;

/// Most sinks, sources, cards, settings, clients that are read of a server's answer.
const MOST: usize = 32;

/// A value of a server's answer as text.
fn json_text(value: &Value) -> String {
    match value {
        Value::String(text) => bounded(text, 200),
        Value::Null => String::new(),
        other => bounded(&other.to_string(), 200),
    }
}

/// A process id, as a number or as text.
fn process_id(value: &Value) -> Option<u32> {
    json_text(value).parse().ok()
}
