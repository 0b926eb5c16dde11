//! opencode: "Plugins", <https://opencode.ai/docs/plugins> (version 1: <https://opencode.ai/v1/docs/plugins/>), and
//! "Migrate plugins from V1", <https://opencode.ai/v2/docs/build/plugins/migrate-v1>.
//!
//! opencode calls no programs; plugins are JavaScript in its own process. `hook install` writes a small one
//! (`opencode.js` beside this file) that calls us when a session becomes idle, and after an edit. Nothing can block the
//! end of a turn there: the plugin sends the cause as the next message. The protocol between the plugin and us is our
//! own (below). The plugin is an object with `server` for version 1 (officially from 1.18.29 on, in fact since 1.3.4)
//! and `setup` for version 2, which does not run plugins of version 1; in version 2 it is called at a turn's end only.
//!
//! * request: `{"event": "session.idle" | "tool.execute.after", "directory": …, "files": […], "again": …}`
//! * response: `{}`, or one of `prompt` (send it), `append` (to the tool's result), `note` (show it)

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{HookEvent, HookReaction, HookRequest, HookResponse, Payload, json_response};

pub(super) fn read(event: Option<&str>, stdin: &str) -> anyhow::Result<HookRequest> {
    let payload = Payload::read(&["event"], event, stdin)?;
    let hook_event = match payload.event.as_str() {
        "session.idle" => HookEvent::TurnEnd,
        "tool.execute.after" => HookEvent::Edit,
        _ => HookEvent::Other,
    };
    let files = payload.object.get("files").and_then(Value::as_array);
    let files = files.into_iter().flatten().filter_map(Value::as_str).filter(|file| !file.is_empty());
    Ok(HookRequest {
        already_blocked: hook_event == HookEvent::TurnEnd && payload.is("again"),
        event: hook_event,
        directory: payload.text(&["directory"]).map(PathBuf::from),
        files: files.map(PathBuf::from).collect(),
    })
}

pub(super) fn respond(reaction: HookReaction<'_>) -> HookResponse {
    json_response(&match reaction {
        HookReaction::Silent => json!({}),
        HookReaction::NotifyUser(text) => json!({ "note": text }),
        HookReaction::InformAgent(text) => json!({ "append": text }),
        HookReaction::Block(text) => json!({ "prompt": text }),
    })
}
