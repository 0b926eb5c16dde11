//! What nix writes while it works: `--log-format internal-json` lines on stderr, as far as nixbox needs them.
//!
//! nix writes `@nix {…}`; builders, hooks and older nix mix in plain lines. What is not known is ignored, in shape as
//! in number. Everything kept is bounded: a builder may print without end.
//!
//! The numbers are those of nix's `src/libutil/logging.hh` (`ActivityType`, `ResultType`), unchanged from 2.8 to 2.34.

use std::collections::{BTreeMap, VecDeque};

use serde::Deserialize;
use serde_json::Value;

use super::diagnosis::SourceTree;
use super::store::name_of;
use crate::event::{Event, Events};
use crate::text::plain;

/// Lines kept of each derivation's log.
const TAIL_LINES: usize = 40;
/// Derivations whose tails are kept.
const TAILS: usize = 128;
/// Bytes kept of a line.
const LINE_BYTES: usize = 2000;
/// Error messages, and plain lines, that are kept.
const MESSAGES: usize = 64;
/// Bytes kept of an error message: nix's traces are long, and a `throw` may hold anything.
const MESSAGE_BYTES: usize = 64 << 10;
/// Notes passed on from one run of nix.
const NOTES: usize = 8;

const ACTIVITY_COPY_PATH: u64 = 100;
const ACTIVITY_FILE_TRANSFER: u64 = 101;
const ACTIVITY_BUILDS: u64 = 104;
const ACTIVITY_BUILD: u64 = 105;
const ACTIVITY_SUBSTITUTE: u64 = 108;
const ACTIVITY_FETCH_TREE: u64 = 112;
const RESULT_BUILD_LOG_LINE: u64 = 101;
const RESULT_SET_PHASE: u64 = 104;
const RESULT_PROGRESS: u64 = 105;
const RESULT_SET_EXPECTED: u64 = 106;
const RESULT_POST_BUILD_LOG_LINE: u64 = 107;

/// By which machine.nix says that a part of it begins.
const PART: &str = "trace: nixbox: ";
const IGNORES_SETTINGS: &str = "ignoring untrusted flake configuration setting";
const IS_UNLOCKED: &str = "not writing modified lock file";

/// nix's verbosity of an error (`lvlError`); 1 are warnings, 3 is info, 4 what `-v` adds.
const LEVEL_ERROR: i64 = 0;
const LEVEL_WARNING: i64 = 1;
const LEVEL_INFO: i64 = 3;

/// A line of the protocol. Fields that a version does not send are 0, empty or `None`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProtocolLine {
    action: String,
    id: u64,
    #[serde(rename = "type")]
    kind: u64,
    level: i64,
    text: String,
    msg: String,
    fields: Vec<Value>,
}

/// A part of an evaluation, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EvaluationPart {
    /// The VM.
    Runner,
    /// The host's own system.
    Toplevel,
    /// What the configuration expects.
    Expectations,
}

#[derive(Debug)]
enum Activity {
    Build { drv: String, phase: Option<String> },
    Transfer { done: u64 },
    Builds,
    Other,
}

