//! What `nixbox diff` reports: `nixbox diff --format json`, of the version in its `schema`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text;

/// Characters of a text in a report; what is longer ends with `…`.
const TEXT: usize = 400;
/// Lines of a file that are reported for a change.
pub(crate) const LINES: usize = 200;

/// How much a change matters, the most dangerous first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// Who may do what: wrappers, open ports, accounts, rules, root services, sandboxes
    Security,
    /// What runs: units, timers, sockets, mounts, files of /etc
    Service,
    /// What is booted: kernel, parameters, initrd, boot loader
    Boot,
    /// All else: packages, what was merely rebuilt
    Info,
}

impl Grade {
    /// All of them, the most dangerous first.
    pub const ALL: [Self; 4] = [Self::Security, Self::Service, Self::Boot, Self::Info];

    /// As in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Security => "security",
            Self::Service => "service",
            Self::Boot => "boot",
            Self::Info => "info",
        }
    }
}

/// What a change is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// Setuid and capability wrappers.
    Wrapper,
    /// What the firewall lets in.
    Firewall,
    /// Users, groups, passwords, authorised keys.
    Account,
    /// sudo, doas, polkit, PAM, sshd.
    Rule,
    /// A unit of the system.
    Unit,
    /// A unit of users' sessions.
    UserUnit,
    /// File systems and swap.
    Mount,
    /// A kernel setting of sysctl.d(5).
    Sysctl,
    /// Another file of /etc.
    Etc,
    /// A snippet of the activation script.
    Activation,
    /// What systemd-tmpfiles(8) does.
    Tmpfiles,
    /// Kernel, initrd, systemd, boot loader, specialisations.
    Boot,
    /// A parameter of the kernel's.
    KernelParameter,
    /// Packages.
    Package,
}

/// What happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It differs.
    Changed,
    /// It differs by store paths only.
    Rebuilt,
}

impl Kind {
    /// A sign for lists.
    pub fn sign(self) -> char {
        match self {
            Self::Added => '+',
            Self::Removed => '-',
            Self::Changed => '~',
            Self::Rebuilt => '=',
        }
    }
}

/// One part of a change, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Detail {
    /// What it is: a directive, a key, a field.
    pub name: String,
    /// Before; null where it was not there.
    pub from: Option<String>,
    /// After; null where it is not there.
    pub to: Option<String>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// How much it matters.
    pub grade: Grade,
    /// What it is of.
    pub area: Area,
    /// What happened.
    pub kind: Kind,
    /// What it is called: a unit, a file, a user, a port.
    pub subject: String,
    /// What happened, in a line.
    pub what: String,
    /// Its parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Detail>,
    /// Lines of a text that differ, each with its sign.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
}

impl Change {
    pub(crate) fn new(
        grade: Grade,
        area: Area,
        kind: Kind,
        subject: impl Into<String>,
        what: impl Into<String>,
    ) -> Self {
        Self { grade, area, kind, subject: subject.into(), what: what.into(), details: Vec::new(), lines: Vec::new() }
    }

    /// Whether the one line says all of it.
    pub(crate) fn is_said(&self) -> bool {
        let [detail] = &self.details[..] else { return self.details.is_empty() };
        [&detail.from, &detail.to].into_iter().flatten().all(|value| self.what.contains(value.as_str()))
    }

    #[must_use]
    pub(crate) fn with_details(mut self, details: Vec<Detail>) -> Self {
        self.details = details;
        self
    }

    #[must_use]
    pub(crate) fn with_lines(mut self, lines: Vec<String>) -> Self {
        self.lines = lines;
        self
    }
}

/// One of the two systems.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Side {
    /// What it was named as.
    pub named: String,
    /// Its toplevel.
    pub toplevel: String,
    /// NixOS's version label; empty where there is none.
    pub version: String,
    /// Bytes of all that it needs; null where nix could not tell.
    pub closure_bytes: Option<u64>,
}

/// How many changes there are of each grade.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Of grade `security`.
    pub security: usize,
    /// Of grade `service`.
    pub service: usize,
    /// Of grade `boot`.
    pub boot: usize,
    /// Of grade `info`.
    pub info: usize,
}

/// What is done to units. A unit in both `stop` and `start` is stopped, and started after the activation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnitPlan {
    /// Stopped.
    pub stop: Vec<String>,
    /// Started.
    pub start: Vec<String>,
    /// Restarted.
    pub restart: Vec<String>,
    /// Reloaded.
    pub reload: Vec<String>,
    /// Changed, and left alone, since they say so or are sockets: what was started goes on.
    pub skip: Vec<String>,
    /// New, and started with the targets that want them.
    pub started_by_targets: Vec<String>,
    /// What would be done to units that run only when something asked for them: `restart a.service`.
    pub if_running: Vec<String>,
}

