//! Compositors and window managers: one row each, with all there is to know about it. A new one is a new row; where NixOS
//! has an option for it, that is in `nix/expectations.nix`, too: without it no session of it is expected.

use super::journal::Meaning;
use super::session_files::SessionType;
use crate::judging::journal::Row;

/// A compositor or window manager.
#[derive(Debug)]
pub(crate) struct Compositor {
    /// The desktop, by the name that the expectations use; a desktop may have several rows.
    pub(crate) desktop: &'static str,
    /// The display protocol that it draws with.
    pub(crate) session_type: SessionType,
    /// The names of its process (the kernel keeps 15 bytes).
    pub(crate) processes: &'static [&'static str],
    /// Commands of session files that start it.
    pub(crate) started_by: &'static [&'static str],
    /// Programs of the desktop that leave the drawing to another compositor: Xfce and Budgie to labwc, say.
    pub(crate) shells: &'static [&'static str],
    /// It paints more than one colour of its own accord: a wallpaper or a panel.
    pub(crate) paints: bool,
    /// What it writes when it does not draw without a GPU; [`super::journal`] has what libraries write.
    pub(crate) needs_gpu: Option<Row<Meaning>>,
}

const fn wayland(desktop: &'static str, processes: &'static [&'static str]) -> Compositor {
    Compositor {
        desktop,
        session_type: SessionType::Wayland,
        processes,
        started_by: &[],
        shells: &[],
        paints: false,
        needs_gpu: None,
    }
}

const fn x11(desktop: &'static str, processes: &'static [&'static str]) -> Compositor {
    Compositor { session_type: SessionType::X11, ..wayland(desktop, processes) }
}

const fn needs_gpu(program: &'static str, example: &'static str, pattern: &'static str) -> Option<Row<Meaning>> {
    Some(Row { program, seen: None, example, pattern, meaning: Meaning::NeedsGpu })
}

/// All that are known.
pub(crate) const COMPOSITORS: &[Compositor] = &[
    Compositor { started_by: &["gnome-session"], paints: true, ..wayland("gnome", &["gnome-shell", "mutter"]) },
    Compositor { started_by: &["startplasma-wayland"], paints: true, ..wayland("plasma", &["kwin_wayland"]) },
    Compositor {
        started_by: &["start-cosmic", "cosmic-session"],
        paints: true,
        needs_gpu: needs_gpu(
            "cosmic-comp",
            "ERROR cosmic_comp::backend::kms: failed to initialize any GPU",
            "failed to initialize any GPU",
        ),
        ..wayland("cosmic", &["cosmic-comp"])
    },
    Compositor { paints: true, ..wayland("sway", &["sway"]) },
    Compositor {
        started_by: &["start-hyprland"],
        needs_gpu: needs_gpu(
            "Hyprland",
            "CRIT ]: m_pAqBackend was null! ... CBackend::create() failed!",
            r"CBackend::create\(\) failed",
        ),
        ..wayland("hyprland", &["Hyprland", "hyprland"])
    },
    Compositor {
        started_by: &["niri-session"],
        needs_gpu: needs_gpu(
            "niri",
            "WARN niri::backend::tty: error adding device: software EGL renderers are skipped",
            "software EGL renderers are skipped",
        ),
        ..wayland("niri", &["niri"])
    },
    wayland("river", &["river"]),
    wayland("labwc", &["labwc"]),
    wayland("wayfire", &["wayfire"]),
    wayland("miracle-wm", &["miracle-wm"]),
    wayland("cardboard", &["cardboard"]),
    wayland("mango", &["mango"]),
    wayland("dwl", &["dwl"]),
    wayland("weston", &["weston"]),
    wayland("cage", &["cage"]),
    Compositor {
        started_by: &["startxfce4"],
        shells: &["xfce4-session"],
        paints: true,
        ..x11("xfce", &["xfwm4", "xfce4-session"])
    },
    Compositor { started_by: &["startplasma-x11"], paints: true, ..x11("plasma", &["kwin_x11"]) },
    Compositor { shells: &["mate-session"], paints: true, ..x11("mate", &["marco", "mate-session"]) },
    Compositor { paints: true, ..x11("cinnamon", &["cinnamon"]) },
    Compositor { paints: true, ..x11("pantheon", &["gala"]) },
    Compositor { shells: &["lxqt-session"], paints: true, ..x11("lxqt", &["lxqt-session"]) },
    Compositor { paints: true, ..x11("enlightenment", &["enlightenment"]) },
    Compositor { shells: &["budgie-panel", "budgie-daemon"], paints: true, ..x11("budgie", &["budgie-wm"]) },
    x11("i3", &["i3"]),
    x11("openbox", &["openbox"]),
    x11("awesome", &["awesome"]),
    x11("bspwm", &["bspwm"]),
    x11("xmonad", &["xmonad"]),
    x11("dwm", &["dwm"]),
    x11("qtile", &["qtile"]),
    x11("herbstluftwm", &["herbstluftwm"]),
    x11("fluxbox", &["fluxbox"]),
    Compositor { paints: true, ..x11("icewm", &["icewm"]) },
    x11("leftwm", &["leftwm"]),
    x11("twm", &["twm"]),
    x11("jwm", &["jwm"]),
    x11("cwm", &["cwm"]),
    x11("fvwm3", &["fvwm3"]),
    x11("ratpoison", &["ratpoison"]),
    x11("stumpwm", &["stumpwm"]),
    x11("spectrwm", &["spectrwm"]),
];

/// The one that this program is, or starts.
pub(crate) fn of_program(program: &str) -> Option<&'static Compositor> {
    COMPOSITORS.iter().find(|known| known.processes.contains(&program) || known.started_by.contains(&program))
}

/// The one that this command line starts.
pub(crate) fn of_command(command: &str) -> Option<&'static Compositor> {
    of_program(program_of(command))
}

