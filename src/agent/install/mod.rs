//! `nixbox hook install`: adds the hooks to an agent's settings, and takes them out again. Everything else in a file
//! stays as it is, byte for byte, and what was written is shown.
//!
//! Where the settings lie and how they are written is each agent's (the sources are named in [`super::contract`]).
//! Time-outs are written in its own unit, from [`TURN_END_LIMIT`] and [`EDIT_LIMIT`].

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

use self::file::Found;
use self::jsonc::Wanted;
use super::contract::matcher;
use super::{Agent, EDIT_LIMIT, TURN_END_LIMIT};
use crate::cli::InstallArgs;
use crate::failure::{Failure, Result};
use crate::resolve::git_root;
use crate::text::{quote, quoted};

/// The lines for instructions that agents read.
const INSTRUCTIONS: &str = "\
After a change to a NixOS configuration run `nixbox try`: 0 means that the machine still works, 1, 3 and 4 that it does not.
Mend the cause that it names; do not add to [allow] in nixbox.toml or leave checks out to make it pass.
`nixbox agent-guide` says more; `nixbox explain CHECK-ID` says what a check looks at.";

/// opencode's plugin, with places for the program and the time-outs.
const PLUGIN: &str = include_str!("../contract/opencode.js");

/// A new file's mode, less what the umask takes.
const MODE: u32 = 0o644;

/// How files of ours begin, in the line for that.
const WRITTEN: &str = "Written by `nixbox hook install ";

/// What there is around the command.
#[derive(Debug, Clone)]
struct Surroundings {
    home: Option<PathBuf>,
    /// Where the project begins: the git work tree's root, else the current directory.
    project: PathBuf,
    /// Directories that agents let somebody choose, by variable.
    variables: fn(&str) -> Option<OsString>,
    /// The program, as a shell finds it.
    program: String,
}

impl Surroundings {
    fn real() -> Result<Self> {
        let here = env::current_dir().map_err(|error| Failure::host("the current directory is gone").why(error))?;
        Ok(Self {
            home: etcetera::home_dir().ok(),
            project: git_root(&here).unwrap_or(here),
            variables: |name| env::var_os(name),
            program: program()?,
        })
    }

    /// A directory of the user's: what a variable says, else below the home directory.
    fn of_user(&self, variable: Option<&str>, below_home: &str) -> Result<PathBuf> {
        let chosen = variable.and_then(self.variables).filter(|directory| !directory.is_empty());
        match (chosen, &self.home) {
            (Some(directory), _) => Ok(PathBuf::from(directory)),
            (None, Some(home)) => Ok(home.join(below_home)),
            (None, None) => Err(Failure::host("there is no home directory").hint("set HOME, or use --project")),
        }
    }
}

/// `nixbox` where a shell finds this very program by that name, else its whole path.
fn program() -> Result<String> {
    let own = env::current_exe()
        .and_then(fs::canonicalize)
        .map_err(|error| Failure::host("nixbox cannot tell where it is itself").why(error))?;
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|directory| directory.join("nixbox")).find(|program| program.is_file());
    let is_found = found.and_then(|found| fs::canonicalize(found).ok()).is_some_and(|found| found == own);
    Ok(if is_found { "nixbox".to_owned() } else { own.to_string_lossy().into_owned() })
}

/// Adds or takes out an agent's hooks. Answers with what to tell the user.
///
/// # Errors
/// Exit 2 for settings that cannot be edited as they are, a hook of somebody else's in the place, and an agent that has
/// no such settings; exit 5 for this host. Nothing was written then.
pub fn install(arguments: &InstallArgs) -> Result<String> {
    install_in(arguments, &Surroundings::real()?)
}

fn install_in(arguments: &InstallArgs, around: &Surroundings) -> Result<String> {
    let agent = arguments.agent;
    let mut told = match agent {
        Agent::Generic => return Ok(generic(around)),
        Agent::Git => git(arguments, around)?,
        Agent::Opencode => plugin(arguments, around)?,
        _ => settings(arguments, around)?,
    };
    if arguments.uninstall {
        return Ok(told);
    }
    if around.program.contains('/') && !arguments.user && agent != Agent::Git {
        told.push_str("\nnixbox is not found on PATH as this program: what was written names this host's path of it\n");
    }
    if let Some(next) = next(agent) {
        told.push_str(&format!("\n{next}\n"));
    }
    told.push_str(&format!("\nlines for AGENTS.md or CLAUDE.md (nothing was written there):\n{INSTRUCTIONS}\n"));
    Ok(told)
}