/// What a switch from one to the other does. What runs is not known: it is taken to be what the old configuration's
/// targets want.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SwitchPlan {
    /// `switch`, or `boot` where a switch is refused or cannot take effect.
    pub command: String,
    /// Units of the system.
    pub units: UnitPlan,
    /// Units of each logged-in user.
    pub user_units: UnitPlan,
    /// Devices that are no swap any more.
    pub swap_off: Vec<String>,
    /// Whether PID 1 executes itself again.
    pub restarts_systemd: bool,
    /// Why it takes a reboot until all of it is in force; none where it takes none.
    pub reboot: Vec<String>,
    /// Why a switch is refused; none where nothing known refuses it.
    pub refused: Vec<String>,
    /// Checks before a switch that are new or changed. They are not run here.
    pub checks: Vec<String>,
}

/// A package whose versions differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PackageChange {
    /// Its name.
    pub name: String,
    /// Versions before; none where it was not there.
    pub from: Vec<String>,
    /// Versions after; none where it is not there.
    pub to: Vec<String>,
    /// Whether users have it on their PATH.
    pub installed: bool,
    /// By how many bytes all its outputs grew.
    pub bytes: i64,
}

/// The packages that differ. Absent where nix could not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PackageChanges {
    /// To a later version.
    pub up: Vec<PackageChange>,
    /// To an earlier version.
    pub down: Vec<PackageChange>,
    /// New.
    pub added: Vec<PackageChange>,
    /// Gone.
    pub removed: Vec<PackageChange>,
    /// Of the same version, from other sources or inputs.
    pub rebuilt: usize,
}

/// The whole comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// The version of this form.
    pub schema: u32,
    /// What is compared with.
    pub from: Side,
    /// What is compared.
    pub to: Side,
    /// Whether both are the same system.
    pub same: bool,
    /// How many changes there are.
    pub counts: Counts,
    /// The changes, the most dangerous first.
    pub changes: Vec<Change>,
    /// What a switch does.
    pub switch: SwitchPlan,
    /// The packages.
    pub packages: Option<PackageChanges>,
    /// The command that applies it, where it is known.
    pub apply: Option<String>,
    /// What could not be compared, and other words on the comparison.
    pub notes: Vec<String>,
    /// The exit code of nixbox.
    pub exit: u8,
}

impl Comparison {
    /// Whether there is a change of this grade, or of a more dangerous one.
    pub fn reaches(&self, grade: Grade) -> bool {
        self.changes.iter().any(|change| change.grade <= grade)
    }

    /// Sorts and counts the changes, and makes every text of theirs fit to be shown: all come from configurations.
    pub(crate) fn finish(&mut self) {
        self.changes.sort_by(|a, b| {
            (a.grade, a.area, a.kind == Kind::Rebuilt, &a.subject, a.kind).cmp(&(
                b.grade,
                b.area,
                b.kind == Kind::Rebuilt,
                &b.subject,
                b.kind,
            ))
        });
        let count = |grade| self.changes.iter().filter(|change| change.grade == grade).count();
        self.counts = Counts {
            security: count(Grade::Security),
            service: count(Grade::Service),
            boot: count(Grade::Boot),
            info: count(Grade::Info),
        };
        for change in &mut self.changes {
            clean(&mut change.subject);
            clean(&mut change.what);
            for detail in &mut change.details {
                clean(&mut detail.name);
                [&mut detail.from, &mut detail.to].into_iter().flatten().for_each(clean);
            }
            change.lines.truncate(LINES);
            change.lines.iter_mut().for_each(clean);
        }
        let SwitchPlan { units, user_units, swap_off, reboot, refused, checks, .. } = &mut self.switch;
        for plan in [units, user_units] {
            let UnitPlan { stop, start, restart, reload, skip, started_by_targets, if_running } = plan;
            for list in [stop, start, restart, reload, skip, started_by_targets, if_running] {
                list.iter_mut().for_each(clean);
            }
        }
        for list in [swap_off, reboot, refused, checks, &mut self.notes] {
            list.iter_mut().for_each(clean);
        }
        for side in [&mut self.from, &mut self.to] {
            [&mut side.named, &mut side.toplevel, &mut side.version].into_iter().for_each(clean);
        }
    }
}

fn clean(text: &mut String) {
    *text = text::clean_line(&without_hashes(text), TEXT);
}

/// How hashes of passwords begin (crypt(5), GRUB's).
const HASHES: [&str; 9] = ["$y$", "$gy$", "$7$", "$6$", "$5$", "$2b$", "$2a$", "$argon2", "grub.pbkdf2."];
/// Fewer characters are no hash.
const LEAST: usize = 20;

/// A text that shows no hash of a password, whatever file it is from.
fn without_hashes(text: &str) -> String {
    let is_end = |c: char| c.is_whitespace() || "\"'<>:;)".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = HASHES.iter().filter_map(|start| rest.find(start)).min() {
        let end = rest[at..].find(is_end).map_or(rest.len(), |length| at + length);
        out.push_str(&rest[..at]);
        out.push_str(if end - at < LEAST { &rest[at..end] } else { "(a password's hash)" });
        rest = &rest[end..];
    }
    out + rest
}
