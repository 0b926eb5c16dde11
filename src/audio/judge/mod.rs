//! `audio.*`: the server, its sink, what arrives at the card, the microphone, the scheduling that was expected.

mod arrival;
mod microphone;
mod realtime;
mod server;
mod sink;
#[cfg(test)]
mod tests;
mod tone;

pub(super) use arrival::distortion;

use super::facts::{AudioFacts, AudioNode, AudioSessionKind};
use super::journal::{AudioJournalMeaning, last};
use super::server::{SoundServer, SoundServerKind};
use crate::guest::facts::{JournalLine, Unit};
use crate::judging::{Finding, JudgeContext, Judgement, text, unit};
use crate::model::{
    ActiveState, CheckId, CheckKind, CheckResult, Excuse, Lack, LoadState, Status, UnitResult, Witness,
};
use crate::nix::expectations::ExpectedAudio;

/// How many last lines of a unit, and of its manager about it, are shown.
const LINES: usize = 3;

/// Judges sound, where it is expected.
pub(crate) fn judge(view: &JudgeContext<'_>, sound: Option<&Result<AudioFacts, String>>, out: &mut Judgement) {
    let Some(expected) = view.plan.audio() else { return };
    let facts = match sound {
        None => return unknown(out, "sound was not probed"),
        Some(Err(why)) => return unknown(out, &format!("sound could not be probed: {}", text::clean(why))),
        Some(Ok(facts)) => facts,
    };
    let judge = AudioJudge { view, expected, facts, server: SoundServerKind::expected(expected).server() };
    let server = judge.server();
    let works = facts.server.is_some() && judge.unit_trouble(judge.server.profile().service).is_none();
    let sink = judge.sink(out, works);
    let plays = matches!(sink.status, Status::Pass | Status::Warn);
    let tone = judge.tone(out, plays).took(facts.tone.as_ref().map_or(0.0, |tone| tone.took));
    let microphone = judge.microphone(out, works);
    let microphone = microphone.took(facts.recording.as_ref().map_or(0.0, |recording| recording.took));
    let realtime = judge.realtime(out);
    out.results.extend([server, sink, tone, microphone, realtime]);
}

/// None of the checks could be made.
fn unknown(out: &mut Judgement, why: &str) {
    out.results.extend(CheckId::of_kind(CheckKind::Audio).map(|id| CheckResult::new(id, Status::Unknown, why)));
}

/// What is judged.
pub(crate) struct AudioJudge<'a> {
    view: &'a JudgeContext<'a>,
    pub(super) expected: &'a ExpectedAudio,
    pub(super) facts: &'a AudioFacts,
    server: &'static dyn SoundServer,
}

impl<'a> AudioJudge<'a> {
    fn skip(&self, id: CheckId, why: &str) -> CheckResult {
        CheckResult::new(id, Status::Skip, format!("not tested: {why}"))
    }

    /// Not tested, for a reason that is the sandbox's.
    fn exclude(&self, out: &mut Judgement, id: CheckId, lack: Lack, why: &str) -> CheckResult {
        out.exclude(&id, Excuse::new(lack, Witness::state(why), why));
        self.skip(id, why)
    }

    /// Why a fact is missing.
    fn gap(&self, id: CheckId, name: &str) -> Option<CheckResult> {
        let why = self.facts.gaps.get(name)?;
        Some(CheckResult::new(id, Status::Unknown, text::clean(&text::could_not_read(name, why))))
    }

    /// Why the card cannot be opened for want of a session at the seat, if so.
    fn no_seat(&self) -> Option<String> {
        let card = &self.facts.card;
        (self.facts.session == AudioSessionKind::Lingering && !card.allowed).then(|| {
            format!("{} has no session at the seat, and may open the card ({}) only there", self.facts.user, card.owner)
        })
    }

