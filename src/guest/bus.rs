//! D-Bus in the guest, typed: PID 1's private bus, which needs no bus daemon, and the system bus.
//!
//! A `systemd-stdio-bridge` in the guest carries the bytes (systemd-stdio-bridge(1)). Every call has a deadline.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};
use zbus::zvariant::{DynamicType, OwnedObjectPath, OwnedValue, Type, Value};
use zbus::{Connection, MessageStream, connection, message};

use super::credentials::Token;
use super::facts::{Job, Manager, Service, Unit};
use super::{Error, greeting, relabel};
use crate::model::{ActiveState, LoadState, UNIT_PREFIX, port};
use crate::text::bounded;
use crate::transport::Transport;

pub(super) const SYSTEMD: &str = "org.freedesktop.systemd1";
pub(super) const MANAGER: &str = "org.freedesktop.systemd1.Manager";
pub(super) const ROOT: &str = "/org/freedesktop/systemd1";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// How many units are read at once: PID 1 answers one after the other, so more only fill its queue.
const PIPELINE: usize = 16;
/// Most bytes of any one string that are kept.
const STRING: usize = 1024;
/// Most strings of a list that are kept.
const LIST: usize = 256;

/// Which bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// PID 1's own, `/run/systemd/private`.
    Manager,
    /// The system bus.
    System,
    /// The manager of a user, its own socket: uid, gid.
    User(u32, u32),
    /// The session bus of a user: uid, gid.
    Session(u32, u32),
}

impl Which {
    /// Whether there is a manager at the other end, without a bus between.
    fn is_peer(self) -> bool {
        matches!(self, Which::Manager | Which::User(..))
    }
}

/// The properties of an object, by name.
pub(super) type Properties = HashMap<String, OwnedValue>;

/// A connection to a bus in the guest. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bus {
    connection: Connection,
    which: Which,
    /// Who answers, where there is a bus between.
    destination: &'static str,
    /// For each call.
    patience: Duration,
}

/// A line of `ListUnits`.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// Its object.
    pub path: OwnedObjectPath,
    /// What `ListUnits` tells of it; all the rest is empty.
    pub unit: Unit,
}

impl Bus {
    /// Connects, waiting for the guest to answer; each call from then on may take `patience`.
    ///
    /// # Errors
    /// No answer within `patience`; no `systemd-stdio-bridge` in the guest; a bus that does not answer.
    pub(super) async fn connect(
        channel: &dyn Transport,
        token: &Token,
        which: Which,
        patience: Duration,
    ) -> Result<Self, Error> {
        let deadline = Instant::now() + patience;
        // A user's sockets are opened as that user, for whom they are meant. What a stream is for is said by us, so one
        // port serves.
        let as_user = |uid, gid, socket: &str| {
            format!(
                "--reuid={uid} --regid={gid} --clear-groups systemd-stdio-bridge \
                 --bus-path=unix:path=/run/user/{uid}/{socket}"
            )
        };
        let bridge = "systemd-stdio-bridge";
        let (port, program, arguments) = match which {
            Which::Manager => (port::MANAGER_BUS, bridge, "--bus-path=unix:path=/run/systemd/private".to_owned()),
            Which::System => (port::SYSTEM_BUS, bridge, String::new()),
            Which::User(uid, gid) => (port::SYSTEM_BUS, "setpriv", as_user(uid, gid, "systemd/private")),
            Which::Session(uid, gid) => (port::SYSTEM_BUS, "setpriv", as_user(uid, gid, "bus")),
        };
        let (mut stream, _) = greeting::greet(channel, port, token, deadline).await?;
        if !greeting::become_command(&mut stream, token, program, &arguments, deadline).await? {
            return Err(Error::Lacks(program.to_owned()));
        }
        // A full queue of signals that are not looked at yet would hold back the answers behind them.
        let builder = connection::Builder::unix_stream(relabel::relabelled(stream)?).max_queued(8192);
        let builder = if which.is_peer() { builder.p2p() } else { builder };
        let connection = timeout_at(deadline, builder.build())
            .await
            .map_err(|_| Error::Deadline("the guest's bus does not answer".to_owned()))??;
        Ok(Self { connection, which, destination: SYSTEMD, patience })
    }

