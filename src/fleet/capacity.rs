//! How many machines this host can run at once.
//!
//! A machine counts as its guest's memory, whether the guest has touched it yet or not, plus that of QEMU and its helpers,
//! and as one processor, which is what a boot keeps busy. Processors that a control group or an affinity withholds are
//! not counted ([`std::thread::available_parallelism`] knows `cpu.max` of cgroups(7)).

use std::path::Path;

use crate::host::{control_groups, free_memory};
use crate::model::Accel;

/// Left for everything else on this host, in MiB: an eighth of what there is, no more than this.
const RESERVE_MIB: u64 = 1024;
/// What a machine needs besides its guest's memory, in MiB: QEMU, its helpers, the supervisors of its jails.
const OVERHEAD_MIB: u64 = 192;
/// With all tasks stalled for memory for this share of the last ten seconds, in percent, no further machine is started
/// (`full avg10` of the kernel's pressure stall information).
const STALLED: f64 = 5.0;

/// What this host has for machines, at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct HostCapacity {
    /// Processors.
    pub(super) cores: usize,
    /// Memory that can be taken, in MiB; `None` where the system does not report it.
    pub(super) memory_mib: Option<u64>,
    /// Percent of the last ten seconds in which everything waited for memory.
    pub(super) stalled: f64,
}

impl HostCapacity {
    /// The capacity now.
    pub(super) async fn now() -> Self {
        let pressure = |file: &Path| std::fs::read_to_string(file).map_or(0.0, |text| stalled_for(&text));
        let stalled = control_groups()
            .iter()
            .map(|group| pressure(&group.join("memory.pressure")))
            .fold(pressure(Path::new("/proc/pressure/memory")), f64::max);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { cores, memory_mib: free_memory().await.map(|bytes| bytes >> 20), stalled }
    }
}

/// What a machine needs of this host's memory, in MiB.
pub(super) fn needed_mib(memory_mib: u64, accel: Accel) -> u64 {
    memory_mib.saturating_add(OVERHEAD_MIB + accel.overhead_mib())
}

/// Whether one more machine may be started beside the running ones.
///
/// `whole` is the capacity before any was started, `now` that of this moment (guests touch their memory gradually, so this
/// alone would admit too many); `running` and `next` are MiB as [`needed_mib`] counts. `most` is the user's limit. The
/// first machine is always admitted: if it does not fit, QEMU says so.
pub(super) fn admits(
    whole: &HostCapacity,
    now: &HostCapacity,
    running: &[u64],
    next: u64,
    most: Option<usize>,
) -> bool {
    if running.is_empty() {
        return true;
    }
    if running.len() >= most.unwrap_or(usize::MAX).min(whole.cores) || now.stalled >= STALLED {
        return false;
    }
    let (Some(all), Some(left)) = (whole.memory_mib, now.memory_mib) else { return false };
    let reserve = (all / 8).min(RESERVE_MIB);
    let taken: u64 = running.iter().fold(0, |sum, mib| sum.saturating_add(*mib));
    taken.saturating_add(next) <= all.saturating_sub(reserve) && next <= left.saturating_sub(reserve)
}

/// How many of these machines (MiB each, as [`needed_mib`] counts) run at once at most on a host with this capacity.
pub(super) fn at_once(whole: &HostCapacity, machines: impl IntoIterator<Item = u64>, most: Option<usize>) -> usize {
    let mut machines: Vec<u64> = machines.into_iter().collect();
    machines.sort_unstable();
    let admitted = |&(count, next): &(usize, &u64)| admits(whole, whole, &machines[..count], *next, most);
    machines.iter().enumerate().take_while(admitted).count()
}

/// `full avg10` of a pressure file, in percent.
fn stalled_for(text: &str) -> f64 {
    let full = text.lines().find_map(|line| line.strip_prefix("full "));
    let words = full.into_iter().flat_map(str::split_whitespace);
    words.filter_map(|word| word.strip_prefix("avg10=")?.parse().ok()).next().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn capacity(cores: usize, memory_mib: u64) -> HostCapacity {
        HostCapacity { cores, memory_mib: Some(memory_mib), stalled: 0.0 }
    }

    /// How many machines of this size are started at once.
    fn at_once(whole: HostCapacity, need: u64, most: Option<usize>) -> usize {
        super::at_once(&whole, [need; 100], most)
    }

    #[test]
    fn memory_and_cores_and_the_user_allow() {
        let need = needed_mib(1024, Accel::Kvm);
        assert_eq!(at_once(capacity(2, 24_000), need, None), 2);
        assert_eq!(at_once(capacity(64, 24_000), need, None), (24_000 - 1024) / 1216);
        assert_eq!(at_once(capacity(64, 24_000), need, Some(3)), 3);
        assert_eq!(at_once(capacity(8, 3000), need, None), 2);
        // Always one: this host may swap, or the guest may need less than it was given.
        assert_eq!(at_once(capacity(8, 512), need, None), 1);
        assert_eq!(at_once(capacity(1, 24_000), need, None), 1);
        assert_eq!(at_once(HostCapacity { memory_mib: None, ..capacity(8, 0) }, need, None), 1);
        assert_eq!(at_once(capacity(8, 24_000), u64::MAX, None), 1);
        assert_eq!(super::at_once(&capacity(8, 4000), [9000, 1000, 1000], None), 2, "once the large one is done");
        assert_eq!(super::at_once(&capacity(8, 4000), [], None), 0);
    }

    #[test]
    fn a_host_under_pressure_gets_no_more() {
        let whole = capacity(8, 16_000);
        assert!(admits(&whole, &whole, &[1216], 1216, None));
        assert!(!admits(&whole, &capacity(8, 2000), &[1216], 1216, None), "another process took it");
        let stalled = HostCapacity { stalled: 12.0, ..whole };
        assert!(!admits(&whole, &stalled, &[1216], 1216, None));
        assert!(admits(&whole, &stalled, &[], 1216, None));
    }

    #[test]
    fn a_translated_machine_takes_more() {
        assert_eq!(needed_mib(1024, Accel::Tcg) - needed_mib(1024, Accel::Kvm), Accel::Tcg.overhead_mib());
        assert_eq!(needed_mib(u64::MAX, Accel::Tcg), u64::MAX);
    }

    #[test]
    fn the_kernels_pressure_is_read() {
        let pressure =
            "some avg10=9.00 avg60=1.00 avg300=0.00 total=1\nfull avg10=7.25 avg60=0.50 avg300=0.00 total=1\n";
        assert_eq!((stalled_for(pressure), stalled_for("")), (7.25, 0.0));
    }

    #[tokio::test]
    async fn this_host_has_capacity() {
        let capacity = HostCapacity::now().await;
        assert!(capacity.cores >= 1);
        #[cfg(target_os = "linux")]
        assert!(capacity.memory_mib.is_some_and(|mib| mib > 0));
    }
}
