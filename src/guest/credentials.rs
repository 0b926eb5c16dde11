//! What makes an unmodified guest answer: units, drop-ins and a script, handed over as systemd credentials
//! (systemd.system-credentials(7), needs systemd 256). Pure text; the machine puts it into SMBIOS strings.

use std::fmt;

use crate::model::{Credential, HOST_CID, TransportKind, UNIT_PREFIX, VIRTIO_PORTS, credential, port};
use crate::nonce::nonce;
use crate::text::quoted;

/// A run's secret. The guest asks for one half and proves itself with the other, so neither a process in the guest nor
/// a stranger on vsock can use our shell, nor pass for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    ask: String,
    answer: String,
}

impl Token {
    /// A new one: 128 random bits for each half.
    ///
    /// # Errors
    /// `/dev/urandom` cannot be read.
    pub fn random() -> std::io::Result<Self> {
        Ok(Self { ask: nonce()?, answer: nonce()? })
    }

    /// What the host shows the guest. 32 hexadecimal digits.
    pub(crate) fn ask(&self) -> &str {
        &self.ask
    }

    /// What the guest shows the host. 32 hexadecimal digits.
    pub(crate) fn answer(&self) -> &str {
        &self.answer
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Where commands are looked for: NixOS's places first, then a distribution's.
pub(crate) const PATH: &str =
    "/run/wrappers/bin:/run/current-system/sw/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The credentials that open a guest over this transport.
pub fn credentials(transport: TransportKind, token: &Token) -> Vec<Credential> {
    let unit = |name: &str, text: String| Credential {
        name: format!("{}{UNIT_PREFIX}{name}", credential::EXTRA_UNIT),
        value: text.into_bytes(),
    };
    let mut all = vec![Credential { name: credential::SCRIPT.to_owned(), value: script(token).into_bytes() }];
    let wants = match transport {
        TransportKind::VhostUser | TransportKind::Vsock => {
            all.push(unit("shell.socket", socket()));
            all.push(unit("shell@.service", service("StandardInput=socket\nStandardOutput=socket", "")));
            all.push(Credential {
                name: credential::NOTIFY_SOCKET.to_owned(),
                value: format!("vsock-stream:{HOST_CID}:{}", port::NOTIFY).into_bytes(),
            });
            format!("{UNIT_PREFIX}shell.socket")
        }
        TransportKind::VirtioSerial => {
            // A port has no listening side: a service waits on each, and comes back when it is killed.
            let standard = "StandardInput=null\nStandardOutput=null\nRestart=always\nRestartSec=200ms";
            all.push(unit("port@.service", service(standard, " %i")));
            let mut names = Vec::new();
            for (number, count) in VIRTIO_PORTS {
                names.extend((0..count).map(|n| format!("{UNIT_PREFIX}port@{number}.{n}.service")));
            }
            names.join(" ")
        }
    };
    all.push(Credential {
        name: format!("{}sysinit.target~nixbox", credential::UNIT_DROPIN),
        value: format!("[Unit]\nWants={wants}\n").into_bytes(),
    });
    all
}

/// A file that is placed in the guest before sysinit.target is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedFile {
    /// Its absolute path; directories above it are made.
    pub path: String,
    /// What it holds.
    pub text: String,
    /// Its mode, in octal.
    pub mode: String,
    /// `USER:GROUP`, either of which may be empty.
    pub owner: String,
}

/// The credentials that place files: a script, and a unit that runs it when the file systems and the users are there, and
/// before tmpfiles, sops and sysinit.target.
pub fn placing(files: &[PlacedFile]) -> Vec<Credential> {
    if files.is_empty() {
        return Vec::new();
    }
    let name = format!("{UNIT_PREFIX}files.service");
    let mut script = String::from(
        "p() { mkdir -p \"${1%/*}\" && rm -f \"$1\" && (umask 077; printf %s \"$4\" >\"$1\") && \
         { [ \"$3\" = : ] || chown \"$3\" \"$1\"; } && chmod \"$2\" \"$1\" || E=1; }\nE=0\n",
    );
    for PlacedFile { path, text, mode, owner } in files {
        script.push_str(&format!("p {} {mode} {} {}\n", quoted(path), quoted(owner), quoted(text)));
    }
    script.push_str("exit $E\n");
    let unit = format!(
        "{}After=local-fs.target systemd-sysusers.service userborn.service\n\
         Before=sysinit.target systemd-tmpfiles-setup.service sops-install-secrets.service\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh /run/credentials/@system/{}\n\
         Environment=PATH={PATH}\n",
        unit_section(),
        credential::FILES,
    );
    vec![
        Credential { name: credential::FILES.to_owned(), value: script.into_bytes() },
        Credential { name: format!("{}{name}", credential::EXTRA_UNIT), value: unit.into_bytes() },
        Credential {
            name: format!("{}sysinit.target~nixbox-files", credential::UNIT_DROPIN),
            value: format!("[Unit]\nWants={name}\n").into_bytes(),
        },
    ]
}

/// What the units of both kinds share: no default dependencies, so that they come early and neither delay nor are
/// stopped by shutdown; not in the initrd (systemd-debug-generator(8)); untouched by `isolate`.
fn unit_section() -> String {
    "[Unit]\nDescription=nixbox looks inside\nDefaultDependencies=no\nIgnoreOnIsolate=yes\n\
     ConditionPathExists=!/etc/initrd-release\n"
        .to_owned()
}

/// One socket for all the ports: what a stream is for is said by who connects.
fn socket() -> String {
    let mut text = unit_section();
    // A connection that is reset while it waits must not count as a trigger storm and end the socket.
    text.push_str("[Socket]\nAccept=yes\nMaxConnections=512\nTriggerLimitIntervalSec=0\nPollLimitIntervalSec=0\n");
    for number in [port::SHELL, port::SYSTEM_BUS, port::MANAGER_BUS] {
        text.push_str(&format!("ListenStream=vsock::{number}\n"));
    }
    text
}

/// The service, with its standard streams and an argument.
///
/// The root slice spares the guest a slice unit of its own; SIGKILL ends what a script left behind at once, and the
/// `-` keeps that from being a failed unit; stderr goes nowhere, so that nothing of ours is counted in the journal.
fn service(standard: &str, argument: &str) -> String {
    format!(
        "{}CollectMode=inactive-or-failed\nStartLimitIntervalSec=0\n\
         [Service]\nExecStart=-/bin/sh /run/credentials/@system/{}{argument}\n{standard}\nStandardError=null\n\
         Environment=PATH={PATH}\nEnvironment=LC_ALL=C\n\
         Slice=-.slice\nOOMScoreAdjust=-1000\nKillSignal=SIGKILL\nTimeoutStopSec=5\n",
        unit_section(),
        credential::SCRIPT,
    )
}

/// The guest's side of every stream, for any POSIX shell: lines `TOKEN NONCE COMMAND`, of which those with the right
/// token are evaluated and all others ignored. That is all of it, so whatever a cancelled use left in the stream is
/// skipped and the next line is answered; a command that fails, since the functions it calls are not known, is answered
/// by `␞NONCE!`. The rest is said line by line by [`super::shell`] and [`super::bus`].
///
/// With an argument (`7100.0`) it first waits for the virtio-serial port `nixbox.7100.0`, by sysfs, since udev's
/// symbolic link comes later than the device, if at all.
pub(crate) fn script(token: &Token) -> String {
    format!(
        r#"w={ask} a={answer} N='
'
if [ "$1" ]; then
 p= m=
 while :; do
  for f in /sys/class/virtio-ports/*/name; do
   x=; read -r x <"$f"
   [ "$x" = "nixbox.$1" ] && p=${{f%/name}} && break 2
  done
  [ "$m" ] || modprobe -q virtio_console; m=1
  sleep .3
 done
 exec <>"/dev/${{p##*/}}" >&0
fi
while read -r t n c; do
 [ "$t" != "$w" ] || eval "$c" || printf '\036%s!' "$n"
done
[ "$1" ] && sleep .3
"#,
        ask = token.ask,
        answer = token.answer,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(transport: TransportKind) -> Vec<Credential> {
        credentials(transport, &Token::random().unwrap())
    }

