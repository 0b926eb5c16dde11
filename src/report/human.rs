//! The report for people: fits a screen, leads with the cause, never relies on colour.
//!
//! A pass is at most 24 lines and ends with the command that applies exactly what was tested. A failure is at most 40:
//! the cause and the lines that show it, what else failed, what was set aside, notes, where to look, what to do.

use std::collections::BTreeMap;
use std::path::Path;

use super::case::lead;
use super::text::{Paint, Style, count, cut, wrap};
use crate::model::{CheckResult, Exit, MachineInfo, Report, Stage, Status, Verdict, artifact};
use crate::text::{escape, escape_line, seconds};

/// The few lines of a text that are shown as evidence. Of many, the first and the last.
pub(super) fn excerpt(text: &str, style: Style) -> Vec<String> {
    let mut lines: Vec<String> = escape(&text.replace("\r\n", "\n"))
        .split('\n')
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .map(|line| format!("  {}", cut(line, style.width.saturating_sub(2))))
        .collect();
    if lines.len() > EVIDENCE {
        let head = EVIDENCE / 3;
        let tail = EVIDENCE - head - 1;
        let left_out = lines.len() - head - tail;
        let mark = style.paint(Paint::Faint, &format!("  … {}", count(left_out, "line")));
        lines.splice(head..head + left_out, [mark]);
    }
    lines
}

/// Columns of the labels on the left.
const LABEL: usize = 12;
/// Most lines of evidence below the cause.
const EVIDENCE: usize = 10;

/// The report, with a line end after its last line.
///
/// Looks into the artifacts' directory, only to name the files that are there.
pub fn render(report: &Report, style: Style) -> String {
    let mut page = Page { lines: Vec::new(), style };
    if report.verdict == Verdict::Pass {
        page.pass(report)
    } else {
        page.not_passed(report)
    }
    page.lines.push(String::new());
    page.lines.join("\n")
}

struct Page {
    lines: Vec<String>,
    style: Style,
}

impl Page {
    fn pass(&mut self, report: &Report) {
        let passed = report.checks.iter().filter(|check| check.status == Status::Pass).count();
        let what = format!(
            "{} works: {} passed in {}",
            escape_line(&report.target.name),
            count(passed, "check"),
            seconds(report.seconds)
        );
        self.headline(Paint::Good, "pass", &what, 2);
        self.lines.push(String::new());
        self.checks(report, None);
        self.aside(report);
        if let Some(machine) = &report.machine {
            self.labelled("machine", Paint::Faint, &describe_machine(machine), 2);
        }
        self.labelled("time", Paint::Faint, &describe_phases(report), 1);
        self.cached(report);
        self.artifacts(report, &[artifact::REPORT]);
        if let Some(apply) = &report.apply {
            self.lines.push(String::new());
            self.lines.push("apply exactly what was tested:".to_owned());
            // Whole, however long: it is there to be copied.
            self.lines.push(format!("  {}", self.style.paint(Paint::Strong, &escape_line(apply))));
        }
    }

    fn not_passed(&mut self, report: &Report) {
        let lead = lead(report);
        let cause = report.cause.as_deref().or(lead.map(|check| check.summary.as_str())).unwrap_or("no cause is known");
        let (paint, word) = match (report.verdict, report.exit) {
            (_, code) if code == Exit::Usage.code() => (Paint::Bad, "error"),
            (_, code) if code == Exit::Interrupted.code() => (Paint::Doubt, "interrupted"),
            (Verdict::Fail, _) => (Paint::Bad, "fail"),
            _ => (Paint::Doubt, "could not tell"),
        };
        self.headline(paint, word, &escape_line(cause), 3);
        self.evidence(report, lead);
        self.lines.push(String::new());
        let name = escape_line(&report.target.name);
        let of = match lead {
            Some(check) => format!("{} of {name}", check.id),
            None => name,
        };
        let when = match report.stage {
            Some(stage) => format!("{of}, at {} after {}", stage_word(stage), seconds(report.seconds)),
            None => format!("{of}, after {}", seconds(report.seconds)),
        };
        self.labelled("what", Paint::Faint, &when, 1);
        self.cached(report);
        self.checks(report, lead);
        self.aside(report);
        if let Some(machine) = &report.machine {
            self.labelled("machine", Paint::Faint, &describe_machine(machine), 1);
        }
        let files: &[&str] = match report.stage {
            Some(Stage::Evaluate | Stage::Build) => &[artifact::NIX_LOG],
            Some(Stage::Boot) => &[artifact::CONSOLE, artifact::SCREEN, artifact::QEMU_LOG],
            Some(Stage::Check) => &[artifact::JOURNAL, artifact::CONSOLE, artifact::SCREEN],
            Some(Stage::Host) | None => &[artifact::QEMU_LOG, artifact::CONSOLE, artifact::NIX_LOG],
        };
        self.artifacts(report, files);
        if let Some(hint) = report.hint.as_deref().or(lead.and_then(|check| check.hint.as_deref())) {
            self.labelled("hint", Paint::Strong, &escape_line(hint), 3);
        }
    }

