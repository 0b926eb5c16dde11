//! What each agent sends to a hook, and what it makes of the answer: their published contracts, a file each, which name
//! their sources. Pure.
//!
//! What is to be brought about is decided once, for all of them (`Answer`); a file puts it into its agent's words. So
//! the rule holds everywhere: a broken hook or host never blocks, a broken configuration blocks wherever that agent
//! lets a hook block.
//!
//! **It never loops for ever.** An agent that goes on because a hook held it up says so ([`Asked::again`]). A broken
//! configuration is then told once more, to the person, and holds up nothing: it is the same verdict as before. Who
//! remembers the verdicts may clear `again` where the verdict is another one, since an agent that mended one thing and
//! broke the next is not done; the agents' own limits (eight times for Claude Code and Copilot, five for Cursor) end
//! even that.

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

use serde_json::{Map, Value, json};

use super::{Agent, Asked, Finding, Moment, Spoken};

/// What is told where the cause got lost on the way: agents refuse a block without a reason.
const WITHOUT_WORDS: &str = "the configuration is broken (nixbox try says why)";

/// Reads what a hook was given. `event` is the word after the agent's name on the command line, for agents whose
/// payload does not say by itself when it is.
///
/// # Errors
/// What the text is not, as a fragment: the caller tells it on stderr and holds up nothing.
pub fn read(agent: Agent, event: Option<&str>, stdin: &str) -> Result<Asked, String> {
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

/// Says what was found in the agent's words, by its contract.
pub fn speak(agent: Agent, asked: &Asked, finding: &Finding) -> Spoken {
    let answer = Answer::to(asked, finding);
    match agent {
        Agent::ClaudeCode => claude_code::speak(answer),
        Agent::Codex => codex::speak(answer),
        Agent::Gemini => gemini::speak(answer),
        Agent::Cursor => cursor::speak(answer),
        Agent::Opencode => opencode::speak(answer),
        Agent::Copilot => copilot::speak(answer),
        Agent::Generic => generic::speak(answer),
        Agent::Git => git::speak(answer),
    }
}

/// What is to be brought about, whatever the agent's words for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer<'a> {
    /// Nothing.
    Silence,
    /// The person is told. Holds up nothing.
    Note(&'a str),
    /// The agent is told, about an edit that is made already. Holds up nothing.
    Tell(&'a str),
    /// The agent is not done, and this is why.
    Block(&'a str),
}

impl<'a> Answer<'a> {
    /// The one place that decides what blocks.
    fn to(asked: &Asked, finding: &'a Finding) -> Self {
        match (finding, &asked.moment) {
            (Finding::Nothing, _) | (_, Moment::Other) => Self::Silence,
            // An edit after which all still evaluates is not worth anybody's attention.
            (Finding::Holds(_), Moment::Edit) => Self::Silence,
            (Finding::Holds(text) | Finding::CouldNotTell(text) | Finding::StillRunning(text), _) => Self::Note(text),
            (Finding::Broken(text), Moment::Edit) => Self::Tell(said(text)),
            (Finding::Broken(text), _) if asked.again => Self::Note(said(text)),
            (Finding::Broken(text), _) => Self::Block(said(text)),
        }
    }
}

fn said(text: &str) -> &str {
    if text.trim().is_empty() { WITHOUT_WORDS } else { text }
}

/// What a broken configuration brings about in an agent at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The agent is held up: it has to go on, with the cause.
    Blocks,
    /// The agent cannot be held up; the cause is sent to it as the next message.
    Prompts,
    /// The agent reads the cause beside the edit's result, which stays.
    Tells,
    /// The exit code says so; what comes of it is up to who asked.
    ExitCode,
    /// Never called then.
    Never,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blocks => "blocks",
            Self::Prompts => "next message",
            Self::Tells => "told",
            Self::ExitCode => "exit code",
            Self::Never => "–",
        })
    }
}

