//! What a unit's state means: why it failed, what its root is, whether being inactive is right.

use std::sync::LazyLock;

use regex::Regex;

use super::{View, plan, sandbox, text};
use crate::guest::facts::{Facts, JournalLine, Unit};
use crate::model::CheckId;

/// Why a unit is in state `failed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FailureCause {
    /// Of its own accord.
    Own,
    /// The sandbox explains it, by this evidence.
    Sandbox(String),
    /// Because of this unit, which it requires.
    Because(String),
    /// Another check tells it.
    Told(CheckId),
}

/// A constant pattern.
#[expect(clippy::expect_used, reason = "constant patterns; a test compiles each")]
pub(crate) fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern")
}

pub(crate) fn is_active(unit: &Unit) -> bool {
    matches!(unit.active_state.as_str(), "active" | "reloading" | "refreshing")
}

pub(crate) fn is_failed(unit: &Unit) -> bool {
    unit.active_state == "failed"
}

/// `auto-restart`, and `auto-restart-queued` since systemd 254.
pub(crate) fn is_auto_restart(unit: &Unit) -> bool {
    unit.sub_state.starts_with("auto-restart")
}

/// Whether it was there and ended with success, or is a oneshot that did its work.
pub(crate) fn ended_well(unit: &Unit) -> bool {
    unit.active_state == "inactive" && unit.inactive_enter_us > 0 && matches!(unit.result.as_str(), "" | "success")
}

/// systemd refused to load it, for something in its text.
pub(crate) fn is_refused(unit: &Unit) -> bool {
    matches!(unit.load_state.as_str(), "bad-setting" | "error")
}

/// Whether something that is up asked for the unit to be started: a target that was not reached expects nothing
/// (`bluetooth.target`, `sleep.target`), nor does a device that is not there.
pub(super) fn is_called_for<'a>(facts: &Facts, wanted_by: impl IntoIterator<Item = &'a String>) -> bool {
    wanted_by.into_iter().any(|name| {
        let name = if name == "default.target" && !facts.manager.default_target.is_empty() {
            &facts.manager.default_target
        } else {
            name
        };
        facts.unit(name).is_some_and(|unit| is_active(unit) || unit.active_state == "activating" || ended_well(unit))
    })
}

/// Follows broken requirements to the first cause: a unit that failed by itself, or one that is not there.
pub(crate) fn root<'a>(facts: &'a Facts, name: &'a str) -> &'a str {
    let mut seen = vec![name];
    let mut here = name;
    loop {
        let Some(unit) = facts.unit(here) else { return here };
        let next = unit
            .broken_requirements
            .iter()
            .map(String::as_str)
            .filter(|next| !seen.contains(next))
            // A failed one explains more than one that is merely not there.
            .min_by_key(|next| match facts.unit(next) {
                Some(unit) if is_failed(unit) => 0,
                Some(unit) if !unit.broken_requirements.is_empty() => 1,
                Some(_) => 2,
                None => 3,
            });
        match next {
            Some(next) => {
                seen.push(next);
                here = next;
            }
            None => return here,
        }
    }
}

/// Why this unit, which is in state `failed`, is so.
pub(super) fn fault(view: &View<'_>, name: &str) -> FailureCause {
    let Some(unit) = view.unit(name) else { return FailureCause::Own };
    let first = root(view.now, name);
    if first != name {
        return match sandbox::excuse_of_root(view, first) {
            Some(why) => FailureCause::Sandbox(format!("needs {first}: {why}")),
            None => FailureCause::Because(first.to_owned()),
        };
    }
    let told = |id: CheckId| view.wants(id).then_some(FailureCause::Told(id));
    if unit.result == "oom-kill"
        && let Some(told) = told(CheckId::BootOom)
    {
        return told;
    }
    if is_tmpfiles(name)
        && let Some(told) = told(CheckId::BootTmpfiles)
    {
        return told;
    }
    if let Some(why) = sandbox::excuse(view, unit) {
        return FailureCause::Sandbox(why);
    }
    if is_firewall(name)
        && view.plan.expectations.firewall == Some(true)
        && let Some(told) = told(CheckId::NetworkPorts)
    {
        return told;
    }
    let timers = &view.plan.timers;
    if timers.iter().any(|timer| unit.triggered_by.contains(timer) || plan::service_of(timer) == name)
        && let Some(told) = told(CheckId::ServicesTimers)
    {
        return told;
    }
    FailureCause::Own
}

pub(super) fn is_tmpfiles(name: &str) -> bool {
    name.starts_with("systemd-tmpfiles-")
}

/// The services that NixOS's firewall modules make, and other distributions' names for them.
pub(super) fn is_firewall(name: &str) -> bool {
    matches!(
        name,
        "firewall.service" | "nftables.service" | "iptables.service" | "ip6tables.service" | "firewalld.service"
    )
}

