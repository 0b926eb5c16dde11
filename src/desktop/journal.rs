//! What programs write to the journal, or to their terminal, about a desktop: one row each, with what it means.
//!
//! A line of a program that is not understood yet is a new row here; what a compositor of its own writes when it needs a
//! GPU stands in its row of [`super::compositors`].

use std::sync::LazyLock;

use regex::Regex;

use super::compositors::{self, COMPOSITORS, Compositor};
use super::display_managers;
use crate::guest::facts::{FROM_FILE, JournalLine};
use crate::judging::journal::{Case, Means, Row, Table, rows};
use crate::judging::{journal_patterns, text};

/// What a line means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Meaning {
    /// A compositor does not draw without a GPU. Nothing comes after it.
    NeedsGpu,
    /// A way to draw does not work here; the next one is tried. It was the last only where nothing else went wrong later.
    RendererFailed,
    /// A driver of Mesa's is there and cannot be loaded: it is of another build than what loads it. One that is not there
    /// is another matter: what looks for it goes on to the next.
    DriverNotLoaded,
    /// Not even the driver that draws without a GPU is there: no driver is installed.
    NoDriver,
    /// A graphics card that a compositor was told to take could not be opened: (path).
    CardNotOpened,
    /// None could: a compositor does not draw.
    NoCardOpened,
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
    /// A program that a session starts is not installed.
    ProgramMissing,
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

