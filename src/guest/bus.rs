//! D-Bus in the guest, typed: PID 1's private bus, which needs no bus daemon, and the system bus.
//!
//! A `systemd-stdio-bridge` in the guest carries the bytes (systemd-stdio-bridge(1)). Every call has a deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryFutureExt, stream};
use tokio::time::{Instant, timeout, timeout_at};
use zbus::fdo::{PeerProxy, PropertiesChanged};
use zbus::proxy::{CacheProperties, ProxyImpl};
use zbus::zvariant::{self, ObjectPath, OwnedObjectPath};
use zbus::{Connection, MessageStream, Proxy, connection};

use super::credentials::Token;
use super::facts::{Job, Manager, Service, Unit};
use super::proxies::{Command, Condition, JobRemoved, KindProxy, StartupFinished, SystemdProxy, UnitProxy};
use super::{Error, greeting, relabel};
use crate::model::{ActiveState, JobState, LoadState, UNIT_PREFIX, port};
use crate::text::bounded;
use crate::transport::Transport;

/// How many units are read at once: PID 1 answers one after the other, so more only fill its queue.
const PIPELINE: usize = 16;
/// How often a unit is read that changes while it is read. What changes this often loops, and its words tell.
const READINGS: u32 = 4;
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

/// A connection to a bus in the guest. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bus {
    /// For what is no manager's; what is asked over it goes through [`Bus::within`].
    pub(super) connection: Connection,
    /// The manager at its other end.
    pub(super) systemd: SystemdProxy<'static>,
    /// For each call.
    patience: Duration,
}