    /// Whether PID 1 answers over it within `patience`.
    pub(super) async fn is_alive(&self, patience: Duration) -> bool {
        !self.is_closed() && matches!(tokio::time::timeout(patience, self.ping()).await, Ok(Ok(())))
    }

    /// Whether the connection has ended.
    fn is_closed(&self) -> bool {
        self.connection.is_closed()
    }

    /// The same connection, for talking to somebody else than the manager.
    pub(super) fn to(&self, destination: &'static str) -> Self {
        Self { destination, ..self.clone() }
    }

    /// The same connection, with another patience for each call.
    pub(super) fn with_patience(&self, patience: Duration) -> Self {
        Self { patience, ..self.clone() }
    }

    /// What is told on the bus from now on by signals that match the rule (the D-Bus specification, "Match Rules").
    ///
    /// # Errors
    /// As every call.
    pub(super) async fn signals(&self, rule: &str) -> Result<MessageStream, Error> {
        let messages = MessageStream::from(&self.connection);
        let bus = self.to("org.freedesktop.DBus");
        bus.call::<_, ()>("/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch", &(rule)).await?;
        Ok(messages)
    }

    pub(super) async fn call<B, R>(&self, path: &str, interface: &str, method: &str, body: &B) -> Result<R, Error>
    where
        B: Serialize + DynamicType,
        R: DeserializeOwned + Type,
    {
        let destination = (!self.which.is_peer()).then_some(self.destination);
        let deadline = Instant::now() + self.patience;
        let reply = self.connection.call_method(destination, path, Some(interface), method, body);
        let reply = timeout_at(deadline, reply)
            .await
            .map_err(|_| Error::Deadline(format!("{method} on the guest's bus")))??;
        Ok(reply.body().deserialize()?)
    }

    /// One property.
    ///
    /// # Errors
    /// As every call.
    pub(super) async fn property(&self, path: &str, interface: &str, name: &str) -> Result<OwnedValue, Error> {
        self.call(path, PROPERTIES, "Get", &(interface, name)).await
    }

    /// A round trip that PID 1 itself answers.
    ///
    /// # Errors
    /// As every call.
    pub async fn ping(&self) -> Result<(), Error> {
        self.call(ROOT, "org.freedesktop.DBus.Peer", "Ping", &()).await
    }

    /// PID 1's own properties.
    ///
    /// # Errors
    /// As every call.
    pub async fn manager(&self) -> Result<Manager, Error> {
        let (properties, target) =
            futures_util::future::join(self.some(ROOT, MANAGER, &MANAGER_PROPERTIES), self.real_name("default.target"))
                .await;
        // A default.target that is not there is an error answer, and no reason to know nothing.
        Ok(manager(&properties?, target.unwrap_or_default()))
    }

    /// What a unit is called that may be an alias.
    async fn real_name(&self, name: &str) -> Result<String, Error> {
        let path: OwnedObjectPath = self.call(ROOT, MANAGER, "LoadUnit", &(name)).await?;
        let id = self.property(path.as_str(), UNIT, "Id").await?;
        Ok(String::try_from(id).unwrap_or_default())
    }

