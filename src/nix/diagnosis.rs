//! Why nix failed: its messages, of all versions, told apart and made readable.
//!
//! Whose fault it is decides the exit code: what the host cannot do (disk, daemon, network, another architecture)
//! never reads as a broken configuration. The functions are pure over a [`Log`] and a [`Source`].

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

use super::log::{Log, Message};
use super::store::name_of;
use crate::failure::Failure;
use crate::model::{CheckId, Exit};
use crate::text::{plain, quote};

const NETWORK_HINT: &str = "is the network up? `--offline` uses only what is here already";

/// Lines of a failed derivation's log that are shown.
const LOG_LINES: usize = 15;
/// Lines of nix's own message that are shown.
const MESSAGE_LINES: usize = 40;

/// `unwrap` for patterns that are written here: a test compiles each.
fn pattern(text: &str) -> Option<Regex> {
    Regex::new(text).ok()
}

macro_rules! patterns {
    ($($name:ident = $text:expr;)*) => {
        $(static $name: LazyLock<Option<Regex>> = LazyLock::new(|| pattern($text));)*
        #[cfg(test)]
        const PATTERNS: &[(&str, &LazyLock<Option<Regex>>)] = &[$((stringify!($name), &$name)),*];
    };
}

patterns! {
    // 2.8 names files of a relocated store by their real place.
    SOURCE = r"(?:/[^\s'`\x22«»]*)?/nix/store/[0-9a-z]{32}-source\b";
    AT = r"^\s*at (.+):(\d+):(\d+):?$";
    BUILDER_FAILED = r"builder for '([^']+\.drv)' (failed[^;\n]*)";
    CANNOT_BUILD = r"Cannot build '([^']+\.drv)'\.\s*\n\s*Reason: ([^\n]+)";
    HASH_MISMATCH = r"hash mismatch in (?:fixed-output|content-addressed|.*?) ?derivation '([^']+\.drv)'";
    WRONG_SYSTEM = r"a '([^']+)' with features \{[^}]*\} is required to build '([^']+\.drv)', but I am a '([^']+)'";
    WRONG_SYSTEM_NEW = r"(?s)Cannot build '([^']+\.drv)'.*?required system or feature not available.*?Required system: '([^']+)'";
    ANY_DRV = r"(/nix/store/[0-9a-z]{32}-[^'\s]+\.drv)";
    DEPENDENCY = r"\d+ dependenc(?:y|ies)(?: of derivation '[^']+')? failed";
    MISSING_FILE = r"(?:path|file) '([^']+)' does not exist|getting status of '([^']+)': No such file|opening file '([^']+)': No such file";
    NOT_TRACKED = r"Path '([^']+)' in the repository .* is not tracked by Git";
    NO_FLAKE_IN = r"source tree referenced by '([^']+)' does not contain a '/?([^']*flake\.nix)'";
    ATTRIBUTE = r"does not provide attribute|attribute '[^']*' in selection path|'[^']*' is not an attribute set in selection path";
    FEATURE = r"experimental (?:Nix )?feature '([^']+)' is disabled";
    NO_FLAKE = r"cannot find flake 'flake:|input '[^']*' is unsupported|is not a valid URL|is not a valid flake reference|could not find a flake\.nix|does not contain a '[^']*flake\.nix'";
    NETWORK = r"(?i)could(?:n't| not) resolve|failed to connect|couldn't connect|connection (?:refused|reset|timed out)|network is unreachable|temporary failure in name resolution|\btimed out\b|timeout was reached|ssl (?:connect|peer|certificate)|\bcurl error\b|HTTP error (?:403|429|5\d\d)|could not read from remote repository|unable to access '";
    DISK = r"No space left on device|Disk quota exceeded|database or disk is full";
    DAEMON = r"cannot '?connect'? to (?:socket|daemon)|Nix daemon disconnected|daemon .*(?:connection|EOF)";
    READ_ONLY = r"Read-only file system";
    PERMISSION = r"Permission denied|Operation not permitted|user '[^']*' is not allowed to|not privileged|lacks? a signature by a trusted key";
    SANDBOX = r"kernel namespaces that are required for sandboxing|setting up a private mount namespace|cannot (?:create|set up) .*namespace|unable to start build process";
    MEMORY = r"(?i)out of memory|cannot allocate memory|std::bad_alloc";
    OWNER = r"is not owned by (?:the )?current user|dubious ownership";
    SEARCH_PATH = r"file '([^']+)' was not found in the Nix search path";
    PURE = r"in pure eval(?:uation)? mode|is forbidden in pure";
    UNFETCHED = r"while fetching the input|Git reference|unable to download|(?i)cannot fetch|failed to fetch|not cached";
    INTERRUPTED = r"interrupted by the user";
    // How the language and NixOS's module system begin what they say of a configuration, whose own names come next.
    LANGUAGE = r"^(?:(?:The|A definition for) option [`'‘]|Failed assertions|(?:undefined variable|attribute|function) '|the string '|cannot coerce|value is |expected |infinite recursion|syntax error|assertion |evaluation aborted )";
    CYCLE = r"cycle detected in build of '([^']+\.drv)'";
    REFERS = r"^output '([^']+)' is not allowed to refer to";
    // What the kernel's killer leaves in a log when it took a compiler and not the builder.
    KILLED = r"Killed signal terminated program|signal: 9, SIGKILL|virtual memory exhausted|LLVM ERROR: out of memory|Cannot allocate memory";
}

