//! Logging a user in without the greeter.

use std::sync::LazyLock;

use regex::Regex;
use tokio::time::Instant;

use super::DesktopDriver;
use crate::desktop::display_managers::wraps_wayland;
use crate::desktop::facts::{DesktopState, LoginMethod};
use crate::desktop::session_files::{self, SessionFile, SessionType};
use crate::guest::facts::Account;
use crate::guest::logind::{FIRST_VT, Session, free_terminal};
use crate::guest::shell::Script;
use crate::judging::text;
use crate::model::UNIT_PREFIX;
use crate::model::timeouts::desktop::{REGISTRATION_LIMIT, SESSION_LIMIT, SESSIONS_INTERVAL};
use crate::text::{bounded, quoted};

/// The transient unit that nixbox logs in by, after [`UNIT_PREFIX`].
const LOGIN_UNIT: &str = "session.service";
/// Most lines of a session's output that are kept.
const OUTPUT_LINES: usize = 20;

/// A session's command on a terminal.
struct SessionStart<'a> {
    account: &'a Account,
    session: &'a SessionFile,
    vt: u32,
    command: &'a str,
    /// `StandardOutput=`.
    output: &'a str,
}

impl DesktopDriver<'_> {
    /// Logs a user in without the greeter: a transient service that opens a PAM session on a free terminal, as `getty`
    /// and `login` would, and starts the session's own command. Nothing of the closure changes, no password is needed,
    /// and the greeter stays where it is.
    ///
    /// # Errors
    /// Why it could not be done.
    pub(super) async fn log_in(
        &self,
        account: &Account,
        greeter: Option<&DesktopState>,
    ) -> Result<LoginMethod, String> {
        let offered = self.offered_sessions().await?;
        let session = session_files::choose(self.desktop, &offered)?;
        let vt = free_terminal(greeter.into_iter().flat_map(|state| &state.sessions));
        let command = match session.session_type {
            SessionType::X11 => {
                let mut processes = greeter.into_iter().flat_map(|state| &state.processes);
                let running = processes.find(|process| process.is_x_server()).map(|process| process.command.as_str());
                let server = running.or(self.desktop.x_server.as_deref());
                x11_command(&session.exec, vt, server, self.desktop.session_wrapper.as_deref())
            }
            SessionType::Wayland => {
                let wrapper = self.desktop.session_wrapper.as_deref().filter(|_| wraps_wayland(self.desktop));
                wayland_command(&session.exec, wrapper)
            }
        };
        let start = SessionStart { account, session: &session, vt, command: &command, output: "journal" };
        self.start_session(&start).await?;
        self.show_session(account, vt).await;
        let how = format!(
            "a transient service with PAMName=login on tty{vt} started the session {} for {}",
            session.name, account.name
        );
        Ok(LoginMethod::LoggedIn { session: session.name, how })
    }

    /// The session that was opened so before a switch, and that lives on: the screen is the greeter's meanwhile.
    pub(super) async fn session_of_before(&self, account: &Account) -> Option<Session> {
        let logind = self.guest.logind(self.patience).await.ok()?;
        let sessions = logind.sessions().await.ok()?;
        let is_ours = |session: &&Session| session.vt >= FIRST_VT && !session.desktop.is_empty();
        let mut own = sessions.iter().filter(|session| session.uid == account.uid && session.class == "user");
        let session = own.find(is_ours)?.clone();
        if let Some(greeter) = sessions.iter().find(|session| session.is_greeter() && session.is_seated()) {
            let _judged = logind.activate(&greeter.id).await;
        }
        Some(session)
    }

    /// Has the seat show that session once more.
    pub(super) async fn shown_again(&self, account: &Account, session: Session) -> LoginMethod {
        self.show_session(account, session.vt).await;
        let how = format!("the session of {} on tty{} was opened before the switch", account.name, session.vt);
        LoginMethod::LoggedIn { session: session.desktop, how }
    }

    async fn start_session(&self, start: &SessionStart<'_>) -> Result<(), String> {
        let name = &start.account.name;
        let script = Script { deadline: self.patience, ..Script::new(start.script()) };
        let output = self.guest.shell().run(script).await;
        let output = output.map_err(|error| format!("the guest could not be asked to log {name} in: {error}"))?;
        if output.exit == 0 {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        let why = bounded(stderr.lines().last().unwrap_or("without an error message"), 200);
        Err(format!("systemd-run could not start a session for {name}: {why}"))
    }

    /// Runs a session's command a second time, on another terminal, and returns its output: a login screen wipes what
    /// the session before it wrote on their terminal. No session is harmed by it, as there is none.
    pub(super) async fn rerun_session(&self, account: &Account, state: &DesktopState) -> Vec<String> {
        let Some(session) = session_files::initial_session(self.desktop) else { return Vec::new() };
        self.events.doing(format!("starting {} once more", session.name));
        let vt = free_terminal(&state.sessions);
        let (unit, log) = (format!("{UNIT_PREFIX}{LOGIN_UNIT}"), format!("/run/{UNIT_PREFIX}session.log"));
        let (command, output) = (format!("exec {}", without_redirections(&session.exec)), format!("file:{log}"));
        let start = SessionStart { account, session: &session, vt, command: &command, output: &output };
        if self.start_session(&start).await.is_err() {
            return Vec::new();
        }
        self.show_session(account, vt).await;
        // One that stays is stopped: what it has not written by now is not why the first one ended.
        let script = format!(
            "n=0; while systemctl -q is-active {unit} && [ $n -lt {} ]; do n=$((n + 1)); sleep 1; done\n\
             systemctl -q stop {unit} 2>/dev/null; tail -c 8192 {log}; rm -f {log}",
            self.scaled(SESSION_LIMIT / 18).as_secs(),
        );
        let script = Script { deadline: self.scaled(SESSION_LIMIT), ..Script::new(script) };
        let output = self.guest.shell().run(script).await.map(|output| output.stdout).unwrap_or_default();
        if let Some(shown) = state.sessions.iter().find(|session| session.active)
            && let Ok(logind) = self.guest.logind(self.patience).await
        {
            let _as_it_was = logind.activate(&shown.id).await;
        }
        let output = String::from_utf8_lossy(&output);
        let lines: Vec<String> =
            output.lines().map(|line| bounded(line, 300)).filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(OUTPUT_LINES)..].to_vec()
    }

    /// Has the seat show the session on this terminal, as soon as it is there.
    async fn show_session(&self, account: &Account, vt: u32) {
        let Ok(mut logind) = self.guest.logind(self.patience).await else { return };
        let until = Instant::now() + self.scaled(REGISTRATION_LIMIT);
        while Instant::now() < until {
            let sessions = logind.sessions().await.unwrap_or_default();
            if let Some(session) = sessions.iter().find(|session| session.uid == account.uid && session.vt == vt) {
                // Whether it is shown is judged later.
                let _judged = logind.activate(&session.id).await;
                return;
            }
            logind.changed(SESSIONS_INTERVAL).await;
        }
    }

    /// The sessions that the display manager offers.
    async fn offered_sessions(&self) -> Result<Vec<SessionFile>, String> {
        if let Some(file) = session_files::greeter_session(self.desktop) {
            return Ok(vec![file]);
        }
        let roots = self.desktop.sessions_dir.iter().map(String::as_str).chain(["/run/current-system/sw"]);
        let files = |root: &str| {
            ["wayland-sessions", "xsessions"]
                .map(|kind| format!("{}/*.desktop", quoted(&format!("{root}/share/{kind}"))))
        };
        let files: Vec<String> = roots.flat_map(files).collect();
        let script = format!("head -v -c 8192 {} 2>/dev/null; :", files.join(" "));
        let output = self.guest.shell().ask(&script, self.patience, 1 << 20).await;
        let output = output.map_err(|error| format!("the guest's session files could not be read: {error}"))?;
        Ok(session_files::parse(&String::from_utf8_lossy(&output.stdout)))
    }
}

