//! What is done to see a desktop: the screen is watched from the start, the login screen is waited for, somebody is
//! logged in where the configuration does not, and the session is asked, looked at and touched.
//!
//! `READY=1` comes long before a desktop paints, and nothing tells when it has: so the picture is waited for, by how
//! much it changes. Each wait ends when what is expected is there and the picture steady, when the machine does nothing
//! any more (longer than any D-Bus call waits), when the session has ended and the login screen is back, when the same goes
//! wrong again and again, or at its deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::idle::IdleDetector;
use crate::checks::desktop as judging;
use crate::event::Events;
use crate::guest::Guest;
use crate::guest::desktop::{Desktop, Ended, Moment, Process, Reaction, Way, Window};
use crate::guest::facts::{Account, Facts, Unit};
use crate::guest::logind::Logind;
use crate::guest::shell::Script;
use crate::guest::user_units::UserManager;
use crate::machine::Screen;
use crate::machine::screen::Key;
use crate::model::{UNIT_PREFIX, artifact};
use crate::nix::expectations::{Expectations, ExpectedDesktop};
use crate::report::artifacts::Artifacts;
use crate::signal::{Film, Picture, Rect, picture};
use crate::text::{bounded, quoted};

/// Between two pictures, while the screen changes and when it has been still for a while. A picture costs QEMU 40 to
/// 160 ms (measured, 10.0): this is a tenth of its time at most.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(300), Duration::from_millis(1500));
/// What changes less than this share of the screen does not count as moving: a clock, a cursor that blinks.
const STILL: f64 = 0.003;
/// How long a picture has to be still. Scaled by half the accelerator's factor: under TCG a desktop paints in steps
/// that lie up to 3 s apart.
const STEADY: Duration = Duration::from_secs(1);
/// The longest that a desktop may take to show itself with hardware virtualisation, after the boot.
const APPEARS: Duration = Duration::from_secs(90);
/// How long a machine may do nothing before what is not there is taken for missing. D-Bus calls give up after 25 s.
const IDLE: Duration = Duration::from_secs(30);
/// As [`IDLE`], when the session and its display are there and only the picture is plain.
const IDLE_PLAIN: Duration = Duration::from_secs(10);
/// How long a machine has to do nothing for its still picture to be the last.
const QUIET: Duration = Duration::from_millis(1500);
/// Sessions that end before it is called a loop.
const LOOP: usize = 3;
/// How often logind is asked though it told of no change.
const SESSIONS_INTERVAL: Duration = Duration::from_secs(3);
/// How long input may take to change something, with hardware virtualisation.
const REACTS: Duration = Duration::from_secs(2);
/// How long a window may take to be seen, with hardware virtualisation.
const WINDOW: Duration = Duration::from_secs(30);
/// How long the portal may take to answer, with hardware virtualisation: D-Bus's own limit.
const PORTAL: Duration = Duration::from_secs(25);
/// How long a unit of the user's that starts, or ends and is started again, is followed: `RestartSec=10`, three times over.
const RESTARTS: Duration = Duration::from_secs(30);
/// Between two looks at it.
const RESTARTS_INTERVAL: Duration = Duration::from_secs(1);
/// The share of the screen that a window takes at least.
const WINDOW_SHARE: f64 = 0.004;
/// Letters that are typed, and how wide they are at least on the screen, in pixels.
const TYPED: [Key; 6] = [Key::n, Key::i, Key::x, Key::b, Key::o, Key::x];
/// How long is looked for what changes by itself: clocks tick every second.
const BY_ITSELF: Duration = Duration::from_millis(1300);
/// A text cursor that blinks is narrower.
const TYPED_WIDTH: u32 = 24;
/// The transient unit that nixbox logs in by.
const LOGIN_UNIT: &str = "session.service";

/// A picture of the screen.
#[derive(Clone)]
struct Shot {
    picture: Arc<Picture>,
    png: Arc<Vec<u8>>,
    /// Since when it looks like this, but for what is small.
    still_since: Instant,
}

/// The screen, watched from the machine's start on.
pub(super) struct Watch {
    film: Arc<Mutex<Film>>,
    shots: watch::Receiver<Option<Shot>>,
    begun: Instant,
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Begins to watch.
    pub(super) fn begin(screen: Screen) -> Self {
        let film: Arc<Mutex<Film>> = Arc::default();
        let (sender, shots) = watch::channel(None);
        let begun = Instant::now();
        let task = tokio::spawn(take_pictures(screen, Arc::clone(&film), sender, begun));
        Self { film, shots, begun, task }
    }

    /// The film so far, as a GIF; `None` without a picture.
    pub(super) fn gif(&self) -> Option<Vec<u8>> {
        let film = self.film.lock().unwrap_or_else(PoisonError::into_inner);
        film.gif(self.begun.elapsed()).ok().flatten()
    }

    fn last(&self) -> Option<Shot> {
        self.shots.borrow().clone()
    }

    /// How long the screen has looked as it does.
    fn still(&self) -> Duration {
        self.last().map_or(Duration::ZERO, |shot| shot.still_since.elapsed())
    }
}

