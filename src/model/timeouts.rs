//! Every duration that nixbox waits, polls or settles by, with the reason for it.
//!
//! What depends on the accelerator is asked of [`Timeouts`], which is made from it; the rest are constants, grouped by
//! the room that uses them.

use std::time::Duration;

use super::Accel;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The durations that depend on the accelerator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeouts {
    accel: Accel,
}

impl Timeouts {
    /// Those of a machine that runs under this accelerator.
    pub(crate) const fn of(accel: Accel) -> Self {
        Self { accel }
    }

    /// What a time that was meant for hardware virtualisation is under this accelerator.
    pub(crate) fn scaled(self, time: Duration) -> Duration {
        time.mul_f64(self.accel.time_scale())
    }

    /// The longest a boot may take by default. Emulation is five to ten times slower, and more on a busy host.
    pub(crate) const fn boot(self) -> Duration {
        if self.accel.is_emulated() { secs(600) } else { secs(180) }
    }

    /// The longest that a switch may take by default without a word, once it does something all the time.
    pub(crate) fn switch(self) -> Duration {
        self.scaled(secs(180))
    }

    /// The longest that it may take at all: one that writes a line now and then, or whose units have limits of hours, ends
    /// as little as one that is silent. Enough for five units, one after the other, that each wait for two minutes, as
    /// systemd-networkd-wait-online does for a network that does not come.
    pub(crate) const fn whole_switch(self) -> Duration {
        if self.accel.is_emulated() { secs(1800) } else { secs(600) }
    }

    /// How much longer than its restart takes a service that failed only once is given.
    pub(crate) fn second_try(self) -> Duration {
        self.scaled(secs(30))
    }

    /// The longest that a guest which is at work may take for an address and a route: its card may still have to be
    /// found.
    pub(crate) fn lease(self) -> Duration {
        self.scaled(secs(20))
    }

    /// How long a unit has to stay active before it counts as settled. Scaled by half the accelerator's factor: a program
    /// computes for longer until it finds that it cannot run, but it pauses between its tries no longer (nginx tries for
    /// 2.5 s to bind a port that is taken).
    pub(crate) fn settle(self, time: Duration) -> Duration {
        time.mul_f64((self.accel.time_scale() / 2.0).max(1.0))
    }

    /// The longest that a service may take after the boot until it listens.
    pub(crate) fn listening(self) -> Duration {
        self.scaled(secs(60))
    }
}

/// QEMU, its helpers, and the jail around them.
pub(crate) mod machine {
    use super::{Duration, millis, secs};

    /// How long a runner may take until QEMU connects and greets: some build a disk image first.
    pub(crate) const QEMU_START_LIMIT: Duration = secs(300);
    /// How long QEMU may take to end once it was asked to quit.
    pub(crate) const QEMU_QUIT_LIMIT: Duration = millis(700);
    /// How long QEMU may take to list what it knows.
    pub(crate) const QEMU_HELP_LIMIT: Duration = secs(10);
    /// How long QEMU may take to come up with a GPU, or to say why not.
    pub(crate) const GPU_PROBE_LIMIT: Duration = secs(10);
    /// How long a QMP command may take.
    pub(crate) const QMP_COMMAND_LIMIT: Duration = secs(10);
    /// How long QEMU's exit is waited for once QMP is closed: most often QEMU is ending, and that says more.
    pub(crate) const QMP_CLOSED_GRACE: Duration = millis(500);
    /// How long the vsock daemon may take until it listens.
    pub(crate) const VSOCK_DAEMON_START_LIMIT: Duration = secs(10);
    /// How long the vsock daemon's exit is held back: it ends when QEMU hangs up, too, and then QEMU's exit is the
    /// cause, which has to be reported first.
    pub(crate) const VSOCK_DAEMON_GRACE: Duration = millis(50);
    /// How often the size of the run directory is measured.
    pub(crate) const DISK_INTERVAL: Duration = millis(500);
    /// How often the size of the packets' dump is measured: a guest that floods sends some MiB meanwhile.
    pub(crate) const PACKET_DUMP_INTERVAL: Duration = millis(200);
    /// Least time between two lines of the console that are reported.
    pub(crate) const CONSOLE_LINE_INTERVAL: Duration = millis(100);
    /// Between a key's going down and its coming up, and before the next one.
    pub(crate) const KEY_PRESS: Duration = millis(30);
    /// The period over which the wait for a processor is averaged.
    pub(crate) const DELAY_SLICE: Duration = secs(5);
    /// How long the last output of a program that has ended may take to arrive.
    pub(crate) const OUTPUT_DRAIN_LIMIT: Duration = millis(100);
    /// How long building an empty jail may take.
    pub(crate) const JAIL_PROBE_LIMIT: Duration = secs(10);
    /// How long a jail may take to be empty once its lifeline is closed.
    pub(crate) const JAIL_END_LIMIT: Duration = secs(2);
    /// How often it is checked whether all child processes have ended.
    #[cfg(target_os = "linux")]
    pub(crate) const CHILDREN_INTERVAL: Duration = millis(5);
    /// How long KVM may take to run a million turns of a loop. One that works takes a few milliseconds; the KVM of some
    /// VMs and containers is a thousand times slower.
    pub(crate) const KVM_RUN_LIMIT: Duration = millis(100);
    /// How long KVM may take to create the VM for it.
    pub(crate) const KVM_SETUP_LIMIT: Duration = secs(5);
    /// How old a run directory without an owner's file has to be to count as abandoned: the file is written an instant
    /// after the directory is made.
    pub(crate) const OWNER_GRACE: Duration = secs(60);
}

