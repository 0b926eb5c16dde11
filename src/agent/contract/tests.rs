use std::path::Path;

use clap::ValueEnum as _;
use proptest::prelude::*;

use super::*;

const AGENTS: [Agent; 8] = [
    Agent::ClaudeCode,
    Agent::Codex,
    Agent::Gemini,
    Agent::Cursor,
    Agent::Opencode,
    Agent::Copilot,
    Agent::Generic,
    Agent::Git,
];

/// The payloads that the agents' documentation describes, by file.
macro_rules! payload {
    ($name:literal) => {
        include_str!(concat!("../../../tests/fixtures/hooks/", $name))
    };
}

fn is_json(agent: Agent) -> bool {
    !matches!(agent, Agent::Generic | Agent::Git)
}

/// Whether the agent would be held up, by its contract.
fn blocks(agent: Agent, spoken: &Spoken) -> bool {
    let value: Value = serde_json::from_str(&spoken.stdout).unwrap_or_default();
    let decision = value.get("decision").and_then(Value::as_str);
    match agent {
        Agent::Git | Agent::Generic => spoken.exit != 0,
        _ if spoken.exit == 2 => true,
        Agent::ClaudeCode | Agent::Codex | Agent::Copilot => {
            decision.is_some() || value.get("continue").is_some_and(|goes_on| *goes_on == false)
        }
        Agent::Gemini => decision.is_some(),
        Agent::Cursor => value.get("followup_message").is_some(),
        Agent::Opencode => value.get("prompt").is_some(),
    }
}

fn at(moment: Moment, again: bool) -> Asked {
    Asked { moment, directory: None, files: Vec::new(), again }
}

#[track_caller]
fn reads(agent: Agent, event: Option<&str>, stdin: &str, moment: Moment, files: &[&str], again: bool) {
    let asked = read(agent, event, stdin).unwrap();
    assert_eq!((&asked.moment, asked.again), (&moment, again));
    assert_eq!(asked.files, files.iter().map(PathBuf::from).collect::<Vec<_>>());
    if is_json(agent) {
        assert_eq!(asked.directory.as_deref(), Some(Path::new("/home/ann/machines")));
    }
}

const NIX: &str = "/home/ann/machines/configuration.nix";

#[test]
fn claude_codes_payloads() {
    let reads = |stdin, moment, files: &[&str], again| reads(Agent::ClaudeCode, None, stdin, moment, files, again);
    reads(payload!("claude-code-Stop.json"), Moment::TurnEnd, &[], false);
    reads(payload!("claude-code-Stop-again.json"), Moment::TurnEnd, &[], true);
    reads(payload!("claude-code-PostToolUse.json"), Moment::Edit, &[NIX], false);
    let notebook = payload!("claude-code-PostToolUse-NotebookEdit.json");
    reads(notebook, Moment::Edit, &["/home/ann/machines/notes.ipynb"], false);
    reads(payload!("claude-code-PostToolUse-Bash.json"), Moment::Other, &[], false);
    reads(payload!("claude-code-SubagentStop.json"), Moment::Other, &[], false);
}

#[test]
fn codexs_payloads() {
    let reads = |stdin, moment, files: &[&str], again| reads(Agent::Codex, None, stdin, moment, files, again);
    reads(payload!("codex-Stop.json"), Moment::TurnEnd, &[], false);
    reads(payload!("codex-Stop-again.json"), Moment::TurnEnd, &[], true);
    reads(payload!("codex-PostToolUse.json"), Moment::Edit, &["configuration.nix", "web.nix"], false);
}

#[test]
fn geminis_payloads() {
    let reads = |stdin, moment, files: &[&str], again| reads(Agent::Gemini, None, stdin, moment, files, again);
    reads(payload!("gemini-AfterAgent.json"), Moment::TurnEnd, &[], false);
    reads(payload!("gemini-AfterAgent-again.json"), Moment::TurnEnd, &[], true);
    reads(payload!("gemini-AfterTool.json"), Moment::Edit, &[NIX], false);
}

#[test]
fn cursors_payloads() {
    let reads = |stdin, moment, files: &[&str], again| reads(Agent::Cursor, None, stdin, moment, files, again);
    reads(payload!("cursor-stop.json"), Moment::TurnEnd, &[], false);
    reads(payload!("cursor-stop-again.json"), Moment::TurnEnd, &[], true);
    reads(payload!("cursor-stop-aborted.json"), Moment::Other, &[], false);
    reads(payload!("cursor-afterFileEdit.json"), Moment::Edit, &[NIX], false);
    reads(payload!("cursor-postToolUse.json"), Moment::Edit, &[NIX], false);
}

#[test]
fn our_own_plugins_payloads() {
    let reads = |stdin, moment, files: &[&str], again| reads(Agent::Opencode, None, stdin, moment, files, again);
    reads(payload!("opencode-session.idle.json"), Moment::TurnEnd, &[], false);
    reads(payload!("opencode-session.idle-again.json"), Moment::TurnEnd, &[], true);
    reads(payload!("opencode-tool.execute.after.json"), Moment::Edit, &[NIX], false);
}

