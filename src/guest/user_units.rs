//! A user's own manager and session bus.

use std::collections::BTreeSet;
use std::future::pending;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use zbus::fdo::{DBusProxy, PropertiesProxy};
use zbus::names::InterfaceName;

use super::bus::{Bounded, Bus, Which};
use super::facts::Unit;
use super::{Error, Guest};
use crate::model::timeouts::guest::USER_MANAGER_INTERVAL;
use crate::text::bounded;

/// The name under which applications find a portal.
pub const PORTAL: &str = "org.freedesktop.portal.Desktop";
/// The unit that it is started by.
pub const PORTAL_UNIT: &str = "xdg-desktop-portal.service";
/// What a portal has only where a backend serves it: to open a file, to share the screen.
const PORTAL_PARTS: [&str; 2] = ["org.freedesktop.portal.FileChooser", PORTAL_SCREEN];
/// The part that shares the screen.
pub const PORTAL_SCREEN: &str = "org.freedesktop.portal.ScreenCast";
/// Where it answers (the portal's own documentation).
const PORTAL_PATH: &str = "/org/freedesktop/portal/desktop";
/// Variables of the manager's environment that a session's programs need.
const VARIABLES: [&str; 8] = [
    "WAYLAND_DISPLAY",
    "DISPLAY",
    "XAUTHORITY",
    "XDG_CURRENT_DESKTOP",
    "XDG_SESSION_TYPE",
    "XDG_SESSION_ID",
    "XDG_RUNTIME_DIR",
    "SWAYSOCK",
];

/// A user's manager.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserManager {
    /// Whose.
    pub uid: u32,
    /// All loaded units, and the expected ones whether loaded or not.
    pub units: Vec<Unit>,
    /// What the manager hands on to what it starts, as far as a session's programs need it: `WAYLAND_DISPLAY=wayland-1`.
    pub environment: Vec<String>,
}

impl UserManager {
    /// The unit with this name.
    pub fn unit(&self, name: &str) -> Option<&Unit> {
        self.units.iter().find(|unit| unit.name == name)
    }

    /// A variable of the manager's environment.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.iter().find_map(|text| text.strip_prefix(name)?.strip_prefix('='))
    }
}

/// How the portal answered on the session bus.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortalProbe {
    /// Whether a service owns the name, or can be started for it.
    pub known: bool,
    /// Whether there was an answer, an error of its own included.
    pub answered: bool,
    /// How long that took, in seconds.
    pub seconds: f64,
    /// Why there was none.
    pub error: Option<String>,
    /// Interfaces that the name's owner does not serve.
    pub lacks: Vec<String>,
}

impl Guest {
    /// Looks at a user's manager.
    ///
    /// # Errors
    /// There is none, or it does not answer within `patience`.
    pub async fn user_manager(
        &self,
        (uid, gid): (u32, u32),
        wanted: &BTreeSet<String>,
        patience: Duration,
    ) -> Result<UserManager, Error> {
        let bus = self.bus(Which::User(uid, gid), patience).await?;
        let (units, variables) = tokio::join!(bus.units(wanted), bus.get(bus.systemd.environment()));
        let wanted = |text: &String| text.split_once('=').is_some_and(|(name, _)| VARIABLES.contains(&name));
        let environment = variables?.bounded().into_iter().filter(wanted).collect();
        Ok(UserManager { uid, units: units?, environment })
    }

    /// Whether a user's manager has started all that it starts by itself.
    ///
    /// # Errors
    /// There is none, or it does not answer within `patience`.
    pub async fn user_manager_has_started(&self, (uid, gid): (u32, u32), patience: Duration) -> Result<bool, Error> {
        let bus = self.bus(Which::User(uid, gid), patience).await?;
        let (units, jobs) = tokio::join!(bus.states(), bus.jobs());
        Ok(has_started(&units?, jobs?.len()))
    }

