//! What the sandbox explains, by evidence. A name alone excuses nothing, and neither does a crash.

use std::sync::LazyLock;

use regex::Regex;

use super::unit::{is_active, own_lines, pattern, unescape_path};
use super::{Plan, View, text};
use crate::desktop;
use crate::guest::facts::{Facts, JournalLine, Unit};
use crate::model::NetworkPolicy;
use crate::nix::STORE_DIR;

/// How many of a unit's last own lines can be evidence: an early hiccup does not explain a later failure.
const LAST: usize = 12;

/// Why the failure of this unit is the sandbox's, with the line that shows it.
pub(crate) fn excuse(view: &View<'_>, unit: &Unit) -> Option<String> {
    let name = unit.name.as_str();
    if let Some(why) = missing_device(view, name) {
        return Some(why);
    }
    if let Some(why) = secrets(view, unit) {
        return Some(why);
    }
    if is_beyond_excuse(unit) {
        return None;
    }
    wait_online(view, unit)
        .or_else(|| interface(view, unit))
        .or_else(|| outside(view, unit))
        .or_else(|| hardware(view, unit))
        .or_else(|| desktop::excuse(view, name))
}

/// The same for the root of a chain, which need not be loaded (a device).
pub(crate) fn excuse_of_root(view: &View<'_>, name: &str) -> Option<String> {
    match view.unit(name) {
        Some(unit) => excuse(view, unit),
        None => missing_device(view, name),
    }
}

/// Crashes, and what systemd itself could not do for the unit, have nothing to do with the sandbox.
fn is_beyond_excuse(unit: &Unit) -> bool {
    if matches!(unit.result.as_str(), "core-dump" | "oom-kill" | "watchdog") {
        return true;
    }
    unit.service.as_ref().is_some_and(|service| {
        service.exit_kind == 3 || (service.exit_kind == 1 && (200..=243).contains(&service.exit_status))
    })
}

fn last_lines<'a>(view: &View<'a>, unit: &str) -> Vec<&'a JournalLine> {
    let lines = own_lines(&view.now.journal, unit);
    lines[lines.len().saturating_sub(LAST)..].to_vec()
}

fn quote(line: &JournalLine) -> String {
    let line: String = line.message.lines().next().unwrap_or_default().chars().take(200).collect();
    format!("\"{}\"", text::clean(&line))
}

// --- the outside ---

static UNREACHED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)(could ?n[o']t|cannot|can't|unable to|failed to) (resolve|lookup|look up)|name resolution|resolution failed|resolving timed out|name or service not known|no such host|(network|host) (is )?unreachable|no route to host|getaddrinfo|EAI_AGAIN|ENOTFOUND|ENETUNREACH|failed to lookup address|nodename nor servname|unknown host|name does not resolve|host(name)? not found|server misbehaving|lookup [^ ]+ on [^ ]+:\d+|bad (address|hostname) '|UnknownHostException|can't find host|unable to find suitable address|resource temporarily unavailable \([\w.-]+:\d+\)",
    )
});
/// Said of many things; evidence only together with a remote name.
static TIMED_OUT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)(connect(ion)?|operation|request|dial|i/o|handshake|download)[^:]{0,40}(timed out|timeout)|ETIMEDOUT")
});
static REMOTE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)https?://|\b(\d{1,3}\.){3}\d{1,3}\b|\b[a-z0-9-]+\.(com|org|net|io|dev|de|eu|cloud|sh|nl|uk|fr|me|app)\b",
    )
});
static AT_HOME: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\blocalhost\b|\b127\.\d|\[?::1\]?|unix:|\.sock\b"));
static NOT_A_HOST: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)(resolve|lookup|look up|unknown) (the )?(user|group|path|symlink|unit|specifier|symbol|option|module|library)",
    )
});
/// What the kernel says to who sets a route by a gateway that no link leads to: nobody outside was asked.
static NO_GATEWAY: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)(RTNETLINK answers|SIOCADDRT): (network is|no route)|invalid gateway"));
/// NixOS's own, which set what the configuration declares of addresses and routes. Who writes `ip route` into a service of
/// their own may mean a gateway of the real network, beside an address that is leased there.
static SETS_NETWORK: LazyLock<Regex> = LazyLock::new(|| pattern(r"^network-(setup|addresses-)"));
/// Whom a program of Go asked for a name, and how. A resolver of this machine's that cannot answer is not who was missed.
static ASKED: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\bon \S+:53\b|\b(read|write|dial) (udp|tcp) \S+:53\b"));

