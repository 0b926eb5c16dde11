//! `--switch`: what the user is about to do, rehearsed. FROM is booted and checked; its machine switches to the target, is
//! checked, switches to it once more, and back, and is checked again; then the target boots from the same disk.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::attempt::{Attempt, RunningMachine};
use super::boot::ComeUp;
use super::check::Probed;
use super::prepare::{Prepared, Step};
use super::request::Request;
use super::{RESTARTS, Run, boot, phase};
use crate::artifacts::Artifacts;
use crate::checks::{self, BootEnd, difference};
use crate::cli::TryArgs;
use crate::diff;
use crate::event::{Event, Events};
use crate::failure::{Failure, Result};
use crate::guest::{Guest, Limits};
use crate::judging::Judgement;
use crate::machine::RunDir;
use crate::model::timeouts::Timeouts;
use crate::model::{
    Accel, CheckId, CheckResult, Count, Exit, MachinePhase, NotTested, Phase, Stage, Status, SwitchReport,
    TransportKind, Verdict, run_file,
};
use crate::resolve::BaselineTarget;
use crate::switch::judge::{self, Checked, PhaseChecks};
use crate::switch::observation::{Rehearsal, Sessions, SwitchEnd, SwitchRun};
use crate::switch::program::SwitchProgram;
use crate::switch::record::{Record, Recorded, Records, machine_state};
use crate::switch::residue;
use crate::switch::send::{Sender, Sent};
use crate::switch::sessions::sessions;
use crate::switch::toplevel;

/// A switch that is to be rehearsed on the machine of a run, and what was seen of it.
pub(super) struct Rehearsing<'a> {
    /// What is switched to.
    target: &'a Prepared,
    /// Its toplevel, that of the VM's variant.
    to: String,
    /// The toplevel that the machine was booted with.
    from: String,
    /// Where each phase keeps its evidence.
    artifacts: Option<PathBuf>,
    seen: Seen,
}

/// What was seen of a rehearsal.
#[derive(Default)]
struct Seen {
    rehearsal: Rehearsal,
    sent: Option<Sent>,
    records: Records,
    switched: Option<Judgement>,
    back: Option<Judgement>,
}

impl<'a> Rehearsing<'a> {
    /// What is switched to: the machine needs a sound card, and memory, for that as well.
    pub(super) fn target(&self) -> &'a Prepared {
        self.target
    }

    /// The directory of a phase's evidence.
    fn evidence(&self, phase: MachinePhase, events: &Events) -> Option<Artifacts> {
        evidence(self.artifacts.as_deref()?, phase, events)
    }
}

/// The directory of a phase's evidence, in that of the run.
fn evidence(run: &Path, phase: MachinePhase, events: &Events) -> Option<Artifacts> {
    match Artifacts::of_machine(run, phase.name(), MachinePhase::ALL.len()) {
        Ok(artifacts) => Some(artifacts),
        Err(error) => {
            events.note(format!("no evidence is kept of the machine {}: {error}", phase.when()));
            None
        }
    }
}

/// The same request, of the configuration that is switched from.
fn request_of(arguments: &TryArgs, from: &BaselineTarget, directory: Option<&Path>) -> TryArgs {
    let mut request = super::baseline::request_of(arguments, from, directory);
    (request.switch.from, request.checks.fresh, request.boots) = (None, true, 1);
    request
}

