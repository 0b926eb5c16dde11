//! What programs write to the journal, or to their terminal, about a desktop: one row each, with what it means.
//!
//! A line of a program that is not understood yet is a new row here; what a compositor of its own writes when it needs a
//! GPU stands in its row of [`super::compositors`].

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::compositors::COMPOSITORS;
use super::display_managers;
use crate::guest::facts::JournalLine;
use crate::judging::text;

/// A line that a program writes.
#[cfg_attr(not(test), expect(dead_code, reason = "the test reads what is there for readers: program, seen, example"))]
#[derive(Debug, Clone, Copy)]
pub(crate) struct JournalPattern {
    /// Who writes it.
    pub(crate) program: &'static str,
    /// The version that was seen to write it, where known.
    pub(crate) seen: Option<&'static str>,
    /// A whole line.
    pub(crate) example: &'static str,
    /// What is matched, whatever the case.
    pub(crate) pattern: &'static str,
    pub(crate) meaning: Meaning,
}

/// What a line means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Meaning {
    /// A compositor does not draw without a GPU. Nothing comes after it.
    NeedsGpu,
    /// A way to draw does not work here; the next one is tried. It was the last only where nothing else went wrong later.
    RendererFailed,
    /// A process crashed: (program, signal). systemd-coredump's; the signal is appended when the journal is read.
    CoreDump,
    /// A process crashed: (program, trap).
    KernelFault,
    /// A process crashed, and nothing takes the dump: (program).
    KernelCoreDump,
    /// A unit's main process was killed: (signal without `SIG`).
    UnitKilled,
    /// A session began: (id, user, class).
    SessionBegan,
    /// A session ended: (id).
    SessionEnded,
    /// A compositor has started what its configuration starts.
    TargetReached,
    /// A compositor rejects a part of its configuration, and goes on without it.
    ConfigurationError,
    /// The login screen is shown without its theme.
    ThemeFallback,
    /// A portal answers only after it waited in vain for one of its backends.
    BackendTimeout,
    /// A process was killed because memory ran out.
    OutOfMemory,
    /// A terminal was hung up.
    HungUp,
    /// Written on healthy machines too.
    Noise,
}

const fn row(
    meaning: Meaning,
    program: &'static str,
    seen: Option<&'static str>,
    example: &'static str,
    pattern: &'static str,
) -> JournalPattern {
    JournalPattern { program, seen, example, pattern, meaning }
}

