//! How long a host took the last time, so that of many the longest is started first.

use std::path::Path;

use super::Entries;

/// Durations by flake and host.
#[derive(Debug, Clone)]
pub struct DurationCache {
    entries: Entries,
}

impl DurationCache {
    /// Those below `cache` (see [`crate::paths::cache_directory`]).
    pub fn new(cache: &Path) -> Self {
        Self { entries: Entries::new(cache, "durations") }
    }

    /// How many seconds this host of this flake took, from the start of its machine to the end.
    pub fn get(&self, flake: &str, host: &str) -> Option<f64> {
        self.entries.get::<f64>(&key(flake, host)).filter(|seconds| seconds.is_finite())
    }

    /// Stores how many seconds it took.
    pub fn put(&self, flake: &str, host: &str, seconds: f64) {
        // A duration that is not cached costs time only.
        drop(self.entries.put(&key(flake, host), seconds));
    }
}

fn key(flake: &str, host: &str) -> String {
    serde_json::json!([flake, host]).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_another_flake_is_another() {
        let directory = tempfile::tempdir().unwrap();
        let durations = DurationCache::new(directory.path());
        durations.put("/a", "web", 12.5);
        durations.put("/a", "web", 13.5);
        assert_eq!(durations.get("/a", "web"), Some(13.5));
        assert_eq!((durations.get("/b", "web"), durations.get("/a", "web@x")), (None, None));
    }
}