async fn take_pictures(screen: Screen, film: Arc<Mutex<Film>>, shots: watch::Sender<Option<Shot>>, begun: Instant) {
    let mut last: Option<Shot> = None;
    // What `still_since` is about: compared with this one, so that slow changes add up.
    let mut anchor: Option<Arc<Picture>> = None;
    let mut pause = INTERVALS.0;
    loop {
        let clock = Instant::now();
        if let Ok(png) = screen.picture().await {
            let same = last.as_ref().is_some_and(|last| *last.png == png);
            let decoded = if same {
                None
            } else {
                let bytes = png.clone();
                tokio::task::spawn_blocking(move || Picture::from_png(&bytes)).await.ok().and_then(Result::ok)
            };
            match decoded {
                Some(picture) => {
                    let picture = Arc::new(picture);
                    let moved = anchor.as_ref().is_none_or(|anchor| picture::diff(anchor, &picture).share > STILL);
                    film.lock().unwrap_or_else(PoisonError::into_inner).push(begun.elapsed(), &picture);
                    let still_since = match &last {
                        Some(last) if !moved => last.still_since,
                        _ => clock,
                    };
                    if moved {
                        anchor = Some(Arc::clone(&picture));
                        pause = INTERVALS.0;
                    } else {
                        pause = (pause * 3 / 2).min(INTERVALS.1);
                    }
                    last = Some(Shot { picture, png: Arc::new(png), still_since });
                }
                None => pause = (pause * 3 / 2).min(INTERVALS.1),
            }
            shots.send_replace(last.clone());
        } else {
            // No screen, or not yet: firmware and guest change its size.
            pause = INTERVALS.1;
        }
        // A busy QEMU is not asked more than it can bear.
        sleep(pause.max(clock.elapsed() * 4)).await;
    }
}

/// A look at a desktop.
pub(super) struct See<'a> {
    pub(super) expectations: &'a Expectations,
    pub(super) desktop: &'a ExpectedDesktop,
    /// What the first look told.
    pub(super) facts: &'a Facts,
    pub(super) watch: &'a Watch,
    pub(super) screen: Screen,
    /// How long the guest may take for one answer.
    pub(super) patience: Duration,
    /// What deadlines are multiplied by.
    pub(super) scale: f64,
    pub(super) events: &'a Events,
    pub(super) artifacts: Option<&'a Artifacts>,
    /// A person sits in front of it: nobody else logs in, moves the pointer, types.
    pub(super) person: bool,
}

/// What a wait is for.
#[derive(Clone, Copy)]
enum Goal<'a> {
    /// The login screen.
    Greeter,
    /// This user's session.
    Session(&'a Account),
}

