//! Which process the agent is, and when it ends: the runs that its hooks started end with it.

use crate::machine::identity::ProcessIdentity;
use crate::model::timeouts::agent::PARENT_INTERVAL;

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

    #[test]
    fn there_is_always_a_parent() {
        let agent = agent();
        assert!(agent > 1 && ProcessIdentity::of(agent).is_alive());
    }
}
