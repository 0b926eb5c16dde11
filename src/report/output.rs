//! Where reports go: stdout, and files besides.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::format::{Format, ReportFile};
use super::matrix::{self, Matrix};
use super::text::TextLayout;
use super::{github, human, markdown};
use crate::failure::{Failure, Result};
use crate::model::{Exit, Report};

/// Writes to stdout. That nobody reads any more (`nixbox … | head`) is no error.
///
/// # Errors
/// Any other error of stdout's.
pub fn to_stdout(text: &str) -> io::Result<()> {
    quietly(write_all(&mut io::stdout().lock(), text))
}

/// Writes to stderr. That it cannot be written to is no error: nothing could report it.
pub fn to_stderr(text: &str) {
    let _not_reported = write_all(&mut io::stderr().lock(), text);
}

/// Writes a message to stderr, which may hold text of others.
pub fn message(text: &str) {
    to_stderr(&for_the_log(text.to_owned(), Format::Human));
}

/// Asks on stderr, since stdout may go elsewhere. Returns the line that is typed, its end included: it is empty where the
/// input has ended.
///
/// # Errors
/// Those of stdin.
pub fn ask(question: &str) -> io::Result<String> {
    to_stderr(question);
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer)
}

fn write_all(out: &mut impl Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn quietly(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Fails before a long run for what would fail at its end: a report for a directory that is not there.
///
/// # Errors
/// Usage (exit 2).
pub fn check_files(files: &[ReportFile]) -> Result<()> {
    for file in files {
        let parent = file.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let refuse = |why: &str| Failure::usage(format!("--report to {}: {why}", file.path.display()));
        if !parent.is_dir() {
            return Err(refuse(&format!("{} is not a directory", parent.display())).hint("create it first"));
        }
        if file.path.is_dir() {
            return Err(refuse("is a directory").hint("name a file in it"));
        }
    }
    Ok(())
}

/// Writes the reports to stdout and into the files. All are tried. What is no verdict, a usage error or an
/// interruption, goes to stderr, so that stdout holds verdicts only; formats for programs go to stdout all the same,
/// since their reader expects one document.
///
/// # Errors
/// This host's (exit 5), naming each that could not be written.
pub fn deliver(reports: &[Report], stdout: Format, files: &[ReportFile]) -> Result<()> {
    let mut errors = write_files(files, |format| format.render(reports, TextLayout::PLAIN));
    errors.extend(summarise(reports, stdout));
    let is_none = |report: &&Report| [Exit::Usage, Exit::Interrupted].map(Exit::code).contains(&report.exit);
    let (no_verdicts, verdicts): (Vec<&Report>, Vec<&Report>) = reports.iter().partition(is_none);
    for report in no_verdicts {
        message(&human::render(report, TextLayout::of_stderr()));
    }
    let text = match stdout {
        Format::Human => {
            let all = verdicts.iter().map(|report| human::render(report, TextLayout::of_stdout()));
            all.collect::<Vec<_>>().join("\n")
        }
        format => format.render(reports, TextLayout::of_stdout()),
    };
    if let Err(error) = to_stdout(&for_the_log(text, stdout)) {
        errors.push(format!("stdout: {error}"));
    }
    written(&errors)
}

/// Writes a matrix to stdout and into the files, in the same way. A verdict from before an interruption is one.
///
/// # Errors
/// This host's (exit 5), naming each that could not be written.
pub fn deliver_matrix(matrix: &Matrix, stdout: Format, files: &[ReportFile]) -> Result<()> {
    let mut errors = write_files(files, |format| matrix::render(matrix, format, TextLayout::PLAIN));
    errors.extend(summarise(&matrix.reports(), stdout));
    let no_verdict = [Exit::Usage, Exit::Interrupted].map(Exit::code).contains(&matrix.exit) && matrix.hosts.is_empty();
    if no_verdict {
        message(&matrix::render(matrix, Format::Human, TextLayout::of_stderr()));
    }
    if !(no_verdict && stdout == Format::Human)
        && let Err(error) = to_stdout(&for_the_log(matrix::render(matrix, stdout, TextLayout::of_stdout()), stdout))
    {
        errors.push(format!("stdout: {error}"));
    }
    written(&errors)
}

/// GitHub's summary of the job, where that is what goes to stdout; returns the error.
fn summarise(reports: &[Report], stdout: Format) -> Option<String> {
    let path = std::env::var_os(github::SUMMARY).filter(|path| !path.is_empty() && stdout == Format::Github)?;
    let path = Path::new(&path);
    append(path, &markdown::render(reports)).err().map(|error| format!("{}: {error}", path.display()))
}

/// Writes into all files; returns the errors.
fn write_files(files: &[ReportFile], render: impl Fn(Format) -> String) -> Vec<String> {
    let mut errors = Vec::new();
    for file in files {
        // In place, so that a FIFO or a device works too.
        if let Err(error) = fs::write(&file.path, render(file.format)) {
            errors.push(format!("{}: {error}", file.path.display()));
        }
    }
    errors
}

fn written(errors: &[String]) -> Result<()> {
    if errors.is_empty() { Ok(()) } else { Err(Failure::host("the report was not written").why(errors.join("\n"))) }
}

/// What is printed, where it may be read for commands: in the log of a job on GitHub.
fn for_the_log(text: String, format: Format) -> String {
    if github::is_read_for_commands() { format.without_commands(text) } else { text }
}

/// Adds to a file that others write to as well.
fn append(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::examples;

    #[test]
    fn files_are_written_in_their_formats() {
        let directory = tempfile::tempdir().unwrap();
        let file = |format, name: &str| ReportFile { format, path: directory.path().join(name) };
        let files = [file(Format::Json, "a.json"), file(Format::Human, "b.txt")];
        check_files(&files).unwrap();
        for wanted in &files {
            fs::write(&wanted.path, wanted.format.render(&[examples::fail()], TextLayout::PLAIN)).unwrap();
        }
        let written = fs::read_to_string(&files[0].path).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&written).unwrap(), examples::fail());
        assert!(fs::read_to_string(&files[1].path).unwrap().starts_with("fail: nginx.service"));
    }

    #[test]
    fn a_summary_is_added_to_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("summary");
        fs::write(&path, "before\n").unwrap();
        append(&path, &markdown::render(&[examples::pass()])).unwrap();
        assert!(fs::read_to_string(&path).unwrap().starts_with("before\n## "));
    }

    #[test]
    fn a_directory_that_is_not_there_fails_before_the_run() {
        let directory = tempfile::tempdir().unwrap();
        let refused = |path: &Path| {
            let failure = check_files(&[ReportFile { format: Format::Json, path: path.into() }]).unwrap_err();
            assert_eq!(failure.exit, crate::model::Exit::Usage);
            failure.to_string()
        };
        assert!(refused(&directory.path().join("no/a.json")).contains("is not a directory\nhint: create it first"));
        assert!(refused(directory.path()).contains("is a directory"));
        check_files(&[ReportFile { format: Format::Json, path: "a.json".into() }]).unwrap();
    }

    #[test]
    fn a_reader_that_went_away_is_no_error() {
        assert!(quietly(Err(io::ErrorKind::BrokenPipe.into())).is_ok());
        assert!(quietly(Err(io::ErrorKind::StorageFull.into())).is_err());
    }
}
