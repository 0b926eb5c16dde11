//! The one line that says what is wrong: the error itself, not that there is one.

use super::excerpt::ErrorParts;
use super::patterns::{
    COMPILER_ERROR, DEFINED_IN, IN_STORE, LOG_CONSEQUENCE, LOG_ERROR, LOG_PLACE, LOG_TROUBLE, LOG_WARNING, OPTION,
    PROGRAM, Pattern, find, is,
};
use super::source_tree::SourceTree;
use crate::text::clean_line;

/// Characters of a headline: with what stands around it, it fits two lines of a terminal.
pub(super) const LENGTH: usize = 120;
/// Characters of a sentence that is left whole.
const SENTENCE: usize = 240;
/// What nix adds to an error as advice, or leads over to the next line with.
const AFTER_THE_ERROR: [&str; 4] =
    ["; add '--extra-experimental-features", "; use '--", " (use '--", " Definition values:"];

/// `NAME: CAUSE (PLACE)`, of which what fits beside the cause.
pub(super) fn headline(name: &str, cause: &str, place: Option<&str>) -> String {
    fitting(name, cause, place, LENGTH)
}

fn fitting(name: &str, cause: &str, place: Option<&str>, length: usize) -> String {
    let named = |text: &str| format!("{name}: {text}");
    let placed = place.map_or_else(|| cause.to_owned(), |place| format!("{cause} ({place})"));
    let fits = |text: &String| text.chars().count() <= length;
    [named(&placed), placed, named(cause)].into_iter().find(fits).unwrap_or_else(|| clean_line(cause, length))
}

/// `NAME: LINE` of a builder's log, whole as far as a sentence goes: what is wrong often stands at its end. Where in the
/// store the program lies that says it is left out.
pub(super) fn headline_of_log(name: &str, line: &str, source: &SourceTree) -> String {
    let said = find(&PROGRAM, line).and_then(|found| found.get(1)).map_or(line, |program| &line[program.start()..]);
    fitting(name, &short(&source.map(said), source), None, SENTENCE)
}

/// `NAME: CAUSE`, or the cause alone where that is long; never cut.
pub(super) fn whole(name: &str, cause: &str) -> String {
    let named = format!("{name}: {cause}");
    if named.chars().count() <= LENGTH { named } else { cause.to_owned() }
}

/// The headline of an evaluation error.
pub(super) fn evaluation(name: &str, parts: &ErrorParts, source: &SourceTree) -> String {
    let (cause, place) = (cause(parts, source), place(parts, source));
    // What the module system says is one sentence, however long the names in it are: half of it helps nobody.
    let begins = ["The option ", "A definition for option "];
    let is_sentence = |line: &String| is_assertion(line) || begins.iter().any(|words| line.starts_with(words));
    let is_sentence = parts.message.iter().any(is_sentence);
    fitting(name, &cause, place.as_deref(), if is_sentence { SENTENCE } else { LENGTH })
}

/// The error in one line.
pub(super) fn cause(parts: &ErrorParts, source: &SourceTree) -> String {
    let mut lines = parts.message.iter().map(|line| line.trim_end()).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default().trim_start();
    if is_assertion(first) {
        let failed: Vec<&str> = lines.filter_map(|line| line.strip_prefix("- ")).collect();
        let text = failed.first().map_or("", |text| text.trim_end_matches('.'));
        return match failed.len() {
            0 => "failed assertions".to_owned(),
            1 => format!("failed assertion: {}", short(text, source)),
            more => format!("failed assertion: {} (and {} more)", short(text, source), more - 1),
        };
    }
    let end = AFTER_THE_ERROR.iter().filter_map(|words| first.find(words)).min().unwrap_or(first.len());
    // Which element of a list it is, in the module system's own counting.
    let text = match (first.find(".\"[definition "), first.find("]\"'")) {
        (Some(from), Some(to)) if from < to && to < end => format!("{}{}", &first[..from], &first[to + 2..end]),
        _ => first[..end].to_owned(),
    };
    let text = text.trim_end_matches([':', '.']);
    let aborted = text.strip_prefix("evaluation aborted with the following error message: '");
    short(&aborted.map_or_else(|| text.to_owned(), |text| format!("abort: {}", text.trim_end_matches('\''))), source)
}

