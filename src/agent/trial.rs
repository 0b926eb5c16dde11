//! The `nixbox try` that a hook starts, and what its report means.
//!
//! It is a process of its own: our deadline is before the agent's, and the run continues after it, so that the next call
//! finds its verdict. It ends with the agent; and with the hook, unless that has left in good order.

use std::fmt::Write as _;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::commits::HookRun;
use super::message::{LIMIT, compared_message};
use super::table::row;
use super::targets::HookTarget;
use super::{HookVerdict, parent_watch};
use crate::cli::{CheckArgs, HookArgs, TryArgs};
use crate::config;
use crate::event::Events;
use crate::failure::{Failure, Result};
use crate::interrupt::Interrupt;
use crate::model::timeouts::agent::{MARGIN, TERM_GRACE, TURN_END_LIMIT};
use crate::model::{CheckId, CheckResult, Exit, Report, Stage, Status, Verdict};
use crate::nix::Flake;
use crate::nonce::nonce;

/// The largest report that is read from a run, in bytes.
const REPORT_LIMIT: u64 = 32 << 20;

/// A verdict, with an identity of the failure by which it is recognised.
#[derive(Debug)]
pub(super) struct HookOutcome {
    pub(super) verdict: HookVerdict,
    pub(super) failure_key: String,
    /// How far a failed run came.
    stage: Option<Stage>,
    /// Whether what was named is not there.
    is_missing: bool,
}

impl From<HookVerdict> for HookOutcome {
    fn from(verdict: HookVerdict) -> Self {
        Self { verdict, failure_key: String::new(), stage: None, is_missing: false }
    }
}

/// Tests one after the other, until one is broken or the time is over.
pub(super) async fn test_all(arguments: &HookArgs, runs: Vec<HookRun>, interrupt: &Interrupt) -> Result<HookOutcome> {
    let deadline = Instant::now() + (TURN_END_LIMIT - MARGIN);
    let mut outcomes = Vec::new();
    for run in runs {
        let mut outcome = test_one(arguments, &run, deadline, interrupt).await?;
        if matches!(outcome.verdict, HookVerdict::Fail(_)) {
            outcome = held_against_before(arguments, &run, outcome, deadline, interrupt).await?;
        }
        let is_over = matches!(outcome.verdict, HookVerdict::Fail(_) | HookVerdict::Pending(_));
        outcomes.push(outcome);
        if is_over {
            break;
        }
    }
    Ok(worst(outcomes))
}

/// A failure in the light of how far the configuration came before the change: `try` holds only failed checks against a
/// baseline.
async fn held_against_before(
    arguments: &HookArgs,
    run: &HookRun,
    outcome: HookOutcome,
    deadline: Instant,
    interrupt: &Interrupt,
) -> Result<HookOutcome> {
    let rank = |stage| match stage {
        Some(Stage::Evaluate) => Some(0),
        Some(Stage::Build) => Some(1),
        Some(Stage::Boot) => Some(2),
        _ => None,
    };
    let (Some(now), Some(before)) = (rank(outcome.stage), &run.before) else { return Ok(outcome) };
    // What was not there yet was not red.
    let is_red = |has_failed: bool, is_missing: bool| has_failed && (outcome.is_missing || !is_missing);
    let was_red = if outcome.stage == Some(Stage::Evaluate) {
        let arguments = try_arguments(arguments, before);
        let evaluated = Box::pin(crate::run::evaluate(&arguments, Events::silent(), interrupt.clone()));
        match tokio::time::timeout_at(deadline, evaluated).await {
            Ok(report) => is_red(report.verdict == Verdict::Fail, is_missing(&report)),
            Err(_) => return Ok(undecided(outcome)),
        }
    } else {
        let target = HookTarget::of(before.clone(), true, run.target.flake.clone());
        let baseline = Some("off".to_owned());
        let old = HookRun { target, config: None, baseline, before: None, incomparable: None };
        let old = test_one(arguments, &old, deadline, interrupt).await?;
        if matches!(old.verdict, HookVerdict::Pending(_)) {
            return Ok(undecided(outcome));
        }
        is_red(matches!(old.verdict, HookVerdict::Fail(_)), old.is_missing)
            && rank(old.stage).is_some_and(|stage| stage <= now)
    };
    Ok(if was_red { as_before(outcome) } else { outcome })
}

/// The first line of a failure's message.
fn headline(outcome: &HookOutcome) -> &str {
    let HookVerdict::Fail(text) = &outcome.verdict else { return "" };
    text.lines().next().unwrap_or_default()
}

/// A failure that was there before the change: one line.
fn as_before(outcome: HookOutcome) -> HookOutcome {
    let said = format!("{}, as before this change: nothing is blocked\n", headline(&outcome));
    HookOutcome { verdict: HookVerdict::Before(said), ..outcome }
}

