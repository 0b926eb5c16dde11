//! `nixbox matrix`: all configurations of a flake, evaluated and built together, tried as many at once as this host
//! carries.
//!
//! Each host has a thread of this process: what it starts lives in a jail with its own supervisor, so that a host's crash
//! or flood stays in there; a panic of ours ends its thread alone and is told as "could not tell"; and one process for all
//! takes a fraction of the memory of one each.
//!
//! * this file: the order of things
//! * `capacity`: how many machines this host carries
//! * `queue`: which is next
//! * `list`: the names alone, for a CI service

mod capacity;
mod list;
mod queue;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::Handle;
use tokio::task::{Id, JoinError, JoinSet};

use self::capacity::Room;
use self::queue::{Queue, Waiting};
use crate::build::{self, Choice, Evaluated, Nix};
use crate::cache::{self, Durations};
use crate::channel::Transport;
use crate::cli::{ListFormat, MatrixArgs, TryArgs};
use crate::config;
use crate::event::{Events, Phase};
use crate::failure::{Failure, Result};
use crate::interrupt::Interrupt;
use crate::machine::{Accel, AccelWish, JailKind, RunDir, accel, jail};
use crate::names::{Exit, artifact};
use crate::report::artifacts::{Artifacts, state_directory};
use crate::report::board::Board;
use crate::report::display::{Display, Mode};
use crate::report::matrix::{Host, Matrix};
use crate::report::{Report, Verdict, json};
use crate::run::{self, Given, Needs};
use crate::target::{self, Flake, Member, Target};

/// How long a host may take beyond its boot's limit until it is given up: what is asked of a guest has limits of its own,
/// so that this is for what we did not think of.
const HOST_LIMIT: Duration = Duration::from_secs(3600);

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
    let flake = target::flake(arguments.flake.as_deref(), &nix)?;
    let systems = format == ListFormat::Json;
    let named = build::names(&flake, &choice(arguments), systems, &nix, &Events::silent()).await?;
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
        return Failure::build(build::check::ATTRIBUTE, format!("{} has no {CONFIGURATIONS}", flake.shown()));
    }
    let wanted = arguments.filter.join(" ");
    Failure::usage(format!("no configuration of {} is called {wanted}", flake.shown()))
        .hint(format!("there are: {}", target::listed(&wanted, hosts)))
}

/// How it came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Done,
    Interrupted,
}

/// A host of which there is something to do.
struct Job {
    place: usize,
    name: String,
    arguments: TryArgs,
    target: Target,
    needs: Needs,
    accel: Accel,
    accel_reason: Option<String>,
    /// A verdict of a former run that is not enough: a failure that is to be tried again.
    former: Option<Report>,
}

/// What is shared by all.
struct Shared {
    nix: Nix,
    jail: JailKind,
    reference: String,
}

/// A place for each host, in order, filled as they end.
type Places = Vec<(String, Option<Host>)>;

