//! What a run takes from the caches and puts into them, and the single-flight lock of runs for agents.

use super::single_flight::{self, Acquisition, SingleFlightLock};
use crate::cache::{AcceleratorCache, CachedEvaluation, EvaluationCache, ResultCache, ResultKey, TestInputs, Tree};
use crate::cli::TryArgs;
use crate::event::Events;
use crate::failure::{Failure, Result};
use crate::model::{Accel, AccelChoice, Cached, Report};
use crate::nix::{Evaluated, Nix, Target};
use crate::paths::{cache_directory, state_directory};
use crate::resolve;

/// The caches, and what this run has to do with them.
#[derive(Debug)]
pub(super) struct RunCache {
    verdicts: Option<ResultCache>,
    accelerators: Option<AcceleratorCache>,
    /// Whether verdicts of former runs may be used.
    reads: bool,
    no_jail: bool,
    for_agent: bool,
    /// The key of this run's verdict, once it is certain that this run has to find it.
    key: Option<ResultKey>,
    flight_lock: Option<SingleFlightLock>,
    /// What this run's tree evaluated to.
    evaluation: Option<(TreeSnapshot, CachedEvaluation)>,
}

/// The tree before it is evaluated, if its evaluation can be cached.
#[derive(Debug)]
pub(super) struct TreeSnapshot {
    evaluations: EvaluationCache,
    tree: Tree,
}

impl RunCache {
    /// For a run with these arguments. A demo does not use the caches.
    pub(super) fn new(arguments: &TryArgs, is_demo: bool) -> Self {
        let cache = cache_directory().filter(|_| !is_demo);
        Self {
            // A verdict of two boots is none of one, nor the other way round.
            verdicts: cache.as_deref().filter(|_| arguments.boots < 2).map(ResultCache::new),
            accelerators: cache.as_deref().map(AcceleratorCache::new),
            reads: !arguments.checks.fresh && !arguments.keep,
            no_jail: arguments.machine.no_jail,
            for_agent: arguments.for_agent.is_some(),
            key: None,
            flight_lock: None,
            evaluation: None,
        }
    }

    /// Neither finds verdicts from now on nor stores its own.
    pub(super) fn bypass(&mut self) {
        self.verdicts = None;
    }

    /// Takes a fingerprint of the flake's files.
    pub(super) fn snapshot(&self, arguments: &TryArgs, nix: &Nix) -> Option<TreeSnapshot> {
        self.verdicts.as_ref()?;
        let typed = arguments.target.as_deref().unwrap_or(".");
        let flake = resolve::local_flake(typed, nix)?;
        let (root, dir) = (flake.git_root.as_deref()?, flake.dir.as_deref()?);
        let disks = if arguments.disks { " with its disks" } else { "" };
        let (directory, name) = (cache_directory()?, format!("{typed}{disks}"));
        let evaluations = EvaluationCache::new(&directory, root, dir, &name, arguments.checks.vm_only, nix)?;
        let tree = evaluations.tree()?;
        Some(TreeSnapshot { evaluations, tree })
    }

    /// What the same files evaluated to before. Only good for finding a verdict: nix may have garbage-collected its paths.
    pub(super) async fn evaluated(
        &self,
        snapshot: Option<&TreeSnapshot>,
        nix: &Nix,
        events: &Events,
    ) -> Option<(Target, CachedEvaluation)> {
        let snapshot = snapshot.filter(|_| self.reads)?;
        let cached = snapshot.evaluations.get(&snapshot.tree)?;
        let target = resolve::resolve(Some(&cached.resolved), nix, events).await.ok()?;
        Some((target, cached))
    }

    /// The accelerator that was proven to work before, good enough to find a verdict.
    pub(super) fn accelerator(&self, choice: AccelChoice) -> Option<Accel> {
        self.accelerators.as_ref()?.get(choice)
    }

    /// Stores the accelerator that was proven to work.
    pub(super) fn record_accelerator(&self, choice: AccelChoice, accel: Accel) {
        if let Some(accelerators) = &self.accelerators {
            accelerators.put(choice, accel);
        }
    }

