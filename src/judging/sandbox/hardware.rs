//! Hardware that a VM lacks: a node or knob that a unit misses and that is not there, its device units, a module that
//! did not load. A program's words count only where it is about hardware by its name, and they are about hardware, too.

use std::sync::LazyLock;

use regex::Regex;

use super::paths::{Presence, meant, missed, presence};
use super::{by_line, cards, disks, last_lines, quoted};
use crate::guest::facts::{JournalLine, Unit};
use crate::guest::paths::{paths_in, paths_of};
use crate::judging::JudgeContext;
use crate::judging::journal::Means as _;
use crate::judging::journal_patterns::Meaning;
use crate::judging::text::pattern;
use crate::judging::unit::{is_active, own_lines, unescape_path};
use crate::model::{Excuse, Lack, Witness};

/// A kind of hardware that a VM lacks, and the words in the names of services that are about it.
const KINDS: [(&str, &str); 18] = [
    (
        "sensors and fans",
        "thermald|throttled|thinkfan|fancontrol|lm[-_]sensors|sensord|hddtemp|mbpfan|iio-sensor|amdfand|coolercontrold?|fan2go|nbfc",
    ),
    ("firmware that can be updated", "fwupd"),
    ("Bluetooth", "bluetoothd?|bluez|blueman|hciattach|hciuart|btattach"),
    ("disks with SMART", "smartd|smartmontools|scrutiny"),
    ("a modem", "ModemManager|modem|ofonod?"),
    ("a graphics card", "nvidia|amdgpu|lactd?|supergfxd?|gpu|dcgm"),
    (
        "batteries and power management",
        "tlp|upowerd?|power-profiles|auto-cpufreq|undervolt|ryzen|ryzenadj|acpid|laptop-mode|batsignal|cbatticon|poweralertd|battery|ups(?:d|mon|drv|drvctl)?|apcupsd|nut",
    ),
    ("a wireless card", "wpa[-_]supplicant|iwd|hostapd|wireless"),
    ("a fingerprint reader", "fprintd"),
    ("a card reader", "pcscd"),
    ("a TPM", "tpm2?|tcsd|clevis"),
    ("Thunderbolt", "boltd?|thunderbolt"),
    ("memory error reports", "mcelog|rasdaemon|edac"),
    (
        "peripherals",
        "openrazer|openrgb|ckb-next|asusd|ratbagd|usbmuxd2?|lircd?|ddcci|logid|logiops|solaar|gpsd|liquidctl|kanata|keyd|xremap|input-remapper|evremap|streamdeck|piper",
    ),
    ("a management controller", "ipmi|ipmievd"),
    ("RAID disks", "mdmonitor|mdadm|mdcheck"),
    ("a camera or tuner", "v4l2?|tvheadend|motion|webcam"),
    ("a printer or scanner", "ipp-usb|saned|brscan|scanbd"),
];

/// The same for what is on disks.
const DISKS: (&str, &str) = (
    "disks of the real machine",
    "zfs|zpool|bcachefs|btrfs|beesd|lvm2?|multipathd?|iscsid?|snapraid|mergerfs|drbd|cryptsetup|snapper|btrbk|sanoid|syncoid",
);

/// Whole words of a name: `keyd` is none of keydb's, nor `edac` of pii-redactor's.
fn in_name(words: &str) -> Regex {
    pattern(&format!(r"(?i)^(?:.*[-_.@:])?(?:{words})(?:[-_.@:].*)?$"))
}

static NAMES: LazyLock<Vec<(&'static str, Lack, Regex)>> = LazyLock::new(|| {
    let hardware = KINDS.iter().map(|(kind, words)| (*kind, Lack::Hardware, in_name(words)));
    hardware.chain([(DISKS.0, Lack::Disk, in_name(DISKS.1))]).collect()
});

/// What the kernel has below /dev without any hardware, and a VM's own serial ports and disks.
static SOFTWARE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^/dev/(?:shm|log|net|fuse|mqueue|hugepages|pts|ptmx|null|zero|full|u?random|tty\d*|ttyS\d+|hvc\d+|console|std(?:in|out|err)|fd|loop[-\w]*|zram\d*|nbd\d*|vhost[-\w]*|btrfs-control|autofs|cuse|initctl|core|kmsg|userfaultfd|binder\w*|vd[a-z]\d*|vsock|mapper)(?:/|$)",
    )
});

