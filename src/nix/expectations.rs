//! What a configuration expects: the options that checks are derived from, read by one tolerant `nix eval`.

mod wanted;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::bail;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::Events;
use crate::failure::{Failure, Result};

use crate::model::Protocol;
use crate::text::escape_path;

/// What a configuration expects. Every field is optional in the configuration; what is missing is empty or `None`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Expectations {
    /// False where there is no configuration to read (a store path, a script): then only the guest is asked.
    pub known: bool,
    /// `networking.hostName`.
    pub host_name: Option<String>,
    /// `networking.domain`: with the host's name, the machine's own.
    pub domain: Option<String>,
    /// Units by full name (`nginx.service`), as evaluated in the VM variant.
    pub units: BTreeMap<String, ExpectedUnit>,
    /// Units of every user's manager (`systemd.user`), by full name.
    pub user_units: BTreeMap<String, ExpectedUnit>,
    /// home-manager's units, by user.
    pub home_units: BTreeMap<String, BTreeMap<String, ExpectedUnit>>,
    /// `networking.firewall.enable`.
    pub firewall: Option<bool>,
    /// `networking.firewall.allowedTCPPorts`, on any interface. An open port is permission, not an expectation that something listens.
    pub open_tcp: Vec<u16>,
    /// `networking.firewall.allowedUDPPorts`, on any interface.
    pub open_udp: Vec<u16>,
    /// Ports that an enabled service says it listens on: (`sshd`, 22).
    pub service_ports: Vec<ServicePort>,
    /// Web sites that an enabled server is to serve.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<Site>,
    /// `networking.firewall.allowedTCPPortRanges`, first and last.
    pub open_tcp_ranges: Vec<(u16, u16)>,
    /// `networking.firewall.allowedUDPPortRanges`.
    pub open_udp_ranges: Vec<(u16, u16)>,
    /// Ports that a general rule finds in an enabled service's options.
    pub inferred_ports: Vec<InferredPort>,
    /// `users.mutableUsers`.
    pub mutable_users: Option<bool>,
    /// `users.users`.
    pub users: BTreeMap<String, ExpectedUser>,
    /// `users.groups`, by name: gid when it is fixed.
    pub groups: BTreeMap<String, Option<u32>>,
    /// `virtualisation.memorySize` of the VM variant, MiB.
    pub memory_mib: Option<u64>,
    /// `virtualisation.cores` of the VM variant.
    pub cores: Option<u32>,
    /// `virtualisation.diskSize` of the VM variant, MiB.
    pub disk_mib: Option<u64>,
    /// `system.nixos-init.enable`: there is no activation script.
    pub nixos_init: Option<bool>,
    /// `services.getty.autologinUser` or the display manager's.
    pub autologin_user: Option<String>,
    /// `users.allowNoPasswordLogin`: it is wanted that no user can log in.
    pub allow_no_password_login: Option<bool>,
    /// Interfaces that the configuration binds by name: `networking.interfaces`, what bridges, bonds and VLANs are made of,
    /// the default gateway's, and what `systemd.network.networks` match by name or address (`enx…`), patterns left out.
    pub interfaces: Vec<String>,
    /// The addresses, without prefix, that the configuration gives each interface.
    pub addresses: BTreeMap<String, Vec<String>>,
    /// The disks of the real machine, and those that the VM variant has.
    pub disks: ExpectedDisks,
    /// Secrets that the configuration declares, by the names of their attributes.
    pub secrets: BTreeMap<String, ExpectedSecret>,
    /// The desktop, where a display manager or a desktop is enabled.
    pub desktop: Option<ExpectedDesktop>,
    /// Sound, where a sound server is enabled.
    pub audio: Option<ExpectedAudio>,
    /// Options that could not be evaluated, and whether they were removed from NixOS: never a reason to stop.
    pub unread: BTreeMap<String, String>,
}

/// A unit of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExpectedUnit {
    /// `enable`.
    pub enable: bool,
    /// `wantedBy`, `requiredBy` and `upheldBy` together, and the targets that name it in their `pulls`.
    pub wanted_by: Vec<String>,
    /// Of a target: `wants`, `requires`, `bindsTo` and `upholds` together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pulls: Vec<String>,
    /// `serviceConfig.Type`.
    pub kind: Option<String>,
    /// Conditions of `unitConfig`, as `ConditionPathExists=/foo`.
    pub conditions: Vec<String>,
    /// `description`.
    pub description: Option<String>,
}

/// A port that an enabled service listens on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServicePort {
    /// The option that it comes from: `services.openssh`.
    pub option: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
}

/// A web site that nginx is to serve, and where it can be asked on the machine itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Site {
    /// Its name: `example.org`.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether it speaks TLS there.
    pub tls: bool,
}

