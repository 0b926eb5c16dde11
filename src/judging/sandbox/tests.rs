//! What the sandbox explains, and what it does not.

use super::cards::names_hardware;
use super::secrets::is_secret;
use super::{is_secret_snippet, lack_of, misses_a_secret, shows_no_outside};
use crate::checks::test_support::{Guest, active, by_manager, failed, guest, inactive, line, result, skipped, status};
use crate::guest::facts::{Facts, PathFact, Unit};
use crate::model::{CheckId, Grade, Lack, NetworkPolicy, Protocol, Status, Witness};
use crate::nix::expectations::{ExpectedSecret, ServicePort};

#[test]
fn the_outside_excuses_only_when_it_is_kept_away_and_shown() {
    let fwupd = || guest().unit(failed("fwupd-refresh.service", 1));
    let words = line("fwupd-refresh.service", "Failed to download metadata: Could not resolve host: cdn.fwupd.org");
    fwupd().journal(words.clone()).excludes("fwupd-refresh.service: needs the outside");
    fwupd()
        .journal(words.clone())
        .context(|context| context.network = NetworkPolicy::User)
        .breaks(CheckId::ServicesFailedUnits, "fwupd-refresh.service");
    fwupd().breaks(CheckId::ServicesFailedUnits, "fwupd-refresh.service");
    fwupd()
        .journal(line("fwupd-refresh.service", "fetching https://cdn.fwupd.org/firmware.xml.zst"))
        .journal(line("fwupd-refresh.service", "curl: (28) Connection timed out after 10001 milliseconds"))
        .excludes("Connection timed out");
    let mut crash = failed("fwupd-refresh.service", 1);
    crash.result = "core-dump".into();
    guest().unit(crash).journal(words).breaks(CheckId::ServicesFailedUnits, "");
    let vpn = Unit { result: "start-limit-hit".into(), ..failed("headscale.service", 1) };
    guest()
        .expected(vpn)
        .journal(line("headscale.service", "dial tcp: lookup idp.example.com: no such host"))
        .excludes("headscale.service");
}

#[test]
fn hardware_excuses_by_kind_and_words() {
    let thermald = || guest().expected(failed("thermald.service", 1));
    thermald().journal(line("thermald.service", "Unsupported cpu model or platform")).excludes("sensors and fans");
    thermald()
        .journal(line("thermald.service", "/etc/thermald.xml: cannot open"))
        .breaks(CheckId::ServicesFailedUnits, "thermald");
    thermald().breaks(CheckId::ServicesFailedUnits, "thermald");
    guest().expected(skipped("thermald.service", "ConditionVirtualization=no")).excludes("thermald.service");
    guest()
        .expected(failed("smartd.service", 17))
        .journal(line("smartd.service", "In the system's table of devices NO devices found to scan"))
        .excludes("disks with SMART");
    guest()
        .expected(failed("zigbee.service", 1))
        .journal(line("zigbee.service", "Error: cannot open /dev/ttyUSB0: No such file or directory"))
        .excludes("/dev/ttyUSB0");
    let writes = |words: &str| guest().expected(failed("charge.service", 1)).journal(line("charge.service", words));
    let knob = "/sys/class/power_supply/BAT0/charge_control_end_threshold";
    writes(&format!("{knob}: No such file or directory")).excludes("charge.service: needs a device");
    writes("/proc/acpi/bbswitch: No such file or directory").excludes("charge.service: needs a device");
    writes("no backlight entries found in '/sys/class/backlight'").excludes("charge.service: needs a device");
    // One that is there is the configuration's business, and so is what is no hardware's.
    writes(&format!("cannot open {knob}: Permission denied")).breaks(CheckId::ServicesFailedUnits, "Permission denied");
    writes("/sys/kernel/mm/hugepages/x: No such file or directory").breaks(CheckId::ServicesFailedUnits, "hugepages");
    guest()
        .expected(failed("batsignal.service", 1))
        .journal(line("batsignal.service", "no batteries detected"))
        .excludes("batteries and power management");
    let jack = |words: &str| guest().expected(failed("jack.service", 1)).journal(line("jack.service", words));
    jack("control open \"hw:USB\" (No such device)").excludes("jack.service: needs a sound card that the VM does not");
    jack("cannot open audio device plughw:CARD=DAC: No such file or directory").excludes("plughw:CARD=DAC");
    jack("cannot open hw:0: Device or resource busy").breaks(CheckId::ServicesFailedUnits, "resource busy");
    let modules = |words: &[&str]| {
        let guest = guest().unit(failed("systemd-modules-load.service", 1));
        words.iter().fold(guest, |guest, words| guest.journal(line("systemd-modules-load.service", words)))
    };
    let unsupported = "Failed to insert module 'kvm_intel': Operation not supported";
    modules(&["Inserted module 'loop'", unsupported]).excludes("systemd-modules-load.service: loads a module for");
    modules(&["Failed to insert module 'i915': No such device"]).excludes("'i915'");
    modules(&[unsupported, "Failed to find module 'nosuch'"]).breaks(CheckId::ServicesFailedUnits, "nosuch");
    modules(&["Failed to find module 'nosuch'"]).breaks(CheckId::ServicesFailedUnits, "nosuch");
    modules(&["Failed to insert module 'x': Key was rejected by service"]).breaks(CheckId::ServicesFailedUnits, "Key");
    let machine = |words: &str| guest().expected(failed("vm.service", 1)).journal(line("vm.service", words));
    machine("qemu-system-x86_64: Could not access KVM kernel module: No such file or directory").excludes("vm.service");
    machine("qemu-system-x86_64: failed to initialize kvm: No such file or directory").excludes("vm.service");
    machine("Could not access KVM kernel module: Permission denied").breaks(CheckId::ServicesFailedUnits, "Permission");
    // The same words of a service that is not about hardware.
    guest()
        .expected(failed("app.service", 1))
        .journal(line("app.service", "no plugins found"))
        .breaks(CheckId::ServicesFailedUnits, "no plugins found");
}

