//! From the runner's start to a guest that came up, or to the evidence that it did not.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::checks::{self, BootEnd};
use crate::event::Events;
use crate::failure::Failure;
use crate::guest::Guest;
use crate::guest::notify::Notification;
use crate::idle::IdleDetector;
use crate::judging::contention;
use crate::machine::{Machine, MachineEvent, ShutdownCause, delay, signal_name};
use crate::model::Accel;
use crate::model::timeouts::run::{
    BOOT_IDLE_LIMIT, BOOT_INTERVAL, BOOT_STALL_LIMIT, CONSOLE_DRAIN, HELD_LIMIT, IDLE_LIMIT, READY_LOST_INTERVAL,
    SILENT_AFTER_TARGET, SILENT_AFTER_TARGET_LATE,
};
use crate::text::plain;

/// How many of the console's last lines are searched for messages that nothing follows.
const LAST_LINES: usize = 40;

/// How often in a row PID 1 has to answer that nothing but such services keeps the boot from its end.
const LOOP_READINGS: u32 = 3;

/// What a boot came to.
#[derive(Debug)]
pub(super) enum ComeUp {
    /// PID 1 reports that its first transaction is done: the default target, or emergency mode.
    Up,
    /// The guest did not come up.
    NotUp(NotUp),
    /// It came up as the console shows, and never answered by this transport.
    Silent(Failure),
    /// QEMU crashed before the guest sent anything, or its emulation lost a processor: not the configuration's, and worth
    /// another try.
    Crashed(Failure),
    /// This host, QEMU or the transport to the guest broke.
    Host(Failure),
}

/// A guest that did not come up.
#[derive(Debug)]
pub(super) struct NotUp {
    /// How that showed.
    pub(super) end: BootEnd,
    /// PID 1's last `STATUS=`.
    pub(super) status: Option<String>,
    /// Seconds since the machine ran.
    pub(super) seconds: f64,
    /// The longest time at a stretch in which the guest did nothing, in seconds; `None` where nobody counted.
    pub(super) idle: Option<f64>,
    /// Whether it may answer: it does not in stage 1, where our units are not.
    pub(super) may_answer: bool,
}

/// How an event ends the machine, or the transport to it, before nixbox ended it.
pub(super) fn end_by(event: MachineEvent) -> Option<Result<BootEnd, Failure>> {
    Some(match event {
        MachineEvent::Panicked => Ok(BootEnd::Panicked),
        MachineEvent::Shutdown { cause: ShutdownCause::GuestPanic, .. } => Ok(BootEnd::Panicked),
        MachineEvent::Shutdown { cause: ShutdownCause::GuestReset, .. } => Ok(BootEnd::Reset),
        MachineEvent::Shutdown { by_guest: true, .. } => Ok(BootEnd::PoweredOff),
        MachineEvent::Shutdown { cause: ShutdownCause::HostUi, .. } => Err(Failure {
            what: "the window was closed before the checks were done".to_owned(),
            ..Failure::interrupted()
        }),
        MachineEvent::Shutdown { cause: ShutdownCause::Other(cause), .. } => {
            Err(Failure::host(format!("QEMU shut the machine down: {cause}")))
        }
        MachineEvent::Exited { code, signal, stderr_tail } => {
            let how = match (code, signal) {
                (_, Some(signal)) => format!("was killed by {}", signal_name(signal)),
                (Some(code), None) => format!("ended with exit code {code}"),
                (None, None) => "ended".to_owned(),
            };
            let failure = Failure::host(format!("QEMU {how} while the guest ran"));
            Err(if stderr_tail.is_empty() { failure } else { failure.why(stderr_tail.join("\n")) })
        }
        MachineEvent::VsockDaemonDied { tail } => {
            let failure = Failure::host("the vsock daemon ended: the transport to the guest is lost");
            Err(if tail.is_empty() { failure } else { failure.why(tail.join("\n")) })
        }
        MachineEvent::DiskLimit { why } => {
            Err(Failure::host("the machine was stopped because it filled this host's disk").why(why))
        }
        MachineEvent::IoError { no_space: true } => {
            Err(Failure::host("this host's disk is full: the guest could not write").hint("free some space"))
        }
        MachineEvent::LinkLost => Err(Failure::host("QEMU no longer answers")),
        MachineEvent::IoError { no_space: false }
        | MachineEvent::Paused
        | MachineEvent::Resumed
        | MachineEvent::ConsoleLine(_) => return None,
    })
}

/// Waits until the machine or the transport to it has ended. Cancelling it loses nothing.
pub(super) async fn gone(machine: &mut Machine, accel: Accel) -> Result<BootEnd, Failure> {
    let mut glance = tokio::time::interval(BOOT_INTERVAL);
    loop {
        tokio::select! {
            event = machine.next_event() => {
                if let Some(end) = end_by(event) {
                    return end;
                }
            }
            _ = glance.tick() => {
                if let Some(failure) = lost_processor(&machine.console().tail(LAST_LINES), accel) {
                    return Err(failure);
                }
            }
        }
    }
}

