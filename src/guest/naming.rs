//! Which units speak of a host: asked once, of a guest that tried to reach some.

use std::collections::{BTreeMap, BTreeSet};

use super::journal;
use super::{Guest, Limits};
use crate::guest::facts::Unit;
use crate::text::quoted;

/// Most hosts that are asked for, and most start scripts that are searched.
const MOST: usize = 64;
/// Most lines of the journal and of the scripts that are read, and most bytes of the answer.
const LINES: usize = 200;
const ANSWER: usize = 1 << 18;
/// Between the journal's lines and the scripts'.
const BETWEEN: &str = "== scripts ==";

impl Guest {
    /// Which units speak of these hosts, in their words in the journal or in the script that NixOS starts them by. Nothing
    /// where the guest does not answer: it is asked for what is good to know.
    pub async fn naming(
        &self,
        hosts: &[String],
        units: &[Unit],
        limits: &Limits,
    ) -> BTreeMap<String, BTreeSet<String>> {
        let hosts = &hosts[..hosts.len().min(MOST)];
        if hosts.is_empty() {
            return BTreeMap::new();
        }
        let scripts: BTreeMap<&str, &str> = units.iter().filter_map(script).take(MOST).collect();
        let question = question(hosts, scripts.keys().copied());
        match self.shell().ask(&question, limits.patience, ANSWER).await {
            Ok(output) => read(&String::from_utf8_lossy(&output.stdout), hosts, &scripts),
            Err(_) => BTreeMap::new(),
        }
    }
}

/// The script that a service is started by, as NixOS writes it of `script`, and its unit. Programs are not searched: they
/// are large, and name hosts that nobody configured.
fn script(unit: &Unit) -> Option<(&str, &str)> {
    let program = unit.service.as_ref()?.exec_start.split_ascii_whitespace().next()?;
    (program.starts_with('/') && program.ends_with("-start")).then_some((program, unit.name.as_str()))
}

fn question<'a>(hosts: &[String], scripts: impl Iterator<Item = &'a str>) -> String {
    let wanted: String = hosts.iter().map(|host| format!(" -e {}", quoted(host))).collect();
    let scripts: Vec<String> = scripts.map(quoted).collect();
    let search = if scripts.is_empty() {
        String::new()
    } else {
        format!("grep -oiFH{wanted} -- {} 2>/dev/null | head -n {LINES}", scripts.join(" "))
    };
    // Of all priorities: what went well is told at a low one.
    format!("{} | grep -iF{wanted} | tail -n {LINES}\necho {}\n{search}", journal::all_command(), quoted(BETWEEN))
}

fn read(output: &str, hosts: &[String], scripts: &BTreeMap<&str, &str>) -> BTreeMap<String, BTreeSet<String>> {
    let (lines, found) = output.split_once(BETWEEN).unwrap_or((output, ""));
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut add = |host: &str, unit: &str| {
        named.entry(host.to_owned()).or_default().insert(unit.to_owned());
    };
    for line in journal::parse(lines) {
        let message = line.message.to_ascii_lowercase();
        // PID 1 quotes descriptions and others.
        let speaks = line.pid != 1 && line.unit.ends_with(".service");
        hosts.iter().filter(|host| speaks && message.contains(host.as_str())).for_each(|host| add(host, &line.unit));
    }
    for (path, host) in found.lines().filter_map(|line| line.rsplit_once(':')) {
        let host = host.to_ascii_lowercase();
        if let (Some(unit), true) = (scripts.get(path), hosts.contains(&host)) {
            add(&host, unit);
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::facts::Service;

    #[test]
    fn units_are_found_by_their_words_and_scripts() {
        let service = |name: &str, exec: &str| Unit {
            name: name.to_owned(),
            service: Some(Service { exec_start: exec.to_owned(), ..Service::default() }),
            ..Unit::default()
        };
        let units =
            [service("a.service", "/nix/store/x-unit-script-a-start/bin/a-start"), service("b.service", "/bin/b")];
        let scripts: BTreeMap<&str, &str> = units.iter().filter_map(script).collect();
        assert_eq!(scripts.len(), 1);
        let hosts = ["updates.example.org".to_owned(), "192.0.2.7".to_owned()];
        let question = question(&hosts, scripts.keys().copied());
        assert!(question.contains("grep -oiFH -e 'updates.example.org' -e '192.0.2.7' -- '/nix/store/x"), "{question}");
        let output = "{\"MESSAGE\":\"calls 192.0.2.7\",\"_SYSTEMD_UNIT\":\"b.service\",\"_PID\":\"7\"}\n\
                      {\"MESSAGE\":\"updates.example.org\",\"UNIT\":\"c.service\",\"_PID\":\"1\"}\nno json\n== scripts ==\n\
                      /nix/store/x-unit-script-a-start/bin/a-start:Updates.example.org\n/etc/other:192.0.2.7\n";
        let named = read(output, &hosts, &scripts);
        let of = |host: &str| named.get(host).map(|units| units.iter().cloned().collect::<Vec<_>>().join(" "));
        assert_eq!(of("updates.example.org").as_deref(), Some("a.service"));
        assert_eq!(of("192.0.2.7").as_deref(), Some("b.service"));
    }
}
