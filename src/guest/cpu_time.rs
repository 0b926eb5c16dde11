//! How much a guest's CPUs have worked.

use std::time::Duration;

use super::{Error, Guest};

/// `USER_HZ`, in which `/proc/stat` and `/proc/PID/stat` count (proc_pid_stat(5)): 100 on all that NixOS runs on.
pub(crate) const TICK_US: u64 = 10_000;

impl Guest {
    /// How long its CPUs were busy so far, all together, and how long it has been up.
    ///
    /// Its own count, not the host's: a guest that gets too little of a busy host's time seems idle from outside.
    ///
    /// # Errors
    /// The guest could not be asked within `patience`.
    pub async fn cpu_time(&self, patience: Duration) -> Result<(Duration, Duration), Error> {
        let read = "read -r x </proc/stat; read -r y </proc/uptime; echo \"$x\"; echo \"$y\"";
        let output = self.shell().ask(read, patience, 1024).await?;
        parse(&String::from_utf8_lossy(&output.stdout)).ok_or(Error::Garbled)
    }
}

/// The first lines of `/proc/stat` and `/proc/uptime`: all but `idle` (and what guests of the guest's took, which is
/// counted twice) is work, waiting for a disk too (proc_stat(5)).
fn parse(text: &str) -> Option<(Duration, Duration)> {
    let mut lines = text.lines();
    let ticks: Vec<u64> = lines
        .next()?
        .strip_prefix("cpu ")?
        .split_ascii_whitespace()
        .map_while(|text| text.parse().ok())
        .take(8)
        .collect();
    let idle = *ticks.get(3)?;
    let busy = ticks.iter().sum::<u64>().saturating_sub(idle).saturating_mul(TICK_US);
    let up: f64 = lines.next()?.split_ascii_whitespace().next()?.parse().ok()?;
    Some((Duration::from_micros(busy), Duration::try_from_secs_f64(up).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_read() {
        let (busy, up) = parse("cpu  100 0 50 900 5 0 0 0 0 0\n12.50 20.00\n").unwrap();
        assert_eq!((busy.as_millis(), up.as_millis()), (1550, 12_500));
        assert_eq!(parse(""), None);
        assert_eq!(parse("cpu  1 2\n1 1"), None);
    }
}
