//! A git repository with a flake, whose machine is one of the guests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use super::{guests, processes_under};

/// A repository whose machine is the guest that `configuration.nix` names.
pub(crate) struct Repository {
    directory: tempfile::TempDir,
    pub(crate) state: tempfile::TempDir,
    pub(crate) cache: PathBuf,
}

impl Repository {
    pub(crate) fn with_cache(guest: &str, cache: PathBuf) -> Self {
        let temporary = || tempfile::Builder::new().prefix("nb ").tempdir().expect("a temporary directory");
        let repository =
            Self { directory: temporary(), state: tempfile::Builder::new().prefix("nb-").tempdir().unwrap(), cache };
        let flake = format!(
            "{{ outputs = _: {{ nixosConfigurations.laptop =\n  (builtins.getFlake \"path:{}\").nixosConfigurations.${{import ./configuration.nix}}; }}; }}\n",
            guests().display().to_string().replace(' ', "%20")
        );
        fs::write(repository.file("flake.nix"), flake).unwrap();
        repository.git(&["init", "--quiet"]);
        repository.choose(guest);
        repository.git(&["add", "."]);
        repository.git(&["commit", "--quiet", "--no-verify", "-m", "one"]);
        repository
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// `nixbox WORDS`, from the repository, with its own state and cache.
    pub(crate) fn nixbox(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nixbox"));
        command.args(words).arg("--impure").current_dir(self.path());
        command.env("XDG_STATE_HOME", self.state.path()).env("XDG_CACHE_HOME", &self.cache);
        command.env_remove("XDG_RUNTIME_DIR");
        command
    }

    /// `nixbox try .#laptop WORDS`, run to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.nixbox(&[&["try", ".#laptop"], words].concat()).arg("--quiet").output().expect("nixbox starts")
    }

    /// Its report, whose exit code is the process's.
    pub(crate) fn report(&self, words: &[&str]) -> Value {
        let output = self.run(&[words, &["--format", "json"]].concat());
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        assert_eq!(report["exit"].as_i64(), output.status.code().map(i64::from));
        report
    }

    pub(crate) fn choose(&self, guest: &str) {
        fs::write(self.file("configuration.nix"), format!("\"{guest}\"\n")).unwrap();
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let settings = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"];
        let output = Command::new("git").arg("-C").arg(self.path()).args(settings).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let left = processes_under(self.state.path());
            assert!(left.is_empty(), "processes survived: {left:?}");
        }
    }
}
