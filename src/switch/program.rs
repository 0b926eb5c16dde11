//! The switch program is run in the guest and followed.
