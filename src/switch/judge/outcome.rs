//! How the switch program ended: `switch.outcome`, and `switch.way-back`.

use super::announced::happened;
use super::session::{WITHOUT_BUS, stopped_bus};
use super::words::{self, Words};
use super::{Checked, PhaseChecks, error_chain, last_word, tail, units};
use crate::guest::facts::{JournalLine, SYSTEM_BUS};
use crate::judging::text::{LINES, clean, journal, list, seconds};
use crate::judging::unit::error_line;
use crate::model::{CheckId, CheckResult, Status, UNIT_PREFIX};
use crate::switch::observation::{OOM_KILL, SwitchEnd, SwitchRun, UnitJob};

/// The exit code of a refusal by a pre-switch check, and of what cannot be read.
const REFUSED: i32 = 1;
/// That of an activation script that failed, where no unit did.
const ACTIVATION_FAILED: i32 = 2;
/// That of units that failed.
const UNITS_FAILED: i32 = 4;
/// That of a system whose init cannot be exchanged while it runs.
const NEEDS_REBOOT: i32 = 100;
/// How D-Bus says that an answer did not come in time.
const NO_REPLY: &str = "Did not receive a reply";
/// What applies a change that no running system can take.
const BOOT_INSTEAD: &str = "apply it with `nixos-rebuild boot` and reboot";

/// How the switch to the target ended.
pub(super) fn there(run: &SwitchRun, checks: &PhaseChecks<'_>) -> CheckResult {
    judge(CheckId::SwitchOutcome, run, checks.fresh, checks.switched)
}

/// How the switch back ended.
pub(super) fn back(run: &SwitchRun, checks: &PhaseChecks<'_>) -> CheckResult {
    judge(CheckId::SwitchWayBack, run, checks.fresh, checks.back)
}

fn judge(id: CheckId, run: &SwitchRun, fresh: Checked<'_>, after: Checked<'_>) -> CheckResult {
    let words = words::read(&run.output);
    if let (Some(bus), Some(code)) = (stopped_bus(run), run.exit().filter(|code| *code != 0)) {
        let summary = format!(
            "{bus} was stopped by the switch and not started again; switch-to-configuration exited with {code}"
        );
        return CheckResult::new(id, Status::Fail, summary).detail(tail(run)).hint(WITHOUT_BUS).evidence("exit", code);
    }
    let fail = |summary: String| CheckResult::new(id, Status::Fail, summary);
    match &run.end {
        SwitchEnd::Exited(0) => CheckResult::new(id, Status::Pass, went_well(run)),
        SwitchEnd::Exited(UNITS_FAILED) => units_failed(id, run, &words, fresh, after),
        // It dies with whatever error it had last as its code, which may be this one.
        SwitchEnd::Exited(ACTIVATION_FAILED) if words.is_activation_failed => activation_failed(id, run, &words),
        SwitchEnd::Exited(NEEDS_REBOOT) => fail(
            "the running system cannot switch: the new configuration's init is incompatible with the running one"
                .to_owned(),
        )
        .hint(BOOT_INSTEAD)
        .detail(tail(run)),
        SwitchEnd::Exited(REFUSED) if words.is_refused && !run.was_made() => refused(id, run, &words),
        SwitchEnd::Exited(_) if words.is_locked => CheckResult::new(
            id,
            Status::Unknown,
            "another switch was in progress in the machine (Could not acquire lock)",
        )
        .detail(tail(run)),
        SwitchEnd::Exited(code) => {
            fail(format!("switch-to-configuration exited with {code}: {}", last_word(run))).detail(tail(run))
        }
        SwitchEnd::Killed(why) if why == OOM_KILL => {
            fail("the machine ran out of memory while it switched, and switch-to-configuration was killed".to_owned())
                .detail(tail(run))
                .hint("see in the journal what took the memory; --memory gives the VM more")
        }
        SwitchEnd::Killed(signal) => fail(format!("switch-to-configuration was killed ({signal}) before it finished"))
            .detail(tail(run))
            .hint("the journal says who killed it: the OOM killer, or a unit that the switch itself stopped"),
        SwitchEnd::Hung { waiting_for, seconds } => hung(id, run, waiting_for, *seconds),
        SwitchEnd::Silent => silent(id, run),
        SwitchEnd::Gone(how) => fail(format!("the machine did not survive the switch: {how}")).detail(tail(run)),
        SwitchEnd::NotStarted(why) => CheckResult::new(
            id,
            Status::Unknown,
            format!("the switch program could not be started in the machine: {why}"),
        ),
        SwitchEnd::Missing(path) => CheckResult::new(
            id,
            Status::Unknown,
            format!("the machine's store does not have {path}: there was nothing to switch to"),
        ),
    }
    .evidence("exit", run.exit())
}

