//! `desktop.*`: the login screen, the user's session, who draws it, its units, and what is seen of it.
//!
//! What proves what: logind tells of sessions, `/proc` who holds the screen, the user's manager of units, the journal
//! why something ended, the picture whether all that comes to anything. A plain picture alone proves nothing (there are
//! desktops of one colour), nor does a live process (it may draw nothing): a window that is opened and seen does.
//!
//! Each cause is told once: a compositor that died is `desktop.compositor`, and that there is no session then is not
//! told again. Where a compositor refuses to draw without a graphics card's help, nothing is broken: the VM has none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use super::conditions::{self, SkipReason};
use super::plan::is_wanted;
use super::text::pattern;
use super::unit::{self, is_active, is_auto_restart, is_failed};
use super::{Finding, JudgeContext, Judgement, Plan, conclude, sandbox, text};
use crate::guest::desktop::{Desktop, Ended, Moment, Process, Way, Window};
use crate::guest::facts::{Account, Facts, JournalLine, Unit};
use crate::guest::logind::Session;
use crate::guest::sound::UNITS as SOUND_UNITS;
use crate::guest::user_units::{PORTAL, PORTAL_SCREEN, PORTAL_UNIT, UserManager};
use crate::model::{ActiveState, CheckId, CheckResult, LoadState, Status};
use crate::nix::expectations::{Expectations, ExpectedDesktop, ExpectedUnit};

/// The checks, in the order in which one explains the next.
const IDS: [CheckId; 5] = [
    CheckId::DesktopGreeter,
    CheckId::DesktopSession,
    CheckId::DesktopCompositor,
    CheckId::DesktopUnits,
    CheckId::DesktopPicture,
];
/// Units that run display managers.
pub(crate) const MANAGERS: [&str; 11] = [
    "display-manager.service",
    "greetd.service",
    "gdm.service",
    "sddm.service",
    "lightdm.service",
    "ly.service",
    "ly@tty1.service",
    "lemurs.service",
    "plasmalogin.service",
    "cosmic-greeter.service",
    "cosmic-greeter-daemon.service",
];
/// Units of a user's manager that are told of whether they are loaded or not.
pub(crate) const USUAL_UNITS: [&str; 3] = [SESSION_TARGET, "graphical-session-pre.target", PORTAL_UNIT];
/// Users that greeters run as.
pub(crate) const GREETERS: [&str; 6] = ["gdm", "gdm-greeter", "sddm", "greeter", "lightdm", "cosmic-greeter"];
const SESSION_TARGET: &str = "graphical-session.target";
/// How often a session, a greeter or a compositor may begin anew before that is a failure.
const AGAIN: usize = 3;
/// Under this share of the screen nothing was seen to change.
const SEEN: f64 = 0.0;
/// A first window that takes longer, with hardware virtualisation, is worth a word, in seconds: D-Bus waits 25.
const SLOW_WINDOW: f64 = 10.0;

// --- what is expected ---

/// Who is logged in without being asked.
pub(crate) fn autologin_user(expectations: &Expectations) -> Option<&str> {
    let desktop = expectations.desktop.as_ref()?;
    match &desktop.display_manager {
        Some(_) => desktop.autologin_user.as_deref(),
        None => None,
    }
}

/// Whether the login screen is text on a terminal, as far as can be told by its name.
pub(crate) fn is_text_greeter(desktop: &ExpectedDesktop) -> bool {
    let greeter = desktop.greeter_command.as_deref().unwrap_or_default();
    match desktop.display_manager.as_deref() {
        Some("ly" | "lemurs") => true,
        Some("greetd") => ["tuigreet", "agreety"].iter().any(|name| greeter.contains(name)),
        _ => false,
    }
}

/// Whether the login screen is there without a session of logind's: it runs as the service itself.
pub(crate) fn greets_without_session(desktop: &ExpectedDesktop) -> bool {
    matches!(desktop.display_manager.as_deref(), Some("ly" | "lemurs"))
}

/// A display manager's unit that failed: that is told where units are, and there is no desktop to look at.
pub(crate) fn failed_manager(plan: &Plan, facts: &Facts) -> Option<&'static str> {
    let told = plan.has(CheckId::ServicesFailedUnits) || plan.has(CheckId::ServicesPromised);
    let failed = |name: &str| facts.unit(name).is_some_and(|unit| is_failed(unit) || unit::is_refused(unit));
    MANAGERS.into_iter().find(|name| told && failed(name))
}

/// The units that are expected to a user's manager: the configuration's and home-manager's, those that something wants.
pub(crate) fn promised_units(expectations: &Expectations, user: &str) -> BTreeMap<String, ExpectedUnit> {
    let of_home = expectations.home_units.get(user).into_iter().flatten();
    expectations
        .user_units
        .iter()
        .chain(of_home)
        .filter(|(name, unit)| is_wanted(name, unit))
        .map(|(name, unit)| (name.clone(), unit.clone()))
        .collect()
}

/// Who has a manager from the boot on, and units expected to it, where nobody is logged in to look at their session.
pub(crate) fn lingering(expectations: &Expectations) -> Vec<&str> {
    let users =
        expectations.users.iter().filter(|(name, user)| user.linger && !promised_units(expectations, name).is_empty());
    users.map(|(name, _)| name.as_str()).filter(|_| expectations.desktop.is_none()).collect()
}

/// Whether it is still to be seen what becomes of the units that a manager starts at the boot.
pub(crate) fn is_starting(unit: &Unit) -> bool {
    is_undecided(unit) || unit.active_state == ActiveState::Activating && !is_auto_restart(unit)
}

/// Whether a unit of the user's ends and is started again and again: where it waits for long in between, systemd never
/// gives up, and it never shows as failed. Who did so once or twice may yet come up.
fn keeps_ending(unit: &Unit) -> bool {
    let ended = if ends_well(unit) { 3 } else { 2 };
    is_auto_restart(unit) && unit.service.as_ref().is_some_and(|service| service.restarts >= ended)
}

fn ends_well(unit: &Unit) -> bool {
    let well = unit.service.as_ref().is_some_and(|service| service.exit_status == 0 && service.exit_kind <= 1);
    well && unit.result.is_success()
}

/// Whether it is still to be seen what becomes of a unit that ended and is about to be started again.
pub(crate) fn is_undecided(unit: &Unit) -> bool {
    is_auto_restart(unit) && !keeps_ending(unit)
}

/// How far a unit is that was started again, where it is up or comes up: one that is as far as a moment before stays.
pub(crate) fn stage(unit: &Unit) -> Option<(u32, u64)> {
    let restarts = unit.service.as_ref().map_or(0, |service| service.restarts);
    let comes_up = is_active(unit) || unit.active_state == ActiveState::Activating && !is_auto_restart(unit);
    (restarts > 0 && comes_up).then_some((restarts, unit.active_enter_us))
}

/// A session that a display manager offers (the desktop entry specification).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SessionFile {
    /// The file's name without its ending.
    pub(crate) name: String,
    /// `wayland` or `x11`, by the directory.
    pub(crate) kind: String,
    /// `Exec`.
    pub(crate) exec: String,
    /// `DesktopNames`.
    pub(crate) desktop_names: String,
}

/// The session that greetd's own greeter was told to start: `agreety --cmd sway`.
pub(crate) fn greeter_session(desktop: &ExpectedDesktop) -> Option<SessionFile> {
    let words: Vec<&str> = desktop.greeter_command.as_deref()?.split_ascii_whitespace().collect();
    let at = words.iter().position(|word| matches!(*word, "--cmd" | "-c" | "--command"))?;
    // With its arguments only where they are quoted as one.
    let command = words[at + 1..].join(" ");
    let command = match command.chars().next()? {
        quote @ ('"' | '\'') => command[1..].split(quote).next().unwrap_or_default().to_owned(),
        _ => words.get(at + 1).copied().unwrap_or_default().to_owned(),
    };
    (!command.is_empty()).then(|| session_of(command))
}

/// The session that greetd starts by itself.
pub(crate) fn own_session(desktop: &ExpectedDesktop) -> Option<SessionFile> {
    desktop.command.clone().map(session_of)
}

fn session_of(command: String) -> SessionFile {
    let name = program_of(&command).to_owned();
    let kind = of_program(&name).map_or("wayland", |known| known.kind).to_owned();
    SessionFile { desktop_names: name.clone(), name, kind, exec: command }
}

