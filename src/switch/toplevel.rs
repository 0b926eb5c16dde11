//! Which toplevel a VM's runner boots.

use std::sync::LazyLock;

use regex::Regex;

use crate::checks::text::pattern;

/// In the kernel's command line, as NixOS's qemu-vm.nix writes it.
static INIT: LazyLock<Regex> = LazyLock::new(|| pattern(r"\binit=(/nix/store/[0-9a-z]{32}-[0-9A-Za-z+._?=-]+)/init\b"));

/// The toplevel that a runner's text names; `None` where it boots by a boot loader.
pub(crate) fn booted_by(runner: &str) -> Option<String> {
    Some(INIT.captures(runner)?[1].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_names_it() {
        let of = |name: &str| format!("/nix/store/{}-nixos-system-{name}-26.05", "a".repeat(32));
        let text =
            format!("-append \"$(cat {}/kernel-params) init={}/init regInfo=x $QEMU_KERNEL_PARAMS\"", of("a"), of("a"));
        assert_eq!(booted_by(&text), Some(of("a")));
        assert_eq!(booted_by("-drive file=disk.qcow2"), None);
    }
}
