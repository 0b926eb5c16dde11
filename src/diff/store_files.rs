//! Files of the store, read and nothing else. What a link leads to outside of the store is not looked at: it belongs to
//! this machine, not to a configuration.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::nix::{STORE_DIR, Store};

/// Bytes of a text that is read; longer files are compared by their size and name.
const TEXT_BYTES: u64 = 1 << 20;
/// Bytes of all texts together.
const ALL_BYTES: u64 = 128 << 20;
/// Entries of a directory.
const ENTRIES: usize = 20_000;
/// Links on the way to a file (path_resolution(7) allows 40).
const LINKS: usize = 40;

/// What a path leads to, by its logical name without links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    File(PathBuf),
    Directory(PathBuf),
    /// Out of the store: where to.
    Elsewhere(PathBuf),
    Missing,
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Where it leads, when it is a link, as written.
    pub(crate) link: Option<PathBuf>,
    /// Whether it is a directory itself.
    pub(crate) is_directory: bool,
}

/// How the store is read.
pub(crate) trait Files {
    /// What a path leads to.
    fn find(&self, path: &Path) -> Found;
    /// A file's text, by its path without links; `None` for what is none: binary, too long, not UTF-8.
    fn text(&self, path: &Path) -> Option<Arc<str>>;
    /// A directory's entries by name.
    fn list(&self, directory: &Path) -> Vec<Entry>;
    /// A file's size.
    fn size(&self, path: &Path) -> Option<u64>;

    /// The text that a path leads to.
    fn read(&self, path: &Path) -> Option<Arc<str>> {
        match self.find(path) {
            Found::File(file) => self.text(&file),
            _ => None,
        }
    }
}

/// All files below a directory by their names in it, links followed, so many at most.
pub(super) fn tree(files: &dyn Files, directory: &Path, most: usize) -> BTreeMap<String, Found> {
    let mut all = BTreeMap::new();
    let mut pending: Vec<(String, PathBuf, usize)> = vec![(String::new(), directory.to_owned(), 0)];
    // Links may lead in circles.
    let mut listed = 0;
    while let Some((name, path, depth)) = pending.pop() {
        listed += 1;
        if listed > most {
            break;
        }
        for entry in files.list(&path) {
            let inner = if name.is_empty() { entry.name.clone() } else { format!("{name}/{}", entry.name) };
            match files.find(&path.join(&entry.name)) {
                Found::Directory(path) if depth < 8 => pending.push((inner, path, depth + 1)),
                found => drop(all.insert(inner, found)),
            }
            if all.len() > most || pending.len() > most {
                return all;
            }
        }
    }
    all
}

/// The store on disk. What was read once is kept.
#[derive(Debug, Default)]
pub(crate) struct StoreFiles {
    store: Store,
    texts: Mutex<HashMap<PathBuf, Option<Arc<str>>>>,
    bytes: AtomicU64,
}

impl StoreFiles {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, ..Self::default() }
    }

    fn read_text(&self, path: &Path) -> Option<Arc<str>> {
        let file = fs::File::open(self.store.physical(path)).ok()?;
        let size = file.metadata().ok().filter(fs::Metadata::is_file)?.len();
        if size > TEXT_BYTES || self.bytes.fetch_add(size, Ordering::Relaxed) > ALL_BYTES {
            return None;
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        file.take(TEXT_BYTES).read_to_end(&mut bytes).ok()?;
        if bytes.contains(&0) {
            return None;
        }
        String::from_utf8(bytes).ok().map(Arc::from)
    }
}

