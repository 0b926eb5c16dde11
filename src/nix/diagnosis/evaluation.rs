//! Errors of an evaluation.

use super::derivation::{derivation, failed_derivations};
use super::excerpt::{ErrorParts, core};
use super::fetch::{absent, unfetched};
use super::headline;
use super::host::host_problem;
use super::nixpkgs::{refusal, suggestion, without_suggestion};
use super::patterns::{
    ATTRIBUTE, FEATURE, FETCHES, GIT_FETCH, NETWORK, NO_FLAKE, PURE, SEARCH_PATH, UNFETCHED, UNPROVIDED, find, is,
};
use super::source_tree::SourceTree;
use super::{first_error, past_the_protocol};
use crate::failure::Failure;
use crate::model::CheckId;
use crate::nix::log::NixLog;

/// What a failed evaluation means. `named` is how the user would recognise what was evaluated.
pub(in crate::nix) fn evaluation(log: &NixLog, source: &SourceTree, named: &str) -> Failure {
    let Some(error) = first_error(log) else {
        let last = log.stray.back().cloned().unwrap_or_else(|| "it ended without a message".to_owned());
        return Failure::host(format!("nix failed to evaluate {named}")).why(last);
    };
    let error = source.without_variant(&error);
    let core = core(&error);
    let parts = ErrorParts::of(&source.map(&error));
    let why = parts.readable(source);
    if let Some((what, hint)) = source.untracked(&core) {
        return Failure::check(CheckId::BuildEval, headline::headline(named, &what, None)).why(why).hint(hint);
    }
    // Built during evaluation ("import from derivation").
    if !failed_derivations(log).is_empty() {
        return derivation(log, source, named, None);
    }
    let said = past_the_protocol(log);
    if let Some(failure) = absent(named, &parts, &said) {
        return failure.why([why, said].join("\n").trim_end());
    }
    if let Some(failure) = host_problem(&error, &said) {
        // What git and ssh say does not come by the protocol, and is the better half of it.
        return failure.why([why, said].join("\n").trim_end());
    }
    if is(&UNFETCHED, &error) {
        if log.offline {
            let input = parts.traces.iter().rev().find_map(|(doing, _)| find(&FETCHES, doing));
            let what =
                input.map_or_else(|| headline::cause(&parts, source), |input| format!("{} is not cached", &input[1]));
            return Failure::host(headline::headline(named, &what, Some("--offline")))
                .why(why)
                .hint("try it without --offline");
        }
        // git fails first, with a line of its own; nix then misses what git should have brought.
        let all = [said.as_str(), &log.warnings.join("\n")].join("\n");
        if is(&NETWORK, &all) || is(&GIT_FETCH, &core) {
            let all = [core, all].join("\n");
            return unfetched(&parts, &all).why([why, said].join("\n").trim_end());
        }
    }
    if core.starts_with("'file://") && core.contains("is not a valid URL") && source.is_git {
        return Failure::host("this nix cannot read a git repository whose path has such characters")
            .why(why)
            .hint("use a newer nix, or move it to a path of letters, digits and dashes");
    }
    // What a flake names as its inputs, or fetches, is its own affair.
    if is(&NO_FLAKE, &core) && source.root.is_none() && !parts.is_doing("flake input") && !parts.is_doing(" builtin") {
        return Failure::usage(headline::evaluation(named, &parts, source)).why(why);
    }
    // One inside of NixOS is no question of where nixpkgs is, which has been found by then.
    if let Some(found) = find(&SEARCH_PATH, &core).filter(|found| !found[1].starts_with("nixpkgs/nixos/")) {
        let name = found[1].split('/').next().unwrap_or("nixpkgs").to_owned();
        return Failure::host(format!("<{name}> is not on nix's search path"))
            .why(why)
            .hint(format!("name it: -I {name}=PATH, or set NIX_PATH"));
    }
    if is(&ATTRIBUTE, &core) {
        let attribute = find(&UNPROVIDED, &core).map_or_else(|| named.to_owned(), |found| found[1].to_owned());
        return Failure::check(CheckId::BuildAttribute, format!("the flake has no attribute {attribute}")).why(why);
    }
    if let Some(refusal) = refusal(&parts, source) {
        let failure = Failure::check(CheckId::BuildEval, headline::whole(named, &refusal.what));
        return Failure { why: refusal.rest(&why), hint: refusal.hint, ..failure };
    }
    let failure = Failure::check(CheckId::BuildEval, headline::evaluation(named, &parts, source)).why(why);
    if let Some(found) = find(&FEATURE, &core) {
        failure.hint(format!("allow it: --option extra-experimental-features {}", &found[1]))
    } else if is(&PURE, &core) {
        failure.hint("--impure lets the evaluation see it, if that is what you want")
    } else {
        match suggestion(&parts) {
            Some(suggestion) => failure.why(without_suggestion(&parts.readable(source))).hint(suggestion),
            None => failure,
        }
    }
}
