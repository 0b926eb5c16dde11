//! `nixbox hook AGENT`: from an agent's payload to its answer.
//!
//! After an edit the configuration is evaluated, here. At a turn's end, and before a commit or a push, `nixbox try` runs
//! as a process of its own: our deadline ends before the agent's does, and the run goes on, so that who asks again finds
//! it further on. It ends with the agent.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::message::{LIMIT, told};
use super::{Agent, Asked, EDIT_LIMIT, Finding, MARGIN, Moment, Spoken, TURN_END_LIMIT, contract, parent_watch};
use crate::cache::{digest, is_read};
use crate::cli::{CheckArgs, HookArgs, TryArgs};
use crate::config;
use crate::event::Events;
use crate::failure::{Failure, Result};
use crate::guest::credentials::nonce;
use crate::interrupt::Interrupt;
use crate::model::{CONFIG_FILE, CheckId, CheckResult, Exit, Report, Stage, Status, Verdict};
use crate::nix::Nix;
use crate::paths::state_directory;
use crate::resolve::{self, Flake, encode};
use crate::text::{bounded, escape_line};

/// The largest payload that is read, in bytes: an edit's holds the file's text, perhaps twice.
const PAYLOAD_LIMIT: u64 = 64 << 20;
/// The largest report that is read from a run, in bytes.
const REPORT_LIMIT: u64 = 32 << 20;
/// How long a run may take to end when it is told to.
const END_LIMIT: Duration = Duration::from_secs(10);

/// Answers one call of a hook. Whatever goes wrong is in the answer, which then does not block.
pub async fn run(arguments: &HookArgs, interrupt: &Interrupt) -> Spoken {
    let agent = arguments.agent;
    let payload = match payload() {
        Ok(payload) => payload,
        Err(why) => return could_not(agent, &format!("the payload on stdin cannot be read: {why}")),
    };
    let asked = match contract::read(agent, arguments.event.as_deref(), &payload) {
        Ok(asked) => asked,
        Err(why) => return could_not(agent, &why),
    };
    let mut asked = asked;
    let found = match find(arguments, &asked, interrupt).await {
        Ok(found) => found,
        Err(failure) => Finding::CouldNotTell(failed(&failure)).into(),
    };
    if asked.moment == Moment::TurnEnd {
        // Who mended one thing and broke the next is not done: only the same again is let go.
        let is_same = blocked_before(agent, &found);
        asked.again &= is_same;
    }
    contract::speak(agent, &asked, &found.finding)
}

/// What was found, and in short what is broken, to tell the same from another.
#[derive(Debug)]
struct Found {
    finding: Finding,
    cause: String,
}

impl From<Finding> for Found {
    fn from(finding: Finding) -> Self {
        Self { finding, cause: String::new() }
    }
}

/// How many different causes hold up an agent before one thing passes. Not all agents have a limit of their own.
const MOST_CAUSES: usize = 8;

/// Whether this agent was held up here for the same cause before, since the last pass. Remembers this one.
fn blocked_before(agent: Agent, found: &Found) -> bool {
    let Some(state) = state_directory() else { return true };
    let here = std::env::current_dir().unwrap_or_default();
    let file = state.join("hook").join(digest(format!("{agent:?} {}", here.display()).as_bytes()));
    if !matches!(found.finding, Finding::Broken(_)) {
        if matches!(found.finding, Finding::Holds(_)) {
            // There is none, most often.
            drop(std::fs::remove_file(file));
        }
        return true;
    }
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    let now = digest(found.cause.as_bytes());
    if known.lines().any(|line| line == now) || known.lines().count() >= MOST_CAUSES {
        return true;
    }
    let written =
        std::fs::create_dir_all(state.join("hook")).and_then(|()| std::fs::write(&file, format!("{known}{now}\n")));
    // What cannot be remembered must not hold up anybody for ever.
    written.is_err()
}

