use std::path::Path;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::agent::Caller;

fn agents() -> Vec<Agent> {
    ROWS.iter().map(|row| row.agent).collect()
}

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
fn blocks(agent: Agent, event: &HookEvent, response: &HookResponse) -> bool {
    answer::blocks(row(agent), event, response)
}

fn at(event: HookEvent, already_blocked: bool) -> HookRequest {
    HookRequest { event, already_blocked, ..HookRequest::default() }
}

#[track_caller]
fn reads(agent: Agent, word: Option<&str>, stdin: &str, event: HookEvent, files: &[&str]) {
    let request = read(agent, word, stdin).unwrap();
    assert_eq!(request.event, event);
    assert_eq!(request.files, files.iter().map(PathBuf::from).collect::<Vec<_>>());
    if is_json(agent) {
        assert_eq!(request.directory.as_deref(), Some(Path::new("/home/ann/machines")));
    }
}

const NIX: &str = "/home/ann/machines/configuration.nix";

#[test]
fn claude_codes_payloads() {
    let reads = |stdin, event, files: &[&str]| reads(Agent::ClaudeCode, None, stdin, event, files);
    reads(payload!("claude-code-Stop.json"), HookEvent::TurnEnd, &[]);
    reads(payload!("claude-code-Stop-again.json"), HookEvent::TurnEnd, &[]);
    reads(payload!("claude-code-PostToolUse.json"), HookEvent::Edit, &[NIX]);
    let notebook = payload!("claude-code-PostToolUse-NotebookEdit.json");
    reads(notebook, HookEvent::Edit, &["/home/ann/machines/notes.ipynb"]);
    reads(payload!("claude-code-PostToolUse-Bash.json"), HookEvent::Other, &[]);
    reads(payload!("claude-code-SubagentStop.json"), HookEvent::Other, &[]);
}

#[test]
fn codexs_payloads() {
    let reads = |stdin, event, files: &[&str]| reads(Agent::Codex, None, stdin, event, files);
    reads(payload!("codex-Stop.json"), HookEvent::TurnEnd, &[]);
    reads(payload!("codex-Stop-again.json"), HookEvent::TurnEnd, &[]);
    reads(payload!("codex-PostToolUse.json"), HookEvent::Edit, &["configuration.nix", "web.nix"]);
}

#[test]
fn geminis_payloads() {
    let reads = |stdin, event, files: &[&str]| reads(Agent::Gemini, None, stdin, event, files);
    reads(payload!("gemini-AfterAgent.json"), HookEvent::TurnEnd, &[]);
    reads(payload!("gemini-AfterAgent-again.json"), HookEvent::TurnEnd, &[]);
    reads(payload!("gemini-AfterTool.json"), HookEvent::Edit, &[NIX]);
}

#[test]
fn cursors_payloads() {
    let reads = |stdin, event, files: &[&str]| reads(Agent::Cursor, None, stdin, event, files);
    reads(payload!("cursor-stop.json"), HookEvent::TurnEnd, &[]);
    reads(payload!("cursor-stop-again.json"), HookEvent::TurnEnd, &[]);
    reads(payload!("cursor-stop-aborted.json"), HookEvent::Other, &[]);
    reads(payload!("cursor-afterFileEdit.json"), HookEvent::Edit, &[NIX]);
    reads(payload!("cursor-postToolUse.json"), HookEvent::Edit, &[NIX]);
}

#[test]
fn our_own_plugins_payloads() {
    let reads = |stdin, event, files: &[&str]| reads(Agent::Opencode, None, stdin, event, files);
    reads(payload!("opencode-session.idle.json"), HookEvent::TurnEnd, &[]);
    reads(payload!("opencode-session.idle-again.json"), HookEvent::TurnEnd, &[]);
    reads(payload!("opencode-tool.execute.after.json"), HookEvent::Edit, &[NIX]);
}

#[test]
fn copilots_payloads_in_both_spellings() {
    let reads = |word, stdin, event, files: &[&str]| reads(Agent::Copilot, word, stdin, event, files);
    reads(Some("agentStop"), payload!("copilot-agentStop.json"), HookEvent::TurnEnd, &[]);
    reads(None, payload!("copilot-Stop-again.json"), HookEvent::TurnEnd, &[]);
    reads(Some("postToolUse"), payload!("copilot-postToolUse.json"), HookEvent::Edit, &[NIX]);
    let file = "/home/ann/machines/web.nix";
    reads(None, payload!("copilot-vscode-PostToolUse.json"), HookEvent::Edit, &[file]);
    assert!(read(Agent::Copilot, None, payload!("copilot-agentStop.json")).is_err(), "it does not name its event");
}

