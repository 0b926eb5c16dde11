//! Verdicts, by what they depend on.
//!
//! A verdict answers again where the resolved plan is the same to the word: the runner and the host's own system, the
//! machine that it is given, the checks and what they are held against, nixbox itself, QEMU, the accelerator. A runner
//! outside the store can change under its name, and so is never remembered; nor is "could not tell".

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Entries, FileIdentity};
use crate::checks::Plan;
use crate::config::Settings;
use crate::machine::Traits;
use crate::model::{Accel, CheckId, Exit, Report, TransportKind};
use crate::nix::expectations::Expectations;
use crate::nix::{STORE_DIR, Store};

/// What a verdict depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultKey(String);

#[derive(Serialize)]
struct Parts<'a> {
    nixbox: FileIdentity,
    qemu: Option<FileIdentity>,
    runner: &'a Path,
    toplevel: Option<&'a str>,
    accelerator: &'a str,
    transport: TransportKind,
    no_jail: bool,
    checks: &'a [CheckId],
    settings: &'a Settings,
    expectations: &'a Expectations,
}

/// What a run tests, and how: all of it that is known before its machine is started.
#[derive(Debug, Clone, Copy)]
pub struct Tested<'a> {
    /// `bin/run-NAME-vm`, by its logical path.
    pub runner: &'a Path,
    /// Where that lies.
    pub store: &'a Store,
    /// The derivation of the host's own system.
    pub toplevel: Option<&'a str>,
    /// The checks, and what they are held against.
    pub plan: &'a Plan,
    /// The accelerator.
    pub accel: Accel,
    /// The way into the guest.
    pub transport: TransportKind,
}

impl ResultKey {
    /// The key of a run; `None` where its verdict is not to be remembered, or the runner is not there to be looked at.
    ///
    /// How many processors a machine has is in it only where somebody names a number: what nixbox gives is this host's
    /// share, as its speed is.
    pub fn new(tested: Tested<'_>, no_jail: bool) -> Option<Self> {
        let Tested { runner, store, toplevel, plan, accel, transport } = tested;
        if !runner.starts_with(STORE_DIR) {
            return None;
        }
        let text = std::fs::read(store.physical(runner)).ok()?;
        // One that the runner finds by its PATH, or a link out of the store, can change under its name.
        let traits = Traits::scan(&String::from_utf8_lossy(&text));
        let qemu = traits.qemu.map(|path| store.physical(&path)).unwrap_or_else(default_qemu);
        let parts = Parts {
            nixbox: FileIdentity::own()?,
            qemu: FileIdentity::of(&qemu),
            runner,
            toplevel,
            accelerator: accel.name(),
            transport,
            no_jail,
            checks: &plan.checks,
            settings: &plan.settings,
            expectations: &plan.expectations,
        };
        serde_json::to_string(&parts).ok().map(Self)
    }

    /// The same as a short name.
    pub fn digest(&self) -> String {
        super::digest(self.0.as_bytes())
    }
}

/// The QEMU that a runner finds when it names none.
fn default_qemu() -> PathBuf {
    Path::new("/usr/bin").join(format!("qemu-system-{}", std::env::consts::ARCH))
}

/// Remembered results.
#[derive(Debug, Clone)]
pub struct ResultCache {
    entries: Entries,
}

impl ResultCache {
    /// Those below `cache` (see [`crate::paths::cache_directory`]).
    pub fn new(cache: &Path) -> Self {
        Self { entries: Entries::new(cache, "verdicts") }
    }

    /// The report of the run with this key.
    pub fn get(&self, key: &ResultKey) -> Option<Report> {
        self.entries.get::<Report>(&key.0).filter(worth_keeping)
    }

    /// Remembers a report, where it says something of the configuration.
    ///
    /// # Errors
    /// The file system's.
    pub fn put(&self, key: &ResultKey, report: &Report) -> io::Result<()> {
        if worth_keeping(report) { self.entries.put(&key.0, report) } else { Ok(()) }
    }
}

