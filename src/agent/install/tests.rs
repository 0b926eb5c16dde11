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
const FILES: [(Agent, &str, &str); 6] = [
    (Agent::ClaudeCode, ".claude/settings.json", ".claude/settings.json"),
    (Agent::Codex, ".codex/hooks.json", ".codex/hooks.json"),
    (Agent::Gemini, ".gemini/settings.json", ".gemini/settings.json"),
    (Agent::Cursor, ".cursor/hooks.json", ".cursor/hooks.json"),
    (Agent::Copilot, ".github/hooks/nixbox.json", ".copilot/hooks/nixbox.json"),
    (Agent::Opencode, ".opencode/plugins/nixbox.js", ".config/opencode/plugins/nixbox.js"),
];

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
    assert_eq!(claude["hooks"]["Stop"][0]["hooks"][0]["command"], "nixbox hook claude-code");
    let gemini = parsed(Agent::Gemini, ".gemini/settings.json");
    assert_eq!(gemini["hooks"]["AfterAgent"][0]["hooks"][0]["timeout"], turn_end * 1000);
    let cursor = parsed(Agent::Cursor, ".cursor/hooks.json");
    assert_eq!((&cursor["version"], &cursor["hooks"]["stop"][0]["timeout"]), (&json!(1), &json!(turn_end)));
    let copilot = parsed(Agent::Copilot, ".github/hooks/nixbox.json");
    assert_eq!(copilot["hooks"]["postToolUse"][0]["timeoutSec"], edit);
    assert_eq!(copilot["hooks"]["agentStop"][0]["bash"], "nixbox hook copilot agentStop");
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
    ] {
        let hooks = hook_set(agent, "nixbox").unwrap().hooks;
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
    for (agent, path, _) in FILES.into_iter().filter(|(agent, ..)| *agent != Agent::Opencode) {
        let world = World::new().with(path, before);
        let output = world.run(agent, install).unwrap();
        let with = world.text(path);
        assert!(with.contains("the team's") && with.contains(" hook "), "{with}");
        assert!(output.contains("changed:\n") && output.contains("+ \t\"hooks\": {"), "{output}");
        assert!(!output.contains("the team's"), "only what changes is shown: {output}");
        let output = world.run(agent, uninstall).unwrap();
        assert_eq!(world.text(path), before, "{output}");
        assert!(output.contains("- \t\"hooks\": {"), "{output}");
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
        assert!(fs::read_to_string(&path).unwrap().contains(&format!("nixbox hook git {name}\n")));
    }
    assert!(world.run(Agent::Git, install).unwrap().contains("nothing to do"));
    world.run(Agent::Git, uninstall).unwrap();
    assert!(!world.project(".git/hooks/pre-commit").exists() && !world.project(".git/hooks/pre-push").exists());
}

#[test]
fn gits_scripts_let_through_all_but_one() {
    let place = tempfile::Builder::new().prefix("nixbox it's ").tempdir().unwrap();
    let program = place.path().join("nixbox");
    let hook = place.path().join("hook");
    let run = |ends: Option<&str>| {
        match ends {
            Some(code) => {
                fs::write(&program, format!("#!/bin/sh\n[ \"$*\" = 'hook git pre-push' ] || exit 1\nexit {code}\n"))
            }
            None => fs::remove_file(&program),
        }
        .unwrap();
        if ends.is_some() {
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(&hook, script(&program.to_string_lossy(), "pre-push")).unwrap();
        Command::new("sh").arg(&hook).arg("origin").output().unwrap().status.code()
    };
    assert_eq!(["0", "1", "2", "5", "101"].map(|code| run(Some(code))), [Some(0), Some(1), Some(0), Some(0), Some(0)]);
    assert_eq!(run(None), Some(0), "a missing program blocks nothing");
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
fn a_program_that_path_does_not_have_is_quoted() {
    let mut world = World::new();
    world.environment.program = "/home/it's me/nixbox".to_owned();
    let output = world.run(Agent::ClaudeCode, install).unwrap();
    let settings: Value = serde_json::from_str(&world.text(".claude/settings.json")).unwrap();
    assert_eq!(settings["hooks"]["Stop"][0]["hooks"][0]["command"], r"'/home/it'\''s me/nixbox' hook claude-code");
    assert!(output.contains("is not on PATH"), "{output}");
    world.run(Agent::ClaudeCode, uninstall).unwrap();
    assert!(!world.project(".claude/settings.json").exists());
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
            Agent::Opencode => output.lines().filter(is_filled_in).collect::<Vec<_>>().join("\n"),
            _ => output,
        };
        insta::assert_snapshot!(format!("{agent:?}"), output);
    }
}
