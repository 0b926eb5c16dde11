//! How each family of agents is answered: JSON on stdout, exit code 0, never anything else.

use serde_json::{Value, json};

use super::HookReaction;
use crate::agent::table::{Family, Row};
use crate::agent::{Agent, Caller, HookRequest, HookResponse};

/// The answer of an agent that reads JSON.
pub(super) fn respond(row: &Row, request: &HookRequest, reaction: HookReaction<'_>) -> HookResponse {
    match row.family {
        Family::Claude(word) => claude(row, request, reaction, word),
        Family::Cursor => cursor(reaction),
        Family::Copilot => copilot(request, reaction),
        Family::Antigravity => antigravity(reaction),
        Family::Plugin | Family::Generic | Family::Git => plugin(reaction),
    }
}

/// A response in JSON, with exit code 0.
fn answer(answer: &Value) -> HookResponse {
    HookResponse { stdout: format!("{answer}\n"), ..HookResponse::default() }
}

fn claude(row: &Row, request: &HookRequest, reaction: HookReaction<'_>, word: &str) -> HookResponse {
    match reaction {
        // Gemini CLI and Qwen Code read stderr where stdout is empty.
        HookReaction::Silent if matches!(row.agent, Agent::Gemini | Agent::Qwen) => answer(&json!({})),
        HookReaction::Silent => HookResponse::default(),
        HookReaction::NotifyUser(text) => answer(&json!({ "systemMessage": text })),
        HookReaction::InformAgent(text) => {
            let event = row.edit.unwrap_or_default();
            let mut said = json!({ "hookSpecificOutput": { "hookEventName": event, "additionalContext": text } });
            if request.caller == Caller::Copilot {
                said["additionalContext"] = json!(text);
            }
            answer(&said)
        }
        HookReaction::Block(text) => match request.caller {
            Caller::OwnWithFeedback => answer(&json!({
                "hookSpecificOutput": { "hookEventName": row.turn_end, "additionalContext": text },
            })),
            Caller::VsCode => answer(&vs_code_block(text)),
            Caller::Own | Caller::Copilot => answer(&json!({ "decision": word, "reason": text })),
        },
    }
}

fn vs_code_block(text: &str) -> Value {
    json!({ "hookSpecificOutput": { "hookEventName": "Stop", "decision": "block", "reason": text } })
}

/// An empty answer is an object there too. The user sees only stderr.
fn cursor(reaction: HookReaction<'_>) -> HookResponse {
    match reaction {
        HookReaction::Silent => answer(&json!({})),
        HookReaction::NotifyUser(text) => {
            HookResponse { stderr: format!("{}\n", text.trim_end()), ..answer(&json!({})) }
        }
        HookReaction::InformAgent(text) => answer(&json!({ "additional_context": text })),
        HookReaction::Block(text) => answer(&json!({ "followup_message": text })),
    }
}

/// The user sees a line of progress in the CLI, and `systemMessage` in VS Code.
fn copilot(request: &HookRequest, reaction: HookReaction<'_>) -> HookResponse {
    match reaction {
        HookReaction::Silent => HookResponse::default(),
        HookReaction::NotifyUser(text) => {
            answer(&json!({ "type": "progress", "message": text, "systemMessage": text }))
        }
        HookReaction::InformAgent(text) => answer(&json!({
            "additionalContext": text,
            "hookSpecificOutput": { "hookEventName": "PostToolUse", "additionalContext": text },
        })),
        HookReaction::Block(text) if request.caller == Caller::VsCode => answer(&vs_code_block(text)),
        HookReaction::Block(text) => answer(&json!({ "decision": "block", "reason": text })),
    }
}

/// Only `Stop` has an answer, and it has to be an object. Nothing of it is shown to the user.
fn antigravity(reaction: HookReaction<'_>) -> HookResponse {
    match reaction {
        HookReaction::Silent => answer(&json!({})),
        HookReaction::NotifyUser(text) | HookReaction::InformAgent(text) => {
            HookResponse { stderr: format!("{}\n", text.trim_end()), ..answer(&json!({})) }
        }
        HookReaction::Block(text) => answer(&json!({ "decision": "continue", "reason": text })),
    }
}

/// Our own plugin's: `prompt` is sent, `append` is put after the tool's result, `note` is shown.
fn plugin(reaction: HookReaction<'_>) -> HookResponse {
    answer(&match reaction {
        HookReaction::Silent => json!({}),
        HookReaction::NotifyUser(text) => json!({ "note": text }),
        HookReaction::InformAgent(text) => json!({ "append": text }),
        HookReaction::Block(text) => json!({ "prompt": text }),
    })
}

/// Whether an answer blocks an agent, by its contract: nothing else may.
#[cfg(test)]
pub(super) fn blocks(row: &Row, event: &crate::agent::HookEvent, response: &HookResponse) -> bool {
    let value: Value = serde_json::from_str(&response.stdout).unwrap_or_default();
    let feedback =
        *event == crate::agent::HookEvent::TurnEnd && value["hookSpecificOutput"]["additionalContext"].is_string();
    match row.family {
        Family::Git | Family::Generic => response.exit != 0,
        _ if response.exit != 0 => true,
        Family::Cursor => value.get("followup_message").is_some(),
        Family::Plugin => value.get("prompt").is_some(),
        _ => {
            feedback
                || value.get("decision").is_some()
                || value["hookSpecificOutput"].get("decision").is_some()
                || value.get("continue").is_some_and(|continues| *continues == false)
        }
    }
}
