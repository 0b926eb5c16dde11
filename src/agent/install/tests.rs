use std::os::unix::fs::{PermissionsExt, symlink};

use clap::ValueEnum as _;

use super::*;
use crate::model::Exit;

/// A home and a project of their own, in a place with a blank in its path.
struct World {
    place: tempfile::TempDir,
    environment: Environment,
}

impl World {
    fn new() -> Self {
        let place = tempfile::Builder::new().prefix("nixbox hooks ").tempdir().unwrap();
        let [home, project] = ["home", "project"].map(|name| place.path().join(name));
        fs::create_dir(&home).unwrap();
        fs::create_dir(&project).unwrap();
        let environment = Environment { home: Some(home), project, variables: |_| None, program: "nixbox".to_owned() };
        Self { place, environment }
    }

    fn run(&self, agent: Agent, change: impl FnOnce(&mut InstallArgs)) -> Result<String> {
        let mut arguments = InstallArgs { agent, project: false, user: false, uninstall: false, dry_run: false };
        change(&mut arguments);
        install_in(&arguments, &self.environment)
    }

    fn project(&self, path: &str) -> PathBuf {
        self.environment.project.join(path)
    }

    fn with(self, path: &str, text: &str) -> Self {
        let path = self.project(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.project(path)).unwrap()
    }
}

/// The files that agents have below a project, and below a home.
const FILES: [(Agent, &str, &str); 11] = [
    (Agent::ClaudeCode, ".claude/settings.json", ".claude/settings.json"),
    (Agent::Codex, ".codex/hooks.json", ".codex/hooks.json"),
    (Agent::Gemini, ".gemini/settings.json", ".gemini/settings.json"),
    (Agent::Cursor, ".cursor/hooks.json", ".cursor/hooks.json"),
    (Agent::Copilot, ".github/hooks/nixbox.json", ".copilot/hooks/nixbox.json"),
    (Agent::Opencode, ".opencode/plugins/nixbox.js", ".config/opencode/plugins/nixbox.js"),
    (Agent::Qwen, ".qwen/settings.json", ".qwen/settings.json"),
    (Agent::Droid, ".factory/hooks.json", ".factory/hooks.json"),
    (Agent::Devin, ".devin/config.json", ".config/devin/config.json"),
    (Agent::Antigravity, ".agents/hooks.json", ".gemini/config/hooks.json"),
    (Agent::Kilo, ".kilo/plugin/nixbox.js", ".config/kilo/plugin/nixbox.js"),
];

fn is_plugin(agent: Agent) -> bool {
    row(agent).settings.is_some_and(|settings| settings.shape == Shape::Plugin)
}

fn install(_: &mut InstallArgs) {}

fn uninstall(arguments: &mut InstallArgs) {
    arguments.uninstall = true;
}

#[test]
fn a_file_is_made_once_and_goes_again() {
    let world = World::new();
    for (agent, in_project, in_home) in FILES {
        let of_user = |arguments: &mut InstallArgs| arguments.user = true;
        for (path, user) in [(world.project(in_project), false), (world.place.path().join("home").join(in_home), true)]
        {
            let with = |arguments: &mut InstallArgs| {
                if user {
                    of_user(arguments);
                }
            };
            let dry = world.run(agent, |arguments| {
                with(arguments);
                arguments.dry_run = true;
            });
            assert!(dry.unwrap().contains("would be created:\n+ ") && !path.exists(), "{agent:?}");
            let output = world.run(agent, with).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            assert!(output.contains(&format!("{} created:\n+ ", path.display())), "{output}");
            assert!(output.contains("nixbox agent-guide"), "{output}");
            let twice = world.run(agent, with).unwrap();
            assert!(twice.contains("nothing to do") && fs::read_to_string(&path).unwrap() == text, "{twice}");
            world
                .run(agent, |arguments| {
                    with(arguments);
                    uninstall(arguments);
                })
                .unwrap();
            assert!(!path.exists(), "{agent:?}");
            let twice = world.run(agent, |arguments| {
                with(arguments);
                uninstall(arguments);
            });
            assert!(twice.unwrap().contains("nothing to remove"));
        }
    }
}

