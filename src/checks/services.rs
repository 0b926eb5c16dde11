//! `services.*` over all units: what failed, what is expected and not active, what does not stay, errors in the journal.

use std::collections::{BTreeMap, BTreeSet};

use super::{Observations, ports, restart_loop, verify};
use crate::guest::facts::{JournalLine, Unit};
use crate::judging::journal::Means as _;
use crate::judging::journal_patterns::Meaning;
use crate::judging::unit::{self, FailureCause, dropped_from_cycle, is_called_for, is_failed, is_refused};
use crate::judging::unit_assessment::{Expectation, UnitAssessment, UnitManager, assess};
use crate::judging::{Finding, JudgeContext, Judgement, advice, conclude, contention, sandbox, text};
use crate::model::{CheckId, Excuse, Lack, LoadState, UnitFileState, Witness};

pub(super) fn judge(cx: &JudgeContext<'_>, observations: &Observations, out: &mut Judgement) {
    if cx.gap("units").is_some() {
        for id in [
            CheckId::ServicesFailedUnits,
            CheckId::ServicesPromised,
            CheckId::ServicesSettled,
            CheckId::ServicesRestartLoop,
        ] {
            out.results.extend(cx.unknown(id, &["units"]));
        }
    } else {
        let assessments = assessments(cx);
        failed_units(cx, &assessments, out);
        expected(cx, &assessments, out);
        settled(cx, &assessments, out);
        restart_loop::judge(cx, observations.desktop.as_ref(), out);
    }
    containers(cx, out);
    ports::judge(cx, out);
    verify::judge(cx, observations.user_managers(), out);
    journal(cx, out);
}

/// systemd-nspawn says that it is ready whatever becomes of the units inside.
fn containers(cx: &JudgeContext<'_>, out: &mut Judgement) {
    for unit in cx.now.units.iter().filter(|unit| unit::is_active(unit)) {
        let Some(name) = unit.name.strip_prefix("container@").and_then(|name| name.strip_suffix(".service")) else {
            continue;
        };
        let witness = Witness::state(format!("{} is active", unit.name));
        let why =
            "runs, but only the machine's own units are checked ([script.NAME] in nixbox.toml can ask systemctl -M)";
        out.exclude(&format!("the units in container {name}"), Excuse::new(Lack::Choice, witness, why));
    }
}

/// What containers say on their consoles of units that failed inside. Why is in their own journals, so nothing shows whether
/// that is for want of what no VM has.
fn in_containers(cx: &JudgeContext<'_>) -> Vec<Finding> {
    let containers = cx.now.units.iter().filter(|unit| unit.name.starts_with("container@") && unit::is_active(unit));
    let found = containers.filter_map(|unit| {
        let lines: Vec<String> =
            unit::own_lines(&cx.now.journal, &unit.name).iter().map(|line| text::clean(&line.message)).collect();
        let failed: Vec<&str> = lines
            .iter()
            .filter_map(|line| Some(Meaning::FailedInContainer.parts_of(line)?.name("what")?.as_str()))
            .collect();
        let first = failed.first()?;
        let more = if failed.len() > 1 { format!(" (and {} more)", failed.len() - 1) } else { String::new() };
        let summary = format!("in {}, {first} failed to start{more}", unit.name);
        Some(Finding::new(&unit.name, summary).hint("`journalctl -M NAME` in the guest says why (--keep)"))
    });
    found.collect()
}

type Assessments<'a> = BTreeMap<&'a str, UnitAssessment>;

/// Every unit that the configuration, `nixbox.toml` or (without a configuration) the guest itself expects, assessed.
fn assessments<'a>(cx: &JudgeContext<'a>) -> Assessments<'a> {
    let assess = |name: &str| {
        let expected = Expectation {
            declared: cx.plan.expectations.units.get(name),
            own: cx.plan.is_own(name),
            demanded: cx.plan.is_expected(name),
        };
        assess(cx, UnitManager::System, name, expected)
    };
    let planned = cx.plan.units.iter().filter(|name| cx.plan.is_own(name) || cx.plan.is_expected(name));
    let mut all: Assessments<'a> = planned.map(|name| (name.as_str(), assess(name))).collect();
    let in_cycles: BTreeSet<&str> = dropped_from_cycle(cx.now).map(|(unit, _)| unit).collect();
    for unit in &cx.now.units {
        if all.contains_key(unit.name.as_str()) {
            continue;
        }
        // A unit that systemd refused to load is judged where something wants it; without a configuration, so is what is
        // enabled. One that it dropped was asked for.
        let dropped = in_cycles.contains(unit.name.as_str());
        let enabled = !cx.plan.expectations.known
            && matches!(unit.unit_file_state, UnitFileState::Enabled | UnitFileState::EnabledRuntime)
            && unit.load_state == LoadState::Loaded;
        let failed_since = unit::is_active(unit) && unit::failed_since(cx.now, unit).is_some();
        if failed_since || dropped || (is_refused(unit) || enabled) && is_called_for(cx.now, &unit.wanted_by) {
            all.insert(unit.name.as_str(), assess(&unit.name));
        }
    }
    all
}