impl See<'_> {
    /// Looks at the desktop; tells too since when the screen has shown the session's steady picture, where it did.
    /// Nothing fails: what could not be gathered is in [`Desktop::gaps`].
    pub(super) async fn see(&self, guest: &Guest) -> (Desktop, Option<Instant>) {
        let mut seen = Desktop::default();
        let mut painted = None;
        if self.facts.gaps.contains_key("accounts") {
            return (seen, painted);
        }
        let autologin = judging::autologin_user(self.expectations);
        let account = |name: &str| self.facts.accounts.iter().find(|account| account.name == name);
        if let Some(name) = autologin {
            seen.user = Some(name.to_owned());
            if let Some(account) = account(name) {
                self.events.doing(format!("waiting for the session of {name}"));
                seen.session = Some(self.wait(guest, Goal::Session(account), &mut seen.gaps).await);
            } else {
                seen.way = Way::None(judging::no_user(name));
                // What is shown instead.
                seen.session = Some(self.wait(guest, Goal::Greeter, &mut seen.gaps).await);
            }
        } else {
            if self.desktop.display_manager.is_some() {
                self.events.doing("waiting for the login screen");
                seen.greeter = Some(self.wait(guest, Goal::Greeter, &mut seen.gaps).await);
                self.keep(artifact::GREETER);
            }
            match self.someone() {
                _ if self.person => seen.way = Way::None("who sits in front of it logs in".to_owned()),
                // It takes the screen again and again, whatever else is shown there.
                _ if seen.greeter.as_ref().is_some_and(|moment| moment.end == Ended::Loop) => {
                    seen.way = Way::None("the login screen ends and begins anew all the time".to_owned());
                }
                None => seen.way = Way::None("no user of the configuration could be logged in".to_owned()),
                Some(account) => {
                    seen.user = Some(account.name.clone());
                    self.events.doing(format!("logging in as {}", account.name));
                    seen.way = match self.log_in(guest, account, seen.greeter.as_ref()).await {
                        Ok(way) => way,
                        Err(why) => Way::None(why),
                    };
                    if matches!(seen.way, Way::LoggedIn { .. }) {
                        self.events.doing(format!("waiting for the session of {}", account.name));
                        seen.session = Some(self.wait(guest, Goal::Session(account), &mut seen.gaps).await);
                    }
                }
            }
        }
        if let Some(session) = &seen.session {
            if session.end == Ended::Steady {
                painted = Instant::now().checked_sub(Duration::from_secs_f64(session.still));
            }
            self.keep(artifact::SESSION);
            if let Some(account) = seen.user.as_deref().and_then(account) {
                let session = session.clone();
                self.look_into(guest, account, &session, &mut seen).await;
                // Who did not answer may have died or been stopped by now.
                if seen.window.as_ref().is_some_and(|window| !window.seen)
                    && let Ok((_, _, processes)) = guest.desktop_processes(self.patience).await
                    && let Some(moment) = &mut seen.session
                {
                    moment.processes = processes;
                }
            }
        }
        self.words(guest, &mut seen).await;
        if let (Way::Autologin, false, Some(moment), Some(account)) =
            (&seen.way, self.person, &seen.session, seen.user.as_deref().and_then(account))
            && matches!(moment.end, Ended::Idle | Ended::Loop)
            && !moment.sessions.iter().any(|session| session.is_seated() && session.uid == account.uid)
            && !judging::is_explained(&seen)
        {
            seen.said_again = self.hear_again(guest, account, moment).await;
        }
        (seen, painted)
    }

    /// What was said, where there is nothing to look at.
    pub(super) async fn hear(&self, guest: &Guest) -> Desktop {
        let mut seen = Desktop::default();
        self.words(guest, &mut seen).await;
        seen
    }

    fn scaled(&self, time: Duration) -> Duration {
        time.mul_f64(self.scale)
    }

    /// Who is logged in where the configuration logs in nobody: a person of the configuration.
    fn someone(&self) -> Option<&Account> {
        let people = self.facts.accounts.iter().filter(|account| {
            self.expectations.users.get(&account.name).is_some_and(|user| user.normal) && account.shell_works
        });
        people.min_by_key(|account| account.uid)
    }

    /// Keeps the screen as it is.
    fn keep(&self, name: &str) {
        if let (Some(artifacts), Some(shot)) = (self.artifacts, self.watch.last())
            && let Err(error) = artifacts.keep(name, &shot.png)
        {
            self.events.note(format!("{name} was not kept: {error}"));
        }
    }

    /// Waits for the goal, or for the certainty that it will not come.
    async fn wait(&self, guest: &Guest, goal: Goal<'_>, gaps: &mut BTreeMap<String, String>) -> Moment {
        let begun = Instant::now();
        let deadline = begun + self.scaled(APPEARS);
        let steady = STEADY.mul_f64((self.scale / 2.0).max(1.0));
        let mut shots = self.watch.shots.clone();
        let mut idle = IdleDetector::probed();
        let mut moment = Moment::default();
        let mut logind: Option<Logind> = None;
        let mut asked: Option<Instant> = None;
        let mut looked: Option<Instant> = None;
        let mut pause = SESSIONS_INTERVAL;
        let mut known: BTreeSet<String> = BTreeSet::new();
        let mut was_here = false;
        loop {
            let told = match &mut logind {
                Some(logind) => {
                    tokio::select! {
                        () = logind.changed(SESSIONS_INTERVAL) => true,
                        _ = shots.changed() => false,
                    }
                }
                None => {
                    match guest.logind(self.patience).await {
                        Ok(there) => drop(logind.insert(there)),
                        Err(error) => {
                            drop(gaps.insert("logind".to_owned(), error.to_string()));
                            let _paced = timeout(SESSIONS_INTERVAL, shots.changed()).await;
                        }
                    }
                    true
                }
            };
            if (told || asked.is_none_or(|at| at.elapsed() > SESSIONS_INTERVAL))
                && let Some(there) = &logind
            {
                asked = Some(Instant::now());
                match there.sessions().await {
                    Ok(sessions) => {
                        let seated = sessions.iter().filter(|session| session.is_seated());
                        known.extend(seated.map(|session| session.id.clone()));
                        moment.sessions = sessions;
                        gaps.remove("logind");
                    }
                    Err(error) => {
                        drop(gaps.insert("logind".to_owned(), error.to_string()));
                        logind = None;
                    }
                }
            }
            let idle_for = idle.observe(guest.worked(self.patience).await.ok());
            let still = self.watch.still();
            moment.look = self.watch.last().map(|shot| picture::analyse(&shot.picture));
            let greeted = moment.sessions.iter().any(|session| session.is_greeter() && session.is_seated());
            let here = match goal {
                Goal::Greeter => greeted,
                Goal::Session(account) => {
                    moment.sessions.iter().any(|session| session.is_seated() && session.uid == account.uid)
                }
            };
            was_here |= here;
            let text_expected = matches!(goal, Goal::Greeter) && judging::is_text_greeter(self.desktop);
            let here = here || matches!(goal, Goal::Greeter) && judging::greets_without_session(self.desktop);
            let shows = moment.look.as_ref().is_some_and(|look| text_expected || !look.is_console && !look.is_flat);
            // Processes are looked at when there is something to see, or nothing any more.
            // A picture that is still while the machine works is about to change: a wallpaper is being decoded.
            let quiet = idle_for >= QUIET || still >= steady * 10;
            // Who is back at the login screen is not logged in a second time.
            let thrown_back = was_here && !here && greeted && still >= steady && quiet;
            let settled = still >= steady && quiet || idle_for >= IDLE_PLAIN;
            let due = looked.is_none_or(|at| at.elapsed() > pause);
            let past = Instant::now() >= deadline;
            let there: BTreeSet<&String> = moment.sessions.iter().map(|session| &session.id).collect();
            let ended = known.iter().filter(|id| !there.contains(id)).count();
            let serves = |processes: &[Process]| match goal {
                Goal::Greeter => here,
                Goal::Session(account) => judging::display_server(processes, account.uid).is_some(),
            };
            let looping = ended >= LOOP && !(here && serves(&moment.processes));
            if settled && due || past || looping || thrown_back {
                pause = pause * 3 / 2;
                match guest.desktop_processes(self.patience).await {
                    Ok((vt, now_us, processes)) => {
                        (moment.vt, moment.now_us, moment.processes) = (vt, now_us, processes);
                        gaps.remove("processes");
                    }
                    Err(error) => drop(gaps.insert("processes".to_owned(), error.to_string())),
                }
                looked = Some(Instant::now());
                // Our own question is not the guest's work.
                idle.skip(guest.worked(self.patience).await.ok());
            }
            let serves = serves(&moment.processes);
            let stopped = moment.processes.iter().any(|process| process.has_card && process.state == "T");
            // A login by itself happens once: after it there is a login screen, and nobody in front of it.
            let over = matches!(goal, Goal::Session(_))
                && !here
                && ended > 0
                && moment.sessions.iter().any(|session| session.is_greeter() && session.is_seated());
            let end = if here && serves && shows && still >= steady && quiet && looked.is_some() {
                Some(Ended::Steady)
            } else if ended >= LOOP && !(here && serves) {
                Some(Ended::Loop)
            } else if stopped
                || thrown_back
                || idle_for >= IDLE
                || over && idle_for >= IDLE_PLAIN
                || here && serves && looked.is_some() && idle_for >= IDLE_PLAIN && still >= IDLE_PLAIN
            {
                Some(Ended::Idle)
            } else if past {
                Some(Ended::Deadline)
            } else {
                None
            };
            // What is known of sessions has to be of now.
            let end = end.filter(|_| past || !gaps.contains_key("logind") && !gaps.contains_key("processes"));
            if let Some(end) = end {
                moment.end = end;
                moment.waited = begun.elapsed().as_secs_f64();
                moment.still = still.as_secs_f64();
                return moment;
            }
        }
    }

    /// Logs a person in without the greeter: a transient service that opens a PAM session on a free terminal, as
    /// `getty` and `login` would, and starts the session's own command. Nothing of the closure changes, no password is
    /// needed, and the greeter stays where it is.
    async fn log_in(&self, guest: &Guest, account: &Account, greeter: Option<&Moment>) -> Result<Way, String> {
        let offered = self.sessions(guest).await?;
        let session = judging::choose_session(self.desktop, &offered)?;
        let vt = free_terminal(greeter);
        let x11 = session.kind == "x11";
        let command = if x11 {
            let server = greeter.and_then(|moment| moment.processes.iter().find(|process| process.x11().is_some()));
            x11_command(&session.exec, vt, server, self.desktop.session_wrapper.as_deref())
        } else {
            format!("exec {}", session.exec)
        };
        self.start(guest, account, &session, vt, &command, "journal").await?;
        self.show(guest, account, vt).await;
        Ok(Way::LoggedIn {
            session: session.name.clone(),
            how: format!(
                "a transient service with PAMName=login on tty{vt} started the session {} for {}",
                session.name, account.name
            ),
        })
    }

    /// Starts a session's command as a transient service with a PAM session on a terminal.
    async fn start(
        &self,
        guest: &Guest,
        account: &Account,
        session: &judging::SessionFile,
        vt: u32,
        command: &str,
        output: &str,
    ) -> Result<(), String> {
        let names = if session.desktop_names.is_empty() { session.name.clone() } else { session.desktop_names.clone() };
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
            format!("XDG_SESSION_TYPE={}", session.kind),
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
        let output = guest.shell().run(Script { deadline: self.patience, ..Script::new(run) }).await;
        let output =
            output.map_err(|error| format!("the guest could not be asked to log {} in: {error}", account.name))?;
        if output.exit != 0 {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = bounded(said.lines().last().unwrap_or("it did not say why"), 200);
            return Err(format!("systemd-run could not start a session for {}: {said}", account.name));
        }
        Ok(())
    }

    /// A login screen wipes what the session before it wrote on their terminal: the session's command is started once
    /// more, on another one, and what it says is kept. Nobody's session is harmed by it, as there is none.
    async fn hear_again(&self, guest: &Guest, account: &Account, moment: &Moment) -> Vec<String> {
        let Some(session) = judging::own_session(self.desktop) else { return Vec::new() };
        self.events.doing(format!("starting {} once more", session.name));
        let vt = free_terminal(Some(moment));
        let (unit, log) = (format!("{UNIT_PREFIX}{LOGIN_UNIT}"), format!("/run/{UNIT_PREFIX}session.log"));
        let exec = format!("exec {}", session.exec);
        if self.start(guest, account, &session, vt, &exec, &format!("file:{log}")).await.is_err() {
            return Vec::new();
        }
        self.show(guest, account, vt).await;
        // Who stays is ended: what it has not said by now is not why the first one went.
        let script = format!(
            "n=0; while systemctl -q is-active {unit} && [ $n -lt {} ]; do n=$((n + 1)); sleep 1; done\n\
             systemctl -q stop {unit} 2>/dev/null; tail -c 8192 {log}; rm -f {log}",
            self.scaled(APPEARS / 18).as_secs(),
        );
        let script = Script { deadline: self.scaled(APPEARS), ..Script::new(script) };
        let output = guest.shell().run(script).await.map(|output| output.stdout).unwrap_or_default();
        if let Some(shown) = moment.sessions.iter().find(|session| session.active)
            && let Ok(logind) = guest.logind(self.patience).await
        {
            let _as_it_was = logind.activate(&shown.id).await;
        }
        let said = String::from_utf8_lossy(&output);
        let lines: Vec<String> =
            said.lines().map(|line| bounded(line, 300)).filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(20)..].to_vec()
    }

    /// Has the seat show the session on this terminal, as soon as it is there.
    async fn show(&self, guest: &Guest, account: &Account, vt: u32) {
        let Ok(mut logind) = guest.logind(self.patience).await else { return };
        let until = Instant::now() + self.scaled(Duration::from_secs(10));
        while Instant::now() < until {
            let sessions = logind.sessions().await.unwrap_or_default();
            if let Some(session) = sessions.iter().find(|session| session.uid == account.uid && session.vt == vt) {
                // It is judged whether it is shown; who refused is told by that.
                let _judged = logind.activate(&session.id).await;
                return;
            }
            logind.changed(SESSIONS_INTERVAL).await;
        }
    }

    /// The sessions that are on offer.
    async fn sessions(&self, guest: &Guest) -> Result<Vec<judging::SessionFile>, String> {
        if let Some(file) = judging::greeter_session(self.desktop) {
            return Ok(vec![file]);
        }
        let roots = self.desktop.sessions_dir.iter().map(String::as_str).chain(["/run/current-system/sw"]);
        let places: Vec<String> = roots
            .flat_map(|root| {
                ["wayland-sessions", "xsessions"]
                    .map(|kind| format!("{}/*.desktop", quoted(&format!("{root}/share/{kind}"))))
            })
            .collect();
        let script = format!("head -v -c 8192 {} 2>/dev/null; :", places.join(" "));
        let output = guest.shell().ask(&script, self.patience, 1 << 20).await;
        let output = output.map_err(|error| format!("the guest's sessions could not be read: {error}"))?;
        Ok(judging::session_files(&String::from_utf8_lossy(&output.stdout)))
    }

    /// Everything that is asked of a session and done to it.
    async fn look_into(&self, guest: &Guest, account: &Account, session: &Moment, seen: &mut Desktop) {
        self.events.doing(format!("looking at the session of {}", account.name));
        let ids = (account.uid, account.gid);
        let wanted: BTreeSet<String> = judging::promised_units(self.expectations, &account.name).into_keys().collect();
        let wanted: BTreeSet<String> = wanted.into_iter().chain(judging::USUAL_UNITS.map(str::to_owned)).collect();
        let server = judging::display_server(&session.processes, account.uid).filter(|process| process.state != "T");
        let portal = async {
            // Portals need the display; who asks without one waits for long.
            if !self.desktop.portal || server.is_none() {
                return None;
            }
            Some(guest.ask_portal(ids, self.patience, self.scaled(PORTAL)).await)
        };
        let hands = async {
            match server {
                Some(server) if !self.person => self.touch(guest, account, session, server).await,
                _ => (Vec::new(), None),
            }
        };
        // The portal takes longest: it is asked first, and the rest is done meanwhile.
        let manager = guest.user_manager(ids, &wanted, self.patience);
        let (portal, (reactions, window), manager) = tokio::join!(portal, hands, manager);
        (seen.reactions, seen.window) = (reactions, window);
        match manager {
            Ok(manager) => {
                let undecided = judging::is_undecided;
                seen.manager = Some(followed(guest, ids, &wanted, self.patience, manager, undecided).await);
            }
            Err(error) => drop(seen.gaps.insert("user-units".to_owned(), error.to_string())),
        }
        match portal {
            Some(Ok(portal)) => seen.portal = Some(portal),
            Some(Err(error)) => drop(seen.gaps.insert("session-bus".to_owned(), error.to_string())),
            None => {}
        }
    }

    /// A picture of the screen now.
    async fn now(&self) -> Option<Picture> {
        let png = self.screen.picture().await.ok()?;
        tokio::task::spawn_blocking(move || Picture::from_png(&png)).await.ok()?.ok()
    }

    /// Waits until `seen` holds of a picture, at most `limit`: how long that took, and what was seen last.
    async fn until<T>(&self, limit: Duration, seen: impl Fn(&Picture) -> (bool, T)) -> (bool, f64, Option<T>) {
        let begun = Instant::now();
        let mut last = None;
        loop {
            if let Some(picture) = self.now().await {
                let (holds, what) = seen(&picture);
                last = Some(what);
                if holds {
                    return (true, begun.elapsed().as_secs_f64(), last);
                }
            }
            if begun.elapsed() > limit {
                return (false, begun.elapsed().as_secs_f64(), last);
            }
            sleep(INTERVALS.0).await;
        }
    }

    /// Until the guest has done nothing for longer than two D-Bus calls in a row wait: a window that it has not opened
    /// by then does not come any more.
    async fn given_up(&self, guest: &Guest) {
        let mut idle = IdleDetector::probed();
        while idle.observe(guest.worked(self.patience).await.ok()) < IDLE * 2 {
            sleep(INTERVALS.1).await;
        }
    }

    /// Moves the pointer, opens a window, types into it, closes it.
    async fn touch(
        &self,
        guest: &Guest,
        account: &Account,
        session: &Moment,
        server: &Process,
    ) -> (Vec<Reaction>, Option<Window>) {
        let mut reactions = Vec::new();
        reactions.extend(self.pointer().await);
        let mut window = None;
        let candidates = self.programs(guest, account, server).await;
        for (program, is_terminal) in candidates.into_iter().take(3) {
            self.events.doing(format!("opening a window of {program}"));
            let (mut opened, mut reaction) = self.open(guest, account, session, server, &program, is_terminal).await;
            if !opened.seen && opened.share > 0.0 && opened.exit.is_none() {
                (opened, reaction) = self.open(guest, account, session, server, &program, is_terminal).await;
            }
            reactions.extend(reaction);
            let seen = opened.seen;
            // The first that was tried tells most, unless a later one is seen.
            if seen || window.is_none() {
                window = Some(opened);
            }
            // Who runs and is not seen would be no different with another program.
            if seen || window.as_ref().is_some_and(|window| window.exit.is_none()) {
                break;
            }
        }
        (reactions, window)
    }

    /// Moves the pointer and looks whether it is seen where it went. Where the card draws it by itself it is not.
    async fn pointer(&self) -> Option<Reaction> {
        self.screen.point(0.35, 0.45).await.ok()?;
        sleep(self.scaled(Duration::from_millis(100))).await;
        let before = self.now().await?;
        let (x, y) = (0.6, 0.6);
        self.screen.point(x, y).await.ok()?;
        let place = |at: f64, size: u32| ((at * f64::from(size)) as u32).saturating_sub(40);
        let near = Rect { x: place(x, before.width()), y: place(y, before.height()), width: 80, height: 80 };
        let (_, seconds, change) = self
            .until(self.scaled(REACTS), |after| {
                let change = picture::diff_within(&before, after, near);
                (change.any(), change)
            })
            .await;
        let change = change?;
        Some(Reaction {
            what: "pointer".to_owned(),
            share: change.share,
            width: change.bounds.map_or(0, |bounds| bounds.width),
            seconds,
        })
    }

    /// Programs with a window that the user has, and whether they are terminals.
    async fn programs(&self, guest: &Guest, account: &Account, server: &Process) -> Vec<(String, bool)> {
        let wayland = server.wayland().is_some();
        let known = PROGRAMS.iter().filter(|program| wayland || !program.wayland_only);
        let names: Vec<&str> = known.map(|program| program.name).collect();
        let script = format!("for p in {}; do command -v \"$p\" >/dev/null && echo \"$p\"; done; :", names.join(" "));
        let script =
            Script { user: Some(account.name.clone()), deadline: self.patience, limit: 4096, ..Script::new(script) };
        let Ok(output) = guest.shell().run(script).await else { return Vec::new() };
        let there = String::from_utf8_lossy(&output.stdout).into_owned();
        let there: BTreeSet<&str> = there.lines().collect();
        PROGRAMS
            .iter()
            .filter(|program| there.contains(program.name))
            .map(|program| (program.name.to_owned(), program.terminal))
            .collect()
    }

    async fn open(
        &self,
        guest: &Guest,
        account: &Account,
        session: &Moment,
        server: &Process,
        program: &str,
        is_terminal: bool,
    ) -> (Window, Option<Reaction>) {
        let mut window = Window { program: program.to_owned(), is_terminal, ..Window::default() };
        let Some(before) = self.now().await else { return (window, None) };
        let arguments = PROGRAMS.iter().find(|known| known.name == program).map_or("", |known| known.arguments);
        // What the window's own process is killed by, however the program detaches itself.
        let text = format!(
            "{}\nm=\"${{XDG_RUNTIME_DIR:-/tmp}}/nixbox-window\"\nrm -f \"$m\"\n\
             c='echo $$ >\"$0\"; exec cat'\nexec {program} {arguments}\n",
            environment(session, server),
        );
        let limit = self.scaled(WINDOW);
        let script = Script {
            user: Some(account.name.clone()),
            deadline: limit + self.scaled(REACTS) * 4,
            limit: 16 << 10,
            ..Script::new(text)
        };
        let shell = guest.shell().clone();
        let mut run = tokio::spawn(async move { shell.run(script).await });
        let opens = self.until(limit, |after| {
            let change = picture::diff(&before, after);
            (change.share > WINDOW_SHARE, change)
        });
        let begun = Instant::now();
        let comes = async {
            tokio::select! {
                opened = opens => opened,
                () = self.given_up(guest) => (false, begun.elapsed().as_secs_f64(), None),
            }
        };
        tokio::pin!(comes);
        let mut ended = None;
        let (seen, seconds, change) = tokio::select! {
            opened = &mut comes => opened,
            output = &mut run => {
                if let Ok(Ok(output)) = output {
                    window.exit = Some(output.exit);
                    let said = String::from_utf8_lossy(&output.stderr).into_owned();
                    let lines: Vec<String> = said.lines().map(|line| bounded(line, 300)).collect();
                    window.said = lines[lines.len().saturating_sub(8)..].to_vec();
                    ended = Some(output.exit);
                }
                // Some only ask a server of theirs to open one.
                if ended == Some(0) { comes.await } else { (false, 0.0, None) }
            }
        };
        window.seen = seen;
        window.seconds = seconds;
        window.share = change.as_ref().map_or(0.0, |change| change.share);
        let mut reaction = None;
        let mut open = None;
        if seen {
            // It may still be growing or drawing its first line.
            open = self.calm().await;
            if is_terminal && let Some(picture) = &open {
                reaction = self.type_into(&before, picture).await;
            }
        }
        let close = "m=\"${XDG_RUNTIME_DIR:-/tmp}/nixbox-window\"\n[ -s \"$m\" ] && read -r p <\"$m\" && kill \"$p\"\nrm -f \"$m\"\n:";
        let close =
            Script { user: Some(account.name.clone()), deadline: self.patience, limit: 1024, ..Script::new(close) };
        let _the_next_kills_it = guest.shell().run(close).await;
        if ended.is_none() && timeout(self.scaled(Duration::from_millis(500)), &mut run).await.is_err() {
            // Dropped, its shell and all that runs in it is killed.
            run.abort();
        }
        if let Some(open) = open {
            let (closed, ..) = self
                .until(self.scaled(REACTS), |after| (picture::diff(&open, after).share > WINDOW_SHARE / 2.0, ()))
                .await;
            window.closed = closed;
            // Something else was painted just then, and this was no window.
            window.seen = closed;
        }
        (window, reaction)
    }

    /// Two pictures in a row that are alike, or the time is over.
    async fn calm(&self) -> Option<Picture> {
        let until = Instant::now() + self.scaled(REACTS);
        let mut last = self.now().await;
        while Instant::now() < until {
            sleep(INTERVALS.0).await;
            let next = self.now().await;
            if let (Some(last), Some(next)) = (&last, &next)
                && picture::diff(last, next).share < STILL / 3.0
            {
                return Some(next.clone());
            }
            last = next;
        }
        last
    }

    /// Clicks into what a window changed and types.
    async fn type_into(&self, before: &Picture, open: &Picture) -> Option<Reaction> {
        let change = picture::diff(before, open);
        let area = change.areas.first().copied().or(change.bounds)?;
        let middle =
            |at: u32, length: u32, size: u32| (f64::from(at) + f64::from(length) / 2.0) / f64::from(size.max(1));
        let (x, y) = (middle(area.x, area.width, open.width()), middle(area.y, area.height, open.height()));
        self.screen.point(x, y).await.ok()?;
        self.screen.click().await.ok()?;
        let calm = self.calm().await?;
        // What changes by itself: a clock, a cursor that blinks.
        let mut noise: Vec<Rect> = Vec::new();
        let begun = Instant::now();
        while begun.elapsed() < BY_ITSELF {
            sleep(INTERVALS.0).await;
            noise.extend(self.now().await.iter().flat_map(|after| picture::diff(&calm, after).areas));
        }
        self.screen.press(&TYPED).await.ok()?;
        let (_, seconds, width) = self
            .until(self.scaled(REACTS), |after| {
                let width = typed_width(&picture::diff(&calm, after).areas, &noise);
                (width >= TYPED_WIDTH, width)
            })
            .await;
        let width = width?;
        let share = f64::from(width) / f64::from(calm.width());
        Some(Reaction { what: "key".to_owned(), share, width, seconds })
    }

    /// What was said, and what stands on the terminals.
    async fn words(&self, guest: &Guest, seen: &mut Desktop) {
        let moments: Vec<&Moment> = seen.greeter.iter().chain(&seen.session).collect();
        let mut uids: BTreeSet<u32> = BTreeSet::new();
        let mut vts: BTreeSet<u32> = BTreeSet::new();
        for session in moments.iter().flat_map(|moment| &moment.sessions).filter(|session| session.is_seated()) {
            if session.uid != 0 {
                uids.insert(session.uid);
            }
            vts.insert(session.vt);
        }
        vts.extend(moments.iter().map(|moment| moment.vt));
        if moments.is_empty() {
            vts.insert(1);
        }
        let named = |name: &str| self.facts.accounts.iter().find(|account| account.name == name);
        uids.extend(seen.user.as_deref().and_then(named).map(|account| account.uid));
        uids.extend(judging::GREETERS.iter().filter_map(|name| Some(named(name)?.uid)));
        match guest.desktop_journal(&judging::MANAGERS, &uids, self.patience).await {
            Ok(lines) => seen.journal = lines,
            Err(error) => drop(seen.gaps.insert("desktop-journal".to_owned(), error.to_string())),
        }
        for vt in vts.into_iter().filter(|vt| *vt > 0).take(4) {
            if let Ok(lines) = guest.terminal_text(vt, self.patience).await
                && !lines.is_empty()
            {
                seen.terminals.insert(vt, lines);
            }
        }
    }
}