/// All that is kept of one run of nix.
#[derive(Debug, Default)]
pub struct NixLog {
    /// Errors, in order: without ANSI codes and control characters, trace included, `error:` at their head.
    pub errors: Vec<String>,
    /// The last lines of each derivation's log, by its store path.
    pub tails: BTreeMap<String, VecDeque<String>>,
    /// Lines that were no protocol: what nix or its children said past it.
    pub stray: VecDeque<String>,
    /// Warnings, as nix put them.
    pub warnings: Vec<String>,
    /// Warnings that the user should know, once each.
    pub notes: Vec<String>,
    /// Whether nix said that it does not apply the flake's nixConfig.
    pub ignores_settings: bool,
    /// Whether nix said that flake.lock does not name every input, so that some were looked up anew.
    pub is_unlocked: bool,
    /// Whether nix was told to do without the network.
    pub offline: bool,
    /// The tree that is evaluated.
    pub(super) source: SourceTree,
    /// Inputs for which the user named another flake.
    pub(super) overridden: Vec<String>,
    /// The last part of the evaluation that began.
    pub(super) part: Option<EvaluationPart>,
    activities: BTreeMap<u64, Activity>,
    order: VecDeque<String>,
    expected_bytes: BTreeMap<u64, u64>,
    done_bytes: u64,
    last_progress: Option<(u64, u64, &'static str)>,
    last_doing: String,
}

impl NixLog {
    /// Takes one line of nix's stderr and sends what it means to `events`. Returns what belongs into `nix.log`, if anything.
    pub fn take(&mut self, line: &str, events: &Events) -> Option<String> {
        let Some(json) = line.strip_prefix("@nix ") else {
            let said = plain(line, LINE_BYTES);
            if self.begins_part(&said) {
                return None;
            }
            if said.trim().is_empty() {
                return None;
            }
            self.stray.push_back(said.clone());
            if self.stray.len() > MESSAGES {
                self.stray.pop_front();
            }
            return Some(said);
        };
        // A line that is no JSON, or of another shape, is some other version's business.
        let Ok(line) = serde_json::from_str::<ProtocolLine>(json) else { return None };
        match line.action.as_str() {
            "msg" => self.message(&line, events),
            "start" => {
                self.start(&line, events);
                None
            }
            "stop" => {
                self.stop(line.id, events);
                None
            }
            "result" => self.result(&line, events),
            _ => None,
        }
    }

    fn message(&mut self, line: &ProtocolLine, events: &Events) -> Option<String> {
        let text = plain(&line.msg, MESSAGE_BYTES);
        if self.begins_part(&text) {
            return None;
        }
        if line.level == LEVEL_ERROR && text.starts_with("error:") {
            // Every failure says it again for each thing that depended on it: the first ones are what matters.
            if self.errors.len() < MESSAGES {
                self.errors.push(text.clone());
            }
            return Some(text);
        }
        if let Some(path) = text.strip_prefix("evaluating file '") {
            // nix's own files (`<nix/…>`, `«nix-internal»/…`) say nothing to a user.
            if path.contains("/") && !path.starts_with(['<', '«']) {
                self.doing(format!("evaluating {}", short_path(path.trim_end_matches('\''))), events);
            }
            return None;
        }
        if line.level <= LEVEL_WARNING && self.warnings.len() < MESSAGES {
            self.warnings.push(text.chars().take(LINE_BYTES).collect());
        }
        self.ignores_settings |= text.contains(IGNORES_SETTINGS);
        self.is_unlocked |= text.contains(IS_UNLOCKED);
        if line.level <= LEVEL_WARNING
            && !(text.contains(IS_UNLOCKED) && self.only_overrides(&text))
            && let Some(note) = note_of(&self.source.map_options(&text))
            && self.notes.len() < NOTES
            && !self.notes.contains(&note)
        {
            events.note(note.clone());
            self.notes.push(note);
        }
        (line.level <= LEVEL_INFO).then_some(text)
    }

    fn begins_part(&mut self, text: &str) -> bool {
        let Some(name) = text.strip_prefix(PART) else { return false };
        self.part = match name.trim() {
            "runner" => Some(EvaluationPart::Runner),
            "toplevel" => Some(EvaluationPart::Toplevel),
            "expectations" => Some(EvaluationPart::Expectations),
            _ => self.part,
        };
        true
    }

