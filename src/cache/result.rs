//! Verdicts, by everything that they depend on.
//!
//! A verdict is used again if all of this is the same: the runner and the host's own system, the machine's settings, the
//! checks and what they expect, nixbox itself, QEMU, the accelerator. A runner outside the store can change under its
//! name, so its verdicts are never stored; nor is "could not tell".

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Entries, FileIdentity};
use crate::config::Settings;
use crate::judging::Plan;
use crate::machine::Traits;
use crate::model::{Accel, CheckId, Exit, Report, STORE_DIR, TransportKind};
use crate::nix::Store;
use crate::nix::expectations::Expectations;

/// Everything that a verdict depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultKey(String);

#[derive(Serialize)]
struct ResultKeyParts<'a> {
    nixbox: FileIdentity,
    qemu: Option<FileIdentity>,
    runner: &'a Path,
    toplevel: Option<&'a str>,
    accelerator: &'a str,
    transport: TransportKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    switch: Option<&'a str>,
    no_jail: bool,
    checks: &'a [CheckId],
    settings: &'a Settings,
    expectations: &'a Expectations,
}

/// What a run tests and how, as known before its machine is started.
#[derive(Debug, Clone, Copy)]
pub struct TestInputs<'a> {
    /// `bin/run-NAME-vm`, by its logical path.
    pub runner: &'a Path,
    /// The store that it is in.
    pub store: &'a Store,
    /// The derivation of the host's own system.
    pub toplevel: Option<&'a str>,
    /// The checks, and what they expect.
    pub plan: &'a Plan,
    /// The accelerator.
    pub accel: Accel,
    /// The transport to the guest.
    pub transport: TransportKind,
    /// The commit that is switched from, and how far the switch is rehearsed, where it is.
    pub switch: Option<&'a str>,
}

impl ResultKey {
    /// The key of a run; `None` where its verdict must not be stored, or the runner is not in the store yet.
    ///
    /// The number of processors is part of it only where the user sets one: nixbox's own choice is a share
    /// of this host, and so is its speed.
    pub fn new(inputs: TestInputs<'_>, no_jail: bool) -> Option<Self> {
        let TestInputs { runner, store, toplevel, plan, accel, transport, switch } = inputs;
        if !runner.starts_with(STORE_DIR) {
            return None;
        }
        let text = std::fs::read(store.physical(runner)).ok()?;
        // A QEMU that the runner finds on its PATH, or by a link out of the store, can change under its name.
        let traits = Traits::scan(&String::from_utf8_lossy(&text));
        let qemu = traits.qemu.map(|path| store.physical(&path)).unwrap_or_else(default_qemu);
        let parts = ResultKeyParts {
            nixbox: FileIdentity::own()?,
            qemu: FileIdentity::of(&qemu),
            runner,
            toplevel,
            accelerator: accel.name(),
            transport,
            switch,
            no_jail,
            checks: &plan.checks,
            settings: &plan.settings,
            expectations: &plan.expectations,
        };
        serde_json::to_string(&parts).ok().map(Self)
    }

    /// A hash of it.
    pub fn digest(&self) -> String {
        super::digest(self.0.as_bytes())
    }
}

/// The QEMU that a runner without a path of its own finds.
fn default_qemu() -> PathBuf {
    Path::new("/usr/bin").join(format!("qemu-system-{}", std::env::consts::ARCH))
}

/// The stored verdicts.
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

    /// Stores a report, if it is a verdict on the configuration.
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
    use crate::judging::Selection;

    struct TestStore {
        root: tempfile::TempDir,
        store: Store,
        runner: PathBuf,
    }

    fn host() -> TestStore {
        let root = tempfile::tempdir().unwrap();
        let runner = PathBuf::from("/nix/store/abc-vm/bin/run-x-vm");
        let store = Store { root: Some(root.path().to_owned()) };
        let real = store.physical(&runner);
        fs::create_dir_all(real.parent().unwrap()).unwrap();
        fs::create_dir_all(root.path().join("nix/store/qemu")).unwrap();
        fs::write(root.path().join("nix/store/qemu/qemu-system-x86_64"), "").unwrap();
        fs::write(real, "exec /nix/store/qemu/qemu-system-x86_64 -m 1024\n").unwrap();
        TestStore { root, store, runner }
    }

    fn plan(only: &[&str], settings: &Settings) -> Plan {
        let only: Vec<String> = only.iter().map(|&id| id.to_owned()).collect();
        let selection = Selection::new(&only, &[], std::iter::empty()).unwrap();
        crate::judging::plan(&Expectations::default(), settings, &selection)
    }

    fn inputs<'a>(
        host: &'a TestStore,
        runner: &'a Path,
        plan: &'a Plan,
        toplevel: Option<&'a str>,
        accel: Accel,
    ) -> TestInputs<'a> {
        TestInputs {
            runner,
            store: &host.store,
            toplevel,
            plan,
            accel,
            transport: TransportKind::VhostUser,
            switch: None,
        }
    }

    fn key(host: &TestStore, plan: &Plan, toplevel: Option<&str>, accel: Accel) -> ResultKey {
        ResultKey::new(inputs(host, &host.runner, plan, toplevel, accel), false).unwrap()
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
    fn outside_the_store_nothing_is_stored() {
        let host = host();
        let script = host.root.path().join("run-x-vm");
        fs::write(&script, "").unwrap();
        let plan = plan(&[], &Settings::default());
        let key = |runner: &Path| ResultKey::new(inputs(&host, runner, &plan, None, Accel::Tcg), false);
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