/// `switched in 12 s: 2 restarted, 1 started`.
fn went_well(run: &SwitchRun) -> String {
    format!("switched in {}: {}", seconds(run.seconds), happened(run))
}

/// What a check found wrong with a unit: the line, those that show it, and what to do.
fn found<'a>(unit: &str, results: &'a [CheckResult]) -> Option<(&'a CheckResult, String)> {
    let failing = results.iter().filter(|result| result.status == Status::Fail);
    for result in failing {
        if let Some(finding) = result.findings.iter().find(|finding| finding.item == unit) {
            return Some((result, finding.summary.clone()));
        }
        if result.findings.is_empty() && result.summary.contains(unit) {
            return Some((result, result.summary.clone()));
        }
    }
    None
}

/// Why the switch is not to be blamed for a unit that failed in it.
enum Excuse<'a> {
    /// The VM lacks what it needs, as the checks say in these words.
    Untestable(&'a str),
    /// `nixbox.toml` allows it.
    Allowed,
}

/// Why the switch is not to be blamed for this one, by the checks after it.
fn excuse<'a>(unit: &str, words: &Words, after: Checked<'a>) -> Option<Excuse<'a>> {
    // The checks speak of the system's unit of that name.
    if words.users_failed.iter().any(|of| of == unit) {
        return None;
    }
    let name = clean(unit);
    if let Some(entry) = after.not_tested.iter().find(|entry| entry.what == name) {
        return Some(Excuse::Untestable(&entry.why));
    }
    let is_allowed = match found(unit, after.results) {
        Some((result, _)) => result.allowed.is_some(),
        // What is allowed is no finding where something else is one.
        None => after.allowed.contains(&unit),
    };
    is_allowed.then_some(Excuse::Allowed)
}

/// Whether all that went wrong in a switch is that such units failed, which they will do each time.
pub(crate) fn is_excused(run: &SwitchRun, after: Checked<'_>) -> bool {
    let words = words::read(&run.output);
    let is_of_units = !words.is_activation_failed && words.users.is_empty() && stopped_bus(run).is_none();
    run.exit() == Some(UNITS_FAILED)
        && is_of_units
        && !words.failed.is_empty()
        && words.failed.iter().all(|unit| excuse(unit, &words, after).is_some())
}

/// Such units in words, `, but for vpn.service, which cannot work in this VM`, and lines that say why.
fn but_for(excused: &[&String], words: &Words, after: Checked<'_>) -> (String, Vec<String>) {
    let (mut untestable, mut allowed, mut why) = (Vec::new(), Vec::new(), Vec::new());
    for unit in excused {
        match excuse(unit, words, after) {
            Some(Excuse::Untestable(because)) => {
                untestable.push(unit.as_str());
                why.push(clean(&format!("{unit}: {because}")));
            }
            Some(Excuse::Allowed) => allowed.push(unit.as_str()),
            None => {}
        }
    }
    let kinds = [(untestable, "cannot work in this VM"), (allowed, "may fail (nixbox.toml)")];
    let named = kinds.iter().filter(|(units, _)| !units.is_empty());
    let named: Vec<String> = named.map(|(units, what)| format!("{}, which {what}", list(units))).collect();
    let words = if named.is_empty() { String::new() } else { format!(", except for {}", named.join(", and ")) };
    why.truncate(LINES);
    (words, why)
}

