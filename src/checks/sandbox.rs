//! Which failures the sandbox explains, by evidence. A name alone excuses nothing, and neither does a crash.

use std::sync::LazyLock;

use regex::Regex;

use super::journal_patterns::Meaning;
use super::text::pattern;
use super::unit::{is_active, own_lines, unescape_path};
use super::{JudgeContext, text};
use crate::desktop;
use crate::guest::facts::{JournalLine, Unit};
use crate::model::{Excuse, Lack, UnitResult, Witness};
use crate::nix::STORE_DIR;

mod outside;

pub(crate) use outside::hosts;
pub(super) use outside::{advice, attempts, shows_no_outside, waits_for_outside};

/// How many of a unit's last own lines can be evidence: an early failure does not explain a later one.
const LAST: usize = 12;

/// Why the failure of this unit is the sandbox's, with the line that shows it.
pub(crate) fn excuse(cx: &JudgeContext<'_>, unit: &Unit) -> Option<Excuse> {
    let name = unit.name.as_str();
    if let Some(why) = missing_device(cx, name) {
        return Some(why);
    }
    if let Some(why) = secrets(cx, unit) {
        return Some(why);
    }
    if is_beyond_excuse(unit) {
        return None;
    }
    wait_online(cx, unit)
        .or_else(|| interface(cx, unit))
        .or_else(|| outside::outside(cx, unit))
        .or_else(|| hardware(cx, unit))
        .or_else(|| desktop::excuse(cx, name))
}

/// The same for the root of a chain, which need not be loaded (a device).
pub(crate) fn excuse_of_root(cx: &JudgeContext<'_>, name: &str) -> Option<Excuse> {
    match cx.unit(name) {
        Some(unit) => excuse(cx, unit),
        None => missing_device(cx, name),
    }
}

/// Crashes, and what systemd itself could not do for the unit, have nothing to do with the sandbox.
fn is_beyond_excuse(unit: &Unit) -> bool {
    if matches!(unit.result, UnitResult::CoreDump | UnitResult::OomKill | UnitResult::Watchdog) {
        return true;
    }
    unit.service.as_ref().is_some_and(|service| {
        service.exit_kind == 3 || (service.exit_kind == 1 && (200..=243).contains(&service.exit_status))
    })
}

fn last_lines<'a>(cx: &JudgeContext<'a>, unit: &str) -> Vec<&'a JournalLine> {
    let lines = own_lines(&cx.now.journal, unit);
    lines[lines.len().saturating_sub(LAST)..].to_vec()
}

/// The line that shows it, as far as it is quoted.
fn quoted(line: &JournalLine) -> String {
    let line: String = line.message.lines().next().unwrap_or_default().chars().take(200).collect();
    text::clean(&line)
}

/// What is lacking, in words, by a line that says so.
fn by_line(lack: Lack, words: impl std::fmt::Display, line: &JournalLine) -> Excuse {
    let line = quoted(line);
    Excuse::new(lack, Witness::line(line.as_str()), format!("{words}: \"{line}\""))
}

// --- hardware ---

