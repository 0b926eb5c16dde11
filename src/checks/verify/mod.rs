//! `services.verify`: the configuration's own units, those that a boot does not start included.
//!
//! It fails for what makes a unit do nothing, or not what it was told to: a slip in a directive that it does its work by,
//! a program, user or file that cannot be there, a target that does not exist. What it does without (a limit, a
//! protection), what is of another section (NixOS's own modules have such lines), and what nobody starts, is a warning.
//! What the state of the real machine may hold is excluded.

mod directives;
pub(super) mod targets;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use self::directives::{Ignored, ignored, is_active, section_meant, slip};
use self::targets::Wanted;
use self::words::{Line, Words};
use crate::guest::unit_files::{OwnUnits, UnitFiles, is_yes};
use crate::guest::user_units::UserManager;
use crate::judging::plan::service_of;
use crate::judging::{Finding, JudgeContext, Judgement, conclude, sandbox, text, unit};
use crate::model::{CheckId, CheckResult, Excuse, Lack, LoadState, Status, Witness};
use crate::nix::STORE_DIR;
use crate::text::nearest;

const ID: CheckId = CheckId::ServicesVerify;

/// What the configuration itself fills, store paths aside: what is not there now is not there on the real machine either.
const FILLED: [&str; 8] =
    ["/etc/", "/run/current-system/", "/run/wrappers/", "/usr/", "/bin/", "/sbin/", "/lib/", "/nix/"];
/// Keys that name other units.
const REFERENCES: [&str; 8] = ["After", "Before", "Wants", "Requires", "Requisite", "BindsTo", "PartOf", "Upholds"];
/// Where NixOS has nothing but `sh` and `env`.
const ELSEWHERE: [&str; 3] = ["/usr/", "/bin/", "/sbin/"];

pub(super) fn judge<'a>(cx: &JudgeContext<'_>, managers: impl Iterator<Item = &'a UserManager>, out: &mut Judgement) {
    let managers: Vec<&UserManager> = managers.collect();
    let managers = managers.as_slice();
    let mut found = VerifyFindings::default();
    wanted_by(cx, &mut found);
    let missing = cx.gap("unit-files").map(str::to_owned);
    if let Some(files) = &cx.now.unit_files {
        Verifier { cx, managers, files, units: &files.system, is_user: false }.judge(&mut found);
        Verifier { cx, managers, files, units: &files.user, is_user: true }.judge(&mut found);
    }
    for (what, excuse) in found.excluded {
        out.exclude(&what, excuse);
    }
    let nothing = found.fails.is_empty() && found.warns.is_empty();
    let not_run = not_run(cx);
    let result = match (&cx.now.unit_files, missing) {
        (None, Some(why)) if nothing => {
            CheckResult::new(ID, Status::Unknown, text::clean(&text::could_not_read("unit files", &why)))
        }
        (None, None) if nothing => CheckResult::new(ID, Status::Skip, "the unit files were not verified"),
        (files, _) => {
            let count = files.as_ref().map_or(0, |files| files.system.units() + files.user.units());
            conclude(cx, ID, found.fails, found.warns, || match count {
                0 => "the configuration has no units of its own".to_owned(),
                1 => "systemd-analyze verify accepts the configuration's unit".to_owned(),
                many => format!("systemd-analyze verify accepts the {many} units of the configuration"),
            })
        }
    };
    out.results.push(result.detail(not_run));
}

/// The jobs of timers that did not fire: verified, and not run.
fn not_run(cx: &JudgeContext<'_>) -> Option<String> {
    let timers = cx.now.unit_files.iter().flat_map(|files| &files.system.names).filter(|name| name.ends_with(".timer"));
    let waits = |timer: &&String| {
        let job = cx.unit(&service_of(timer));
        !cx.plan.settings.timers.contains(timer) && job.is_none_or(|job| job.condition_us == 0 && !unit::is_active(job))
    };
    let names: Vec<&str> = timers.filter(waits).map(String::as_str).collect();
    let of = text::list(&names);
    (!names.is_empty()).then(|| format!("not run, only verified: the jobs of {of} (`timers` in nixbox.toml runs them)"))
}

#[derive(Default)]
struct VerifyFindings {
    fails: Vec<Finding>,
    warns: Vec<Finding>,
    excluded: Vec<(String, Excuse)>,
}

