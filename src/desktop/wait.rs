//! When the wait for a login screen or a session ends. Pure: [`super::drive`] gathers observations and obeys.
//!
//! `READY=1` comes long before a desktop paints, and nothing tells when it has: so the picture is waited for, by how
//! much it changes.

use std::time::Duration;

use super::facts::WaitEnd;
use crate::model::timeouts::desktop::{IDLE, IDLE_PLAIN, QUIET, STEADY};

/// So many ended sessions are a loop.
const LOOP: usize = 3;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// The login screen.
    Greeter {
        /// It is text on a terminal.
        is_text: bool,
        /// It has no session of logind's.
        without_session: bool,
    },
    /// A user's session.
    Session,
}

/// What a wait is for, and how long a picture has to be still.
#[derive(Debug, Clone, Copy)]
pub(super) struct WaitRules {
    pub(super) goal: Goal,
    steady: Duration,
}

impl WaitRules {
    /// `scale`: the accelerator's.
    pub(super) fn new(goal: Goal, scale: f64) -> Self {
        Self { goal, steady: STEADY.mul_f64((scale / 2.0).max(1.0)) }
    }
}

/// What a picture shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PictureKind {
    /// A text console.
    Console,
    /// One colour.
    Flat,
    /// Anything else.
    Painted,
}

/// What is known while waiting.
#[derive(Debug, Clone)]
pub(super) struct Observation {
    /// There is a session of the goal's on a seat: the greeter's or the user's.
    pub(super) has_session: bool,
    /// There was one before.
    pub(super) had_session: bool,
    /// There is a greeter's session on a seat.
    pub(super) has_greeter: bool,
    /// Sessions on a seat that have ended since the wait began.
    pub(super) ended_sessions: usize,
    /// Sessions and processes could be read the last time.
    pub(super) is_complete: bool,
    /// Processes have been read at least once.
    pub(super) has_processes: bool,
    /// Processes were read just now, for this decision.
    pub(super) processes_are_new: bool,
    /// The last time that processes were read is long enough ago.
    pub(super) processes_are_due: bool,
    /// A process serves the user's display.
    pub(super) has_display: bool,
    /// A process that has a graphics card open was stopped.
    pub(super) is_stopped: bool,
    /// What the screen shows, where a picture could be taken.
    pub(super) picture: Option<PictureKind>,
    /// How long the screen has not changed.
    pub(super) still_for: Duration,
    /// How long the guest has been idle.
    pub(super) idle_for: Duration,
    /// The deadline has passed.
    pub(super) is_late: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Read the processes and decide again.
    ReadProcesses,
    KeepWaiting,
    /// The goal is there and its picture is steady.
    Steady,
    GaveUp(GiveUp),
}

/// Why a wait is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GiveUp {
    /// Sessions end again and again.
    SessionLoop,
    /// What draws is stopped: nothing will change.
    Stopped,
    /// The session is over and the login screen is back: an automatic login happens once.
    BackAtLogin,
    /// The guest is idle for longer than any D-Bus call waits.
    Idle,
    /// A session was there and ended, the login screen is there, and the guest is idle.
    IdleAtLogin,
    /// The goal is there and shows nothing, and the guest is idle.
    IdlePlain,
    /// The deadline has passed.
    Deadline,
}

impl Decision {
    /// How the wait ends, if it does.
    pub(super) fn end(self) -> Option<WaitEnd> {
        match self {
            Self::ReadProcesses | Self::KeepWaiting => None,
            Self::Steady => Some(WaitEnd::Steady),
            Self::GaveUp(GiveUp::SessionLoop) => Some(WaitEnd::Loop),
            Self::GaveUp(GiveUp::Deadline) => Some(WaitEnd::Deadline),
            Self::GaveUp(_) => Some(WaitEnd::Idle),
        }
    }
}

/// Decides whether a wait goes on.
pub(super) fn decide(rules: &WaitRules, seen: &Observation) -> Decision {
    if seen.wants_processes(rules) {
        return Decision::ReadProcesses;
    }
    match seen.end(rules) {
        // Sessions and processes have to be known as they are now; a guest that has long done nothing will not tell either.
        Some(end) if seen.is_complete || seen.is_late || seen.idle_for >= IDLE => end,
        _ => Decision::KeepWaiting,
    }
}

impl Observation {
    fn is_there(&self, rules: &WaitRules) -> bool {
        self.has_session || matches!(rules.goal, Goal::Greeter { without_session: true, .. })
    }

    fn serves(&self, rules: &WaitRules) -> bool {
        match rules.goal {
            Goal::Greeter { .. } => self.is_there(rules),
            Goal::Session => self.has_display,
        }
    }

    fn shows(&self, rules: &WaitRules) -> bool {
        let is_text = matches!(rules.goal, Goal::Greeter { is_text: true, .. });
        self.picture.is_some_and(|kind| is_text || kind == PictureKind::Painted)
    }