/// A failure of which there was no time to find out whether it was there before: it is asked for again.
fn undecided(outcome: HookOutcome) -> HookOutcome {
    let said =
        format!("{}; whether it did before this change is not known yet: nothing is blocked\n", headline(&outcome));
    HookOutcome { verdict: HookVerdict::Pending(said), ..outcome }
}

async fn test_one(
    arguments: &HookArgs,
    run: &HookRun,
    deadline: Instant,
    interrupt: &Interrupt,
) -> Result<HookOutcome> {
    let typed = &run.target.typed;
    let mut child = start(arguments, run)?;
    let mut hold = child.stdin.take();
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(Failure::host("nixbox try was started without pipes"));
    };
    let finished = async { tokio::join!(read(stdout, REPORT_LIMIT), read(stderr, LIMIT as u64), child.wait()) };
    let finished = match interrupt.guard(async { Ok(tokio::time::timeout_at(deadline, finished).await) }).await {
        Ok(finished) => finished,
        Err(interrupted) => {
            end(&mut child).await;
            return Err(interrupted);
        }
    };
    let Ok((report, stderr, status)) = finished else {
        if row(arguments.agent).ends_runs {
            end(&mut child).await;
            return Ok(HookVerdict::Pending(format!(
                "nixbox: no verdict on {typed} within {} s, so the run was ended: run `nixbox try` yourself\n",
                (TURN_END_LIMIT - MARGIN).as_secs()
            ))
            .into());
        }
        if let Some(hold) = &mut hold {
            // It continues for the next call; it ends with its verdict or with the agent. One that has just ended needs
            // no leave.
            drop(hold.write_all(b".").await);
        }
        return Ok(HookVerdict::Pending(format!(
            "nixbox: no verdict on {typed} yet; the run continues, and the next call of this hook tells its verdict\n"
        ))
        .into());
    };
    let status = status.map_err(|error| Failure::host("nixbox try cannot be waited for").because(error))?;
    if status.code() == Some(i32::from(Exit::Interrupted.code())) {
        return Ok(HookVerdict::Pending(format!("nixbox: superseded by a newer request for {typed}\n")).into());
    }
    match serde_json::from_slice::<Report>(&report) {
        Ok(mut report) => {
            if let Some(baseline) =
                report.baseline.as_mut().filter(|baseline| Some(&baseline.name) == run.baseline.as_ref())
            {
                "the tree before".clone_into(&mut baseline.name);
            }
            outcome_of(&report, &run.target, run.incomparable.as_deref())
        }
        Err(_) => {
            let stderr = crate::text::plain(&String::from_utf8_lossy(&stderr), LIMIT / 2);
            Err(Failure::host(format!("nixbox try ended without a report ({status})")).why(stderr))
        }
    }
}

/// Starts `nixbox try` in a process group of its own. It ends when its stdin does.
fn start(arguments: &HookArgs, run: &HookRun) -> Result<Child> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::host("the path of this nixbox cannot be determined").because(error))?;
    let mut command = Command::new(program);
    command.args(["try", "--format", "json", "--quiet", "--with-stdin"]);
    command.args(["--for-agent", &parent_watch::agent().to_string()]);
    if arguments.no_jail {
        command.arg("--no-jail");
    }
    if arguments.fresh {
        command.arg("--fresh");
    }
    if let Some(config) = &run.config {
        command.arg("--config").arg(config.path());
    }
    match (&run.baseline, rehearses(run)) {
        (Some(baseline), false) => drop(command.args(["--baseline", baseline])),
        (Some(before), true) => drop(command.arg(format!("--switch={before}"))),
        (None, true) => drop(command.arg("--switch")),
        (None, false) => {}
    }
    command.args(arguments.nix.words(&std::env::current_dir().unwrap_or_default()));
    command.arg("--").arg(&run.target.typed);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command.spawn().map_err(|error| Failure::host("nixbox cannot be started").because(error))
}

/// Whether the switch is rehearsed from what was before, as `[hook] switch` of `nixbox.toml` says.
fn rehearses(run: &HookRun) -> bool {
    // The run of what was before is held against nothing, and switched from nothing.
    if run.baseline.as_deref() == Some("off") {
        return false;
    }
    let named = run.config.as_ref().map(|config| config.path());
    let beside = run.target.flake.as_ref().and_then(|flake| flake.dir.as_deref());
    // What is wrong with the file is told by the run itself.
    config::load(named, beside).is_ok_and(|config| config.settings_for("").hook_switch)
}

