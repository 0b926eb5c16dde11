//! The report: the model, and one writer a format.

mod model;

pub use model::{CheckResult, MachineInfo, NotTested, PhaseTime, Report, Stage, Status, TargetInfo, Verdict};
