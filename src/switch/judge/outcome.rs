//! How the switch program ended: `switch.outcome`, and `switch.way-back`.

use super::PhaseChecks;
use super::announced::happened;
use super::words::{self, Words};
use crate::checks::text::{LINES, clean, journal, list, seconds};
use crate::model::{CheckId, CheckResult, Status, UnitActions};
use crate::switch::observation::{SwitchEnd, SwitchRun};

/// The exit code of a refusal by a pre-switch check, and of what cannot be read.
const REFUSED: i32 = 1;
/// That of an activation script that failed, where no unit did.
const ACTIVATION_FAILED: i32 = 2;
/// That of units that failed.
const UNITS_FAILED: i32 = 4;
/// That of a system whose init cannot be exchanged while it runs.
const NEEDS_REBOOT: i32 = 100;
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

fn judge(id: CheckId, run: &SwitchRun, fresh: &[CheckResult], after: &[CheckResult]) -> CheckResult {
    let words = words::read(&run.output);
    let fail = |summary: String| CheckResult::new(id, Status::Fail, summary);
    let tail = || run.output.iter().rev().take(LINES).rev().map(|line| clean(line));
    match &run.end {
        SwitchEnd::Exited(0) => CheckResult::new(id, Status::Pass, went_well(run)),
        SwitchEnd::Exited(UNITS_FAILED) => units_failed(id, run, &words, fresh, after),
        SwitchEnd::Exited(ACTIVATION_FAILED) => activation_failed(id, run, &words),
        SwitchEnd::Exited(NEEDS_REBOOT) => {
            fail("the running system cannot switch to it: its init is another one".to_owned())
                .hint(BOOT_INSTEAD)
                .detail(tail())
        }
        SwitchEnd::Exited(REFUSED) if words.is_refused => refused(id, run, &words),
        SwitchEnd::Exited(_) if words.is_locked => {
            CheckResult::new(id, Status::Unknown, "another switch was going on in the machine (Could not acquire lock)")
                .detail(tail())
        }
        SwitchEnd::Exited(code) => {
            let said = run.output.iter().rev().find(|line| !line.trim().is_empty());
            let said = said.map_or_else(|| "without a word".to_owned(), |line| clean(line.trim()));
            fail(format!("the switch program ended with {code}: {said}")).detail(tail())
        }
        SwitchEnd::Killed(signal) => fail(format!("the switch program was ended by {signal} before it was done"))
            .detail(tail())
            .hint("see in the journal who killed it: the OOM killer, or a unit that the switch itself stopped"),
        SwitchEnd::Hung { waiting_for, seconds } => hung(id, run, waiting_for, *seconds),
        SwitchEnd::Silent => silent(id, run),
        SwitchEnd::Gone(how) => fail(format!("the machine did not outlive the switch: {how}")).detail(tail()),
        SwitchEnd::Missing(path) => CheckResult::new(
            id,
            Status::Unknown,
            format!("the machine's store does not show {path}: there was nothing to switch to"),
        ),
    }
    .evidence("exit", run.exit())
}

/// `switched in 12 s: 2 restarted, 1 started`.
fn went_well(run: &SwitchRun) -> String {
    format!("switched in {}: {}", seconds(run.seconds), counted(&happened(run)))
}

/// `2 restarted, 1 started`.
fn counted(actions: &UnitActions) -> String {
    let UnitActions { stopped, started, restarted, reloaded } = actions;
    let parts = [(restarted, "restarted"), (reloaded, "reloaded"), (started, "started"), (stopped, "stopped")];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(units, _)| !units.is_empty())
        .map(|(units, what)| format!("{} {what}", units.len()))
        .collect();
    if parts.is_empty() { "no unit was touched".to_owned() } else { parts.join(", ") }
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

/// Exit code 4: which units failed in the switch, and are not up since.
fn units_failed(
    id: CheckId,
    run: &SwitchRun,
    words: &Words,
    fresh: &[CheckResult],
    after: &[CheckResult],
) -> CheckResult {
    let was_red = |unit: &String| found(unit, fresh).is_some() && found(unit, after).is_none_or(|(now, _)| now.before);
    let (before, new): (Vec<&String>, Vec<&String>) = words.failed.iter().partition(|unit| was_red(unit));
    let is_down = |unit: &&&String| found(unit, after).is_some() || run.failed.contains(unit) || after.is_empty();
    let down: Vec<&String> = new.iter().filter(is_down).copied().collect();
    let Some(first) = down.first() else {
        let up: Vec<&str> = new.iter().map(|unit| unit.as_str()).collect();
        let what = match (up.is_empty(), before.is_empty()) {
            (false, _) => format!("{} failed at first and came up since", list(&up)),
            (true, false) => format!("{} had failed before the switch too", list(&before)),
            (true, true) => return unnamed(id, run),
        };
        return CheckResult::new(id, Status::Pass, format!("switched in {}: {what}", seconds(run.seconds)));
    };
    let (cause, mut detail, hint) = match found(first, after) {
        Some((result, cause)) => (cause, result.detail.clone(), result.hint.clone()),
        None => (said_of(first, run), lines_of(first, run), None),
    };
    if detail.is_empty() {
        detail = lines_of(first, run);
    }
    let more = if down.len() > 1 { format!(" (and {} more)", down.len() - 1) } else { String::new() };
    let mut result = CheckResult::new(id, Status::Fail, format!("{cause}{more}")).detail(detail);
    result.hint = hint;
    let units: Vec<String> = down.iter().map(|unit| unit.to_string()).collect();
    result.evidence("units", units)
}