/// The user's manager once it is known what becomes of the units that are not yet what they will be.
async fn followed(
    guest: &Guest,
    ids: (u32, u32),
    wanted: &BTreeSet<String>,
    patience: Duration,
    mut manager: UserManager,
    waits: impl Fn(&Unit) -> bool,
) -> UserManager {
    let until = Instant::now() + RESTARTS;
    let mut open = BTreeMap::new();
    loop {
        let is_open = |unit: &&Unit| {
            let stage = judging::stage(unit);
            waits(unit) || stage.is_some() && open.get(&unit.name) != Some(&stage)
        };
        let still = manager.units.iter().filter(is_open);
        open = still.map(|unit| (unit.name.clone(), judging::stage(unit))).collect();
        if open.is_empty() || Instant::now() >= until {
            return manager;
        }
        sleep(RESTARTS_INTERVAL).await;
        let Ok(later) = guest.user_manager(ids, wanted, patience).await else { return manager };
        manager = later;
    }
}

/// What there is to see of who lingers and has no session: the manager's units, and what they said.
pub(super) async fn linger(
    guest: &Guest,
    expectations: &Expectations,
    account: &Account,
    patience: Duration,
) -> Desktop {
    let why = Way::None("nobody is to be logged in".to_owned());
    let mut seen = Desktop { user: Some(account.name.clone()), way: why, ..Desktop::default() };
    let ids = (account.uid, account.gid);
    let wanted: BTreeSet<String> = judging::promised_units(expectations, &account.name).into_keys().collect();
    match guest.user_manager(ids, &wanted, patience).await {
        Ok(manager) => {
            seen.manager = Some(followed(guest, ids, &wanted, patience, manager, judging::is_starting).await);
        }
        Err(error) => drop(seen.gaps.insert("user-units".to_owned(), error.to_string())),
    }
    match guest.desktop_journal(&[], &BTreeSet::from([account.uid]), patience).await {
        Ok(lines) => seen.journal = lines,
        Err(error) => drop(seen.gaps.insert("desktop-journal".to_owned(), error.to_string())),
    }
    seen
}

