//! The command line: clap types only, no side effects. Resolving (files, flakes, the host) comes later.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{Cores, MemorySize, Time};
use crate::diff::{DiffFormat, DiffRequest, Grade};
use crate::failure::{self, Failure};
use crate::machine::window::DisplayKind;
use crate::model::{AccelChoice, Agent, Count, EXIT_CODES, Exit, NetworkPolicy, TransportKind};
use crate::nix::{NixFlags, Shard};
use crate::report::format::{Format, ReportFile};
use crate::resolve::BaselineChoice;

/// What `--help` and the manual page show.
pub const EXAMPLES: &str = "\
Examples:
  nixbox try                          this host's configuration, from the flake here
  nixbox try .#laptop                 nixosConfigurations.laptop
  nixbox try github:me/dots#laptop    a flake from elsewhere
  nixbox try ./result                 a built VM: a directory with bin/run-*-vm, or that script
  nixbox try .#laptop --format json   one JSON document on stdout, progress on stderr
  nixbox diff                         what the changes here would change, and what a switch would do
  nixbox matrix                       all hosts of the flake here, with their specialisations
  nixbox demo .#laptop                the same machine for you: a window, sound, a login
  nixbox init gnome                   a flake to start from, written here
  nixbox hook install claude-code     a coding agent learns when it broke the configuration
  nixbox doctor                       what this host can do, with the fix for what it cannot";

const HOOK_EXAMPLES: &str = "\
Examples:
  nixbox hook install claude-code           in this project's settings, with the change shown
  nixbox hook install codex --user          in your own, for all projects
  nixbox hook install git                   before a commit or push
  nixbox hook install cursor --uninstall    removes it again
  nixbox hook generic                       a hook by hand: exits with 1 for a broken configuration";

const DIFF_EXAMPLES: &str = "\
Examples:
  nixbox diff                               from the running NixOS (else HEAD) to the flake here
  nixbox diff .#laptop                      one host, from HEAD (on that host: the running system)
  nixbox diff HEAD~3 .#laptop               since an older commit
  nixbox diff 41 42                         two generations of this system; also current, booted
  nixbox diff ./result-old ./result         two toplevels
  nixbox diff --fail-on security            exits with 1 if security changes, for CI";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  nixbox explain                            all ids, one per line
  nixbox explain services.failed-units      what it tests, what usually breaks it, what to do";

/// `EXIT_CODES` and `EXAMPLES`, joined when help is printed and at no other time.
fn after_help() -> String {
    format!("{EXAMPLES}\n\n{EXIT_CODES}")
}

/// Tells you, before `nixos-rebuild switch`, whether your NixOS machine will still work.
///
/// Builds the flake's VM, boots it under QEMU in isolation, checks it from inside and reports pass, fail or could not
/// tell, with the cause. The configuration is tested unmodified: the guest needs no agent, module or password of ours.
#[derive(Debug, Parser)]
#[command(name = "nixbox", version, after_help = after_help(), arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build, boot and check a configuration, and report the verdict
    #[command(after_help = after_help())]
    Try(Box<TryArgs>),
    /// Test all configurations of a flake, and their specialisations, many at once
    ///
    /// They are evaluated and built together; as many are booted at once as memory and CPUs allow. Exits with 0 if all
    /// pass; with 3, 4 or 1 if one fails (the earliest stage counts); else with 5 if one is unknown.
    #[command(after_help = after_help())]
    Matrix(Box<MatrixArgs>),
    /// Compare two configurations: what changes, and what a switch would do. No VM, no root
    ///
    /// Builds both systems and reads them; nothing of either is executed. Changes are sorted by severity (security,
    /// service, boot, info); what a switch would do is worked out by NixOS's own rules. Exits with 0 whatever differs,
    /// unless --fail-on says otherwise.
    #[command(after_help = DIFF_EXAMPLES)]
    Diff(Box<DiffArgs>),
    /// Boot the machine for interactive use: with a window, sound and a login that works
    ///
    /// Nothing is added to the configuration, and no directory of yours is shared. The checks of `nixbox try` run
    /// meanwhile, and their verdict is reported. Closing the window or pressing Ctrl-C ends the machine; its disk is
    /// thrown away, unless --save keeps it.
    #[command(after_help = after_help())]
    Demo(Box<DemoArgs>),
    /// Write a flake to start from: a machine with a desktop, a server, or sound
    ///
    /// Without a name it asks for one, or lists the templates. It overwrites nothing and does not run git. `existing`
    /// prints the lines to add to an existing flake: nixbox init existing > vm.nix
    #[command(after_help = after_help())]
    Init(InitArgs),
    /// Called by a coding agent's hook: tells the agent whether the configuration still works
    ///
    /// Reads the hook's payload from stdin and answers in the agent's protocol. A broken configuration blocks the
    /// agent, if it lets hooks do that; a broken hook or host never does.
    #[command(after_help = HOOK_EXAMPLES)]
    Hook(Box<HookCommand>),
    /// Print a one-page guide to nixbox for coding agents
    AgentGuide,
    /// Explain a check: what it tests, what usually breaks it, what to do
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(ExplainArgs),
    /// Test what this host can do, and show the fix for what it cannot
    ///
    /// Exits with 0 if `nixbox try` can work here, with 5 if it cannot.
    Doctor(DoctorArgs),
    /// Remove what killed runs left on disk, and nothing else
    Clean(CleanArgs),
    /// Print a JSON schema
    Schema(SchemaArgs),
    /// Print a shell completion script
    Completions(CompletionsArgs),
    /// Print the manual page: nixbox man | man -l -
    Man,
}

