//! Whose the data in `/var/lib` and the homes in `/home` are: ids that went to somebody else, or moved away from the data, and data that a service
//! can no longer read.

use std::collections::{BTreeMap, BTreeSet};

use super::files::{directories, is_dynamic};
use super::gap;
use crate::diff::Units;
use crate::diff::unit_file::UnitFile;
use crate::judging::{Finding, compared};
use crate::model::{CheckId, CheckResult, Status};
use crate::switch::record::{Owner, Record};

/// Where the data are.
const DATA: &str = "/var/lib/";

/// Where people's are.
const HOMES: &str = "/home/";

/// The machine before the switch and at a time after it.
#[derive(Clone, Copy)]
pub(super) struct Times<'a> {
    pub(super) before: &'a Record,
    pub(super) after: &'a Record,
    /// The units of what was switched from.
    pub(super) from: &'a Units,
    /// Those of what runs then.
    pub(super) now: &'a Units,
    /// `since the switch`.
    pub(super) since: &'a str,
}

pub(super) fn judge(times: &Times<'_>) -> CheckResult {
    let id = CheckId::ResidueOwnership;
    if let Err(why) = gap([times.before, times.after], &["accounts", "groups"]) {
        return CheckResult::new(id, Status::Unknown, why);
    }
    let mut findings: Vec<Finding> = Vec::new();
    let readers = readers(times);
    let is_data = |path: &str| path.starts_with(DATA) || path.starts_with(HOMES);
    for (path, owner) in times.after.state.owners.iter().filter(|(path, _)| is_data(path)) {
        let is_told = findings.iter().any(|known| path.starts_with(&format!("{}/", known.item)));
        // Only what was there before has changed hands.
        let Some(before) = times.before.state.owners.get(path).filter(|_| !is_told) else { continue };
        let finding = taken_over(times, path, *before, *owner)
            .or_else(|| taken_by_group(times, path, *before, *owner))
            .or_else(|| readers.iter().find_map(|reader| reader.locked_out(times, path, *before, *owner)));
        findings.extend(finding);
    }
    compared(id, Status::Fail, findings, || {
        "the data in /var/lib and /home belong to the same users as before".to_owned()
    })
}

/// A file that was left as it is while its owner's id went to somebody else, or its owner got another id.
fn taken_over(times: &Times<'_>, path: &str, before: Owner, now: Owner) -> Option<Finding> {
    let (uid, since) = (now.uid, times.since);
    if uid == 0 || is_dynamic(before, now) || before.uid != uid {
        return None;
    }
    let owner = *names(times.before).get(&uid)?;
    if let Some(other) = names(times.after).get(&uid) {
        return (*other != owner).then(|| {
            Finding::new(path, format!("{path} belongs to {other} {since}: its id {uid} was {owner}'s before"))
                .hint(format!("give users.users.{other} another uid, or move the data of {owner} away first"))
        });
    }
    let moved = times.after.facts.accounts.iter().find(|account| account.name == owner)?;
    Some(
        Finding::new(path, format!("{owner} has the id {} {since}, and {path} is still owned by {uid}", moved.uid)).hint(
            format!(
                "keep users.users.{owner}.uid = {uid}, or change the owner of what is there: chown -R --from={uid} {owner} {path}"
            ),
        ),
    )
}

/// A file that a group may use whose id went to another group.
fn taken_by_group(times: &Times<'_>, path: &str, before: Owner, now: Owner) -> Option<Finding> {
    let (gid, since) = (now.gid, times.since);
    if gid == 0 || before.gid != gid || now.permissions() & 0o070 == 0 || is_dynamic(before, now) {
        return None;
    }
    let owner = group_of(times.before, gid)?;
    let other = group_of(times.after, gid).filter(|other| *other != owner)?;
    Some(
        Finding::new(
            path,
            format!("the group {other} may use {path} {since}: its id {gid} was the group {owner}'s before"),
        )
        .hint(format!("give users.groups.{other} another gid, or move the data of {owner} away first")),
    )
}

/// The group that has an id.
fn group_of(record: &Record, gid: u32) -> Option<&str> {
    record.facts.groups.iter().find(|(_, group)| group.gid == gid).map(|(name, _)| name.as_str())
}

/// The accounts' names by their ids.
fn names(record: &Record) -> BTreeMap<u32, &str> {
    record.facts.accounts.iter().map(|account| (account.uid, account.name.as_str())).collect()
}

/// A service that had data before, by whose rights it reads them.
struct Reader<'a> {
    service: &'a str,
    was: Rights,
    is: Rights,
    /// What it says is its own, without `/var/lib/`.
    directories: BTreeSet<&'a str>,
}

