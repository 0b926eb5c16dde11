//! From the runner's start to a guest that came up, or to the evidence that it did not.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::idle::IdleDetector;
use crate::checks::{self, BootEnd};
use crate::event::Events;
use crate::failure::Failure;
use crate::guest::Guest;
use crate::guest::notify::Notification;
use crate::machine::{Machine, MachineEvent, signal_name};
use crate::model::Accel;
use crate::text::plain;

/// The console's last bytes may still be on their way when QEMU tells of a panic or a power-off.
const CONSOLE_DRAIN: Duration = Duration::from_millis(200);
/// How long after a login prompt on the console a guest from which nothing was heard is taken for one that does not
/// import credentials. PID 1 tells of `basic.target` long before there is a prompt.
const SILENT_AFTER_LOGIN: Duration = Duration::from_secs(10);
/// How many of the console's last lines are looked at for words that nothing comes after.
const LAST_LINES: usize = 40;
/// How often the machine is looked at for what nothing tells of: a login prompt has no line's end, an idle guest says
/// nothing.
const GLANCE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a guest may do nothing while PID 1 waits for a job that has no limit of its own. Such a job does not come to
/// an end; one with a limit does, and is waited for. What only sleeps looks the same, so this is longer than people sleep:
/// NixOS's import of a ZFS pool looks for its disks for up to two minutes. Below the shortest limit of a boot.
const IDLE_LIMIT: Duration = Duration::from_secs(150);
/// How often a guest is asked whether it has booted, should its word be lost; how long it may take to answer.
const LOST_INTERVAL: Duration = Duration::from_secs(5);
/// How long a guest may do nothing before it said a word, neither to us nor on its console. Multi-threaded TCG loses a
/// wake-up now and then while the kernel starts its processors, after which all of them sleep for good: seen twice in some
/// 270 boots on a busy host of two cores. A machine that is started again comes up; a guest that waits for something
/// without a word (a disk that is not there) waits again, and is then told as what it is.
const STALL_LIMIT: Duration = Duration::from_secs(15);

/// What a boot came to.
#[derive(Debug)]
pub(super) enum ComeUp {
    /// PID 1 says that its first transaction is done: the default target, or emergency mode.
    Up,
    /// The guest did not come up.
    NotUp {
        /// How that showed.
        end: BootEnd,
        /// PID 1's last `STATUS=`.
        status: Option<String>,
        /// Seconds since the machine ran.
        seconds: f64,
    },
    /// QEMU crashed before the guest said anything, or its emulation lost a processor: nobody's configuration, and worth
    /// another try.
    Crashed(Failure),
    /// This host, QEMU or the way into the guest broke.
    Host(Failure),
}

/// What ends a machine, or the way into it, before it was asked to.
pub(super) fn fate(event: MachineEvent) -> Option<Result<BootEnd, Failure>> {
    Some(match event {
        MachineEvent::Panicked => Ok(BootEnd::Panicked),
        MachineEvent::Shutdown { reason, .. } if reason == "guest-panic" => Ok(BootEnd::Panicked),
        MachineEvent::Shutdown { reason, .. } if reason == "guest-reset" => Ok(BootEnd::Reset),
        MachineEvent::Shutdown { by_guest: true, .. } => Ok(BootEnd::PoweredOff),
        MachineEvent::Shutdown { reason, .. } if reason == "host-ui" => Err(Failure {
            what: "the window was closed before the checks were done".to_owned(),
            ..Failure::interrupted()
        }),
        MachineEvent::Shutdown { reason, .. } => Err(Failure::host(format!("QEMU shut the machine down: {reason}"))),
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
            let failure = Failure::host("the vsock daemon ended: there is no way into the guest any more");
            Err(if tail.is_empty() { failure } else { failure.why(tail.join("\n")) })
        }
        MachineEvent::DiskLimit { why } => {
            Err(Failure::host("the machine was ended, as it filled this host's disk").why(why))
        }
        MachineEvent::IoError { no_space: true } => {
            Err(Failure::host("this host's disk is full: the guest could not write").hint("free some space"))
        }
        MachineEvent::LinkLost => Err(Failure::host("QEMU does not answer any more")),
        MachineEvent::IoError { no_space: false }
        | MachineEvent::Paused
        | MachineEvent::Resumed
        | MachineEvent::ConsoleLine(_) => return None,
    })
}

