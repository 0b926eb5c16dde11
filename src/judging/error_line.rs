//! Which of a unit's own lines says why it failed.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use regex::Regex;

use super::journal::Means as _;
use super::journal_patterns::Meaning;
use super::text::{self, pattern};
use super::unit::{file_lines, own_lines};
use crate::guest::facts::JournalLine;
use crate::text::bounded;

/// How many of a unit's last lines are asked.
const LINES: usize = 400;
/// Most lines that are added to one which only announces them.
const MOST: usize = 3;
/// Most characters of the whole.
const LIMIT: usize = 400;
/// How many lines before the last of a failure its cause may stand, and how long before it, in µs.
const REACH: usize = 30;
const RUN_US: u64 = 10_000_000;
/// How many lines of others may stand between two of one failure.
const GAP: usize = 4;
/// How many words a line has at most that is no more than a heading.
const HEADING: usize = 6;
/// How long a parser takes at most to tell all that it did not understand, in µs.
const PARSING_US: u64 = 1_000_000;

/// When a line was written, and by which process, as programs put it before what they say. The journal knows both.
static STAMP: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"^\[(?:\+| *)\d+\.\d+s?\] |^(?:\d+:[A-Z] |\[\d+\]:? |\d+: )?(?:time=")?\[?(?:\d{4}[-/]\d\d[-/]\d\d[T ]|\d{1,2} [A-Z][a-z]{2} \d{4} |[A-Z][a-z]{2} +\d{1,2} )\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z| ?[+-]\d\d:?\d\d| UTC)?"?\]?:?\s+(?:[#*.-] )?"#,
    )
});
/// Where a program of the store lies that begins the line with its name.
static IN_STORE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^/nix/store/[0-9a-z]{32}-[^\s:/]+/(?:s?bin|libexec)/(?:[^\s:/]+/)*"));
/// A place in a file, or what else a parser names before each thing that it found: `/etc/nftables.conf:12:3`.
static PLACE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"(?<file>/[^\s:\[\]()]+):\d+|msg="(?<config>Configuration): "#));

/// The line of the unit's own that names the cause, with what it announces.
///
/// It is found from the end: the last line that speaks of an error, does not follow from another, and is not of the commands
/// that clean up behind the program. Where that one only says that something failed, the lines that led to it are asked.
pub(crate) fn error_line(journal: &[JournalLine], unit: &str) -> Option<String> {
    let own = own_lines(journal, unit);
    let cleaning = of_cleaning(journal, unit);
    let of_journal = cause_among(&own, &cleaning);
    let of_files = || cause_among(&file_lines(journal, unit), &BTreeSet::new());
    let told = match of_journal {
        Some((_, true)) => of_journal,
        _ => of_files().filter(|(_, tells)| *tells || of_journal.is_none()).or(of_journal),
    };
    told.map(|(line, _)| line)
}

/// The line that names the cause, and whether it tells of one: where none does, the last is all that there is.
fn cause_among(own: &[&JournalLine], cleaning: &BTreeSet<*const JournalLine>) -> Option<(String, bool)> {
    let own = &own[own.len().saturating_sub(LINES)..];
    let telling = telling(&own.iter().map(|line| line.message.as_str()).collect::<Vec<_>>());
    let is_programs = |at: &&usize| !cleaning.contains(&std::ptr::from_ref(own[**at]));
    let is_error = |at: &&usize| is_programs(at) && is_error(own[**at]);
    let last = telling.iter().rev().find(is_error).or_else(|| telling.iter().rev().find(is_programs));
    let Some(last) = last.or(telling.last()) else {
        let speaks = |line: &&&JournalLine| Meaning::SpeaksOfError.is_in(&line.message);
        let is_own = |line: &&&JournalLine| !Meaning::FollowsFromError.is_in(&line.message);
        let line = own.iter().find(speaks).or_else(|| own.iter().rev().find(is_own)).or(own.last())?;
        return Some((with_announced(line, &[]), false));
    };
    let whole = || {
        let at = first_of_parse(own, &telling, cause_of(own, &telling, *last));
        with_head(own, &telling, at).unwrap_or_else(|| with_announced(own[at], &own[at + 1..]))
    };
    Some((chained(own, *last).unwrap_or_else(whole), true))
}