const PATTERNS: &[JournalPattern] = &[
    row(
        Meaning::NeedsGpu,
        "mutter and others",
        None,
        "Failed to setup: No GPUs found",
        r"no (suitable )?(GPUs?|render nodes?|DRM render)( \w+)* (found|available)",
    ),
    row(
        Meaning::NeedsGpu,
        "any",
        None,
        "the display does not support OpenGL 3.3",
        "does not support (OpenGL|EGL|GLES)",
    ),
    row(
        Meaning::NeedsGpu,
        "any",
        None,
        "this session needs 3D acceleration",
        "needs? (hardware acceleration|3D acceleration)",
    ),
    row(
        Meaning::RendererFailed,
        "wlroots",
        None,
        "[wlr] [render/egl.c:319] Software rendering detected, please use the WLR_RENDERER_ALLOW_SOFTWARE environment variable to proceed",
        "software rendering detected|WLR_RENDERER_ALLOW_SOFTWARE",
    ),
    row(
        Meaning::RendererFailed,
        "wlroots and others",
        None,
        "[wlr] Failed to create renderer",
        r"failed to (create|initiali[sz]e|init) (the |an? )?(\w+ )?(EGL|GLES2?|GL|OpenGL|vulkan|GBM|renderer)",
    ),
    row(
        Meaning::RendererFailed,
        "wlroots and others",
        None,
        "00:00:04.912 [wlr] [render/gles2/renderer.c:499] Could not initialize EGL",
        r"(could not|couldn't|unable to|cannot) (create|initiali[sz]e) (an? |the )?(\w+ )?(EGL|GL|OpenGL|renderer|GBM)",
    ),
    row(
        Meaning::RendererFailed,
        "wlroots",
        None,
        "[wlr] [EGL] command: eglInitialize, error: EGL_NOT_INITIALIZED (0x3001)",
        "EGL_NOT_INITIALIZED",
    ),
    row(Meaning::RendererFailed, "any", None, "error creating renderer", "error creating renderer"),
    row(
        Meaning::CoreDump,
        "systemd-coredump",
        None,
        "Process 801 (.sway-wrapped) of user 1000 dumped core. (SIGSEGV)",
        r"^Process \d+ \(([^)]+)\) of user \d+ (?:dumped core|terminated abnormally)[^(]*(?:\((SIG\w+)\))?",
    ),
    row(
        Meaning::KernelFault,
        "Linux",
        None,
        "sway[801]: segfault at 0 ip 0 sp 0 error 4",
        r"^(?:traps: )?([^\[\s]+)\[\d+\]:? (segfault|general protection|trap invalid opcode|trap divide error|trap int3)",
    ),
    row(
        Meaning::KernelCoreDump,
        "Linux",
        Some("6.15"),
        "coredump: 343(sway): |/bin/false pipe failed",
        r"^coredump: \d+\(([^)]+)\):",
    ),
    row(
        Meaning::UnitKilled,
        "systemd",
        None,
        "niri.service: Main process exited, code=killed, status=11/SEGV",
        r"Main process exited, code=(?:killed|dumped), status=\d+/(\w+)",
    ),
    row(
        // 257 writes no class: "New session 1 of user alice."
        Meaning::SessionBegan,
        "systemd-logind",
        Some("257"),
        "New session '1' of user 'alice' with class 'user' and type 'tty'.",
        r"^New session '?([\w-]+)'? of user '?([\w.-]+?)'?(?: with class '?([\w-]+)'?| and|\.|$)",
    ),
    row(
        Meaning::SessionEnded,
        "systemd-logind",
        Some("257"),
        "Removed session 1.",
        r"^(?:Removed session|Session) '?([\w-]+)'?(?: logged out|\.)",
    ),
    row(Meaning::TargetReached, "systemd", None, "Reached target graphical-session.target", "^Reached target"),
    row(
        Meaning::ConfigurationError,
        "sway",
        None,
        "00:00:00.120 [ERROR] [sway/config.c:900] Error on line 3 'bindsymm x': Unknown/invalid command 'bindsymm'",
        r"\bError on line \d+",
    ),
    row(
        Meaning::ConfigurationError,
        "sway",
        None,
        "[sway/config.c:500] Error(s) loading config!",
        r"Error\(s\) loading config",
    ),
    row(
        Meaning::ConfigurationError,
        "Hyprland",
        None,
        "Config error in file /home/alice/.config/hypr/hyprland.conf at line 7: config option <decoration:drop_shadow> does not exist.",
        r"config error (in file|at line)|config option <[^>]*> does not exist",
    ),
    row(
        Meaning::ConfigurationError,
        "niri and others",
        None,
        "error loading config: error parsing",
        "(error|failed) (loading|parsing|reading|to load|to parse) (the )?(niri |compositor )?config",
    ),
    row(Meaning::ConfigurationError, "niri", None, "  × error parsing KDL", "error parsing KDL"),
    row(
        // It has no file of its own: its start script calls riverctl, which says this after an unknown command.
        Meaning::ConfigurationError,
        "river",
        None,
        "usage: riverctl [options] <command>",
        "^usage: riverctl",
    ),
    row(
        Meaning::ConfigurationError,
        "i3",
        None,
        "11/28/2026 10:01:24 PM - ERROR: CONFIG: Expected one of these tokens: <end>, '#', 'set ', 'bindsym'",
        "ERROR: CONFIG: ",
    ),
    row(
        Meaning::OutOfMemory,
        "Linux",
        None,
        "Out of memory: Killed process 801 (sway) total-vm:1kB, anon-rss:1kB, UID:1000 pgtables:1kB oom_score_adj:0",
        "^(Memory cgroup )?out of memory: killed process",
    ),
    row(
        Meaning::OutOfMemory,
        "systemd",
        None,
        "session-1.scope: systemd-oomd killed 12 process(es) in this unit.",
        "systemd-oomd killed",
    ),
    row(
        Meaning::OutOfMemory,
        "systemd",
        Some("257"),
        "session-1.scope: A process of this unit has been killed by the OOM killer.",
        "killed by the OOM killer",
    ),
    row(
        Meaning::HungUp,
        "systemd",
        Some("257"),
        "greetd.service: Control process exited, code=killed, status=1/HUP",
        r"\bstatus=1/HUP|\bSIGHUP\b|\bhang-?up\b|\bhung up\b",
    ),
    row(Meaning::ThemeFallback, "SDDM", None, "Fallback to embedded theme", "fallback to embedded theme"),
    row(
        Meaning::ThemeFallback,
        "SDDM",
        None,
        "The configured theme \"breeze\" doesn't exist, using the embedded theme instead",
        "using (the )?(fallback|embedded) theme",
    ),
    row(
        Meaning::ThemeFallback,
        "SDDM",
        None,
        "The current theme cannot be loaded due to the errors below, please select another theme.",
        "theme cannot be loaded due to",
    ),
    row(
        Meaning::BackendTimeout,
        "xdg-desktop-portal",
        None,
        "Failed to create screenshot proxy: Error calling StartServiceByName for org.freedesktop.impl.portal.desktop.wlr: Timeout was reached",
        "Timeout was reached",
    ),
    row(Meaning::Noise, "nixbox", None, "nixbox-session.service: Failed to reset devices", "^nixbox"),
    row(
        Meaning::Noise,
        "dbus-daemon",
        None,
        "dbus-daemon[512]: Activating service name='org.freedesktop.portal.Desktop'",
        "^dbus-daemon.*Activating",
    ),
    row(
        // It asks who is there, and goes on without an answer.
        Meaning::Noise,
        "LightDM",
        None,
        "Error getting user list from org.freedesktop.Accounts: GDBus.Error:org.freedesktop.DBus.Error.ServiceUnknown",
        r"accountsservice|org\.freedesktop\.Accounts|enumerate user data directory",
    ),
    row(Meaning::Noise, "gnome-keyring", None, "gkr-pam: unable to locate daemon control file", "gkr-pam"),
    row(
        Meaning::Noise,
        "pam_unix",
        None,
        "pam_unix(greetd:session): session opened for user alice(uid=1000) by (uid=0)",
        "pam_unix.*session",
    ),
    row(Meaning::Noise, "any", None, "WARNING: Failed to parse 'auto'", "WARNING: Failed to parse"),
    row(Meaning::Noise, "X server", None, "Errors from xkbcomp are not fatal to the X server", "xkbcomp"),
    row(
        Meaning::Noise,
        "any, without rtkit",
        None,
        "Failed to make thread realtime: Permission denied",
        "realtime|rtkit",
    ),
    row(
        Meaning::Noise,
        "desktop shells, without these services",
        None,
        "Failed to connect to org.freedesktop.ModemManager1",
        "colord|geoclue|bluetooth|upower|ModemManager|AT-SPI",
    ),
    row(Meaning::Noise, "fontconfig", None, "Fontconfig error: No writable cache directories", "^Fontconfig error"),
    row(Meaning::Noise, "sway", None, "Could not find config for output Virtual-1", "find config for output"),
    row(
        // An atomic commit is denied to the compositor when another session is shown.
        Meaning::Noise,
        "wlroots",
        None,
        "[wlr] [backend/drm/atomic.c:79] connector Virtual-1: Atomic commit failed: Permission denied",
        "Page-flip failed|Atomic commit failed: Permission denied|EGL_BAD_PARAMETER",
    ),
];

