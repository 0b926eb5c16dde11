//! How a flake is named: parsing what the user typed, and naming it to nix so that every version understands.

use std::path::{Path, PathBuf};

use crate::nix::SourceTree;

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
fn url_of(dir: &Path, git_root: Option<&Path>) -> String {
    let Some(root) = git_root else { return format!("path:{}", encode(&dir.to_string_lossy())) };
    let url = format!("git+file://{}", encode(&root.to_string_lossy()));
    match dir.strip_prefix(root) {
        Ok(inside) if inside != Path::new("") => format!("{url}?dir={}", encode(&inside.to_string_lossy())),
        _ => url,
    }
}

/// The URL that nix makes of a directory with a query behind it: `.?submodules=1`, `/etc/nixos?dir=hosts`.
pub(super) fn with_query(directory: &Path, query: &str) -> String {
    let dir = search_up(directory).unwrap_or_else(|| directory.to_owned());
    let url = url_of(&dir, git_root(&dir).as_deref());
    format!("{url}{}{query}", if url.contains('?') { '&' } else { '?' })
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
pub(super) fn local_path(reference: &str) -> Option<(PathBuf, &str)> {
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

/// Whether it begins like a URL (RFC 3986, scheme), as `github:` and `git+file:` do.
pub(super) fn has_scheme(reference: &str) -> bool {
    reference.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
}

/// Whether it could be a name in the flake registry: `nixpkgs`, `nixpkgs/nixos-25.05`.
pub(super) fn is_registry_name(reference: &str) -> bool {
    let mut parts = reference.split('/');
    let is_name = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    parts.next().is_some_and(|id| is_name(id) && !id.contains('.')) && parts.clone().count() <= 2 && parts.all(is_name)
}

/// The components of an attribute path, as nix splits it: at dots outside of double quotes.
pub(crate) fn components(path: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for c in path.chars() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            c => {
                if let Some(last) = parts.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    parts
}

/// The attribute path of components, quoted where nix needs it.
pub(super) fn join<S: AsRef<str>>(components: &[S]) -> String {
    let plain = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_'".contains(c));
    let quoted = components.iter().map(|part| {
        let part = part.as_ref();
        if plain(part) { part.to_owned() } else { format!("\"{part}\"") }
    });
    quoted.collect::<Vec<_>>().join(".")
}

/// The flake directory that a directory is in: itself, or the nearest above that holds a `flake.nix`, up to the root
/// of its git work tree (what nix calls "searching up").
pub(super) fn search_up(start: &Path) -> Option<PathBuf> {
    for dir in start.ancestors() {
        if dir.join("flake.nix").is_file() {
            return Some(dir.to_owned());
        }
        if dir.join(".git").exists() {
            return None;
        }
    }
    None
}

/// The root of the git work tree that a directory is in.
pub(crate) fn git_root(dir: &Path) -> Option<PathBuf> {
    dir.ancestors().find(|dir| dir.join(".git").exists()).map(Path::to_owned)
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

    #[test]
    fn schemes_and_registry_names() {
        for url in ["github:a/b", "git+file:///x", "path:./x", "flake:nixpkgs", "https://x/y.tar.gz"] {
            assert!(has_scheme(url), "{url}");
        }
        for path in [".", "./x", "/a:b", "../x:y", "", "a/b"] {
            assert!(!has_scheme(path), "{path}");
        }
        assert!(is_registry_name("nixpkgs") && is_registry_name("nixpkgs/nixos-25.05"));
        assert!(
            !is_registry_name("./x") && !is_registry_name("..") && !is_registry_name("/x") && !is_registry_name("")
        );
    }

    #[test]
    fn attribute_paths() {
        assert_eq!(components("a.b"), ["a", "b"]);
        assert_eq!(
            components(r#"nixosConfigurations."web.example".config"#),
            ["nixosConfigurations", "web.example", "config"]
        );
        assert_eq!(join(&["nixosConfigurations", "web.example"]), r#"nixosConfigurations."web.example""#);
    }

    proptest! {
        #[test]
        fn joined_components_come_apart_again(parts in prop::collection::vec("[a-zA-Z0-9._-]{1,8}", 1..5)) {
            prop_assert_eq!(components(&join(&parts)), parts);
        }

        #[test]
        fn encoded_paths_have_no_special_characters(path in "\\PC{0,30}") {
            prop_assert!(encode(&path).chars().all(|c| c.is_ascii_alphanumeric() || "/-._~%".contains(c)));
        }
    }

    #[test]
    fn a_directory_with_a_query() {
        let top = tempfile::tempdir().unwrap();
        let repo = top.path().join("repo");
        std::fs::create_dir_all(repo.join("hosts")).unwrap();
        std::fs::write(repo.join("flake.nix"), "").unwrap();
        assert_eq!(with_query(&repo, "dir=hosts"), format!("path:{}?dir=hosts", repo.display()));
        std::fs::create_dir(repo.join(".git")).unwrap();
        let url = format!("git+file://{}", repo.display());
        assert_eq!(with_query(&repo, "submodules=1"), format!("{url}?submodules=1"));
        // nix looks for flake.nix above, too.
        assert_eq!(with_query(&repo.join("hosts"), "submodules=1"), format!("{url}?submodules=1"));
        std::fs::write(repo.join("hosts/flake.nix"), "").unwrap();
        assert_eq!(with_query(&repo.join("hosts"), "submodules=1"), format!("{url}?dir=hosts&submodules=1"));
    }

    #[test]
    fn searching_up_stops_at_the_work_tree() {
        let top = tempfile::tempdir().unwrap();
        let inner = top.path().join("repo/hosts/a");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(top.path().join("flake.nix"), "").unwrap();
        assert_eq!(search_up(&inner), Some(top.path().to_owned()));
        std::fs::create_dir(top.path().join("repo/.git")).unwrap();
        assert_eq!(search_up(&inner), None);
        assert_eq!(git_root(&inner), Some(top.path().join("repo")));
        std::fs::write(top.path().join("repo/flake.nix"), "").unwrap();
        assert_eq!(search_up(&inner), Some(top.path().join("repo")));
    }
}
