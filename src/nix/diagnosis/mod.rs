//! Why nix failed: its messages, of all versions, classified and made readable.
//!
//! Whose fault it is decides the exit code: what the host cannot do (disk, daemon, network, another architecture)
//! never reads as a broken configuration. The functions are pure over a [`NixLog`] and a [`SourceTree`].

mod derivation;
mod evaluation;
mod excerpt;
mod fetch;
mod headline;
mod host;
mod nixpkgs;
mod patterns;
mod source_tree;

pub(super) use self::derivation::{FailedDerivation, derivation, failed_derivations};
pub(super) use self::evaluation::evaluation;
use self::excerpt::core;
use self::patterns::{ATTRIBUTE, is};
pub use self::source_tree::SourceTree;
use super::log::NixLog;
use crate::failure::Failure;
use crate::model::Exit;

/// Whether it is this host that failed, or an interruption, and not what nix was asked for.
pub(super) fn is_host_failure(failure: &Failure) -> bool {
    matches!(failure.exit, Exit::Unknown | Exit::Interrupted)
}

/// Whether nix says that an output is not there at all, as against broken.
pub(super) fn is_absent(log: &NixLog) -> bool {
    log.errors.first().is_some_and(|error| is(&ATTRIBUTE, &core(error)))
}

/// The first error, also one that was printed past the protocol (before it begins, or by a helper program).
fn first_error(log: &NixLog) -> Option<String> {
    log.errors.first().or_else(|| log.stray.iter().find(|line| line.starts_with("error:"))).cloned()
}

/// The last of what nix's helpers printed past the protocol.
fn past_the_protocol(log: &NixLog) -> String {
    let last = log.stray.len().saturating_sub(5);
    log.stray.iter().skip(last).cloned().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod nixpkgs_tests;
#[cfg(test)]
mod tests;
