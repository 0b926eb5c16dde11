//! Which sessions there are, and which processes their users have.

use std::time::Duration;

use super::observation::{ProcessSeen, SessionSeen, Sessions};
use crate::desktop::unwrapped;
use crate::guest::{Error, Guest};
use crate::text::bounded;

/// Most bytes that the guest's shell answers.
const ANSWER: usize = 4 << 20;
/// The first number of a user who is no system's (login.defs(5), `UID_MIN`).
const FIRST_UID: u32 = 1000;
/// Two processes for all: under TCG a fork costs more than reading all of it.
const SCRIPT: &str = "( cd /proc || exit 1\n\
                      head -q -c 500 [0-9]*/stat 2>/dev/null\n\
                      echo; echo nixbox-cgroup; grep -H user.slice [0-9]*/cgroup 2>/dev/null\n\
                      : )";

/// Reads both.
///
/// # Errors
/// The guest could not be asked within `patience`.
pub(crate) async fn sessions(guest: &Guest, patience: Duration) -> Result<Sessions, Error> {
    let logind = guest.logind(patience).await?;
    let all = logind.sessions().await?;
    let sessions = all.into_iter().filter(|session| session.class == "user" && session.uid >= FIRST_UID);
    let sessions: Vec<SessionSeen> = sessions
        .map(|session| SessionSeen {
            id: session.id,
            user: session.user,
            uid: session.uid,
            kind: session.kind,
            state: session.state,
            leader: session.leader,
        })
        .collect();
    let output = guest.shell().ask(SCRIPT, patience, ANSWER).await?;
    let mut processes = parse(&String::from_utf8_lossy(&output.stdout));
    processes.retain(|process| sessions.iter().any(|session| session.uid == process.uid));
    Ok(Sessions { sessions, processes })
}

/// Reads what [`SCRIPT`] printed: the users' processes by their control groups.
fn parse(text: &str) -> Vec<ProcessSeen> {
    let (stats, groups) = text.split_once("nixbox-cgroup\n").unwrap_or((text, ""));
    let groups: std::collections::BTreeMap<u32, (u32, String)> = groups.lines().filter_map(group).collect();
    let process = |line: &str| {
        let (pid, name, started) = stat(line)?;
        let (uid, cgroup) = groups.get(&pid)?.clone();
        Some(ProcessSeen { pid, started, uid, name: unwrapped(&bounded(name, 64)), cgroup })
    };
    stats.lines().filter_map(process).collect()
}

/// A process, its name and when it began, of its `/proc/PID/stat` (proc_pid_stat(5)).
pub(super) fn stat(line: &str) -> Option<(u32, &str, u64)> {
    let (pid, rest) = line.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    // The 22nd field, of which 3 are behind the name.
    Some((pid.trim().parse().ok()?, name, rest.split_whitespace().nth(19)?.parse().ok()?))
}

/// A process, its user and its control group, of `PID/cgroup:0::GROUP`; none where it is no user's.
pub(super) fn group(line: &str) -> Option<(u32, (u32, String))> {
    let (path, group) = line.split_once(':')?;
    let group = group.rsplit_once(':')?.1;
    let uid = group.strip_prefix("/user.slice/user-")?.split_once('.')?.0.parse().ok()?;
    Some((path.split('/').next()?.parse::<u32>().ok()?, (uid, bounded(group, 256))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_of_users() {
        let stat = |pid: u32, name: &str, started: u64| {
            format!("{pid} ({name}) S 1 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 {started} 1 1\n")
        };
        let text = format!(
            "{}{}{}\nnixbox-cgroup\n700/cgroup:0::/user.slice/user-1000.slice/session-2.scope\n\
             701/cgroup:0::/user.slice/user-1000.slice/user@1000.service/session.slice/pipewire.service\n",
            stat(1, "systemd", 0),
            stat(700, "sway (x) y", 1234),
            stat(701, "pipewire", 1300)
        );
        let read = parse(&text);
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].pid, read[0].started, read[0].uid, read[0].name.as_str()), (700, 1234, 1000, "sway (x) y"));
        assert!(read[1].cgroup.ends_with("pipewire.service"));
    }
}
