//! What is done for all hosts together, before any machine is started: evaluation, cached verdicts, build.

use std::collections::HashMap;

use super::host::is_worth_a_retry;
use super::{HostSlots, no_hosts, typed_flake};
use crate::cli::{MatrixArgs, TryArgs};
use crate::event::Events;
use crate::failure::{Failure, Result};
use crate::machine::{RunDir, accel, jail};
use crate::model::{Accel, AccelChoice, Exit, JailKind, Phase, Report};
use crate::nix::{self, Built, ConfigurationFilter, ConfigurationName, Evaluated, Flake, Nix, Target};
use crate::report::matrix::HostReport;
use crate::run::{self, Needs};

/// One host of the flake.
#[derive(Clone)]
pub(super) struct HostRun {
    /// Where its report goes in [`HostSlots`].
    pub(super) slot: usize,
    pub(super) name: String,
    pub(super) arguments: TryArgs,
    pub(super) target: Target,
}

impl HostRun {
    /// The report on a host whose run ended early, after this many attempts.
    pub(super) fn ended(&self, attempts: u32, failure: &Failure) -> HostReport {
        HostReport::new(&self.name, attempts, run::ended(&self.arguments, &self.target, failure))
    }
}

/// A host that is to be built and started.
pub(super) struct HostJob {
    pub(super) run: HostRun,
    pub(super) needs: Needs,
    pub(super) accel: Accel,
    pub(super) accel_reason: Option<String>,
    /// A cached failure that is to be tried again.
    pub(super) former: Option<Report>,
}

/// What all hosts share.
pub(super) struct SharedInputs {
    pub(super) nix: Nix,
    pub(super) jail: JailKind,
    pub(super) reference: String,
}

/// What is known before anything is built.
pub(super) struct EvaluatedFleet {
    pub(super) slots: HostSlots,
    pub(super) jobs: Vec<HostJob>,
    /// The evaluation of each job.
    pub(super) to_build: Vec<(Target, Evaluated)>,
    pub(super) shared: SharedInputs,
}

/// Evaluates all hosts, and finds cached verdicts.
pub(super) async fn evaluate(
    arguments: &MatrixArgs,
    filter: &ConfigurationFilter,
    flake: &Flake,
    nix: Nix,
    events: &Events,
) -> Result<EvaluatedFleet> {
    let any = arguments.host(String::new());
    let (evaluations, jail, reference) = run::phase(events, Phase::Evaluate, async {
        tokio::join!(
            nix::evaluate_many(flake, filter, &nix, arguments.checks.vm_only, events),
            run::jail_for(&any, events),
            nix::reference(flake, &nix),
        )
    })
    .await;
    let evaluations = evaluations?;
    if evaluations.total == 0 {
        return Err(no_hosts(arguments, flake, &evaluations.hosts, &nix, events).await);
    }
    let shared = SharedInputs { nix, jail: jail?, reference };
    let mut accelerators = ProvenAccelerators::default();
    let mut slots = HostSlots::new();
    let mut jobs = Vec::new();
    let mut to_build = Vec::new();
    let evaluated = evaluations.members.iter().filter(|(_, evaluated)| evaluated.is_ok()).count();
    let mut usage_errors = Vec::new();
    for (slot, (configuration, evaluated)) in evaluations.members.into_iter().enumerate() {
        let name = configuration.to_string();
        let host = match dispose(arguments, flake, &configuration, slot, evaluated, &shared, &mut accelerators).await {
            Disposition::Known(host) => Some(*host),
            Disposition::UsageError(host, failure) => {
                usage_errors.push(failure);
                Some(*host)
            }
            Disposition::Build(job, evaluated) => {
                to_build.push((job.run.target.clone(), *evaluated));
                jobs.push(*job);
                None
            }
        };
        slots.push((name, host));
    }
    // No host has the check or the script that a flag names.
    if usage_errors.len() == evaluated
        && let Some(failure) = usage_errors.pop()
    {
        return Err(failure);
    }
    accelerators.notes(events);
    Ok(EvaluatedFleet { slots, jobs, to_build, shared })
}

/// Builds all that is to be started. Hosts that do not build get their report.
pub(super) async fn build(
    to_build: Vec<(Target, Evaluated)>,
    jobs: &mut Vec<HostJob>,
    slots: &mut HostSlots,
    nix: &Nix,
    roots: &RunDir,
    events: &Events,
) -> Result<Vec<(HostJob, Built)>> {
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
                slots[job.run.slot].1 = Some(job.run.ended(0, &failure));
            }
        }
    }
    Ok(ready)
}

/// What is to be done with an evaluated host.
enum Disposition {
    /// Its report is known.
    Known(Box<HostReport>),
    /// A flag names a check or a script that this host does not have.
    UsageError(Box<HostReport>, Failure),
    /// It is to be built and started.
    Build(Box<HostJob>, Box<Evaluated>),
}

async fn dispose(
    arguments: &MatrixArgs,
    flake: &Flake,
    configuration: &ConfigurationName,
    slot: usize,
    evaluated: Result<Evaluated>,
    shared: &SharedInputs,
    accelerators: &mut ProvenAccelerators,
) -> Disposition {
    let name = configuration.to_string();
    let own = arguments.host(format!("{}#{name}", typed_flake(arguments)));
    let run = HostRun { slot, arguments: own, target: Target::of(flake, configuration), name };
    let ended = |failure: &Failure| Disposition::Known(Box::new(run.ended(0, failure)));
    let evaluated = match evaluated {
        Ok(evaluated) => evaluated,
        Err(failure) => return ended(&failure),
    };
    let needs = match run::needs(&run.arguments, &run.target, &evaluated.expectations) {
        Ok(needs) => needs,
        Err(failure) => {
            let reported = Failure { exit: Exit::Unknown, ..failure.clone() };
            return Disposition::UsageError(Box::new(run.ended(0, &reported)), failure);
        }
    };
    let (accel, accel_reason) = match accelerators.prove(needs.accel).await {
        Ok(proven) => proven,
        Err(failure) => return ended(&failure),
    };
    let known = run::known(&run.arguments, &run.target, &shared.nix, &evaluated, accel, &shared.reference);
    let former = match known {
        Some(report) if arguments.retries > 0 && is_worth_a_retry(&report) => Some(report),
        Some(report) => return Disposition::Known(Box::new(HostReport::new(&run.name, 0, report))),
        None => None,
    };
    let job = HostJob { run, needs, accel, accel_reason, former };
    Disposition::Build(Box::new(job), Box::new(evaluated))
}

/// The accelerators, each proven once.
#[derive(Default)]
struct ProvenAccelerators(HashMap<&'static str, Result<(Accel, Option<String>)>>);

impl ProvenAccelerators {
    async fn prove(&mut self, choice: AccelChoice) -> Result<(Accel, Option<String>)> {
        let key = choice.name();
        if !self.0.contains_key(key) {
            self.0.insert(key, accel::choose(choice, &jail::launcher()).await);
        }
        self.0[key].clone()
    }

    /// Notes once why a slower accelerator is used.
    fn notes(&self, events: &Events) {
        if let Some(Ok((accel, Some(reason)))) = self.0.get("auto") {
            events.note(format!("runs under {}: {reason}", accel.name()));
        }
    }
}