/// Whatever the case.
const ROWS: &[Row<Meaning>] = rows! { Meaning;
    NeedsGpu "mutter and others": "Failed to setup: No GPUs found"
        => r"no (suitable )?(GPUs?|render nodes?|DRM render)( \w+)* (found|available)";
    NeedsGpu "any": "the display does not support OpenGL 3.3" => "does not support (OpenGL|EGL|GLES)";
    NeedsGpu "any": "this session needs 3D acceleration" => "needs? (hardware acceleration|3D acceleration)";
    RendererFailed "wlroots": "[wlr] [render/egl.c:319] Software rendering detected, please use the WLR_RENDERER_ALLOW_SOFTWARE environment variable to proceed"
        => "software rendering detected|WLR_RENDERER_ALLOW_SOFTWARE";
    RendererFailed "wlroots and others": "[wlr] Failed to create renderer"
        => r"failed to (create|initiali[sz]e|init) (the |an? )?(\w+ )?(EGL|GLES2?|GL|OpenGL|vulkan|GBM|renderer)";
    RendererFailed "wlroots and others": "00:00:04.912 [wlr] [render/gles2/renderer.c:499] Could not initialize EGL"
        => r"(could not|couldn't|unable to|cannot) (create|initiali[sz]e) (an? |the )?(\w+ )?(EGL|GL|OpenGL|renderer|GBM)";
    RendererFailed "wlroots": "[wlr] [EGL] command: eglInitialize, error: EGL_NOT_INITIALIZED (0x3001)"
        => "EGL_NOT_INITIALIZED";
    RendererFailed "any": "error creating renderer" => "error creating renderer";
    // hyprwm/Hyprland#2044, hyprwm/Hyprland#6967
    DriverNotLoaded "Mesa": "MESA-LOADER: failed to open radeonsi: /nix/store/x-glibc-2.37/lib/libc.so.6: version `GLIBC_2.38' not found (required by /run/opengl-driver/lib/dri/radeonsi_dri.so) (search paths /run/opengl-driver/lib/dri, suffix _dri)"
        => r"MESA-LOADER: failed to open.*(version \S+ not found|undefined symbol)";
    DriverNotLoaded "Mesa": "libEGL fatal: DRI driver not from this Mesa build ('24.0.3' vs '23.3.5')"
        => "DRI driver not from this Mesa build";
    NoDriver "Mesa": "MESA-LOADER: failed to open dri: /run/opengl-driver/lib/gbm/dri_gbm.so: cannot open shared object file: No such file or directory (search paths /run/opengl-driver/lib/gbm, suffix _gbm)"
        => r"MESA-LOADER: failed to open (dri|swrast|kms_swrast): \S+: cannot open shared object file";
    // swaywm/sway#7240
    CardNotOpened "wlroots": "00:00:00.013 [ERROR] [wlr] [backend/session/session.c:504] Unable to open /dev/dri/card1 as DRM device"
        => r"Unable to open (\S+) as DRM device";
    NoCardOpened "wlroots": "00:00:00.014 [ERROR] [wlr] [backend/backend.c:245] Found 0 GPUs, cannot create backend"
        => r"\bFound 0 GPUs\b";
    CoreDump "systemd-coredump": "Process 801 (.sway-wrapped) of user 1000 dumped core. (SIGSEGV)"
        => r"^Process \d+ \(([^)]+)\) of user \d+ (?:dumped core|terminated abnormally)[^(]*(?:\((SIG\w+)\))?";
    KernelFault "Linux": "sway[801]: segfault at 0 ip 0 sp 0 error 4"
        => r"^(?:traps: )?([^\[\s]+)\[\d+\]:? (segfault|general protection|trap invalid opcode|trap divide error|trap int3)";
    KernelCoreDump "Linux" ("6.15"): "coredump: 343(sway): |/bin/false pipe failed" => r"^coredump: \d+\(([^)]+)\):";
    UnitKilled "systemd": "niri.service: Main process exited, code=killed, status=11/SEGV"
        => r"Main process exited, code=(?:killed|dumped), status=\d+/(\w+)";
    // 257 writes no class: "New session 1 of user alice."
    SessionBegan "systemd-logind" ("257"): "New session '1' of user 'alice' with class 'user' and type 'tty'."
        => r"^New session '?([\w-]+)'? of user '?([\w.-]+?)'?(?: with class '?([\w-]+)'?| and|\.|$)";
    SessionEnded "systemd-logind" ("257"): "Removed session 1."
        => r"^(?:Removed session|Session) '?([\w-]+)'?(?: logged out|\.)";
    TargetReached "systemd": "Reached target graphical-session.target" => "^Reached target";
    ConfigurationError "sway": "00:00:00.120 [ERROR] [sway/config.c:900] Error on line 3 'bindsymm x': Unknown/invalid command 'bindsymm'"
        => r"\bError on line \d+";
    ConfigurationError "sway": "[sway/config.c:500] Error(s) loading config!" => r"Error\(s\) loading config";
    ConfigurationError "Hyprland": "Config error in file /home/alice/.config/hypr/hyprland.conf at line 7: config option <decoration:drop_shadow> does not exist."
        => r"config error (in file|at line)|config option <[^>]*> does not exist";
    ConfigurationError "niri and others": "error loading config: error parsing"
        => "(error|failed) (loading|parsing|reading|to load|to parse) (the )?(niri |compositor )?config";
    ConfigurationError "niri": "  × error parsing KDL" => "error parsing KDL";
    // It has no file of its own: its start script calls riverctl, which says this after an unknown command.
    ConfigurationError "river": "usage: riverctl [options] <command>" => "^usage: riverctl";
    ConfigurationError "i3": "11/28/2026 10:01:24 PM - ERROR: CONFIG: Expected one of these tokens: <end>, '#', 'set ', 'bindsym'"
        => "ERROR: CONFIG: ";
    // hyprwm/Hyprland#9, niri-wm/niri#1259
    ConfigurationError "libxkbcommon, in a compositor": "xkbcommon: ERROR: [XKB-338] Couldn't find file \"symbols/usx\" in include paths"
        => r#"xkbcommon: ERROR: .*(file "symbols/|failed to compile|unrecognized RMLVO)"#;
    ProgramMissing "bash": "sh: line 1: waybar: command not found" => r"^\S*\bsh: line \d+: \S+: command not found$";
    ProgramMissing "dash": "sh: 1: waybar: not found" => r"^\S*\bsh: \d+: \S+: not found$";
    ProgramMissing "niri": "WARN niri::utils::spawning: error spawning \"waybar\": Os { code: 2, kind: NotFound, message: \"No such file or directory\" }"
        => r"error spawning \S+: Os \{ code: 2,";
    OutOfMemory "Linux": "Out of memory: Killed process 801 (sway) total-vm:1kB, anon-rss:1kB, UID:1000 pgtables:1kB oom_score_adj:0"
        => "^(Memory cgroup )?out of memory: killed process";
    OutOfMemory "systemd": "session-1.scope: systemd-oomd killed 12 process(es) in this unit." => "systemd-oomd killed";
    OutOfMemory "systemd" ("257"): "session-1.scope: A process of this unit has been killed by the OOM killer."
        => "killed by the OOM killer";
    HungUp "systemd" ("257"): "greetd.service: Control process exited, code=killed, status=1/HUP"
        => r"\bstatus=1/HUP|\bSIGHUP\b|\bhang-?up\b|\bhung up\b";
    ThemeFallback "SDDM": "Fallback to embedded theme" => "fallback to embedded theme";
    ThemeFallback "SDDM": "The configured theme \"breeze\" doesn't exist, using the embedded theme instead"
        => "using (the )?(fallback|embedded) theme";
    ThemeFallback "SDDM": "The current theme cannot be loaded due to the errors below, please select another theme."
        => "theme cannot be loaded due to";
    BackendTimeout "xdg-desktop-portal": "Failed to create screenshot proxy: Error calling StartServiceByName for org.freedesktop.impl.portal.desktop.wlr: Timeout was reached"
        => "Timeout was reached";
    Noise "nixbox": "nixbox-session.service: Failed to reset devices" => "^nixbox";
    Noise "dbus-daemon": "dbus-daemon[512]: Activating service name='org.freedesktop.portal.Desktop'"
        => "^dbus-daemon.*Activating";
    // It asks who is there, and goes on without an answer.
    Noise "LightDM": "Error getting user list from org.freedesktop.Accounts: GDBus.Error:org.freedesktop.DBus.Error.ServiceUnknown"
        => r"accountsservice|org\.freedesktop\.Accounts|enumerate user data directory";
    Noise "gnome-keyring": "gkr-pam: unable to locate daemon control file" => "gkr-pam";
    Noise "pam_unix": "pam_unix(greetd:session): session opened for user alice(uid=1000) by (uid=0)"
        => "pam_unix.*session";
    Noise "any": "WARNING: Failed to parse 'auto'" => "WARNING: Failed to parse";
    Noise "pciutils, in a compositor that names the card": "pcilib: Error reading /sys/bus/pci/devices/0000:00:08.3/label: Operation not permitted"
        => "^pcilib: Error reading";
    Noise "libseat, where logind gives the seat": "[libseat] [libseat/backend/seatd.c:64] Could not connect to socket /run/seatd.sock: No such file or directory"
        => r"seatd\.sock: No such file|Backend 'seatd' failed to open seat";
    Noise "xrdb, by the wrapper of a Wayland session": "xrdb: Can't open display ''" => "^xrdb: Can't open display ''$";
    Noise "X server": "Errors from xkbcomp are not fatal to the X server" => "xkbcomp";
    Noise "any, without rtkit": "Failed to make thread realtime: Permission denied" => "realtime|rtkit";
    Noise "desktop shells, without these services": "Failed to connect to org.freedesktop.ModemManager1"
        => "colord|geoclue|bluetooth|upower|ModemManager|AT-SPI";
    Noise "fontconfig": "Fontconfig error: No writable cache directories" => "^Fontconfig error";
    Noise "sway": "Could not find config for output Virtual-1" => "find config for output";
    // An atomic commit is denied to the compositor when another session is shown.
    Noise "wlroots": "[wlr] [backend/drm/atomic.c:79] connector Virtual-1: Atomic commit failed: Permission denied"
        => "Page-flip failed|Atomic commit failed: Permission denied|EGL_BAD_PARAMETER";
};