/// What the user has to do before the hooks run.
fn next(agent: Agent) -> Option<&'static str> {
    Some(match agent {
        Agent::Codex => {
            "Codex runs hooks only once you have trusted them: start codex, type /hooks, review both, trust them. A\n\
             project's hooks also need the project to be trusted. After a change they have to be trusted anew."
        }
        Agent::Cursor => "Cursor runs a project's hooks in workspaces that are trusted; Customize, Hooks shows them.",
        Agent::Copilot => {
            "Copilot's cloud agent reads them from the default branch, and has neither nix nor nixbox by itself."
        }
        Agent::Opencode => "opencode loads plugins when it starts.",
        Agent::ClaudeCode | Agent::Gemini | Agent::Generic | Agent::Git => return None,
    })
}

/// Where an agent's settings lie, and what they are to have.
fn wanted(agent: Agent, user: bool, around: &Surroundings) -> Result<(PathBuf, Wanted)> {
    let in_project = |path: &str| Ok(around.project.join(path));
    let program = quote(&around.program);
    let (turn_end, edit) = (TURN_END_LIMIT.as_secs(), EDIT_LIMIT.as_secs());
    let command = |agent: &str, more: &str| format!("{program} hook {agent}{more}");
    Ok(match agent {
        Agent::ClaudeCode => {
            let path = match user {
                true => around.of_user(Some("CLAUDE_CONFIG_DIR"), ".claude")?.join("settings.json"),
                false => in_project(".claude/settings.json")?,
            };
            (
                path,
                grouped(
                    "claude-code",
                    "Stop",
                    "PostToolUse",
                    &matcher(agent),
                    |limit| json!({ "type": "command", "command": command("claude-code", ""), "timeout": limit.as_secs() }),
                ),
            )
        }
        Agent::Codex => {
            let path = match user {
                true => around.of_user(Some("CODEX_HOME"), ".codex")?.join("hooks.json"),
                false => in_project(".codex/hooks.json")?,
            };
            (
                path,
                grouped(
                    "codex",
                    "Stop",
                    "PostToolUse",
                    "apply_patch",
                    |limit| json!({ "type": "command", "command": command("codex", ""), "timeout": limit.as_secs() }),
                ),
            )
        }
        Agent::Gemini => {
            let path = match user {
                true => around.of_user(None, ".gemini/settings.json")?,
                false => in_project(".gemini/settings.json")?,
            };
            (
                path,
                grouped("gemini", "AfterAgent", "AfterTool", &matcher(agent), |limit| {
                    let milliseconds = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
                    json!({
                        "name": "nixbox", "type": "command", "command": command("gemini", ""), "timeout": milliseconds,
                    })
                }),
            )
        }
        Agent::Cursor => {
            let path = match user {
                true => around.of_user(None, ".cursor/hooks.json")?,
                false => in_project(".cursor/hooks.json")?,
            };
            let hooks = vec![
                ("stop", json!({ "command": command("cursor", ""), "timeout": turn_end })),
                (
                    "postToolUse",
                    json!({ "command": command("cursor", ""), "timeout": edit, "matcher": matcher(agent) }),
                ),
            ];
            (path, Wanted { agent: "cursor", version: Some(1), hooks })
        }
        Agent::Copilot => {
            let path = match user {
                true => around.of_user(Some("COPILOT_HOME"), ".copilot")?.join("hooks/nixbox.json"),
                false => in_project(".github/hooks/nixbox.json")?,
            };
            let stop = json!({ "type": "command", "bash": command("copilot", " agentStop"), "timeoutSec": turn_end });
            let after_edit = json!({
                "type": "command", "matcher": "create|edit|str_replace_editor|apply_patch",
                "bash": command("copilot", " postToolUse"), "timeoutSec": edit,
            });
            let hooks = vec![("agentStop", stop), ("postToolUse", after_edit)];
            (path, Wanted { agent: "copilot", version: Some(1), hooks })
        }
        Agent::Opencode | Agent::Generic | Agent::Git => {
            return Err(Failure::usage("this agent has no settings of that kind"));
        }
    })
}

