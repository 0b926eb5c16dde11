//! A guest that did not come up. It fails only with evidence from the guest itself: a panic, emergency mode, a
//! power-off, a job or a snippet that is stuck. A deadline alone proves nothing: the host may be slow.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::boot::{self, Boot};
use super::unit::pattern;
use super::{Judgement, Plan, contention, finish, skip_the_rest, text};
use crate::guest::facts::Facts;
use crate::machine::RunDelay;
use crate::model::{Accel, CheckId, CheckResult, Status};

/// How the run of a guest that did not come up ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// QEMU told of a panic (`GUEST_PANICKED`).
    Panicked,
    /// The guest powered itself off.
    PoweredOff,
    /// The guest reset itself (QEMU runs with `-no-reboot`).
    Reset,
    /// The time was up.
    Deadline,
    /// QEMU ended of itself, or was killed: how.
    QemuDied(String),
}

/// What is known of a guest that did not come up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BootFailure {
    /// How it ended.
    pub end: End,
    /// The console's last lines, as they came.
    pub console_tail: Vec<String>,
    /// PID 1's last `STATUS=`.
    pub status: Option<String>,
    /// A look, when the guest could still be looked into.
    pub facts: Option<Facts>,
    /// How long the boot had been going on.
    pub seconds: f64,
    /// How it was run.
    pub accelerator: Accel,
    /// How long the machine waited for this host's processors.
    #[serde(default)]
    pub delay: RunDelay,
}

static PANIC: LazyLock<Regex> = LazyLock::new(|| pattern(r"Kernel panic - not syncing: ?(.*)"));
static PANIC_END: LazyLock<Regex> = LazyLock::new(|| pattern(r"end Kernel panic"));
static NO_INIT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)stage 2 init script \(?([^)\s]*)\)? not found|can't execute '([^']+)'|(?:Failed to execute|Requested init) (/\S+)(?: failed)? \(error -?\d+\)|exec(?:ve)? (?:of )?'?(/\S+?)'?: (?:No such file|Permission denied|Exec format)|Failed to execute (?:/?\S* )?init|switch_root: [^:]*: (?:No such file|not found)",
    )
});
static FROZEN: LazyLock<Regex> = LazyLock::new(|| pattern(r"systemd\[1\]: (Freezing execution|Caught <\w+>)"));
static EMERGENCY_PROMPT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)An error occurred in stage 1|You are in (emergency|rescue) mode|Press Enter for (maintenance|emergency)|Give root password for maintenance|root account is locked|Entering emergency mode|Started Emergency Shell|Reached target (emergency\.target|Emergency Mode)|rescue shell",
    )
});
static TROUBLE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\[ *FAILED *\]|\[ *TIME *\]|\[DEPEND\]|mount(ing)?:? .*(fail|not found|unknown|no such|can't|invalid)|failed to mount|can't open /dev|timed out|does not exist|not appear|fsck.*(fail|error)|unable to|no such (file|device)|superblock",
    )
});
/// Of those, what comes of a limit of time.
static WAITED_FOR: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)\[ *TIME *\]|timed out|does not exist|not appear|can't open /dev"));
static NOISE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)plymouth|Dependency failed for|See 'systemctl status|journalctl"));
/// PID 1's status and the console's line for what it waits for: `(1 of 2) Job x.service/start running (3s / no limit)`,
/// `A start job is running for X (3s / 1min 30s)`.
static JOB: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)job (?P<unit>\S+?)/(?P<kind>[a-z-]+) running \((?P<since>[^/)]+?) / (?P<limit>[^)]+)\)|A (?P<kind2>start|stop|reload) job is running for (?P<unit2>.+?) \((?P<since2>[^/)]+?) / (?P<limit2>[^)]+)\)",
    )
});
/// What stage 1 and 2 say before they do something that may never end.
static STEP: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)(stage-[12]-init: )?(setting up (secrets|\S+)|running activation script|waiting for (device|root|/)|mounting \S+|starting device mapper|checking \S+|decrypting|unlocking|Passphrase for|(cannot|can't) (open|create) /dev/\S+)",
    )
});

