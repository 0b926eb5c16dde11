//! A run: target, build, machine, guest, checks, strung together. What is found out goes into a [`Report`]; whatever
//! ends a run early is a [`Failure`].
//!
//! * this file: the order of things, and what the machine is made of
//! * `boot`: from the runner's start to a guest that came up, or the evidence that it did not
//! * `result_cache`: the results of former runs
//! * `single_flight`: one boot at a time, however many hooks ask
//! * `many`: one of several runs at once, whose evaluation and build are shared
//! * `demo`: what is different where a person sits in front of the machine
//! * `probe`: what is asked of a guest, how the answers become a judgement
//! * `idle`: since when a guest has nothing to do
//! * `sound`: what is done to hear a machine

mod boot;
mod demo;
mod many;
mod probe;
mod result_cache;
mod single_flight;

mod sound;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::task::JoinSet;

use crate::cache::Tested;
use crate::checks::{self, Judgement, Plan, Selection};
use crate::cli::{DemoArgs, TryArgs};
use crate::config::{self, Config, Settings};
use crate::desktop::drive::ScreenRecorder;
use crate::event::{Event, Events};
use crate::failure::{Failure, Result};
use crate::guest::credentials::{Token, credentials};
use crate::guest::{Guest, notify};
use crate::interrupt::Interrupt;
use crate::machine::jail::{self, JailOptions};
use crate::machine::{Machine, RunDir, Spec, accel, find_program};
use crate::model::{
    Accel, AccelChoice, CheckId, CheckResult, Exit, JailKind, MachineInfo, NetworkPolicy, Phase, Recorded, Report,
    Status, TransportKind, Verdict, artifact, run_file,
};
use crate::nix::expectations::Expectations;
use crate::nix::{self, Built, Nix};
use crate::report::artifacts::{Artifacts, state_directory};
use crate::resolve::{self, Target};
use crate::transport::{Transport, VhostUser, VirtioSerial};
use demo::Demo;
pub use many::{Given, Needs, ended, jail_for, known, needs, try_given};

/// How often a machine is started again when QEMU itself crashed before the guest said a word, or lost a processor of its:
/// multi-threaded TCG aborts now and then in early boot (`iotlb_to_section: Assertion`), which says nothing about the guest.
const RESTARTS: u32 = 2;
/// The longest a boot may take by default. Emulation is five to ten times slower, and more on a busy host.
const BOOT_LIMIT: Duration = Duration::from_secs(180);
const BOOT_LIMIT_TCG: Duration = Duration::from_secs(600);
/// How long what was started may take to be gone when a run ended early.
const CHILDREN_LIMIT: Duration = Duration::from_secs(2);
/// The most virtual processors that a machine gets of ours: two boot faster than NixOS's default of one, more do not.
const PROCESSORS: usize = 2;
/// The least memory that a desktop gets where nobody asks for another size, in MiB.
const DESKTOP_MIB: u64 = 2048;
/// What a VM's disk may grow to when the configuration does not say: NixOS's default for `virtualisation.diskSize`.
const DISK_MIB: u64 = 1024;

/// How a run ended: a report that lacks what was told meanwhile.
#[derive(Debug)]
pub struct Outcome {
    report: Report,
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

    /// The whole report, with what the events told; the evidence is in its place, and the verdict is remembered.
    pub fn finish(mut self, recorded: Recorded) -> Report {
        self.report.record(recorded);
        if let Some(artifacts) = self.artifacts {
            artifacts.finish(&mut self.report);
        }
        self.cache.remember(&self.report);
        self.report
    }
}

/// Runs `nixbox try`. Always answers with a report: what went wrong is in it.
pub async fn try_(arguments: &TryArgs, events: Events, interrupt: Interrupt) -> Outcome {
    run(arguments, None, events, interrupt).await
}

/// Runs `nixbox demo`, which ends when the person ends it. Always answers with a report.
pub async fn demo(arguments: &DemoArgs, events: Events, interrupt: Interrupt) -> Outcome {
    run(&arguments.as_try(), Some(arguments), events, interrupt).await
}

