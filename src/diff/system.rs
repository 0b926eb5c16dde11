//! What a toplevel holds, as data: read from the store, nothing of it executed or evaluated.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::accounts::Accounts;
use super::firewall::Firewall;
use super::names::{store_paths, whole_path};
use super::scripts;
use super::store_files::{Files, Found, tree};
use super::unit_file::UnitFile;
use super::unit_set::{UnitSet, template_of};
use super::wrappers::{Wrapper, wrappers};

/// The script of a toplevel that puts secrets into its initrd (`system/boot/stage-1.nix`).
pub(crate) const SECRETS: &str = "append-initrd-secrets";

/// Where polkit reads the rules that packages bring, besides /etc.
pub(crate) const PACKAGED_RULES: &str = "/run/current-system/sw/share/polkit-1/rules.d/";
/// Files of them.
const MOST_RULES: usize = 500;

/// A file of /etc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EtcFile {
    pub(crate) leads_to: Found,
    /// Mode and owner, where it is copied instead of linked: `0440 0:0`.
    pub(crate) mode: Option<String>,
}

/// What is booted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Boot {
    pub(crate) kernel: String,
    pub(crate) modules: String,
    pub(crate) initrd: String,
    /// The script that puts secrets into the initrd; empty where there is none.
    pub(crate) secrets: String,
    pub(crate) systemd: String,
    pub(crate) parameters: Vec<String>,
    /// The boot loader's installer.
    pub(crate) loader: String,
    /// What a switch compares before it changes anything.
    pub(crate) init_interface: String,
    /// PID 1's own settings, by where they lie.
    pub(crate) manager_settings: Option<PathBuf>,
}

/// A configuration's system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct System {
    pub(crate) top: PathBuf,
    pub(crate) version: String,
    pub(crate) units: UnitSet,
    pub(crate) user_units: UnitSet,
    pub(crate) etc: BTreeMap<String, EtcFile>,
    /// The rules in [`PACKAGED_RULES`], by their whole paths.
    pub(crate) packaged_rules: BTreeMap<String, EtcFile>,
    pub(crate) snippets: BTreeMap<String, String>,
    pub(crate) accounts: Accounts,
    pub(crate) wrappers: BTreeMap<String, Wrapper>,
    pub(crate) firewall: Firewall,
    pub(crate) boot: Boot,
    /// Name → where it leads.
    pub(crate) specialisations: BTreeMap<String, String>,
    /// `system.switch.inhibitors`.
    pub(crate) inhibitors: BTreeMap<String, String>,
    /// `system.preSwitchChecks`, name → script.
    pub(crate) checks: BTreeMap<String, String>,
}

impl System {
    /// Reads a toplevel. What is not there is empty.
    pub(crate) fn read(files: &dyn Files, top: &Path) -> Self {
        let text = |name: &str| files.read(&top.join(name)).map(|text| text.trim().to_owned()).unwrap_or_default();
        let units = unit_set(files, &top.join("etc/systemd/system"));
        let snippets = snippets(&files.read(&top.join("activate")).unwrap_or_default());
        let starter = files.read(&top.join("bin/switch-to-configuration")).unwrap_or_default();
        let special = match files.find(&top.join("specialisation")) {
            Found::Directory(directory) => files.list(&directory),
            _ => Vec::new(),
        };
        Self {
            top: top.to_owned(),
            version: text("nixos-version"),
            user_units: unit_set(files, &top.join("etc/systemd/user")),
            etc: etc(files, &top.join("etc")),
            packaged_rules: packaged_rules(files, top),
            accounts: accounts(files, top, &snippets, &units),
            wrappers: made_wrappers(files, &snippets, &units),
            firewall: firewall(files, &units),
            boot: boot(files, top, &starter),
            specialisations: special
                .into_iter()
                .map(|entry| (entry.name, entry.link.unwrap_or_default().to_string_lossy().into_owned()))
                .collect(),
            inhibitors: inhibitors(&text("switch-inhibitors")),
            checks: checks(files, &starter),
            snippets,
            units,
        }
    }
}

