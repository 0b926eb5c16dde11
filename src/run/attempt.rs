//! One start of the machine: it is started, waited for, probed and ended.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use super::demo::Demo;
use super::prepare::Prepared;
use super::request::{Purpose, memory_mib, placed};
use super::{Run, boot, check, phase, processors};
use crate::artifacts::Artifacts;
use crate::desktop::drive::ScreenRecorder;
use crate::event::Event;
use crate::failure::{Failure, Result};
use crate::guest::Guest;
use crate::guest::credentials::{Token, credentials, placing};
use crate::guest::notify::{self, Notification};
use crate::judging::Plan;
use crate::machine::{Machine, RunDir, Spec};
use crate::model::timeouts::Timeouts;
use crate::model::{CheckId, JailKind, NetworkPolicy, Phase, TransportKind, run_file};
use crate::transport::{Transport, VhostUser, VirtioSerial};

/// A transport, and for virtio-serial what has to be connected once QEMU is up.
struct OpenTransport {
    transport: Arc<dyn Transport>,
    serial: Option<Arc<VirtioSerial>>,
}

/// How one start of the machine ended.
pub(super) enum Attempt {
    /// Probed, as far as it came.
    Probed(check::Probed),
    /// QEMU crashed before the guest said anything, or its emulation lost a CPU.
    Crashed(Failure),
    /// The guest came up, and did not answer by this transport.
    Silent(TransportKind, Failure),
}

/// A machine that was started, and what is known of it.
pub(super) struct RunningMachine {
    pub(super) machine: Machine,
    pub(super) guest: Guest,
    notifications: mpsc::UnboundedReceiver<Notification>,
    listener: JoinHandle<()>,
    recorder: Option<ScreenRecorder>,
    transport: TransportKind,
    boot_limit: Duration,
    memory_mib: u64,
    no_router: bool,
    began: Instant,
}