impl<'a> Run<'a> {
    /// Rehearses the switch to what was prepared.
    ///
    /// # Errors
    /// What is switched from does not build, or does not come up (exit 5); this host's.
    pub(super) async fn rehearse(&mut self, from: BaselineTarget, prepared: Box<Prepared>) -> Result<()> {
        let request = request_of(self.request.arguments, &from, prepared.target.dir());
        let mut run = Run::new(Request::verdict(&request), Events::silent(), self.interrupt.clone());
        self.events.doing(format!("building {}", from.shown));
        let step = phase(&self.events, Phase::Baseline, self.interrupt.guard(Box::pin(run.prepare()))).await;
        let before = match step.map_err(|failure| unusable(&from, failure))? {
            Step::Ready(before) => before,
            Step::Known(_) => return Err(Failure::host(format!("{} cannot be booted", from.shown))),
        };
        if let Some(artifacts) = run.artifacts.take() {
            artifacts.discard();
        }
        let mut told = SwitchReport {
            from: from.shown.clone(),
            resolved: from.typed.clone(),
            revision: from.revision.clone(),
            ..SwitchReport::default()
        };
        let (to, of) = (toplevel_of(&prepared)?, toplevel_of(&before)?);
        if to == of {
            told.identical = true;
            self.report.switch = Some(told);
            (self.report.verdict, self.report.exit) = (Verdict::Pass, Exit::Pass.code());
            self.events.note(format!(
                "nothing differs from {}: there is nothing to switch, and nothing was booted",
                from.shown
            ));
            return Ok(());
        }
        let directory = self.artifacts.as_ref().map(|artifacts| artifacts.path().to_owned());
        run.events = self.events.clone();
        run.artifacts = directory.as_deref().and_then(|run| evidence(run, MachinePhase::Fresh, &self.events));
        run.rehearsing = Some(Box::new(Rehearsing {
            target: &prepared,
            to: to.clone(),
            from: of.clone(),
            artifacts: directory.clone(),
            seen: Seen::default(),
        }));
        let (probed, kind) = Box::pin(run.probed(&before)).await?;
        let fresh = probed.judgement;
        if let Some(cause) = boot_failure(&fresh) {
            return Err(never_up(&from, cause));
        }
        let seen = run.rehearsing.take().map(|rehearsing| rehearsing.seen).unwrap_or_default();
        if let (Some(info), Some(of)) = (&mut self.report.machine, &run.report.machine) {
            info.qemu.clone_from(&of.qemu);
            info.systemd = probed.systemd;
            (info.memory_mib, info.cores) = (of.memory_mib, of.cores);
        }
        let rebooted = match (run.second_boot.take(), run.not_powered_off.take()) {
            (Some(disk), _) => Some(self.rebooted(&prepared, disk, directory.as_deref(), kind).await?),
            (None, Some(why)) => Some(not_checked(MachinePhase::Rebooted, &why.what)),
            (None, None) => None,
        };
        (told.sent_paths, told.sent_bytes) = (seen.sent.map(|sent| sent.paths), seen.sent.map(|sent| sent.bytes));
        told.record_seconds = seen.records.taken.iter().flatten().flatten().map(|record| record.seconds).collect();
        told.sent_seconds = seen.sent.map(|sent| sent.took.as_secs_f64());
        told.runs = judge::run_infos(&seen.rehearsal);
        let plan = diff::switch_plan(prepared.built.store.clone(), Path::new(&of), Path::new(&to), None);
        told.reboot = plan.reboot;
        if !told.reboot.is_empty() {
            self.events.note(format!("some of it takes effect only after a reboot: {}", told.reboot.join("; ")));
        }
        self.report.switch = Some(told);
        self.conclude_rehearsal(&prepared, fresh, seen, rebooted);
        if self.report.verdict == Verdict::Pass {
            let Prepared { target, nix, reference, .. } = &*prepared;
            self.report.apply = super::prepare::apply(target, nix, reference.as_deref()).await;
        }
        Ok(())
    }

    /// Boots the target from the disk that the switched machine has left.
    async fn rebooted(
        &mut self,
        prepared: &Prepared,
        disk: RunDir,
        directory: Option<&Path>,
        kind: TransportKind,
    ) -> Result<Judgement> {
        self.events.doing("booting the target from the same disk");
        let own = directory.and_then(|run| evidence(run, MachinePhase::Rebooted, &self.events));
        let whole = std::mem::replace(&mut self.artifacts, own);
        self.is_second_boot = true;
        let mut disk = disk;
        let mut crashes = 0;
        let booted = loop {
            match Box::pin(self.attempt(prepared, Some(&disk), kind)).await {
                Ok(Attempt::Crashed(_)) if crashes < RESTARTS => crashes += 1,
                Ok(Attempt::Probed(probed)) => break Ok(probed.judgement),
                Err(failure) if failure.is_interruption() => break Err(failure),
                Err(failure) | Ok(Attempt::Crashed(failure) | Attempt::Silent(_, failure)) => {
                    break Ok(not_checked(MachinePhase::Rebooted, &failure.what));
                }
            }
            // Another start has files of its own; what crashed so early has not written to the disk.
            let next = RunDir::create()?;
            std::fs::rename(disk.file(run_file::DISK), next.file(run_file::DISK))
                .map_err(|error| Failure::host("the disk could not be kept for another start").because(error))?;
            disk = next;
        };
        self.artifacts = whole;
        booted
    }

