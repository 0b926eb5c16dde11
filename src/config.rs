//! `nixbox.toml`: what a repository says about how its machines are to be tried.
//!
//! Top-level keys are defaults for all hosts, `[host.NAME]` tables override and extend them: a host's scalar replaces
//! the default's, its lists are added, its `[host.NAME.script.ID]` replaces the `[script.ID]` of the same id. What
//! holds for a host holds for its specialisations, and `[host."NAME@SPECIALISATION"]` goes over it in the same way.
//!
//! The file belongs to the repository under test, which may be edited by somebody who must not gain anything on this
//! host: nothing in it loosens the jail, chooses nix's flags or names a command for the host. Scripts run in the guest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

use crate::failure::{self, Failure};
use crate::model;
use crate::model::{AccelChoice, CheckId, NetworkPolicy, Protocol, TransportKind, is_script_name};
use crate::text::nearest;

/// How long a unit has to stay active before it counts as settled, unless `[checks] settle` says otherwise.
const DEFAULT_SETTLE: Duration = Duration::from_secs(3);
/// How long a script may run, before scaling to the accelerator, unless it says otherwise.
pub const DEFAULT_SCRIPT_DEADLINE: Duration = Duration::from_secs(30);
/// How long an HTTP request may take, before scaling to the accelerator, unless it says otherwise.
const DEFAULT_HTTP_DEADLINE: Duration = Duration::from_secs(10);
/// Most retries that a file may ask for.
const MOST_RETRIES: u32 = 100;

/// What was read from `nixbox.toml`, or nothing at all where there is none.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Where it was read from.
    pub path: Option<PathBuf>,
    file: File,
}

/// What holds for one host.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// Memory, cores, network and the like; what is `None` is left to flags and the configuration.
    pub machine: Machine,
    /// How long a unit has to stay active before it counts as settled. Not scaled.
    pub settle: Duration,
    /// The longest boot that is accepted, before scaling to the accelerator. `None`: any.
    pub boot_time: Option<Duration>,
    /// Units that must be active, by full name.
    pub units: Vec<String>,
    /// Ports that somebody must listen on.
    pub ports: Vec<Port>,
    /// Timers whose services are to be run once, by full name.
    pub timers: Vec<String>,
    /// HTTP requests made inside the guest, by id.
    pub http: BTreeMap<String, Http>,
    /// Scripts run inside the guest, by id.
    pub scripts: BTreeMap<String, Script>,
    /// Failures that are accepted, with the reason: by check id, or by `CHECK:ITEM`.
    pub allow: BTreeMap<String, String>,
    /// What the hook tries, as targets.
    pub hook_targets: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            machine: Machine::default(),
            settle: DEFAULT_SETTLE,
            boot_time: None,
            units: Vec::new(),
            ports: Vec::new(),
            timers: Vec::new(),
            http: BTreeMap::new(),
            scripts: BTreeMap::new(),
            allow: BTreeMap::new(),
            hook_targets: Vec::new(),
        }
    }
}

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(title = "nixbox.toml")]
struct File {
    /// Where an editor finds the JSON schema of this file; not read.
    #[serde(rename = "$schema", skip_serializing_if = "Option::is_none")]
    schema: Option<String>,
    /// How the machine is run.
    machine: Machine,
    /// What is expected, and how long things may take.
    checks: Checks,
    /// Units that must be active, besides those that the configuration expects.
    units: Vec<UnitName>,
    /// Ports that somebody must listen on: `80`, `"53/udp"`.
    ports: Vec<Port>,
    /// Timers whose services are run once.
    timers: Vec<TimerName>,
    /// HTTP requests made inside the guest.
    http: BTreeMap<Id, Http>,
    /// Scripts run inside the guest.
    script: BTreeMap<Id, Script>,
    /// Failures that are accepted: `"CHECK" = "reason"` or `"CHECK:UNIT" = "reason"`.
    allow: BTreeMap<AllowKey, Reason>,
    /// What the hook does.
    hook: Hook,
    /// What holds for one host only, or for one specialisation of it: `[host."NAME@SPECIALISATION"]`.
    host: BTreeMap<String, Host>,
}