/// Reads what `head -v` printed of session files. Hidden ones and those without a command are left out.
pub(crate) fn session_files(text: &str) -> Vec<SessionFile> {
    let mut files: Vec<SessionFile> = Vec::new();
    for part in text.split("==> ") {
        let Some((path, content)) = part.split_once(" <==\n") else { continue };
        let Some(name) = path.rsplit('/').next().and_then(|file| file.strip_suffix(".desktop")) else { continue };
        let key = |key: &str| {
            let entry = content.split("\n[").next().unwrap_or_default();
            entry
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let hidden = ["Hidden", "NoDisplay"].iter().any(|name| key(name) == "true");
        let kind = if path.contains("/wayland-sessions/") { "wayland" } else { "x11" };
        let known = files.iter().any(|file| file.name == name && file.kind == kind);
        if !hidden && !known && !key("Exec").is_empty() {
            files.push(SessionFile {
                name: name.to_owned(),
                kind: kind.to_owned(),
                exec: key("Exec"),
                desktop_names: key("DesktopNames"),
            });
        }
    }
    files
}

/// The session that a person would get who logs in without choosing.
///
/// # Errors
/// Why there is none.
pub(crate) fn choose_session(desktop: &ExpectedDesktop, offered: &[SessionFile]) -> Result<SessionFile, String> {
    if let Some(wanted) = &desktop.default_session {
        return offered.iter().find(|file| file.name == *wanted).cloned().ok_or_else(|| {
            let names: Vec<&str> = offered.iter().map(|file| file.name.as_str()).collect();
            let there = if names.is_empty() {
                "no session is offered".to_owned()
            } else {
                format!("offered are {}", text::list(&names))
            };
            format!("the default session {wanted} is not there: {there}")
        });
    }
    let expected = |file: &&SessionFile| {
        desktop.desktops.iter().any(|kind| {
            of_program(program_of(&file.exec)).is_some_and(|known| known.desktop == kind.name)
                || file.name.to_lowercase().contains(&kind.name)
        })
    };
    offered.iter().find(expected).or(offered.first()).cloned().ok_or_else(|| {
        "no session is offered: there is no file in share/wayland-sessions nor share/xsessions".to_owned()
    })
}

// --- who draws ---

/// A program that draws a desktop.
struct Drawer {
    program: &'static str,
    desktop: &'static str,
    kind: &'static str,
}

const fn wayland(program: &'static str, desktop: &'static str) -> Drawer {
    Drawer { program, desktop, kind: "wayland" }
}

const fn x11(program: &'static str, desktop: &'static str) -> Drawer {
    Drawer { program, desktop, kind: "x11" }
}

/// Compositors and window managers, by the name of their process (15 bytes of it).
const DRAWERS: &[Drawer] = &[
    wayland("gnome-shell", "gnome"),
    wayland("mutter", "gnome"),
    wayland("kwin_wayland", "plasma"),
    wayland("cosmic-comp", "cosmic"),
    wayland("sway", "sway"),
    wayland("Hyprland", "hyprland"),
    wayland("hyprland", "hyprland"),
    wayland("niri", "niri"),
    wayland("river", "river"),
    wayland("labwc", "labwc"),
    wayland("wayfire", "wayfire"),
    wayland("miracle-wm", "miracle-wm"),
    wayland("cardboard", "cardboard"),
    wayland("mango", "mango"),
    wayland("dwl", "dwl"),
    wayland("weston", "weston"),
    wayland("cage", "cage"),
    x11("xfwm4", "xfce"),
    x11("xfce4-session", "xfce"),
    x11("kwin_x11", "plasma"),
    x11("marco", "mate"),
    x11("mate-session", "mate"),
    x11("cinnamon", "cinnamon"),
    x11("gala", "pantheon"),
    x11("lxqt-session", "lxqt"),
    x11("enlightenment", "enlightenment"),
    x11("budgie-wm", "budgie"),
    x11("i3", "i3"),
    x11("openbox", "openbox"),
    x11("awesome", "awesome"),
    x11("bspwm", "bspwm"),
    x11("xmonad", "xmonad"),
    x11("dwm", "dwm"),
    x11("qtile", "qtile"),
    x11("herbstluftwm", "herbstluftwm"),
    x11("fluxbox", "fluxbox"),
    x11("icewm", "icewm"),
    x11("leftwm", "leftwm"),
    x11("twm", "twm"),
    x11("jwm", "jwm"),
    x11("cwm", "cwm"),
    x11("fvwm3", "fvwm3"),
    x11("ratpoison", "ratpoison"),
    x11("stumpwm", "stumpwm"),
    x11("spectrwm", "spectrwm"),
];
/// Programs of desktops that leave the drawing to a compositor of another name: XFCE and Budgie to labwc, say.
const SHELLS: [(&str, &str); 5] = [
    ("xfce4-session", "xfce"),
    ("lxqt-session", "lxqt"),
    ("mate-session", "mate"),
    ("budgie-panel", "budgie"),
    ("budgie-daemon", "budgie"),
];
/// Desktops that paint more than one colour of their own accord: a wallpaper or a panel.
const PAINT: [&str; 12] = [
    "gnome",
    "plasma",
    "cosmic",
    "xfce",
    "mate",
    "cinnamon",
    "pantheon",
    "lxqt",
    "budgie",
    "sway",
    "enlightenment",
    "icewm",
];

/// The program that a command line starts: without path, wrapper and arguments.
fn program_of(command: &str) -> &str {
    let wrappers = ["env", "exec", "dbus-run-session", "systemd-cat", "uwsm", "start", "nixGL", "--"];
    let name = |word: &str| -> usize { word.rfind('/').map_or(0, |at| at + 1) };
    command
        .split_ascii_whitespace()
        .map(|word| &word[name(word)..])
        .find(|word| !wrappers.contains(word) && !word.contains('=') && !word.starts_with('-'))
        .unwrap_or_default()
}

fn of_program(program: &str) -> Option<&'static Drawer> {
    let program = program.strip_suffix("-session").filter(|rest| *rest == "niri").unwrap_or(program);
    let program = match program {
        "gnome-session" => "gnome-shell",
        "startplasma-wayland" => "kwin_wayland",
        "startplasma-x11" => "kwin_x11",
        "start-cosmic" | "cosmic-session" => "cosmic-comp",
        "start-hyprland" => "Hyprland",
        "startxfce4" => "xfce4-session",
        other => other,
    };
    DRAWERS.iter().find(|known| known.program == program)
}

/// The process that serves a user's display: a Wayland compositor, or the X server that the user's programs talk to.
pub(crate) fn display_server(processes: &[Process], uid: u32) -> Option<&Process> {
    let wayland = processes
        .iter()
        .filter(|process| process.uid == uid && process.wayland().is_some())
        // A nested one holds no card.
        .max_by_key(|process| {
            (process.has_card, of_program(&process.name).is_some(), std::cmp::Reverse(process.since_us))
        });
    wayland.or_else(|| {
        let users = |display: &str| {
            processes.iter().any(|process| process.uid == uid && process.variable("DISPLAY") == Some(display))
        };
        processes.iter().find(|process| {
            process.name != "Xwayland" && process.x11().is_some_and(|display| process.uid == uid || users(&display))
        })
    })
}

/// What draws in a session: the compositor itself, or the window manager beside the X server.
fn drawer(processes: &[Process], uid: u32) -> Option<(&Process, Option<&'static Drawer>)> {
    let server = display_server(processes, uid)?;
    if server.wayland().is_some() {
        return Some((server, of_program(&server.name)));
    }
    let manager = processes
        .iter()
        .filter(|process| process.uid == uid)
        .filter_map(|process| Some((process, of_program(&process.name).filter(|known| known.kind == "x11")?)))
        .next();
    Some(manager.map_or((server, None), |(process, known)| (process, Some(known))))
}

// --- why ---

/// A compositor that will not draw, or cannot, without a graphics card's help: words that nothing comes after.
static REFUSES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)CBackend::create\(\) failed|software EGL renderers are skipped|no (suitable )?(GPUs?|render nodes?|DRM render)( \w+)* (found|available)|failed to initialize any GPU|does not support (OpenGL|EGL|GLES)|needs? (hardware acceleration|3D acceleration)",
    )
});
/// Words that wlroots and others say before they try the next way to draw; only where nothing else went wrong after
/// them were they the last.
static TRIES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)software rendering detected|WLR_RENDERER_ALLOW_SOFTWARE|failed to (create|initiali[sz]e|init) (the |an? )?(\w+ )?(EGL|GLES2?|GL|OpenGL|vulkan|GBM|renderer)|(could not|couldn't|unable to|cannot) (create|initiali[sz]e) (an? |the )?(\w+ )?(EGL|GL|OpenGL|renderer|GBM)|EGL_NOT_INITIALIZED|error creating renderer",
    )
});
/// systemd-coredump's words; the signal is appended by who read the journal.
static DUMPED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^Process \d+ \(([^)]+)\) of user \d+ (?:dumped core|terminated abnormally)[^(]*(?:\((SIG\w+)\))?")
});
/// The kernel's words.
static FAULTED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?:traps: )?([^\[\s]+)\[\d+\]:? (segfault|general protection|trap invalid opcode|trap divide error|trap int3)",
    )
});
/// The kernel's words where nobody takes the dump (since 6.15).
static CORE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^coredump: \d+\(([^)]+)\):"));
/// A manager's words on a unit's process.
static SIGNALLED: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"Main process exited, code=(?:killed|dumped), status=\d+/(\w+)"));
static NEW_SESSION: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^New session '?([\w-]+)'? of user '?([\w.-]+?)'?(?: with class '?([\w-]+)'?| and|\.|$)")
});
static SESSION_GONE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(?:Removed session|Session) '?([\w-]+)'?(?: logged out|\.)"));
/// Lines that say why there is no login screen or no session.
static TELLS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)without creating a session|failed|error|fatal|cannot|can't|could not|couldn't|unable|no such|not found|denied|invalid|crash|abort|does not exist|unknown user|no session|not installed",
    )
});
/// Of these, those that name what is missing.
static NAMES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)not found|no such|does not exist|not provided|not installed|denied|unknown (user|command)|without creating a session|failed to execute",
    )
});
/// Lines that are said on healthy machines too: an atomic commit is denied to who draws when another session is shown.
static CHATTER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^(nixbox|dbus-daemon.*Activating)|accountsservice|org\.freedesktop\.Accounts|gkr-pam|pam_unix.*session|WARNING: Failed to parse|xkbcomp|realtime|rtkit|colord|geoclue|bluetooth|upower|ModemManager|AT-SPI|^Fontconfig error|enumerate user data directory|find config for output|Page-flip failed|Atomic commit failed: Permission denied|EGL_BAD_PARAMETER",
    )
});

/// What draws finds fault with its own configuration (sway, Hyprland, niri): it goes on without what it does not
/// understand, and shows a bar that says so.
static COMPLAINS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\bError on line \d+|Error\(s\) loading config|config error in file|config option <[^>]*> does not exist|(error|failed) (loading|parsing|reading|to load|to parse) (the )?(niri |compositor )?config",
    )
});

/// SDDM shows a theme of its own where the configured one is not there or does not load.
static UNTHEMED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)fallback to embedded theme|using (the )?(fallback|embedded) theme|theme cannot be loaded due to")
});

