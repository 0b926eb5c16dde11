//! `nixbox man`: the whole command line as one manual page, in roff.

use std::io;

use clap::Command;
use clap_mangen::Man;

use crate::model::EXIT_CODES;

/// The page, made from the command line's own definition: `nixbox man | man -l -`.
///
/// # Errors
/// None in practice: what is written to is memory.
pub fn page(command: Command, examples: &str) -> io::Result<String> {
    let mut command = command;
    // Names of commands below others are complete only then.
    command.build();
    let mut page = Vec::new();
    let man = Man::new(command.clone()).manual("nixbox");
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut page = text(page);
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        subcommand(below, &mut page)?;
    }
    for (title, lines) in [("EXAMPLES", examples), ("EXIT STATUS", EXIT_CODES)] {
        page.push_str(&format!(".SH {title:?}\n.nf\n"));
        // The first line is the text's own title.
        lines.lines().skip(1).for_each(|line| page.push_str(&format!("{}\n", escaped(line))));
        page.push_str(".fi\n");
    }
    Ok(page)
}

/// A command in a section of its own, those below it after it. `help` is what every command has.
fn subcommand(command: &Command, page: &mut String) -> io::Result<()> {
    if command.get_name() == "help" {
        return Ok(());
    }
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_uppercase();
    page.push_str(&format!(".SH {name:?}\n"));
    let mut part = Vec::new();
    let man = Man::new(command.clone());
    man.render_synopsis_section(&mut part)?;
    man.render_description_section(&mut part)?;
    man.render_options_section(&mut part)?;
    for line in text(part).lines() {
        // A section of the page, not a page of its own; the macros for that come once.
        match line.strip_prefix(".SH ") {
            Some(title) => page.push_str(&format!(".SS {title}\n")),
            None if line.starts_with(".ie ") || line.starts_with(".el ") => {}
            None => page.push_str(&format!("{line}\n")),
        }
    }
    command.get_subcommands().try_for_each(|below| subcommand(below, page))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A line as it is: no escapes, no requests (groff_char(7)).
fn escaped(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    if line.starts_with('.') { format!("\\&{line}") } else { line }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn the_whole_page() {
        let page = page(Cli::command(), crate::cli::EXAMPLES).unwrap();
        insta::assert_snapshot!(page.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    }

    #[test]
    fn all_commands_are_in_it_and_one_title() {
        let page = page(Cli::command(), "Examples:\n  nixbox try .#it's").unwrap();
        assert_eq!(page.lines().filter(|line| line.starts_with(".TH ")).count(), 1);
        let mut command = Cli::command();
        command.build();
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            let title = format!(".SH \"NIXBOX {}\"", below.get_name().to_uppercase());
            assert!(page.lines().any(|line| line == title), "{title}");
        }
        assert!(page.lines().any(|line| line == ".SH \"NIXBOX HOOK INSTALL\""));
        assert!(page.contains("nixbox try .#it\\(aqs") && page.contains("could not tell"), "{page}");
        assert!(page.lines().filter(|line| line.starts_with(".SH ")).count() > 15);
    }
}
