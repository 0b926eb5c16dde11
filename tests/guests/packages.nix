# What all guests share, made of the Debian packages that scripts/env put into the store: the programs for the
# host's side (tools), the kernel, the userland (dist) and the disk image it travels in.
#
# The builder is a static busybox, so nothing but those packages is needed, and no network.
let
  listed = builtins.getEnv "NIXBOX_TEST_PACKAGES";
  sets =
    if listed == "" then
      throw "NIXBOX_TEST_PACKAGES is not set: run this under scripts/env, and nix with --impure"
    else
      builtins.mapAttrs (_: builtins.storePath) (builtins.fromJSON (builtins.readFile listed));

  busybox = "${sets.tools}/busybox";

  # run NAME ATTRS SCRIPT: a derivation whose builder is SCRIPT, run by busybox with only busybox on its PATH.
  # It ends with `exit 0` because a builder whose last act is to exec a tool was seen killed now and then.
  run =
    name: attrs: script:
    derivation (
      attrs
      // {
        inherit name;
        system = "x86_64-linux";
        builder = busybox;
        args = [
          "sh"
          "-ec"
          ''
            ${busybox} mkdir "$NIX_BUILD_TOP/busybox"
            ${busybox} --install -s "$NIX_BUILD_TOP/busybox"
            export PATH="$NIX_BUILD_TOP/busybox"
            . "$scriptPath"
            exit 0
          ''
        ];
        inherit script;
        passAsFile = [ "script" ] ++ (attrs.passAsFile or [ ]);
      }
    );

  # unpack SET NOT WHICH: shell text that unpacks into $tree the set's packages that match WHICH but not NOT
  # (patterns of `case`).
  unpack = set: not: which: ''
    for deb in ${set}/*.deb; do
      case ''${deb##*/} in ${not}) continue ;; ${which}) ;; *) continue ;; esac
      ar p "$deb" data.tar.xz | xz -dc | tar -x -o -f - -C "$tree"
    done
  '';

  # QEMU and what else a runner starts, running from the store.
  tools = run "nixbox-test-tools" { } ''
    tree=$out
    mkdir -p $tree
    ${unpack sets.tools "libperl*|libdbi*" "qemu-*|seabios_*|ipxe-*|virtiofsd_*|e2fsprogs_*|bash_*|coreutils_*|sed_*|cpio_*|zstd_*|patchelf_*|lib*|zlib*"}
    rm -rf $tree/usr/share/doc $tree/usr/share/man $tree/usr/share/locale $tree/usr/lib/x86_64-linux-gnu/perl* \
      $tree/usr/share/perl*
    sh ${./relocate.sh} $tree $out $out/usr/bin/bash
    mkdir $out/bin
    for tool in bash cat chmod cp id mkdir mktemp readlink rm sleep touch dd env kill qemu-system-x86_64 qemu-img sed cpio zstd; do
      ln -s ../usr/bin/$tool $out/bin/$tool
    done
    ln -s ../usr/sbin/mke2fs $out/bin/mke2fs
    ln -s ../usr/sbin/mke2fs $out/bin/mkfs.ext4
    ln -s ../usr/sbin/debugfs $out/bin/debugfs
    ln -s ../usr/libexec/virtiofsd $out/bin/virtiofsd
    ln -s bash $out/bin/sh
  '';

  # Top modules; what they depend on comes along.
  modules = [
    "virtio_blk" "virtio_net" "virtio-rng" "virtio_input" "virtio_balloon" "virtio-gpu" "virtio_snd"
    "ext4" "crc32c-intel" "crc32c_generic" "overlay" "9p" "9pnet_virtio" "erofs" "squashfs" "isofs" "fuse" "virtiofs" "vfat" "nls_ascii" "nls_cp437" "loop" "virtio_scsi"
    "vsock" "vmw_vsock_virtio_transport" "autofs4" "qemu_fw_cfg" "pvpanic-pci" "efi-pstore" "configfs"
    "snd-hda-intel" "snd-hda-codec-generic" "snd-hda-codec-hdmi" "snd-seq" "snd-dummy" "snd-aloop"
    "bochs" "uhci-hcd" "ehci-pci" "xhci-pci" "usbhid" "hid-generic" "usb-storage" "evdev" "psmouse" "atkbd" "i8042" "mousedev" "button"
    "nf_tables" "nft_ct" "nft_reject_inet" "nft_fib_inet" "nft_log" "nft_limit" "nft_nat" "nft_chain_nat" "nf_conntrack" "ip_tables" "iptable_filter" "x_tables"
    "tun" "veth" "bridge" "dummy" "wireguard" "dm-mod" "zram"
  ];

  # An uncompressed kernel (QEMU boots it by PVH, three seconds faster) and the modules above, uncompressed too.
  kernel = run "linux" { moduleNames = modules; } ''
    mkdir $NIX_BUILD_TOP/tree $NIX_BUILD_TOP/kmod $out
    tree=$NIX_BUILD_TOP/kmod
    ${unpack sets.guest "-" "kmod_*|libkmod2_*|libc6_*|liblzma5_*|libzstd1_*|libssl3t64_*|libcrypto*|zlib1g_*"}
    kmodlib=$tree/usr/lib/x86_64-linux-gnu
    # liblzma comes with the tools when the guest's set does not pull it in.
    [ -e $kmodlib/liblzma.so.5 ] || cp -a ${tools}/usr/lib/x86_64-linux-gnu/liblzma.so.5* $kmodlib/
    depmod() { $kmodlib/ld-linux-x86-64.so.2 --argv0 depmod --library-path $kmodlib $NIX_BUILD_TOP/kmod/usr/bin/kmod "$@"; }

    tree=$NIX_BUILD_TOP/tree
    ${unpack sets.guest "-" "linux-image-[0-9]*"}
    version=$(ls $tree/usr/lib/modules)
    echo "$version" > $out/version

    # The payload of a bzImage: its offset is in the header (setup_sects at 0x1f1, payload_offset at 0x248,
    # payload_length at 0x24c; see the kernel's x86 boot protocol). Zstandard's has four bytes of size appended.
    image=$(echo $tree/boot/vmlinuz-*)
    number() { od -An -t u$2 -j $1 -N $2 $image | tr -d ' '; }
    sects=$(number 497 1)
    start=$(( (sects + 1) * 512 + $(number 584 4) ))
    dd if=$image bs=4096 iflag=skip_bytes,count_bytes skip=$start count=$(( $(number 588 4) - 4 )) of=$NIX_BUILD_TOP/payload 2>/dev/null
    ${tools}/bin/zstd -q -d < $NIX_BUILD_TOP/payload > $out/vmlinux

    depmod -b $tree/usr -m /lib/modules "$version" 2>/dev/null || depmod -b $tree/usr "$version"
    cd $tree/usr/lib/modules/$version
    wanted=
    for name in $moduleNames; do
      line=$(grep -m1 -E "/$(echo $name | sed 's/[-_]/[-_]/g')\.ko[^:]*:" modules.dep) || continue
      wanted="$wanted $(echo "$line" | tr -d :)"
    done
    to=$out/lib/modules/$version
    mkdir -p $to
    cp modules.builtin modules.builtin.modinfo modules.order $to/
    for module in $(echo $wanted | tr ' ' '\n' | sort -u); do
      mkdir -p $to/''${module%/*}
      xz -dc $module > $to/''${module%.xz}
    done
    mkdir $out/usr; ln -s ../lib $out/usr/lib
    depmod -b $out/usr -m /lib/modules "$version" 2>/dev/null || depmod -b $out/usr "$version"
  '';

  # userland SET: everything that a guest of this set has, in three forms. Sets are whole: each holds all it needs.
  userland =
    set:
    let
    graphical = builtins.elem set [ "desktop" "gnome" ];
    onlyGraphical = text: if graphical then text else "";

    # Debian's programs look for each other in /usr/bin and /usr/sbin, which a NixOS machine does not have. The
    # names are patched, byte for byte, to /run/bin and /run/sbin: links that stage 2 makes. /usr/lib and /usr/share
    # are links into this tree. Debian's own units and configuration are moved aside: guests choose from them.
    dist = run "debian-userland" { } ''
      tree=$out
      mkdir -p $tree
      ${unpack sets.${set} "linux-*|initramfs*|klibc*|libklibc*|dracut*|debconf*|adduser*|cpio*" "*"}
      cd $tree
      rm -rf usr/share/doc usr/share/man usr/share/info usr/share/locale usr/share/lintian usr/share/bug usr/share/perl* \
        usr/share/initramfs-tools usr/share/bash-completion usr/share/zsh usr/include usr/games usr/src \
        usr/lib/x86_64-linux-gnu/gconv usr/lib/udev/hwdb.d boot dev proc sys run tmp home root
      ln -s ${kernel}/lib/modules usr/lib/modules
      ln -s bash usr/bin/sh
      # NixOS has no `which` unless asked for.
      rm -f usr/bin/which usr/bin/which.debianutils

      mkdir upstream
      mv usr/lib/systemd/system upstream/system
      mv usr/lib/systemd/user upstream/user
      mv usr/lib/tmpfiles.d usr/lib/sysctl.d usr/lib/systemd/system-preset usr/lib/systemd/user-preset upstream/
      rm -rf usr/lib/sysusers.d usr/lib/systemd/network usr/lib/systemd/*.conf.d
      # Generators for what these guests never have cost a process each at every (re)load.
      cd usr/lib/systemd/system-generators
      rm -f systemd-gpt-auto-generator systemd-hibernate-resume-generator systemd-rc-local-generator \
        systemd-ssh-generator systemd-system-update-generator systemd-sysv-generator systemd-tpm2-generator
      cd $tree
      rm -rf usr/lib/systemd/user-environment-generators ${if graphical then "" else "usr/lib/systemd/user-generators"}${onlyGraphical desktopTree}

      export LC_ALL=C
      find usr/bin usr/sbin usr/lib usr/libexec upstream${onlyGraphical " usr/share/dbus-1"} -type f -size +0 \
        ${if graphical then "" else "! -path '*/share/*'"} ! -name '*.py' | while read -r file; do
        if grep -q -E '/usr/s?bin' "$file"; then
          ${tools}/bin/sed -i -e 's#/usr/bin#/run/bin#g; s#/usr/sbin#/run/sbin#g' "$file"
        fi
      done
      find upstream/system -type f -name '*.service' -exec ${tools}/bin/sed -i -E 's#([=-])/sbin/#\1/run/sbin/#' {} +
      # The loader is looked up by this name.
      ls usr/lib64/ld-linux-x86-64.so.2 > /dev/null
    '';

    # What makes a desktop of unpacked packages. What Debian's triggers would make when it installs them is made here,
    # by the packages' own programs; and what nothing of a desktop needs but is large is left out.
    desktopTree = ''

      rm -rf usr/libexec/gcc usr/lib/gcc usr/lib/python3* usr/bin/python3* usr/bin/*cpp* usr/share/python3 \
        usr/share/iso-codes usr/share/xml/iso-codes usr/lib/x86_64-linux-gnu/gstreamer-1.0 usr/share/gtk-3.0/emoji
      # Which sessions there are is the configuration's to say: a link to where it says it.
      for kind in wayland-sessions xsessions; do
        if [ -d usr/share/$kind ]; then mv usr/share/$kind upstream/$kind; fi
        ln -s /etc/static/display-manager/$kind usr/share/$kind
      done
      # It needs root's rights, which files of the store never have: its wrapper is what is to be found.
      if [ -e usr/bin/fusermount3 ]; then
        mv usr/bin/fusermount3 usr/libexec/fusermount3
        ln -s /run/wrappers/bin/fusermount3 usr/bin/fusermount3
        rm -f usr/bin/fusermount
      fi
      # NixOS's sway is a wrapper that says which desktop this is.
      if [ -e usr/bin/sway ]; then
        mkdir usr/libexec/sway
        mv usr/bin/sway usr/libexec/sway/sway
        {
          echo '#!/bin/sh'
          echo 'export XDG_CURRENT_DESKTOP=sway'
          echo 'if [ -n "$DBUS_SESSION_BUS_ADDRESS" ]; then exec /usr/libexec/sway/sway "$@"; fi'
          echo 'exec dbus-run-session /usr/libexec/sway/sway "$@"'
        } > usr/bin/sway
        chmod 755 usr/bin/sway
      fi

      lib=$tree/usr/lib/x86_64-linux-gnu
      of() { local program=$1; shift; $lib/ld-linux-x86-64.so.2 --library-path $lib $program "$@"; }
      of $lib/glib-2.0/glib-compile-schemas usr/share/glib-2.0/schemas
      of $lib/glib-2.0/gio-querymodules $lib/gio/modules
      GDK_PIXBUF_MODULEDIR=$lib/gdk-pixbuf-2.0/2.10.0/loaders of $lib/gdk-pixbuf-2.0/gdk-pixbuf-query-loaders > $NIX_BUILD_TOP/loaders.cache
      mv $NIX_BUILD_TOP/loaders.cache $lib/gdk-pixbuf-2.0/2.10.0/loaders.cache
      of usr/bin/update-mime-database usr/share/mime
      export GDK_PIXBUF_MODULE_FILE=$lib/gdk-pixbuf-2.0/2.10.0/loaders.cache XDG_DATA_DIRS=$tree/usr/share
      for theme in hicolor Adwaita; do of usr/bin/gtk-update-icon-cache -q -t -f usr/share/icons/$theme; done
    '';

    # What `environment.systemPackages` would give: one bin directory.
    sw = run "system-path" { } ''
      mkdir -p $out/bin
      for file in ${dist}/usr/bin/* ${dist}/usr/sbin/*; do ln -sf $file $out/bin/''${file##*/}; done
      ln -s ${dist}/usr/share $out/share
      ln -s ${dist}/usr/lib $out/lib
    '';

    # The heavy shared part travels in a disk image, read ten times faster by the guest than over 9p; it is laid
    # under the shared store, so that its paths are where they belong.
    image = run "debian-userland.img" { } ''
      mkdir $NIX_BUILD_TOP/root
      for path in ${kernel} ${dist} ${sw}; do cp -a $path $NIX_BUILD_TOP/root/; done
      chmod u+w $NIX_BUILD_TOP/root/*
      rm $NIX_BUILD_TOP/root/*/vmlinux
      chmod a-w $NIX_BUILD_TOP/root/*
      size=$(du -sm $NIX_BUILD_TOP/root | cut -f1)
      # No journal: it is only ever mounted read-only. In the sandbox the files belong to an ordinary user; a user
      # namespace shows them to mke2fs as root's, which is what they are in any store.
      unshare --map-root-user ${tools}/bin/mke2fs -q -t ext4 -O ^has_journal,^metadata_csum -m 0 -L nixbox-dist -U 6e697862-6f78-4000-8000-000000000001 \
        -E hash_seed=6e697862-6f78-4000-8000-000000000002,root_owner=0:0 -d $NIX_BUILD_TOP/root $out $(( size * 5 / 4 + 16 ))M
    '';
    in
    { inherit dist sw image; };

  # What it takes to mount everything, into ./modules, in the order in which they are to be loaded.
  copyModules = ''
      version=$(cat ${kernel}/version)
      number=10
      for name in virtio_blk crc32c_generic ext4 overlay 9p 9pnet_virtio; do
        line=$(grep -m1 -E "/$name\.ko:" ${kernel}/lib/modules/$version/modules.dep)
        # A module's dependencies are listed nearest first: they are loaded in the reverse order.
        for module in $(echo $line | tr -d : | tr ' ' '\n' | tac); do
          if ! ls modules | grep -q -- "-''${module##*/}$"; then
            cp ${kernel}/lib/modules/$version/$module modules/$number-''${module##*/}
            number=$((number + 1))
          fi
        done
      done
  '';

  # Stage 1: a static busybox and the few modules that it takes to mount everything.
  initrd =
    { name, script, extra ? "" }:
    run "initrd-${name}" { } ''
      mkdir $NIX_BUILD_TOP/root
      cd $NIX_BUILD_TOP/root
      mkdir -p bin dev proc sys run mnt-root modules etc
      cp ${busybox} bin/busybox
      for applet in sh ash; do ln -s busybox bin/$applet; done
      cp ${script} init
      chmod 755 init
      ${copyModules}
      ${extra}
      find . | sort | ${tools}/bin/cpio -o -H newc -R 0:0 --reproducible --quiet > $out
    '';
  # Stage 1 with systemd as its PID 1 (NixOS's default from 26.05): the same mounts, done by a unit, then
  # switch-root. It reads credentials too, so units from there start in this stage unless they say otherwise.
  initrdSystemd =
    { script, activation ? null }:
    run "initrd-systemd" { } ''
      mkdir $NIX_BUILD_TOP/tree
      tree=$NIX_BUILD_TOP/tree
      ${unpack sets.guest "-" "systemd_*|libsystemd-shared_*|lib*|zlib*"}
      lib=usr/lib/x86_64-linux-gnu
      mkdir $NIX_BUILD_TOP/root
      cd $NIX_BUILD_TOP/root
      mkdir -p usr/bin usr/lib64 $lib dev proc sys run tmp sysroot modules etc/systemd/system/initrd.target.wants usr/lib/systemd/system-generators
      ln -s usr/bin bin; ln -s usr/lib lib; ln -s usr/lib64 lib64; ln -s usr/bin sbin; ln -s bin usr/sbin
      cp ${busybox} bin/busybox
      for applet in sh ash mount umount; do ln -s busybox bin/$applet; done
      for program in usr/lib/systemd/systemd usr/lib/systemd/systemd-executor usr/lib/systemd/systemd-shutdown usr/lib/systemd/systemd-journald usr/lib/systemd/system-generators/systemd-debug-generator usr/bin/systemctl usr/bin/systemd-tmpfiles; do
        cp $tree/$program $program
        # What the loader would load, its own words parsed: NAME => PATH (ADDRESS).
        $tree/$lib/ld-linux-x86-64.so.2 --library-path $tree/$lib:$tree/$lib/systemd --list $tree/$program | while read -r name arrow path rest; do
          [ "$arrow" = "=>" ] || continue
          case $path in */systemd/*) mkdir -p $lib/systemd; cp -L $path $lib/systemd/ ;; *) cp -L $path $lib/ ;; esac
        done
      done
      # Loaded on demand, so not in that list.
      cp -L $tree/$lib/libmount.so.1 $tree/$lib/libblkid.so.1 $tree/$lib/libkmod.so.2 $tree/$lib/libcap.so.2 $lib/ 2>/dev/null || true
      cp -L $tree/$lib/ld-linux-x86-64.so.2 usr/lib64/
      for unit in initrd.target initrd-fs.target initrd-root-fs.target initrd-root-device.target initrd-usr-fs.target initrd-switch-root.target initrd-switch-root.service initrd-cleanup.service \
        basic.target sysinit.target sockets.target timers.target paths.target slices.target local-fs.target local-fs-pre.target swap.target shutdown.target umount.target final.target emergency.target emergency.service \
        systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket; do
        cp $tree/usr/lib/systemd/system/$unit etc/systemd/system/
      done
      sed -i '/^Conflicts=/d' etc/systemd/system/initrd-cleanup.service
      ln -s initrd.target etc/systemd/system/default.target
      mkdir -p etc/systemd/system/sockets.target.wants
      for unit in systemd-journald.socket systemd-journald-dev-log.socket; do ln -s ../$unit etc/systemd/system/sockets.target.wants/; done
      ln -s ../initrd-cleanup.service etc/systemd/system/initrd.target.wants/
      mkdir -p etc/systemd/system/initrd-root-fs.target.requires
      ln -s ../initrd-nixos-mounts.service etc/systemd/system/initrd-root-fs.target.requires/
      {
        echo "[Unit]"; echo "Description=Mount the root and the store"; echo "DefaultDependencies=no"
        echo "Before=initrd-root-fs.target"; echo "OnFailure=emergency.target"
        echo "[Service]"; echo "Type=oneshot"; echo "RemainAfterExit=yes"; echo "ExecStart=/bin/sh /mounts.sh"
      } > etc/systemd/system/initrd-nixos-mounts.service
      ${if activation == null then "" else ''
        mkdir -p etc/systemd/system/initrd-root-fs.target.wants
        ln -s ../initrd-nixos-activation.service etc/systemd/system/initrd-root-fs.target.wants/
        {
          echo "[Unit]"; echo "Description=NixOS Activation"; echo "DefaultDependencies=no"
          echo "Requires=initrd-nixos-mounts.service"; echo "After=initrd-nixos-mounts.service"; echo "Before=initrd-root-fs.target"
          echo "[Service]"; echo "Type=oneshot"; echo "RemainAfterExit=yes"; echo "ExecStart=-/bin/sh /initrd-nixos-activation-start"
          echo "SyslogIdentifier=initrd-nixos-activation-start"
        } > etc/systemd/system/initrd-nixos-activation.service
        cp ${activation} initrd-nixos-activation-start
      ''}
      # switch-root is told which init by the kernel's command line, as NixOS's initrd-find-nixos-closure does.
      mkdir -p etc/systemd/system/initrd-switch-root.service.d
      printf '[Service]\nEnvironmentFile=/run/switch-root.conf\nExecStart=\nExecStart=systemctl --no-block switch-root /sysroot $NEW_INIT\n' > etc/systemd/system/initrd-switch-root.service.d/nixos.conf
      printf 'ID=nixos\nNAME=NixOS\nPRETTY_NAME="NixOS 25.11 (initrd)"\nVERSION_ID="25.11"\n' > etc/initrd-release
      ln -s initrd-release etc/os-release
      printf 'root:x:0:0::/root:/bin/sh\n' > etc/passwd
      printf 'root:x:0:\nsystemd-journal:x:62:\n' > etc/group
      cp ${script} mounts.sh
      # PID 1 complains when it cannot load this one.
      version=$(cat ${kernel}/version)
      mkdir -p usr/lib/modules/$version
      cp ${kernel}/lib/modules/$version/modules.* usr/lib/modules/$version/
      autofs=$(cd ${kernel}/lib/modules/$version && find . -name 'autofs4.ko')
      mkdir -p usr/lib/modules/$version/''${autofs%/*}
      cp ${kernel}/lib/modules/$version/$autofs usr/lib/modules/$version/$autofs
      ln -s usr/lib/systemd/systemd init
      ${copyModules}
      find . | sort | ${tools}/bin/cpio -o -H newc -R 0:0 --reproducible --quiet > $out
    '';
in
{
  inherit initrdSystemd sets busybox run unpack tools kernel initrd userland;
}