/// Properties of an object, all asked for at once, as a struct of facts with fields of the same names.
macro_rules! properties {
    ($bus:expr, $object:expr => $facts:ident { $($name:ident),+ }) => {
        async {
            let ($($name,)+) = tokio::try_join!($($bus.get($object.$name())),+)?;
            Ok::<_, Error>($facts { $($name: $crate::guest::bus::Bounded::bounded($name).into(),)+ ..$facts::default() })
        }
    };
}
pub(super) use properties;

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
        let systemd = SystemdProxy::builder(&connection).cache_properties(CacheProperties::No).build().await?;
        Ok(Self { connection, systemd, patience })
    }

    /// Whether PID 1 answers over it within `patience`.
    pub(super) async fn is_alive(&self, patience: Duration) -> bool {
        !self.is_closed() && matches!(timeout(patience, self.ping()).await, Ok(Ok(())))
    }

    /// Whether the connection has ended.
    fn is_closed(&self) -> bool {
        self.connection.is_closed()
    }

    /// The same connection, with another patience for each call.
    pub(super) fn with_patience(&self, patience: Duration) -> Self {
        Self { patience, ..self.clone() }
    }

    /// An object of the interface's usual service, its properties not cached.
    pub(super) async fn proxy<'p, P, Path>(&self, path: Path) -> Result<P, Error>
    where
        P: ProxyImpl<'p> + From<Proxy<'p>>,
        Path: TryInto<ObjectPath<'p>, Error: Into<zbus::Error>>,
    {
        Ok(P::builder(&self.connection).path(path)?.cache_properties(CacheProperties::No).build().await?)
    }

    /// What a call answers, which is named so when it takes too long.
    ///
    /// # Errors
    /// [`Error::Bus`] with an error answer, [`Error::Deadline`].
    pub(super) async fn within<T, E>(&self, name: &str, call: impl Future<Output = Result<T, E>>) -> Result<T, Error>
    where
        zbus::Error: From<E>,
    {
        let answer = timeout(self.patience, call).await;
        let answer = answer.map_err(|_| Error::Deadline(format!("{name} on the guest's bus")))?;
        Ok(answer.map_err(zbus::Error::from)?)
    }

    /// A property; the default where an older systemd does not have it, or has another type.
    ///
    /// # Errors
    /// As every call, but for an error answer.
    pub(super) fn get<'a, T: Default + Send>(
        &'a self,
        call: impl Future<Output = zbus::Result<T>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, Error>> {
        self.get_if(true, call)
    }

    /// A property that is asked for on a condition; otherwise the default.
    fn get_if<'a, T: Default + Send>(
        &'a self,
        asked: bool,
        call: impl Future<Output = zbus::Result<T>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, Error>> {
        let get = async move {
            if !asked {
                return Ok(T::default());
            }
            match self.within("Get", call).await {
                Err(Error::Bus(zbus::Error::Variant(zvariant::Error::IncorrectType))) => Ok(T::default()),
                Err(error) if error.answer().is_some() => Ok(T::default()),
                other => other,
            }
        };
        // All that are read of a unit at once would be a future of 90 KiB.
        get.boxed()
    }

    /// A round trip that PID 1 itself answers.
    ///
    /// # Errors
    /// As every call.
    pub async fn ping(&self) -> Result<(), Error> {
        let systemd = self.systemd.inner();
        let peer = PeerProxy::new(&self.connection, systemd.destination(), systemd.path()).await?;
        self.within("Ping", peer.ping()).await
    }

    /// A unit, loaded if it is not yet.
    pub(super) async fn load(&self, name: &str) -> Result<UnitProxy<'static>, Error> {
        let path = self.within("LoadUnit", self.systemd.load_unit(name)).await?;
        self.proxy(path).await
    }

    /// PID 1's own properties.
    ///
    /// # Errors
    /// As every call.
    pub async fn manager(&self) -> Result<Manager, Error> {
        let systemd = &self.systemd;
        let (manager, target) =
            tokio::join!(properties!(self, systemd => Manager { version, state, userspace_us, finish_us }), async {
                self.within("Get", self.load("default.target").await?.name()).await
            },);
        // A default.target that is not there is an error answer, and no reason to know nothing.
        Ok(Manager { default_target: target.unwrap_or_default().bounded(), ..manager? })
    }

    /// The queue, ours left out, each job with when its unit left `inactive`, as far as it has (0: not yet): a job keeps
    /// no time of its own. `seconds` is left open, since PID 1 does not tell what time it is.
    ///
    /// # Errors
    /// As every call.
    pub async fn jobs(&self) -> Result<Vec<(Job, u64)>, Error> {
        let lines = self.within("ListJobs", self.systemd.list_jobs()).await?;
        let jobs = lines.into_iter().filter(|line| !line.1.starts_with(UNIT_PREFIX)).take(4 * LIST);
        let jobs = jobs.map(|(_, unit, kind, state, _, path)| async move {
            let since = match self.proxy::<UnitProxy<'_>, _>(path).await {
                Ok(unit) if state == "running" && kind == "start" => self.get(unit.inactive_exit_us()).await,
                _ => Ok(0),
            };
            let since = since.unwrap_or(0);
            (Job { unit: unit.bounded(), kind, state: state.into(), seconds: None }, since)
        });
        Ok(stream::iter(jobs).buffered(PIPELINE).collect().await)
    }

    /// All loaded units, ours left out: their objects, and what `ListUnits` tells of them.
    async fn list_units(&self) -> Result<Vec<(OwnedObjectPath, Unit)>, Error> {
        let lines = self.within("ListUnits", self.systemd.list_units()).await?;
        Ok(lines
            .into_iter()
            .filter(|line| !line.0.starts_with(UNIT_PREFIX))
            .map(|(name, description, load_state, active_state, sub_state, _, path, ..)| {
                let (name, description) = (name.bounded(), description.bounded());
                let (load_state, active_state) = (load_state.into(), active_state.into());
                (
                    path,
                    Unit {
                        name,
                        description,
                        load_state,
                        active_state,
                        sub_state: sub_state.into(),
                        ..Unit::default()
                    },
                )
            })
            .collect())
    }

    /// All loaded units, with what `ListUnits` tells of them.
    ///
    /// # Errors
    /// As every call.
    pub async fn states(&self) -> Result<Vec<Unit>, Error> {
        Ok(self.list_units().await?.into_iter().map(|(_, unit)| unit).collect())
    }

    /// All loaded units and the `wanted` ones, whether loaded or not. A unit that is not a service, is not wanted
    /// and is well has only what `ListUnits` returns; `unit_file_state` is read of wanted units that are not active.
    ///
    /// # Errors
    /// As every call. A unit that cannot be read has what `ListUnits` tells.
    pub async fn units(&self, wanted: &BTreeSet<String>) -> Result<Vec<Unit>, Error> {
        let listed = self.list_units().await?;
        let known: BTreeSet<_> = listed.iter().map(|(_, unit)| unit.name.clone()).collect();
        let there = stream::iter(listed.into_iter().map(|(path, listed)| async move {
            let wanted = wanted.contains(&listed.name);
            if !wanted && !is_detailed(&listed) {
                return listed;
            }
            let more = self.proxy(path).and_then(|unit| self.more(unit, listed.clone(), wanted));
            more.await.unwrap_or(listed)
        }))
        .buffered(PIPELINE);
        let missing = stream::iter(wanted.iter().filter(|name| !known.contains(*name)).map(|name| async move {
            let unit = self.unit(self.load(name).await?, true).await?;
            // An alias leads to a unit of another name, which is listed already; here it goes by the wanted one.
            Ok::<_, Error>(Unit { name: name.clone(), ..unit })
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

    /// Reads in full what never-started units require, and what those require: so far only their names and states are
    /// known, and one of them may be the reason.
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
            let read_all = unread.iter().map(|(_, name)| self.load(name).and_then(|unit| self.unit(unit, false)));
            let found: Vec<_> = stream::iter(read_all).buffered(PIPELINE).collect().await;
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
    async fn unit(&self, unit: UnitProxy<'_>, wanted: bool) -> Result<Unit, Error> {
        let listed = properties!(self, unit => Unit { name, description, load_state, active_state, sub_state }).await?;
        self.more(unit, listed, wanted).await
    }

    /// As [`Bus::unit`], for one of which `listed` is known.
    ///
    /// PID 1 answers one property after the other and goes on with its work in between, and its list may be seconds old
    /// by the time that a unit's turn comes: what it says of a unit that changed meanwhile belongs to two states, which
    /// hid a service that had just failed. Such a unit is read again.
    async fn more(&self, unit: UnitProxy<'_>, listed: Unit, wanted: bool) -> Result<Unit, Error> {
        let mut known = listed;
        for attempt in 1.. {
            let before_us = self.get(unit.state_change_us()).await?;
            let read = self.read(&unit, &known, wanted).await?;
            let after_us = self.get(unit.state_change_us()).await?;
            // What is asked depends on the state, too.
            let is_whole = before_us == after_us && read.active_state == known.active_state;
            if is_whole || attempt == READINGS {
                return Ok(read);
            }
            known = read;
        }
        Ok(known)
    }

    /// Reads a unit once, what is asked of some states only by the state that is `known`.
    async fn read(&self, unit: &UnitProxy<'_>, known: &Unit, wanted: bool) -> Result<Unit, Error> {
        let inactive = known.active_state != ActiveState::Active;
        let (
            read,
            own,
            file_state,
            load_error,
            conditions,
            asserts,
            wanted_by,
            required_by,
            requires,
            requisite,
            binds_to,
            conflicts,
            conflicted_by,
        ) = tokio::try_join!(
            properties!(self, unit => Unit {
                active_state, sub_state, state_change_us, fragment_path, active_enter_us, active_exit_us,
                inactive_enter_us, condition_result, condition_us, triggered_by
            }),
            self.of_kind(unit.inner().path(), known),
            self.get_if(inactive && wanted, unit.unit_file_state()),
            self.get_if(inactive && known.load_state != LoadState::Loaded, unit.load_error()),
            self.get_if(inactive, unit.conditions()),
            self.get_if(inactive, unit.asserts()),
            self.get(unit.wanted_by()),
            self.get(unit.required_by()),
            self.get_if(inactive, unit.requires()),
            self.get_if(inactive, unit.requisite()),
            self.get_if(inactive, unit.binds_to()),
            self.get_if(inactive && wanted, unit.conflicts()),
            self.get_if(inactive && wanted, unit.conflicted_by()),
        )?;
        Ok(Unit {
            name: known.name.clone(),
            description: known.description.clone(),
            load_state: known.load_state.clone(),
            load_error: Some(load_error.1.bounded()).filter(|message| !message.is_empty()),
            unit_file_state: file_state.bounded().into(),
            failed_conditions: [failed(&conditions), failed(&asserts)].concat(),
            wanted_by: merged([wanted_by, required_by]),
            broken_requirements: merged([requires, requisite, binds_to]),
            conflicts: merged([conflicts, conflicted_by]),
            service: own.service,
            mount_where: own.mount_where,
            mount_what: own.mount_what,
            result: own.result,
            ..read
        })
    }

    /// What units of this kind have besides.
    async fn of_kind(&self, path: &ObjectPath<'_>, listed: &Unit) -> Result<Unit, Error> {
        let kind = listed.name.rsplit_once('.').map_or("", |(_, kind)| kind);
        let interface = match kind {
            "service" => "org.freedesktop.systemd1.Service",
            "mount" => "org.freedesktop.systemd1.Mount",
            "socket" => "org.freedesktop.systemd1.Socket",
            "timer" => "org.freedesktop.systemd1.Timer",
            "path" => "org.freedesktop.systemd1.Path",
            "swap" => "org.freedesktop.systemd1.Swap",
            "automount" => "org.freedesktop.systemd1.Automount",
            _ => return Ok(Unit::default()),
        };
        let unit = KindProxy::builder(&self.connection).interface(interface)?.path(path)?;
        let unit = unit.cache_properties(CacheProperties::No).build().await?;
        let is_mount = kind == "mount";
        let failing = matches!(listed.active_state, ActiveState::Failed | ActiveState::Activating);
        let (read, service, mount_where, mount_what) = tokio::try_join!(
            properties!(self, unit => Unit { result }),
            async { if kind == "service" { self.service(&unit, failing).await } else { Ok(None) } },
            self.get_if(is_mount, unit.mount_where().map_ok(|path| Some(path.bounded()))),
            self.get_if(is_mount, unit.mount_what().map_ok(|what| Some(what.bounded()))),
        )?;
        Ok(Unit { service, mount_where, mount_what, ..read })
    }

    /// What a service has; `None` where it cannot be read. More is read of one that does not get up.
    async fn service(&self, service: &KindProxy<'_>, failing: bool) -> Result<Option<Service>, Error> {
        let (read, exit_status, commands, environment, plain, encrypted, devices, directory, restart_us, cpu_ns) = tokio::try_join!(
            properties!(self, service => Service {
                kind, remain_after_exit, restart, restarts, main_pid, exit_kind
            }),
            self.get(service.exit_status().map_ok(Some)),
            self.get(service.exec_start()),
            self.get_if(failing, service.environment_files()),
            self.get_if(failing, service.load_credential()),
            self.get_if(failing, service.load_credential_encrypted()),
            self.get_if(failing, service.device_allow()),
            self.get_if(failing, service.working_directory()),
            self.get(service.restart_us()),
            self.get_if(failing, service.cpu_ns().map_ok(Some)),
        )?;
        Ok(exit_status.map(|exit_status| Service {
            exit_status,
            exec_start: commands.first().map(|command: &Command| command.1.join(" ").bounded()).unwrap_or_default(),
            files: files(environment, [plain, encrypted].concat()),
            devices: files(Vec::new(), devices.into_iter().map(|(path, access)| (access, path)).collect()),
            directory: Some(directory.bounded()).filter(|path| path.starts_with('/')).unwrap_or_default(),
            restart_us,
            // systemd's word for what it has not counted.
            cpu_us: cpu_ns.filter(|ns| *ns != u64::MAX).map(|ns| ns / 1000),
            ..read
        }))
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
            if StartupFinished::from_message(message?).is_some() {
                return Ok(());
            }
        }
        Err(Error::Closed)
    }

    /// Whether PID 1's first transaction is done.
    pub(super) async fn has_booted(&self) -> Result<bool, Error> {
        Ok(self.within("Get", self.systemd.finish_us()).await? > 0)
    }

    /// The unit that keeps PID 1's first transaction from its end though nothing else does: all jobs that run are of
    /// services that were started again at least `restarts` times, or there is none, and such a service waits for its
    /// next turn. `None`: the boot goes on, or has ended.
    ///
    /// # Errors
    /// As every call.
    pub(super) async fn boot_held_by(&self, restarts: u32) -> Result<Option<String>, Error> {
        let units = self.states().await?;
        let running = self.jobs().await?.into_iter().map(|(job, _)| job).filter(|job| job.state == JobState::Running);
        let running: Vec<String> = running.map(|job| job.unit).collect();
        let names = if running.is_empty() {
            units.iter().filter(|unit| unit.is_auto_restart()).map(|unit| unit.name.clone()).collect()
        } else {
            running
        };
        let mut held_by = None;
        for name in names {
            if self.restarts_of(&name).await? < restarts {
                return Ok(None);
            }
            held_by.get_or_insert(name);
        }
        Ok(held_by.filter(|_| !units.is_empty()))
    }

    /// How often a unit was started again; 0 for one that is no service.
    async fn restarts_of(&self, name: &str) -> Result<u32, Error> {
        if !name.ends_with(".service") {
            return Ok(0);
        }
        let unit = self.load(name).await?;
        let service = KindProxy::builder(&self.connection).path(unit.inner().path())?;
        let service = service.cache_properties(CacheProperties::No).build().await?;
        self.get(service.restarts()).await
    }

    /// Asks PID 1 for signals.
    pub(super) async fn subscribe(&self) -> Result<(), Error> {
        match self.within("Subscribe", self.systemd.subscribe()).await {
            Err(error) if error.answer().is_some_and(|(name, _)| name.ends_with(".AlreadySubscribed")) => Ok(()),
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
            let proxy = self.load(name).await?;
            let job = self.within("StartUnit", self.systemd.start_unit(name, "replace")).await?;
            let mut queued = true;
            loop {
                if !queued {
                    let unit = self.unit(proxy.clone(), false).await?;
                    let changing = matches!(
                        unit.active_state,
                        ActiveState::Activating | ActiveState::Deactivating | ActiveState::Reloading
                    );
                    let lasting = unit.service.as_ref().is_none_or(|service| service.remain_after_exit);
                    if !changing && (unit.active_state != ActiveState::Active || lasting) {
                        return Ok(unit);
                    }
                }
                // PID 1 tells when the job is gone, and each change of a unit's state.
                while let Some(message) = messages.next().await {
                    let message = message?;
                    let removed = JobRemoved::from_message(message.clone());
                    let ended = removed.is_some_and(|removed| removed.args().is_ok_and(|args| args.job == job));
                    queued &= !ended;
                    let is_its = message.header().path() == Some(proxy.inner().path());
                    if ended || (!queued && is_its && PropertiesChanged::from_message(message).is_some()) {
                        break;
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
        self.within("Get", self.load(name).await?.triggers()).await
    }
}

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

/// Whether a unit is read in full though it is not wanted: services, and whatever is not well.
fn is_detailed(unit: &Unit) -> bool {
    match unit.load_state {
        LoadState::Loaded => {
            unit.name.ends_with(".service") || !matches!(unit.active_state, ActiveState::Active | ActiveState::Inactive)
        }
        // Named only by another unit's After=: ListUnits returns all there is to know.
        LoadState::NotFound => false,
        _ => true,
    }
}

/// What is kept of a property.
pub(super) trait Bounded: Sized {
    /// Bounded, where it may be large.
    fn bounded(self) -> Self {
        self
    }
}

impl Bounded for bool {}
impl Bounded for i32 {}
impl Bounded for u32 {}
impl Bounded for u64 {}

impl Bounded for String {
    fn bounded(self) -> Self {
        bounded(&self, STRING)
    }
}

impl Bounded for Vec<String> {
    fn bounded(self) -> Self {
        self.into_iter().take(LIST).map(String::bounded).collect()
    }
}

/// Names of several lists, each once.
fn merged(lists: impl IntoIterator<Item = Vec<String>>) -> Vec<String> {
    lists.into_iter().flat_map(Vec::bounded).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Files that are needed: those of `EnvironmentFiles` that may not be missing, and those of credentials: a name in PID
/// 1's own store may.
fn files(environment: Vec<(String, bool)>, credentials: Vec<(String, String)>) -> Vec<String> {
    let needed = environment.into_iter().filter(|(_, optional)| !optional).map(|(path, _)| path);
    let named = credentials.into_iter().map(|(_, path)| path);
    needed.chain(named).filter(|path| path.starts_with('/')).take(LIST).map(String::bounded).collect()
}

/// Conditions or asserts that did not hold. Of those with `|` one that holds is enough.
fn failed(all: &[Condition]) -> Vec<String> {
    let some_trigger_held = all.iter().any(|(_, trigger, _, _, result)| *trigger && *result > 0);
    all.iter()
        .filter(|(_, trigger, _, _, result)| *result < 0 && !(*trigger && some_trigger_held))
        .take(LIST)
        .map(|(kind, trigger, negated, parameter, _)| {
            let trigger = if *trigger { "|" } else { "" };
            let negated = if *negated { "!" } else { "" };
            format!("{kind}={trigger}{negated}{parameter}").bounded()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;
    use zbus::{Guid, interface};

    use super::*;

    /// A unit of a systemd that lacks most properties.
    struct Bare;

    #[interface(name = "org.freedesktop.systemd1.Unit")]
    impl Bare {
        #[zbus(property)]
        fn id(&self) -> String {
            "bare.service".to_owned()
        }
        /// Of another type than it should be.
        #[zbus(property)]
        fn load_state(&self) -> u32 {
            7
        }
        #[zbus(property)]
        fn active_state(&self) -> String {
            "inactive".to_owned()
        }
        #[zbus(property)]
        fn conditions(&self) -> Vec<Condition> {
            let condition = |kind: &str, trigger, result| (kind.to_owned(), trigger, true, "/x".to_owned(), result);
            vec![condition("A", true, -1), condition("B", true, 1), condition("C", false, -1), condition("D", false, 0)]
        }
        #[zbus(property)]
        fn requires(&self) -> Vec<String> {
            ["b", "a"].map(str::to_owned).to_vec()
        }
        #[zbus(property)]
        fn binds_to(&self) -> Vec<String> {
            vec!["a".to_owned(), "x".repeat(2 * STRING)]
        }
    }

    #[tokio::test]
    async fn a_property_that_is_not_there_has_its_default() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let server = connection::Builder::unix_stream(theirs).p2p().server(Guid::generate()).unwrap();
        let server = server.serve_at("/unit", Bare).unwrap().build();
        let (server, connection) = tokio::join!(server, connection::Builder::unix_stream(ours).p2p().build());
        let (_server, connection) = (server.unwrap(), connection.unwrap());
        let systemd = SystemdProxy::new(&connection).await.unwrap();
        let bus = Bus { connection, systemd, patience: Duration::from_secs(20) };
        let unit = bus.unit(bus.proxy("/unit").await.unwrap(), true).await.unwrap();
        let expected = Unit {
            name: "bare.service".to_owned(),
            active_state: "inactive".into(),
            failed_conditions: vec!["C=!/x".to_owned()],
            broken_requirements: vec!["a".to_owned(), "b".to_owned(), unit.broken_requirements[2].clone()],
            ..Unit::default()
        };
        assert_eq!(unit, expected);
        assert!(unit.broken_requirements[2].len() < STRING + 4);
        let gone = bus.load("gone.service").await.unwrap_err();
        assert_eq!(gone.answer().unwrap().0, "org.freedesktop.DBus.Error.UnknownObject");
    }

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
