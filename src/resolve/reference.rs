//! How a flake is named: parsing what the user typed.

use std::path::{Path, PathBuf};

use crate::git;
use crate::nix::{Flake, encode, url_of};

/// What a flake's query says of one commit, or of where the flake is in it.
const OF_ONE_COMMIT: [&str; 6] = ["dir", "rev", "ref", "narHash", "lastModified", "revCount"];
/// Without this nix refuses a repository whose history ends early. To a path it adds that by itself.
const SHALLOW: &str = "shallow=1";

/// The URL that nix makes of a directory with a query behind it: `.?submodules=1`, `/etc/nixos?dir=hosts`.
pub(super) fn with_query(directory: &Path, query: &str) -> String {
    let dir = search_up(directory).unwrap_or_else(|| directory.to_owned());
    let root = git_root(&dir);
    let url = url_of(&dir, root.as_deref());
    let shallow = !query.contains("shallow=") && root.is_some_and(|root| git::is_shallow(&root));
    let pairs = [query, if shallow { SHALLOW } else { "" }].into_iter().filter(|pair| !pair.is_empty());
    let query = pairs.collect::<Vec<_>>().join("&");
    format!("{url}{}{query}", if url.contains('?') { '&' } else { '?' })
}

/// The URL of a flake in a commit of the repository at `root`, which it is in. What else its own query says, as
/// `submodules=1`, is part of it.
pub(crate) fn at_commit(flake: &Flake, root: &Path, commit: &str) -> String {
    let inside = flake.dir.as_deref().and_then(|dir| dir.strip_prefix(root).ok()).unwrap_or(Path::new(""));
    let is_shallow = git::is_shallow(root);
    let is_kept = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        let is_said_anew = OF_ONE_COMMIT.contains(&name) || is_shallow && name == "shallow";
        !pair.is_empty() && !is_said_anew
    };
    let mut pairs = Vec::new();
    if inside != Path::new("") {
        pairs.push(format!("dir={}", encode(&inside.to_string_lossy())));
    }
    let own = flake.reference.split_once('?').map_or("", |(_, query)| query);
    pairs.extend(own.split('&').filter(is_kept).map(str::to_owned));
    if is_shallow {
        pairs.push(SHALLOW.to_owned());
    }
    pairs.push(format!("rev={commit}"));
    format!("git+file://{}?{}", encode(&root.to_string_lossy()), pairs.join("&"))
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
    use super::*;

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
