//! Packages by name, with their versions and sizes.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::model::{Area, Change, Grade, Kind, PackageChange, PackageChanges};
use super::names::{compare_versions, name_of, split};
use crate::nix::PathInfo;

/// Names in the one line that tells of packages.
const NAMED: usize = 6;

/// All that two systems need.
#[derive(Debug, Clone, Default)]
pub(crate) struct Closures {
    infos: HashMap<String, PathInfo>,
}

/// One system's packages.
#[derive(Debug, Default)]
struct Packages<'a> {
    /// Name → versions.
    versions: BTreeMap<&'a str, BTreeSet<&'a str>>,
    /// Name → bytes of all its paths.
    bytes: BTreeMap<&'a str, u64>,
    paths: BTreeSet<&'a str>,
    installed: BTreeSet<&'a str>,
}

impl Closures {
    pub(crate) fn new(infos: HashMap<String, PathInfo>) -> Self {
        Self { infos }
    }

    /// What a path needs, itself included.
    fn closure<'a>(&'a self, top: &str) -> BTreeSet<&'a str> {
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut pending: Vec<&str> = self.infos.get_key_value(top).map(|(path, _)| path.as_str()).into_iter().collect();
        while let Some(path) = pending.pop() {
            let Some((_, info)) = self.infos.get_key_value(path).filter(|(path, _)| seen.insert(path)) else {
                continue;
            };
            pending.extend(info.references.iter().map(String::as_str));
        }
        seen
    }

    /// Bytes of all that a system needs.
    pub(crate) fn bytes(&self, top: &str) -> Option<u64> {
        let closure = self.closure(top);
        (!closure.is_empty())
            .then(|| closure.iter().filter_map(|path| self.infos.get(*path)).map(|info| info.bytes).sum())
    }

    /// A system's packages. `path` is what `sw` leads to: what is in it directly is installed for all users.
    fn packages(&self, top: &str, path: &str) -> Packages<'_> {
        let mut packages = Packages { paths: self.closure(top), ..Packages::default() };
        for path in &packages.paths {
            if let (name, Some(version)) = split(name_of(path)) {
                packages.versions.entry(name).or_default().insert(version);
                *packages.bytes.entry(name).or_default() += self.infos.get(*path).map_or(0, |info| info.bytes);
            }
        }
        let installed = self.infos.get(path).into_iter().flat_map(|info| &info.references);
        for path in installed {
            let (name, version) = split(name_of(path));
            packages.installed.insert(name);
            // A script of somebody's own has none, and is on the PATH all the same.
            if version.is_none() {
                packages.versions.entry(name).or_default().insert("(no version)");
            }
        }
        packages
    }

    /// What differs between two systems, each with what its `sw` leads to.
    pub(crate) fn changes(&self, old: (&str, &str), new: (&str, &str)) -> PackageChanges {
        let (before, after) = (self.packages(old.0, old.1), self.packages(new.0, new.1));
        let mut changes = PackageChanges::default();
        let names: BTreeSet<&str> = before.versions.keys().chain(after.versions.keys()).copied().collect();
        for name in names {
            // NixOS makes these of each configuration anew.
            if name.starts_with("nixos-system") {
                continue;
            }
            let (from, to) = (before.versions.get(name), after.versions.get(name));
            if from == to {
                continue;
            }
            let list = |versions: Option<&BTreeSet<&str>>| {
                versions.into_iter().flatten().map(|version| (*version).to_owned()).collect::<Vec<_>>()
            };
            let size = |packages: &Packages<'_>| {
                packages.bytes.get(name).map_or(0, |bytes| i64::try_from(*bytes).unwrap_or(i64::MAX))
            };
            let change = PackageChange {
                name: name.to_owned(),
                from: list(from),
                to: list(to),
                installed: before.installed.contains(name) || after.installed.contains(name),
                bytes: size(&after).saturating_sub(size(&before)),
            };
            let newest = |versions: Option<&BTreeSet<&str>>| {
                versions.into_iter().flatten().copied().max_by(|a, b| compare_versions(a, b)).map(str::to_owned)
            };
            match (newest(from), newest(to)) {
                (None, _) => changes.added.push(change),
                (_, None) => changes.removed.push(change),
                (Some(from), Some(to)) => match compare_versions(&from, &to) {
                    Ordering::Greater => changes.down.push(change),
                    Ordering::Less | Ordering::Equal => changes.up.push(change),
                },
            }
        }
        let differing = |packages: &Packages<'_>, other: &Packages<'_>| {
            let moved = packages.paths.difference(&other.paths).filter_map(|path| {
                let (name, version) = split(name_of(path));
                version.map(|_| name)
            });
            moved.map(str::to_owned).collect::<BTreeSet<String>>()
        };
        let told: BTreeSet<&String> = [&changes.up, &changes.down, &changes.added, &changes.removed]
            .into_iter()
            .flatten()
            .map(|change| &change.name)
            .collect();
        changes.rebuilt = differing(&after, &before).iter().filter(|name| !told.contains(name)).count();
        changes
    }
}

