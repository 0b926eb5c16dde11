//! What differs between the agents: a row each. A new one of a known family is one more.

use std::fmt;

use super::Agent;
use crate::model::timeouts::agent::{EDIT_LIMIT, PROMPT_LIMIT, TURN_END_LIMIT};

/// The effect of a broken configuration at an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HookEffect {
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

/// How answers are written; payloads are read alike for all but the last two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// Claude Code's protocol, with this word for a block at a turn's end.
    Claude(&'static str),
    /// Cursor's.
    Cursor,
    /// Copilot's.
    Copilot,
    /// Antigravity's.
    Antigravity,
    /// opencode's: the protocol between our plugin and us.
    Plugin,
    /// Whatever reads an exit code.
    Generic,
    /// git.
    Git,
}

/// The unit of an agent's time-outs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
}

/// How an agent's settings file is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Claude Code's: `hooks`, the event, groups with a matcher, handlers. `bare`: the events are the file's own members.
    Grouped { unit: Unit, bare: bool, extras: &'static [(&'static str, &'static str)] },
    /// Cursor's: `version`, `hooks`, the event, handlers with a matcher.
    Cursor,
    /// Copilot's: the same with `bash` for the command.
    Copilot,
    /// Antigravity's: a name, the event, handlers.
    Antigravity,
    /// A plugin in a file of its own.
    Plugin,
}

/// Where an agent's settings are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settings {
    /// The variable for the user's directory, and its default below the home.
    pub(super) variable: Option<&'static str>,
    pub(super) below_home: &'static str,
    /// The file in that directory.
    pub(super) file: &'static str,
    /// The file in a project.
    pub(super) in_project: &'static str,
    pub(super) shape: Shape,
}

/// What differs between agents.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) agent: Agent,
    pub(super) family: Family,
    /// The events at a turn's end, after a tool, and before a turn, as the settings name them.
    pub(super) turn_end: &'static str,
    pub(super) edit: Option<&'static str>,
    pub(super) prompt: Option<&'static str>,
    /// The tools that edit files, as the settings' matcher names them.
    pub(super) tools: &'static [&'static str],
    pub(super) at_turn_end: HookEffect,
    pub(super) settings: Option<Settings>,
    /// The environment variable with the project, for payloads without a directory.
    pub(super) project: Option<&'static str>,
    /// What the written command ends with where nixbox fails or is not there: an exit code that this agent takes for no
    /// verdict.
    pub(super) otherwise: &'static str,
    /// No run is left to go on by itself: the agent's process outlives its sessions, or nobody asks for the verdict again.
    pub(super) ends_runs: bool,
    /// The version with which it was seen to work, or what was not seen.
    pub(super) seen: &'static str,
    /// What it needs before it calls a hook.
    pub(super) needs: &'static str,
}

/// The line that agents show while a hook runs.
pub(super) const STATUS: &str = "nixbox tests the configuration";

const NAMED: &[(&str, &str)] = &[("name", "nixbox"), ("description", STATUS)];
const WITH_STATUS: &[(&str, &str)] = &[("statusMessage", STATUS)];

const fn grouped(unit: Unit, extras: &'static [(&'static str, &'static str)]) -> Shape {
    Shape::Grouped { unit, bare: false, extras }
}

/// "Hooks reference", <https://code.claude.com/docs/en/hooks>. Only exit code 2 blocks there. At `Stop`,
/// `additionalContext` continues the turn without being called an error; at `PostToolUse` it stands beside the result,
/// which `decision: "block"` calls an error. After eight blocks in a row Claude Code ends the turn itself. `SubagentStop`
/// is not used: the main agent's `Stop` comes after it.
const CLAUDE_CODE: Row = Row {
    agent: Agent::ClaudeCode,
    family: Family::Claude("block"),
    turn_end: "Stop",
    edit: Some("PostToolUse"),
    prompt: Some("UserPromptSubmit"),
    tools: &["Edit", "Write", "NotebookEdit"],
    at_turn_end: HookEffect::Blocks,
    settings: Some(Settings {
        variable: Some("CLAUDE_CONFIG_DIR"),
        below_home: ".claude",
        file: "settings.json",
        in_project: ".claude/settings.json",
        shape: grouped(Unit::Seconds, WITH_STATUS),
    }),
    project: Some("CLAUDE_PROJECT_DIR"),
    otherwise: "exit 1",
    ends_runs: false,
    seen: "2.1.332",
    needs: "Claude Code runs a project's hooks only in a folder that you have trusted: start claude there once and accept\n\
            its question. Copilot's CLI, VS Code, Cursor and Devin read this file too: do not install their own beside it.",
};

