//! The coding agents whose hooks nixbox speaks; what each says and is told is in [`crate::agent`].

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
    /// Qwen Code
    Qwen,
    /// Factory's Droid
    Droid,
    /// Devin CLI
    Devin,
    /// Antigravity CLI
    Antigravity,
    /// Kilo CLI
    Kilo,
    /// Anything that can start a program and read its exit code
    Generic,
    /// git's pre-commit and pre-push
    Git,
}