/// The run of nix.
pub(crate) mod nix {
    use super::{Duration, secs};

    /// How long nix may take to end its builders after SIGTERM.
    pub(crate) const TERM_GRACE: Duration = secs(2);
}

/// From the runner's start to the last probe.
pub(crate) mod run {
    use super::{Duration, millis, secs};

    /// How long the processes of a run that ended early may take to be gone.
    pub(crate) const CHILDREN_LIMIT: Duration = secs(2);
    /// The console's last bytes may still be on their way when QEMU reports a panic or a power-off.
    pub(crate) const CONSOLE_DRAIN: Duration = millis(200);
    /// How long after the console showed the end of the boot a guest that has sent no notify message is taken for one that
    /// does not import credentials, or has no driver for the transport. PID 1 reports `basic.target` long before.
    pub(crate) const SILENT_AFTER_TARGET: Duration = secs(10);
    /// The same on a host that keeps the guest waiting: its messages may be late.
    pub(crate) const SILENT_AFTER_TARGET_LATE: Duration = secs(30);
    /// How often a booting machine is polled for what no event reports: a login prompt has no line's end, an idle guest
    /// sends nothing.
    pub(crate) const BOOT_INTERVAL: Duration = secs(1);
    /// How long a guest may do nothing while PID 1 waits for a job that has no limit of its own. Such a job does not come
    /// to an end; one with a limit does, and is waited for. What only sleeps looks the same, so this is longer than people
    /// sleep: NixOS's import of a ZFS pool looks for its disks for up to two minutes. Below the shortest limit of a boot.
    pub(crate) const BOOT_IDLE_LIMIT: Duration = secs(150);
    /// How long a guest may do nothing before it sent a message or wrote to its console. Multi-threaded TCG loses a
    /// wake-up now and then while the kernel starts its processors, after which all of them sleep for good: seen twice in
    /// some 270 boots on a busy host of two cores. A machine that is started again comes up; a guest that waits for
    /// something in silence (a disk that is not there) waits again, and is then reported as what it is.
    pub(crate) const BOOT_STALL_LIMIT: Duration = secs(15);
    /// How often a guest is asked whether it has booted, should its `READY=1` be lost; how long it may take to answer.
    pub(crate) const READY_LOST_INTERVAL: Duration = secs(5);
    /// How long it may take to tell what keeps its boot from its end.
    pub(crate) const HELD_LIMIT: Duration = secs(60);
    /// Counts of processor time are in hundredths of a second: a shorter period than this says nothing.
    pub(crate) const IDLE_INTERVAL: Duration = millis(500);
    /// How long a guest may do nothing before what has not come by then is taken for what never will.
    pub(crate) const IDLE_LIMIT: Duration = secs(5);
    /// How long a guest that did not come up may take to answer: where it answers at all it answers soon.
    pub(crate) const LAST_PROBE_LIMIT: Duration = secs(20);
    /// How long the journal's text may take to come.
    pub(crate) const JOURNAL_TEXT_LIMIT: Duration = secs(20);
    /// How often the network is read while a lease is waited for.
    pub(crate) const LEASE_INTERVAL: Duration = millis(100);
    /// How often the listening sockets are read. No event reports a new one.
    pub(crate) const LISTENING_INTERVAL: Duration = millis(250);
    /// How long a machine may take to power off before its second boot: systemd gives what stops 90 s.
    pub(crate) const POWER_OFF_LIMIT: Duration = secs(120);
    /// How long a web site may take for one answer, and how often more it is asked: what is behind it may still be starting.
    pub(crate) const SITE_LIMIT: Duration = secs(5);
    pub(crate) const SITE_RETRIES: u32 = 3;
    /// Between two attempts of a request or a script.
    pub(crate) const RETRY_PAUSE: Duration = secs(1);
    /// How long a demo's guest may take to set a password, or to write its caches to the disk.
    pub(crate) const DEMO_COMMAND_LIMIT: Duration = secs(20);
    /// How often a disk that will be kept is brought up to date: a window that is closed is a power cut.
    pub(crate) const SYNC_INTERVAL: Duration = secs(5);
}

