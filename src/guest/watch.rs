//! The units whose state changed since they were last looked at, as PID 1 signals it (org.freedesktop.systemd1(5)): an
//! observation is of an instant, and what dies a second later is dead all the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::task::JoinHandle;
use zbus::fdo::PropertiesChanged;
use zbus::{Message, MessageStream};

use super::{Error, Guest};
use crate::model::{ActiveState, UNIT_PREFIX};

/// Most units that are remembered; where more change, that is a change as well.
const MOST: usize = 4096;
/// Where the objects of units are.
const UNITS: &str = "/org/freedesktop/systemd1/unit/";

/// What was signalled of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnitChange {
    /// The state that it went into last; `None` where only something else of it changed.
    pub active_state: Option<ActiveState>,
    /// Whether it failed, died, or was restarted in between.
    pub has_ended: bool,
}

/// The changes since the last call of [`UnitWatch::take`], by unit.
pub type UnitChanges = BTreeMap<String, UnitChange>;

/// Listens to PID 1 until it is dropped.
#[derive(Debug)]
pub struct UnitWatch {
    changes: Arc<Mutex<UnitChanges>>,
    task: JoinHandle<()>,
}

impl UnitWatch {
    /// What changed since the last call; `None` where the connection has ended and nothing is known.
    pub fn take(&self) -> Option<UnitChanges> {
        let changes = std::mem::take(&mut *self.changes.lock().unwrap_or_else(PoisonError::into_inner));
        (!self.task.is_finished()).then_some(changes)
    }
}

impl Drop for UnitWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Guest {
    /// Listens to PID 1 from now on.
    ///
    /// # Errors
    /// The guest could not be asked within `patience`.
    pub async fn watch_units(&self, patience: Duration) -> Result<UnitWatch, Error> {
        let bus = self.manager(patience).await?;
        let mut messages = MessageStream::from(&bus.connection);
        bus.subscribe().await?;
        let changes: Arc<Mutex<UnitChanges>> = Arc::default();
        let kept = Arc::clone(&changes);
        let task = tokio::spawn(async move {
            while let Some(Ok(message)) = messages.next().await {
                if let Some((unit, change)) = change(message) {
                    note(&mut kept.lock().unwrap_or_else(PoisonError::into_inner), unit, change);
                }
            }
        });
        Ok(UnitWatch { changes, task })
    }
}

fn note(changes: &mut UnitChanges, unit: String, change: UnitChange) {
    if changes.len() < MOST || changes.contains_key(&unit) {
        let known = changes.entry(unit).or_default();
        known.active_state = change.active_state.or(known.active_state.take());
        known.has_ended |= change.has_ended;
    }
}

/// What a signal says of a unit that is not ours.
fn change(message: Message) -> Option<(String, UnitChange)> {
    let unit = unit_of(message.header().path()?.as_str())?;
    let signal = PropertiesChanged::from_message(message)?;
    let arguments = signal.args().ok()?;
    let properties = arguments.changed_properties();
    let word = |name: &str| properties.get(name).and_then(|value| <&str>::try_from(value).ok());
    let change = match arguments.interface_name().as_str() {
        "org.freedesktop.systemd1.Unit" => {
            let active_state = word("ActiveState").map(ActiveState::from);
            let ended = active_state == Some(ActiveState::Failed)
                || word("SubState").is_some_and(|state| state.starts_with("auto-restart"));
            UnitChange { has_ended: ended, active_state }
        }
        "org.freedesktop.systemd1.Service" => {
            let restarted = properties.get("NRestarts").and_then(|value| u32::try_from(value).ok());
            // All of them are signalled together: the count alone does not say that it grew.
            UnitChange { has_ended: restarted.is_some_and(|count| count > 0), active_state: None }
        }
        _ => return None,
    };
    (change != UnitChange::default()).then_some((unit, change))
}

/// The unit behind an object's path (sd_bus_path_encode(3)).
fn unit_of(path: &str) -> Option<String> {
    let label = path.strip_prefix(UNITS)?;
    let mut name = Vec::new();
    let mut rest = label.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = || u8::from_str_radix(std::str::from_utf8(tail.get(..2)?).ok()?, 16).ok();
        match (byte == b'_').then(hex).flatten() {
            Some(code) => {
                name.push(code);
                rest = &tail[2..];
            }
            None => {
                name.push(byte);
                rest = tail;
            }
        }
    }
    let name = String::from_utf8(name).ok()?;
    (!name.starts_with(UNIT_PREFIX)).then_some(name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use zbus::zvariant::Value;

    use super::*;

    fn signal(unit: &str, interface: &str, changed: &[(&str, Value<'_>)]) -> Message {
        let changed: HashMap<&str, &Value<'_>> = changed.iter().map(|(name, value)| (*name, value)).collect();
        Message::signal(format!("{UNITS}{unit}"), "org.freedesktop.DBus.Properties", "PropertiesChanged")
            .unwrap()
            .build(&(interface, changed, Vec::<String>::new()))
            .unwrap()
    }

    #[test]
    fn what_a_signal_says() {
        let (unit, service) = ("org.freedesktop.systemd1.Unit", "org.freedesktop.systemd1.Service");
        let state = |state, sub| [("ActiveState", Value::from(state)), ("SubState", Value::from(sub))];
        let (name, seen) = change(signal("app_402d1_2eservice", unit, &state("failed", "failed"))).unwrap();
        assert_eq!(name, "app@2d1.service");
        assert!(seen.has_ended);
        let waits = change(signal("app_2eservice", unit, &state("activating", "auto-restart-queued"))).unwrap().1;
        let comes = change(signal("app_2eservice", unit, &state("active", "running"))).unwrap().1;
        let again = change(signal("app_2eservice", service, &[("NRestarts", Value::from(3_u32))])).unwrap().1;
        assert!(waits.has_ended && again.has_ended && !comes.has_ended);
        assert_eq!(change(signal("app_2eservice", service, &[("NRestarts", Value::from(0_u32))])), None);
        assert_eq!(change(signal("nixbox_2dshell_2esocket", unit, &state("failed", "failed"))), None);
        let mut changes = UnitChanges::new();
        for change in [waits, again, comes] {
            note(&mut changes, "app.service".to_owned(), change);
        }
        let expected = UnitChange { active_state: Some(ActiveState::Active), has_ended: true };
        assert_eq!(changes["app.service"], expected);
    }
}
