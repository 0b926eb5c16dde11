//! `services.*`: what failed, what was expected and is not there, what does not stay.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use super::plan::BY_SETTINGS;
use super::unit::{
    self, FailureCause, Skipped, dropped, ended_well, is_active, is_auto_restart, is_called_for, is_failed, is_refused,
    pattern, said_by_manager,
};
use super::{Finding, Judgement, Plan, View, conclude, contention, sandbox, text};
use crate::desktop;
use crate::guest::facts::{Listener, Service, Unit};
use crate::guest::own_port;
use crate::model::{CheckId, CheckResult, Status};

pub(super) fn judge(view: &View<'_>, out: &mut Judgement) {
    if view.gap("units").is_some() {
        for id in [
            CheckId::ServicesFailedUnits,
            CheckId::ServicesPromised,
            CheckId::ServicesSettled,
            CheckId::ServicesRestartLoop,
        ] {
            out.results.extend(view.unknown(id, &["units"]));
        }
    } else {
        let verdicts = standings(view);
        failed_units(view, &verdicts, out);
        expected(view, &verdicts, out);
        settled(view, &verdicts, out);
        restart_loop(view, out);
    }
    ports(view, out);
    journal(view, out);
}

/// What a expected unit's state amounts to.
#[derive(Debug, Clone)]
enum Standing {
    /// Active, or rightly not.
    Right,
    /// Told by another check (`failed` state, restart loop).
    Elsewhere,
    /// Nothing asked for it: its target was not reached.
    NotAskedFor,
    /// The sandbox, or the VM's fresh disk, explains it.
    Aside(String),
    /// Not there because of this unit.
    Because(String),
    /// Not as expected.
    Missing(Finding),
    /// Was active and is not any more.
    Unsettled(Finding),
    /// Ended with success where staying would be usual.
    Ended(Finding),
}

/// The standing of every unit that the configuration, `nixbox.toml` or (without a configuration) the guest expectations.
fn standings<'a>(view: &View<'a>) -> BTreeMap<&'a str, Standing> {
    let mut all = BTreeMap::new();
    for name in &view.plan.units {
        if view.plan.is_own(name) || view.plan.is_expected(name) {
            all.insert(name.as_str(), standing(view, name));
        }
    }
    let in_cycles: BTreeSet<&str> = dropped(view.now).map(|(unit, _)| unit).collect();
    for unit in &view.now.units {
        if all.contains_key(unit.name.as_str()) {
            continue;
        }
        // What systemd refused to load, or dropped, fails whoever wants it; without a configuration, what is enabled is
        // expected.
        let refused = is_refused(unit) || in_cycles.contains(unit.name.as_str());
        let refused = refused && is_called_for(view.now, &unit.wanted_by);
        let enabled = !view.plan.expectations.known
            && matches!(unit.unit_file_state.as_str(), "enabled" | "enabled-runtime")
            && unit.load_state == "loaded"
            && is_called_for(view.now, &unit.wanted_by);
        if refused || enabled {
            all.insert(unit.name.as_str(), standing(view, &unit.name));
        }
    }
    all
}

fn standing(view: &View<'_>, name: &str) -> Standing {
    let facts = view.now;
    let expected = view.plan.is_expected(name);
    let promise = view.plan.expectations.units.get(name);
    let by = if expected { BY_SETTINGS } else { "the configuration" };
    let Some(unit) = view.unit(name) else {
        return match promise {
            Some(promise) if !expected && !is_called_for(facts, &promise.wanted_by) => Standing::NotAskedFor,
            _ => Standing::Missing(
                Finding::new(name, format!("{name} is expected by {by}, and the guest's systemd does not know it"))
                    .evidence("unit", text::clean(name)),
            ),
        };
    };
    if is_active(unit) {
        return Standing::Right;
    }
    if is_failed(unit) {
        return Standing::Elsewhere;
    }
    let asked_for = promise.is_some_and(|promise| is_called_for(facts, &promise.wanted_by))
        || is_called_for(facts, &unit.wanted_by);
    if !expected && !asked_for {
        return Standing::NotAskedFor;
    }
    let missing = |summary: String| {
        Finding::new(name, summary).detail(unit::tail(facts, name, 6)).evidence("unit", text::clean(name))
    };
    match unit.load_state.as_str() {
        "masked" => {
            let at = if unit.fragment_path.is_empty() { String::new() } else { format!(" ({})", unit.fragment_path) };
            return Standing::Missing(missing(format!("{name} is expected by {by} and masked in the guest{at}")));
        }
        "not-found" => {
            return Standing::Missing(missing(format!(
                "{name} is expected by {by}, and the guest's systemd finds no such unit"
            )));
        }
        "bad-setting" | "error" => {
            let said = said_by_manager(facts, name, &REFUSED).map(|line| line.message.clone());
            let why = match (&unit.load_error, said) {
                (Some(error), Some(said)) => format!("{error} ({said})"),
                (Some(error), None) => error.clone(),
                (None, Some(said)) => said,
                (None, None) => format!("load state {}", unit.load_state),
            };
            return Standing::Missing(
                missing(format!("systemd refused to load {name}: {why}"))
                    .hint("a unit that is refused never shows as failed: systemd-analyze verify names the line"),
            );
        }
        _ => {}
    }
    if unit.active_state == "activating" {
        if is_auto_restart(unit) {
            return Standing::Elsewhere;
        }
        return still_starting(view, unit);
    }
    inactive(view, unit, expected, by)
}