    /// Asks the desktop portal on a user's session bus for a property, as an application would: it is started for it.
    ///
    /// # Errors
    /// There is no session bus.
    pub async fn ask_portal(
        &self,
        (uid, gid): (u32, u32),
        patience: Duration,
        limit: Duration,
    ) -> Result<PortalProbe, Error> {
        let bus = self.bus(Which::Session(uid, gid), patience).await?;
        let names = DBusProxy::new(&bus.connection).await?;
        let mut known = bus.within("ListNames", names.list_names()).await?;
        known.extend(bus.within("ListActivatableNames", names.list_activatable_names()).await?);
        let known = known.iter().any(|name| name.as_str() == PORTAL);
        if !known {
            return Ok(PortalProbe::default());
        }
        let clock = Instant::now();
        let portal = PropertiesProxy::new(&bus.connection, PORTAL, PORTAL_PATH).await?;
        let patient = bus.with_patience(limit);
        let settings = InterfaceName::from_static_str_unchecked("org.freedesktop.portal.Settings");
        let answer = tokio::select! {
            // Not `Peer.Ping`: that is answered by a thread of GLib's while the portal itself may hang.
            answer = patient.within("Get", portal.get(settings, "version")) => answer,
            // The bus waits two minutes for a service whose unit has failed long since.
            () = self.unit_failed((uid, gid), PORTAL_UNIT, patience) => {
                let seconds = clock.elapsed().as_secs_f64();
                let error = Some(format!("{PORTAL_UNIT} failed"));
                return Ok(PortalProbe { known, seconds, error, ..PortalProbe::default() });
            }
        };
        let seconds = clock.elapsed().as_secs_f64();
        let refused = |name: &str| {
            // The bus's own words for somebody who is not there, or could not be started.
            ["ServiceUnknown", "NoReply", "NameHasNoOwner", "TimedOut", "Disconnected", "Spawn.", "NoServer"]
                .iter()
                .any(|word| name.contains(word))
        };
        let error = match answer {
            Ok(_) => None,
            Err(Error::Deadline(_)) => Some(format!("no answer within {:.0} s", limit.as_secs_f64())),
            Err(error) => match error.answer() {
                Some((name, text)) if refused(&name) || is_startup(&name) => {
                    Some(bounded(if text.is_empty() { &name } else { text }, 400))
                }
                // It answered that it has no such thing.
                Some(_) => None,
                None => Some(bounded(&error.to_string(), 400)),
            },
        };
        let answered = error.is_none();
        let lacks = if answered { unserved(&bus, &portal).await } else { Vec::new() };
        Ok(PortalProbe { known, answered, seconds, error, lacks })
    }

    /// Waits until a unit of the user's has failed for good; for ever where the manager cannot be asked.
    async fn unit_failed(&self, (uid, gid): (u32, u32), unit: &str, patience: Duration) {
        let failed = async {
            let bus = self.bus(Which::User(uid, gid), patience).await?;
            let unit = bus.load(unit).await?;
            let mut times = 0;
            // Once may be from before it was started for us.
            while times < 2 {
                sleep(USER_MANAGER_INTERVAL).await;
                let state = bus.within("Get", unit.active_state()).await?;
                times = if state == "failed" { times + 1 } else { 0 };
            }
            Ok::<_, Error>(())
        };
        if failed.await.is_err() {
            pending::<()>().await;
        }
    }
}

/// Whether a manager with these units and so many jobs in its queue has started all of them. One that waits for its next restart holds
/// up the queue for as long as it is tried.
fn has_started(units: &[Unit], jobs: usize) -> bool {
    let waits = || units.iter().any(Unit::is_auto_restart);
    !units.is_empty() && !units.iter().any(Unit::is_coming_up) && (jobs == 0 || waits())
}

/// The parts that a portal which answers does not have.
async fn unserved(bus: &Bus, portal: &PropertiesProxy<'_>) -> Vec<String> {
    let version = |part| async move {
        let interface = InterfaceName::from_static_str_unchecked(part);
        (part, bus.within("Get", portal.get(interface, "version")).await)
    };
    let answers = join_all(PORTAL_PARTS.map(version)).await;
    let is_without = |error: Error| error.answer().is_some_and(|(name, text)| is_no_interface(&name, text));
    let without = answers.into_iter().filter_map(|(part, answer)| answer.err().is_some_and(is_without).then_some(part));
    without.map(str::to_owned).collect()
}

/// Whether this error says that the object has no such interface: GLib's is the general one for wrong arguments.
fn is_no_interface(name: &str, text: &str) -> bool {
    let name = name.rsplit('.').next().unwrap_or_default();
    matches!(name, "UnknownInterface" | "UnknownMethod") || name == "InvalidArgs" && text.contains("No such interface")
}

/// systemd's words when what it was to start for a name did not start.
fn is_startup(name: &str) -> bool {
    name.starts_with("org.freedesktop.systemd1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_has_started_when_nothing_starts_or_is_queued() {
        let unit =
            |active: &str, sub: &str| Unit { active_state: active.into(), sub_state: sub.into(), ..Unit::default() };
        let (runs, waits) = (unit("active", "running"), unit("activating", "auto-restart"));
        assert!(!has_started(&[], 0));
        assert!(has_started(&[runs.clone(), waits.clone(), unit("failed", "failed")], 0));
        assert!(!has_started(&[runs.clone(), unit("activating", "start")], 0));
        // What is queued has no state yet.
        assert!(!has_started(&[runs.clone(), unit("inactive", "dead")], 2));
        assert!(has_started(&[runs, waits], 2));
    }

    #[test]
    fn an_interface_that_nobody_serves() {
        let error = "org.freedesktop.DBus.Error";
        let said = "No such interface \u{201c}org.freedesktop.portal.FileChooser\u{201d}";
        assert!(is_no_interface(&format!("{error}.InvalidArgs"), said));
        assert!(is_no_interface(&format!("{error}.UnknownInterface"), ""));
        assert!(!is_no_interface(&format!("{error}.InvalidArgs"), "No such property \u{201c}version\u{201d}"));
        assert!(!is_no_interface(&format!("{error}.NoReply"), ""));
    }
}
