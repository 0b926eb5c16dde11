//! Asking the guest for what a desktop is made of: processes, the journal, the text on its terminals.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::facts::DesktopProcess;
use super::{display_managers, lockers};
use crate::guest::cpu_time::TICK_US;
use crate::guest::facts::JournalLine;
use crate::guest::{Error, Guest, journal};
use crate::text::bounded;

/// Most processes that are kept.
const MAX_PROCESSES: usize = 400;
/// Most bytes that the guest's shell answers.
const ANSWER: usize = 8 << 20;
/// Most lines of the journal that are read.
const JOURNAL_LINES: usize = 4000;
/// Most names of graphics cards that are kept.
const MAX_CARDS: usize = 64;
/// Most lines of a terminal that are kept.
const TERMINAL_LINES: usize = 20;

/// Processes that a desktop is made of, at one time.
#[derive(Debug)]
pub(super) struct Processes {
    /// The active virtual terminal; 0 where there is none.
    pub(super) vt: u32,
    /// `CLOCK_MONOTONIC` in the guest, in µs.
    pub(super) now_us: u64,
    pub(super) processes: Vec<DesktopProcess>,
}

/// Reads the processes.
///
/// # Errors
/// The guest could not be asked within `patience`.
pub(super) async fn processes(guest: &Guest, patience: Duration) -> Result<Processes, Error> {
    let output = guest.shell().ask(&script(), patience, ANSWER).await?;
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

/// Reads the journal of logind, the display managers and these users' processes, oldest line first.
///
/// # Errors
/// The guest could not be asked within `patience`.
pub(super) async fn journal(
    guest: &Guest,
    uids: &BTreeSet<u32>,
    patience: Duration,
) -> Result<Vec<JournalLine>, Error> {
    let units: Vec<&str> = display_managers::units().collect();
    // The terminals are read by themselves.
    let logging: Vec<&str> = units.iter().copied().filter(|unit| *unit != "greetd.service").collect();
    let (lines, files) = tokio::join!(read_journal(guest, &units, uids, patience), guest.log_files(&logging, patience));
    let mut lines = lines?;
    let last_us = lines.last().map_or(0, |line| line.at_us);
    lines.extend(files.into_iter().map(|line| JournalLine { at_us: last_us, ..line }));
    Ok(lines)
}

/// Reads the journal of one user's processes, oldest line first.
///
/// # Errors
/// The guest could not be asked within `patience`.
pub(super) async fn user_journal(guest: &Guest, uid: u32, patience: Duration) -> Result<Vec<JournalLine>, Error> {
    read_journal(guest, &[], &BTreeSet::from([uid]), patience).await
}

async fn read_journal(
    guest: &Guest,
    units: &[&str],
    uids: &BTreeSet<u32>,
    patience: Duration,
) -> Result<Vec<JournalLine>, Error> {
    let uids: Vec<u32> = uids.iter().copied().collect();
    let output = guest.shell().ask(&journal::desktop_command(units, &uids, JOURNAL_LINES), patience, ANSWER).await?;
    Ok(journal::parse(&String::from_utf8_lossy(&output.stdout)))
}

/// Reads the last lines of text on a virtual terminal: what is written there is in no journal.
///
/// # Errors
/// The guest could not be asked within `patience`.
pub(super) async fn terminal_text(guest: &Guest, vt: u32, patience: Duration) -> Result<Vec<String>, Error> {
    let output = guest.shell().ask(&format!("head -c 65536 /dev/vcsa{vt}"), patience, 1 << 17).await?;
    Ok(terminal(&output.stdout))
}

/// Reads the paths of the graphics cards, by each of their names.
///
/// # Errors
/// The guest could not be asked within `patience`.
pub(super) async fn cards(guest: &Guest, patience: Duration) -> Result<Vec<String>, Error> {
    let output = guest.shell().ask(CARDS, patience, 1 << 16).await?;
    Ok(paths(&String::from_utf8_lossy(&output.stdout)))
}

/// Reads which lockers are installed, and the names of the PAM services.
///
/// # Errors
/// The guest could not be asked within `patience`.
pub(super) async fn lockers(guest: &Guest, patience: Duration) -> Result<(Vec<String>, Vec<String>), Error> {
    let output = guest.shell().ask(&lockers::script(), patience, 1 << 17).await?;
    Ok(lockers::parse(&String::from_utf8_lossy(&output.stdout)))
}

/// Prints what there is below `/dev/dri`. It forks nothing.
const CARDS: &str =
    "for card in /dev/dri/* /dev/dri/by-path/*; do [ -c \"$card\" ] && printf '%s\\n' \"$card\"; done; :";

/// The lines of a script that prints paths.
fn paths(text: &str) -> Vec<String> {
    text.lines().filter(|line| line.starts_with('/')).take(MAX_CARDS).map(|line| bounded(line, 256)).collect()
}

/// Without NixOS's wrapping: `.sway-wrapped` is `sway`; the kernel keeps 15 bytes of a name.
pub(crate) fn unwrapped(name: &str) -> String {
    let Some(inner) = name.strip_prefix('.') else { return name.to_owned() };
    let end = (1..="-wrapped".len()).rev().find(|length| inner.ends_with(&"-wrapped"[..*length]));
    inner[..inner.len() - end.unwrap_or(0)].trim_end_matches('_').to_owned()
}

/// Reads `/proc`. One process a part: under TCG a fork costs more than reading all of it.
fn script() -> String {
    "( cd /proc || exit 1\n\
     cat /sys/class/tty/tty0/active 2>/dev/null || echo\n\
     echo nixbox-uptime; cat uptime\n\
     echo nixbox-status; head -v -c 500 [0-9]*/status 2>/dev/null\n\
     echo; echo nixbox-stat; head -q -c 500 [0-9]*/stat 2>/dev/null\n\
     echo nixbox-cgroup; head -v -c 500 [0-9]*/cgroup 2>/dev/null\n\
     echo; echo nixbox-command; head -v -c 300 [0-9]*/cmdline 2>/dev/null | tr '\\0' ' '\n\
     echo; echo nixbox-environ; grep -a -z -H -E '^(DISPLAY|WAYLAND_DISPLAY|XAUTHORITY|XDG_CURRENT_DESKTOP)=' [0-9]*/environ 2>/dev/null | tr '\\0' '\\n'\n\
     echo nixbox-links; stat -c %N [0-9]*/fd/* 2>/dev/null | grep -E 'socket:|/dev/dri/card|/dev/input/event'\n\
     echo nixbox-unix; grep -E '/wayland-[0-9]+$|/tmp/.X11-unix/X[0-9]+$' net/unix\n\
     : )"
        .to_owned()
}

/// The number that a path below `/proc` begins with.
fn pid_of(path: &str) -> Option<u32> {
    path.split('/').next()?.parse().ok()
}

/// The parts that `head -v` printed, by process.
fn by_process(text: &str) -> impl Iterator<Item = (u32, &str)> {
    text.split("==> ").filter_map(|part| {
        let (path, rest) = part.split_once(" <==\n")?;
        Some((pid_of(path)?, rest))
    })
}

/// Reads what [`script`] printed.
fn parse(text: &str) -> Processes {
    let (active, rest) = split(text, "nixbox-uptime\n");
    let (uptime, rest) = split(rest, "nixbox-status\n");
    let (status, rest) = split(rest, "\nnixbox-stat\n");
    let (stat, rest) = split(rest, "nixbox-cgroup\n");
    let (cgroups, rest) = split(rest, "\nnixbox-command\n");
    let (commands, rest) = split(rest, "\nnixbox-environ\n");
    let (environ, rest) = split(rest, "nixbox-links\n");
    let (links, unix) = split(rest, "nixbox-unix\n");

    let mut all: BTreeMap<u32, DesktopProcess> =
        by_process(status).map(|(pid, text)| (pid, of_status(pid, text))).collect();
    for line in stat.lines() {
        // The name may hold anything, a closing bracket too.
        let Some((head, tail)) = line.rsplit_once(')') else { continue };
        let pid = head.split(' ').next().and_then(|pid| pid.parse::<u32>().ok());
        let began = tail.split_ascii_whitespace().nth(19).and_then(|ticks| ticks.parse::<u64>().ok());
        if let (Some(process), Some(began)) = (pid.and_then(|pid| all.get_mut(&pid)), began) {
            process.since_us = began.saturating_mul(TICK_US);
        }
    }
    for (pid, text) in by_process(cgroups) {
        if let Some(process) = all.get_mut(&pid) {
            process.cgroup = bounded(text.lines().next().unwrap_or_default().trim_start_matches("0::"), 256);
        }
    }
    for (pid, text) in by_process(commands) {
        if let Some(process) = all.get_mut(&pid) {
            process.command = bounded(text.trim(), 300);
        }
    }
    for line in environ.lines() {
        let Some((path, variable)) = line.split_once(':') else { continue };
        if let Some(process) = pid_of(path).and_then(|pid| all.get_mut(&pid))
            && process.environment.len() < 8
        {
            process.environment.push(bounded(variable, 256));
        }
    }
    read_links(&mut all, links, &listeners(unix));
    let seconds: f64 = uptime.split_ascii_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    Processes {
        vt: active.trim().strip_prefix("tty").and_then(|number| number.parse().ok()).unwrap_or(0),
        now_us: (seconds * 1e6) as u64,
        processes: all.into_values().filter(is_of_desktop).take(MAX_PROCESSES).collect(),
    }
}

fn split<'a>(text: &'a str, mark: &str) -> (&'a str, &'a str) {
    text.split_once(mark).unwrap_or((text, ""))
}