static REFUSED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)not absolute|refusing|bad unit file|neither a valid|lacks|missing|invalid|unit configuration|unknown|executable",
    )
});

/// The boot is over, and this one still starts: a while is fine.
fn still_starting(view: &View<'_>, unit: &Unit) -> Standing {
    let since = view.now.now_us.saturating_sub(unit.state_change_us) as f64 / 1e6;
    let most = 90.0 * view.context.scale();
    if unit.state_change_us == 0 || since < most {
        return Standing::Ended(Finding::new(
            &unit.name,
            format!("{} is still starting, {} after it began", unit.name, text::seconds(since)),
        ));
    }
    Standing::Missing(
        Finding::new(&unit.name, format!("{} has been starting for {}", unit.name, text::seconds(since)))
            .detail(unit::tail(view.now, &unit.name, 6))
            .ran_out((unit.state_change_us, view.now.now_us)),
    )
}

fn inactive(view: &View<'_>, unit: &Unit, expected: bool, by: &str) -> Standing {
    let facts = view.now;
    let name = unit.name.as_str();
    let finding = |summary: String| {
        Finding::new(name, summary).detail(unit::tail(facts, name, 6)).evidence("unit", text::clean(name))
    };
    if unit.is_untried()
        && let Some((_, line)) = dropped(facts).find(|(dropped, _)| *dropped == name)
    {
        return Standing::Missing(
            finding(format!("{name} was not started: systemd dropped it to break an ordering cycle"))
                .detail([text::journal(line)]),
        );
    }
    let root = unit::root(facts, name);
    // What nobody asked for left its requirements alone, too.
    let wanted = unit.wanted_by.iter().any(|target| view.unit(target).is_some_and(is_active));
    let idle = !root.ends_with(".device") && facts.unit(root).is_some_and(Unit::is_untried);
    if root != name && (wanted || expected || !idle) {
        return match sandbox::excuse_of_root(view, root) {
            Some(why) if !expected => Standing::Aside(format!("needs {root}: {why}")),
            _ if facts.unit(root).is_some_and(|unit| is_failed(unit) || is_refused(unit)) => {
                Standing::Because(root.to_owned())
            }
            _ if idle => Standing::Missing(finding(format!(
                "{name} was not started: it needs {root}, which was not started either"
            ))),
            _ => Standing::Missing(finding(format!("{name} was not started: it needs {root}, which is not there"))),
        };
    }
    let is_oneshot = unit.service.as_ref().is_some_and(|service| service.kind == "oneshot");
    if unit.condition_us > 0 && !unit.condition_result {
        let named = text::list(&unit.failed_conditions);
        if expected {
            return Standing::Missing(finding(format!(
                "{name} is expected by {by} and was skipped: {named} did not hold"
            )));
        }
        return match unit::skipped(&unit.failed_conditions) {
            Skipped::Right => Standing::Right,
            Skipped::Elsewhere(condition) => {
                Standing::Aside(format!("skipped: {condition} did not hold in the VM; the real machine may differ"))
            }
            // Only the configuration's own units: a distribution's come with conditions for every case.
            Skipped::Wrong(condition) if view.plan.is_own(name) => Standing::Missing(
                finding(format!("{name} is expected and was skipped: {condition} does not hold"))
                    .evidence("condition", text::clean(&condition))
                    .hint("the VM has the same of this as the real machine: there it would be skipped too"),
            ),
            Skipped::Wrong(condition) => Standing::Aside(format!("skipped: {condition} did not hold")),
        };
    }
    if unit.result == "exec-condition" {
        return Standing::Aside("skipped by its own ExecCondition=".to_owned());
    }
    let triggers: Vec<&str> = unit.triggered_by.iter().map(String::as_str).collect();
    if !expected && triggers.iter().any(|trigger| view.unit(trigger).is_some_and(is_active)) {
        return Standing::Right;
    }
    if let Some(trigger) =
        triggers.iter().find(|trigger| view.unit(trigger).is_some_and(|it| is_failed(it) || is_refused(it)))
    {
        return Standing::Because((*trigger).to_owned());
    }
    // One that remains has been stopped by somebody.
    let remains = unit.service.as_ref().is_some_and(|service| service.remain_after_exit) && unit.active_exit_us > 0;
    if is_oneshot && ended_well(unit) && !remains {
        return Standing::Right;
    }
    if unit.active_exit_us > 0 || (unit.inactive_enter_us > 0 && unit.active_enter_us > 0) {
        return ended(view, unit, expected);
    }
    if let Some(line) = said_by_manager(facts, name, &ASSERT) {
        return Standing::Missing(finding(format!("{name} was not started: {}", line.message)));
    }
    if ended_well(unit) {
        return Standing::Right;
    }
    let why = if unit.condition_us > 0 {
        "was tried and never became active"
    } else if wanted || expected {
        "was never started"
    } else {
        "was never started: nothing in the guest asks for it"
    };
    Standing::Missing(finding(format!("{name} is expected by {by} and {why}")))
}

