//! The report: one writer a format, and the progress display.
//!
//! [`mod@format`] lists the formats; a new one is a file, and a variant there. A new field of the report is one of
//! [`crate::model::report`]; JSON has it by itself, each other writer only where it is added. Each writer takes the
//! reports of one machine or of several. All but `human` and `json` take a report
//! as a suite (`case`), so that they agree on what is a failure; `evidence` reads the artifacts that a page
//! embeds. `hostile` is their common test.
//!
//! What a user sees is in `snapshots/`: `INSTA_UPDATE=always cargo test --lib` (a judge's words: `--test facts`) accepts a change
//! of it, to be seen in the diff.

pub(crate) mod board;
mod case;
pub(crate) mod comparison;
pub mod display;
mod evidence;
#[cfg(test)]
pub(crate) mod examples;
pub mod format;
mod github;
#[cfg(test)]
mod hostile;
pub mod html;
mod human;
pub mod json;
mod junit;
pub(crate) mod markdown;
pub mod matrix;
pub mod output;
mod switch;
mod tap;
pub(crate) mod text;
