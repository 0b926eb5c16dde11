//! What is kept from one run to the next: verdicts, evaluations, and what else saves time.
//!
//! Entries are files below `$XDG_CACHE_HOME/nixbox`, each named by the hash of its key. The key is also in the file as
//! text, and an entry is used only if it is the same. Files are written elsewhere and renamed, so that writers do not
//! disturb each other; an unreadable entry counts as none and is replaced. Nothing here ends a run: a cache that cannot be
//! used costs time only.
//!
//! * this file: the store of entries
//! * `result`: verdicts, by everything that they depend on
//! * `tree`: a fingerprint of a flake's files, by git
//! * `evaluation`: what such a tree evaluated to, and whether a commit alone changes that
//! * `accelerator`: the accelerator that was proven to work
//! * `duration`: how long a host took

mod accelerator;
mod duration;
mod evaluation;
mod result;
mod tree;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use self::accelerator::AcceleratorCache;
pub use self::duration::DurationCache;
pub use self::evaluation::{CachedEvaluation, EvaluationCache};
pub use self::result::{ResultCache, ResultKey, TestInputs};
pub use self::tree::{Tree, is_read};
use crate::model::CACHE_SCHEMA;
use crate::paths::replace_file;

/// How many entries of one kind are kept.
const KEPT: usize = 256;
/// The largest entry that is read, in bytes. A report is some tens of kilobytes.
const ENTRY_LIMIT: u64 = 4 << 20;

/// Entries of one kind.
#[derive(Debug, Clone)]
struct Entries {
    directory: PathBuf,
}

/// An entry: its key, and the value.
#[derive(Debug, Serialize, Deserialize)]
struct Entry<T> {
    schema: u32,
    key: String,
    value: T,
}

impl Entries {
    /// Those of one kind below `cache`.
    fn new(cache: &Path, kind: &str) -> Self {
        Self { directory: cache.join(kind) }
    }

    fn file(&self, key: &str) -> PathBuf {
        self.directory.join(format!("{}.json", digest(key.as_bytes())))
    }

    /// The value under exactly this key.
    fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let path = self.file(key);
        let data = fs::symlink_metadata(&path).ok()?;
        if !data.is_file() || data.len() > ENTRY_LIMIT {
            return None;
        }
        let entry: Entry<T> = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        (entry.schema == CACHE_SCHEMA && entry.key == key).then_some(entry.value)
    }

    /// Stores a value, in place of the one that was there.
    fn put<T: Serialize>(&self, key: &str, value: T) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;

        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let text = serde_json::to_vec(&Entry { schema: CACHE_SCHEMA, key: key.to_owned(), value })?;
        replace_file(&self.file(key), &text)?;
        self.prune();
        Ok(())
    }

    /// Removes the oldest entries above the limit, temporary files of killed writers among them.
    fn prune(&self) {
        let Ok(listing) = fs::read_dir(&self.directory) else { return };
        let mut all: Vec<_> = listing
            .flatten()
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        if all.len() <= KEPT {
            return;
        }
        all.sort();
        for (_, path) in all.iter().take(all.len() - KEPT) {
            // Another run may have removed it.
            drop(fs::remove_file(path));
        }
    }
}

/// SHA-256, in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Identifies a version of a file without reading it: path, length, modification time, inode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    path: PathBuf,
    length: u64,
    modified: Option<(i64, i64)>,
    inode: u64,
}

impl FileIdentity {
    /// That of an existing file; links are followed.
    pub fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let path = path.canonicalize().ok()?;
        let data = fs::metadata(&path).ok()?;
        Some(Self { length: data.len(), modified: Some((data.mtime(), data.mtime_nsec())), inode: data.ino(), path })
    }

    /// That of this program.
    pub fn own() -> Option<Self> {
        Self::of(&std::env::current_exe().ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_found_by_its_own_key_only() {
        let directory = tempfile::tempdir().unwrap();
        let entries = Entries::new(directory.path(), "things");
        assert_eq!(entries.get::<u32>("a"), None);
        entries.put("a", 1).unwrap();
        entries.put("b", 2).unwrap();
        assert_eq!((entries.get("a"), entries.get("b")), (Some(1_u32), Some(2_u32)));
        // The name alone is not enough.
        fs::copy(entries.file("a"), entries.file("b")).unwrap();
        assert_eq!(entries.get::<u32>("b"), None);
    }

    #[test]
    fn what_is_corrupt_is_none_and_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let entries = Entries::new(directory.path(), "things");
        entries.put("a", 1).unwrap();
        for broken in [&b""[..], b"{", b"\0\0", br#"{"schema":0,"key":"a","value":1}"#, br#"{"schema":1,"key":"a"}"#] {
            fs::write(entries.file("a"), broken).unwrap();
            assert_eq!(entries.get::<u32>("a"), None);
        }
        fs::remove_file(entries.file("a")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", entries.file("a")).unwrap();
        assert_eq!(entries.get::<u32>("a"), None);
        entries.put("a", 3).unwrap();
        assert_eq!(entries.get("a"), Some(3_u32));
    }

    #[test]
    fn the_oldest_go() {
        let directory = tempfile::tempdir().unwrap();
        let entries = Entries::new(directory.path(), "things");
        for number in 0..KEPT + 20 {
            entries.put(&number.to_string(), number).unwrap();
        }
        assert_eq!(fs::read_dir(&entries.directory).unwrap().count(), KEPT);
        assert_eq!(entries.get(&(KEPT + 19).to_string()), Some(KEPT + 19));
    }

    #[test]
    fn writers_do_not_disturb_each_other() {
        let directory = tempfile::tempdir().unwrap();
        let entries = Entries::new(directory.path(), "things");
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let entries = entries.clone();
                scope.spawn(move || {
                    for _ in 0..50 {
                        entries.put("a", vec![writer; 1000]).unwrap();
                        let read: Vec<i32> = entries.get("a").expect("never half an entry");
                        assert!(read.iter().all(|value| *value == read[0]) && read.len() == 1000);
                    }
                });
            }
        });
    }

    #[test]
    fn a_program_that_was_replaced_is_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        fs::write(&path, "one").unwrap();
        let before = FileIdentity::of(&path).unwrap();
        assert_eq!(FileIdentity::of(&path).unwrap(), before);
        fs::write(&path, "three").unwrap();
        assert_ne!(FileIdentity::of(&path).unwrap(), before);
        assert_eq!(FileIdentity::of(&directory.path().join("none")), None);
    }
}
