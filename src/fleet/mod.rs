//! `nixbox matrix`: all configurations of a flake, evaluated and built together, with as many machines at once as this
//! host can run.
//!
//! Each host has a thread in this process. What it starts is in a jail with its own supervisor, which contains crashes and
//! floods of output; a panic of ours ends that thread only, and becomes "could not tell"; and one process for all needs a
//! fraction of the memory of one each.
//!
//! * this file: the order of things
//! * `prepare`: what is done for all together: evaluation, cached verdicts, build
//! * `host`: what is done for one
//! * `capacity`: how many machines this host can run
//! * `queue`: which one is next
//! * `list`: the names alone, for a CI service

mod capacity;
mod host;
mod list;
mod prepare;
mod queue;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::runtime::Handle;
use tokio::task::{Id, JoinError, JoinSet};

use self::capacity::HostCapacity;
use self::host::HostTask;
use self::prepare::{EvaluatedFleet, HostJob, HostRun, SharedInputs};
use self::queue::{Queue, Queued};
use crate::artifacts::Artifacts;
use crate::cache::DurationCache;
use crate::cli::{ListFormat, MatrixArgs};
use crate::config;
use crate::event::Events;
use crate::failure::{Failure, Result};
use crate::interrupt::Interrupt;
use crate::machine::RunDir;
use crate::model::{CheckId, Exit, TransportKind, Verdict, artifact};
use crate::nix::{self, Built, ConfigurationFilter, Flake, Nix};
use crate::paths::{cache_directory, state_directory};
use crate::report::board::Board;
use crate::report::display::{Mode, ProgressDisplay};
use crate::report::json;
use crate::report::matrix::{HostReport, Matrix};
use crate::resolve;
use crate::run;
use crate::text::listed;

/// Tests all selected hosts. Always returns a report, which says what went wrong.
pub async fn run(arguments: &MatrixArgs, mode: Mode, interrupt: Interrupt) -> Matrix {
    let clock = Instant::now();
    let mut matrix = Matrix::new(typed_flake(arguments), SystemTime::now());
    matrix.shard = arguments.shard.map(|shard| format!("{}/{}", shard.part, shard.of));
    let mut artifacts = None;
    let done = go(arguments, mode, &interrupt, &mut matrix, &mut artifacts).await;
    if let Err(failure) = &done {
        matrix.ended_by(failure);
        run::all_ended().await;
    }
    matrix.decide(arguments.fail_flaky);
    if done.is_ok_and(|ended| ended == FleetEnd::Interrupted) {
        matrix.interrupted();
    }
    matrix.seconds = clock.elapsed().as_secs_f64();
    if matrix.exit == Exit::Usage.code()
        && let Some(artifacts) = artifacts.take()
    {
        artifacts.discard();
    }
    if let Some(artifacts) = artifacts {
        matrix.artifacts = Some(artifacts.path().to_owned());
        if let Err(error) = artifacts.close(artifact::MATRIX, &json::pretty(&matrix)) {
            matrix.notes.push(format!("{} was not written: {error}", artifact::MATRIX));
        }
    }
    matrix
}

/// `nixbox matrix --list`: the names, without evaluating more than them.
///
/// # Errors
/// Exit 2 for a flake that is not there and patterns that match nothing, exit 3 where its names do not evaluate, exit 5
/// for what this host cannot do.
pub async fn list(arguments: &MatrixArgs, format: ListFormat) -> Result<String> {
    let nix = Nix::new(arguments.nix.clone());
    let flake = resolve::flake(arguments.flake.as_deref(), &nix)?;
    let systems = format == ListFormat::Json;
    let named = nix::names(&flake, &filter(arguments), systems, &nix, &Events::silent()).await?;
    if named.total == 0 {
        return Err(no_hosts(arguments, &flake, &named.hosts, &nix, &Events::silent()).await);
    }
    Ok(list::render(&named.members, &flake, typed_flake(arguments), format))
}

/// The output of a flake that has them.
const CONFIGURATIONS: &str = "nixosConfigurations";

/// The flake as the user named it.
fn typed_flake(arguments: &MatrixArgs) -> &str {
    arguments.flake.as_deref().unwrap_or(".")
}

fn filter(arguments: &MatrixArgs) -> ConfigurationFilter {
    ConfigurationFilter { globs: arguments.filter.clone(), shard: arguments.shard.unwrap_or_default() }
}

