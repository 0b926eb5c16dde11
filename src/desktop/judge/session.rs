//! `desktop.session`: the user's graphical session.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use super::view::{DesktopView, Subject};
use super::{Assessment, NO_USER_HINT};
use crate::desktop::compositors::{self, COMPOSITORS};
use crate::desktop::expected::autologin_user;
use crate::desktop::facts::{DesktopState, LoginMethod, WaitEnd};
use crate::desktop::journal::Meaning;
use crate::desktop::session_files::{SessionType, is_missing_session};
use crate::guest::facts::JournalLine;
use crate::guest::logind::Session;
use crate::judging::journal::Means as _;
use crate::judging::{Finding, text};
use crate::model::CheckId;

/// PAM opened a session, whoever else knows of it: service, user.
static PAM_OPENED: LazyLock<Regex> =
    LazyLock::new(|| text::pattern(r"^pam_unix\(([\w-]+):session\): session opened for user ([\w.-]+)"));

impl DesktopView<'_> {
    pub(super) fn session(&self, compositor_fails: bool) -> Assessment {
        if let LoginMethod::NotLoggedIn(why) = &self.facts.login {
            return self.not_logged_in(why);
        }
        if let Some(unknown) = self.unknown(&["logind", "processes"]) {
            return unknown;
        }
        let Some(state) = self.state else { return Assessment::Unknown("the session was not probed".to_owned()) };
        let newest = self.own_sessions.iter().max_by_key(|session| (session.active, session.since_us));
        let Some(session) = newest else { return self.no_session(state, compositor_fails) };
        if let (Some(refusal), None) = (&self.refusal, self.server) {
            return Assessment::refused(refusal);
        }
        let user = text::clean(self.user);
        if !session.active {
            let (vt, shown) = (session.vt, state.vt);
            return self.session_fails(format!("the session of {user} is on vt {vt}, but vt {shown} is shown"));
        }
        if self.server.is_none() {
            let no_display = || Assessment::Unknown(format!("the session of {user} has no display yet"));
            return if compositor_fails { Assessment::see(CheckId::DesktopCompositor) } else { no_display() };
        }
        self.session_kind(session)
    }

    fn session_fails(&self, summary: String) -> Assessment {
        Assessment::fail(Finding::new(self.user, summary).detail(self.evidence()))
    }

    fn not_logged_in(&self, why: &str) -> Assessment {
        if autologin_user(&self.view.plan.expectations).is_some() {
            let finding = Finding::new(self.user, format!("no user is logged in: {why}"));
            return Assessment::fail(finding.detail(self.evidence()).hint(NO_USER_HINT));
        }
        if is_missing_session(why) && self.expected.display_manager.is_none() {
            // As with startx: who logs in on a terminal starts what is meant.
            return Assessment::Skip(format!("not applicable: no display manager starts sessions here, and {why}"));
        }
        if is_missing_session(why) {
            return Assessment::fail(Finding::new("session", format!("no user can log in: {why}")));
        }
        Assessment::Skip(format!("no user was logged in: {why}"))
    }

    fn no_session(&self, state: &DesktopState, compositor_fails: bool) -> Assessment {
        if compositor_fails {
            return Assessment::see(CheckId::DesktopCompositor);
        }
        if let Some(refusal) = &self.refusal {
            return Assessment::refused(refusal);
        }
        let user = text::clean(self.user);
        if let Some(session) = self.last_ended() {
            let last = session.record;
            let lived = text::micros(last.ended_us.unwrap_or_default().saturating_sub(last.began_us));
            let count = self.ended_sessions().len() as u32;
            let events = self.outer_events(&session);
            let (cause, why) = (session.cause(&events), self.why(Subject::Session));
            let own = cause.as_ref().map(|_| why.trim_start_matches(": ").to_owned()).filter(|why| !why.is_empty());
            let why = cause.map_or(why, |cause| format!(": {cause}"));
            let after = match count {
                1 => format!("after {lived}"),
                _ => format!("{}, the last time after {lived}", text::times(count)),
            };
            let summary = format!("the session of {user} ended {after}{why}");
            let events = events.iter().map(|event| text::journal(event.line));
            return Assessment::fail(
                Finding::new(self.user, summary).detail(self.evidence()).detail(own).detail(events),
            );
        }
        if state.end == WaitEnd::Deadline {
            let waited = text::seconds(state.waited);
            return Assessment::Unknown(format!("no session of {user} after {waited}, and the guest is still busy"));
        }
        if let Some(service) = self.opened_without_logind() {
            let summary = format!(
                "systemd-logind was not told of the session of {user}: the PAM service {service} lacks pam_systemd"
            );
            let finding = Finding::new(self.user, summary).detail(self.evidence());
            return Assessment::fail(finding.hint(format!("security.pam.services.{service}.startSession = true;")));
        }
        self.session_fails(format!("there is no session of {user}{}", self.why(Subject::Session)))
    }

    /// The display manager's PAM service that opened a session of the user's of which logind told nothing.
    fn opened_without_logind(&self) -> Option<String> {
        // Those that are no graphical login; that by which nixbox gets in is among them.
        const OTHERS: [&str; 7] = ["login", "systemd-user", "su", "su-l", "sudo", "sshd", "crond"];
        let mut lines = self.facts.journal.iter();
        let service = lines.find_map(|line| {
            let parts = PAM_OPENED.captures(&line.message)?;
            (&parts[2] == self.user && !OTHERS.contains(&&parts[1])).then(|| text::clean(&parts[1]))
        })?;
        let is_end =
            |line: &JournalLine| line.message.starts_with(&format!("pam_unix({service}:session): session closed"));
        let mut told = lines.take_while(|line| !is_end(line));
        let is_began = |line: &JournalLine| {
            Meaning::SessionBegan.parts_of(&line.message).is_some_and(|parts| &parts[2] == self.user)
        };
        (!told.any(is_began)).then_some(service)
    }

    /// Whether an active session is of the expected desktop and type.
    fn session_kind(&self, session: &Session) -> Assessment {
        let user = text::clean(self.user);
        // What greetd starts is a tty's session to logind, unless it says otherwise.
        let session_type = if self.is_without_wayland() { SessionType::X11 } else { SessionType::Wayland };
        let expected = self.expected_desktops();
        if let Some((process, Some(known))) = self.drawing
            && !expected.is_empty()
            && !expected.contains(known.desktop)
            && !self.runs_in(&expected)
        {
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            return self.session_fails(format!(
                "the session of {user} fell back to {} ({session_type}, by {}), expected: {}{}",
                known.desktop,
                text::clean(&process.name),
                text::list(&expected),
                self.why(Subject::Session)
            ));
        }
        if let Some(expected) = self.expected_type(&expected)
            && expected != session_type.name()
        {
            let why = self.why(Subject::Session);
            return self.session_fails(format!("the session of {user} is {session_type}, expected: {expected}{why}"));
        }
        let how = match &self.facts.login {
            LoginMethod::LoggedIn { how, .. } => format!("; {how}"),
            _ => String::new(),
        };
        Assessment::pass(format!(
            "{user} has an active {session_type} session of {} on {}, vt {}{how}",
            self.drawing_name(),
            text::clean(&session.seat),
            session.vt
        ))
    }

    /// Whether one of these desktops runs though another one's compositor draws: not by `XDG_CURRENT_DESKTOP`, which the
    /// login sets, and which a session that falls back inherits.
    fn runs_in(&self, desktops: &BTreeSet<String>) -> bool {
        let shells = COMPOSITORS.iter().filter(|known| desktops.contains(known.desktop)).flat_map(|known| known.shells);
        let shells: BTreeSet<&str> = shells.copied().collect();
        let mut processes = self.state.into_iter().flat_map(|state| &state.processes);
        processes.any(|process| process.uid == self.uid() && shells.contains(process.name.as_str()))
    }

    /// The desktops that the session may be; none where that is not known.
    fn expected_desktops(&self) -> BTreeSet<String> {
        let by_name = |name: &str| -> Option<String> {
            let name = name.to_lowercase();
            let expected = self.expected.desktops.iter().find(|expected| name.contains(&expected.name));
            expected
                .map(|expected| expected.name.clone())
                .or_else(|| compositors::of_program(&name).map(|known| known.desktop.to_owned()))
        };
        let session = match (&self.facts.login, &self.expected.command, &self.expected.default_session) {
            (LoginMethod::LoggedIn { session, .. }, ..) => by_name(session),
            // What greetd starts may be any script.
            (_, Some(command), _) => match compositors::of_command(command) {
                Some(known) => Some(known.desktop.to_owned()),
                None => return BTreeSet::new(),
            },
            (_, None, Some(session)) => by_name(session),
            (_, None, None) => None,
        };
        match session {
            Some(name) => BTreeSet::from([name]),
            None => self.expected.desktops.iter().map(|expected| expected.name.clone()).collect(),
        }
    }

    /// The type that the session has to have, where only one is right.
    fn expected_type(&self, expected: &BTreeSet<String>) -> Option<&str> {
        let name = match (&self.facts.login, &self.expected.default_session) {
            (LoginMethod::LoggedIn { session, .. }, _) => session.as_str(),
            (_, Some(session)) => session,
            _ => "",
        };
        // Sessions of desktops that have both say it in their name: plasmax11, gnome-xorg, xfce-wayland.
        if name.contains("x11") || name.contains("xorg") {
            return Some("x11");
        }
        if name.contains("wayland") {
            return Some("wayland");
        }
        let desktops = self.expected.desktops.iter().filter(|desktop| expected.contains(&desktop.name));
        let types: BTreeSet<Option<&str>> = desktops.map(|desktop| desktop.kind.as_deref()).collect();
        if types.len() == 1 { types.into_iter().next().flatten() } else { None }
    }
}