/// All rows, those of compositors among them.
fn patterns() -> impl Iterator<Item = &'static JournalPattern> {
    PATTERNS.iter().chain(COMPOSITORS.iter().filter_map(|known| known.needs_gpu.as_ref()))
}

fn compile(pattern: &str) -> Regex {
    text::pattern(&format!("(?i){pattern}"))
}

static COMPILED: LazyLock<BTreeMap<Meaning, Vec<Regex>>> = LazyLock::new(|| {
    let mut compiled: BTreeMap<Meaning, Vec<Regex>> = BTreeMap::new();
    for row in patterns() {
        compiled.entry(row.meaning).or_default().push(compile(row.pattern));
    }
    compiled
});

fn regexes(meaning: Meaning) -> impl Iterator<Item = &'static Regex> {
    COMPILED.get(&meaning).into_iter().flatten()
}

/// Whether a line has this meaning.
pub(crate) fn means(meaning: Meaning, line: &str) -> bool {
    regexes(meaning).any(|regex| regex.is_match(line))
}

/// What a line with this meaning tells, as [`Meaning`] says.
pub(crate) fn captures(meaning: Meaning, line: &str) -> Option<Captures<'_>> {
    regexes(meaning).find_map(|regex| regex.captures(line))
}

/// Words of a line that reports an error, whoever writes it.
static ERROR: LazyLock<Regex> = LazyLock::new(|| {
    compile(
        r"without creating a session|failed|error|fatal|cannot|can't|could not|couldn't|unable|no such|not found|denied|invalid|crash|abort|does not exist|unknown user|no session|not installed",
    )
});
/// Of these, those of a line that names what is missing.
static MISSING: LazyLock<Regex> = LazyLock::new(|| {
    compile(
        r"not found|no such|does not exist|not provided|not installed|denied|unknown (user|command)|without creating a session|failed to execute",
    )
});
/// Words of a program that cannot use its display.
static NO_DISPLAY: LazyLock<Regex> = LazyLock::new(|| {
    compile(
        r"(connect|open|access).{0,40}(display|wayland|compositor)|(display|wayland|compositor).{0,40}(connect|open|refused|not available)|broken pipe",
    )
});

