//! The accelerator: all that differs between them, one row each.
//!
//! A new one is a row in the table below. What it cannot hold (how a host is probed for it) is a `match` to which the
//! compiler leads.

use serde::{Deserialize, Serialize};

/// What is particular to an accelerator.
#[derive(Debug, Clone, Copy, PartialEq)]
struct AccelRow {
    name: &'static str,
    /// The operating system whose hardware virtualisation it is ([`std::env::consts::OS`]); `None` for emulation.
    system: Option<&'static str>,
    device: Option<&'static str>,
    time_scale: f64,
    overhead_mib: u64,
}

macro_rules! accelerators {
    ($($(#[doc = $doc:literal])* $variant:ident = $choice:literal {
        $($field:ident: $value:expr),* $(,)?
    })*) => {
        /// How instructions of the guest are executed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "kebab-case")]
        pub enum Accel {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Accel {
            const ALL: &[Self] = &[$(Self::$variant),*];

            const fn row(self) -> AccelRow {
                match self {
                    $(Self::$variant => AccelRow { $($field: $value),* },)*
                }
            }
        }

        /// Which accelerator the user chose.
        #[derive(
            Debug,
            Clone,
            Copy,
            Default,
            PartialEq,
            Eq,
            Hash,
            Serialize,
            Deserialize,
            schemars::JsonSchema,
            clap::ValueEnum,
        )]
        #[serde(rename_all = "kebab-case")]
        pub enum AccelChoice {
            /// The fastest that works.
            #[default]
            Auto,
            $(#[doc = $choice] $variant,)*
        }

        impl AccelChoice {
            /// The one that was named; `None` for `auto`.
            pub const fn named(self) -> Option<Accel> {
                match self {
                    Self::Auto => None,
                    $(Self::$variant => Some(Accel::$variant),)*
                }
            }
        }
    };
}

accelerators! {
    /// Linux' hardware virtualisation.
    Kvm = "KVM (Linux), or an error." {
        name: "kvm",
        system: Some("linux"),
        device: Some("/dev/kvm"),
        time_scale: 1.0,
        overhead_mib: 0,
    }
    /// macOS' hardware virtualisation.
    Hvf = "The Hypervisor framework (macOS), or an error." {
        name: "hvf",
        system: Some("macos"),
        device: None,
        time_scale: 1.0,
        overhead_mib: 0,
    }
    /// TCG, QEMU's software emulation: works everywhere, roughly ten times slower.
    Tcg = "TCG, QEMU's software emulation." {
        name: "tcg",
        system: None,
        device: None,
        // Five times as long a boot as under KVM; what QEMU keeps of translated code takes up to 192 MiB (both measured).
        time_scale: 5.0,
        overhead_mib: 192,
    }
}

impl Default for Accel {
    /// The one that works everywhere.
    fn default() -> Self {
        Self::Tcg
    }
}

impl Accel {
    /// The hardware virtualisation of this operating system.
    pub fn native() -> Option<Self> {
        Self::ALL.iter().copied().find(|accel| accel.row().system == Some(std::env::consts::OS))
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
        self.row().system.is_none()
    }
}

impl AccelChoice {
    /// The word on the command line.
    pub const fn name(self) -> &'static str {
        match self.named() {
            Some(accel) => accel.name(),
            None => "auto",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_accelerator_can_be_chosen_by_its_name() {
        for accel in Accel::ALL {
            let choice: AccelChoice = serde_json::from_value(serde_json::json!(accel.name())).unwrap();
            assert_eq!(choice.named(), Some(*accel));
            assert_eq!(serde_json::json!(accel), serde_json::json!(choice));
            assert!(accel.time_scale() >= 1.0);
        }
        assert!(Accel::default().is_emulated());
    }
}
