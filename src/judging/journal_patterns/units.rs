//! PID 1 on units; memory, the kernel, and what fails quietly.

use super::Meaning;
use crate::judging::journal::{Row, rows};

pub(super) const ROWS: &[Row<Meaning>] = rows! { Meaning;
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
};