/// What the unit itself wrote, without its manager's words about it.
pub(crate) fn own_lines<'a>(journal: &'a [JournalLine], unit: &str) -> Vec<&'a JournalLine> {
    journal
        .iter()
        .filter(|line| line.unit == unit && line.pid != 1 && line.identifier != "systemd")
        .filter(|line| !line.message.trim().is_empty())
        .collect()
}

/// The unit's last lines, PID 1's about it among them, fit to be shown.
pub(crate) fn tail(facts: &Facts, unit: &str, most: usize) -> Vec<String> {
    facts.journal_of(unit, most).into_iter().map(text::journal).collect()
}

static TELLS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)error|fail|fatal|panic|cannot|can't|could not|couldn't|unable|denied|no such|not found|invalid|unknown|refused|unsupported|not supported|missing|must |exception",
    )
});

/// The line of the unit's own that tells most: the last that speaks of an error, else the last.
pub(crate) fn telling<'a>(journal: &'a [JournalLine], unit: &str) -> Option<&'a str> {
    let own = own_lines(journal, unit);
    let line = own.iter().rev().find(|line| TELLS.is_match(&line.message)).or(own.last())?;
    line.message.lines().next()
}

/// Whether PID 1 says it. Until the journal runs, PID 1 speaks into the kernel's log, where nobody's number is kept. Root
/// could write there in its name; a configuration has no reason to.
fn is_managers(line: &JournalLine) -> bool {
    line.pid == 1 || (line.transport == "kernel" && line.identifier == "systemd")
}

/// PID 1's line about the unit that matches.
pub(super) fn said_by_manager<'a>(facts: &'a Facts, unit: &str, wanted: &Regex) -> Option<&'a JournalLine> {
    facts.journal.iter().rev().find(|line| {
        is_managers(line) && (line.unit == unit || line.message.contains(unit)) && wanted.is_match(&line.message)
    })
}

static CYCLE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\bjob (\S+)/start deleted to break ordering cycle"));

/// The units whose jobs PID 1 dropped to break an ordering cycle, with its line about each.
pub(super) fn dropped(facts: &Facts) -> impl Iterator<Item = (&str, &JournalLine)> {
    facts.journal.iter().filter(|line| is_managers(line)).filter_map(|line| {
        let unit = CYCLE.captures(&line.message)?.get(1)?;
        Some((unit.as_str(), line))
    })
}

/// How a failed unit ended, in words: `exit code 1 after 2.0 s: "bind() failed"`.
pub(crate) fn ending(facts: &Facts, unit: &Unit) -> String {
    let mut words = how(unit);
    if let Some(service) = &unit.service {
        let lived = unit.active_exit_us.saturating_sub(unit.active_enter_us);
        if service.kind != "oneshot" && unit.active_enter_us > 0 && lived >= 500_000 {
            words = format!("{words}, {} after it became active", text::micros(lived));
        }
        if service.restarts > 0 {
            words = format!("{words}, restarted {}", text::times(service.restarts));
        }
    }
    // What systemd itself could not do, the unit has no words for.
    let by_manager = || said_by_manager(facts, &unit.name, &SET_UP).map(|line| line.message.as_str());
    let said = telling(&facts.journal, &unit.name).or_else(|| by_manager().filter(|_| unit.result == "resources"));
    let Some(said) = said else { return words };
    let said = said.trim();
    let said = said.strip_prefix(unit.name.as_str()).map_or(said, |rest| rest.trim_start_matches(": "));
    match unit.service.as_ref().map(|service| service.files.as_slice()) {
        Some(files @ [_, ..]) if sandbox::UNREAD.is_match(said) => format!("{words}: {said} ({})", files.join(" or ")),
        _ => format!("{words}: {said}"),
    }
}

static SET_UP: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i): failed to (?:load|set|open|create|prepare|determine)"));

fn how(unit: &Unit) -> String {
    if unit.mount_where.is_some() || unit.name.ends_with(".mount") {
        let what = unit.mount_what.as_deref().unwrap_or("?");
        let place = unit.mount_where.as_deref().unwrap_or("?");
        return format!("{what} could not be mounted on {place}");
    }
    if unit.is_untried() {
        return if unit.name.ends_with(".device") { "did not appear" } else { "was never started" }.to_owned();
    }
    if let Some(service) = &unit.service {
        match (service.exit_kind, service.exit_status, unit.result.as_str()) {
            (_, _, "timeout") => return "timed out".to_owned(),
            (_, _, "watchdog") => return "its watchdog ran out".to_owned(),
            (_, _, "protocol") => return "did not say that it was ready as its type demands".to_owned(),
            (_, _, "resources") => return "systemd could not set it up".to_owned(),
            (_, _, "oom-kill") => return "killed for want of memory".to_owned(),
            (1, status, _) if status != 0 => return exit_words(status, &service.exec_start),
            (2, signal, _) => return format!("killed by {}", signal_name(signal)),
            (3, signal, _) => return format!("dumped core on {}", signal_name(signal)),
            (_, _, "start-limit-hit") => return "started too often in a short time".to_owned(),
            _ => {}
        }
    }
    match unit.result.as_str() {
        "" | "success" => "failed".to_owned(),
        "dependency" => "a unit that it needs did not start".to_owned(),
        result => format!("result {result}"),
    }
}

