//! A flake, named to nix so that every version understands.

use std::path::{Path, PathBuf};

use super::diagnosis::SourceTree;

/// A flake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flake {
    /// How nix is given it: a URL, an absolute path, or `.` with [`Flake::directory`] as the current directory.
    pub reference: String,
    /// The directory of a local flake, where `flake.nix` lies.
    pub dir: Option<PathBuf>,
    /// The root of the git work tree that it is in.
    pub git_root: Option<PathBuf>,
    relative: bool,
}

impl Flake {
    /// A flake in a local directory. `git_root` is the work tree's root when it is in one.
    ///
    /// A plain path is what all versions take. For one with characters that a URL gives a meaning nix is started
    /// inside it: 2.8 does not decode a `path:` URL, and takes a `git+file:` URL with `%20` for a remote repository,
    /// so that it would test the last commit in place of the work tree.
    pub fn local(dir: &Path, git_root: Option<PathBuf>) -> Self {
        let relative = !is_plain(&dir.to_string_lossy());
        let reference = if relative { ".".to_owned() } else { dir.to_string_lossy().into_owned() };
        Self { reference, dir: Some(dir.to_owned()), git_root, relative }
    }

    /// The reference for another command, from any directory.
    pub fn portable(&self) -> String {
        match &self.dir {
            Some(dir) if self.relative => url_of(dir, self.git_root.as_deref()),
            _ => self.reference.clone(),
        }
    }

    /// A flake that nix finds: `github:…`, `git+https:…`, a name from the registry. One that is a local directory by
    /// its URL is known to be there.
    pub fn remote(reference: &str) -> Self {
        Self { reference: reference.to_owned(), dir: local_directory(reference), git_root: None, relative: false }
    }

    /// The directory that nix must be started in, when the reference is relative.
    pub fn directory(&self) -> Option<&Path> {
        if self.relative { self.dir.as_deref() } else { None }
    }

    /// `FLAKE#ATTRIBUTE`.
    pub fn installable(&self, attribute: &str) -> String {
        format!("{}#{attribute}", self.reference)
    }

    /// The reference for a user.
    pub fn shown(&self) -> String {
        match &self.dir {
            Some(dir) if self.relative => dir.to_string_lossy().into_owned(),
            _ => self.reference.clone(),
        }
    }

    /// Where its files come from.
    pub fn source(&self) -> SourceTree {
        SourceTree {
            root: self.git_root.clone().or_else(|| self.dir.clone()),
            directory: self.dir.clone(),
            is_git: self.git_root.is_some(),
        }
    }

    /// Whether its flake.nix says `nixConfig`.
    pub fn has_settings(&self) -> bool {
        self.says("nixConfig")
    }

    /// Whether its flake.nix says anything of NixOS machines.
    pub fn speaks_of_machines(&self) -> bool {
        self.says("nixosConfigurations") || self.says("nixosSystem")
    }

    /// Whether these words are in its flake.nix. Only local ones are read; it need not be exact.
    fn says(&self, words: &str) -> bool {
        let file = self.dir.as_ref().map(|dir| dir.join("flake.nix"));
        file.and_then(|file| std::fs::read_to_string(file).ok()).is_some_and(|text| text.contains(words))
    }
}

/// The URL of a local directory: of the git work tree that it is in, or its own.
pub(crate) fn url_of(dir: &Path, git_root: Option<&Path>) -> String {
    let Some(root) = git_root else { return format!("path:{}", encode(&dir.to_string_lossy())) };
    let url = format!("git+file://{}", encode(&root.to_string_lossy()));
    match dir.strip_prefix(root) {
        Ok(inside) if inside != Path::new("") => format!("{url}?dir={}", encode(&inside.to_string_lossy())),
        _ => url,
    }
}

/// Characters that a path may hold in a flake reference without being anything else (nix's `pathRegex`).
fn is_plain(path: &str) -> bool {
    path.chars().all(|c| c.is_ascii_alphanumeric() || "-._~+=@/".contains(c))
}

/// Percent-encoding of a path (RFC 3986: all but unreserved characters and the slash).
pub fn encode(path: &str) -> String {
    path.bytes()
        .map(|byte| match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

/// The path that a `path:` or `git+file:` URL names, when it is plain, and the URL's query.
pub(crate) fn local_path(reference: &str) -> Option<(PathBuf, &str)> {
    let (url, query) = reference.split_once('?').unwrap_or((reference, ""));
    let path = ["path://", "path:", "git+file://"].iter().find_map(|scheme| url.strip_prefix(scheme))?;
    if path.contains('%') {
        return None;
    }
    Some((std::path::absolute(path).ok()?, query))
}

/// The directory that a URL names, when it is there and it is its present state that is named.
fn local_directory(reference: &str) -> Option<PathBuf> {
    let (mut dir, query) = local_path(reference)?;
    if query.contains("rev=") || query.contains("ref=") {
        return None;
    }
    if let Some(inside) = query.split('&').find_map(|pair| pair.strip_prefix("dir=")) {
        dir.push(inside);
    }
    dir.join("flake.nix").is_file().then_some(dir)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_that_are_no_urls() {
        let plain = Flake::local(Path::new("/home/u/demo"), None);
        assert_eq!((plain.reference.as_str(), plain.directory()), ("/home/u/demo", None));
        let spaced = Flake::local(Path::new("/home/u/my demo"), None);
        assert_eq!((spaced.reference.as_str(), spaced.directory()), (".", Some(Path::new("/home/u/my demo"))));
        assert_eq!(spaced.shown(), "/home/u/my demo");
        assert_eq!(spaced.portable(), "path:/home/u/my%20demo");
        let git = Flake::local(Path::new("/home/u/my demo/a#b"), Some("/home/u/my demo".into()));
        assert_eq!(git.installable("x"), ".#x");
        assert_eq!(git.portable(), "git+file:///home/u/my%20demo?dir=a%23b");
        let root = Flake::local(Path::new("/ü%?"), Some("/ü%?".into()));
        assert_eq!(root.portable(), "git+file:///%C3%BC%25%3F");
        assert_eq!(plain.portable(), "/home/u/demo");
    }

    proptest! {
        #[test]
        fn encoded_paths_have_no_special_characters(path in "\\PC{0,30}") {
            prop_assert!(encode(&path).chars().all(|c| c.is_ascii_alphanumeric() || "/-._~%".contains(c)));
        }
    }
}
