//! What this host has left for machines: its memory, less what its control groups (cgroups(7), version 2) withhold.

use std::path::{Path, PathBuf};

/// Bytes of memory that guests may take: what is available, at most what this process's control groups may still take.
/// `None` where the system does not report it.
pub(crate) async fn free_memory() -> Option<u64> {
    if cfg!(target_os = "linux") {
        let available = available_memory(&read(Path::new("/proc/meminfo"))?)?;
        return control_groups().iter().filter_map(|group| left_in(group)).chain([available]).min();
    }
    // All of the machine's: macOS frees memory by itself.
    let output = tokio::process::Command::new("sysctl").args(["-n", "hw.memsize"]).output().await.ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}

/// The directories of this process's control group and of its parents, the root's included (which is a container's own).
pub(crate) fn control_groups() -> Vec<PathBuf> {
    read(Path::new("/proc/self/cgroup")).map(|text| groups(&text)).unwrap_or_default()
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn groups(text: &str) -> Vec<PathBuf> {
    let Some(path) = text.lines().find_map(|line| line.strip_prefix("0::/")) else { return Vec::new() };
    let root = Path::new("/sys/fs/cgroup");
    Path::new(path.trim()).ancestors().map(|group| root.join(group)).collect()
}

/// `MemAvailable` of proc_meminfo(5), in bytes.
fn available_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Bytes that a control group may still take; `None` where it has no limit.
fn left_in(group: &Path) -> Option<u64> {
    let file = |name: &str| read(&group.join(name)).unwrap_or_default();
    left(&file("memory.max"), &file("memory.current"), &file("memory.stat"))
}

/// Inactive page cache does not count as taken: the kernel drops it when memory is needed.
fn left(max: &str, current: &str, stat: &str) -> Option<u64> {
    let max: u64 = max.trim().parse().ok()?;
    let current: u64 = current.trim().parse().ok()?;
    let inactive = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse().ok()).unwrap_or(0);
    Some(max.saturating_sub(current.saturating_sub(inactive)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        let root = Path::new("/sys/fs/cgroup");
        let text = "4:memory:/x\n0::/user.slice/user@1000.service/app.slice\n";
        assert_eq!(
            groups(text),
            ["user.slice/user@1000.service/app.slice", "user.slice/user@1000.service", "user.slice", ""]
                .map(|group| root.join(group))
        );
        assert_eq!(groups("4:memory:/x\n"), Vec::<PathBuf>::new());
        assert_eq!(left("max\n", "1000\n", ""), None);
        assert_eq!(left("4096\n", "1000\n", "anon 5\ninactive_file 200\n"), Some(3296));
        assert_eq!(left("4096\n", "9000\n", ""), Some(0));
        assert_eq!(left("", "", ""), None);
        assert_eq!(available_memory("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn this_host_has_memory() {
        assert!(free_memory().await.is_some_and(|bytes| bytes > 0));
    }
}
