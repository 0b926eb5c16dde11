//! The accelerator: all that differs between them, one row each.

use serde::{Deserialize, Serialize};

/// How instructions of the guest are executed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Accel {
    /// Linux' hardware virtualisation.
    Kvm,
    /// macOS' hardware virtualisation.
    Hvf,
    /// QEMU's translator: works everywhere, roughly ten times slower.
    #[default]
    Tcg,
}

/// What is particular to an accelerator.
#[derive(Debug, Clone, Copy, PartialEq)]
struct AccelRow {
    name: &'static str,
    device: Option<&'static str>,
    time_scale: f64,
    overhead_mib: u64,
    is_emulated: bool,
}

impl Accel {
    const fn row(self) -> AccelRow {
        match self {
            Self::Kvm => {
                AccelRow { name: "kvm", device: Some("/dev/kvm"), time_scale: 1.0, overhead_mib: 0, is_emulated: false }
            }
            Self::Hvf => AccelRow { name: "hvf", device: None, time_scale: 1.0, overhead_mib: 0, is_emulated: false },
            // Five times as long a boot as under KVM; what QEMU keeps of translated code takes up to 192 MiB
            // (both measured).
            Self::Tcg => AccelRow { name: "tcg", device: None, time_scale: 5.0, overhead_mib: 192, is_emulated: true },
        }
    }

    /// QEMU's own name for it.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The device node of the host that it needs.
    pub const fn device(self) -> Option<&'static str> {
        self.row().device
    }

    /// What a time limit meant for hardware virtualisation is multiplied by, at least 1.
    pub const fn time_scale(self) -> f64 {
        self.row().time_scale
    }

    /// What QEMU takes besides the guest's memory, in MiB.
    pub const fn overhead_mib(self) -> u64 {
        self.row().overhead_mib
    }

    /// Whether the guest's instructions are translated: then a unit that keeps its CPU busy is several times slower
    /// than on hardware, and multi-threaded TCG may lose a virtual CPU.
    pub const fn is_emulated(self) -> bool {
        self.row().is_emulated
    }
}

/// Which accelerator the user chose.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum AccelChoice {
    /// The fastest that works.
    #[default]
    Auto,
    /// Linux' KVM, or an error.
    Kvm,
    /// macOS' Hypervisor framework, or an error.
    Hvf,
    /// QEMU's translator.
    Tcg,
}

impl AccelChoice {
    /// The one that was named; `None` for `auto`.
    pub const fn named(self) -> Option<Accel> {
        match self {
            Self::Auto => None,
            Self::Kvm => Some(Accel::Kvm),
            Self::Hvf => Some(Accel::Hvf),
            Self::Tcg => Some(Accel::Tcg),
        }
    }

    /// The word on the command line.
    pub const fn name(self) -> &'static str {
        match self.named() {
            Some(accel) => accel.name(),
            None => "auto",
        }
    }
}
