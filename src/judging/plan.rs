//! What is to be checked, and what the guest has to be asked for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::selection::Selection;
use super::targets;
use crate::config::{HttpSettings, ScriptSettings, Settings};
use crate::model::{Applies, CheckId, CheckKind, NetworkPolicy, Protocol};
use crate::nix::expectations::{Expectations, ExpectedAudio, ExpectedDesktop, InferredPort, Site};

/// What is to be checked. The fields under "the guest is asked" say what must be gathered; judging takes the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The guest is asked: for these units, whether loaded or not, by full name.
    pub units: Vec<String>,
    /// The guest is asked: to make these requests, by id.
    pub http: BTreeMap<String, HttpSettings>,
    /// The guest is asked: for these web sites.
    pub sites: Vec<Site>,
    /// The guest is asked: to run these scripts, by id.
    pub scripts: BTreeMap<String, ScriptSettings>,
    /// The guest is asked: to start the services of these timers once.
    pub timers: Vec<String>,
    /// The guest is asked: to resolve a name of the outside.
    pub resolve: bool,
    /// Those that apply and were asked for, in the order in which they are shown.
    pub checks: Vec<CheckId>,
    /// What the configuration expects.
    pub expectations: Expectations,
    /// What `nixbox.toml` says.
    pub settings: Settings,
    /// Which checks were asked for.
    pub selection: Selection,
    /// Ports on which something has to listen.
    pub ports: Vec<ExpectedPort>,
    /// Ports that a service's options seem to name.
    pub inferred_ports: Vec<InferredPort>,
}

/// A port on which something has to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedPort {
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
    /// What expects it: an option (`services.openssh`), or `nixbox.toml`.
    pub by: String,
}

impl fmt::Display for ExpectedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

/// Most web sites that are asked for: a process each.
const SITES: usize = 16;

/// What `ExpectedPort::by` says of ports from `nixbox.toml`.
pub(crate) const BY_SETTINGS: &str = crate::model::CONFIG_FILE;

/// Plans the checks. `settings.machine.network` has to hold what is really used, flags included.
pub fn plan(expectations: &Expectations, settings: &Settings, selection: &Selection) -> Plan {
    let mut units: BTreeSet<String> = settings.units.iter().cloned().collect();
    units.extend(expectations.units.iter().filter(|(name, unit)| unit.is_wanted(name)).map(|(name, _)| name.clone()));
    // Whether these exist only the guest knows: packages bring targets, too.
    let targets = expectations.units.values().filter(|unit| unit.enable).flat_map(|unit| &unit.wanted_by);
    units.extend(targets.filter(|name| targets::is_to_be_asked(name)).cloned());
    for timer in &settings.timers {
        units.insert(timer.clone());
        units.insert(service_of(timer));
    }
    let mut ports: Vec<ExpectedPort> = settings
        .ports
        .iter()
        .map(|port| ExpectedPort { protocol: port.protocol, port: port.port, by: BY_SETTINGS.to_owned() })
        .collect();
    for port in &expectations.service_ports {
        if !ports.iter().any(|known| known.protocol == port.protocol && known.port == port.port) {
            ports.push(ExpectedPort { protocol: port.protocol, port: port.port, by: port.option.clone() });
        }
    }
    let known = |port: u16| ports.iter().any(|known| known.port == port);
    let inferred_ports: Vec<InferredPort> =
        expectations.inferred_ports.iter().filter(|port| !known(port.port)).cloned().collect();
    let online = settings.machine.network == Some(NetworkPolicy::User);
    let desktop = expectations.desktop.as_ref();
    let applies = |id: CheckId| match id.row().applies {
        // A rehearsal judges its own.
        Applies::BeforeTheMachine | Applies::WithScript | Applies::WithSwitch => false,
        Applies::Always => true,
        Applies::WithPorts => !ports.is_empty() || !inferred_ports.is_empty() || !expectations.open_tcp.is_empty(),
        Applies::WithHttp => !settings.http.is_empty(),
        Applies::WithSites => !expectations.sites.is_empty(),
        Applies::WithTimers => !settings.timers.is_empty(),
        Applies::WithConfiguration => expectations.known,
        Applies::WithDisplayManager => desktop.is_some_and(|desktop| desktop.display_manager.is_some()),
        Applies::WithUserManagers => desktop.is_some() || !expectations.lingering_users().is_empty(),
        Applies::WithDesktop => desktop.is_some(),
        Applies::WithAudio => expectations.audio.is_some(),
    };
    let built_in = CheckId::BUILT_IN.iter().copied().filter(|id| applies(*id));
    let scripts = settings.scripts.keys().map(|name| CheckId::script(name));
    let checks: Vec<CheckId> = built_in.chain(scripts).filter(|id| selection.has(*id)).collect();
    let asked = |id: CheckId| checks.contains(&id);
    Plan {
        units: units.into_iter().collect(),
        http: if asked(CheckId::ServicesHttp) { settings.http.clone() } else { BTreeMap::new() },
        sites: if asked(CheckId::ServicesSites) {
            expectations.sites.iter().take(SITES).cloned().collect()
        } else {
            Vec::new()
        },
        scripts: settings
            .scripts
            .iter()
            .filter(|(name, _)| asked(CheckId::script(name)))
            .map(|(name, script)| (name.clone(), script.clone()))
            .collect(),
        timers: if asked(CheckId::ServicesTimers) { settings.timers.clone() } else { Vec::new() },
        resolve: online && asked(CheckId::NetworkDns),
        expectations: expectations.clone(),
        settings: settings.clone(),
        selection: selection.clone(),
        ports,
        inferred_ports,
        checks,
    }
}