/// A crash: whose, by which signal, how it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Crash {
    program: String,
    signal: Option<String>,
    at_us: u64,
    line: String,
}

/// Whether a unit is that of this program: `niri.service`, `plasma-kwin_wayland.service`, `org.gnome.Shell@x.service`.
fn names_drawer(unit: &str, program: &str) -> bool {
    let unit = unit.split(".service").next().unwrap_or_default().to_lowercase().replace('.', "-");
    let mut words = unit.split(['@', '-']).collect::<Vec<_>>();
    words.push(&unit);
    words.contains(&program) || program == "gnome-shell" && unit.contains("gnome-shell")
}

/// All crashes that the journal tells of, each once.
fn crashes(cx: &JudgeContext<'_>, seen: &Desktop) -> Vec<Crash> {
    // Who tells.
    let kind = |line: &str| (line.starts_with("Process "), SIGNALLED.is_match(line), CORE.is_match(line));
    let mut all: Vec<Crash> = Vec::new();
    let mut lines: Vec<&JournalLine> = seen.journal.iter().chain(&cx.now.journal).collect();
    lines.sort_by_key(|line| line.at_us);
    for line in lines {
        let first = line.message.lines().next().unwrap_or_default();
        let (program, signal) = if let Some(found) = DUMPED.captures(first) {
            (found[1].to_owned(), found.get(2).map(|signal| signal.as_str().to_owned()))
        } else if line.transport == "kernel"
            && let Some(found) = FAULTED.captures(first)
        {
            let signal = match &found[2] {
                "trap invalid opcode" => "SIGILL",
                "trap divide error" => "SIGFPE",
                "trap int3" => "SIGTRAP",
                _ => "SIGSEGV",
            };
            (found[1].to_owned(), Some(signal.to_owned()))
        } else if line.transport == "kernel"
            && let Some(found) = CORE.captures(first)
        {
            (found[1].to_owned(), None)
        } else if let Some(found) = SIGNALLED.captures(first)
            && let Some(known) = DRAWERS.iter().find(|known| names_drawer(&line.unit, known.program))
        {
            (known.program.to_owned(), Some(format!("SIG{}", &found[1])))
        } else {
            continue;
        };
        let program = program.trim_start_matches('.').split("-wrap").next().unwrap_or_default().to_owned();
        // The kernel and systemd-coredump tell of the same one within a few seconds.
        let same = |crash: &&mut Crash| {
            crash.program == program
                && line.at_us.saturating_sub(crash.at_us) < 3_000_000
                && kind(&crash.line) != kind(first)
        };
        if let Some(known) = all.iter_mut().rev().find(same) {
            known.signal = known.signal.take().or(signal);
            continue;
        }
        if !all.iter().any(|crash| crash.at_us == line.at_us && crash.line == first) {
            all.push(Crash { program, signal, at_us: line.at_us, line: first.to_owned() });
        }
    }
    all
}

/// Whether a line tells why something is not there: the display manager's and the session's, not the kernel's.
fn tells(line: &JournalLine) -> bool {
    // Whose business it is: others find fault with much. Who is gone before its line is read has no unit any more.
    let close = line.unit.is_empty()
        || MANAGERS.contains(&line.unit.as_str())
        || line.unit.ends_with(".scope")
        || ["gnome-session", "gnome.Shell", "plasma", "wayland"].iter().any(|word| line.unit.contains(word));
    close && line.transport != "kernel" && TELLS.is_match(&line.message) && !CHATTER.is_match(&line.message)
}

/// Whether what was said tells why there is no session.
pub(crate) fn is_explained(seen: &Desktop) -> bool {
    let crashed = |line: &JournalLine| [&DUMPED, &FAULTED, &CORE].iter().any(|words| words.is_match(&line.message));
    seen.journal.iter().any(|line| tells(line) || crashed(line))
}

/// A session of which logind wrote: when it began and ended.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Past {
    /// Its unit: `session-2.scope`.
    scope: String,
    user: String,
    class: String,
    began_us: u64,
    ended_us: Option<u64>,
}

fn past_sessions(cx: &JudgeContext<'_>, seen: &Desktop) -> Vec<Past> {
    let mut all: BTreeMap<String, Past> = BTreeMap::new();
    for line in seen.journal.iter().filter(|line| line.unit == "systemd-logind.service") {
        if let Some(found) = NEW_SESSION.captures(&line.message) {
            let class = match found.get(3) {
                Some(class) => class.as_str(),
                None if GREETERS.contains(&&found[2]) => "greeter",
                None => "",
            };
            let (user, class) = (found[2].to_owned(), class.to_owned());
            let scope = format!("session-{}.scope", &found[1]);
            all.insert(found[1].to_owned(), Past { scope, user, class, began_us: line.at_us, ended_us: None });
        } else if let Some(found) = SESSION_GONE.captures(&line.message)
            && let Some(past) = all.get_mut(&found[1])
        {
            past.ended_us.get_or_insert(line.at_us);
        }
    }
    // An older logind does not tell the class. The managers' sessions have no scope.
    let scopes: BTreeSet<&str> = cx.now.journal.iter().map(|line| line.unit.as_str()).collect();
    let is_none = |past: &Past| {
        past.class.starts_with("manager") || past.class.is_empty() && !scopes.contains(past.scope.as_str())
    };
    let mut all: Vec<Past> = all.into_values().filter(|past| !is_none(past)).collect();
    all.sort_by_key(|past| past.began_us);
    all
}

// --- judging ---

/// Everything that the checks below look at.
struct Scene<'a> {
    cx: &'a JudgeContext<'a>,
    promise: &'a ExpectedDesktop,
    seen: &'a Desktop,
    user: &'a str,
    account: Option<&'a Account>,
    moment: Option<&'a Moment>,
    /// The user's sessions on a seat.
    own: Vec<&'a Session>,
    /// Who serves the display, and what draws on it.
    server: Option<&'a Process>,
    drawer: Option<(&'a Process, Option<&'static Drawer>)>,
    crashes: Vec<Crash>,
    past: Vec<Past>,
    /// The line by which a compositor refuses to draw in a VM.
    refusal: Option<String>,
}

/// What is asked why it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Greeter,
    Session,
}

/// What a check came to, before it is told.
enum Found {
    Pass(String),
    Findings { fails: Vec<Finding>, warns: Vec<Finding>, pass: String },
    Skip(String),
    Unknown(String),
}

impl Found {
    fn fail(finding: Finding) -> Self {
        Found::Findings { fails: vec![finding], warns: Vec::new(), pass: String::new() }
    }
}

pub(super) fn judge(cx: &JudgeContext<'_>, out: &mut Judgement) {
    nobody_looks(cx, out);
    let Some(promise) = &cx.plan.expectations.desktop else { return linger(cx, out) };
    if !IDS.iter().any(|id| cx.is_planned(*id)) {
        return;
    }
    let all = |out: &mut Judgement, status, why: &str| {
        out.results.extend(IDS.iter().map(|id| CheckResult::new(*id, status, why)));
    };
    // Without them nobody is there, and a guest that does not answer shows nothing.
    if let Some(unknown) = cx.unknown(CheckId::DesktopSession, &["accounts"]) {
        return all(out, Status::Unknown, &unknown.summary);
    }
    let failed = failed_manager(cx.plan, cx.now);
    if let Some(name) = failed {
        all(out, Status::Skip, &format!("{name} failed"));
        // Why, where it is not of those who can tell it.
        if let Some(user) = missing_user(cx) {
            let finding = Finding::new(user, format!("{name} failed, and nobody is logged in: {}", no_user(user)));
            let finding = finding.hint(NO_USER_HINT);
            out.results.retain(|result| result.id != CheckId::DesktopSession);
            out.results.push(conclude(cx, CheckId::DesktopSession, vec![finding], Vec::new(), String::new));
        }
        return;
    }
    let Some(seen) = cx.desktop else { return all(out, Status::Unknown, "the desktop was not looked at") };
    let scene = Scene::new(cx, promise, seen);
    let compositor = scene.compositor();
    let told = match &compositor {
        Found::Findings { fails, .. } if !fails.is_empty() => Some(CheckId::DesktopCompositor),
        _ => None,
    };
    let session = scene.session(told.is_some());
    let no_session = matches!(&session, Found::Findings { fails, .. } if !fails.is_empty() && scene.own.is_empty());
    let told = told.or(no_session.then_some(CheckId::DesktopSession));
    let because = |found: Found| match (told, &scene.refusal) {
        (Some(id), _) => Found::Skip(format!("not looked at: see {id}")),
        (None, Some(line)) => Found::Skip(needs_card(line)),
        (None, None) => found,
    };
    if let Some(line) = &scene.refusal {
        out.exclude(
            &format!("the session of {}", scene.user),
            format!("its compositor draws only with a graphics card's help, which the sandbox has not: {line}"),
        );
    }
    let compositor = match (no_session && !matches!(told, Some(CheckId::DesktopCompositor)), compositor) {
        (true, found) => because(found),
        (false, found) => found,
    };
    let picture = because(scene.picture());
    // What fails after who draws is gone fails because of that.
    let gone = scene.server.is_none() && (told.is_some() || scene.refusal.is_some());
    let units = if gone { because(Found::Skip(String::new())) } else { scene.units(out) };
    let greeter = scene.greeter();
    if let (Found::Skip(_), Some(line)) = (&greeter, scene.greeter_refuses()) {
        out.exclude(
            "the login screen",
            format!("it is drawn only with a graphics card's help, which the sandbox has not: {line}"),
        );
    }
    for (id, found) in IDS.into_iter().zip([greeter, session, compositor, units, picture]) {
        let result = match found {
            Found::Pass(line) => CheckResult::new(id, Status::Pass, line),
            Found::Skip(why) => CheckResult::new(id, Status::Skip, why),
            Found::Unknown(why) => CheckResult::new(id, Status::Unknown, why),
            Found::Findings { fails, warns, pass } => conclude(cx, id, fails, warns, || pass),
        };
        out.results.push(result.took(took(id, seen)));
    }
}

