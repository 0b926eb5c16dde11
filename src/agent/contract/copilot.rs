//! GitHub Copilot (its CLI and its cloud agent): "GitHub Copilot hooks reference",
//! <https://docs.github.com/en/copilot/reference/hooks-reference>. VS Code reads the same files: "Hooks reference",
//! <https://code.visualstudio.com/docs/agents/reference/hooks-reference>.
//!
//! JSON on stdin, in two spellings: hooks under `agentStop` and `postToolUse` get camelCase without the event's name,
//! which is why it is a word of the command (`nixbox hook copilot agentStop`); those under `Stop` and `PostToolUse`,
//! and VS Code, get snake_case with `hook_event_name`. Both have `cwd` and `stop_hook_active`. The answer is JSON on
//! stdout with exit code 0: `decision: "block"` makes the `reason` the next prompt, at most eight times in a row;
//! `additionalContext` after a tool is read by the agent (10 KB at most). Exit code 2 only warns there, but blocks in
//! VS Code, so it is never used. For the person there is a line of progress in the CLI, and `systemMessage` in VS Code.
//! Time-outs are in seconds (30 by default), and count as consent.
//!
//! Copilot's CLI reads a repository's `.claude/settings.json` too: one installation of both is enough there.

use serde_json::json;

use super::{Answer, Asked, Moment, Payload, Spoken, asked, told};

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

pub(super) fn read(event: Option<&str>, stdin: &str) -> Result<Asked, String> {
    let payload = Payload::read(&["hook_event_name", "hookEventName"], event, stdin)?;
    let tool = payload.text(&["toolName", "tool_name"]);
    Ok(match payload.event.as_str() {
        "agentStop" | "Stop" => Asked { again: payload.is("stop_hook_active"), ..asked(Moment::TurnEnd, &payload) },
        "postToolUse" | "PostToolUse" if tool.is_some_and(|tool| EDITS.contains(&tool)) => {
            Asked { files: payload.files(&["toolArgs", "tool_input"]), ..asked(Moment::Edit, &payload) }
        }
        _ => asked(Moment::Other, &payload),
    })
}

pub(super) fn speak(answer: Answer<'_>) -> Spoken {
    match answer {
        Answer::Silence => Spoken::default(),
        Answer::Note(text) => told(&json!({ "type": "progress", "message": text, "systemMessage": text })),
        Answer::Tell(text) => told(&json!({
            "additionalContext": text,
            "hookSpecificOutput": { "hookEventName": "PostToolUse", "additionalContext": text },
        })),
        Answer::Block(text) => told(&json!({ "decision": "block", "reason": text })),
    }
}
