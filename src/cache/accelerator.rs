//! The accelerator that was proven, until this host is started again or who may use it changes: a verdict that is known
//! need not wait for a proof. A machine that is started does.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::Entries;
use crate::model::{Accel, AccelChoice};

/// Proven accelerators.
#[derive(Debug, Clone)]
pub struct Accelerators {
    entries: Entries,
}

impl Accelerators {
    /// Those below `cache` (see [`crate::paths::cache_directory`]).
    pub fn new(cache: &Path) -> Self {
        Self { entries: Entries::new(cache, "accelerators") }
    }

    /// What such a wish came to since this host was started.
    pub fn get(&self, wish: AccelChoice) -> Option<Accel> {
        if wish == AccelChoice::Tcg {
            return Some(Accel::Tcg);
        }
        self.entries.get(&key(wish)?)
    }

    /// Remembers what a wish came to.
    pub fn put(&self, wish: AccelChoice, accel: Accel) {
        if let Some(key) = key(wish) {
            // What cannot be remembered costs time, no more.
            drop(self.entries.put(&key, accel));
        }
    }
}

/// This start of this host, the device, and who we are; `None` where the system does not tell.
fn key(wish: AccelChoice) -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let device = std::fs::metadata("/dev/kvm").ok().map(|data| (data.ino(), data.mode(), data.uid(), data.gid()));
    let us = (nix::unistd::geteuid().as_raw(), groups());
    Some(serde_json::json!([boot.trim(), device, us, wish]).to_string())
}

/// The groups that we are in.
#[cfg(target_os = "linux")]
fn groups() -> Vec<u32> {
    nix::unistd::getgroups().unwrap_or_default().into_iter().map(nix::unistd::Gid::as_raw).collect()
}

/// The groups that we are in.
#[cfg(not(target_os = "linux"))]
fn groups() -> Vec<u32> {
    Vec::new()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_wish_s_outcome_is_known_again() {
        let directory = tempfile::tempdir().unwrap();
        let known = Accelerators::new(directory.path());
        assert_eq!(known.get(AccelChoice::Tcg), Some(Accel::Tcg));
        assert_eq!(known.get(AccelChoice::Auto), None);
        known.put(AccelChoice::Auto, Accel::Tcg);
        assert_eq!((known.get(AccelChoice::Auto), known.get(AccelChoice::Kvm)), (Some(Accel::Tcg), None));
    }
}
