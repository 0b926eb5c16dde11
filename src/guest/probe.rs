//! One observation of a guest: everything that the plan wants, gathered at once; what could not be gathered is a gap.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{OptionFuture, join_all};
use tokio::time::{Instant, sleep};

use super::bus::Which;
use super::facts::{Facts, HttpAnswer, Job, JournalLine, Listener, Manager, Network, ScriptOutcome, Unit};
use super::http::{self, HttpRequest};
use super::proc_net::Tables;
use super::shell::{Output, Script};
use super::{Error, Guest, accounts, etc_links, journal, proc_net};
use crate::model::timeouts::Timeouts;
use crate::model::{Accel, ActiveState, Protocol, TransportKind};
use crate::text::{bounded, quoted};

/// Judges an outcome: whether it is good enough not to try again.
pub type Accepts<T> = Arc<dyn Fn(&T) -> bool + Send + Sync>;

/// What a plan wants to know besides what every observation has.
#[derive(Debug, Clone, Default)]
pub struct ProbeRequest {
    /// Units that are told of whether they are loaded or not, by full name.
    pub units: BTreeSet<String>,
    /// HTTP requests, by id.
    pub http: BTreeMap<String, Attempts<HttpRequest, HttpAnswer>>,
    /// Units all of whose words are read, in trouble or not.
    pub words_of: Vec<&'static str>,
    /// Scripts, by id.
    pub scripts: BTreeMap<String, Attempts<Script, ScriptOutcome>>,
    /// Timers whose services are to be run once.
    pub timers: Vec<String>,
    /// How long a timer's service may run.
    pub timer_deadline: Duration,
    /// A name to resolve, where the network policy lets names be resolved.
    pub resolve: Option<String>,
    /// Whether the configuration's own unit files are to be verified.
    pub unit_files: bool,
    /// Whether the system bus is to be asked for a sign of life.
    pub system_bus: bool,
}

/// Something that may be tried again.
#[derive(Clone)]
pub struct Attempts<Q, A> {
    /// What is tried.
    pub what: Q,
    /// How often more, when it was not good.
    pub retries: u32,
    /// How long to wait before each of these.
    pub pause: Duration,
    /// What is good; without it the first outcome is final.
    pub good: Option<Accepts<A>>,
}

impl<Q, A> Attempts<Q, A> {
    /// Whether an outcome is good enough not to try again.
    pub fn is_good(&self, outcome: &A) -> bool {
        self.good.as_ref().is_none_or(|good| good(outcome))
    }
}

impl<Q: fmt::Debug, A> fmt::Debug for Attempts<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempts")
            .field("what", &self.what)
            .field("retries", &self.retries)
            .field("pause", &self.pause)
            .finish_non_exhaustive()
    }
}

/// What bounds an observation.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long one question may take (not the scripts, which have their own deadlines). Scaled to the accelerator by
    /// the caller.
    pub patience: Duration,
    /// How many journal lines are read, the last ones.
    pub journal_lines: usize,
    /// How many bytes of stdout and stderr are kept of the scripts' outcomes.
    pub output: usize,
}

impl Limits {
    /// Those of a guest that runs under this accelerator.
    pub(crate) fn of(accel: Accel) -> Self {
        let usual = Self::default();
        Self { patience: Timeouts::of(accel).scaled(usual.patience), ..usual }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { patience: Duration::from_secs(20), journal_lines: 10_000, output: 64 << 10 }
    }
}

