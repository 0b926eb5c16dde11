//! How a finding compares with the baseline: the configuration before the change.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a finding compares with the baseline's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// The baseline had it too, for the same cause.
    Same,
    /// The baseline had it too, for another cause.
    OtherCause,
    /// The baseline did not have it.
    New,
}

/// In words that can stand behind a finding.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => "new",
            Self::Same => "as before",
            Self::OtherCause => "failed before for another cause",
        })
    }
}

/// One thing that a check found wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Found {
    /// The unit, port, user, … that it is about.
    pub item: String,
    /// The cause, one line.
    pub summary: String,
    /// Lines that show it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detail: Vec<String>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// How it compares with the baseline, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
}

/// Which findings the verdict counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Count {
    /// All of them.
    #[default]
    All,
    /// Those that the baseline did not have.
    New,
}

/// What a run was compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Baseline {
    /// What it is, for people: `HEAD (1a2b3c4)`.
    pub name: String,
    /// The configuration: `git+file:///…?rev=…#nixosConfigurations.laptop`.
    pub resolved: String,
    /// Its revision, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Why there is nothing to compare with, where that is so: it does not evaluate, build, boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unusable: Option<String>,
    /// Whether a second machine was booted for it: not where its results were cached, or nothing differs.
    pub booted: bool,
    /// Where its artifacts are, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<std::path::PathBuf>,
    /// What the verdict counts.
    pub count: Count,
    /// What the baseline had and this has not: `services.failed-units: foo.service`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mended: Vec<String>,
}
