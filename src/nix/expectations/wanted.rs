//! Which units are expected to be started: those that something wants, of the system or of a user.

use std::collections::BTreeMap;

use super::{Expectations, ExpectedUnit};

impl ExpectedUnit {
    /// Whether the configuration asks for the unit, which has this name, to be started by something: templates cannot be.
    pub(crate) fn is_wanted(&self, name: &str) -> bool {
        self.enable && !self.wanted_by.is_empty() && !name.contains("@.")
    }
}

impl Expectations {
    /// The units that are expected of a user's manager: those of the configuration and of home-manager that are wanted by
    /// another unit.
    pub(crate) fn units_of_user(&self, user: &str) -> BTreeMap<String, ExpectedUnit> {
        let of_home = self.home_units.get(user).into_iter().flatten();
        self.user_units
            .iter()
            .chain(of_home)
            .filter(|(name, unit)| unit.is_wanted(name))
            .map(|(name, unit)| (name.clone(), unit.clone()))
            .collect()
    }

    /// Users whose manager runs from the boot on (`linger`) with units expected of it, where there is no desktop.
    pub(crate) fn lingering_users(&self) -> Vec<&str> {
        if self.desktop.is_some() {
            return Vec::new();
        }
        let users = self.users.iter().filter(|(name, user)| user.linger && !self.units_of_user(name).is_empty());
        users.map(|(name, _)| name.as_str()).collect()
    }
}
