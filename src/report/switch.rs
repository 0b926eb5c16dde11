//! A rehearsed switch, in words.

use super::text::count;
use crate::checks::difference::is_same_cause;
use crate::model::{CheckResult, MachinePhase, Report, Status, SwitchRunInfo, Verdict};
use crate::text::{escape_line, seconds};

/// What a pass's headline says of it: `laptop works: switched from HEAD (1a2b3c4) and back, 84 checks passed in 41 s`.
pub(super) fn pass(report: &Report) -> Option<String> {
    let switch = report.switch.as_ref()?;
    let (name, from) = (escape_line(&report.target.name), escape_line(&switch.from));
    if switch.identical {
        return Some(format!("nothing differs between {name} and {from}: nothing was booted"));
    }
    let passed = report.checks.iter().filter(|check| check.status == Status::Pass).count();
    Some(format!(
        "{name} works: switched from {from} and back, {} passed in {}{}",
        count(passed, "check"),
        seconds(report.seconds),
        super::case::untestable(report)
    ))
}

/// What happened, in one line: `from HEAD (1a2b3c4): 2 restarted, 1 started in 12 s; back in 9 s`.
pub(super) fn line(report: &Report) -> Option<String> {
    let switch = report.switch.as_ref().filter(|switch| !switch.identical)?;
    let mut parts = Vec::new();
    let of = |phase: MachinePhase| switch.runs.iter().find(|run| run.phase == phase);
    if let Some(there) = of(MachinePhase::Switched) {
        parts.push(format!("from {}: {}", escape_line(&switch.from), told(there)));
    }
    if let Some(back) = of(MachinePhase::Back) {
        let word = if back.exit == Some(0) { "back" } else { "switching back" };
        parts.push(format!("{word}: {}", told(back)));
    } else if report.verdict != Verdict::Pass {
        parts.push("not switched back".to_owned());
    }
    if let (Some(paths), Some(bytes)) = (switch.sent_paths, switch.sent_bytes) {
        parts.push(format!("{} sent ({} MiB)", count(paths, "store path"), bytes >> 20));
    }
    Some(parts.join("; "))
}

/// How one run of the switch program went.
fn told(run: &SwitchRunInfo) -> String {
    let time = seconds(run.seconds);
    match run.exit {
        Some(0) => format!("{} in {time}", run.happened),
        Some(code) => format!("switch-to-configuration exited with {code} after {time}"),
        None => format!("switch-to-configuration did not finish within {time}"),
    }
}

/// Results by name and line, those of several phases that say the same once: `services.journal [fresh, switched]`.
pub(super) fn folded(checks: &[&CheckResult]) -> Vec<(String, String)> {
    let mut folded: Vec<(&CheckResult, Vec<MachinePhase>)> = Vec::new();
    for check in checks {
        let item = |check: &CheckResult| check.findings.first().map(|found| found.item.clone());
        let is_same = |known: &CheckResult| {
            let says_so =
                item(known).is_some() && item(known) == item(check) || is_same_cause(&known.summary, &check.summary);
            check.phase.is_some() && known.id == check.id && says_so
        };
        match folded.iter_mut().find(|(known, _)| is_same(known)) {
            Some((_, phases)) => phases.extend(check.phase),
            None => folded.push((check, check.phase.into_iter().collect())),
        }
    }
    let name = |(check, phases): (&CheckResult, Vec<MachinePhase>)| {
        let phases: Vec<&str> = phases.into_iter().map(MachinePhase::name).collect();
        let name =
            if phases.is_empty() { check.id.to_string() } else { format!("{} [{}]", check.id, phases.join(", ")) };
        (name, check.summary.clone())
    };
    folded.into_iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CheckId;

    fn result(id: CheckId, phase: Option<MachinePhase>, summary: &str) -> CheckResult {
        let mut check = CheckResult::new(id, Status::Warn, summary);
        check.phase = phase;
        check
    }

    #[test]
    fn the_same_in_several_phases_is_one_line() {
        let (fresh, back) = (Some(MachinePhase::Fresh), Some(MachinePhase::Back));
        let checks = [
            result(CheckId::ServicesJournal, fresh, "an error: [pid 12] x"),
            result(CheckId::ServicesJournal, back, "an error: [pid 77] x"),
            result(CheckId::BootTime, back, "slow"),
        ];
        let folded = folded(&checks.iter().collect::<Vec<_>>());
        let names: Vec<&str> = folded.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["services.journal [fresh, back]", "boot.time [back]"]);
        let plain = [result(CheckId::BootTime, None, "slow"), result(CheckId::BootTime, None, "slow")];
        assert_eq!(super::folded(&plain.iter().collect::<Vec<_>>()).len(), 2);
    }
}
