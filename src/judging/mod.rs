//! What all judges share, and what the features that judge themselves ([`crate::desktop`], [`crate::audio`],
//! [`crate::switch`]) stand on. Pure; of the features it knows nothing, [`crate::checks`] brings them together.
//!
//! Where does a rule live?
//! * what is to be checked: `plan`, by which checks were asked for: `selection`
//! * what a judge works with, and what it makes of it: `context`; how far the machine came: `boot_state`
//! * why a unit failed, and what the root of a chain is: `unit`; how it ended, in words: `unit_ending`
//! * what an expected unit's state amounts to, the system's or a user's: `unit_assessment`, with `conditions`
//! * what programs say in the journal, and what it means: `journal_patterns`; how a line is held against such rows:
//!   `journal`
//! * what to do about a unit that failed: `advice`
//! * what the sandbox explains, and which evidence that takes: `sandbox`; what the outside has to do with it, by what was
//!   sent: `sandbox::outside`
//! * what host contention explains: `contention`
//! * how findings become one result: `finding`; a guest's text, made fit to be shown: `text`

pub(crate) mod advice;
pub(crate) mod boot_state;
mod conditions;
pub(crate) mod contention;
mod context;
mod error_line;
pub(crate) mod finding;
pub(crate) mod journal;
pub(crate) mod journal_patterns;
pub(crate) mod plan;
pub(crate) mod sandbox;
mod selection;
pub(crate) mod targets;
pub(crate) mod text;
pub(crate) mod unit;
pub(crate) mod unit_assessment;
mod unit_ending;

pub(crate) use boot_state::BootState;
pub use context::{Context, Judgement};
pub(crate) use context::{JudgeContext, MachineSeen};
pub(crate) use error_line::last_failure;
pub(crate) use finding::{Finding, compared, conclude};
pub use plan::{ExpectedPort, Plan, plan};
pub use selection::Selection;
