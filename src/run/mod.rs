//! A run: target, build, machine, guest, checks, strung together. What is found out goes into a [`Report`]; whatever
//! ends a run early is a [`Failure`].

mod boot;
mod look;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::build::{self, Built, Nix, Store};
use crate::channel::{self, Channel, Transport};
use crate::checks::{self, Selection};
use crate::cli::TryArgs;
use crate::config::{self, Settings};
use crate::event::{Event, Events, Phase};
use crate::failure::{Failure, Result};
use crate::guest::{Guest, Token, credentials::credentials};
use crate::interrupt::Interrupt;
use crate::machine::accel::{self, AccelChoice};
use crate::machine::jail::{self, JailKind};
use crate::machine::rundir::RunDir;
use crate::machine::spec::{Accel, NetworkPolicy, Spec, Traits};
use crate::machine::{Machine, MachineEvent};
use crate::names::artifact;
use crate::report::artifacts::{Artifacts, state_directory};
use crate::report::{MachineInfo, Report, TargetInfo};
use crate::target::{self, Target};

/// Runs `nixbox try`. Always answers with a report: what went wrong is in it.
pub async fn try_(arguments: &TryArgs, events: Events, interrupt: Interrupt) -> (Report, Option<Artifacts>) {
    let started = SystemTime::now();
    let clock = Instant::now();
    let mut run = Run {
        arguments,
        events,
        interrupt: interrupt.clone(),
        report: Report::new(arguments.target.as_deref().unwrap_or("."), started),
        artifacts: None,
        started,
    };
    if let Err(failure) = run.go().await {
        run.report.ended_by(&failure);
    }
    run.report.seconds = clock.elapsed().as_secs_f64();
    (run.report, run.artifacts)
}

/// Tells when a phase begins and ends, whatever it ends with.
async fn phase<T>(events: &Events, phase: Phase, work: impl Future<Output = T>) -> T {
    let clock = Instant::now();
    events.send(Event::Started(phase));
    let done = work.await;
    events.send(Event::Ended(phase, clock.elapsed()));
    done
}
