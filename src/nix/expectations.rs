//! What a configuration expects: the options that checks are derived from, read by one tolerant `nix eval`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::Protocol;

/// What a configuration expects. Every field is optional in the configuration; what is missing is empty or `None`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Expectations {
    /// False where there is no configuration to read (a store path, a script): then only the guest is asked.
    pub known: bool,
    /// `networking.hostName`.
    pub host_name: Option<String>,
    /// Units by full name (`nginx.service`), as evaluated in the VM variant.
    pub units: BTreeMap<String, ExpectedUnit>,
    /// Units of every user's manager (`systemd.user`), by full name.
    pub user_units: BTreeMap<String, ExpectedUnit>,
    /// home-manager's units, by user.
    pub home_units: BTreeMap<String, BTreeMap<String, ExpectedUnit>>,
    /// `networking.firewall.enable`.
    pub firewall: Option<bool>,
    /// `networking.firewall.allowedTCPPorts`. An open port is permission, not a promise that somebody listens.
    pub open_tcp: Vec<u16>,
    /// `networking.firewall.allowedUDPPorts`.
    pub open_udp: Vec<u16>,
    /// Ports that an enabled service says it listens on: (`sshd`, 22).
    pub service_ports: Vec<ServicePort>,
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
    /// `virtualisation.graphics` of the VM variant.
    pub graphics: Option<bool>,
    /// `system.configurationRevision`.
    pub revision: Option<String>,
    /// `boot.initrd.systemd.enable`.
    pub systemd_stage_1: Option<bool>,
    /// `services.getty.autologinUser` or the display manager's.
    pub autologin_user: Option<String>,
    /// `users.allowNoPasswordLogin`: that nobody can log in is wanted.
    pub allow_no_password_login: Option<bool>,
    /// Interfaces that the configuration binds by name: `networking.interfaces`, what bridges, bonds and VLANs are made of,
    /// the default gateway's, and what `systemd.network.networks` match by name or address (`enx…`), patterns left out.
    pub interfaces: Vec<String>,
    /// The desktop, where a display manager or a desktop is enabled.
    pub desktop: Option<ExpectedDesktop>,
    /// Sound, where a sound server is enabled.
    pub audio: Option<ExpectedAudio>,
    /// Options that could not be evaluated, with nix's message: never a reason to stop.
    pub unread: BTreeMap<String, String>,
}

/// A unit of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExpectedUnit {
    /// `enable`.
    pub enable: bool,
    /// `wantedBy` and `requiredBy` together.
    pub wanted_by: Vec<String>,
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
    /// The option that expects it: `services.openssh`.
    pub option: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
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
}

/// A display manager, desktops, and what belongs to a person's session.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExpectedDesktop {
    /// `gdm`, `sddm`, `greetd`, `lightdm`, `ly`, …: the one that is enabled.
    pub display_manager: Option<String>,
    /// Who is logged in without being asked: `autoLogin.user`, or the user of greetd's `initial_session`.
    pub autologin_user: Option<String>,
    /// What greetd starts for that user.
    pub command: Option<String>,
    /// What greetd starts as its greeter.
    pub greeter_command: Option<String>,
    /// `services.displayManager.defaultSession`, such as `sway` or `plasma`.
    pub default_session: Option<String>,
    /// The store path whose `share` holds the session files that the display manager offers.
    pub sessions_dir: Option<String>,
    /// The store path of the script by which a display manager starts X sessions, before their own command.
    pub session_wrapper: Option<String>,
    /// The desktops that are enabled.
    pub desktops: Vec<DesktopKind>,
    /// `xdg.portal.enable`.
    pub portal: bool,
    /// `programs.xwayland.enable`.
    pub xwayland: Option<bool>,
    /// `boot.plymouth.enable`.
    pub plymouth: bool,
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
