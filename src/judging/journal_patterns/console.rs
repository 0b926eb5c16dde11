//! The console of a boot that fails.

use super::Meaning;
use crate::judging::journal::{Row, rows};

pub(super) const ROWS: &[Row<Meaning>] = rows! { Meaning;
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