    /// `word: text`, wrapped.
    fn headline(&mut self, paint: Paint, word: &str, text: &str, most: usize) {
        let mut lines = wrap(&format!("{word}: {text}"), self.style.width, most).into_iter();
        if let Some(first) = lines.next() {
            let rest = first.strip_prefix(word).unwrap_or_default();
            let line = format!("{}{}", self.style.paint(paint, word), self.style.paint(Paint::Strong, rest));
            self.lines.push(line);
        }
        let style = self.style;
        self.lines.extend(lines.map(|line| style.paint(Paint::Strong, &line)));
    }

    /// The few lines that show the cause. Of many, the first and the last: an error's text begins with what is wrong,
    /// a log ends with it.
    fn evidence(&mut self, report: &Report, lead: Option<&CheckResult>) {
        let own = report.detail.as_deref().filter(|detail| !detail.trim().is_empty());
        let text = match (own, lead) {
            (Some(detail), _) => detail.to_owned(),
            (None, Some(check)) => check.detail.join("\n"),
            (None, None) => return,
        };
        self.lines.extend(excerpt(&text, self.style));
    }

    /// All checks but the one that leads, by verdict.
    fn checks(&mut self, report: &Report, lead: Option<&CheckResult>) {
        let others: Vec<&CheckResult> =
            report.checks.iter().filter(|check| !lead.is_some_and(|lead| std::ptr::eq(lead, *check))).collect();
        let of = |wanted: &dyn Fn(&CheckResult) -> bool| -> Vec<(String, String)> {
            others
                .iter()
                .filter(|check| wanted(check))
                .map(|check| (check.id.to_string(), check.summary.clone()))
                .collect()
        };
        let failed = of(&|check| check.status == Status::Fail && check.allowed.is_none());
        let label = if lead.is_some() { "also failed" } else { "failed" };
        self.list(label, Paint::Bad, &failed, 5);
        self.list("could not", Paint::Doubt, &of(&|check| check.status == Status::Unknown), 2);
        self.list("warning", Paint::Doubt, &of(&|check| check.status == Status::Warn), 2);
        let allowed: Vec<(String, String)> = others
            .iter()
            .filter(|check| check.status == Status::Fail)
            .filter_map(|check| {
                let why = check.allowed.as_ref()?;
                Some((check.id.to_string(), format!("{} (allowed: {why})", check.summary)))
            })
            .collect();
        self.list("allowed", Paint::Doubt, &allowed, 1);
        self.list("flaky", Paint::Doubt, &of(&|check| check.flaky && check.status == Status::Pass), 1);
        self.list("skipped", Paint::Faint, &of(&|check| check.status == Status::Skip), 1);
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for check in report.checks.iter().filter(|check| check.status == Status::Pass) {
            *kinds.entry(check.id.kind().name()).or_default() += 1;
        }
        if !kinds.is_empty() {
            let kinds = kinds.iter().map(|(kind, number)| format!("{} {number}", escape_line(kind)));
            self.labelled("passed", Paint::Good, &kinds.collect::<Vec<_>>().join(", "), 1);
        }
    }

    /// What was set aside, and what the user should know.
    fn cached(&mut self, report: &Report) {
        if let Some(cached) = &report.cached {
            let text = format!(
                "the verdict of {} ago, since nothing that it depends on has changed; --fresh asks again",
                seconds(cached.age)
            );
            self.labelled("cached", Paint::Doubt, &text, 1);
        }
    }

    fn aside(&mut self, report: &Report) {
        let aside: Vec<_> = report.not_tested.iter().map(|aside| (aside.what.clone(), aside.why.clone())).collect();
        self.list("not tested", Paint::Faint, &aside, 3);
        let most = 3;
        for (shown, note) in report.notes.iter().enumerate() {
            let left = report.notes.len() - shown;
            if shown + 1 == most && left > 1 {
                self.labelled("note", Paint::Doubt, &format!("and {} in report.json", count(left, "more note")), 1);
                break;
            }
            self.labelled("note", Paint::Doubt, &escape_line(note), 1);
        }
    }

