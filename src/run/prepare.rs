//! Everything up to the machine: name, evaluation, build, and what this host can do; or a result that is cached.

use std::time::SystemTime;

use super::demo;
use super::many::Given;
use super::request::{Purpose, ResolvedRequest, transport};
use super::{DISK_MIB, Run, phase, processors};
use crate::artifacts::Artifacts;
use crate::cache::TestInputs;
use crate::config::Settings;
use crate::failure::{Failure, Result};
use crate::judging::Plan;
use crate::machine::{JailOptions, RunDir, accel, jail};
use crate::model::{Accel, AccelChoice, CheckId, JailKind, MachineInfo, Phase, Report, STORE_DIR, Verdict, artifact};
use crate::nix::expectations::Expectations;
use crate::nix::{self, Built, Nix, Target};
use crate::paths::state_directory;
use crate::resolve::{self, BaselineChoice};

/// What comes of preparing.
pub(super) enum Step {
    /// The verdict is known already.
    Known(Box<Report>),
    /// A machine is to be started.
    Ready(Box<Prepared>),
}

/// What is known before anything is started.
pub(super) struct Prepared {
    pub(super) target: Target,
    pub(super) nix: Nix,
    pub(super) built: Built,
    pub(super) settings: Settings,
    pub(super) plan: Plan,
    pub(super) accel: Accel,
    pub(super) jail: JailKind,
    pub(super) processors: u32,
    pub(super) run_dir: RunDir,
    /// What there is to show it with, in a demo.
    pub(super) host_display: Option<demo::HostDisplay>,
    /// The flake's reference for the command that applies what was tested, where it is known.
    pub(super) reference: Option<String>,
}

impl Prepared {
    /// How the runner is jailed.
    pub(super) fn jail_options(&self) -> JailOptions {
        JailOptions {
            kind: self.jail,
            store: self.built.store.physical(std::path::Path::new(STORE_DIR)),
            disk_limit: (self.plan.expectations.disk_mib.unwrap_or(DISK_MIB) + 1024) << 20,
            ..JailOptions::default()
        }
    }
}

