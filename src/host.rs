//! What this host has for machines: processors and memory.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

/// How long a command may take.
const COMMAND_LIMIT: std::time::Duration = std::time::Duration::from_secs(20);

/// How many processors there are. Those that a control group or an affinity takes away are not counted
/// ([`std::thread::available_parallelism`] knows `cpu.max` of cgroups(7)).
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Bytes of memory that a guest may take: what is available, at most what the control groups may still have. `None` where
/// the system does not say.
pub(crate) async fn memory() -> Option<u64> {
    if cfg!(target_os = "linux") {
        let available = available_memory(&read("/proc/meminfo")?)?;
        let left = |group: &PathBuf| {
            let file = |name: &str| read(group.join(name)).unwrap_or_default();
            left_in_group(&file("memory.max"), &file("memory.current"), &file("memory.stat"))
        };
        return own_groups().iter().filter_map(left).chain([available]).min();
    }
    // What the machine has; macOS makes room by itself.
    let mut sysctl = Command::new("sysctl");
    sysctl.args(["-n", "hw.memsize"]).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(COMMAND_LIMIT, sysctl.output()).await.ok()?.ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// Percent of the last ten seconds in which every task of the host, or of a control group that this process is in, waited
/// for memory (the kernel's pressure stall information); 0 where it does not say.
pub(crate) fn memory_stall() -> f64 {
    let files = own_groups().into_iter().map(|group| group.join("memory.pressure"));
    let stalled = |file: PathBuf| read(file).map_or(0.0, |text| stalled_for(&text));
    files.chain([PathBuf::from("/proc/pressure/memory")]).map(stalled).fold(0.0, f64::max)
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn own_groups() -> Vec<PathBuf> {
    read("/proc/self/cgroup").map(|text| groups(&text)).unwrap_or_default()
}

/// `MemAvailable` of proc_meminfo(5), in bytes.
fn available_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The directories of this process's control group and of those that it is in (cgroups(7), version 2).
fn groups(text: &str) -> Vec<PathBuf> {
    let Some(path) = text.lines().find_map(|line| line.strip_prefix("0::/")) else { return Vec::new() };
    let root = Path::new("/sys/fs/cgroup");
    Path::new(path.trim()).ancestors().map(|group| root.join(group)).collect()
}

/// Bytes that a control group may still take; `None` where it has no limit. Cached files that nobody uses now do not
/// count as taken: they make room when it is needed.
fn left_in_group(max: &str, current: &str, stat: &str) -> Option<u64> {
    let max: u64 = max.trim().parse().ok()?;
    let current: u64 = current.trim().parse().ok()?;
    let inactive = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse().ok()).unwrap_or(0);
    Some(max.saturating_sub(current.saturating_sub(inactive)))
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

    #[test]
    fn what_the_kernel_reports() {
        assert_eq!(available_memory("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
        let root = Path::new("/sys/fs/cgroup");
        let text = "4:memory:/x\n0::/user.slice/user@1000.service/app.slice\n";
        assert_eq!(
            groups(text),
            ["user.slice/user@1000.service/app.slice", "user.slice/user@1000.service", "user.slice", ""]
                .map(|group| root.join(group))
        );
        assert_eq!(groups("4:memory:/x\n"), Vec::<PathBuf>::new());
        assert_eq!(left_in_group("max\n", "1000\n", ""), None);
        assert_eq!(left_in_group("4096\n", "1000\n", "anon 5\ninactive_file 200\n"), Some(3296));
        assert_eq!(left_in_group("4096\n", "9000\n", ""), Some(0));
        assert_eq!(left_in_group("", "", ""), None);
        let pressure =
            "some avg10=9.00 avg60=1.00 avg300=0.00 total=1\nfull avg10=7.25 avg60=0.50 avg300=0.00 total=1\n";
        assert_eq!((stalled_for(pressure), stalled_for("")), (7.25, 0.0));
    }
}