impl Site {
    /// Its address, by which its answer is known too.
    pub fn url(&self) -> String {
        let (scheme, usual) = if self.tls { ("https", 443) } else { ("http", 80) };
        let port = if self.port == usual { String::new() } else { format!(":{}", self.port) };
        format!("{scheme}://{}{port}/", self.host)
    }
}

/// What an enabled service calls its port, by its name only: it may mean another one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InferredPort {
    /// The service: `services.immich`.
    pub option: String,
    /// The protocol that is likelier.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
    /// The unit that it was found by: `immich-server.service`.
    pub unit: String,
}

/// A user of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExpectedUser {
    /// `isNormalUser`.
    pub normal: bool,
    /// `uid`, when fixed.
    pub uid: Option<u32>,
    /// `group`.
    pub group: Option<String>,
    /// `extraGroups`.
    pub extra_groups: Vec<String>,
    /// `home`.
    pub home: Option<String>,
    /// `createHome`.
    pub create_home: bool,
    /// Any of `hashedPassword`, `password`, `initialPassword`, `initialHashedPassword`, `hashedPasswordFile`, `passwordFile`
    /// is set (to something other than a locked hash). The value itself never leaves nix.
    pub has_password: bool,
    /// `hashedPasswordFile` or `passwordFile`: a secret that lies outside the configuration.
    pub password_file: Option<String>,
    /// `linger`: the user's manager runs from the boot on.
    pub linger: bool,
    /// `openssh.authorizedKeys.keys` or `.keyFiles` are not empty.
    pub has_key: bool,
}

/// Disks of the real machine, and what the VM has instead.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExpectedDisks {
    /// The VM variant's `fileSystems`: where, and on what.
    pub own: BTreeMap<String, String>,
    /// The host's `fileSystems`, in the same way; the VM variant may have kept some of them.
    pub real: BTreeMap<String, String>,
    /// The types of the host's file systems that the VM variant has none of: `btrfs`, `zfs`.
    pub types: Vec<String>,
    /// The host's `boot.initrd.luks.devices` that the VM variant lacks.
    pub luks: Vec<String>,
    /// `boot.zfs.extraPools`.
    pub pools: Vec<String>,
    /// `environment.persistence` (impermanence): where what is to stay is kept.
    pub persistence: Vec<String>,
    /// Whether disko makes a VM with these disks (`system.build.vmWithDisko`).
    pub with_disko: bool,
}

/// A secret that the configuration declares: never its content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExpectedSecret {
    /// The option that declares it: `sops.secrets`, `age.secrets`, `deployment.keys`.
    pub option: String,
    /// Where it is placed.
    pub path: String,
    /// Whose it is.
    pub owner: Option<String>,
    /// Its group.
    pub group: Option<String>,
    /// Its mode, as written: `0400`.
    pub mode: Option<String>,
}

/// Sound servers and what belongs to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExpectedAudio {
    /// `services.pipewire.enable`, for sound (`audio.enable`): without that PipeWire shares screens only.
    pub pipewire: bool,
    /// `services.pipewire.pulse.enable`: PulseAudio's clients are served.
    pub pipewire_pulse: bool,
    /// `services.pipewire.wireplumber.enable`.
    pub wireplumber: bool,
    /// `services.pipewire.systemWide`, or PulseAudio's.
    pub system_wide: bool,
    /// `services.pulseaudio.enable`, `hardware.pulseaudio.enable` until 25.05.
    pub pulseaudio: bool,
    /// `security.rtkit.enable`.
    pub rtkit: bool,
    /// `hardware.alsa.enablePersistence`: the cards' switches are set at boot.
    pub alsa_persistence: bool,
    /// `services.pipewire.extraConfig.pipewire.*."context.properties"`: what is asked of the server's clock.
    pub properties: BTreeMap<String, String>,
    /// Sinks that PipeWire's configuration makes where PulseAudio is the sound server, and PipeWire for screens only.
    pub unused_sinks: Vec<String>,
}

