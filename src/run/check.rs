//! What is asked of a guest, and how the answers become a judgement.

use std::sync::Arc;

use super::boot::{self, ComeUp, NotUp};
use super::observer::{self, Observer};
use serde::Serialize;
use tokio::time::Instant;

use crate::artifacts::Artifacts;
use crate::audio::AudioProbe;
use crate::checks::{self, BootEnd, BootFailure, Observations};
use crate::desktop::drive::{DesktopDriver, ScreenRecorder, probe_lingering};
use crate::desktop::expected::failed_display_manager;
use crate::event::Events;
use crate::failure::Result;
use crate::guest::facts::{Facts, HttpAnswer, Network};
use crate::guest::shell::Script;
use crate::guest::{Accepts, Attempts, Guest, HttpRequest, Limits, ProbeRequest};
use crate::idle::IdleDetector;
use crate::judging::{Context, Judgement, Plan, contention, sandbox};
use crate::machine::{AudioCapture, Machine, PacketDump, Screen};
use crate::model::timeouts::run::{
    IDLE_LIMIT, JOURNAL_TEXT_LIMIT, LAST_PROBE_LIMIT, LEASE_INTERVAL, LISTENING_INTERVAL, RETRY_PAUSE, SITE_LIMIT,
    SITE_RETRIES,
};
use crate::model::timeouts::{Timeouts, config};
use crate::model::{Accel, CheckId, artifact};
use crate::nix::expectations::Expectations;
use crate::traffic::Traffic;

/// How many of the console's last lines are judged.
const CONSOLE_LINES: usize = 400;
/// Most of the journal's text that is kept, in bytes.
const JOURNAL_LIMIT: usize = 8 << 20;
/// How often the guest is observed again at the end, where something has changed since it last was.
const LAST_OBSERVATIONS: u32 = 2;
/// A name that is resolved to see whether names are. IANA keeps it (RFC 2606).
const RESOLVED: &str = "example.org";

/// What is asked of a guest that came up, and read of one that did not.
pub(super) struct Probe<'a> {
    pub(super) plan: &'a Plan,
    pub(super) accel: Accel,
    pub(super) memory_mib: u64,
    pub(super) no_router: bool,
    pub(super) events: &'a Events,
    pub(super) artifacts: Option<&'a Artifacts>,
    /// The screen's recording, where a desktop is probed.
    pub(super) recorder: Option<&'a ScreenRecorder>,
    /// A user sees the machine: its pointer and keys are theirs.
    pub(super) is_demo: bool,
    /// On a machine whose switch is rehearsed: since when it runs what is probed, by the guest's monotonic clock in µs. What
    /// is in the journal from before is not judged, and what was observed is kept for the record.
    pub(super) rehearsed_since_us: Option<u64>,
}

/// What a verdict rests on.
#[derive(Serialize)]
struct Judged<'a> {
    expectations: &'a Expectations,
    #[serde(skip_serializing_if = "Option::is_none")]
    observations: Option<&'a Observations>,
    #[serde(skip_serializing_if = "Option::is_none")]
    boot_failure: Option<&'a BootFailure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a Context>,
}

/// What was seen of a guest.
pub(super) struct Probed {
    /// What the checks say.
    pub(super) judgement: Judgement,
    /// The version of its systemd, when it could be asked.
    pub(super) systemd: Option<String>,
    /// Since when the screen showed the session's steady picture.
    pub(super) painted: Option<Instant>,
    /// What the checks rest on, where a switch is rehearsed and the guest came up.
    pub(super) facts: Option<Box<Facts>>,
}

