//! What a hook tests: the targets of the flags, else of `nixbox.toml`, else the flake here, else those flakes of the
//! repository that speak of machines.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::cli::HookArgs;
use crate::config;
use crate::failure::{Failure, Result};
use crate::git;
use crate::nix::{Flake, Nix};
use crate::resolve::{self, git_root};

/// Most flakes elsewhere in a repository that are tested.
const MOST_FLAKES: usize = 4;
/// Most that are looked into.
const MOST_LOOKED_INTO: usize = 64;
/// The largest index that git looks through for them, in bytes: some 40 000 files, which take 10 ms of a processor.
const MOST_INDEX: u64 = 4 << 20;
/// Directories of flakes that are there to be copied or to be tested with: no machines of the user's.
const SAMPLES: [&str; 6] = ["example", "examples", "template", "templates", "test", "tests"];

/// A target that a hook tests.
#[derive(Debug, Clone)]
pub(super) struct HookTarget {
    /// As an argument of `nixbox try`.
    pub(super) typed: String,
    /// The same from where the agent works.
    pub(super) shown: String,
    /// Whether a flag or `nixbox.toml` names it. The default target need not exist.
    pub(super) is_named: bool,
    /// The local flake that it is in.
    pub(super) flake: Option<Flake>,
}

impl HookTarget {
    /// One that is called the same wherever it is named.
    pub(super) fn of(typed: String, is_named: bool, flake: Option<Flake>) -> Self {
        Self { shown: typed.clone(), typed, is_named, flake }
    }

    fn new(typed: &str, is_named: bool, nix: &Nix) -> Self {
        Self::of(typed.to_owned(), is_named, resolve::local_flake(typed, nix))
    }
}

/// Whether there may be something to test here.
pub(super) fn has_target(arguments: &HookArgs) -> bool {
    if !arguments.target.is_empty() {
        return true;
    }
    let nix = Nix::new(arguments.nix.clone());
    match find(nix.here(), &nix) {
        Ok(found) => !found.names.is_empty(),
        // What is wrong with a file is told where the targets are needed.
        Err(_) => true,
    }
}

/// The targets, for an agent that works in `agents`. None where there is no flake here or in the repository, and none was
/// named.
pub(super) fn targets(arguments: &HookArgs, nix: &Nix, agents: &Path) -> Result<Vec<HookTarget>> {
    if !arguments.target.is_empty() {
        return Ok(arguments.target.iter().map(|typed| HookTarget::new(typed, true, nix)).collect());
    }
    let found = find(nix.here(), nix)?;
    let mut nix = nix.clone();
    if found.directory != nix.here() {
        // The names are relative to that, wherever the agent works.
        std::env::set_current_dir(&found.directory).map_err(|error| {
            Failure::host(format!("cannot change to the directory {}", found.directory.display())).because(error)
        })?;
        nix = Nix::new(arguments.nix.clone());
    }
    let directory = nix.here();
    let target = |(typed, is_named): &(String, bool)| {
        let mut target = HookTarget::new(typed, *is_named, &nix);
        if directory != agents {
            target.shown = placed(typed, directory, &directory.to_string_lossy());
        }
        target
    };
    Ok(found.names.iter().map(target).collect())
}

/// What is to be tested, where no flag says it.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    /// What the names are relative to.
    directory: PathBuf,
    /// The targets, and whether a `nixbox.toml` names them.
    names: Vec<(String, bool)>,
}

impl Found {
    /// What the `nixbox.toml` in a directory names; `None` where it names nothing.
    fn named_in(directory: &Path) -> Result<Option<Self>> {
        let names: Vec<_> = hook_targets(directory)?.into_iter().map(|typed| (typed, true)).collect();
        Ok((!names.is_empty()).then(|| Self { directory: directory.to_owned(), names }))
    }
}

/// Looks at the flake `here`, or above, as a bare `nixbox try` does. Where there is none, or it speaks of no machines,
/// the others of the repository are looked at: they may be below the agent's directory, or beside it.
fn find(here: &Path, nix: &Nix) -> Result<Found> {
    let own = resolve::local_flake(&here.to_string_lossy(), nix).filter(|flake| flake.dir.is_some());
    let directory = own.as_ref().and_then(|flake| flake.dir.as_deref());
    if let Some(directory) = directory
        && let Some(named) = Found::named_in(directory)?
    {
        return Ok(named);
    }
    let root = git_root(here);
    if let Some(root) = root.as_deref().filter(|root| directory != Some(*root))
        && let Some(named) = Found::named_in(root)?
    {
        return Ok(named);
    }
    if !own.as_ref().is_some_and(Flake::speaks_of_machines)
        && let Some(root) = root
    {
        let names = elsewhere(&root, directory)?;
        if !names.is_empty() {
            return Ok(Found { directory: root, names });
        }
    }
    let names = own.iter().map(|_| (".".to_owned(), false)).collect();
    Ok(Found { directory: here.to_owned(), names })
}