/// The lines of a console that are of the last failure it shows, the first by its place: what came after it failed for want
/// of it.
pub(crate) fn last_failure(console: &[String]) -> Option<RangeInclusive<usize>> {
    let from = console.len().saturating_sub(LINES);
    let lines: Vec<&str> = console[from..].iter().map(String::as_str).collect();
    // The kernel writes between the lines, of other things too.
    let is_kernels = |line: &str| text::of_kernel(line).is_some_and(|said| !Meaning::MountRefused.is_in(said));
    let (of_kernel, others): (Vec<usize>, Vec<usize>) =
        telling(&lines).into_iter().partition(|at| is_kernels(lines[*at]));
    let last = others.last().or(of_kernel.last()).copied()?;
    let before = others.into_iter().rev().skip_while(|at| *at >= last);
    let first = run(last, before.take_while(|at| last - at <= REACH)).last().copied()?;
    Some(from + first..=from + last)
}

/// The places of the lines that tell.
fn telling(lines: &[&str]) -> Vec<usize> {
    (0..lines.len()).filter(|at| tells(lines, *at)).collect()
}

/// The places of lines that are of one failure, from the last on: with few others between each and the next.
fn run(last: usize, before: impl IntoIterator<Item = usize>) -> Vec<usize> {
    let mut run = vec![last];
    for at in before {
        if run.last().is_some_and(|later| later - at > GAP) {
            break;
        }
        run.push(at);
    }
    run
}

/// Whether a line says why something went wrong, and not only that it did.
fn tells(lines: &[&str], at: usize) -> bool {
    let words = lines[at];
    let speaks = speaks_of_error(words) || Meaning::MayTell.is_in(words);
    // What is announced may not have come; and a frame of Python's has its line of the program below it.
    let is_heading = |words: &str| announces(words) && words.split_whitespace().count() <= HEADING;
    let is_whole = at + 1 < lines.len() || !is_heading(shortened(first_of(words)));
    let is_source = words.starts_with([' ', '\t'])
        && at.checked_sub(1).is_some_and(|before| lines[before].trim_start().starts_with("File \""));
    speaks && is_whole && !is_source && !Meaning::FollowsFromError.is_in(words) && !Meaning::SaysNothing.is_in(words)
}

fn speaks_of_error(words: &str) -> bool {
    [Meaning::SpeaksOfError, Meaning::HasErrno, Meaning::OfErrorLevel].iter().any(|meaning| meaning.is_in(words))
}

/// The line that names the cause, of those up to the last that tells. Programs that fail say so at each level on the way
/// out, the innermost first.
fn cause_of(own: &[&JournalLine], telling: &[usize], last: usize) -> usize {
    let words = |at: usize| own[at].message.as_str();
    if names_cause(words(last)) {
        return last;
    }
    let before = telling.iter().rev().copied().skip_while(|at| *at >= last);
    let before: Vec<usize> = before
        .take_while(|at| last - at <= REACH && own[*at].at_us + RUN_US >= own[last].at_us)
        .filter(|at| own[*at].pid == own[last].pid && !is_warning(own[*at]))
        .collect();
    let run = run(last, before.iter().copied().filter(|at| !announces(first_line(own[*at]))));
    // The kernel's words are handed on.
    let errno = |at: usize| Meaning::HasErrno.words_of(words(at)).map(|found| found.as_str().to_ascii_lowercase());
    if let Some(of_last) = errno(last)
        && let Some(first) = run.iter().rev().find(|at| **at != last && errno(**at).as_ref() == Some(&of_last))
    {
        return *first;
    }
    let of_run: &[usize] = if run.len() > 1 { &run } else { &before };
    let naming = of_run.iter().find(|at| **at != last && names_cause(words(**at)));
    naming.or(run.last()).copied().unwrap_or(last)
}

/// Whether its words are those of an error, and the program calls it nothing less.
fn is_error(line: &JournalLine) -> bool {
    speaks_of_error(&line.message) && !is_warning(line)
}

/// Whether the program says itself that it is no error, and does not hand on the kernel's.
fn is_warning(line: &JournalLine) -> bool {
    Meaning::IsWarning.is_in(&line.message) && !Meaning::HasErrno.is_in(&line.message)
}

/// Whether a line says what is wrong with what.
fn names_cause(words: &str) -> bool {
    // The kernel's words alone do not: of many things the same is wrong.
    Meaning::NamesCause.is_in(&Meaning::HasErrno.removed_from(words))
        || Meaning::HasErrno.is_in(words) && Meaning::NamesObject.is_in(words)
}