/// The compositor's process that a unit runs: `niri.service`, `plasma-kwin_wayland.service`,
/// `org.gnome.Shell@wayland.service`.
pub(crate) fn process_of_unit(unit: &str) -> Option<&'static str> {
    COMPOSITORS.iter().flat_map(|known| known.processes).copied().find(|process| is_unit_of(unit, process))
}

fn is_unit_of(unit: &str, process: &str) -> bool {
    let unit = unit.split(".service").next().unwrap_or_default().to_lowercase().replace('.', "-");
    let is_named = unit == process || unit.split(['@', '-']).any(|word| word == process);
    is_named || process == "gnome-shell" && unit.contains("gnome-shell")
}

/// The program that a command line starts: without path, wrapper and arguments.
pub(crate) fn program_of(command: &str) -> &str {
    let wrappers = ["env", "exec", "dbus-run-session", "systemd-cat", "uwsm", "start", "nixGL", "--"];
    command
        .split_ascii_whitespace()
        .map(|word| word.rsplit('/').next().unwrap_or(word))
        .find(|word| !wrappers.contains(word) && !word.contains('=') && !word.starts_with('-'))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_program_is_in_one_row() {
        let mut known = BTreeSet::new();
        for row in COMPOSITORS {
            assert!(!row.processes.is_empty(), "{}", row.desktop);
            for name in row.processes.iter().chain(row.started_by) {
                assert!(known.insert(name), "{name} is there twice");
            }
            assert!(row.processes.iter().all(|name| name.len() <= 15), "the kernel keeps 15 bytes");
        }
    }

    #[test]
    fn each_desktop_that_can_be_expected_has_a_row() {
        // What draws them is not in the table.
        const WITHOUT: [&str; 2] = ["deepin", "lumina"];
        let source = include_str!("../nix/expectations.nix");
        let (_, desktops) = source.split_once("\n    desktops = [\n").unwrap();
        let (desktops, rest) = desktops.split_once("\n    ];\n").unwrap();
        let (_, managers) = rest.split_once("windowManagers = [\n").unwrap();
        let (managers, _) = managers.split_once("\n    ];\n").unwrap();
        let between = |text: &'static str, before: &str, end: &str| -> BTreeSet<&str> {
            text.split(before).skip(1).filter_map(|rest| Some(rest.split_once(end)?.0)).collect()
        };
        let desktops = between(desktops, "name = \"", "\"");
        let managers = between(managers, "windowManager.", ".enable");
        assert!(desktops.len() > 15 && managers.len() > 15, "{desktops:?} {managers:?}");
        for name in desktops.union(&managers).filter(|name| !WITHOUT.contains(name)) {
            assert!(COMPOSITORS.iter().any(|known| known.desktop == *name), "{name}");
        }
    }

    #[test]
    fn compositors_of_commands() {
        let desktop = |command: &str| of_command(command).map(|known| known.desktop);
        assert_eq!(desktop("/run/current-system/sw/bin/sway --unsupported-gpu"), Some("sway"));
        assert_eq!(desktop("env WLR_RENDERER=pixman dbus-run-session -- sway"), Some("sway"));
        assert_eq!(desktop("uwsm start -- start-hyprland"), Some("hyprland"));
        assert_eq!(desktop("/nix/store/x/bin/niri-session"), Some("niri"));
        assert_eq!((desktop("startplasma-x11"), desktop("foot"), desktop("")), (Some("plasma"), None, None));
    }

    #[test]
    fn units_of_compositors() {
        assert_eq!(process_of_unit("plasma-kwin_wayland.service"), Some("kwin_wayland"));
        assert_eq!(process_of_unit("niri.service"), Some("niri"));
        assert_eq!(process_of_unit("org.gnome.Shell@wayland.service"), Some("gnome-shell"));
        assert_eq!(process_of_unit("wayland-wm@sway.service"), Some("sway"));
        assert_eq!(process_of_unit("swaync.service"), None);
    }
}