#[test]
fn waiting_for_the_network_in_vain() {
    let wait = |name: &str| guest().unit(Unit { result: "timeout".into(), ..failed(name, 1) });
    wait("NetworkManager-wait-online.service")
        .excludes("gave up waiting though the network works: eth0 has 10.0.2.15/24");
    wait("systemd-networkd-wait-online.service").excludes("the network works");
    wait("systemd-networkd-wait-online.service")
        .unit(active("NetworkManager.service"))
        .breaks(CheckId::ServicesFailedUnits, "systemd-networkd and NetworkManager are both on");
    wait("systemd-networkd-wait-online.service")
        .facts(|facts| facts.network.default_routes.clear())
        .expect(&[(CheckId::ServicesFailedUnits, "wait-online"), (CheckId::NetworkRoute, "no default route")], &[]);
}

#[test]
fn secrets_that_only_the_real_machine_has() {
    guest()
        .expected(failed("sops-install-secrets.service", 1))
        .journal(line("sops-install-secrets.service", "cannot read keyfile '/etc/ssh/ssh_host_ed25519_key'"))
        .excludes("sops-install-secrets.service: the VM does not have the real machine's decryption key");
    let words = "sops-install-secrets: manifest is not valid: failed to lookup user 'app': user: unknown user app";
    guest()
        .expected(failed("sops-install-secrets.service", 1))
        .journal(line("sops-install-secrets.service", words))
        .breaks(CheckId::ServicesFailedUnits, "unknown user app");
    guest()
        .expected(failed("app.service", 1))
        .journal(line("app.service", "cat: /run/secrets/app: No such file or directory"))
        .excludes("app.service: needs a secret");
    guest()
        .expected(failed("wg-quick-wg0.service", 1))
        .journal(line("wg-quick-wg0.service", "fopen: `/root/wireguard-keys/private': No such file or directory"))
        .excludes("wg-quick-wg0.service: needs a secret");
}

#[test]
fn what_lies_beside_the_configuration_by_hand() {
    let env = |path: &'static str| {
        fails("wifi.service", &format!("cannot open {path}: No such file or directory")).facts(move |facts| {
            drop(facts.paths.insert(path.to_owned(), PathFact { parent: "/etc".into(), ..PathFact::default() }))
        })
    };
    env("/etc/nixos/secrets/wifi.env").excludes("wifi.service: needs a secret");
    env("/etc/wifi.conf").breaks(CheckId::ServicesFailedUnits, "/etc/wifi.conf");
}

#[test]
fn a_secret_that_only_the_start_script_names() {
    let wireguard = |words: &str| {
        let mut unit = failed("wireguard-wg0.service", 1);
        unit.service.as_mut().unwrap().script_paths = vec!["/run/secrets/wg".into(), "/proc/sys/net/x".into()];
        guest().expected(unit).journal(line("wireguard-wg0.service", words))
    };
    let said = "fopen: No such file or directory";
    let gone = || missing(&[("/run/secrets/wg", "/run", &[], &[])]);
    wireguard(said)
        .facts(gone())
        .excludes("wireguard-wg0.service: needs a secret that only the real machine has, /run");
    wireguard(said).facts(there("/run/secrets/wg")).breaks(CheckId::ServicesFailedUnits, "fopen");
    // What systemd could not do for it is no word of wg's.
    let mut step = failed("wireguard-wg0.service", 226);
    step.service.as_mut().unwrap().script_paths = vec!["/run/secrets/wg".into()];
    let words =
        "wireguard-wg0.service: Failed at step NAMESPACE spawning /nix/store/x/bin/y: No such file or directory";
    guest()
        .expected(step)
        .journal(line("wireguard-wg0.service", words))
        .facts(gone())
        .breaks(CheckId::ServicesFailedUnits, "NAMESPACE");
    wireguard("Line unrecognized: `PrivatKey'").facts(gone()).breaks(CheckId::ServicesFailedUnits, "unrecognized");
}