/// Whether the console's last lines say that nothing more will come: the kernel has ended in a panic that QEMU does not
/// tell of (without a driver for pvpanic), or stage 1 waits at a prompt.
pub fn has_given_up(lines: &[String]) -> Option<End> {
    if lines.iter().any(|line| PANIC_END.is_match(line)) {
        return Some(End::Panicked);
    }
    lines.iter().any(|line| EMERGENCY_PROMPT.is_match(line)).then_some(End::Deadline)
}

static STALLED: LazyLock<Regex> = LazyLock::new(|| pattern(r"rcu:\W*(\d+)-\S*: \(.*\bsoftirq=(\d+/\d+)"));

/// The line by which the kernel shows that a processor stands still: it has done nothing at all from one of the kernel's
/// reports to the next, some twenty seconds later.
pub fn lost_processor(lines: &[String]) -> Option<&str> {
    let mut done = BTreeMap::new();
    let lost = lines.iter().find(|line| {
        let Some(found) = STALLED.captures(line) else { return false };
        done.insert(found[1].to_owned(), found[2].to_owned()).as_deref() == Some(&found[2])
    });
    lost.map(String::as_str)
}

/// Judges a guest that did not come up.
pub fn judge_boot_failure(plan: &Plan, evidence: &BootFailure) -> Judgement {
    let mut out = Judgement::default();
    let lines: Vec<String> =
        evidence.console_tail.iter().map(|line| text::clean(line)).filter(|line| !line.trim().is_empty()).collect();
    let result = panic(&lines, evidence)
        .or_else(|| no_init(&lines, evidence))
        .or_else(|| from_facts(plan, evidence, &mut out))
        .or_else(|| emergency(&lines, evidence))
        .or_else(|| ended(&lines, evidence))
        .or_else(|| stuck(&lines, evidence))
        .unwrap_or_else(|| cannot_tell(&lines, evidence));
    out.results.retain(|known| known.id != result.id);
    out.results.push(result);
    skip_the_rest(plan, &mut out, "the guest did not come up");
    // What decided is told even when another check was asked for: nothing else could be.
    let decided: Vec<CheckResult> =
        out.results.iter().filter(|result| matches!(result.status, Status::Fail | Status::Unknown)).cloned().collect();
    let mut out = finish(plan, out);
    for result in decided.into_iter().rev() {
        if !out.results.iter().any(|known| known.id == result.id) {
            out.results.insert(0, result);
        }
    }
    out
}

fn fail(id: CheckId, summary: String, lines: &[String]) -> CheckResult {
    let from = lines.len().saturating_sub(10);
    CheckResult::new(id, Status::Fail, text::clean(&summary)).detail(lines[from..].iter().cloned())
}

/// The lines around this one: a few before, some after.
fn around(lines: &[String], at: usize) -> &[String] {
    &lines[at.saturating_sub(6)..(at + 4).min(lines.len())]
}

fn after(evidence: &BootFailure) -> String {
    text::seconds(evidence.seconds)
}