#[test]
fn time_outs_are_in_each_agents_unit() {
    let world = World::new();
    let parsed = |agent, path: &str| -> Value {
        world.run(agent, install).unwrap();
        serde_json::from_str(&world.text(path)).unwrap()
    };
    let (turn_end, edit) = (TURN_END_LIMIT.as_secs(), EDIT_LIMIT.as_secs());
    let claude = parsed(Agent::ClaudeCode, ".claude/settings.json");
    assert_eq!(claude["hooks"]["Stop"][0]["hooks"][0]["timeout"], turn_end);
    assert_eq!(claude["hooks"]["PostToolUse"][0]["hooks"][0]["timeout"], edit);
    assert_eq!(claude["hooks"]["Stop"][0]["hooks"][0]["command"], "nixbox hook claude-code || exit 1");
    assert_eq!(claude["hooks"]["Stop"][0]["hooks"][0]["statusMessage"], "nixbox tests the configuration");
    let gemini = parsed(Agent::Gemini, ".gemini/settings.json");
    assert_eq!(gemini["hooks"]["AfterAgent"][0]["hooks"][0]["timeout"], turn_end * 1000);
    let cursor = parsed(Agent::Cursor, ".cursor/hooks.json");
    assert_eq!((&cursor["version"], &cursor["hooks"]["stop"][0]["timeout"]), (&json!(1), &json!(turn_end)));
    let copilot = parsed(Agent::Copilot, ".github/hooks/nixbox.json");
    assert_eq!(copilot["hooks"]["postToolUse"][0]["timeoutSec"], edit);
    assert_eq!(copilot["hooks"]["agentStop"][0]["bash"], "nixbox hook copilot agentStop || exit 1");
    let qwen = parsed(Agent::Qwen, ".qwen/settings.json");
    assert_eq!(qwen["hooks"]["Stop"][0]["hooks"][0]["timeout"], turn_end * 1000);
    // The events are the file's own members.
    let droid = parsed(Agent::Droid, ".factory/hooks.json");
    assert_eq!(droid["Stop"][0]["hooks"][0]["command"], "nixbox hook droid || exit 1");
    let antigravity = parsed(Agent::Antigravity, ".agents/hooks.json");
    assert_eq!(antigravity["nixbox"]["Stop"][0]["command"], "nixbox hook antigravity Stop || echo '{}'");
    world.run(Agent::Opencode, install).unwrap();
    let plugin = world.text(".opencode/plugins/nixbox.js");
    assert!(plugin.contains("const PROGRAM = \"nixbox\";"), "{plugin}");
    assert!(plugin.contains(&format!("\"session.idle\": {}", turn_end * 1000)) && !plugin.contains('@'), "{plugin}");
}

#[test]
fn the_tools_of_the_matchers_are_those_that_are_read_as_edits() {
    for (agent, event, group) in [
        (Agent::ClaudeCode, "PostToolUse", true),
        (Agent::Codex, "PostToolUse", true),
        (Agent::Gemini, "AfterTool", true),
        (Agent::Cursor, "postToolUse", false),
        (Agent::Copilot, "postToolUse", false),
        (Agent::Qwen, "PostToolUse", true),
        (Agent::Droid, "PostToolUse", true),
        (Agent::Devin, "PostToolUse", true),
    ] {
        let hooks = hook_set(row(agent), "nixbox").unwrap().hooks;
        let (_, entry) = hooks.iter().find(|(name, _)| *name == event).unwrap();
        assert_eq!(entry.get("hooks").is_some(), group);
        for tool in entry["matcher"].as_str().unwrap().split('|') {
            let payload = json!({ "hook_event_name": event, "tool_name": tool, "cwd": "/" }).to_string();
            let request = super::super::contract::read(agent, None, &payload).unwrap();
            assert_eq!(request.event, super::super::HookEvent::Edit, "{agent:?} {tool}");
        }
    }
}

#[test]
fn everything_else_stays_byte_for_byte() {
    let before = "{\r\n\t// the team's\r\n\t\"permissions\": { \"allow\": [\"Bash(ls:*)\"], },\r\n}\r\n";
    for (agent, path, _) in FILES.into_iter().filter(|(agent, ..)| !is_plugin(*agent)) {
        let world = World::new().with(path, before);
        let output = world.run(agent, install).unwrap();
        let with = world.text(path);
        assert!(with.contains("the team's") && with.contains(" hook "), "{with}");
        assert!(output.contains("changed:\n") && output.contains("+ \t\""), "{output}");
        assert!(!output.contains("the team's"), "only what changes is shown: {output}");
        let output = world.run(agent, uninstall).unwrap();
        assert_eq!(world.text(path), before, "{output}");
        assert!(output.contains("- \t\""), "{output}");
    }
}

