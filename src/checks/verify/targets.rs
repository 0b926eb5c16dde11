//! Units that nothing can start, since the target that is to want them does not exist.

use super::directives::slip;
use crate::judging::targets::{SYSTEM, stem};
use crate::judging::{Finding, JudgeContext, unit};
use crate::model::LoadState;
use crate::nix::expectations::ExpectedUnit;

/// Those of every user's manager, and the usual ones of sessions.
const USER: [&str; 15] = [
    "basic",
    "default",
    "graphical-session",
    "graphical-session-pre",
    "xdg-desktop-autostart",
    "sockets",
    "timers",
    "paths",
    "sound",
    "bluetooth",
    "printer",
    "tray",
    "hyprland-session",
    "sway-session",
    "shutdown",
];

/// The target that is meant, where this is a slip.
fn meant<'a>(target: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = stem(target)?;
    // A plural, a dash: short names of two desktops' sessions differ by as much, but at their beginning.
    let near = known.filter(|known| *known != name && known.bytes().next() == name.bytes().next());
    let squeezed = |text: &str| text.replace('-', "");
    near.filter_map(|known| Some((slip(&squeezed(name), &squeezed(known))?, known)))
        .min_by_key(|it| it.0)
        .map(|it| it.1)
}

/// What is wrong with what a unit is wanted by: what breaks it, or what is merely left over.
pub(super) enum Wanted {
    Nobody(Finding),
    SomeoneElse(Finding),
}

/// A unit of PID 1's.
pub(super) fn of_system(cx: &JudgeContext<'_>, name: &str, declared: &ExpectedUnit) -> Option<Wanted> {
    let is_missing = |target: &&String| {
        stem(target).is_some_and(|_| cx.unit(target).is_some_and(|unit| unit.load_state == LoadState::NotFound))
    };
    let missing = declared.wanted_by.iter().find(is_missing)?;
    let all = declared.wanted_by.iter().all(|by| is_missing(&by));
    let started = cx.unit(name).is_some_and(|it| unit::is_active(it) || !it.triggered_by.is_empty());
    let declared = cx.plan.expectations.units.keys().filter_map(|unit| stem(unit));
    let near = meant(missing, SYSTEM.into_iter().chain(declared));
    let of_users = stem(missing).is_some_and(|name| USER.contains(&name));
    let (why, hint) = match near {
        _ if of_users => (
            "which only users' managers have".to_owned(),
            Some(format!("systemd.user.services, or wantedBy = [ \"graphical.target\" ], instead of {missing}")),
        ),
        Some(near) => ("which does not exist".to_owned(), Some(format!("did you mean {near}.target?"))),
        None => ("which does not exist".to_owned(), None),
    };
    let summary = if all && !started {
        format!("{name} is never started: it is wanted by {missing}, {why}")
    } else {
        format!("{name} is wanted by {missing}, {why}")
    };
    let is_slip = near.is_some() || of_users;
    Some(wanted(finding(name, missing, summary, hint), all && !started && is_slip))
}

/// A unit of users' managers: only a slip counts, or a target of PID 1's, since desktops bring targets of their own.
pub(super) fn of_user<'a>(
    name: &str,
    declared: &ExpectedUnit,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Option<Wanted> {
    let known = || USER.into_iter().chain(known.clone().filter_map(stem));
    let is_known = |target: &str| stem(target).is_none_or(|name| known().any(|known| known == name));
    let (missing, near) = declared.wanted_by.iter().filter(|target| !is_known(target)).find_map(|target| {
        let of_system = stem(target).filter(|name| SYSTEM.contains(name) && *name != "exit").map(|_| "default");
        Some((target, of_system.or_else(|| meant(target, known()))?))
    })?;
    let why = if near == "default" { "which users' managers do not have" } else { "which does not exist" };
    let summary = format!("{name} of users is never started: it is wanted by {missing}, {why}");
    let alone = declared.wanted_by.len() == 1;
    Some(wanted(finding(name, missing, summary, Some(format!("did you mean {near}.target?"))), alone))
}

fn wanted(finding: Finding, breaks: bool) -> Wanted {
    if breaks { Wanted::Nobody(finding) } else { Wanted::SomeoneElse(finding) }
}

fn finding(name: &str, target: &str, summary: String, hint: Option<String>) -> Finding {
    let finding = Finding::new(name, summary).evidence("unit", name).evidence("target", target);
    match hint {
        Some(hint) => finding.hint(hint),
        None => finding,
    }
}
