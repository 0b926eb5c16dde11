//! `nixbox hook AGENT`: from an agent's payload to the response.
//!
//! After an edit the configuration is evaluated, in this process. At a turn's end, and before a commit or a push,
//! `nixbox try` runs as a process of its own: our deadline is before the agent's, and the run continues after it, so that
//! the next call finds its verdict. It ends with the agent.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::message::{LIMIT, report_message};
use super::{Agent, HookEvent, HookRequest, HookResponse, HookVerdict, contract, parent_watch};
use crate::cache::{digest, is_read};
use crate::cli::{CheckArgs, HookArgs, TryArgs};
use crate::config;
use crate::event::Events;
use crate::failure::{Failure, Result};
use crate::interrupt::Interrupt;
use crate::model::timeouts::agent::{EDIT_LIMIT, MARGIN, TERM_GRACE, TURN_END_LIMIT};
use crate::model::{CONFIG_FILE, CheckId, CheckResult, Exit, Report, Stage, Status, Verdict};
use crate::nix::Nix;
use crate::nonce::nonce;
use crate::paths::state_directory;
use crate::resolve::{self, Flake, encode};
use crate::text::{bounded, escape_line};

/// The largest payload that is read, in bytes: an edit's holds the file's text, perhaps twice.
const PAYLOAD_LIMIT: u64 = 64 << 20;
/// The largest report that is read from a run, in bytes.
const REPORT_LIMIT: u64 = 32 << 20;

/// Answers one call of a hook. Whatever goes wrong is in the response, which then does not block.
pub async fn run(arguments: &HookArgs, interrupt: &Interrupt) -> HookResponse {
    let agent = arguments.agent;
    let payload = match payload() {
        Ok(payload) => payload,
        Err(error) => return cannot_tell(agent, &format!("the payload on stdin cannot be read: {error}")),
    };
    let mut request = match contract::read(agent, arguments.event.as_deref(), &payload) {
        Ok(request) => request,
        Err(error) => return cannot_tell(agent, &format!("{error:#}")),
    };
    let outcome = match test(arguments, &request, interrupt).await {
        Ok(outcome) => outcome,
        Err(failure) => HookVerdict::Unknown(failed(&failure)).into(),
    };
    if request.event == HookEvent::TurnEnd {
        // An agent that fixed one thing and broke another is not done: only the same failure is let through.
        let is_same = blocked_before(agent, &outcome);
        request.already_blocked &= is_same;
    }
    contract::respond(agent, &request, &outcome.verdict)
}

/// A verdict, with an identity of the failure by which it is recognised.
#[derive(Debug)]
struct HookOutcome {
    verdict: HookVerdict,
    failure_key: String,
}

impl From<HookVerdict> for HookOutcome {
    fn from(verdict: HookVerdict) -> Self {
        Self { verdict, failure_key: String::new() }
    }
}

/// How many different failures block an agent before the next pass. Not all agents have a limit of their own.
const MOST_FAILURES: usize = 8;

/// Whether this agent was blocked here by the same failure before, since the last pass. Records this one.
fn blocked_before(agent: Agent, outcome: &HookOutcome) -> bool {
    let Some(state) = state_directory() else { return true };
    let here = std::env::current_dir().unwrap_or_default();
    let file = state.join("hook").join(digest(format!("{agent:?} {}", here.display()).as_bytes()));
    if !matches!(outcome.verdict, HookVerdict::Fail(_)) {
        if matches!(outcome.verdict, HookVerdict::Pass(_)) {
            // Usually there is none.
            drop(std::fs::remove_file(file));
        }
        return true;
    }
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    let now = digest(outcome.failure_key.as_bytes());
    if known.lines().any(|line| line == now) || known.lines().count() >= MOST_FAILURES {
        return true;
    }
    let written =
        std::fs::create_dir_all(state.join("hook")).and_then(|()| std::fs::write(&file, format!("{known}{now}\n")));
    // A failure that cannot be recorded must not block for ever.
    written.is_err()
}

/// A failure of the hook itself, as a report: it may quote untrusted text.
fn failed(failure: &Failure) -> String {
    let mut report = Report::new("", std::time::SystemTime::now());
    failure.decide(&mut report);
    match nonce() {
        Ok(nonce) => report_message(&report, "", None, &nonce),
        Err(_) => "nixbox: could not tell: no random numbers on this host\n".to_owned(),
    }
}

