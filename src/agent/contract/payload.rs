//! What an agent sends, whichever it is: agents read each other's settings, so every spelling is understood under every
//! agent's name.

use std::path::PathBuf;

use anyhow::bail;
use serde_json::{Map, Value};

use crate::agent::table::{Family, Row};
use crate::agent::{Agent, Caller, HookEvent, HookRequest};

const EVENT_NAMES: [&str; 3] = ["hook_event_name", "hookEventName", "event"];
const TURN_ENDS: [&str; 5] = ["Stop", "stop", "AfterAgent", "agentStop", "session.idle"];
const EDITS: [&str; 5] = ["PostToolUse", "postToolUse", "AfterTool", "afterFileEdit", "tool.execute.after"];
const PROMPTS: [&str; 5] =
    ["UserPromptSubmit", "BeforeAgent", "beforeSubmitPrompt", "userPromptSubmitted", "chat.message"];

/// The types of Claude Code's background tasks that may never end. The others are agents' work: `subagent`, `workflow`.
const ENDLESS_TASKS: [&str; 2] = ["shell", "monitor"];

/// The modes in which an agent only plans; `spec` is Droid's.
const PLANNING: [&str; 2] = ["plan", "spec"];

/// What a background task is that works no more. Qwen Code lists such a task to its session's end, and no task's type.
const OVER: [&str; 4] = ["completed", "failed", "cancelled", "paused"];

/// The tools that edit files, whoever has them: VS Code ignores matchers and calls for each.
pub(super) const TOOLS: [&str; 22] = [
    "Edit",
    "Write",
    "NotebookEdit",
    "Create",
    "ApplyPatch",
    "StrReplace",
    "EditNotebook",
    "apply_patch",
    "write_file",
    "replace",
    "edit",
    "write",
    "create",
    "str_replace_editor",
    "editFiles",
    "create_file",
    "replace_string_in_file",
    "multi_replace_string_in_file",
    "insert_edit_into_file",
    "edit_notebook_file",
    "editNotebook",
    "createFile",
];

/// A payload: a JSON object, and the name of its event.
struct Payload {
    object: Map<String, Value>,
    event: String,
}

impl Payload {
    fn read(word: Option<&str>, stdin: &str) -> anyhow::Result<Self> {
        // Editors on Windows may begin a text with a byte order mark.
        let text = stdin.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            bail!("stdin is empty: expected a hook's JSON payload");
        }
        let object = match serde_json::from_str(text) {
            Ok(Value::Object(object)) => object,
            Ok(_) => bail!("stdin is not a JSON object: expected a hook's payload"),
            Err(error) => return Err(anyhow::Error::new(error).context("stdin is not valid JSON")),
        };
        let named = EVENT_NAMES.iter().find_map(|name| object.get(*name)?.as_str());
        match named.or(word) {
            Some(event) => Ok(Self { event: event.to_owned(), object }),
            None => bail!("the payload does not name its event ({})", EVENT_NAMES.join(", ")),
        }
    }

    fn text(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.object.get(*name)?.as_str()).filter(|text| !text.is_empty())
    }

    fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.object.get(*name)?.as_array()?.iter().find_map(Value::as_str))
    }

    fn directory(&self) -> Option<PathBuf> {
        let found = self.text(&["cwd", "directory"]).or_else(|| self.first(&["workspace_roots", "workspacePaths"]));
        found.map(PathBuf::from)
    }

    /// The turn is not over: it is paused, was stopped by its user, or only planned.
    fn is_no_end(&self) -> bool {
        let mut tasks = self.object.get("background_tasks").and_then(Value::as_array).into_iter().flatten();
        self.text(&["permission_mode", "permissionMode"]).is_some_and(|mode| PLANNING.contains(&mode))
            || tasks.any(|task| !is_endless(task) && !is_over(task))
            || self.object.get("fullyIdle") == Some(&Value::Bool(false))
            || self.text(&["status"]).is_some_and(|status| status != "completed")
    }

    fn event(&self, row: &Row) -> HookEvent {
        let event = self.event.as_str();
        let tool = self.text(&["tool_name", "toolName"]);
        if TURN_ENDS.contains(&event) {
            return if self.is_no_end() { HookEvent::Other } else { HookEvent::TurnEnd };
        }
        // Some payloads leave the tool out; the matcher, or our plugin, has selected it then.
        if EDITS.contains(&event) && tool.is_none_or(|tool| TOOLS.contains(&tool)) {
            return HookEvent::Edit;
        }
        // Qwen Code calls with each tool's result too, as an empty prompt: the turn goes on.
        let goes_on = row.agent == Agent::Qwen && self.object.get("prompt").is_some_and(|prompt| prompt == "");
        if PROMPTS.contains(&event) && !goes_on { HookEvent::Prompt } else { HookEvent::Other }
    }

    /// Whether a hook has made the agent continue in this turn: a flag, or Cursor's count.
    fn was_continued(&self) -> bool {
        let flag = self.object.get("stop_hook_active").and_then(Value::as_bool);
        let count = self.object.get("loop_count").and_then(Value::as_u64);
        flag.unwrap_or(false) || count.is_some_and(|count| count > 0)
    }

    fn caller(&self, row: &Row) -> Caller {
        let has = |name: &str| self.object.contains_key(name);
        if has("hookEventName") {
            Caller::VsCode
        } else if has("tool_result") || has("stop_reason") {
            Caller::Copilot
        } else if row.agent == Agent::ClaudeCode && has("background_tasks") {
            Caller::OwnWithFeedback
        } else {
            Caller::Own
        }
    }
}

