//! Since when a guest has nothing to do.

use std::time::Duration;

use tokio::time::Instant;

/// Less than this share of one processor is nothing, our own questions included.
const IDLE_SHARE: f64 = 0.35;

/// Since when a guest does nothing, by its own count.
#[derive(Default)]
pub(super) struct Rest {
    last: Option<(Duration, Duration)>,
    since: Option<Instant>,
}

impl Rest {
    /// Takes over how much it has worked by now without judging it.
    pub(super) fn pass_over(&mut self, worked: Option<(Duration, Duration)>) {
        self.last = worked.or(self.last);
    }

    /// Takes over how much it has worked by now; answers how long it has done next to nothing.
    pub(super) fn glance(&mut self, worked: Option<(Duration, Duration)>) -> Duration {
        let Some((busy, up)) = worked else {
            *self = Self::default();
            return Duration::ZERO;
        };
        let Some((before, at)) = self.last else {
            self.last = worked;
            return Duration::ZERO;
        };
        let passed = up.saturating_sub(at);
        // The count is in hundredths of a second: what is short says nothing.
        if passed >= Duration::from_millis(500) {
            self.last = worked;
            let share = busy.saturating_sub(before).as_secs_f64() / passed.as_secs_f64();
            if share > IDLE_SHARE {
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
    fn a_guest_that_works_has_no_rest() {
        let at = |busy: u64, up: u64| Some((Duration::from_millis(busy), Duration::from_millis(up)));
        let mut rest = Rest::default();
        assert_eq!(rest.glance(at(1000, 10_000)), Duration::ZERO);
        assert_eq!(rest.glance(at(1900, 11_000)), Duration::ZERO);
        assert!(rest.glance(at(1950, 12_000)) >= Duration::from_secs(1));
        assert!(rest.glance(at(2000, 12_200)) >= Duration::from_secs(1));
        assert_eq!(rest.glance(at(9000, 18_000)), Duration::ZERO);
        assert_eq!(rest.glance(None), Duration::ZERO);
    }
}
