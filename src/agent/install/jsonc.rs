//! Adds hooks to JSON with comments, and removes them, leaving every other byte as it is: comments, trailing commas,
//! blanks and line ends are the user's. Pure.
//!
//! jsonc-parser's `append` and `remove` are not used: they spread one-line objects over lines and drop blank lines and
//! comments. What is inserted shows how it got there: directly after the bracket of a list or object that was there and
//! empty, after a blank in one that was created for it.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstArray, CstContainerNode, CstNode, CstObject, CstObjectProp, CstRootNode};
use serde_json::{Map, Value, json};

/// The hooks that a settings file is to have.
#[derive(Debug, Clone)]
pub(super) struct HookSet {
    /// The agent's name, by which our commands are recognised.
    pub(super) agent: String,
    /// `version`, where the agent requires one.
    pub(super) version: Option<u64>,
    /// The member that holds the events; `None`: the file itself does.
    pub(super) below: Option<&'static str>,
    /// The event, and the entry of its list.
    pub(super) hooks: Vec<(&'static str, Value)>,
}

impl HookSet {
    /// The text of a file that has nothing else.
    pub(super) fn alone(&self) -> String {
        let lists: Map<_, _> = self.hooks.iter().map(|(event, entry)| ((*event).to_owned(), json!([entry]))).collect();
        let mut root = match self.below {
            Some(below) => json!({ below: lists }),
            None => Value::Object(lists),
        };
        if let Some(version) = self.version {
            root["version"] = json!(version);
        }
        format!("{root:#}\n")
    }

    /// The text with those hooks that it lacks.
    ///
    /// # Errors
    /// What is wrong with the text, as a fragment.
    pub(super) fn added(&self, text: &str) -> Result<String, String> {
        let (mark, bare) = without_mark(text);
        let is_new =
            self.below.is_some_and(|below| matches!(parse(bare), Ok((_, root)) if member(&root, below).is_none()));
        let mut text = bare.to_owned();
        for (event, entry) in &self.hooks {
            // What an older nixbox wrote is brought up to date.
            while let Some(less) = self.without_outdated(&text, event, entry)? {
                text = less;
            }
            text = self.with_hook(&text, event, entry)?;
        }
        let (_file, root) = parse(&text)?;
        // A file that had hooks without a version does without.
        if let Some(version) = self.version.filter(|_| is_new && member(&root, "version").is_none()) {
            text = with_child(&root.into(), Some("version"), &json!(version));
        }
        Ok(format!("{mark}{text}"))
    }

    fn with_hook(&self, text: &str, event: &str, entry: &Value) -> Result<String, String> {
        let (_file, root) = parse(text)?;
        let hooks = match self.below {
            None => root,
            Some(below) => match member(&root, below) {
                Some(hooks) => hooks.object_value().ok_or_else(|| format!("`{below}` is not an object"))?,
                None => return Ok(with_child(&root.into(), Some(below), &json!({ event: [entry] }))),
            },
        };
        let Some(list) = member(&hooks, event) else {
            return Ok(with_child(&hooks.into(), Some(event), &json!([entry])));
        };
        let path = self.below.map_or_else(|| event.to_owned(), |below| format!("{below}.{event}"));
        let list = list.array_value().ok_or_else(|| format!("`{path}` is not an array"))?;
        let is_there = list.elements().iter().flat_map(handlers).any(|handler| self.is_ours(&handler));
        Ok(if is_there { text.to_owned() } else { with_child(&list.into(), None, entry) })
    }

    /// The text as it was before the hooks were added; unchanged where there are none.
    ///
    /// # Errors
    /// What is wrong with the text, as a fragment.
    pub(super) fn removed(&self, text: &str) -> Result<String, String> {
        let (mark, bare) = without_mark(text);
        let mut left = self.without_hooks(bare, true)?;
        // Written or edited by hand: which of the emptied containers were there before is unknown.
        if left != bare && self.added(&left).as_deref() != Ok(bare) {
            left = self.without_hooks(bare, false)?;
        }
        Ok(format!("{mark}{left}"))
    }

