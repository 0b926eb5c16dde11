//! `nixbox diff`: what a configuration changes, and what switching to it would do. No VM, no root; nothing of either
//! configuration is executed.
//!
//! ```text
//! targets ──► system ──► units, etc, security, boot, packages ──► model ──► human, markdown, JSON
//! (two tops)  (data)              plan (switch_rules)
//! ```
//!
//! [`targets`] finds and builds two toplevels; [`system`] reads each from the store ([`store_files`]) as data. The rest
//! is pure: each comparison takes both as a [`context::Context`] and gives [`Change`]s with a [`Grade`]. Store paths are
//! compared by what they are called ([`names`]), and text files that they lead to by their text, so that what was merely
//! rebuilt is told in one line. [`switch_rules`] holds NixOS's own rules for units, [`mounts`] those for file systems.

mod accounts;
mod boot;
mod containers;
mod context;
mod etc;
mod firewall;
mod human;
mod lines;
#[cfg(test)]
pub(crate) mod made;
mod markdown;
mod model;
mod mounts;
mod names;
mod packages;
mod plan;
mod sandbox;
mod scripts;
mod security;
mod store_files;
pub(crate) mod switch_rules;
mod system;
mod targets;
pub(crate) mod unit_file;
pub(crate) mod unit_set;
mod units;
mod wrappers;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use clap::ValueEnum;

use self::context::Context;
pub use self::model::{
    Area, Change, Comparison, Counts, Detail, Grade, Kind, PackageChange, PackageChanges, Side, SwitchPlan, UnitPlan,
};
use self::packages::Closures;
use self::store_files::{Files, Found, StoreFiles};
use self::system::System;
use self::targets::Toplevels;
use self::unit_set::UnitSet;
use crate::event::Events;
use crate::failure::{Failure, Result};
use crate::model::{DIFF_SCHEMA, Exit};
use crate::nix::{self, Nix, NixFlags, STORE_DIR, Store};
use crate::report::json;

/// Where the running system is.
const CURRENT_SYSTEM: &str = "/run/current-system";

/// What is compared.
#[derive(Debug, Clone, Default)]
pub struct DiffRequest {
    /// What to compare with; `None` where it goes by what is compared.
    pub from: Option<String>,
    /// What to compare; `None` is the flake here.
    pub to: Option<String>,
    /// The grade of a change from which on the exit code is 1.
    pub fail_on: Option<Grade>,
    /// nix's own flags.
    pub nix: NixFlags,
}

/// What `nixbox diff` prints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum DiffFormat {
    /// For people, on a screen
    #[default]
    Human,
    /// One JSON document (nixbox schema diff)
    Json,
    /// For a pull request
    Markdown,
}

/// Compares what was named.
///
/// # Errors
/// Usage (exit 2) for what is not there, exit 3 for what does not evaluate or build, exit 5 for what this host cannot do.
pub async fn run(request: &DiffRequest, events: &Events) -> Result<Comparison> {
    let nix = Nix::new(request.nix.clone());
    let tops = targets::toplevels(request, &nix, events).await?;
    events.doing("comparing");
    let mut comparison = compare(&tops, &nix).await?;
    comparison.notes.splice(0..0, tops.notes);
    if !comparison.same
        && let Some(target) = &tops.target
    {
        let apply = nix::apply_command(target, &nix).await;
        comparison.apply = apply.map(|apply| nix::with_subcommand(&apply, &comparison.switch.command));
    }
    comparison.finish();
    if request.fail_on.is_some_and(|grade| comparison.reaches(grade)) {
        comparison.exit = Exit::CheckFailed.code();
    }
    Ok(comparison)
}

/// The comparison in a format, with a line end.
pub fn render(comparison: &Comparison, format: DiffFormat, full: bool) -> String {
    match format {
        DiffFormat::Human => human::render(comparison, full),
        DiffFormat::Markdown => markdown::render(comparison),
        DiffFormat::Json => json::pretty(comparison),
    }
}

/// The JSON schema of the comparison, with a line end.
pub fn schema() -> String {
    json::pretty(&schemars::schema_for!(Comparison))
}

/// What a switch between two toplevels of a store does: to the units that are `active`, or where that is not known to
/// those that the old configuration starts. Packages are not looked at.
pub fn switch_plan(store: Store, from: &Path, to: &Path, active: Option<&BTreeSet<String>>) -> SwitchPlan {
    let files = StoreFiles::new(store);
    let (old, new) = (System::read(&files, from), System::read(&files, to));
    let context = Context { old: &old, new: &new, files: &files, rebuilt: RefCell::new(BTreeSet::new()) };
    plan::plan(&context, None, active)
}

