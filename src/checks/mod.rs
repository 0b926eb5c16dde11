//! Judging, pure: promises and facts in, verdicts out. No I/O.

pub mod catalog;
pub mod text;
