//! Units of a user's manager that end and are restarted: which of them has settled, and which never will.
//!
//! Where a unit waits for long before it is restarted, systemd never gives up, and it is never in state `failed`.

use std::collections::BTreeMap;

use crate::guest::facts::Unit;
use crate::judging::unit::{is_active, is_auto_restart, keeps_ending};

/// How far a restarted unit is: its restarts, and when it became active.
pub(crate) type RestartStage = (u32, u64);

/// Whether it is still open what becomes of a unit that a manager starts at the boot.
pub(crate) fn is_starting(unit: &Unit) -> bool {
    is_undecided(unit) || unit.is_coming_up()
}

/// Whether it is still open what becomes of a unit that ended and is about to be restarted.
pub(crate) fn is_undecided(unit: &Unit) -> bool {
    is_auto_restart(unit) && !keeps_ending(unit)
}

/// How far a unit is that was restarted and is up or coming up. One that has not moved since the last time stays.
pub(crate) fn restart_stage(unit: &Unit) -> Option<RestartStage> {
    let restarts = unit.service.as_ref().map_or(0, |service| service.restarts);
    (restarts > 0 && (is_active(unit) || unit.is_coming_up())).then_some((restarts, unit.active_enter_us))
}

/// The units that have not settled yet, given those that had not the last time.
pub(crate) fn unsettled(
    units: &[Unit],
    before: &BTreeMap<String, Option<RestartStage>>,
    is_open: impl Fn(&Unit) -> bool,
) -> BTreeMap<String, Option<RestartStage>> {
    let moves = |unit: &&Unit| {
        let stage = restart_stage(unit);
        is_open(unit) || stage.is_some() && before.get(&unit.name) != Some(&stage)
    };
    units.iter().filter(moves).map(|unit| (unit.name.clone(), restart_stage(unit))).collect()
}