/// "Hooks", <https://developers.openai.com/codex/hooks>; schemas in `codex-rs/hooks/schema/generated` of
/// <https://github.com/openai/codex>: no member that they do not name. `decision: "block"` at `PostToolUse` replaces what
/// the model reads of its edit. Exit code 2 blocks, without an end. Its hooks may run in a server that outlives its terminals;
/// a turn that was stopped is a line of the session's file.
const CODEX: Row = Row {
    agent: Agent::Codex,
    turn_end: "Stop",
    tools: &["apply_patch"],
    settings: Some(Settings {
        variable: Some("CODEX_HOME"),
        below_home: ".codex",
        file: "hooks.json",
        in_project: ".codex/hooks.json",
        shape: grouped(Unit::Seconds, WITH_STATUS),
    }),
    project: None,
    ends_runs: true,
    seen: "0.171.0",
    needs: "Codex runs hooks only after you have trusted them: start codex, type /hooks, review each, trust it. Hooks in a\n\
            project also need the project to be trusted. After a change they have to be trusted again. Its hooks run in a\n\
            server in the background that keeps the PATH of its first start: where nixbox or nix came later, end that server.",
    ..CLAUDE_CODE
};

/// "Hooks reference", <https://geminicli.com/docs/hooks/reference>. Any exit code but 0 and 1 denies, for ever. An empty
/// stdout makes it read stderr. `decision: "deny"` at `AfterTool` would replace what the agent reads of its edit.
const GEMINI: Row = Row {
    agent: Agent::Gemini,
    family: Family::Claude("deny"),
    turn_end: "AfterAgent",
    edit: Some("AfterTool"),
    prompt: Some("BeforeAgent"),
    tools: &["write_file", "replace"],
    settings: Some(Settings {
        variable: None,
        below_home: ".gemini",
        file: "settings.json",
        in_project: ".gemini/settings.json",
        shape: grouped(Unit::Milliseconds, NAMED),
    }),
    project: Some("GEMINI_PROJECT_DIR"),
    seen: "0.61.0",
    needs: "Gemini CLI ignores a project's hooks until the folder is trusted (/permissions, or its question at the start),\n\
            and warns once of a new one.",
    ..CLAUDE_CODE
};

/// "Hooks", <https://cursor.com/docs/hooks>. `stop` cannot block, but a `followup_message` is sent as the next message, five
/// times by default. `afterFileEdit` has no answer, so `postToolUse` is installed. The user sees only stderr.
const CURSOR: Row = Row {
    agent: Agent::Cursor,
    family: Family::Cursor,
    turn_end: "stop",
    edit: Some("postToolUse"),
    prompt: None,
    tools: &["Write", "StrReplace", "ApplyPatch", "EditNotebook"],
    at_turn_end: HookEffect::Prompts,
    settings: Some(Settings {
        variable: None,
        below_home: ".cursor",
        file: "hooks.json",
        in_project: ".cursor/hooks.json",
        shape: Shape::Cursor,
    }),
    project: Some("CURSOR_PROJECT_DIR"),
    seen: "its documentation only",
    needs: "Cursor runs a project's hooks in trusted workspaces only; they are listed under Customize, Hooks. It reads\n\
            .claude/settings.json too: one of the two is enough.",
    ..CLAUDE_CODE
};

