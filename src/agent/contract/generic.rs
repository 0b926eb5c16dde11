//! Whatever can start a program and read its exit code: our own contract.
//!
//! `nixbox hook generic` is a turn's end, `nixbox hook generic edit` an edit, for which stdin may name the files, a
//! line each; else stdin may be anything. It ends with 1 where the configuration is broken, with the cause on stdout,
//! and with 0 otherwise: what could not be told is a word on stderr. Who wants nixbox's own exit codes calls `nixbox
//! try`.

use std::path::PathBuf;

use super::{Answer, Asked, Moment, Spoken};

pub(super) fn read(event: Option<&str>, stdin: &str) -> Result<Asked, String> {
    let (moment, files) = match event {
        None | Some("turn-end" | "stop") => (Moment::TurnEnd, Vec::new()),
        Some("edit") => {
            let files = stdin.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains('\0'));
            (Moment::Edit, files.map(PathBuf::from).collect())
        }
        Some(other) => return Err(format!("{other:?} is no event: edit, or turn-end (which is also the default)")),
    };
    Ok(Asked { moment, directory: None, files, again: false })
}

pub(super) fn speak(answer: Answer<'_>) -> Spoken {
    match answer {
        Answer::Silence => Spoken::default(),
        Answer::Note(text) => Spoken { stderr: format!("{}\n", text.trim_end()), ..Spoken::default() },
        Answer::Tell(text) | Answer::Block(text) => {
            Spoken { stdout: format!("{text}\n"), exit: 1, ..Spoken::default() }
        }
    }
}