/// The units of those who linger.
fn linger(cx: &JudgeContext<'_>, out: &mut Judgement) {
    let id = CheckId::DesktopUnits;
    if !cx.is_planned(id) {
        return;
    }
    let nothing = ExpectedDesktop::default();
    let (mut fails, mut warns, mut passes) = (Vec::new(), Vec::new(), Vec::new());
    let mut gap = cx.lingering.is_empty().then(|| "nobody's units were looked at".to_owned());
    for seen in cx.lingering {
        let scene = Scene::new(cx, &nothing, seen);
        match (scene.gap(&["user-units", "desktop-journal"]), scene.units(out)) {
            (None, Found::Findings { fails: theirs, warns: also, pass }) => {
                fails.extend(theirs);
                warns.extend(also);
                passes.push(pass);
            }
            (why, _) => gap = why,
        }
    }
    out.results.push(match gap.filter(|_| fails.is_empty()) {
        Some(gap) => CheckResult::new(id, Status::Unknown, gap),
        None => conclude(cx, id, fails, warns, || passes.join("; ")),
    });
}

/// home-manager's units of who is not logged in and does not linger start when they log in.
fn nobody_looks(cx: &JudgeContext<'_>, out: &mut Judgement) {
    let expectations = &cx.plan.expectations;
    let looked = cx.desktop.and_then(|seen| seen.user.as_deref());
    let lingering = lingering(expectations);
    for name in expectations.home_units.keys().filter(|_| cx.plan.selection.has(CheckId::DesktopUnits)) {
        let is_seen = looked == Some(name.as_str()) || lingering.contains(&name.as_str());
        let expected = expectations.home_units.get(name).into_iter().flatten();
        if !is_seen && expected.into_iter().any(|(unit, promise)| is_wanted(unit, promise)) {
            out.exclude(
                &format!("the user units of {name}"),
                format!("they start when {name} logs in, and nobody did"),
            );
        }
    }
}

/// How long was waited for what this check is about, in seconds.
fn took(id: CheckId, seen: &Desktop) -> f64 {
    let waited = |moment: &Option<Moment>| moment.as_ref().map_or(0.0, |moment| moment.waited);
    match id {
        CheckId::DesktopGreeter => waited(&seen.greeter),
        CheckId::DesktopSession => waited(&seen.session),
        CheckId::DesktopUnits => seen.portal.as_ref().map_or(0.0, |portal| portal.seconds),
        CheckId::DesktopPicture => {
            let window = seen.window.as_ref().map_or(0.0, |window| window.seconds);
            window + seen.reactions.iter().map(|reaction| reaction.seconds).sum::<f64>()
        }
        _ => 0.0,
    }
}

/// Whether it is told here why this unit is started again and again: it logs somebody in, and what it starts crashes; or
/// its login screen is not drawn in a VM.
pub(super) fn explains(cx: &JudgeContext<'_>, unit: &str) -> bool {
    let (Some(promise), Some(seen)) = (&cx.plan.expectations.desktop, cx.desktop) else { return false };
    if !MANAGERS.contains(&unit) {
        return false;
    }
    let scene = Scene::new(cx, promise, seen);
    let crashes = || autologin_user(&cx.plan.expectations).is_some() && !scene.fallen().is_empty();
    let refuses = || scene.greeter_refuses().is_some() && matches!(scene.greeter(), Found::Skip(_));
    cx.is_planned(CheckId::DesktopCompositor) && crashes() || cx.is_planned(CheckId::DesktopGreeter) && refuses()
}

/// Why a display manager that gave up is no fault of the configuration: what it started refused to draw in a VM.
pub(super) fn excuse(cx: &JudgeContext<'_>, unit: &str) -> Option<String> {
    let (promise, seen) = (cx.plan.expectations.desktop.as_ref()?, cx.desktop?);
    if !MANAGERS.contains(&unit) {
        return None;
    }
    let scene = Scene::new(cx, promise, seen);
    let line = refusal(scene.said_in_session().chain(scene.terminals_about(What::Session)))?;
    Some(format!("what it starts draws only with a graphics card's help, which the sandbox has not: {line}"))
}

const NO_USER_HINT: &str = "declare the user, or name another one for the automatic login";

/// Who is to be logged in by the configuration, and is not there.
fn missing_user<'a>(cx: &JudgeContext<'a>) -> Option<&'a str> {
    let name = autologin_user(&cx.plan.expectations)?;
    let accounts = &cx.now.accounts;
    (!accounts.is_empty() && !accounts.iter().any(|account| account.name == name)).then_some(name)
}

/// Why that user is not logged in.
pub(crate) fn no_user(name: &str) -> String {
    format!("{} is to be logged in, and there is no such user", text::clean(name))
}

fn needs_card(line: &str) -> String {
    format!("not tested: needs a graphics card: {line}")
}

/// The first of these lines by which a compositor refuses to draw in a VM.
fn refusal<'a>(mut lines: impl Iterator<Item = &'a str>) -> Option<String> {
    lines.find(|line| REFUSES.is_match(line)).map(text::clean)
}

/// Of several processes, dumped or not, `2 times`.
fn times(count: usize) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        many => format!("{many} times"),
    }
}

impl<'a> Scene<'a> {
    fn new(cx: &'a JudgeContext<'a>, promise: &'a ExpectedDesktop, seen: &'a Desktop) -> Self {
        let user = seen.user.as_deref().unwrap_or_default();
        let account = cx.now.accounts.iter().find(|account| account.name == user);
        let moment = seen.session.as_ref().filter(|_| account.is_some());
        let own = moment
            .into_iter()
            .flat_map(|moment| &moment.sessions)
            .filter(|session| session.is_seated() && account.is_some_and(|account| account.uid == session.uid))
            .collect();
        let processes = moment.map_or(&[][..], |moment| &moment.processes);
        let uid = account.map_or(u32::MAX, |account| account.uid);
        let mut scene = Self {
            cx,
            promise,
            seen,
            user,
            account,
            moment,
            own,
            server: display_server(processes, uid),
            drawer: drawer(processes, uid),
            crashes: crashes(cx, seen),
            past: past_sessions(cx, seen),
            refusal: None,
        };
        // Whoever draws did not refuse.
        scene.refusal = if scene.server.is_none() { scene.refuses() } else { scene.runs_without_a_screen() };
        scene
    }

