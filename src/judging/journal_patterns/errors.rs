//! What makes a line one of an error, and which of several says why.

use super::Meaning;
use crate::judging::journal::{Row, rows};

pub(super) const ROWS: &[Row<Meaning>] = rows! { Meaning;
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
        => r"Server terminated with error|Please (also check the log file|consult the )|\(EE\) No drivers available|(?:Problem|Error) parsing the config file";
    FollowsFromError "SDDM, LightDM, GDM": "Could not start Display server on vt 2"
        => r"(Could not start|starting the) Display server|greeter display server failed to start|read display number from pipe|Failed to start seat|Session never registered|display failures reached";
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
        => r#"(?i)already in use|already (?:running|exists|used|assigned|taken|allocated|mounted|registered)|in use by|timed out|no route to host|not found|(?:does|did)(?:n't| not) (?:exist|find|match|support)|no module named|(?:can(?:no|')t|failed to) (?:locate|find)|\bno [\w ]+ (?:provided|configured|given|specified|available|supplied)|\bno (?:suitable|such|valid|usable|matching|\w+ (?:drivers?|devices?))\b|is (?:required|deprecated)|\bmissing\b|\bunknown\b|\bunrecogni[sz]ed|\bunsupported|not supported|wasn't built|\bexpected\b|unexpected (?:token|argument|char|end|string|identifier|node|key|eof|symbol|indent|element|field|value|['"`])|\binvalid\b|\bmalformed|\bcorrupt|mismatch|incompatible|undefined|not allowed|has no\b|not (?:been )?provided|not (?:readable|writable)|syntax error|misspel|(?-i:[A-Z]\w*(?:Error|Exception)): \S"#;
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
        => r#"^\s+(at \S.*(\)|:\d+|:line \d+)|at \S+|\d+: \S+::.*|File ".*", line \d+.*|--- End of .*|['\w]+: .*,|Exception data:|(?:Severity|SqlState|MessageText|Routine): .*)$"#;
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
    RequestFailed "nginx" ("1.26.3"): "2026/12/01 05:19:02 [crit] 353#353: *1 connect() to unix:/run/app/app.sock failed (13: Permission denied) while connecting to upstream, client: 127.0.0.1, server: example.org, request: \"GET / HTTP/1.1\", upstream: \"http://unix:/run/app/app.sock:/\", host: \"example.org\""
        => r#"\[(?:error|crit|alert|emerg)\] \d+#\d+: \*\d+ (?P<why>.+?), client: .*\bhost: "(?P<host>[^":]+)"#;
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
    SoundCardMissing "alsa-lib": "ALSA lib confmisc.c:165:(snd_config_get_card) Cannot get card index for 0"
        => r"\(snd_config_get_card\) Cannot get card index|\(snd_func_card_inum\) (?:cannot|Cannot) find card";
    SetupScriptFailed "LightDM": "Seat seat0: Stopping display server due to failed setup script"
        => r"due to failed setup script";
    BusNameTaken "mako": "Failed to acquire service name: File exists" => r"Failed to acquire service name: File exists";
    BusNameTaken "dunst": "CRITICAL: Cannot acquire 'org.freedesktop.Notifications': Name is acquired by 'mako'."
        => r"Cannot acquire '[\w.]+': Name is acquired";
    NetlinkMissing "Node.js": "A system error occurred: uv_interface_addresses returned Unknown system error 97"
        => r"uv_interface_addresses returned";
    FileInTheWay "Home Manager": "Existing file '/home/alice/.bashrc' would be clobbered"
        => r"Existing file '(?P<path>[^']+)' (?:would be clobbered|is in the way of)";
    ConnectionRefused "any": "dial tcp 127.0.0.1:5432: connect: connection refused"
        => r"(?i)connection refused|ECONNREFUSED|(?:connect|connection)\b.*\.(?:sock|socket|s\.PGSQL\.\d+)\b.*(?:no such file|failed|refused|\(2\))";
    SpeaksOfConnection "lpadmin": "lpadmin: Unable to connect to \"192.168.1.20:631\": Operation now in progress"
        => r"(?i)\b(connect\w*|reach\w*|fetch\w*|download\w*|upload\w*|request\w*|unreachable|timed? ?out|handshake|dial|sync\w*|GET|POST)\b";
    RanOutOfTime "any": "Error: timeout exceeded waiting for the database"
        => r"(?i)\btimed? ?out|\btimeout (was )?(reached|exceeded|expired)|deadline exceeded|took too long";
};
