//! All units of one scope of a configuration (`etc/systemd/system`, `etc/systemd/user`), and which of them run by
//! what the configuration says alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use super::unit_file::UnitFile;
use crate::text::escape_path;

/// The units of one scope, by file name. However they were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UnitSet {
    /// Units with a file of their own, drop-ins included.
    pub(crate) files: BTreeMap<String, UnitFile>,
    /// Those that are links to `/dev/null`.
    pub(crate) masked: BTreeSet<String>,
    /// Other names: alias → unit.
    pub(crate) aliases: BTreeMap<String, String>,
    /// Drop-ins of instances (`getty@tty1.service.d`) that have no file of their own, merged.
    pub(crate) instance_drop_ins: BTreeMap<String, UnitFile>,
    /// What a unit's `.wants`, `.requires` and `.upholds` directories name.
    pub(crate) wants: BTreeMap<String, BTreeSet<String>>,
    /// Of these, what its `.requires` directory names.
    pub(crate) requires: BTreeMap<String, BTreeSet<String>>,
}

/// Whether a unit has a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileState {
    Present,
    Masked,
    Missing,
}

/// Whether a unit runs, as far as the configuration alone tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Activity {
    /// The targets that are reached at boot want it.
    Wanted,
    /// A socket, timer, path or bus name starts it: it runs or it does not.
    OnDemand,
    /// It ran and ended, or nothing starts it.
    Inactive,
}

/// What starts a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    /// The boot, or whoever asks for it: it has an [`Activity`].
    Itself,
    /// Another unit, in words: `with sleep.target`, `on failure of a.service`.
    Because(String),
}

/// A template's instance: its template and its suffix.
pub(crate) fn template_of(unit: &str) -> Option<String> {
    let (before, rest) = unit.rsplit_once('@')?;
    let (instance, kind) = rest.rsplit_once('.')?;
    (!instance.is_empty()).then(|| format!("{before}@.{kind}"))
}

impl UnitSet {
    /// Whether there is a file of exactly this name.
    pub(crate) fn state(&self, name: &str) -> FileState {
        let name = self.aliases.get(name).map_or(name, String::as_str);
        if self.masked.contains(name) {
            FileState::Masked
        } else if self.files.contains_key(name) {
            FileState::Present
        } else {
            FileState::Missing
        }
    }

    /// A unit as it is in force: an instance has its template's file and its own drop-ins.
    pub(crate) fn unit(&self, name: &str) -> Option<UnitFile> {
        let name = self.aliases.get(name).map_or(name, String::as_str);
        if let Some(unit) = self.files.get(name) {
            return Some(unit.clone());
        }
        let template = template_of(name)?;
        let template = self.aliases.get(&template).unwrap_or(&template);
        let mut unit = self.files.get(template)?.clone();
        if let Some(own) = self.instance_drop_ins.get(name) {
            overlay(&mut unit, own);
        }
        Some(unit)
    }

    /// What the targets that are reached at boot want, and what is started on demand.
    pub(crate) fn activities(&self) -> BTreeMap<String, Activity> {
        let mut found: BTreeMap<String, Activity> = BTreeMap::new();
        let mut pending: Vec<String> = ROOTS.map(str::to_owned).to_vec();
        while let Some(name) = pending.pop() {
            let name = self.aliases.get(&name).cloned().unwrap_or(name);
            if found.contains_key(&name) || self.masked.contains(&name) {
                continue;
            }
            let known = self.unit(&name);
            if known.is_none() && !self.wants.contains_key(&name) {
                continue;
            }
            let unit = known.unwrap_or_default();
            // As systemd's own files say, which some systems have elsewhere.
            match name.as_str() {
                "graphical.target" => pending.push("multi-user.target".to_owned()),
                "multi-user.target" => pending.push("basic.target".to_owned()),
                _ => {}
            }
            found.insert(name.clone(), if ends(&unit) { Activity::Inactive } else { Activity::Wanted });
            pending.extend(self.pulls(&name, &unit));
        }
        self.add_on_demand(&mut found);
        found
    }

    /// Every unit that something starts, with what does: the boot, a request, or what is outside of the configuration
    /// and starts targets and devices, as a session, a suspend and udev do. The rest comes and goes with packages.
    pub(crate) fn reached(&self) -> BTreeMap<String, Start> {
        let mut found: BTreeMap<String, Start> =
            self.activities().into_keys().map(|name| (name, Start::Itself)).collect();
        let is_outside = |name: &&String| {
            let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
            FROM_OUTSIDE.contains(&kind) && !self.masked.contains(name.as_str())
        };
        let outside: BTreeSet<&String> = self.files.keys().chain(self.wants.keys()).filter(is_outside).collect();
        let mut pending: VecDeque<(String, String)> =
            found.keys().chain(outside).flat_map(|name| self.starts(name)).collect();
        while let Some((name, because)) = pending.pop_front() {
            let name = self.aliases.get(&name).cloned().unwrap_or(name);
            if found.contains_key(&name) || self.masked.contains(&name) || self.unit(&name).is_none() {
                continue;
            }
            pending.extend(self.starts(&name));
            found.insert(name, Start::Because(because));
        }
        found
    }

