//! What became of the user's session: `switch.session-survived`.

use super::UNITS;
use super::announced::restarted_of_users;
use super::idempotent::BY_HOME_MANAGER;
use crate::desktop::compositors::COMPOSITORS;
use crate::guest::facts::SYSTEM_BUS;
use crate::judging::text::{clean, list};
use crate::model::{CheckId, CheckResult, Status};
use crate::switch::observation::{ProcessSeen, Rehearsal, SessionSeen, Sessions, SwitchEnd, SwitchRun, UnitJob};

/// Units whose restart ends sessions, beside the system bus.
const OWNERS: [&str; 3] = ["display-manager.service", "greetd.service", "systemd-logind.service"];

/// Units whose instances hold a terminal, and who is logged in there.
const TERMINALS: [&str; 5] = ["getty@", "autovt@", "serial-getty@", "kmscon@", "kmsconvt@"];

/// What becomes of sessions between two looks.
struct Between<'a> {
    before: &'a Sessions,
    after: &'a Sessions,
    /// The run between them.
    run: &'a SwitchRun,
    /// `the switch`, `switching back`.
    by: &'static str,
    /// Whether sound was heard, before and after.
    sound: (Option<bool>, Option<bool>),
    /// Whether there is to be none after it.
    without_sound: bool,
}

/// At the switch to the target; `again` shows what is restarted though nothing changes.
pub(super) fn there(rehearsal: &Rehearsal, there: &SwitchRun, again: Option<&SwitchRun>) -> CheckResult {
    let id = CheckId::SwitchSession;
    let Some(before) = rehearsal.sessions_before.as_ref() else {
        return CheckResult::new(id, Status::Skip, "not judged: logind could not be asked before the switch");
    };
    if users(before).is_empty() {
        return CheckResult::new(id, Status::Skip, "not applicable: no user was logged in before the switch");
    }
    if !there.was_made() {
        return CheckResult::new(id, Status::Skip, "not applicable: the switch was not made");
    }
    let after = match (&rehearsal.sessions_switched, &there.end) {
        (Some(after), _) => after,
        (None, SwitchEnd::Silent | SwitchEnd::Gone(_) | SwitchEnd::Missing(_)) => {
            return CheckResult::new(id, Status::Skip, "not judged: the machine does not answer since it was switched");
        }
        (None, _) => {
            return match stopped_bus(there) {
                Some(bus) => without_bus(id, bus, &users(before)),
                None => CheckResult::new(id, Status::Unknown, "logind could not be asked after the switch"),
            };
        }
    };
    let sound = (rehearsal.sound_before, rehearsal.sound_switched);
    let without_sound = rehearsal.without_sound[0];
    let result = judge(&Between { before, after, run: there, by: "the switch", sound, without_sound });
    if result.status == Status::Fail {
        return result;
    }
    let services = |run: &SwitchRun| services_restarted(rehearsal, run, &users(before));
    with_restarted(result, &services(there), &again.map(services).unwrap_or_default())
}

/// The services of these users that were restarted, but for sound servers, whose end is told in words of its own.
fn services_restarted(rehearsal: &Rehearsal, run: &SwitchRun, users: &[&SessionSeen]) -> Vec<String> {
    let is_sound = |name: &str| crate::audio::processes().any(|server| server == name);
    let counts = |uid: u32, unit: &str| {
        unit.strip_suffix(".service").is_some_and(|name| !is_sound(name)) && users.iter().any(|user| user.uid == uid)
    };
    let restarted = restarted_of_users(run).into_iter().filter(|(uid, unit)| counts(*uid, unit));
    restarted.map(|(uid, unit)| rehearsal.unit_of(uid, &unit)).collect()
}

/// Adds which services were restarted: one that has changed rightly is, so that it is only told; one that is restarted the
/// next time as well is a warning.
fn with_restarted(result: CheckResult, first: &[String], again: &[String]) -> CheckResult {
    let line = |unit: &String| clean(&format!("{unit} was restarted: what was open in it is closed"));
    let result = result.detail(first.iter().take(UNITS).map(line));
    let each: Vec<&str> = first.iter().filter(|unit| again.contains(unit)).map(String::as_str).collect();
    if each.is_empty() || result.status != Status::Pass {
        return result;
    }
    let summary = format!(
        "{}; but each switch restarts {}, though nothing changes, and closes what is open in it",
        result.summary,
        list(&each)
    );
    CheckResult { status: Status::Warn, summary, ..result }.hint(BY_HOME_MANAGER)
}

