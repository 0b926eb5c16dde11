//! What each agent sends to a hook and how it reads the answer. Pure.
//!
//! What should happen is decided once for all of them (`HookReaction`); the agent's row in [`super::table`] says in which
//! words it is written. So the rule holds everywhere: a broken hook or host never blocks, a broken configuration blocks
//! wherever that agent lets a hook block.
//!
//! **It never loops for ever.** A cause holds a session up once, by our own memory ([`HookRequest::already_blocked`]):
//! after that it is only shown to the user. An agent that fixed one thing and broke another is not done, eight times at
//! most.

mod answer;
mod generic;
mod git;
mod payload;

use std::path::PathBuf;

use super::table::{Family, HookEffect, ROWS, row};
use super::{Agent, HookEvent, HookRequest, HookResponse, HookVerdict};

/// The reason where none is known: agents refuse a block without one.
const DEFAULT_REASON: &str = "the configuration is broken; run `nixbox try` for the cause";

/// Whether a call has a payload on stdin. Where it has none, stdin is its caller's, and may stay open.
pub fn has_payload(agent: Agent, event: Option<&str>) -> bool {
    match row(agent).family {
        Family::Generic => event == Some("edit"),
        Family::Git => event == Some("pre-push"),
        _ => true,
    }
}

/// Reads a hook's payload. `event` is the word after the agent's name on the command line, for agents whose payload does
/// not name the event.
///
/// # Errors
/// What is wrong with the payload, as a fragment. The caller reports it and blocks nothing.
pub fn read(agent: Agent, event: Option<&str>, stdin: &str) -> anyhow::Result<HookRequest> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    match row(agent).family {
        Family::Generic => generic::read(event, stdin),
        Family::Git => git::read(event, stdin),
        _ => payload::read(row(agent), event, stdin, &variable),
    }
}

/// The answer to a request, by the agent's contract.
pub fn respond(agent: Agent, request: &HookRequest, verdict: &HookVerdict) -> HookResponse {
    let reaction = HookReaction::to(request, verdict);
    match row(agent).family {
        Family::Generic => generic::respond(reaction),
        Family::Git => git::respond(reaction),
        _ => answer::respond(row(agent), request, reaction),
    }
}

/// What should happen, whatever the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HookReaction<'a> {
    /// Nothing happens.
    Silent,
    /// The user is informed. Blocks nothing.
    NotifyUser(&'a str),
    /// The agent is informed, about an edit that stays. Blocks nothing.
    InformAgent(&'a str),
    /// The agent has to continue, for this reason.
    Block(&'a str),
}

impl<'a> HookReaction<'a> {
    /// The one place that decides what blocks.
    fn to(request: &HookRequest, verdict: &'a HookVerdict) -> Self {
        match (verdict, &request.event) {
            (HookVerdict::NotApplicable, _) | (_, HookEvent::Other | HookEvent::Prompt) => Self::Silent,
            // An edit after which everything still evaluates needs no attention.
            (HookVerdict::Pass(_), HookEvent::Edit) => Self::Silent,
            (
                HookVerdict::Pass(text)
                | HookVerdict::Unknown(text)
                | HookVerdict::Pending(text)
                | HookVerdict::Before(text),
                _,
            ) => Self::NotifyUser(text),
            (HookVerdict::Fail(text), HookEvent::Edit) => Self::InformAgent(or_default(text)),
            (HookVerdict::Fail(text), _) if request.already_blocked => Self::NotifyUser(or_default(text)),
            (HookVerdict::Fail(text), _) => Self::Block(or_default(text)),
        }
    }
}

fn or_default(text: &str) -> &str {
    if text.trim().is_empty() { DEFAULT_REASON } else { text }
}

/// The effect of a broken configuration.
pub(super) fn effect(agent: Agent, event: &HookEvent) -> HookEffect {
    let row = row(agent);
    match (row.family, event) {
        (_, HookEvent::Other | HookEvent::Prompt) => HookEffect::Never,
        (Family::Git, HookEvent::Commit | HookEvent::Push(_)) => HookEffect::Blocks,
        (Family::Git, _) | (_, HookEvent::Commit | HookEvent::Push(_)) => HookEffect::Never,
        (Family::Generic, _) => HookEffect::ExitCode,
        (_, HookEvent::Edit) if row.edit.is_none() => HookEffect::Never,
        (_, HookEvent::Edit) => HookEffect::Informs,
        (_, HookEvent::TurnEnd) => row.at_turn_end,
    }
}

/// The effect for each agent and event: the README's table.
pub fn table() -> String {
    let mut table = "| agent | after an edit | at a turn's end | before a commit or push | seen with |\n\
                     | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for row in &ROWS {
        let cells =
            [HookEvent::Edit, HookEvent::TurnEnd, HookEvent::Commit].map(|event| effect(row.agent, &event).to_string());
        table.push_str(&format!("| {} | {} | {} |\n", row.name(), cells.join(" | "), row.seen));
    }
    table
}

#[cfg(test)]
mod tests;
