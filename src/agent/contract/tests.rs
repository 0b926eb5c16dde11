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

/// Whether this blocks the agent, by its contract.
fn blocks(agent: Agent, response: &HookResponse) -> bool {
    let value: Value = serde_json::from_str(&response.stdout).unwrap_or_default();
    let decision = value.get("decision").and_then(Value::as_str);
    match agent {
        Agent::Git | Agent::Generic => response.exit != 0,
        _ if response.exit == 2 => true,
        Agent::ClaudeCode | Agent::Codex | Agent::Copilot => {
            decision.is_some() || value.get("continue").is_some_and(|continues| *continues == false)
        }
        Agent::Gemini => decision.is_some(),
        Agent::Cursor => value.get("followup_message").is_some(),
        Agent::Opencode => value.get("prompt").is_some(),
    }
}

fn at(event: HookEvent, already_blocked: bool) -> HookRequest {
    HookRequest { event, directory: None, files: Vec::new(), already_blocked }
}

#[track_caller]
fn reads(agent: Agent, word: Option<&str>, stdin: &str, event: HookEvent, files: &[&str], already_blocked: bool) {
    let request = read(agent, word, stdin).unwrap();
    assert_eq!((&request.event, request.already_blocked), (&event, already_blocked));
    assert_eq!(request.files, files.iter().map(PathBuf::from).collect::<Vec<_>>());
    if is_json(agent) {
        assert_eq!(request.directory.as_deref(), Some(Path::new("/home/ann/machines")));
    }
}

const NIX: &str = "/home/ann/machines/configuration.nix";

#[test]
fn claude_codes_payloads() {
    let reads = |stdin, event, files: &[&str], blocked| reads(Agent::ClaudeCode, None, stdin, event, files, blocked);
    reads(payload!("claude-code-Stop.json"), HookEvent::TurnEnd, &[], false);
    reads(payload!("claude-code-Stop-again.json"), HookEvent::TurnEnd, &[], true);
    reads(payload!("claude-code-PostToolUse.json"), HookEvent::Edit, &[NIX], false);
    let notebook = payload!("claude-code-PostToolUse-NotebookEdit.json");
    reads(notebook, HookEvent::Edit, &["/home/ann/machines/notes.ipynb"], false);
    reads(payload!("claude-code-PostToolUse-Bash.json"), HookEvent::Other, &[], false);
    reads(payload!("claude-code-SubagentStop.json"), HookEvent::Other, &[], false);
}

#[test]
fn codexs_payloads() {
    let reads = |stdin, event, files: &[&str], blocked| reads(Agent::Codex, None, stdin, event, files, blocked);
    reads(payload!("codex-Stop.json"), HookEvent::TurnEnd, &[], false);
    reads(payload!("codex-Stop-again.json"), HookEvent::TurnEnd, &[], true);
    reads(payload!("codex-PostToolUse.json"), HookEvent::Edit, &["configuration.nix", "web.nix"], false);
}

#[test]
fn geminis_payloads() {
    let reads = |stdin, event, files: &[&str], blocked| reads(Agent::Gemini, None, stdin, event, files, blocked);
    reads(payload!("gemini-AfterAgent.json"), HookEvent::TurnEnd, &[], false);
    reads(payload!("gemini-AfterAgent-again.json"), HookEvent::TurnEnd, &[], true);
    reads(payload!("gemini-AfterTool.json"), HookEvent::Edit, &[NIX], false);
}

#[test]
fn cursors_payloads() {
    let reads = |stdin, event, files: &[&str], blocked| reads(Agent::Cursor, None, stdin, event, files, blocked);
    reads(payload!("cursor-stop.json"), HookEvent::TurnEnd, &[], false);
    reads(payload!("cursor-stop-again.json"), HookEvent::TurnEnd, &[], true);
    reads(payload!("cursor-stop-aborted.json"), HookEvent::Other, &[], false);
    reads(payload!("cursor-afterFileEdit.json"), HookEvent::Edit, &[NIX], false);
    reads(payload!("cursor-postToolUse.json"), HookEvent::Edit, &[NIX], false);
}