async fn go(
    arguments: &MatrixArgs,
    mode: Mode,
    interrupt: &Interrupt,
    matrix: &mut Matrix,
    kept: &mut Option<Artifacts>,
) -> Result<Ended> {
    let choice = choice(arguments);
    // What the user wrote is looked at before anything that takes time.
    target::Selection::new(&choice.globs, choice.shard)?;
    let mut nix = Nix::new(arguments.nix.clone());
    let flake = target::flake(arguments.flake.as_deref(), &nix)?;
    config::load(arguments.config.as_deref(), flake.dir.as_deref())?;
    matrix.flake = flake.shown();
    let state = state_directory();
    let named = arguments.artifacts.as_deref();
    let opened = Artifacts::open(named, flake.dir.as_deref(), state.as_deref(), "matrix", SystemTime::now())?;
    matrix.notes.extend(opened.notes);
    *kept = opened.artifacts;
    if let Some(artifacts) = kept.as_ref() {
        nix = nix.log_to(artifacts.file(artifact::NIX_LOG));
    }

    let (events, receiver) = Events::channel();
    let display = Display::start(receiver, mode);
    let roots = RunDir::create()?;
    let prepared = tokio::select! {
        // Dropping it ends the nix that runs.
        prepared = prepare(arguments, &choice, &flake, nix, &roots, &events) => Some(prepared),
        () = interrupt.orderly() => None,
    };
    let recorded = display.finish().await;
    matrix.phases = recorded.phases;
    matrix.notes.extend(recorded.notes);
    let Some(prepared) = prepared else { return Err(Failure::interrupted()) };
    let Prepared { mut places, ready, shared } = prepared?;
    if places.is_empty() {
        matrix.notes.push("there is nothing in this shard".to_owned());
    }

    let fleet = Fleet {
        arguments,
        shared: Arc::new(shared),
        flake: matrix.flake.clone(),
        durations: cache::directory().as_deref().map(Durations::new),
        board: Board::new(mode, places.len()),
        artifacts: kept.as_ref(),
        machines: places.len(),
    };
    for host in places.iter().filter_map(|(_, host)| host.as_ref()) {
        fleet.ended(host);
    }
    let ended = fleet.run(ready, &mut places, interrupt, matrix).await;
    fleet.board.clear();
    matrix.hosts = places.into_iter().filter_map(|(_, host)| host).collect();
    // What they were built of is held until here.
    drop(roots);
    Ok(ended)
}

/// What is known before any machine is started.
struct Prepared {
    places: Places,
    ready: Vec<(Job, build::Built)>,
    shared: Shared,
}

/// Evaluates all, looks for verdicts that are known, builds the rest.
async fn prepare(
    arguments: &MatrixArgs,
    choice: &Choice,
    flake: &Flake,
    nix: Nix,
    roots: &RunDir,
    events: &Events,
) -> Result<Prepared> {
    let any = arguments.as_try(String::new());
    let (evaluations, jail, reference) = run::phase(events, Phase::Evaluate, async {
        tokio::join!(
            build::evaluate_many(flake, choice, &nix, arguments.vm_only, events),
            run::jail_for(&any, events),
            build::reference(flake, &nix),
        )
    })
    .await;
    let evaluations = evaluations?;
    if evaluations.meant == 0 {
        return Err(nothing(arguments, flake, &evaluations.hosts));
    }
    let shared = Shared { nix, jail: jail?, reference };
    let mut accelerators = Accelerators::default();
    let mut places = Places::new();
    let mut jobs = Vec::new();
    let mut to_build = Vec::new();
    let evaluated = evaluations.members.iter().filter(|(_, evaluated)| evaluated.is_ok()).count();
    let mut misused = Vec::new();
    for (place, (member, evaluated)) in evaluations.members.into_iter().enumerate() {
        let name = member.to_string();
        let host = match sort(arguments, flake, &member, place, evaluated, &shared, &mut accelerators).await {
            Sorted::Ended(report) => Some(Host::new(&name, 0, *report)),
            Sorted::Misused(report, failure) => {
                misused.push(failure);
                Some(Host::new(&name, 0, *report))
            }
            Sorted::Job(job, evaluated) => {
                to_build.push((job.target.clone(), *evaluated));
                jobs.push(*job);
                None
            }
        };
        places.push((name, host));
    }
    // What is asked for is of no host.
    if misused.len() == evaluated
        && let Some(failure) = misused.pop()
    {
        return Err(failure);
    }
    accelerators.notes(events);
    let mut ready = Vec::new();
    if !to_build.is_empty() {
        let built =
            run::phase(events, Phase::Build, build::build_many(to_build, &shared.nix, roots.path(), events)).await?;
        for (mut job, built) in jobs.into_iter().zip(built) {
            match built {
                Ok(built) => {
                    job.needs = job.needs.with_runner(&built);
                    ready.push((job, built));
                }
                Err(failure) => {
                    let report = run::ended(&job.arguments, &job.target, &failure);
                    places[job.place].1 = Some(Host::new(&job.name, 0, report));
                }
            }
        }
    }
    Ok(Prepared { places, ready, shared })
}

