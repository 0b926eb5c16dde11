//! Where nixbox keeps files of its own, as the XDG base directory specification has it, and how one is replaced.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;
use etcetera::base_strategy::Xdg;

/// For what outlives a run: `$XDG_STATE_HOME/nixbox`. `None` without a home directory.
pub(crate) fn state_directory() -> Option<PathBuf> {
    Some(Xdg::new().ok()?.state_dir()?.join("nixbox"))
}

/// For what a run can do without: `$XDG_CACHE_HOME/nixbox`. `None` without a home directory.
pub(crate) fn cache_directory() -> Option<PathBuf> {
    Some(Xdg::new().ok()?.cache_dir().join("nixbox"))
}

/// Writes a file as a whole or not at all: until then, and for who reads it meanwhile, it is what it was.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut beside = tempfile::NamedTempFile::new_in(directory)?;
    beside.write_all(content)?;
    beside.persist(path).map_err(|error| error.error)?;
    Ok(())
}