/// Evaluates only, for an agent's edit: a pass says that the runner and the host's own system evaluate, not that they
/// build or boot. A tree that evaluated before is not evaluated again.
pub async fn evaluate(arguments: &TryArgs, events: Events, interrupt: Interrupt) -> Report {
    let mut run = Run::new(arguments, None, events, interrupt.clone());
    let done = tokio::select! {
        done = run.evaluated() => done,
        () = interrupt.orderly() => Err(Failure::interrupted()),
    };
    match done {
        Ok(()) => (run.report.verdict, run.report.exit) = (Verdict::Pass, Exit::Pass.code()),
        Err(failure) => run.failed(&failure),
    }
    run.report
}

async fn run(arguments: &TryArgs, demo: Option<&DemoArgs>, events: Events, interrupt: Interrupt) -> Outcome {
    let clock = Instant::now();
    let (demo, made) = match demo.map(Demo::new).transpose() {
        Ok(demo) => (demo, Ok(())),
        Err(failure) => (None, Err(failure)),
    };
    let mut run = Run::new(arguments, demo, events, interrupt);
    let done = match made {
        Ok(()) => run.go().await,
        Err(failure) => Err(failure),
    };
    if done.is_err() {
        all_ended().await;
    }
    run.outcome(done, clock)
}

/// Waits until what an interrupted or broken run had started has ended: it is dropped, which waits for nobody.
pub async fn all_ended() {
    jail::children_end(CHILDREN_LIMIT).await;
}

struct Run<'a> {
    arguments: &'a TryArgs,
    events: Events,
    interrupt: Interrupt,
    report: Report,
    artifacts: Option<Artifacts>,
    /// Where a person sits in front of the machine.
    demo: Option<Demo>,
    cache: result_cache::RunCache,
    /// The flake's reference for the command that applies what was tested, where it is known.
    reference: Option<String>,
}

/// What comes of preparing.
enum Step {
    /// The verdict is known already.
    Known(Box<Report>),
    /// A machine is to be started.
    Ready(Box<Prepared>),
}

/// What is known before anything is started.
struct Prepared {
    target: Target,
    nix: Nix,
    built: Built,
    settings: Settings,
    plan: Plan,
    accel: Accel,
    jail: JailKind,
    processors: u32,
    run_dir: RunDir,
    stage: Option<demo::Stage>,
}

impl Prepared {
    /// How the runner is jailed.
    fn jail_options(&self) -> JailOptions {
        JailOptions {
            kind: self.jail,
            store: self.built.store.physical(std::path::Path::new(nix::STORE_DIR)),
            disk_limit: (self.plan.expectations.disk_mib.unwrap_or(DISK_MIB) + 1024) << 20,
            ..JailOptions::default()
        }
    }
}

/// What is asked of a target.
struct Asked {
    settings: Settings,
    plan: Plan,
}

/// A channel, and for virtio-serial what has to be connected once QEMU is up.
struct WayIn {
    channel: Arc<dyn Transport>,
    serial: Option<Arc<VirtioSerial>>,
}

/// How one start of the machine ended.
enum Attempt {
    /// Looked at, as far as it came.
    Seen(probe::Probed),
    /// QEMU crashed before the guest said anything, or its emulation lost a processor.
    Crashed(Failure),
}

impl<'a> Run<'a> {
    fn new(arguments: &'a TryArgs, demo: Option<Demo>, events: Events, interrupt: Interrupt) -> Self {
        Self {
            arguments,
            events,
            interrupt,
            report: Report::new(arguments.target.as_deref().unwrap_or("."), SystemTime::now()),
            artifacts: None,
            cache: result_cache::RunCache::new(arguments, demo.is_some()),
            demo,
            reference: None,
        }
    }

    /// What the user named; or what that most likely means, which is then a guess.
    async fn target(&self, nix: &Nix) -> Result<(Target, bool)> {
        let typed = self.arguments.target.as_deref();
        match resolve::guess(typed, nix) {
            Some(guess) => Ok((guess, true)),
            None => Ok((resolve::resolve(typed, nix, &self.events).await?, false)),
        }
    }