    /// What a unit starts, each with the words for it.
    fn starts(&self, name: &str) -> Vec<(String, String)> {
        let unit = self.unit(name).unwrap_or_default();
        let pulled = self.pulls(name, &unit).into_iter().chain(triggered(name, &unit));
        let mut all: Vec<(String, String)> = pulled.map(|other| (other, format!("{WITH}{name}"))).collect();
        for (key, words) in [("OnFailure", "on failure of"), ("OnSuccess", "on success of")] {
            all.extend(unit.words("Unit", key).map(|other| (other.to_owned(), format!("{words} {name}"))));
        }
        all
    }

    /// What is started with a unit: what its directory names, those of its other names, and its file.
    fn pulls(&self, name: &str, unit: &UnitFile) -> BTreeSet<String> {
        let mut all = self.in_directories(&self.wants, name);
        for key in ["Wants", "Requires", "BindsTo", "Upholds"] {
            all.extend(unit.words("Unit", key).map(str::to_owned));
        }
        all
    }

    /// What directories of a unit name, those of its other names among them.
    fn in_directories(&self, all: &BTreeMap<String, BTreeSet<String>>, name: &str) -> BTreeSet<String> {
        let aliases = self.aliases.iter().filter(|(_, of)| of.as_str() == name).map(|(alias, _)| alias.as_str());
        aliases.chain([name]).filter_map(|name| all.get(name)).flatten().cloned().collect()
    }

    /// What a unit goes down with: what it needs or is part of, and where what it needs is mounted.
    pub(crate) fn needs(&self, name: &str) -> BTreeSet<String> {
        let unit = self.unit(name).unwrap_or_default();
        let mut all = self.in_directories(&self.requires, name);
        for key in ["Requires", "Requisite", "BindsTo", "PartOf", "StopPropagatedFrom"] {
            all.extend(unit.words("Unit", key).map(str::to_owned));
        }
        all = all.into_iter().map(|name| self.aliases.get(&name).cloned().unwrap_or(name)).collect();
        all.extend(mounts_for(&unit));
        all
    }

    fn add_on_demand(&self, found: &mut BTreeMap<String, Activity>) {
        let wanted = self.files.iter().filter(|(name, _)| found.get(*name) == Some(&Activity::Wanted));
        let mut on_demand: BTreeSet<String> = wanted.filter_map(|(name, unit)| triggered(name, unit)).collect();
        on_demand
            .extend(self.aliases.iter().filter(|(alias, _)| alias.starts_with("dbus-")).map(|(_, unit)| unit.clone()));
        let by_bus = self.files.iter().filter(|(_, unit)| unit.last("Service", "BusName").is_some());
        on_demand.extend(by_bus.map(|(name, _)| name.clone()));
        for name in on_demand {
            found.entry(name).or_insert(Activity::OnDemand);
        }
    }

    /// Those that run by what the configuration says.
    pub(crate) fn wanted(&self) -> BTreeSet<String> {
        self.with(Activity::Wanted)
    }

    /// Those that run or do not.
    pub(crate) fn on_demand(&self) -> BTreeSet<String> {
        self.with(Activity::OnDemand)
    }

    /// Services that run or do not since a session, a suspend, a device starts them, and that go on then. A target that can
    /// be isolated is another state of the whole machine.
    pub(crate) fn started_from_outside(&self) -> BTreeSet<String> {
        let is_state =
            |holder: &str| self.unit(holder).is_some_and(|target| target.bool("Unit", "AllowIsolate", false));
        let reached = self.reached().into_iter().filter(|(_, start)| match start {
            Start::Itself => false,
            Start::Because(words) => words.strip_prefix(WITH).is_some_and(|holder| !is_state(holder)),
        });
        let of_session = |unit: &UnitFile| {
            ["BindsTo", "Before"].iter().any(|key| unit.words("Unit", key).any(|other| other == SESSION))
        };
        let bound = self.files.iter().filter(|(_, unit)| of_session(unit)).map(|(name, _)| name.clone());
        let goes_on = |name: &String| name.ends_with(".service") && self.unit(name).is_some_and(|unit| !ends(&unit));
        reached.map(|(name, _)| name).chain(bound).filter(goes_on).collect()
    }

