//! Errors of a build.

use super::excerpt::{ErrorParts, core, readable};
use super::fetch::{self, Answer, answer_of_log};
use super::headline::{cause, failing_line, headline, headline_of_log, short, whole, with_what_follows};
use super::host::host_problem;
use super::nixpkgs::conflict;
use super::patterns::{
    ANY_DRV, AVAILABLE_FEATURES, BUILDER_FAILED, CANNOT_BUILD, CURRENT_SYSTEM, CYCLE, DEPENDENCY, DISK, HASH_MISMATCH,
    KILLED, NETWORK, Pattern, REFERS, REQUIRED_FEATURES, REQUIRED_SYSTEM, WRONG_SYSTEM, find, is,
};
use super::source_tree::SourceTree;
use super::{first_error, past_the_protocol};
use crate::failure::Failure;
use crate::model::CheckId;
use crate::nix::log::NixLog;
use crate::nix::store::name_of;
use crate::text::plain;

/// Lines of a failed derivation's log that are shown.
const LOG_LINES: usize = 15;

/// A derivation that failed by itself, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::nix) struct FailedDerivation {
    /// Its store path.
    pub(in crate::nix) drv: String,
    how: BuildError,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum BuildError {
    /// It is for this system, which is not the host's.
    WrongSystem(String),
    /// It needs these features of a system, which the host does not offer.
    MissingFeatures(Vec<String>),
    /// nix does not build it here for this reason, in its words.
    Refused(String),
    HashMismatch,
    /// Its outputs refer to each other.
    OutputCycle,
    TimedOut,
    /// `failed with exit code 3`, in nix's words.
    Builder(String),
}

/// All derivations that failed by themselves, in order; not those that failed because another one did.
pub(in crate::nix) fn failed_derivations(log: &NixLog) -> Vec<FailedDerivation> {
    let mut failed: Vec<FailedDerivation> = Vec::new();
    for one in log.errors.iter().filter_map(|error| failed_derivation(error)) {
        if !failed.iter().any(|known| known.drv == one.drv) {
            failed.push(one);
        }
    }
    failed
}

fn failed_derivation(error: &str) -> Option<FailedDerivation> {
    let of = |drv: &str, how| Some(FailedDerivation { drv: drv.to_owned(), how });
    if let Some(found) = find(&WRONG_SYSTEM, error) {
        let group = |at: usize| found.get(at).map(|group| group.as_str());
        let refused = BuildError::refused(group(1), group(4), group(2), group(5), "it is for another system");
        of(&found[3], refused)
    } else if let Some(found) = find(&HASH_MISMATCH, error) {
        of(&found[1], BuildError::HashMismatch)
    } else if let Some(found) = find(&CYCLE, error) {
        of(&found[1], BuildError::OutputCycle)
    } else if is(&DEPENDENCY, error) {
        None
    } else if let Some(found) = find(&BUILDER_FAILED, error) {
        of(&found[1], BuildError::Builder(found[2].trim().to_owned()))
    } else if let Some(found) = find(&CANNOT_BUILD, error) {
        let reason = found[2].trim().trim_end_matches('.');
        match reason.strip_prefix("builder ") {
            // One wording for all versions.
            Some(how) => of(&found[1], BuildError::Builder(how.to_owned())),
            // Only a builder that ran says something of what it built.
            None => of(&found[1], BuildError::listed(error, reason)),
        }
    } else if error.contains("timed out") || error.contains("silent") {
        find(&ANY_DRV, error).and_then(|found| of(&found[1], BuildError::TimedOut))
    } else {
        None
    }
}

impl BuildError {
    /// What nix lacks to build something here, by what is required and what there is; `reason` where that says nothing.
    fn refused(
        system: Option<&str>,
        current: Option<&str>,
        features: Option<&str>,
        available: Option<&str>,
        reason: &str,
    ) -> Self {
        let listed = |features: Option<&str>| {
            let names = features.unwrap_or_default().split(',').map(|name| name.trim().to_owned());
            names.filter(|name| !name.is_empty()).collect::<Vec<String>>()
        };
        if let Some(system) = system.filter(|system| current != Some(*system)) {
            return Self::WrongSystem(system.to_owned());
        }
        let available = listed(available);
        let mut missing = listed(features);
        missing.retain(|name| !available.contains(name));
        if missing.is_empty() { Self::Refused(reason.to_owned()) } else { Self::MissingFeatures(missing) }
    }

