//! `boot.*`: how far the machine came, and what went wrong quietly on the way.

use std::sync::LazyLock;

use regex::Regex;

use super::unit::{self, dropped, is_active, is_failed, pattern};
use super::{Finding, Judgement, Plan, View, conclude, contention, sandbox, text};
use crate::guest::facts::{Facts, Job, JournalLine, Unit};
use crate::machine::RunDelay;
use crate::model::{CheckId, CheckResult, Status};

/// How far the machine came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Boot {
    /// The default target is active.
    Up,
    /// Emergency or rescue mode: the unit that says so.
    Emergency(String),
    /// The default target is not active, and jobs are queued.
    Stuck,
    /// The default target is not active, and nothing will change that.
    NotReached,
    /// The facts to tell are missing.
    CannotTell(String),
}

/// The default target as the guest has it, if it is known.
fn default_target(facts: &Facts) -> Option<&Unit> {
    let name = facts.manager.default_target.as_str();
    if !name.is_empty() && name != "default.target" {
        return facts.unit(name);
    }
    facts.unit("default.target").or_else(|| {
        let usual = ["graphical.target", "multi-user.target"];
        usual.into_iter().filter_map(|name| facts.unit(name)).find(|target| is_active(target))
    })
}

/// How far the machine came.
pub(super) fn state(facts: &Facts) -> Boot {
    if let Some(why) = facts.gaps.get("units").or_else(|| facts.gaps.get("manager")) {
        return Boot::CannotTell(why.clone());
    }
    let target_is_up = default_target(facts).is_some_and(is_active);
    for name in ["emergency.target", "rescue.target", "emergency.service", "rescue.service"] {
        let Some(unit) = facts.unit(name) else { continue };
        let wanted = facts.manager.default_target == name;
        if (is_active(unit) || unit.active_state == "activating") && !wanted && !target_is_up {
            return Boot::Emergency(name.to_owned());
        }
    }
    if target_is_up {
        return Boot::Up;
    }
    if !facts.jobs.is_empty() {
        return Boot::Stuck;
    }
    let finished = facts.manager.finish_us > 0 && matches!(facts.manager.state.as_str(), "running" | "degraded");
    match default_target(facts) {
        Some(_) => Boot::NotReached,
        None if finished => Boot::Up,
        None if facts.units.is_empty() => Boot::CannotTell("no units were listed".to_owned()),
        None => Boot::NotReached,
    }
}

pub(super) fn judge(view: &View<'_>, out: &mut Judgement) {
    come_up(view.plan, view.now, &view.boot, &view.context.delay, out);
    out.results.push(CheckResult::new(CheckId::BootPanic, Status::Pass, "no kernel panic"));
    out.results.push(CheckResult::new(CheckId::BootPoweroff, Status::Pass, "stayed up"));
    out.results.push(oom(view));
    activation(view, out);
    tmpfiles(view, out);
    out.results.push(taint(view));
    out.results.push(time(view));
}

/// `boot.target` and `boot.emergency`, for a guest that could be looked into.
pub(super) fn come_up(plan: &Plan, facts: &Facts, boot: &Boot, delay: &RunDelay, out: &mut Judgement) {
    let target = default_target(facts).map_or("the default target", |unit| unit.name.as_str());
    let calm = || CheckResult::new(CheckId::BootEmergency, Status::Pass, "no emergency or rescue mode");
    match boot {
        Boot::Up => {
            let at = default_target(facts).map_or(facts.manager.finish_us, |unit| unit.active_enter_us);
            let at = if at > 0 { format!(" {} after the kernel's start", text::micros(at)) } else { String::new() };
            out.results.push(CheckResult::new(CheckId::BootTarget, Status::Pass, format!("{target} reached{at}")));
            out.results.push(calm());
        }
        Boot::Emergency(by) => {
            let why = "not reached: emergency mode (see boot.emergency)";
            out.results.push(CheckResult::new(CheckId::BootTarget, Status::Skip, why));
            out.results.push(emergency(facts, by, delay));
        }
        Boot::Stuck => {
            out.results.push(stuck(plan, facts, target));
            out.results.push(calm());
        }
        Boot::NotReached => {
            out.results.push(not_reached(facts, target));
            out.results.push(calm());
        }
        Boot::CannotTell(why) => {
            for id in [CheckId::BootTarget, CheckId::BootEmergency] {
                let summary = text::clean(&format!("could not read the guest's units: {why}"));
                out.results.push(CheckResult::new(id, Status::Unknown, summary));
            }
        }
    }
}

