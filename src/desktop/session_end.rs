//! What else happened to a session when it ended: whoever took its terminal, stopped it, or killed what it ran. Pure.

use std::collections::BTreeSet;

use super::display_managers;
use super::history::SessionRecord;
use super::journal::{Meaning, first_line};
use crate::guest::facts::JournalLine;
use crate::judging::journal::Means as _;
use crate::judging::text;

/// So long before a session begins counts what may have been on its terminal already, in µs: a getty that is started
/// beside a display manager takes the terminal when it gets to it.
const BEFORE_US: u64 = 2_000_000;
/// logind notices the end of a session later than it is, in µs.
const LATE_US: u64 = 500_000;
/// A session ends at most so long after what ended it, in µs: systemd gives a unit 90 s to stop, and what is hung up or
/// killed is gone at once.
const CAUSE_US: u64 = 5_000_000;

/// Something that happened to a session from outside of it.
#[derive(Debug)]
pub(super) struct OuterEvent<'a> {
    /// `systemd stopped greetd.service`.
    pub(super) what: String,
    pub(super) line: &'a JournalLine,
}

/// A session that ended.
#[derive(Debug)]
pub(super) struct EndedSession<'a> {
    pub(super) record: &'a SessionRecord,
    pub(super) uid: u32,
    /// The terminals that it may have been on.
    pub(super) vts: BTreeSet<u32>,
}

impl EndedSession<'_> {
    /// All of it that these lines tell, in order of time.
    pub(super) fn events<'a>(&self, lines: impl Iterator<Item = &'a JournalLine>) -> Vec<OuterEvent<'a>> {
        let from = self.record.began_us.saturating_sub(BEFORE_US);
        let to = self.ended_us() + LATE_US;
        let mut lines: Vec<&JournalLine> = lines.filter(|line| (from..=to + CAUSE_US).contains(&line.at_us)).collect();
        lines.sort_by_key(|line| line.at_us);
        let mut events: Vec<OuterEvent<'a>> = Vec::new();
        for line in lines {
            let Some(what) = self.what(line) else { continue };
            // Where two units exclude each other, one is stopped first; the other takes the terminal once it is gone.
            let follows_stop = line.at_us > to && (events.is_empty() || !is_getty(&line.unit));
            if !follows_stop && !events.iter().any(|known| known.what == what) {
                events.push(OuterEvent { what, line });
            }
        }
        events
    }

    /// What of these events ended it, in words.
    pub(super) fn cause(&self, events: &[OuterEvent<'_>]) -> Option<String> {
        let is_near = |event: &&OuterEvent<'_>| event.line.at_us + CAUSE_US >= self.ended_us();
        let near: Vec<&str> = events.iter().filter(is_near).map(|event| event.what.as_str()).collect();
        (!near.is_empty()).then(|| text::list(&near))
    }

    fn ended_us(&self) -> u64 {
        self.record.ended_us.unwrap_or(self.record.began_us)
    }

    fn what(&self, line: &JournalLine) -> Option<String> {
        let (unit, message) = (line.unit.as_str(), first_line(line));
        if line.transport == "kernel" {
            let of_user = message.contains(&format!("UID:{} ", self.uid));
            return (of_user && Meaning::OutOfMemory.is_in(message))
                .then(|| "the kernel killed a process of it, as memory ran out".to_owned());
        }
        let uid = self.uid;
        let is_its = unit == self.record.scope
            || display_managers::is_unit(unit)
            || unit == format!("user@{uid}.service")
            || unit == format!("user-{uid}.slice");
        if line.pid == 1 && is_getty(unit) && message.starts_with("Started ") {
            let tty = terminal_of(unit).filter(|vt| self.vts.contains(vt))?;
            return Some(format!("{unit} took tty{tty}"));
        }
        if !is_its {
            return None;
        }
        if line.pid == 1 && message.starts_with("Stopping ") {
            return Some(format!("systemd stopped {unit}"));
        }
        if Meaning::OutOfMemory.is_in(message) {
            return Some(format!("memory ran out, and a process of {unit} was killed"));
        }
        Meaning::HungUp.is_in(message).then(|| "its terminal was hung up".to_owned())
    }
}

