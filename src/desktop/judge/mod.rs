//! `desktop.*`: the login screen, the user's session, its compositor, its units, and its picture. Pure.
//!
//! What proves what: logind knows the sessions, `/proc` what holds the screen, the user's systemd the units, the journal
//! why something ended, the picture whether all that comes to anything. A plain picture alone proves nothing (there are
//! desktops of one colour), nor does a live process (it may draw nothing): a window that is opened and appears does.
//!
//! Each cause is reported once: a compositor that crashed is `desktop.compositor`, and that there is no session then is
//! not reported again. Where a compositor does not draw without a GPU, nothing is broken: the VM has none.

mod compositor;
mod greeter;
mod picture;
mod portal;
mod session;
mod user_units;
mod view;

use std::collections::BTreeMap;

use crate::judging::{Finding, JudgeContext, Judgement, conclude};
use crate::model::{CheckId, CheckKind, CheckResult, Excuse, Lack, Status, Witness};
use crate::nix::expectations::ExpectedDesktop;
use view::{DesktopView, Refusal};

use super::display_managers;
use super::expected::{autologin_user, failed_display_manager, missing_user};
use super::facts::{DesktopFacts, DesktopState};
use super::session_end::{GETTYS, is_getty};

/// How often a session, a greeter or a compositor may begin anew before that is a failure.
const RESTARTS: usize = 3;
const NO_USER_HINT: &str = "declare the user, or name another one for the automatic login";

/// What a check comes to, before it is a result.
enum Assessment {
    Findings { fails: Vec<Finding>, warns: Vec<Finding>, pass: String },
    Skip(String),
    Unknown(String),
}

impl Assessment {
    fn fail(finding: Finding) -> Self {
        Self::Findings { fails: vec![finding], warns: Vec::new(), pass: String::new() }
    }

    fn pass(line: String) -> Self {
        Self::Findings { fails: Vec::new(), warns: Vec::new(), pass: line }
    }

    fn refused(refusal: &Refusal) -> Self {
        Self::Skip(format!("not tested: needs {}", refusal.needs()))
    }

    fn see(id: CheckId) -> Self {
        Self::Skip(format!("not judged: see {id}"))
    }

    fn fails(&self) -> bool {
        matches!(self, Self::Findings { fails, .. } if !fails.is_empty())
    }

    fn result(self, view: &JudgeContext<'_>, id: CheckId) -> CheckResult {
        match self {
            Self::Skip(why) => CheckResult::new(id, Status::Skip, why),
            Self::Unknown(why) => CheckResult::new(id, Status::Unknown, why),
            Self::Findings { fails, warns, pass } => conclude(view, id, fails, warns, || pass),
        }
    }
}

/// Judges the desktop, or the units of users who linger where there is none.
pub(crate) fn judge(
    view: &JudgeContext<'_>,
    facts: Option<&DesktopFacts>,
    lingering: &[DesktopFacts],
    out: &mut Judgement,
) {
    exclude_units_of_absent_users(view, facts, out);
    let Some(expected) = &view.plan.expectations.desktop else { return judge_lingering(view, lingering, out) };
    if !CheckId::of_kind(CheckKind::Desktop).any(|id| view.is_planned(id)) {
        return;
    }
    let all = |out: &mut Judgement, status, why: &str| {
        out.results.extend(CheckId::of_kind(CheckKind::Desktop).map(|id| CheckResult::new(id, status, why)));
    };
    // Without accounts everybody seems to be missing, and a guest that does not answer shows nothing.
    if let Some(unknown) = view.unknown(CheckId::DesktopSession, &["accounts"]) {
        return all(out, Status::Unknown, &unknown.summary);
    }
    if let Some(name) = failed_display_manager(view.plan, view.now) {
        all(out, Status::Skip, &format!("{name} failed"));
        // A display manager does not say that its user is missing.
        if let Some(user) = absent_autologin_user(view) {
            let summary = format!("{name} failed, and no user is logged in: {}", missing_user(user));
            let finding = Finding::new(user, summary).hint(NO_USER_HINT);
            out.results.retain(|result| result.id != CheckId::DesktopSession);
            out.results.push(Assessment::fail(finding).result(view, CheckId::DesktopSession));
        }
        return;
    }
    let Some(facts) = facts else { return all(out, Status::Unknown, "the desktop was not probed") };
    judge_desktop(&DesktopView::new(view, expected, facts), out);
}

