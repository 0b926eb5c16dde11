//! The report for people: fits a screen, leads with the cause, never relies on colour.
//!
//! A pass is at most 24 lines and ends with the command that applies exactly what was tested. A failure is at most 40:
//! the cause and the lines that show it, what else failed, what was not tested, notes, the artifacts, what to do.

use std::collections::BTreeMap;
use std::path::Path;

use super::case::{self, head_and_tail, lead};
use super::comparison::{comparison, known_failures};
use super::switch;
use super::text::{Paint, TextLayout, count, cut, wrap};
use crate::model::{CheckResult, MachineInfo, Report, Stage, Status, Verdict, artifact};
use crate::text::{escape, escape_line, seconds};

/// Columns of the labels on the left.
const LABEL: usize = 12;
/// Most lines of evidence below the cause.
const EVIDENCE: usize = 10;

/// The report, with a line end after its last line.
///
/// Reads the artifacts' directory, only to name the files that are there.
pub(crate) fn render(report: &Report, layout: TextLayout) -> String {
    let mut page = Page { lines: Vec::new(), layout };
    match report.verdict {
        Verdict::Pass => page.pass(report),
        Verdict::Fail | Verdict::Unknown => page.not_passed(report),
    }
    page.lines.push(String::new());
    page.lines.join("\n")
}

/// The few lines of a text that are shown as evidence. Of many, the first and the last: an error's text begins with what
/// is wrong, a log ends with it.
pub(super) fn excerpt(text: &str, layout: TextLayout) -> Vec<String> {
    let text = escape(&text.replace("\r\n", "\n"));
    let lines: Vec<&str> = text.split('\n').map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let (head, omitted, tail) = head_and_tail(&lines, EVIDENCE);
    let indented = |line: &&str| format!("  {}", cut(line, layout.width.saturating_sub(2)));
    let omitted = omitted.map(|line| layout.paint(Paint::Faint, &format!("  {line}")));
    head.iter().map(indented).chain(omitted).chain(tail.iter().map(indented)).collect()
}

struct Page {
    lines: Vec<String>,
    layout: TextLayout,
}