#[test]
fn our_own_plugins_payloads() {
    let reads = |stdin, event, files: &[&str], blocked| reads(Agent::Opencode, None, stdin, event, files, blocked);
    reads(payload!("opencode-session.idle.json"), HookEvent::TurnEnd, &[], false);
    reads(payload!("opencode-session.idle-again.json"), HookEvent::TurnEnd, &[], true);
    reads(payload!("opencode-tool.execute.after.json"), HookEvent::Edit, &[NIX], false);
}

#[test]
fn copilots_payloads_in_both_spellings() {
    let reads = |word, stdin, event, files: &[&str], blocked| reads(Agent::Copilot, word, stdin, event, files, blocked);
    reads(Some("agentStop"), payload!("copilot-agentStop.json"), HookEvent::TurnEnd, &[], false);
    reads(None, payload!("copilot-Stop-again.json"), HookEvent::TurnEnd, &[], true);
    reads(Some("postToolUse"), payload!("copilot-postToolUse.json"), HookEvent::Edit, &[NIX], false);
    let file = "/home/ann/machines/web.nix";
    reads(None, payload!("copilot-vscode-PostToolUse.json"), HookEvent::Edit, &[file], false);
    assert!(read(Agent::Copilot, None, payload!("copilot-agentStop.json")).is_err(), "it does not name its event");
}

#[test]
fn gits_and_everybody_elses() {
    let pushed = HookEvent::Push(vec!["3f1c0de9b7a2c6a1c9d0e4f5a6b7c8d9e0f1a2b3".to_owned()]);
    reads(Agent::Git, Some("pre-push"), payload!("git-pre-push.txt"), pushed, &[], false);
    reads(Agent::Git, Some("pre-push"), payload!("git-pre-push-delete.txt"), HookEvent::Other, &[], false);
    reads(Agent::Git, Some("pre-push"), "", HookEvent::Other, &[], false);
    reads(Agent::Git, Some("pre-commit"), "", HookEvent::Commit, &[], false);
    reads(Agent::Generic, None, "whatever \0", HookEvent::TurnEnd, &[], false);
    let files = ["configuration.nix", "hosts/laptop.nix"];
    reads(Agent::Generic, Some("edit"), payload!("generic-edit.txt"), HookEvent::Edit, &files, false);
}

#[test]
fn what_is_not_a_payload_is_named() {
    let errors = [
        (Agent::ClaudeCode, None, ""),
        (Agent::Codex, None, "{"),
        (Agent::Gemini, None, "[1]"),
        (Agent::Cursor, None, "{\"status\":\"completed\"}"),
        (Agent::Copilot, None, payload!("copilot-agentStop.json")),
        (Agent::Git, None, ""),
        (Agent::Git, Some("post-merge"), ""),
        (Agent::Git, Some("pre-push"), "refs/heads/main abc"),
        (Agent::Git, Some("pre-push"), "a --upload-pack=x b c"),
        (Agent::Generic, Some("later"), ""),
    ]
    .map(|(agent, word, stdin)| format!("{agent:?}: {:#}\n", read(agent, word, stdin).unwrap_err()));
    insta::assert_snapshot!("errors", errors.concat());
}

#[test]
fn an_event_that_is_not_ours_is_nothing_to_do() {
    for agent in AGENTS.into_iter().filter(|agent| is_json(*agent)) {
        let request = read(agent, Some("SessionStart"), "{\"cwd\":\"/\"}").unwrap();
        assert_eq!(request.event, HookEvent::Other);
        let response = respond(agent, &request, &HookVerdict::Fail("x".to_owned()));
        assert!(response.exit == 0 && !blocks(agent, &response), "{response:?}");
    }
}

const EVENTS: [(&str, HookEvent); 4] = [
    ("edit", HookEvent::Edit),
    ("turn end", HookEvent::TurnEnd),
    ("commit", HookEvent::Commit),
    ("push", HookEvent::Push(Vec::new())),
];