async fn read(from: impl AsyncRead + Unpin, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut from = from.take(most);
    // An incomplete report is an error where it is parsed.
    drop(from.read_to_end(&mut bytes).await);
    drop(tokio::io::copy(&mut from.into_inner(), &mut tokio::io::sink()).await);
    bytes
}

/// Ends a run, with time to clean up.
async fn end(child: &mut Child) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // It may have ended by itself.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    if tokio::time::timeout(TERM_GRACE, child.wait()).await.is_err() {
        drop(child.kill().await);
    }
}

/// The arguments of a run in this process.
pub(super) fn try_arguments(arguments: &HookArgs, typed: &str) -> TryArgs {
    TryArgs {
        target: Some(typed.to_owned()),
        checks: CheckArgs { fresh: arguments.fresh, ..CheckArgs::default() },
        nix: arguments.nix.clone(),
        ..TryArgs::default()
    }
}

/// Whether a run failed because what was named is not there.
fn is_missing(report: &Report) -> bool {
    let attribute = |check: &CheckResult| check.id == CheckId::BuildAttribute && check.status == Status::Fail;
    report.checks.iter().any(attribute)
}

/// What a report means for an agent. `incomparable`: why it was held against nothing.
pub(super) fn outcome_of(report: &Report, target: &HookTarget, incomparable: Option<&str>) -> Result<HookOutcome> {
    let is_missing = is_missing(report);
    // A flake without a machine, which no flag and no file names.
    let has_none = !target.is_named && report.target.resolved.is_empty() && is_missing;
    if has_none && !target.flake.as_ref().is_some_and(Flake::speaks_of_machines) {
        return Ok(HookVerdict::NotApplicable.into());
    }
    let nonce = nonce().map_err(|error| Failure::host("no random numbers on this host").because(error))?;
    let chosen;
    let is_unchosen = !target.is_named && report.exit == Exit::Usage.code() && report.target.resolved.is_empty();
    let report = if is_unchosen {
        chosen = told_where_to_choose(report);
        &chosen
    } else {
        report
    };
    let stage = report.stage;
    let root = target.flake.as_ref().and_then(|flake| flake.git_root.as_deref().or(flake.dir.as_deref()));
    // Elsewhere a relative path leads nowhere.
    let root = root.filter(|_| target.shown == target.typed);
    let text = compared_message(report, &target.shown, root, incomparable, &nonce);
    let verdict = match report.verdict {
        Verdict::Pass => HookVerdict::Pass(text),
        // Either this edit removed its machines, or it is a library for them.
        Verdict::Fail if has_none => HookVerdict::Unknown(text),
        Verdict::Fail => HookVerdict::Fail(text),
        Verdict::Unknown => HookVerdict::Unknown(text),
    };
    // Typed facts rather than messages, which may hold a time; messages only where there is nothing else, without digits.
    let failed = report.checks.iter().filter(|check| check.status == Status::Fail);
    let facts: Vec<_> =
        failed.map(|check| (&check.id, check.evidence.get("unit"), check.evidence.get("port"))).collect();
    let is_typed = report.stage == Some(Stage::Check);
    let cause = report.cause.as_deref().filter(|_| !is_typed).unwrap_or_default();
    let cause: String = cause.chars().filter(|c| !c.is_ascii_digit()).collect();
    Ok(HookOutcome { verdict, failure_key: format!("{} {facts:?} {cause}", target.typed), stage, is_missing })
}

/// Several machines, none of which is this host's: who asks by hand names one, a hook's are named in a file.
fn told_where_to_choose(report: &Report) -> Report {
    let choices = report.hint.as_deref().map_or_else(String::new, |hint| format!("; {hint}"));
    let hint = format!("name what hooks test in nixbox.toml beside the flake: [hook] targets = [\".#NAME\"]{choices}");
    Report { hint: Some(hint), ..report.clone() }
}

/// The worst of several verdicts, with the texts of all that are as bad, as far as there is room.
pub(super) fn worst(outcomes: Vec<HookOutcome>) -> HookOutcome {
    let failure_key = outcomes.iter().map(|outcome| outcome.failure_key.as_str()).collect::<Vec<_>>().join("\n");
    let verdict = worst_verdict(outcomes.into_iter().map(|outcome| outcome.verdict).collect());
    HookOutcome { verdict, failure_key, stage: None, is_missing: false }
}