/// Which units did not start or failed because of which other.
fn dependents<'a>(cx: &'a JudgeContext<'_>, assessments: &'a Assessments<'_>) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let mut all: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, cause) in &cx.failure_causes {
        if let FailureCause::RequiredUnit(root) = cause {
            all.entry(root).or_default().insert(name);
        }
    }
    for (name, assessment) in assessments {
        if let UnitAssessment::RequiredUnit(root) = assessment {
            all.entry(root).or_default().insert(name);
        }
    }
    all
}

fn failed_units(cx: &JudgeContext<'_>, assessments: &Assessments<'_>, out: &mut Judgement) {
    let id = CheckId::ServicesFailedUnits;
    let dependents = dependents(cx, assessments);
    let mut roots: Vec<(&Unit, &FailureCause)> = cx
        .failure_causes
        .iter()
        .filter_map(|(name, cause)| Some((cx.unit(name)?, cause)))
        .filter(|(_, cause)| match cause {
            FailureCause::Own => true,
            // A root that did not fail (it is not there) is reported by nothing else.
            FailureCause::RequiredUnit(root) => !cx.failure_causes.contains_key(root.as_str()),
            _ => false,
        })
        .collect();
    // What takes most others with it comes first, then what failed first; last what only missed another service.
    roots.sort_by_cached_key(|(unit, _)| {
        let others = dependents.get(unit.name.as_str()).map_or(0, BTreeSet::len);
        (misses_another(cx, unit), std::cmp::Reverse(others), unit.state_change_us)
    });
    let fails: Vec<Finding> = roots
        .into_iter()
        .map(|(unit, cause)| {
            let finding = failed_unit(cx, unit, cause);
            let others = dependents.get(unit.name.as_str()).map(|others| others.iter().copied().collect::<Vec<_>>());
            finding.detail(others.map(|others| format!("because of it, not started: {}", text::list(&others))))
        })
        .collect();
    let mut excluded = 0;
    for (name, cause) in &cx.failure_causes {
        if let FailureCause::Sandbox(why) = cause {
            excluded += 1;
            out.exclude(name, why.clone());
        }
    }
    // Without the journal there is no evidence for the sandbox's part, nor against it.
    let result = match cx.unknown(id, &["journal"]).filter(|_| !fails.is_empty()) {
        Some(mut unknown) => {
            unknown.summary = format!("{}; {}", fails[0].summary, unknown.summary);
            unknown
        }
        None => conclude(cx, id, fails, in_containers(cx), || match excluded {
            0 => "no unit failed".to_owned(),
            many => format!("no unit failed; {many} excluded (not testable in a VM)"),
        }),
    };
    out.results.push(result);
}

/// Whether a unit failed for want of a service that did not answer.
fn misses_another(cx: &JudgeContext<'_>, unit: &Unit) -> bool {
    unit::error_line(&cx.now.journal, &unit.name).is_some_and(|line| Meaning::ConnectionRefused.is_in(&line))
}

fn failed_unit(cx: &JudgeContext<'_>, unit: &Unit, cause: &FailureCause) -> Finding {
    let name = unit.name.as_str();
    let why = if sandbox::two_managers(cx, unit) {
        "systemd-networkd and NetworkManager are both on, and NetworkManager runs the link that networkd waits for"
            .to_owned()
    } else if let FailureCause::RequiredUnit(root) = cause {
        format!("it needs {root}, which is not there")
    } else {
        unit::describe_failure(cx.now, unit)
    };
    let finding = Finding::new(name, format!("{name} failed: {why}"))
        .detail(unit::tail(cx.now, name, 8))
        .evidence("unit", text::clean(name))
        .evidence("result", text::clean(unit.result.as_str()))
        .time_limit(contention::limit(cx.now, unit))
        .slow_by_emulation(contention::was_emulated(cx, unit));
    let finding = match advice::of(cx, unit) {
        Some(advice) => finding.hint(advice),
        None => finding,
    };
    match &unit.service {
        Some(service) => finding.evidence("exit_status", service.exit_status),
        None => finding,
    }
}

