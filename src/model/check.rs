//! Every check: its id, and one row that says all there is to say about it, as one table entry.
//!
//! A new check is a row here, and a judgement in `checks/`, `desktop/judge/` or `audio/judge/`. The compiler does not ask
//! for the judgement: without it, a run that plans the check reports it as `unknown`. It does ask when a new [`Applies`]
//! holds (`judging/plan.rs`).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Exit, Stage};

/// What a check is about: the part of its id before the dot, by which `--only` and `--skip` choose several at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CheckKind {
    /// nix: evaluation and build.
    Build,
    /// From the kernel to the default target.
    Boot,
    /// Units of the system's manager, and what they serve.
    Services,
    /// Addresses, routes, names, open ports.
    Network,
    /// Accounts and logins.
    Users,
    /// The graphical session.
    Desktop,
    /// Sound.
    Audio,
    /// The switch from another configuration, and back.
    Switch,
    /// What a switch and the way back leave behind.
    Residue,
    /// Scripts of `nixbox.toml`.
    Script,
}

impl CheckKind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Build,
        Self::Boot,
        Self::Services,
        Self::Network,
        Self::Users,
        Self::Desktop,
        Self::Audio,
        Self::Switch,
        Self::Residue,
        Self::Script,
    ];

    /// The part of an id before the dot.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Boot => "boot",
            Self::Services => "services",
            Self::Network => "network",
            Self::Users => "users",
            Self::Desktop => "desktop",
            Self::Audio => "audio",
            Self::Switch => "switch",
            Self::Residue => "residue",
            Self::Script => "script",
        }
    }
}

/// When a check is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applies {
    /// Never by the plan: a failure that ended the run before there was a machine stands for it.
    BeforeTheMachine,
    /// On every machine.
    Always,
    /// Where a port is expected to be listened on, or is open in the firewall.
    WithPorts,
    /// Where `nixbox.toml` lists HTTP requests.
    WithHttp,
    /// Where the configuration has web sites.
    WithSites,
    /// Where `nixbox.toml` names timers.
    WithTimers,
    /// Where there is a configuration to read: not for a runner that was built elsewhere.
    WithConfiguration,
    /// Where a display manager is enabled.
    WithDisplayManager,
    /// Where there is a desktop, or a user who lingers: a user's manager runs.
    WithUserManagers,
    /// Where a desktop is enabled.
    WithDesktop,
    /// Where a sound server is enabled.
    WithAudio,
    /// Where a switch is rehearsed: what the rehearsal itself judges, beside the checks of the machine.
    WithSwitch,
    /// Once for each script of `nixbox.toml`.
    WithScript,
}

/// What it means for the run that a check could not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// The run could not tell either (exit 5), unless something failed.
    Expected,
    /// Nothing: the run can still pass. A failure of it counts like any other.
    Advice,
}

/// All there is to say about a check.
#[derive(Debug)]
pub struct CheckRow {
    /// The id as it is written. It never changes.
    pub name: &'static str,
    /// What it is about.
    pub kind: CheckKind,
    /// The stage that a failure of it belongs to, and with that the exit code ([`Stage::exit`]).
    pub stage: Stage,
    /// How early in a chain of causes it lies: of several failures the lowest leads the report. Unique.
    pub rank: u8,
    /// What not being able to tell means.
    pub weight: Weight,
    /// When it is planned.
    pub applies: Applies,
    /// What it tests, one line.
    pub summary: &'static str,
    /// What is tested, and what counts as wrong.
    pub tests: &'static str,
    /// What usually breaks it.
    pub causes: &'static str,
    /// What to do then.
    pub remedy: &'static str,
}

macro_rules! checks {
    ($($variant:ident = $name:literal {
        kind: $kind:ident,
        stage: $stage:ident,
        rank: $rank:literal,
        weight: $weight:ident,
        applies: $applies:ident,
        summary: $summary:literal,
        tests: $tests:literal,
        causes: $causes:literal,
        remedy: $remedy:literal,
    })*) => {
        /// The id of a check.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum CheckId {
            $(#[doc = $summary] $variant,)*
            /// The script of `nixbox.toml` with this name ends as expected.
            Script(ScriptName),
        }

        impl CheckId {
            /// Those that nixbox brings, in the order in which they are shown.
            pub const BUILT_IN: &[CheckId] = &[$(CheckId::$variant),*];

            /// All there is to say about it.
            pub const fn row(self) -> &'static CheckRow {
                match self {
                    $(CheckId::$variant => {
                        const ROW: &CheckRow = &CheckRow {
                            name: $name,
                            kind: CheckKind::$kind,
                            stage: Stage::$stage,
                            rank: $rank,
                            weight: Weight::$weight,
                            applies: Applies::$applies,
                            summary: $summary,
                            tests: $tests,
                            causes: $causes,
                            remedy: $remedy,
                        };
                        ROW
                    })*
                    CheckId::Script(_) => SCRIPT,
                }
            }
        }
    };
}

/// The name of a script. Equal names are one text that lives as long as the process, so that an id is copied like a
/// number: there are as many as `nixbox.toml` has scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScriptName(&'static str);

impl ScriptName {
    fn new(name: &str) -> Self {
        static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        Self(known.get(name).copied().unwrap_or_else(|| {
            let name: &'static str = Box::leak(name.into());
            known.insert(name);
            name
        }))
    }

