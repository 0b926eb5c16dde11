//! What a person sees and hears of a machine in `nixbox demo`: which window, which sound, decided from what this host
//! has and what the runner's QEMU knows. The deciding is pure; [`ask`] asks QEMU, in the jail, as it is the flake's.

use std::ffi::OsString;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::jail::{JailOptions, Order};
use super::process::{self, Ended, Process};
use super::{locate_runner, read_traits, shown, store};
use crate::model::run_file;
use crate::model::timeouts::machine::{GPU_PROBE_LIMIT, QEMU_HELP_LIMIT};

/// How many of its lines are read.
const LINES: usize = 400;

/// Where the picture goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Display {
    /// A window of GTK's
    Gtk,
    /// A window of SDL's
    Sdl,
    /// A window of macOS'
    Cocoa,
    /// A VNC server on a Unix socket
    Vnc,
}

impl Display {
    /// QEMU's own name for it.
    pub fn name(self) -> &'static str {
        match self {
            Display::Gtk => "gtk",
            Display::Sdl => "sdl",
            Display::Cocoa => "cocoa",
            Display::Vnc => "vnc",
        }
    }
}

/// What this host has for a person's eyes and ears.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seat {
    /// The Wayland compositor's socket.
    pub wayland: Option<PathBuf>,
    /// X11's `DISPLAY` and, where it is local, its socket.
    pub x11: Option<(String, Option<PathBuf>)>,
    /// X11's `XAUTHORITY`.
    pub xauthority: Option<PathBuf>,
    /// PipeWire's socket.
    pub pipewire: Option<PathBuf>,
    /// PulseAudio's socket.
    pub pulse: Option<PathBuf>,
    /// GPUs that can render: `/dev/dri/renderD*`.
    pub gpus: Vec<PathBuf>,
    /// Whether windows and sound are macOS'.
    pub macos: bool,
}

impl Seat {
    /// As this process's environment and `/dev` tell. What is named and not there does not count.
    pub fn of_host() -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let runtime = variable("XDG_RUNTIME_DIR").map(PathBuf::from);
        let is_socket = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|data| data.file_type().is_socket());
        // Joining an absolute name gives that name, as Wayland wants it.
        let below = |name: OsString| Some(runtime.as_ref()?.join(name)).filter(is_socket);
        let x11 = variable("DISPLAY").and_then(|display| display.into_string().ok()).and_then(|display| {
            let number = display.strip_prefix(':')?.split('.').next()?.to_owned();
            let socket = PathBuf::from(format!("/tmp/.X11-unix/X{number}"));
            is_socket(&socket).then_some((display, Some(socket)))
        });
        let xauthority = variable("XAUTHORITY")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".Xauthority")))
            .filter(|path| path.is_file());
        let mut gpus: Vec<PathBuf> = std::fs::read_dir("/dev/dri")
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("renderD")))
            .collect();
        gpus.sort();
        Self {
            wayland: variable("WAYLAND_DISPLAY").and_then(below),
            x11,
            xauthority,
            pipewire: below("pipewire-0".into()),
            pulse: below("pulse/native".into()),
            gpus,
            macos: cfg!(target_os = "macos"),
        }
    }

    fn has_window(&self, display: Display) -> bool {
        match display {
            Display::Cocoa => self.macos,
            Display::Gtk | Display::Sdl => !self.macos && (self.wayland.is_some() || self.x11.is_some()),
            Display::Vnc => true,
        }
    }
}

/// What a QEMU knows, as its `help` lists name it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// `-display help`.
    pub displays: Vec<String>,
    /// `-audiodev help`.
    pub sounds: Vec<String>,
    /// Whether it has the clipboard's chardev, `qemu-vdagent`.
    pub clipboard: bool,
}

/// What a machine gets so that a person sees and hears it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Devices {
    /// Arguments for QEMU.
    pub arguments: Vec<OsString>,
    /// Variables for its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Sockets and files that the jail has to show.
    pub shows: Vec<PathBuf>,
    /// Device nodes that the jail has to have.
    pub nodes: Vec<PathBuf>,
    /// What the person is told.
    pub told: Vec<String>,
}

