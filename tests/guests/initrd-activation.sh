# Run by initrd-nixos-activation.service, in a stage 1 whose PID 1 is systemd: the activation is done from the initrd, and
# PID 1 of the real root takes over the state of the initrd's.
export PATH=/bin
for o in $(busybox cat /proc/cmdline); do
    case $o in init=*) system=${o#init=} system=${system%/init} ;; esac
done
for dir in proc sys dev run; do busybox mount -o rbind /$dir /sysroot/$dir; done
busybox mount -o bind /sysroot/nix/store /sysroot/nix/store
busybox mount -o remount,ro,nosuid,nodev,bind /sysroot/nix/store
busybox ln -sfn "$system" /run/booted-system
# systemctl takes this for what it is, and has PID 1 execute itself with all that it knows.
echo "NEW_INIT=/usr/lib/systemd/systemd" >/run/switch-root.conf
busybox chroot /sysroot "$system/activate"