/// A virtual terminal that no session has.
fn free_terminal(moment: Option<&Moment>) -> u32 {
    let vts: BTreeSet<u32> = moment.into_iter().flat_map(|moment| &moment.sessions).map(|session| session.vt).collect();
    (8..=12).find(|vt| !vts.contains(vt)).unwrap_or(8)
}

/// How wide the widest change is that is not `noise`; where it lies on some, how much wider than that it is.
fn typed_width(areas: &[Rect], noise: &[Rect]) -> u32 {
    let touch = |one: &Rect, other: &Rect| {
        one.x < other.x + other.width
            && other.x < one.x + one.width
            && one.y < other.y + other.height
            && other.y < one.y + one.height
    };
    let beyond = |area: &Rect| {
        let most = noise.iter().filter(|other| touch(area, other)).map(|other| other.width).max().unwrap_or(0);
        area.width.saturating_sub(most)
    };
    areas.iter().map(beyond).max().unwrap_or(0)
}

/// A program whose window is opened.
struct Program {
    name: &'static str,
    /// What has it run `$c` with `$m` in a shell, or show itself.
    arguments: &'static str,
    terminal: bool,
    wayland_only: bool,
}

const fn terminal(name: &'static str, arguments: &'static str) -> Program {
    Program { name, arguments, terminal: true, wayland_only: false }
}

