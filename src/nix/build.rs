//! One target: what was evaluated is built, and protected by garbage collector roots in the run directory.

use std::path::{Path, PathBuf};

use super::command::{Nix, NixOutput};
use super::diagnosis::{self, FailedDerivation};
use super::evaluate::as_toplevel;
use super::expectations::Expectations;
use super::runner::script_in;
use super::store::{STORE_DIR, Store, store_path_of};
use super::{Built, Derivation, Evaluated};
use crate::event::Events;
use crate::failure::{Failure, Result};
use crate::model::CheckId;
use crate::resolve::Target;

/// The name of the first root in the run directory; further ones have a number appended.
pub(super) const ROOT: &str = "gc-runner";

/// Builds what was evaluated. The roots are in `run_directory`, and are removed with it.
///
/// Where the host's own system fails to build, that is in [`Built::toplevel_failure`], and the VM runs all the same.
///
/// # Errors
/// `build.derivation` with the derivation that failed and the end of its log, `build.attribute` where what was built
/// is no VM (exit 3), or what this host could not do (exit 5).
pub async fn build(
    target: &Target,
    evaluated: Evaluated,
    nix: &Nix,
    run_directory: &Path,
    events: &Events,
) -> Result<Built> {
    let root = run_directory.join(ROOT);
    let Evaluated { runner, toplevel, mut toplevel_failure, expectations, applies_settings, is_unlocked: _ } =
        evaluated;
    let Some(runner) = runner else {
        let Target::Runner { script } = target else { return Err(Failure::host("there is nothing to build")) };
        return add_root(script, nix, &root, expectations, events).await;
    };
    events.doing(format!("building {}", target.name()));
    let source = target.source();
    let mut built_toplevel = None;

    let toplevel_drv = toplevel.as_ref().map(|toplevel| toplevel.drv_path.clone());
    // Both in one go: they share nearly everything.
    let toplevel = toplevel.filter(|toplevel| toplevel.drv_path != runner.drv_path);
    let installables = target.flake().filter(|_| applies_settings).map(|flake| flake.directory());
    let realise = async |toplevel: Option<&Derivation>| match installables {
        Some(directory) => build_installables(target, nix, &runner, toplevel, &root, directory, events).await,
        None => {
            let paths: Vec<&str> =
                std::iter::once(&runner).chain(toplevel).map(|derivation| derivation.drv_path.as_str()).collect();
            nix.realise(&paths, &root, events).await
        }
    };
    let output = realise(toplevel.as_ref()).await?;
    if output.status.success() {
        built_toplevel = toplevel.as_ref().and_then(|toplevel| out_path(toplevel, &root, &["2", "1"]));
    } else {
        let all = diagnosis::failed_derivations(&output.log);
        let failure = |failed: Option<&FailedDerivation>| {
            diagnosis::derivation(&output.log, &source, &target.name(), failed).at(nix.log_path())
        };
        let has_runner = runner.out_path.as_ref().map(Path::new).is_some_and(|out| Store::of(out, nix).contains(out));
        if toplevel.is_none() || !has_runner {
            // With several, the one that the runner needs.
            let needed = if all.len() > 1 { nix.requisites(&runner.drv_path).await } else { Vec::new() };
            return Err(failure(all.iter().find(|failed| needed.contains(&failed.drv))));
        }
        toplevel_failure = Some(as_toplevel(failure(None))?);
        // The runner is in the store already; this gives it a root.
        let output = realise(None).await?;
        if !output.status.success() {
            return Err(diagnosis::derivation(&output.log, &source, &target.name(), None).at(nix.log_path()));
        }
    }
    let out = out_path(&runner, &root, &[]);
    let mut built = built_runner(target, runner, out, expectations, nix)?;
    (built.toplevel, built.toplevel_drv, built.toplevel_failure) = (built_toplevel, toplevel_drv, toplevel_failure);
    Ok(built)
}

/// A runner that was built, without its host's own system.
pub(super) fn built_runner(
    target: &Target,
    runner: Derivation,
    out: Option<PathBuf>,
    expectations: Expectations,
    nix: &Nix,
) -> Result<Built> {
    let Some(out) = out else {
        return Err(Failure::host("nix built the runner but did not report its path"));
    };
    let store = Store::of(&out, nix);
    let script = script_in(&out, &store)?.ok_or_else(|| {
        Failure::check(CheckId::BuildAttribute, format!("{} is not a VM: it has no bin/run-*-vm", target.name()))
            .hint("name a NixOS configuration, or what its `system.build.vm` is")
    })?;
    Ok(Built {
        runner: script,
        runner_store_path: Some(out),
        drv_path: Some(runner.drv_path),
        toplevel: None,
        toplevel_drv: None,
        toplevel_failure: None,
        expectations,
        store,
    })
}

/// Builds by attribute: a flake's nixConfig (binary caches, most often) applies only to a command that reads the flake.
async fn build_installables(
    target: &Target,
    nix: &Nix,
    runner: &Derivation,
    toplevel: Option<&Derivation>,
    root: &Path,
    directory: Option<&Path>,
    events: &Events,
) -> Result<NixOutput> {
    let installables: Vec<String> =
        std::iter::once(runner).chain(toplevel).filter_map(|derivation| target.installable(&derivation.attr)).collect();
    nix.build_installables(&installables, root, directory, events).await
}

/// The output of a built derivation: as evaluated, else where the root with one of these numbers points.
pub(super) fn out_path(derivation: &Derivation, root: &Path, numbers: &[&str]) -> Option<PathBuf> {
    if let Some(out) = &derivation.out_path
        && out.starts_with(STORE_DIR)
    {
        return Some(PathBuf::from(out));
    }
    let link = |name: PathBuf| std::fs::read_link(name).ok();
    if numbers.is_empty() {
        return link(root.to_owned());
    }
    numbers.iter().find_map(|number| link(PathBuf::from(format!("{}-{number}", root.display()))))
}

/// A runner that exists already: it gets a root if it is in the store.
async fn add_root(script: &Path, nix: &Nix, root: &Path, expectations: Expectations, events: &Events) -> Result<Built> {
    let store_path = store_path_of(script);
    let store = store_path.as_deref().map(|path| Store::of(path, nix)).unwrap_or_default();
    if let Some(path) = &store_path {
        // Where nix cannot be run, nothing collects garbage either; a path that is not valid is the user's choice.
        let held = nix.realise(&[&path.to_string_lossy()], root, &Events::silent()).await;
        if held.is_ok_and(|answer| !answer.status.success()) {
            events.note(format!("{} is not protected from garbage collection", path.display()));
        }
    }
    Ok(Built {
        runner: script.to_owned(),
        runner_store_path: store_path,
        drv_path: None,
        toplevel: None,
        toplevel_drv: None,
        toplevel_failure: None,
        expectations,
        store,
    })
}