impl Probe<'_> {
    /// Probes, keeps the evidence, judges.
    ///
    /// # Errors
    /// This host's: the machine or the transport to it broke while it was probed.
    pub(super) async fn at(&self, machine: &mut Machine, guest: &Guest, come_up: ComeUp) -> Result<Probed> {
        let seen = match come_up {
            ComeUp::Up => match Box::pin(self.judge(machine, guest)).await? {
                Ok(seen) => seen,
                Err(end) => {
                    let gone = NotUp { end, status: None, seconds: 0.0, idle: None, may_answer: true };
                    self.judge_boot_failure(machine, guest, gone).await
                }
            },
            ComeUp::NotUp(not_up) => self.judge_boot_failure(machine, guest, not_up).await,
            ComeUp::Crashed(failure) | ComeUp::Host(failure) | ComeUp::Silent(failure) => return Err(failure),
        };
        // A guest that could not be asked has no journal to give; the console says it all.
        self.evidence(machine, seen.systemd.as_ref().map(|_| guest)).await;
        Ok(seen)
    }

    /// A guest that is up. The inner error: it went away while it was looked at.
    async fn judge(&self, machine: &mut Machine, guest: &Guest) -> Result<std::result::Result<Probed, BootEnd>> {
        let (screen, capture, connected) = (machine.screen().clone(), machine.sound_file(), machine.audio().clone());
        let (delay, packets) = (machine.delay().clone(), machine.packets().clone());
        let settle = self.timeouts().settle(self.plan.settings.settle);
        let settle = observer::stretched(settle, &delay.taken(0, Instant::now()));
        // Each step on the heap: what all of them hold at once is more than a debug build's stack.
        let observing = async {
            guest.warm(self.limits().patience).await.map_err(|error| boot::closed(&error))?;
            let observer = Box::pin(Observer::begin(guest, self.limits(), settle)).await;
            let (observations, seen_at) = Box::pin(self.observe(&observer)).await;
            let now_us = observations.first.now_us;
            let (observations, painted) = Box::pin(self.desktop(&observer, observations, screen)).await;
            let observations = Box::pin(self.lingering(guest, observations)).await;
            let observations = Box::pin(self.sound(&observer, observations, &capture, &connected)).await;
            let observations = Box::pin(self.last_observation(&observer, observations)).await;
            let traffic = Box::pin(self.traffic(&packets, Some(guest), Some(observations.now()))).await;
            let observations = Observations { traffic, ..observations };
            Ok((observations, painted, delay.taken(now_us, seen_at)))
        };
        let (observations, painted, delay) = tokio::select! {
            observations = observing => observations?,
            end = boot::gone(machine, self.accel) => return end.map(Err),
        };
        let observations = self.since_the_switch(observations);
        let observations = Observations { console: machine.console().tail(CONSOLE_LINES), ..observations };
        let context = Context {
            accelerator: self.accel,
            network: self.plan.settings.machine.network.unwrap_or_default(),
            no_router: self.no_router,
            memory_mib: Some(self.memory_mib),
            host_resolves: None,
            delay,
            switched_us: self.rehearsed_since_us,
        };
        if let Some(note) = contention::note(&context.delay) {
            self.events.note(note);
        }
        let expectations = &self.plan.expectations;
        self.keep_facts(&Judged {
            expectations,
            observations: Some(&observations),
            boot_failure: None,
            context: Some(&context),
        });
        let systemd = Some(observations.now().manager.version.clone()).filter(|version| !version.is_empty());
        let judgement = checks::judge(self.plan, &observations, &context);
        let facts = self.rehearsed_since_us.map(|_| Box::new(observations.later.unwrap_or(observations.first)));
        Ok(Ok(Probed { judgement, systemd, painted, facts }))
    }

    /// Without what was said before the machine was switched.
    fn since_the_switch(&self, mut observations: Observations) -> Observations {
        for facts in [Some(&mut observations.first), observations.later.as_mut()].into_iter().flatten() {
            facts.journal.retain(|line| line.at_us >= self.rehearsed_since_us.unwrap_or(0));
        }
        observations
    }

    /// The first observation and its time; a later one follows where something has not settled yet.
    async fn observe(&self, observer: &Observer<'_>) -> (Observations, Instant) {
        self.events.doing("checking units, journal, network, users");
        let guest = observer.guest;
        let wanted = self.wanted();
        self.ports(guest).await;
        let seen_at = Instant::now();
        let first = observer.observe(&wanted).await;
        let leased = checks::lease_needed(&first, self.no_router).map(|wait| Instant::now() + wait);
        let mut later = self.settle(observer, &first, None).await;
        if let Some(leased) = leased {
            let facts = later.take().unwrap_or_else(|| first.clone());
            later = Some(self.lease(guest, facts, leased).await);
        }
        if let Some(facts) = &mut later
            && checks::may_recover(&first, observer.settle)
        {
            self.ask_again(observer, &wanted, facts).await;
        }
        if leased.is_some()
            && let Some(facts) = &mut later
        {
            // Without an address no name could be resolved.
            facts.network.resolves = guest.resolve(wanted.resolve.as_deref(), &self.limits()).await.unwrap_or(None);
        }
        (Observations { first, later, ..Observations::default() }, seen_at)
    }

    /// Observes the guest again, from the `latest` observation (or the first) on, until what just started has settled, or
    /// for as long as that takes at most.
    async fn settle(&self, observer: &Observer<'_>, first: &Facts, latest: Option<Facts>) -> Option<Facts> {
        let mut latest = latest;
        // No longer than the latest observation asks for now: what is restarted for ever never settles.
        let now = Instant::now();
        let needed = checks::settle_needed(self.plan, latest.as_ref().unwrap_or(first), observer.settle);
        let settled = needed.map(|wait| now + wait);
        let recovered = settled.map(|settled| settled + self.timeouts().second_try());
        let before = |end: Option<Instant>| end.is_some_and(|end| Instant::now() < end);
        loop {
            let facts = latest.as_ref().unwrap_or(first);
            let settles = || before(settled) || before(recovered) && checks::may_recover(facts, observer.settle);
            let Some(wait) = checks::settle_needed(self.plan, facts, observer.settle).filter(|_| settles()) else {
                return latest;
            };
            self.events.doing(format!("waiting {:.1} s until what just started has settled", wait.as_secs_f64()));
            tokio::time::sleep(wait).await;
            latest = Some(self.observe_again(observer, first).await);
        }
    }

    /// Observes again what failed, died or was restarted since it was last looked at.
    async fn last_observation(&self, observer: &Observer<'_>, mut observations: Observations) -> Observations {
        if self.rehearsed_since_us.is_some() {
            // The record is of the machine as the probes leave it: they start what is started on demand.
            observations.later = Some(self.observe_again(observer, observations.now()).await);
        }
        for _ in 0..LAST_OBSERVATIONS {
            if !observer.is_outdated(self.plan, observations.now()) {
                break;
            }
            self.events.doing("checking again what has changed meanwhile");
            let latest = self.observe_again(observer, observations.now()).await;
            observations.later = self.settle(observer, &observations.first, Some(latest)).await;
        }
        observations
    }

    /// Waits for an address and a route, which change nothing else: until `due`, and on while the guest is at work.
    async fn lease(&self, guest: &Guest, mut facts: Facts, due: Instant) -> Facts {
        let longest = due.max(Instant::now() + self.timeouts().lease());
        let limits = self.limits();
        let mut idle = IdleDetector::probed();
        while checks::lease_awaited(&facts, self.no_router) {
            let has_rested = idle.observe(guest.cpu_time(limits.patience).await.ok()) >= IDLE_LIMIT;
            let now = Instant::now();
            if now >= longest || now >= due && has_rested {
                break;
            }
            self.events.doing("waiting for the network's address");
            tokio::time::sleep(LEASE_INTERVAL).await;
            if let Ok(network) = guest.network(&limits).await {
                if network.addresses != facts.network.addresses {
                    // What follows an address, a route, follows from here.
                    idle = IdleDetector::probed();
                }
                facts.network = network;
            }
        }
        facts
    }

    /// Waits until all the ports that are asked for have a listener, as long as one may still come.
    async fn ports(&self, guest: &Guest) {
        if self.plan.ports.is_empty() && self.plan.http.is_empty() {
            return;
        }
        let deadline = Instant::now() + self.timeouts().listening();
        let limits = self.limits();
        let mut idle = IdleDetector::probed();
        loop {
            let Ok((listeners, units)) = guest.listening(&limits).await else { return };
            if !checks::port_awaited(self.plan, &listeners, &units)
                || idle.observe(guest.cpu_time(limits.patience).await.ok()) >= IDLE_LIMIT
                || Instant::now() >= deadline
            {
                return;
            }
            self.events.doing("waiting for the expected ports");
            tokio::time::sleep(LISTENING_INTERVAL).await;
        }
    }

    /// The desktop, where one is expected, and what became of the rest while it was waited for.
    /// Since when it was painted, too.
    async fn desktop(
        &self,
        observer: &Observer<'_>,
        observations: Observations,
        screen: Screen,
    ) -> (Observations, Option<Instant>) {
        let (Some(desktop), Some(recorder)) = (self.plan.desktop(), self.recorder) else { return (observations, None) };
        let driver = DesktopDriver {
            guest: observer.guest,
            expectations: &self.plan.expectations,
            desktop,
            facts: observations.now(),
            recorder,
            screen,
            patience: self.limits().patience,
            scale: self.accel.time_scale(),
            events: self.events,
            artifacts: self.artifacts,
            attended: self.is_demo,
        };
        if failed_display_manager(self.plan, observations.now()).is_some() {
            // There is no desktop to probe; the journal may tell why.
            let journals = driver.probe_journals().await;
            return (Observations { desktop: Some(journals), ..observations }, None);
        }
        let (seen, painted) = driver.probe().await;
        let later = self.observe_again(observer, &observations.first).await;
        (Observations { desktop: Some(seen), later: Some(later), ..observations }, painted)
    }

    /// The managers of those who linger, where there is no desktop to look at.
    async fn lingering(&self, guest: &Guest, observations: Observations) -> Observations {
        let mut lingering = Vec::new();
        for name in self.plan.expectations.lingering_users() {
            let account = observations.now().accounts.iter().find(|account| account.name == name);
            if let Some(account) = account.filter(|_| self.plan.has(CheckId::DesktopUnits)) {
                self.events.doing(format!("probing the units of {name}"));
                lingering.push(probe_lingering(guest, &self.plan.expectations, account, self.limits().patience).await);
            }
        }
        Observations { lingering, ..observations }
    }

    /// Sound, where it is expected.
    async fn sound(
        &self,
        observer: &Observer<'_>,
        observations: Observations,
        capture: &std::path::Path,
        connected: &AudioCapture,
    ) -> Observations {
        let Some(expected) = self.plan.audio() else { return observations };
        let probe = AudioProbe {
            expectations: &self.plan.expectations,
            expected,
            plays: self.plan.has(CheckId::AudioTone),
            records: self.plan.has(CheckId::AudioMicrophone),
            connected,
            facts: observations.now(),
            stays: self.rehearsed_since_us.is_some(),
            logged_in: observations.desktop.as_ref().and_then(|desktop| desktop.logged_in()),
            capture,
            scale: self.accel.time_scale(),
            events: self.events,
            artifacts: self.artifacts,
        };
        let sound = probe.run(observer.guest).await;
        // A system-wide server is started by its first client.
        let later = if expected.system_wide {
            Some(self.observe_again(observer, &observations.first).await)
        } else {
            observations.later
        };
        Observations { sound: Some(sound), later, ..observations }
    }

    /// Observes again what may have changed by itself.
    async fn observe_again(&self, observer: &Observer<'_>, first: &Facts) -> Facts {
        // What was asked for once (requests, scripts, timers) is not done again.
        let units = self.plan.units.iter().cloned().collect();
        let again = ProbeRequest { units, words_of: self.words_of(), system_bus: true, ..ProbeRequest::default() };
        let later = observer.observe(&again).await;
        let network = Network { resolves: first.network.resolves, ..later.network };
        let (http, scripts, timers) = (first.http.clone(), first.scripts.clone(), first.timers.clone());
        let mut later = Facts { network, http, scripts, timers, unit_files: first.unit_files.clone(), ..later };
        later.gaps.extend(first.gaps.get_key_value("unit-files").map(|(name, why)| (name.clone(), why.clone())));
        later
    }

    /// Asks once more what was asked between two tries of a service, and got no good answer: that is no answer of who is
    /// up by now.
    async fn ask_again(&self, observer: &Observer<'_>, wanted: &ProbeRequest, facts: &mut Facts) {
        let (mut http, mut scripts) = (wanted.http.clone(), wanted.scripts.clone());
        http.retain(|id, request| facts.http.get(id).is_some_and(|answer| !request.is_good(answer)));
        scripts.retain(|id, script| facts.scripts.get(id).is_some_and(|outcome| !script.is_good(outcome)));
        if http.is_empty() && scripts.is_empty() {
            return;
        }
        self.ports(observer.guest).await;
        let (units, words_of) = (wanted.units.clone(), wanted.words_of.clone());
        let again = ProbeRequest { http, scripts, units, words_of, system_bus: true, ..ProbeRequest::default() };
        let mut later = observer.observe(&again).await;
        for (id, answer) in &facts.http {
            later.http.entry(id.clone()).or_insert_with(|| answer.clone());
        }
        for (id, outcome) in &facts.scripts {
            later.scripts.entry(id.clone()).or_insert_with(|| outcome.clone());
        }
        later.network.resolves = facts.network.resolves;
        later.timers = std::mem::take(&mut facts.timers);
        later.unit_files = facts.unit_files.take();
        *facts = later;
    }

    async fn judge_boot_failure(&self, machine: &Machine, guest: &Guest, not_up: NotUp) -> Probed {
        let NotUp { end, status, seconds, idle, may_answer } = not_up;
        // After a panic or a power-off the guest cannot answer.
        let seen = match end {
            BootEnd::Deadline if may_answer => {
                // Each step on the heap: what all of them hold at once is more than a debug build's stack.
                let observing = async {
                    guest.warm(LAST_PROBE_LIMIT).await.ok()?;
                    let seen_at = Instant::now();
                    let wanted = ProbeRequest { units: self.wanted().units, ..ProbeRequest::default() };
                    Some((guest.observe(&wanted, &self.limits()).await, seen_at))
                };
                tokio::time::timeout(LAST_PROBE_LIMIT * 2, observing).await.ok().flatten()
            }
            _ => None,
        };
        let (now_us, seen_at) = seen.as_ref().map_or((0, Instant::now()), |(facts, at)| (facts.now_us, *at));
        let delay = machine.delay().taken(now_us, seen_at);
        let facts = seen.map(|(facts, _)| facts);
        let evidence = BootFailure {
            end,
            console_tail: machine.console().tail(CONSOLE_LINES),
            status,
            facts,
            seconds,
            idle_s: idle,
            accelerator: self.accel,
            delay,
            traffic: self.traffic(machine.packets(), None, None).await,
        };
        let expectations = &self.plan.expectations;
        self.keep_facts(&Judged { expectations, observations: None, boot_failure: Some(&evidence), context: None });
        let systemd = evidence.facts.as_ref().map(|facts| facts.manager.version.clone());
        Probed { judgement: checks::judge_boot_failure(self.plan, &evidence), systemd, painted: None, facts: None }
    }

    /// What the guest sent through its network cards, but for what it was asked to, and who of it speaks of that.
    async fn traffic(&self, packets: &PacketDump, guest: Option<&Guest>, facts: Option<&Facts>) -> Option<Traffic> {
        let mut traffic = packets.read()?;
        if self.plan.resolve {
            traffic.names.retain(|name| name != RESOLVED);
        }
        if let (Some(guest), Some(facts)) = (guest, facts) {
            let hosts = sandbox::hosts(&self.plan.expectations, facts, &traffic);
            traffic.named_by = guest.naming(&hosts, &facts.units, &self.limits()).await;
        }
        Some(traffic)
    }

    /// Screen and journal, as they are at the verdict.
    async fn evidence(&self, machine: &Machine, guest: Option<&Guest>) {
        let Some(artifacts) = self.artifacts else { return };
        let screen = artifacts.file(artifact::SCREEN);
        let journal = async { Some(guest?.journal_text(JOURNAL_LIMIT, JOURNAL_TEXT_LIMIT).await) };
        let (screen, journal) = tokio::join!(machine.screenshot(&screen), journal);
        if let Err(error) = screen {
            self.events.note(format!("no picture of the screen: {error:#}"));
        }
        if let Some(film) = self.recorder.and_then(ScreenRecorder::gif)
            && let Err(error) = artifacts.keep(artifact::FILM, &film)
        {
            self.events.note(format!("the film was not kept: {error}"));
        }
        let kept = journal.map(|journal| match journal {
            Ok(text) => artifacts.keep(artifact::JOURNAL, &text).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        });
        if let Some(Err(error)) = kept {
            self.events.note(format!("the journal was not kept: {error}"));
        }
    }

    /// What was judged, so that a verdict can be understood and judged again (`tests/facts.rs` reads the same).
    fn keep_facts(&self, judged: &Judged<'_>) {
        let Some(artifacts) = self.artifacts else { return };
        let kept = serde_json::to_vec_pretty(judged).map_err(|error| error.to_string());
        let kept = kept.and_then(|text| artifacts.keep(artifact::FACTS, &text).map_err(|error| error.to_string()));
        if let Err(error) = kept {
            self.events.note(format!("the facts were not kept: {error}"));
        }
    }

    /// What bounds an observation.
    fn limits(&self) -> Limits {
        Limits::of(self.accel)
    }

    fn timeouts(&self) -> Timeouts {
        Timeouts::of(self.accel)
    }

    /// Units all of whose words are read: what nginx says of a request is of no priority.
    fn words_of(&self) -> Vec<&'static str> {
        if self.plan.sites.is_empty() { Vec::new() } else { vec![checks::NGINX] }
    }

    /// What the plan needs to know.
    fn wanted(&self) -> ProbeRequest {
        let plan = self.plan;
        let http = plan.http.iter().map(|(id, request)| {
            let what = HttpRequest {
                method: request.method.0.clone(),
                deadline: self.timeouts().scaled(request.deadline()),
                ..HttpRequest::new(request.url.0.clone())
            };
            let (retries, request) = (request.retries.0, request.clone());
            let good: Accepts<_> = Arc::new(move |answer: &_| checks::is_answered(&request, answer));
            (id.clone(), Attempts { what, retries, pause: RETRY_PAUSE, good: Some(good) })
        });
        let sites = plan.sites.iter().map(|site| {
            let deadline = self.timeouts().scaled(SITE_LIMIT);
            let what = HttpRequest { deadline, here: true, ..HttpRequest::new(site.url()) };
            let good: Accepts<_> = Arc::new(|answer: &HttpAnswer| (1..500).contains(&answer.status));
            (site.url(), Attempts { what, retries: SITE_RETRIES, pause: RETRY_PAUSE, good: Some(good) })
        });
        let scripts = plan.scripts.iter().map(|(id, script)| {
            let what = Script {
                user: script.user.as_ref().map(|user| user.0.clone()),
                deadline: self.timeouts().scaled(script.deadline()),
                ..Script::new(script.run.0.clone())
            };
            let (retries, script) = (script.retries.0, script.clone());
            let good: Accepts<_> = Arc::new(move |outcome: &_| checks::is_as_expected(&script, outcome));
            (id.clone(), Attempts { what, retries, pause: RETRY_PAUSE, good: Some(good) })
        });
        ProbeRequest {
            units: plan.units.iter().cloned().collect(),
            http: http.chain(sites).collect(),
            words_of: self.words_of(),
            scripts: scripts.collect(),
            timers: plan.timers.clone(),
            timer_deadline: self.timeouts().scaled(config::SCRIPT_DEADLINE),
            resolve: plan.resolve.then(|| RESOLVED.to_owned()),
            unit_files: plan.has(CheckId::ServicesVerify),
            system_bus: true,
        }
    }
}
