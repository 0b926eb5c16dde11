//! `boot.*` of a machine that came up: what was killed, what failed quietly, the kernel's taint, the boot's time.

use std::collections::BTreeSet;

use crate::guest::facts::{DanglingLink, JournalLine};
use crate::judging::journal::Means as _;
use crate::judging::journal_patterns::Meaning;
use crate::judging::unit::{self, is_failed};
use crate::judging::{Finding, JudgeContext, Judgement, boot_state, conclude, sandbox, text};
use crate::machine::spec::DEFAULT_MEMORY_MIB;
use crate::model::{CheckId, CheckResult, Excuse, Lack, STORE_DIR, Status, UnitResult, Witness};

pub(super) fn judge(cx: &JudgeContext<'_>, out: &mut Judgement) {
    out.results.push(oom(cx));
    activation(cx, out);
    tmpfiles(cx, out);
    out.results.push(etc(cx));
    out.results.push(taint(cx));
    out.results.push(time(cx));
}

// --- out of memory ---

fn oom(cx: &JudgeContext<'_>) -> CheckResult {
    let id = CheckId::BootOom;
    let facts = cx.now;
    let mut fails: Vec<Finding> = facts.journal.iter().filter_map(|line| killed(cx, line)).collect();
    for unit in facts.units.iter().filter(|unit| unit.result == UnitResult::OomKill) {
        if !fails.iter().any(|finding| finding.item == unit.name || finding.item.is_empty()) {
            fails.push(
                Finding::new(&unit.name, format!("{} was killed by the OOM killer", unit.name))
                    .detail(unit::tail(facts, &unit.name, 4))
                    .evidence("unit", text::clean(&unit.name))
                    .hint(memory_hint(cx)),
            );
        }
    }
    if fails.is_empty()
        && let Some(unknown) = cx.unknown(id, &["journal"])
    {
        return unknown;
    }
    // One unit that is killed again and again is one finding.
    let mut known = BTreeSet::new();
    fails.retain(|finding| known.insert(finding.item.clone()));
    if let (Some(first), true) = (fails.first(), is_for_our_memory(cx)) {
        let summary = format!("{}: the VM has the {DEFAULT_MEMORY_MIB} MiB that NixOS gives to VMs", first.summary);
        return CheckResult::new(id, Status::Unknown, summary).hint(memory_hint(cx)).detail(first.detail.clone());
    }
    conclude(cx, id, fails, Vec::new(), || "nothing was killed by the OOM killer".to_owned())
}

/// Whether the whole VM was short of memory, and nobody chose how much it has: the real machine may have plenty.
fn is_for_our_memory(cx: &JudgeContext<'_>) -> bool {
    let is_chosen = cx.plan.settings.machine.memory.is_some()
        || cx.plan.expectations.memory_mib.is_some_and(|mib| mib > DEFAULT_MEMORY_MIB);
    let lines = cx.now.journal.iter().filter(|line| is_kernels(line));
    let scopes: Vec<bool> = lines
        .filter_map(|line| Some(Meaning::KilledByKernel.parts_of(&line.message)?["scope"].starts_with("Memory")))
        .collect();
    !is_chosen && cx.context.memory_mib == Some(DEFAULT_MEMORY_MIB) && !scopes.is_empty() && !scopes.contains(&true)
}

