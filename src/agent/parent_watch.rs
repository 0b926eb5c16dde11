//! Which process the agent is, and when it ends: the runs that its hooks started end with it.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::AsFd as _;
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::machine::identity::ProcessIdentity;
use crate::model::timeouts::agent::{PARENT_INTERVAL, READER_INTERVAL};

/// Programs through which agents start their hooks.
const LAUNCHERS: [&str; 9] = ["sh", "bash", "dash", "ash", "zsh", "fish", "busybox", "env", "nix"];

/// The pid of the agent: the nearest ancestor that is not a shell. If all are shells, the topmost.
pub fn agent() -> u32 {
    let parent = nix::unistd::getppid().as_raw().unsigned_abs();
    let mut at = parent;
    for _ in 0..16 {
        let Some(name) = name_of(at) else { break };
        if !LAUNCHERS.contains(&name.as_str()) {
            return at;
        }
        match parent_of(at) {
            Some(above) if above > 1 => at = above,
            _ => break,
        }
    }
    at
}

/// Waits until this process has ended.
pub async fn gone(pid: u32) {
    let process = ProcessIdentity::of(pid);
    while process.is_alive() {
        tokio::time::sleep(PARENT_INTERVAL).await;
    }
}

/// Waits until the hook that started this run has ended without leave: its end of our stdin is closed.
pub async fn hook_gone() {
    // A thread of its own, which does not delay the end of the runtime.
    let read = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]));
    if matches!(read.await, Ok(Ok(1))) {
        std::future::pending::<()>().await;
    }
}

/// Waits until nobody reads our stdout any more: an agent whose turn was stopped closes it, or ends, even where the
/// process that started us goes on.
pub async fn unread() {
    loop {
        tokio::time::sleep(READER_INTERVAL).await;
        let stdout = std::io::stdout();
        let mut files = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        let ended = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
        if poll(&mut files, PollTimeout::ZERO).is_ok_and(|count| count > 0)
            && files[0].revents().is_some_and(|events| events.intersects(ended))
        {
            return;
        }
    }
}

/// Waits until an agent writes down that its turn was stopped. Codex runs hooks in a server that outlives its terminals:
/// its session's file, as 0.171.0 writes it, is what tells of a turn's end there. Never, without a file.
pub async fn aborted(transcript: Option<&Path>) {
    const WORDS: &[u8] = br#""type":"turn_aborted""#;
    let size = || transcript.and_then(|path| Some(std::fs::metadata(path).ok()?.len()));
    let Some(mut from) = size() else { return std::future::pending().await };
    loop {
        tokio::time::sleep(PARENT_INTERVAL).await;
        let Some(to) = size().filter(|to| *to > from) else { continue };
        if transcript.is_some_and(|path| part(path, from).is_ok_and(|text| has(&text, WORDS))) {
            return;
        }
        // A line that is not whole yet is read again.
        from = to.saturating_sub(WORDS.len() as u64).max(from);
    }
}

/// What a file has from here on.
fn part(path: &Path, from: u64) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut text = Vec::new();
    file.take(1 << 20).read_to_end(&mut text)?;
    Ok(text)
}

fn has(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|window| window == words)
}

/// A process's program, where the system reports it.
fn name_of(pid: u32) -> Option<String> {
    // That of a login shell begins with a dash.
    Some(std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().trim_start_matches('-').to_owned())
}

#[cfg(target_os = "linux")]
fn parent_of(pid: u32) -> Option<u32> {
    u32::try_from(crate::machine::process::parent(pid)?).ok()
}

#[cfg(not(target_os = "linux"))]
fn parent_of(_pid: u32) -> Option<u32> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_end_of_a_process_is_noticed() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = child.id();
        let gone = gone(pid);
        tokio::pin!(gone);
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut gone).await.is_err());
        child.kill().unwrap();
        child.wait().unwrap();
        gone.await;
    }

    #[tokio::test]
    async fn a_turn_that_was_stopped_is_noticed() {
        use std::io::Write as _;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut write = |text: &str| file.write_all(text.as_bytes()).unwrap();
        // One of before is another turn's.
        write("{\"type\":\"event_msg\",\"payload\":{\"type\":\"turn_aborted\"}}\n");
        let path = file.path().to_owned();
        let aborted = aborted(Some(&path));
        tokio::pin!(aborted);
        let soon = std::time::Duration::from_millis(700);
        assert!(tokio::time::timeout(soon, &mut aborted).await.is_err());
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"type\":\"token_count\"}\n").unwrap();
        assert!(tokio::time::timeout(soon, &mut aborted).await.is_err());
        file.write_all(b"{\"payload\":{\"type\":\"turn_aborted\",\"reason\":\"interrupted\"}}\n").unwrap();
        aborted.await;
    }

    #[test]
    fn there_is_always_a_parent() {
        let agent = agent();
        assert!(agent > 1 && ProcessIdentity::of(agent).is_alive());
    }
}
