//! The journal's lines as `journalctl -o json` prints them (systemd.journal-fields(7)).

use serde_json::Value;

use super::facts::JournalLine;
use crate::model::UNIT_PREFIX;
use crate::text::{bounded, quoted};

/// Most bytes of a message.
const MESSAGE: usize = 2048;

/// Who runs the activation script: from the initrd with systemd in stage 1, else in stage 2 (whose words go to the
/// kernel's log, as a rule). What it says has no priority.
const ACTIVATION: [&str; 3] = ["initrd-nixos-activation-start", "nixos-activation-start", "stage-2-init"];

/// The command for the lines that judging needs: warnings and worse, everything from the kernel and PID 1, and all that
/// these units said; the last `most` of this boot, oldest first.
pub(super) fn command(units: &[&str], most: usize) -> String {
    let priorities: String = (0..=4).map(|priority| format!("PRIORITY={priority} ")).collect();
    let activation = ACTIVATION.map(|name| format!("SYSLOG_IDENTIFIER={name}")).join(" + ");
    json_command(most, &format!("{priorities}+ _PID=1 + _TRANSPORT=kernel + {activation} + {}", of_units(units)))
}

/// The command for what these units said at all priorities: a service's own words on stderr are priority 6. The last
/// `most` lines.
pub(super) fn command_of(units: &[&str], most: usize) -> String {
    json_command(most, &of_units(units))
}

/// The same for each by itself, its last `most` lines.
pub(super) fn command_of_each(units: &[&str], most: usize) -> String {
    units.iter().map(|unit| command_of(&[unit], most)).collect::<Vec<_>>().join("\n")
}

/// What matches the lines of these units.
fn of_units(units: &[&str]) -> String {
    let matches: Vec<_> = units.iter().map(|unit| quoted(&format!("_SYSTEMD_UNIT={unit}"))).collect();
    matches.join(" + ")
}

/// The command for what a desktop is told of: who logs in (logind), the display manager's units, everything of these
/// users' processes, core dumps (the message id is systemd-coredump's), the kernel's warnings. The last `most` lines.
pub(crate) fn desktop_command(units: &[&str], uids: &[u32], most: usize) -> String {
    let units = units.iter().map(|unit| quoted(&format!("_SYSTEMD_UNIT={unit}")));
    let about = ["systemd-logind.service", "user@.service"].map(|unit| format!("_SYSTEMD_UNIT={unit}"));
    let uids = uids.iter().map(|uid| format!("_UID={uid}"));
    // Where nobody takes a dump, the kernel warns.
    let dumps = ["MESSAGE_ID=fc2e22bc6ee647b6b90729ab34a250b1", "_TRANSPORT=kernel PRIORITY=4"].map(str::to_owned);
    let matches: Vec<_> = units.chain(about).chain(uids).chain(dumps).collect();
    format!("{} {}", json_command(most, "").trim_end(), matches.join(" + ")).replacen(
        "--output-fields=",
        "--output-fields=_SYSTEMD_USER_UNIT,USER_UNIT,_COMM,COREDUMP_SIGNAL_NAME,",
        1,
    )
}

fn json_command(most: usize, matches: &str) -> String {
    format!(
        "journalctl -b -q --no-pager -o json -n {most} \
         --output-fields=MESSAGE,PRIORITY,_SYSTEMD_UNIT,UNIT,SYSLOG_IDENTIFIER,_PID,_TRANSPORT {matches}"
    )
}

/// The command for all of this boot: who said what.
pub(super) fn all_command() -> &'static str {
    "journalctl -b -q --no-pager -o json --output-fields=MESSAGE,_SYSTEMD_UNIT,UNIT,_PID"
}

/// The command for all of this boot as text, its last `bytes`.
pub(super) fn text_command(bytes: usize) -> String {
    format!("journalctl -b -q --no-pager -o short-monotonic | tail -c {bytes}")
}

/// Reads the lines, without what our own looking made.
pub(crate) fn parse(output: &str) -> Vec<JournalLine> {
    output.lines().filter_map(line).filter(|line| !is_ours(line)).collect()
}

