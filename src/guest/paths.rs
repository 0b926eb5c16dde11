//! Which of the paths that failed units name are there: what they wrote, what their properties say, held against the
//! guest's file systems.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use super::facts::{Facts, Owner, PathFact, Unit};
use super::{Guest, Limits};
use crate::model::STORE_DIR;
use crate::text::{bounded, quoted};

/// Most paths that are asked about.
const PATHS: usize = 64;
/// How many of a unit's last lines are searched.
const LINES: usize = 20;
/// Most existing paths that are kept of those beside a missing one.
const BESIDE: usize = 200;
/// Most lines that are kept of those that make a missing path.
const MADE: usize = 20;
/// Most start scripts that are read, most bytes of each (all of them fit into an answer), and most paths that are taken
/// from one.
const SCRIPTS: usize = 48;
const SCRIPT: usize = 16 << 10;
const SCRIPT_PATHS: usize = 16;
/// Most bytes of the answer.
const ANSWER: usize = 1 << 20;

/// An absolute path in a line: after what cannot be part of one, at least two parts long or right below the root.
static PATH: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?:^|[\s'"`‘“(\[<=:,@])(/[^/\s'"`’”()<>\[\],;:|&]+(?:/[^\s'"`’”()<>,;:|&]*)*)"#).ok()
});
/// A file system by what it is called, as mount(8) writes it.
static LABELLED: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\b(PARTUUID|PARTLABEL|UUID|LABEL)=([A-Za-z0-9_.-]+)").ok());

/// The absolute paths in a line, without those in the store; `UUID=…` and `LABEL=…` as udev's links.
pub(crate) fn paths_in(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = line;
    // The character before a path may be the one after the last: each is searched for from there.
    while let Some(path) = PATH.as_ref().and_then(|pattern| pattern.captures(rest)).and_then(|found| found.get(1)) {
        let text = path.as_str().trim_end_matches(['.', '!', '?', '…', '/', ']', '}', '\\']);
        if text.len() > 1 && !text.starts_with(STORE_DIR) && !found.iter().any(|known| known == text) {
            found.push(text.to_owned());
        }
        rest = &rest[path.end()..];
    }
    for label in LABELLED.as_ref().into_iter().flat_map(|pattern| pattern.captures_iter(line)) {
        found.push(format!("/dev/disk/by-{}/{}", label[1].to_ascii_lowercase(), label[2].trim_end_matches('.')));
    }
    found
}

/// The paths that a unit's properties name.
pub(crate) fn paths_of(unit: &Unit) -> Vec<String> {
    let Some(service) = &unit.service else { return Vec::new() };
    let directory = Some(&service.directory).filter(|path| !path.is_empty());
    let own = service.files.iter().chain(&service.devices).chain(directory).cloned();
    own.chain(service.exec_start.split_whitespace().skip(1).flat_map(paths_in)).collect()
}

/// The paths that units in trouble name.
fn candidates(facts: &Facts, troubled: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for name in troubled {
        let lines: Vec<_> = facts.journal.iter().filter(|line| line.unit == *name).collect();
        let last = &lines[lines.len().saturating_sub(LINES)..];
        found.extend(last.iter().flat_map(|line| paths_in(&line.message)));
        found.extend(facts.unit(name).map(paths_of).unwrap_or_default());
        let service = facts.unit(name).and_then(|unit| unit.service.as_ref());
        found.extend(service.into_iter().flat_map(|service| service.script_paths.iter().cloned()));
    }
    let worth = |path: &String| path.len() < 512 && !path.starts_with("/proc/") || path.starts_with("/proc/acpi");
    found.into_iter().filter(worth).take(PATHS).collect()
}

/// Asks of each path whether it is there (a pattern: whether anything matches), else how far it is, and what there is
/// beside it that differs in the first missing part only; whose it is, and each directory above it; and which line of the
/// configuration names it.
fn script(paths: &BTreeSet<String>) -> String {
    let mut script = String::from(
        "( p() { O=$IFS; IFS=; for X in $2; do [ -e \"$X\" ] && { IFS=$O; echo \"$1 +\"; return; }; done; IFS=$O\n\
         D=$2 R=; while :; do R=/${D##*/}$R; D=${D%/*}; [ -z \"$D\" ] || [ -d \"$D\" ] && break; done\n\
         echo \"$1 -$D\"; R=${R#/}; case $R in */*) R=/${R#*/};; *) R=;; esac\n",
    );
    script.push_str(&format!(
        "for S in \"$D\"/*; do [ -e \"$S$R\" ] && echo \"$1 =$S$R\"; done | head -n {BESIDE}; }}\n"
    ));
    let owned: BTreeSet<&str> = paths.iter().filter(|path| !path.contains('*')).flat_map(|path| way_to(path)).collect();
    let owned: Vec<String> = owned.into_iter().map(quoted).collect();
    if !owned.is_empty() {
        script.push_str(&format!("stat -L -c 'owner %U %G %a %n' -- {} 2>/dev/null\n", owned.join(" ")));
    }
    let mut patterns = String::new();
    for (index, path) in paths.iter().enumerate() {
        script.push_str(&format!("p {index} {}\n", quoted(path)));
        if is_kept(path) {
            patterns.push_str(&format!(" -e {}", quoted(path)));
        }
    }
    if !patterns.is_empty() {
        // NixOS's scripts of units are files of their own in the store.
        script.push_str(&format!(
            "F=$(grep -shoE '/nix/store/[^ \"]+' /etc/systemd/system/*.service | grep -E -e 'unit-script|-(start|pre-start|post-start)$' | sort -u | head -n 600)\n\
             grep -sIHF {patterns} /run/current-system/activate /etc/systemd/system/*.service $F </dev/null | head -n 200 | sed 's/^/made /'\n\
             systemd-tmpfiles --cat-config 2>/dev/null | sed -n 's/^[a-zA-Z]/made tmpfiles:&/p' | head -n 600\n"
        ));
    }
    script.push_str(": )");
    script
}

/// A path, and each directory above it but the root, the innermost first.
fn way_to(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| path.rsplit_once('/').map(|(parent, _)| parent))
        .filter(|path| !path.is_empty())
}

/// Whether a path is one that a machine's own disk may keep.
fn is_kept(path: &str) -> bool {
    !["/dev/", "/sys/", "/proc/", "/etc/"].iter().any(|start| path.starts_with(start))
}

/// Reads what [`script`] printed.
fn parse(output: &str, paths: &BTreeSet<String>) -> BTreeMap<String, PathFact> {
    let names: Vec<&String> = paths.iter().collect();
    let mut facts: BTreeMap<String, PathFact> = BTreeMap::new();
    let mut owners: BTreeMap<&str, Owner> = BTreeMap::new();
    for line in output.lines() {
        if let Some(owned) = line.strip_prefix("owner ") {
            if let [user, group, mode, path] = owned.splitn(4, ' ').collect::<Vec<_>>()[..] {
                let [user, group, mode] = [user, group, mode].map(|word| bounded(word, 64));
                owners.insert(path, Owner { path: path.to_owned(), user, group, mode });
            }
            continue;
        }
        if let Some(made) = line.strip_prefix("made ") {
            for path in paths {
                let concerns = if made.starts_with("tmpfiles:") {
                    rule_concerns(made, path)
                } else {
                    made.contains(path.as_str())
                };
                if let Some(fact) =
                    facts.get_mut(path).filter(|fact| concerns && !fact.exists && fact.made.len() < MADE)
                {
                    fact.made.push(bounded(made, 300));
                }
            }
            continue;
        }
        let Some((index, rest)) = line.split_once(' ') else { continue };
        let Some(name) = index.parse::<usize>().ok().and_then(|index| names.get(index)) else { continue };
        let fact = facts.entry((*name).clone()).or_default();
        if rest == "+" {
            fact.exists = true;
        } else if let Some(parent) = rest.strip_prefix('-') {
            parent.clone_into(&mut fact.parent);
        } else if let Some(beside) = rest.strip_prefix('=') {
            fact.beside.push(bounded(beside, 512));
        }
    }
    for (path, fact) in facts.iter_mut().filter(|(path, _)| !path.contains('*')) {
        fact.owner = way_to(path).find_map(|path| owners.get(path)).cloned();
        let directories = way_to(path).skip(1).filter_map(|path| owners.get(path));
        fact.closed = directories.filter(|owner| !owner.mode.ends_with(['1', '3', '5', '7'])).last().cloned();
    }
    facts
}

/// Whether a rule of tmpfiles.d(5) is about this path, or about a directory in which it lies (not one of the system's).
fn rule_concerns(rule: &str, path: &str) -> bool {
    let Some(place) = rule.split_whitespace().nth(1) else { return false };
    let place = place.trim_matches(['"', '\'']).trim_end_matches('/');
    let is_deep = place.split('/').count() > 3;
    let below = |one: &str, other: &str| one.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'));
    place == path || below(place, path) || is_deep && below(path, place)
}

/// The file that NixOS made of a service's `script`.
fn start_script(unit: &Unit) -> Option<&str> {
    let program = unit.service.as_ref()?.exec_start.split_whitespace().next()?;
    (program.starts_with(STORE_DIR) && program.contains("-unit-script-")).then_some(program)
}

/// What a script's lines name, comments left out, at most so many.
fn named_in(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for path in text.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(paths_in) {
        if found.len() < SCRIPT_PATHS && !found.contains(&path) {
            found.push(path);
        }
    }
    found
}

/// What each of the scripts names that `head -v` printed, by its path.
fn scripts_in(text: &str) -> BTreeMap<String, Vec<String>> {
    let parts = text.split("==> ").filter_map(|part| part.split_once(" <==\n"));
    parts.map(|(script, text)| (script.to_owned(), named_in(text))).collect()
}

impl Guest {
    /// Adds which paths the start scripts of these units name.
    async fn add_scripts(&self, facts: &mut Facts, troubled: &[&str], limits: &Limits) {
        let in_trouble = |unit: &&Unit| troubled.contains(&unit.name.as_str());
        let scripts: BTreeSet<&str> =
            facts.units.iter().filter(in_trouble).filter_map(start_script).take(SCRIPTS).collect();
        if scripts.is_empty() {
            return;
        }
        let names: Vec<String> = scripts.into_iter().map(quoted).collect();
        let ask = format!("head -v -c {SCRIPT} {}", names.join(" "));
        // Without an answer there are only the units' own words.
        let Ok(output) = self.shell().ask(&ask, limits.patience, ANSWER).await else { return };
        let named = scripts_in(&String::from_utf8_lossy(&output.stdout));
        for unit in facts.units.iter_mut().filter(|unit| troubled.contains(&unit.name.as_str())) {
            let found = start_script(unit).and_then(|script| named.get(script)).cloned();
            if let Some((service, found)) = unit.service.as_mut().zip(found) {
                service.script_paths = found;
            }
        }
    }

    /// Adds which of the paths that these units name are there.
    pub(super) async fn add_paths(&self, facts: &mut Facts, troubled: &[&str], limits: &Limits) {
        self.add_scripts(facts, troubled, limits).await;
        let paths = candidates(facts, troubled);
        if paths.is_empty() {
            return;
        }
        // Without an answer there are only the units' own words.
        let Ok(output) = self.shell().ask(&script(&paths), limits.patience, ANSWER).await else { return };
        facts.paths = parse(&String::from_utf8_lossy(&output.stdout), &paths);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn paths_in_words() {
        for (line, paths) in [
            ("Error: cannot open /dev/ttyUSB0: No such file or directory", &["/dev/ttyUSB0"][..]),
            ("open '/var/lib/x/a.json': no such file", &["/var/lib/x/a.json"]),
            ("fopen: `/root/wireguard-keys/private': No such file or directory", &["/root/wireguard-keys/private"]),
            ("GET https://example.org/a/b failed", &[]),
            ("exec /nix/store/abc-x/bin/x --config=/persist/x.toml", &["/persist/x.toml"]),
            ("no devices at /dev/hidraw* (checked).", &["/dev/hidraw*"]),
            ("mount: /backup: can't find UUID=5f1c-22aa.", &["/backup", "/dev/disk/by-uuid/5f1c-22aa"]),
            ("copying /a/b:/c/d, /e/f.", &["/a/b", "/c/d", "/e/f"]),
            ("1/2 and and/or", &[]),
        ] {
            assert_eq!(paths_in(line), paths, "{line}");
        }
    }

    #[test]
    fn what_is_there_and_what_is_beside() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        std::fs::create_dir(at("app")).unwrap();
        std::fs::write(at("app/config.json"), "").unwrap();
        std::fs::write(at("hid0"), "").unwrap();
        let asked = [at("app"), at("hid*"), at("ap/config.json"), at("app/conf ig.json"), at("it's/b"), at("x*")];
        let paths: BTreeSet<String> = asked.into();
        let output = Command::new("sh").arg("-c").arg(script(&paths)).output().unwrap();
        let facts = parse(&String::from_utf8_lossy(&output.stdout), &paths);
        assert!(facts[&at("app")].exists && facts[&at("hid*")].exists);
        let typo = &facts[&at("ap/config.json")];
        assert!(!typo.exists);
        assert_eq!(
            (typo.parent.as_str(), &typo.beside[..]),
            (&*dir.path().display().to_string(), &[at("app/config.json")][..])
        );
        assert_eq!(facts[&at("app/conf ig.json")].beside, [at("app/config.json")]);
        assert!(!facts[&at("it's/b")].exists && facts[&at("it's/b")].beside.is_empty());
        assert!(!facts[&at("x*")].exists);
    }

    #[test]
    fn whose_a_path_is() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o755)).tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        std::fs::create_dir_all(at("a/b/c d")).unwrap();
        std::fs::write(at("a/b/c d/file"), "").unwrap();
        for (name, mode) in [("a", 0o755), ("a/b", 0o750), ("a/b/c d", 0o700), ("a/b/c d/file", 0o640)] {
            std::fs::set_permissions(at(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        let paths: BTreeSet<String> = [at("a/b/c d/file"), at("a/gone/file"), at("a/b/*")].into();
        let output = Command::new("sh").arg("-c").arg(script(&paths)).output().unwrap();
        let facts = parse(&String::from_utf8_lossy(&output.stdout), &paths);
        let told = |path: &str| {
            let fact = &facts[&at(path)];
            [&fact.owner, &fact.closed].map(|owner| owner.as_ref().map(|it| (it.path.clone(), it.mode.clone())))
        };
        assert_eq!(told("a/b/c d/file"), [Some((at("a/b/c d/file"), "640".into())), Some((at("a/b"), "750".into()))]);
        assert_eq!(told("a/gone/file"), [Some((at("a"), "755".into())), None]);
        assert_eq!(told("a/b/*"), [None, None]);
    }

    #[test]
    fn what_start_scripts_name() {
        let script = "#!/nix/store/x-bash/bin/bash\nset -e\n# see /etc/wireguard\n\
                      wg set \"wg0\" private-key \"/run/secrets/wg\" listen-port 51820\nwg set wg0 private-key /run/secrets/wg\n";
        assert_eq!(named_in(script), ["/run/secrets/wg"]);
        let printed = format!("==> /nix/store/a <==\n{script}\n==> /nix/store/b <==\ncat /etc/b\n");
        let both = scripts_in(&printed);
        assert_eq!(
            (&both["/nix/store/a"][..], &both["/nix/store/b"][..]),
            (&["/run/secrets/wg".to_owned()][..], &["/etc/b".to_owned()][..])
        );
        let unit = |exec_start: &str| Unit {
            service: Some(super::super::facts::Service { exec_start: exec_start.into(), ..Default::default() }),
            ..Unit::default()
        };
        let path = "/nix/store/abc-unit-script-wireguard-wg0-start/bin/wireguard-wg0-start";
        assert_eq!(start_script(&unit(&format!("{path} "))), Some(path));
        assert_eq!(start_script(&unit("/nix/store/abc-app/bin/app --config /etc/app")), None);
    }

    #[test]
    fn rules_about_a_path() {
        let path = "/var/lib/app/key";
        for (rule, concerns) in [
            ("tmpfiles:f /var/lib/app/key 0600 - - -", true),
            ("tmpfiles:d /var/lib/app 0755 root root -", true),
            ("tmpfiles:d /var/lib 0755 root root -", false),
            ("tmpfiles:d /var/lib/ap 0755", false),
            ("tmpfiles:C /var/lib/app/key/x - - - - /etc/x", true),
        ] {
            assert_eq!(rule_concerns(rule, path), concerns, "{rule}");
        }
    }
}