    /// The checks of all phases become the report's.
    fn conclude_rehearsal(&mut self, prepared: &Prepared, fresh: Judgement, seen: Seen, rebooted: Option<Judgement>) {
        let Judgement { results: fresh, not_tested: fresh_not_tested, .. } = fresh;
        let mut outside = Vec::new();
        let mut not_tested: Vec<NotTested> = Vec::new();
        let mut held = |judgement: Option<Judgement>, phase: MachinePhase| -> (Vec<CheckResult>, Vec<NotTested>) {
            let Some(mut judgement) = judgement else { return (Vec::new(), Vec::new()) };
            let before = difference::Results { checks: &fresh, not_tested: &fresh_not_tested };
            drop(difference::compare(&mut judgement.results, &mut judgement.not_tested, before, Count::New));
            for entry in &judgement.not_tested {
                if !not_tested.iter().any(|known| known.what == entry.what) {
                    not_tested.push(entry.clone());
                }
            }
            if phase != MachinePhase::Back && outside.is_empty() {
                outside = judgement.outside;
            }
            (in_phase(judgement.results, phase), judgement.not_tested)
        };
        let (switched, switched_not_tested) = held(seen.switched, MachinePhase::Switched);
        let (rebooted, _) = held(rebooted, MachinePhase::Rebooted);
        let (back, back_not_tested) = held(seen.back, MachinePhase::Back);
        let allowed: Vec<&str> = prepared.plan.settings.allowed_items(CheckId::ServicesFailedUnits).collect();
        let phases = PhaseChecks {
            fresh: Checked::new(&fresh, &fresh_not_tested, &allowed),
            switched: Checked::new(&switched, &switched_not_tested, &allowed),
            back: Checked::new(&back, &back_not_tested, &allowed),
        };
        let of_switch = judge::judge(&seen.rehearsal, &phases);
        let left = residue::judge(&seen.records, &seen.rehearsal, !switched.is_empty());
        let of_switch = checks::of_rehearsal(&prepared.plan, of_switch.into_iter().chain(left).collect());
        let mut fresh = in_phase(fresh, MachinePhase::Fresh);
        for result in fresh.iter_mut().filter(|result| result.status == Status::Fail) {
            result.before = true;
        }
        let all: Vec<CheckResult> =
            fresh.into_iter().chain(switched).chain(of_switch).chain(back).chain(rebooted).collect();
        for check in &all {
            self.events.send(Event::Check(check.clone()));
        }
        // What could not be told before the switch says nothing of the target.
        let counted: Vec<CheckResult> =
            all.iter().filter(|check| check.phase != Some(MachinePhase::Fresh)).cloned().collect();
        checks::verdict(&counted).decide(&mut self.report);
        self.report.checks = all;
        self.report.not_tested = not_tested;
        self.report.outside = outside;
    }

    /// The rehearsal on the machine that runs what is switched from. Whether its disk is to be booted afterwards.
    ///
    /// # Errors
    /// Interrupted, or this host's: the machine or the transport to it broke.
    pub(super) async fn rehearse_on(
        &mut self,
        prepared: &Prepared,
        running: &mut RunningMachine,
        fresh: &Probed,
    ) -> Result<bool> {
        let Some(mut rehearsing) = self.rehearsing.take() else { return Ok(false) };
        let done = if boot_failure(&fresh.judgement).is_none() {
            let interrupt = self.interrupt.clone();
            interrupt.guard(Box::pin(self.there_and_back(&mut rehearsing, prepared, running, fresh))).await
        } else {
            Ok(false)
        };
        self.rehearsing = Some(rehearsing);
        done.map(|is_up| is_up && !self.request.arguments.switch.no_reboot)
    }