/// Whether a line shows that something outside was not reached.
pub(super) fn shows_no_outside(line: &str, host_name: Option<&str>) -> bool {
    let speaks = UNREACHED.is_match(line) || (TIMED_OUT.is_match(line) && REMOTE.is_match(line));
    let itself = host_name.is_some_and(|name| name.len() > 2 && line.contains(&format!(" {name}")));
    let at_home = || AT_HOME.is_match(&ASKED.replace_all(line, ""));
    speaks && !itself && !at_home() && !NOT_A_HOST.is_match(line)
}

fn outside(view: &View<'_>, unit: &Unit) -> Option<String> {
    if view.context.network != NetworkPolicy::Off {
        return None;
    }
    let host = view.plan.expectations.host_name.as_deref();
    let lines = last_lines(view, &unit.name);
    // curl says "Connection timed out after 10001 ms" and leaves out to whom: its command line, or another line, tells.
    let exec = unit.service.as_ref().map_or("", |service| service.exec_start.as_str());
    let goes_out = REMOTE.is_match(exec) || lines.iter().any(|line| REMOTE.is_match(&line.message));
    let timed_out = |line: &str| goes_out && TIMED_OUT.is_match(line) && !AT_HOME.is_match(line);
    let declared = SETS_NETWORK.is_match(&unit.name);
    let shows =
        |line: &str| (shows_no_outside(line, host) || timed_out(line)) && !(declared && NO_GATEWAY.is_match(line));
    let line = lines.iter().rev().find(|line| shows(&line.message))?;
    Some(format!("needs the outside, which --network off keeps away: {}", quote(line)))
}

/// Why a unit whose start does not end may only wait for the outside.
pub(super) fn waits_for_outside(plan: &Plan, facts: &Facts, unit: &str) -> Option<String> {
    if plan.settings.machine.network.unwrap_or_default() != NetworkPolicy::Off {
        return None;
    }
    let why = "may wait for the outside, which --network off keeps away";
    // It waits until the clock is set by a server, and says nothing.
    if unit == "systemd-time-wait-sync.service" {
        return Some(why.to_owned());
    }
    let lines = own_lines(&facts.journal, unit);
    let host = plan.expectations.host_name.as_deref();
    let line = lines.iter().rev().take(LAST).find(|line| shows_no_outside(&line.message, host))?;
    Some(format!("{why}: {}", quote(line)))
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
/// How such services say that there is nothing for them.
static NOTHING_THERE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)no such device|not supported|unsupported|does not support|no ([\w-]+ ){0,4}(found|detected|available|present)|no ([\w-]+ ){0,2}(devices?|sensors?|adapters?|controllers?|batter(y|ies)|gpus?|zones?|disks?|modems?|hardware)|(could not|cannot|can't|unable to|failed to) (find|detect|open|access|probe|initiali[sz]e)|not (found|detected|present)|virtual machine|hypervisor|ENODEV|nothing to (do|monitor)|not (an? )?(btrfs|zfs|bcachefs)|dataset does not exist|open failed path",
    )
});
/// Lines about the configuration, not about hardware.
static ABOUT_CONFIG: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)/etc/|/nix/store/|syntax|pars(e|ing)|permission denied|operation not permitted|shared librar|unknown option|config(uration)? (file|error)|not executable",
    )
});
/// Device nodes of hardware, whoever misses them.
static NODE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\bKVM kernel module: No such|/dev/(tty(USB|ACM|AMA)\d|nvme\d|sd[a-z]|mmcblk|dri\b|nvidia|kfd|video\d|media\d|hidraw|uinput|input/|i2c|spidev|gpio|tpm|mei|cpu/|cpu_dma|watchdog|ipmi|mcelog|snd/|bus/usb|usb|serial/|sr\d|st\d|lp\d|rfkill|cec|dvb|accel|sgx|kvm\b|fb\d|disk/by-)",
    )
});
/// What the kernel shows of hardware: its knobs are there where the hardware is.
static KNOB: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"/sys/(class/(power_supply|backlight|leds|hwmon|thermal|drm|bluetooth|powercap|rfkill|ieee80211|platform-profile|firmware-attributes|typec|nvme)|devices/(pci|platform|system|LNX|pnp|virtual/(thermal|powercap|dmi))|block/(sd[a-z]|nvme\d|mmcblk)|bus|module|firmware)/|/proc/acpi/",
    )
});
/// Said of what is there: whoever may not write it may not on the real machine either.
static DENIED: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)denied|not permitted|read-only"));
/// A file system that is named as the real machine's disks are.
static FILE_SYSTEM: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b(PART)?(UUID|LABEL)=[\w-]+"));
static MISSING: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)no such (file|device)|not found|does not exist|doesn't exist|(cannot|can't|could not|unable to|failed to) (open|find|access)|ENOENT|ENODEV|ENXIO|missing",
    )
});

