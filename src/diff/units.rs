//! Units that are new, gone or different.

use std::collections::{BTreeMap, BTreeSet};

use super::containers::Grants;
use super::context::Context;
use super::model::{Area, Change, Detail, Grade, Kind};
use super::names::{name_of, nameless, readable, split, store_paths};
use super::sandbox::{as_root, is_root, weaker};
use super::scripts;
use super::unit_file::{EMPTY, UnitFile};
use super::unit_set::{Start, UnitSet};

/// Keys that say nothing of what a unit does.
const MEANINGLESS: [&str; 6] =
    ["X-Restart-Triggers", "X-Reload-Triggers", "Description", "Documentation", "SourcePath", "SyslogIdentifier"];
/// Units whose scripts are told of by what they do: ports, rules, wrappers.
const TOLD_BY_PARTS: [&str; 3] = ["firewall.service", "nftables.service", "suid-sgid-wrappers.service"];
/// Lines of a new unit's script.
const SCRIPT_LINES: usize = 40;

/// The changes of the system's units, or of users'.
pub(super) fn changes(context: &Context<'_>, of_users: bool) -> Vec<Change> {
    let (old, new) = match of_users {
        false => (&context.old.units, &context.new.units),
        true => (&context.old.user_units, &context.new.user_units),
    };
    let scope = Scope { context, area: if of_users { Area::UserUnit } else { Area::Unit }, of_users };
    let (was, is) = (old.reached(), new.reached());
    let names: BTreeSet<&String> = old.files.keys().chain(new.files.keys()).collect();
    let mut all = Vec::new();
    let mut unused: BTreeMap<Kind, Vec<&str>> = BTreeMap::new();
    for name in names {
        match (old.files.get(name), new.files.get(name)) {
            (None, Some(unit)) => match start(name, &is) {
                Some(start) => all.push(scope.added(name, unit, start)),
                // What is there and nothing starts comes and goes with packages.
                None => unused.entry(Kind::Added).or_default().push(name),
            },
            (Some(_), None) => match start(name, &was) {
                Some(start) => {
                    let what = if new.masked.contains(name) { "masked" } else { "removed" };
                    let what = match start {
                        Start::Itself => what.to_owned(),
                        Start::Because(words) => format!("{what}, ran {words}"),
                    };
                    all.push(Change::new(Grade::Service, scope.area, Kind::Removed, name, what));
                }
                None => unused.entry(Kind::Removed).or_default().push(name),
            },
            (Some(before), Some(after)) if before != after => all.extend(scope.changed(name, before, after)),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
    for (kind, names) in unused {
        let what = format!("nothing starts by itself: {}", names.join(", "));
        all.push(Change::new(
            Grade::Info,
            scope.area,
            kind,
            format!("{} {}", names.len(), if names.len() == 1 { "unit" } else { "units" }),
            what,
        ));
    }
    let instances: BTreeSet<&String> = old.instance_drop_ins.keys().chain(new.instance_drop_ins.keys()).collect();
    for name in instances {
        if old.instance_drop_ins.get(name) != new.instance_drop_ins.get(name) {
            let unit = |set: &UnitSet| set.unit(name).unwrap_or_default();
            all.extend(scope.changed(name, &unit(old), &unit(new)));
        }
    }
    all.extend(enabled(&scope, (old, &was), (new, &is)));
    all
}

struct Scope<'a> {
    context: &'a Context<'a>,
    area: Area,
    of_users: bool,
}

/// All that something starts, with what does.
type Reached = BTreeMap<String, Start>;

/// What starts a unit: a template's instances, and its socket, start it.
fn start<'a>(name: &str, reached: &'a Reached) -> Option<&'a Start> {
    let of_template = || {
        let (base, kind) = name.rsplit_once('.')?;
        let base = base.strip_suffix('@')?;
        let is_instance =
            |other: &str| other.strip_prefix(base).is_some_and(|rest| rest.starts_with('@') && rest.ends_with(kind));
        let instance = || reached.iter().find(|(other, _)| is_instance(other)).map(|(_, start)| start);
        reached.get(&format!("{base}.socket")).filter(|_| kind == "service").or_else(instance)
    };
    reached.get(name).or_else(of_template)
}

