//! Which two systems are compared: named, defaulted, built.

use std::path::{Path, PathBuf};

use super::DiffRequest;
use crate::event::Events;
use crate::failure::{Failure, Result};
use crate::git;
use crate::machine::RunDir;
use crate::model::CheckId;
use crate::nix::{self, Nix, Store, Target};
use crate::resolve::{self, BaselineChoice};

/// NixOS says by this file that it is NixOS.
const IS_NIXOS: &str = "/etc/NIXOS";
const PROFILES: &str = "/nix/var/nix/profiles";

/// Two systems that are in the store.
pub(super) struct Toplevels {
    pub(super) from: PathBuf,
    pub(super) from_named: String,
    pub(super) to: PathBuf,
    pub(super) to_named: String,
    /// What the second was built from, where it was built.
    pub(super) target: Option<Target>,
    pub(super) notes: Vec<String>,
    /// Holds both against garbage collection for as long as they are compared.
    _roots: RunDir,
}

/// What was named: a system that is there, or something to build.
enum Named {
    Built(PathBuf),
    Target(Box<Target>),
}

/// Finds both, and builds what is not there.
pub(super) async fn toplevels(request: &DiffRequest, nix: &Nix, events: &Events) -> Result<Toplevels> {
    let (from, to) = order(request.from.as_deref(), request.to.as_deref(), nix);
    let Compared { side: to_side, shown: to_shown, here } = to_side(to, nix, events).await?;
    let mut notes = Vec::new();
    let of_tree = match (&here, &to_side) {
        (Some(here), _) => Some(here),
        (None, Named::Target(target)) => Some(&**target),
        (None, Named::Built(_)) => None,
    };
    let (from_side, from_named) = from_side(from, to, of_tree, nix, events, &mut notes).await?;
    let roots = RunDir::create()?;
    let from_path = build(&from_side, nix, &roots.file("gc-from"), events).await?;
    let to_path = build(&to_side, nix, &roots.file("gc-to"), events).await?;
    let to_named = match (&to_side, to_shown) {
        (_, Some(named)) => named,
        (Named::Target(target), None) => format!("{} as it is here", target.name()),
        (Named::Built(path), None) => path.display().to_string(),
    };
    let target = match to_side {
        Named::Target(target) => Some(*target),
        Named::Built(_) => None,
    };
    Ok(Toplevels { from: from_path, from_named, to: to_path, to_named, target, notes, _roots: roots })
}

/// What is compared.
struct Compared {
    side: Named,
    /// What it is called, where it was named.
    shown: Option<String>,
    /// The same in the tree here, where a revision was named: other revisions are found from it.
    here: Option<Target>,
}

/// What is compared, found.
async fn to_side(to: Option<&str>, nix: &Nix, events: &Events) -> Result<Compared> {
    if let Some(path) = to.and_then(|named| there(named, nix)) {
        return Ok(Compared { side: Named::Built(path), shown: to.map(str::to_owned), here: None });
    }
    let revision = to.filter(|named| generation(named).is_none() && is_revision(named, nix));
    let Some(revision) = revision else {
        let target = resolve::resolve(to, nix, events).await.map_err(|failure| missing_generation(to, failure))?;
        return Ok(Compared { side: Named::Target(Box::new(target)), shown: to.map(str::to_owned), here: None });
    };
    let here = resolve::resolve(None, nix, events).await?;
    let then = resolve::baseline(&BaselineChoice::Named(revision.to_owned()), &here)?;
    let then = then.ok_or_else(|| Failure::usage(format!("there is no {revision}")))?;
    let target = resolve::resolve(Some(&then.typed), nix, events).await?;
    Ok(Compared { side: Named::Target(Box::new(target)), shown: Some(then.shown), here: Some(here) })
}

/// One argument is what is compared with, unless it names a configuration: that is what is compared.
fn order<'a>(from: Option<&'a str>, to: Option<&'a str>, nix: &Nix) -> (Option<&'a str>, Option<&'a str>) {
    match (from, to) {
        (Some(one), None) if there(one, nix).is_none() && !is_revision(one, nix) => (None, Some(one)),
        both => both,
    }
}

/// Whether a word is a revision of the repository here.
fn is_revision(word: &str, nix: &Nix) -> bool {
    let is_word = !word.contains(['#', ':']) && !nix.here().join(word).exists();
    is_word
        && (generation(word).is_some()
            || resolve::git_root(nix.here()).is_some_and(|root| git::commit(&root, word).is_some()))
}

/// A generation of this system, `current`, `booted`.
fn generation(word: &str) -> Option<PathBuf> {
    match word {
        "current" => Some(super::CURRENT_SYSTEM.into()),
        "booted" => Some("/run/booted-system".into()),
        number if !number.is_empty() && number.len() < 8 && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(Path::new(PROFILES).join(format!("system-{number}-link")))
        }
        _ => None,
    }
}

/// The system that a name leads to, where it is there.
fn there(named: &str, nix: &Nix) -> Option<PathBuf> {
    let path = nix.here().join(named);
    let path = generation(named).filter(|_| !path.exists()).unwrap_or(path);
    let store = Store::of(&path, nix);
    toplevel_of(&resolve::canonical(&path, &store), &store)
}