impl SessionStart<'_> {
    /// systemd-run's command line: a transient service with a PAM session on a terminal.
    fn script(&self) -> String {
        let Self { account, session, vt, command, output } = self;
        let names = if session.desktop_names.is_empty() { &session.name } else { &session.desktop_names };
        let properties = [
            "PAMName=login".to_owned(),
            format!("User={}", account.name),
            "WorkingDirectory=~".to_owned(),
            format!("TTYPath=/dev/tty{vt}"),
            "StandardInput=tty".to_owned(),
            format!("StandardOutput={output}"),
            format!("StandardError={output}"),
            "TTYReset=yes".to_owned(),
            "TTYVHangup=yes".to_owned(),
            "IgnoreSIGPIPE=no".to_owned(),
        ];
        let variables = [
            "XDG_SEAT=seat0".to_owned(),
            format!("XDG_VTNR={vt}"),
            format!("XDG_SESSION_TYPE={}", session.session_type),
            "XDG_SESSION_CLASS=user".to_owned(),
            format!("XDG_SESSION_DESKTOP={}", session.name),
            format!("XDG_CURRENT_DESKTOP={}", names.trim_end_matches(';').replace(';', ":")),
        ];
        let mut run = format!("systemd-run --quiet --collect --unit={UNIT_PREFIX}{LOGIN_UNIT}");
        for property in &properties {
            run.push_str(&format!(" -p {}", quoted(property)));
        }
        for variable in &variables {
            run.push_str(&format!(" --setenv={}", quoted(variable)));
        }
        run.push_str(&format!(" /bin/sh -lc {}", quoted(command)));
        run
    }
}

