//! `nixbox hook install`: adds the hooks to an agent's settings, and removes them again. Everything else in a file stays
//! as it is, byte for byte, and the change is shown.
//!
//! The place and the format of the settings depend on the agent (sources: [`super::contract`]). Time-outs are written in
//! its own unit, from [`TURN_END_LIMIT`] and [`EDIT_LIMIT`].

mod file;
mod jsonc;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};

use self::file::TargetFile;
use self::jsonc::HookSet;
use super::Agent;
use super::contract::matcher;
use crate::cli::InstallArgs;
use crate::failure::{Failure, Result};
use crate::model::timeouts::agent::{EDIT_LIMIT, TURN_END_LIMIT};
use crate::resolve::git_root;
use crate::text::quote;

/// Lines for a file of instructions for agents.
const INSTRUCTIONS: &str = "\
After a change to a NixOS configuration run `nixbox try`: exit code 0 means that the machine still works, 1, 3 and 4 that it does not.
Fix the reported cause; do not add to [allow] in nixbox.toml or skip checks to make it pass.
More: `nixbox agent-guide`; about a check: `nixbox explain CHECK-ID`.";

/// opencode's plugin, with placeholders for the program and the time-outs.
const PLUGIN: &str = include_str!("../contract/opencode.js");

/// Modes of new files, before the umask.
const MODE: u32 = 0o644;
const SCRIPT_MODE: u32 = 0o755;

/// What marks files that nixbox wrote as a whole, in their first or second line.
const MARKER: &str = "Written by `nixbox hook install ";

/// What the command depends on besides its arguments.
#[derive(Debug, Clone)]
struct Environment {
    home: Option<PathBuf>,
    /// The project: the git work tree's root, else the current directory.
    project: PathBuf,
    /// Environment variables.
    variables: fn(&str) -> Option<OsString>,
    /// The program, as a shell finds it.
    program: String,
}

impl Environment {
    fn current() -> Result<Self> {
        let here = env::current_dir()
            .map_err(|error| Failure::host("the current directory does not exist any more").because(error))?;
        Ok(Self {
            home: etcetera::home_dir().ok(),
            project: git_root(&here).unwrap_or(here),
            variables: |name| env::var_os(name),
            program: program()?,
        })
    }

    /// The file from which an agent reads its hooks, in the project or for the user.
    fn path(&self, agent: Agent, user: bool) -> Result<PathBuf> {
        // The variable for the user's directory, its default below the home, the file in it, the file in a project.
        let (variable, below_home, file, in_project) = match agent {
            Agent::ClaudeCode => (Some("CLAUDE_CONFIG_DIR"), ".claude", "settings.json", ".claude/settings.json"),
            Agent::Codex => (Some("CODEX_HOME"), ".codex", "hooks.json", ".codex/hooks.json"),
            Agent::Gemini => (None, ".gemini", "settings.json", ".gemini/settings.json"),
            Agent::Cursor => (None, ".cursor", "hooks.json", ".cursor/hooks.json"),
            Agent::Copilot => (Some("COPILOT_HOME"), ".copilot", "hooks/nixbox.json", ".github/hooks/nixbox.json"),
            Agent::Opencode => {
                (Some("XDG_CONFIG_HOME"), ".config", "opencode/plugins/nixbox.js", ".opencode/plugins/nixbox.js")
            }
            Agent::Generic | Agent::Git => return Err(Failure::usage("this agent has no settings file")),
        };
        if !user {
            return Ok(self.project.join(in_project));
        }
        let chosen = variable.and_then(self.variables).filter(|directory| !directory.is_empty());
        let directory = match (chosen, &self.home) {
            (Some(directory), _) => PathBuf::from(directory),
            (None, Some(home)) => home.join(below_home),
            (None, None) => return Err(Failure::host("there is no home directory").hint("set HOME, or use --project")),
        };
        Ok(directory.join(file))
    }
}

