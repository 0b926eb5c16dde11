//! nixbox answers one question before `nixos-rebuild switch`: does the machine still work with this configuration?
//!
//! Data flows one way:
//!
//! ```text
//! resolve ──► nix ──► machine ──► transport ──► guest ──► checks ──► report
//! (name)     (build)  (QEMU,QMP)  (vsock)     (facts)   (verdicts)  (writers)
//! ```
//!
//! [`run`] strings these together. Every stage emits [`event::Event`]s; displays and reports only consume them.
//! Nothing but `main` and [`report`] writes to stdout or stderr.
//!
//! A room imports only rooms below it, never one that stands on it (`tests/architecture.rs`): [`model`], then [`guest`] and [`nix`],
//! then [`judging`], on it the features ([`audio`], [`desktop`], `switch`), then [`checks`], then [`report`] and [`run`].
//!
//! Where does a change go?
//! * a flag, its help: [`cli`]; a key of `nixbox.toml`: [`config`]
//! * what a name given by the user means: [`resolve`]
//! * how nix is run and what it answers: [`nix`], a target or a flake as nix is told it among it; an option from which something is expected: [`nix::expectations`]
//! * a verdict as a derivation, in nix's build sandbox: `nix/check.nix`
//! * how QEMU is started, contained, controlled and ended: [`machine`], its arguments: [`machine::spec`]; an accelerator:
//!   [`model::accel`]
//! * what the guest sent through its network cards: [`traffic`] (pure: no I/O)
//! * how a byte gets into the guest and back: [`transport`]
//! * what is asked of the guest and what it answered, as data: [`guest`]
//! * the desktop, whole (expected, asked, driven, waited for, judged), and a new compositor: [`desktop`]
//! * what a sound or a picture of the guest's holds, as data: [`signal`] (pure: no I/O)
//! * sound, from what is expected to the verdict, and a new sound server: [`audio`]
//! * a new check: its row in [`model::check`]; whether what was observed is good or bad: [`checks`] (pure: no I/O)
//! * what all judges share: the plan, what a unit's state means, what the sandbox explains: [`judging`] (pure: no I/O)
//! * how the verdict is written, in which format: [`report`]; a field of the report: [`model::report`]
//! * a switch that is rehearsed, but for the order of things: `switch`
//! * the order of a run, what it waits for: [`run`]; how long: [`model::timeouts`]; what Ctrl-C does: [`interrupt`]
//! * `nixbox matrix`: how many of a flake's machines at once, and which next: [`fleet`]
//! * the results and evaluations of former runs: [`cache`]; where they lie: `paths`
//! * what a run leaves behind for a user to look at, how much of it, and for how long: `artifacts`
//! * progress: [`event`]; a failure that ends a run: [`failure`]
//! * how much memory and how many processors this host has: `host`
//! * `nixbox doctor`, what this host can do: [`doctor`]; `nixbox clean`, what a killed run left behind: [`clean`]
//! * a coding agent's hooks, the messages to it, its settings: [`agent`]
//! * the manual page: [`manual`], made from [`cli`]
//! * a flake to begin with: [`init`], its files in `flake-templates/`
//! * `nixbox diff`, what a configuration changes and what a switch to it does: [`diff`] (pure but for reading the store)
//! * text of a guest, a runner or a flake, made fit to be kept or shown; times for people: [`text`]
//! * the words of a message: search for them; they stand where the message is decided
//! * a check's id and all there is to say about it, a port, a file name, an exit code, a schema version: [`model`]
//! * git, in a repository that is not trusted: `git`
//! * a random number for markers and tokens: `nonce`

pub mod agent;
pub(crate) mod artifacts;
pub mod audio;
pub mod cache;
pub mod checks;
pub mod clean;
pub mod cli;
pub mod config;
pub mod desktop;
pub mod diff;
pub mod doctor;
pub mod event;
pub mod failure;
pub mod fleet;
pub(crate) mod git;
pub mod guest;
pub(crate) mod host;
mod idle;
pub mod init;
pub mod interrupt;
pub mod judging;
pub mod machine;
pub mod manual;
pub mod model;
pub mod nix;
mod nonce;
pub(crate) mod paths;
pub mod report;
pub mod resolve;
pub mod run;
pub mod signal;
pub(crate) mod switch;
pub mod text;
pub mod traffic;
pub mod transport;