/// What a line shows that the OOM killer killed, if it does.
fn killed(cx: &JudgeContext<'_>, line: &JournalLine) -> Option<Finding> {
    let unit_of = |cgroup: &str| cgroup.rsplit('/').find(|part| part.contains('.')).unwrap_or("").to_owned();
    if is_kernels(line)
        && let Some(parts) = Meaning::KilledByKernel.parts_of(&line.message)
    {
        let (pid, process) = (&parts["pid"], &parts["process"]);
        let mib = parts.name("rss").and_then(|rss| rss.as_str().parse::<u64>().ok()).map(|kib| kib / 1024);
        let unit = cx.now.journal.iter().find_map(|other| {
            let place = Meaning::KilledIn.parts_of(&other.message)?;
            (&place["pid"] == pid).then(|| unit_of(&place["cgroup"]))
        });
        let unit = unit.unwrap_or_default();
        let of = if unit.is_empty() { String::new() } else { format!(" of {unit}") };
        let held = mib.map_or_else(String::new, |mib| format!(", holding {mib} MiB"));
        let is_of_unit = parts["scope"].starts_with("Memory");
        let limit = if is_of_unit { " at the memory limit of its unit" } else { "" };
        let item = if unit.is_empty() { process } else { &unit };
        let finding = Finding::new(item, format!("{process}{of} was killed by the OOM killer{limit}{held}"))
            .detail([text::journal(line)])
            .evidence("process", text::clean(process))
            .evidence("unit", text::clean(&unit))
            .evidence("mib", mib);
        let hint = if is_of_unit { "raise MemoryMax= of its unit or slice".to_owned() } else { memory_hint(cx) };
        return Some(finding.hint(hint));
    }
    let parts = Meaning::KilledByOomd.parts_of(&line.message).filter(|_| line.identifier == "systemd-oomd")?;
    let unit = unit_of(&parts["cgroup"]);
    Some(
        Finding::new(&unit, format!("{unit} was killed by systemd-oomd: {}", &parts["why"]))
            .detail([text::journal(line)])
            .evidence("unit", text::clean(&unit))
            .hint(memory_hint(cx)),
    )
}

fn is_kernels(line: &JournalLine) -> bool {
    line.transport == "kernel" || line.identifier == "kernel"
}

fn memory_hint(cx: &JudgeContext<'_>) -> String {
    match cx.context.memory_mib {
        Some(mib) => format!("the VM has {mib} MiB; [machine] memory in nixbox.toml, or --memory, gives it more"),
        None => "[machine] memory in nixbox.toml, or --memory, gives the VM more".to_owned(),
    }
}

// --- what fails quietly ---

fn activation(cx: &JudgeContext<'_>, out: &mut Judgement) {
    let id = CheckId::BootActivation;
    if cx.plan.expectations.nixos_init == Some(true) {
        let why = "not applicable: with system.nixos-init there is no activation script";
        out.results.push(CheckResult::new(id, Status::Skip, why));
        return;
    }
    let mut fails: Vec<Finding> = Vec::new();
    let mut excluded = Vec::new();
    let (quiet, journal): (Vec<&JournalLine>, Vec<_>) =
        cx.now.journal.iter().partition(|line| line.identifier.contains("nixos-activation"));
    // What the activation's own unit says is not told apart by its words: it goes first, by itself.
    let journal = quiet.into_iter().chain(journal).map(|line| line.message.as_str());
    let lines: Vec<&str> = journal.chain(cx.console.iter().map(String::as_str)).collect();
    for (index, line) in lines.iter().enumerate() {
        let Some(found) = Meaning::SnippetFailed.parts_of(line) else { continue };
        let name = found["name"].to_owned();
        if fails.iter().any(|finding| finding.item == name) || excluded.contains(&name) {
            continue;
        }
        let before = &lines[index.saturating_sub(4)..index];
        let others = before.iter().rposition(|line| Meaning::SnippetFailed.is_in(line)).map_or(0, |at| at + 1);
        // An owner that does not exist, whatever key there is.
        let is_wrong = before[others..].iter().any(|line| Meaning::AccountMissing.is_in(line));
        let is_secrets = sandbox::is_secret_snippet(&name) && !is_wrong;
        if is_secrets || before.last().is_some_and(|line| sandbox::misses_a_secret(line)) {
            let why = format!("the VM does not have the real machine's decryption key: \"{line}\"");
            out.exclude(&format!("secrets ({name})"), Excuse::new(Lack::Secret, Witness::line(*line), why));
            excluded.push(name);
            continue;
        }
        let code = found.name("code").map_or("", |part| part.as_str());
        let words = before.iter().rev().find(|line| line.contains("stage-2-init") || line.contains("activat"));
        let said = before.last().or(words).filter(|line| !line.trim().is_empty());
        // Of stage 1's journal on the console the words alone.
        let words = |line: &str| {
            let forwarded = Meaning::Forwarded.parts_of(line).map(|parts| parts["words"].trim().to_owned());
            forwarded.unwrap_or_else(|| line.trim().to_owned())
        };
        let said = said.map_or_else(String::new, |line| format!(": {}", words(line)));
        let code = if code.is_empty() { String::new() } else { format!(" with exit code {code}") };
        fails.push(
            Finding::new(&name, format!("the activation script's snippet {name:?} failed{code}{said}"))
                .detail(text::clean_all(before.iter().chain([line]).copied()))
                .evidence("snippet", text::clean(&name)),
        );
    }
    // With systemd in stage 1, a unit runs the activation.
    for name in ["nixos-activation.service", "initrd-nixos-activation.service"] {
        if let Some(unit) = cx.unit(name).filter(|unit| is_failed(unit))
            && fails.is_empty()
            && excluded.is_empty()
        {
            fails.push(
                Finding::new(name, format!("{name} failed: {}", unit::describe_failure(cx.now, unit)))
                    .detail(unit::tail(cx.now, name, 8)),
            );
        }
    }
    let result = match cx.unknown(id, &["journal"]).filter(|_| fails.is_empty()) {
        Some(unknown) => unknown,
        None => conclude(cx, id, fails, Vec::new(), || match excluded.len() {
            0 => "every snippet of the activation script succeeded".to_owned(),
            _ => format!("no snippet failed but those for secrets, which are excluded ({})", text::list(&excluded)),
        }),
    };
    out.results.push(result);
}

