//! The host's own system, evaluated and built without its VM.

use std::path::{Path, PathBuf};

use super::build::out_path;
use super::command::{Nix, OnFailure};
use super::diagnosis;
use super::evaluate::{as_toplevel, toplevel};
use super::target::Target;
use crate::event::Events;
use crate::failure::{Failure, Result};

/// Evaluates and builds `system.build.toplevel` of a target, or the package that it is; `root` holds it.
///
/// # Errors
/// Exit 3 for what does not evaluate or build, exit 5 for what this host could not do.
pub async fn build_toplevel(target: &Target, nix: &Nix, root: &Path, events: &Events) -> Result<PathBuf> {
    let (derivation, applies_settings) = toplevel(target, nix, events).await?;
    events.doing(format!("building {}", target.name()));
    let flake = target.flake().filter(|_| applies_settings);
    let output = match (flake, target.installable(&derivation.attr)) {
        (Some(flake), Some(installable)) => {
            nix.build_installables(&[installable], root, OnFailure::Stop, flake.directory(), events).await?
        }
        _ => nix.realise(&[&derivation.drv_path], root, OnFailure::Stop, events).await?,
    };
    if !output.status.success() {
        let failure = diagnosis::derivation(&output.log, &target.source(), &target.name(), None).at(nix.log_path());
        return Err(as_toplevel(failure).unwrap_or_else(|of_the_host| of_the_host));
    }
    out_path(&derivation, root, &[]).ok_or_else(|| Failure::host("nix built the system but did not report its path"))
}
