//! A window that is opened in the session, typed into and closed.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::input::Awaited;
use super::{DesktopDriver, SLOW_INTERVAL};
use crate::desktop::facts::{DesktopProcess, DesktopState, InputReaction, TestWindow};
use crate::guest::Error;
use crate::guest::facts::Account;
use crate::guest::shell::{Output, Script};
use crate::idle::IdleDetector;
use crate::model::timeouts::desktop::{IDLE, REACTION_LIMIT, WINDOW_LIMIT};
use crate::signal::{Picture, PictureDiff, picture};
use crate::text::{bounded, quoted};

/// The share of the screen that a window takes at least.
const WINDOW_SHARE: f64 = 0.004;
/// Most programs that are tried.
const TRIED_PROGRAMS: usize = 3;
/// Most lines of a program's stderr that are kept.
const STDERR_LINES: usize = 8;

/// A program whose window is opened.
#[derive(Debug)]
struct TestProgram {
    name: &'static str,
    /// What has it run `$c` with `$m` in a shell, or show itself.
    arguments: &'static str,
    is_terminal: bool,
    needs_wayland: bool,
}

const fn terminal(name: &'static str, arguments: &'static str) -> TestProgram {
    TestProgram { name, arguments, is_terminal: true, needs_wayland: false }
}

const fn shows(name: &'static str, arguments: &'static str) -> TestProgram {
    TestProgram { name, arguments, is_terminal: false, needs_wayland: false }
}

/// Those that start fastest first, those that need OpenGL last.
const PROGRAMS: &[TestProgram] = &[
    TestProgram { needs_wayland: true, ..terminal("foot", "sh -c \"$c\" \"$m\"") },
    terminal("xterm", "-e sh -c \"$c\" \"$m\""),
    terminal("st", "-e sh -c \"$c\" \"$m\""),
    terminal("urxvt", "-e sh -c \"$c\" \"$m\""),
    terminal("xfce4-terminal", "--disable-server -x sh -c \"$c\" \"$m\""),
    terminal("mate-terminal", "--disable-factory -x sh -c \"$c\" \"$m\""),
    terminal("konsole", "-e sh -c \"$c\" \"$m\""),
    terminal("gnome-terminal", "--wait -- sh -c \"$c\" \"$m\""),
    terminal("kgx", "-- sh -c \"$c\" \"$m\""),
    terminal("ptyxis", "-s -- sh -c \"$c\" \"$m\""),
    terminal("terminator", "-x sh -c \"$c\" \"$m\""),
    terminal("alacritty", "-e sh -c \"$c\" \"$m\""),
    terminal("kitty", "sh -c \"$c\" \"$m\""),
    terminal("ghostty", "-e sh -c \"$c\" \"$m\""),
    terminal("wezterm", "start -- sh -c \"$c\" \"$m\""),
    TestProgram { needs_wayland: true, ..shows("swaynag", "-m nixbox") },
    shows("xmessage", "-center nixbox"),
    shows("xclock", ""),
    shows("zenity", "--info --text=nixbox"),
    shows("kdialog", "--msgbox nixbox"),
    shows("mousepad", ""),
    shows("gnome-text-editor", ""),
    shows("gnome-calculator", ""),
];

/// Kills the shell in a window, and with it the window.
const CLOSE: &str = "m=\"${XDG_RUNTIME_DIR:-/tmp}/nixbox-window\"\n\
                     [ -s \"$m\" ] && read -r p <\"$m\" && kill \"$p\"\nrm -f \"$m\"\n:";

type RunningProgram = JoinHandle<Result<Output, Error>>;

