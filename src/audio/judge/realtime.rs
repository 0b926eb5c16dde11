//! `audio.realtime`: whether the server got the scheduling and the settings that were expected.

use std::sync::LazyLock;

use regex::Regex;

use super::AudioJudge;
use crate::audio::facts::AudioSessionKind;
use crate::audio::journal::{AudioJournalMeaning, last};
use crate::guest::facts::JournalLine;
use crate::judging::journal::Means as _;
use crate::judging::text::{self, pattern};
use crate::judging::{Finding, Judgement, conclude};
use crate::model::{CheckId, CheckResult, Lack, LoadState};

const ID: CheckId = CheckId::AudioRealtime;
const RTKIT: &str = "rtkit-daemon.service";

/// A terminal that is a serial line or a hypervisor's console: a machine with a screen has none where users log in.
static SERIAL: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(ttyS|ttyAMA|hvc)\d+$"));

impl AudioJudge<'_> {
    pub(super) fn realtime(&self, out: &mut Judgement) -> CheckResult {
        if let Some(unknown) = self.gap(ID, "processes") {
            return unknown;
        }
        let Some(state) = &self.facts.server else { return self.skip(ID, "no sound server answers") };
        let mut fails = self.server.setting_findings(self.expected, state);
        if self.expected.rtkit && self.lacks_realtime() {
            if let Some(why) = self.not_served() {
                return self.exclude(out, ID, Lack::Choice, &why);
            }
            fails.push(self.no_realtime());
        }
        if fails.is_empty() && !self.expected.rtkit {
            return self.exclude(
                out,
                ID,
                Lack::Choice,
                "the configuration expects no realtime scheduling (security.rtkit.enable)",
            );
        }
        conclude(self.view, ID, fails, Vec::new(), || {
            let setting = |name: &str| state.settings.get(name);
            let rate = setting("clock.rate").map(|rate| format!(", {rate} Hz")).unwrap_or_default();
            let quantum = setting("clock.quantum").map(|it| format!(", quantum {it}")).unwrap_or_default();
            format!("{} has a realtime thread{rate}{quantum}", self.server.profile().process)
        })
    }

    /// Whether the server runs, without a realtime thread.
    fn lacks_realtime(&self) -> bool {
        let name = self.server.profile().process;
        let is_ours = |uid: u32| self.expected.system_wide || uid == self.facts.uid;
        let mut servers = self.facts.processes.iter().filter(|it| it.name == name && is_ours(it.uid)).peekable();
        servers.peek().is_some() && !servers.any(|process| process.realtime)
    }

    /// Why rtkit does not serve this session though it does on the real machine, if so: it serves who sits at the seat.
    fn not_served(&self) -> Option<String> {
        let user = &self.facts.user;
        if self.facts.session == AudioSessionKind::Lingering {
            return Some(format!("{user} has no session at the seat, and rtkit serves only users with one"));
        }
        let terminal = self.facts.off_seat.as_deref().filter(|terminal| SERIAL.is_match(terminal))?;
        Some(format!(
            "{user} logged in on the VM's serial console ({terminal}) first, and rtkit serves only users with a \
             session at the seat"
        ))
    }

    fn no_realtime(&self) -> Finding {
        let state = match self.view.unit(RTKIT) {
            None => format!("{RTKIT} is not there"),
            Some(unit) if unit.load_state != LoadState::Loaded => format!("{RTKIT} is {}", unit.load_state),
            Some(unit) => format!("{RTKIT} is {}", unit.active_state),
        };
        let process = self.server.profile().process;
        let line = last(self.journal(), self.server.profile().service, AudioJournalMeaning::NoRealtime);
        let refused = |line: &&JournalLine| AudioJournalMeaning::NoRealtime.is_in(&line.message);
        let state = match self.journal().iter().find(refused).filter(|_| line.is_none()) {
            Some(JournalLine { unit, message, .. }) => format!("{unit}, which it asks for it, says: {message}"),
            None => state,
        };
        let what = text::clean(&format!("{process} has no realtime thread, though rtkit is expected: {state}"));
        Finding::new(RTKIT, what).detail(line.map(str::to_owned))
    }
}