fn find<'t>(pattern: &LazyLock<Option<Regex>>, text: &'t str) -> Option<regex::Captures<'t>> {
    pattern.as_ref()?.captures(text)
}

fn is(pattern: &LazyLock<Option<Regex>>, text: &str) -> bool {
    pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
}

/// The working tree that a flake is read from, so that places in its copy in the store can be named by their origin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// The root of the tree that nix copies: the git work tree's, or the flake's directory.
    pub root: Option<PathBuf>,
    /// The flake's directory, at or below the root.
    pub directory: Option<PathBuf>,
    /// Whether git decides what nix sees.
    pub is_git: bool,
}

impl Source {
    /// Names places in the store's copy of the tree by their place in the tree.
    ///
    /// A store path is a copy of this tree when both hold the same `flake.nix`, or when that file is what is missing:
    /// inputs are `…-source` too.
    pub fn map(&self, text: &str) -> String {
        let (Some(root), Some(pattern)) = (&self.root, SOURCE.as_ref()) else { return text.to_owned() };
        let mut known: Vec<(String, bool)> = Vec::new();
        let replaced = pattern.replace_all(text, |found: &regex::Captures<'_>| {
            let prefix = found[0].to_owned();
            let ours = match known.iter().find(|(path, _)| *path == prefix) {
                Some((_, ours)) => *ours,
                None => {
                    let ours = self.is_copy(Path::new(&prefix), text);
                    known.push((prefix.clone(), ours));
                    ours
                }
            };
            if ours { root.to_string_lossy().into_owned() } else { prefix }
        });
        replaced.into_owned()
    }

    fn is_copy(&self, copy: &Path, text: &str) -> bool {
        let (Some(root), Some(directory)) = (&self.root, &self.directory) else { return false };
        let Ok(inside) = directory.strip_prefix(root) else { return false };
        let theirs = copy.join(inside).join("flake.nix");
        match std::fs::read(&theirs) {
            Ok(theirs) => std::fs::read(directory.join("flake.nix")).is_ok_and(|ours| ours == theirs),
            // The one whose own flake.nix is missed. (Inputs may have none, but nobody misses it.)
            Err(_) => text.contains(&*theirs.to_string_lossy()),
        }
    }

    /// The advice when nix misses a file that is in the working tree.
    fn untracked(&self, message: &str) -> Option<String> {
        let (true, Some(root)) = (self.is_git, &self.root) else { return None };
        let file = if let Some(found) = find(&NOT_TRACKED, message) {
            PathBuf::from(&found[1])
        } else if let Some(found) = find(&NO_FLAKE_IN, message) {
            // An input may lack one too, and is no tree of ours.
            found[1].contains(&*root.to_string_lossy()).then(|| PathBuf::from(&found[2]))?
        } else {
            let mapped = self.map(message);
            let found = find(&MISSING_FILE, &mapped)?;
            let path = found.iter().skip(1).flatten().next()?.as_str().to_owned();
            Path::new(&path).strip_prefix(root).ok()?.to_owned()
        };
        if !root.join(&file).exists() {
            return None;
        }
        let nested = file.ancestors().skip(1).any(|up| up != Path::new("") && root.join(up).join(".git").exists());
        if nested {
            return Some(format!(
                "{} is in a git submodule, which nix leaves out: name the flake as `git+file://…?submodules=1`",
                file.display()
            ));
        }
        let shell = quote(&root.to_string_lossy());
        Some(format!(
            "git add {}: the file is there, but nix sees only what git tracks (in {shell})",
            quote(&file.to_string_lossy())
        ))
    }
}

