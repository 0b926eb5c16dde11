//! A switch that is rehearsed (`try --switch`), as far as the report names it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When in a rehearsed switch something was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MachinePhase {
    /// The configuration that is switched from, freshly booted.
    Fresh,
    /// After the switch to the target.
    Switched,
    /// After the switch back.
    Back,
    /// The target, booted from the same disk.
    Rebooted,
}

impl MachinePhase {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Fresh, Self::Switched, Self::Back, Self::Rebooted];

    /// One word, as in the report and as the name of its artifacts' directory.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Switched => "switched",
            Self::Back => "back",
            Self::Rebooted => "rebooted",
        }
    }

    /// In words that can stand before a cause.
    pub const fn when(self) -> &'static str {
        match self {
            Self::Fresh => "before the switch",
            Self::Switched => "after the switch",
            Self::Back => "after switching back",
            Self::Rebooted => "after a reboot",
        }
    }
}

impl fmt::Display for MachinePhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A switch that was rehearsed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SwitchReport {
    /// What was switched from, for people: `HEAD (1a2b3c4)`.
    pub from: String,
    /// The configuration: `git+file:///…?rev=…#nixosConfigurations.laptop`.
    pub resolved: String,
    /// Its revision, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Both are the same system: there was nothing to rehearse, and nothing was booted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub identical: bool,
    /// How many store paths the VM's store did not show, and were sent to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_paths: Option<usize>,
    /// How many bytes that were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_bytes: Option<u64>,
    /// How long that took, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_seconds: Option<f64>,
    /// How long each record of the machine's state took, in seconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub record_seconds: Vec<f64>,
    /// Why it takes a reboot until all of the target is in force: another kernel, another initrd.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reboot: Vec<String>,
    /// Each run of the switch program, in order: to the target, to the target once more, back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<SwitchRunInfo>,
}

/// One run of `switch-to-configuration test`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SwitchRunInfo {
    /// After it the machine was in this phase.
    pub phase: MachinePhase,
    /// The exit code; `None` where the program did not end by itself.
    pub exit: Option<i32>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What `dry-activate` had announced; `None` where it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced: Option<UnitActions>,
    /// What PID 1 did to units meanwhile, as its journal says.
    #[serde(default, skip_serializing_if = "UnitActions::is_empty")]
    pub happened: UnitActions,
    /// The last lines that it wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
}

/// What is done to which units.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UnitActions {
    /// Stopped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stopped: Vec<String>,
    /// Started.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub started: Vec<String>,
    /// Restarted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub restarted: Vec<String>,
    /// Reloaded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reloaded: Vec<String>,
}

impl UnitActions {
    /// Whether nothing is done.
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }

    /// All units to which something is done, each list in its order.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        [&self.stopped, &self.started, &self.restarted, &self.reloaded].into_iter().flatten().map(String::as_str)
    }
}

/// How many of each: `2 restarted, 1 started`.
impl fmt::Display for UnitActions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stopped, started, restarted, reloaded } = self;
        let parts = [(restarted, "restarted"), (reloaded, "reloaded"), (started, "started"), (stopped, "stopped")];
        let told =
            parts.iter().filter(|(units, _)| !units.is_empty()).map(|(units, what)| format!("{} {what}", units.len()));
        let told: Vec<String> = told.collect();
        f.write_str(if told.is_empty() { "no unit was touched" } else { "" })?;
        f.write_str(&told.join(", "))
    }
}
