//! Every check's id, once: ids never change.

use crate::failure::{self, Failure, nearest};

/// A check that nixbox knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// The id that never changes.
    pub id: &'static str,
    /// What it looks at, one line.
    pub line: &'static str,
    /// Whether not being able to tell makes the whole run `unknown`. The others only advise.
    pub promised: bool,
    /// How early in a chain of causes it lies: of several failures the lowest is the cause that is told.
    pub rank: u8,
}

const fn check(rank: u8, id: &'static str, line: &'static str) -> Check {
    Check { id, line, promised: true, rank }
}

const fn advice(rank: u8, id: &'static str, line: &'static str) -> Check {
    Check { id, line, promised: false, rank }
}

/// All of them, in the order in which they are shown.
pub const CATALOG: &[Check] = &[
    check(0, "build.attribute", "the target's attribute is there"),
    check(1, "build.eval", "the configuration evaluates, its assertions hold"),
    check(2, "build.derivation", "everything that the machine is made of builds"),
    check(3, "build.toplevel", "the host's own system, which the VM variant partly hides, evaluates and builds"),
    check(13, "boot.target", "the default target is reached, no job is stuck"),
    check(12, "boot.emergency", "no emergency or rescue mode, neither in stage 1 nor later"),
    check(10, "boot.panic", "the kernel does not panic"),
    check(11, "boot.poweroff", "the machine stays up: no power-off, no reset"),
    check(16, "boot.oom", "nothing is killed for want of memory"),
    check(14, "boot.activation", "no snippet of the activation script failed"),
    check(15, "boot.tmpfiles", "systemd-tmpfiles could do all that it was told"),
    advice(60, "boot.taint", "the kernel is not tainted"),
    advice(50, "boot.time", "the boot takes no longer than [checks] boot-time"),
    check(21, "services.failed-units", "no unit has failed, but for what the sandbox explains"),
    check(20, "services.promised", "each promised unit is loaded, not masked, and started or rightly not"),
    check(23, "services.settled", "what became active is still active a settle time later"),
    check(22, "services.restart-loop", "no service is restarted again and again"),
    check(30, "services.ports", "somebody listens on each promised port"),
    check(31, "services.http", "the HTTP requests of nixbox.toml are answered as they should be"),
    check(33, "services.timers", "the services of the timers named in nixbox.toml run well"),
    advice(61, "services.journal", "errors in the journal (a warning at most)"),
    check(26, "network.address", "a network card has an address"),
    check(27, "network.route", "there is a default route"),
    check(18, "network.ports", "the promised firewall is up; what listens towards the outside"),
    advice(28, "network.dns", "somebody is there to ask for names; they resolve, where the policy allows asking"),
    check(24, "users.login", "somebody can log in"),
    check(25, "users.declared", "declared users, groups, homes and shells are there"),
    check(35, "desktop.greeter", "the promised display manager shows a login"),
    check(36, "desktop.session", "the user's graphical session is active, of the promised type and desktop"),
    check(19, "desktop.compositor", "what draws the session lives, and was not restarted"),
    check(38, "desktop.units", "the user's units, session target and portals are as promised"),
    check(37, "desktop.picture", "the screen shows a steady picture that reacts to input"),
    check(40, "audio.server", "the promised sound server answers in the person's session, with its session manager"),
    check(41, "audio.sink", "there is a sink that leads to a card, neither muted nor at volume 0"),
    check(42, "audio.tone", "tones that are played arrive at the card: pitch, order, sides, length"),
    check(44, "audio.microphone", "what is said into the card is recorded in the person's session"),
    check(43, "audio.realtime", "the server got the scheduling and the settings that it was promised"),
    check(32, "script.<name>", "a script of nixbox.toml ends as it should"),
];

/// What stands for all scripts in [`CATALOG`].
const SCRIPTS: &str = "script.<name>";

/// The table's ids.
pub fn ids() -> impl Iterator<Item = &'static str> {
    CATALOG.iter().map(|check| check.id)
}

/// The check with this id; `script.NAME` for any name.
pub fn find(id: &str) -> Option<&'static Check> {
    let wanted = if id.starts_with("script.") { SCRIPTS } else { id };
    CATALOG.iter().find(|check| check.id == wanted)
}

