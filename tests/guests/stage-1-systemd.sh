# Run by initrd-nixos-mounts.service, in a stage 1 whose PID 1 is systemd.
export PATH=/bin
fail() { exit 1; }

for o in $(busybox cat /proc/cmdline); do
    case $o in init=*) echo "NEW_INIT=${o#init=}" >/run/switch-root.conf ;; esac
done
for module in /modules/*.ko; do
    busybox insmod "$module" || fail
done
@mounts@
@after@
exit 0
