//! Fetches that failed: nix's own, git's, and those of a builder's curl.
//!
//! One rule for all of them: what a server says is not there is named wrongly, which is the flake's fault. Everything else
//! lies between this host and the server: no network, no certificates, a token that has expired, a server in trouble.

use super::excerpt::ErrorParts;
use super::headline::{LENGTH, headline};
use super::patterns::{
    ABSENT, CERTIFICATES, DENIED, DOWNLOAD, FETCHES, GIT_ENDED, GIT_FETCH, HTTP_STATUS, LANGUAGE, NETWORK, UNREACHED,
    find, is,
};
use crate::failure::Failure;
use crate::model::CheckId;
use crate::text::clean_line;

const NETWORK_HINT: &str = "is the network up? `--offline` uses only what is here already";

/// How a fetch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The server says that it is not there.
    Absent,
    /// It is not for who asks.
    Denied,
    /// There was none, or one that says nothing of what was asked for.
    Failed,
}

/// What a line of nix, git or curl says of a fetch; `None` where it says nothing of one.
pub(super) fn answer(line: &str) -> Option<Answer> {
    if is(&ABSENT, line) {
        return Some(Answer::Absent);
    }
    if is(&DENIED, line) {
        return Some(Answer::Denied);
    }
    if is(&DOWNLOAD, line) {
        let status = find(&HTTP_STATUS, line).and_then(|found| found[1].parse::<u16>().ok());
        return Some(match status {
            Some(401 | 403) => Answer::Denied,
            // A proxy's, too slow, too often: the next time it may be there.
            Some(407 | 408 | 429) => Answer::Failed,
            Some(400..=499) => Answer::Absent,
            _ => Answer::Failed,
        });
    }
    is(&NETWORK, line).then_some(Answer::Failed)
}