#[test]
fn files_that_systemd_could_not_read_and_does_not_name() {
    let words = "app.service: Failed to load environment files: No such file or directory";
    let app = |files: &[&str]| {
        let mut unit = Unit { result: "resources".into(), ..failed("app.service", 0) };
        if let Some(service) = &mut unit.service {
            service.files = files.iter().map(|&file| file.to_owned()).collect();
            service.exit_kind = 0;
        }
        guest()
            .expected(unit)
            .journal(by_manager("app.service", words))
            .journal(by_manager("app.service", "app.service: Failed with result 'resources'."))
    };
    app(&["/run/secrets/app.env"]).excludes("app.service: needs /run/secrets/app.env, a secret");
    app(&["/nix/store/x-app/env", "/var/lib/secrets/app"]).excludes("needs /var/lib/secrets/app");
    // It could be either that is missing, and one is the configuration's own.
    app(&["/run/agenix/app", "/etc/app.env"]).breaks(
        CheckId::ServicesFailedUnits,
        "app.service failed: systemd could not set it up: Failed to load environment files: No such file or directory \
         (/run/agenix/app or /etc/app.env)",
    );
    app(&["/run/app/env"]).breaks(CheckId::ServicesFailedUnits, "(/run/app/env)");
    app(&[]).breaks(CheckId::ServicesFailedUnits, "Failed to load environment files");

    let sealed = |words: &str| {
        let failed = failed("mail.service", 243);
        guest()
            .expected(failed)
            .journal(line("mail.service", words))
            .journal(line("mail.service", "mail.service: Failed to set up credentials: Protocol error"))
    };
    for words in [
        "Failed to determine local credential key: No such file or directory",
        "Decryption failed (incorrect key?): error:00000000:lib(0)::reason(0)",
        "Failed to unseal secret using TPM2: State not recoverable",
    ] {
        sealed(words).excludes("mail.service: needs a credential that only the real machine can decrypt");
    }
    sealed("Embedded credential name 'a' does not match filename 'b', refusing.")
        .breaks(CheckId::ServicesFailedUnits, "");

    let mut credentials = failed("mail.service", 243);
    if let Some(service) = &mut credentials.service {
        service.files = vec!["/run/agenix/mail".into()];
    }
    guest()
        .expected(credentials)
        .journal(line("mail.service", "mail.service: Failed to set up credentials: No such file or directory"))
        .excludes("mail.service: needs /run/agenix/mail");
}

#[test]
fn disks_and_cards_of_the_real_machine() {
    guest()
        .expected(failed("zfs-import-tank.service", 1))
        .journal(line("zfs-import-tank.service", "cannot import 'tank': no such pool available"))
        .excludes("zfs-import-tank.service: needs disks of the real machine");
    guest()
        .expected(failed("backup-disk.service", 32))
        .journal(line("backup-disk.service", "mount: /backup: can't find UUID=5f1c-22aa."))
        .excludes("backup-disk.service: needs a device");
    let device = "dev-disk-by\\x2duuid-5f1c.device";
    let needs = Unit { broken_requirements: vec![device.into()], ..failed("data.mount", 0) };
    guest().expected(needs).excludes("/dev/disk/by-uuid/5f1c is a device that the VM does not have");
    // The firewall names a card in its own rules only.
    let firewall = || {
        guest()
            .expected(failed("nftables.service", 1))
            .expecting(|expectations| expectations.firewall = Some(true))
            .journal(line("nftables.service", "/etc/nftables.conf:12:15-20: Error: Interface does not exist"))
    };
    let judgement = firewall()
        .journal(line("nftables.service", "    iif \"enp3s0\" accept"))
        .excludes("enp3s0 is a network interface of the real machine; the VM's is eth0");
    assert_eq!(status(&judgement, CheckId::NetworkPorts), Status::Skip);
    firewall()
        .journal(line("nftables.service", "    iif \"br-lan\" accept"))
        .breaks(CheckId::NetworkPorts, "the firewall is not active");
    firewall().journal(line("nftables.service", "    iif \"eth0\" accept")).breaks(CheckId::NetworkPorts, "");
    // A gateway to which no link leads is the configuration's, unless its card is not here.
    let gateway = |words: &str| {
        guest().expected(failed("network-setup.service", 2)).journal(line("network-setup.service", words))
    };
    for words in ["RTNETLINK answers: Network is unreachable", "Error: Nexthop has invalid gateway."] {
        gateway(words).breaks(CheckId::ServicesFailedUnits, words);
        gateway(words)
            .expecting(|expectations| expectations.interfaces = vec!["enp0s31f6".into()])
            .excludes("network-setup.service: enp0s31f6 is a network interface of the real machine");
    }
    // Somebody's own route may lead by a gateway of the real network.
    guest()
        .expected(failed("lab-route.service", 2))
        .journal(line("lab-route.service", "RTNETLINK answers: Network is unreachable"))
        .excludes("lab-route.service: needs the outside");
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
    assert!(shows_no_outside("Please check your internet connection and try again.", None));
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
    for path in ["/var/lib/app/state.db", "/etc/backup.key", "/var/lib/keyboard", "/nix/store/x/var/secret", "/home"] {
        assert!(!is_secret(path), "{path}");
    }
    assert!(is_secret_snippet("setupSecretsForUsers") && is_secret_snippet("agenixInstall"));
    assert!(!is_secret_snippet("users"));
}