impl DesktopDriver<'_> {
    /// Moves the pointer, opens a window, types into it, closes it.
    pub(super) async fn try_input(
        &self,
        account: &Account,
        session: &DesktopState,
        server: &DesktopProcess,
    ) -> (Vec<InputReaction>, Option<TestWindow>) {
        let mut reactions: Vec<InputReaction> = self.move_pointer().await.into_iter().collect();
        let mut window: Option<TestWindow> = None;
        let variables = environment(session, server);
        for program in self.installed_programs(account, server).await.into_iter().take(TRIED_PROGRAMS) {
            self.events.doing(format!("opening a window of {}", program.name));
            let (mut opened, mut reaction) = self.open(account, &variables, program).await;
            if !opened.appeared && opened.share > 0.0 && opened.exit.is_none() {
                (opened, reaction) = self.open(account, &variables, program).await;
            }
            reactions.extend(reaction);
            let appeared = opened.appeared;
            // The first program that was tried tells most, unless a later one appears.
            if appeared || window.is_none() {
                window = Some(opened);
            }
            // One that runs and does not appear would be no different with another program.
            if appeared || window.as_ref().is_some_and(|window| window.exit.is_none()) {
                break;
            }
        }
        (reactions, window)
    }

    /// Programs with a window that the user has.
    async fn installed_programs(&self, account: &Account, server: &DesktopProcess) -> Vec<&'static TestProgram> {
        let has_wayland = server.wayland_display().is_some();
        let usable = || PROGRAMS.iter().filter(|program| has_wayland || !program.needs_wayland);
        let names: Vec<&str> = usable().map(|program| program.name).collect();
        let script = format!("for p in {}; do command -v \"$p\" >/dev/null && echo \"$p\"; done; :", names.join(" "));
        let script = self.user_script(account, script, self.patience, 4096);
        let Ok(output) = self.guest.shell().run(script).await else { return Vec::new() };
        let there = String::from_utf8_lossy(&output.stdout);
        let there: BTreeSet<&str> = there.lines().collect();
        usable().filter(|program| there.contains(program.name)).collect()
    }

    fn user_script(&self, account: &Account, text: String, deadline: Duration, limit: usize) -> Script {
        Script { user: Some(account.name.clone()), deadline, limit, ..Script::new(text) }
    }

    /// Opens a window, types into it where it is a terminal, and closes it.
    async fn open(
        &self,
        account: &Account,
        variables: &str,
        program: &TestProgram,
    ) -> (TestWindow, Option<InputReaction>) {
        let mut window =
            TestWindow { program: program.name.to_owned(), is_terminal: program.is_terminal, ..TestWindow::default() };
        let Some(before) = self.picture().await else { return (window, None) };
        let mut running = self.run_program(account, variables, program);
        let change = self.await_window(&before, &mut running, &mut window).await;
        window.share = change.map_or(0.0, |change| change.share);
        // It may still be growing or drawing its first line.
        let open = if window.appeared { self.calm().await } else { None };
        let mut reaction = None;
        if let Some(open) = open.as_ref().filter(|_| program.is_terminal) {
            reaction = self.type_into(&before, open).await;
        }
        let close = self.user_script(account, CLOSE.to_owned(), self.patience, 1024);
        let _the_next_kills_it = self.guest.shell().run(close).await;
        if !running.is_finished() && timeout(self.scaled(Duration::from_millis(500)), &mut running).await.is_err() {
            // Dropped, its shell and all that runs in it is killed.
            running.abort();
        }
        if let Some(open) = open {
            let closes = |after: &Picture| (picture::diff(&open, after).share > WINDOW_SHARE / 2.0, ());
            window.closed = self.until(self.scaled(REACTION_LIMIT), closes).await.holds;
            // Something else was painted just then, and this was no window.
            window.appeared = window.closed;
        }
        (window, reaction)
    }

    fn run_program(&self, account: &Account, variables: &str, program: &TestProgram) -> RunningProgram {
        let (name, arguments) = (program.name, program.arguments);
        // What the window's own process is killed by, however the program detaches itself.
        let text = format!(
            "{variables}\nm=\"${{XDG_RUNTIME_DIR:-/tmp}}/nixbox-window\"\nrm -f \"$m\"\n\
             c='echo $$ >\"$0\"; exec cat'\nexec {name} {arguments}\n",
        );
        let deadline = self.scaled(WINDOW_LIMIT) + self.scaled(REACTION_LIMIT) * 4;
        let script = self.user_script(account, text, deadline, 16 << 10);
        let shell = self.guest.shell().clone();
        tokio::spawn(async move { shell.run(script).await })
    }

    /// Waits until the window appears, its program fails, or nothing can be expected any more.
    async fn await_window(
        &self,
        before: &Picture,
        running: &mut RunningProgram,
        window: &mut TestWindow,
    ) -> Option<PictureDiff> {
        let appears = |after: &Picture| {
            let change = picture::diff(before, after);
            (change.share > WINDOW_SHARE, change)
        };
        let begun = Instant::now();
        let appearing = async {
            tokio::select! {
                appeared = self.until(self.scaled(WINDOW_LIMIT), appears) => appeared,
                () = self.long_idle() => Awaited { holds: false, seconds: begun.elapsed().as_secs_f64(), last: None },
            }
        };
        tokio::pin!(appearing);
        let awaited = tokio::select! {
            awaited = &mut appearing => awaited,
            output = running => {
                if let Ok(Ok(output)) = output {
                    window.exit = Some(output.exit);
                    let stderr = String::from_utf8_lossy(&output.stderr);
                    let lines: Vec<String> = stderr.lines().map(|line| bounded(line, 300)).collect();
                    window.stderr = lines[lines.len().saturating_sub(STDERR_LINES)..].to_vec();
                }
                // Some only ask a server of theirs to open one.
                if window.exit == Some(0) {
                    appearing.await
                } else {
                    Awaited { holds: false, seconds: 0.0, last: None }
                }
            }
        };
        (window.appeared, window.seconds) = (awaited.holds, awaited.seconds);
        awaited.last
    }

    /// Until the guest has been idle for longer than two D-Bus calls in a row wait: a window that it has not opened by
    /// then does not come any more.
    async fn long_idle(&self) {
        let mut idle = IdleDetector::probed();
        while idle.observe(self.guest.cpu_time(self.patience).await.ok()) < IDLE * 2 {
            sleep(SLOW_INTERVAL).await;
        }
    }
}

/// Shell text that sets what a program needs to find the display.
fn environment(session: &DesktopState, server: &DesktopProcess) -> String {
    let mut text = String::new();
    let mut set = |name: &str, value: &str| text.push_str(&format!("export {name}={}\n", quoted(value)));
    let of_session = |name: &str| {
        let of_user = |process: &&DesktopProcess| process.uid == server.uid || server.uid == 0;
        session.processes.iter().filter(of_user).find_map(|process| process.variable(name))
    };
    // With X beside Wayland there are programs that take the wrong one.
    if let Some(display) = server.wayland_display() {
        set("WAYLAND_DISPLAY", display);
    } else {
        if let Some(display) = server.x11_display() {
            set("DISPLAY", &display);
        }
        if let Some(authority) = of_session("XAUTHORITY") {
            set("XAUTHORITY", authority);
        }
    }
    if let Some(desktop) = of_session("XDG_CURRENT_DESKTOP") {
        set("XDG_CURRENT_DESKTOP", desktop);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_is_named_once() {
        let names: BTreeSet<&str> = PROGRAMS.iter().map(|program| program.name).collect();
        assert_eq!(names.len(), PROGRAMS.len());
        assert!(PROGRAMS.iter().all(|program| !program.is_terminal || program.arguments.contains("\"$m\"")));
    }
}
