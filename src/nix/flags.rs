//! Options of nix that nixbox takes under nix's own names.

use std::ffi::OsString;
use std::path::Path;

/// Options of nix that nixbox takes under nix's own names, on every command that evaluates.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Options for nix")]
pub struct NixFlags {
    /// Let the evaluation see the environment and files outside the flake
    #[arg(long)]
    pub impure: bool,
    /// Use another flake for an input
    #[arg(long, num_args = 2, value_names = ["INPUT", "FLAKE"], action = clap::ArgAction::Append)]
    pub override_input: Vec<String>,
    /// Set a nix option (nix.conf(5))
    #[arg(long, num_args = 2, value_names = ["NAME", "VALUE"], action = clap::ArgAction::Append, allow_hyphen_values = true)]
    pub option: Vec<String>,
    /// Do not use the network: no substituters, cached inputs are fresh enough
    #[arg(long)]
    pub offline: bool,
    /// Consider all cached inputs out of date
    #[arg(long, conflicts_with = "offline")]
    pub refresh: bool,
    /// Apply the settings in the flake's nixConfig (they may add binary caches and run programs)
    #[arg(long)]
    pub accept_flake_config: bool,
    /// Add to the search path for `<name>`
    #[arg(short = 'I', long = "include", value_name = "PATH", action = clap::ArgAction::Append)]
    pub include: Vec<String>,
    /// Show nix's whole stack trace when the evaluation fails
    #[arg(long)]
    pub show_trace: bool,
}

/// Without a network nix goes on for minutes, since it waits as long as curl does and tries five times. Who has no
/// network is to hear of it in seconds; a server that is merely slow has answered by then.
const IMPATIENT: [(&str, &str); 2] = [("connect-timeout", "5"), ("download-attempts", "3")];

impl NixFlags {
    /// The value of a nix option given by the user; the last one counts.
    pub fn option_value(&self, name: &str) -> Option<&str> {
        self.option.chunks_exact(2).rev().find(|pair| pair[0] == name).map(|pair| pair[1].as_str())
    }

    /// The flags for a command that evaluates. Relative paths are made absolute, since nix may be started elsewhere.
    pub(super) fn for_evaluation(&self, here: &Path) -> Vec<OsString> {
        let mut args = self.for_store();
        let mut add = |list: &[&str]| args.extend(list.iter().map(OsString::from));
        if self.impure {
            add(&["--impure"]);
        }
        if self.offline {
            add(&["--offline"]);
        }
        if self.refresh {
            add(&["--refresh"]);
        }
        if self.accept_flake_config {
            add(&["--accept-flake-config"]);
        }
        if self.show_trace {
            add(&["--show-trace"]);
        }
        for pair in self.override_input.chunks_exact(2) {
            add(&["--override-input", &pair[0], &absolute(&pair[1], here)]);
        }
        for entry in &self.include {
            let entry = match entry.split_once('=') {
                Some((name, path)) => format!("{name}={}", absolute(path, here)),
                None => absolute(entry, here),
            };
            add(&["-I", &entry]);
        }
        args
    }

    /// The flags for a command that only builds (`nix-store`, which does not know the others).
    pub(super) fn for_store(&self) -> Vec<OsString> {
        let mut args = Vec::new();
        let is_given = |name: &str| self.option_value(name).is_some();
        for (name, value) in IMPATIENT.iter().filter(|(name, _)| !is_given(name)) {
            args.extend(["--option", name, value].map(OsString::from));
        }
        for pair in self.option.chunks_exact(2) {
            args.extend(["--option", &pair[0], &pair[1]].map(OsString::from));
        }
        args
    }

    /// The flags as the user would type them behind another command.
    pub fn words(&self, here: &Path) -> Vec<String> {
        let own = IMPATIENT.iter().filter(|(name, _)| self.option_value(name).is_none()).count() * 3;
        self.for_evaluation(here).into_iter().skip(own).map(|word| word.to_string_lossy().into_owned()).collect()
    }
}

/// A path that begins with a dot, from here; everything else (URLs, registry names) as it is.
fn absolute(reference: &str, here: &Path) -> String {
    let is_relative =
        reference == "." || reference.starts_with("./") || reference.starts_with("../") || reference == "..";
    if is_relative { here.join(reference).to_string_lossy().into_owned() } else { reference.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        nix: NixFlags,
    }

    fn flags(args: &[&str]) -> NixFlags {
        use clap::Parser as _;
        Cli::try_parse_from([&["x"], args].concat()).unwrap().nix
    }

    #[test]
    fn flags_under_their_own_names() {
        let given =
            ["--impure", "--override-input", "a", "../b", "--option", "max-jobs", "-1", "--offline", "-I", "x=./y"];
        let flags = flags(&given);
        assert_eq!(flags.option_value("max-jobs"), Some("-1"));
        assert_eq!(
            flags.words(Path::new("/h")),
            [
                "--option",
                "max-jobs",
                "-1",
                "--impure",
                "--offline",
                "--override-input",
                "a",
                "/h/../b",
                "-I",
                "x=/h/./y"
            ]
        );
        let impatient = ["--option", "connect-timeout", "5", "--option", "download-attempts", "3"];
        assert_eq!(flags.for_store(), [&impatient[..], &["--option", "max-jobs", "-1"]].concat());
        assert_eq!(NixFlags::default().words(Path::new("/h")), Vec::<String>::new());
    }

    #[test]
    fn flags_repeat() {
        let flags = flags(&["--option", "a", "1", "--override-input", "x", "github:a/b", "--option", "a", "2"]);
        assert_eq!(flags.option_value("a"), Some("2"));
        assert_eq!(flags.option.len(), 4);
        assert_eq!(flags.override_input, ["x", "github:a/b"]);
    }
}