/// Whether a line reports an error, noise included.
pub(crate) fn reports_error(line: &str) -> bool {
    ERROR.is_match(line)
}

/// Whether a line reports an error that healthy machines do not have.
pub(crate) fn reports_trouble(line: &str) -> bool {
    ERROR.is_match(line) && !means(Meaning::Noise, line)
}

/// Whether a line names what is missing.
pub(crate) fn names_missing(line: &str) -> bool {
    MISSING.is_match(line)
}

/// Whether a program says that it cannot use its display.
pub(crate) fn lacks_display(line: &str) -> bool {
    NO_DISPLAY.is_match(line)
}

/// Whether a line may tell why there is no login screen or no session: the display manager's and the session's own, not
/// the kernel's. Others report errors that have nothing to do with it.
pub(crate) fn explains_desktop(line: &JournalLine) -> bool {
    // A process that is gone before its line is read has no unit any more.
    let close = line.unit.is_empty()
        || display_managers::is_unit(&line.unit)
        || line.unit.ends_with(".scope")
        || ["gnome-session", "gnome.Shell", "plasma", "wayland"].iter().any(|word| line.unit.contains(word));
    close && line.transport != "kernel" && reports_trouble(&line.message)
}

/// Whether the journal tells why there is no session.
pub(crate) fn explains_missing_session(journal: &[JournalLine]) -> bool {
    let crashes = [Meaning::CoreDump, Meaning::KernelFault, Meaning::KernelCoreDump];
    let crashed = |line: &JournalLine| crashes.iter().any(|meaning| means(*meaning, &line.message));
    journal.iter().any(|line| explains_desktop(line) || crashed(line))
}

/// The first line of a message.
pub(crate) fn first_line(line: &JournalLine) -> &str {
    line.message.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_example_has_its_own_meaning_and_no_other() {
        for row in patterns() {
            assert!(compile(row.pattern).is_match(row.example), "{row:?}");
            for other in patterns().filter(|other| other.meaning != row.meaning) {
                assert!(!compile(other.pattern).is_match(row.example), "{row:?} is taken for {other:?}");
            }
            assert!(!row.program.is_empty() && row.seen.is_none_or(|seen| !seen.is_empty()));
        }
    }

    #[test]
    fn sessions_of_older_and_newer_logind() {
        let began = captures(Meaning::SessionBegan, "New session 3 of user alice.").unwrap();
        assert_eq!((&began[1], &began[2], began.get(3)), ("3", "alice", None));
        let line = "New session 'c1' of user 'greeter' with class 'greeter' and type 'tty'.";
        let began = captures(Meaning::SessionBegan, line).unwrap();
        assert_eq!((&began[1], &began[2], &began[3]), ("c1", "greeter", "greeter"));
    }

    #[test]
    fn words_of_errors() {
        assert!(!means(Meaning::RendererFailed, "Failed to create wl_surface"));
        assert!(reports_error("sh: line 1: gtkgreet: command not found") && names_missing("gtkgreet: not found"));
        assert!(!reports_trouble("Fontconfig error: No writable cache directories"));
        assert!(lacks_display("cannot open display: :0") && !lacks_display("no monitors available"));
    }
}
