# relocate.sh TREE FINAL SHELL: makes the programs of the set `tools`, unpacked in TREE, run from FINAL.
#
# Their interpreter and library path are set to FINAL's own. Debian builds QEMU without --enable-relocatable, so it
# is told where its firmware and modules are, by a wrapper that becomes it (the pid stays). Used on the host by scripts/lib.sh and in the build sandbox by
# tools.nix, with busybox's tools: keep to what both have.
set -e
tree=$1
final=$2
shell=$3
lib=usr/lib/x86_64-linux-gnu
loader=$lib/ld-linux-x86-64.so.2

# patchelf itself runs by naming the loader, before anything is patched.
cp "$tree/usr/bin/patchelf" "$tree/patchelf"
for program in \
    usr/bin/nix usr/bin/qemu-system-x86_64 usr/bin/qemu-img usr/bin/qemu-io usr/libexec/virtiofsd \
    usr/sbin/mke2fs usr/sbin/e2fsck usr/sbin/debugfs usr/bin/bash usr/bin/patchelf usr/bin/sed usr/bin/cpio usr/bin/zstd \
    usr/bin/cat usr/bin/chmod usr/bin/cp usr/bin/id usr/bin/mkdir usr/bin/mktemp usr/bin/readlink usr/bin/rm usr/bin/sleep \
    usr/bin/touch usr/bin/dd usr/bin/env usr/bin/kill; do
    [ -f "$tree/$program" ] || continue
    # RPATH, not RUNPATH: it must hold for the libraries' libraries too.
    "$tree/$loader" --library-path "$tree/$lib" "$tree/patchelf" \
        --set-interpreter "$final/$loader" --force-rpath --set-rpath "$final/$lib" "$tree/$program"
done
rm "$tree/patchelf"

mv "$tree/usr/bin/qemu-system-x86_64" "$tree/usr/libexec/qemu-system-x86_64"
cat >"$tree/usr/bin/qemu-system-x86_64" <<WRAPPER
#!$shell
export QEMU_MODULE_DIR='$final/$lib/qemu'
exec '$final/usr/libexec/qemu-system-x86_64' \\
    -L '$final/usr/share/qemu' -L '$final/usr/share/seabios' -L '$final/usr/lib/ipxe/qemu' "\$@"
WRAPPER
chmod 755 "$tree/usr/bin/qemu-system-x86_64"
