//! What a name means, given the names that a flake has. Pure.

use crate::failure::Failure;
use crate::model::CheckId;
use crate::nix::{Flake, Target, VmVariant, components};
use crate::text::listed;

/// Outputs of a flake whose name in front makes a path a full one.
const OUTPUTS: [&str; 6] = ["nixosConfigurations", "packages", "legacyPackages", "checks", "apps", "hydraJobs"];

/// An attribute path that says all by itself.
pub(super) fn full_path(flake: &Flake, attribute: &str) -> Option<Target> {
    let (path, special) = split_specialisation(attribute);
    let parts = components(path);
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    if let ["nixosConfigurations", name, below @ ..] = parts.as_slice()
        && let Some((in_path, output)) = machine_below(below)
        && (special.is_none() || in_path.is_none())
    {
        let specialisation = special.or(in_path).map(str::to_owned);
        return Some(Target::Host { flake: flake.clone(), name: (*name).to_owned(), specialisation, output });
    }
    let is_full = parts.len() > 1 && OUTPUTS.contains(&parts[0]);
    is_full.then(|| Target::Attribute { flake: flake.clone(), path: attribute.to_owned() })
}

/// Which machine of a configuration an attribute path below it leads to: a specialisation of its, and which runner.
fn machine_below<'a>(path: &[&'a str]) -> Option<(Option<&'a str>, VmVariant)> {
    // A specialisation's `configuration` is an evaluated `config` in NixOS, a whole machine elsewhere (machine.nix).
    let (special, path) = match path {
        ["config", "specialisation", special, "configuration", path @ ..] => {
            (Some(*special), path.strip_prefix(&["config"]).unwrap_or(path))
        }
        ["config", path @ ..] => (None, path),
        path => (None, path),
    };
    match path {
        [] => Some((special, VmVariant::default())),
        ["system", "build", attribute] => VmVariant::of_attribute(attribute).map(|variant| (special, variant)),
        _ => None,
    }
}

/// `NAME@SPECIALISATION`, at the first `@` outside of quotes: a host's name has none (hostname(7)), that of a
/// specialisation may. Either may be empty: what was not said.
fn split_specialisation(attribute: &str) -> (&str, Option<&str>) {
    let mut quoted = false;
    let at = attribute.find(|c| {
        quoted ^= c == '"';
        c == '@' && !quoted
    });
    match at {
        Some(at) => (&attribute[..at], Some(attribute[at + 1..].trim_matches('"'))),
        None => (attribute, None),
    }
}

/// What was asked for, and where.
pub(super) struct RequestedName<'a> {
    pub(super) attribute: Option<&'a str>,
    /// This host's name, which stands for what was not said.
    pub(super) host: &'a str,
}

/// What a flake's names make of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Resolution {
    Host { name: String, specialisation: Option<String> },
    Package(String),
    Path(String),
}

/// Chooses among names. `packages` is `None` before they were asked for: then only a configuration is chosen.
pub(super) fn choose(
    requested: &RequestedName<'_>,
    configurations: &[String],
    packages: Option<&[String]>,
) -> Option<Resolution> {
    let has = |names: &[String], name: &str| names.iter().any(|known| known == name);
    let host = |name: &str, specialisation: Option<&str>| {
        Some(Resolution::Host { name: name.to_owned(), specialisation: specialisation.map(str::to_owned) })
    };
    let Some(attribute) = requested.attribute else {
        // This host's name may be a full one: `laptop.example.org` is `laptop` too.
        let short = requested.host.split('.').next().unwrap_or_default();
        if let Some(name) = [requested.host, short].into_iter().find(|name| has(configurations, name)) {
            return host(name, None);
        }
        if let [only] = configurations {
            return host(only, None);
        }
        return packages.filter(|names| has(names, "vm")).map(|_| Resolution::Package("vm".to_owned()));
    };
    let bare = attribute.trim_matches('"');
    if has(configurations, bare) {
        return host(bare, None);
    }
    let (name, specialisation) = split_specialisation(attribute);
    // `@special` of the host that would be chosen without a name.
    if name.is_empty() {
        return match choose(&RequestedName { attribute: None, host: requested.host }, configurations, None)? {
            Resolution::Host { name, .. } => host(&name, specialisation),
            other => Some(other),
        };
    }
    if has(configurations, name.trim_matches('"')) {
        return host(name.trim_matches('"'), specialisation);
    }
    let packages = packages?;
    if has(packages, bare) {
        return Some(Resolution::Package(bare.to_owned()));
    }
    // Some other output of the flake: nix says whether it is there.
    let parts = components(attribute);
    (parts.len() > 1 && specialisation.is_none()).then(|| Resolution::Path(attribute.to_owned()))
}

pub(super) fn unresolved(
    requested: &RequestedName<'_>,
    flake: &Flake,
    configurations: &[String],
    packages: &[String],
) -> Failure {
    let shown = flake.shown();
    let (name, specialisation) = requested.attribute.map_or(("", None), split_specialisation);
    let bare = name.trim_matches('"');
    // Only a configuration has specialisations.
    let packages = if specialisation.is_some() { &[] } else { packages };
    let all: Vec<String> = configurations.iter().chain(packages).cloned().collect();
    if bare.is_empty() && !all.is_empty() {
        let special = specialisation.map_or(String::new(), |special| format!("@{special}"));
        return Failure::usage(format!(
            "{shown} has several configurations, and none is this host's ({})",
            requested.host
        ))
        .hint(format!("name one as {shown}#NAME{special}: {}", listed(requested.host, &all)));
    }
    let (missing, nothing) = match (bare, specialisation) {
        ("", None) => ("nixosConfigurations and no package vm".to_owned(), None),
        ("", Some(_)) => ("nixosConfigurations".to_owned(), None),
        (name, None) => (
            format!("configuration or package {name}"),
            Some("it has no nixosConfigurations and no packages for this system"),
        ),
        (name, Some(_)) => (format!("configuration {name}"), Some("it has no nixosConfigurations")),
    };
    let mut failure = Failure::check(CheckId::BuildAttribute, format!("{shown} has no {missing}"));
    failure.hint =
        if all.is_empty() { nothing.map(str::to_owned) } else { Some(format!("there are: {}", listed(bare, &all))) };
    failure
}
