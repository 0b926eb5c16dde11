//! opencode: "Plugins", <https://opencode.ai/docs/plugins> (version 1: <https://opencode.ai/v1/docs/plugins/>), and
//! "Migrate plugins from V1", <https://opencode.ai/v2/docs/build/plugins/migrate-v1>.
//!
//! opencode calls no programs; plugins are JavaScript in its own process. `hook install` writes a small one
//! (`opencode.js` beside this file) that asks us when a session falls idle, and after an edit. Nothing can hold up the
//! end of a turn there: the plugin sends the cause as the next message. What is said between the plugin and us is our
//! own (below). The plugin is an object with `server` for version 1 (officially from 1.18.29 on, in fact since 1.3.4)
//! and `setup` for version 2, which does not run plugins of version 1; in version 2 it is called at a turn's end only.
//!
//! * asked: `{"event": "session.idle" | "tool.execute.after", "directory": …, "files": […], "again": …}`
//! * answered: `{}`, or one of `prompt` (send it), `append` (to the tool's result), `note` (show it)

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Answer, Asked, Moment, Payload, Spoken, told};

pub(super) fn read(event: Option<&str>, stdin: &str) -> Result<Asked, String> {
    let payload = Payload::read(&["event"], event, stdin)?;
    let moment = match payload.event.as_str() {
        "session.idle" => Moment::TurnEnd,
        "tool.execute.after" => Moment::Edit,
        _ => Moment::Other,
    };
    let files = payload.object.get("files").and_then(Value::as_array);
    let files = files.into_iter().flatten().filter_map(Value::as_str).filter(|file| !file.is_empty());
    Ok(Asked {
        again: moment == Moment::TurnEnd && payload.is("again"),
        moment,
        directory: payload.text(&["directory"]).map(PathBuf::from),
        files: files.map(PathBuf::from).collect(),
    })
}

pub(super) fn speak(answer: Answer<'_>) -> Spoken {
    told(&match answer {
        Answer::Silence => json!({}),
        Answer::Note(text) => json!({ "note": text }),
        Answer::Tell(text) => json!({ "append": text }),
        Answer::Block(text) => json!({ "prompt": text }),
    })
}
