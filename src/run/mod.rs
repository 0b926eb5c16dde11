//! A run: target, build, machine, guest and checks in their order. Its results go into a [`Report`]; what ends it early is
//! a [`Failure`].
//!
//! * this file: the order of things
//! * `request`: what was asked for, by arguments and `nixbox.toml`
//! * `prepare`: name, evaluation, build, or a result that is cached
//! * `attempt`: one start of the machine, from its spec to its end
//! * `boot`: from the runner's start to a guest that came up, or the evidence that it did not
//! * `baseline`: what failed, held against the configuration before the change
//! * `result_cache`: the results of former runs
//! * `single_flight`: one boot at a time, however many hooks ask
//! * `many`: one of several runs at once, whose evaluation and build are shared
//! * `other_card`: what hangs on the standard graphics card, on another one
//! * `switch`: a switch from another configuration, and back, rehearsed
//! * `second_boot`: the disk of a first boot, booted once more
//! * `demo`: what is different where a user wants to see the machine
//! * `check`: how a guest is probed and judged
//! * `observer`: a guest that is observed, and listened to until the verdict

mod attempt;
mod baseline;
mod boot;
mod check;
mod demo;
mod many;
mod observer;
mod other_card;
mod prepare;
mod request;
mod result_cache;
mod second_boot;
mod single_flight;
mod switch;

use std::ffi::OsString;
use std::time::{Instant, SystemTime};

use attempt::Attempt;
use check::Probed;
use demo::Demo;
use prepare::{Prepared, Step};
use request::{Purpose, Request};

use crate::artifacts::Artifacts;
use crate::checks;
use crate::cli::{DemoArgs, TryArgs};
use crate::event::{Event, Events};
use crate::failure::{Failure, Result};
use crate::host;
use crate::interrupt::Interrupt;
use crate::judging::Judgement;
use crate::machine::{RunDir, jail};
use crate::model::timeouts::run::CHILDREN_LIMIT;
use crate::model::{CheckResult, Exit, Phase, Recorded, Report, Status, TransportKind, Verdict};
use crate::nix::{self, Nix, Target};
use crate::report::json;
use crate::resolve::BaselineTarget;
pub use many::{Given, Needs, ended, jail_for, known, needs, try_given};

/// How often a machine is started again when QEMU crashed before the guest's first message, or its emulation lost a virtual
/// CPU: multi-threaded TCG aborts now and then in early boot (`iotlb_to_section: Assertion`), whatever the guest is.
const RESTARTS: u32 = 2;
/// The most virtual CPUs that a machine gets by default: two boot faster than NixOS's default of one, more do not.
const PROCESSORS: usize = 2;
/// The least memory that a desktop gets where no other size is asked for, in MiB.
const DESKTOP_MIB: u64 = 2048;
/// What a VM's disk may grow to when the configuration does not say: NixOS's default for `virtualisation.diskSize`.
const DISK_MIB: u64 = 1024;

/// How a run ended: its report, without what the events said meanwhile.
#[derive(Debug)]
pub struct Outcome {
    report: Report,
    /// The report as it is by itself, where it was held against a baseline: that is what is cached.
    by_itself: Option<Box<Report>>,
    artifacts: Option<Artifacts>,
    cache: result_cache::RunCache,
}

impl Outcome {
    /// Marks what failed in former attempts of the same and passed in this one.
    #[must_use]
    pub fn after(mut self, failed: &[Report]) -> Self {
        failed.iter().for_each(|former| self.report.passed_after(former));
        self
    }

    /// What is known of the verdict so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The whole report, with what the events said; the artifacts are complete, and the result is cached.
    pub fn finish(mut self, recorded: Recorded) -> Report {
        if let Some(by_itself) = &mut self.by_itself {
            by_itself.record(recorded.clone());
        }
        self.report.record(recorded);
        // What is cached outlives the system that runs now.
        let tested = (self.report.apply.clone(), self.report.notes.len());
        apply_here(&mut self.report);
        if let Some(artifacts) = self.artifacts {
            artifacts.finish(&mut self.report, json::render);
        }
        let here = (self.report.apply.clone(), self.report.notes.split_off(tested.1));
        self.report.apply = tested.0;
        match &mut self.by_itself {
            Some(by_itself) => {
                by_itself.artifacts.clone_from(&self.report.artifacts);
                by_itself.apply.clone_from(&self.report.apply);
                self.cache.store(by_itself);
            }
            None => self.cache.store(&self.report),
        }
        self.report.apply = here.0;
        self.report.notes.extend(here.1);
        self.report
    }
}

/// Where the system that runs here would refuse to switch to what was tested, the command says so.
fn apply_here(report: &mut Report) {
    let (Some(apply), Some(toplevel)) = (&report.apply, &report.target.toplevel) else { return };
    let refused = crate::diff::refused_here(std::path::Path::new(toplevel));
    if !refused.is_empty() {
        report.apply = Some(nix::with_subcommand(apply, "boot"));
        report.notes.push(format!(
            "`nixos-rebuild switch` would be refused on this host, so the command is `boot`, then reboot: {}",
            refused.join("; ")
        ));
    }
}

