//! Hardware, files and secrets that are not there.

use super::Meaning;
use crate::judging::journal::{Row, rows};

pub(super) const ROWS: &[Row<Meaning>] = rows! { Meaning;
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
    PermissionDenied "any": "mkdir: cannot create directory '/srv/app': Permission denied"
        => r"(?i)\b(?:permission|access) denied|\bEACCES\b";
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
};