/// The failure of a machine whose console reports that one of its processors stands still. Multi-threaded TCG loses a wake-up once
/// in some hundred boots on a busy host, and the processor sleeps for good. (A configuration could bring a kernel that loses
/// its processors; what is emulated shows nothing of that.)
fn lost_processor(console: &[String], accel: Accel) -> Option<Failure> {
    let line = checks::lost_processor(console).filter(|_| accel.is_emulated())?;
    Some(Failure::host(LOST).why(plain(line, 200)).hint("try again: this happens occasionally on busy hosts"))
}

const LOST: &str = "one of the VM's CPUs has stopped: QEMU's emulation lost it";

/// Whether this is the failure of a machine that lost a processor, which is worth another try.
pub(super) fn is_lost(failure: &Failure) -> bool {
    failure.what == LOST
}

/// The wait for a boot.
pub(super) struct Boot<'a> {
    /// Whether PID 1's notify messages arrive; else D-Bus is asked.
    pub(super) notifies: bool,
    /// How long it may take.
    pub(super) limit: Duration,
    /// Whether a guest that stalls before its first message is a reason to start again.
    pub(super) may_stall: bool,
    pub(super) accel: Accel,
    pub(super) events: &'a Events,
}

impl Boot<'_> {
    /// The end of the boot as D-Bus reports it: where PID 1's notify messages do not arrive, and should `READY=1` be lost.
    /// PID 1 sends it once, even if the connection breaks.
    async fn booted(&self, guest: &Guest) {
        if self.notifies {
            return self.polled(guest).await;
        }
        let waited = async {
            if guest.wait_booted(self.limit).await.is_err() {
                std::future::pending().await
            }
        };
        tokio::select! {
            () = waited => {}
            () = self.polled(guest) => {}
        }
    }

    /// The same, asked for. What is started again and again can keep a job in the queue at all times: then the boot never
    /// ends, and there is no more to wait for.
    async fn polled(&self, guest: &Guest) {
        let mut held = 0;
        // Rarely and briefly, and only where there is a connection: `READY=1` almost always comes first.
        loop {
            sleep(READY_LOST_INTERVAL).await;
            if guest.has_booted(READY_LOST_INTERVAL).await {
                return;
            }
            // What loops leaves PID 1 little time to answer; without an answer nothing is known.
            let Ok(by) = guest.boot_held_by(checks::LOOP_RESTARTS, HELD_LIMIT).await else { continue };
            held = if by.is_some() { held + 1 } else { 0 };
            if let Some(unit) = by.filter(|_| held >= LOOP_READINGS) {
                self.events.note(format!("the boot does not end, since {unit} is restarted again and again"));
                return;
            }
        }
    }

    /// Waits until the guest is up, or until it is clear that it will not be. What is prepared for the probe meanwhile
    /// goes on in the `background`.
    pub(super) async fn wait(
        &self,
        machine: &mut Machine,
        notifications: &mut mpsc::UnboundedReceiver<Notification>,
        guest: &Guest,
        background: &mut JoinSet<()>,
    ) -> ComeUp {
        let started = Instant::now();
        let deadline = started + self.limit;
        let mut status = None;
        let mut notified = false;
        let mut silence = Silence::default();
        let mut longest_idle = Duration::ZERO;
        let mut last_line = started;
        let mut glance = tokio::time::interval(BOOT_INTERVAL);
        let mut idle = IdleDetector::watched();
        let begun = Instant::now();
        let mut booted = std::pin::pin!(self.booted(guest));
        let not_up = |end, status, idle: Duration| NotUp {
            end,
            status,
            seconds: started.elapsed().as_secs_f64(),
            idle: Some(idle.as_secs_f64()),
            may_answer: true,
        };
        loop {
            tokio::select! {
                event = machine.next_event() => {
                    if let MachineEvent::ConsoleLine(line) = &event {
                        last_line = Instant::now();
                        if !notified {
                            self.events.doing(format!("booting: {}", line.trim()));
                        }
                        continue;
                    }
                    let crashed = matches!(event, MachineEvent::Exited { signal: Some(_), .. });
                    match end_by(event) {
                        None => {}
                        Some(Ok(end)) => {
                            sleep(CONSOLE_DRAIN).await;
                            return ComeUp::NotUp(not_up(end, status, longest_idle));
                        }
                        // SIGKILL was sent: by a user, or by the kernel for want of memory.
                        Some(Err(failure)) if crashed && !notified && !failure.what.contains("SIGKILL") => {
                            return ComeUp::Crashed(failure);
                        }
                        Some(Err(failure)) => return ComeUp::Host(failure),
                    }
                }
                Some(notification) = notifications.recv() => {
                    if !notified {
                        notified = true;
                        let (guest, patience) = (guest.clone(), self.limit);
                        // Should it fail, the probe says why.
                        background.spawn(async move { drop(guest.warm(patience).await) });
                    }
                    if !matches!(notification, Notification::Status(_)) {
                        idle.reset();
                    }
                    match notification {
                        Notification::Ready => return ComeUp::Up,
                        // The rest of the transaction does not matter: the guest can be probed.
                        Notification::Active(unit) if unit == "emergency.target" || unit == "rescue.target" => {
                            return ComeUp::Up;
                        }
                        Notification::Active(unit) => self.events.doing(format!("booting: reached {unit}")),
                        Notification::Status(text) => {
                            self.events.doing(format!("booting: {text}"));
                            status = Some(text);
                        }
                        Notification::Shutdown(_)
                        | Notification::ExitStatus(_)
                        | Notification::Inactive(_)
                        | Notification::Other => {}
                    }
                }
                () = &mut booted => return ComeUp::Up,
                _ = glance.tick() => {
                    let endless = status.as_deref().is_some_and(|status| status.contains("/ no limit"));
                    let still = idle.observe(machine.wanted_time().map(|wanted| (wanted, begun.elapsed())));
                    longest_idle = longest_idle.max(still);
                    if still > BOOT_IDLE_LIMIT && endless {
                        return ComeUp::NotUp(not_up(BootEnd::Deadline, status, longest_idle));
                    }
                    let lines = machine.console().tail(LAST_LINES);
                    if let Some(failure) = lost_processor(&lines, self.accel) {
                        return ComeUp::Crashed(failure);
                    }
                    if let Some(end) = checks::has_given_up(&lines) {
                        sleep(CONSOLE_DRAIN).await;
                        let may_answer = notified || !self.notifies;
                        return ComeUp::NotUp(NotUp { may_answer, ..not_up(end, status, longest_idle) });
                    }
                    if !notified && let Some(failure) = silence.observe(&lines, machine.delay(), still) {
                        return ComeUp::Silent(failure);
                    }
                    if self.may_stall && !notified && silence.shown.is_none() && still.min(last_line.elapsed()) > BOOT_STALL_LIMIT {
                        return ComeUp::Crashed(Failure::host("the guest stalled before its first message"));
                    }
                }
                () = sleep_until(deadline) => {
                    return ComeUp::NotUp(not_up(BootEnd::Deadline, status, longest_idle));
                }
            }
        }
    }
}