/// Exit code 4: which units failed in the switch, and are not up since.
fn units_failed(id: CheckId, run: &SwitchRun, words: &Words, fresh: Checked<'_>, after: Checked<'_>) -> CheckResult {
    let checks = after.results;
    let was_red =
        |unit: &String| found(unit, fresh.results).is_some() && found(unit, checks).is_none_or(|(now, _)| now.before);
    let (before, new): (Vec<&String>, Vec<&String>) = words.failed.iter().partition(|unit| was_red(unit));
    let (excused, new): (Vec<&String>, Vec<&String>) =
        new.into_iter().partition(|unit| excuse(unit, words, after).is_some());
    let is_down =
        |unit: &&&String| checks.is_empty() || found(unit, checks).is_some() || !has_come_up(unit, run, words);
    let mut down: Vec<&String> = new.iter().filter(is_down).copied().collect();
    down.sort_by_key(|unit| (rank(unit, run, words), (*unit).clone()));
    let Some(first) = down.first() else {
        if words.is_activation_failed {
            return activation_failed(id, run, words);
        }
        if let (Some(user), []) = (words.users.first(), words.users_failed.as_slice()) {
            return user_failed(id, run, user);
        }
        let (but, why) = but_for(&excused, words, after);
        let what = match (new.is_empty(), before.is_empty()) {
            (false, _) => format!(": {} failed at first and came up since", list(&new)),
            (true, false) => format!(": {} had failed before the switch too", list(&before)),
            (true, true) if excused.is_empty() => return unnamed(id, run),
            (true, true) => String::new(),
        };
        let summary = format!("switched in {}{but}{what}", seconds(run.seconds));
        return CheckResult::new(id, Status::Pass, summary).detail(why);
    };
    let (cause, mut detail, hint) = match found(first, checks) {
        Some((result, cause)) => (cause, result.detail.clone(), result.hint.clone()),
        None => (said_of(first, run, words), lines_of(first, run), None),
    };
    if detail.is_empty() {
        detail = lines_of(first, run);
    }
    let more = if down.len() > 1 { format!(" (and {} more)", down.len() - 1) } else { String::new() };
    let mut result = CheckResult::new(id, Status::Fail, format!("{cause}{more}")).detail(detail);
    result.hint = hint;
    result.evidence("units", units(down.iter().map(|unit| unit.as_str())))
}

/// Whether a unit that is said to have failed is shown to be up. That it is not in state `failed` shows nothing by itself: a
/// job that was never queued, or a reload, leaves none there; nor is a user's unit seen among PID 1's.
fn has_come_up(unit: &String, run: &SwitchRun, words: &Words) -> bool {
    // Without a reply it is not known whether there is a job: what became of the unit tells.
    if words.not_queued.iter().any(|(of, why)| of == unit && !why.starts_with(NO_REPLY)) {
        return false;
    }
    if words.users_failed.contains(unit) {
        return run.user_active.contains(unit) && !words.not_reloaded.contains(unit);
    }
    if run.failed.contains(unit) || run.activating.contains(unit) {
        return false;
    }
    let last = run.jobs.iter().rev().find(|job| &job.unit == unit);
    let has_started =
        last.is_some_and(|job| matches!(job.job.as_str(), "start" | "restart" | "try-restart") && job.result == "done");
    // A busy mount is active because it could not be unmounted.
    let stays_up = [".mount", ".swap"].iter().any(|kind| unit.ends_with(kind)) || words.not_reloaded.contains(unit);
    has_started || run.active.contains(unit) && !stays_up
}