/// A display manager, desktops, and what belongs to a user's session.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExpectedDesktop {
    /// `gdm`, `sddm`, `greetd`, `lightdm`, `ly`, …: the one that is enabled.
    pub display_manager: Option<String>,
    /// The user that is logged in automatically: `autoLogin.user`, or the user of greetd's `initial_session`.
    pub autologin_user: Option<String>,
    /// What greetd starts for that user.
    pub command: Option<String>,
    /// What greetd starts as its greeter.
    pub greeter_command: Option<String>,
    /// `services.displayManager.defaultSession`, such as `sway` or `plasma`.
    pub default_session: Option<String>,
    /// The store path whose `share` holds the session files that the display manager offers.
    pub sessions_dir: Option<String>,
    /// The store path of the script by which a display manager starts X sessions, and some Wayland sessions, too, before
    /// their own command.
    pub session_wrapper: Option<String>,
    /// The command line by which a display manager starts an X server, without a display's number.
    pub x_server: Option<String>,
    /// Whether the login screen is to be drawn on Wayland, where the display manager has a choice.
    pub greeter_on_wayland: Option<bool>,
    /// The desktops that are enabled.
    pub desktops: Vec<DesktopKind>,
    /// `xdg.portal.enable`.
    pub portal: bool,
    /// `programs.xwayland.enable`.
    pub xwayland: Option<bool>,
}

/// A desktop, or a compositor or window manager that stands for one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DesktopKind {
    /// `gnome`, `plasma`, `sway`, `xfce`, …
    pub name: String,
    /// `wayland` or `x11`, where it has only one.
    #[serde(rename = "type")]
    pub kind: Option<String>,
}

/// What a file says that a runner is expected to be: what expectations.nix answered where it was evaluated.
///
/// # Errors
/// Usage (exit 2), where it cannot be read: checks that are not made because a file is broken would read as a pass.
pub fn from_file(path: &Path) -> Result<Expectations> {
    let read = || parsed(serde_json::from_slice(&std::fs::read(path)?)?);
    read().map_err(|error| {
        Failure::usage(format!("--expectations {} cannot be read", path.display()))
            .because(error)
            .hint("it is written by lib.check of nixbox's flake; without it only the guest is asked")
    })
}

/// What expectations.nix answered of `name`, if it was asked at all. What cannot be read is a note.
pub(super) fn read(answer: Option<Value>, name: &str, events: &Events) -> Expectations {
    let Some(value) = answer.filter(|value| !value.is_null()) else { return Expectations::default() };
    match parsed(value) {
        Ok(expectations) => {
            if let Some(note) = unread_options(&expectations.unread) {
                events.note(note);
            }
            expectations
        }
        Err(error) => {
            unread(&format!("{name}: {error:#}"), events);
            Expectations::default()
        }
    }
}

/// What machine.nix says of an option that NixOS no longer has.
const REMOVED: &str = "was removed";

/// Which options say nothing since reading them fails. Those that this NixOS has removed say nothing in any case: they
/// are named beside others only.
fn unread_options(unread: &BTreeMap<String, String>) -> Option<String> {
    const MOST: usize = 8;
    let (removed, failing): (Vec<_>, Vec<_>) = unread.iter().partition(|(_, why)| why.starts_with(REMOVED));
    let listed = |options: &[(&String, &String)]| {
        let names: Vec<&str> = options.iter().take(MOST).map(|(name, _)| name.as_str()).collect();
        let more = if options.len() > MOST { format!(" and {} more", options.len() - MOST) } else { String::new() };
        format!("{}{more}", names.join(", "))
    };
    let apart =
        if removed.is_empty() { String::new() } else { format!(" (removed from this NixOS: {})", listed(&removed)) };
    (!failing.is_empty()).then(|| {
        format!(
            "not read, since evaluating it throws, so what it would expect is not tested: {}{apart}",
            listed(&failing)
        )
    })
}

/// Says that there are no expectations, and why.
pub(super) fn unread(why: &str, events: &Events) {
    events.note(format!("what the configuration expects could not be read: {why}"));
}

fn parsed(mut value: Value) -> anyhow::Result<Expectations> {
    if value.get("failed").is_some() {
        bail!("it throws");
    }
    let mounts = value.as_object_mut().and_then(|object| object.remove("mounts"));
    let mut expectations: Expectations = serde_json::from_value(value)?;
    expectations.units.extend(mounts.map(mount_units).unwrap_or_default());
    pulled_by_targets(&mut expectations.units);
    Ok(expectations)
}

/// What a target pulls in is wanted by it. Whether the target itself is reached, the guest will tell.
fn pulled_by_targets(units: &mut BTreeMap<String, ExpectedUnit>) {
    let pulls: Vec<(String, String)> = units
        .iter()
        .filter(|(_, target)| target.enable)
        .flat_map(|(name, target)| target.pulls.iter().map(|pulled| (name.clone(), pulled.clone())))
        .collect();
    for (target, pulled) in pulls {
        // Only what the configuration declares: a package's unit is its own affair.
        if let Some(unit) = units.get_mut(&pulled)
            && !unit.wanted_by.contains(&target)
        {
            unit.wanted_by.push(target);
        }
    }
}