/// Where the user has to look: the files that define the option, the place in the user's tree that is nearest to the
/// error, or else the option that was evaluated. A failed assertion says it by itself.
fn place(parts: &ErrorParts, source: &SourceTree) -> Option<String> {
    if parts.message.iter().any(|line| is_assertion(line)) {
        return None;
    }
    let mut files: Vec<String> =
        parts.message.iter().filter_map(|line| Some(short(&find(&DEFINED_IN, line)?[1], source))).collect();
    files.dedup();
    files.truncate(2);
    if !files.is_empty() {
        return Some(files.join(", "));
    }
    let option = || {
        let is_known = parts.message.iter().any(|line| line.contains("option"));
        let found = parts.traces.iter().rev().find_map(|(doing, _)| find(&OPTION, doing)).filter(|_| !is_known)?;
        // nix has no line for a definition, but the module system names the file.
        let defined = parts.traces.iter().rev().find_map(|(doing, _)| {
            let file = doing.split_once("definitions from `")?.1;
            source.relative(file.split_once('\'').map_or(file, |(file, _)| file))
        });
        Some(match defined {
            Some(file) => format!("option {}, {file}", &found[1]),
            None => format!("option {}", &found[1]),
        })
    };
    parts.places().find_map(|place| source.relative(place)).map(str::to_owned).or_else(option)
}

fn is_assertion(line: &str) -> bool {
    line.trim() == "Failed assertions:"
}

/// Text with the names of the user's files below the flake, and of store paths without their hashes.
pub(super) fn short(text: &str, source: &SourceTree) -> String {
    let text = match &source.directory {
        Some(directory) => text.replace(&format!("{}/", directory.display()), ""),
        None => text.to_owned(),
    };
    let Some(pattern) = IN_STORE.as_ref() else { return text };
    // A file of some input must not read like one of the user's.
    let inside = |found: &regex::Captures<'_>| if found.get(1).is_some() { "…/" } else { "" };
    pattern.replace_all(&text, inside).trim().to_owned()
}

/// That line of a log with those that it leads over to, where it ends in a colon.
pub(super) fn with_what_follows(line: &str, log: &[&str]) -> String {
    const FOLLOWING: usize = 2;
    if !line.ends_with(':') {
        return line.to_owned();
    }
    let after = log.iter().skip_while(|other| other.trim() != line).skip(1);
    let following = after.map(|line| line.trim()).filter(|line| !line.is_empty()).take(FOLLOWING);
    std::iter::once(line).chain(following).collect::<Vec<_>>().join(" ")
}

