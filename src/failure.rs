//! Why a run ended without checks being judged: what, why, what to do, where the log is, and the exit code.
//!
//! This is what is shown at the edge. Inside, errors are `anyhow`'s where they are only passed on, and typed where a
//! caller matches on them; [`Failure::because`] takes either and keeps it as the source.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::model::{CheckId, Exit, Report, Stage, Verdict};

/// A failure that ends a run. Texts are lower-case fragments; the advice stands on its own `hint:` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code, which also says whose fault it is.
    pub exit: Exit,
    /// The check that this failure stands for (`build.eval`, `boot.panic`), where there is one.
    pub check: Option<CheckId>,
    /// What did not work, one line.
    pub what: String,
    /// Why, as far as known: may be many lines (nix's error, the log's tail).
    pub why: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
    /// Where the whole story is.
    pub log: Option<PathBuf>,
    /// The error behind it, where there is one.
    pub(crate) source: Option<Source>,
}

/// An error that is shared by the copies of a failure. Two failures that say the same are equal, whatever is behind them.
#[derive(Debug, Clone)]
pub(crate) struct Source(Arc<anyhow::Error>);

impl PartialEq for Source {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Source {}

impl Failure {
    /// A failure with an exit code and what did not work.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, check: None, what: what.into(), why: None, hint: None, log: None, source: None }
    }

    /// The caller's mistake: exit 2.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// This host's or our own: exit 5. Never the configuration's.
    pub fn host(what: impl Into<String>) -> Self {
        Self::new(Exit::Unknown, what)
    }

    /// The configuration fails this check, with that check's exit code.
    pub fn check(check: CheckId, what: impl Into<String>) -> Self {
        Self { exit: check.exit(), check: Some(check), ..Self::new(Exit::Build, what) }
    }

    /// Interrupted by the user: exit 130.
    pub fn interrupted() -> Self {
        Self::new(Exit::Interrupted, "interrupted")
    }

    /// Whether that is what it is.
    pub fn is_interruption(&self) -> bool {
        self.exit == Exit::Interrupted
    }

    /// The stage that it ended: that of its check, where it stands for one.
    pub fn stage(&self) -> Option<Stage> {
        let by_exit = match self.exit {
            Exit::Build => Some(Stage::Build),
            Exit::Boot => Some(Stage::Boot),
            Exit::CheckFailed => Some(Stage::Check),
            Exit::Pass | Exit::Unknown => Some(Stage::Host),
            Exit::Usage | Exit::Interrupted => None,
        };
        self.check.map(CheckId::stage).or(by_exit)
    }

    /// Makes it the verdict of a report.
    pub fn decide(&self, report: &mut Report) {
        // A failure is never a pass, whatever it says of itself.
        let exit = if self.exit == Exit::Pass { Exit::Unknown } else { self.exit };
        report.verdict = match exit {
            Exit::Build | Exit::Boot | Exit::CheckFailed => Verdict::Fail,
            Exit::Pass | Exit::Unknown | Exit::Usage | Exit::Interrupted => Verdict::Unknown,
        };
        (report.stage, report.exit) = (self.stage(), exit.code());
        report.cause = Some(self.what.clone());
        report.detail = self.detail();
        report.hint.clone_from(&self.hint);
    }

    /// The reason without the lines at its head that [`Self::what`] says already.
    pub(crate) fn detail(&self) -> Option<String> {
        let why = self.why.as_deref()?;
        let said = essence(&self.what);
        let is_said = |line: &str| !essence(line).is_empty() && said.contains(&essence(line));
        let lines: Vec<&str> = why.lines().collect();
        // A list of one, of which that one is said.
        let is_head = |line: &str| line.trim() == "Failed assertions:";
        let repeated = match lines.as_slice() {
            [head, one, rest @ ..]
                if is_head(head) && is_said(one) && !rest.iter().any(|line| line.starts_with("- ")) =>
            {
                2
            }
            [first, ..] if is_said(first) => 1,
            _ => 0,
        };
        let rest = lines.into_iter().skip(repeated).skip_while(|line| line.trim().is_empty()).collect::<Vec<_>>();
        (!rest.is_empty()).then(|| if repeated == 0 { why.to_owned() } else { rest.join("\n") })
    }

    /// Adds the reason.
    #[must_use]
    pub fn why(mut self, why: impl fmt::Display) -> Self {
        self.why = Some(why.to_string());
        self
    }

    /// Adds the error behind it: its chain is the reason.
    #[must_use]
    pub fn because(mut self, error: impl Into<anyhow::Error>) -> Self {
        let error = error.into();
        self.why = Some(format!("{error:#}"));
        self.source = Some(Source(Arc::new(error)));
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

/// What a line says, without what differs between a headline and a list: dashes, marks at the end, what leads over.
fn essence(line: &str) -> String {
    let line = line.trim().trim_start_matches("- ").trim_start_matches("error: ");
    line.trim_end_matches("Definition values:").trim().trim_end_matches(['.', ':', ',']).to_owned()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(why) = self.detail() {
            if why.contains('\n') || self.why.as_deref() != Some(why.as_str()) {
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

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source.0 as &(dyn std::error::Error + 'static))
    }
}

/// What a stage returns.
pub type Result<T> = std::result::Result<T, Failure>;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn the_error_behind_it_is_kept() {
        use std::error::Error as _;

        let error = anyhow::Error::new(std::io::Error::other("no space")).context("write the disk");
        let failure = Failure::host("the machine could not be started").because(error);
        assert_eq!(failure.why.as_deref(), Some("write the disk: no space"));
        assert_eq!(failure.source().unwrap().source().unwrap().to_string(), "no space");
    }

    #[test]
    fn as_it_is_shown() {
        let failures = [
            Failure::interrupted(),
            Failure::usage("no configuration of . is called web").hint("there are: laptop, nas"),
            Failure::host("QEMU did not start").why("exit code 1").log("/tmp/qemu.log"),
            Failure::check(CheckId::BuildEval, "web does not evaluate")
                .why("error: undefined variable 'x'\nat /home/u/a.nix:1:2")
                .hint("define it")
                .log("/tmp/nix.log"),
        ];
        insta::assert_snapshot!(failures.map(|failure| failure.to_string()).join("\n\n"));
    }

    #[test]
    fn a_failure_says_the_verdict_and_the_stage() {
        let of = |failure: Failure| {
            let mut report = Report::new("x", SystemTime::UNIX_EPOCH);
            failure.decide(&mut report);
            (report.verdict, report.stage, report.exit)
        };
        assert_eq!(of(Failure::check(CheckId::BuildAttribute, "x")), (Verdict::Fail, Some(Stage::Evaluate), 3));
        assert_eq!(of(Failure::check(CheckId::BuildEval, "x")), (Verdict::Fail, Some(Stage::Evaluate), 3));
        assert_eq!(of(Failure::check(CheckId::BuildDerivation, "x")), (Verdict::Fail, Some(Stage::Build), 3));
        assert_eq!(of(Failure::new(Exit::Boot, "x")), (Verdict::Fail, Some(Stage::Boot), 4));
        assert_eq!(of(Failure::host("x")), (Verdict::Unknown, Some(Stage::Host), 5));
        assert_eq!(of(Failure::new(Exit::Pass, "x")), (Verdict::Unknown, Some(Stage::Host), 5));
        assert_eq!(of(Failure::usage("x")), (Verdict::Unknown, None, 2));
        assert_eq!(of(Failure::interrupted()), (Verdict::Unknown, None, 130));
    }
}
