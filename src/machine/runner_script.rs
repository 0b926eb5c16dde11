//! The runner's script: where it is behind links, and what its text says of the QEMU that it starts.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::spec::Traits;
use crate::failure::{Failure, Result};
use crate::model::STORE_DIR;

/// Most of a runner's script that is read, in bytes.
const SCRIPT_LIMIT: u64 = 1 << 20;

/// The script behind links: its name in the jail, and where it is on the host.
///
/// In a relocated store links name `/nix/store`, which is elsewhere on the host, so they are followed one by one.
pub(super) fn locate(runner: &Path, store: &Path) -> Result<(PathBuf, PathBuf)> {
    let missing =
        |error: std::io::Error| Failure::host(format!("the runner {} does not exist", runner.display())).because(error);
    let store = if store == Path::new(STORE_DIR) { store.to_owned() } else { store.canonicalize().map_err(missing)? };
    let on_host = |path: &Path| match path.strip_prefix(STORE_DIR) {
        Ok(rest) => store.join(rest),
        Err(_) => path.to_owned(),
    };
    let mut todo: Vec<OsString> = std::path::absolute(runner)
        .map_err(missing)?
        .components()
        .rev()
        .map(|component| component.as_os_str().to_owned())
        .collect();
    let mut at = PathBuf::new();
    let mut links = 0;
    while let Some(component) = todo.pop() {
        if component == ".." {
            at.pop();
            continue;
        }
        at.push(&component);
        let there = on_host(&at);
        if !at.starts_with(STORE_DIR) && Path::new(STORE_DIR).starts_with(&at) {
            // On the way into the store: it need not be there on the host.
            continue;
        }
        if !std::fs::symlink_metadata(&there).map_err(missing)?.is_symlink() || at == Path::new(STORE_DIR) {
            continue;
        }
        links += 1;
        if links > 40 {
            return Err(missing(std::io::Error::other("too many levels of symbolic links")));
        }
        at.pop();
        let target = std::fs::read_link(&there).map_err(missing)?;
        todo.extend(target.components().rev().map(|component| component.as_os_str().to_owned()));
    }
    let script = on_host(&at);
    Ok((at, script))
}

/// What the script says about the QEMU that it starts; disko's starts the runner that says it.
pub(super) fn read_traits(script: &Path, store: &Path) -> Result<Traits> {
    let text = text_of(script)?;
    let Some(runner) = started_by(&text, store) else { return Ok(Traits::scan(&text)) };
    Ok(Traits::scan(&text_of(&runner)?))
}

fn text_of(script: &Path) -> Result<String> {
    let mut text = Vec::new();
    std::fs::File::open(script)
        .and_then(|file| file.take(SCRIPT_LIMIT).read_to_end(&mut text))
        .map_err(|error| Failure::host(format!("the runner {} cannot be read", script.display())).because(error))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The runner that a script starts by the pattern `DIRECTORY/bin/run-*-vm`, on the host.
fn started_by(text: &str, store: &Path) -> Option<PathBuf> {
    let directory = text.split_whitespace().find_map(|word| word.strip_suffix("/run-*-vm"))?;
    let directory = Path::new(directory).strip_prefix(STORE_DIR).ok()?;
    let scripts = std::fs::read_dir(store.join(directory)).ok()?.flatten().map(|entry| entry.path());
    scripts.filter(|script| script.to_string_lossy().ends_with("-vm")).min().and_then(|script| {
        let logical = Path::new(STORE_DIR).join(directory).join(script.file_name()?);
        locate(&logical, store).ok().map(|(_, script)| script)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_is_found_behind_the_links_of_a_relocated_store() {
        let root = tempfile::tempdir().unwrap();
        let store = root.path().join("nix/store");
        std::fs::create_dir_all(store.join("b-script/bin")).unwrap();
        std::fs::create_dir_all(store.join("a-vm")).unwrap();
        std::fs::write(store.join("b-script/bin/run"), "-m 7").unwrap();
        std::os::unix::fs::symlink("/nix/store/b-script/bin", store.join("a-vm/bin")).unwrap();
        std::os::unix::fs::symlink("run", store.join("b-script/bin/run-x-vm")).unwrap();
        let result = root.path().join("result");
        std::os::unix::fs::symlink("/nix/store/a-vm", &result).unwrap();
        for runner in [Path::new("/nix/store/a-vm/bin/run-x-vm"), &result.join("bin/run-x-vm")] {
            let (runner, script) = locate(runner, &store).unwrap();
            assert_eq!(runner, Path::new("/nix/store/b-script/bin/run"));
            assert_eq!(script, store.canonicalize().unwrap().join("b-script/bin/run"));
            assert_eq!(read_traits(&script, &store).unwrap().memory_mib, Some(7));
        }
        std::os::unix::fs::symlink("loop", root.path().join("loop")).unwrap();
        assert!(locate(&root.path().join("loop"), &store).is_err());
        assert!(locate(Path::new("/nix/store/c/bin/run"), &store).is_err());
    }

    #[test]
    fn what_disko_starts_is_read() {
        let root = tempfile::tempdir().unwrap();
        let store = root.path().canonicalize().unwrap();
        for (file, text) in [
            ("a-disko-vm/bin/disko-vm", "set +f\n/nix/store/b-nixos-vm/bin/run-*-vm \"$@\"\n"),
            ("b-nixos-vm/bin/run-x-vm", "exec /bin/qemu-kvm -m 7\n"),
        ] {
            std::fs::create_dir_all(store.join(file).parent().unwrap()).unwrap();
            std::fs::write(store.join(file), text).unwrap();
        }
        let script = store.join("a-disko-vm/bin/disko-vm");
        assert_eq!(read_traits(&script, &store).unwrap().memory_mib, Some(7));
        std::fs::remove_dir_all(store.join("b-nixos-vm")).unwrap();
        assert_eq!(read_traits(&script, &store).unwrap(), Traits::default(), "it says nothing itself");
    }
}