fn expected(cx: &JudgeContext<'_>, assessments: &Assessments<'_>, out: &mut Judgement) {
    let id = CheckId::ServicesPromised;
    let mut fails = Vec::new();
    let mut right = 0;
    let mut excluded = 0;
    for (name, assessment) in assessments {
        match assessment {
            UnitAssessment::AsExpected | UnitAssessment::Doubtful(_) | UnitAssessment::Stopped(_) => right += 1,
            UnitAssessment::Excluded(why) => {
                excluded += 1;
                out.exclude(name, why.clone());
            }
            UnitAssessment::NotActive(finding) => fails.push(finding.clone()),
            // Reported with its root, unless nothing reports that.
            UnitAssessment::RequiredUnit(root) => {
                let reported =
                    cx.is_planned(CheckId::ServicesFailedUnits) && cx.failure_causes.contains_key(root.as_str());
                let here =
                    assessments.get(root.as_str()).is_some_and(|root| matches!(root, UnitAssessment::NotActive(_)));
                if !reported && !here {
                    fails.push(Finding::new(*name, format!("{name} was not started: it needs {root}, which failed")));
                }
            }
            UnitAssessment::ReportedElsewhere => {
                // It is reported here when the check that would was left out.
                let failed = cx.unit(name).is_some_and(is_failed);
                let by = if failed { CheckId::ServicesFailedUnits } else { CheckId::ServicesRestartLoop };
                let is_excluded = matches!(cx.failure_causes.get(name), Some(FailureCause::Sandbox(_)));
                if !cx.is_planned(by) && !is_excluded {
                    fails.push(Finding::new(*name, format!("{name} is not active")));
                }
            }
            UnitAssessment::NotWanted => {}
        }
    }
    // What was refused explains what only needs it.
    fails.sort_by_key(|finding| cx.unit(&finding.item).is_none_or(|unit| !is_refused(unit)));
    let result = conclude(cx, id, fails, Vec::new(), || {
        let excluded =
            if excluded > 0 { format!("; {excluded} excluded (not testable in a VM)") } else { String::new() };
        match (assessments.is_empty(), cx.plan.expectations.known) {
            (true, false) => "no configuration to read expectations from".to_owned(),
            (true, true) => "no unit is expected".to_owned(),
            _ => match right {
                0 => format!("no expected unit needs to be active{excluded}"),
                1 => format!("the expected unit is active, or inactive by design{excluded}"),
                many => format!("all {many} expected units are active, or inactive by design{excluded}"),
            },
        }
    });
    out.results.push(result);
}

fn settled(cx: &JudgeContext<'_>, assessments: &Assessments<'_>, out: &mut Judgement) {
    let mut fails = Vec::new();
    let mut warns = Vec::new();
    let mut stay = 0;
    for assessment in assessments.values() {
        match assessment {
            UnitAssessment::Stopped(finding) => fails.push(finding.clone()),
            UnitAssessment::Doubtful(finding) => warns.push(finding.clone()),
            UnitAssessment::AsExpected => stay += 1,
            _ => {}
        }
    }
    let settle = text::seconds(cx.plan.settings.settle.as_secs_f64());
    out.results.push(conclude(cx, CheckId::ServicesSettled, fails, warns, || match stay {
        0 => "no expected unit to watch".to_owned(),
        _ => format!("all started units stayed active for {settle}"),
    }));
}

fn journal(cx: &JudgeContext<'_>, out: &mut Judgement) {
    let id = CheckId::ServicesJournal;
    if let Some(unknown) = cx.unknown(id, &["journal"]) {
        out.results.push(unknown);
        return;
    }
    let known =
        |unit: &str| cx.failure_causes.contains_key(unit) || out.not_tested.iter().any(|entry| entry.what == unit);
    let mut lines: Vec<_> = cx
        .now
        .journal
        .iter()
        .filter(|line| line.transport != "kernel" && line.pid != 1)
        .filter(|line| line.priority <= 3 || Meaning::SettingIgnored.is_in(&line.message))
        .filter(|line| !is_harmless(line) && !known(&line.unit))
        .collect();
    lines.dedup_by(|one, other| one.message == other.message && one.unit == other.unit);
    let warns = match lines.first() {
        None => Vec::new(),
        Some(first) => {
            let who = if first.unit.is_empty() { &first.identifier } else { &first.unit };
            let summary = match lines.len() {
                1 => format!("an error in the journal: {who}: {}", first.message),
                many => format!("{many} errors in the journal, the first: {who}: {}", first.message),
            };
            vec![
                Finding::new(who, summary)
                    .detail(lines.iter().take(8).map(|line| text::journal(line)))
                    .evidence("lines", lines.len()),
            ]
        }
    };
    out.results.push(conclude(cx, id, Vec::new(), warns, || "no errors beyond those already reported".to_owned()));
}

/// Whether an error is one that healthy machines log too, or has a check of its own.
fn is_harmless(line: &JournalLine) -> bool {
    let has_a_check =
        ["systemd-tmpfiles", "kernel", "dmesg"].iter().any(|name| line.identifier.eq_ignore_ascii_case(name));
    has_a_check || Meaning::HarmlessError.is_in(&line.identifier) || Meaning::HarmlessError.is_in(&line.message)
}

#[cfg(test)]
mod tests;