/// Units that are in both, and started by something else, or by nothing, in one of them.
fn enabled(scope: &Scope<'_>, (old, was): (&UnitSet, &Reached), (new, is): (&UnitSet, &Reached)) -> Vec<Change> {
    let mut all = Vec::new();
    let is_meant = |name: &&String| new.files.contains_key(*name) && !name.ends_with(".target") && !name.contains('@');
    for name in old.files.keys().filter(is_meant) {
        let mut what = match (was.get(name), is.get(name)) {
            (Some(Start::Itself), Some(Start::Itself))
            | (Some(Start::Because(_)), Some(Start::Because(_)))
            | (None, None) => continue,
            (_, Some(Start::Itself)) => "is started by itself now".to_owned(),
            (_, Some(Start::Because(words))) => format!("is started {words} now"),
            (Some(Start::Itself), None) => "is not started by itself any more".to_owned(),
            (Some(Start::Because(words)), None) => format!("is not started {words} any more"),
        };
        let mut grade = Grade::Service;
        // What nothing started is as good as new.
        if let (None, Some(unit)) = (was.get(name), new.files.get(name)) {
            let made = scope.new_unit(name, unit);
            grade = made.grade;
            what = made.after(&what);
        }
        all.push(Change::new(grade, scope.area, Kind::Changed, name, what));
    }
    all
}

/// What a unit is that was not there, or that nothing started.
struct NewUnit {
    grade: Grade,
    /// `new`, `new socket`, `new timer daily`.
    what: String,
    /// What there is to know of it: `runs as root`.
    does: Vec<String>,
}

impl NewUnit {
    /// What it does after other words.
    fn after(&self, words: &str) -> String {
        self.does.iter().fold(words.to_owned(), |words, does| format!("{words}, {does}"))
    }
}

impl Scope<'_> {
    fn added(&self, name: &str, unit: &UnitFile, start: &Start) -> Change {
        let mut details = Vec::new();
        let sections = ["Service", "Socket", "Timer", "Mount", "Path"];
        for (section, keys) in unit.sections.iter().filter(|(section, _)| sections.contains(&section.as_str())) {
            for (key, values) in keys.iter().filter(|(key, _)| tells(section, key)) {
                details.extend(values.iter().map(|value| detail(key, None, Some(&readable(value)))));
            }
        }
        let new = self.new_unit(name, unit);
        let mut what = new.after(&new.what);
        if let Start::Because(words) = start {
            what.push_str(&format!(", {words}"));
        }
        let lines = if name.ends_with(".service") { self.script(unit) } else { Vec::new() };
        Change::new(new.grade, self.area, Kind::Added, name, what).with_details(details).with_lines(lines)
    }

    fn new_unit(&self, name: &str, unit: &UnitFile) -> NewUnit {
        let kind = name.rsplit('.').next().unwrap_or_default();
        let other = |what: String| NewUnit { grade: Grade::Service, what, does: Vec::new() };
        match kind {
            "service" => {
                let (mut grade, runs) = self.runs(unit);
                let mut does = vec![runs];
                let grants = self.grants(unit).beyond(&Grants::default());
                if !grants.is_empty() {
                    grade = Grade::Security;
                }
                does.extend(grants);
                NewUnit { grade, what: "new".to_owned(), does }
            }
            "socket" => {
                let listening = listening(&listens(unit));
                let grade = if listening.is_none() { Grade::Service } else { Grade::Security };
                NewUnit { grade, what: "new socket".to_owned(), does: listening.into_iter().collect() }
            }
            "timer" => {
                let when: Vec<&String> = unit
                    .sections
                    .get("Timer")
                    .into_iter()
                    .flatten()
                    .filter(|(key, _)| key.starts_with("On"))
                    .flat_map(|(_, values)| values)
                    .collect();
                let when = when.iter().map(|when| when.as_str()).collect::<Vec<_>>().join(", ");
                other(format!("new timer {when}").trim_end().to_owned())
            }
            _ => other(format!("new {kind}")),
        }
    }

    /// Whose rights a new service has.
    fn runs(&self, unit: &UnitFile) -> (Grade, String) {
        if self.of_users {
            return (Grade::Service, "run by each user's manager".to_owned());
        }
        if is_root(unit) {
            return (Grade::Security, "runs as root".to_owned());
        }
        let user = unit.last("Service", "User").unwrap_or("a user of its own");
        let roots = as_root(unit);
        if roots.is_empty() {
            return (Grade::Service, format!("runs as {user}"));
        }
        (Grade::Security, format!("runs as {user}, and {} as root", roots.join(", ")))
    }

    /// What a service's containers are given.
    fn grants(&self, unit: &UnitFile) -> Grants {
        let behind = scripts::of_unit(self.context.files, unit);
        let keys = unit.sections.get("Service").into_iter().flatten().filter(|(key, _)| key.starts_with("Exec"));
        let own = keys.flat_map(|(_, values)| values.iter().map(String::as_str));
        Grants::of(&own.chain(behind.iter().map(|text| &**text)).collect::<Vec<&str>>())
    }

    /// The scripts of nixpkgs' own making that a new service runs.
    fn script(&self, unit: &UnitFile) -> Vec<String> {
        let mut lines = Vec::new();
        for text in scripts::of_start(self.context.files, unit) {
            let own = text
                .lines()
                .filter(|line| !line.trim().is_empty() && !line.starts_with("#!") && line.trim() != "set -e");
            lines.extend(own.take(SCRIPT_LINES).map(|line| format!("+{}", readable(line))));
        }
        lines.truncate(SCRIPT_LINES);
        lines
    }

    fn changed(&self, name: &str, before: &UnitFile, after: &UnitFile) -> Vec<Change> {
        let details = differences(before, after);
        let lines = self.lines(before, after);
        let weaker = if name.ends_with(".service") { weaker(before, after) } else { Vec::new() };
        if details.is_empty() && lines.is_empty() && weaker.is_empty() {
            let versions = versions(before, after);
            let versions = if versions.is_empty() { String::new() } else { format!(" ({versions})") };
            self.context.rebuilt(format!("{name}{versions}"));
            return Vec::new();
        }
        let exposed = listens(after).difference(&listens(before)).cloned().collect::<BTreeSet<_>>();
        let mut dangers = Vec::new();
        if !weaker.is_empty() {
            dangers.push(format!("its sandbox is weaker: {}", weaker.join("; ")));
        }
        dangers.extend(listening(&exposed).map(|listens| format!("now, {listens}")));
        if name.ends_with(".service") {
            dangers.extend(self.grants(after).beyond(&self.grants(before)));
        }
        let (grade, what) = if !dangers.is_empty() {
            (Grade::Security, dangers.join("; "))
        } else if (lines.is_empty() && details.iter().all(|detail| matches!(detail.name.as_str(), "After" | "Before")))
            || (details.is_empty() && TOLD_BY_PARTS.contains(&name))
        {
            (Grade::Info, summary(&details, &lines))
        } else {
            (Grade::Service, summary(&details, &lines))
        };
        vec![Change::new(grade, self.area, Kind::Changed, name, what).with_details(details).with_lines(lines)]
    }

    /// Differences of the files behind both.
    fn lines(&self, before: &UnitFile, after: &UnitFile) -> Vec<String> {
        let text = |unit: &UnitFile| {
            let all = unit.sections.values().flat_map(|keys| keys.iter().filter(|(key, _)| *key != "Environment"));
            all.flat_map(|(_, values)| values.iter().map(String::as_str)).collect::<Vec<_>>().join("\n")
        };
        self.context.behind(&text(before), &text(after)).lines
    }
}