    /// Evaluates a target. A guess that was none becomes what the user named.
    async fn evaluation(&self, target: Target, is_guess: bool, nix: &Nix) -> Result<(Target, nix::Evaluated)> {
        let vm_only = self.arguments.vm_only;
        match nix::evaluate(&target, nix, vm_only, &self.events).await {
            Err(failure) if is_guess && failure.check == Some(CheckId::BuildAttribute) => {
                let resolved = resolve::resolve(self.arguments.target.as_deref(), nix, &self.events).await?;
                if resolved == target {
                    return Err(failure);
                }
                let evaluated = nix::evaluate(&resolved, nix, vm_only, &self.events).await?;
                Ok((resolved, evaluated))
            }
            evaluated => evaluated.map(|evaluated| (target, evaluated)),
        }
    }

    /// What came of it.
    fn outcome(mut self, done: Result<()>, clock: Instant) -> Outcome {
        if let Err(failure) = done {
            self.failed(&failure);
        }
        self.report.seconds = clock.elapsed().as_secs_f64();
        Outcome { report: self.report, artifacts: self.artifacts, cache: self.cache }
    }

    /// The first part of a run: name and evaluation.
    async fn evaluated(&mut self) -> Result<()> {
        let nix = Nix::new(self.arguments.nix.clone());
        let tree = self.cache.look(self.arguments, &nix);
        if let Some((target, _)) = self.cache.evaluated(tree.as_ref(), &nix, &self.events).await {
            self.named(&target);
            return Ok(());
        }
        let (target, is_guess) = self.target(&nix).await?;
        self.named(&target);
        let (target, mut evaluated) = self.evaluation(target, is_guess, &nix).await?;
        self.named(&target);
        if let Some(failure) = evaluated.toplevel_failure.take() {
            return Err(failure);
        }
        self.cache.learn(tree, &target, &evaluated, &self.events);
        Ok(())
    }

    async fn go(&mut self) -> Result<()> {
        let interrupt = self.interrupt.clone();
        let step = tokio::select! {
            // Dropping it ends the nix that runs.
            step = self.prepare() => step?,
            () = interrupt.orderly() => return Err(Failure::interrupted()),
        };
        self.conclude(step).await
    }

    /// The machine's part of a run.
    async fn conclude(&mut self, step: Step) -> Result<()> {
        let prepared = match step {
            Step::Ready(prepared) => prepared,
            Step::Known(known) => return self.known(*known),
        };
        let mut restarts = 0;
        let seen = loop {
            // A machine that is started again finds nothing of the last one; what was built is held by the first's.
            let again = if restarts > 0 { Some(RunDir::create()?) } else { None };
            match self.attempt(&prepared, again.as_ref()).await? {
                Attempt::Seen(seen) => break seen,
                Attempt::Crashed(failure) if restarts == RESTARTS => return Err(failure),
                Attempt::Crashed(failure) => {
                    restarts += 1;
                    self.events.note(format!("started the machine again: {}", failure.what));
                }
            }
        };
        if let Some(info) = &mut self.report.machine {
            info.systemd = seen.systemd;
        }
        self.judged(seen.judgement);
        if self.report.verdict == Verdict::Pass {
            self.report.apply = self.apply(&prepared.target, &prepared.nix).await;
        }
        Ok(())
    }

