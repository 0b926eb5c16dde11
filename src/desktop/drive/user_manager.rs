//! Reading a user's systemd until its units have settled.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::desktop::facts::{DesktopFacts, LoginMethod};
use crate::desktop::unit_restarts::{is_starting, is_undecided, unsettled};
use crate::desktop::{expected, probe};
use crate::guest::facts::{Account, Unit};
use crate::guest::user_units::UserManager;
use crate::guest::{Error, Guest};
use crate::model::timeouts::desktop::{UNIT_RESTARTS_INTERVAL, UNIT_RESTARTS_LIMIT};
use crate::nix::expectations::Expectations;

/// A user's systemd, as it was when it was read, and how to read it again.
pub(super) struct ReadManager<'a> {
    guest: &'a Guest,
    ids: (u32, u32),
    units: BTreeSet<String>,
    patience: Duration,
    manager: UserManager,
}

/// Reads the units that are expected of a session's user, and those that every session has.
///
/// # Errors
/// The user's systemd does not answer.
pub(super) async fn read_expected<'a>(
    guest: &'a Guest,
    expectations: &Expectations,
    account: &Account,
    patience: Duration,
) -> Result<ReadManager<'a>, Error> {
    let units = expectations.units_of_user(&account.name).into_keys();
    read(guest, account, units.chain(expected::ALWAYS_READ.map(str::to_owned)).collect(), patience).await
}

async fn read<'a>(
    guest: &'a Guest,
    account: &Account,
    units: BTreeSet<String>,
    patience: Duration,
) -> Result<ReadManager<'a>, Error> {
    let ids = (account.uid, account.gid);
    let manager = guest.user_manager(ids, &units, patience).await?;
    Ok(ReadManager { guest, ids, units, patience, manager })
}

impl ReadManager<'_> {
    /// Once units that are about to be restarted have settled.
    pub(super) async fn settled(self) -> UserManager {
        self.once(is_undecided).await
    }

    /// Once it is known what becomes of the units that are open, or the time is over.
    async fn once(self, is_open: impl Fn(&Unit) -> bool) -> UserManager {
        let Self { guest, ids, units, patience, mut manager } = self;
        let until = Instant::now() + UNIT_RESTARTS_LIMIT;
        let mut open = BTreeMap::new();
        loop {
            open = unsettled(&manager.units, &open, &is_open);
            if open.is_empty() || Instant::now() >= until {
                return manager;
            }
            sleep(UNIT_RESTARTS_INTERVAL).await;
            let Ok(later) = guest.user_manager(ids, &units, patience).await else { return manager };
            manager = later;
        }
    }
}

/// Probes a user who lingers and has no session: the units of their systemd, and its journal.
pub(crate) async fn probe_lingering(
    guest: &Guest,
    expectations: &Expectations,
    account: &Account,
    patience: Duration,
) -> DesktopFacts {
    let login = LoginMethod::NotLoggedIn("no desktop is expected".to_owned());
    let mut facts = DesktopFacts { user: Some(account.name.clone()), login, ..DesktopFacts::default() };
    let units = expectations.units_of_user(&account.name).into_keys().collect();
    match read(guest, account, units, patience).await {
        Ok(manager) => facts.manager = Some(manager.once(is_starting).await),
        Err(error) => drop(facts.gaps.insert("user-units".to_owned(), error.to_string())),
    }
    match probe::user_journal(guest, account.uid, patience).await {
        Ok(lines) => facts.journal = lines,
        Err(error) => drop(facts.gaps.insert("desktop-journal".to_owned(), error.to_string())),
    }
    facts
}
