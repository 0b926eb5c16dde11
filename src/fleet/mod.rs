//! `nixbox matrix`: all configurations of a flake, evaluated and built together, tried as many at once as this host
//! carries.
//!
//! Each host has a thread of this process: what it starts lives in a jail with its own supervisor, so that a host's crash
//! or flood stays in there; a panic of ours ends its thread alone and is told as "could not tell"; and one process for all
//! takes a fraction of the memory of one each.
//!
//! * this file: the order of things
//! * `prepare`: what is done for all together: evaluation, verdicts that are known, build
//! * `host`: what is done for one
//! * `capacity`: how many machines this host carries
//! * `queue`: which is next
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

use self::capacity::Room;
use self::host::Trying;
use self::prepare::{Job, Shared, Sorted};
use self::queue::{Queue, Waiting};
use crate::cache::DurationCache;
use crate::cli::{ListFormat, MatrixArgs, TryArgs};
use crate::config;
use crate::event::Events;
use crate::failure::{Failure, Result};
use crate::interrupt::Interrupt;
use crate::machine::RunDir;
use crate::model::{CheckId, Exit, TransportKind, Verdict, artifact};
use crate::nix::{self, Built, Choice, Nix};
use crate::paths::{cache_directory, state_directory};
use crate::report::artifacts::Artifacts;
use crate::report::board::Board;
use crate::report::display::{Mode, ProgressDisplay};
use crate::report::json;
use crate::report::matrix::{HostReport, Matrix};
use crate::resolve::{self, Flake, Target};
use crate::run;

/// Tries all that are meant. Always answers with a report: what went wrong is in it.
pub async fn run(arguments: &MatrixArgs, mode: Mode, interrupt: Interrupt) -> Matrix {
    let clock = Instant::now();
    let typed = arguments.flake.as_deref().unwrap_or(".");
    let mut matrix = Matrix::new(typed, SystemTime::now());
    matrix.shard = arguments.shard.map(|shard| format!("{}/{}", shard.part, shard.of));
    let mut artifacts = None;
    let done = go(arguments, mode, &interrupt, &mut matrix, &mut artifacts).await;
    if let Err(failure) = &done {
        matrix.ended_by(failure);
        run::all_ended().await;
    }
    matrix.decide(arguments.fail_flaky);
    if done.is_ok_and(|ended| ended == Ended::Interrupted) {
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
    let named = nix::names(&flake, &choice(arguments), systems, &nix, &Events::silent()).await?;
    if named.meant == 0 {
        return Err(nothing(arguments, &flake, &named.hosts));
    }
    Ok(list::render(&named.members, &flake, arguments.flake.as_deref().unwrap_or("."), format))
}

/// The output of a flake that has them.
const CONFIGURATIONS: &str = "nixosConfigurations";

fn choice(arguments: &MatrixArgs) -> Choice {
    Choice { globs: arguments.filter.clone(), shard: arguments.shard.unwrap_or_default() }
}

fn nothing(arguments: &MatrixArgs, flake: &Flake, hosts: &[String]) -> Failure {
    if hosts.is_empty() {
        return Failure::check(CheckId::BuildAttribute, format!("{} has no {CONFIGURATIONS}", flake.shown()));
    }
    let wanted = arguments.filter.join(" ");
    Failure::usage(format!("no configuration of {} is called {wanted}", flake.shown()))
        .hint(format!("there are: {}", resolve::listed(&wanted, hosts)))
}

/// How it came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Done,
    Interrupted,
}

/// A place for each host, in order, filled as they end.
type Places = Vec<(String, Option<HostReport>)>;

async fn go(
    arguments: &MatrixArgs,
    mode: Mode,
    interrupt: &Interrupt,
    matrix: &mut Matrix,
    kept: &mut Option<Artifacts>,
) -> Result<Ended> {
    let choice = choice(arguments);
    // What the user wrote is looked at before anything that takes time.
    resolve::Selection::new(&choice.globs, choice.shard)?;
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
    let prepared = prepare(arguments, &choice, &flake, nix, &roots, &events, interrupt).await;
    let recorded = display.finish().await;
    matrix.phases = recorded.phases;
    matrix.notes.extend(recorded.notes);
    let Prepared { mut places, ready, shared } = prepared?;
    if places.is_empty() {
        matrix.notes.push("there is nothing in this shard".to_owned());
    }

    let fleet = Fleet {
        arguments,
        shared: Arc::new(shared),
        flake: matrix.flake.clone(),
        durations: cache_directory().as_deref().map(DurationCache::new),
        board: Board::new(mode, places.len()),
        artifacts: kept.as_ref(),
        machines: places.len(),
    };
    for host in places.iter().filter_map(|(_, host)| host.as_ref()) {
        fleet.ended(host);
    }
    let ended = match ready {
        Some(ready) => fleet.run(ready, &mut places, interrupt, matrix).await,
        None => Ended::Interrupted,
    };
    fleet.board.clear();
    matrix.hosts = places.into_iter().filter_map(|(_, host)| host).collect();
    // What they were built of is held until here.
    drop(roots);
    Ok(ended)
}

