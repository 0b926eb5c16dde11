//! Hooks for coding agents: they call nixbox after an edit and at the end of a turn, and get the verdict in their own
//! protocol.
//!
//! **A broken hook or host never blocks an agent; a broken configuration blocks wherever that agent lets a hook
//! block**, and elsewhere is reported in the strongest way that the agent has.
//!
//! * this file: the types that all of them share, and how long each part may take
//! * `contract`: what each agent sends and how it is answered, as published (pure)
//! * `hook`: from a payload to the response
//! * `message`: a report as text for an agent, at most 4 KB (pure)
//! * `parent_watch`: which process the agent is, and when that ends
//! * `install`: the agents' settings
//! * `guide`: a page for agents

pub mod contract;
pub mod guide;
pub mod hook;
pub mod install;
pub mod message;
pub mod parent_watch;

use std::path::PathBuf;

pub use crate::model::Agent;

/// When a hook is called, which decides what is tested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookEvent {
    /// A file was edited: the configuration is evaluated.
    Edit,
    /// The agent wants to end its turn: everything is tested.
    TurnEnd,
    /// git is about to commit: everything is tested, on the index.
    Commit,
    /// git is about to push these commits (full object names): everything is tested, on each.
    Push(Vec<String>),
    /// Another of the agent's events: nothing is done.
    Other,
}

/// A hook's payload, whatever the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookRequest {
    /// The event.
    pub event: HookEvent,
    /// Where the agent works; `None`: the current directory.
    pub directory: Option<PathBuf>,
    /// The files that were edited, where the payload names them; relative ones are below `directory`.
    pub files: Vec<PathBuf>,
    /// The agent continues because a hook blocked it before (`stop_hook_active` and the like): the same failure must not
    /// block it again and again.
    pub already_blocked: bool,
}

/// The verdict on a request. Texts are complete: bounded, without colour, fenced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookVerdict {
    /// There is nothing to test: no flake reads the edited files, another event. Nothing is printed.
    NotApplicable,
    /// Everything that was tested passed; one line.
    Pass(String),
    /// The configuration is broken, with the cause.
    Fail(String),
    /// A failure of this host, of the hook or of nixbox. Never blocks.
    Unknown(String),
    /// Our deadline was over before the run was: ask again. Never blocks.
    Pending(String),
}

/// What the hook's process prints and its exit code: the agent's contract.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HookResponse {
    /// For stdout.
    pub stdout: String,
    /// For stderr.
    pub stderr: String,
    /// The exit code.
    pub exit: u8,
}
