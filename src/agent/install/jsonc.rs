//! Adds hooks to a text of JSON, and takes them out, leaving every other byte as it is: comments, trailing commas,
//! blanks and line ends are its owner's. Pure.
//!
//! What is added is written so that its surroundings show how it came there: into a list of many lines as lines, into
//! an empty one without a blank. So taking it out can be checked: of the texts that it may have been, it was the one
//! that becomes this one when the hooks are added.

use jsonc_parser::ast::{Array, Object, ObjectProp, Value as Node};
use jsonc_parser::common::{Range, Ranged as _};
use jsonc_parser::tokens::Token;
use jsonc_parser::{CollectOptions, CommentCollectionStrategy, ParseOptions, parse_to_ast};
use serde_json::{Map, Value, json};

/// The hooks that a file is to have.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// The agent's name, by which a command of ours is known.
    pub(super) agent: &'static str,
    /// `version`, where the agent wants one.
    pub(super) version: Option<u64>,
    /// Below `hooks`: the event, and the entry of its list.
    pub(super) hooks: Vec<(&'static str, Value)>,
}

impl Wanted {
    /// The text of a file that has nothing else.
    pub(super) fn alone(&self) -> String {
        let mut root = Map::new();
        let lists = self.hooks.iter().map(|(event, entry)| ((*event).to_owned(), json!([entry])));
        root.insert("hooks".to_owned(), Value::Object(lists.collect()));
        if let Some(version) = self.version {
            root.insert("version".to_owned(), json!(version));
        }
        let mut text = String::new();
        lines(&Value::Object(root), "", &Style { unit: "  ".to_owned(), end: "\n" }, &mut text);
        text.push('\n');
        text
    }

    /// The text with those hooks that it has not yet.
    ///
    /// # Errors
    /// What is wrong with the text, as a fragment.
    pub(super) fn added(&self, text: &str) -> Result<String, String> {
        let (mark, text) = without_mark(text);
        let mut text = text.to_owned();
        let mut is_new = false;
        for (event, entry) in &self.hooks {
            text = edited(&text, |file| {
                is_new |= file.member(file.root, "hooks").is_none();
                self.added_one(file, event, entry)
            })?;
        }
        // Who had hooks without a version gets along without. After the hooks: so it is known as ours.
        if let Some(version) = self.version.filter(|_| is_new) {
            text = edited(&text, |file| {
                let missing = file.member(file.root, "version").is_none();
                Ok(missing.then(|| file.insert(Container::Object(file.root), Some("version"), &json!(version))))
            })?;
        }
        Ok(format!("{mark}{text}"))
    }

    fn added_one(&self, file: &File<'_>, event: &str, entry: &Value) -> Result<Option<Edits>, String> {
        let Some(hooks) = file.member(file.root, "hooks") else {
            return Ok(Some(file.insert(Container::Object(file.root), Some("hooks"), &json!({ event: [entry] }))));
        };
        let Node::Object(hooks) = &hooks.value else { return Err("`hooks` is no object in it".to_owned()) };
        let Some(list) = file.member(hooks, event) else {
            return Ok(Some(file.insert(Container::Object(hooks), Some(event), &json!([entry]))));
        };
        let Node::Array(list) = &list.value else { return Err(format!("`hooks.{event}` is no list in it")) };
        let there = list.elements.iter().any(|element| self.handlers(element).iter().any(|handler| handler.1));
        Ok((!there).then(|| file.insert(Container::Array(list), None, entry)))
    }

    /// The text as it was before: `None` where there is no hook of ours.
    ///
    /// # Errors
    /// What is wrong with the text, as a fragment.
    pub(super) fn removed(&self, text: &str) -> Result<Option<String>, String> {
        let (mark, bare) = without_mark(text);
        // Which of what is empty then goes too: each event's list, `hooks`, and `version`.
        let kinds = self.hooks.len() + 2;
        let mut fallback = None;
        for prune in 0..1_u32 << kinds {
            let Some(candidate) = self.removed_by(bare, prune)? else { return Ok(None) };
            if self.added(&candidate).is_ok_and(|again| again == bare) {
                return Ok(Some(format!("{mark}{candidate}")));
            }
            // Everything but `version`, which others' hooks may need.
            if prune == (1 << (kinds - 1)) - 1 {
                fallback = Some(format!("{mark}{candidate}"));
            }
        }
        Ok(fallback)
    }

