//! Which configuration a run is held against: the one before the change.

use std::path::Path;

use super::reference::at_commit;
use crate::failure::{Failure, Result};
use crate::git;
use crate::nix::{Flake, Target};

/// What `--baseline` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum BaselineChoice {
    /// The last commit, for a tree with changes; else the one before.
    #[default]
    Auto,
    /// None.
    Off,
    /// What this NixOS runs, by the revision that it says it was built from.
    Current,
    /// A revision of the flake's repository, or another target.
    Named(String),
}

impl BaselineChoice {
    /// What a user wrote.
    pub fn parse(written: &str) -> Self {
        match written {
            "auto" => Self::Auto,
            "off" => Self::Off,
            "current" => Self::Current,
            other => Self::Named(other.to_owned()),
        }
    }
}

/// What a run is held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BaselineTarget {
    /// As an argument of `nixbox try`.
    pub(crate) typed: String,
    /// Its commit, where it is known.
    pub(crate) revision: Option<String>,
    /// What it is, for people: `HEAD (1a2b3c4)`.
    pub(crate) shown: String,
    /// Whether there is a change to judge: somebody asked for the comparison, or the tree has changes.
    pub(crate) is_of_change: bool,
}

/// What a target is held against; `None` where there is nothing.
///
/// # Errors
/// Usage (exit 2): a baseline that was asked for and is not there.
pub(crate) fn baseline(choice: &BaselineChoice, target: &Target) -> Result<Option<BaselineTarget>> {
    match choice {
        BaselineChoice::Off => Ok(None),
        BaselineChoice::Auto => Ok(automatic(target)),
        BaselineChoice::Current => current(BASELINE, target).map(Some),
        BaselineChoice::Named(named) => named_baseline(BASELINE, named, target).map(Some),
    }
}

/// What a target is switched from. Where nothing is said, the last commit.
///
/// # Errors
/// Usage (exit 2): it is not there.
pub(crate) fn switch_from(choice: &BaselineChoice, target: &Target) -> Result<BaselineTarget> {
    match choice {
        BaselineChoice::Current => current(SWITCH, target),
        BaselineChoice::Named(named) => named_baseline(SWITCH, named, target),
        BaselineChoice::Auto | BaselineChoice::Off => named_baseline(SWITCH, "HEAD", target),
    }
}

/// The flag that names a configuration to compare with.
const BASELINE: &str = "--baseline";
/// The flag that names a configuration to switch from.
const SWITCH: &str = "--switch";

/// What this NixOS runs, as far as it says which revision that is.
fn current(flag: &str, target: &Target) -> Result<BaselineTarget> {
    let revision = running_revision(flag)?;
    let Some((flake, root)) = repository(target) else { return Err(no_repository(flag, "current", target)) };
    let commit = git::commit(root, &revision).ok_or_else(|| {
        Failure::usage(format!("the running system was built from {revision}, which is not in {}", root.display()))
            .hint(format!("fetch that commit, or name another revision: {flag}=HEAD~1"))
    })?;
    Ok(at(flake, root, target, &commit, "current", true))
}

fn named_baseline(flag: &str, named: &str, target: &Target) -> Result<BaselineTarget> {
    let repository = repository(target);
    if let Some((flake, root)) = repository
        && let Some(commit) = git::commit(root, named)
    {
        return Ok(at(flake, root, target, &commit, named, true));
    }
    let is_target = named.contains(['#', '/', ':']) || Path::new(named).exists();
    if is_target {
        return Ok(BaselineTarget {
            typed: named.to_owned(),
            revision: None,
            shown: named.to_owned(),
            is_of_change: true,
        });
    }
    match repository {
        Some((_, root)) => {
            Err(Failure::usage(format!("there is no revision {named:?} in {}", root.display())).hint(format!(
                "{flag} takes a revision (HEAD~1, main), a target (FLAKE#NAME){}",
                if flag == BASELINE { ", current, auto or off" } else { " or current" }
            )))
        }
        None => Err(no_repository(flag, named, target)),
    }
}

fn no_repository(flag: &str, named: &str, target: &Target) -> Failure {
    Failure::usage(format!("{flag}={named} is a revision, and {} is in no git repository here", target.resolved()))
        .hint(format!("name a target instead: {flag}=FLAKE#NAME"))
}

/// The local git work tree that a target is in, whichever of its commits it is.
fn repository(target: &Target) -> Option<(&Flake, &Path)> {
    let flake = target.flake()?;
    Some((flake, flake.git_root.as_deref()?))
}

