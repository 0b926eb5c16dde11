//! What the user named, as a [`Target`] of nix.
//!
//! `FLAKE#NAME` is a NixOS configuration, else a package; `FLAKE#NAME@SPECIALISATION` is one of its specialisations;
//! a full attribute path is taken as it is; without a name it is this host's configuration, else the only one, else the
//! package `vm`. Also a store path or directory with one `bin/run-*-vm`, that script, a plain `configuration.nix`, and
//! `FILE.nix#NAME` for a system of a file that is no flake. A flake's hive of colmena's is looked into where it has no
//! configuration of that name.
//!
//! `parse` and `choose` are pure but for looking at the file system; [`resolve`] asks nix for names, once in the
//! usual case, not at all for a full path.

mod baseline;
mod choose;
mod reference;
mod shapes;

use std::path::{Path, PathBuf};

use ::nix::unistd::gethostname;

pub use self::baseline::BaselineChoice;
pub(crate) use self::baseline::{BaselineTarget, baseline, switch_from};
use self::choose::{RequestedName, Resolution, choose, full_path, unresolved};
pub(crate) use self::reference::{at_commit, git_root};
pub(crate) use self::shapes::instead;
use crate::event::Events;
use crate::failure::{Failure, Result};
use crate::nix::{self, Flake, Nix, Store, Target, VmVariant, attribute_names, components, join, local_path};
use crate::text::quote;

/// What was typed, as far as it is known without nix.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Parsed {
    /// Nothing more to ask.
    Target(Target),
    /// Something in a flake: a name, or nothing.
    Flake { flake: Flake, attribute: Option<String> },
}

/// Finds out what `named` means; `None` is the flake here.
///
/// # Errors
/// Exit 2 for a flake or path that does not exist, and when several configurations could be meant; exit 3
/// (`build.attribute`) for a name that is not in the flake, exit 3 (`build.eval`) when its names cannot be evaluated;
/// exit 5 for what this host cannot do.
pub async fn resolve(named: Option<&str>, nix: &Nix, events: &Events) -> Result<Target> {
    let (flake, attribute) = match parse(named.unwrap_or("."), nix, events)? {
        Parsed::Target(target) => return Ok(target),
        Parsed::Flake { flake, attribute } => (flake, attribute),
    };
    if let Some(target) = attribute.as_deref().and_then(|attribute| full_path(&flake, attribute)) {
        return Ok(target);
    }
    events.doing(format!("reading {}", flake.shown()));
    let configurations = attribute_names(&flake, "nixosConfigurations", nix, events).await?;
    let requested = RequestedName { attribute: attribute.as_deref(), host: &host_name() };
    if let Some(failure) = shapes::by_system(&flake, &configurations, nix, events).await {
        return Err(failure);
    }
    let resolution = match choose(&requested, &configurations, None) {
        Some(resolution) => resolution,
        None => {
            let packages = attribute_names(&flake, &join(&["packages", &nix.system()]), nix, events).await?;
            match choose(&requested, &configurations, Some(&packages)) {
                Some(resolution) => resolution,
                None => return other(&requested, &flake, &configurations, &packages, nix, events).await,
            }
        }
    };
    Ok(match resolution {
        Resolution::Host { name, specialisation } => {
            Target::Host { flake, name, specialisation, output: VmVariant::default() }
        }
        Resolution::Package(name) => Target::Attribute { flake, path: join(&["packages", &nix.system(), &name]) },
        Resolution::Path(path) => Target::Attribute { flake, path },
    })
}

/// A target in a flake of another shape, or what the flake has.
async fn other(
    requested: &RequestedName<'_>,
    flake: &Flake,
    configurations: &[String],
    packages: &[String],
    nix: &Nix,
    events: &Events,
) -> Result<Target> {
    if let Some(node) = shapes::node(requested, flake, nix, events).await? {
        return Ok(node);
    }
    let failure = unresolved(requested, flake, configurations, packages);
    if !configurations.is_empty() || !packages.is_empty() {
        return Err(failure);
    }
    let instead = shapes::instead(flake, nix, events).await;
    Err(Failure { hint: instead.or(failure.hint.clone()), ..failure })
}

