//! `nixbox.toml`: what a repository says about how its machines are to be tried.
//!
//! Top-level keys are defaults for all hosts, `[host.NAME]` tables override and extend them: a host's scalar replaces
//! the default's, its lists are added, its `[host.NAME.script.ID]` replaces the `[script.ID]` of the same id. What
//! holds for a host holds for its specialisations, and `[host."NAME@SPECIALISATION"]` goes over it in the same way.
//!
//! The file belongs to the repository under test, and whoever edits that must not gain anything on this host: nothing in
//! it loosens the jail, chooses nix's flags or names a command for the host. Scripts run in the guest.
//!
//! * this file: loading, and what holds for one host
//! * `file`: the tables as they are written
//! * `types`: the values in them

mod file;
mod types;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use self::file::{ConfigFile, HostTable};
pub use self::file::{FileSettings, HttpSettings, MachineSettings, ResidueWeight, ScriptSettings, SecretSettings};
pub use self::types::{
    AllowKey, Cores, ExitCode, FileMode, FilePath, FileText, HttpStatus, Id, Login, MemorySize, Method, NonEmptyText,
    Pattern, PortSpec, Reason, Retries, SecretName, Time, TimerName, UnitName, Url, compile,
};
use crate::failure::{self, Failure};
use crate::model::timeouts::config as timeouts;
use crate::model::{self, CheckId};
use crate::text::nearest;

/// What was read from `nixbox.toml`, or nothing at all where there is none.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Where it was read from.
    pub path: Option<PathBuf>,
    file: ConfigFile,
}

/// What holds for one host.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// Memory, cores, network and the like; what is `None` is left to flags and the configuration.
    pub machine: MachineSettings,
    /// How long a unit has to stay active before it counts as settled, with hardware virtualisation.
    pub settle: Duration,
    /// The longest boot that is accepted, before scaling to the accelerator. `None`: any.
    pub boot_time: Option<Duration>,
    /// Units that must be active, by full name.
    pub units: Vec<String>,
    /// Ports on which something must be listening.
    pub ports: Vec<PortSpec>,
    /// Timers whose services are to be run once, by full name.
    pub timers: Vec<String>,
    /// HTTP requests made inside the guest, by id.
    pub http: BTreeMap<String, HttpSettings>,
    /// Scripts run inside the guest, by id.
    pub scripts: BTreeMap<String, ScriptSettings>,
    /// Files that are placed in the VM, by their paths.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, FileSettings>,
    /// Stand-ins for declared secrets, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretSettings>,
    /// Failures that are accepted, with the reason: by check id, or by `CHECK:ITEM`.
    pub allow: BTreeMap<String, String>,
    /// What it means that something stays behind after a switch and the way back.
    pub residue: ResidueWeight,
    /// The targets that agents' hooks test.
    pub hook_targets: Vec<String>,
    /// Whether they rehearse the switch from the last commit.
    pub hook_switch: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            machine: MachineSettings::default(),
            settle: timeouts::SETTLE,
            boot_time: None,
            units: Vec::new(),
            ports: Vec::new(),
            timers: Vec::new(),
            http: BTreeMap::new(),
            scripts: BTreeMap::new(),
            files: BTreeMap::new(),
            secrets: BTreeMap::new(),
            allow: BTreeMap::new(),
            residue: ResidueWeight::Warn,
            hook_targets: Vec::new(),
            hook_switch: false,
        }
    }
}

impl HttpSettings {
    /// How long one attempt may take, before scaling.
    pub fn deadline(&self) -> Duration {
        self.deadline.map_or(timeouts::HTTP_DEADLINE, |time| time.0)
    }
}

impl ScriptSettings {
    /// How long one attempt may take, before scaling.
    pub fn deadline(&self) -> Duration {
        self.deadline.map_or(timeouts::SCRIPT_DEADLINE, |time| time.0)
    }
}

fn did_you_mean(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!(", did you mean {name:?}?"))
}

