//! One target: what was evaluated is built, and protected by garbage collector roots in the run directory.

use std::path::{Path, PathBuf};

use super::command::{Nix, NixOutput, OnFailure};
use super::evaluate::as_toplevel;
use super::expectations::Expectations;
use super::runner::script_in;
use super::store::{Store, store_path_of};
use super::target::Target;
use super::{Built, Derivation, Evaluated, diagnosis};
use crate::event::Events;
use crate::failure::{Failure, Result};
use crate::model::{CheckId, STORE_DIR};

/// The name of the first root in the run directory; further ones have a number appended.
pub(super) const ROOT: &str = "gc-runner";

/// Builds what was evaluated. The roots are in `run_directory`, and are removed with it.
///
/// # Errors
/// The first derivation that fails ends the build: `build.toplevel` where only the host's own system needs it, else
/// `build.derivation`, each with the derivation that failed and the end of its log; `build.attribute` where what was
/// built is no VM (exit 3), or what this host could not do (exit 5).
pub async fn build(
    target: &Target,
    evaluated: Evaluated,
    nix: &Nix,
    run_directory: &Path,
    events: &Events,
) -> Result<Built> {
    let root = run_directory.join(ROOT);
    let Evaluated { runner, toplevel, expectations, applies_settings, is_unlocked: _ } = evaluated;
    let Some(runner) = runner else {
        let Target::Runner { script } = target else { return Err(Failure::host("there is nothing to build")) };
        return add_root(script, nix, &root, expectations, events).await;
    };
    events.doing(format!("building {}", target.name()));
    let toplevel_drv = toplevel.as_ref().map(|toplevel| toplevel.drv_path.clone());
    // Both in one go: they share nearly everything.
    let toplevel = toplevel.filter(|toplevel| toplevel.drv_path != runner.drv_path);
    let flake = target.flake().filter(|_| applies_settings && target.installable(&runner.attr).is_some());
    let output = match flake {
        Some(flake) => {
            build_installables(target, nix, &runner, toplevel.as_ref(), &root, flake.directory(), events).await?
        }
        None => {
            let both = std::iter::once(&runner).chain(&toplevel);
            let paths: Vec<&str> = both.map(|derivation| derivation.drv_path.as_str()).collect();
            nix.realise(&paths, &root, OnFailure::Stop, events).await?
        }
    };
    if !output.status.success() {
        return Err(failure(target, &runner, toplevel.is_some(), &output, nix).await);
    }
    let built_toplevel = toplevel.as_ref().and_then(|toplevel| out_path(toplevel, &root, &["2", "1"]));
    let out = out_path(&runner, &root, &[]);
    let mut built = built_runner(target, runner, out, expectations, nix)?;
    (built.toplevel, built.toplevel_drv) = (built_toplevel, toplevel_drv);
    Ok(built)
}

/// Why a build failed. With several that failed at once it is the one that the runner needs.
async fn failure(target: &Target, runner: &Derivation, has_toplevel: bool, output: &NixOutput, nix: &Nix) -> Failure {
    let failed = diagnosis::failed_derivations(&output.log);
    let needed = if has_toplevel && !failed.is_empty() { nix.requisites(&runner.drv_path).await } else { Vec::new() };
    let of_runner = failed.iter().find(|failed| needed.contains(&failed.drv));
    let failure = diagnosis::derivation(&output.log, &target.source(), &target.name(), of_runner).at(nix.log_path());
    // Where the closure is not known, nobody is blamed but what failed.
    if needed.is_empty() || of_runner.is_some() {
        return failure;
    }
    as_toplevel(failure).unwrap_or_else(|of_the_host| of_the_host)
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
    nix.build_installables(&installables, root, OnFailure::Stop, directory, events).await
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
        let held = nix.realise(&[&path.to_string_lossy()], root, OnFailure::Stop, &Events::silent()).await;
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
        expectations,
        store,
    })
}
