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

@mounts@
if [ ! -x "/mnt-root$stage2Init" ] && [ ! -h "/mnt-root$stage2Init" ]; then
    echo "stage 2 init script (/mnt-root/$stage2Init) not found"
    fail
fi

for dir in proc sys dev run; do busybox mount --move /$dir /mnt-root/$dir; done
exec busybox switch_root /mnt-root "$stage2Init"

fail # should never be reached