    /// Everything up to the machine: name, evaluation, build, and what this host can do. Or a verdict that is known.
    async fn prepare(&mut self) -> Result<Step> {
        let arguments = self.arguments;
        // What the user wrote is looked at before anything that takes time.
        let named = arguments.config.as_deref().map(|path| config::load(Some(path), None)).transpose()?;
        let expected = arguments.expectations.as_deref().map(nix::expectations_in).transpose()?;
        let mut nix = Nix::new(arguments.nix.clone());
        let launcher = jail::launcher();
        let wish_of = |settings: &Settings| settings.machine.accel.unwrap_or_default();
        let tree = self.cache.look(arguments, &nix);
        if let Some((target, remembered)) = self.cache.evaluated(tree.as_ref(), &nix, &self.events).await {
            let asked = self.asked(named.as_ref(), &target, &remembered.evaluated.expectations)?;
            if let Some(accel) = self.cache.accelerator(wish_of(&asked.settings))
                && let Some(mut known) = self.recall(&target, &nix, &remembered.evaluated, &asked, accel)
            {
                self.named(&target);
                known.apply = remembered.apply;
                if known.verdict == Verdict::Pass && known.apply.is_none() {
                    known.apply = nix::apply_command(&target, &nix).await;
                }
                return Ok(Step::Known(Box::new(known)));
            }
        }

        let (target, is_guess) = phase(&self.events, Phase::Resolve, self.target(&nix)).await?;
        self.named(&target);
        let opened = Artifacts::open(
            arguments.artifacts.as_deref(),
            target.dir(),
            state_directory().as_deref(),
            &target.name(),
            SystemTime::now(),
        )?;
        opened.notes.into_iter().for_each(|note| self.events.note(note));
        self.artifacts = opened.artifacts;
        if let Some(artifacts) = &self.artifacts {
            nix = nix.log_to(artifacts.file(artifact::NIX_LOG));
        }

        // Before the evaluation, for what the user wrote.
        let wish = wish_of(&self.asked(named.as_ref(), &target, &Expectations::default())?.settings);
        let (evaluated, accel, jail) = phase(&self.events, Phase::Evaluate, async {
            tokio::join!(self.evaluation(target, is_guess, &nix), accel::choose(wish, &launcher), self.jail(&launcher),)
        })
        .await;
        let (target, mut evaluated) = evaluated?;
        self.named(&target);
        if let Some(expected) = expected {
            evaluated.expectations = expected;
        }
        let (accel, reason) = accel?;
        let jail = jail?;
        self.cache.proven(wish, accel);
        self.cache.learn(tree, &target, &evaluated, &self.events);
        let asked = self.asked(named.as_ref(), &target, &evaluated.expectations)?;
        if let Some(known) = self.recall(&target, &nix, &evaluated, &asked, accel) {
            return self.applicable(known, &target, &nix).await;
        }
        if wish == AccelChoice::Auto
            && let Some(reason) = &reason
        {
            self.events.note(format!("runs under {}: {reason}", accel.name()));
        }
        let run_dir = RunDir::create()?;
        let built = phase(&self.events, Phase::Build, async {
            nix::build(&target, evaluated, &nix, run_dir.path(), &self.events).await
        })
        .await?;
        let given =
            Given { target, nix, built, accel, accel_reason: reason, jail, processors: processors(1), reference: None };
        self.ready(given, asked, run_dir).await
    }

    /// What is needed to start a machine of what was built, or the verdict of a former run.
    async fn ready(&mut self, given: Given, asked: Asked, run_dir: RunDir) -> Result<Step> {
        let Given { target, nix, mut built, accel, accel_reason: reason, jail, processors, .. } = given;
        let Asked { settings, plan } = asked;
        self.report.target.drv_path = built.drv_path.clone();
        self.report.target.runner = Some(built.runner.display().to_string());
        self.report.target.toplevel = built.toplevel.as_ref().map(|path| path.display().to_string());
        if let Some(failure) = built.toplevel_failure.take() {
            // The VM may well boot, but this is what would be switched to.
            return Err(failure);
        }
        let transport = self.transport(&settings);
        let (runner, store, toplevel) = (&built.runner, &built.store, built.toplevel_drv.as_deref());
        let tested = Tested { runner, store, toplevel, plan: &plan, accel, transport };
        if let Some(known) = self.cache.built(&target, tested, &self.events).await? {
            return self.applicable(known, &target, &nix).await;
        }
        self.report.machine = Some(MachineInfo {
            accelerator: accel,
            accelerator_reason: reason,
            transport,
            jail,
            memory_mib: 0,
            cores: 0,
            network: settings.machine.network.unwrap_or_default(),
            systemd: None,
            qemu: None,
        });
        let mut prepared =
            Prepared { target, nix, built, settings, plan, accel, jail, processors, run_dir, stage: None };
        if let Some(demo) = &self.demo {
            prepared.stage = Some(demo.stage(&prepared.built.runner, &prepared.jail_options()).await);
        }
        Ok(Step::Ready(Box::new(prepared)))
    }

    /// Says in the report what is tested.
    fn named(&mut self, target: &Target) {
        self.report.target.name = self.arguments.name.clone().unwrap_or_else(|| target.name());
        self.report.target.resolved = target.resolved();
    }