/// What to use instead of a key that is deliberately not in this file.
#[derive(Debug, Clone, Copy)]
enum Instead {
    /// A flag, since what it allows is the user's to allow.
    Flag(&'static str),
    /// A flag, since each run may want something else.
    PerRun(&'static str),
    /// An option of the configuration.
    Configuration(&'static str),
}

impl Instead {
    fn hint(self) -> String {
        match self {
            Self::Flag(flag) => format!(
                "use {flag} instead: a file in the repository must not loosen the isolation of the repository's own code"
            ),
            Self::PerRun(flag) => format!("use {flag} on the command line: this is chosen per run"),
            Self::Configuration(option) => format!("set {option} in the configuration"),
        }
    }
}

/// Keys that a user may expect here and that are deliberately not in this file, with what to use instead.
const NO_KEYS: [(&str, Instead); 15] = [
    ("jail", Instead::Flag("--no-jail")),
    ("no-jail", Instead::Flag("--no-jail")),
    ("sandbox", Instead::Flag("--no-jail")),
    ("impure", Instead::Flag("--impure")),
    ("offline", Instead::Flag("--offline")),
    ("option", Instead::Flag("--option NAME VALUE")),
    ("options", Instead::Flag("--option NAME VALUE")),
    ("override-input", Instead::Flag("--override-input INPUT FLAKE")),
    ("accept-flake-config", Instead::Flag("--accept-flake-config")),
    ("nix", Instead::Flag("--option NAME VALUE, --impure, …")),
    ("nix-flags", Instead::Flag("--option NAME VALUE, --impure, …")),
    ("qemu-options", Instead::Configuration("virtualisation.vmVariant.virtualisation.qemu.options")),
    ("boots", Instead::PerRun("--boots")),
    ("keep", Instead::PerRun("--keep")),
    ("artifacts", Instead::PerRun("--artifacts")),
];

/// Reads `nixbox.toml`: the one that was named, or the one beside the flake, or none.
///
/// # Errors
/// Exit 2 when the named one is not there, or when what is there is wrong: with its line.
pub fn load(explicit: Option<&Path>, flake_dir: Option<&Path>) -> failure::Result<Config> {
    let path = match (explicit, flake_dir) {
        (Some(path), _) => path.to_owned(),
        (None, Some(dir)) => dir.join(model::CONFIG_FILE),
        (None, None) => return Ok(Config::default()),
    };
    let text = match read_bounded(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && explicit.is_none() => {
            return Ok(Config::default());
        }
        Err(error) => {
            return Err(Failure::usage(format!("{} cannot be read", path.display())).because(error));
        }
    };
    let shown = if explicit.is_some() { path.display().to_string() } else { model::CONFIG_FILE.to_owned() };
    let mut config = Config::parse(&text, &shown)?;
    config.path = Some(path);
    Ok(config)
}

/// A repository's file is untrusted: no device, no gigabytes.
fn read_bounded(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    const MOST: u64 = 1 << 20;
    let meta = std::fs::metadata(path)?;
    if !meta.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(MOST + 1).read_to_string(&mut text)?;
    if read as u64 > MOST {
        return Err(std::io::Error::other("larger than 1 MiB"));
    }
    Ok(text)
}

/// The JSON schema of `nixbox.toml`.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(ConfigFile).to_value()
}

impl Config {
    /// Reads a file's text. `shown` is how the file is called in errors.
    ///
    /// # Errors
    /// Exit 2, with `shown:LINE: what is wrong`.
    pub fn parse(text: &str, shown: &str) -> failure::Result<Self> {
        match toml::from_str::<ConfigFile>(text) {
            Ok(file) => Ok(Self { path: None, file }),
            Err(error) => {
                let line = error.span().map_or(1, |span| line_of(text, span, error.message()));
                Err(explain(error.message(), &format!("{shown}:{line}")))
            }
        }
    }

    /// Reads the same tables from JSON, as recorded fixtures have them.
    ///
    /// # Errors
    /// Exit 2, with what is wrong.
    pub fn from_json(value: serde_json::Value) -> failure::Result<Self> {
        let file = serde_json::from_value(value).map_err(|error| explain(&error.to_string(), model::CONFIG_FILE))?;
        Ok(Self { path: None, file })
    }

    /// What holds for this host (`NAME`, or `NAME@SPECIALISATION`): the defaults, its own table over them, and that of
    /// the specialisation over both.
    pub fn settings_for(&self, host: &str) -> Settings {
        let ConfigFile {
            schema: _,
            machine,
            checks,
            units,
            ports,
            timers,
            http,
            script,
            file,
            secret,
            allow,
            switch,
            hook,
            host: hosts,
        } = self.file.clone();
        let mut settings = Settings::default();
        let defaults =
            HostTable { machine, checks, units, ports, timers, http, script, file, secret, allow, switch, hook };
        settings.overlay(defaults);
        let base = host.split_once('@').map(|(base, _)| base);
        for own in base.into_iter().chain([host]).filter_map(|name| hosts.get(name)) {
            settings.overlay(own.clone());
        }
        settings
    }
}

impl Settings {
    /// Why this item of this check may fail.
    pub fn allowed(&self, id: CheckId, item: &str) -> Option<&str> {
        self.allow.get(&format!("{id}:{item}")).map(String::as_str)
    }

    /// The items of this check that may fail.
    pub fn allowed_items(&self, id: CheckId) -> impl Iterator<Item = &str> {
        let check = format!("{id}:");
        self.allow.keys().filter_map(move |key| key.strip_prefix(check.as_str()))
    }

    /// Applies a table on top of what is there.
    fn overlay(&mut self, table: HostTable) {
        let HostTable { machine, checks, units, ports, timers, http, script, file, secret, allow, switch, hook } =
            table;
        let own = &mut self.machine;
        own.memory = machine.memory.or(own.memory);
        own.cores = machine.cores.or(own.cores);
        own.network = machine.network.or(own.network);
        own.timeout = machine.timeout.or(own.timeout);
        own.accel = machine.accel.or(own.accel);
        own.transport = machine.transport.or(own.transport);
        if let Some(settle) = checks.settle {
            self.settle = settle.0;
        }
        self.boot_time = checks.boot_time.map(|time| time.0).or(self.boot_time);
        add(&mut self.units, units.into_iter().map(|unit| unit.0));
        add(&mut self.ports, ports);
        add(&mut self.timers, timers.into_iter().map(|timer| timer.0));
        self.http.extend(http.into_iter().map(|(id, http)| (id.0, http)));
        self.scripts.extend(script.into_iter().map(|(id, script)| (id.0, script)));
        self.files.extend(file.into_iter().map(|(path, file)| (path.0, file)));
        self.secrets.extend(secret.into_iter().map(|(name, secret)| (name.0, secret)));
        self.allow.extend(allow.into_iter().map(|(key, reason)| (key.0, reason.0)));
        self.residue = switch.residue.unwrap_or(self.residue);
        self.hook_switch = hook.switch.unwrap_or(self.hook_switch);
        add(&mut self.hook_targets, hook.targets);
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, more: impl IntoIterator<Item = T>) {
    for item in more {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

/// The line, from 1, that an error is about. For an item of a list the parser gives the span of the list, in which the
/// item is searched.
fn line_of(text: &str, span: std::ops::Range<usize>, message: &str) -> usize {
    let (start, end) = (text.floor_char_boundary(span.start), text.floor_char_boundary(span.end));
    let quoted = message.strip_prefix('"').and_then(|rest| rest.split('"').next()).filter(|item| !item.is_empty());
    let within = quoted.and_then(|item| text[start..end].find(item)).unwrap_or(0);
    text[..start + within].matches('\n').count() + 1
}

/// A parser's message (serde's `de::Error`) as a usage error.
fn explain(message: &str, place: &str) -> Failure {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let named = quoted.next().unwrap_or_default();
    let known: Vec<&str> = quoted.filter(|name| !name.is_empty() && *name != "$schema").collect();
    match message.split_once(" `").map(|(what, _)| what) {
        Some("unknown field") => unknown_key(named, &known, place),
        Some("unknown variant") => {
            let values: Vec<String> = known.iter().map(|value| format!("{value:?}")).collect();
            Failure::usage(format!("{place}: {named:?} is not a value here: write {}", either(&values)))
        }
        Some("missing field") => Failure::usage(format!("{place}: {named:?} is missing in this table")),
        _ => Failure::usage(format!("{place}: {}", message.trim().replace('\n', " ").replace('`', "\""))),
    }
}

/// A key that is not known, with what to use instead, or the nearest that is.
fn unknown_key(key: &str, known: &[&str], place: &str) -> Failure {
    if let Some((_, instead)) = NO_KEYS.iter().find(|(name, _)| *name == key) {
        return Failure::usage(format!("{place}: {key:?} is not allowed in nixbox.toml")).hint(instead.hint());
    }
    let failure =
        Failure::usage(format!("{place}: unknown key {key:?}{}", did_you_mean(nearest(key, known.iter().copied()))));
    if known.is_empty() { failure } else { failure.hint(format!("known keys here: {}", known.join(", "))) }
}

/// `a, b or c`.
fn either(values: &[String]) -> String {
    match values.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => values.concat(),
    }
}

#[cfg(test)]
mod tests;