fn judge_desktop(desktop: &DesktopView<'_>, out: &mut Judgement) {
    let compositor = desktop.compositor();
    let compositor_fails = compositor.fails();
    let session = desktop.session(compositor_fails);
    let no_session = session.fails() && desktop.own_sessions.is_empty();
    // The check that reports why the others have nothing to judge.
    let cause = match (compositor_fails, no_session) {
        (true, _) => Some(CheckId::DesktopCompositor),
        (false, true) => Some(CheckId::DesktopSession),
        (false, false) => None,
    };
    let unless_caused = |assessment: Assessment| match (cause, &desktop.refusal) {
        (Some(id), _) => Assessment::see(id),
        (None, Some(refusal)) => Assessment::refused(refusal),
        (None, None) => assessment,
    };
    if let Some(refusal) = &desktop.refusal {
        out.exclude(&format!("the session of {}", desktop.user), refusal.excuse("its compositor"));
    }
    if let Some(locker) = desktop.locker() {
        let why = format!("{locker} locks the screen: no window shows");
        out.exclude("windows", Excuse::new(Lack::Choice, Witness::state(format!("{locker} runs")), why));
    }
    let compositor = if no_session && !compositor_fails { unless_caused(compositor) } else { compositor };
    let picture = unless_caused(desktop.picture());
    // Units that fail after the compositor is gone fail because of that.
    let is_gone = desktop.server.is_none() && (cause.is_some() || desktop.refusal.is_some());
    let units = if is_gone { unless_caused(Assessment::Skip(String::new())) } else { desktop.units(out) };
    let greeter = desktop.greeter();
    if let (Assessment::Skip(_), Some(refusal)) = (&greeter, desktop.greeter_refusal()) {
        out.exclude("the login screen", refusal.excuse("it"));
    }
    let assessments = [
        (CheckId::DesktopGreeter, greeter),
        (CheckId::DesktopSession, session),
        (CheckId::DesktopCompositor, compositor),
        (CheckId::DesktopUnits, units),
        (CheckId::DesktopPicture, picture),
    ];
    for (id, assessment) in assessments {
        out.results.push(assessment.result(desktop.view, id).took(waited(id, desktop.facts)));
    }
}

/// The units of users who linger.
fn judge_lingering(view: &JudgeContext<'_>, lingering: &[DesktopFacts], out: &mut Judgement) {
    let id = CheckId::DesktopUnits;
    if !view.is_planned(id) {
        return;
    }
    let nothing = ExpectedDesktop::default();
    let (mut fails, mut warns, mut passes) = (Vec::new(), Vec::new(), Vec::new());
    let mut gap = lingering.is_empty().then(|| "no user's units were probed".to_owned());
    for facts in lingering {
        let desktop = DesktopView::new(view, &nothing, facts);
        match (desktop.gap(&["user-units", "desktop-journal"]), desktop.units(out)) {
            (None, Assessment::Findings { fails: theirs, warns: also, pass }) => {
                fails.extend(theirs);
                warns.extend(also);
                passes.push(pass);
            }
            (why, _) => gap = why,
        }
    }
    out.results.push(match gap.filter(|_| fails.is_empty()) {
        Some(gap) => CheckResult::new(id, Status::Unknown, gap),
        None => conclude(view, id, fails, warns, || passes.join("; ")),
    });
}

/// home-manager's units of users who are not logged in and do not linger start when they log in.
fn exclude_units_of_absent_users(view: &JudgeContext<'_>, facts: Option<&DesktopFacts>, out: &mut Judgement) {
    let expectations = &view.plan.expectations;
    let probed = facts.and_then(|facts| facts.user.as_deref());
    let lingering = expectations.lingering_users();
    for (name, units) in expectations.home_units.iter().filter(|_| view.plan.selection.has(CheckId::DesktopUnits)) {
        let is_there = probed == Some(name.as_str()) || lingering.contains(&name.as_str());
        if !is_there && units.iter().any(|(unit, expected)| expected.is_wanted(unit)) {
            let why = format!("they start when {name} logs in, and {name} was not logged in");
            let witness = Witness::state(format!("{name} has no session"));
            out.exclude(&format!("the user units of {name}"), Excuse::new(Lack::Choice, witness, why));
        }
    }
}

