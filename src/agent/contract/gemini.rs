//! Gemini CLI: "Hooks reference", <https://geminicli.com/docs/hooks/reference> (`docs/hooks/reference.md` of
//! <https://github.com/google-gemini/gemini-cli>).
//!
//! JSON on stdin with `hook_event_name` and `cwd`; `AfterAgent` also has `stop_hook_active`. The answer is JSON on
//! stdout with exit code 0, and nothing else. At `AfterAgent`, `decision: "deny"` sends the `reason` to the agent as a
//! new prompt. At `AfterTool` it would replace what the agent reads of its edit, as if that had not been made: there
//! the cause is added by `additionalContext`. `systemMessage` is shown to the person. Exit codes but 0 and 2 only warn.
//! Time-outs are in milliseconds (60000 by default).

use serde_json::json;

use super::{Answer, Asked, Spoken, after_claude, told};

/// The tools that edit files.
pub(super) const EDITS: [&str; 2] = ["write_file", "replace"];

pub(super) fn read(event: Option<&str>, stdin: &str) -> Result<Asked, String> {
    after_claude(event, stdin, "AfterAgent", "AfterTool", &EDITS)
}

pub(super) fn speak(answer: Answer<'_>) -> Spoken {
    match answer {
        Answer::Silence => Spoken::default(),
        Answer::Note(text) => told(&json!({ "systemMessage": text })),
        Answer::Tell(text) => {
            told(&json!({ "hookSpecificOutput": { "hookEventName": "AfterTool", "additionalContext": text } }))
        }
        Answer::Block(text) => told(&json!({ "decision": "deny", "reason": text })),
    }
}
