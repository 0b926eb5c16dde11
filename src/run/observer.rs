//! What keeps an observation true until the verdict: PID 1 is listened to from the first observation to the last.

use std::time::Duration;

use crate::checks;
use crate::guest::facts::Facts;
use crate::guest::watch::UnitWatch;
use crate::guest::{Guest, Limits, ProbeRequest};
use crate::judging::Plan;
use crate::machine::RunDelay;

/// Most by which a busy host stretches a time that the guest is given.
const MOST_STRETCH: f64 = 4.0;

/// A guest that is observed and listened to.
pub(super) struct Observer<'a> {
    pub(super) guest: &'a Guest,
    /// How long a unit has to stay active to have settled, in time of this host's.
    pub(super) settle: Duration,
    limits: Limits,
    /// `None` where PID 1 could not be asked for signals.
    watch: Option<UnitWatch>,
}

impl<'a> Observer<'a> {
    /// Begins to listen.
    pub(super) async fn begin(guest: &'a Guest, limits: Limits, settle: Duration) -> Self {
        let watch = guest.watch_units(limits.patience).await.ok();
        Self { guest, settle, limits, watch }
    }

    /// Observes the guest. What was signalled before is seen by it.
    pub(super) async fn observe(&self, wanted: &ProbeRequest) -> Facts {
        drop(self.watch.as_ref().and_then(UnitWatch::take));
        self.guest.observe(wanted, &self.limits).await
    }

    /// Whether something that was up in these facts, the latest, has ended or been restarted since they were asked for,
    /// or may have.
    pub(super) fn is_outdated(&self, plan: &Plan, facts: &Facts) -> bool {
        let changes = self.watch.as_ref().and_then(UnitWatch::take);
        changes.is_none_or(|changes| checks::is_outdated(plan, facts, &changes))
    }
}

/// A time that a guest is to have, in this host's: while the VM waits for a CPU, the guest does nothing.
pub(super) fn stretched(time: Duration, delay: &RunDelay) -> Duration {
    let share = delay.share_of_last(f64::INFINITY).unwrap_or(0.0).clamp(0.0, 1.0);
    time.mul_f64((1.0 / (1.0 - share).max(1.0 / MOST_STRETCH)).min(MOST_STRETCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_host_gives_more_time() {
        let of = |slices: &[u8]| {
            let delay = RunDelay { slices: slices.to_vec(), ..RunDelay::default() };
            stretched(Duration::from_secs(3), &delay).as_secs_f64()
        };
        assert!((of(&[]) - 3.0).abs() < 0.01 && (of(&[50, 50]) - 6.0).abs() < 0.01);
        assert!((of(&[100]) - 12.0).abs() < 0.01);
    }
}