static ASSERT: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)assert(ion)?s? failed"));

/// It was active, and ended with success.
///
/// Which service has to stay? Types that say when they are ready (`notify`, `forking`) are daemons. A `simple` one that
/// ends with 0 is often a script whose author left out `Type=oneshot`: a warning. `dbus` ones come back when they are
/// called. Who was killed by a signal, though it counts as clean, did not mean to end. What `nixbox.toml` expects has
/// to be there.
fn ended(view: &View<'_>, unit: &Unit, expected: bool) -> Standing {
    let name = unit.name.as_str();
    let lived = unit.active_exit_us.max(unit.inactive_enter_us).saturating_sub(unit.active_enter_us);
    let after = text::micros(lived);
    let Some(service) = &unit.service else {
        let summary = format!("{name} was active for {after} and is not any more");
        return if expected || !name.ends_with(".target") {
            Standing::Unsettled(Finding::new(name, summary).detail(unit::tail(view.now, name, 6)))
        } else {
            Standing::Ended(Finding::new(name, summary))
        };
    };
    let how = match service.exit_kind {
        _ if service.remain_after_exit => "was stopped".to_owned(),
        2 | 3 => format!("was ended by {}", unit::signal_name(service.exit_status)),
        _ => format!("ended with exit code {}", service.exit_status),
    };
    let finding =
        Finding::new(name, format!("{name} {how} {after} after it became active, and is not running any more"))
            .detail(unit::tail(view.now, name, 6))
            .evidence("unit", text::clean(name))
            .evidence("active_s", lived as f64 / 1e6);
    let daemon = matches!(service.kind.as_str(), "notify" | "notify-reload" | "forking")
        || service.restart == "always"
        || service.exit_kind >= 2
        || service.exit_status != 0;
    if expected || daemon {
        Standing::Unsettled(finding)
    } else if service.remain_after_exit {
        Standing::Ended(finding.hint("look for who stops it: Conflicts=, BindsTo= or PartOf=, or a systemctl stop"))
    } else {
        Standing::Ended(
            finding.hint("Type=oneshot says that it is meant to end; units = [...] in nixbox.toml that it is not"),
        )
    }
}