/// The causes before what only depends on them, then in the order in which they failed.
fn rank(unit: &String, run: &SwitchRun, words: &Words) -> (bool, usize) {
    let is_own = |job: &UnitJob| matches!(job.result.as_str(), "failed" | "timeout");
    let failed_at = run.jobs.iter().position(|job| &job.unit == unit && is_own(job));
    let is_dependent = run.jobs.iter().any(|job| &job.unit == unit && job.result == "dependency");
    let is_cause = failed_at.is_some()
        || run.failed.contains(unit)
        || !is_dependent && (words.users_failed.contains(unit) || words.not_queued.iter().any(|(of, _)| of == unit));
    (!is_cause, failed_at.unwrap_or(usize::MAX))
}

/// Exit code 4, and all that is said is whose units could not be switched.
fn user_failed(id: CheckId, run: &SwitchRun, user: &str) -> CheckResult {
    let why = error_chain(&run.output).map_or_else(String::new, |(why, _)| format!(": {why}"));
    CheckResult::new(id, Status::Fail, format!("the units of user {} could not be switched{why}", clean(user)))
        .detail(tail(run))
        .hint("what runs in that user's session is still the old one: see journalctl --user there, and log in again")
}

/// Exit code 4 without a unit's name: a user's part failed.
fn unnamed(id: CheckId, run: &SwitchRun) -> CheckResult {
    let said = run.output.iter().find(|line| line.contains("failed") || line.contains("Failed"));
    let said = said.map_or_else(|| "it names none".to_owned(), |line| clean(line));
    CheckResult::new(id, Status::Fail, format!("switch-to-configuration reports failed units: {said}"))
        .detail(tail(run))
}

fn first_line(line: &JournalLine) -> String {
    line.message.lines().next().unwrap_or_default().to_owned()
}

/// What a unit that failed said itself, or PID 1 of it.
fn said_of(unit: &str, run: &SwitchRun, words: &Words) -> String {
    if let Some((_, why)) = words.not_queued.iter().find(|(of, _)| of == unit) {
        let what = if why.starts_with(NO_REPLY) { "answer in time when asked for" } else { "accept" };
        return format!("{unit} failed: systemd did not {what} a job for it: {why}");
    }
    let by_manager = || run.journal.iter().rev().find(|line| line.unit == unit && line.message.contains("Failed"));
    let said = error_line(&run.journal, unit).or_else(|| by_manager().map(first_line));
    match said {
        Some(said) if words.not_reloaded.iter().any(|of| of == unit) => format!("{unit} could not be reloaded: {said}"),
        Some(said) => format!("{unit} failed: {said}"),
        None => format!("{unit} failed"),
    }
}

/// The journal's lines of a unit while it was switched.
fn lines_of(unit: &str, run: &SwitchRun) -> Vec<String> {
    let lines: Vec<String> = run.journal.iter().filter(|line| line.unit == unit).map(journal).collect();
    lines[lines.len().saturating_sub(LINES)..].to_vec()
}

/// Exit code 2.
fn activation_failed(id: CheckId, run: &SwitchRun, words: &Words) -> CheckResult {
    let summary = match words.snippets.as_slice() {
        [] => "the activation script failed".to_owned(),
        [one, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
            format!("{one}{more}")
        }
    };
    let name = words.snippets.first().map_or("NAME", |snippet| snippet.name.as_str());
    CheckResult::new(id, Status::Fail, summary).detail(tail(run)).hint(format!(
        "system.activationScripts.{name} runs on the machine as it is, at each switch and each boot: let it create what it needs"
    ))
}

