//! What is done for all hosts together, before any machine is started.

use std::collections::HashMap;

use super::host::is_worth_a_retry;
use super::{Places, nothing};
use crate::cli::{MatrixArgs, TryArgs};
use crate::event::Events;
use crate::failure::{Failure, Result};
use crate::machine::{RunDir, accel, jail};
use crate::model::{Accel, AccelChoice, Exit, JailKind, Phase, Report};
use crate::nix::{self, Built, Choice, Evaluated, Nix};
use crate::report::matrix::HostReport;
use crate::resolve::{Flake, Member, Target};
use crate::run::{self, Needs};

/// A host of which there is something to do.
pub(super) struct Job {
    pub(super) place: usize,
    pub(super) name: String,
    pub(super) arguments: TryArgs,
    pub(super) target: Target,
    pub(super) needs: Needs,
    pub(super) accel: Accel,
    pub(super) accel_reason: Option<String>,
    /// A verdict of a former run that is not enough: a failure that is to be tried again.
    pub(super) former: Option<Report>,
}

/// What is shared by all.
pub(super) struct Shared {
    pub(super) nix: Nix,
    pub(super) jail: JailKind,
    pub(super) reference: String,
}

/// What is known before anything is built.
pub(super) struct Sorted {
    pub(super) places: Places,
    pub(super) jobs: Vec<Job>,
    /// What each job is built of.
    pub(super) to_build: Vec<(Target, Evaluated)>,
    pub(super) shared: Shared,
}

/// Evaluates all, and looks for verdicts that are known.
pub(super) async fn sort(
    arguments: &MatrixArgs,
    choice: &Choice,
    flake: &Flake,
    nix: Nix,
    events: &Events,
) -> Result<Sorted> {
    let any = arguments.host(String::new());
    let (evaluations, jail, reference) = run::phase(events, Phase::Evaluate, async {
        tokio::join!(
            nix::evaluate_many(flake, choice, &nix, arguments.checks.vm_only, events),
            run::jail_for(&any, events),
            nix::reference(flake, &nix),
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
        let host = match sort_one(arguments, flake, &member, place, evaluated, &shared, &mut accelerators).await {
            Sort::Ended(report) => Some(HostReport::new(&name, 0, *report)),
            Sort::Misused(report, failure) => {
                misused.push(failure);
                Some(HostReport::new(&name, 0, *report))
            }
            Sort::Job(job, evaluated) => {
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
    Ok(Sorted { places, jobs, to_build, shared })
}

/// Builds all that is to be started. What does not build has ended.
pub(super) async fn build(
    to_build: Vec<(Target, Evaluated)>,
    jobs: &mut Vec<Job>,
    places: &mut Places,
    nix: &Nix,
    roots: &RunDir,
    events: &Events,
) -> Result<Vec<(Job, Built)>> {
    if to_build.is_empty() {
        return Ok(Vec::new());
    }
    let built = run::phase(events, Phase::Build, nix::build_many(to_build, nix, roots.path(), events)).await?;
    let mut ready = Vec::new();
    for (mut job, built) in jobs.drain(..).zip(built) {
        match built {
            Ok(built) => {
                job.needs = job.needs.with_runner(&built);
                ready.push((job, built));
            }
            Err(failure) => {
                let report = run::ended(&job.arguments, &job.target, &failure);
                places[job.place].1 = Some(HostReport::new(&job.name, 0, report));
            }
        }
    }
    Ok(ready)
}

/// What became of an evaluated host.
enum Sort {
    /// Its report is known.
    Ended(Box<Report>),
    /// What is asked for is not of this host: the name of a check or a script.
    Misused(Box<Report>, Failure),
    /// It is to be built and started.
    Job(Box<Job>, Box<Evaluated>),
}

async fn sort_one(
    arguments: &MatrixArgs,
    flake: &Flake,
    member: &Member,
    place: usize,
    evaluated: Result<Evaluated>,
    shared: &Shared,
    accelerators: &mut Accelerators,
) -> Sort {
    let name = member.to_string();
    let target = Target::of(flake, member);
    let own = arguments.host(format!("{}#{name}", arguments.flake.as_deref().unwrap_or(".")));
    let ended = |failure: &Failure| Sort::Ended(Box::new(run::ended(&own, &target, failure)));
    let mut evaluated = match evaluated {
        Ok(evaluated) => evaluated,
        Err(failure) => return ended(&failure),
    };
    if let Some(failure) = evaluated.toplevel_failure.take() {
        return ended(&failure);
    }
    let needs = match run::needs(&own, &target, &evaluated.expectations) {
        Ok(needs) => needs,
        Err(failure) => {
            let told = Failure { exit: Exit::Unknown, ..failure.clone() };
            return Sort::Misused(Box::new(run::ended(&own, &target, &told)), failure);
        }
    };
    let (accel, accel_reason) = match accelerators.prove(needs.accel).await {
        Ok(proven) => proven,
        Err(failure) => return ended(&failure),
    };
    let known = run::known(&own, &target, &shared.nix, &evaluated, accel, &shared.reference);
    let former = match known {
        Some(report) if arguments.retries > 0 && is_worth_a_retry(&report) => Some(report),
        Some(report) => return Sort::Ended(Box::new(report)),
        None => None,
    };
    let job = Job { place, name, arguments: own, target, needs, accel, accel_reason, former };
    Sort::Job(Box::new(job), Box::new(evaluated))
}

/// The accelerators, each proven once.
#[derive(Default)]
struct Accelerators(HashMap<&'static str, Result<(Accel, Option<String>)>>);

impl Accelerators {
    async fn prove(&mut self, wish: AccelChoice) -> Result<(Accel, Option<String>)> {
        let key = wish.name();
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