/// "Plugins", <https://opencode.ai/docs/plugins>. Nothing can block the end of a turn: the plugin (`contract/plugin.js`)
/// sends the cause as the next message. `opencode run` ends at idle, before any answer.
const OPENCODE: Row = Row {
    agent: Agent::Opencode,
    family: Family::Plugin,
    turn_end: "session.idle",
    edit: Some("tool.execute.after"),
    prompt: Some("chat.message"),
    tools: &["edit", "write", "apply_patch"],
    at_turn_end: HookEffect::Prompts,
    settings: Some(Settings {
        variable: Some("XDG_CONFIG_HOME"),
        below_home: ".config",
        file: "opencode/plugins/nixbox.js",
        in_project: ".opencode/plugins/nixbox.js",
        shape: Shape::Plugin,
    }),
    project: None,
    seen: "1.18.33; `opencode run` ends before the verdict at a turn's end",
    needs: "opencode loads plugins when it starts. `opencode run` ends with the turn, so only its edits are answered there.",
    ..CLAUDE_CODE
};

/// "GitHub Copilot hooks reference", <https://docs.github.com/en/copilot/reference/hooks-reference>; VS Code:
/// <https://code.visualstudio.com/docs/agents/reference/hooks-reference>. Payloads in two spellings; those in camelCase do
/// not name their event, which is why it is a word of the command. Exit code 2 warns in the CLI and blocks in VS Code.
const COPILOT: Row = Row {
    agent: Agent::Copilot,
    family: Family::Copilot,
    turn_end: "agentStop",
    edit: Some("postToolUse"),
    prompt: Some("userPromptSubmitted"),
    tools: &["create", "edit", "str_replace_editor", "apply_patch"],
    settings: Some(Settings {
        variable: Some("COPILOT_HOME"),
        below_home: ".copilot",
        file: "hooks/nixbox.json",
        in_project: ".github/hooks/nixbox.json",
        shape: Shape::Copilot,
    }),
    project: None,
    seen: "CLI 1.0.102; VS Code: its documentation only",
    needs: "Copilot's CLI ignores a project's hooks until the folder is trusted, and reads .claude/settings.json too: one\n\
            of the two is enough. Its cloud agent reads them from the default branch; nix and nixbox have to be there.",
    ..CLAUDE_CODE
};

/// "Hooks", <https://qwenlm.github.io/qwen-code-docs/en/users/features/hooks/>. Time-outs of 1000 and more are milliseconds,
/// whatever the version. `UserPromptSubmit` is called with each tool's result too, and with what a hook has it continue with.
const QWEN: Row = Row {
    agent: Agent::Qwen,
    tools: &["write_file", "edit"],
    settings: Some(Settings {
        variable: None,
        below_home: ".qwen",
        file: "settings.json",
        in_project: ".qwen/settings.json",
        shape: grouped(Unit::Milliseconds, &[("name", "nixbox"), ("statusMessage", STATUS)]),
    }),
    project: Some("QWEN_PROJECT_DIR"),
    seen: "0.24.4",
    needs: "Where its folder trust is on, Qwen Code runs a project's hooks only in a folder that you have trusted.",
    ..CLAUDE_CODE
};

/// "Hooks", <https://docs.factory.ai/harness/hooks>. Once there is a `hooks.json`, hooks in `settings.json` are not read.
/// At `Stop` exit code 2 blocks and 3 ends the agent. `UserPromptSubmit` is not called by `droid exec`.
const DROID: Row = Row {
    agent: Agent::Droid,
    prompt: None,
    tools: &["Create", "Edit", "ApplyPatch"],
    settings: Some(Settings {
        variable: None,
        below_home: ".factory",
        file: "hooks.json",
        in_project: ".factory/hooks.json",
        shape: Shape::Grouped { unit: Unit::Seconds, bare: true, extras: &[] },
    }),
    project: Some("FACTORY_PROJECT_DIR"),
    seen: "`droid exec` 0.215.0; its screen: its documentation only",
    needs: "Droid reads hooks when it starts, and asks you to review changed ones: /hooks. Hooks in a settings.json beside\n\
            this file are not read any more.",
    ..CLAUDE_CODE
};