/// What a name most likely means, without asking nix for the flake's names: `FLAKE#NAME` is a configuration. Where there
/// is none of that name ([`crate::model::CheckId::BuildAttribute`]), [`resolve`] says what else it is.
pub fn guess(named: Option<&str>, nix: &Nix) -> Option<Target> {
    let Parsed::Flake { flake, attribute: Some(attribute) } = parse(named?, nix, &Events::silent()).ok()? else {
        return None;
    };
    let [name] = &components(&attribute)[..] else { return None };
    let is_plain = !name.is_empty() && !attribute.contains('@');
    is_plain.then(|| Target::Host { flake, name: name.clone(), specialisation: None, output: VmVariant::default() })
}

/// The flake that `named` means, all of it; `None` is the one here.
///
/// # Errors
/// Exit 2 for a flake or path that does not exist, and for what is not a flake or only a part of one.
pub fn flake(named: Option<&str>, nix: &Nix) -> Result<Flake> {
    let typed = named.unwrap_or(".");
    match parse(typed, nix, &Events::silent())? {
        Parsed::Flake { flake, attribute: None } => Ok(flake),
        Parsed::Flake { flake, attribute: Some(attribute) } => {
            Err(Failure::usage(format!("{typed} is one output of a flake, not a flake")).hint(format!(
                "name the flake, and which of its configurations: {} --filter {}",
                quote(&flake.shown()),
                quote(&attribute)
            )))
        }
        Parsed::Target(target) => Err(Failure::usage(format!("{} is not a flake", target.resolved()))
            .hint("name a flake's directory or URL: its nixosConfigurations are what is tried")),
    }
}

/// The local flake that a name leads to, found without nix; `None` where it is anything else.
pub(crate) fn local_flake(named: &str, nix: &Nix) -> Option<Flake> {
    match parse(named, nix, &Events::silent()).ok()? {
        Parsed::Flake { flake, .. } => Some(flake),
        Parsed::Target(_) => None,
    }
}

/// The part of resolving that needs no nix.
fn parse(named: &str, nix: &Nix, events: &Events) -> Result<Parsed> {
    // A path is what exists, whatever its name looks like: `#` may be part of it.
    let here = nix.here();
    let whole = here.join(named);
    let (reference, attribute) = match named.split_once('#') {
        Some((reference, attribute)) if !whole.exists() => (reference, Some(attribute).filter(|text| !text.is_empty())),
        _ => (named, None),
    };
    // The flake's own directory may have a `#` in its name: then the last one is meant.
    let (reference, attribute) = match named.rsplit_once('#') {
        Some((longer, last)) if longer.contains('#') && attribute.is_some() && here.join(longer).exists() => {
            (longer, Some(last))
        }
        _ => (reference, attribute),
    };
    let attribute = attribute.map(str::to_owned);
    let reference = if reference.is_empty() { "." } else { reference };

    if reference::has_scheme(reference) && !here.join(reference).exists() {
        if let Some((path, _)) = local_path(reference)
            && !path.exists()
        {
            return Err(not_there(&path, named));
        }
        return Ok(Parsed::Flake { flake: remote(reference), attribute });
    }
    let path = here.join(reference);
    let store = Store::of(&path, nix);
    let physical = store.physical(&path);
    if !physical.exists() {
        if let Some((before, query)) = reference.split_once('?')
            && here.join(before).is_dir()
        {
            let directory = canonical(&here.join(before), &Store::default());
            return Ok(Parsed::Flake { flake: remote(&reference::with_query(&directory, query)), attribute });
        }
        // `x#y` may be in the registry; `./x#y` may not.
        if attribute.is_some() && reference::is_registry_name(reference) && physical.symlink_metadata().is_err() {
            return Ok(Parsed::Flake { flake: remote(reference), attribute });
        }
        return Err(not_there(&path, named));
    }
    if physical.is_file() {
        return match attribute {
            Some(attribute) if reference.ends_with(".nix") && !reference.ends_with("flake.nix") => {
                Ok(Parsed::Target(Target::File { file: canonical(&path, &store), attribute }))
            }
            _ => file(&path, &store).map(Parsed::Target),
        };
    }
    let logical = canonical(&path, &store);
    if attribute.is_none()
        && let Some(script) = nix::script_in(&logical, &store)?
    {
        return Ok(Parsed::Target(Target::Runner { script }));
    }
    let directory = canonical(&path, &Store::default());
    let configuration = directory.join("configuration.nix");
    if let Some(dir) = reference::search_up(&directory) {
        // Above is only second best.
        if dir == directory || !configuration.is_file() || attribute.is_some() {
            let git_root = reference::git_root(&dir);
            return Ok(Parsed::Flake { flake: Flake::local(&dir, git_root), attribute });
        }
    }
    if attribute.is_none() && configuration.is_file() {
        events.note(format!("there is no flake.nix in {}: configuration.nix is tested", directory.display()));
        return Ok(Parsed::Target(Target::Configuration { file: configuration }));
    }
    if let Some(entry) = shapes::ENTRIES.map(|name| directory.join(name)).into_iter().find(|file| file.is_file()) {
        if let Some(attribute) = attribute {
            return Ok(Parsed::Target(Target::File { file: entry, attribute }));
        }
        return Err(Failure::usage(format!(
            "there is no flake.nix in {}, but {}",
            directory.display(),
            entry.display()
        ))
        .hint(format!("name one of its systems: {}", quote(&format!("{}#NAME", entry.display())))));
    }
    Err(Failure::usage(format!("there is no flake.nix in {}", directory.display())).hint(
        "name a flake (FLAKE#NAME), a configuration.nix, or the result of building a VM; `nixbox init` makes a flake",
    ))
}