/// A switch that is rehearsed.
pub(crate) mod switch {
    use super::{Duration, millis, secs};

    /// How often the switch program is looked at: what it writes is shown, and nothing reports it.
    pub(crate) const POLL_INTERVAL: Duration = millis(500);
    /// How long a guest may do nothing before the switch counts as hung, where no job runs that has a limit of its own: as
    /// in a boot, and for its reasons. Below the shortest limit of a switch.
    pub(crate) const IDLE_LIMIT: Duration = super::run::BOOT_IDLE_LIMIT;
    /// How much longer than its own limit a job is waited for: PID 1 ends it then, and the switch goes on.
    pub(crate) const JOB_GRACE: Duration = secs(10);
    /// How long a few MiB may take into the guest's store.
    pub(crate) const CHUNK_LIMIT: Duration = secs(120);
    /// How long the rest of it may take once all was sent.
    pub(crate) const RECEIVE_LIMIT: Duration = secs(120);
    /// How long a guest that switches may be silent: its network and its bus may be restarted meanwhile.
    pub(crate) const SILENT_LIMIT: Duration = secs(60);
}

/// An agent's hooks.
pub(crate) mod agent {
    use super::{Duration, millis, secs};

    /// What `hook install` writes as the agent's time-out of the hook at a turn's end. Our own deadline is shorter.
    pub(crate) const TURN_END_LIMIT: Duration = secs(600);
    /// The same after an edit, where only the evaluation runs.
    pub(crate) const EDIT_LIMIT: Duration = secs(120);
    /// The same before a turn, where git only writes a tree.
    pub(crate) const PROMPT_LIMIT: Duration = secs(10);
    /// How much earlier than the agent's time-out ours ends: a time-out of theirs counts as consent.
    pub(crate) const MARGIN: Duration = secs(15);
    /// How long nothing may come on a hook's stdin until it counts as ended.
    pub(crate) const STDIN_LIMIT: Duration = secs(5);
    /// How long a run may take to end after SIGTERM.
    pub(crate) const TERM_GRACE: Duration = secs(10);
    /// How often it is checked whether the agent is there: no event of the system's reports the end of a process that is
    /// no child of ours on all systems (a death signal is of the parent's thread, which may end long before it).
    pub(crate) const PARENT_INTERVAL: Duration = millis(500);
    /// How often it is checked whether anybody still waits for the answer.
    pub(crate) const READER_INTERVAL: Duration = millis(200);
    /// How long after an answer the same event may come again from another agent's settings, which are read too.
    pub(crate) const TWIN_WINDOW: Duration = secs(2);
    /// How long a session is remembered after its last event.
    pub(crate) const SESSION_LIMIT: Duration = secs(14 * 24 * 3600);
}

/// All of a flake's machines.
pub(crate) mod fleet {
    use super::{Duration, secs};

    /// How long a host may take beyond its boot's limit until it is given up: every question to a guest has a limit of its
    /// own, so that this is for what we did not think of.
    pub(crate) const HOST_LIMIT: Duration = secs(3600);
}

/// The look at this host.
pub(crate) mod doctor {
    use super::{Duration, secs};