pub(super) fn worst_verdict(verdicts: Vec<HookVerdict>) -> HookVerdict {
    let rank = |verdict: &HookVerdict| match verdict {
        HookVerdict::Fail(_) => 5,
        HookVerdict::Pending(_) => 4,
        HookVerdict::Unknown(_) => 3,
        HookVerdict::Before(_) => 2,
        HookVerdict::Pass(_) => 1,
        HookVerdict::NotApplicable => 0,
    };
    let Some(most) = verdicts.iter().map(rank).max() else { return HookVerdict::NotApplicable };
    let mut whole = String::new();
    let mut left_out = 0;
    let mut worst = HookVerdict::NotApplicable;
    for verdict in verdicts.into_iter().filter(|verdict| rank(verdict) == most) {
        let (HookVerdict::Fail(text)
        | HookVerdict::Pending(text)
        | HookVerdict::Unknown(text)
        | HookVerdict::Before(text)
        | HookVerdict::Pass(text)) = &verdict
        else {
            return HookVerdict::NotApplicable;
        };
        if whole.is_empty() || whole.len() + text.len() + 40 <= LIMIT {
            whole.push_str(text);
        } else {
            left_out += 1;
        }
        worst = verdict;
    }
    if left_out > 0 {
        // Writing into a String cannot fail.
        let _infallible = writeln!(whole, "and {left_out} more targets");
    }
    match worst {
        HookVerdict::Fail(_) => HookVerdict::Fail(whole),
        HookVerdict::Pending(_) => HookVerdict::Pending(whole),
        HookVerdict::Unknown(_) => HookVerdict::Unknown(whole),
        HookVerdict::Before(_) => HookVerdict::Before(whole),
        HookVerdict::Pass(_) => HookVerdict::Pass(whole),
        HookVerdict::NotApplicable => HookVerdict::NotApplicable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::examples;

    #[test]
    fn what_is_not_there_is_told_from_what_is_broken() {
        let target = HookTarget::of(".#a".to_owned(), true, None);
        let outcome = |report: &Report| outcome_of(report, &target, Some("nothing to compare with: x")).unwrap();
        let mut report = examples::build_fail();
        let broken = outcome(&report);
        let HookVerdict::Fail(text) = &broken.verdict else { panic!("{broken:?}") };
        assert!(text.contains("\nnothing to compare with: x\n") && !broken.is_missing, "{text}");
        report.checks = vec![CheckResult::new(CheckId::BuildAttribute, Status::Fail, "the flake has no attribute a")];
        assert!(outcome(&report).is_missing);
        let HookVerdict::Pass(text) = outcome(&examples::pass()).verdict else { panic!() };
        assert!(!text.contains("nothing to compare with"), "{text}");
    }

    #[test]
    fn where_a_hook_s_machines_are_named_is_told() {
        let mut report = Report::new(".", std::time::SystemTime::UNIX_EPOCH);
        let several = Failure::usage("/x has several configurations, and none is this host's (h)");
        several.hint("name one as /x#NAME: laptop, nas").decide(&mut report);
        let said = |is_named| {
            let target = HookTarget::of(".".to_owned(), is_named, None);
            match outcome_of(&report, &target, None).unwrap().verdict {
                HookVerdict::Unknown(text) => text,
                other => panic!("{other:?}"),
            }
        };
        let told =
            "hint: name what hooks test in nixbox.toml beside the flake: [hook] targets = [\".#NAME\"]; name one";
        assert!(said(false).contains(told), "{}", said(false));
        assert!(!said(true).contains("[hook]") && said(true).contains("hint: name one as /x#NAME: laptop, nas"));
    }

    #[test]
    fn what_was_not_found_out_in_time_is_asked_again() {
        let target = HookTarget::of(".#a".to_owned(), true, None);
        let broken = || outcome_of(&examples::build_fail(), &target, None).unwrap();
        let first = "nixbox: fail: .#a does not build (exit 3)";
        let HookVerdict::Before(text) = as_before(broken()).verdict else { panic!() };
        assert_eq!(text, format!("{first}, as before this change: nothing is blocked\n"));
        let HookVerdict::Pending(text) = undecided(broken()).verdict else { panic!() };
        assert_eq!(text, format!("{first}; whether it did before this change is not known yet: nothing is blocked\n"));
    }

    #[test]
    fn the_worst_is_reported() {
        let holds = || HookVerdict::Pass("h\n".to_owned());
        let broken = |text: &str| HookVerdict::Fail(text.to_owned());
        assert_eq!(worst_verdict(vec![]), HookVerdict::NotApplicable);
        assert_eq!(worst_verdict(vec![HookVerdict::NotApplicable, holds()]), holds());
        assert_eq!(
            worst_verdict(vec![holds(), broken("a\n"), HookVerdict::Unknown("c".to_owned()), broken("b\n")]),
            broken("a\nb\n")
        );
        let long = "x".repeat(LIMIT - 100);
        let HookVerdict::Fail(text) = worst_verdict(vec![broken(&long), broken(&long)]) else { panic!() };
        assert!(text.len() <= LIMIT && text.ends_with("and 1 more targets\n"));
    }
}