    /// A picture that is still while the guest works is about to change: a wallpaper is being decoded.
    fn is_quiet(&self, rules: &WaitRules) -> bool {
        self.idle_for >= QUIET || self.still_for >= rules.steady * 10
    }

    fn is_settled(&self, rules: &WaitRules) -> bool {
        self.still_for >= rules.steady && self.is_quiet(rules)
    }

    fn is_looping(&self, rules: &WaitRules) -> bool {
        self.ended_sessions >= LOOP && !(self.is_there(rules) && self.serves(rules))
    }

    /// Whoever is back at the login screen is not logged in a second time.
    fn is_back_at_login(&self, rules: &WaitRules) -> bool {
        self.had_session && !self.is_there(rules) && self.has_greeter && self.is_settled(rules)
    }

    /// Processes are read when there is something to be seen, or nothing any more.
    fn wants_processes(&self, rules: &WaitRules) -> bool {
        let settled = self.is_settled(rules) || self.idle_for >= IDLE_PLAIN;
        let wanted =
            settled && self.processes_are_due || self.is_late || self.is_looping(rules) || self.is_back_at_login(rules);
        wanted && !self.processes_are_new
    }

    fn end(&self, rules: &WaitRules) -> Option<Decision> {
        let there = self.is_there(rules) && self.serves(rules) && self.has_processes;
        if there && self.shows(rules) && self.is_settled(rules) {
            return Some(Decision::Steady);
        }
        // After an automatic login there is a login screen, and no user in front of it.
        let is_over =
            rules.goal == Goal::Session && !self.is_there(rules) && self.ended_sessions > 0 && self.has_greeter;
        let reasons = [
            (self.is_looping(rules), GiveUp::SessionLoop),
            (self.is_stopped, GiveUp::Stopped),
            (self.is_back_at_login(rules), GiveUp::BackAtLogin),
            (self.idle_for >= IDLE, GiveUp::Idle),
            (is_over && self.idle_for >= IDLE_PLAIN, GiveUp::IdleAtLogin),
            (there && self.idle_for >= IDLE_PLAIN && self.still_for >= IDLE_PLAIN, GiveUp::IdlePlain),
            (self.is_late, GiveUp::Deadline),
        ];
        reasons.into_iter().find_map(|(holds, reason)| holds.then_some(Decision::GaveUp(reason)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: WaitRules = WaitRules { goal: Goal::Session, steady: STEADY };
    const GREETER: WaitRules = greeter(false, false);

    const fn greeter(is_text: bool, without_session: bool) -> WaitRules {
        WaitRules { goal: Goal::Greeter { is_text, without_session }, steady: STEADY }
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// All that is waited for is there, and nothing moves.
    fn there() -> Observation {
        Observation {
            has_session: true,
            had_session: true,
            has_greeter: false,
            ended_sessions: 0,
            is_complete: true,
            has_processes: true,
            processes_are_new: true,
            processes_are_due: false,
            has_display: true,
            is_stopped: false,
            picture: Some(PictureKind::Painted),
            still_for: seconds(2),
            idle_for: seconds(2),
            is_late: false,
        }
    }

    /// The guest has just begun.
    fn nothing() -> Observation {
        Observation {
            has_session: false,
            had_session: false,
            has_processes: false,
            processes_are_new: false,
            processes_are_due: true,
            has_display: false,
            picture: None,
            still_for: Duration::ZERO,
            idle_for: Duration::ZERO,
            ..there()
        }
    }

    #[track_caller]
    fn decides(rules: &WaitRules, cases: &[(&str, Observation, Decision)]) {
        for (name, seen, expected) in cases {
            assert_eq!(decide(rules, seen), *expected, "{name}: {seen:?}");
        }
    }

    #[test]
    fn a_session() {
        let flat = Observation { picture: Some(PictureKind::Flat), ..there() };
        let console = Observation { picture: Some(PictureKind::Console), ..there() };
        let gone = Observation { has_session: false, has_display: false, ..there() };
        let at_login = Observation { has_greeter: true, ended_sessions: 1, ..gone.clone() };
        decides(
            &SESSION,
            &[
                ("nothing yet", nothing(), Decision::KeepWaiting),
                ("painted and still", there(), Decision::Steady),
                (
                    "painted and still, the processes not read yet",
                    Observation { has_processes: false, processes_are_new: false, processes_are_due: true, ..there() },
                    Decision::ReadProcesses,
                ),
                ("still moves", Observation { still_for: Duration::ZERO, ..there() }, Decision::KeepWaiting),
                ("still works", Observation { idle_for: Duration::ZERO, ..there() }, Decision::KeepWaiting),
                (
                    "works all the time on a picture that does not change",
                    Observation { idle_for: Duration::ZERO, still_for: seconds(10), ..there() },
                    Decision::Steady,
                ),
                ("no display yet", Observation { has_display: false, ..there() }, Decision::KeepWaiting),
                ("sessions could not be read", Observation { is_complete: false, ..there() }, Decision::KeepWaiting),
                (
                    "they cannot be read, and the guest does nothing any more",
                    Observation { is_complete: false, has_session: false, idle_for: IDLE, ..there() },
                    Decision::GaveUp(GiveUp::Idle),
                ),
                (
                    "they could not be read to the end",
                    Observation { is_complete: false, is_late: true, still_for: Duration::ZERO, ..there() },
                    Decision::GaveUp(GiveUp::Deadline),
                ),
                ("one colour", flat.clone(), Decision::KeepWaiting),
                (
                    "one colour for long",
                    Observation { idle_for: seconds(10), still_for: seconds(10), ..flat.clone() },
                    Decision::GaveUp(GiveUp::IdlePlain),
                ),
                (
                    "a console for long",
                    Observation { idle_for: seconds(10), still_for: seconds(10), ..console },
                    Decision::GaveUp(GiveUp::IdlePlain),
                ),
                (
                    "one colour, and a cursor that blinks",
                    Observation { idle_for: seconds(10), still_for: seconds(3), ..flat },
                    Decision::KeepWaiting,
                ),
                (
                    "nothing, and nothing to do",
                    Observation { idle_for: seconds(29), processes_are_due: false, ..nothing() },
                    Decision::KeepWaiting,
                ),
                (
                    "nothing, and nothing to do for longer than D-Bus waits",
                    Observation { idle_for: seconds(30), processes_are_due: false, ..nothing() },
                    Decision::GaveUp(GiveUp::Idle),
                ),
                (
                    "frozen",
                    Observation { is_stopped: true, still_for: Duration::ZERO, ..there() },
                    Decision::GaveUp(GiveUp::Stopped),
                ),
                ("back at the login screen", at_login.clone(), Decision::GaveUp(GiveUp::BackAtLogin)),
                (
                    "back at the login screen, read first",
                    Observation { processes_are_new: false, ..at_login.clone() },
                    Decision::ReadProcesses,
                ),
                (
                    "a session of which nothing was seen is over",
                    Observation { had_session: false, idle_for: seconds(10), ..at_login },
                    Decision::GaveUp(GiveUp::IdleAtLogin),
                ),
                ("the session is gone, and it may begin anew", gone.clone(), Decision::KeepWaiting),
                (
                    "again and again",
                    Observation { ended_sessions: 3, still_for: Duration::ZERO, ..gone },
                    Decision::GaveUp(GiveUp::SessionLoop),
                ),
                ("up after several tries", Observation { ended_sessions: 3, ..there() }, Decision::Steady),
                ("late, read first", Observation { is_late: true, ..nothing() }, Decision::ReadProcesses),
                (
                    "late",
                    Observation { is_late: true, processes_are_new: true, has_processes: true, ..nothing() },
                    Decision::GaveUp(GiveUp::Deadline),
                ),
            ],
        );
    }

    #[test]
    fn a_login_screen() {
        // No user is logged in: what serves a user's display means nothing.
        let shown = Observation { has_display: false, has_greeter: true, ..there() };
        let text = Observation { picture: Some(PictureKind::Console), ..shown.clone() };
        let of_service = Observation { has_session: false, had_session: false, has_greeter: false, ..text.clone() };
        let loops = Observation { has_session: false, has_greeter: false, ended_sessions: 3, ..shown.clone() };
        decides(
            &GREETER,
            &[
                ("painted", shown, Decision::Steady),
                ("text where a picture is expected", text.clone(), Decision::KeepWaiting),
                ("again and again", loops, Decision::GaveUp(GiveUp::SessionLoop)),
                ("none", of_service.clone(), Decision::KeepWaiting),
            ],
        );
        decides(&greeter(true, false), &[("text", text, Decision::Steady)]);
        decides(
            &greeter(true, true),
            &[
                ("text of a service", of_service.clone(), Decision::Steady),
                ("no picture", Observation { picture: None, ..of_service }, Decision::KeepWaiting),
            ],
        );
    }

    #[test]
    fn how_it_ends() {
        let ends = [
            (Decision::Steady, Some(WaitEnd::Steady)),
            (Decision::KeepWaiting, None),
            (Decision::ReadProcesses, None),
            (Decision::GaveUp(GiveUp::SessionLoop), Some(WaitEnd::Loop)),
            (Decision::GaveUp(GiveUp::BackAtLogin), Some(WaitEnd::Idle)),
            (Decision::GaveUp(GiveUp::Deadline), Some(WaitEnd::Deadline)),
        ];
        for (decision, end) in ends {
            assert_eq!(decision.end(), end);
        }
        // Under emulation a desktop paints in steps that lie further apart.
        let slow = WaitRules::new(Goal::Session, 6.0);
        assert_eq!((slow.steady, WaitRules::new(Goal::Session, 1.0).steady), (seconds(3), STEADY));
    }
}