/// The units of a configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Units {
    /// Those of PID 1.
    pub(crate) system: UnitSet,
    /// Those of users' managers.
    pub(crate) user: UnitSet,
}

/// The units of a toplevel of a store.
pub(crate) fn units_of(store: Store, toplevel: &Path) -> Units {
    let files = StoreFiles::new(store);
    let read = |scope: &str| system::unit_set(&files, &toplevel.join("etc/systemd").join(scope));
    Units { system: read("system"), user: read("user") }
}

/// Why this host, running NixOS, would refuse to switch to a toplevel; none where nothing known refuses it, or where this
/// host runs something else.
pub(crate) fn refused_here(toplevel: &Path) -> Vec<String> {
    let Ok(current) = std::fs::canonicalize(CURRENT_SYSTEM) else { return Vec::new() };
    if !current.starts_with(STORE_DIR) || current == toplevel {
        return Vec::new();
    }
    plan::refused_by(&StoreFiles::default(), &current, toplevel)
}

/// Reads both systems while nix tells what they need.
async fn compare(tops: &Toplevels, nix: &Nix) -> Result<Comparison> {
    let (from, to) = (tops.from.clone(), tops.to.clone());
    let store = Store::of(&to, nix);
    let reading = tokio::task::spawn_blocking(move || {
        let files = StoreFiles::new(store);
        let (old, new) = std::thread::scope(|scope| {
            let old = scope.spawn(|| System::read(&files, &from));
            let new = System::read(&files, &to);
            (old.join(), new)
        });
        old.map(|old| (files, old, new)).ok()
    });
    let roots = [tops.from.to_string_lossy().into_owned(), tops.to.to_string_lossy().into_owned()];
    let (read, infos) = tokio::join!(reading, nix.path_infos(&roots));
    let read = read.map_err(|error| Failure::host("the systems could not be read").because(error))?;
    let (files, old, new) = read.ok_or_else(|| Failure::host("a system could not be read"))?;
    let mut notes = Vec::new();
    let closures = match infos {
        Ok(infos) => Some(Closures::new(infos)),
        Err(why) => {
            notes.push(format!("packages are not compared: {why}"));
            None
        }
    };
    let mut comparison = compared(&files, &old, &new, closures.as_ref());
    comparison.from.named.clone_from(&tops.from_named);
    comparison.to.named.clone_from(&tops.to_named);
    comparison.notes.extend(notes);
    Ok(comparison)
}

/// The comparison of two systems.
fn compared(files: &dyn Files, old: &System, new: &System, closures: Option<&Closures>) -> Comparison {
    let context = Context { old, new, files, rebuilt: RefCell::new(BTreeSet::new()) };
    let top = |system: &System| system.top.to_string_lossy().into_owned();
    let (old_top, new_top) = (top(old), top(new));
    let installed = |system: &System| match files.find(&system.top.join("sw")) {
        Found::Directory(path) => path.to_string_lossy().into_owned(),
        _ => String::new(),
    };
    let packages = closures.map(|closures| closures.changes((&old_top, &installed(old)), (&new_top, &installed(new))));
    let mut changes = security::wrappers(&context);
    changes.extend(security::firewall(&context));
    changes.extend(security::accounts(&context));
    changes.extend(units::changes(&context, false));
    changes.extend(units::changes(&context, true));
    changes.extend(etc::changes(&context));
    changes.extend(boot::changes(&context));
    changes.extend(boot::activation(&context));
    changes.iter_mut().for_each(security::tell_of_logins);
    changes.extend(packages.iter().flat_map(packages::lines));
    changes.extend(context.rebuilt_change());
    let side = |toplevel: String, system: &System| Side {
        named: String::new(),
        version: system.version.clone(),
        closure_bytes: closures.and_then(|closures| closures.bytes(&toplevel)),
        toplevel,
    };
    Comparison {
        schema: DIFF_SCHEMA,
        same: old_top == new_top,
        counts: Counts::default(),
        switch: plan::plan(&context, packages.as_ref(), None),
        from: side(old_top, old),
        to: side(new_top, new),
        changes,
        packages,
        apply: None,
        notes: Vec::new(),
        exit: Exit::Pass.code(),
    }
}

#[cfg(test)]
mod tests;