/// An exit code in words; those from 200 on are systemd's own (systemd.exec(5), "Process exit codes").
fn exit_words(status: i32, exec: &str) -> String {
    let program = exec.split_whitespace().next().unwrap_or("its program");
    let meaning = match status {
        126 => "a command could not be executed",
        127 => "a command was not found",
        200 => "its working directory is not there",
        203 => return format!("exit code 203: {program} could not be executed"),
        216 => "its group is not there",
        217 => "its user is not there",
        218 => "its capabilities could not be set",
        226 => "its mount namespace could not be set up",
        228 => "its system call filter could not be set",
        233 => "its runtime directory could not be made",
        238 => "its state directory could not be made",
        239 => "its cache directory could not be made",
        240 => "its logs directory could not be made",
        241 => "its configuration directory could not be made",
        243 => "its credentials could not be set up",
        129..=192 => return format!("exit code {status} ({})", signal_name(status - 128)),
        _ => return format!("exit code {status}"),
    };
    format!("exit code {status}: {meaning}")
}

/// A signal's name (signal(7), x86 and arm).
pub(super) fn signal_name(signal: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    match usize::try_from(signal - 1).ok().and_then(|index| NAMES.get(index)) {
        Some(&"SYS") => "SIGSYS (a system call that its filter forbids)".to_owned(),
        Some(name) => format!("SIG{name}"),
        None => format!("signal {signal}"),
    }
}

/// What conditions that did not hold mean for a unit that the configuration itself wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Skipped {
    /// By design: nothing is wrong, nothing is lost (`!path`, first boot).
    Right,
    /// The real machine may differ: this condition, and why.
    Elsewhere(String),
    /// Nothing of the sandbox explains it: this condition.
    Wrong(String),
}

/// Judges conditions that did not hold (systemd.unit(5), "Conditions and Asserts").
///
/// The rule: a condition asks about one of three worlds.
/// * The machine: virtualisation, hardware, kernel command line, power, firmware, security modules, paths under /dev,
///   /sys and /proc, mounts, secrets, and state that only a used disk has (/var, /home, /root, …). A VM with a fresh
///   disk says nothing about the real machine: set aside, named.
/// * Time: `!path`, first boot, needs-update. What is skipped is not needed: right.
/// * The configuration itself: paths under /etc, the store, /run/current-system and the like, users, groups, the
///   manager's environment. The VM has the same: the real machine would skip it too, so wanting the unit and keeping
///   it away contradict each other: wrong.
///
/// Of triggering conditions (`|`) one suffices to hold, so they are wrong only if all are.
pub(crate) fn skipped(conditions: &[String]) -> Skipped {
    let mut triggers = Vec::new();
    let mut worst = Skipped::Right;
    let mut any = false;
    for written in conditions {
        any = true;
        let (judged, triggering) = condition(written);
        if triggering {
            triggers.push(judged);
        } else {
            worst = worse(worst, judged);
        }
    }
    if !any {
        return Skipped::Elsewhere("a condition did not hold".to_owned());
    }
    if !triggers.is_empty() {
        let trigger = triggers
            .iter()
            .find(|judged| !matches!(judged, Skipped::Wrong(_)))
            .or(triggers.first())
            .cloned()
            .unwrap_or(Skipped::Right);
        worst = worse(worst, trigger);
    }
    worst
}

fn worse(one: Skipped, other: Skipped) -> Skipped {
    let weight = |skipped: &Skipped| match skipped {
        Skipped::Right => 0,
        Skipped::Elsewhere(_) => 1,
        Skipped::Wrong(_) => 2,
    };
    if weight(&other) > weight(&one) { other } else { one }
}