/// The system's bus, where the switch stopped it, and nothing started it again.
pub(super) fn stopped_bus(run: &SwitchRun) -> Option<&str> {
    let of_bus = || run.jobs.iter().filter(|job| SYSTEM_BUS.contains(&job.unit.as_str()) && job.result == "done");
    let is_gone = of_bus().next_back().is_some_and(|job| job.job == "stop");
    let is_stopped = |unit: &&&str| of_bus().any(|job| job.unit == **unit && job.job == "stop");
    // The service, rather than its socket.
    SYSTEM_BUS.iter().rev().filter(|_| is_gone).find(is_stopped).copied()
}

/// What to do about that.
pub(super) const WITHOUT_BUS: &str =
    "apply it with `nixos-rebuild boot` and reboot: logind and the desktop cannot go on without the system bus";

fn without_bus(id: CheckId, bus: &str, users: &[&SessionSeen]) -> CheckResult {
    let names: Vec<&str> = users.iter().map(|session| session.user.as_str()).collect();
    CheckResult::new(
        id,
        Status::Fail,
        format!(
            "{bus} was stopped by the switch and not started again: the session of {} is cut off from logind",
            list(&names)
        ),
    )
    .hint(WITHOUT_BUS)
}

/// At the switch back, where somebody was still logged in before it.
pub(super) fn back(rehearsal: &Rehearsal, back: &SwitchRun) -> Option<CheckResult> {
    let (before, after) = (rehearsal.sessions_switched.as_ref()?, rehearsal.sessions_back.as_ref()?);
    let is_judged = back.was_made() && !users(before).is_empty();
    let sound = (rehearsal.sound_switched, None);
    let without_sound = rehearsal.without_sound[1];
    is_judged.then(|| judge(&Between { before, after, run: back, by: "switching back", sound, without_sound }))
}

/// The sessions that are to live on.
fn users(sessions: &Sessions) -> Vec<&SessionSeen> {
    sessions.sessions.iter().filter(|session| session.state != "closing").collect()
}

fn judge(between: &Between<'_>) -> CheckResult {
    let id = CheckId::SwitchSession;
    let Between { before, after, run, by: switch, .. } = *between;
    let users = users(before);
    let users_names: Vec<&str> = users.iter().map(|session| session.user.as_str()).collect();
    if let Some(lost) = users.iter().find(|session| !lives(session, before, after)) {
        let manager = format!("user@{}.service", lost.uid);
        let owns = |unit: &str| {
            OWNERS.contains(&unit)
                || SYSTEM_BUS.contains(&unit)
                || unit == manager
                || TERMINALS.iter().any(|kind| unit.starts_with(kind))
        };
        let stops = |job: &&UnitJob| matches!(job.job.as_str(), "stop" | "restart");
        let by = run.jobs.iter().find(|job| stops(job) && owns(&job.unit));
        let by = by.map_or_else(String::new, |job| {
            format!(": {} was {}", job.unit, if job.job == "stop" { "stopped" } else { "restarted" })
        });
        return CheckResult::new(
            id,
            Status::Fail,
            format!("the session of {} was ended by {switch}{by}", clean(&lost.user)),
        )
        .hint("apply it with `nixos-rebuild boot` and reboot, or log out first");
    }
    let lost: Vec<&ProcessSeen> = before
        .processes
        .iter()
        .filter(|process| is_compositor(&process.name) && users.iter().any(|session| session.uid == process.uid))
        .filter(|process| !after.processes.iter().any(|now| now.is(process)))
        .collect();
    if let Some(compositor) = lost.first() {
        let name = clean(&compositor.name);
        let is_back = after.processes.iter().any(|now| now.name == compositor.name && now.uid == compositor.uid);
        let what = if is_back { "was restarted" } else { "was ended" };
        return CheckResult::new(
            id,
            Status::Fail,
            format!("{name} {what} by {switch}, which ends what was open in it"),
        )
        .hint("apply it with `nixos-rebuild boot` and reboot, or log out first");
    }
    sound(between, &users, &users_names).unwrap_or_else(|| {
        CheckResult::new(
            id,
            Status::Pass,
            format!("the session of {} survived, with its compositor and its sound", list(&users_names)),
        )
    })
}

/// What became of a sound server that is not there any more.
#[derive(PartialEq)]
enum Fate {
    /// It is there anew.
    Restarted(String),
    /// Another one came instead.
    Replaced(String, String),
    /// Nothing came, and nothing of that user's does its work.
    Ended(String),
    /// What PulseAudio's programs speak to is gone, though sound goes on.
    NoPulse(String),
}

