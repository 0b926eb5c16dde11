//! The comparison for a pull request.

use std::fmt::Write as _;

use super::human;
use super::model::{Change, Comparison, Grade};
use super::packages::told;
use crate::report::markdown::{code, fence};
use crate::text::escape_line;

/// Lines of a text in a change's fold.
const LINES: usize = 40;

/// The comparison as markdown. What comes from configurations is set as code.
pub(super) fn render(comparison: &Comparison) -> String {
    let mut out = format!("### {} → {}\n\n", code(&comparison.from.named), code(&comparison.to.named));
    if comparison.same {
        out.push_str("Nothing differs.\n");
        return out;
    }
    let counts = comparison.counts;
    // Writing into a String cannot fail.
    let _infallible = writeln!(
        out,
        "**{} security**, {} service, {} boot, {} info\n",
        counts.security, counts.service, counts.boot, counts.info
    );
    for grade in Grade::ALL {
        let of_grade: Vec<&Change> = comparison.changes.iter().filter(|change| change.grade == grade).collect();
        if of_grade.is_empty() {
            continue;
        }
        let _infallible = writeln!(out, "#### {}\n", grade.name());
        for change in of_grade {
            add(change, &mut out);
        }
        out.push('\n');
    }
    out.push_str("#### the switch\n\n");
    out.push_str(&fence("", &human::switch(&comparison.switch, true)));
    if let Some(packages) = &comparison.packages {
        let all: Vec<String> = [&packages.down, &packages.up, &packages.added, &packages.removed]
            .into_iter()
            .flatten()
            .map(told)
            .collect();
        if !all.is_empty() {
            let (number, block) = (all.len(), fence("", &all));
            let _infallible = write!(out, "\n<details><summary>{number} packages</summary>\n\n{block}\n</details>\n");
        }
    }
    for note in &comparison.notes {
        let _infallible = write!(out, "\n> {}\n", code(note));
    }
    if let Some(apply) = &comparison.apply {
        let _infallible = write!(out, "\nApply: {}\n", code(&escape_line(apply)));
    }
    out
}

fn add(change: &Change, out: &mut String) {
    let _infallible = writeln!(out, "- `{}` {} {}", change.kind.sign(), code(&change.subject), code(&change.what));
    for detail in change.details.iter().filter(|_| !change.is_said()) {
        let shown = |value: &Option<String>| value.as_deref().map_or_else(|| "not set".to_owned(), code);
        let _infallible = match (&detail.from, &detail.to) {
            (None, Some(to)) => writeln!(out, "  - {}: {}", code(&detail.name), code(to)),
            (from, to) => writeln!(out, "  - {}: {} → {}", code(&detail.name), shown(from), shown(to)),
        };
    }
    if !change.lines.is_empty() {
        let mut lines: Vec<String> = change.lines.iter().take(LINES).cloned().collect();
        if change.lines.len() > LINES {
            lines.push(format!("… and {} lines more", change.lines.len() - LINES));
        }
        out.push('\n');
        fence("diff", &lines).lines().for_each(|line| out.push_str(&format!("  {line}\n")));
    }
}
