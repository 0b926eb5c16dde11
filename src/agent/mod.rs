//! The way in for coding agents: their hooks call nixbox after an edit and at the end of a turn, and are told in their
//! own words whether the configuration still holds.
//!
//! **A broken hook or host never blocks an agent; a broken configuration blocks wherever that agent lets a hook
//! block**, and is told in the strongest way it has elsewhere.
//!
//! * this file: the words that all of them share, and how long each part may take
//! * `contract`: what each agent sends and is answered, as published (pure)
//! * `hook`: from a payload to an answer
//! * `told`: what is told, at most 4 KB of it (pure)
//! * `life`: whose hook it is, and whether that is still there
//! * `install`: the agents' settings
//! * `guide`: a page for agents

pub mod contract;
pub mod guide;
pub mod hook;
pub mod install;
pub mod message;
pub mod parent_watch;

use std::path::PathBuf;

use clap::ValueEnum;

/// Whose hook calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Agent {
    /// Claude Code
    ClaudeCode,
    /// OpenAI's Codex
    Codex,
    /// Gemini CLI
    Gemini,
    /// Cursor
    Cursor,
    /// opencode
    Opencode,
    /// GitHub Copilot
    Copilot,
    /// Whatever can start a program and read its exit code
    Generic,
    /// git's pre-commit and pre-push
    Git,
}

/// When a hook is called: what is done depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// A file was edited: the configuration is evaluated.
    Edit,
    /// The agent thinks that it is done: the whole verdict.
    TurnEnd,
    /// git is about to commit: the whole verdict on the index.
    Commit,
    /// git is about to push these commits (full object names): the whole verdict on each.
    Push(Vec<String>),
    /// Another of the agent's events: nothing to do.
    Other,
}

/// What a hook's payload says, whatever the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// When.
    pub moment: Moment,
    /// Where the agent works; `None`: the current directory.
    pub directory: Option<PathBuf>,
    /// The files that were edited, where the payload says; relative ones are below `directory`.
    pub files: Vec<PathBuf>,
    /// The agent goes on because a hook blocked it before (`stop_hook_active` and the like): the same verdict must not
    /// block again and again.
    pub again: bool,
}

/// What nixbox found, to be told in the agent's words. Texts are complete: bounded, without colour, fenced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Nothing to look at: no flake reads what was edited, another event. Costs nothing, says nothing.
    Nothing,
    /// All that was tested passed, told in a line.
    Holds(String),
    /// The configuration is broken, and this is why.
    Broken(String),
    /// This host, the hook or nixbox itself: never blocks.
    CouldNotTell(String),
    /// Our deadline came before the verdict: ask again. Never blocks.
    StillRunning(String),
}

/// What the hook's process says and how it ends: the agent's contract.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spoken {
    /// To stdout.
    pub stdout: String,
    /// To stderr.
    pub stderr: String,
    /// The exit code.
    pub exit: u8,
}
