# What both kinds of stage 1 do: mount the root, the store and what is shared, below @root@. `fail` is theirs.
waitDevice() {
    local try=0
    while [ ! -e "$1" ]; do
        try=$((try + 1))
        if [ "$try" = 1 ]; then echo "waiting for device $1 to appear..."; fi
        if [ "$try" -gt 200 ]; then echo "Timed out waiting for device $1, trying to mount anyway."; return; fi
        busybox usleep 100000
    done
}

@before@
echo "mounting /dev/disk/by-label/nixos on /..."
waitDevice /dev/vda
waitDevice /dev/vdb
busybox mount -t ext4 /dev/vda @root@ || fail

busybox mkdir -p @root@/nix/.ro-store @root@/nix/.rw-store @root@/nix/.userland @root@/nix/store \
    @root@/proc @root@/sys @root@/dev @root@/run @root@/tmp/xchg @root@/tmp/shared
busybox chmod 1777 @root@/tmp
@mountStore@
busybox mount -t tmpfs -o mode=0755 tmpfs @root@/nix/.rw-store || fail
busybox mkdir @root@/nix/.rw-store/store @root@/nix/.rw-store/work
busybox mount -t ext4 -o ro,noatime /dev/vdb @root@/nix/.userland || fail
busybox mount -t overlay -o lowerdir=@root@/nix/.userland:@root@/nix/.ro-store,upperdir=@root@/nix/.rw-store/store,workdir=@root@/nix/.rw-store/work overlay @root@/nix/store || fail

# What takes the place of a patched userland: Debian's programs find their loader, libraries, data and each other
# by these links. Nothing else is in /usr, and /bin and /usr/bin get what NixOS has there, in stage 2.
busybox mkdir -p @root@/usr
for dir in lib lib64 libexec share; do busybox ln -sfn @dist@/usr/$dir @root@/usr/$dir; done
for dir in lib lib64; do busybox ln -sfn usr/$dir @root@/$dir; done
for dir in bin sbin; do busybox ln -sfn @dist@/usr/$dir /run/$dir; done
