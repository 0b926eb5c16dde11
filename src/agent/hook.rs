//! `nixbox hook AGENT`: from an agent's payload to the response.
//!
//! After an edit the configuration is evaluated, in this process. At a turn's end, and before a commit or a push,
//! `nixbox try` runs as a process of its own ([`super::trial`]).

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tokio::time::Instant;

use super::commits::{Git, at_commits, in_work_tree};
use super::memory::{Memory, is_remembered};
use super::message::{LIMIT, report_message};
use super::table::row;
use super::targets::{HookTarget, has_target, targets};
use super::trial::{HookOutcome, outcome_of, test_all, try_arguments, worst, worst_verdict};
use super::{Agent, HookEvent, HookRequest, HookResponse, HookVerdict, contract, parent_watch, stdin};
use crate::cache::is_read;
use crate::cli::HookArgs;
use crate::event::Events;
use crate::failure::{Failure, Result};
use crate::interrupt::Interrupt;
use crate::model::Report;
use crate::model::timeouts::agent::{EDIT_LIMIT, MARGIN};
use crate::nix::Nix;
use crate::nonce::nonce;
use crate::resolve::git_root;
use crate::text::{bounded, escape_line};

/// Answers one call of a hook. Whatever goes wrong is in the response, which then does not block.
pub async fn run(arguments: &HookArgs, interrupt: &Interrupt) -> HookResponse {
    let since = SystemTime::now();
    let agent = arguments.agent;
    let event = arguments.event.as_deref();
    let payload = async {
        let read = if contract::has_payload(agent, event) { stdin::payload().await } else { Ok(String::new()) };
        read.map_err(|error| Failure::host("the payload on stdin cannot be read").because(error))
    };
    let payload = match interrupt.guard(payload).await {
        Ok(payload) => payload,
        Err(failure) => return cannot_tell(agent, &failure.to_string()),
    };
    let mut request = match contract::read(agent, event, &payload) {
        Ok(request) => request,
        Err(error) => return cannot_tell(agent, &format!("{error:#}")),
    };
    let is_remembered = is_remembered(agent, &request.event);
    let transcript = request.transcript.clone().filter(|_| row(agent).ends_runs);
    let verdict = tokio::select! {
        verdict = answer(arguments, &mut request, since, interrupt) => verdict,
        // A turn that its user has stopped, or a session that has ended: whoever waits no longer needs no run.
        () = parent_watch::unread(), if is_remembered => HookVerdict::NotApplicable,
        () = parent_watch::aborted(transcript.as_deref()), if is_remembered => HookVerdict::NotApplicable,
    };
    contract::respond(agent, &request, &verdict)
}

/// The verdict on a request, and what it is to its session.
async fn answer(
    arguments: &HookArgs,
    request: &mut HookRequest,
    since: SystemTime,
    interrupt: &Interrupt,
) -> HookVerdict {
    if request.event == HookEvent::Other {
        return HookVerdict::NotApplicable;
    }
    if let Some(directory) = &request.directory
        && let Err(error) = std::env::set_current_dir(directory)
    {
        // Before anything reads it: flake references are relative to it.
        let failure = Failure::host(format!("cannot change to the directory {}", directory.display()));
        return HookVerdict::Unknown(failed(&failure.because(error)));
    }
    let here = std::env::current_dir().unwrap_or_default();
    request.directory = Some(here.clone());
    let root = git_root(&here).unwrap_or(here);
    // A flag names targets from where the agent works.
    let is_anywhere = is_remembered(arguments.agent, &request.event) && arguments.target.is_empty();
    let session = is_anywhere.then(|| Memory::of_session(arguments.agent, request, since)).flatten();
    if request.event == HookEvent::Edit {
        if let (Some(session), Some(place)) = (&session, edited_elsewhere(&request.files, &root)) {
            if std::env::set_current_dir(&place).is_err() || !has_target(arguments) {
                return HookVerdict::NotApplicable;
            }
            session.add_place(&place);
        }
        return answer_here(arguments, request, since, interrupt).await;
    }
    let mut verdict = answer_here(arguments, request, since, interrupt).await;
    for place in session.iter().flat_map(Memory::places).filter(|place| *place != root) {
        if std::env::set_current_dir(&place).is_err() {
            // It was a checkout that is gone.
            continue;
        }
        let mut there = request.clone();
        let other = answer_here(arguments, &mut there, since, interrupt).await;
        let blocks = |verdict: &HookVerdict, request: &HookRequest| {
            matches!(verdict, HookVerdict::Fail(_)) && !request.already_blocked
        };
        (verdict, request.already_blocked) = match (blocks(&verdict, request), blocks(&other, &there)) {
            (true, false) => (verdict, false),
            (false, true) => (other, false),
            (both, _) => (worst_verdict(vec![verdict, other]), !both),
        };
    }
    verdict
}

