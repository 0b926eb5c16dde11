//! `services.ports`: whether something listens on each expected port.

use std::collections::BTreeSet;

use crate::guest::facts::{Listener, Unit};
use crate::judging::plan::BY_SETTINGS;
use crate::judging::unit::{self, FailureCause, is_active, is_auto_restart};
use crate::judging::{ExpectedPort, Finding, JudgeContext, Judgement, conclude, sandbox, text};
use crate::model::{CheckId, CheckResult, Excuse, NotTested, Protocol, Status};
use crate::nix::expectations::InferredPort;

/// The unit that an option's service usually is.
pub(super) fn unit_behind(option: &str) -> String {
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

pub(super) fn listens(listeners: &[Listener], protocol: Protocol, port: u16) -> bool {
    listeners.iter().any(|listener| listener.protocol == protocol && listener.port == port)
}

/// Over any protocol.
pub(super) fn listens_at_all(listeners: &[Listener], port: u16) -> bool {
    listeners.iter().any(|listener| listener.port == port)
}

/// What a port on which nothing listens comes to.
enum Silent {
    /// The sandbox explains it.
    Excluded(Excuse),
    /// Its unit failed, which is reported already.
    UnitFailed,
    Wrong(Finding),
}

pub(super) fn judge(cx: &JudgeContext<'_>, out: &mut Judgement) {
    let id = CheckId::ServicesPorts;
    if !cx.is_planned(id) {
        return;
    }
    if let Some(unknown) = cx.unknown(id, &["listeners"]) {
        out.results.push(unknown);
        return;
    }
    let mut fails = Vec::new();
    let mut failed_units = Vec::new();
    for port in cx.plan.ports.iter().filter(|port| !listens(&cx.now.listeners, port.protocol, port.port)) {
        let unit = unit_behind(&port.by);
        match silent(cx, port, &unit, &out.not_tested) {
            Silent::Excluded(why) => {
                let words = format!("{unit} {why}");
                out.exclude(&format!("port {port}"), why.in_words(words));
            }
            Silent::UnitFailed => failed_units.push(format!("{port} ({unit})")),
            Silent::Wrong(finding) => fails.push(finding),
        }
    }
    if fails.is_empty() && !failed_units.is_empty() {
        let why = format!("not applicable, their services failed: {}", text::list(&failed_units));
        out.results.push(CheckResult::new(id, Status::Skip, why));
        return;
    }
    let count = cx.plan.ports.len();
    let mut warns: Vec<Finding> = cx.plan.inferred_ports.iter().filter_map(|port| inferred(cx, port)).collect();
    let unused = unused(cx);
    // A desktop's programs may listen when they are started.
    if cx.plan.expectations.desktop.is_none() {
        warns.extend(unused.first().map(|_| not_listened_on(cx, &unused)));
    }
    let mut result = conclude(cx, id, fails, warns, || match count {
        0 => "something is listening on the ports that are open or named".to_owned(),
        1 => "something is listening on the expected port".to_owned(),
        many => format!("something is listening on all {many} expected ports"),
    });
    let udp = cx.plan.expectations.open_udp.iter().filter(|port| !listens(&cx.now.listeners, Protocol::Udp, **port));
    let told: Vec<String> =
        unused.iter().map(|port| format!("{port}/tcp")).chain(udp.map(|port| format!("{port}/udp"))).collect();
    if !told.is_empty() {
        result.detail.push(format!("open in the firewall, with nothing listening: {}", text::list(&told)));
    }
    out.results.push(result);
}

/// Ports that are open for TCP with nothing listening.
fn unused(cx: &JudgeContext<'_>) -> Vec<u16> {
    let open = cx.plan.expectations.open_tcp.iter().copied();
    open.filter(|port| !listens(&cx.now.listeners, Protocol::Tcp, *port)).collect()
}

fn not_listened_on(cx: &JudgeContext<'_>, ports: &[u16]) -> Finding {
    let named: Vec<String> = ports.iter().map(|port| format!("{port}/tcp")).collect();
    let off = if cx.plan.expectations.firewall == Some(false) { " (the firewall itself is off)" } else { "" };
    let option = "networking.firewall.allowedTCPPorts";
    Finding::new(&named[0], format!("nothing is listening on {}, which {option} opens{off}", text::list(&named)))
        .evidence("open", ports)
        .time_limit(cx.since_boot())
}

/// A port that the options of a service which runs seem to name.
fn inferred(cx: &JudgeContext<'_>, port: &InferredPort) -> Option<Finding> {
    let unit = cx.unit(&port.unit).filter(|unit| is_active(unit))?;
    let waits = || sandbox::waits_for_outside(cx.plan, cx.now, cx.traffic, &unit.name).is_some();
    if listens_at_all(&cx.now.listeners, port.port) || waits() {
        return None;
    }
    let what = format!(
        "nothing is listening on {}, which {} seems to name as its port; {} is {} ({})",
        port.port, port.option, unit.name, unit.active_state, unit.sub_state
    );
    Some(
        Finding::new(format!("{}/{}", port.port, port.protocol), what)
            .evidence("port", port.port)
            .time_limit(cx.since_boot())
            .detail(unit::tail(cx.now, &port.unit, 4)),
    )
}

fn silent(cx: &JudgeContext<'_>, port: &ExpectedPort, unit_name: &str, not_tested: &[NotTested]) -> Silent {
    let unit = cx.unit(unit_name);
    if port.by != BY_SETTINGS {
        // It failed, fails again and again, or is up and waits, all because of the sandbox.
        let cause = cx.failure_causes.get(unit_name);
        let excuse = match (cause, unit) {
            (Some(FailureCause::Sandbox(why)), _) => Some(why.clone()),
            (_, Some(unit)) if is_auto_restart(unit) => sandbox::excuse(cx, unit),
            (_, Some(unit)) if is_active(unit) => sandbox::waits_for_outside(cx.plan, cx.now, cx.traffic, &unit.name),
            // It was not started, for what the VM lacks.
            _ => not_tested.iter().find(|entry| entry.what == unit_name).map(NotTested::excuse),
        };
        if let Some(why) = excuse {
            return Silent::Excluded(why);
        }
        if cause.is_some() && cx.is_planned(CheckId::ServicesFailedUnits) {
            return Silent::UnitFailed;
        }
    }
    let state = unit.map_or_else(String::new, |unit| {
        let instead = listens_instead(cx, unit).map_or_else(String::new, |ports| format!(", listening on {ports}"));
        format!("; {} is {} ({}){instead}", unit.name, unit.active_state, unit.sub_state)
    });
    let summary = format!("nothing is listening on {port} (expected by {}){state}", port.by);
    let finding = Finding::new(port.to_string(), summary)
        .evidence("port", port.port)
        .evidence("protocol", port.protocol.name())
        .time_limit(cx.since_boot())
        .detail(unit::tail(cx.now, unit_name, 4));
    Silent::Wrong(match unit.and_then(|unit| cx.not_restarted(unit)) {
        Some(hint) => finding.hint(hint),
        None => finding,
    })
}

/// The ports on which a unit's program listens, where it is called as the unit is.
fn listens_instead(cx: &JudgeContext<'_>, unit: &Unit) -> Option<String> {
    let stem = unit.name.strip_suffix(".service").filter(|_| is_active(unit))?;
    let own = cx.now.listeners.iter().filter(|listener| listener.process == stem);
    let ports: BTreeSet<String> = own.map(|listener| format!("{}/{}", listener.port, listener.protocol)).collect();
    let ports: Vec<String> = ports.into_iter().collect();
    (!ports.is_empty()).then(|| text::list(&ports))
}

#[cfg(test)]
mod tests;
