//! The desktop, whole: what the configuration expects of it, how the guest is asked and driven, how long is waited,
//! and how the observations are judged (`desktop.*`).
//!
//! Where does a change go?
//! * a compositor or window manager: one row in [`compositors`], and its option in `nix/expectations.nix`
//! * a display manager: one row in [`display_managers`]
//! * what a program writes to its journal, and what that means: one row in [`journal`]
//! * what is expected: [`expected`], the sessions that are offered: [`session_files`]
//! * the data that is gathered: [`facts`], and how the guest is asked for it: [`probe`]
//! * a program that locks the screen: one row in [`lockers`]
//! * logging in, input, windows, the screen's recording: [`drive`]
//! * when a wait ends: [`wait`] (pure)
//! * what is good or bad, a file each check: [`mod@judge`] (pure)

pub(crate) mod compositors;
pub(crate) mod display_managers;
pub(crate) mod display_server;
pub(crate) mod drive;
pub(crate) mod expected;
pub mod facts;
mod history;
pub(crate) mod journal;
pub(crate) mod judge;
pub(crate) mod lockers;
mod probe;
mod session_end;
mod session_files;
mod unit_restarts;
mod wait;

pub use facts::DesktopFacts;
pub(crate) use judge::{excuses, explains_restarts, judge};
pub(crate) use probe::unwrapped;

/// The target that a graphical session's units belong to (systemd.special(7)).
const SESSION_TARGET: &str = "graphical-session.target";

#[cfg(test)]
mod tests;
