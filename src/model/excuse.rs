//! Why something was not tested: an excuse, which cannot be written without a witness.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a VM lacks, or what else leaves something untested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Lack {
    /// Something outside of the machine, which `--network off` keeps away.
    Outside,
    /// A device, a driver's node, a network card by the name that it has on the real machine, a GPU.
    Hardware,
    /// State that only the real machine's disk has.
    State,
    /// A secret that only the real machine has, or can decrypt.
    Secret,
    /// A disk of the real machine, or what is on it.
    Disk,
    /// Nothing: the configuration itself leaves it open, or leaves it out.
    Choice,
}

impl Lack {
    /// Whether the real machine has what the VM lacks: what was not tested may still be broken there.
    pub const fn is_of_vm(self) -> bool {
        !matches!(self, Self::Choice)
    }
}

/// What shows that it is so: never a name alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Witness {
    /// What the guest sent, as it arrived at its network card: the name it asked for, or the address it called.
    Packet {
        /// `updates.example.org`, `1.1.1.1:443/tcp`.
        to: String,
    },
    /// A path under /dev or /sys that is not there, which the unit needs.
    Device {
        /// The path.
        path: String,
    },
    /// A path outside of /dev, /sys and the store that a fresh disk lacks, and that nothing of the configuration makes.
    Path {
        /// The path.
        path: String,
    },
    /// A network card that the configuration names, and that is not there.
    Card {
        /// Its name.
        name: String,
    },
    /// A condition of a unit that was not met.
    Condition {
        /// As systemd writes it: `ConditionPathExists=/dev/kvm`.
        condition: String,
    },
    /// What the configuration says: an option, or what it was evaluated to.
    Option {
        /// `users.mutableUsers`.
        option: String,
    },
    /// A state of the guest's that was read: of a unit, a card, an account.
    State {
        /// In words.
        state: String,
    },
    /// A line that the unit itself, or another program, wrote.
    Line {
        /// The line.
        line: String,
    },
}

/// How much a witness proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// A program's words, which may mean something else.
    Likely,
    /// What was observed, not only said.
    Proven,
}

impl Witness {
    /// How much it proves.
    pub const fn grade(&self) -> Grade {
        match self {
            Self::Line { .. } => Grade::Likely,
            _ => Grade::Proven,
        }
    }

    /// A line of the guest's.
    pub fn line(line: impl Into<String>) -> Self {
        Self::Line { line: line.into() }
    }

    /// A state of the guest's.
    pub fn state(state: impl Into<String>) -> Self {
        Self::State { state: state.into() }
    }

    /// What the configuration says.
    pub fn option(option: impl Into<String>) -> Self {
        Self::Option { option: option.into() }
    }
}

/// Why a failure is not the configuration's, or why something could not be tested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excuse {
    lack: Lack,
    witness: Witness,
    why: String,
}

impl Excuse {
    /// What is lacking, what shows it, and both in words that can follow the name of a unit.
    pub fn new(lack: Lack, witness: Witness, why: impl Into<String>) -> Self {
        Self { lack, witness, why: why.into() }
    }

    /// What is lacking.
    pub const fn lack(&self) -> Lack {
        self.lack
    }

    /// What shows it.
    pub const fn witness(&self) -> &Witness {
        &self.witness
    }

    /// The same for what depends on it: `needs dev-tty.device: …`.
    #[must_use]
    pub fn through(self, before: impl fmt::Display) -> Self {
        Self { why: format!("{before}: {}", self.why), ..self }
    }

    /// The same with its text, which may be a guest's, made fit to be shown.
    #[must_use]
    pub fn cleaned(self, clean: impl Fn(&str) -> String) -> Self {
        let witness = match self.witness {
            Witness::Packet { to } => Witness::Packet { to: clean(&to) },
            Witness::Device { path } => Witness::Device { path: clean(&path) },
            Witness::Path { path } => Witness::Path { path: clean(&path) },
            Witness::Card { name } => Witness::Card { name: clean(&name) },
            Witness::Condition { condition } => Witness::Condition { condition: clean(&condition) },
            Witness::Option { option } => Witness::Option { option: clean(&option) },
            Witness::State { state } => Witness::State { state: clean(&state) },
            Witness::Line { line } => Witness::Line { line: clean(&line) },
        };
        Self { why: clean(&self.why), witness, ..self }
    }

    /// The same with these words.
    #[must_use]
    pub fn in_words(self, why: impl Into<String>) -> Self {
        Self { why: why.into(), ..self }
    }
}

/// In words.
impl fmt::Display for Excuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// Something that was not tested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotTested {
    /// A unit, a path, a kind of hardware.
    pub what: String,
    /// Why, with the evidence, in words.
    pub why: String,
    /// What is lacking.
    pub lack: Lack,
    /// How much the witness proves.
    pub grade: Grade,
    /// What shows it.
    pub witness: Witness,
    /// How that compares with the baseline, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<super::Change>,
}

impl NotTested {
    /// Makes an entry of an excuse.
    pub fn new(what: impl Into<String>, excuse: Excuse) -> Self {
        let Excuse { lack, witness, why } = excuse;
        Self { what: what.into(), why, lack, grade: witness.grade(), witness, change: None }
    }

    /// The excuse that it was made of.
    pub fn excuse(&self) -> Excuse {
        Excuse { lack: self.lack, witness: self.witness.clone(), why: self.why.clone() }
    }

    /// Whether a pass leaves it open: only the real machine can show it, and it was not so before the change.
    pub fn is_open(&self) -> bool {
        self.lack.is_of_vm() && self.change != Some(super::Change::Same)
    }
}