/// What systemd-modules-load says of a module that it could not load; the kernel's word for what is not there, or cannot
/// be done on this processor. NixOS's own generator writes kvm-intel into most configurations.
static UNLOADED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^Failed to (?:(insert) module '[^']*': (?:no such device|operation not supported)|(?:insert|find|look up) )",
    )
});

/// Modules whose hardware is not there, where none is missing for another reason.
fn modules(view: &View<'_>, unit: &Unit) -> Option<String> {
    if unit.name != "systemd-modules-load.service" {
        return None;
    }
    let lines = own_lines(&view.now.journal, &unit.name);
    let failed: Vec<_> =
        lines.iter().filter_map(|line| Some((line, UNLOADED.captures(&line.message)?.get(1).is_some()))).collect();
    let (line, _) = failed.first().filter(|_| failed.iter().all(|(_, for_hardware)| *for_hardware))?;
    Some(format!("loads a module for hardware that the sandbox has not: {}", quote(line)))
}

fn hardware(view: &View<'_>, unit: &Unit) -> Option<String> {
    if let Some(why) = modules(view, unit) {
        return Some(why);
    }
    let lines = last_lines(view, &unit.name);
    let names =
        |line: &str| NODE.is_match(line) || FILE_SYSTEM.is_match(line) || KNOB.is_match(line) && !DENIED.is_match(line);
    if let Some(line) = lines.iter().rev().find(|line| names(&line.message) && MISSING.is_match(&line.message)) {
        return Some(format!("needs a device that the sandbox has not: {}", quote(line)));
    }
    let exec = unit.service.as_ref().map_or("", |service| service.exec_start.as_str());
    let program = exec.split_whitespace().next().unwrap_or("").rsplit('/').next().unwrap_or("");
    let (kind, _) = KINDS.iter().find(|(_, names)| names.is_match(&unit.name) || names.is_match(program))?;
    let shows = |message: &str| NOTHING_THERE.is_match(message) && !ABOUT_CONFIG.is_match(message);
    let line = lines.iter().rev().find(|line| shows(&line.message))?;
    Some(format!("is about {kind}, which the sandbox has not: {}", quote(line)))
}

/// A device unit that a VM cannot have: hardware's nodes, and network cards by their name on the real machine.
fn missing_device(view: &View<'_>, name: &str) -> Option<String> {
    if !name.ends_with(".device") || view.unit(name).is_some_and(is_active) {
        return None;
    }
    let path = unescape_path(name);
    if let Some(interface) = path.strip_prefix("/sys/subsystem/net/devices/") {
        return names_hardware(interface).then(|| renamed(view, interface));
    }
    NODE.is_match(&path).then(|| format!("{path} is a device that the sandbox has not"))
}

// --- the network card's name ---

