//! A network card that the configuration names, and that no VM has: what is bound to it, to its address, or waits for it.

use std::net::Ipv4Addr;
use std::sync::LazyLock;

use regex::Regex;

use super::{hardware, last_lines, quoted, secrets};
use crate::guest::facts::{JournalLine, Unit};
use crate::judging::journal::Means as _;
use crate::judging::journal_patterns::Meaning;
use crate::judging::text::pattern;
use crate::judging::unit::is_active;
use crate::judging::{JudgeContext, text};
use crate::model::{Excuse, Lack, Witness};

pub(super) fn excuse(cx: &JudgeContext<'_>, unit: &Unit) -> Option<Excuse> {
    wait_online(cx, unit).or_else(|| interface(cx, unit)).or_else(|| address(cx, unit))
}

static CARD: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^((en|wl|ww)(o\d|s\d|p\d|x[0-9a-f]{12}|P\d)[0-9a-zA-Z]*|eth\d+|wlan\d+|wwan\d+|usb\d+)$")
});

/// Whether an interface is called as the kernel and udev call hardware (systemd.net-naming-scheme(7)).
pub(super) fn names_hardware(interface: &str) -> bool {
    CARD.is_match(interface)
}

/// Whether it is a card by its name, and the VM has none of that name. Of what networkd matches all names and patterns
/// are given, and any of them may be met.
fn is_missing_card(cx: &JudgeContext<'_>, name: &str) -> bool {
    let is_met = |word: &str| {
        let start = word.split(['*', '?', '[']).next().unwrap_or_default();
        cx.now.network.links.iter().any(|link| link == word || start != word && link.starts_with(start))
    };
    let is_card = |word: &str| {
        names_hardware(word)
            || ["en", "wl", "ww", "eth"].iter().any(|kind| word.strip_prefix(kind).is_some_and(is_rest))
    };
    name.split_whitespace().any(is_card) && !name.split_whitespace().any(is_met)
}

/// Whether what follows the kind of a card is a pattern: `*`, `p*`, `[ospx]*`.
fn is_rest(rest: &str) -> bool {
    rest.contains(['*', '?', '[']) && rest.len() < 12
}

pub(super) fn renamed(cx: &JudgeContext<'_>, interface: &str) -> Excuse {
    let cards = &cx.now.network.links;
    let here = if cards.is_empty() { "none".to_owned() } else { text::list(cards) };
    let why = format!("{interface} is a network interface of the real machine; the VM's is {here}");
    Excuse::new(Lack::Hardware, Witness::Card { name: interface.to_owned() }, why)
}

/// Interfaces that the configuration binds by name and that are cards which the sandbox does not have.
pub(crate) fn missing_interfaces(cx: &JudgeContext<'_>) -> Vec<(String, Excuse)> {
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
    let misses = lines.iter().rev().find(|line| Meaning::InterfaceMissing.is_in(&line.message));
    let bound = missing.iter().find_map(|(name, why)| {
        let line = lines.iter().rev().find(|line| line.message.contains(name))?;
        Some(with_line(why, line))
    });
    let bound = bound.or_else(|| {
        // One that is named nowhere but in the service's own configuration; nft shows it in the line after.
        let line = *misses?;
        let words = lines.iter().flat_map(|line| line.message.split(|c: char| !c.is_ascii_alphanumeric()));
        let card = words.rev().find(|word| is_missing_card(cx, word))?;
        Some(with_line(&renamed(cx, card), line))
    });
    let bound = bound.or_else(|| {
        let line = *misses?;
        let mut words = line.message.split(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c));
        let (name, why) = words.find_map(|word| Some((word, unmade(cx, word)?)))?;
        let why = why.clone().in_words(format!("{name} is not there: {why}"));
        Some(with_line(&why, line))
    });
    bound.or_else(|| {
        // The gateway lies behind a card that is not there; the kernel names neither.
        let line = lines.iter().rev().find(|line| Meaning::GatewayNotReached.is_in(&line.message))?;
        let (_, why) = missing.first()?;
        Some(with_line(why, line))
    })
}