    /// There and back; whether the machine is still there.
    async fn there_and_back(
        &self,
        rehearsing: &mut Rehearsing<'_>,
        prepared: &Prepared,
        running: &mut RunningMachine,
        fresh: &Probed,
    ) -> Result<bool> {
        let patience = Limits::of(prepared.accel).patience;
        let mut seen = Seen::default();
        seen.rehearsal.sound_before = heard(&fresh.judgement);
        let is_without_sound = |of: &Prepared| of.plan.expectations.known && of.plan.expectations.audio.is_none();
        seen.rehearsal.without_sound = [is_without_sound(rehearsing.target), is_without_sound(prepared)];
        let toplevels = [rehearsing.from.clone(), rehearsing.to.clone()];
        let toplevels = [toplevels[0].as_str(), toplevels[1].as_str()];
        seen.records.units =
            toplevels.map(|toplevel| diff::units_of(rehearsing.target.built.store.clone(), Path::new(toplevel)));
        seen.sent = self.send(rehearsing, running).await?;
        (seen.rehearsal.sessions_before, seen.records.taken[0]) =
            beside(&running.guest, fresh, toplevels, patience).await;
        let there = self.switch(rehearsing, running, MachinePhase::Switched, false).await?;
        let goes_on = is_answering(&there.end);
        let (began_us, was_made) = (there.began_us, there.was_made());
        seen.rehearsal.runs.push(there);
        // Where nothing was made, the machine is what it was: only the target's own boot is left to be seen.
        if !goes_on || !was_made {
            rehearsing.seen = seen;
            return Ok(goes_on);
        }
        let switched = self.checked(rehearsing, rehearsing.target, running, MachinePhase::Switched, began_us).await?;
        // What went away while it was checked is asked nothing more, nor switched again or back.
        if switched.facts.is_none() {
            (seen.switched, seen.records.taken[1]) = (Some(switched.judgement), Some(Err(GONE.to_owned())));
            rehearsing.seen = seen;
            return Ok(false);
        }
        seen.rehearsal.sound_switched = heard(&switched.judgement);
        self.settled(rehearsing, running, seen.rehearsal.runs.last_mut()).await;
        (seen.rehearsal.sessions_switched, seen.records.taken[1]) =
            beside(&running.guest, &switched, toplevels, patience).await;
        // What cannot work in this VM keeps the switch program from saying 0 each time.
        let allowed = rehearsing.target.plan.settings.allowed_items(CheckId::ServicesFailedUnits);
        let allowed: Vec<&str> = allowed.collect();
        let after = Checked::new(&switched.judgement.results, &switched.judgement.not_tested, &allowed);
        let is_done = |run: &SwitchRun| run.exit() == Some(0) || judge::is_excused(run, after);
        let is_done = seen.rehearsal.runs.last().is_some_and(is_done);
        seen.switched = Some(switched.judgement);
        if is_done {
            let again = self.switch(rehearsing, running, MachinePhase::Switched, true).await?;
            let goes_on = is_answering(&again.end);
            seen.rehearsal.runs.push(again);
            if !goes_on {
                rehearsing.seen = seen;
                return Ok(false);
            }
        }
        let back = self.switch(rehearsing, running, MachinePhase::Back, false).await?;
        let (mut goes_on, was_made, began_us) = (is_answering(&back.end), back.was_made(), back.began_us);
        seen.rehearsal.runs.push(back);
        // Where it was refused, the machine is still the target's: nothing of FROM's is to be expected of it.
        if goes_on && was_made {
            let back = self.checked(rehearsing, prepared, running, MachinePhase::Back, began_us).await?;
            goes_on = back.facts.is_some();
            self.settled(rehearsing, running, seen.rehearsal.runs.last_mut()).await;
            (seen.rehearsal.sessions_back, seen.records.taken[2]) =
                beside(&running.guest, &back, toplevels, patience).await;
            seen.back = Some(back.judgement);
        }
        rehearsing.seen = seen;
        Ok(goes_on)
    }

    /// Which of the units that failed in a switch have come up since.
    async fn settled(&self, rehearsing: &Rehearsing<'_>, running: &RunningMachine, run: Option<&mut SwitchRun>) {
        let Some(run) = run.filter(|run| run.exit() == Some(4)) else { return };
        let toplevel = run.toplevel.clone();
        self.program(&running.guest, &toplevel, rehearsing.target.accel).settled(run).await;
    }