    /// The queue, ours left out, each job with when its unit left `inactive`, as far as it has (0: not yet): a job keeps
    /// no time of its own. `seconds` is left open, since PID 1 does not tell what time it is.
    ///
    /// # Errors
    /// As every call.
    pub async fn jobs(&self) -> Result<Vec<(Job, u64)>, Error> {
        type Line = (u32, String, String, String, OwnedObjectPath, OwnedObjectPath);
        let lines: Vec<Line> = self.call(ROOT, MANAGER, "ListJobs", &()).await?;
        let ours = |line: &Line| line.1.starts_with(UNIT_PREFIX);
        let jobs = lines.into_iter().filter(|line| !ours(line)).take(4 * LIST);
        let jobs = jobs.map(|(_, unit, kind, state, _, path)| async move {
            let mut since = 0;
            if state == "running" && kind == "start" {
                let left = self.property(path.as_str(), UNIT, "InactiveExitTimestampMonotonic").await;
                since = left.ok().and_then(|value| u64::try_from(value).ok()).unwrap_or(0);
            }
            (Job { unit: bounded(&unit, STRING), kind, state: state.into(), seconds: None }, since)
        });
        Ok(stream::iter(jobs).buffered(PIPELINE).collect().await)
    }

    /// All loaded units, ours left out.
    ///
    /// # Errors
    /// As every call.
    async fn list_units(&self) -> Result<Vec<Listed>, Error> {
        type Line = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);
        let lines: Vec<Line> = self.call(ROOT, MANAGER, "ListUnits", &()).await?;
        Ok(lines
            .into_iter()
            .filter(|line| !line.0.starts_with(UNIT_PREFIX))
            .map(|(name, description, load_state, active_state, sub_state, _, path, ..)| Listed {
                path,
                unit: Unit {
                    name: bounded(&name, STRING),
                    description: bounded(&description, STRING),
                    load_state: load_state.into(),
                    active_state: active_state.into(),
                    sub_state: sub_state.into(),
                    ..Unit::default()
                },
            })
            .collect())
    }

    /// All loaded units, with what `ListUnits` tells of them.
    ///
    /// # Errors
    /// As every call.
    pub async fn states(&self) -> Result<Vec<Unit>, Error> {
        Ok(self.list_units().await?.into_iter().map(|listed| listed.unit).collect())
    }

    /// All loaded units and the `wanted` ones, whether loaded or not. Other units than services that nobody wants and
    /// that are well have only what `ListUnits` tells; `unit_file_state` is told of wanted units that are not active.
    ///
    /// # Errors
    /// As every call. A unit that cannot be read has what `ListUnits` tells.
    pub async fn units(&self, wanted: &BTreeSet<String>) -> Result<Vec<Unit>, Error> {
        let listed = self.list_units().await?;
        let known: BTreeSet<_> = listed.iter().map(|listed| listed.unit.name.clone()).collect();
        let there = stream::iter(listed.into_iter().map(|listed| async move {
            if is_detailed(&listed.unit) || wanted.contains(&listed.unit.name) {
                let wanted = wanted.contains(&listed.unit.name);
                let known = listed.unit.clone();
                self.more(&listed.path, &listed.unit.name, wanted, known).await.unwrap_or(listed.unit)
            } else {
                listed.unit
            }
        }))
        .buffered(PIPELINE);
        let missing = stream::iter(wanted.iter().filter(|name| !known.contains(*name)).map(|name| async move {
            let path: OwnedObjectPath = self.call(ROOT, MANAGER, "LoadUnit", &(name)).await?;
            // An alias leads to a unit of another name, which is listed already; here it goes by the wanted one.
            Ok::<_, Error>(Unit { name: name.clone(), ..self.unit(&path, name, true).await? })
        }))
        .buffered(PIPELINE);
        let (mut units, missing) =
            futures_util::future::join(there.collect::<Vec<_>>(), missing.collect::<Vec<_>>()).await;
        for unit in missing {
            units.push(unit?);
        }
        self.read_untried(&mut units, wanted).await;
        keep_broken(&mut units);
        Ok(units)
    }

    /// Reads in full what units require that nobody tried to start, and so on: of most that are not active no more than
    /// that is known until now, and one of these may be the reason.
    async fn read_untried(&self, units: &mut [Unit], wanted: &BTreeSet<String>) {
        let mut read = BTreeSet::new();
        loop {
            let required: BTreeSet<&String> =
                units.iter().filter(|unit| unit.is_untried()).flat_map(|unit| &unit.broken_requirements).collect();
            let is_unread = |unit: &Unit| {
                let has_more = !unit.name.ends_with(".device") && !is_detailed(unit) && !wanted.contains(&unit.name);
                has_more && unit.is_untried() && required.contains(&unit.name) && !read.contains(&unit.name)
            };
            let unread: Vec<(usize, String)> = units
                .iter()
                .enumerate()
                .filter(|(_, unit)| is_unread(unit))
                .map(|(index, unit)| (index, unit.name.clone()))
                .collect();
            if unread.is_empty() {
                return;
            }
            let found = stream::iter(unread.iter().map(|(_, name)| async move {
                let path: OwnedObjectPath = self.call(ROOT, MANAGER, "LoadUnit", &(name)).await?;
                self.unit(&path, name, false).await
            }));
            let found: Vec<_> = found.buffered(PIPELINE).collect().await;
            for ((index, name), found) in unread.into_iter().zip(found) {
                if let Ok(unit) = found {
                    units[index] = unit;
                }
                read.insert(name);
            }
        }
    }

    /// A unit by its object. `broken_requirements` holds every requirement yet.
    ///
    /// Property by property: `GetAll` takes PID 1 15 ms a unit under TCG, and 150 ms the first time, since it looks at
    /// the unit's files over 9p (`UnitFileState`, `UnitFilePreset`); the ones we need, pipelined, take 0.4 ms each.
    async fn unit(&self, path: &OwnedObjectPath, name: &str, wanted: bool) -> Result<Unit, Error> {
        let states =
            self.some(path.as_str(), UNIT, &["Id", "Description", "LoadState", "ActiveState", "SubState"]).await?;
        self.more(path, name, wanted, unit(&states)).await
    }

    /// As [`Bus::unit`], for one of which `listed` is known.
    async fn more(&self, path: &OwnedObjectPath, name: &str, wanted: bool, listed: Unit) -> Result<Unit, Error> {
        let path = path.as_str();
        let active = listed.active_state == ActiveState::Active;
        let mut names = vec![
            "FragmentPath",
            "ActiveEnterTimestampMonotonic",
            "ActiveExitTimestampMonotonic",
            "InactiveEnterTimestampMonotonic",
            "StateChangeTimestampMonotonic",
            "ConditionResult",
            "ConditionTimestampMonotonic",
            "TriggeredBy",
            "WantedBy",
            "RequiredBy",
        ];
        if !active {
            names.extend(["Conditions", "Asserts", "Requires", "Requisite", "BindsTo"]);
            if listed.load_state != LoadState::Loaded {
                names.push("LoadError");
            }
            if wanted {
                names.push("UnitFileState");
            }
        }
        let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
        let own = KINDS.iter().find(|(suffix, ..)| *suffix == kind);
        let (properties, more) = futures_util::future::join(self.some(path, UNIT, &names), async {
            match own {
                Some((kind, interface, names)) => {
                    let failing = matches!(listed.active_state, ActiveState::Failed | ActiveState::Activating);
                    let more = if *kind == "service" && failing { NOT_UP } else { [].as_slice() };
                    self.some(path, interface, &[*names, more].concat()).await
                }
                None => Ok(Properties::new()),
            }
        })
        .await;
        let mut properties = properties?;
        properties.extend(more?);
        let Unit { name, description, load_state, active_state, sub_state, .. } = listed;
        Ok(Unit { name, description, load_state, active_state, sub_state, ..unit(&properties) })
    }

    /// Some properties of an object; those that an older systemd does not have are left out.
    pub(super) async fn some(&self, path: &str, interface: &str, names: &[&str]) -> Result<Properties, Error> {
        let all = names.iter().map(|name| async move {
            match self.property(path, interface, name).await {
                Ok(value) => Ok(Some(((*name).to_owned(), value))),
                Err(Error::Bus(zbus::Error::MethodError(..))) => Ok(None),
                Err(error) => Err(error),
            }
        });
        let all = futures_util::future::try_join_all(all).await?;
        Ok(all.into_iter().flatten().collect())
    }

    /// Waits for the end of the boot: `StartupFinished`, or that it has been already.
    ///
    /// # Errors
    /// As every call, or the connection ended. There is no deadline but the caller's.
    pub async fn booted(&self) -> Result<(), Error> {
        let mut messages = MessageStream::from(&self.connection);
        self.subscribe().await?;
        if self.has_booted().await? {
            return Ok(());
        }
        while let Some(message) = messages.next().await {
            if is_signal(&message?, MANAGER, "StartupFinished") {
                return Ok(());
            }
        }
        Err(Error::Closed)
    }

    /// Whether PID 1's first transaction is done.
    pub(super) async fn has_booted(&self) -> Result<bool, Error> {
        let finished = self.property(ROOT, MANAGER, "FinishTimestampMonotonic").await?;
        Ok(u64::try_from(finished).is_ok_and(|at| at > 0))
    }

    /// Asks PID 1 for signals.
    async fn subscribe(&self) -> Result<(), Error> {
        match self.call::<_, ()>(ROOT, MANAGER, "Subscribe", &()).await {
            Err(Error::Bus(zbus::Error::MethodError(name, ..))) if name.ends_with(".AlreadySubscribed") => Ok(()),
            other => other,
        }
    }

    /// Starts a unit and waits until it is no longer starting or running: the unit as it is then.
    ///
    /// # Errors
    /// As every call; [`Error::Deadline`] when it is still running at the deadline.
    pub async fn run_unit(&self, name: &str, deadline: Instant) -> Result<Unit, Error> {
        let mut messages = MessageStream::from(&self.connection);
        let run = async {
            self.subscribe().await?;
            let path: OwnedObjectPath = self.call(ROOT, MANAGER, "LoadUnit", &(name)).await?;
            let job: OwnedObjectPath = self.call(ROOT, MANAGER, "StartUnit", &(name, "replace")).await?;
            let mut queued = true;
            loop {
                let unit = if queued { None } else { Some(self.unit(&path, name, false).await?) };
                match unit {
                    Some(unit)
                        if !matches!(
                            unit.active_state,
                            ActiveState::Activating | ActiveState::Deactivating | ActiveState::Reloading
                        ) =>
                    {
                        let lasting = unit.service.as_ref().is_none_or(|service| service.remain_after_exit);
                        if unit.active_state != ActiveState::Active || lasting {
                            return Ok(unit);
                        }
                    }
                    Some(_) | None => {}
                }
                // PID 1 tells when the job is gone, and each change of a unit's state.
                while let Some(message) = messages.next().await {
                    let message = message?;
                    if is_signal(&message, MANAGER, "JobRemoved") {
                        type Removed = (u32, OwnedObjectPath, String, String);
                        if message.body().deserialize::<Removed>().is_ok_and(|removed| removed.1 == job) {
                            queued = false;
                            break;
                        }
                    } else if !queued && is_signal(&message, PROPERTIES, "PropertiesChanged") {
                        let header = message.header();
                        if header.path().is_some_and(|from| from.as_str() == path.as_str()) {
                            break;
                        }
                    }
                }
                if self.is_closed() {
                    return Err(Error::Closed);
                }
            }
        };
        timeout_at(deadline, run).await.map_err(|_| Error::Deadline(format!("{name} did not end")))?
    }

    /// The units that a unit triggers (a timer's service).
    ///
    /// # Errors
    /// As every call.
    pub async fn triggers(&self, name: &str) -> Result<Vec<String>, Error> {
        let path: OwnedObjectPath = self.call(ROOT, MANAGER, "LoadUnit", &(name)).await?;
        let value = self.property(path.as_str(), UNIT, "Triggers").await?;
        Ok(Vec::<String>::try_from(value).unwrap_or_default())
    }
}

