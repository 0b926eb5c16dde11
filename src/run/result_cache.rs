//! What a run knows of former ones, and one boot at a time where hooks ask.

use super::single_flight::{self, Entered, FlightLock};
use crate::cache::{Accelerators, CachedEvaluation, EvaluationCache, ResultCache, ResultKey, Tested, Tree};
use crate::cli::TryArgs;
use crate::event::Events;
use crate::failure::{Failure, Result};
use crate::model::{Accel, AccelChoice, Cached, Report};
use crate::nix::{Evaluated, Nix};
use crate::paths::{cache_directory, state_directory};
use crate::resolve::{self, Target};

/// What is remembered, and how this run stands to it.
#[derive(Debug)]
pub(super) struct RunCache {
    verdicts: Option<ResultCache>,
    accelerators: Option<Accelerators>,
    /// Whether former runs are asked.
    reads: bool,
    no_jail: bool,
    for_agent: bool,
    /// What the verdict of this run depends on, once it is known that this run finds it.
    key: Option<ResultKey>,
    flight_lock: Option<FlightLock>,
    /// What this run's tree evaluated to.
    learned: Option<(TreeSnapshot, CachedEvaluation)>,
}

/// The tree before it is evaluated, where that is worth remembering.
#[derive(Debug)]
pub(super) struct TreeSnapshot {
    evaluations: EvaluationCache,
    tree: Tree,
}

impl RunCache {
    /// For a run with these arguments. In front of a person nothing is remembered.
    pub(super) fn new(arguments: &TryArgs, is_demo: bool) -> Self {
        let cache = cache_directory().filter(|_| !is_demo);
        Self {
            verdicts: cache.as_deref().map(ResultCache::new),
            accelerators: cache.as_deref().map(Accelerators::new),
            reads: !arguments.checks.fresh && !arguments.keep,
            no_jail: arguments.machine.no_jail,
            for_agent: arguments.for_agent.is_some(),
            key: None,
            flight_lock: None,
            learned: None,
        }
    }

    /// Looks at the flake's files.
    pub(super) fn look(&self, arguments: &TryArgs, nix: &Nix) -> Option<TreeSnapshot> {
        self.verdicts.as_ref()?;
        let typed = arguments.target.as_deref().unwrap_or(".");
        let flake = resolve::local_flake(typed, nix)?;
        let (root, dir) = (flake.git_root.as_deref()?, flake.dir.as_deref()?);
        let evaluations = EvaluationCache::new(&cache_directory()?, root, dir, typed, arguments.checks.vm_only, nix)?;
        let tree = evaluations.tree()?;
        Some(TreeSnapshot { evaluations, tree })
    }

    /// What the same files evaluated to before. Only good for finding a verdict: nix may have collected what it names.
    pub(super) async fn evaluated(
        &self,
        look: Option<&TreeSnapshot>,
        nix: &Nix,
        events: &Events,
    ) -> Option<(Target, CachedEvaluation)> {
        let look = look.filter(|_| self.reads)?;
        let remembered = look.evaluations.get(&look.tree)?;
        let target = resolve::resolve(Some(&remembered.resolved), nix, events).await.ok()?;
        Some((target, remembered))
    }

    /// The accelerator that was proven before, good enough to find a verdict.
    pub(super) fn accelerator(&self, wish: AccelChoice) -> Option<Accel> {
        self.accelerators.as_ref()?.get(wish)
    }

    /// Remembers the accelerator that was proven.
    pub(super) fn proven(&self, wish: AccelChoice, accel: Accel) {
        if let Some(accelerators) = &self.accelerators {
            accelerators.put(wish, accel);
        }
    }

    /// Remembers what the files evaluated to.
    pub(super) fn learn(
        &mut self,
        look: Option<TreeSnapshot>,
        target: &Target,
        evaluated: &Evaluated,
        events: &Events,
    ) {
        let Some(look) = look else { return };
        if evaluated.toplevel_failure.is_some() || evaluated.is_unlocked {
            return;
        }
        let remembered = CachedEvaluation { resolved: target.resolved(), evaluated: evaluated.clone(), apply: None };
        // What cannot be remembered costs time, no more.
        if look.evaluations.put(&look.tree, &remembered).unwrap_or(false) {
            events.note(
                "the same files make another system with each commit (self.rev, its time or \
                 system.configurationRevision is in it), so that no verdict outlives a commit",
            );
        }
        self.learned = Some((look, remembered));
    }

    /// The verdict of a former run of the same plan.
    pub(super) fn recall(&self, tested: Tested<'_>) -> Option<Report> {
        let verdicts = self.verdicts.as_ref().filter(|_| self.reads)?;
        let key = ResultKey::new(tested, self.no_jail)?;
        self.answer(verdicts, &key)
    }

    fn answer(&self, verdicts: &ResultCache, key: &ResultKey) -> Option<Report> {
        let mut report = verdicts.get(key)?;
        report.cached = Some(Cached::of(&report.started));
        Some(report)
    }

    /// Says what is about to be started. Where a hook asks, waits for its turn, and may find the verdict by then.
    ///
    /// # Errors
    /// Interrupted (130), where a newer request has come.
    pub(super) async fn built(
        &mut self,
        target: &Target,
        tested: Tested<'_>,
        events: &Events,
    ) -> Result<Option<Report>> {
        let Some(verdicts) = self.verdicts.clone() else { return Ok(None) };
        let key = ResultKey::new(tested, self.no_jail);
        if self.for_agent
            && let Some(directory) = state_directory()
        {
            events.doing("waiting for another run of this target");
            let name = key.as_ref().map_or_else(|| tested.runner.display().to_string(), ResultKey::digest);
            match single_flight::enter(&directory.join("flight"), &subject(&target.resolved()), &name).await {
                Ok(Entered::Ours(flight)) => self.flight_lock = Some(flight),
                Ok(Entered::Superseded) => return Err(Failure::interrupted()),
                // Two boots are a waste, no more.
                Err(error) => events.note(format!("other runs of this target are not waited for: {error}")),
            }
            if self.reads
                && let Some(known) = key.as_ref().and_then(|key| self.answer(&verdicts, key))
            {
                return Ok(Some(known));
            }
        }
        self.key = key;
        Ok(None)
    }

    /// Remembers the verdict that this run found. Then others may boot.
    pub(super) fn remember(self, report: &Report) {
        if let (Some(verdicts), Some(key)) = (&self.verdicts, &self.key) {
            // What cannot be remembered costs time, no more.
            drop(verdicts.put(key, report));
        }
        if let (Some((look, mut remembered)), Some(apply)) = (self.learned, &report.apply) {
            remembered.apply = Some(apply.clone());
            drop(look.evaluations.replace(&look.tree, &remembered));
        }
    }
}

/// What only one run at a time is for: a target, whichever of a repository's commits it is asked of.
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