fn panic(lines: &[String], evidence: &BootFailure) -> Option<CheckResult> {
    let found = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| !PANIC_END.is_match(line))
        .find_map(|(at, line)| Some((at, PANIC.captures(line)?.get(1)?.as_str().trim().to_owned())));
    match found {
        Some((at, words)) => {
            let init = lines[..at].iter().rev().find(|line| NO_INIT.is_match(line));
            let lower = words.to_ascii_lowercase();
            let cause = if lower.contains("unable to mount root") {
                "the root file system could not be mounted".to_owned()
            } else if lower.contains("no working init") || lower.contains("requested init") {
                match init {
                    Some(line) => format!("the init is missing or cannot be executed: {}", stamp_off(line)),
                    None => "the init is missing or cannot be executed".to_owned(),
                }
            } else if lower.contains("attempted to kill init") {
                match init.or_else(|| lines[..at].iter().rev().find(|line| TROUBLE.is_match(line))) {
                    Some(line) if NO_INIT.is_match(line) => {
                        format!("the init is missing or cannot be executed: {}", stamp_off(line))
                    }
                    Some(line) => format!("the init ended: {}", stamp_off(line)),
                    None => "the init ended".to_owned(),
                }
            } else if lower.contains("out of memory") || lower.contains("deadlocked on memory") {
                "the kernel ran out of memory".to_owned()
            } else {
                String::new()
            };
            let summary = if cause.is_empty() {
                format!("kernel panic: {words}")
            } else {
                format!("kernel panic: {cause} ({words})")
            };
            Some(fail(CheckId::BootPanic, summary, around(lines, at)).evidence("panic", words))
        }
        None if evidence.end == End::Panicked => {
            let last = lines.last().map_or_else(String::new, |line| format!("; the console's last line: {line}"));
            Some(fail(CheckId::BootPanic, format!("kernel panic after {}{last}", after(evidence)), lines))
        }
        None => None,
    }
}

/// PID 1 that is missing or crashed, without a panic: stage 1 may offer a prompt instead, systemd freezes.
fn no_init(lines: &[String], evidence: &BootFailure) -> Option<CheckResult> {
    let at = lines.iter().position(|line| NO_INIT.is_match(line) || FROZEN.is_match(line))?;
    // Long before the end, it is some other program that could not be executed.
    let is_last = lines.len() - at <= 25;
    if !is_last || evidence.facts.as_ref().is_some_and(|facts| !facts.units.is_empty()) {
        return None;
    }
    let prompts = lines[at..].iter().any(|line| EMERGENCY_PROMPT.is_match(line));
    let id = if prompts { CheckId::BootEmergency } else { CheckId::BootTarget };
    let what = if FROZEN.is_match(&lines[at]) { "PID 1 crashed" } else { "the init is missing or cannot be executed" };
    Some(fail(id, format!("{what}: {}", stamp_off(&lines[at])), around(lines, at)))
}

/// Without the kernel's time stamp.
fn stamp_off(line: &str) -> &str {
    let rest = line.trim_start().strip_prefix('[').and_then(|rest| rest.split_once(']'));
    match rest {
        Some((stamp, rest)) if stamp.trim().parse::<f64>().is_ok() => rest.trim(),
        _ => line.trim(),
    }
}

fn from_facts(plan: &Plan, evidence: &BootFailure, out: &mut Judgement) -> Option<CheckResult> {
    let facts = evidence.facts.as_ref()?;
    let state = boot::state(facts);
    match &state {
        Boot::Emergency(_) => {
            boot::come_up(plan, facts, &state, &evidence.delay, out);
            out.results.iter().find(|result| result.id == CheckId::BootEmergency).cloned()
        }
        // After a deadline the boot will not end either when its last jobs never do.
        Boot::Stuck | Boot::Up if evidence.end == End::Deadline => {
            let (_, seconds) = boot::awaited(facts)?;
            is_long(seconds?, evidence).then(|| boot::stuck(plan, facts, &target_name(facts)))
        }
        Boot::NotReached if evidence.end == End::Deadline => {
            boot::come_up(plan, facts, &state, &evidence.delay, out);
            out.results.iter().find(|result| result.id == CheckId::BootTarget).cloned()
        }
        _ => None,
    }
}

fn target_name(facts: &Facts) -> String {
    let name = facts.manager.default_target.as_str();
    if name.is_empty() { "the default target".to_owned() } else { name.to_owned() }
}

/// Whether waiting so long is what kept the boot from ending, rather than a slow host: a quarter of all the time, and
/// at least 10 s, in which this host let the machine run.
fn is_long(seconds: f64, evidence: &BootFailure) -> bool {
    seconds >= 10.0 && seconds >= evidence.seconds / 4.0 && contention::why_lately(&evidence.delay, seconds).is_none()
}