fn is_tmpfiles_line(line: &JournalLine) -> bool {
    line.identifier == "systemd-tmpfiles" || (line.identifier.is_empty() && unit::is_tmpfiles(&line.unit))
}

fn tmpfiles(cx: &JudgeContext<'_>, out: &mut Judgement) {
    let id = CheckId::BootTmpfiles;
    let mut fails: Vec<Finding> = Vec::new();
    for line in cx.now.journal.iter().filter(|line| is_tmpfiles_line(line)) {
        let trouble = line.priority <= 3 || (line.priority <= 4 && Meaning::RuleFailed.is_in(&line.message));
        let unsafe_path = Meaning::UnsafePath.parts_of(&line.message);
        // Every rule below such a path says the same.
        let item = unsafe_path
            .as_ref()
            .map_or_else(|| line.message.clone(), |path| format!("{} {}", &path["from"], &path["to"]));
        if !trouble || fails.iter().any(|finding| finding.item == item) {
            continue;
        }
        if Meaning::RuleNotForVm.is_in(&line.message) || sandbox::misses_a_secret(&line.message) {
            let words: String = line.message.chars().take(200).collect();
            let why = format!("the VM's file systems or hardware differ: \"{words}\"");
            out.exclude("a rule of systemd-tmpfiles", Excuse::new(Lack::Disk, Witness::line(words), why));
            continue;
        }
        let finding = Finding::new(&item, format!("systemd-tmpfiles: {}", line.message)).detail([text::journal(line)]);
        fails.push(match unsafe_path {
            Some(path) => finding.hint(text::clean(&format!(
                "it follows no path by which {} could lead it astray: give {} the owner of {}, or root to both",
                &path["owner"], &path["to"], &path["from"]
            ))),
            None => finding,
        });
    }
    let failed = cx.now.units.iter().filter(|unit| unit::is_tmpfiles(&unit.name) && is_failed(unit));
    for unit in failed {
        if fails.is_empty() {
            fails.push(
                Finding::new(&unit.name, format!("{} failed: {}", unit.name, unit::describe_failure(cx.now, unit)))
                    .detail(unit::tail(cx.now, &unit.name, 8)),
            );
        }
    }
    let result = match cx.unknown(id, &["journal"]).filter(|_| fails.is_empty()) {
        Some(unknown) => unknown,
        None => conclude(cx, id, fails, Vec::new(), || "every rule was applied".to_owned()),
    };
    out.results.push(result);
}

// --- taint, time ---

