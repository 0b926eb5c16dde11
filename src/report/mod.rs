//! The report: the model, one writer a format, the progress display, and where the evidence is kept.

pub mod artifacts;
pub mod board;
pub mod display;
pub mod human;
pub mod json;
pub mod matrix;
mod model;
pub mod output;
pub mod text;

#[cfg(test)]
pub(crate) use model::examples;
pub use model::{Cached, CheckResult, MachineInfo, NotTested, PhaseTime, Report, Stage, Status, TargetInfo, Verdict};