    /// What was said in the journal and on the terminals, the newest last.
    fn words(&self) -> impl Iterator<Item = &'a str> {
        let seen = self.seen;
        let journal = seen.journal.iter().map(|line| line.message.lines().next().unwrap_or_default());
        journal.chain(seen.terminals.values().flatten().chain(&seen.said_again).map(String::as_str))
    }

    /// The line by which a compositor says that it does not draw here. Who ran into a fault did not get that far.
    fn refuses(&self) -> Option<String> {
        if let Some(line) = refusal(self.words()) {
            return Some(line);
        }
        let faults = ["SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE"];
        if self.fallen().iter().any(|crash| crash.signal.as_deref().is_some_and(|signal| faults.contains(&signal))) {
            return None;
        }
        // Nor did who has started what its configuration starts, whatever ended it then.
        let begun = |line: &JournalLine| line.unit == SESSION_TARGET && line.message.starts_with("Reached target");
        if self.seen.journal.iter().any(begun) {
            return None;
        }
        let last = |lines: &mut dyn Iterator<Item = &'a str>| {
            let line = lines.filter(|line| TELLS.is_match(line) || TRIES.is_match(line)).last()?;
            TRIES.is_match(line).then(|| text::clean(line))
        };
        let seen = self.seen;
        last(&mut self.said_in_session()).or_else(|| {
            let said = seen.terminals.values().chain([&seen.said_again]);
            said.into_iter().find_map(|lines| last(&mut lines.iter().map(String::as_str)))
        })
    }

    /// What the journal has of the session itself, and of the unit of what draws where that is one of the user's.
    fn said_in_session(&self) -> impl Iterator<Item = &'a str> {
        let draws = |unit: &str| DRAWERS.iter().any(|known| names_drawer(unit, known.program));
        let journal = self.seen.journal.iter();
        journal
            .filter(|line| line.transport != "kernel" && !line.message.starts_with("Process "))
            .filter(move |line| !line.unit.ends_with(".service") || draws(&line.unit))
            .map(|line| line.message.lines().next().unwrap_or_default())
    }

    /// The same of one that stays and serves its display, without a screen to show it on (niri): nothing of it is seen.
    fn runs_without_a_screen(&self) -> Option<String> {
        let look = self.moment?.look.as_ref()?;
        let bare = look.is_console || look.is_flat;
        if !bare || self.seen.window.as_ref().is_some_and(|window| window.seen) || self.reacts("pointer") {
            return None;
        }
        refusal(self.said_in_session().chain(self.terminals_about(What::Session)))
    }

    /// The same of what should draw the login screen.
    fn greeter_refuses(&self) -> Option<String> {
        self.seen.greeter.as_ref()?;
        refusal(self.said_about(What::Greeter))
    }

    /// What is said of it, in the journal and on the terminals.
    fn said_about(&self, what: What) -> impl Iterator<Item = &'a str> {
        let journal = self.journal_about(what).filter(|line| line.transport != "kernel");
        let journal = journal.map(|line| line.message.lines().next().unwrap_or_default());
        journal.chain(self.terminals_about(what))
    }

    /// The journal's lines without what is about something else: what the user's session says is not about the login
    /// screen, nor the other way round; nor is what comes after it.
    fn journal_about(&self, what: What) -> impl Iterator<Item = &'a JournalLine> {
        let until = match (what, &self.seen.greeter) {
            (What::Greeter, Some(moment)) if moment.now_us > 0 => moment.now_us,
            _ => u64::MAX,
        };
        let of_other = move |unit: &str| {
            let past = self.past.iter().find(|past| past.scope == unit);
            past.is_some_and(|past| (past.class == "greeter") != (what == What::Greeter))
        };
        self.seen.journal.iter().filter(move |line| line.at_us <= until && !of_other(&line.unit))
    }

    /// The lines on the terminals that may be about it.
    fn terminals_about(&self, what: What) -> impl Iterator<Item = &'a str> {
        let greeter = self.seen.greeter.as_ref();
        let of_greeter = move |vt: u32| {
            greeter.is_some_and(|moment| moment.vt == vt || moment.sessions.iter().any(|session| session.vt == vt))
        };
        let terminals = self.seen.terminals.iter();
        let terminals = terminals.filter(move |(vt, _)| what == What::Session || of_greeter(**vt));
        terminals.flat_map(|(_, lines)| lines).map(String::as_str)
    }

    /// Whether the screen changed by this input.
    fn reacts(&self, what: &str) -> bool {
        self.seen.reactions.iter().any(|reaction| reaction.what == what && reaction.share > SEEN)
    }

    /// `: WORDS` of the line that tells why something is not there, or nothing: the display manager's and the users', not
    /// the kernel's, or what a terminal shows. The last line counts, and those first that name what is missing.
    fn why(&self, what: What) -> String {
        let journal = self
            .journal_about(what)
            .filter(|line| tells(line))
            .map(|line| line.message.lines().next().unwrap_or_default());
        let again = (what == What::Session).then_some(&self.seen.said_again).into_iter().flatten();
        let terminals = self.terminals_about(what).chain(again.map(String::as_str));
        // Who draws has found another way.
        let draws = what == What::Greeter || self.server.is_some();
        let tried = |line: &&str| !(draws && TRIES.is_match(line));
        let shown = terminals.filter(|line| TELLS.is_match(line) && !CHATTER.is_match(line));
        let lines: Vec<&str> = shown.chain(journal).filter(tried).collect();
        let named = lines.iter().rev().find(|line| NAMES.is_match(line));
        named.or(lines.last()).map(|line| format!(": {}", text::clean(line))).unwrap_or_default()
    }

    /// The last lines that show it.
    fn lines(&self) -> Vec<String> {
        let tells = |line: &&&JournalLine| TELLS.is_match(&line.message) || line.unit == "systemd-logind.service";
        let lines: Vec<&JournalLine> = self.seen.journal.iter().collect();
        let mut lines: Vec<String> = lines.iter().rev().filter(tells).take(8).map(|line| text::journal(line)).collect();
        lines.reverse();
        lines
    }

    fn gap(&self, names: &[&str]) -> Option<String> {
        let (name, why) = names.iter().find_map(|name| Some((name, self.seen.gaps.get(*name)?)))?;
        Some(format!("could not read the guest's {name}: {why}"))
    }

    /// Crashes of what draws.
    fn fallen(&self) -> Vec<&Crash> {
        let command = self.promise.command.as_deref().map(program_of).unwrap_or_default();
        self.crashes
            .iter()
            .filter(|crash| {
                of_program(&crash.program).is_some()
                    || matches!(crash.program.as_str(), "Xorg" | "X")
                    || !command.is_empty() && crash.program == command.chars().take(15).collect::<String>()
            })
            .collect()
    }

    /// The name of what draws, for people.
    fn name(&self) -> String {
        match self.drawer {
            Some((process, _)) => text::clean(&process.name),
            None => "nothing".to_owned(),
        }
    }

    fn manager_unit(&self) -> String {
        let unit = MANAGERS.iter().find(|name| self.cx.unit(name).is_some_and(is_active));
        unit.map_or_else(|| self.promise.display_manager.clone().unwrap_or_default(), |name| (*name).to_owned())
    }

    // --- desktop.greeter ---

    fn greeter(&self) -> Found {
        if self.promise.display_manager.is_none() {
            return Found::Skip("no display manager is expected".to_owned());
        }
        if let Some(user) = autologin_user(&self.cx.plan.expectations)
            && self.account.is_some()
        {
            return Found::Skip(format!("no login screen is expected: {} is logged in at once", text::clean(user)));
        }
        let unit = self.manager_unit();
        let Some(moment) = self.seen.greeter.as_ref().or(self.seen.session.as_ref()) else {
            return Found::Unknown("the login screen was not looked at".to_owned());
        };
        if let Some(gap) = self.gap(&["logind", "processes"]) {
            return Found::Unknown(gap);
        }
        let fail = |summary: String| {
            Found::fail(Finding::new("greeter", summary).detail(self.lines()).evidence("unit", unit.clone()))
        };
        let undrawn = |summary: String| match self.greeter_refuses() {
            Some(line) => Found::Skip(needs_card(&line)),
            None => fail(summary),
        };
        if moment.processes.iter().any(|process| process.name.starts_with("gnome-session-f")) {
            let said = self.why(What::Greeter);
            return fail(format!("the login screen is GNOME's \"Oh no! Something has gone wrong\"{said}"));
        }
        let greeters: Vec<&Session> =
            moment.sessions.iter().filter(|session| session.is_greeter() && session.is_seated()).collect();
        let ended = self
            .past
            .iter()
            .filter(|past| past.class == "greeter" && past.ended_us.is_some_and(|at| at <= moment.now_us))
            .count();
        if ended >= AGAIN {
            return undrawn(format!(
                "the greeter of {unit} ended {} without a login{}",
                times(ended),
                self.why(What::Greeter)
            ));
        }
        if greeters.is_empty() && !greets_without_session(self.promise) {
            if moment.end == Ended::Deadline {
                return Found::Unknown(format!(
                    "no login screen after {}, and the machine is still busy",
                    text::seconds(moment.waited)
                ));
            }
            return undrawn(format!("{unit} is active and there is no login screen{}", self.why(What::Greeter)));
        }
        // greetd, for one, may still hold a session whose program is gone.
        if let Some(stopped) = moment.processes.iter().find(|process| process.has_card && process.state == "T") {
            return fail(format!("{} of the login screen is stopped", text::clean(&stopped.name)));
        }
        if let Some(greeter) = greeters.first()
            && greeters.iter().all(|session| !session.active)
        {
            let shown = moment.vt;
            let what = moment.look.as_ref().filter(|look| look.is_console).map_or("", |_| ", a console,");
            return fail(format!("the login screen is on vt {}, and vt {shown}{what} is shown", greeter.vt));
        }
        let Some(look) = &moment.look else {
            return Found::Unknown("no picture of the screen could be taken".to_owned());
        };
        let graphical = moment.processes.iter().any(|process| {
            (process.has_card || process.x11().is_some() || process.wayland().is_some())
                && (greeters.iter().any(|greeter| greeter.uid == process.uid)
                    || process.uid == 0 && process.x11().is_some())
        });
        if !graphical {
            if is_text_greeter(self.promise)
                || greeters.iter().any(|greeter| greeter.kind == "tty") && look.is_console && !look.is_flat
            {
                return Found::Pass(format!("{unit} shows a login in text on vt {}", moment.vt));
            }
            if moment.end == Ended::Deadline {
                return Found::Unknown(format!("the login screen still starts after {}", text::seconds(moment.waited)));
            }
            return undrawn(format!(
                "{unit} has a greeter's session, and nothing draws in it{}",
                self.why(What::Greeter)
            ));
        }
        if look.is_console {
            return undrawn(format!(
                "a console on vt {} is shown instead of the login screen{}",
                moment.vt,
                self.why(What::Greeter)
            ));
        }
        if look.is_flat {
            if moment.end == Ended::Deadline {
                return Found::Unknown(format!(
                    "the screen is one colour after {}, and the machine is still busy",
                    text::seconds(moment.waited)
                ));
            }
            return undrawn(format!(
                "the login screen is one flat colour ({}){}",
                colour(look.dominant_colour),
                self.why(What::Greeter)
            ));
        }
        let who = greeters.first().map_or(String::new(), |greeter| format!(", as {}", text::clean(&greeter.user)));
        let pass = format!(
            "{unit} shows a login screen on vt {}{who}, {} after the boot",
            moment.vt,
            text::seconds(moment.waited)
        );
        let warn = |line: &str| {
            Finding::new("theme", format!("{unit} shows a login screen, without its theme: {}", text::clean(line)))
                .hint("one can log in; the theme is not installed, or is for another version of Qt")
        };
        let warns = self.said_about(What::Greeter).find(|line| UNTHEMED.is_match(line)).map(warn);
        Found::Findings { fails: Vec::new(), warns: warns.into_iter().collect(), pass }
    }

    // --- desktop.session ---

    fn session(&self, compositor_fell: bool) -> Found {
        match &self.seen.way {
            Way::None(why) if autologin_user(&self.cx.plan.expectations).is_some() => {
                return Found::fail(
                    Finding::new(self.user, format!("nobody is logged in: {why}"))
                        .detail(self.lines())
                        .hint(NO_USER_HINT),
                );
            }
            Way::None(why) if why.contains("session is offered") || why.contains("default session") => {
                return Found::fail(Finding::new("session", format!("nobody can log in: {why}")));
            }
            Way::None(why) => return Found::Skip(format!("nobody was logged in: {why}")),
            Way::Autologin | Way::LoggedIn { .. } => {}
        }
        if let Some(gap) = self.gap(&["logind", "processes"]) {
            return Found::Unknown(gap);
        }
        let Some(moment) = self.moment else { return Found::Unknown("the session was not looked at".to_owned()) };
        let user = text::clean(self.user);
        let over: Vec<&Past> =
            self.past.iter().filter(|past| past.user == self.user && past.ended_us.is_some()).collect();
        let fail = |summary: String| Found::fail(Finding::new(self.user, summary).detail(self.lines()));
        let Some(session) = self.own.iter().max_by_key(|session| (session.active, session.since_us)) else {
            if compositor_fell {
                return Found::Skip("not looked at: see desktop.compositor".to_owned());
            }
            if let Some(line) = &self.refusal {
                return Found::Skip(needs_card(line));
            }
            if let Some(last) = over.last() {
                let lived = last.ended_us.unwrap_or_default().saturating_sub(last.began_us);
                return fail(format!(
                    "the session of {user} ended {}, the last time after {}{}",
                    times(over.len()),
                    text::micros(lived),
                    self.why(What::Session)
                ));
            }
            if moment.end == Ended::Deadline {
                return Found::Unknown(format!(
                    "no session of {user} after {}, and the machine is still busy",
                    text::seconds(moment.waited)
                ));
            }
            return fail(format!("there is no session of {user}{}", self.why(What::Session)));
        };
        if !session.active {
            return fail(format!("the session of {user} is on vt {}, and vt {} is shown", session.vt, moment.vt));
        }
        let (Some(server), Some((process, known))) = (self.server, self.drawer) else {
            // Told by the compositor's check.
            return match (&self.refusal, compositor_fell) {
                (Some(line), _) => Found::Skip(needs_card(line)),
                (None, true) => Found::Skip("not looked at: see desktop.compositor".to_owned()),
                (None, false) => Found::Unknown(format!("the session of {user} has no display yet")),
            };
        };
        // Who is started by greetd is a tty's session to logind, unless it says otherwise.
        let kind = if server.wayland().is_some() { "wayland" } else { "x11" };
        let expected = self.expected();
        if let Some(known) = known
            && !expected.is_empty()
            && !expected.contains(known.desktop)
            && !self.runs_in(&expected)
        {
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            return fail(format!(
                "the session of {user} fell back to {} ({kind}, by {}), expected is {}{}",
                known.desktop,
                text::clean(&process.name),
                text::list(&expected),
                self.why(What::Session)
            ));
        }
        let promised_kind = self.promised_kind(&expected);
        if let Some(expected) = promised_kind
            && expected != kind
        {
            return fail(format!("the session of {user} is {kind}, expected is {expected}{}", self.why(What::Session)));
        }
        let way = match &self.seen.way {
            Way::LoggedIn { how, .. } => format!("; {how}"),
            _ => String::new(),
        };
        Found::Pass(format!(
            "{user} has an active {kind} session of {} on {}, vt {}{way}",
            self.name(),
            text::clean(&session.seat),
            session.vt
        ))
    }

    /// Whether one of these desktops runs though somebody else draws: not by `XDG_CURRENT_DESKTOP`, which who logs in
    /// sets, and which a session that falls back inherits.
    fn runs_in(&self, desktops: &BTreeSet<String>) -> bool {
        let uid = self.account.map(|account| account.uid);
        let processes = self.moment.into_iter().flat_map(|moment| &moment.processes);
        processes.filter(|process| Some(process.uid) == uid).any(|process| {
            SHELLS.iter().any(|(program, desktop)| *program == process.name && desktops.contains(*desktop))
        })
    }

    /// The desktops that the session may be.
    fn expected(&self) -> BTreeSet<String> {
        let named = |name: &str| -> Option<String> {
            let lower = name.to_lowercase();
            let known =
                self.promise.desktops.iter().find(|kind| lower.contains(&kind.name)).map(|kind| kind.name.clone());
            known.or_else(|| of_program(&lower).map(|known| known.desktop.to_owned()))
        };
        let session = match (&self.seen.way, &self.promise.command, &self.promise.default_session) {
            (Way::LoggedIn { session, .. }, ..) => named(session),
            // What greetd is told to start may be any script.
            (_, Some(command), _) => match of_program(program_of(command)) {
                Some(known) => Some(known.desktop.to_owned()),
                None => return BTreeSet::new(),
            },
            (_, None, Some(session)) => named(session),
            (_, None, None) => None,
        };
        match session {
            Some(name) => BTreeSet::from([name]),
            None => self.promise.desktops.iter().map(|kind| kind.name.clone()).collect(),
        }
    }

    fn promised_kind(&self, expected: &BTreeSet<String>) -> Option<&str> {
        let named = match (&self.seen.way, &self.promise.default_session) {
            (Way::LoggedIn { session, .. }, _) => session.as_str(),
            (_, Some(session)) => session,
            _ => "",
        };
        // Sessions of desktops that have both say it in their name: plasmax11, gnome-xorg, xfce-wayland.
        if named.contains("x11") || named.contains("xorg") {
            return Some("x11");
        }
        if named.contains("wayland") {
            return Some("wayland");
        }
        let kinds: BTreeSet<Option<&str>> = self
            .promise
            .desktops
            .iter()
            .filter(|kind| expected.contains(&kind.name))
            .map(|kind| kind.kind.as_deref())
            .collect();
        if kinds.len() == 1 { kinds.into_iter().next().flatten() } else { None }
    }

    // --- desktop.compositor ---

    fn compositor(&self) -> Found {
        let Some(moment) = self.moment else { return Found::Skip("nobody was logged in".to_owned()) };
        if !matches!(self.seen.way, Way::Autologin | Way::LoggedIn { .. }) {
            return Found::Skip("nobody was logged in".to_owned());
        }
        if let Some(gap) = self.gap(&["processes"]) {
            return Found::Unknown(gap);
        }
        let user = text::clean(self.user);
        let uid = self.account.map_or(u32::MAX, |account| account.uid);
        let fail = |item: &str, summary: String| Found::fail(Finding::new(item, summary).detail(self.lines()));
        if let (Some(line), None) = (&self.refusal, self.server) {
            return Found::Skip(needs_card(line));
        }
        let fallen = self.fallen();
        if let Some(last) = fallen.last() {
            let same = fallen.iter().filter(|crash| crash.program == last.program).count();
            let signal = last.signal.as_deref().unwrap_or("a fault that dumps core");
            let after = self
                .server
                .filter(|server| server.since_us > last.at_us)
                .map_or(String::new(), |_| ", and was started again".to_owned());
            return Found::fail(
                Finding::new(
                    &last.program,
                    format!("{} died by {signal} {}{after}", text::clean(&last.program), times(same)),
                )
                .detail(std::iter::once(text::clean(&last.line)).chain(self.lines()))
                .evidence("signal", signal)
                .evidence("times", same),
            );
        }
        let over: Vec<&Past> =
            self.past.iter().filter(|past| past.user == self.user && past.ended_us.is_some()).collect();
        if let Some(process) = moment.processes.iter().find(|process| {
            process.uid == uid && process.state == "T" && (process.has_card || of_program(&process.name).is_some())
        }) {
            let name = text::clean(&process.name);
            return fail(&process.name, format!("{name} is stopped (SIGSTOP): the picture is frozen"));
        }
        let Some(server) = self.server else {
            if self.own.is_empty() {
                // The session's check tells why.
                return if over.len() >= AGAIN {
                    fail(
                        "compositor",
                        format!(
                            "the session of {user} ended {}: what it starts does not stay{}",
                            times(over.len()),
                            self.why(What::Session)
                        ),
                    )
                } else {
                    Found::Skip("there is no session".to_owned())
                };
            }
            if let Some(hung) = moment
                .processes
                .iter()
                .find(|process| process.uid == uid && (process.has_card || of_program(&process.name).is_some()))
            {
                if moment.end == Ended::Deadline {
                    return Found::Unknown(format!(
                        "{} still starts after {}",
                        text::clean(&hung.name),
                        text::seconds(moment.waited)
                    ));
                }
                return fail(
                    &hung.name,
                    format!(
                        "{} runs and serves no display, {} after the boot{}",
                        text::clean(&hung.name),
                        text::seconds(moment.waited),
                        self.why(What::Session)
                    ),
                );
            }
            if moment.end == Ended::Deadline {
                return Found::Unknown(format!(
                    "nothing draws in the session of {user} yet, and the machine is still busy"
                ));
            }
            return fail("compositor", format!("nothing draws in the session of {user}{}", self.why(What::Session)));
        };
        let name = self.name();
        if over.len() >= AGAIN {
            return fail(
                &server.name,
                format!(
                    "{name} runs, after {} earlier sessions of {user} ended{}",
                    over.len(),
                    self.why(What::Session)
                ),
            );
        }
        if let Some(line) = &self.refusal {
            return Found::Skip(needs_card(line));
        }
        let lived = moment.now_us.saturating_sub(server.since_us);
        let display = server.wayland().map(str::to_owned).or_else(|| server.x11()).unwrap_or_default();
        let earlier =
            if over.is_empty() { String::new() } else { format!("; a session before it ended {}", times(over.len())) };
        let pass = format!("{name} draws on {} for {}{earlier}", text::clean(&display), text::micros(lived));
        let warns = self.complaints().into_iter().map(|line| {
            Finding::new(&server.name, format!("{name} finds fault with its configuration: {}", line.trim()))
        });
        Found::Findings { fails: Vec::new(), warns: warns.take(1).collect(), pass }
    }

    /// What is said of the configuration of what draws, in the journal or on the session's terminal.
    fn complaints(&self) -> Vec<String> {
        let journal = self.seen.journal.iter().filter(|line| line.transport != "kernel");
        let journal = journal.map(|line| line.message.lines().next().unwrap_or_default());
        let terminals = self.seen.terminals.values().flatten().map(String::as_str);
        journal.chain(terminals).filter(|line| COMPLAINS.is_match(line)).map(text::clean).collect()
    }

    // --- desktop.units ---

    fn units(&self, out: &mut Judgement) -> Found {
        let Some(manager) = &self.seen.manager else {
            return match (self.gap(&["user-units"]), self.own.is_empty()) {
                (Some(gap), false) => Found::Unknown(gap),
                _ => Found::Skip("there is no session".to_owned()),
            };
        };
        // The same judging as for the machine's own units, over the user's.
        let facts = Facts {
            units: manager.units.clone(),
            journal: self.seen.journal.clone(),
            now_us: self.cx.now.now_us,
            manager: crate::guest::facts::Manager { default_target: "default.target".to_owned(), ..Default::default() },
            ..Facts::default()
        };
        let theirs = JudgeContext {
            first: &facts,
            now: &facts,
            console: &[],
            desktop: None,
            lingering: &[],
            failure_causes: BTreeMap::new(),
            boot: self.cx.boot.clone(),
            ..*self.cx
        };
        let (mut fails, mut warns) = (Vec::new(), Vec::new());
        let portal = self.portal(manager, &facts);
        for failed in manager.units.iter().filter(|unit| is_failed(unit) || keeps_ending(unit)) {
            let name = failed.name.as_str();
            // Told with what was asked of it.
            if name == PORTAL_UNIT && portal.is_some() || self.is_of_sound(name) {
                continue;
            }
            if let Some(why) = sandbox::excuse(&theirs, failed) {
                out.exclude(name, why);
                continue;
            }
            let how = match (is_failed(failed), ends_well(failed)) {
                (true, _) => format!("failed: {}", unit::describe_failure(&facts, failed)),
                (false, true) => "ends with success and is started again and again".to_owned(),
                (false, false) => {
                    format!("fails and is started again and again: {}", unit::describe_failure(&facts, failed))
                }
            };
            fails.push(
                Finding::new(name, format!("{name} of {} {how}", self.user))
                    .detail(unit::tail(&facts, name, 8))
                    .evidence("unit", text::clean(name)),
            );
        }
        let expected = promised_units(&self.cx.plan.expectations, self.user);
        let mut right = 0;
        let mut waiting: Vec<&str> = Vec::new();
        for (name, promise) in expected.iter().filter(|(name, _)| !self.is_of_sound(name)) {
            match self.standing(&theirs, manager, name, promise) {
                Standing::Right => right += 1,
                Standing::Told => {}
                Standing::Waits => waiting.push(name),
                Standing::Aside(why) => out.exclude(name, why),
                Standing::Fail(finding) => fails.push(finding),
                Standing::Warn(finding) => warns.push(finding),
            }
        }
        let target = manager.unit(SESSION_TARGET);
        let active = target.is_some_and(is_active);
        if !active && !waiting.is_empty() && self.is_wrapped_by_nobody() {
            out.exclude(
                SESSION_TARGET,
                format!(
                    "X sessions are started by the display manager's wrapper, which is not known here: {} were not started",
                    text::list(&waiting)
                ),
            );
        } else if !active && !waiting.is_empty() && self.server.is_some() {
            fails.insert(
                0,
                Finding::new(
                    SESSION_TARGET,
                    format!(
                        "{SESSION_TARGET} is not active while {} runs: {} were not started",
                        self.name(),
                        text::list(&waiting)
                    ),
                )
                .hint("the compositor's module, or home-manager's systemd.enable, has to start it"),
            );
        }
        if let Some(stale) = self.stale(manager) {
            fails.insert(0, stale);
        }
        fails.extend(portal);
        let drawn: Vec<&Crash> = self.fallen();
        // What came after it was looked at may be of what was opened there.
        let looked = self.moment.map_or(0, |moment| moment.now_us);
        for crash in self.crashes.iter().filter(|crash| !drawn.contains(crash) && crash.at_us <= looked) {
            let signal = crash.signal.as_deref().unwrap_or("a fault that dumps core");
            warns.push(Finding::new(&crash.program, format!("{} died by {signal}", text::clean(&crash.program))));
        }
        warns.extend(self.slow_portal());
        warns.extend(self.unserved(manager));
        warns.extend(self.xwayland());
        let portal = match &self.seen.portal {
            Some(portal) if portal.answered => format!(", the portal answers in {}", text::seconds(portal.seconds)),
            _ => String::new(),
        };
        let target = match (self.moment, active) {
            (None, _) => String::new(),
            (_, true) => format!(", {SESSION_TARGET} is active"),
            (_, false) => format!(", nothing needs {SESSION_TARGET}"),
        };
        Found::Findings {
            fails,
            warns,
            pass: format!(
                "no unit of {} failed, {right} expected ones are as they should be{target}{portal}",
                self.user
            ),
        }
    }

    /// Whether this is a unit of who lingers that the checks of sound tell of.
    fn is_of_sound(&self, unit: &str) -> bool {
        self.moment.is_none() && self.cx.plan.audio().is_some() && SOUND_UNITS.contains(&unit)
    }

    /// Whether an X session was started by its own command alone, for want of what a display manager starts it by.
    fn is_wrapped_by_nobody(&self) -> bool {
        let is_x11 = self.server.is_some_and(|server| server.wayland().is_none());
        is_x11 && matches!(self.seen.way, Way::LoggedIn { .. }) && self.promise.session_wrapper.is_none()
    }

    /// A session target that was active before the session began: what belongs to it was not started for this one.
    fn stale(&self, manager: &UserManager) -> Option<Finding> {
        let session = self.own.iter().max_by_key(|session| session.since_us)?;
        let earlier = self.past.iter().any(|past| past.user == self.user && past.ended_us.is_some());
        let targets = manager.units.iter().filter(|unit| {
            unit.name == SESSION_TARGET
                || unit.name.ends_with("-session.target") && !unit.name.contains("wayland-session")
        });
        let stale = targets
            .filter(|unit| {
                is_active(unit) && unit.active_enter_us > 0 && unit.active_enter_us + 500_000 < session.since_us
            })
            .min_by_key(|unit| unit.active_enter_us)?;
        earlier.then(|| {
            Finding::new(
                &stale.name,
                format!(
                    "{} stayed active when an earlier session of {} ended: starting it again did nothing, so its units belong to what is gone",
                    stale.name, self.user
                ),
            )
            .evidence("active_since_s", stale.active_enter_us as f64 / 1e6)
            .evidence("session_since_s", session.since_us as f64 / 1e6)
            .hint("stop the target when the compositor ends")
        })
    }

    fn standing(
        &self,
        theirs: &JudgeContext<'_>,
        manager: &UserManager,
        name: &str,
        promise: &ExpectedUnit,
    ) -> Standing {
        let facts = theirs.now;
        let called = |wanted: &[String]| {
            wanted.iter().any(|target| {
                manager.unit(target).is_some_and(|unit| is_active(unit) || unit.active_state == ActiveState::Activating)
            })
        };
        let finding = |summary: String| {
            Finding::new(name, summary).detail(unit::tail(facts, name, 6)).evidence("unit", text::clean(name))
        };
        let user = self.user;
        let of_session = promise.wanted_by.iter().any(|target| target.contains("-session"));
        let Some(unit) = manager.unit(name).filter(|unit| unit.load_state != LoadState::NotFound) else {
            return Standing::Fail(finding(format!(
                "{name} is expected to {user}, and the user's systemd finds no such unit"
            )));
        };
        if unit::is_refused(unit) {
            return Standing::Fail(finding(format!(
                "systemd refused to load {name} of {user}: {}",
                unit.load_error.as_deref().unwrap_or(unit.load_state.as_str())
            )));
        }
        if is_active(unit) {
            return Standing::Right;
        }
        if is_failed(unit) || keeps_ending(unit) {
            return Standing::Told;
        }
        if unit.load_state == LoadState::Masked {
            return Standing::Fail(finding(format!("{name} is expected to {user}, and masked")));
        }
        if unit.condition_us > 0 && !unit.condition_result {
            let named = text::list(&unit.failed_conditions);
            let environment =
                unit.failed_conditions.iter().find_map(|condition| condition.strip_prefix("ConditionEnvironment="));
            if let Some(variable) =
                environment.map(|text| text.trim_start_matches('|')).filter(|text| !text.starts_with('!'))
            {
                let bare = variable.split('=').next().unwrap_or(variable);
                let now = match manager.variable(bare) {
                    Some(value) => format!("; it is {} now, imported after the unit's time", text::clean(value)),
                    None => "; the user's systemd does not have it".to_owned(),
                };
                return Standing::Fail(
                    finding(format!("{name} of {user} was skipped: {named} did not hold{now}"))
                        .evidence("condition", named),
                );
            }
            // What every user's manager has may be meant for some of them.
            let others = |text: &String| ["ConditionUser=", "ConditionGroup="].iter().any(|is| text.starts_with(is));
            if unit.failed_conditions.iter().any(others) {
                return Standing::Right;
            }
            return match conditions::skip_reason(&unit.failed_conditions) {
                SkipReason::ByDesign => Standing::Right,
                SkipReason::MachineSpecific(condition) => {
                    Standing::Aside(format!("skipped: {condition} did not hold in the VM; the real machine may differ"))
                }
                SkipReason::Contradiction(condition) => Standing::Fail(
                    finding(format!("{name} of {user} is expected and was skipped: {condition} does not hold"))
                        .evidence("condition", condition),
                ),
            };
        }
        if !called(&promise.wanted_by) && !called(&unit.wanted_by) {
            return if of_session { Standing::Waits } else { Standing::Right };
        }
        if is_auto_restart(unit) {
            let ending = unit::describe_failure(facts, unit);
            return Standing::Warn(finding(format!("{name} of {user} ended and is to be started again: {ending}")));
        }
        if unit.active_state == ActiveState::Activating {
            return Standing::Warn(finding(format!("{name} of {user} still starts")));
        }
        let triggered = unit.triggered_by.iter().any(|trigger| manager.unit(trigger).is_some_and(is_active));
        if triggered || unit::ended_with_success(unit) || unit.inactive_enter_us > 0 {
            return Standing::Right;
        }
        let root = unit::root_cause(facts, name);
        if root == name {
            return Standing::Fail(finding(format!("{name} is expected to {user} and was never started")));
        }
        match sandbox::excuse_of_root(theirs, root) {
            Some(why) => Standing::Aside(format!("needs {root}: {why}")),
            None if manager.unit(root).is_some_and(is_failed) => Standing::Told,
            None => Standing::Fail(finding(format!(
                "{name} of {user} was not started: it needs {root}, which is not there"
            ))),
        }
    }

    fn portal(&self, manager: &UserManager, facts: &Facts) -> Option<Finding> {
        let portal = self.seen.portal.as_ref()?;
        if portal.answered {
            return None;
        }
        let unit = PORTAL_UNIT;
        let state = manager.unit(unit).and_then(|unit| match unit.active_state.as_str() {
            "failed" => Some(format!(": {} failed: {}", unit.name, unit::describe_failure(facts, unit))),
            // It is started by being asked, and this may be of before.
            "inactive" => None,
            state => Some(format!(" ({} is {state})", unit.name)),
        });
        let why = match (&portal.error, portal.known) {
            (_, false) => "nobody has that name on the session bus, and nobody can be started for it".to_owned(),
            (Some(error), true) => error.clone(),
            (None, true) => "no answer".to_owned(),
        };
        Some(
            Finding::new(
                "portal",
                format!("{PORTAL} does not answer: {}{}", text::clean(&why), state.unwrap_or_default()),
            )
            .detail(unit::tail(facts, unit, 6))
            .hint("applications wait for it up to 25 s each before they show a window")
            .time_limit(portal.known.then(|| self.cx.since_boot())),
        )
    }

    /// A portal that answers once it has waited in vain for one of its own: applications wait as long.
    fn slow_portal(&self) -> Option<Finding> {
        let portal = self.seen.portal.as_ref().filter(|portal| portal.answered)?;
        let mut lines = self.seen.journal.iter().filter(|line| line.unit == PORTAL_UNIT);
        let line = lines.find(|line| line.message.contains("Timeout was reached"))?;
        Some(
            Finding::new(
                "portal",
                format!(
                    "{PORTAL} answers only after {}: {}",
                    text::seconds(portal.seconds),
                    text::clean(line.message.lines().next().unwrap_or_default())
                ),
            )
            .hint("each application that asks it opens its first window that much later"),
        )
    }

    /// A portal that answers and has nobody behind it for what applications ask most. Which are needed is not expected;
    /// an X session shares its screen without one.
    fn unserved(&self, manager: &UserManager) -> Option<Finding> {
        let portal = self.seen.portal.as_ref().filter(|portal| portal.answered)?;
        let is_x11 = self.server.is_none_or(|server| server.wayland().is_none());
        let lacks: Vec<&str> =
            portal.lacks.iter().map(String::as_str).filter(|part| !(is_x11 && *part == PORTAL_SCREEN)).collect();
        let desktop = manager.variable("XDG_CURRENT_DESKTOP").unwrap_or("not set");
        (!lacks.is_empty()).then(|| {
            Finding::new(
                "portal",
                format!(
                    "{PORTAL} answers, and no backend serves {} (XDG_CURRENT_DESKTOP is {})",
                    text::list(&lacks),
                    text::clean(desktop)
                ),
            )
            .evidence("current_desktop", text::clean(desktop))
            .hint("xdg.portal.extraPortals brings backends, xdg.portal.config says which of them a desktop has")
        })
    }

    fn xwayland(&self) -> Option<Finding> {
        let server = self.server?;
        let moment = self.moment?;
        if self.promise.xwayland != Some(true) || server.wayland().is_none() {
            return None;
        }
        let there = moment.processes.iter().any(|process| process.x11().is_some() && process.uid == server.uid);
        let said = self.words().find(|line| line.contains("Xwayland") && TELLS.is_match(line));
        (!there).then(|| {
            let said = said.map(|line| format!(": {}", text::clean(line))).unwrap_or_default();
            Finding::new("xwayland", format!("programs.xwayland is on, and no X display is there{said}"))
        })
    }

    // --- desktop.picture ---

    fn picture(&self) -> Found {
        let Some(moment) = self.moment else { return Found::Skip("there is no session to be seen".to_owned()) };
        if matches!(self.seen.way, Way::None(_)) {
            return Found::Skip("there is no session to be seen".to_owned());
        }
        let Some(look) = &moment.look else {
            return Found::Unknown("no picture of the screen could be taken".to_owned());
        };
        let name = self.name();
        let (Some((_, known)), Some(session)) = (self.drawer, self.own.first()) else {
            return Found::Skip("there is no session to be seen".to_owned());
        };
        let fail = |summary: String| {
            Found::fail(
                Finding::new("screen", summary)
                    .detail(self.lines())
                    .evidence("colours", look.distinct_colours)
                    .evidence("dominant_share", look.dominant_share),
            )
        };
        let window = self.seen.window.as_ref();
        let seen = window.is_some_and(|window| window.seen);
        let reaction = |what: &str| self.seen.reactions.iter().find(|reaction| reaction.what == what);
        let reacts = |what: &str| self.reacts(what);
        let typed = reaction("key").is_some_and(|reaction| reaction.width >= 24);
        if look.is_console && !seen {
            if moment.end == Ended::Deadline {
                return Found::Unknown(format!(
                    "a console is shown after {}, and the machine is still busy",
                    text::seconds(moment.waited)
                ));
            }
            return fail(format!("a console is shown on vt {} while {name} runs on vt {}", moment.vt, session.vt));
        }
        let refused = window.filter(|window| !window.seen && window.exit.is_some_and(|code| code != 0));
        let unseen = window.filter(|window| !window.seen && window.exit.is_none());
        if look.is_flat && !seen {
            let colour = colour(look.dominant_colour);
            if moment.end == Ended::Deadline {
                return Found::Unknown(format!(
                    "the screen is one colour after {}, and the machine is still busy",
                    text::seconds(moment.waited)
                ));
            }
            if let Some(window) = unseen {
                return fail(format!(
                    "one flat colour ({colour}) while {name} runs, and a window of {} is not seen either{}",
                    window.program,
                    self.why(What::Session)
                ));
            }
            let paints = known.is_some_and(|known| PAINT.contains(&known.desktop));
            if !reacts("pointer") && (paints || refused.is_some()) {
                let why = match refused {
                    Some(window) => format!("; {}", opens_none(window)),
                    None => self.why(What::Session),
                };
                return fail(format!(
                    "one flat colour ({colour}) while {name} runs, which does not react to the pointer{why}"
                ));
            }
        } else if let Some(window) = unseen
            && !reacts("pointer")
        {
            return fail(format!(
                "the picture does not react to the pointer, and a window of {} is not seen within {}",
                window.program,
                text::seconds(window.seconds)
            ));
        }
        let mut warns = Vec::new();
        if let Some(window) = refused {
            let display = window.said.iter().any(|line| DISPLAY.is_match(line));
            let finding = Finding::new(&window.program, opens_none(window));
            if display && !reacts("pointer") {
                return Found::Findings { fails: vec![finding], warns, pass: String::new() };
            }
            warns.push(finding);
        }
        if let Some(window) = unseen {
            warns.push(Finding::new(
                &window.program,
                format!("no window of {} was seen within {}", window.program, text::seconds(window.seconds)),
            ));
        }
        if let Some(window) = window.filter(|window| window.seen) {
            if window.is_terminal && !typed && reaction("key").is_some() {
                if !reacts("pointer") {
                    return fail(format!(
                        "the picture does not react to pointer or key: what is typed into {} is not seen",
                        window.program
                    ));
                }
                warns.push(Finding::new("key", format!("what is typed into {} is not seen", window.program)));
            }
            if window.seconds > SLOW_WINDOW * self.cx.context.scale() {
                warns.push(Finding::new(
                    &window.program,
                    format!("the first window ({}) took {} to be seen", window.program, text::seconds(window.seconds)),
                ));
            }
        }
        if window.is_none() && reaction("pointer").is_some() && !reacts("pointer") {
            warns.push(Finding::new(
                "pointer",
                "the pointer was moved and nothing changed, and there is no program whose window could be opened"
                    .to_owned(),
            ));
        }
        let mut told = vec![format!("{} by {}, {} colours", look.width, look.height, look.distinct_colours)];
        if look.is_flat {
            told.push("plain".to_owned());
        }
        match moment.end {
            Ended::Steady => told.push(format!("steady after {}", text::seconds(moment.waited))),
            // Still, and of one colour.
            Ended::Idle => {}
            Ended::Loop | Ended::Deadline => told.push("never quite still".to_owned()),
        }
        if reacts("pointer") {
            told.push("shows the pointer".to_owned());
        }
        if let Some(window) = window.filter(|window| window.seen) {
            let shows = if typed { " and shows what is typed" } else { "" };
            told.push(format!("a window of {} opens in {}{shows}", window.program, text::seconds(window.seconds)));
        }
        Found::Findings { fails: Vec::new(), warns, pass: told.join(", ") }
    }
}

/// What became of a program that was to open a window and ended.
fn opens_none(window: &Window) -> String {
    let said = window.said.iter().rev().find(|line| TELLS.is_match(line)).or(window.said.last());
    let said = said.map(|line| format!(": {}", text::clean(line))).unwrap_or_default();
    format!("{} opens no window: exit code {}{said}", window.program, window.exit.unwrap_or_default())
}

/// Words about the display that a program could not use.
static DISPLAY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)(connect|open|access).{0,40}(display|wayland|compositor)|(display|wayland|compositor).{0,40}(connect|open|refused|not available)|broken pipe",
    )
});

/// What a expected unit of a user amounts to.
enum Standing {
    Right,
    /// Told elsewhere.
    Told,
    /// Its target is not active.
    Waits,
    Aside(String),
    Fail(Finding),
    Warn(Finding),
}

/// `black`, or `#rrggbb`.
fn colour([red, green, blue]: [u8; 3]) -> String {
    if red.max(green).max(blue) < 16 { "black".to_owned() } else { format!("#{red:02x}{green:02x}{blue:02x}") }
}

#[cfg(test)]
mod tests;