/// Whether a check can have this id.
pub fn is_id(id: &str) -> bool {
    find(id).is_some()
}

/// The table as text, for `--list-checks`.
pub fn table() -> String {
    let width = ids().map(str::len).max().unwrap_or(0);
    CATALOG.iter().map(|check| format!("{:width$}  {}\n", check.id, check.line)).collect()
}

/// Which checks were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    only: Vec<String>,
    skip: Vec<String>,
}

impl Selection {
    /// From `--only` and `--skip`: ids, or what ids begin with up to a dot (`services`, `services.`, `services.*`).
    /// `scripts` are the ids of `nixbox.toml`'s scripts for this host.
    ///
    /// # Errors
    /// Exit 2 when one of them names no check, with the nearest that does.
    pub fn new<'a>(
        only: &[String],
        skip: &[String],
        scripts: impl IntoIterator<Item = &'a str>,
    ) -> failure::Result<Self> {
        let scripts: Vec<String> = scripts.into_iter().map(|name| format!("script.{name}")).collect();
        let read = |list: &[String], flag: &str| {
            list.iter()
                .flat_map(|text| text.split(','))
                .map(str::trim)
                .filter(|text| !text.is_empty())
                .map(|text| known(text, flag, &scripts))
                .collect::<failure::Result<Vec<_>>>()
        };
        Ok(Self { only: read(only, "--only")?, skip: read(skip, "--skip")? })
    }

    /// Whether this check was asked for.
    pub fn has(&self, id: &str) -> bool {
        let named = |list: &[String]| list.iter().any(|prefix| covers(prefix, id));
        (self.only.is_empty() || named(&self.only)) && !named(&self.skip)
    }
}

fn covers(prefix: &str, id: &str) -> bool {
    id.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn known(text: &str, flag: &str, scripts: &[String]) -> failure::Result<String> {
    let prefix = text.trim_end_matches('*').trim_end_matches('.');
    let mut all: Vec<&str> = ids().filter(|id| *id != SCRIPTS).collect();
    all.extend(scripts.iter().map(String::as_str));
    if prefix == "script" || all.iter().any(|id| covers(prefix, id)) {
        return Ok(prefix.to_owned());
    }
    all.extend(["boot", "services", "network", "users", "desktop", "script", "build"]);
    let names = all;
    let mut failure = Failure::usage(format!("{flag} {text:?}: no such check"));
    if let Some(near) = nearest(text, names) {
        failure = failure.why(format!("did you mean {near:?}?"));
    }
    Err(failure.hint("nixbox try --list-checks shows them all"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Exit;

    fn selection(only: &[&str], skip: &[&str]) -> failure::Result<Selection> {
        let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Selection::new(&own(only), &own(skip), ["hello"])
    }

    #[test]
    fn ids_are_unique_and_ranked() {
        let mut ids: Vec<_> = ids().collect();
        let mut ranks: Vec<_> = CATALOG.iter().map(|check| check.rank).collect();
        ids.sort_unstable();
        ranks.sort_unstable();
        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(ranks.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(table().lines().count() == CATALOG.len());
    }

    #[test]
    fn selecting() {
        let all = selection(&[], &[]).unwrap();
        assert!(all.has("boot.target") && all.has("script.hello"));
        let services = selection(&["services", "script.hello"], &["services.journal"]).unwrap();
        assert!(services.has("services.ports") && services.has("script.hello"));
        assert!(!services.has("services.journal") && !services.has("boot.target") && !services.has("script.other"));
        assert!(selection(&["services.*,boot."], &[]).unwrap().has("boot.oom"));
        assert!(!selection(&["boot.t"], &[]).is_ok_and(|s| s.has("boot.time")));
    }

    #[test]
    fn unknown_ones_name_the_nearest() {
        let failure = selection(&["service"], &[]).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(failure.why.unwrap(), "did you mean \"services\"?");
        let failure = selection(&[], &["script.helo"]).unwrap_err();
        assert_eq!(failure.why.unwrap(), "did you mean \"script.hello\"?");
        assert!(selection(&[""], &[]).unwrap().has("boot.target"));
        assert!(selection(&["*"], &[]).is_err());
    }
}
