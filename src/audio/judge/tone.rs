//! `audio.tone`: whether tones that are played arrive at the card as they were sent.

use super::AudioJudge;
use super::arrival::{arrived, attach, wrong};
use crate::audio::journal::AudioJournalMeaning;
use crate::guest::facts::JournalLine;
use crate::judging::journal::Means as _;
use crate::judging::{Finding, Judgement, conclude};
use crate::model::{CheckId, CheckResult, Excuse, Lack, Witness};

impl AudioJudge<'_> {
    pub(super) fn tone(&self, out: &mut Judgement, plays: bool) -> CheckResult {
        let id = CheckId::AudioTone;
        if let Some(why) = &self.facts.no_capture {
            return self.exclude(out, id, Lack::Hardware, why);
        }
        if !plays {
            if !self.facts.card.driven {
                let why = "no sound card to capture from";
                out.exclude(&id, Excuse::new(Lack::Hardware, Witness::state(why), why));
            }
            return self.skip(id, "there is no sink to play into");
        }
        if let Some(unknown) = self.gap(id, "tone") {
            return unknown;
        }
        let Some(tone) = &self.facts.tone else { return self.skip(id, "not requested") };
        let finding = |what: String| {
            Finding::new("tone", what)
                .evidence("player", tone.player.as_str())
                .evidence("heard", serde_json::to_value(&tone.analysis).unwrap_or_default())
                .time_limit(self.view.since_boot())
        };
        if tone.hung || tone.exit != 0 {
            let how = if tone.hung { "did not end".to_owned() } else { format!("ended with {}", tone.exit) };
            let fail = finding(format!("{} {how}", tone.player)).detail([tone.stderr.clone()]);
            return conclude(self.view, id, vec![fail], Vec::new(), String::new);
        }
        let mut fails: Vec<Finding> = wrong(tone, &self.facts.card.off).into_iter().map(finding).collect();
        fails.extend(self.refused());
        let analysis = tone.analysis.as_ref();
        let result = conclude(self.view, id, fails, Vec::new(), || arrived("played by", &tone.player, analysis));
        attach(result, analysis, tone.first_attempt.as_deref())
    }

    /// Programs that asked the server before it ran, and are not its clients to this moment: a server that its socket
    /// starts has no TCP port before.
    fn refused(&self) -> Vec<Finding> {
        let clients = self.facts.server.as_ref().map(|server| &server.clients);
        let is_client = |pid| clients.is_some_and(|clients| clients.contains(&pid));
        let is_out =
            |line: &&JournalLine| AudioJournalMeaning::ClientRefused.is_in(&line.message) && !is_client(line.pid);
        let mut units: Vec<&JournalLine> = self.facts.refused.iter().filter(is_out).collect();
        units.dedup_by(|line, before| line.unit == before.unit);
        let finding = |line: &JournalLine| {
            let what = format!(
                "{} was refused because the sound server was not running yet, and has not connected since",
                line.unit
            );
            Finding::new(&line.unit, what)
                .detail([line.message.clone()])
                .evidence("unit", line.unit.as_str())
                .hint("let it start after the server, or let it use the server's own socket, which starts the server")
        };
        units.into_iter().map(finding).collect()
    }
}
