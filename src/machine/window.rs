//! The display and the sound of a machine in `nixbox demo`, decided from what this host has and what the runner's QEMU
//! supports. The deciding is pure; [`query_features`] starts QEMU, in the jail, as it is the flake's.

use std::ffi::OsString;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::jail::{JailOptions, LaunchRequest};
use super::process::{self, JailedProcess, ProgramExit};
use super::{mount_of, runner_script, store_mount};
use crate::model::run_file;
use crate::model::timeouts::machine::{GPU_PROBE_LIMIT, QEMU_HELP_LIMIT};

/// How many lines of its help are read.
const LINES: usize = 400;

/// Where the picture goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DisplayKind {
    /// A GTK window
    Gtk,
    /// An SDL window
    Sdl,
    /// A macOS window
    Cocoa,
    /// A VNC server on a Unix socket
    Vnc,
}

impl DisplayKind {
    /// QEMU's own name for it.
    pub fn name(self) -> &'static str {
        match self {
            DisplayKind::Gtk => "gtk",
            DisplayKind::Sdl => "sdl",
            DisplayKind::Cocoa => "cocoa",
            DisplayKind::Vnc => "vnc",
        }
    }
}

/// The session that nixbox runs in, as far as QEMU can use it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostSession {
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

impl HostSession {
    /// From this process's environment and `/dev`. What is named and does not exist does not count.
    pub fn current() -> Self {
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

    fn has_window(&self, display: DisplayKind) -> bool {
        match display {
            DisplayKind::Cocoa => self.macos,
            DisplayKind::Gtk | DisplayKind::Sdl => !self.macos && (self.wayland.is_some() || self.x11.is_some()),
            DisplayKind::Vnc => true,
        }
    }
}

/// What a QEMU supports, as its `help` lists name it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QemuFeatures {
    /// `-display help`.
    pub displays: Vec<String>,
    /// `-audiodev help`.
    pub audio_backends: Vec<String>,
    /// Whether it has the clipboard's chardev, `qemu-vdagent`.
    pub clipboard: bool,
}

/// What a machine gets for its display and its sound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DemoDevices {
    /// Arguments for QEMU.
    pub arguments: Vec<OsString>,
    /// Variables for its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Sockets and files that have to be mounted in the jail.
    pub mounts: Vec<PathBuf>,
    /// Device nodes that the jail has to have.
    pub nodes: Vec<PathBuf>,
    /// What the user has to know.
    pub notes: Vec<String>,
}

/// Decides. `choice`: the display that the user asked for; `gpu`: a GPU that was found to work.
///
/// # Errors
/// Why the display that was asked for cannot be used.
pub fn choose(
    session: &HostSession,
    features: &QemuFeatures,
    choice: Option<DisplayKind>,
    gpu: Option<&Path>,
    run_dir: &Path,
) -> Result<DemoDevices, String> {
    let supports =
        |display: DisplayKind| display == DisplayKind::Vnc || features.displays.iter().any(|it| it == display.name());
    if let Some(choice) = choice {
        if !supports(choice) {
            let all = features.displays.join(", ");
            return Err(format!("the runner's QEMU has no {} display (it has: {all}, vnc)", choice.name()));
        }
        if !session.has_window(choice) {
            return Err(format!("this session cannot show a {} window", choice.name()));
        }
    }
    let order = [DisplayKind::Cocoa, DisplayKind::Gtk, DisplayKind::Sdl, DisplayKind::Vnc];
    let fits = |display: &DisplayKind| supports(*display) && session.has_window(*display);
    let display = choice.or_else(|| order.into_iter().find(fits)).unwrap_or(DisplayKind::Vnc);
    let mut devices = DemoDevices::default();
    devices.display(display, session, gpu, run_dir);
    devices.sound(session, features);
    if features.clipboard {
        // It speaks SPICE's protocol to whatever agent the guest has; without one nothing happens.
        devices.add("-device", "virtio-serial-pci,id=nixbox-agent");
        devices.add("-chardev", "qemu-vdagent,id=nixbox-vdagent,name=vdagent,clipboard=on,mouse=off");
        devices.add("-device", "virtserialport,bus=nixbox-agent.0,chardev=nixbox-vdagent,name=com.redhat.spice.0");
    }
    Ok(devices)
}

impl DemoDevices {
    fn add(&mut self, flag: &str, value: impl Into<OsString>) {
        self.arguments.extend([flag.into(), value.into()]);
    }

    fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.push((name.into(), value.into()));
    }

    fn display(&mut self, display: DisplayKind, session: &HostSession, gpu: Option<&Path>, run_dir: &Path) {
        match display {
            DisplayKind::Vnc => {
                let socket = run_dir.join(run_file::VNC);
                self.add("-vnc", super::spec::option("unix:", &socket, ""));
                self.notes.push(format!("to see it: vncviewer {}", socket.display()));
                self.notes.push(format!(
                    "or, for a viewer that needs a port: socat TCP-LISTEN:5900,bind=127.0.0.1,fork UNIX-CONNECT:{}",
                    socket.display()
                ));
                return;
            }
            DisplayKind::Cocoa => self.add("-display", "cocoa"),
            DisplayKind::Gtk | DisplayKind::Sdl => {
                let gl = if let Some(gpu) = gpu {
                    self.add("-vga", "none");
                    self.add("-device", "virtio-vga-gl");
                    self.nodes.push(gpu.to_owned());
                    ",gl=on"
                } else {
                    ""
                };
                self.add("-display", format!("{}{gl}", display.name()));
                if let Some(socket) = &session.wayland {
                    self.socket(socket, "WAYLAND_DISPLAY");
                } else if let Some((name, socket)) = &session.x11 {
                    self.set("DISPLAY", name);
                    self.mounts.extend(socket.clone());
                    if let Some(file) = &session.xauthority {
                        self.set("XAUTHORITY", file);
                        self.mounts.push(file.clone());
                    }
                }
            }
        }
        self.notes.push("closing the window ends the demo".to_owned());
    }

    /// Gives QEMU a socket of the session's, named by its whole path.
    fn socket(&mut self, socket: &Path, variable: &str) {
        self.set(variable, socket);
        if let Some(directory) = socket.parent()
            && !self.environment.iter().any(|(name, _)| name == "XDG_RUNTIME_DIR")
        {
            self.set("XDG_RUNTIME_DIR", directory);
        }
        self.mounts.push(socket.to_owned());
    }

    fn sound(&mut self, session: &HostSession, features: &QemuFeatures) {
        let supports = |name: &str| features.audio_backends.iter().any(|it| it == name);
        let driver = if session.macos && supports("coreaudio") {
            "coreaudio"
        } else if let Some(socket) = &session.pipewire
            && supports("pipewire")
        {
            self.socket(socket, "PIPEWIRE_REMOTE");
            "pipewire"
        } else if let Some(socket) = &session.pulse
            && supports("pa")
        {
            let mut server = OsString::from("unix:");
            server.push(socket);
            self.set("PULSE_SERVER", server);
            self.mounts.push(socket.clone());
            "pa"
        } else {
            self.notes.push("no sound: this session has no sound server that the runner's QEMU supports".to_owned());
            "none"
        };
        self.add("-audiodev", format!("{driver},id=nixbox-sound"));
        self.add("-device", "ich9-intel-hda");
        self.add("-device", "hda-duplex,audiodev=nixbox-sound");
    }
}

/// Asks the runner's QEMU what it supports: VNC only, where it cannot be asked.
pub async fn query_features(runner: &Path, jail: &JailOptions) -> QemuFeatures {
    let Some(qemu) = qemu_of(runner, jail) else { return QemuFeatures::default() };
    let help = async |option| names(&output_of(&qemu, &[option, "help"], jail).await);
    let (displays, audio_backends, chardevs) = tokio::join!(help("-display"), help("-audiodev"), help("-chardev"));
    QemuFeatures { displays, audio_backends, clipboard: chardevs.iter().any(|name| name == "qemu-vdagent") }
}