#[test]
fn links_are_followed_and_modes_kept() {
    let world = World::new();
    let dotfiles = world.place.path().join("dotfiles");
    fs::create_dir(&dotfiles).unwrap();
    let real = dotfiles.join("claude.json");
    fs::write(&real, "{\n  \"a\": 1\n}\n").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    let link = world.project(".claude/settings.json");
    fs::create_dir(link.parent().unwrap()).unwrap();
    symlink("../../dotfiles/claude.json", &link).unwrap();
    world.run(Agent::ClaudeCode, install).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&real).unwrap().contains("nixbox hook claude-code"));
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_dir(&dotfiles).unwrap().count(), 1, "nothing is left beside it");
    world.run(Agent::ClaudeCode, uninstall).unwrap();
    assert_eq!(fs::read_to_string(&real).unwrap(), "{\n  \"a\": 1\n}\n");

    // One that leads to nothing yet.
    let link = world.project(".codex/hooks.json");
    fs::create_dir(link.parent().unwrap()).unwrap();
    symlink("../../dotfiles/codex.json", &link).unwrap();
    world.run(Agent::Codex, install).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink() && dotfiles.join("codex.json").is_file());

    symlink("hooks.json", world.project(".codex/loop")).unwrap();
    fs::remove_file(&link).unwrap();
    symlink("loop", &link).unwrap();
    assert!(world.run(Agent::Codex, install).unwrap_err().what.contains("a symlink loop"));
}

#[test]
fn a_read_only_file_is_left_with_the_change_that_it_needs() {
    let world = World::new().with(".claude/settings.json", "{}");
    let path = world.project(".claude/settings.json");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    let failure = world.run(Agent::ClaudeCode, install).unwrap_err();
    assert_eq!((failure.exit, world.text(".claude/settings.json")), (Exit::Usage, "{}".to_owned()));
    assert!(failure.hint.unwrap().contains("nixbox hook claude-code"));
}

#[test]
fn what_cannot_be_edited_is_left_with_the_lines_to_add() {
    for (text, part) in
        [("{ \"a\": ", "not valid JSON"), ("[]", "not a JSON object"), ("{\"hooks\": 1}", "not an object")]
    {
        let world = World::new().with(".gemini/settings.json", text);
        for change in [install, uninstall] {
            match world.run(Agent::Gemini, change) {
                Err(failure) => {
                    assert_eq!(failure.exit, Exit::Usage);
                    assert!(failure.what.contains(part), "{failure}");
                    assert!(failure.hint.unwrap().contains("nixbox hook gemini"));
                }
                Ok(output) => assert!(output.contains("nothing to remove"), "{output}"),
            }
            assert_eq!(world.text(".gemini/settings.json"), text);
        }
    }
    let world = World::new();
    fs::create_dir_all(world.project(".codex/hooks.json")).unwrap();
    assert!(world.run(Agent::Codex, install).unwrap_err().what.contains("is not a regular file"));
    let world = World::new().with(".cursor", "in the way");
    assert_eq!(world.run(Agent::Cursor, install).unwrap_err().exit, Exit::Unknown);
}

#[test]
fn a_foreign_plugin_stays() {
    let world = World::new().with(".opencode/plugins/nixbox.js", "// mine\n");
    for change in [install, uninstall] {
        let failure = world.run(Agent::Opencode, change).unwrap_err();
        assert!(failure.what.contains("not written by nixbox"), "{failure}");
    }
    assert_eq!(world.text(".opencode/plugins/nixbox.js"), "// mine\n");
    // An older one of ours is brought up to date.
    let world = World::new().with(".opencode/plugins/nixbox.js", "// Written by `nixbox hook install opencode`; old\n");
    assert!(world.run(Agent::Opencode, install).unwrap().contains("changed:"));
}

/// git, without the user's configuration.
fn git_in(directory: &Path, words: &[&str]) {
    let mut git = Command::new("git");
    git.arg("-C").arg(directory).args(words).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    assert!(git.output().unwrap().status.success(), "{words:?}");
}