/// Files that tell about the kernel and the network, those that only the kernel writes first.
const FILES: [&str; 13] = [
    "/proc/uptime",
    "/proc/sys/kernel/tainted",
    "/proc/net/tcp",
    "/proc/net/tcp6",
    "/proc/net/udp",
    "/proc/net/udp6",
    "/proc/net/dev",
    "/proc/net/route",
    "/proc/net/ipv6_route",
    "/proc/net/if_inet6",
    "/proc/net/fib_trie",
    "/etc/resolv.conf",
    "/etc/group",
];
/// Of how many units in trouble all words are read.
const TROUBLED: usize = 40;
/// How many of its last lines are read of each, where all that they said is too much.
const LAST_WORDS: usize = 200;
/// Units that may fail without being in state `failed`, as tmpfiles do: their words are always read.
const QUIET: [&str; 2] = ["systemd-tmpfiles-setup.service", "systemd-tmpfiles-setup-dev.service"];
/// Most interfaces that systemd-networkd has not done with.
const LINKS: usize = 16;
/// Most bytes of each of them.
const FILE: usize = 512 << 10;
/// Most bytes of one answer of the guest's shell.
const ANSWER: usize = 16 << 20;

/// Prints the interfaces that systemd-networkd has not done with, after a marker; its files name them by number.
const CONFIGURING: &str = r#"echo nixbox-configuring
grep -ls '^ADMIN_STATE=configuring' /run/systemd/netif/links/* | while read -r X; do
 for N in /sys/class/net/*; do read -r I <"$N/ifindex" && [ "$I" = "${X##*/}" ] && echo "${N##*/}"; done
done"#;

/// What an observation gathers one after the other in the guest's shell.
fn files_script() -> String {
    let files = FILES.join(" ");
    // The markers stand between parts that are each told by one process; what a file holds cannot forge the next part,
    // since each part's end is the last marker of its kind.
    format!(
        "( head -v -c {FILE} {files} 2>/dev/null\n\
         echo; echo nixbox-accounts\n{accounts}\n\
         echo nixbox-etc\n{etc}\n\
         echo; echo nixbox-names\n\
         for P in /proc/[0-9]*; do read -r C <\"$P/comm\" && echo \"${{P#/proc/}} $C\"; done 2>/dev/null\n\
         echo nixbox-links\n\
         stat -c %N /proc/[0-9]*/fd/* 2>/dev/null\n\
         {CONFIGURING}\n\
         : )",
        accounts = accounts::SCRIPT,
        etc = etc_links::SCRIPT,
    )
}

/// The files that `head -v` printed, by path. Each begins after its own header and ends before the next one that is
/// there, looked for in order, so that no file can pass for one that is there before it.
fn split_files(text: &str) -> BTreeMap<&'static str, &str> {
    let mut files = BTreeMap::new();
    let mut rest = text;
    let mut current: Option<&'static str> = None;
    for path in FILES {
        let header = format!("==> {path} <==\n");
        let at = if rest.starts_with(&header) { Some(0) } else { rest.find(&format!("\n{header}")).map(|at| at + 1) };
        let Some(at) = at else { continue };
        if let Some(current) = current {
            files.insert(current, rest[..at].trim_end_matches('\n'));
        }
        rest = &rest[at + header.len()..];
        current = Some(path);
    }
    if let Some(current) = current {
        files.insert(current, rest);
    }
    files
}

