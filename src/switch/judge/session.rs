//! What became of the user's session: `switch.session-survived`.

use crate::checks::text::{clean, list};
use crate::desktop::compositors::COMPOSITORS;
use crate::model::{CheckId, CheckResult, Status};
use crate::switch::observation::{ProcessSeen, Rehearsal, SessionSeen, Sessions, SwitchEnd, SwitchRun};

/// Programs that sound goes through.
const SOUND: [&str; 4] = ["pipewire", "pipewire-pulse", "wireplumber", "pulseaudio"];
/// Units whose restart ends sessions.
const OWNERS: [&str; 5] =
    ["display-manager.service", "greetd.service", "systemd-logind.service", "dbus.service", "dbus-broker.service"];

pub(super) fn judge(rehearsal: &Rehearsal, there: &SwitchRun) -> CheckResult {
    let id = CheckId::SwitchSession;
    let Some(before) = rehearsal.sessions_before.as_ref() else {
        return CheckResult::new(id, Status::Skip, "not judged: logind could not be asked before the switch");
    };
    let users: Vec<&SessionSeen> = before.sessions.iter().filter(|session| session.state != "closing").collect();
    if users.is_empty() {
        return CheckResult::new(id, Status::Skip, "not applicable: no user was logged in before the switch");
    }
    let after = match (&rehearsal.sessions_switched, &there.end) {
        (Some(after), _) => after,
        (None, SwitchEnd::Silent | SwitchEnd::Gone(_) | SwitchEnd::Missing(_)) => {
            return CheckResult::new(id, Status::Skip, "not judged: the machine does not answer since it was switched");
        }
        (None, _) => return CheckResult::new(id, Status::Unknown, "logind could not be asked after the switch"),
    };
    let users_names: Vec<&str> = users.iter().map(|session| session.user.as_str()).collect();
    if let Some(lost) = users.iter().find(|session| !lives(session, before, after)) {
        let by = there
            .jobs
            .iter()
            .find(|job| matches!(job.job.as_str(), "stop" | "restart") && OWNERS.contains(&job.unit.as_str()));
        let by = by.map_or_else(String::new, |job| {
            format!(": {} was {}", job.unit, if job.job == "stop" { "stopped" } else { "restarted" })
        });
        return CheckResult::new(
            id,
            Status::Fail,
            format!("the session of {} was ended by the switch{by}", clean(&lost.user)),
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
            format!("{name} {what} by the switch, and with it what was open in it"),
        )
        .hint("apply it with `nixos-rebuild boot` and reboot, or log out first");
    }
    sound(rehearsal, before, after, &users_names).unwrap_or_else(|| {
        CheckResult::new(
            id,
            Status::Pass,
            format!("the session of {} lived on, with its compositor and its sound", list(&users_names)),
        )
    })
}

/// What became of the sound servers, where that is worth a word.
fn sound(rehearsal: &Rehearsal, before: &Sessions, after: &Sessions, users: &[&str]) -> Option<CheckResult> {
    let id = CheckId::SwitchSession;
    let is_server = |process: &&ProcessSeen| SOUND.contains(&unwrapped(&process.name));
    let gone: Vec<&ProcessSeen> = before
        .processes
        .iter()
        .filter(is_server)
        .filter(|process| !after.processes.iter().any(|now| now.is(process)))
        .collect();
    let names: Vec<&str> = gone.iter().map(|process| unwrapped(&process.name)).collect();
    if rehearsal.sound_before == Some(true) && rehearsal.sound_switched == Some(false) {
        let what = if names.is_empty() { String::new() } else { format!(": {} was ended", list(&names)) };
        return Some(
            CheckResult::new(id, Status::Fail, format!("no sound comes out any more since the switch{what}"))
                .hint("systemctl --user restart pipewire wireplumber in the session, or log out and in again, after the switch"),
        );
    }
    if names.is_empty() {
        return None;
    }
    let has_server = after.processes.iter().any(|process| is_server(&process));
    if !has_server {
        return Some(
            CheckResult::new(
                id,
                Status::Fail,
                format!("{} was ended by the switch, and no sound server came instead", list(&names)),
            )
            .hint(
                "start the new one in the session after the switch, or apply it with `nixos-rebuild boot` and reboot",
            ),
        );
    }
    let heard = if rehearsal.sound_switched == Some(true) { "; sound is heard before and after it" } else { "" };
    Some(CheckResult::new(
        id,
        Status::Pass,
        format!(
            "the session of {} lived on; {} was restarted, so programs lose their sound for a moment{heard}",
            list(users),
            list(&names)
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
    let name = unwrapped(name);
    COMPOSITORS.iter().any(|compositor| {
        compositor.processes.iter().any(|process| {
            // The kernel keeps 15 bytes of a name.
            *process == name || process.len() > 15 && process.get(..15) == Some(name)
        })
    })
}

/// Without NixOS's wrapping: `.sway-wrapped` is `sway`.
fn unwrapped(name: &str) -> &str {
    name.strip_prefix('.').and_then(|name| name.split("-wrap").next()).unwrap_or(name)
}