/// Decides. `wish`: the display that the person asked for; `gpu`: a GPU that was proven to work.
///
/// # Errors
/// Why the display that was asked for cannot be had.
pub fn choose(
    seat: &Seat,
    known: &Known,
    wish: Option<Display>,
    gpu: Option<&Path>,
    run_dir: &Path,
) -> Result<Devices, String> {
    let knows = |display: Display| display == Display::Vnc || known.displays.iter().any(|it| it == display.name());
    if let Some(wish) = wish {
        if !knows(wish) {
            let all = known.displays.join(", ");
            return Err(format!("the runner's QEMU has no {} display (it has: {all}, vnc)", wish.name()));
        }
        if !seat.has_window(wish) {
            return Err(format!("there is nothing here that could show a {} window", wish.name()));
        }
    }
    let order = [Display::Cocoa, Display::Gtk, Display::Sdl, Display::Vnc];
    let fits = |display: &Display| knows(*display) && seat.has_window(*display);
    let display = wish.or_else(|| order.into_iter().find(fits)).unwrap_or(Display::Vnc);
    let mut devices = Devices::default();
    devices.display(display, seat, gpu, run_dir);
    devices.sound(seat, known);
    if known.clipboard {
        // It speaks spice's protocol to whatever agent the guest has; without one nothing happens.
        devices.add("-device", "virtio-serial-pci,id=nixbox-agent");
        devices.add("-chardev", "qemu-vdagent,id=nixbox-vdagent,name=vdagent,clipboard=on,mouse=off");
        devices.add("-device", "virtserialport,bus=nixbox-agent.0,chardev=nixbox-vdagent,name=com.redhat.spice.0");
    }
    Ok(devices)
}

impl Devices {
    fn add(&mut self, flag: &str, value: impl Into<OsString>) {
        self.arguments.extend([flag.into(), value.into()]);
    }

    fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.push((name.into(), value.into()));
    }

    fn display(&mut self, display: Display, seat: &Seat, gpu: Option<&Path>, run_dir: &Path) {
        match display {
            Display::Vnc => {
                let socket = run_dir.join(run_file::VNC);
                self.add("-vnc", super::spec::option("unix:", &socket, ""));
                self.told.push(format!("see it: vncviewer {}", socket.display()));
                self.told.push(format!(
                    "or, for a viewer that wants a port: socat TCP-LISTEN:5900,bind=127.0.0.1,fork UNIX-CONNECT:{}",
                    socket.display()
                ));
                return;
            }
            Display::Cocoa => self.add("-display", "cocoa"),
            Display::Gtk | Display::Sdl => {
                let gl = if let Some(gpu) = gpu {
                    self.add("-vga", "none");
                    self.add("-device", "virtio-vga-gl");
                    self.nodes.push(gpu.to_owned());
                    ",gl=on"
                } else {
                    ""
                };
                self.add("-display", format!("{}{gl}", display.name()));
                if let Some(socket) = &seat.wayland {
                    self.socket(socket, "WAYLAND_DISPLAY");
                } else if let Some((name, socket)) = &seat.x11 {
                    self.set("DISPLAY", name);
                    self.shows.extend(socket.clone());
                    if let Some(file) = &seat.xauthority {
                        self.set("XAUTHORITY", file);
                        self.shows.push(file.clone());
                    }
                }
            }
        }
        self.told.push("closing the window ends it".to_owned());
    }

    /// Shows a socket of the session's, named by its whole path.
    fn socket(&mut self, socket: &Path, variable: &str) {
        self.set(variable, socket);
        if let Some(directory) = socket.parent()
            && !self.environment.iter().any(|(name, _)| name == "XDG_RUNTIME_DIR")
        {
            self.set("XDG_RUNTIME_DIR", directory);
        }
        self.shows.push(socket.to_owned());
    }

    fn sound(&mut self, seat: &Seat, known: &Known) {
        let knows = |name: &str| known.sounds.iter().any(|it| it == name);
        let driver = if seat.macos && knows("coreaudio") {
            "coreaudio"
        } else if let Some(socket) = &seat.pipewire
            && knows("pipewire")
        {
            self.socket(socket, "PIPEWIRE_REMOTE");
            "pipewire"
        } else if let Some(socket) = &seat.pulse
            && knows("pa")
        {
            let mut server = OsString::from("unix:");
            server.push(socket);
            self.set("PULSE_SERVER", server);
            self.shows.push(socket.clone());
            "pa"
        } else {
            self.told.push("no speakers here that the runner's QEMU could use: it plays unheard".to_owned());
            "none"
        };
        self.add("-audiodev", format!("{driver},id=nixbox-sound"));
        self.add("-device", "ich9-intel-hda");
        self.add("-device", "hda-duplex,audiodev=nixbox-sound");
    }
}