static EMERGENCY_NOISE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(plymouth|emergency\.|rescue\.|systemd-ask-password)"));
static TIMED_OUT_DEVICE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)timed out waiting for device (\S+)|(\S+\.device): job .* timed out"));

/// The unit behind emergency mode: what `local-fs.target` and its like stand on, else the first that failed. What
/// emergency mode itself runs (plymouth, with a dash before it) never is.
fn culprit(facts: &Facts) -> Option<&str> {
    for target in ["local-fs.target", "sysinit.target", "initrd-root-fs.target", "initrd-fs.target", "basic.target"] {
        if facts.unit(target).is_some_and(|unit| !is_active(unit)) {
            let root = unit::root(facts, target);
            let explains = !root.ends_with(".target") && !EMERGENCY_NOISE.is_match(root);
            if root != target && explains {
                return Some(root);
            }
        }
    }
    let failed = facts.units.iter().filter(|unit| is_failed(unit) && !EMERGENCY_NOISE.is_match(&unit.name));
    failed
        .min_by_key(|unit| {
            let kind = if unit.name.ends_with(".mount") || unit.name.starts_with("systemd-fsck") { 0 } else { 1 };
            (kind, unit.state_change_us)
        })
        .map(|unit| unit.name.as_str())
        .or_else(|| facts.units.iter().find(|unit| unit::is_refused(unit)).map(|unit| unit.name.as_str()))
}

fn emergency(facts: &Facts, by: &str, delay: &RunDelay) -> CheckResult {
    let since = facts.unit(by).map_or(0, |unit| unit.active_enter_us);
    let since = if since > 0 { format!(", {} after the kernel's start", text::micros(since)) } else { String::new() };
    let mode = if by.starts_with("rescue") { "rescue mode" } else { "emergency mode" };
    let mut result = CheckResult::new(CheckId::BootEmergency, Status::Fail, "").evidence("mode", by.to_owned());
    let culprit = culprit(facts);
    let timed_out = facts.journal.iter().find(|line| TIMED_OUT_DEVICE.is_match(&line.message));
    let cause = match culprit {
        Some(name) => {
            result = result.evidence("unit", text::clean(name));
            let lines = unit::tail(facts, name, 8);
            result = result.detail(lines);
            match facts.unit(name) {
                _ if name.ends_with(".device") => {
                    let path = unit::unescape_path(name);
                    let needs = |unit: &&Unit| unit.broken_requirements.iter().any(|other| other == name);
                    let by = facts.units.iter().find(needs).map(|unit| format!(", which {} needs,", unit.name));
                    result = result.evidence("what", text::clean(&path));
                    format!("{path}{} did not appear", by.unwrap_or_default())
                }
                Some(unit) => {
                    if let (Some(place), Some(what)) = (&unit.mount_where, &unit.mount_what) {
                        result = result
                            .evidence("where", text::clean(place))
                            .evidence("what", text::clean(what))
                            .hint("a mount that the machine can boot without takes the option nofail");
                    }
                    format!("{name}: {}", unit::ending(facts, unit))
                }
                None => format!("{name} is not there"),
            }
        }
        None => timed_out.map_or_else(|| "the guest does not say why".to_owned(), |line| line.message.clone()),
    };
    result.summary = text::clean(&format!("{mode}{since}: {cause}"));
    let at = facts.unit(by).map_or(facts.now_us, |unit| unit.active_enter_us);
    let limit = match culprit {
        Some(name) if name.ends_with(".device") => Some(contention::usual(at)),
        Some(name) => facts.unit(name).and_then(|unit| contention::limit(facts, unit)),
        None => timed_out.is_some().then(|| contention::usual(at)),
    };
    if let Some(why) = limit.and_then(|(from, to)| contention::why(delay, from, to)) {
        result = contention::spared(result, &why, contention::BUSY_HOST);
    }
    if result.detail.is_empty() {
        let lines =
            facts.journal.iter().filter(|line| line.priority <= 3 && !EMERGENCY_NOISE.is_match(&line.identifier));
        result = result.detail(lines.take(8).map(text::journal));
    }
    result
}