/// Of what a parser says of one file the first: it goes on after what it did not understand, and then understands the rest no
/// better.
fn first_of_parse(own: &[&JournalLine], telling: &[usize], at: usize) -> usize {
    let file_of = |at: usize| {
        let place = PLACE.captures(&own[at].message)?;
        place.name("file").or(place.name("config")).map(|file| file.as_str().to_owned())
    };
    let Some(file) = file_of(at) else { return at };
    let is_of_it = |other: &usize| {
        let (other, line) = (own[*other], own[at]);
        other.pid == line.pid && other.at_us + PARSING_US >= line.at_us && other.at_us <= line.at_us + PARSING_US
    };
    let mut parsed = telling.iter().copied().filter(is_of_it);
    parsed.find(|other| file_of(*other).as_ref() == Some(&file)).unwrap_or(at)
}

fn first_line(line: &JournalLine) -> &str {
    first_of(&line.message)
}

fn first_of(message: &str) -> &str {
    message.lines().next().unwrap_or_default().trim_end()
}

/// Whether what it is about stands in the next line. The bare name of an exception does not.
fn announces(words: &str) -> bool {
    let words = words.trim();
    let is_class = !words.contains(' ') && (words.contains("::") || words.contains('.'));
    words.ends_with(':') && !is_class || words.ends_with(" aborted!")
}

/// A line that continues the one before it, or is announced by it, with that.
fn with_head(own: &[&JournalLine], telling: &[usize], at: usize) -> Option<String> {
    let before = at.checked_sub(1)?;
    let is_continuation = own[at].message.starts_with([' ', '\t']) || announces(first_line(own[before]));
    let head = own.get(before).filter(|_| is_continuation && telling.contains(&before))?;
    Some(bounded(&format!("{} {}", shortened(first_line(head)), first_line(own[at]).trim()), LIMIT))
}

/// The whole of a chain of errors whose last this line is: what was tried, and below "Caused by:" a line for each cause.
fn chained(own: &[&JournalLine], at: usize) -> Option<String> {
    const LINKS: usize = 5;
    let begin = own[..at].iter().rposition(|line| line.message.trim() == "Caused by:")?;
    let outer = begin.checked_sub(1).filter(|_| at - begin <= LINKS)?;
    let link = |line: &&JournalLine| {
        let words = line.message.trim();
        let (number, cause) = words.split_once(": ").unwrap_or(("", words));
        if number.parse::<u8>().is_ok() { cause.to_owned() } else { words.to_owned() }
    };
    let links: Vec<String> = own[outer..=outer].iter().chain(&own[begin + 1..=at]).map(link).collect();
    Some(bounded(&links.join(": "), LIMIT))
}

/// A line without when it was written, and without where in the store the program lies that says it.
fn shortened(line: &str) -> &str {
    let rest = |pattern: &Regex, line| pattern.find(line).map_or(line, |found| &line[found.end()..]);
    let short = rest(&IN_STORE, rest(&STAMP, line));
    if short.is_empty() { line } else { short }
}

/// The first line of a message; with the lines after it, where it only announces them.
fn with_announced(line: &JournalLine, later: &[&JournalLine]) -> String {
    let first = shortened(first_line(line));
    let is_block = first.trim().starts_with("***") && first.ends_with("***");
    let beyond = line.message.lines().skip(1).chain(later.iter().map(|line| first_line(line)));
    let mut said = beyond.map(|line| shortened(line.trim())).filter(|line| !Meaning::FollowsFromError.is_in(line));
    let mut whole = first.to_owned();
    let (mut left, mut goes_on) = (MOST, is_block || announces(first));
    while let Some(line) = said.find(|line| !line.is_empty()).filter(|_| goes_on && left > 0) {
        whole = bounded(&format!("{whole} {line}"), LIMIT.max(first.len()));
        (left, goes_on) = (left - 1, is_block || announces(line));
    }
    whole
}

