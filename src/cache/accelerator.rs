//! The accelerator that was proven to work, until this host reboots or the permissions on its device change: a cached
//! verdict need not wait for the proof. Starting a machine does.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::Entries;
use crate::model::{Accel, AccelChoice};

/// Proven accelerators.
#[derive(Debug, Clone)]
pub struct AcceleratorCache {
    entries: Entries,
}

impl AcceleratorCache {
    /// Those below `cache` (see [`crate::paths::cache_directory`]).
    pub fn new(cache: &Path) -> Self {
        Self { entries: Entries::new(cache, "accelerators") }
    }

    /// The accelerator that this choice resolved to, since this host booted.
    pub fn get(&self, choice: AccelChoice) -> Option<Accel> {
        match choice.named() {
            // Emulation needs no probe.
            Some(accel) if accel.is_emulated() => Some(accel),
            _ => self.entries.get(&key(choice)?),
        }
    }

    /// Stores what a choice resolved to.
    pub fn put(&self, choice: AccelChoice, accel: Accel) {
        if let Some(key) = key(choice) {
            // An accelerator that is not cached costs time only.
            drop(self.entries.put(&key, accel));
        }
    }
}

/// This boot of this host, the device, our user and groups; `None` where the system does not report the boot.
fn key(choice: AccelChoice) -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let accel = choice.named().or_else(Accel::native)?;
    let device = accel
        .device()
        .and_then(|device| std::fs::metadata(device).ok())
        .map(|data| (data.ino(), data.mode(), data.uid(), data.gid()));
    let us = (nix::unistd::geteuid().as_raw(), groups());
    Some(serde_json::json!([boot.trim(), device, us, choice]).to_string())
}

/// Our groups.
#[cfg(target_os = "linux")]
fn groups() -> Vec<u32> {
    nix::unistd::getgroups().unwrap_or_default().into_iter().map(nix::unistd::Gid::as_raw).collect()
}

/// Our groups.
#[cfg(not(target_os = "linux"))]
fn groups() -> Vec<u32> {
    Vec::new()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_choice_resolves_to_what_was_stored() {
        let directory = tempfile::tempdir().unwrap();
        let known = AcceleratorCache::new(directory.path());
        assert_eq!(known.get(AccelChoice::Tcg), Some(Accel::Tcg));
        assert_eq!(known.get(AccelChoice::Auto), None);
        known.put(AccelChoice::Auto, Accel::Tcg);
        assert_eq!((known.get(AccelChoice::Auto), known.get(AccelChoice::Kvm)), (Some(Accel::Tcg), None));
    }
}
