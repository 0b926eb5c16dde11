//! Claude Code: "Hooks reference", <https://code.claude.com/docs/en/hooks> (also
//! <https://docs.anthropic.com/en/docs/claude-code/hooks>).
//!
//! JSON on stdin with `hook_event_name`, `cwd` and, at `Stop`, `stop_hook_active`, which is true while the agent
//! continues because of a Stop hook. The answer is JSON on stdout with exit code 0: `decision: "block"` with a `reason` makes
//! it continue at `Stop`, and puts the reason beside the tool's result at `PostToolUse`, where the edit is made already.
//! `systemMessage` is shown to the user. After eight blocks in a row Claude Code ends the turn itself. A hook that
//! fails, or takes too long, blocks nothing. Time-outs are in seconds (600 by default).
//!
//! `SubagentStop` is not used: the main agent's `Stop` comes after it, and Claude Code's own helpers end with it too.
//! `additionalContext` at `Stop` would keep the agent going as well, so it is not used for what must not block.

use super::{HookReaction, HookRequest, HookResponse, claude_request, decision_response};

/// The tools that edit files.
pub(super) const EDITS: [&str; 4] = ["Edit", "Write", "MultiEdit", "NotebookEdit"];

pub(super) fn read(event: Option<&str>, stdin: &str) -> anyhow::Result<HookRequest> {
    claude_request(event, stdin, "Stop", "PostToolUse", &EDITS)
}

pub(super) fn respond(reaction: HookReaction<'_>) -> HookResponse {
    decision_response(reaction)
}