async fn no_hosts(arguments: &MatrixArgs, flake: &Flake, hosts: &[String], nix: &Nix, events: &Events) -> Failure {
    if hosts.is_empty() {
        let failure = Failure::check(CheckId::BuildAttribute, format!("{} has no {CONFIGURATIONS}", flake.shown()));
        return Failure { hint: resolve::instead(flake, nix, events).await, ..failure };
    }
    let filter = arguments.filter.join(" ");
    Failure::usage(format!("no configuration of {} matches {filter}", flake.shown()))
        .hint(format!("there are: {}", listed(&filter, hosts)))
}

/// How a matrix ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FleetEnd {
    Completed,
    Interrupted,
}

/// The name of each host in order, and its result once it has ended.
type HostSlots = Vec<(String, Option<HostReport>)>;

async fn go(
    arguments: &MatrixArgs,
    mode: Mode,
    interrupt: &Interrupt,
    matrix: &mut Matrix,
    kept: &mut Option<Artifacts>,
) -> Result<FleetEnd> {
    let filter = filter(arguments);
    // The user's mistakes are found before anything that takes time.
    filter.compiled()?;
    let mut nix = Nix::new(arguments.nix.clone());
    let flake = resolve::flake(arguments.flake.as_deref(), &nix)?;
    config::load(arguments.files.config.as_deref(), flake.dir.as_deref())?;
    matrix.flake = flake.shown();
    let state = state_directory();
    let named = arguments.files.artifacts.as_deref();
    let opened = Artifacts::open(named, flake.dir.as_deref(), state.as_deref(), "matrix", SystemTime::now())?;
    matrix.notes.extend(opened.notes);
    *kept = opened.artifacts;
    if let Some(artifacts) = kept.as_ref() {
        nix = nix.log_to(artifacts.file(artifact::NIX_LOG));
    }

    let (events, receiver) = Events::channel();
    let display = ProgressDisplay::start(receiver, mode);
    let roots = RunDir::create()?;
    let prepared = prepare(arguments, &filter, &flake, nix, &roots, &events, interrupt).await;
    let recorded = display.finish().await;
    matrix.phases = recorded.phases;
    matrix.notes.extend(recorded.notes);
    let PreparedFleet { mut slots, ready, shared } = prepared?;
    if slots.is_empty() {
        matrix.notes.push("this shard has no hosts".to_owned());
    }

    let fleet = Fleet {
        arguments,
        shared: Arc::new(shared),
        flake: matrix.flake.clone(),
        durations: cache_directory().as_deref().map(DurationCache::new),
        board: Board::new(mode, slots.len()),
        artifacts: kept.as_ref(),
        machines: slots.len(),
    };
    for host in slots.iter().filter_map(|(_, host)| host.as_ref()) {
        fleet.ended(host);
    }
    let ended = match ready {
        Some(ready) => fleet.run(ready, &mut slots, interrupt, matrix).await,
        None => FleetEnd::Interrupted,
    };
    fleet.board.clear();
    matrix.hosts = slots.into_iter().filter_map(|(_, host)| host).collect();
    // The GC roots of the builds are held until here.
    drop(roots);
    Ok(ended)
}

/// What is known before any machine is started.
struct PreparedFleet {
    slots: HostSlots,
    /// The machines to start; `None`: interrupted before that.
    ready: Option<Vec<(HostJob, Built)>>,
    shared: SharedInputs,
}

/// Evaluates all hosts, finds cached verdicts, builds the rest.
///
/// # Errors
/// What is not about one host. An interruption before anything is known of any host.
async fn prepare(
    arguments: &MatrixArgs,
    filter: &ConfigurationFilter,
    flake: &Flake,
    nix: Nix,
    roots: &RunDir,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<PreparedFleet> {
    // Dropping either ends the nix that runs.
    let evaluated = interrupt.guard(prepare::evaluate(arguments, filter, flake, nix, events)).await?;
    let EvaluatedFleet { mut slots, mut jobs, to_build, shared } = evaluated;
    let ready = tokio::select! {
        ready = prepare::build(to_build, &mut jobs, &mut slots, &shared.nix, roots, events) => Some(ready?),
        () = interrupt.orderly() => None,
    };
    if ready.is_none() {
        run::all_ended().await;
        for job in jobs {
            slots[job.run.slot].1 = Some(not_run(&job.run, &StopReason::Interrupted));
        }
    }
    Ok(PreparedFleet { slots, ready, shared })
}

/// The machines, while they run.
struct Fleet<'a> {
    arguments: &'a MatrixArgs,
    shared: Arc<SharedInputs>,
    flake: String,
    durations: Option<DurationCache>,
    board: Board,
    artifacts: Option<&'a Artifacts>,
    /// How many share the directory for the evidence.
    machines: usize,
}