    /// What is asked of a target, by `nixbox.toml` and the flags.
    fn asked(&self, named: Option<&Config>, target: &Target, expectations: &Expectations) -> Result<Asked> {
        let told = self.arguments.expectations.is_some() || self.arguments.name.is_some();
        if told && !matches!(target, Target::Runner { .. }) {
            return Err(Failure::usage(format!("{} says itself what it is called and expectations", target.name()))
                .hint("--expectations and --name are for a runner: a store path or a script"));
        }
        let beside;
        let config = match named {
            Some(config) => config,
            None => {
                beside = config::load(None, target.dir())?;
                &beside
            }
        };
        let settings = self.settings(config, target);
        let scripts = settings.scripts.keys().map(String::as_str);
        let mut selection = Selection::new(&self.arguments.only, &self.arguments.skip, scripts)?;
        if self.demo.is_some() {
            selection = selection.without(Demo::skipped());
        }
        let plan = checks::plan(expectations, &settings, &selection);
        Ok(Asked { settings, plan })
    }

    /// The verdict of a former run, before anything is built.
    fn recall(
        &self,
        target: &Target,
        nix: &Nix,
        evaluated: &nix::Evaluated,
        asked: &Asked,
        accel: Accel,
    ) -> Option<Report> {
        if evaluated.toplevel_failure.is_some() {
            return None;
        }
        let (runner, store) = nix::runner_of(target, evaluated, nix)?;
        let toplevel = evaluated.toplevel.as_ref().map(|toplevel| toplevel.drv_path.as_str());
        let transport = self.transport(&asked.settings);
        self.cache.recall(Tested { runner: &runner, store: &store, toplevel, plan: &asked.plan, accel, transport })
    }

    /// A verdict that is known, with the command that applies what was tested.
    async fn applicable(&mut self, mut known: Report, target: &Target, nix: &Nix) -> Result<Step> {
        if known.verdict == Verdict::Pass {
            known.apply = self.apply(target, nix).await;
        }
        Ok(Step::Known(Box::new(known)))
    }

    /// The command that applies what was tested.
    async fn apply(&self, target: &Target, nix: &Nix) -> Option<String> {
        match &self.reference {
            Some(reference) => nix::apply_command_from(target, reference, nix),
            None => nix::apply_command(target, nix).await,
        }
    }

    /// Takes over the verdict of a former run.
    fn known(&mut self, known: Report) -> Result<()> {
        // Its evidence lies where it was; one more directory would push that of other runs out. Who named a place finds
        // the report there.
        match &self.arguments.artifacts {
            None => {
                if let Some(artifacts) = self.artifacts.take() {
                    artifacts.discard();
                }
            }
            Some(named) if self.artifacts.is_none() => {
                let name = &self.report.target.name;
                self.artifacts = Artifacts::open(Some(named), None, None, name, SystemTime::now())?.artifacts;
            }
            Some(_) => {}
        }
        let report = &mut self.report;
        let (target, started) = (std::mem::take(&mut report.target), std::mem::take(&mut report.started));
        *report = known;
        report.target.name = target.name;
        report.target.resolved = target.resolved;
        report.started = started;
        report.phases = Vec::new();
        report.artifacts = report.artifacts.take().filter(|directory| directory.is_dir());
        Ok(())
    }

    /// `nixbox.toml`, with the flags on top.
    fn settings(&self, config: &Config, target: &Target) -> Settings {
        let arguments = self.arguments;
        let host = target.host().map(|_| target.name()).or_else(|| arguments.name.clone()).unwrap_or_default();
        let mut settings = config.settings_for(&host);
        let machine = &mut settings.machine;
        machine.accel = arguments.accel.or(machine.accel);
        machine.memory = arguments.memory.or(machine.memory);
        machine.cores = arguments.cores.map(config::Cores).or(machine.cores);
        let usual = self.demo.as_ref().map(|_| NetworkPolicy::User);
        machine.network = arguments.network.or(machine.network).or(usual);
        machine.timeout = arguments.timeout.map(config::Time).or(machine.timeout);
        machine.transport = arguments.transport.or(machine.transport);
        settings
    }