/// A message of nix taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parts {
    message: Vec<String>,
    position: Option<String>,
    snippet: Vec<String>,
    /// What nix was doing, outermost first, with the place.
    traces: Vec<(String, Option<String>)>,
}

/// Takes a message apart: `error: TEXT at PLACE: SNIPPET`, or (from 2.13) `error: … TRACES error: TEXT …`.
fn parts(text: &str) -> Parts {
    let mut parts = Parts::default();
    let mut lines = text.lines().peekable();
    let first = lines.next().unwrap_or_default();
    let first = first.strip_prefix("error:").unwrap_or(first).trim();
    let traced = first.is_empty() && lines.peek().is_some_and(|line| line.trim_start().starts_with('…'));
    if traced {
        for line in lines.by_ref() {
            let line = line.trim();
            if let Some(rest) = line.strip_prefix("error:") {
                if !rest.trim().is_empty() {
                    parts.message.push(rest.trim().to_owned());
                }
                break;
            }
            if let Some(doing) = line.strip_prefix('…') {
                parts.traces.push((doing.trim().to_owned(), None));
            } else if let Some(found) = find(&AT, line)
                && let Some((_, place)) = parts.traces.last_mut()
            {
                *place = Some(format!("{}:{}:{}", &found[1], &found[2], &found[3]));
            }
        }
    } else if !first.is_empty() {
        parts.message.push(first.to_owned());
    }
    let mut in_snippet = false;
    for line in lines {
        let dedented = line.strip_prefix("       ").unwrap_or(line);
        if let Some(found) = find(&AT, line) {
            parts.position = Some(format!("{}:{}:{}", &found[1], &found[2], &found[3]));
            in_snippet = true;
            continue;
        }
        // 2.8 puts the trace behind (with --show-trace), and an advice that we follow where it helps.
        if dedented.trim_start().starts_with("… ") || dedented.starts_with("(use '--show-trace'") {
            break;
        }
        if in_snippet {
            if is_snippet(dedented) {
                parts.snippet.push(dedented.trim_end().to_owned());
                continue;
            }
            if dedented.trim().is_empty() {
                continue;
            }
            in_snippet = false;
        }
        parts.message.push(dedented.trim_end().to_owned());
    }
    while parts.message.last().is_some_and(|line| line.trim().is_empty()) {
        parts.message.pop();
    }
    parts
}

/// `   12| text` or `     |   ^`.
fn is_snippet(line: &str) -> bool {
    line.split_once('|').is_some_and(|(number, _)| number.trim().chars().all(|c| c.is_ascii_digit()))
}

/// nix's error for a person: the message, where it is, and the places of the user's own that led there.
pub(super) fn readable(message: &Message, source: &Source) -> String {
    let text = source.map(&message.text);
    let parts = parts(&text);
    let mut lines = parts.message.clone();
    if lines.len() > MESSAGE_LINES {
        lines.truncate(MESSAGE_LINES);
        lines.push("…".to_owned());
    }
    let root = source.root.as_ref().map(|root| root.to_string_lossy().into_owned());
    let is_users = |place: &str| root.as_ref().is_some_and(|root| place.starts_with(root.as_str()));
    let is_anonymous = |place: &str| place.starts_with("«string»") || place.starts_with("(string)");
    let position = parts.position.clone().filter(|place| !is_anonymous(place));
    if let Some(place) = &position {
        lines.push(format!("at {place}"));
        lines.extend(parts.snippet.iter().cloned());
    }
    if !position.as_deref().is_some_and(is_users) {
        // The innermost place in the user's tree that led there.
        if let Some((doing, Some(place))) =
            parts.traces.iter().rev().find(|(_, place)| place.as_deref().is_some_and(is_users))
        {
            lines.push(format!("from {place} ({doing})"));
        }
    }
    let mut told = 0;
    for (doing, _) in parts.traces.iter().rev() {
        // Said by the module system, and what a person knows the thing by.
        if (doing.contains("the option `") || doing.contains("definitions from")) && told < 3 {
            lines.push(doing.trim_end_matches(':').to_owned());
            told += 1;
        }
    }
    lines.join("\n")
}

