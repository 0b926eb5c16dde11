//! What each agent sends to a hook and how it reads the answer: their published contracts, one file each, with the
//! sources. Pure.
//!
//! What should happen is decided once for all of them (`HookReaction`); each file writes it in its agent's protocol. So the
//! rule holds everywhere: a broken hook or host never blocks, a broken configuration blocks wherever that agent lets a
//! hook block.
//!
//! **It never loops for ever.** An agent that continues because a hook blocked it says so
//! ([`HookRequest::already_blocked`]). The same failure is then only shown to the user, and blocks nothing. The caller,
//! which knows the earlier verdicts, clears that flag where the failure is a new one: an agent that fixed one thing and
//! broke another is not done. The agents' own limits (eight times for Claude Code and Copilot, five for Cursor) end even
//! that.

mod claude_code;
mod codex;
mod copilot;
mod cursor;
mod gemini;
mod generic;
mod git;
mod opencode;

use std::fmt;
use std::path::PathBuf;

use anyhow::bail;
use serde_json::{Map, Value, json};

use super::{Agent, HookEvent, HookRequest, HookResponse, HookVerdict};

/// The reason where none is known: agents refuse a block without one.
const DEFAULT_REASON: &str = "the configuration is broken; run `nixbox try` for the cause";

/// Reads a hook's payload. `event` is the word after the agent's name on the command line, for agents whose payload does
/// not name the event.
///
/// # Errors
/// What is wrong with the payload, as a fragment. The caller reports it and blocks nothing.
pub fn read(agent: Agent, event: Option<&str>, stdin: &str) -> anyhow::Result<HookRequest> {
    match agent {
        Agent::ClaudeCode => claude_code::read(event, stdin),
        Agent::Codex => codex::read(event, stdin),
        Agent::Gemini => gemini::read(event, stdin),
        Agent::Cursor => cursor::read(event, stdin),
        Agent::Opencode => opencode::read(event, stdin),
        Agent::Copilot => copilot::read(event, stdin),
        Agent::Generic => generic::read(event, stdin),
        Agent::Git => git::read(event, stdin),
    }
}

/// The answer to a request, by the agent's contract.
pub fn respond(agent: Agent, request: &HookRequest, verdict: &HookVerdict) -> HookResponse {
    let reaction = HookReaction::to(request, verdict);
    match agent {
        Agent::ClaudeCode => claude_code::respond(reaction),
        Agent::Codex => codex::respond(reaction),
        Agent::Gemini => gemini::respond(reaction),
        Agent::Cursor => cursor::respond(reaction),
        Agent::Opencode => opencode::respond(reaction),
        Agent::Copilot => copilot::respond(reaction),
        Agent::Generic => generic::respond(reaction),
        Agent::Git => git::respond(reaction),
    }
}

/// What should happen, whatever the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HookReaction<'a> {
    /// Nothing happens.
    Silent,
    /// The user is informed. Blocks nothing.
    NotifyUser(&'a str),
    /// The agent is informed, about an edit that stays. Blocks nothing.
    InformAgent(&'a str),
    /// The agent has to continue, for this reason.
    Block(&'a str),
}

impl<'a> HookReaction<'a> {
    /// The one place that decides what blocks.
    fn to(request: &HookRequest, verdict: &'a HookVerdict) -> Self {
        match (verdict, &request.event) {
            (HookVerdict::NotApplicable, _) | (_, HookEvent::Other) => Self::Silent,
            // An edit after which everything still evaluates needs no attention.
            (HookVerdict::Pass(_), HookEvent::Edit) => Self::Silent,
            (HookVerdict::Pass(text) | HookVerdict::Unknown(text) | HookVerdict::Pending(text), _) => {
                Self::NotifyUser(text)
            }
            (HookVerdict::Fail(text), HookEvent::Edit) => Self::InformAgent(or_default(text)),
            (HookVerdict::Fail(text), _) if request.already_blocked => Self::NotifyUser(or_default(text)),
            (HookVerdict::Fail(text), _) => Self::Block(or_default(text)),
        }
    }
}

fn or_default(text: &str) -> &str {
    if text.trim().is_empty() { DEFAULT_REASON } else { text }
}

/// The effect of a broken configuration at an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookEffect {
    /// The agent has to continue, with the cause.
    Blocks,
    /// The turn ends; the cause is sent to the agent as the next message.
    Prompts,
    /// The agent reads the cause beside the result of its edit, which stays.
    Informs,
    /// The exit code says so; the effect is up to the caller.
    ExitCode,
    /// The hook is not called.
    Never,
}

impl fmt::Display for HookEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blocks => "blocks",
            Self::Prompts => "next message",
            Self::Informs => "informs",
            Self::ExitCode => "exit code",
            Self::Never => "–",
        })
    }
}

