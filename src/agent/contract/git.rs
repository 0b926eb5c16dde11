//! git: githooks(5), <https://git-scm.com/docs/githooks>.
//!
//! `pre-commit` gets nothing on stdin: what is about to be committed is the index. `pre-push` gets a line for each ref,
//! `<local ref> <local object> <remote ref> <remote object>`; one that is deleted has the local object 0000…. An
//! exit code other than 0 stops the commit or push, and stderr is shown. The scripts that `hook install` writes ignore
//! every answer but exit code 1 with a verdict, so that a missing or broken nixbox blocks nothing.

use anyhow::bail;

use super::HookReaction;
use crate::agent::{HookEvent, HookRequest, HookResponse};

pub(super) fn read(event: Option<&str>, stdin: &str) -> anyhow::Result<HookRequest> {
    let hook_event = match event {
        Some("pre-commit") => HookEvent::Commit,
        Some("pre-push") => {
            let objects = pushed(stdin)?;
            // Only deletions.
            if objects.is_empty() { HookEvent::Other } else { HookEvent::Push(objects) }
        }
        Some(other) => bail!("unknown git hook {other:?}: expected pre-commit or pre-push"),
        None => {
            bail!("the git hook is missing: `nixbox hook git pre-commit` or `nixbox hook git pre-push`");
        }
    };
    Ok(HookRequest { event: hook_event, ..HookRequest::default() })
}

/// The objects that are about to be pushed, each once. An annotated tag is its own object, not its commit.
fn pushed(stdin: &str) -> anyhow::Result<Vec<String>> {
    let mut objects = Vec::new();
    for line in stdin.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, object, _, _] = words[..] else {
            bail!("{:?} is not a pre-push line: expected four words", crate::text::bounded(line, 80));
        };
        if !matches!(object.len(), 40 | 64) || !object.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            bail!("{:?} is not a full object name", crate::text::bounded(object, 80));
        }
        if object.bytes().any(|byte| byte != b'0') && !objects.iter().any(|known| known == object) {
            objects.push(object.to_owned());
        }
    }
    Ok(objects)
}

pub(super) fn respond(reaction: HookReaction<'_>) -> HookResponse {
    match reaction {
        HookReaction::Silent => HookResponse::default(),
        HookReaction::NotifyUser(text) | HookReaction::InformAgent(text) => {
            HookResponse { stderr: format!("{}\n", text.trim_end()), ..HookResponse::default() }
        }
        HookReaction::Block(text) => {
            HookResponse { stderr: format!("{}\n", text.trim_end()), exit: 1, ..HookResponse::default() }
        }
    }
}