#[test]
fn gits_and_everybody_elses() {
    let pushed = HookEvent::Push(vec!["3f1c0de9b7a2c6a1c9d0e4f5a6b7c8d9e0f1a2b3".to_owned()]);
    reads(Agent::Git, Some("pre-push"), payload!("git-pre-push.txt"), pushed, &[]);
    reads(Agent::Git, Some("pre-push"), payload!("git-pre-push-delete.txt"), HookEvent::Other, &[]);
    reads(Agent::Git, Some("pre-push"), "", HookEvent::Other, &[]);
    reads(Agent::Git, Some("pre-commit"), "", HookEvent::Commit, &[]);
    reads(Agent::Generic, None, "whatever \0", HookEvent::TurnEnd, &[]);
    let files = ["configuration.nix", "hosts/laptop.nix"];
    reads(Agent::Generic, Some("edit"), payload!("generic-edit.txt"), HookEvent::Edit, &files);
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
    for agent in agents().into_iter().filter(|agent| is_json(*agent)) {
        let request = read(agent, Some("SessionStart"), "{\"cwd\":\"/\"}").unwrap();
        assert_eq!(request.event, HookEvent::Other);
        let response = respond(agent, &request, &HookVerdict::Fail("x".to_owned()));
        assert!(response.exit == 0 && !blocks(agent, &request.event, &response), "{response:?}");
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
    for agent in agents() {
        for (name, event) in EVENTS.into_iter().filter(|(_, event)| effect(agent, event) != HookEffect::Never) {
            let response = respond(agent, &at(event.clone(), false), &broken);
            let text = format!("{}{}", response.stdout, response.stderr);
            assert!(text.contains("nginx.service failed"), "{agent:?} {name}: {response:?}");
            if event != HookEvent::Edit {
                assert!(blocks(agent, &event, &response), "{agent:?} {name}: {response:?}");
                let again = respond(agent, &at(event.clone(), true), &broken);
                assert!(!blocks(agent, &event, &again), "{agent:?}: {again:?}");
                assert!(format!("{}{}", again.stdout, again.stderr).contains("nginx.service failed"));
            }
        }
    }
}

#[test]
fn who_reads_anothers_settings_is_answered_in_its_own_words() {
    let broken = HookVerdict::Fail("x".to_owned());
    let said = |agent, caller, event: HookEvent| -> Value {
        let request = HookRequest { caller, event, ..HookRequest::default() };
        serde_json::from_str(&respond(agent, &request, &broken).stdout).unwrap()
    };
    let edit = said(Agent::ClaudeCode, Caller::Copilot, HookEvent::Edit);
    assert_eq!(
        (&edit["additionalContext"], &edit["hookSpecificOutput"]["additionalContext"]),
        (&json!("x"), &json!("x"))
    );
    // Codex takes any member that it does not know for a failure.
    let edit = said(Agent::Codex, Caller::Own, HookEvent::Edit);
    assert_eq!(edit, json!({ "hookSpecificOutput": { "hookEventName": "PostToolUse", "additionalContext": "x" } }));
    let end = said(Agent::ClaudeCode, Caller::OwnWithFeedback, HookEvent::TurnEnd);
    assert_eq!(end, json!({ "hookSpecificOutput": { "hookEventName": "Stop", "additionalContext": "x" } }));
    for agent in [Agent::ClaudeCode, Agent::Copilot] {
        let end = said(agent, Caller::VsCode, HookEvent::TurnEnd);
        assert_eq!(end["hookSpecificOutput"]["decision"], "block");
    }
    assert_eq!(said(Agent::ClaudeCode, Caller::Own, HookEvent::TurnEnd)["decision"], "block");
    assert_eq!(said(Agent::Antigravity, Caller::Own, HookEvent::TurnEnd)["decision"], "continue");
}

#[test]
fn callers_are_known_by_what_they_send() {
    let caller = |agent, stdin| read(agent, None, stdin).unwrap().caller;
    assert_eq!(caller(Agent::ClaudeCode, payload!("claude-code-real-Stop.json")), Caller::OwnWithFeedback);
    let older = r#"{"hook_event_name":"Stop","cwd":"/x","stop_hook_active":false}"#;
    assert_eq!(caller(Agent::ClaudeCode, older), Caller::Own);
    assert_eq!(caller(Agent::ClaudeCode, payload!("claude-code-under-copilot-PostToolUse.json")), Caller::Copilot);
    assert_eq!(caller(Agent::ClaudeCode, payload!("claude-code-under-copilot-Stop.json")), Caller::Copilot);
    assert_eq!(caller(Agent::Codex, payload!("codex-real-Stop.json")), Caller::Own);
    let vs_code = r#"{"hookEventName":"PostToolUse","sessionId":"s","cwd":"/x","tool_name":"replace_string_in_file",
        "tool_input":{"filePath":"/x/a.nix"}}"#;
    let request = read(Agent::ClaudeCode, None, vs_code).unwrap();
    assert_eq!(
        (request.caller, request.event, request.session.as_deref()),
        (Caller::VsCode, HookEvent::Edit, Some("s"))
    );
    assert_eq!(request.files, [PathBuf::from("/x/a.nix")]);
    let other = vs_code.replace("replace_string_in_file", "run_in_terminal");
    assert_eq!(read(Agent::ClaudeCode, None, &other).unwrap().event, HookEvent::Other);
}