    /// A server's unit: in the user's manager, or PID 1's where the server is system-wide.
    pub(super) fn unit(&self, name: &str) -> Option<&'a Unit> {
        let is_system = self.expected.system_wide && !self.server.profile().per_user.contains(&name);
        if is_system { self.view.unit(name) } else { self.facts.unit(name) }
    }

    /// What a unit wrote last, then what its manager did: that alone would be all of a unit that is started again and
    /// again.
    pub(super) fn last_lines(&self, name: &str) -> Vec<String> {
        let own = unit::own_lines(self.journal(), name);
        let of_manager = |line: &&JournalLine| line.unit == name && !own.iter().any(|own| std::ptr::eq(*own, *line));
        let of_manager: Vec<_> = self.journal().iter().filter(of_manager).collect();
        let last = |lines: &[&JournalLine]| -> Vec<String> {
            lines[lines.len().saturating_sub(LINES)..].iter().map(|line| line.message.clone()).collect()
        };
        [last(&own), last(&of_manager)].concat()
    }

    /// The journal that speaks of the server's units.
    pub(super) fn journal(&self) -> &'a [JournalLine] {
        if self.expected.system_wide { &self.view.now.journal } else { &self.facts.journal }
    }

    /// `: LINE` with the line that tells why a unit ended, or nothing.
    fn start_failure(&self, name: &str) -> String {
        let meanings = [AudioJournalMeaning::PluginMissing, AudioJournalMeaning::StartFailure];
        let cause = meanings.into_iter().find_map(|meaning| last(self.journal(), name, meaning)).map(str::to_owned);
        let line = cause.or_else(|| unit::error_line(self.journal(), name));
        line.map(|line| format!(": {}", line.trim())).unwrap_or_default()
    }

    /// What is wrong with a unit that has to serve, if anything.
    pub(super) fn unit_trouble(&self, name: &str) -> Option<Finding> {
        let socket = name.strip_suffix(".service").and_then(|stem| self.unit(&format!("{stem}.socket")));
        let listens = socket.is_some_and(|socket| socket.active_state == ActiveState::Active);
        let what = match self.unit(name) {
            None => "is not there".to_owned(),
            Some(unit) if unit.load_state == LoadState::Masked => "is masked".to_owned(),
            Some(unit) if unit.load_state == LoadState::NotFound => "is not there".to_owned(),
            Some(unit) if unit.load_state != LoadState::Loaded => format!("could not be loaded ({})", unit.load_state),
            Some(unit) if unit.active_state == ActiveState::Failed => {
                format!("has failed ({}){}", unit.result, self.start_failure(name))
            }
            // Its socket listens meanwhile, and nobody answers there.
            Some(unit) if unit.is_auto_restart() => {
                format!("has ended and is about to be restarted{}", self.start_failure(name))
            }
            Some(unit) if unit.active_state == ActiveState::Active || listens => return None,
            Some(unit) => {
                let what = format!("is not running ({}, {})", unit.active_state, unit.sub_state);
                match socket {
                    Some(socket) => {
                        let loaded = socket.load_state == LoadState::Loaded;
                        let state = if loaded { socket.active_state.as_str() } else { socket.load_state.as_str() };
                        format!("{what}, and {}, which would start it, is {state}", socket.name)
                    }
                    None => what,
                }
            }
        };
        let owner = if self.expected.system_wide { "the system" } else { &self.facts.user };
        let mut finding = Finding::new(name, format!("{name} of {owner} {what}")).detail(self.last_lines(name));
        if let Some(unit) = self.unit(name).filter(|unit| unit.fragment_path.starts_with("/home/")) {
            finding = finding.detail([format!("its unit is {}", unit.fragment_path)]);
        }
        if last(self.journal(), name, AudioJournalMeaning::PluginMissing).is_some() {
            finding =
                finding.hint("services.pipewire.extraLadspaPackages and extraLv2Packages make plugins known to it");
        }
        // What is still starting, and what a time limit ended, comes up on a host that is less busy.
        let ran_out = |unit: &Unit| matches!(unit.result, UnitResult::Timeout | UnitResult::Watchdog);
        let is_late = self.unit(name).is_some_and(|unit| unit.is_coming_up() || ran_out(unit));
        Some(finding.evidence("unit", name).time_limit(is_late.then(|| self.view.since_boot())))
    }
}

/// Something that is said of a sink or a source.
fn node_finding(kind: &'static str, node: &AudioNode, what: &str) -> Finding {
    Finding::new(&node.name, format!("{} {what}", node.name)).evidence(kind, node.name.as_str())
}

/// Why nothing passes through a node, if so.
fn quiet(node: &AudioNode) -> Option<&'static str> {
    if node.muted {
        Some("is muted")
    } else if node.is_turned_down() {
        Some("is at volume 0")
    } else {
        None
    }
}