/// A process by its `/proc/PID/status`.
fn of_status(pid: u32, text: &str) -> DesktopProcess {
    let field = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default().trim()
    };
    let uid = field("Uid").split_ascii_whitespace().nth(1).and_then(|uid| uid.parse().ok());
    DesktopProcess {
        pid,
        name: unwrapped(&bounded(field("Name"), 64)),
        state: field("State").chars().take(1).collect(),
        parent: field("PPid").parse().unwrap_or(0),
        uid: uid.unwrap_or(u32::MAX),
        ..DesktopProcess::default()
    }
}

/// Displays that a process listens on, by inode; 0x10000 is __SO_ACCEPTCON (include/linux/net.h).
fn listeners(unix: &str) -> BTreeMap<&str, &str> {
    unix.lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let [_, _, _, flags, _, _, inode, path] = fields[..] else { return None };
            (flags == "00010000").then_some((inode, path))
        })
        .collect()
}

/// What the processes have open: cards, input devices, displays that they serve.
fn read_links(all: &mut BTreeMap<u32, DesktopProcess>, links: &str, listeners: &BTreeMap<&str, &str>) {
    for line in links.lines() {
        let Some((path, to)) = line.split_once("' -> '") else { continue };
        let Some(process) = pid_of(path.trim_start_matches('\'')).and_then(|pid| all.get_mut(&pid)) else { continue };
        let to = to.trim_end_matches('\'');
        process.has_card |= to.starts_with("/dev/dri/card");
        process.has_input |= to.starts_with("/dev/input/event");
        let inode = to.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        if let Some(path) = inode.and_then(|inode| listeners.get(inode))
            && !process.serves.iter().any(|known| known == path)
            && process.serves.len() < 8
        {
            process.serves.push(bounded(path, 128));
        }
    }
}