/// How long was waited for what this check is about, in seconds.
fn waited(id: CheckId, facts: &DesktopFacts) -> f64 {
    let of = |state: &Option<DesktopState>| state.as_ref().map_or(0.0, |state| state.waited);
    match id {
        CheckId::DesktopGreeter => of(&facts.greeter),
        CheckId::DesktopSession => of(&facts.session),
        CheckId::DesktopUnits => facts.portal.as_ref().map_or(0.0, |portal| portal.seconds),
        CheckId::DesktopPicture => {
            let window = facts.window.as_ref().map_or(0.0, |window| window.seconds);
            window + facts.reactions.iter().map(|reaction| reaction.seconds).sum::<f64>()
        }
        _ => 0.0,
    }
}

/// Whether the desktop's checks explain why a display manager's unit is restarted over and over: it logs a user in
/// automatically and what it starts crashes, or its login screen needs a GPU. Or a getty's, whose login starts what
/// crashes, or needs a GPU.
pub(crate) fn explains_restarts(view: &JudgeContext<'_>, facts: Option<&DesktopFacts>, unit: &str) -> bool {
    let is_getty = is_getty(unit);
    if !is_getty && !display_managers::is_unit(unit) {
        return false;
    }
    let Some(desktop) = expected_desktop(view, facts) else { return false };
    let has_crashed = !desktop.compositor_crashes().is_empty();
    if is_getty {
        let ends = desktop.refusal.is_some() || has_crashed && desktop.compositor().fails();
        return view.is_planned(CheckId::DesktopCompositor) && ends && desktop.is_users_getty(unit);
    }
    let crashes = || autologin_user(&view.plan.expectations).is_some() && has_crashed;
    let refuses = || desktop.greeter_refusal().is_some() && matches!(desktop.greeter(), Assessment::Skip(_));
    view.is_planned(CheckId::DesktopCompositor) && crashes() || view.is_planned(CheckId::DesktopGreeter) && refuses()
}

/// Why display managers and gettys that failed do not speak against the configuration, by unit: what they started needs
/// a GPU, or another one.
pub(crate) fn excuses(view: &JudgeContext<'_>, facts: Option<&DesktopFacts>) -> BTreeMap<&'static str, Excuse> {
    let mut excuses = BTreeMap::new();
    let Some(desktop) = expected_desktop(view, facts) else { return excuses };
    let excuse = |refusal: &Refusal| refusal.excuse("what it starts");
    if let Some(refusal) = desktop.session_refusal() {
        excuses.extend(display_managers::units().map(|unit| (unit, excuse(&refusal))));
    }
    if let Some(refusal) = &desktop.refusal {
        let gettys = GETTYS.into_iter().filter(|unit| desktop.is_users_getty(unit));
        excuses.extend(gettys.map(|unit| (unit, excuse(refusal))));
    }
    excuses
}

fn expected_desktop<'a>(view: &'a JudgeContext<'a>, facts: Option<&'a DesktopFacts>) -> Option<DesktopView<'a>> {
    Some(DesktopView::new(view, view.plan.expectations.desktop.as_ref()?, facts?))
}

/// The user of the automatic login, where there is no such account.
fn absent_autologin_user<'a>(view: &JudgeContext<'a>) -> Option<&'a str> {
    let name = autologin_user(&view.plan.expectations)?;
    let accounts = &view.now.accounts;
    (!accounts.is_empty() && !accounts.iter().any(|account| account.name == name)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desktop::facts::{InputReaction, TestWindow};
    use crate::guest::user_units::PortalProbe;

    #[test]
    fn each_check_takes_as_long_as_its_wait() {
        let state = |waited: f64| Some(DesktopState { waited, ..DesktopState::default() });
        let reaction = InputReaction { seconds: 0.3, ..InputReaction::default() };
        let facts = DesktopFacts {
            session: state(20.0),
            portal: Some(PortalProbe { seconds: 1.0, ..PortalProbe::default() }),
            window: Some(TestWindow { seconds: 2.0, ..TestWindow::default() }),
            reactions: vec![reaction.clone(), reaction],
            ..DesktopFacts::default()
        };
        for id in CheckId::of_kind(CheckKind::Desktop) {
            let seconds = match id {
                CheckId::DesktopSession => 20.0,
                CheckId::DesktopUnits => 1.0,
                CheckId::DesktopPicture => 2.6,
                _ => 0.0,
            };
            assert!((waited(id, &facts) - seconds).abs() < 1e-9, "{id}");
        }
    }
}
