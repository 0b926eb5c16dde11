//! How long `nixbox diff` takes of two systems that need 2,000 store paths each, half of them the same.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::nixbox;

/// Paths of each system.
const PATHS: usize = 2_000;
/// Of which are units, and files of /etc.
const UNITS: usize = 400;
const ETC: usize = 400;
const RUNS: usize = 10;

/// A store that nix takes for its own, in which nothing was ever built.
struct Store {
    directory: tempfile::TempDir,
    registration: String,
}

impl Store {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("nb-").tempdir().expect("a temporary directory");
        fs::create_dir_all(directory.path().join("nix/store")).expect("a directory");
        Self { directory, registration: String::new() }
    }

    fn physical(&self, path: &str) -> PathBuf {
        self.directory.path().join(path.trim_start_matches('/'))
    }

    /// A path with files and links in it, and what it refers to.
    fn put(
        &mut self,
        key: usize,
        name: &str,
        files: &[(&str, &str)],
        links: &[(String, String)],
        references: &[String],
    ) -> String {
        let path = format!("/nix/store/{key:032}-{name}");
        let physical = self.physical(&path);
        fs::create_dir_all(&physical).expect("a directory");
        for (file, text) in files {
            let file = physical.join(file);
            fs::create_dir_all(file.parent().expect("a parent")).expect("a directory");
            fs::write(file, text).expect("a file");
        }
        for (link, target) in links {
            let link = physical.join(link);
            fs::create_dir_all(link.parent().expect("a parent")).expect("a directory");
            symlink(target, link).expect("a link");
        }
        // As nix-store --dump-db writes it: path, hash, size, deriver, references.
        write!(self.registration, "{path}\n{key:064x}\n4096\n\n{}\n", references.len()).expect("text");
        for reference in references {
            writeln!(self.registration, "{reference}").expect("text");
        }
        path
    }

    fn url(&self) -> String {
        format!("local?root={}", self.directory.path().display())
    }

    fn register(&self) {
        let file = self.directory.path().join("registration");
        fs::write(&file, &self.registration).expect("a file");
        let status = Command::new("nix-store")
            .arg("--load-db")
            .env("NIX_REMOTE", self.url())
            .stdin(fs::File::open(&file).expect("a file"))
            .status()
            .expect("nix-store is on PATH");
        assert!(status.success(), "nix-store --load-db");
    }

    /// A system; every second part of it is the same whatever `version` is.
    fn system(&mut self, version: usize) -> String {
        let key = |part: usize| if part.is_multiple_of(2) { part + 1 } else { part + 1 + version * 100_000 };
        let text = |part: usize| if part.is_multiple_of(2) { 0 } else { version };
        let (mut references, mut unit_links, mut etc_links) = (Vec::new(), Vec::new(), Vec::new());
        for part in 0..PATHS - UNITS - ETC - 4 {
            let name = format!("package{part}-1.{}", text(part));
            let before = references.iter().rev().take(3).cloned().collect::<Vec<_>>();
            references.push(self.put(key(part), &name, &[("bin/x", "")], &[], &before));
        }
        for part in PATHS..PATHS + UNITS {
            let (name, program) = (format!("s{part}.service"), &references[part - PATHS]);
            let unit = format!(
                "[Unit]\nDescription={part}\n[Service]\nExecStart={program}/bin/x --level {}\nEnvironment=\"PATH={program}/bin\"\n",
                text(part) % 7
            );
            let path = self.put(key(part), &format!("unit-{name}"), &[(&name, &unit)], &[], &[]);
            unit_links.push((name.clone(), format!("{path}/{name}")));
            unit_links.push((format!("multi-user.target.wants/{name}"), format!("../{name}")));
            references.push(path);
        }
        for part in 2 * PATHS..2 * PATHS + ETC {
            let lines: String = (0..50).map(|line| format!("line {line} of {}\n", text(part))).collect();
            let path = self.put(key(part), &format!("etc-{part}"), &[("text", &lines)], &[], &[]);
            etc_links.push((format!("etc/d{}/f{part}", part % 20), format!("{path}/text")));
            references.push(path);
        }
        unit_links.push(("default.target".to_owned(), "multi-user.target".to_owned()));
        let units =
            self.put(1_000_000 + version, "system-units", &[("multi-user.target", "[Unit]\n")], &unit_links, &[]);
        etc_links.push(("etc/systemd/system".to_owned(), units.clone()));
        let etc = self.put(2_000_000 + version, "etc", &[], &etc_links, &[units]);
        let sw = self.put(3_000_000 + version, "system-path", &[], &[], &references.clone());
        references.extend([etc.clone(), sw.clone()]);
        let files = [("nixos-version", "26.11"), ("activate", "#!/bin/sh\n"), ("init", "")];
        let links = [("etc".to_owned(), format!("{etc}/etc")), ("sw".to_owned(), sw)];
        self.put(4_000_000 + version, "nixos-system-bench-26.11", &files, &links, &references)
    }
}

/// Milliseconds of whole comparisons, and of what of them is not nix's.
pub(crate) fn times() -> (Vec<f64>, Vec<f64>) {
    let mut store = Store::new();
    let (from, to) = (store.system(1), store.system(2));
    store.register();
    let (mut whole, mut own) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let diff = timed(nixbox().args(["diff", &from, &to, "--quiet"]), &store);
        let arguments = ["--extra-experimental-features", "nix-command", "path-info", "--recursive", "--json"];
        let nix = timed(Command::new("nix").args(arguments).args([&from, &to]), &store);
        whole.push(diff);
        own.push((diff - nix).max(0.0));
    }
    (whole, own)
}

fn timed(command: &mut Command, store: &Store) -> f64 {
    let clock = Instant::now();
    command.env("NIX_REMOTE", store.url()).current_dir(Path::new("/"));
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("it starts");
    assert!(status.success(), "{command:?}");
    clock.elapsed().as_secs_f64() * 1000.0
}