/// A kind of hardware that a VM has not, and the services that are about it.
static KINDS: LazyLock<Vec<(&'static str, Regex)>> = LazyLock::new(|| {
    [
        ("sensors and fans", r"(?i)thermald|throttled|thinkfan|fancontrol|lm_sensors|sensord|hddtemp|mbpfan|iio-sensor|amdfand|coolercontrol"),
        ("firmware that can be updated", r"(?i)fwupd"),
        ("Bluetooth", r"(?i)bluetooth|bluez|blueman|hciattach|hciuart"),
        ("disks with SMART", r"(?i)smartd|smartmontools|scrutiny"),
        ("a modem", r"(?i)ModemManager|modem|ofono"),
        ("a graphics card", r"(?i)nvidia|amdgpu|\blact|supergfx|xserver-gpu|gpu-"),
        ("batteries and power management", r"(?i)\btlp|upower|power-profiles|auto-cpufreq|undervolt|ryzen|acpid|laptop-mode|batsignal|cbatticon|poweralertd|battery|\bups(d|mon|drv)|apcupsd|nut-"),
        ("a wireless card", r"(?i)wpa_supplicant|\biwd|hostapd|wireless"),
        ("a fingerprint reader", r"(?i)fprintd"),
        ("a card reader", r"(?i)pcscd"),
        ("a TPM", r"(?i)\btpm|tcsd|clevis"),
        ("Thunderbolt", r"(?i)boltd|\bbolt\.service|thunderbolt"),
        ("memory error reports", r"(?i)mcelog|rasdaemon|edac"),
        ("peripherals", r"(?i)openrazer|openrgb|ckb-next|asusd|ratbagd|usbmuxd|lirc|ddcci|logid|gpsd|liquidctl|kanata|keyd|xremap|input-remapper|evremap"),
        ("a management controller", r"(?i)ipmi"),
        ("RAID disks", r"(?i)mdmonitor|mdadm|mdcheck"),
        ("disks of the real machine", r"(?i)\bzfs-|\bzpool|bcachefs|btrfs|beesd|\blvm|multipath|iscsi|snapraid|mergerfs|drbd|cryptsetup|snapper|btrbk|sanoid|syncoid"),
        ("a camera or tuner", r"(?i)v4l|tvheadend|\bmotion\b"),
        ("a printer or scanner", r"(?i)ipp-usb|\bsaned|brscan"),
    ]
    .into_iter()
    .map(|(kind, names)| (kind, pattern(names)))
    .collect()
});

/// Modules whose hardware is not there, where none is missing for another reason.
fn modules(cx: &JudgeContext<'_>, unit: &Unit) -> Option<Excuse> {
    if unit.name != "systemd-modules-load.service" {
        return None;
    }
    let lines = own_lines(&cx.now.journal, &unit.name);
    let failed: Vec<_> = lines.iter().filter(|line| Meaning::ModuleNotLoaded.is_in(&line.message)).collect();
    let without_hardware = failed.iter().all(|line| Meaning::ModuleWithoutHardware.is_in(&line.message));
    let line = failed.first().filter(|_| without_hardware)?;
    Some(by_line(Lack::Hardware, "loads a module for hardware that the sandbox has not", line))
}

fn hardware(cx: &JudgeContext<'_>, unit: &Unit) -> Option<Excuse> {
    if let Some(why) = modules(cx, unit) {
        return Some(why);
    }
    let lines = last_lines(cx, &unit.name);
    let names_hardware = |line: &str| {
        [Meaning::NamesDeviceNode, Meaning::NamesFileSystem].iter().any(|meaning| meaning.is_in(line))
            || Meaning::NamesHardwareKnob.is_in(line) && !Meaning::IsDenied.is_in(line)
    };
    let misses = |line: &str| names_hardware(line) && Meaning::IsMissing.is_in(line);
    if let Some(line) = lines.iter().rev().find(|line| misses(&line.message)) {
        return Some(by_line(Lack::Hardware, "needs a device that the sandbox has not", line));
    }
    let exec = unit.service.as_ref().map_or("", |service| service.exec_start.as_str());
    let program = exec.split_whitespace().next().unwrap_or("").rsplit('/').next().unwrap_or("");
    let (kind, _) = KINDS.iter().find(|(_, names)| names.is_match(&unit.name) || names.is_match(program))?;
    let shows = |line: &str| Meaning::HardwareMissing.is_in(line) && !Meaning::AboutConfiguration.is_in(line);
    let line = lines.iter().rev().find(|line| shows(&line.message))?;
    Some(by_line(Lack::Hardware, format_args!("is about {kind}, which the sandbox has not"), line))
}