fn emergency(lines: &[String], evidence: &BootFailure) -> Option<CheckResult> {
    let at = lines.iter().position(|line| EMERGENCY_PROMPT.is_match(line))?;
    let is_trouble =
        |line: &&String| TROUBLE.is_match(line) && !NOISE.is_match(line) && !EMERGENCY_PROMPT.is_match(line);
    let cause = lines[..at]
        .iter()
        .find(|line| is_trouble(line) && line.to_ascii_lowercase().contains("mount"))
        .or_else(|| lines[..at].iter().rev().find(is_trouble));
    let stage = if lines[at].contains("stage 1") { "stage 1 of the boot failed" } else { "emergency mode" };
    let why = match cause {
        Some(line) => stamp_off(line).to_owned(),
        None => stamp_off(&lines[at]).to_owned(),
    };
    let summary = format!("{stage}, within {}: {why}", after(evidence));
    let result = fail(CheckId::BootEmergency, summary, around(lines, at));
    let waited_for = cause.is_some_and(|line| WAITED_FOR.is_match(line));
    Some(match contention::why_lately(&evidence.delay, evidence.seconds).filter(|_| waited_for) {
        Some(why) => contention::spared(result, &why, contention::BUSY_HOST),
        None => result,
    })
}

fn ended(lines: &[String], evidence: &BootFailure) -> Option<CheckResult> {
    let id = CheckId::BootPoweroff;
    let last = lines.iter().rev().find(|line| !NOISE.is_match(line));
    let told = last.map_or_else(String::new, |line| format!("; the console's last line: {}", stamp_off(line)));
    match &evidence.end {
        End::PoweredOff => {
            Some(fail(id, format!("the guest powered itself off after {}{told}", after(evidence)), lines))
        }
        // A reset before the first word is as likely QEMU's or the accelerator's doing.
        End::Reset if lines.is_empty() => None,
        End::Reset => Some(fail(id, format!("the guest reset itself after {}{told}", after(evidence)), lines)),
        _ => None,
    }
}

fn stuck(lines: &[String], evidence: &BootFailure) -> Option<CheckResult> {
    if evidence.end != End::Deadline {
        return None;
    }
    let told = evidence.status.iter().map(String::as_str).chain(lines.iter().rev().map(String::as_str));
    for line in told {
        let Some(found) = JOB.captures(line) else { continue };
        let part = |one: &str, other: &str| found.name(one).or(found.name(other)).map_or("", |part| part.as_str());
        let (unit, kind) = (part("unit", "unit2"), part("kind", "kind2"));
        let (since, limit) = (part("since", "since2"), part("limit", "limit2"));
        let seconds = span(since)?;
        if !is_long(seconds, evidence) {
            return None;
        }
        let summary = format!(
            "the boot does not end: the {kind} job of {unit} has been running for {} (limit: {limit})",
            text::seconds(seconds)
        );
        let result = fail(CheckId::BootTarget, summary, lines);
        return Some(result.evidence("job", text::clean(unit)).evidence("running_s", seconds));
    }
    if contention::why_lately(&evidence.delay, evidence.seconds / 4.0).is_some() {
        return None;
    }
    // Before PID 1 is systemd, the last line says what is being done.
    let last = lines.last()?;
    let step = STEP.find(last)?;
    let summary = format!(
        "the boot does not end: {} said {:?} and nothing since, after {}",
        stage(last),
        step.as_str().trim(),
        after(evidence)
    );
    Some(fail(CheckId::BootTarget, summary, lines).evidence("step", step.as_str()))
}

fn stage(line: &str) -> &'static str {
    if line.contains("stage-1") {
        "stage 1"
    } else if line.contains("stage-2")
        || line.to_ascii_lowercase().contains("setting up")
        || line.contains("activation")
    {
        "stage 2 (the activation script)"
    } else {
        "the console"
    }
}

/// systemd's spelling of a span (systemd.time(7)): `1min 2s`, `95s`, `1h 3min`. In seconds.
fn span(text: &str) -> Option<f64> {
    let text = text.trim().replace("min", "m");
    humantime::parse_duration(&text).ok().map(|span| span.as_secs_f64())
}

