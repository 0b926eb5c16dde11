//! Which of a flake's configurations are asked for: by patterns of names, and which part of them.

use std::fmt;
use std::str::FromStr;

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Result};

/// A configuration of a flake, or a specialisation of one. Written `HOST` and `HOST@SPECIALISATION`; in order of hosts,
/// a host before its specialisations.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ConfigurationName {
    /// Its name in `nixosConfigurations`.
    pub host: String,
    /// The specialisation.
    pub specialisation: Option<String>,
}

impl fmt::Display for ConfigurationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        match &self.specialisation {
            Some(specialisation) => write!(f, "@{specialisation}"),
            None => Ok(()),
        }
    }
}

/// One of `of` parts, counted from 1: `2/3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which, 1 to `of`.
    pub part: usize,
    /// Of how many, at least 1.
    pub of: usize,
}

impl Default for Shard {
    fn default() -> Self {
        Self { part: 1, of: 1 }
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let parsed = text.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
        match parsed {
            Some((part, of)) if (1..=of).contains(&part) && of <= 10_000 => Ok(Self { part, of }),
            _ => Err("give K/N with K from 1 to N, such as 2/3".to_owned()),
        }
    }
}

impl Shard {
    /// Its part of a list. Each shard has every `of`-th entry, so that all shards together have each once.
    pub(crate) fn part_of<T>(self, all: Vec<T>) -> Vec<T> {
        all.into_iter().skip(self.part - 1).step_by(self.of).collect()
    }
}

/// Which of a flake's configurations are asked for.
#[derive(Debug, Clone, Default)]
pub struct ConfigurationFilter {
    /// Patterns of whole names (`*`: any characters, `?`: any one), of which one has to match; no pattern: all.
    pub globs: Vec<String>,
    /// Which part of those that match.
    pub shard: Shard,
}

impl ConfigurationFilter {
    /// The patterns as regular expressions that Rust's regex, and nix's `builtins.match` (POSIX, extended), read alike.
    pub(crate) fn expressions(&self) -> Vec<String> {
        self.globs.iter().map(|glob| expression(glob)).collect()
    }

    /// The patterns, compiled.
    ///
    /// # Errors
    /// Usage (exit 2), for a pattern that is far too long.
    pub(crate) fn compiled(&self) -> Result<Vec<Regex>> {
        let compile = |glob: &String| {
            Regex::new(&format!("^(?s:{})$", expression(glob)))
                .map_err(|error| Failure::usage(format!("--filter {glob} cannot be used")).because(error))
        };
        self.globs.iter().map(compile).collect()
    }

    /// Which of all match, in all shards together, sorted by name.
    ///
    /// # Errors
    /// As [`Self::compiled`].
    pub(crate) fn matching<T>(&self, mut all: Vec<T>, name: impl Fn(&T) -> &ConfigurationName) -> Result<Vec<T>> {
        let patterns = self.compiled()?;
        all.sort_by(|one, other| name(one).cmp(name(other)));
        all.retain(|one| {
            let name = name(one).to_string();
            patterns.is_empty() || patterns.iter().any(|pattern| pattern.is_match(&name))
        });
        Ok(all)
    }
}

/// A pattern of names as a regular expression.
fn expression(glob: &str) -> String {
    let mut out = String::with_capacity(glob.len() + 8);
    for c in glob.chars() {
        match c {
            '*' => out.push_str(".*"),
            '?' => out.push('.'),
            // All that means something to both; the rest of the punctuation stands for itself.
            '.' | '[' | '\\' | '(' | ')' | '+' | '{' | '|' | '^' | '$' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn configuration(name: &str) -> ConfigurationName {
        let (host, specialisation) = name.split_once('@').map_or((name, None), |(host, special)| (host, Some(special)));
        ConfigurationName { host: host.to_owned(), specialisation: specialisation.map(str::to_owned) }
    }

    fn selected(globs: &[&str], shard: &str, names: &[&str]) -> Vec<String> {
        let globs: Vec<String> = globs.iter().map(|&glob| glob.to_owned()).collect();
        let filter = ConfigurationFilter { globs, shard: shard.parse().unwrap() };
        let names = names.iter().map(|name| configuration(name)).collect();
        let matching = filter.matching(names, |name| name).unwrap();
        filter.shard.part_of(matching).iter().map(ConfigurationName::to_string).collect()
    }

    const NAMES: [&str; 6] = ["web", "laptop@hyprland", "web.example", "laptop", "laptop@7.1", "lap"];

    #[test]
    fn patterns_are_of_whole_names() {
        assert_eq!(
            selected(&[], "1/1", &NAMES),
            ["lap", "laptop", "laptop@7.1", "laptop@hyprland", "web", "web.example"]
        );
        assert_eq!(selected(&["laptop"], "1/1", &NAMES), ["laptop"]);
        assert_eq!(selected(&["laptop*"], "1/1", &NAMES), ["laptop", "laptop@7.1", "laptop@hyprland"]);
        assert_eq!(selected(&["*@*", "we?"], "1/1", &NAMES), ["laptop@7.1", "laptop@hyprland", "web"]);
        assert_eq!(selected(&["web?example"], "1/1", &NAMES), ["web.example"]);
        assert_eq!(selected(&["web.example"], "1/1", &["webxexample", "web.example"]), ["web.example"]);
        assert_eq!(selected(&["nowhere", ""], "1/1", &NAMES), Vec::<String>::new());
    }

    #[test]
    fn a_host_comes_before_its_specialisations() {
        assert_eq!(selected(&[], "1/1", &["a-b", "a@x", "a"]), ["a", "a@x", "a-b"]);
    }

    #[test]
    fn shards_are_parts() {
        let parts: Vec<_> = (1..=3).map(|part| selected(&[], &format!("{part}/3"), &NAMES)).collect();
        assert_eq!(parts[0], ["lap", "laptop@hyprland"]);
        assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), NAMES.len());
        assert_eq!(selected(&["lap*"], "2/2", &NAMES), ["laptop", "laptop@hyprland"]);
        assert_eq!(selected(&[], "7/9", &NAMES), Vec::<String>::new());
        for text in ["0/3", "4/3", "1/0", "1", "a/b", "1/3/4", "-1/3", ""] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_pattern_that_matches_itself(text in "[^*?]{0,20}") {
            let filter = ConfigurationFilter { globs: vec![text.clone()], shard: Shard::default() };
            let named = ConfigurationName { host: text, specialisation: None };
            prop_assert_eq!(filter.matching(vec![named.clone()], |name| name).unwrap(), vec![named]);
        }

        #[test]
        fn every_entry_is_in_one_shard(count in 0usize..40, of in 1usize..12) {
            let all: Vec<usize> = (0..count).collect();
            let mut parts: Vec<usize> = (1..=of).flat_map(|part| Shard { part, of }.part_of(all.clone())).collect();
            parts.sort_unstable();
            prop_assert_eq!(parts, all);
        }
    }
}
