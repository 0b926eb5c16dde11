//! Display managers: one row each. A new one is a new row.

use crate::nix::expectations::ExpectedDesktop;

/// A display manager.
#[derive(Debug)]
pub(crate) struct DisplayManager {
    /// Its name in the expectations.
    pub(crate) name: &'static str,
    /// Its units, besides [`UNIT`].
    pub(crate) units: &'static [&'static str],
    /// Users that its greeter runs as.
    pub(crate) greeter_users: &'static [&'static str],
    /// Whether its greeter is text on a terminal.
    text: TextGreeter,
    /// The greeter has no session of logind's: it runs as the service itself.
    greets_without_session: bool,
    /// It starts Wayland sessions by NixOS's wrapper, too, as all do X sessions: the list in `nix/expectations.nix` says
    /// the same.
    wraps_wayland: bool,
}

/// When a greeter is text on a terminal.
#[derive(Debug)]
enum TextGreeter {
    Never,
    Always,
    /// When the greeter's command runs one of these programs.
    WithProgram(&'static [&'static str]),
}

/// The unit by which NixOS runs most of them.
pub(crate) const UNIT: &str = "display-manager.service";

const fn graphical(
    name: &'static str,
    units: &'static [&'static str],
    greeter_users: &'static [&'static str],
) -> DisplayManager {
    DisplayManager {
        name,
        units,
        greeter_users,
        text: TextGreeter::Never,
        greets_without_session: false,
        wraps_wayland: false,
    }
}

const fn text(name: &'static str, units: &'static [&'static str]) -> DisplayManager {
    DisplayManager { text: TextGreeter::Always, greets_without_session: true, ..graphical(name, units, &[]) }
}

const DISPLAY_MANAGERS: &[DisplayManager] = &[
    DisplayManager {
        text: TextGreeter::WithProgram(&["tuigreet", "agreety"]),
        ..graphical("greetd", &["greetd.service"], &["greeter"])
    },
    graphical("gdm", &["gdm.service"], &["gdm", "gdm-greeter"]),
    graphical("sddm", &["sddm.service"], &["sddm"]),
    DisplayManager { wraps_wayland: true, ..graphical("lightdm", &["lightdm.service"], &["lightdm"]) },
    DisplayManager { wraps_wayland: true, ..text("ly", &["ly.service", "ly@tty1.service"]) },
    text("lemurs", &["lemurs.service"]),
    graphical("plasma-login-manager", &["plasmalogin.service"], &[]),
    graphical("cosmic-greeter", &["cosmic-greeter.service", "cosmic-greeter-daemon.service"], &["cosmic-greeter"]),
];

/// The units of all display managers.
pub(crate) fn units() -> impl Iterator<Item = &'static str> {
    std::iter::once(UNIT).chain(DISPLAY_MANAGERS.iter().flat_map(|known| known.units).copied())
}

/// Whether this unit is a display manager's.
pub(crate) fn is_unit(name: &str) -> bool {
    units().any(|unit| unit == name)
}

/// The users of all greeters.
pub(crate) fn greeter_users() -> impl Iterator<Item = &'static str> {
    DISPLAY_MANAGERS.iter().flat_map(|known| known.greeter_users).copied()
}

fn of(desktop: &ExpectedDesktop) -> Option<&'static DisplayManager> {
    let name = desktop.display_manager.as_deref()?;
    DISPLAY_MANAGERS.iter().find(|known| known.name == name)
}

/// Whether the login screen is text on a terminal, as far as its name tells.
pub(crate) fn has_text_greeter(desktop: &ExpectedDesktop) -> bool {
    let command = desktop.greeter_command.as_deref().unwrap_or_default();
    of(desktop).is_some_and(|known| match known.text {
        TextGreeter::Never => false,
        TextGreeter::Always => true,
        TextGreeter::WithProgram(programs) => programs.iter().any(|program| command.contains(program)),
    })
}

/// Whether the login screen has no session of logind's.
pub(crate) fn greets_without_session(desktop: &ExpectedDesktop) -> bool {
    of(desktop).is_some_and(|known| known.greets_without_session)
}

/// Whether Wayland sessions are started by the session wrapper, too.
pub(crate) fn wraps_wayland(desktop: &ExpectedDesktop) -> bool {
    of(desktop).is_some_and(|known| known.wraps_wayland)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greeters_by_name() {
        let desktop = |name: &str, command: &str| ExpectedDesktop {
            display_manager: Some(name.into()),
            greeter_command: Some(command.into()),
            ..ExpectedDesktop::default()
        };
        assert!(has_text_greeter(&desktop("greetd", "/x/bin/tuigreet --time")));
        assert!(!has_text_greeter(&desktop("greetd", "regreet")) && !has_text_greeter(&desktop("gdm", "agreety")));
        assert!(has_text_greeter(&desktop("ly", "")) && greets_without_session(&desktop("lemurs", "")));
        assert!(!greets_without_session(&desktop("greetd", "agreety")) && !has_text_greeter(&desktop("unknown", "")));
        assert_eq!(units().next(), Some(UNIT));
        assert!(is_unit("ly@tty1.service") && !is_unit("sshd.service"));
        assert!(wraps_wayland(&desktop("ly", "")) && !wraps_wayland(&desktop("gdm", "")));
    }

    #[test]
    fn the_expectations_have_the_wrapper_of_who_wraps() {
        let wrapping = DISPLAY_MANAGERS.iter().filter(|known| known.wraps_wayland);
        let names: Vec<String> = wrapping.map(|known| format!("\"{}\"", known.name)).collect();
        let list = format!("elem displayManager [ {} ]", names.join(" "));
        assert!(include_str!("../nix/expectations.nix").contains(&list), "{list}");
    }
}