const MANAGER_PROPERTIES: [&str; 7] = [
    "Version",
    "SystemState",
    "KernelTimestampMonotonic",
    "UserspaceTimestampMonotonic",
    "FinishTimestampMonotonic",
    "Tainted",
    "Virtualization",
];
pub(super) const UNIT: &str = "org.freedesktop.systemd1.Unit";
/// The kinds of units that have properties we read: their interface, the properties.
const KINDS: [(&str, &str, &[&str]); 7] = [
    (
        "service",
        "org.freedesktop.systemd1.Service",
        &[
            "Type",
            "RemainAfterExit",
            "Restart",
            "NRestarts",
            "MainPID",
            "ExecMainCode",
            "ExecMainStatus",
            "StatusText",
            "ExecStart",
            "Result",
        ],
    ),
    ("mount", "org.freedesktop.systemd1.Mount", &["Where", "What", "Result"]),
    ("socket", "org.freedesktop.systemd1.Socket", &["Result"]),
    ("timer", "org.freedesktop.systemd1.Timer", &["Result"]),
    ("path", "org.freedesktop.systemd1.Path", &["Result"]),
    ("swap", "org.freedesktop.systemd1.Swap", &["Result"]),
    ("automount", "org.freedesktop.systemd1.Automount", &["Result"]),
];