/// What holds for one host only: the same tables as the file's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Host {
    /// How the machine is run.
    machine: Machine,
    /// What is expected, and how long things may take.
    checks: Checks,
    /// Units that must be active, besides those that the configuration expects.
    units: Vec<UnitName>,
    /// Ports that somebody must listen on: `80`, `"53/udp"`.
    ports: Vec<Port>,
    /// Timers whose services are run once.
    timers: Vec<TimerName>,
    /// HTTP requests made inside the guest.
    http: BTreeMap<Id, Http>,
    /// Scripts run inside the guest.
    script: BTreeMap<Id, Script>,
    /// Failures that are accepted: `"CHECK" = "reason"` or `"CHECK:UNIT" = "reason"`.
    allow: BTreeMap<AllowKey, Reason>,
    /// What the hook does.
    hook: Hook,
}

/// How the machine is run. Flags win over these.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Machine {
    /// The guest's memory: `"2GiB"`, `"1536M"`, or a number of MiB. Default: as configured, with a desktop at least 2 GiB.
    pub memory: Option<Memory>,
    /// Virtual CPUs. Default: as configured, but at least 2 where the host has them, and a share of them in a matrix.
    pub cores: Option<Cores>,
    /// Whether the guest reaches the outside.
    pub network: Option<NetworkPolicy>,
    /// How long the boot may take in all: `"10min"`. As it is, not scaled.
    pub timeout: Option<Time>,
    /// The accelerator.
    pub accel: Option<AccelChoice>,
    /// The way into the guest.
    pub transport: Option<TransportKind>,
}

/// What is expected, and how long things may take.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Checks {
    /// How long a unit has to stay active before it counts as settled. Default: 3s.
    settle: Option<Time>,
    /// The longest boot that is accepted on hardware virtualisation (scaled elsewhere). Default: any.
    boot_time: Option<Time>,
    /// Units that must be active, besides those that the configuration expects.
    units: Vec<UnitName>,
    /// Ports that somebody must listen on: `80`, `"53/udp"`.
    ports: Vec<Port>,
    /// Timers whose services are run once.
    timers: Vec<TimerName>,
}

/// What the hook does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Hook {
    /// The targets to try after an edit; default: this host's.
    targets: Vec<String>,
}

/// An HTTP request made inside the guest, and what its answer must be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Http {
    /// Where to: `http://localhost/health`.
    pub url: Url,
    /// Default: GET.
    #[serde(default)]
    pub method: Method,
    /// The status that is expected; default: any from 200 to 399.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<HttpStatus>,
    /// What the body must contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// What the body must match somewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<Pattern>,
    /// How often to try again, up to 100. Default: 0.
    #[serde(default)]
    pub retries: Retries,
    /// How long one attempt may take. Default: 10s. Scaled to the accelerator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
}

/// A script run inside the guest, and how it must end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Script {
    /// Lines for the guest's `/bin/sh`.
    pub run: NotEmpty,
    /// Who runs it. Default: root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Login>,
    /// The exit code that is expected. Default: 0.
    #[serde(default)]
    pub exit: ExitCode,
    /// What stdout must be, but for white space at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<String>,
    /// What stdout must contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// What stdout must match somewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<Pattern>,
    /// How often to try again, up to 100. Default: 0.
    #[serde(default)]
    pub retries: Retries,
    /// How long one attempt may take. Default: 30s. Scaled to the accelerator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
}

impl Http {
    /// How long one attempt may take, before scaling.
    pub fn deadline(&self) -> Duration {
        self.deadline.map_or(DEFAULT_HTTP_DEADLINE, |time| time.0)
    }
}

impl Script {
    /// How long one attempt may take, before scaling.
    pub fn deadline(&self) -> Duration {
        self.deadline.map_or(DEFAULT_SCRIPT_DEADLINE, |time| time.0)
    }
}

/// A port and its protocol: written `80`, `"80/tcp"` or `"53/udp"`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The protocol.
    pub protocol: Protocol,
    /// 1 to 65535.
    pub port: u16,
}

impl Port {
    /// Reads `80`, `80/tcp`, `53/udp`.
    ///
    /// # Errors
    /// What is wrong with it, as a fragment.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol.trim() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            other => return Err(format!("{other:?} is no protocol: tcp or udp")),
        };
        match number.trim().parse::<u16>() {
            Ok(port) if port > 0 => Ok(Self { protocol, port }),
            _ => Err(format!("{number:?} is no port: 1 to 65535, as in 80 or \"53/udp\"")),
        }
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