/// Whether a key of a new unit tells what it is.
fn tells(section: &str, key: &str) -> bool {
    match section {
        "Service" => key.starts_with("Exec") || matches!(key, "User" | "Group" | "DynamicUser" | "AmbientCapabilities"),
        _ => !MEANINGLESS.contains(&key),
    }
}

fn summary(details: &[Detail], lines: &[String]) -> String {
    let mut names: Vec<&str> = details.iter().map(|detail| detail.name.as_str()).collect();
    names.dedup();
    let mut files: Vec<&str> =
        lines.iter().filter_map(|line| line.strip_prefix("in ")).map(|name| name.trim_end_matches(':')).collect();
    files.dedup();
    let mut parts = Vec::new();
    if !names.is_empty() {
        parts.push(names.join(", "));
    }
    if !files.is_empty() {
        parts.push(format!("the text of {}", files.join(", ")));
    }
    format!("{} changed", parts.join(" and "))
}

/// Where a socket listens so that others may reach it.
fn listens(unit: &UnitFile) -> BTreeSet<String> {
    let keys = ["ListenStream", "ListenDatagram", "ListenSequentialPacket"];
    let all = keys.iter().flat_map(|key| unit.values("Socket", key));
    let is_local = |address: &str| {
        address.starts_with(['/', '@', '%', '~'])
            || address.starts_with("127.")
            || address.starts_with("[::1]")
            || address.starts_with("vsock:")
    };
    all.filter(|address| !is_local(address)).cloned().collect()
}

fn listening(addresses: &BTreeSet<String>) -> Option<String> {
    let all: Vec<&str> = addresses.iter().map(String::as_str).collect();
    (!all.is_empty()).then(|| format!("listens on the network: {}", all.join(", ")))
}

fn detail(name: &str, from: Option<&str>, to: Option<&str>) -> Detail {
    Detail { name: name.to_owned(), from: from.map(str::to_owned), to: to.map(str::to_owned) }
}