/// How a builder's fetches ended, and the line that says so. That it is not there is certain only where that is the last
/// answer for each URL that was tried.
pub(super) fn answer_of_log<'l>(log: &[&'l str]) -> Option<(Answer, &'l str)> {
    // So fetchurl of nixpkgs begins with a URL.
    let begins = |line: &str| line.starts_with("trying ") || line.starts_with("error checking the existence of ");
    // Some stores answer 403 for what they do not have, and a mistyped version is the flake's.
    let of_builder = |line: &str| {
        let answer = answer(line)?;
        let is_forbidden = find(&HTTP_STATUS, line).is_some_and(|found| &found[1] == "403");
        Some(if is_forbidden { Answer::Absent } else { answer })
    };
    let tried: Vec<Option<(Answer, &'l str)>> = log
        .chunk_by(|_, next| !begins(next))
        .map(|lines| lines.iter().rev().find_map(|line| Some((of_builder(line)?, *line))))
        .collect();
    // The last URL was fetched: what failed came after it.
    if tried.len() > 1 && tried.last() == Some(&None) {
        return None;
    }
    let answers: Vec<(Answer, &'l str)> = tried.into_iter().flatten().collect();
    answers.iter().rev().find(|(answer, _)| *answer != Answer::Absent).or(answers.last()).copied()
}

/// What the flake names that is not there, where an error says that it was not fetched. `said`: what nix's helpers printed
/// besides.
pub(super) fn absent(named: &str, parts: &ErrorParts, said: &str) -> Option<Failure> {
    let first = parts.message.first()?;
    let is_git = is(&GIT_ENDED, first) || is(&GIT_FETCH, first);
    if is(&LANGUAGE, first) || !(is_git || is(&DOWNLOAD, first)) {
        return None;
    }
    // git says it by itself, past the protocol; nix's own downloads on the first line, which a server's page may follow.
    let mut lines = std::iter::once(first.as_str()).chain(said.lines().filter(|_| is_git));
    let line = lines.find(|line| answer(line) == Some(Answer::Absent))?;
    let failure = Failure::check(CheckId::BuildEval, headline(named, &told(parts, line), None));
    Some(if ["://api.github.com/", "://github.com/"].iter().any(|at| line.contains(at)) {
        failure.hint(
            "GitHub also says this of a private repository if it gets no token: see `access-tokens` in nix.conf(5)",
        )
    } else {
        failure
    })
}

/// What could not be fetched although it may be there: which of these lines says why, or else git's last word.
pub(super) fn unfetched(parts: &ErrorParts, said: &str) -> Failure {
    let found = said.lines().find_map(|line| Some((answer(line).filter(|answer| *answer != Answer::Absent)?, line)));
    let fatal = said.lines().rev().find(|line| line.starts_with("fatal:"));
    let last = fatal.or_else(|| parts.message.first().map(String::as_str)).unwrap_or_default();
    let (answer, line) = found.unwrap_or((Answer::Failed, last));
    Failure::host(told(parts, line)).hint(hint(answer, line).unwrap_or(NETWORK_HINT))
}

/// What to look at, where that is known better than that there may be no network.
pub(super) fn hint(answer: Answer, line: &str) -> Option<&'static str> {
    if line.contains("(publickey") {
        Some("ssh has no key that the server accepts: is it loaded (`ssh-add -l`)?")
    } else if line.contains("Host key") {
        Some("ssh does not trust that host's key: connect to it by hand, as the user who runs nix, to see why")
    } else if answer == Answer::Denied {
        Some("a token or password is missing or has expired: see `access-tokens` and `netrc-file` in nix.conf(5)")
    } else if is(&CERTIFICATES, line) {
        Some("does the certificate file exist? See NIX_SSL_CERT_FILE, and `ssl-cert-file` in nix.conf(5)")
    } else {
        None
    }
}

/// What was not fetched, by the name that the flake has for it, and why, in one line.
fn told(parts: &ErrorParts, line: &str) -> String {
    let line = line.trim();
    let input = parts.traces.iter().rev().find_map(|(doing, _)| find(&FETCHES, doing));
    let reached = find(&UNREACHED, line);
    let why = match &reached {
        Some(found) => found.get(2).map_or("", |why| why.as_str()),
        None => line.rsplit_once("fatal: ").map_or(line, |(_, why)| why),
    };
    match input.as_ref().or(reached.as_ref()) {
        Some(found) => headline(&format!("could not fetch {}", &found[1]), why, None),
        None => clean_line(why, LENGTH),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What nix, git and curl say, of all versions.
    #[test]
    fn answers() {
        for (line, expected) in [
            ("unable to download 'https://x/y.tar.gz': HTTP error 404", Some(Answer::Absent)),
            ("unable to download 'https://x/y.tar.gz': HTTP error 404 ('Not Found')", Some(Answer::Absent)),
            ("unable to download 'https://x/y.tar.gz': HTTP error 410", Some(Answer::Absent)),
            ("unable to download 'https://x/y.tar.gz': HTTP error 401", Some(Answer::Denied)),
            ("unable to download 'https://x/y.tar.gz': HTTP error 403", Some(Answer::Denied)),
            ("unable to download 'https://x/y.tar.gz': HTTP error 407", Some(Answer::Failed)),
            ("unable to download 'https://x/y.tar.gz': HTTP error 408", Some(Answer::Failed)),
            ("unable to download 'https://x/y.tar.gz': HTTP error 429", Some(Answer::Failed)),
            ("unable to download 'https://x/y.tar.gz': HTTP error 502", Some(Answer::Failed)),
            // Cut off in the middle, and a redirection to where nobody is.
            (
                "unable to download 'https://x/404': HTTP error 200 (curl error: Timeout was reached)",
                Some(Answer::Failed),
            ),
            ("unable to download 'https://x': HTTP error 302 (curl error: SSL connect error)", Some(Answer::Failed)),
            (
                "unable to download 'https://x': Problem with the SSL CA cert (path? access rights?) (77)",
                Some(Answer::Failed),
            ),
            ("unable to download 'ftp://x/y': Remote file not found (78)", Some(Answer::Absent)),
            ("curl: (22) The requested URL returned error: 404", Some(Answer::Absent)),
            (
                "  0   0 --:--:-- --:--:--     0curl: (22) The requested URL returned error: 404 Not Found",
                Some(Answer::Absent),
            ),
            ("curl: (22) The requested URL returned error: 502", Some(Answer::Failed)),
            ("curl: (22) The requested URL returned error: 403", Some(Answer::Denied)),
            // Since curl 8.17 it is any error of HTTP's.
            ("curl: (22) SSL certificate OpenSSL verify result: self-signed certificate (19)", Some(Answer::Failed)),
            ("curl: (77) error setting certificate file: /etc/ssl/certs/ca-bundle.crt", Some(Answer::Failed)),
            ("curl: (6) Could not resolve host: example.org", Some(Answer::Failed)),
            ("curl: (9) Server denied you to change to the given directory", Some(Answer::Failed)),
            ("curl: (78) RETR response: 550", Some(Answer::Absent)),
            ("fatal: couldn't find remote ref refs/tags/0.0.9+dev", Some(Answer::Absent)),
            ("fatal: Remote branch HEAD not found in upstream origin", Some(Answer::Absent)),
            (
                "fatal: remote error: upload-pack: not our ref 27bef25b17953d9749d50b6917d712172ab8e6ea",
                Some(Answer::Absent),
            ),
            ("fatal: repository 'https://github.com/a/b/' not found", Some(Answer::Absent)),
            ("fatal: unable to access 'https://x/': The requested URL returned error: 502", Some(Answer::Failed)),
            ("fatal: unable to access 'https://x/': Could not resolve host: x", Some(Answer::Failed)),
            (
                "fatal: could not read Username for 'https://github.com': terminal prompts disabled",
                Some(Answer::Denied),
            ),
            ("fatal: Authentication failed for 'https://x/'", Some(Answer::Denied)),
            ("error: cannot download source from any mirror", None),
            ("checking whether HTTP error 404 is handled... yes", None),
        ] {
            assert_eq!(answer(line), expected, "{line}");
        }
    }

    /// A builder asks several servers, each several times.
    #[test]
    fn answers_of_logs() {
        let not_found = "curl: (22) The requested URL returned error: 404";
        let bad_gateway = "curl: (22) The requested URL returned error: 502";
        for (log, expected) in [
            (vec!["trying https://a/x", not_found], Some((Answer::Absent, not_found))),
            // The last attempt counts.
            (vec!["trying https://a/x", bad_gateway, "Warning: left.", not_found], Some((Answer::Absent, not_found))),
            // The file may be at the server that is in trouble.
            (
                vec!["trying https://a/x", bad_gateway, "", "trying https://b/x", not_found],
                Some((Answer::Failed, bad_gateway)),
            ),
            (
                vec![
                    "error checking the existence of https://tarballs.nixos.org//sha256-Q:",
                    bad_gateway,
                    "",
                    "trying https://b/x",
                    not_found,
                ],
                Some((Answer::Failed, bad_gateway)),
            ),
            (
                vec!["trying https://a/x", not_found, "", "trying https://b/x", not_found],
                Some((Answer::Absent, not_found)),
            ),
            (vec!["line 1"], None),
            (vec![], None),
        ] {
            assert_eq!(answer_of_log(&log), expected, "{log:?}");
        }
    }
}