/// "Lifecycle hooks", <https://docs.devin.ai/cli/extensibility/hooks/lifecycle-hooks>. A payload has no directory, and any
/// exit code but 0 may block.
const DEVIN: Row = Row {
    agent: Agent::Devin,
    prompt: None,
    tools: &["edit", "write", "apply_patch"],
    settings: Some(Settings {
        variable: None,
        below_home: ".config/devin",
        file: "config.json",
        in_project: ".devin/config.json",
        shape: grouped(Unit::Seconds, &[]),
    }),
    project: Some("DEVIN_PROJECT_DIR"),
    otherwise: "exit 0",
    seen: "its documentation only",
    needs: "Devin reads .claude/settings.json too: one of the two is enough. /hooks lists what it has loaded.",
    ..CLAUDE_CODE
};

/// "Hooks", <https://antigravity.google/docs/hooks>. A payload has `workspacePaths` and `conversationId`; what a hook says
/// after a tool is read by nobody, so only `Stop` is installed. Exit code 0 always, and JSON always.
const ANTIGRAVITY: Row = Row {
    agent: Agent::Antigravity,
    family: Family::Antigravity,
    turn_end: "Stop",
    edit: None,
    prompt: None,
    tools: &[],
    settings: Some(Settings {
        variable: None,
        below_home: ".gemini/config",
        file: "hooks.json",
        in_project: ".agents/hooks.json",
        shape: Shape::Antigravity,
    }),
    project: None,
    otherwise: "echo '{}'",
    seen: "its documentation only",
    needs: "Antigravity runs a workspace's hooks only where the workspace is trusted.",
    ..CLAUDE_CODE
};

/// "Plugins", <https://kilo.ai/docs/automate/extending/plugins>: opencode's interface.
const KILO: Row = Row {
    agent: Agent::Kilo,
    settings: Some(Settings {
        variable: Some("XDG_CONFIG_HOME"),
        below_home: ".config",
        file: "kilo/plugin/nixbox.js",
        in_project: ".kilo/plugin/nixbox.js",
        shape: Shape::Plugin,
    }),
    seen: "7.7.7; `kilo run` ends before the verdict at a turn's end",
    needs: "Kilo loads plugins when it starts. `kilo run` ends with the turn, so only its edits are answered there.",
    ..OPENCODE
};

/// Our own contract: see `contract/generic.rs`.
const GENERIC: Row = Row {
    agent: Agent::Generic,
    family: Family::Generic,
    prompt: None,
    tools: &[],
    at_turn_end: HookEffect::ExitCode,
    settings: None,
    project: None,
    seen: "any program",
    needs: "",
    ..CLAUDE_CODE
};

/// githooks(5): see `contract/git.rs`.
const GIT: Row = Row { agent: Agent::Git, family: Family::Git, ends_runs: true, seen: "git 2.39 and later", ..GENERIC };

/// In the order of the command line's list.
pub(super) const ROWS: [Row; 13] =
    [CLAUDE_CODE, CODEX, GEMINI, CURSOR, OPENCODE, COPILOT, QWEN, DROID, DEVIN, ANTIGRAVITY, KILO, GENERIC, GIT];

/// An agent's row.
pub(super) fn row(agent: Agent) -> &'static Row {
    static TABLE: [Row; 13] = ROWS;
    TABLE.iter().find(|row| row.agent == agent).unwrap_or(&TABLE[0])
}

impl Row {
    /// The agent's name on the command line.
    pub(super) fn name(&self) -> String {
        use clap::ValueEnum as _;
        self.agent.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The events that are installed: the name, whether it has a matcher, the time-out.
    pub(super) fn events(&self) -> Vec<(&'static str, bool, std::time::Duration)> {
        let end = (self.turn_end, false, TURN_END_LIMIT);
        let edit = self.edit.map(|edit| (edit, true, EDIT_LIMIT));
        let prompt = self.prompt.map(|prompt| (prompt, false, PROMPT_LIMIT));
        std::iter::once(end).chain(edit).chain(prompt).collect()
    }
}