/// Which checks, and of what: `try`, `matrix`.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(next_help_heading = "Checks")]
pub struct CheckArgs {
    /// Run only these checks: an id (services.failed-units) or a kind (services); separate several by commas, or repeat
    /// the flag
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Skip these checks, named as for --only
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub skip: Vec<String>,
    /// Do not build the host's own toplevel, which is otherwise built in addition to the VM
    #[arg(long)]
    pub vm_only: bool,
    /// Exit with 5 instead of 0 if something could not be tested in a VM (hardware, state, secrets of the real machine)
    #[arg(long)]
    pub strict: bool,
    /// Run even if a cached verdict is still valid
    #[arg(long)]
    pub fresh: bool,
    /// How long the boot may take: 90, 90s, 10m [default: 3m, emulated 10m]
    #[arg(long, value_name = "DURATION", value_parser = Time::parse_boot_limit, help_heading = "Machine")]
    pub timeout: Option<Time>,
}

/// What a run is held against: `try`, `matrix`.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(next_help_heading = "Checks")]
pub struct BaselineArgs {
    /// Compare failures with: a revision of the flake's repository, another target, current (what this NixOS runs), or
    /// off [default: the last commit for a tree with changes, else the one before; for a matrix: off]
    #[arg(long = "baseline", value_name = "REV|TARGET", value_parser = parse_baseline)]
    pub choice: Option<BaselineChoice>,
    /// Which findings the verdict counts: all, or those that the baseline did not have [default: new for a tree with
    /// changes or with --baseline, else all]
    #[arg(long, value_enum, value_name = "WHICH")]
    pub count: Option<Count>,
}

/// A switch that is rehearsed: `try`, `matrix`.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(next_help_heading = "Switch")]
pub struct SwitchArgs {
    /// Rehearse the switch: boot FROM, switch to the target in the VM, check, switch back, check, and boot the target
    /// from the same disk. FROM is a revision of the flake's repository, another target, or current (what this NixOS
    /// runs) [default: HEAD]
    #[arg(
        long = "switch",
        value_name = "FROM",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "HEAD",
        value_parser = parse_baseline
    )]
    pub from: Option<BaselineChoice>,
    /// Skip the last boot, of the target from the same disk
    #[arg(long, requires = "from")]
    pub no_reboot: bool,
}

/// How a machine is run: `try`, `matrix`, `demo`.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(next_help_heading = "Machine")]
pub struct MachineArgs {
    /// QEMU accelerator [default: auto]
    #[arg(long, value_enum, value_name = "ACCEL")]
    pub accel: Option<AccelChoice>,
    /// Network access of the guest: none, or QEMU's user networking [default: off]
    #[arg(long, value_enum, value_name = "POLICY")]
    pub network: Option<NetworkPolicy>,
    /// Transport into the guest [default: vhost-user, else virtio-serial]
    #[arg(long, value_enum, value_name = "TRANSPORT")]
    pub transport: Option<TransportKind>,
    /// Run the flake's runner without a jail: it is code from the flake, and runs with your privileges
    #[arg(long)]
    pub no_jail: bool,
}

/// How large a machine is: `try`, `demo`.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(next_help_heading = "Machine")]
pub struct SizeArgs {
    /// The guest's memory: 2G, 1536M, or a number of MiB [default: as configured, at least 2G with a desktop]
    #[arg(long, value_name = "SIZE", value_parser = MemorySize::parse)]
    pub memory: Option<MemorySize>,
    /// The guest's virtual CPUs [default: as configured, but at least 2 if the host has them]
    #[arg(long, value_name = "N", value_parser = Cores::parse)]
    pub cores: Option<Cores>,
}

/// Which files are read and written: `try`, `matrix`, `demo`.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct FileArgs {
    /// nixbox's configuration file [default: nixbox.toml beside the flake]
    #[arg(long, value_name = "FILE", help_heading = "Checks")]
    pub config: Option<PathBuf>,
    /// Directory for the artifacts, with a subdirectory per run [default: .nixbox beside the flake if writable, else
    /// the state directory]
    #[arg(long, value_name = "DIR", help_heading = "Report")]
    pub artifacts: Option<PathBuf>,
}