/// What is read of a service besides that does not get up.
const NOT_UP: &[&str] =
    &["EnvironmentFiles", "LoadCredential", "LoadCredentialEncrypted", "RestartUSec", "CPUUsageNSec"];

/// Keeps of each unit's requirements those that can be why it is not up.
fn keep_broken(units: &mut [Unit]) {
    let is_broken = |unit: &Unit| unit.load_state != LoadState::Loaded || unit.active_state == ActiveState::Failed;
    let states: BTreeMap<String, (bool, bool)> =
        units.iter().map(|unit| (unit.name.clone(), (is_broken(unit), unit.is_untried()))).collect();
    for unit in units {
        let (untried, failed) = (unit.is_untried(), unit.active_state == ActiveState::Failed);
        unit.broken_requirements.retain(|name| {
            // Nobody tries a device: it is there, or it did not appear.
            let counts = untried || (failed && name.ends_with(".device"));
            states.get(name).is_some_and(|(broken, idle)| *broken || (counts && *idle))
        });
    }
}

/// Whether a unit is read in full although nobody wants it: services, and whatever is not well.
fn is_detailed(unit: &Unit) -> bool {
    match unit.load_state {
        LoadState::Loaded => {
            unit.name.ends_with(".service") || !matches!(unit.active_state, ActiveState::Active | ActiveState::Inactive)
        }
        // What somebody orders itself after; ListUnits tells all there is to know.
        LoadState::NotFound => false,
        _ => true,
    }
}