/// A failure of the hook's own, told as a run's is: there may be words of others in it.
fn failed(failure: &Failure) -> String {
    let mut report = Report::new("", std::time::SystemTime::now());
    failure.decide(&mut report);
    match nonce() {
        Ok(nonce) => told(&report, "", None, &nonce),
        Err(_) => "nixbox: could not tell: no random numbers on this host\n".to_owned(),
    }
}

/// The answer to what is no payload, or cannot be read.
fn could_not(agent: Agent, why: &str) -> Spoken {
    let asked = Asked { moment: Moment::TurnEnd, directory: None, files: Vec::new(), again: false };
    let text = format!("nixbox: could not tell: this hook blocks nothing: {}\n", escape_line(why));
    contract::speak(agent, &asked, &Finding::CouldNotTell(bounded(&text, LIMIT)))
}

/// What is on stdin; nothing where that is a terminal, at which a person sits who has nothing to say.
fn payload() -> std::io::Result<String> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    stdin.lock().take(PAYLOAD_LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Finds out what was asked.
async fn find(arguments: &HookArgs, asked: &Asked, interrupt: &Interrupt) -> Result<Found> {
    if asked.moment == Moment::Other {
        return Ok(Finding::Nothing.into());
    }
    if let Some(directory) = &asked.directory {
        // Before anything runs beside: names of flakes are relative to it.
        std::env::set_current_dir(directory)
            .map_err(|error| Failure::host(format!("{} cannot be worked in", directory.display())).why(error))?;
    }
    let nix = Nix::new(arguments.nix.clone());
    let git = Git { directory: nix.here().to_owned() };
    let targets = targets(arguments, &nix)?;
    match &asked.moment {
        Moment::Other => Ok(Finding::Nothing.into()),
        Moment::Edit => after_an_edit(arguments, &targets, asked, &nix, interrupt).await,
        Moment::TurnEnd => {
            let runs = targets.iter().map(|target| Tried::of(target.clone())).collect();
            whole_verdicts(arguments, runs, interrupt).await
        }
        Moment::Commit => {
            let index = git.ask(&["write-tree"])?;
            // Always the same for the same tree, and without a reference to it: git collects it some day.
            let commit = git.ask(&["commit-tree", &index, "-m", "what is about to be committed"])?;
            let runs = at_commits(&targets, &[commit], &git)?;
            whole_verdicts(arguments, runs, interrupt).await
        }
        Moment::Push(commits) => whole_verdicts(arguments, at_commits(&targets, commits, &git)?, interrupt).await,
    }
}

/// A target of a hook's.
#[derive(Debug, Clone)]
struct Wanted {
    /// As `nixbox try` is to be told.
    typed: String,
    /// Whether somebody named it. One that nobody named need not be there.
    is_named: bool,
    /// The local flake that it is in.
    flake: Option<Flake>,
}

/// What to try: as the flags say, else as `nixbox.toml` says, else what a bare `nixbox try` takes. Nothing where there is
/// no flake here and none was named.
fn targets(arguments: &HookArgs, nix: &Nix) -> Result<Vec<Wanted>> {
    let wanted =
        |typed: &str, is_named| Wanted { typed: typed.to_owned(), is_named, flake: resolve::local_flake(typed, nix) };
    if !arguments.target.is_empty() {
        return Ok(arguments.target.iter().map(|typed| wanted(typed, true)).collect());
    }
    let bare = wanted(".", false);
    let Some(directory) = bare.flake.as_ref().and_then(|flake| flake.dir.clone()) else { return Ok(Vec::new()) };
    let named = config::load(None, Some(&directory))?.settings_for("").hook_targets;
    if named.is_empty() {
        return Ok(vec![bare]);
    }
    // They are of the file's directory, wherever the agent works.
    std::env::set_current_dir(&directory)
        .map_err(|error| Failure::host(format!("{} cannot be worked in", directory.display())).why(error))?;
    let nix = Nix::new(arguments.nix.clone());
    Ok(named
        .iter()
        .map(|typed| Wanted { typed: typed.clone(), is_named: true, flake: resolve::local_flake(typed, &nix) })
        .collect())
}

/// Evaluates, where something that was edited is read.
async fn after_an_edit(
    arguments: &HookArgs,
    targets: &[Wanted],
    asked: &Asked,
    nix: &Nix,
    interrupt: &Interrupt,
) -> Result<Found> {
    let deadline = Instant::now() + (EDIT_LIMIT - MARGIN);
    let mut findings = Vec::new();
    for target in targets {
        let directory = target.flake.as_ref().and_then(|flake| flake.dir.as_deref().map(|dir| (flake, dir)));
        if let Some((flake, directory)) = directory {
            let read = |file: &PathBuf| is_read(&nix.here().join(file), flake.git_root.as_deref(), directory);
            if !asked.files.is_empty() && !asked.files.iter().any(read) {
                continue;
            }
        }
        let run = try_arguments(arguments, &target.typed);
        let evaluated = crate::run::evaluate(&run, Events::silent(), interrupt.clone());
        findings.push(match tokio::time::timeout_at(deadline, evaluated).await {
            Ok(report) => judged(&report, target)?,
            Err(_) => Finding::StillRunning(format!(
                "nixbox: evaluating {} takes longer than {} s; the end of the turn gives the verdict\n",
                target.typed,
                (EDIT_LIMIT - MARGIN).as_secs()
            ))
            .into(),
        });
    }
    Ok(worst(findings))
}

/// A run of `nixbox try` for a hook.
#[derive(Debug)]
struct Tried {
    target: Wanted,
    /// What `nixbox.toml` is, where it is not the one beside the flake.
    config: Option<tempfile::NamedTempFile>,
}

impl Tried {
    fn of(target: Wanted) -> Self {
        Self { target, config: None }
    }
}

/// The targets in these commits, instead of in the work tree. A flake that a commit does not have is left out.
fn at_commits(targets: &[Wanted], commits: &[String], git: &Git) -> Result<Vec<Tried>> {
    let mut runs = Vec::new();
    for target in targets {
        let local = target.flake.as_ref().and_then(|flake| Some((flake.dir.as_deref()?, flake.git_root.as_deref()?)));
        let Some((directory, root)) = local else {
            // Not of this repository: it is what it is, whatever is committed here.
            continue;
        };
        let inside = directory.strip_prefix(root).unwrap_or(Path::new("")).to_string_lossy().into_owned();
        let attribute = target.typed.split_once('#').map_or(String::new(), |(_, attribute)| format!("#{attribute}"));
        for object in commits {
            // An annotated tag is pushed as itself; what it names may be no commit at all.
            let Ok(commit) = git.ask(&["rev-parse", "--verify", "--quiet", &format!("{object}^{{commit}}")]) else {
                continue;
            };
            let file = |name: &str| format!("{commit}:{}", Path::new(&inside).join(name).display());
            if git.ask(&["cat-file", "-e", &file("flake.nix")]).is_err() {
                continue;
            }
            let mut config = None;
            if let Ok(text) = git.ask(&["show", &file(CONFIG_FILE)]) {
                let mut written = tempfile::Builder::new().suffix(".toml").tempfile().map_err(no_temporary)?;
                std::io::Write::write_all(&mut written, text.as_bytes()).map_err(no_temporary)?;
                config = Some(written);
            }
            let within = if inside.is_empty() { String::new() } else { format!("dir={}&", encode(&inside)) };
            let typed = format!("git+file://{}?{within}rev={commit}{attribute}", encode(&root.to_string_lossy()));
            runs.push(Tried { target: Wanted { typed, ..target.clone() }, config });
        }
    }
    Ok(runs)
}

fn no_temporary(error: std::io::Error) -> Failure {
    Failure::host("no temporary file can be made").why(error)
}

/// git, where its hook was called: what it tells its hooks of the repository is relative to that.
struct Git {
    directory: PathBuf,
}

impl Git {
    /// Runs `git WORDS` with the index that git gave its hook; answers with what it says, without the last line's end.
    fn ask(&self, words: &[&str]) -> Result<String> {
        let mut command = std::process::Command::new("git");
        command.args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false"]);
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "nixbox").env(format!("GIT_{role}_EMAIL"), "nixbox@localhost");
            command.env(format!("GIT_{role}_DATE"), "1970-01-01T00:00:00Z");
        }
        let output = command.args(words).current_dir(&self.directory).stdin(Stdio::null()).output();
        let output = output.map_err(|error| Failure::host("git could not be started").why(error))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Failure::host(format!("git {} failed", words[0])).why(said));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned())
    }
}