/// What is reported besides stdout: `try`, `matrix`.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(next_help_heading = "Report")]
pub struct ReportArgs {
    /// Also write a report to a file, in any of these formats, such as html=report.html; can be repeated
    #[arg(long = "report", value_name = "FORMAT=PATH")]
    pub files: Vec<ReportFile>,
    /// No progress on stderr
    #[arg(long, short)]
    pub quiet: bool,
}

/// Arguments of `nixbox try`.
#[derive(Debug, Clone, Default, Args)]
pub struct TryArgs {
    /// What to test: FLAKE#NAME, FLAKE#NAME@SPECIALISATION, a full attribute path, FILE.nix#ATTR, a store path or
    /// directory with bin/run-*-vm, that script, or a configuration.nix [default: this host's configuration, from the
    /// flake here]
    pub target: Option<String>,
    /// A file that is not a flake (npins, niv, a hive); TARGET is the attribute of a NixOS system in it, as in
    /// FILE.nix#ATTR
    #[arg(long, value_name = "FILE", requires = "target")]
    pub file: Option<PathBuf>,

    /// Which checks.
    #[command(flatten)]
    pub checks: CheckArgs,
    /// What it is held against.
    #[command(flatten)]
    pub baseline: BaselineArgs,
    /// The switch.
    #[command(flatten)]
    pub switch: SwitchArgs,
    /// JSON file with what the configuration expects, for a runner that was built elsewhere (by lib.check of nixbox's
    /// flake)
    #[arg(long, alias = "promises", value_name = "FILE", help_heading = "Checks")]
    pub expectations: Option<PathBuf>,
    /// Name of a runner in the report and for its [host.NAME] table [default: NAME of run-NAME-vm, without a table]
    #[arg(long, value_name = "NAME", help_heading = "Checks")]
    pub name: Option<String>,
    /// List all checks, one per line, and exit
    #[arg(long, help_heading = "Checks")]
    pub list_checks: bool,
    /// A hook's run for the agent with this pid: one boot at a time for a target, and it ends with the agent
    #[arg(long, hide = true, value_name = "PID")]
    pub for_agent: Option<u32>,
    /// It also ends with stdin, unless a byte came before: then the hook has left, and its agent asks again
    #[arg(long, hide = true)]
    pub with_stdin: bool,

    /// How the machine is run.
    #[command(flatten)]
    pub machine: MachineArgs,
    /// How large it is.
    #[command(flatten)]
    pub size: SizeArgs,
    /// How often to boot the machine, 1 or 2: with 2 it is powered off after a pass, and its disk is booted and checked
    /// again
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2), conflicts_with_all = ["keep", "from"], help_heading = "Machine")]
    pub boots: u8,
    /// Boot with the disks that disko makes (system.build.vmWithDisko), not with the VM's own: they are formatted, mounted
    /// and unlocked as on the real machine
    #[arg(long, conflicts_with_all = ["boots", "from"], help_heading = "Machine")]
    pub disks: bool,
    /// Keep the VM running after the verdict, until Ctrl-C, and print how to reach it
    #[arg(long, conflicts_with = "from", help_heading = "Machine")]
    pub keep: bool,

    /// Format of what is printed on stdout
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", help_heading = "Report")]
    pub format: Format,
    /// What is reported besides.
    #[command(flatten)]
    pub report: ReportArgs,
    /// Files.
    #[command(flatten)]
    pub files: FileArgs,
    /// nix's own flags.
    #[command(flatten)]
    pub nix: NixFlags,
}

/// Arguments of `nixbox matrix`.
#[derive(Debug, Clone, Default, Args)]
#[command(mut_arg("artifacts", |arg| arg.help(MATRIX_ARTIFACTS)))]
pub struct MatrixArgs {
    /// The flake: a directory or a URL [default: the flake here]
    pub flake: Option<String>,

    /// Only hosts with a matching name, HOST or HOST@SPECIALISATION; * is any text, ? any character; can be repeated
    #[arg(long, value_name = "GLOB", help_heading = "Hosts")]
    pub filter: Vec<String>,
    /// Only the K-th of N parts of the hosts, for N jobs of a CI service
    #[arg(long, value_name = "K/N", help_heading = "Hosts")]
    pub shard: Option<Shard>,
    /// Print the hosts' names and exit; with --format github or gitlab, for that service's own matrix
    #[arg(long, conflicts_with_all = ["max", "retries", "fail_fast", "fail_flaky", "files"], help_heading = "Hosts")]
    pub list: bool,
    /// Maximum number of machines that run at once [default: as memory and CPUs allow]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Hosts")]
    pub max: Option<u32>,
    /// Test a failed host again, up to N times; if it passes then, it is flaky
    #[arg(long, value_name = "N", default_value_t, value_parser = clap::value_parser!(u32).range(..=100), help_heading = "Hosts")]
    pub retries: u32,
    /// Stop at the first host that fails
    #[arg(long, help_heading = "Hosts")]
    pub fail_fast: bool,
    /// Exit with 1 if a host is flaky
    #[arg(long, help_heading = "Hosts")]
    pub fail_flaky: bool,