/// A device unit that a VM cannot have: hardware's nodes, and network cards by their name on the real machine.
fn missing_device(cx: &JudgeContext<'_>, name: &str) -> Option<Excuse> {
    if !name.ends_with(".device") || cx.unit(name).is_some_and(is_active) {
        return None;
    }
    let path = unescape_path(name);
    if let Some(interface) = path.strip_prefix("/sys/subsystem/net/devices/") {
        return names_hardware(interface).then(|| renamed(cx, interface));
    }
    Meaning::NamesDeviceNode.is_in(&path).then(|| {
        let why = format!("{path} is a device that the sandbox has not");
        Excuse::new(Lack::Hardware, Witness::Device { path }, why)
    })
}

// --- the network card's name ---

static CARD: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^((en|wl|ww)(o\d|s\d|p\d|x[0-9a-f]{12}|P\d)[0-9a-zA-Z]*|eth\d+|wlan\d+|wwan\d+|usb\d+)$")
});

/// Whether an interface is called as the kernel and udev call hardware (systemd.net-naming-scheme(7)).
fn names_hardware(interface: &str) -> bool {
    CARD.is_match(interface)
}

/// Whether it is a card by its name, and the sandbox has none of that name.
fn is_missing_card(cx: &JudgeContext<'_>, name: &str) -> bool {
    names_hardware(name) && !cx.now.network.links.iter().any(|link| link == name)
}

fn renamed(cx: &JudgeContext<'_>, interface: &str) -> Excuse {
    let cards = &cx.now.network.links;
    let here = if cards.is_empty() { "none".to_owned() } else { text::list(cards) };
    let why = format!("{interface} is a card of the real machine; the sandbox's is {here}");
    Excuse::new(Lack::Hardware, Witness::Card { name: interface.to_owned() }, why)
}

/// Interfaces that the configuration binds by name and that are cards which the sandbox does not have.
pub(super) fn missing_interfaces(cx: &JudgeContext<'_>) -> Vec<(String, Excuse)> {
    let from_units = cx.plan.expectations.units.keys().filter_map(|unit| interface_of(unit));
    let mut names: Vec<&str> = cx.plan.expectations.interfaces.iter().map(String::as_str).chain(from_units).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter(|name| is_missing_card(cx, name))
        .map(|name| (name.to_owned(), renamed(cx, name)))
        .collect()
}

/// The interface that a unit of NixOS's scripted networking is for.
fn interface_of(unit: &str) -> Option<&str> {
    ["network-addresses-", "network-link-", "dhcpcd-", "wpa_supplicant-"]
        .iter()
        .find_map(|prefix| unit.strip_prefix(prefix)?.strip_suffix(".service"))
}

fn interface(cx: &JudgeContext<'_>, unit: &Unit) -> Option<Excuse> {
    let missing = missing_interfaces(cx);
    if let Some(name) = interface_of(&unit.name)
        && is_missing_card(cx, name)
    {
        return Some(renamed(cx, name));
    }
    let lines = last_lines(cx, &unit.name);
    let bound = missing.iter().find_map(|(name, why)| {
        let line = lines.iter().rev().find(|line| line.message.contains(name))?;
        Some(with_line(why, line))
    });
    let bound = bound.or_else(|| {
        // One that is named nowhere but in the service's own configuration; nft shows it in the line after.
        let line = lines.iter().rev().find(|line| Meaning::InterfaceMissing.is_in(&line.message))?;
        let words = lines.iter().flat_map(|line| line.message.split(|c: char| !c.is_ascii_alphanumeric()));
        let card = words.rev().find(|word| is_missing_card(cx, word))?;
        Some(with_line(&renamed(cx, card), line))
    });
    bound.or_else(|| {
        // The gateway lies behind a card that is not there; the kernel names neither.
        let line = lines.iter().rev().find(|line| Meaning::GatewayNotReached.is_in(&line.message))?;
        let (_, why) = missing.first()?;
        Some(with_line(why, line))
    })
}