/// Tries one after the other, until one is broken or the time is over.
async fn whole_verdicts(arguments: &HookArgs, runs: Vec<Tried>, interrupt: &Interrupt) -> Result<Found> {
    let deadline = Instant::now() + (TURN_END_LIMIT - MARGIN);
    let mut findings = Vec::new();
    for run in runs {
        let found = whole_verdict(arguments, &run, deadline, interrupt).await?;
        let is_over = matches!(found.finding, Finding::Broken(_) | Finding::StillRunning(_));
        findings.push(found);
        if is_over {
            break;
        }
    }
    Ok(worst(findings))
}

async fn whole_verdict(arguments: &HookArgs, run: &Tried, deadline: Instant, interrupt: &Interrupt) -> Result<Found> {
    let typed = &run.target.typed;
    let mut child = start(arguments, run)?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(Failure::host("the run has no output"));
    };
    let heard = async { tokio::join!(read(stdout, REPORT_LIMIT), read(stderr, LIMIT as u64), child.wait()) };
    let heard = tokio::select! {
        heard = heard => Some(heard),
        () = tokio::time::sleep_until(deadline) => None,
        () = interrupt.orderly() => {
            end(&mut child).await;
            return Err(Failure::interrupted());
        }
    };
    let Some((report, said, status)) = heard else {
        // It goes on, for whoever asks again; its end is the verdict or the agent's.
        return Ok(Finding::StillRunning(format!(
            "nixbox: the verdict on {typed} is not there yet, and the run goes on: ask again by ending the turn again\n"
        ))
        .into());
    };
    let status = status.map_err(|error| Failure::host("the run was lost").why(error))?;
    if status.code() == Some(i32::from(Exit::Interrupted.code())) {
        return Ok(Finding::StillRunning(format!("nixbox: a newer request for {typed} took this one's place\n")).into());
    }
    match serde_json::from_slice::<Report>(&report) {
        Ok(report) => judged(&report, &run.target),
        Err(_) => {
            let said = crate::text::plain(&String::from_utf8_lossy(&said), LIMIT / 2);
            Err(Failure::host(format!("nixbox try ended without a report ({status})")).why(said))
        }
    }
}

