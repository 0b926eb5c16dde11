//! The report: the model, one writer a format, the progress display, and where the evidence is kept.

pub mod artifacts;
pub mod display;
pub mod human;
pub mod json;
mod model;
pub mod output;
pub mod text;

pub use model::{CheckResult, MachineInfo, NotTested, PhaseTime, Report, Stage, Status, TargetInfo, Verdict};