/// A verdict on the configuration by what the guest did. A build that failed may have failed for want of a network.
fn worth_keeping(report: &Report) -> bool {
    [Exit::Pass, Exit::CheckFailed, Exit::Boot].map(Exit::code).contains(&report.exit)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::checks::Selection;

    struct Host {
        root: tempfile::TempDir,
        store: Store,
        runner: PathBuf,
    }

    fn host() -> Host {
        let root = tempfile::tempdir().unwrap();
        let runner = PathBuf::from("/nix/store/abc-vm/bin/run-x-vm");
        let store = Store { root: Some(root.path().to_owned()) };
        let real = store.physical(&runner);
        fs::create_dir_all(real.parent().unwrap()).unwrap();
        fs::create_dir_all(root.path().join("nix/store/qemu")).unwrap();
        fs::write(root.path().join("nix/store/qemu/qemu-system-x86_64"), "").unwrap();
        fs::write(real, "exec /nix/store/qemu/qemu-system-x86_64 -m 1024\n").unwrap();
        Host { root, store, runner }
    }

    fn plan(only: &[&str], settings: &Settings) -> Plan {
        let only: Vec<String> = only.iter().map(|&id| id.to_owned()).collect();
        let selection = Selection::new(&only, &[], std::iter::empty()).unwrap();
        crate::checks::plan(&Expectations::default(), settings, &selection)
    }

    fn tested<'a>(
        host: &'a Host,
        runner: &'a Path,
        plan: &'a Plan,
        toplevel: Option<&'a str>,
        accel: Accel,
    ) -> Tested<'a> {
        Tested { runner, store: &host.store, toplevel, plan, accel, transport: TransportKind::VhostUser }
    }

    fn key(host: &Host, plan: &Plan, toplevel: Option<&str>, accel: Accel) -> ResultKey {
        ResultKey::new(tested(host, &host.runner, plan, toplevel, accel), false).unwrap()
    }

    #[test]
    fn every_part_counts() {
        let host = host();
        let all = plan(&[], &Settings::default());
        let base = key(&host, &all, Some("/nix/store/t.drv"), Accel::Tcg);
        assert_eq!(key(&host, &all, Some("/nix/store/t.drv"), Accel::Tcg), base);
        assert_ne!(key(&host, &all, None, Accel::Tcg), base);
        assert_ne!(key(&host, &all, Some("/nix/store/t.drv"), Accel::Kvm), base);
        assert_ne!(key(&host, &plan(&["boot"], &Settings::default()), Some("/nix/store/t.drv"), Accel::Tcg), base);
        let settings = Settings { units: vec!["x.service".to_owned()], ..Settings::default() };
        assert_ne!(key(&host, &plan(&[], &settings), Some("/nix/store/t.drv"), Accel::Tcg), base);
        fs::write(host.root.path().join("nix/store/qemu/qemu-system-x86_64"), "another").unwrap();
        assert_ne!(key(&host, &all, Some("/nix/store/t.drv"), Accel::Tcg), base);
    }

    #[test]
    fn outside_the_store_nothing_is_remembered() {
        let host = host();
        let script = host.root.path().join("run-x-vm");
        fs::write(&script, "").unwrap();
        let plan = plan(&[], &Settings::default());
        let key = |runner: &Path| ResultKey::new(tested(&host, runner, &plan, None, Accel::Tcg), false);
        assert_eq!(key(&script), None);
        assert_eq!(key(Path::new("/nix/store/gone/bin/run-x-vm")), None);
    }

    #[test]
    fn only_verdicts_on_the_configuration_are_kept() {
        let host = host();
        let cache = tempfile::tempdir().unwrap();
        let verdicts = ResultCache::new(cache.path());
        let key = key(&host, &plan(&[], &Settings::default()), None, Accel::Tcg);
        for report in crate::report::examples::all() {
            verdicts.put(&key, &report).unwrap();
            let kept = [0, 1, 4].contains(&report.exit);
            assert_eq!(verdicts.get(&key).is_some_and(|known| known == report), kept, "{}", report.exit);
        }
    }
}
