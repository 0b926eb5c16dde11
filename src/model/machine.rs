//! How a machine is run, as far as flags and the report name it: transport, jail, network.

use serde::{Deserialize, Serialize};

/// What the guest's network reaches.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkPolicy {
    /// The card is there and gets an address, but nothing beyond QEMU answers.
    #[default]
    Off,
    /// QEMU's user networking, by way of the host's network.
    User,
}

impl NetworkPolicy {
    /// The word for it on the command line and in the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::User => "user",
        }
    }
}

/// How the flake's code is contained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum JailKind {
    /// Its own view of files, processes and network.
    Namespaces,
    /// The host's view, with most of it forbidden.
    Landlock,
    /// Not at all: it runs as the user does. It is still killed with nixbox.
    None,
}

impl JailKind {
    /// The word for the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Landlock => "landlock",
            Self::None => "none",
        }
    }
}

/// By which device bytes get into the guest and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum TransportKind {
    /// vsock served by `vhost-device-vsock` over Unix sockets: no root, no kernel module, no CID collisions.
    VhostUser,
    /// virtio-serial ports on Unix sockets.
    VirtioSerial,
    /// The host kernel's vsock (`/dev/vhost-vsock`).
    Vsock,
}

impl TransportKind {
    /// The word on the command line and in the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::VhostUser => "vhost-user",
            Self::VirtioSerial => "virtio-serial",
            Self::Vsock => "vsock",
        }
    }
}

/// A transport-layer protocol on which a unit listens.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// As in `80/tcp` (services(5)).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// A credential, as PID 1 will see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its name, such as `systemd.extra-unit.nixbox-shell.socket`. Letters, digits and `.-_@~` only.
    pub name: String,
    /// Its content.
    pub value: Vec<u8>,
}