fn is_signal(message: &zbus::Message, interface: &str, member: &str) -> bool {
    let header = message.header();
    message.message_type() == message::Type::Signal
        && header.interface().is_some_and(|have| have.as_str() == interface)
        && header.member().is_some_and(|have| have.as_str() == member)
}

/// A property as the type that is asked for; its default when it is not there or another.
pub(super) fn get<'a, T>(properties: &'a Properties, name: &str) -> T
where
    T: TryFrom<&'a Value<'a>> + Default,
{
    properties.get(name).and_then(|value| T::try_from(value).ok()).unwrap_or_default()
}

pub(super) fn string(properties: &Properties, name: &str) -> String {
    bounded(get::<&str>(properties, name), STRING)
}

pub(super) fn strings(properties: &Properties, name: &str) -> Vec<String> {
    let list: Option<Vec<String>> =
        properties.get(name).and_then(|value| value.try_clone().ok()).and_then(|value| value.try_into().ok());
    list.unwrap_or_default().into_iter().take(LIST).map(|text| bounded(&text, STRING)).collect()
}

fn structs<T>(properties: &Properties, name: &str) -> Vec<T>
where
    Vec<T>: TryFrom<OwnedValue>,
{
    let list = properties.get(name).and_then(|value| value.try_clone().ok()).and_then(|value| value.try_into().ok());
    list.unwrap_or_default()
}

