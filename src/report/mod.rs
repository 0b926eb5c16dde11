//! The report: the model, one writer a format, the progress display, and where the evidence is kept.
//!
//! Each writer takes the reports of one machine or of several. Those for test results, `junit`, `tap`, `github`,
//! `markdown` and `html`, see a report as a suite (`case`), so that they agree on what is a failure; what a page shows
//! of a run's directory is read by `evidence`. `hostile` is their common test.

pub mod artifacts;
pub mod board;
mod case;
pub mod display;
mod evidence;
#[cfg(test)]
pub(crate) mod examples;
pub mod format;
pub mod github;
#[cfg(test)]
mod hostile;
pub mod html;
pub mod human;
pub mod json;
pub mod junit;
pub mod markdown;
pub mod matrix;
pub mod output;
pub mod tap;
pub mod text;