    /// Whether a lock file would change by what the user overrides alone, of which nothing is wrong with it. Each change
    /// is on a line of its own: `• Updated input 'nixpkgs':`, `• Added input 'a/b':`.
    fn only_overrides(&self, text: &str) -> bool {
        let is_overridden = |name: &str| {
            let is_below = |input: &String| name.strip_prefix(input.as_str()).is_some_and(|rest| rest.starts_with('/'));
            self.overridden.iter().any(|input| input == name || is_below(input))
        };
        let changes = text.lines().filter_map(|line| line.trim_start().strip_prefix("• "));
        let mut changed = changes.filter_map(|line| line.split('\'').nth(1));
        !self.overridden.is_empty() && changed.all(is_overridden)
    }

    fn start(&mut self, line: &ProtocolLine, events: &Events) {
        let first = || line.fields.first().and_then(Value::as_str).unwrap_or_default().to_owned();
        let activity = match line.kind {
            ACTIVITY_BUILD => {
                let drv = first();
                self.doing(format!("building {}", plain(name_of(&drv), 200)), events);
                Activity::Build { drv, phase: None }
            }
            ACTIVITY_SUBSTITUTE | ACTIVITY_COPY_PATH => {
                let path = first();
                if !path.is_empty() {
                    self.doing(format!("fetching {}", plain(name_of(&path), 200)), events);
                }
                if line.kind == ACTIVITY_COPY_PATH { Activity::Transfer { done: 0 } } else { Activity::Other }
            }
            ACTIVITY_FILE_TRANSFER => {
                self.doing(format!("downloading {}", plain(&first(), 200)), events);
                Activity::Transfer { done: 0 }
            }
            ACTIVITY_FETCH_TREE => {
                self.doing(plain(&line.text, 200), events);
                Activity::Other
            }
            ACTIVITY_BUILDS => Activity::Builds,
            _ => {
                let text = plain(&line.text, 200);
                if text.starts_with("copying")
                    || text.starts_with("evaluating derivation")
                    || text.starts_with("fetching")
                {
                    self.doing(text, events);
                }
                Activity::Other
            }
        };
        if self.activities.len() < 65_536 {
            self.activities.insert(line.id, activity);
        }
    }

    fn stop(&mut self, id: u64, events: &Events) {
        if let Some(Activity::Build { .. }) = self.activities.remove(&id) {
            // What is still being built is what is going on now.
            let running = self.activities.values().rev().find_map(|activity| match activity {
                Activity::Build { drv, phase } => Some(building(drv, phase.as_deref())),
                _ => None,
            });
            if let Some(text) = running {
                self.doing(text, events);
            }
        }
    }

    fn result(&mut self, line: &ProtocolLine, events: &Events) -> Option<String> {
        let number = |index: usize| line.fields.get(index).and_then(Value::as_u64).unwrap_or(0);
        let text = || line.fields.first().and_then(Value::as_str).unwrap_or_default();
        match line.kind {
            RESULT_BUILD_LOG_LINE | RESULT_POST_BUILD_LOG_LINE => {
                let said = plain(text(), LINE_BYTES);
                let Some(Activity::Build { drv, .. }) = self.activities.get(&line.id) else { return Some(said) };
                let drv = drv.clone();
                let logged = format!("{}> {said}", name_of(&drv));
                self.tail(drv, said);
                return Some(logged);
            }
            RESULT_SET_PHASE => {
                if let Some(Activity::Build { drv, phase }) = self.activities.get_mut(&line.id) {
                    *phase = Some(plain(text(), 100));
                    let now = building(drv, phase.as_deref());
                    self.doing(now, events);
                }
            }
            RESULT_SET_EXPECTED if [ACTIVITY_COPY_PATH, ACTIVITY_FILE_TRANSFER].contains(&number(0)) => {
                self.expected_bytes.insert(number(0), number(1));
                self.fetched(events);
            }
            RESULT_PROGRESS => match self.activities.get_mut(&line.id) {
                Some(Activity::Builds) => self.progress(number(0), number(1), "built", events),
                Some(Activity::Transfer { done }) => {
                    self.done_bytes += number(0).saturating_sub(*done);
                    *done = (*done).max(number(0));
                    self.fetched(events);
                }
                _ => {}
            },
            _ => {}
        }
        None
    }

