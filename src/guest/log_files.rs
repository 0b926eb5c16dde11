//! Logs that services keep in files of their own: what they say there is in no journal.

use std::time::Duration;

use super::Guest;
use super::facts::{FROM_FILE, JournalLine};
use crate::text::bounded;

/// Units and the files that they write to, patterns of the shell's, in the order in which they are read: the last has the
/// last word.
const FILES: [(&str, &str); 3] = [
    // Its greeter writes to its terminal.
    ("greetd.service", "/dev/vcs1"),
    // LightDM's own, and those of the X servers and greeters that it starts.
    (
        "display-manager.service",
        "/var/log/X*.[0-9].log /var/log/lightdm/x-*.log /var/log/lightdm/seat*-greeter.log /var/log/lightdm/lightdm.log",
    ),
    ("httpd.service", "/var/log/httpd/error*.log"),
];
/// How much of a line is read.
const MESSAGE: usize = 400;
/// A function of the shell that prints the last lines of a file; a terminal's text has no ends of lines (vcs(4)).
const PRINT: &str = r#"p() {
 case $1 in
  /dev/vcs*) C=$(stty -F "/dev/tty${1#/dev/vcs}" size) && fold -b -w "${C#* }" "$1" | sed 's/ *$//; /^$/d';;
  *) cat "$1";;
 esac | tail -n 60
}"#;
/// Most bytes of the answer.
const ANSWER: usize = 1 << 17;

/// What prints the files of these units, each after a line with the unit's name and its own; `None` where they keep none.
fn script(units: &[&str]) -> Option<String> {
    let known = FILES.iter().filter(|(unit, _)| units.contains(unit));
    let shown: Vec<String> = known
        .map(|(unit, files)| {
            format!("for F in {files}; do [ -r \"$F\" ] && {{ echo \"nixbox-log {unit} $F\"; p \"$F\"; }}; done")
        })
        .collect();
    (!shown.is_empty()).then(|| format!("( {PRINT}\n{}\n: ) 2>/dev/null", shown.join("\n")))
}

/// What an X server writes before an error in its configuration, whose words stand in the next line.
const PARSE_ERROR: &str = "Parse error on line ";

/// The words of a line that do not only tell how an X server or LightDM goes on. The one marks its errors, and a legend
/// explains the marks; of the other, what fails is of level DEBUG as all else is.
fn words_of<'a>(file: &str, line: &'a str) -> Option<&'a str> {
    if file.starts_with(['X', 'x']) {
        let is_error = line.contains("(EE)") && !line.contains("(WW)");
        return (is_error || line.starts_with("Fatal server error") || line.starts_with(PARSE_ERROR)).then_some(line);
    }
    match line.split_once("] DEBUG: ").filter(|_| file.starts_with("lightdm")) {
        Some((_, words)) => (words.contains("failed") && !words.contains("plymouth")).then_some(words),
        None => Some(line),
    }
}

/// The lines as the journal would have them, without a time: when they were written only they know.
fn parse(text: &str) -> Vec<JournalLine> {
    let (mut unit, mut identifier) = ("", "");
    let mut lines: Vec<JournalLine> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("nixbox-log ").and_then(|header| header.split_once(' ')) {
            Some((of, file)) if FILES.iter().any(|(known, _)| *known == of) => {
                unit = of;
                identifier = file.rsplit('/').next().unwrap_or(file);
            }
            _ if unit.is_empty() => {}
            _ => {
                let is_bare = |message: &str| message.starts_with(PARSE_ERROR) && !message.contains(": ");
                let parse_error = lines.last_mut().filter(|last| is_bare(&last.message));
                if let Some((last, words)) = parse_error.zip(line.strip_prefix('\t')) {
                    last.message = bounded(&format!("{}: {words}", last.message), MESSAGE);
                } else if let Some(words) = words_of(identifier, line) {
                    lines.push(JournalLine {
                        priority: 6,
                        unit: unit.to_owned(),
                        identifier: bounded(identifier, 128),
                        transport: FROM_FILE.to_owned(),
                        message: bounded(words, MESSAGE),
                        ..JournalLine::default()
                    });
                }
            }
        }
    }
    lines
}

impl Guest {
    /// The last lines of the files that these units keep, as if they were the journal's, of no time. Nothing where a guest does
    /// not answer: the journal is there too.
    pub(crate) async fn log_files(&self, units: &[&str], patience: Duration) -> Vec<JournalLine> {
        let Some(script) = script(units) else { return Vec::new() };
        let output = self.shell().ask(&script, patience, ANSWER).await;
        output.map(|output| parse(&String::from_utf8_lossy(&output.stdout))).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_units_that_keep_some() {
        assert_eq!(script(&["sshd.service"]), None);
        let script = script(&["httpd.service", "sshd.service"]).unwrap_or_default();
        assert!(script.contains("/var/log/httpd/error*.log") && !script.contains("lightdm"), "{script}");
        let text = "stray\nnixbox-log display-manager.service /var/log/lightdm/x-0.log\n(WW) warning, (EE) error\n\
                    > Warning: Could not resolve keysym\n(EE) no screens found\n\
                    Parse error on line 4 of section InputClass in file /etc/X11/xorg.conf.d/00-keyboard.conf\n\
                    \t\"Section\" is not a valid keyword in this section.\n\tlegend\n\
                    nixbox-log display-manager.service /var/log/lightdm/lightdm.log\n\
                    [+0.39s] DEBUG: Could not run plymouth --ping: Failed to execute child process\n\
                    [+4.38s] DEBUG: Launching process 401: /nix/store/x-setup\n\
                    [+4.66s] DEBUG: Seat seat0: Stopping display server due to failed setup script\n\
                    [+4.70s] WARNING: Error getting user list\n\
                    nixbox-log httpd.service /var/log/httpd/error.log\nnixbox-log other.service /etc/shadow\n";
        let lines = parse(text);
        let told: Vec<_> = lines.iter().map(|line| (&*line.unit, &*line.identifier, &*line.message)).collect();
        let unit = "display-manager.service";
        assert_eq!(
            told,
            [
                (unit, "x-0.log", "(EE) no screens found"),
                (
                    unit,
                    "x-0.log",
                    "Parse error on line 4 of section InputClass in file /etc/X11/xorg.conf.d/00-keyboard.conf: \
                     \"Section\" is not a valid keyword in this section."
                ),
                (unit, "lightdm.log", "Seat seat0: Stopping display server due to failed setup script"),
                (unit, "lightdm.log", "[+4.70s] WARNING: Error getting user list"),
                ("httpd.service", "error.log", "nixbox-log other.service /etc/shadow"),
            ]
        );
    }
}
