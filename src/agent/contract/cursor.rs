//! Cursor: "Hooks", <https://cursor.com/docs/hooks>.
//!
//! JSON on stdin with `hook_event_name` and `workspace_roots`; tools' events also have `cwd`. A `stop` hook cannot hold
//! up the end of a turn, but a `followup_message` is sent as the next message; `loop_count` says how many there were in
//! this conversation, and `loop_limit` (5 by default) how many there may be. `afterFileEdit` has no answer at all, so
//! `postToolUse` is installed, whose `additional_context` the agent reads. There are no words for the person but
//! stderr, which the Hooks output channel shows. A hook that fails blocks nothing. Time-outs are in seconds.
//!
//! A turn that was broken off (`status`) is not tested: nobody claims that the work is done.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Answer, Asked, Moment, Payload, Spoken, asked, edited, told};

/// The tools that edit files: the documented `Write`, and the names that Cursor's own tools are seen to have.
pub(super) const EDITS: [&str; 4] = ["Write", "StrReplace", "ApplyPatch", "EditNotebook"];

pub(super) fn read(event: Option<&str>, stdin: &str) -> Result<Asked, String> {
    let payload = Payload::read(&["hook_event_name"], event, stdin)?;
    let mut it = match payload.event.as_str() {
        "stop" if payload.text(&["status"]).is_none_or(|status| status == "completed") => {
            let again = payload.object.get("loop_count").and_then(Value::as_f64).is_some_and(|count| count > 0.0);
            Asked { again, ..asked(Moment::TurnEnd, &payload) }
        }
        "afterFileEdit" => {
            let file = payload.object.get("file_path").map(|file| edited(&json!({ "file_path": file })));
            Asked { files: file.unwrap_or_default(), ..asked(Moment::Edit, &payload) }
        }
        // Some payloads leave the name out; the matcher has chosen then.
        "postToolUse" if payload.text(&["tool_name"]).is_none_or(|tool| EDITS.contains(&tool)) => {
            Asked { files: payload.files(&["tool_input"]), ..asked(Moment::Edit, &payload) }
        }
        _ => asked(Moment::Other, &payload),
    };
    // A hook of the user's own runs in ~/.cursor.
    let roots = payload.object.get("workspace_roots").and_then(Value::as_array);
    it.directory = it.directory.or_else(|| roots?.iter().find_map(Value::as_str).map(PathBuf::from));
    Ok(it)
}

pub(super) fn speak(answer: Answer<'_>) -> Spoken {
    match answer {
        Answer::Silence => told(&json!({})),
        Answer::Note(text) => Spoken { stderr: format!("{}\n", text.trim_end()), ..told(&json!({})) },
        Answer::Tell(text) => told(&json!({ "additional_context": text })),
        Answer::Block(text) => told(&json!({ "followup_message": text })),
    }
}