    fn tail(&mut self, drv: String, line: String) {
        if !self.tails.contains_key(&drv) {
            self.order.push_back(drv.clone());
            if self.order.len() > TAILS
                && let Some(oldest) = self.order.pop_front()
            {
                self.tails.remove(&oldest);
            }
        }
        let tail = self.tails.entry(drv).or_default();
        tail.push_back(line);
        if tail.len() > TAIL_LINES {
            tail.pop_front();
        }
    }

    fn fetched(&mut self, events: &Events) {
        const MIB: u64 = 1 << 20;
        // A path's copy and its download count the same bytes twice: the larger expectation is the one that holds.
        let expected = self.expected_bytes.values().copied().max().unwrap_or(0).max(self.done_bytes);
        if expected >= MIB {
            self.progress(self.done_bytes / MIB, expected.div_ceil(MIB), "MiB fetched", events);
        }
    }

    fn progress(&mut self, done: u64, expected: u64, unit: &'static str, events: &Events) {
        if expected > 0 && self.last_progress != Some((done, expected, unit)) {
            self.last_progress = Some((done, expected, unit));
            events.send(Event::Progress { done, expected, unit });
        }
    }

    fn doing(&mut self, text: String, events: &Events) {
        if text != self.last_doing && !text.is_empty() {
            events.doing(text.clone());
            self.last_doing = text;
        }
    }
}

fn building(drv: &str, phase: Option<&str>) -> String {
    let name = plain(name_of(drv), 200);
    match phase {
        Some(phase) => format!("building {name}: {phase}"),
        None => format!("building {name}"),
    }
}

/// A path without the store path that it lies in.
fn short_path(path: &str) -> &str {
    path.split_once("-source/").map_or(path, |(_, inside)| inside)
}

/// Warnings that are worth a note, in our words where nix's are long.
fn note_of(text: &str) -> Option<String> {
    let first = text.lines().next().unwrap_or_default();
    if let Some(warning) = first.strip_prefix("warning: ") {
        if warning.starts_with("Git tree '") && warning.ends_with("' is dirty") {
            return Some("the git tree has changes that are not committed: they are part of what is tested".to_owned());
        }
        if warning.starts_with(IS_UNLOCKED) {
            return Some(
                "flake.lock does not lock every input: the others were looked up now and may differ next time \
                 (`nix flake lock` writes it)"
                    .to_owned(),
            );
        }
        if warning.starts_with(IGNORES_SETTINGS) {
            return Some("the flake's nixConfig is not applied (--accept-flake-config applies it)".to_owned());
        }
        return None;
    }
    let warning = first.strip_prefix("evaluation warning: ").or_else(|| first.strip_prefix("trace: warning: "))?;
    Some(format!("the configuration warns: {}", plain(warning, 600)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(text: &str) -> (NixLog, Vec<String>, Vec<Event>) {
        let (events, mut receiver) = Events::channel();
        let mut log = NixLog::default();
        let written = text.lines().filter_map(|line| log.take(line, &events)).collect();
        drop(events);
        let mut seen = Vec::new();
        while let Ok(event) = receiver.try_recv() {
            seen.push(event);
        }
        (log, written, seen)
    }

    const FAILING: [(&str, &str); 3] = [
        ("2.8", include_str!("../../tests/fixtures/nix/build-failed-2.8.log")),
        ("2.26", include_str!("../../tests/fixtures/nix/build-failed-2.26.log")),
        ("2.34", include_str!("../../tests/fixtures/nix/build-failed-2.34.log")),
    ];

    #[test]
    fn a_failed_build_in_each_version() {
        let drv = "/nix/store/110gkdg9m8445as1sl0gsb1ln44sjkgj-fail.drv";
        for (version, text) in FAILING {
            let (log, written, seen) = replay(text);
            let tail = &log.tails[drv];
            assert_eq!(tail.back().map(String::as_str), Some("fatal: cannot do"), "{version}");
            assert_eq!(tail.len(), 14, "{version}");
            assert_eq!(log.errors.len(), 1, "{version}");
            assert!(log.errors[0].contains(drv), "{version}: {:?}", log.errors);
            assert!(!log.errors[0].contains('\u{1b}'), "{version}");
            assert!(written.contains(&"fail> line 1".to_owned()), "{version}");
            assert!(
                seen.iter().any(|event| matches!(event, Event::Doing(text) if text == "building fail")),
                "{version}"
            );
            assert!(
                seen.iter().any(|event| matches!(event, Event::Progress { expected: 1, unit: "built", .. })),
                "{version}"
            );
            assert!(seen.iter().any(|event| matches!(event, Event::Note(text) if text.contains("not committed"))));
        }
    }

    #[test]
    fn a_build_that_goes_well_in_each_version() {
        for (version, text) in [
            ("2.8", include_str!("../../tests/fixtures/nix/build-2.8.log")),
            ("2.26", include_str!("../../tests/fixtures/nix/build-2.26.log")),
            ("2.34", include_str!("../../tests/fixtures/nix/build-2.34.log")),
        ] {
            let (log, written, seen) = replay(text);
            assert!(log.errors.is_empty() && log.stray.is_empty(), "{version}: {log:?}");
            assert!(written.contains(&"nixos-vm> phase one".to_owned()), "{version}: {written:?}");
            let built = |event: &Event| matches!(event, Event::Progress { done: 1, unit: "built", .. });
            assert!(seen.iter().any(built), "{version}");
        }
    }

    #[test]
    fn garbage_is_tolerated() {
        let (log, written, _) = replay(
            "@nix \n@nix {\n@nix []\n@nix {\"action\":\"dance\"}\n@nix {\"action\":\"start\"}\n\
             @nix {\"action\":\"result\",\"type\":105,\"fields\":[\"a\",-1]}\n\u{1b}[31mplain\u{1b}[0m\n\n\
             @nix {\"action\":\"stop\",\"id\":7}\n@nix {\"action\":\"start\",\"id\":-1}",
        );
        assert!(log.errors.is_empty());
        assert_eq!(written, ["plain"]);
        assert_eq!(log.stray, ["plain"]);
    }

    #[test]
    fn tails_are_bounded() {
        let mut text = String::new();
        for id in 0..1000 {
            text += &format!(
                "@nix {{\"action\":\"start\",\"id\":{id},\"type\":105,\"fields\":[\"/nix/store/d{id}.drv\"]}}\n"
            );
            for _ in 0..50 {
                text += &format!(
                    "@nix {{\"action\":\"result\",\"id\":{id},\"type\":101,\"fields\":[\"{}\"]}}\n",
                    "x".repeat(3000)
                );
            }
            text += &format!("@nix {{\"action\":\"stop\",\"id\":{id}}}\n");
        }
        let (log, _, _) = replay(&text);
        assert_eq!(log.tails.len(), TAILS);
        assert!(log.tails.values().all(|tail| tail.len() == TAIL_LINES));
        assert!(log.tails.values().flatten().all(|line| line.len() < LINE_BYTES + 8));
    }

    #[test]
    fn downloads_are_counted() {
        let (_, _, seen) = replay(
            "@nix {\"action\":\"result\",\"id\":1,\"type\":106,\"fields\":[101,20971520]}\n\
             @nix {\"action\":\"start\",\"id\":2,\"type\":101,\"fields\":[\"https://example.org/x.nar\"]}\n\
             @nix {\"action\":\"result\",\"id\":2,\"type\":105,\"fields\":[10485760,20971520,0,0]}\n",
        );
        assert!(
            seen.iter().any(|event| matches!(event, Event::Progress { done: 10, expected: 20, unit: "MiB fetched" }))
        );
    }
}