#[test]
fn who_was_made_to_continue_says_so() {
    let said = |agent, stdin| read(agent, None, stdin).unwrap().was_continued;
    assert!(said(Agent::ClaudeCode, payload!("claude-code-Stop-again.json")));
    assert!(said(Agent::Codex, payload!("codex-Stop-again.json")));
    assert!(said(Agent::Cursor, payload!("cursor-stop-again.json")));
    assert!(!said(Agent::Cursor, payload!("cursor-stop.json")));
    assert!(!said(Agent::Gemini, payload!("gemini-AfterAgent.json")));
}

#[test]
fn a_call_without_a_payload_leaves_stdin_alone() {
    for (agent, event, has) in [
        (Agent::Generic, None, false),
        (Agent::Generic, Some("edit"), true),
        (Agent::Git, Some("pre-commit"), false),
        (Agent::Git, Some("pre-push"), true),
        (Agent::Codex, None, true),
        (Agent::Copilot, Some("agentStop"), true),
    ] {
        assert_eq!(has_payload(agent, event), has, "{agent:?} {event:?}");
    }
}

/// What the real programs sent.
#[test]
fn real_payloads() {
    let file = "/home/alice/machines/minimal.nix";
    for (agent, word, stdin, event, files) in [
        (Agent::ClaudeCode, None, payload!("claude-code-real-PostToolUse.json"), HookEvent::Edit, &[file][..]),
        (Agent::ClaudeCode, None, payload!("claude-code-real-Stop.json"), HookEvent::TurnEnd, &[]),
        (Agent::ClaudeCode, None, payload!("claude-code-under-copilot-PostToolUse.json"), HookEvent::Edit, &[file]),
        (Agent::ClaudeCode, None, payload!("claude-code-under-copilot-Stop.json"), HookEvent::TurnEnd, &[]),
        (Agent::Codex, None, payload!("codex-real-PostToolUse.json"), HookEvent::Edit, &["minimal.nix"]),
        (Agent::Codex, None, payload!("codex-real-Stop.json"), HookEvent::TurnEnd, &[]),
        (Agent::Gemini, None, payload!("gemini-real-AfterTool.json"), HookEvent::Edit, &[file]),
        (Agent::Gemini, None, payload!("gemini-real-AfterAgent.json"), HookEvent::TurnEnd, &[]),
        (Agent::Copilot, Some("postToolUse"), payload!("copilot-real-postToolUse.json"), HookEvent::Edit, &[file]),
        (Agent::Copilot, Some("postToolUse"), payload!("copilot-real-apply_patch.json"), HookEvent::Edit, &[file]),
        (Agent::Copilot, Some("agentStop"), payload!("copilot-real-agentStop.json"), HookEvent::TurnEnd, &[]),
        (Agent::Qwen, None, payload!("qwen-real-UserPromptSubmit.json"), HookEvent::Prompt, &[]),
        (Agent::Qwen, None, payload!("qwen-real-UserPromptSubmit-tool.json"), HookEvent::Other, &[]),
        (Agent::Qwen, None, payload!("qwen-real-PostToolUse.json"), HookEvent::Edit, &[file]),
        (Agent::Qwen, None, payload!("qwen-real-Stop.json"), HookEvent::TurnEnd, &[]),
        (Agent::Droid, None, payload!("droid-real-PostToolUse.json"), HookEvent::Edit, &[file]),
        (Agent::Droid, None, payload!("droid-real-Stop.json"), HookEvent::TurnEnd, &[]),
    ] {
        let request = read(agent, word, stdin).unwrap();
        assert_eq!((&request.event, request.directory.as_deref()), (&event, Some(Path::new("/home/alice/machines"))));
        assert_eq!(request.files, files.iter().map(PathBuf::from).collect::<Vec<_>>(), "{agent:?}");
        assert!(request.session.is_some(), "{agent:?}");
    }
}

