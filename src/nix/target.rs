//! What is tested.

use std::path::{Path, PathBuf};

use super::attributes::join;
use super::diagnosis::SourceTree;
use super::filter::ConfigurationName;
use super::flake::Flake;
use crate::failure::{Failure, Result};

/// Which of its virtual machines NixOS makes of a configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum VmVariant {
    /// `system.build.vm`: boots the kernel directly.
    #[default]
    Vm,
    /// `system.build.vmWithBootLoader`: boots from a disk.
    VmWithBootLoader,
    /// `system.build.vmWithDisko`: with the disks that disko makes.
    VmWithDisko,
}

/// What is tested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A configuration of a flake.
    Host {
        /// The flake.
        flake: Flake,
        /// Its name in `nixosConfigurations`.
        name: String,
        /// One of its specialisations; empty when it is still to be named.
        specialisation: Option<String>,
        /// Which of its virtual machines.
        output: VmVariant,
    },
    /// Another attribute of a flake: a runner's package, or something with a `config`.
    Attribute {
        /// The flake.
        flake: Flake,
        /// The attribute path, in nix's syntax.
        path: String,
    },
    /// A `configuration.nix`, evaluated with the nixpkgs on nix's search path.
    Configuration {
        /// The file, absolute.
        file: PathBuf,
    },
    /// A system in a file that is no flake, or a node of a hive.
    File {
        /// The file, absolute.
        file: PathBuf,
        /// The attribute path of the system in it, or below its `nixosConfigurations` or `nodes`.
        attribute: String,
    },
    /// A runner that was built already.
    Runner {
        /// `run-NAME-vm`, absolute; by its logical path when it is in the store.
        script: PathBuf,
    },
}

impl VmVariant {
    const ALL: [Self; 3] = [Self::Vm, Self::VmWithBootLoader, Self::VmWithDisko];

    /// The attribute of `config.system.build`.
    pub(crate) fn attribute(self) -> &'static str {
        match self {
            VmVariant::Vm => "vm",
            VmVariant::VmWithBootLoader => "vmWithBootLoader",
            VmVariant::VmWithDisko => "vmWithDisko",
        }
    }

    /// The variant of an attribute of `config.system.build`.
    pub(crate) fn of_attribute(attribute: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|variant| variant.attribute() == attribute)
    }
}

impl Target {
    /// A configuration of a flake, or a specialisation of one, by name.
    pub fn of(flake: &Flake, name: &ConfigurationName) -> Self {
        let ConfigurationName { host, specialisation } = name.clone();
        Self::Host { flake: flake.clone(), name: host, specialisation, output: VmVariant::default() }
    }

    /// With the disks that disko makes.
    ///
    /// # Errors
    /// Usage: only a configuration of a flake can be asked for them.
    pub(crate) fn with_disks(self) -> Result<Self> {
        match self {
            Self::Host { flake, name, specialisation, .. } => {
                Ok(Self::Host { flake, name, specialisation, output: VmVariant::VmWithDisko })
            }
            other => Err(Failure::usage(format!("--disks does not go with {}", other.name()))
                .why("disko's VM is looked for in a configuration of a flake: nixosConfigurations.NAME")
                .hint("leave --disks out, or name what its system.build.vmWithDisko was built to: ./result")),
        }
    }

    /// A short name: the configuration's, the attribute path, the file.
    pub fn name(&self) -> String {
        match self {
            Target::Host { name, specialisation: Some(specialisation), .. } => format!("{name}@{specialisation}"),
            Target::Host { name, .. } => name.clone(),
            Target::Attribute { path, .. } => self.node().map_or_else(|| path.clone(), str::to_owned),
            Target::File { attribute, .. } => attribute.clone(),
            Target::Configuration { file } => file.display().to_string(),
            Target::Runner { script } => {
                let file = script.file_name().unwrap_or_default().to_string_lossy();
                let name = file.strip_prefix("run-").and_then(|rest| rest.strip_suffix("-vm"));
                name.unwrap_or(&file).to_owned()
            }
        }
    }

    /// The whole installable or path, for a report.
    pub fn resolved(&self) -> String {
        match self {
            Target::Host { flake, name, specialisation, .. } => {
                let mut parts = vec!["nixosConfigurations", name];
                if let Some(specialisation) = specialisation {
                    parts.extend(["config", "specialisation", specialisation, "configuration"]);
                }
                format!("{}#{}", flake.shown(), join(&parts))
            }
            Target::Attribute { flake, path } => format!("{}#{path}", flake.shown()),
            Target::Configuration { file } => file.display().to_string(),
            Target::File { file, attribute } => format!("{}#{attribute}", file.display()),
            Target::Runner { script } => script.display().to_string(),
        }
    }

    /// A node of a flake's hive, whose nodes are modules (`colmena`) or evaluated (`colmenaHive`).
    pub(crate) fn node(&self) -> Option<&str> {
        let Target::Attribute { path, .. } = self else { return None };
        let node = path.strip_prefix("colmenaHive.nodes.").or_else(|| self.unevaluated_node())?;
        Some(node.trim_matches('"'))
    }

    /// The part of the path behind `colmena`, whose nodes are modules.
    pub(crate) fn unevaluated_node(&self) -> Option<&str> {
        let Target::Attribute { path, .. } = self else { return None };
        path.strip_prefix("colmena.").map(|node| node.trim_matches('"'))
    }

    /// The local directory that the target comes from: where `nixbox.toml` and `.nixbox` live.
    pub fn dir(&self) -> Option<&Path> {
        match self {
            Target::Host { flake, .. } | Target::Attribute { flake, .. } => flake.dir.as_deref(),
            Target::Configuration { file } | Target::File { file, .. } => file.parent(),
            Target::Runner { .. } => None,
        }
    }

    /// The flake, where there is one.
    pub fn flake(&self) -> Option<&Flake> {
        match self {
            Target::Host { flake, .. } | Target::Attribute { flake, .. } => Some(flake),
            Target::Configuration { .. } | Target::File { .. } | Target::Runner { .. } => None,
        }
    }

    /// The configuration's name, where the target is one of a flake: what per-host settings go by.
    pub fn host(&self) -> Option<&str> {
        match self {
            Target::Host { name, .. } => Some(name),
            Target::File { attribute, .. } => Some(attribute),
            _ => self.node(),
        }
    }

    /// Where its files come from, so that nix's messages can name them.
    pub(crate) fn source(&self) -> SourceTree {
        match self {
            Target::Configuration { file } | Target::File { file, .. } => {
                let directory = file.parent().map(Path::to_owned);
                SourceTree { root: directory.clone(), directory, is_git: false }
            }
            _ => self.flake().map(Flake::source).unwrap_or_default(),
        }
    }

    /// The installable of an attribute below the target's own value.
    pub(crate) fn installable(&self, below: &[String]) -> Option<String> {
        let (flake, own) = match self {
            Target::Host { flake, name, .. } => (flake, join(&["nixosConfigurations", name])),
            Target::Attribute { flake, path } => (flake, path.clone()),
            Target::Configuration { .. } | Target::File { .. } | Target::Runner { .. } => return None,
        };
        // It is not a value of the flake's.
        if self.unevaluated_node().is_some() {
            return None;
        }
        let attribute = if below.is_empty() { own } else { format!("{own}.{}", join(below)) };
        Some(flake.installable(&attribute))
    }
}