    /// The best jail there is; a person is told when it is none.
    ///
    /// # Errors
    /// Exit 5 where an agent asks and there is none: who may only edit files must not gain a command on this host.
    async fn jail(&self, launcher: &std::path::Path) -> Result<JailKind> {
        if self.arguments.no_jail {
            self.events.note("the flake's runner runs without a jail, as --no-jail says");
            return Ok(JailKind::None);
        }
        let probe = jail::probe(launcher).await;
        if probe.kind == JailKind::None && self.arguments.for_agent.is_some() {
            return Err(Failure::host("this host has no jail for the flake's runner, which an agent may have written")
                .why(probe.reason.unwrap_or_default())
                .hint("`nixbox doctor` says what is missing; --no-jail in the hook's own settings goes without"));
        }
        if probe.kind != JailKind::Namespaces {
            let reason = probe.reason.unwrap_or_default();
            self.events.note(match probe.kind {
                JailKind::None => format!("the flake's runner runs without a jail: {reason}"),
                _ => format!("the flake's runner runs under Landlock only: {reason}"),
            });
        }
        Ok(probe.kind)
    }

    /// The way into the guest: what was asked for, else vsock where its daemon is.
    fn transport(&self, settings: &Settings) -> TransportKind {
        settings.machine.transport.unwrap_or_else(|| {
            if cfg!(target_os = "linux") && find_program(crate::machine::VSOCK_DAEMON).is_some() {
                TransportKind::VhostUser
            } else {
                TransportKind::VirtioSerial
            }
        })
    }

    /// Starts the machine, waits for it, looks into it, ends it.
    /// In the first's run directory, or `again` in another.
    async fn attempt(&mut self, prepared: &Prepared, again: Option<&RunDir>) -> Result<Attempt> {
        let run_dir = again.unwrap_or(&prepared.run_dir);
        let Prepared { settings, plan, accel, .. } = prepared;
        let transport = self.transport(settings);
        let token = Token::random().map_err(|error| Failure::host("no random numbers on this host").why(error))?;
        let (mut spec, limit) = self.spec(prepared, run_dir, transport, &token);
        let memory_mib = spec.memory_mib;
        let no_router = spec.network == NetworkPolicy::Off && spec.restrict;
        if let Some(info) = &mut self.report.machine {
            info.memory_mib = memory_mib;
            info.cores = spec.cores;
        }
        let mut jail = prepared.jail_options();
        if let (Some(demo), Some(stage)) = (&self.demo, &prepared.stage) {
            demo.restore(run_dir)?;
            let devices = demo.devices(stage, run_dir.path())?;
            spec.extra.extend(devices.arguments);
            spec.variables.extend(devices.environment);
            spec.nodes.extend(devices.nodes);
            jail.read_only.extend(devices.shows);
            devices.told.into_iter().for_each(|told| self.events.note(told));
        }
        let boot_clock = Instant::now();
        self.events.send(Event::Started(Phase::Boot));
        let WayIn { channel, serial } = self.channel(transport, run_dir.path())?;
        let (notifications, listener) = notify::listen(Arc::clone(&channel));
        let artifacts = self.artifacts.as_ref().map(|artifacts| artifacts.path().to_owned());
        let interrupt = self.interrupt.clone();
        let started = tokio::select! {
            machine = Machine::start(spec, &jail, &self.events, artifacts.as_deref()) => machine,
            () = interrupt.orderly() => Err(Failure::interrupted()),
        };
        let mut machine = started.inspect_err(|_| listener.abort())?;
        if let Some(info) = &mut self.report.machine {
            info.qemu = Some(machine.qemu_version().to_owned());
        }
        for opening in machine.openings() {
            self.events.note(format!("the runner {opening}"));
        }
        if let Some(serial) = serial {
            serial.connect().await.map_err(|error| Failure::host("QEMU's serial ports do not answer").why(error))?;
        }
        let guest = Guest::new(channel, token);
        let recorder = plan.desktop().map(|_| ScreenRecorder::start(machine.screen().clone()));

        let boot = boot::Boot {
            notifies: transport != TransportKind::VirtioSerial,
            limit,
            may_stall: again.is_none(),
            accel: *accel,
            events: &self.events,
        };
        let mut background = JoinSet::new();
        let come_up = tokio::select! {
            come_up = boot.wait(&mut machine, notifications, &guest, &mut background) => Ok(come_up),
            () = interrupt.orderly() => Err(Failure::interrupted()),
        };
        self.events.send(Event::Ended(Phase::Boot, boot_clock.elapsed()));
        let attempt = match come_up {
            Err(failure) => Err(failure),
            Ok(boot::ComeUp::Crashed(failure)) => Ok(Attempt::Crashed(failure)),
            Ok(boot::ComeUp::Host(failure)) => Err(failure),
            Ok(come_up) => {
                let look = probe::Probe {
                    plan,
                    accel: *accel,
                    memory_mib,
                    no_router,
                    events: &self.events,
                    artifacts: self.artifacts.as_ref(),
                    recorder: recorder.as_ref(),
                    person: self.demo.is_some(),
                };
                let looked = phase(&self.events, Phase::Check, async {
                    tokio::select! {
                        seen = look.at(&mut machine, &guest, come_up) => seen.map(Attempt::Seen),
                        () = interrupt.orderly() => Err(Failure::interrupted()),
                    }
                })
                .await;
                match looked {
                    Err(failure) if boot::is_lost(&failure) => Ok(Attempt::Crashed(failure)),
                    looked => looked,
                }
            }
        };
        if let Ok(Attempt::Seen(probe::Probed { painted: Some(painted), .. })) = &attempt {
            self.report.painted_to_verdict = Some(painted.elapsed().as_secs_f64());
        }
        if self.arguments.keep && matches!(attempt, Ok(Attempt::Seen(_))) {
            self.keep(&guest, run_dir).await;
        }
        if let (Some(demo), Ok(Attempt::Seen(seen))) = (&self.demo, &attempt) {
            self.present(demo, &mut machine, &guest, &plan.expectations, &seen.judgement.results).await;
        }
        let stopped = phase(&self.events, Phase::Stop, machine.stop()).await;
        listener.abort();
        if !stopped.orderly {
            self.events.note("QEMU did not quit when it was told to, and was killed");
        }
        if let (Some(demo), Ok(Attempt::Seen(_))) = (&self.demo, &attempt)
            && let Some(told) = demo.save(run_dir)?
        {
            self.events.note(told);
        }
        attempt
    }