/// A path's toplevel: itself, or that of a VM.
fn toplevel_of(path: &Path, store: &Store) -> Option<PathBuf> {
    let has = |path: &Path, name: &str| store.contains(&path.join(name));
    let is_toplevel =
        |path: &Path| has(path, "etc") && (has(path, "init") || has(path, "activate") || has(path, "nixos-version"));
    if nix::store_path_of(path).as_deref() != Some(path) {
        return None;
    }
    if is_toplevel(path) {
        return Some(path.to_owned());
    }
    // A VM has it beside its script (`virtualisation/qemu-vm.nix`).
    let system = resolve::canonical(&path.join("system"), store);
    (nix::store_path_of(&system).as_deref() == Some(&system) && is_toplevel(&system)).then_some(system)
}

/// What is compared with, and what it is called.
async fn from_side(
    from: Option<&str>,
    to: Option<&str>,
    target: Option<&Target>,
    nix: &Nix,
    events: &Events,
    notes: &mut Vec<String>,
) -> Result<(Named, String)> {
    if let Some(named) = from
        && let Some(path) = there(named, nix)
    {
        return Ok((Named::Built(path), named.to_owned()));
    }
    let named = match (from, target) {
        (Some(named), _) if generation(named).is_some() && !is_commit(named, nix) => {
            return Err(missing_generation(Some(named), Failure::usage(format!("{named} is not here"))));
        }
        (Some(named), _) => named,
        (None, target) if runs_here(target, to) => {
            let path = there("current", nix).ok_or_else(|| Failure::usage("the running system could not be read"))?;
            return Ok((Named::Built(path), "the running system".to_owned()));
        }
        (None, Some(_)) => "HEAD",
        (None, None) => {
            return Err(Failure::usage("there is nothing to compare with: this host does not run NixOS")
                .hint("name both: nixbox diff FROM TO"));
        }
    };
    let Some(target) = target else {
        let target = resolve::resolve(Some(named), nix, events).await?;
        return Ok((Named::Target(Box::new(target)), named.to_owned()));
    };
    let baseline = resolve::baseline(&BaselineChoice::Named(named.to_owned()), target)
        .map_err(|failure| reworded(failure, from))?;
    let baseline = baseline.ok_or_else(|| Failure::usage("there is nothing to compare with"))?;
    if from.is_none()
        && target.flake().and_then(|flake| flake.git_root.as_deref()).is_some_and(|root| !git::may_differ(root))
    {
        notes.push("nothing has changed since HEAD; to compare with an older commit: nixbox diff HEAD~1".to_owned());
    }
    let target = resolve::resolve(Some(&baseline.typed), nix, events).await?;
    Ok((Named::Target(Box::new(target)), baseline.shown))
}

fn is_commit(word: &str, nix: &Nix) -> bool {
    resolve::git_root(nix.here()).is_some_and(|root| git::commit(&root, word).is_some())
}

/// The words of `--baseline`, in which that failure is told.
fn reworded(failure: Failure, from: Option<&str>) -> Failure {
    let hint = "name what to compare with: a revision (HEAD~1), a target (FLAKE#NAME), a toplevel, a generation (42), current or booted";
    match from {
        Some(named) => {
            let what = failure.what.replace("--baseline ", "");
            let what = if what.contains(named) { what } else { format!("{named}: {what}") };
            Failure { what, ..failure }.hint(hint)
        }
        None => {
            Failure::usage("there is nothing to compare with: the configuration is in no git repository").hint(hint)
        }
    }
}

/// Whether this host runs NixOS, and it is its own configuration that is compared.
fn runs_here(target: Option<&Target>, to: Option<&str>) -> bool {
    if !Path::new(IS_NIXOS).exists() {
        return false;
    }
    let own = ::nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    to.is_none() || target.is_none_or(|target| target.host().is_none_or(|host| host == own))
}

fn missing_generation(named: Option<&str>, failure: Failure) -> Failure {
    match named.and_then(|named| generation(named).map(|path| (named, path))) {
        Some((named, path)) => {
            Failure::usage(format!("there is no {named} here: {} is not a NixOS system", path.display()))
                .hint("nixos-rebuild list-generations lists them")
        }
        None => failure,
    }
}

/// The toplevel, built where it is not there. A specialisation's is in its host's.
async fn build(side: &Named, nix: &Nix, root: &Path, events: &Events) -> Result<PathBuf> {
    let target = match side {
        Named::Built(path) => return Ok(path.clone()),
        Named::Target(target) => &**target,
    };
    if let Target::Runner { script } = target {
        let path = nix::store_path_of(script).unwrap_or_else(|| script.clone());
        let store = Store::of(&path, nix);
        return toplevel_of(&path, &store).ok_or_else(|| {
            Failure::usage(format!("{} names no system that could be compared", script.display()))
                .hint("name the toplevel itself: what system.build.toplevel is built to")
        });
    }
    let path = nix::build_toplevel(target, nix, root, events).await?;
    let store = Store::of(&path, nix);
    let top = toplevel_of(&path, &store)
        .ok_or_else(|| Failure::check(CheckId::BuildAttribute, format!("{} is no NixOS system", target.name())))?;
    let Target::Host { specialisation: Some(special), .. } = target else { return Ok(top) };
    let special = resolve::canonical(&top.join("specialisation").join(special), &store);
    toplevel_of(&special, &store)
        .ok_or_else(|| Failure::check(CheckId::BuildAttribute, format!("{} is not in its system", target.name())))
}