static CARD: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^((en|wl|ww)(o\d|s\d|p\d|x[0-9a-f]{12}|P\d)[0-9a-zA-Z]*|eth\d+|wlan\d+|wwan\d+|usb\d+)$")
});
/// How programs say that there is no such card (ip, nft, wpa_supplicant, dnsmasq, hostapd).
static NO_CARD: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)cannot find device|(interface|device)\b.{0,40}(does not exist|doesn't exist|not found)|no such (device|interface)|(unknown|no|missing|invalid) (network )?interface|could not (find|read) interface",
    )
});

/// Whether an interface is called as the kernel and udev call hardware (systemd.net-naming-scheme(7)).
fn names_hardware(interface: &str) -> bool {
    CARD.is_match(interface)
}

/// Whether it is a card by its name, and the sandbox has none of that name.
fn is_missing_card(view: &View<'_>, name: &str) -> bool {
    names_hardware(name) && !view.now.network.links.iter().any(|link| link == name)
}

fn renamed(view: &View<'_>, interface: &str) -> String {
    let cards = &view.now.network.links;
    let here = if cards.is_empty() { "none".to_owned() } else { text::list(cards) };
    format!("{interface} is a card of the real machine; the sandbox's is {here}")
}

/// Interfaces that the configuration binds by name and that are cards which the sandbox does not have.
pub(super) fn missing_interfaces(view: &View<'_>) -> Vec<(String, String)> {
    let from_units = view.plan.expectations.units.keys().filter_map(|unit| interface_of(unit));
    let mut names: Vec<&str> = view.plan.expectations.interfaces.iter().map(String::as_str).chain(from_units).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter(|name| is_missing_card(view, name))
        .map(|name| (name.to_owned(), renamed(view, name)))
        .collect()
}

/// The interface that a unit of NixOS's scripted networking is for.
fn interface_of(unit: &str) -> Option<&str> {
    ["network-addresses-", "network-link-", "dhcpcd-", "wpa_supplicant-"]
        .iter()
        .find_map(|prefix| unit.strip_prefix(prefix)?.strip_suffix(".service"))
}

fn interface(view: &View<'_>, unit: &Unit) -> Option<String> {
    let missing = missing_interfaces(view);
    if let Some(name) = interface_of(&unit.name)
        && is_missing_card(view, name)
    {
        return Some(renamed(view, name));
    }
    let lines = last_lines(view, &unit.name);
    let bound = missing.iter().find_map(|(name, why)| {
        let line = lines.iter().rev().find(|line| line.message.contains(name))?;
        Some(format!("{why}: {}", quote(line)))
    });
    let bound = bound.or_else(|| {
        // One that is named nowhere but in the service's own configuration; nft shows it in the line after.
        let line = lines.iter().rev().find(|line| NO_CARD.is_match(&line.message))?;
        let words = lines.iter().flat_map(|line| line.message.split(|c: char| !c.is_ascii_alphanumeric()));
        let card = words.rev().find(|word| is_missing_card(view, word))?;
        Some(format!("{}: {}", renamed(view, card), quote(line)))
    });
    bound.or_else(|| {
        // The gateway lies behind a card that is not there; the kernel names neither.
        let line = lines.iter().rev().find(|line| NO_GATEWAY.is_match(&line.message))?;
        let (_, why) = missing.first()?;
        Some(format!("{why}: {}", quote(line)))
    })
}

// --- waiting for the network ---

fn is_wait_online(name: &str) -> bool {
    name == "NetworkManager-wait-online.service" || name.starts_with("systemd-networkd-wait-online")
}

/// Two managers are on, and the one whose wait unit failed does not run the link: that is the configuration's doing.
pub(super) fn two_managers(view: &View<'_>, unit: &Unit) -> bool {
    let runs = |name: &str| view.unit(name).is_some_and(is_active);
    unit.name.starts_with("systemd-networkd-wait-online")
        && runs("systemd-networkd.service")
        && runs("NetworkManager.service")
}

