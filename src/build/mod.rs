//! nix: evaluate and build, as [`crate::event::Event`]s and typed results.

pub mod promises;
