#!/bin/ash
# Stage 1, shaped like NixOS's scripted one (nixos/modules/system/boot/stage-1-init.sh): the same banner and the
# same words where something goes wrong. Read by people and by nixbox on the console.
export PATH=/bin

fail() {
    busybox cat <<TEXT

An error occurred in stage 1 of the boot process, which must mount the
root filesystem on \`/mnt-root' and then start stage 2.  Press one
of the following keys:

  r) to reboot immediately
  *) to ignore the error and continue
TEXT
    read -r reply
    case $reply in r) busybox reboot -f ;; esac
}

echo
printf '\033[1;32m<<< NixOS Stage 1 >>>\033[0m\n'
echo

busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev
busybox mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /run
busybox ln -s /proc/self/fd /dev/fd
busybox ln -s /proc/self/fd/0 /dev/stdin
busybox ln -s /proc/self/fd/1 /dev/stdout
busybox ln -s /proc/self/fd/2 /dev/stderr

stage2Init=
panicOnFail=
for o in $(busybox cat /proc/cmdline); do
    case $o in
    init=*) stage2Init=${o#init=} ;;
    boot.panic_on_fail | stage1panic=1) panicOnFail=1 ;;
    boot.trace) set -x ;;
    esac
done

for module in /modules/*.ko; do
    busybox insmod "$module" || fail
done

waitDevice() {
    local try=0
    while [ ! -e "$1" ]; do
        try=$((try + 1))
        if [ "$try" = 1 ]; then echo "waiting for device $1 to appear..."; fi
        if [ "$try" -gt 200 ]; then echo "Timed out waiting for device $1, trying to mount anyway."; return; fi
        busybox usleep 100000
    done
}

echo "mounting /dev/disk/by-label/nixos on /..."
waitDevice /dev/vda
waitDevice /dev/vdb
busybox mount -t ext4 /dev/vda /mnt-root || fail

busybox mkdir -p /mnt-root/nix/.ro-store /mnt-root/nix/.rw-store /mnt-root/nix/.userland /mnt-root/nix/store \
    /mnt-root/proc /mnt-root/sys /mnt-root/dev /mnt-root/run /mnt-root/tmp/xchg /mnt-root/tmp/shared
busybox chmod 1777 /mnt-root/tmp
@mountStore@
busybox mount -t tmpfs -o mode=0755 tmpfs /mnt-root/nix/.rw-store || fail
busybox mkdir /mnt-root/nix/.rw-store/store /mnt-root/nix/.rw-store/work
busybox mount -t ext4 -o ro,noatime /dev/vdb /mnt-root/nix/.userland || fail
busybox mount -t overlay -o lowerdir=/mnt-root/nix/.userland:/mnt-root/nix/.ro-store,upperdir=/mnt-root/nix/.rw-store/store,workdir=/mnt-root/nix/.rw-store/work overlay /mnt-root/nix/store || fail

# What takes the place of a patched userland: Debian's programs find their loader, libraries, data and each other
# by these links. Nothing else is in /usr, and /bin and /usr/bin get what NixOS has there, in stage 2.
busybox mkdir -p /mnt-root/usr
for dir in lib lib64 libexec share; do busybox ln -sfn @dist@/usr/$dir /mnt-root/usr/$dir; done
for dir in lib lib64; do busybox ln -sfn usr/$dir /mnt-root/$dir; done
for dir in bin sbin; do busybox ln -sfn @dist@/usr/$dir /run/$dir; done

if [ ! -x "/mnt-root$stage2Init" ] && [ ! -h "/mnt-root$stage2Init" ]; then
    echo "stage 2 init script (/mnt-root/$stage2Init) not found"
    fail
fi

for dir in proc sys dev run; do busybox mount --move /$dir /mnt-root/$dir; done
exec busybox switch_root /mnt-root "$stage2Init"

fail # should never be reached