    fn artifacts(&mut self, report: &Report, files: &[&str]) {
        let Some(directory) = &report.artifacts else { return };
        let there: Vec<&str> = files.iter().copied().filter(|file| Path::new(directory).join(file).exists()).collect();
        let label = format!("{:<LABEL$}", "see");
        let path = escape_line(&directory.display().to_string());
        let files = if there.is_empty() { String::new() } else { format!(": {}", there.join(", ")) };
        // Whole, however long: it is there to be opened.
        self.lines.push(format!("{}{path}{files}", self.style.paint(Paint::Faint, &label)));
    }

    /// One line an item, at most `most` lines; the last names what does not fit.
    fn list(&mut self, label: &str, paint: Paint, items: &[(String, String)], most: usize) {
        let shown = if items.len() > most { most - 1 } else { items.len() };
        for (place, (name, text)) in items[..shown].iter().enumerate() {
            let label = if place == 0 { label } else { "" };
            self.labelled(label, paint, &format!("{}: {}", escape_line(name), escape_line(text)), 1);
        }
        if shown < items.len() {
            let names: Vec<String> = items[shown..].iter().map(|(name, _)| escape_line(name)).collect();
            let label = if shown == 0 { label } else { "" };
            let and = if shown == 0 { "" } else { "and " };
            self.labelled(label, paint, &format!("{and}{}: {}", names.len(), names.join(", ")), 1);
        }
    }

    /// A label on the left, text beside it.
    fn labelled(&mut self, label: &str, paint: Paint, text: &str, most: usize) {
        if text.is_empty() {
            return;
        }
        let columns = self.style.width.saturating_sub(LABEL);
        let lines = if most == 1 { vec![cut(text, columns)] } else { wrap(text, columns, most) };
        for (place, line) in lines.iter().enumerate() {
            let label = format!("{:<LABEL$}", if place == 0 { label } else { "" });
            self.lines.push(format!("{}{line}", self.style.paint(paint, &label)));
        }
    }
}

/// The stage in words.
pub(super) fn stage_word(stage: Stage) -> &'static str {
    match stage {
        Stage::Evaluate => "evaluation",
        Stage::Build => "build",
        Stage::Boot => "boot",
        Stage::Check => "check",
        Stage::Host => "this host's part",
    }
}

/// How it was run, in one line.
pub(super) fn describe_machine(machine: &MachineInfo) -> String {
    let mut parts = vec![
        machine.accelerator.name().to_owned(),
        count(machine.cores as usize, "core"),
        format!("{} MiB", machine.memory_mib),
        format!("network {}", machine.network.name()),
        format!("jail {}", machine.jail.name()),
    ];
    parts.extend(machine.qemu.iter().map(|version| format!("QEMU {version}")));
    parts.extend(machine.systemd.iter().map(|version| format!("systemd {version}")));
    escape_line(&parts.join(", "))
}