/// What became of the users' sound servers that are not there any more.
fn fates(before: &Sessions, after: &Sessions, users: &[&SessionSeen]) -> Vec<Fate> {
    let is_server = |process: &&ProcessSeen| crate::audio::processes().any(|name| name == process.name);
    let is_users = |process: &&ProcessSeen| users.iter().any(|session| session.uid == process.uid);
    let is_in = |process: &ProcessSeen, seen: &Sessions| seen.processes.iter().any(|other| other.is(process));
    let mut fates = Vec::new();
    let servers = before.processes.iter().filter(is_server).filter(is_users);
    for gone in servers.filter(|process| !is_in(process, after)) {
        let name = gone.name.as_str();
        let now: Vec<&ProcessSeen> =
            after.processes.iter().filter(is_server).filter(|process| process.uid == gone.uid).collect();
        let has = |server: &str| now.iter().any(|process| process.name.as_str() == server);
        let had = |server: &str| {
            before.processes.iter().any(|process| process.uid == gone.uid && process.name.as_str() == server)
        };
        let instead = match name {
            "pulseaudio" => ["pipewire-pulse", "pipewire"].as_slice(),
            _ => ["pulseaudio"].as_slice(),
        };
        let instead = instead.iter().find(|server| has(server) && !had(server));
        let fate = if has(name) {
            Fate::Restarted(name.to_owned())
        } else if let Some(instead) = instead {
            Fate::Replaced(name.to_owned(), (*instead).to_owned())
        } else if name == "pipewire-pulse" && has("pipewire") {
            Fate::NoPulse(name.to_owned())
        } else {
            Fate::Ended(name.to_owned())
        };
        if !fates.contains(&fate) {
            fates.push(fate);
        }
    }
    fates
}

const fn was(of: &[&str]) -> &'static str {
    if of.len() == 1 { "was" } else { "were" }
}

/// What became of the sound servers, where that is worth a word.
fn sound(between: &Between<'_>, users: &[&SessionSeen], names: &[&str]) -> Option<CheckResult> {
    let id = CheckId::SwitchSession;
    let switch = between.by;
    let fates = fates(between.before, between.after, users);
    let (mut restarted, mut replaced, mut ended, mut no_pulse) = (Vec::new(), Vec::new(), Vec::new(), None);
    for fate in &fates {
        match fate {
            Fate::Restarted(name) => restarted.push(name.as_str()),
            Fate::Replaced(name, by) => replaced.push(format!("{name} was replaced by {by}")),
            Fate::Ended(name) => ended.push(name.as_str()),
            Fate::NoPulse(name) => no_pulse = Some(name),
        }
    }
    let mut told = replaced;
    if !restarted.is_empty() {
        told.push(format!("{} {} restarted", list(&restarted), was(&restarted)));
    }
    if between.sound == (Some(true), Some(false)) {
        if !ended.is_empty() {
            told.push(format!("{} {} ended", list(&ended), was(&ended)));
        }
        let what = if told.is_empty() { String::new() } else { format!(": {}", told.join(", ")) };
        return Some(CheckResult::new(id, Status::Fail, format!("no sound comes out since {switch}{what}")).hint(
            "systemctl --user restart pipewire wireplumber in the session, or log out and in again, after the switch",
        ));
    }
    if !ended.is_empty() && !between.without_sound && between.sound.1 != Some(true) {
        return Some(
            CheckResult::new(
                id,
                Status::Fail,
                format!("{} {} ended by {switch}, and no other sound server took over", list(&ended), was(&ended)),
            )
            .hint(
                "start the new one in the session after the switch, or apply it with `nixos-rebuild boot` and reboot",
            ),
        );
    }
    if let Some(name) = no_pulse {
        // Its socket may start it again: what was open has no sound in any case.
        return Some(
            CheckResult::new(
                id,
                Status::Warn,
                format!("{name} was ended by {switch} and no longer runs: nothing answers programs that use PulseAudio"),
            )
            .hint("systemctl --user start pipewire-pulse.socket in the session; services.pipewire.pulse.enable = true has it there at each login"),
        );
    }
    if told.is_empty() {
        return None;
    }
    let heard = if between.sound.1 == Some(true) { "; sound is heard before and after it" } else { "" };
    Some(CheckResult::new(
        id,
        Status::Pass,
        format!(
            "the session of {} survived; {}, so programs lose their sound for a moment{heard}",
            list(names),
            told.join(", ")
        ),
    ))
}

/// Whether a session is there still, with the process that it began with.
fn lives(session: &SessionSeen, before: &Sessions, after: &Sessions) -> bool {
    let is_there =
        after.sessions.iter().any(|now| now.id == session.id && now.uid == session.uid && now.leader == session.leader);
    let leader = before.processes.iter().find(|process| process.pid == session.leader);
    is_there && leader.is_none_or(|leader| after.processes.iter().any(|now| now.is(leader)))
}

fn is_compositor(name: &str) -> bool {
    COMPOSITORS.iter().any(|compositor| {
        compositor.processes.iter().any(|process| {
            // The kernel keeps 15 bytes of a name.
            *process == name || process.len() > 15 && process.get(..15) == Some(name)
        })
    })
}