/// The targets of a `nixbox.toml`, where there is one in this directory.
fn hook_targets(directory: &Path) -> Result<Vec<String>> {
    Ok(config::load(None, Some(directory))?.settings_for("").hook_targets)
}

/// The targets in those flakes of the repository at `root` that speak of machines, as they are named from there, and in
/// the flake at `own` where that may have some. None where no other flake speaks of them.
fn elsewhere(root: &Path, own: Option<&Path>) -> Result<Vec<(String, bool)>> {
    let all = tracked_flakes(root);
    let speaks = |inside: &&PathBuf| {
        let directory = root.join(inside);
        let is_file = directory.join("flake.nix").is_file();
        own != Some(directory.as_path()) && is_file && Flake::local(&directory, None).speaks_of_machines()
    };
    let mut directories: Vec<PathBuf> = all.iter().filter(speaks).take(MOST_FLAKES).cloned().collect();
    if directories.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(own) = own
        && let Ok(inside) = own.strip_prefix(root)
        && imports_machines(own, root, &all)
    {
        directories.insert(0, inside.to_owned());
    }
    let mut names = Vec::new();
    for inside in &directories {
        let shown = match inside.to_str() {
            Some("") => ".",
            Some(shown) => shown,
            None => continue,
        };
        let directory = root.join(inside);
        let named = hook_targets(&directory)?;
        if named.is_empty() {
            names.push((shown.to_owned(), false));
        }
        names.extend(named.iter().map(|typed| (placed(typed, &directory, shown), true)));
    }
    Ok(names)
}

/// The directories of the flakes that git tracks, by their names below the repository's root, the nearest to it first.
fn tracked_flakes(root: &Path) -> Vec<PathBuf> {
    if root.join(".git/index").metadata().is_ok_and(|data| data.len() > MOST_INDEX) {
        return Vec::new();
    }
    let listed = git::output(root, &["ls-files", "-z", "--", ":(top,glob)**/flake.nix"]).unwrap_or_default();
    let mut directories: Vec<PathBuf> = listed
        .split(|byte| *byte == 0)
        .filter_map(|file| Path::new(OsStr::from_bytes(file)).parent())
        .filter(|inside| !is_sample(inside))
        .map(Path::to_owned)
        .collect();
    directories.sort_by_key(|inside| inside.components().count());
    // One that is being merged is listed several times.
    directories.dedup();
    directories.truncate(MOST_LOOKED_INTO);
    directories
}

/// Whether a directory is one of samples, or lies in one.
fn is_sample(inside: &Path) -> bool {
    inside.iter().any(|part| part.to_str().is_some_and(|part| SAMPLES.contains(&part)))
}

