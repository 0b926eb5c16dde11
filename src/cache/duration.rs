//! How long a host took the last time: so that of many the longest is begun first.

use std::path::Path;

use super::Entries;

/// Remembered durations, by flake and host.
#[derive(Debug, Clone)]
pub struct DurationCache {
    entries: Entries,
}

impl DurationCache {
    /// Those below `cache` (see [`crate::paths::cache_directory`]).
    pub fn new(cache: &Path) -> Self {
        Self { entries: Entries::new(cache, "durations") }
    }

    /// Seconds that this host of this flake took from its machine's start to its end.
    pub fn get(&self, flake: &str, host: &str) -> Option<f64> {
        self.entries.get::<f64>(&key(flake, host)).filter(|seconds| seconds.is_finite())
    }

    /// Remembers how many seconds it took.
    pub fn put(&self, flake: &str, host: &str, seconds: f64) {
        // What cannot be remembered costs time, no more.
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
