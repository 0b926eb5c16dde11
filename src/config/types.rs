//! The values that `nixbox.toml` holds, each checked when it is read and described in the JSON schema.

use std::path::Path;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

use super::did_you_mean;
use crate::model::{CheckId, Protocol, STORE_DIR, is_script_name};
use crate::text::nearest;

/// The most retries that a file may ask for.
const MOST_RETRIES: u32 = 100;
/// The most virtual CPUs of a guest.
const MOST_CORES: u32 = 256;
/// The longest time that can be given.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// The shortest that a boot may be given.
const SHORTEST_BOOT: Duration = Duration::from_secs(1);

/// A port and its protocol: written `80`, `"80/tcp"` or `"53/udp"`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortSpec {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// 1 to 65535.
    pub port: u16,
}

impl PortSpec {
    /// Reads `80`, `80/tcp`, `53/udp`.
    ///
    /// # Errors
    /// What is wrong with it, as a fragment.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (number, protocol) = text.split_once('/').unwrap_or((text, Protocol::Tcp.name()));
        let protocol = match protocol.trim() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            other => return Err(format!("{other:?} is not a protocol: tcp or udp")),
        };
        match number.trim().parse::<u16>() {
            Ok(port) if port > 0 => Ok(Self { protocol, port }),
            _ => Err(format!("{number:?} is not a port: 1 to 65535, such as 80 or \"53/udp\"")),
        }
    }
}

impl std::fmt::Display for PortSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

impl Serialize for PortSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A number or a text: what TOML allows for sizes, times and ports.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a number or a string")]
enum NumberOrText {
    Number(i64),
    Text(String),
}

impl NumberOrText {
    fn into_text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

impl<'de> Deserialize<'de> for PortSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&NumberOrText::deserialize(deserializer)?.into_text()).map_err(de::Error::custom)
    }
}

impl JsonSchema for PortSpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PortSpec".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A port: 80, \"80/tcp\", \"53/udp\".",
            "anyOf": [
                { "type": "integer", "minimum": 1, "maximum": 65535 },
                { "type": "string", "pattern": "^[0-9]+(/(tcp|udp))?$" },
            ],
        })
    }
}

/// The guest's memory in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemorySize(pub u64);

impl MemorySize {
    /// Reads `2GiB`, `1536M`, or a number of MiB. A letter alone is a power of 1024, as for QEMU's `-m`.
    ///
    /// # Errors
    /// What is wrong with it, as a fragment.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let bytes = if let Ok(mib) = text.parse::<u64>() {
            mib.saturating_mul(1 << 20)
        } else {
            // bytesize reads `2G` as a power of 1000; QEMU's `-m 2G` is one of 1024.
            let text = match text.chars().last() {
                Some('k' | 'K' | 'm' | 'M' | 'g' | 'G' | 't' | 'T') => format!("{text}iB"),
                _ => text.to_owned(),
            };
            text.parse::<bytesize::ByteSize>()
                .map_err(|_| format!("{text:?} is not a size: a number of MiB, or a size such as \"2GiB\""))?
                .as_u64()
        };
        let mib = bytes >> 20;
        if !(64..=1 << 20).contains(&mib) {
            return Err(format!("{mib} MiB of memory is out of range: at least 64 MiB, at most 1 TiB"));
        }
        Ok(Self(mib))
    }
}

impl<'de> Deserialize<'de> for MemorySize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&NumberOrText::deserialize(deserializer)?.into_text()).map_err(de::Error::custom)
    }
}

impl JsonSchema for MemorySize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MemorySize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The guest's memory: a number of MiB, or a size such as \"2GiB\" or \"1536M\".",
            "anyOf": [{ "type": "integer", "minimum": 64 }, { "type": "string" }],
        })
    }
}

/// A span of time: `"3s"`, `"1min 30s"`, `"500ms"`, or a number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub Duration);

impl Time {
    /// Reads humantime's spelling, or a number of seconds.
    ///
    /// # Errors
    /// What is wrong with it, as a fragment.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let time = match text.parse::<u64>() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => humantime::parse_duration(text).map_err(|_| {
                format!("{text:?} is not a duration: a number of seconds, or a time such as \"500ms\" or \"1h 30m\"")
            })?,
        };
        if time > LONGEST {
            return Err(format!("{text:?} is too long: at most 7 days"));
        }
        Ok(Self(time))
    }

    /// Reads how long a boot may take.
    ///
    /// # Errors
    /// What is wrong with it, as a fragment.
    pub fn parse_boot_limit(text: &str) -> Result<Self, String> {
        let limit = Self::parse(text)?;
        if limit.0 < SHORTEST_BOOT {
            return Err(format!("{:?} is too short: at least 1 s", text.trim()));
        }
        Ok(limit)
    }

    /// The same, as the value of a key.
    pub(super) fn boot_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        let text = NumberOrText::deserialize(deserializer)?.into_text();
        Self::parse_boot_limit(&text).map(Some).map_err(de::Error::custom)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
    }
}

