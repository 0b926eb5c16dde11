//! What a rehearsed switch costs: beside a run without one, for its records, and for what is sent.

use serde_json::Value;

use super::{Tried, harness, try_};

/// Pairs of (rehearsal, run without one).
const PAIRS: usize = 3;

/// The figures of rehearsed switches.
#[derive(Default)]
pub(crate) struct Switched {
    /// A rehearsal without the reboot, by a run of the same target: both boot one machine.
    pub(crate) over_try: Vec<f64>,
    /// Seconds that each record of the machine took.
    pub(crate) record_s: Vec<f64>,
    /// MiB a second that go to a machine whose store is an image.
    pub(crate) send_mib_s: Option<f64>,
}

/// Takes them.
pub(crate) fn figures() -> Switched {
    let mut switched = Switched::default();
    for _ in 0..PAIRS {
        let rehearsal = rehearse("switch-clean", "switch-base");
        let alone = try_(&harness::guest("switch-clean"), &[]);
        assert_eq!((rehearsal.code, alone.code), (0, 0), "{:#}\n{:#}", rehearsal.report, alone.report);
        eprintln!("switch: {:.1} s with a rehearsal, {:.1} s without", rehearsal.wall, alone.wall);
        switched.over_try.push(rehearsal.wall / alone.wall);
        let records = rehearsal.report["switch"]["record_seconds"].as_array().into_iter().flatten();
        switched.record_s.extend(records.filter_map(Value::as_f64));
    }
    let sent = rehearse("switch-own-store", "switch-own-store-base");
    let told = |field: &str| sent.report["switch"][field].as_f64();
    switched.send_mib_s =
        told("sent_bytes").zip(told("sent_seconds")).map(|(bytes, seconds)| bytes / f64::from(1 << 20) / seconds);
    switched
}

fn rehearse(to: &str, from: &str) -> Tried {
    try_(&harness::guest(to), &[&format!("--switch={}", harness::guest(from)), "--no-reboot"])
}