    /// What the machine is made of, and how long its boot may take.
    fn spec(&self, prepared: &Prepared, run_dir: &RunDir, transport: TransportKind, token: &Token) -> (Spec, Duration) {
        let machine = &prepared.settings.machine;
        let expectations = &prepared.plan.expectations;
        let mut spec = Spec::new(&prepared.built.runner, run_dir.path());
        // A desktop on one emulated processor is up before its graphics card's driver is, and falls with what was there.
        let ours = if expectations.desktop.is_some() { processors(1) } else { prepared.processors };
        // NixOS's default of one is not told apart from a one that was written: more is no less than was asked for.
        let usual = expectations.cores.unwrap_or(1).max(ours);
        spec.cores = machine.cores.map_or(usual, |cores| cores.0);
        spec.memory_mib = memory_mib(&prepared.settings, expectations);
        if let Some(stage) = &prepared.stage
            && machine.memory.is_none()
        {
            spec.memory_mib = Demo::memory_mib(stage, spec.memory_mib);
        }
        spec.accel = prepared.accel;
        // A demo's sound goes to the person.
        spec.sound = prepared.plan.audio().is_some() && self.demo.is_none();
        spec.microphone = spec.sound && prepared.plan.has(CheckId::AudioMicrophone);
        spec.transport = transport;
        spec.network = machine.network.unwrap_or_default();
        spec.restrict = prepared.jail != JailKind::Namespaces;
        spec.credentials = credentials(transport, token);
        let limit = if prepared.accel == Accel::Tcg { BOOT_LIMIT_TCG } else { BOOT_LIMIT };
        (spec, machine.timeout.map_or(limit, |time| time.0))
    }