/// All rows, those of compositors among them.
static TABLE: LazyLock<Table<Meaning>> = LazyLock::new(|| {
    Table::new(Case::Ignored, ROWS.iter().chain(COMPOSITORS.iter().filter_map(|known| known.needs_gpu.as_ref())))
});

impl Means for Meaning {
    fn table() -> &'static Table<Self> {
        &TABLE
    }
}

fn compile(pattern: &str) -> Regex {
    text::pattern(&format!("(?i){pattern}"))
}

/// Words of a line that reports an error, whoever writes it.
static ERROR: LazyLock<Regex> = LazyLock::new(|| {
    compile(
        r"^\(EE\) \w|without creating a session|failed|error|fatal|cannot|can't|could not|couldn't|unable|no such|not found|denied|invalid|crash|abort|does not exist|unknown user|no session|not installed|not from this Mesa build",
    )
});
/// Of these, those of a line that names what is missing.
static MISSING: LazyLock<Regex> = LazyLock::new(|| {
    compile(
        r"not found|no such|does not exist|not provided|not installed|denied|not permitted|undefined symbol|not from this Mesa build|unknown (user|command)|without creating a session|failed to execute",
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
    ERROR.is_match(line) && !Meaning::Noise.is_in(line)
}

/// Whether a line names what is missing.
pub(crate) fn names_missing(line: &str) -> bool {
    MISSING.is_match(line)
}

/// Whether a line tells of what an error before it has left.
pub(crate) fn follows_from_error(line: &str) -> bool {
    journal_patterns::Meaning::FollowsFromError.is_in(line)
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
    let crashed = |line: &JournalLine| crashes.iter().any(|meaning| meaning.is_in(&line.message));
    // What stands in files of their own is no word on how it ended.
    let tells = |line: &JournalLine| line.transport != FROM_FILE && (explains_desktop(line) || crashed(line));
    journal.iter().any(|line| !is_abort_without_gpu(line) && tells(line))
}

/// Whether a line reports that a compositor aborted which does so where it has no GPU, too: what it said before that
/// tells which it is.
fn is_abort_without_gpu(line: &JournalLine) -> bool {
    let Some(found) = Meaning::CoreDump.parts_of(first_line(line)) else { return false };
    let needs_gpu = |known: &Compositor| known.needs_gpu.is_some();
    found.get(2).is_some_and(|signal| signal.as_str() == "SIGABRT")
        && compositors::of_program(program_of_crash(&found[1])).is_some_and(needs_gpu)
}

/// The program of a process that crashed, without NixOS's wrapping: `.Hyprland-wrapp`, of which the kernel keeps 15 bytes.
pub(crate) fn program_of_crash(name: &str) -> &str {
    name.trim_start_matches('.').split("-wrap").next().unwrap_or_default()
}

/// The first line of a message.
pub(crate) fn first_line(line: &JournalLine) -> &str {
    line.message.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judging::journal::{OtherMeanings, assert_examples};

    #[test]
    fn examples() {
        assert_examples::<Meaning>(OtherMeanings::Wrong);
    }

    #[test]
    fn sessions_of_older_and_newer_logind() {
        let began = Meaning::SessionBegan.parts_of("New session 3 of user alice.").unwrap();
        assert_eq!((&began[1], &began[2], began.get(3)), ("3", "alice", None));
        let line = "New session 'c1' of user 'greeter' with class 'greeter' and type 'tty'.";
        let began = Meaning::SessionBegan.parts_of(line).unwrap();
        assert_eq!((&began[1], &began[2], &began[3]), ("c1", "greeter", "greeter"));
    }

    #[test]
    fn an_abort_alone_does_not_tell_why() {
        let told = |message: &str| {
            let unit = "systemd-coredump@0-812-0.service".to_owned();
            explains_missing_session(&[JournalLine { unit, message: message.to_owned(), ..JournalLine::default() }])
        };
        let dump =
            |program: &str, signal: &str| format!("Process 801 ({program}) of user 1000 dumped core. ({signal})");
        for program in ["Hyprland", ".Hyprland-wrapp", "niri"] {
            assert!(!told(&dump(program, "SIGABRT")) && told(&dump(program, "SIGSEGV")), "{program}");
        }
        assert!(told(&dump("sway", "SIGABRT")) && told("Process 801 (Hyprland) of user 1000 dumped core."));
    }

    #[test]
    fn words_of_errors() {
        assert!(!Meaning::RendererFailed.is_in("Failed to create wl_surface"));
        assert!(reports_error("sh: line 1: gtkgreet: command not found") && names_missing("gtkgreet: not found"));
        assert!(!reports_trouble("Fontconfig error: No writable cache directories"));
        // Of hardware that is not there, and of what falls back to another one.
        let absent = "MESA-LOADER: failed to open zink: /run/opengl-driver/lib/dri/zink_dri.so: cannot open shared object \
            file: No such file or directory (search paths /run/opengl-driver/lib/dri, suffix _dri)";
        let symbol = "MESA-LOADER: failed to open iris: /usr/lib/dri/iris_dri.so: undefined symbol: LLVMInitialize";
        assert!(!Meaning::DriverNotLoaded.is_in(absent) && Meaning::DriverNotLoaded.is_in(symbol));
        assert!(!Meaning::NoDriver.is_in(absent));
        assert!(reports_trouble("(EE) no screens found(EE) ") && !reports_trouble("(EE) "));
        // Of a client that only composes no accents.
        let compose = "xkbcommon: ERROR: couldn't find a Compose file for locale \"C\" (mapped to \"C\")";
        assert!(!Meaning::ConfigurationError.is_in(compose));
        let wrapper = "/nix/store/x-xsession-wrapper: line 11: niri-session: command not found";
        assert!(!Meaning::ProgramMissing.is_in(wrapper));
        assert!(reports_trouble("DRI driver not from this Mesa build ('24.0.3' vs '23.3.5')"));
        assert!(lacks_display("cannot open display: :0") && !lacks_display("no monitors available"));
    }
}