impl Plan {
    /// Whether this check is to be judged.
    pub fn has(&self, id: CheckId) -> bool {
        self.checks.contains(&id)
    }

    fn has_any(&self, kind: CheckKind) -> bool {
        self.checks.iter().any(|id| id.kind() == kind)
    }

    /// What is expected of sound, if it is to be checked.
    pub fn audio(&self) -> Option<&ExpectedAudio> {
        self.expectations.audio.as_ref().filter(|_| self.has_any(CheckKind::Audio))
    }

    /// The desktop that is to be checked, if any.
    pub fn desktop(&self) -> Option<&ExpectedDesktop> {
        self.expectations.desktop.as_ref().filter(|_| self.has_any(CheckKind::Desktop))
    }

    /// Whether the configuration itself has this unit enabled and wanted.
    pub(crate) fn is_own(&self, unit: &str) -> bool {
        self.expectations.units.get(unit).is_some_and(|expected| expected.is_wanted(unit))
    }

    /// Whether `nixbox.toml` expects this unit.
    pub(crate) fn is_expected(&self, unit: &str) -> bool {
        self.settings.units.iter().any(|expected| expected == unit)
    }
}

/// The service that a timer starts unless it says otherwise (systemd.timer(5), `Unit=`).
pub(crate) fn service_of(timer: &str) -> String {
    format!("{}.service", timer.strip_suffix(".timer").unwrap_or(timer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::nix::expectations::ExpectedUnit;
    use crate::nix::expectations::ServicePort;

    #[test]
    fn expectations_and_settings_meet() {
        let unit = |enable, wanted: &[&str]| ExpectedUnit {
            enable,
            wanted_by: wanted.iter().map(|name| (*name).to_owned()).collect(),
            ..ExpectedUnit::default()
        };
        let expectations = Expectations {
            known: true,
            units: [
                ("web.service".to_owned(), unit(true, &["multi-user.target"])),
                ("off.service".to_owned(), unit(false, &["multi-user.target"])),
                ("unwanted.service".to_owned(), unit(true, &[])),
                ("getty@.service".to_owned(), unit(true, &["getty.target"])),
            ]
            .into(),
            service_ports: vec![
                ServicePort { option: "services.openssh".into(), protocol: Protocol::Tcp, port: 22 },
                ServicePort { option: "services.nginx".into(), protocol: Protocol::Tcp, port: 80 },
            ],
            ..Expectations::default()
        };
        let settings = Config::parse(
            "units = [\"x\"]\nports = [80]\ntimers = [\"backup\"]\n[script.a]\nrun = \"true\"\n[script.b]\nrun = \"true\"",
            "",
        )
        .unwrap()
        .settings_for("h");
        let selection = Selection::new(&[], &["script.b".to_owned()], ["a", "b"]).unwrap();
        let plan = plan(&expectations, &settings, &selection);
        assert_eq!(plan.units, ["backup.service", "backup.timer", "web.service", "x.service"]);
        let ports: Vec<_> = plan.ports.iter().map(|port| (port.port, port.by.as_str())).collect();
        assert_eq!(ports, [(80, "nixbox.toml"), (22, "services.openssh")]);
        assert_eq!(plan.scripts.keys().collect::<Vec<_>>(), ["a"]);
        assert!(plan.has(CheckId::script("a")) && !plan.has(CheckId::script("b")) && plan.has(CheckId::ServicesTimers));
        assert!(!plan.has(CheckId::ServicesHttp) && !plan.resolve);
        assert!(plan.is_own("web.service") && !plan.is_own("off.service") && plan.is_expected("x.service"));
    }
}
