//! `audio.sink`: whether there is a sink that leads to the card, neither muted nor at volume 0.

use serde_json::json;

use super::{AudioJudge, node_finding, quiet};
use crate::audio::facts::{AudioNode, ServerState};
use crate::audio::journal::{self, AudioJournalMeaning};
use crate::judging::{Finding, Judgement, conclude};
use crate::model::{CheckId, CheckResult, Lack};

impl AudioJudge<'_> {
    pub(super) fn sink(&self, out: &mut Judgement, works: bool) -> CheckResult {
        let id = CheckId::AudioSink;
        let facts = self.facts;
        if let Some(unknown) = self.gap(id, "card") {
            return unknown;
        }
        if !facts.card.driven {
            let why = if facts.card.present {
                "the guest's kernel has no driver for the VM's sound card"
            } else {
                "the VM has no sound card"
            };
            return self.exclude(out, id, Lack::Hardware, why);
        }
        let Some(state) = facts.server.as_ref().filter(|_| works) else {
            return self.skip(id, "no sound server answers");
        };
        let Some(sink) = facts.sink().filter(|sink| !sink.null) else { return self.no_sink(out, state) };
        let finding = quiet(sink).map(|what| node_finding("sink", sink, what));
        // A new card is silent until it is turned up, and the sandbox's is new.
        let (fails, warns) =
            if self.server.profile().has_new_card(self.expected) { (None, finding) } else { (finding, None) };
        let warns = warns.map(|finding| {
            finding.detail([
                "a new card starts muted, like the VM's; on the real machine it has been turned up since, or is muted too"
                    .to_owned(),
            ])
        });
        conclude(self.view, id, fails.into_iter().collect(), warns.into_iter().collect(), || {
            format!("{}{}", sink.name, gain(sink))
        })
    }

    fn no_sink(&self, out: &mut Judgement, state: &ServerState) -> CheckResult {
        let id = CheckId::AudioSink;
        if let Some(why) = self.no_seat() {
            return self.exclude(out, id, Lack::Choice, &why);
        }
        let name = state.default_sink.as_deref().unwrap_or("none");
        let (why, may_come) = self.why_no_sink(state, name);
        let may_come = may_come && !self.facts.rested;
        let finding = Finding::new(name, why).time_limit(may_come.then(|| self.view.since_boot()));
        let finding = finding.evidence("default-sink", name).evidence("cards", json!(state.cards));
        conclude(self.view, id, vec![finding], Vec::new(), String::new)
    }

    /// Whether it was started again more than once and lately, though it may have been up when it was read.
    fn ends_again(&self, name: &str) -> bool {
        const LATELY_US: u64 = 5_000_000;
        let last_us = self.journal().last().map_or(0, |line| line.at_us);
        self.unit(name).is_some_and(|unit| {
            let restarts = unit.service.as_ref().map_or(0, |service| service.restarts);
            restarts > 1 && last_us < unit.active_enter_us.saturating_add(LATELY_US)
        })
    }

    /// Why there is no sink, and whether that may only be so until now: the session manager finds the card, chooses its
    /// profile and makes the sink one after the other, while it is waited for.
    fn why_no_sink(&self, state: &ServerState, name: &str) -> (String, bool) {
        let facts = self.facts;
        let is_other = |uid: u32| uid != facts.uid && !self.expected.system_wide;
        let manager = self.server.profile().session_manager.filter(|name| self.unit_trouble(name).is_some());
        let refused = journal::first(self.journal(), AudioJournalMeaning::CardRefused).map(str::trim);
        let is_final = |why| (why, false);
        if !facts.card.allowed && !self.expected.system_wide {
            is_final(format!("{} may not open the devices in /dev/snd ({})", facts.user, facts.card.owner))
        } else if let Some(process) = facts.processes.iter().find(|it| it.has_card && is_other(it.uid)) {
            let owner = self.view.now.accounts.iter().find(|account| account.uid == process.uid);
            let owner = owner.map_or_else(|| process.uid.to_string(), |account| account.name.clone());
            is_final(format!("{} of {owner} has the card, so {} has no sink", process.name, facts.user))
        } else if let Some((card, _)) = state.cards.iter().find(|(_, profile)| *profile == "off") {
            let why = refused.map(|line| format!(": {line}")).unwrap_or_default();
            (format!("{card} is off: its active profile is “off”, so it has no sink{why}"), refused.is_none())
        } else if let Some(manager) = manager.filter(|_| state.cards.is_empty()) {
            let may_come = self.unit(manager).is_some_and(|unit| unit.is_coming_up());
            (format!("no sink: without a session manager ({manager}), cards get no sinks"), may_come)
        } else if let Some(line) = refused {
            is_final(format!("no sink: {line}"))
        } else if let Some(manager) = self.server.profile().session_manager.filter(|_| state.cards.is_empty()) {
            let why = if self.ends_again(manager) {
                format!("fails and is restarted again and again{}", self.start_failure(manager))
            } else {
                "uses none of the cards that the kernel has: a rule disables them (device.disabled), or its monitor of \
                 ALSA is off"
                    .to_owned()
            };
            (format!("no sink: {manager} {why}"), true)
        } else if name == "none" {
            ("no sink at all".to_owned(), true)
        } else {
            (format!("the default sink {name} is not connected to a card: what is played to it is discarded"), true)
        }
    }
}

fn gain(sink: &AudioNode) -> String {
    let loudest = sink.volumes.iter().copied().fold(0.0, f64::max);
    if loudest > 0.0 { format!(", gain {:.0} dB", 20.0 * loudest.log10()) } else { String::new() }
}