/// A text that is checked when it is read.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $schema:expr, $parse:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        pub struct $name(pub String);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let parse: fn(String) -> Result<String, String> = $parse;
                parse(String::deserialize(deserializer)?).map(Self).map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }

        impl std::ops::Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }
    };
}

text!(
    /// A regular expression of the regex crate's, known to compile.
    Pattern,
    json_schema!({ "type": "string", "format": "regex", "description": "A regular expression (Rust's regex crate)." }),
    |text| match compile(&text) {
        Ok(_) => Ok(text),
        Err(error) => {
            let error = error.to_string();
            let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Err(format!("{text:?} is not a valid regular expression: {why}"))
        }
    }
);

text!(
    /// A text that is not empty.
    NonEmptyText,
    json_schema!({ "type": "string", "minLength": 1 }),
    |text| if text.trim().is_empty() { Err("must not be empty".to_owned()) } else { Ok(text) }
);

text!(
    /// Why a failure is accepted.
    Reason,
    json_schema!({ "type": "string", "minLength": 1, "description": "Why this failure is accepted." }),
    |text| {
        if text.trim().is_empty() {
            Err("an accepted failure needs a reason".to_owned())
        } else {
            Ok(text)
        }
    }
);

text!(
    /// The id of a script or request: letters, digits, `-` and `_`.
    Id,
    json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" }),
    |text| {
        if text.len() <= 64 && is_script_name(&text) {
            Ok(text)
        } else {
            Err(format!("{text:?} is not a valid id: up to 64 letters, digits, \"-\" and \"_\""))
        }
    }
);

text!(
    /// A login name.
    Login,
    json_schema!({ "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_.-]{0,31}$" }),
    |text| {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let begins_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if begins_well && text.len() <= 32 && text.chars().all(fine) {
            Ok(text)
        } else {
            Err(format!("{text:?} is not a login name"))
        }
    }
);

text!(
    /// An address for an HTTP request.
    Url,
    json_schema!({ "type": "string", "pattern": "^https?://[^\\s]+$" }),
    |text| {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let printable = text.chars().all(|c| c.is_ascii_graphic());
        match rest {
            Some(rest) if printable && !rest.is_empty() && !rest.starts_with('/') => Ok(text),
            _ => Err(format!("{text:?} is not a URL: http://… or https://…")),
        }
    }
);

text!(
    /// A unit's full name; `.service` is added to a name without a suffix, as systemctl(1) does.
    UnitName,
    json_schema!({ "type": "string", "minLength": 1, "description": "A unit: \"nginx\" or \"nginx.service\"." }),
    |text| unit_name(&text, "service")
);

text!(
    /// A timer's full name; `.timer` is added where it is missing.
    TimerName,
    json_schema!({ "type": "string", "minLength": 1, "description": "A timer: \"backup\" or \"backup.timer\"." }),
    |text| {
        let name = unit_name(&text, "timer")?;
        if name.ends_with(".timer") { Ok(name) } else { Err(format!("{text:?} is not a timer")) }
    }
);

text!(
    /// What an accepted failure is about: a check's id, or `CHECK:ITEM`.
    AllowKey,
    json_schema!({ "type": "string", "description": "A check's id, or CHECK:ITEM such as \"services.failed-units:foo.service\"." }),
    |text| {
        let id = text.split_once(':').map_or(text.as_str(), |(id, _)| id);
        if id.parse::<CheckId>().is_ok() {
            Ok(text)
        } else {
            Err(format!("no check has the id {id:?}{}", did_you_mean(nearest(id, CheckId::rows().map(|row| row.name)))))
        }
    }
);

/// Most bytes of a file that is placed in the VM: it is handed over with the machine's firmware tables.
const MOST_TEXT: usize = 16 << 10;