/// Units whose target does not exist: by the evaluated options.
fn wanted_by(cx: &JudgeContext<'_>, found: &mut VerifyFindings) {
    let expectations = &cx.plan.expectations;
    let mut all: Vec<Wanted> = expectations
        .units
        .iter()
        .filter(|(_, unit)| unit.enable)
        .filter_map(|(name, unit)| targets::of_system(cx, name, unit))
        .collect();
    let own = cx.now.unit_files.iter().flat_map(|files| &files.user.names).map(String::as_str);
    let of_users = [&expectations.user_units].into_iter().chain(expectations.home_units.values());
    let known = of_users.clone().flat_map(|units| units.keys()).map(String::as_str).chain(own);
    let units = of_users.flat_map(|units| units.iter()).filter(|(_, unit)| unit.enable);
    all.extend(units.filter_map(|(name, unit)| targets::of_user(name, unit, known.clone())));
    for wanted in all {
        match wanted {
            Wanted::Nobody(finding) => found.fails.push(finding),
            Wanted::SomeoneElse(finding) => found.warns.push(finding),
        }
    }
}

impl OwnUnits {
    /// How many units are its own, drop-ins left out.
    fn units(&self) -> usize {
        self.names.iter().filter(|name| !name.contains('/')).count()
    }
}

/// How much is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    Warns,
    Fails,
}

struct Verifier<'a> {
    cx: &'a JudgeContext<'a>,
    managers: &'a [&'a UserManager],
    files: &'a UnitFiles,
    units: &'a OwnUnits,
    is_user: bool,
}

