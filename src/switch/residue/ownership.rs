//! Whose the data in `/var/lib` are: ids that went to somebody else, or moved away from the data.

use std::collections::BTreeMap;

use super::Records;
use crate::judging::{Finding, compared};
use crate::model::{CheckId, CheckResult, Status};
use crate::switch::record::Record;

/// The first number of systemd's dynamic users (systemd.exec(5), `DynamicUser=`).
const DYNAMIC: u32 = 61184;

pub(super) fn judge(records: &Records<'_>) -> CheckResult {
    let mut findings = Vec::new();
    let (was, is) = (names(records.before), names(records.switched));
    for (path, (uid, _)) in &records.switched.state.owners {
        if *uid == 0
            || *uid >= DYNAMIC
            || findings.iter().any(|known: &Finding| path.starts_with(&format!("{}/", known.item)))
        {
            continue;
        }
        // Only what was there before has changed hands.
        let Some((before, _)) = records.before.state.owners.get(path).filter(|(before, _)| before == uid) else {
            continue;
        };
        let Some(owner) = was.get(before) else { continue };
        match is.get(uid) {
            Some(now) if now != owner => findings.push(
                Finding::new(
                    path,
                    format!("{path} belongs to {now} since the switch: its id {uid} was {owner}'s before"),
                )
                .hint(format!("give users.users.{now} another uid, or move the data of {owner} away first")),
            ),
            Some(_) => {}
            None => {
                let moved = records.switched.facts.accounts.iter().find(|account| account.name == *owner);
                if let Some(account) = moved {
                    findings.push(
                        Finding::new(
                            path,
                            format!("{owner} has the id {} since the switch, and {path} is still owned by {uid}", account.uid),
                        )
                        .hint(format!("keep users.users.{owner}.uid = {uid}, or change the owner of what is there: chown -R --from={uid} {owner} {path}")),
                    );
                }
            }
        }
    }
    compared(CheckId::ResidueOwnership, Status::Fail, findings, || {
        "the data in /var/lib belong to the same users as before".to_owned()
    })
}

/// The accounts' names by their ids.
fn names(record: &Record) -> BTreeMap<u32, &str> {
    record.facts.accounts.iter().map(|account| (account.uid, account.name.as_str())).collect()
}
