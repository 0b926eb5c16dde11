//! `audio.microphone`: whether what is played into the card's input is recorded as it was sent.

use super::arrival::{altered, arrived, attach, is_inaudible, loudest};
use super::{AudioJudge, node_finding, quiet};
use crate::audio::facts::{AudioNode, Recording, ServerState};
use crate::audio::record::RECORDER;
use crate::judging::{Finding, Judgement, conclude, text};
use crate::model::{CheckId, CheckResult, Lack, Status};

const ID: CheckId = CheckId::AudioMicrophone;

impl AudioJudge<'_> {
    pub(super) fn microphone(&self, out: &mut Judgement, works: bool) -> CheckResult {
        let facts = self.facts;
        if let Some(unknown) = self.gap(ID, "card") {
            return unknown;
        }
        if let Some(why) = self.no_input() {
            return self.exclude(out, ID, Lack::Hardware, &why);
        }
        let Some(state) = facts.server.as_ref().filter(|_| works) else {
            return self.skip(ID, "no sound server answers");
        };
        // Who has no sink for want of the card has no source for the same reason, which audio.sink says.
        if facts.sink().is_none_or(|sink| sink.null) {
            return self.skip(ID, "there is no sink (see audio.sink)");
        }
        let Some(source) = facts.source().filter(|source| !source.null) else { return self.no_source(state) };
        match &facts.recording {
            Some(recording) => self.recorded(source, recording),
            None => self.unrecorded(out, source),
        }
    }

    /// Why there is nothing to record from, where the configuration is not at fault.
    fn no_input(&self) -> Option<String> {
        let facts = self.facts;
        if !facts.card.driven {
            Some("no sound card to record from".to_owned())
        } else if let Some(why) = &facts.no_microphone {
            Some(format!("the VM has no microphone: {}", text::clean(why)))
        } else if !facts.card.records {
            Some("the card does not record".to_owned())
        } else {
            self.no_seat()
        }
    }

    fn no_source(&self, state: &ServerState) -> CheckResult {
        let profiles: Vec<String> =
            state.cards.iter().map(|(card, profile)| format!("{card} has the profile {profile}")).collect();
        let fail =
            Finding::new("source", "the card can record, but the sound server has no source for it").detail(profiles);
        conclude(self.view, ID, vec![fail], Vec::new(), String::new)
    }

    fn unrecorded(&self, out: &mut Judgement, source: &AudioNode) -> CheckResult {
        if let Some(why) = self.facts.gaps.get("microphone") {
            // What the guest has not installed is not tested; what broke is not known.
            if why.contains(RECORDER) {
                return self.exclude(out, ID, Lack::Choice, "no program that records is installed");
            }
            return CheckResult::new(ID, Status::Unknown, text::clean(why));
        }
        // A microphone that is off is what many users want.
        match quiet(source) {
            Some(what) => conclude(self.view, ID, Vec::new(), vec![node_finding("source", source, what)], String::new),
            None => self.skip(ID, "not requested"),
        }
    }

    fn recorded(&self, source: &AudioNode, recording: &Recording) -> CheckResult {
        let (recorder, analysis) = (&recording.recorder, recording.analysis.as_ref());
        let wrong = match analysis {
            None => vec![format!("gives nothing: {recorder} recorded {} bytes", recording.bytes)],
            Some(analysis) => match &analysis.playback {
                None if is_inaudible(analysis) => {
                    vec![format!("gives only silence, though tones are played into the card ({recorder})")]
                }
                None => vec![format!("gives sound ({:.0} dBFS), but none of the tones is in it", loudest(analysis))],
                Some(it) => altered(analysis, it).into_iter().map(|what| format!("gives sound, but {what}")).collect(),
            },
        };
        let finding = |what: String| {
            node_finding("source", source, &what)
                .detail(Some(recording.stderr.clone()).filter(|text| !text.is_empty()))
                .evidence("recorder", recorder.as_str())
                .evidence("heard", serde_json::to_value(analysis).unwrap_or_default())
                .time_limit(self.view.since_boot())
        };
        let fails = wrong.into_iter().map(finding).collect();
        let result = conclude(self.view, ID, fails, Vec::new(), || arrived("recorded by", recorder, analysis));
        attach(result, analysis, recording.first_attempt.as_deref())
    }
}