/// What the guest answers of paths that are not there: how far each is there, and what is beside it.
fn missing(
    paths: &'static [(&'static str, &'static str, &'static [&'static str], &'static [&'static str])],
) -> impl FnOnce(&mut Facts) {
    move |facts| {
        for (path, parent, beside, made) in paths {
            let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
            let fact = PathFact {
                exists: false,
                parent: (*parent).into(),
                beside: texts(beside),
                made: texts(made),
                ..PathFact::default()
            };
            facts.paths.insert((*path).to_owned(), fact);
        }
    }
}

fn there(path: &'static str) -> impl FnOnce(&mut Facts) {
    move |facts| drop(facts.paths.insert(path.to_owned(), PathFact { exists: true, ..PathFact::default() }))
}

fn fails(unit: &str, words: &str) -> Guest {
    guest().expected(failed(unit, 1)).journal(line(unit, words))
}

#[test]
fn services_with_the_names_of_hardware_fail_for_their_configuration() {
    for (unit, words) in [
        ("keydb.service", "Fatal error, can't open config file '/run/keydb/keydb.conf': No such file or directory"),
        ("keydb.service", "could not find directory of the append only file"),
        ("pii-redactor.service", "could not find model 'en_core_web_lg'"),
        ("keyd.service", "ERROR: line 7: capz is not a valid key"),
        ("thermald.service", "thermald: error: unknown option '--adaptiv'"),
        ("bluetooth.service", "Unknown key 'FastConectable' in main.conf: unable to find adapter section"),
        ("smartd.service", "Configuration file: line 3: unable to detect device type, unknown directive -Z"),
        ("nvidia-persistenced.service", "Failed to find user 'nvidia': invalid user"),
        ("upsd.service", "no listening interface available on 10.9.9.9 port 3493"),
        ("hostapd.service", "Line 5: invalid channel: could not open configuration"),
        ("kanata.service", "Error in configuration: unknown key 'capz': no keyboard mapped"),
        ("motion.service", "could not open camera profile: syntax error"),
        ("snapper-timeline.service", "Unknown config: could not find subvolume 'root'"),
        ("gpsd.service", "gpsd: can't bind to local port 2947, Address already in use"),
        ("tlp.service", "Error: could not read options: invalid value for device list"),
        ("zfs-scrub.service", "zpool: command not found"),
        ("openrgb.service", "Failed to load plugin for device: permission denied"),
    ] {
        let guest = fails(unit, words).facts(missing(&[("/run/keydb/keydb.conf", "/run", &[], &[])]));
        guest.breaks(CheckId::ServicesFailedUnits, unit);
    }
    // The configuration was complained of after a device was missed.
    fails("zigbee.service", "warning: cannot open /dev/ttyACM0: No such file or directory")
        .journal(line("zigbee.service", "configuration.yaml:3: unknown option 'adaptr'"))
        .facts(missing(&[("/dev/ttyACM0", "/dev", &[], &[])]))
        .breaks(CheckId::ServicesFailedUnits, "unknown option");
}

#[test]
fn a_device_that_is_not_there_excuses_whatever_the_name() {
    for (unit, words, path, parent) in [
        ("mqtt-bridge.service", "Error: cannot open /dev/zwave: No such file or directory", "/dev/zwave", "/dev"),
        ("solaar.service", "solaar: error: no /dev/hidraw* found", "/dev/hidraw*", "/dev"),
        ("frobnicator.service", "open /dev/apex_0: no such file or directory", "/dev/apex_0", "/dev"),
        (
            "nvidia-persistenced.service",
            "Failed to query NVIDIA devices. Please ensure that the NVIDIA device files (/dev/nvidia*) exist, and that user 0 has read and write permissions on those files.",
            "/dev/nvidia*",
            "/dev",
        ),
        ("lights.service", "can't open '/dev/spidev0.0': No such file or directory", "/dev/spidev0.0", "/dev"),
        (
            "charge.service",
            "/sys/class/power_supply/BAT1/status: No such file or directory",
            "/sys/class/power_supply/BAT1/status",
            "/sys/class/power_supply",
        ),
        (
            "cast.service",
            "FileNotFoundError: [Errno 2] No such file or directory: '/dev/dvb/adapter0/frontend0'",
            "/dev/dvb/adapter0/frontend0",
            "/dev",
        ),
        (
            "meter.service",
            "serial.serialutil.SerialException: could not open port /dev/serial/by-id/usb-FTDI_A1: [Errno 2] No such file or directory",
            "/dev/serial/by-id/usb-FTDI_A1",
            "/dev",
        ),
        ("scan.service", "unable to open /dev/bus/usb/001/004", "/dev/bus/usb/001/004", "/dev"),
        ("kiosk-cec.service", "cannot open /dev/cec0", "/dev/cec0", "/dev"),
        ("gpio-fan.service", "could not open /dev/gpiochip4: No such file or directory", "/dev/gpiochip4", "/dev"),
    ] {
        let fact = PathFact { parent: parent.into(), ..PathFact::default() };
        let judgement = fails(unit, words)
            .facts(|facts| drop(facts.paths.insert(path.to_owned(), fact)))
            .excludes(&format!("{unit}: needs a device that the VM does not have, {path}"));
        let witness = Witness::Device { path: path.into() };
        assert_eq!((&judgement.not_tested[0].witness, judgement.not_tested[0].grade), (&witness, Grade::Proven));
    }
    // One that is there, one that is made of nothing but the kernel, and a mistyped name are the configuration's.
    let opens = |path: &str| fails("app.service", &format!("cannot open {path}: No such file or directory"));
    opens("/dev/ttyACM0").facts(there("/dev/ttyACM0")).breaks(CheckId::ServicesFailedUnits, "/dev/ttyACM0");
    opens("/dev/net/tun")
        .facts(missing(&[("/dev/net/tun", "/dev", &[], &[])]))
        .breaks(CheckId::ServicesFailedUnits, "");
    opens("/dev/urandm")
        .facts(missing(&[("/dev/urandm", "/dev", &["/dev/random", "/dev/urandom", "/dev/vda"], &[])]))
        .breaks(CheckId::ServicesFailedUnits, "/dev/urandm");
    // What it is given, and does not name.
    let mut given = failed("radio.service", 1);
    if let Some(service) = &mut given.service {
        service.devices = vec!["/dev/rtl_sdr".into()];
    }
    guest()
        .expected(given)
        .journal(line("radio.service", "error: no tuner found"))
        .facts(missing(&[("/dev/rtl_sdr", "/dev", &[], &[])]))
        .excludes("/dev/rtl_sdr");
}

#[test]
fn state_that_only_the_real_machine_has() {
    let tunnel = "/var/lib/cloudflared/6ff42ae2.json";
    let words = format!("Tunnel credentials file '{tunnel}' doesn't exist or is not a file");
    let judgement = fails("cloudflared-tunnel.service", &words)
        .facts(missing(&[("/var/lib/cloudflared/6ff42ae2.json", "/var/lib", &[], &[])]))
        .excludes("cloudflared-tunnel.service: needs /var/lib/cloudflared/6ff42ae2.json");
    assert_eq!(judgement.not_tested[0].lack, Lack::State);
    assert!(judgement.not_tested[0].why.contains("[file.\"/var/lib/cloudflared/6ff42ae2.json\"]"));
    fails("tailscaled-autoconnect.service", "cat: /var/lib/tailscale/authkey: No such file or directory")
        .facts(missing(&[(
            "/var/lib/tailscale/authkey",
            "/var/lib/tailscale",
            &["/var/lib/tailscale/tailscaled.state"],
            &[],
        )]))
        .excludes("/var/lib/tailscale/authkey");
    for path in ["/persist/app/state", "/home/u/private.asc", "/srv/media/index", "/tank/photos", "/boot/loader/x"] {
        let fact = PathFact { parent: String::new(), ..PathFact::default() };
        fails("app.service", &format!("open {path}: no such file or directory"))
            .facts(|facts| drop(facts.paths.insert(path.to_owned(), fact)))
            .excludes(path);
    }
    // The configuration's own, and what it should have made.
    let reads = |path: &str| fails("app.service", &format!("cannot open {path}: No such file or directory"));
    reads("/etc/app/app.toml")
        .facts(missing(&[("/etc/app/app.toml", "/etc", &[], &[])]))
        .breaks(CheckId::ServicesFailedUnits, "");
    let judgement = reads("/var/lib/app/confg.toml")
        .facts(missing(&[("/var/lib/app/confg.toml", "/var/lib/app", &["/var/lib/app/config.toml"], &[])]))
        .breaks(CheckId::ServicesFailedUnits, "confg.toml");
    let hint = &result(&judgement, CheckId::ServicesFailedUnits).hint;
    assert_eq!(hint.as_deref(), Some("/var/lib/app/confg.toml is not there; /var/lib/app/config.toml is"));
    reads("/var/lib/app/config.toml")
        .facts(missing(&[(
            "/var/lib/app/config.toml",
            "/var/lib/app",
            &[],
            &["tmpfiles:d /var/lib/app 0755 root root -"],
        )]))
        .breaks(CheckId::ServicesFailedUnits, "config.toml");
    reads("/var/lib/app/index")
        .facts(missing(&[(
            "/var/lib/app/index",
            "/var/lib/app",
            &[],
            &["/nix/store/x-unit-script-prepare-start/bin/prepare-start:echo 1 > /var/lib/app/index"],
        )]))
        .breaks(CheckId::ServicesFailedUnits, "index");
    // It was about to make it, and lacks the directory.
    for words in [
        "cannot create /var/lib/app/state: Directory nonexistent",
        "mkdir: cannot create directory '/var/lib/app/state': No such file or directory",
        "open /var/lib/app/state: no such file or directory while writing state",
        "app-start: line 3: cd: /var/lib/app/state: No such file or directory",
    ] {
        fails("app.service", words)
            .facts(missing(&[("/var/lib/app/state", "/var/lib", &[], &[])]))
            .breaks(CheckId::ServicesFailedUnits, words);
    }
    reads("/var/lib/app/app.log")
        .facts(missing(&[("/var/lib/app/app.log", "/var/lib", &[], &[])]))
        .breaks(CheckId::ServicesFailedUnits, "");
}

#[test]
fn declared_secrets_go_by_their_option() {
    let app = |path: &str| {
        fails("app.service", &format!("cat: {path}: No such file or directory")).expecting(|expectations| {
            let secret = ExpectedSecret {
                option: "sops.secrets".into(),
                path: "/run/secrets/db/password".into(),
                ..ExpectedSecret::default()
            };
            expectations.secrets.insert("db/password".into(), secret);
            let kept = ExpectedSecret {
                option: "age.secrets".into(),
                path: "/var/lib/app/api.age".into(),
                ..ExpectedSecret::default()
            };
            expectations.secrets.insert("api".into(), kept);
        })
    };
    let judgement = app("/run/secrets/db/password").excludes("the secret sops.secrets.\"db/password\"");
    assert_eq!((judgement.not_tested[0].lack, judgement.not_tested[0].grade), (Lack::Secret, Grade::Proven));
    app("/var/lib/app/api.age").excludes("the secret age.secrets.\"api\"");
    app("/run/secrets/db/password").facts(there("/run/secrets/db/password")).breaks(CheckId::ServicesFailedUnits, "");
    // Nothing places this one.
    app("/run/secrets/db/passwd").breaks(CheckId::ServicesFailedUnits, "/run/secrets/db/passwd");
    let judgement = app("/run/secrets/db/passwd")
        .facts(missing(&[("/run/secrets/db/passwd", "/run", &[], &[])]))
        .breaks(CheckId::ServicesFailedUnits, "");
    let hint = result(&judgement, CheckId::ServicesFailedUnits).hint.clone().unwrap_or_default();
    assert!(hint.contains("/run/secrets/db/password is"), "{hint}");
}

#[test]
fn disks_by_the_configuration() {
    let on_disk = |guest: Guest| {
        guest.expecting(|expectations| {
            expectations.disks.real.insert("/data".into(), "/dev/disk/by-label/data".into());
            expectations.disks.persistence = vec!["/keep".into()];
        })
    };
    let judgement = on_disk(fails("app.service", "open /data/app/index: no such file or directory"))
        .facts(missing(&[("/data/app/index", "", &[], &[])]))
        .excludes("app.service: needs /data/app/index, which lies on /data");
    assert_eq!(judgement.not_tested[0].lack, Lack::Disk);
    // Its directory is made by nobody either, for want of the disk.
    on_disk(fails("app.service", "mkdir: cannot create directory '/data/app': No such file or directory"))
        .facts(missing(&[("/data/app", "", &[], &[])]))
        .excludes("app.service: needs /data/app, which lies on /data");
    on_disk(fails("app.service", "open /keep/x: no such file"))
        .facts(missing(&[("/keep/x", "", &[], &[])]))
        .excludes("/keep");
}

#[test]
fn mounts_of_the_real_machine_that_services_require() {
    let with_disk = |guest: Guest| {
        guest.expecting(|expectations| {
            expectations.disks.real.insert("/mnt/media".into(), "/dev/disk/by-label/media".into());
            let option = "services.jellyfin".to_owned();
            expectations.service_ports.push(ServicePort { option, protocol: Protocol::Tcp, port: 8096 });
        })
    };
    let needs = |mount: &str| {
        let jellyfin = Unit { broken_requirements: vec![mount.into()], ..inactive("jellyfin.service") };
        with_disk(guest().expected(jellyfin)).unit(Unit { load_state: "not-found".into(), ..inactive(mount) })
    };
    // The port, too, is nobody's fault.
    needs("mnt-media.mount").excludes("jellyfin.service: needs mnt-media.mount");
    let fails = [
        (CheckId::ServicesPromised, "it needs mnt-medai.mount, which is not there"),
        (CheckId::ServicesPorts, "nothing is listening on 8096/tcp"),
    ];
    needs("mnt-medai.mount").expect(&fails, &[]);
}

#[test]
fn a_file_system_of_a_type_that_only_the_real_machine_has() {
    let docker = |words: &str, types: &[&str]| {
        let types = types.iter().map(|&kind| kind.to_owned()).collect();
        fails("docker.service", words).expecting(|expectations| expectations.disks.types = types)
    };
    let wrong = "failed to start daemon: error initializing graphdriver: prerequisites for driver not satisfied (wrong filesystem?): btrfs";
    docker(wrong, &["btrfs"]).excludes("docker.service: asks for a btrfs file system, which the real machine has");
    docker(wrong, &["xfs"]).breaks(CheckId::ServicesFailedUnits, "wrong filesystem");
    docker(wrong, &["ext4"]).breaks(CheckId::ServicesFailedUnits, "wrong filesystem");
    let other = "error initializing graphdriver: driver not supported: btrf";
    docker(other, &["btrfs"]).breaks(CheckId::ServicesFailedUnits, "driver not supported");
}

#[test]
fn directories_that_systemd_could_not_show_a_unit() {
    let step = |code, directory: &str, words: &[&str]| {
        let mut unit = failed("backup.service", code);
        unit.service.as_mut().unwrap().directory = directory.into();
        let guest = guest().expected(unit);
        words.iter().fold(guest, |guest, words| guest.journal(line("backup.service", words)))
    };
    let namespace = [
        "backup.service: Failed to set up mount namespacing: /mnt/storage: No such file or directory",
        "backup.service: Failed at step NAMESPACE spawning /nix/store/x-backup/bin/backup: No such file or directory",
    ];
    let chdir = [
        "backup.service: Changing to the requested working directory failed: No such file or directory",
        "backup.service: Failed at step CHDIR spawning /nix/store/x-backup/bin/backup: No such file or directory",
    ];
    let gone = || missing(&[("/mnt/storage", "/mnt", &[], &[])]);
    let real = |guest: Guest| {
        guest.expecting(|expectations| drop(expectations.disks.real.insert("/mnt/storage".into(), "/dev/sdb1".into())))
    };
    real(step(226, "", &namespace)).facts(gone()).excludes("backup.service: needs /mnt/storage, which lies on");
    real(step(200, "/mnt/storage", &chdir)).facts(gone()).excludes("backup.service: needs /mnt/storage, which lies on");
    // The same of a command before the program.
    let mut before = failed("hedgedoc.service", 0);
    before.service.as_mut().unwrap().exit_kind = 0;
    let uploads = "/var/lib/hedgedoc/uploads";
    guest()
        .expected(before)
        .journal(by_manager(
            "hedgedoc.service",
            &format!("hedgedoc.service: Failed to set up mount namespacing: {uploads}: No such file or directory"),
        ))
        .journal(by_manager(
            "hedgedoc.service",
            "hedgedoc.service: Control process exited, code=exited, status=226/NAMESPACE",
        ))
        .facts(missing(&[("/var/lib/hedgedoc/uploads", "/var/lib/hedgedoc", &[], &[])]))
        .breaks(CheckId::ServicesFailedUnits, "its mount namespace could not be set up");
    // A directory that is nearly right is the configuration's.
    let near = missing(&[("/mnt/storage", "/mnt", &["/mnt/storages"], &[])]);
    real(step(226, "", &namespace)).facts(near).breaks(CheckId::ServicesFailedUnits, "/mnt/storage");
    // Nothing has such a disk: the headline names the directory, not the program.
    step(226, "", &namespace).facts(gone()).breaks(CheckId::ServicesFailedUnits, "mount namespacing: /mnt/storage");
    real(step(226, "", &namespace)).facts(there("/mnt/storage")).breaks(CheckId::ServicesFailedUnits, "/mnt/storage");
}

#[test]
fn devices_of_luks_that_a_service_asks_for() {
    let rollback = |device: &str| {
        let words = format!("mount: /mnt: special device {device} does not exist.");
        fails("rollback.service", &words)
            .expecting(|expectations| expectations.disks.luks = vec!["cryptroot".into()])
            .facts(missing(&[
                ("/dev/mapper/cryptroot", "/dev/mapper", &[], &[]),
                ("/dev/mapper/other", "/dev/mapper", &[], &[]),
            ]))
    };
    rollback("/dev/mapper/cryptroot").excludes("rollback.service: /dev/mapper/cryptroot is a disk of the real machine");
    rollback("/dev/mapper/other").breaks(CheckId::ServicesFailedUnits, "/dev/mapper/other");
}

#[test]
fn an_address_of_a_card_that_is_not_here() {
    let web = |address: &str| {
        fails("web.service", &format!("bind() to {address}:80 failed (99: Cannot assign requested address)")).expecting(
            |expectations| {
                expectations.addresses.insert("enp3s0".into(), vec!["192.168.1.10".into()]);
                expectations.addresses.insert("eth0".into(), vec!["192.168.7.1".into()]);
            },
        )
    };
    web("192.168.1.10").excludes("web.service: binds to 192.168.1.10, the address of enp3s0");
    web("192.168.1.100").breaks(CheckId::ServicesFailedUnits, "192.168.1.100");
    web("192.168.7.1").breaks(CheckId::ServicesFailedUnits, "192.168.7.1");
    let logged_in = |address: &str| web(address).expected(active("tailscaled.service"));
    logged_in("100.101.102.103").excludes("web.service: binds to 100.101.102.103, which Tailscale gives");
    logged_in("100.1.2.3").breaks(CheckId::ServicesFailedUnits, "100.1.2.3");
    web("100.101.102.103").breaks(CheckId::ServicesFailedUnits, "100.101.102.103");
    // Whatever the network gives it.
    let leased = |address: &str| web(address).expecting(|expectations| expectations.addresses.clear());
    leased("192.168.1.10").excludes("web.service: binds to 192.168.1.10, which the real machine may have by DHCP");
    leased("127.0.0.53").breaks(CheckId::ServicesFailedUnits, "127.0.0.53");
}

#[test]
fn interfaces_by_pattern_and_those_made_of_a_missing_card() {
    let cut = |names: &str| {
        guest().expecting(|expectations| expectations.interfaces = vec![names.to_owned()]).facts(|facts| {
            facts.network.addresses.clear();
            facts.network.default_routes.clear();
        })
    };
    for names in ["en*", "enp*", "wlp2s0 en*", "en[ospx]*"] {
        cut(names).excludes(&format!("{names} is a"));
    }
    for names in ["br*", "en* eth*", "eth0", "*"] {
        cut(names).breaks(CheckId::NetworkAddress, "eth0 has no address");
    }
    let router = |root: &str| {
        let bridge = Unit { broken_requirements: vec![root.into()], ..inactive("br0-netdev.service") };
        fails("dnsmasq.service", "dnsmasq: unknown interface br0").unit(bridge)
    };
    router("sys-subsystem-net-devices-enp2s0.device").excludes("dnsmasq.service: br0 is not there: enp2s0 is a");
    router("gone.service").breaks(CheckId::ServicesFailedUnits, "unknown interface br0");
    fails("dnsmasq.service", "dnsmasq: unknown interface br0").breaks(CheckId::ServicesFailedUnits, "br0");
}

#[test]
fn processors_and_ports_that_the_vm_does_not_have() {
    let bound = || guest().expected(failed("app.service", 215));
    bound()
        .journal(line("app.service", "app.service: Failed to set up CPU affinity: Invalid argument"))
        .excludes("app.service: is bound to processors that the VM does not have");
    bound().breaks(CheckId::ServicesFailedUnits, "its CPU affinity could not be set");
    fails(
        "spice-vdagentd.service",
        "could not open vdagent virtio channel /dev/virtio-ports/com.redhat.spice.0: No such file or directory",
    )
    .facts(missing(&[("/dev/virtio-ports/com.redhat.spice.0", "/dev", &[], &[])]))
    .excludes("spice-vdagentd.service: needs a device that the VM does not have");
}

#[test]
fn more_memory_than_the_vm_has() {
    let minecraft = |lines: &[&str], mib| {
        let mut guest = guest().expected(failed("minecraft-server.service", 1));
        for words in lines {
            guest = guest.journal(line("minecraft-server.service", words));
        }
        guest.context(move |context| context.memory_mib = Some(mib))
    };
    let java = [
        "# There is insufficient memory for the Java Runtime Environment to continue.",
        "# Native memory allocation (mmap) failed to map 2147483648 bytes. Error detail: committing reserved memory.",
    ];
    minecraft(&java, 1024).excludes("minecraft-server.service: asks for 2048 MiB of memory at once; the VM has 1024");
    minecraft(&java, 8192).breaks(CheckId::ServicesFailedUnits, "memory");
    minecraft(&["FATAL:  could not map anonymous shared memory: Cannot allocate memory"], 1024)
        .breaks(CheckId::ServicesFailedUnits, "Cannot allocate memory");
}

#[test]
fn a_secret_that_is_read_through_a_pipe() {
    let tunnel = |lines: &[&str]| {
        let tunnel = guest().expected(failed("wg-quick-wg0.service", 1));
        lines.iter().fold(tunnel, |guest, words| guest.journal(line("wg-quick-wg0.service", words)))
    };
    let (cat, wg) = ("cat: /run/secrets/wg: No such file or directory", "Invalid length key in key file");
    tunnel(&[cat, wg])
        .facts(missing(&[("/run/secrets/wg", "/run", &[], &[])]))
        .excludes("wg-quick-wg0.service: needs a secret");
    tunnel(&[wg]).breaks(CheckId::ServicesFailedUnits, "Invalid length");
    tunnel(&[cat, wg]).facts(there("/run/secrets/wg")).breaks(CheckId::ServicesFailedUnits, "Invalid length");
}

#[test]
fn what_is_read_and_what_is_written() {
    let key = "/var/lib/app/key";
    for (words, is_read) in [
        ("cp: cannot stat '/var/lib/app/key': No such file or directory", true),
        ("failed while creating the tunnel: open /var/lib/app/key: no such file or directory", true),
        ("install: cannot stat '/var/lib/app/key': No such file or directory", true),
        ("touch: cannot touch '/var/lib/app/key': No such file or directory", false),
        ("could not open for writing: cannot create /var/lib/app/key: Directory nonexistent", false),
        ("failed to write /var/lib/app/key: no such file or directory", false),
    ] {
        let guest = fails("app.service", words).facts(missing(&[("/var/lib/app/key", "/var/lib", &[], &[])]));
        if is_read {
            guest.excludes(key);
        } else {
            guest.breaks(CheckId::ServicesFailedUnits, key);
        }
    }
    let named = |line: &str| {
        let fact = PathFact {
            parent: "/var/lib".into(),
            made: vec![format!("/nix/store/x-start:{line}")],
            ..PathFact::default()
        };
        fails("app.service", "cat: /var/lib/app/key: No such file or directory")
            .facts(|facts| drop(facts.paths.insert(key.to_owned(), fact)))
    };
    for line in
        ["install -m 600 /var/lib/app/key /run/app/key", "cat /var/lib/app/key", "[ -e /var/lib/app/key ] || exit 1"]
    {
        named(line).excludes(key);
    }
    for line in ["cp /etc/key /var/lib/app/key", "wg genkey > /var/lib/app/key", "touch \"/var/lib/app/key\" && true"] {
        named(line).breaks(CheckId::ServicesFailedUnits, "");
    }
}

#[test]
fn what_a_condition_lacks() {
    for (condition, lack) in [
        ("ConditionVirtualization=no", Lack::Hardware),
        ("ConditionPathExists=/dev/kvm", Lack::Hardware),
        ("ConditionPathExists=/var/backup/import.tar", Lack::State),
        ("ConditionPathExists=|/run/secrets/app", Lack::Secret),
        ("ConditionPathIsDirectory=/sys/class/bluetooth", Lack::Hardware),
    ] {
        assert_eq!(lack_of(condition), lack, "{condition}");
    }
}