const fn shows(name: &'static str, arguments: &'static str) -> Program {
    Program { name, arguments, terminal: false, wayland_only: false }
}

/// Those that start fastest first, those that need OpenGL last.
const PROGRAMS: [Program; 23] = [
    Program { wayland_only: true, ..terminal("foot", "sh -c \"$c\" \"$m\"") },
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
    Program { wayland_only: true, ..shows("swaynag", "-m nixbox") },
    shows("xmessage", "-center nixbox"),
    shows("xclock", ""),
    shows("zenity", "--info --text=nixbox"),
    shows("kdialog", "--msgbox nixbox"),
    shows("mousepad", ""),
    shows("gnome-text-editor", ""),
    shows("gnome-calculator", ""),
];

/// Shell text that sets what a program needs to find the display.
fn environment(session: &Moment, server: &Process) -> String {
    let mut text = String::new();
    let mut set = |name: &str, value: &str| text.push_str(&format!("export {name}={}\n", quoted(value)));
    let of_session = |name: &str| {
        session
            .processes
            .iter()
            .filter(|process| process.uid == server.uid || server.uid == 0)
            .find_map(|process| process.variable(name))
    };
    if let Some(display) = server.wayland() {
        set("WAYLAND_DISPLAY", display);
    }
    // With X beside Wayland there are programs that take the wrong one.
    if server.wayland().is_none() {
        if let Some(display) = server.x11() {
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

/// Starts an X server on this terminal and the session in it, as `startx` would: with the settings of the display
/// manager's own server, where one was seen, and by the wrapper that a display manager would start it by, which starts
/// what belongs to a graphical session.
fn x11_command(exec: &str, vt: u32, server: Option<&Process>, wrapper: Option<&str>) -> String {
    let words: Vec<&str> = server.map(|process| process.command.split_ascii_whitespace().collect()).unwrap_or_default();
    let program = words.first().copied().filter(|word| word.starts_with('/')).unwrap_or("X");
    let mut arguments = String::new();
    for pair in words.windows(2) {
        if matches!(pair[0], "-config" | "-xkbdir" | "-configdir" | "-modulepath") {
            arguments.push_str(&format!(" {} {}", pair[0], quoted(pair[1])));
        }
    }
    let session = match wrapper.map(quoted) {
        // Where no display manager refers to it, it is no part of the system.
        Some(wrapper) => format!("if [ -x {wrapper} ]; then {wrapper} {exec}; else {exec}; fi"),
        None => exec.to_owned(),
    };
    format!(
        "f=$XDG_RUNTIME_DIR/nixbox-display; rm -f \"$f\"; mkfifo \"$f\"\n\
         {} -displayfd 3 vt{vt} -keeptty -noreset -nolisten tcp{arguments} 3>\"$f\" &\n\
         x=$!; read -r n <\"$f\"; rm -f \"$f\"; export DISPLAY=\":$n\"\n{session}\ns=$?; kill $x; exit $s",
        quoted(program)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_is_named_once() {
        let names: BTreeSet<&str> = PROGRAMS.iter().map(|program| program.name).collect();
        assert_eq!(names.len(), PROGRAMS.len());
        assert!(PROGRAMS.iter().all(|program| !program.terminal || program.arguments.contains("\"$m\"")));
    }

    #[test]
    fn a_clock_is_no_answer() {
        let rect = |x, y, width| Rect { x, y, width, height: 20 };
        let (clock, caret) = (rect(1200, 0, 40), rect(0, 30, 8));
        assert_eq!(typed_width(&[clock], &[clock]), 0);
        assert_eq!(typed_width(&[clock, rect(0, 30, 56)], &[clock, caret]), 48);
        assert_eq!(typed_width(&[], &[clock]), 0);
    }

    #[test]
    fn an_x_session_takes_the_display_managers_settings() {
        let server = Process {
            command: "/nix/store/x/bin/X :0 -config /etc/xserver.conf -auth /run/a vt7".to_owned(),
            ..Process::default()
        };
        let command = x11_command("xfce4-session", 8, Some(&server), None);
        assert!(
            command.contains("/nix/store/x/bin/X") && command.contains("-config '/etc/xserver.conf'")
                || command.contains("-config /etc/xserver.conf"),
            "{command}"
        );
        assert!(command.contains("vt8") && !command.contains("-auth"), "{command}");
        assert!(x11_command("twm", 9, None, None).contains("vt9"));
        let wrapped = x11_command("twm -q", 9, None, Some("/nix/store/x-xsession-wrapper"));
        assert!(wrapped.contains("then '/nix/store/x-xsession-wrapper' twm -q; else twm -q; fi\ns=$?"), "{wrapped}");
    }
}