/// How long a job has been running, in seconds: as told, else since its unit's last change.
fn running_for(facts: &Facts, job: &Job) -> Option<f64> {
    if let Some(seconds) = job.seconds {
        return Some(seconds as f64);
    }
    let since = facts.unit(&job.unit)?.state_change_us;
    (since > 0 && facts.now_us > since).then(|| (facts.now_us - since) as f64 / 1e6)
}

/// The job that the boot waits for: the start job that has been running longest, else one that merely waits.
pub(super) fn awaited(facts: &Facts) -> Option<(&Job, Option<f64>)> {
    let target = default_target(facts).map(|unit| unit.name.as_str());
    let running = facts.jobs.iter().filter(|job| job.state == "running");
    let longest = running
        .map(|job| (job, running_for(facts, job)))
        .max_by(|one, other| one.1.unwrap_or(0.0).total_cmp(&other.1.unwrap_or(0.0)));
    longest.or_else(|| {
        let waiting = facts.jobs.iter().find(|job| Some(job.unit.as_str()) != target);
        waiting.map(|job| (job, running_for(facts, job)))
    })
}

pub(super) fn stuck(plan: &Plan, facts: &Facts, target: &str) -> CheckResult {
    let Some((job, seconds)) = awaited(facts) else {
        return CheckResult::new(CheckId::BootTarget, Status::Fail, format!("{target} is not reached"));
    };
    let since = seconds.map_or_else(String::new, |seconds| format!(" for {}", text::seconds(seconds)));
    let doing = if job.state == "running" { "has been running" } else { "is waiting" };
    let mut summary = format!("{target} is not reached: the {} job of {} {doing}{since}", job.kind, job.unit);
    if let Some(line) = unit::telling(&facts.journal, &job.unit) {
        summary = format!("{summary}; last words: {}", line.trim());
    }
    let mut result = CheckResult::new(CheckId::BootTarget, Status::Fail, text::clean(&summary))
        .evidence("job", text::clean(&job.unit))
        .detail(unit::tail(facts, &job.unit, 8));
    if let Some(seconds) = seconds {
        result = result.evidence("running_s", seconds);
    }
    if let Some(unit) = facts.unit(&job.unit) {
        if unit.service.as_ref().is_some_and(|service| service.kind == "oneshot") {
            result = result.hint("a oneshot holds up the boot until it ends; TimeoutStartSec= would bound it");
        } else if job.unit.ends_with(".device") {
            result.detail.push(format!("{} is waited for", text::clean(&unit::unescape_path(&job.unit))));
        }
    }
    let behind: Vec<&str> =
        facts.jobs.iter().filter(|other| other.state == "waiting").map(|job| job.unit.as_str()).collect();
    if !behind.is_empty() {
        result.detail.push(format!("behind it: {}", text::list(&behind)));
    }
    match sandbox::waits_for_outside(plan, facts, &job.unit) {
        // What comes after it was not seen: whether the machine would come up is not known.
        Some(why) => {
            CheckResult { status: Status::Unknown, summary: format!("{}; it {why}", result.summary), ..result }
                .hint("--network user lets the machine out; TimeoutStartSec= bounds how long a boot waits for it")
        }
        None => result,
    }
}

fn not_reached(facts: &Facts, target: &str) -> CheckResult {
    let root = unit::root(facts, target);
    let summary = if root == target {
        match dropped(facts).find(|(unit, line)| *unit == target || line.message.contains(target)) {
            Some((_, line)) => format!("{target} is not reached: {}", line.message),
            None => format!("{target} is not reached, and nothing is being started any more"),
        }
    } else {
        let why = facts.unit(root).map_or_else(|| "is not there".to_owned(), |unit| unit::ending(facts, unit));
        format!("{target} is not reached: {root}: {why}")
    };
    CheckResult::new(CheckId::BootTarget, Status::Fail, text::clean(&summary))
        .evidence("unit", text::clean(root))
        .detail(unit::tail(facts, root, 8))
}

// --- killed for want of memory ---