/// Waits until the machine or the way into it is gone. Cancelling it loses nothing.
pub(super) async fn gone(machine: &mut Machine, accel: Accel) -> Result<BootEnd, Failure> {
    let mut glance = tokio::time::interval(GLANCE_INTERVAL);
    loop {
        tokio::select! {
            event = machine.next_event() => {
                if let Some(fate) = fate(event) {
                    return fate;
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

/// The failure of a machine whose console says that a processor of it stands still. Multi-threaded TCG loses a wake-up once
/// in some hundred boots on a busy host, and the processor sleeps for good. (A configuration could bring a kernel that loses
/// its processors; what is emulated shows nothing of that.)
fn lost_processor(console: &[String], accel: Accel) -> Option<Failure> {
    let line = checks::lost_processor(console).filter(|_| accel == Accel::Tcg)?;
    Some(Failure::host(LOST).why(plain(line, 200)).hint("try it again: this comes by chance, on busy hosts"))
}

const LOST: &str = "a processor of the machine stands still: QEMU's emulation has lost it";

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
    /// Whether a guest that stands still before it said a word is a reason to start again.
    pub(super) may_stall: bool,
    pub(super) accel: Accel,
    pub(super) events: &'a Events,
}

impl Boot<'_> {
    /// The end of the boot as D-Bus tells it: where PID 1's own messages do not arrive, and should the one that counts be
    /// lost. PID 1 sends it once, and does not mind when the connection breaks.
    async fn booted(&self, guest: &Guest) {
        if self.notifies {
            // Asked seldom and briefly, and of a guest that has a connection: `READY=1` is as good as always first.
            loop {
                sleep(LOST_INTERVAL).await;
                if guest.has_booted(LOST_INTERVAL).await {
                    return;
                }
            }
        }
        if guest.wait_booted(self.limit).await.is_err() {
            std::future::pending().await
        }
    }

    /// Waits until the guest is up, or until it is clear that it will not be. What is prepared for the look meanwhile goes
    /// on in the `background`.
    pub(super) async fn wait(
        &self,
        machine: &mut Machine,
        mut notifications: mpsc::UnboundedReceiver<Notification>,
        guest: &Guest,
        background: &mut JoinSet<()>,
    ) -> ComeUp {
        let started = Instant::now();
        let deadline = started + self.limit;
        let mut status = None;
        let mut heard = false;
        let mut prompt: Option<Instant> = None;
        let mut last_line = started;
        let mut glance = tokio::time::interval(GLANCE_INTERVAL);
        let mut idle = IdleDetector::watched();
        let begun = Instant::now();
        let mut booted = std::pin::pin!(self.booted(guest));
        let not_up = |end, status| ComeUp::NotUp { end, status, seconds: started.elapsed().as_secs_f64() };
        loop {
            tokio::select! {
                event = machine.next_event() => {
                    if let MachineEvent::ConsoleLine(line) = &event {
                        last_line = Instant::now();
                        if !heard {
                            self.events.doing(format!("booting: {}", line.trim()));
                        }
                        continue;
                    }
                    let crashed = matches!(event, MachineEvent::Exited { signal: Some(_), .. });
                    match fate(event) {
                        None => {}
                        Some(Ok(end)) => {
                            sleep(CONSOLE_DRAIN).await;
                            return not_up(end, status);
                        }
                        // SIGKILL is somebody's doing (a user's, the kernel's for want of memory).
                        Some(Err(failure)) if crashed && !heard && !failure.what.contains("SIGKILL") => {
                            return ComeUp::Crashed(failure);
                        }
                        Some(Err(failure)) => return ComeUp::Host(failure),
                    }
                }
                Some(notification) = notifications.recv() => {
                    if !heard {
                        heard = true;
                        let (guest, patience) = (guest.clone(), self.limit);
                        // Should it fail, the look says why.
                        background.spawn(async move { drop(guest.warm(patience).await) });
                    }
                    if !matches!(notification, Notification::Status(_)) {
                        idle.reset();
                    }
                    match notification {
                        Notification::Ready => return ComeUp::Up,
                        // The rest of the transaction is of no interest: it is there to be looked at.
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
                    if still > IDLE_LIMIT && endless {
                        return not_up(BootEnd::Deadline, status);
                    }
                    if self.may_stall && !heard && still.min(last_line.elapsed()) > STALL_LIMIT {
                        return ComeUp::Crashed(Failure::host("the guest stood still before it said a word"));
                    }
                    let lines = machine.console().tail(LAST_LINES);
                    if let Some(failure) = lost_processor(&lines, self.accel) {
                        return ComeUp::Crashed(failure);
                    }
                    if let Some(end) = checks::has_given_up(&lines) {
                        sleep(CONSOLE_DRAIN).await;
                        return not_up(end, status);
                    }
                    if heard {
                        continue;
                    }
                    let shows = lines.last().is_some_and(|line| line.trim_end().ends_with("login:"));
                    let since = *prompt.get_or_insert_with(Instant::now);
                    if !shows {
                        prompt = None;
                    } else if since.elapsed() > SILENT_AFTER_LOGIN {
                        return ComeUp::Host(closed(&"it shows a login prompt, and nothing was heard of PID 1"));
                    }
                }
                () = sleep_until(deadline) => return not_up(BootEnd::Deadline, status),
            }
        }
    }
}

/// A guest that is up, as far as can be seen from outside, and does not let us in.
pub(super) fn closed(why: &dyn std::fmt::Display) -> Failure {
    Failure::host("the guest came up, but opened no way in: could not look inside")
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
