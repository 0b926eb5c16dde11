//! How far the machine came.

use super::unit::{is_activating, is_active};
use crate::guest::facts::{Facts, Unit};

/// How far the machine came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BootState {
    /// The default target is active.
    Up,
    /// Emergency or rescue mode: the unit that shows it.
    Emergency(String),
    /// The default target is not active, and jobs are queued.
    Stuck,
    /// The default target is not active, and nothing will change that.
    NotReached,
    /// The facts that show it are missing.
    Unknown(String),
}

/// The default target as the guest has it, if it is known.
pub(crate) fn default_target(facts: &Facts) -> Option<&Unit> {
    let name = facts.manager.default_target.as_str();
    if !name.is_empty() && name != "default.target" {
        return facts.unit(name);
    }
    facts.unit("default.target").or_else(|| {
        let usual = ["graphical.target", "multi-user.target"];
        usual.into_iter().filter_map(|name| facts.unit(name)).find(|target| is_active(target))
    })
}

/// How far the machine came.
pub(crate) fn state(facts: &Facts) -> BootState {
    if let Some(why) = facts.gaps.get("units").or_else(|| facts.gaps.get("manager")) {
        return BootState::Unknown(why.clone());
    }
    let target_is_up = default_target(facts).is_some_and(is_active);
    for name in ["emergency.target", "rescue.target", "emergency.service", "rescue.service"] {
        let Some(unit) = facts.unit(name) else { continue };
        let is_default = facts.manager.default_target == name;
        if (is_active(unit) || is_activating(unit)) && !is_default && !target_is_up {
            return BootState::Emergency(name.to_owned());
        }
    }
    if target_is_up {
        return BootState::Up;
    }
    if !facts.jobs.is_empty() {
        return BootState::Stuck;
    }
    let finished = facts.manager.finish_us > 0 && matches!(facts.manager.state.as_str(), "running" | "degraded");
    match default_target(facts) {
        Some(_) => BootState::NotReached,
        None if finished => BootState::Up,
        None if facts.units.is_empty() => BootState::Unknown("no units were listed".to_owned()),
        None => BootState::NotReached,
    }
}
