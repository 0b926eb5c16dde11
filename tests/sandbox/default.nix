# `lib.check` on the test machines, with their own means in the place of nixpkgs: by name, { report, check }.
#
# Evaluate with --impure under scripts/env. NIXBOX_TEST_BINARIES is a directory with the programs nixbox and
# vhost-device-vsock as they were built on this host.
let
  packages = import ../guests/packages.nix;
  inherit (packages) run tools;
  machines = ((import ../guests/flake.nix).outputs { self = null; }).nixosConfigurations;

  built =
    name:
    builtins.path {
      inherit name;
      path = /. + builtins.getEnv "NIXBOX_TEST_BINARIES" + "/${name}";
    };

  # In the sandbox there is no loader and no library but those in the store. nixbox is started by a wrapper, as nixpkgs'
  # wrapProgram does it: what it finds as its own executable is nixbox itself, which it starts again as its jail.
  nixbox =
    run "nixbox"
      {
        nixbox = built "nixbox";
        daemon = built "vhost-device-vsock";
      }
      ''
        lib=${tools}/usr/lib/x86_64-linux-gnu
        mkdir -p $out/bin $out/libexec $out/path
        cp $nixbox $out/libexec/nixbox
        cp $daemon $out/path/vhost-device-vsock
        for program in $out/libexec/nixbox $out/path/vhost-device-vsock; do
          chmod 755 $program
          ${tools}/usr/bin/patchelf --set-interpreter $lib/ld-linux-x86-64.so.2 --force-rpath --set-rpath $lib $program
        done
        {
          echo "#!${tools}/bin/bash"
          echo "export PATH=\$PATH:$out/path:${tools}/bin"
          echo "exec $out/libexec/nixbox \"\$@\""
        } >$out/bin/nixbox
        chmod 755 $out/bin/nixbox
      '';

  check =
    machine: further:
    import ../../nix/check.nix
      {
        runCommand = run;
        inherit nixbox;
      }
      (
        {
          nixosConfiguration = machine;
          # KVM may not be there.
          features = [ "nixos-test" ];
          config = ./nixbox.toml;
        }
        // further
      );
in
{
  works = check machines.minimal { };
  broken = check machines.failed-unit { };
  # In a sandbox without the feature "kvm" there is no /dev/kvm, whatever this host has.
  cannot-tell = check machines.minimal {
    arguments = [
      "--accel"
      "kvm"
    ];
  };
}
