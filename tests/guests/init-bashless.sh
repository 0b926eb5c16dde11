#!@sw@/bin/bash
# Stands in for nixos-init, a program of its own: what it does between switch-root and systemd. There is no activation
# script; /etc has been mounted in stage 1.
export PATH=@sw@/bin
mount --bind /nix/store /nix/store
mount -o remount,ro,nosuid,nodev,bind /nix/store
ln -sfn @systemConfig@ /run/booted-system
ln -sfn @systemConfig@ /run/current-system
mkdir -p /bin /usr/bin /var/lib /var/log /var/cache /var/empty /srv /mnt
ln -sfn @sw@/bin/bash /bin/sh
ln -sfn @sw@/bin/env /usr/bin/env
[ -e /var/run ] || ln -sfn /run /var/run
echo @dist@/usr/sbin/modprobe >/proc/sys/kernel/modprobe
exec @dist@/usr/lib/systemd/systemd "$@"
