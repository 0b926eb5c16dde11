//! Where nix's store really lies.
//!
//! A store path always reads `/nix/store/X`; with a store of the kind `local?root=ROOT` (nix's manual, "Local Store")
//! the files lie at `ROOT/nix/store/X`. Who may not write to `/nix` and has no daemon gets such a store from nix
//! unasked, at `$XDG_DATA_HOME/nix/root`.

use std::path::{Path, PathBuf};

use super::command::Nix;
use crate::model::STORE_DIR;

/// A store, and where its files are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Store {
    /// What to put before a store path to get at its files; `None` where they are where they say.
    pub root: Option<PathBuf>,
}

impl Store {
    /// The store that a store URL names (`NIX_REMOTE`, `--option store`); `None` when it does not say where files are.
    fn from_url(url: &str) -> Option<Self> {
        let url = url.trim();
        if url.starts_with('/') {
            return Some(Self { root: Some(PathBuf::from(url)) });
        }
        let (kind, query) = url.split_once('?').unwrap_or((url, ""));
        if let Some(path) = kind.strip_prefix("local://").filter(|path| !path.is_empty()) {
            return Some(Self { root: Some(PathBuf::from(percent_decode(path))) });
        }
        if kind != "local" && kind != "local://" {
            return None;
        }
        let root = query.split('&').find_map(|pair| pair.strip_prefix("root="));
        Some(Self { root: root.map(|root| PathBuf::from(percent_decode(root))) })
    }

    /// The store in which `path` (a store path) exists: the one that `url` names, else the usual one, else the one
    /// that nix falls back to below `data_home`. Reads the file system.
    pub fn holding(path: &Path, url: Option<&str>, data_home: Option<&Path>) -> Self {
        if let Some(store) = url.and_then(Self::from_url) {
            return store;
        }
        if !path.exists()
            && let Some(root) = data_home.map(|home| home.join("nix/root"))
        {
            let store = Self { root: Some(root) };
            if store.physical(path).symlink_metadata().is_ok() {
                return store;
            }
        }
        Self::default()
    }

    /// The store that holds a path, as this nix would use it.
    pub(crate) fn of(path: &Path, nix: &Nix) -> Self {
        use etcetera::BaseStrategy as _;
        let data = etcetera::choose_base_strategy().ok().map(|directories| directories.data_dir());
        Self::holding(path, nix.store_url().as_deref(), data.as_deref())
    }

    /// Where the files of a store path are. Other paths stay as they are.
    pub fn physical(&self, path: &Path) -> PathBuf {
        match (&self.root, path.strip_prefix("/")) {
            (Some(root), Ok(relative)) if path.starts_with(STORE_DIR) => root.join(relative),
            _ => path.to_owned(),
        }
    }

    /// The store path that a file belongs to, given either name of it.
    pub fn logical(&self, path: &Path) -> PathBuf {
        match &self.root {
            Some(root) => match path.strip_prefix(root) {
                Ok(relative) if Path::new("/").join(relative).starts_with(STORE_DIR) => Path::new("/").join(relative),
                _ => path.to_owned(),
            },
            None => path.to_owned(),
        }
    }

    /// Whether a store path exists. It may exist and be invalid (a build that was killed): good enough to decide
    /// what to ask nix for, not to skip asking.
    pub fn contains(&self, path: &Path) -> bool {
        self.physical(path).symlink_metadata().is_ok()
    }
}

/// `/nix/store/HASH-NAME` of a path below it.
pub fn store_path_of(path: &Path) -> Option<PathBuf> {
    let relative = path.strip_prefix(STORE_DIR).ok()?;
    let first = relative.components().next()?;
    Some(Path::new(STORE_DIR).join(first))
}

/// The name of a store path without its hash, and without `.drv`.
pub(super) fn name_of(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    let name = match name.split_once('-') {
        Some((hash, rest)) if hash.len() == 32 => rest,
        _ => name,
    };
    name.strip_suffix(".drv").unwrap_or(name)
}

/// `%20` and the like, in a URL's path or query.
fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if bytes[at] == b'%' => {
                decoded.push(byte);
                at += 3;
            }
            _ => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let root = |url: &str| Store::from_url(url).map(|store| store.root);
        assert_eq!(root("daemon"), None);
        assert_eq!(root("auto"), None);
        assert_eq!(root("local"), Some(None));
        assert_eq!(root("local?root=/home/u/my store"), Some(Some(PathBuf::from("/home/u/my store"))));
        assert_eq!(root("local?real=/x&root=/a%20b"), Some(Some(PathBuf::from("/a b"))));
        assert_eq!(root("/srv/store"), Some(Some(PathBuf::from("/srv/store"))));
        assert_eq!(root("ssh://host"), None);
    }

    #[test]
    fn both_ways() {
        let store = Store { root: Some("/r".into()) };
        let path = Path::new("/nix/store/abc-x/bin/y");
        assert_eq!(store.physical(path), Path::new("/r/nix/store/abc-x/bin/y"));
        assert_eq!(store.logical(&store.physical(path)), path);
        assert_eq!(store.physical(Path::new("/home/u/x")), Path::new("/home/u/x"));
        assert_eq!(store.logical(Path::new("/r/elsewhere")), Path::new("/r/elsewhere"));
        assert_eq!(Store::default().physical(path), path);
    }

    #[test]
    fn names() {
        assert_eq!(name_of("/nix/store/877bjgzgmhl3cxarj2r7mskais26h77f-nixos-vm.drv"), "nixos-vm");
        assert_eq!(name_of("/nix/store/877bjgzgmhl3cxarj2r7mskais26h77f-linux-6.12"), "linux-6.12");
        assert_eq!(store_path_of(Path::new("/nix/store/h-x/bin/y")), Some("/nix/store/h-x".into()));
        assert_eq!(store_path_of(Path::new("/nix/store")), None);
    }
}
