//! The screen, as QEMU sees it.

use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use qapi::qmp;

use super::qmp::{Qmp, QmpError};
use super::rundir;

/// Largest picture that is taken over, in bytes: 4K without compression has 33 MB, as PNG far less.
const PICTURE_LIMIT: u64 = 16 << 20;
/// What every PNG begins with (its specification, 5.2).
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
/// The file that QEMU writes, in the run directory: the jail shows it no other place.
const FILE: &str = "screen.png";

/// Has QEMU write the screen into the run directory and takes it over to `to`.
pub(super) async fn take(qmp: &Qmp, run_dir: &Path, to: &Path, limit: Duration) -> Result<(), QmpError> {
    let file = run_dir.join(FILE);
    drop(std::fs::remove_file(&file));
    let filename = file.to_str().ok_or_else(|| QmpError::Strange("the run directory's path is no text".into()))?;
    let command = qmp::screendump {
        device: None,
        format: Some(qmp::ImageFormat::png),
        head: None,
        filename: filename.to_owned(),
    };
    qmp.execute(&command, limit).await?;
    copy(&file, to).map_err(|error| QmpError::Strange(format!("the picture that it wrote: {error}")))
}

/// Copies a PNG that an untrusted program wrote.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut picture = Vec::new();
    rundir::open_regular(from)?.take(PICTURE_LIMIT + 1).read_to_end(&mut picture)?;
    if picture.len() as u64 > PICTURE_LIMIT {
        return Err(io::Error::other("it is too large"));
    }
    if !picture.starts_with(PNG) {
        return Err(io::Error::other("it is no PNG"));
    }
    std::fs::write(to, picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pictures_are_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::write(&from, "root:x:0:0").unwrap();
        assert!(copy(&from, &to).is_err());
        std::fs::write(&from, [PNG, b"..."].concat()).unwrap();
        copy(&from, &to).unwrap();
        std::fs::remove_file(&from).unwrap();
        std::os::unix::fs::symlink(&to, &from).unwrap();
        assert!(copy(&from, &dir.path().join("again")).is_err());
    }
}
