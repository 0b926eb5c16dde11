//! git: githooks(5), <https://git-scm.com/docs/githooks>.
//!
//! `pre-commit` gets nothing on stdin: what is about to be committed is the index. `pre-push` gets a line for each ref,
//! `<local ref> <local object> <remote ref> <remote object>`; one that is to be deleted has the local object 0000…. An
//! exit code other than 0 stops the commit or push, and stderr is shown. What was written into the repository's hooks
//! lets through every exit code but 1, so that a nixbox that is missing or broken holds up nothing.

use super::{Answer, Asked, Moment, Spoken};

pub(super) fn read(event: Option<&str>, stdin: &str) -> Result<Asked, String> {
    let moment = match event {
        Some("pre-commit") => Moment::Commit,
        Some("pre-push") => {
            let objects = pushed(stdin)?;
            // Nothing but deletions.
            if objects.is_empty() { Moment::Other } else { Moment::Push(objects) }
        }
        Some(other) => return Err(format!("{other:?} is no hook that nixbox knows: pre-commit or pre-push")),
        None => return Err("which hook? `nixbox hook git pre-commit` or `nixbox hook git pre-push`".to_owned()),
    };
    Ok(Asked { moment, directory: None, files: Vec::new(), again: false })
}

/// The objects that are about to be pushed, each once. An annotated tag is its own object, not its commit.
fn pushed(stdin: &str) -> Result<Vec<String>, String> {
    let mut objects = Vec::new();
    for line in stdin.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, object, _, _] = words[..] else {
            return Err(format!(
                "{:?} is no line of pre-push: four words were expected",
                crate::text::bounded(line, 80)
            ));
        };
        if !matches!(object.len(), 40 | 64) || !object.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("{:?} is no full object name", crate::text::bounded(object, 80)));
        }
        if object.bytes().any(|byte| byte != b'0') && !objects.iter().any(|known| known == object) {
            objects.push(object.to_owned());
        }
    }
    Ok(objects)
}

pub(super) fn speak(answer: Answer<'_>) -> Spoken {
    match answer {
        Answer::Silence => Spoken::default(),
        Answer::Note(text) | Answer::Tell(text) => {
            Spoken { stderr: format!("{}\n", text.trim_end()), ..Spoken::default() }
        }
        Answer::Block(text) => Spoken { stderr: format!("{}\n", text.trim_end()), exit: 1, ..Spoken::default() },
    }
}