/// How long each phase took, in one line.
pub(super) fn describe_phases(report: &Report) -> String {
    let phases = report.phases.iter().map(|time| format!("{} {}", time.phase.label(), seconds(time.seconds)));
    phases.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CheckId;
    use crate::model::NotTested;
    use crate::report::examples;

    const NARROW: Style = Style { colour: false, width: 80 };

    #[test]
    fn a_pass_ends_with_the_command_that_applies_it() {
        let text = render(&examples::pass(), NARROW);
        let expected = "\
pass: .#laptop works: 4 checks passed in 41 s

warning     boot.time: 21.3 s to multi-user.target, 20 s wished
allowed     script.printing: cups.service failed (allowed: no printer here)
skipped     audio.tone: no sound server is expected
passed      boot 1, services 2, users 1
not tested  fwupd.service: ConditionVirtualization=!vm, as on no real machine
            disks: a VM has a disk of its own, not those of hardware-configurat…
note        tcg instead of kvm: /dev/kvm ran 1,000,000 iterations in over 100 ms
machine     tcg, 2 cores, 1024 MiB, network off, jail namespaces, QEMU 10.0.2,
            systemd 257.9
time        evaluate 2.1 s, build 0.4 s, boot 21 s, check 5.0 s, stop 90 ms
see         /home/u/nixos/.nixbox/2026-11-23T20-14-05-laptop-812

apply exactly what was tested:
  nixos-rebuild switch --flake 'git+file:///home/u/nixos?rev=0123#laptop'
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_failure_leads_with_the_cause_and_what_shows_it() {
        let expected = "\
fail: nginx.service failed: exit code 1
  nginx[812]: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)
  nginx[812]: \\u{1b}[31mred\\u{1b}[0m
  systemd[1]: nginx.service: Failed with result 'exit-code'.

what        services.failed-units of .#laptop, at check after 41 s
also failed services.ports: nobody listens on tcp 80
passed      boot 1, users 1
not tested  disks: a VM has a disk of its own
machine     tcg, 2 cores, 1024 MiB, network off, jail namespaces, QEMU 10.0.2, …
see         /home/u/nixos/.nixbox/2026-11-23T20-14-05-laptop-812
hint        another unit listens on tcp 80: httpd.service
";
        let text = render(&examples::fail(), NARROW);
        assert_eq!(text, expected);
    }

    #[test]
    fn could_not_tell_says_so_and_blames_nobody() {
        let expected = "\
could not tell: --accel kvm: /dev/kvm does not open: Permission denied (os error 13)

what        .#laptop, at this host's part after 35 ms
hint        add yourself to the group kvm, or leave --accel at auto
";
        assert_eq!(render(&examples::unknown(), Style::PLAIN), expected);
    }

    #[test]
    fn a_boot_that_hangs_names_the_job() {
        let expected = "\
fail: boot hangs: stuck.service/start has been running for 1 min 31 s
  [  *** ] Job stuck.service/start running (1min 31s / no limit)

what        .#laptop, at boot after 2 min 0 s
passed      boot 1
see         /home/u/nixos/.nixbox/2026-11-23T20-14-05-laptop-812
hint        give stuck.service a TimeoutStartSec, or see why it does not end
";
        assert_eq!(render(&examples::boot_fail(), NARROW), expected);
    }

    #[test]
    fn a_build_that_fails_shows_the_error_s_head_and_the_log_s_tail() {
        let expected = "\
fail: building hello-1.0 failed: exit code 2
  error: builder for '/nix/store/x-hello-1.0.drv' failed with exit code 2
  log line 1
  log line 2
  … 24 lines
  log line 27
  log line 28
  log line 29
  log line 30
  log line 31
  log line 32

what        .#laptop, at build after 4.2 s
";
        assert_eq!(render(&examples::build_fail(), NARROW), expected);
    }

    #[test]
    fn whatever_happens_it_fits_a_screen() {
        let long = "word ".repeat(100);
        let many = |report: &mut Report| {
            for status in [Status::Pass, Status::Warn, Status::Fail, Status::Skip, Status::Unknown] {
                for number in 0..30 {
                    let mut check =
                        CheckResult::new(CheckId::script(&format!("{status:?}-{number}")), status, long.clone());
                    check.detail = vec![long.clone(); 50];
                    check.hint = Some(long.clone());
                    // A pass has no failure that is not allowed, or it were none.
                    if !(report.verdict == Verdict::Pass && status == Status::Fail) {
                        report.checks.push(check.clone());
                    }
                    check.allowed = Some(long.clone());
                    check.flaky = true;
                    report.checks.push(check);
                }
            }
            report.not_tested = vec![NotTested { what: "what".to_owned(), why: long.clone() }; 30];
            report.notes = vec![long.clone(); 30];
        };
        for (mut report, most) in [
            (examples::pass(), 24),
            (examples::fail(), 40),
            (examples::unknown(), 40),
            (examples::boot_fail(), 40),
            (examples::build_fail(), 40),
        ] {
            many(&mut report);
            report.cause = report.cause.map(|_| long.clone());
            report.detail = report.detail.map(|_| format!("{long}\n").repeat(50));
            let text = render(&report, NARROW);
            let lines = text.lines().count();
            assert!(lines <= most, "{lines} lines:\n{text}");
            for line in text.lines() {
                let copied = line.starts_with("see") || line.contains("nixos-rebuild");
                assert!(copied || console::measure_text_width(line) <= 80, "{line}");
            }
        }
    }

    #[test]
    fn colour_changes_no_letter() {
        let colour = Style { colour: true, width: 80 };
        for report in [examples::pass(), examples::fail(), examples::unknown(), examples::boot_fail()] {
            let painted = render(&report, colour);
            assert!(painted.contains("\x1b[1;3"));
            let mut plain = painted;
            for code in ["1;32", "1;31", "1;33", "1", "2", "0"] {
                plain = plain.replace(&format!("\x1b[{code}m"), "");
            }
            assert_eq!(plain, render(&report, NARROW));
        }
    }
}