    /// `exact`: without `version` and the emptied containers that [`Self::added`] creates. Else without all emptied ones
    /// but with `version`, which may be the user's.
    fn without_hooks(&self, text: &str, exact: bool) -> Result<String, String> {
        let mut left = text.to_owned();
        // The last that was added first.
        for (event, _) in self.hooks.iter().rev() {
            while let Some(less) = self.without_hook(&left, event, exact)? {
                left = less;
            }
        }
        let (_file, root) = parse(&left)?;
        let is_versioned = exact
            && self.version.is_some()
            && left != text
            && self.below.is_none_or(|below| member(&root, below).is_none());
        let version = member(&root, "version").filter(|_| is_versioned);
        Ok(version.and_then(|version| without(&version.into())).unwrap_or(left))
    }

    /// Without one hook of ours, and the entry, list and object that hold nothing else; `None` where there is none.
    fn without_hook(&self, text: &str, event: &str, exact: bool) -> Result<Option<String>, String> {
        let (_file, root) = parse(text)?;
        for entry in self.list(&root, event).iter().flat_map(CstArray::elements) {
            let handlers = handlers(&entry);
            let Some(handler) = handlers.iter().find(|handler| self.is_ours(handler)) else { continue };
            return Ok(match handlers.len() {
                1 => without(&or_container(or_container(entry, exact), exact)),
                _ => without(handler),
            });
        }
        Ok(None)
    }

    /// Without an entry that holds nothing but an older command of ours: one without words of the user's.
    fn without_outdated(&self, text: &str, event: &str, entry: &Value) -> Result<Option<String>, String> {
        let (_file, root) = parse(text)?;
        for found in self.list(&root, event).iter().flat_map(CstArray::elements) {
            let handlers = handlers(&found);
            let [handler] = handlers.as_slice() else { continue };
            // One with comments in it is the user's by now.
            let is_current = serde_json::from_str(&found.to_string()).ok().is_none_or(|value: Value| value == *entry);
            if self.is_ours(handler) && !is_current && self.is_as_written(handler, event) {
                return Ok(without(&found));
            }
        }
        Ok(None)
    }

    /// Whether a command is one that some nixbox wrote, with no target or flag that a user added.
    fn is_as_written(&self, handler: &CstNode, event: &str) -> bool {
        command(handler).is_some_and(|command| {
            let words = command.split_once(" hook ").map_or("", |(_, words)| words);
            let words = words.split_once(" || ").map_or(words, |(words, _)| words);
            [self.agent.clone(), format!("{} {event}", self.agent)].contains(&words.trim().to_owned())
        })
    }

    /// The list of an event's entries.
    fn list(&self, root: &CstObject, event: &str) -> Option<CstArray> {
        let hooks = match self.below {
            None => root.clone(),
            Some(below) => member(root, below)?.object_value()?,
        };
        member(&hooks, event)?.array_value()
    }

    fn is_ours(&self, handler: &CstNode) -> bool {
        command(handler).is_some_and(|command| is_ours(&command, &self.agent))
    }
}

/// A handler's shell command.
fn command(handler: &CstNode) -> Option<String> {
    let properties = handler.as_object()?.properties();
    let is_command = |property: &&CstObjectProp| matches!(property.decoded_name().as_deref(), Some("command" | "bash"));
    properties.iter().find(is_command)?.value()?.as_string_lit()?.decoded_value().ok()
}

/// Whether a shell command is nixbox's hook for this agent, wherever the program is.
fn is_ours(command: &str, agent: &str) -> bool {
    command.split_once(" hook ").is_some_and(|(program, words)| {
        let name = program.trim().trim_matches(['\'', '"']);
        name.rsplit('/').next() == Some("nixbox") && words.split_whitespace().next() == Some(agent)
    })
}

/// The handlers of an entry: those in its own list `hooks`, or the entry itself.
fn handlers(entry: &CstNode) -> Vec<CstNode> {
    let list = entry.as_object().and_then(|group| member(&group, "hooks")?.array_value());
    list.map_or_else(|| vec![entry.clone()], |list| list.elements())
}

/// A byte order mark, which the parser does not know, and the rest.
fn without_mark(text: &str) -> (&str, &str) {
    text.split_at(if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 })
}