/// `nixbox` if a shell finds this program by that name, else its absolute path.
fn program() -> Result<String> {
    let own = env::current_exe()
        .and_then(fs::canonicalize)
        .map_err(|error| Failure::host("the path of this nixbox cannot be determined").because(error))?;
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|directory| directory.join("nixbox")).find(|program| program.is_file());
    let is_found = found.and_then(|found| fs::canonicalize(found).ok()).is_some_and(|found| found == own);
    Ok(if is_found { "nixbox".to_owned() } else { own.to_string_lossy().into_owned() })
}

/// Adds or removes an agent's hooks. Returns what to show the user.
///
/// # Errors
/// Exit 2 for settings that cannot be edited, a foreign file in the place, and an agent without such settings; exit 5 for
/// this host. Nothing was written then.
pub fn install(arguments: &InstallArgs) -> Result<String> {
    install_in(arguments, &Environment::current()?)
}

fn install_in(arguments: &InstallArgs, environment: &Environment) -> Result<String> {
    let agent = arguments.agent;
    let program = &environment.program;
    let mut output = match agent {
        Agent::Generic => return Ok(generic(program)),
        Agent::Git => git(arguments, environment)?,
        _ => {
            let file = TargetFile::read(environment.path(agent, arguments.user)?)?;
            match hook_set(agent, program) {
                Some(hooks) => settings(arguments, &file, &hooks)?,
                None => own_file(arguments, &file, &plugin(program), MODE)?,
            }
        }
    };
    if arguments.uninstall {
        return Ok(output);
    }
    if program.contains('/') && !arguments.user && agent != Agent::Git {
        output.push_str("\nthis nixbox is not on PATH, so the hooks contain its path on this host\n");
    }
    if let Some(next) = next_steps(agent) {
        output.push_str(&format!("\n{next}\n"));
    }
    output.push_str(&instructions());
    Ok(output)
}

fn instructions() -> String {
    format!("\nsuggested lines for AGENTS.md or CLAUDE.md (not written):\n{INSTRUCTIONS}\n")
}

/// What the user has to do before the hooks run.
fn next_steps(agent: Agent) -> Option<&'static str> {
    Some(match agent {
        Agent::Codex => {
            "Codex runs hooks only after you have trusted them: start codex, type /hooks, review both, trust them. Hooks in\n\
             a project also need the project to be trusted. After a change they have to be trusted again."
        }
        Agent::Cursor => {
            "Cursor runs a project's hooks in trusted workspaces only; they are listed under Customize, Hooks."
        }
        Agent::Copilot => {
            "Copilot's cloud agent reads them from the default branch; nix and nixbox have to be installed there."
        }
        Agent::Opencode => "opencode loads plugins when it starts.",
        Agent::ClaudeCode | Agent::Gemini | Agent::Generic | Agent::Git => return None,
    })
}

/// The hooks for an agent's settings in JSON; `None` for agents without such settings.
fn hook_set(agent: Agent, program: &str) -> Option<HookSet> {
    let (turn_end, edit) = (TURN_END_LIMIT.as_secs(), EDIT_LIMIT.as_secs());
    let command = |arguments: &str| format!("{} hook {arguments}", quote(program));
    let claude = |agent: &str, limit: Duration| json!({ "type": "command", "command": command(agent), "timeout": limit.as_secs() });
    let edits = matcher(agent);
    Some(match agent {
        Agent::ClaudeCode => {
            grouped("claude-code", ["Stop", "PostToolUse"], &edits, |limit| claude("claude-code", limit))
        }
        Agent::Codex => grouped("codex", ["Stop", "PostToolUse"], "apply_patch", |limit| claude("codex", limit)),
        Agent::Gemini => grouped("gemini", ["AfterAgent", "AfterTool"], &edits, |limit| {
            let milliseconds = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
            json!({ "name": "nixbox", "type": "command", "command": command("gemini"), "timeout": milliseconds })
        }),
        Agent::Cursor => {
            let stop = json!({ "command": command("cursor"), "timeout": turn_end });
            let after_edit = json!({ "command": command("cursor"), "timeout": edit, "matcher": edits });
            HookSet { agent: "cursor", version: Some(1), hooks: vec![("stop", stop), ("postToolUse", after_edit)] }
        }
        Agent::Copilot => {
            let stop = json!({ "type": "command", "bash": command("copilot agentStop"), "timeoutSec": turn_end });
            let after_edit = json!({
                "type": "command", "matcher": "create|edit|str_replace_editor|apply_patch",
                "bash": command("copilot postToolUse"), "timeoutSec": edit,
            });
            let hooks = vec![("agentStop", stop), ("postToolUse", after_edit)];
            HookSet { agent: "copilot", version: Some(1), hooks }
        }
        Agent::Opencode | Agent::Generic | Agent::Git => return None,
    })
}