fn automatic(target: &Target) -> Option<BaselineTarget> {
    let (flake, root) = repository(target)?;
    let head = git::commit(root, "HEAD")?;
    if git::may_differ(root) {
        return Some(at(flake, root, target, &head, "HEAD", true));
    }
    let before = git::commit(root, "HEAD~1")?;
    Some(at(flake, root, target, &before, "HEAD~1", false))
}

/// The same configuration in another commit.
fn at(flake: &Flake, root: &Path, target: &Target, commit: &str, named: &str, is_of_change: bool) -> BaselineTarget {
    let resolved = target.resolved();
    let attribute = resolved.rsplit_once('#').map_or("", |(_, attribute)| attribute);
    BaselineTarget {
        typed: format!("{}#{attribute}", at_commit(flake, root, commit)),
        revision: Some(commit.to_owned()),
        shown: format!("{named} ({})", &commit[..commit.len().min(7)]),
        is_of_change,
    }
}

/// The revision that the running NixOS says it was built from (`system.configurationRevision`).
fn running_revision(flag: &str) -> Result<String> {
    let cannot = |why: String| {
        Failure::usage(format!("{flag}=current: it is not known what this system was built from"))
            .why(why)
            .hint(format!("set system.configurationRevision = self.rev or null; or name a revision: {flag}=HEAD~1"))
    };
    let output = std::process::Command::new("nixos-version").arg("--json").stdin(std::process::Stdio::null()).output();
    let output = output.map_err(|error| cannot(format!("nixos-version cannot be started: {error}")))?;
    let version: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    match version["configurationRevision"].as_str() {
        Some(revision) if !revision.is_empty() => Ok(revision.trim_end_matches("-dirty").to_owned()),
        _ => Err(cannot("nixos-version --json names no configurationRevision".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::git::run;
    use crate::nix::VmVariant;

    fn host(root: &Path, dir: &str) -> Target {
        let flake = Flake::local(&root.join(dir), Some(root.to_owned()));
        Target::Host { flake, name: "laptop".to_owned(), specialisation: None, output: VmVariant::default() }
    }

    fn choose(written: &str, target: &Target) -> Result<Option<BaselineTarget>> {
        baseline(&BaselineChoice::parse(written), target)
    }

    #[test]
    fn the_commit_before_the_change() {
        let repository = tempfile::tempdir().unwrap();
        let root = repository.path();
        run(root, &["init", "--quiet"]);
        fs::create_dir(root.join("hosts")).unwrap();
        fs::write(root.join("hosts/flake.nix"), "1").unwrap();
        let target = host(root, "hosts");
        assert_eq!(choose("auto", &target).unwrap(), None, "no commit yet");
        run(root, &["add", "."]);
        run(root, &["commit", "--quiet", "-m", "one"]);
        assert_eq!(choose("auto", &target).unwrap(), None, "nothing before the first commit");
        fs::write(root.join("hosts/flake.nix"), "22").unwrap();
        let head = git::commit(root, "HEAD").unwrap();
        let dirty = choose("auto", &target).unwrap().unwrap();
        assert!(dirty.is_of_change);
        assert_eq!(dirty.shown, format!("HEAD ({})", &head[..7]));
        let url = format!("git+file://{}?dir=hosts&rev={head}#nixosConfigurations.laptop", root.display());
        assert_eq!(dirty.typed, url);
        run(root, &["commit", "--quiet", "-am", "two"]);
        let clean = choose("auto", &target).unwrap().unwrap();
        assert_eq!((clean.revision.as_deref(), clean.is_of_change), (Some(head.as_str()), false));
        assert_eq!(choose("off", &target).unwrap(), None);
        assert!(choose("HEAD~1", &target).unwrap().unwrap().is_of_change);
        assert_eq!(choose(".#other", &target).unwrap().unwrap().typed, ".#other");
        for wrong in ["no-such-branch", "--help"] {
            assert_eq!(choose(wrong, &target).unwrap_err().exit, crate::model::Exit::Usage, "{wrong}");
        }
    }

    #[test]
    fn what_is_in_no_repository_has_none() {
        let runner = Target::Runner { script: "/nix/store/x/bin/run-a-vm".into() };
        assert_eq!(choose("auto", &runner).unwrap(), None);
        assert_eq!(choose("HEAD", &runner).unwrap_err().exit, crate::model::Exit::Usage);
    }
}