    fn with(&self, activity: Activity) -> BTreeSet<String> {
        self.activities().into_iter().filter(|(_, is)| *is == activity).map(|(name, _)| name).collect()
    }
}

/// Where systemd begins: what is booted to, and what every unit needs by default (systemd.special(7)).
const ROOTS: [&str; 9] = [
    "default.target",
    "basic.target",
    "sysinit.target",
    "sockets.target",
    "timers.target",
    "paths.target",
    "local-fs.target",
    "remote-fs.target",
    "swap.target",
];

/// Kinds of units that are started from outside of the configuration's units: by a session, a suspend, a device that
/// appears, a line of fstab(5).
const FROM_OUTSIDE: [&str; 7] = ["target", "device", "mount", "automount", "swap", "slice", "scope"];

/// What stands before the unit that another one is started with.
const WITH: &str = "with ";

/// What a graphical session binds itself to (systemd.special(7)).
const SESSION: &str = "graphical-session.target";

/// Where a service's directories lie (systemd.exec(5)).
const DIRECTORIES: [(&str, &str); 3] =
    [("StateDirectory", "/var/lib"), ("CacheDirectory", "/var/cache"), ("LogsDirectory", "/var/log")];

/// The mounts that a unit requires where there are such: those of the paths that it names, and of what these lie in
/// (systemd.unit(5), `RequiresMountsFor=`; systemd.exec(5), "Implicit Dependencies").
fn mounts_for(unit: &UnitFile) -> BTreeSet<String> {
    let named = unit.words("Unit", "RequiresMountsFor").map(str::to_owned);
    let run_in = ["WorkingDirectory", "RootDirectory"].iter().filter_map(|key| unit.last("Service", key));
    let own = DIRECTORIES.iter().flat_map(|(key, base)| {
        unit.words("Service", key).map(move |name| format!("{base}/{}", name.split(':').next().unwrap_or(name)))
    });
    let paths: Vec<String> = named.chain(run_in.map(str::to_owned)).chain(own).collect();
    let absolute = paths.iter().filter(|path| path.starts_with('/')).flat_map(|path| Path::new(path).ancestors());
    let below_root = absolute.filter_map(Path::to_str).filter(|path| *path != "/");
    below_root.map(|path| format!("{}.mount", escape_path(path))).collect()
}

/// The unit that a socket, a timer or a path starts.
fn triggered(name: &str, unit: &UnitFile) -> Option<String> {
    let (base, kind) = name.rsplit_once('.')?;
    let (section, key) = match kind {
        "socket" => ("Socket", "Service"),
        "timer" => ("Timer", "Unit"),
        "path" => ("Path", "Unit"),
        _ => return None,
    };
    Some(unit.last(section, key).map_or_else(|| format!("{base}.service"), str::to_owned))
}

/// Whether a unit is inactive again once it has done its work.
fn ends(unit: &UnitFile) -> bool {
    unit.last("Service", "Type") == Some("oneshot") && !unit.bool("Service", "RemainAfterExit", false)
}