/// The message without its trace, for classifying: a trace quotes source text, which may hold any words.
fn core(message: &Message) -> String {
    parts(&message.text).message.join("\n")
}

/// What the host could not do, if that is what a message says.
fn host_problem(text: &str) -> Option<Failure> {
    let first = text.lines().next().unwrap_or_default();
    let failure = |what: &str| Failure::host(what);
    if is(&INTERRUPTED, text) {
        return Some(Failure::interrupted());
    }
    if is(&LANGUAGE, first) {
        return None;
    }
    if is(&DISK, text) {
        return Some(
            failure("the disk is full").hint("free some space (`nix store gc` removes what nothing needs any more)"),
        );
    }
    if is(&DAEMON, text) {
        return Some(failure("the nix daemon does not answer").hint(
            "start it (`systemctl start nix-daemon.socket`), and look at `nix store ping` and the daemon's journal",
        ));
    }
    if is(&READ_ONLY, text) {
        return Some(
            failure("nix cannot write to its store").hint("is /nix/store mounted read-only without a nix daemon?"),
        );
    }
    if is(&SANDBOX, text) {
        return Some(failure("nix cannot set up its build sandbox here").hint("see `sandbox` in nix.conf(5)"));
    }
    if is(&MEMORY, text) {
        return Some(failure("out of memory").hint("close something, or add swap"));
    }
    if is(&OWNER, text) {
        return Some(
            failure("git does not trust the repository's owner")
                .hint("git config --global --add safe.directory DIRECTORY"),
        );
    }
    if first.contains("unable to download") || first.contains("fetch") || is(&NETWORK, first) {
        let looks_down = is(&NETWORK, text);
        if looks_down {
            return Some(failure("something could not be fetched").hint(NETWORK_HINT));
        }
    }
    if first.starts_with("executing 'git'") || first.contains("program 'git' failed") {
        return Some(
            failure("git does not work here").hint("nix reads flakes in a git repository with git: install it"),
        );
    }
    if is(&PERMISSION, first) {
        return Some(failure("nix is not permitted to do that"));
    }
    None
}

/// What a failed evaluation means. `named` is how the user would recognise what was evaluated.
pub(super) fn evaluation(log: &Log, source: &Source, named: &str) -> Failure {
    let Some(message) = log.errors.first().cloned().or_else(|| stray_error(log)) else {
        let last = log.stray.back().cloned().unwrap_or_else(|| "it ended without a message".to_owned());
        return Failure::host(format!("nix failed at {named}")).why(last);
    };
    let core = core(&message);
    let why = readable(&message, source);
    if let Some(hint) = source.untracked(&core) {
        return Failure::check(CheckId::BuildEval, format!("{named} does not evaluate: a file is missing"))
            .why(why)
            .hint(hint);
    }
    // Built during evaluation ("import from derivation").
    if root_cause(log).is_some() {
        return derivation(log, source, named, None);
    }
    if let Some(failure) = host_problem(&core) {
        // What git and ssh say does not come by the protocol, and is the better half of it.
        return failure.why([why, past_the_protocol(log)].join("\n").trim_end());
    }
    if is(&UNFETCHED, &message.text) {
        if log.offline {
            let failure = Failure::host(format!("{named} needs something that is not here"));
            return failure.why(why).hint("try it without --offline");
        }
        // git fails first, with a line of its own; nix then misses what git should have brought.
        let said = [log.warnings.join("\n"), past_the_protocol(log)].join("\n");
        if is(&NETWORK, &said) {
            let why = [why, past_the_protocol(log)].join("\n");
            return Failure::host("something could not be fetched").why(why.trim_end()).hint(NETWORK_HINT);
        }
    }
    if core.starts_with("'file://") && core.contains("is not a valid URL") && source.is_git {
        return Failure::host("this nix cannot read a git repository whose path has such characters")
            .why(why)
            .hint("use a newer nix, or move it to a path of letters, digits and dashes");
    }
    // What a flake names as its inputs, or fetches, is its own affair.
    let doing = |words: &str| parts(&message.text).traces.iter().any(|(doing, _)| doing.contains(words));
    if is(&NO_FLAKE, &core) && source.root.is_none() && !doing("flake input") && !doing(" builtin") {
        return Failure::usage(format!("there is no flake for {named}")).why(why);
    }
    // One inside of NixOS is no question of where nixpkgs is, which has been found by then.
    if let Some(found) = find(&SEARCH_PATH, &core).filter(|found| !found[1].starts_with("nixpkgs/nixos/")) {
        let name = found[1].split('/').next().unwrap_or("nixpkgs").to_owned();
        return Failure::host(format!("<{name}> is not on nix's search path"))
            .why(why)
            .hint(format!("name it: -I {name}=PATH, or set NIX_PATH"));
    }
    if is(&ATTRIBUTE, &core) {
        return Failure::check(CheckId::BuildAttribute, format!("{named} is not in the flake")).why(why);
    }
    let mut failure = Failure::check(CheckId::BuildEval, format!("{named} does not evaluate")).why(why);
    if let Some(found) = find(&FEATURE, &core) {
        failure = failure.hint(format!("allow it: --option extra-experimental-features {}", &found[1]));
    } else if is(&PURE, &core) {
        failure = failure.hint("--impure lets the evaluation see it, if that is what you want");
    }
    failure
}

