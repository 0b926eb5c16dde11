//! A user's file, read and written as a whole or not at all. Symlinks are followed, never replaced.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};

/// A file as it was found.
#[derive(Debug)]
pub(super) struct TargetFile {
    /// Its path as it was given.
    pub(super) path: PathBuf,
    /// Its content; `None` if it does not exist.
    pub(super) text: Option<String>,
    /// Its real path, with symlinks followed.
    place: PathBuf,
    mode: Option<u32>,
}

impl TargetFile {
    /// Reads a file, if there is one.
    ///
    /// # Errors
    /// Exit 5 for this host, exit 2 for what is not UTF-8 text or not a regular file.
    pub(super) fn read(path: PathBuf) -> Result<Self> {
        let place = followed(&path)?;
        let unreadable =
            |error: std::io::Error| Failure::host(format!("{} cannot be read", path.display())).because(error);
        let refused =
            |what: &str| Failure::usage(format!("{} is not {what}", path.display())).why("nothing was changed");
        let mode = match fs::metadata(&place) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(unreadable(error)),
            Ok(found) if !found.is_file() => return Err(refused("a regular file")),
            Ok(found) => Some(found.permissions().mode() & 0o7777),
        };
        let text = mode.map(|_| fs::read_to_string(&place)).transpose().map_err(|error| match error.kind() {
            ErrorKind::InvalidData => refused("text in UTF-8"),
            _ => unreadable(error),
        })?;
        Ok(Self { path, text, place, mode })
    }

    /// Whether its mode permits no writing.
    pub(super) fn is_read_only(&self) -> bool {
        self.mode.is_some_and(|mode| mode & 0o222 == 0)
    }

    /// Writes it, by a temporary file that is renamed. It keeps its mode; a new one gets `mode`, less the umask.
    ///
    /// # Errors
    /// Exit 5 for this host. Nothing was written then.
    pub(super) fn write(&self, text: &str, mode: u32) -> Result<()> {
        let failed =
            |error: std::io::Error| Failure::host(format!("{} cannot be written", self.path.display())).because(error);
        let directory = self.place.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(directory).map_err(failed)?;
        let permissions = Permissions::from_mode(self.mode.unwrap_or(mode));
        let mut beside = tempfile::Builder::new()
            .prefix(".nixbox-")
            .permissions(permissions.clone())
            .tempfile_in(directory)
            .map_err(failed)?;
        beside.write_all(text.as_bytes()).map_err(failed)?;
        if self.mode.is_some() {
            // The umask does not apply to an existing file.
            beside.as_file().set_permissions(permissions).map_err(failed)?;
        }
        // A full disk may be reported only now.
        beside.as_file().sync_all().map_err(failed)?;
        self.is_as_found()?;
        let persisted = match self.mode {
            Some(_) => beside.persist(&self.place),
            None => beside.persist_noclobber(&self.place),
        };
        persisted.map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// Removes it.
    ///
    /// # Errors
    /// Exit 5 for this host.
    pub(super) fn remove(&self) -> Result<()> {
        self.is_as_found()?;
        fs::remove_file(&self.place)
            .map_err(|error| Failure::host(format!("{} cannot be removed", self.path.display())).because(error))
    }

    /// Whether it was changed meanwhile, which must not be overwritten.
    fn is_as_found(&self) -> Result<()> {
        let now = fs::read(&self.place).ok();
        if now.as_deref() == self.text.as_ref().map(String::as_bytes) {
            Ok(())
        } else {
            Err(Failure::host(format!("{} was changed in the meantime", self.path.display())).hint("run this again"))
        }
    }
}

/// The target of a path's symlinks, even if the last one is dangling.
fn followed(path: &Path) -> Result<PathBuf> {
    const MOST: usize = 40;
    let mut place = path.to_owned();
    for _ in 0..MOST {
        match fs::read_link(&place) {
            Ok(to) => place = place.parent().unwrap_or(Path::new("/")).join(to),
            Err(_) => return Ok(place),
        }
    }
    Err(Failure::usage(format!("{} is a symlink loop", path.display())))
}