fn failed_units(view: &View<'_>, standings: &BTreeMap<&str, Standing>, out: &mut Judgement) {
    let id = CheckId::ServicesFailedUnits;
    // Who did not start or failed because of whom.
    let mut knock_on: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, fault) in &view.faults {
        if let FailureCause::Because(root) = fault {
            knock_on.entry(root).or_default().insert(name);
        }
    }
    for (name, standing) in standings {
        if let Standing::Because(root) = standing {
            knock_on.entry(root).or_default().insert(name);
        }
    }
    let mut roots: Vec<(&Unit, &FailureCause)> = view
        .faults
        .iter()
        .filter_map(|(name, fault)| Some((view.unit(name)?, fault)))
        .filter(|(_, fault)| match fault {
            FailureCause::Own => true,
            // A root that did not fail (it is not there) is nobody else's to tell.
            FailureCause::Because(root) => !view.faults.contains_key(root.as_str()),
            _ => false,
        })
        .collect();
    // Who takes most others with it comes first, then who failed first.
    roots.sort_by_key(|(unit, _)| {
        let others = knock_on.get(unit.name.as_str()).map_or(0, BTreeSet::len);
        (std::cmp::Reverse(others), unit.state_change_us)
    });
    let mut fails = Vec::new();
    for (unit, fault) in roots {
        let name = unit.name.as_str();
        let mut summary = format!("{name} failed: {}", unit::ending(view.now, unit));
        if sandbox::two_managers(view, unit) {
            summary = format!(
                "{name} failed: systemd-networkd and NetworkManager are both on, and NetworkManager runs the link that \
                 networkd waits for"
            );
        } else if let FailureCause::Because(root) = fault {
            summary = format!("{name} failed: it needs {root}, which is not there");
        }
        let mut finding = Finding::new(name, summary)
            .detail(unit::tail(view.now, name, 8))
            .evidence("unit", text::clean(name))
            .evidence("result", text::clean(&unit.result))
            .ran_out(contention::limit(view.now, unit))
            .emulated(contention::was_emulated(view, unit));
        if let Some(service) = &unit.service {
            finding = finding.evidence("exit_status", service.exit_status);
        }
        if let Some(others) = knock_on.get(name) {
            let others: Vec<&str> = others.iter().copied().collect();
            finding = finding.detail([format!("because of it, not started: {}", text::list(&others))]);
        }
        fails.push(finding);
    }
    let mut set_aside = 0;
    for (name, fault) in &view.faults {
        if let FailureCause::Sandbox(why) = fault {
            set_aside += 1;
            out.exclude(name, why.as_str());
        }
    }
    // Without the journal there is no evidence for the sandbox's part, nor against it.
    let result = match view.unknown(id, &["journal"]).filter(|_| !fails.is_empty()) {
        Some(mut unknown) => {
            unknown.summary = format!("{}; {}", fails[0].summary, unknown.summary);
            unknown
        }
        None => conclude(view, id, fails, Vec::new(), || match set_aside {
            0 => "no unit failed".to_owned(),
            1 => "no unit failed but for one that the sandbox explains".to_owned(),
            many => format!("no unit failed but for {many} that the sandbox explains"),
        }),
    };
    out.results.push(result);
}

fn expected(view: &View<'_>, standings: &BTreeMap<&str, Standing>, out: &mut Judgement) {
    let id = CheckId::ServicesPromised;
    let mut fails = Vec::new();
    let mut right = 0;
    let mut aside = 0;
    for (name, standing) in standings {
        match standing {
            Standing::Right | Standing::Ended(_) | Standing::Unsettled(_) => right += 1,
            Standing::Aside(why) => {
                aside += 1;
                out.exclude(name, why.as_str());
            }
            Standing::Missing(finding) => fails.push(finding.clone()),
            // Told with its root, unless nobody tells that.
            Standing::Because(root) => {
                let told = view.wants(CheckId::ServicesFailedUnits) && view.faults.contains_key(root.as_str());
                let here = standings.get(root.as_str()).is_some_and(|root| matches!(root, Standing::Missing(_)));
                if !told && !here {
                    fails.push(Finding::new(*name, format!("{name} was not started: it needs {root}, which failed")));
                }
            }
            Standing::Elsewhere => {
                // Somebody has to tell it: here, when the check that would was left out.
                let failed = view.unit(name).is_some_and(is_failed);
                let told = view.wants(if failed { CheckId::ServicesFailedUnits } else { CheckId::ServicesRestartLoop });
                let excused = matches!(view.faults.get(name), Some(FailureCause::Sandbox(_)));
                if !told && !excused {
                    fails.push(Finding::new(*name, format!("{name} is not active")));
                }
            }
            Standing::NotAskedFor => {}
        }
    }
    // What was refused explains what only needs it.
    fails.sort_by_key(|finding| view.unit(&finding.item).is_none_or(|unit| !is_refused(unit)));
    let result = conclude(view, id, fails, Vec::new(), || {
        let aside = if aside > 0 { format!(", {aside} set aside") } else { String::new() };
        match (standings.is_empty(), view.plan.expectations.known) {
            (true, false) => "no configuration to read expectations from".to_owned(),
            (true, true) => "no unit is expected".to_owned(),
            _ => format!("{right} expected units are as they should be{aside}"),
        }
    });
    out.results.push(result);
}

