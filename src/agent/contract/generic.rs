//! Anything that can start a program and read its exit code: our own contract.
//!
//! `nixbox hook generic` is a turn's end, `nixbox hook generic edit` an edit, for which stdin may name the files, one
//! per line; otherwise stdin is not read. The exit code is 1 where the configuration is broken, with the cause on stdout,
//! and 0 otherwise; that there is no verdict is a message on stderr. For nixbox's own exit codes call `nixbox try`.

use std::path::PathBuf;

use anyhow::bail;

use super::HookReaction;
use crate::agent::{HookEvent, HookRequest, HookResponse};

pub(super) fn read(event: Option<&str>, stdin: &str) -> anyhow::Result<HookRequest> {
    let (event, files) = match event {
        None | Some("turn-end" | "stop") => (HookEvent::TurnEnd, Vec::new()),
        Some("edit") => {
            let files = stdin.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains('\0'));
            (HookEvent::Edit, files.map(PathBuf::from).collect())
        }
        Some(other) => bail!("unknown event {other:?}: expected edit or turn-end (the default)"),
    };
    Ok(HookRequest { event, files, ..HookRequest::default() })
}

pub(super) fn respond(reaction: HookReaction<'_>) -> HookResponse {
    match reaction {
        HookReaction::Silent => HookResponse::default(),
        HookReaction::NotifyUser(text) => {
            HookResponse { stderr: format!("{}\n", text.trim_end()), ..HookResponse::default() }
        }
        HookReaction::InformAgent(text) | HookReaction::Block(text) => {
            HookResponse { stdout: format!("{text}\n"), exit: 1, ..HookResponse::default() }
        }
    }
}