    /// Which checks.
    #[command(flatten)]
    pub checks: CheckArgs,
    /// What each host is held against: the same host of that revision.
    #[command(flatten)]
    pub baseline: BaselineArgs,
    /// The switch, of each host from the same host of FROM.
    #[command(flatten)]
    pub switch: SwitchArgs,
    /// How each machine is run.
    #[command(flatten)]
    pub machine: MachineArgs,

    /// Format of what is printed on stdout; --list takes human, json, github or gitlab, a report all but gitlab
    #[arg(long, value_name = "FORMAT", default_value = "human", value_parser = matrix_formats(), help_heading = "Report")]
    pub format: String,
    /// What is reported besides.
    #[command(flatten)]
    pub report: ReportArgs,
    /// Files.
    #[command(flatten)]
    pub files: FileArgs,
    /// nix's own flags.
    #[command(flatten)]
    pub nix: NixFlags,
}

const MATRIX_ARTIFACTS: &str = "Directory for the artifacts, with a subdirectory per run and in it one per host \
                                [default: .nixbox beside the flake if writable, else the state directory]";

impl BaselineArgs {
    /// Whether somebody asked what a change broke, rather than what the tree is like.
    pub(crate) fn is_asked(&self) -> bool {
        self.choice.as_ref().map_or(self.count.is_some(), |choice| *choice != BaselineChoice::Off)
    }
}

impl TryArgs {
    /// With what `--file` names as the target; a directory stands for the default.nix in it.
    #[must_use]
    pub fn with_file(mut self) -> Self {
        if let (Some(mut file), Some(attribute)) = (self.file.take(), &self.target) {
            if file.is_dir() {
                file.push("default.nix");
            }
            self.target = Some(format!("{}#{attribute}", file.display()));
        }
        self
    }
}

impl MatrixArgs {
    /// The run of one host of it, whose artifacts lie in those of the matrix.
    pub(crate) fn host(&self, target: String) -> TryArgs {
        TryArgs {
            target: Some(target),
            checks: self.checks.clone(),
            baseline: self.baseline.clone(),
            switch: self.switch.clone(),
            machine: self.machine.clone(),
            files: FileArgs { artifacts: None, ..self.files.clone() },
            nix: self.nix.clone(),
            ..TryArgs::default()
        }
    }

    /// What the list is printed in.
    ///
    /// # Errors
    /// Usage (exit 2), for a format that only reports have.
    pub fn list_format(&self) -> failure::Result<ListFormat> {
        ListFormat::from_str(&self.format, false)
            .map_err(|_unknown| Failure::usage(format!("--list has no format {}", self.format)))
    }

    /// What the report is printed in.
    ///
    /// # Errors
    /// Usage (exit 2), for a format that only lists have.
    pub fn report_format(&self) -> failure::Result<Format> {
        Format::from_str(&self.format, false)
            .map_err(|_unknown| Failure::usage(format!("--format {} is for --list", self.format)))
    }
}

/// What a list of hosts is printed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// A name a line
    Human,
    /// With attribute paths and systems
    Json,
    /// For GitHub's `strategy.matrix`, one line
    Github,
    /// A child pipeline for GitLab
    Gitlab,
}

/// The formats of reports and of lists.
fn matrix_formats() -> PossibleValuesParser {
    let reports = Format::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    let lists = ListFormat::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    let mut all: Vec<PossibleValue> = Vec::new();
    for value in reports.chain(lists) {
        if all.iter().all(|known| known.get_name() != value.get_name()) {
            // What each is differs between the two.
            all.push(value.help(""));
        }
    }
    PossibleValuesParser::new(all)
}

/// Arguments of `nixbox diff`.
#[derive(Debug, Clone, Default, Args)]
pub struct DiffArgs {
    /// What to compare with: a revision of the flake's repository, a target as for `nixbox try`, a toplevel, a
    /// generation (42), current, booted [default: the running NixOS if it is the same host, else HEAD]
    pub from: Option<String>,
    /// What to compare, named in the same way; a single argument that is not a revision, generation or toplevel is this
    /// one [default: this host's configuration, from the flake here]
    pub to: Option<String>,