/// Hooks in the form of Claude Code's: each in a group, that of the edits with a matcher.
fn grouped(
    agent: &'static str,
    turn_end: &'static str,
    after_edit: &'static str,
    matcher: &str,
    handler: impl Fn(Duration) -> Value,
) -> Wanted {
    let hooks = vec![
        (turn_end, json!({ "hooks": [handler(TURN_END_LIMIT)] })),
        (after_edit, json!({ "matcher": matcher, "hooks": [handler(EDIT_LIMIT)] })),
    ];
    Wanted { agent, version: None, hooks }
}

/// A settings file in JSON.
fn settings(arguments: &InstallArgs, around: &Surroundings) -> Result<String> {
    let (path, wanted) = wanted(arguments.agent, arguments.user, around)?;
    let found = Found::read(path)?;
    let refused = |what: String| {
        Failure::usage(format!("{} cannot be edited: {what}", found.path.display()))
            .why("nothing was changed")
            .hint(format!("mend it, or add this by hand:\n{}", wanted.alone()))
    };
    let Some(before) = &found.text else {
        if arguments.uninstall {
            return Ok(format!("{} is not there: nothing to remove\n", found.path.display()));
        }
        return change(&found, Some(&wanted.alone()), MODE, arguments.dry_run);
    };
    if arguments.uninstall {
        if *before == wanted.alone() {
            return change(&found, None, MODE, arguments.dry_run);
        }
        return match wanted.removed(before).map_err(refused)? {
            Some(after) => change(&found, Some(&after), MODE, arguments.dry_run),
            None => Ok(format!("{} has no hook of nixbox's: nothing to remove\n", found.path.display())),
        };
    }
    let after = wanted.added(before).map_err(refused)?;
    if after == *before {
        return Ok(format!("{} has the hooks already: nothing to do\n", found.path.display()));
    }
    change(&found, Some(&after), MODE, arguments.dry_run)
}

/// opencode's plugin: a file of its own.
fn plugin(arguments: &InstallArgs, around: &Surroundings) -> Result<String> {
    let path = match arguments.user {
        true => {
            let config = around.of_user(Some("XDG_CONFIG_HOME"), ".config")?;
            config.join("opencode/plugins/nixbox.js")
        }
        false => around.project.join(".opencode/plugins/nixbox.js"),
    };
    let milliseconds = |limit: Duration| limit.as_millis().to_string();
    let text = PLUGIN
        .replace("\"@PROGRAM@\"", &json!(around.program).to_string())
        .replace("@TURN_END@", &milliseconds(TURN_END_LIMIT))
        .replace("@EDIT@", &milliseconds(EDIT_LIMIT));
    own_file(arguments, Found::read(path)?, &text, MODE)
}

/// A file that is ours as a whole.
fn own_file(arguments: &InstallArgs, found: Found, text: &str, mode: u32) -> Result<String> {
    let shown = found.path.display().to_string();
    match (&found.text, arguments.uninstall) {
        (None, true) => Ok(format!("{shown} is not there: nothing to remove\n")),
        (Some(before), _) if !is_ours(before) => Err(somebodys(&found, text)),
        (Some(_), true) => change(&found, None, mode, arguments.dry_run),
        (Some(before), false) if before == text => Ok(format!("{shown} is there already: nothing to do\n")),
        (_, false) => change(&found, Some(text), mode, arguments.dry_run),
    }
}

/// Whether a file of ours alone is in the place: its second or first line says so.
fn is_ours(text: &str) -> bool {
    text.lines().take(2).any(|line| line.contains(WRITTEN))
}

fn somebodys(found: &Found, text: &str) -> Failure {
    Failure::usage(format!("{} is somebody else's", found.path.display()))
        .why("nothing was changed")
        .hint(format!("add these lines to it by hand, or move it away first:\n{}", text.trim_end()))
}

/// A repository's hooks. They let through every exit code but 1.
fn git(arguments: &InstallArgs, around: &Surroundings) -> Result<String> {
    if arguments.user {
        return Err(Failure::usage("git has no hooks of a user's own").hint("leave out --user, in each repository"));
    }
    let directory = hooks_directory(&around.project)?;
    let hooks = ["pre-commit", "pre-push"].map(|name| (directory.join(name), script(&around.program, name)));
    // Both or none.
    let mut found = Vec::new();
    for (path, text) in hooks {
        let it = Found::read(path)?;
        if it.text.as_deref().is_some_and(|text| !is_ours(text)) {
            if arguments.uninstall {
                continue;
            }
            return Err(somebodys(&it, &text));
        }
        found.push((it, text));
    }
    let mut told = String::new();
    for (it, text) in found {
        told.push_str(&own_file(arguments, it, &text, 0o755)?);
    }
    if told.is_empty() {
        told = format!("{} has no hook of nixbox's: nothing to remove\n", directory.display());
    }
    Ok(told)
}