/// The line of a builder's log that says why it failed: the last that reads like an error, and not like what follows
/// from one. Of a compiler's errors it is the first in that file, since others may follow from it. A checker's sum names
/// no line of a file: it is the error right above that does.
pub(super) fn failing_line<'t>(log: &[&'t str]) -> Option<&'t str> {
    const ABOVE: usize = 2;
    let says = |pattern: &Pattern, line: &str| is(pattern, line) && !is(&LOG_CONSEQUENCE, line);
    let last = |pattern: &'static Pattern| Some((pattern, log.iter().rposition(|line| says(pattern, line))?));
    let (pattern, at) = last(&LOG_ERROR).or_else(|| last(&LOG_TROUBLE))?;
    let has_place = |line: &str| is(&LOG_PLACE, line);
    let names_place = |line: &&str| has_place(line) && says(pattern, line) && !is(&LOG_WARNING, line);
    let above = || log[at.saturating_sub(ABOVE)..at].iter().rev().copied().find(names_place);
    let line = if has_place(log[at]) { log[at] } else { above().unwrap_or(log[at]) };
    let file = |line: &'t str| find(&COMPILER_ERROR, line).and_then(|found| found.get(1)).map(|file| file.as_str());
    let first = file(line).and_then(|of| log.iter().find(|other| file(other) == Some(of)));
    Some(first.copied().unwrap_or(line).trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Errors of NixOS's module system and of nixpkgs, as the headline puts them.
    #[test]
    fn headlines_of_evaluation_errors() {
        let source =
            SourceTree { root: Some("/home/u/nixos".into()), directory: Some("/home/u/nixos".into()), is_git: true };
        let input = "/nix/store/gc8zzi2jn8f3kwm1hcr3b1ryyj4d1dqn-source";
        for (error, headline) in [
            (
                "error: The option `services.foo' does not exist. Definition values:\n       - In `/home/u/nixos/hosts/a.nix':\n           {\n             enable = true;\n           }".to_owned(),
                "demo: The option `services.foo' does not exist (hosts/a.nix)",
            ),
            (
                "error: The option `services.foo.port' has conflicting definition values:\n       - In `/home/u/nixos/a.nix': 1\n       - In `/home/u/nixos/b.nix': 2\n       Use `lib.mkForce value' or `lib.mkDefault value' to change the priority on any of these definitions.".to_owned(),
                "demo: The option `services.foo.port' has conflicting definition values (a.nix, b.nix)",
            ),
            (
                format!("error: A definition for option `services.web.enable' is not of type `boolean'. Definition values:\n       - In `{input}/nixos/web.nix': \"yes\""),
                "demo: A definition for option `services.web.enable' is not of type `boolean' (…/nixos/web.nix)",
            ),
            (
                "error:\n       Failed assertions:\n       - The fileSystems option does not specify your root file system.\n         Really.\n".to_owned(),
                "demo: failed assertion: The fileSystems option does not specify your root file system",
            ),
            (
                format!("error: Package ‘steam-1.0’ in {input}/pkgs/by-name/st/steam/package.nix:41 has an unfree license (‘unfree’), refusing to evaluate.\n\n       a) To temporarily allow"),
                "Package ‘steam-1.0’ in …/pkgs/by-name/st/steam/package.nix:41 has an unfree license (‘unfree’), refusing to evaluate",
            ),
            (
                format!("error:\n       … while evaluating the option `networking.hostName':\n\n       … from call site\n         at /home/u/nixos/flake.nix:9:3:\n            8| x\n\n       error: infinite recursion encountered\n       at {input}/lib/modules.nix:1:2:"),
                "demo: infinite recursion encountered (flake.nix:9:3)",
            ),
            (
                format!("error:\n       … while evaluating the option `networking.hostName':\n\n       error: infinite recursion encountered\n       at {input}/lib/modules.nix:1:2:"),
                "demo: infinite recursion encountered (option networking.hostName)",
            ),
            (
                format!("error:\n       … while evaluating the option `services.nginx.enable':\n\n       … while evaluating definitions from `/home/u/nixos/web.nix':\n\n       error: infinite recursion encountered\n       at {input}/lib/modules.nix:1:2:"),
                "demo: infinite recursion encountered (option services.nginx.enable, web.nix)",
            ),
            (
                format!("error: The option `home-manager.users.fabian.programs.pi-coding-agent.enable' in `{input}/modules/programs/pi-coding-agent.nix' is already declared in `/home/u/nixos/home.nix'."),
                "demo: The option `home-manager.users.fabian.programs.pi-coding-agent.enable' in `…/modules/programs/pi-coding-agent.nix' is already declared in `home.nix'",
            ),
            ("error: undefined variable 'pkgz'\n       at /home/u/nixos/a.nix:3:5:".to_owned(), "demo: undefined variable 'pkgz' (a.nix:3:5)"),
            (
                "error: evaluation aborted with the following error message: 'on purpose'".to_owned(),
                "demo: abort: on purpose",
            ),
            (
                "error: experimental Nix feature 'pipe-operators' is disabled; add '--extra-experimental-features pipe-operators' to enable it".to_owned(),
                "demo: experimental Nix feature 'pipe-operators' is disabled",
            ),
            ("error: path '/home/u/nixos/hosts/c.nix' does not exist".to_owned(), "demo: path 'hosts/c.nix' does not exist"),
            (
                format!("error: {}", "long ".repeat(40)),
                "long long long long long long long long long long long long long long long long long long long long long long long long…",
            ),
        ] {
            assert_eq!(evaluation("demo", &ErrorParts::of(&error), &source), headline, "{error}");
        }
    }

    /// The whole of a line, and the program without its place.
    #[test]
    fn headlines_of_logs() {
        let store = "/nix/store/1w1fshal6qlx8pzlsxwcfzyk0p3ji4fs";
        let long = "long ".repeat(60);
        for (line, expected) in [
            (
                format!("{store}-sops-install-secrets-0.0.1/bin/sops-install-secrets: manifest is not valid: secret users/kreyren/hashed-password in {store}-x.sops is not valid: the key 'users' cannot be found"),
                "manifest.json: sops-install-secrets: manifest is not valid: secret users/kreyren/hashed-password in x.sops is not valid: the key 'users' cannot be found".to_owned(),
            ),
            (
                format!("/chroot{store}-git-2.50/libexec/git-core/git: no such thing"),
                "manifest.json: git: no such thing".to_owned(),
            ),
            // A file is not a program.
            (
                format!("{store}-udev-rules/49-x.rules: udev rules check failed."),
                "manifest.json: udev-rules/49-x.rules: udev rules check failed.".to_owned(),
            ),
            (format!("x: {store}-a/bin/b: not found"), "manifest.json: x: a/bin/b: not found".to_owned()),
            (long.clone(), format!("{}…", &long[..SENTENCE - 1])),
        ] {
            assert_eq!(headline_of_log("manifest.json", &line, &SourceTree::default()), expected);
        }
    }

    /// The ends of logs as builders write them, and the line that says why.
    #[test]
    fn failing_lines_of_logs() {
        for (log, line) in [
            ("cc -c a.c\nmake: *** No rule to make target 'x', needed by 'all'.  Stop.", Some(1)),
            (
                "a.c: In function 'main':\na.c:3:5: error: unknown type name 'foo'\na.c:9:1: error: 'bar' undeclared\nmake[1]: *** [Makefile:2: a.o] Error 1\nmake: *** [Makefile:8: all] Error 2",
                Some(1),
            ),
            (
                "error[E0432]: unresolved import `x`\n --> src/main.rs:1:5\nerror: could not compile `hello` (bin \"hello\") due to 1 previous error",
                Some(0),
            ),
            (
                "Traceback (most recent call last):\n  File \"setup.py\", line 1\nModuleNotFoundError: No module named 'numpy'",
                Some(2),
            ),
            (
                "FAILED: a.o\ncc -c a.c\na.c:1:1: fatal error: x.h: No such file or directory\nninja: build stopped: subcommand failed.",
                Some(2),
            ),
            ("/build/run: line 3: frobnicate: command not found\n", Some(0)),
            (
                "fatal: not a git repository (or any of the parent directories): .git\nchecking for gcc... no\nconfigure: error: no acceptable C compiler found in $PATH",
                Some(2),
            ),
            (
                "CMake Error at CMakeLists.txt:3 (find_package):\n  Could not find Qt6\n-- Configuring incomplete, errors occurred!",
                Some(0),
            ),
            ("unpacking\npatching file a.c\n1 out of 1 hunks FAILED -- saving rejects to file a.c.rej", Some(2)),
            (
                "patching file a.c\nReversed (or previously applied) patch detected!  Skipping patch.\n1 out of 1 hunk ignored -- saving rejects to file a.c.rej",
                Some(1),
            ),
            (
                "\nIn /nix/store/x-backup/bin/backup line 8:\nrm $target\n^-----^ SC2086 (info): Double quote to prevent globbing and word splitting.\n\nFor more information:\n  https://www.shellcheck.net/wiki/SC2086 -- Double quote to prevent globbing.",
                Some(3),
            ),
            (
                "/nix/store/x-sshd.conf: line 12: Bad configuration option: PermitRootLogn\n/nix/store/x-sshd.conf: terminating, 1 bad configuration options",
                Some(0),
            ),
            ("setting up\nthe key is missing\ncleaning up", Some(1)),
            (
                "Verifying udev rules using udevadm verify...\n/nix/store/9j69iixcmzbar5zi2bzsgmhb343f00dd-udev-rules/49-brother-mfp-brscan5-1.0.2-2.rules:17 Invalid key 'SYSFS'.\n/nix/store/9j69iixcmzbar5zi2bzsgmhb343f00dd-udev-rules/49-brother-mfp-brscan5-1.0.2-2.rules: udev rules check failed.\n\n1 udev rules files have been checked.",
                Some(1),
            ),
            (
                "error: /tmp/logrotate.conf:36 unknown user 'nginx'\nerror: found error in \"/var/log/nginx/access.log\"",
                Some(0),
            ),
            ("error: in line 3: unknown key\n  key = 1\nerror: the file is not valid", Some(0)),
            // What a line above only warns of, or says of a server, is something else.
            ("a.c:3:1: warning: unknown pragma\n./configure: cannot go on", Some(1)),
            ("cannot reach http://localhost:8080 yet\nunknown key 'x'", Some(1)),
            ("a.c:3: unknown key\n1\n2\ncannot go on", Some(3)),
            (
                "trying https://example.org/x.tar.gz\ncurl: (22) The requested URL returned error: 404\nerror: cannot download x.tar.gz from any mirror",
                Some(1),
            ),
            ("line 1\nline 2", None),
            ("", None),
        ] {
            let lines: Vec<&str> = log.lines().collect();
            assert_eq!(failing_line(&lines), line.map(|at: usize| lines[at]), "{log}");
        }
    }
}