    /// Print everything: each change, each line of a text, each package
    #[arg(long)]
    pub full: bool,
    /// Exit with 1 if something of this grade, or of a more severe one, changes
    #[arg(long, value_enum, value_name = "GRADE")]
    pub fail_on: Option<Grade>,
    /// Format of what is printed on stdout
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", help_heading = "Report")]
    pub format: DiffFormat,
    /// No progress on stderr
    #[arg(long, short, help_heading = "Report")]
    pub quiet: bool,
    /// nix's own flags.
    #[command(flatten)]
    pub nix: NixFlags,
}

impl DiffArgs {
    /// What is asked for, apart from how it is shown.
    pub fn request(&self) -> DiffRequest {
        let Self { from, to, fail_on, nix, .. } = self.clone();
        DiffRequest { from, to, fail_on, nix }
    }
}

/// Arguments of `nixbox demo`.
#[derive(Debug, Clone, Args)]
#[command(
    mut_arg("memory", |arg| arg.help(DEMO_MEMORY)),
    mut_arg("network", |arg| arg.help("Network access of the guest: none, or QEMU's user networking [default: user]")),
)]
pub struct DemoArgs {
    /// What to show, named as for `nixbox try` [default: this host's configuration, from the flake here]
    pub target: Option<String>,

    /// Where to show the screen [default: a window if this host can show one, else VNC]
    #[arg(long, value_enum, value_name = "DISPLAY", help_heading = "Machine")]
    pub display: Option<DisplayKind>,
    /// Keep the machine's disk in this file, and start from it if it exists
    #[arg(long, value_name = "PATH", help_heading = "Machine")]
    pub save: Option<PathBuf>,
    /// How the machine is run.
    #[command(flatten)]
    pub machine: MachineArgs,
    /// How large it is.
    #[command(flatten)]
    pub size: SizeArgs,
    /// Files.
    #[command(flatten)]
    pub files: FileArgs,
    /// nix's own flags.
    #[command(flatten)]
    pub nix: NixFlags,
}

const DEMO_MEMORY: &str =
    "The guest's memory: 2G, 1536M, or a number of MiB [default: as configured, or 4G if the host has twice that]";

impl DemoArgs {
    /// The run that the demo is made of.
    pub fn run(&self) -> TryArgs {
        TryArgs {
            target: self.target.clone(),
            // A demo is of the machine, whatever the host's own system would need.
            checks: CheckArgs { vm_only: true, fresh: true, ..CheckArgs::default() },
            machine: self.machine.clone(),
            size: self.size.clone(),
            files: self.files.clone(),
            nix: self.nix.clone(),
            ..TryArgs::default()
        }
    }
}

/// Arguments of `nixbox init`.
#[derive(Debug, Clone, Args)]
pub struct InitArgs {
    /// Template: gnome, plasma, hyprland, sway, xfce, server, audio, existing
    pub template: Option<String>,
    /// Directory to write to; created if missing
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
}

/// `nixbox hook`: a call of an agent's, or the installation.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, arg_required_else_help = true)]
pub struct HookCommand {
    /// What to do instead of a call.
    #[command(subcommand)]
    pub action: Option<HookAction>,
    #[command(flatten)]
    call: Option<HookArgs>,
    /// nix's own flags.
    // Not below `call`: clap knows whether optional arguments are there only where no others are flattened into them.
    #[command(flatten)]
    nix: NixFlags,
}

impl HookCommand {
    /// The call, where it is one.
    pub fn call(&self) -> Option<HookArgs> {
        Some(HookArgs { nix: self.nix.clone(), ..self.call.clone()? })
    }
}

/// A call by an agent's hook: `nixbox hook AGENT`.
#[derive(Debug, Clone, Args)]
pub struct HookArgs {
    /// Agent whose hook calls
    #[arg(value_enum)]
    pub agent: Agent,
    /// Event, for agents whose payload does not name it: pre-commit, pre-push, agentStop, edit
    pub event: Option<String>,
    /// What to test, named as for `nixbox try`; can be repeated [default: the hook's targets in nixbox.toml, else what
    /// a bare `nixbox try` finds, else the repository's flakes]
    #[arg(long, value_name = "TARGET")]
    pub target: Vec<String>,
    /// Run the flake's runner without a jail: it is code from the flake, and runs with your privileges
    #[arg(long)]
    pub no_jail: bool,
    /// Run even if a cached verdict is still valid
    #[arg(long)]
    pub fresh: bool,
    /// nix's own flags, from [`HookCommand`].
    #[arg(skip)]
    pub nix: NixFlags,
}

/// The agent whose hook calls with these arguments (without the program's name), whatever is wrong with the rest.
pub fn hook_agent(mut arguments: impl Iterator<Item = OsString>) -> Option<Agent> {
    let is_hook = arguments.next()? == "hook";
    let agent = arguments.next().filter(|_| is_hook)?;
    Agent::from_str(agent.to_str()?, false).ok()
}

