//! What is to be checked, and what the guest has to be asked for it.

use std::collections::{BTreeMap, BTreeSet};

use crate::build::promises::{PromisedAudio, PromisedDesktop, PromisedUnit, Promises};
use crate::checks::catalog::{self, Selection};
use crate::checks::desktop;
use crate::config::{Http, Script, Settings};
use crate::machine::NetworkPolicy;

/// What is to be checked. The fields under "the guest is asked" say what must be gathered; judging takes the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The guest is asked: for these units, whether loaded or not, by full name.
    pub units: Vec<String>,
    /// The guest is asked: to make these requests, by id.
    pub http: BTreeMap<String, Http>,
    /// The guest is asked: to run these scripts, by id.
    pub scripts: BTreeMap<String, Script>,
    /// The guest is asked: to start the services of these timers once and tell how they ended.
    pub timers: Vec<String>,
    /// The guest is asked: to resolve a name of the outside.
    pub resolve: bool,
    /// The ids that apply and were asked for, in the catalog's order; `script.NAME` for each script.
    pub checks: Vec<String>,
    /// What the configuration promises.
    pub promises: Promises,
    /// What `nixbox.toml` says.
    pub settings: Settings,
    /// Which checks were asked for.
    pub selection: Selection,
    /// Ports on which somebody has to listen.
    pub ports: Vec<WantedPort>,
}

/// A port on which somebody has to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPort {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The port.
    pub port: u16,
    /// Who says so: an option (`services.openssh`), or `nixbox.toml`.
    pub by: String,
}

/// What `WantedPort::by` says of ports from `nixbox.toml`.
pub(super) const BY_SETTINGS: &str = crate::names::CONFIG_FILE;

/// Plans the checks. `settings.machine.network` has to hold what is really used, flags included.
pub fn plan(promises: &Promises, settings: &Settings, selection: &Selection) -> Plan {
    let mut units: BTreeSet<String> = settings.units.iter().cloned().collect();
    units.extend(promises.units.iter().filter(|(name, unit)| is_promised(name, unit)).map(|(name, _)| name.clone()));
    for timer in &settings.timers {
        units.insert(timer.clone());
        units.insert(service_of(timer));
    }
    let mut ports: Vec<WantedPort> = settings
        .ports
        .iter()
        .map(|port| WantedPort { protocol: port.protocol.to_owned(), port: port.port, by: BY_SETTINGS.to_owned() })
        .collect();
    for port in &promises.service_ports {
        if !ports.iter().any(|known| known.protocol == port.protocol && known.port == port.port) {
            ports.push(WantedPort { protocol: port.protocol.clone(), port: port.port, by: port.option.clone() });
        }
    }
    let online = settings.machine.network == Some(NetworkPolicy::User);
    let applies = |id: &str| match id {
        "boot.time" => true,
        "services.ports" => !ports.is_empty(),
        "services.http" => !settings.http.is_empty(),
        "services.timers" => !settings.timers.is_empty(),
        "users.declared" => promises.known,
        id if id.starts_with("audio.") => promises.audio.is_some(),
        "desktop.greeter" => promises.desktop.as_ref().is_some_and(|desktop| desktop.display_manager.is_some()),
        "desktop.units" => promises.desktop.is_some() || !desktop::lingering(promises).is_empty(),
        id if id.starts_with("desktop.") => promises.desktop.is_some(),
        id => !id.starts_with("build.") && !id.starts_with("script."),
    };
    let mut checks: Vec<String> =
        catalog::ids().filter(|id| applies(id) && selection.has(id)).map(str::to_owned).collect();
    checks.extend(settings.scripts.keys().map(|name| format!("script.{name}")).filter(|id| selection.has(id)));
    let asked = |id: &str| checks.iter().any(|check| check == id);
    Plan {
        units: units.into_iter().collect(),
        http: if asked("services.http") { settings.http.clone() } else { BTreeMap::new() },
        scripts: settings
            .scripts
            .iter()
            .filter(|(name, _)| asked(&format!("script.{name}")))
            .map(|(name, script)| (name.clone(), script.clone()))
            .collect(),
        timers: if asked("services.timers") { settings.timers.clone() } else { Vec::new() },
        resolve: online && asked("network.dns"),
        promises: promises.clone(),
        settings: settings.clone(),
        selection: selection.clone(),
        ports,
        checks,
    }
}