/// A machine that runs.
struct RunningHost {
    run: HostRun,
    needed_mib: u64,
}

impl Fleet<'_> {
    /// Starts machines as capacity allows, until all have ended, one has failed with `--fail-fast`, or the user interrupts.
    async fn run(
        &self,
        ready: Vec<(HostJob, Built)>,
        slots: &mut HostSlots,
        interrupt: &Interrupt,
        matrix: &mut Matrix,
    ) -> FleetEnd {
        let whole = HostCapacity::now().await;
        let most = self.most(&ready, matrix);
        let waiting = ready.into_iter().map(|(job, built)| Queued {
            seconds: self.durations.as_ref().and_then(|durations| durations.get(&self.flake, &job.run.name)),
            needed_mib: capacity::needed_mib(job.needs.memory_mib, job.accel),
            what: (job, built),
        });
        let mut queue = Queue::new(waiting.collect());
        let processors = run::processors(capacity::at_once(&whole, queue.needed_mib(), most));
        let mut tasks: JoinSet<HostReport> = JoinSet::new();
        let mut running: HashMap<Id, RunningHost> = HashMap::new();
        let (trigger, stop) = Interrupt::channel();
        let mut hard = false;
        let mut stopping: Option<StopReason> = slots
            .iter()
            .filter_map(|(_, host)| host.as_ref())
            .find_map(|host| self.ends_all(host))
            .filter(|_| !queue.is_empty());
        loop {
            let mut now = None;
            while stopping.is_none() && !queue.is_empty() {
                // Measured once for all that are started at this moment.
                let now = match now {
                    Some(now) => now,
                    None => *now.insert(HostCapacity::now().await),
                };
                let taken: Vec<u64> = running.values().map(|running| running.needed_mib).collect();
                let fits = |mib| capacity::admits(&whole, &now, &taken, mib, most);
                let Some(Queued { needed_mib, what: (job, built), .. }) = queue.next(fits) else { break };
                let host = RunningHost { run: job.run.clone(), needed_mib };
                running.insert(self.start(&mut tasks, job, built, processors, stop.clone()), host);
                matrix.at_once = matrix.at_once.max(running.len());
            }
            if tasks.is_empty() {
                break;
            }
            tokio::select! {
                Some(ended) = tasks.join_next_with_id() => {
                    let Some((slot, host)) = settle(ended, &mut running) else { continue };
                    self.ended(&host);
                    if stopping.is_none() && let Some(stop) = self.ends_all(&host) {
                        stopping = Some(stop);
                        trigger.pull();
                    }
                    slots[slot].1 = Some(host);
                }
                () = interrupt.orderly(), if stopping != Some(StopReason::Interrupted) => {
                    stopping = Some(StopReason::Interrupted);
                    trigger.pull();
                }
                () = interrupt.hard(), if !hard => {
                    hard = true;
                    // However often it was pulled before.
                    trigger.pull();
                    trigger.pull();
                }
            }
        }
        if let Some(stop) = &stopping {
            run::all_ended().await;
            for (job, _) in queue.into_rest() {
                slots[job.run.slot].1 = Some(not_run(&job.run, stop));
            }
            if let StopReason::Failed(name) = stop {
                matrix.notes.push(format!("stopped after the failure of {name} (--fail-fast)"));
            }
        }
        if stopping == Some(StopReason::Interrupted) { FleetEnd::Interrupted } else { FleetEnd::Completed }
    }

    /// The user's limit; one machine where all would have the same address.
    fn most(&self, ready: &[(HostJob, Built)], matrix: &mut Matrix) -> Option<usize> {
        let most = self.arguments.max.map(|max| usize::try_from(max).unwrap_or(usize::MAX));
        if ready.len() > 1 && ready.iter().any(|(job, _)| job.needs.transport == TransportKind::Vsock) {
            matrix
                .notes
                .push("one machine at a time: over the kernel's vsock they would all have the same address".to_owned());
            return Some(1);
        }
        most
    }

    /// Whether this host's end stops all others.
    fn ends_all(&self, host: &HostReport) -> Option<StopReason> {
        (self.arguments.fail_fast && host.report.verdict == Verdict::Fail)
            .then(|| StopReason::Failed(host.name.clone()))
    }

    /// Shows that a host has ended, and stores how long it took.
    fn ended(&self, host: &HostReport) {
        let (paint, line) = host.line();
        self.board.ends(&host.name, paint, &line);
        // An interrupted or broken run does not predict the next one.
        let judged = [Exit::Pass, Exit::CheckFailed, Exit::Boot].map(Exit::code).contains(&host.report.exit);
        if let Some(durations) = self.durations.as_ref().filter(|_| judged && host.attempts > 0) {
            durations.put(&self.flake, &host.name, host.report.seconds);
        }
    }

    fn start(
        &self,
        tasks: &mut JoinSet<HostReport>,
        job: HostJob,
        built: Built,
        processors: u32,
        interrupt: Interrupt,
    ) -> Id {
        let host = HostTask {
            attempts: usize::try_from(self.arguments.retries).unwrap_or(usize::MAX).saturating_add(1),
            evidence: self.artifacts.map(|artifacts| artifacts.path().to_owned()),
            machines: self.machines,
            processors,
            board: self.board.clone(),
            shared: Arc::clone(&self.shared),
            job,
            built,
            interrupt,
        };
        // A thread of its own: computation for one host does not delay another.
        let runtime = Handle::current();
        tasks.spawn_blocking(move || runtime.block_on(host.test())).id()
    }
}

