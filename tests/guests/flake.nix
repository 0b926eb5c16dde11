{
  description = "Test machines for nixbox: shaped like NixOS, made of Debian packages, built by nix without a network";

  # Evaluate with --impure under scripts/env: the packages' places come from the environment.
  outputs =
    { self }:
    let
      common = import ./packages.nix;
      # Each file's machines are made of a package set of their own, so that a small machine carries no desktop.
      machinesOf =
        set: file:
        let
          packages = common // common.userland set;
          machines = import file {
            inherit packages;
            inherit (import ./guest.nix packages) mkGuest;
          };
        in
        builtins.mapAttrs (_: g: g // { expect = { inherit set; } // g.expect; }) machines;
      guests =
        machinesOf "guest" ./machines.nix
        // machinesOf "guest" ./switch.nix
        // machinesOf "audio" ./audio.nix
        // machinesOf "audio" ./switch-sound.nix
        // machinesOf "desktop" ./desktop.nix
        // machinesOf "desktop" ./switch-desktop.nix
        // machinesOf "desktop" ./display.nix
        // machinesOf "gnome" ./gnome.nix;
      withMachine = builtins.removeAttrs guests (builtins.filter (n: !(guests.${n} ? machine)) (builtins.attrNames guests));
    in
    {
      nixosConfigurations = builtins.mapAttrs (_: g: g.machine) withMachine;
      # What nixbox is to say of each: its exit code, the checks that fail, words that must be in its report.
      expected = builtins.mapAttrs (_: g: { slow = false; switchFrom = null; fails = [ ]; notTested = [ ]; } // g.expect) guests;
      packages.x86_64-linux.vm = guests.minimal.machine.config.system.build.vm;
    };
}