#[test]
fn copilots_payloads_in_both_spellings() {
    let reads = |event, stdin, moment, files: &[&str], again| reads(Agent::Copilot, event, stdin, moment, files, again);
    reads(Some("agentStop"), payload!("copilot-agentStop.json"), Moment::TurnEnd, &[], false);
    reads(None, payload!("copilot-Stop-again.json"), Moment::TurnEnd, &[], true);
    reads(Some("postToolUse"), payload!("copilot-postToolUse.json"), Moment::Edit, &[NIX], false);
    let file = "/home/ann/machines/web.nix";
    reads(None, payload!("copilot-vscode-PostToolUse.json"), Moment::Edit, &[file], false);
    let error = read(Agent::Copilot, None, payload!("copilot-agentStop.json")).unwrap_err();
    assert!(error.contains("does not say which event it is"), "{error}");
}

#[test]
fn gits_and_everybody_elses() {
    let pushed = Moment::Push(vec!["3f1c0de9b7a2c6a1c9d0e4f5a6b7c8d9e0f1a2b3".to_owned()]);
    reads(Agent::Git, Some("pre-push"), payload!("git-pre-push.txt"), pushed, &[], false);
    reads(Agent::Git, Some("pre-push"), payload!("git-pre-push-delete.txt"), Moment::Other, &[], false);
    reads(Agent::Git, Some("pre-push"), "", Moment::Other, &[], false);
    reads(Agent::Git, Some("pre-commit"), "", Moment::Commit, &[], false);
    reads(Agent::Generic, None, "whatever \0", Moment::TurnEnd, &[], false);
    let files = ["configuration.nix", "hosts/laptop.nix"];
    reads(Agent::Generic, Some("edit"), payload!("generic-edit.txt"), Moment::Edit, &files, false);
}

#[test]
fn what_is_no_payload_is_named() {
    for (agent, event, stdin, part) in [
        (Agent::ClaudeCode, None, "", "stdin is empty"),
        (Agent::Codex, None, "{", "no JSON of a hook: EOF"),
        (Agent::Gemini, None, "[1]", "no object"),
        (Agent::Cursor, None, "{\"status\":\"completed\"}", "does not say which event it is (hook_event_name)"),
        (Agent::Git, None, "", "pre-commit` or"),
        (Agent::Git, Some("post-merge"), "", "no hook that nixbox knows"),
        (Agent::Git, Some("pre-push"), "refs/heads/main abc", "no line of pre-push"),
        (Agent::Git, Some("pre-push"), "a --upload-pack=x b c", "no full object name"),
        (Agent::Generic, Some("later"), "", "is no event: edit, or turn-end"),
    ] {
        let error = read(agent, event, stdin).unwrap_err();
        assert!(error.contains(part), "{agent:?}: {error}");
    }
}

#[test]
fn an_event_that_is_not_ours_is_nothing_to_do() {
    for agent in AGENTS.into_iter().filter(|agent| is_json(*agent)) {
        let asked = read(agent, Some("SessionStart"), "{\"cwd\":\"/\"}").unwrap();
        assert_eq!(asked.moment, Moment::Other);
        let spoken = speak(agent, &asked, &Finding::Broken("x".to_owned()));
        assert!(spoken.exit == 0 && !blocks(agent, &spoken), "{spoken:?}");
    }
}

#[test]
fn a_broken_configuration_blocks_where_it_can_and_never_twice() {
    let broken = Finding::Broken("nginx.service failed".to_owned());
    for agent in AGENTS {
        for moment in [Moment::Edit, Moment::TurnEnd, Moment::Commit, Moment::Push(vec!["0".repeat(40)])] {
            let effect = effect(agent, &moment);
            if effect == Effect::Never {
                continue;
            }
            let spoken = speak(agent, &at(moment.clone(), false), &broken);
            let told = format!("{}{}", spoken.stdout, spoken.stderr);
            assert!(told.contains("nginx.service failed"), "{agent:?} {moment:?}: {spoken:?}");
            if moment != Moment::Edit {
                assert!(blocks(agent, &spoken), "{agent:?} {moment:?}: {spoken:?}");
                let again = speak(agent, &at(moment, true), &broken);
                assert!(!blocks(agent, &again), "{agent:?}: {again:?}");
                assert!(format!("{}{}", again.stdout, again.stderr).contains("nginx.service failed"));
            }
        }
    }
}