    /// How long a question may take.
    pub(crate) const COMMAND_LIMIT: Duration = secs(20);
    /// How long the trivial build may take: a busy daemon has other builds first.
    pub(crate) const BUILD_LIMIT: Duration = secs(120);
}

/// Progress, and the evidence's directory.
pub(crate) mod report {
    use super::{Duration, millis, secs};

    /// How often plain lines say what is still going on.
    pub(crate) const STILL_INTERVAL: Duration = secs(10);
    /// How often the progress of one run is drawn anew.
    pub(crate) const PROGRESS_INTERVAL: Duration = millis(120);
    /// How often the progress of each of many runs is drawn anew.
    pub(crate) const BOARD_INTERVAL: Duration = millis(250);
    /// How old a directory without a lock has to be to count as one whose maker was killed.
    pub(crate) const ABANDONED_AFTER: Duration = secs(3600);
}

/// What `nixbox.toml` may say otherwise.
pub(crate) mod config {
    use super::{Duration, secs};

    /// How long a unit has to stay active before it counts as settled (`[checks] settle`), with hardware virtualisation.
    pub(crate) const SETTLE: Duration = secs(3);
    /// How long a script may run, before scaling to the accelerator.
    pub(crate) const SCRIPT_DEADLINE: Duration = secs(30);
    /// How long an HTTP request may take, before scaling to the accelerator.
    pub(crate) const HTTP_DEADLINE: Duration = secs(10);
}

/// How long many runs may take to end after a second interruption; what is left then ends with this process.
pub const HARD_STOP_LIMIT: Duration = secs(4);

/// Driving a desktop: `desktop/`. Those that depend on the accelerator are scaled where they are used.
pub(crate) mod desktop {
    use super::Duration;

    /// How long a unit that starts, or ends and is restarted, is followed: `RestartSec=10`, three times over.
    pub(crate) const UNIT_RESTARTS_LIMIT: Duration = Duration::from_secs(30);
    /// Between two readings of it.
    pub(crate) const UNIT_RESTARTS_INTERVAL: Duration = Duration::from_secs(1);
    /// How long is watched what changes by itself: clocks tick every second.
    pub(crate) const REDRAW_INTERVAL: Duration = Duration::from_millis(1300);
    /// How often logind is asked though it reported no change.
    pub(crate) const SESSIONS_INTERVAL: Duration = Duration::from_secs(3);
    /// How long a window may take to appear, with hardware virtualisation.
    pub(crate) const WINDOW_LIMIT: Duration = Duration::from_secs(30);
    /// Between two pictures while the screen changes. A picture costs QEMU 40 to 160 ms (measured, 10.0).
    pub(crate) const FAST_INTERVAL: Duration = Duration::from_millis(300);
    /// Between two pictures when the screen has been still for a while: a tenth of QEMU's time at most.
    pub(crate) const SLOW_INTERVAL: Duration = Duration::from_millis(1500);
    /// The longest that a desktop may take to appear after the boot, with hardware virtualisation.
    pub(crate) const SESSION_LIMIT: Duration = Duration::from_secs(90);
    /// How long input may take to change something, with hardware virtualisation.
    pub(crate) const REACTION_LIMIT: Duration = Duration::from_secs(2);
    /// How long the portal may take to answer, with hardware virtualisation: D-Bus's own limit.
    pub(crate) const PORTAL_LIMIT: Duration = Duration::from_secs(25);
    /// How long a new session may take to register with logind, with hardware virtualisation.
    pub(crate) const REGISTRATION_LIMIT: Duration = Duration::from_secs(10);
    /// How long a picture has to be still. Scaled by half the accelerator's factor: under TCG a desktop paints in steps
    /// that lie up to 3 s apart.
    pub(crate) const STEADY: Duration = Duration::from_secs(1);
    /// How long a guest may be idle before what is not there is taken for missing. D-Bus calls give up after 25 s.
    pub(crate) const IDLE: Duration = Duration::from_secs(30);
    /// As [`IDLE`], when the session and its display are there and only the picture is plain.
    pub(crate) const IDLE_PLAIN: Duration = Duration::from_secs(10);
    /// How long a guest has to be idle for its still picture to be the last.
    pub(crate) const QUIET: Duration = Duration::from_millis(1500);
}

/// Playing and recording sound: `audio/` and the sound card.
pub(crate) mod audio {
    use super::Duration;