/// Runs `nixbox try`. Always answers with a report: what went wrong is in it.
pub async fn try_(arguments: &TryArgs, events: Events, interrupt: Interrupt) -> Outcome {
    run(Ok(Request::verdict(arguments)), arguments, events, interrupt).await
}

/// Runs `nixbox demo`, which ends when the user ends it. Always answers with a report.
pub async fn demo(arguments: &DemoArgs, events: Events, interrupt: Interrupt) -> Outcome {
    let of_try = arguments.run();
    let request =
        Demo::new(arguments).map(|demo| Request { arguments: &of_try, purpose: Purpose::Demo(Box::new(demo)) });
    run(request, &of_try, events, interrupt).await
}

/// Evaluates only, for an agent's edit: a pass says that the runner and the host's own system evaluate, not that they
/// build or boot. A tree that evaluated before is not evaluated again.
pub async fn evaluate(arguments: &TryArgs, events: Events, interrupt: Interrupt) -> Report {
    let mut run = Run::new(Request::verdict(arguments), events, interrupt.clone());
    match interrupt.guard(run.evaluated()).await {
        Ok(()) => (run.report.verdict, run.report.exit) = (Verdict::Pass, Exit::Pass.code()),
        Err(failure) => run.failed(&failure),
    }
    run.report
}

/// A run, whatever it is for.
async fn run(request: Result<Request<'_>>, arguments: &TryArgs, events: Events, interrupt: Interrupt) -> Outcome {
    let clock = Instant::now();
    let (request, made) = match request {
        Ok(request) => (request, Ok(())),
        Err(failure) => (Request::verdict(arguments), Err(failure)),
    };
    let mut run = Run::new(request, events, interrupt);
    let done = match made {
        Ok(()) => Box::pin(run.go()).await,
        Err(failure) => Err(failure),
    };
    let (done, by_itself) = run.held_against_baseline(done).await;
    if done.is_err() {
        all_ended().await;
    }
    Outcome { by_itself, ..run.outcome(done, clock) }
}

/// Waits until what an interrupted or broken run had started has ended: dropping it does not wait.
pub async fn all_ended() {
    jail::children_end(CHILDREN_LIMIT).await;
}

struct Run<'a> {
    request: Request<'a>,
    events: Events,
    interrupt: Interrupt,
    report: Report,
    artifacts: Option<Artifacts>,
    cache: result_cache::RunCache,
    /// Further arguments for QEMU.
    qemu_options: Vec<OsString>,
    /// The run directory of the second boot, with the first's disk.
    second_boot: Option<RunDir>,
    is_second_boot: bool,
    /// Why the machine of a rehearsed switch was not powered off for it.
    not_powered_off: Option<Failure>,
    /// What it is held against, and what that is compared with.
    baseline: Option<(BaselineTarget, Target, Nix)>,
    /// What is switched from, where a switch is rehearsed.
    switch_from: Option<BaselineTarget>,
    /// The switch that is to be rehearsed on this run's machine.
    rehearsing: Option<Box<switch::Rehearsing<'a>>>,
}

impl<'a> Run<'a> {
    fn new(request: Request<'a>, events: Events, interrupt: Interrupt) -> Self {
        let arguments = request.arguments;
        Self {
            events,
            interrupt,
            report: Report::new(arguments.target.as_deref().unwrap_or("."), SystemTime::now()),
            artifacts: None,
            qemu_options: Vec::new(),
            second_boot: None,
            is_second_boot: false,
            not_powered_off: None,
            baseline: None,
            switch_from: None,
            rehearsing: None,
            cache: result_cache::RunCache::new(arguments, matches!(request.purpose, Purpose::Demo(_))),
            request,
        }
    }

    /// How it ended.
    fn outcome(mut self, done: Result<()>, clock: Instant) -> Outcome {
        if let Err(failure) = done {
            self.failed(&failure);
        }
        self.report.seconds = clock.elapsed().as_secs_f64();
        if self.request.arguments.checks.strict {
            checks::be_strict(&mut self.report);
        }
        Outcome { report: self.report, by_itself: None, artifacts: self.artifacts, cache: self.cache }
    }

    async fn go(&mut self) -> Result<()> {
        let interrupt = self.interrupt.clone();
        // Dropping it ends the nix that runs.
        let step = interrupt.guard(self.prepare()).await?;
        self.conclude(step).await
    }

    /// Holds what a run that came to its end found wrong against the baseline; with the report as it is by itself.
    async fn held_against_baseline(&mut self, done: Result<()>) -> (Result<()>, Option<Box<Report>>) {
        if done.is_err() {
            return (done, None);
        }
        let report = self.report.clone();
        // A run within a run: on the heap, or the stack would hold both.
        let compared = Box::pin(self.compare()).await;
        (compared, self.report.baseline.is_some().then(|| Box::new(report)))
    }