/// The exit code of a hook's call with wrong arguments: no agent may take it for a verdict, and 2 blocks with some. git
/// takes any but 0 for one.
pub fn hook_usage_exit(agent: Agent) -> u8 {
    if agent == Agent::Git { Exit::Pass.code() } else { Exit::Unknown.code() }
}

/// What `nixbox hook` does instead of a call.
#[derive(Debug, Clone, Subcommand)]
pub enum HookAction {
    /// Add the hooks to an agent's settings, or remove them
    ///
    /// Everything else in the file stays as it is, and the change is shown.
    #[command(after_help = HOOK_EXAMPLES)]
    Install(InstallArgs),
}

/// Arguments of `nixbox hook install`.
#[derive(Debug, Clone, Args)]
pub struct InstallArgs {
    /// Agent whose settings are changed
    #[arg(value_enum)]
    pub agent: Agent,
    /// In this project's settings (the default)
    #[arg(long, conflicts_with = "user")]
    pub project: bool,
    /// In your own settings, for all projects
    #[arg(long)]
    pub user: bool,
    /// Remove the hooks
    #[arg(long)]
    pub uninstall: bool,
    /// Show the change, but write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `nixbox explain`.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// The check's id, as in a report [default: list all ids]
    pub check: Option<String>,
}

/// Arguments of `nixbox doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Print a transcript to paste into a bug report: versions, timings, exact errors; no user name, no home directory
    #[arg(long)]
    pub prove: bool,
    /// Format of what is printed on stdout
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: DoctorFormat,
}

/// Arguments of `nixbox clean`.
#[derive(Debug, Clone, Args)]
pub struct CleanArgs {
    /// Show what would be removed, but remove nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `nixbox schema`.
#[derive(Debug, Clone, Args)]
pub struct SchemaArgs {
    /// What to print the schema of
    #[arg(value_enum)]
    pub of: SchemaOf,
}

/// What has a JSON schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    /// nixbox.toml
    Config,
    /// `nixbox try --format json`, report.json
    Report,
    /// `nixbox matrix --format json`, matrix.json
    Matrix,
    /// `nixbox diff --format json`
    Diff,
}

/// Arguments of `nixbox completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// What `nixbox doctor` prints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum DoctorFormat {
    /// For people
    #[default]
    Human,
    /// One JSON document
    Json,
}