/// What is known before any machine is started.
struct Prepared {
    places: Places,
    /// What is to be started; `None`: it was interrupted before that.
    ready: Option<Vec<(Job, Built)>>,
    shared: Shared,
}

/// Evaluates all, looks for verdicts that are known, builds the rest.
///
/// # Errors
/// What is of no host. An interruption, as long as nothing is known of any.
async fn prepare(
    arguments: &MatrixArgs,
    choice: &Choice,
    flake: &Flake,
    nix: Nix,
    roots: &RunDir,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<Prepared> {
    // Dropping either ends the nix that runs.
    let sorted = tokio::select! {
        sorted = prepare::sort(arguments, choice, flake, nix, events) => sorted?,
        () = interrupt.orderly() => return Err(Failure::interrupted()),
    };
    let Sorted { mut places, mut jobs, to_build, shared } = sorted;
    let ready = tokio::select! {
        ready = prepare::build(to_build, &mut jobs, &mut places, &shared.nix, roots, events) => Some(ready?),
        () = interrupt.orderly() => None,
    };
    if ready.is_none() {
        run::all_ended().await;
        for job in jobs {
            places[job.place].1 = Some(not_run(&job.name, &job.arguments, &job.target, &Stop::Interrupted));
        }
    }
    Ok(Prepared { places, ready, shared })
}

/// The machines, while they run.
struct Fleet<'a> {
    arguments: &'a MatrixArgs,
    shared: Arc<Shared>,
    flake: String,
    durations: Option<DurationCache>,
    board: Board,
    artifacts: Option<&'a Artifacts>,
    /// How many share the directory of the evidence.
    machines: usize,
}

/// A machine that runs.
struct Running {
    place: usize,
    name: String,
    arguments: TryArgs,
    target: Target,
    needed_mib: u64,
}

impl Fleet<'_> {
    /// Starts them as there is room, until all have ended, one has failed with `--fail-fast`, or it is interrupted.
    async fn run(
        &self,
        ready: Vec<(Job, Built)>,
        places: &mut Places,
        interrupt: &Interrupt,
        matrix: &mut Matrix,
    ) -> Ended {
        let whole = Room::now().await;
        let most = self.most(&ready, matrix);
        let waiting = ready.into_iter().map(|(job, built)| Waiting {
            seconds: self.durations.as_ref().and_then(|durations| durations.get(&self.flake, &job.name)),
            needed_mib: capacity::needed_mib(job.needs.memory_mib, job.accel),
            what: (job, built),
        });
        let mut queue = Queue::new(waiting.collect());
        let processors = run::processors(capacity::at_once(&whole, queue.needed_mib(), most));
        let mut tasks: JoinSet<HostReport> = JoinSet::new();
        let mut running: HashMap<Id, Running> = HashMap::new();
        let (trigger, stop) = Interrupt::channel();
        let mut hard = false;
        let mut stopping: Option<Stop> = places
            .iter()
            .filter_map(|(_, host)| host.as_ref())
            .find_map(|host| self.ends_all(host))
            .filter(|_| !queue.is_empty());
        loop {
            let mut now = None;
            while stopping.is_none() && !queue.is_empty() {
                // Looked at once for all that are started in this moment.
                let now = match now {
                    Some(now) => now,
                    None => *now.insert(Room::now().await),
                };
                let taken: Vec<u64> = running.values().map(|running| running.needed_mib).collect();
                let fits = |mib| capacity::admits(&whole, &now, &taken, mib, most);
                let Some(Waiting { needed_mib, what: (job, built), .. }) = queue.next(fits) else { break };
                let about = Running {
                    place: job.place,
                    name: job.name.clone(),
                    arguments: job.arguments.clone(),
                    target: job.target.clone(),
                    needed_mib,
                };
                running.insert(self.start(&mut tasks, job, built, processors, stop.clone()), about);
                matrix.at_once = matrix.at_once.max(running.len());
            }
            if tasks.is_empty() {
                break;
            }
            tokio::select! {
                Some(ended) = tasks.join_next_with_id() => {
                    let Some((about, host)) = settle(ended, &mut running) else { continue };
                    self.ended(&host);
                    if stopping.is_none() && let Some(stop) = self.ends_all(&host) {
                        stopping = Some(stop);
                        trigger.pull();
                    }
                    places[about].1 = Some(host);
                }
                () = interrupt.orderly(), if stopping != Some(Stop::Interrupted) => {
                    stopping = Some(Stop::Interrupted);
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
                places[job.place].1 = Some(not_run(&job.name, &job.arguments, &job.target, stop));
            }
            if let Stop::Failed(name) = stop {
                matrix.notes.push(format!("ended at the failure of {name}, as --fail-fast says"));
            }
        }
        if stopping == Some(Stop::Interrupted) { Ended::Interrupted } else { Ended::Done }
    }

    /// The user's limit; one where all machines would have the same address.
    fn most(&self, ready: &[(Job, Built)], matrix: &mut Matrix) -> Option<usize> {
        let most = self.arguments.max.map(|max| usize::try_from(max).unwrap_or(usize::MAX));
        if ready.len() > 1 && ready.iter().any(|(job, _)| job.needs.transport == TransportKind::Vsock) {
            matrix
                .notes
                .push("one machine at a time: over the kernel's vsock they would have the same address".to_owned());
            return Some(1);
        }
        most
    }

    /// Whether this host's end is to be that of all.
    fn ends_all(&self, host: &HostReport) -> Option<Stop> {
        (self.arguments.fail_fast && host.report.verdict == Verdict::Fail).then(|| Stop::Failed(host.name.clone()))
    }

    /// Tells of a host that has ended, and remembers how long it took.
    fn ended(&self, host: &HostReport) {
        let (paint, line) = host.line();
        self.board.ends(&host.name, paint, &line);
        // What was interrupted or broken says nothing of the next time.
        let judged = [Exit::Pass, Exit::CheckFailed, Exit::Boot].map(Exit::code).contains(&host.report.exit);
        if let Some(durations) = self.durations.as_ref().filter(|_| judged && host.attempts > 0) {
            durations.put(&self.flake, &host.name, host.report.seconds);
        }
    }

    fn start(
        &self,
        tasks: &mut JoinSet<HostReport>,
        job: Job,
        built: Built,
        processors: u32,
        interrupt: Interrupt,
    ) -> Id {
        let host = Trying {
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
        // A thread of its own: whatever one host computes holds up no other.
        let runtime = Handle::current();
        tasks.spawn_blocking(move || runtime.block_on(host.tried())).id()
    }
}

/// Why no further machine is started.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stop {
    Interrupted,
    /// This host failed.
    Failed(String),
}

