//! Why a run ended without checks being judged: what, why, what to do, where the log is, and the exit code.

use std::fmt;
use std::path::PathBuf;

use crate::names::Exit;

/// A failure that ends a run. Texts are lower-case fragments; the advice stands on its own `hint:` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code, which also says whose fault it is.
    pub exit: Exit,
    /// The id of the check that this failure stands for (`build.eval`, `boot.panic`), where there is one.
    pub check: Option<&'static str>,
    /// What did not work, one line.
    pub what: String,
    /// Why, as far as known: may be many lines (nix's error, the log's tail).
    pub why: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
    /// Where the whole story is.
    pub log: Option<PathBuf>,
}

impl Failure {
    /// A failure with an exit code and what did not work.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, check: None, what: what.into(), why: None, hint: None, log: None }
    }

    /// The caller's mistake: exit 2.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// This host's or our own: exit 5. Never the configuration's.
    pub fn host(what: impl Into<String>) -> Self {
        Self::new(Exit::Unknown, what)
    }

    /// The configuration does not evaluate or build: exit 3, for the check with this id.
    pub fn build(check: &'static str, what: impl Into<String>) -> Self {
        Self { check: Some(check), ..Self::new(Exit::Build, what) }
    }

    /// Interrupted by the user: exit 130.
    pub fn interrupted() -> Self {
        Self::new(Exit::Interrupted, "interrupted")
    }

    /// Adds the reason.
    #[must_use]
    pub fn why(mut self, why: impl fmt::Display) -> Self {
        self.why = Some(why.to_string());
        self
    }

    /// Adds the advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds where the log is.
    #[must_use]
    pub fn log(mut self, log: impl Into<PathBuf>) -> Self {
        self.log = Some(log.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(why) = &self.why {
            if why.contains('\n') {
                for line in why.lines() {
                    write!(f, "\n  {line}")?;
                }
            } else {
                write!(f, ": {why}")?;
            }
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        if let Some(log) = &self.log {
            write!(f, "\nlog: {}", log.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// What a stage returns.
pub type Result<T> = std::result::Result<T, Failure>;

/// The nearest of `known` to what was typed, if it is near enough to be meant.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(typed, name), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