/// Reads what [`files_script`] printed into the facts.
fn read_files(text: &str, facts: &mut Facts) {
    let (text, configuring) = split_configuring(text);
    let (text, links) = text.rsplit_once("\nnixbox-links\n").unwrap_or((text, ""));
    let (text, names) = text.rsplit_once("\nnixbox-names\n").unwrap_or((text, ""));
    let (text, etc) = text.rsplit_once("\nnixbox-etc\n").map_or((text, None), |(text, etc)| (text, Some(etc)));
    let (text, lines) = text.rsplit_once("\nnixbox-accounts\n").unwrap_or((text, ""));
    let files = split_files(text);
    let file = |path: &str| files.get(path).copied().unwrap_or_default();
    let names: BTreeMap<u32, String> = names
        .lines()
        .filter_map(|line| line.split_once(' ').and_then(|(pid, name)| Some((pid.parse().ok()?, name.to_owned()))))
        .collect();

    facts.now_us = microseconds(file("/proc/uptime")).unwrap_or(0);
    facts.taint = file("/proc/sys/kernel/tainted").trim().parse().ok();
    facts.listeners = listeners_of(&files, &proc_net::holders(links, &names));
    facts.network = Network { resolves: facts.network.resolves, ..network_of(&files, configuring) };
    facts.accounts = accounts::accounts(lines);
    facts.pam_missing = accounts::missing_modules(lines);
    facts.pam_closed = accounts::closed_services(lines);
    facts.etc_links = etc_links::links(etc.unwrap_or_default());
    facts.groups = accounts::groups(file("/etc/group"));
    let mut lacks = |name: &str, missing: bool| {
        if missing {
            facts.gaps.insert(name.to_owned(), "the guest did not tell".to_owned());
        }
    };
    lacks("listeners", !files.contains_key("/proc/net/tcp"));
    lacks("network", !files.contains_key("/proc/net/dev"));
    lacks("accounts", lines.is_empty());
    lacks("etc-links", etc.is_none());
    lacks("groups", !files.contains_key("/etc/group"));
    lacks("taint", !files.contains_key("/proc/sys/kernel/tainted"));
}

/// Who listens, of files that [`split_files`] found.
fn listeners_of(files: &BTreeMap<&'static str, &str>, holders: &BTreeMap<u64, String>) -> Vec<Listener> {
    let tables = [
        (Protocol::Tcp, "/proc/net/tcp"),
        (Protocol::Tcp, "/proc/net/tcp6"),
        (Protocol::Udp, "/proc/net/udp"),
        (Protocol::Udp, "/proc/net/udp6"),
    ];
    let sockets =
        tables.map(|(protocol, path)| proc_net::sockets(protocol, files.get(path).copied().unwrap_or_default()));
    proc_net::listeners(&sockets.concat(), holders)
}

/// What [`files_script`] printed, and of that the last part: the interfaces that systemd-networkd has not
/// done with.
fn split_configuring(text: &str) -> (&str, &str) {
    text.rsplit_once("\nnixbox-configuring\n").unwrap_or((text, ""))
}

/// The network, of files that [`split_files`] found, and the interfaces that systemd-networkd has not done with.
fn network_of(files: &BTreeMap<&'static str, &str>, configuring: &str) -> Network {
    let file = |path: &str| files.get(path).copied().unwrap_or_default();
    let network = proc_net::network(Tables {
        dev: file("/proc/net/dev"),
        route: file("/proc/net/route"),
        ipv6_route: file("/proc/net/ipv6_route"),
        if_inet6: file("/proc/net/if_inet6"),
        fib_trie: file("/proc/net/fib_trie"),
        resolv_conf: file("/etc/resolv.conf"),
    });
    Network { configuring: configuring.lines().take(LINKS).map(|name| bounded(name, 64)).collect(), ..network }
}

/// The first number of `/proc/uptime`, seconds with two decimals. (It counts suspended time too, which a VM lacks.)
fn microseconds(uptime: &str) -> Option<u64> {
    let (seconds, rest) = uptime.split_ascii_whitespace().next()?.split_once('.')?;
    Some(seconds.parse::<u64>().ok()?.checked_mul(1_000_000)? + rest.parse::<u64>().ok()?.min(99) * 10_000)
}

