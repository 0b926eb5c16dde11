//! Kernel modules, and values below `/proc/sys`.

use std::collections::BTreeMap;

use super::Between;
use crate::judging::Finding;
use crate::judging::text::list;

impl Between<'_> {
    pub(super) fn kernel(&self) -> Vec<Finding> {
        self.values().into_iter().chain(self.modules()).collect()
    }

    /// Values that are others, those of one place together.
    fn values(&self) -> Vec<Finding> {
        let (before, back) = (&self.before.state.sysctl, &self.back.state.sysctl);
        let mut places: BTreeMap<&str, Vec<(&str, &str, &str)>> = BTreeMap::new();
        for (name, value) in back {
            let Some(known) = before.get(name).filter(|known| *known != value) else { continue };
            let place = name.rsplit_once('.').map_or("", |(place, _)| place);
            places.entry(place).or_default().push((name, value, known));
        }
        let told = places.into_iter().map(|(place, values)| match values.as_slice() {
            [(name, value, known)] => self.left(
                name,
                format!("{name} is {value} after switching back, and was {known} before: nothing resets it"),
            ),
            _ => {
                let each = values.iter().map(|(name, value, known)| format!("{name} is {value}, and was {known}"));
                let names: Vec<&str> =
                    values.iter().map(|(name, ..)| name.rsplit('.').next().unwrap_or_default()).collect();
                self.left(
                    place,
                    format!(
                        "{} values below {place} are different after switching back ({}): nothing resets them",
                        values.len(),
                        list(&names)
                    ),
                )
                .detail(each)
            }
        });
        told.collect()
    }

    /// Modules come several at once, with those that they need.
    fn modules(&self) -> Option<Finding> {
        let new = self.back.state.modules.difference(&self.before.state.modules);
        let new: Vec<&str> = new.map(String::as_str).collect();
        match new.as_slice() {
            [] => None,
            [module] => {
                Some(self.left(module, format!("the kernel module {module} is still loaded after switching back")))
            }
            [first, ..] => Some(
                self.left(
                    first,
                    format!("{} kernel modules are still loaded after switching back: {}", new.len(), list(&new)),
                )
                .detail((new.len() > 3).then(|| new.join(", "))),
            ),
        }
    }
}