/// A guest whose console shows the end of the boot, while nothing of ours said a word.
#[derive(Default)]
struct Silence {
    /// Since when, and the line that shows it. What the console says later takes nothing back.
    shown: Option<(Instant, String)>,
}

impl Silence {
    /// Takes the console's last lines, and how long the guest has been idle; answers with the failure once the silence has
    /// lasted too long for a guest that could answer.
    fn observe(&mut self, lines: &[String], delay: &delay::Recorder, idle: Duration) -> Option<Failure> {
        if self.shown.is_none() {
            self.shown = checks::has_come_up(lines).map(|line| (Instant::now(), plain(line.trim(), 200)));
        }
        let (since, line) = self.shown.as_ref()?;
        let silent = since.elapsed();
        // Who does nothing any more has nothing left to say.
        let is_late = || idle < IDLE_LIMIT && contention::note(&delay.taken(0, Instant::now())).is_some();
        let limit = if is_late() { SILENT_AFTER_TARGET_LATE } else { SILENT_AFTER_TARGET };
        (silent > limit)
            .then(|| closed(&format!("the console shows {line:?}, but none of nixbox's units wrote anything")))
    }
}

const CLOSED: &str = "the guest booted, but cannot be probed: it did not start nixbox's shell";

/// Whether this is the failure of a guest that came up and did not answer: another transport may reach it.
pub(super) fn is_closed(failure: &Failure) -> bool {
    failure.what == CLOSED
}

/// The failure of a guest that is up, as far as can be seen from outside, and did not start our shell.
pub(super) fn closed(why: &dyn std::fmt::Display) -> Failure {
    Failure::host(CLOSED)
        .why(format!(
            "{why}\nunits from credentials need systemd 256 or later (NixOS 25.05), and a kernel with dmi-sysfs and vsock"
        ))
        .hint("for an older one, import nixosModules.guest of nixbox's flake into the configuration")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_emulated_loses_a_processor() {
        let report = "rcu: \t0-...!: (0 ticks this GP) idle=40b0/0/0x0 softirq=4836/4836 fqs=1".to_owned();
        let console = [report.clone(), report];
        assert!(lost_processor(&console, Accel::Kvm).is_none());
        assert!(lost_processor(&console, Accel::Tcg).is_some_and(|failure| is_lost(&failure)));
    }
}
