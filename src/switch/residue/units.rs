//! Units, accounts and groups.

use super::network::without;
use super::{Between, Differences, gap, is_active, is_by_design};
use crate::guest::facts::{Account, Password, Unit};
use crate::judging::Finding;
use crate::model::{ActiveState, ServiceType};

impl Between<'_> {
    pub(super) fn units(&self) -> Differences {
        gap([self.before, self.back], &["units"])?;
        let before = super::active(self.before);
        let wanted = super::wanted(self.back, self.from);
        let units = |facts: &'_ [Unit]| {
            facts
                .iter()
                .filter(|unit| !is_by_design(&unit.name) && !unit.name.ends_with(".mount"))
                .cloned()
                .collect::<Vec<_>>()
        };
        let left = units(&self.back.facts.units)
            .into_iter()
            .filter(|unit| is_active(unit) && !before.contains(unit.name.as_str()) && !wanted.contains(&unit.name))
            .filter(|unit| !self.is_on_demand(unit));
        let left = left.map(|unit| {
            let from = if unit.fragment_path.contains("/transient/") { ", made at run time," } else { "" };
            self.left(&unit.name, format!("{}{from} is active after switching back, and was not before", unit.name))
        });
        let gone = units(&self.before.facts.units).into_iter().filter(|unit| self.was_taken_down(unit));
        let gone = gone.map(|unit| {
            Finding::new(
                &unit.name,
                format!(
                    "{} is no longer active after switching back: it was stopped, and nothing started it again",
                    unit.name
                ),
            )
        });
        Ok(left.chain(gone).collect())
    }

    /// Whether a unit was up before, was stopped, and is not up again though nobody has to ask for it. One that failed is
    /// told by the checks.
    fn was_taken_down(&self, unit: &Unit) -> bool {
        let was_up = matches!(unit.active_state, ActiveState::Active | ActiveState::Reloading);
        let now = self.back.facts.unit(&unit.name);
        let is_down = now.is_none_or(|now| !is_active(now) && now.active_state != ActiveState::Failed);
        was_up && is_down && !self.is_on_demand(unit) && self.stopped.contains(unit.name.as_str())
    }

    /// Whether a unit runs or does not, as somebody asked for it or nobody did.
    fn is_on_demand(&self, unit: &Unit) -> bool {
        let is_of_bus = unit.service.as_ref().is_some_and(|service| service.kind == ServiceType::Dbus);
        !unit.triggered_by.is_empty() || is_of_bus && unit.wanted_by.is_empty() || self.on_demand.contains(&unit.name)
    }

    pub(super) fn users(&self) -> Differences {
        gap([self.before, self.back], &["accounts", "groups"])?;
        let (before, back) = (&self.before.facts, &self.back.facts);
        let mut findings = Vec::new();
        for account in &back.accounts {
            let name = &account.name;
            match before.accounts.iter().find(|known| known.name == *name) {
                None => {
                    findings.push(self.left(name, format!("the account {name} is still there after switching back")))
                }
                Some(known) => findings.extend(changed(known, account).map(|summary| self.left(name, summary))),
            }
        }
        for (name, group) in &back.groups {
            match before.groups.get(name) {
                None => findings.push(self.left(name, format!("the group {name} is still there after switching back"))),
                Some(known) if known.gid != group.gid => findings.push(self.left(
                    name,
                    format!(
                        "the group {name} has the id {} after switching back, and had {} before",
                        group.gid, known.gid
                    ),
                )),
                Some(known) => {
                    let joined = without(&group.members, &known.members);
                    findings.extend(joined.into_iter().map(|member| {
                        self.left(name, format!("{member} is still in the group {name} after switching back"))
                    }));
                    let left = without(&known.members, &group.members);
                    findings.extend(left.into_iter().map(|member| {
                        self.gone(name, format!("{member} is no longer in the group {name} after switching back"))
                    }));
                }
            }
        }
        let accounts = before.accounts.iter().filter(|known| !back.accounts.iter().any(|now| now.name == known.name));
        findings.extend(
            accounts.map(|known| {
                self.gone(&known.name, format!("the account {} is gone after switching back", known.name))
            }),
        );
        let groups = before.groups.keys().filter(|name| !back.groups.contains_key(*name));
        findings.extend(groups.map(|name| self.gone(name, format!("the group {name} is gone after switching back"))));
        Ok(findings)
    }
}

/// What of an account is not as it was.
fn changed(known: &Account, now: &Account) -> Option<String> {
    let name = &now.name;
    if known.uid != now.uid {
        Some(format!("{name} has the id {} after switching back, and had {} before", now.uid, known.uid))
    } else if known.password == now.password {
        None
    } else if now.password == Password::Locked {
        let is_lost = known.password == Password::Set;
        is_lost.then(|| format!("the password of {name} is gone after switching back: the account is locked"))
    } else {
        let what = if now.password == Password::Empty { "no password is asked of" } else { "a password is set for" };
        Some(format!("{what} {name} after switching back, which was not so before"))
    }
}
