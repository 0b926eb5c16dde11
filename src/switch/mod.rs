//! A switch that is rehearsed: from the configuration that a machine runs to the target, and back.
//!
//! * `observation`: what is seen of one run of the switch program, as data
//! * `patience`: for how long a switch is waited for (pure)
//! * `program`: the switch program is run in the guest and followed
//! * `record`: what a machine has beside its configuration, and `residue`: what of it a switch leaves behind (pure)
//! * `ruleset`: a firewall's rules, as its programs print them
//! * `send`: what the guest's store lacks of the target goes there
//! * `sessions`: whose sessions there are, and their processes
//! * `toplevel`: which system a VM boots
//! * `judge`: what all that means (pure)
//!
//! The order of a rehearsal is in `run/switch.rs`.

pub(crate) mod judge;
pub(crate) mod observation;
mod patience;
pub(crate) mod program;
pub(crate) mod record;
pub(crate) mod residue;
mod ruleset;
pub(crate) mod send;
pub(crate) mod sessions;
pub(crate) mod toplevel;
