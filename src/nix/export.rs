//! Store paths as a stream, for a guest whose store does not show them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tokio::process::ChildStdout;

use super::command::{Nix, NixProcess};
use super::store::Store;
use crate::failure::{Failure, Result};
use crate::model::STORE_DIR;

/// How store paths are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExportFormat {
    /// As `nix-store --import` reads them.
    Nix,
    /// As tar reads them, by names below `nix/store`.
    Tar,
}

/// Store paths that are being written. Dropped, its program is ended.
pub(crate) struct Export {
    pub(crate) stream: ChildStdout,
    process: NixProcess,
}

impl Export {
    /// Waits for its program.
    ///
    /// # Errors
    /// This host's: it failed.
    pub(crate) async fn finish(mut self) -> Result<()> {
        drop(self.stream);
        match self.process.wait().await {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure::host(format!("store paths could not be read: {status}"))),
            Err(error) => Err(Failure::host("store paths could not be read").because(error)),
        }
    }
}

impl Nix {
    /// Writes store paths.
    ///
    /// # Errors
    /// This host's: nix or tar cannot be started.
    pub(crate) fn export(&self, paths: &[String], format: ExportFormat, store: &Store) -> Result<Export> {
        let (program, args) = match format {
            ExportFormat::Nix => {
                let mut args = vec![OsString::from("--export")];
                args.extend(self.flags.for_store());
                args.extend(paths.iter().map(OsString::from));
                ("nix-store", args)
            }
            ExportFormat::Tar => {
                let physical = store.physical(Path::new(STORE_DIR));
                let root = physical.ancestors().nth(2).map_or_else(|| PathBuf::from("/"), Path::to_owned);
                let mut args: Vec<OsString> = ["--create", "--owner=0", "--group=0", "--numeric-owner", "--directory"]
                    .map(OsString::from)
                    .to_vec();
                args.push(root.into());
                args.extend(paths.iter().map(|path| OsString::from(path.trim_start_matches('/'))));
                ("tar", args)
            }
        };
        let (stream, process) = self.start(program, &args)?;
        Ok(Export { stream, process })
    }
}