impl Guest {
    /// Gathers everything at once. Nothing fails: what could not be gathered is in [`Facts::gaps`].
    ///
    /// Gaps go by the name of the field: `units`, `manager`, `jobs`, `journal`, `listeners`, `network`, `accounts`,
    /// `etc-links`, `groups`, `taint`, `resolves`, `unit-files`, and `system-bus`, `http.ID`, `scripts.ID`, `timers.NAME`.
    pub async fn observe(&self, wanted: &ProbeRequest, limits: &Limits) -> Facts {
        let heard = [&QUIET, wanted.words_of.as_slice()].concat();
        let (files, lines) = (files_script(), journal::command(&heard, limits.journal_lines));
        let (shell, bus, journal, resolves, system_bus, unit_files, http, scripts, timers) = tokio::join!(
            self.shell().ask(&files, limits.patience, ANSWER),
            self.observe_units(&wanted.units, limits),
            self.shell().ask(&lines, limits.patience, ANSWER),
            self.resolve(wanted.resolve.as_deref(), limits),
            self.system_bus(wanted.system_bus, limits),
            OptionFuture::from(wanted.unit_files.then(|| self.unit_files(limits))),
            join_all(wanted.http.iter().map(async |(id, request)| (id.clone(), self.http(request).await))),
            join_all(wanted.scripts.iter().map(async |(id, script)| (id.clone(), self.script(script, limits).await))),
            self.run_timers(wanted, limits),
        );
        let mut facts = Facts::default();
        let mut gaps = BTreeMap::new();
        match shell {
            Ok(output) => read_files(&String::from_utf8_lossy(&output.stdout), &mut facts),
            Err(error) => {
                // All that is read so is missing, and for this reason.
                read_files("", &mut facts);
                facts.gaps.values_mut().for_each(|why| *why = error.to_string());
            }
        }
        let errors =
            [("manager", bus.0.as_ref().err()), ("units", bus.1.as_ref().err()), ("jobs", bus.2.as_ref().err())];
        for (name, error) in errors {
            if let Some(error) = error {
                gaps.insert(name.to_owned(), error.to_string());
            }
        }
        facts.manager = bus.0.unwrap_or_default();
        facts.units = bus.1.unwrap_or_default();
        facts.jobs = dated(bus.2.unwrap_or_default(), facts.now_us);
        // A file that journald is about to make is "truncated", and there is no line at all.
        let is_empty = journal.as_ref().is_ok_and(|output| output.stdout.trim_ascii().is_empty());
        let journal = if is_empty { self.shell().ask(&lines, limits.patience, ANSWER).await } else { journal };
        match journal {
            Ok(output) => {
                facts.journal = journal::parse(&String::from_utf8_lossy(&output.stdout));
                if facts.journal.is_empty() {
                    let said = String::from_utf8_lossy(&output.stderr);
                    let said = said.lines().last().unwrap_or("journalctl told nothing");
                    gaps.insert("journal".to_owned(), bounded(said, 256));
                }
            }
            Err(error) => drop(gaps.insert("journal".to_owned(), error.to_string())),
        }
        self.add_words_of_troubled(&mut facts, limits).await;
        match resolves {
            Ok(resolves) => facts.network.resolves = resolves,
            Err(error) => drop(gaps.insert("resolves".to_owned(), error.to_string())),
        }
        if let Err(error) = system_bus {
            gaps.insert("system-bus".to_owned(), error.to_string());
        }
        match unit_files.transpose() {
            Ok(files) => facts.unit_files = files,
            Err(error) => drop(gaps.insert("unit-files".to_owned(), error.to_string())),
        }
        facts.http = sort_out(http, "http", &mut gaps);
        facts.scripts = sort_out(scripts, "scripts", &mut gaps);
        facts.timers = sort_out(timers, "timers", &mut gaps);
        facts.gaps.extend(gaps);
        facts
    }

    /// The network alone, without names being resolved: a lookup of milliseconds.
    ///
    /// # Errors
    /// The guest could not be asked, or did not tell.
    pub async fn network(&self, limits: &Limits) -> Result<Network, Error> {
        let text = self.files(limits).await?;
        let (text, configuring) = split_configuring(&text);
        let files = split_files(text);
        if !files.contains_key("/proc/net/dev") {
            return Err(Error::Lacks("/proc/net/dev".to_owned()));
        }
        Ok(network_of(&files, configuring))
    }