/// A pre-switch check, or an inhibitor, said no.
fn refused(id: CheckId, run: &SwitchRun, words: &Words) -> CheckResult {
    if !words.inhibitors.is_empty() {
        let changed: Vec<&str> = words.inhibitors.iter().map(String::as_str).collect();
        return CheckResult::new(
            id,
            Status::Fail,
            format!("the switch is inhibited: {} changed (system.switch.inhibitors)", list(&changed)),
        )
        .detail(tail(run))
        .hint(BOOT_INSTEAD);
    }
    // What a check says comes before the words that it failed, and after those of the last one that was content.
    let failed_at = run.output.iter().position(|line| words::refusing_check(line).is_some());
    let named = failed_at.and_then(|at| words::refusing_check(&run.output[at]));
    let said: Vec<&str> = run.output[..failed_at.unwrap_or(run.output.len())].iter().map(|line| line.trim()).collect();
    let last = said
        .iter()
        .rev()
        .filter(|line| !line.is_empty() && **line != "Pre-switch checks failed")
        .copied()
        .take_while(|line| !words::is_passed_check(line))
        .next()
        .unwrap_or("it gave no reason");
    let by = named.map_or_else(|| "a pre-switch check".to_owned(), |name| format!("the pre-switch check {name}"));
    CheckResult::new(id, Status::Fail, format!("{by} refuses the switch: {last}"))
        .detail(tail(run))
        .hint("do what the check asks for, or change system.preSwitchChecks")
}

/// It did not end.
fn hung(id: CheckId, run: &SwitchRun, waiting_for: &[String], after: f64) -> CheckResult {
    let said: Vec<String> = run.output.iter().rev().take(LINES / 2).rev().map(|line| clean(line)).collect();
    let job = waiting_for.iter().find_map(|line| {
        let mut words = line.split_whitespace();
        let is_job = words.next().is_some_and(|number| number.parse::<u32>().is_ok());
        let (unit, kind, state) = (words.next()?, words.next()?, words.next()?);
        (is_job && state == "running").then(|| (unit.to_owned(), kind.to_owned()))
    });
    let after = seconds(after);
    let result = match (&run.hung_in, job) {
        (Some(snippet), _) => CheckResult::new(
            id,
            Status::Fail,
            format!("the switch hangs in the activation snippet '{snippet}': given up after {after}"),
        )
        .hint(format!(
            "system.activationScripts.{snippet} waits for something that never comes: no switch ends before it does"
        )),
        (None, Some((unit, kind))) => CheckResult::new(
            id,
            Status::Fail,
            format!("the switch hangs: the {kind} job of {unit} does not end; given up after {after}"),
        )
        .hint(match kind.as_str() {
            "stop" => format!("see why {unit} does not stop; TimeoutStopSec= bounds it"),
            _ => format!("give {unit} a TimeoutStartSec=, or a Type= that fits it"),
        }),
        (None, None) => {
            let last = last_word(run);
            CheckResult::new(id, Status::Fail, format!("the switch hangs after “{last}”: given up after {after}"))
        }
    };
    result.detail(said.into_iter().chain(waiting_for.iter().take(LINES / 2).map(|line| clean(line))))
}

/// Units that carry everything else, beside the system bus: what stops one of them is worth a word.
const CARRIERS: [&str; 4] =
    ["display-manager.service", "NetworkManager.service", "systemd-networkd.service", "dhcpcd.service"];

/// It did not answer any more.
fn silent(id: CheckId, run: &SwitchRun) -> CheckResult {
    // It could not be asked for the jobs any more: what it said that it stops is all that is known.
    let said = words::read(&run.output).actions;
    let carriers = [&CARRIERS[..], &SYSTEM_BUS].concat();
    let is_carrier = |unit: &&String| carriers.contains(&unit.as_str()) || unit.starts_with(UNIT_PREFIX);
    let stopped = said.stopped.iter().chain(&said.restarted).find(is_carrier);
    let why = stopped.map_or_else(String::new, |unit| format!(" after {unit} was stopped"));
    CheckResult::new(id, Status::Fail, format!("the machine no longer answers since it was switched{why}"))
        .detail(tail(run))
        .hint("its console (console.log) and screen (screen.png) show how far it got")
}