/// An error that was printed past the protocol (before it begins, or by a helper program).
fn stray_error(log: &Log) -> Option<Message> {
    let text = log.stray.iter().find(|line| line.starts_with("error:"))?.clone();
    Some(Message { text, position: None })
}

/// The last of what nix's helpers printed.
fn past_the_protocol(log: &Log) -> String {
    let last = log.stray.len().saturating_sub(5);
    log.stray.iter().skip(last).cloned().collect::<Vec<_>>().join("\n")
}

/// The derivation whose builder failed, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cause {
    /// Its store path.
    pub drv: String,
    /// `failed with exit code 3`, in nix's words.
    pub how: String,
}

/// All derivations that failed by themselves, in order; not those that failed because another one did.
pub(super) fn causes(log: &Log) -> Vec<Cause> {
    let mut causes: Vec<Cause> = Vec::new();
    for message in &log.errors {
        let text = &message.text;
        let cause = if let Some(found) = find(&WRONG_SYSTEM, text) {
            Cause { drv: found[2].to_owned(), how: format!("needs a '{}'", &found[1]) }
        } else if let Some(found) = find(&WRONG_SYSTEM_NEW, text) {
            Cause { drv: found[1].to_owned(), how: format!("needs a '{}'", &found[2]) }
        } else if let Some(found) = find(&HASH_MISMATCH, text) {
            Cause { drv: found[1].to_owned(), how: "hash mismatch".to_owned() }
        } else if let Some(found) = find(&CYCLE, text) {
            Cause { drv: found[1].to_owned(), how: "its outputs refer to each other in a cycle".to_owned() }
        } else if is(&DEPENDENCY, text) {
            continue;
        } else if let Some(found) = find(&BUILDER_FAILED, text) {
            Cause { drv: found[1].to_owned(), how: found[2].trim().to_owned() }
        } else if let Some(found) = find(&CANNOT_BUILD, text) {
            Cause { drv: found[1].to_owned(), how: found[2].trim().trim_end_matches('.').to_owned() }
        } else if (text.contains("timed out") || text.contains("silent"))
            && let Some(found) = find(&ANY_DRV, text)
        {
            Cause { drv: found[1].to_owned(), how: "timed out".to_owned() }
        } else {
            continue;
        };
        if !causes.iter().any(|known| known.drv == cause.drv) {
            causes.push(cause);
        }
    }
    causes
}

fn root_cause(log: &Log) -> Option<Cause> {
    causes(log).into_iter().next()
}