static KILLED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)(Memory cgroup out of memory|Out of memory): Killed process (\d+) \(([^)]*)\)(?:.*anon-rss:(\d+)kB)?")
});
static KILL_WHERE: LazyLock<Regex> = LazyLock::new(|| pattern(r"oom-kill:.*task_memcg=([^,]*).*pid=(\d+)"));
static OOMD: LazyLock<Regex> = LazyLock::new(|| pattern(r"^Killed (/\S+) due to (.*)"));

fn oom(view: &View<'_>) -> CheckResult {
    let id = CheckId::BootOom;
    let facts = view.now;
    let mut fails = Vec::new();
    let unit_of_path = |path: &str| path.rsplit('/').find(|part| part.contains('.')).unwrap_or("").to_owned();
    for line in &facts.journal {
        let by_kernel = line.transport == "kernel" || line.identifier == "kernel";
        if let Some(found) = KILLED.captures(&line.message).filter(|_| by_kernel) {
            let pid = found.get(2).map_or("", |part| part.as_str());
            let process = found.get(3).map_or("", |part| part.as_str());
            let mib = found.get(4).and_then(|part| part.as_str().parse::<u64>().ok()).map(|kib| kib / 1024);
            let place = facts.journal.iter().find_map(|other| {
                let found = KILL_WHERE.captures(&other.message)?;
                (found.get(2)?.as_str() == pid).then(|| unit_of_path(found.get(1).map_or("", |part| part.as_str())))
            });
            let unit = place.unwrap_or_default();
            let of = if unit.is_empty() { String::new() } else { format!(" of {unit}") };
            let held = mib.map_or_else(String::new, |mib| format!(", which held {mib} MiB"));
            let scope =
                if found[1].starts_with("Memory") { "at the memory limit of its unit" } else { "for want of memory" };
            fails.push(
                Finding::new(
                    if unit.is_empty() { process } else { &unit },
                    format!("{process}{of} was killed {scope}{held}"),
                )
                .detail([text::journal(line)])
                .evidence("process", text::clean(process))
                .evidence("unit", text::clean(&unit))
                .evidence("mib", mib)
                .hint(memory_hint(view)),
            );
        } else if line.identifier == "systemd-oomd"
            && let Some(found) = OOMD.captures(&line.message)
        {
            let unit = unit_of_path(&found[1]);
            fails.push(
                Finding::new(&unit, format!("{unit} was killed by systemd-oomd: {}", &found[2]))
                    .detail([text::journal(line)])
                    .evidence("unit", text::clean(&unit))
                    .hint(memory_hint(view)),
            );
        }
    }
    for unit in facts.units.iter().filter(|unit| unit.result == "oom-kill") {
        if !fails.iter().any(|finding| finding.item == unit.name) {
            let known = fails.iter().any(|finding| finding.item.is_empty());
            if !known {
                fails.push(
                    Finding::new(&unit.name, format!("{} was killed for want of memory", unit.name))
                        .detail(unit::tail(facts, &unit.name, 4))
                        .evidence("unit", text::clean(&unit.name))
                        .hint(memory_hint(view)),
                );
            }
        }
    }
    if fails.is_empty()
        && let Some(unknown) = view.unknown(id, &["journal"])
    {
        return unknown;
    }
    // One unit that is killed again and again is one finding.
    let mut seen = Vec::new();
    fails.retain(|finding| {
        let new = !seen.contains(&finding.item);
        seen.push(finding.item.clone());
        new
    });
    conclude(view, id, fails, Vec::new(), || "nothing was killed for want of memory".to_owned())
}

fn memory_hint(view: &View<'_>) -> String {
    match view.context.memory_mib {
        Some(mib) => format!("the VM has {mib} MiB; [machine] memory in nixbox.toml, or --memory, gives it more"),
        None => "[machine] memory in nixbox.toml, or --memory, gives the VM more".to_owned(),
    }
}

// --- what fails quietly ---

static SNIPPET: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"Activation script snippet '([^']*)' failed(?: \((\d+)\))?"));

