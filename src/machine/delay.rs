//! Host contention: how long a machine waits for this host's processors. On an overloaded host, a time-out in the guest
//! says little about the guest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, MissedTickBehavior};

use super::process;
use crate::model::timeouts::machine::DELAY_SLICE;

/// A guest whose clock is that far ahead of its machine's age has one that runs too fast, in µs: a kernel that has to wait
/// while it measures its processor's clock takes it for slower than it is (once of ten at once: 20 minutes in 3).
const AHEAD_US: i64 = 60_000_000;

/// How much of the time a machine waited for a processor, on the guest's clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunDelay {
    /// The guest's `CLOCK_MONOTONIC` when the first slice began, in µs; below 0, as a kernel starts after its machine.
    pub start_us: i64,
    /// For each [`DELAY_SLICE`] the per cent of it that the thread which waited most was kept waiting, 0 to 100.
    pub slices: Vec<u8>,
}

impl RunDelay {
    /// The share of the time between two readings of the guest's clock, 0 to 1; `None` where nothing is known of it.
    /// The share of all the time where that clock runs too fast to be placed.
    pub fn share(&self, from_us: u64, to_us: u64) -> Option<f64> {
        if self.start_us > AHEAD_US {
            return self.share_of_last(f64::INFINITY);
        }
        let seconds = |us: u64| (us as f64 - self.start_us as f64) / 1e6 / DELAY_SLICE.as_secs_f64();
        let (from, to) = (seconds(from_us).max(0.0), seconds(to_us));
        // Each slice counts by how much of it lies in between.
        let part = |(index, percent): (usize, &u8)| {
            let within = (to.min(index as f64 + 1.0) - from.max(index as f64)).max(0.0);
            (within, within * f64::from(*percent))
        };
        let parts = self.slices.iter().enumerate().map(part);
        let (within, waited) = parts.fold((0.0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        (within > 0.0).then(|| waited / within / 100.0)
    }

    /// The share of the last so many seconds, 0 to 1; `None` where nothing is known of them.
    pub fn share_of_last(&self, seconds: f64) -> Option<f64> {
        let count = (seconds / DELAY_SLICE.as_secs_f64()).ceil() as usize;
        let last = &self.slices[self.slices.len().saturating_sub(count)..];
        let waited: f64 = last.iter().map(|percent| f64::from(*percent)).sum();
        (!last.is_empty()).then(|| waited / (100.0 * last.len() as f64))
    }
}

/// Records the figures of one process.
#[derive(Debug, Clone)]
pub struct Recorder {
    begun: Instant,
    slices: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), slices: Arc::default() }
    }

    /// Records until the process has ended. Returns at once where the system has no figures.
    pub(super) async fn record(self, pid: u32) {
        let Some(mut before) = process::run_delays(pid) else { return };
        let mut last = Instant::now();
        let mut ticks = tokio::time::interval_at(last + DELAY_SLICE, DELAY_SLICE);
        // nixbox waits for a processor, too.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(now) = process::run_delays(pid) else { return };
            let elapsed = last.elapsed();
            last = Instant::now();
            let percent = (longest(&before, &now).as_secs_f64() / elapsed.as_secs_f64() * 100.0).min(100.0) as u8;
            let slices = (elapsed.as_secs_f64() / DELAY_SLICE.as_secs_f64()).round().max(1.0) as usize;
            let mut kept = self.slices.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend(std::iter::repeat_n(percent, slices));
            before = now;
        }
    }

    /// What was recorded so far, by the guest's clock, which showed `guest_us` at that time.
    pub fn taken(&self, guest_us: u64, at: Instant) -> RunDelay {
        let micros = |since: Duration| i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        let start_us = i64::try_from(guest_us).unwrap_or(i64::MAX) - micros(at.saturating_duration_since(self.begun));
        RunDelay { start_us, slices: self.slices.lock().unwrap_or_else(PoisonError::into_inner).clone() }
    }
}

/// How long the thread waited that waited longest in between.
fn longest(before: &BTreeMap<u32, Duration>, now: &BTreeMap<u32, Duration>) -> Duration {
    let waited =
        |(thread, delay): (&u32, &Duration)| delay.saturating_sub(before.get(thread).copied().unwrap_or_default());
    now.iter().map(waited).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_that_of_its_time() {
        let delay = RunDelay { start_us: -2_000_000, slices: vec![10, 90, 80, 20] };
        let percent = |from_s: u64, to_s: u64| {
            delay.share(from_s * 1_000_000, to_s * 1_000_000).map(|share| (share * 100.0).round())
        };
        assert_eq!(percent(0, 3), Some(10.0));
        assert_eq!(percent(3, 13), Some(85.0));
        assert_eq!(percent(2, 4), Some(50.0));
        assert_eq!(percent(3, 900), Some(63.0));
        assert_eq!((percent(900, 901), percent(4, 4)), (None, None));
        assert_eq!((delay.share_of_last(5.0), delay.share_of_last(10.0)), (Some(0.2), Some(0.5)));
        assert_eq!(delay.share_of_last(1e6), Some(0.5));
        let fast = RunDelay { start_us: 1_018_000_000, ..delay };
        assert_eq!(fast.share(1_000_000, 90_000_000), Some(0.5));
        let nothing = RunDelay::default();
        assert_eq!((nothing.share(0, 1), nothing.share_of_last(1e6)), (None, None));
    }

    #[test]
    fn the_guests_clock_starts_later() {
        let recorder = Recorder::new();
        recorder.slices.lock().unwrap().push(7);
        let delay = recorder.taken(1_000_000, recorder.begun + Duration::from_secs(4));
        assert_eq!(delay, RunDelay { start_us: -3_000_000, slices: vec![7] });
    }

    #[test]
    fn the_longest_wait_counts() {
        let of = |list: &[(u32, u64)]| list.iter().map(|(thread, s)| (*thread, Duration::from_secs(*s))).collect();
        assert_eq!(longest(&of(&[(1, 5), (2, 1)]), &of(&[(1, 6), (2, 4), (3, 2)])), Duration::from_secs(3));
        assert_eq!(longest(&of(&[(1, 5)]), &of(&[])), Duration::ZERO);
    }
}
