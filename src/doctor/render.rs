//! The diagnosis as text for a terminal.

use super::{Diagnosis, FindingState};
use crate::report::text::{Paint, TextLayout, wrap};
use crate::text::{escape, escape_line, seconds};

/// The findings, a line each; with a transcript below them.
pub(super) fn render(diagnosis: &Diagnosis, style: TextLayout) -> String {
    let mut lines = vec![format!("nixbox {} on {}", diagnosis.nixbox, diagnosis.host), String::new()];
    let width = diagnosis.findings.iter().map(|finding| finding.id.len()).max().unwrap_or(0);
    for finding in &diagnosis.findings {
        let (paint, word) = match finding.state {
            FindingState::Ok => (Paint::Good, "ok"),
            FindingState::Warn => (Paint::Doubt, "warning"),
            FindingState::Bad => (Paint::Bad, "fail"),
        };
        let took = finding.millis.map(|millis| format!(" ({})", seconds(millis / 1000.0))).unwrap_or_default();
        let indent = 8 + width + 2;
        let columns = style.width.saturating_sub(indent).max(20);
        for (place, line) in wrap(&format!("{}{took}", finding.observation), columns, 6).into_iter().enumerate() {
            let (word, id) = if place == 0 { (word, finding.id.as_str()) } else { ("", "") };
            lines.push(format!("{}{id:<width$}  {line}", style.paint(paint, &format!("{word:<8}"))));
        }
        for (place, line) in finding.fix.iter().flat_map(|fix| wrap(fix, columns - 5, 6)).enumerate() {
            lines.push(format!("{:indent$}{}{line}", "", if place == 0 { "fix: " } else { "     " }));
        }
    }
    lines.push(String::new());
    lines.push(match diagnosis.able {
        true => style.paint(Paint::Good, "nixbox try can work here"),
        false => style.paint(Paint::Bad, "nixbox try cannot work here until the failures above are fixed"),
    });
    if !diagnosis.transcript.is_empty() {
        lines.extend([String::new(), "transcript:".to_owned()]);
    }
    for ran in &diagnosis.transcript {
        lines.push(format!("$ {}", escape_line(&ran.command)));
        let output = escape(&format!("{}\n{}", ran.stdout, ran.stderr));
        lines.extend(output.lines().filter(|line| !line.trim().is_empty()).take(60).map(|line| format!("  {line}")));
        let end = match (&ran.error, ran.exit) {
            (Some(error), _) => escape_line(error),
            (None, Some(code)) => format!("exit {code}"),
            (None, None) => "no exit code".to_owned(),
        };
        lines.push(format!("  [{end}, {}]", seconds(ran.millis / 1000.0)));
    }
    lines.push(String::new());
    lines.join("\n")
}
