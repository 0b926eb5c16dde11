//! Flakes of other shapes: a hive of colmena's, configurations sorted by system, and none at all.

use super::choose::RequestedName;
use crate::event::Events;
use crate::failure::{Failure, Result};
use crate::nix::{Flake, Nix, Target, attribute_names, join};
use crate::text::listed;

/// What a hive has beside its nodes.
const NO_NODES: [&str; 3] = ["meta", "network", "defaults"];
/// Outputs that read like machines and are none.
const OTHERS: [(&str, &str); 4] = [
    ("homeConfigurations", "home-manager configurations are for users, not for machines"),
    ("darwinConfigurations", "nix-darwin configurations are for macOS, which cannot be booted here"),
    ("nixosModules", "a module is tried as part of a nixosConfigurations.NAME that imports it"),
    ("deploy", "deploy-rs deploys nixosConfigurations: the flake needs them as an output of its own"),
];

/// A flake whose configurations are sorted by system, as packages are: NixOS does not find them either.
pub(super) async fn by_system(flake: &Flake, configurations: &[String], nix: &Nix, events: &Events) -> Option<Failure> {
    if configurations.is_empty() || !configurations.iter().all(|name| is_system(name)) {
        return None;
    }
    let system = configurations.iter().find(|name| **name == nix.system()).or(configurations.first())?;
    let hosts = attribute_names(flake, &join(&["nixosConfigurations", system]), nix, events).await.unwrap_or_default();
    let host = hosts.first().map_or("NAME", String::as_str);
    let shown = flake.shown();
    Some(
        Failure::usage(format!(
            "{shown} has its nixosConfigurations by system ({system}), but NixOS expects them by host"
        ))
        .why(format!("it has: {}", listed("", &hosts)))
        .hint(format!(
            "write nixosConfigurations.{host} in its outputs; as it is: {shown}#{}",
            join(&["nixosConfigurations", system, host])
        )),
    )
}

/// `x86_64-linux` and its like.
fn is_system(name: &str) -> bool {
    name.split_once('-').is_some_and(|(architecture, kernel)| {
        ["x86_64", "aarch64", "i686", "armv7l", "armv6l", "riscv64"].contains(&architecture)
            && ["linux", "darwin"].contains(&kernel)
    })
}

/// A node of a hive, where a flake has one: with nodes evaluated (`colmenaHive`), or as modules (`colmena`).
///
/// # Errors
/// Usage, with its nodes, where none is the one that was asked for.
pub(super) async fn node(
    requested: &RequestedName<'_>,
    flake: &Flake,
    nix: &Nix,
    events: &Events,
) -> Result<Option<Target>> {
    for output in [&["colmenaHive", "nodes"][..], &["colmena"]] {
        let mut nodes = attribute_names(flake, &join(output), nix, events).await?;
        nodes.retain(|name| !NO_NODES.contains(&name.as_str()));
        if nodes.is_empty() {
            continue;
        }
        let short = requested.host.split('.').next().unwrap_or_default();
        let wanted = match (requested.attribute, nodes.as_slice()) {
            (Some(name), _) => nodes.iter().find(|node| *node == name.trim_matches('"')),
            (None, [only]) => Some(only),
            (None, _) => nodes.iter().find(|node| *node == requested.host || *node == short),
        };
        let shown = flake.shown();
        let Some(node) = wanted else {
            let typed = requested.attribute.unwrap_or_default();
            let what = if typed.is_empty() { "several nodes".to_owned() } else { format!("no node {typed}") };
            return Err(Failure::usage(format!("{shown} is a colmena hive with {what}"))
                .hint(format!("name one as {shown}#NODE: {}", listed(typed, &nodes))));
        };
        return Ok(Some(Target::Attribute { flake: flake.clone(), path: join(&[output, &[node.as_str()]].concat()) }));
    }
    Ok(None)
}

/// What a flake that has no machine has instead, where it can be said.
pub(crate) async fn instead(flake: &Flake, nix: &Nix, events: &Events) -> Option<String> {
    let outputs = nix.outputs(&flake.portable(), events).await.filter(|outputs| !outputs.is_empty())?;
    let known = OTHERS.iter().find(|(output, _)| outputs.iter().any(|name| name == output));
    let has = format!("it has: {}", listed("", &outputs));
    Some(known.map_or_else(
        || format!("{has}; a machine is nixosConfigurations.NAME (`nixbox init` makes a flake with one)"),
        |(_, why)| format!("{has}; {why}"),
    ))
}

/// The files by which a directory without a flake.nix has machines, in the order in which they are looked for.
pub(super) const ENTRIES: [&str; 2] = ["default.nix", "hive.nix"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems() {
        assert!(is_system("x86_64-linux") && is_system("aarch64-darwin"));
        assert!(!is_system("web") && !is_system("x86_64") && !is_system("my-linux") && !is_system("aarch64-linux-box"));
    }
}