fn activation(view: &View<'_>, out: &mut Judgement) {
    let id = CheckId::BootActivation;
    let mut fails: Vec<Finding> = Vec::new();
    let mut aside = Vec::new();
    let journal = view.now.journal.iter().map(|line| line.message.as_str());
    let lines: Vec<&str> = journal.chain(view.console.iter().map(String::as_str)).collect();
    for (index, line) in lines.iter().enumerate() {
        let Some(found) = SNIPPET.captures(line) else { continue };
        let name = found[1].to_owned();
        if fails.iter().any(|finding| finding.item == name) || aside.contains(&name) {
            continue;
        }
        if sandbox::is_secret_snippet(&name) {
            out.exclude(
                &format!("secrets ({name})"),
                format!("the sandbox has not the real machine's key: \"{line}\""),
            );
            aside.push(name);
            continue;
        }
        let code = found.get(2).map_or("", |part| part.as_str());
        let before = &lines[index.saturating_sub(4)..index];
        let words = before.iter().rev().find(|line| line.contains("stage-2-init") || line.contains("activat"));
        let said = before.last().or(words).filter(|line| !line.trim().is_empty());
        let said = said.map_or_else(String::new, |line| format!(": {}", line.trim()));
        let code = if code.is_empty() { String::new() } else { format!(" with exit code {code}") };
        fails.push(
            Finding::new(&name, format!("the activation script's snippet {name:?} failed{code}{said}"))
                .detail(text::clean_all(before.iter().chain([line]).copied()))
                .evidence("snippet", text::clean(&name)),
        );
    }
    // With systemd in stage 1, a unit runs the activation.
    for name in ["nixos-activation.service", "initrd-nixos-activation.service"] {
        if let Some(unit) = view.unit(name).filter(|unit| is_failed(unit))
            && fails.is_empty()
            && aside.is_empty()
        {
            fails.push(
                Finding::new(name, format!("{name} failed: {}", unit::ending(view.now, unit)))
                    .detail(unit::tail(view.now, name, 8)),
            );
        }
    }
    let result = match view.unknown(id, &["journal"]).filter(|_| fails.is_empty()) {
        Some(unknown) => unknown,
        None => conclude(view, id, fails, Vec::new(), || match aside.len() {
            0 => "every snippet went well".to_owned(),
            _ => format!("went well, but for secrets, which were set aside ({})", text::list(&aside)),
        }),
    };
    out.results.push(result);
}

static TMPFILES_TROUBLE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^(failed|unable|cannot|could not)|: failed to |unknown (user|group|modifier|command)|unsafe path transition|invalid|bad ",
    )
});
/// What a VM's file systems and hardware cannot do.
static TMPFILES_ASIDE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)operation not supported|not supported|inappropriate ioctl|(/sys/|/proc/|/dev/)\S*.*(no such file|not permitted|no such device|read-only|input/output)",
    )
});

fn is_tmpfiles_line(line: &JournalLine) -> bool {
    line.identifier == "systemd-tmpfiles" || (line.identifier.is_empty() && unit::is_tmpfiles(&line.unit))
}

fn tmpfiles(view: &View<'_>, out: &mut Judgement) {
    let id = CheckId::BootTmpfiles;
    let mut fails: Vec<Finding> = Vec::new();
    for line in view.now.journal.iter().filter(|line| is_tmpfiles_line(line)) {
        let trouble = line.priority <= 3 || (line.priority <= 4 && TMPFILES_TROUBLE.is_match(&line.message));
        if !trouble || fails.iter().any(|finding| finding.item == line.message) {
            continue;
        }
        if TMPFILES_ASIDE.is_match(&line.message) || sandbox::misses_a_secret(&line.message) {
            let words: String = line.message.chars().take(200).collect();
            out.exclude("a rule of systemd-tmpfiles", format!("the VM's file systems or hardware differ: \"{words}\""));
            continue;
        }
        fails.push(
            Finding::new(&line.message, format!("systemd-tmpfiles: {}", line.message)).detail([text::journal(line)]),
        );
    }
    let failed = view.now.units.iter().filter(|unit| unit::is_tmpfiles(&unit.name) && is_failed(unit));
    for unit in failed {
        if fails.is_empty() {
            fails.push(
                Finding::new(&unit.name, format!("{} failed: {}", unit.name, unit::ending(view.now, unit)))
                    .detail(unit::tail(view.now, &unit.name, 8)),
            );
        }
    }
    let result = match view.unknown(id, &["journal"]).filter(|_| fails.is_empty()) {
        Some(unknown) => unknown,
        None => conclude(view, id, fails, Vec::new(), || "every rule could be applied".to_owned()),
    };
    out.results.push(result);
}