/// The units in a directory.
pub(super) fn unit_set(files: &dyn Files, directory: &Path) -> UnitSet {
    let mut set = UnitSet::default();
    let Found::Directory(directory) = files.find(directory) else { return set };
    let mut drop_ins: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in files.list(&directory) {
        let path = directory.join(&entry.name);
        let dependents = [".wants", ".requires", ".upholds"].iter().find_map(|end| entry.name.strip_suffix(end));
        if let Some(unit) = dependents {
            if let Found::Directory(path) = files.find(&path) {
                let names: BTreeSet<String> = files.list(&path).into_iter().map(|entry| entry.name).collect();
                if entry.name.ends_with(".requires") {
                    set.requires.insert(unit.to_owned(), names.clone());
                }
                set.wants.entry(unit.to_owned()).or_default().extend(names);
            }
        } else if let Some(unit) = entry.name.strip_suffix(".d") {
            let Found::Directory(path) = files.find(&path) else { continue };
            let all = files.list(&path).into_iter().filter(|entry| entry.name.ends_with(".conf"));
            let texts = all.filter_map(|entry| files.read(&path.join(entry.name)).map(|text| text.to_string()));
            drop_ins.insert(unit.to_owned(), texts.collect());
        } else if let Some(unit) = entry.link.as_deref().and_then(sibling).filter(|unit| *unit != entry.name) {
            set.aliases.insert(entry.name, unit);
        } else {
            match files.find(&path) {
                Found::File(file) => {
                    let unit = UnitFile::parse(&files.text(&file).unwrap_or_default());
                    set.files.insert(entry.name, unit);
                }
                Found::Elsewhere(path) if path == Path::new("/dev/null") => {
                    set.masked.insert(entry.name);
                }
                Found::Elsewhere(_) | Found::Directory(_) | Found::Missing => {}
            }
        }
    }
    for (name, texts) in drop_ins.into_iter().filter(|(_, texts)| !texts.is_empty()) {
        let unit = match set.files.get_mut(&name) {
            Some(unit) => unit,
            None if template_of(&name).is_some() => set.instance_drop_ins.entry(name).or_default(),
            None => continue,
        };
        texts.iter().for_each(|text| unit.add(text));
    }
    set
}

/// The name that a link beside it leads to.
fn sibling(link: &Path) -> Option<String> {
    let text = link.to_str()?;
    let name = text.strip_prefix("./").unwrap_or(text);
    (!name.contains('/')).then(|| name.to_owned())
}

/// All files below /etc but the units. A link to a directory is one entry.
fn etc(files: &dyn Files, directory: &Path) -> BTreeMap<String, EtcFile> {
    let mut all = BTreeMap::new();
    let mut pending = vec![(String::new(), directory.to_owned(), 0)];
    while let Some((name, path, depth)) = pending.pop() {
        let Found::Directory(path) = files.find(&path) else { continue };
        for entry in files.list(&path) {
            let inner = if name.is_empty() { entry.name.clone() } else { format!("{name}/{}", entry.name) };
            if matches!(inner.as_str(), "systemd/system" | "systemd/user") {
                continue;
            }
            if entry.is_directory && depth < 16 {
                pending.push((inner, path.join(&entry.name), depth + 1));
            } else {
                all.insert(inner, EtcFile { leads_to: files.find(&path.join(&entry.name)), mode: None });
            }
        }
    }
    side_files(files, &mut all);
    all
}

/// polkit's rules among what is installed.
fn packaged_rules(files: &dyn Files, top: &Path) -> BTreeMap<String, EtcFile> {
    let Found::Directory(directory) = files.find(&top.join("sw/share/polkit-1/rules.d")) else {
        return BTreeMap::new();
    };
    let all = tree(files, &directory, MOST_RULES).into_iter();
    all.map(|(name, leads_to)| (format!("{PACKAGED_RULES}{name}"), EtcFile { leads_to, mode: None })).collect()
}

/// `x.mode`, `x.uid` and `x.gid` are how `x` is copied.
fn side_files(files: &dyn Files, all: &mut BTreeMap<String, EtcFile>) {
    let copied: Vec<String> = all
        .keys()
        .filter_map(|name| name.strip_suffix(".mode"))
        .filter(|name| all.contains_key(*name))
        .map(str::to_owned)
        .collect();
    for name in copied {
        let mut part = |end: &str| {
            let side = all.remove(&format!("{name}.{end}"));
            let text = side.and_then(|side| match side.leads_to {
                Found::File(file) => files.text(&file),
                _ => None,
            });
            text.map(|text| text.trim().trim_start_matches('+').to_owned()).unwrap_or_default()
        };
        let mode = format!("{} {}:{}", part("mode"), part("uid"), part("gid"));
        if let Some(file) = all.get_mut(&name) {
            file.mode = Some(mode);
        }
    }
}

/// The snippets of an activation script by name (`system/activation/activation-script.nix`).
fn snippets(script: &str) -> BTreeMap<String, String> {
    let name = |line: &str| line.strip_prefix("#### Activation script snippet ")?.strip_suffix(':').map(str::to_owned);
    let mut all = headed(script, name);
    for text in all.values_mut() {
        // What NixOS puts around each.
        let own = text.split("if (( _localstatus > 0 ))").next().unwrap_or_default();
        *text = own.lines().filter(|line| line.trim() != "_localstatus=0").map(|line| format!("{line}\n")).collect();
    }
    all
}