/// Exit code 4 without a unit's name: a user's part failed.
fn unnamed(id: CheckId, run: &SwitchRun) -> CheckResult {
    let said = run.output.iter().find(|line| line.contains("failed") || line.contains("Failed"));
    let said = said.map_or_else(|| "it names none".to_owned(), |line| clean(line));
    CheckResult::new(id, Status::Fail, format!("the switch program says that units failed: {said}"))
        .detail(run.output.iter().rev().take(LINES).rev().map(|line| clean(line)))
}

/// What a unit that failed said itself, or PID 1 of it.
fn said_of(unit: &str, run: &SwitchRun) -> String {
    let of_unit = || run.journal.iter().rev().filter(|line| line.unit == unit);
    let said = of_unit().find(|line| line.pid != 1).or_else(|| of_unit().find(|line| line.message.contains("Failed")));
    match said {
        Some(line) => format!("{unit} failed: {}", line.message.lines().next().unwrap_or_default()),
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
    let tail: Vec<String> = run.output.iter().rev().take(LINES).rev().map(|line| clean(line)).collect();
    let summary = match words.snippets.as_slice() {
        [] => "the activation script failed".to_owned(),
        [one, rest @ ..] => {
            let said = one.said.as_deref().map(|said| format!(": {said}")).unwrap_or_default();
            let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
            format!("activation snippet '{}' failed ({}){said}{more}", one.name, one.code)
        }
    };
    let name = words.snippets.first().map_or("NAME", |snippet| snippet.name.as_str());
    CheckResult::new(id, Status::Fail, summary).detail(tail).hint(format!(
        "system.activationScripts.{name} runs on the machine as it is, at each switch and each boot: let it make what it needs"
    ))
}

/// A pre-switch check, or an inhibitor, said no.
fn refused(id: CheckId, run: &SwitchRun, words: &Words) -> CheckResult {
    let tail: Vec<String> = run.output.iter().rev().take(LINES).rev().map(|line| clean(line)).collect();
    if !words.inhibitors.is_empty() {
        let changed: Vec<&str> = words.inhibitors.iter().map(String::as_str).collect();
        return CheckResult::new(
            id,
            Status::Fail,
            format!("the switch is inhibited: {} changed; nixos-rebuild boot is needed", list(&changed)),
        )
        .detail(tail)
        .hint(BOOT_INSTEAD);
    }
    // What a check says comes before the words that it failed.
    let said: Vec<&str> =
        run.output.iter().map(|line| line.trim()).filter(|line| *line != "Pre-switch checks failed").collect();
    let named = said.iter().find_map(|line| {
        let (name, rest) = line.strip_prefix("Pre-switch check '")?.split_once('\'')?;
        rest.trim_start().starts_with("failed").then_some(name)
    });
    let last = said
        .iter()
        .rev()
        .find(|line| !line.is_empty() && !line.starts_with("Pre-switch check '"))
        .copied()
        .unwrap_or("without a word");
    let by = named.map_or_else(|| "a pre-switch check".to_owned(), |name| format!("the pre-switch check {name}"));
    CheckResult::new(id, Status::Fail, format!("{by} refuses the switch: {last}"))
        .detail(tail)
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
            "system.activationScripts.{snippet} waits for something that does not come: no switch ends before it does"
        )),
        (None, Some((unit, kind))) => CheckResult::new(
            id,
            Status::Fail,
            format!("the switch hangs: the {kind} job of {unit} does not end; given up after {after}"),
        )
        .hint(format!("give {unit} a TimeoutStartSec=, or a Type= that it fulfils")),
        (None, None) => {
            let last = run.output.last().map_or_else(|| "without a word".to_owned(), |line| clean(line));
            CheckResult::new(id, Status::Fail, format!("the switch hangs after “{last}”: given up after {after}"))
        }
    };
    result.detail(said.into_iter().chain(waiting_for.iter().take(LINES / 2).map(|line| clean(line))))
}

/// Units that carry everything else: what stops one of them is worth a word.
const CARRIERS: [&str; 6] = [
    "display-manager.service",
    "NetworkManager.service",
    "systemd-networkd.service",
    "dhcpcd.service",
    "dbus.service",
    "dbus-broker.service",
];

/// It did not answer any more.
fn silent(id: CheckId, run: &SwitchRun) -> CheckResult {
    let stopped = run.jobs.iter().find(|job| job.job == "stop" && CARRIERS.contains(&job.unit.as_str()));
    let why = stopped.map_or_else(String::new, |job| format!(" after {} was stopped", job.unit));
    CheckResult::new(id, Status::Fail, format!("the machine does not answer any more since it was switched{why}"))
        .detail(run.output.iter().rev().take(LINES).rev().map(|line| clean(line)))
        .hint("its console (console.log) and screen (screen.png) show how far it came")
}