/// Waiting for the network was in vain though the network works: what is awaited is that *all* links are set up.
fn wait_online(view: &View<'_>, unit: &Unit) -> Option<String> {
    if !is_wait_online(&unit.name) || two_managers(view, unit) || view.gap("network").is_some() {
        return None;
    }
    let network = &view.now.network;
    if let (Some((link, addresses)), Some(route)) =
        (network.addresses.iter().find(|(_, list)| !list.is_empty()), network.default_routes.first())
    {
        return Some(format!(
            "gave up waiting though the network works: {link} has {}, default route {route}",
            text::list(addresses)
        ));
    }
    missing_interfaces(view).into_iter().next().map(|(_, why)| why)
}

// --- secrets ---

static SECRET_UNIT: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(sops-install-secrets|sops-nix|agenix|ragenix)"));
static SECRET_SNIPPET: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)^(setupSecrets|agenix|ragenix|sops)"));
static SECRET_PATH: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"/run/(secrets|agenix|keys)(-for-users|-rendered|\.d)?(/|\b)"));
/// Files that people put on a machine by hand, and that no fresh disk has: below what is kept there, named as a secret is.
static KEPT_SECRET: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)(^|[^\w/.])/(root|home|var|srv|mnt|media|data|persist\w*|nix/persist\w*)/[^\s'\x22]*(secret|passw|credential|token|private[._-]?key|api-?key|[._/-]keys?\b|\.pem\b|\.env\b|\bid_(rsa|ed25519|ecdsa)\b)",
    )
});
/// What systemd says where it could not read a file that a unit needs: it does not say which.
pub(super) static UNREAD: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)failed to (load environment files|set up credentials)|at step CREDENTIALS"));
/// What systemd says of credentials that it could not decrypt: by the key of the machine for which they were encrypted,
/// in a file of its own or in its TPM (`SetCredentialEncrypted=`, `LoadCredentialEncrypted=`).
static UNDECRYPTED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)failed to determine local credential key|decryption failed \(incorrect key\?\)|failed to unseal secret using TPM2|TPM2 support (is )?not (available|installed)|no TPM2 \(tpmrm\) device found|TPM TCTI driver not available",
    )
});
static NO_KEY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)decrypt|identit|ssh_host|\bage\b|\bgpg\b|private key|no key|key ?file|master key|data key|no such file|secret",
    )
});

/// Whether a snippet of the activation script sets up secrets that take the real machine's key.
pub(super) fn is_secret_snippet(name: &str) -> bool {
    SECRET_SNIPPET.is_match(name)
}

/// Whether a line misses a secret.
pub(super) fn misses_a_secret(line: &str) -> bool {
    is_secret(line) && MISSING.is_match(line)
}

/// Whether a secret's path is in this.
fn is_secret(text: &str) -> bool {
    SECRET_PATH.is_match(text) || KEPT_SECRET.is_match(text)
}

