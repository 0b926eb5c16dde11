//! `audio.server`: whether the expected server runs and answers.

use super::AudioJudge;
use crate::audio::facts::AudioSessionKind;
use crate::audio::journal::{AudioJournalMeaning, first};
use crate::guest::Error;
use crate::judging::journal::Means as _;
use crate::judging::{Finding, conclude, text};
use crate::model::{CheckId, CheckResult, Status};

impl AudioJudge<'_> {
    pub(super) fn server(&self) -> CheckResult {
        let id = CheckId::AudioServer;
        if let Some(unknown) = self.gap(id, "units") {
            return unknown;
        }
        let mut fails = self.server.unit_findings(self);
        if let Some(why) = &self.facts.no_answer {
            // No answer is the server's; a program that is not there to ask it is our lack.
            if *why == Error::Lacks(self.server.profile().query.0.to_owned()).to_string() {
                return CheckResult::new(id, Status::Unknown, text::clean(why));
            }
            if fails.is_empty() {
                fails.push(self.no_answer(why));
            }
        }
        if let Some(path) = &self.facts.no_socket {
            let summary =
                format!("PULSE_SERVER sends programs to unix:{path}, where there is no socket: they play nothing");
            let hint = "leave the variable out: they find the server of their own session by themselves";
            fails.push(Finding::new("PULSE_SERVER", summary).evidence("path", text::clean(path)).hint(hint));
        }
        conclude(self.view, id, fails, self.left_out(), || {
            format!("{} answers {}{}", self.server.profile().name, self.facts.user, self.session())
        })
    }

    /// What a server that runs leaves out of its configuration, by its own words.
    fn left_out(&self) -> Vec<Finding> {
        let profile = self.server.profile();
        let told = [
            (AudioJournalMeaning::PluginMissing, "runs without a plugin that its configuration names"),
            (AudioJournalMeaning::ConfigurationIgnored, "does not read a part of its configuration"),
        ];
        let line = |meaning| first(self.journal(), meaning);
        let found = told.into_iter().filter_map(|(meaning, what)| Some((line(meaning)?, what)));
        found
            .map(|(line, what)| {
                Finding::new(profile.service, format!("{} {what}: {}", profile.name, text::clean(line.trim())))
            })
            .collect()
    }

    /// A server that runs, and does not answer.
    fn no_answer(&self, why: &str) -> Finding {
        let (user, service) = (&self.facts.user, self.server.profile().service);
        let denied = self.expected.system_wide && AudioJournalMeaning::AccessDenied.is_in(why);
        let what = if denied {
            format!("{user} may not connect to the system-wide {}", self.server.profile().process)
        } else {
            format!("{service} runs, but does not answer {user}")
        };
        let limit = (!denied).then(|| self.view.since_boot());
        Finding::new(service, what).detail([why.to_owned()]).detail(self.last_lines(service)).time_limit(limit)
    }

    /// How the session came to be, where that is worth a word.
    fn session(&self) -> &'static str {
        match self.facts.session {
            AudioSessionKind::Own => "",
            AudioSessionKind::Made => ", in a session opened on a virtual terminal",
            AudioSessionKind::Lingering => ", in a user manager without a seat",
        }
    }
}