/// Hooks in Claude Code's format: each handler in a group, the one for edits with a matcher.
fn grouped(
    agent: &'static str,
    [turn_end, after_edit]: [&'static str; 2],
    matcher: &str,
    handler: impl Fn(Duration) -> Value,
) -> HookSet {
    let hooks = vec![
        (turn_end, json!({ "hooks": [handler(TURN_END_LIMIT)] })),
        (after_edit, json!({ "matcher": matcher, "hooks": [handler(EDIT_LIMIT)] })),
    ];
    HookSet { agent, version: None, hooks }
}

/// A settings file in JSON.
fn settings(arguments: &InstallArgs, file: &TargetFile, hooks: &HookSet) -> Result<String> {
    let alone = hooks.alone();
    let after = match &file.text {
        None => (!arguments.uninstall).then_some(Ok(alone.clone())),
        Some(before) if !arguments.uninstall => Some(hooks.added(before)),
        Some(before) => (*before != alone).then(|| hooks.removed(before)),
    };
    let after = after.transpose().map_err(|what| {
        Failure::usage(format!("{} cannot be edited: {what}", file.path.display()))
            .why("nothing was changed")
            .hint(format!("fix it, or add this manually:\n{alone}"))
    })?;
    change(arguments, file, after.as_deref(), MODE)
}

/// opencode's plugin: a file of its own.
fn plugin(program: &str) -> String {
    let milliseconds = |limit: Duration| limit.as_millis().to_string();
    PLUGIN
        .replace("\"@PROGRAM@\"", &json!(program).to_string())
        .replace("@TURN_END@", &milliseconds(TURN_END_LIMIT))
        .replace("@EDIT@", &milliseconds(EDIT_LIMIT))
}

/// A file that is written as a whole.
fn own_file(arguments: &InstallArgs, file: &TargetFile, text: &str, mode: u32) -> Result<String> {
    refuse_foreign(file, text)?;
    change(arguments, file, (!arguments.uninstall).then_some(text), mode)
}

fn refuse_foreign(file: &TargetFile, text: &str) -> Result<()> {
    if !is_foreign(file) {
        return Ok(());
    }
    Err(Failure::usage(format!("{} was not written by nixbox", file.path.display()))
        .why("nothing was changed")
        .hint(format!("add these lines to it manually, or move it away first:\n{}", text.trim_end())))
}

/// Whether the file exists and was not written by nixbox.
fn is_foreign(file: &TargetFile) -> bool {
    file.text.as_ref().is_some_and(|text| !text.lines().take(2).any(|line| line.contains(MARKER)))
}

/// A repository's hooks. They ignore every exit code but 1.
fn git(arguments: &InstallArgs, environment: &Environment) -> Result<String> {
    if arguments.user {
        return Err(Failure::usage("git has no per-user hooks").hint("run this without --user in each repository"));
    }
    let directory = hooks_directory(&environment.project)?;
    let mut files = Vec::new();
    for name in ["pre-commit", "pre-push"] {
        let file = TargetFile::read(directory.join(name))?;
        if !(arguments.uninstall && is_foreign(&file)) {
            files.push((file, script(&environment.program, name)));
        }
    }
    // Either both hooks are written or none.
    for (file, text) in &files {
        refuse_foreign(file, text)?;
    }
    let mut output = String::new();
    for (file, text) in &files {
        output.push_str(&own_file(arguments, file, text, SCRIPT_MODE)?);
    }
    if output.is_empty() {
        output = format!("{} has no nixbox hooks: nothing to remove\n", directory.display());
    }
    Ok(output)
}

/// The directory of this work tree's hooks.
fn hooks_directory(project: &Path) -> Result<PathBuf> {
    let query = |words: &[&str]| -> Result<Option<PathBuf>> {
        let output = Command::new("git").arg("-C").arg(project).arg("rev-parse").args(words).output();
        let output = output.map_err(|error| Failure::host("git cannot be started").because(error))?;
        let line = String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned();
        Ok((output.status.success() && !line.is_empty()).then(|| project.join(line)))
    };
    let (Some(hooks), Some(common)) = (query(&["--git-path", "hooks"])?, query(&["--git-common-dir"])?) else {
        return Err(Failure::usage(format!("{} is not in a git work tree", project.display())));
    };
    // `core.hooksPath` may be a directory for all of the user's repositories.
    let canonical = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if [&common, project].iter().any(|above| canonical(&hooks).starts_with(canonical(above))) {
        return Ok(hooks);
    }
    Err(Failure::usage(format!("core.hooksPath is {}, outside this repository", hooks.display()))
        .why("the hooks there run for other repositories too; nothing was changed")
        .hint("call `nixbox hook git pre-commit` and `nixbox hook git pre-push` in the hooks there, or unset core.hooksPath here"))
}

/// A git hook. Only a broken configuration blocks: neither a missing nixbox nor one that fails does.
fn script(program: &str, hook: &str) -> String {
    let program = quote(program);
    format!(
        "#!/bin/sh\n\
         # {MARKER}git`; the same command with --uninstall removes it.\n\
         command -v {program} >/dev/null || {{ echo 'nixbox not found: not tested' >&2; exit 0; }}\n\
         {program} hook git {hook}\n\
         # Any other exit code is a failure of nixbox itself.\n\
         [ $? -ne 1 ]\n"
    )
}

/// What to call, for anything that can start a program.
fn generic(program: &str) -> String {
    let program = quote(program);
    format!(
        "at the end of a task, in the directory of the flake (takes up to {} s):\n  {program} hook generic\n\
         after an edit, with the names of the files on stdin, one per line (takes up to {} s):\n  \
         {program} hook generic edit\n\
         exit code 1: the configuration is broken, with the cause on stdout; 0: it is not, or no verdict (see stderr)\n{}",
        TURN_END_LIMIT.as_secs(),
        EDIT_LIMIT.as_secs(),
        instructions(),
    )
}

/// Writes a file's new text, or removes it, and returns the difference for the user.
fn change(arguments: &InstallArgs, file: &TargetFile, after: Option<&str>, mode: u32) -> Result<String> {
    let shown = file.path.display();
    let done = match (file.text.as_deref(), after) {
        (None, None) => return Ok(format!("{shown} does not exist: nothing to remove\n")),
        (Some(before), Some(after)) if before == after => {
            return Ok(match arguments.uninstall {
                true => format!("{shown} has no nixbox hooks: nothing to remove\n"),
                false => format!("{shown} is up to date: nothing to do\n"),
            });
        }
        (None, Some(_)) => "created",
        (Some(_), None) => "removed",
        (Some(_), Some(_)) => "changed",
    };
    let difference = difference(file.text.as_deref().unwrap_or_default(), after.unwrap_or_default());
    if file.is_read_only() {
        return Err(Failure::usage(format!("{shown} is read-only"))
            .why("it may be generated (by home-manager, for example); nothing was changed")
            .hint(format!("it needs this change:\n{}", difference.trim_end())));
    }
    let would = if arguments.dry_run { "would be " } else { "" };
    match after {
        _ if arguments.dry_run => {}
        Some(after) => file.write(after, mode)?,
        None => file.remove()?,
    }
    Ok(format!("{shown} {would}{done}:\n{difference}"))
}

/// The removed and the added lines.
fn difference(before: &str, after: &str) -> String {
    let line = |change: similar::Change<&str>| {
        let sign = match change.tag() {
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
            ChangeTag::Equal => return None,
        };
        Some(format!("{sign} {}\n", change.value().trim_end_matches(['\r', '\n'])))
    };
    TextDiff::from_lines(before, after).iter_all_changes().filter_map(line).collect()
}

#[cfg(test)]
mod tests;
