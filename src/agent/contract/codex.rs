//! Codex: "Hooks", <https://developers.openai.com/codex/hooks>; the payloads' schemas are in
//! `codex-rs/hooks/schema/generated` of <https://github.com/openai/codex>.
//!
//! Claude Code's contract with differences: files are edited by `apply_patch`, whose `tool_input.command` is a patch (a
//! `matcher` may also call it `Edit` or `Write`); a `reason` without `decision` is an error, and so is a block without
//! a reason. At `Stop`, `decision: "block"` makes the reason the next prompt; nothing but `stop_hook_active` ends that.
//! At `PostToolUse` the reason is the model's feedback on the edit, which stays. Time-outs are in seconds (600).
//!
//! Hooks run only once the user has reviewed and trusted them (`/hooks` in Codex), each time anew when they change; a
//! project's hooks also need the project to be trusted. Until then Codex skips them without an error.

use super::{HookReaction, HookRequest, HookResponse, claude_request, decision_response};

/// The tools that edit files, with the names that a matcher may use.
const EDITS: [&str; 3] = ["apply_patch", "Edit", "Write"];

pub(super) fn read(event: Option<&str>, stdin: &str) -> anyhow::Result<HookRequest> {
    claude_request(event, stdin, "Stop", "PostToolUse", &EDITS)
}

pub(super) fn respond(reaction: HookReaction<'_>) -> HookResponse {
    decision_response(reaction)
}