impl Run<'_> {
    /// The first part of a run: name and evaluation.
    pub(super) async fn evaluated(&mut self) -> Result<()> {
        let nix = Nix::new(self.request.arguments.nix.clone());
        let tree = self.cache.snapshot(self.request.arguments, &nix);
        if let Some((target, _)) = self.cache.evaluated(tree.as_ref(), &nix, &self.events).await {
            self.named(&target);
            return Ok(());
        }
        let (target, is_guess) = self.target(&nix).await?;
        self.named(&target);
        let (target, evaluated) = self.evaluation(target, is_guess, &nix).await?;
        self.named(&target);
        self.cache.record_evaluation(tree, &target, &evaluated, &self.events);
        Ok(())
    }

    /// Everything up to the machine: name, evaluation, build, and what this host can do. Or a verdict that is known.
    pub(super) async fn prepare(&mut self) -> Result<Step> {
        let arguments = self.request.arguments;
        // What the user wrote is looked at before anything that takes time.
        let named = self.request.named_config()?;
        let expected = arguments.expectations.as_deref().map(nix::expectations::from_file).transpose()?;
        let mut nix = Nix::new(arguments.nix.clone());
        let launcher = jail::launcher();
        let wish_of = |settings: &Settings| settings.machine.accel.unwrap_or_default();
        let tree = self.cache.snapshot(arguments, &nix);
        if let Some((target, remembered)) = self.cache.evaluated(tree.as_ref(), &nix, &self.events).await {
            self.choose_baseline(&target, &nix)?;
            let asked = self.request.asked(named.as_ref(), &target, &remembered.evaluated.expectations)?;
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
        self.choose_baseline(&target, &nix)?;
        let opened = Artifacts::open(
            arguments.files.artifacts.as_deref(),
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
        let wish = wish_of(&self.request.asked(named.as_ref(), &target, &Expectations::default())?.settings);
        let (evaluated, accel, jail) = phase(&self.events, Phase::Evaluate, async {
            tokio::join!(
                self.evaluation(target, is_guess, &nix),
                accel::choose(wish, &launcher),
                self.request.jail(&launcher, &self.events),
            )
        })
        .await;
        let (target, mut evaluated) = evaluated?;
        self.named(&target);
        if let Some(expected) = expected {
            evaluated.expectations = expected;
        }
        let (accel, reason) = accel?;
        let jail = jail?;
        self.cache.record_accelerator(wish, accel);
        self.cache.record_evaluation(tree, &target, &evaluated, &self.events);
        let asked = self.request.asked(named.as_ref(), &target, &evaluated.expectations)?;
        if let Some(known) = self.recall(&target, &nix, &evaluated, &asked, accel) {
            return self.applicable(known, &target, &nix, None).await;
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

    /// What is named for comparison is looked at before anything that takes time.
    pub(super) fn choose_baseline(&mut self, target: &Target, nix: &Nix) -> Result<()> {
        self.choose_switch(target)?;
        if self.switch_from.is_some() {
            // The checks before the switch are what those after it are held against.
            return Ok(());
        }
        let arguments = self.request.arguments;
        let choice = arguments.baseline.choice.clone().unwrap_or_default();
        self.baseline = resolve::baseline(&choice, target)?.map(|baseline| (baseline, target.clone(), nix.clone()));
        Ok(())
    }

    /// What is switched from, where a switch is to be rehearsed.
    pub(super) fn choose_switch(&mut self, target: &Target) -> Result<()> {
        let arguments = self.request.arguments;
        let Some(from) = &arguments.switch.from else { return Ok(()) };
        if arguments.baseline.choice.as_ref().is_some_and(|choice| *choice != BaselineChoice::Off) {
            return Err(Failure::usage("--switch and --baseline both name a configuration: give only one of them")
                .hint("the target is compared with what it is switched from"));
        }
        let from = resolve::switch_from(from, target)?;
        if from.revision.is_none() {
            // What another target is may change under its name.
            self.cache.bypass();
        }
        self.switch_from = Some(from);
        Ok(())
    }

    /// What a verdict depends on besides, where a switch is rehearsed.
    fn switch_key(&self) -> Option<String> {
        let revision = self.switch_from.as_ref()?.revision.as_deref()?;
        Some(format!("{revision} {}", self.request.arguments.switch.no_reboot))
    }

    /// What is needed to start a machine of what was built, or the verdict of a former run.
    pub(super) async fn ready(&mut self, given: Given, asked: ResolvedRequest, run_dir: RunDir) -> Result<Step> {
        let Given { target, nix, built, accel, accel_reason: reason, jail, processors, reference } = given;
        let ResolvedRequest { settings, plan } = asked;
        self.report.target.drv_path = built.drv_path.clone();
        self.report.target.runner = Some(built.runner.display().to_string());
        self.report.target.toplevel = built.toplevel.as_ref().map(|path| path.display().to_string());
        let transport = transport(&settings);
        let (runner, store, toplevel) = (&built.runner, &built.store, built.toplevel_drv.as_deref());
        let switch = self.switch_key();
        let tested = TestInputs { runner, store, toplevel, plan: &plan, accel, transport, switch: switch.as_deref() };
        if let Some(known) = self.cache.built(&target, tested, &self.events).await? {
            return self.applicable(known, &target, &nix, reference.as_deref()).await;
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
        let mut prepared = Prepared {
            target,
            nix,
            built,
            settings,
            plan,
            accel,
            jail,
            processors,
            run_dir,
            host_display: None,
            reference,
        };
        if let Purpose::Demo(demo) = &self.request.purpose {
            prepared.host_display = Some(demo.probe_host(&prepared.built.runner, &prepared.jail_options()).await);
        }
        Ok(Step::Ready(Box::new(prepared)))
    }

    /// What the user named; or what that most likely means, which is then a guess.
    async fn target(&self, nix: &Nix) -> Result<(Target, bool)> {
        match resolve::guess(self.request.arguments.target.as_deref(), nix) {
            Some(guess) => Ok((self.with_disks(guess)?, true)),
            None => Ok((self.resolved(nix).await?, false)),
        }
    }

    async fn resolved(&self, nix: &Nix) -> Result<Target> {
        let typed = self.request.arguments.target.as_deref();
        self.with_disks(resolve::resolve(typed, nix, &self.events).await?)
    }

    /// With the disks that were asked for.
    fn with_disks(&self, target: Target) -> Result<Target> {
        if self.request.arguments.disks { target.with_disks() } else { Ok(target) }
    }

    /// Evaluates a target. A guess that was none becomes what the user named.
    async fn evaluation(&self, target: Target, is_guess: bool, nix: &Nix) -> Result<(Target, nix::Evaluated)> {
        let vm_only = self.request.arguments.checks.vm_only;
        match nix::evaluate(&target, nix, vm_only, &self.events).await {
            Err(failure) if is_guess && failure.check == Some(CheckId::BuildAttribute) => {
                let resolved = self.resolved(nix).await?;
                if resolved == target {
                    return Err(failure);
                }
                let evaluated = nix::evaluate(&resolved, nix, vm_only, &self.events).await?;
                Ok((resolved, evaluated))
            }
            evaluated => evaluated.map(|evaluated| (target, evaluated)),
        }
    }

    /// The verdict of a former run, before anything is built.
    pub(super) fn recall(
        &self,
        target: &Target,
        nix: &Nix,
        evaluated: &nix::Evaluated,
        asked: &ResolvedRequest,
        accel: Accel,
    ) -> Option<Report> {
        let (runner, store) = nix::runner_of(target, evaluated, nix)?;
        let toplevel = evaluated.toplevel.as_ref().map(|toplevel| toplevel.drv_path.as_str());
        let transport = transport(&asked.settings);
        let (switch, plan) = (self.switch_key(), &asked.plan);
        let switch = switch.as_deref();
        self.cache.recall(TestInputs { runner: &runner, store: &store, toplevel, plan, accel, transport, switch })
    }

    /// A verdict that is known, with the command that applies what was tested.
    async fn applicable(
        &mut self,
        mut known: Report,
        target: &Target,
        nix: &Nix,
        reference: Option<&str>,
    ) -> Result<Step> {
        if known.verdict == Verdict::Pass {
            known.apply = apply(target, nix, reference).await;
        }
        Ok(Step::Known(Box::new(known)))
    }

    /// Takes over the verdict of a former run.
    pub(super) fn known(&mut self, known: Report) -> Result<()> {
        // Its evidence lies where it was; one more directory would push that of other runs out. Who named a place finds
        // the report there.
        match &self.request.arguments.files.artifacts {
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
}

/// The command that applies what was tested.
pub(super) async fn apply(target: &Target, nix: &Nix, reference: Option<&str>) -> Option<String> {
    match reference {
        Some(reference) => nix::apply_command_from(target, reference, nix),
        None => nix::apply_command(target, nix).await,
    }
}