    fn removed_by(&self, text: &str, prune: u32) -> Result<Option<String>, String> {
        let mut text = text.to_owned();
        let mut found = false;
        for (bit, (event, _)) in self.hooks.iter().enumerate() {
            loop {
                let before = text.clone();
                text = edited(&text, |file| Ok(self.removed_one(file, event)))?;
                if text == before {
                    break;
                }
                found = true;
            }
            if prune & (1 << bit) != 0 {
                text = edited(&text, |file| {
                    Ok(file.hooks().and_then(|hooks| {
                        let list = file.member(hooks, event)?;
                        let empty = matches!(&list.value, Node::Array(list) if list.elements.is_empty());
                        empty.then(|| file.remove(Container::Object(hooks), list.range))
                    }))
                })?;
            }
        }
        let bit = self.hooks.len();
        if prune & (1 << bit) != 0 {
            text = edited(&text, |file| {
                let empty = file.hooks().is_some_and(|hooks| hooks.properties.is_empty());
                let member = file.member(file.root, "hooks").filter(|_| empty);
                Ok(member.map(|member| file.remove(Container::Object(file.root), member.range)))
            })?;
        }
        if prune & (1 << (bit + 1)) != 0 && self.version.is_some() {
            text = edited(&text, |file| {
                let member = file.member(file.root, "version");
                Ok(member.map(|member| file.remove(Container::Object(file.root), member.range)))
            })?;
        }
        Ok(found.then_some(text))
    }

    /// Takes out one thing of ours: an entry, or a handler of an entry that has others' too.
    fn removed_one(&self, file: &File<'_>, event: &str) -> Option<Edits> {
        let Node::Array(list) = &file.member(file.hooks()?, event)?.value else { return None };
        for element in &list.elements {
            let handlers = self.handlers(element);
            if handlers.is_empty() || !handlers.iter().any(|handler| handler.1) {
                continue;
            }
            if handlers.iter().all(|handler| handler.1) {
                return Some(file.remove(Container::Array(list), element.range()));
            }
            let (handler, _) = handlers.iter().find(|handler| handler.1)?;
            let Node::Object(group) = element else { return None };
            let Node::Array(group) = &file.member(group, "hooks")?.value else { return None };
            return Some(file.remove(Container::Array(group), *handler));
        }
        None
    }

    /// The handlers of an entry, and whether each is ours: the entry itself, or those in its own list `hooks`.
    fn handlers(&self, entry: &Node<'_>) -> Vec<(Range, bool)> {
        let Node::Object(object) = entry else { return Vec::new() };
        let inner = object.properties.iter().rev().find(|property| property.name.as_str() == "hooks");
        match inner.map(|property| &property.value) {
            Some(Node::Array(list)) => {
                list.elements.iter().map(|element| (element.range(), self.is_ours(element))).collect()
            }
            _ => vec![(object.range, self.is_ours(entry))],
        }
    }

    fn is_ours(&self, handler: &Node<'_>) -> bool {
        let Node::Object(handler) = handler else { return false };
        handler.properties.iter().any(|property| match (property.name.as_str(), &property.value) {
            ("command" | "bash", Node::StringLit(command)) => is_ours(&command.value, self.agent),
            _ => false,
        })
    }
}

/// Whether a shell's command is nixbox's hook for this agent, wherever the program is.
fn is_ours(command: &str, agent: &str) -> bool {
    command.split_once(" hook ").is_some_and(|(program, words)| {
        let name = program.trim().trim_matches(['\'', '"']);
        name.rsplit('/').next() == Some("nixbox") && words.split_whitespace().next() == Some(agent)
    })
}

/// A byte order mark, and the rest.
fn without_mark(text: &str) -> (&str, &str) {
    text.strip_prefix('\u{feff}').map_or(("", text), |rest| text.split_at(text.len() - rest.len()))
}

/// Texts for places in the text, the later place first.
type Edits = Vec<(Range, String)>;