impl Page {
    fn pass(&mut self, report: &Report) {
        let passed = report.checks.iter().filter(|check| check.status == Status::Pass).count();
        let what = format!(
            "{} works: {} passed in {}{}",
            escape_line(&report.target.name),
            count(passed, "check"),
            seconds(report.seconds),
            case::untestable(report)
        );
        let what = switch::pass(report).unwrap_or(what);
        let what = known_failures(report).map_or(what.clone(), |known| format!("{what}; {known}"));
        self.headline(report, &what, 2);
        self.lines.push(String::new());
        self.comparison(report);
        self.switch(report);
        self.checks(report, None);
        self.not_tested(report);
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
            self.lines.push(format!("  {}", self.layout.paint(Paint::Strong, &escape_line(apply))));
        }
    }

    fn not_passed(&mut self, report: &Report) {
        let lead = lead(report);
        self.headline(report, &case::cause(report).unwrap_or_default(), 3);
        self.evidence(report, lead);
        self.lines.push(String::new());
        let name = escape_line(&report.target.name);
        let (label, of) = match lead {
            Some(check) => ("check", format!("{} of {name}", check.label())),
            None => ("target", name),
        };
        let when = match report.stage {
            Some(stage) => format!("{of}, {}", ended(stage, report.seconds)),
            None => format!("{of}, after {}", seconds(report.seconds)),
        };
        self.labelled(label, Paint::Faint, &when, 1);
        self.cached(report);
        self.comparison(report);
        self.switch(report);
        self.checks(report, lead);
        self.not_tested(report);
        if let Some(machine) = &report.machine {
            self.labelled("machine", Paint::Faint, &describe_machine(machine), 1);
        }
        let files: &[&str] = match report.stage {
            Some(Stage::Evaluate | Stage::Build) => &[artifact::NIX_LOG],
            Some(Stage::Boot) => &[artifact::CONSOLE, artifact::SCREEN, artifact::QEMU_LOG],
            Some(Stage::Check) => &[artifact::JOURNAL, artifact::CONSOLE, artifact::SCREEN],
            Some(Stage::Host) | None => &[artifact::QEMU_LOG, artifact::CONSOLE, artifact::NIX_LOG],
        };
        let phase = lead.and_then(|check| check.phase);
        let of_phase = |file: &&str| phase.map_or_else(|| (*file).to_owned(), |phase| format!("{phase}/{file}"));
        let files: Vec<String> = files.iter().map(of_phase).collect();
        self.artifacts(report, &files.iter().map(String::as_str).collect::<Vec<_>>());
        if let Some(hint) = report.hint.as_deref().or(lead.and_then(|check| check.hint.as_deref())) {
            self.labelled("hint", Paint::Strong, &escape_line(hint), 3);
        }
    }

    fn headline(&mut self, report: &Report, text: &str, most: usize) {
        let word = case::headline_word(report.verdict, report.exit);
        self.lines.extend(self.layout.headline(word, text, most));
    }

    /// The few lines that show the cause.
    fn evidence(&mut self, report: &Report, lead: Option<&CheckResult>) {
        let own = report.detail.as_deref().filter(|detail| !detail.trim().is_empty());
        let text = match (own, lead) {
            (Some(detail), _) => detail.to_owned(),
            (None, Some(check)) => check.detail.join("\n"),
            (None, None) => return,
        };
        self.lines.extend(excerpt(&text, self.layout));
    }

    /// All checks but the one that leads, by verdict.
    fn checks(&mut self, report: &Report, lead: Option<&CheckResult>) {
        let others: Vec<&CheckResult> =
            report.checks.iter().filter(|check| !lead.is_some_and(|lead| std::ptr::eq(lead, *check))).collect();
        let of = |is_listed: &dyn Fn(&CheckResult) -> bool| -> Vec<(String, String)> {
            let listed: Vec<&CheckResult> = others.iter().copied().filter(|check| is_listed(check)).collect();
            switch::folded(&listed)
        };
        let failed = of(&|check| check.is_failure());
        let label = if lead.is_some() { "also failed" } else { "failed" };
        self.list(label, Paint::Bad, &failed, 5);
        self.list("unknown", Paint::Doubt, &of(&|check| check.status == Status::Unknown), 2);
        self.list("warning", Paint::Doubt, &of(&|check| check.status == Status::Warn), 2);
        let allowed: Vec<(String, String)> = others
            .iter()
            .filter(|check| check.status == Status::Fail)
            .filter_map(|check| {
                let why = check.allowed.as_ref()?;
                Some((check.label(), format!("{} (allowed: {why})", check.summary)))
            })
            .collect();
        self.list("as before", Paint::Doubt, &of(&|check| check.before), 2);
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

    /// How it compares with the configuration before the change.
    fn comparison(&mut self, report: &Report) {
        if let Some(comparison) = comparison(report) {
            self.labelled("baseline", Paint::Faint, &comparison, 2);
        }
    }

    /// The switch that was rehearsed.
    fn switch(&mut self, report: &Report) {
        if let Some(switch) = switch::line(report) {
            self.labelled("switch", Paint::Faint, &switch, 2);
        }
    }

    fn cached(&mut self, report: &Report) {
        if let Some(cached) = &report.cached {
            let text = format!(
                "the verdict of {} ago: nothing that it depends on has changed since (--fresh tests again)",
                seconds(cached.age)
            );
            self.labelled("cached", Paint::Doubt, &text, 1);
        }
    }

    /// What was not tested, and what the user should know.
    fn not_tested(&mut self, report: &Report) {
        let entries: Vec<_> = report.not_tested.iter().map(|entry| (entry.what.clone(), entry.why.clone())).collect();
        self.list("not tested", Paint::Faint, &entries, 3);
        self.labelled("outside", Paint::Faint, &case::outside(report).unwrap_or_default(), 1);
        let most = if report.verdict == Verdict::Pass { 2 } else { 3 };
        for note in case::notes(&report.notes, most, artifact::REPORT) {
            self.labelled("note", Paint::Doubt, &note, 1);
        }
    }

    fn artifacts(&mut self, report: &Report, files: &[&str]) {
        let Some(directory) = &report.artifacts else { return };
        let there: Vec<&str> = files.iter().copied().filter(|file| Path::new(directory).join(file).exists()).collect();
        let label = format!("{:<LABEL$}", "see");
        let path = escape_line(&directory.display().to_string());
        let files = if there.is_empty() { String::new() } else { format!(": {}", there.join(", ")) };
        // Whole, however long: it is there to be opened.
        self.lines.push(format!("{}{path}{files}", self.layout.paint(Paint::Faint, &label)));
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
        let columns = self.layout.width.saturating_sub(LABEL);
        let lines = if most == 1 { vec![cut(text, columns)] } else { wrap(text, columns, most) };
        for (place, line) in lines.iter().enumerate() {
            let label = format!("{:<LABEL$}", if place == 0 { label } else { "" });
            self.lines.push(format!("{}{line}", self.layout.paint(paint, &label)));
        }
    }
}

/// At which stage a run ended, and when: `while checking, after 26 s`.
pub(super) fn ended(stage: Stage, time: f64) -> String {
    let how = match stage {
        Stage::Evaluate => "while evaluating,",
        Stage::Build => "while building,",
        Stage::Boot => "while booting,",
        Stage::Check => "while checking,",
        Stage::Host => "stopped by a problem on this host",
    };
    format!("{how} after {}", seconds(time))
}

/// How it was run, in one line.
pub(super) fn describe_machine(machine: &MachineInfo) -> String {
    // Without `..`, so that a new field is decided on here.
    let MachineInfo {
        accelerator,
        accelerator_reason: _,
        transport: _,
        jail,
        memory_mib,
        cores,
        network,
        systemd,
        qemu,
    } = machine;
    let mut parts = vec![
        accelerator.name().to_owned(),
        count(*cores as usize, "core"),
        format!("{memory_mib} MiB"),
        format!("network {}", network.name()),
        format!("jail {}", jail.name()),
    ];
    parts.extend(qemu.iter().map(|version| format!("QEMU {version}")));
    parts.extend(systemd.iter().map(|version| format!("systemd {version}")));
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
    use crate::model::{CheckId, Lack, OutsideAttempt, Witness};
    use crate::report::examples;

    const NARROW: TextLayout = TextLayout { colour: false, width: 80 };

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
            report.not_tested = vec![examples::not_tested("what", Lack::Hardware, Witness::line("line"), &long); 30];
            report.notes = vec![long.clone(); 30];
            report.outside = vec![OutsideAttempt { to: long.clone(), by: vec![long.clone(); 9], is_clock: false }; 30];
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
        let colour = TextLayout { colour: true, width: 80 };
        for report in [examples::pass(), examples::fail(), examples::unknown(), examples::boot_fail()] {
            let painted = render(&report, colour);
            assert!(painted.contains("\x1b[1m"));
            assert_eq!(console::strip_ansi_codes(&painted), render(&report, NARROW));
        }
    }
}