impl Verifier<'_> {
    fn judge(&self, found: &mut VerifyFindings) {
        let mut by_unit: BTreeMap<String, Vec<Line<'_>>> = BTreeMap::new();
        for line in self.units.said.iter().filter_map(|line| words::read(line)) {
            if self.units.names.contains(&line.file) {
                by_unit.entry(line.unit.clone()).or_default().push(line);
            }
        }
        let named: BTreeSet<&str> =
            by_unit.keys().map(String::as_str).chain(self.units.lines.keys().map(String::as_str)).collect();
        for unit in named {
            self.judge_unit(unit, by_unit.get(unit).map_or(&[], Vec::as_slice), found);
        }
    }

    /// One finding a unit, its worst first.
    fn judge_unit(&self, unit: &str, lines: &[Line<'_>], found: &mut VerifyFindings) {
        if self.is_refused(unit) {
            return;
        }
        let mut wrong: Vec<(Weight, String, Option<String>)> = Vec::new();
        for line in lines {
            match &line.words {
                Words::Program { program, why } => self.program(unit, program, why, &mut wrong, found),
                words => wrong.extend(self.line(unit, words, line)),
            }
        }
        if !self.is_reported(unit) {
            self.accounts(unit, &mut wrong);
            self.references(unit, &mut wrong);
            self.missing_files(unit, &mut wrong, found);
        }
        let Some(worst) = wrong.iter().map(|(weight, ..)| *weight).max() else { return };
        // systemd's "Refusing." comes after what it refuses for.
        let lead = wrong.iter().position(|(weight, ..)| *weight == worst).unwrap_or_default();
        let (_, what, hint) = wrong.remove(lead);
        let mut finding = Finding::new(unit, format!("{}: {what}", self.subject(unit)))
            .detail(lines.iter().map(|line| text::clean(line.text)))
            .detail(
                wrong.into_iter().map(|(_, what, _)| what).filter(|what| !lines.iter().any(|line| what == line.text)),
            )
            .evidence("unit", text::clean(unit));
        if let Some(hint) = hint {
            finding = finding.hint(hint);
        }
        match worst {
            Weight::Fails => found.fails.push(finding),
            Weight::Warns => found.warns.push(finding),
        }
    }

    /// `backup.service, which backup.timer starts`.
    fn subject(&self, unit: &str) -> String {
        if self.is_user {
            return format!("{unit} of users");
        }
        match self.starter(unit).filter(|_| !self.cx.unit(unit).is_some_and(unit::is_active)) {
            Some(by) => format!("{unit}, which {by} starts"),
            None => unit.to_owned(),
        }
    }

    /// The timer, socket or path that starts a service.
    fn starter(&self, unit: &str) -> Option<String> {
        if let Some(by) = self.cx.unit(unit).and_then(|it| it.triggered_by.first()) {
            return Some(by.clone());
        }
        let stem = unit.strip_suffix(".service")?;
        let by_name = ["timer", "socket", "path"].map(|kind| format!("{}.{kind}", stem.trim_end_matches('@')));
        let by_line = || {
            let names = |lines: &Vec<(String, String)>| {
                lines.iter().any(|(key, value)| matches!(key.as_str(), "Unit" | "Service") && value == unit)
            };
            self.units.lines.iter().find(|(_, lines)| names(lines)).map(|(name, _)| name.clone())
        };
        by_name.into_iter().find(|name| self.units.names.contains(name)).or_else(by_line)
    }

    /// Whether something is meant to start it: what nobody starts breaks nothing by itself.
    fn is_started(&self, unit: &str) -> bool {
        let expectations = &self.cx.plan.expectations;
        let is_wanted = |declared: &crate::nix::expectations::ExpectedUnit| !declared.wanted_by.is_empty();
        let declared = if self.is_user {
            let of_homes = expectations.home_units.values().filter_map(|units| units.get(unit));
            expectations.user_units.get(unit).into_iter().chain(of_homes).any(is_wanted)
        } else {
            expectations.units.get(unit).is_some_and(is_wanted)
        };
        let live = self.cx.unit(unit).filter(|_| !self.is_user);
        declared || self.starter(unit).is_some() || live.is_some_and(|unit| !unit.wanted_by.is_empty())
    }

    /// Whether systemd refused to load it where something wanted it: reported there.
    fn is_refused(&self, unit: &str) -> bool {
        if self.is_user {
            return self.managers.iter().any(|manager| manager.unit(unit).is_some_and(unit::is_refused));
        }
        self.cx.unit(unit).is_some_and(unit::is_refused)
            && self.cx.is_planned(CheckId::ServicesPromised)
            && (self.cx.plan.is_own(unit) || self.cx.plan.is_expected(unit))
    }

    /// Whether it was started and failed: why is reported there.
    fn is_reported(&self, unit: &str) -> bool {
        let failed = |it: &crate::guest::facts::Unit| unit::is_failed(it) || unit::is_auto_restart(it);
        if self.is_user {
            return self.managers.iter().any(|manager| manager.unit(unit).is_some_and(failed));
        }
        self.cx.unit(unit).is_some_and(failed)
    }

    /// What a line of systemd's means.
    fn line(&self, unit: &str, words: &Words, line: &Line<'_>) -> Option<(Weight, String, Option<String>)> {
        let said = |weight| Some((weight, line.text.to_owned(), None));
        match words {
            Words::Key { section, key } => match ignored(section, key) {
                Ignored::Active(meant) => Some((
                    Weight::Fails,
                    format!("systemd ignores {key}= in [{section}], which it does not know"),
                    Some(format!("did you mean {meant}=?")),
                )),
                Ignored::Passive(meant) => Some((
                    Weight::Warns,
                    format!("systemd ignores {key}= in [{section}], which it does not know"),
                    Some(format!("did you mean {meant}=?")),
                )),
                Ignored::Elsewhere(belongs) => Some((
                    Weight::Warns,
                    format!("systemd ignores {key}= in [{section}]"),
                    Some(format!("it belongs in [{belongs}]")),
                )),
                Ignored::Unknown => Some((Weight::Warns, format!("systemd does not know {key}= in [{section}]"), None)),
            },
            Words::Section(section) => match section_meant(section) {
                Some(meant) => Some((
                    Weight::Fails,
                    format!("systemd ignores the section [{section}]"),
                    Some(format!("did you mean [{meant}]?")),
                )),
                None => Some((Weight::Warns, format!("systemd ignores the section [{section}]"), None)),
            },
            Words::Value { key } if key.as_ref().is_none_or(|key| is_active(key)) => said(Weight::Fails),
            Words::Value { .. } => said(Weight::Warns),
            Words::Refused if self.is_started(unit) => said(Weight::Fails),
            // The settings of a service that goes by another name make a unit of their own.
            Words::Refused => Some((Weight::Warns, line.text.to_owned(), self.meant(unit))),
            Words::Program { .. } => None,
        }
    }

    /// The unit that is up and was most likely meant.
    fn meant(&self, unit: &str) -> Option<String> {
        let letters = |name: &str| name.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
        let (stem, kind) = unit.rsplit_once('.').filter(|(stem, _)| stem.len() > 3 && !self.is_user)?;
        let up = self.cx.now.units.iter().filter(|other| unit::is_active(other)).map(|other| other.name.as_str());
        let near = up.filter_map(|other| {
            let (other_stem, other_kind) = other.rsplit_once('.')?;
            // disk1 and disk2 are two things.
            let is_other = letters(stem) != letters(other_stem) && kind == other_kind;
            Some((slip(stem, other_stem).filter(|_| is_other)?, other))
        });
        Some(format!("did you mean {}?", near.min_by_key(|(distance, _)| *distance)?.1))
    }

    /// Units that it names and that are there by another name only: systemd says nothing of those that are not.
    fn references(&self, unit: &str, wrong: &mut Vec<(Weight, String, Option<String>)>) {
        let is_gone =
            |name: &&str| self.cx.unit(name).is_some_and(|it| it.load_state == LoadState::NotFound) && !self.is_user;
        for (key, value) in self.units.values(unit, &REFERENCES) {
            for name in value.split_whitespace().filter(is_gone) {
                if let Some(hint) = self.meant(name) {
                    wrong.push((Weight::Warns, format!("{key}={name}, but there is no such unit"), Some(hint)));
                }
            }
        }
    }

    /// A program that is not there.
    fn program(
        &self,
        unit: &str,
        program: &str,
        why: &str,
        wrong: &mut Vec<(Weight, String, Option<String>)>,
        found: &mut VerifyFindings,
    ) {
        // It is looked up in another root, or only started where the path is there.
        let is_elsewhere = self.units.values(unit, &["RootDirectory", "RootImage"]).any(|(_, value)| !value.is_empty())
            || !program.starts_with('/') && self.units.values(unit, &["ExecSearchPath"]).next().is_some();
        let mut lines = self.units.lines.get(unit).into_iter().flatten();
        let is_guarded = lines.any(|(key, value)| {
            (key.starts_with("Condition") || key.starts_with("Assert")) && value.trim_start_matches('|') == program
        });
        let is_instance = unit.contains('@') && !program.starts_with(STORE_DIR);
        if self.is_reported(unit) || is_elsewhere || is_guarded || is_instance {
            return;
        }
        if self.may_be_real(program) {
            let why = format!("runs {program}, which a fresh machine does not have");
            let witness = Witness::Path { path: program.to_owned() };
            found.excluded.push((unit.to_owned(), Excuse::new(Lack::State, witness, why)));
            return;
        }
        let is_up = !self.is_user && self.cx.unit(unit).is_some_and(unit::is_active);
        let weight = if is_up || !self.is_started(unit) { Weight::Warns } else { Weight::Fails };
        let hint = if ELSEWHERE.iter().any(|place| program.starts_with(place)) {
            Some("NixOS has no programs in that directory: name the package's own, ${lib.getExe pkgs.NAME}".to_owned())
        } else {
            program.starts_with(STORE_DIR).then(|| "see which programs are in that package's bin directory".to_owned())
        };
        wrong.push((weight, format!("its program {program} cannot be started: {why}"), hint));
    }

    /// Whether a path that is not there may be on the real machine: what the configuration does not fill itself.
    fn may_be_real(&self, path: &str) -> bool {
        path.starts_with('/') && (sandbox::is_secret(path) || !FILLED.iter().any(|place| path.starts_with(place)))
    }

    /// Users and groups that do not exist.
    fn accounts(&self, unit: &str, wrong: &mut Vec<(Weight, String, Option<String>)>) {
        let facts = self.cx.now;
        let local = ["files", "systemd", "compat", "db", "mymachines"];
        let sources = self.files.accounts_from.split_whitespace().filter(|word| !word.starts_with('['));
        let is_dynamic = self.units.values(unit, &["DynamicUser"]).last().is_some_and(|(_, value)| is_yes(value));
        if self.is_user || is_dynamic || facts.accounts.is_empty() || sources.clone().any(|it| !local.contains(&it)) {
            return;
        }
        let last = |key: &'static str| self.units.lines.get(unit)?.iter().rev().find(|line| line.0 == key);
        let lines = ["User", "Group", "SocketUser", "SocketGroup"].into_iter().filter_map(last);
        for (key, name) in lines.filter(|(_, name)| !name.is_empty() && !name.contains('%')) {
            let is_user = key.ends_with("User");
            let known: Vec<&str> = match is_user {
                true => facts.accounts.iter().map(|account| account.name.as_str()).collect(),
                false => facts.groups.keys().map(String::as_str).collect(),
            };
            let is_number = name.chars().all(|c| c.is_ascii_digit());
            if known.is_empty() || is_number || known.contains(&name.as_str()) {
                continue;
            }
            let kind = if is_user { "user" } else { "group" };
            let weight = if self.is_started(unit) { Weight::Fails } else { Weight::Warns };
            let near = nearest(name, known).map(|near| format!(", or did you mean {near}?")).unwrap_or_default();
            let option = if is_user { "users.users" } else { "users.groups" };
            let hint = format!("declare {option}.{name}{near}");
            wrong.push((weight, format!("{key}={name}, but there is no such {kind}"), Some(hint)));
        }
    }

    /// Files without which systemd does not start it.
    fn missing_files(&self, unit: &str, wrong: &mut Vec<(Weight, String, Option<String>)>, found: &mut VerifyFindings) {
        let keys = ["EnvironmentFile", "LoadCredential", "LoadCredentialEncrypted"];
        for (key, value) in self.units.values(unit, &keys) {
            let path = if key == "EnvironmentFile" { value } else { value.split_once(':').map_or("", |it| it.1) };
            if !self.files.missing.contains(path) {
                continue;
            }
            if self.may_be_real(path) || self.is_user {
                let why = format!("needs {path}, which only the real machine may have");
                let witness = Witness::Path { path: path.to_owned() };
                found.excluded.push((unit.to_owned(), Excuse::new(Lack::State, witness, why)));
            } else {
                let weight = if self.is_started(unit) { Weight::Fails } else { Weight::Warns };
                wrong.push((weight, format!("{key}={path} is not there"), None));
            }
        }
    }
}

#[cfg(test)]
mod tests;
