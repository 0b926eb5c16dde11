//! Gemini CLI: "Hooks reference", <https://geminicli.com/docs/hooks/reference> (`docs/hooks/reference.md` of
//! <https://github.com/google-gemini/gemini-cli>).
//!
//! JSON on stdin with `hook_event_name` and `cwd`; `AfterAgent` also has `stop_hook_active`. The answer is JSON on
//! stdout with exit code 0, and nothing else. At `AfterAgent`, `decision: "deny"` sends the `reason` to the agent as a
//! new prompt. At `AfterTool` it would replace what the agent reads of its edit, as if that had not been made: there
//! the cause is added by `additionalContext`. `systemMessage` is shown to the user. Exit codes but 0 and 2 only warn.
//! Time-outs are in milliseconds (60000 by default).

use serde_json::json;

use super::{HookReaction, HookRequest, HookResponse, claude_request, json_response};

/// The tools that edit files.
pub(super) const EDITS: [&str; 2] = ["write_file", "replace"];

pub(super) fn read(event: Option<&str>, stdin: &str) -> anyhow::Result<HookRequest> {
    claude_request(event, stdin, "AfterAgent", "AfterTool", &EDITS)
}

pub(super) fn respond(reaction: HookReaction<'_>) -> HookResponse {
    match reaction {
        HookReaction::Silent => HookResponse::default(),
        HookReaction::NotifyUser(text) => json_response(&json!({ "systemMessage": text })),
        HookReaction::InformAgent(text) => {
            json_response(&json!({ "hookSpecificOutput": { "hookEventName": "AfterTool", "additionalContext": text } }))
        }
        HookReaction::Block(text) => json_response(&json!({ "decision": "deny", "reason": text })),
    }
}