impl Serialize for Port {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A number or a text: what TOML allows for sizes and ports.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a number or a string")]
enum NumberOrText {
    Number(i64),
    Text(String),
}

impl NumberOrText {
    fn into_text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&NumberOrText::deserialize(deserializer)?.into_text()).map_err(de::Error::custom)
    }
}

impl JsonSchema for Port {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Port".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A port: 80, \"80/tcp\", \"53/udp\".",
            "anyOf": [
                { "type": "integer", "minimum": 1, "maximum": 65535 },
                { "type": "string", "pattern": "^[0-9]+(/(tcp|udp))?$" },
            ],
        })
    }
}

/// The guest's memory in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory(pub u64);

impl Memory {
    /// Reads `2GiB`, `1536M`, or a number of MiB. A letter alone is a power of 1024, as for QEMU's `-m`.
    ///
    /// # Errors
    /// What is wrong with it, as a fragment.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let bytes = if let Ok(mib) = text.parse::<u64>() {
            mib.saturating_mul(1 << 20)
        } else {
            // bytesize reads `2G` as powers of 1000; who writes `-m 2G` means 1024.
            let text = match text.chars().last() {
                Some('k' | 'K' | 'm' | 'M' | 'g' | 'G' | 't' | 'T') => format!("{text}iB"),
                _ => text.to_owned(),
            };
            text.parse::<bytesize::ByteSize>()
                .map_err(|_| format!("{text:?} is no size: a number of MiB, or such as \"2GiB\""))?
                .as_u64()
        };
        let mib = bytes >> 20;
        if !(64..=1 << 20).contains(&mib) {
            return Err(format!("{mib} MiB of memory: at least 64 MiB, at most 1 TiB"));
        }
        Ok(Self(mib))
    }
}

impl<'de> Deserialize<'de> for Memory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&NumberOrText::deserialize(deserializer)?.into_text()).map_err(de::Error::custom)
    }
}

impl JsonSchema for Memory {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Memory".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The guest's memory: a number of MiB, or a size such as \"2GiB\" or \"1536M\".",
            "anyOf": [{ "type": "integer", "minimum": 64 }, { "type": "string" }],
        })
    }
}

/// A span of time: `"3s"`, `"1min 30s"`, `"500ms"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub Duration);

impl Time {
    /// Reads humantime's spelling.
    ///
    /// # Errors
    /// What is wrong with it, as a fragment.
    pub fn parse(text: &str) -> Result<Self, String> {
        match humantime::parse_duration(text) {
            Ok(time) if time <= Duration::from_secs(24 * 3600) => Ok(Self(time)),
            Ok(_) => Err(format!("{text:?} is longer than a day")),
            Err(_) => Err(format!("{text:?} is no duration: such as \"3s\", \"500ms\", \"1min 30s\"")),
        }
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
    }
}

/// A text that is checked when it is read.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $schema:expr, $parse:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        pub struct $name(pub String);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let parse: fn(String) -> Result<String, String> = $parse;
                parse(String::deserialize(deserializer)?).map(Self).map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }

        impl std::ops::Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }
    };
}

text!(
    /// A regular expression of the regex crate's, known to compile.
    Pattern,
    json_schema!({ "type": "string", "format": "regex", "description": "A regular expression (Rust's regex crate)." }),
    |text| match compile(&text) {
        Ok(_) => Ok(text),
        Err(error) => {
            let error = error.to_string();
            let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Err(format!("{text:?} is no regular expression: {why}"))
        }
    }
);

text!(
    /// A text that says something.
    NotEmpty,
    json_schema!({ "type": "string", "minLength": 1 }),
    |text| if text.trim().is_empty() { Err("must not be empty".to_owned()) } else { Ok(text) }
);

text!(
    /// Why a failure is accepted.
    Reason,
    json_schema!({ "type": "string", "minLength": 1, "description": "Why this failure is accepted." }),
    |text| {
        if text.trim().is_empty() {
            Err("an accepted failure needs its reason: it must not be empty".to_owned())
        } else {
            Ok(text)
        }
    }
);

