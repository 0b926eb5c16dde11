//! Snippets, files of /etc and tmpfiles rules that failed while the switch says that all went well: `switch.activation`.

use super::{PhaseChecks, tail, words};
use crate::judging::text::{clean, could_not_read, journal};
use crate::model::{CheckId, CheckResult, Status};
use crate::switch::observation::{SwitchEnd, SwitchRun};

/// The worst priority of a line that is no failure: `warning` (syslog(3)).
const WARNING: u8 = 4;
/// How many characters of a message are compared.
const COMPARED: usize = 200;

pub(super) fn judge(there: &SwitchRun, again: Option<&SwitchRun>, checks: &PhaseChecks<'_>) -> CheckResult {
    let id = CheckId::SwitchActivation;
    if !there.was_made() && matches!(there.end, SwitchEnd::Exited(_)) {
        return CheckResult::new(id, Status::Skip, "not applicable: the switch was refused before the activation");
    }
    match &there.end {
        SwitchEnd::Exited(2) if words::read(&there.output).is_activation_failed => {
            return CheckResult::new(id, Status::Skip, "not judged: see switch.outcome");
        }
        SwitchEnd::Exited(_) | SwitchEnd::Killed(_) => {}
        SwitchEnd::Hung { .. }
        | SwitchEnd::Silent
        | SwitchEnd::Gone(_)
        | SwitchEnd::NotStarted(_)
        | SwitchEnd::Missing(_) => {
            return CheckResult::new(id, Status::Skip, "not judged: the switch did not finish");
        }
    }
    if let Some(failed) = words::read(&there.output).snippets.into_iter().next() {
        return CheckResult::new(id, Status::Fail, failed.to_string())
            .detail(tail(there))
            .hint(format!("the switch itself does not report it: fix system.activationScripts.{}", failed.name));
    }
    // Both are cut, and not in the same place.
    let known = |message: &str| {
        let message: String = clean(message).chars().take(COMPARED).collect();
        let fresh = checks.fresh.results.iter().filter(|result| result.status != Status::Pass);
        fresh
            .flat_map(|result| {
                result.findings.iter().map(|found| &found.summary).chain([&result.summary]).chain(&result.detail)
            })
            .any(|line| clean(line).contains(message.as_str()))
    };
    let not_replaced = words::read(&there.output).not_replaced;
    let mut fresh = not_replaced.iter().filter(|(_, said)| !known(said)).map(|(path, _)| path);
    if let Some(path) = fresh.next() {
        let (path, rest) = (clean(path), fresh.count());
        let more = if rest > 0 { format!(" (and {rest} more)") } else { String::new() };
        let summary = format!("{path} is not what the configuration says: it could not be replaced{more}");
        return CheckResult::new(id, Status::Fail, summary).detail(tail(there)).hint(format!(
            "the switch itself does not report it: see what stands at {path} on the machine, and remove it"
        ));
    }
    let rule = there
        .journal
        .iter()
        .find(|line| line.identifier == "systemd-tmpfiles" && line.priority < WARNING && !known(&line.message));
    if let Some(line) = rule {
        return CheckResult::new(id, Status::Fail, format!("a tmpfiles rule failed: {}", line.message))
            .detail([journal(line)])
            .hint("the switch itself does not report it: fix systemd.tmpfiles.rules, or declare the user or directory that it needs");
    }
    if let Some(again) = again
        && let Some(failed) = words::read(&again.output).snippets.into_iter().next()
    {
        return CheckResult::new(
            id,
            Status::Fail,
            format!(
                "activation snippet '{}' cannot run twice: it failed ({}) at the second switch{}",
                failed.name,
                failed.code,
                failed.words()
            ),
        )
        .detail(tail(again))
        .hint(format!(
            "system.activationScripts.{} runs at each switch and each boot: use ln -sfn, mkdir -p and their like",
            failed.name
        ));
    }
    if let Some(why) = &there.unread {
        return CheckResult::new(id, Status::Unknown, format!("no snippet failed; {}", could_not_read("journal", why)));
    }
    let times = if again.is_some() { ", twice" } else { "" };
    CheckResult::new(id, Status::Pass, format!("no snippet and no tmpfiles rule failed{times}"))
}