/// Whether a background task is one that the agent does not wait for, and that may run as long as its session: a
/// server, a journal that is followed.
fn is_endless(task: &Value) -> bool {
    task.get("type").and_then(Value::as_str).is_some_and(|kind| ENDLESS_TASKS.contains(&kind))
}

/// Whether a background task has come to an end, or waits for its user.
fn is_over(task: &Value) -> bool {
    task.get("status").and_then(Value::as_str).is_some_and(|status| OVER.contains(&status))
}

/// Reads the payload of an agent that sends JSON. `variable` reads the environment, for payloads without a directory.
pub(super) fn read(
    row: &Row,
    event: Option<&str>,
    stdin: &str,
    variable: &dyn Fn(&str) -> Option<PathBuf>,
) -> anyhow::Result<HookRequest> {
    debug_assert!(!matches!(row.family, Family::Generic | Family::Git), "they send no JSON");
    let payload = Payload::read(event, stdin)?;
    let event = payload.event(row);
    let arguments = ["tool_input", "toolInput", "toolArgs"].iter().find_map(|name| payload.object.get(*name));
    let files = match (&event, arguments) {
        (HookEvent::Edit, Some(arguments)) => edited(arguments),
        // Cursor's afterFileEdit, and our plugin.
        (HookEvent::Edit, None) => edited(&Value::Object(payload.object.clone())),
        _ => Vec::new(),
    };
    Ok(HookRequest {
        directory: payload.directory().or_else(|| row.project.and_then(variable)),
        session: payload
            .text(&["session_id", "sessionId", "conversation_id", "conversationId", "session"])
            .map(str::to_owned),
        transcript: payload.text(&["transcript_path", "transcriptPath"]).map(PathBuf::from),
        caller: payload.caller(row),
        was_continued: payload.was_continued(),
        already_blocked: false,
        files,
        event,
    })
}

/// The files that the arguments of an editing tool name: by the keys that agents use, or as a patch. Arguments may come
/// as text that holds JSON.
fn edited(arguments: &Value) -> Vec<PathBuf> {
    let parsed = arguments.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let arguments = parsed.as_ref().unwrap_or(arguments);
    let mut files = Vec::new();
    let mut add = |path: &str| {
        let path = PathBuf::from(path);
        if !path.as_os_str().is_empty() && !files.contains(&path) {
            files.push(path);
        }
    };
    if let Some(patch) = arguments.as_str() {
        patched(patch).for_each(&mut add);
    }
    for name in ["file_path", "notebook_path", "filePath", "path", "target_file"] {
        arguments.get(name).and_then(Value::as_str).into_iter().for_each(&mut add);
    }
    for list in ["files", "edits", "replacements"].iter().filter_map(|name| arguments.get(*name)?.as_array()) {
        let named = |file: &'_ Value| -> Option<String> {
            let inner = || file.get("file_path").or_else(|| file.get("filePath"))?.as_str();
            file.as_str().or_else(inner).map(str::to_owned)
        };
        list.iter().filter_map(named).for_each(|file| add(&file));
    }
    for name in ["command", "patch", "patchText", "input"] {
        arguments.get(name).and_then(Value::as_str).into_iter().flat_map(patched).for_each(&mut add);
    }
    files
}

/// The files of a patch in the form that `apply_patch` takes: `*** Update File: PATH` and the like.
fn patched(patch: &str) -> impl Iterator<Item = &str> {
    const HEADS: [&str; 4] = ["*** Add File: ", "*** Update File: ", "*** Delete File: ", "*** Move to: "];
    patch.lines().filter_map(|line| HEADS.iter().find_map(|head| line.trim_end().strip_prefix(head)))
}
