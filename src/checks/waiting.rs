//! Whether the guest has to be waited for before it is judged, and for how long: decided over its facts.

use std::time::Duration;

use super::ports::{listens, listens_at_all, unit_behind};
use super::{network, restart_loop};
use crate::guest::facts::{Facts, Listener, Unit};
use crate::guest::own_port;
use crate::guest::watch::UnitChanges;
use crate::judging::Plan;
use crate::judging::plan::BY_SETTINGS;
use crate::judging::unit::{self, is_activating, is_active, is_auto_restart};
use crate::model::{CheckId, Protocol, SubState};

fn micros(settle: Duration) -> u64 {
    u64::try_from(settle.as_micros()).unwrap_or(u64::MAX)
}

/// How long to wait until every expected service that runs has been active for the settle time, from its own
/// `ActiveEnterTimestamp`, so that a machine that came up long ago is judged at once. `None`: no need to wait. Without a
/// configuration that could expect something, every service counts.
/// Also asks for a second observation when a service is about to be restarted: after that, where it failed only once.
pub fn settle_needed(plan: &Plan, facts: &Facts, settle: Duration) -> Option<Duration> {
    let settle_us = micros(settle);
    let left = facts.units.iter().filter_map(|unit| {
        let service = unit.service.as_ref()?;
        if let Some(us) = restart_loop::second_try(facts, unit, settle_us) {
            return Some(us);
        }
        if is_activating(unit) && (is_auto_restart(unit) || service.restarts > 0) {
            return Some(settle_us.max(1));
        }
        let counts = !plan.expectations.known || plan.units.contains(&unit.name);
        let runs = counts && is_active(unit) && unit.sub_state == SubState::Running && unit.active_enter_us > 0;
        runs.then(|| settle_us.saturating_sub(facts.now_us.saturating_sub(unit.active_enter_us)))
    });
    left.max().filter(|us| *us > 0).map(Duration::from_micros)
}

/// Whether a service that failed only once may still get up: then the guest is observed again, though the settle time is
/// over. It fails once more, or has settled, or goes on for longer than is waited.
pub fn may_recover(facts: &Facts, settle: Duration) -> bool {
    facts.units.iter().any(|unit| restart_loop::second_try(facts, unit, micros(settle)).is_some())
}

/// Whether a unit has ended or been restarted, by what PID 1 signalled since these facts were asked for, that was up in
/// them or on its way. Of what an expected unit was, any state in which it is not up counts.
pub fn is_outdated(plan: &Plan, facts: &Facts, changes: &UnitChanges) -> bool {
    changes.iter().any(|(name, change)| match facts.unit(name) {
        Some(unit) if is_active(unit) => {
            let expected = !plan.expectations.known || plan.units.contains(name);
            change.has_ended || expected && change.active_state.as_ref().is_some_and(|state| !state.is_up())
        }
        Some(unit) => change.has_ended && is_activating(unit) && !is_auto_restart(unit),
        None => change.has_ended,
    })
}

/// Whether there is no address or route yet, and something that is likely to get one. There may not even be a card yet:
/// not every service waits for udev.
///
/// `no_router`: as in [`crate::judging::Context`].
pub fn lease_awaited(facts: &Facts, no_router: bool) -> bool {
    let has_address = facts.network.addresses.values().any(|list| !list.is_empty());
    let managed = network::MANAGERS.iter().any(|name| facts.unit(name).is_some_and(unit::is_active));
    !facts.gaps.contains_key("network")
        && facts.manager.finish_us > 0
        && (!has_address || !no_router && facts.network.default_routes.is_empty())
        && managed
}

/// How long a lease may still take to come though the guest has nothing to do, where [`lease_awaited`]: 10 s from the
/// boot's end, or half the boot's length (a machine that took its time to boot, on a busy host, takes its time for a
/// lease). `None`: nothing to wait for.
///
/// `no_router`: as in [`crate::judging::Context`].
pub fn lease_needed(facts: &Facts, no_router: bool) -> Option<Duration> {
    let lease_us = (facts.manager.finish_us / 2).max(10_000_000);
    let left = lease_us.saturating_sub(facts.now_us.saturating_sub(facts.manager.finish_us));
    lease_awaited(facts, no_router).then_some(Duration::from_micros(left))
}

/// Whether nothing listens yet on a port where something may come to: a service is up when its program has been started,
/// and many need some time from there to their port.
pub fn port_awaited(plan: &Plan, listeners: &[Listener], units: &[Unit]) -> bool {
    // Scripts ask at ports, too.
    if !plan.has(CheckId::ServicesPorts) && plan.http.is_empty() && plan.scripts.is_empty() {
        return false;
    }
    let may_come = |by: &str| {
        if by == BY_SETTINGS {
            return true;
        }
        let service = unit_behind(by);
        let socket = service.replace(".service", ".socket");
        let mut openers = units.iter().filter(|unit| [&service, &socket].contains(&&unit.name)).peekable();
        // One that the configuration has goes by this name, and PID 1 lists all that are up or ever were to be.
        let is_other =
            !plan.expectations.units.contains_key(&service) && !plan.expectations.units.contains_key(&socket);
        if openers.peek().is_none() {
            return is_other;
        }
        openers.any(|unit| is_active(unit) || is_activating(unit) && !is_auto_restart(unit))
    };
    let is_open = |protocol, port| listens(listeners, protocol, port);
    let requested = plan.http.values().filter_map(|request| own_port(&request.url.0));
    // A request asks at what some service was to open, as far as is known.
    let awaited = |number: u16| {
        let mut known =
            plan.ports.iter().filter(|port| (port.protocol, port.port) == (Protocol::Tcp, number)).peekable();
        known.peek().is_none() || known.any(|port| may_come(&port.by))
    };
    plan.ports.iter().any(|port| !is_open(port.protocol, port.port) && may_come(&port.by))
        || plan.inferred_ports.iter().any(|port| {
            let runs = units.iter().any(|unit| unit.name == port.unit && is_active(unit));
            runs && !listens_at_all(listeners, port.port)
        })
        || requested.into_iter().any(|port| !is_open(Protocol::Tcp, port) && awaited(port))
}

#[cfg(test)]
mod tests;