/// `hw:USB,0`, `plughw:CARD=Generic`.
static SOUND_CARD: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b(?:plug)?hw:(?:CARD=)?\w+"));

/// By a module that did not load, a path or a device that is not there.
pub(super) fn by_paths(cx: &JudgeContext<'_>, unit: &Unit) -> Option<Excuse> {
    let lines = last_lines(cx, &unit.name);
    modules(cx, unit)
        .or_else(|| missed(&lines).into_iter().find_map(|(path, line)| of_path(cx, &path, line)))
        .or_else(|| of_properties(cx, unit, &lines))
        .or_else(|| of_class(&lines))
        .or_else(|| sound_card(&lines))
}

/// A directory in which the kernel shows hardware of one kind, and in which a line says that there is none.
fn of_class(lines: &[&JournalLine]) -> Option<Excuse> {
    lines.iter().rev().filter(|line| Meaning::HardwareMissing.is_in(&line.message)).find_map(|line| {
        let is_class = |path: &String| {
            path.strip_prefix("/sys/class/").is_some_and(|rest| !rest.contains('/'))
                && Meaning::NamesHardwareKnob.is_in(&format!("{path}/"))
        };
        let path = paths_in(&line.message).into_iter().find(is_class)?;
        let why = format!("needs a device that the VM does not have, in {path}: \"{}\"", quoted(line));
        Some(Excuse::new(Lack::Hardware, Witness::Device { path }, why))
    })
}

/// A sound card that the unit misses, by ALSA's name for it.
fn sound_card(lines: &[&JournalLine]) -> Option<Excuse> {
    let is_missing =
        |text: &str| Meaning::HardwareGone.is_in(text) || text.to_ascii_lowercase().contains("no such file");
    let misses = |line: &&&JournalLine| is_missing(&line.message) && SOUND_CARD.is_match(&line.message);
    let line = lines.iter().rev().find(misses)?;
    let card = SOUND_CARD.find(&line.message)?.as_str();
    Some(by_line(Lack::Hardware, format_args!("needs a sound card that the VM does not have, {card}"), line))
}

/// Processors by their number, of which the VM has fewer.
pub(super) fn of_processors(cx: &JudgeContext<'_>, unit: &Unit) -> Option<Excuse> {
    let lines = last_lines(cx, &unit.name);
    let line = lines.iter().rev().find(|line| Meaning::ProcessorMissing.is_in(&line.message))?;
    let why = "is bound to processors that the VM does not have ([machine] cores in nixbox.toml gives it more)";
    Some(by_line(Lack::Hardware, why, line))
}

/// More memory than the VM has, asked for at once.
pub(super) fn of_memory(cx: &JudgeContext<'_>, unit: &Unit) -> Option<Excuse> {
    let has = cx.context.memory_mib?;
    let lines = last_lines(cx, &unit.name);
    let line = lines.iter().rev().find(|line| Meaning::MemoryRefused.is_in(&line.message))?;
    let exec = unit.service.as_ref().map_or("", |service| service.exec_start.as_str());
    let texts = lines.iter().map(|line| line.message.as_str()).chain([exec]);
    let asked = texts.filter_map(asked_mib).max().filter(|asked| *asked > has)?;
    let state = format!("asks for {asked} MiB of memory at once; the VM has {has}");
    let why = format!("{state} ([machine] memory in nixbox.toml gives it more): \"{}\"", quoted(line));
    Some(Excuse::new(Lack::Hardware, Witness::state(state), why))
}

/// How much memory a text asks for, in MiB.
fn asked_mib(text: &str) -> Option<u64> {
    let parts = Meaning::AsksForMemory.parts_of(text)?;
    let number = |name| parts.name(name).and_then(|part| part.as_str().parse::<u64>().ok());
    let heap = || {
        let unit = parts.name("unit")?.as_str();
        let size = number("heap")?;
        Some(match unit {
            "k" | "K" => size >> 10,
            "g" | "G" => size << 10,
            _ => size,
        })
    };
    number("mib").or_else(|| number("bytes").map(|bytes| bytes >> 20)).or_else(heap)
}

