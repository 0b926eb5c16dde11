//! One of several runs at once: what is shared among them (evaluation, build, accelerator, jail) is given to it, and it
//! leaves alone what belongs to all.

use std::time::{Duration, Instant};

use super::request::{Request, ResolvedRequest, memory_mib, transport};
use super::{Outcome, Run};
use crate::artifacts::Artifacts;
use crate::checks;
use crate::cli::TryArgs;
use crate::event::Events;
use crate::failure::{Failure, Result};
use crate::interrupt::Interrupt;
use crate::machine::jail::{self};
use crate::machine::{RunDir, Traits};
use crate::model::timeouts::Timeouts;
use crate::model::{Accel, AccelChoice, JailKind, Report, TransportKind, Verdict};
use crate::nix::expectations::Expectations;
use crate::nix::{self, Built, Evaluated, Nix, Target};

/// A machine that needs only to be started.
#[derive(Debug, Clone)]
pub struct Given {
    /// What is tested.
    pub target: Target,
    /// nix, as all of them use it.
    pub nix: Nix,
    /// What was built. Whoever gives it holds its roots.
    pub built: Built,
    /// The accelerator.
    pub accel: Accel,
    /// Why not a faster one.
    pub accel_reason: Option<String>,
    /// The jail.
    pub jail: JailKind,
    /// Its virtual processors, where nobody wants more of them (see [`super::processors`]).
    pub processors: u32,
    /// The flake's reference with its revision (see [`crate::nix::reference()`]), where it is known.
    pub reference: Option<String>,
}

/// What a machine needs of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Which accelerator it wants.
    pub accel: AccelChoice,
    /// The guest's memory in MiB, as far as it is known before the runner is built (see [`Needs::with_runner`]).
    pub memory_mib: u64,
    /// The transport to it.
    pub transport: TransportKind,
    /// How long its boot may take, where that was said.
    pub boot_limit: Option<Duration>,
}

impl Needs {
    /// With what the runner itself says: one that brings its own memory has that.
    #[must_use]
    pub fn with_runner(mut self, built: &Built) -> Self {
        let text = std::fs::read(built.store.physical(&built.runner)).unwrap_or_default();
        let traits = Traits::scan(&String::from_utf8_lossy(&text));
        if let Some(own) = traits.memory_mib.filter(|_| traits.own_memory_backend) {
            self.memory_mib = own;
        }
        self
    }

    /// How long its boot may take under this accelerator.
    pub fn boot_limit(&self, accel: Accel) -> Duration {
        self.boot_limit.unwrap_or_else(|| Timeouts::of(accel).boot())
    }
}

/// A run that is asked for what it knows, and never started.
fn unstarted(arguments: &TryArgs) -> Run<'_> {
    Run::new(Request::verdict(arguments), Events::silent(), Interrupt::channel().1)
}

/// What is asked of a target, by the file that was named, the one beside the flake, and the flags.
fn asked(request: &Request<'_>, target: &Target, expectations: &Expectations) -> Result<ResolvedRequest> {
    request.asked(request.named_config()?.as_ref(), target, expectations)
}

/// What a target needs, by `nixbox.toml`, the flags and what its configuration expects.
///
/// # Errors
/// Usage (exit 2): a `nixbox.toml`, or a check's name, that is wrong.
pub fn needs(arguments: &TryArgs, target: &Target, expectations: &Expectations) -> Result<Needs> {
    let settings = asked(&Request::verdict(arguments), target, expectations)?.settings;
    let machine = &settings.machine;
    Ok(Needs {
        accel: machine.accel.unwrap_or_default(),
        memory_mib: memory_mib(&settings, expectations),
        transport: transport(&settings),
        boot_limit: machine.timeout.map(|time| time.0),
    })
}

/// The jail for all of them.
///
/// # Errors
/// See `Request::jail`.
pub async fn jail_for(arguments: &TryArgs, events: &Events) -> Result<JailKind> {
    Request::verdict(arguments).jail(&jail::launcher(), events).await
}

/// The verdict of a former run on which nothing has changed, before anything is built.
pub fn known(
    arguments: &TryArgs,
    target: &Target,
    nix: &Nix,
    evaluated: &Evaluated,
    accel: Accel,
    reference: &str,
) -> Option<Report> {
    let mut run = unstarted(arguments);
    run.named(target);
    run.choose_switch(target).ok()?;
    let asked = asked(&run.request, target, &evaluated.expectations).ok()?;
    let mut report = run.recall(target, nix, evaluated, &asked, accel)?;
    if report.verdict != Verdict::Pass && arguments.baseline.is_asked() {
        // What it is held against comes after it.
        return None;
    }
    if report.verdict == Verdict::Pass {
        report.apply = nix::apply_command_from(target, reference, nix);
    }
    run.known(report).ok()?;
    if arguments.checks.strict {
        checks::be_strict(&mut run.report);
    }
    Some(run.report)
}

/// Runs what is given. Always answers with a report. What it had started may still be ending when it was interrupted
/// (see [`super::all_ended`]).
pub async fn try_given(
    arguments: &TryArgs,
    given: Given,
    artifacts: Option<Artifacts>,
    events: Events,
    interrupt: Interrupt,
) -> Outcome {
    let clock = Instant::now();
    let mut run = Run::new(Request::verdict(arguments), events, interrupt.clone());
    run.artifacts = artifacts;
    run.named(&given.target);
    let prepare = async {
        // Who tests many machines wants to know what they are like, unless he asks what a change broke.
        if arguments.baseline.is_asked() {
            run.choose_baseline(&given.target, &given.nix)?;
        } else {
            run.choose_switch(&given.target)?;
        }
        let asked = asked(&run.request, &given.target, &given.built.expectations)?;
        let run_dir = RunDir::create()?;
        run.ready(given, asked, run_dir).await
    };
    let done = match interrupt.guard(prepare).await {
        Ok(step) => run.conclude(step).await,
        Err(failure) => Err(failure),
    };
    let (done, by_itself) = run.held_against_baseline(done).await;
    Outcome { by_itself, ..run.outcome(done, clock) }
}

/// The report on a target whose run ended before its machine was started.
pub fn ended(arguments: &TryArgs, target: &Target, failure: &Failure) -> Report {
    let mut run = unstarted(arguments);
    run.named(target);
    run.failed(failure);
    run.report
}