/// The parts of a script below lines that name them.
fn headed(script: &str, name: impl Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
    let mut parts: BTreeMap<String, String> = BTreeMap::new();
    let mut at: Option<String> = None;
    for line in script.lines() {
        if let Some(name) = name(line.trim()) {
            at = Some(name);
        } else if line.starts_with("# Make this configuration the current") {
            at = None;
        } else if let Some(name) = &at {
            let part = parts.entry(name.clone()).or_default();
            part.push_str(line);
            part.push('\n');
        }
    }
    parts
}

/// The checks that a switch makes first (`system/activation/pre-switch-check.nix`).
fn checks(files: &dyn Files, starter: &str) -> BTreeMap<String, String> {
    let script = store_paths(starter).into_iter().map(|range| whole_path(&starter[range.start..]));
    let script =
        script.filter(|path| path.ends_with("/pre-switch-checks")).find_map(|path| files.read(Path::new(path)));
    headed(&script.unwrap_or_default(), |line| line.strip_prefix("# pre-switch check ").map(str::to_owned))
}

pub(super) fn inhibitors(text: &str) -> BTreeMap<String, String> {
    let Ok(Value::Object(all)) = serde_json::from_str(text) else { return BTreeMap::new() };
    all.into_iter()
        .map(|(name, value)| (name, value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect()
}

fn boot(files: &dyn Files, top: &Path, starter: &str) -> Boot {
    let leads_to = |name: &str| match files.find(&top.join(name)) {
        Found::File(path) | Found::Directory(path) => path.to_string_lossy().into_owned(),
        Found::Elsewhere(_) | Found::Missing => String::new(),
    };
    let text = |name: &str| files.read(&top.join(name)).unwrap_or_default();
    let loader = starter.split("INSTALL_BOOTLOADER=").nth(1).unwrap_or_default();
    let loader = loader.lines().next().unwrap_or_default().trim_matches(['\'', '"', ' ']);
    Boot {
        kernel: leads_to("kernel"),
        modules: leads_to("kernel-modules"),
        initrd: leads_to("initrd"),
        secrets: text(SECRETS).trim().to_owned(),
        systemd: leads_to("systemd"),
        parameters: text("kernel-params").split_whitespace().map(str::to_owned).collect(),
        loader: loader.to_owned(),
        init_interface: text("init-interface-version").trim().to_owned(),
        manager_settings: match files.find(&top.join("etc/systemd/system.conf")) {
            Found::File(path) => Some(path),
            _ => None,
        },
    }
}

/// The users: of the file that the activation script or userborn reads, else of an /etc that has them whole.
fn accounts(files: &dyn Files, top: &Path, snippets: &BTreeMap<String, String>, units: &UnitSet) -> Accounts {
    let mut texts: Vec<String> = snippets.values().cloned().collect();
    texts.extend(
        units.files.get("userborn.service").into_iter().flat_map(|unit| unit.values("Service", "ExecStart").to_vec()),
    );
    let named = |end: &str| {
        let ends_so = |text: &String| {
            let mut all = store_paths(text).into_iter().map(|range| whole_path(&text[range.start..]).to_owned());
            all.rfind(|path| path.ends_with(end))
        };
        texts.iter().find_map(ends_so)
    };
    let json = named("-users-groups.json").or_else(|| named("-userborn.json"));
    if let Some(accounts) =
        json.and_then(|path| files.read(Path::new(&path))).and_then(|text| Accounts::from_json(&text))
    {
        return accounts;
    }
    let script = named("/passwd").map(PathBuf::from);
    for passwd in script.into_iter().chain([top.join("users/passwd"), top.join("etc/passwd")]) {
        if let Some(text) = files.read(&passwd) {
            let beside = |name: &str| files.read(&passwd.with_file_name(name));
            return Accounts::from_files(&text, beside("group").as_deref(), beside("shadow").as_deref());
        }
    }
    Accounts::default()
}

/// The wrappers: since 24.11 a unit makes them, before that the activation script did.
fn made_wrappers(files: &dyn Files, snippets: &BTreeMap<String, String>, units: &UnitSet) -> BTreeMap<String, Wrapper> {
    let unit = units.files.get("suid-sgid-wrappers.service");
    let scripts = unit.map(|unit| scripts::of_unit(files, unit)).unwrap_or_default();
    if scripts.is_empty() {
        return snippets.get("wrappers").map(|text| wrappers(text)).unwrap_or_default();
    }
    scripts.iter().flat_map(|script| wrappers(script)).collect()
}

fn firewall(files: &dyn Files, units: &UnitSet) -> Firewall {
    let wanted = |name: &str| units.files.get(name).filter(|_| units.wants.values().any(|names| names.contains(name)));
    let own = ["firewall.service", "nftables.service"].into_iter().filter_map(wanted);
    let firewall = Firewall::of(&own.flat_map(|unit| scripts::of_start(files, unit)).collect::<Vec<_>>());
    match wanted("firewalld.service") {
        Some(_) => Firewall { is_on: true, is_firewalld: true, ..firewall },
        None => firewall,
    }
}

#[cfg(test)]
mod tests;