fn settled(view: &View<'_>, standings: &BTreeMap<&str, Standing>, out: &mut Judgement) {
    let id = CheckId::ServicesSettled;
    let mut fails = Vec::new();
    let mut warns = Vec::new();
    let mut stay = 0;
    for standing in standings.values() {
        match standing {
            Standing::Unsettled(finding) => fails.push(finding.clone()),
            Standing::Ended(finding) => warns.push(finding.clone()),
            Standing::Right => stay += 1,
            _ => {}
        }
    }
    let settle = text::seconds(view.plan.settings.settle.as_secs_f64());
    out.results.push(conclude(view, id, fails, warns, || match stay {
        0 => "no expected unit runs".to_owned(),
        _ => format!("what became active is still so, at least {settle} later"),
    }));
}

/// Whether it ended with success, as far as it ended.
fn is_clean(unit: &Unit, service: &Service) -> bool {
    service.exit_status == 0 && service.exit_kind <= 1 && matches!(unit.result.as_str(), "" | "success")
}

/// The longest `RestartSec=` that is waited for.
const RESTARTS_WITHIN_US: u64 = 30_000_000;

/// How long until it may show whether a service that failed only once gets up at its second try, in µs: one that the
/// database was not ready for does. `None`: it is not so, or it shows by now.
pub(super) fn second_try(unit: &Unit, now_us: u64, settle_us: u64) -> Option<u64> {
    let service = unit.service.as_ref()?;
    let left = |of: u64, since: u64| of.saturating_sub(now_us.saturating_sub(since));
    match (service.restarts, is_auto_restart(unit)) {
        (0, true) if service.restart_us <= RESTARTS_WITHIN_US && !is_clean(unit, service) => {
            Some(left(service.restart_us, unit.state_change_us).saturating_add(settle_us))
        }
        (1, false) if unit.active_state == "activating" => Some(settle_us),
        (1, false) if is_active(unit) => Some(left(settle_us, unit.active_enter_us)).filter(|us| *us > 0),
        _ => None,
    }
}

/// When a service that is being started again, and was never up, ran out of time at its start: the span of that try.
fn timed_out_at_start(view: &View<'_>, unit: &Unit) -> Option<(u64, u64)> {
    if unit.active_enter_us > 0 {
        return None;
    }
    // The latest first.
    let mut said = view.now.journal.iter().rev().filter(|line| line.pid == 1 && line.unit == unit.name);
    let to = said.find(|line| line.message.contains(": start operation timed out"))?.at_us;
    let begun = said.find(|line| line.message.starts_with("Starting "));
    Some(begun.map_or_else(|| contention::usual(to), |line| (line.at_us, to)))
}