/// What became of an evaluated host.
enum Sorted {
    /// Its report is known.
    Ended(Box<Report>),
    /// What is asked for is not of this host: the name of a check or a script.
    Misused(Box<Report>, Failure),
    /// It is to be built and started.
    Job(Box<Job>, Box<Evaluated>),
}

async fn sort(
    arguments: &MatrixArgs,
    flake: &Flake,
    member: &Member,
    place: usize,
    evaluated: Result<Evaluated>,
    shared: &Shared,
    accelerators: &mut Accelerators,
) -> Sorted {
    let name = member.to_string();
    let target = Target::of(flake, member);
    let own = arguments.as_try(format!("{}#{name}", arguments.flake.as_deref().unwrap_or(".")));
    let ended = |failure: &Failure| Sorted::Ended(Box::new(run::ended(&own, &target, failure)));
    let mut evaluated = match evaluated {
        Ok(evaluated) => evaluated,
        Err(failure) => return ended(&failure),
    };
    if let Some(failure) = evaluated.toplevel_failure.take() {
        return ended(&failure);
    }
    let needs = match run::needs(&own, &target, &evaluated.promises) {
        Ok(needs) => needs,
        Err(failure) => {
            let told = Failure { exit: Exit::Unknown, ..failure.clone() };
            return Sorted::Misused(Box::new(run::ended(&own, &target, &told)), failure);
        }
    };
    let (accel, accel_reason) = match accelerators.prove(needs.accel).await {
        Ok(proven) => proven,
        Err(failure) => return ended(&failure),
    };
    let known = run::known(&own, &target, &shared.nix, &evaluated, accel, &shared.reference);
    let former = match known {
        Some(report) if arguments.retries > 0 && is_worth_a_retry(&report) => Some(report),
        Some(report) => return Sorted::Ended(Box::new(report)),
        None => None,
    };
    let job = Job { place, name, arguments: own, target, needs, accel, accel_reason, former };
    Sorted::Job(Box::new(job), Box::new(evaluated))
}

/// Whether a machine could pass where it failed: a build that failed fails again.
fn is_worth_a_retry(report: &Report) -> bool {
    [Exit::CheckFailed, Exit::Boot].map(Exit::code).contains(&report.exit)
}