/// What a failed build means. `cause` is the derivation to blame where the caller knows better than "the first".
pub(super) fn derivation(log: &Log, source: &Source, named: &str, cause: Option<&Cause>) -> Failure {
    let Some(cause) = cause.cloned().or_else(|| root_cause(log)) else {
        // Nothing was built, so it is not a build that failed.
        let Some(message) = log.errors.first().cloned().or_else(|| stray_error(log)) else {
            let last = log.stray.back().cloned().unwrap_or_else(|| "it ended without a message".to_owned());
            return Failure::host(format!("nix could not build {named}")).why(last);
        };
        let why = [readable(&message, source), past_the_protocol(log)].join("\n");
        // Said of what was built, without its derivation.
        if let Some(found) = find(&REFERS, &core(&message)) {
            let output = plain(name_of(&found[1]), 200);
            return Failure::check(
                CheckId::BuildDerivation,
                format!("{output} does not build: it refers to what it must not"),
            )
            .why(why.trim_end())
            .hint("see `allowedReferences` and `disallowedReferences` of its derivation");
        }
        let failure = host_problem(&core(&message));
        return failure.unwrap_or_else(|| Failure::host(format!("nix could not build {named}"))).why(why.trim_end());
    };
    let name = plain(name_of(&cause.drv), 200);
    let message = log.errors.iter().find(|message| message.text.contains(&cause.drv)).cloned().unwrap_or_default();
    let tail: Vec<&str> = log.tails.get(&cause.drv).into_iter().flatten().map(String::as_str).collect();
    let shown = &tail[tail.len().saturating_sub(LOG_LINES)..];
    let mut why = vec![cause.drv.clone()];
    if shown.is_empty() {
        why.extend(parts(&message.text).message);
    } else {
        why.push(format!("the last {} lines of its log:", shown.len()));
        why.extend(shown.iter().map(|line| format!("> {line}")));
    }
    let why = source.map(&why.join("\n"));
    let logged = tail.join("\n");

    if cause.how.starts_with("needs a '") {
        return Failure::host(format!("this host cannot build {name}: it {}", cause.how))
            .why(source.map(&parts(&message.text).message.join("\n")))
            .hint("build it on such a machine (`builders` in nix.conf(5)), or with binfmt emulation");
    }
    if cause.how == "timed out" {
        return Failure::host(format!("building {name} took too long"))
            .why(why)
            .hint("see `timeout` and `max-silent-time` in nix.conf(5)");
    }
    if cause.how == "hash mismatch" {
        let message = parts(&message.text).message.join("\n");
        return Failure::check(
            CheckId::BuildDerivation,
            format!("{name}: what was fetched is not what the configuration expects"),
        )
        .why(format!("{}\n{message}", cause.drv))
        .hint("the source has changed, or the hash was not updated with its version");
    }
    if is(&DISK, &logged) || is(&DISK, &message.text) {
        return Failure::host(format!("the disk is full (building {name})"))
            .why(why)
            .hint("free some space (`nix store gc`)");
    }
    if cause.how.contains("signal 9") || is(&KILLED, &shown.join("\n")) {
        return Failure::host(format!("the builder of {name} was killed")).why(why).hint(
            "most often memory ran out: the kernel's log tells (`journalctl -k`); fewer builds at once need less (--option max-jobs 1)",
        );
    }
    // A download that failed for want of a network, told from one whose URL is wrong.
    let misses_network = is(&NETWORK, &logged);
    let fetches = is_fetcher(&cause.drv).unwrap_or_else(|| {
        logged.contains("curl: (") || logged.contains("trying http") || logged.contains("unable to access '")
    });
    if fetches && misses_network {
        return Failure::host(format!("{name} could not be fetched")).why(why).hint("is the network up?");
    }
    let log = format!("the whole log: nix log {}", cause.drv);
    Failure::check(CheckId::BuildDerivation, format!("{name} does not build: {}", plain_how(&cause.how))).why(why).hint(
        if misses_network { format!("{log} (builds have no network: only what has a hash is fetched)") } else { log },
    )
}

/// Whether a derivation's output is fixed by a hash, for which nix grants it the network. `None` where it cannot be read:
/// it lies in another store.
fn is_fetcher(drv: &str) -> Option<bool> {
    std::fs::read_to_string(drv).ok().map(|text| text.contains("(\"outputHash\","))
}

/// One wording for all versions.
fn plain_how(how: &str) -> String {
    how.strip_prefix("builder ").unwrap_or(how).to_owned()
}

/// Whether nix itself says that it could not look, rather than that something is wrong with what it looked at.
pub(super) fn is_hosts(failure: &Failure) -> bool {
    matches!(failure.exit, Exit::Unknown | Exit::Interrupted)
}

/// Whether a message says that an output is not there at all, as against broken.
pub(super) fn is_absent(log: &Log) -> bool {
    log.errors.first().is_some_and(|message| is(&ATTRIBUTE, &core(message)))
}

#[cfg(test)]
mod tests;