/// Units that put a login on the terminals that have one.
pub(super) const GETTYS: [&str; 12] = [
    "getty@tty1.service",
    "getty@tty2.service",
    "getty@tty3.service",
    "getty@tty4.service",
    "getty@tty5.service",
    "getty@tty6.service",
    "autovt@tty1.service",
    "autovt@tty2.service",
    "autovt@tty3.service",
    "autovt@tty4.service",
    "autovt@tty5.service",
    "autovt@tty6.service",
];

/// Whether a unit puts a login on a virtual terminal.
pub(super) fn is_getty(unit: &str) -> bool {
    terminal_of(unit).is_some()
}

/// The terminal of a unit that puts a login on one: 1 for `getty@tty1.service`.
pub(super) fn terminal_of(unit: &str) -> Option<u32> {
    let (kind, instance) = unit.strip_suffix(".service")?.split_once('@')?;
    ["getty", "autovt", "kmsconvt"].contains(&kind).then(|| instance.strip_prefix("tty")?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(unit: &str, at_us: u64, message: &str) -> JournalLine {
        JournalLine { unit: unit.into(), at_us, message: message.into(), pid: 1, ..JournalLine::default() }
    }

    fn record() -> SessionRecord {
        SessionRecord {
            scope: "session-1.scope".into(),
            user: "alice".into(),
            class: "user".into(),
            began_us: 20_000_000,
            ended_us: Some(40_000_000),
        }
    }

    fn told(lines: &[JournalLine]) -> (usize, Option<String>) {
        let record = record();
        let session = EndedSession { record: &record, uid: 1000, vts: [1].into() };
        let events = session.events(lines.iter());
        (events.len(), session.cause(&events))
    }

    #[test]
    fn what_ends_a_session_is_near_its_end() {
        let getty = |at| line("getty@tty1.service", at, "Started getty@tty1.service - Getty on tty1.");
        let stop = |at| line("greetd.service", at, "Stopping greetd.service - Greeter daemon...");
        assert_eq!(told(&[getty(39_000_000)]), (1, Some("getty@tty1.service took tty1".into())));
        let both = "systemd stopped greetd.service and getty@tty1.service took tty1";
        assert_eq!(told(&[getty(41_000_000), stop(39_900_000)]), (2, Some(both.into())));
        // A terminal that a session has left is taken by who waits for it, and long before is another matter.
        assert_eq!(told(&[getty(41_000_000)]), (0, None));
        assert_eq!(told(&[getty(21_000_000)]), (1, None));
        assert_eq!(told(&[getty(2_000_000)]), (0, None));
        assert_eq!(
            told(&[line("getty@tty6.service", 39_000_000, "Started getty@tty6.service - Getty on tty6.")]),
            (0, None)
        );
        // So is the end of a display manager once its session is over.
        assert_eq!(told(&[stop(42_000_000)]), (0, None));
        assert_eq!(told(&[line("nginx.service", 39_000_000, "Stopping nginx.service...")]), (0, None));
    }

    #[test]
    fn gettys_have_terminals() {
        assert!(GETTYS.into_iter().all(is_getty) && !is_getty("serial-getty@ttyS0.service"));
        assert_eq!((terminal_of("autovt@tty6.service"), terminal_of("getty@.service")), (Some(6), None));
    }

    #[test]
    fn kills_and_hang_ups() {
        let oom = "Out of memory: Killed process 801 (sway) total-vm:1kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB, UID:1000 pgtables:1kB oom_score_adj:0";
        let kernel = |message: &str| JournalLine { transport: "kernel".into(), ..line("", 39_900_000, message) };
        assert!(told(&[kernel(oom)]).1.is_some_and(|cause| cause.contains("memory ran out")));
        assert_eq!(told(&[kernel(&oom.replace("UID:1000", "UID:1001"))]), (0, None));
        let killed =
            line("session-1.scope", 39_900_000, "session-1.scope: systemd-oomd killed 12 process(es) in this unit.");
        assert!(told(&[killed]).1.is_some_and(|cause| cause.contains("memory ran out")));
        let hup = line("greetd.service", 39_900_000, "greetd.service: Main process exited, code=killed, status=1/HUP");
        assert_eq!(told(&[hup]), (1, Some("its terminal was hung up".into())));
    }
}
