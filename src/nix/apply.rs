//! The command that applies exactly what was tested.

use serde::Deserialize;

use super::command::Nix;
use super::flake::Flake;
use super::target::Target;
use crate::event::Events;
use crate::text::command_line;

/// The command that applies exactly what was tested, for a configuration of a flake, a node of its hive, or a system of a
/// file; `None` for all else.
///
/// Where the flake is clean it is named with the revision that was tested, so that a later change does not slip in.
pub async fn apply_command(target: &Target, nix: &Nix) -> Option<String> {
    let Target::Host { flake, .. } = target else { return apply_command_from(target, "", nix) };
    apply_command_from(target, &reference(flake, nix).await, nix)
}

/// The same, where the flake's reference is known (see [`reference()`]).
pub fn apply_command_from(target: &Target, reference: &str, nix: &Nix) -> Option<String> {
    let (name, specialisation) = match target {
        Target::Host { name, specialisation, .. } => (name, specialisation),
        Target::File { file, .. } if file.ends_with("hive.nix") => return None,
        Target::File { file, attribute } => {
            let file = file.display().to_string();
            return Some(command_line(
                ["nixos-rebuild", "switch", "--file", &file, "--attr", attribute].map(str::to_owned),
            ));
        }
        _ => {
            return target.node().map(|node| command_line(["colmena", "apply", "--on", node].map(str::to_owned)));
        }
    };
    let mut words = ["nixos-rebuild", "switch", "--flake"].map(str::to_owned).to_vec();
    words.push(format!("{reference}#{name}"));
    if let Some(specialisation) = specialisation {
        words.extend(["--specialisation".to_owned(), specialisation.clone()]);
    }
    words.extend(nix.flags.words(nix.here()).into_iter().filter(|word| word != "--show-trace"));
    Some(command_line(words))
}

/// The command with another subcommand of `nixos-rebuild`'s: `boot` where a switch is refused.
pub fn with_subcommand(apply: &str, subcommand: &str) -> String {
    match apply.strip_prefix("nixos-rebuild switch") {
        Some(rest) => format!("nixos-rebuild {subcommand}{rest}"),
        None => apply.to_owned(),
    }
}

/// The flake's reference with the revision that it has now, where its tree is clean.
pub async fn reference(flake: &Flake, nix: &Nix) -> String {
    #[derive(Deserialize)]
    struct Locked {
        rev: Option<String>,
    }
    #[derive(Deserialize)]
    struct Metadata {
        url: Option<String>,
        locked: Option<Locked>,
    }
    let answer = nix.flake_metadata(&flake.reference, flake.directory(), &Events::silent()).await.ok();
    let locked = answer
        .filter(|answer| answer.status.success())
        .and_then(|answer| serde_json::from_slice::<Metadata>(&answer.stdout).ok())
        .filter(|metadata| metadata.locked.as_ref().is_some_and(|locked| locked.rev.is_some()))
        .and_then(|metadata| metadata.url);
    locked.unwrap_or_else(|| flake.portable())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_subcommand() {
        assert_eq!(with_subcommand("nixos-rebuild switch --flake .#a", "boot"), "nixos-rebuild boot --flake .#a");
        assert_eq!(with_subcommand("colmena apply --on a", "boot"), "colmena apply --on a");
    }
}