fn restart_loop(view: &View<'_>, out: &mut Judgement) {
    let id = CheckId::ServicesRestartLoop;
    let settle_us = u64::try_from(view.plan.settings.settle.as_micros()).unwrap_or(u64::MAX);
    let mut fails = Vec::new();
    let mut warns = Vec::new();
    for unit in &view.now.units {
        let Some(service) = &unit.service else { continue };
        if is_failed(unit) || desktop::explains_restarts(view, &unit.name) {
            continue;
        }
        let before = view.first.unit(&unit.name).and_then(|unit| unit.service.as_ref()).map_or(0, |s| s.restarts);
        let grew = service.restarts > before;
        let waits = is_auto_restart(unit);
        let tries = unit.active_state == "activating" && !waits;
        let late = if tries && service.restarts > 0 { timed_out_at_start(view, unit) } else { None };
        // Who tries again has not failed again yet.
        let clean = !tries && is_clean(unit, service);
        let age = view.now.now_us.saturating_sub(unit.active_enter_us);
        let young = !is_active(unit) || age < settle_us;
        let again = service.restarts > 1;
        // A clean exit followed by one long pause is somebody's timer; one that comes again and again is a loop. One
        // restart may help.
        let loops = (waits && !clean)
            || (again && young && (grew || (tries && unit.active_enter_us == 0)))
            || (waits && service.restarts >= 3)
            || late.is_some();
        if !loops {
            if service.restarts > 0 && (tries || is_active(unit)) {
                let times = text::times(service.restarts);
                let and = if tries { "and is still starting" } else { "before it stayed up" };
                warns.push(
                    Finding::new(&unit.name, format!("{} was restarted {times} {and}", unit.name))
                        .detail(unit::tail(view.now, &unit.name, 4)),
                );
            } else if waits {
                warns.push(Finding::new(
                    &unit.name,
                    format!("{} ended with success and will be started again", unit.name),
                ));
            }
            continue;
        }
        if !clean && let Some(why) = sandbox::excuse(view, unit) {
            out.exclude(&unit.name, why);
            continue;
        }
        let span = view.now.now_us.saturating_sub(view.first.now_us);
        let pace = if grew && span > 0 {
            format!(", {} of them in the last {}", service.restarts - before, text::micros(span))
        } else {
            String::new()
        };
        let how = if clean {
            "ends with success and is started again".to_owned()
        } else if late.is_some() {
            format!("timed out while it started, was never up and is started again ({})", unit::ending(view.now, unit))
        } else {
            format!("fails and is started again ({})", unit::ending(view.now, unit))
        };
        let times = match service.restarts {
            0 => "about to be restarted".to_owned(),
            many => format!("restarted {}", text::times(many)),
        };
        let limit = late.or_else(|| contention::limit(view.now, unit));
        // The last try is all that is known of how much it works.
        let emulated = late.and_then(|_| contention::kept_busy(view, unit, (unit.condition_us, view.now.now_us)));
        fails.push(
            Finding::new(&unit.name, format!("{} {how}: {times}{pace}", unit.name))
                .detail(unit::tail(view.now, &unit.name, 8))
                .evidence("unit", text::clean(&unit.name))
                .evidence("restarts", service.restarts)
                .evidence("clean_exit", clean)
                .ran_out(limit)
                .emulated(emulated),
        );
    }
    out.results.push(conclude(view, id, fails, warns, || "no service is restarted again and again".to_owned()));
}

/// The unit that an option's service usually is.
fn unit_behind(option: &str) -> String {
    let last = option.rsplit('.').next().unwrap_or(option);
    match (option, last) {
        (_, "openssh") => "sshd.service".to_owned(),
        (option, name) if option.starts_with("services.redis.servers") && !name.is_empty() => {
            format!("redis-{name}.service")
        }
        (option, name) if option.contains("prometheus.exporters") => format!("prometheus-{name}-exporter.service"),
        (_, name) => format!("{name}.service"),
    }
}

/// Whether somebody does not listen yet who may come to: a service is up when its program has been started, and many
/// need some time from there to their port.
pub fn port_awaited(plan: &Plan, listeners: &[Listener], units: &[Unit]) -> bool {
    // Scripts ask at ports, too.
    if !plan.has(CheckId::ServicesPorts) && plan.http.is_empty() && plan.scripts.is_empty() {
        return false;
    }
    let listens = |protocol: &str, port| listeners.iter().any(|it| it.protocol == protocol && it.port == port);
    let comes = |by: &str| {
        let unit = units.iter().find(|unit| by != BY_SETTINGS && unit.name == unit_behind(by));
        unit.is_none_or(|unit| is_active(unit) || unit.active_state == "activating" && !is_auto_restart(unit))
    };
    let asked = plan.http.values().filter_map(|request| own_port(&request.url.0));
    plan.ports.iter().any(|port| !listens(&port.protocol, port.port) && comes(&port.by))
        || asked.into_iter().any(|port| !listens("tcp", port))
}