/// Starts `nixbox try` in a process group of its own.
fn start(arguments: &HookArgs, run: &Tried) -> Result<Child> {
    let program = std::env::current_exe().map_err(|error| Failure::host("nixbox does not find itself").why(error))?;
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
    command.args(arguments.nix.words(&std::env::current_dir().unwrap_or_default()));
    command.arg("--").arg(&run.target.typed);
    // git's own variables are about the hook's repository, and nix asks git about others.
    for name in ["GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command.spawn().map_err(|error| Failure::host("nixbox could not be started").why(error))
}

async fn read(from: impl AsyncRead + Unpin, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut from = from.take(most);
    // What was lost is missed where it is read.
    drop(from.read_to_end(&mut bytes).await);
    drop(tokio::io::copy(&mut from.into_inner(), &mut tokio::io::sink()).await);
    bytes
}

/// Ends a run in good order.
async fn end(child: &mut Child) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // Gone in this moment is as good.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    if tokio::time::timeout(END_LIMIT, child.wait()).await.is_err() {
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
fn judged(report: &Report, target: &Wanted) -> Result<Found> {
    let attribute = |check: &CheckResult| check.id == CheckId::BuildAttribute && check.status == Status::Fail;
    // A flake without a machine, and nobody said that it has one.
    let has_none = !target.is_named && report.target.resolved.is_empty() && report.checks.iter().any(attribute);
    if has_none && !target.flake.as_ref().is_some_and(Flake::speaks_of_machines) {
        return Ok(Finding::Nothing.into());
    }
    let nonce = nonce().map_err(|error| Failure::host("no random numbers on this host").why(error))?;
    let root = target.flake.as_ref().and_then(|flake| flake.git_root.as_deref().or(flake.dir.as_deref()));
    let text = told(report, &target.typed, root, &nonce);
    let finding = match report.verdict {
        Verdict::Pass => Finding::Holds(text),
        // It may have lost them by this edit, and it may be a library for machines.
        Verdict::Fail if has_none => Finding::CouldNotTell(text),
        Verdict::Fail => Finding::Broken(text),
        Verdict::Unknown => Finding::CouldNotTell(text),
    };
    // Not the words, in which there may be a time; where there is nothing else, without their numbers.
    let failed = report.checks.iter().filter(|check| check.status == Status::Fail);
    let what: Vec<_> =
        failed.map(|check| (&check.id, check.evidence.get("unit"), check.evidence.get("port"))).collect();
    let is_typed = report.stage == Some(Stage::Check);
    let words = report.cause.as_deref().filter(|_| !is_typed).unwrap_or_default();
    let words: String = words.chars().filter(|c| !c.is_ascii_digit()).collect();
    Ok(Found { finding, cause: format!("{} {what:?} {words}", target.typed) })
}

/// Of several findings the one that matters most; of those that are broken all, as far as there is room.
fn worst(found: Vec<Found>) -> Found {
    let cause = found.iter().map(|found| found.cause.as_str()).collect::<Vec<_>>().join("\n");
    Found { finding: worst_finding(found.into_iter().map(|found| found.finding).collect()), cause }
}

fn worst_finding(findings: Vec<Finding>) -> Finding {
    let rank = |finding: &Finding| match finding {
        Finding::Broken(_) => 4,
        Finding::StillRunning(_) => 3,
        Finding::CouldNotTell(_) => 2,
        Finding::Holds(_) => 1,
        Finding::Nothing => 0,
    };
    let Some(most) = findings.iter().map(rank).max() else { return Finding::Nothing };
    let mut whole = String::new();
    let mut left_out = 0;
    let mut worst = Finding::Nothing;
    for finding in findings.into_iter().filter(|finding| rank(finding) == most) {
        let (Finding::Broken(text) | Finding::StillRunning(text) | Finding::CouldNotTell(text) | Finding::Holds(text)) =
            &finding
        else {
            return Finding::Nothing;
        };
        if whole.is_empty() || whole.len() + text.len() + 40 <= LIMIT {
            whole.push_str(text);
        } else {
            left_out += 1;
        }
        worst = finding;
    }
    if left_out > 0 {
        // Writing into a String cannot fail.
        let _infallible = writeln!(whole, "and {left_out} targets more");
    }
    match worst {
        Finding::Broken(_) => Finding::Broken(whole),
        Finding::StillRunning(_) => Finding::StillRunning(whole),
        Finding::CouldNotTell(_) => Finding::CouldNotTell(whole),
        Finding::Holds(_) => Finding::Holds(whole),
        Finding::Nothing => Finding::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_told() {
        let holds = || Finding::Holds("h\n".to_owned());
        let broken = |text: &str| Finding::Broken(text.to_owned());
        assert_eq!(worst_finding(vec![]), Finding::Nothing);
        assert_eq!(worst_finding(vec![Finding::Nothing, holds()]), holds());
        assert_eq!(
            worst_finding(vec![holds(), broken("a\n"), Finding::CouldNotTell("c".to_owned()), broken("b\n")]),
            broken("a\nb\n")
        );
        let long = "x".repeat(LIMIT - 100);
        let Finding::Broken(text) = worst_finding(vec![broken(&long), broken(&long)]) else { panic!() };
        assert!(text.len() <= LIMIT && text.ends_with("and 1 targets more\n"));
    }
}
