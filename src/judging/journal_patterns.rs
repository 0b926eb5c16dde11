//! What programs say of the system and its services, in the journal and on the console: a row for what one program says.
//! Judges ask by [`Meaning`]. Names of units and interfaces are not in here: they are with the judge who knows them.

use std::sync::LazyLock;

use super::journal::{Case, Means, Row, Table, rows};

/// What a line means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Meaning {
    /// Something goes wrong: the line of a failed unit that is shown.
    SpeaksOfError,
    /// What a library says of the nothing that an error before it has left: the chain's first says why.
    FollowsFromError,
    /// A port is another program's: `port`, or `late` where it stands at the end.
    AddressInUse,
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
    /// Which resolver a program of Go asked, and how: one of this machine's own that cannot answer does not show that
    /// Something could not be resolved, which may be anything.
    ResolvesAnything,
    /// The words of whoever looks up names of hosts.
    NamesNameService,
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

const ROWS: &[Row<Meaning>] = rows! { Meaning;
    SpeaksOfError "any": "[emerg] socket() [::]:80 failed (97: Address family not supported by protocol)"
        => r"(?i)error|fail|fatal|panic|cannot|can't|could not|couldn't|unable|denied|no such|not found|invalid|unknown|refused|unsupported|not supported|missing|must |exception|unrecogni[sz]ed|incorrect|does(?:n't| not) exist|not (?:allowed|permitted|readable|writable)|unexpected|illegal|malformed|mismatch|(?:already|file) exists|unbound variable|would be clobbered|in the way of '[^']*'$";
    MayTell "any": "No suitable Java Virtual Machine could be found on your system."
        => r"(?i)\bno [\w ]+ (?:found|detected|provided|configured|given|specified|available|supplied)\b|has no\b|not possible|\bno (?:suitable|valid|usable|matching)\b|wasn't built|\bexpected\b|already running|was null|received signal (?:[4-9]|1[01])\b|terminated by signal \d|\bnot owned by\b";
    FollowsFromError "any": "(https://nixos.org/manual/nixos/stable/#module-services-nextcloud)"
        => r"(?i)^\W*https?://\S+$|^\W*please check (?:the|your) (?:\w+ )?(?:logs?|journal)\b|^and make sure ";
    FollowsFromError "cpupower, which lists what it may have been": "  - Trying to set an invalid policy?"
        => r"^\s*- [A-Z].*\?$";
    FollowsFromError "ip, after modprobe": "Error: Unknown device type." => r"^Error: Unknown device type\.$";
    FollowsFromError "GLib": "(app:123): GLib-GIO-CRITICAL **: 12:00:00.000: g_dbus_proxy_call: assertion 'G_IS_DBUS_PROXY (proxy)' failed"
        => r"-(?:CRITICAL|WARNING) \*\*.*: assertion '.*' failed|unhandled exception caught|GLib-GObject-(?:CRITICAL|WARNING) \*\*";
    FollowsFromError "systemd" ("257"): "app.service: Failed at step NAMESPACE spawning /nix/store/x-app/bin/app: No such file or directory"
        => r"Failed at step [A-DF-Z][A-Z_]+ spawning";
    FollowsFromError "GLib, by the journal's own fields": "GLib-GObject: g_object_set: assertion 'G_IS_OBJECT (object)' failed"
        => r": assertion '.*' failed$";
    FollowsFromError "X server": "(EE) Server terminated with error (1). Closing log file."
        => r"Server terminated with error|Please (also check the log file|consult the )|\(EE\) No drivers available";
    FollowsFromError "SDDM, LightDM, GDM": "Could not start Display server on vt 2"
        => r"(Could not start|starting the) Display server|read display number from pipe|Failed to start seat|Session never registered|display failures reached";
    FollowsFromError "LightDM, which reads the accounts from the file then": "Error getting user list from org.freedesktop.Accounts: GDBus.Error"
        => r"Error getting user list from org\.freedesktop\.Accounts";
    FollowsFromError "greetd": "error: check_children: greeter exited without creating a session"
        => r"greeter exited without creating a session";
    FollowsFromError "nginx": "[emerg] 258#258: still could not bind()" => r"still could not bind";
    FollowsFromError "any": "Configuration test failed, aborting due to previous error"
        => r"(?i)due to (the )?(previous|above) errors?|see (the )?(errors?|messages?|logs?)( output)? (above|for details)|(configuration|config)( file)?( \S+)? (test|check) (is )?failed|start-?up (was |has )?(failed|aborted)|failed to start( up)?[.!]*$";
    HasErrno "any": "bind: Permission denied"
        => r"(?i)permission denied|access denied|no such (?:file or directory|device)|address already in use|can(?:not|'t) assign requested address|connection refused|read-only file system|(?:operation|protocol) not (?:permitted|supported)|no space left on device|not a directory|is a directory|invalid argument|\berrno[: ]+\d+|\b(?-i:E(?:ADDRINUSE|ACCES|NOENT|PERM|CONNREFUSED|ADDRNOTAVAIL|ROFS|NOSPC))\b";
    NamesCause "any, of names of hosts": "curl: (6) Could not resolve host: databse"
        => r"(?i)(?:not|n't|failed to|unable to) resolve|name or service not known|name resolution|unknown .{0,20}host|bad address";
    NamesCause "any": "Can't locate Mojo/Base.pm in @INC"
        => r#"(?i)already in use|already (?:running|exists)|in use by|timed out|no route to host|not found|(?:does|did)(?:n't| not) (?:exist|find|match|support)|no module named|(?:can(?:no|')t|failed to) (?:locate|find)|\bno [\w ]+ (?:provided|configured|given|specified|available|supplied)|\bno (?:suitable|such|valid|usable|matching|\w+ (?:drivers?|devices?))\b|is (?:required|deprecated)|\bmissing\b|\bunknown\b|\bunrecogni[sz]ed|\bunsupported|not supported|wasn't built|\bexpected\b|unexpected (?:token|argument|char|end|string|identifier|node|key|eof|symbol|indent|element|field|value|['"`])|\binvalid\b|\bmalformed|\bcorrupt|mismatch|incompatible|undefined|not allowed|has no\b|not (?:been )?provided|not (?:readable|writable)|syntax error|misspel|(?-i:[A-Z]\w*(?:Error|Exception)): \S"#;
    NamesObject "any": "cannot open /etc/app.conf"
        => r#"/[\w.-]+|["'‘“`][^"'’”`]+["'’”`]|(?:[\d\]*]|localhost):\d{2,5}\b"#;
    OfErrorLevel "MySQL, X server, wlroots": "[ERROR] [MY-012961] [InnoDB] Only one log file is there"
        => r"(?i:\[(?:err|crit(?:ical)?|alert|emerg|error)\])|\bCRITICAL\b|\(EE\)|^\W*(?:E[:\]]|EE )";
    IsWarning "any": "level=warn msg=\"no private IP found\"" => r"(?i)\bwarn(?:ing)?\b|\[W\]|\(WW\)";
    SaysNothing "RabbitMQ, X server": "2021-11-23 04:37:54.238 [error] <0.271.0>"
        => r"(?i)^(?:\S*[\d:.,-]+\S* )*\W*(?:error|fatal|critical|ee)\W*(?:<[\d.]+>)?\W*$";
    // Behind more than three words it only ends a line that says why.
    FollowsFromError "any": "fatal error, exiting."
        => r"(?i)^(?:[^a-z]*[a-z]\S*\s+){0,3}\W*(?:exiting|aborting|giving up|terminating|shutting down)[.!…]*$";
    FollowsFromError "systemd" ("257"): "panic-on-fail.service was skipped because no trigger condition checks were met."
        => r"was skipped because";
    FollowsFromError "openvpn, tor, haproxy, wg-quick, named": "Options error: Please correct these errors."
        => r"(?i)please correct these errors|\b(exiting|aborting)\b.{0,3}due to .*error\)?[.!]*$|see (the )?(warnings?|errors?|messages?) above|errors?(\(s\))? found (in|at)\b|\bpars(e|ing) error[.!]*$";
    FollowsFromError "php-fpm, nextcloud, fail2ban, unbound, httpd": "ERROR: FPM initialization failed"
        => r"(?i)\binitiali[sz]ation failed[.!]*$|^\W*update failed[.!]*$|\bconfiguration of \w+ failed[.!]*$|: (could not|unable to) open (ports|logs)[.!]*$|\bstopping[.!]*$";
    FollowsFromError "SQLAlchemy, Keycloak, npm": "(Background on this error at: http://sqlalche.me/e/e3q8)"
        => r"(?i)background on this error at|for (more|further) (details|information)\b|complete log of this run";
    FollowsFromError "mount" ("2.41"): "       dmesg(1) may have more information after failed mount system call."
        => r"may have more information after";
    FollowsFromError "PostgreSQL": "FATAL:  terminating connection due to administrator command"
        => r"terminating .* due to administrator command";
    FollowsFromError "PostgreSQL, gunicorn": "LOG:  aborting startup due to startup process failure"
        => r"(^|[\s\[])(INFO|LOG|DEBUG|NOTICE)[\]:]";
    FollowsFromError "MariaDB": "[ERROR] Unknown/unsupported storage engine: InnoDB"
        => r"Plugin '.*' (init function returned error|registration as)|Unknown/unsupported storage engine";
    FollowsFromError "any": "error Command failed with exit code 1."
        => r"(?i)failed with exit (status|code) \d+|returned non-zero exit status";
    // Frames of a stack, marks in it, and fields of an object that is printed.
    FollowsFromError "Node.js, .NET, Rust, Python": "    at emitErrorNT (node:net:1844:8)"
        => r#"^\s+(at \S.*(\)|:\d+|:line \d+)|at \S+|\d+: \S+::.*|File ".*", line \d+.*|--- End of .*|['\w]+: .*,)$"#;
    FollowsFromError "Ruby, miette, GHC": "/srv/gems/activerecord/connection.rb:37:in `connect'"
        => r"^\s*(?:from )?\S+\.(?:rb|rake):\d+:in |^\s*(?:[·│╰╭├]|\d+ │)|^\s*\d+: <unknown>|called at \S+:\d+:\d+ in |^\s*throw \w+;|Unhandled 'error' event";
    FollowsFromError "Perl": "BEGIN failed--compilation aborted at /srv/app.pl line 3."
        => r"BEGIN failed--compilation aborted|Compilation failed in require|^\s*\((?i:perhaps|maybe|did you|hint)";
    FollowsFromError "MySQL": "[ERROR] InnoDB: Plugin initialization aborted with error Generic error"
        => r"(?i)plugin initialization aborted|failed to initialize DD storage|data dictionary initialization failed|operating system error numbers are described";
    FollowsFromError "Erlang": "Kernel pid terminated (application_controller)"
        => r"Kernel pid terminated|CRASH REPORT|\bSupervisor \S+ had child|BOOT FAILED";
    FollowsFromError "authelia, npm, gcc, Qt": "Can't continue due to the errors loading the configuration"
        => r"(?i)\bdue to the errors?\b|^npm ERR! (?:errno|code)|compilation terminated|reinstalling the application may fix|^usage:|\bunexpected error when starting";
    FollowsFromError "wg-quick, awesome, Mesa, SDDM, Xorg": "Unable to access interface: Protocol not supported"
        => r"Unable to access interface: Protocol not supported|couldn't find any rc file|libGL: Can't open configuration|Failed to write xauth file|xf86CloseConsole|systemd-homed is not available";
    FollowsFromError "mako, influxd": "Is a notification daemon already running?"
        => r"(?i)^\W*(?:is|are|was|did|do|does|have|has) .*\?$|^\s+--?[a-z][\w-]+ ";
    FollowsFromError "Rust's tracing": "2025-12-08T09:16:11.694125Z  INFO niri: starting version 25.11"
        => r"^\S+ +INFO ";
    AddressInUse "nginx": "[emerg] 258#258: bind() to 0.0.0.0:80 failed (98: Address already in use)"
        => r"(?i)(?:.*[:\s](?P<port>[0-9]{2,5})\b)?.*(address already in use|address in use|EADDRINUSE)(?:.*[:\s](?P<late>[0-9]{2,5})\b)?";
    PortIsPrivileged "nginx": "[emerg] bind() to 0.0.0.0:80 failed (13: Permission denied)"
        => r"(?i)\b(?:bind|binding|listen|listening)\b.*:(?P<port>\d{1,4})\b.*permission denied";
    FamilyMissing "nginx": "[emerg] socket() [::]:80 failed (97: Address family not supported by protocol)"
        => r"(?i)address family not supported|EAFNOSUPPORT";
    FamilyMissing "Redis": "Warning: Could not create server TCP listening socket 127.0.0.1:6379: unable to bind socket, errno: 97"
        => r"\berrno: 97$";
    RouteNotSet "systemd-networkd, ip": "ens3: Could not set route: Nexthop has invalid gateway. Network is unreachable"
        => r"\bNexthop has invalid gateway\b";
    NotifyRefused "libsystemd": "systemd supervision error: sd_notify: -97"
        => r"(?i)(?:sd_notify|notify init system)\b.*(?:-97\b|address family not supported)";
    SocketNotMade "systemd" ("257"): "mpd.socket: Failed to create listening socket (127.0.0.1:6600): Address already in use"
        => r"^(?P<unit>\S+\.socket): Failed to create listening socket \((?P<address>.+)\): (?P<why>.+)$";
    ProcessesLimited "bash": "app-start: fork: Resource temporarily unavailable"
        => r"(?i)(?:fork|clone|pthread_create|thread)\b.*resource temporarily unavailable|pthread_create failed";
    CommandMissing "bash": "app-start: line 3: curl: command not found"
        => r"line \d+: (?P<command>[\w.+-]+): (?:command )?not found";
    CommandMissing "Go": "exec: \"git\": executable file not found in $PATH"
        => r"exec: \x22?(?P<command>[\w.+-]+)\x22?: executable file not found in \$PATH";
    CommandMissing "env": "/usr/bin/env: 'python3': No such file or directory"
        => r"\benv: [‘'](?P<command>[\w.+-]+)[’']: No such file";
    CommandMissing "Node.js": "Error: spawn ffmpeg ENOENT" => r"\bspawn (?P<command>[\w.+-]+) ENOENT";
    CommandMissing "Python": "FileNotFoundError: [Errno 2] No such file or directory: 'git'"
        => r"FileNotFoundError: .*: '(?P<command>[\w.+-]+)'$";
    InterpreterMissing "bash": "/srv/hook.sh: /bin/bash: bad interpreter: No such file or directory"
        => r"\bbad interpreter\b";
    BusNameMissing "dbus-daemon": "The name ca.desrt.dconf was not provided by any .service files"
        => r"The name (?P<name>[\w.-]+) was not provided by any \.service files";
    BusNameMissing "dbus-broker": "The name is not activatable" => r"The name is not activatable";
    BusNameMissing "systemd": "Unit dbus-org.bluez.service not found." => r"Unit dbus-(?P<name>[\w.-]+)\.service not found";
    FileInTheWay "Home Manager": "Existing file '/home/alice/.bashrc' would be clobbered"
        => r"Existing file '(?P<path>[^']+)' (?:would be clobbered|is in the way of)";
    ConnectionRefused "any": "dial tcp 127.0.0.1:5432: connect: connection refused"
        => r"(?i)connection refused|ECONNREFUSED|(?:connect|connection)\b.*\.(?:sock|socket|s\.PGSQL\.\d+)\b.*(?:no such file|failed|refused|\(2\))";
    SpeaksOfConnection "lpadmin": "lpadmin: Unable to connect to \"192.168.1.20:631\": Operation now in progress"
        => r"(?i)\b(connect\w*|reach\w*|fetch\w*|download\w*|upload\w*|request\w*|unreachable|timed? ?out|handshake|dial|sync\w*|GET|POST)\b";
    RanOutOfTime "any": "Error: timeout exceeded waiting for the database"
        => r"(?i)\btimed? ?out|\btimeout (was )?(reached|exceeded|expired)|deadline exceeded|took too long";

    // --- hosts ---

    HostNotReached "curl": "curl: (6) Could not resolve host: fwupd.org"
        => r"(?i)(could ?n[o']t|cannot|can't|unable to|failed to) (resolve|lookup|look up)";
    HostNotReached "curl": "curl: (28) Resolving timed out after 10001 milliseconds" => r"(?i)resolving timed out";
    HostNotReached "glibc": "Temporary failure in name resolution" => r"(?i)name resolution";
    HostNotReached "glibc": "socket.gaierror: [Errno -2] Name or service not known" => r"(?i)name or service not known";
    HostNotReached "musl": "Name does not resolve" => r"(?i)name does not resolve";
    HostNotReached "BSD's libc": "nodename nor servname provided, or not known" => r"(?i)nodename nor servname";
    HostNotReached "Go": "dial tcp: lookup idp.example.com: no such host" => r"(?i)no such host";
    HostNotReached "Go": "lookup registry-1.docker.io on 10.0.2.3:53: server misbehaving"
        => r"(?i)server misbehaving|lookup [^ ]+ on [^ ]+:\d+";
    HostNotReached "Node.js": "Error: getaddrinfo EAI_AGAIN api.example.com"
        => r"(?i)getaddrinfo|\b(EAI_AGAIN|ENOTFOUND|ENETUNREACH)\b";
    HostNotReached "Java": "java.net.UnknownHostException: repo.example.com" => r"(?i)UnknownHostException";
    HostNotReached "kernel": "connect to 1.2.3.4:443: Network is unreachable"
        => r"(?i)(network|host) (is )?(unreachable|down)\b|no route to host";
    HostNotReached "huggingface_hub": "Please check your internet connection and try again."
        => r"(?i)check your (internet|network) connection|\bno (internet|network) (connection|access)|outgoing traffic has been disabled";
    HostNotReached "ping": "ping: unknown host example.org" => r"(?i)unknown host";
    HostNotReached "ntpdate": "can't find host pool.ntp.org" => r"(?i)can't find host";
    HostNotReached "nginx": "host not found in upstream \"api.example.org\"" => r"(?i)host(name)? not found";
    HostNotReached "busybox": "wget: bad address 'example.com'" => r"(?i)bad (address|hostname) '";
    HostNotReached "any": "api.example.com: resolution failed" => r"(?i)resolution failed";
    HostNotReached "any": "unable to find suitable address" => r"(?i)unable to find suitable address";
    HostNotReached "any": "Resource temporarily unavailable (api.example.com:443)"
        => r"(?i)resource temporarily unavailable \([\w.-]+:\d+\)";
    ConnectionTimedOut "curl": "curl: (28) Connection timed out after 10001 milliseconds"
        => r"(?i)(connect(ion)?|operation|request|dial|i/o|handshake|download)[^:]{0,40}(timed out|timeout)";
    ConnectionTimedOut "Node.js": "Error: connect ETIMEDOUT 1.2.3.4:443" => r"(?i)ETIMEDOUT";
    RouteMissing "kernel": "connect to 1.2.3.4:443: Network is unreachable"
        => r"(?i)(network|host) (is )?unreachable|no route to host|E(NET|HOST)UNREACH|timed ?out|timeout";
    NamesHost "curl, ssh, psql, mount": "curl: (6) Could not resolve host: fwupd.org"
        => r"(?i)(?:could ?n[o']t|cannot|can't|unable to|failed to) (?:(?:resolve|lookup|look up|translate)|(?:find|reach) (?:the )?(?:remote |server )?(?:host|server|address)) (?:the )?(?:(?:remote|server|peer|proxy|upstream|database) )?(?:host ?names?|host(?: address)?|address(?:es)?|domain(?: name)?|name|server)?(?: for| of)?:? ?['\x22‘`(\[]*(?P<host>[\w-]+(?:\.[\w-]+)*)\.?(?:['\x22’`)\]:,;]|\s*$|\s+(?:to address|\(|port|on|from|failed|due))";
    NamesHost "Go": "dial tcp: lookup idp.example.com: no such host"
        => r"(?i)\blookup (?P<host>[\w-]+(?:\.[\w-]+)*)\.?(?: on \S+)? ?:";
    NamesHost "glibc": "Could not connect to Redis at databse:6379: Name or service not known"
        => r"(?i)\b(?:to|at|host) ['\x22\[]*(?P<host>[\w-]+(?:\.[\w-]+)*)['\x22\]]*(?: ?\([^)]*\))?(?::\d{1,5}\b|,? port \d)";
    NamesHost "iputils": "ping: databse: Name or service not known"
        => r"(?i)^(?:ping6?|arping|traceroute|telnet|rsync|ssh|nc|ntpdate|wget|mount\.\w+): (?P<host>[\w-]+(?:\.[\w-]+)*): ";
    NamesHost "rsync": "rsync: [Receiver] getaddrinfo: backup 873: Name or service not known"
        => r"(?i)getaddrinfo: (?P<host>[\w-]+(?:\.[\w-]+)*) \d+:";
    NamesHost "socat, nc": "getaddrinfo(\"databse\", \"NULL\", {1,0,1,6}, {}): Name or service not known"
        => r"(?i)getaddrinfo\(['\x22](?P<host>[\w-]+(?:\.[\w-]+)*)";
    NamesHost "Node.js": "Error: getaddrinfo EAI_AGAIN api.example.com"
        => r"(?:getaddrinfo|query\w+|connect) E\w+ (?P<host>[\w-]+(?:\.[\w-]+)*)";
    NamesHost "Java": "java.net.UnknownHostException: repo.example.com"
        => r"UnknownHostException: (?P<host>[\w-]+(?:\.[\w-]+)*)";
    NamesHost "busybox": "wget: bad address 'example.com'"
        => r"(?i)bad (?:address|hostname) ['\x22](?P<host>[\w-]+(?:\.[\w-]+)*)";
    NamesHost "MariaDB": "Unknown MySQL server host 'databse' (-2)"
        => r"(?i)unknown (?:\w+ )?(?:server )?host:? ['\x22]?(?P<host>[\w-]+(?:\.[\w-]+)*)";
    NamesHost "nginx": "host not found in upstream \"api.example.org\""
        => r"(?i)host not found in [^\x22]*\x22(?:\w+://)?(?P<host>[\w-]+(?:\.[\w-]+)*)";
    NamesHost "nginx": "databse could not be resolved (3: Host not found)"
        => r"(?i)(?:^|\s)(?P<host>[\w-]+(?:\.[\w-]+)*) could not be resolved";
    NamesHost "any": "api.example.com: resolution failed"
        => r"(?i)(?:^|\s)(?P<host>[\w-]+(?:\.[\w-]+)*): (?:resolution failed|host not found|no such host)";
    NamesHost "Python": "HTTPSConnectionPool(host='api.example.org', port=443): Max retries exceeded"
        => r"(?i)\b(?:host|hostname|server)[ =(:]+['\x22‘](?P<host>[\w-]+(?:\.[\w-]+)*)(?::\d+)?['\x22’]";
    NamesHost "bind": "** server can't find databse: NXDOMAIN"
        => r"(?i)can't find (?:host )?(?P<host>[\w-]+(?:\.[\w-]+)*)(?::|\s*$)";
    NamesHost "any": "Get \"https://acme-v02.example.org/directory\": dial tcp 1.2.3.4:443: i/o timeout"
        => r"\b[a-z][a-z0-9+.-]*://(?:[^/\s@'\x22]*@)?(?P<host>[\w-]+(?:\.[\w-]+)*)";
    NamesHost "Go": "dial tcp 1.2.3.4:443: connect: no route to host"
        => r"dial (?:tcp|udp)[46]? (?P<host>[\w-]+(?:\.[\w-]+)*):\d";
    NamesHost "any": "Resource temporarily unavailable (api.example.com:443)"
        => r"(?i)(?:unavailable|unreachable|timed ?out|route to host) \((?P<host>[\w-]+(?:\.[\w-]+)*):\d{1,5}\)";
    NamesHost "wireguard-tools": "Name or service not known: `vpn.example.org:51820'"
        => r"(?i)not known: [`'\x22]*(?P<host>[\w-]+(?:\.[\w-]+)*)";
    NamesRemoteHost "any": "fetching https://cdn.fwupd.org/firmware.xml.zst"
        => r"(?i)https?://|\b(\d{1,3}\.){3}\d{1,3}\b|\b[a-z0-9-]+\.(com|org|net|io|dev|de|eu|cloud|sh|nl|uk|fr|me|app)\b";
    NamesLocalHost "any": "connect to 127.0.0.1:5432: Connection timed out"
        => r"(?i)\blocalhost\b|\b127\.\d|\[?::1\]?|unix:|\.sock\b";
    NotAboutHosts "systemd-tmpfiles": "Failed to resolve user 'app': No such process"
        => r"(?i)(resolve|lookup|look up|unknown) (the )?(user|group|path|symlink|unit|specifier|symbol|option|module|library)";
    NotAboutHosts "glibc": "getaddrinfo failed: Servname not supported for ai_socktype"
        => r"(?i)servname not supported|address family for hostname not supported";
    ResolvesAnything "any": "Could not resolve keysym XF86LeftUp"
        => r"(?i)(could ?n[o']t|cannot|can't|unable to|failed to) (resolve|lookup|look up)\b|getaddrinfo";
    NamesNameService "any": "curl: (6) Couldn't resolve host name"
        => r"(?i)\b(host ?names?|hosts?|names?|address(es)?|dns|servers?|domains?)\b";
    NamesResolver "Go": "lookup api.example.com on [::1]:53: read udp [::1]:41232->[::1]:53: read: connection refused"
        => r"(?i)\bon \S+:53\b|\b(read|write|dial) (udp|tcp) \S+:53\b";
    GatewayNotReached "iproute2": "RTNETLINK answers: Network is unreachable"
        => r"(?i)(RTNETLINK answers|SIOCADDRT): (network is|no route)";
    GatewayNotReached "iproute2": "Error: Nexthop has invalid gateway." => r"(?i)invalid gateway";
    InterfaceMissing "iproute2": "Cannot find device \"enp3s0\"" => r"(?i)cannot find device";
    InterfaceMissing "iproute2": "enp3s0: No such device" => r"(?i)no such (device|interface)";
    InterfaceMissing "nftables": "/etc/nftables.conf:12:15-20: Error: Interface does not exist"
        => r"(?i)(interface|device)\b.{0,40}(does not exist|doesn't exist|not found)";
    InterfaceMissing "dnsmasq": "unknown interface enp3s0" => r"(?i)(unknown|no|missing|invalid) (network )?interface";
    InterfaceMissing "wpa_supplicant": "Could not read interface wlp2s0 flags: No such device"
        => r"(?i)could not (find|read) interface";

    InterfaceNotMade "systemd-networkd": "wg0: netdev could not be created: Operation not supported"
        => r"^(?P<name>[^\s:]+): netdev could not be created: (?P<why>.+)$";

    // --- hardware ---

    AddressNotHere "nginx": "bind() to 192.168.1.10:80 failed (99: Cannot assign requested address)"
        => r"(?i)(cannot|can't) assign requested address|EADDRNOTAVAIL|address not available";
    HardwareGone "kernel": "ioctl: No such device" => r"(?i)\bno such device\b|\bENODEV\b";
    HardwareGone "any": "this is a virtual machine, nothing to read"
        => r"(?i)\b(is|in|inside|on|under|as) (a )?(virtual machine|vm|hypervisor)\b|\bhypervisor detected\b";
    HardwareGone "mdadm": "nothing to monitor" => r"(?i)\bnothing to monitor\b";
    HardwareGone "btrfs": "ERROR: not a btrfs filesystem: /" => r"(?i)\bnot (an? )?(btrfs|zfs|bcachefs)\b";
    HardwareGone "zfs": "cannot open 'tank/data': dataset does not exist" => r"(?i)\bdataset does not exist\b|\bno such pool\b";
    HardwareGone "any": "OSError: [Errno 5] Input/output error" => r"(?i)\binput/output error\b|\bEIO\b";
    HardwareGone "btrbk": "open failed path /dev/mapper/tank" => r"(?i)\bopen failed path /dev/";
    HardwareMissing "thermald": "Unsupported cpu model or platform" => r"(?i)\bnot supported\b|\bunsupported\b|\bdoes not support\b";
    HardwareMissing "smartd": "In the system's table of devices NO devices found to scan"
        => r"(?i)\bno ([\w-]+ ){0,4}(found|detected|available|present)\b";
    HardwareMissing "batsignal": "No battery" => r"(?i)\bno (such )?([\w-]+ ){0,2}[\w-]+\b";
    HardwareMissing "mbpfan": "Could not detect any fans"
        => r"(?i)\b(could not|cannot|can't|unable to|failed to) (find|detect|open|access|probe|query|read|claim|communicate|initiali[sz]e)\b";
    HardwareMissing "fancontrol": "Device path of hwmon3 has changed" => r"(?i)\bdevice (path|name) of \S+ has changed\b";
    HardwareMissing "any": "reader not present" => r"(?i)\bnot (found|detected|present|available|loaded)\b";
    NamesHardware "any": "NVML: no supported GPU"
        => r"(?i)\b(devices?|sensors?|adapters?|controllers?|batter(y|ies)|gpus?|graphics|zones?|disks?|drives?|modems?|hardware|readers?|receivers?|fans?|hwmon\d*|cpus?|processors?|arrays?|cameras?|tuners?|keyboards?|touchpads?|mice|tpm2?|backlights?|usb|pci|hci|radios?|scanners?|printers?|nvml|nvidia|amdgpu|rapl|msr|dimms?|fingerprint|bluetooth|nl80211|thunderbolt|ipmi|pools?)\b";
    NamesKernelModule "qemu": "qemu-system-x86_64: Could not access KVM kernel module: No such file or directory"
        => r"(?i)\bKVM kernel module: No such|\bfailed to initiali[sz]e kvm: No such";
    AboutConfiguration "any": "/etc/thermald.xml: cannot open"
        => r"(?i)/etc/|/nix/store/|\b(config\w*|options?|directives?|address|users?|groups?|files?|filenames?|pars(e|er|ing)|syntax|keys?|keywords?|arguments?|flags?|permissions?|permitted|sockets?|d-bus|dbus|ports?|passwords?|certificates?|plugins?|rules?|librar(y|ies)|licen[sc]es?|line \d+|hosts?|hostnames?|database|urls?|executable|commands?|listen\w*|profiles?|templates?|token)\b";
    ConfigurationWrong "any": "config.yml:3: unknown option 'devcie'"
        => r"(?i)\b(syntax|parse|parser|parsing|config(uration)?) errors?\b|\berrors? (while )?pars(e|ing)\b|\bfailed to parse\b|\b(unknown|invalid|unrecogni[sz]ed|duplicate|bad) ([\w-]+ )?(option|directive|keyword|key|setting|argument|flag|parameter|field|section|value|token|config\w*|user|group)\b|\bconfig\w* (is )?(invalid|broken)\b";
    FileMissing "any": "error: no such file or directory"
        => r"(?i)\bno such file\b|\bENOENT\b|\bfile\b.{0,40}\b(does not exist|doesn't exist|not found|is missing)\b|\b(cannot|can't|could not|unable to|failed to) (open|read|load) .{0,40}\b(file|key|credentials?|certificate|secret|token|device)\b";
    MakesFile "dash": "sh: cannot create /var/lib/app/state: Directory nonexistent"
        => r"(?i)directory nonexistent|\b(create|creating|mkdir|touch|tee|install|cp|mv|ln|mktemp|rsync|keygen|genkey|write|writing|save|saving|bind|binding)\b";
    CopiesFile "coreutils": "install -m 600 /var/lib/app/key /run/app/key" => r"\b(cp|install|mv|ln|rsync)\b";
    ReadsFile "coreutils": "cp: cannot stat '/var/lib/app/key': No such file or directory"
        => r"(?i)\b(open|opening|read|reading|stat|load|loading|find|access|cat|parse|source|import)\b";
    EntersDirectory "bash": "app-start: line 2: cd: /var/lib/app: No such file or directory"
        => r"(?i)\bcd: |\bchdir\b|\b(change|changing) (to )?(the )?([\w-]+ )?directory\b|\bworking directory\b";
    NamesDeviceNode "any": "Error: cannot open /dev/ttyUSB0: No such file or directory"
        => r"/dev/(tty(USB|ACM|AMA)\d|nvme\d|sd[a-z]|mmcblk|dri\b|nvidia|kfd|video\d|media\d|hidraw|uinput|input/|i2c|spidev|gpio|tpm|mei|cpu/|cpu_dma|watchdog|ipmi|mcelog|snd/|bus/usb|usb|serial/|sr\d|st\d|lp\d|rfkill|cec|dvb|accel|sgx|kvm\b|fb\d|disk/by-)";
    NamesHardwareKnob "any": "/sys/class/power_supply/BAT0/charge_control_end_threshold: No such file or directory"
        => r"/sys/(class/(power_supply|backlight|leds|hwmon|thermal|drm|bluetooth|powercap|rfkill|ieee80211|platform-profile|firmware-attributes|typec|nvme)|devices/(pci|platform|system|LNX|pnp|virtual/(thermal|powercap|dmi))|block/(sd[a-z]|nvme\d|mmcblk)|bus|module|firmware)/|/proc/acpi/";
    NamesFileSystem "mount": "mount: /backup: can't find UUID=5f1c-22aa." => r"\b(PART)?(UUID|LABEL)=[\w-]+";
    IsMissing "any": "cat: /run/secrets/app: No such file or directory"
        => r"(?i)no such (file|device)|not found|does not exist|doesn't exist|(cannot|can't|could not|unable to|failed to) (open|find|access)|\berror (opening|reading|loading)\b|ENOENT|ENODEV|ENXIO|missing|(cannot|can't|could not|unable to|failed to) (read|stat|load|query)|\bno (\S+ ){1,4}(found|detected|available|present)\b";
    IsDenied "any": "cannot open /sys/class/power_supply/BAT0/status: Permission denied"
        => r"(?i)denied|not permitted|read-only";
    IsReadOnly "any": "mkdir: cannot create directory '/srv/app': Read-only file system"
        => r"(?i)read-only file ?system|\bEROFS\b";
    MountRefused "kernel" ("6.12"): "tmpfs: Unknown parameter 'sizee'"
        => r"^(?:tmpfs|ramfs|overlay(?:fs)?|EXT4-fs|XFS|BTRFS|F2FS-fs|(?:ex)?FAT-fs|9p\w*|fuse|CIFS|NFS\w*|nfs\d?|SQUASHFS|erofs|bcachefs|ntfs3)\b.*(?i:unknown|unrecogni[sz]ed|invalid|\bbad |error|can't|cannot|could not|fail|missing|not found)";
    MemoryRefused "postgres": "FATAL:  could not map anonymous shared memory: Cannot allocate memory"
        => r"(?i)cannot allocate memory|insufficient memory|\bout of memory\b|not enough (space|memory)|could not (reserve|map) \S*( \S+){0,4} (memory|heap|heap space)";
    ProcessorMissing "systemd": "app.service: Failed to set up CPU affinity: Invalid argument"
        => r"Failed to set (?:up CPU affinity|NUMA memory policy): Invalid argument";
    AsksForMemory "java": "Native memory allocation (mmap) failed to map 2147483648 bytes." => r"\b(?P<bytes>\d{8,15}) bytes\b";
    AsksForMemory "java": "/nix/store/x-jdk/bin/java -Xmx2048M -jar server.jar" => r"-Xm[sx](?P<heap>\d{1,9})(?P<unit>[kKmMgG])\b";
    AsksForMemory "any": "could not reserve 4096 MiB" => r"\b(?P<mib>\d{3,9}) ?(?:MB|MiB)\b";
    ModuleNotLoaded "systemd-modules-load": "Failed to find module 'nosuch'" => r"(?i)^Failed to (?:insert|find|look up) ";
    ModuleNotLoaded "kmod" ("34"): "modprobe: FATAL: Module virtio_blk not found in directory /lib/modules/6.12.30"
        => r"(?i)modprobe: (?:FATAL: )?Module \S+ not found";
    ModuleWithoutHardware "systemd-modules-load": "Failed to insert module 'kvm_intel': Operation not supported"
        => r"(?i)^Failed to insert module '[^']*': (?:no such device|operation not supported)";

    // --- secrets ---

    NamesSecret "sops-nix, agenix": "cat: /run/secrets/db: No such file or directory"
        => r"/run/(secrets|agenix|keys)(-for-users|-rendered|\.d)?(/|\b)";
    // Below what is kept on a disk, and named as a secret is.
    NamesSecret "any": "fopen: `/root/wireguard-keys/private': No such file or directory"
        => r"(?i)(^|[^\w/.])/(root|home|var|srv|mnt|media|data|persist\w*|nix/persist\w*|etc/nixos)/[^\s'\x22]*(secret|passw|credential|token|private[._-]?key|api-?key|[._/-]keys?\b|\.pem\b|\.env\b|\bid_(rsa|ed25519|ecdsa)\b)";
    KeyMissing "sops-nix, agenix": "cannot read keyfile '/etc/ssh/ssh_host_ed25519_key'"
        => r"(?i)decrypt|identit|ssh_host|\bage\b|\bgpg\b|private key|no key|key ?file|master key|data key|no such file|secret";
    AccountMissing "sops-install-secrets": "manifest is not valid: failed to lookup user 'app': user: unknown user app"
        => r"(?i)\b(?:unknown|invalid|no such|nonexistent) (?:user|group)\b|failed to (?:look ?up|resolve) (?:user|group)\b";
    FileNotRead "systemd" ("257"): "app.service: Failed to load environment files: No such file or directory"
        => r"(?i)failed to (load environment files|set up credentials)";
    FileNotRead "systemd": "mail.service: Failed at step CREDENTIALS spawning /bin/mail: No such file or directory"
        => r"(?i)at step CREDENTIALS";
    WrongFileSystem "dockerd" ("27"): "error initializing graphdriver: prerequisites for driver not satisfied (wrong filesystem?)"
        => r"(?i)\bwrong file ?system\b|\bnot (?:a|an|on a?) ?(?:btrfs|zfs|xfs|bcachefs) file ?system|dataset does not exist";
    DirectoryNotSetUp "systemd" ("257"): "app.service: Failed at step NAMESPACE spawning /nix/store/x-app/bin/app: No such file or directory"
        => r"at step (NAMESPACE|CHDIR) spawning .*: No such file or directory";
    CredentialNotDecrypted "systemd" ("257"): "Failed to determine local credential key: No such file or directory"
        => r"(?i)failed to determine local credential key";
    CredentialNotDecrypted "systemd": "Decryption failed (incorrect key?): error:00000000:lib(0)::reason(0)"
        => r"(?i)decryption failed \(incorrect key\?\)";
    CredentialNotDecrypted "systemd": "Failed to unseal secret using TPM2: State not recoverable"
        => r"(?i)failed to unseal secret using TPM2";
    CredentialNotDecrypted "systemd": "TPM2 support is not installed."
        => r"(?i)TPM2 support (is )?not (available|installed)|no TPM2 \(tpmrm\) device found|TPM TCTI driver not available";

    // --- PID 1 on units ---

    InCycle "systemd" ("257"): "egg.service: Found ordering cycle on hen.service/start"
        => r"(?:ordering cycle|dependency) on (?P<unit>[^\s/]+)/start";
    InCycle "systemd" ("258"): "a.target: Found ordering cycle: b.service/start after a.target/start - after b.service"
        => r"(?:ordering cycle:|\bafter) (?P<unit>[^\s/]+)/start";
    DroppedFromCycle "systemd" ("257"): "egg.service: Job hen.service/start deleted to break ordering cycle starting with egg.service/start"
        => r"(?i)\bjob (\S+)/start deleted to break ordering cycle";
    NotSetUp "systemd" ("257"): "app.service: Failed to load environment files: No such file or directory"
        => r"(?i): failed to (?:load|set|open|create|prepare|determine|initiali[sz]e|allocate|acquire|listen|attach|fork)";
    NotSetUp "systemd": "backup.timer: Refusing to start, unit backup.service to trigger not loaded."
        => r": Refusing to start, unit \S+ to trigger not loaded";
    NotHeard "systemd": "app.service: Got notification message from PID 312, but reception only permitted for main PID 310"
        => r": Got notification message from PID \d+, but reception only permitted for";
    NotHeard "systemd": "app.service: Can't open PID file /run/app.pid (yet?) after start: No such file or directory"
        => r": Can't open PID file \S+ \(yet\?\) after start";
    RefusedToLoad "systemd" ("257"): "/etc/systemd/system/relative.service:6: Neither a valid executable name nor an absolute path: bin/daemon"
        => r"(?i)not absolute|refusing|bad unit file|neither a valid|lacks|missing|invalid|unit configuration|unknown|executable";
    // A timer that is left without any other is refused for this.
    RefusedToLoad "systemd" ("257"): "/etc/systemd/system/dns.timer:5: Failed to parse calendar specification, ignoring: 5 minutes"
        => r"Failed to parse (?:calendar specification|timer value), ignoring";
    DirectoryNotMoved "systemd" ("257"): "app.service: Failed to set up special execution directory in /var/lib: Device or resource busy"
        => r"Failed to set up special execution directory in \S+: Device or resource busy";
    StateMoved "systemd" ("257"): "AdGuardHome.service: Found pre-existing public StateDirectory= directory /var/lib/AdGuardHome, migrating to /var/lib/private/AdGuardHome."
        => r"Found pre-existing public (?P<setting>\w+)= directory (?P<from>\S+), migrating to (?P<to>\S+?)\.?$";
    WrapperMissing "bash": "app-start: line 3: /run/wrappers/bin/sudo: No such file or directory"
        => r"/run/wrappers/bin/(?P<name>[\w-]+)\b.*(?:No such file|not found)";
    ModulesLocked "kmod" ("34"): "modprobe: ERROR: could not insert 'wireguard': Operation not permitted"
        => r"could not insert '[^']+': Operation not permitted";
    AsksForRescue "kernel": "Command line: console=ttyS0 systemd.unit=rescue.target quiet"
        => r"^(?:Kernel c|C)ommand line: (?:.* )?(?P<word>systemd\.unit=(?:rescue|emergency)\.target|emergency|rescue|single)(?: |$)";
    JobIgnored "systemd" ("257"): "app.service: Cannot add dependency job, ignoring: Unit app.service has a bad unit file setting."
        => r": Cannot add dependency job, ignoring: ";
    SettingIgnored "systemd-networkd" ("257"): "/etc/systemd/network/10-lan.network:7: Unknown key 'Adress' in section [Network], ignoring."
        => r"^(?P<file>/etc/\S+):\d+:? .*[Ii]gnoring\b";
    SettingIgnored "systemd-sysctl" ("257"): "Couldn't write '1' to 'net/ipv4/ip_foward', ignoring: No such file or directory"
        => r"^Couldn't write '.*' to '[^']+', ignoring: No such file";
    RefusedToStart "systemd" ("257"): "gone.timer: Refusing to start, unit gone.service to trigger not loaded."
        => r": Refusing to start, (?P<why>.+?)\.?$";
    RuntimeLimitReached "systemd" ("257"): "job.service: Service reached runtime time limit. Stopping."
        => r"reached runtime time limit";
    AssertionFailed "systemd": "app.service: Starting requested but asserts failed." => r"(?i)assert(ion)?s? failed";
    ProcessExited "systemd" ("257"): "hedgedoc.service: Control process exited, code=exited, status=226/NAMESPACE"
        => r": (?P<which>Main|Control) process exited, code=(?P<code>\w+), status=(?P<status>\d+)";
    DependencyFailed "systemd" ("257"): "Dependency failed for app.service - Application." => r"^Dependency failed for ";
    Restarts "systemd" ("257"): "web.service: Scheduled restart job, restart counter is at 1." => r": Scheduled restart job";
    ReloadEnded "systemd" ("257"): "Reload failed for Firewall." => r"^(?:(?P<failed>Reload failed) for|Reloaded) ";
    Starting "systemd" ("257"): "Starting silent.service - Silent..." => r"^Starting ";
    Started "systemd" ("257"): "Started web.service - Web." => r"^(Start(ing|ed)|Finished|Listening on|Mount(ing|ed)) ";
    FailedWithResult "systemd" ("257"): "web.service: Failed with result 'exit-code'." => r": Failed with result '(?P<result>[\w-]+)'";
    Stopped "systemd" ("257"): "Stopped web.service - Web." => r"^Stopped ";
    Deactivated "systemd" ("257"): "poll.service: Deactivated successfully." => r": Deactivated successfully";
    FailedInContainer "systemd" ("257"): "[FAILED] Failed to start nginx.service - Nginx Web Server."
        => r"^\[ *FAILED *\] Failed to (?:start|mount|listen on|activate) (?P<what>.+?)\.?$";
    StartTimedOut "systemd" ("257"): "silent.service: start operation timed out. Terminating."
        => r": (?P<step>start(?:-pre|-post)?) operation timed out";
    DeviceTimedOut "systemd" ("257"): "Timed out waiting for device dev-ttyS0.device - /dev/ttyS0."
        => r"(?i)timed out waiting for device (\S+)";
    DeviceTimedOut "systemd" ("257"): "dev-ttyS0.device: Job dev-ttyS0.device/start timed out."
        => r"(?i)(\S+\.device): job .* timed out";
    HarmlessError "plymouthd": "plymouthd: could not open /dev/fb0" => r"(?i)plymouth";
    HarmlessError "systemd-sysctl, of cards and modules that are not here" ("257"): "Couldn't write '2' to 'net/ipv6/conf/enp3s0/accept_ra', ignoring: No such file or directory"
        => r"'net/(?:ipv[46]/(?:conf|neigh)/|bridge/|netfilter/)";
    HarmlessError "systemd-udevd, of packages that know other distributions": "/etc/udev/rules.d/60-openocd.rules:10 Unknown group 'plugdev', ignoring."
        => r"Unknown (?:user|group) '|Failed to resolve (?:user|group)|has no matching label";
    HarmlessError "udevadm": "systemd-udev-settle.service is deprecated." => r"(?i)udev-settle";

    // --- memory, the kernel, what fails quietly ---

    KilledByKernel "kernel" ("6.12"): "Memory cgroup out of memory: Killed process 251 (tail) total-vm:51412kB, anon-rss:48512kB, file-rss:1708kB"
        => r"(?i)(?P<scope>Memory cgroup out of memory|Out of memory): Killed process (?P<pid>\d+) \((?P<process>[^)]*)\)(?:.*anon-rss:(?P<rss>\d+)kB)?";
    KilledIn "kernel" ("6.12"): "oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/system.slice/hungry.service,task_memcg=/system.slice/hungry.service,task=tail,pid=251,uid=0"
        => r"oom-kill:.*task_memcg=(?P<cgroup>[^,]*).*pid=(?P<pid>\d+)";
    KilledByOomd "systemd-oomd": "Killed /system.slice/eater.service due to memory pressure for /system.slice being 70% > 60%"
        => r"^Killed (?P<cgroup>/\S+) due to (?P<why>.*)";
    KernelWarned "kernel": "WARNING: CPU: 0 PID: 1 at kernel/x.c:1" => r"WARNING:|Oops|BUG:";
    SnippetFailed "stage-2-init": "Activation script snippet 'migrateState' failed (1)"
        => r"Activation script snippet '(?P<name>[^']*)' failed(?: \((?P<code>\d+)\))?";
    RuleFailed "systemd-tmpfiles" ("257"): "/etc/tmpfiles.d/app.conf:1: Failed to resolve user 'nope': No such process"
        => r"(?i)^(failed|unable|cannot|could not)|: failed to |unknown (user|group|modifier|command)|unsafe path transition|invalid|bad ";
    UnsafePath "systemd-tmpfiles" ("257"): "Detected unsafe path transition /export (owned by nobody) → /export/1tb (owned by alice) during canonicalization of export/1tb/x."
        => r"Detected unsafe path transition (?P<from>\S+) \(owned by (?P<owner>[^)]+)\) (?:→|->) (?P<to>\S+) \(owned by ";
    RuleNotForVm "systemd-tmpfiles": "Failed to write file \"/sys/module/x/parameters/y\": No such file or directory"
        => r"(?i)operation not supported|not supported|inappropriate ioctl|(/sys/|/proc/|/dev/)\S*.*(no such file|not permitted|no such device|read-only|input/output)";

    // --- the console of a boot that fails ---

    Panicked "kernel" ("6.12"): "[    4.925816] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100"
        => r"Kernel panic - not syncing: ?(?P<why>.*)";
    PanicEnded "kernel" ("6.12"): "[    4.947394] ---[ end Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100 ]---"
        => r"end Kernel panic";
    InitMissing "stage 1 of NixOS": "stage 2 init script (/mnt-root//nix/store/x-nixos-system/init) not found"
        => r"(?i)stage 2 init script \(?([^)\s]*)\)? not found";
    InitMissing "busybox": "switch_root: can't execute '/nix/store/abc-init': No such file or directory"
        => r"(?i)can't execute '([^']+)'";
    InitMissing "kernel": "Kernel panic - not syncing: Requested init /nix/store/x/init failed (error -2)."
        => r"(?i)(?:Failed to execute|Requested init) (/\S+)(?: failed)? \(error -?\d+\)";
    InitMissing "any": "execve /sbin/init: No such file or directory"
        => r"(?i)exec(?:ve)? (?:of )?'?(/\S+?)'?: (?:No such file|Permission denied|Exec format)";
    InitMissing "systemd": "Failed to execute init: No such file or directory"
        => r"(?i)Failed to execute (?:/?\S* )?init";
    InitMissing "util-linux": "switch_root: /sbin/init: No such file or directory"
        => r"(?i)switch_root: [^:]*: (?:No such file|not found)";
    InitCrashed "systemd": "[    3.2] systemd[1]: Caught <SEGV>, dumped core as pid 80."
        => r"systemd\[1\]: (Freezing execution|Caught <\w+>)";
    RootMissing "kernel": "VFS: Cannot open root device \"UUID=9699\" or unknown-block(0,0): error -6"
        => r"VFS: Cannot open root device ";
    InitMissing "systemd": "[!!!!] Switch root target contains no usable init." => r"contains no usable init";
    InitGaveUp "systemd": "Refusing to run in unsupported environment where /usr/ is not populated"
        => r"(?P<why>Refusing to run in unsupported environment .+?)[.,]?\s*$";
    InitGaveUp "systemd" ("258"): "[!!!!!!] Refusing to run in unsupported environment where /usr/ is not populated."
        => r"\[!!!!!!\] (?P<why>.+?)[.,]?\s*$";
    FallsBack "systemd": "Falling back to rescue.target." => r"^Falling back to rescue\.target";
    EmergencyPrompt "stage 1 of NixOS": "An error occurred in stage 1 of the boot process, which must mount the"
        => r"(?i)An error occurred in stage 1";
    EmergencyPrompt "systemd" ("257"): "You are in emergency mode. After logging in, type \"journalctl -xb\" to view"
        => r"(?i)You are in (emergency|rescue) mode";
    EmergencyPrompt "systemd" ("257"): "Reached target emergency.target - Emergency Mode."
        => r"(?i)Reached target (emergency\.target|Emergency Mode)";
    EmergencyPrompt "systemd": "Started Emergency Shell." => r"(?i)Started Emergency Shell";
    EmergencyPrompt "sulogin": "Press Enter for maintenance" => r"(?i)Press Enter for (maintenance|emergency)";
    EmergencyPrompt "sulogin": "Give root password for maintenance" => r"(?i)Give root password for maintenance";
    EmergencyPrompt "sulogin": "Cannot open access to console, the root account is locked."
        => r"(?i)root account is locked";
    EmergencyPrompt "dracut": "Entering emergency mode. Exit the shell to continue."
        => r"(?i)Entering emergency mode|rescue shell";
    BootTrouble "systemd" ("257"): "[FAILED] Failed to mount /var/lib/lxcfs." => r"(?i)\[ *FAILED *\]|\[ *TIME *\]|\[DEPEND\]";
    BootTrouble "mount": "mount: mounting /dev/vda on /mnt-root/ failed: Invalid argument"
        => r"(?i)mount(ing)?:? .*(fail|not found|unknown|no such|can't|invalid)|failed to mount";
    BootTrouble "fsck": "fsck failed with exit status 4" => r"(?i)fsck.*(fail|error)|superblock";
    BootTrouble "any": "can't open /dev/vdb: No such file or directory"
        => r"(?i)can't open /dev|timed out|does not exist|not appear|unable to|no such (file|device)";
    BootTimeLimit "systemd" ("257"): "[ TIME ] Timed out waiting for device dev-ttyS0.device - /dev/ttyS0."
        => r"(?i)\[ *TIME *\]|timed out|does not exist|not appear|can't open /dev";
    BootNoise "systemd": "[DEPEND] Dependency failed for local-fs.target - Local File Systems."
        => r"(?i)plymouth|Dependency failed for|See 'systemctl status|journalctl";
    CameUp "systemd" ("257"): "[  OK  ] Reached target multi-user.target - Multi-User System."
        => r"(?i)Reached target (multi-user\.target|graphical\.target|Multi-User System|Graphical Interface)|\] Startup finished in .*\(userspace\)";
    SaidByRote "systemd" ("257"): "data.mount: Failed with result 'exit-code'." => r"(?i)failed with result";
    SaidByRote "systemd" ("257"): "Failed to mount data.mount - /data." => r"(?i)^failed to (start|mount|activate)";
    SaidByRote "systemd" ("257"): "data.mount: Mount process exited, code=exited, status=32/n/a" => r"(?i)process exited";
    SaidByRote "systemd" ("257"): "Dependency failed for local-fs.target - Local File Systems." => r"(?i)dependency failed";
    SaidByRote "systemd" ("257"): "local-fs.target: Triggering OnFailure= dependencies." => r"(?i)OnFailure";
    SaidByRote "systemd": "See 'systemctl status data.mount' for details." => r"(?i)see 'systemctl";
    SaidByRote "systemd" ("257"): "local-fs.target: Job local-fs.target/start failed with result 'dependency'."
        => r"(?i)job .* failed";
    ModuleMissing "kmod" ("34"): "[    2.310113] modprobe[71]: modprobe: FATAL: Module virtio_blk not found in directory /lib/modules/6.12.30"
        => r"(?i)\bmodule '?[\w-]+'? not found";
    ModuleMissing "systemd-modules-load": "[    2.310113] systemd-modules-load[70]: Failed to find module 'nosuch'"
        => r"(?i)failed to (?:find|look up|insert) module";
    Forwarded "systemd-journald" ("257"): "[    5.120113] mount[92]: mount: /sysroot/data: wrong fs type, bad option, bad superblock on /dev/vdb."
        => r"^\[ *\d+\.\d+\] (?P<program>[^\s\[:]+)\[\d+\]: (?P<words>.+)$";
    JobRuns "systemd" ("257"): "(1 of 2) Job x.service/start running (3s / no limit)"
        => r"(?i)job (?P<unit>\S+?)/(?P<kind>[a-z-]+) running \((?P<since>[^/)]+?) / (?P<limit>[^)]+)\)";
    JobRuns "systemd": "[ ***  ] A start job is running for /nixos/persist (50s / 1min 30s)"
        => r"(?i)A (?P<kind>start|stop|reload) job is running for (?P<unit>.+?) \((?P<since>[^/)]+?) / (?P<limit>[^)]+)\)";
    BootStep "stage 1 and 2 of NixOS": "stage-2-init: running activation script..."
        => r"(?i)(stage-[12]-init: )?(setting up (secrets|\S+)|running activation script|waiting for (device|root|/)|mounting \S+|starting device mapper|checking \S+|decrypting|unlocking|Passphrase for|(cannot|can't) (open|create) /dev/\S+)";
    ProcessorStalled "kernel" ("6.12"): "[  304.13] rcu: \t0-...!: (0 ticks this GP) idle=40b0/0/0x0 softirq=4836/4836 fqs=1 (false positive?)"
        => r"rcu:\W*(?P<cpu>\d+)-\S*: \(.*\bsoftirq=(?P<done>\d+/\d+)";
};

static TABLE: LazyLock<Table<Meaning>> = LazyLock::new(|| Table::new(Case::Counts, ROWS));

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