fn ports(view: &View<'_>, out: &mut Judgement) {
    let id = CheckId::ServicesPorts;
    if view.plan.ports.is_empty() {
        return;
    }
    if let Some(unknown) = view.unknown(id, &["listeners"]) {
        out.results.push(unknown);
        return;
    }
    let listens = |protocol: &str, port: u16| {
        view.now.listeners.iter().find(|listener| listener.protocol == protocol && listener.port == port)
    };
    let mut fails = Vec::new();
    let mut because = Vec::new();
    for port in &view.plan.ports {
        if listens(&port.protocol, port.port).is_some() {
            continue;
        }
        let what = format!("{}/{}", port.port, port.protocol);
        let unit = unit_behind(&port.by);
        if port.by != BY_SETTINGS {
            // It failed, fails again and again, or is up and waits, all for the sandbox's sake.
            let fault = view.faults.get(unit.as_str());
            let excuse = match (fault, view.unit(&unit)) {
                (Some(FailureCause::Sandbox(why)), _) => Some(why.clone()),
                (_, Some(unit)) if is_auto_restart(unit) => sandbox::excuse(view, unit),
                (_, Some(unit)) if is_active(unit) => sandbox::waits_for_outside(view.plan, view.now, &unit.name),
                _ => None,
            };
            if let Some(why) = excuse {
                out.exclude(&format!("port {what}"), format!("{unit} {why}"));
                continue;
            }
            // Its failure is told already.
            if fault.is_some() && view.wants(CheckId::ServicesFailedUnits) {
                because.push(format!("{what} ({unit})"));
                continue;
            }
        }
        let state = view
            .unit(&unit)
            .map_or_else(String::new, |unit| format!("; {} is {} ({})", unit.name, unit.active_state, unit.sub_state));
        fails.push(
            Finding::new(&what, format!("nobody listens on {what}, which {} expects{state}", port.by))
                .evidence("port", port.port)
                .evidence("protocol", text::clean(&port.protocol))
                .ran_out(view.asking())
                .detail(unit::tail(view.now, &unit, 4)),
        );
    }
    if fails.is_empty() && !because.is_empty() {
        let why = format!("not judged, their services failed: {}", text::list(&because));
        out.results.push(CheckResult::new(id, Status::Skip, why));
        return;
    }
    let count = view.plan.ports.len();
    let mut result = conclude(view, id, fails, Vec::new(), || match count {
        1 => "the expected port is listened on".to_owned(),
        many => format!("all {many} expected ports are listened on"),
    });
    let open = view.plan.expectations.open_tcp.iter().map(|port| (*port, "tcp"));
    let open = open.chain(view.plan.expectations.open_udp.iter().map(|port| (*port, "udp")));
    let silent: Vec<String> = open
        .filter(|(port, protocol)| listens(protocol, *port).is_none())
        .map(|(port, p)| format!("{port}/{p}"))
        .collect();
    if !silent.is_empty() {
        result.detail.push(format!("open in the firewall with nobody behind: {}", text::list(&silent)));
    }
    out.results.push(result);
}

static NOISE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)plymouth|udev-settle|systemd-udev-settle is deprecated|^(systemd-tmpfiles|kernel|dmesg)$")
});

fn journal(view: &View<'_>, out: &mut Judgement) {
    let id = CheckId::ServicesJournal;
    if let Some(unknown) = view.unknown(id, &["journal"]) {
        out.results.push(unknown);
        return;
    }
    let known = |unit: &str| view.faults.contains_key(unit) || out.not_tested.iter().any(|entry| entry.what == unit);
    let mut lines: Vec<_> = view
        .now
        .journal
        .iter()
        .filter(|line| line.priority <= 3 && line.transport != "kernel" && line.pid != 1)
        .filter(|line| !NOISE.is_match(&line.identifier) && !NOISE.is_match(&line.message) && !known(&line.unit))
        .collect();
    lines.dedup_by(|one, other| one.message == other.message && one.unit == other.unit);
    let warns = match lines.first() {
        None => Vec::new(),
        Some(first) => {
            let who = if first.unit.is_empty() { &first.identifier } else { &first.unit };
            let summary = match lines.len() {
                1 => format!("an error in the journal: {who}: {}", first.message),
                many => format!("{many} errors in the journal, the first: {who}: {}", first.message),
            };
            vec![
                Finding::new(who, summary)
                    .detail(lines.iter().take(8).map(|line| text::journal(line)))
                    .evidence("lines", lines.len()),
            ]
        }
    };
    out.results.push(conclude(view, id, Vec::new(), warns, || "no errors but for what is told above".to_owned()));
}
