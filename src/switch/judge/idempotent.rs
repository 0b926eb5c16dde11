//! What a second switch to the same does: `switch.idempotent`.

use super::announced::{happened, restarted_of_users};
use super::{Checked, last_word, outcome, tail, words};
use crate::judging::text::{clean, could_not_read, list};
use crate::model::{CheckId, CheckResult, Status};
use crate::switch::observation::{Rehearsal, SwitchEnd, SwitchRun};

/// Who restarts a user's services though nothing changes.
pub(super) const BY_HOME_MANAGER: &str = "home-manager as a module of NixOS restarts a user's services at each switch \
    (home-manager#7583): Unit.X-SwitchMethod = \"keep-old\" leaves one as it is";

/// By the checks after the first one.
pub(super) fn judge(again: &SwitchRun, rehearsal: &Rehearsal, after: Checked<'_>) -> CheckResult {
    let id = CheckId::SwitchIdempotent;
    match &again.end {
        SwitchEnd::Exited(0) => {}
        SwitchEnd::Exited(_) if outcome::is_excused(again, after) => {}
        SwitchEnd::Exited(code) => {
            let said = words::read(&again.output);
            let what = match (said.failed.first(), said.snippets.first()) {
                (_, Some(snippet)) => format!("activation snippet '{}' failed", snippet.name),
                (Some(unit), None) => format!("{unit} failed"),
                (None, None) => last_word(again),
            };
            return CheckResult::new(
                id,
                Status::Fail,
                format!("a second switch to the same configuration exits with {code}: {what}"),
            )
            .detail(tail(again));
        }
        SwitchEnd::NotStarted(why) => {
            let why = clean(why);
            return CheckResult::new(
                id,
                Status::Unknown,
                format!("the switch program could not be started a second time: {why}"),
            );
        }
        SwitchEnd::Missing(_) => {
            return CheckResult::new(id, Status::Unknown, "the machine's store no longer has the target");
        }
        SwitchEnd::Killed(_) | SwitchEnd::Hung { .. } | SwitchEnd::Silent | SwitchEnd::Gone(_) => {
            return CheckResult::new(id, Status::Fail, "a second switch to the same configuration does not finish")
                .detail(tail(again));
        }
    }
    if let Some(why) = &again.unread {
        return CheckResult::new(id, Status::Unknown, could_not_read("journal", why));
    }
    let happened = happened(again);
    let of_users = restarted_of_users(again);
    let of_users: Vec<String> = of_users.iter().map(|(uid, unit)| rehearsal.unit_of(*uid, unit)).collect();
    let touched = happened.stopped.iter().chain(&happened.restarted).chain(&of_users);
    let touched: Vec<&str> = touched.map(String::as_str).collect();
    if touched.is_empty() {
        return CheckResult::new(
            id,
            Status::Pass,
            "a second switch to the same configuration stopped and restarted nothing",
        );
    }
    let hint = if touched.len() == of_users.len() {
        BY_HOME_MANAGER
    } else {
        "an activation snippet asks for it each time, or the unit is bound to sysinit-reactivation.target, or two targets \
         want units that exclude each other (Conflicts=)"
    };
    CheckResult::new(
        id,
        Status::Warn,
        format!("each switch stops or restarts {}, though nothing changes", list(&touched)),
    )
    .hint(hint)
}