/// Redirections at the end of a command line, outside of quotes and brackets.
static REDIRECTIONS: LazyLock<Regex> =
    LazyLock::new(|| text::pattern(r#"(?:(?:\s*&>>?|\s[12]>>?&?|\s*>>?&?)\s*[^\s'"()&|;<>]+)+\s*$"#));

/// A command line whose output goes where it is read, and not where it says.
fn without_redirections(command: &str) -> &str {
    REDIRECTIONS.find(command).map_or(command, |found| &command[..found.start()])
}

/// Starts a Wayland session, by the wrapper that the display manager would start it by, where it has one.
fn wayland_command(exec: &str, wrapper: Option<&str>) -> String {
    match wrapper.map(quoted) {
        // The display manager may have been told to do without it, which leaves it out of the system.
        Some(wrapper) => format!("if [ -x {wrapper} ]; then exec {wrapper} {exec}; fi\nexec {exec}"),
        None => format!("exec {exec}"),
    }
}

/// Starts an X server on this terminal and the session in it, as `startx` would: with the settings of `server`, the command
/// line of the display manager's own (without them X may find no driver for the mouse), and by the wrapper that a display
/// manager would start it by, which starts what belongs to a graphical session. What of `server` is no part of the system
/// is left out.
fn x11_command(exec: &str, vt: u32, server: Option<&str>, wrapper: Option<&str>) -> String {
    let words: Vec<&str> = server.map(|command| command.split_ascii_whitespace().collect()).unwrap_or_default();
    let program = words.first().copied().filter(|word| word.starts_with('/')).unwrap_or("X");
    let mut arguments = String::new();
    for pair in words.windows(2) {
        if matches!(pair[0], "-config" | "-xkbdir" | "-configdir" | "-modulepath") {
            let (option, path) = (pair[0], quoted(pair[1]));
            let is_one = pair[1].starts_with('/') && !pair[1].contains(',');
            let test = if is_one { format!("[ -e {path} ] && ") } else { String::new() };
            arguments.push_str(&format!("{test}set -- \"$@\" {option} {path}\n"));
        }
    }
    let session = match wrapper.map(quoted) {
        // Where no display manager refers to it, it is no part of the system.
        Some(wrapper) => format!("if [ -x {wrapper} ]; then {wrapper} {exec}; else {exec}; fi"),
        None => exec.to_owned(),
    };
    format!(
        "f=$XDG_RUNTIME_DIR/nixbox-display; rm -f \"$f\"; mkfifo \"$f\"\nset --\n{arguments}\
         p={}; [ -x \"$p\" ] || p=X\n\
         \"$p\" -displayfd 3 vt{vt} -keeptty -noreset -nolisten tcp \"$@\" 3>\"$f\" &\n\
         x=$!; read -r n <\"$f\"; rm -f \"$f\"; export DISPLAY=\":$n\"\n{session}\ns=$?; kill $x; exit $s",
        quoted(program)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_x_session_takes_the_display_managers_settings() {
        let server = "/nix/store/x/bin/X :0 -config /etc/xserver.conf -auth /run/a vt7";
        let command = x11_command("xfce4-session", 8, Some(server), None);
        let path = quoted("/etc/xserver.conf");
        let taken = format!("[ -e {path} ] && set -- \"$@\" -config {path}\n");
        assert!(command.contains("/nix/store/x/bin/X") && command.contains(&taken), "{command}");
        assert!(command.contains("vt8") && !command.contains("-auth"), "{command}");
        assert!(x11_command("twm", 9, None, None).contains("vt9"));
        let wrapped = x11_command("twm -q", 9, None, Some("/nix/store/x-xsession-wrapper"));
        assert!(wrapped.contains("then '/nix/store/x-xsession-wrapper' twm -q; else twm -q; fi\ns=$?"), "{wrapped}");
    }

    #[test]
    fn what_is_run_again_says_it_to_us() {
        for command in [
            "Hyprland &> /dev/null",
            "Hyprland >/dev/null 2>&1",
            "Hyprland &>>/tmp/hypr.log",
            "Hyprland > /tmp/hypr.log 2> /dev/null ",
            "Hyprland >& /dev/null",
            "Hyprland 2>/dev/null",
            "Hyprland",
        ] {
            assert_eq!(without_redirections(command), "Hyprland", "{command}");
        }
        for command in
            ["sh -c 'Hyprland &> /dev/null'", "(Hyprland > /dev/null)", "Hyprland > /tmp/a | cat", "sway -c a"]
        {
            assert_eq!(without_redirections(command), command);
        }
        assert_eq!(without_redirections("/x/sway1>/dev/null"), "/x/sway1");
    }

    #[test]
    fn a_wayland_session_is_started_by_the_display_managers_wrapper() {
        assert_eq!(wayland_command("sway --debug", None), "exec sway --debug");
        let wrapped = wayland_command("sway --debug", Some("/nix/store/x-xsession-wrapper"));
        assert!(wrapped.contains("exec '/nix/store/x-xsession-wrapper' sway --debug; fi\nexec sway"), "{wrapped}");
    }
}