/// Whether a line is in the journal because of nixbox's own probing.
fn is_ours(line: &JournalLine) -> bool {
    line.unit.starts_with(UNIT_PREFIX)
        // What a switch that nixbox rehearses says of itself.
        || line.identifier == "nixos" && line.message.starts_with("switching to system configuration ")
        // PID 1 writes to our notify socket; we close after the first read.
        || line.pid == 1 && line.message.starts_with("Failed to send readiness notification")
}

fn line(text: &str) -> Option<JournalLine> {
    let fields: serde_json::Map<String, Value> = serde_json::from_str(text).ok()?;
    let string = |name: &str| fields.get(name).map(field).unwrap_or_default();
    let pid = string("_PID").parse().unwrap_or(0);
    let about = bounded(&string("UNIT"), 256);
    // A dump's signal is a field of its own.
    let (message, signal) = (string("MESSAGE"), string("COREDUMP_SIGNAL_NAME"));
    let message = if signal.is_empty() {
        message
    } else {
        format!("{} ({})", message.lines().next().unwrap_or_default(), bounded(&signal, 16))
    };
    let is_manager = string("_COMM") == "systemd";
    let of_user = if is_manager { string("USER_UNIT") } else { string("_SYSTEMD_USER_UNIT") };
    let of_user = bounded(&of_user, 256);
    Some(JournalLine {
        at_us: string("__MONOTONIC_TIMESTAMP").parse().unwrap_or(0),
        priority: string("PRIORITY").parse().unwrap_or(6),
        // Only PID 1 may speak of others, and a user's manager of that user's.
        unit: if !of_user.is_empty() {
            of_user
        } else if pid == 1 && !about.is_empty() {
            about
        } else {
            bounded(&string("_SYSTEMD_UNIT"), 256)
        },
        identifier: bounded(&string("SYSLOG_IDENTIFIER"), 128),
        pid,
        transport: bounded(&string("_TRANSPORT"), 32),
        message: bounded(&message, MESSAGE),
    })
}

/// A field: a string, an array of bytes when it is no text, an array of fields when it is there more than once, `null`
/// when it is too long to be shown.
fn field(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(bytes) if bytes.iter().all(Value::is_u64) => {
            let bytes: Vec<u8> =
                bytes.iter().filter_map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok())).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        Value::Array(several) => several.first().map(field).unwrap_or_default(),
        Value::Null => "(too long to be shown)".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn real_lines() {
        let lines = parse(concat!(
            r#"{"_PID":"1","MESSAGE":"nginx.service: Failed with result 'exit-code'.","UNIT":"nginx.service","_SYSTEMD_UNIT":"init.scope","PRIORITY":"4","__MONOTONIC_TIMESTAMP":"9000000","SYSLOG_IDENTIFIER":"systemd","_TRANSPORT":"journal","__CURSOR":"s=1"}"#,
            "\n",
            r#"{"_TRANSPORT":"kernel","PRIORITY":"2","MESSAGE":[111,111,109,255],"SYSLOG_IDENTIFIER":"kernel","__MONOTONIC_TIMESTAMP":"12"}"#,
            "\n",
            r#"{"_PID":"44","UNIT":"liar.service","_SYSTEMD_UNIT":"nginx.service","MESSAGE":["one","two"],"PRIORITY":"3"}"#,
            "\nnonsense\n",
            r#"{"_PID":"1","UNIT":"nixbox-shell.socket","MESSAGE":"Listening on nixbox"}"#,
            "\n",
            r#"{"_PID":"1","PRIORITY":"4","MESSAGE":"Failed to send readiness notification, ignoring: TransportKind endpoint is not connected"}"#,
        ));
        let seen: Vec<_> =
            lines.iter().map(|line| (line.unit.as_str(), line.priority, line.message.as_str())).collect();
        assert_eq!(
            seen,
            [
                ("nginx.service", 4, "nginx.service: Failed with result 'exit-code'."),
                ("", 2, "oom\u{fffd}"),
                ("nginx.service", 3, "one"),
            ]
        );
        assert_eq!((lines[0].at_us, lines[1].transport.as_str()), (9_000_000, "kernel"));
    }

    proptest! {
        #[test]
        fn anything_can_be_read(text in "(?s).{0,400}") {
            drop(parse(&text));
        }
    }
}