/// The file, which has to outlive its nodes, and its object.
fn parse(text: &str) -> Result<(CstRootNode, CstObject), String> {
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let file = CstRootNode::parse(text, &options).map_err(|error| format!("it is not valid JSON: {error}"))?;
    let value = file.value().ok_or("it is empty, which is not valid JSON")?;
    let root = value.as_object().ok_or("it is not a JSON object")?;
    Ok((file, root))
}

/// An object's property; of several with one name the last counts, as for the agents.
fn member(object: &CstObject, name: &str) -> Option<CstObjectProp> {
    object.properties().into_iter().rev().find(|property| property.decoded_name().as_deref() == Some(name))
}

fn is_blank(node: &CstNode) -> bool {
    node.is_whitespace() || node.is_newline()
}

fn texts(container: &CstContainerNode) -> Vec<String> {
    container.children().iter().map(ToString::to_string).collect()
}

/// The whole text, with these in place of a container's children.
fn rebuilt(container: &CstContainerNode, children: &[String]) -> String {
    let text = children.concat();
    let Some(parent) = container.parent() else { return text };
    let mut siblings = texts(&parent);
    siblings[container.child_index()] = text;
    rebuilt(&parent, &siblings)
}

/// The whole text with one more child at the end of a container, in lines where the others are.
fn with_child(container: &CstContainerNode, name: Option<&str>, value: &Value) -> String {
    let mut texts = texts(container);
    let head = name.map(|name| format!("{}: ", json!(name))).unwrap_or_default();
    let pretty = format!("{head}{value:#}");
    let in_a_line = pretty.lines().map(str::trim_start).collect::<Vec<_>>().join(" ");
    let children = container.children_exclude_trivia_and_tokens();
    let (Some(first), Some(last)) = (children.first(), children.last()) else {
        texts[0] += &in_a_line;
        return rebuilt(container, &texts);
    };
    let comma = last.trailing_comma().map(|comma| comma.child_index());
    let mut place = comma.unwrap_or(last.child_index());
    let mut piece = format!(" {in_a_line}");
    if first.previous_siblings().any(|sibling| sibling.is_newline()) {
        // After the comments on the last child.
        let inner = &container.children()[..texts.len() - 1];
        place = inner.iter().rposition(|node| !is_blank(node)).unwrap_or(place);
        piece = lines(&pretty, first);
    }
    match comma {
        Some(_) => piece.push(','),
        None => texts[last.child_index()].push(','),
    }
    texts[place] += &piece;
    rebuilt(container, &texts)
}

/// Pretty JSON as lines of their own, indented like a sibling and with the file's line ends.
fn lines(pretty: &str, sibling: &CstNode) -> String {
    let file = sibling.root_node();
    let unit = file.as_ref().and_then(CstRootNode::single_indent_text).unwrap_or_else(|| "  ".to_owned());
    let end = if file.is_some_and(|file| file.to_string().contains("\r\n")) { "\r\n" } else { "\n" };
    let indent = sibling.indent_text().unwrap_or_default();
    let line = |line: &str| {
        let text = line.trim_start();
        format!("{end}{indent}{}{text}", unit.repeat((line.len() - text.len()) / 2))
    };
    pretty.lines().map(line).collect()
}

/// The property whose list or object holds nothing but this child, not even a comment; else the child. `exact`: only
/// where the container was created for the child.
fn or_container(child: CstNode, exact: bool) -> CstNode {
    let property = child.parent().and_then(|container| {
        let children = container.children();
        let is_alone = children.iter().filter(|node| !node.is_token() && !is_blank(node)).count() == 1;
        let is_created = children.get(1).is_some_and(is_blank);
        container.parent().filter(|_| is_alone && (is_created || !exact))
    });
    property.map_or(child, CstNode::from)
}

