//! The screen, the pointer and the keyboard, over QMP.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use qapi::qmp;
use tokio::sync::Mutex;

use super::qmp::Qmp;
use super::rundir;
use crate::model::timeouts::machine::{KEY_PRESS, QMP_COMMAND_LIMIT};

/// Largest picture that is read, in bytes: 4K without compression has 33 MB, as PNG far less.
const PICTURE_LIMIT: u64 = 16 << 20;
/// What every PNG begins with (its specification, 5.2).
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
/// The file that QEMU writes, in the run directory: it can write nowhere else.
const FILE: &str = "screen.png";
/// The largest value of an absolute axis (QEMU's `INPUT_EVENT_ABS_MAX`).
const AXIS: f64 = 32767.0;

/// A machine's screen, for use beside other QMP commands. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Screen {
    qmp: Arc<Qmp>,
    run_dir: PathBuf,
    /// One picture at a time: they share a file.
    file: Arc<Mutex<()>>,
}

/// The keys that are pressed, by their place on an American keyboard (QEMU's `QKeyCode`).
pub use qapi::qmp::QKeyCode as Key;

impl Screen {
    pub(super) fn new(qmp: Arc<Qmp>, run_dir: PathBuf) -> Self {
        Self { qmp, run_dir, file: Arc::default() }
    }

    /// The screen as a PNG.
    ///
    /// # Errors
    /// When there is no screen, or QEMU does not write one.
    pub async fn picture(&self) -> Result<Vec<u8>> {
        let _one = self.file.lock().await;
        let file = self.run_dir.join(FILE);
        drop(std::fs::remove_file(&file));
        let filename = file.to_str().context("the run directory's path is not UTF-8")?;
        let command = qmp::screendump {
            device: None,
            format: Some(qmp::ImageFormat::png),
            head: None,
            filename: filename.to_owned(),
        };
        self.qmp.execute(&command, QMP_COMMAND_LIMIT).await?;
        read(&file).context("the picture that QEMU wrote cannot be used")
    }

    /// Writes the screen to a PNG file.
    ///
    /// # Errors
    /// When there is no screen, or QEMU does not write one.
    pub async fn save(&self, to: &Path) -> Result<()> {
        let picture = self.picture().await?;
        std::fs::write(to, picture).with_context(|| format!("{} cannot be written", to.display()))
    }

    /// Moves the pointer to a place, each axis 0 (left, top) to 1 (right, bottom). Where the machine has no tablet the
    /// mouse is first moved into the corner, from where it is moved there, as far as the guest's acceleration lets it.
    ///
    /// # Errors
    /// When QEMU has no pointer, or does not answer.
    pub async fn point(&self, x: f64, y: f64) -> Result<()> {
        let mice = self.qmp.execute(&qmp::query_mice {}, QMP_COMMAND_LIMIT).await?;
        let absolute = mice.iter().any(|mouse| mouse.current && mouse.absolute);
        if absolute {
            let place = |at: f64| (at.clamp(0.0, 1.0) * AXIS) as i64;
            return self.move_by(qmp::InputEvent::abs, place(x), place(y)).await;
        }
        self.move_by(qmp::InputEvent::rel, -4096, -4096).await?;
        self.move_by(qmp::InputEvent::rel, (x * 1000.0) as i64, (y * 600.0) as i64).await
    }

    async fn move_by(&self, kind: fn(qmp::InputMoveEventWrapper) -> qmp::InputEvent, x: i64, y: i64) -> Result<()> {
        let axis = |axis, value| kind(qmp::InputMoveEvent { axis, value }.into());
        self.send(vec![axis(qmp::InputAxis::x, x), axis(qmp::InputAxis::y, y)]).await
    }

    /// Presses the pointer's left button once.
    ///
    /// # Errors
    /// When QEMU has no pointer, or does not answer.
    pub async fn click(&self) -> Result<()> {
        for down in [true, false] {
            let event = qmp::InputBtnEvent { button: qmp::InputButton::left, down };
            self.send(vec![qmp::InputEvent::btn(event.into())]).await?;
            tokio::time::sleep(KEY_PRESS).await;
        }
        Ok(())
    }

    /// Presses keys one after the other.
    ///
    /// # Errors
    /// When QEMU has no keyboard, or does not answer.
    pub async fn press(&self, keys: &[Key]) -> Result<()> {
        for key in keys {
            for down in [true, false] {
                let key = qmp::KeyValue::qcode((*key).into());
                self.send(vec![qmp::InputEvent::key(qmp::InputKeyEvent { down, key }.into())]).await?;
                tokio::time::sleep(KEY_PRESS).await;
            }
        }
        Ok(())
    }

    async fn send(&self, events: Vec<qmp::InputEvent>) -> Result<()> {
        let command = qmp::input_send_event { device: None, head: None, events };
        self.qmp.execute(&command, QMP_COMMAND_LIMIT).await?;
        Ok(())
    }
}

/// Reads a PNG that an untrusted program wrote.
fn read(from: &Path) -> io::Result<Vec<u8>> {
    let mut picture = Vec::new();
    rundir::open_regular(from)?.take(PICTURE_LIMIT + 1).read_to_end(&mut picture)?;
    if picture.len() as u64 > PICTURE_LIMIT {
        return Err(io::Error::other("it is too large"));
    }
    if !picture.starts_with(PNG) {
        return Err(io::Error::other("it is not a PNG"));
    }
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pictures_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::write(&from, "root:x:0:0").unwrap();
        assert!(read(&from).is_err());
        std::fs::write(&from, [PNG, b"..."].concat()).unwrap();
        assert_eq!(read(&from).unwrap(), [PNG, b"..."].concat());
        std::fs::rename(&from, &to).unwrap();
        std::os::unix::fs::symlink(&to, &from).unwrap();
        assert!(read(&from).is_err());
    }
}