impl Run<'_> {
    /// Starts the machine, waits for it, probes it and ends it, in the prepared run directory, or in `again` for a retry.
    pub(super) async fn attempt(
        &mut self,
        prepared: &Prepared,
        again: Option<&RunDir>,
        kind: TransportKind,
    ) -> Result<Attempt> {
        let run_dir = again.unwrap_or(&prepared.run_dir);
        let mut running = Box::pin(self.start(prepared, run_dir, kind)).await?;
        let mut attempt = Box::pin(self.boot_and_probe(prepared, &mut running, again.is_none())).await;
        let mut boots_again = false;
        if let Ok(Attempt::Probed(probed)) = &attempt {
            self.report.painted_to_verdict = probed.painted.map(|painted| painted.elapsed().as_secs_f64());
            match &self.request.purpose {
                Purpose::Verdict if self.request.arguments.keep => self.keep(&running.guest, run_dir).await,
                Purpose::Verdict if self.rehearsing.is_some() => {
                    match Box::pin(self.rehearse_on(prepared, &mut running, probed)).await {
                        Ok(again) => boots_again = again,
                        Err(failure) => attempt = Err(failure),
                    }
                }
                Purpose::Verdict => boots_again = self.boots_again(probed),
                Purpose::Demo(demo) => {
                    let RunningMachine { machine, guest, .. } = &mut running;
                    self.present(demo, machine, guest, &prepared.plan.expectations, &probed.judgement.results).await;
                }
            }
        }
        let off = if boots_again { Some(self.power_off(prepared, &mut running).await) } else { None };
        let stopped = phase(&self.events, Phase::Stop, running.machine.stop()).await;
        running.listener.abort();
        if !stopped.orderly {
            self.events.note("QEMU did not quit when it was told to, and was killed");
        }
        if let (Purpose::Demo(demo), Ok(Attempt::Probed(_))) = (&self.request.purpose, &attempt)
            && let Some(saved) = demo.save(run_dir)?
        {
            self.events.note(saved);
        }
        match off {
            Some(Ok(())) => self.hand_over_disk(run_dir)?,
            // What was seen of the switch until then is not lost for it.
            Some(Err(failure)) if self.rehearsing.is_some() && !failure.is_interruption() => {
                self.not_powered_off = Some(failure);
            }
            Some(Err(failure)) => return Err(failure),
            None => {}
        }
        attempt
    }

    async fn start(&mut self, prepared: &Prepared, run_dir: &RunDir, kind: TransportKind) -> Result<RunningMachine> {
        let token = Token::random().map_err(|error| Failure::host("no random numbers on this host").because(error))?;
        let (mut spec, boot_limit) = self.spec(prepared, run_dir, kind, &token);
        let memory_mib = spec.memory_mib;
        let no_router = spec.network == NetworkPolicy::Off && spec.restrict;
        if let Some(info) = &mut self.report.machine {
            (info.memory_mib, info.cores) = (memory_mib, spec.cores);
        }
        let mut jail = prepared.jail_options();
        if let (Purpose::Demo(demo), Some(host)) = (&self.request.purpose, &prepared.host_display) {
            demo.restore(run_dir)?;
            demo.add_devices(host, run_dir, &mut spec, &mut jail, &self.events)?;
        }
        let began = Instant::now();
        self.events.send(Event::Started(Phase::Boot));
        let OpenTransport { transport, serial } = open(kind, run_dir.path())?;
        let (notifications, listener) = notify::listen(Arc::clone(&transport));
        let artifacts = self.artifacts.as_ref().map(|artifacts| artifacts.path().to_owned());
        let start = Machine::start(spec, &jail, &self.events, artifacts.as_deref());
        let machine = self.interrupt.guard(start).await.inspect_err(|_| listener.abort())?;
        if let Some(info) = &mut self.report.machine {
            info.qemu = Some(machine.qemu_version().to_owned());
        }
        for opening in machine.openings() {
            self.events.note(format!("the runner {opening}"));
        }
        if let Some(serial) = serial {
            serial
                .connect()
                .await
                .map_err(|error| Failure::host("QEMU's serial ports do not answer").because(error))?;
        }
        Ok(RunningMachine {
            guest: Guest::new(transport, token),
            notifications,
            listener,
            recorder: self
                .plans(prepared)
                .find_map(|plan| plan.desktop())
                .map(|_| ScreenRecorder::start(machine.screen().clone())),
            machine,
            transport: kind,
            boot_limit,
            memory_mib,
            no_router,
            began,
        })
    }

    async fn boot_and_probe(
        &self,
        prepared: &Prepared,
        running: &mut RunningMachine,
        is_first: bool,
    ) -> Result<Attempt> {
        let boot = boot::Boot {
            notifies: running.transport != TransportKind::VirtioSerial,
            limit: running.boot_limit,
            may_stall: is_first,
            accel: prepared.accel,
            events: &self.events,
        };
        let mut background = JoinSet::new();
        let RunningMachine { machine, guest, notifications, .. } = &mut *running;
        let wait = async { Ok(boot.wait(machine, notifications, guest, &mut background).await) };
        let come_up = self.interrupt.guard(wait).await;
        self.events.send(Event::Ended(Phase::Boot, running.began.elapsed()));
        let come_up = match come_up? {
            boot::ComeUp::Crashed(failure) => return Ok(Attempt::Crashed(failure)),
            boot::ComeUp::Host(failure) => return Err(failure),
            boot::ComeUp::Silent(failure) => return Ok(Attempt::Silent(running.transport, failure)),
            come_up => come_up,
        };
        let rehearsed = self.rehearsing.as_ref().map(|_| 0);
        let probed = self.interrupt.guard(self.probe(prepared, running, self.artifacts.as_ref(), come_up, rehearsed));
        match phase(&self.events, Phase::Check, probed).await {
            Err(failure) if boot::is_lost(&failure) => Ok(Attempt::Crashed(failure)),
            Err(failure) if boot::is_closed(&failure) => Ok(Attempt::Silent(running.transport, failure)),
            probed => probed.map(Attempt::Probed),
        }
    }

    /// Probes what runs, and judges it by the plan of what was prepared, which may be another than it was booted for.
    pub(super) async fn probe(
        &self,
        prepared: &Prepared,
        running: &mut RunningMachine,
        artifacts: Option<&Artifacts>,
        come_up: boot::ComeUp,
        rehearsed_since_us: Option<u64>,
    ) -> Result<check::Probed> {
        let probe = check::Probe {
            plan: &prepared.plan,
            accel: prepared.accel,
            memory_mib: running.memory_mib,
            no_router: running.no_router,
            events: &self.events,
            artifacts,
            recorder: running.recorder.as_ref(),
            is_demo: matches!(self.request.purpose, Purpose::Demo(_)),
            rehearsed_since_us,
        };
        // On the heap: what all its steps hold at once is more than a debug build's stack.
        Box::pin(probe.at(&mut running.machine, &running.guest, come_up)).await
    }

    /// What the machine is made of, and how long its boot may take.
    fn spec(&self, prepared: &Prepared, run_dir: &RunDir, transport: TransportKind, token: &Token) -> (Spec, Duration) {
        let machine = &prepared.settings.machine;
        let expectations = &prepared.plan.expectations;
        let mut spec = Spec::new(&prepared.built.runner, run_dir.path());
        // With one emulated CPU a desktop starts before its graphics driver has loaded, and fails for want of it.
        let ours = if expectations.desktop.is_some() { processors(1) } else { prepared.processors };
        // An explicit 1 cannot be told from NixOS's default of 1, so both are raised: nobody gets less than asked for.
        let usual = expectations.cores.unwrap_or(1).max(ours);
        spec.cores = machine.cores.map_or(usual, |cores| cores.0);
        let memory = |prepared: &Prepared| memory_mib(&prepared.settings, &prepared.plan.expectations);
        let of_target = self.rehearsing.as_ref().map_or(0, |rehearsing| memory(rehearsing.target()));
        spec.memory_mib = memory(prepared).max(of_target);
        if let Some(host) = &prepared.host_display
            && machine.memory.is_none()
        {
            spec.memory_mib = Demo::memory_mib(host, spec.memory_mib);
        }
        spec.accel = prepared.accel;
        // A demo's sound goes to the user.
        spec.sound =
            self.plans(prepared).any(|plan| plan.audio().is_some()) && matches!(self.request.purpose, Purpose::Verdict);
        spec.microphone = spec.sound && self.plans(prepared).any(|plan| plan.has(CheckId::AudioMicrophone));
        spec.transport = transport;
        spec.network = machine.network.unwrap_or_default();
        spec.restrict = prepared.jail != JailKind::Namespaces;
        spec.credentials = credentials(transport, token);
        spec.credentials.extend(placing(&placed(&prepared.settings, expectations, &self.events)));
        spec.extra.extend(self.qemu_options.iter().cloned());
        let limit = machine.timeout.map_or_else(|| Timeouts::of(prepared.accel).boot(), |time| time.0);
        (spec, limit)
    }

    /// What is to be checked on the machine: of what it boots, and of what it switches to.
    fn plans<'p>(&'p self, prepared: &'p Prepared) -> impl Iterator<Item = &'p Plan> {
        let target = self.rehearsing.as_ref().map(|rehearsing| &rehearsing.target().plan);
        std::iter::once(&prepared.plan).chain(target)
    }

    /// `--keep`: leaves the machine up until Ctrl-C.
    async fn keep(&self, guest: &Guest, run_dir: &RunDir) {
        let socket = run_dir.file(run_file::KEPT_SHELL);
        match guest.serve_shell(&socket) {
            Ok(served) => {
                self.events.note(format!(
                    "the machine stays up: `socat - UNIX-CONNECT:{}` in another terminal is a root shell in it; Ctrl-C here ends it",
                    socket.display()
                ));
                self.interrupt.orderly().await;
                drop(served);
            }
            Err(error) => self.events.note(format!("the machine could not be kept: {error}")),
        }
    }
}

/// Opens the host's side of a transport.
fn open(kind: TransportKind, run_dir: &Path) -> Result<OpenTransport> {
    let failed = |error: std::io::Error| Failure::host(format!("{} cannot be set up", kind.name())).because(error);
    Ok(match kind {
        TransportKind::VhostUser => {
            OpenTransport { transport: Arc::new(VhostUser::new(run_dir).map_err(failed)?), serial: None }
        }
        TransportKind::VirtioSerial => {
            let serial = Arc::new(VirtioSerial::new(run_dir));
            OpenTransport { transport: serial.clone(), serial: Some(serial) }
        }
        #[cfg(target_os = "linux")]
        TransportKind::Vsock => OpenTransport {
            transport: Arc::new(crate::transport::Vsock::new(crate::model::GUEST_CID).map_err(failed)?),
            serial: None,
        },
        #[cfg(not(target_os = "linux"))]
        TransportKind::Vsock => {
            return Err(Failure::host("only Linux has vsock").hint("use --transport virtio-serial"));
        }
    })
}
