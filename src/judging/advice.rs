//! What to do about a unit that failed, where the evidence has it.

use super::journal::Means as _;
use super::journal_patterns::Meaning;
use super::unit::{is_active, own_lines};
use super::{JudgeContext, sandbox, text};
use crate::guest::facts::Unit;

/// What to do about a failed unit that is not excused.
pub(crate) fn of(cx: &JudgeContext<'_>, unit: &Unit) -> Option<String> {
    port_in_use(cx, unit).or_else(|| sandbox::advice(cx, unit))
}

/// Who holds the port that the unit could not bind.
fn port_in_use(cx: &JudgeContext<'_>, unit: &Unit) -> Option<String> {
    let line = own_lines(&cx.now.journal, &unit.name)
        .into_iter()
        .rev()
        .find_map(|line| Meaning::AddressInUse.parts_of(line.message.lines().next()?))?;
    let port: u16 = line.name("port").or(line.name("late"))?.as_str().parse().ok()?;
    let holder = cx.now.listeners.iter().find(|listener| listener.port == port && !listener.process.is_empty())?;
    let process = holder.process.as_str();
    let runs = |other: &&Unit| {
        let exec = other.service.as_ref().map_or("", |service| service.exec_start.as_str());
        let program = exec.split_whitespace().next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        // The kernel cuts a process's name at 15 bytes.
        !process.is_empty() && program.starts_with(process)
    };
    let mut units = cx.now.units.iter().filter(|other| other.name != unit.name && is_active(other)).filter(runs);
    let by = units.next().map_or_else(String::new, |other| format!(" of {}", other.name));
    Some(text::clean(&format!("{process}{by} listens on port {port} already: give one of them another port")))
}

#[cfg(test)]
mod tests {
    use crate::checks::test_support::{active, failed, guest, line};
    use crate::guest::facts::{Listener, Service};
    use crate::model::{CheckId, Protocol};

    #[test]
    fn who_holds_a_port_is_named() {
        for words in [
            "[emerg] 258#258: bind() to 0.0.0.0:80 failed (98: Address already in use)",
            "Error: listen tcp :80: bind: address already in use",
            "OSError: [Errno 98] error while attempting to bind on address ('0.0.0.0', 80): address already in use",
            "Error: listen EADDRINUSE: address already in use :::80",
        ] {
            let holder = Listener {
                protocol: Protocol::Tcp,
                address: "0.0.0.0".to_owned(),
                port: 80,
                process: "caddy".to_owned(),
            };
            let exec_start = "/nix/store/x-caddy/bin/caddy run".to_owned();
            let caddy = crate::guest::facts::Unit {
                service: Some(Service { exec_start, ..Service::default() }),
                ..active("caddy.service")
            };
            let judged = guest()
                .expected(failed("nginx.service", 1))
                .expected(caddy)
                .facts(|facts| facts.listeners = vec![holder.clone()])
                .journal(line("nginx.service", words))
                .judge();
            let result = judged.results.iter().find(|result| result.id == CheckId::ServicesFailedUnits).unwrap();
            let hint = result.hint.as_deref().unwrap_or_default();
            assert!(hint.starts_with("caddy of caddy.service listens on port 80 already"), "{words}: {hint}");
        }
    }
}