/// By whose rights something is read.
struct Rights {
    user: String,
    uid: u32,
    gids: BTreeSet<u32>,
    /// Whether no mode keeps it from reading (capabilities(7), `CAP_DAC_OVERRIDE`, `CAP_DAC_READ_SEARCH`).
    reads_all: bool,
}

/// The services of both configurations that do not run as a user of their own making.
fn readers<'a>(times: &Times<'a>) -> Vec<Reader<'a>> {
    let both =
        times.now.system.files.iter().filter_map(|(name, now)| Some((name, times.from.system.files.get(name)?, now)));
    both.filter(|(name, ..)| name.ends_with(".service"))
        .filter_map(|(service, was, is)| {
            let own = [was, is].into_iter().flat_map(|unit| {
                let places =
                    ["WorkingDirectory", "ReadWritePaths"].into_iter().flat_map(|key| unit.words("Service", key));
                let places =
                    places.filter_map(|place| place.trim_start_matches(['-', '+', '!', '~']).strip_prefix(DATA));
                directories(unit, "StateDirectory").chain(places)
            });
            let directories = own.map(|name| name.trim_end_matches('/')).filter(|name| !name.is_empty()).collect();
            Some(Reader { service, was: Rights::of(was, times.before)?, is: Rights::of(is, times.after)?, directories })
        })
        .collect()
}

impl Rights {
    /// Those of a service on a machine; `None` where its user is made for it, or is not there.
    fn of(unit: &UnitFile, record: &Record) -> Option<Self> {
        if unit.bool("Service", "DynamicUser", false) {
            return None;
        }
        let facts = &record.facts;
        let user = unit.last("Service", "User").unwrap_or("root");
        let account = facts.accounts.iter().find(|account| account.name == user || account.uid.to_string() == user)?;
        let gid = |name: &str| facts.groups.get(name).map(|group| group.gid).or_else(|| name.parse().ok());
        let own = unit.last("Service", "Group").and_then(gid).unwrap_or(account.gid);
        let more = unit.words("Service", "SupplementaryGroups").filter_map(gid);
        let member = facts.groups.values().filter(|group| group.members.contains(&account.name)).map(|group| group.gid);
        let gids = std::iter::once(own).chain(more).chain(member).collect();
        let is_capable = unit.words("Service", "AmbientCapabilities").any(|word| word.starts_with("CAP_DAC_"));
        Some(Self { user: account.name.clone(), uid: account.uid, gids, reads_all: account.uid == 0 || is_capable })
    }

    /// Whether they are enough to read what is in a directory.
    fn can_read(&self, owner: Owner) -> bool {
        let shift = match () {
            () if self.reads_all => return true,
            () if owner.uid == self.uid => 6,
            () if self.gids.contains(&owner.gid) => 3,
            () => 0,
        };
        owner.mode >> shift & 0o5 == 0o5
    }
}

impl Reader<'_> {
    /// That it can no longer read a directory of its own. A file may be meant for another, who hands it on.
    fn locked_out(&self, times: &Times<'_>, path: &str, before: Owner, now: Owner) -> Option<Finding> {
        let name = path.strip_prefix(DATA)?;
        let is_below = |own: &&str| name == *own || name.starts_with(&format!("{own}/"));
        let is_own = self.directories.iter().any(is_below) || self.was.uid != 0 && before.uid == self.was.uid;
        if !is_own
            || !now.is_directory()
            || is_dynamic(before, now)
            || !self.was.can_read(before)
            || self.is.can_read(now)
        {
            return None;
        }
        let (service, user) = (self.service, &self.is.user);
        let (was, is) = (in_words(before, times.before), in_words(now, times.after));
        Some(
            Finding::new(
                path,
                format!("{service} (User={user}) cannot read {path} {}: it is {is}, and was {was} before", times.since),
            )
            .hint(format!("give it back to {user}: by chown and chmod, or a rule in systemd.tmpfiles.rules")),
        )
    }
}

/// `mail (390), group mail (390), mode 0700`.
fn in_words(owner: Owner, record: &Record) -> String {
    let users = names(record);
    let name = |name: Option<&str>, id: u32| name.map_or_else(|| id.to_string(), |name| format!("{name} ({id})"));
    format!(
        "of {}, group {}, mode {:04o}",
        name(users.get(&owner.uid).copied(), owner.uid),
        name(group_of(record, owner.gid), owner.gid),
        owner.permissions()
    )
}