/// A line for each direction, with what users have on their PATH first.
pub(super) fn lines(packages: &PackageChanges) -> Vec<Change> {
    let PackageChanges { up, down, added, removed, rebuilt } = packages;
    let lists = [
        (down, Kind::Changed, "down"),
        (up, Kind::Changed, "up"),
        (added, Kind::Added, "new"),
        (removed, Kind::Removed, "gone"),
    ];
    let mut all: Vec<Change> = lists
        .into_iter()
        .filter(|(list, ..)| !list.is_empty())
        .map(|(list, kind, word)| {
            let subject = format!("{} {} {word}", list.len(), if list.len() == 1 { "package" } else { "packages" });
            Change::new(Grade::Info, Area::Package, kind, subject, named(list))
        })
        .collect();
    if *rebuilt > 0 {
        let what = "of the same version, with other inputs";
        let subject = format!("{rebuilt} {} rebuilt", if *rebuilt == 1 { "package" } else { "packages" });
        all.push(Change::new(Grade::Info, Area::Package, Kind::Rebuilt, subject, what));
    }
    all
}

fn named(list: &[PackageChange]) -> String {
    let mut sorted: Vec<&PackageChange> = list.iter().collect();
    sorted.sort_by_key(|change| !change.installed);
    let mut names: Vec<String> = sorted.iter().take(NAMED).map(|change| told(change)).collect();
    if list.len() > NAMED {
        names.push(format!("and {} more", list.len() - NAMED));
    }
    names.join(", ")
}

/// `nginx 1.26 → 1.27`.
pub(super) fn told(change: &PackageChange) -> String {
    let versions = |list: &[String]| list.join(", ");
    match (change.from.is_empty(), change.to.is_empty()) {
        (true, _) => format!("{} {}", change.name, versions(&change.to)),
        (_, true) => format!("{} {}", change.name, versions(&change.from)),
        _ => format!("{} {} → {}", change.name, versions(&change.from), versions(&change.to)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> String {
        format!("/nix/store/{:0>32}-{name}", name.len())
    }

    fn closures(all: &[(&str, &[&str])]) -> Closures {
        let info = |references: &[&str]| PathInfo {
            bytes: 10,
            references: references.iter().map(|name| path(name)).collect(),
        };
        Closures::new(all.iter().map(|(name, references)| (path(name), info(references))).collect())
    }

    #[test]
    fn versions_up_and_down() {
        let all = closures(&[
            ("nixos-system-old", &["sw-old", "glibc-2.39"]),
            ("nixos-system-new-", &["sw-new2", "glibc-2.40", "nixos-system-new-"]),
            ("sw-old", &["nginx-1.26", "gone-1", "down-2.0.0"]),
            ("sw-new2", &["nginx-1.27.0", "fresh-1.0.0.0", "down-1"]),
            ("glibc-2.39", &[]),
            ("glibc-2.40", &[]),
            ("nginx-1.26", &[]),
            ("nginx-1.27.0", &[]),
            ("gone-1", &[]),
            ("fresh-1.0.0.0", &[]),
            ("down-2.0.0", &[]),
            ("down-1", &[]),
        ]);
        let (old, new) = (path("nixos-system-old"), path("nixos-system-new-"));
        let changes = all.changes((&old, &path("sw-old")), (&new, &path("sw-new2")));
        let names = |list: &[PackageChange]| list.iter().map(told).collect::<Vec<_>>().join("; ");
        assert_eq!(names(&changes.up), "glibc 2.39 → 2.40; nginx 1.26 → 1.27.0");
        assert_eq!(names(&changes.down), "down 2.0.0 → 1");
        assert_eq!((names(&changes.added), names(&changes.removed)), ("fresh 1.0.0.0".to_owned(), "gone 1".to_owned()));
        assert!(!changes.up[0].installed && changes.up[1].installed);
        assert_eq!(all.bytes(&old), Some(60));
        assert_eq!(all.bytes("/nix/store/none"), None);
        assert_eq!(lines(&changes).len(), 4);
    }
}
