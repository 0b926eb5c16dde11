//! GitHub Copilot (its CLI and its cloud agent): "GitHub Copilot hooks reference",
//! <https://docs.github.com/en/copilot/reference/hooks-reference>. VS Code reads the same files: "Hooks reference",
//! <https://code.visualstudio.com/docs/agents/reference/hooks-reference>.
//!
//! JSON on stdin, in two spellings: hooks under `agentStop` and `postToolUse` get camelCase without the event's name,
//! which is why it is a word of the command (`nixbox hook copilot agentStop`); those under `Stop` and `PostToolUse`,
//! and VS Code, get snake_case with `hook_event_name`. Both have `cwd` and `stop_hook_active`. The answer is JSON on
//! stdout with exit code 0: `decision: "block"` makes the `reason` the next prompt, at most eight times in a row;
//! `additionalContext` after a tool is read by the agent (10 KB at most). Exit code 2 only warns there, but blocks in
//! VS Code, so it is never used. The user sees a line of progress in the CLI, and `systemMessage` in VS Code.
//! Time-outs are in seconds (30 by default), and count as consent.
//!
//! Copilot's CLI reads a repository's `.claude/settings.json` too: one installation of both is enough there.

use serde_json::json;

use super::{HookEvent, HookReaction, HookRequest, HookResponse, Payload, json_response, request};

/// The tools that edit files: the CLI's, with their names in Claude Code's spelling and in VS Code's.
const EDITS: [&str; 10] = [
    "create",
    "edit",
    "str_replace_editor",
    "apply_patch",
    "Edit",
    "Write",
    "editFiles",
    "create_file",
    "replace_string_in_file",
    "insert_edit_into_file",
];

pub(super) fn read(event: Option<&str>, stdin: &str) -> anyhow::Result<HookRequest> {
    let payload = Payload::read(&["hook_event_name", "hookEventName"], event, stdin)?;
    let tool = payload.text(&["toolName", "tool_name"]);
    Ok(match payload.event.as_str() {
        "agentStop" | "Stop" => {
            HookRequest { already_blocked: payload.is("stop_hook_active"), ..request(HookEvent::TurnEnd, &payload) }
        }
        "postToolUse" | "PostToolUse" if tool.is_some_and(|tool| EDITS.contains(&tool)) => {
            HookRequest { files: payload.files(&["toolArgs", "tool_input"]), ..request(HookEvent::Edit, &payload) }
        }
        _ => request(HookEvent::Other, &payload),
    })
}

pub(super) fn respond(reaction: HookReaction<'_>) -> HookResponse {
    match reaction {
        HookReaction::Silent => HookResponse::default(),
        HookReaction::NotifyUser(text) => {
            json_response(&json!({ "type": "progress", "message": text, "systemMessage": text }))
        }
        HookReaction::InformAgent(text) => json_response(&json!({
            "additionalContext": text,
            "hookSpecificOutput": { "hookEventName": "PostToolUse", "additionalContext": text },
        })),
        HookReaction::Block(text) => json_response(&json!({ "decision": "block", "reason": text })),
    }
}