/// Whether a flake whose flake.nix does not speak of machines has another file that does, outside of the other flakes.
fn imports_machines(own: &Path, root: &Path, all: &[PathBuf]) -> bool {
    let mut command = git::command(own);
    command.args(["grep", "--quiet", "--fixed-strings", "--no-recurse-submodules"]);
    command.args(["-e", "nixosConfigurations", "-e", "nixosSystem", "--", "*.nix"]);
    for inside in all {
        let directory = root.join(inside);
        if directory != own && directory.starts_with(own) {
            let mut excluded = OsString::from(":(top,exclude,literal)");
            excluded.push(inside);
            command.arg(excluded);
        }
    }
    command.stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// A target that the `nixbox.toml` in `directory` names, relative to where that directory is called `shown`.
fn placed(named: &str, directory: &Path, shown: &str) -> String {
    let (reference, attribute) = named.split_at(named.find('#').unwrap_or(named.len()));
    let (path, query) = reference.split_at(reference.find('?').unwrap_or(reference.len()));
    if path.is_empty() || path == "." {
        return format!("{shown}{query}{attribute}");
    }
    if Path::new(path).is_relative() && directory.join(path).exists() {
        return format!("{shown}/{path}{query}{attribute}");
    }
    named.to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::nix::NixFlags;

    const MACHINES: &str = "{ outputs = _: { nixosConfigurations = { }; }; }";
    const HELPERS: &str = "{ outputs = _: { devShells = { }; }; }";

    struct Repository {
        _place: tempfile::TempDir,
        root: PathBuf,
    }

    impl Repository {
        fn new(files: &[(&str, &str)]) -> Self {
            let place = tempfile::tempdir().unwrap();
            let repository = Self { root: place.path().canonicalize().unwrap(), _place: place };
            git::run(&repository.root, &["init", "--quiet"]);
            repository.write(files);
            git::run(&repository.root, &["add", "."]);
            repository
        }

        fn write(&self, files: &[(&str, &str)]) {
            for (file, text) in files {
                let file = self.root.join(file);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, text).unwrap();
            }
        }

        /// What is found from a directory: where the names are relative to, and the names, with `!` those of a file.
        fn found(&self, inside: &str) -> (String, Vec<String>) {
            let found = find(&self.root.join(inside), &Nix::new(NixFlags::default())).unwrap();
            let directory = found.directory.strip_prefix(&self.root).unwrap().to_str().unwrap().to_owned();
            let shown = |(typed, is_named): &(String, bool)| format!("{}{typed}", if *is_named { "!" } else { "" });
            (directory, found.names.iter().map(shown).collect())
        }
    }

    fn names(directory: &str, names: &[&str]) -> (String, Vec<String>) {
        (directory.to_owned(), names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn machines_below_the_root_are_found_from_anywhere() {
        let repository = Repository::new(&[
            ("nixos/flake.nix", MACHINES),
            ("nixos/hosts/a.nix", "{ }"),
            ("dev/flake.nix", HELPERS),
            ("docs/page.md", ""),
        ]);
        for inside in ["", "docs", "dev"] {
            assert_eq!(repository.found(inside), names("", &["nixos"]), "{inside}");
        }
        assert_eq!(repository.found("nixos"), names("nixos", &["."]));
        assert_eq!(repository.found("nixos/hosts"), names("nixos/hosts", &["."]));
        // nix reads what git tracks.
        repository.write(&[("other/flake.nix", MACHINES)]);
        assert_eq!(repository.found(""), names("", &["nixos"]));
        // A flake at the root that has machines is all that counts there.
        repository.write(&[("flake.nix", MACHINES)]);
        git::run(&repository.root, &["add", "."]);
        assert_eq!(repository.found(""), names("", &["."]));
        assert_eq!(repository.found("dev"), names("", &[".", "nixos", "other"]));
    }

    #[test]
    fn a_helper_at_the_root_gives_way() {
        let repository = Repository::new(&[("flake.nix", HELPERS), ("nixos/flake.nix", MACHINES)]);
        assert_eq!(repository.found(""), names("", &["nixos"]));
        // Its machines may be made in another file.
        repository.write(&[("hosts/default.nix", "lib.nixosSystem { }")]);
        git::run(&repository.root, &["add", "."]);
        assert_eq!(repository.found(""), names("", &[".", "nixos"]));
    }

    #[test]
    fn what_is_no_machine_of_the_user_s_is_left_alone() {
        let samples = [("templates/a/flake.nix", MACHINES), ("tests/flake.nix", MACHINES)];
        assert_eq!(Repository::new(&samples).found(""), names("", &[]));
        let with_own = [samples[0], samples[1], ("flake.nix", HELPERS)];
        assert_eq!(Repository::new(&with_own).found(""), names("", &["."]));
        assert_eq!(Repository::new(&[("a.c", ""), ("my-flake.nix", MACHINES)]).found(""), names("", &[]));
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("nixos")).unwrap();
        fs::write(place.path().join("nixos/flake.nix"), MACHINES).unwrap();
        assert!(find(place.path(), &Nix::new(NixFlags::default())).unwrap().names.is_empty());
    }

    #[test]
    fn a_few_are_enough() {
        let files = ["a/b/c", "d", "e", "f", "g", "h"].map(|directory| format!("{directory}/flake.nix"));
        let files: Vec<_> = files.iter().map(|file| (file.as_str(), MACHINES)).collect();
        assert_eq!(Repository::new(&files).found(""), names("", &["d", "e", "f", "g"]));
    }

    #[test]
    fn a_file_names_them_from_its_own_directory() {
        let hook = "[hook]\ntargets = [\".#laptop\", \"sub?submodules=1#x\", \"github:a/b#c\"]\n";
        let repository = Repository::new(&[
            ("nixos/flake.nix", MACHINES),
            ("nixos/nixbox.toml", hook),
            ("nixos/sub/flake.nix", HELPERS),
            ("server/flake.nix", MACHINES),
        ]);
        let below = ["!nixos#laptop", "!nixos/sub?submodules=1#x", "!github:a/b#c", "server"];
        assert_eq!(repository.found(""), names("", &below));
        assert_eq!(repository.found("nixos"), names("nixos", &["!.#laptop", "!sub?submodules=1#x", "!github:a/b#c"]));
        // The root's file is read without a flake beside it.
        repository.write(&[("nixbox.toml", "[hook]\ntargets = [\"server#a\"]\n")]);
        assert_eq!(repository.found(""), names("", &["!server#a"]));
        repository.write(&[("nixbox.toml", "[hook\n")]);
        assert!(find(&repository.root, &Nix::new(NixFlags::default())).is_err());
    }
}