/// The response to a payload that is not valid or cannot be read.
fn cannot_tell(agent: Agent, why: &str) -> HookResponse {
    let request = HookRequest { event: HookEvent::TurnEnd, directory: None, files: Vec::new(), already_blocked: false };
    let text = format!("nixbox: could not tell (nothing is blocked): {}\n", escape_line(why));
    contract::respond(agent, &request, &HookVerdict::Unknown(bounded(&text, LIMIT)))
}

/// All of stdin; nothing where that is a terminal.
fn payload() -> std::io::Result<String> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    stdin.lock().take(PAYLOAD_LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Tests what the request is about.
async fn test(arguments: &HookArgs, request: &HookRequest, interrupt: &Interrupt) -> Result<HookOutcome> {
    if request.event == HookEvent::Other {
        return Ok(HookVerdict::NotApplicable.into());
    }
    if let Some(directory) = &request.directory {
        // Before other threads run: flake references are relative to it.
        std::env::set_current_dir(directory).map_err(|error| {
            Failure::host(format!("cannot change to the directory {}", directory.display())).because(error)
        })?;
    }
    let nix = Nix::new(arguments.nix.clone());
    let git = Git { directory: nix.here().to_owned() };
    let targets = targets(arguments, &nix)?;
    match &request.event {
        HookEvent::Other => Ok(HookVerdict::NotApplicable.into()),
        HookEvent::Edit => after_an_edit(arguments, &targets, request, &nix, interrupt).await,
        HookEvent::TurnEnd => {
            let runs = targets.iter().map(|target| HookRun::of(target.clone())).collect();
            test_all(arguments, runs, interrupt).await
        }
        HookEvent::Commit => {
            let index = git.run(&["write-tree"])?;
            // The same for the same tree. Nothing refers to it, so git collects it some day.
            let commit = git.run(&["commit-tree", &index, "-m", "what is about to be committed"])?;
            let runs = at_commits(&targets, &[commit], &git, true)?;
            test_all(arguments, runs, interrupt).await
        }
        HookEvent::Push(commits) => test_all(arguments, at_commits(&targets, commits, &git, false)?, interrupt).await,
    }
}

/// A target that a hook tests.
#[derive(Debug, Clone)]
struct HookTarget {
    /// As an argument of `nixbox try`.
    typed: String,
    /// Whether a flag or `nixbox.toml` names it. The default target need not exist.
    is_named: bool,
    /// The local flake that it is in.
    flake: Option<Flake>,
}

/// The targets: those of the flags, else of `nixbox.toml`, else the one of a bare `nixbox try`. None where there is no
/// flake here and none was named.
fn targets(arguments: &HookArgs, nix: &Nix) -> Result<Vec<HookTarget>> {
    let target = |typed: &str, is_named, nix: &Nix| {
        let flake = resolve::local_flake(typed, nix);
        HookTarget { typed: typed.to_owned(), is_named, flake }
    };
    if !arguments.target.is_empty() {
        return Ok(arguments.target.iter().map(|typed| target(typed, true, nix)).collect());
    }
    let bare = target(".", false, nix);
    let Some(directory) = bare.flake.as_ref().and_then(|flake| flake.dir.clone()) else { return Ok(Vec::new()) };
    let named = config::load(None, Some(&directory))?.settings_for("").hook_targets;
    if named.is_empty() {
        return Ok(vec![bare]);
    }
    // They are relative to the file's directory, wherever the agent works.
    std::env::set_current_dir(&directory).map_err(|error| {
        Failure::host(format!("cannot change to the directory {}", directory.display())).because(error)
    })?;
    let nix = Nix::new(arguments.nix.clone());
    Ok(named.iter().map(|typed| target(typed, true, &nix)).collect())
}

/// Evaluates the targets that read one of the edited files.
async fn after_an_edit(
    arguments: &HookArgs,
    targets: &[HookTarget],
    request: &HookRequest,
    nix: &Nix,
    interrupt: &Interrupt,
) -> Result<HookOutcome> {
    let deadline = Instant::now() + (EDIT_LIMIT - MARGIN);
    let mut outcomes = Vec::new();
    for target in targets {
        let directory = target.flake.as_ref().and_then(|flake| flake.dir.as_deref().map(|dir| (flake, dir)));
        if let Some((flake, directory)) = directory {
            let read = |file: &PathBuf| is_read(&nix.here().join(file), flake.git_root.as_deref(), directory);
            if !request.files.is_empty() && !request.files.iter().any(read) {
                continue;
            }
        }
        let run = try_arguments(arguments, &target.typed);
        let evaluated = crate::run::evaluate(&run, Events::silent(), interrupt.clone());
        outcomes.push(match tokio::time::timeout_at(deadline, evaluated).await {
            Ok(report) => outcome_of(&report, target)?,
            Err(_) => HookVerdict::Pending(format!(
                "nixbox: evaluating {} takes longer than {} s; the verdict comes at the end of the turn\n",
                target.typed,
                (EDIT_LIMIT - MARGIN).as_secs()
            ))
            .into(),
        });
    }
    Ok(worst(outcomes))
}

/// A `nixbox try` that a hook starts.
#[derive(Debug)]
struct HookRun {
    target: HookTarget,
    /// Its `nixbox.toml`, where it is not the one beside the flake.
    config: Option<tempfile::NamedTempFile>,
    /// What it is held against, where that is not for `try` to find.
    baseline: Option<String>,
}

impl HookRun {
    fn of(target: HookTarget) -> Self {
        Self { target, config: None, baseline: None }
    }
}

/// The targets in these commits, instead of in the work tree. A commit without the flake is left out. `is_unborn`: it is
/// not a commit yet, and follows HEAD.
fn at_commits(targets: &[HookTarget], commits: &[String], git: &Git, is_unborn: bool) -> Result<Vec<HookRun>> {
    let mut runs = Vec::new();
    for target in targets {
        let local = target.flake.as_ref().and_then(|flake| Some((flake.dir.as_deref()?, flake.git_root.as_deref()?)));
        let Some((directory, root)) = local else {
            // Not in this repository: a commit here does not change it.
            continue;
        };
        let inside = directory.strip_prefix(root).unwrap_or(Path::new("")).to_string_lossy().into_owned();
        let attribute = target.typed.split_once('#').map_or(String::new(), |(_, attribute)| format!("#{attribute}"));
        for object in commits {
            // An annotated tag is pushed as itself; it may not name a commit.
            let Ok(commit) = git.run(&["rev-parse", "--verify", "--quiet", &format!("{object}^{{commit}}")]) else {
                continue;
            };
            let file = |name: &str| format!("{commit}:{}", Path::new(&inside).join(name).display());
            if git.run(&["cat-file", "-e", &file("flake.nix")]).is_err() {
                continue;
            }
            let mut config = None;
            if let Ok(text) = git.run(&["show", &file(CONFIG_FILE)]) {
                let mut written = tempfile::Builder::new().suffix(".toml").tempfile().map_err(no_temporary_file)?;
                std::io::Write::write_all(&mut written, text.as_bytes()).map_err(no_temporary_file)?;
                config = Some(written);
            }
            let within = if inside.is_empty() { String::new() } else { format!("dir={}&", encode(&inside)) };
            let at = |commit: &str| {
                format!("git+file://{}?{within}rev={commit}{attribute}", encode(&root.to_string_lossy()))
            };
            // What is about to be committed has no parent yet.
            let parent = |named: &str| git.run(&["rev-parse", "--verify", "--quiet", named]).ok();
            let before = parent(&format!("{commit}^")).or_else(|| is_unborn.then(|| parent("HEAD")).flatten());
            let baseline = before.map_or_else(|| "off".to_owned(), |before| at(&before));
            let target = HookTarget { typed: at(&commit), ..target.clone() };
            runs.push(HookRun { target, config, baseline: Some(baseline) });
        }
    }
    Ok(runs)
}

fn no_temporary_file(error: std::io::Error) -> Failure {
    Failure::host("a temporary file cannot be created").because(error)
}

/// git, in the directory where its hook was called: the paths in its environment variables are relative to that.
struct Git {
    directory: PathBuf,
}

impl Git {
    /// Runs `git WORDS` with the index that git gave its hook, and returns stdout without the last newline.
    fn run(&self, words: &[&str]) -> Result<String> {
        let mut command = std::process::Command::new("git");
        command.args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false"]);
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "nixbox").env(format!("GIT_{role}_EMAIL"), "nixbox@localhost");
            command.env(format!("GIT_{role}_DATE"), "1970-01-01T00:00:00Z");
        }
        let output = command.args(words).current_dir(&self.directory).stdin(Stdio::null()).output();
        let output = output.map_err(|error| Failure::host("git cannot be started").because(error))?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            return Err(Failure::host(format!("git {} failed", words[0])).why(stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned())
    }
}