/// The repository, or else the directory, in which all of the files lie that were edited; `None` where one of them is of
/// the repository that the agent works in.
fn edited_elsewhere(files: &[PathBuf], root: &Path) -> Option<PathBuf> {
    let place = |file: &PathBuf| {
        let directory = root.join(file).parent()?.to_owned();
        directory.is_dir().then(|| git_root(&directory).unwrap_or(directory))
    };
    // Below its own directory only a repository is another place.
    let is_elsewhere =
        |place: &PathBuf| !root.starts_with(place) && (!place.starts_with(root) || place.join(".git").exists());
    let mut places = files.iter().map(|file| place(file).filter(is_elsewhere));
    let first = places.next()??;
    places.all(|other| other.as_ref() == Some(&first)).then_some(first)
}

/// Answers for the repository of the current directory.
async fn answer_here(
    arguments: &HookArgs,
    request: &mut HookRequest,
    since: SystemTime,
    interrupt: &Interrupt,
) -> HookVerdict {
    let here = std::env::current_dir().unwrap_or_default();
    let root = git_root(&here).unwrap_or(here);
    let is_remembered = is_remembered(arguments.agent, &request.event);
    let git = Git { directory: root.clone() };
    // What is no project of a machine's costs a question to git at most.
    let needs_tree = matches!(request.event, HookEvent::Prompt | HookEvent::TurnEnd);
    let has_target = needs_tree && has_target(arguments);
    let tree = (has_target && request.event == HookEvent::TurnEnd).then(|| git.work_tree().ok()).flatten();
    let memory = || Memory::of(arguments.agent, request, &root, tree.as_deref(), since);
    let memory = is_remembered.then(memory).flatten();
    if request.event == HookEvent::Prompt {
        if let Some(memory) = memory.as_ref().filter(|_| has_target) {
            memory.begin_turn(|| git.snapshot(&git.work_tree().ok()?).ok());
        }
        return HookVerdict::NotApplicable;
    }
    // After an edit the other hook's run is ours too; runs at a turn's end find each other by themselves.
    let turn = async {
        match memory.as_ref().filter(|_| request.event == HookEvent::Edit) {
            Some(memory) => Ok(memory.take_turn().await),
            None => Ok(None),
        }
    };
    let _turn = match interrupt.guard(turn).await {
        Ok(turn) => turn,
        Err(interrupted) => return HookVerdict::Unknown(failed(&interrupted)),
    };
    if memory.as_ref().is_some_and(Memory::is_answered) {
        return HookVerdict::NotApplicable;
    }
    let outcome = match test(arguments, request, memory.as_ref(), interrupt).await {
        Ok(outcome) => outcome,
        Err(failure) => HookVerdict::Unknown(failed(&failure)).into(),
    };
    let is_silent = outcome.verdict == HookVerdict::NotApplicable;
    let Some(memory) = memory else {
        // A failure that cannot be remembered must not block for ever.
        request.already_blocked = is_remembered;
        return outcome.verdict;
    };
    if !is_silent && !memory.answer() {
        return HookVerdict::NotApplicable;
    }
    if request.event == HookEvent::TurnEnd {
        // An agent that fixed one thing and broke another is not done: only the same failure is let through.
        match &outcome.verdict {
            HookVerdict::Fail(_) => {
                // A stranger that a hook has held up before was known by another name then, and may change it again.
                let is_renamed = memory.is_new && request.was_continued;
                request.already_blocked = memory.has_blocked(&outcome.failure_key) || is_renamed;
            }
            HookVerdict::Pass(_) => memory.end_turn(true, false),
            HookVerdict::Pending(_) => memory.end_turn(false, true),
            HookVerdict::Before(_) | HookVerdict::Unknown(_) | HookVerdict::NotApplicable => {
                memory.end_turn(false, false);
            }
        }
        if row(arguments.agent).prompt.is_none() {
            // Nobody tells when the next turn begins: it does where this one has ended.
            memory.begin_turn(|| git.snapshot(tree.as_deref()?).ok());
        }
    }
    outcome.verdict
}