    /// How long QEMU may take to open the devices: it does nothing else then.
    pub(crate) const CARD_PROBE_LIMIT: Duration = Duration::from_secs(10);
    /// Between two checks whether it has.
    pub(crate) const CARD_PROBE_INTERVAL: Duration = Duration::from_millis(20);
    /// How long what was played may take to come out of the card when the player has ended, with hardware virtualisation: a
    /// pipe's buffer, a slow clock.
    pub(crate) const DRAIN_LIMIT: Duration = Duration::from_secs(4);
    /// How long nothing may come out before no more is awaited. QEMU writes in steps of 10 ms of sound.
    pub(crate) const SILENCE: Duration = Duration::from_millis(700);
    /// Between two checks of the file's length.
    pub(crate) const CAPTURE_INTERVAL: Duration = Duration::from_millis(50);
    /// How long one answer of a server may take on hardware virtualisation.
    pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(6);
    /// How long a server that answers may take until it has a sink, likewise.
    pub(crate) const SINK_LIMIT: Duration = Duration::from_secs(5);
    /// How long a guest may do nothing before a sink that is not there is not awaited any more; how long that is waited
    /// for, and how often it is asked how much it does.
    pub(crate) const REST: Duration = Duration::from_secs(3);
    pub(crate) const REST_LIMIT: Duration = Duration::from_secs(12);
    pub(crate) const REST_INTERVAL: Duration = Duration::from_secs(1);
    /// Between two queries while something is waited for.
    pub(crate) const SINK_INTERVAL: Duration = Duration::from_millis(250);
    /// The longest time between two queries of a session that is being opened.
    pub(crate) const SESSION_INTERVAL: Duration = Duration::from_millis(300);
    /// How long a session may take to open, with hardware virtualisation.
    pub(crate) const SESSION_LIMIT: Duration = Duration::from_secs(10);
    /// How long playing or recording may take beyond the sound's own length, with hardware virtualisation.
    pub(crate) const PLAY_LIMIT: Duration = Duration::from_secs(8);
}

/// Asking a guest: `guest/`.
pub(crate) mod guest {
    use super::Duration;

    /// How long bringing a script and its stdin to the guest may take.
    pub(crate) const SHELL_LIMIT: Duration = Duration::from_secs(20);
    /// How long a killed script may take to be gone.
    pub(crate) const SCRIPT_GRACE: Duration = Duration::from_secs(3);
    /// Between two looks at a unit that is waited for.
    pub(crate) const USER_MANAGER_INTERVAL: Duration = Duration::from_secs(1);
    /// How long one attempt to open may take before it is made anew.
    pub(crate) const GREETING_ATTEMPT: Duration = Duration::from_secs(5);
    /// How long an answer is waited for before the question is repeated: a virtio-serial port drops what is sent to it
    /// while its service restarts.
    pub(crate) const GREETING_INTERVAL: Duration = Duration::from_millis(300);
    /// How long logind may take for one answer; it takes milliseconds.
    pub(crate) const LOGIND_CALL_LIMIT: Duration = Duration::from_secs(20);
    /// How long a shell may take to open.
    pub(crate) const SERVED_SHELL_LIMIT: Duration = Duration::from_secs(30);
    /// How long PID 1 may take to answer over a connection before a new one is tried.
    pub(crate) const ALIVE_LIMIT: Duration = Duration::from_secs(3);
    /// How long a connection may take to bring its message. PID 1 writes at once; it waits for us to close.
    pub(crate) const NOTIFY_LIMIT: Duration = Duration::from_secs(2);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emulation_has_more_time() {
        let (kvm, tcg) = (Timeouts::of(Accel::Kvm), Timeouts::of(Accel::Tcg));
        assert_eq!((kvm.boot(), tcg.boot()), (secs(180), secs(600)));
        assert_eq!(kvm.settle(config::SETTLE), config::SETTLE);
        assert!(tcg.settle(config::SETTLE) > config::SETTLE * 2);
        assert_eq!((kvm.lease(), tcg.lease()), (secs(20), secs(100)));
        assert!(run::BOOT_IDLE_LIMIT < kvm.boot(), "a boot that hangs is distinguished from one that is slow");
        assert!(switch::IDLE_LIMIT < kvm.switch(), "a switch that hangs, too");
        assert!(kvm.switch() < kvm.whole_switch() && tcg.switch() < tcg.whole_switch());
    }
}