/// Lays the merged drop-ins of an instance over its template. What they set anew is taken as added.
fn overlay(unit: &mut UnitFile, own: &UnitFile) {
    for (section, keys) in &own.sections {
        let into = unit.sections.entry(section.clone()).or_default();
        for (key, values) in keys {
            let all = into.entry(key.clone()).or_default();
            if values.is_empty() {
                all.clear();
            }
            all.extend(values.iter().cloned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_by_what_the_configuration_says() {
        let mut set = UnitSet::default();
        let mut put = |name: &str, text: &str| {
            set.files.insert(name.to_owned(), UnitFile::parse(text));
        };
        put("multi-user.target", "[Unit]\nRequires=basic.target\n");
        put("basic.target", "[Unit]\nWants=sockets.target timers.target\n");
        put("sockets.target", "");
        put("timers.target", "");
        put("a.service", "[Service]\nExecStart=a\n");
        put("once.service", "[Service]\nType=oneshot\n");
        put("stays.service", "[Service]\nType=oneshot\nRemainAfterExit=true\n");
        put("lone.service", "[Service]\nExecStart=x\n");
        put("s.socket", "[Socket]\nListenStream=1\n");
        put("s.service", "[Service]\nExecStart=s\n");
        put("t.timer", "[Timer]\nUnit=other.service\n");
        put("other.service", "[Service]\nExecStart=o\n");
        put("g@.service", "[Service]\nExecStart=g %i\n");
        put("bus.service", "[Service]\nBusName=org.x\n");
        set.aliases.insert("default.target".to_owned(), "multi-user.target".to_owned());
        for (target, unit) in [
            ("multi-user.target", "a.service"),
            ("multi-user.target", "once.service"),
            ("multi-user.target", "stays.service"),
            ("multi-user.target", "g@tty1.service"),
            ("multi-user.target", "masked.service"),
            ("sockets.target", "s.socket"),
            ("timers.target", "t.timer"),
        ] {
            set.wants.entry(target.to_owned()).or_default().insert(unit.to_owned());
        }
        set.masked.insert("masked.service".to_owned());
        let wanted = set.wanted();
        for name in ["a.service", "stays.service", "g@tty1.service", "s.socket", "t.timer", "multi-user.target"] {
            assert!(wanted.contains(name), "{name}");
        }
        for name in ["once.service", "lone.service", "s.service", "masked.service", "g@.service", "default.target"] {
            assert!(!wanted.contains(name), "{name}");
        }
        assert_eq!(set.on_demand().into_iter().collect::<Vec<_>>(), ["bus.service", "other.service", "s.service"]);
        assert_eq!(template_of("g@tty1.service").as_deref(), Some("g@.service"));
        assert_eq!(template_of("g@.service"), None);
        assert_eq!(template_of("a.service"), None);
    }

    #[test]
    fn what_is_outside_starts_targets_and_devices() {
        let mut set = UnitSet::default();
        let mut put = |name: &str, text: &str| {
            set.files.insert(name.to_owned(), UnitFile::parse(text));
        };
        put("multi-user.target", "[Unit]\nWants=a.service\n");
        put("a.service", "[Unit]\nOnFailure=note@%n.service masked.service\nOnSuccess=next.service\n");
        put("note@.service", "[Service]\nExecStart=n %i\n");
        put("next.service", "[Service]\nExecStart=n\n");
        put("sleep.target", "[Unit]\nRequires=sleeps.service\n");
        put("sleeps.service", "[Unit]\nWants=deeper.service\n");
        put("deeper.service", "[Service]\nExecStart=d\n");
        put("usb.timer", "[Timer]\nUnit=usb-job.service\n");
        put("usb-job.service", "[Service]\nExecStart=u\n");
        put("lone.service", "[Unit]\nWants=with-lone.service\n");
        put("with-lone.service", "[Service]\nExecStart=w\n");
        put("masked.service", "[Service]\nExecStart=m\n");
        put("of-masked.service", "[Service]\nExecStart=m\n");
        set.aliases.insert("default.target".to_owned(), "multi-user.target".to_owned());
        set.masked.extend(["masked.service".to_owned(), "masked.target".to_owned()]);
        for (holder, unit) in [
            ("dev-usb.device", "usb.timer"),
            ("lone.service", "with-lone.service"),
            ("masked.target", "of-masked.service"),
            ("sleep.target", "nowhere.service"),
        ] {
            set.wants.entry(holder.to_owned()).or_default().insert(unit.to_owned());
        }
        let told = |(name, start): (String, Start)| match start {
            Start::Itself => format!("{name} itself"),
            Start::Because(words) => format!("{name} {words}"),
        };
        assert_eq!(
            set.reached().into_iter().map(told).collect::<Vec<_>>(),
            [
                "a.service itself",
                "deeper.service with sleeps.service",
                "multi-user.target itself",
                "next.service on success of a.service",
                "note@%n.service on failure of a.service",
                "sleeps.service with sleep.target",
                "usb-job.service with usb.timer",
                "usb.timer with dev-usb.device",
            ]
        );
    }

    #[test]
    fn what_is_outside_may_have_started() {
        let mut set = UnitSet::default();
        let mut put = |name: &str, text: &str| {
            set.files.insert(name.to_owned(), UnitFile::parse(text));
        };
        put("graphical-session.target", "[Unit]\nWants=bar.service once.service\n");
        put("bar.service", "[Unit]\nOnFailure=note.service\n[Service]\nExecStart=b\n");
        put("once.service", "[Service]\nType=oneshot\n");
        put("note.service", "[Service]\nExecStart=n\n");
        put("niri.service", "[Unit]\nBindsTo=graphical-session.target\n");
        put("sway.service", "[Unit]\nBefore=graphical-session.target\n");
        put("rescue.target", "[Unit]\nRequires=rescue.service\nAllowIsolate=yes\n");
        put("rescue.service", "[Service]\nExecStart=r\n");
        put("usb.timer", "[Timer]\nOnBootSec=1\n");
        put("lone.service", "[Service]\nExecStart=l\n");
        assert_eq!(
            set.started_from_outside().into_iter().collect::<Vec<_>>(),
            ["bar.service", "niri.service", "sway.service"]
        );
    }
}
