//! What programs say of the system and its services, in the journal and on the console: a row for what one program says.
//! Judges ask by [`Meaning`]. Names of units and interfaces are not in here: they are with the judge who knows them.

mod console;
mod errors;
mod hardware;
mod hosts;
mod units;

use std::sync::LazyLock;

use super::journal::{Case, Means, Table};

/// What a line means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Meaning {
    /// Something goes wrong: the line of a failed unit that is shown.
    SpeaksOfError,
    /// What a library says of the nothing that an error before it has left: the chain's first says why.
    FollowsFromError,
    /// A port is another program's: `port`, or `late` where it stands at the end.
    AddressInUse,
    /// A server of web sites could not answer a request for `host`: `why`.
    RequestFailed,
    /// A `port` below 1024 takes a privilege.
    PortIsPrivileged,
    /// A kind of socket is not there for the program.
    FamilyMissing,
    /// No further process or thread could be made.
    ProcessesLimited,
    /// A `command` is in no directory of PATH.
    CommandMissing,
    /// A script's first line names an interpreter that is not there.
    InterpreterMissing,
    /// Nothing on D-Bus can be started for a `name`, where it is said.
    BusNameMissing,
    /// ALSA finds no sound card that the program may open.
    SoundCardMissing,
    /// LightDM shows no greeter, since what is to be run before it ended with an error.
    SetupScriptFailed,
    /// Another program has its name on D-Bus.
    BusNameTaken,
    /// It may not ask the kernel about network interfaces.
    NetlinkMissing,
    /// A file at `path` that a home's generation does not replace.
    FileInTheWay,
    /// It has the kernel's own words.
    HasErrno,
    /// What is wrong is said, not only that something is.
    NamesCause,
    /// A file, a port, or something in quotes is named.
    NamesObject,
    /// It may say what is wrong, where nothing speaks of an error.
    MayTell,
    /// The program says itself that it is an error.
    OfErrorLevel,
    /// The program says itself that it is no error.
    IsWarning,
    /// A level, and nothing behind it.
    SaysNothing,
    /// What listens on this machine does not, or not yet.
    ConnectionRefused,
    /// It is about a connection to another machine.
    SpeaksOfConnection,
    /// A limit of time of the program's own ran out.
    RanOutOfTime,

    /// A host could not be resolved or reached.
    HostNotReached,
    /// Something timed out: of a host outside only together with [`Meaning::NamesRemoteHost`].
    ConnectionTimedOut,
    /// No way leads to an address, or it does not answer: whatever its name, that was resolved.
    RouteMissing,
    /// Which host was not reached: `host`, a name or an address.
    NamesHost,
    /// A URL, an address or a domain.
    NamesRemoteHost,
    /// This machine itself.
    NamesLocalHost,
    /// What could not be resolved is no host, but a user, a path, a symbol, …
    NotAboutHosts,
    /// Something could not be resolved, which may be anything.
    ResolvesAnything,
    /// The words of whoever looks up names of hosts.
    NamesNameService,
    /// Which resolver a program of Go asked, and how: one of this machine's own that cannot answer does not show that
    /// the outside is missed.
    NamesResolver,
    /// No link leads to a gateway: nothing outside was asked.
    GatewayNotReached,
    /// There is no such network interface.
    InterfaceMissing,
    /// An interface that the configuration declares, `name`, could not be made: `why`.
    InterfaceNotMade,

    /// Binds to an address that no card here has.
    AddressNotHere,

    /// Something is not there, or does not answer: hardware only together with [`Meaning::NamesHardware`].
    HardwareMissing,
    /// Hardware is not there.
    HardwareGone,
    /// A kind of hardware, as a word of its own.
    NamesHardware,
    /// The kernel's part of a driver is not there.
    NamesKernelModule,
    /// It is about the configuration, not about hardware.
    AboutConfiguration,
    /// The configuration is wrong, whatever else was missed before.
    ConfigurationWrong,
    /// A file is not there, whichever.
    FileMissing,
    /// Makes a file or directory, rather than reads it.
    MakesFile,
    /// Copies or links one.
    CopiesFile,
    /// Reads one.
    ReadsFile,
    /// Goes into a directory.
    EntersDirectory,
    /// A device node of hardware, whichever program misses it.
    NamesDeviceNode,
    /// A knob that the kernel shows where its hardware is.
    NamesHardwareKnob,
    /// A file system that is named as the real machine's disks are.
    NamesFileSystem,
    /// Something is not there.
    IsMissing,
    /// It is there, and access is denied, as it would be on the real machine.
    IsDenied,
    /// It is there, and the permissions of a file or directory keep the program from it.
    PermissionDenied,
    /// A file system cannot be written to.
    IsReadOnly,
    /// A file system refuses to be mounted: what the kernel says of it.
    MountRefused,
    /// Memory was asked for, and refused.
    MemoryRefused,
    /// It is bound to a processor, or to a memory node, that is not there.
    ProcessorMissing,
    /// How much was asked for: `mib`, `bytes`, or `heap` with its `unit`.
    AsksForMemory,
    /// A kernel module could not be loaded.
    ModuleNotLoaded,
    /// The same, since its hardware is not there, or this processor cannot do it. NixOS's own generator writes kvm-intel
    /// into most configurations.
    ModuleWithoutHardware,

    /// The path of a secret, as secret managers place them or as users put them on a machine by hand.
    NamesSecret,
    /// A key for secrets is not there.
    KeyMissing,
    /// A user or group does not exist.
    AccountMissing,
    /// systemd could not read a file that a unit needs. It does not say which.
    FileNotRead,
    /// It asks for another file system than the one that it is on.
    WrongFileSystem,
    /// systemd could not go into a directory of a unit's, or show it one, before it started the program.
    DirectoryNotSetUp,
    /// systemd could not decrypt a credential: it takes the key or the TPM of the machine for which it was encrypted.
    CredentialNotDecrypted,

    /// PID 1 dropped a job, which is captured, to break an ordering cycle.
    DroppedFromCycle,
    /// A `unit` is part of an ordering cycle.
    InCycle,
    /// PID 1 could not set a unit up.
    NotSetUp,
    /// PID 1 does not take a service's word that it is ready.
    NotHeard,
    /// PID 1 refused to load a unit, and says why.
    RefusedToLoad,
    /// The kernel finds no device for its root.
    RootMissing,
    /// A program that takes root's rights, of this `name`, has no wrapper.
    WrapperMissing,
    /// The kernel takes no module any more.
    ModulesLocked,
    /// The kernel's command line has PID 1 go to rescue or emergency mode: `word`.
    AsksForRescue,
    /// A route leads by a gateway that no address of this machine reaches.
    RouteNotSet,
    /// A program could not tell systemd that it is ready: its unit leaves out the family of sockets that it takes.
    NotifyRefused,
    /// PID 1 could not listen on an `address` of a `unit`: `why`.
    SocketNotMade,
    /// PID 1 could not move a directory of a unit's.
    DirectoryNotMoved,
    /// PID 1 moves a directory, `from`, of a unit whose user is now made up, `to` where only that one can enter.
    StateMoved,
    /// PID 1 does not do what a job asks for, since the unit was refused: why was said when it was loaded.
    JobIgnored,
    /// A setting, of a `file` or a sysctl, has no effect.
    SettingIgnored,
    /// PID 1 refused to start a unit: `why`.
    RefusedToStart,
    /// PID 1 ended a unit that ran for as long as it may.
    RuntimeLimitReached,
    /// An assertion of a unit did not hold.
    AssertionFailed,
    /// A unit was not started, since one that it requires failed at that moment.
    DependencyFailed,
    /// A process of a unit's ended: `which`, how (`code`), `status`, an exit code or a signal's number.
    ProcessExited,
    /// A unit was reloaded, or could not be: `failed`.
    ReloadEnded,
    /// PID 1 starts a unit again that ended.
    Restarts,
    /// PID 1 starts a unit.
    Starting,
    /// PID 1 started a unit, or begins to.
    Started,
    /// A unit ended, and it failed: what PID 1 says of each such end, whatever comes next.
    FailedWithResult,
    /// A unit ended well.
    Deactivated,
    /// A unit has ended as it was told to.
    Stopped,
    /// `what` a container's own PID 1 could not start, on its console.
    FailedInContainer,
    /// A unit was not up in time: the `step` of its start.
    StartTimedOut,
    /// A device did not appear in time.
    DeviceTimedOut,
    /// Errors that healthy machines log too.
    HarmlessError,

    /// The kernel killed a process, out of memory: `scope`, `pid`, `process`, `rss` in KiB.
    KilledByKernel,
    /// In which control group it was: `cgroup`, `pid`.
    KilledIn,
    /// systemd-oomd killed a control group: `cgroup`, `why`.
    KilledByOomd,
    /// The kernel warned of a defect of its own.
    KernelWarned,
    /// A snippet of the activation script failed: `name`, `code`.
    SnippetFailed,
    /// systemd-tmpfiles could not apply a rule.
    RuleFailed,
    /// The same, since `from`, a directory of `owner`'s, holds `to` of somebody else's.
    UnsafePath,
    /// The same, since a VM's file systems and hardware are others.
    RuleNotForVm,

    /// The kernel panicked: `why`.
    Panicked,
    /// The last line of a panic.
    PanicEnded,
    /// The init is missing, or cannot be executed.
    InitMissing,
    /// PID 1 crashed.
    InitCrashed,
    /// PID 1 gave up before it started anything: `why`.
    InitGaveUp,
    /// PID 1 cannot load the unit that it is to boot into, and goes to rescue mode.
    FallsBack,
    /// A prompt of emergency or rescue mode.
    EmergencyPrompt,
    /// Something went wrong on the way to such a prompt.
    BootTrouble,
    /// The same, since a limit of time ran out.
    BootTimeLimit,
    /// Lines that come after a failure, and do not say why.
    BootNoise,
    /// The default target is reached.
    CameUp,
    /// What PID 1 says of every unit that fails: it is not why.
    SaidByRote,
    /// A kernel module is not there, in a line of the console with whatever stands before it.
    ModuleMissing,
    /// What a program said in stage 1, as the journal forwards it to the console: `program`, `words`.
    Forwarded,
    /// What the boot waits for: `unit`, `kind`, `since`, `limit`.
    JobRuns,
    /// What stage 1 and 2 say before they do something that may never end.
    BootStep,
    /// The kernel's report on a processor that stalls: `cpu`, `done`.
    ProcessorStalled,
}

static TABLE: LazyLock<Table<Meaning>> = LazyLock::new(|| {
    let rows = [errors::ROWS, hosts::ROWS, hardware::ROWS, units::ROWS, console::ROWS];
    Table::new(Case::Counts, rows.into_iter().flatten())
});

impl Means for Meaning {
    fn table() -> &'static Table<Self> {
        &TABLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judging::journal::{OtherMeanings, assert_examples};

    #[test]
    fn examples() {
        assert_examples::<Meaning>(OtherMeanings::Allowed);
    }

    #[test]
    fn parts_of_a_line() {
        let parts = Meaning::JobRuns.parts_of("A start job is running for /nixos/persist (50s / 1min 30s)").unwrap();
        assert_eq!((&parts["unit"], &parts["limit"]), ("/nixos/persist", "1min 30s"));
        assert_eq!(Meaning::NamesResolver.removed_from("lookup a.org on [::1]:53: no"), "lookup a.org : no");
        assert_eq!(Meaning::NamesResolver.removed_from("as it is"), "as it is");
        assert_eq!(Meaning::BootStep.words_of("unlocking now").unwrap().as_str(), "unlocking");
    }
}