/// What a broken configuration brings about.
pub fn effect(agent: Agent, moment: &Moment) -> Effect {
    match (agent, moment) {
        (_, Moment::Other) => Effect::Never,
        (Agent::Git, Moment::Commit | Moment::Push(_)) => Effect::Blocks,
        (Agent::Git, _) | (_, Moment::Commit | Moment::Push(_)) => Effect::Never,
        (Agent::Generic, _) => Effect::ExitCode,
        (_, Moment::Edit) => Effect::Tells,
        (Agent::Cursor | Agent::Opencode, Moment::TurnEnd) => Effect::Prompts,
        (Agent::ClaudeCode | Agent::Codex | Agent::Gemini | Agent::Copilot, Moment::TurnEnd) => Effect::Blocks,
    }
}

/// The agents with what is called when: the README's table.
pub fn table() -> String {
    use clap::ValueEnum as _;
    let mut table =
        "| agent | after an edit | at a turn's end | before a commit or push |\n| --- | --- | --- | --- |\n".to_owned();
    for agent in Agent::value_variants() {
        let name = agent.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let cells = [Moment::Edit, Moment::TurnEnd, Moment::Commit].map(|moment| effect(*agent, &moment).to_string());
        table.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
    }
    table
}

/// A payload: a JSON object, and the name of the event that it is about.
struct Payload {
    object: Map<String, Value>,
    event: String,
}

impl Payload {
    /// `names` are the keys that may hold the event's name; where none does, it is the word on the command line.
    fn read(names: &[&str], word: Option<&str>, stdin: &str) -> Result<Self, String> {
        // Some editors on Windows' side begin a text with a byte order mark.
        let text = stdin.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            return Err("stdin is empty: a hook's JSON was expected".to_owned());
        }
        let object = match serde_json::from_str(text) {
            Ok(Value::Object(object)) => object,
            Ok(_) => return Err("stdin is JSON, but no object: a hook's payload was expected".to_owned()),
            Err(error) => return Err(format!("stdin is no JSON of a hook: {error}")),
        };
        let named = names.iter().find_map(|name| object.get(*name)?.as_str());
        match named.or(word) {
            Some(event) => Ok(Self { event: event.to_owned(), object }),
            None => Err(format!("the payload does not say which event it is ({})", names.join(", "))),
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

/// The tools after which these agents are to call, as the matcher of their settings: those that are taken for edits.
pub(super) fn matcher(agent: Agent) -> String {
    let tools: &[&str] = match agent {
        Agent::ClaudeCode => &claude_code::EDITS,
        Agent::Gemini => &gemini::EDITS,
        Agent::Cursor => &cursor::EDITS,
        // They have aliases or no matcher, and are told apart where they are installed.
        Agent::Codex | Agent::Copilot | Agent::Opencode | Agent::Generic | Agent::Git => &[],
    };
    tools.join("|")
}

/// What the agents that took over Claude Code's payload send: `end` at a turn's end, `edit` after a tool, which edits
/// files where it is one of `tools`.
fn after_claude(event: Option<&str>, stdin: &str, end: &str, edit: &str, tools: &[&str]) -> Result<Asked, String> {
    let payload = Payload::read(&["hook_event_name"], event, stdin)?;
    Ok(if payload.event == end {
        Asked { again: payload.is("stop_hook_active"), ..asked(Moment::TurnEnd, &payload) }
    } else if payload.event == edit && payload.text(&["tool_name"]).is_some_and(|tool| tools.contains(&tool)) {
        Asked { files: payload.files(&["tool_input"]), ..asked(Moment::Edit, &payload) }
    } else {
        asked(Moment::Other, &payload)
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

/// A moment of which only the directory matters.
fn asked(moment: Moment, payload: &Payload) -> Asked {
    Asked { moment, directory: payload.directory(), files: Vec::new(), again: false }
}

/// An answer in JSON, with exit code 0.
fn told(answer: &Value) -> Spoken {
    Spoken { stdout: format!("{answer}\n"), ..Spoken::default() }
}

/// The answers that Claude Code defined and Codex took over.
fn by_decision(answer: Answer<'_>) -> Spoken {
    match answer {
        Answer::Silence => Spoken::default(),
        Answer::Note(text) => told(&json!({ "systemMessage": text })),
        Answer::Tell(text) | Answer::Block(text) => told(&json!({ "decision": "block", "reason": text })),
    }
}

#[cfg(test)]
mod tests;
