//! Attribute paths in nix's syntax, and the names that there are below one.

use super::Flake;
use super::command::Nix;
use super::diagnosis;
use crate::event::Events;
use crate::failure::Result;

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
pub(crate) fn join<S: AsRef<str>>(components: &[S]) -> String {
    let plain = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_'".contains(c));
    let quoted = components.iter().map(|part| {
        let part = part.as_ref();
        if plain(part) { part.to_owned() } else { format!("\"{part}\"") }
    });
    quoted.collect::<Vec<_>>().join(".")
}

/// The names in an output of a flake; none when the flake has no such output.
pub(crate) async fn attribute_names(flake: &Flake, output: &str, nix: &Nix, events: &Events) -> Result<Vec<String>> {
    let answer = nix.eval(&flake.installable(output), "builtins.attrNames", flake.directory(), events).await?;
    if answer.status.success() {
        return answer.parsed();
    }
    if diagnosis::is_absent(&answer.log) {
        return Ok(Vec::new());
    }
    Err(diagnosis::evaluation(&answer.log, &flake.source(), &flake.shown()).at(nix.log_path()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
    }
}