    fn text(all: &[Credential], name: &str) -> String {
        let found = all.iter().find(|credential| credential.name == name);
        String::from_utf8(found.unwrap_or_else(|| panic!("no {name} in {all:?}")).value.clone()).unwrap()
    }

    #[test]
    fn the_module_for_older_guests_says_the_same() {
        let module = include_str!("../../nix/guest.nix");
        for port in [port::SHELL, port::SYSTEM_BUS, port::MANAGER_BUS] {
            assert!(module.contains(&format!("\"vsock::{port}\"")), "{port}");
        }
        assert!(module.contains(&format!("/run/credentials/@system/{}", credential::SCRIPT)));
        assert!(module.contains(&format!("{UNIT_PREFIX}shell")));
    }

    #[test]
    fn vsock_gets_a_socket_and_notify() {
        for transport in [TransportKind::VhostUser, TransportKind::Vsock] {
            let all = all(transport);
            let socket = text(&all, "systemd.extra-unit.nixbox-shell.socket");
            for line in
                ["ListenStream=vsock::7100", "ListenStream=vsock::7101", "ListenStream=vsock::7102", "Accept=yes"]
            {
                assert!(socket.lines().any(|have| have == line), "{line} in {socket}");
            }
            assert_eq!(text(&all, "vmm.notify_socket"), "vsock-stream:2:7103");
            assert_eq!(text(&all, "systemd.unit-dropin.sysinit.target~nixbox"), "[Unit]\nWants=nixbox-shell.socket\n");
        }
    }