/// Modules whose hardware is not there, where none is missing for another reason.
fn modules(cx: &JudgeContext<'_>, unit: &Unit) -> Option<Excuse> {
    if unit.name != "systemd-modules-load.service" {
        return None;
    }
    let lines = own_lines(&cx.now.journal, &unit.name);
    let failed: Vec<_> = lines.iter().filter(|line| Meaning::ModuleNotLoaded.is_in(&line.message)).collect();
    let without_hardware = failed.iter().all(|line| Meaning::ModuleWithoutHardware.is_in(&line.message));
    let line = failed.first().filter(|_| without_hardware)?;
    Some(by_line(Lack::Hardware, "loads a module for hardware that the VM does not have", line))
}

/// Whether a path is a node or a knob of hardware.
fn is_hardware(path: &str) -> bool {
    path.starts_with("/dev/") && !SOFTWARE.is_match(path) || Meaning::NamesHardwareKnob.is_in(path)
}

fn lack_of(path: &str) -> Lack {
    if disks::is_disk(path) { Lack::Disk } else { Lack::Hardware }
}

/// A path of hardware that a line misses.
fn of_path(cx: &JudgeContext<'_>, path: &str, line: &JournalLine) -> Option<Excuse> {
    if !matches!(presence(cx, path), Presence::Here)
        && let Some(excuse) = disks::of_device(cx.plan, path)
    {
        return Some(excuse);
    }
    let device = || Some(Witness::Device { path: path.to_owned() });
    let witness = match presence(cx, path) {
        Presence::Missing(fact) if is_hardware(path) && meant(path, fact).is_none_or(is_hardware) => device()?,
        // Only the unit's own words are known.
        Presence::Unknown if [Meaning::NamesDeviceNode, Meaning::NamesHardwareKnob].iter().any(|it| it.is_in(path)) => {
            Witness::line(quoted(line))
        }
        Presence::Unknown if path == "/dev/kvm" => Witness::line(quoted(line)),
        _ => return None,
    };
    let why = format!("needs a device that the VM does not have, {path}: \"{}\"", quoted(line));
    Some(Excuse::new(lack_of(path), witness, why))
}

/// A device that the unit's properties name and that is not there, where the unit misses something and says not what.
fn of_properties(cx: &JudgeContext<'_>, unit: &Unit, lines: &[&JournalLine]) -> Option<Excuse> {
    let missing = [Meaning::IsMissing, Meaning::HardwareMissing, Meaning::HardwareGone];
    let line = *lines.iter().rev().find(|line| {
        Meaning::SpeaksOfError.is_in(&line.message) || missing.iter().any(|meaning| meaning.is_in(&line.message))
    })?;
    if Meaning::NamesKernelModule.is_in(&line.message) {
        return Some(by_line(Lack::Hardware, "needs a device that the VM does not have", line));
    }
    if !missing.iter().any(|meaning| meaning.is_in(&line.message)) || is_about_configuration(&line.message) {
        return None;
    }
    paths_of(unit).iter().filter(|path| path.starts_with('/')).find_map(|path| match presence(cx, path) {
        Presence::Missing(_) => of_path(cx, path, line),
        Presence::Here | Presence::Unknown => None,
    })
}

/// Without a path: what it says, where its name says that it is about hardware.
pub(super) fn by_words(cx: &JudgeContext<'_>, unit: &Unit) -> Option<Excuse> {
    let lines = last_lines(cx, &unit.name);
    let exec = unit.service.as_ref().map_or("", |service| service.exec_start.as_str());
    let program = exec.split_whitespace().next().unwrap_or("").rsplit('/').next().unwrap_or("");
    let is_about = |names: &Regex| names.is_match(&unit.name) || names.is_match(program);
    let (kind, lack, _) = NAMES.iter().find(|(_, _, names)| is_about(names))?;
    let is_fault = |line: &&&JournalLine| !Meaning::ConfigurationWrong.is_in(&line.message);
    let line = lines.iter().rev().take_while(is_fault).find(|line| shows_no_hardware(&line.message))?;
    Some(by_line(*lack, format_args!("needs {kind}, which the VM does not have"), line))
}

