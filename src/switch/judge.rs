//! What a rehearsed switch means (pure).

use super::observation::Rehearsal;
use crate::model::{CheckResult, SwitchRunInfo};

/// The checks of the machine in each phase, already held against those before the switch: what was red then does not count
/// (`CheckResult::before`).
pub(crate) struct PhaseChecks<'a> {
    /// Before the switch.
    pub(crate) fresh: &'a [CheckResult],
    /// After it.
    pub(crate) switched: &'a [CheckResult],
    /// After the way back.
    pub(crate) back: &'a [CheckResult],
}

/// The results of the `switch.*` checks, each with its phase.
pub(crate) fn judge(_rehearsal: &Rehearsal, _checks: &PhaseChecks<'_>) -> Vec<CheckResult> {
    Vec::new()
}

/// What the report says of each run of the switch program.
pub(crate) fn run_infos(_rehearsal: &Rehearsal) -> Vec<SwitchRunInfo> {
    Vec::new()
}