/// The text after one change, or as it is where there is none to make.
fn edited(text: &str, change: impl FnOnce(&File<'_>) -> Result<Option<Edits>, String>) -> Result<String, String> {
    let collect = CollectOptions { comments: CommentCollectionStrategy::AsTokens, tokens: true };
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
    let parsed = parse_to_ast(text, &collect, &options).map_err(|error| format!("it is no valid JSON: {error}"))?;
    let root = match parsed.value {
        Some(Node::Object(root)) => root,
        Some(_) => return Err("it is no JSON object".to_owned()),
        None => return Err("it is empty, which is no valid JSON".to_owned()),
    };
    let tokens = parsed.tokens.unwrap_or_default();
    let tokens: Vec<(Range, Kind)> = tokens.iter().map(|it| (it.range, Kind::of(&it.token))).collect();
    let file = File { text, root: &root, tokens };
    let edits = change(&file)?;
    let mut text = text.to_owned();
    for (place, piece) in edits.unwrap_or_default() {
        text.replace_range(place.start..place.end, &piece);
    }
    Ok(text)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Comma,
    Comment,
    Other,
}

impl Kind {
    fn of(token: &Token<'_>) -> Self {
        match token {
            Token::Comma => Self::Comma,
            Token::CommentLine(_) | Token::CommentBlock(_) => Self::Comment,
            _ => Self::Other,
        }
    }
}

/// What something is added to or taken from.
#[derive(Clone, Copy)]
enum Container<'a> {
    Object(&'a Object<'a>),
    Array(&'a Array<'a>),
}

impl Container<'_> {
    fn range(&self) -> Range {
        match self {
            Self::Object(object) => object.range,
            Self::Array(array) => array.range,
        }
    }

    fn children(&self) -> Vec<Range> {
        match self {
            Self::Object(object) => object.properties.iter().map(|property| property.range).collect(),
            Self::Array(array) => array.elements.iter().map(|element| element.range()).collect(),
        }
    }
}

/// How a text is laid out.
struct Style {
    /// What a level is indented by.
    unit: String,
    /// What a line ends with.
    end: &'static str,
}

/// A text that was read.
struct File<'a> {
    text: &'a str,
    root: &'a Object<'a>,
    tokens: Vec<(Range, Kind)>,
}

impl<'a> File<'a> {
    /// An object's member; of several by one name the last counts, as for those who read the file.
    fn member(&self, object: &'a Object<'a>, name: &str) -> Option<&'a ObjectProp<'a>> {
        object.properties.iter().rev().find(|property| property.name.as_str() == name)
    }

    fn hooks(&self) -> Option<&'a Object<'a>> {
        match &self.member(self.root, "hooks")?.value {
            Node::Object(hooks) => Some(hooks),
            _ => None,
        }
    }

    fn style(&self) -> Style {
        let first = self.root.properties.first().map(|property| self.indent(property.range.start));
        let unit = first.filter(|indent| !indent.is_empty()).unwrap_or("  ").to_owned();
        Style { unit, end: if self.text.contains("\r\n") { "\r\n" } else { "\n" } }
    }