    async fn compare(&mut self) -> Result<()> {
        let (Purpose::Verdict, Some((baseline, target, nix))) = (&self.request.purpose, self.baseline.take()) else {
            return Ok(());
        };
        let comparison = baseline::Comparison {
            baseline: &baseline,
            arguments: self.request.arguments,
            directory: target.dir(),
            events: &self.events,
            interrupt: &self.interrupt,
        };
        comparison.apply(&mut self.report).await?;
        if self.report.verdict == Verdict::Pass && self.report.apply.is_none() {
            self.report.apply = nix::apply_command(&target, &nix).await;
        }
        Ok(())
    }

    /// The machine's part of a run.
    async fn conclude(&mut self, step: Step) -> Result<()> {
        let prepared = match step {
            Step::Ready(prepared) => prepared,
            Step::Known(known) => return self.known(*known),
        };
        if let Some(from) = self.switch_from.take() {
            return Box::pin(self.rehearse(from, prepared)).await;
        }
        let (probed, kind) = self.probed(&prepared).await?;
        let probed = self.unless_hung_by_card(&prepared, probed, kind).await?;
        let probed = self.with_second_boot(&prepared, probed, kind).await?;
        if let Some(info) = &mut self.report.machine {
            info.systemd = probed.systemd;
        }
        self.judged(probed.judgement);
        if self.report.verdict == Verdict::Pass {
            let Prepared { target, nix, reference, .. } = &*prepared;
            self.report.apply = prepare::apply(target, nix, reference.as_deref()).await;
        }
        Ok(())
    }

    /// The machine, started until it could be probed, and the transport by which it was. One that QEMU failed, or that came
    /// up and did not answer, is started again.
    async fn probed(&mut self, prepared: &Prepared) -> Result<(Probed, TransportKind)> {
        let mut restarts = 0;
        let mut kind = request::transport(&prepared.settings);
        let mut silent: Option<Failure> = None;
        loop {
            // A machine that is started again finds nothing of the last one; what was built is held by the first's.
            let again = if restarts > 0 || silent.is_some() { Some(RunDir::create()?) } else { None };
            match Box::pin(self.attempt(prepared, again.as_ref(), kind)).await? {
                Attempt::Probed(probed) => return Ok((probed, kind)),
                Attempt::Silent(by, failure) => {
                    // Which of the two was asked for is kept to; and a guest that takes no credentials answers neither.
                    let is_last = by == TransportKind::VirtioSerial || prepared.settings.machine.transport.is_some();
                    if is_last {
                        return Err(silent.unwrap_or(failure));
                    }
                    self.events.note(format!(
                        "started the machine again, with virtio-serial instead of {}: it came up but did not answer",
                        by.name()
                    ));
                    (kind, silent) = (TransportKind::VirtioSerial, Some(failure));
                }
                Attempt::Crashed(failure) if restarts == RESTARTS => return Err(failure),
                Attempt::Crashed(failure) => {
                    restarts += 1;
                    self.events.note(format!("started the machine again: {}", failure.what));
                }
            }
        }
    }

    /// Says in the report what is tested.
    fn named(&mut self, target: &Target) {
        self.report.target.name = self.request.name_of(target);
        self.report.target.resolved = target.resolved();
    }

    /// The checks' verdict becomes the report's.
    fn judged(&mut self, judgement: Judgement) {
        checks::verdict(&judgement.results).decide(&mut self.report);
        for check in &judgement.results {
            self.events.send(Event::Check(check.clone()));
        }
        self.report.checks = judgement.results;
        self.report.not_tested = judgement.not_tested;
        self.report.outside = judgement.outside;
    }

    /// A failure that ended the run; where it stands for a check, that check is listed.
    fn failed(&mut self, failure: &Failure) {
        failure.decide(&mut self.report);
        if let Some(id) = failure.check {
            let mut check = CheckResult::new(id, Status::Fail, failure.what.clone());
            check.detail = failure.why.iter().flat_map(|why| why.lines()).map(str::to_owned).collect();
            check.hint.clone_from(&failure.hint);
            self.report.checks.push(check);
        }
    }
}

/// How many virtual processors each of so many machines at once gets, where no other number is asked for: its share of
/// this host's. Machines that together have more of them than this host wait for each other's locks: two of two took twice as
/// long on two cores as two of one.
pub fn processors(at_once: usize) -> u32 {
    (host::processors() / at_once.max(1)).clamp(1, PROCESSORS) as u32
}

/// Tells when a phase begins and ends, whatever it ends with.
pub(crate) async fn phase<T>(events: &Events, phase: Phase, work: impl Future<Output = T>) -> T {
    let clock = Instant::now();
    events.send(Event::Started(phase));
    let done = work.await;
    events.send(Event::Ended(phase, clock.elapsed()));
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_shared() {
        let host = host::processors();
        assert_eq!(processors(1) as usize, host.min(PROCESSORS));
        assert_eq!(processors(0), processors(1));
        assert_eq!(processors(host), 1);
        assert_eq!(processors(host * 10), 1);
    }
}
