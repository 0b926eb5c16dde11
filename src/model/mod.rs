//! The ground floor: what all rooms speak of. It imports nothing of ours.
//!
//! * [`check`]: the ids of checks, with one row for all there is to say about each
//! * [`report`]: the report, its verdict, and a check's result
//! * [`accel`]: what differs between accelerators
//! * [`agent`]: the coding agents
//! * [`machine`]: how a machine is run, as far as flags and the report name it
//! * [`change`]: how a finding compares with the baseline
//! * [`excuse`]: why something was not tested, with its witness
//! * [`switch`]: a switch that is rehearsed
//! * [`timeouts`]: how long is waited for what, and why
//! * [`unit_state`]: the states of systemd's units and jobs
//! * [`names`]: what is shared with the outside (exit codes, ports, credentials, files, schemas), each once

pub mod accel;
pub mod agent;
pub mod change;
pub mod check;
pub mod excuse;
pub mod machine;
pub mod names;
pub mod report;
pub mod switch;
pub mod timeouts;
pub mod unit_state;

pub use accel::{Accel, AccelChoice};
pub use agent::Agent;
pub use change::{Baseline, Change, Count, Found};
pub use check::{Applies, CheckId, CheckKind, CheckRow, UnknownCheck, Weight, is_script_name};
pub use excuse::{Excuse, Grade, Lack, NotTested, Witness};
pub use machine::{Credential, JailKind, NetworkPolicy, Protocol, TransportKind};
pub use names::*;
pub use report::{
    Cached, CheckResult, MachineInfo, OutsideAttempt, Phase, PhaseTime, Recorded, Report, Stage, Status, TargetInfo,
    Verdict,
};
pub use switch::{MachinePhase, SwitchReport, SwitchRunInfo, UnitActions};
pub use unit_state::{ActiveState, JobState, LoadState, ServiceType, SubState, UnitFileState, UnitResult};