/// The directory in which git looks for this work tree's hooks.
fn hooks_directory(project: &Path) -> Result<PathBuf> {
    let ask = |question: &[&str]| -> Result<Option<PathBuf>> {
        let asked = Command::new("git").arg("-C").arg(project).arg("rev-parse").args(question).output();
        let output = asked.map_err(|error| Failure::host("git cannot be started").why(error))?;
        let line = String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned();
        Ok((output.status.success() && !line.is_empty()).then(|| project.join(line)))
    };
    let (Some(hooks), Some(common)) = (ask(&["--git-path", "hooks"])?, ask(&["--git-common-dir"])?) else {
        return Err(Failure::usage(format!("{} is in no git work tree", project.display())));
    };
    // `core.hooksPath` may be a directory for all of somebody's repositories.
    let whole = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let inside = [&common, &project.to_owned()].iter().any(|above| whole(&hooks).starts_with(whole(above)));
    if inside {
        return Ok(hooks);
    }
    Err(Failure::usage(format!("core.hooksPath is {}, outside of this repository", hooks.display()))
        .why("what is there holds for others too; nothing was changed")
        .hint("call `nixbox hook git pre-commit` and `nixbox hook git pre-push` in the hooks there, or unset it here"))
}

/// A hook of git's. Only a broken configuration holds anything up: not a nixbox that is missing, nor one that fails.
fn script(program: &str, hook: &str) -> String {
    let program = quoted_program(program);
    format!(
        "#!/bin/sh\n\
         # {WRITTEN}git`; the same command with --uninstall takes it away.\n\
         command -v {program} >/dev/null || {{ echo 'nixbox is not there: not tested' >&2; exit 0; }}\n\
         {program} hook git {hook}\n\
         # Every other exit code is nixbox's own trouble.\n\
         [ $? -ne 1 ]\n"
    )
}

fn quoted_program(program: &str) -> String {
    if program.contains('/') { quoted(program) } else { program.to_owned() }
}

/// What to call, for whatever can start a program.
fn generic(around: &Surroundings) -> String {
    let program = quote(&around.program);
    format!(
        "call this when a piece of work is done, in the directory of the flake (up to {} s):\n  {program} hook generic\n\
         and this after an edit, with the files' names on stdin, a line each (up to {} s):\n  {program} hook generic edit\n\
         exit code 1: the configuration is broken, and stdout says why; 0: it is not, or that could not be told (stderr)\n\
         \nlines for AGENTS.md or CLAUDE.md (nothing was written there):\n{INSTRUCTIONS}\n",
        TURN_END_LIMIT.as_secs(),
        EDIT_LIMIT.as_secs(),
    )
}

/// Writes a file's new text, or removes it, and says what that changes.
fn change(found: &Found, after: Option<&str>, mode: u32, dry_run: bool) -> Result<String> {
    let before = found.text.as_deref().unwrap_or_default();
    let difference = difference(before, after.unwrap_or_default());
    let shown = found.path.display();
    let would = if dry_run { "would be " } else { "" };
    let done = match (&found.text, after) {
        (None, _) => "made",
        (Some(_), None) => "removed",
        (Some(_), Some(_)) => "changed",
    };
    if found.is_read_only() {
        return Err(Failure::usage(format!("{shown} is read-only"))
            .why("somebody may keep it elsewhere; nothing was changed")
            .hint(format!("what it would need:\n{}", difference.trim_end())));
    }
    if !dry_run {
        match after {
            Some(after) => found.write(after, mode)?,
            None => found.remove()?,
        }
    }
    Ok(format!("{shown} {would}{done}:\n{difference}"))
}

/// The lines that go and come.
fn difference(before: &str, after: &str) -> String {
    let mut told = String::new();
    for change in TextDiff::from_lines(before, after).iter_all_changes() {
        let sign = match change.tag() {
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
            ChangeTag::Equal => continue,
        };
        told.push_str(&format!("{sign} {}\n", change.value().trim_end_matches(['\r', '\n'])));
    }
    told
}

#[cfg(test)]
mod tests;