#[test]
fn a_broken_configuration_blocks_where_it_can_and_never_twice() {
    let broken = HookVerdict::Fail("nginx.service failed".to_owned());
    for agent in AGENTS {
        for (name, event) in EVENTS.into_iter().filter(|(_, event)| effect(agent, event) != HookEffect::Never) {
            let response = respond(agent, &at(event.clone(), false), &broken);
            let text = format!("{}{}", response.stdout, response.stderr);
            assert!(text.contains("nginx.service failed"), "{agent:?} {name}: {response:?}");
            if event != HookEvent::Edit {
                assert!(blocks(agent, &response), "{agent:?} {name}: {response:?}");
                let again = respond(agent, &at(event, true), &broken);
                assert!(!blocks(agent, &again), "{agent:?}: {again:?}");
                assert!(format!("{}{}", again.stdout, again.stderr).contains("nginx.service failed"));
            }
        }
    }
}

fn shown(response: &HookResponse) -> String {
    let mut shown = format!("exit {}\n", response.exit);
    for (stream, text) in [("stdout", &response.stdout), ("stderr", &response.stderr)] {
        text.lines().for_each(|line| shown.push_str(&format!("  {stream}: {line}\n")));
    }
    shown
}

/// What each agent gets for every event and verdict, a file per agent.
#[test]
fn each_response_of_each_agent() {
    let text = || "nixbox: …\n".to_owned();
    let verdicts = [
        ("not applicable", HookVerdict::NotApplicable),
        ("pass", HookVerdict::Pass(text())),
        ("fail", HookVerdict::Fail(text())),
        ("fail without a reason", HookVerdict::Fail(" \n".to_owned())),
        ("unknown", HookVerdict::Unknown(text())),
        ("pending", HookVerdict::Pending(text())),
    ];
    for agent in AGENTS {
        let mut all = String::new();
        for (event_name, event) in EVENTS.into_iter().filter(|(_, event)| effect(agent, event) != HookEffect::Never) {
            for (verdict_name, verdict) in &verdicts {
                let first = respond(agent, &at(event.clone(), false), verdict);
                let again = respond(agent, &at(event.clone(), true), verdict);
                all.push_str(&format!("{event_name}, {verdict_name}: {}", shown(&first)));
                if again != first {
                    all.push_str(&format!("{event_name}, {verdict_name}, already blocked: {}", shown(&again)));
                }
            }
        }
        insta::assert_snapshot!(format!("{agent:?}"), all);
    }
}

#[test]
fn the_readme_has_the_table() {
    let readme = include_str!("../../../README.md");
    for row in table().lines() {
        assert!(readme.lines().any(|line| line == row), "missing in the README: {row}");
    }
    assert_eq!(table().lines().count(), AGENTS.len() + 2);
}

fn any_verdict() -> impl Strategy<Value = HookVerdict> {
    prop_oneof![
        Just(HookVerdict::NotApplicable),
        any::<String>().prop_map(HookVerdict::Pass),
        any::<String>().prop_map(HookVerdict::Fail),
        any::<String>().prop_map(HookVerdict::Unknown),
        any::<String>().prop_map(HookVerdict::Pending),
    ]
}

fn any_request() -> impl Strategy<Value = HookRequest> {
    let event = prop_oneof![
        Just(HookEvent::Edit),
        Just(HookEvent::TurnEnd),
        Just(HookEvent::Commit),
        Just(HookEvent::Push(vec!["1".repeat(40)])),
        Just(HookEvent::Other),
    ];
    (event, any::<bool>()).prop_map(|(event, already_blocked)| at(event, already_blocked))
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
    fn only_a_broken_configuration_blocks(request in any_request(), verdict in any_verdict()) {
        for agent in AGENTS {
            let response = respond(agent, &request, &verdict);
            if is_json(agent) && !response.stdout.is_empty() {
                let parsed: Result<Value, _> = serde_json::from_str(&response.stdout);
                prop_assert!(parsed.is_ok_and(|value| value.is_object()), "{:?}", response);
            }
            if !matches!(verdict, HookVerdict::Fail(_)) || request.event == HookEvent::Other {
                prop_assert!(!blocks(agent, &response) && response.exit == 0, "{:?}: {:?}", agent, response);
            }
            if is_json(agent) {
                prop_assert_eq!(response.exit, 0);
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
