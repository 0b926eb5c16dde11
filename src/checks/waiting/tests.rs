//! How long a guest is waited for.

use std::time::Duration;

use crate::checks::test_support::{Guest, NOW, active, failed, guest, inactive};
use crate::checks::{is_outdated, lease_needed, port_awaited, settle_needed};
use crate::config::{Config, Settings};
use crate::guest::facts::Unit;
use crate::guest::watch::UnitChange;
use crate::judging::{Selection, plan};
use crate::model::ActiveState;
use crate::nix::expectations::Expectations;

#[test]
fn a_port_is_waited_for_as_long_as_its_service_may_come() {
    let awaited = |sshd: Unit, port: u16, toml: &str| {
        let settings = Config::parse(toml, "nixbox.toml").unwrap().settings_for("box");
        let guest = guest().unit(sshd).facts(|facts| facts.listeners[0].port = port);
        let facts = &guest.observations.first;
        port_awaited(&plan(&guest.expectations, &settings, &Selection::default()), &facts.listeners, &facts.units)
    };
    assert!(!awaited(active("sshd.service"), 22, ""));
    assert!(awaited(active("sshd.service"), 23, ""));
    let starts =
        |sub: &str| Unit { active_state: "activating".into(), sub_state: sub.into(), ..active("sshd.service") };
    assert!(awaited(starts("start"), 23, ""));
    for gone in [starts("auto-restart"), failed("sshd.service", 1), inactive("sshd.service")] {
        assert!(!awaited(gone, 23, ""));
    }
    // A socket would open it, and failed; or the configuration's own unit is not even loaded.
    let socket = |state: &str| {
        let socket = Unit { active_state: state.into(), ..active("sshd.socket") };
        let guest = guest().unit(inactive("sshd.service")).unit(socket);
        let mut facts = guest.observations.first;
        facts.listeners.clear();
        let plan = plan(&guest.expectations, &Settings::default(), &Selection::default());
        let is_awaited = |units: &[Unit]| port_awaited(&plan, &facts.listeners, units);
        facts.units.retain(|unit| unit.name != "sshd.service");
        (is_awaited(&facts.units), is_awaited(&[]))
    };
    assert_eq!((socket("failed"), socket("active")), ((false, false), (true, false)));
    // Whose it is may not be known.
    assert!(awaited(active("sshd.service"), 22, "ports = [80]"));
    assert!(awaited(active("sshd.service"), 22, "[http.front]\nurl = \"http://localhost:80/\""));
    assert!(!awaited(active("sshd.service"), 22, "[http.front]\nurl = \"http://example.org/\""));
}

#[test]
fn what_ended_since_it_was_up_is_looked_at_again() {
    let outdated = |name: &str, state: Option<&str>, has_ended| {
        let guest = guest().expected(active("app.service")).unit(failed("down.service", 1));
        let plan = plan(&guest.expectations, &Settings::default(), &Selection::default());
        let change = UnitChange { active_state: state.map(ActiveState::from), has_ended };
        is_outdated(&plan, &guest.observations.first, &[(name.to_owned(), change)].into())
    };
    assert!(outdated("app.service", Some("failed"), true) && outdated("app.service", Some("inactive"), false));
    assert!(outdated("app.service", Some("active"), true), "it was restarted in between");
    assert!(outdated("new.service", Some("failed"), true));
    assert!(!outdated("app.service", Some("active"), false) && !outdated("app.service", Some("reloading"), false));
    // Known already, expected by nobody, or well.
    assert!(!outdated("down.service", Some("failed"), true));
    assert!(!outdated("systemd-networkd.service", Some("inactive"), false));
    assert!(!outdated("new.service", Some("active"), false));
}

#[test]
fn settling_counts_from_each_units_own_start() {
    let settle = Duration::from_secs(3);
    let needed = |guest: Guest| {
        let mut plan = plan(&guest.expectations, &Settings::default(), &Selection::default());
        plan.expectations.known = true;
        plan.units = ["young.service", "once.service"].map(str::to_owned).to_vec();
        settle_needed(&plan, &guest.observations.first, settle)
    };
    assert_eq!(needed(guest()), None);
    let young = Unit { active_enter_us: NOW - 1_000_000, ..active("young.service") };
    assert_eq!(needed(guest().unit(young.clone())), Some(Duration::from_secs(2)));
    let not_expected = Unit { name: "getty@tty1.service".into(), ..young };
    assert_eq!(needed(guest().unit(not_expected.clone())), None);
    let nothing_expected = plan(&Expectations::default(), &Settings::default(), &Selection::default());
    let facts = guest().unit(not_expected).observations.first;
    assert_eq!(settle_needed(&nothing_expected, &facts, settle), Some(Duration::from_secs(2)));
    let exited = Unit { active_enter_us: NOW - 1_000_000, sub_state: "exited".into(), ..active("once.service") };
    assert_eq!(needed(guest().unit(exited)), None);
    let waits = Unit { active_state: "activating".into(), sub_state: "auto-restart".into(), ..active("loop.service") };
    assert_eq!(needed(guest().unit(waits)), Some(settle));
    let no_lease = guest().facts(|facts| {
        facts.network.addresses.clear();
        facts.manager.finish_us = NOW - 4_000_000;
    });
    // Half of the 56 s that the boot took, less the 4 s that are over.
    assert_eq!(lease_needed(&no_lease.observations.first, false), Some(Duration::from_secs(24)));
    assert_eq!(needed(no_lease), None);
    assert_eq!(lease_needed(&guest().observations.first, false), None);
    // An observation that took longer than that: nothing is left, but nobody has waited for it yet.
    let no_route = guest().facts(|facts| {
        facts.network.default_routes.clear();
        facts.manager.finish_us = NOW - 40_000_000;
    });
    assert_eq!(lease_needed(&no_route.observations.first, false), Some(Duration::ZERO));
    // A sandbox that offers no router.
    assert_eq!(lease_needed(&no_route.observations.first, true), None);
}
