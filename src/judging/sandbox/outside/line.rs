//! What a line says of a host that was not reached.

use crate::judging::journal::Means as _;
use crate::judging::journal_patterns::Meaning;

/// Words that stand where a host's name may.
const NO_HOSTS: &[&str] = &[
    "a",
    "address",
    "addresses",
    "all",
    "any",
    "api",
    "backend",
    "connect",
    "dependencies",
    "destination",
    "dns",
    "domain",
    "endpoint",
    "error",
    "failed",
    "failure",
    "for",
    "gateway",
    "getaddrinfo",
    "host",
    "hostname",
    "information",
    "it",
    "name",
    "names",
    "peer",
    "proxy",
    "registry",
    "remote",
    "server",
    "servers",
    "service",
    "target",
    "the",
    "to",
    "upstream",
    "uri",
    "url",
];
/// The hosts that a line names as what was not reached.
pub(super) fn hosts_of(line: &str) -> Vec<String> {
    let line = Meaning::NamesResolver.removed_from(line);
    let mut hosts: Vec<String> = Meaning::NamesHost.all_of(&line, "host");
    for host in &mut hosts {
        *host = host.trim_end_matches('.').to_ascii_lowercase();
    }
    hosts.retain(|host| {
        let is_number = host.bytes().all(|byte| byte.is_ascii_digit());
        !is_number && !NO_HOSTS.contains(&host.as_str())
    });
    hosts
}

/// Whether a host is none outside by its name alone: one label, or the machine's own.
pub(super) fn is_inside(host: &str, own: Option<&str>) -> bool {
    let is_own = own.is_some_and(|own| {
        let rest = host.strip_prefix(&own.to_ascii_lowercase());
        rest.is_some_and(|rest| matches!(rest, "" | ".local" | ".localdomain" | ".localhost"))
    });
    let is_v6 = host.contains(':');
    is_own || !host.contains('.') && !is_v6 || host.ends_with(".localhost")
}

/// What a line says of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// One outside was not reached.
    Outside,
    /// One that is none outside was not found.
    Inside,
}

/// What a line says of a host that was not reached; `None` where it says nothing of the kind.
pub(super) fn reach(line: &str, is_inside: impl Fn(&str) -> bool, own: Option<&str>) -> Option<Reach> {
    let not_reached = Meaning::HostNotReached.is_in(line)
        || (Meaning::ConnectionTimedOut.is_in(line) && Meaning::NamesRemoteHost.is_in(line));
    let is_local = || Meaning::NamesLocalHost.is_in(&Meaning::NamesResolver.removed_from(line));
    if !not_reached || is_local() || Meaning::NotAboutHosts.is_in(line) {
        return None;
    }
    let hosts = hosts_of(line);
    if !hosts.is_empty() {
        return Some(if hosts.iter().all(|host| is_inside(host)) { Reach::Inside } else { Reach::Outside });
    }
    // Symbols, placeholders and users are looked up as well.
    if Meaning::ResolvesAnything.is_in(line) && !Meaning::NamesNameService.is_in(line) {
        return None;
    }
    let itself = own.is_some_and(|name| name.len() > 2 && line.contains(&format!(" {name}")));
    Some(if itself { Reach::Inside } else { Reach::Outside })
}

/// Whether a line shows that something outside was not reached.
pub(crate) fn shows_no_outside(line: &str, host_name: Option<&str>) -> bool {
    reach(line, |host| is_inside(host, host_name), host_name) == Some(Reach::Outside)
}

/// Whether a text in lower case names a host: as a whole, not as part of another.
pub(super) fn names(text: &str, host: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    text.match_indices(host).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + host.len()..]);
        let begins = !before.ends_with(|c| is_part(c) || c == '.');
        let mut next = after.chars();
        let ends = match next.next() {
            Some('.') => !next.next().is_some_and(is_part),
            Some(c) => !is_part(c),
            None => true,
        };
        begins && ends
    })
}
