//! The runner, `bin/run-NAME-vm`, and the store that it lies in.

use std::path::{Path, PathBuf};

use super::Evaluated;
use super::command::Nix;
use super::store::{Store, store_path_of};
use super::target::Target;
use crate::failure::{Failure, Result};

/// The runner's script and the store that it lies in, where it is there already, before anything is built.
pub fn runner_of(target: &Target, evaluated: &Evaluated, nix: &Nix) -> Option<(PathBuf, Store)> {
    let out = match (target, &evaluated.runner) {
        (Target::Runner { script }, _) => {
            let store = store_path_of(script).map(|path| Store::of(&path, nix)).unwrap_or_default();
            return Some((script.clone(), store));
        }
        (_, runner) => PathBuf::from(runner.as_ref()?.out_path.as_ref()?),
    };
    let store = Store::of(&out, nix);
    Some((script_in(&out, &store).ok()??, store))
}

/// The one `bin/run-*-vm` below a directory, by its logical path. `None` when there is none.
///
/// # Errors
/// When there are several.
pub(crate) fn script_in(directory: &Path, store: &Store) -> Result<Option<PathBuf>> {
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(store.physical(directory).join("bin"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name())
        .filter(|name| is_runner_name(&name.to_string_lossy()))
        .map(|name| directory.join("bin").join(name))
        .collect();
    scripts.sort();
    match scripts.len() {
        0 | 1 => Ok(scripts.pop()),
        _ => {
            let names: Vec<_> = scripts.iter().map(|script| script.display().to_string()).collect();
            Err(Failure::usage(format!("{} has several VMs", directory.display()))
                .hint(format!("name one of: {}", names.join(", "))))
        }
    }
}

/// `run-NAME-vm`, or disko's, which makes its disks and starts one (lib/interactive-vm.nix of disko).
pub(crate) fn is_runner_name(name: &str) -> bool {
    name.starts_with("run-") && name.ends_with("-vm") || name == "disko-vm"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_runners_are_runners() {
        assert!(is_runner_name("run-nixos-vm") && is_runner_name("disko-vm"));
        assert!(!is_runner_name("run-nixos"));
        let directory = tempfile::tempdir().unwrap();
        let store = Store::default();
        assert_eq!(script_in(directory.path(), &store).unwrap(), None);
        std::fs::create_dir(directory.path().join("bin")).unwrap();
        std::fs::write(directory.path().join("bin/run-a-vm"), "").unwrap();
        assert_eq!(script_in(directory.path(), &store).unwrap(), Some(directory.path().join("bin/run-a-vm")));
        std::fs::write(directory.path().join("bin/run-b-vm"), "").unwrap();
        assert_eq!(script_in(directory.path(), &store).unwrap_err().exit, crate::model::Exit::Usage);
    }
}
