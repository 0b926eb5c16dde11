//! Takes out of a transcript who made it.

use std::ffi::OsStr;
use std::path::Path;

use super::{Diagnosis, strip_colours};

/// Replaces the names of the user and of the host, and paths of home directories.
#[derive(Debug, Default)]
pub(super) struct Redactor {
    /// Path prefixes and their replacements, the longest first.
    homes: Vec<(String, &'static str)>,
    /// Whole words and their replacements.
    words: Vec<(String, &'static str)>,
}

impl Redactor {
    pub(super) fn of_this_user() -> Self {
        let text = |value: &OsStr| value.to_str().map(str::to_owned);
        let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
        let home = std::env::var_os("HOME").as_deref().and_then(text);
        let home_of_account = user.as_ref().and_then(|user| text(user.dir.as_os_str()));
        let name = user.map(|user| user.name);
        let names = [name, std::env::var("USER").ok(), std::env::var("LOGNAME").ok(), std::env::var("SUDO_USER").ok()];
        let host = nix::unistd::gethostname().ok().as_deref().and_then(text);
        Self::new([home, home_of_account].into_iter().flatten(), names.into_iter().flatten(), host)
    }

    pub(super) fn new(
        homes: impl IntoIterator<Item = String>,
        users: impl IntoIterator<Item = String>,
        host: Option<String>,
    ) -> Self {
        // Names that identify no one, and that stand for something else in texts.
        const COMMON_NAMES: [&str; 9] =
            ["root", "nix", "nixos", "user", "runner", "ubuntu", "debian", "localhost", "nobody"];
        let identifies = |name: &String| name.len() > 1 && !COMMON_NAMES.contains(&name.as_str());
        let mut homes: Vec<_> = homes
            .into_iter()
            .filter(|home| home.len() > 1 && Path::new(home).is_absolute())
            .map(|home| (home, "~"))
            .collect();
        homes.sort_by_key(|(home, _)| std::cmp::Reverse(home.len()));
        let users = users.into_iter().filter(identifies).map(|user| (user, "USER"));
        let words = users.chain(host.into_iter().filter(identifies).map(|host| (host, "HOST"))).collect();
        Self { homes, words }
    }

    fn text(&self, text: &mut String) {
        for (home, with) in &self.homes {
            *text = replace_word(text, home, with);
        }
        for (word, with) in &self.words {
            *text = replace_word(text, word, with);
        }
    }

    pub(super) fn redact(&self, diagnosis: &mut Diagnosis) {
        self.text(&mut diagnosis.host);
        for finding in &mut diagnosis.findings {
            self.text(&mut finding.observation);
            finding.fix.iter_mut().for_each(|fix| self.text(fix));
        }
        for ran in &mut diagnosis.transcript {
            for text in [&mut ran.command, &mut ran.stdout, &mut ran.stderr].into_iter().chain(&mut ran.error) {
                *text = strip_colours(text);
                self.text(text);
            }
        }
    }
}

/// Replaces where neither a letter, a digit nor `_` follows or, for a name that begins with one, precedes.
fn replace_word(text: &str, word: &str, with: &str) -> String {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let begins_inside = part(word.chars().next());
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (at, found) in text.match_indices(word) {
        let before = text[..at].chars().next_back();
        let after = text[at + found.len()..].chars().next();
        let inside = part(after) || (begins_inside && part(before));
        if !inside {
            out.push_str(&text[done..at]);
            out.push_str(with);
            done = at + found.len();
        }
    }
    out.push_str(&text[done..]);
    out
}