    /// Who listens, without their names, and the units with what PID 1's list of them tells.
    ///
    /// # Errors
    /// The guest could not be asked, or did not tell.
    pub async fn listening(&self, limits: &Limits) -> Result<(Vec<Listener>, Vec<Unit>), Error> {
        let units = async { self.manager(limits.patience).await?.states().await };
        let (text, units) = tokio::try_join!(self.files(limits), units)?;
        let files = split_files(&text);
        if !files.contains_key("/proc/net/tcp") {
            return Err(Error::Lacks("/proc/net/tcp".to_owned()));
        }
        Ok((listeners_of(&files, &BTreeMap::new()), units))
    }

    /// What the kernel writes into [`FILES`].
    async fn files(&self, limits: &Limits) -> Result<String, Error> {
        let script = format!("( head -v -c {FILE} {} 2>/dev/null; echo; {CONFIGURING}\n: )", FILES.join(" "));
        let output = self.shell().ask(&script, limits.patience, ANSWER).await?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Adds what units in trouble have said, why they failed is most often told at a low priority, and which of the paths
    /// that they name are there. What a container says is all that is known of its units.
    async fn add_words_of_troubled(&self, facts: &mut Facts, limits: &Limits) {
        // Such a unit stays active, with success for its result.
        let is_failed_reload = |line: &&JournalLine| line.pid == 1 && line.message.starts_with("Reload failed for ");
        let not_reloaded: BTreeSet<&str> =
            facts.journal.iter().filter(is_failed_reload).map(|line| line.unit.as_str()).collect();
        let in_trouble = |unit: &&Unit| {
            let restarted = unit.service.as_ref().is_some_and(|service| service.restarts > 0);
            let changes = matches!(unit.active_state, ActiveState::Failed | ActiveState::Activating);
            let has_failed = !unit.result.is_success() || not_reloaded.contains(unit.name.as_str());
            changes || restarted || has_failed || unit.name.starts_with("container@")
        };
        let troubled = facts.units.iter().filter(in_trouble).take(TROUBLED);
        let names: Vec<String> = troubled.map(|unit| unit.name.clone()).collect();
        if names.is_empty() {
            return;
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.add_words(facts, &names, limits).await;
        self.add_paths(facts, &names, limits).await;
    }

    /// Adds everything that these units have said.
    async fn add_words(&self, facts: &mut Facts, names: &[&str], limits: &Limits) {
        let command = journal::command_of(names, limits.journal_lines);
        // Without them there is still what PID 1 said.
        let Ok(mut output) = self.shell().ask(&command, limits.patience, ANSWER).await else { return };
        let count = output.stdout.iter().filter(|byte| **byte == b'\n').count();
        if count >= limits.journal_lines || output.cut > 0 {
            // One of them says so much that nothing of the others is left.
            let each = journal::command_of_each(names, LAST_WORDS);
            if let Ok(words) = self.shell().ask(&each, limits.patience, ANSWER).await {
                output = words;
            }
        }
        let known: BTreeSet<(u64, u32, String)> =
            facts.journal.iter().map(|line| (line.at_us, line.pid, line.message.clone())).collect();
        let lines = journal::parse(&String::from_utf8_lossy(&output.stdout));
        let new = lines.into_iter().filter(|line| !known.contains(&(line.at_us, line.pid, line.message.clone())));
        facts.journal.extend(new);
        facts.heard.extend(names.iter().map(|name| (*name).to_owned()));
        let files = self.log_files(names, limits.patience).await;
        facts.journal.extend(files.into_iter().map(|line| JournalLine { at_us: facts.now_us, ..line }));
        facts.journal.sort_by_key(|line| line.at_us);
    }

    /// PID 1's properties, the units, and the queue, from one connection.
    async fn observe_units(
        &self,
        wanted: &BTreeSet<String>,
        limits: &Limits,
    ) -> (Result<Manager, Error>, Result<Vec<Unit>, Error>, Result<Vec<(Job, u64)>, Error>) {
        match self.manager(limits.patience).await {
            Ok(bus) => tokio::join!(bus.manager(), bus.units(wanted), bus.jobs()),
            Err(error) => {
                let again = || Error::Deadline(error.to_string());
                (Err(again()), Err(again()), Err(again()))
            }
        }
    }

    /// Whether a name can be resolved; `None` when there is none to resolve.
    ///
    /// # Errors
    /// The guest could not be asked, or has no `getent`.
    pub async fn resolve(&self, name: Option<&str>, limits: &Limits) -> Result<Option<bool>, Error> {
        let Some(name) = name else { return Ok(None) };
        let name = quoted(name);
        let mut script = Script::new(format!("command -v getent >/dev/null || exit 127\ngetent ahosts {name}"));
        script.deadline = limits.patience;
        let output = self.shell().run(script).await?;
        match output.exit {
            127 => Err(Error::Lacks("getent".to_owned())),
            exit => Ok(Some(exit == 0 && !output.timed_out)),
        }
    }

    /// A sign of life from PID 1 by way of the system bus.
    async fn system_bus(&self, wanted: bool, limits: &Limits) -> Result<(), Error> {
        if !wanted {
            return Ok(());
        }
        let bus = self.bus(Which::System, limits.patience).await?;
        bus.ping().await
    }

    async fn http(&self, request: &Attempts<HttpRequest, HttpAnswer>) -> Result<HttpAnswer, Error> {
        let mut attempt = 0;
        loop {
            let output = self.shell().run(http::script(&request.what)?).await?;
            if output.exit == 127 {
                return Err(Error::Lacks("program that makes this request".to_owned()));
            }
            let answer = http::answer(&request.what, &output);
            if attempt == request.retries || request.is_good(&answer) {
                return Ok(answer);
            }
            attempt += 1;
            sleep(request.pause).await;
        }
    }

    async fn script(&self, script: &Attempts<Script, ScriptOutcome>, limits: &Limits) -> Result<ScriptOutcome, Error> {
        let mut attempts = 0;
        loop {
            let begun = Instant::now();
            let mut run = script.what.clone();
            run.limit = run.limit.min(limits.output);
            let output = self.shell().run(run).await?;
            attempts += 1;
            let outcome = outcome(&output, begun.elapsed(), attempts, script.what.deadline);
            if attempts > script.retries || script.is_good(&outcome) {
                return Ok(outcome);
            }
            sleep(script.pause).await;
        }
    }

    /// Runs each timer's service once, one after the other: they may share locks.
    async fn run_timers(&self, wanted: &ProbeRequest, limits: &Limits) -> Vec<(String, Result<ScriptOutcome, Error>)> {
        let mut all = Vec::new();
        for timer in &wanted.timers {
            all.push((timer.clone(), self.run_timer(timer, wanted.timer_deadline, limits).await));
        }
        all
    }

    async fn run_timer(&self, timer: &str, deadline: Duration, limits: &Limits) -> Result<ScriptOutcome, Error> {
        // A connection of its own, where there can be two: signals must not queue up on the one that is shared.
        let bus = match self.channel.kind() {
            TransportKind::VirtioSerial => self.manager(limits.patience).await?,
            TransportKind::VhostUser | TransportKind::Vsock => self.bus(Which::Manager, limits.patience).await?,
        };
        let Some(unit) = bus.triggers(timer).await?.into_iter().next() else {
            return Ok(ScriptOutcome {
                attempts: 1,
                error: Some(format!("there is no {timer}, or it triggers nothing")),
                exit: -1,
                ..ScriptOutcome::default()
            });
        };
        let begun = Instant::now();
        let ran = bus.run_unit(&unit, begun + deadline.max(Duration::from_secs(1))).await;
        let seconds = begun.elapsed().as_secs_f64();
        let mut outcome = ScriptOutcome { attempts: 1, seconds, ..ScriptOutcome::default() };
        match ran {
            Ok(state) => {
                let service = state.service.unwrap_or_default();
                // A signal is told as a shell would (CLD_KILLED and CLD_DUMPED of sigaction(2)).
                outcome.exit = service.exit_status + if service.exit_kind > 1 { 128 } else { 0 };
                if state.active_state == ActiveState::Failed || !state.result.is_success() {
                    outcome.error = Some(format!("{unit} failed: {}", state.result));
                }
            }
            Err(error) => {
                outcome.exit = -1;
                outcome.error = Some(error.to_string());
            }
        }
        let lines = format!("journalctl -b -q --no-pager -o cat -n 20 -u {}", quoted(&unit));
        if let Ok(output) = self.shell().ask(&lines, limits.patience, limits.output).await {
            outcome.stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        }
        Ok(outcome)
    }

    /// This boot's journal as text, its last `bytes`.
    ///
    /// # Errors
    /// The guest could not be asked within `patience`.
    pub async fn journal_text(&self, bytes: usize, patience: Duration) -> Result<Vec<u8>, Error> {
        Ok(self.shell().ask(&journal::text_command(bytes), patience, bytes).await?.stdout)
    }
}

/// Jobs with how long they have been running at `now_us`; 0 when that is not known.
fn dated(jobs: Vec<(Job, u64)>, now_us: u64) -> Vec<Job> {
    let known = |since: u64| (since > 0 && now_us >= since).then(|| (now_us - since) / 1_000_000);
    jobs.into_iter().map(|(job, since)| Job { seconds: known(since), ..job }).collect()
}

fn outcome(output: &Output, took: Duration, attempts: u32, deadline: Duration) -> ScriptOutcome {
    ScriptOutcome {
        exit: output.exit,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        seconds: took.as_secs_f64(),
        attempts,
        error: output.timed_out.then(|| format!("it did not end within {} s", deadline.as_secs_f64())),
    }
}

/// Outcomes by id, and errors as gaps.
fn sort_out<T>(
    all: Vec<(String, Result<T, Error>)>,
    kind: &str,
    gaps: &mut BTreeMap<String, String>,
) -> BTreeMap<String, T> {
    let mut good = BTreeMap::new();
    for (id, result) in all {
        match result {
            Ok(outcome) => drop(good.insert(id, outcome)),
            Err(error) => drop(gaps.insert(format!("{kind}.{id}"), error.to_string())),
        }
    }
    good
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart_though_one_lies() {
        let text = "==> /proc/uptime <==\n12.34 5\n\n==> /proc/sys/kernel/tainted <==\n0\n\n==> /proc/net/tcp <==\nhead\n\n==> /etc/resolv.conf <==\n\
                    nameserver 1.1.1.1\n==> /proc/net/tcp <==\nlie\n\n==> /etc/group <==\nroot:x:0:\n";
        let files = split_files(text);
        assert_eq!(files["/proc/sys/kernel/tainted"], "0");
        assert_eq!(files["/proc/net/tcp"], "head");
        assert!(files["/etc/group"].starts_with("root"));
        assert_eq!(microseconds(files["/proc/uptime"]), Some(12_340_000));
    }

    #[test]
    fn a_part_may_be_empty() {
        let mut facts = Facts::default();
        read_files("\nnixbox-accounts\nnixbox-etc\n\nnixbox-names\nnixbox-links\nnixbox-configuring\n", &mut facts);
        assert!(!facts.gaps.contains_key("etc-links"), "{facts:?}");
    }

    #[test]
    fn the_script_works_on_this_machine() {
        let output = std::process::Command::new("/bin/sh").args(["-c", &files_script()]).output().unwrap();
        let mut facts = Facts::default();
        read_files(&String::from_utf8_lossy(&output.stdout), &mut facts);
        assert!(facts.now_us > 0 && facts.taint.is_some(), "{facts:?}");
        assert!(facts.accounts.iter().any(|account| account.name == "root" && account.uid == 0 && account.shell_works));
        assert!(facts.groups.contains_key("root"));
        assert_eq!(facts.gaps, BTreeMap::new());
    }
}