/// A flake that nix has to find. A `path:` or `git+file:` URL of a directory that is there is a local one, kept as typed.
fn remote(reference: &str) -> Flake {
    let mut flake = Flake::remote(reference);
    if reference.starts_with("git+file:") {
        flake.git_root = flake.dir.as_deref().and_then(reference::git_root);
    }
    flake
}

/// A file: a runner, a configuration, or a flake.nix.
fn file(path: &Path, store: &Store) -> Result<Target> {
    let logical = canonical(path, store);
    let name = logical.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if nix::is_runner_name(&name) {
        return Ok(Target::Runner { script: logical });
    }
    if name == "flake.nix" {
        let directory = logical.parent().unwrap_or(Path::new("/")).display().to_string();
        return Err(Failure::usage(format!("a flake is named by its directory, not by {}", path.display()))
            .hint(format!("name it: {}", quote(&format!("{directory}#NAME")))));
    }
    if name == "hive.nix" {
        return Err(Failure::usage(format!("{} is a hive: name one of its machines", path.display()))
            .hint(format!("name it: {}", quote(&format!("{}#NODE", path.display())))));
    }
    if name.ends_with(".nix") {
        return Ok(Target::Configuration { file: logical });
    }
    Err(Failure::usage(format!("{} is neither a configuration.nix nor a run-*-vm script", path.display())))
}

/// Without symbolic links, by its logical path: `./result` becomes `/nix/store/…`.
pub(crate) fn canonical(path: &Path, store: &Store) -> PathBuf {
    let mut path = path.to_owned();
    // A link into a relocated store leads to a place that is not there: follow it step by step.
    for _ in 0..16 {
        if let Ok(real) = store.physical(&path).canonicalize() {
            return store.logical(&real);
        }
        match std::fs::read_link(store.physical(&path)) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("/")).join(target),
            Err(_) => break,
        }
    }
    path
}

fn not_there(path: &Path, named: &str) -> Failure {
    let failure = Failure::usage(format!("{} does not exist", path.display()));
    let typed = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let siblings: Vec<String> = path
        .parent()
        .and_then(|parent| std::fs::read_dir(parent).ok())
        .into_iter()
        .flatten()
        .flatten()
        .take(1000)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let is_name = !named.contains('#') && reference::is_registry_name(named);
    let is_in_flake = path.parent().is_some_and(|parent| reference::search_up(parent).is_some());
    match crate::text::nearest(&typed, siblings.iter().map(String::as_str)) {
        Some(near) => failure.hint(format!("did you mean {}?", path.with_file_name(near).display())),
        None if is_name && is_in_flake => failure.hint(format!("for a configuration of the flake here: .#{named}")),
        None if is_name => failure.hint(
            "there is no flake.nix here either: name a flake (FLAKE#NAME), or make one: `nixbox init` lists what there is",
        ),
        None => failure.hint("name a flake (FLAKE#NAME), a configuration.nix, or the result of building a VM"),
    }
}

fn host_name() -> String {
    gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