    /// The switch program of a toplevel.
    fn program<'p>(&'p self, guest: &'p Guest, toplevel: &'p str, accel: Accel) -> SwitchProgram<'p> {
        let (patience, timeouts) = (Limits::of(accel).patience, Timeouts::of(accel));
        let (limit, longest) = (timeouts.switch(), timeouts.whole_switch());
        SwitchProgram { guest, toplevel, patience, limit, longest, events: &self.events }
    }

    /// Sends the target to a machine whose store does not show it.
    async fn send(&self, rehearsing: &Rehearsing<'_>, running: &RunningMachine) -> Result<Option<Sent>> {
        let (prepared, guest) = (rehearsing.target, &running.guest);
        let program = self.program(guest, &rehearsing.to, prepared.accel);
        if program.is_there().await.unwrap_or(true) {
            return Ok(None);
        }
        let patience = program.patience;
        self.events.doing("sending the target to the machine, whose store does not have it");
        let sender = Sender { guest, nix: &prepared.nix, store: &prepared.built.store, patience, events: &self.events };
        sender.send(&rehearsing.to).await.map(Some)
    }

    /// One run of the switch program, with what it announces.
    async fn switch(
        &self,
        rehearsing: &Rehearsing<'_>,
        running: &mut RunningMachine,
        to: MachinePhase,
        is_second: bool,
    ) -> Result<SwitchRun> {
        let accel = rehearsing.target.accel;
        let (name, to_system) = match to {
            MachinePhase::Back => (Phase::SwitchBack, &rehearsing.from),
            _ => (Phase::Switch, &rehearsing.to),
        };
        let RunningMachine { machine, guest, .. } = running;
        let program = self.program(guest, to_system, accel);
        let work = async {
            if !program.is_there().await.unwrap_or(true) {
                return SwitchRun::without(to, to_system, SwitchEnd::Missing(to_system.clone()));
            }
            self.events.doing("asking what the switch would do");
            // A second time nothing is to be done, which is seen by what is done.
            let announced = if is_second { None } else { program.announced().await };
            self.events.doing("switching");
            let mut run = program.test(to, is_second, announced).await;
            if let SwitchEnd::Hung { waiting_for, .. } = &run.end {
                let texts: Vec<String> = run.output.iter().rev().take(1).chain(waiting_for).cloned().collect();
                let activate = rehearsing.target.built.store.physical(&Path::new(to_system).join("activate"));
                run.hung_in =
                    std::fs::read_to_string(activate).ok().and_then(|text| toplevel::snippet_of(&text, &texts));
            }
            run
        };
        let switched = async {
            tokio::select! {
                run = work => Ok(run),
                end = boot::gone(machine, accel) => {
                    end.map(|end| SwitchRun::without(to, to_system, SwitchEnd::Gone(in_words(&end).to_owned())))
                }
            }
        };
        phase(&self.events, name, switched).await
    }

    /// The checks of a configuration on the machine as it is now. Where this host or QEMU kept them from being made, that
    /// is what they say: what was seen of the switch until then is not lost for it.
    async fn checked(
        &self,
        rehearsing: &Rehearsing<'_>,
        of: &Prepared,
        running: &mut RunningMachine,
        at: MachinePhase,
        since_us: u64,
    ) -> Result<Probed> {
        let artifacts = rehearsing.evidence(at, &self.events);
        let probed = self.probe(of, running, artifacts.as_ref(), ComeUp::Up, Some(since_us));
        match phase(&self.events, Phase::Check, probed).await {
            Err(failure) if !failure.is_interruption() => {
                let judgement = not_checked(at, &failure.what);
                Ok(Probed { judgement, systemd: None, painted: None, facts: None })
            }
            probed => probed,
        }
    }
}

/// Why there is no record of a machine that went away, or could not be asked.
const GONE: &str = "the machine was not checked to the end";

