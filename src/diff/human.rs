//! The comparison for people: fits a screen, or is whole.

use super::model::{Area, Change, Comparison, Grade, Kind, PackageChanges, SwitchPlan, UnitPlan};
use super::names::readable;
use super::packages::told;
use crate::text::escape_line;

/// Changes of a grade that are told one by one, with their details; of more only some of each kind are.
const FEW: usize = 8;
/// Changes of one kind that are told where there are many.
const OF_A_KIND: usize = 2;
/// Details and lines of a change that fit.
const DETAILS: usize = 2;
/// Characters of a line.
const WIDTH: usize = 110;

/// The comparison as text.
pub(super) fn render(comparison: &Comparison, full: bool) -> String {
    let mut out = vec![format!("{} → {}", readable(&comparison.from.named), readable(&comparison.to.named))];
    if comparison.same {
        out.push("nothing differs: both are the same system".to_owned());
        out.extend(comparison.notes.iter().map(|note| format!("note: {note}")));
        return finish(&out);
    }
    if comparison.changes.is_empty() {
        out.push("no difference was found, though the two are different store paths".to_owned());
    }
    out.push(head(comparison));
    for grade in Grade::ALL {
        let of_grade: Vec<&Change> = comparison.changes.iter().filter(|change| change.grade == grade).collect();
        if of_grade.is_empty() {
            continue;
        }
        out.push(String::new());
        out.push(grade.name().to_owned());
        if full || of_grade.len() <= FEW {
            of_grade.iter().for_each(|change| add(change, full, &mut out));
        } else {
            many(&of_grade, &mut out);
        }
    }
    if full && let Some(packages) = &comparison.packages {
        out.extend(all_packages(packages));
    }
    out.push(String::new());
    out.extend(switch(&comparison.switch, full));
    out.extend(comparison.notes.iter().map(|note| format!("note: {note}")));
    if let Some(apply) = &comparison.apply {
        out.push(format!("apply: {apply}"));
    }
    finish(&out)
}

fn finish(lines: &[String]) -> String {
    let mut text: String = lines.iter().map(|line| escape_line_kept(line) + "\n").collect();
    if text.is_empty() {
        text.push('\n');
    }
    text
}

/// [`escape_line`], but for the spaces at the head.
fn escape_line_kept(line: &str) -> String {
    let spaces = line.len() - line.trim_start_matches(' ').len();
    format!("{}{}", " ".repeat(spaces), escape_line(line))
}

fn head(comparison: &Comparison) -> String {
    let counts = comparison.counts;
    let all =
        [(counts.security, "security"), (counts.service, "service"), (counts.boot, "boot"), (counts.info, "info")];
    let mut parts: Vec<String> =
        all.iter().filter(|(count, _)| *count > 0).map(|(count, name)| format!("{count} {name}")).collect();
    if let (Some(from), Some(to)) = (comparison.from.closure_bytes, comparison.to.closure_bytes) {
        parts.push(format!("closure {} → {}", size(from), size(to)));
    }
    parts.join(", ")
}

/// Bytes for people.
pub(super) fn size(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib >= 1024.0 { format!("{:.2} GiB", mib / 1024.0) } else { format!("{mib:.1} MiB") }
}

/// Of many changes some of each kind, and the names of the rest.
fn many(changes: &[&Change], out: &mut Vec<String>) {
    let is_alike = |a: &&Change, b: &&Change| (a.area, a.kind) == (b.area, b.kind);
    let mut sorted = changes.to_vec();
    sorted.sort_by_key(|change| (change.area, change.kind == Kind::Rebuilt, change.kind));
    for alike in sorted.chunk_by(is_alike) {
        let most = if alike[0].grade == Grade::Security { 2 * OF_A_KIND } else { OF_A_KIND };
        let told = if alike.len() <= most + 1 { alike.len() } else { most };
        for change in &alike[..told] {
            out.push(cut(&headline(change)));
            // A rule is what its text says.
            let line = change.lines.iter().find(|line| !is_comment(line)).filter(|_| change.area == Area::Rule);
            out.extend(line.map(|line| cut(&format!("      {line}"))));
        }
        let rest: Vec<&str> = alike[told..].iter().map(|change| change.subject.as_str()).collect();
        if let [first, ..] = &alike[told..] {
            out.push(cut(&format!("  {} {} more: {}", first.kind.sign(), rest.len(), rest.join(", "))));
        }
    }
    out.push("  (all of it: --full)".to_owned());
}

/// Whether a signed line is a comment.
fn is_comment(line: &str) -> bool {
    line.get(1..).is_some_and(|line| line.trim_start().starts_with('#'))
}