/// Asks the runner's QEMU what it knows. Where it cannot be asked, it knows VNC only.
pub async fn ask(runner: &Path, jail: &JailOptions) -> Known {
    let Some(qemu) = qemu_of(runner, jail) else { return Known::default() };
    let help = async |option| names(&said(&qemu, &[option, "help"], jail).await);
    let (displays, sounds, chardevs) = tokio::join!(help("-display"), help("-audiodev"), help("-chardev"));
    Known { displays, sounds, clipboard: chardevs.iter().any(|name| name == "qemu-vdagent") }
}

/// The first of the host's GPUs with which the runner's QEMU comes up: it has to start with it, not only to have it.
pub async fn prove_gpu(runner: &Path, seat: &Seat, jail: &JailOptions) -> Option<PathBuf> {
    let qemu = qemu_of(runner, jail)?;
    for gpu in &seat.gpus {
        let display = format!("egl-headless,rendernode={}", gpu.display());
        let arguments = [
            "-nodefaults",
            "-S",
            "-display",
            &display,
            "-device",
            "virtio-vga-gl",
            "-chardev",
            "stdio,id=q",
            "-mon",
            "chardev=q,mode=control",
        ];
        let order = order(&qemu, &arguments, jail, vec![gpu.clone()]);
        let Ok(process) = Process::spawn(&jail.launcher, &order).await else { continue };
        let mut lines = process.output().last_line();
        let greeted = async {
            // Its greeting comes when everything is set up; what fails to be set up ends it.
            loop {
                if lines.borrow_and_update().contains("\"QMP\"") {
                    return true;
                }
                if lines.changed().await.is_err() {
                    return false;
                }
            }
        };
        let works = tokio::select! {
            works = greeted => works,
            _ = process::wait(process.ended()) => false,
            () = tokio::time::sleep(GPU_PROBE_LIMIT) => false,
        };
        process.end().await;
        if works {
            return Some(gpu.clone());
        }
    }
    None
}

/// The QEMU that the runner's script names.
fn qemu_of(runner: &Path, jail: &JailOptions) -> Option<PathBuf> {
    let (_, script) = locate_runner(runner, &jail.store).ok()?;
    read_traits(&script).ok()?.qemu
}

fn order(qemu: &Path, arguments: &[&str], jail: &JailOptions, devices: Vec<PathBuf>) -> Order {
    Order {
        program: Some(qemu.to_owned()),
        arguments: arguments.iter().map(OsString::from).collect(),
        show: store(jail).into_iter().chain(shown(qemu)).collect(),
        devices,
        file_limit: 64 << 20,
        shm_limit: 256 << 20,
        ..Order::proof(jail.kind)
    }
}

/// The lines that QEMU says, and ends.
async fn said(qemu: &Path, arguments: &[&str], jail: &JailOptions) -> Vec<String> {
    let Ok(process) = Process::spawn(&jail.launcher, &order(qemu, arguments, jail, Vec::new())).await else {
        return Vec::new();
    };
    let ended = tokio::time::timeout(QEMU_HELP_LIMIT, process::wait(process.ended())).await;
    let lines = match ended {
        Ok(Ended::Exited { code: Some(0), .. }) => process.output().tail(LINES),
        _ => Vec::new(),
    };
    process.end().await;
    lines
}

