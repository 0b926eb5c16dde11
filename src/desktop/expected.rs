//! What the configuration expects of a desktop and of users' managers.

use super::display_managers;
use crate::guest::facts::Facts;
use crate::guest::user_units::PORTAL_UNIT;
use crate::judging::Plan;
use crate::judging::text::clean;
use crate::judging::unit::{is_failed, is_refused};
use crate::model::CheckId;
use crate::nix::expectations::Expectations;

/// Units of a user's manager that are read whether they are loaded or not.
pub(crate) const ALWAYS_READ: [&str; 3] = [super::SESSION_TARGET, "graphical-session-pre.target", PORTAL_UNIT];

/// The user that the display manager logs in automatically.
pub(crate) fn autologin_user(expectations: &Expectations) -> Option<&str> {
    let desktop = expectations.desktop.as_ref()?;
    desktop.display_manager.as_ref().and(desktop.autologin_user.as_deref())
}

/// Why the user of an automatic login is not logged in.
pub(crate) fn missing_user(name: &str) -> String {
    format!("{} is to be logged in automatically, but there is no such user", clean(name))
}

/// A display manager's unit that failed: the services' checks report that, and there is no desktop to probe.
pub(crate) fn failed_display_manager(plan: &Plan, facts: &Facts) -> Option<&'static str> {
    let is_reported = plan.has(CheckId::ServicesFailedUnits) || plan.has(CheckId::ServicesPromised);
    let failed = |name: &str| facts.unit(name).is_some_and(|unit| is_failed(unit) || is_refused(unit));
    display_managers::units().find(|name| is_reported && failed(name))
}