/// The bits of `/proc/sys/kernel/tainted` in words, and whether one deserves a warning (kernel: tainted-kernels).
const TAINTS: [(&str, bool); 20] = [
    ("a proprietary module was loaded", false),
    ("a module was loaded by force", true),
    ("an SMP kernel on a processor that was not meant for it", true),
    ("a module was removed by force", true),
    ("a machine check happened", true),
    ("a bad page was found", true),
    ("a user asked for it", false),
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

fn etc(cx: &JudgeContext<'_>) -> CheckResult {
    let id = CheckId::BootEtc;
    if let Some(unknown) = cx.unknown(id, &["etc-links"]) {
        return unknown;
    }
    let (mut fails, mut warns) = (Vec::new(), Vec::new());
    for DanglingLink { path, target } in &cx.now.etc_links {
        if path == "/etc/localtime" {
            let zone = target.rsplit_once("/zoneinfo/").map_or(target.as_str(), |(_, zone)| zone);
            let summary = format!("the time zone {zone} does not exist: this machine's clock shows UTC");
            let hint = "time.timeZone takes a name that timedatectl list-timezones lists, such as Europe/Berlin";
            fails.push(Finding::new(path, text::clean(&summary)).evidence("time_zone", text::clean(zone)).hint(hint));
        } else if target.starts_with(STORE_DIR) {
            let name = path.strip_prefix("/etc/").unwrap_or(path);
            let summary = text::clean(&format!("{path} links to {target}, which does not exist"));
            let hint = text::clean(&format!("environment.etc.{name:?}.source names it: is it in the package?"));
            warns.push(Finding::new(path, summary).hint(hint));
        }
    }
    conclude(cx, id, fails, warns, || "everything that /etc links to exists".to_owned())
}

fn taint(cx: &JudgeContext<'_>) -> CheckResult {
    let id = CheckId::BootTaint;
    let Some(bits) = cx.now.taint else {
        let why = cx.gap("taint").unwrap_or("it was not read");
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
    let trouble = |line: &&JournalLine| line.transport == "kernel" && Meaning::KernelWarned.is_in(&line.message);
    let warns: Vec<Finding> = set(true)
        .map(|words| {
            Finding::new(&words, format!("the kernel is tainted: {words}"))
                .detail(cx.now.journal.iter().filter(trouble).take(2).map(text::journal))
                .evidence("tainted", bits)
        })
        .collect();
    conclude(cx, id, Vec::new(), warns, || {
        let harmless: Vec<String> = set(false).collect();
        if harmless.is_empty() { "not tainted".to_owned() } else { format!("harmless: {}", harmless.join(", ")) }
    })
}

fn time(cx: &JudgeContext<'_>) -> CheckResult {
    let id = CheckId::BootTime;
    let manager = &cx.now.manager;
    let reached = boot_state::default_target(cx.now).map_or(0, |target| target.active_enter_us);
    let us = if manager.finish_us > 0 { manager.finish_us } else { reached };
    if us == 0 {
        let status = if cx.booted() && cx.plan.settings.boot_time.is_some() { Status::Unknown } else { Status::Skip };
        return CheckResult::new(id, status, "the guest does not report when its boot ended");
    }
    let took = us as f64 / 1e6;
    let words = format!("{} from the kernel's start", text::seconds(took));
    let Some(limit) = cx.plan.settings.boot_time else {
        return CheckResult::new(id, Status::Pass, words).evidence("seconds", took);
    };
    let scaled = limit.as_secs_f64() * cx.context.scale();
    let limit_words = if cx.context.scale() > 1.0 {
        format!(
            "{} ({} scaled to {})",
            text::seconds(scaled),
            text::seconds(limit.as_secs_f64()),
            cx.context.accelerator.name()
        )
    } else {
        text::seconds(scaled)
    };
    let fails = if took > scaled {
        vec![
            Finding::new("boot", format!("the boot took {words}, the limit is {limit_words}"))
                .evidence("seconds", took)
                .evidence("limit", scaled)
                .time_limit((0, us))
                .hint("systemd-analyze critical-chain in the guest shows what it waited for (--keep)"),
        ]
    } else {
        Vec::new()
    };
    conclude(cx, id, fails, Vec::new(), || format!("{words}, within {limit_words}")).evidence("seconds", took)
}

#[cfg(test)]
mod tests;