    /// Stores what the files evaluated to.
    pub(super) fn record_evaluation(
        &mut self,
        snapshot: Option<TreeSnapshot>,
        target: &Target,
        evaluated: &Evaluated,
        events: &Events,
    ) {
        let Some(snapshot) = snapshot else { return };
        if evaluated.is_unlocked {
            return;
        }
        let cached = CachedEvaluation { resolved: target.resolved(), evaluated: evaluated.clone(), apply: None };
        // An evaluation or a verdict that is not cached costs time only.
        if snapshot.evaluations.put(&snapshot.tree, &cached).unwrap_or(false) {
            events.note(
                "the same files make another system with each commit (it contains self.rev, its time or \
                 system.configurationRevision), so cached verdicts are valid for one commit only",
            );
        }
        self.evaluation = Some((snapshot, cached));
    }

    /// The verdict of a former run of the same plan.
    pub(super) fn recall(&self, inputs: TestInputs<'_>) -> Option<Report> {
        let verdicts = self.verdicts.as_ref().filter(|_| self.reads)?;
        let key = ResultKey::new(inputs, self.no_jail)?;
        self.cached_report(verdicts, &key)
    }

    fn cached_report(&self, verdicts: &ResultCache, key: &ResultKey) -> Option<Report> {
        let mut report = verdicts.get(key)?;
        report.cached = Some(Cached::of(&report.started));
        Some(report)
    }

    /// Before the machine is started: for an agent, acquires the single-flight lock, after which the verdict may be known.
    ///
    /// # Errors
    /// Interrupted (130), if superseded by a newer request.
    pub(super) async fn built(
        &mut self,
        target: &Target,
        inputs: TestInputs<'_>,
        events: &Events,
    ) -> Result<Option<Report>> {
        let Some(verdicts) = self.verdicts.clone() else { return Ok(None) };
        let key = ResultKey::new(inputs, self.no_jail);
        if self.for_agent
            && let Some(directory) = state_directory()
        {
            events.doing("waiting for another run of this target");
            let name = key.as_ref().map_or_else(|| inputs.runner.display().to_string(), ResultKey::digest);
            match single_flight::acquire(&directory.join("flight"), &subject(&target.resolved()), &name).await {
                Ok(Acquisition::Acquired(lock)) => self.flight_lock = Some(lock),
                Ok(Acquisition::Superseded) => return Err(Failure::interrupted()),
                // Two boots at once cost time only.
                Err(error) => events.note(format!(
                    "the single-flight lock cannot be used, so other runs of this target are not waited for: {error}"
                )),
            }
            if self.reads
                && let Some(known) = key.as_ref().and_then(|key| self.cached_report(&verdicts, key))
            {
                return Ok(Some(known));
            }
        }
        self.key = key;
        Ok(None)
    }

    /// Stores the verdict of this run, and releases the lock.
    pub(super) fn store(self, report: &Report) {
        if let (Some(verdicts), Some(key)) = (&self.verdicts, &self.key) {
            // An evaluation or a verdict that is not cached costs time only.
            drop(verdicts.put(key, report));
        }
        if let (Some((snapshot, mut cached)), Some(apply)) = (self.evaluation, &report.apply) {
            cached.apply = Some(apply.clone());
            drop(snapshot.evaluations.replace(&snapshot.tree, &cached));
        }
    }
}

/// What the lock is for: a target, in whichever commit.
fn subject(resolved: &str) -> String {
    let (before, after) = resolved.split_once("rev=").unwrap_or((resolved, ""));
    let revision = after.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(after.len());
    format!("{before}{}", &after[revision..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_no_other_subject() {
        assert_eq!(subject("/home/u/nixos#a"), "/home/u/nixos#a");
        let of = |revision: &str| subject(&format!("git+file:///x?dir=b&rev={revision}#nixosConfigurations.a"));
        assert_eq!(of("3f1c0de9b7a2c6a1c9d0e4f5a6b7c8d9e0f1a2b3"), of("9b2d7f00aa11bb22cc33dd44ee55ff6677889900"));
        assert_ne!(of("00"), subject("git+file:///x?dir=b&rev=00#nixosConfigurations.b"));
    }
}