/// The unit's own lines that came after PID 1 saw its program end, by processes that had said nothing before: what
/// `ExecStopPost=` and the like write. A last line of the program's own may come as late.
fn of_cleaning(journal: &[JournalLine], unit: &str) -> BTreeSet<*const JournalLine> {
    let mut cleaning = BTreeSet::new();
    let (mut before, mut has_ended) = (BTreeSet::new(), false);
    for line in journal.iter().filter(|line| line.unit == unit) {
        if line.pid != 1 && line.identifier != "systemd" {
            if has_ended && !before.contains(&line.pid) {
                cleaning.insert(std::ptr::from_ref(line));
            } else {
                before.insert(line.pid);
            }
        } else if Meaning::ProcessExited.is_in(&line.message) {
            has_ended = true;
        } else if Meaning::Starting.is_in(&line.message) || Meaning::Restarts.is_in(&line.message) {
            (before, has_ended) = (BTreeSet::new(), false);
        }
    }
    cleaning
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::facts::FROM_FILE;

    fn of_app(pid: u32, message: &str) -> JournalLine {
        JournalLine { message: message.into(), unit: "app.service".into(), pid, ..JournalLine::default() }
    }

    fn of_lines(lines: &[&str]) -> Option<String> {
        let journal: Vec<JournalLine> = lines.iter().map(|line| of_app(12, line)).collect();
        error_line(&journal, "app.service")
    }

    #[test]
    fn the_first_error_of_a_chain_is_told() {
        let chain = [
            "starting",
            "Could not open /etc/app.conf: Permission denied",
            "(app:12): GLib-GIO-CRITICAL **: 12:00:00.000: g_key_file_get_string: assertion 'key_file != NULL' failed",
            "(app:12): GLib-GObject-WARNING **: 12:00:00.001: invalid (NULL) pointer instance",
        ];
        assert_eq!(of_lines(&chain).as_deref(), Some(chain[1]));
        assert_eq!(of_lines(&chain[2..]).as_deref(), Some(chain[2]));
    }

    #[test]
    fn a_closing_formula_is_not_the_cause() {
        for [cause, closing] in [
            [
                "Options error: --secret fails with 'static.key': No such file or directory",
                "Options error: Please correct these errors.",
            ],
            ["Cannot load certificate file server.crt", "Exiting due to fatal error"],
            [
                "[warn] Failed to parse/validate config: BridgeRelay is 1, ORPort is not set. This is an invalid combination.",
                "[err] Reading config failed--see warnings above.",
            ],
            ["Exception: Updates between multiple major versions and downgrades are unsupported.", "Update failed"],
            ["ERROR: [pool wifiadmin] cannot get uid for user 'admin'", "ERROR: FPM initialization failed"],
            [
                "ERROR   Failed during configuration: Have not found any log file for nginx-http-auth jail",
                "ERROR   Async configuration of server failed",
            ],
            ["Line unrecognized: `PresharedKey=XXXXX'", "Configuration parsing error"],
            ["/etc/bind/named.conf:16: open: /etc/bind/rndc-key: file not found", "exiting (due to fatal error)"],
            [
                "Error: Unknown configuration variable \"mysql_host\".",
                "Error found at /etc/mosquitto/mosquitto.conf:17.",
            ],
            [
                "error: can't bind socket: Address already in use for 127.0.0.1 port 8953",
                "fatal error: could not open ports",
            ],
            [
                "[ALERT] (2705) : parsing [/etc/haproxy/haproxy.cfg:92]: Missing LF on last line, file might have been truncated.",
                "[ALERT] (2705) : Fatal errors found in configuration.",
            ],
            [
                "(13)Permission denied: AH00072: make_sock: could not bind to address [::]:80",
                "AH00015: Unable to open logs",
            ],
            [
                "sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) no such table: server",
                "(Background on this error at: http://sqlalche.me/e/e3q8)",
            ],
            [
                "ERROR: Strict hostname resolution configured but no hostname setting provided",
                "ERROR [main] For more details run the same command passing the '--verbose' option.",
            ],
            [
                "FATAL:  could not open file \"/nix/store/x-postgresql.conf\": Permission denied",
                "LOG:  aborting startup due to startup process failure",
            ],
            ["ModuleNotFoundError: No module named 'vikreya'", "[12929] [INFO] Reason: Worker failed to boot."],
            [
                "[ERROR] InnoDB: Upgrade after a crash is not supported. The redo log was created with MariaDB 10.3.27.",
                "[ERROR] Unknown/unsupported storage engine: InnoDB",
            ],
            [
                "loadkeys: Unable to open file: us: No such file or directory",
                "/nix/store/x-kbd-2.6.4/bin/loadkeys failed with exit status 1.",
            ],
            ["Error: Cannot find module 'throng'", "error Command failed with exit code 1."],
            [
                "mount: /data: wrong fs type, bad option, bad superblock on tmpfs, missing codepage or helper program, or other error.",
                "       dmesg(1) may have more information after failed mount system call.",
            ],
            ["dbpassFile /run/db does not exist or is not readable by nextcloud! Exiting...", "fatal error, exiting."],
            [
                "(EE) Failed to load module \"nvidia\" (module does not exist, 0)",
                "(EE) Server terminated with error (1).",
            ],
        ] {
            assert_eq!(of_lines(&[cause, closing]).as_deref(), Some(cause));
            // Where it is all that was said, it is told.
            assert_eq!(of_lines(&[closing]).as_deref(), Some(closing));
        }
    }

    #[test]
    fn a_frame_or_a_field_is_not_the_cause() {
        for frame in [
            "    at emitErrorNT (node:net:1844:8)",
            "   at Jellyfin.Server.Program.StartError() in /src/Program.cs:line 12",
            "   --- End of inner exception stack trace ---",
            "   3: core::panicking::panic_fmt",
            "  File \"/nix/store/x/lib/error.py\", line 3, in raise_error",
            "  severity: 'FATAL',",
        ] {
            let cause = "Error: listen EADDRINUSE: address already in use :::8081";
            assert_eq!(of_lines(&[cause, frame]).as_deref(), Some(cause), "{frame}");
        }
    }

    #[test]
    fn a_file_in_the_way_is_the_cause_and_not_the_advice_after_it() {
        let files = "/nix/store/x-home-manager-files/.config/app.conf";
        let in_the_way = format!("Existing file '/home/alice/.config/app.conf' is in the way of '{files}'");
        let moved = format!("{in_the_way}, will be moved to '/home/alice/.config/app.conf.backup'");
        let advice = ["Please do one of the following:", "- Move or remove the above files and try again."];
        assert_eq!(of_lines(&[in_the_way.as_str(), advice[0], advice[1]]), Some(in_the_way.clone()));
        let clobbered = "Existing file '/home/alice/.config/app.conf' would be clobbered";
        assert_eq!(of_lines(&[advice[0], advice[1], clobbered, "bye"]).as_deref(), Some(clobbered));
        // One that is moved is none.
        let unbound = "activate: line 382: HYPRLAND_INSTANCE_SIGNATURE: unbound variable";
        assert_eq!(of_lines(&[moved.as_str(), unbound]).as_deref(), Some(unbound));
        assert_eq!(of_lines(&[moved.as_str(), "bye"]).as_deref(), Some("bye"));
    }

    #[test]
    fn what_is_announced_is_told_with_it() {
        let panic = ["thread 'main' panicked at src/main.rs:18:10:", "called `Option::unwrap()` on a `None` value"];
        assert_eq!(of_lines(&panic), Some(panic.join(" ")));
        let redis = [
            "*** FATAL CONFIG FILE ERROR (Redis 6.2.6) ***",
            "Reading the configuration file, at line 2",
            ">>> 'service-install \"redis.conf\"'",
            "Bad directive or wrong number of arguments",
        ];
        assert_eq!(of_lines(&redis), Some(redis.join(" ")));
        let x = ["Fatal server error:", "(EE) no screens found(EE) ", "(EE) Server terminated with error (1)."];
        assert_eq!(of_lines(&x).as_deref(), Some("Fatal server error: (EE) no screens found(EE)"));
        assert_eq!(of_lines(&["cannot open: gone", "bye"]).as_deref(), Some("cannot open: gone"));
        assert_eq!(of_lines(&["failed:\n  no such key\n  more"]).as_deref(), Some("failed: no such key"));
    }

    #[test]
    fn a_parser_stumbles_over_the_rest() {
        let nft = [
            "/dev/stdin:1:44-48: Error: syntax error, unexpected string, expecting accept or drop or '$'",
            "table inet nixos-fw { chain input { policy dropp; } }",
            "/dev/stdin:1:53-53: Error: syntax error, unexpected '}', expecting newline or semicolon",
            "/dev/stdin:2:1-1: Error: syntax error, unexpected end of file",
        ];
        assert_eq!(of_lines(&nft).as_deref(), Some(nft[0]));
        let others = ["/etc/a.conf:3: error: no such key", "/etc/b.conf:4: error: no such value"];
        assert_eq!(of_lines(&others).as_deref(), Some(others[1]), "of another file");
        let earlier = JournalLine { at_us: 0, ..of_app(12, others[0]) };
        let later = JournalLine { at_us: 5_000_000, ..of_app(12, "/etc/a.conf:9: error: no such value") };
        assert_eq!(error_line(&[earlier, later.clone()], "app.service"), Some(later.message), "of another time");
    }

    #[test]
    fn when_it_was_written_is_not_told() {
        for stamp in [
            "238:M 30 Nov 2026 12:20:40.897 # ",
            "2026/11/30 12:20:40 ",
            "[2019-12-29 02:17:45 +0000] ",
            "2026-11-30T12:20:40.897Z ",
            "2026-11-30 12:20:40,897 ",
            "Nov 30 12:20:40 ",
            "time=\"2026-11-30T12:20:40Z\" ",
            "[12]: 2026-11-30 12:20:40.897 UTC ",
            "[+1.35s] ",
            "[    44.375] ",
        ] {
            let said = of_lines(&[&format!("{stamp}Error: no such key")]);
            assert_eq!(said.as_deref(), Some("Error: no such key"), "{stamp}");
        }
        let script =
            "/nix/store/8n93a64mqmf4bdlpafvz6yz9bl5vb061-unit-script-app-start/bin/app-start: line 3: git: not found";
        assert_eq!(of_lines(&[script]).as_deref(), Some("app-start: line 3: git: not found"));
        for line in ["30 errors found", "2026-11-30 is not a time: error", "12: error"] {
            assert_eq!(of_lines(&[line]).as_deref(), Some(line));
        }
    }

    #[test]
    fn the_kernel_s_words_outrank_their_summary() {
        let redis = [
            "# Warning: Could not create server TCP listening socket *:80: bind: Permission denied",
            "# Failed listening on port 80 (tcp), aborting.",
        ];
        assert_eq!(of_lines(&redis).as_deref(), Some(redis[0]));
        let nextcloud =
            ["sh: warning: cannot set locale", "dbpassFile /run/db is not readable by nextcloud! Exiting..."];
        assert_eq!(of_lines(&nextcloud).as_deref(), Some(nextcloud[1]));
    }

    #[test]
    fn a_chain_of_causes_is_told_in_one() {
        let chain = [
            "starting",
            "Error: cannot read the configuration",
            "Caused by:",
            "    0: cannot open /etc/app.toml",
            "    1: No such file or directory (os error 2)",
        ];
        let whole =
            "Error: cannot read the configuration: cannot open /etc/app.toml: No such file or directory (os error 2)";
        assert_eq!(of_lines(&chain).as_deref(), Some(whole));
        let one = ["Error: cannot bind", "Caused by:", "    Address already in use (os error 98)"];
        assert_eq!(of_lines(&one).as_deref(), Some("Error: cannot bind: Address already in use (os error 98)"));
        let none = ["Caused by:", "invalid key"];
        assert_eq!(of_lines(&none).as_deref(), Some("invalid key"));
    }

    #[test]
    fn what_cleans_up_does_not_say_why() {
        let cause = "invalid argument \"bad.sysctl.option\" for \"--sysctl\" flag: it is not whitelisted";
        let ended = of_app(1, "app.service: Main process exited, code=exited, status=125/n/a");
        let journal = [of_app(12, cause), ended.clone(), of_app(20, "Error: No such container: test")];
        assert_eq!(error_line(&journal, "app.service").as_deref(), Some(cause));
        // The program's last line may be written down after PID 1's.
        let late = [of_app(12, "starting"), ended.clone(), of_app(12, cause)];
        assert_eq!(error_line(&late, "app.service").as_deref(), Some(cause));
        let by_child = [of_app(12, "starting"), ended.clone(), of_app(13, cause)];
        assert_eq!(error_line(&by_child, "app.service").as_deref(), Some(cause));
        // Another start is another program.
        let again = of_app(1, "app.service: Scheduled restart job, restart counter is at 1.");
        let next = [of_app(12, "Error: busy"), ended, again, of_app(30, "Error: gone")];
        assert_eq!(error_line(&next, "app.service").as_deref(), Some("Error: gone"));
    }

    #[test]
    fn the_innermost_error_of_a_failure_is_the_cause() {
        for lines in [
            ["cannot set period size to 512 frames", "ERROR: Cannot initialize driver", "ERROR: Failed to open server"]
                .as_slice(),
            &["[error] Only one log file found", "[error] Failed to initialize the engine", "[error] Aborting"],
            &[
                "open '/var/log/query.log' failed: permission denied",
                "configuring logging: permission denied",
                "loading configuration: permission denied",
            ],
            &[
                "/etc/raddb/default[164]: Invalid location for 'if'",
                "Errors reading or parsing /etc/raddb/radiusd.conf",
            ],
            &["Setup of recorder failed: No module named 'sqlalchemy'", "Error during setup of component http"],
            &["Can't locate Mojo/Base.pm in @INC", "BEGIN failed--compilation aborted at app.pl line 3."],
            &["Base class package \"DBIx::Class\" is empty.", "    (Perhaps you need to 'use' the module first)"],
            &["NoMethodError: undefined method `mysql?'", "/srv/gems/app/database.rb:37:in `connect'"],
        ] {
            assert_eq!(of_lines(lines).as_deref(), Some(lines[0]));
        }
        // A warning before it is of something else.
        let warned = ["warning: no private IP found", "error: cannot start the mesh"];
        assert_eq!(of_lines(&warned).as_deref(), Some(warned[1]));
        assert_eq!(of_lines(&["error: cannot start the mesh", warned[0]]).as_deref(), Some(warned[1]));
        // What may tell does so where nothing speaks of an error.
        let may = ["No suitable virtual machine could be found", "bye"];
        assert_eq!(of_lines(&may).as_deref(), Some(may[0]));
        assert_eq!(
            of_lines(&["error: locked", "the database has no pending migrations"]).as_deref(),
            Some("error: locked")
        );
        // What stands in a file of its own is asked where the journal does not tell.
        let of_file = JournalLine { transport: FROM_FILE.into(), ..of_app(0, "(EE) no screens found") };
        let with_file = |line: &str| error_line(&[of_app(12, line), of_file.clone()], "app.service");
        assert_eq!(with_file("starting").as_deref(), Some("(EE) no screens found"));
        assert_eq!(with_file("cannot open: gone").as_deref(), Some("cannot open: gone"));
        // So is another process's error.
        let journal = [of_app(12, "rm: cannot remove '/opt/bin': No such file"), of_app(13, "error: failed")];
        assert_eq!(error_line(&journal, "app.service").as_deref(), Some("error: failed"));
    }

    #[test]
    fn a_line_that_continues_another_is_told_with_it() {
        let json = ["[error] Error parsing JSON: * Line 27, Column 2", "  Missing ',' or '}' in object declaration"];
        let whole = "[error] Error parsing JSON: * Line 27, Column 2 Missing ',' or '}' in object declaration";
        assert_eq!(of_lines(&json).as_deref(), Some(whole));
        let heading = ["System check identified some issues:", "ERRORS:", "(4_0.E001) must start with a scheme"];
        assert_eq!(of_lines(&heading), Some(heading[1..].join(" ")));
        let python = [
            "  File \"/srv/app.py\", line 3, in connect",
            "    raise Failed('cannot connect')",
            "Failed: no agent found",
        ];
        assert_eq!(of_lines(&python).as_deref(), Some(python[2]));
        let frozen = [
            "    reload_last_exception()",
            "  File \"<frozen importlib>\", line 1324, in _find",
            "ModuleNotFoundError: No module named 'x'",
        ];
        assert_eq!(of_lines(&frozen).as_deref(), Some(frozen[2]));
    }

    #[test]
    fn a_level_alone_says_nothing() {
        let rabbit = ["[error] <0.271.0> error:notsup", "[error] <0.271.0>", "(EE)"];
        assert_eq!(of_lines(&rabbit).as_deref(), Some(rabbit[0]));
    }

    #[test]
    fn the_last_failure_of_a_console() {
        let of = |lines: &[&str]| {
            let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            last_failure(&lines).map(RangeInclusive::into_inner)
        };
        assert_eq!(
            of(&["loading module zfs...", "cannot import 'tank'", "mounting tank on /...", "mount: failed"]),
            Some((1, 3))
        );
        assert_eq!(of(&["cannot load it", "1", "2", "3", "4", "5", "mount: failed", "ok"]), Some((6, 6)));
        assert_eq!(of(&["starting systemd..."]), None);
        // The kernel's are of other things, but for those about a mount.
        assert_eq!(of(&["[    2.3] i8042: Can't read CTR", "mount: failed"]), Some((1, 1)));
        assert_eq!(of(&["[    2.3] tmpfs: Unknown parameter 'sizee'", "mount: failed"]), Some((0, 1)));
    }
}