/// The sessions and the record of a machine that was just probed, or why there is none.
async fn beside(
    guest: &Guest,
    probed: &Probed,
    toplevels: [&str; 2],
    patience: Duration,
) -> (Option<Sessions>, Option<Recorded>) {
    let timed = async {
        let clock = Instant::now();
        (machine_state(guest, toplevels, patience).await, clock.elapsed().as_secs_f64())
    };
    let (sessions, (state, seconds)) = tokio::join!(sessions(guest, patience), timed);
    let record = match (probed.facts.as_ref(), state) {
        (Some(facts), Ok(state)) => Ok(Record { facts: (**facts).clone(), state, seconds }),
        (_, Err(error)) => Err(error.to_string()),
        (None, _) => Err(GONE.to_owned()),
    };
    (sessions.ok(), Some(record))
}

/// What is known of a machine that this host or QEMU kept from being checked: nothing.
fn not_checked(phase: MachinePhase, why: &str) -> Judgement {
    let unknown =
        CheckResult::new(CheckId::BootTarget, Status::Unknown, format!("not checked {}: {why}", phase.when()));
    Judgement { results: vec![unknown], ..Judgement::default() }
}

/// What kept a machine from coming up, if something did.
fn boot_failure(judgement: &Judgement) -> Option<&CheckResult> {
    judgement.results.iter().find(|result| result.is_failure() && result.id.stage() == Stage::Boot)
}

/// Whether a sound that was played was heard, or could not even be played for want of a server or a sink; `None` where
/// none was to be.
fn heard(judgement: &Judgement) -> Option<bool> {
    let tone = judgement.results.iter().find(|result| result.id == CheckId::AudioTone)?;
    let is_in_the_way = |result: &CheckResult| {
        matches!(result.id, CheckId::AudioServer | CheckId::AudioSink) && result.status == Status::Fail
    };
    if tone.status == Status::Skip && judgement.results.iter().any(is_in_the_way) {
        return Some(false);
    }
    matches!(tone.status, Status::Pass | Status::Fail).then_some(tone.status == Status::Pass)
}

/// How a machine ended.
fn in_words(end: &BootEnd) -> &'static str {
    match end {
        BootEnd::Panicked => "the kernel panicked",
        BootEnd::PoweredOff => "the machine powered off",
        BootEnd::Reset => "the machine reset itself",
        _ => "the machine ended",
    }
}

/// Whether a machine can be asked after its switch ended so.
fn is_answering(end: &SwitchEnd) -> bool {
    match end {
        SwitchEnd::Exited(_) | SwitchEnd::Killed(_) | SwitchEnd::Hung { .. } | SwitchEnd::NotStarted(_) => true,
        SwitchEnd::Silent | SwitchEnd::Gone(_) | SwitchEnd::Missing(_) => false,
    }
}

fn in_phase(results: Vec<CheckResult>, phase: MachinePhase) -> Vec<CheckResult> {
    results.into_iter().map(|result| result.in_phase(phase)).collect()
}

/// The toplevel that a VM boots.
fn toplevel_of(prepared: &Prepared) -> Result<String> {
    let runner = &prepared.built.runner;
    let text = std::fs::read_to_string(prepared.built.store.physical(runner))
        .map_err(|error| Failure::host(format!("{} cannot be read", runner.display())).because(error))?;
    toplevel::booted_by(&text).ok_or_else(|| {
        Failure::usage(format!("{} names no system that it boots (init=…/init)", runner.display()))
            .why("a switch is rehearsed to the system of the VM, which boots by a boot loader of its own here")
            .hint("set virtualisation.useBootLoader = false in virtualisation.vmVariant")
    })
}

/// What is switched from cannot be had.
fn unusable(from: &BaselineTarget, failure: Failure) -> Failure {
    if failure.is_interruption() || failure.exit == Exit::Usage {
        return failure;
    }
    let mut told = Failure::host(format!("{} was broken before: {}", from.shown, failure.what)).hint(
        "name another configuration to switch from: --switch=HEAD~1; or try the target by itself, without --switch",
    );
    told.why = failure.why;
    told
}

/// What is switched from does not come up.
fn never_up(from: &BaselineTarget, cause: &CheckResult) -> Failure {
    let told = Failure::host(format!("{} was broken before: it does not come up: {}", from.shown, cause.summary)).hint(
        "name another configuration to switch from: --switch=HEAD~1; or try the target by itself, without --switch",
    );
    if cause.detail.is_empty() { told } else { told.why(cause.detail.join("\n")) }
}