    /// What stands before a place in its line, where that is blank.
    fn indent(&self, at: usize) -> &'a str {
        let line = &self.text[self.text[..at].rfind('\n').map_or(0, |end| end + 1)..at];
        if line.trim().is_empty() { line } else { "" }
    }

    /// The last token that ends before this place, and the first that begins after the other.
    fn before(&self, at: usize) -> Option<(Range, Kind)> {
        self.tokens.iter().rev().find(|(range, _)| range.end <= at).copied()
    }

    /// The comma that follows what ends here, before anything else but comments.
    fn comma_after(&self, at: usize) -> Option<Range> {
        let next = self.tokens.iter().find(|(range, kind)| range.start >= at && *kind != Kind::Comment)?;
        (next.1 == Kind::Comma).then_some(next.0)
    }

    fn insert(&self, into: Container<'_>, name: Option<&str>, value: &Value) -> Edits {
        let style = self.style();
        let head = name.map(|name| format!("{}: ", json!(name))).unwrap_or_default();
        let compact = || {
            let mut piece = head.clone();
            in_a_line(value, &mut piece);
            piece
        };
        let children = into.children();
        let (Some(first), Some(last)) = (children.first(), children.last()) else {
            let inside = into.range().start + 1;
            return vec![(Range::new(inside, inside), compact())];
        };
        let trailing = self.comma_after(last.end).filter(|comma| comma.end < into.range().end);
        let behind = trailing.map_or(last.end, |comma| comma.end);
        if !self.text[into.range().start..first.start].contains('\n') {
            let piece = match trailing {
                Some(_) => format!(" {},", compact()),
                None => format!(", {}", compact()),
            };
            return vec![(Range::new(behind, behind), piece)];
        }
        // After what is said about the last one.
        let end = self.before(into.range().end - 1).map_or(behind, |(range, _)| range.end);
        let indent = self.indent(first.start);
        let mut piece = format!("{}{indent}{head}", style.end);
        lines(value, indent, &style, &mut piece);
        if trailing.is_some() {
            piece.push(',');
            vec![(Range::new(end, end), piece)]
        } else {
            vec![(Range::new(end, end), piece), (Range::new(last.end, last.end), ",".to_owned())]
        }
    }

    /// Takes a child out, with the comma that it came with.
    fn remove(&self, from: Container<'_>, child: Range) -> Edits {
        let own = self.comma_after(child.end).filter(|comma| comma.end < from.range().end);
        let begin = self.before(child.start).map_or(child.start, |(range, _)| range.end);
        // A child's value is a token too: what stands before the child is no part of it.
        let begin = begin.max(from.range().start + 1).min(child.start);
        let end = own.map_or(child.end, |comma| comma.end);
        let is_first = from.children().first().is_some_and(|first| first.start == child.start);
        let mut edits = vec![(Range::new(begin, end), String::new())];
        if own.is_none() && !is_first {
            let comma = self.tokens.iter().rev().find(|(range, kind)| range.end <= child.start && *kind == Kind::Comma);
            if let Some((comma, _)) = comma {
                if comma.end == begin {
                    edits = vec![(Range::new(comma.start, end), String::new())];
                } else {
                    edits.push((*comma, String::new()));
                }
            }
        }
        edits
    }
}

/// A value over many lines; the first goes where the text ends.
fn lines(value: &Value, indent: &str, style: &Style, text: &mut String) {
    let deeper = format!("{indent}{}", style.unit);
    let mut list = |open: char, close: char, pieces: Vec<(String, &Value)>| {
        text.push(open);
        let last = pieces.len();
        for (index, (head, value)) in pieces.into_iter().enumerate() {
            text.push_str(style.end);
            text.push_str(&deeper);
            text.push_str(&head);
            lines(value, &deeper, style, text);
            if index + 1 < last {
                text.push(',');
            }
        }
        text.push_str(style.end);
        text.push_str(indent);
        text.push(close);
    };
    match value {
        Value::Object(object) if !object.is_empty() => {
            list('{', '}', object.iter().map(|(name, value)| (format!("{}: ", json!(name)), value)).collect());
        }
        Value::Array(array) if !array.is_empty() => {
            list('[', ']', array.iter().map(|value| (String::new(), value)).collect());
        }
        other => text.push_str(&other.to_string()),
    }
}