/// Whether a line says that hardware is missing, and is not about the configuration.
fn shows_no_hardware(line: &str) -> bool {
    let is_said =
        Meaning::HardwareGone.is_in(line) || Meaning::HardwareMissing.is_in(line) && Meaning::NamesHardware.is_in(line);
    is_said && !is_about_configuration(line)
}

fn is_about_configuration(line: &str) -> bool {
    // What the C library says of any path.
    let own = line.replace("No such file or directory", "").replace("No such device or address", "");
    Meaning::AboutConfiguration.is_in(&own)
}

/// A device unit that a VM cannot have: hardware's nodes, and network cards by their name on the real machine.
pub(super) fn missing_device(cx: &JudgeContext<'_>, name: &str) -> Option<Excuse> {
    if !name.ends_with(".device") || cx.unit(name).is_some_and(is_active) {
        return None;
    }
    let path = unescape_path(name);
    if let Some(interface) = path.strip_prefix("/sys/subsystem/net/devices/") {
        return cards::names_hardware(interface).then(|| cards::renamed(cx, interface));
    }
    if let Some(excuse) = disks::of_device(cx.plan, &path) {
        return Some(excuse);
    }
    let mistyped = match presence(cx, &path) {
        Presence::Here => true,
        Presence::Missing(fact) => meant(&path, fact).is_some_and(|meant| !is_hardware(meant)),
        Presence::Unknown => false,
    };
    (is_hardware(&path) && !mistyped).then(|| {
        let why = format!("{path} is a device that the VM does not have");
        Excuse::new(lack_of(&path), Witness::Device { path }, why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_go_by_whole_words() {
        let kind = |name: &str| NAMES.iter().find(|(_, _, names)| names.is_match(name)).map(|(kind, _, _)| *kind);
        for name in [
            "keydb.service",
            "pii-redactor.service",
            "redactor",
            "upstream.service",
            "nutrition.service",
            "boltzmann.service",
            "emotion.service",
            "tpmjs.service",
            "groups.service",
            "lirconian.service",
            "mousepad.service",
            "zfsnap2x.service",
            "moderation.service",
            "gpurun.service",
        ] {
            assert_eq!(kind(name), None, "{name}");
        }
        for (name, found) in [
            ("keyd.service", "peripherals"),
            ("nvidia-persistenced.service", "a graphics card"),
            ("wpa_supplicant-wlp2s0.service", "a wireless card"),
            ("zfs-import-tank.service", "disks of the real machine"),
            ("fwupd-refresh.service", "firmware that can be updated"),
            ("r-edac-tor.service", "memory error reports"),
            ("upsmon.service", "batteries and power management"),
            ("openrazer-daemon", "peripherals"),
            ("snapper-timeline.service", "disks of the real machine"),
        ] {
            assert_eq!(kind(name), Some(found), "{name}");
        }
    }

    #[test]
    fn words_about_hardware_and_about_the_configuration() {
        for line in [
            "Unsupported cpu model or platform",
            "NO RAPL sysfs present",
            "In the system's table of devices NO devices found to scan",
            "no batteries detected",
            "Could not detect any fans",
            "NVML: no supported GPU",
            "Failed to query NVIDIA devices",
            "No battery",
            "failed to query NVML: Driver Not Loaded",
            "reader not present",
            "No Bluetooth adapter found",
            "ioctl: No such device",
            "nl80211 driver interface: could not find radio",
            "cannot import 'tank': no such pool available",
            "ERROR: not a btrfs filesystem: /",
            "mbpfan: this is a virtual machine, nothing to do",
        ] {
            assert!(shows_no_hardware(line), "{line}");
        }
        for line in [
            "could not find user 'nvidia'",
            "Fatal error, can't open config file 'keydb.conf'",
            "cannot open /etc/thermald.xml: unknown sensor",
            "Unknown option 'CPU_MAX' in configuration",
            "Failed to bind: address already in use",
            "unable to open database",
            "could not find plugin 'gpu'",
            "no listening interface available",
            "line 3: unsupported key for device",
            "Could not find host db.internl",
            "Failed to open socket: Permission denied",
            "no rules found",
            "sensor list: syntax error",
            "license for this hardware not found",
            "unable to get on D-Bus",
        ] {
            assert!(!shows_no_hardware(line), "{line}");
        }
    }
}
