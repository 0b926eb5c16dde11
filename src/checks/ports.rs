//! `services.ports`: whether something listens on each expected port.

use super::plan::BY_SETTINGS;
use super::unit::{self, FailureCause, is_active, is_auto_restart};
use super::{ExpectedPort, Finding, JudgeContext, Judgement, conclude, sandbox, text};
use crate::guest::facts::Listener;
use crate::model::{CheckId, CheckResult, Excuse, Protocol, Status};

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
    if cx.plan.ports.is_empty() {
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
        match silent(cx, port, &unit) {
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
    let mut result = conclude(cx, id, fails, Vec::new(), || match count {
        1 => "something is listening on the expected port".to_owned(),
        many => format!("something is listening on all {many} expected ports"),
    });
    let expectations = &cx.plan.expectations;
    let open = expectations.open_tcp.iter().map(|port| (*port, Protocol::Tcp));
    let open = open.chain(expectations.open_udp.iter().map(|port| (*port, Protocol::Udp)));
    let unused: Vec<String> = open
        .filter(|(port, protocol)| !listens(&cx.now.listeners, *protocol, *port))
        .map(|(port, protocol)| format!("{port}/{protocol}"))
        .collect();
    if !unused.is_empty() {
        result.detail.push(format!("open in the firewall, with nothing listening: {}", text::list(&unused)));
    }
    out.results.push(result);
}

fn silent(cx: &JudgeContext<'_>, port: &ExpectedPort, unit_name: &str) -> Silent {
    let unit = cx.unit(unit_name);
    if port.by != BY_SETTINGS {
        // It failed, fails again and again, or is up and waits, all because of the sandbox.
        let cause = cx.failure_causes.get(unit_name);
        let excuse = match (cause, unit) {
            (Some(FailureCause::Sandbox(why)), _) => Some(why.clone()),
            (_, Some(unit)) if is_auto_restart(unit) => sandbox::excuse(cx, unit),
            (_, Some(unit)) if is_active(unit) => sandbox::waits_for_outside(cx.plan, cx.now, cx.traffic, &unit.name),
            _ => None,
        };
        if let Some(why) = excuse {
            return Silent::Excluded(why);
        }
        if cause.is_some() && cx.is_planned(CheckId::ServicesFailedUnits) {
            return Silent::UnitFailed;
        }
    }
    let state =
        unit.map_or_else(String::new, |unit| format!("; {} is {} ({})", unit.name, unit.active_state, unit.sub_state));
    Silent::Wrong(
        Finding::new(port.to_string(), format!("nothing is listening on {port} (expected by {}){state}", port.by))
            .evidence("port", port.port)
            .evidence("protocol", port.protocol.name())
            .time_limit(cx.since_boot())
            .detail(unit::tail(cx.now, unit_name, 4)),
    )
}

#[cfg(test)]
mod tests;