/// The whole text without a child, its comma and the blanks before it.
fn without(child: &CstNode) -> Option<String> {
    let container = child.parent()?;
    let mut gone = vec![child.clone()];
    let mut last = child.clone();
    if let Some(comma) = child.trailing_comma() {
        gone.extend(child.next_siblings().take_while(is_blank));
        last = comma.into();
        gone.push(last.clone());
    } else {
        gone.extend(child.previous_siblings().find(CstNode::is_comma));
    }
    let before = child.previous_siblings().find(|node| !is_blank(node)).and_then(|node| node.as_comment());
    let after = last.next_siblings().find(|node| !node.is_whitespace());
    // What follows on this line must not become part of a line comment.
    if !before.is_some_and(|comment| comment.is_line_comment()) || after.is_some_and(|node| node.is_newline()) {
        gone.extend(child.previous_siblings().take_while(is_blank));
    }
    let mut texts = texts(&container);
    for node in gone {
        texts[node.child_index()].clear();
    }
    Some(rebuilt(&container, &texts))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn grouped() -> HookSet {
        let handler = |event| json!({ "type": "command", "command": format!("nixbox hook claude-code {event}") });
        HookSet {
            agent: "claude-code".to_owned(),
            version: None,
            below: Some("hooks"),
            hooks: vec![
                ("Stop", json!({ "hooks": [handler("a")] })),
                ("PostToolUse", json!({ "matcher": "Edit|Write", "hooks": [handler("b")] })),
            ],
        }
    }

    fn flat() -> HookSet {
        let handler = json!({ "command": "'/a b/nixbox' hook cursor", "timeout": 600 });
        HookSet {
            agent: "cursor".to_owned(),
            version: Some(1),
            below: Some("hooks"),
            hooks: vec![("stop", handler.clone()), ("postToolUse", handler)],
        }
    }

    /// Adds and removes again; returns what was between.
    #[track_caller]
    fn there_and_back(hooks: &HookSet, text: &str) -> String {
        let added = hooks.added(text).unwrap();
        assert_ne!(added, text);
        // Strict readers get along with what was strict before.
        if serde_json::from_str::<Value>(text.trim_start_matches('\u{feff}')).is_ok() {
            let value: Value = serde_json::from_str(added.trim_start_matches('\u{feff}')).expect(&added);
            assert!(value["hooks"].is_object(), "{added}");
        }
        assert_eq!(hooks.added(&added).unwrap(), added, "twice is once");
        assert_eq!(hooks.removed(&added).as_deref(), Ok(text), "from:\n{added}");
        added
    }

    #[test]
    fn hooks_are_added_as_lines_among_lines() {
        let added = there_and_back(&grouped(), "{\n  \"model\": \"opus\"\n}\n");
        assert!(added.starts_with("{\n  \"model\": \"opus\",\n  \"hooks\": {\n    \"Stop\": [\n      {\n"), "{added}");
        assert!(added.ends_with("      }\n    ]\n  }\n}\n"), "{added}");
    }

    #[test]
    fn whatever_it_looked_like_comes_back() {
        for text in [
            "{}",
            "{ }\n",
            "{\n}\n",
            "{\n\n}",
            "{\"a\":1}",
            "{\"a\": 1,}",
            "{ \"a\": 1 }",
            "{ \"hooks\": {} }",
            "{\"hooks\":{\"Stop\":[]}}",
            "{\"hooks\": {\"Stop\": [], \"PostToolUse\": [ ]}, \"z\": [1, 2]}",
            "{\n\t\"a\": {\n\t\t\"b\": []\n\t}\n}",
            "{\r\n  \"a\": 1\r\n}\r\n",
            "\u{feff}{\n  \"a\": 1\n}",
            "// mine\n{\n  // a comment\n  \"a\": 1, // the last\n  /* really */\n}\n// end\n",
            "{\n  \"a\": 1 // no comma\n  // and more\n}",
            "{\r\n  \"a\": 1 // windows\r\n}\r\n",
            "{ // nothing yet\n}",
            "{\"a\": 1 // one\n}",
            "{\n  \"hooks\": {\n    \"Stop\": [\n      {\n        \"hooks\": [{ \"type\": \"command\", \"command\": \"say done\" }]\n      }\n    ]\n  }\n}",
            "{\n  \"hooks\": {\n    \"Stop\": [\n      { \"hooks\": [] },\n    ],\n  },\n}",
            "{\"hooks\": {\"Notification\": [{\"hooks\": []}]}, \"version\": 1}",
            "{\n    \"version\": 1,\n    \"hooks\": {\n    }\n}\n",
            "{\"hooks\": {\"stop\": [{\"command\": \"./mine.sh\", \"loop_limit\": 3}]}, \"version\": 1}",
        ] {
            there_and_back(&grouped(), text);
            there_and_back(&flat(), text);
        }
    }

    #[test]
    fn a_file_of_ours_alone_is_known() {
        for hooks in [grouped(), flat()] {
            let text = hooks.alone();
            serde_json::from_str::<Value>(&text).unwrap();
            assert_eq!(hooks.added(&text).unwrap(), text);
        }
    }

    #[test]
    fn what_was_there_before_us_stays_and_what_came_after() {
        let added = grouped().added("{\n  \"a\": 1\n}\n").unwrap();
        let later = added.replace("\n  }\n}\n", ",\n    \"Stop2\": []\n  },\n  \"b\": 2\n}\n");
        let back = grouped().removed(&later).unwrap();
        let value: Value = serde_json::from_str(&back).expect(&back);
        assert_eq!(value, json!({ "a": 1, "hooks": { "Stop2": [] }, "b": 2 }));
    }

    #[test]
    fn others_handlers_in_our_group_stay() {
        let text = "{\"hooks\": {\"Stop\": [{\"hooks\": [{\"command\": \"theirs\"}, \
                    {\"command\": \"/opt/nixbox hook claude-code --target x\"}]}]}}";
        let back = grouped().removed(text).unwrap();
        assert_eq!(back, "{\"hooks\": {\"Stop\": [{\"hooks\": [{\"command\": \"theirs\"}]}]}}");
        let added = grouped().added(text).unwrap();
        assert_eq!(added.matches("claude-code").count(), 2, "only what is missing is added: {added}");
    }

    #[test]
    fn written_by_hand_it_goes_with_what_it_empties_but_not_with_others_comments() {
        for (text, left) in [
            ("{\"hooks\":{\"Stop\":[{\"command\":\"nixbox hook claude-code\"}]},\"a\":1}", "{\"a\":1}"),
            (
                "{\"hooks\": {\"Stop\": [ // mine\n{\"command\": \"nixbox hook claude-code\"}, {\"x\": 1} ]}}",
                "{\"hooks\": {\"Stop\": [ // mine\n {\"x\": 1} ]}}",
            ),
            (
                "{\"hooks\": {\"Stop\": [\n// mine\n{\"command\": \"nixbox hook claude-code\"}\n]}}",
                "{\"hooks\": {\"Stop\": [\n// mine\n]}}",
            ),
            (
                "{\"hooks\": {\"Stop\": [{\"x\": 1}, // mine\n{\"command\": \"nixbox hook claude-code\"}]}}",
                "{\"hooks\": {\"Stop\": [{\"x\": 1} // mine\n]}}",
            ),
        ] {
            assert_eq!(grouped().removed(text).as_deref(), Ok(left));
        }
        let text = "{\"hooks\":{\"stop\":[{\"command\":\"nixbox hook cursor\"}]},\"version\":1}";
        assert_eq!(flat().removed(text).as_deref(), Ok("{\"version\":1}"), "it may be the user's");
    }

    #[test]
    fn another_agents_hook_is_not_ours() {
        assert!(is_ours("nixbox hook codex", "codex"));
        assert!(is_ours("'/a b/nixbox' hook codex --target x", "codex"));
        assert!(!is_ours("nixbox hook cursor", "codex") && !is_ours("unixbox hook codex", "codex"));
        for text in ["{\"hooks\": {\"Stop\": [{\"command\": \"nixbox hook codex\"}]}}", "{\"version\": 1}", "{}"] {
            assert_eq!(grouped().removed(text).as_deref(), Ok(text));
            assert_eq!(flat().removed(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn errors_name_what_is_wrong() {
        for (text, part) in [
            ("", "is empty"),
            ("  // only a comment", "is empty"),
            ("[]", "not a JSON object"),
            ("{", "not valid JSON"),
            ("{\"a\" 1}", "not valid JSON"),
            ("{'a': 1}", "not valid JSON"),
            ("{\"hooks\": []}", "`hooks` is not an object"),
            ("{\"hooks\": {\"Stop\": {}}}", "`hooks.Stop` is not an array"),
        ] {
            let error = grouped().added(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    /// JSON with blanks, comments and trailing commas where they may be.
    fn odd_json() -> impl Strategy<Value = String> {
        let blank = || {
            prop_oneof![
                4 => Just(""), 4 => Just(" "), 2 => Just("\n  "), 1 => Just("\r\n\t"), 1 => Just(" /* c */ "),
                1 => Just(" // c\n"), 1 => Just("// \"d\": [\r\n"),
            ]
        };
        let leaf = prop_oneof![
            Just("1".to_owned()),
            Just("\"text, }\"".to_owned()),
            Just("null".to_owned()),
            Just("{}".to_owned()),
            Just("[]".to_owned()),
            Just("[ ]".to_owned()),
            Just("{\n}".to_owned()),
        ];
        let value = leaf.prop_recursive(4, 24, 4, move |inner| {
            let name = prop_oneof![Just("a"), Just("hooks"), Just("Stop"), Just("matcher"), Just("version")];
            let member = (blank(), name, blank(), inner.clone(), blank());
            let object = (proptest::collection::vec(member, 0..4), any::<bool>(), blank());
            let element = (blank(), inner, blank());
            let array = (proptest::collection::vec(element, 0..4), any::<bool>(), blank());
            prop_oneof![
                object.prop_map(|(members, comma, end)| {
                    let mut seen = BTreeSet::new();
                    let members: Vec<String> = members
                        .into_iter()
                        .filter(|member| seen.insert(member.1))
                        .map(|(a, name, b, value, c)| format!("{a}\"{name}\":{b}{value}{c}"))
                        .collect();
                    let comma = if comma && !members.is_empty() { "," } else { "" };
                    format!("{{{}{comma}{end}}}", members.join(","))
                }),
                array.prop_map(|(elements, comma, end)| {
                    let elements: Vec<String> =
                        elements.into_iter().map(|(a, value, b)| format!("{a}{value}{b}")).collect();
                    let comma = if comma && !elements.is_empty() { "," } else { "" };
                    format!("[{}{comma}{end}]", elements.join(","))
                }),
            ]
        });
        (blank(), value, blank()).prop_map(|(before, value, after)| format!("{before}{value}{after}"))
    }

    proptest! {
        #[test]
        fn any_file_comes_back_byte_for_byte(text in odd_json()) {
            for hooks in [grouped(), flat()] {
                // Files of another shape are refused; that is tested above.
                let Ok(added) = hooks.added(&text) else { continue };
                prop_assert_eq!(hooks.added(&added), Ok(added.clone()));
                prop_assert_eq!(hooks.removed(&added), Ok(text.clone()), "{}", added);
            }
        }

        #[test]
        fn no_text_is_a_panic(text in any::<String>()) {
            let _whatever = (grouped().added(&text), grouped().removed(&text));
        }
    }
}
