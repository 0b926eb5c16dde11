//! Since when a guest has nothing to do.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::timeouts::run::IDLE_INTERVAL;

/// A guest that is probed works on our own questions besides: less than this share of one CPU, by the guest's own
/// count, is nothing.
const PROBED_SHARE: f64 = 0.35;
/// A guest that is only watched from outside: less than this share of one CPU, which QEMU took or waited for.
const WATCHED_SHARE: f64 = 0.25;

/// Tells how long a guest has been idle, from how long its CPUs were busy by now and the time of that count.
pub(crate) struct IdleDetector {
    share: f64,
    last: Option<(Duration, Duration)>,
    since: Option<Instant>,
}

impl IdleDetector {
    /// For counts that the guest itself takes.
    pub(crate) fn probed() -> Self {
        Self::below(PROBED_SHARE)
    }

    /// For counts that are taken of QEMU.
    pub(crate) fn watched() -> Self {
        Self::below(WATCHED_SHARE)
    }

    fn below(share: f64) -> Self {
        Self { share, last: None, since: None }
    }

    /// Begins anew.
    pub(crate) fn reset(&mut self) {
        *self = Self::below(self.share);
    }

    /// Takes a count (busy, at) without judging it.
    pub(crate) fn skip(&mut self, count: Option<(Duration, Duration)>) {
        self.last = count.or(self.last);
    }

    /// Takes a count (busy, at); answers how long next to nothing was done. A count that could not be had begins anew.
    pub(crate) fn observe(&mut self, count: Option<(Duration, Duration)>) -> Duration {
        let Some((busy, at)) = count else {
            self.reset();
            return Duration::ZERO;
        };
        let Some((before, then)) = self.last else {
            self.last = count;
            return Duration::ZERO;
        };
        let passed = at.saturating_sub(then);
        if passed >= IDLE_INTERVAL {
            self.last = count;
            if busy.saturating_sub(before).as_secs_f64() / passed.as_secs_f64() > self.share {
                self.since = None;
            } else {
                self.since.get_or_insert_with(|| Instant::now() - passed);
            }
        }
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_works_is_not_idle() {
        let at = |busy: u64, up: u64| Some((Duration::from_millis(busy), Duration::from_millis(up)));
        let mut idle = IdleDetector::probed();
        assert_eq!(idle.observe(at(1000, 10_000)), Duration::ZERO);
        assert_eq!(idle.observe(at(1900, 11_000)), Duration::ZERO);
        assert!(idle.observe(at(1950, 12_000)) >= Duration::from_secs(1));
        assert!(idle.observe(at(2000, 12_200)) >= Duration::from_secs(1));
        assert_eq!(idle.observe(at(9000, 18_000)), Duration::ZERO);
        assert_eq!(idle.observe(None), Duration::ZERO);
    }
}