// --- taint, time ---

/// The bits of `/proc/sys/kernel/tainted` in words, and whether one is worth a look (kernel: tainted-kernels).
const TAINTS: [(&str, bool); 20] = [
    ("a proprietary module was loaded", false),
    ("a module was loaded by force", true),
    ("an SMP kernel on a processor that was not meant for it", true),
    ("a module was removed by force", true),
    ("a machine check happened", true),
    ("a bad page was found", true),
    ("somebody asked for it", false),
    ("the kernel oopsed", true),
    ("an ACPI table was overridden", false),
    ("the kernel warned", true),
    ("a staging driver was loaded", false),
    ("a firmware bug is worked around", false),
    ("a module from outside the tree was loaded", false),
    ("an unsigned module was loaded", false),
    ("a soft lock-up happened", true),
    ("the kernel was patched live", false),
    ("the distribution's own mark", false),
    ("built with randomised structures", false),
    ("a test of the kernel's own ran", false),
    ("a debugging mark", true),
];

fn taint(view: &View<'_>) -> CheckResult {
    let id = CheckId::BootTaint;
    let Some(bits) = view.now.taint else {
        let why = view.gap("taint").unwrap_or("it was not told");
        return CheckResult::new(
            id,
            Status::Unknown,
            text::clean(&format!("could not read the kernel's taint: {why}")),
        );
    };
    let set = |grave: bool| {
        (0..64).filter(move |bit| bits & (1 << bit) != 0).filter_map(move |bit: usize| match TAINTS.get(bit) {
            Some((words, is_grave)) => (*is_grave == grave).then(|| (*words).to_owned()),
            None => grave.then(|| format!("bit {bit}, which nixbox does not know")),
        })
    };
    let trouble = |line: &&JournalLine| {
        line.transport == "kernel"
            && (line.message.contains("WARNING:") || line.message.contains("Oops") || line.message.contains("BUG:"))
    };
    let warns: Vec<Finding> = set(true)
        .map(|words| {
            Finding::new(&words, format!("the kernel is tainted: {words}"))
                .detail(view.now.journal.iter().filter(trouble).take(2).map(text::journal))
                .evidence("tainted", bits)
        })
        .collect();
    conclude(view, id, Vec::new(), warns, || {
        let harmless: Vec<String> = set(false).collect();
        if harmless.is_empty() { "not tainted".to_owned() } else { format!("harmless: {}", harmless.join(", ")) }
    })
}

fn time(view: &View<'_>) -> CheckResult {
    let id = CheckId::BootTime;
    let manager = &view.now.manager;
    let reached = default_target(view.now).map_or(0, |target| target.active_enter_us);
    let us = if manager.finish_us > 0 { manager.finish_us } else { reached };
    if us == 0 {
        let status =
            if view.came_up() && view.plan.settings.boot_time.is_some() { Status::Unknown } else { Status::Skip };
        return CheckResult::new(id, status, "the guest does not say when its boot ended");
    }
    let took = us as f64 / 1e6;
    let words = format!("{} from the kernel's start", text::seconds(took));
    let Some(limit) = view.plan.settings.boot_time else {
        return CheckResult::new(id, Status::Pass, words).evidence("seconds", took);
    };
    let scaled = limit.as_secs_f64() * view.context.scale();
    let told = if view.context.scale() > 1.0 {
        format!(
            "{} ({} scaled to {})",
            text::seconds(scaled),
            text::seconds(limit.as_secs_f64()),
            view.context.accelerator.name()
        )
    } else {
        text::seconds(scaled)
    };
    let fails = if took > scaled {
        vec![
            Finding::new("boot", format!("the boot took {words}, the limit is {told}"))
                .evidence("seconds", took)
                .evidence("limit", scaled)
                .ran_out((0, us))
                .hint("systemd-analyze critical-chain in the guest shows what it waited for (--keep)"),
        ]
    } else {
        Vec::new()
    };
    conclude(view, id, fails, Vec::new(), || format!("{words}, within {told}")).evidence("seconds", took)
}
