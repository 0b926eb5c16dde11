//! The tables of `nixbox.toml`, as they are written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::types::{
    AllowKey, Cores, ExitCode, FileMode, FilePath, FileText, HttpStatus, Id, Login, MemorySize, Method, NonEmptyText,
    Pattern, PortSpec, Reason, Retries, SecretName, Time, TimerName, UnitName, Url,
};
use crate::model::{AccelChoice, NetworkPolicy, TransportKind};

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(title = "nixbox.toml")]
pub(super) struct ConfigFile {
    /// Where an editor finds the JSON schema of this file; not read.
    #[serde(rename = "$schema", skip_serializing_if = "Option::is_none")]
    pub(super) schema: Option<String>,
    /// How the machine is run.
    pub(super) machine: MachineSettings,
    /// How long things may take.
    pub(super) checks: Checks,
    /// Units that must be active, besides those that the configuration expects.
    pub(super) units: Vec<UnitName>,
    /// Ports on which something must be listening: `80`, `"53/udp"`.
    pub(super) ports: Vec<PortSpec>,
    /// Timers whose services are run once.
    pub(super) timers: Vec<TimerName>,
    /// HTTP requests made inside the guest.
    pub(super) http: BTreeMap<Id, HttpSettings>,
    /// Scripts run inside the guest.
    pub(super) script: BTreeMap<Id, ScriptSettings>,
    /// Files that only the real machine's disk has, by their paths: placed in the VM before any unit reads them.
    pub(super) file: BTreeMap<FilePath, FileSettings>,
    /// Stand-ins for secrets that the configuration declares, by the names of their attributes (`sops.secrets.NAME`,
    /// `age.secrets.NAME`): placed in the VM with the declared path, owner and mode.
    pub(super) secret: BTreeMap<SecretName, SecretSettings>,
    /// Failures that are accepted: `"CHECK" = "reason"` or `"CHECK:UNIT" = "reason"`.
    pub(super) allow: BTreeMap<AllowKey, Reason>,
    /// What a rehearsed switch (`--switch`) is judged by.
    pub(super) switch: SwitchTable,
    /// What an agent's hook does.
    pub(super) hook: HookTable,
    /// What holds for one host only, or for one specialisation of it: `[host."NAME@SPECIALISATION"]`.
    pub(super) host: BTreeMap<String, HostTable>,
}

/// What holds for one host only: the same tables as the file's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct HostTable {
    /// How the machine is run.
    pub(super) machine: MachineSettings,
    /// How long things may take.
    pub(super) checks: Checks,
    /// Units that must be active, besides those that the configuration expects.
    pub(super) units: Vec<UnitName>,
    /// Ports on which something must be listening: `80`, `"53/udp"`.
    pub(super) ports: Vec<PortSpec>,
    /// Timers whose services are run once.
    pub(super) timers: Vec<TimerName>,
    /// HTTP requests made inside the guest.
    pub(super) http: BTreeMap<Id, HttpSettings>,
    /// Scripts run inside the guest.
    pub(super) script: BTreeMap<Id, ScriptSettings>,
    /// Files that only the real machine's disk has, by their paths: placed in the VM before any unit reads them.
    pub(super) file: BTreeMap<FilePath, FileSettings>,
    /// Stand-ins for secrets that the configuration declares, by the names of their attributes (`sops.secrets.NAME`,
    /// `age.secrets.NAME`): placed in the VM with the declared path, owner and mode.
    pub(super) secret: BTreeMap<SecretName, SecretSettings>,
    /// Failures that are accepted: `"CHECK" = "reason"` or `"CHECK:UNIT" = "reason"`.
    pub(super) allow: BTreeMap<AllowKey, Reason>,
    /// What a rehearsed switch (`--switch`) is judged by.
    pub(super) switch: SwitchTable,
    /// What an agent's hook does.
    pub(super) hook: HookTable,
}

/// How the machine is run. Flags override these.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct MachineSettings {
    /// The guest's memory: `"2GiB"`, `"1536M"`, or a number of MiB. Default: as configured, with a desktop at least 2 GiB.
    pub memory: Option<MemorySize>,
    /// Virtual CPUs. Default: as configured, but at least 2 where the host has them, and a share of them in a matrix.
    pub cores: Option<Cores>,
    /// Whether the guest reaches the outside.
    pub network: Option<NetworkPolicy>,
    /// How long the boot may take in all, at least 1 s: `"10min"`. As it is, not scaled. Default: 3min, emulated 10min.
    #[serde(deserialize_with = "Time::boot_limit")]
    pub timeout: Option<Time>,
    /// The accelerator.
    pub accel: Option<AccelChoice>,
    /// The transport between host and guest.
    pub transport: Option<TransportKind>,
}

/// How long things may take.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Checks {
    /// How long a unit has to stay active before it counts as settled. Default: 3s.
    pub(super) settle: Option<Time>,
    /// The longest boot that is accepted on hardware virtualisation (scaled elsewhere). Default: any.
    pub(super) boot_time: Option<Time>,
}

/// What an agent's hook does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct HookTable {
    /// Targets that hooks evaluate after an edit and try at a turn's end; default: what a bare `nixbox try` finds, else
    /// the repository's flakes.
    pub(super) targets: Vec<String>,
    /// Whether the switch from the last commit is rehearsed at a turn's end, instead of a boot alone. Default: false.
    pub(super) switch: Option<bool>,
}

/// What a rehearsed switch is judged by.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct SwitchTable {
    /// What it means that something stays behind after the way back: `"warn"` (the default) or `"fail"`.
    pub(super) residue: Option<ResidueWeight>,
}

/// What it means that something stays behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ResidueWeight {
    /// A warning is reported.
    #[default]
    Warn,
    /// The run fails.
    Fail,
}

/// An HTTP request made inside the guest, and what its answer must be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HttpSettings {
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
pub struct ScriptSettings {
    /// Lines for the guest's `/bin/sh`.
    pub run: NonEmptyText,
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

/// A file that is placed in the VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FileSettings {
    /// What it holds, up to 16 KiB.
    pub text: FileText,
    /// Its mode, in octal. Default: 0644.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<FileMode>,
    /// Whose it is. Default: root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Login>,
    /// Its group. Default: root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Login>,
}

/// A stand-in for a secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SecretSettings {
    /// What it holds, up to 16 KiB. It is no secret: whoever reads nixbox.toml reads it.
    pub text: FileText,
}