/// Whether a process has to do with a screen, or is a normal user's.
fn is_of_desktop(process: &DesktopProcess) -> bool {
    process.has_card
        || !process.serves.is_empty()
        || process.cgroup.contains("/user.slice/") && process.uid != 0
        || process.cgroup.contains("/session-")
        || (1000..60000).contains(&process.uid)
}

/// A virtual terminal's text from its `/dev/vcsa`: lines, columns, the cursor's place, then a character and its
/// attribute each (vcs(4)).
fn terminal(bytes: &[u8]) -> Vec<String> {
    let [_, columns, _, _, cells @ ..] = bytes else { return Vec::new() };
    if *columns == 0 {
        return Vec::new();
    }
    let text: Vec<u8> = cells.iter().step_by(2).copied().collect();
    let lines = text.chunks(usize::from(*columns)).map(|line| String::from_utf8_lossy(line).trim_end().to_owned());
    let lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(TERMINAL_LINES)..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping_is_taken_off() {
        for (name, inner) in [
            (".sway-wrapped", "sway"),
            (".Hyprland-wrapp", "Hyprland"),
            ("sway", "sway"),
            (".gnome-shell-wr", "gnome-shell"),
        ] {
            assert_eq!(unwrapped(name), inner);
        }
    }

    #[test]
    fn processes_are_read() {
        let text = "tty2\nnixbox-uptime\n61.50 3\nnixbox-status\n==> 1/status <==\nName:\tsystemd\nState:\tS (sleeping)\nPPid:\t0\nUid:\t0\t0\t0\t0\n\n\
            ==> 812/status <==\nName:\t.sway-wrapped\nState:\tT (stopped)\nPPid:\t800\nUid:\t1000\t1000\t1000\t1000\n\nnixbox-stat\n\
            1 (systemd) S 0 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 5 1\n812 (a) b) T 1 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 1234 1\n\
            nixbox-cgroup\n==> 812/cgroup <==\n0::/user.slice/user-1000.slice/session-1.scope\n\nnixbox-command\n==> 812/cmdline <==\nsway --debug \n\
            nixbox-environ\n812/environ:DISPLAY=:0\nnixbox-links\n'812/fd/3' -> '/dev/dri/card0'\n'812/fd/9' -> 'socket:[55]'\n\
            nixbox-unix\n0000: 00000002 00000000 00010000 0001 01 55 /run/user/1000/wayland-1\n";
        let Processes { vt, now_us, processes } = parse(text);
        assert_eq!((vt, now_us), (2, 61_500_000));
        let [sway] = &processes[..] else { panic!("{processes:?}") };
        assert_eq!((sway.name.as_str(), sway.state.as_str(), sway.uid, sway.since_us), ("sway", "T", 1000, 12_340_000));
        assert_eq!(
            (sway.wayland_display(), sway.variable("DISPLAY"), sway.has_card),
            (Some("wayland-1"), Some(":0"), true)
        );
        assert!(sway.cgroup.ends_with("session-1.scope") && sway.command.starts_with("sway"));
    }

    #[test]
    fn the_script_works_on_this_machine() {
        let output = std::process::Command::new("/bin/sh").args(["-c", &script()]).output().unwrap();
        assert!(parse(&String::from_utf8_lossy(&output.stdout)).now_us > 0);
    }

    #[test]
    fn cards_are_read_on_this_machine() {
        let output = std::process::Command::new("/bin/sh").args(["-c", CARDS]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let found = paths(&String::from_utf8_lossy(&output.stdout));
        assert!(found.iter().all(|path| path.starts_with("/dev/dri/") && !path.contains('*')), "{found:?}");
        assert_eq!(paths("/dev/dri/card0\nsh: no\n/dev/dri/renderD128\n"), ["/dev/dri/card0", "/dev/dri/renderD128"]);
    }

    #[test]
    fn a_terminal_is_read() {
        let cells: Vec<u8> = "ab  cd  ".bytes().flat_map(|byte| [byte, 7]).collect();
        assert_eq!(terminal(&[vec![2, 4, 0, 0], cells].concat()), ["ab", "cd"]);
        assert!(terminal(&[]).is_empty() && terminal(&[1, 0, 0, 0, 65]).is_empty());
    }
}