fn manager(properties: &Properties, default_target: String) -> Manager {
    Manager {
        version: string(properties, "Version"),
        state: string(properties, "SystemState"),
        default_target: bounded(&default_target, STRING),
        kernel_us: get(properties, "KernelTimestampMonotonic"),
        userspace_us: get(properties, "UserspaceTimestampMonotonic"),
        finish_us: get(properties, "FinishTimestampMonotonic"),
        tainted: string(properties, "Tainted"),
        virtualization: string(properties, "Virtualization"),
    }
}

/// A unit by its properties (org.freedesktop.systemd1(5)), those of its kind among them.
fn unit(properties: &Properties) -> Unit {
    let list = |names: &[&str]| {
        let mut all: Vec<String> = names.iter().flat_map(|name| strings(properties, name)).collect();
        all.sort();
        all.dedup();
        all
    };
    let load_error: Option<(String, String)> =
        properties.get("LoadError").and_then(|value| value.try_clone().ok()).and_then(|value| value.try_into().ok());
    let is_mount = properties.contains_key("Where");
    Unit {
        name: string(properties, "Id"),
        description: string(properties, "Description"),
        load_state: string(properties, "LoadState").into(),
        load_error: load_error.map(|(_, message)| bounded(&message, STRING)).filter(|message| !message.is_empty()),
        active_state: string(properties, "ActiveState").into(),
        sub_state: string(properties, "SubState").into(),
        unit_file_state: string(properties, "UnitFileState").into(),
        fragment_path: string(properties, "FragmentPath"),
        active_enter_us: get(properties, "ActiveEnterTimestampMonotonic"),
        active_exit_us: get(properties, "ActiveExitTimestampMonotonic"),
        inactive_enter_us: get(properties, "InactiveEnterTimestampMonotonic"),
        state_change_us: get(properties, "StateChangeTimestampMonotonic"),
        condition_result: get(properties, "ConditionResult"),
        condition_us: get(properties, "ConditionTimestampMonotonic"),
        failed_conditions: failed_conditions(properties),
        triggered_by: strings(properties, "TriggeredBy"),
        wanted_by: list(&["WantedBy", "RequiredBy"]),
        broken_requirements: list(&["Requires", "Requisite", "BindsTo"]),
        service: properties.contains_key("ExecMainStatus").then(|| service(properties)),
        mount_where: is_mount.then(|| string(properties, "Where")),
        mount_what: is_mount.then(|| string(properties, "What")),
        result: string(properties, "Result").into(),
    }
}

fn service(properties: &Properties) -> Service {
    Service {
        kind: string(properties, "Type").into(),
        remain_after_exit: get(properties, "RemainAfterExit"),
        restart: string(properties, "Restart"),
        restarts: get(properties, "NRestarts"),
        main_pid: get(properties, "MainPID"),
        exit_kind: get(properties, "ExecMainCode"),
        exit_status: get(properties, "ExecMainStatus"),
        status_text: string(properties, "StatusText"),
        exec_start: exec_start(properties),
        files: files(properties),
        restart_us: get(properties, "RestartUSec"),
        cpu_us: properties
            .get("CPUUsageNSec")
            .and_then(|value| u64::try_from(value).ok())
            // systemd's word for what it has not counted.
            .filter(|ns| *ns != u64::MAX)
            .map(|ns| ns / 1000),
    }
}