#[test]
fn gits_hooks_are_scripts() {
    let world = World::new();
    assert!(world.run(Agent::Git, install).unwrap_err().what.contains("not in a git work tree"));
    git_in(&world.environment.project, &["init", "-q"]);
    assert_eq!(world.run(Agent::Git, |arguments| arguments.user = true).unwrap_err().exit, Exit::Usage);
    let output = world.run(Agent::Git, install).unwrap();
    assert!(output.contains("pre-commit created:\n+ #!/bin/sh"), "{output}");
    for name in ["pre-commit", "pre-push"] {
        let path = world.project(".git/hooks").join(name);
        assert!(fs::metadata(&path).unwrap().permissions().mode() & 0o100 != 0);
        assert!(fs::read_to_string(&path).unwrap().contains(&format!("nixbox hook git {name} ")));
    }
    assert!(world.run(Agent::Git, install).unwrap().contains("nothing to do"));
    world.run(Agent::Git, uninstall).unwrap();
    assert!(!world.project(".git/hooks/pre-commit").exists() && !world.project(".git/hooks/pre-push").exists());
}

/// A nixbox that does this, in a place with a blank and a quote in its path.
struct FakeProgram {
    _place: tempfile::TempDir,
    program: PathBuf,
}

impl FakeProgram {
    fn new(script: Option<&str>) -> Self {
        let place = tempfile::Builder::new().prefix("nixbox it's ").tempdir().unwrap();
        let program = place.path().join("nixbox");
        if let Some(script) = script {
            fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { _place: place, program }
    }
}

/// nixboxes that are none: missing, of another version, broken.
const BROKEN: [Option<&str>; 8] = [
    None,
    Some("echo 'error: unrecognized subcommand' >&2; exit 2"),
    Some("echo 'error: unexpected argument' >&2; exit 5"),
    Some("exit 1"),
    Some("echo 'thread main panicked' >&2; exit 101"),
    Some("kill -9 $$"),
    Some("kill -SEGV $$"),
    Some("echo not json; exit 3"),
];

#[test]
fn gits_scripts_let_through_all_but_a_verdict() {
    let run = |script: Option<&str>| {
        let fake = FakeProgram::new(script);
        let hook = fake.program.with_file_name("hook");
        fs::write(&hook, super::script(&fake.program.to_string_lossy(), "pre-push")).unwrap();
        Command::new("sh").arg(&hook).arg("origin").output().unwrap()
    };
    for broken in BROKEN {
        assert_eq!(run(broken).status.code(), Some(0), "{broken:?}");
    }
    let blocked = run(Some("[ \"$*\" = 'hook git pre-push' ] || exit 0\necho 'nixbox: fail: .#x: it\\s' >&2\nexit 1"));
    assert_eq!(blocked.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&blocked.stderr), "nixbox: fail: .#x: it\\s\n");
    assert_eq!(run(Some("echo 'nixbox: pass' >&2; exit 0")).status.code(), Some(0));
}