/// A value in a line, with a blank inside of each bracket.
fn in_a_line(value: &Value, text: &mut String) {
    match value {
        Value::Object(object) if !object.is_empty() => {
            for (index, (name, value)) in object.iter().enumerate() {
                text.push_str(if index == 0 { "{ " } else { ", " });
                text.push_str(&format!("{}: ", json!(name)));
                in_a_line(value, text);
            }
            text.push_str(" }");
        }
        Value::Array(array) if !array.is_empty() => {
            for (index, value) in array.iter().enumerate() {
                text.push_str(if index == 0 { "[ " } else { ", " });
                in_a_line(value, text);
            }
            text.push_str(" ]");
        }
        other => text.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wanted() -> Wanted {
        let handler = |event| json!({ "type": "command", "command": format!("nixbox hook claude-code {event}") });
        Wanted {
            agent: "claude-code",
            version: None,
            hooks: vec![
                ("Stop", json!({ "hooks": [handler("a")] })),
                ("PostToolUse", json!({ "matcher": "Edit|Write", "hooks": [handler("b")] })),
            ],
        }
    }

    fn flat() -> Wanted {
        let handler = json!({ "command": "'/a b/nixbox' hook cursor", "timeout": 600 });
        Wanted { agent: "cursor", version: Some(1), hooks: vec![("stop", handler.clone()), ("postToolUse", handler)] }
    }

    /// Adds and takes out again; answers with what was between.
    #[track_caller]
    fn there_and_back(wanted: &Wanted, text: &str) -> String {
        let added = wanted.added(text).unwrap();
        assert_ne!(added, text);
        // Strict readers get along with what was strict before.
        if serde_json::from_str::<Value>(text.trim_start_matches('\u{feff}')).is_ok() {
            let value: Value = serde_json::from_str(added.trim_start_matches('\u{feff}')).expect(&added);
            assert!(value["hooks"].is_object(), "{added}");
        }
        assert_eq!(wanted.added(&added).unwrap(), added, "twice is once");
        assert_eq!(wanted.removed(&added).unwrap().as_deref(), Some(text), "from:\n{added}");
        added
    }

    #[test]
    fn hooks_are_added_as_lines_among_lines() {
        let added = there_and_back(&wanted(), "{\n  \"model\": \"opus\"\n}\n");
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
            there_and_back(&wanted(), text);
            there_and_back(&flat(), text);
        }
    }

    #[test]
    fn a_file_of_ours_alone_is_known() {
        for wanted in [wanted(), flat()] {
            let text = wanted.alone();
            serde_json::from_str::<Value>(&text).unwrap();
            assert_eq!(wanted.added(&text).unwrap(), text);
        }
    }

    #[test]
    fn what_was_there_before_us_stays_and_what_came_after() {
        let added = wanted().added("{\n  \"a\": 1\n}\n").unwrap();
        let later = added.replace("\n  }\n}\n", ",\n    \"Stop2\": []\n  },\n  \"b\": 2\n}\n");
        let back = wanted().removed(&later).unwrap().unwrap();
        let value: Value = serde_json::from_str(&back).expect(&back);
        assert_eq!(value, json!({ "a": 1, "hooks": { "Stop2": [] }, "b": 2 }));
    }

    #[test]
    fn others_handlers_in_our_group_stay() {
        let text = "{\"hooks\": {\"Stop\": [{\"hooks\": [{\"command\": \"theirs\"}, \
                    {\"command\": \"/opt/nixbox hook claude-code --target x\"}]}]}}";
        let back = wanted().removed(text).unwrap().unwrap();
        assert_eq!(back, "{\"hooks\": {\"Stop\": [{\"hooks\": [{\"command\": \"theirs\"}]}]}}");
        let added = wanted().added(text).unwrap();
        assert_eq!(added.matches("claude-code").count(), 2, "only what is missing is added: {added}");
    }

    #[test]
    fn another_agents_hook_is_not_ours() {
        assert!(is_ours("nixbox hook codex", "codex"));
        assert!(is_ours("'/a b/nixbox' hook codex --target x", "codex"));
        assert!(!is_ours("nixbox hook cursor", "codex") && !is_ours("unixbox hook codex", "codex"));
        assert_eq!(wanted().removed("{\"hooks\": {\"Stop\": [{\"command\": \"nixbox hook codex\"}]}}"), Ok(None));
        assert_eq!(wanted().removed("{}"), Ok(None));
    }

    #[test]
    fn what_is_wrong_with_a_text_is_said() {
        for (text, part) in [
            ("", "is empty"),
            ("  // only a comment", "is empty"),
            ("[]", "no JSON object"),
            ("{", "no valid JSON"),
            ("{\"a\" 1}", "no valid JSON"),
            ("{'a': 1}", "no valid JSON"),
            ("{\"hooks\": []}", "`hooks` is no object"),
            ("{\"hooks\": {\"Stop\": {}}}", "`hooks.Stop` is no list"),
        ] {
            let error = wanted().added(text).unwrap_err();
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
                    let mut seen = Vec::new();
                    let members: Vec<String> = members
                        .into_iter()
                        .filter(|member| {
                            !seen.contains(&member.1) && {
                                seen.push(member.1);
                                true
                            }
                        })
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
            for wanted in [wanted(), flat()] {
                // Files of another shape are refused; that is told above.
                let Ok(added) = wanted.added(&text) else { continue };
                prop_assert_eq!(wanted.added(&added), Ok(added.clone()));
                let back = wanted.removed(&added).unwrap();
                prop_assert_eq!(back.as_ref(), Some(&text), "{}", added);
            }
        }

        #[test]
        fn no_text_is_a_panic(text in any::<String>()) {
            let _whatever = (wanted().added(&text), wanted().removed(&text));
        }
    }
}