fn headline(change: &Change) -> String {
    format!("  {} {}: {}", change.kind.sign(), change.subject, change.what)
}

fn add(change: &Change, full: bool, out: &mut Vec<String>) {
    let line = headline(change);
    out.push(if full { line } else { cut(&line) });
    let details: Vec<String> = change
        .details
        .iter()
        .filter(|_| !change.is_said())
        .map(|detail| match (&detail.from, &detail.to) {
            (None, Some(to)) if change.kind == Kind::Added => format!("      {}: {to}", detail.name),
            (from, to) => {
                let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
                format!("      {}: {} → {}", detail.name, shown(from), shown(to))
            }
        })
        .collect();
    let most = if full { details.len() } else { DETAILS };
    out.extend(details.iter().take(most).map(|line| if full { line.clone() } else { cut(line) }));
    let lines = match (full, change.grade) {
        (true, _) => change.lines.len(),
        (false, _) if change.area == Area::Tmpfiles => DETAILS,
        (false, Grade::Security) => DETAILS,
        (false, _) => 0,
    };
    let tells = |line: &&String| full || !is_comment(line);
    let lines = change.lines.iter().filter(tells).take(lines).map(|line| format!("      {line}"));
    out.extend(lines.map(|line| if full { line } else { cut(&line) }));
}

fn cut(line: &str) -> String {
    if line.chars().count() <= WIDTH {
        return line.to_owned();
    }
    let kept: String = line.chars().take(WIDTH - 1).collect();
    format!("{kept}…")
}

fn all_packages(packages: &PackageChanges) -> Vec<String> {
    let PackageChanges { up, down, added, removed, .. } = packages;
    if [up, down, added, removed].iter().all(|list| list.is_empty()) {
        return Vec::new();
    }
    let mut out = vec![String::new(), "packages".to_owned()];
    for (list, sign) in [(down, '↓'), (up, '↑'), (added, '+'), (removed, '-')] {
        out.extend(list.iter().map(|change| {
            let bytes = match change.bytes {
                0 => String::new(),
                bytes => format!(" ({}{})", if bytes < 0 { '-' } else { '+' }, size(bytes.unsigned_abs())),
            };
            format!("  {sign} {}{bytes}", told(change))
        }));
    }
    out
}

/// What a switch does, as lines.
pub(super) fn switch(plan: &SwitchPlan, full: bool) -> Vec<String> {
    let mut out = Vec::new();
    let mut add = |lines: Vec<String>, of: &str| {
        if !lines.is_empty() {
            out.push(format!("a switch{of} would (assuming that what the old configuration starts is running)"));
            out.extend(lines.into_iter().map(|line| if full { line } else { cut(&line) }));
        }
    };
    let mut of_system = unit_lines(&plan.units);
    if !plan.swap_off.is_empty() {
        of_system.push(format!("  swap off        {}", plan.swap_off.join(" ")));
    }
    if plan.restarts_systemd {
        of_system.push("  re-execute      PID 1".to_owned());
    }
    add(of_system, "");
    add(unit_lines(&plan.user_units), " in each user's session");
    if out.is_empty() {
        out.push("a switch would stop, start and reload no unit".to_owned());
    }
    if !plan.reboot.is_empty() {
        out.push(format!("needs a reboot: {}", plan.reboot.join("; ")));
    }
    if !plan.refused.is_empty() {
        out.push(format!("a switch is refused: {}", plan.refused.join("; ")));
    }
    if !plan.checks.is_empty() {
        out.push(format!("checked before a switch, and not here: {}", plan.checks.join(", ")));
    }
    out
}

fn unit_lines(plan: &UnitPlan) -> Vec<String> {
    let again: Vec<String> = plan.stop.iter().filter(|unit| plan.start.contains(unit)).cloned().collect();
    let only = |list: &[String]| list.iter().filter(|unit| !again.contains(unit)).cloned().collect::<Vec<_>>();
    let mut restart = plan.restart.clone();
    restart.extend(again.iter().cloned());
    restart.sort();
    let mut start = only(&plan.start);
    start.extend(plan.started_by_targets.iter().cloned());
    start.sort();
    start.dedup();
    let lists = [
        ("stop", only(&plan.stop)),
        ("restart", restart),
        ("reload", plan.reload.clone()),
        ("start", start),
        ("leave as it is", plan.skip.clone()),
        ("if it runs", plan.if_running.clone()),
    ];
    let told = lists.into_iter().filter(|(_, units)| !units.is_empty());
    told.map(|(word, units)| format!("  {word:<15} {}", units.join(if word == "if it runs" { ", " } else { " " })))
        .collect()
}