impl Files for StoreFiles {
    fn find(&self, path: &Path) -> Found {
        let mut pending: Vec<OsString> = reversed(path);
        let mut at = PathBuf::from("/");
        let (mut links, mut is_directory) = (0, true);
        while let Some(name) = pending.pop() {
            if name == ".." {
                at.pop();
                continue;
            }
            let next = at.join(&name);
            // The way to the store itself, which may lie elsewhere.
            if Path::new(STORE_DIR).starts_with(&next) {
                at = next;
                continue;
            }
            if !next.starts_with(STORE_DIR) {
                pending.reverse();
                return Found::Elsewhere(pending.iter().fold(next, |path, name| path.join(name)));
            }
            let physical = self.store.physical(&next);
            let Ok(metadata) = fs::symlink_metadata(&physical) else { return Found::Missing };
            if metadata.is_symlink() {
                links += 1;
                let Some(target) = fs::read_link(&physical).ok().filter(|_| links <= LINKS) else {
                    return Found::Missing;
                };
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                pending.extend(reversed(&target));
                continue;
            }
            is_directory = metadata.is_dir();
            if !is_directory && !metadata.is_file() {
                return Found::Missing;
            }
            at = next;
        }
        if is_directory { Found::Directory(at) } else { Found::File(at) }
    }

    fn text(&self, path: &Path) -> Option<Arc<str>> {
        if !path.starts_with(STORE_DIR) {
            return None;
        }
        if let Some(known) = self.texts.lock().unwrap_or_else(PoisonError::into_inner).get(path) {
            return known.clone();
        }
        let text = self.read_text(path);
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), text.clone());
        text
    }

    fn list(&self, directory: &Path) -> Vec<Entry> {
        if !directory.starts_with(STORE_DIR) {
            return Vec::new();
        }
        let read = fs::read_dir(self.store.physical(directory)).into_iter().flatten().flatten().take(ENTRIES);
        let mut entries: Vec<Entry> = read
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let kind = entry.file_type().ok()?;
                let link = kind.is_symlink().then(|| fs::read_link(entry.path()).ok()).flatten();
                Some(Entry { name, link, is_directory: kind.is_dir() })
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries
    }

    fn size(&self, path: &Path) -> Option<u64> {
        let path = Some(path).filter(|path| path.starts_with(STORE_DIR))?;
        fs::symlink_metadata(self.store.physical(path)).ok().map(|metadata| metadata.len())
    }
}

/// A path's components, the last one first.
fn reversed(path: &Path) -> Vec<OsString> {
    let normal = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut all: Vec<OsString> = normal.collect();
    all.reverse();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::made::MadeStore;

    #[test]
    fn nothing_outside_of_the_store_is_read() {
        let made = MadeStore::new();
        let top = made.put("x", &[("a", "text"), ("dir/b", "b")]);
        made.link(&top, "inside", &format!("{top}/a"));
        made.link(&top, "relative", "dir/../a");
        made.link(&top, "shadow", "/etc/shadow");
        made.link(&top, "null", "/dev/null");
        made.link(&top, "up", "../../../../../../../etc/passwd");
        made.link(&top, "loop", "loop");
        let files = made.files();
        let at = |name: &str| files.find(&Path::new(&top).join(name));
        assert_eq!(at("inside"), Found::File(Path::new(&top).join("a")));
        assert_eq!(at("relative"), Found::File(Path::new(&top).join("a")));
        assert_eq!(at("dir"), Found::Directory(Path::new(&top).join("dir")));
        assert_eq!(at("shadow"), Found::Elsewhere("/etc/shadow".into()));
        assert_eq!(at("null"), Found::Elsewhere("/dev/null".into()));
        assert_eq!(at("up"), Found::Elsewhere("/etc/passwd".into()));
        assert_eq!((at("loop"), at("none")), (Found::Missing, Found::Missing));
        assert_eq!(files.read(&Path::new(&top).join("inside")).as_deref(), Some("text"));
        assert_eq!(files.read(&Path::new(&top).join("shadow")), None);
        assert_eq!(files.text(Path::new("/etc/passwd")), None);
        assert_eq!(files.list(Path::new("/etc")), Vec::new());
        assert_eq!(files.list(Path::new(&top)).len(), 8);
    }
}