/// A failure of the hook itself, as a report: it may quote untrusted text.
fn failed(failure: &Failure) -> String {
    let mut report = Report::new("", SystemTime::now());
    failure.decide(&mut report);
    match nonce() {
        Ok(nonce) => report_message(&report, "", None, &nonce),
        Err(_) => "nixbox: could not tell: no random numbers on this host\n".to_owned(),
    }
}

/// The response to a payload that is not valid or cannot be read.
fn cannot_tell(agent: Agent, why: &str) -> HookResponse {
    let request = HookRequest { event: HookEvent::TurnEnd, ..HookRequest::default() };
    let text = format!("nixbox: could not tell (nothing is blocked): {}\n", escape_line(why));
    contract::respond(agent, &request, &HookVerdict::Unknown(bounded(&text, LIMIT)))
}

/// Tests what the request is about.
async fn test(
    arguments: &HookArgs,
    request: &HookRequest,
    memory: Option<&Memory>,
    interrupt: &Interrupt,
) -> Result<HookOutcome> {
    let nix = Nix::new(arguments.nix.clone());
    let git = Git { directory: nix.here().to_owned() };
    let targets = targets(arguments, &nix, request.directory.as_deref().unwrap_or(nix.here()))?;
    match &request.event {
        HookEvent::Other | HookEvent::Prompt => Ok(HookVerdict::NotApplicable.into()),
        HookEvent::Edit => after_an_edit(arguments, &targets, request, &nix, interrupt).await,
        HookEvent::TurnEnd => {
            let (before, is_pending) = memory.map(Memory::turn).unwrap_or_default();
            // Whatever edited a file, or nothing did: a matcher never sees a shell.
            if let Some(before) = before.as_deref().filter(|_| !is_pending)
                && targets.iter().all(|target| is_in(target, &git))
                && git.tree(before).is_some_and(|tree| git.work_tree().is_ok_and(|now| now == tree))
            {
                return Ok(HookVerdict::NotApplicable.into());
            }
            test_all(arguments, in_work_tree(&targets, before.as_deref(), &git), interrupt).await
        }
        HookEvent::Commit => {
            let commit = git.index()?;
            test_all(arguments, at_commits(&targets, &[commit], &git, true)?, interrupt).await
        }
        HookEvent::Push(commits) => test_all(arguments, at_commits(&targets, commits, &git, false)?, interrupt).await,
    }
}

/// Whether a target is in the repository of this directory.
fn is_in(target: &HookTarget, git: &Git) -> bool {
    let root = target.flake.as_ref().and_then(|flake| flake.git_root.as_deref());
    root.is_some_and(|root| Some(root) == git_root(&git.directory).as_deref())
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
    // Those that the files are in, else all: the turn's end tests all.
    let holds = |target: &&HookTarget| {
        let directory = target.flake.as_ref().and_then(|flake| flake.dir.as_deref());
        directory.is_some_and(|dir| request.files.iter().any(|file| nix.here().join(file).starts_with(dir)))
    };
    let is_near = targets.iter().any(|target| holds(&target));
    for target in targets.iter().filter(|target| !is_near || target.is_named || holds(target)) {
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
            Ok(report) => outcome_of(&report, target, None)?,
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
