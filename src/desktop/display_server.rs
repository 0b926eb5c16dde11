//! Which process serves a user's display, and which one draws on it.

use std::cmp::Reverse;

use super::compositors::{self, Compositor};
use super::facts::DesktopProcess;
use super::session_files::SessionType;

/// The process that serves a user's display: a Wayland compositor, or the X server that the user's programs use.
pub(crate) fn display_server(processes: &[DesktopProcess], uid: u32) -> Option<&DesktopProcess> {
    let wayland = processes
        .iter()
        .filter(|process| process.uid == uid && process.wayland_display().is_some())
        // A nested one holds no card.
        .max_by_key(|process| {
            (process.has_card, compositors::of_program(&process.name).is_some(), Reverse(process.since_us))
        });
    wayland.or_else(|| {
        let is_used = |display: &str| {
            processes.iter().any(|process| process.uid == uid && process.variable("DISPLAY") == Some(display))
        };
        processes.iter().find(|process| {
            process.name != "Xwayland"
                && process.x11_display().is_some_and(|display| process.uid == uid || is_used(&display))
        })
    })
}

/// The process that draws a session: the Wayland compositor, or the window manager beside the X server; and its row,
/// where it is known.
pub(crate) fn drawing_process(
    processes: &[DesktopProcess],
    uid: u32,
) -> Option<(&DesktopProcess, Option<&'static Compositor>)> {
    let server = display_server(processes, uid)?;
    if server.wayland_display().is_some() {
        return Some((server, compositors::of_program(&server.name)));
    }
    let window_manager = processes.iter().filter(|process| process.uid == uid).find_map(|process| {
        let known = compositors::of_program(&process.name).filter(|known| known.session_type == SessionType::X11)?;
        Some((process, Some(known)))
    });
    Some(window_manager.unwrap_or((server, None)))
}
