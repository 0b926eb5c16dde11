//! The formats of reports.
//!
//! A new one is a file with a `render`, and a variant of [`Format`]: the compiler leads to every other place.

use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;

use super::text::TextLayout;
use super::{github, html, human, json, junit, markdown, tap};
use crate::model::Report;

/// What a report is written in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, ValueEnum)]
pub enum Format {
    /// For people: fits a screen
    #[default]
    Human,
    /// One JSON document (`nixbox schema report`)
    Json,
    /// JUnit's XML for most CI services: one suite per machine, one case per check
    Junit,
    /// The Test Anything Protocol, version 14
    Tap,
    /// Annotations of GitHub Actions; on stdout, the job's summary is written too ($GITHUB_STEP_SUMMARY)
    Github,
    /// GitHub's Markdown, like that summary
    Markdown,
    /// One page that needs nothing else, with the pictures and the logs
    Html,
}

impl Format {
    /// The reports in this format. Of one machine, JSON is its report; of several, a list of them.
    pub(crate) fn render(self, reports: &[Report], layout: TextLayout) -> String {
        match self {
            Self::Human => reports.iter().map(|report| human::render(report, layout)).collect::<Vec<_>>().join("\n"),
            Self::Json => match reports {
                [report] => json::render(report),
                several => json::pretty(&several),
            },
            Self::Junit => junit::render(reports),
            Self::Tap => tap::render(reports),
            Self::Github => github::render(reports),
            Self::Markdown => markdown::render(reports),
            Self::Html => html::render(reports),
        }
    }

    /// A document of this format in which no text of others is a workflow command of GitHub's, for a job's log.
    pub(super) fn without_commands(self, text: String) -> String {
        match self {
            // Has commands of ours, and all text in them.
            Self::Github => text,
            Self::Human | Self::Markdown | Self::Tap => github::inert_for_people(&text),
            // In strings only, so that no line begins with a colon.
            Self::Json => github::inert(&text, ":", "\\u0023"),
            Self::Junit | Self::Html => github::inert(&text, "&#58;", "&#35;"),
        }
    }

    /// All names, as the command line takes them.
    fn names() -> String {
        let names = Self::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        names.map(|value| value.get_name().to_owned()).collect::<Vec<_>>().join(", ")
    }
}

/// `FORMAT=PATH`: a report in a file besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportFile {
    /// The format.
    pub format: Format,
    /// The file.
    pub path: PathBuf,
}

impl FromStr for ReportFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((format, path)) = text.split_once('=') else {
            return Err(format!("give FORMAT=PATH, such as json=report.json (formats: {})", Format::names()));
        };
        let format = Format::from_str(format, false)
            .map_err(|_unknown| format!("`{format}` is not a format (formats: {})", Format::names()))?;
        if path.is_empty() {
            return Err("the path after `=` is missing".to_owned());
        }
        Ok(Self { format, path: path.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{examples, hostile};

    /// A name for a snapshot.
    fn name(format: Format) -> String {
        format.to_possible_value().unwrap().get_name().to_owned()
    }

    #[test]
    fn each_format_of_each_report() {
        for format in Format::value_variants() {
            for (of, reports) in [
                ("pass", vec![examples::pass()]),
                ("fail", vec![examples::fail()]),
                ("compared", vec![examples::compared()]),
                ("switched", vec![examples::switched()]),
                ("switch-failed", vec![examples::switch_failed()]),
                ("all", examples::all()),
            ] {
                let text = format.render(&reports, TextLayout { colour: false, width: 80 });
                assert!(text.ends_with('\n'), "{format:?}");
                // A page is one line but for its layout sheet and its texts.
                let text = match format {
                    Format::Html => html::tests::readable(&text),
                    _ => text,
                };
                insta::assert_snapshot!(format!("{}-{of}", name(*format)), text);
            }
        }
    }

    #[test]
    fn the_readme_has_each_format() {
        let readme = include_str!("../../README.md");
        for format in Format::value_variants() {
            let row = format!("| {} | ", name(*format));
            assert!(readme.lines().any(|line| line.starts_with(&row)), "missing in the README: {row}");
        }
    }

    #[test]
    fn several_machines_in_json_are_a_list() {
        let list = Format::Json.render(&examples::all(), TextLayout::PLAIN);
        assert_eq!(serde_json::from_str::<Vec<Report>>(&list).unwrap(), examples::all());
    }

    #[test]
    fn what_is_printed_commands_nothing_and_is_still_a_document() {
        let reports = hostile::reports();
        for format in Format::value_variants().iter().filter(|format| **format != Format::Github) {
            let written = format.render(&reports, TextLayout::PLAIN);
            let text = format.without_commands(written.clone());
            for line in text.lines() {
                assert!(!line.trim_start().starts_with("::") && !line.contains("##["), "{format:?}: {line}");
            }
            match format {
                Format::Json => {
                    let of = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
                    assert_eq!(of(&text), of(&written));
                }
                // References of HTML that are not ours are not known to the page's reader.
                Format::Html => {}
                format => hostile::check(*format, &reports, &text),
            }
        }
    }
}
