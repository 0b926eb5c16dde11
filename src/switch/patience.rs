//! For how long a switch is waited for (pure).

use std::time::Duration;

use crate::model::timeouts::switch::JOB_GRACE;

/// For how long a switch has been waited for, or may be at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waited {
    /// While the guest did nothing.
    pub(super) idle: Duration,
    /// Since it wrote its last line.
    pub(super) quiet: Duration,
    /// In all.
    pub(super) whole: Duration,
}

/// Whether a switch is not waited for any longer. A job that has a limit of its own comes to an end, and so does the switch
/// then: it is waited for while something of such a limit is `left`.
pub(super) fn gives_up(waited: Waited, most: Waited, left: Duration) -> bool {
    let is_long = waited.idle >= most.idle || waited.quiet >= most.quiet;
    waited.whole >= most.whole || is_long && left.is_zero()
}

/// What is asked of a unit whose job runs (org.freedesktop.systemd1(5)): services have two limits, mounts and sockets one,
/// devices one for the job itself.
pub(super) const PROPERTIES: [&str; 6] = [
    "ActiveState",
    "StateChangeTimestampMonotonic",
    "TimeoutStartUSec",
    "TimeoutStopUSec",
    "TimeoutUSec",
    "JobRunningTimeoutUSec",
];

/// How much is left of the longest limit: of an uptime, and the properties of units whose jobs run. What neither comes nor
/// goes, as a device, has been waited for since the switch program wrote its last line. Zero where no limit is known, or
/// all are over.
pub(super) fn jobs_left(text: &str, quiet: Duration) -> Duration {
    let (uptime, units) = text.split_once('\n').unwrap_or_default();
    let now = uptime.trim().parse::<f64>().ok().and_then(|now| Duration::try_from_secs_f64(now).ok());
    let since = |began: Duration| now.unwrap_or_default().saturating_sub(began);
    let left = |unit: &str| {
        let value = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let limit = |name: &str| humantime::parse_duration(value(name)?).ok();
        let changed = || value("StateChangeTimestampMonotonic")?.parse::<u64>().ok().map(Duration::from_micros);
        let (own, waited) = match value("ActiveState")? {
            "activating" | "reloading" => (limit("TimeoutStartUSec"), since(changed()?)),
            "deactivating" => (limit("TimeoutStopUSec"), since(changed()?)),
            _ => (limit("JobRunningTimeoutUSec"), quiet),
        };
        let own = own.or_else(|| limit("TimeoutUSec"))?;
        own.saturating_add(JOB_GRACE).checked_sub(waited)
    };
    units.split("\n\n").filter_map(left).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_limit_of_its_own_is_waited_for() {
        let seconds = Duration::from_secs;
        let most = Waited { idle: seconds(150), quiet: seconds(180), whole: seconds(600) };
        // At 1000 s: a state, since when, and these limits.
        let job = |state: &str, since: u64, limits: &str| {
            format!("1000.25\n\nActiveState={state}\nStateChangeTimestampMonotonic={since}000000\n{limits}\n\n")
        };
        let starts = |since, limit: &str| job("activating", since, &format!("TimeoutStartUSec={limit}"));
        let table: &[(&str, String, [u64; 3], bool)] = &[
            ("at work", String::new(), [0, 100, 300], false),
            ("no job is known", String::new(), [160, 160, 200], true),
            ("its limit is not over", starts(830, "3min"), [170, 170, 200], false),
            ("not even while it works without a word", starts(830, "3min"), [0, 190, 200], false),
            ("its limit is over", starts(830, "2min"), [170, 170, 200], true),
            ("PID 1 has a moment to end it", starts(825, "2min 50s"), [175, 175, 200], false),
            ("it has no limit", starts(830, "infinity"), [170, 170, 200], true),
            ("it stops", job("deactivating", 830, "TimeoutStartUSec=1s\nTimeoutStopUSec=5min"), [170, 170, 200], false),
            ("a mount", job("activating", 830, "TimeoutUSec=5min"), [170, 170, 200], false),
            ("a device", job("inactive", 0, "JobRunningTimeoutUSec=4min"), [170, 170, 200], false),
            ("one of two", starts(830, "infinity") + &starts(830, "5min"), [170, 170, 200], false),
            ("for ever", starts(830, "1h"), [0, 50, 600], true),
            ("no answer", "garbage".to_owned(), [170, 170, 200], true),
        ];
        for (what, text, [idle, quiet, whole], ends) in table {
            let waited = Waited { idle: seconds(*idle), quiet: seconds(*quiet), whole: seconds(*whole) };
            assert_eq!(gives_up(waited, most, jobs_left(text, waited.quiet)), *ends, "{what}");
        }
        let limit = jobs_left(&starts(890, "2min"), Duration::ZERO);
        assert!(seconds(10) < limit && limit < seconds(10) + JOB_GRACE, "110 of 120 s are over: {limit:?}");
    }
}
