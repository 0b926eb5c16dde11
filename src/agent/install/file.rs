//! A file of somebody's that is read, and written whole or not at all: through links, never instead of them.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};

/// A file as it was found.
#[derive(Debug)]
pub(super) struct Found {
    /// As it was named.
    pub(super) path: PathBuf,
    /// What it holds; `None` where there is none.
    pub(super) text: Option<String>,
    /// Where it really is: links are followed.
    place: PathBuf,
    mode: Option<u32>,
}

impl Found {
    /// Reads a file, if there is one.
    ///
    /// # Errors
    /// This host's (exit 5), and usage for what is no text or no file.
    pub(super) fn read(path: PathBuf) -> Result<Self> {
        let place = followed(&path)?;
        let found = match fs::metadata(&place) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Self { path, text: None, place, mode: None });
            }
            Err(error) => return Err(Failure::host(format!("{} cannot be read", path.display())).why(error)),
            Ok(found) if !found.is_file() => {
                return Err(Failure::usage(format!("{} is no file", path.display())).why("nothing was changed"));
            }
            Ok(found) => found,
        };
        let text =
            fs::read(&place).map_err(|error| Failure::host(format!("{} cannot be read", path.display())).why(error))?;
        let text = String::from_utf8(text).map_err(|_bytes| {
            Failure::usage(format!("{} is no text in UTF-8", path.display())).why("nothing was changed")
        })?;
        Ok(Self { path, text: Some(text), place, mode: Some(found.permissions().mode() & 0o7777) })
    }

    /// Whether it may be written to, as its owner says.
    pub(super) fn is_read_only(&self) -> bool {
        self.mode.is_some_and(|mode| mode & 0o222 == 0)
    }

    /// Writes it: beside its place first, then into its place. It keeps its mode; a new one gets `mode`, less what the
    /// umask takes.
    ///
    /// # Errors
    /// This host's (exit 5). Nothing was written then.
    pub(super) fn write(&self, text: &str, mode: u32) -> Result<()> {
        let failed =
            |error: std::io::Error| Failure::host(format!("{} cannot be written", self.path.display())).why(error);
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
            // Whatever the umask took.
            beside.as_file().set_permissions(permissions).map_err(failed)?;
        }
        // A full disk may say so only now.
        beside.as_file().sync_all().map_err(failed)?;
        self.is_as_found()?;
        match self.mode {
            Some(_) => beside.persist(&self.place).map_err(|error| failed(error.error))?,
            None => beside.persist_noclobber(&self.place).map_err(|error| failed(error.error))?,
        };
        Ok(())
    }

    /// Removes it.
    ///
    /// # Errors
    /// This host's (exit 5).
    pub(super) fn remove(&self) -> Result<()> {
        self.is_as_found()?;
        fs::remove_file(&self.place)
            .map_err(|error| Failure::host(format!("{} cannot be removed", self.path.display())).why(error))
    }

    /// Somebody may have written to it meanwhile: that is not to be lost.
    fn is_as_found(&self) -> Result<()> {
        let now = fs::read(&self.place).ok();
        if now.as_deref() == self.text.as_ref().map(String::as_bytes) {
            Ok(())
        } else {
            Err(Failure::host(format!("{} was changed meanwhile", self.path.display())).hint("try again"))
        }
    }
}

/// Where a path leads, also where the last of its links leads to nothing yet.
fn followed(path: &Path) -> Result<PathBuf> {
    const MOST: usize = 40;
    let mut place = path.to_owned();
    for _ in 0..MOST {
        match fs::read_link(&place) {
            Ok(to) => place = place.parent().unwrap_or(Path::new("/")).join(to),
            Err(_) => return Ok(place),
        }
    }
    Err(Failure::usage(format!("{} is a link to itself", path.display())))
}