    #[test]
    fn virtio_serial_gets_a_service_for_each_port() {
        let all = all(TransportKind::VirtioSerial);
        let dropin = text(&all, "systemd.unit-dropin.sysinit.target~nixbox");
        for instance in ["7100.0", "7100.3", "7101.0", "7102.0"] {
            assert!(dropin.contains(&format!("nixbox-port@{instance}.service")), "{dropin}");
        }
        let service = text(&all, "systemd.extra-unit.nixbox-port@.service");
        assert!(service.contains("ExecStart=-/bin/sh /run/credentials/@system/nixbox.sh %i\n"));
        assert!(service.contains("Restart=always\n"));
        assert!(all.iter().all(|credential| credential.name != "vmm.notify_socket"));
    }

    #[test]
    fn files_are_placed_as_they_are_written() {
        assert!(placing(&[]).is_empty());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a b/it's");
        let file = PlacedFile {
            path: path.display().to_string(),
            text: "$x 'y'\n\n%s\\n".to_owned(),
            mode: "0640".to_owned(),
            owner: ":".to_owned(),
        };
        let lost = PlacedFile { path: "/proc/no/such".to_owned(), ..file.clone() };
        let all = placing(&[lost, file.clone()]);
        let run = std::process::Command::new("sh").arg("-c").arg(text(&all, "nixbox.files.sh")).output().unwrap();
        assert_eq!(run.status.code(), Some(1), "one of them could not be placed");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), file.text);
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        let unit = text(&all, "systemd.extra-unit.nixbox-files.service");
        assert!(unit.contains("\nBefore=sysinit.target ") && unit.contains("DefaultDependencies=no\n"), "{unit}");
    }

    #[test]
    fn every_unit_stays_out_of_the_initrd_and_of_isolate_and_is_ours() {
        for transport in [TransportKind::VhostUser, TransportKind::VirtioSerial] {
            for credential in all(transport) {
                if let Some(name) = credential.name.strip_prefix("systemd.extra-unit.") {
                    let text = String::from_utf8(credential.value).unwrap();
                    assert!(name.starts_with(UNIT_PREFIX));
                    for line in
                        ["ConditionPathExists=!/etc/initrd-release", "IgnoreOnIsolate=yes", "DefaultDependencies=no"]
                    {
                        assert!(text.lines().any(|have| have == line), "{line} in {name}");
                    }
                }
            }
        }
    }

    #[test]
    fn they_are_small_and_the_token_is_in_the_script_only() {
        let token = Token::random().unwrap();
        for transport in [TransportKind::VhostUser, TransportKind::VirtioSerial] {
            let all = credentials(transport, &token);
            assert!(all.iter().map(|credential| credential.value.len()).sum::<usize>() < 4096);
            for credential in all {
                let holds = String::from_utf8(credential.value).unwrap().contains(token.ask());
                assert_eq!(holds, credential.name == "nixbox.sh");
            }
        }
    }

    #[test]
    fn a_token_is_new_each_time_and_is_never_printed() {
        let (one, other) = (Token::random().unwrap(), Token::random().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.ask().len(), 32);
        assert!(!format!("{one:?}").contains(one.ask()));
    }
}
