//! The report: the model, one writer a format, the progress display, and where the evidence is kept.

pub mod artifacts;
mod case;
pub mod display;
mod evidence;
pub mod github;
#[cfg(test)]
mod hostile;
pub mod html;
pub mod human;
pub mod json;
pub mod junit;
pub mod markdown;
mod model;
pub mod output;
pub mod tap;
pub mod text;

pub use model::{CheckResult, MachineInfo, NotTested, PhaseTime, Report, Stage, Status, TargetInfo, Verdict};