/// Every command in a settings file.
fn commands(value: &Value) -> Vec<String> {
    match value {
        Value::Object(object) => object
            .iter()
            .flat_map(|(key, value)| match (key.as_str(), value) {
                ("command" | "bash", Value::String(command)) => vec![command.clone()],
                _ => commands(value),
            })
            .collect(),
        Value::Array(list) => list.iter().flat_map(commands).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn no_command_blocks_without_a_verdict() {
    for (agent, ..) in FILES.into_iter().filter(|(agent, ..)| !is_plugin(*agent)) {
        for broken in BROKEN {
            let fake = FakeProgram::new(broken);
            let hooks = hook_set(row(agent), &fake.program.to_string_lossy()).unwrap().alone();
            let commands = commands(&serde_json::from_str(&hooks).unwrap());
            assert!(!commands.is_empty());
            for command in commands {
                let output = Command::new("sh").args(["-c", &command]).output().unwrap();
                // Every agent takes 0 and 1 for no verdict; these take only 0 for one.
                let most = if matches!(agent, Agent::Devin | Agent::Antigravity) { 0 } else { 1 };
                assert!(output.status.code().is_some_and(|code| (0..=most).contains(&code)), "{command}: {output:?}");
                let said = String::from_utf8_lossy(&output.stdout);
                assert!(!said.contains("decision") && !said.contains("message"), "{said}");
            }
        }
    }
}

#[test]
fn an_older_command_is_brought_up_to_date() {
    let before = "{\n  \"hooks\": {\n    \"Stop\": [\n      {\n        \"hooks\": [{ \"type\": \"command\", \"command\": \"nixbox hook claude-code\", \"timeout\": 600 }]\n      }\n    ]\n  }\n}\n";
    let world = World::new().with(".claude/settings.json", before);
    world.run(Agent::ClaudeCode, install).unwrap();
    let settings: Value = serde_json::from_str(&world.text(".claude/settings.json")).unwrap();
    assert_eq!(settings["hooks"]["Stop"].as_array().unwrap().len(), 1);
    assert_eq!(settings["hooks"]["Stop"][0]["hooks"][0]["command"], "nixbox hook claude-code || exit 1");
    // One with words of the user's stays.
    let own = before.replace("claude-code\"", "claude-code --target .#x\"");
    let world = World::new().with(".claude/settings.json", &own);
    world.run(Agent::ClaudeCode, install).unwrap();
    let settings: Value = serde_json::from_str(&world.text(".claude/settings.json")).unwrap();
    assert_eq!(settings["hooks"]["Stop"][0]["hooks"][0]["command"], "nixbox hook claude-code --target .#x");
}

#[test]
fn a_foreign_git_hook_is_left_with_the_lines_to_add() {
    let world = World::new();
    git_in(&world.environment.project, &["init", "-q"]);
    let world = world.with(".git/hooks/pre-push", "#!/bin/sh\nexec theirs\n");
    let failure = world.run(Agent::Git, install).unwrap_err();
    assert!(failure.hint.unwrap().contains("nixbox hook git pre-push"));
    assert!(!world.project(".git/hooks/pre-commit").exists(), "both or none");
    assert!(world.run(Agent::Git, uninstall).unwrap().contains("nothing to remove"));
}

#[test]
fn gits_own_directory_of_hooks_is_honoured() {
    let world = World::new();
    git_in(&world.environment.project, &["init", "-q"]);
    git_in(&world.environment.project, &["config", "core.hooksPath", "tools/hooks"]);
    world.run(Agent::Git, install).unwrap();
    assert!(world.project("tools/hooks/pre-commit").is_file());
    let shared = world.place.path().join("shared");
    fs::create_dir(&shared).unwrap();
    git_in(&world.environment.project, &["config", "core.hooksPath", &shared.to_string_lossy()]);
    let failure = world.run(Agent::Git, install).unwrap_err();
    assert!(failure.what.contains("outside this repository"), "{failure}");
    assert_eq!(fs::read_dir(&shared).unwrap().count(), 0);
}

#[test]
fn a_shared_file_names_no_path_of_this_host() {
    let mut world = World::new();
    world.environment.program = "/home/it's me/nixbox".to_owned();
    let output = world.run(Agent::ClaudeCode, install).unwrap();
    let settings: Value = serde_json::from_str(&world.text(".claude/settings.json")).unwrap();
    assert_eq!(settings["hooks"]["Stop"][0]["hooks"][0]["command"], "nixbox hook claude-code || exit 1");
    assert!(output.contains("is not on PATH"), "{output}");
    world.run(Agent::ClaudeCode, uninstall).unwrap();
    assert!(!world.project(".claude/settings.json").exists());
    // The user's own file does, quoted.
    let output = world.run(Agent::ClaudeCode, |arguments| arguments.user = true).unwrap();
    assert!(output.contains(r"'/home/it'\\''s me/nixbox' hook claude-code || exit 1"), "{output}");
}

/// What `hook install` prints for each agent, with what it writes.
#[test]
fn each_agents_output() {
    for agent in Agent::value_variants() {
        let world = World::new();
        git_in(&world.environment.project, &["init", "-q"]);
        let output = world.run(*agent, install).unwrap();
        let output = output.replace(&world.environment.project.display().to_string(), "PROJECT");
        // opencode's plugin is a file of its own here: what is filled in is enough.
        let is_filled_in =
            |line: &&str| !line.starts_with('+') || line.contains(" PROGRAM =") || line.contains("LIMITS =");
        let output = match agent {
            Agent::Opencode | Agent::Kilo => output.lines().filter(is_filled_in).collect::<Vec<_>>().join("\n"),
            _ => output,
        };
        insta::assert_snapshot!(format!("{agent:?}"), output);
    }
}
