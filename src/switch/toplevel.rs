//! What is read of a toplevel and of the runner that boots it.

use std::sync::LazyLock;

use regex::Regex;

use crate::judging::text::pattern;
use crate::model::STORE_DIR;

/// In the kernel's command line, as NixOS's qemu-vm.nix writes it.
static INIT: LazyLock<Regex> = LazyLock::new(|| pattern(r"\binit=(/nix/store/[0-9a-z]{32}-[0-9A-Za-z+._?=-]+)/init\b"));

/// The toplevel that a runner's text names; `None` where it boots by a boot loader.
pub(crate) fn booted_by(runner: &str) -> Option<String> {
    Some(INIT.captures(runner)?[1].to_owned())
}

/// What begins a snippet in `activate`, as NixOS's activation-script.nix has it.
const SNIPPET: &str = "#### Activation script snippet ";
/// Words that are too short to say which snippet they are of.
const TELLING: usize = 6;

/// The snippet of an activation script that a text is from: a line that it wrote, the command line of a process that it
/// started, a store path in that, whose arguments are others than those that were written. `None` where none or several
/// hold it.
pub(crate) fn snippet_of(activate: &str, texts: &[String]) -> Option<String> {
    let snippets: Vec<(&str, &str)> =
        activate.split(SNIPPET).skip(1).filter_map(|part| part.split_once(":\n")).collect();
    let whole = texts.iter().map(|text| text.trim());
    let paths = texts.iter().flat_map(|text| text.split_whitespace()).filter(|word| word.starts_with(STORE_DIR));
    whole.chain(paths).filter(|text| text.len() >= TELLING).find_map(|text| {
        let mut holders = snippets.iter().filter(|(_, script)| script.contains(text));
        match (holders.next(), holders.next()) {
            (Some((name, _)), None) => Some((*name).to_owned()),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snippet_is_known_by_what_it_says() {
        let activate = "#!/bin/sh\n#### Activation script snippet etc:\nsetup-etc\n#### Activation script snippet wait:\n\
                        echo 'waiting for the key'; sleep infinity\n";
        let of =
            |texts: &[&str]| snippet_of(activate, &texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["waiting for the key"]), Some("wait".to_owned()));
        assert_eq!(of(&["x", "sleep infinity"]), Some("wait".to_owned()));
        assert_eq!(of(&["nothing of it"]), None);
        let activate = "#### Activation script snippet a:\n/nix/store/x-sh/bin/sh a\n\
                        #### Activation script snippet b:\n/nix/store/x-sh/bin/sh b; /nix/store/y-age/bin/age -d \"$f\"\n";
        let of = |text: &str| snippet_of(activate, &[text.to_owned()]);
        assert_eq!(of("/nix/store/y-age/bin/age -d /etc/key.age"), Some("b".to_owned()));
        assert_eq!(of("/nix/store/x-sh/bin/sh c"), None, "it is in both");
    }

    #[test]
    fn the_command_line_names_it() {
        let of = |name: &str| format!("/nix/store/{}-nixos-system-{name}-26.05", "a".repeat(32));
        let text =
            format!("-append \"$(cat {}/kernel-params) init={}/init regInfo=x $QEMU_KERNEL_PARAMS\"", of("a"), of("a"));
        assert_eq!(booted_by(&text), Some(of("a")));
        assert_eq!(booted_by("-drive file=disk.qcow2"), None);
    }
}