/// The accelerators, each proven once.
#[derive(Default)]
struct Accelerators(HashMap<&'static str, Result<(Accel, Option<String>)>>);

impl Accelerators {
    async fn prove(&mut self, wish: AccelWish) -> Result<(Accel, Option<String>)> {
        let key = match wish {
            AccelWish::Auto => "auto",
            AccelWish::Kvm => "kvm",
            AccelWish::Hvf => "hvf",
            AccelWish::Tcg => "tcg",
        };
        if !self.0.contains_key(key) {
            self.0.insert(key, accel::choose(wish, &jail::launcher()).await);
        }
        self.0[key].clone()
    }

    /// Says once what is slower than it could be.
    fn notes(&self, events: &Events) {
        if let Some(Ok((accel, Some(reason)))) = self.0.get("auto") {
            events.note(format!("runs under {}: {reason}", accel.name()));
        }
    }
}

/// The machines, while they run.
struct Fleet<'a> {
    arguments: &'a MatrixArgs,
    shared: Arc<Shared>,
    flake: String,
    durations: Option<Durations>,
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
        ready: Vec<(Job, build::Built)>,
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
        let mut tasks: JoinSet<Host> = JoinSet::new();
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
                running.insert(self.start(&mut tasks, job, built, stop.clone()), about);
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
    fn most(&self, ready: &[(Job, build::Built)], matrix: &mut Matrix) -> Option<usize> {
        let most = self.arguments.max.map(|max| usize::try_from(max).unwrap_or(usize::MAX));
        if ready.len() > 1 && ready.iter().any(|(job, _)| job.needs.transport == Transport::Vsock) {
            matrix
                .notes
                .push("one machine at a time: over the kernel's vsock they would have the same address".to_owned());
            return Some(1);
        }
        most
    }

    /// Whether this host's end is to be that of all.
    fn ends_all(&self, host: &Host) -> Option<Stop> {
        (self.arguments.fail_fast && host.report.verdict == Verdict::Fail).then(|| Stop::Failed(host.name.clone()))
    }

    /// Tells of a host that has ended, and remembers how long it took.
    fn ended(&self, host: &Host) {
        let (paint, line) = host.line();
        self.board.ends(&host.name, paint, &line);
        // What was interrupted or broken says nothing of the next time.
        let judged = [Exit::Pass, Exit::CheckFailed, Exit::Boot].map(Exit::code).contains(&host.report.exit);
        if let Some(durations) = self.durations.as_ref().filter(|_| judged && host.attempts > 0) {
            durations.put(&self.flake, &host.name, host.report.seconds);
        }
    }

    fn start(&self, tasks: &mut JoinSet<Host>, job: Job, built: build::Built, interrupt: Interrupt) -> Id {
        let host = Trying {
            attempts: usize::try_from(self.arguments.retries).unwrap_or(usize::MAX).saturating_add(1),
            evidence: self.artifacts.map(|artifacts| artifacts.path().to_owned()),
            machines: self.machines,
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
fn not_run(name: &str, arguments: &TryArgs, target: &Target, stop: &Stop) -> Host {
    let what = match stop {
        Stop::Interrupted => "interrupted before its turn".to_owned(),
        Stop::Failed(name) => format!("{name} had failed before its turn, and --fail-fast ends it there"),
    };
    Host::new(name, 0, run::ended(arguments, target, &Failure { what, ..Failure::interrupted() }))
}

/// What a task came to. One that panicked is a bug of ours, and says nothing of the configuration.
fn settle(
    ended: std::result::Result<(Id, Host), JoinError>,
    running: &mut HashMap<Id, Running>,
) -> Option<(usize, Host)> {
    let (id, host) = match ended {
        Ok((id, host)) => (id, Ok(host)),
        Err(error) => (error.id(), Err(error)),
    };
    let Running { place, name, arguments, target, .. } = running.remove(&id)?;
    let host = host.unwrap_or_else(|error| {
        let failure = Failure::host("nixbox broke: this is a bug of ours, not your configuration's").why(error);
        Host::new(name, 1, run::ended(&arguments, &target, &failure))
    });
    Some((place, host))
}

/// Tries until it is of no use to try again: at most this often, a verdict of a former run included. Answers with how
/// often it tried, and the last report.
async fn with_retries(
    attempts: usize,
    former: Option<Report>,
    mut attempt: impl AsyncFnMut(&[Report]) -> Report,
) -> (u32, Report) {
    let mut failed: Vec<Report> = former.into_iter().collect();
    let mut started = 0;
    loop {
        started += 1;
        let report = attempt(&failed).await;
        if failed.len() + 1 >= attempts || !is_worth_a_retry(&report) {
            return (started, report);
        }
        failed.push(report);
    }
}

/// A host that is being tried, in a thread of its own.
struct Trying {
    job: Job,
    built: build::Built,
    shared: Arc<Shared>,
    /// How often at most, a verdict of a former run included.
    attempts: usize,
    /// Where the evidence of all machines goes.
    evidence: Option<PathBuf>,
    machines: usize,
    board: Board,
    interrupt: Interrupt,
}

impl Trying {
    async fn tried(mut self) -> Host {
        let former = self.job.former.take();
        let (started, report) = with_retries(self.attempts, former, async |failed: &[Report]| {
            tokio::select! {
                report = self.attempt(failed) => report,
                // Dropping it ends what it started, by the backstops that need no time.
                () = self.interrupt.hard() => run::ended(&self.job.arguments, &self.job.target, &Failure::interrupted()),
            }
        })
        .await;
        Host::new(&self.job.name, started, report)
    }

    async fn attempt(&self, failed: &[Report]) -> Report {
        let Self { job, shared, .. } = self;
        self.board.begins(&job.name, failed.len() + 1);
        let (events, receiver) = Events::channel();
        let (board, name) = (self.board.clone(), job.name.clone());
        let display = Display::handing(receiver, move |event| board.event(&name, event));
        let kept = self.evidence.as_deref().map(|run| Artifacts::of_machine(run, &job.name, self.machines)).transpose();
        let artifacts = kept.unwrap_or_else(|error| {
            events.note(format!("no artifacts are kept: {error}"));
            None
        });
        let given = Given {
            target: job.target.clone(),
            nix: shared.nix.clone(),
            built: self.built.clone(),
            accel: job.accel,
            accel_reason: job.accel_reason.clone(),
            jail: shared.jail,
            reference: Some(shared.reference.clone()),
        };
        let mut arguments = job.arguments.clone();
        // What a former attempt found out is remembered, and is not what is asked for.
        arguments.fresh |= !failed.is_empty();
        let limit = job.needs.boot_limit(job.accel) + HOST_LIMIT;
        let tried = run::try_given(&arguments, given, artifacts, events, self.interrupt.clone());
        let outcome = tokio::time::timeout(limit, tried).await;
        let recorded = display.finish().await;
        match outcome {
            Ok(outcome) => outcome.after(failed).finish(recorded),
            Err(_) => {
                let took = crate::text::seconds(limit.as_secs_f64());
                let failure = Failure::host(format!("it came to no end within {took}, which is a bug of ours"));
                let mut report = run::ended(&job.arguments, &job.target, &failure);
                report.record(recorded);
                report
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::examples;

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
        let mut tasks: JoinSet<Host> = JoinSet::new();
        let mut about = HashMap::new();
        about.insert(tasks.spawn(async { panic!("on purpose") }).id(), running("a"));
        let good = tasks.spawn(async { Host::new("b", 1, examples::pass()) });
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

    /// What comes of these reports, one an attempt.
    async fn tried(attempts: usize, former: Option<Report>, reports: &[Report]) -> (u32, Report) {
        let mut next = reports.iter();
        with_retries(attempts, former, async |failed: &[Report]| {
            let mut report = next.next().expect("no more attempts than reports").clone();
            failed.iter().for_each(|former| report.passed_after(former));
            report
        })
        .await
    }

    #[tokio::test]
    async fn what_passes_when_tried_again_is_flaky() {
        let (pass, fail, build) = (examples::pass(), examples::fail(), examples::build_fail());
        let (started, report) = tried(3, None, &[fail.clone(), fail.clone(), pass.clone()]).await;
        assert_eq!((started, report.verdict, report.is_flaky()), (3, Verdict::Pass, true));
        let (started, report) = tried(2, None, &[fail.clone(), fail.clone()]).await;
        assert_eq!((started, report.verdict, report.is_flaky()), (2, Verdict::Fail, false));
        let (started, report) = tried(3, None, std::slice::from_ref(&pass)).await;
        assert_eq!((started, report.is_flaky()), (1, false));
        // A verdict of a former run is the first attempt.
        let (started, report) = tried(2, Some(fail.clone()), std::slice::from_ref(&pass)).await;
        assert_eq!((started, report.is_flaky()), (1, true));
        let (started, _) = tried(1, None, std::slice::from_ref(&fail)).await;
        assert_eq!(started, 1);
        // Building again makes nothing better, nor does what this host cannot do.
        for other in [build, examples::unknown()] {
            assert_eq!(tried(3, None, std::slice::from_ref(&other)).await, (1, other));
        }
    }

    #[test]
    fn only_what_a_machine_did_is_tried_again() {
        let worth: Vec<u8> =
            examples::all().iter().filter(|report| is_worth_a_retry(report)).map(|report| report.exit).collect();
        assert_eq!(worth, [1, 4]);
    }
}