/// Tests one after the other, until one is broken or the time is over.
async fn test_all(arguments: &HookArgs, runs: Vec<HookRun>, interrupt: &Interrupt) -> Result<HookOutcome> {
    let deadline = Instant::now() + (TURN_END_LIMIT - MARGIN);
    let mut outcomes = Vec::new();
    for run in runs {
        let outcome = test_one(arguments, &run, deadline, interrupt).await?;
        let is_over = matches!(outcome.verdict, HookVerdict::Fail(_) | HookVerdict::Pending(_));
        outcomes.push(outcome);
        if is_over {
            break;
        }
    }
    Ok(worst(outcomes))
}

async fn test_one(
    arguments: &HookArgs,
    run: &HookRun,
    deadline: Instant,
    interrupt: &Interrupt,
) -> Result<HookOutcome> {
    let typed = &run.target.typed;
    let mut child = start(arguments, run)?;
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
        // It continues for the next call; it ends with its verdict or with the agent.
        return Ok(HookVerdict::Pending(format!(
            "nixbox: no verdict on {typed} yet; the run continues: end the turn again to get its verdict\n"
        ))
        .into());
    };
    let status = status.map_err(|error| Failure::host("nixbox try cannot be waited for").because(error))?;
    if status.code() == Some(i32::from(Exit::Interrupted.code())) {
        return Ok(HookVerdict::Pending(format!("nixbox: superseded by a newer request for {typed}\n")).into());
    }
    match serde_json::from_slice::<Report>(&report) {
        Ok(report) => outcome_of(&report, &run.target),
        Err(_) => {
            let stderr = crate::text::plain(&String::from_utf8_lossy(&stderr), LIMIT / 2);
            Err(Failure::host(format!("nixbox try ended without a report ({status})")).why(stderr))
        }
    }
}