text!(
    /// Where a file is placed: an absolute path outside of the store and of what the kernel keeps.
    FilePath,
    json_schema!({ "type": "string", "pattern": "^/.*[^/]$" }),
    |text| {
        let parts = || text.split('/').skip(1);
        let is_absolute = text.starts_with('/') && parts().all(|part| !matches!(part, "" | "." | ".."));
        let is_kernels = [STORE_DIR, "/proc", "/sys", "/dev"].iter().any(|start| Path::new(&text).starts_with(start));
        if !is_absolute || text.contains(['\n', '\0']) {
            Err(format!("{text:?} is not an absolute path of a file"))
        } else if is_kernels {
            Err(format!("{text:?} cannot be placed: it belongs to the store or the kernel"))
        } else {
            Ok(text)
        }
    }
);

text!(
    /// What a file holds.
    FileText,
    json_schema!({ "type": "string", "maxLength": MOST_TEXT }),
    |text| {
        if text.len() > MOST_TEXT {
            Err(format!("the text has {} bytes, more than {MOST_TEXT}", text.len()))
        } else if text.contains('\0') {
            Err("the text has a null byte".to_owned())
        } else {
            Ok(text)
        }
    }
);

text!(
    /// A file's mode, in octal: `"0600"`.
    FileMode,
    json_schema!({ "type": "string", "pattern": "^0?[0-7]{3}$" }),
    |text| {
        let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(&text);
        if digits.len() == 3 && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte)) {
            Ok(text)
        } else {
            Err(format!("{text:?} is not a mode: three octal digits, such as \"0600\""))
        }
    }
);

text!(
    /// The name of a secret's attribute.
    SecretName,
    json_schema!({ "type": "string", "minLength": 1 }),
    |text| if text.is_empty() { Err("a secret has a name".to_owned()) } else { Ok(text) }
);

text!(
    /// An HTTP method.
    Method,
    json_schema!({ "type": "string", "enum": ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"] }),
    |text| {
        let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];
        let upper = text.to_ascii_uppercase();
        if known.contains(&upper.as_str()) {
            Ok(upper)
        } else {
            Err(format!("{text:?} is not an HTTP method: {}", known.join(", ")))
        }
    }
);

impl Default for Method {
    fn default() -> Self {
        Self("GET".to_owned())
    }
}

/// A number in a range that is checked when it is read.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $kind:ty, $low:expr, $high:expr, $what:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
        pub struct $name(pub $kind);

        impl $name {
            fn checked(number: i64) -> Result<Self, String> {
                match <$kind>::try_from(number) {
                    Ok(value) if ($low..=$high).contains(&value) => Ok(Self(value)),
                    _ => Err(format!("must be from {} to {}", $low, $high)),
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let number = i64::deserialize(deserializer)?;
                Self::checked(number).map_err(|why| de::Error::custom(format!("{} {why}, not {number}", $what)))
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "integer", "minimum": $low, "maximum": $high })
            }
        }
    };
}

number!(
    /// An HTTP status code.
    HttpStatus, u16, 100, 599, "status"
);
number!(
    /// A number of retries.
    Retries, u32, 0, MOST_RETRIES, "retries"
);
number!(
    /// A number of virtual CPUs.
    Cores, u32, 1, MOST_CORES, "cores"
);
number!(
    /// A process's exit code.
    ExitCode, i32, 0, 255, "exit"
);

impl Cores {
    /// Reads a number of them.
    ///
    /// # Errors
    /// What is wrong with it, as a fragment.
    pub fn parse(text: &str) -> Result<Self, String> {
        // What is no number is not in the range either.
        Self::checked(text.trim().parse().unwrap_or(0))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&NumberOrText::deserialize(deserializer)?.into_text()).map_err(de::Error::custom)
    }
}

impl JsonSchema for Time {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A span of time: a number of seconds, or \"3s\", \"500ms\", \"1min 30s\".",
            "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string" }],
        })
    }
}

/// Compiles a pattern of the user's with a bounded size.
///
/// # Errors
/// The regex crate's.
pub fn compile(pattern: &str) -> Result<regex::Regex, regex::Error> {
    regex::RegexBuilder::new(pattern).size_limit(1 << 20).multi_line(true).build()
}

fn unit_name(text: &str, suffix: &str) -> Result<String, String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '\\' | '@');
    if text.is_empty() || text.len() > 255 || !text.chars().all(fine) {
        return Err(format!("{text:?} is not a unit name (systemd.unit(5))"));
    }
    const SUFFIXES: [&str; 11] = [
        ".service",
        ".socket",
        ".device",
        ".mount",
        ".automount",
        ".swap",
        ".target",
        ".path",
        ".timer",
        ".slice",
        ".scope",
    ];
    let whole = SUFFIXES.iter().any(|suffix| text.ends_with(suffix));
    Ok(if whole { text.to_owned() } else { format!("{text}.{suffix}") })
}
