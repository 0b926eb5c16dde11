//! The artifacts of a run, for a report that shows them: read in bounds, whatever their size, and through no link.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use crate::model::Report;
use crate::signal::Picture;
use crate::text::{escape, plain};

/// Largest file that is read as a picture: a screen of 16 million pixels fits.
const PICTURE: u64 = 64 << 20;
/// The widths to which a picture with too many bytes is scaled down.
const WIDTHS: [u32; 8] = [1280, 960, 720, 540, 400, 300, 200, 120];

/// The evidence of a run.
pub(super) struct Evidence {
    directory: Option<PathBuf>,
}

/// The beginning and the end of a log, without what drives a terminal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LogExcerpt {
    /// The beginning; all of it, where nothing is left out.
    pub(super) head: String,
    /// Bytes between.
    pub(super) omitted: u64,
    /// The end.
    pub(super) tail: String,
}

/// A picture as a PNG.
#[derive(Debug)]
pub(super) struct EmbeddedPicture {
    /// The PNG.
    pub(super) png: Vec<u8>,
    /// Width and height in pixels.
    pub(super) size: (u32, u32),
}

impl Evidence {
    /// Of this report.
    pub(super) fn of(report: &Report) -> Self {
        Self { directory: report.artifacts.clone() }
    }

    fn open(&self, name: &str) -> Option<(File, u64)> {
        // Neither through a link nor waiting on a FIFO.
        let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
        let path = self.directory.as_ref()?.join(name);
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
        let metadata = file.metadata().ok()?;
        metadata.is_file().then_some((file, metadata.len()))
    }

    /// Bytes of a file that is there.
    pub(super) fn size(&self, name: &str) -> Option<u64> {
        self.open(name).map(|(_, size)| size)
    }

    /// A file of at most so many bytes.
    pub(super) fn bytes(&self, name: &str, most: u64) -> Option<Vec<u8>> {
        let (file, size) = self.open(name)?;
        if size > most {
            return None;
        }
        let mut bytes = Vec::new();
        // It may have grown since.
        file.take(most + 1).read_to_end(&mut bytes).ok()?;
        (bytes.len() as u64 <= most && !bytes.is_empty()).then_some(bytes)
    }

    /// A text of which at most so many bytes are read.
    pub(super) fn log(&self, name: &str, most: u64) -> Option<LogExcerpt> {
        let (mut file, size) = self.open(name)?;
        let mut read = |from: u64, length: u64| -> Option<String> {
            file.seek(SeekFrom::Start(from)).ok()?;
            let mut bytes = Vec::new();
            (&mut file).take(length).read_to_end(&mut bytes).ok()?;
            let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
            Some(escape(plain(&text, text.len()).trim_matches('\n')))
        };
        if size == 0 {
            return None;
        }
        if size <= most {
            return Some(LogExcerpt { head: read(0, size)?, omitted: 0, tail: String::new() });
        }
        // A log ends with what went wrong.
        let head = most / 3;
        let tail = most - head;
        Some(LogExcerpt { head: read(0, head)?, omitted: size - most, tail: read(size - tail, tail)? })
    }

    /// A picture, made smaller until it has at most so many bytes.
    pub(super) fn picture(&self, name: &str, most: usize) -> Option<EmbeddedPicture> {
        let bytes = self.bytes(name, PICTURE)?;
        // Decoded even when it is small enough: what is no picture is not shown as one.
        let picture = Picture::from_png(&bytes).ok()?;
        if bytes.len() <= most {
            return Some(EmbeddedPicture { png: bytes, size: picture.size() });
        }
        // A picture of a quarter of the pixels has about a quarter of the bytes: widths that are far off are skipped.
        let is_too_large = |width: &u32| {
            let share = f64::from(*width) / f64::from(picture.width());
            bytes.len() as f64 * share * share > 3.0 * most as f64
        };
        WIDTHS.into_iter().filter(|width| *width <= picture.width()).skip_while(is_too_large).find_map(|width| {
            let small = picture.scaled_into(width, width);
            let png = small.to_png().ok()?;
            (png.len() <= most).then(|| EmbeddedPicture { png, size: small.size() })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;
    use crate::report::examples;

    fn of(directory: &Path) -> Evidence {
        let mut report = examples::pass();
        report.artifacts = Some(directory.to_owned());
        Evidence::of(&report)
    }

    #[test]
    fn a_huge_log_is_read_at_its_ends_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("console.log");
        fs::write(&path, "head \u{1b}[31mred\u{1b}[0m\0\r\n").unwrap();
        // Sparse: 100 GiB that are nowhere.
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(100 << 30).unwrap();
        drop(file);
        let log = of(directory.path()).log("console.log", 3000).unwrap();
        assert_eq!((log.head.as_str(), log.omitted), ("head red", (100 << 30) - 3000));
        assert_eq!(log.tail, "");
        fs::write(&path, b"a\xff\xfeb\n").unwrap();
        assert_eq!(of(directory.path()).log("console.log", 3000).unwrap().head, "a\u{fffd}\u{fffd}b");
    }

    #[test]
    fn what_is_no_file_of_the_run_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let evidence = of(directory.path());
        symlink("/etc/passwd", directory.path().join("journal.txt")).unwrap();
        nix::unistd::mkfifo(&directory.path().join("console.log"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::create_dir(directory.path().join("screen.png")).unwrap();
        fs::write(directory.path().join("boot.gif"), "").unwrap();
        assert!(evidence.log("journal.txt", 100).is_none() && evidence.log("console.log", 100).is_none());
        assert!(evidence.picture("screen.png", 100).is_none() && evidence.bytes("boot.gif", 100).is_none());
        assert!(evidence.log("nothing", 100).is_none());
        assert!(of(Path::new("/nowhere")).size("console.log").is_none());
    }

    #[test]
    fn a_picture_is_made_smaller_until_it_fits() {
        let directory = tempfile::tempdir().unwrap();
        let noise =
            |i: u32| [(i.wrapping_mul(2_654_435_761) >> 24) as u8, (i.wrapping_mul(40_503) >> 8) as u8, i as u8];
        let picture = Picture::new(800, 600, (0..480_000).map(noise).collect()).unwrap();
        fs::write(directory.path().join("screen.png"), picture.to_png().unwrap()).unwrap();
        fs::write(directory.path().join("greeter.png"), "no picture").unwrap();
        let evidence = of(directory.path());
        assert_eq!(evidence.picture("screen.png", 10 << 20).unwrap().size, (800, 600));
        let most = evidence.size("screen.png").unwrap() as usize / 3;
        let small = evidence.picture("screen.png", most).unwrap();
        assert!(small.png.len() <= most && small.size.0 < 800, "{:?}", small.size);
        assert_eq!(Picture::from_png(&small.png).unwrap().size(), small.size);
        assert!(evidence.picture("screen.png", 10).is_none());
        assert!(evidence.picture("greeter.png", 100).is_none());
    }
}