#[test]
fn what_is_no_end_of_a_turn_is_not_tested() {
    for more in [
        r#""permission_mode":"plan""#,
        r#""permission_mode":"spec""#,
        r#""background_tasks":[{"id":"b1"}]"#,
        r#""background_tasks":[{"id":"a1","type":"subagent"}]"#,
        r#""background_tasks":[{"id":"a1","status":"completed"},{"id":"a2","status":"running"}]"#,
        r#""background_tasks":[{"id":"b1","type":"shell"},{"id":"w1","type":"workflow"}]"#,
        r#""status":"aborted""#,
        r#""fullyIdle":false"#,
    ] {
        let stdin = format!(r#"{{"hook_event_name":"Stop","cwd":"/",{more}}}"#);
        assert_eq!(read(Agent::ClaudeCode, None, &stdin).unwrap().event, HookEvent::Other, "{more}");
    }
}

#[test]
fn what_may_never_end_holds_back_no_end_of_a_turn() {
    for tasks in [
        "[]",
        r#"[{"id":"b1","type":"shell","status":"running","command":"npm run dev"}]"#,
        r#"[{"id":"b1","type":"shell"},{"id":"m1","type":"monitor"}]"#,
        // Qwen Code's.
        r#"[{"id":"a1","status":"completed","agent_type":"general-purpose"},{"id":"a2","status":"cancelled"}]"#,
    ] {
        let stdin = format!(r#"{{"hook_event_name":"Stop","cwd":"/","background_tasks":{tasks}}}"#);
        assert_eq!(read(Agent::ClaudeCode, None, &stdin).unwrap().event, HookEvent::TurnEnd, "{tasks}");
    }
}

/// Payloads of agents without a directory in them: their documentation's examples.
#[test]
fn the_directory_may_be_elsewhere() {
    let devin = r#"{"hook_event_name":"Stop","session_id":"3f8d1c2a","prompt_id":"b71e9d40","stop_hook_active":false}"#;
    let variable = |name: &str| (name == "DEVIN_PROJECT_DIR").then(|| PathBuf::from("/home/ann/machines"));
    let request = payload::read(row(Agent::Devin), None, devin, &variable).unwrap();
    assert_eq!(
        (request.event, request.directory.as_deref()),
        (HookEvent::TurnEnd, Some(Path::new("/home/ann/machines")))
    );
    let antigravity = r#"{"conversationId":"c-1","workspacePaths":["/home/ann/machines"],"executionNum":1,
        "terminationReason":"NO_TOOL_CALL","error":"","fullyIdle":true}"#;
    let request = read(Agent::Antigravity, Some("Stop"), antigravity).unwrap();
    assert_eq!((request.event, request.session.as_deref()), (HookEvent::TurnEnd, Some("c-1")));
    assert_eq!(request.directory.as_deref(), Some(Path::new("/home/ann/machines")));
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
        ("red before", HookVerdict::Before(text())),
        ("unknown", HookVerdict::Unknown(text())),
        ("pending", HookVerdict::Pending(text())),
    ];
    for agent in agents() {
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
    assert_eq!(table().lines().count(), ROWS.len() + 2);
}

fn any_verdict() -> impl Strategy<Value = HookVerdict> {
    prop_oneof![
        Just(HookVerdict::NotApplicable),
        any::<String>().prop_map(HookVerdict::Pass),
        any::<String>().prop_map(HookVerdict::Fail),
        any::<String>().prop_map(HookVerdict::Unknown),
        any::<String>().prop_map(HookVerdict::Before),
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
        for agent in agents() {
            let _whatever = read(agent, event.as_deref(), &stdin);
        }
    }

    #[test]
    fn a_payload_of_odd_values_is_none_either(stdin in odd_payload()) {
        for agent in agents() {
            let _whatever = read(agent, Some("Stop"), &stdin);
        }
    }

    #[test]
    fn only_a_broken_configuration_blocks(request in any_request(), verdict in any_verdict()) {
        for agent in agents() {
            let response = respond(agent, &request, &verdict);
            if is_json(agent) && !response.stdout.is_empty() {
                let parsed: Result<Value, _> = serde_json::from_str(&response.stdout);
                prop_assert!(parsed.is_ok_and(|value| value.is_object()), "{:?}", response);
            }
            if !matches!(verdict, HookVerdict::Fail(_)) || request.event == HookEvent::Other {
                prop_assert!(!blocks(agent, &request.event, &response) && response.exit == 0, "{:?}: {:?}", agent, response);
            }
            if is_json(agent) {
                prop_assert_eq!(response.exit, 0);
            }
        }
    }
}

#[test]
fn each_agent_has_a_row() {
    use clap::ValueEnum as _;
    let rows: Vec<Agent> = ROWS.iter().map(|row| row.agent).collect();
    let mut known = Agent::value_variants().to_vec();
    known.sort_by_key(|agent| rows.iter().position(|row| row == agent));
    assert_eq!(known, rows);
    let names: Vec<String> = ROWS.iter().map(super::super::table::Row::name).collect();
    assert_eq!(names[..3], ["claude-code", "codex", "gemini"]);
    for row in &ROWS {
        assert!(row.tools.iter().all(|tool| payload::TOOLS.contains(tool)), "{:?}", row.agent);
    }
}
