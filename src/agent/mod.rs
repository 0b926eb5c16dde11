//! Hooks for coding agents: they call nixbox after an edit and at the end of a turn, and get the verdict in their own
//! protocol.
//!
//! **A broken hook or host never blocks an agent; a broken configuration blocks wherever that agent lets a hook
//! block**, and elsewhere is reported in the strongest way that the agent has.
//!
//! * this file: the types that all of them share
//! * `table`: what differs between the agents, a row each
//! * `contract`: what an agent sends and how it is answered (pure)
//! * `hook`: from a payload to the response
//! * `stdin`: how a payload is read, whether or not stdin is closed
//! * `targets`: what is tested
//! * `trial`: the `nixbox try` that a hook starts
//! * `commits`: the tree before a turn, the index, what is pushed
//! * `memory`: what is remembered of a session
//! * `message`: a report as text for an agent, at most 4 KB (pure)
//! * `parent_watch`: which process the agent is, and who still waits for an answer
//! * `install`: the agents' settings
//! * `guide`: a page for agents

mod commits;
pub mod contract;
pub mod guide;
pub mod hook;
pub mod install;
mod memory;
pub mod message;
pub mod parent_watch;
mod stdin;
mod table;
mod targets;
mod trial;

use std::path::PathBuf;

pub use crate::model::Agent;

/// When a hook is called, which decides what is tested.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum HookEvent {
    /// The user asks for something: the tree before the turn is remembered.
    Prompt,
    /// A file was edited: the configuration is evaluated.
    Edit,
    /// The agent wants to end its turn: everything is tested.
    TurnEnd,
    /// git is about to commit: everything is tested, on the index.
    Commit,
    /// git is about to push these commits (full object names): everything is tested, on each.
    Push(Vec<String>),
    /// Another of the agent's events, or one that ends nothing: nothing is done.
    #[default]
    Other,
}

/// Which program calls the hook, where it is not the one whose settings name it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Caller {
    /// The agent itself.
    #[default]
    Own,
    /// A Claude Code that knows feedback at a turn's end, which is no error.
    OwnWithFeedback,
    /// Copilot's CLI, with Claude Code's settings.
    Copilot,
    /// VS Code.
    VsCode,
}

/// A hook's payload, whatever the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HookRequest {
    /// The event.
    pub event: HookEvent,
    /// Where the agent works; `None`: the current directory.
    pub directory: Option<PathBuf>,
    /// The files that were edited, where the payload names them; relative ones are below `directory`.
    pub files: Vec<PathBuf>,
    /// The agent's own name of its session.
    pub session: Option<String>,
    /// The file in which the agent writes down its session.
    pub transcript: Option<PathBuf>,
    /// Who calls.
    pub caller: Caller,
    /// The agent says that a hook has made it continue in this turn. Only believed of a session of which nothing is known.
    pub was_continued: bool,
    /// The same failure has held up this session before, by our own memory: no agent's flag is to be relied on (that of
    /// Gemini CLI is false again after any tool).
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
    /// It is broken, and was before the change. Never blocks.
    Before(String),
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