/// The first of the host's GPUs with which the runner's QEMU starts: that the device is there says nothing.
pub async fn probe_gpu(runner: &Path, session: &HostSession, jail: &JailOptions) -> Option<PathBuf> {
    let qemu = qemu_of(runner, jail)?;
    for gpu in &session.gpus {
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
        let request = launch_request(&qemu, &arguments, jail, vec![gpu.clone()]);
        let Ok(process) = JailedProcess::spawn(&jail.launcher, &request).await else { continue };
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
            _ = process::wait(process.exit()) => false,
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
    let (_, script) = runner_script::locate(runner, &jail.store).ok()?;
    runner_script::read_traits(&script, &jail.store).ok()?.qemu
}

fn launch_request(qemu: &Path, arguments: &[&str], jail: &JailOptions, devices: Vec<PathBuf>) -> LaunchRequest {
    LaunchRequest {
        program: Some(qemu.to_owned()),
        arguments: arguments.iter().map(OsString::from).collect(),
        mounts: store_mount(jail).into_iter().chain(mount_of(qemu)).collect(),
        devices,
        file_limit: 64 << 20,
        shm_limit: 256 << 20,
        ..LaunchRequest::empty(jail.kind)
    }
}

/// The lines that QEMU prints before it ends.
async fn output_of(qemu: &Path, arguments: &[&str], jail: &JailOptions) -> Vec<String> {
    let Ok(process) = JailedProcess::spawn(&jail.launcher, &launch_request(qemu, arguments, jail, Vec::new())).await
    else {
        return Vec::new();
    };
    let exit = tokio::time::timeout(QEMU_HELP_LIMIT, process::wait(process.exit())).await;
    let lines = match exit {
        Ok(ProgramExit::Exited { code: Some(0), .. }) => process.output().tail(LINES),
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

    fn features(displays: &[&str], audio_backends: &[&str]) -> QemuFeatures {
        let own = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        QemuFeatures { displays: own(displays), audio_backends: own(audio_backends), clipboard: true }
    }

    fn desk() -> HostSession {
        HostSession {
            wayland: Some("/run/user/1000/wayland-1".into()),
            pipewire: Some("/run/user/1000/pipewire-0".into()),
            pulse: Some("/run/user/1000/pulse/native".into()),
            ..HostSession::default()
        }
    }

    fn text(devices: &DemoDevices) -> String {
        let words = devices.arguments.iter().map(|word| word.to_string_lossy().into_owned());
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_window_where_there_can_be_one() {
        let devices =
            choose(&desk(), &features(&["gtk", "sdl", "none"], &["pa", "pipewire"]), None, None, Path::new("/r"))
                .unwrap();
        assert!(text(&devices).contains("-display gtk "), "{devices:?}");
        assert!(text(&devices).contains("-audiodev pipewire,id=nixbox-sound"), "{devices:?}");
        let variable =
            |name: &str| devices.environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        assert_eq!(variable("XDG_RUNTIME_DIR").unwrap(), "/run/user/1000");
        assert_eq!(devices.mounts, [PathBuf::from("/run/user/1000/wayland-1"), "/run/user/1000/pipewire-0".into()]);
        let sdl = choose(&desk(), &features(&["sdl"], &["pa"]), None, None, Path::new("/r")).unwrap();
        assert!(text(&sdl).contains("-display sdl ") && text(&sdl).contains("-audiodev pa,"), "{sdl:?}");
    }

    #[test]
    fn vnc_where_there_is_no_screen_or_no_toolkit() {
        for (session, features) in [
            (HostSession::default(), features(&["gtk"], &[])),
            (desk(), features(&["none"], &["pa"])),
            (HostSession::default(), QemuFeatures::default()),
        ] {
            let devices = choose(&session, &features, None, None, Path::new("/r,1")).unwrap();
            assert!(text(&devices).contains("-vnc unix:/r,,1/vnc"), "{devices:?}");
            assert!(devices.notes[0].contains("vncviewer /r,1/vnc"), "{devices:?}");
        }
    }

    #[test]
    fn a_gpu_is_used_in_windows_only() {
        let gpu = Path::new("/dev/dri/renderD128");
        let devices = choose(&desk(), &features(&["gtk"], &[]), None, Some(gpu), Path::new("/r")).unwrap();
        assert!(text(&devices).contains("-device virtio-vga-gl -display gtk,gl=on"), "{devices:?}");
        assert_eq!(devices.nodes, [gpu]);
        let devices =
            choose(&desk(), &features(&["gtk"], &[]), Some(DisplayKind::Vnc), Some(gpu), Path::new("/r")).unwrap();
        assert!(!text(&devices).contains("gl") && devices.nodes.is_empty(), "{devices:?}");
    }

    #[test]
    fn a_display_that_cannot_be_used_is_refused() {
        let why = choose(&desk(), &features(&["gtk"], &[]), Some(DisplayKind::Sdl), None, Path::new("/r")).unwrap_err();
        assert!(why.contains("no sdl display (it has: gtk, vnc)"), "{why}");
        let why =
            choose(&HostSession::default(), &features(&["gtk"], &[]), Some(DisplayKind::Gtk), None, Path::new("/r"))
                .unwrap_err();
        assert!(why.contains("cannot show a gtk window"), "{why}");
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
