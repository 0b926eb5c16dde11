//! What to do about a unit that failed, where the evidence has it.

use std::sync::LazyLock;

use regex::Regex;

use super::journal::Means as _;
use super::journal_patterns::Meaning;
use super::unit::{error_line, is_active, own_lines};
use super::{JudgeContext, sandbox, text};
use crate::guest::facts::Unit;

/// What to do about a failed unit that is not excused.
pub(crate) fn of(cx: &JudgeContext<'_>, unit: &Unit) -> Option<String> {
    port_in_use(cx, unit)
        .or_else(|| sandbox::advice(cx, unit))
        .or_else(|| by_line(&error_line(&cx.now.journal, &unit.name)?))
}

/// A name that nothing on the bus provides, as dbus-daemon, dbus-broker and systemd say it.
static BUS_NAME: LazyLock<Regex> = LazyLock::new(|| {
    text::pattern(
        r"The name (?P<name>[\w.-]+) was not provided by any \.service files|The name is not activatable|Unit dbus-(?P<unit>[\w.-]+)\.service not found",
    )
});
/// A file that a home's generation does not replace.
static IN_THE_WAY: LazyLock<Regex> =
    LazyLock::new(|| text::pattern(r"Existing file '(?P<path>[^']+)' (would be clobbered|is in the way of)"));

/// Names on the bus, and NixOS's option for each.
const BUS_SERVICES: [(&str, &str); 16] = [
    ("ca.desrt.dconf", "programs.dconf.enable"),
    ("org.a11y.Bus", "services.gnome.at-spi2-core.enable"),
    ("org.bluez", "hardware.bluetooth.enable"),
    ("org.freedesktop.Accounts", "services.accounts-daemon.enable"),
    ("org.freedesktop.Avahi", "services.avahi.enable"),
    ("org.freedesktop.ColorManager", "services.colord.enable"),
    ("org.freedesktop.GeoClue2", "services.geoclue2.enable"),
    ("org.freedesktop.ModemManager1", "networking.modemmanager.enable"),
    ("org.freedesktop.NetworkManager", "networking.networkmanager.enable"),
    ("org.freedesktop.PolicyKit1", "security.polkit.enable"),
    ("org.freedesktop.RealtimeKit1", "security.rtkit.enable"),
    ("org.freedesktop.UDisks2", "services.udisks2.enable"),
    ("org.freedesktop.UPower", "services.upower.enable"),
    ("org.freedesktop.portal.Desktop", "xdg.portal.enable"),
    ("org.freedesktop.secrets", "services.gnome.gnome-keyring.enable"),
    ("org.gtk.vfs.Daemon", "services.gvfs.enable"),
];

/// What the line says that is told of a unit.
fn by_line(line: &str) -> Option<String> {
    if let Some(found) = IN_THE_WAY.captures(line) {
        let path = &found["path"];
        return Some(text::clean(&format!(
            "home-manager.backupFileExtension = \"backup\"; moves {path} aside, and `force = true` of the file overwrites it"
        )));
    }
    let found = BUS_NAME.captures(line)?;
    let Some(name) = found.name("name").or(found.name("unit")).map(|name| name.as_str()) else {
        return Some(
            "what it calls on D-Bus is not there: enable the module that provides it (programs.dconf for dconf)"
                .to_owned(),
        );
    };
    let option = BUS_SERVICES.iter().find(|(known, _)| *known == name).map(|(_, option)| *option);
    Some(text::clean(&match option {
        Some(option) => format!("nothing provides {name} on D-Bus: {option} = true;"),
        None => {
            format!("nothing provides {name} on D-Bus: enable its module, or add its package to services.dbus.packages")
        }
    }))
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
    use super::by_line;
    use crate::checks::test_support::{active, failed, guest, line};
    use crate::guest::facts::{Listener, Service};
    use crate::model::{CheckId, Protocol};

    #[test]
    fn what_is_missed_on_the_bus_is_named_and_what_is_in_the_way() {
        let hint = |line: &str| by_line(line).unwrap_or_default();
        let error = "error: GDBus.Error:org.freedesktop.DBus.Error.ServiceUnknown: The name";
        let dconf = "nothing provides ca.desrt.dconf on D-Bus: programs.dconf.enable = true;";
        assert_eq!(hint(&format!("{error} ca.desrt.dconf was not provided by any .service files")), dconf);
        assert!(hint(&format!("{error} is not activatable")).contains("programs.dconf"));
        let other = hint(&format!("{error} org.example.Thing was not provided by any .service files"));
        assert!(
            other.starts_with("nothing provides org.example.Thing on D-Bus")
                && other.contains("services.dbus.packages")
        );
        assert!(hint("Unit dbus-org.bluez.service not found.").contains("hardware.bluetooth.enable"));
        let file = "Existing file '/home/alice/.bashrc' would be clobbered";
        assert!(hint(file).contains("backupFileExtension") && hint(file).contains("/home/alice/.bashrc"));
        assert_eq!(by_line("error: no such theme"), None);
    }

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