/// The names in a `help` list: one a line below a heading that ends with a colon, until an empty line or a sentence.
fn names(lines: &[String]) -> Vec<String> {
    let is_name = |line: &&str| !line.is_empty() && line.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    lines.iter().map(|line| line.trim()).filter(is_name).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(displays: &[&str], sounds: &[&str]) -> Known {
        let own = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        Known { displays: own(displays), sounds: own(sounds), clipboard: true }
    }

    fn desk() -> Seat {
        Seat {
            wayland: Some("/run/user/1000/wayland-1".into()),
            pipewire: Some("/run/user/1000/pipewire-0".into()),
            pulse: Some("/run/user/1000/pulse/native".into()),
            ..Seat::default()
        }
    }

    fn text(devices: &Devices) -> String {
        let words = devices.arguments.iter().map(|word| word.to_string_lossy().into_owned());
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_window_where_there_can_be_one() {
        let devices =
            choose(&desk(), &known(&["gtk", "sdl", "none"], &["pa", "pipewire"]), None, None, Path::new("/r")).unwrap();
        assert!(text(&devices).contains("-display gtk "), "{devices:?}");
        assert!(text(&devices).contains("-audiodev pipewire,id=nixbox-sound"), "{devices:?}");
        let variable =
            |name: &str| devices.environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        assert_eq!(variable("XDG_RUNTIME_DIR").unwrap(), "/run/user/1000");
        assert_eq!(devices.shows, [PathBuf::from("/run/user/1000/wayland-1"), "/run/user/1000/pipewire-0".into()]);
        let sdl = choose(&desk(), &known(&["sdl"], &["pa"]), None, None, Path::new("/r")).unwrap();
        assert!(text(&sdl).contains("-display sdl ") && text(&sdl).contains("-audiodev pa,"), "{sdl:?}");
    }

    #[test]
    fn vnc_where_there_is_no_screen_or_no_toolkit() {
        for (seat, known) in [
            (Seat::default(), known(&["gtk"], &[])),
            (desk(), known(&["none"], &["pa"])),
            (Seat::default(), Known::default()),
        ] {
            let devices = choose(&seat, &known, None, None, Path::new("/r,1")).unwrap();
            assert!(text(&devices).contains("-vnc unix:/r,,1/vnc"), "{devices:?}");
            assert!(devices.told[0].contains("vncviewer /r,1/vnc"), "{devices:?}");
        }
    }

    #[test]
    fn a_gpu_is_used_in_windows_only() {
        let gpu = Path::new("/dev/dri/renderD128");
        let devices = choose(&desk(), &known(&["gtk"], &[]), None, Some(gpu), Path::new("/r")).unwrap();
        assert!(text(&devices).contains("-device virtio-vga-gl -display gtk,gl=on"), "{devices:?}");
        assert_eq!(devices.nodes, [gpu]);
        let devices = choose(&desk(), &known(&["gtk"], &[]), Some(Display::Vnc), Some(gpu), Path::new("/r")).unwrap();
        assert!(!text(&devices).contains("gl") && devices.nodes.is_empty(), "{devices:?}");
    }

    #[test]
    fn a_wish_that_cannot_be_granted_is_refused() {
        let why = choose(&desk(), &known(&["gtk"], &[]), Some(Display::Sdl), None, Path::new("/r")).unwrap_err();
        assert!(why.contains("no sdl display (it has: gtk, vnc)"), "{why}");
        let why =
            choose(&Seat::default(), &known(&["gtk"], &[]), Some(Display::Gtk), None, Path::new("/r")).unwrap_err();
        assert!(why.contains("could show a gtk window"), "{why}");
    }

    #[test]
    fn help_lists_are_read() {
        let lines = [
            "Available display backend types:",
            "none",
            "gtk",
            "egl-headless",
            "",
            "Some display backends support suboptions, which can be set with",
        ];
        assert_eq!(names(&lines.map(str::to_owned)), ["none", "gtk", "egl-headless"]);
    }
}
