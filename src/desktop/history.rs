//! What the journal tells of the past: processes that crashed, sessions that began and ended.

use std::collections::{BTreeMap, BTreeSet};

use super::compositors;
use super::display_managers;
use super::journal::{Meaning, first_line, program_of_crash};
use crate::guest::facts::JournalLine;
use crate::judging::journal::Means as _;

/// Two reports of one crash lie at most this far apart, in µs: the kernel's and systemd-coredump's.
const SAME_CRASH_US: u64 = 3_000_000;

/// A crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Crash {
    pub(crate) program: String,
    /// `SIGSEGV`, where it is known.
    pub(crate) signal: Option<String>,
    pub(crate) at_us: u64,
    /// The line that reports it.
    pub(crate) line: String,
}

impl Crash {
    /// What is known of how it crashed.
    pub(crate) fn how(&self) -> &str {
        self.signal.as_deref().unwrap_or("core dumped")
    }
}

/// All crashes that these journals report, each once, in order of time.
pub(crate) fn crashes<'a>(journal: impl Iterator<Item = &'a JournalLine>) -> Vec<Crash> {
    let reporter = |line: &str| {
        (line.starts_with("Process "), Meaning::UnitKilled.is_in(line), Meaning::KernelCoreDump.is_in(line))
    };
    let mut all: Vec<Crash> = Vec::new();
    let mut lines: Vec<&JournalLine> = journal.collect();
    lines.sort_by_key(|line| line.at_us);
    for line in lines {
        let Some(mut crash) = crash(line) else { continue };
        let is_same = |known: &&mut Crash| {
            known.program == crash.program
                && crash.at_us.saturating_sub(known.at_us) < SAME_CRASH_US
                && reporter(&known.line) != reporter(&crash.line)
        };
        if let Some(known) = all.iter_mut().rev().find(is_same) {
            known.signal = known.signal.take().or(crash.signal.take());
        } else if !all.iter().any(|known| known.at_us == crash.at_us && known.line == crash.line) {
            all.push(crash);
        }
    }
    all
}

fn crash(line: &JournalLine) -> Option<Crash> {
    let first = first_line(line);
    let is_kernel = line.transport == "kernel";
    let (program, signal) = if let Some(found) = Meaning::CoreDump.parts_of(first) {
        (found[1].to_owned(), found.get(2).map(|signal| signal.as_str().to_owned()))
    } else if let Some(found) = Meaning::KernelFault.parts_of(first).filter(|_| is_kernel) {
        let signal = match &found[2] {
            "trap invalid opcode" => "SIGILL",
            "trap divide error" => "SIGFPE",
            "trap int3" => "SIGTRAP",
            _ => "SIGSEGV",
        };
        (found[1].to_owned(), Some(signal.to_owned()))
    } else if let Some(found) = Meaning::KernelCoreDump.parts_of(first).filter(|_| is_kernel) {
        (found[1].to_owned(), None)
    } else {
        let found = Meaning::UnitKilled.parts_of(first)?;
        (compositors::process_of_unit(&line.unit)?.to_owned(), Some(format!("SIG{}", &found[1])))
    };
    let program = program_of_crash(&program).to_owned();
    Some(Crash { program, signal, at_us: line.at_us, line: first.to_owned() })
}

/// A session that logind reported in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionRecord {
    /// Its unit: `session-2.scope`.
    pub(crate) scope: String,
    pub(crate) user: String,
    pub(crate) class: String,
    pub(crate) began_us: u64,
    pub(crate) ended_us: Option<u64>,
}

impl SessionRecord {
    pub(crate) fn is_greeter(&self) -> bool {
        self.class == "greeter"
    }
}

/// The sessions that logind reported in `journal`, in order of time. `system_journal` knows which of them had a scope.
pub(crate) fn session_records(journal: &[JournalLine], system_journal: &[JournalLine]) -> Vec<SessionRecord> {
    let mut all: BTreeMap<String, SessionRecord> = BTreeMap::new();
    for line in journal.iter().filter(|line| line.unit == "systemd-logind.service") {
        if let Some(found) = Meaning::SessionBegan.parts_of(&line.message) {
            let (id, user) = (&found[1], &found[2]);
            let class = match found.get(3) {
                Some(class) => class.as_str(),
                None if display_managers::greeter_users().any(|name| name == user) => "greeter",
                None => "",
            };
            let record = SessionRecord {
                scope: format!("session-{id}.scope"),
                user: user.to_owned(),
                class: class.to_owned(),
                began_us: line.at_us,
                ended_us: None,
            };
            all.insert(id.to_owned(), record);
        } else if let Some(found) = Meaning::SessionEnded.parts_of(&line.message)
            && let Some(record) = all.get_mut(&found[1])
        {
            record.ended_us.get_or_insert(line.at_us);
        }
    }
    // An older logind does not report the class. Users' managers have sessions without a scope.
    let scopes: BTreeSet<&str> = system_journal.iter().map(|line| line.unit.as_str()).collect();
    let is_managers = |record: &SessionRecord| {
        record.class.starts_with("manager") || record.class.is_empty() && !scopes.contains(record.scope.as_str())
    };
    let mut all: Vec<SessionRecord> = all.into_values().filter(|record| !is_managers(record)).collect();
    all.sort_by_key(|record| record.began_us);
    all
}