/// Starts `nixbox try` in a process group of its own.
fn start(arguments: &HookArgs, run: &HookRun) -> Result<Child> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::host("the path of this nixbox cannot be determined").because(error))?;
    let mut command = Command::new(program);
    command.args(["try", "--format", "json", "--quiet", "--for-agent", &parent_watch::agent().to_string()]);
    if arguments.no_jail {
        command.arg("--no-jail");
    }
    if arguments.fresh {
        command.arg("--fresh");
    }
    if let Some(config) = &run.config {
        command.arg("--config").arg(config.path());
    }
    if let Some(baseline) = &run.baseline {
        command.args(["--baseline", baseline]);
    }
    command.args(arguments.nix.words(&std::env::current_dir().unwrap_or_default()));
    command.arg("--").arg(&run.target.typed);
    // git's variables are about the hook's repository, and nix runs git in others.
    for name in ["GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command.spawn().map_err(|error| Failure::host("nixbox cannot be started").because(error))
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
fn try_arguments(arguments: &HookArgs, typed: &str) -> TryArgs {
    TryArgs {
        target: Some(typed.to_owned()),
        checks: CheckArgs { fresh: arguments.fresh, ..CheckArgs::default() },
        nix: arguments.nix.clone(),
        ..TryArgs::default()
    }
}

/// What a report means for an agent.
fn outcome_of(report: &Report, target: &HookTarget) -> Result<HookOutcome> {
    let attribute = |check: &CheckResult| check.id == CheckId::BuildAttribute && check.status == Status::Fail;
    // A flake without a machine, which no flag and no file names.
    let has_none = !target.is_named && report.target.resolved.is_empty() && report.checks.iter().any(attribute);
    if has_none && !target.flake.as_ref().is_some_and(Flake::speaks_of_machines) {
        return Ok(HookVerdict::NotApplicable.into());
    }
    let nonce = nonce().map_err(|error| Failure::host("no random numbers on this host").because(error))?;
    let root = target.flake.as_ref().and_then(|flake| flake.git_root.as_deref().or(flake.dir.as_deref()));
    let text = report_message(report, &target.typed, root, &nonce);
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
    Ok(HookOutcome { verdict, failure_key: format!("{} {facts:?} {cause}", target.typed) })
}

/// The worst of several verdicts, with the texts of all that are as bad, as far as there is room.
fn worst(outcomes: Vec<HookOutcome>) -> HookOutcome {
    let failure_key = outcomes.iter().map(|outcome| outcome.failure_key.as_str()).collect::<Vec<_>>().join("\n");
    HookOutcome { verdict: worst_verdict(outcomes.into_iter().map(|outcome| outcome.verdict).collect()), failure_key }
}

fn worst_verdict(verdicts: Vec<HookVerdict>) -> HookVerdict {
    let rank = |verdict: &HookVerdict| match verdict {
        HookVerdict::Fail(_) => 4,
        HookVerdict::Pending(_) => 3,
        HookVerdict::Unknown(_) => 2,
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
        HookVerdict::Pass(_) => HookVerdict::Pass(whole),
        HookVerdict::NotApplicable => HookVerdict::NotApplicable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