    /// As it stands in `nixbox.toml`.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

/// The row of all scripts of `nixbox.toml`.
const SCRIPT: &CheckRow = &CheckRow {
    name: "script.<name>",
    kind: CheckKind::Script,
    stage: Stage::Check,
    rank: 32,
    weight: Weight::Expected,
    applies: Applies::WithScript,
    summary: "a script of nixbox.toml ends as expected",
    tests: "[script.NAME] of nixbox.toml, run inside the machine: its exit code, and what it wrote to stdout. One that\n\
            does not end within its deadline fails.",
    causes: "A service that is not ready yet, a program that is not in the machine's path, another user's rights.",
    remedy: "Its output is shown. `retries` and `deadline` wait for slow starters; `user` says who runs it.",
};

impl CheckId {
    /// The row of each kind of check, scripts last, in the order in which they are shown.
    pub fn rows() -> impl Iterator<Item = &'static CheckRow> {
        Self::BUILT_IN.iter().map(|id| id.row()).chain([SCRIPT])
    }

    /// Those of this kind that nixbox brings.
    pub fn of_kind(kind: CheckKind) -> impl Iterator<Item = Self> {
        Self::BUILT_IN.iter().copied().filter(move |id| id.kind() == kind)
    }

    /// The check of a script of `nixbox.toml`.
    pub fn script(name: &str) -> Self {
        Self::Script(ScriptName::new(name))
    }

    /// What it is about.
    pub const fn kind(self) -> CheckKind {
        self.row().kind
    }

    /// The stage that a failure of it belongs to.
    pub const fn stage(self) -> Stage {
        self.row().stage
    }

    /// The exit code of a run that fails by it.
    pub const fn exit(self) -> Exit {
        self.stage().exit()
    }

    /// The id as it is written; a script's with its name.
    pub fn name(self) -> Cow<'static, str> {
        match self {
            Self::Script(ScriptName(name)) => Cow::Owned(format!("{}.{name}", CheckKind::Script.name())),
            _ => Cow::Borrowed(self.row().name),
        }
    }
}

/// Whether a script may have this name: letters, digits, `-` and `_`, so that an id is harmless wherever it is shown.
pub fn is_script_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

impl fmt::Display for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

/// What names no check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownCheck;

impl fmt::Display for UnknownCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such check")
    }
}

impl std::error::Error for UnknownCheck {}

impl FromStr for CheckId {
    type Err = UnknownCheck;

    fn from_str(text: &str) -> Result<Self, UnknownCheck> {
        let script = text.strip_prefix(CheckKind::Script.name()).and_then(|rest| rest.strip_prefix('.'));
        match script {
            Some(name) if is_script_name(name) => Ok(Self::script(name)),
            _ => Self::BUILT_IN.iter().find(|id| id.row().name == text).copied().ok_or(UnknownCheck),
        }
    }
}

impl Serialize for CheckId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CheckId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(|_unknown| serde::de::Error::custom(format!("{text:?} is no check")))
    }
}

impl JsonSchema for CheckId {
    fn schema_name() -> Cow<'static, str> {
        "CheckId".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        String::json_schema(generator)
    }
}

