//! Cursor: "Hooks", <https://cursor.com/docs/hooks>.
//!
//! JSON on stdin with `hook_event_name` and `workspace_roots`; tools' events also have `cwd`. A `stop` hook cannot block
//! the end of a turn, but a `followup_message` is sent as the next message; `loop_count` says how many there were in
//! this conversation, and `loop_limit` (5 by default) how many there may be. `afterFileEdit` has no answer at all, so
//! `postToolUse` is installed, whose `additional_context` the agent reads. The user sees only
//! stderr, in the Hooks output channel. A hook that fails blocks nothing. Time-outs are in seconds.
//!
//! A turn that was aborted (`status`) is not tested: the agent does not claim to be done.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{HookEvent, HookReaction, HookRequest, HookResponse, Payload, edited, json_response, request};

/// The tools that edit files: the documented `Write`, and the names that Cursor's own tools were observed to have.
pub(super) const EDITS: [&str; 4] = ["Write", "StrReplace", "ApplyPatch", "EditNotebook"];

pub(super) fn read(event: Option<&str>, stdin: &str) -> anyhow::Result<HookRequest> {
    let payload = Payload::read(&["hook_event_name"], event, stdin)?;
    let mut read = match payload.event.as_str() {
        "stop" if payload.text(&["status"]).is_none_or(|status| status == "completed") => {
            let already_blocked =
                payload.object.get("loop_count").and_then(Value::as_f64).is_some_and(|count| count > 0.0);
            HookRequest { already_blocked, ..request(HookEvent::TurnEnd, &payload) }
        }
        "afterFileEdit" => {
            let file = payload.object.get("file_path").map(|file| edited(&json!({ "file_path": file })));
            HookRequest { files: file.unwrap_or_default(), ..request(HookEvent::Edit, &payload) }
        }
        // Some payloads leave the name out; the matcher has selected the tool then.
        "postToolUse" if payload.text(&["tool_name"]).is_none_or(|tool| EDITS.contains(&tool)) => {
            HookRequest { files: payload.files(&["tool_input"]), ..request(HookEvent::Edit, &payload) }
        }
        _ => request(HookEvent::Other, &payload),
    };
    // A hook in the user's own settings runs in ~/.cursor.
    let roots = payload.object.get("workspace_roots").and_then(Value::as_array);
    read.directory = read.directory.or_else(|| roots?.iter().find_map(Value::as_str).map(PathBuf::from));
    Ok(read)
}

pub(super) fn respond(reaction: HookReaction<'_>) -> HookResponse {
    match reaction {
        HookReaction::Silent => json_response(&json!({})),
        HookReaction::NotifyUser(text) => {
            HookResponse { stderr: format!("{}\n", text.trim_end()), ..json_response(&json!({})) }
        }
        HookReaction::InformAgent(text) => json_response(&json!({ "additional_context": text })),
        HookReaction::Block(text) => json_response(&json!({ "followup_message": text })),
    }
}