    /// The same of a message that lists it below its first reason.
    fn listed(error: &str, reason: &str) -> Self {
        let group = |pattern: &Pattern, at: usize| {
            find(pattern, error).and_then(|found| found.get(at)).map(|group| group.as_str())
        };
        let features = group(&REQUIRED_FEATURES, 1).or_else(|| group(&REQUIRED_SYSTEM, 2));
        let available = group(&AVAILABLE_FEATURES, 1).or_else(|| group(&CURRENT_SYSTEM, 2));
        Self::refused(group(&REQUIRED_SYSTEM, 1), group(&CURRENT_SYSTEM, 1), features, available, reason)
    }
}

/// What a failed build means. `failed` is the derivation to blame where the caller knows better than "the first".
pub(in crate::nix) fn derivation(
    log: &NixLog,
    source: &SourceTree,
    named: &str,
    failed: Option<&FailedDerivation>,
) -> Failure {
    match failed.cloned().or_else(|| failed_derivations(log).into_iter().next()) {
        Some(failed) => failed.failure(log, source),
        None => nothing_built(log, source, named),
    }
}

/// No build failed, so it is no failure of one.
fn nothing_built(log: &NixLog, source: &SourceTree, named: &str) -> Failure {
    let Some(error) = first_error(log) else {
        let last = log.stray.back().cloned().unwrap_or_else(|| "it ended without a message".to_owned());
        return Failure::host(format!("nix could not build {named}")).why(last);
    };
    let said = past_the_protocol(log);
    let why = [readable(&error, source), said.clone()].join("\n");
    // Said of what was built, without its derivation.
    if let Some(found) = find(&REFERS, &core(&error)) {
        let output = plain(name_of(&found[1]), 200);
        let refused = format!("it is not allowed to refer to {}", short(&found[2], source));
        return Failure::check(CheckId::BuildDerivation, headline(&output, &refused, None))
            .why(why.trim_end())
            .hint("see `allowedReferences` and `disallowedReferences` of its derivation");
    }
    let unknown = || {
        let cause = cause(&ErrorParts::of(&source.map(&error)), source);
        Failure::host(headline(&format!("nix could not build {named}"), &cause, None))
    };
    host_problem(&error, &said).unwrap_or_else(unknown).why(why.trim_end())
}

impl FailedDerivation {
    fn failure(&self, log: &NixLog, source: &SourceTree) -> Failure {
        let name = plain(name_of(&self.drv), 200);
        let error = log.errors.iter().find(|error| error.contains(&self.drv)).cloned().unwrap_or_default();
        let message = ErrorParts::of(&error).message;
        let refused = |what: &str| Failure::check(CheckId::BuildDerivation, headline(&name, what, None));
        match &self.how {
            BuildError::WrongSystem(system) => {
                Failure::host(format!("{name} is for {system}, which this host cannot build"))
                    .why(source.map(&message.join("\n")))
                    .hint("build it on such a machine (`builders` in nix.conf(5)), or with binfmt emulation")
            }
            BuildError::MissingFeatures(features) => {
                let word = if features.len() == 1 { "feature" } else { "features" };
                let needed = format!("needs the system {word} {}, which this host does not offer", features.join(", "));
                Failure::host(headline(&name, &needed, None))
                    .why(source.map(&message.join("\n")))
                    .hint("see `system-features` in nix.conf(5) where this host has it, else `builders`")
            }
            BuildError::Refused(reason) => {
                Failure::host(headline(&format!("nix does not build {name} here"), reason, None))
                    .why(source.map(&message.join("\n")))
                    .hint("see `max-jobs` and `builders` in nix.conf(5)")
            }
            BuildError::HashMismatch => {
                let got = message.iter().find_map(|line| line.trim().strip_prefix("got:")).unwrap_or_default().trim();
                refused(&format!("hash mismatch: got {got}"))
                    .why(format!("{}\n{}", self.drv, message.join("\n")))
                    .hint("the source has changed, or the hash was not updated with its version")
            }
            BuildError::TimedOut => Failure::host(format!("building {name} timed out"))
                .why(self.log_end(log, source, &message))
                .hint("see `timeout` and `max-silent-time` in nix.conf(5)"),
            BuildError::OutputCycle => refused("its outputs refer to each other in a cycle")
                .why(self.log_end(log, source, &message))
                .hint(self.whole_log()),
            BuildError::Builder(how) => self.builder_failed(&name, how, log, source, &message),
        }
    }