fn parse_baseline(written: &str) -> Result<BaselineChoice, std::convert::Infallible> {
    Ok(BaselineChoice::parse(written))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory;

    use super::*;

    fn parse(line: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("nixbox").chain(line.iter().copied()))
    }

    fn try_args(line: &[&str]) -> TryArgs {
        match parse(&[&["try"], line].concat()).unwrap().command {
            Command::Try(arguments) => *arguments,
            other => panic!("not a try: {other:?}"),
        }
    }

    /// What a user sees and what a script sees: text and exit code.
    fn refused(line: &[&str]) -> String {
        let error = parse(line).expect_err("should be refused");
        assert_eq!(error.exit_code(), 2, "{line:?}");
        error.to_string()
    }

    #[test]
    fn a_system_of_a_file_is_named_by_its_attribute() {
        let Command::Try(arguments) =
            Cli::try_parse_from(["nixbox", "try", "--file", "hive.nix", "web"]).unwrap().command
        else {
            panic!("not a try")
        };
        assert_eq!(arguments.with_file().target.as_deref(), Some("hive.nix#web"));
        assert!(Cli::try_parse_from(["nixbox", "try", "--file", "hive.nix"]).is_err());
    }

    #[test]
    fn the_types_are_valid_for_clap() {
        Cli::command().debug_assert();
    }

    /// The help of a command and of all below it.
    fn help(command: &clap::Command, texts: &mut Vec<(String, String)>) {
        let name = command.get_bin_name().unwrap_or("nixbox").replace(' ', "-");
        let text = command.clone().term_width(100).render_long_help().to_string();
        texts.push((name, text));
        command.get_subcommands().filter(|below| below.get_name() != "help").for_each(|below| help(below, texts));
    }

    #[test]
    fn help_of_every_command() {
        let mut texts = Vec::new();
        let mut command = Cli::command();
        command.build();
        help(&command, &mut texts);
        for (name, text) in texts {
            insta::assert_snapshot!(format!("help-{name}"), text);
        }
        insta::assert_snapshot!("exit-codes", EXIT_CODES);
        assert_eq!(parse(&["try", "--help"]).expect_err("help is an error to clap").exit_code(), 0);
    }

    #[test]
    fn usage_errors() {
        let lines = [
            &["trie"][..],
            &["try", "--frobnicate"],
            &["try", "--accel", "xen"],
            &["try", "--memory", "banana"],
            &["try", "--cores", "0"],
            &["try", "--timeout", "soon"],
            &["try", "--timeout", "0"],
            &["try", "--timeout", "100days"],
            &["try", "--network", "on"],
            &["try", "--option", "cores"],
            &["try", "--offline", "--refresh"],
            &["try", "--format", "pdf"],
            &["try", "--report", "foo"],
            &["try", "--report", "pdf=x"],
            &["try", "--report", "json="],
            &["matrix", "--shard", "4/3"],
            &["matrix", "--list", "--fail-fast"],
            &["hook", "claud-code"],
            &["hook", "install", "codex", "--user", "--project"],
            &["schema"],
        ];
        let errors = lines.map(|line| format!("$ nixbox {}\n{}", line.join(" "), refused(line)));
        insta::assert_snapshot!("usage-errors", errors.join("\n"));
    }

    #[test]
    fn bare_try_leaves_everything_to_defaults() {
        let arguments = try_args(&[]);
        assert_eq!(arguments.target, None);
        // `None` and not `auto`: nixbox.toml may say otherwise, and a flag outranks it.
        assert_eq!(arguments.machine.accel, None);
        assert_eq!(arguments.format, Format::Human);
        assert_eq!((arguments.machine, arguments.size), (MachineArgs::default(), SizeArgs::default()));
        assert_eq!(arguments.nix, NixFlags::default());
    }

    #[test]
    fn try_takes_all_of_its_flags() {
        let arguments = try_args(&[
            ".#laptop",
            "--only",
            "boot,services.failed-units",
            "--only",
            "users",
            "--skip",
            "audio.tone",
            "--config",
            "other.toml",
            "--expectations",
            "expectations.json",
            "--name",
            "laptop@hyprland",
            "--accel",
            "tcg",
            "--memory",
            "2G",
            "--cores",
            "3",
            "--timeout",
            "10m",
            "--network",
            "user",
            "--transport",
            "virtio-serial",
            "--format",
            "json",
            "--report",
            "human=out.txt",
            "--report",
            "json=a=b.json",
            "--artifacts",
            "somewhere",
            "--vm-only",
            "--keep",
            "--fresh",
            "--no-jail",
            "--list-checks",
            "--quiet",
        ]);
        assert_eq!(arguments.target.as_deref(), Some(".#laptop"));
        assert_eq!(arguments.checks.only, ["boot", "services.failed-units", "users"]);
        assert_eq!(arguments.checks.skip, ["audio.tone"]);
        assert_eq!(arguments.expectations, Some("expectations.json".into()));
        assert_eq!(arguments.name.as_deref(), Some("laptop@hyprland"));
        assert_eq!(arguments.machine.accel, Some(AccelChoice::Tcg));
        assert_eq!(arguments.size.memory, Some(MemorySize(2048)));
        assert_eq!(
            (arguments.size.cores, arguments.checks.timeout),
            (Some(Cores(3)), Some(Time(Duration::from_secs(600))))
        );
        assert_eq!(arguments.machine.network, Some(NetworkPolicy::User));
        assert_eq!(arguments.machine.transport, Some(TransportKind::VirtioSerial));
        assert_eq!(
            arguments.report.files,
            [
                ReportFile { format: Format::Human, path: "out.txt".into() },
                ReportFile { format: Format::Json, path: "a=b.json".into() }
            ]
        );
        assert!(
            arguments.checks.vm_only && arguments.checks.fresh && arguments.machine.no_jail && arguments.report.quiet
        );
        assert!(arguments.keep && arguments.list_checks);
        let former = try_args(&["--promises", "a.json"]);
        assert_eq!(former.expectations, Some("a.json".into()), "the flag's former name");
    }

    fn matrix_args(line: &[&str]) -> MatrixArgs {
        match parse(&[&["matrix"], line].concat()).expect("valid").command {
            Command::Matrix(arguments) => *arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_matrix_hands_on_what_a_single_run_knows() {
        let line = [
            "github:a/b",
            "--filter",
            "web*",
            "--filter",
            "*@*",
            "--shard",
            "2/3",
            "--max",
            "4",
            "--retries",
            "2",
            "--fail-fast",
            "--fail-flaky",
            "--only",
            "boot",
            "--skip",
            "audio,desktop",
            "--config",
            "c.toml",
            "--vm-only",
            "--fresh",
            "--accel",
            "tcg",
            "--timeout",
            "90",
            "--network",
            "user",
            "--transport",
            "virtio-serial",
            "--no-jail",
            "--impure",
            "--report",
            "json=m.json",
            "--artifacts",
            "a",
            "-q",
        ];
        let arguments = matrix_args(&line);
        assert_eq!(arguments.filter, ["web*", "*@*"]);
        assert_eq!(arguments.shard, Some(Shard { part: 2, of: 3 }));
        assert_eq!((arguments.max, arguments.retries), (Some(4), 2));
        let run = arguments.host("github:a/b#web".to_owned());
        assert_eq!(run.target.as_deref(), Some("github:a/b#web"));
        assert_eq!(run.checks.skip, ["audio", "desktop"]);
        assert_eq!((&run.checks, &run.machine, &run.nix), (&arguments.checks, &arguments.machine, &arguments.nix));
        assert_eq!((run.files.config, run.files.artifacts), (Some("c.toml".into()), None));
        assert!(!run.keep && run.report.files.is_empty());
    }

    #[test]
    fn a_matrix_and_its_list_have_their_own_formats() {
        assert_eq!(matrix_args(&[]).report_format(), Ok(Format::Human));
        assert_eq!(matrix_args(&["--format", "json"]).report_format(), Ok(Format::Json));
        assert_eq!(matrix_args(&["--list", "--format", "gitlab"]).list_format(), Ok(ListFormat::Gitlab));
        assert_eq!(matrix_args(&["--format", "gitlab"]).report_format().map_err(|failure| failure.exit.code()), Err(2));
        for line in
            [&["--format", "pdf"][..], &["--shard", "4/3"], &["--max", "0"], &["--list", "--fail-fast"], &["a", "b"]]
        {
            refused(&[&["matrix"], line].concat());
        }
    }

    #[test]
    fn nix_flags_keep_their_own_names_and_pairs() {
        let arguments = try_args(&[
            "--impure",
            "--override-input",
            "nixpkgs",
            "github:NixOS/nixpkgs",
            "--option",
            "cores",
            "1",
            "--override-input",
            "a",
            "b",
            "--offline",
            "--accept-flake-config",
            "-I",
            "nixpkgs=/x",
            ".#laptop",
        ]);
        assert_eq!(arguments.target.as_deref(), Some(".#laptop"));
        assert!(arguments.nix.impure && arguments.nix.offline && arguments.nix.accept_flake_config);
        assert_eq!(arguments.nix.override_input, ["nixpkgs", "github:NixOS/nixpkgs", "a", "b"]);
        assert_eq!(
            (arguments.nix.option_value("cores"), arguments.nix.include.as_slice()),
            (Some("1"), &["nixpkgs=/x".to_owned()][..])
        );
    }

    #[test]
    fn other_mistakes_are_usage_errors() {
        for line in [&["try", "a", "b"][..], &["doctor", "--format", "junit"], &["schema", "other"], &[]] {
            refused(line);
        }
    }

    #[test]
    fn a_hook_is_called_or_installed() {
        let hook = |line: &[&str]| match parse(&[&["hook"], line].concat()).map(|cli| cli.command) {
            Ok(Command::Hook(hook)) => *hook,
            other => panic!("not a hook: {other:?}"),
        };
        let called = hook(&["git", "pre-push", "--target", ".#a", "--target", ".#b", "--fresh", "--impure"]);
        assert!(called.action.is_none());
        let call = called.call().unwrap();
        assert_eq!((call.agent, call.event.as_deref()), (Agent::Git, Some("pre-push")));
        assert_eq!(call.target, [".#a", ".#b"]);
        assert!(call.fresh && call.nix.impure && !call.no_jail);
        let installs = hook(&["install", "claude-code", "--user", "--dry-run"]);
        assert!(installs.call().is_none());
        let Some(HookAction::Install(arguments)) = installs.action else { panic!("{installs:?}") };
        assert_eq!(arguments.agent, Agent::ClaudeCode);
        assert!(arguments.user && arguments.dry_run && !arguments.uninstall && !arguments.project);
        for line in [
            &["hook"][..],
            &["hook", "claud-code"],
            &["hook", "install"],
            &["hook", "install", "vim"],
            &["hook", "install", "codex", "--user", "--project"],
            &["hook", "--fresh"],
            &["hook", "codex", "Stop", "more"],
            &["explain", "a", "b"],
        ] {
            refused(line);
        }
    }

    #[test]
    fn a_hook_that_is_called_wrongly_blocks_nobody() {
        let agent = |line: &[&str]| hook_agent(line.iter().map(|word| OsString::from(*word)));
        assert_eq!(agent(&["hook", "claude-code", "--frobnicate"]).map(hook_usage_exit), Some(5));
        assert_eq!(agent(&["hook", "git", "pre-push", "--target"]).map(hook_usage_exit), Some(0));
        for line in [&["hook"][..], &["hook", "install", "git", "x"], &["hook", "vim"], &["try", "git"], &[]] {
            assert_eq!(agent(line), None, "{line:?}");
        }
    }
}
