//! `nixbox hook install`: adds the hooks to an agent's settings, and removes them again. Everything else in a file stays
//! as it is, byte for byte, and the change is shown.
//!
//! The place and the format of the settings are in the agent's row ([`super::table`]). Every command that is written ends
//! with an exit code that its agent takes for no verdict, whatever becomes of nixbox: missing, older, newer or broken.

mod file;
mod jsonc;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Map, Value, json};
use similar::{ChangeTag, TextDiff};

use self::file::TargetFile;
use self::jsonc::HookSet;
use super::Agent;
use super::table::{Row, Shape, Unit, row};
use crate::cli::InstallArgs;
use crate::failure::{Failure, Result};
use crate::model::timeouts::agent::{EDIT_LIMIT, PROMPT_LIMIT, TURN_END_LIMIT};
use crate::resolve::git_root;
use crate::text::quote;

/// Lines for a file of instructions for agents.
const INSTRUCTIONS: &str = "\
After a change to a NixOS configuration run `nixbox try`. Exit code 0: the machine still works; 1, 3, 4: the configuration
is broken; 2: wrong arguments or nixbox.toml; 5: could not be tested, do not change the configuration because of it.
Fix the reported cause; do not add to [allow] in nixbox.toml or skip checks to make it pass.
More: `nixbox agent-guide`; about a check: `nixbox explain CHECK-ID`.";

/// The plugin of opencode's family, with placeholders for the program, the agent and the time-outs.
const PLUGIN: &str = include_str!("../contract/plugin.js");

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
    fn path(&self, row: &Row, user: bool) -> Result<PathBuf> {
        let Some(settings) = row.settings else { return Err(Failure::usage("this agent has no settings file")) };
        if !user {
            return Ok(self.project.join(settings.in_project));
        }
        let chosen = settings.variable.and_then(self.variables).filter(|directory| !directory.is_empty());
        let directory = match (chosen, &self.home) {
            (Some(directory), _) => PathBuf::from(directory),
            (None, Some(home)) => home.join(settings.below_home),
            (None, None) => return Err(Failure::host("there is no home directory").hint("set HOME, or use --project")),
        };
        Ok(directory.join(settings.file))
    }

    /// The program in a file that others share, or in one of this host's.
    fn program(&self, is_shared: bool) -> &str {
        if is_shared { NAME } else { &self.program }
    }

    /// Whether a shell finds this program by its name.
    fn is_on_path(&self) -> bool {
        self.program == NAME
    }
}

/// The program's name.
const NAME: &str = "nixbox";

/// `nixbox` if a shell finds this program by that name, else its absolute path.
fn program() -> Result<String> {
    let own = env::current_exe()
        .and_then(fs::canonicalize)
        .map_err(|error| Failure::host("the path of this nixbox cannot be determined").because(error))?;
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|directory| directory.join(NAME)).find(|program| program.is_file());
    let is_found = found.and_then(|found| fs::canonicalize(found).ok()).is_some_and(|found| found == own);
    Ok(if is_found { NAME.to_owned() } else { own.to_string_lossy().into_owned() })
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
    let row = row(agent);
    let mut output = match agent {
        Agent::Generic => return Ok(generic(&environment.program)),
        Agent::Git => git(arguments, environment)?,
        _ => {
            let file = TargetFile::read(environment.path(row, arguments.user)?)?;
            let program = environment.program(!arguments.user);
            match hook_set(row, program) {
                Some(hooks) => settings(arguments, &file, &hooks)?,
                None => own_file(arguments, &file, &plugin(row, program), MODE)?,
            }
        }
    };
    if arguments.uninstall {
        return Ok(output);
    }
    if !environment.is_on_path() && !arguments.user && agent != Agent::Git {
        output.push_str(
            "\nthis nixbox is not on PATH: the hooks name it without a path, since others share the file, and do nothing\n\
             until a shell finds `nixbox`\n",
        );
    }
    if !row.needs.is_empty() {
        output.push_str(&format!("\n{}\n", row.needs));
    }
    output.push_str(&instructions());
    Ok(output)
}

fn instructions() -> String {
    format!("\nsuggested lines for AGENTS.md or CLAUDE.md (not written):\n{INSTRUCTIONS}\n")
}

