//! The agents: how each is set up, started without a screen, and edits a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::server::Step;

/// What each is asked for.
pub(crate) const PROMPT: &str = "Change the machine";

/// An agent, pinned: scripts/lib.sh installs these versions.
pub(crate) struct Driver {
    /// On nixbox's command line.
    pub(crate) name: &'static str,
    /// Its package in the directory of all agents, and its program.
    pub(crate) program: &'static str,
    /// The tool whose offer tells the conversation from other requests.
    pub(crate) tool: &'static str,
    /// What stands in the result of an edit that succeeded.
    pub(crate) edited: &'static str,
    /// It runs as a server, which is asked by HTTP: without one it ends before the verdict at a turn's end.
    pub(crate) serves: bool,
    pub(crate) set_up: fn(&Place),
    pub(crate) edit: fn(&Path, &str, &str) -> Vec<Step>,
    pub(crate) look: fn(&Path) -> Step,
    pub(crate) start: fn(&Place, &str) -> Command,
    /// What answers its question at the start on a terminal: Codex recommends another model.
    pub(crate) answer: &'static str,
    /// Why Esc ends no hook there.
    pub(crate) no_escape: Option<&'static str>,
    /// The same on a terminal, where it goes on after the turn; Droid, which wants an account for that, ends.
    pub(crate) on_a_terminal: fn(&Place, &str) -> Command,
}

/// Where an agent works: a home of its own, a project, and a model server.
pub(crate) struct Place {
    pub(crate) home: PathBuf,
    pub(crate) project: PathBuf,
    pub(crate) agents: PathBuf,
    pub(crate) port: u16,
}