    fn builder_failed(&self, name: &str, how: &str, log: &NixLog, source: &SourceTree, message: &[String]) -> Failure {
        let tail = self.tail(log);
        let logged = tail.join("\n");
        let why = self.log_end(log, source, message);
        if is(&DISK, &logged) || is(&DISK, &message.join("\n")) {
            return Failure::host(format!("the disk is full (building {name})"))
                .why(why)
                .hint("free some space (`nix store gc`)");
        }
        // 137: a shell says so of a child that was.
        let is_killed = how.contains("signal 9") || how.ends_with("exit code 137");
        if is_killed || is(&KILLED, &tail[tail.len().saturating_sub(LOG_LINES)..].join("\n")) {
            return Failure::host(format!("the builder of {name} was killed")).why(why).hint(
                "most often the host ran out of memory: see the kernel's log (`journalctl -k`); fewer builds at once need less (--option max-jobs 1)",
            );
        }
        // A download that failed on the way, as against one whose URL is wrong.
        let fetches = is_fetcher(&self.drv).unwrap_or_else(|| {
            ["curl: (", "trying http", "unable to access '", "unable to download '"]
                .iter()
                .any(|at| logged.contains(at))
        });
        let failed = answer_of_log(&tail).filter(|(answer, _)| fetches && *answer != Answer::Absent);
        if let Some((answer, line)) = failed {
            let cause = short(&source.map(line), source);
            return Failure::host(headline(&format!("could not fetch {name}"), &cause, None))
                .why(why)
                .hint(fetch::hint(answer, line).unwrap_or("is the network up?"));
        }
        let needs_network = !fetches && is(&NETWORK, &logged);
        if let Some(refusal) = conflict(&logged) {
            let failure = Failure::check(CheckId::BuildDerivation, whole(name, &refusal.what)).why(why);
            return Failure { hint: refusal.hint, ..failure };
        }
        let cause = match (failing_line(&tail), tail.iter().rev().find(|line| !line.trim().is_empty())) {
            (Some(line), _) => with_what_follows(line, &tail),
            (None, Some(last)) => format!("{how}; its log ends with: {}", last.trim()),
            (None, None) => how.to_owned(),
        };
        let hint = self.whole_log();
        Failure::check(CheckId::BuildDerivation, headline_of_log(name, &cause, source)).why(why).hint(
            if needs_network {
                format!("{hint} (builds have no network: only what has a hash is fetched)")
            } else {
                hint
            },
        )
    }

    fn tail<'l>(&self, log: &'l NixLog) -> Vec<&'l str> {
        log.tails.get(&self.drv).into_iter().flatten().map(String::as_str).collect()
    }

    /// The derivation, how it failed, and the end of its log; nix's message where there is none.
    fn log_end(&self, log: &NixLog, source: &SourceTree, message: &[String]) -> String {
        let tail = self.tail(log);
        let shown = &tail[tail.len().saturating_sub(LOG_LINES)..];
        let mut why = vec![self.drv.clone()];
        if shown.is_empty() {
            why.extend(message.iter().cloned());
        } else {
            let how = match &self.how {
                BuildError::Builder(how) => format!("{how}; "),
                _ => String::new(),
            };
            why.push(format!("{how}the last {} lines of its log:", shown.len()));
            why.extend(shown.iter().map(|line| format!("> {line}")));
        }
        source.map(&why.join("\n"))
    }

    fn whole_log(&self) -> String {
        format!("the whole log: nix log {}", self.drv)
    }
}

/// Whether a derivation's output is fixed by a hash, for which nix grants it the network. `None` where it cannot be read:
/// it lies in another store.
fn is_fetcher(drv: &str) -> Option<bool> {
    std::fs::read_to_string(drv).ok().map(|text| text.contains("(\"outputHash\","))
}