fn secrets(view: &View<'_>, unit: &Unit) -> Option<String> {
    let lines = view.now.journal_of(&unit.name, LAST);
    if SECRET_UNIT.is_match(&unit.name) {
        let line = lines.iter().rev().find(|line| line.pid != 1 && NO_KEY.is_match(&line.message))?;
        return Some(format!("the sandbox has not the real machine's key: {}", quote(line)));
    }
    if let Some(line) = lines.iter().rev().find(|line| misses_a_secret(&line.message)) {
        return Some(format!("needs a secret that only the real machine has: {}", quote(line)));
    }
    if let Some(line) = lines.iter().rev().find(|line| UNDECRYPTED.is_match(&line.message)) {
        return Some(format!("needs a credential that only the real machine can decrypt: {}", quote(line)));
    }
    let line = lines.iter().rev().find(|line| UNREAD.is_match(&line.message))?;
    // What lies in the store is there.
    let mut files = unit.service.iter().flat_map(|service| &service.files).filter(|file| !file.starts_with(STORE_DIR));
    let first = files.next().filter(|file| is_secret(file) && files.all(|file| is_secret(file)))?;
    Some(format!("needs {first}, a secret that only the real machine has: {}", quote(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_compile() {
        for pattern in [&UNREACHED, &TIMED_OUT, &REMOTE, &AT_HOME, &NOT_A_HOST, &NOTHING_THERE, &ABOUT_CONFIG, &NODE] {
            assert!(!pattern.as_str().is_empty());
        }
        for pattern in [&MISSING, &CARD, &NO_CARD, &SECRET_UNIT, &SECRET_SNIPPET, &SECRET_PATH, &KEPT_SECRET, &NO_KEY] {
            assert!(!pattern.as_str().is_empty());
        }
        for pattern in
            [&UNREAD, &UNDECRYPTED, &FILE_SYSTEM, &KNOB, &DENIED, &NO_GATEWAY, &SETS_NETWORK, &ASKED, &UNLOADED]
        {
            assert!(!pattern.as_str().is_empty());
        }
        assert!(!KINDS.is_empty());
    }

    #[test]
    fn the_outside_by_words() {
        for line in [
            "curl: (6) Could not resolve host: fwupd.org",
            "dial tcp: lookup registry-1.docker.io on 10.0.2.3:53: server misbehaving",
            "Temporary failure in name resolution",
            "socket.gaierror: [Errno -2] Name or service not known",
            "connect to 1.2.3.4:443: Network is unreachable",
            "Get \"https://acme-v02.api.letsencrypt.org/directory\": dial tcp 1.2.3.4:443: i/o timeout",
            "Error: getaddrinfo EAI_AGAIN api.example.com",
            "curl: (28) Resolving timed out after 10001 milliseconds",
            "WARNING:  cannot connect to dns.example.com:443 socket:  IO::Socket::INET: Bad hostname 'dns.example.com'",
            "wget: bad address 'example.com'",
            "java.net.UnknownHostException: repo.example.com",
            "Resource temporarily unavailable (api.example.com:443)",
            "mount error: could not resolve address for nas.lan: Unknown error",
            "dial tcp: lookup acme-v02.api.letsencrypt.org on 127.0.0.53:53: server misbehaving",
            "lookup api.example.com on [::1]:53: read udp [::1]:41232->[::1]:53: read: connection refused",
            "lookup api.example.com: dial udp 127.0.0.1:53: connect: network is unreachable",
        ] {
            assert!(shows_no_outside(line, Some("box")), "{line}");
        }
        for line in [
            "Failed to resolve user 'app': No such process",
            "could not resolve host: localhost",
            "connect to 127.0.0.1:5432: Connection timed out",
            "connection timed out",
            "could not resolve box",
            "bind() to [::]:80 failed (97: Address family not supported by protocol)",
            "undefined symbol: foo",
            "lookup localhost on 127.0.0.53:53: server misbehaving",
            "dial tcp 127.0.0.1:5432: connect: no route to host",
        ] {
            assert!(!shows_no_outside(line, Some("box")), "{line}");
        }
    }

    #[test]
    fn cards_and_secrets() {
        for name in ["enp0s31f6", "eno1", "ens3", "enx001122334455", "wlp2s0", "eth0", "wlan0", "enp0s3f1u2"] {
            assert!(names_hardware(name), "{name}");
        }
        for name in ["br0", "wg0", "bond0", "end", "tailscale0", "docker0", "ensemble"] {
            assert!(!names_hardware(name), "{name}");
        }
        assert!(misses_a_secret("cat: /run/secrets/db: No such file or directory"));
        assert!(!misses_a_secret("reading /run/secrets/db"));
        for path in [
            "/root/wireguard-keys/private",
            "fopen: `/root/wg.key': No such file or directory",
            "/var/lib/secrets/db",
            "/persist/etc/app.env",
            "/home/alice/.ssh/id_ed25519",
            "/var/lib/acme/example.org/key.pem",
        ] {
            assert!(is_secret(path), "{path}");
        }
        for path in
            ["/var/lib/app/state.db", "/etc/backup.key", "/var/lib/keyboard", "/nix/store/x/var/secret", "/home"]
        {
            assert!(!is_secret(path), "{path}");
        }
        assert!(is_secret_snippet("setupSecretsForUsers") && is_secret_snippet("agenixInstall"));
        assert!(!is_secret_snippet("users"));
    }
}