text!(
    /// The id of a script or request: letters, digits, `-` and `_`.
    Id,
    json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" }),
    |text| {
        if text.len() <= 64 && is_script_name(&text) {
            Ok(text)
        } else {
            Err(format!("{text:?} is no id: up to 64 letters, digits, \"-\" and \"_\""))
        }
    }
);

text!(
    /// A login name.
    Login,
    json_schema!({ "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_.-]{0,31}$" }),
    |text| {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let begins_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if begins_well && text.len() <= 32 && text.chars().all(fine) {
            Ok(text)
        } else {
            Err(format!("{text:?} is no login name"))
        }
    }
);

text!(
    /// An address for an HTTP request.
    Url,
    json_schema!({ "type": "string", "pattern": "^https?://[^\\s]+$" }),
    |text| {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let printable = text.chars().all(|c| c.is_ascii_graphic());
        match rest {
            Some(rest) if printable && !rest.is_empty() && !rest.starts_with('/') => Ok(text),
            _ => Err(format!("{text:?} is no address: http://… or https://…")),
        }
    }
);

text!(
    /// A unit's full name; `.service` is added to a name without a suffix, as systemctl(1) does.
    UnitName,
    json_schema!({ "type": "string", "minLength": 1, "description": "A unit: \"nginx\" or \"nginx.service\"." }),
    |text| unit_name(&text, "service")
);

text!(
    /// A timer's full name; `.timer` is added where it is missing.
    TimerName,
    json_schema!({ "type": "string", "minLength": 1, "description": "A timer: \"backup\" or \"backup.timer\"." }),
    |text| {
        let name = unit_name(&text, "timer")?;
        if name.ends_with(".timer") { Ok(name) } else { Err(format!("{text:?} is no timer")) }
    }
);

text!(
    /// What an accepted failure is about: a check's id, or `CHECK:ITEM`.
    AllowKey,
    json_schema!({ "type": "string", "description": "A check's id, or CHECK:ITEM such as \"services.failed-units:foo.service\"." }),
    |text| {
        let id = text.split_once(':').map_or(text.as_str(), |(id, _)| id);
        if id.parse::<CheckId>().is_ok() {
            Ok(text)
        } else {
            Err(format!("no check has the id {id:?}{}", did_you_mean(nearest(id, CheckId::rows().map(|row| row.name)))))
        }
    }
);

text!(
    /// An HTTP method.
    Method,
    json_schema!({ "type": "string", "enum": ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"] }),
    |text| {
        let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];
        let upper = text.to_ascii_uppercase();
        if known.contains(&upper.as_str()) {
            Ok(upper)
        } else {
            Err(format!("{text:?} is no method: {}", known.join(", ")))
        }
    }
);

impl Default for Method {
    fn default() -> Self {
        Self("GET".to_owned())
    }
}

/// A number in a range that is checked when it is read.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $kind:ty, $low:expr, $high:expr, $what:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
        pub struct $name(pub $kind);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let number = i64::deserialize(deserializer)?;
                match <$kind>::try_from(number) {
                    Ok(value) if ($low..=$high).contains(&value) => Ok(Self(value)),
                    _ => Err(de::Error::custom(format!("{number} is no {}: {} to {}", $what, $low, $high))),
                }
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "integer", "minimum": $low, "maximum": $high })
            }
        }
    };
}

number!(
    /// An HTTP status code.
    HttpStatus, u16, 100, 599, "status"
);
number!(
    /// A number of retries.
    Retries, u32, 0, MOST_RETRIES, "number of retries"
);
number!(
    /// A number of virtual CPUs.
    Cores, u32, 1, 512, "number of cores"
);
number!(
    /// A process's exit code.
    ExitCode, i32, 0, 255, "exit code"
);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl JsonSchema for Time {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A span of time: \"3s\", \"500ms\", \"1min 30s\"." })
    }
}

/// Compiles a pattern of the user's with a bounded size.
///
/// # Errors
/// The regex crate's.
pub fn compile(pattern: &str) -> Result<regex::Regex, regex::Error> {
    regex::RegexBuilder::new(pattern).size_limit(1 << 20).multi_line(true).build()
}