/// Why no further machine is started.
#[derive(Debug, Clone, PartialEq, Eq)]
enum StopReason {
    Interrupted,
    /// This host failed.
    Failed(String),
}

/// The report on a host that was not started.
fn not_run(run: &HostRun, stop: &StopReason) -> HostReport {
    let what = match stop {
        StopReason::Interrupted => "interrupted before it was started".to_owned(),
        StopReason::Failed(name) => format!("not started: {name} had failed before (--fail-fast)"),
    };
    run.ended(0, &Failure { what, ..Failure::interrupted() })
}

/// The result of a task. A panic is a bug in nixbox, and no verdict on the configuration.
fn settle(
    ended: std::result::Result<(Id, HostReport), JoinError>,
    running: &mut HashMap<Id, RunningHost>,
) -> Option<(usize, HostReport)> {
    let (id, host) = match ended {
        Ok((id, host)) => (id, Ok(host)),
        Err(error) => (error.id(), Err(error)),
    };
    let RunningHost { run, .. } = running.remove(&id)?;
    let host = host.unwrap_or_else(|error| {
        let failure = Failure::host("nixbox failed: this is a bug in nixbox, not in your configuration").because(error);
        run.ended(1, &failure)
    });
    Some((run.slot, host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::TryArgs;
    use crate::nix::{ConfigurationName, Target};
    use crate::report::examples;

    fn running(name: &str) -> RunningHost {
        let flake = Flake::remote("github:a/b");
        let configuration = ConfigurationName { host: name.to_owned(), specialisation: None };
        RunningHost {
            run: HostRun {
                slot: 3,
                name: name.to_owned(),
                arguments: TryArgs::default(),
                target: Target::of(&flake, &configuration),
            },
            needed_mib: 1,
        }
    }

    #[tokio::test]
    async fn a_panic_is_no_failure_of_the_configuration() {
        let mut tasks: JoinSet<HostReport> = JoinSet::new();
        let mut running_hosts = HashMap::new();
        running_hosts.insert(tasks.spawn(async { panic!("on purpose") }).id(), running("a"));
        let good = tasks.spawn(async { HostReport::new("b", 1, examples::pass()) });
        running_hosts.insert(good.id(), running("b"));
        let mut verdicts = Vec::new();
        while let Some(ended) = tasks.join_next_with_id().await {
            let (slot, host) = settle(ended, &mut running_hosts).unwrap();
            assert_eq!(slot, 3);
            verdicts.push((host.name, host.report.verdict, host.report.exit));
        }
        verdicts.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(verdicts, [("a".to_owned(), Verdict::Unknown, 5), ("b".to_owned(), Verdict::Pass, 0)]);
        assert!(running_hosts.is_empty());
    }

    #[test]
    fn a_host_that_was_not_started_says_why() {
        let host = not_run(&running("a").run, &StopReason::Failed("web".to_owned()));
        assert_eq!((host.report.exit, host.attempts), (130, 0));
        assert!(host.report.cause.is_some_and(|cause| cause.contains("web had failed")));
        assert_eq!(host.report.target.resolved, "github:a/b#nixosConfigurations.a");
    }
}
