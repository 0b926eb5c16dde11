//! nix: evaluate and build, as [`crate::event::Event`]s and typed results.
//!
//! Two steps, since nix ends with 1 for an evaluation error and a failed build alike: [`evaluate()`] asks for everything
//! in one evaluation (the runner's and the host's derivations, and what the configuration expects), [`build()`] makes
//! both and holds them with garbage collector roots in the run directory. [`evaluate_many`] and [`build_many`] do the same
//! for many at once.

mod apply;
mod attributes;
mod build;
mod command;
mod diagnosis;
mod evaluate;
pub mod expectations;
mod export;
mod filter;
mod flags;
mod flake;
mod log;
mod log_file;
mod many;
mod path_info;
mod runner;
mod store;
mod target;
mod toplevel;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::apply::{apply_command, apply_command_from, reference, with_subcommand};
pub(crate) use self::attributes::{attribute_names, components, join};
pub use self::build::build;
pub use self::command::{Nix, NixOutput, OnFailure};
pub use self::diagnosis::SourceTree;
pub use self::evaluate::evaluate;
pub(crate) use self::export::ExportFormat;
pub use self::filter::{ConfigurationFilter, ConfigurationName, Shard};
pub use self::flags::NixFlags;
pub use self::flake::{Flake, encode};
pub(crate) use self::flake::{local_path, url_of};
pub use self::many::{ListedConfiguration, MatchedConfigurations, build_many, evaluate_many, names};
pub use self::path_info::PathInfo;
pub use self::runner::runner_of;
pub(crate) use self::runner::{is_runner_name, script_in};
pub use self::store::{Store, store_path_of};
pub use self::target::{Target, VmVariant};
pub use self::toplevel::build_toplevel;
use crate::failure::Failure;
pub use crate::model::STORE_DIR;
use expectations::Expectations;

/// Something to build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Derivation {
    /// `/nix/store/….drv`.
    #[serde(rename = "drv")]
    pub drv_path: String,
    /// Its first output, where it is known before building.
    #[serde(rename = "out")]
    pub out_path: Option<String>,
    /// Where it is below the target's own attribute.
    #[serde(default)]
    pub(in crate::nix) attr: Vec<String>,
}

/// What a target evaluates to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluated {
    /// The runner's derivation; `None` where the target is a runner already.
    pub runner: Option<Derivation>,
    /// The host's own system, where there is one.
    pub toplevel: Option<Derivation>,
    /// What the configuration expects. `known` is false where it could not be read.
    pub expectations: Expectations,
    /// Whether the flake's nixConfig was applied, and so has to be when building.
    pub(in crate::nix) applies_settings: bool,
    /// Whether an input was looked up, since no lock file names it: the same files may evaluate to something else then.
    #[serde(skip)]
    pub is_unlocked: bool,
}

/// What was built.
#[derive(Debug, Clone, PartialEq)]
pub struct Built {
    /// `bin/run-NAME-vm`, by its logical path: [`Store::physical`] says where its bytes are.
    pub runner: PathBuf,
    /// The store path that the runner is in; `None` for a script outside the store.
    pub runner_store_path: Option<PathBuf>,
    /// The runner's derivation, when nix built it.
    pub drv_path: Option<String>,
    /// The host's own system, when there is one.
    pub toplevel: Option<PathBuf>,
    /// The derivation of the host's own system, when there is one.
    pub toplevel_drv: Option<String>,
    /// What the configuration expects.
    pub expectations: Expectations,
    /// Where the store's files are.
    pub store: Store,
}

impl Failure {
    /// Says where the log is, when it is kept.
    fn at(self, log: Option<&Path>) -> Self {
        match log {
            Some(log) => self.log(log),
            None => self,
        }
    }
}
