#!@tools@/bin/bash
# A runner with NixOS's interface (nixos/modules/virtualisation/qemu-vm.nix): the same environment variables, the
# same word splitting, the same defaults, and its faults: NAME.qcow2 in the current directory is used again, a
# temporary directory is left behind unless USE_TMPDIR is set, the store is shared without readonly.

export PATH=@tools@/bin${PATH:+:}$PATH

set -e

# Create an empty ext4 filesystem image. A filesystem image does not
# contain a partition table but just a filesystem.
createEmptyFilesystemImage() {
  local name=$1
  local size=$2
  local temp=$(mktemp)
  @tools@/bin/qemu-img create -f raw "$temp" "$size"
  @tools@/bin/mkfs.ext4 -L nixos "$temp"
  @tools@/bin/qemu-img convert -f raw -O qcow2 "$temp" "$name"
  rm "$temp"
}

NIX_DISK_IMAGE=$(readlink -f "${NIX_DISK_IMAGE:-./@name@.qcow2}") || test -z "$NIX_DISK_IMAGE"

if test -n "$NIX_DISK_IMAGE" && ! test -e "$NIX_DISK_IMAGE"; then
    echo "Disk image do not exist, creating the virtualisation disk image..."

    createEmptyFilesystemImage "$NIX_DISK_IMAGE" "@diskSize@M"

    echo "Virtualisation disk image created."
fi

# Create a directory for storing temporary data of the running VM.
if [ -z "$TMPDIR" ] || [ -z "$USE_TMPDIR" ]; then
    TMPDIR=$(mktemp -d nix-vm.XXXXXXXXXX --tmpdir)
fi

# Create a directory for exchanging data with the VM.
mkdir -p "$TMPDIR/xchg"
@beforeStart@
cd "$TMPDIR"

# Start QEMU.
exec @tools@/bin/qemu-system-x86_64 -machine accel=kvm:tcg -cpu max \
    -name @name@ \
    -m @memorySize@ \
    -smp @cores@ \
    -device virtio-rng-pci \
    -net nic,netdev=user.0,model=virtio -netdev user,id=user.0,@forwardPorts@"$QEMU_NET_OPTS" \
    @storeShare@ \
    -virtfs local,path="${SHARED_DIR:-$TMPDIR/xchg}",security_model=none,mount_tag=shared \
    -virtfs local,path="$TMPDIR"/xchg,security_model=none,mount_tag=xchg \
    -drive cache=writeback,file="$NIX_DISK_IMAGE",id=drive1,if=none,index=1,werror=report -device virtio-blk-pci,bootindex=1,drive=drive1 \
    -drive file=@image@,format=raw,readonly=on,id=userland,if=none -device virtio-blk-pci,drive=userland,serial=userland \
    -kernel ${NIXPKGS_QEMU_KERNEL_@shellName@:-@toplevel@/kernel} \
    -initrd @toplevel@/initrd \
    -append "$(cat @toplevel@/kernel-params) init=@toplevel@/init regInfo=@regInfo@/registration @consoles@ $QEMU_KERNEL_PARAMS" \
    @options@ \
    $QEMU_OPTS \
    "$@"