/// The report on a host whose turn did not come.
fn not_run(name: &str, arguments: &TryArgs, target: &Target, stop: &Stop) -> HostReport {
    let what = match stop {
        Stop::Interrupted => "interrupted before its turn".to_owned(),
        Stop::Failed(name) => format!("{name} had failed before its turn, and --fail-fast ends it there"),
    };
    HostReport::new(name, 0, run::ended(arguments, target, &Failure { what, ..Failure::interrupted() }))
}

/// What a task came to. One that panicked is a bug of ours, and says nothing of the configuration.
fn settle(
    ended: std::result::Result<(Id, HostReport), JoinError>,
    running: &mut HashMap<Id, Running>,
) -> Option<(usize, HostReport)> {
    let (id, host) = match ended {
        Ok((id, host)) => (id, Ok(host)),
        Err(error) => (error.id(), Err(error)),
    };
    let Running { place, name, arguments, target, .. } = running.remove(&id)?;
    let host = host.unwrap_or_else(|error| {
        let failure = Failure::host("nixbox broke: this is a bug of ours, not your configuration's").why(error);
        HostReport::new(name, 1, run::ended(&arguments, &target, &failure))
    });
    Some((place, host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::examples;
    use crate::resolve::Member;

    fn running(name: &str) -> Running {
        let flake = Flake::remote("github:a/b");
        let member = Member { host: name.to_owned(), specialisation: None };
        Running {
            place: 3,
            name: name.to_owned(),
            arguments: TryArgs::default(),
            target: Target::of(&flake, &member),
            needed_mib: 1,
        }
    }

    #[tokio::test]
    async fn a_panic_is_no_failure_of_the_configuration() {
        let mut tasks: JoinSet<HostReport> = JoinSet::new();
        let mut about = HashMap::new();
        about.insert(tasks.spawn(async { panic!("on purpose") }).id(), running("a"));
        let good = tasks.spawn(async { HostReport::new("b", 1, examples::pass()) });
        about.insert(good.id(), running("b"));
        let mut verdicts = Vec::new();
        while let Some(ended) = tasks.join_next_with_id().await {
            let (place, host) = settle(ended, &mut about).unwrap();
            assert_eq!(place, 3);
            verdicts.push((host.name, host.report.verdict, host.report.exit));
        }
        verdicts.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(verdicts, [("a".to_owned(), Verdict::Unknown, 5), ("b".to_owned(), Verdict::Pass, 0)]);
        assert!(about.is_empty());
    }

    #[test]
    fn what_did_not_have_its_turn_says_why() {
        let Running { name, arguments, target, .. } = running("a");
        let host = not_run(&name, &arguments, &target, &Stop::Failed("web".to_owned()));
        assert_eq!((host.report.exit, host.attempts), (130, 0));
        assert!(host.report.cause.is_some_and(|cause| cause.contains("web had failed")));
        assert_eq!(host.report.target.resolved, "github:a/b#nixosConfigurations.a");
    }
}