fn unit_name(text: &str, suffix: &str) -> Result<String, String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '\\' | '@');
    if text.is_empty() || text.len() > 255 || !text.chars().all(fine) {
        return Err(format!("{text:?} is no unit name (systemd.unit(5))"));
    }
    const SUFFIXES: [&str; 11] = [
        ".service",
        ".socket",
        ".device",
        ".mount",
        ".automount",
        ".swap",
        ".target",
        ".path",
        ".timer",
        ".slice",
        ".scope",
    ];
    let whole = SUFFIXES.iter().any(|suffix| text.ends_with(suffix));
    Ok(if whole { text.to_owned() } else { format!("{text}.{suffix}") })
}

fn did_you_mean(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!(", did you mean {name:?}?"))
}

/// Keys that somebody may look for here and that are flags on purpose.
const FLAGS_ONLY: [(&str, &str); 14] = [
    ("jail", "--no-jail"),
    ("no-jail", "--no-jail"),
    ("sandbox", "--no-jail"),
    ("impure", "--impure"),
    ("offline", "--offline"),
    ("option", "--option"),
    ("options", "--option"),
    ("override-input", "--override-input"),
    ("accept-flake-config", "nix's own setting"),
    ("nix", "nix's own flags"),
    ("nix-flags", "nix's own flags"),
    ("qemu-options", "the configuration's virtualisation.qemu.options"),
    ("keep", "--keep"),
    ("artifacts", "--artifacts"),
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
            return Err(Failure::usage(format!("{} cannot be read", path.display())).why(error));
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
    schemars::schema_for!(File).to_value()
}