/// The effect of a broken configuration.
pub fn effect(agent: Agent, event: &HookEvent) -> HookEffect {
    match (agent, event) {
        (_, HookEvent::Other) => HookEffect::Never,
        (Agent::Git, HookEvent::Commit | HookEvent::Push(_)) => HookEffect::Blocks,
        (Agent::Git, _) | (_, HookEvent::Commit | HookEvent::Push(_)) => HookEffect::Never,
        (Agent::Generic, _) => HookEffect::ExitCode,
        (_, HookEvent::Edit) => HookEffect::Informs,
        (Agent::Cursor | Agent::Opencode, HookEvent::TurnEnd) => HookEffect::Prompts,
        (Agent::ClaudeCode | Agent::Codex | Agent::Gemini | Agent::Copilot, HookEvent::TurnEnd) => HookEffect::Blocks,
    }
}

/// The effect for each agent and event: the README's table.
pub fn table() -> String {
    use clap::ValueEnum as _;
    let mut table =
        "| agent | after an edit | at a turn's end | before a commit or push |\n| --- | --- | --- | --- |\n".to_owned();
    for agent in Agent::value_variants() {
        let name = agent.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let cells =
            [HookEvent::Edit, HookEvent::TurnEnd, HookEvent::Commit].map(|event| effect(*agent, &event).to_string());
        table.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
    }
    table
}

/// A payload: a JSON object, and the name of its event.
struct Payload {
    object: Map<String, Value>,
    event: String,
}

impl Payload {
    /// `names` are the keys that may hold the event's name; without one it is the word on the command line.
    fn read(names: &[&str], word: Option<&str>, stdin: &str) -> anyhow::Result<Self> {
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
        let named = names.iter().find_map(|name| object.get(*name)?.as_str());
        match named.or(word) {
            Some(event) => Ok(Self { event: event.to_owned(), object }),
            None => bail!("the payload does not name its event ({})", names.join(", ")),
        }
    }

    fn text(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.object.get(*name)?.as_str()).filter(|text| !text.is_empty())
    }

    fn is(&self, name: &str) -> bool {
        self.object.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    fn directory(&self) -> Option<PathBuf> {
        self.text(&["cwd"]).map(PathBuf::from)
    }

    /// The files that a tool's arguments name.
    fn files(&self, arguments: &[&str]) -> Vec<PathBuf> {
        arguments.iter().find_map(|name| self.object.get(*name)).map(edited).unwrap_or_default()
    }
}

/// The tools after which an agent should call the hook, as the matcher in its settings: those that count as edits.
pub(super) fn matcher(agent: Agent) -> String {
    let tools: &[&str] = match agent {
        Agent::ClaudeCode => &claude_code::EDITS,
        Agent::Gemini => &gemini::EDITS,
        Agent::Cursor => &cursor::EDITS,
        // Their tools have aliases, or there is no matcher: `install` handles each.
        Agent::Codex | Agent::Copilot | Agent::Opencode | Agent::Generic | Agent::Git => &[],
    };
    tools.join("|")
}

/// Reads the payload of agents that use Claude Code's format: the event `end` at a turn's end, `edit` after a tool, which
/// edits files if it is one of `tools`.
fn claude_request(
    event: Option<&str>,
    stdin: &str,
    end: &str,
    edit: &str,
    tools: &[&str],
) -> anyhow::Result<HookRequest> {
    let payload = Payload::read(&["hook_event_name"], event, stdin)?;
    Ok(if payload.event == end {
        HookRequest { already_blocked: payload.is("stop_hook_active"), ..request(HookEvent::TurnEnd, &payload) }
    } else if payload.event == edit && payload.text(&["tool_name"]).is_some_and(|tool| tools.contains(&tool)) {
        HookRequest { files: payload.files(&["tool_input"]), ..request(HookEvent::Edit, &payload) }
    } else {
        request(HookEvent::Other, &payload)
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
    for list in ["files", "edits"].iter().filter_map(|name| arguments.get(*name)?.as_array()) {
        list.iter().filter_map(|file| file.as_str().or_else(|| file.get("file_path")?.as_str())).for_each(&mut add);
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

/// A request that only has a directory.
fn request(event: HookEvent, payload: &Payload) -> HookRequest {
    HookRequest { event, directory: payload.directory(), files: Vec::new(), already_blocked: false }
}

/// A response in JSON, with exit code 0.
fn json_response(answer: &Value) -> HookResponse {
    HookResponse { stdout: format!("{answer}\n"), ..HookResponse::default() }
}

/// The response format of Claude Code, which Codex uses too.
fn decision_response(reaction: HookReaction<'_>) -> HookResponse {
    match reaction {
        HookReaction::Silent => HookResponse::default(),
        HookReaction::NotifyUser(text) => json_response(&json!({ "systemMessage": text })),
        HookReaction::InformAgent(text) | HookReaction::Block(text) => {
            json_response(&json!({ "decision": "block", "reason": text }))
        }
    }
}

#[cfg(test)]
mod tests;