#[test]
fn the_words_are_those_of_the_contracts() {
    let broken = Finding::Broken("why".to_owned());
    let says = |agent, moment, again| speak(agent, &at(moment, again), &broken).stdout;
    assert_eq!(says(Agent::ClaudeCode, Moment::TurnEnd, false), "{\"decision\":\"block\",\"reason\":\"why\"}\n");
    assert_eq!(says(Agent::Codex, Moment::TurnEnd, true), "{\"systemMessage\":\"why\"}\n");
    assert_eq!(says(Agent::Gemini, Moment::TurnEnd, false), "{\"decision\":\"deny\",\"reason\":\"why\"}\n");
    assert_eq!(says(Agent::Cursor, Moment::TurnEnd, false), "{\"followup_message\":\"why\"}\n");
    assert_eq!(says(Agent::Cursor, Moment::Edit, false), "{\"additional_context\":\"why\"}\n");
    assert_eq!(says(Agent::Cursor, Moment::TurnEnd, true), "{}\n");
    assert_eq!(says(Agent::Copilot, Moment::TurnEnd, false), "{\"decision\":\"block\",\"reason\":\"why\"}\n");
    let after_tool = "{\"hookSpecificOutput\":{\"hookEventName\":\"AfterTool\",\"additionalContext\":\"why\"}}\n";
    assert_eq!(says(Agent::Gemini, Moment::Edit, false), after_tool);
    let empty = speak(Agent::Codex, &at(Moment::TurnEnd, false), &Finding::Broken(" \n".to_owned()));
    assert!(empty.stdout.contains(WITHOUT_WORDS), "a block needs a reason: {empty:?}");
}

#[test]
fn the_readme_has_the_table() {
    let readme = include_str!("../../../README.md");
    for row in table().lines() {
        assert!(readme.lines().any(|line| line == row), "missing in the README: {row}");
    }
    assert_eq!(table().lines().count(), AGENTS.len() + 2);
}

fn any_finding() -> impl Strategy<Value = Finding> {
    prop_oneof![
        Just(Finding::Nothing),
        any::<String>().prop_map(Finding::Holds),
        any::<String>().prop_map(Finding::Broken),
        any::<String>().prop_map(Finding::CouldNotTell),
        any::<String>().prop_map(Finding::StillRunning),
    ]
}

fn any_asked() -> impl Strategy<Value = Asked> {
    let moment = prop_oneof![
        Just(Moment::Edit),
        Just(Moment::TurnEnd),
        Just(Moment::Commit),
        Just(Moment::Push(vec!["1".repeat(40)])),
        Just(Moment::Other),
    ];
    (moment, any::<bool>()).prop_map(|(moment, again)| at(moment, again))
}

/// Names that payloads use, with values that they do not.
fn odd_payload() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("hook_event_name"),
        Just("event"),
        Just("cwd"),
        Just("tool_name"),
        Just("toolName"),
        Just("tool_input"),
        Just("toolArgs"),
        Just("stop_hook_active"),
        Just("loop_count"),
        Just("workspace_roots"),
        Just("files"),
    ];
    let value = prop_oneof![
        Just(json!(null)),
        Just(json!(true)),
        Just(json!(-1.5e300)),
        Just(json!([1, "a", []])),
        Just(json!({ "path": 1, "command": "*** Add File: ", "files": [{}] })),
        Just(json!("Stop")),
        Just(json!("PostToolUse")),
        Just(json!("Write")),
        any::<String>().prop_map(|text| json!(text)),
    ];
    proptest::collection::vec((name, value), 0..8).prop_map(|members| {
        let object: Map<String, Value> = members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Value::Object(object).to_string()
    })
}

proptest! {
    #[test]
    fn nothing_that_arrives_is_a_panic(bytes in any::<Vec<u8>>(), event in any::<Option<String>>()) {
        let stdin = String::from_utf8_lossy(&bytes);
        for agent in AGENTS {
            let _whatever = read(agent, event.as_deref(), &stdin);
        }
    }

    #[test]
    fn a_payload_of_odd_values_is_none_either(stdin in odd_payload()) {
        for agent in AGENTS {
            let _whatever = read(agent, Some("Stop"), &stdin);
        }
    }

    #[test]
    fn only_a_broken_configuration_blocks(asked in any_asked(), finding in any_finding()) {
        for agent in AGENTS {
            let spoken = speak(agent, &asked, &finding);
            if is_json(agent) && !spoken.stdout.is_empty() {
                let parsed: Result<Value, _> = serde_json::from_str(&spoken.stdout);
                prop_assert!(parsed.is_ok_and(|value| value.is_object()), "{:?}", spoken);
            }
            if !matches!(finding, Finding::Broken(_)) || asked.moment == Moment::Other {
                prop_assert!(!blocks(agent, &spoken) && spoken.exit == 0, "{:?}: {:?}", agent, spoken);
            }
            if is_json(agent) {
                prop_assert_eq!(spoken.exit, 0);
            }
        }
    }
}

#[test]
fn each_agent_has_a_name_for_the_command_line() {
    let names: Vec<_> = AGENTS.iter().filter_map(|agent| agent.to_possible_value()).collect();
    let names: Vec<&str> = names.iter().map(|name| name.get_name()).collect();
    assert_eq!(names, ["claude-code", "codex", "gemini", "cursor", "opencode", "copilot", "generic", "git"]);
    assert_eq!(Agent::value_variants(), AGENTS);
}