checks! {
BuildAttribute = "build.attribute" {
    kind: Build,
    stage: Evaluate,
    rank: 0,
    weight: Expected,
    applies: BeforeTheMachine,
    summary: "the target's attribute exists",
    tests: "Whether what was named is in the flake, and is a machine that can be run: what is built for it must contain\n\
                 bin/run-…-vm.",
    causes: "A typo in a host's name, a host that another branch has, a package or a module instead of a\n\
                 configuration. In a git work tree nix sees tracked files only: a new file that was not added is missing.",
    remedy: "Compare the name with those that the message lists. `git add` new files (a commit is not needed).",
}
BuildEval = "build.eval" {
    kind: Build,
    stage: Evaluate,
    rank: 1,
    weight: Expected,
    applies: BeforeTheMachine,
    summary: "the configuration evaluates, its assertions hold",
    tests: "Whether nix evaluates the configuration: syntax, options that exist, types, assertions of modules.",
    causes: "A missing semicolon or bracket, an option that was renamed or removed, a value of the wrong type, two\n\
                 modules that set the same option, an assertion that asks for a second option. An input that could not\n\
                 be fetched is a problem of this host (exit 5), not a failure of this check.",
    remedy: "Read the message from its end: the last `at FILE:LINE` that is yours is where to look. An assertion says\n\
                 itself what is missing.",
}
BuildDerivation = "build.derivation" {
    kind: Build,
    stage: Build,
    rank: 2,
    weight: Expected,
    applies: BeforeTheMachine,
    summary: "everything that the machine is made of builds",
    tests: "Whether everything that the VM is made of builds. The derivation that failed is named, with the end of\n\
                 its log; nix's whole log is nix.log beside the report.",
    causes: "A package that does not compile at this version, a patch that no longer applies, a hash that is not the\n\
                 file's, a generated file that its own checker refuses (a unit's, nginx's, a shell script's).",
    remedy: "Fix what the log's last lines name; with a hash, take the one that nix says it got. A package that\n\
                 is broken upstream can be left out, overridden, or taken from another nixpkgs.",
}
BuildToplevel = "build.toplevel" {
    kind: Build,
    stage: Build,
    rank: 3,
    weight: Expected,
    applies: BeforeTheMachine,
    summary: "the host's own system, which the VM variant partly hides, evaluates and builds",
    tests: "Whether the host's own system (config.system.build.toplevel) evaluates and builds. The VM's variant\n\
                 replaces some of it: file systems, boot loader, drivers. Left out by --vm-only.",
    causes: "File systems or a boot loader that are not declared, an option in hardware-configuration.nix, a driver or\n\
                 firmware that does not build, what only `virtualisation.vmVariant` sets.",
    remedy: "Fix it as for build.eval or build.derivation: the VM runs without it, `nixos-rebuild switch` does not.",
}
BootTarget = "boot.target" {
    kind: Boot,
    stage: Boot,
    rank: 13,
    weight: Expected,
    applies: Always,
    summary: "the default target is reached, no job is stuck",
    tests: "Whether the default target is reached and no job is left. A slow boot fails only if one job held it up by\n\
                 itself: for at least 10 s, and a quarter of the whole time. Otherwise it is `could not tell`, and so it is\n\
                 where that job's unit may only be waiting for the outside, which --network off blocks.",
    causes: "A oneshot that waits for something that never comes, a device or mount that is waited for, a dependency\n\
                 cycle from which systemd dropped a job, an init that is missing, an activation script that hangs.",
    remedy: "Look at the job that is named and its last lines; `waiting for it` lists the other jobs. TimeoutStartSec=\n\
                 bounds a oneshot. `nixbox try --keep` leaves the machine up; --timeout gives it longer.",
}
BootEmergency = "boot.emergency" {
    kind: Boot,
    stage: Boot,
    rank: 12,
    weight: Expected,
    applies: Always,
    summary: "no emergency or rescue mode, neither in stage 1 nor later",
    tests: "Whether the machine is in emergency or rescue mode, in stage 1 or later, and which unit is behind it.",
    causes: "A mount that fails or whose device never appears, file systems that are declared twice or by a wrong\n\
                 label, a kernel module that stage 1 lacks, a service that sysinit.target needs.",
    remedy: "A file system that the machine can boot without takes `options = [ \"nofail\" ]`. Modules for stage 1 go\n\
                 into boot.initrd.availableKernelModules. The unit's lines are shown; journal.txt has the rest.",
}
BootPanic = "boot.panic" {
    kind: Boot,
    stage: Boot,
    rank: 10,
    weight: Expected,
    applies: Always,
    summary: "the kernel does not panic",
    tests: "Whether the kernel panicked, as QEMU or the console reports, with the cause where the lines before it name one.",
    causes: "A root file system that cannot be mounted, an init that is missing, is not executable or ended, a kernel\n\
                 parameter or module that it does not survive, too little memory in stage 1.",
    remedy: "console.log beside the report has every line. Undo what changed in boot.*, the kernel or its modules.",
}
BootPoweroff = "boot.poweroff" {
    kind: Boot,
    stage: Boot,
    rank: 11,
    weight: Expected,
    applies: Always,
    summary: "the machine stays up: no power-off, no reset",
    tests: "Whether the machine stays up: a power-off or reset of its own before the checks are done fails.",
    causes: "A service with FailureAction= or SuccessAction=, a watchdog, a script that calls poweroff or reboot, a\n\
                 unit that conflicts with the default target.",
    remedy: "The console's last line is shown; look in journal.txt for the unit that asked for shutdown.target.",
}
BootOom = "boot.oom" {
    kind: Boot,
    stage: Check,
    rank: 16,
    weight: Expected,
    applies: Always,
    summary: "nothing is killed for lack of memory",
    tests: "OOM kills, by the kernel (the whole machine's, or a unit's own limit) or systemd-oomd.",
    causes: "A program that takes more than the VM has, a MemoryMax= that is too low, several large services at once\n\
                 on 1 GiB.",
    remedy: "Give the VM what the machine has: [machine] memory in nixbox.toml, or --memory. A unit's own limit is the\n\
                 configuration's to raise.",
}
BootActivation = "boot.activation" {
    kind: Boot,
    stage: Check,
    rank: 14,
    weight: Expected,
    applies: Always,
    summary: "no snippet of the activation script failed",
    tests: "Snippets of the activation script that failed, in the journal and on the console, and the units that run\n\
                 it where stage 1 is systemd. Snippets that set up secrets (sops, agenix) are excluded: the VM does not have\n\
                 their key.",
    causes: "A command in system.activationScripts that ends with an error, a path that is not there on a fresh disk,\n\
                 a user or group that comes later.",
    remedy: "The lines before the failure are shown. Let the snippet make what it needs (mkdir -p), or turn it into a\n\
                 service that can be ordered.",
}
BootTmpfiles = "boot.tmpfiles" {
    kind: Boot,
    stage: Check,
    rank: 29,
    weight: Expected,
    applies: Always,
    summary: "systemd-tmpfiles could follow all its rules",
    tests: "Errors of systemd-tmpfiles, and its units that failed. Rules that a VM's file systems or hardware cannot\n\
                 follow (/sys, /dev, attributes) are excluded.",
    causes: "A rule for a user or group that does not exist, a line with too few fields, a path below a directory that\n\
                 another user owns (unsafe path transition).",
    remedy: "Correct the rule in systemd.tmpfiles.rules or .settings; the message names it.",
}
BootEtc = "boot.etc" {
    kind: Boot,
    stage: Check,
    rank: 72,
    weight: Expected,
    applies: Always,
    summary: "what /etc links to exists",
    tests: "Links in /etc that lead nowhere: a time zone that does not exist fails, a file that the package does not\n\
                 contain is a warning. What leads out of the nix store is the real machine's, and is not looked at.",
    causes: "A misspelt time.timeZone; environment.etc.NAME.source with a path that is not in its package: nix builds /etc\n\
                 without looking.",
    remedy: "Correct the name: timedatectl list-timezones lists time zones, ls shows what a package contains.",
}
BootTaint = "boot.taint" {
    kind: Boot,
    stage: Check,
    rank: 60,
    weight: Advice,
    applies: Always,
    summary: "the kernel is not tainted",
    tests: "The kernel's taint flags that are worth a look: an oops, a warning, a lock-up, a forced module. Others\n\
                 (modules from outside the tree, unsigned ones) are mentioned only.",
    causes: "A module that misbehaves, a kernel bug, rarely QEMU's devices.",
    remedy: "It is a warning. The kernel's line is shown; try another kernel (boot.kernelPackages) to see whether that is it.",
}
BootTime = "boot.time" {
    kind: Boot,
    stage: Check,
    rank: 50,
    weight: Advice,
    applies: Always,
    summary: "the boot takes no longer than [checks] boot-time",
    tests: "How long the boot took from the kernel's start; it fails only above [checks] boot-time of nixbox.toml, which\n\
                 is five times as long under TCG.",
    causes: "A unit that waits for the network or a device, a oneshot that the target waits for.",
    remedy: "`systemd-analyze critical-chain` in the machine (nixbox try --keep) shows what was waited for.",
}
ServicesFailedUnits = "services.failed-units" {
    kind: Services,
    stage: Check,
    rank: 21,
    weight: Expected,
    applies: Always,
    summary: "no unit has failed (failures that only the VM causes are excluded)",
    tests: "Units in state failed, each with how it ended and its last lines. Of several, the one that the others need\n\
                 is reported, with those that depend on it. What only the VM causes, as evidence shows (no outside network,\n\
                 hardware and disks that a VM does not have, a missing secret), is listed under `not tested`. A time limit\n\
                 that ran out while an emulated processor was at work is `could not tell`.",
    causes: "A setting that the program refuses, a port or file that is taken, a directory or user that is missing, a\n\
                 database that is not initialised, a path that the unit's own hardening hides.",
    remedy: "Read the unit's lines; most programs name the setting. nginx, sshd and the like have an option that checks\n\
                 their configuration at build time. What cannot work in a VM goes under [allow] with its reason, and only that.",
}
ServicesPromised = "services.promised" {
    kind: Services,
    stage: Check,
    rank: 20,
    weight: Expected,
    applies: Always,
    summary: "every expected unit is loaded, not masked, and active (or inactive by design)",
    tests: "Each unit that the configuration enables and wants, or that `units` in nixbox.toml expects: known to the\n\
                 guest's systemd, loaded, not masked, active, or inactive by design (its condition, its trigger, a oneshot).\n\
                 Also each unit that systemd dropped to break an ordering cycle.",
    causes: "A line that systemd refuses to load (a relative path, an unknown section), a unit that nothing wants, a\n\
                 condition on a path that the configuration itself does not create, an ordering cycle, a mask.",
    remedy: "A unit that is refused never shows as failed: the message names the line. Without wantedBy a service is\n\
                 never started.",
}
ServicesSettled = "services.settled" {
    kind: Services,
    stage: Check,
    rank: 23,
    weight: Expected,
    applies: Always,
    summary: "what became active stays active for the settle time",
    tests: "Whether what became active is still active after the settle time ([checks] settle, 3 s). Daemons (notify, forking,\n\
                 Restart=always) and what nixbox.toml expects have to stay; a simple service that ends with 0 is a warning, and so\n\
                 is one with RemainAfterExit= that was stopped.",
    causes: "A daemon that crashes shortly after its start, that puts itself into the background under Type=simple, or\n\
                 loses what it is connected to.",
    remedy: "Its last lines say why it ended. Type=forking or a foreground flag, if it put itself into the background;\n\
                 Type=oneshot, if it is meant to end.",
}
ServicesRestartLoop = "services.restart-loop" {
    kind: Services,
    stage: Check,
    rank: 22,
    weight: Expected,
    applies: Always,
    summary: "no service is in a restart loop",
    tests: "Services that systemd starts again and again, counted between two observations, or that time out while starting\n\
                 and are started again. One that failed once is waited for (RestartSec= of 30 s at most, and as long again): one\n\
                 that succeeds at its second try is a warning.",
    causes: "A program that fails at once under Restart=always or on-failure: a wrong setting, a port that is taken, a\n\
                 missing file. One that exits successfully and is restarted forever, or never says that it is ready\n\
                 (Type=notify, a PIDFile= that is never written).",
    remedy: "Fix what its lines name. A program that does its work and exits should be Type=oneshot, with a timer if it has\n\
                 to run again.",
}
ServicesPorts = "services.ports" {
    kind: Services,
    stage: Check,
    rank: 30,
    weight: Expected,
    applies: WithPorts,
    summary: "a process listens on each expected port",
    tests: "Whether a process listens on each port that an enabled service's options name, or `ports` in nixbox.toml.\n\
                 It is waited for as long as the service's unit is up and the machine does something, a minute at most (five\n\
                 under emulation). A port that an option of an enabled service only seems to name, and a port in\n\
                 networking.firewall.allowedTCPPorts without a listener, whether the firewall is on or not, is a warning (the\n\
                 latter is only mentioned where a desktop's programs may still come to listen).",
    causes: "A service that listens on a socket or another port than its option says, a service that failed\n\
                 (services.failed-units).",
    remedy: "Compare the service's own settings with the option; its last lines are shown.",
}
ServicesHttp = "services.http" {
    kind: Services,
    stage: Check,
    rank: 31,
    weight: Expected,
    applies: WithHttp,
    summary: "the HTTP requests of nixbox.toml are answered as expected",
    tests: "The requests [http.NAME] of nixbox.toml, made inside the machine: the status (200 to 399 by default), and\n\
                 what the body contains or matches.",
    causes: "A service that is not up yet, another virtual host that answers, a redirect to https, an address outside\n\
                 (which --network off blocks, and which is excluded).",
    remedy: "The body's first lines are shown. Give slow starters `retries` and `deadline`; ask for localhost.",
}
ServicesSites = "services.sites" {
    kind: Services,
    stage: Check,
    rank: 73,
    weight: Expected,
    applies: WithSites,
    summary: "each virtual host of nginx answers with something of its own",
    tests: "A request for / of each virtual host, made inside the machine. An answer of 500 or above is a warning: what is\n\
                 behind it may take its time, or need what a VM does not have. One that nginx gives for a file, directory or\n\
                 socket that it may not open is a failure, and so is 403 for that reason. What else is answered is well.",
    causes: "A directory that nginx may not enter (mode 0700, ProtectHome=), a socket of a group that nginx is not in,\n\
                 a port behind proxyPass that nothing listens on.",
    remedy: "nginx's own line says what it could not open. Let it in by mode or group: RuntimeDirectoryMode=,\n\
                 users.users.nginx.extraGroups.",
}
ServicesTimers = "services.timers" {
    kind: Services,
    stage: Check,
    rank: 33,
    weight: Expected,
    applies: WithTimers,
    summary: "the services of the timers named in nixbox.toml succeed",
    tests: "The services of the timers that `timers` in nixbox.toml names, each run once: it has to succeed.",
    causes: "A backup whose target is missing, a secret that is not there, a script that was never run before.",
    remedy: "Its lines are shown. What needs the outside is excluded where its lines show that.",
}
ServicesVerify = "services.verify" {
    kind: Services,
    stage: Check,
    rank: 34,
    weight: Advice,
    applies: Always,
    summary: "systemd-analyze verify accepts the configuration's units, also those that boot does not start",
    tests: "systemd-analyze verify over the configuration's own units, also those that only a timer, socket or path starts,\n\
                 or nothing does, templates, and every user's: directives that systemd ignores for a typo, programs, users, groups\n\
                 and files that are not there, targets that do not exist. What packages bring is not judged, nor what is only\n\
                 deprecated; a limit or a protection that is ignored, and a directive of another section, is a warning.\n\
                 Programs and files that only the real machine can have (/var, /home, /opt, secrets) are excluded.",
    causes: "A typo in serviceConfig (ExecStrat=), a program that its package calls by another name, a path as other\n\
                 distributions have it (/usr/bin), a user that was never declared, wantedBy = [ \"multiuser.target\" ].",
    remedy: "Correct what the message names: systemd says nothing about such a unit, or only when its timer fires. Name\n\
                 programs by their package: ${lib.getExe pkgs.NAME}.",
}
ServicesJournal = "services.journal" {
    kind: Services,
    stage: Check,
    rank: 61,
    weight: Advice,
    applies: Always,
    summary: "no errors in the journal (a warning at most)",
    tests: "Lines of priority err and above, except the kernel's, PID 1's and what other checks already reported; and settings\n\
                 in /etc, and sysctls, that the program which reads them ignores (a misspelt key).",
    causes: "Programs that complain about hardware or files that they can do without.",
    remedy: "It is a warning at most. Worth a look when something works only partly.",
}
NetworkAddress = "network.address" {
    kind: Network,
    stage: Check,
    rank: 26,
    weight: Expected,
    applies: Always,
    summary: "a network interface has an address",
    tests: "Whether a network interface has an address. Interfaces that the configuration calls by the real hardware's name\n\
                 are excluded: the VM's has another name.",
    causes: "DHCP that is off everywhere, a match on an interface's name or MAC address, two managers at once.",
    remedy: "`networking.useDHCP`, or a match that also fits the machine's other interfaces. Look at the manager's lines.",
}
NetworkRoute = "network.route" {
    kind: Network,
    stage: Check,
    rank: 27,
    weight: Expected,
    applies: Always,
    summary: "there is a default route",
    tests: "Whether there is a default route. Without network namespaces the VM gets none with --network off: then it is\n\
                 not tested.",
    causes: "A static address without a gateway.",
    remedy: "networking.defaultGateway, or DHCP.",
}
NetworkPorts = "network.ports" {
    kind: Network,
    stage: Check,
    rank: 18,
    weight: Expected,
    applies: Always,
    summary: "the expected firewall is up; what listens beyond loopback is listed",
    tests: "Whether the firewall that the configuration expects is up, did not fail and was not stopped, and what listens\n\
                 beyond loopback.",
    causes: "An extra rule in networking.firewall.extraCommands or a ruleset of nftables that does not parse: then the\n\
                 whole firewall is down, and every port is open.",
    remedy: "Correct the rule that the unit's lines name.",
}
NetworkDns = "network.dns" {
    kind: Network,
    stage: Check,
    rank: 28,
    weight: Advice,
    applies: Always,
    summary: "a name server is configured and listens; names resolve, if --network allows it",
    tests: "Whether there is a name server: one in /etc/resolv.conf, or on this machine; where only this machine is named\n\
                 (127.0.0.1), whether a process listens there. With --network user an outside name is resolved too, which fails\n\
                 only if this host can resolve it.",
    causes: "A static set-up without networking.nameservers, resolvconf that is off, a resolver that failed.",
    remedy: "networking.nameservers, or services.resolved.enable.",
}
UsersLogin = "users.login" {
    kind: Users,
    stage: Check,
    rank: 24,
    weight: Expected,
    applies: Always,
    summary: "a user can log in",
    tests: "Whether root or a normal user can log in: a password, an SSH key while sshd runs, or an automatic login. Excluded\n\
                 where passwords come from elsewhere (mutable users without one in the configuration, files, LDAP).",
    causes: "users.mutableUsers = false without any password or key, a plain-text password in hashedPassword, a shell that is\n\
                 not installed.",
    remedy: "Give a user hashedPassword, hashedPasswordFile or openssh.authorizedKeys.keys before you lock yourself out.",
}
UsersDeclared = "users.declared" {
    kind: Users,
    stage: Check,
    rank: 25,
    weight: Expected,
    applies: WithConfiguration,
    summary: "declared users, groups, homes and shells exist",
    tests: "Whether each declared user and group exists, with its groups, its home and a shell that runs.",
    causes: "A group that no module declares, a shell without its programs.NAME.enable, a home below a path that is\n\
                 not there.",
    remedy: "Declare the group (users.groups.NAME = { }), enable the shell's program.",
}
DesktopGreeter = "desktop.greeter" {
    kind: Desktop,
    stage: Check,
    rank: 35,
    weight: Expected,
    applies: WithDisplayManager,
    summary: "the expected display manager shows a login",
    tests: "Whether the expected display manager shows a login screen: its session, its compositor or X server, and the\n\
                 picture, which must not be a console or one flat colour. One that needs a GPU is not tested, since the VM has\n\
                 none; one without its theme is a warning.",
    causes: "A greeter that crashes, its theme or session that is missing, GNOME's “Oh no!”, a greetd command that ends.",
    remedy: "greeter.png shows it, and the message quotes its lines. Undo changes to the theme or to the greeter's own settings.",
}
DesktopSession = "desktop.session" {
    kind: Desktop,
    stage: Check,
    rank: 36,
    weight: Expected,
    applies: WithDesktop,
    summary: "the user's graphical session is active, of the expected type and desktop",
    tests: "Whether the user's graphical session is active on its seat, of the expected desktop and type (Wayland or\n\
                 X11). The configuration logs a user in, or nixbox does.",
    causes: "An automatic login for a user who does not exist, a default session whose file is not there, a session that\n\
                 ends at once, a fallback to another desktop.",
    remedy: "Compare services.displayManager.defaultSession with the sessions that are offered; the message says why the\n\
                 session ended.",
}
DesktopCompositor = "desktop.compositor" {
    kind: Desktop,
    stage: Check,
    rank: 19,
    weight: Expected,
    applies: WithDesktop,
    summary: "the compositor (or X server) runs and did not crash or restart",
    tests: "Whether the compositor (or X server) runs, serves a display, and did not crash or restart. One that needs a GPU\n\
                 is not tested, since the VM has none. One that rejects a part of its configuration is a warning.",
    causes: "A crash (with its signal), a configuration file that it refuses, a wrapper that ends, a plugin of another\n\
                 version.",
    remedy: "The message quotes its last lines and its core dump's. Start it with its own defaults to see whether it is its\n\
                 configuration.",
}
DesktopUnits = "desktop.units" {
    kind: Desktop,
    stage: Check,
    rank: 38,
    weight: Expected,
    applies: WithUserManagers,
    summary: "the user's units, session target and portals are as expected",
    tests: "The user's own units: none failed or is restarted again and again, those that the configuration or\n\
                 home-manager expects are started, the graphical session's target is active, the portal answers. Where there\n\
                 is no desktop: the units of users who linger.",
    causes: "A compositor that never starts graphical-session.target, a portal without a backend for this desktop, a\n\
                 user service that needs a variable which was not imported.",
    remedy: "Enable the compositor's module or home-manager's systemd integration; set xdg.portal.config and extraPortals.",
}
DesktopPicture = "desktop.picture" {
    kind: Desktop,
    stage: Check,
    rank: 37,
    weight: Expected,
    applies: WithDesktop,
    summary: "the screen shows a steady picture that reacts to input",
    tests: "The screen itself: steady, not a console, not one flat colour where the desktop draws something, and it reacts\n\
                 to a moved pointer, a key, and a window of an installed program.",
    causes: "A session that hangs, a shell or panel that never comes up, programs that find no display.",
    remedy: "session.png and boot.gif beside the report show it. Look at desktop.units next: panels are units.",
}
AudioServer = "audio.server" {
    kind: Audio,
    stage: Check,
    rank: 40,
    weight: Expected,
    applies: WithAudio,
    summary: "the expected sound server answers in the user's session, with its session manager",
    tests: "Whether the expected sound server runs and answers in the user's session: PipeWire with its session\n\
                 manager and its PulseAudio socket, or PulseAudio.",
    causes: "PipeWire and PulseAudio at once, WirePlumber that is off or rejects its configuration, a user unit that is\n\
                 masked.",
    remedy: "Enable one of services.pipewire and services.pulseaudio. A configuration fragment that the server refuses is\n\
                 named in its lines.",
}
AudioSink = "audio.sink" {
    kind: Audio,
    stage: Check,
    rank: 41,
    weight: Expected,
    applies: WithAudio,
    summary: "there is a sink that leads to a card, neither muted nor at volume 0",
    tests: "Whether there is a sink that leads to the machine's card, neither muted nor at volume 0.",
    causes: "Only a dummy output, because there is no session manager or no permission for /dev/snd; a card whose profile is\n\
                 off; a second server that holds the card.",
    remedy: "Start the session manager, let no other program take the card, check which users may open /dev/snd.",
}
AudioTone = "audio.tone" {
    kind: Audio,
    stage: Check,
    rank: 42,
    weight: Expected,
    applies: WithAudio,
    summary: "played tones arrive at the card with the right pitch, order, channel and length",
    tests: "Six tones, played by what is installed in the guest and captured on the host's side of the card: pitch, order,\n\
                 left and right, length. It also fails for programs that the server refused before it was up.",
    causes: "A sample rate that is configured wrong (everything is off by the same factor), a channel map that swaps or drops\n\
                 a channel, a filter that swallows everything.",
    remedy: "audio.wav and spectrogram.png beside the report let you hear and see it. Undo changes to rates, remaps, filters.",
}
AudioMicrophone = "audio.microphone" {
    kind: Audio,
    stage: Check,
    rank: 44,
    weight: Expected,
    applies: WithAudio,
    summary: "what the host plays into the card is recorded in the user's session",
    tests: "Tones that the host plays into the card, recorded in the user's session and found again.",
    causes: "A profile without input, a source that is muted (a warning), a filter or echo canceller that swallows it.",
    remedy: "Choose a duplex profile; remove what stands between the card and the source.",
}
AudioRealtime = "audio.realtime" {
    kind: Audio,
    stage: Check,
    rank: 43,
    weight: Expected,
    applies: WithAudio,
    summary: "the server got the expected scheduling and settings",
    tests: "Whether the server got a realtime thread where security.rtkit.enable expects it, and whether clock settings\n\
                 that are declared are in effect.",
    causes: "rtkit-daemon that failed, settings under a name that PipeWire does not read (without `default.`).",
    remedy: "PipeWire calls them default.clock.rate, default.clock.quantum and so on, below context.properties.",
}
SwitchOutcome = "switch.outcome" {
    kind: Switch,
    stage: Check,
    rank: 15,
    weight: Expected,
    applies: WithSwitch,
    summary: "switch-to-configuration test exits with 0",
    tests: "How `switch-to-configuration test` ends on the machine that runs the former configuration: its exit code, a\n\
            pre-switch check or an inhibitor that refuses, a switch that hangs, a machine that no longer answers.",
    causes: "A unit that cannot be restarted, an activation snippet that fails or waits, a switch that stops the network\n\
             or the display manager under the user, a change that only a reboot can make.",
    remedy: "The message names the unit or the snippet. Where the switch is refused, or a reboot is needed, use\n\
             `nixos-rebuild boot`.",
}
SwitchActivation = "switch.activation" {
    kind: Switch,
    stage: Check,
    rank: 17,
    weight: Expected,
    applies: WithSwitch,
    summary: "every activation snippet and tmpfiles rule succeeded during the switch",
    tests: "What the activation says while the machine is switched: snippets, files of /etc and tmpfiles rules that\n\
            fail though the switch itself exits with 0, and snippets that fail when they run a second time.",
    causes: "A snippet that works only once, on a fresh machine (ln without -f, mkdir without -p), a path of the\n\
             former configuration.",
    remedy: "Write snippets so that they can run again and again: they run at each switch and each boot.",
}
SwitchSession = "switch.session-survived" {
    kind: Switch,
    stage: Check,
    rank: 39,
    weight: Expected,
    applies: WithSwitch,
    summary: "the user's session, compositor and sound server outlive the switch",
    tests: "Whether the sessions that were there before the switch are there after it, with the same leader, the same\n\
            compositor and a sound server: what the user has open stays open.",
    causes: "A display manager that is restarted, a changed unit of the user's manager, a sound server that is replaced\n\
             by another one under the session.",
    remedy: "Apply the change with `nixos-rebuild boot` and reboot, or log out first.",
}
SwitchAnnounced = "switch.announced" {
    kind: Switch,
    stage: Check,
    rank: 62,
    weight: Advice,
    applies: WithSwitch,
    summary: "the switch did what dry-activate had announced",
    tests: "Whether units were stopped, started, restarted or reloaded during the switch that `dry-activate` had not\n\
            named, by PID 1's own journal.",
    causes: "Units that are bound to others (Requires=, PartOf=, BindsTo=), restarts that activation snippets ask for.",
    remedy: "Nothing needs to be done: dry-activate does not list everything that a switch does.",
}
SwitchIdempotent = "switch.idempotent" {
    kind: Switch,
    stage: Check,
    rank: 46,
    weight: Expected,
    applies: WithSwitch,
    summary: "a second switch to the same configuration changes nothing",
    tests: "Whether a second `switch-to-configuration test` to the same configuration exits with 0 and neither stops\n\
            nor restarts a unit.",
    causes: "Snippets that cannot run twice, snippets that ask for a restart each time, units bound to sysinit-reactivation.target.",
    remedy: "Make the snippet safe to run again, and let it ask for a restart only when something changed.",
}
SwitchWayBack = "switch.way-back" {
    kind: Switch,
    stage: Check,
    rank: 45,
    weight: Expected,
    applies: WithSwitch,
    summary: "the machine can be switched back, and then works as before",
    tests: "How `switch-to-configuration test` of the former configuration ends on the switched machine.",
    causes: "State that the new configuration has moved on (a database's format), units that cannot be stopped.",
    remedy: "Keep a way back that does not need a switch: the former generation in the boot menu, a backup of the data.",
}
SwitchStale = "switch.stale" {
    kind: Switch,
    stage: Check,
    rank: 63,
    weight: Advice,
    applies: WithSwitch,
    summary: "every service runs what its unit says after the switch",
    tests: "Whether a service that was active before the switch still has the process that it had then though its unit has\n\
            changed or is gone. The services of users who linger or are logged in count too.",
    causes: "X-RestartIfChanged=false (restartIfChanged), X-StopOnRemoval=false, a unit that the switch leaves running on purpose.",
    remedy: "Restart it by hand after the switch, or reboot.",
}
ResidueOwnership = "residue.ownership" {
    kind: Residue,
    stage: Check,
    rank: 47,
    weight: Expected,
    applies: WithSwitch,
    summary: "the data in /var/lib and /home belong to the same users as before the switch",
    tests: "Whether files and directories below /var/lib, or homes in /home, belong to someone else after the switch or after\n\
            switching back: an id that went to another user or group, a user whose id moved away from the data, an owner or\n\
            a mode by which a service (its User=) cannot read its own data any more.",
    causes: "Newly declared ids, a removed user whose id was given to another one, a tmpfiles rule, a chown or chmod in a script.",
    remedy: "Keep users.users.NAME.uid as it was, or change the owner of what is there.",
}
ResidueUnits = "residue.units" {
    kind: Residue,
    stage: Check,
    rank: 64,
    weight: Advice,
    applies: WithSwitch,
    summary: "the same units are active after switching back as before",
    tests: "Units that are active once the machine was switched to the target and back, and were not before; units that were\n\
            stopped on the way, and that nothing started again.",
    causes: "Units that are made at run time (systemd-run), X-StopOnRemoval=false; units that were started by hand.",
    remedy: "Let what starts it also stop it (ExecStop=, PartOf=), and let a target want it.",
}
ResidueSockets = "residue.sockets" {
    kind: Residue,
    stage: Check,
    rank: 65,
    weight: Advice,
    applies: WithSwitch,
    summary: "the same ports are listened on after switching back as before",
    tests: "Ports that are listened on only after switching back, or only before, by another process, or at all addresses\n\
            where it was one; ephemeral ports are left out.",
    causes: "A process that its unit does not end (KillMode=process), a service that is still running.",
    remedy: "Let the unit end its processes: KillMode=control-group.",
}
ResidueNetwork = "residue.network" {
    kind: Residue,
    stage: Check,
    rank: 66,
    weight: Advice,
    applies: WithSwitch,
    summary: "network devices, addresses and routes after switching back are as before",
    tests: "Devices, addresses, routes and nameservers that are still there after switching back, and those that are gone.",
    causes: "A bridge, VLAN or tunnel that a script creates and nothing removes.",
    remedy: "Remove it in ExecStop=/postStop. systemd-networkd does not remove a device that is no longer declared: reboot then.",
}
ResidueFirewall = "residue.firewall" {
    kind: Residue,
    stage: Check,
    rank: 67,
    weight: Advice,
    applies: WithSwitch,
    summary: "the firewall's rules after switching back are as before",
    tests: "Rules of nftables and iptables that are still there after switching back, and those that are gone. Chains that\n\
            nothing jumps to have no effect and are left out, and so are counters. Where no program of either configuration\n\
            lists the rules that the kernel may hold, nothing is known of them.",
    causes: "Rules that a script adds, NAT of containers and of virtual machines.",
    remedy: "Remove them in postStop (networking.firewall.extraStopCommands).",
}
ResidueUsers = "residue.users" {
    kind: Residue,
    stage: Check,
    rank: 68,
    weight: Advice,
    applies: WithSwitch,
    summary: "accounts and groups after switching back are as before",
    tests: "Accounts and groups that are still there, are gone, have another id, or lost their password after switching there\n\
                 and back.",
    causes: "An account that the target does not have comes back locked: its password was set by hand.",
    remedy: "Declare hashedPassword or hashedPasswordFile, so that a removed account comes back with it.",
}
ResidueFiles = "residue.files" {
    kind: Residue,
    stage: Check,
    rank: 69,
    weight: Advice,
    applies: WithSwitch,
    summary: "what no configuration owns in /var/lib, /etc and /run is as before after switching back",
    tests: "Entries of /var/lib (two levels), /etc and /run, markers of users who linger, and wrappers, that are still there,\n\
            are gone, or have another owner or mode, and that neither the configuration nor a service's own directory accounts\n\
            for.",
    causes: "State of the target's services, which NixOS keeps; files that scripts write.",
    remedy: "Remove what is not wanted; state that is kept does no harm.",
}
ResidueMounts = "residue.mounts" {
    kind: Residue,
    stage: Check,
    rank: 70,
    weight: Advice,
    applies: WithSwitch,
    summary: "the same file systems are mounted after switching back as before",
    tests: "File systems that are still mounted after switching back, are gone, or were replaced by others.",
    causes: "A mount that is in use, or made by a script.",
    remedy: "Unmount it by hand, or reboot.",
}
ResidueKernel = "residue.kernel" {
    kind: Residue,
    stage: Check,
    rank: 71,
    weight: Advice,
    applies: WithSwitch,
    summary: "kernel modules and sysctl values after switching back are as before",
    tests: "Modules that are still loaded, and values below /proc/sys that the target set and nothing sets back; those of one\n\
            directory are reported together.",
    causes: "boot.kernel.sysctl: NixOS sets values, and does not reset those that are no longer declared.",
    remedy: "Set the former value explicitly, or reboot.",
}}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ranks_are_unique_and_read_back() {
        let mut ranks: Vec<u8> = CheckId::rows().map(|row| row.rank).collect();
        ranks.sort_unstable();
        assert!(ranks.windows(2).all(|pair| pair[0] != pair[1]));
        for id in CheckId::BUILT_IN {
            assert_eq!(id.name().parse(), Ok(*id));
            assert!(id.name().starts_with(&format!("{}.", id.kind().name())));
        }
        let script = CheckId::script("hello");
        assert_eq!((script.name().as_ref(), script.name().parse()), ("script.hello", Ok(script)));
        assert!("script.".parse::<CheckId>().is_err() && "script.a\u{1b}".parse::<CheckId>().is_err());
        assert!("scripts".parse::<CheckId>().is_err() && "services".parse::<CheckId>().is_err());
    }

    #[test]
    fn the_stage_of_a_failure_is_in_its_row() {
        assert_eq!((CheckId::BuildAttribute.stage(), CheckId::BuildAttribute.exit()), (Stage::Evaluate, Exit::Build));
        assert_eq!((CheckId::BuildToplevel.stage(), CheckId::BuildToplevel.exit()), (Stage::Build, Exit::Build));
        assert_eq!((CheckId::BootPanic.stage(), CheckId::BootPanic.exit()), (Stage::Boot, Exit::Boot));
        assert_eq!((CheckId::BootOom.stage(), CheckId::BootOom.exit()), (Stage::Check, Exit::CheckFailed));
        assert_eq!(CheckId::script("x").exit(), Exit::CheckFailed);
    }
}
