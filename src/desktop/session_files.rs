//! The sessions that a display manager offers (desktop entry specification), and which of them is started.

use std::fmt;

use super::compositors;
use crate::judging::text;
use crate::nix::expectations::ExpectedDesktop;

/// The display protocol of a session (`XDG_SESSION_TYPE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionType {
    Wayland,
    X11,
}

impl SessionType {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Wayland => "wayland",
            Self::X11 => "x11",
        }
    }
}

impl fmt::Display for SessionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A session that a display manager offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionFile {
    /// The file's name without its ending.
    pub(crate) name: String,
    /// By the file's directory.
    pub(crate) session_type: SessionType,
    /// `Exec`.
    pub(crate) exec: String,
    /// `DesktopNames`.
    pub(crate) desktop_names: String,
}

/// Greeters of greetd that are told by an option what they start. What runs them may have one of the same name, and
/// mean its configuration: `sway -c greeter.conf`.
const GREETERS: [&str; 4] = ["tuigreet", "agreety", "gtkgreet", "wlgreet"];

/// The session that greetd's own greeter is configured to start: `agreety --cmd sway`.
pub(crate) fn greeter_session(desktop: &ExpectedDesktop) -> Option<SessionFile> {
    let words: Vec<&str> = desktop.greeter_command.as_deref()?.split_ascii_whitespace().collect();
    let greeter = words.iter().position(|word| is_greeter(word))?;
    let arguments = &words[greeter + 1..];
    let rest = arguments.iter().enumerate().find_map(|(at, word)| {
        let after = arguments[at + 1..].join(" ");
        match word.split_once('=') {
            Some(("--cmd" | "--command", value)) => Some(format!("{value} {after}")),
            _ => matches!(*word, "--cmd" | "-c" | "--command").then_some(after),
        }
    })?;
    // With its arguments only where they are quoted as one.
    let command = match rest.chars().next()? {
        quote @ ('"' | '\'') => rest[1..].split(quote).next().unwrap_or_default(),
        _ => rest.split(' ').next().unwrap_or_default().trim_end_matches(['"', '\'']),
    };
    (!command.is_empty()).then(|| session_of(command.to_owned()))
}

/// Whether a word of a command line is the program of a greeter, which may begin what is quoted for a shell.
fn is_greeter(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or(word);
    GREETERS.contains(&name.trim_start_matches(['"', '\'']))
}

/// The session that greetd starts by automatic login.
pub(crate) fn initial_session(desktop: &ExpectedDesktop) -> Option<SessionFile> {
    desktop.command.clone().map(session_of)
}

fn session_of(command: String) -> SessionFile {
    let name = compositors::program_of(&command).to_owned();
    let session_type = compositors::of_program(&name).map_or(SessionType::Wayland, |known| known.session_type);
    SessionFile { desktop_names: name.clone(), name, session_type, exec: command }
}

/// Reads session files as `head -v` prints them. Hidden ones and those without a command are left out.
pub(crate) fn parse(text: &str) -> Vec<SessionFile> {
    let mut files: Vec<SessionFile> = Vec::new();
    for part in text.split("==> ") {
        let Some((path, content)) = part.split_once(" <==\n") else { continue };
        let Some(file) = session_file(path, content) else { continue };
        if !files.iter().any(|known| known.name == file.name && known.session_type == file.session_type) {
            files.push(file);
        }
    }
    files
}

fn session_file(path: &str, content: &str) -> Option<SessionFile> {
    let name = path.rsplit('/').next()?.strip_suffix(".desktop")?;
    let entry = content.split("\n[").next().unwrap_or_default();
    let key = |key: &str| {
        entry.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default().trim().to_owned()
    };
    let is_hidden = ["Hidden", "NoDisplay"].iter().any(|name| key(name) == "true");
    let exec = key("Exec");
    let is_wayland = path.contains("/wayland-sessions/");
    (!is_hidden && !exec.is_empty()).then(|| SessionFile {
        name: name.to_owned(),
        session_type: if is_wayland { SessionType::Wayland } else { SessionType::X11 },
        exec,
        desktop_names: key("DesktopNames"),
    })
}