/// `EnvironmentFiles` is an `a(sb)` of paths and whether they may be missing; the credentials are `a(ss)` of names and
/// paths, or names in PID 1's own store, which may.
fn files(properties: &Properties) -> Vec<String> {
    let environment: Vec<(String, bool)> = structs(properties, "EnvironmentFiles");
    let credentials =
        ["LoadCredential", "LoadCredentialEncrypted"].map(|name| structs::<(String, String)>(properties, name));
    let needed = environment.into_iter().filter(|(_, optional)| !optional).map(|(path, _)| path);
    let named = credentials.into_iter().flatten().map(|(_, path)| path);
    needed.chain(named).filter(|path| path.starts_with('/')).take(LIST).map(|path| bounded(&path, STRING)).collect()
}

/// The first command line of `ExecStart`, an `a(sasbttttuii)`.
fn exec_start(properties: &Properties) -> String {
    let Some(Value::Array(commands)) = properties.get("ExecStart").map(|value| &**value) else { return String::new() };
    let Some(Value::Structure(command)) = commands.iter().next() else { return String::new() };
    let Some(Value::Array(words)) = command.fields().get(1) else { return String::new() };
    let words: Vec<&str> = words.iter().filter_map(|word| <&str>::try_from(word).ok()).collect();
    bounded(&words.join(" "), STRING)
}

/// Conditions and asserts that did not hold. `a(sbbsi)`: type, trigger, negated, parameter, and 1 held, -1 did not, 0
/// was not looked at. Of those with `|` one that holds is enough.
fn failed_conditions(properties: &Properties) -> Vec<String> {
    type Condition = (String, bool, bool, String, i32);
    let mut failed = Vec::new();
    for name in ["Conditions", "Asserts"] {
        let all: Vec<Condition> = structs(properties, name);
        let some_trigger_held = all.iter().any(|(_, trigger, _, _, result)| *trigger && *result > 0);
        failed.extend(
            all.into_iter()
                .filter(|(_, trigger, _, _, result)| *result < 0 && !(*trigger && some_trigger_held))
                .take(LIST)
                .map(|(kind, trigger, negated, parameter, _)| {
                    let trigger = if trigger { "|" } else { "" };
                    let negated = if negated { "!" } else { "" };
                    bounded(&format!("{kind}={trigger}{negated}{parameter}"), STRING)
                }),
        );
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_why_a_unit_is_not_up() {
        let unit = |name: &str, state: &str, requires: &[&str]| Unit {
            name: name.into(),
            load_state: "loaded".into(),
            active_state: state.into(),
            broken_requirements: requires.iter().map(|&name| name.to_owned()).collect(),
            ..Unit::default()
        };
        let skipped = Unit { condition_us: 5, ..unit("skipped.service", "inactive", &[]) };
        let ended = Unit { inactive_enter_us: 5, condition_us: 4, ..unit("ended.service", "inactive", &[]) };
        let device = "dev-ttyUSB0.device";
        let all =
            [device, "up.target", "skipped.service", "ended.service", "mid.service", "db.service", "gone.service"];
        let mut units = vec![
            unit("up.target", "active", &[]),
            unit(device, "inactive", &[]),
            unit("db.service", "failed", &[device, "mid.service"]),
            unit("mid.service", "inactive", &["db.service"]),
            unit("app.service", "inactive", &all),
            Unit { condition_us: 5, condition_result: true, ..unit("tried.service", "inactive", &all) },
            Unit { load_state: "not-found".into(), ..unit("gone.service", "inactive", &[]) },
            skipped,
            ended,
        ];
        keep_broken(&mut units);
        let kept = |name: &str| {
            let unit = units.iter().find(|unit| unit.name == name).unwrap();
            unit.broken_requirements.iter().map(String::as_str).collect::<Vec<_>>()
        };
        assert_eq!(kept("app.service"), [device, "mid.service", "db.service", "gone.service"]);
        assert_eq!(kept("tried.service"), ["db.service", "gone.service"]);
        assert_eq!(kept("db.service"), [device]);
        assert_eq!(kept("mid.service"), ["db.service"]);
    }
}