impl Plan {
    /// Whether this check is to be judged.
    pub fn has(&self, id: &str) -> bool {
        self.checks.iter().any(|check| check == id)
    }

    /// What is promised of sound, if it is to be looked at.
    pub fn audio(&self) -> Option<&PromisedAudio> {
        let wanted = self.checks.iter().any(|id| id.starts_with("audio."));
        self.promises.audio.as_ref().filter(|_| wanted)
    }

    /// The desktop that is to be looked at, if any.
    pub fn desktop(&self) -> Option<&PromisedDesktop> {
        let wanted = self.checks.iter().any(|id| id.starts_with("desktop."));
        self.promises.desktop.as_ref().filter(|_| wanted)
    }

    /// Whether the configuration itself has this unit enabled and wanted.
    pub fn is_own(&self, unit: &str) -> bool {
        self.promises.units.get(unit).is_some_and(|promised| is_promised(unit, promised))
    }

    /// Whether `nixbox.toml` expects this unit.
    pub fn is_expected(&self, unit: &str) -> bool {
        self.settings.units.iter().any(|expected| expected == unit)
    }
}

/// Whether the configuration asks for the unit to be started by something: templates cannot be.
pub(super) fn is_promised(name: &str, unit: &PromisedUnit) -> bool {
    unit.enable && !unit.wanted_by.is_empty() && !name.contains("@.")
}

/// The service that a timer starts unless it says otherwise (systemd.timer(5), `Unit=`).
pub(super) fn service_of(timer: &str) -> String {
    format!("{}.service", timer.strip_suffix(".timer").unwrap_or(timer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::promises::ServicePort;
    use crate::config::Config;

    #[test]
    fn promises_and_settings_meet() {
        let unit = |enable, wanted: &[&str]| PromisedUnit {
            enable,
            wanted_by: wanted.iter().map(|name| (*name).to_owned()).collect(),
            ..PromisedUnit::default()
        };
        let promises = Promises {
            known: true,
            units: [
                ("web.service".to_owned(), unit(true, &["multi-user.target"])),
                ("off.service".to_owned(), unit(false, &["multi-user.target"])),
                ("unwanted.service".to_owned(), unit(true, &[])),
                ("getty@.service".to_owned(), unit(true, &["getty.target"])),
            ]
            .into(),
            service_ports: vec![
                ServicePort { option: "services.openssh".into(), protocol: "tcp".into(), port: 22 },
                ServicePort { option: "services.nginx".into(), protocol: "tcp".into(), port: 80 },
            ],
            ..Promises::default()
        };
        let settings = Config::parse(
            "units = [\"x\"]\nports = [80]\ntimers = [\"backup\"]\n[script.a]\nrun = \"true\"\n[script.b]\nrun = \"true\"",
            "",
        )
        .unwrap()
        .settings_for("h");
        let selection = Selection::new(&[], &["script.b".to_owned()], ["a", "b"]).unwrap();
        let plan = plan(&promises, &settings, &selection);
        assert_eq!(plan.units, ["backup.service", "backup.timer", "web.service", "x.service"]);
        let ports: Vec<_> = plan.ports.iter().map(|port| (port.port, port.by.as_str())).collect();
        assert_eq!(ports, [(80, "nixbox.toml"), (22, "services.openssh")]);
        assert_eq!(plan.scripts.keys().collect::<Vec<_>>(), ["a"]);
        assert!(plan.has("script.a") && !plan.has("script.b") && plan.has("services.timers"));
        assert!(!plan.has("services.http") && !plan.resolve);
        assert!(plan.is_own("web.service") && !plan.is_own("off.service") && plan.is_expected("x.service"));
    }
}