/// Why an interface was not made that a unit of NixOS makes: of a card that is not there, with a key that is a secret.
fn unmade(cx: &JudgeContext<'_>, interface: &str) -> Option<Excuse> {
    if interface.is_empty() || cx.now.network.links.iter().any(|link| link == interface) {
        return None;
    }
    let makers = [
        format!("{interface}-netdev.service"),
        format!("wireguard-{interface}.service"),
        format!("wg-quick-{interface}.service"),
    ];
    let maker = makers.iter().find_map(|name| cx.unit(name)).filter(|maker| !is_active(maker))?;
    // Not all that could excuse it: its own interface is what is asked for.
    let cards = || maker.broken_requirements.iter().find_map(|root| hardware::missing_device(cx, root));
    secrets::excuse(cx, maker).or_else(|| secrets::of_script(cx, maker)).or_else(cards)
}

/// A card that is not there, and the line that misses it.
fn with_line(excuse: &Excuse, line: &JournalLine) -> Excuse {
    excuse.clone().in_words(format!("{excuse}: \"{}\"", quoted(line)))
}

// --- its address ---

/// It binds to an address that the configuration gives to a card which is not there.
fn address(cx: &JudgeContext<'_>, unit: &Unit) -> Option<Excuse> {
    let lines = last_lines(cx, &unit.name);
    let line = lines.iter().rev().find(|line| Meaning::AddressNotHere.is_in(&line.message))?;
    let exec = unit.service.as_ref().map_or("", |service| service.exec_start.as_str());
    let named = |text: &str, address: &str| {
        let is_part = |c: char| c.is_ascii_hexdigit() || c == '.';
        text.match_indices(address).any(|(at, _)| {
            let (before, after) = (&text[..at], &text[at + address.len()..]);
            !before.ends_with(is_part) && !after.starts_with(is_part)
        })
    };
    let missing = cx.plan.expectations.addresses.iter().filter(|(name, _)| !cx.now.network.links.contains(name));
    let declared = missing
        .flat_map(|(name, addresses)| addresses.iter().map(move |address| (name, address)))
        .find(|(_, address)| named(&line.message, address) || named(exec, address));
    let Some((card, address)) = declared else {
        return of_tailscale(cx, line).or_else(|| of_lease(cx, line));
    };
    let why = format!("binds to {address}, the address of {card}, which the VM does not have: \"{}\"", quoted(line));
    Some(Excuse::new(Lack::Hardware, Witness::Card { name: card.clone() }, why))
}

/// Tailscale gives a machine its address (of 100.64.0.0/10, RFC 6598) when it has logged in.
fn of_tailscale(cx: &JudgeContext<'_>, line: &JournalLine) -> Option<Excuse> {
    let is_shared = |word: &str| {
        let bytes = word.parse::<Ipv4Addr>().ok().map(|address| address.octets());
        bytes.is_some_and(|bytes| bytes[0] == 100 && (64..128).contains(&bytes[1]))
    };
    let is_on = cx.plan.expectations.units.contains_key("tailscaled.service");
    let mut words = line.message.split(|c: char| !c.is_ascii_digit() && c != '.');
    let address = words.find(|word| is_on && is_shared(word.trim_end_matches('.')))?;
    let why = format!("binds to {address}, which Tailscale gives the real machine: \"{}\"", quoted(line));
    Some(Excuse::new(Lack::Outside, Witness::line(quoted(line)), why))
}

/// Where the configuration gives no interface an address, the network of the real machine does, by DHCP.
fn of_lease(cx: &JudgeContext<'_>, line: &JournalLine) -> Option<Excuse> {
    let is_leased = cx.plan.expectations.known && cx.plan.expectations.addresses.is_empty();
    let words = line.message.split(|c: char| !c.is_ascii_digit() && c != '.');
    let mut addresses = words.filter_map(|word| word.trim_end_matches('.').parse::<Ipv4Addr>().ok());
    let address = addresses.find(|address| is_leased && !address.is_loopback() && !address.is_unspecified())?;
    let why = format!("binds to {address}, which the real machine may have by DHCP: \"{}\"", quoted(line));
    Some(Excuse::new(Lack::Outside, Witness::line(quoted(line)), why))
}

// --- waiting for the network ---

pub(super) fn is_wait_online(name: &str) -> bool {
    name == "NetworkManager-wait-online.service" || name.starts_with("systemd-networkd-wait-online")
}

/// Two managers are on, and the one whose wait unit failed does not run the link: the configuration's fault.
pub(crate) fn two_managers(cx: &JudgeContext<'_>, unit: &Unit) -> bool {
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