fn cannot_tell(lines: &[String], evidence: &BootFailure) -> CheckResult {
    let why = match &evidence.end {
        End::Deadline => format!("the guest was not up after {}, and it does not show why", after(evidence)),
        End::QemuDied(how) => format!("QEMU ended after {}: {how}", after(evidence)),
        End::Reset => format!("the machine was reset after {} without a word from the guest", after(evidence)),
        End::Panicked | End::PoweredOff => format!("the guest ended after {}", after(evidence)),
    };
    let status = evidence.status.as_deref().filter(|status| !status.trim().is_empty());
    let status = status.map_or_else(String::new, |status| format!("; PID 1's last status: {status}"));
    let result = CheckResult::new(CheckId::BootTarget, Status::Unknown, text::clean(&format!("{why}{status}")))
        .detail(lines[lines.len().saturating_sub(10)..].iter().cloned());
    match (contention::why_lately(&evidence.delay, evidence.seconds), &evidence.end) {
        (Some(why), End::Deadline) => contention::spared(result, &why, contention::BUSY_HOST),
        (None, End::Deadline) => result.hint("--timeout gives it longer; --keep leaves it up for a look"),
        _ => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::{Selection, plan, verdict};
    use crate::config::Settings;
    use crate::guest::facts::{Job, Manager, Unit};
    use crate::model::Exit;
    use crate::nix::expectations::Expectations;

    fn judged(
        end: End,
        console: &str,
        status: Option<&str>,
        facts: Option<Facts>,
        seconds: f64,
    ) -> (CheckResult, Exit) {
        judged_on(RunDelay::default(), end, console, status, facts, seconds)
    }

    fn judged_on(
        delay: RunDelay,
        end: End,
        console: &str,
        status: Option<&str>,
        facts: Option<Facts>,
        seconds: f64,
    ) -> (CheckResult, Exit) {
        let plan = plan(&Expectations::default(), &Settings::default(), &Selection::default());
        let evidence = BootFailure {
            end,
            console_tail: console.lines().map(str::to_owned).collect(),
            status: status.map(str::to_owned),
            facts,
            seconds,
            accelerator: Accel::Tcg,
            delay,
        };
        let judgement = judge_boot_failure(&plan, &evidence);
        let told: Vec<_> = judgement
            .results
            .iter()
            .filter(|result| matches!(result.status, Status::Fail | Status::Unknown))
            .cloned()
            .collect();
        assert_eq!(told.len(), 1, "{told:?}");
        (told[0].clone(), verdict(&judgement.results).exit)
    }

    #[test]
    fn a_processor_that_the_emulation_lost() {
        let report = |cpu: u32, done: u32| {
            format!(
                "[  304.13] rcu: \t{cpu}-...!: (0 ticks this GP) idle=40b0/0/0x0 softirq={done}/{done} fqs=1 (false positive?)"
            )
        };
        let other = "[  304.13] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:";
        let is_lost = |lines: &[&str]| {
            let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
            lost_processor(&lines).is_some()
        };
        assert!(is_lost(&[other, &report(0, 4836), other, &report(0, 4836)]));
        // It stood for a while, and went on; another one did.
        assert!(!is_lost(&[other, &report(0, 4836), other, &report(0, 4840), other]));
        assert!(!is_lost(&[other, &report(0, 4836), other, &report(1, 4836), other]));
    }

    #[test]
    fn a_host_that_was_too_busy_is_nobodys_configuration() {
        let busy = || RunDelay { start_us: 0, slices: vec![90; 60] };
        let calm = || RunDelay { slices: [vec![90; 5], vec![5; 55]].concat(), ..busy() };
        let judged = |delay, console, status| judged_on(delay, End::Deadline, console, status, None, 300.0);
        let job = Some("(1 of 2) Job x.service/start running (4min 2s / no limit)");
        let device = "stage 1 here\n[ TIME ] Timed out waiting for device /dev/vdb.\nYou are in emergency mode.";
        let step = "stage-2-init: running activation script...";
        for (console, status) in [("", job), (device, None), (step, None)] {
            let (result, exit) = judged(busy(), console, status);
            assert_eq!((result.status, exit), (Status::Unknown, Exit::Unknown), "{result:?}");
            assert!(result.summary.contains("this host kept the machine waiting for a processor 90 %"), "{result:?}");
            assert!(result.hint.is_some_and(|hint| hint.contains("less to do")));
            assert_eq!(judged(calm(), console, status).1, Exit::Boot, "{console}");
        }
        // What needs no limit of time is as wrong on a busy host.
        let (result, exit) = judged(busy(), "mount: wrong fs type\nYou are in emergency mode.", None);
        assert_eq!((result.status, exit), (Status::Fail, Exit::Boot));
    }

    #[test]
    fn panics_name_their_cause() {
        let table = [
            (
                "[    2.1] Run /nix/store/x/init as init process\n[    2.2] Kernel panic - not syncing: Requested init /nix/store/x/init failed (error -2).\n[    2.3] ---[ end Kernel panic - not syncing: Requested",
                "kernel panic: the init is missing",
            ),
            (
                "VFS: Cannot open root device\nKernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
                "kernel panic: the root file system could not be mounted (VFS: Unable",
            ),
            (
                "switch_root: can't execute '/nix/store/abc-init': No such file or directory\nKernel panic - not syncing: Attempted to kill init! exitcode=0x00000100",
                "kernel panic: the init is missing or cannot be executed: switch_root: can't execute '/nix/store/abc-init'",
            ),
            ("Kernel panic - not syncing: Fatal exception in interrupt", "kernel panic: Fatal exception in interrupt"),
            ("Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b", "kernel panic: the init ended"),
        ];
        for end in [End::Panicked, End::Reset, End::Deadline] {
            for (console, expected) in table {
                let (result, exit) = judged(end.clone(), console, None, None, 9.0);
                assert_eq!((result.id, exit), (CheckId::BootPanic, Exit::Boot));
                assert!(result.summary.starts_with(expected), "{}", result.summary);
            }
        }
        assert_eq!(judged(End::Panicked, "", None, None, 9.0).0.id, CheckId::BootPanic);
    }

    #[test]
    fn stage_1_that_gives_up() {
        let console = "<<< NixOS Stage 1 >>>\nmounting /dev/vda on /...\nmount: mounting /dev/vda on /mnt-root/ failed: Invalid argument\n\nAn error occurred in stage 1 of the boot process, which must mount the\nroot filesystem on `/mnt-root' and then start stage 2.\n  r) to reboot immediately\n";
        let (result, exit) = judged(End::Deadline, console, None, None, 100.0);
        assert_eq!((result.id, exit), (CheckId::BootEmergency, Exit::Boot));
        assert!(result.summary.contains("mounting /dev/vda on /mnt-root/ failed"), "{}", result.summary);
        let console = "stage 2 init script (/mnt-root//nix/store/x/init) not found\nAn error occurred in stage 1 of the boot process";
        let (result, _) = judged(End::Deadline, console, None, None, 100.0);
        assert_eq!(result.id, CheckId::BootEmergency);
        assert!(result.summary.contains("stage 2 init script"), "{}", result.summary);
        let console =
            "[    3.2] systemd[1]: Caught <SEGV>, dumped core as pid 80.\n[    3.3] systemd[1]: Freezing execution.";
        let (result, _) = judged(End::Deadline, console, None, None, 100.0);
        assert_eq!(result.id, CheckId::BootTarget);
        assert!(result.summary.starts_with("PID 1 crashed"), "{}", result.summary);
        let console = "<<< NixOS Stage 1 >>>\n/init: line 4: can't create /dev/null: nonexistent directory";
        let (result, exit) = judged(End::Deadline, console, None, None, 100.0);
        assert_eq!((result.id, exit), (CheckId::BootTarget, Exit::Boot));
        assert!(result.summary.contains("/dev/null"), "{}", result.summary);
    }

    #[test]
    fn emergency_mode_is_not_plymouths_fault() {
        let console = "[FAILED] Failed to mount /var/lib/lxcfs.\n[DEPEND] Dependency failed for Local File Systems.\n[FAILED] Failed to start plymouth-quit\nYou are in emergency mode. After logging in, type";
        let (result, _) = judged(End::Deadline, console, None, None, 100.0);
        assert_eq!(result.id, CheckId::BootEmergency);
        assert!(result.summary.contains("Failed to mount /var/lib/lxcfs"), "{}", result.summary);
    }

    #[test]
    fn a_stuck_job_is_named_with_its_time() {
        let status = "(1 of 2) Job db-migrate.service/start running (1min 35s / no limit)";
        let (result, exit) = judged(End::Deadline, "flood\nflood", Some(status), None, 120.0);
        assert_eq!((result.id, exit), (CheckId::BootTarget, Exit::Boot));
        assert!(
            result.summary.contains("db-migrate.service has been running for 95 s (limit: no limit)"),
            "{}",
            result.summary
        );
        let console = "[ ***  ] A start job is running for /nixos/persist (50s / 1min 30s)";
        let (result, _) = judged(End::Deadline, console, None, None, 60.0);
        assert!(result.summary.contains("/nixos/persist"), "{}", result.summary);
        // A job that began a moment ago is no evidence.
        let (result, exit) =
            judged(End::Deadline, "", Some("Job x.service/start running (3s / no limit)"), None, 120.0);
        assert_eq!((result.status, exit), (Status::Unknown, Exit::Unknown));
    }

    #[test]
    fn a_stuck_job_by_facts() {
        let facts = Facts {
            manager: Manager {
                default_target: "multi-user.target".into(),
                state: "starting".into(),
                ..Manager::default()
            },
            jobs: vec![
                Job { unit: "multi-user.target".into(), kind: "start".into(), state: "waiting".into(), seconds: None },
                Job { unit: "slow.service".into(), kind: "start".into(), state: "running".into(), seconds: Some(80) },
            ],
            units: vec![Unit { name: "multi-user.target".into(), active_state: "inactive".into(), ..Unit::default() }],
            ..Facts::default()
        };
        let (result, exit) = judged(End::Deadline, "", None, Some(facts), 100.0);
        assert_eq!((result.id, exit), (CheckId::BootTarget, Exit::Boot));
        assert!(result.summary.contains("slow.service has been running for 80 s"), "{}", result.summary);
    }

    #[test]
    fn a_snippet_that_never_ends() {
        let console =
            "stage-2-init: running activation script...\nstage-2-init: setting up /etc...\nsetting up secrets...";
        let (result, exit) = judged(End::Deadline, console, None, None, 300.0);
        assert_eq!((result.id, exit), (CheckId::BootTarget, Exit::Boot));
        assert!(result.summary.contains("setting up secrets"), "{}", result.summary);
    }

    #[test]
    fn ends_of_its_own() {
        let (result, exit) =
            judged(End::PoweredOff, "[  OK  ] Reached target Power-Off.\nreboot: Power down", None, None, 12.0);
        assert_eq!((result.id, exit), (CheckId::BootPoweroff, Exit::Boot));
        assert!(result.summary.contains("after 12 s"), "{}", result.summary);
        assert_eq!(judged(End::Reset, "hello", None, None, 1.0).0.id, CheckId::BootPoweroff);
    }

    #[test]
    fn without_evidence_nobody_is_blamed() {
        let cases = [
            (End::Deadline, ""),
            (End::Deadline, "[    1.0] noise\n[    2.0] more noise"),
            (End::Reset, ""),
            (End::QemuDied("exit status 1".into()), "hello"),
        ];
        for (end, console) in cases {
            let (result, exit) = judged(end.clone(), console, None, None, 60.0);
            assert_eq!((result.status, exit), (Status::Unknown, Exit::Unknown), "{end:?}");
        }
    }
}
