#!@sw@/bin/bash
# Stage 2, shaped like NixOS's (nixos/modules/system/boot/stage-2-init.sh): run the activation script, its words
# going to the kernel's log as there, then become systemd.
systemConfig=@systemConfig@
export HOME=/root PATH=@sw@/bin

printf '\n\033[1;32m<<< NixOS Stage 2 >>>\033[0m\n\n'

# Nothing runs before the loader, the libraries and what Debian's programs call by name are in place.
exec {logOutFd}>&1 {logErrFd}>&2
if test -w /dev/kmsg; then
    exec > >(while read -r line; do
        if test -n "$line"; then
            echo "$line" >&"$logOutFd"
            echo "<7>stage-2-init: $line" >/dev/kmsg
        fi
    done) 2>&1
fi

mount --bind /nix/store /nix/store
mount -o remount,ro,nosuid,nodev,bind /nix/store

ln -sfn "$systemConfig" /run/booted-system
echo "running activation script..."
"$systemConfig/activate"

# As NixOS does: give the console back before systemd takes over.
exec 1>&"$logOutFd" 2>&"$logErrFd"
exec {logOutFd}>&- {logErrFd}>&-

echo "starting systemd..."
exec @dist@/usr/lib/systemd/systemd "$@"