    /// The way into the guest.
    fn channel(&self, transport: TransportKind, run_dir: &std::path::Path) -> Result<WayIn> {
        let failed = |error: std::io::Error| Failure::host("the way into the guest cannot be made").why(error);
        Ok(match transport {
            TransportKind::VhostUser => {
                WayIn { channel: Arc::new(VhostUser::new(run_dir).map_err(failed)?), serial: None }
            }
            TransportKind::VirtioSerial => {
                let serial = Arc::new(VirtioSerial::new(run_dir));
                WayIn { channel: serial.clone(), serial: Some(serial) }
            }
            #[cfg(target_os = "linux")]
            TransportKind::Vsock => WayIn {
                channel: Arc::new(crate::transport::Vsock::new(crate::model::GUEST_CID).map_err(failed)?),
                serial: None,
            },
            #[cfg(not(target_os = "linux"))]
            TransportKind::Vsock => {
                return Err(Failure::host("only Linux has vsock").hint("use --transport virtio-serial"));
            }
        })
    }

    /// `--keep`: leaves the machine up until Ctrl-C.
    async fn keep(&self, guest: &Guest, run_dir: &RunDir) {
        let socket = run_dir.file(run_file::KEPT_SHELL);
        match guest.serve_shell(&socket) {
            Ok(served) => {
                self.events.note(format!(
                    "the machine stays up: `socat - UNIX-CONNECT:{}` is a root shell in it; Ctrl-C ends it",
                    socket.display()
                ));
                self.interrupt.orderly().await;
                drop(served);
            }
            Err(error) => self.events.note(format!("the machine could not be kept: {error}")),
        }
    }

    /// The checks' verdict becomes the report's.
    fn judged(&mut self, judgement: Judgement) {
        checks::verdict(&judgement.results).decide(&mut self.report);
        for check in &judgement.results {
            self.events.send(Event::Check(check.clone()));
        }
        self.report.checks = judgement.results;
        self.report.not_tested = judgement.not_tested;
    }

    /// A failure that ended the run; where it stands for a check, that check is listed.
    fn failed(&mut self, failure: &Failure) {
        failure.decide(&mut self.report);
        if let Some(id) = &failure.check {
            let mut check = CheckResult::new(id.clone(), Status::Fail, failure.what.clone());
            check.detail = failure.why.iter().flat_map(|why| why.lines()).map(str::to_owned).collect();
            check.hint.clone_from(&failure.hint);
            self.report.checks.push(check);
        }
    }
}

/// A machine's memory in MiB: as it was asked for, or configured. NixOS's default is too little for most desktops, and is
/// not told apart from the same that was written: more is no less than was asked for.
fn memory_mib(settings: &Settings, expectations: &Expectations) -> u64 {
    let configured = expectations.memory_mib.unwrap_or_else(|| Spec::new("", "").memory_mib);
    let usual = if expectations.desktop.is_some() { configured.max(DESKTOP_MIB) } else { configured };
    settings.machine.memory.map_or(usual, |memory| memory.0)
}

/// How many virtual processors each of so many machines at once gets, where nobody wants more of them: its share of this
/// host's. Machines that together have more of them than this host wait for each other's locks: two of two took twice as
/// long on two cores as two of one.
pub fn processors(at_once: usize) -> u32 {
    let host = std::thread::available_parallelism().map_or(1, usize::from);
    (host / at_once.max(1)).clamp(1, PROCESSORS) as u32
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
    use crate::nix::expectations::ExpectedDesktop;

    #[test]
    fn a_desktop_has_room() {
        let memory = |toml: &str, configured: Option<u64>, desktop: bool| {
            let settings = Config::parse(toml, "nixbox.toml").unwrap().settings_for("box");
            let desktop = desktop.then(ExpectedDesktop::default);
            memory_mib(&settings, &Expectations { memory_mib: configured, desktop, ..Expectations::default() })
        };
        assert_eq!(memory("", None, false), 1024);
        assert_eq!(memory("", Some(512), false), 512);
        assert_eq!(memory("", Some(1024), true), DESKTOP_MIB);
        assert_eq!(memory("", Some(4096), true), 4096);
        assert_eq!(memory("[machine]\nmemory = \"1GiB\"", Some(4096), true), 1024);
    }

    #[test]
    fn processors_are_shared() {
        let host = std::thread::available_parallelism().map_or(1, usize::from);
        assert_eq!(processors(1) as usize, host.min(PROCESSORS));
        assert_eq!(processors(0), processors(1));
        assert_eq!(processors(host), 1);
        assert_eq!(processors(host * 10), 1);
    }
}