/// The hooks for an agent's settings in JSON; `None` for agents without such settings.
fn hook_set(row: &Row, program: &str) -> Option<HookSet> {
    let name = row.name();
    let command = |event: Option<&str>| {
        let words = event.map_or_else(|| name.clone(), |event| format!("{name} {event}"));
        format!("{} hook {words} || {}", quote(program), row.otherwise)
    };
    let matcher = row.tools.join("|");
    let shape = row.settings?.shape;
    let entry = |event: &str, has_matcher: bool, limit: Duration| match shape {
        Shape::Grouped { unit, extras, .. } => {
            let mut handler = Map::new();
            let mut set = |key: &str, value: Value| handler.insert(key.to_owned(), value);
            set("type", json!("command"));
            set("command", json!(command(None)));
            set("timeout", json!(in_unit(limit, unit)));
            // What is over at once needs no line on the screen.
            let shown = |key: &str| row.prompt != Some(event) || key == "name";
            for (key, value) in extras.iter().filter(|(key, _)| shown(key)) {
                set(key, json!(value));
            }
            if has_matcher { json!({ "matcher": matcher, "hooks": [handler] }) } else { json!({ "hooks": [handler] }) }
        }
        Shape::Cursor if has_matcher => {
            json!({ "command": command(None), "timeout": limit.as_secs(), "matcher": matcher })
        }
        Shape::Cursor => json!({ "command": command(None), "timeout": limit.as_secs() }),
        Shape::Copilot if has_matcher => json!({
            "type": "command", "matcher": matcher, "bash": command(Some(event)), "timeoutSec": limit.as_secs(),
        }),
        Shape::Copilot => {
            json!({ "type": "command", "bash": command(Some(event)), "timeoutSec": limit.as_secs() })
        }
        Shape::Antigravity | Shape::Plugin => {
            json!({ "type": "command", "command": command(Some(event)), "timeout": limit.as_secs() })
        }
    };
    let hooks = row.events().into_iter().map(|(event, matcher, limit)| (event, entry(event, matcher, limit))).collect();
    let (version, below) = match shape {
        Shape::Plugin => return None,
        Shape::Grouped { bare: true, .. } => (None, None),
        Shape::Grouped { .. } => (None, Some("hooks")),
        Shape::Cursor | Shape::Copilot => (Some(1), Some("hooks")),
        Shape::Antigravity => (None, Some(NAME)),
    };
    Some(HookSet { agent: name, version, below, hooks })
}

fn in_unit(limit: Duration, unit: Unit) -> u64 {
    match unit {
        Unit::Seconds => limit.as_secs(),
        Unit::Milliseconds => u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
    }
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

/// A plugin: a file of its own.
fn plugin(row: &Row, program: &str) -> String {
    let milliseconds = |limit: Duration| in_unit(limit, Unit::Milliseconds).to_string();
    PLUGIN
        .replace("\"@PROGRAM@\"", &json!(program).to_string())
        .replace("@AGENT@", &row.name())
        .replace("@TURN_END@", &milliseconds(TURN_END_LIMIT))
        .replace("@PROMPT@", &milliseconds(PROMPT_LIMIT))
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
    let (directory, is_shared) = hooks_directory(&environment.project)?;
    let mut files = Vec::new();
    for name in ["pre-commit", "pre-push"] {
        let file = TargetFile::read(directory.join(name))?;
        if !(arguments.uninstall && is_foreign(&file)) {
            files.push((file, script(environment.program(is_shared), name)));
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

/// The directory of this work tree's hooks, and whether it is part of the work tree.
fn hooks_directory(project: &Path) -> Result<(PathBuf, bool)> {
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
    if canonical(&hooks).starts_with(canonical(&common)) {
        return Ok((hooks, false));
    }
    if canonical(&hooks).starts_with(canonical(project)) {
        return Ok((hooks, true));
    }
    Err(Failure::usage(format!("core.hooksPath is {}, outside this repository", hooks.display()))
        .why("the hooks there run for other repositories too; nothing was changed")
        .hint("call `nixbox hook git pre-commit` and `nixbox hook git pre-push` in the hooks there, or unset core.hooksPath here"))
}

/// A git hook. Only a verdict blocks: neither a missing nixbox nor one that fails does, with whatever exit code.
fn script(program: &str, hook: &str) -> String {
    let program = quote(program);
    format!(
        "#!/bin/sh\n\
         # {MARKER}git`; the same command with --uninstall removes it.\n\
         command -v {program} >/dev/null || {{ \
         echo 'nixbox is not on PATH: the configuration was not tested, and nothing is blocked' >&2; exit 0; }}\n\
         said=$({program} hook git {hook} 2>&1)\n\
         code=$?\n\
         [ -z \"$said\" ] || printf '%s\\n' \"$said\" >&2\n\
         # Anything else is a failure of nixbox itself.\n\
         case $code-$said in '1-nixbox: fail'*) exit 1 ;; esac\n"
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