/// The directives that differ by more than store paths, by name.
fn differences(before: &UnitFile, after: &UnitFile) -> Vec<Detail> {
    let mut details = Vec::new();
    let sections: BTreeSet<&String> = before.sections.keys().chain(after.sections.keys()).collect();
    for section in sections {
        let keys = |unit: &UnitFile| {
            unit.sections.get(section).into_iter().flatten().map(|(key, _)| key.clone()).collect::<BTreeSet<_>>()
        };
        for key in keys(before).union(&keys(after)) {
            if MEANINGLESS.contains(&key.as_str()) {
                continue;
            }
            details.extend(values(key, before.get(section, key), after.get(section, key)));
        }
    }
    details
}

/// One directive's values that differ, paired where one became another. To be set to nothing is a value, too.
fn values(key: &str, before: Option<&[String]>, after: Option<&[String]>) -> Vec<Detail> {
    let empty = |values: Option<&[String]>| values.filter(|values| values.is_empty()).map(|_| EMPTY.to_owned());
    let (was, is) = (empty(before), empty(after));
    let is_set_differs = before.is_some() != after.is_some();
    let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
    let without = |all: &[String], other: &[String]| {
        let others: Vec<String> = other.iter().map(|value| nameless(value)).collect();
        all.iter().filter(|value| !others.contains(&nameless(value))).cloned().collect::<Vec<_>>()
    };
    let (gone, come) = (without(before, after), without(after, before));
    if gone.is_empty() && come.is_empty() {
        if is_set_differs {
            return vec![detail(key, was.as_deref(), is.as_deref())];
        }
        // The same values, in another order or number.
        let same = before.len() == after.len() && before.iter().zip(after).all(|(a, b)| nameless(a) == nameless(b));
        return if same { Vec::new() } else { vec![detail(key, Some("another order"), Some("another order"))] };
    }
    if key == "Environment" {
        return environment(&gone, &come);
    }
    let most = gone.len().max(come.len());
    (0..most)
        .map(|at| {
            let shown = |all: &[String], empty: &Option<String>| {
                all.get(at).map(|value| readable(value)).or_else(|| empty.clone().filter(|_| at == 0))
            };
            detail(key, shown(&gone, &was).as_deref(), shown(&come, &is).as_deref())
        })
        .collect()
}

/// Variables by name; of a search path only the parts that differ.
fn environment(gone: &[String], come: &[String]) -> Vec<Detail> {
    let pairs = |all: &[String]| {
        let pair = |value: &String| {
            let (name, value) = value.trim_matches('"').split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        };
        all.iter().filter_map(pair).collect::<BTreeMap<String, String>>()
    };
    let (gone, come) = (pairs(gone), pairs(come));
    let names: BTreeSet<&String> = gone.keys().chain(come.keys()).collect();
    let mut details = Vec::new();
    for name in names {
        let (from, to) = (gone.get(name), come.get(name));
        let key = format!("Environment {name}");
        let is_path = [from, to].iter().flatten().any(|value| store_paths(value).len() > 1);
        if !is_path {
            details.push(detail(
                &key,
                from.map(|value| readable(value)).as_deref(),
                to.map(|value| readable(value)).as_deref(),
            ));
            continue;
        }
        let parts = |value: Option<&String>| {
            value.into_iter().flat_map(|value| value.split(':')).map(nameless).collect::<BTreeSet<_>>()
        };
        let (from, to) = (parts(from), parts(to));
        let list = |a: &BTreeSet<String>, b: &BTreeSet<String>| {
            let all: Vec<&str> = a.difference(b).map(String::as_str).collect();
            (!all.is_empty()).then(|| all.join(" "))
        };
        let (gone, come) = (list(&from, &to), list(&to, &from));
        if gone.is_some() || come.is_some() {
            details.push(detail(&key, gone.as_deref(), come.as_deref()));
        }
    }
    details
}

/// What the versions of packages became that a unit names: `nginx 1.26 → 1.27`.
fn versions(before: &UnitFile, after: &UnitFile) -> String {
    let of = |unit: &UnitFile| {
        let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let services = unit.sections.get("Service").into_iter().flatten().filter(|(key, _)| key.starts_with("Exec"));
        for value in services.flat_map(|(_, values)| values) {
            for range in store_paths(value) {
                if let (name, Some(version)) = split(name_of(&value[range])) {
                    all.entry(name.to_owned()).or_default().insert(version.to_owned());
                }
            }
        }
        all
    };
    let (before, after) = (of(before), of(after));
    let joined = |versions: &BTreeSet<String>| versions.iter().cloned().collect::<Vec<_>>().join(", ");
    let moved = after.iter().filter_map(|(name, to)| {
        let from = before.get(name).filter(|from| *from != to)?;
        Some(format!("{name} {} → {}", joined(from), joined(to)))
    });
    moved.collect::<Vec<_>>().join(", ")
}