/// A card that is not there, and the line that misses it.
fn with_line(excuse: &Excuse, line: &JournalLine) -> Excuse {
    excuse.clone().in_words(format!("{excuse}: \"{}\"", quoted(line)))
}

// --- waiting for the network ---

fn is_wait_online(name: &str) -> bool {
    name == "NetworkManager-wait-online.service" || name.starts_with("systemd-networkd-wait-online")
}

/// Two managers are on, and the one whose wait unit failed does not run the link: the configuration's fault.
pub(super) fn two_managers(cx: &JudgeContext<'_>, unit: &Unit) -> bool {
    let runs = |name: &str| cx.unit(name).is_some_and(is_active);
    unit.name.starts_with("systemd-networkd-wait-online")
        && runs("systemd-networkd.service")
        && runs("NetworkManager.service")
}

/// Waiting for the network was in vain though the network works: what is awaited is that *all* links are set up.
fn wait_online(cx: &JudgeContext<'_>, unit: &Unit) -> Option<Excuse> {
    if !is_wait_online(&unit.name) || two_managers(cx, unit) || cx.gap("network").is_some() {
        return None;
    }
    let network = &cx.now.network;
    if let (Some((link, addresses)), Some(route)) =
        (network.addresses.iter().find(|(_, list)| !list.is_empty()), network.default_routes.first())
    {
        let state = format!("{link} has {}, default route {route}", text::list(addresses));
        let why = format!("gave up waiting though the network works: {state}");
        return Some(Excuse::new(Lack::Hardware, Witness::state(state), why));
    }
    missing_interfaces(cx).into_iter().next().map(|(_, why)| why)
}

// --- secrets ---

static SECRET_UNIT: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(sops-install-secrets|sops-nix|agenix|ragenix)"));
static SECRET_SNIPPET: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)^(setupSecrets|agenix|ragenix|sops)"));

/// Whether a snippet of the activation script sets up secrets that take the real machine's key.
pub(super) fn is_secret_snippet(name: &str) -> bool {
    SECRET_SNIPPET.is_match(name)
}

/// Whether a line misses a secret.
pub(super) fn misses_a_secret(line: &str) -> bool {
    is_secret(line) && Meaning::IsMissing.is_in(line)
}

/// Whether a secret's path is in this.
pub(super) fn is_secret(text: &str) -> bool {
    Meaning::NamesSecret.is_in(text)
}

fn secrets(cx: &JudgeContext<'_>, unit: &Unit) -> Option<Excuse> {
    let lines = cx.now.journal_of(&unit.name, LAST);
    if SECRET_UNIT.is_match(&unit.name) {
        let line = lines.iter().rev().find(|line| line.pid != 1 && Meaning::KeyMissing.is_in(&line.message))?;
        return Some(by_line(Lack::Secret, "the sandbox has not the real machine's key", line));
    }
    if let Some(line) = lines.iter().rev().find(|line| misses_a_secret(&line.message)) {
        return Some(by_line(Lack::Secret, "needs a secret that only the real machine has", line));
    }
    if let Some(line) = lines.iter().rev().find(|line| Meaning::CredentialNotDecrypted.is_in(&line.message)) {
        return Some(by_line(Lack::Secret, "needs a credential that only the real machine can decrypt", line));
    }
    let line = lines.iter().rev().find(|line| Meaning::FileNotRead.is_in(&line.message))?;
    // What lies in the store is there.
    let mut files = unit.service.iter().flat_map(|service| &service.files).filter(|file| !file.starts_with(STORE_DIR));
    let first = files.next().filter(|file| is_secret(file) && files.all(|file| is_secret(file)))?;
    let why = format!("needs {first}, a secret that only the real machine has: \"{}\"", quoted(line));
    Some(Excuse::new(Lack::Secret, Witness::Path { path: first.clone() }, why))
}

#[cfg(test)]
mod tests;