/// The session that a user gets who logs in without choosing one.
///
/// # Errors
/// Why there is none; [`is_missing_session`] knows these reasons.
pub(crate) fn choose(desktop: &ExpectedDesktop, offered: &[SessionFile]) -> Result<SessionFile, String> {
    if let Some(expected) = &desktop.default_session {
        return offered.iter().find(|file| file.name == *expected).cloned().ok_or_else(|| {
            let names: Vec<&str> = offered.iter().map(|file| file.name.as_str()).collect();
            let there = if names.is_empty() {
                NONE_OFFERED.to_owned()
            } else {
                format!("the sessions offered are {}", text::list(&names))
            };
            format!("{DEFAULT_SESSION} {expected} does not exist: {there}")
        });
    }
    let is_expected = |file: &&SessionFile| {
        desktop.desktops.iter().any(|expected| {
            compositors::of_command(&file.exec).is_some_and(|known| known.desktop == expected.name)
                || file.name.to_lowercase().contains(&expected.name)
        })
    };
    let chosen = offered.iter().find(is_expected).or(offered.first()).cloned();
    chosen.ok_or_else(|| format!("{NONE_OFFERED}: there is no file in share/wayland-sessions nor share/xsessions"))
}

const NONE_OFFERED: &str = "no session is offered";
const DEFAULT_SESSION: &str = "the default session";

/// Whether this reason why nobody is logged in is one of [`choose`]: the configuration lacks a session.
pub(crate) fn is_missing_session(why: &str) -> bool {
    why.contains(NONE_OFFERED) || why.contains(DEFAULT_SESSION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nix::expectations::DesktopKind;

    #[test]
    fn session_files_are_read_and_chosen() {
        let text = "==> /x/share/wayland-sessions/sway.desktop <==\n[Desktop Entry]\nName=Sway\nExec=sway --unsupported-gpu\nDesktopNames=sway;wlroots\n\n[Desktop Action x]\nExec=y\n\
            ==> /x/share/xsessions/none+i3.desktop <==\n[Desktop Entry]\nExec=/nix/store/x/i3\n==> /x/share/xsessions/hidden.desktop <==\n[Desktop Entry]\nHidden=true\nExec=z\n";
        let files = parse(text);
        assert_eq!(
            files.iter().map(|file| (file.name.as_str(), file.session_type.name())).collect::<Vec<_>>(),
            [("sway", "wayland"), ("none+i3", "x11")]
        );
        let desktop = |default: Option<&str>, name: &str| ExpectedDesktop {
            default_session: default.map(str::to_owned),
            desktops: vec![DesktopKind { name: name.into(), kind: None }],
            ..ExpectedDesktop::default()
        };
        assert_eq!(choose(&desktop(Some("none+i3"), "x"), &files).unwrap().name, "none+i3");
        assert_eq!(choose(&desktop(None, "i3"), &files).unwrap().name, "none+i3");
        assert_eq!(choose(&desktop(None, "other"), &files).unwrap().exec, "sway --unsupported-gpu");
        let missing = choose(&desktop(Some("gnome"), "x"), &files).unwrap_err();
        assert!(missing.contains("default session gnome") && is_missing_session(&missing));
        let none = choose(&desktop(None, "x"), &[]).unwrap_err();
        assert!(none.contains("no session is offered") && is_missing_session(&none));
        assert!(!is_missing_session("systemd-run could not start a session for alice"));
        let greetd =
            |command: &str| ExpectedDesktop { greeter_command: Some(command.into()), ..ExpectedDesktop::default() };
        assert_eq!(greeter_session(&greetd("/x/bin/agreety --cmd sway")).unwrap().exec, "sway");
        assert_eq!(greeter_session(&greetd("tuigreet --time --cmd 'dbus-run-session sway'")).unwrap().name, "sway");
        assert_eq!(greeter_session(&greetd("regreet")), None);
    }

    #[test]
    fn only_a_greeters_own_option_names_a_session() {
        let exec = |command: &str| {
            let greetd = ExpectedDesktop { greeter_command: Some(command.into()), ..ExpectedDesktop::default() };
            greeter_session(&greetd).map(|session| session.exec)
        };
        for command in [
            "sway -c /etc/greetd/compose.conf",
            "Hyprland -c /etc/greetd/hyprland.conf",
            "cage -s -- regreet -c /etc/greetd/regreet.toml",
            "sway -c /etc/greetd/tuigreet.conf",
            "tuigreet --time",
            "tuigreet --cmd",
            "",
        ] {
            assert_eq!(exec(command), None, "{command}");
        }
        for command in [
            "cage -s -- gtkgreet -c sway",
            "/nix/store/x/bin/tuigreet --cmd=sway",
            "sh -c 'tuigreet --cmd sway'",
            "sway -c /etc/greetd/sway.conf -- /x/bin/wlgreet --command sway",
        ] {
            assert_eq!(exec(command).as_deref(), Some("sway"), "{command}");
        }
        assert_eq!(exec("tuigreet --cmd='dbus-run-session sway' --time").as_deref(), Some("dbus-run-session sway"));
        assert_eq!(exec("agreety --cmd \"niri --session\"").as_deref(), Some("niri --session"));
    }
}
