//! Where nixbox keeps files of its own, as the XDG base directory specification has it.

use std::path::PathBuf;

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