/// `systemd.mounts`, which is a list, by the names that systemd gives them.
fn mount_units(mounts: Value) -> BTreeMap<String, ExpectedUnit> {
    #[derive(Deserialize)]
    struct Mount {
        r#where: String,
        #[serde(flatten)]
        unit: ExpectedUnit,
    }
    let mounts: Vec<Mount> = serde_json::from_value(mounts).unwrap_or_default();
    mounts.into_iter().map(|mount| (format!("{}.mount", escape_path(&mount.r#where)), mount.unit)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn mount_units_have_systemds_names() {
        let units = mount_units(serde_json::json!([{ "where": "/my-data", "wanted_by": ["multi-user.target"] }]));
        assert_eq!(units[r"my\x2ddata.mount"].wanted_by, ["multi-user.target"]);
    }

    /// A field that expectations.nix does not answer would be empty for every configuration.
    #[test]
    fn each_field_is_answered() {
        let answered: BTreeSet<&str> = include_str!("expectations.nix")
            .lines()
            .map(str::trim_start)
            .flat_map(|line| match (line.strip_prefix("inherit "), line.split_once(" = ")) {
                (Some(names), _) => names.trim_end().trim_end_matches(';').split(' ').collect(),
                (None, Some((name, _))) => vec![name],
                (None, None) => line.strip_suffix(" =").into_iter().collect(),
            })
            .collect();
        let values = [
            serde_json::to_value(Expectations::default()),
            serde_json::to_value(ExpectedUnit::default()),
            serde_json::to_value(ExpectedUser::default()),
            serde_json::to_value(ExpectedAudio::default()),
            serde_json::to_value(ExpectedDesktop::default()),
            serde_json::to_value(ExpectedDisks::default()),
            serde_json::to_value(ExpectedSecret::default()),
        ];
        for value in values {
            for name in value.unwrap().as_object().unwrap().keys() {
                assert!(answered.contains(name.as_str()), "expectations.nix answers no {name}");
            }
        }
    }

    #[test]
    fn what_a_target_pulls_in_is_wanted_by_it() {
        let expectations = parsed(serde_json::json!({
            "known": true,
            "units": {
                "postgresql.target": { "enable": true, "wanted_by": ["multi-user.target"], "pulls": ["postgresql.service", "gone.service"] },
                "off.target": { "enable": false, "pulls": ["other.service"] },
                "postgresql.service": { "enable": true },
                "other.service": { "enable": true },
            },
        }))
        .unwrap();
        assert_eq!(expectations.units["postgresql.service"].wanted_by, ["postgresql.target"]);
        assert!(expectations.units["other.service"].wanted_by.is_empty() && expectations.units.len() == 4);
    }

    #[test]
    fn expectations_that_throw_are_a_note() {
        let (events, mut receiver) = Events::channel();
        assert!(!read(Some(serde_json::json!({ "failed": true })), "laptop", &events).known);
        assert!(!read(Some(serde_json::json!({ "known": 3 })), "laptop", &events).known);
        assert!(!read(Some(Value::Null), "laptop", &events).known);
        drop(events);
        assert!(receiver.try_recv().is_ok());
        assert!(receiver.try_recv().is_ok());
        assert!(receiver.try_recv().is_err());
    }

    #[test]
    fn options_that_throw_are_shown_apart_from_those_that_were_removed() {
        let unread = |options: &[(&str, &str)]| {
            unread_options(&options.iter().map(|(name, why)| ((*name).to_owned(), (*why).to_owned())).collect())
        };
        let (removed, throws) = ("was removed from this NixOS", "throws when it is read");
        assert_eq!(unread(&[("services.gdm.wayland", removed)]), None);
        assert_eq!(
            unread(&[("services.gdm.wayland", removed), ("systemd.sockets", throws)]).unwrap(),
            "not read, since evaluating it throws, so what it would expect is not tested: systemd.sockets (removed from this \
             NixOS: services.gdm.wayland)"
        );
    }

    #[test]
    fn expectations_of_a_file_are_whole_or_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("expectations.json");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            from_file(&file)
        };
        let expectations = read(
            r#"{"known":true,"host_name":"laptop","units":{"nginx.service":{"enable":true}},"mounts":[{"where":"/data"}]}"#,
        )
        .unwrap();
        assert!(expectations.known && expectations.units.contains_key("nginx.service"));
        assert!(expectations.units.contains_key("data.mount"), "{:?}", expectations.units);
        for broken in ["", "3", "null", r#"{"known":3}"#, r#"{"failed":true}"#] {
            assert_eq!(read(broken).unwrap_err().exit, crate::model::Exit::Usage, "{broken}");
        }
        let missing = from_file(&directory.path().join("no.json"));
        assert!(missing.unwrap_err().what.contains("no.json"));
    }
}
