//! What this host cannot do: never a reason to blame the configuration.

use super::excerpt::ErrorParts;
use super::fetch::{answer, unfetched};
use super::headline::{LENGTH, headline};
use super::patterns::{
    DAEMON, DATABASE, DISK, DOWNLOAD, FILES, GIT_ENDED, INTERRUPTED, LANGUAGE, MEMORY, NETWORK, OWNER, PERMISSION,
    Pattern, READ_ONLY, SANDBOX, SHALLOW, is,
};
use crate::failure::Failure;
use crate::text::clean_line;

/// What nix says, what that means, and the advice; the first that fits.
static PROBLEMS: [(&Pattern, &str, &str); 9] = [
    (&DISK, "the disk is full", "free some space (`nix store gc` removes what nothing needs any more)"),
    (
        &DAEMON,
        "the nix daemon does not answer",
        "start it (`systemctl start nix-daemon.socket`), and look at `nix store ping` and the daemon's journal",
    ),
    (
        &DATABASE,
        "nix cannot use its database",
        "a database below ~/.cache/nix may be removed; `nix-store --verify` checks the store's own",
    ),
    (&READ_ONLY, "nix cannot write to its store", "is /nix/store mounted read-only without a nix daemon?"),
    (&SANDBOX, "nix cannot set up its build sandbox here", "see `sandbox` in nix.conf(5)"),
    (&MEMORY, "out of memory", "close something, or add swap"),
    (
        &FILES,
        "nix cannot use a file of this host",
        "the kernel's log (`journalctl -k`) names a failing disk; `ulimit -n` limits open files",
    ),
    (
        &OWNER,
        "git does not trust the repository, since another user owns it",
        "git config --global --add safe.directory DIRECTORY",
    ),
    (
        &SHALLOW,
        "nix needs the history of a git repository, of which this is a shallow clone",
        "git fetch --unshallow (in CI: `fetch-depth: 0`), or name it as `git+file://…?shallow=1`",
    ),
];

/// What the host could not do, if that is what an error says. `said`: what nix's helpers printed besides.
pub(super) fn host_problem(error: &str, said: &str) -> Option<Failure> {
    let parts = ErrorParts::of(error);
    let (text, first) = (parts.message.join("\n"), parts.message.first().map_or("", String::as_str));
    if is(&INTERRUPTED, &text) {
        return Some(Failure::interrupted());
    }
    if is(&LANGUAGE, first) {
        return None;
    }
    if let Some((_, what, hint)) = PROBLEMS.iter().find(|(pattern, ..)| is(pattern, &text)) {
        return Some(Failure::host(*what).hint(*hint));
    }
    let fetches = first.contains("fetch") || is(&NETWORK, first);
    if is(&DOWNLOAD, first) || (fetches && is(&NETWORK, &text)) {
        return Some(unfetched(&parts, &text));
    }
    if first.starts_with("executing 'git'") {
        let failure = Failure::host("git cannot be started, which nix needs to read a flake in a git repository");
        return Some(failure.hint("install git"));
    }
    if is(&GIT_ENDED, first) {
        if said.lines().any(|line| answer(line).is_some()) {
            return Some(unfetched(&parts, said));
        }
        let cause = said.lines().rev().find(|line| line.starts_with("fatal:")).unwrap_or(first);
        return Some(Failure::host(headline("git", cause, None)));
    }
    is(&PERMISSION, first).then(|| Failure::host(clean_line(first, LENGTH)))
}