impl Place {
    fn write(&self, path: &str, text: &str) {
        let path = self.home.join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    fn write_json(&self, path: &str, value: &Value) {
        self.write(path, &value.to_string());
    }

    fn command(&self, program: &str) -> Command {
        Command::new(self.agents.join(program))
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

pub(crate) const DRIVERS: [Driver; 8] = [CLAUDE_CODE, CODEX, GEMINI, OPENCODE, COPILOT, QWEN, DROID, KILO];

const CLAUDE_CODE: Driver = Driver {
    name: "claude-code",
    program: "claude-code/node_modules/.bin/claude",
    tool: "Edit",
    edited: "has been updated",
    serves: false,
    answer: "\r",
    no_escape: None,
    set_up: |place| {
        let project = json!({ "hasTrustDialogAccepted": true, "hasCompletedProjectOnboarding": true });
        let projects = json!({ text(&place.project): project });
        place.write_json(".claude.json", &json!({ "hasCompletedOnboarding": true, "projects": projects }));
    },
    edit: |file, old, new| {
        vec![
            Step::Call("Read", json!({ "file_path": file })),
            Step::Call("Edit", json!({ "file_path": file, "old_string": old, "new_string": new })),
        ]
    },
    look: |file| Step::Call("Read", json!({ "file_path": file })),
    start: |place, prompt| {
        let mut command = place.command("claude-code/node_modules/.bin/claude");
        command.args(["-p", prompt, "--permission-mode", "acceptEdits", "--model", "claude-sonnet-4-5"]);
        command.env("ANTHROPIC_BASE_URL", place.url("")).env("ANTHROPIC_API_KEY", "dummy");
        command.env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1").env("DISABLE_AUTOUPDATER", "1");
        command
    },
    on_a_terminal: |place, prompt| {
        let mut command = place.command("claude-code/node_modules/.bin/claude");
        command.args(["--permission-mode", "acceptEdits", "--model", "claude-sonnet-4-5", prompt]);
        command.env("ANTHROPIC_BASE_URL", place.url("")).env("ANTHROPIC_AUTH_TOKEN", "dummy");
        command.env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1").env("DISABLE_AUTOUPDATER", "1");
        command
    },
};

const CODEX: Driver = Driver {
    name: "codex",
    program: "codex/node_modules/.bin/codex",
    tool: "apply_patch",
    edited: "Success. Updated the following files",
    serves: false,
    answer: "\u{1b}[B\r",
    no_escape: None,
    set_up: |place| {
        let config = format!(
            "model = \"gpt-5.5\"\nmodel_provider = \"scripted\"\n\
             [model_providers.scripted]\nname = \"scripted\"\nbase_url = \"{}\"\nwire_api = \"responses\"\n\
             [projects.{}]\ntrust_level = \"trusted\"\n",
            place.url("/v1"),
            json!(place.project),
        );
        place.write(".codex/config.toml", &config);
    },
    edit: |file, old, new| {
        let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
        vec![Step::Patch(format!(
            "*** Begin Patch\n*** Update File: {name}\n@@\n-{}\n+{}\n*** End Patch\n",
            old.trim_end(),
            new.trim_end()
        ))]
    },
    look: |file| Step::Call("exec_command", json!({ "cmd": format!("cat {}", text(file)) })),
    start: |place, prompt| {
        let mut command = place.command("codex/node_modules/.bin/codex");
        command.args(["exec", "--dangerously-bypass-approvals-and-sandbox", "--dangerously-bypass-hook-trust", prompt]);
        command
    },
    on_a_terminal: |place, prompt| {
        let mut command = place.command("codex/node_modules/.bin/codex");
        command.args(["--dangerously-bypass-approvals-and-sandbox", "--dangerously-bypass-hook-trust", prompt]);
        command
    },
};

const GEMINI: Driver = Driver {
    name: "gemini",
    program: "gemini/node_modules/.bin/gemini",
    tool: "replace",
    edited: "Successfully modified file",
    serves: false,
    answer: "\r",
    no_escape: Some("Gemini CLI goes on with a hook after Esc, and tells it nothing"),
    set_up: |place| {
        let settings = json!({
            "security": { "auth": { "selectedType": "gemini-api-key" }, "folderTrust": { "enabled": true } },
            "privacy": { "usageStatisticsEnabled": false },
            "general": { "enableAutoUpdate": false, "disableAutoUpdate": true },
        });
        place.write_json(".gemini/settings.json", &settings);
        place.write_json(".gemini/trustedFolders.json", &json!({ text(&place.project): "TRUST_FOLDER" }));
    },
    edit: |file, old, new| {
        let arguments = json!({ "file_path": file, "instruction": "edit", "old_string": old, "new_string": new });
        vec![Step::Call("replace", arguments)]
    },
    look: |file| Step::Call("read_file", json!({ "file_path": file })),
    start: |place, prompt| {
        let mut command = place.command("gemini/node_modules/.bin/gemini");
        command.args(["-p", prompt, "--approval-mode", "auto_edit", "-m", "gemini-2.5-pro"]);
        command.env("GEMINI_API_KEY", "dummy").env("GOOGLE_GEMINI_BASE_URL", place.url(""));
        command
    },
    on_a_terminal: |place, prompt| {
        let mut command = place.command("gemini/node_modules/.bin/gemini");
        command.args(["-i", prompt, "--approval-mode", "auto_edit", "-m", "gemini-2.5-pro"]);
        command.env("GEMINI_API_KEY", "dummy").env("GOOGLE_GEMINI_BASE_URL", place.url(""));
        command
    },
};

/// What opencode and Kilo, which is made of it, are told of the model.
fn opencodes_settings(place: &Place) -> Value {
    let provider = json!({
        "npm": "@ai-sdk/openai-compatible", "name": "scripted",
        "options": { "baseURL": place.url("/v1"), "apiKey": "dummy" },
        "models": { "scripted": { "name": "scripted", "tool_call": true } },
    });
    json!({
        "provider": { "scripted": provider }, "model": "scripted/scripted", "small_model": "scripted/scripted",
        "autoupdate": false, "share": "disabled", "permission": "allow",
    })
}

const OPENCODE: Driver = Driver {
    name: "opencode",
    program: "opencode/node_modules/.bin/opencode",
    tool: "edit",
    edited: "Edit applied successfully",
    serves: true,
    answer: "\r",
    no_escape: Some("opencode's turn has ended when it is tested: Esc ends nothing, the next message does"),
    set_up: |place| place.write_json(".config/opencode/opencode.json", &opencodes_settings(place)),
    edit: |file, old, new| {
        vec![
            Step::Call("read", json!({ "filePath": file })),
            Step::Call("edit", json!({ "filePath": file, "oldString": old, "newString": new })),
        ]
    },
    look: |file| Step::Call("read", json!({ "filePath": file })),
    start: |place, _| {
        let mut command = place.command("opencode/node_modules/.bin/opencode");
        command.args(["serve", "--hostname", "127.0.0.1", "--port", "0"]).env("OPENCODE_DISABLE_MODELS_FETCH", "1");
        command
    },
    on_a_terminal: |place, prompt| {
        let mut command = place.command("opencode/node_modules/.bin/opencode");
        command.args(["--prompt", prompt]).env("OPENCODE_DISABLE_MODELS_FETCH", "1");
        command
    },
};

const COPILOT: Driver = Driver {
    name: "copilot",
    program: "copilot/node_modules/.bin/copilot",
    tool: "edit",
    edited: "updated with changes",
    serves: false,
    answer: "\r",
    no_escape: None,
    set_up: |place| {
        place.write_json(".copilot/config.json", &json!({ "trusted_folders": [place.project] }));
    },
    edit: |file, old, new| vec![Step::Call("edit", json!({ "path": file, "old_str": old, "new_str": new }))],
    look: |file| Step::Call("view", json!({ "path": file })),
    start: |place, prompt| {
        let mut command = place.command("copilot/node_modules/.bin/copilot");
        command.args(["-p", prompt, "--allow-all-tools", "--allow-all-paths"]);
        command.env("COPILOT_PROVIDER_BASE_URL", place.url("/v1")).env("COPILOT_PROVIDER_API_KEY", "dummy");
        command.env("COPILOT_MODEL", "gpt-4.1").env("COPILOT_OFFLINE", "true").env("COPILOT_AUTO_UPDATE", "false");
        command
    },
    on_a_terminal: |place, prompt| {
        let mut command = place.command("copilot/node_modules/.bin/copilot");
        command.args(["-i", prompt, "--allow-all-tools", "--allow-all-paths"]);
        command.env("COPILOT_PROVIDER_BASE_URL", place.url("/v1")).env("COPILOT_PROVIDER_API_KEY", "dummy");
        command.env("COPILOT_MODEL", "gpt-4.1").env("COPILOT_OFFLINE", "true").env("COPILOT_AUTO_UPDATE", "false");
        command
    },
};

const QWEN: Driver = Driver {
    name: "qwen",
    program: "qwen/node_modules/.bin/qwen",
    tool: "edit",
    edited: "has been updated",
    serves: false,
    answer: "\r",
    no_escape: None,
    set_up: |place| {
        let settings = json!({
            "security": { "auth": { "selectedType": "openai" }, "folderTrust": { "enabled": true } },
            "privacy": { "usageStatisticsEnabled": false },
            "general": { "enableAutoUpdate": false },
        });
        place.write_json(".qwen/settings.json", &settings);
        place.write_json(".qwen/trustedFolders.json", &json!({ text(&place.project): "TRUST_FOLDER" }));
    },
    edit: |file, old, new| {
        vec![
            Step::Call("read_file", json!({ "file_path": file })),
            Step::Call("edit", json!({ "file_path": file, "old_string": old, "new_string": new })),
        ]
    },
    look: |file| Step::Call("read_file", json!({ "file_path": file })),
    start: |place, prompt| {
        let mut command = place.command("qwen/node_modules/.bin/qwen");
        command.args([prompt, "--approval-mode", "auto-edit"]).env("OPENAI_MODEL", "scripted");
        command.env("OPENAI_API_KEY", "dummy").env("OPENAI_BASE_URL", place.url("/v1"));
        command
    },
    on_a_terminal: |place, prompt| {
        let mut command = place.command("qwen/node_modules/.bin/qwen");
        command.args(["-i", prompt, "--approval-mode", "auto-edit"]).env("OPENAI_MODEL", "scripted");
        command.env("OPENAI_API_KEY", "dummy").env("OPENAI_BASE_URL", place.url("/v1"));
        command
    },
};

const DROID: Driver = Driver {
    name: "droid",
    program: "droid/node_modules/.bin/droid",
    tool: "Edit",
    edited: "has been updated successfully",
    serves: false,
    answer: "\r",
    no_escape: Some("Droid's screen wants an account, and `droid exec` has no Esc"),
    set_up: |place| {
        // A model of one's own needs no account.
        let model = json!({
            "id": "custom:scripted", "model": "scripted", "displayName": "scripted", "index": 0,
            "provider": "generic-chat-completion-api", "baseUrl": place.url("/v1"), "apiKey": "dummy",
            "maxOutputTokens": 4096,
        });
        place.write_json(".factory/settings.json", &json!({ "customModels": [model], "cloudSessionSync": false }));
    },
    edit: |file, old, new| {
        vec![
            Step::Call("Read", json!({ "file_path": file })),
            Step::Call("Edit", json!({ "file_path": file, "old_str": old, "new_str": new })),
        ]
    },
    look: |file| Step::Call("Read", json!({ "file_path": file })),
    start: droid_exec,
    on_a_terminal: droid_exec,
};

fn droid_exec(place: &Place, prompt: &str) -> Command {
    let mut command = place.command("droid/node_modules/.bin/droid");
    command.args(["exec", "--auto", "low", "--model", "custom:scripted", prompt]);
    command.env("FACTORY_DROID_AUTO_UPDATE_ENABLED", "false").env("FACTORY_OTEL_ENABLED", "false");
    command
}

const KILO: Driver = Driver {
    name: "kilo",
    program: "kilo/node_modules/.bin/kilo",
    no_escape: Some("Kilo's turn has ended when it is tested: Esc ends nothing, the next message does"),
    set_up: |place| place.write_json(".config/kilo/kilo.json", &opencodes_settings(place)),
    start: |place, _| kilo(place, &["serve", "--hostname", "127.0.0.1", "--port", "0"]),
    on_a_terminal: |place, prompt| kilo(place, &["--prompt", prompt]),
    ..OPENCODE
};

fn kilo(place: &Place, words: &[&str]) -> Command {
    let mut command = place.command("kilo/node_modules/.bin/kilo");
    command.args(words).env("KILO_DISABLE_MODELS_FETCH", "1").env("KILO_TELEMETRY_LEVEL", "off");
    command.env("KILO_DISABLE_SESSION_INGEST", "1").env("KILO_DISABLE_AUTOUPDATE", "1");
    command
}
