//! What a service's command lines let a container do: to be reached past the firewall, and to be more than a container
//! (docker-run(1), podman-run(1)).

use std::collections::BTreeSet;

/// Options that give away the host.
const OPTIONS: [&str; 4] = ["--privileged", "--privileged=true", "--network=host", "--net=host"];
/// Options with the host as their next word.
const OF_NETWORK: [&str; 2] = ["--network", "--net"];
/// The option that gives a capability, as its next word or its own.
const CAPABILITY: &str = "--cap-add";
/// Who may write to it is root.
const SOCKET: &str = "docker.sock";

/// What a service's containers may do beyond themselves, each in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Grants {
    /// Ports that others reach.
    published: BTreeSet<String>,
    /// What else they run with.
    options: BTreeSet<String>,
}

impl Grants {
    /// What the texts of a service's commands say.
    pub(super) fn of(texts: &[&str]) -> Self {
        let mut grants = Self::default();
        for text in texts {
            let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
            let words = lines.flat_map(str::split_whitespace).map(bare).filter(|word| !word.is_empty());
            let words: Vec<&str> = words.collect();
            for (at, word) in words.iter().enumerate() {
                grants.read(word, words.get(at + 1).copied().unwrap_or_default());
            }
        }
        grants
    }

    /// A word and the one after it.
    fn read(&mut self, word: &str, next: &str) {
        let port = match word {
            "-p" | "--publish" => Some(next),
            _ => word.strip_prefix("--publish=").or_else(|| word.strip_prefix("-p=")),
        };
        self.published.extend(port.filter(|port| is_published(port)).map(str::to_owned));
        if OPTIONS.contains(&word) || word.starts_with(&format!("{CAPABILITY}=")) {
            self.options.insert(word.to_owned());
        } else if word == CAPABILITY || OF_NETWORK.contains(&word) && next == "host" {
            self.options.insert(format!("{word}={next}"));
        } else if word.contains(SOCKET) {
            self.options.insert(SOCKET.to_owned());
        }
    }

    /// What these give that others do not, in words.
    pub(super) fn beyond(&self, others: &Self) -> Vec<String> {
        let list = |these: &BTreeSet<String>, those: &BTreeSet<String>| {
            let all: Vec<&str> = these.difference(those).map(String::as_str).collect();
            (!all.is_empty()).then(|| all.join(", "))
        };
        let published = list(&self.published, &others.published);
        let options = list(&self.options, &others.options);
        let published = published.map(|ports| format!("publishes {ports}, past the firewall"));
        published.into_iter().chain(options.map(|options| format!("runs with {options}"))).collect()
    }
}

/// A word without what a shell has around it.
fn bare(word: &str) -> &str {
    word.trim_matches(['\'', '"', '\\'])
}

/// Whether what is published is reached by others: `[ADDRESS:]PORT:PORT[/PROTOCOL]` of any but a loopback address.
fn is_published(mapping: &str) -> bool {
    let ports = mapping.split('/').next().unwrap_or_default();
    let Some((outer, inner)) = ports.rsplit_once(':') else { return false };
    let (address, outer) = outer.rsplit_once(':').unwrap_or(("", outer));
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let is_loopback = address.starts_with("127.") || address == "[::1]";
    // Of an address any port is one that is free.
    let is_mapping = is_port(outer) && is_port(inner) && !inner.is_empty() && !(outer.is_empty() && address.is_empty());
    is_mapping && !is_loopback
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_containers_are_given() {
        for (old, new, said) in [
            ("-p 127.0.0.1:5432:5432", "-p 5432:5432", &["publishes 5432:5432, past the firewall"][..]),
            ("-p 80:80", "-p 80:80 --privileged", &["runs with --privileged"]),
            ("-p 80:80", "-p 127.0.0.1:80:80", &[]),
            ("true", "mkdir -p /a", &[]),
            ("true", "ssh -p 22 h", &[]),
            (
                "true",
                "podman run \\\n  '--publish=0.0.0.0:80:80/udp' \\\n  -p [::1]:9:9 x",
                &["publishes 0.0.0.0:80:80/udp, past the firewall"],
            ),
            (
                "-p 192.168.1.2::80",
                "-p 192.168.1.2::80 -p 10-12:10-12 -p :1",
                &["publishes 10-12:10-12, past the firewall"],
            ),
            (
                "--network=none",
                "--network host --cap-add=SYS_ADMIN --cap-add NET_RAW",
                &["runs with --cap-add=NET_RAW, --cap-add=SYS_ADMIN, --network=host"],
            ),
            (
                "-p 1:1",
                "-p 1:1 -p 2:2 -v /run/docker.sock:/run/docker.sock",
                &["publishes 2:2, past the firewall", "runs with docker.sock"],
            ),
            ("true", "# docker run --privileged -p 80:80", &[]),
        ] {
            assert_eq!(Grants::of(&[new]).beyond(&Grants::of(&[old])), said, "{old} {new}");
        }
    }
}