fn condition(written: &str) -> (Skipped, bool) {
    let (name, value) = written.split_once('=').unwrap_or((written, ""));
    let name = name.trim_start_matches("Condition");
    let triggering = value.starts_with('|');
    let value = value.trim_start_matches('|');
    let negated = value.starts_with('!');
    let path = value.trim_start_matches('!').trim();
    let judged = match name {
        "FirstBoot" | "NeedsUpdate" | "Version" => Skipped::Right,
        "User" | "Group" | "Environment" => Skipped::Wrong(written.to_owned()),
        "PathIsReadWrite" | "PathIsMountPoint" | "PathIsEncrypted" => Skipped::Elsewhere(written.to_owned()),
        "PathExists" | "PathExistsGlob" | "PathIsDirectory" | "PathIsSymbolicLink" | "PathIsSocket"
        | "DirectoryNotEmpty" | "FileNotEmpty" | "FileIsExecutable" => {
            if negated {
                Skipped::Right
            } else if is_configured_path(path) {
                Skipped::Wrong(written.to_owned())
            } else {
                Skipped::Elsewhere(written.to_owned())
            }
        }
        _ => Skipped::Elsewhere(written.to_owned()),
    };
    (judged, triggering)
}

/// Paths that the configuration itself makes, the same in the VM as on the real machine.
fn is_configured_path(path: &str) -> bool {
    const OURS: [&str; 10] = [
        "/etc",
        "/nix/store",
        "/run/current-system",
        "/run/booted-system",
        "/run/wrappers",
        "/run/opengl-driver",
        "/bin",
        "/sbin",
        "/usr",
        "/lib",
    ];
    // Made on the first boot, or by hand: state, though it lies under /etc.
    const STATE: [&str; 6] = [
        "/etc/machine-id",
        "/etc/adjtime",
        "/etc/krb5.keytab",
        "/etc/initrd-release",
        "/etc/ssh/ssh_host_",
        "/etc/secureboot",
    ];
    let below = |dir: &&str| path.strip_prefix(*dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    OURS.iter().any(below) && !STATE.iter().any(|state| path.starts_with(state))
}

/// Undoes systemd-escape(1) for a path: `dev-disk-by\x2duuid-1` is `/dev/disk/by-uuid/1`.
pub(super) fn unescape_path(name: &str) -> String {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let mut bytes = vec![b'/'];
    let mut rest = stem.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let code = (byte == b'\\' && tail.first() == Some(&b'x'))
            .then(|| tail.get(1..3).and_then(|hex| std::str::from_utf8(hex).ok()))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = &tail[3..];
            }
            None => {
                bytes.push(if byte == b'-' { b'/' } else { byte });
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_and_their_worlds() {
        let judge =
            |conditions: &[&str]| skipped(&conditions.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        let wrong = |text: &str| Skipped::Wrong(text.to_owned());
        let elsewhere = |text: &str| Skipped::Elsewhere(text.to_owned());
        for text in ["ConditionPathExists=/etc/app.conf", "ConditionUser=nobody", "ConditionFileNotEmpty=/nix/store/x"]
        {
            assert_eq!(judge(&[text]), wrong(text));
        }
        for text in [
            "ConditionVirtualization=no",
            "ConditionVirtualization=!vm",
            "ConditionACPower=true",
            "ConditionKernelCommandLine=quiet",
            "ConditionSecurity=tpm2",
            "ConditionPathIsDirectory=/sys/class/bluetooth",
            "ConditionPathExists=/dev/kvm",
            "ConditionPathExists=/var/lib/app/state",
            "ConditionPathIsMountPoint=/etc/machine-id",
            "ConditionPathExists=/etc/krb5.keytab",
            "ConditionPathExists=/etcetera",
            "ConditionSomethingNew=1",
        ] {
            assert_eq!(judge(&[text]), elsewhere(text));
        }
        assert_eq!(judge(&["ConditionPathExists=!/etc/done"]), Skipped::Right);
        assert_eq!(judge(&["ConditionFirstBoot=yes"]), Skipped::Right);
        // One own-world condition alone keeps it away, whatever else does.
        assert_eq!(judge(&["ConditionACPower=true", "ConditionUser=x"]), wrong("ConditionUser=x"));
        // One of several triggering ones would do.
        assert_eq!(
            judge(&["ConditionPathExists=|/etc/a", "ConditionPathExists=|/var/a"]),
            elsewhere("ConditionPathExists=|/var/a")
        );
        assert_eq!(judge(&["ConditionPathExists=|/etc/a"]), wrong("ConditionPathExists=|/etc/a"));
        assert!(matches!(judge(&[]), Skipped::Elsewhere(_)));
    }

    #[test]
    fn names() {
        assert_eq!(unescape_path("dev-disk-by\\x2duuid-1.device"), "/dev/disk/by-uuid/1");
        assert_eq!(unescape_path("a\\x"), "/a\\x");
        assert_eq!(signal_name(11), "SIGSEGV");
        assert_eq!(signal_name(0), "signal 0");
        assert_eq!(
            exit_words(203, "/nix/store/x/bin/y --z"),
            "exit code 203: /nix/store/x/bin/y could not be executed"
        );
        assert!(exit_words(159, "").contains("SIGSYS"));
    }
}