impl Config {
    /// Reads a file's text. `shown` is how the file is called in errors.
    ///
    /// # Errors
    /// Exit 2, with `shown:LINE: what is wrong`.
    pub fn parse(text: &str, shown: &str) -> failure::Result<Self> {
        match toml::from_str::<File>(text) {
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
        let File { schema: _, machine, checks, units, ports, timers, http, script, allow, hook, host: hosts } =
            self.file.clone();
        let mut settings = Settings::default();
        let everybody = Host { machine, checks, units, ports, timers, http, script, allow, hook };
        settings.take(everybody);
        let base = host.split_once('@').map(|(base, _)| base);
        for own in base.into_iter().chain([host]).filter_map(|name| hosts.get(name)) {
            settings.take(own.clone());
        }
        settings
    }
}

impl Settings {
    /// Lays a table over what is there.
    fn take(&mut self, table: Host) {
        let Host { machine, checks, units, ports, timers, http, script, allow, hook } = table;
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
        add(&mut self.units, checks.units.into_iter().chain(units).map(|unit| unit.0));
        add(&mut self.ports, checks.ports.into_iter().chain(ports));
        add(&mut self.timers, checks.timers.into_iter().chain(timers).map(|timer| timer.0));
        self.http.extend(http.into_iter().map(|(id, http)| (id.0, http)));
        self.scripts.extend(script.into_iter().map(|(id, script)| (id.0, script)));
        self.allow.extend(allow.into_iter().map(|(key, reason)| (key.0, reason.0)));
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

/// The line, from 1, that an error is about. For a list's item the parser gives the whole list: look for the item.
fn line_of(text: &str, span: std::ops::Range<usize>, message: &str) -> usize {
    let (start, end) = (floor(text, span.start), floor(text, span.end));
    let quoted = message.strip_prefix('"').and_then(|rest| rest.split('"').next()).filter(|item| !item.is_empty());
    let within = quoted.and_then(|item| text[start..end].find(item)).unwrap_or(0);
    text[..start + within].matches('\n').count() + 1
}

/// The nearest character boundary at or below `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Turns serde's message into ours: an unknown key names the nearest known one.
fn explain(message: &str, place: &str) -> Failure {
    let Some(rest) = message.strip_prefix("unknown field `") else {
        return Failure::usage(format!("{place}: {}", message.trim().replace('\n', " ").replace('`', "\"")));
    };
    let mut quoted = rest.split('`').step_by(2);
    let unknown = quoted.next().unwrap_or_default();
    let known: Vec<&str> = quoted.filter(|name| !name.is_empty() && *name != "$schema").collect();
    let failure = Failure::usage(format!(
        "{place}: unknown key {unknown:?}{}",
        did_you_mean(nearest(unknown, known.iter().copied()))
    ));
    if let Some((_, flag)) = FLAGS_ONLY.iter().find(|(key, _)| *key == unknown) {
        return Failure::usage(format!("{place}: {unknown:?} is not for this file")).hint(format!(
            "use {flag} on the command line: a file of the repository must not loosen what keeps the repository's \
             code in"
        ));
    }
    if known.is_empty() { failure } else { failure.hint(format!("known here: {}", known.join(", "))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Exit;

    fn fails(text: &str) -> String {
        let failure = Config::parse(text, "nixbox.toml").expect_err(text);
        assert_eq!(failure.exit, Exit::Usage);
        failure.what
    }

    #[test]
    fn the_readmes_example_is_one() {
        let readme = include_str!("../README.md");
        let example = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        Config::parse(example, "README.md").unwrap();
    }

    #[test]
    fn defaults_without_a_file() {
        let config = load(None, None).unwrap();
        assert_eq!(config.settings_for("laptop"), Settings::default());
        let dir = tempfile::tempdir().unwrap();
        assert!(load(None, Some(dir.path())).unwrap().path.is_none());
        let gone = load(Some(&dir.path().join("x.toml")), None).unwrap_err();
        assert_eq!(gone.exit, Exit::Usage);
        let directory = load(Some(dir.path()), None).unwrap_err();
        assert!(directory.why.unwrap().contains("not a regular file"));
    }

    #[test]
    fn a_host_overrides_and_extends() {
        let config = Config::parse(
            r#"
            units = ["sshd"]
            [machine]
            memory = "2GiB"
            cores = 2
            timeout = "10min"
            [checks]
            settle = "5s"
            boot-time = "60s"
            ports = [22]
            [script.hello]
            run = "echo hello"
            equals = "hello"
            [http.front]
            url = "http://localhost/"
            [allow]
            "services.journal" = "noisy"
            "services.failed-units:foo.service" = "broken upstream"
            [hook]
            targets = [".#laptop"]
            [host.web]
            ports = ["53/udp", 22]
            timers = ["backup"]
            [host.web.machine]
            memory = 4096
            network = "user"
            [host.web.checks]
            units = ["nginx.service", "a.socket"]
            [host.web.script.hello]
            run = "echo web"
            exit = 3
            [host."web@test"]
            ports = [8080]
            machine.cores = 1
            "#,
            "nixbox.toml",
        )
        .unwrap();
        let web = config.settings_for("web");
        assert_eq!(web.machine.memory, Some(Memory(4096)));
        assert_eq!(web.machine.cores, Some(Cores(2)));
        assert_eq!(web.machine.network, Some(NetworkPolicy::User));
        assert_eq!(web.settle, Duration::from_secs(5));
        assert_eq!(web.boot_time, Some(Duration::from_secs(60)));
        assert_eq!(web.units, ["sshd.service", "nginx.service", "a.socket"]);
        assert_eq!(web.ports.iter().map(ToString::to_string).collect::<Vec<_>>(), ["22/tcp", "53/udp"]);
        assert_eq!(web.timers, ["backup.timer"]);
        assert_eq!(&*web.scripts["hello"].run, "echo web");
        assert_eq!(web.scripts["hello"].exit, ExitCode(3));
        assert_eq!(&*web.http["front"].method, "GET");
        assert_eq!(web.allow["services.failed-units:foo.service"], "broken upstream");
        let other = config.settings_for("other");
        assert_eq!(other.machine.memory, Some(Memory(2048)));
        assert_eq!(other.units, ["sshd.service"]);
        assert!(other.timers.is_empty());
        assert_eq!(other.hook_targets, [".#laptop"]);
        assert_eq!(config.file.host.keys().collect::<Vec<_>>(), ["web", "web@test"]);
        let special = config.settings_for("web@test");
        assert_eq!(special.ports.iter().map(ToString::to_string).collect::<Vec<_>>(), ["22/tcp", "53/udp", "8080/tcp"]);
        assert_eq!((special.machine.cores, special.machine.memory), (Some(Cores(1)), Some(Memory(4096))));
        assert_eq!(config.settings_for("web@other"), web);
        assert_eq!(config.settings_for("other@test"), other);
    }

    #[test]
    fn unknown_keys_name_the_nearest_and_the_line() {
        assert_eq!(
            fails("\n[machine]\ncores = 2\n\n\n\n[scirpt.a]\nrun = \"x\"\n"),
            "nixbox.toml:7: unknown key \"scirpt\", did you mean \"script\"?"
        );
        assert_eq!(fails("[host.web]\nportz = [1]\n"), "nixbox.toml:2: unknown key \"portz\", did you mean \"ports\"?");
        assert_eq!(
            fails("[host.web.machine]\nmemroy = 1\n"),
            "nixbox.toml:2: unknown key \"memroy\", did you mean \"memory\"?"
        );
        assert_eq!(
            fails("[script.a]\nrun = \"x\"\nregexp = \"x\"\n"),
            "nixbox.toml:3: unknown key \"regexp\", did you mean \"regex\"?"
        );
    }

    #[test]
    fn nothing_here_loosens_the_isolation() {
        for text in ["[machine]\njail = false\n", "impure = true\n", "[machine]\nno-jail = true\n", "[nix]\na = 1\n"] {
            assert!(fails(text).ends_with("is not for this file"), "{text}");
        }
    }

    #[test]
    fn bad_values_are_named_with_their_line() {
        let table = [
            ("[checks]\nsettle = \"3 bananas\"\n", "nixbox.toml:2: \"3 bananas\" is no duration"),
            ("[machine]\nmemory = \"banana\"\n", "nixbox.toml:2: \"banana\" is no size"),
            ("[machine]\nmemory = 1\n", "nixbox.toml:2: 1 MiB of memory"),
            ("[machine]\ncores = 0\n", "nixbox.toml:2: 0 is no number of cores"),
            ("[machine]\nnetwork = \"on\"\n", "nixbox.toml:2: unknown variant \"on\""),
            ("[checks]\nports = [\n  80,\n  70000,\n]\n", "nixbox.toml:4: \"70000\" is no port"),
            ("ports = [\"53/icmp\"]\n", "nixbox.toml:1: \"icmp\" is no protocol"),
            (
                "[script.a]\nrun = \"x\"\nregex = \"(\"\n",
                "nixbox.toml:3: \"(\" is no regular expression: unclosed group",
            ),
            ("[script.a]\nrun = \" \"\n", "nixbox.toml:2: must not be empty"),
            ("[script.a]\nuser = \"x\"\n", "nixbox.toml:1: missing field \"run\""),
            ("[script.\"a b\"]\nrun = \"x\"\n", "nixbox.toml:1: \"a b\" is no id"),
            ("[http.a]\nurl = \"localhost\"\n", "nixbox.toml:2: \"localhost\" is no address"),
            ("[http.a]\nurl = \"http://a\"\nstatus = 20\n", "nixbox.toml:3: 20 is no status"),
            ("units = [\"a/b\"]\n", "nixbox.toml:1: \"a/b\" is no unit name"),
            ("timers = [\"a.service\"]\n", "nixbox.toml:1: \"a.service\" is no timer"),
            (
                "\n[allow]\n\"services.failed-unit\" = \"x\"\n",
                "nixbox.toml:3: no check has the id \"services.failed-unit\", did you mean \"services.failed-units\"?",
            ),
            ("[allow]\n\"boot.time\" = \"\"\n", "nixbox.toml:2: an accepted failure needs its reason"),
            ("a = \n", "nixbox.toml:1: "),
        ];
        for (text, expected) in table {
            let what = fails(text);
            assert!(what.starts_with(expected), "{text}\n  {what}\n  {expected}");
        }
    }

    #[test]
    fn sizes() {
        for (text, mib) in
            [("2048", 2048), ("2G", 2048), ("2GiB", 2048), ("512M", 512), ("1536MiB", 1536), ("1 GiB", 1024)]
        {
            assert_eq!(Memory::parse(text), Ok(Memory(mib)), "{text}");
        }
        assert!(Memory::parse("banana").is_err());
        assert!(Memory::parse("-1").is_err());
    }

    #[test]
    fn the_schema_knows_the_tables() {
        let schema = schema();
        for key in ["machine", "checks", "http", "script", "allow", "hook", "host", "units", "ports", "timers"] {
            assert!(schema["properties"].get(key).is_some(), "{key}");
        }
        assert_eq!(schema["additionalProperties"], false);
    }
}
